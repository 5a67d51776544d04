/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ns per operation of the document layer on one object of about 2 KB: token scan, jcanon,
 * kind_decode, object_new, object_write, jmerge, and jansson's loads + dumps beside them.
 * Each figure is the median of eleven rounds. Usage: bench_decode [CRD.yaml
 * [object.json]].
 */
#include <stdio.h>

#include "api/jtok.h"
#include "api/kind.h"
#include "api/object.h"
#include "api/yaml.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"

#define ROUNDS 11
#define ROUND_NS 100000000

struct bench {
    struct kind *kind;
    struct span in; /* as a client sends it */
    struct str canon;
    struct str out;
    struct violations v;
    struct error e;
};

static void
die(const char *what, const struct error *e)
{
    fprintf(stderr, "bench_decode: %s: %s\n", what, e->msg);
    exit(1);
}

static void
op_scan(struct bench *b)
{
    struct jtok_reader r;
    struct jtok t;

    jtok_init(&r, b->in.ptr, b->in.len);
    do {
        if (jtok_next(&r, &t, &b->e) < 0)
            die("scan", &b->e);
    } while (t.type != JTOK_END);
}

static void
op_canon(struct bench *b)
{
    str_reset(&b->out);
    if (jcanon(b->in.ptr, b->in.len, &b->out, &b->e) < 0)
        die("jcanon", &b->e);
}

static void
op_decode(struct bench *b)
{
    str_reset(&b->out);
    if (kind_decode(b->kind, b->in, &b->out, &b->v, &b->e) < 0)
        die("kind_decode", &b->e);
}

static void
op_decode_canonical(struct bench *b)
{
    struct span in = {b->canon.ptr, b->canon.len};

    str_reset(&b->out);
    if (kind_decode(b->kind, in, &b->out, &b->v, &b->e) < 0)
        die("kind_decode", &b->e);
}

static void
op_object(struct bench *b)
{
    struct object *o;

    if (object_new(b->kind, b->canon.ptr, b->canon.len, 1, &o, &b->e) < 0)
        die("object_new", &b->e);
    object_unref(o);
}

static void
op_merge(struct bench *b)
{
    static const char patch[] = "{\"status\":{\"message\":\"x\",\"phase\":\"Running\"}}";

    str_reset(&b->out);
    if (jmerge((struct span){b->canon.ptr, b->canon.len}, span_of(patch), &b->out,
               &b->e) < 0)
        die("jmerge", &b->e);
}

static void
op_jansson(struct bench *b)
{
    json_error_t je;
    json_t *tree = json_loadb(b->in.ptr, b->in.len, 0, &je);
    char *text = json_dumps(tree, JSON_COMPACT);

    free(text);
    json_decref(tree);
}

static int
compare(const void *a, const void *b)
{
    const double *x = a, *y = b;

    return (*x > *y) - (*x < *y);
}

static void
measure(const char *name, struct bench *b, void (*op)(struct bench *))
{
    double ns[ROUNDS];

    for (int i = 0; i < ROUNDS; i++) {
        int64_t start = clock_now_ns(), now = start;
        size_t n = 0;
        for (; now - start < ROUND_NS / ROUNDS; now = clock_now_ns(), n += 64)
            for (int k = 0; k < 64; k++)
                op(b);
        ns[i] = (double)(now - start) / (double)n;
    }
    qsort(ns, ROUNDS, sizeof(ns[0]), compare);
    printf("%-28s %8.0f ns/op  %7.0f MB/s\n", name, ns[ROUNDS / 2],
           (double)b->in.len * 1000 / ns[ROUNDS / 2]);
}

static struct kind *
load_kind(const char *path)
{
    auto_str text = STR_INIT(1u << 20);
    struct yaml_docs docs = {0};
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    json_error_t je;
    struct kind *k = NULL;
    json_t *crd;

    if (fs_read(path, &text, &e) < 0 ||
        yaml_read(text.ptr, text.len, false, &docs, &e) < 0)
        die(path, &e);
    crd = json_loads(docs.list.items[0].json.ptr, 0, &je);
    if (kind_compile(crd, NULL, &k, &v, &e) < 0)
        die(path, &e);
    json_decref(crd);
    yaml_docs_done(&docs);
    return k;
}

/* A Run with a status, as a controller writes it; members in no particular order. */
static void
sample(struct str *out)
{
    str_adds(out,
             "{\"kind\":\"Run\",\"apiVersion\":\"drover.dev/v1\",\"metadata\":{"
             "\"name\":\"train-resnet-50\",\"namespace\":\"team-a\","
             "\"uid\":\"0b0f5d5e-6a0c-4a9e-9f0e-5f0c6a1b2c3d\",\"generation\":3,"
             "\"creationTimestamp\":\"2026-01-02T03:04:05Z\",\"labels\":{"
             "\"app.kubernetes.io/name\":\"train\",\"team\":\"a\",\"tier\":\"batch\"},"
             "\"annotations\":{\"example.dev/note\":\"nightly training run\"},"
             "\"finalizers\":[\"drover.dev/jobs\"]},\"spec\":{\"type\":\"task\","
             "\"image\":\"registry.example.dev/team-a/train:2026-01-02\",\"commands\":[");
    for (int i = 0; i < 8; i++)
        str_addf(out, "%s\"python train.py --epoch %d --data /data/imagenet --out /out\"",
                 i == 0 ? "" : ",", i);
    str_adds(out, "],\"env\":{");
    for (int i = 0; i < 10; i++)
        str_addf(out, "%s\"VARIABLE_%d\":\"value number %d\"", i == 0 ? "" : ",", i, i);
    str_adds(out,
             "},\"resources\":{\"cpu\":\"4..\",\"memory\":\"16GB..\"},\"priority\":50,"
             "\"workingDir\":\"/work\",\"maxDuration\":\"2h\"},\"status\":{"
             "\"phase\":\"Running\",\"observedGeneration\":3,\"attempt\":1,"
             "\"jobName\":\"train-resnet-50-0-0-1\",\"instanceName\":\"gpu-7\","
             "\"startedAt\":\"2026-01-02T03:05:05Z\",\"conditions\":[");
    for (int i = 0; i < 3; i++)
        str_addf(out,
                 "%s{\"type\":\"C%d\",\"status\":\"True\",\"reason\":\"AllGood\","
                 "\"message\":\"the job is running on instance gpu-7\","
                 "\"lastTransitionTime\":\"2026-01-02T03:05:0%dZ\"}",
                 i == 0 ? "" : ",", i, i);
    str_adds(out, "]}}");
}

int
main(int argc, char **argv)
{
    struct bench b = {.canon = STR_INIT(1u << 22), .out = STR_INIT(1u << 22)};
    auto_str in = STR_INIT(1u << 22);

    b.e = ERROR_INIT;
    b.kind = load_kind(argc > 1 ? argv[1] : DROVER_SOURCE_DIR "/crds/runs.yaml");
    if (argc > 2) {
        if (fs_read(argv[2], &in, &b.e) < 0)
            die(argv[2], &b.e);
    } else {
        sample(&in);
    }
    b.in = (struct span){in.ptr, in.len};
    if (kind_decode(b.kind, b.in, &b.canon, &b.v, &b.e) < 0)
        die("sample", &b.e);
    printf("object of %zu bytes\n", in.len);
    measure("jtok scan", &b, op_scan);
    measure("jcanon", &b, op_canon);
    measure("kind_decode", &b, op_decode);
    measure("kind_decode of canonical", &b, op_decode_canonical);
    measure("object_new", &b, op_object);
    measure("jmerge of a status", &b, op_merge);
    measure("jansson loads + dumps", &b, op_jansson);
    kind_unref(b.kind);
    violations_done(&b.v);
    str_done(&b.canon);
    str_done(&b.out);
    return 0;
}
