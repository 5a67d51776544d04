/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Each job goes the way that the agent would send it: adopt, stop at once, remove. Jobs
 * are those of the journal and those directories below jobs/ that it does not know.
 */
#include "runner/uninstall.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

#define WAIT_MS 120000

struct leaving {
    struct uninstall *u;
    struct engine_job ej;
    struct agent_engine *on;
    char *uid, *dir;
    struct leaving *next;
};

struct uninstall {
    struct agent a; /* only what opening engines needs; first, see on_probed() */
    struct loop *loop;
    const struct agent_opts *opts;
    struct loop_timer *deadline;
    struct leaving *jobs;
    size_t left, to_probe;
    struct error error;
};

static void
fail_with(struct uninstall *u, const struct error *e)
{
    if (u->error.code == ERR_OK)
        u->error = *e;
    loop_quit(u->loop, 1);
}

/* --- one job -------------------------------------------------------------------------
 */

static void
on_progress(struct engine_job *ej, const struct engine_progress *p)
{
    UNUSED(ej);
    UNUSED(p);
}

static void
on_started(struct engine_job *ej, int64_t started_ns)
{
    UNUSED(ej);
    UNUSED(started_ns);
}

static void
on_exit_(struct engine_job *ej, const struct engine_result *r)
{
    struct leaving *j = ej->arg;

    UNUSED(r);
    j->on->ops->remove(j->on->en, ej);
}

static void
on_removed(struct engine_job *ej, const struct error *e)
{
    struct leaving *j = ej->arg;
    struct error why = ERROR_INIT;

    if (e != NULL && e->code != ERR_OK) {
        why = *e;
        fail_with(j->u, &why);
        return;
    }
    if (fs_remove_tree(j->dir, &why) != 0) {
        fail_with(j->u, &why);
        return;
    }
    printf("removed job %s\n", j->uid);
    if (--j->u->left == 0)
        loop_quit(j->u->loop, 0);
}

static const struct engine_events events = {on_progress, on_started, on_exit_,
                                            on_removed,  NULL,       NULL};

static void
add_job(struct uninstall *u, const char *uid, const char *engine)
{
    for (const struct leaving *j = u->jobs; j != NULL; j = j->next) {
        if (streq(j->uid, uid))
            return;
    }
    struct leaving *j = xnew(struct leaving);
    j->u = u;
    j->uid = xstrdup(uid);
    j->dir = xasprintf("%s/jobs/%s", u->opts->dir, uid);
    j->on = agent_engine_by_name(&u->a, engine);
    j->ej = (struct engine_job){.uid = j->uid,
                                .ns = "",
                                .name = j->uid,
                                .run_name = "",
                                .dir = j->dir,
                                .arg = j,
                                .events = &events};
    j->next = u->jobs;
    u->jobs = j;
    u->left++;
}

static void
add_unknown(struct uninstall *u)
{
    autofree char *path = fs_join(u->opts->dir, "jobs");
    DIR *d = opendir(path);
    const struct dirent *de;

    while (d != NULL && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (de->d_name[0] != '.')
            add_job(u, de->d_name, engine_process.name);
    }
    if (d != NULL)
        closedir(d);
}

static void
begin(struct uninstall *u)
{
    struct error e = ERROR_INIT;

    for (struct leaving *j = u->jobs; j != NULL; j = j->next) {
        bool usable = j->on != NULL && j->on->en != NULL;
        /* The process engine's leftovers can be removed where it could start nothing. */
        if (usable && j->on->ops != &engine_process)
            usable = j->on->status.available;
        if (!usable) {
            error_set(&e, ERR_UNAVAILABLE, "job %s: its engine is not there: %s", j->uid,
                      j->on != NULL ? j->on->status.message : "not known");
            fail_with(u, &e);
            return;
        }
        if (fs_mkdirs(j->dir, 0700, &e) != 0) {
            fail_with(u, &e);
            return;
        }
        j->on->ops->adopt(j->on->en, &j->ej);
        j->on->ops->stop(j->on->en, &j->ej, 0);
    }
    if (u->left == 0)
        loop_quit(u->loop, 0);
}

static void
on_probed(void *arg, const struct engine_status *s)
{
    struct agent_engine *en = arg;
    struct uninstall *u = (struct uninstall *)en->a;

    en->status = *s;
    if (en->probed)
        return; /* it changed its mind while we work */
    en->probed = true;
    if (--u->to_probe == 0)
        begin(u);
}

static void
on_deadline(void *arg)
{
    struct uninstall *u = arg;
    struct error e = ERROR_INIT;

    error_set(&e, ERR_TIMEOUT, "%zu job(s) could not be removed in %d s", u->left,
              WAIT_MS / 1000);
    fail_with(u, &e);
}

/* --- the whole -----------------------------------------------------------------------
 */

static int
list_jobs(struct uninstall *u, bool force, struct error *e)
{
    size_t n = journal_len(u->a.journal);

    if (n > 0 && !force)
        return error_set(e, ERR_BUSY,
                         "%zu job(s) run here or are not reported yet, %s/%s first; "
                         "--force ends them",
                         n, journal_at(u->a.journal, 0)->ns,
                         journal_at(u->a.journal, 0)->name);
    for (size_t i = 0; i < n; i++)
        add_job(u, journal_at(u->a.journal, i)->uid, journal_at(u->a.journal, i)->engine);
    add_unknown(u);
    return 0;
}

static int
remove_files(const struct agent_opts *o, struct error *e)
{
    static const char *const trees[] = {"journal", "jobs",   "trash",
                                        "blobs",   "images", "roots"};
    static const char *const files[] = {"identity.json", "renewed", "lock"};

    for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
        autofree char *path = fs_join(o->dir, trees[i]);
        if (access(path, F_OK) == 0 && fs_remove_tree(path, e) != 0)
            return -(int)e->code;
    }
    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        autofree char *path = fs_join(o->dir, files[i]);
        if (unlink(path) < 0 && errno != ENOENT)
            return error_errno(e, errno, "remove %s", path);
    }
    if (rmdir(o->dir) < 0)
        return error_errno(e, errno, "everything of the agent is gone; remove %s",
                           o->dir);
    return 0;
}

/* Errors are in u->error when the loop ends with a status. */
static int
remove_jobs(struct uninstall *u, struct error *e)
{
    if (u->left == 0)
        return 0;
    u->deadline = loop_timer_new(u->loop, "uninstall", on_deadline, u);
    loop_timer_in(u->deadline, WAIT_MS);
    for (size_t i = 0; i < AGENT_ENGINES; i++)
        u->to_probe += u->a.engines[i].en != NULL;
    size_t n = u->to_probe;
    if (n == 0)
        begin(u);
    for (size_t i = 0; i < AGENT_ENGINES; i++) {
        struct agent_engine *en = &u->a.engines[i];
        if (en->en != NULL)
            en->ops->probe(en->en, on_probed, en);
    }
    if (loop_run(u->loop) == 0)
        return 0;
    *e = u->error;
    return -(int)e->code;
}

static void
done(struct uninstall *u)
{
    agent_engines_close(&u->a);
    loop_timer_free(u->deadline);
    journal_close(u->a.journal);
    cleanup_close_ptr(&u->a.lock_fd);
    while (u->jobs != NULL) {
        struct leaving *j = u->jobs;
        u->jobs = j->next;
        free(j->uid);
        free(j->dir);
        free(j);
    }
}

int
uninstall_run(struct loop *l, const struct agent_opts *o, bool force, struct error *e)
{
    struct uninstall u = {.loop = l, .opts = o, .a = {.loop = l, .opts = o}};
    autofree char *lock = fs_join(o->dir, "lock");
    autofree char *identity = fs_join(o->dir, "identity.json");
    autofree char *journal = fs_join(o->dir, "journal");

    u.a.lock_fd = -1;
    /* Not any directory that somebody names by mistake. */
    if (access(identity, F_OK) < 0 && access(journal, F_OK) < 0)
        return error_set(e, ERR_NOT_FOUND, "no agent lives in %s", o->dir);
    int rc = fs_lock(lock, &u.a.lock_fd, e);
    if (rc != 0)
        return error_prepend(e, "stop the agent in %s first", o->dir);
    rc = journal_open(o->dir, &u.a.journal, e);
    if (rc == 0) {
        agent_engines_open(&u.a);
        rc = list_jobs(&u, force, e);
    }
    if (rc == 0)
        rc = remove_jobs(&u, e);
    done(&u);
    if (rc == 0)
        rc = remove_files(o, e);
    return rc;
}
