/* SPDX-License-Identifier: Apache-2.0 */
/* Readers that wait until a revision is visible, sorted by it; one timer for all. */
#include <inttypes.h>

#include "apiserver/store/store_internal.h"
#include "base/mem.h"

static void
end(struct store *s, struct store_wait *w, const struct error *e)
{
    TAILQ_REMOVE(&s->waits, w, entry);
    store_finish_later(s, w->done, w->arg, s->visible, e);
    store_kick(s);
    free(w);
}

void
store_wait_check(struct store *s)
{
    struct store_wait *w;

    while ((w = TAILQ_FIRST(&s->waits)) != NULL && w->revision <= s->visible)
        end(s, w, NULL);
}

static void
on_timer(void *arg)
{
    struct store *s = arg;
    int64_t now = loop_now_ms(s->loop);
    int64_t next = INT64_MAX;
    struct store_wait *w = TAILQ_FIRST(&s->waits);

    while (w != NULL) {
        struct store_wait *after = TAILQ_NEXT(w, entry);
        struct error e = ERROR_INIT;
        if (w->deadline_ms > now) {
            next = w->deadline_ms < next ? w->deadline_ms : next;
        } else {
            error_set(&e, ERR_TIMEOUT,
                      "revision %" PRIu64 " is not there yet; it is %" PRIu64,
                      w->revision, s->visible);
            end(s, w, &e);
        }
        w = after;
    }
    s->wait_due_ms = next;
    if (next != INT64_MAX)
        loop_timer_at(s->wait_timer, next);
}

bool
store_reach(struct store *s, uint64_t revision, int64_t timeout_ms, store_done_fn *done,
            void *arg)
{
    if (revision <= s->visible)
        return true;
    struct store_wait *w = xnew(struct store_wait);
    w->revision = revision;
    w->deadline_ms = loop_now_ms(s->loop) + (s->opts.inline_sync ? 0 : timeout_ms);
    w->done = done;
    w->arg = arg;
    struct store_wait *before = TAILQ_LAST(&s->waits, store_waits);
    while (before != NULL && before->revision > revision)
        before = TAILQ_PREV(before, store_waits, entry);
    if (before == NULL)
        TAILQ_INSERT_HEAD(&s->waits, w, entry);
    else
        TAILQ_INSERT_AFTER(&s->waits, before, w, entry);
    if (s->wait_timer == NULL)
        s->wait_timer = loop_timer_new(s->loop, "store-wait", on_timer, s);
    /* One that fires too early, because its reader is gone, costs a walk. */
    if (!loop_timer_armed(s->wait_timer) || w->deadline_ms < s->wait_due_ms) {
        s->wait_due_ms = w->deadline_ms;
        loop_timer_at(s->wait_timer, w->deadline_ms);
    }
    return false;
}

void
store_wait_stop(struct store *s)
{
    struct error e = ERROR_INIT;
    struct store_wait *w;

    error_set(&e, ERR_UNAVAILABLE, "the store is closing");
    while ((w = TAILQ_FIRST(&s->waits)) != NULL)
        end(s, w, &e);
    store_run_finished(s, SIZE_MAX);
}
