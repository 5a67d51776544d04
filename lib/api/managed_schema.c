/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owners written under another schema: an earlier one, or that of another version. What
 * was owned in parts and is atomic now is owned whole by everybody who owned a part of
 * it. The other direction needs nothing: what was owned whole stays so until it is
 * written again.
 */
#include "api/kind_internal.h"
#include "api/managed_internal.h"

static bool
is_atomic(struct managed_type t)
{
    if (t.schema == NULL || t.meta != META_NONE)
        return false;
    if (t.schema->type == SCHEMA_ARRAY)
        return schema_list_type(t.schema) == SCHEMA_LIST_ATOMIC;
    return schema_map_atomic(t.schema);
}

void
managed_reconcile(struct managed_type t, struct fieldset *set)
{
    for (size_t i = 0; set != NULL && i < set->list.len; i++) {
        struct fieldset_entry *entry = &set->list.items[i];
        if (fieldset_is_empty(entry->below))
            continue;
        bool named;
        struct managed_type below = managed_type_below(t, entry->elem, &named);
        if (is_atomic(below)) {
            fieldset_free(entry->below);
            entry->below = NULL;
            entry->member = true;
        } else {
            managed_reconcile(below, entry->below);
        }
    }
}

bool
managed_type_version(const struct managed_opts *o, const char *api_version,
                     struct managed_type *ret)
{
    *ret = managed_type_root(o->kind);
    if (o->n_versions == 0 || streq(api_version, o->kind->api_version))
        return true;
    for (size_t i = 0; i < o->n_versions; i++) {
        if (streq(api_version, o->versions[i]->api_version)) {
            *ret = managed_type_root(o->versions[i]);
            return true;
        }
    }
    return false;
}

void
managed_entries_reconcile(const struct managed_opts *o, struct managed_entries *m)
{
    for (size_t i = m->list.len; i > 0; i--) {
        struct managed_type t;
        if (managed_type_version(o, m->list.items[i - 1].api_version, &t))
            managed_reconcile(t, m->list.items[i - 1].set);
        else
            managed_entries_remove(m, i - 1);
    }
}

const struct managed_diff *
managed_diffs_of(struct managed_diffs *ds, const char *api_version)
{
    struct managed_versioned_diff d = {0};
    struct managed_type t;

    managed_type_version(ds->o, api_version, &t);
    vec_foreach (x, &ds->list) {
        if (x->schema == t.schema)
            return &x->diff;
    }
    d.schema = t.schema;
    managed_compare(t, ds->old, ds->new, &d.diff);
    if (ds->ignore)
        managed_diff_ignore(ds->o, &d.diff);
    vec_push(&ds->list, d);
    return &ds->list.items[ds->list.len - 1].diff;
}

void
managed_diffs_done(struct managed_diffs *ds)
{
    vec_foreach (x, &ds->list)
        managed_diff_done(&x->diff);
    vec_done(&ds->list);
}
