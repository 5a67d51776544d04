/* SPDX-License-Identifier: Apache-2.0 */
/* Frames to text: exact bytes, times per line, older frames left out, the last lines. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the headers it needs */
#include <cmocka.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/streams/streams.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"

enum { SECOND = 1000000000 };

static void
put(struct str *s, int64_t at_s, const char *text)
{
    segment_frame_put(s, at_s * SECOND, SEGMENT_STDOUT, text, strlen(text));
}

static void
render(struct log_format f, const struct str *frames, const char *expect)
{
    auto_str out = STR_INIT(65536);

    ssize_t n = text_render(&f, (struct span){frames->ptr, frames->len}, 0, &out);
    assert_int_equal(n, frames->len);
    assert_string_equal(out.ptr, expect);
}

static void
test_render(void **state)
{
    auto_str frames = STR_INIT(65536);

    UNUSED(state);
    put(&frames, 10, "a\nb");
    put(&frames, 20, "c\n\n");
    render((struct log_format){.at_line_start = true}, &frames, "a\nbc\n\n");
    render((struct log_format){.at_line_start = true, .since_ns = 15LL * SECOND}, &frames,
           "c\n\n");
    render((struct log_format){.at_line_start = true, .timestamps = true}, &frames,
           "1970-01-01T00:00:10.000000Z a\n1970-01-01T00:00:10.000000Z bc\n"
           "1970-01-01T00:00:20.000000Z \n");
}

static void
test_partial_frames_wait(void **state)
{
    auto_str frames = STR_INIT(65536);
    auto_str out = STR_INIT(65536);
    struct log_format f = {.at_line_start = true};

    UNUSED(state);
    put(&frames, 1, "whole");
    size_t first = frames.len;
    put(&frames, 2, "cut");
    for (size_t n = first; n < frames.len; n++) {
        str_reset(&out);
        assert_int_equal(text_render(&f, (struct span){frames.ptr, n}, 0, &out), first);
        assert_string_equal(out.ptr, "whole");
    }
}

/* The lines behind what text_tail found, by rendering from there. */
static void
check_tail(const char *dir, uint64_t lines, const char *expect)
{
    auto_str raw = STR_INIT(1 << 20);
    auto_str out = STR_INIT(1 << 20);
    struct log_format f = {.at_line_start = true};
    struct error e = ERROR_INIT;
    uint64_t offset;
    size_t skip;

    assert_int_equal(text_tail(dir, lines, &offset, &skip, &e), 0);
    assert_int_equal(segment_read(dir, offset, &raw, raw.max, &e), 0);
    assert_true(text_render(&f, (struct span){raw.ptr, raw.len}, offset, &out) >= 0);
    assert_string_equal(out.ptr + skip, expect);
}

static void
test_tail(void **state)
{
    char dir[] = "/tmp/drover-streams-XXXXXX";
    auto_str frames = STR_INIT(65536);
    struct segment_log *log = NULL;
    struct error e = ERROR_INIT;
    uint64_t length;

    UNUSED(state);
    assert_non_null(mkdtemp(dir));
    assert_int_equal(segment_open(dir, &log, &e), 0);
    put(&frames, 1, "one\ntwo\nth");
    put(&frames, 2, "ree\nfour");
    assert_int_equal(segment_append(log, 0, frames.ptr, frames.len, &length, &e), 0);
    check_tail(dir, 0, "");
    check_tail(dir, 1, "four");
    check_tail(dir, 2, "three\nfour");
    check_tail(dir, 3, "two\nthree\nfour");
    check_tail(dir, 99, "one\ntwo\nthree\nfour");
    segment_close(log);
    assert_int_equal(fs_remove_tree(dir, &e), 0);
}

static void
test_job_facts(void **state)
{
    struct job_facts f;

    UNUSED(state);
    assert_false(job_facts_read(span_of("{\"metadata\":{}}"), &f));
    assert_true(job_facts_read(
        span_of("{\"metadata\":{\"uid\":\"u\"},\"spec\":{\"instanceUID\":\"i\"},"
                "\"status\":{\"agent\":{\"logLength\":42,\"state\":\"Exited\"},"
                "\"phase\":\"Done\"}}"),
        &f));
    assert_true(f.finished);
    assert_false(f.lost || f.log_open);
    assert_int_equal(f.log_length, 42);
    assert_true(job_facts_read(
        span_of("{\"metadata\":{\"uid\":\"u\"},\"spec\":{\"instanceUID\":\"i\"},"
                "\"status\":{\"agent\":{\"state\":\"Lost\"},\"phase\":\"Failed\"}}"),
        &f));
    assert_true(f.lost);
    assert_int_equal(f.log_length, -1);
    /* It has ended, the length is still to come; or never, when nothing is held. */
    assert_true(job_facts_read(
        span_of("{\"metadata\":{\"uid\":\"u\"},\"status\":{\"agent\":{\"state\":"
                "\"Exited\"},\"phase\":\"Done\"}}"),
        &f));
    assert_true(f.finished && f.log_open);
    assert_true(job_facts_read(
        span_of("{\"metadata\":{\"uid\":\"u\"},\"status\":{\"agent\":{\"released\":true,"
                "\"state\":\"Exited\"},\"phase\":\"Done\"}}"),
        &f));
    assert_true(f.finished && !f.log_open);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_render),
        cmocka_unit_test(test_partial_frames_wait),
        cmocka_unit_test(test_tail),
        cmocka_unit_test(test_job_facts),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
