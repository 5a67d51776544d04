/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Owners written under an earlier schema. What was owned in parts and is atomic now is
 * owned whole by everybody who owned a part of it. The other direction needs nothing:
 * what was owned whole stays so until it is written again.
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

void
managed_entries_reconcile(struct managed_type root, struct managed_entries *m)
{
    for (size_t i = 0; i < m->list.len; i++)
        managed_reconcile(root, m->list.items[i].set);
}
