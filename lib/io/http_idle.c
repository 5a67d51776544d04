/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pages of streams that wait. The pool of a connection holds 16 KB of headers, and MHD
 * touches all of it before the first byte of a stream is sent; a watch that waits needs
 * none of it. What a fill() was given to write to and did not use holds nothing: the
 * whole pages in it go back to the kernel, which gives zeroed ones when they are next
 * touched. With TLS that is 9 of 28 KB for each of ten thousand watchers.
 *
 * Not at once: a system call and the faults would be half of what an event costs. Only
 * for a stream that has waited for a second; they stand in a queue in that order.
 */
#include <sys/mman.h>
#include <unistd.h>

#include "io/http_pace.h"

enum {
    IDLE_MS = 1000,
    RELEASES_A_TURN = 128, /* some 3 us each */
};

static void
release(const struct http_server *s, const struct http_stream *st)
{
    uintptr_t page = s->page_size;
    uintptr_t begin = ((uintptr_t)st->idle_buf + page - 1) & ~(page - 1);
    uintptr_t end = ((uintptr_t)st->idle_buf + st->idle_max) & ~(page - 1);

    if (end > begin) /* failure costs memory, nothing else */
        madvise((void *)begin, end - begin, MADV_DONTNEED);
}

static void
on_timer(void *arg)
{
    struct http_server *s = arg;
    int64_t now = loop_now_ms(s->loop);
    struct http_stream *st;

    for (int n = 0; n < RELEASES_A_TURN; n++) {
        if ((st = TAILQ_FIRST(&s->idle)) == NULL || st->idle_ms + IDLE_MS > now)
            break;
        release(s, st);
        http_idle_end(s, st);
    }
    if ((st = TAILQ_FIRST(&s->idle)) != NULL)
        loop_timer_at(s->idle_timer, st->idle_ms + IDLE_MS);
}

void
http_idle_begin(struct http_server *s, struct http_stream *st, char *buf, size_t max)
{
    if (max < s->page_size)
        return;
    http_idle_end(s, st);
    st->idle_buf = buf;
    st->idle_max = max;
    st->idle_ms = loop_now_ms(s->loop);
    TAILQ_INSERT_TAIL(&s->idle, st, idle_link);
    if (!loop_timer_armed(s->idle_timer))
        loop_timer_at(s->idle_timer, st->idle_ms + IDLE_MS);
}

void
http_idle_end(struct http_server *s, struct http_stream *st)
{
    if (st->idle_buf != NULL)
        TAILQ_REMOVE(&s->idle, st, idle_link);
    st->idle_buf = NULL;
}

void
http_idle_init(struct http_server *s)
{
    TAILQ_INIT(&s->idle);
    s->page_size = (size_t)sysconf(_SC_PAGESIZE);
    s->idle_timer = loop_timer_new(s->loop, "http-idle", on_timer, s);
}

void
http_idle_done(struct http_server *s)
{
    loop_timer_free(s->idle_timer);
}
