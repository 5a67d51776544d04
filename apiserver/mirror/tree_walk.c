/* SPDX-License-Identifier: Apache-2.0 */
/* What is in the tree: names only, at most three levels deep. */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "apiserver/mirror/tree_internal.h"
#include "base/mem.h"

struct walk {
    struct mirror_tree *t;
    mirror_seen_fn *fn;
    void *arg;
};

static unsigned
depth_of(const char *dir)
{
    unsigned n = *dir != '\0';

    for (; *dir != '\0'; dir++)
        n += *dir == '/';
    return n;
}

static bool
is_dir(int at, const struct dirent *d)
{
    struct stat st;

    if (d->d_type != DT_UNKNOWN)
        return d->d_type == DT_DIR;
    return fstatat(at, d->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 && S_ISDIR(st.st_mode);
}

static void walk_dir(struct walk *w, const char *dir);

static void
offer_file(struct walk *w, const char *dir, unsigned depth, const char *name)
{
    static const enum mirror_seen seen[] = {[MIRROR_NAME_OBJECT] = MIRROR_SEEN_OBJECT,
                                            [MIRROR_NAME_ERROR] = MIRROR_SEEN_ERROR,
                                            [MIRROR_NAME_WEIRD] = MIRROR_SEEN_WEIRD};
    enum mirror_name class = mirror_name_class(name);
    autofree char *path = xasprintf("%s%s%s", dir, *dir == '\0' ? "" : "/", name);

    if (str_starts(name, MIRROR_TEMP_PREFIX)) {
        w->fn(w->arg, MIRROR_SEEN_TEMP, path, NULL);
        return;
    }
    if (class == MIRROR_NAME_IGNORED)
        return;
    bool misplaced = depth < 2 && class == MIRROR_NAME_OBJECT;
    /* Above the kinds' directories anything may lie around but *.yaml. */
    if (depth < 2 && class == MIRROR_NAME_WEIRD)
        return;
    w->fn(w->arg, misplaced ? MIRROR_SEEN_MISPLACED : seen[class], path, NULL);
}

static void
offer_dir(struct walk *w, const char *dir, unsigned depth, const char *name)
{
    autofree char *path = xasprintf("%s%s%s", dir, *dir == '\0' ? "" : "/", name);

    if (name[0] == '.' || strlen(name) >= MIRROR_SEGMENT_MAX)
        return;
    if (depth == 0 ? mirror_dir_is_namespace(name) : depth == 1)
        walk_dir(w, path);
}

static void
walk_dir(struct walk *w, const char *dir)
{
    struct error e = ERROR_INIT;
    unsigned depth = depth_of(dir);
    int fd;

    if (mirror_tree_open_dir(w->t, dir, false, &fd, &e) < 0) {
        if (e.code != ERR_NOT_FOUND)
            w->fn(w->arg, MIRROR_SEEN_UNREADABLE, dir, e.msg);
        return;
    }
    DIR *d = fdopendir(fd);
    if (d == NULL) {
        close(fd);
        w->fn(w->arg, MIRROR_SEEN_UNREADABLE, dir, "cannot be read");
        return;
    }
    w->fn(w->arg, MIRROR_SEEN_DIR, dir, NULL);
    const struct dirent *entry;
    for (errno = 0; (entry = readdir(d)) != NULL; errno = 0) {
        if (streq(entry->d_name, ".") || streq(entry->d_name, ".."))
            continue;
        if (is_dir(dirfd(d), entry))
            offer_dir(w, dir, depth, entry->d_name);
        else
            offer_file(w, dir, depth, entry->d_name);
    }
    if (errno != 0)
        w->fn(w->arg, MIRROR_SEEN_UNREADABLE, dir, strerror(errno));
    closedir(d);
}

void
mirror_tree_walk(struct mirror_tree *t, const char *dir, mirror_seen_fn *fn, void *arg)
{
    struct walk w = {t, fn, arg};

    walk_dir(&w, dir);
}
