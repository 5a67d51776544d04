/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror's thread: its state and the functions its files share. */
#ifndef MIRROR_INTERNAL_H
#define MIRROR_INTERNAL_H

#include <pthread.h>

#include "apiserver/mirror/calls.h"
#include "apiserver/mirror/feed.h"
#include "apiserver/mirror/form.h"
#include "apiserver/mirror/hints.h"
#include "apiserver/mirror/mirror.h"
#include "apiserver/mirror/plan.h"
#include "apiserver/mirror/tree.h"
#include "base/map.h"
#include "base/vec.h"

/* What is known about a path beside its base. */
struct mirror_entry {
    struct object *obj;      /* in the store, and mirrored; a reference */
    struct kind *kind;       /* of obj; a reference */
    const char *unwanted;    /* there is an object that is not mirrored: why (static) */
    uint64_t revision;       /* of the last news */
    struct mirror_stat stat; /* of the file as last read or written */
    bool stat_known;
    bool settled;  /* the first look is done */
    bool failed;   /* <path>.error is there */
    bool restored; /* it says so; the file and the object agree again */
    bool withheld; /* its deletion waits for the file that it was moved to */
    bool confirmed, discard, listed;
    unsigned tries;
    struct mirror_hash failure; /* of the text in <path>.error */
};

enum mirror_command_kind { MIRROR_CMD_CONFIRM, MIRROR_CMD_DISCARD, MIRROR_CMD_RESCAN };
struct mirror_cmd {
    enum mirror_command_kind kind;
    char *path; /* DISCARD: one file, or NULL */
};

struct mirror {
    /* --- set once */
    struct api_server *server;
    struct mirror_feed *feed;
    struct mirror_calls *calls;
    struct keyring *seal;
    struct mirror_state *state;
    struct mirror_tree *tree;
    struct mirror_hints *hints;
    void (*synced)(void *arg);
    void *synced_arg;
    bool import;
    char *state_dir;
    int wake_fd, mounts_fd;
    pthread_t thread;
    bool thread_runs;

    /* --- shared */
    pthread_mutex_t lock;
    bool stop, synced_told;
    vec(struct mirror_cmd) commands;
    struct str status;
    struct mirror_counts counts;

    /* --- the thread's own */
    struct mirror_kinds *kinds;
    struct map *entries;  /* path -> struct mirror_entry */
    struct map *out;      /* paths with news from the store */
    struct map *in;       /* paths with hints */
    struct map *in_dirs;  /* directories with hints */
    struct map *retry;    /* paths to look at again at retry_at */
    struct map *failures; /* path -> first line, for the status */
    struct map *blind;    /* directories that cannot be read -> why */
    bool in_all, looked_once, complete;
    bool foreign;        /* the root is not the one that was mirrored to */
    char suspended[512]; /* why nothing is done; "" */
    int64_t first_hint, last_hint, out_since, retry_at, checkpoint_at; /* ms; 0: none */
    unsigned retry_step;
    size_t n_held;
    unsigned events_left; /* Events that this batch may still send */
};

/* --- look.c */
struct mirror_look {
    struct mirror_key key;
    const struct kind *kind; /* NULL: not served */
    bool secret;
    enum mirror_file file;
    struct str bytes;
    struct mirror_hash file_hash;
    struct mirror_stat stat;
    struct mirror_form form; /* CHANGED */
    struct str problem;
    bool bad_place;   /* BAD: the name inside is another */
    struct str store; /* the stored form's text; empty: none */
    bool store_same, ours;
};
void mirror_look_done(struct mirror_look *l);
/* quick: trust an unchanged stat. False: the path is no object's. */
bool mirror_look(struct mirror *m, const char *path, struct mirror_entry *en, bool quick,
                 struct mirror_look *l);
/* All three versions -> plan. */
void mirror_look_plan(struct mirror *m, const char *path, const struct mirror_entry *en,
                      const struct mirror_look *l, struct mirror_plan *ret);
struct mirror_entry *mirror_entry_get(struct mirror *m, const char *path, bool make);
/* Drops the entry when nothing is left to know. */
void mirror_entry_prune(struct mirror *m, const char *path);

/* --- act.c: what needs no request */
/* The stored form goes to the file. */
void mirror_act_write(struct mirror *m, const char *path, struct mirror_entry *en,
                      const struct mirror_look *l);
void mirror_act_remove(struct mirror *m, const char *path, struct mirror_entry *en,
                       const struct mirror_look *l);
void mirror_act_record(struct mirror *m, const char *path, struct mirror_entry *en,
                       const struct mirror_look *l);
void mirror_act_forget(struct mirror *m, const char *path, struct mirror_entry *en);
/* Something went wrong that may pass: later again. */
void mirror_later(struct mirror *m, const char *path, const char *what,
                  const struct error *e);
/* A hint of our own. */
void mirror_hint_path(struct mirror *m, const char *path);

/* --- batch.c */
void mirror_run_in(struct mirror *m);
/* A slice of the news from the store. */
void mirror_run_out(struct mirror *m);

/* --- request.c */
struct mirror_item_op { /* what a request is for */
    char *path;
    enum mirror_action action;
    struct mirror_look look;
};
void mirror_item_op_free(struct mirror_item_op *i);
/* Makes the request; false (and the path has failed) when its values cannot be opened. */
bool mirror_request(struct mirror *m, struct mirror_item_op *item, const json_t *patch,
                    struct mirror_op *ret);
void mirror_answer(struct mirror *m, struct mirror_item_op *item,
                   const struct mirror_op *op);

/* --- report.c */
/* The file stays as it is; text (whole lines) goes to <path>.error and an Event. */
void mirror_fail(struct mirror *m, const char *path, struct mirror_entry *en,
                 const char *text);
void mirror_clear(struct mirror *m, const char *path, struct mirror_entry *en);
void mirror_update_status(struct mirror *m);

/* --- deletes.c */
struct mirror_gone { /* a file that is not there any more, its object is */
    char *path;
    struct mirror_look look;
};
struct mirror_fresh { /* a file that is new */
    char *path;
    struct mirror_hash bytes, body; /* body: the form without its name */
};
struct mirror_batch {
    struct mirror *m;
    vec(struct mirror_op) ops;
    vec(struct mirror_gone) gone;
    vec(struct mirror_fresh) fresh;
    bool crds; /* some were applied */
};
struct mirror_hash mirror_body_hash(const json_t *form);
/* Decides about all that is gone: deletes, holds, or waits for the other half of a move.
 */
void mirror_deletes(struct mirror_batch *b);
/* batch.c: makes the requests and takes in the answers. False: stopping. */
bool mirror_batch_flush(struct mirror_batch *b);

#endif
