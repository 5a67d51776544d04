/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership without trees, for the two writes that are nearly all writes: a creation, and
 * an update that only changes values which its writer owns already and nobody else does.
 * Both are decided by one walk over canonical bytes. Whatever else there is (lists owned
 * by item, members that come or go, several owners) is left to managed_update(), whose
 * results these equal (tests/unit/test_api_managed_fast.c).
 */
#include <string.h>

#include "api/jtok.h"
#include "api/kind_internal.h"
#include "api/managed_internal.h"

#define DEPTH_MAX 32

struct fast {
    const struct managed_opts *o;
    struct str *out;
    bool give_up;
    size_t depth;
    struct span path[DEPTH_MAX]; /* raw keys, of the position */
    struct span own;             /* fieldsV1 of the writer's entry */
    struct span entries;         /* all of them */
};

static const char *
behind_key(const char *p, struct span *ret)
{
    const char *end = jscan_skip(p);

    *ret = (struct span){p + 1, (size_t)(end - p) - 2};
    return end + 1; /* the colon */
}

static struct managed_type
member_type(struct managed_type t, struct span key)
{
    struct managed_type none = {NULL, META_NONE};

    if (t.meta == META_METADATA && span_eq(key, "finalizers"))
        return (struct managed_type){NULL, META_SET};
    if (t.meta == META_METADATA && span_eq(key, "ownerReferences"))
        return (struct managed_type){NULL, META_OWNERS};
    if (t.meta == META_METADATA || t.schema == NULL)
        return none;
    if (t.meta == META_ROOT && span_eq(key, "metadata"))
        return (struct managed_type){NULL, META_METADATA};
    const struct schema_field *f = schema_find(t.schema, key);
    if (f != NULL && f->schema != NULL)
        return (struct managed_type){f->schema, META_NONE};
    return (struct managed_type){t.schema->additional, META_NONE};
}

/* As managed_shape() says of the tree. */
static enum managed_shape
shape(struct managed_type t, const char *p)
{
    if (p[0] == '{' && p[1] != '}' && (t.schema == NULL || !schema_map_atomic(t.schema)))
        return SHAPE_MAP;
    if (p[0] == '[' && p[1] != ']' &&
        (t.meta == META_SET || t.meta == META_OWNERS ||
         (t.schema != NULL && schema_list_type(t.schema) != SCHEMA_LIST_ATOMIC)))
        return SHAPE_LIST;
    return SHAPE_LEAF;
}

/* What nobody owns, or what this endpoint does not write. */
static bool
is_ignored(const struct fast *f, struct managed_type t, struct span key)
{
    static const char *const meta[] = {
        "clusterName", "creationTimestamp", "generation", "managedFields",   "name",
        "namespace",   "selfLink",          "uid",        "resourceVersion",
    };
    bool status = streq(f->o->subresource, "status");

    if (t.meta == META_METADATA) {
        for (size_t i = 0; i < ARRAY_LEN(meta); i++) {
            if (span_eq(key, meta[i]))
                return true;
        }
    }
    if (t.meta != META_ROOT)
        return false;
    if (span_eq(key, "apiVersion") || span_eq(key, "kind"))
        return true;
    if (status)
        return !span_eq(key, "status");
    return f->o->kind->has_status && span_eq(key, "status");
}

/* --- all that is there
 * -------------------------------------------------------------------- */

static const char *put_value(struct fast *f, struct managed_type t, const char *p);

static const char *
put_members(struct fast *f, struct managed_type t, const char *p)
{
    bool tops = t.meta == META_ROOT || t.meta == META_METADATA;

    str_adds(f->out, tops ? "{" : "{\".\":{}");
    f->depth++;
    while (*p != '}' && !f->give_up) {
        struct span key;
        p = behind_key(p + 1, &key);
        if (memchr(key.ptr, '\\', key.len) != NULL || f->depth >= DEPTH_MAX) {
            f->give_up = true;
        } else if (is_ignored(f, t, key)) {
            p = jscan_skip(p);
        } else {
            size_t before = f->out->len;
            str_adds(f->out, f->out->ptr[before - 1] == '{' ? "\"f:" : ",\"f:");
            str_add(f->out, key.ptr, key.len);
            str_adds(f->out, "\":");
            p = put_value(f, member_type(t, key), p);
            /* metadata of which nothing is owned is no path */
            if (t.meta == META_ROOT && span_eq(key, "metadata") &&
                f->out->ptr[f->out->len - 2] == '{')
                str_truncate(f->out, before);
        }
    }
    f->depth--;
    str_addc(f->out, '}');
    return p + 1;
}

static const char *
put_value(struct fast *f, struct managed_type t, const char *p)
{
    enum managed_shape s = shape(t, p);

    if (s == SHAPE_MAP)
        return put_members(f, t, p);
    f->give_up = f->give_up || s == SHAPE_LIST;
    str_adds(f->out, "{}");
    return jscan_skip(p);
}

static bool
create(struct fast *f, struct span next)
{
    struct str *out = f->out;
    const struct managed_opts *o = f->o;

    if (o->kind->managed_on_apply || streq(o->subresource, "status"))
        return false;
    str_adds(out, "[{\"apiVersion\":");
    jput_stringz(out, o->kind->api_version);
    str_adds(out, ",\"fieldsType\":\"FieldsV1\",\"fieldsV1\":");
    size_t fields = out->len;
    put_value(f, managed_type_root(o->kind), next.ptr);
    if (f->give_up || out->toobig || out->len - fields <= 2)
        return false;
    if (*o->manager != '\0')
        jput_member(out, "manager", o->manager);
    jput_member(out, "operation", "Update");
    jput_member(out, "time", o->now);
    str_adds(out, "}]");
    return !out->toobig;
}

/* --- what has changed
 * --------------------------------------------------------------------- */

/* Whether the path is a member of the set that the FieldsV1 object holds. */
static bool
is_member(const struct fast *f, struct span fields)
{
    const char *cursor;
    struct span key, value;

    for (size_t i = 0; i < f->depth; i++) {
        bool found = false;
        cursor = NULL;
        while (!found && jscan_next_member(fields, &cursor, &key, &value))
            found = key.len == f->path[i].len + 2 && key.ptr[0] == 'f' &&
                    memcmp(key.ptr + 2, f->path[i].ptr, f->path[i].len) == 0;
        if (!found)
            return false;
        fields = value;
    }
    cursor = NULL;
    return !jscan_next_member(fields, &cursor, &key, &value) || span_eq(key, ".");
}

/* The value at the path is another: fine if it is the writer's alone. */
static void
changed(struct fast *f)
{
    const char *cursor = NULL;
    struct span entry, fields;

    f->give_up = f->give_up || !is_member(f, f->own);
    while (!f->give_up && jscan_next_item(f->entries, &cursor, &entry)) {
        if (jscan_member(entry, "fieldsV1", &fields) && fields.ptr != f->own.ptr)
            f->give_up = is_member(f, fields);
    }
}

static void compare(struct fast *f, struct managed_type t, struct span a, struct span b);

/* The next member that counts; false at the end. */
static bool
next_member(const struct fast *f, struct managed_type t, struct span object,
            const char **cursor, struct span *key, struct span *value)
{
    while (jscan_next_member(object, cursor, key, value)) {
        if (!is_ignored(f, t, *key))
            return true;
    }
    return false;
}

static void
compare_members(struct fast *f, struct managed_type t, struct span a, struct span b)
{
    const char *at = NULL, *bt = NULL;
    struct span ak, av, bk, bv;

    while (!f->give_up) {
        bool more = next_member(f, t, a, &at, &ak, &av);
        if (more != next_member(f, t, b, &bt, &bk, &bv)) {
            f->give_up = true;
            return;
        }
        if (!more)
            return;
        f->give_up = ak.len != bk.len || memcmp(ak.ptr, bk.ptr, ak.len) != 0 ||
                     f->depth >= DEPTH_MAX;
        if (f->give_up || (av.len == bv.len && memcmp(av.ptr, bv.ptr, av.len) == 0))
            continue;
        f->give_up = memchr(ak.ptr, '\\', ak.len) != NULL;
        f->path[f->depth++] = ak;
        compare(f, member_type(t, ak), av, bv);
        f->depth--;
    }
}

static void
compare(struct fast *f, struct managed_type t, struct span a, struct span b)
{
    enum managed_shape as = shape(t, a.ptr), bs = shape(t, b.ptr);

    if (as == SHAPE_MAP && bs == SHAPE_MAP)
        compare_members(f, t, a, b);
    else if (as == SHAPE_LEAF && bs == SHAPE_LEAF)
        changed(f);
    else
        f->give_up = true;
}

static bool
is_text(struct span entry, const char *key, const char *want)
{
    auto_str quoted = STR_INIT(4096);
    struct span raw;

    if (!jscan_member(entry, key, &raw))
        return *want == '\0';
    jput_stringz(&quoted, want);
    return raw.len == quoted.len && memcmp(raw.ptr, quoted.ptr, raw.len) == 0;
}

static bool
find_own(struct fast *f)
{
    const char *cursor = NULL;
    struct span entry;

    while (jscan_next_item(f->entries, &cursor, &entry)) {
        if (is_text(entry, "operation", "Update") &&
            is_text(entry, "manager", f->o->manager) &&
            is_text(entry, "subresource", f->o->subresource) &&
            is_text(entry, "apiVersion", f->o->kind->api_version))
            return jscan_member(entry, "fieldsV1", &f->own);
    }
    return false;
}

bool
managed_update_fast(const struct managed_opts *o, const struct managed_bytes *b,
                    struct str *out)
{
    struct fast f = {.o = o, .out = out, .entries = b->live_fields};

    if (b->live.len == 0)
        return b->next_fields.len == 0 && create(&f, b->next);
    /* Owners that the client writes itself are another matter. */
    if (b->live_fields.len == 0 || !find_own(&f) ||
        (b->next_fields.len > 0 &&
         (b->next_fields.len != b->live_fields.len ||
          memcmp(b->next_fields.ptr, b->live_fields.ptr, b->next_fields.len) != 0)))
        return false;
    compare_members(&f, managed_type_root(o->kind), b->live, b->next);
    if (f.give_up)
        return false;
    str_add(out, b->live_fields.ptr, b->live_fields.len);
    return !out->toobig;
}
