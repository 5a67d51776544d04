/* SPDX-License-Identifier: Apache-2.0 */
/* The child that carries out an order; see place.h. */
#include "runner/place/roots.h"
#include "runner/place/untar.h"

#include <dirent.h>
#include <fcntl.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/account.h"
#include "runner/supervisor/idmap.h"
#include "runner/supervisor/rootfs.h"

/* Lexical: "." and "//" go, ".." takes a component away. */
static char *
clean_path(const char *path)
{
    auto_str out = STR_INIT(16384);
    bool absolute = path[0] == '/';

    while (*path != '\0') {
        size_t n = strcspn(path, "/");
        if (n == 2 && memcmp(path, "..", 2) == 0) {
            while (out.len > 0 && out.ptr[out.len - 1] != '/')
                str_truncate(&out, out.len - 1);
            if (out.len > 0)
                str_truncate(&out, out.len - 1);
        } else if (n > 0 && !(n == 1 && path[0] == '.')) {
            if (absolute || out.len > 0)
                str_addc(&out, '/');
            str_add(&out, path, n);
        }
        path += n + (path[n] == '/');
    }
    if (out.len == 0)
        return xstrdup(absolute ? "/" : ".");
    return str_detach(&out);
}

int
place_expand(const char *path, const char *base, const char *home, char **ret,
             struct error *e)
{
    autofree char *joined = NULL;

    if (path[0] == '~' && path[1] != '\0' && path[1] != '/')
        return error_set(e, ERR_INVALID, "path %.200s: ~user is not supported", path);
    if (path[0] == '~')
        joined = xasprintf("%s%s%s", home, home[0] != '\0' && path[1] != '\0' ? "/" : "",
                           path[1] == '\0' ? "" : path + 2);
    else if (path[0] == '/' || base[0] == '\0')
        joined = xstrdup(path);
    else
        joined = xasprintf("%s/%s", base, path);
    *ret = clean_path(joined);
    return 0;
}

int
place_process_path(const char *absolute, char **ret, struct error *e)
{
    static const char *const map[][2] = {{ROOTFS_HOME, ROOTFS_WORK},
                                         {"/tmp", ROOTFS_TMP}};

    for (size_t i = 0; i < ARRAY_LEN(map); i++) {
        size_t n = strlen(map[i][0]);
        if (strncmp(absolute, map[i][0], n) == 0 &&
            (absolute[n] == '/' || absolute[n] == '\0')) {
            *ret = xasprintf("%s%s", map[i][1], absolute + n);
            return 0;
        }
    }
    return error_set(e, ERR_INVALID,
                     "path %.200s: a job without an image has its files below %s or /tmp",
                     absolute, ROOTFS_HOME);
}

/* --- the order -----------------------------------------------------------------------
 */

struct work {
    const json_t *order;
    const char *dir;
    int dir_fd;
    struct usermap map;
    struct place_owner owner;
    struct fetch fetch;
};

static const char *
text(const json_t *o, const char *key)
{
    const char *s = json_string_value(json_object_get(o, key));

    return s == NULL || *s == '\0' ? NULL : s;
}

static int
find_owner(struct work *w, struct error *e)
{
    const char *user = text(w->order, "user");
    struct account a;
    uid_t base = 0;

    if (json_is_true(json_object_get(w->order, "process"))) {
        const char *path = text(w->order, "root");
        autoclose int root =
            path == NULL ? -1 : open(path, O_PATH | O_DIRECTORY | O_CLOEXEC);
        int rc = path != NULL && root < 0
                     ? error_errno(e, errno, "root file system %.200s", path)
                     : account_find(root, user, &a, e);
        if (rc == 0)
            rc = account_fit(&a, &w->map, e);
        if (rc == 0 && w->map.needed)
            base = usermap_base(&w->map);
        else if (rc == 0)
            rc = idmap_take(w->dir, &base, e);
        if (rc == 0)
            w->owner = (struct place_owner){base + a.uid, base + a.gid};
        return rc;
    }
    /* In an image names are the image's own; only numbers mean something out here. */
    unsigned long uid = user == NULL ? 0 : strtoul(user, NULL, 10);
    const char *colon = user == NULL ? NULL : strchr(user, ':');
    unsigned long gid = colon == NULL ? uid : strtoul(colon + 1, NULL, 10);
    w->owner = (struct place_owner){(uid_t)uid, (gid_t)gid};
    return 0;
}

/* "a/b/c": the open directory a/b, and "c". */
static int
open_parent(const struct work *w, const char *to, int *ret_fd, const char **ret_name,
            struct error *e)
{
    const char *slash = strrchr(to, '/');
    autofree char *parent =
        slash == NULL ? xstrdup("") : xstrndup(to, (size_t)(slash - to));

    *ret_name = slash == NULL ? to : slash + 1;
    return tree_open(w->dir_fd, parent, &w->owner, ret_fd, e);
}

static int
place_file(const struct work *w, const json_t *item, struct error *e)
{
    const char *to = text(item, "to");
    const char *blob = text(item, "blob");
    autoclose int dir = -1;
    autoclose int fd = -1;
    const char *name;

    if (to == NULL || blob == NULL)
        return error_set(e, ERR_INVALID, "a file without blob or path");
    int rc = fetch_blob(&w->fetch, blob, &fd, e);
    if (rc == 0)
        rc = open_parent(w, to, &dir, &name, e);
    if (rc == 0)
        rc = untar(fd, dir, name, &w->owner, e);
    return rc == 0 ? 0 : error_prepend(e, "files: %.150s", text(item, "path"));
}

/* A fresh ext4 file system has a lost+found and counts as empty. */
static bool
is_empty(int fd)
{
    DIR *d = fdopendir(fcntl(fd, F_DUPFD_CLOEXEC, 0));
    const struct dirent *de;
    bool empty = true;

    if (d == NULL)
        return false;
    rewinddir(d);
    while (empty && (de = readdir(d)) != NULL)
        empty = streq(de->d_name, ".") || streq(de->d_name, "..") ||
                streq(de->d_name, "lost+found");
    closedir(d);
    return empty;
}

static int
place_repo(const struct work *w, const json_t *item, struct error *e)
{
    struct git_repo g = {.url = text(item, "url"),
                         .branch = text(item, "branch"),
                         .hash = text(item, "hash"),
                         .user_name = text(item, "userName"),
                         .user_email = text(item, "userEmail"),
                         .token = text(item, "token"),
                         .private_key = text(item, "privateKey"),
                         .scratch = w->dir,
                         .all_branches =
                             json_is_false(json_object_get(item, "singleBranch")),
                         .patch_fd = -1};
    const char *to = text(item, "to");
    const char *patch = text(item, "patch");
    const char *exists = text(item, "ifExists");
    autoclose int dir = -1;
    autoclose int patch_fd = -1;

    if (to == NULL || g.url == NULL)
        return error_set(e, ERR_INVALID, "a repository without url or path");
    if (tree_open(w->dir_fd, to, &w->owner, &dir, e) < 0)
        return error_prepend(e, "repos: %.150s", text(item, "path"));
    if (!is_empty(dir)) {
        if (exists != NULL && streq(exists, "skip"))
            return 0;
        return error_set(e, ERR_EXISTS, "repository %.150s: %.150s is not empty", g.url,
                         text(item, "path"));
    }
    int rc = patch == NULL ? 0 : fetch_blob(&w->fetch, patch, &patch_fd, e);
    g.patch_fd = patch_fd;
    autofree char *full = xasprintf("%s/%s", w->dir, to);
    /* git works in what is its own; the job gets it afterwards. */
    if (rc == 0 && fchown(dir, geteuid(), getegid()) < 0)
        rc = error_errno(e, errno, "prepare %s", to);
    if (rc == 0)
        rc = git_place(&g, full, e);
    if (rc == 0)
        rc = tree_chown(w->dir_fd, to, &w->owner, e);
    return rc;
}

/* An earlier try that did not end well leaves nothing behind. */
static int
start_anew(const struct work *w, struct error *e)
{
    size_t i;
    const json_t *root;

    json_array_foreach (json_object_get(w->order, "roots"), i, root) {
        int rc = tree_remove_at(w->dir_fd, json_string_value(root), e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

/* The root file system of an archive, before anybody is looked up in it. */
static int
take_root(const struct work *w, struct error *e)
{
    struct roots_take t = {
        .agent_dir = text(w->order, "agentDir"),
        .job_dir = w->dir,
        .blob = text(w->order, "archive"),
        .fetch = &w->fetch,
        .floor_bytes = json_integer_value(json_object_get(w->order, "floorMib")) << 20};
    int rc = 0;

    if (t.blob == NULL)
        return 0;
    if (t.agent_dir == NULL)
        return error_set(e, ERR_INTERNAL, "the order is not understood");
    if (w->map.needed)
        rc = error_set(e, ERR_UNSUPPORTED,
                       "only an agent that runs as root gives jobs one");
    if (rc == 0)
        rc = roots_take(&t, e);
    return rc == 0 ? 0 : error_prepend(e, "root file system");
}

static int
carry_out(struct work *w, struct error *e)
{
    size_t i;
    const json_t *item;
    usermap_find(&w->map);
    int rc = take_root(w, e);
    if (rc < 0 || (json_array_size(json_object_get(w->order, "repos")) == 0 &&
                   json_array_size(json_object_get(w->order, "files")) == 0))
        return rc;
    rc = find_owner(w, e);
    if (rc == 0) /* in the job's ids, as the job itself will be */
        rc = usermap_enter(&w->map, e);
    w->dir_fd = open(w->dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (rc == 0 && w->dir_fd < 0)
        rc = error_errno(e, errno, "open %s", w->dir);
    if (rc == 0)
        rc = start_anew(w, e);
    json_array_foreach (json_object_get(w->order, "repos"), i, item) {
        if (rc == 0)
            rc = place_repo(w, item, e);
    }
    json_array_foreach (json_object_get(w->order, "files"), i, item) {
        if (rc == 0)
            rc = place_file(w, item, e);
    }
    cleanup_close_ptr(&w->dir_fd);
    return rc;
}

static int
run_order(const json_t *order, struct error *e)
{
    struct work w = {.order = order, .dir = text(order, "dir"), .dir_fd = -1};

    w.fetch = (struct fetch){.cache = text(order, "cache"),
                             .url = text(order, "url"),
                             .ca_pem = text(order, "caPem"),
                             .bearer = text(order, "bearer"),
                             .ns = text(order, "ns")};
    if (w.dir == NULL || w.fetch.cache == NULL || w.fetch.url == NULL ||
        w.fetch.ns == NULL)
        return error_set(e, ERR_INTERNAL, "the order is not understood");
    return carry_out(&w, e);
}

int
place_main(void)
{
    struct error e = ERROR_INIT;

    prctl(PR_SET_PDEATHSIG, SIGKILL);
    signal(SIGPIPE, SIG_IGN);
    log_set_program("drover-runner");
    json_object_seed(0);
    umask(022);
    json_t *order = json_loadfd(0, 0, NULL);
    int rc = run_order(order, &e);
    json_decref(order);
    puts(rc == 0 ? "ok" : e.msg);
    return fflush(stdout) == 0 && rc == 0 ? 0 : 1;
}
