/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Segment files. Their names carry their position, so a directory listing is the whole
 * index, and the length is the last name plus that file's size. Appending writes at the
 * known position; a write that fails half-way is cut off again, so that the files hold
 * whole frames at all times except after a crash.
 */
#include "io/segment.h"

#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"

LOG_MODULE(segment);

enum { NAME_LEN = 16 + 4, NAME_SIZE = NAME_LEN + 1, SCAN_BLOCK = 256 << 10 };

#define KEEP_FREE_MAX (UINT64_C(512) << 20)

typedef vec(uint64_t) offset_vec;

struct segment_log {
    char *dir;
    int dir_fd;
    offset_vec starts; /* ascending; the last one is being written */
    int fd;            /* of the last segment, or -1 before the first append */
    uint64_t length;
    bool dirty, dir_dirty; /* not yet synced */
    bool defer;            /* rolling does not sync */
    struct segment_dirty rolled;
};

/* --- frames ---------------------------------------------------------------------------
 */

static void
put_le(char *p, uint64_t v, int n)
{
    for (int i = 0; i < n; i++)
        p[i] = (char)(unsigned char)(v >> (8 * i));
}

static uint64_t
get_le(const char *p, int n)
{
    uint64_t v = 0;

    for (int i = n - 1; i >= 0; i--)
        v = v << 8 | (unsigned char)p[i];
    return v;
}

void
segment_frame_put(struct str *out, int64_t unix_ns, enum segment_stream s,
                  const void *bytes, size_t n)
{
    char head[SEGMENT_HEADER];

    bug_if(n > SEGMENT_FRAME_MAX);
    put_le(head, n, 4);
    put_le(head + 4, (uint64_t)unix_ns, 8);
    head[12] = (char)s;
    if (!str_reserve(out, sizeof(head) + n)) /* a whole frame or nothing */
        return;
    str_add(out, head, sizeof(head));
    str_add(out, bytes, n);
}

int
segment_frame_get(const char *buf, size_t n, uint64_t offset, struct segment_frame *ret,
                  struct error *e)
{
    if (n < SEGMENT_HEADER)
        return 0;
    uint64_t len = get_le(buf, 4);
    int stream = (unsigned char)buf[12];
    if (len > SEGMENT_FRAME_MAX || stream < SEGMENT_STDOUT || stream > SEGMENT_MARK)
        return error_set(e, ERR_CORRUPT, "malformed log frame at offset %" PRIu64,
                         offset);
    if (n - SEGMENT_HEADER < len)
        return 0;
    *ret = (struct segment_frame){
        .offset = offset,
        .unix_ns = (int64_t)get_le(buf + 4, 8),
        .stream = (enum segment_stream)stream,
        .bytes = {buf + SEGMENT_HEADER, len},
    };
    return 1;
}

int
segment_whole(const char *buf, size_t n, uint64_t offset, size_t *ret_whole,
              struct error *e)
{
    struct segment_frame f = {0};
    size_t pos = 0;
    int rc;

    while ((rc = segment_frame_get(buf + pos, n - pos, offset + pos, &f, e)) == 1)
        pos += SEGMENT_HEADER + f.bytes.len;
    *ret_whole = pos;
    return rc;
}

/* --- files ----------------------------------------------------------------------------
 */

static void
name_of(uint64_t start, char out[NAME_SIZE])
{
    snprintf(out, NAME_SIZE, "%016" PRIx64 ".seg", start);
}

static bool
parse_name(const char *name, uint64_t *ret)
{
    char *end = NULL;

    if (strlen(name) != NAME_LEN || !str_ends(name, ".seg") ||
        strspn(name, "0123456789abcdef") != 16)
        return false;
    *ret = strtoull(name, &end, 16);
    return end == name + 16;
}

static int
by_offset(const void *a, const void *b)
{
    uint64_t x = *(const uint64_t *)a;
    uint64_t y = *(const uint64_t *)b;

    return x < y ? -1 : x > y;
}

/* The starts of all segments, ascending. */
static int
list_segments(const char *dir, offset_vec *out, struct error *e)
{
    DIR *d = opendir(dir);
    const struct dirent *de;
    uint64_t start;

    if (d == NULL)
        return error_errno(e, errno, "open log %s", dir);
    errno = 0;
    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (parse_name(de->d_name, &start))
            vec_push(out, start);
    }
    int sys = errno;
    closedir(d);
    if (sys != 0)
        return error_errno(e, sys, "list log %s", dir);
    if (out->len > 1)
        qsort(out->items, out->len, sizeof(out->items[0]), by_offset);
    return 0;
}

static int
file_size(int fd, uint64_t *ret, struct error *e)
{
    struct stat st;

    if (fstat(fd, &st) < 0)
        return error_errno(e, errno, "stat log segment");
    *ret = (uint64_t)st.st_size;
    return 0;
}

/* --- opening --------------------------------------------------------------------------
 */

/* How many bytes of the file are whole frames. */
static int
scan(int fd, uint64_t start, uint64_t *ret_good, struct error *e)
{
    autofree char *buf = xmalloc(SCAN_BLOCK);
    size_t have = 0;
    uint64_t good = 0;
    struct error ignored = ERROR_INIT;

    for (;;) {
        ssize_t n = pread(fd, buf + have, SCAN_BLOCK - have, (off_t)(good + have));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, errno, "read log segment %016" PRIx64, start);
        have += (size_t)n;
        size_t whole = 0;
        int rc = segment_whole(buf, have, start + good, &whole, &ignored);
        good += whole;
        have -= whole;
        memmove(buf, buf + whole, have);
        if (n == 0 || rc < 0)
            break;
    }
    *ret_good = good;
    return 0;
}

static int
open_last(struct segment_log *s, struct error *e)
{
    char name[NAME_SIZE];
    uint64_t start = s->starts.items[s->starts.len - 1];
    uint64_t size = 0;
    uint64_t good = 0;

    name_of(start, name);
    s->fd = openat(s->dir_fd, name, O_RDWR | O_CLOEXEC);
    if (s->fd < 0)
        return error_errno(e, errno, "open log segment %s", name);
    int rc = file_size(s->fd, &size, e);
    if (rc == 0)
        rc = scan(s->fd, start, &good, e);
    if (rc != 0)
        return rc;
    if (good < size) {
        log_info("cut a torn log tail", "dir=%s offset=%" PRIu64 " bytes=%" PRIu64,
                 s->dir, start + good, size - good);
        if (ftruncate(s->fd, (off_t)good) < 0)
            return error_errno(e, errno, "cut log segment %s", name);
        s->dirty = true;
    }
    s->length = start + good;
    return 0;
}

/* Every segment but the last must end where the next begins. */
static int
check_chain(const struct segment_log *s, struct error *e)
{
    for (size_t i = 0; i + 1 < s->starts.len; i++) {
        char name[NAME_SIZE];
        struct stat st;
        name_of(s->starts.items[i], name);
        if (fstatat(s->dir_fd, name, &st, 0) < 0)
            return error_errno(e, errno, "stat log segment %s", name);
        if (s->starts.items[i] + (uint64_t)st.st_size != s->starts.items[i + 1])
            return error_set(e, ERR_CORRUPT, "log %s: segment %s does not reach the next",
                             s->dir, name);
    }
    return 0;
}

int
segment_open(const char *dir, struct segment_log **ret, struct error *e)
{
    struct segment_log *s = xnew(struct segment_log);

    s->dir = xstrdup(dir);
    s->fd = -1;
    s->dir_fd = -1;
    s->rolled = SEGMENT_DIRTY_INIT;
    int rc = fs_mkdirs(dir, 0700, e);
    if (rc == 0) {
        s->dir_fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
        if (s->dir_fd < 0)
            rc = error_errno(e, errno, "open log %s", dir);
    }
    if (rc == 0)
        rc = list_segments(dir, &s->starts, e);
    if (rc == 0)
        rc = check_chain(s, e);
    if (rc == 0 && s->starts.len > 0)
        rc = open_last(s, e);
    if (rc != 0) {
        segment_close(s);
        return rc;
    }
    *ret = s;
    return 0;
}

void
segment_close(struct segment_log *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    if (s->dir_fd >= 0)
        close(s->dir_fd);
    segment_dirty_done(&s->rolled);
    vec_done(&s->starts);
    free(s->dir);
    free(s);
}

uint64_t
segment_length(const struct segment_log *s)
{
    return s->length;
}

uint64_t
segment_first(const struct segment_log *s)
{
    return s->starts.len == 0 ? s->length : s->starts.items[0];
}

/* --- writing --------------------------------------------------------------------------
 */

int
segment_sync(struct segment_log *s, struct error *e)
{
    if (s->dirty && fdatasync(s->fd) < 0)
        return error_errno(e, errno, "sync log %s", s->dir);
    s->dirty = false;
    if (s->dir_dirty && fsync(s->dir_fd) < 0)
        return error_errno(e, errno, "sync log %s", s->dir);
    s->dir_dirty = false;
    return 0;
}

int
segment_take_dirty(struct segment_log *s, struct segment_dirty *d, struct error *e)
{
    int fd = -1;
    int dir_fd = -1;

    s->defer = true;
    if (s->dirty && (fd = fcntl(s->fd, F_DUPFD_CLOEXEC, 3)) < 0)
        return error_errno(e, errno, "sync log %s", s->dir);
    if (s->dir_dirty && d->dir_fd < 0 &&
        (dir_fd = fcntl(s->dir_fd, F_DUPFD_CLOEXEC, 3)) < 0) {
        int sys = errno;
        if (fd >= 0)
            close(fd);
        return error_errno(e, sys, "sync log %s", s->dir);
    }
    segment_dirty_join(d, &s->rolled);
    struct segment_dirty now = {.dir_fd = dir_fd};
    if (fd >= 0)
        vec_push(&now.files,
                 ((struct segment_file){fd, s->starts.items[s->starts.len - 1]}));
    segment_dirty_join(d, &now);
    s->dirty = s->dir_dirty = false;
    return 0;
}

void
segment_dirty_join(struct segment_dirty *to, struct segment_dirty *from)
{
    vec_foreach (f, &from->files) {
        /* Only the newest can be there twice. */
        if (to->files.len > 0 && to->files.items[to->files.len - 1].start == f->start)
            close(f->fd);
        else
            vec_push(&to->files, *f);
    }
    vec_done(&from->files);
    if (to->dir_fd < 0)
        to->dir_fd = from->dir_fd;
    else if (from->dir_fd >= 0)
        close(from->dir_fd);
    *from = SEGMENT_DIRTY_INIT;
}

int
segment_dirty_sync(const struct segment_dirty *d, struct error *e)
{
    for (size_t i = 0; i < d->files.len; i++) {
        if (fdatasync(d->files.items[i].fd) < 0)
            return error_errno(e, errno, "sync a log");
    }
    if (d->dir_fd >= 0 && fsync(d->dir_fd) < 0)
        return error_errno(e, errno, "sync a log's directory");
    return 0;
}

void
segment_dirty_done(struct segment_dirty *d)
{
    vec_foreach (f, &d->files)
        close(f->fd);
    vec_done(&d->files);
    if (d->dir_fd >= 0)
        close(d->dir_fd);
    *d = SEGMENT_DIRTY_INIT;
}

/* Begins a new segment at the present length. */
static int
roll(struct segment_log *s, struct error *e)
{
    char name[NAME_SIZE];
    int rc = s->fd >= 0 && !s->defer ? segment_sync(s, e) : 0;

    if (rc != 0)
        return rc;
    name_of(s->length, name);
    int fd = openat(s->dir_fd, name, O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "create log segment %s/%s", s->dir, name);
    if (s->fd >= 0 && s->dirty)
        vec_push(&s->rolled.files,
                 ((struct segment_file){s->fd, s->starts.items[s->starts.len - 1]}));
    else if (s->fd >= 0)
        close(s->fd);
    s->dirty = false;
    s->fd = fd;
    s->dir_dirty = true;
    vec_push(&s->starts, s->length);
    return 0;
}

static int
write_here(struct segment_log *s, const char *bytes, size_t n, struct error *e)
{
    uint64_t pos = s->length - s->starts.items[s->starts.len - 1];
    size_t done = 0;

    while (done < n) {
        ssize_t w = pwrite(s->fd, bytes + done, n - done, (off_t)(pos + done));
        if (w < 0 && errno == EINTR)
            continue;
        if (w < 0) {
            int sys = errno;
            /* Not even that: the next open cuts the torn frame. */
            if (done > 0 && ftruncate(s->fd, (off_t)pos) < 0)
                log_warn_rl("cannot cut a failed append", "dir=%s", s->dir);
            return error_errno(e, sys, "append to log %s", s->dir);
        }
        done += (size_t)w;
    }
    s->dirty = true;
    s->length += n;
    return 0;
}

/* As much of the frames as goes into the present segment; at least one frame after a
 * roll. */
static size_t
fitting(const char *p, size_t n, uint64_t room)
{
    size_t take = 0;

    while (take < n) {
        size_t frame = SEGMENT_HEADER + (size_t)get_le(p + take, 4);
        if (take + frame > room)
            break;
        take += frame;
    }
    return take;
}

static int
write_frames(struct segment_log *s, const char *p, size_t n, struct error *e)
{
    while (n > 0) {
        uint64_t used =
            s->fd < 0 ? SEGMENT_BYTES : s->length - s->starts.items[s->starts.len - 1];
        size_t take = used >= SEGMENT_BYTES ? 0 : fitting(p, n, SEGMENT_BYTES - used);
        int rc = take == 0 ? roll(s, e) : write_here(s, p, take, e);
        if (rc != 0)
            return rc;
        p += take;
        n -= take;
    }
    return 0;
}

/* Whether pos is the beginning of a frame (or the end) of the checked frames. */
static bool
is_boundary(const char *p, size_t pos)
{
    size_t at = 0;

    while (at < pos)
        at += SEGMENT_HEADER + (size_t)get_le(p + at, 4);
    return at == pos;
}

int
segment_append(struct segment_log *s, uint64_t offset, const void *frames, size_t n,
               uint64_t *ret_length, struct error *e)
{
    const char *p = frames;
    size_t whole = 0;

    *ret_length = s->length;
    if (offset > s->length)
        return error_set(e, ERR_CONFLICT,
                         "append at %" PRIu64 " past the end of the log at %" PRIu64,
                         offset, s->length);
    if (segment_whole(p, n, offset, &whole, e) < 0)
        return error_set(e, ERR_BAD_REQUEST, "append of a malformed log frame");
    if (whole != n)
        return error_set(e, ERR_BAD_REQUEST, "append of a part of a log frame");
    uint64_t skip = s->length - offset;
    if (skip >= n)
        return 0;
    if (!is_boundary(p, (size_t)skip))
        return error_set(e, ERR_BAD_REQUEST,
                         "append at %" PRIu64 " does not match the log's frames", offset);
    int rc = write_frames(s, p + skip, n - (size_t)skip, e);
    *ret_length = s->length;
    return rc;
}

int
segment_trim(struct segment_log *s, uint64_t offset, struct error *e)
{
    while (s->starts.len > 1 && s->starts.items[1] <= offset) {
        char name[NAME_SIZE];
        name_of(s->starts.items[0], name);
        if (unlinkat(s->dir_fd, name, 0) < 0 && errno != ENOENT)
            return error_errno(e, errno, "remove log segment %s/%s", s->dir, name);
        s->dir_dirty = true;
        vec_remove(&s->starts, 0);
    }
    return 0;
}

bool
segment_room(const char *dir)
{
    struct statvfs v;

    if (statvfs(dir, &v) < 0)
        return true;
    uint64_t keep = (uint64_t)v.f_blocks * v.f_frsize / 20;
    if (keep > KEEP_FREE_MAX)
        keep = KEEP_FREE_MAX;
    return (uint64_t)v.f_bavail * v.f_frsize >= keep;
}

int
segment_sync_newest(const char *dir, size_t n, struct error *e)
{
    offset_vec starts = {0};
    int rc = list_segments(dir, &starts, e);

    for (size_t i = starts.len; rc == 0 && i > 0 && starts.len - i < n; i--) {
        char name[NAME_SIZE];
        name_of(starts.items[i - 1], name);
        autofree char *path = fs_join(dir, name);
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
        if (fd < 0 || fdatasync(fd) < 0)
            rc = error_errno(e, errno, "sync %s", path);
    }
    vec_done(&starts);
    return rc;
}

int
segment_cut(const char *dir, uint64_t length, struct error *e)
{
    offset_vec starts = {0};
    int rc = list_segments(dir, &starts, e);

    for (size_t i = starts.len; rc == 0 && i > 0; i--) {
        char name[NAME_SIZE];
        uint64_t start = starts.items[i - 1];
        name_of(start, name);
        autofree char *path = fs_join(dir, name);
        if (start >= length && start > 0) {
            if (unlink(path) < 0)
                rc = error_errno(e, errno, "remove %s", path);
            continue;
        }
        struct stat st;
        if (stat(path, &st) < 0 || ((uint64_t)st.st_size > length - start &&
                                    truncate(path, (off_t)(length - start)) < 0))
            rc = error_errno(e, errno, "cut %s", path);
        break;
    }
    vec_done(&starts);
    return rc;
}

/* --- reading, from any process --------------------------------------------------------
 */

/* Reads from one file; *ret_got 0 at its end or when it has been trimmed away. */
static int
read_one(const char *dir, uint64_t start, uint64_t offset, struct str *out, size_t max,
         size_t *ret_got, struct error *e)
{
    char name[NAME_SIZE];

    name_of(start, name);
    autofree char *path = fs_join(dir, name);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
    *ret_got = 0;
    if (fd < 0)
        return errno == ENOENT ? 0 : error_errno(e, errno, "open %s", path);
    if (!str_reserve(out, max))
        return error_set(e, ERR_TOO_LARGE, "read of %zu log bytes", max);
    while (*ret_got < max) {
        ssize_t n = pread(fd, out->ptr + out->len, max - *ret_got,
                          (off_t)(offset - start + *ret_got));
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, errno, "read %s", path);
        if (n == 0)
            break;
        out->len += (size_t)n;
        out->ptr[out->len] = '\0';
        *ret_got += (size_t)n;
    }
    return 0;
}

int
segment_read(const char *dir, uint64_t offset, struct str *out, size_t max,
             struct error *e)
{
    offset_vec starts = {0};
    int rc = list_segments(dir, &starts, e);
    size_t i = starts.len;

    while (i > 0 && starts.items[i - 1] > offset)
        i--;
    if (rc == 0 && i == 0 && starts.len > 0)
        rc =
            error_set(e, ERR_EXPIRED, "log offset %" PRIu64 " is no longer kept", offset);
    for (; rc == 0 && i > 0 && i <= starts.len && max > 0; i++) {
        size_t most = max;
        size_t got = 0;
        /* Not past the next one's start: a torn tail may lie there for a moment. */
        if (i < starts.len && starts.items[i] - offset < most)
            most = (size_t)(starts.items[i] - offset);
        rc = read_one(dir, starts.items[i - 1], offset, out, most, &got, e);
        offset += got;
        max -= got;
        if (got < most)
            break;
    }
    vec_done(&starts);
    return rc;
}

int
segment_stat(const char *dir, uint64_t *ret_first, uint64_t *ret_length, struct error *e)
{
    offset_vec starts = {0};
    uint64_t size = 0;
    int rc = list_segments(dir, &starts, e);

    if (rc == 0 && starts.len > 0) {
        char name[NAME_SIZE];
        name_of(starts.items[starts.len - 1], name);
        autofree char *path = fs_join(dir, name);
        autoclose int fd = open(path, O_RDONLY | O_CLOEXEC);
        rc = fd < 0 ? error_errno(e, errno, "open %s", path) : file_size(fd, &size, e);
    }
    if (rc == 0) {
        *ret_first = starts.len == 0 ? 0 : starts.items[0];
        *ret_length = starts.len == 0 ? 0 : starts.items[starts.len - 1] + size;
    }
    vec_done(&starts);
    return rc;
}
