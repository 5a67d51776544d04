/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What is copied to a machine of an SSH fleet: a tar archive of the agent and of the
 * shared libraries that it is linked with, all but glibc's own.
 *
 *   bin/drover-runner   which looks for libraries in ../lib first
 *   lib/libcurl-gnutls.so.4 ...
 *   id                  the last entry: the name of all of it
 *
 * The libraries are those that the dynamic loader here would take (ld.so(8),
 * LD_TRACE_LOADED_OBJECTS). A program for another architecture is not one that we can ask
 * about: its libraries are what lies in the directory <program>.lib, if that is there.
 */
#ifndef CONTROLLERS_HOST_BUNDLE_H
#define CONTROLLERS_HOST_BUNDLE_H

#include "base/error.h"
#include "controllers/instance/host_view.h"

struct host_bundles; /* one per program, remade when one of its files changes */

/* dir: where archives are put. Threading: the caller sees to it. */
struct host_bundles *host_bundles_new(const char *dir);
void host_bundles_free(struct host_bundles *b);

struct host_bundle {
    const char *path;     /* of the archive; borrowed until the next get */
    char id[HOST_ID_MAX]; /* hash of names and contents */
    int libc_minor;       /* needs glibc 2.<this> or newer; 0: no glibc */
    int64_t kib;          /* unpacked */
};
/* ours: the program runs here. ERR_NOT_FOUND names a library that is missing. Cost: a
 * stat per file while nothing changes; else reads, hashes and archives them all. */
int host_bundle_get(struct host_bundles *b, const char *program, bool ours,
                    struct host_bundle *ret, struct error *e) WARN_UNUSED;

/* Of what ldd or getconf say of a C library: 36 of "glibc 2.36"; 0: not known; -1: it is
 * not glibc. */
int host_libc_minor(const char *words);
/* The newest GLIBC_2.x that a program or library asks for, by the names in it; 0: none.
 */
int host_libc_needed(const void *bytes, size_t n);

#endif
