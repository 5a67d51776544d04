/* SPDX-License-Identifier: Apache-2.0 */
/* Paths as tar archives (ustar, pax where that is too small), always the same way. */
#include <dirent.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <sodium.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/map.h"
#include "base/mem.h"
#include "cli/code.h"

enum {
    BLOCK = 512,
    COPY = 256 * 1024,
    LIST_MAX = 256 << 20,
    ENTRIES_MAX = 1000000,
    DEPTH_MAX = 256,
    NAME_FIELD = 100,
};
#define USTAR_SIZE_MAX (INT64_C(1) << 33)
#define TOP "data" /* the receiver gives it its name */

typedef vec(char *) path_list; /* relative to the root */

struct pack {
    int fd;
    const char *root;
    path_list paths;
    char *copy;
};

void
packed_done(struct packed *p)
{
    cleanup_close_ptr(&p->fd);
    p->fd = -1;
}

int
packed_new(struct packed *p, struct error *e)
{
    autofree char *name = NULL;

    if (fs_temp("drover-pack", &name, &p->fd, e) < 0)
        return -(int)e->code;
    unlink(name);
    return 0;
}

int
packed_seal(struct packed *p, struct error *e)
{
    crypto_hash_sha256_state state;
    unsigned char digest[crypto_hash_sha256_BYTES];
    autofree unsigned char *block = xmalloc(COPY);
    off_t at = 0;
    ssize_t n;

    crypto_hash_sha256_init(&state);
    while ((n = pread(p->fd, block, COPY, at)) > 0) {
        crypto_hash_sha256_update(&state, block, (unsigned long long)n);
        at += n;
    }
    if (n < 0)
        return error_errno(e, errno, "read the archive");
    crypto_hash_sha256_final(&state, digest);
    memcpy(p->blob, "sha256:", 7);
    sodium_bin2hex(p->blob + 7, sizeof(p->blob) - 7, digest, sizeof(digest));
    p->size = (uint64_t)at;
    return 0;
}

/* --- writing -------------------------------------------------------------------------
 */

static int
put(struct pack *k, const void *bytes, size_t n, struct error *e)
{
    return fs_write_all(k->fd, bytes, n, e);
}

static int
put_padding(struct pack *k, int64_t size, struct error *e)
{
    static const char zeros[BLOCK];

    return put(k, zeros, (size_t)((BLOCK - size % BLOCK) % BLOCK), e);
}

static int
put_header(struct pack *k, const char *name, char type, mode_t mode, int64_t size,
           const char *link, struct error *e)
{
    char h[BLOCK + 1] = {0};
    unsigned sum = 0;

    snprintf(h, NAME_FIELD + 1, "%s", name);
    snprintf(h + 100, 9, "%07o", (unsigned)mode);
    snprintf(h + 108, 9, "%07o", 0U);
    snprintf(h + 116, 9, "%07o", 0U);
    snprintf(h + 124, 13, "%011" PRIo64, (uint64_t)(size < USTAR_SIZE_MAX ? size : 0));
    snprintf(h + 136, 13, "%011o", 0U);
    memset(h + 148, ' ', 8);
    h[156] = type;
    snprintf(h + 157, NAME_FIELD + 1, "%s", link != NULL ? link : "");
    memcpy(h + 257, "ustar", 6);
    memcpy(h + 263, (const char[]){'0', '0'}, 2);
    for (size_t i = 0; i < BLOCK; i++)
        sum += (unsigned char)h[i];
    snprintf(h + 148, 8, "%06o", sum);
    h[155] = ' ';
    return put(k, h, BLOCK, e);
}

static void
add_record(struct str *out, const char *key, const char *value)
{
    size_t body = strlen(key) + strlen(value) + 3; /* space, =, newline */
    size_t total = body + 1;
    char digits[24];

    /* The length counts its own digits. */
    for (;;) {
        size_t n = (size_t)snprintf(digits, sizeof(digits), "%zu", total);
        if (body + n == total)
            break;
        total = body + n;
    }
    str_addf(out, "%s %s=%s\n", digits, key, value);
}

static int
put_entry(struct pack *k, const char *name, char type, mode_t mode, int64_t size,
          const char *link, struct error *e)
{
    auto_str pax = STR_INIT(65536);
    char number[32];
    int rc = 0;

    if (strlen(name) > NAME_FIELD)
        add_record(&pax, "path", name);
    if (link != NULL && strlen(link) > NAME_FIELD)
        add_record(&pax, "linkpath", link);
    snprintf(number, sizeof(number), "%" PRId64, size);
    if (size >= USTAR_SIZE_MAX)
        add_record(&pax, "size", number);
    if (pax.len > 0) {
        rc = put_header(k, "pax", 'x', 0644, (int64_t)pax.len, NULL, e);
        if (rc == 0)
            rc = put(k, pax.ptr, pax.len, e);
        if (rc == 0)
            rc = put_padding(k, (int64_t)pax.len, e);
    }
    return rc < 0 ? rc : put_header(k, name, type, mode, size, link, e);
}

static int
put_file(struct pack *k, int fd, const char *name, const struct stat *st, struct error *e)
{
    int64_t left = st->st_size;
    mode_t mode = (st->st_mode & 0111) != 0 ? 0755 : 0644;
    int rc = put_entry(k, name, '0', mode, left, NULL, e);

    while (rc == 0 && left > 0) {
        size_t want = left < COPY ? (size_t)left : COPY;
        ssize_t n = read(fd, k->copy, want);
        if (n < 0 && errno == EINTR)
            continue;
        if (n <= 0)
            return error_set(e, ERR_IO, "%s changed while it was read", name);
        rc = put(k, k->copy, (size_t)n, e);
        left -= n;
    }
    return rc < 0 ? rc : put_padding(k, st->st_size, e);
}

static int
put_path(struct pack *k, const char *relative, struct error *e)
{
    bool top = *relative == '\0';
    autofree char *full = top ? xstrdup(k->root) : fs_join(k->root, relative);
    autofree char *name = top ? xstrdup(TOP) : xasprintf(TOP "/%s", relative);
    char link[PATH_MAX];
    struct stat st;

    if (lstat(full, &st) < 0)
        return errno == ENOENT && !top ? 0 /* deleted, but git still lists it */
                                       : error_errno(e, errno, "%s", full);
    if (S_ISLNK(st.st_mode) && !top) {
        ssize_t n = readlink(full, link, sizeof(link) - 1);
        if (n < 0)
            return error_errno(e, errno, "%s", full);
        link[n] = '\0';
        return put_entry(k, name, '2', 0777, 0, link, e);
    }
    if (top && S_ISLNK(st.st_mode) && stat(full, &st) < 0)
        return error_errno(e, errno, "%s", full);
    if (S_ISDIR(st.st_mode)) {
        autofree char *slash = xasprintf("%s/", name);
        return put_entry(k, slash, '5', 0755, 0, NULL, e);
    }
    if (!S_ISREG(st.st_mode))
        return error_set(e, ERR_INVALID, "%s is no file, directory or link", full);
    autoclose int fd = open(full, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &st) < 0)
        return error_errno(e, errno, "%s", full);
    return put_file(k, fd, name, &st, e);
}

/* --- what to take --------------------------------------------------------------------
 */

static int
add_path(struct pack *k, char *path, struct error *e)
{
    if (k->paths.len == ENTRIES_MAX) {
        free(path);
        return error_set(e, ERR_INVALID, "%s has over %d entries", k->root, ENTRIES_MAX);
    }
    vec_push(&k->paths, path);
    return 0;
}

static int
walk(struct pack *k, const char *relative, int depth, struct error *e)
{
    autofree char *full =
        *relative == '\0' ? xstrdup(k->root) : fs_join(k->root, relative);
    DIR *d = opendir(full);
    const struct dirent *de;
    struct stat st;
    int rc = 0;

    if (d == NULL || depth > DEPTH_MAX) {
        if (d != NULL)
            closedir(d);
        return error_errno(e, d == NULL ? errno : ELOOP, "%s", full);
    }
    while (rc == 0 && (de = readdir(d)) != NULL) {
        if (streq(de->d_name, ".") || streq(de->d_name, ".."))
            continue;
        char *path =
            *relative == '\0' ? xstrdup(de->d_name) : fs_join(relative, de->d_name);
        rc = add_path(k, path, e);
        if (rc == 0 && fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) == 0 &&
            S_ISDIR(st.st_mode))
            rc = walk(k, path, depth + 1, e);
    }
    closedir(d);
    return rc;
}

static bool
exists(const char *dir, const char *name)
{
    autofree char *path = fs_join(dir, name);

    return access(path, F_OK) == 0;
}

/* git's answer, NUL-separated. A directory in it is a repository of its own: taken
 * whole. */
static int
take_list(struct pack *k, const struct str *list, struct error *e)
{
    struct stat st;
    int rc = 0;

    for (const char *p = list->ptr; rc == 0 && p < list->ptr + list->len;
         p += strlen(p) + 1) {
        char *path = xstrdup(p);
        size_t n = strlen(path);
        if (n > 0 && path[n - 1] == '/')
            path[n - 1] = '\0';
        rc = add_path(k, path, e);
        autofree char *full = fs_join(k->root, path);
        if (rc == 0 && lstat(full, &st) == 0 && S_ISDIR(st.st_mode))
            rc = walk(k, path, 1, e);
    }
    return rc;
}

static void
drop_list(struct pack *k, const struct str *list)
{
    auto_map *gone = map_new(NULL);
    static char present;
    size_t kept = 0;

    for (const char *p = list->ptr; p < list->ptr + list->len; p += strlen(p) + 1)
        map_put(gone, p, &present);
    vec_foreach (path, &k->paths) {
        if (map_get(gone, *path) != NULL)
            free(*path);
        else
            k->paths.items[kept++] = *path;
    }
    k->paths.len = kept;
}

/* In a checkout git knows what belongs to it. */
static int
list_by_git(struct pack *k, struct error *e)
{
    static const char *const own[] = {".dstackignore", ".droverignore"};
    static const char *const all[] = {"ls-files",           "-z", "--cached", "--others",
                                      "--exclude-standard", "--", ".",        NULL};
    auto_str list = STR_INIT(LIST_MAX);
    int rc = checkout_git(k->root, NULL, all, &list, e);

    if (rc == 0)
        rc = take_list(k, &list, e);
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(own); i++) {
        autofree char *from = xasprintf("--exclude-from=%s", own[i]);
        const char *const ignored[] = {
            "ls-files", "-z", "--cached", "--others", "--ignored", from, "--", ".", NULL};
        if (!exists(k->root, own[i]))
            continue;
        str_reset(&list);
        rc = checkout_git(k->root, NULL, ignored, &list, e);
        if (rc == 0)
            drop_list(k, &list);
    }
    return rc;
}

static int
by_name(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
list_paths(struct pack *k, struct error *e)
{
    static const char *const inside[] = {"rev-parse", "--is-inside-work-tree", NULL};
    auto_str answer = STR_INIT(4096);
    struct error ignored = ERROR_INIT;
    struct stat st;
    int rc;

    if (stat(k->root, &st) < 0)
        return error_errno(e, errno, "%s", k->root);
    if (!S_ISDIR(st.st_mode))
        return 0;
    bool checkout = checkout_git(k->root, NULL, inside, &answer, &ignored) == 0 &&
                    streq(answer.ptr, "true");
    if (!checkout &&
        (exists(k->root, ".dstackignore") || exists(k->root, ".droverignore")))
        return error_set(e, ERR_INVALID,
                         "%s has an ignore file, which needs git and a git checkout",
                         k->root);
    rc = checkout ? list_by_git(k, e) : walk(k, "", 0, e);
    if (k->paths.len > 0)
        qsort(k->paths.items, k->paths.len, sizeof(char *), by_name);
    return rc;
}

static int
write_all(struct pack *k, struct error *e)
{
    static const char zeros[2 * BLOCK];
    int rc = put_path(k, "", e);
    const char *before = "";

    vec_foreach (p, &k->paths) {
        if (rc == 0 && !streq(*p, before)) /* an unmerged path is listed thrice */
            rc = put_path(k, *p, e);
        before = *p;
    }
    return rc < 0 ? rc : put(k, zeros, sizeof(zeros), e);
}

int
pack_path(const char *path, struct packed *ret, struct error *e)
{
    struct pack k = {.root = path};
    struct packed p = {.fd = -1};
    int rc = list_paths(&k, e);

    k.copy = xmalloc(COPY);
    if (rc == 0)
        rc = packed_new(&p, e);
    k.fd = p.fd;
    if (rc == 0)
        rc = write_all(&k, e);
    if (rc == 0)
        rc = packed_seal(&p, e);
    vec_foreach (x, &k.paths)
        free(*x);
    vec_done(&k.paths);
    free(k.copy);
    if (rc < 0)
        packed_done(&p);
    else
        *ret = p;
    return rc;
}
