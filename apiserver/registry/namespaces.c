/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Namespaces: whether one takes new objects, and termination: everything inside is
 * deleted, and when nothing is left the namespace goes too.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/loops.h"
#include "apiserver/registry/namespace_status.h"
#include "base/log.h"

LOG_MODULE(namespaces);

enum { SLICE = 200, RETRY_MS = 1000 };

struct termination {
    bool again;        /* something in it changed while it was looked at */
    char failure[480]; /* of a deletion in it, since it was last looked at */
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

/* A deletion in a terminating namespace. */
struct deletion {
    struct namespaces_loop *n;
    char ns[];
};

static void
on_deleted(void *arg, const struct write_result *r)
{
    autofree struct deletion *d = arg;

    if (r->obj != NULL || r->problem->e.code == ERR_NOT_FOUND)
        return;
    log_warn_rl("delete failed", "error=\"%s\"", r->problem->e.msg);
    /* The loops are gone before the last answers come. */
    if (d->n->s->namespaces != d->n)
        return;
    struct termination *t = map_get(d->n->terminating, d->ns);
    if (t != NULL)
        snprintf(t->failure, sizeof(t->failure), "%s", r->problem->e.msg);
}

static void
count_finalizers(const struct object *o, struct namespace_remains *left)
{
    const char *cursor = NULL;
    struct span list, raw;

    if (o->facts.n_finalizers == 0 || !object_path(o, "metadata.finalizers", &list))
        return;
    while (jscan_next_item(list, &cursor, &raw))
        namespace_tally_add(&left->finalizers, raw.ptr + 1, raw.len - 2, 1);
}

/* Asks for the deletion of up to SLICE objects of the kind, and counts what is there. */
static void
empty_kind(struct namespaces_loop *n, const struct kind *k, const char *ns,
           struct namespace_remains *left)
{
    struct store_list *list = store_list(n->s->store, k->resource, ns, NULL);
    size_t there = store_list_remaining(list), asked = 0;
    const struct object *o;

    if (there > 0)
        namespace_tally_add(&left->resources, k->resource, strlen(k->resource), there);
    while (asked < SLICE && (o = store_list_next(list)) != NULL) {
        count_finalizers(o, left);
        if (o->facts.deleting_s != 0)
            continue;
        struct delete_req d = {.kind = k, .ns = o->ns, .name = o->name, .internal = true};
        size_t size = sizeof(struct deletion) + strlen(ns) + 1;
        struct deletion *deletion = xmalloc(size);
        deletion->n = n;
        memcpy(deletion->ns, ns, strlen(ns) + 1);
        registry_delete(n->s, &d, on_deleted, deletion);
        asked++;
    }
    store_list_free(list);
}

static void
on_written(void *arg, const struct write_result *r)
{
    UNUSED(arg);
    if (r->obj == NULL) {
        if (r->problem->e.code != ERR_NOT_FOUND)
            log_warn_rl("cannot write a terminating namespace", "error=\"%s\"",
                        r->problem->e.msg);
        return;
    }
    if (r->gone)
        log_info("namespace removed", "name=%s", r->obj->name);
}

static void
write_part(struct namespaces_loop *n, const char *name, const char *sub,
           const struct str *patch)
{
    struct write_req w = {.kind = kinds_by_resource(n->s->kinds, "namespaces"),
                          .type = WRITE_MERGE,
                          .ns = "",
                          .name = name,
                          .sub = sub,
                          .body = {patch->ptr, patch->len},
                          .internal = true};

    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    registry_write(n->s, &w, on_written, NULL);
}

/* Nothing is in it any more: the server's own finalizer goes. With the last one of spec
 * and of metadata the namespace goes too. */
static void
finalize(struct namespaces_loop *n, const struct object *live)
{
    auto_str patch = STR_INIT(16 * 1024);
    const char *cursor = NULL;
    struct span list, raw;

    str_adds(&patch, "{\"spec\":{\"finalizers\":[");
    while (object_path(live, "spec.finalizers", &list) &&
           jscan_next_item(list, &cursor, &raw)) {
        if (span_eq(raw, "\"kubernetes\""))
            continue;
        jput_item(&patch);
        str_add(&patch, raw.ptr, raw.len);
    }
    str_adds(&patch, "]}}");
    write_part(n, live->name, "finalize", &patch);
}

static void
tell(struct namespaces_loop *n, const struct object *live, struct namespace_remains *left)
{
    auto_str patch = STR_INIT(64 * 1024);

    namespace_status_patch(live, left, &patch);
    write_part(n, live->name, "status", &patch);
}

/* One look at a terminating namespace. */
static void
work(struct namespaces_loop *n, const char *name, struct termination *t)
{
    struct store_key key = {"namespaces", "", name};
    struct object *live = store_peek(n->s->store, &key);
    struct namespace_remains left = {0};

    if (live == NULL || live->facts.deleting_s == 0)
        return;
    auto_object *held = object_ref(live);
    memcpy(left.failure, t->failure, sizeof(left.failure));
    t->failure[0] = '\0';
    for (size_t i = 0; i < kinds_len(n->s->kinds); i++) {
        const struct kind *k = kinds_at(n->s->kinds, i)->kind;
        /* What was in it can be restored for as long as history is kept. */
        if (k->namespaced && k->storage && !streq(k->resource, HISTORY_RESOURCE))
            empty_kind(n, k, name, &left);
    }
    if (left.resources.list.len > 0)
        tell(n, held, &left);
    else
        finalize(n, held);
    namespace_tally_done(&left.resources);
    namespace_tally_done(&left.finalizers);
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
            work(n, name, t);
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
