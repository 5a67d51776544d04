/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Machines: what runs on them goes on whatever happens to agents and servers, and every
 * start is counted for good.
 */
#include <signal.h>

#include "base/clock.h"
#include "sim/sim.h"

struct sim_proc *
sim_proc_find(const struct sim *s, const char *uid)
{
    struct sim_proc *p = map_get(s->procs, uid);

    return p == NULL || p->removed ? NULL : p;
}

void
sim_machine_start(struct sim *s, struct sim_proc *p)
{
    static const int codes[] = {0, 0, 0, 0, 1, 3, 137};

    p->starts++;
    p->state = PROC_RUNNING;
    p->started_ns = clock_wall_ns();
    p->exit_at_ms =
        sim_now_ms() + 50 +
        sim_below(s, sim_permille(s, s->patient ? 600 : 150) ? 600000 : 60000);
    p->term_ms = sim_permille(s, 250) ? INT64_MAX / 2 : (int64_t)sim_below(s, 5000);
    p->kill_at_ms = 0;
    p->code = codes[sim_below(s, ARRAY_LEN(codes))];
    p->signal = sim_permille(s, 50) ? SIGSEGV : 0;
    sim_log(s, "machine %u: job %.8s starts, ends in %lld ms", p->machine, p->uid,
            (long long)(p->exit_at_ms - sim_now_ms()));
    sim_check_start(s, p);
}

static void
end(struct sim *s, struct sim_proc *p, int code, int sig)
{
    p->state = PROC_EXITED;
    p->code = code;
    p->signal = sig;
    p->finished_ns = clock_wall_ns();
    sim_log(s, "machine %u: job %.8s ends, code %d signal %d", p->machine, p->uid, code,
            sig);
}

void
sim_machine_kill(struct sim *s, struct sim_proc *p, int64_t grace_ms)
{
    if (p->state != PROC_RUNNING)
        return;
    if (grace_ms == 0) {
        end(s, p, -1, SIGKILL);
        return;
    }
    int64_t at = sim_now_ms() + grace_ms;
    if (p->kill_at_ms == 0 || at < p->kill_at_ms)
        p->kill_at_ms = at;
    if (sim_now_ms() + p->term_ms < p->exit_at_ms && p->term_ms < grace_ms) {
        p->exit_at_ms = sim_now_ms() + p->term_ms;
        p->signal = SIGTERM;
    }
}

void
sim_machines_tick(struct sim *s)
{
    struct map_cursor c = map_begin(s->procs);
    int64_t now = sim_now_ms();
    void *value;

    while (map_next(&c, NULL, &value)) {
        struct sim_proc *p = value;
        if (p->state != PROC_RUNNING)
            continue;
        if (p->kill_at_ms != 0 && p->kill_at_ms <= now && p->kill_at_ms <= p->exit_at_ms)
            end(s, p, -1, SIGKILL);
        else if (p->exit_at_ms <= now)
            end(s, p, p->signal != 0 ? -1 : p->code, p->signal);
    }
}
