/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts of stored objects after a change of their kind, in slices. Meanwhile readers see
 * nothing of it: an object whose facts are of another shape is shown by view_object().
 */
#include <stdlib.h>

#include "apiserver/registry/crds_internal.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(crds);

enum { SLICE = 32, SLICE_NS = 1000000 };

struct refresh {
    TAILQ_ENTRY(refresh) entry;
    char *resource;
    struct store_list *list;
};
TAILQ_HEAD(refreshes, refresh);

struct refresher {
    struct api_server *s;
    struct loop_timer *timer;
    struct refreshes jobs;
};

static void
drop(struct refresher *r, struct refresh *x)
{
    TAILQ_REMOVE(&r->jobs, x, entry);
    store_list_free(x->list);
    free(x->resource);
    free(x);
}

/* False when the job is over. */
static bool
slice(struct refresher *r, const struct refresh *x)
{
    struct error e = ERROR_INIT;

    if (kinds_by_resource(r->s->kinds, x->resource) == NULL)
        return false;
    int rc = store_refresh_some(r->s->store, x->resource, x->list, SLICE, &e);
    if (rc < 0)
        log_warn("cannot refresh facts", "resource=%s error=\"%s\"", x->resource, e.msg);
    return rc > 0;
}

static void
on_timer(void *arg)
{
    struct refresher *r = arg;
    int64_t until_ns = clock_now_ns() + SLICE_NS;
    struct refresh *x;

    while ((x = TAILQ_FIRST(&r->jobs)) != NULL) {
        if (!slice(r, x))
            drop(r, x);
        /* Without a pool everything is done at once, here too. */
        if (r->s->pool != NULL && clock_now_ns() >= until_ns)
            break;
    }
    if (!TAILQ_EMPTY(&r->jobs))
        loop_timer_in(r->timer, 0);
}

struct refresher *
refresher_new(struct api_server *s)
{
    struct refresher *r = xnew(struct refresher);

    r->s = s;
    TAILQ_INIT(&r->jobs);
    r->timer = loop_timer_new(s->loop, "facts", on_timer, r);
    return r;
}

void
refresher_free(struct refresher *r)
{
    struct refresh *x;

    while ((x = TAILQ_FIRST(&r->jobs)) != NULL)
        drop(r, x);
    loop_timer_free(r->timer);
    free(r);
}

void
refresher_start(struct refresher *r, const char *resource)
{
    struct refresh *x, *next;

    for (x = TAILQ_FIRST(&r->jobs); x != NULL; x = next) {
        next = TAILQ_NEXT(x, entry);
        if (streq(x->resource, resource))
            drop(r, x); /* it changed again */
    }
    x = xnew(struct refresh);
    x->resource = xstrdup(resource);
    x->list = store_list(r->s->store, resource, NULL, NULL);
    TAILQ_INSERT_TAIL(&r->jobs, x, entry);
    if (r->s->pool == NULL)
        on_timer(r);
    else
        loop_timer_in(r->timer, 0);
}
