/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Ownership after a create, update or patch: the writer owns what it changed, others lose
 * what was changed or removed under them.
 */
#include "api/managed_internal.h"

static const json_t *
fields_of(const json_t *obj)
{
    return json_object_get(json_object_get(obj, "metadata"), "managedFields");
}

/* [] and [{}] tell the server to forget all owners. */
static bool
is_reset(const json_t *v)
{
    if (!json_is_array(v) || json_array_size(v) > 1)
        return false;
    return json_array_size(v) == 0 || (json_is_object(json_array_get(v, 0)) &&
                                       json_object_size(json_array_get(v, 0)) == 0);
}

static void
read_or_none(const json_t *v, struct managed_entries *ret)
{
    struct error e = ERROR_INIT;

    if (managed_entries_read(v, ret, &e) < 0)
        *ret = (struct managed_entries){0};
}

/*
 * The owners to go on from. A client may write the list itself (kubectl does to migrate);
 * one that left it out or garbled it did not mean to. Subresources never change it.
 */
static void
read_owners(const struct managed_opts *o, const json_t *live, const json_t *next,
            struct managed_entries *ret)
{
    *ret = (struct managed_entries){0};
    if (streq(o->subresource, "")) {
        if (is_reset(fields_of(next)))
            return;
        read_or_none(fields_of(next), ret);
    }
    if (ret->list.len == 0)
        read_or_none(fields_of(live), ret);
}

void
managed_own_changes(const struct managed_opts *o, struct managed_entries *m,
                    const json_t *live, const json_t *next)
{
    auto_managed_diffs ds = {.o = o, .old = live, .new = next, .ignore = true};

    size_t own = managed_entries_own(m, o, false);
    managed_take_from_others(m, own, &ds);
    const struct managed_diff *d = managed_diffs_of(&ds, o->kind->api_version);
    struct fieldset *set = fieldset_subtract(m->list.items[own].set, d->removed);
    fieldset_add_all(&set, d->modified);
    fieldset_add_all(&set, d->added);
    managed_strip_set(set);
    managed_set_own(m, own, set, o->now);
}

/* Objects without owners stay so: since a reset, or until somebody applies them. */
static bool
is_untracked(const struct managed_opts *o, const json_t *live,
             const struct managed_entries *m)
{
    return m->list.len == 0 && (live != NULL || o->kind->managed_on_apply);
}

int
managed_update(const struct managed_opts *o, const json_t *live, const json_t *next,
               json_t **ret, struct error *e)
{
    auto_managed_entries m = {0};
    json_t *out, *fields = NULL;

    if (!json_is_object(next))
        return error_set(e, ERR_BAD_REQUEST, "an object must be a JSON object");
    read_owners(o, live, next, &m);
    /* Before owners in versions that are no longer served are dropped. */
    bool untracked = is_untracked(o, live, &m);
    managed_entries_reconcile(o, &m);
    out = managed_strip_object(next);
    if (!untracked) {
        json_t *old = live == NULL ? json_object() : managed_strip_object(live);
        managed_own_changes(o, &m, old, out);
        json_decref(old);
        managed_entries_cap(&m);
        fields = managed_entries_write(&m);
    }
    managed_put_fields(out, fields);
    *ret = json_deep_copy(out);
    json_decref(out);
    return 0;
}
