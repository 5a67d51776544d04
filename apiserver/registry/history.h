/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Earlier generations of what people declared (ADR 0015). A write that replaces a
 * generation, or ends the object, commits a Revision object with it, in one commit: there
 * is no moment at which one of them exists without the other, whatever the driver.
 * docs/internals/history.md.
 *
 * Threading: revision_make is pure; the rest is the loop's.
 */
#ifndef REGISTRY_HISTORY_H
#define REGISTRY_HISTORY_H

#include "api/object.h"
#include "apiserver/registry/request.h"
#include "apiserver/store/store.h"

#define HISTORY_RESOURCE "revisions.history.drover.dev"
#define HISTORY_USER_INTERNAL "system:drover:apiserver"

struct authz_attributes;
struct history;
struct keyring;

/* What is kept; a zero member is its default. */
struct history_limits {
    bool off;
    uint32_t per_object; /* Revisions of one uid; default 50 */
    int64_t age_s;       /* since it was replaced; default 30 days */
    uint64_t bytes;      /* of all Revisions together; default 64 MiB */
};

/* From the text of --history-count, --history-age, --history-size; NULL: the default. */
int history_limits_parse(const char *count, const char *age, const char *size,
                         struct history_limits *ret, struct error *e) WARN_UNUSED;

/* --- revision.c, revision_diff.c: making one --- */
struct revision_in {
    const struct kind *kind, *revisions; /* of the object; of its Revision */
    const struct object *live;           /* what is replaced */
    const struct object *next;           /* by what; NULL: the object goes away */
    const struct object *previous;       /* latest Revision of live's uid; NULL: none */
    const struct keyring *keys;          /* for Secrets */
    const char *user, *manager;          /* who does it */
    int64_t now_ns;
};
/* *ret NULL: nothing to keep (not declared, or next has the same content). */
int revision_make(const struct revision_in *in, struct object **ret,
                  struct error *e) WARN_UNUSED;
/* Where the Revisions of an object are: in its namespace, those of cluster-scoped objects
 * in drover-system. */
const char *revision_ns(const struct object *of);
/* "<uid>.<generation, 10 digits>" */
#define REVISION_NAME_MAX 320
void revision_name(const char *uid, int64_t generation, char out[REVISION_NAME_MAX]);
int64_t revision_generation(const struct object *revision);
/* Appends the object as it was declared, unsealed. */
int revision_object(const struct object *revision, const struct keyring *keys,
                    struct str *out, struct error *e) WARN_UNUSED;
/* The same Revision under the first key; *ret NULL: it is, or nothing in it is sealed. */
int revision_reseal(const struct kind *kind, const struct object *revision,
                    const struct keyring *keys, struct object **ret,
                    struct error *e) WARN_UNUSED;
/* Appends the paths whose values differ between two canonical objects, leaving out
 * apiVersion, kind, metadata and status: "spec.priority, spec.env.A, and 3 more". Nothing
 * when there is no difference. */
void revision_diff(struct span before, struct span after, struct str *out);

/* --- history.c: what there is, and how long --- */
/* keys: seal the Secrets in it; borrowed. NULL: a key of this process only. */
int history_new(struct api_server *s, const struct history_limits *limits,
                const struct keyring *keys, struct history **ret,
                struct error *e) WARN_UNUSED;
const struct keyring *history_keys(const struct history *h);
void history_free(struct history *h); /* NULL ok */
/* From the pump: every change of the store. */
void history_object(struct history *h, const char *resource, const struct object *o,
                    bool deleted);
/* Whether a write of this object may have to keep a Revision. */
bool history_wants(const struct history *h, const struct kind *k,
                   const struct object *live);
/* Says that a generation goes without its Revision, and counts it. Any thread. */
void history_not_kept(struct history *h, const struct kind *k, const struct object *o,
                      const struct error *e);
void history_metrics(const struct history *h, struct str *out); /* h NULL ok */
/* The latest Revision of the object, waiting commits included; a reference or NULL. */
struct object *history_previous(struct history *h, const struct object *live);
static inline struct store_op
history_op(struct object *revision)
{
    return (struct store_op){.type = STORE_PUT,
                             .key = {HISTORY_RESOURCE, revision->ns, revision->name},
                             .obj = revision};
}

/* --- history_http.c --- */
/* Reading the Revision of an object needs the right to read that object: replaces the
 * resource in a by the one it is of. buf holds the strings. False: never allowed. */
struct history_attributes {
    char resource[ROUTE_SEGMENT_MAX], name[ROUTE_SEGMENT_MAX];
};
bool history_authz(const struct api_call *c, struct authz_attributes *a,
                   struct history_attributes *buf);
/* GET .../revisions/<name>/object and POST .../restore: true when it took the call. */
bool history_serve(struct api_call *c);

#endif
