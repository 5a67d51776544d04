/* SPDX-License-Identifier: Apache-2.0 */
/* The model of the platter: contents by inode, names by directory. */
#include "sim/platter.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/vec.h"

enum { SECTOR = 512, FILE_MAX_BYTES = 64 << 20 };

/* A change of a file that was not synced. */
struct change {
    uint64_t off;
    struct str bytes;
    bool truncate; /* to off */
};
struct content {
    uint64_t inode; /* 0: the file is gone and its number may be used again */
    struct str durable;
    vec(struct change) pending;
};
/* A change of a directory that was not synced. */
struct rename {
    char *from, *to; /* from NULL: made; to NULL: removed */
    struct content *content;
};
struct name {
    char *name;
    struct content *content;
};
struct directory {
    char *path;
    vec(struct name) durable;
    vec(struct rename) pending;
};

struct platter {
    uint32_t (*random)(void *arg, uint32_t n);
    void *arg;
    vec(struct content *) contents;
    vec(struct directory *) dirs;
    unsigned fail_in, full;
    bool dead;
    uint64_t changes;
};

/* --- finding --- */

static struct content *
content_of(struct platter *p, uint64_t inode)
{
    vec_foreach (c, &p->contents) {
        if ((*c)->inode == inode)
            return *c;
    }
    return NULL;
}

static struct content *
new_content(struct platter *p, uint64_t inode)
{
    struct content *old = content_of(p, inode);

    if (old != NULL)
        old->inode = 0;
    struct content *c = xnew(struct content);
    c->inode = inode;
    str_init(&c->durable, FILE_MAX_BYTES);
    vec_push(&p->contents, c);
    return c;
}

static uint64_t
inode_of_fd(int fd)
{
    struct stat st;

    bug_if(fstat(fd, &st) != 0);
    return (uint64_t)st.st_ino;
}

static struct directory *
dir_of(struct platter *p, const char *path, const char **ret_name)
{
    const char *slash = strrchr(path, '/');

    *ret_name = slash + 1;
    vec_foreach (d, &p->dirs) {
        if (strlen((*d)->path) == (size_t)(slash - path) &&
            strncmp((*d)->path, path, (size_t)(slash - path)) == 0)
            return *d;
    }
    return NULL;
}

static struct name *
find_name(struct directory *d, const char *name)
{
    vec_foreach (n, &d->durable) {
        if (streq(n->name, name))
            return n;
    }
    return NULL;
}

/* --- changes --- */

/* False: the power is off. */
static bool
change_happens(struct platter *p)
{
    errno = EIO;
    if (p->dead)
        return false;
    p->changes++;
    if (p->fail_in > 0 && --p->fail_in == 0) {
        p->dead = true;
        return false;
    }
    return true;
}

static bool
is_full(struct platter *p)
{
    if (p->full == 0)
        return false;
    p->full--;
    errno = ENOSPC;
    return true;
}

static void
note_rename(struct platter *p, const char *from, const char *to, struct content *c)
{
    const char *a = NULL;
    const char *b = NULL;
    struct directory *d = dir_of(p, from == NULL ? to : from, from == NULL ? &b : &a);

    bug_if(d == NULL);
    if (to != NULL)
        bug_if(dir_of(p, to, &b) != d);
    struct rename r = {a == NULL ? NULL : xstrdup(a), b == NULL ? NULL : xstrdup(b), c};
    vec_push(&d->pending, r);
}

static int
p_open(void *arg, const char *path, int flags, mode_t mode)
{
    struct platter *p = arg;
    struct stat st;
    bool makes = (flags & O_CREAT) != 0;

    if (makes ? !change_happens(p) : p->dead) {
        errno = EIO;
        return -1;
    }
    bool there = stat(path, &st) == 0;
    int fd = open(path, flags | O_CLOEXEC, mode);
    if (fd < 0)
        return fd;
    if (makes && !there)
        note_rename(p, NULL, path, new_content(p, inode_of_fd(fd)));
    if (makes && there) {
        struct change cut = {.truncate = true};
        vec_push(&content_of(p, inode_of_fd(fd))->pending, cut);
    }
    return fd;
}

static ssize_t
p_pread(void *arg, int fd, void *buf, size_t n, off_t off)
{
    const struct platter *p = arg;

    errno = EIO;
    return p->dead ? -1 : pread(fd, buf, n, off);
}

static ssize_t
p_write(void *arg, int fd, const void *buf, size_t n)
{
    struct platter *p = arg;
    off_t off = lseek(fd, 0, SEEK_CUR);

    if (is_full(p))
        return -1;
    bool alive = !p->dead;
    bool whole = change_happens(p);
    if (!alive)
        return -1;
    /* The write that the power fails in may have got anywhere. */
    struct change c = {.off = (uint64_t)off, .bytes = STR_INIT(FILE_MAX_BYTES)};
    str_add(&c.bytes, buf, n);
    vec_push(&content_of(p, inode_of_fd(fd))->pending, c);
    return whole ? write(fd, buf, n) : -1;
}

static int
p_truncate(void *arg, int fd, off_t len)
{
    struct platter *p = arg;

    if (!change_happens(p))
        return -1;
    struct change c = {.off = (uint64_t)len, .truncate = true};
    vec_push(&content_of(p, inode_of_fd(fd))->pending, c);
    return ftruncate(fd, len);
}

static int
p_allocate(void *arg, int fd, off_t off, off_t len)
{
    UNUSED(fd);
    UNUSED(off);
    UNUSED(len);
    if (is_full(arg))
        return -1;
    errno = EOPNOTSUPP;
    return -1;
}

static int
p_rename(void *arg, const char *from, const char *to)
{
    struct platter *p = arg;
    struct stat st;

    if (!change_happens(p))
        return -1;
    int rc = stat(from, &st);
    if (rc == 0)
        rc = rename(from, to);
    if (rc == 0)
        note_rename(p, from, to, content_of(p, (uint64_t)st.st_ino));
    return rc;
}

static int
p_unlink(void *arg, const char *path)
{
    struct platter *p = arg;

    if (!change_happens(p))
        return -1;
    int rc = unlink(path);
    if (rc == 0)
        note_rename(p, path, NULL, NULL);
    return rc;
}

/* --- reaching the platter --- */

static void
grow_to(struct str *s, uint64_t len)
{
    while (s->len < len)
        str_addc(s, '\0');
}

static void
apply(struct str *to, const struct change *c)
{
    if (c->truncate) {
        if (c->off < to->len)
            str_truncate(to, c->off);
        grow_to(to, c->off);
        return;
    }
    grow_to(to, c->off + c->bytes.len);
    memcpy(to->ptr + c->off, c->bytes.ptr, c->bytes.len);
}

/* Any of its sectors. */
static void
apply_part(struct platter *p, struct str *to, const struct change *c)
{
    if (c->truncate) {
        if (p->random(p->arg, 2) == 0)
            apply(to, c);
        return;
    }
    for (uint64_t at = 0; at < c->bytes.len;) {
        uint64_t end = (c->off + at) / SECTOR * SECTOR + SECTOR - c->off;
        if (end > c->bytes.len)
            end = c->bytes.len;
        if (p->random(p->arg, 2) == 0) {
            grow_to(to, c->off + end);
            memcpy(to->ptr + c->off + at, c->bytes.ptr + at, end - at);
        }
        at = end;
    }
}

static void
clear_changes(struct content *c)
{
    vec_foreach (x, &c->pending)
        str_done(&x->bytes);
    c->pending.len = 0;
}

static void
apply_rename(struct directory *d, const struct rename *r)
{
    struct name *n = r->from == NULL ? NULL : find_name(d, r->from);

    if (n != NULL) {
        free(n->name);
        *n = d->durable.items[--d->durable.len];
    }
    if (r->to == NULL)
        return;
    n = find_name(d, r->to);
    if (n == NULL)
        vec_push(&d->durable, ((struct name){xstrdup(r->to), r->content}));
    else
        n->content = r->content;
}

static void
clear_renames(struct directory *d)
{
    vec_foreach (r, &d->pending) {
        free(r->from);
        free(r->to);
    }
    d->pending.len = 0;
}

static int
p_sync(void *arg, int fd)
{
    struct platter *p = arg;
    char link[64];
    char path[4096];

    if (!change_happens(p))
        return -1;
    snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
    ssize_t n = readlink(link, path, sizeof(path) - 1);
    bug_if(n < 0);
    path[n] = '\0';
    vec_foreach (d, &p->dirs) {
        if (!streq((*d)->path, path))
            continue;
        vec_foreach (r, &(*d)->pending)
            apply_rename(*d, r);
        clear_renames(*d);
        return 0;
    }
    struct content *c = content_of(p, inode_of_fd(fd));
    if (c == NULL)
        return 0; /* a directory that is there from the beginning */
    vec_foreach (x, &c->pending)
        apply(&c->durable, x);
    clear_changes(c);
    return 0;
}

/* --- power --- */

void
platter_fail_in(struct platter *p, unsigned n)
{
    p->fail_in = n;
}

void
platter_fill(struct platter *p, unsigned n)
{
    p->full = n;
}

bool
platter_dead(const struct platter *p)
{
    return p->dead;
}

uint64_t
platter_changes(const struct platter *p)
{
    return p->changes;
}

static void
remove_files(const char *path)
{
    DIR *d = opendir(path);
    const struct dirent *de;

    bug_if(d == NULL);
    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        struct stat st;
        if (fstatat(dirfd(d), de->d_name, &st, 0) == 0 && S_ISREG(st.st_mode) &&
            !streq(de->d_name, "lock"))
            unlinkat(dirfd(d), de->d_name, 0);
    }
    closedir(d);
}

static void
write_back(const struct directory *d, struct name *n, struct content *fresh)
{
    const struct content *c = n->content;
    autofree char *path = fs_join(d->path, n->name);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    struct error e = ERROR_INIT;

    bug_if(fd < 0 || fs_write_all(fd, c->durable.ptr, c->durable.len, &e) < 0);
    fresh->inode = inode_of_fd(fd);
    n->content = fresh;
    str_init(&fresh->durable, FILE_MAX_BYTES);
    str_add(&fresh->durable, c->durable.ptr, c->durable.len);
}

static void
content_free(struct content *c)
{
    clear_changes(c);
    vec_done(&c->pending);
    str_done(&c->durable);
    free(c);
}

void
platter_restart(struct platter *p)
{
    __typeof__(p->contents) fresh = {0};

    vec_foreach (c, &p->contents) {
        vec_foreach (x, &(*c)->pending)
            apply_part(p, &(*c)->durable, x);
        clear_changes(*c);
    }
    vec_foreach (d, &p->dirs) {
        size_t keep = p->random(p->arg, (uint32_t)(*d)->pending.len + 1);
        for (size_t i = 0; i < keep; i++)
            apply_rename(*d, &(*d)->pending.items[i]);
        clear_renames(*d);
        remove_files((*d)->path);
    }
    vec_foreach (d, &p->dirs) {
        vec_foreach (n, &(*d)->durable) {
            struct content *c = xnew(struct content);
            write_back(*d, n, c);
            vec_push(&fresh, c);
        }
    }
    vec_foreach (c, &p->contents)
        content_free(*c);
    vec_done(&p->contents);
    memcpy(&p->contents, &fresh, sizeof(fresh));
    p->dead = false;
    p->fail_in = p->full = 0;
}

/* --- making --- */

struct platter *
platter_new(uint32_t (*random)(void *arg, uint32_t n), void *arg)
{
    struct platter *p = xnew(struct platter);

    p->random = random;
    p->arg = arg;
    return p;
}

void
platter_add_dir(struct platter *p, const char *path)
{
    struct directory *d = xnew(struct directory);

    d->path = xstrdup(path);
    vec_push(&p->dirs, d);
}

void
platter_free(struct platter *p)
{
    vec_foreach (c, &p->contents)
        content_free(*c);
    vec_done(&p->contents);
    vec_foreach (d, &p->dirs) {
        clear_renames(*d);
        vec_done(&(*d)->pending);
        vec_foreach (n, &(*d)->durable)
            free(n->name);
        vec_done(&(*d)->durable);
        free((*d)->path);
        free(*d);
    }
    vec_done(&p->dirs);
    free(p);
}

struct store_fs_ops
platter_ops(struct platter *p)
{
    return (struct store_fs_ops){.open = p_open,
                                 .pread = p_pread,
                                 .write = p_write,
                                 .fdatasync = p_sync,
                                 .fallocate = p_allocate,
                                 .ftruncate = p_truncate,
                                 .rename = p_rename,
                                 .unlink = p_unlink,
                                 .arg = p};
}
