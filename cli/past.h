/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The generations of one object, oldest first: the Revisions that the server keeps and,
 * while it exists, the object itself as the last. For history, diff, rollback, restore.
 */
#ifndef CLI_PAST_H
#define CLI_PAST_H

#include <jansson.h>

#include "base/vec.h"
#include "cli/session.h"

extern const struct resource resource_revisions;

struct generation {
    int64_t number;
    /* borrowed from the past; "" when not known */
    const char *user, *manager, *time, *changed, *revision;
    const char *name; /* of the Revision; NULL: the object itself */
    bool deleted;     /* the last state of an object that is gone */
    /* apiVersion, kind, metadata.{name,labels,..}, spec, ...; see past_open */
    const json_t *object;
};
struct past {
    json_t *live;     /* as the server has it; NULL: it does not exist */
    json_t *declared; /* of it, what a person declares */
    json_t *list;     /* RevisionList of the name */
    json_t *opened;   /* by past_open */
    const char *uid;
    size_t others; /* other objects had the name before */
    vec(struct generation) all;
};

/* uid NULL: the object that has the name now, else the one that had it last.
 * ERR_NOT_FOUND when nothing is known of it. */
int past_load(struct session *s, const struct named_resource *r, const char *name,
              const char *uid, struct past *ret, struct error *e) WARN_UNUSED;
void past_done(struct past *p);
const struct generation *past_find(const struct past *p, int64_t number,
                                   struct error *e); /* NULL: ERR_NOT_FOUND, says which */
/* The object of a generation, as long as p lives; that of a Secret is sealed in the list
 * and fetched here. */
int past_open(struct session *s, const struct named_resource *r, struct past *p,
              const struct generation *g, const json_t **ret,
              struct error *e) WARN_UNUSED;
/* What a person declares of an object: no status, and of metadata the name, labels and
 * annotations. A new reference. */
json_t *past_declared(const json_t *live);
/* "admin (kubectl-edit)" */
void generation_who(const struct generation *g, char *out, size_t size);
/* resourceVersion: the order in which Revisions were made. */
uint64_t past_version(const json_t *o);
/* Parses a positive number. */
int past_number(const char *option, const char *text, int64_t *ret,
                struct error *e) WARN_UNUSED;
/* KIND/NAME or KIND NAME from the words behind the options. */
int past_target(int argc, char **argv, const struct named_resource **ret,
                const char **ret_name, struct error *e) WARN_UNUSED;
/* Where Revisions of the kind are: the session's namespace, or drover-system. */
const char *past_ns(const struct session *s, const struct named_resource *r);
/* ?fieldSelector=of.resource%3D... */
void past_query(const struct named_resource *r, const char *name, const char *more,
                struct str *path);

#endif
