/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kinds that show the stored objects of another one under other names: Events of
 * events.k8s.io/v1 are those of v1. The names of top-level members are all that differs.
 */
#include "api/jtok.h"
#include "api/object_internal.h"

static const struct renamed {
    const char *core, *group;
} event_members[] = {
    {"involvedObject", "regarding"},
    {"message", "note"},
    {"reportingComponent", "reportingController"},
    {"source", "deprecatedSource"},
    {"firstTimestamp", "deprecatedFirstTimestamp"},
    {"lastTimestamp", "deprecatedLastTimestamp"},
    {"count", "deprecatedCount"},
};

static struct span
name_in(const struct kind *k, struct span key)
{
    bool group = *k->group != '\0';

    for (size_t i = 0; i < ARRAY_LEN(event_members); i++) {
        const struct renamed *r = &event_members[i];
        if (span_eq(key, group ? r->core : r->group))
            return span_of(group ? r->group : r->core);
    }
    return key;
}

bool
object_is_renamed(const struct kind *k)
{
    return streq(k->resource, "events") && streq(k->kind, "Event");
}

int
object_rename(const struct kind *k, const struct object *o, struct str *out,
              struct error *e)
{
    auto_str text = STR_INIT(OBJECT_MAX_BYTES + 1024);
    struct span key, value;
    const char *cursor = NULL;

    str_addc(&text, '{');
    while (jscan_next_member((struct span){o->bytes, o->len}, &cursor, &key, &value)) {
        struct span name = name_in(k, key);
        jput_item(&text);
        str_addf(&text, "\"%.*s\":", SPAN_ARG(name));
        if (span_eq(key, "apiVersion"))
            jput_stringz(&text, k->api_version);
        else
            str_add(&text, value.ptr, value.len);
    }
    str_addc(&text, '}');
    return jcanon(text.ptr, text.len, out, e);
}
