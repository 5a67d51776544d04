/* SPDX-License-Identifier: Apache-2.0 */
/* Objects, requests and watches of the in-memory API server. */
#include "tests/unit/fake_api.h"

#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "api/managed.h"
#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"
#include "base/vec.h"

struct change {
    const char *type; /* static */
    char *collection; /* "/apis/.../jobs", without namespace */
    char *line;
    uint64_t revision;
};

struct call_count {
    char *what; /* "METHOD path" */
};

struct watcher {
    struct informer *inf;
    char *collection;
    bool listed;
    size_t next; /* in changes */
};

struct fake_api {
    pthread_mutex_t lock;
    struct map *objects; /* path -> json_t */
    uint64_t revision;
    vec(struct change) changes;
    vec(struct watcher *) watchers;
    vec(struct call_count) calls;
    char *fail_method, *fail_prefix;
    int fail_status, fail_left;
    bool fail_after; /* carried out all the same */
};

static void
decref(void *j)
{
    json_decref(j);
}

struct fake_api *
fake_api_new(void)
{
    struct fake_api *f = xnew(struct fake_api);

    pthread_mutex_init(&f->lock, NULL);
    f->objects = map_new(decref);
    return f;
}

void
fake_api_free(struct fake_api *f)
{
    vec_foreach (c, &f->changes) {
        free(c->collection);
        free(c->line);
    }
    vec_done(&f->changes);
    vec_foreach (c, &f->calls)
        free(c->what);
    vec_done(&f->calls);
    vec_done(&f->watchers);
    map_free(f->objects);
    free(f->fail_method);
    free(f->fail_prefix);
    pthread_mutex_destroy(&f->lock);
    free(f);
}

/* "/apis/g/v/namespaces/ns/jobs/x/status" -> "/apis/g/v/jobs" */
static char *
collection_of(const char *path)
{
    const char *ns = strstr(path, "/namespaces/");
    auto_str out = STR_INIT(1000);
    const char *rest = path;

    if (ns != NULL && strchr(ns + strlen("/namespaces/"), '/') == NULL) {
        str_add(&out, path, (size_t)(ns - path)); /* a Namespace itself */
        rest = ns;
    } else if (ns != NULL) {
        str_add(&out, path, (size_t)(ns - path));
        rest = strchr(ns + strlen("/namespaces/"), '/');
    } else {
        const char *v = strstr(path, "/v1");
        str_add(&out, path, (size_t)(v + 3 - path));
        rest = v + 3;
    }
    str_add(&out, rest, 1 + strcspn(rest + 1, "/?"));
    return str_detach(&out);
}

static void
publish(struct fake_api *f, const char *type, const char *path, json_t *o)
{
    char revision[24];

    f->revision++;
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)f->revision);
    json_object_set_new(json_object_get(o, "metadata"), "resourceVersion",
                        json_string(revision));
    autofree char *text = json_dumps(o, JSON_COMPACT);
    struct change c = {.type = type,
                       .collection = collection_of(path),
                       .line = xasprintf("{\"type\":\"%s\",\"object\":%s}", type, text),
                       .revision = f->revision};
    vec_push(&f->changes, c);
}

static int
status_reply(struct http_reply *reply, int status, const char *reason)
{
    reply->status = status;
    str_addf(&reply->body,
             "{\"kind\":\"Status\",\"code\":%d,\"reason\":\"%s\",\"message\":\"%s\"}",
             status, reason, reason);
    return 0;
}

static int
object_reply(struct http_reply *reply, int status, const json_t *o)
{
    autofree char *text = json_dumps(o, JSON_COMPACT);

    reply->status = status;
    str_adds(&reply->body, text);
    return 0;
}

static const char *
revision_of(const json_t *o)
{
    return json_string_value(
        json_object_get(json_object_get(o, "metadata"), "resourceVersion"));
}

static const json_t *
uid_of(const json_t *o)
{
    return json_object_get(json_object_get(o, "metadata"), "uid");
}

static int
do_create(struct fake_api *f, const char *path, json_t *body, struct http_reply *reply)
{
    json_t *meta = json_object_get(body, "metadata");
    const char *name = json_string_value(json_object_get(meta, "name"));
    autofree char *where = xasprintf("%s/%s", path, name);
    char uid[ID_UUID_LEN];

    if (map_get(f->objects, where) != NULL)
        return status_reply(reply, 409, "AlreadyExists");
    id_uuid4(uid);
    json_t *o = json_deep_copy(body);
    json_object_set_new(json_object_get(o, "metadata"), "uid", json_string(uid));
    publish(f, "ADDED", path, o);
    map_put(f->objects, where, o);
    return object_reply(reply, 201, o);
}

static int
do_write(struct fake_api *f, const char *path, bool patch, json_t *body,
         struct http_reply *reply)
{
    char *cut = strstr(path, "/status");
    autofree char *where =
        xstrndup(path, cut != NULL ? (size_t)(cut - path) : strlen(path));
    json_t *old = map_get(f->objects, where);
    json_t *o = NULL;
    struct error e = ERROR_INIT;
    const char *want = revision_of(body);
    const json_t *uid = uid_of(body);

    if (old == NULL)
        return status_reply(reply, 404, "NotFound");
    if (want != NULL && !streq(want, revision_of(old)))
        return status_reply(reply, 409, "Conflict");
    if (uid != NULL && !json_equal(uid, uid_of(old)))
        return status_reply(reply, 409, "Conflict");
    if (!patch) {
        o = json_deep_copy(body);
        json_object_set(json_object_get(o, "metadata"), "uid",
                        json_object_get(json_object_get(old, "metadata"), "uid"));
    } else if (patch_merge(old, body, &o, &e) < 0) {
        return status_reply(reply, 400, "BadRequest");
    }
    if (json_equal(old, o)) {
        json_decref(o);
        return object_reply(reply, 200, old);
    }
    publish(f, "MODIFIED", where, o);
    map_put(f->objects, where, o);
    return object_reply(reply, 200, o);
}

static int
do_delete(struct fake_api *f, const char *path, struct http_reply *reply)
{
    json_t *o = map_get(f->objects, path);

    if (o == NULL)
        return status_reply(reply, 404, "NotFound");
    publish(f, "DELETED", path, o);
    object_reply(reply, 200, o);
    map_del(f->objects, path);
    return 0;
}

static int
carry_out(struct fake_api *f, const struct client_request *r, struct http_reply *reply)
{
    autofree char *path = xstrndup(r->path, strcspn(r->path, "?"));
    json_t *body =
        r->body == NULL ? NULL : json_loadb(r->body, r->body_len, JSON_DECODE_ANY, NULL);
    int rc;

    if (streq(r->method, "POST")) {
        rc = do_create(f, path, body, reply);
    } else if (streq(r->method, "PATCH") || streq(r->method, "PUT")) {
        rc = do_write(f, path, streq(r->method, "PATCH"), body, reply);
    } else if (streq(r->method, "DELETE")) {
        rc = do_delete(f, path, reply);
    } else {
        const json_t *o = map_get(f->objects, path);
        rc = o == NULL ? status_reply(reply, 404, "NotFound")
                       : object_reply(reply, 200, o);
    }
    json_decref(body);
    return rc;
}

static int
answer(struct fake_api *f, const struct client_request *r, struct http_reply *reply)
{
    bool hit = f->fail_left > 0 && streq(r->method, f->fail_method) &&
               str_starts(r->path, f->fail_prefix);
    int rc = 0;

    if (!hit || f->fail_after)
        rc = carry_out(f, r, reply);
    if (!hit)
        return rc;
    f->fail_left--;
    str_reset(&reply->body);
    return status_reply(reply, f->fail_status, "");
}

static int
request(void *self, const struct client_request *r, struct http_reply *reply,
        struct error *e)
{
    struct fake_api *f = self;
    struct call_count c;

    UNUSED(e);
    pthread_mutex_lock(&f->lock);
    c.what = xasprintf("%s %s", r->method, r->path);
    vec_push(&f->calls, c);
    int rc = answer(f, r, reply);
    pthread_mutex_unlock(&f->lock);
    return rc;
}

static void *
clone_self(void *self)
{
    return self;
}

static void
free_nothing(void *self)
{
    UNUSED(self);
}

struct client *
fake_api_client(struct fake_api *f)
{
    static const struct client_ops ops = {
        .request = request, .clone = clone_self, .free = free_nothing};

    return client_new(&ops, f);
}

/* --- watches ----------------------------------------------------------------------- */

static void *
start(void *self, struct informer *inf)
{
    struct fake_api *f = self;
    struct watcher *w = xnew(struct watcher);
    auto_str path = STR_INIT(1000);

    client_path(&path, informer_resource(inf), NULL, NULL, NULL);
    w->inf = inf;
    w->collection = xstrdup(path.ptr);
    pthread_mutex_lock(&f->lock);
    vec_push(&f->watchers, w);
    pthread_mutex_unlock(&f->lock);
    return w;
}

static void
stop(void *self, void *handle)
{
    struct fake_api *f = self;
    struct watcher *w = handle;

    pthread_mutex_lock(&f->lock);
    for (size_t i = 0; i < f->watchers.len; i++) {
        if (f->watchers.items[i] == w) {
            vec_remove(&f->watchers, i);
            break;
        }
    }
    pthread_mutex_unlock(&f->lock);
    free(w->collection);
    free(w);
}

struct watch_source
fake_api_source(struct fake_api *f)
{
    static const struct watch_source_ops ops = {.start = start, .stop = stop};

    return (struct watch_source){&ops, f};
}

/* Objects of the collection as references, and the revision they are of. */
static uint64_t
snapshot(struct fake_api *f, struct watcher *w, struct object_list *ret)
{
    const char *path;
    void *value;

    pthread_mutex_lock(&f->lock);
    struct map_cursor c = map_begin(f->objects);
    while (map_next(&c, &path, &value)) {
        autofree char *collection = collection_of(path);
        autofree char *text = json_dumps(value, JSON_COMPACT);
        struct object *o = NULL;
        struct error e = ERROR_INIT;
        if (!streq(collection, w->collection))
            continue;
        if (object_from_json(NULL, text, strlen(text), &o, &e) < 0)
            abort();
        vec_push(&ret->list, o);
    }
    w->next = f->changes.len;
    uint64_t revision = f->revision;
    pthread_mutex_unlock(&f->lock);
    return revision;
}

static bool
deliver_to(struct fake_api *f, struct watcher *w)
{
    autofree char *line = NULL;
    struct error e = ERROR_INIT;

    if (!w->listed) {
        auto_object_list list = {0};
        uint64_t revision = snapshot(f, w, &list);
        w->listed = true;
        informer_list_begin(w->inf);
        vec_foreach (o, &list.list)
            informer_list_item(w->inf, *o);
        informer_list_end(w->inf, revision);
        return true;
    }
    pthread_mutex_lock(&f->lock);
    while (w->next < f->changes.len && line == NULL) {
        const struct change *c = &f->changes.items[w->next++];
        if (streq(c->collection, w->collection))
            line = xstrdup(c->line);
    }
    pthread_mutex_unlock(&f->lock);
    if (line == NULL)
        return false;
    if (informer_apply_line(w->inf, span_of(line), &e) < 0)
        abort();
    return true;
}

bool
fake_api_deliver(struct fake_api *f)
{
    bool any = false;

    for (size_t i = 0; i < f->watchers.len; i++)
        any |= deliver_to(f, f->watchers.items[i]);
    return any;
}

bool
fake_api_deliver_only(struct fake_api *f, const struct resource *r)
{
    bool any = false;

    for (size_t i = 0; i < f->watchers.len; i++)
        if (informer_resource(f->watchers.items[i]->inf) == r)
            any |= deliver_to(f, f->watchers.items[i]);
    return any;
}

/* --- for assertions ---------------------------------------------------------------- */

void
fake_api_fail(struct fake_api *f, const char *method, const char *prefix, int status,
              int n)
{
    pthread_mutex_lock(&f->lock);
    free(f->fail_method);
    free(f->fail_prefix);
    f->fail_method = xstrdup(method);
    f->fail_prefix = xstrdup(prefix);
    f->fail_status = status;
    f->fail_left = n;
    f->fail_after = false;
    pthread_mutex_unlock(&f->lock);
}

void
fake_api_lose(struct fake_api *f, const char *method, const char *prefix, int n)
{
    fake_api_fail(f, method, prefix, 504, n);
    pthread_mutex_lock(&f->lock);
    f->fail_after = true;
    pthread_mutex_unlock(&f->lock);
}

unsigned
fake_api_count(struct fake_api *f, const char *method, const char *prefix)
{
    autofree char *what = xasprintf("%s %s", method, prefix);
    unsigned n = 0;

    pthread_mutex_lock(&f->lock);
    vec_foreach (c, &f->calls)
        n += str_starts(c->what, what);
    pthread_mutex_unlock(&f->lock);
    return n;
}

json_t *
fake_api_get(struct fake_api *f, const char *path)
{
    pthread_mutex_lock(&f->lock);
    json_t *o = json_deep_copy(map_get(f->objects, path));
    pthread_mutex_unlock(&f->lock);
    return o;
}

uint64_t
fake_api_revision(struct fake_api *f)
{
    pthread_mutex_lock(&f->lock);
    uint64_t r = f->revision;
    pthread_mutex_unlock(&f->lock);
    return r;
}
