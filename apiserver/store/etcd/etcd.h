/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The etcd driver's parts and what they share; nothing here is for other
 * folders.
 *
 *   etcd_proto   the words of etcd's JSON gateway
 *   etcd_call    one request: endpoints, TLS, tokens, what a failure means
 *   etcd_load    reads everything at one revision, at the start and after a gap
 *   etcd_watch   follows the changes from there
 *   etcd_commit  transactions, and what became of them
 *   etcd_sync    the barrier, signs of life, compaction
 *
 * What stands in etcd beside the objects:
 *   <prefix>/_meta/last          put by every transaction:
 * "<server>.<number>.<changes>". Its mod_revision is the newest commit (the
 * barrier), its version counts them (so that a missing one is noticed), its
 * value tells a server that a commit was its own.
 *   <prefix>/_meta/fence/<server>/<slot>  what a transaction of that server in
 * that slot is conditional on, and puts: so a copy of it fails, and putting it
 * ends one that is still on its way. <prefix>/_meta/compact       who compacts
 * next
 */
#ifndef STORE_ETCD_H
#define STORE_ETCD_H

#include <sys/queue.h>

#include "api/jtok.h"
#include "apiserver/store/etcd/etcd_proto.h"
#include "apiserver/store/store_etcd.h"
#include "apiserver/store/store_internal.h"
#include "io/http_client.h"

#define ETCD_SERVER_ID 17
#define ETCD_SLOTS 64
#define ETCD_LINE_MAX (16u << 20)

struct etcd_call;
struct etcd_commit;
struct etcd_load;
struct etcd_sync_wait;
TAILQ_HEAD(etcd_calls, etcd_call);
TAILQ_HEAD(etcd_commits, etcd_commit);
TAILQ_HEAD(etcd_sync_waits, etcd_sync_wait);

/* How a call ended. */
enum etcd_outcome {
    ETCD_OK,
    ETCD_REFUSED, /* etcd has said no: nothing was done, and trying again is no
                     use */
    ETCD_FAILED,  /* it was not done */
    ETCD_UNKNOWN, /* no answer: it may have been done, or may still be */
};
typedef void etcd_call_fn(void *arg, enum etcd_outcome outcome, struct span reply,
                          const struct error *e);

/* One commit flies in a slot at a time. */
struct etcd_slot {
    struct store_etcd *x;
    char *key;
    uint64_t mod; /* of its key, as far as known; 0: not there */
    uint64_t put; /* of the last fence that etcd has acknowledged */
    bool fencing;
    struct etcd_commit *commit; /* NULL: free */
};

struct store_etcd {
    struct store *s;
    struct store_etcd_opts opts; /* numbers only; strings are below */
    char *prefix, *last_key, *fence_prefix, *compact_key;
    char *ca_file, *cert_file, *key_file, *user, *password_file;
    char id[ETCD_SERVER_ID]; /* of this start of this server */

    /* etcd_call.c */
    struct http_multi *http;
    vec(char *) endpoints;
    size_t endpoint; /* the one in use */
    struct etcd_calls calls;
    struct loop_timer *retry_timer;
    char *token_header; /* NULL: none yet, or no authentication */
    bool authenticating;
    uint64_t cluster; /* 0: not known yet */
    struct error last_failure;

    /* etcd_load.c */
    struct etcd_load *load; /* NULL: loaded */
    bool loaded_once;

    /* etcd_watch.c */
    struct http_transfer *stream;
    size_t stream_endpoint;
    struct loop_timer *reopen_timer;
    unsigned reopens; /* in a row without an event */
    struct str in;    /* bytes of the stream; from in_off on not yet looked at */
    size_t in_off;
    bool paused, stream_over;
    etcd_kvs events;              /* those from n_applied on are to be applied */
    size_t n_applied, n_complete; /* up to here revisions are complete */
    uint64_t last_version;        /* of the key "last", as far as applied */
    uint64_t wanted;              /* known to be in etcd */
    int64_t behind_since_ms;      /* visible < wanted since; 0: is not */

    /* etcd_commit.c */
    struct etcd_commits queue, flying, applied;
    size_t n_queued, n_flying;
    struct map *busy; /* keys with a commit that flies */
    uint64_t number;  /* of the last transaction sent */
    struct etcd_slot slots[ETCD_SLOTS];
    uint64_t lost_races, unknown_outcomes, reloads;

    /* etcd_sync.c */
    struct etcd_sync_waits sync_next, sync_sent, sync_known;
    bool syncing;
    uint64_t sync_from; /* what was visible when it was sent */
    int64_t last_sync_ms;
    struct loop_timer *tick; /* deadlines, signs of life */
    struct loop_timer *compact_timer;
    uint64_t compact_seen, compact_at;
};

/* --- etcd_call.c */
/* Takes body. Idempotent calls are repeated, at other endpoints too, until the
 * deadline; others only while it is certain that nothing was done. fn is called
 * once, later, unless the call is cancelled or the driver closes. */
struct etcd_call *etcd_call(struct store_etcd *x, const char *path, struct str *body,
                            bool idempotent, size_t max_reply, int64_t deadline_ms,
                            etcd_call_fn *fn, void *arg);
void etcd_call_cancel(struct etcd_call *c); /* NULL ok */
int etcd_call_init(struct store_etcd *x, const char *endpoints, struct error *e);
void etcd_call_done(struct store_etcd *x);
/* The target for one endpoint; borrows. */
void etcd_target(const struct store_etcd *x, size_t endpoint, struct http_target *ret);
/* False: another cluster, or one that went back; the store has been told. */
bool etcd_check_header(struct store_etcd *x, const struct etcd_header *h);
void etcd_fatal(struct store_etcd *x, const struct error *e);
void etcd_forget_token(struct store_etcd *x);
/* False: one is being asked for. */
bool etcd_has_token(struct store_etcd *x);
void etcd_next_endpoint(struct store_etcd *x, size_t failed);

/* --- etcd_load.c */
/* The object that stands under the key, opened and with its facts. ERR_CORRUPT,
 * ERR_INVALID: it is none of ours. */
int etcd_object(const struct store *s, const struct etcd_kv *kv, const struct etcd_key *k,
                uint64_t revision, struct object **ret, struct error *e) WARN_UNUSED;
void etcd_load_start(struct store_etcd *x, const char *why);
void etcd_load_stop(struct store_etcd *x);

/* --- etcd_watch.c */
void etcd_watch_start(struct store_etcd *x);
/* Ends the stream; what it has brought but is not yet applied is dropped. */
void etcd_watch_stop(struct store_etcd *x);
/* Applies what has come, a slice at a time. */
void etcd_watch_work(struct store_etcd *x);
/* A revision that is in etcd and must come. */
void etcd_watch_want(struct store_etcd *x, uint64_t revision);
/* Every now and then: a stream that says nothing though there is something is
 * replaced.
 */
void etcd_watch_check(struct store_etcd *x, int64_t now_ms);

/* --- etcd_commit.c */
int etcd_commit(struct store *s, const struct store_op *ops, size_t n,
                enum store_durability durability, store_done_fn *done, void *arg,
                uint64_t *ret_revision, struct error *e) WARN_UNUSED;
void etcd_commit_pump(struct store_etcd *x);
/* While a revision is being applied: the commit that made it, NULL: none of
 * ours. */
struct etcd_commit *etcd_commit_find(struct store_etcd *x, uint64_t number);
/* Its object for the key, so that it need not be read again; NULL: none. */
struct object *etcd_commit_object(const struct etcd_commit *c, const char *resource,
                                  const char *ns, const char *name);
void etcd_commit_seen(struct store_etcd *x, struct etcd_commit *c, uint64_t revision);
/* The slot whose fence this is; -1: none of ours. */
int etcd_slot_of(const struct store_etcd *x, const char *key);
/* A fence was put at this revision; all of it has been applied. */
void etcd_commit_fenced(struct store_etcd *x, int slot, uint64_t revision);
void etcd_commit_init(struct store_etcd *x);
/* Something has become visible. */
void etcd_commit_visible(struct store_etcd *x);
/* History was lost: what is not known stays so. */
void etcd_commit_gap(struct store_etcd *x);
void etcd_commit_tick(struct store_etcd *x, int64_t now_ms);
void etcd_commit_stop(struct store_etcd *x);

/* --- etcd_sync.c */
bool etcd_sync(struct store *s, store_done_fn *done, void *arg);
int etcd_compact(struct store *s, uint64_t revision, store_done_fn *done, void *arg,
                 struct error *e) WARN_UNUSED;
void etcd_sync_visible(struct store_etcd *x);
void etcd_sync_start(struct store_etcd *x);
void etcd_sync_stop(struct store_etcd *x);

#endif
