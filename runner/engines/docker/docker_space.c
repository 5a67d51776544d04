/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Room for images. Every image that we pull has a record <agent dir>/images/<hash> with
 * its reference as content; its modification time is the last use by a job. When too
 * little is free before a pull, images go in that order until enough is free. An image
 * without a record is not ours and is never touched; one that a job of ours uses is
 * passed over, and the daemon itself refuses to remove one that any container uses.
 */
#include <dirent.h>
#include <fcntl.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"
#include "runner/engines/docker/docker_job.h"

LOG_MODULE(docker);

#define LOW_PERCENT 5
#define MIN_FREE (UINT64_C(256) << 20)
#define REFERENCE_MAX 1024

struct record {
    char *file, *reference;
    int64_t used_ns;
};
TAILQ_HEAD(waits, docker_space_wait);
struct docker_space {
    struct engine *en;
    char *dir; /* NULL: nothing is recorded */
    unsigned low_percent;
    uint64_t min_free;
    struct waits waits;
    bool collecting;
    vec(struct record) records; /* of this collection, newest first */
    struct docker_call *call;
};

static void
reference_of(const struct docker_image *im, char *out, size_t size)
{
    snprintf(out, size, "%s%c%s", im->name, im->digest ? '@' : ':', im->tag);
}

static char *
record_path(const struct docker_space *s, const char *reference)
{
    char hash[65];
    id_hash_hex(reference, strlen(reference), hash);
    return xasprintf("%s/%.32s", s->dir, hash);
}

struct docker_space *
docker_space_new(struct engine *en, const struct engine_config *c)
{
    struct docker_space *s = xnew(struct docker_space);
    struct error e = ERROR_INIT;
    s->en = en;
    s->low_percent = c->image_low_percent > 0 ? c->image_low_percent : LOW_PERCENT;
    s->min_free = c->image_min_free > 0 ? c->image_min_free : MIN_FREE;
    TAILQ_INIT(&s->waits);
    if (c->agent_dir != NULL) {
        s->dir = fs_join(c->agent_dir, "images");
        if (fs_mkdirs(s->dir, 0700, &e) < 0) {
            log_warn("images cannot be collected", "error=\"%s\"", e.msg);
            free(s->dir);
            s->dir = NULL;
        }
    }
    return s;
}

static void
forget_records(struct docker_space *s)
{
    vec_foreach (r, &s->records) {
        free(r->file);
        free(r->reference);
    }
    vec_done(&s->records);
}

void
docker_space_free(struct docker_space *s)
{
    if (s == NULL)
        return;
    docker_call_cancel(&s->call);
    forget_records(s);
    free(s->dir);
    free(s);
}

/* --- use -----------------------------------------------------------------------------
 */

void
docker_space_pulled(struct docker_space *s, const struct docker_image *im)
{
    char reference[REFERENCE_MAX];
    if (s->dir == NULL)
        return;
    reference_of(im, reference, sizeof(reference));
    autofree char *path = record_path(s, reference);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    ssize_t n = fd < 0 ? -1 : write(fd, reference, strlen(reference));
    if (n != (ssize_t)strlen(reference))
        log_warn("image not recorded", "image=%s", reference);
}

void
docker_space_used(struct docker_space *s, const struct docker_image *im)
{
    char reference[REFERENCE_MAX];
    if (s->dir == NULL)
        return;
    reference_of(im, reference, sizeof(reference));
    autofree char *path = record_path(s, reference);
    /* Without a record it was not we who pulled it. */
    (void)!utimensat(AT_FDCWD, path, NULL, 0);
}

/* --- room ----------------------------------------------------------------------------
 */

bool
docker_space_look(const struct docker_space *s, uint64_t *free_bytes, uint64_t *all_bytes)
{
    struct statvfs v;
    if (s->en->root_dir[0] == '\0' || statvfs(s->en->root_dir, &v) < 0)
        return false;
    *free_bytes = (uint64_t)v.f_bavail * v.f_frsize;
    *all_bytes = (uint64_t)v.f_blocks * v.f_frsize;
    return true;
}

static bool
is_low(const struct docker_space *s)
{
    uint64_t left;
    uint64_t all;
    return docker_space_look(s, &left, &all) &&
           (left < s->min_free || left / s->low_percent < all / 100);
}

bool
docker_space_short(const struct docker_space *s, char *why, size_t size)
{
    uint64_t left;
    uint64_t all;
    if (!docker_space_look(s, &left, &all) || left >= s->min_free)
        return false;
    snprintf(why, size, "no room for the image: %llu MiB of %llu MiB are free in %s",
             (unsigned long long)(left >> 20), (unsigned long long)(all >> 20),
             s->en->root_dir);
    return true;
}

/* --- collection ----------------------------------------------------------------------
 */

static void
read_record(struct docker_space *s, const char *name)
{
    char reference[REFERENCE_MAX];
    struct stat st;
    autofree char *path = fs_join(s->dir, name);
    autoclose int fd = open(path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0 || !S_ISREG(st.st_mode))
        return;
    ssize_t n = read(fd, reference, sizeof(reference) - 1);
    if (n <= 0)
        return;
    reference[n] = '\0';
    struct record r = {xstrdup(path), xstrdup(reference),
                       (int64_t)st.st_mtim.tv_sec * 1000000000 + st.st_mtim.tv_nsec};
    vec_push(&s->records, r);
}

static int
newest_first(const void *a, const void *b)
{
    const struct record *x = a;
    const struct record *y = b;
    return (x->used_ns < y->used_ns) - (x->used_ns > y->used_ns);
}

static void
read_records(struct docker_space *s)
{
    DIR *d = s->dir != NULL ? opendir(s->dir) : NULL;
    if (d == NULL)
        return;
    for (struct dirent *en = readdir(d); en != NULL; en = readdir(d)) {
        if (en->d_name[0] != '.')
            read_record(s, en->d_name);
    }
    closedir(d);
    if (s->records.len > 1)
        qsort(s->records.items, s->records.len, sizeof(struct record), newest_first);
}

static bool
in_use(const struct docker_space *s, const char *reference)
{
    struct docker_job *dj;
    char used[REFERENCE_MAX];
    TAILQ_FOREACH (dj, &s->en->jobs, link) {
        reference_of(&dj->image, used, sizeof(used));
        if (streq(used, reference))
            return true;
    }
    return false;
}

static void
collect_end(struct docker_space *s)
{
    struct docker_space_wait *w;
    forget_records(s);
    s->collecting = false;
    struct waits waits = TAILQ_HEAD_INITIALIZER(waits);
    TAILQ_CONCAT(&waits, &s->waits, link);
    while ((w = TAILQ_FIRST(&waits)) != NULL) {
        TAILQ_REMOVE(&waits, w, link);
        w->waiting = false;
        w->done(w);
    }
}

static void collect_next(struct docker_space *s);

static void
on_deleted(void *arg, const struct docker_reply *r)
{
    struct docker_space *s = arg;
    struct record *rec = &s->records.items[s->records.len - 1];
    bool gone = r->reached && (r->status == 200 || r->status == 404);
    if (gone)
        unlink(rec->file);
    log_info("image collected", "image=%s gone=%d message=\"%s\"", rec->reference, gone,
             r->message);
    free(rec->file);
    free(rec->reference);
    s->records.len--;
    if (!r->reached) {
        collect_end(s); /* what follows sees the same daemon */
        return;
    }
    collect_next(s);
}

static void
collect_next(struct docker_space *s)
{
    while (s->records.len > 0 &&
           in_use(s, s->records.items[s->records.len - 1].reference)) {
        struct record *rec = &s->records.items[--s->records.len];
        free(rec->file);
        free(rec->reference);
    }
    if (s->records.len == 0 || !is_low(s)) {
        collect_end(s);
        return;
    }
    auto_str path = STR_INIT(2 * REFERENCE_MAX);
    str_addf(&path, "/images/%s", s->records.items[s->records.len - 1].reference);
    struct docker_request r = {
        .method = "DELETE", .path = path.ptr, .on_reply = on_deleted, .arg = s};
    docker_call_start(s->en, &s->call, &r);
}

void
docker_space_make(struct docker_space *s, struct docker_space_wait *w)
{
    if (!s->collecting && !is_low(s)) {
        w->done(w);
        return;
    }
    w->waiting = true;
    TAILQ_INSERT_TAIL(&s->waits, w, link);
    if (s->collecting)
        return;
    s->collecting = true;
    read_records(s);
    collect_next(s);
}

void
docker_space_leave(struct docker_space *s, struct docker_space_wait *w)
{
    if (!w->waiting)
        return;
    w->waiting = false;
    TAILQ_REMOVE(&s->waits, w, link);
}
