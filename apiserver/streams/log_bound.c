/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The bound of all logs together. What was not written for the longest time goes first:
 * logs of Jobs that are gone as a whole, then, of Jobs that are still there, all but the
 * newest file, so that a reader is told from where on the log is kept. A log that is
 * being written is left alone.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/streams/blobs.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

enum { IDLE_S = 3600 };

struct stored {
    char *path;
    int64_t written_s;
    uint64_t bytes;
    bool gone; /* its Job is */
};
typedef vec(struct stored) stored_list;

static bool
is_segment(const char *name)
{
    return strlen(name) == 20 && str_ends(name, ".seg");
}

static void
measure(struct stored *l)
{
    DIR *d = opendir(l->path);
    const struct dirent *de;
    struct stat st;

    while (d != NULL && (de = readdir(d)) != NULL) {
        if (!is_segment(de->d_name) ||
            fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0)
            continue;
        l->bytes += (uint64_t)st.st_size;
        if (st.st_mtim.tv_sec > l->written_s)
            l->written_s = st.st_mtim.tv_sec;
    }
    if (d != NULL)
        closedir(d);
}

static void
list_namespace(const char *dir, const struct map *refs, stored_list *out, uint64_t *total)
{
    DIR *d = opendir(dir);
    const struct dirent *de;

    while (d != NULL && (de = readdir(d)) != NULL) {
        if (!id_is_uuid(de->d_name, strlen(de->d_name)))
            continue;
        struct stored l = {.path = fs_join(dir, de->d_name),
                           .gone = map_get(refs, de->d_name) == NULL};
        measure(&l);
        *total += l.bytes;
        vec_push(out, l);
    }
    if (d != NULL)
        closedir(d);
}

static int
in_order(const void *a, const void *b)
{
    const struct stored *x = a;
    const struct stored *y = b;

    if (x->gone != y->gone)
        return x->gone ? -1 : 1;
    return x->written_s < y->written_s ? -1 : x->written_s > y->written_s;
}

/* Returns how many bytes that freed. */
static uint64_t
keep_newest(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *de;
    char newest[32] = "";
    uint64_t freed = 0;
    struct stat st;

    if (d == NULL)
        return 0;
    while ((de = readdir(d)) != NULL) {
        if (is_segment(de->d_name) && strcmp(de->d_name, newest) > 0)
            snprintf(newest, sizeof(newest), "%.20s", de->d_name);
    }
    rewinddir(d);
    while ((de = readdir(d)) != NULL) {
        if (is_segment(de->d_name) && !streq(de->d_name, newest) &&
            fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            unlinkat(dirfd(d), de->d_name, 0) == 0)
            freed += (uint64_t)st.st_size;
    }
    closedir(d);
    return freed;
}

void
log_bound_apply(const char *dir, const struct map *refs, uint64_t max_bytes,
                uint64_t *ret_freed)
{
    stored_list logs = {0};
    uint64_t total = 0;
    int64_t before_s = clock_wall_ns() / 1000000000 - IDLE_S;
    DIR *d = opendir(dir);
    const struct dirent *de;
    struct error e = ERROR_INIT;

    *ret_freed = 0;
    while (d != NULL && (de = readdir(d)) != NULL) {
        if (de->d_name[0] == '.')
            continue;
        autofree char *ns = fs_join(dir, de->d_name);
        list_namespace(ns, refs, &logs, &total);
    }
    if (d != NULL)
        closedir(d);
    if (logs.len > 1)
        qsort(logs.items, logs.len, sizeof(logs.items[0]), in_order);
    vec_foreach (l, &logs) {
        if (total - *ret_freed > max_bytes && l->written_s < before_s) {
            if (!l->gone)
                *ret_freed += keep_newest(l->path);
            else if (fs_remove_tree(l->path, &e) == 0)
                *ret_freed += l->bytes;
        }
        free(l->path);
    }
    vec_done(&logs);
}
