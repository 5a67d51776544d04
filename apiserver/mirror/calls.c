/* SPDX-License-Identifier: Apache-2.0 */
/* Requests of the mirror's thread, made on the loop. */
#include "apiserver/mirror/calls.h"

#include <pthread.h>
#include <stdlib.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>

#include "apiserver/mirror/feed.h"
#include "base/clock.h"
#include "base/mem.h"

enum { IN_FLIGHT_MAX = 128, TURN_NS = 1000 * 1000, REPLY_MAX = 8 << 20 };

struct mirror_calls {
    struct api_server *s;
    struct api_user *user;
    int fd; /* eventfd: there is something to submit */
    struct loop_io *io;
    pthread_mutex_t lock;
    pthread_cond_t done;
    struct mirror_op *ops; /* the batch under way */
    size_t n, submitted, answered;
    bool cancelled, stuck; /* stuck: as many in flight as may be */
};

void
mirror_op_done(struct mirror_op *op)
{
    free(op->path);
    free(op->head);
    free(op->tail);
    object_unref(op->planned);
    str_done(&op->reply);
}

static void
poke(const struct mirror_calls *c)
{
    uint64_t one = 1;

    if (write(c->fd, &one, sizeof(one)) < 0 && errno != EAGAIN)
        bug_if(errno != EINTR);
}

/* --- the responder
 * ----------------------------------------------------------------------- */

static void
answered(struct mirror_op *op, int status)
{
    struct mirror_calls *c = op->calls;

    op->call = NULL;
    pthread_mutex_lock(&c->lock);
    op->status = status;
    op->answered = true;
    c->answered++;
    if (c->answered == c->n)
        pthread_cond_signal(&c->done);
    if (c->stuck) {
        c->stuck = false;
        poke(c);
    }
    pthread_mutex_unlock(&c->lock);
}

static void
on_header(void *arg, const char *name, const char *value)
{
    UNUSED(arg);
    UNUSED(name);
    UNUSED(value);
}

/* The same words as for requests from outside. */
static void
observe(const struct mirror_op *op, int status)
{
    const struct mirror_calls *c = op->calls;
    const char *verb = streq(op->method, "POST")    ? "create"
                       : streq(op->method, "PUT")   ? "update"
                       : streq(op->method, "PATCH") ? "patch"
                                                    : "delete";
    struct api_observed o = {.user = c->user->name,
                             .groups = "system:authenticated",
                             .verb = verb,
                             .path = op->path,
                             .body = span_of(op->tail == NULL ? op->head : ""),
                             .status = status};

    api_server_observed(c->s, &o);
}

static void
on_respond(void *arg, int status, const char *type, struct str *body)
{
    struct mirror_op *op = arg;

    UNUSED(type);
    str_add(&op->reply, body->ptr, body->len);
    observe(op, status);
    answered(op, status);
}

/* Lists and watches: never asked for. */
static void
on_respond_reader(void *arg, int status, const char *type, uint64_t length,
                  const struct api_reader *reader)
{
    UNUSED(type);
    UNUSED(length);
    reader->free_arg(reader->arg);
    answered(arg, status);
}

static void *
on_respond_stream(void *arg, int status, const char *type, const struct api_filler *f)
{
    UNUSED(type);
    f->free_arg(f->arg);
    answered(arg, status);
    return NULL;
}

static void
on_wake(void *stream)
{
    UNUSED(stream);
}

static const struct api_responder_ops responder = {
    .header = on_header,
    .respond = on_respond,
    .respond_reader = on_respond_reader,
    .respond_stream = on_respond_stream,
    .wake = on_wake,
};

static const char *
get_query(const void *src, const char *key)
{
    const struct mirror_op *op = src;

    if (streq(op->method, "DELETE"))
        return NULL;
    if (streq(key, "fieldManager"))
        return "files";
    return streq(key, "fieldValidation") ? "Strict" : NULL;
}

static const char *
get_header(const void *src, const char *name)
{
    const struct mirror_op *op = src;

    if (strcasecmp(name, "Content-Type") == 0)
        return op->merge_patch ? "application/merge-patch+json" : "application/json";
    if (strcasecmp(name, "Accept") == 0)
        return "application/json";
    return strcasecmp(name, "User-Agent") == 0 ? "drover-mirror/1" : NULL;
}

/* --- submitting
 * -------------------------------------------------------------------------- */

/* The revision to insist on: of the object as it is now, if it still looks as planned. */
static bool
current_revision(const struct mirror_calls *c, const struct mirror_op *op, uint64_t *ret)
{
    const struct object *planned = op->planned;
    struct store_key key = {op->kind->resource, planned->ns, planned->name};
    const struct object *now = store_peek(api_server_store(c->s), &key);

    if (now == NULL || !streq(now->uid, planned->uid))
        return false;
    *ret = now->revision;
    return now->revision == planned->revision || mirror_declared_same(now, planned);
}

static void
submit(struct mirror_calls *c, struct mirror_op *op)
{
    auto_str body = STR_INIT(REPLY_MAX);
    uint64_t revision = 0;

    op->calls = c;
    str_init(&op->reply, REPLY_MAX);
    if (op->planned != NULL && !current_revision(c, op, &revision)) {
        answered(op, 409);
        return;
    }
    str_adds(&body, op->head);
    if (op->tail != NULL)
        str_addf(&body, "%llu%s", (unsigned long long)revision, op->tail);
    struct api_request req = {.method = op->method,
                              .path = op->path,
                              .query = get_query,
                              .header = get_header,
                              .src = op,
                              .body = {body.ptr, body.len},
                              .user = c->user};
    op->call = api_call_new(c->s, &req, &responder, op);
    api_call_run(op->call);
}

static void
on_submit(void *arg, int fd, uint32_t events)
{
    struct mirror_calls *c = arg;
    uint64_t count;
    int64_t until = clock_now_ns() + TURN_NS;

    UNUSED(events);
    if (read(fd, &count, sizeof(count)) < 0 && errno != EAGAIN && errno != EINTR)
        return;
    for (;;) {
        pthread_mutex_lock(&c->lock);
        bool more = !c->cancelled && c->submitted < c->n;
        c->stuck = more && c->submitted - c->answered >= IN_FLIGHT_MAX;
        bool go = more && !c->stuck && clock_now_ns() < until;
        struct mirror_op *op = go ? &c->ops[c->submitted++] : NULL;
        pthread_mutex_unlock(&c->lock);
        if (op != NULL) {
            submit(c, op);
            continue;
        }
        if (more && !c->stuck)
            poke(c);
        return;
    }
}

bool
mirror_calls_run(struct mirror_calls *c, struct mirror_op *ops, size_t n)
{
    if (n == 0)
        return true;
    pthread_mutex_lock(&c->lock);
    c->ops = ops;
    c->n = n;
    c->submitted = c->answered = 0;
    if (!c->cancelled)
        poke(c);
    while (!c->cancelled && c->answered < n)
        pthread_cond_wait(&c->done, &c->lock);
    bool fine = !c->cancelled;
    c->ops = NULL;
    c->n = c->submitted = c->answered = 0;
    pthread_mutex_unlock(&c->lock);
    return fine;
}

void
mirror_calls_cancel(struct mirror_calls *c)
{
    pthread_mutex_lock(&c->lock);
    for (size_t i = 0; i < c->submitted; i++) {
        if (c->ops[i].call != NULL)
            api_call_abort(c->ops[i].call);
    }
    c->cancelled = true;
    pthread_cond_signal(&c->done);
    pthread_mutex_unlock(&c->lock);
}

int
mirror_calls_new(struct api_server *s, const char *groups, struct mirror_calls **ret,
                 struct error *e)
{
    struct mirror_calls *c = xnew(struct mirror_calls);

    c->s = s;
    c->user = user_new(MIRROR_USER, groups);
    pthread_mutex_init(&c->lock, NULL);
    pthread_cond_init(&c->done, NULL);
    c->fd = eventfd(0, EFD_CLOEXEC | EFD_NONBLOCK);
    if (c->fd < 0) {
        error_errno(e, errno, "eventfd");
        mirror_calls_free(c);
        return -(int)e->code;
    }
    if (loop_io_add(api_server_loop(s), "mirror-calls", c->fd, EPOLLIN, on_submit, c,
                    &c->io, e) < 0) {
        mirror_calls_free(c);
        return -(int)e->code;
    }
    *ret = c;
    return 0;
}

void
mirror_calls_free(struct mirror_calls *c)
{
    if (c == NULL)
        return;
    loop_io_free(c->io);
    if (c->fd >= 0)
        close(c->fd);
    user_unref(c->user);
    pthread_mutex_destroy(&c->lock);
    pthread_cond_destroy(&c->done);
    free(c);
}
