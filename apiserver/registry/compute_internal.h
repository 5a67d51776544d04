/* SPDX-License-Identifier: Apache-2.0 */
/* State of one computation, shared by compute*.c and kind_rules.c. */
#ifndef REGISTRY_COMPUTE_INTERNAL_H
#define REGISTRY_COMPUTE_INTERNAL_H

#include "apiserver/registry/compute.h"
#include "base/clock.h"

struct compute {
    const struct compute_in *in;
    struct compute_out *out;
    struct str next;          /* JSON before decoding */
    struct str decoded;       /* canonical; doc borrows from it */
    struct str scratch[4];    /* what rules build; doc borrows from them */
    struct str managed;       /* metadata.managedFields; doc borrows from it */
    struct doc live_doc, doc; /* doc: the next state */
    char created[CLOCK_RFC3339_LEN];
    bool apply_changed; /* what managed_apply said */
};

/* compute_patch.c: fills c->next. */
int compute_next(struct compute *c);
/* compute_meta.c */
int compute_meta_create(struct compute *c);
int compute_meta_update(struct compute *c);
int compute_meta_check(struct compute *c);
/* compute_names.c: violations of the rules for names, and for what metadata holds */
void meta_check_name(struct compute *c);
void meta_check_maps(struct compute *c);
/* kind_rules.c: what schemas cannot say about built-in kinds. */
int kind_rules_apply(struct compute *c);
int quota_rules(struct compute *c); /* quota_rules.c */
/* rbac_rules.c */
/* secret_rules.c */
int secret_rules(struct compute *c);
int configmap_rules(struct compute *c);
int role_rules(struct compute *c);
int binding_rules(struct compute *c);
int crd_rules(struct compute *c); /* crd_rules.c */

static inline struct problem *
compute_problem(struct compute *c)
{
    return &c->out->problem;
}

#endif
