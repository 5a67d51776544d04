/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The live mirror: <data>/desired holds what people declared, one YAML file per object,
 * and edits of the files are applied. docs/mirror.md is for users,
 * docs/internals/mirror.md says how it works; plan.h is its core.
 *
 * One thread does all the file work: scan -> plan -> act -> record. It talks to the
 * registry as the user system:files (calls.h) and hears of changes by the store's watch
 * (feed.h). The loop never waits for it.
 *
 * Threading: all calls on the loop's thread.
 */
#ifndef MIRROR_MIRROR_H
#define MIRROR_MIRROR_H

#include "apiserver/registry/server.h"

struct mirror;
struct mirror_opts {
    struct api_server *server;
    const char *data_dir; /* desired/, mirror/ and keys/ below it */
    /* Called once on the loop when the first three-way look is done; may be NULL. */
    void (*synced)(void *arg);
    void *arg;
    bool import; /* the files are the truth: nothing is deleted, nothing written before */
};
/* After api_server_bootstrap is done. */
int mirror_start(const struct mirror_opts *o, struct mirror **ret,
                 struct error *e) WARN_UNUSED;
/* Before api_server_prepare_close; what is not written yet is at the next start. NULL ok.
 */
void mirror_stop(struct mirror *m);

/* For people: root, state, counts, errors, held deletions. */
void mirror_status(struct mirror *m, struct str *out);
/* "confirm", "discard", "discard PATH", "rescan", "status": the answer is appended. */
void mirror_command(struct mirror *m, const char *command, struct str *out);

struct mirror_counts {
    size_t files, errors, held;
    bool idle; /* nothing waits */
};
void mirror_counts(struct mirror *m, struct mirror_counts *ret);

#endif
