/* SPDX-License-Identifier: Apache-2.0 */
/* A http_target that owns its strings, for objects that outlive their caller's. */
#ifndef CLIENT_TARGET_COPY_H
#define CLIENT_TARGET_COPY_H

#include "io/http_client.h"

struct target_copy {
    struct http_target view; /* every string is owned by this struct */
};
void target_copy_init(struct target_copy *t, const struct http_target *from);
void target_copy_done(struct target_copy *t);

#endif
