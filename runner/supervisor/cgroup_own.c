/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Cgroups without root: those below the agent's own one, where somebody handed it over.
 * On version 1 that is a directory per hierarchy, chowned to the user. On version 2 it is
 * what systemd's Delegate= and user managers do; processes and controllers for children
 * exclude each other there, so the agent moves down into a cgroup beside its jobs'.
 */
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/record.h"

#define SEAT "/drover-agent"

enum { PROCS_MAX = 64 * 1024, MOVE_ROUNDS = 8 };

/* "4:memory:/path", "3:cpu,cpuacct:/path", "0::/path". */
bool
cgroup_own_path(const char *text, const char *controller, char *out, size_t size)
{
    for (const char *p = text; *p != '\0'; p += strcspn(p, "\n"), p += *p == '\n') {
        const char *list = strchr(p, ':');
        const char *path = list == NULL ? NULL : strchr(list + 1, ':');
        if (path == NULL)
            return false;
        size_t n = (size_t)(path - list) - 1;
        if (controller == NULL ? n > 0 : !cgroup_lists(list + 1, n, controller))
            continue;
        size_t len = strcspn(path + 1, "\n");
        if (len >= size)
            return false;
        memcpy(out, path + 1, len);
        out[len] = '\0';
        return true;
    }
    return false;
}

static bool
writable(const char *dir, const char *file)
{
    autofree char *path = fs_join(dir, file);

    return access(path, W_OK) == 0;
}

static bool
put(const char *dir, const char *file, const char *text)
{
    autofree char *path = fs_join(dir, file);
    autoclose int fd = open(path, O_WRONLY | O_CLOEXEC);

    return fd >= 0 && write(fd, text, strlen(text)) >= 0;
}

static bool
has_controller(const char *dir, const char *file, const char *name)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    autofree char *path = fs_join(dir, file);

    return fs_read(path, &text, &ignored) == 0 && cgroup_lists(text.ptr, text.len, name);
}

/* Everything that is in dir into dir/drover-agent: this process, and what it shares its
 * cgroup with (the other programs of a `drover server`). */
static bool
sit_down(const char *dir)
{
    autofree char *seat = xasprintf("%s" SEAT, dir);

    if (mkdir(seat, 0755) < 0 && errno != EEXIST)
        return false;
    for (int i = 0; i < MOVE_ROUNDS; i++) {
        struct error ignored = ERROR_INIT;
        auto_str text = STR_INIT(PROCS_MAX);
        autofree char *procs = fs_join(dir, "cgroup.procs");
        char *save = NULL;
        if (fs_read(procs, &text, &ignored) != 0)
            return false;
        if (text.len == 0)
            return true;
        for (char *pid = strtok_r(text.ptr, "\n", &save); pid != NULL;
             pid = strtok_r(NULL, "\n", &save)) {
            if (!put(seat, "cgroup.procs", pid) && errno != ESRCH)
                return false;
        }
    }
    return false;
}

static bool
use_v2(const char *dir, const char *name, bool move)
{
    char word[32];

    if (!writable(dir, "cgroup.procs") || !writable(dir, "cgroup.subtree_control") ||
        !has_controller(dir, "cgroup.controllers", name))
        return false;
    if (has_controller(dir, "cgroup.subtree_control", name))
        return true;
    snprintf(word, sizeof(word), "+%s", name);
    return move && sit_down(dir) && put(dir, "cgroup.subtree_control", word);
}

void
cgroup_own(struct cgroup_host *h, const char *self, bool move)
{
    char path[256];

    for (int c = 0; c < CGROUP_N; c++) {
        bool v2 = h->v2[c];
        bool known =
            h->mount[c][0] != '\0' &&
            cgroup_own_path(self, v2 ? NULL : cgroup_ctl_names[c], path, sizeof(path));
        size_t n = known ? strlen(path) : 0;
        if (n >= strlen(SEAT) && streq(path + n - strlen(SEAT), SEAT))
            path[n - strlen(SEAT)] = '\0';
        autofree char *dir =
            known ? xasprintf("%s%s", h->mount[c], streq(path, "/") ? "" : path) : NULL;
        bool usable = known && strlen(dir) < sizeof(h->mount[c]) && writable(dir, "");
        if (usable && c == CGROUP_FREEZER && v2)
            usable = h->mount[CGROUP_MEMORY][0] != '\0'; /* comes with the hierarchy */
        else if (usable)
            usable = v2 ? use_v2(dir, cgroup_ctl_names[c], move)
                        : writable(dir, "cgroup.procs");
        snprintf(h->mount[c], sizeof(h->mount[c]), "%s", usable ? dir : "");
    }
}

int
cgroup_save(const struct cgroup *c, const char *job_dir, struct error *e)
{
    autofree char *path = xasprintf("%s/" RECORD_DIR "/cgroup", job_dir);
    auto_str text = STR_INIT(CGROUP_N * CGROUP_PATH);

    for (size_t i = 0; i < c->n; i++)
        str_addf(&text, "%s\n", c->dir[i]);
    return fs_write_atomic(path, text.ptr, text.len, 0600, e);
}

bool
cgroup_load(const char *job_dir, struct cgroup *ret)
{
    struct error ignored = ERROR_INIT;
    autofree char *path = xasprintf("%s/" RECORD_DIR "/cgroup", job_dir);
    auto_str text = STR_INIT(CGROUP_N * CGROUP_PATH);
    char *save = NULL;

    if (fs_read(path, &text, &ignored) != 0)
        return false;
    memset(ret, 0, sizeof(*ret));
    for (int c = 0; c < CGROUP_N; c++)
        ret->of[c] = SIZE_MAX;
    for (char *line = strtok_r(text.ptr, "\n", &save); line != NULL && ret->n < CGROUP_N;
         line = strtok_r(NULL, "\n", &save)) {
        if (line[0] == '/' && strlen(line) < CGROUP_PATH)
            memcpy(ret->dir[ret->n++], line, strlen(line) + 1);
    }
    return true;
}
