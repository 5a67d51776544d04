/* SPDX-License-Identifier: Apache-2.0 */
/* Two API servers on one etcd, in one process on one loop. Everything fails the test. */
#ifndef DROVER_TESTS_ETCD_PAIR_H
#define DROVER_TESTS_ETCD_PAIR_H

#include "apiserver/registry/history.h"
#include "apiserver/registry/server.h"
#include "integration/conformance.h"

enum { PAIR_WAIT_MS = 30000 };

struct pair_side {
    struct store *store;
    struct api_server *server;
};
struct pair {
    struct conf c;
    struct kinds *kinds;
    struct pair_side side[2];
    char prefix[32];
    size_t open, ok, refused; /* writes; refused: 409 or 403 */
};

/* `etcd` is a running one (pair_group_setup); name: of the keys of this case. */
void pair_start(struct pair *p, const struct conf *etcd, const char *name,
                const struct history_limits *limits);
void pair_stop(struct pair *p);
/* Counts in open, then in ok or refused; any other end fails the test. */
void pair_write(struct pair *p, size_t side, enum write_type type, const char *resource,
                const char *ns, const char *name, const char *json);
/* Until no write is open. */
void pair_wait(struct pair *p);

/* One etcd for all cases of a group, *state is its struct conf; it ends when one fails
 * too. */
int pair_group_setup(void **state);
int pair_group_teardown(void **state);

#endif
