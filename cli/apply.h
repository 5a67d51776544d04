/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Shared by the files of drover apply.
 *
 *   apply.c   options, the order of what is done, the writes
 *   plan.c    what would change, where it would run, whether to go on
 *   replace.c a new Run in the place of one that is there
 *   values.c  the caller's values     name.c  names for what has none
 */
#ifndef CLI_APPLY_H
#define CLI_APPLY_H

#include "cli/identity.h"
#include "cli/manifest.h"
#include "cli/session.h"
#include "cli/values.h"

enum apply_action {
    APPLY_SEND,    /* the server decides what comes of it */
    APPLY_CREATE,  /* nothing of the name is there */
    APPLY_CHANGE,  /* in place */
    APPLY_NOTHING, /* it is like that already */
    APPLY_REPLACE, /* the Run that is there ends and goes first */
    APPLY_REFUSED, /* only a new Run could have it, and nobody asked for that */
};

struct apply_item {
    struct manifest *m; /* one of apply.files */
    char *ns;
    struct run_secrets secrets;
    json_t *live; /* NULL: there is none */
    json_t *next; /* as it would be, from the server's dry run; NULL: not asked */
    enum apply_action action;
    struct fleet_keys keys;
};

struct apply {
    struct session s;
    struct manifests files;
    vec(struct apply_item) items;
    vec(const char *) paths;
    struct run_values values;
    bool force, dry_run, replace, yes, detach, attach;
    const char *manager, *name;
};

/* One server-side apply of the item as it is. */
int apply_send(struct apply *a, const struct apply_item *i, bool dry, struct object **ret,
               struct error *e) WARN_UNUSED;
/* Prints why a request failed, with file and line; the exit status. */
int apply_report(struct apply *a, const struct apply_item *i, const struct error *e);

/* What there is now, and the action as far as that tells it. */
int plan_look(struct apply *a, struct apply_item *i, struct error *e) WARN_UNUSED;
/* Asks the server what would come of the item: action and next. Wrong input is printed;
 * the exit status, 0: fine. */
int plan_make(struct apply *a, struct apply_item *i);
/* To stdout: changes, needs, places. */
void plan_print(struct apply *a, const struct apply_item *i);
/* Why a refused item is refused, on stderr; the exit status. */
int plan_refuse(const struct apply_item *i);
/* Asks on the terminal whether to do what was printed. */
bool plan_confirm(struct apply *a);

/* Ends the live Run of the item, deletes it and waits until it is gone. */
int replace_old(struct apply *a, struct apply_item *i, struct error *e) WARN_UNUSED;

#endif
