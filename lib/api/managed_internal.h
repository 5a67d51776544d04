/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Server-side apply inside: how a value is typed (managed_type.c), walking values
 * (managed_walk.c, managed_merge.c), and the list of owners (managed_entries.c).
 */
#ifndef API_MANAGED_INTERNAL_H
#define API_MANAGED_INTERNAL_H

#include "api/fieldset.h"
#include "api/managed.h"

/* --- types
 * ------------------------------------------------------------------------------- */
/*
 * What a position in an object is typed by: the kind's schema, the fixed types of
 * metadata, or nothing (deduced: maps per field, lists whole). Passed by value.
 */
enum managed_meta { META_NONE, META_ROOT, META_METADATA, META_SET, META_OWNERS };
struct managed_type {
    const struct schema *schema; /* NULL: deduced */
    enum managed_meta meta;
};

struct managed_type managed_type_root(const struct kind *k);
/* *ret_named (may be NULL): the member is a field of the schema, not an item of a map. */
struct managed_type managed_type_member(struct managed_type t, const char *key,
                                        bool *ret_named);
struct managed_type managed_type_items(struct managed_type t);
/* By the element's spelling: "f:x" a member, else an item of a list. */
struct managed_type managed_type_below(struct managed_type t, const char *elem,
                                       bool *ret_named);

enum managed_shape {
    SHAPE_ABSENT,
    SHAPE_LEAF, /* scalars, null, atomic maps and lists, and empty ones */
    SHAPE_MAP,  /* not empty, owned by member */
    SHAPE_LIST, /* not empty, owned by item */
};
enum managed_shape managed_shape(struct managed_type t, const json_t *v);
/* An empty map or list that would be owned in parts: it sets no path itself. */
bool managed_is_empty_parts(struct managed_type t, const json_t *v);

/* --- lists owned by item
 * ------------------------------------------------------------------ */
struct managed_item {
    char *elem;    /* "k:..." or "v:..."; "i:..." when it has no proper name */
    json_t *v;     /* borrowed */
    bool repeated; /* an earlier item has the same name */
};
struct managed_items {
    vec(struct managed_item) list;
    struct map *by_elem; /* the value of the first */
};
void managed_items_init(struct managed_items *items, struct managed_type t,
                        const json_t *list);
void managed_items_done(struct managed_items *items);
static inline void
managed_items_done_ptr(struct managed_items *items)
{
    managed_items_done(items);
}
#define auto_managed_items CLEANUP(managed_items_done_ptr) struct managed_items
/* By name instead of position. */
void managed_items_sort(struct managed_items *items);
/* NULL when absent. Borrowed. */
json_t *managed_items_find(const struct managed_items *items, const char *elem);
/* ERR_INVALID when an item has no name or two have the same, anywhere in v. */
int managed_check_items(struct managed_type t, const json_t *v,
                        struct error *e) WARN_UNUSED;

/* --- walks
 * ---------------------------------------------------------------------------------- */
/* Numbers are equal by value, 1 and 1.0 too. */
bool managed_values_equal(const json_t *a, const json_t *b);

/* The paths that v sets. */
struct fieldset *managed_fieldset(struct managed_type t, const json_t *v);

struct managed_diff {
    struct fieldset *added, *modified, *removed;
};
void managed_compare(struct managed_type t, const json_t *old, const json_t *new,
                     struct managed_diff *ret);
void managed_diff_done(struct managed_diff *d);
bool managed_diff_is_empty(const struct managed_diff *d);

/* live with config put over it. New tree. */
json_t *managed_merge(struct managed_type t, const json_t *live, const json_t *config);
/* v without the members of set. New tree. A list that loses its last item is empty, or
 * null where the result is only asked for its paths: null is one, [] is none. */
enum managed_emptied { EMPTIED_LIST, EMPTIED_NULL };
json_t *managed_remove(struct managed_type t, const json_t *v, const struct fieldset *set,
                       enum managed_emptied emptied);
/* How paths written in that version are typed; false when it is not served. */
bool managed_type_version(const struct managed_opts *o, const char *api_version,
                          struct managed_type *ret);
/* Owners that were written under another schema: parts of what is atomic now become it.
 */
void managed_reconcile(struct managed_type t, struct fieldset *set);

/* What lies between two objects as each version sees it. */
struct managed_versioned_diff {
    const struct schema *schema;
    struct managed_diff diff;
};
struct managed_diffs {
    const struct managed_opts *o;
    const json_t *old, *new;
    bool ignore; /* managed_diff_ignore() is applied */
    vec(struct managed_versioned_diff) list;
};
/* Of entries in that version, which must be served. Borrowed until the next call. */
const struct managed_diff *managed_diffs_of(struct managed_diffs *ds,
                                            const char *api_version);
void managed_diffs_done(struct managed_diffs *ds);
static inline void
managed_diffs_done_ptr(struct managed_diffs *ds)
{
    managed_diffs_done(ds);
}
#define auto_managed_diffs CLEANUP(managed_diffs_done_ptr) struct managed_diffs
/* Fields of the schema with members below them become members themselves. New set. */
struct fieldset *managed_with_named(struct managed_type t, const struct fieldset *s);

/* --- owners
 * --------------------------------------------------------------------------------- */
#define MANAGED_MAX_UPDATERS 10
#define MANAGED_ANCIENT "ancient-changes"
#define MANAGED_BEFORE_APPLY "before-first-apply"

struct managed_entry {
    char *manager, *api_version, *subresource;
    char *time; /* "" unknown */
    bool apply;
    struct fieldset *set;
};
struct managed_entries {
    vec(struct managed_entry) list;
};
void managed_entries_done(struct managed_entries *m);
static inline void
managed_entries_done_ptr(struct managed_entries *m)
{
    managed_entries_done(m);
}
#define auto_managed_entries CLEANUP(managed_entries_done_ptr) struct managed_entries

/* v: metadata.managedFields. ERR_INVALID when it is not what the server writes. */
int managed_entries_read(const json_t *v, struct managed_entries *ret,
                         struct error *e) WARN_UNUSED;
/* Sorted as the server stores them; entries without fields are left out. */
json_t *managed_entries_write(struct managed_entries *m);
/* Index of the entry of o->manager; a new one without fields when there is none. */
size_t managed_entries_own(struct managed_entries *m, const struct managed_opts *o,
                           bool apply);
void managed_entries_remove(struct managed_entries *m, size_t i);
/* By the schema of each entry's version; entries of versions not served go. */
void managed_entries_reconcile(const struct managed_opts *o, struct managed_entries *m);
/* Merges the oldest updaters until at most MANAGED_MAX_UPDATERS are left. */
void managed_entries_cap(struct managed_entries *m);

/* --- shared by apply and update
 * --------------------------------------------------------------- */
/* A copy of obj without metadata.managedFields. */
json_t *managed_strip_object(const json_t *obj);
/* *obj (owned by the caller) with managedFields; NULL or empty fields removes the member.
 */
void managed_put_fields(json_t *obj, json_t *fields);
/* Removes what nobody owns: apiVersion, kind, metadata.name ... */
void managed_strip_set(struct fieldset *s);
/* Removes what this endpoint does not write: status, or all but status. */
void managed_ignore(const struct managed_opts *o, struct fieldset *s);
void managed_diff_ignore(const struct managed_opts *o, struct managed_diff *d);
/* Takes changed and removed paths from everybody but entry `own`. */
void managed_take_from_others(struct managed_entries *m, size_t own,
                              struct managed_diffs *ds);
/* The writer o->manager owns what differs from live to next (both stripped). */
void managed_own_changes(const struct managed_opts *o, struct managed_entries *m,
                         const json_t *live, const json_t *next);
/* Adds a conflict with `manager` for each member of fields. */
void managed_conflicts_add(struct managed_conflicts *c,
                           const struct managed_entry *manager,
                           const struct fieldset *fields);
/* Entry i gets set (taken); its time moves only when the set differs from before. */
void managed_set_own(struct managed_entries *m, size_t i, struct fieldset *set,
                     const char *now);

#endif
