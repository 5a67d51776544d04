/* SPDX-License-Identifier: Apache-2.0 */
#include "runner/roots_keep.h"

#include "base/log.h"
#include "base/mem.h"
#include "runner/agent.h"
#include "runner/place/roots.h"
#include "runner/trash.h"

LOG_MODULE(roots);

struct roots_keep {
    struct agent *a;
    bool collecting, stopping;
    /* of the collection; the thread's until it is done */
    bool removed;
    struct error error;
};

static void
collect(void *arg)
{
    struct roots_keep *k = arg;

    k->error = ERROR_INIT;
    k->removed = false;
    if (roots_collect(k->a->opts->dir, &k->removed, &k->error) < 0)
        k->removed = false; /* it would not go the next time either */
}

static void
on_collected(void *arg)
{
    struct roots_keep *k = arg;

    k->collecting = false;
    if (k->error.code != ERR_OK)
        log_warn("root file system not collected", "error=\"%s\"", k->error.msg);
    if (k->removed && !k->stopping)
        diskroom_look(k->a->room); /* which may ask for another */
}

void
roots_keep_look(struct roots_keep *k, int64_t free_mib, int64_t floor_mib)
{
    if (k == NULL || k->collecting || free_mib >= 2 * floor_mib)
        return;
    k->collecting = trash_run(k->a->trash, collect, on_collected, k);
}

static void
sweep(void *arg)
{
    const struct roots_keep *k = arg;

    roots_sweep(k->a->opts->dir);
}

static void
on_swept(void *arg)
{
    UNUSED(arg);
}

void
roots_keep_sweep(struct roots_keep *k)
{
    if (k != NULL)
        (void)trash_run(k->a->trash, sweep, on_swept, k);
}

struct roots_keep *
roots_keep_start(struct agent *a)
{
    struct roots_keep *k = xnew(struct roots_keep);

    k->a = a;
    roots_keep_sweep(k);
    return k;
}

void
roots_keep_stop(struct roots_keep *k)
{
    if (k != NULL)
        k->stopping = true;
}

void
roots_keep_free(struct roots_keep *k)
{
    free(k);
}
