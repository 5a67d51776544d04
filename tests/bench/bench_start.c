/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How long a start takes: a store of Jobs of some 2 KB with the fields that they have in
 * life, once from its snapshot and once from the log alone.
 *
 *     bench_start DIR [OBJECTS [ROUNDS]]
 *
 * DIR is created and removed.
 */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/resource.h>

#include "api/jtok.h"
#include "apiserver/registry/kinds.h"
#include "apiserver/store/store.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

#define JOBS "jobs.drover.dev"
#define BATCH 200

struct bench {
    struct loop *loop;
    struct store *store;
    struct kinds *kinds;
    const char *dir;
    bool done;
};

static _Noreturn void
die(const struct error *e)
{
    fprintf(stderr, "bench_start: %s\n", e->msg);
    exit(1);
}

static struct object *
make_job(struct bench *b, long i)
{
    auto_str s = STR_INIT(1u << 20);
    auto_str canon = STR_INIT(1u << 20);
    char uid[ID_UUID_LEN];
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    id_uuid4(uid);
    str_addf(
        &s,
        "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Job\",\"metadata\":{\"name\":"
        "\"train-%08ld-0-0\",\"namespace\":\"team-%ld\",\"uid\":\"%s\","
        "\"creationTimestamp\":\"2026-01-02T03:04:05Z\",\"generation\":3,"
        "\"labels\":{\"drover.dev/run\":\"train-%08ld\",\"drover.dev/run-uid\":\"%s\","
        "\"drover.dev/instance\":\"%s\"},\"finalizers\":[\"drover.dev/agent\"],"
        "\"ownerReferences\":[{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\","
        "\"name\":\"train-%08ld\",\"uid\":\"%s\",\"controller\":true}]},",
        i, i % 20, uid, i, uid, uid, i, uid);
    str_adds(&s, "\"spec\":{\"argv\":[\"/bin/sh\",\"-c\",\"python train.py --epochs 10 "
                 "--batch-size 64 --data /data/imagenet && echo done\"],\"env\":{");
    for (int k = 0; k < 12; k++)
        str_addf(&s, "%s\"DROVER_VARIABLE_%d\":\"value-of-variable-%d-%ld\"",
                 k == 0 ? "" : ",", k, k, i);
    str_addf(&s,
             "},\"released\":true,\"desiredState\":\"Running\",\"instanceName\":"
             "\"gpu-node-%ld\",\"instanceUID\":\"%s\",\"boundAt\":"
             "\"2026-01-02T03:04:06.123456Z\"},\"status\":{\"phase\":\"Running\","
             "\"conditions\":[",
             i % 500, uid);
    static const char *const types[] = {"Accepted", "Scheduled", "Started"};
    for (int k = 0; k < 3; k++)
        str_addf(
            &s,
            "%s{\"type\":\"%s\",\"status\":\"True\",\"reason\":\"%s\",\"message\":\"\","
            "\"lastTransitionTime\":\"2026-01-02T03:04:07Z\"}",
            k == 0 ? "" : ",", types[k], types[k]);
    str_addf(&s,
             "],\"agent\":{\"state\":\"Running\",\"since\":\"2026-01-02T03:04:08Z\","
             "\"startedAt\":\"2026-01-02T03:04:08Z\",\"claim\":{\"instanceUID\":\"%s\","
             "\"journalID\":\"%s\"}}}}",
             uid, uid);
    if (jcanon(s.ptr, s.len, &canon, &e) < 0 ||
        object_new(kinds_kind_of(b->kinds, JOBS), canon.ptr, canon.len, 0, &o, &e) < 0)
        die(&e);
    return o;
}

static void
open_store(struct bench *b)
{
    struct store_opts opts = {.dir = b->dir,
                              .kind_of = kinds_kind_of,
                              .arg = b->kinds,
                              .snapshot_after = UINT64_MAX / 4};
    struct error e = ERROR_INIT;

    if (store_open(b->loop, &opts, &b->store, &e) < 0)
        die(&e);
}

static void
on_done(void *arg, uint64_t revision, const struct error *e)
{
    UNUSED(revision);
    if (e != NULL)
        die(e);
    *(bool *)arg = true;
}

static void
fill(struct bench *b, long n)
{
    struct error e = ERROR_INIT;

    for (long i = 0; i < n; i += BATCH) {
        b->done = false;
        for (long k = i; k < i + BATCH && k < n; k++) {
            auto_object *o = make_job(b, k);
            struct store_op op = {STORE_PUT, {JOBS, o->ns, o->name}, 0, o};
            bool last = k + 1 == n || k + 1 == i + BATCH;
            if (store_commit(b->store, &op, 1, STORE_DURABLE, last ? on_done : NULL,
                             &b->done, NULL, &e) < 0)
                die(&e);
        }
        while (!b->done)
            loop_turn(b->loop, -1);
    }
}

static double
cpu_ms(void)
{
    struct rusage u;

    getrusage(RUSAGE_SELF, &u);
    return (double)(u.ru_utime.tv_sec + u.ru_stime.tv_sec) * 1e3 +
           (double)(u.ru_utime.tv_usec + u.ru_stime.tv_usec) / 1e3;
}

static void
starts(struct bench *b, const char *what, long rounds)
{
    for (long i = 0; i < rounds; i++) {
        store_close(b->store);
        double cpu = cpu_ms();
        int64_t start_ns = clock_now_ns();
        open_store(b);
        struct store_stats st;
        store_stats(b->store, &st);
        printf("start from %s: %.0f ms (%.0f ms of CPU), %zu objects, %.1f MB\n", what,
               (double)(clock_now_ns() - start_ns) / 1e6, cpu_ms() - cpu, st.objects,
               (double)st.object_bytes / 1e6);
    }
}

int
main(int argc, char **argv)
{
    struct error e = ERROR_INIT;
    struct bench b = {.dir = argc > 1 ? argv[1] : NULL};
    long n = argc > 2 ? strtol(argv[2], NULL, 10) : 100000;
    long rounds = argc > 3 ? strtol(argv[3], NULL, 10) : 3;

    if (b.dir == NULL || n < 1 || rounds < 1) {
        fprintf(stderr, "usage: bench_start DIR [OBJECTS [ROUNDS]]\n");
        return 2;
    }
    if (loop_new(&b.loop, &e) < 0 || kinds_load(&b.kinds, &e) < 0)
        die(&e);
    open_store(&b);
    fill(&b, n);
    starts(&b, "log", 1);
    b.done = false;
    store_snapshot(b.store, on_done, &b.done);
    while (!b.done)
        loop_turn(b.loop, -1);
    starts(&b, "snapshot", rounds);
    store_close(b.store);
    kinds_free(b.kinds);
    loop_free(b.loop);
    if (fs_remove_tree(b.dir, &e) < 0)
        die(&e);
    return 0;
}
