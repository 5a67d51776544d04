/* SPDX-License-Identifier: Apache-2.0 */
/* The election on a loop: one timer, one request at a time. */
#include <sys/epoll.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/lease.h"
#include "io/loop.h"

LOG_MODULE(lease);

enum { PATH_MAX_LEN = 2048, REQUEST_TIMEOUT_MS = 4000 };

struct lease_runner {
    struct lease_runner_opts opts;
    struct lease lease;
    struct loop_timer *timer;
    enum lease_do doing; /* the request in flight; LEASE_WAIT: none */
    bool acquired;       /* on_acquired was called and on_lost was not */
    bool stopped;
    int holder_fd; /* pidfd of a holder on this machine, or -1 */
    struct loop_io *holder_io;
};

static void step(void *arg);
static void forget_holder(struct lease_runner *r);

static void
path_of(const struct lease_runner *r, enum lease_do what, struct str *path)
{
    client_path(path, &resource_leases, r->lease.opts.ns,
                what == LEASE_CREATE ? NULL : r->lease.opts.name, NULL);
}

static void
answered(void *arg, struct span reply, const struct error *result)
{
    struct lease_runner *r = arg;
    int64_t now = clock_now_ms();
    struct error e = *result;
    auto_object *o = NULL;
    enum lease_do did = r->doing;

    r->doing = LEASE_WAIT;
    if (e.code == ERR_OK && object_from_json(NULL, reply.ptr, reply.len, &o, &e) < 0)
        log_debug("reply is no lease", "error=\"%s\"", e.msg);
    if (did == LEASE_GET && e.code == ERR_NOT_FOUND) {
        lease_got(&r->lease, NULL, now);
    } else if (e.code != ERR_OK) {
        if (error_retry(e.code) != ERR_RETRY_FRESH) /* a race for it is no failure */
            log_warn_rl("lease request failed", "lease=%s error=\"%s\"",
                        r->lease.opts.name, e.msg);
        lease_failed(&r->lease, &e, now);
    } else if (did == LEASE_GET) {
        lease_got(&r->lease, o, now);
    } else {
        lease_wrote(&r->lease, o, now);
    }
    step(r);
}

static void
send_request(struct lease_runner *r, enum lease_do what)
{
    static const char *const methods[] = {
        [LEASE_GET] = "GET", [LEASE_CREATE] = "POST", [LEASE_UPDATE] = "PUT"};
    auto_str path = STR_INIT(PATH_MAX_LEN);
    struct client_request q = {.method = methods[what], .timeout_ms = REQUEST_TIMEOUT_MS};

    r->doing = what;
    path_of(r, what, &path);
    q.path = path.ptr;
    if (what == LEASE_GET) {
        async_start(r->opts.async, &q, answered, r);
        return;
    }
    q.content_type = "application/json";
    json_t *body = lease_body(&r->lease, clock_now_ms(), clock_wall_ns());
    async_json(r->opts.async, &q, body, answered, r);
    json_decref(body);
}

static void
notify(struct lease_runner *r, int64_t now)
{
    bool held = lease_held(&r->lease, now);

    if (held == r->acquired)
        return;
    r->acquired = held;
    if (held)
        forget_holder(r);
    log_info(held ? "lease acquired" : "lease lost", "lease=%s", r->lease.opts.name);
    if (held)
        r->opts.on_acquired(r->opts.arg);
    else
        r->opts.on_lost(r->opts.arg);
}

static void
forget_holder(struct lease_runner *r)
{
    loop_io_free(r->holder_io);
    r->holder_io = NULL;
    if (r->holder_fd >= 0)
        close(r->holder_fd);
    r->holder_fd = -1;
}

static void
holder_ended(void *arg, int fd, uint32_t events)
{
    UNUSED(fd);
    UNUSED(events);
    forget_holder(arg);
    step(arg);
}

/* A holder of this machine that is still alive: its end is an event, not a time-out. */
static void
watch_holder(struct lease_runner *r)
{
    struct error e = ERROR_INIT;

    if (r->holder_fd >= 0)
        return;
    r->holder_fd = lease_holder_pidfd(r->lease.holder);
    if (r->holder_fd >= 0 && loop_io_add(r->opts.loop, "lease-holder", r->holder_fd,
                                         EPOLLIN, holder_ended, r, &r->holder_io, &e) < 0)
        forget_holder(r);
}

static void
step(void *arg)
{
    struct lease_runner *r = arg;
    int64_t now = clock_now_ms();
    int64_t wake = now;

    if (r->doing == LEASE_WAIT) {
        enum lease_do what = lease_next(&r->lease, now, &wake);
        if (what != LEASE_WAIT)
            send_request(r, what);
    }
    notify(r, now);
    if (r->stopped)
        return;
    if (r->lease.held) { /* also wakes when the time to give up comes */
        int64_t end = r->lease.sent_ms + r->lease.opts.give_up_ms;
        if (r->doing != LEASE_WAIT || wake > end)
            wake = end;
    } else if (r->doing != LEASE_WAIT) {
        return;
    } else if (r->lease.known && !r->lease.absent && r->lease.opts.holder_gone != NULL) {
        watch_holder(r);
    }
    loop_timer_at(r->timer, wake);
}

struct lease_runner *
lease_runner_start(const struct lease_runner_opts *o)
{
    struct lease_runner *r = xnew(struct lease_runner);

    r->opts = *o;
    r->lease.opts = o->lease;
    r->holder_fd = -1;
    r->timer = loop_timer_new(o->loop, "lease", step, r);
    loop_timer_in(r->timer, 0);
    return r;
}

static void
release(struct lease_runner *r, struct client *c)
{
    struct error e = ERROR_INIT;
    json_t *body = lease_release_body(&r->lease, clock_wall_ns());
    int rc = client_update(c, &resource_leases, r->lease.opts.ns, r->lease.opts.name,
                           body, NULL, &e);

    if (rc < 0)
        log_debug("lease not given back", "error=\"%s\"", e.msg);
    json_decref(body);
}

void
lease_runner_stop(struct lease_runner *r, struct client *c)
{
    if (r == NULL)
        return;
    r->stopped = true;
    if (c != NULL && r->doing == LEASE_WAIT && lease_held(&r->lease, clock_now_ms()))
        release(r, c);
    forget_holder(r);
    loop_timer_free(r->timer);
    free(r);
}
