/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What to do about one path, as a pure function of three versions: what was last mirrored
 * (base), what is in the file, what is in the store. docs/internals/mirror.md has the
 * table.
 *
 * The base keeps two forms: of the file and of the stored object at that time. They are
 * equal for files that we wrote; a person's file may say less (defaults) and is left as
 * it was written as long as all it says is stored.
 */
#ifndef MIRROR_PLAN_H
#define MIRROR_PLAN_H

#include <jansson.h>
#include <stdbool.h>

#include "base/str.h"

enum mirror_file {
    MIRROR_FILE_ABSENT,
    MIRROR_FILE_SAME,    /* the bytes that were mirrored */
    MIRROR_FILE_CHANGED, /* readable, other bytes */
    MIRROR_FILE_BAD,     /* cannot be understood: `problem` says why */
    MIRROR_FILE_UNKNOWN, /* cannot be read now: no conclusion is drawn */
};

struct mirror_versions {
    bool has_base;
    const char *base_uid;
    const json_t *base_file, *base_store; /* only looked at when the file CHANGED */
    /* Forms of the file that a killed process was applying, or NULL: what the store has
     * of them came from here. */
    const json_t *applied[2];
    enum mirror_file file;
    const json_t *file_form; /* CHANGED */
    bool file_plain;         /* CHANGED: to be rewritten with sealed values */
    const char *problem;     /* BAD */
    bool has_store;
    const char *uid;
    const json_t *store; /* only looked at when the file CHANGED */
    bool store_same;     /* equal to base_store (same uid) */
    bool deleting;       /* the stored object is being deleted */
    const char
        *unwanted; /* the object exists but is not mirrored: why. has_store false */
};

enum mirror_action {
    MIRROR_NOTHING,
    MIRROR_WRITE,   /* stored form -> file */
    MIRROR_REMOVE,  /* the file */
    MIRROR_RECORD,  /* the file agrees with the store: it is the base now */
    MIRROR_FORGET,  /* neither exists any more */
    MIRROR_CREATE,  /* the file's form */
    MIRROR_PATCH,   /* patch, on base_uid */
    MIRROR_DELETE,  /* base_uid */
    MIRROR_REFUSE,  /* leave both; `text` says why */
    MIRROR_RESTORE, /* MIRROR_WRITE for a file that was deleted while its object changed
                     */
};

struct mirror_plan {
    enum mirror_action action;
    json_t *patch;   /* PATCH; owned */
    struct str text; /* REFUSE, RESTORE: one problem per line */
};
void mirror_plan_done(struct mirror_plan *p);
static inline void
mirror_plan_done_ptr(struct mirror_plan *p)
{
    mirror_plan_done(p);
}
#define auto_plan CLEANUP(mirror_plan_done_ptr) struct mirror_plan

/* secret: values stay out of the text. */
void mirror_plan(const struct mirror_versions *v, bool secret, struct mirror_plan *ret);

/* The merge patch (RFC 7386) that makes `to` of `from`, both without nulls in objects;
 * NULL when they are equal. A new reference. */
json_t *mirror_diff(const json_t *from, const json_t *to);
/* Whether everything that `file` says is in `store`. */
bool mirror_says(const json_t *store, const json_t *file);

#endif
