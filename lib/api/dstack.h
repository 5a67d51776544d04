/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dstack's own configuration files (one mapping with `type:`, snake_case) as our Run and
 * Fleet objects. Pure; no file is read and no server asked. What only the submitter knows
 * stays as it was written and is the CLI's to fill in: a null in spec.env is a value of
 * the caller's environment, spec.registryAuth still has username and password,
 * spec.files and spec.repos name local paths, texts may hold ${{ ... }}.
 *
 *   dstack.c         the kinds of documents, the walk over their keys, nearest names
 *   dstack_values.c  conversions of single values     dstack_lists.c  and of lists
 *   dstack_run.c     tasks     dstack_fleet.c  fleets     dstack_profile.c  profiles
 */
#ifndef API_DSTACK_H
#define API_DSTACK_H

#include <jansson.h>

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

#define DSTACK_NOTES_MAX 64

struct dstack_note {
    bool warning; /* else a problem */
    char *path;   /* as in the file: "resources.gpu", "ports[1]"; "" for the whole */
    char *text;
};
struct dstack_result {
    json_t *object; /* NULL when there are problems */
    vec(struct dstack_note) notes;
    size_t problems; /* more than DSTACK_NOTES_MAX notes are counted only */
};
void dstack_result_done(struct dstack_result *r);
static inline void
dstack_result_done_ptr(struct dstack_result *r)
{
    dstack_result_done(r);
}
#define auto_dstack_result CLEANUP(dstack_result_done_ptr) struct dstack_result

/* A mapping with `type` and neither apiVersion nor kind. */
bool dstack_is_document(const json_t *doc);

/* profile: an entry of a profiles file that dstack_profile_find gave, or NULL: fills in
 * what doc leaves out. metadata.name is absent when doc has no name. Fills ret, which
 * starts zeroed; notes say what is wrong and what has no effect. */
void dstack_translate(const json_t *doc, const json_t *profile,
                      struct dstack_result *ret);

/* Checks a whole profiles file ({profiles: [...]}) and finds the named entry, or the
 * default one with name NULL. *ret_entry is borrowed from doc; NULL: there is none.
 * Problems are notes; ret->object stays NULL. */
void dstack_profile_find(const json_t *doc, const char *name, const json_t **ret_entry,
                         struct dstack_result *ret);

/* Where a field of our object stands in dstack's file: "spec.resources.shmSize" ->
 * "resources.shm_size", "metadata.name" -> "name". */
void dstack_path(const char *field, struct str *out);

#endif
