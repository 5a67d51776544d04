/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The store alone in a made-up world: clients that create, change and delete, lazy and
 * memory commits, snapshots, compaction, watchers that come back, readers of the log, and
 * a disk that is full, fails, or loses power at any change and forgets what was not
 * synced. All chance comes from one seed. After every restart and now and then:
 *
 *  - what was acknowledged is there, at its revision; of what was under way all or
 * nothing
 *  - revisions never go back and are never used twice
 *  - a watcher sees every event once and in order, over restarts, and what it has built
 *    from them is what a list shows; or it is told that it is too late (410)
 *  - the log can be read back from any retained revision
 *
 *     test_store_sim [--seed N] [--steps N] [-v]
 */
#include <getopt.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/store/store.h"
#include "apiserver/store/store_log_reader.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "sim/platter.h"

#define RUNS "runs.drover.dev"
#define LEASES "leases.coordination.k8s.io"
enum { KEYS = 10, WATCHERS = 4, STEPS = 300, SEEDS = 120, LONG_SEEDS = 20000, APPS = 3 };

/* What a key holds. value 0: nothing. */
struct state {
    int64_t value;
    uint64_t revision;
};

struct model {
    struct state acked;
    struct state next; /* under way; revision 0: nothing is */
};

struct watcher {
    struct store_watch *w;
    bool listed;
    uint64_t position; /* where it resumes: before a commit of which it saw a part */
    uint64_t newest;   /* that it saw */
    bool again;        /* it has resumed: may see that part again */
    struct state seen[KEYS];
    unsigned app; /* 0: all, else only objects of this label */
    unsigned gone;
};

/* One commit that waits. */
struct commit {
    struct sim *s;
    int key[2];
    int64_t value[2];
    size_t n;
    uint64_t revision;
    bool done;
};

struct sim {
    uint64_t seed, random;
    int steps, step;
    bool verbose, fatal;
    char root[64], dir[96];
    struct loop *loop;
    struct platter *platter;
    struct store_fs_ops fs;
    struct store *store;
    struct model keys[KEYS];
    struct watcher watchers[WATCHERS];
    vec(struct commit *) commits;
    int64_t next_value;
    uint64_t newest; /* greatest revision that anybody was told */
    uint64_t lease;  /* of the Lease */
    unsigned restarts, refused, events, expired, read_back;
};

#define CHECK(s, cond, ...)                                                              \
    do {                                                                                 \
        if (!(cond)) {                                                                   \
            fprintf(stderr, "seed %" PRIu64 ", step %d: %s: ", (s)->seed, (s)->step,     \
                    #cond);                                                              \
            fprintf(stderr, __VA_ARGS__);                                                \
            fprintf(stderr, "\nagain: test_store_sim --seed %" PRIu64 " -v\n",           \
                    (s)->seed);                                                          \
            abort();                                                                     \
        }                                                                                \
    } while (0)

static uint32_t
below(void *arg, uint32_t n)
{
    struct sim *s = arg;

    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return n == 0 ? 0 : (uint32_t)((s->random * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}

static unsigned
app_of(int key)
{
    return 1 + (unsigned)key % APPS;
}

static void
name_of(int key, char out[8])
{
    snprintf(out, 8, "k%d", key);
}

static struct object *
make(struct sim *s, const char *name, unsigned app, int64_t value)
{
    static const size_t sizes[] = {10, 300, 700, 3000};
    auto_str t = STR_INIT(1 << 16);
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    str_addf(&t,
             "{\"metadata\":{\"labels\":{\"app\":\"a%u\"},\"name\":\"%s\",\"namespace\":"
             "\"d\",\"uid\":\"u-%" PRId64 "\"},\"spec\":{\"n\":%" PRId64 ",\"pad\":\"",
             app, name, value, value);
    for (size_t i = sizes[below(s, ARRAY_LEN(sizes))]; i > 0; i--)
        str_addc(&t, (char)('a' + below(s, 26)));
    str_adds(&t, "\"}}");
    CHECK(s, object_new(NULL, t.ptr, t.len, 0, &o, &e) == 0, "%s", e.msg);
    return o;
}

static int64_t
value_of(const struct object *o)
{
    return o == NULL ? 0 : object_get_int(o, "spec.n", -1);
}

/* --- commits --- */

static void
on_done(void *arg, uint64_t revision, const struct error *e)
{
    struct commit *c = arg;
    struct sim *s = c->s;

    if (e != NULL) {
        CHECK(s, e->code == ERR_FULL || e->code == ERR_IO, "%s", e->msg);
        s->refused++;
        c->done = e->code == ERR_FULL; /* otherwise nobody knows: see settle */
        for (size_t i = 0; c->done && i < c->n; i++)
            s->keys[c->key[i]].next = (struct state){0}; /* left no trace */
        return;
    }
    c->done = true;
    CHECK(s, revision > s->newest, "revision %" PRIu64 " after %" PRIu64, revision,
          s->newest);
    s->newest = revision;
    for (size_t i = 0; i < c->n; i++) {
        if (s->verbose)
            fprintf(stderr, "%d: k%d=%" PRId64 " at %" PRIu64 "\n", s->step, c->key[i],
                    c->value[i], revision);
        s->keys[c->key[i]].acked = (struct state){c->value[i], revision};
        s->keys[c->key[i]].next = (struct state){0};
    }
}

static void
start_commit(struct sim *s)
{
    struct commit *c = xnew(struct commit);
    struct store_op ops[2] = {0};
    struct object *objs[2] = {0};
    char names[2][8];
    struct error e = ERROR_INIT;
    size_t want = below(s, 4) == 0 ? 2 : 1;
    int first = (int)below(s, KEYS);

    c->s = s;
    for (size_t i = 0; i < want; i++) {
        int key = (first + (int)i) % KEYS;
        if (s->keys[key].next.revision != 0)
            continue; /* one at a time for each key: the model stays simple */
        name_of(key, names[c->n]);
        struct store_key k = {RUNS, "d", names[c->n]};
        const struct object *have = store_peek(s->store, &k);
        bool del = have != NULL && below(s, 4) == 0;
        int64_t value = del ? 0 : ++s->next_value;
        objs[c->n] = del ? NULL : make(s, names[c->n], app_of(key), value);
        ops[c->n] = (struct store_op){del ? STORE_DELETE : STORE_PUT, k,
                                      have == NULL ? 0 : have->revision, objs[c->n]};
        c->key[c->n] = key;
        c->value[c->n++] = value;
    }
    int rc = c->n == 0 ? -1
                       : store_commit(s->store, ops, c->n, STORE_DURABLE, on_done, c,
                                      &c->revision, &e);
    for (size_t i = 0; i < c->n; i++) {
        object_unref(objs[i]);
        if (rc == 0)
            s->keys[c->key[i]].next = (struct state){c->value[i], c->revision};
    }
    if (rc < 0) {
        CHECK(s, c->n == 0 || e.code == ERR_IO, "%s", e.msg);
        free(c);
        return;
    }
    vec_push(&s->commits, c);
}

/* A renewal: in memory only, its revision must not come again. */
static void
renew(struct sim *s)
{
    struct store_key k = {LEASES, "d", "lease"};
    const struct object *have = store_peek(s->store, &k);
    auto_object *o = make(s, "lease", 1, ++s->next_value);
    struct store_op op = {STORE_PUT, k, have == NULL ? 0 : have->revision, o};
    struct error e = ERROR_INIT;
    enum store_durability d = have == NULL ? STORE_LAZY : STORE_MEMORY;

    if (store_commit(s->store, &op, 1, d, NULL, NULL, NULL, &e) < 0)
        CHECK(s, e.code == ERR_IO, "%s", e.msg);
}

static void
flush(struct sim *s)
{
    store_flush(s->store);
    const struct object *lease =
        store_get(s->store, &(struct store_key){LEASES, "d", "lease"});
    if (lease != NULL && lease->revision > s->newest)
        s->newest = lease->revision; /* somebody may have seen it */
    for (size_t i = 0; i < s->commits.len;) {
        if (s->commits.items[i]->done) {
            free(s->commits.items[i]);
            s->commits.items[i] = s->commits.items[--s->commits.len];
        } else {
            i++;
        }
    }
    loop_turn(s->loop, 0);
}

/* --- watchers --- */

static void
on_wake(void *arg)
{
    UNUSED(arg);
}

static void
list(struct sim *s, struct watcher *w)
{
    struct store_list *l = store_list(s->store, RUNS, NULL, NULL);
    const struct object *o;

    memset(w->seen, 0, sizeof(w->seen));
    while ((o = store_list_next(l)) != NULL) {
        int key = (int)strtol(o->name + 1, NULL, 10);
        if (w->app == 0 || w->app == app_of(key))
            w->seen[key] = (struct state){value_of(o), o->revision};
    }
    w->position = w->newest = store_list_revision(l);
    w->again = false;
    w->listed = true;
    store_list_free(l);
}

static void
too_late(struct sim *s, struct watcher *w, const struct error *e)
{
    CHECK(s, e->code == ERR_EXPIRED, "%s", e->msg);
    store_watch_free(w->w);
    w->w = NULL;
    w->listed = false;
    s->expired++;
}

static void
open_watch(struct sim *s, struct watcher *w)
{
    char app[8];
    struct error e = ERROR_INIT;

    if (!w->listed)
        list(s, w);
    snprintf(app, sizeof(app), "a%u", w->app);
    struct store_watch_opts o = {.resource = RUNS,
                                 .label_key = w->app == 0 ? NULL : "app",
                                 .label_value = w->app == 0 ? NULL : app,
                                 .from = w->position,
                                 .wake = on_wake};
    int rc = store_watch(s->store, &o, &w->w, &e);
    if (s->verbose)
        fprintf(stderr, "%d: watcher %u from %" PRIu64 ": %d\n", s->step, w->app,
                w->position, rc);
    if (rc < 0)
        too_late(s, w, &e);
}

static void
take_event(struct sim *s, struct watcher *w, const struct store_event *ev)
{
    int key = (int)strtol(ev->obj->name + 1, NULL, 10);
    struct state *seen = &w->seen[key];
    int64_t value = ev->type == STORE_DELETED ? 0 : value_of(ev->obj);

    s->events++;
    if (s->verbose)
        fprintf(stderr, "%d: watcher %u: type %d k%d=%" PRId64 " at %" PRIu64 "\n",
                s->step, w->app, (int)ev->type, key, value_of(ev->obj), ev->revision);
    CHECK(s, ev->revision > w->position && (w->again || ev->revision >= w->newest),
          "event %" PRIu64 " after %" PRIu64, ev->revision, w->newest);
    if (w->again && ev->revision == w->newest && seen->revision == ev->revision)
        return;
    w->again = w->again && ev->revision <= w->newest;
    CHECK(s, ev->revision >= w->newest, "event %" PRIu64 " after %" PRIu64, ev->revision,
          w->newest);
    CHECK(s, ev->revision > seen->revision, "k%d: event %" PRIu64 " twice", key,
          ev->revision);
    CHECK(s, w->app == 0 || w->app == app_of(key), "k%d is not wanted", key);
    CHECK(s, (ev->type == STORE_ADDED) == (seen->value == 0),
          "k%d: type %d, but %" PRId64 " was known", key, (int)ev->type, seen->value);
    if (ev->type == STORE_DELETED)
        CHECK(s, value_of(ev->obj) == seen->value, "k%d: deleted %" PRId64, key,
              value_of(ev->obj));
    *seen = (struct state){value, ev->revision};
    w->newest = ev->revision;
}

/* Takes at most n events; all: then it knows what a list shows. */
static void
watch(struct sim *s, struct watcher *w, unsigned n)
{
    struct store_event ev;
    struct error e = ERROR_INIT;
    int rc = 1;

    if (w->w == NULL)
        open_watch(s, w);
    while (w->w != NULL && n-- > 0 && (rc = store_watch_next(w->w, &ev, &e)) == 1)
        take_event(s, w, &ev);
    if (w->w == NULL)
        return;
    if (rc < 0) {
        too_late(s, w, &e);
        return;
    }
    uint64_t position = store_watch_position(w->w);
    /* One that has fallen behind knows no better than where it came from. */
    if (position > w->position)
        w->position = position;
    if (rc == 1)
        return;
    struct watcher now = {.app = w->app};
    list(s, &now);
    for (int k = 0; k < KEYS; k++)
        CHECK(s, now.seen[k].value == w->seen[k].value,
              "k%d: the watcher has %" PRId64 ", the list %" PRId64, k, w->seen[k].value,
              now.seen[k].value);
}

static void
leave(struct watcher *w)
{
    store_watch_free(w->w);
    w->w = NULL;
    w->again = true;
}

/* --- the log read back --- */

static void
read_back(struct sim *s)
{
    autofree char *dir = fs_join(s->dir, "log");
    uint64_t oldest = store_retained(s->store);
    uint64_t to = store_revision(s->store);
    uint64_t from = oldest + below(s, (uint32_t)(to - oldest) + 1);
    struct state last[KEYS] = {0};
    struct log_change c;
    struct log_back *b = NULL;
    struct error e = ERROR_INIT;
    uint64_t at = from;
    int rc;

    CHECK(s, log_back_open(dir, from, to, &b, &e) == 0, "%s", e.msg);
    while ((rc = log_back_next(b, &c, &e)) == 1) {
        CHECK(s, c.revision >= at && c.revision <= to, "%" PRIu64, c.revision);
        at = c.revision;
        if (!span_eq(c.resource, RUNS))
            continue;
        int key = c.name.ptr[1] - '0';
        if (last[key].revision != 0)
            CHECK(s, c.prev == (last[key].value == 0 ? 0 : last[key].revision),
                  "k%d: %" PRIu64 " replaces %" PRIu64, key, c.revision, c.prev);
        last[key] = (struct state){c.del ? 0 : 1, c.revision};
        s->read_back++;
    }
    CHECK(s, rc == 0, "%s", e.msg);
    log_back_close(b);
    /* Everything newer than `from` was there. */
    for (int k = 0; k < KEYS; k++) {
        char name[8];
        name_of(k, name);
        const struct object *o =
            store_get(s->store, &(struct store_key){RUNS, "d", name});
        if (o != NULL && o->revision > from)
            CHECK(s, last[k].revision == o->revision, "k%d: read back to %" PRIu64, k,
                  last[k].revision);
    }
}

/* --- lives --- */

static void
on_fatal(void *arg, const struct error *e)
{
    struct sim *s = arg;

    s->fatal = true;
    if (s->verbose)
        fprintf(stderr, "%d: fatal: %s\n", s->step, e->msg);
}

static bool
start(struct sim *s)
{
    struct store_opts o = {.dir = s->dir,
                           .inline_sync = true,
                           .ring_events = 64,
                           .snapshot_after = 60000,
                           .segment_bytes = 16384 << below(s, 3),
                           .retain_bytes = 30000 << below(s, 3),
                           .on_fatal = on_fatal,
                           .arg = s,
                           .fs = &s->fs};
    struct error e = ERROR_INIT;

    s->fatal = false;
    if (store_open(s->loop, &o, &s->store, &e) == 0)
        return true;
    CHECK(s, platter_dead(s->platter) || e.code == ERR_FULL, "a start was refused: %s",
          e.msg);
    s->store = NULL;
    return false;
}

static void
compare(struct sim *s)
{
    for (int k = 0; k < KEYS; k++) {
        struct model *m = &s->keys[k];
        char name[8];
        name_of(k, name);
        const struct object *o =
            store_get(s->store, &(struct store_key){RUNS, "d", name});
        int64_t value = value_of(o);
        bool is_next = m->next.revision != 0 && value == m->next.value;
        CHECK(s, value == m->acked.value || is_next,
              "k%d: %" PRId64 " is there, %" PRId64 " was acknowledged", k, value,
              m->acked.value);
        if (o != NULL && value == m->acked.value)
            CHECK(s, o->revision == m->acked.revision, "k%d at %" PRIu64, k, o->revision);
        if (o != NULL && value != m->acked.value)
            CHECK(s, o->revision == m->next.revision, "k%d at %" PRIu64, k, o->revision);
    }
    CHECK(s, store_revision(s->store) >= s->newest, "at %" PRIu64 " after %" PRIu64,
          store_revision(s->store), s->newest);
}

/* A commit that was under way is there whole or not at all. */
static void
settle(struct sim *s)
{
    vec_foreach (it, &s->commits) {
        const struct commit *c = *it;
        unsigned there = 0;
        for (size_t i = 0; i < c->n; i++) {
            char name[8];
            name_of(c->key[i], name);
            int64_t value =
                value_of(store_get(s->store, &(struct store_key){RUNS, "d", name}));
            bool made = value == c->value[i];
            /* Deleting what was not there looks the same before and after. */
            there += made;
            if (made)
                s->keys[c->key[i]].acked = value == 0
                                               ? (struct state){0}
                                               : (struct state){c->value[i], c->revision};
            s->keys[c->key[i]].next = (struct state){0};
        }
        CHECK(s, there == 0 || there == c->n, "half of a commit at %" PRIu64,
              c->revision);
    }
    vec_foreach (it, &s->commits)
        free(*it);
    s->commits.len = 0;
}

static void
stop(struct sim *s)
{
    for (int i = 0; i < WATCHERS; i++)
        leave(&s->watchers[i]);
    store_close(s->store);
    s->store = NULL;
}

/* kill -9 is a power cut that loses nothing; here the disk loses what it may. */
static void
cut(struct sim *s)
{
    if (!platter_dead(s->platter))
        platter_fail_in(s->platter, 1);
    stop(s);
    do {
        platter_restart(s->platter);
        /* Recovery may be cut as well. */
        if (below(s, 3) == 0)
            platter_fail_in(s->platter, 1 + below(s, 12));
    } while (!start(s));
    s->restarts++;
    if (s->verbose)
        fprintf(stderr, "%d: started at %" PRIu64 "\n", s->step,
                store_revision(s->store));
    if (platter_dead(s->platter) || s->fatal)
        return;
    compare(s);
    settle(s);
}

static void
clean_restart(struct sim *s)
{
    flush(s);
    if (s->fatal || s->commits.len > 0)
        return;
    stop(s);
    if (!start(s)) {
        platter_restart(s->platter);
        CHECK(s, start(s), "no start");
    }
    s->restarts++;
    compare(s);
}

static void
one_step(struct sim *s)
{
    struct error e = ERROR_INIT;

    switch (below(s, 24)) {
    case 0:
        store_snapshot(s->store, NULL, NULL);
        break;
    case 1:
        if (below(s, 4) == 0)
            platter_fail_in(s->platter, 1 + below(s, 20));
        break;
    case 2:
        platter_fill(s->platter, below(s, 6));
        break;
    case 3:
        if (below(s, 6) == 0)
            clean_restart(s);
        break;
    case 4:
        if (below(s, 8) == 0)
            (void)!store_compact(s->store, store_revision(s->store), NULL, NULL, &e);
        break;
    case 5:
    case 6:
        renew(s);
        break;
    case 7:
        leave(&s->watchers[below(s, WATCHERS)]);
        break;
    case 8:
    case 9:
    case 10:
        watch(s, &s->watchers[below(s, WATCHERS)], below(s, 8));
        break;
    case 11:
        read_back(s);
        break;
    case 12:
    case 13:
    case 14:
    case 15:
        flush(s);
        break;
    default:
        start_commit(s);
        break;
    }
}

static void
run(struct sim *s)
{
    for (s->step = 1; s->step <= s->steps; s->step++) {
        clock_fake_advance((int64_t)below(s, 1000) * 1000000);
        one_step(s);
        while (s->fatal || platter_dead(s->platter))
            cut(s);
    }
    platter_fill(s->platter, 0);
    platter_fail_in(s->platter, 0);
    flush(s);
    while (s->fatal || platter_dead(s->platter))
        cut(s);
    flush(s);
    compare(s);
    for (int i = 0; i < WATCHERS; i++)
        watch(s, &s->watchers[i], UINT32_MAX);
    read_back(s);
}

static void
sim(uint64_t seed, int steps, bool verbose, struct sim *total)
{
    struct sim s = {.seed = seed,
                    .random = seed * UINT64_C(0x9E3779B97F4A7C15) + 1,
                    .steps = steps,
                    .verbose = verbose,
                    .root = "/tmp/drover-store-sim-XXXXXX"};
    struct error e = ERROR_INIT;

    bug_if(mkdtemp(s.root) == NULL);
    snprintf(s.dir, sizeof(s.dir), "%s/data", s.root);
    autofree char *log = fs_join(s.dir, "log");
    autofree char *snap = fs_join(s.dir, "snapshot");
    bug_if(fs_mkdirs(log, 0700, &e) < 0 || fs_mkdirs(snap, 0700, &e) < 0);
    bug_if(loop_new(&s.loop, &e) < 0);
    clock_fake_set(INT64_C(1000000000), INT64_C(1767225600) * 1000000000);
    s.platter = platter_new(below, &s);
    platter_add_dir(s.platter, log);
    platter_add_dir(s.platter, snap);
    s.fs = platter_ops(s.platter);
    for (unsigned i = 0; i < WATCHERS; i++)
        s.watchers[i].app = i;
    bug_if(!start(&s));
    run(&s);
    stop(&s);
    vec_foreach (c, &s.commits)
        free(*c);
    vec_done(&s.commits);
    platter_free(s.platter);
    loop_free(s.loop);
    bug_if(fs_remove_tree(s.root, &e) < 0);
    total->restarts += s.restarts;
    total->refused += s.refused;
    total->events += s.events;
    total->expired += s.expired;
    total->read_back += s.read_back;
    total->newest += (uint64_t)s.next_value;
}

int
main(int argc, char **argv)
{
    static const struct option options[] = {{"seed", required_argument, NULL, 's'},
                                            {"steps", required_argument, NULL, 'n'},
                                            {0}};
    struct sim total = {0};
    uint64_t seed = 0;
    int steps = STEPS;
    bool verbose = false;
    int id;

    while ((id = getopt_long(argc, argv, "v", options, NULL)) != -1) {
        if (id == 's')
            seed = strtoull(optarg, NULL, 10);
        else if (id == 'n')
            steps = (int)strtol(optarg, NULL, 10);
        else if (id == 'v')
            verbose = true;
        else
            return 2;
    }
    if (!verbose)
        log_set_level(LOG_LV_ERR);
    uint64_t last = seed != 0 ? seed : getenv("DROVER_LONG") ? LONG_SEEDS : SEEDS;
    for (uint64_t n = seed != 0 ? seed : 1; n <= last; n++)
        sim(n, steps, verbose, &total);
    printf("%" PRIu64 " commits, %u refused, %u restarts, %u events, %u lists after 410, "
           "%u changes read back\n",
           total.newest, total.refused, total.restarts, total.events, total.expired,
           total.read_back);
    return total.restarts > 0 && total.events > 0 && total.read_back > 0 ? 0 : 1;
}
