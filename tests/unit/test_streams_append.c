/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Appends to job logs by the loop, the writer and the syncer thread together, over HTTP:
 * appends while a sync runs, a log that would be closed amid its sync, a disk that fails,
 * an end amid all of it. Also run under ThreadSanitizer. The rest of drover-streams (who
 * may, what an error looks like) is made up here.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include "apiserver/streams/streams.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"
#include "tests/turn_until.h"

#define WAIT_MS 60000
#define UID_A "a0"
#define UID_B "b0"
#define OPEN_LOGS_MAX 2048 /* of append.c */

/* --- the disk --------------------------------------------------------------------------
 */

/* Relaxed and by naps: whatever else makes a thread wait for another would order their
 * accesses, and so hide from ThreadSanitizer what only the program's own locks may order.
 */
static atomic_bool hold, fail_a;
static atomic_int n_held;

static bool
get(atomic_bool *b)
{
    return atomic_load_explicit(b, memory_order_relaxed);
}

static void
put(atomic_bool *b, bool v)
{
    atomic_store_explicit(b, v, memory_order_relaxed);
}

static bool
is_of(int fd, const char *uid)
{
    char link[64], path[512];
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    path[n > 0 ? n : 0] = '\0';
    return strstr(path, uid) != NULL;
}

/* libc's, in this program. */
int
fdatasync(int fd)
{
    const struct timespec nap = {.tv_nsec = 1000000};
    atomic_fetch_add_explicit(&n_held, 1, memory_order_relaxed);
    do
        nanosleep(&nap, NULL);
    while (get(&hold));
    atomic_fetch_sub_explicit(&n_held, 1, memory_order_relaxed);
    if (get(&fail_a) && is_of(fd, "/" UID_A "/")) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

/* --- the rest of drover-streams --------------------------------------------------------
 */

struct access_check {
    access_fn *fn;
    void *arg;
};

static void
allow(void *arg)
{
    static const struct job_facts facts = {.log_length = -1};
    struct access_check a = *(struct access_check *)arg;
    free(arg);
    if (a.fn != NULL)
        a.fn(a.arg, &facts, NULL);
}

struct access_check *
access_agent(struct streams *s, const struct http_request *r, const struct route *route,
             const char *uid, access_fn *fn, void *arg)
{
    UNUSED(r);
    UNUSED(route);
    UNUSED(uid);
    struct access_check *a = xnew(struct access_check);
    *a = (struct access_check){fn, arg};
    loop_post(s->loop, allow, a);
    return a;
}

void
access_cancel(struct access_check *a)
{
    if (a != NULL)
        a->fn = NULL;
}

void
streams_error(struct http_request *r, const struct error *e)
{
    http_respond(r, error_http_status(e->code), "text/plain", e->msg, strlen(e->msg));
}

int
streams_log_kind(const struct http_request *r, const char **ret_kind, struct error *e)
{
    UNUSED(r);
    UNUSED(e);
    *ret_kind = NULL;
    return 0;
}

/* --- fixture ---------------------------------------------------------------------------
 */

struct fixture {
    struct streams s;
    struct http_server *server;
    char dir[32], url[64];
};

#define wait_for(f, cond) TURN_UNTIL((f)->s.loop, WAIT_MS, cond)

static void
handle(void *arg, struct http_request *r)
{
    struct fixture *f = arg;
    append_handle(&f->s, r, &(struct route){"n", "j"});
}

static int
setup(void **state)
{
    struct fixture *f = xnew(struct fixture);
    struct streams *s = &f->s;
    struct error e = ERROR_INIT;

    snprintf(f->dir, sizeof(f->dir), "/tmp/append-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    put(&hold, false);
    put(&fail_a, false);
    assert_int_equal(loop_new(&s->loop, &e), 0);
    s->output_dir = f->dir;
    s->log_max_bytes = 1 << 30;
    s->logs = map_new(append_free_log);
    s->queue = append_queue_new(s);
    s->writer = loop_pool_new(s->loop, "log-writer", 1);
    s->syncer = loop_pool_new(s->loop, "log-syncer", 1);
    struct http_server_opts o = {
        .name = "t", .address = "127.0.0.1", .handler = handle, .arg = f};
    assert_int_equal(http_server_start(s->loop, &o, &f->server, &e), 0);
    assert_int_equal(http_multi_new(s->loop, &s->multi, &e), 0);
    snprintf(f->url, sizeof(f->url), "http://127.0.0.1:%u", http_server_port(f->server));
    *state = f;
    return 0;
}

/* In the program's order (main.c). */
static int
teardown(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;

    append_queue_close(f->s.queue);
    put(&hold, false);
    loop_pool_free(f->s.writer);
    loop_pool_free(f->s.syncer);
    http_multi_free(f->s.multi);
    http_server_free(f->server);
    append_queue_free(f->s.queue);
    map_free(f->s.logs);
    loop_turn(f->s.loop, 0);
    loop_free(f->s.loop);
    int rc = fs_remove_tree(f->dir, &e);
    free(f);
    return rc;
}

/* --- an agent --------------------------------------------------------------------------
 */

struct append {
    bool done;
    int status; /* 0: no answer */
    uint64_t length, durable;
};

static void
on_done(void *arg, const struct http_reply *r, const struct error *e)
{
    struct append *a = arg;
    a->done = true;
    if (e->code != ERR_OK)
        return;
    a->status = r->status;
    json_t *doc = json_loadb(r->body.ptr, r->body.len, 0, NULL);
    a->length = (uint64_t)json_integer_value(json_object_get(doc, "length"));
    a->durable = (uint64_t)json_integer_value(json_object_get(doc, "durable"));
    json_decref(doc);
}

/* Frame number n of a log: its text is its number. */
static void
frame(struct str *out, unsigned n)
{
    char text[16];
    snprintf(text, sizeof(text), "%08u", n);
    segment_frame_put(out, 1 + n, SEGMENT_STDOUT, text, 8);
}

#define FRAME (SEGMENT_HEADER + 8u)

static void
send_frame(struct fixture *f, const char *uid, unsigned n, bool early, struct append *a)
{
    static const struct http_transfer_cbs cbs = {.on_done = on_done};
    auto_str path = STR_INIT(256);
    auto_str body = STR_INIT(256);
    struct http_target t = {.url = f->url};

    *a = (struct append){0};
    frame(&body, n);
    str_addf(&path, "/log?uid=%s&offset=%u%s", uid, n * FRAME,
             early ? "&early=true" : "");
    struct http_call call = {.method = "POST",
                             .path = path.ptr,
                             .content_type = "application/vnd.drover.frames",
                             .body = body.ptr,
                             .body_len = body.len,
                             .timeout_ms = WAIT_MS};
    (void)http_multi_start(f->s.multi, &t, &call, 4096, &cbs, a);
}

static void
send_and_wait(struct fixture *f, const char *uid, unsigned n, bool early,
              struct append *a)
{
    send_frame(f, uid, n, early, a);
    wait_for(f, a->done);
}

static uint64_t
on_disk(struct fixture *f, const char *uid)
{
    struct error e = ERROR_INIT;
    uint64_t first;
    uint64_t length = 0;
    autofree char *dir = xasprintf("%s/n/%s", f->dir, uid);
    assert_int_equal(segment_stat(dir, &first, &length, &e), 0);
    return length;
}

/* The log on disk is the first n frames. */
static void
assert_log(struct fixture *f, const char *uid, unsigned n)
{
    struct error e = ERROR_INIT;
    auto_str want = STR_INIT(1 << 20);
    auto_str got = STR_INIT(1 << 20);
    autofree char *dir = xasprintf("%s/n/%s", f->dir, uid);
    for (unsigned i = 0; i < n; i++)
        frame(&want, i);
    assert_int_equal(segment_read(dir, 0, &got, 1 << 20, &e), 0);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.ptr, want.ptr, want.len);
}

/* Opens so many logs that those that nobody uses are closed; theirs touches no disk. */
static void
crowd(struct fixture *f, const char *prefix)
{
    for (unsigned i = 0; i <= OPEN_LOGS_MAX; i++) {
        char name[32];
        struct log_waiter w = {0};
        snprintf(name, sizeof(name), "%s%u", prefix, i);
        append_wait(&f->s, "n", name, &w);
        append_unwait(&w);
    }
}

/* --- tests -----------------------------------------------------------------------------
 */

/* While a sync runs, appends are written, early ones answered, others not before the next
 * sync. */
static void
appends_go_on_beside_a_sync(void **state)
{
    struct fixture *f = *state;
    struct append a, b, last;
    unsigned n = 0;

    put(&hold, true);
    send_and_wait(f, UID_A, n++, true, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.length, FRAME);
    wait_for(f, atomic_load_explicit(&n_held, memory_order_relaxed) > 0);
    while (n < 20) {
        send_and_wait(f, UID_A, n++, true, &a);
        assert_int_equal(a.status, 200);
        assert_int_equal(a.length, n * FRAME);
        assert_int_equal(a.durable, 0);
    }
    send_frame(f, UID_A, n++, false, &last);
    send_and_wait(f, UID_B, 0, true, &b);
    assert_int_equal(b.durable, 0);
    assert_false(last.done);
    put(&hold, false);
    wait_for(f, last.done);
    assert_int_equal(last.status, 200);
    assert_int_equal(last.durable, n * FRAME);
    assert_log(f, UID_A, n);
    assert_log(f, UID_B, 1);
}

/* Many logs, each sending its next frame when the last is answered. */
static void
many_logs_at_once(void **state)
{
    enum { LOGS = 8, FRAMES = 40 };
    struct fixture *f = *state;
    struct append a[LOGS];
    unsigned sent[LOGS] = {0};
    unsigned over = 0;
    char uid[LOGS][8];

    for (unsigned i = 0; i < LOGS; i++) {
        snprintf(uid[i], sizeof(uid[i]), "%u", i);
        send_frame(f, uid[i], sent[i]++, false, &a[i]);
    }
    while (over < LOGS) {
        unsigned i = 0;
        wait_for(f, ({
                     for (i = 0; i < LOGS && !a[i].done; i++)
                         ;
                     i < LOGS;
                 }));
        assert_int_equal(a[i].status, 200);
        assert_int_equal(a[i].length, sent[i] * FRAME);
        a[i].done = false;
        if (sent[i] < FRAMES) /* the last one not early, so that all is durable */
            send_frame(f, uid[i], sent[i], sent[i] % 4 != 0 && sent[i] + 1 < FRAMES,
                       &a[i]);
        else
            over++;
        sent[i]++;
    }
    for (unsigned i = 0; i < LOGS; i++)
        assert_log(f, uid[i], FRAMES);
}

/* A log in a sync stays open though nobody waits for it; afterwards it may go, and opens
 * again where it ended. */
static void
not_closed_amid_a_sync(void **state)
{
    struct fixture *f = *state;
    struct append a;

    put(&hold, true);
    send_and_wait(f, UID_A, 0, true, &a);
    wait_for(f, atomic_load_explicit(&n_held, memory_order_relaxed) > 0);
    crowd(f, "x");
    assert_non_null(map_get(f->s.logs, UID_A));
    assert_true(map_len(f->s.logs) < OPEN_LOGS_MAX);
    put(&hold, false);
    send_and_wait(f, UID_A, 1, false, &a);
    assert_int_equal(a.durable, 2 * FRAME);
    wait_for(f, ({
                 crowd(f, "y");
                 map_get(f->s.logs, UID_A) == NULL;
             }));
    send_and_wait(f, UID_A, 2, false, &a);
    assert_int_equal(a.status, 200);
    assert_log(f, UID_A, 3);
}

/* What a failed sync left unknown is cut off and sent again; other logs do not suffer. */
static void
a_failing_disk(void **state)
{
    struct fixture *f = *state;
    struct append a, b, more;

    send_and_wait(f, UID_A, 0, false, &a);
    assert_int_equal(a.durable, FRAME);
    put(&hold, true);
    put(&fail_a, true);
    send_and_wait(f, UID_A, 1, true, &a);
    assert_int_equal(a.status, 200);
    assert_int_equal(a.durable, FRAME);
    wait_for(f, atomic_load_explicit(&n_held, memory_order_relaxed) > 0);
    send_frame(f, UID_A, 2, false, &more);
    send_and_wait(f, UID_B, 0, true, &b);
    wait_for(f, on_disk(f, UID_A) == 3 * FRAME);
    put(&hold, false);
    wait_for(f, more.done);
    assert_int_equal(more.status, 503);
    send_and_wait(f, UID_B, 1, false, &b);
    assert_int_equal(b.status, 200);
    put(&fail_a, false);
    /* The agent goes back to what it was told was durable. */
    wait_for(f, ({
                 send_and_wait(f, UID_A, 3, false, &a);
                 a.status == 409;
             }));
    assert_int_equal(a.length, FRAME);
    for (unsigned n = 1; n < 4; n++) {
        send_and_wait(f, UID_A, n, false, &a);
        assert_int_equal(a.status, 200);
    }
    assert_log(f, UID_A, 4);
    assert_log(f, UID_B, 2);
}

/* The end comes while a sync runs and appends wait for it (teardown). What was answered
 * as durable is there. */
static void
an_end_amid_a_sync(void **state)
{
    struct fixture *f = *state;
    static struct append a, b, waiting;

    send_and_wait(f, UID_B, 0, false, &b);
    put(&hold, true);
    send_and_wait(f, UID_A, 0, true, &a);
    wait_for(f, atomic_load_explicit(&n_held, memory_order_relaxed) > 0);
    send_and_wait(f, UID_B, 1, true, &b);
    send_frame(f, UID_A, 1, false, &waiting);
    send_and_wait(f, UID_B, 2, true, &b);
    assert_false(waiting.done);
    assert_int_equal(b.durable, FRAME);
    assert_log(f, UID_B, 3);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(appends_go_on_beside_a_sync), T(many_logs_at_once),
        T(not_closed_amid_a_sync),      T(a_failing_disk),
        T(an_end_amid_a_sync),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    return cmocka_run_group_tests(tests, NULL, NULL);
}
