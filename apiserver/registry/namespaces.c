/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: whether one takes new objects, and termination: everything inside is
 * deleted, and when nothing is left the namespace goes too.
 */
#include <stdlib.h>

#include "apiserver/registry/loops.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(namespaces);

enum { SLICE = 200, RETRY_MS = 1000 };

struct termination {
    bool again; /* something in it changed while it was looked at */
};
struct namespaces_loop {
    struct api_server *s;
    struct map *terminating; /* name -> struct termination */
    struct loop_timer *timer;
};

int
namespace_check(const struct api_server *s, const char *ns, struct problem *p)
{
    struct store_key key = {"namespaces", "", ns};
    const struct object *o = store_peek(s->store, &key);

    if (o == NULL) {
        p->kind = kinds_by_resource(s->kinds, "namespaces");
        snprintf(p->name, sizeof(p->name), "%s", ns);
        return problem_not_found(p);
    }
    if (o->facts.deleting_s == 0)
        return 0;
    p->cause_reason = "NamespaceTerminating";
    p->cause_message = "the namespace is being terminated";
    return problem_set(
        p, ERR_FORBIDDEN,
        "%s \"%s\" is forbidden: unable to create new content in namespace "
        "%s because it is being terminated",
        p->kind->resource, p->name, ns);
}

static void
on_deleted(void *arg, const struct write_result *r)
{
    UNUSED(arg);
    if (r->obj == NULL && r->problem->e.code != ERR_NOT_FOUND)
        log_warn_rl("delete failed", "error=\"%s\"", r->problem->e.msg);
}

/* Asks for the deletion of up to SLICE objects of the kind; true when there are any. */
static bool
empty_kind(struct namespaces_loop *n, const struct kind *k, const char *ns)
{
    struct store_list *list = store_list(n->s->store, k->resource, ns, NULL);
    const struct object *o;
    bool any = false;
    size_t asked = 0;

    while (asked < SLICE && (o = store_list_next(list)) != NULL) {
        any = true;
        if (o->facts.deleting_s != 0)
            continue;
        struct delete_req d = {.kind = k, .ns = o->ns, .name = o->name, .internal = true};
        registry_delete(n->s, &d, on_deleted, NULL);
        asked++;
    }
    store_list_free(list);
    return any;
}

static void
remove_namespace(struct namespaces_loop *n, const char *name)
{
    const struct kind *k = kinds_by_resource(n->s->kinds, "namespaces");
    struct store_key key = {"namespaces", "", name};
    struct object *live = store_peek(n->s->store, &key);
    struct error e = ERROR_INIT;

    if (live == NULL || live->facts.deleting_s == 0 || live->facts.n_finalizers > 0)
        return;
    if (registry_replace(n->s, k, live, NULL, true, &e) < 0)
        log_warn("cannot remove namespace", "name=%s error=\"%s\"", name, e.msg);
    else
        log_info("namespace removed", "name=%s", name);
}

/* One look at a terminating namespace. True when it is empty. */
static bool
work(struct namespaces_loop *n, const char *name)
{
    bool any = false;

    for (size_t i = 0; i < kinds_len(n->s->kinds); i++) {
        const struct kind *k = kinds_at(n->s->kinds, i)->kind;
        /* What was in it can be restored for as long as history is kept. */
        if (streq(k->resource, HISTORY_RESOURCE))
            continue;
        if (k->namespaced && empty_kind(n, k, name))
            any = true;
    }
    if (!any)
        remove_namespace(n, name);
    return !any;
}

/* Objects with finalizers take their time, and deletions may fail: look again. */
static void
on_timer(void *arg)
{
    struct namespaces_loop *n = arg;
    struct map_cursor cursor = map_begin(n->terminating);
    const char *name;
    void *value;

    while (map_next(&cursor, &name, &value)) {
        struct termination *t = value;
        if (t->again) {
            t->again = false;
            work(n, name);
        }
    }
}

struct namespaces_loop *
namespaces_new(struct api_server *s)
{
    struct namespaces_loop *n = xnew(struct namespaces_loop);

    n->s = s;
    n->terminating = map_new(free);
    n->timer = loop_timer_new(s->loop, "namespaces", on_timer, n);
    return n;
}

void
namespaces_free(struct namespaces_loop *n)
{
    if (n == NULL)
        return;
    loop_timer_free(n->timer);
    map_free(n->terminating);
    free(n);
}

static void
look_again(struct namespaces_loop *n, struct termination *t, int64_t in_ms)
{
    t->again = true;
    if (!loop_timer_armed(n->timer) || in_ms == 0)
        loop_timer_in(n->timer, in_ms);
}

void
namespaces_object(struct namespaces_loop *n, const char *resource, const struct object *o,
                  bool deleted)
{
    if (!streq(resource, "namespaces")) {
        /* Content went away, or came while the namespace began to terminate. */
        struct termination *t = *o->ns == '\0' ? NULL : map_get(n->terminating, o->ns);
        if (t != NULL)
            look_again(n, t, deleted ? 0 : RETRY_MS);
        return;
    }
    if (deleted) {
        map_del(n->terminating, o->name);
        return;
    }
    if (o->facts.deleting_s == 0)
        return;
    struct termination *t = map_get(n->terminating, o->name);
    if (t == NULL) {
        t = xnew(struct termination);
        map_put(n->terminating, o->name, t);
    }
    look_again(n, t, 0);
}
