/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The docker engine's pure parts: image references, the pull tracker, the log demuxer and
 * cursor.
 */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"
#include "runner/engines/docker/docker_image.h"
#include "runner/engines/docker/docker_stream.h"

/* --- images --------------------------------------------------------------------------
 */

static void
image_references(void **state)
{
#define SHA "sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef"
    static const struct {
        const char *ref, *name, *tag; /* name NULL: refused */
        bool refresh;
    } cases[] = {
        {"busybox", "docker.io/library/busybox", "latest", true},
        {"busybox:latest", "docker.io/library/busybox", "latest", true},
        {"busybox:latest-gpu", "docker.io/library/busybox", "latest-gpu", false},
        {"busybox:1.36", "docker.io/library/busybox", "1.36", false},
        {"team/app", "docker.io/team/app", "latest", true},
        {"docker.io/busybox", "docker.io/library/busybox", "latest", true},
        {"index.docker.io/team/app:2", "docker.io/team/app", "2", false},
        {"localhost/app", "localhost/app", "latest", true},
        {"localhost:5000/app", "localhost:5000/app", "latest", true},
        {"localhost:5000/team/app:v2", "localhost:5000/team/app", "v2", false},
        {"127.0.0.1:5000/a/b/c", "127.0.0.1:5000/a/b/c", "latest", true},
        {"[::1]:5000/app:1", "[::1]:5000/app", "1", false},
        {"Registry.example.com/app:1", "Registry.example.com/app", "1", false},
        {"app@" SHA, "docker.io/library/app", SHA, false},
        {"reg:5000/app:1@" SHA, "reg:5000/app", SHA, false},
        {"reg:5000/app:latest@" SHA, "reg:5000/app", SHA, false},
        {"a__b/c-_d", NULL, NULL, false},
        {"a__b/c--d.e_f", "docker.io/a__b/c--d.e_f", "latest", true},
        {"app:A_b.c-D", "docker.io/library/app", "A_b.c-D", false},
        {"", NULL, NULL, false},
        {":tag", NULL, NULL, false},
        {"app:", NULL, NULL, false},
        {"app@", NULL, NULL, false},
        {"app@sha256:abcd", NULL, NULL, false},
        {"app@" SHA "0", NULL, NULL, false},
        {"app@md5", NULL, NULL, false},
        {"reg:5000/", NULL, NULL, false},
        {"reg:port/app", NULL, NULL, false},
        {"reg:123456/app", NULL, NULL, false},
        {"/app", NULL, NULL, false},
        {"a//b", NULL, NULL, false},
        {"-a/b", NULL, NULL, false},
        {"a/-b", NULL, NULL, false},
        {"a/b___c", NULL, NULL, false},
        {"a/b..c", NULL, NULL, false},
        {"team/App", NULL, NULL, false},
        {"app:.tag", NULL, NULL, false},
        {"app:a/b:c:d", NULL, NULL, false},
        {"-reg.io/app", NULL, NULL, false},
        {"reg..io/app", NULL, NULL, false},
        {"a b", NULL, NULL, false},
        {"a\nb", NULL, NULL, false},
        {"app?x=1", NULL, NULL, false},
        {"app%2f", NULL, NULL, false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct docker_image im;
        struct error e = ERROR_INIT;
        int r = docker_image_parse(cases[i].ref, &im, &e);
        if (r != (cases[i].name == NULL ? -ERR_INVALID : 0))
            fail_msg("\"%s\" gives %d: %s", cases[i].ref, r, e.msg);
        if (cases[i].name == NULL)
            continue;
        assert_string_equal(im.name, cases[i].name);
        assert_string_equal(im.tag, cases[i].tag);
        assert_int_equal(im.refresh, cases[i].refresh);
        assert_int_equal(im.digest, streq(im.tag, SHA));
    }
    autofree char *longname = xmalloc(1000);
    memset(longname, 'x', 999);
    longname[999] = '\0';
    struct docker_image im;
    struct error e = ERROR_INIT;
    assert_int_equal(docker_image_parse(longname, &im, &e), -ERR_INVALID);
}

static void
registry_header(void **state)
{
    static const struct {
        const char *image;
        struct engine_registry_auth auth;
        const char *want;
    } cases[] = {
        {"reg:5000/app",
         {"me", "p\"w?>", NULL},
         "{\"password\":\"p\\\"w?>\",\"serveraddress\":\"reg:5000\",\"username\":"
         "\"me\"}"},
        {"app",
         {"me", "x", NULL},
         "{\"password\":\"x\",\"serveraddress\":\"https://index.docker.io/v1/\","
         "\"username\":\"me\"}"},
        {"r.io/app",
         {NULL, NULL, "tok"},
         "{\"identitytoken\":\"tok\",\"serveraddress\":\"r.io\"}"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct docker_image im;
        struct error e = ERROR_INIT;
        auto_str header = STR_INIT(4096);
        auto_str back = STR_INIT(4096);
        assert_int_equal(docker_image_parse(cases[i].image, &im, &e), 0);
        docker_image_auth(&im, &cases[i].auth, &header);
        assert_int_equal(header.len % 4, 0);
        assert_null(strpbrk(header.ptr, "+/"));
        size_t n = header.len;
        while (n > 0 && header.ptr[n - 1] == '=')
            n--;
        assert_int_equal(id_base64_decode(header.ptr, n, true, &back, &e), 0);
        json_t *got = json_loads(back.ptr, 0, NULL);
        json_t *want = json_loads(cases[i].want, 0, NULL);
        assert_true(json_equal(got, want));
        json_decref(got);
        json_decref(want);
    }
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
    assert_true(docker_pull_complete(p));
    assert_string_equal(docker_pull_error(p), "");
    docker_pull_free(p);
}

/* Sequences as a daemon gives them, and what they add up to. */
static void
pull_vectors(void **state)
{
#define EV(status, id)                                                                   \
    "{\"status\":\"" status "\",\"progressDetail\":{},\"id\":\"" id "\"}\n"
#define AT(status, cur, tot, id)                                                         \
    "{\"status\":\"" status "\",\"progressDetail\":{\"current\":" #cur                   \
    ",\"total\":" #tot "},\"id\":\"" id "\"}\n"
    static const struct {
        const char *lines;
        int64_t downloaded, total;
        unsigned done, layers;
        bool complete;
    } cases[] = {
        {EV("Already exists", "a") EV("Already exists", "b"), 0, 0, 2, 2, false},
        {EV("Pulling fs layer", "a") EV("Waiting", "b"), 0, -1, 0, 2, false},
        {AT("Downloading", 100, 111, "a") AT("Downloading", 200, 222, "b"), 300, 333, 0,
         2, false},
        {AT("Downloading", 50, 100, "a") EV(
             "Download complete", "a") "{\"status\":\"Extracting\",\"progressDetail\":{"
                                       "\"current\":7,\"units\":\"s\"},\"id\":\"a\"}\n",
         100, 100, 0, 1, false},
        {AT("Downloading", 50, 100, "a") EV("Pull complete", "a"), 100, 100, 1, 1, false},
        {EV("Already exists", "a") AT("Downloading", 50, 100, "b")
             AT("Extracting", 100, 200, "c") EV("Waiting", "d"),
         250, -1, 1, 4, false},
        {EV("Already exists", "a") "{\"status\":\"Digest: "
                                   "sha256:1\"}\n{\"status\":\"Status: Image is up to "
                                   "date for a\"}\n",
         0, 0, 1, 1, true},
        /* Begun again after a broken connection: less than before. */
        {AT("Downloading", 90, 100, "a") EV("Retrying in 5 seconds", "a")
             AT("Downloading", 10, 100, "a"),
         10, 100, 0, 1, false},
        {"", 0, -1, 0, 0, false},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct docker_pull *p = docker_pull_new();
        feed(p, cases[i].lines);
        assert_totals(p, cases[i].downloaded, cases[i].total, cases[i].done,
                      cases[i].layers);
        assert_int_equal(docker_pull_complete(p), cases[i].complete);
        docker_pull_free(p);
    }
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

/* Times and lines without headers; lines of several pieces, the newline of one dropped.
 */
static void
demux_terminal(void **state)
{
    static const char t1[] = "2026-01-02T03:04:05.000000001Z ";
    static const char t2[] = "2026-01-02T03:04:05.000000002Z ";
    static const char t3[] = "2026-01-02T03:04:05.000000003Z ";
    const size_t steps[] = {1, 3, 61, 16384, 16415, 1 << 20};
    auto_str wire = STR_INIT(1 << 20);
    auto_str want = STR_INIT(1 << 20);
    autofree char *piece = xmalloc(16384);
    UNUSED(state);
    memset(piece, 'x', 16384);
    for (const char *const *p = (const char *const[]){t1, "one\r\n", t1, "\r\n", t1,
                                                      "at 2027-01-02T03:04:05.000000001Z "
                                                      "\r\n",
                                                      NULL};
         *p != NULL; p++)
        str_adds(&wire, *p);
    str_adds(&want, "1|1|one\r\n;1|1|\r\n;1|1|at 2027-01-02T03:04:05.000000001Z \r\n;");
    for (int dropped = 0; dropped < 2; dropped++) {
        /* 16 KiB, 16 KiB, and a rest that has its newline only the first time */
        for (int i = 0; i < 2; i++) {
            str_adds(&wire, t2);
            str_add(&wire, piece, 16384);
            str_adds(&want, "1|2|");
            str_add(&want, piece, 16384);
            str_addc(&want, ';');
        }
        str_addf(&wire, "%srest\r%s", t2, dropped ? "" : "\n");
        str_addf(&want, "1|2|rest\r%s;", dropped ? "" : "\n");
    }
    str_addf(&wire, "%stwo\r\n%sno end", t3, t3);
    str_adds(&want, "1|3|two\r\n;1|3|no end;");
    for (size_t i = 0; i < ARRAY_LEN(steps); i++) {
        struct docker_demux d;
        struct seen s = {STR_INIT(1 << 20)};
        struct error e = ERROR_INIT;
        docker_demux_init(&d);
        for (size_t at = 0; at < wire.len; at += steps[i]) {
            size_t n = wire.len - at < steps[i] ? wire.len - at : steps[i];
            assert_int_equal(docker_demux_feed(&d, wire.ptr + at, n, see, &s, &e), 0);
        }
        docker_demux_end(&d, see, &s);
        assert_string_equal(s.text.ptr, want.ptr);
        docker_demux_reset(&d);
        assert_int_equal(docker_demux_feed(&d, "2 no time", 9, see, &s, &e),
                         -ERR_CORRUPT);
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

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(image_references),       cmocka_unit_test(pull_progress),
        cmocka_unit_test(pull_moves_and_errors),  cmocka_unit_test(demux_any_split),
        cmocka_unit_test(demux_terminal),         cmocka_unit_test(demux_refuses),
        cmocka_unit_test(cursor_resumes_exactly), cmocka_unit_test(cursor_newlines),
        cmocka_unit_test(cursor_after_gap),

        cmocka_unit_test(registry_header),        cmocka_unit_test(pull_vectors),

    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
