/* SPDX-License-Identifier: Apache-2.0 */
/* The `continue` token of a list: which revision goes on after which object. */
#ifndef REGISTRY_LIST_TOKEN_H
#define REGISTRY_LIST_TOKEN_H

#include "apiserver/registry/problem.h"

enum { LIST_POSITION_MAX = 520, LIST_TOKEN_MAX = 2048 };

/* position: "ns/name". A negative revision: at the latest state. */
void list_token_write(int64_t revision, const char *position, struct str *out);
/* ERR_BAD_REQUEST when no list of this server made it. */
int list_token_read(const char *token, int64_t *ret_revision,
                    char position[LIST_POSITION_MAX], struct problem *p) WARN_UNUSED;

#endif
