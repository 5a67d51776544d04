/* SPDX-License-Identifier: Apache-2.0 */
/* A store watch that starts over by itself when it fell behind. */
#include "apiserver/auth/follow.h"

#include <stdlib.h>

#include "base/log.h"

LOG_MODULE(auth);

struct follow {
    struct follow_opts o;
    struct store_watch *watch;
    struct loop_timer *timer;
};

static void
on_timer(void *arg)
{
    follow_sync(arg);
}

static void
on_wake(void *arg)
{
    struct follow *f = arg;

    if (!loop_timer_armed(f->timer))
        loop_timer_in(f->timer, 0);
}

static int
attach(struct follow *f, struct error *e)
{
    struct store_watch_opts w = {.resource = f->o.resource,
                                 .from = store_revision(f->o.store),
                                 .wake = on_wake,
                                 .arg = f};
    const struct object *o;

    if (store_watch(f->o.store, &w, &f->watch, e) < 0)
        return -(int)e->code;
    struct store_list *list = store_list(f->o.store, f->o.resource, NULL, NULL);
    while ((o = store_list_next(list)) != NULL)
        f->o.change(f->o.arg, f->o.resource, o, NULL);
    store_list_free(list);
    return 0;
}

int
follow_new(const struct follow_opts *o, struct follow **ret, struct error *e)
{
    struct follow *f = xnew(struct follow);

    f->o = *o;
    f->timer = loop_timer_new(o->loop, "auth-follow", on_timer, f);
    int rc = attach(f, e);
    if (rc < 0) {
        follow_free(f);
        return rc;
    }
    *ret = f;
    return 0;
}

void
follow_free(struct follow *f)
{
    if (f == NULL)
        return;
    if (f->watch != NULL)
        store_watch_free(f->watch);
    loop_timer_free(f->timer);
    free(f);
}

/* The ring moved past us. */
static void
start_over(struct follow *f)
{
    struct error e = ERROR_INIT;

    store_watch_free(f->watch);
    f->watch = NULL;
    f->o.reset(f->o.arg, f->o.resource);
    if (attach(f, &e) < 0) /* nobody is granted anything by an empty index */
        log_err("cannot follow the store", "resource=%s error=\"%s\"", f->o.resource,
                e.msg);
}

void
follow_sync(struct follow *f)
{
    struct store_event ev;
    struct error e = ERROR_INIT;
    int rc = 0;

    while (f->watch != NULL && (rc = store_watch_next(f->watch, &ev, &e)) > 0)
        f->o.change(f->o.arg, f->o.resource, ev.type == STORE_DELETED ? NULL : ev.obj,
                    ev.type == STORE_DELETED && ev.prev == NULL ? ev.obj : ev.prev);
    if (rc < 0)
        start_over(f);
}
