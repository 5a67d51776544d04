/* SPDX-License-Identifier: Apache-2.0 */
/* Between the driver and etcd: loses a transaction's request or reply, or lets it come
 * late. Threads of its own. */
#ifndef TESTS_ETCD_PROXY_H
#define TESTS_ETCD_PROXY_H

#include <pthread.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>

enum lose { LOSE_NOTHING, LOSE_REPLY, LOSE_REQUEST, HOLD_REQUEST };

/* Between the driver and etcd. What it does to the next transaction is set by `lose`. */
struct proxy {
    int listen_fd, port, etcd_port;
    _Atomic int lose;
    _Atomic int lost;
    _Atomic bool stop;
    pthread_t thread;
    pthread_mutex_t lock;
    char held[65536];
    size_t n_held; /* under lock */
};

struct proxy *proxy_start(const char *endpoint);
void proxy_stop(struct proxy *p);
/* The held transaction arrives after all; etcd's answer to it, valid until the next. */
char *release_held(struct proxy *p);

#endif
