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
#include "runner/engines/engine.h"

/*
 * A reference taken apart by the grammar of the distribution project ("reference"):
 * [host[:port]/]path[:tag][@algorithm:hex]. What has no host is Docker Hub's, and what
 * there has one component only is "library/".
 */
struct docker_image {
    char registry[256]; /* "docker.io", "host:5000" */
    char path[264];     /* "library/busybox" */
    /* What POST /images/create wants: registry/path, and the digest if there is one, else
     * the tag, else "latest". */
    char name[528];
    char tag[160];
    bool digest;  /* tag is one: what it names never changes */
    bool refresh; /* "latest", said or not: looked up anew for each job */
};
/* ERR_INVALID with what is wrong. */
int docker_image_parse(const char *reference, struct docker_image *ret,
                       struct error *e) WARN_UNUSED;

/* Value of X-Registry-Auth: base64url of {"username","password","serveraddress"}. */
void docker_image_auth(const struct docker_image *im,
                       const struct engine_registry_auth *auth, struct str *out);

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
/* The daemon's last word came: the image is there. Podman ends without one. */
bool docker_pull_complete(const struct docker_pull *p);
/* The first error the stream reported, or "". Borrowed. */
const char *docker_pull_error(const struct docker_pull *p);

#endif
