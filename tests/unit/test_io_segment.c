/* SPDX-License-Identifier: Apache-2.0 */
/* Segment logs: frames, appends by offset, crashes, rolling, readers elsewhere. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"

#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != 0)                                                                 \
            fail_msg("%s", err.msg);                                                     \
    } while (0)

static struct error err;
static char dir[64];
static struct segment_log *s;

static int
setup(void **state)
{
    char base[] = "/tmp/drover-segment-XXXXXX";

    UNUSED(state);
    assert_non_null(mkdtemp(base));
    snprintf(dir, sizeof(dir), "%s/log", base); /* to be created */
    OK(segment_open(dir, &s, &err));
    return 0;
}

static int
teardown(void **state)
{
    UNUSED(state);
    segment_close(s);
    s = NULL;
    *strrchr(dir, '/') = '\0';
    OK(fs_remove_tree(dir, &err));
    return 0;
}

static void
reopen(void)
{
    segment_close(s);
    s = NULL;
    OK(segment_open(dir, &s, &err));
}

static void
add_text(struct str *out, const char *text)
{
    segment_frame_put(out, 1234567890123456789, SEGMENT_STDOUT, text, strlen(text));
}

static uint64_t
append(uint64_t offset, const struct str *frames)
{
    uint64_t length = 0;

    OK(segment_append(s, offset, frames->ptr, frames->len, &length, &err));
    assert_int_equal(length, segment_length(s));
    return length;
}

/* --- frames ---------------------------------------------------------------------------
 */

static void
test_frame_layout(void **state)
{
    static const unsigned char expected[] = {3, 0, 0, 0, 8, 7,   6,   5,
                                             4, 3, 2, 1, 2, 'a', 'b', 'c'};
    auto_str out = STR_INIT(1000);
    struct segment_frame f;

    UNUSED(state);
    segment_frame_put(&out, 0x0102030405060708, SEGMENT_STDERR, "abc", 3);
    assert_int_equal(out.len, sizeof(expected));
    assert_memory_equal(out.ptr, expected, sizeof(expected));
    for (size_t n = 0; n < sizeof(expected); n++)
        assert_int_equal(segment_frame_get(out.ptr, n, 0, &f, &err), 0);
    assert_int_equal(segment_frame_get(out.ptr, out.len, 77, &f, &err), 1);
    assert_int_equal(f.offset, 77);
    assert_int_equal(f.unix_ns, 0x0102030405060708);
    assert_int_equal(f.stream, SEGMENT_STDERR);
    assert_true(span_eq(f.bytes, "abc"));
}

static void
test_malformed_frames(void **state)
{
    char frame[SEGMENT_HEADER] = {0};
    struct segment_frame f;

    UNUSED(state);
    assert_int_equal(segment_frame_get(frame, 13, 0, &f, &err), -ERR_CORRUPT);
    frame[12] = 4;
    assert_int_equal(segment_frame_get(frame, 13, 0, &f, &err), -ERR_CORRUPT);
    frame[12] = (char)0x81;
    assert_int_equal(segment_frame_get(frame, 13, 0, &f, &err), -ERR_CORRUPT);
    frame[12] = 1;
    assert_int_equal(segment_frame_get(frame, 13, 0, &f, &err), 1);
    assert_int_equal(f.bytes.len, 0);
    frame[0] = 1;
    frame[2] = 1; /* 65 537 bytes */
    assert_int_equal(segment_frame_get(frame, 13, 0, &f, &err), -ERR_CORRUPT);
    frame[0] = 0; /* 65 536 */
    assert_int_equal(segment_frame_get(frame, 13, 0, &f, &err), 0);
}

static void
test_frame_put_is_whole_or_nothing(void **state)
{
    auto_str out = STR_INIT(40);

    UNUSED(state);
    add_text(&out, "0123456789");
    size_t before = out.len;
    add_text(&out, "0123456789");
    assert_true(out.toobig);
    assert_int_equal(out.len, before);
}

/* --- appending ------------------------------------------------------------------------
 */

static void
test_append_and_read(void **state)
{
    auto_str frames = STR_INIT(1000);
    auto_str got = STR_INIT(1000);
    uint64_t first = 1;
    uint64_t length = 1;

    UNUSED(state);
    OK(segment_stat(dir, &first, &length, &err));
    assert_int_equal(first + length, 0);
    add_text(&frames, "one");
    add_text(&frames, "two");
    assert_int_equal(append(0, &frames), 32);
    OK(segment_read(dir, 0, &got, 1000, &err));
    assert_int_equal(got.len, 32);
    assert_memory_equal(got.ptr, frames.ptr, 32);
    str_reset(&got);
    OK(segment_read(dir, 16, &got, 5, &err));
    assert_int_equal(got.len, 5);
    assert_memory_equal(got.ptr, frames.ptr + 16, 5);
    str_reset(&got);
    OK(segment_read(dir, 32, &got, 100, &err));
    OK(segment_read(dir, 3200, &got, 100, &err));
    assert_int_equal(got.len, 0);
    OK(segment_stat(dir, &first, &length, &err));
    assert_int_equal(first, 0);
    assert_int_equal(length, 32);
    OK(segment_sync(s, &err));
    reopen();
    assert_int_equal(segment_length(s), 32);
    assert_int_equal(segment_read("/nonexistent/log", 0, &got, 1, &err), -ERR_NOT_FOUND);
}

static void
test_append_is_idempotent(void **state)
{
    auto_str frames = STR_INIT(1000);
    auto_str got = STR_INIT(1000);
    uint64_t length = 0;

    UNUSED(state);
    add_text(&frames, "one");
    append(0, &frames);
    add_text(&frames, "two");
    assert_int_equal(append(0, &frames), 32); /* the first is there already */
    assert_int_equal(append(0, &frames), 32); /* both are */
    assert_int_equal(append(16, &(struct str){.ptr = frames.ptr + 16, .len = 16}), 32);
    assert_int_equal(segment_append(s, 33, frames.ptr, 16, &length, &err), -ERR_CONFLICT);
    assert_int_equal(length, 32);
    assert_int_equal(segment_append(s, 32, frames.ptr, 20, &length, &err),
                     -ERR_BAD_REQUEST);
    assert_int_equal(segment_append(s, 32, "garbage of some length", 22, &length, &err),
                     -ERR_BAD_REQUEST);
    /* Frames that do not line up with ours. */
    assert_int_equal(segment_append(s, 24, frames.ptr, 32, &length, &err),
                     -ERR_BAD_REQUEST);
    assert_int_equal(length, 32);
    OK(segment_append(s, 32, "", 0, &length, &err));
    OK(segment_read(dir, 0, &got, 1000, &err));
    assert_int_equal(got.len, 32);
    assert_memory_equal(got.ptr, frames.ptr, 32);
}

static char *
last_file(void)
{
    uint64_t first = 0;
    uint64_t length = 0;

    OK(segment_stat(dir, &first, &length, &err));
    return xasprintf("%s/%016" PRIx64 ".seg", dir, first);
}

/* Whatever a crash left after the last whole frame is cut, at every possible place. */
static void
test_torn_tail(void **state)
{
    auto_str frames = STR_INIT(1000);
    auto_str torn = STR_INIT(1000);
    struct stat st;

    UNUSED(state);
    add_text(&frames, "kept");
    append(0, &frames);
    add_text(&torn, "torn");
    autofree char *file = last_file();
    for (size_t n = 1; n < torn.len; n++) {
        int fd = open(file, O_WRONLY | O_APPEND | O_CLOEXEC);
        assert_int_equal(write(fd, torn.ptr, n), n);
        close(fd);
        reopen();
        assert_int_equal(segment_length(s), frames.len);
        assert_int_equal(stat(file, &st), 0);
        assert_int_equal(st.st_size, frames.len);
    }
    /* A file that grew without its data having been written: zeros. */
    assert_int_equal(truncate(file, 100000), 0);
    reopen();
    assert_int_equal(segment_length(s), frames.len);
    assert_int_equal(append(frames.len, &torn), frames.len + torn.len);
}

enum { BIG_FRAME = SEGMENT_HEADER + SEGMENT_FRAME_MAX };

static void
add_big(struct str *out, int number)
{
    autofree char *bytes = xmalloc(SEGMENT_FRAME_MAX);

    memset(bytes, 'a' + number % 26, SEGMENT_FRAME_MAX);
    segment_frame_put(out, number, SEGMENT_STDOUT, bytes, SEGMENT_FRAME_MAX);
}

/* 300 frames of 64 KiB in appends that straddle the limit: three files, none over 8 MiB,
 * no frame across two. */
static void
test_roll_over_and_trim(void **state)
{
    auto_str batch = STR_INIT(16 << 20);
    auto_str got = STR_INIT(32 << 20);
    struct segment_frame f;
    uint64_t length = 0;
    const uint64_t per_file = SEGMENT_BYTES / BIG_FRAME;

    UNUSED(state);
    for (int i = 0; i < 300; i += 50) {
        str_reset(&batch);
        for (int k = 0; k < 50; k++)
            add_big(&batch, i + k);
        length = append(length, &batch);
    }
    assert_int_equal(length, 300ULL * BIG_FRAME);
    for (uint64_t start = 0; start < length; start += per_file * BIG_FRAME) {
        struct stat st;
        autofree char *file = xasprintf("%s/%016" PRIx64 ".seg", dir, start);
        assert_int_equal(stat(file, &st), 0);
        assert_true(st.st_size <= SEGMENT_BYTES);
    }
    reopen();
    assert_int_equal(segment_length(s), length);
    OK(segment_read(dir, 0, &got, 32 << 20, &err)); /* across all files */
    assert_int_equal(got.len, length);
    for (int i = 0; i < 300; i++) {
        assert_int_equal(
            segment_frame_get(got.ptr + (size_t)i * BIG_FRAME, BIG_FRAME, 0, &f, &err),
            1);
        assert_int_equal(f.unix_ns, i);
        assert_int_equal(f.bytes.ptr[0], 'a' + i % 26);
    }
    OK(segment_trim(s, per_file * BIG_FRAME - 1, &err));
    assert_int_equal(segment_first(s), 0); /* its last byte is still wanted */
    OK(segment_trim(s, length, &err));
    assert_int_equal(segment_first(s), 2 * per_file * BIG_FRAME); /* the last one stays */
    str_reset(&got);
    assert_int_equal(segment_read(dir, 0, &got, 10, &err), -ERR_EXPIRED);
    reopen();
    assert_int_equal(segment_first(s), 2 * per_file * BIG_FRAME);
    assert_int_equal(segment_length(s), length);
    /* A hole in the middle is not papered over. */
    OK(segment_trim(s, 0, &err));
    str_reset(&batch);
    for (int k = 0; k < 200; k++)
        add_big(&batch, k);
    append(length, &batch);
    autofree char *middle =
        xasprintf("%s/%016" PRIx64 ".seg", dir, 2 * per_file * BIG_FRAME);
    assert_int_equal(truncate(middle, 1000), 0);
    segment_close(s);
    s = NULL;
    assert_int_equal(segment_open(dir, &s, &err), -ERR_CORRUPT);
}

/* The disk is full half-way through an append: the log is as before, and goes on later.
 */
static void
test_failed_append_leaves_nothing(void **state)
{
    struct rlimit old;
    auto_str frames = STR_INIT(1 << 20);
    uint64_t length = 0;

    UNUSED(state);
    add_text(&frames, "first");
    append(0, &frames);
    uint64_t before = segment_length(s);
    str_reset(&frames);
    add_big(&frames, 1);
    getrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_IGN);
    setrlimit(RLIMIT_FSIZE, &(struct rlimit){10000, old.rlim_max});
    assert_true(segment_append(s, before, frames.ptr, frames.len, &length, &err) < 0);
    setrlimit(RLIMIT_FSIZE, &old);
    signal(SIGXFSZ, SIG_DFL);
    assert_int_equal(err.sys, EFBIG);
    assert_int_equal(length, before);
    autofree char *file = last_file();
    struct stat st;
    assert_int_equal(stat(file, &st), 0);
    assert_int_equal(st.st_size, before);
    assert_int_equal(append(before, &frames), before + frames.len);
    reopen();
    assert_int_equal(segment_length(s), before + frames.len);
}

/* --- readers --------------------------------------------------------------------------
 */

enum { FRAMES = 4000 };

/* In another process: follows the log by offset until all frames were seen in order. */
static int
follow(void)
{
    struct error e = ERROR_INIT;
    auto_str buf = STR_INIT(1 << 20);
    uint64_t offset = 0;
    int expected = 0;

    while (expected < FRAMES) {
        size_t whole = 0;
        size_t pos = 0;
        str_reset(&buf);
        if (segment_read(dir, offset, &buf, 1 << 18, &e) != 0)
            return 2;
        if (segment_whole(buf.ptr, buf.len, offset, &whole, &e) < 0)
            return 3;
        while (pos < whole) {
            struct segment_frame f;
            segment_frame_get(buf.ptr + pos, whole - pos, offset + pos, &f, &e);
            if (f.unix_ns != expected++ || f.bytes.len != (size_t)f.unix_ns % 5000)
                return 4;
            pos += SEGMENT_HEADER + f.bytes.len;
        }
        offset += whole;
    }
    return 0;
}

static void
test_reader_in_another_process(void **state)
{
    static const char zeros[5000];
    auto_str frame = STR_INIT(1 << 16);
    int status = -1;
    uint64_t length = 0;

    UNUSED(state);
    pid_t pid = fork();
    if (pid == 0) {
        alarm(50); /* rather than reading for ever */
        _exit(follow());
    }
    for (int i = 0; i < FRAMES; i++) {
        str_reset(&frame);
        segment_frame_put(&frame, i, SEGMENT_STDOUT, zeros, (size_t)i % 5000);
        length = append(length, &frame);
    }
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_int_equal(status, 0);
}

/* What is to be synced is handed over, each file once, also those that were rolled away
 * meanwhile; the writer goes on. */
static void
test_dirty_is_taken(void **state)
{
    static const char zeros[SEGMENT_FRAME_MAX];
    struct segment_dirty d = SEGMENT_DIRTY_INIT;
    struct segment_dirty more = SEGMENT_DIRTY_INIT;
    auto_str frame = STR_INIT(1 << 17);
    uint64_t length = 0;

    UNUSED(state);
    segment_frame_put(&frame, 1, SEGMENT_STDOUT, zeros, sizeof(zeros));
    length = append(length, &frame);
    OK(segment_take_dirty(s, &d, &err));
    assert_int_equal(d.files.len, 1);
    assert_true(d.dir_fd >= 0);
    while (length < 2 * SEGMENT_BYTES + 100)
        length = append(length, &frame);
    OK(segment_take_dirty(s, &more, &err));
    assert_int_equal(more.files.len, 3);
    assert_int_equal(more.files.items[0].start, 0);
    segment_dirty_join(&d, &more);
    assert_int_equal(d.files.len, 3); /* the first was there already */
    assert_int_equal(more.files.len, 0);
    OK(segment_dirty_sync(&d, &err));
    segment_dirty_done(&d);
    OK(segment_take_dirty(s, &d, &err));
    assert_int_equal(d.files.len, 0);
    assert_int_equal(d.dir_fd, -1);
    OK(segment_sync_newest(dir, 2, &err));
}

static void
test_cut(void **state)
{
    static const char zeros[SEGMENT_FRAME_MAX];
    auto_str frame = STR_INIT(1 << 17);
    uint64_t length = 0;

    UNUSED(state);
    segment_frame_put(&frame, 1, SEGMENT_STDOUT, zeros, sizeof(zeros));
    while (length < 2 * SEGMENT_BYTES + 100)
        length = append(length, &frame);
    for (uint64_t frames = length / frame.len; frames > 0; frames /= 3) {
        segment_close(s);
        s = NULL;
        OK(segment_cut(dir, frames * frame.len, &err));
        OK(segment_open(dir, &s, &err));
        assert_int_equal(segment_length(s), frames * frame.len);
    }
    OK(segment_cut(dir, 0, &err));
    reopen();
    assert_int_equal(segment_length(s), 0);
}

int
main(void)
{
#define T(fn) cmocka_unit_test_setup_teardown(fn, setup, teardown)
    const struct CMUnitTest tests[] = {
        T(test_frame_layout),
        T(test_malformed_frames),
        T(test_frame_put_is_whole_or_nothing),
        T(test_append_and_read),
        T(test_append_is_idempotent),
        T(test_torn_tail),
        T(test_roll_over_and_trim),
        T(test_failed_append_leaves_nothing),
        T(test_reader_in_another_process),
        T(test_dirty_is_taken),
        T(test_cut),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
