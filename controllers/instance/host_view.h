/* SPDX-License-Identifier: Apache-2.0 */
/* What an Instance says of the machine behind it, when that is a host of an SSH fleet. */
#ifndef CONTROLLERS_HOST_VIEW_H
#define CONTROLLERS_HOST_VIEW_H

#include "api/object.h"

#define FINALIZER_HOST "drover.dev/host"
#define LABEL_FLEET "drover.dev/fleet"
/* "true": the machine is given up; nothing on it is waited for. */
#define ANNOTATION_FORGET "drover.dev/forget"

/* Of a Fleet: id of another API server whose machines it may take. */
#define ANNOTATION_TAKE_OVER "drover.dev/take-over"

enum { HOST_TEXT_MAX = 254, HOST_URL_MAX = 520, HOST_ID_MAX = 65 };

struct host_endpoint {
    char hostname[HOST_TEXT_MAX], user[HOST_ID_MAX];
    int64_t port;
    char secret[HOST_TEXT_MAX], key[HOST_TEXT_MAX]; /* where its private key is */
};

struct host_view {
    struct host_endpoint to, jump;
    bool has_jump;
    char agent_url[HOST_URL_MAX]; /* "": the default */
    /* status.host */
    char *keys, *jump_keys; /* public keys seen first, one a line; "": none yet */
    char arch[HOST_ID_MAX], boot_id[HOST_ID_MAX], installed[HOST_ID_MAX];
};

/* False: not a host of an SSH fleet. */
bool host_view_read(const struct object *o, struct host_view *ret);
void host_view_done(struct host_view *v);
static inline void
host_view_done_ptr(struct host_view *v)
{
    host_view_done(v);
}
#define auto_host_view CLEANUP(host_view_done_ptr) struct host_view

/* The machine is given up (ANNOTATION_FORGET). */
bool host_is_forgotten(const struct object *o);

#endif
