/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The conditions of a terminating Namespace: what is still in it, and which finalizers
 * that waits for. Texts and reasons are those of Kubernetes.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/namespace_status.h"
#include "base/clock.h"

enum { LISTED_MAX = 20 };

void
namespace_tally_add(struct namespace_tally *t, const char *name, size_t len, size_t n)
{
    vec_foreach (x, &t->list) {
        if (strlen(x->name) == len && memcmp(x->name, name, len) == 0) {
            x->n += n;
            return;
        }
    }
    struct namespace_count c = {xstrndup(name, len), n};
    vec_push(&t->list, c);
}

void
namespace_tally_done(struct namespace_tally *t)
{
    vec_foreach (x, &t->list)
        free(x->name);
    vec_done(&t->list);
}

static int
by_name(const void *a, const void *b)
{
    const struct namespace_count *x = a, *y = b;

    return strcmp(x->name, y->name);
}

/* "runs.drover.dev has 2 resource instances, ..." */
static void
listing(struct namespace_tally *t, const char *verb, struct str *out)
{
    if (t->list.len > 1)
        qsort(t->list.items, t->list.len, sizeof(t->list.items[0]), by_name);
    for (size_t i = 0; i < t->list.len && i < LISTED_MAX; i++) {
        const struct namespace_count *x = &t->list.items[i];
        if (i > 0)
            str_adds(out, ", ");
        str_addf(out, "%s %s %zu resource instances", x->name, verb, x->n);
    }
}

/* When the condition came to be as it is: now, unless the live one says the same. */
static void
since(const struct object *live, const char *type, const char *status, const char *now,
      struct str *out)
{
    struct span list, item, raw;
    const char *cursor = NULL;
    autofree char *want = xasprintf("\"%s\"", type);
    autofree char *same = xasprintf("\"%s\"", status);

    while (object_path(live, "status.conditions", &list) &&
           jscan_next_item(list, &cursor, &item)) {
        if (jscan_member(item, "type", &raw) && span_eq(raw, want) &&
            jscan_member(item, "status", &raw) && span_eq(raw, same) &&
            jscan_member(item, "lastTransitionTime", &raw)) {
            str_add(out, raw.ptr, raw.len);
            return;
        }
    }
    jput_stringz(out, now);
}

static void
condition(const struct object *live, const char *type, const char *reason,
          const char *message, bool is_true, const char *now, struct str *out)
{
    const char *status = is_true ? "True" : "False";

    jput_item(out);
    str_addc(out, '{');
    jput_member(out, "type", type);
    jput_member(out, "status", status);
    jput_member(out, "reason", reason);
    jput_member(out, "message", message);
    jput_key(out, "lastTransitionTime");
    since(live, type, status, now, out);
    str_addc(out, '}');
}

void
namespace_status_patch(const struct object *live, struct namespace_remains *r,
                       struct str *out)
{
    auto_str content = STR_INIT(8192);
    auto_str finalizers = STR_INIT(8192);
    char now[CLOCK_RFC3339_LEN];
    bool left = r->resources.list.len > 0, held = r->finalizers.list.len > 0;

    clock_format(clock_wall_ns(), now);
    if (left) {
        str_adds(&content, "Some resources are remaining: ");
        listing(&r->resources, "has", &content);
    } else {
        str_adds(&content, "All content successfully removed");
    }
    if (held) {
        str_adds(&finalizers, "Some content in the namespace has finalizers remaining: ");
        listing(&r->finalizers, "in", &finalizers);
    } else {
        str_adds(&finalizers, "All content-preserving finalizers finished");
    }
    str_adds(out, "{\"status\":{\"phase\":\"Terminating\",\"conditions\":[");
    condition(live, "NamespaceDeletionDiscoveryFailure", "ResourcesDiscovered",
              "All resources successfully discovered", false, now, out);
    condition(live, "NamespaceDeletionGroupVersionParsingFailure", "ParsedGroupVersions",
              "All legacy kube types successfully parsed", false, now, out);
    condition(live, "NamespaceDeletionContentFailure",
              r->failure[0] == '\0' ? "ContentDeleted" : "ContentDeletionFailed",
              r->failure[0] == '\0'
                  ? "All content successfully deleted, may be waiting on finalization"
                  : r->failure,
              r->failure[0] != '\0', now, out);
    condition(live, "NamespaceContentRemaining",
              left ? "SomeResourcesRemain" : "ContentRemoved", content.ptr, left, now,
              out);
    condition(live, "NamespaceFinalizersRemaining",
              held ? "SomeFinalizersRemain" : "ContentHasNoFinalizers", finalizers.ptr,
              held, now, out);
    str_adds(out, "]}}");
}
