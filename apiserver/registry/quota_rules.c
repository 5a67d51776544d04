/* SPDX-License-Identifier: Apache-2.0 */
/* What a ResourceQuota may ask for: numbers of objects. */
#include <jansson.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "api/values.h"
#include "apiserver/registry/compute_internal.h"
#include "apiserver/registry/quota.h"

static bool
is_count(const char *text)
{
    struct error e = ERROR_INIT;
    int64_t milli;

    return value_quantity(text, &milli, &e) == 0 && milli >= 0 && milli % 1000 == 0;
}

/* All scopes that there are choose among Pods, of which this server has none. */
static void
check_scopes(struct problem *p, struct span spec)
{
    static const char known[] =
        " \"Terminating\" \"NotTerminating\" \"BestEffort\" \"NotBestEffort\" "
        "\"PriorityClass\" \"CrossNamespacePodAffinity\" \"VolumeAttributesClass\" ";
    struct span scopes, scope;
    const char *cursor = NULL;

    if (jscan_member(spec, "scopes", &scopes) && scopes.ptr[0] == '[') {
        autofree char *shown = xstrndup(scopes.ptr, scopes.len);
        while (jscan_next_item(scopes, &cursor, &scope)) {
            autofree char *word = xasprintf(" %.*s ", SPAN_ARG(scope));
            violations_add(&p->v, VIOLATION_INVALID, "spec.scopes", shown, "%s",
                           strstr(known, word) == NULL
                               ? "unsupported scope"
                               : "unsupported scope applied to resource");
        }
    }
    if (jscan_path(spec, "scopeSelector.matchExpressions", &scopes) && scopes.len > 2)
        violations_add(&p->v, VIOLATION_INVALID,
                       "spec.scopeSelector.matchExpressions.scopeName", NULL,
                       "unsupported scope applied to resource");
}

int
quota_rules(struct compute *c)
{
    struct problem *p = compute_problem(c);
    struct span spec = doc_get(&c->doc, "spec"), hard, key, value;
    const char *cursor = NULL;

    if (*c->in->sub != '\0' || spec.len == 0)
        return 0;
    check_scopes(p, spec);
    if (!jscan_member(spec, "hard", &hard))
        return violations_errors(&p->v) > 0 ? problem_invalid(p) : 0;
    while (jscan_next_member(hard, &cursor, &key, &value)) {
        bool quoted = value.len >= 2 && value.ptr[0] == '"';
        autofree char *name = xstrndup(key.ptr, key.len);
        autofree char *json = xstrndup(value.ptr, value.len);
        autofree char *text = xstrndup(value.ptr + quoted, value.len - (quoted ? 2 : 0));
        autofree char *path = xasprintf("spec.hard[%s]", name);
        if (quota_resource(name) == NULL)
            violations_add(&p->v, VIOLATION_NOT_SUPPORTED, path, NULL,
                           "this server counts objects: \"count/<resource>.<group>\", "
                           "\"configmaps\", \"secrets\", \"services\", "
                           "\"resourcequotas\"");
        if (!is_count(text))
            violations_add(&p->v, VIOLATION_INVALID, path, json,
                           "must be a whole number greater than or equal to 0");
    }
    return violations_errors(&p->v) > 0 ? problem_invalid(p) : 0;
}
