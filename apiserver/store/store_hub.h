/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The watch hub: a bounded ring of the newest events and the watchers that read it, each
 * through a cursor of its own. See store.h for what a watcher is promised.
 *
 * A watcher that is behind the ring reads the log (store_back.h) until it has caught up.
 *
 * An idle watcher (one that has seen everything) has no cursor to fall behind: the first
 * event that it wants sets the cursor. So the ring may turn over completely beneath ten
 * thousand idle watchers, none is touched, and only a reader that is slow about events of
 * its own can be left behind.
 *
 * Watchers stand in buckets by the narrowest thing they ask for: a required label, a
 * name, a namespace, a resource, nothing. An event looks into the buckets that it belongs
 * to.
 *
 * Threading: loop thread only.
 */
#ifndef APISERVER_STORE_HUB_H
#define APISERVER_STORE_HUB_H

#include <sys/queue.h>

#include "apiserver/store/store.h"
#include "base/map.h"

struct hub_bucket;
TAILQ_HEAD(hub_wakes, store_watch);

struct store_hub {
    struct store *store; /* reads back for watchers that are behind; NULL: nobody does */
    struct hub_event {
        uint64_t revision;
        enum store_event_type type;
        const char *resource;      /* interned by the store */
        struct object *obj, *prev; /* references; prev may be NULL */
    } * ring; /* of cap entries; event number n is at n & (cap - 1) */
    size_t cap;
    uint64_t head, tail; /* number of the oldest event, of the next one */
    size_t bytes, max_events, max_bytes;
    uint64_t oldest;  /* every event after this revision is in the ring */
    uint64_t visible; /* the revision that idle watchers have seen */
    struct map *buckets;
    TAILQ_HEAD(hub_watchers, store_watch) all;
    size_t n_watchers, n_label_watchers;
    struct hub_wakes wakes; /* to be called by hub_wake */
    size_t n_due;           /* of them */
};

void hub_init(struct store_hub *h, size_t max_events, size_t max_bytes);
/* All watchers must have been freed. */
void hub_done(struct store_hub *h);
/* Nothing before this is known: where the ring starts after a snapshot was read. */
void hub_start_at(struct store_hub *h, uint64_t revision);
/* Events up to `revision` are missing: forgets all before, and every watcher that is
 * there gets ERR_EXPIRED, since nobody can tell it what it has missed. */
void hub_reset(struct store_hub *h, uint64_t revision);
/* Forgets events up to and including this revision. */
void hub_compact(struct store_hub *h, uint64_t revision);
/* Takes references of its own. resource must be the interned name. */
void hub_publish(struct store_hub *h, const struct store_event *ev);
/* True while hub_wake has something to do. */
bool hub_wants_wake(const struct store_hub *h);
/* Calls wake() of watchers that became due before the call, at most `limit`; callbacks
 * may free any watcher. */
void hub_wake(struct store_hub *h, size_t limit);
/* resource: the interned name, or NULL for all. */
int hub_watch(struct store_hub *h, const struct store_watch_opts *opts,
              const char *resource, struct store_watch **ret,
              struct error *e) WARN_UNUSED;

#endif
