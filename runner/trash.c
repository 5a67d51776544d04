/* SPDX-License-Identifier: Apache-2.0 */
#include "runner/trash.h"

#include <dirent.h>
#include <errno.h>
#include <stdio.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(runner);

struct trash {
    struct loop_pool *pool;
    char *dir;
    bool closing; /* written by the loop, read by the thread */
};

struct removal {
    struct trash *t;
    char *path;
    struct error error;
};

static void
work(void *arg)
{
    struct removal *r = arg;
    if (__atomic_load_n(&r->t->closing, __ATOMIC_RELAXED))
        return;
    if (fs_remove_tree(r->path, &r->error) == 0)
        r->error = ERROR_INIT;
}

static void
done(void *arg)
{
    struct removal *r = arg;
    if (r->error.code != ERR_OK)
        log_warn("directory not removed", "error=\"%s\"", r->error.msg);
    free(r->path);
    free(r);
}

static void
remove_later(struct trash *t, char *path)
{
    struct removal *r = xnew(struct removal);
    r->t = t;
    r->path = path;
    loop_pool_run(t->pool, work, done, r);
}

static void
take_leftovers(struct trash *t)
{
    DIR *d = opendir(t->dir);
    struct dirent *de;
    while (d != NULL && (de = readdir(d)) != NULL) {
        if (!streq(de->d_name, ".") && !streq(de->d_name, ".."))
            remove_later(t, fs_join(t->dir, de->d_name));
    }
    if (d != NULL)
        closedir(d);
}

struct trash *
trash_new(struct loop *l, const char *agent_dir)
{
    struct error e = ERROR_INIT;
    struct trash *t = xnew(struct trash);
    t->pool = loop_pool_new(l, "trash", 1);
    t->dir = fs_join(agent_dir, "trash");
    if (fs_mkdirs(t->dir, 0700, &e) < 0)
        log_warn("no directory for what is removed", "error=\"%s\"", e.msg);
    take_leftovers(t);
    return t;
}

void
trash_free(struct trash *t)
{
    if (t == NULL)
        return;
    __atomic_store_n(&t->closing, true, __ATOMIC_RELAXED);
    loop_pool_free(t->pool);
    free(t->dir);
    free(t);
}

void
trash_put(struct trash *t, const char *path, const char *name)
{
    struct error e = ERROR_INIT;
    autofree char *to = fs_join(t->dir, name);
    if (rename(path, to) == 0)
        remove_later(t, move_ptr(to));
    else if (errno != ENOENT && fs_remove_tree(path, &e) < 0)
        log_warn("directory not removed", "error=\"%s\"", e.msg);
}

bool
trash_run(struct trash *t, loop_post_fn *work_fn, loop_post_fn *done_fn, void *arg)
{
    if (t == NULL || t->closing)
        return false;
    loop_pool_run(t->pool, work_fn, done_fn, arg);
    return true;
}
