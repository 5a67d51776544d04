/* SPDX-License-Identifier: Apache-2.0 */
/* Making the world, and the lives of the API server and the controllers in it. */
#include <stdarg.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "sim/sim.h"

enum { SLICE_MS = 1000, START_TURNS_MAX = 10000, DOWN_MAX_MS = 20000 };
#define START_MONO_NS (INT64_C(1000) * 1000000000)
#define START_WALL_NS (INT64_C(1767225600) * 1000000000)

/* --- chance, time, record -----------------------------------------------------------
 */

uint32_t
sim_below(struct sim *s, uint32_t n)
{
    s->random ^= s->random >> 12;
    s->random ^= s->random << 25;
    s->random ^= s->random >> 27;
    return n == 0 ? 0 : (uint32_t)((s->random * UINT64_C(0x2545F4914F6CDD1D)) >> 33) % n;
}

bool
sim_permille(struct sim *s, unsigned p)
{
    return p > 0 && sim_below(s, 1000) < p;
}

int64_t
sim_now_ms(void)
{
    return clock_now_ms();
}

void
sim_log(struct sim *s, const char *fmt, ...)
{
    char *line = s->trace[s->n_trace++ % SIM_TRACE];
    va_list ap;
    int n = snprintf(line, SIM_TRACE_LEN, "%6u %9.3f ", s->step,
                     (double)(clock_now_ns() - START_MONO_NS) / 1e9);

    va_start(ap, fmt);
    vsnprintf(line + n, SIM_TRACE_LEN - (size_t)n, fmt, ap);
    va_end(ap);
    for (const char *p = line; *p != '\0'; p++)
        s->digest = (s->digest ^ (unsigned char)*p) * UINT64_C(1099511628211);
    if (s->opts.verbose)
        fprintf(stderr, "%s\n", line);
}

static void
tick(struct sim *s)
{
    sim_machines_tick(s);
    for (unsigned i = 0; i < s->n_agents; i++) {
        struct sim_link *l = sim_agent_link(s->agents[i]);
        if (l->cut && l->cut_until_ms <= sim_now_ms())
            l->cut = false;
        sim_agent_tick(s->agents[i]);
    }
    if (s->control.cut && s->control.cut_until_ms <= sim_now_ms())
        s->control.cut = false;
}

void
sim_advance(struct sim *s, int64_t ms)
{
    while (ms > 0) {
        int64_t slice = ms < SLICE_MS ? ms : SLICE_MS;
        clock_fake_advance(slice * 1000000);
        tick(s);
        ms -= slice;
    }
}

/* --- the API server -----------------------------------------------------------------
 */

static void
on_fatal(void *arg, const struct error *e)
{
    struct sim *s = arg;

    s->fatal = true;
    sim_log(s, "server: the store has failed: %s", e->msg);
}

static const struct kind *
kind_of(void *arg, const char *resource)
{
    const struct sim *s = arg;

    return kinds_kind_of(s->kinds, resource);
}

struct started {
    bool done;
    struct error e;
};

static void
on_bootstrapped(void *arg, const struct error *e)
{
    struct started *st = arg;

    st->done = true;
    if (e != NULL)
        st->e = *e;
}

static int
open_server(struct sim *s, struct error *e)
{
    struct store_opts so = {.dir = s->dir,
                            .inline_sync = true,
                            .ring_events = s->ring,
                            .snapshot_after = s->snapshot_after,
                            .on_fatal = on_fatal,
                            .kind_of = kind_of,
                            .arg = s,
                            .fs = &s->fs};
    struct api_server_opts ao = {.loop = s->loop, .kinds = s->kinds};

    if (store_open(s->loop, &so, &s->store, e) < 0)
        return -(int)e->code;
    ao.store = s->store;
    if (api_server_new(&ao, &s->server, e) < 0)
        return -(int)e->code;
    return api_server_start_loops(s->server, e);
}

void
sim_server_start(struct sim *s)
{
    struct error e = ERROR_INIT;
    struct started st = {.e = ERROR_INIT};

    bool lying = s->disk.lying;
    unsigned torn = s->disk.n_torn, full = s->disk.n_full, lost = s->disk.n_lost;
    s->disk =
        (struct sim_disk){.lying = lying, .n_torn = torn, .n_full = full, .n_lost = lost};
    s->fatal = false;
    if (open_server(s, &e) < 0) {
        sim_violate(s, "store_reopens", "%s", e.msg);
        return;
    }
    sim_monitor_attach(s);
    api_server_bootstrap(s->server, on_bootstrapped, &st);
    for (unsigned i = 0; !st.done && i < START_TURNS_MAX; i++) {
        store_flush(s->store);
        loop_turn(s->loop, 0);
    }
    if (!st.done || st.e.code != ERR_OK)
        sim_violate(s, "server_starts", "%s", st.e.msg);
    s->up = true;
    s->n_crashes++;
    sim_monitor_drain(s);
    sim_log(s, "server: up at revision %llu", (unsigned long long)s->last_revision);
}

void
sim_server_crash(struct sim *s, bool power_off)
{
    if (s->store == NULL)
        return;
    sim_log(s, "server: dies%s%s", power_off ? ", power off" : "",
            s->in_doubt ? ", a write was under way" : "");
    sim_monitor_drain(s);
    vec_foreach (r, &s->readers)
        sim_reader_cut(*r);
    s->disk.dead = true;
    if (power_off)
        sim_disk_power_off(&s->disk);
    s->up = false;
    store_watch_free(s->monitor);
    s->monitor = NULL;
    api_server_prepare_close(s->server);
    store_close(s->store);
    api_server_free(s->server);
    s->store = NULL;
    s->server = NULL;
    s->up_again_ms = sim_now_ms() + sim_below(s, DOWN_MAX_MS);
}

/* --- the controllers ----------------------------------------------------------------
 */

void
sim_controllers_start(struct sim *s)
{
    struct error e = ERROR_INIT;

    s->async = async_local_new(s->control_client);
    struct manager_opts o = {.client = s->control_client,
                             .async = s->async,
                             .source = sim_source(s),
                             .component = "sim",
                             .instance = "sim",
                             .seed = sim_below(s, UINT32_MAX) + UINT64_C(1)};
    manager_new(&o, &s->m);
    if (controllers_add(s->m, NULL, &s->set, &e) < 0)
        sim_violate(s, "controllers_start", "%s", e.msg);
    manager_start(s->m);
    sim_log(s, "controllers: start");
}

void
sim_controllers_stop(struct sim *s)
{
    if (s->m == NULL)
        return;
    sim_log(s, "controllers: die");
    manager_stop(s->m);
    manager_free(s->m);
    controllers_free(s->set);
    async_free(s->async);
    s->m = NULL;
    s->set = NULL;
    s->async = NULL;
    s->controllers_again_ms = sim_now_ms() + sim_below(s, DOWN_MAX_MS);
    s->n_restarts++;
}

/* --- the world ----------------------------------------------------------------------
 */

static int
make_fleet(struct sim *s)
{
    struct error e = ERROR_INIT;
    json_t *body = json_pack("{s:s, s:s, s:{s:s}, s:{}}", "apiVersion", "drover.dev/v1",
                             "kind", "Fleet", "metadata", "name", "local", "spec");
    int rc = client_create(s->user_client, &resource_fleets, SIM_NS, body, NULL, &e);

    json_decref(body);
    if (rc < 0)
        sim_violate(s, "set_up", "fleet: %s", e.msg);
    return rc;
}

static void
seed_ids(uint64_t seed)
{
    unsigned char bytes[32] = {1};

    memcpy(bytes + 1, &seed, sizeof(seed));
    id_seed(bytes);
}

static void
choose_character(struct sim *s)
{
    /* No mutation needs machines that go; there is a story for them. */
    s->faults = s->opts.mutation == SIM_NO_MUTATION ? sim_below(s, SIM_ALL_FAULTS + 1)
                                                    : SIM_ALL_FAULTS & ~FAULT_RECLAIM;
    s->patient = sim_permille(s, 400);
    if (s->patient)
        s->faults |= FAULT_PARTITION;
    s->ring = 400 + sim_below(s, 4000);
    s->snapshot_after = UINT64_C(20000) << sim_below(s, 8);
    s->disk.lying = s->opts.mutation == SIM_LYING_DISK;
    s->control.controllers = true;
    s->control.lose_permille = s->faults & FAULT_NET ? 1 + sim_below(s, 30) : 0;
    s->user.lose_permille = 0;
}

int
sim_new(const struct sim_opts *o, struct kinds *kinds, struct sim **ret)
{
    struct sim *s = xnew(struct sim);
    struct error e = ERROR_INIT;
    char root[] = "/tmp/drover-sim-XXXXXX";

    clock_fake_set(START_MONO_NS, START_WALL_NS);
    seed_ids(o->seed);
    s->opts = *o;
    s->random = (o->seed + 1) * UINT64_C(0x9E3779B97F4A7C15);
    s->digest = UINT64_C(14695981039346656037);
    s->kinds = kinds;
    s->shadow = map_new((void (*)(void *))object_unref);
    s->gone = map_new(NULL);
    s->bound = map_new(NULL);
    s->procs = map_new(free);
    s->queue = sim_queue_new();
    *ret = s;
    if (mkdtemp(root) == NULL || loop_new(&s->loop, &e) < 0) {
        sim_violate(s, "set_up", "no directory or loop");
        return -1;
    }
    s->root = xstrdup(root);
    s->dir = fs_join(root, "data");
    sim_link_init(s, &s->control, "controllers");
    sim_link_init(s, &s->user, "user");
    choose_character(s);
    s->control_client = sim_client_new(&s->control);
    s->user_client = sim_client_new(&s->user);
    sim_disk_ops(&s->disk, &s->fs);
    s->calm = true; /* the set-up itself does not fail */
    sim_server_start(s);
    if (s->failed || make_fleet(s) < 0)
        return -1;
    if (o->seed % 2 == 1)
        sim_user_quota(s);
    s->n_agents = 1 + sim_below(s, SIM_AGENTS_MAX / 2);
    for (unsigned i = 0; i < s->n_agents; i++) {
        s->agents[i] = sim_agent_new(s, i);
        if (s->faults & FAULT_NET)
            sim_agent_link(s->agents[i])->lose_permille = sim_below(s, 30);
    }
    sim_controllers_start(s);
    s->calm = false;
    return s->failed ? -1 : 0;
}

void
sim_free(struct sim *s)
{
    struct error e = ERROR_INIT;

    if (s == NULL)
        return;
    sim_controllers_stop(s);
    for (unsigned i = 0; i < s->n_agents; i++)
        sim_agent_free(s->agents[i]);
    sim_server_crash(s, false);
    client_free(s->control_client);
    client_free(s->user_client);
    sim_link_done(&s->control);
    sim_link_done(&s->user);
    vec_done(&s->readers);
    vec_done(&s->control_readers);
    map_free(s->shadow);
    map_free(s->gone);
    map_free(s->bound);
    map_free(s->procs);
    sim_queue_free(s->queue);
    if (s->loop != NULL)
        loop_free(s->loop);
    if (s->root != NULL && fs_remove_tree(s->root, &e) < 0)
        fprintf(stderr, "%s stays: %s\n", s->root, e.msg);
    free(s->root);
    free(s->dir);
    free(s);
    id_seed(NULL);
    clock_fake_stop();
}
