/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Image names and the progress of a pull: the pure parts of fetching an image. No I/O;
 * the caller feeds bytes and asks for totals. Not thread-safe.
 */
#ifndef DOCKER_IMAGE_H
#define DOCKER_IMAGE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "base/error.h"
#include "base/str.h"

/* What POST /images/create wants. tag holds "latest" when the reference names none, or
 * the digest ("sha256:...") when it names one. */
struct docker_image {
    char name[256]; /* registry and path, as written */
    char tag[160];
};
/* "busybox", "host:5000/team/app:1.2", "app@sha256:...", "app:1@sha256:...".
 * ERR_INVALID with what is wrong. */
int docker_image_parse(const char *reference, struct docker_image *ret,
                       struct error *e) WARN_UNUSED;

/*
 * Sums up the JSON lines of a pull. Understands Docker's layer events (bytes or, for
 * extraction by newer daemons, seconds), Podman's, and errors of both. Layers beyond the
 * bound are counted as one.
 */
#define DOCKER_PULL_MAX_LAYERS 256
struct docker_pull;
struct docker_pull *docker_pull_new(void);
void docker_pull_free(struct docker_pull *p); /* NULL ok */
/* True when something moved: what a stall time-out is reset by. */
bool docker_pull_feed(struct docker_pull *p, const char *bytes, size_t n);

struct docker_pull_totals {
    int64_t downloaded, total; /* total -1: not yet known for every layer */
    unsigned layers_done, layers_total;
};
void docker_pull_totals(const struct docker_pull *p, struct docker_pull_totals *ret);
/* The first error the stream reported, or "". Borrowed. */
const char *docker_pull_error(const struct docker_pull *p);

#endif
