/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and code of a job, put in their place before it starts. All of it blocks (the
 * network, git, disks), so it is the work of a child: the agent starts itself again as
 * `drover-runner --place`, hands it the order as JSON on standard input (a memfd: it
 * holds tokens) and reads one line from its standard output, "ok" or what went wrong. The
 * child dies with the agent; a new one begins anew, from an empty directory.
 *
 *   place.c  the order     fetch.c  blobs, by hash, cached     untar.c  archives
 *   git.c    repositories  tree.c   walking without following links
 *   roots.c  root file systems out of archives, shared by jobs  source.c  gzip
 *
 * The order: {"dir", "roots": [names], "cache", "url", "caPem", "bearer", "ns",
 * "process": true, "root", "user", "repos": [...], "files": [...]} where repos and files
 * are the Job's own items plus "to": a path relative to dir; a repo may have "token" or
 * "privateKey". Limits: the order 1 MiB.
 */
#ifndef RUNNER_PLACE_H
#define RUNNER_PLACE_H

#include <jansson.h>
#include <sys/types.h>

#include "base/error.h"

#define PLACE_FLAG "--place"
#define PLACE_ORDER_MAX (1 << 20)
#define PLACE_CACHE_BYTES (INT64_C(8) << 30)

int place_main(void);

/* `path` as the job means it: relative to base, with ~ for home. Vectors: ("", "", "") is
 * "."; ("~user", ...) is refused. malloc'd. */
int place_expand(const char *path, const char *base, const char *home, char **ret,
                 struct error *e) WARN_UNUSED;
/* Where an absolute path of a process-engine job is below its directory on the machine
 * ("/job/x" is "work/x", "/tmp/x" is "tmp/x"); refused elsewhere. malloc'd. */
int place_process_path(const char *absolute, char **ret, struct error *e) WARN_UNUSED;

struct place_owner {
    uid_t uid;
    gid_t gid;
};

/* --- tree.c ------------------------------------------------------------------------- */
/* Opens the directory `path` (relative; no "..") below root_fd, making what is missing as
 * 0755 of the owner. No component may be a link: ERR_INVALID. *ret_fd is the caller's. */
int tree_open(int root_fd, const char *path, const struct place_owner *o, int *ret_fd,
              struct error *e) WARN_UNUSED;
/* Gives all of it to the owner; links themselves, never what they point to. */
int tree_chown(int dir_fd, const char *name, const struct place_owner *o,
               struct error *e) WARN_UNUSED;
/* Removes name and what is below it; absent is success. */
int tree_remove_at(int dir_fd, const char *name, struct error *e) WARN_UNUSED;

/* --- fetch.c ------------------------------------------------------------------------ */
struct fetch {
    const char *cache, *url, *ca_pem, *bearer, *ns;
};
/* An open descriptor of the verified blob ("sha256:<hex>"), from the cache or the server
 * (cut transfers go on where they were). */
int fetch_blob(const struct fetch *f, const char *blob, int *ret_fd,
               struct error *e) WARN_UNUSED;
/* It is not needed any more, there is something better made of it. */
void fetch_forget(const struct fetch *f, const char *blob);

/* --- git.c -------------------------------------------------------------------------- */
struct git_repo {
    const char *url, *branch, *hash; /* branch, hash: may be NULL */
    const char *user_name, *user_email, *token, *private_key;
    const char *scratch; /* a private directory, for the key while it is needed */
    bool all_branches;
    int patch_fd; /* -1: none */
};
/* Clones into the empty directory `to` and applies the patch strictly. */
int git_place(const struct git_repo *g, const char *to, struct error *e) WARN_UNUSED;

#endif
