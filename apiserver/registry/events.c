/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Events live for an hour after they were last seen, and never more than a bound of them:
 * then the oldest go first. Looked at once a minute, in slices.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/loops.h"
#include "base/clock.h"

enum {
    TTL_S = 3600,
    PERIOD_MS = 60 * 1000,
    SLICE = 2000,
    DELETES_PER_SLICE = 100,
    EVENTS_MAX = 60000, /* about 64 MB of them */
};

struct events_loop {
    struct api_server *s;
    const struct kind *kind;
    struct store_list *list; /* of the sweep that is under way */
    int64_t cutoff_s;
    struct loop_timer *timer;
};

static int64_t
time_at(const struct object *o, const char *path)
{
    struct span raw;
    int64_t ns;

    if (!object_path(o, path, &raw) || raw.len < 2 || raw.ptr[0] != '"' ||
        !clock_parse(raw.ptr + 1, raw.len - 2, &ns))
        return 0;
    return ns / 1000000000;
}

static int64_t
last_seen_s(const struct object *o)
{
    int64_t seen = o->facts.created_s;
    int64_t last = time_at(o, "lastTimestamp");
    int64_t series = time_at(o, "series.lastObservedTime");

    if (last > seen)
        seen = last;
    return series > seen ? series : seen;
}

/* With too many events the cutoff moves towards now, in proportion to the excess. */
static int64_t
cutoff(const struct events_loop *e)
{
    size_t n = store_count(e->s->store, "events");
    int64_t keep_s = TTL_S;

    if (n > EVENTS_MAX)
        keep_s = TTL_S * (int64_t)EVENTS_MAX / (int64_t)n / 2;
    return clock_wall_ns() / 1000000000 - keep_s;
}

static void
remove_event(struct events_loop *e, const struct object *o)
{
    struct error err = ERROR_INIT;

    /* It was seen again meanwhile: the next sweep decides. */
    if (registry_replace(e->s, e->kind, o, NULL, true, &err) < 0)
        return;
}

static void
on_timer(void *arg)
{
    struct events_loop *e = arg;
    const struct object *o;
    size_t removed = 0;

    if (e->list == NULL) {
        e->list = store_list(e->s->store, "events", NULL, NULL);
        e->cutoff_s = cutoff(e);
    }
    for (size_t n = 0; n < SLICE && removed < DELETES_PER_SLICE; n++) {
        o = store_list_next(e->list);
        if (o == NULL) {
            store_list_free(e->list);
            e->list = NULL;
            loop_timer_in(e->timer, PERIOD_MS);
            return;
        }
        if (last_seen_s(o) < e->cutoff_s) {
            remove_event(e, o);
            removed++;
        }
    }
    loop_timer_in(e->timer, 1);
}

struct events_loop *
events_new(struct api_server *s)
{
    struct events_loop *e = xnew(struct events_loop);

    e->s = s;
    e->kind = kinds_by_resource(s->kinds, "events");
    e->timer = loop_timer_new(s->loop, "events-expiry", on_timer, e);
    loop_timer_in(e->timer, PERIOD_MS);
    return e;
}

void
events_free(struct events_loop *e)
{
    if (e == NULL)
        return;
    if (e->list != NULL)
        store_list_free(e->list);
    loop_timer_free(e->timer);
    free(e);
}
