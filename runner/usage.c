/* SPDX-License-Identifier: Apache-2.0 */
/*
 * How busy the GPUs of running jobs are, for those jobs whose spec.utilizationPolicy asks
 * for it. Sampled on the probe thread while there is such a job, never otherwise. What is
 * decided here is told once, as status.agent.idleGPU; no sample leaves the machine. A
 * restart of the agent begins every window anew: nobody watched meanwhile.
 */
#include <stdlib.h>

#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"
#include "runner/event.h"
#include "runner/job.h"

LOG_MODULE(usage);

struct usage {
    struct agent *a;
    struct loop_timer *timer;
    int64_t due_ms; /* of the timer */
    bool sampling, stopping;
};

struct sample {
    struct usage *u;
    const char *fake_gpus;
    struct gpu_loads *loads;
    struct error error;
    int64_t at_ms;
};

static bool
runs(const struct job *j)
{
    return !j->dead && j->engine == JOB_ENGINE_BUSY && j->report.started_ns != 0 &&
           j->report.end_seq == 0 && !j->view.agent_terminal &&
           j->view.desired == JOB_RUN && j->stop_sent == JOB_RUN;
}

static bool
wants_samples(const struct job *j)
{
    return j->view.idle.window_ms > 0 && j->view.hold.n_gpus > 0 && runs(j) &&
           !j->view.idle_told && !j->report.idle.told;
}

static void
arm(struct usage *u, int64_t delay_ms)
{
    u->due_ms = loop_now_ms(u->a->loop) + delay_ms;
    loop_timer_in(u->timer, delay_ms);
}

/* --- one job ---------------------------------------------------------------------------
 */

static void
say_unknown(struct job *j, unsigned gpu, const char *note)
{
    const char *uuid = j->view.hold.gpus[gpu];
    const struct gpu_device *d = gpu_find(&j->a->inventory->gpus, uuid);
    char text[480];

    snprintf(text, sizeof(text),
             "how busy GPU %s (%s %s) is cannot be told, so utilizationPolicy does not "
             "act on it: %.200s",
             uuid, d == NULL ? "of" : d->vendor, d == NULL ? "unknown kind" : d->name,
             note[0] == '\0' ? "its driver does not say" : note);
    report_usage_unknown(j, text);
}

static void
say_idle(struct job *j, unsigned gpu, int64_t at_ms)
{
    const struct idle_window *w = &j->idle[gpu];
    const char *uuid = j->view.hold.gpus[gpu];
    const struct gpu_device *d = gpu_find(&j->a->inventory->gpus, uuid);
    struct job_idle idle = {.told = true, .index = d == NULL ? gpu : d->index};

    snprintf(idle.uuid, sizeof(idle.uuid), "%s", uuid);
    idle.max = w->max;
    idle.since_ns = clock_wall_ns() - (at_ms - w->low_ms) * 1000000;
    report_idle(j, &idle);
}

/* A GPU whose figure is missing keeps nothing from the others. */
static void
take_sample(struct job *j, const struct gpu_loads *loads, int64_t at_ms)
{
    const struct journal_hold *h = &j->view.hold;
    unsigned n_unknown = 0, which = 0;

    for (unsigned i = 0; i < h->n_gpus && i < j->n_idle; i++) {
        const struct gpu_load *l = gpu_load_find(loads, h->gpus[i]);
        if (at_ms < j->idle[i].began_ms)
            continue; /* it was taken before the job was watched */
        enum idle_verdict v =
            idle_window_take(&j->idle[i], &j->view.idle, at_ms, l == NULL ? -1 : l->busy);
        if (v == IDLE_YES) {
            say_idle(j, i, at_ms);
            return;
        }
        if (v == IDLE_UNKNOWN && n_unknown++ == 0)
            which = i;
    }
    if (n_unknown > 0)
        say_unknown(j, which, loads->note);
    else
        report_usage_known(j);
}

/* --- sampling --------------------------------------------------------------------------
 */

static void
sample_work(void *arg)
{
    struct sample *s = arg;
    struct gpu_config c = {.fake_file = s->fake_gpus};

    s->loads = xnew(struct gpu_loads);
    if (gpu_sample(&c, s->loads, &s->error) < 0) {
        s->loads->len = 0;
        snprintf(s->loads->note, sizeof(s->loads->note), "%.230s", s->error.msg);
    }
    s->at_ms = clock_now_ms();
}

static void
sample_done(void *arg)
{
    struct sample *s = arg;
    struct usage *u = s->u;
    int64_t next_ms = -1;

    u->sampling = false;
    struct map_cursor c = map_begin(u->a->jobs);
    void *job;
    while (!u->stopping && map_next(&c, NULL, &job)) {
        struct job *j = job;
        if (!wants_samples(j) || j->idle == NULL)
            continue;
        take_sample(j, s->loads, s->at_ms);
        int64_t ms = idle_interval_ms(&j->view.idle);
        if (wants_samples(j) && (next_ms < 0 || ms < next_ms))
            next_ms = ms;
    }
    free(s->loads);
    free(s);
    if (next_ms >= 0)
        arm(u, next_ms);
}

static void
on_timer(void *arg)
{
    struct usage *u = arg;
    struct sample *s = xnew(struct sample);

    u->sampling = true;
    s->u = u;
    s->fake_gpus = u->a->opts->fake_gpus;
    loop_pool_run(u->a->pool, sample_work, sample_done, s);
}

void
usage_look(struct usage *u, struct job *j)
{
    if (j->view.idle.window_ms > 0 && j->view.hold.n_gpus == 0 && runs(j) &&
        !j->no_gpu_said) {
        j->no_gpu_said = true;
        event_say(j, true, "UtilizationUnknown",
                  "the job has got no GPU, so utilizationPolicy does not act on it");
    }
    if (!wants_samples(j) || j->a->inventory == NULL)
        return;
    if (j->idle == NULL) {
        j->n_idle = j->view.hold.n_gpus;
        j->idle = xcalloc(j->n_idle, sizeof(*j->idle));
        for (unsigned i = 0; i < j->n_idle; i++)
            idle_window_begin(&j->idle[i], clock_now_ms());
        log_info("watching how busy its GPUs are", "job=%s uid=%s min=%d window_ms=%lld",
                 j->view.name, j->uid, j->view.idle.min_busy,
                 (long long)j->view.idle.window_ms);
    }
    int64_t ms = idle_interval_ms(&j->view.idle);
    if (!u->sampling &&
        (!loop_timer_armed(u->timer) || u->due_ms > loop_now_ms(u->a->loop) + ms))
        arm(u, ms);
}

struct usage *
usage_start(struct agent *a)
{
    struct usage *u = xnew(struct usage);

    u->a = a;
    u->timer = loop_timer_new(a->loop, "gpu usage", on_timer, u);
    return u;
}

void
usage_stop(struct usage *u)
{
    if (u != NULL)
        u->stopping = true;
}

void
usage_free(struct usage *u)
{
    if (u == NULL)
        return;
    loop_timer_free(u->timer);
    free(u);
}
