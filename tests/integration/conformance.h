/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the conformance tests of the store share: the same cases run over both drivers.
 * With etcd, `peer` is a second store on the same cluster (another API server); with
 * files it is the store itself.
 */
#ifndef TESTS_CONFORMANCE_H
#define TESTS_CONFORMANCE_H

#include "unit/store_fixture.h"

#include "apiserver/store/store_etcd.h"
#include "base/str.h"

struct conf {
    struct fixture f; /* f.store, f.loop */
    struct store *peer;
    bool etcd;
    char *etcd_dir, *endpoints;
    struct store_etcd_opts eo;
    char prefix[32];
};

/* --- etcd, by hack/etcd-up --- */
/* args: of the script. Fills etcd_dir and endpoints. */
void cf_etcd_up(struct conf *c, const char *args);
/* hack/etcd-up <verb> <dir> <node> */
void cf_etcd(struct conf *c, const char *verb, int node);
pid_t cf_etcd_pid(struct conf *c, int node);
void cf_etcd_down(struct conf *c);
void cf_etcd_opts_done(struct conf *c);
/* The output of a command of the shell, which must succeed. malloc'd. */
char *cf_run(const char *command);
/* Options with short time limits and a prefix of their own. */
void cf_etcd_opts(struct conf *c, const char *prefix);

struct store *cf_open(struct conf *c);
/* Turns the loop until it holds or the time is over; the test fails then. */
void cf_until(struct conf *c, bool (*holds)(void *arg), void *arg, int ms);

/* --- operations on one of the stores, waited for; the code of the outcome --- */
struct cf_op {
    enum store_op_type type;
    const char *ns, *name;
    int64_t n;
    uint64_t expect;
};
int cf_commit(struct conf *c, struct store *s, const struct cf_op *ops, size_t n,
              uint64_t *ret_revision);
int cf_put(struct conf *c, struct store *s, const char *ns, const char *name, int64_t n,
           uint64_t expect, uint64_t *ret_revision);
int cf_del(struct conf *c, struct store *s, const char *ns, const char *name,
           uint64_t expect, uint64_t *ret_revision);
/* The barrier; its outcome. */
int cf_sync(struct conf *c, struct store *s);
struct object *cf_get(struct store *s, const char *ns, const char *name);

/* --- a watcher that writes down what it sees --- */
struct cf_watch {
    struct conf *c;
    struct store_watch *w;
    struct str seen; /* "+ns/name@rev=n " for ADDED, "~" MODIFIED, "-" DELETED */
    size_t n;
    uint64_t last;   /* revision of the last event */
    int expired;     /* code of the error that ended it */
    bool disordered; /* an event whose revision is less than the one before */
};
int cf_watch(struct conf *c, struct store *s, struct cf_watch *w,
             const struct store_watch_opts *opts);
void cf_watch_from(struct conf *c, struct store *s, struct cf_watch *w, uint64_t from);
void cf_watch_done(struct cf_watch *w);
/* Until n events were seen. */
void cf_events(struct cf_watch *w, size_t n);

#endif
