/* SPDX-License-Identifier: Apache-2.0 */
/* inotify for the mirror. */
#include "apiserver/mirror/hints.h"

#include <fcntl.h>
#include <libgen.h>
#include <limits.h>
#include <stdlib.h>
#include <sys/inotify.h>
#include <sys/stat.h>

#include "apiserver/mirror/path.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"

LOG_MODULE(mirror);

#define GIT_DIR "\001git"
#define PARENT "\001parent"
#define DIR_MASK                                                                         \
    (IN_CLOSE_WRITE | IN_MODIFY | IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO |  \
     IN_DELETE_SELF | IN_MOVE_SELF | IN_ONLYDIR | IN_DONT_FOLLOW)
#define PARENT_MASK (IN_CREATE | IN_MOVED_TO | IN_MOVED_FROM | IN_DELETE | IN_ONLYDIR)

struct mirror_hints {
    char *root, *base; /* base: the root's own name */
    int fd;
    struct map *by_wd; /* decimal wd -> char *dir */
    char *git_dir;     /* NULL: not a work tree */
    bool limited;
};

int
mirror_hints_new(const char *root, struct mirror_hints **ret, struct error *e)
{
    struct mirror_hints *h = xnew(struct mirror_hints);
    autofree char *copy = xstrdup(root);

    h->root = xstrdup(root);
    h->base = xstrdup(basename(copy));
    h->by_wd = map_new(free);
    h->fd = inotify_init1(IN_CLOEXEC | IN_NONBLOCK);
    if (h->fd < 0) {
        error_errno(e, errno, "inotify");
        mirror_hints_free(h);
        return -(int)e->code;
    }
    *ret = h;
    return 0;
}

void
mirror_hints_free(struct mirror_hints *h)
{
    if (h == NULL)
        return;
    if (h->fd >= 0)
        close(h->fd);
    map_free(h->by_wd);
    free(h->git_dir);
    free(h->root);
    free(h->base);
    free(h);
}

int
mirror_hints_fd(const struct mirror_hints *h)
{
    return h->fd;
}

static bool
watch(struct mirror_hints *h, const char *path, uint32_t mask, const char *name)
{
    int wd = inotify_add_watch(h->fd, path, mask);
    char key[16];

    if (wd < 0) {
        if (errno == ENOENT || errno == ENOTDIR)
            return true; /* gone again: its parent's watch told, or will */
        if (!h->limited)
            log_warn(
                "cannot watch a directory; edits there are seen at the next start or "
                "`drover mirror rescan`",
                "dir=%s error=\"%s\"", path, strerror(errno));
        h->limited = true;
        return false;
    }
    snprintf(key, sizeof(key), "%d", wd);
    map_put(h->by_wd, key, xstrdup(name));
    return true;
}

/* <root>/.git, or where the file of that name points (work trees, submodules). */
static void
find_git(struct mirror_hints *h)
{
    autofree char *dot = fs_join(h->root, ".git");
    auto_str text = STR_INIT(PATH_MAX);
    struct error e = ERROR_INIT;
    struct stat st;

    free(h->git_dir);
    h->git_dir = NULL;
    if (stat(dot, &st) != 0)
        return;
    if (S_ISDIR(st.st_mode)) {
        h->git_dir = xstrdup(dot);
    } else if (S_ISREG(st.st_mode) && fs_read(dot, &text, &e) == 0 &&
               str_starts(text.ptr, "gitdir: ")) {
        text.ptr[strcspn(text.ptr, "\n")] = '\0';
        const char *to = text.ptr + strlen("gitdir: ");
        h->git_dir = *to == '/' ? xstrdup(to) : fs_join(h->root, to);
    }
    if (h->git_dir != NULL)
        watch(h, h->git_dir, IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO,
              GIT_DIR);
}

bool
mirror_hints_add(struct mirror_hints *h, const char *dir)
{
    autofree char *path = *dir == '\0' ? xstrdup(h->root) : fs_join(h->root, dir);

    if (*dir == '\0') {
        autofree char *copy = xstrdup(h->root);
        watch(h, dirname(copy), PARENT_MASK, PARENT);
        find_git(h);
    }
    return watch(h, path, DIR_MASK, dir);
}

bool
mirror_hints_git_locked(struct mirror_hints *h)
{
    if (h->git_dir == NULL)
        find_git(h);
    if (h->git_dir == NULL)
        return false;
    autofree char *lock = fs_join(h->git_dir, "index.lock");
    return access(lock, F_OK) == 0;
}

/* --- events
 * ------------------------------------------------------------------------------ */

static void
tree_event(struct mirror_hints *h, const struct inotify_event *ev, const char *dir,
           mirror_hint_fn *fn, void *arg)
{
    bool root = *dir == '\0';

    if (ev->mask & (IN_DELETE_SELF | IN_MOVE_SELF)) {
        fn(arg, root ? MIRROR_HINT_ALL : MIRROR_HINT_DIR, dir);
        return;
    }
    if (ev->len == 0)
        return;
    if (root && streq(ev->name, ".git")) {
        find_git(h);
        fn(arg, MIRROR_HINT_GIT, "");
        return;
    }
    if (mirror_name_class(ev->name) == MIRROR_NAME_IGNORED && !(ev->mask & IN_ISDIR))
        return;
    if (ev->name[0] == '.')
        return;
    autofree char *path = root ? xstrdup(ev->name) : fs_join(dir, ev->name);
    if (ev->mask & IN_ISDIR)
        fn(arg, MIRROR_HINT_DIR, path);
    else if (mirror_name_class(ev->name) != MIRROR_NAME_ERROR)
        fn(arg, MIRROR_HINT_FILE, path);
}

static void
event(struct mirror_hints *h, const struct inotify_event *ev, mirror_hint_fn *fn,
      void *arg)
{
    char key[16];

    if (ev->mask & IN_Q_OVERFLOW) {
        log_warn("too many changes for inotify's queue", "action=\"looking at all\"");
        fn(arg, MIRROR_HINT_ALL, "");
        return;
    }
    snprintf(key, sizeof(key), "%d", ev->wd);
    const char *dir = map_get(h->by_wd, key);
    if (dir == NULL)
        return;
    if (ev->mask & IN_IGNORED)
        map_del(h->by_wd, key);
    else if (streq(dir, GIT_DIR))
        fn(arg, MIRROR_HINT_GIT, "");
    else if (streq(dir, PARENT)) {
        if (ev->len > 0 && streq(ev->name, h->base))
            fn(arg, MIRROR_HINT_ALL, "");
    } else {
        tree_event(h, ev, dir, fn, arg);
    }
}

void
mirror_hints_read(struct mirror_hints *h, mirror_hint_fn *fn, void *arg)
{
    union {
        struct inotify_event ev;
        char bytes[64 * 1024];
    } buf;
    ssize_t n;

    while ((n = read(h->fd, &buf, sizeof(buf))) > 0) {
        for (char *p = buf.bytes; p < buf.bytes + n;) {
            const struct inotify_event *ev = (const struct inotify_event *)(void *)p;
            p += sizeof(*ev) + ev->len;
            event(h, ev, fn, arg);
        }
    }
}
