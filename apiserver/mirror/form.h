/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The form of an object in the mirror: apiVersion, kind, metadata {name, namespace,
 * labels, annotations} and every other member but status, in this order. What the server
 * or controllers own (uid, resourceVersion, generation, times, managedFields, finalizers,
 * ownerReferences, kubectl's last-applied copy) is left out when written and ignored when
 * read, so that the output of `kubectl get -o yaml` is a good file. Values of a Secret's
 * data are sealed (seal.h) in every form that this module returns.
 *
 * Pure but for the key of the seal; thread-safe.
 */
#ifndef MIRROR_FORM_H
#define MIRROR_FORM_H

#include <jansson.h>

#include "api/object.h"
#include "api/violations.h"
#include "apiserver/mirror/path.h"
#include "apiserver/mirror/seal.h"

#define MIRROR_FILE_MAX (3u << 20)

/* NULL when the object is one that people declare and the mirror keeps; otherwise why
 * not: a controller owns it, it is the server's own, its annotation drover.dev/mirror is
 * "false", ... */
const char *mirror_unwanted(const struct kind *k, const struct object *o);

/* The stored object's form as JSON text; equal text <=> equal form. */
int mirror_render(const struct keyring *seal, const struct kind *k,
                  const struct object *o, struct str *out, struct error *e) WARN_UNUSED;
/* Its file: JSON text of a form -> YAML. */
int mirror_to_yaml(struct span form, struct str *out, struct error *e) WARN_UNUSED;

struct mirror_problem {
    struct error e;
    unsigned line; /* 0: unknown */
    char field[256];
};

/* A file's contents. */
struct mirror_form {
    json_t *json; /* the form; owned */
    bool plain;   /* holds a value that must be sealed (or sealed anew) in the file */
};
void mirror_form_done(struct mirror_form *f);
static inline void
mirror_form_done_ptr(struct mirror_form *f)
{
    mirror_form_done(f);
}
#define auto_form CLEANUP(mirror_form_done_ptr) struct mirror_form

/* Reads a file that stands at key's place. uid: of the stored object, "" for none; values
 * are sealed for it. The error says what would be right; e.code ERR_INVALID,
 * ERR_BAD_REQUEST or ERR_TOO_LARGE. */
int mirror_read_form(const struct keyring *seal, const struct kind *k,
                     const struct mirror_key *key, const char *uid, struct span bytes,
                     struct mirror_form *ret, struct mirror_problem *p) WARN_UNUSED;

/* A form of earlier: what an older key of the ring has sealed is sealed anew, so that
 * forms can be compared. Values that do not open stay. */
void mirror_reseal_form(const struct keyring *seal, const struct mirror_key *key,
                        json_t *form);

/* A form, or a merge patch of one, as the API takes it: sealed values opened. A new
 * reference or NULL and the problem. */
json_t *mirror_open_values(const struct keyring *seal, const struct mirror_key *key,
                           const json_t *form, struct mirror_problem *p);

#endif
