/* SPDX-License-Identifier: Apache-2.0 */
/* The names people type for what the server has. */
#include <string.h>

#include "cli/session.h"

static const struct named_resource table[] = {
    {&resource_runs, "run", {NULL}},
    {&resource_jobs, "job", {"dj"}},
    {&resource_fleets, "fleet", {NULL}},
    {&resource_instances, "instance", {"inst"}},
    {&resource_profiles, "profile", {NULL}},
    {&resource_quotas, "quota", {NULL}},
    {&resource_queuestates, "queuestate", {NULL}},
    {&resource_priorityclasses, "priorityclass", {"pc"}},
    {&resource_namespaces, "namespace", {"ns", "project", "projects"}},
    {&resource_secrets, "secret", {NULL}},
    {&resource_configmaps, "configmap", {"cm"}},
    {&resource_events, "event", {"ev"}},
    {&resource_leases, "lease", {NULL}},
    {&resource_crds, "customresourcedefinition", {"crd", "crds"}},
};

const struct named_resource *
cli_resource(const char *word)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (streq(word, table[i].singular) || streq(word, table[i].resource->plural))
            return &table[i];
        for (size_t a = 0; a < ARRAY_LEN(table[i].aliases); a++) {
            if (table[i].aliases[a] != NULL && streq(word, table[i].aliases[a]))
                return &table[i];
        }
    }
    return NULL;
}

const struct named_resource *
cli_resource_of_kind(const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        if (streq(kind, table[i].resource->kind))
            return &table[i];
    }
    return NULL;
}

void
cli_resource_names(struct str *out)
{
    for (size_t i = 0; i < ARRAY_LEN(table); i++)
        str_addf(out, "%s%s", i > 0 ? ", " : "", table[i].resource->plural);
}

int
cli_target(const char *word, const struct named_resource **ret, const char **ret_name,
           struct error *e)
{
    char kind[64];
    size_t n = strcspn(word, "/");
    auto_str names = STR_INIT(4096);

    if (n < sizeof(kind)) {
        memcpy(kind, word, n);
        kind[n] = '\0';
        const struct named_resource *r = cli_resource(kind);
        if (r != NULL) {
            *ret = r;
            *ret_name = word[n] == '/' && word[n + 1] != '\0' ? word + n + 1 : NULL;
            return 0;
        }
    }
    cli_resource_names(&names);
    return error_set(e, ERR_BAD_REQUEST, "\"%.*s\" is not a kind of object; there are %s",
                     (int)(n & 0xff), word, names.ptr);
}
