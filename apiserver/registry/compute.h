/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The pure half of a write: live object + request -> next object, or the problem. Reads
 * immutable inputs only, so it runs on the loop for small requests and on the compute
 * pool for large ones and for server-side apply; the caller commits with
 * compare-and-swap and starts over when the object moved meanwhile.
 *
 * Order: build the next JSON (body, merge, JSON patch or apply) -> kind_decode (bound,
 * check, prune, default, validate) -> metadata rules and what the request may not change
 * -> rules of built-in kinds -> admission -> managedFields -> no-op detection.
 */
#ifndef REGISTRY_COMPUTE_H
#define REGISTRY_COMPUTE_H

#include "api/object.h"
#include "apiserver/registry/options.h"
#include "apiserver/registry/problem.h"

enum write_type {
    WRITE_CREATE,
    WRITE_UPDATE,
    WRITE_MERGE,
    WRITE_STRATEGIC, /* built-in kinds only */
    WRITE_JSON_PATCH,
    WRITE_APPLY,
};

struct compute_in {
    const struct kind *kind;
    enum write_type type;
    const char *ns, *name, *sub; /* name: of the URL, or the generated one on create */
    struct span body;
    const struct object *live; /* NULL: it does not exist */
    struct write_options opt;
    char uid[37]; /* for a new object */
    int64_t now_ns;
    /* All versions of the kind, where there are several; n_versions 0: one. */
    const struct kind *const *versions;
    size_t n_versions;
    bool internal; /* the server's own: needs no resourceVersion */
};
struct compute_out {
    struct object *obj;     /* the next state; NULL on failure. A reference. */
    bool created, changed;  /* changed false: obj is the live one, nothing to write */
    bool gone;              /* the last finalizer of a deleted object went away */
    struct problem problem; /* on success its v holds what was unknown, for warnings */
};
/* out must be zero with an initialised problem. */
int compute_write(const struct compute_in *in, struct compute_out *out);
/* Appends the JSON of the one document that a body in YAML must be; takes docs. */
struct yaml_docs;
int body_one_document(struct yaml_docs *docs, struct str *out, struct error *e);

/* DELETE_DEFAULT: not asked for; what an earlier deletion asked for stays. */
enum delete_policy {
    DELETE_BACKGROUND,
    DELETE_FOREGROUND,
    DELETE_ORPHAN,
    DELETE_DEFAULT,
};
struct delete_options {
    enum delete_policy policy;
    char uid[64], rv[24]; /* preconditions, or "" */
    bool dry_run;
};
/* gone: commit a deletion; changed: commit obj; neither: it is being deleted already. */
int compute_delete(const struct kind *kind, const struct object *live,
                   const struct delete_options *o, int64_t now_ns,
                   struct compute_out *out);
/* Body JSON or query of a DELETE request. */
int delete_options_parse(const struct api_call *c, struct delete_options *ret,
                         struct problem *p) WARN_UNUSED;

/* An object like live with other finalizers or owner references (canonical JSON arrays;
 * zero span: none). For the garbage collector and namespace life cycle. */
int compute_replace_meta(const struct kind *kind, const struct object *live,
                         const struct span *finalizers, const struct span *owners,
                         struct object **ret, struct error *e) WARN_UNUSED;

#endif
