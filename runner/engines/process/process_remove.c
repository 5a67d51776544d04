/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Giving back what a finished job held: cgroups, private directories, id range. A job may
 * leave millions of files, so this runs on a pool thread. The records in sup/ stay (the
 * agent removes the directory): as long as they are there, nothing starts the job again.
 */
#include <dirent.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/proc.h"
#include "runner/engines/process/process_internal.h"
#include "runner/supervisor/idmap.h"
#include "runner/supervisor/supervisor.h"
#include "runner/supervisor/tree.h"

LOG_MODULE(process);

enum { EMPTY_WAIT_MS = 10000, REMOVE_MS = 3600000 };

struct process_removal {
    struct engine *en;      /* NULL: the engine was closed meanwhile */
    struct engine_job *job; /* NULL: a leftover */
    char *uid, *dir;
    char *supervisor; /* NULL: as root, by ourselves */
    bool have_cgroup;
    struct cgroup cgroup;
    struct error error; /* of the work; code 0: done */
    LIST_ENTRY(process_removal) link;
};

static int
remove_cgroup(const struct cgroup *c, struct error *e)
{
    int64_t until = clock_now_ms() + EMPTY_WAIT_MS;

    /* Normally empty by now. A process that is still on its way out is waited for. */
    for (;;) {
        struct error why = ERROR_INIT;
        if (cgroup_remove(c, &why) == 0)
            return 0;
        if (why.code != ERR_BUSY || clock_now_ms() >= until) {
            *e = why;
            return -(int)why.code;
        }
        cgroup_signal(c, SIGKILL);
        cgroup_wait(c, 100);
    }
}

/* Files of sub-ids, and directories that the job closed to itself, open to a root of a
 * user namespace only. A namespace is entered by a process of its own. */
static int
remove_by_child(const struct process_removal *r, struct error *e)
{
    const char *argv[] = {r->supervisor, SUPERVISOR_FLAG, SUPERVISOR_REMOVE, r->dir,
                          NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    auto_str out = STR_INIT(1024);
    int status;

    o.argv = argv;
    int rc = proc_run(&o, REMOVE_MS, &out, &status, e);
    if (rc != 0)
        return error_prepend(e, "remove the files of a job");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    return error_set(e, ERR_IO, "remove the files of a job: %s", out.ptr);
}

static void
remove_work(void *arg)
{
    struct process_removal *r = arg;
    int rc = 0;

    if (r->have_cgroup)
        rc = remove_cgroup(&r->cgroup, &r->error);
    if (rc == 0)
        rc = r->supervisor == NULL ? tree_remove_job(r->dir, &r->error)
                                   : remove_by_child(r, &r->error);
    if (rc == 0 && r->job == NULL)
        rc = fs_remove_tree(r->dir, &r->error);
    if (rc == 0 && r->supervisor == NULL)
        idmap_release(r->dir);
}

static void
remove_done(void *arg)
{
    struct process_removal *r = arg;
    bool failed = r->error.code != ERR_OK;

    if (r->en != NULL) {
        LIST_REMOVE(r, link);
        if (r->job != NULL)
            r->job->events->on_removed(r->job, failed ? &r->error : NULL);
        else if (failed)
            log_warn("cannot remove a leftover", "job=%s error=%s", r->uid, r->error.msg);
        else
            log_info("removed a leftover", "job=%s", r->uid);
    }
    free(r->uid);
    free(r->dir);
    free(r->supervisor);
    free(r);
}

void
process_remove_now(struct process_job *p)
{
    struct engine *en = p->en;
    struct process_removal *r = xnew(struct process_removal);

    r->en = en;
    r->job = p->job;
    r->uid = xstrdup(p->uid);
    r->dir = xstrdup(p->dir);
    r->have_cgroup = process_cgroup(p, &r->cgroup);
    if (geteuid() != 0)
        r->supervisor = xstrdup(en->supervisor);
    process_job_free(p);
    LIST_INSERT_HEAD(&en->removals, r, link);
    if (en->pool == NULL)
        en->pool = loop_pool_new(en->loop, "process removal", 1);
    loop_pool_run(en->pool, remove_work, remove_done, r);
}

void
process_removals_detach(struct engine *en)
{
    while (!LIST_EMPTY(&en->removals)) {
        struct process_removal *r = LIST_FIRST(&en->removals);
        LIST_REMOVE(r, link);
        r->en = NULL;
    }
}

/* ---- leftovers ---- */

struct sweep {
    struct engine *en;
    const char *const *known;
    struct map *seen;
};

static bool
is_known(const struct sweep *s, const char *uid)
{
    const struct process_job *p;
    const struct process_removal *r;

    for (size_t i = 0; s->known != NULL && s->known[i] != NULL; i++) {
        if (streq(s->known[i], uid))
            return true;
    }
    LIST_FOREACH(p, &s->en->jobs, link)
    {
        if (streq(p->uid, uid))
            return true;
    }
    LIST_FOREACH(r, &s->en->removals, link)
    {
        if (streq(r->uid, uid))
            return true;
    }
    return map_get(s->seen, uid) != NULL;
}

static void
sweep_uid(void *arg, const char *uid)
{
    struct sweep *s = arg;

    if (is_known(s, uid))
        return;
    map_put(s->seen, uid, s);
    log_info("found a leftover", "job=%s", uid);
    process_job_orphan_end(process_job_orphan(s->en, uid));
}

void
process_sweep(struct engine *en, const char *const *known_uids)
{
    auto_map *seen = map_new(NULL);
    struct sweep s = {.en = en, .known = known_uids, .seen = seen};
    const struct dirent *de;

    if (en->have_cgroups)
        cgroup_each(&en->cgroups, en->agent_id, sweep_uid, &s);
    autofree char *jobs = fs_join(en->agent_dir, "jobs");
    DIR *d = opendir(jobs);
    while (d != NULL && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        autofree char *sup = xasprintf("%s/%s/" RECORD_DIR, jobs, de->d_name);
        if (de->d_name[0] != '.' && access(sup, F_OK) == 0)
            sweep_uid(&s, de->d_name);
    }
    if (d != NULL)
        closedir(d);
}
