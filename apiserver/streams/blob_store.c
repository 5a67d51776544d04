/* SPDX-License-Identifier: Apache-2.0 */
/* Blobs as files. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <sys/stat.h>

#include "apiserver/streams/blobs.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

enum { HASH_BLOCK = 256 * 1024 };

static bool
is_hex(const char *s, size_t n)
{
    return n == BLOB_HEX && strspn(s, "0123456789abcdef") >= BLOB_HEX;
}

/* Bytes of all blobs of the namespace, half uploaded ones included. */
static uint64_t
usage_of(const char *dir)
{
    uint64_t sum = 0;
    DIR *d = opendir(dir);
    const struct dirent *de;
    struct stat st;

    if (d == NULL)
        return 0;
    while ((de = readdir(d)) != NULL) {
        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISREG(st.st_mode))
            sum += (uint64_t)st.st_size;
    }
    closedir(d);
    return sum;
}

static int
hash_file(int fd, char out[BLOB_HEX + 1], struct error *e)
{
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES];
    autofree unsigned char *block = xmalloc(HASH_BLOCK);
    off_t at = 0;
    ssize_t n;

    crypto_hash_sha256_init(&state);
    while ((n = pread(fd, block, HASH_BLOCK, at)) > 0) {
        crypto_hash_sha256_update(&state, block, (unsigned long long)n);
        at += n;
    }
    if (n < 0)
        return error_errno(e, errno, "read the upload");
    crypto_hash_sha256_final(&state, digest);
    sodium_bin2hex(out, BLOB_HEX + 1, digest, sizeof(digest));
    return 0;
}

static int
sync_dir(const char *dir, struct error *e)
{
    autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    return fd >= 0 && fsync(fd) == 0 ? 0 : error_errno(e, errno, "sync %s", dir);
}

/* All bytes are there: do they have the hash that they were sent under? */
static int
complete(struct blob_put *p, const char *dir, const char *part, const char *whole, int fd,
         struct error *e)
{
    char hex[BLOB_HEX + 1];
    int rc = hash_file(fd, hex, e);

    if (rc == 0 && !streq(hex, p->hex)) {
        unlink(part);
        p->at = 0;
        return error_set(e, ERR_INVALID,
                         "the bytes have the SHA-256 %s, not %s; they were dropped", hex,
                         p->hex);
    }
    if (rc == 0 && (fsync(fd) < 0 || rename(part, whole) < 0))
        rc = error_errno(e, errno, "keep the upload");
    if (rc == 0)
        rc = sync_dir(dir, e);
    p->created = rc == 0;
    return rc;
}

static int
check_room(const struct blob_put *p, const char *dir, struct error *e)
{
    uint64_t used = usage_of(dir);

    if (p->size > BLOB_MAX_BYTES)
        return error_set(e, ERR_TOO_LARGE, "a blob has at most %" PRIu64 " bytes",
                         (uint64_t)BLOB_MAX_BYTES);
    if (used + p->size > p->quota_bytes)
        return error_set(e, ERR_FULL,
                         "namespace %s holds %" PRIu64 " bytes of blobs; %" PRIu64
                         " more are over its quota of %" PRIu64,
                         p->ns, used, p->size, p->quota_bytes);
    return 0;
}

int
blob_store_put(struct blob_put *p, struct error *e)
{
    autofree char *dir = fs_join(p->dir, p->ns);
    autofree char *whole = fs_join(dir, p->hex);
    autofree char *part = xasprintf("%s.part", whole);
    struct stat st;

    if (stat(whole, &st) == 0) {
        utimensat(AT_FDCWD, whole, NULL, 0);
        p->there = true;
        p->at = (uint64_t)st.st_size;
        return 0;
    }
    if (fs_mkdirs(dir, 0700, e) < 0)
        return -(int)e->code;
    autoclose int fd = open(part, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(e, errno, "open the upload");
    p->at = (uint64_t)st.st_size;
    if (p->at != p->offset)
        return error_set(e, ERR_CONFLICT, "the next byte is %" PRIu64, p->at);
    if (p->size < p->offset || p->bytes.len > p->size - p->offset)
        return error_set(e, ERR_BAD_REQUEST, "more bytes than size=%" PRIu64, p->size);
    if (p->at == 0 && check_room(p, dir, e) < 0) {
        unlink(part);
        return -(int)e->code;
    }
    if (lseek(fd, (off_t)p->at, SEEK_SET) < 0)
        return error_errno(e, errno, "seek in the upload");
    if (fs_write_all(fd, p->bytes.ptr, p->bytes.len, e) < 0) {
        /* What a failed write left behind must not count as sent. */
        if (ftruncate(fd, (off_t)p->at) < 0)
            unlink(part);
        return -(int)e->code;
    }
    p->at += p->bytes.len;
    return p->at == p->size ? complete(p, dir, part, whole, fd, e) : 0;
}

int
blob_store_open(const char *dir, const char *ns, const char *hex, int *ret_fd,
                uint64_t *ret_size, struct error *e)
{
    autofree char *path = xasprintf("%s/%s/%s", dir, ns, hex);
    autoclose int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW);
    struct stat st;

    if (fd < 0 && errno == ENOENT)
        return error_set(e, ERR_NOT_FOUND, "blobs \"sha256:%s\" not found", hex);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(e, errno, "open blob %s", hex);
    futimens(fd, NULL);
    *ret_fd = move_fd(fd);
    *ret_size = (uint64_t)st.st_size;
    return 0;
}

/* --- collection ----------------------------------------------------------------------
 */

static void
scan_uids(struct span text, struct map *refs)
{
    static const char mark[] = "\"uid\":\"";
    static char present;
    size_t n = sizeof(mark) - 1;
    const char *p = text.ptr;
    const char *end = text.ptr + text.len;
    char uid[64];

    while (p < end && (p = memmem(p, (size_t)(end - p), mark, n)) != NULL) {
        p += n;
        const char *quote = memchr(p, '"', (size_t)(end - p));
        if (quote == NULL || (size_t)(quote - p) >= sizeof(uid))
            continue;
        memcpy(uid, p, (size_t)(quote - p));
        uid[quote - p] = '\0';
        map_put(refs, uid, &present);
    }
}

void
blob_scan_refs(struct span text, struct map *refs)
{
    static const char mark[] = "sha256:";
    static char present;
    size_t n = sizeof(mark) - 1;
    const char *p = text.ptr;
    const char *end = text.ptr + text.len;

    scan_uids(text, refs);
    while (p != NULL && p < end && (p = memmem(p, (size_t)(end - p), mark, n)) != NULL) {
        p += n;
        if ((size_t)(end - p) < BLOB_HEX)
            return;
        char hex[BLOB_HEX + 1];
        memcpy(hex, p, BLOB_HEX);
        hex[BLOB_HEX] = '\0';
        if (strspn(hex, "0123456789abcdef") == BLOB_HEX)
            map_put(refs, hex, &present);
    }
}

static void
sweep_dir(const char *dir, const struct map *refs, int64_t before_s, size_t *removed)
{
    DIR *d = opendir(dir);
    const struct dirent *de;
    struct stat st;

    if (d == NULL)
        return;
    while ((de = readdir(d)) != NULL) {
        size_t n = strcspn(de->d_name, ".");
        if (!is_hex(de->d_name, n) ||
            (de->d_name[n] == '\0' && map_getn(refs, de->d_name, n) != NULL) ||
            fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) < 0 ||
            st.st_mtim.tv_sec >= before_s)
            continue;
        if (unlinkat(dirfd(d), de->d_name, 0) == 0)
            ++*removed;
    }
    closedir(d);
}

typedef void sweep_fn(const char *dir, const struct map *refs, int64_t before_s,
                      size_t *removed);

/* One directory below dir for each namespace. */
static void
sweep_namespaces(const char *dir, const struct map *refs, int64_t age_s, sweep_fn *sweep,
                 size_t *ret_removed)
{
    int64_t before_s = clock_wall_ns() / 1000000000 - age_s;
    DIR *d = opendir(dir);
    const struct dirent *de;

    *ret_removed = 0;
    if (d == NULL)
        return;
    while ((de = readdir(d)) != NULL) {
        if (de->d_name[0] == '.')
            continue;
        autofree char *sub = fs_join(dir, de->d_name);
        sweep(sub, refs, before_s, ret_removed);
    }
    closedir(d);
}

void
blob_store_sweep(const char *dir, const struct map *refs, int64_t grace_s,
                 size_t *ret_removed)
{
    sweep_namespaces(dir, refs, grace_s, sweep_dir, ret_removed);
}

/* When anything in it was last written. */
static int64_t
last_written_s(const char *dir)
{
    int64_t newest = 0;
    DIR *d = opendir(dir);
    const struct dirent *de;
    struct stat st;

    while (d != NULL && (de = readdir(d)) != NULL) {
        if (!streq(de->d_name, "..") &&
            fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            st.st_mtim.tv_sec > newest)
            newest = st.st_mtim.tv_sec;
    }
    if (d != NULL)
        closedir(d);
    return newest;
}

static void
sweep_logs_of(const char *ns_dir, const struct map *refs, int64_t before_s,
              size_t *removed)
{
    DIR *d = opendir(ns_dir);
    const struct dirent *de;
    struct error e = ERROR_INIT;

    if (d == NULL)
        return;
    while ((de = readdir(d)) != NULL) {
        if (!id_is_uuid(de->d_name, strlen(de->d_name)) ||
            map_get(refs, de->d_name) != NULL)
            continue;
        autofree char *log = fs_join(ns_dir, de->d_name);
        if (last_written_s(log) < before_s && fs_remove_tree(log, &e) == 0)
            ++*removed;
    }
    closedir(d);
}

void
blob_store_sweep_logs(const char *dir, const struct map *refs, int64_t ttl_s,
                      size_t *ret_removed)
{
    sweep_namespaces(dir, refs, ttl_s, sweep_logs_of, ret_removed);
}
