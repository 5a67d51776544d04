/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives that nobody vouches for: the reader of tar files (ustar, pax, GNU long names)
 * and where its bytes come from. Every directory is opened by descriptor, one component
 * at a time, never through a link; names with ".." or an absolute name refuse the
 * archive; links are made last. Blocking; for the child of place.c.
 */
#ifndef RUNNER_UNTAR_H
#define RUNNER_UNTAR_H

#include <zlib.h>

#include "runner/place/place.h"

/* --- source.c ------------------------------------------------------------------------
 */
struct source {
    int fd; /* borrowed */
    bool gzip, ended;
    z_stream z;
    unsigned char *in;
};
void source_plain(struct source *s, int fd);
/* Plain or gzip, by the first bytes; ERR_UNSUPPORTED names another kind. source_done()
 * also after a failure. */
int source_detect(struct source *s, int fd, struct error *e) WARN_UNUSED;
void source_done(struct source *s);
/* *ret < n at the end only. ERR_INVALID: damaged or cut short. */
int source_read(struct source *s, void *buf, size_t n, size_t *ret,
                struct error *e) WARN_UNUSED;

/* --- untar.c -------------------------------------------------------------------------
 */
/* Unpacks the archive with its top entry renamed to `top` in dir_fd; what was there is
 * removed first. All of it belongs to the owner. Anything but files, directories and
 * links is refused. setuid and setgid bits are dropped. */
int untar(int fd, int dir_fd, const char *top, const struct place_owner *o,
          struct error *e) WARN_UNUSED;

struct untar_root {
    int fd;     /* of the archive, plain or gzip */
    int dir_fd; /* an empty directory, which becomes the root */
    /* Asked before each entry: bytes of disk that it may take. < 0 ends the unpacking. */
    int (*room)(void *arg, int64_t bytes, struct error *e);
    void *arg;
};
/* Unpacks a root file system: as many top entries as there are, owners (ids over 65535
 * become nobody), modes and times as in the archive. Devices and pipes are passed over (a
 * job has a /dev of its own), setuid bits dropped (a job gains nothing by them), extended
 * attributes ignored; ".wh." names are names like any other. An archive without its end
 * mark, or with other bytes after it, is refused. The caller must be root. */
int untar_root(const struct untar_root *r, struct error *e) WARN_UNUSED;

#endif
