/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the store does by itself, without HTTP: clients on one loop, each with one durable
 * commit of an object under way, for some seconds; then a snapshot, a start from the log
 * and a start from the snapshot. Figures are of this machine at this moment.
 *
 *     bench_store DIR [CLIENTS [SECONDS [BYTES [OBJECTS]]]]
 *
 * DIR is created and removed. OBJECTS keys are written round robin.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "apiserver/store/store.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

#define RUNS "runs.drover.dev"

struct bench {
    struct loop *loop;
    struct store *store;
    const char *dir;
    long clients, seconds, bytes, objects;
    int64_t until_ns;
    uint64_t next;
    long running;
    vec(uint32_t) us; /* latencies */
};

struct client {
    struct bench *b;
    int64_t start_ns;
};

static _Noreturn void
die(const struct error *e)
{
    fprintf(stderr, "bench_store: %s\n", e->msg);
    exit(1);
}

static struct object *
make_object(const struct bench *b, const char *name, uint64_t n)
{
    auto_str s = STR_INIT(4u << 20);
    char uid[ID_UUID_LEN];
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    id_uuid4(uid);
    str_addf(
        &s,
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"labels\":{"
        "\"app\":\"bench\"},\"name\":\"%s\",\"namespace\":\"default\",\"uid\":\"%s\"},"
        "\"spec\":{\"n\":%" PRIu64 ",\"pad\":\"",
        name, uid, n);
    while (s.len + 3 < (size_t)b->bytes)
        str_addc(&s, (char)('a' + s.len % 26));
    str_adds(&s, "\"}}");
    if (object_new(NULL, s.ptr, s.len, 0, &o, &e) < 0)
        die(&e);
    return o;
}

static void start(struct client *c);

static void
on_done(void *arg, uint64_t revision, const struct error *e)
{
    struct client *c = arg;

    UNUSED(revision);
    if (e != NULL)
        die(e);
    vec_push(&c->b->us, (uint32_t)((clock_now_ns() - c->start_ns) / 1000));
    if (clock_now_ns() < c->b->until_ns)
        start(c);
    else
        c->b->running--;
}

static void
start(struct client *c)
{
    struct bench *b = c->b;
    char name[32];
    struct error e = ERROR_INIT;

    snprintf(name, sizeof(name), "object-%08" PRIu64, b->next % (uint64_t)b->objects);
    struct store_key k = {RUNS, "default", name};
    const struct object *have = store_peek(b->store, &k);
    auto_object *o = make_object(b, name, b->next++);
    struct store_op op = {STORE_PUT, k, have == NULL ? 0 : have->revision, o};
    c->start_ns = clock_now_ns();
    if (store_commit(b->store, &op, 1, STORE_DURABLE, on_done, c, NULL, &e) < 0)
        die(&e);
}

static int
compare(const void *a, const void *b)
{
    uint32_t x = *(const uint32_t *)a;
    uint32_t y = *(const uint32_t *)b;

    return x < y ? -1 : x > y;
}

static void
open_store(struct bench *b)
{
    struct store_opts opts = {.dir = b->dir};
    struct error e = ERROR_INIT;

    if (store_open(b->loop, &opts, &b->store, &e) < 0)
        die(&e);
}

static double
resident_mb(void)
{
    autofile FILE *f = fopen("/proc/self/statm", "re");
    long total;
    long resident;

    if (f == NULL || fscanf(f, "%ld %ld", &total, &resident) != 2)
        return 0;
    return (double)resident * (double)sysconf(_SC_PAGESIZE) / 1e6;
}

static void
commits(struct bench *b)
{
    struct client *clients = xcalloc((size_t)b->clients, sizeof(*clients));
    struct store_stats before;
    struct store_stats after;
    int64_t start_ns = clock_now_ns();

    store_stats(b->store, &before);
    b->until_ns = start_ns + b->seconds * 1000000000;
    b->running = b->clients;
    for (long i = 0; i < b->clients; i++) {
        clients[i].b = b;
        start(&clients[i]);
    }
    while (b->running > 0)
        loop_turn(b->loop, -1);
    double secs = (double)(clock_now_ns() - start_ns) / 1e9;
    store_stats(b->store, &after);
    size_t n = b->us.len;
    qsort(b->us.items, n, sizeof(b->us.items[0]), compare);
    uint64_t fsyncs = after.fsyncs - before.fsyncs;
    printf("%ld clients, %ld bytes: %.0f commits/s, p50 %u us, p99 %u us, max %u us, "
           "%.0f fsyncs/s, %.1f commits each, slowest fsync %" PRIu64 " us\n",
           b->clients, b->bytes, (double)n / secs, b->us.items[n / 2],
           b->us.items[n * 99 / 100], b->us.items[n - 1], (double)fsyncs / secs,
           (double)n / (double)fsyncs, after.fsync_us_max);
    printf("%zu objects, %.1f MB of bytes, %.1f MB of log, resident %.1f MB\n",
           after.objects, (double)after.object_bytes / 1e6, (double)after.log_bytes / 1e6,
           resident_mb());
    free(clients);
}

static void
on_snapshot(void *arg, uint64_t revision, const struct error *e)
{
    UNUSED(revision);
    if (e != NULL)
        die(e);
    *(bool *)arg = true;
}

static void
restart(struct bench *b, const char *what)
{
    int64_t start_ns;

    store_close(b->store);
    start_ns = clock_now_ns();
    open_store(b);
    printf("start from %s: %.0f ms, %zu objects\n", what,
           (double)(clock_now_ns() - start_ns) / 1e6, store_count(b->store, RUNS));
}

static void
starts(struct bench *b)
{
    bool done = false;
    int64_t start_ns;

    restart(b, "log");
    start_ns = clock_now_ns();
    store_snapshot(b->store, on_snapshot, &done);
    printf("snapshot taken in %.2f ms on the loop",
           (double)(clock_now_ns() - start_ns) / 1e6);
    while (!done)
        loop_turn(b->loop, -1);
    printf(", written in %.0f ms\n", (double)(clock_now_ns() - start_ns) / 1e6);
    restart(b, "snapshot");
}

static long
number(int argc, char **argv, int i, long fallback)
{
    return argc > i ? strtol(argv[i], NULL, 10) : fallback;
}

int
main(int argc, char **argv)
{
    struct error e = ERROR_INIT;

    if (argc < 2) {
        fprintf(stderr, "usage: bench_store DIR [CLIENTS [SECONDS [BYTES [OBJECTS]]]]\n");
        return 2;
    }
    struct bench b = {
        .dir = argv[1],
        .clients = number(argc, argv, 2, 64),
        .seconds = number(argc, argv, 3, 5),
        .bytes = number(argc, argv, 4, 2048),
        .objects = number(argc, argv, 5, 10000),
    };
    if (b.clients < 1 || b.seconds < 1 || b.bytes < 300 || b.objects < b.clients) {
        fprintf(stderr, "bench_store: numbers too small (objects >= clients)\n");
        return 2;
    }
    if (loop_new(&b.loop, &e) < 0)
        die(&e);
    open_store(&b);
    commits(&b);
    starts(&b);
    store_close(b.store);
    loop_free(b.loop);
    vec_done(&b.us);
    if (fs_remove_tree(b.dir, &e) < 0)
        die(&e);
    return 0;
}
