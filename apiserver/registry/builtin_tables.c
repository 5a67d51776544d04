/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Tables of built-in kinds whose cells are worked out: counts, lists, and what is made of
 * several fields, with the columns of Kubernetes' own printers. They are read from the
 * object's bytes when a row is written; columns that a JSON path can say are in the CRD.
 */
#include <ctype.h>

#include "api/jtok.h"
#include "apiserver/registry/server_internal.h"

static struct span
at(const struct object *o, const char *path)
{
    struct span v = {0};

    if (!jscan_path((struct span){o->bytes, o->len}, path, &v) || span_eq(v, "null"))
        return (struct span){0};
    return v;
}

/* Of a JSON string, still escaped; empty for all else. */
static struct span
inner(struct span raw)
{
    if (raw.len < 2 || raw.ptr[0] != '"')
        return (struct span){0};
    return (struct span){raw.ptr + 1, raw.len - 2};
}

static void
put_raw_text(struct str *out, struct span text)
{
    str_addc(out, '"');
    str_add(out, text.ptr, text.len);
    str_addc(out, '"');
}

static int64_t
members(struct span v)
{
    const char *cursor = NULL;
    struct span key, value;
    int64_t n = 0;

    if (v.len == 0)
        return 0;
    if (v.ptr[0] == '[')
        while (jscan_next_item(v, &cursor, &value))
            n++;
    else if (v.ptr[0] == '{')
        while (jscan_next_member(v, &cursor, &key, &value))
            n++;
    return n;
}

static void
put_count(struct str *out, int64_t n)
{
    str_addf(out, "%lld", (long long)n);
}

static void
cell_name(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    jput_stringz(out, o->name);
}

static void
cell_age(const struct table_opts *t, const struct object *o, struct str *out)
{
    table_age(t, at(o, "metadata.creationTimestamp"), out);
}

/* --- Secrets, ConfigMaps, ServiceAccounts --- */

static void
secret_type(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_raw_text(out, inner(at(o, "type")));
}

static void
data_count(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_count(out, members(at(o, "data")) + members(at(o, "binaryData")));
}

static void
secrets_count(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_count(out, members(at(o, "secrets")));
}

/* --- role bindings --- */

static void
binding_role(const struct table_opts *t, const struct object *o, struct str *out)
{
    struct span kind = inner(at(o, "roleRef.kind")), name = inner(at(o, "roleRef.name"));

    UNUSED(t);
    str_addf(out, "\"%.*s/%.*s\"", (int)kind.len, kind.ptr, (int)name.len, name.ptr);
}

/* "a, b" of the subjects of a kind, ServiceAccounts with their namespace. */
static void
put_subjects(const struct object *o, const char *kind, struct str *out)
{
    struct span list = at(o, "subjects"), item, value = {0};
    const char *cursor = NULL;
    bool first = true, accounts = streq(kind, "ServiceAccount");

    str_addc(out, '"');
    while (list.len > 0 && jscan_next_item(list, &cursor, &item)) {
        if (!jscan_member(item, "kind", &value) || !jscan_is(value, kind))
            continue;
        str_adds(out, first ? "" : ", ");
        first = false;
        if (accounts && jscan_member(item, "namespace", &value)) {
            str_add(out, inner(value).ptr, inner(value).len);
            str_addc(out, '/');
        }
        if (jscan_member(item, "name", &value))
            str_add(out, inner(value).ptr, inner(value).len);
    }
    str_addc(out, '"');
}

static void
binding_users(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_subjects(o, "User", out);
}

static void
binding_groups(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_subjects(o, "Group", out);
}

static void
binding_accounts(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_subjects(o, "ServiceAccount", out);
}

/* --- ResourceQuotas: "count/runs.drover.dev: 1/5, secrets: 0/3" --- */

static void
put_hard(const struct object *o, bool limits, struct str *out)
{
    struct span hard = at(o, "status.hard"), used = at(o, "status.used");
    const char *cursor = NULL;
    struct span key, value, now;
    bool first = true;

    if (hard.len == 0)
        hard = at(o, "spec.hard");
    str_addc(out, '"');
    while (hard.len > 0 && jscan_next_member(hard, &cursor, &key, &value)) {
        bool is_limit = key.len > 7 && memcmp(key.ptr, "limits.", 7) == 0;
        autofree char *name = xstrndup(key.ptr, key.len);
        if (is_limit != limits)
            continue;
        now = (struct span){"0", 1};
        if (used.len > 0 && jscan_member(used, name, &now) && now.ptr[0] == '"')
            now = inner(now);
        struct span max = value.ptr[0] == '"' ? inner(value) : value;
        str_addf(out, "%s%s: %.*s/%.*s", first ? "" : ", ", name, (int)now.len, now.ptr,
                 (int)max.len, max.ptr);
        first = false;
    }
    str_addc(out, '"');
}

static void
quota_request(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_hard(o, false, out);
}

static void
quota_limit(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_hard(o, true, out);
}

/* --- Events of both groups, which have other names for the same --- */

struct event_names {
    const char *object, *field_path, *kind, *message, *first, *last, *count, *component,
        *host;
};
#define EVENT_NAMES(object, message, prefix_first, prefix_last, prefix_count, source)    \
    {                                                                                    \
        object ".name", object ".fieldPath", object ".kind", message, prefix_first,      \
            prefix_last, prefix_count, source ".component", source ".host"               \
    }
static const struct event_names core_names = EVENT_NAMES(
    "involvedObject", "message", "firstTimestamp", "lastTimestamp", "count", "source");
static const struct event_names events_names =
    EVENT_NAMES("regarding", "note", "deprecatedFirstTimestamp",
                "deprecatedLastTimestamp", "deprecatedCount", "deprecatedSource");

static const struct event_names *
names_of(const struct table_opts *t)
{
    return t->kind->group[0] == '\0' ? &core_names : &events_names;
}

static void
put_since(const struct table_opts *t, struct span time, struct str *out)
{
    if (time.len == 0)
        str_adds(out, "\"<unknown>\"");
    else
        table_age(t, time, out);
}

static struct span
first_seen(const struct table_opts *t, const struct object *o)
{
    struct span v = at(o, names_of(t)->first);

    return v.len > 0 ? v : at(o, "eventTime");
}

static void
event_first(const struct table_opts *t, const struct object *o, struct str *out)
{
    put_since(t, first_seen(t, o), out);
}

static void
event_last(const struct table_opts *t, const struct object *o, struct str *out)
{
    struct span v = at(o, "series.lastObservedTime");

    if (v.len == 0)
        v = at(o, names_of(t)->last);
    put_since(t, v.len > 0 ? v : first_seen(t, o), out);
}

static void
event_type(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_raw_text(out, inner(at(o, "type")));
}

static void
event_reason(const struct table_opts *t, const struct object *o, struct str *out)
{
    UNUSED(t);
    put_raw_text(out, inner(at(o, "reason")));
}

static void
event_object(const struct table_opts *t, const struct object *o, struct str *out)
{
    struct span kind = inner(at(o, names_of(t)->kind));
    struct span name = inner(at(o, names_of(t)->object));

    str_addc(out, '"');
    for (size_t i = 0; i < kind.len; i++)
        str_addc(out, (char)tolower((unsigned char)kind.ptr[i]));
    str_addc(out, '/');
    str_add(out, name.ptr, name.len);
    str_addc(out, '"');
}

static void
event_subobject(const struct table_opts *t, const struct object *o, struct str *out)
{
    put_raw_text(out, inner(at(o, names_of(t)->field_path)));
}

/* "component, instance" */
static void
event_source(const struct table_opts *t, const struct object *o, struct str *out)
{
    bool core = t->kind->group[0] == '\0';
    struct span who = inner(at(o, names_of(t)->component));
    struct span where = inner(at(o, names_of(t)->host));

    if (who.len == 0)
        who = inner(at(o, core ? "reportingComponent" : "reportingController"));
    if (where.len == 0)
        where = inner(at(o, "reportingInstance"));
    str_addf(out, "\"%.*s%s%.*s\"", (int)who.len, who.ptr, where.len > 0 ? ", " : "",
             (int)where.len, where.ptr);
}

/* Blanks and escaped line breaks at both ends are left out. */
static void
event_message(const struct table_opts *t, const struct object *o, struct str *out)
{
    struct span v = inner(at(o, names_of(t)->message));
    const char *end = v.ptr + v.len;

    while (v.ptr < end && *v.ptr == ' ')
        v.ptr++;
    while (end > v.ptr) {
        bool escaped = end - v.ptr >= 2 && end[-2] == '\\' &&
                       (end - v.ptr == 2 || end[-3] != '\\') &&
                       (end[-1] == 'n' || end[-1] == 'r' || end[-1] == 't');
        if (!escaped && end[-1] != ' ')
            break;
        end -= escaped ? 2 : 1;
    }
    put_raw_text(out, (struct span){v.ptr, (size_t)(end - v.ptr)});
}

static void
event_count(const struct table_opts *t, const struct object *o, struct str *out)
{
    int64_t n = 0;
    struct span v = at(o, "series.count");

    if (v.len == 0)
        v = at(o, names_of(t)->count);
    if (!jscan_int64(v.len == 0 ? (struct span){"0", 1} : v, &n) || n == 0)
        n = 1; /* one that does not count itself */
    put_count(out, n);
}

/* --- which kind has which --- */

#define TEXT .type = "string"
#define WIDE .priority = 1
#define NAME                                                                             \
    {                                                                                    \
        "Name", TEXT, .format = "name", .cell = cell_name                                \
    }
#define AGE                                                                              \
    {                                                                                    \
        "Age", TEXT, .cell = cell_age                                                    \
    }

static const struct table_column secrets[] = {
    NAME, {"Type", TEXT, .cell = secret_type}, {"Data", TEXT, .cell = data_count}, AGE};
static const struct table_column configmaps[] = {
    NAME, {"Data", TEXT, .cell = data_count}, AGE};
static const struct table_column accounts[] = {
    NAME, {"Secrets", TEXT, .cell = secrets_count}, AGE};
static const struct table_column bindings[] = {
    NAME,
    {"Role", TEXT, .cell = binding_role},
    AGE,
    {"Users", TEXT, WIDE, .cell = binding_users},
    {"Groups", TEXT, WIDE, .cell = binding_groups},
    {"ServiceAccounts", TEXT, WIDE, .cell = binding_accounts}};
static const struct table_column quotas[] = {NAME,
                                             {"Request", TEXT, .cell = quota_request},
                                             {"Limit", TEXT, .cell = quota_limit},
                                             AGE};
static const struct table_column events[] = {
    {"Last Seen", TEXT, .cell = event_last},
    {"Type", TEXT, .cell = event_type},
    {"Reason", TEXT, .cell = event_reason},
    {"Object", TEXT, .cell = event_object},
    {"Subobject", TEXT, WIDE, .cell = event_subobject},
    {"Source", TEXT, WIDE, .cell = event_source},
    {"Message", TEXT, .cell = event_message},
    {"First Seen", TEXT, WIDE, .cell = event_first},
    {"Count", TEXT, WIDE, .cell = event_count},
    {"Name", TEXT, WIDE, .format = "name", .cell = cell_name}};

#define TABLE(resource, columns)                                                         \
    {                                                                                    \
        resource, columns, ARRAY_LEN(columns)                                            \
    }
static const struct {
    const char *resource;
    const struct table_column *columns;
    size_t n;
} tables[] = {
    TABLE("secrets", secrets),
    TABLE("configmaps", configmaps),
    TABLE("serviceaccounts", accounts),
    TABLE("rolebindings.rbac.authorization.k8s.io", bindings),
    TABLE("clusterrolebindings.rbac.authorization.k8s.io", bindings),
    TABLE("resourcequotas", quotas),
    TABLE("events", events), /* of both groups */
};

const struct table_column *
builtin_columns(const struct kind *k, size_t *ret_n)
{
    for (size_t i = 0; k->builtin && i < ARRAY_LEN(tables); i++) {
        if (streq(k->resource, tables[i].resource)) {
            *ret_n = tables[i].n;
            return tables[i].columns;
        }
    }
    return NULL;
}
