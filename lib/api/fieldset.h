/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Sets of field paths, as managedFields hold them: a trie whose edges are path elements
 * in their FieldsV1 spelling ("f:spec", "k:{\"name\":\"x\"}", "v:\"t1\"", "i:0"). An
 * entry may be a member of the set, or only lead to members below it, or both ("." in
 * FieldsV1). Entries without a member below them do not exist. Not thread-safe.
 */
#ifndef API_FIELDSET_H
#define API_FIELDSET_H

#include <jansson.h>

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

#define FIELDSET_MAX_DEPTH 100

struct fieldset;
struct fieldset_entry {
    char *elem;
    bool member;
    struct fieldset *below; /* NULL: nothing below */
};
struct fieldset {
    vec(struct fieldset_entry) list; /* sorted by elem */
};

struct fieldset_path {
    const char *elems[FIELDSET_MAX_DEPTH]; /* borrowed */
    size_t n;
};

struct fieldset *fieldset_new(void);
void fieldset_free(struct fieldset *s); /* NULL ok */
static inline void
fieldset_free_ptr(struct fieldset **s)
{
    fieldset_free(*s);
}
#define auto_fieldset CLEANUP(fieldset_free_ptr) struct fieldset
struct fieldset *fieldset_copy(const struct fieldset *s);

bool fieldset_is_empty(const struct fieldset *s);
bool fieldset_equal(const struct fieldset *a, const struct fieldset *b);
void fieldset_insert(struct fieldset *s, const struct fieldset_path *path);
/* NULL when there is none. */
const struct fieldset_entry *fieldset_find(const struct fieldset *s, const char *elem);
/* The entry, made when absent. The caller makes it a member or fills `below`. */
struct fieldset_entry *fieldset_entry(struct fieldset *s, const char *elem);
/* Removes the element with all below it. */
void fieldset_drop(struct fieldset *s, const char *elem);

/* New sets. Members are compared one by one: what is below a member is independent. */
struct fieldset *fieldset_union(const struct fieldset *a, const struct fieldset *b);
struct fieldset *fieldset_intersect(const struct fieldset *a, const struct fieldset *b);
struct fieldset *fieldset_subtract(const struct fieldset *a, const struct fieldset *b);
/* *s = *s op other; frees the old one. */
void fieldset_add_all(struct fieldset **s, const struct fieldset *other);
void fieldset_remove_all(struct fieldset **s, const struct fieldset *other);

/* Calls fn for each member, parents first. */
void fieldset_each(const struct fieldset *s,
                   void (*fn)(const struct fieldset_path *path, void *arg), void *arg);
/* ".spec.parts[name=\"x\"].qty" */
void fieldset_path_text(const struct fieldset_path *path, struct str *out);

/* Whether a path is a member of both. */
bool fieldset_overlaps(const struct fieldset *a, const struct fieldset *b);
/* The path, read from elems[from], is no member any more. What is below it stays. */
void fieldset_clear(struct fieldset *s, const struct fieldset_path *path, size_t from);

/* "f:key"; malloc'd. */
char *fieldset_field_elem(const char *key);
/* The keys of a JSON object in order, n = json_object_size; entries made in this order
 * are only ever appended. free() the array; the keys are borrowed. NULL when there is
 * none. */
const char **fieldset_sorted_keys(const json_t *object);

/* FieldsV1. Elements are checked and normalised; ERR_INVALID otherwise. */
int fieldset_from_json(const json_t *v, struct fieldset **ret,
                       struct error *e) WARN_UNUSED;
json_t *fieldset_to_json(const struct fieldset *s);

#endif
