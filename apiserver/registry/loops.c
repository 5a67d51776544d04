/* SPDX-License-Identifier: Apache-2.0 */
/* The pump: every change of the store, once, to the loops that act on it. */
#include "apiserver/registry/loops.h"

#include <stdlib.h>

#include "base/log.h"

LOG_MODULE(loops);

enum { EVENTS_PER_TURN = 500 };

struct pump {
    struct api_server *s;
    struct store_watch *watch;
    struct loop_timer *timer; /* does the work, one slice per turn */
};

static void
offer(struct api_server *s, const char *resource, const struct object *o, bool deleted)
{
    gc_object(s->gc, resource, o, deleted);
    namespaces_object(s->namespaces, resource, o, deleted);
    crds_object(s->crds, resource, o, deleted);
    history_object(s->history, resource, o, deleted);
    accounts_object(s, resource, o, deleted);
    quotas_object(s->quotas, resource, o);
}

void
loops_look(struct api_server *s, const char *resource, const struct object *o)
{
    if (s->pump != NULL)
        offer(s, resource, o, false);
}

static void
on_wake(void *arg)
{
    struct pump *p = arg;

    if (!loop_timer_armed(p->timer))
        loop_timer_in(p->timer, 0);
}

static void
offer_all(struct api_server *s)
{
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const char *resource = kinds_at(s->kinds, i)->kind->resource;
        if (!kinds_at(s->kinds, i)->kind->storage)
            continue;
        struct store_list *list = store_list(s->store, resource, NULL, NULL);
        const struct object *o;
        while ((o = store_list_next(list)) != NULL)
            offer(s, resource, o, false);
        store_list_free(list);
    }
}

static int
attach(struct pump *p, struct error *e)
{
    struct store_watch_opts o = {
        .from = store_revision(p->s->store), .wake = on_wake, .arg = p};

    if (store_watch(p->s->store, &o, &p->watch, e) < 0)
        return -(int)e->code;
    offer_all(p->s);
    return 0;
}

/* The ring moved past us: look at everything again. */
static void
reattach(struct pump *p)
{
    struct error e = ERROR_INIT;

    log_warn("fell behind the store", "action=\"reading everything again\"");
    store_watch_free(p->watch);
    p->watch = NULL;
    if (attach(p, &e) < 0)
        log_err("cannot follow the store", "error=\"%s\"", e.msg);
}

static void
on_timer(void *arg)
{
    struct pump *p = arg;
    struct store_event ev;
    struct error e = ERROR_INIT;

    for (size_t n = 0; p->watch != NULL && n < EVENTS_PER_TURN; n++) {
        int rc = store_watch_next(p->watch, &ev, &e);
        if (rc == 0)
            return;
        if (rc < 0) {
            reattach(p);
            return;
        }
        offer(p->s, ev.resource, ev.obj, ev.type == STORE_DELETED);
    }
    on_wake(p);
}

int
api_server_start_loops(struct api_server *s, struct error *e)
{
    struct pump *p = xnew(struct pump);

    p->s = s;
    p->timer = loop_timer_new(s->loop, "store-pump", on_timer, p);
    s->pump = p;
    s->gc = gc_new(s);
    s->namespaces = namespaces_new(s);
    s->events = events_new(s);
    s->quotas = quotas_new(s);
    return attach(p, e);
}

void
loops_stop(struct api_server *s)
{
    if (s->pump == NULL)
        return;
    if (s->pump->watch != NULL)
        store_watch_free(s->pump->watch);
    loop_timer_free(s->pump->timer);
    free(s->pump);
    s->pump = NULL;
    events_free(s->events);
    quotas_free(s->quotas);
    namespaces_free(s->namespaces);
    gc_free(s->gc);
}
