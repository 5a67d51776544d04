/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The docker engine's pure parts: image references, the pull tracker, the log demuxer and
 * cursor, the create request and what an inspect reply means.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"
#include "runner/engines/docker/docker_image.h"
#include "runner/engines/docker/docker_spec.h"
#include "runner/engines/docker/docker_stream.h"

/* --- images --------------------------------------------------------------------------
 */

static void
image_references(void **state)
{
    static const struct {
        const char *ref, *name, *tag; /* name NULL: refused */
    } cases[] = {
        {"busybox", "busybox", "latest"},
        {"busybox:1.36", "busybox", "1.36"},
        {"team/app", "team/app", "latest"},
        {"localhost:5000/app", "localhost:5000/app", "latest"},
        {"localhost:5000/team/app:v2", "localhost:5000/team/app", "v2"},
        {"app@sha256:abcd", "app", "sha256:abcd"},
        {"reg:5000/app:1@sha256:abcd", "reg:5000/app", "sha256:abcd"},
        {"", NULL, NULL},
        {":tag", NULL, NULL},
        {"app:", NULL, NULL},
        {"app@", NULL, NULL},
        {"reg:5000/", NULL, NULL},
        {"a b", NULL, NULL},
        {"a\nb", NULL, NULL},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct docker_image im;
        struct error e = ERROR_INIT;
        int r = docker_image_parse(cases[i].ref, &im, &e);
        if (cases[i].name == NULL) {
            assert_int_equal(r, -ERR_INVALID);
            continue;
        }
        assert_int_equal(r, 0);
        assert_string_equal(im.name, cases[i].name);
        assert_string_equal(im.tag, cases[i].tag);
    }
    autofree char *longname = xmalloc(1000);
    memset(longname, 'x', 999);
    longname[999] = '\0';
    struct docker_image im;
    struct error e = ERROR_INIT;
    assert_int_equal(docker_image_parse(longname, &im, &e), -ERR_INVALID);
}

static void
feed(struct docker_pull *p, const char *lines)
{
    docker_pull_feed(p, lines, strlen(lines));
}

static void
assert_totals(const struct docker_pull *p, int64_t downloaded, int64_t total,
              unsigned done, unsigned layers)
{
    struct docker_pull_totals t;
    docker_pull_totals(p, &t);
    assert_int_equal(t.downloaded, downloaded);
    assert_int_equal(t.total, total);
    assert_int_equal(t.layers_done, done);
    assert_int_equal(t.layers_total, layers);
}

static void
pull_progress(void **state)
{
    UNUSED(state);
    struct docker_pull *p = docker_pull_new();
    assert_totals(p, 0, -1, 0, 0);
    feed(p, "{\"status\":\"Pulling from library/app\",\"id\":\"latest\"}\n");
    assert_totals(p, 0, -1, 0, 0);
    feed(p, "{\"status\":\"Pulling fs layer\",\"progressDetail\":{},\"id\":\"aa\"}\n"
            "{\"status\":\"Already exists\",\"progressDetail\":{},\"id\":\"bb\"}\n");
    assert_totals(p, 0, -1, 1, 2);
    /* Split anywhere. */
    feed(p, "{\"status\":\"Downloading\",\"progressDetail\":{\"cur");
    feed(p, "rent\":10,\"total\":100},\"id\":\"aa\"}\r\n");
    assert_totals(p, 10, 100, 1, 2);
    feed(p, "{\"status\":\"Download complete\",\"id\":\"aa\"}\n");
    assert_totals(p, 100, 100, 1, 2);
    /* Seconds instead of bytes. */
    feed(p,
         "{\"status\":\"Extracting\",\"progressDetail\":{\"current\":3,\"units\":\"s\"},"
         "\"id\":\"aa\"}\n");
    assert_totals(p, 100, 100, 1, 2);
    feed(p, "{\"status\":\"Pull complete\",\"id\":\"aa\"}\n"
            "{\"status\":\"Digest: sha256:1\"}\n{\"status\":\"Status: Downloaded\"}\n");
    assert_totals(p, 100, 100, 2, 2);
    assert_string_equal(docker_pull_error(p), "");
    docker_pull_free(p);
}

static void
pull_moves_and_errors(void **state)
{
    UNUSED(state);
    struct docker_pull *p = docker_pull_new();
    const char *wait = "{\"status\":\"Waiting\",\"id\":\"aa\"}\n";
    assert_true(docker_pull_feed(p, wait, strlen(wait)));
    assert_false(docker_pull_feed(p, wait, strlen(wait))); /* nothing moved */
    autofree char *junk = xmalloc(200000);
    memset(junk, 'x', 200000);
    assert_false(docker_pull_feed(p, junk, 200000));
    feed(p, "\n[1,2]\nnot json\n{\"status\":7}\n");
    feed(p, "{\"errorDetail\":{\"message\":\"manifest unknown\"},\"error\":\"x\"}\n");
    assert_string_equal(docker_pull_error(p), "manifest unknown");
    feed(p, "{\"error\":\"second\"}\n");
    assert_string_equal(docker_pull_error(p), "manifest unknown");
    for (int i = 0; i < 2 * DOCKER_PULL_MAX_LAYERS; i++) {
        char line[100];
        snprintf(line, sizeof(line), "{\"status\":\"Waiting\",\"id\":\"l%d\"}\n", i);
        feed(p, line);
    }
    struct docker_pull_totals t;
    docker_pull_totals(p, &t);
    assert_int_equal(t.layers_total, DOCKER_PULL_MAX_LAYERS);
    docker_pull_free(p);
}

/* --- log stream ----------------------------------------------------------------------
 */

static void
put_entry(struct str *out, char stream, const char *time, const char *bytes, size_t n)
{
    size_t len = strlen(time) + n;
    char h[8] = {stream,           0,        0, 0, (char)(len >> 24), (char)(len >> 16),
                 (char)(len >> 8), (char)len};
    str_add(out, h, 8);
    str_adds(out, time);
    str_add(out, bytes, n);
}

struct seen {
    struct str text; /* "<stream>|<ns>|<bytes>;" */
};

static void
see(void *arg, const struct docker_entry *en)
{
    struct seen *s = arg;
    str_addf(&s->text, "%d|%lld|", (int)en->stream,
             (long long)(en->unix_ns % 1000000000));
    str_add(&s->text, en->bytes.ptr, en->bytes.len);
    str_addc(&s->text, ';');
}

static void
demux_any_split(void **state)
{
    UNUSED(state);
    auto_str wire = STR_INIT(4096);
    put_entry(&wire, 1, "2026-01-02T03:04:05.000000007Z ", "one\n", 4);
    put_entry(&wire, 2, "2026-01-02T03:04:05.000000008Z ", "t\0o", 3);
    put_entry(&wire, 1, "2026-01-02T03:04:05.000000009Z ", "", 0);
    put_entry(&wire, 1, "", "no time", 7);
    put_entry(&wire, 3, "", "Error grabbing logs", 19);
    static const char want[] =
        "1|7|one\n;2|8|t\0o;1|9|;1|0|no time;3|0|Error grabbing logs;";
    for (size_t step = 1; step <= wire.len; step++) {
        struct docker_demux d;
        struct seen s = {STR_INIT(4096)};
        struct error e = ERROR_INIT;
        docker_demux_init(&d);
        for (size_t at = 0; at < wire.len; at += step) {
            size_t n = wire.len - at < step ? wire.len - at : step;
            assert_int_equal(docker_demux_feed(&d, wire.ptr + at, n, see, &s, &e), 0);
        }
        assert_int_equal(s.text.len, sizeof(want) - 1);
        assert_memory_equal(s.text.ptr, want, sizeof(want) - 1);
        str_done(&s.text);
        docker_demux_done(&d);
    }
}

static void
demux_refuses(void **state)
{
    static const char raw[] = "plain text of a tty, not multiplexed";
    static const char huge[] = {1, 0, 0, 0, 0x7f, 0, 0, 0};
    UNUSED(state);
    struct docker_demux d;
    struct seen s = {STR_INIT(4096)};
    struct error e = ERROR_INIT;
    docker_demux_init(&d);
    assert_int_equal(docker_demux_feed(&d, raw, sizeof(raw), see, &s, &e), -ERR_CORRUPT);
    docker_demux_reset(&d);
    assert_int_equal(docker_demux_feed(&d, huge, 3, see, &s, &e), 0);
    assert_int_equal(docker_demux_feed(&d, huge + 3, 5, see, &s, &e), -ERR_CORRUPT);
    docker_demux_done(&d);
    str_done(&s.text);
}

/* A model of the daemon: all entries so far, asked for from a time on. Old daemons filter
 * each entry; new ones give all from the first match. */
struct entry {
    int64_t ns;
    uint32_t id;
};
struct model {
    vec(struct entry) all;
    vec(uint32_t) stored;
};

static void
resume_and_read(struct model *m, struct docker_cursor *c, bool old, size_t upto,
                int64_t now)
{
    struct docker_resume r;
    docker_cursor_resume(c, now, &r);
    uint64_t skipped = 0;
    bool matched = false;
    bool first = true;
    for (size_t i = 0; i < upto; i++) {
        struct entry *en = &m->all.items[i];
        bool match = en->ns >= r.since_ns;
        matched = matched || match;
        if (old ? !match : !matched)
            continue;
        if (first && r.exact)
            assert_int_equal(en->ns, r.since_ns);
        first = false;
        if (skipped < r.skip) {
            skipped++;
            continue;
        }
        vec_push(&m->stored, en->id);
        docker_cursor_note(c, SEGMENT_STDOUT, en->ns, (struct span){"x\n", 2});
    }
    assert_int_equal(skipped, r.skip);
}

static void
cursor_resumes_exactly(void **state)
{
    UNUSED(state);
    const int64_t base = INT64_C(1700000000) * 1000000000;
    for (unsigned seed = 0; seed < 200; seed++) {
        unsigned char key[32] = {(unsigned char)seed, (unsigned char)(seed >> 8)};
        id_seed(key);
        struct model m = {0};
        int64_t t = base;
        uint32_t n = 5 + id_uniform(400);
        bool steps_back = id_uniform(5) == 0;
        for (uint32_t i = 0; i < n; i++) {
            t += id_uniform(10) == 0 ? id_uniform(3) * INT64_C(700000000)
                                     : id_uniform(3) * 1000;
            if (steps_back && id_uniform(100) == 0)
                t -= INT64_C(3600) * 1000000000;
            int64_t jitter = id_uniform(4) == 0 ? (int64_t)id_uniform(500) : 0;
            struct entry en = {t - jitter, i};
            vec_push(&m.all, en);
        }
        struct docker_cursor c = {0};
        bool old = id_uniform(2) == 0;
        size_t upto = 0;
        while (upto < m.all.len) {
            upto += 1 + id_uniform(60);
            if (upto > m.all.len)
                upto = m.all.len;
            resume_and_read(&m, &c, old, upto, m.all.items[upto - 1].ns + 500);
        }
        assert_int_equal(m.stored.len, m.all.len);
        for (size_t i = 0; i < m.stored.len; i++)
            assert_int_equal(m.stored.items[i], i);
        vec_done(&m.all);
        vec_done(&m.stored);
    }
    id_seed(NULL);
}

static void
cursor_newlines(void **state)
{
    UNUSED(state);
    struct docker_cursor c = {0};
    struct docker_entry first = {SEGMENT_STDOUT, 10, {"piece", 5}};
    struct docker_entry same = {SEGMENT_STDOUT, 10, {"rest", 4}};
    struct docker_entry next = {SEGMENT_STDOUT, 20, {"next\n", 5}};
    struct docker_entry err = {SEGMENT_STDERR, 20, {"err\n", 4}};
    assert_false(docker_cursor_needs_newline(&c, &first));
    docker_cursor_note(&c, first.stream, first.unix_ns, first.bytes);
    assert_false(docker_cursor_needs_newline(&c, &same));
    docker_cursor_note(&c, same.stream, same.unix_ns, same.bytes);
    assert_false(docker_cursor_needs_newline(&c, &err));
    assert_true(docker_cursor_needs_newline(&c, &next));
    docker_cursor_note(&c, next.stream, next.unix_ns, next.bytes);
    next.unix_ns = 30;
    assert_false(docker_cursor_needs_newline(&c, &next));
    /* A line of exactly one piece ends in an empty one. */
    struct docker_entry empty = {SEGMENT_STDOUT, 40, {"", 0}};
    docker_cursor_note(&c, empty.stream, empty.unix_ns, empty.bytes);
    next.unix_ns = 50;
    assert_true(docker_cursor_needs_newline(&c, &next));
}

static void
cursor_after_gap(void **state)
{
    UNUSED(state);
    struct docker_cursor c = {0};
    struct docker_resume r;
    char text[DOCKER_SINCE_LEN];
    docker_cursor_note(&c, SEGMENT_STDOUT, 5000000000, (struct span){"a\n", 2});
    docker_cursor_note(&c, SEGMENT_MARK, 0, (struct span){"mark", 4});
    docker_cursor_resume(&c, 6000000000, &r);
    assert_int_equal(r.since_ns, 0);
    assert_int_equal(r.skip, 1);
    docker_cursor_gap(&c);
    docker_cursor_resume(&c, 6000000000, &r);
    assert_int_equal(r.since_ns, 5000000001);
    assert_int_equal(r.skip, 0);
    assert_false(r.exact);
    docker_since_text(INT64_C(1700000000000000123), text);
    assert_string_equal(text, "1700000000.000000123");
}

/* --- create request and facts --------------------------------------------------------
 */

static json_t *
path_get(json_t *o, const char *path)
{
    auto_str p = STR_INIT(256);
    str_adds(&p, path);
    char *save = NULL;
    for (char *k = strtok_r(p.ptr, ".", &save); k != NULL; k = strtok_r(NULL, ".", &save))
        o = json_object_get(o, k);
    return o;
}

static void
assert_json(json_t *o, const char *path, const char *want)
{
    json_t *v = path_get(o, path);
    autofree char *got = v != NULL ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (got == NULL || !streq(got, want))
        fail_msg("%s: got %s, want %s", path, got != NULL ? got : "nothing", want);
}

static void
create_request(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c", "echo $A", NULL};
    static const char *const env[] = {"A=b", "SECRET=s3cret", NULL};
    static const char *const paths[] = {"/dev/kfd", "/dev/dri/renderD128", NULL};
    static const struct engine_device devices[] = {
        {"nvidia", "GPU-1", NULL}, {"nvidia", "GPU-2", NULL}, {"amd", "x", paths}};
    struct engine_job j = {.uid = "u-1",
                           .run_name = "hello",
                           .image = "app:1",
                           .argv = argv,
                           .env = env,
                           .user = "1000:1000",
                           .working_dir = "/w",
                           .cpu_limit_milli = 1500,
                           .cpu_request_milli = 500,
                           .memory_limit_mib = 64,
                           .shm_mib = 16,
                           .devices = devices,
                           .n_devices = 3};
    struct docker_spec_env de = {.agent_id = "agent1", .nvidia = true};
    UNUSED(state);
    json_t *c = docker_spec_create(&j, &de);
    assert_json(c, "Image", "\"app:1\"");
    assert_json(c, "Entrypoint", "[\"/bin/sh\"]");
    assert_json(c, "Cmd", "[\"-c\",\"echo $A\"]");
    assert_json(c, "Env", "[\"A=b\",\"SECRET=s3cret\"]");
    assert_json(c, "User", "\"1000:1000\"");
    assert_json(c, "WorkingDir", "\"/w\"");
    assert_json(c, "Labels",
                "{\"drover.dev/agent\":\"agent1\",\"drover.dev/job-uid\":"
                "\"u-1\",\"drover.dev/run\":\"hello\"}");
    assert_json(c, "HostConfig.Memory", "67108864");
    assert_json(c, "HostConfig.MemorySwap", "67108864");
    assert_json(c, "HostConfig.NanoCpus", "1500000000");
    assert_json(c, "HostConfig.CpuShares", "512");
    assert_json(c, "HostConfig.ShmSize", "16777216");
    assert_json(c, "HostConfig.Init", "true");
    assert_json(c, "HostConfig.NetworkMode", "\"host\"");
    assert_json(c, "HostConfig.SecurityOpt", "[\"no-new-privileges\"]");
    assert_json(c, "HostConfig.RestartPolicy.Name", "\"no\"");
    assert_json(c, "HostConfig.LogConfig.Type", "\"local\"");
    json_t *req = json_array_get(path_get(c, "HostConfig.DeviceRequests"), 0);
    assert_json(req, "DeviceIDs", "[\"GPU-1\",\"GPU-2\"]");
    assert_int_equal(json_array_size(path_get(c, "HostConfig.Devices")), 2);
    assert_null(path_get(c, "HostConfig.Privileged"));
    assert_null(path_get(c, "HostConfig.Binds"));
    json_decref(c);

    struct engine_job plain = {.uid = "u-2", .image = "app"};
    c = docker_spec_create(&plain, &de);
    assert_null(path_get(c, "Entrypoint"));
    assert_null(path_get(c, "Cmd"));
    assert_json(c, "Env", "[\"NVIDIA_VISIBLE_DEVICES=void\"]");
    assert_json(c, "HostConfig.DeviceRequests", "[]");
    assert_null(path_get(c, "HostConfig.Memory"));
    json_decref(c);
}

#define BOOT INT64_C(1767322800000000000) /* 2026-01-02T03:00:00Z */

static void
facts(void **state)
{
    static const struct {
        const char *state;
        enum engine_reason reason;
        bool started;
        int exit_code, signal;
    } cases[] = {
        {"{\"Status\":\"exited\",\"ExitCode\":0,\"StartedAt\":\"2026-01-02T03:04:05.5Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 0, 0},
        {"{\"Status\":\"exited\",\"ExitCode\":3,\"StartedAt\":\"2026-01-02T03:04:05.5Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 3, 0},
        {"{\"Status\":\"exited\",\"ExitCode\":143,\"StartedAt\":\"2026-01-02T03:04:05Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_SIGNALED, true, 143, SIGTERM},
        {"{\"Status\":\"exited\",\"ExitCode\":255,\"StartedAt\":\"2026-01-02T03:04:05Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 255, 0},
        {"{\"Status\":\"exited\",\"ExitCode\":137,\"OOMKilled\":true,\"StartedAt\":"
         "\"2026-01-02T03:04:05Z\",\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_OOM, true, 137, SIGKILL},
        /* only a child was killed; the job coped */
        {"{\"Status\":\"exited\",\"ExitCode\":0,\"OOMKilled\":true,\"StartedAt\":"
         "\"2026-01-02T03:04:05Z\",\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 0, 0},
        /* created, start failed */
        {"{\"Status\":\"created\",\"ExitCode\":128,\"Error\":\"unable to find user\","
         "\"StartedAt\":\"0001-01-01T00:00:00Z\",\"FinishedAt\":\"0001-01-01T00:00:"
         "00Z\"}",
         ENGINE_START_FAILED, false, -1, 0},
        /* ran across a reboot, noticed after it */
        {"{\"Status\":\"exited\",\"ExitCode\":255,\"StartedAt\":\"2026-01-02T02:00:00Z\","
         "\"FinishedAt\":\"2026-01-02T03:00:10Z\"}",
         ENGINE_REBOOTED, true, -1, 0},
        /* ended before the reboot: a normal exit */
        {"{\"Status\":\"exited\",\"ExitCode\":1,\"StartedAt\":\"2026-01-02T02:00:00Z\","
         "\"FinishedAt\":\"2026-01-02T02:30:00Z\"}",
         ENGINE_EXITED, true, 1, 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct docker_facts f;
        struct engine_result r;
        struct error e = ERROR_INIT;
        auto_str doc = STR_INIT(4096);
        str_addf(&doc,
                 "{\"State\":%s,\"Config\":{\"Labels\":{\"drover.dev/job-uid\":\"u\"}}}",
                 cases[i].state);
        json_t *o = json_loads(doc.ptr, 0, NULL);
        assert_int_equal(docker_facts_parse(o, &f, &e), 0);
        json_decref(o);
        assert_string_equal(f.job_uid, "u");
        docker_facts_result(&f, BOOT, &r);
        assert_int_equal(r.reason, cases[i].reason);
        assert_int_equal(r.started, cases[i].started);
        assert_int_equal(r.exit_code, cases[i].exit_code);
        assert_int_equal(r.signal, cases[i].signal);
    }
    struct docker_facts f;
    struct error e = ERROR_INIT;
    json_t *o = json_object();
    assert_int_equal(docker_facts_parse(o, &f, &e), -ERR_PROVIDER);
    assert_int_equal(docker_facts_parse(NULL, &f, &e), -ERR_PROVIDER);
    json_decref(o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_references),      cmocka_unit_test(pull_progress),
        cmocka_unit_test(pull_moves_and_errors), cmocka_unit_test(demux_any_split),
        cmocka_unit_test(demux_refuses),         cmocka_unit_test(cursor_resumes_exactly),
        cmocka_unit_test(cursor_newlines),       cmocka_unit_test(cursor_after_gap),
        cmocka_unit_test(create_request),        cmocka_unit_test(facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
