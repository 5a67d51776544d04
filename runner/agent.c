/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent as a whole. At the start, in this order: the directory is locked, the journal
 * read, the engines opened and asked whether they are usable, the jobs of the journal
 * adopted (this needs no server), the identity taken or made; then the server is told
 * about the machine and asked for jobs. Stopping drops everything of this process and
 * touches no job.
 */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "runner/event.h"
#include "runner/job.h"
#include "runner/roots_keep.h"
#include "runner/trash.h"

LOG_MODULE(agent);

enum { JOB_ENV_MAX = 1 << 20 };

/* How long a job that was bound here waits for an engine that is being restarted. */
#define ENGINE_WAIT_MS 30000

/* The one table of engines. */
static const struct engine_ops *const engine_table[AGENT_ENGINES] = {&engine_docker,
                                                                     &engine_process};

/* --- engines -------------------------------------------------------------------------
 */

struct agent_engine *
agent_engine_by_name(struct agent *a, const char *name)
{
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        if (streq(a->engines[i].ops->name, name))
            return &a->engines[i];
    }
    return NULL;
}

static void
each_job(struct agent *a, void (*fn)(struct job *j))
{
    struct map_cursor c = map_begin(a->jobs);
    void *job;
    while (map_next(&c, NULL, &job))
        fn(job);
}

void
agent_step_all(struct agent *a)
{
    each_job(a, job_step);
}

void
agent_look_at_devices(struct agent *a)
{
    each_job(a, job_look_at_devices);
}

void
agent_kick_all(struct agent *a)
{
    each_job(a, job_kick);
}

static void
log_limitations(const struct agent_engine *en)
{
    const char *lines = en->status.limitations;

    for (const char *p = lines; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n')
        log_warn("engine is limited", "name=%s what=\"%.*s\"", en->ops->name,
                 (int)strcspn(p, "\n"), p);
}

static void
on_engine_status(void *arg, const struct engine_status *s)
{
    struct agent_engine *en = arg;
    en->status = *s;
    en->probed = true;
    if (s->available) {
        en->down = en->missing = false;
        loop_timer_cancel(en->wait);
    } else if (!en->down) {
        en->down = true;
        loop_timer_in(en->wait, ENGINE_WAIT_MS);
    }
    log_info("engine", "name=%s available=%d version=\"%s\" reason=%s message=\"%s\"",
             en->ops->name, s->available, s->version, s->reason, s->message);
    log_limitations(en);
    status_changed(en->a->status);
    agent_step_all(en->a);
}

/* Names this agent on this machine also after its journal was lost: by where it lives. */
static void
make_agent_id(struct agent *a)
{
    auto_str text = STR_INIT(8192);
    struct error e = ERROR_INIT;
    char host[256] = "";
    char hash[65];
    autofree char *real = realpath(a->opts->dir, NULL);
    if (fs_read("/etc/machine-id", &text, &e) < 0)
        str_reset(&text);
    gethostname(host, sizeof(host) - 1);
    str_addf(&text, "|%s|%s", host, real != NULL ? real : a->opts->dir);
    id_hash_hex(text.ptr, text.len, hash);
    snprintf(a->agent_id, sizeof(a->agent_id), "%.16s", hash);
}

static void
collect_masks(struct agent *a)
{
    size_t n = 0;
    a->masks[n++] = a->opts->dir;
    for (size_t i = 0; i < a->opts->n_masks && n < AGENT_MASKS; i++)
        a->masks[n++] = a->opts->masks[i];
    a->masks[n] = NULL;
}

/* It had its time to come back. */
static void
on_engine_wait(void *arg)
{
    struct agent_engine *en = arg;
    en->missing = true;
    agent_step_all(en->a);
}

void
agent_engines_close(struct agent *a)
{
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        loop_timer_free(a->engines[i].wait);
        if (a->engines[i].en != NULL)
            a->engines[i].ops->close(a->engines[i].en);
    }
}

static void open_engines(struct agent *a);

void
agent_engines_open(struct agent *a)
{
    make_agent_id(a);
    collect_masks(a);
    open_engines(a);
}

static void
open_engines(struct agent *a)
{
    struct engine_config c = {.agent_dir = a->opts->dir,
                              .agent_id = a->agent_id,
                              .docker_socket = a->opts->docker_socket,
                              .supervisor = a->opts->supervisor != NULL
                                                ? a->opts->supervisor
                                                : a->opts->program,
                              .spool_bytes = a->opts->spool_bytes,
                              .host_dir_mask = a->masks};
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        struct agent_engine *en = &a->engines[i];
        struct error e = ERROR_INIT;
        en->a = a;
        en->wait = loop_timer_new(a->loop, "engine wait", on_engine_wait, en);
        en->ops = a->opts->engines != NULL ? a->opts->engines[i] : engine_table[i];
        if (en->ops->open(a->loop, &c, &en->en, &e) < 0) {
            en->en = NULL;
            en->probed = en->missing = true;
            snprintf(en->status.reason, sizeof(en->status.reason), "CannotOpen");
            snprintf(en->status.message, sizeof(en->status.message), "%.239s", e.msg);
            log_warn("engine not usable", "name=%s error=\"%s\"", en->ops->name, e.msg);
        }
    }
}

/* Leftovers of a journal that was lost carry our id and are not in this one. */
static void
probe_and_sweep(struct agent *a)
{
    size_t n = journal_len(a->journal);
    const char **known = xcalloc(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        known[i] = journal_at(a->journal, i)->uid;
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        struct agent_engine *en = &a->engines[i];
        if (en->en == NULL)
            continue;
        en->ops->probe(en->en, on_engine_status, en);
        en->ops->sweep(en->en, known);
    }
    free(known);
}

/* --- the machine ---------------------------------------------------------------------
 */

static void
read_boot_id(struct agent *a)
{
    auto_str text = STR_INIT(256);
    struct error e = ERROR_INIT;
    if (fs_read("/proc/sys/kernel/random/boot_id", &text, &e) < 0)
        str_reset(&text);
    snprintf(a->boot_id, sizeof(a->boot_id), "%.36s", text.ptr);
}

/* --- start and stop ------------------------------------------------------------------
 */

static void
on_enrolled(struct agent *a)
{
    a->status = status_start(a);
    a->lease = lease_start(a);
    a->watch = watch_start(a);
}

static int
load_identity(struct agent *a, struct error *e)
{
    struct error missing = ERROR_INIT;
    int r = identity_load(a->opts->dir, &a->identity, &missing);
    if (r < 0 && missing.code != ERR_NOT_FOUND) {
        *e = missing;
        return r;
    }
    if (a->opts->url != NULL) {
        free(a->identity.url);
        a->identity.url = xstrdup(a->opts->url);
    }
    if (a->identity.url == NULL)
        return error_set(e, ERR_INVALID,
                         "this agent is not enrolled: --join, and --token or "
                         "--token-file, are needed once");
    return 0;
}

static int
load_job_env(struct agent *a, struct error *e)
{
    auto_str text = STR_INIT(JOB_ENV_MAX);

    if (a->opts->job_env == NULL)
        return 0;
    if (fs_read(a->opts->job_env, &text, e) < 0)
        return -(int)e->code;
    a->job_env = json_loadb(text.ptr, text.len, 0, NULL);
    if (!json_is_object(a->job_env))
        return error_set(e, ERR_INVALID, "%s: no JSON object", a->opts->job_env);
    return 0;
}

static int
open_state(struct agent *a, struct error *e)
{
    autofree char *lock = fs_join(a->opts->dir, "lock");
    autofree char *jobs = fs_join(a->opts->dir, "jobs");
    int r = fs_mkdirs(a->opts->dir, 0700, e);
    if (r == 0)
        r = fs_lock(lock, &a->lock_fd, e);
    if (r == 0)
        r = fs_mkdirs(jobs, 0700, e);
    if (r == 0)
        r = journal_open(a->opts->dir, &a->journal, e);
    if (r == 0)
        r = load_identity(a, e);
    if (r == 0)
        r = load_job_env(a, e);
    return r;
}

int
agent_start(struct loop *l, const struct agent_opts *o, struct agent **ret,
            struct error *e)
{
    struct agent *a = xnew(struct agent);
    a->loop = l;
    a->opts = o;
    a->lock_fd = -1;
    a->jobs = map_new(job_free);
    a->over = map_new(NULL);
    int r = open_state(a, e);
    if (r == 0)
        r = http_multi_new(l, &a->http, e);
    if (r < 0) {
        agent_stop(a);
        return r;
    }
    a->server = server_new(l, a->http);
    a->pool = loop_pool_new(l, "probe", 1);
    a->trash = trash_new(l, o->dir);
    a->roots = roots_keep_start(a);
    a->events = events_new(a);
    a->streams = streams_new(a);
    a->diag = diag_start(a);
    read_boot_id(a);
    a->usage = usage_start(a);
    agent_engines_open(a);
    for (size_t i = 0; i < journal_len(a->journal); i++)
        job_from_entry(a, journal_at(a->journal, i));
    log_info("started", "dir=%s journal=%s jobs=%zu", o->dir, journal_id(a->journal),
             journal_len(a->journal));
    a->room = diskroom_start(a);
    a->machine = machine_start(a);
    probe_and_sweep(a);
    a->enrol = enrol_start(a, on_enrolled);
    *ret = a;
    return 0;
}

void
agent_stop(struct agent *a)
{
    if (a == NULL)
        return;
    watch_free(a->watch);
    lease_free(a->lease);
    status_free(a->status);
    a->status = NULL;
    enrol_free(a->enrol);
    machine_stop(a->machine);
    usage_stop(a->usage);
    roots_keep_stop(a->roots);
    loop_pool_free(a->pool);
    trash_free(a->trash);
    a->trash = NULL;
    roots_keep_free(a->roots);
    a->roots = NULL;
    machine_free(a->machine);
    diskroom_free(a->room);
    usage_free(a->usage);
    agent_engines_close(a);
    diag_free(a->diag);
    map_free(a->jobs);
    map_free(a->over);
    streams_free(a->streams);
    events_free(a->events);
    server_free(a->server);
    http_multi_free(a->http);
    journal_close(a->journal);
    identity_done(&a->identity);
    json_decref(a->job_env);
    free(a->inventory);
    cleanup_close_ptr(&a->lock_fd);
    free(a);
}
