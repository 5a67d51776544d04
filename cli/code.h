/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and code of a Run before it is applied: local paths of spec.files, spec.repos and
 * spec.rootfs become uploaded blobs and commits. Blocking.
 *
 *   code.c    the fields of the Run    pack.c    a path as a tar archive
 *   checkout.c  a local git checkout   upload.c  a blob to drover-streams
 */
#ifndef CLI_CODE_H
#define CLI_CODE_H

#include "cli/manifest.h"
#include "cli/session.h"

/* Replaces in m->object what is local. With dry nothing is sent, but everything is looked
 * at. ERR_INVALID names the field. Objects that are no Run are left alone. */
int code_prepare(struct session *s, const struct manifest *m, bool dry,
                 struct error *e) WARN_UNUSED;

/* A path as the manifest means it: ~ is the home directory, a relative one is relative to
 * the file that names it. malloc'd. */
int code_local_path(const struct manifest *m, const char *text, char **ret,
                    struct error *e) WARN_UNUSED;

/* An open, unlinked file with its hash. */
struct packed {
    int fd; /* -1: none */
    uint64_t size;
    char blob[80]; /* "sha256:<hex>" */
};
void packed_done(struct packed *p);
/* An empty temporary file that nobody else can see. */
int packed_new(struct packed *p, struct error *e) WARN_UNUSED;
/* Its size and hash, once it is written. */
int packed_seal(struct packed *p, struct error *e) WARN_UNUSED;

/* The file or directory as a tar archive with one top entry: the same bytes for the same
 * content whatever its times, owners and place. What git ignores there (.gitignore and
 * the like) and what .dstackignore or .droverignore name is left out. */
int pack_path(const char *path, struct packed *ret, struct error *e) WARN_UNUSED;

struct checkout {
    char *url, *branch, *hash; /* branch NULL: detached */
    struct packed patch;       /* fd -1: no change */
};
void checkout_done(struct checkout *c);
/* What the remote has of the checkout at path, and the difference to it: commits that
 * were not pushed, changes, new files. */
int checkout_read(const char *path, struct checkout *ret, struct error *e) WARN_UNUSED;
/* Runs git in dir; stdout (bounded by out->max) without the last newline. index: value of
 * GIT_INDEX_FILE or NULL. ERR_PROVIDER with git's words when it fails. */
int checkout_git(const char *dir, const char *index, const char *const *words,
                 struct str *out, struct error *e) WARN_UNUSED;

/* Sends what the server does not have yet; a cut upload goes on where it was. label: for
 * the progress line on a terminal. */
int upload_blob(struct session *s, const char *ns, const struct packed *p,
                const char *label, struct error *e) WARN_UNUSED;

#endif
