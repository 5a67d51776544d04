/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The list of owners in metadata.managedFields: read, kept by identity (manager,
 * operation, subresource, and apiVersion for updates), bounded and written back in the
 * stored order.
 */
#include <string.h>

#include "api/managed_internal.h"

#define MANAGER_MAX 128

static void
entry_done(struct managed_entry *m)
{
    free(m->manager);
    free(m->api_version);
    free(m->subresource);
    free(m->time);
    fieldset_free(m->set);
}

void
managed_entries_done(struct managed_entries *m)
{
    for (size_t i = 0; i < m->list.len && m->list.items != NULL; i++)
        entry_done(&m->list.items[i]);
    vec_done(&m->list);
}

void
managed_entries_remove(struct managed_entries *m, size_t i)
{
    bug_if(i >= m->list.len || m->list.items == NULL);
    entry_done(&m->list.items[i]);
    vec_remove(&m->list, i);
}

static size_t
find(const struct managed_entries *m, const struct managed_entry *like)
{
    for (size_t i = 0; i < m->list.len; i++) {
        const struct managed_entry *x = &m->list.items[i];
        if (x->apply == like->apply && streq(x->manager, like->manager) &&
            streq(x->subresource, like->subresource) &&
            (x->apply || streq(x->api_version, like->api_version)))
            return i;
    }
    return SIZE_MAX;
}

static char *
member(const json_t *v, const char *key)
{
    const char *s = json_string_value(json_object_get(v, key));

    return xstrdup(s == NULL ? "" : s);
}

static int
read_entry(const json_t *v, struct managed_entry *ret, struct error *e)
{
    const char *op = json_string_value(json_object_get(v, "operation"));
    const char *type = json_string_value(json_object_get(v, "fieldsType"));
    const json_t *fields = json_object_get(v, "fieldsV1");
    struct fieldset *set = NULL;

    if (op == NULL || (!streq(op, "Apply") && !streq(op, "Update")))
        return error_set(e, ERR_INVALID,
                         "managedFields: operation must be Apply or Update");
    if (type == NULL || !streq(type, "FieldsV1"))
        return error_set(e, ERR_INVALID, "managedFields: fieldsType must be FieldsV1");
    int r = fields == NULL ? 0 : fieldset_from_json(fields, &set, e);
    if (r < 0)
        return r;
    *ret = (struct managed_entry){.manager = member(v, "manager"),
                                  .api_version = member(v, "apiVersion"),
                                  .subresource = member(v, "subresource"),
                                  .time = member(v, "time"),
                                  .apply = streq(op, "Apply"),
                                  .set = set != NULL ? set : fieldset_new()};
    if (strlen(ret->manager) > MANAGER_MAX) {
        entry_done(ret);
        return error_set(e, ERR_INVALID,
                         "managedFields: manager must be at most %d bytes", MANAGER_MAX);
    }
    return 0;
}

int
managed_entries_read(const json_t *v, struct managed_entries *ret, struct error *e)
{
    auto_managed_entries m = {0};

    if (v != NULL && !json_is_array(v))
        return error_set(e, ERR_INVALID, "managedFields must be a list");
    for (size_t i = 0; i < json_array_size(v); i++) {
        struct managed_entry entry;
        int r = read_entry(json_array_get(v, i), &entry, e);
        if (r < 0)
            return r;
        size_t same = find(&m, &entry);
        if (same != SIZE_MAX)
            managed_entries_remove(&m, same);
        vec_push(&m.list, entry);
    }
    *ret = m;
    m = (struct managed_entries){0};
    return 0;
}

/* Apply before Update, then by time, manager, apiVersion, subresource. */
static int
by_stored_order(const void *a, const void *b)
{
    const struct managed_entry *x = a, *y = b;
    int c;

    if (x->apply != y->apply)
        return x->apply ? -1 : 1;
    if ((c = strcmp(x->time, y->time)) != 0 ||
        (c = strcmp(x->manager, y->manager)) != 0 ||
        (c = strcmp(x->api_version, y->api_version)) != 0)
        return c;
    return strcmp(x->subresource, y->subresource);
}

static void
put(json_t *out, const char *key, const char *value)
{
    if (*value != '\0')
        json_object_set_new(out, key, json_string(value));
}

json_t *
managed_entries_write(struct managed_entries *m)
{
    json_t *out = json_array();

    if (m->list.len > 1)
        qsort(m->list.items, m->list.len, sizeof(m->list.items[0]), by_stored_order);
    for (size_t i = 0; i < m->list.len; i++) {
        const struct managed_entry *x = &m->list.items[i];
        if (fieldset_is_empty(x->set))
            continue;
        json_t *v = json_object();
        put(v, "manager", x->manager);
        put(v, "operation", x->apply ? "Apply" : "Update");
        put(v, "apiVersion", x->api_version);
        put(v, "time", x->time);
        put(v, "fieldsType", "FieldsV1");
        json_object_set_new(v, "fieldsV1", fieldset_to_json(x->set));
        put(v, "subresource", x->subresource);
        json_array_append_new(out, v);
    }
    return out;
}

size_t
managed_entries_own(struct managed_entries *m, const struct managed_opts *o, bool apply)
{
    struct managed_entry like = {.manager = xstrdup(o->manager),
                                 .api_version = xstrdup(o->kind->api_version),
                                 .subresource = xstrdup(o->subresource),
                                 .time = xstrdup(""),
                                 .apply = apply,
                                 .set = fieldset_new()};
    size_t i = find(m, &like);

    if (i != SIZE_MAX) {
        entry_done(&like);
        return i;
    }
    vec_push(&m->list, like);
    return m->list.len - 1;
}

void
managed_set_own(struct managed_entries *m, size_t i, struct fieldset *set,
                const char *now)
{
    struct managed_entry *x = &m->list.items[i];

    if (!fieldset_equal(x->set, set)) {
        free(x->time);
        x->time = xstrdup(now);
    }
    fieldset_free(x->set);
    x->set = set;
}

void
managed_take_from_others(struct managed_entries *m, size_t own, struct managed_diffs *ds)
{
    for (size_t i = 0; i < m->list.len; i++) {
        if (i == own)
            continue;
        const struct managed_diff *d = managed_diffs_of(ds, m->list.items[i].api_version);
        fieldset_remove_all(&m->list.items[i].set, d->modified);
        fieldset_remove_all(&m->list.items[i].set, d->added);
        fieldset_remove_all(&m->list.items[i].set, d->removed);
    }
}

/* --- the bound on updaters
 * ------------------------------------------------------------------ */

static int
by_age(const void *a, const void *b)
{
    const struct managed_entry *x = *(const struct managed_entry *const *)a;
    const struct managed_entry *y = *(const struct managed_entry *const *)b;
    int c = strcmp(x->time, y->time);

    return c != 0 ? c : strcmp(x->manager, y->manager);
}

static void
make_ancient(struct managed_entry *x)
{
    free(x->manager);
    x->manager = xstrdup(MANAGED_ANCIENT);
    free(x->subresource);
    x->subresource = xstrdup("");
}

/* The oldest updater of x's version that is older than x; NULL when x is that. */
static struct managed_entry *
elder(struct managed_entry *const *sorted, size_t n, const struct managed_entry *x)
{
    for (size_t i = 0; i < n; i++) {
        if (sorted[i]->set != NULL && streq(sorted[i]->api_version, x->api_version))
            return sorted[i];
    }
    return NULL;
}

void
managed_entries_cap(struct managed_entries *m)
{
    vec(struct managed_entry *) sorted = {0};

    for (size_t i = 0; i < m->list.len; i++) {
        if (!m->list.items[i].apply && !fieldset_is_empty(m->list.items[i].set))
            vec_push(&sorted, &m->list.items[i]);
    }
    size_t left = sorted.len;
    if (left > MANAGED_MAX_UPDATERS)
        qsort(sorted.items, sorted.len, sizeof(sorted.items[0]), by_age);
    for (size_t i = 0; i < sorted.len && left > MANAGED_MAX_UPDATERS; i++) {
        struct managed_entry *x = sorted.items[i];
        struct managed_entry *bucket = elder(sorted.items, i, x);
        if (bucket == NULL)
            continue;
        make_ancient(bucket);
        fieldset_add_all(&bucket->set, x->set);
        free(bucket->time);
        bucket->time = xstrdup(x->time);
        fieldset_free(x->set);
        x->set = NULL; /* left out when written */
        left--;
    }
    vec_done(&sorted);
}
