/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What the agent itself says about a job, kept with the job: each line of the agent's log
 * that names the job's uid, down to debug, becomes a frame of a second, small log
 * (<job dir>/diagnostics), which is shipped like the job's output and read with
 * `drover logs --diagnose`. Lines are gathered for a second, so that a job that ends well
 * within that costs neither a file nor a request; nobody asks how it went. Past DIAG_MAX
 * no more is kept.
 */
#include <pthread.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/job.h"

enum {
    PENDING_MAX = 16384,
    GATHER_MS = 1000,
    DIAG_MAX = 256 * 1024,
    TEXT_MAX = 2048,
    UID_LEN = 36
};

struct diag {
    struct agent *a;
    pthread_t thread; /* the loop's */
    bool busy;        /* what we do ourselves may be logged too */
};

struct job_diag {
    struct job *j;
    struct str pending; /* frames */
    struct loop_timer *timer;
    char *dir; /* NULL: the job has none yet */
    struct segment_log *log;
    struct shipper *shipper;
    void (*acked)(void *arg);
    bool closed;
};

static void
put_line(struct str *out, enum log_level lv, const char *module, const char *msg,
         const char *fields)
{
    static const char *const names[] = {"error", "warn", "info", "debug"};
    char text[TEXT_MAX];
    int n =
        snprintf(text, sizeof(text), "%-5s %s: %s %s\n", names[lv], module, msg, fields);

    if (n < 0)
        return;
    if ((size_t)n >= sizeof(text)) {
        n = (int)sizeof(text) - 1;
        text[n - 1] = '\n';
    }
    segment_frame_put(out, clock_wall_ns(), SEGMENT_STDERR, text, (size_t)n);
}

/* Lines that cannot be kept are in the agent's own log all the same. */
static bool
store(struct job_diag *d)
{
    struct error e = ERROR_INIT;
    uint64_t length = 0;

    if (d->log == NULL && segment_open(d->dir, &d->log, &e) < 0)
        return false;
    return segment_append(d->log, segment_length(d->log), d->pending.ptr, d->pending.len,
                          &length, &e) == 0 &&
           length <= DIAG_MAX;
}

static void
flush(struct job_diag *d)
{
    struct job *j = d->j;
    struct diag *dg = j->a->diag;

    loop_timer_cancel(d->timer);
    if (d->dir == NULL || d->closed || d->pending.len == 0)
        return;
    dg->busy = true;
    d->closed = !store(d);
    str_reset(&d->pending);
    if (d->shipper == NULL && d->log != NULL) {
        struct shipped_log what = {.dir = d->dir,
                                   .kind = "diagnostics",
                                   .ns = j->view.ns,
                                   .name = j->view.name,
                                   .uid = j->uid};
        d->shipper = shipper_start(j->a->streams, &what, d->acked, j);
    }
    dg->busy = false;
}

static void
on_timer(void *arg)
{
    flush(arg);
}

static struct job_diag *
diag_of(struct job *j)
{
    if (j->diag == NULL) {
        j->diag = xnew(struct job_diag);
        j->diag->j = j;
        j->diag->timer = loop_timer_new(j->a->loop, "diagnostics", on_timer, j->diag);
        str_init(&j->diag->pending, PENDING_MAX);
    }
    return j->diag;
}

static void
on_line(void *arg, enum log_level lv, const char *module, const char *msg,
        const char *fields)
{
    struct diag *dg = arg;
    const char *at = strstr(fields, "uid=");
    char uid[UID_LEN + 1];

    if (at == NULL || !pthread_equal(dg->thread, pthread_self()) || dg->busy)
        return;
    snprintf(uid, sizeof(uid), "%s", at + strlen("uid="));
    struct job *j = map_get(dg->a->jobs, uid);
    if (j == NULL || j->dead)
        return;
    struct job_diag *d = diag_of(j);
    if (d->closed)
        return;
    put_line(&d->pending, lv, module, msg, fields);
    if (d->pending.len > PENDING_MAX / 2)
        flush(d);
    else if (!loop_timer_armed(d->timer))
        loop_timer_in(d->timer, GATHER_MS);
}

struct diag *
diag_start(struct agent *a)
{
    struct diag *dg = xnew(struct diag);

    dg->a = a;
    dg->thread = pthread_self();
    log_set_tap(on_line, dg);
    return dg;
}

void
diag_free(struct diag *dg)
{
    if (dg == NULL)
        return;
    log_set_tap(NULL, NULL);
    free(dg);
}

void
job_diag_open(struct job *j, void (*acked)(void *arg))
{
    struct job_diag *d = diag_of(j);

    if (d->dir != NULL)
        return;
    d->dir = fs_join(j->dir, "diagnostics");
    d->acked = acked;
}

void
job_diag_end(struct job *j, bool keep)
{
    struct job_diag *d = j->diag;

    if (d == NULL)
        return;
    if (keep || d->log != NULL)
        flush(d);
    loop_timer_cancel(d->timer);
    d->closed = true;
}

bool
job_diag_acked(const struct job *j)
{
    const struct job_diag *d = j->diag;

    return d == NULL || d->shipper == NULL || shipper_gone(d->shipper) ||
           shipper_acked(d->shipper) >= segment_length(d->log);
}

void
job_diag_kick(struct job *j)
{
    if (j->diag != NULL && j->diag->shipper != NULL)
        shipper_kick(j->diag->shipper);
}

void
job_diag_close(struct job *j)
{
    struct job_diag *d = j->diag;

    if (d == NULL)
        return;
    loop_timer_cancel(d->timer);
    shipper_free(d->shipper);
    d->shipper = NULL;
    segment_close(d->log);
    d->log = NULL;
    d->closed = true;
}

void
job_diag_free(struct job *j)
{
    if (j->diag == NULL)
        return;
    job_diag_close(j);
    loop_timer_free(j->diag->timer);
    str_done(&j->diag->pending);
    free(j->diag->dir);
    free(j->diag);
    j->diag = NULL;
}
