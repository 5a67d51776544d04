/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Unpacking tar archives that nobody vouches for. The format is POSIX.1-2001 (ustar with
 * pax extended headers) and GNU's long names ('L', 'K').
 */
#include <fcntl.h>
#include <stdint.h>
#include <sys/stat.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "runner/place/place.h"

enum {
    BLOCK = 512,
    COPY = 128 * 1024,
    NAME_MAX_LEN = 4096,
    PAX_MAX = 64 * 1024,
    ENTRIES_MAX = 2000000,
    LINKS_MAX = 200000,
};

struct link_entry {
    char *name, *target;
    bool hard;
};

struct tar {
    int fd;
    int dir;
    const char *top;
    const struct place_owner *owner;
    char *copy;
    struct str name, link; /* from 'L', 'K' or pax; empty: from the header */
    int64_t pax_size;      /* -1: none */
    char first[256];       /* the top entry's name */
    vec(struct link_entry) links;
};

struct header { /* as on disk */
    char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], sum[8], type,
        linkname[100], magic[6], version[2], uname[32], gname[32], major[8], minor[8],
        prefix[155], pad[12];
};

static int
read_full(struct tar *t, void *buf, size_t n, size_t *ret, struct error *e)
{
    size_t at = 0;

    while (at < n) {
        ssize_t r = read(t->fd, (char *)buf + at, n - at);
        if (r < 0 && errno == EINTR)
            continue;
        if (r < 0)
            return error_errno(e, errno, "read the archive");
        if (r == 0)
            break;
        at += (size_t)r;
    }
    *ret = at;
    return 0;
}

/* Octal, or base-256 with the top bit set. -1: no number. */
static int64_t
number(const char *field, size_t n)
{
    const unsigned char *p = (const unsigned char *)field;
    uint64_t v = 0;
    size_t i = 0;

    if ((p[0] & 0x80) != 0) {
        v = p[0] & 0x7f;
        for (i = 1; i < n; i++) {
            if (v >> 55 != 0)
                return -1;
            v = v << 8 | p[i];
        }
        return (int64_t)v;
    }
    while (i < n && p[i] == ' ')
        i++;
    for (; i < n && p[i] >= '0' && p[i] <= '7'; i++)
        v = v << 3 | (uint64_t)(p[i] - '0');
    return i < n && p[i] != ' ' && p[i] != '\0' ? -1 : (int64_t)v;
}

static bool
sum_is_right(const struct header *h)
{
    const unsigned char *p = (const unsigned char *)h;
    int64_t sum = 0;

    for (size_t i = 0; i < sizeof(*h); i++) {
        bool in_sum =
            i >= offsetof(struct header, sum) && i < offsetof(struct header, type);
        sum += in_sum ? ' ' : p[i];
    }
    return sum == number(h->sum, sizeof(h->sum));
}

static int
skip(struct tar *t, int64_t n, struct error *e)
{
    size_t got = 0;

    while (n > 0) {
        size_t want = n < COPY ? (size_t)n : COPY;
        int rc = read_full(t, t->copy, want, &got, e);
        if (rc < 0)
            return rc;
        if (got < want)
            return error_set(e, ERR_INVALID, "the archive is cut short");
        n -= (int64_t)got;
    }
    return 0;
}

static int64_t
padding(int64_t size)
{
    return (BLOCK - size % BLOCK) % BLOCK;
}

/* A member's whole content, NUL-terminated. */
static int
read_text(struct tar *t, int64_t size, size_t max, struct str *out, struct error *e)
{
    autofree char *buf = NULL;
    size_t got = 0;

    if (size < 0 || size > (int64_t)max)
        return error_set(e, ERR_INVALID, "the archive has a name that is too long");
    buf = xmalloc((size_t)size + 1);
    int rc = read_full(t, buf, (size_t)size, &got, e);
    if (rc == 0 && got < (size_t)size)
        rc = error_set(e, ERR_INVALID, "the archive is cut short");
    if (rc == 0)
        rc = skip(t, padding(size), e);
    str_reset(out);
    str_add(out, buf, rc == 0 ? got : 0);
    return rc;
}

/* "<len> key=value\n" records. */
static int
take_pax(struct tar *t, const struct str *text, struct error *e)
{
    const char *p = text->ptr;
    const char *end = text->ptr + text->len;

    while (p < end) {
        char *space;
        unsigned long n = strtoul(p, &space, 10);
        if (*space != ' ' || n == 0 || n > (size_t)(end - p) || p[n - 1] != '\n')
            return error_set(e, ERR_INVALID, "the archive has a malformed pax header");
        const char *key = space + 1;
        const char *stop = p + n - 1;
        const char *eq = key < stop ? memchr(key, '=', (size_t)(stop - key)) : NULL;
        if (eq == NULL)
            return error_set(e, ERR_INVALID, "the archive has a malformed pax header");
        struct span k = {key, (size_t)(eq - key)};
        size_t len = (size_t)(stop - eq - 1);
        if (span_eq(k, "path") || span_eq(k, "linkpath")) {
            struct str *to = k.len == 4 ? &t->name : &t->link;
            str_reset(to);
            str_add(to, eq + 1, len);
        } else if (span_eq(k, "size")) {
            t->pax_size = strtoll(eq + 1, NULL, 10);
        }
        p += n;
    }
    return 0;
}

static void
field(struct str *out, const char *text, size_t n)
{
    str_add(out, text, strnlen(text, n));
}

/* The entry's path in the archive, checked and without its first component. */
static int
path_below(struct tar *t, const char *name, const char **ret, struct error *e)
{
    while (str_starts(name, "./"))
        name += 2;
    if (name[0] == '/' || name[0] == '\0' || strlen(name) > NAME_MAX_LEN)
        return error_set(e, ERR_INVALID,
                         "the archive has an entry with the name "
                         "\"%.200s\"",
                         name);
    for (const char *p = name; *p != '\0';) {
        size_t n = strcspn(p, "/");
        if (n == 2 && p[0] == '.' && p[1] == '.')
            return error_set(e, ERR_INVALID,
                             "the archive has an entry that leads out: \"%.200s\"", name);
        p += n + (p[n] == '/');
    }
    size_t n = strcspn(name, "/");
    if (n >= sizeof(t->first))
        return error_set(e, ERR_INVALID, "a name in the archive is too long");
    if (t->first[0] == '\0') {
        memcpy(t->first, name, n);
        t->first[n] = '\0';
    }
    if (strlen(t->first) != n || memcmp(t->first, name, n) != 0)
        return error_set(e, ERR_INVALID,
                         "the archive has several top entries: \"%.100s\" and \"%.100s\"",
                         t->first, name);
    name += n;
    name += strspn(name, "/");
    *ret = name;
    return 0;
}

/* The directory that holds it, and its own name. */
static int
parent_of(struct tar *t, const char *below, int *ret_fd, char name[256], struct error *e)
{
    autofree char *path =
        *below == '\0' ? xstrdup(t->top) : xasprintf("%s/%s", t->top, below);
    size_t n = strlen(path);

    while (n > 0 && path[n - 1] == '/')
        path[--n] = '\0';
    char *slash = strrchr(path, '/');
    const char *last = slash == NULL ? path : slash + 1;
    if (strlen(last) > 255 || *last == '\0' || streq(last, "."))
        return error_set(e, ERR_INVALID, "a name in the archive cannot be used");
    snprintf(name, 256, "%s", last);
    if (slash != NULL)
        *slash = '\0';
    return tree_open(t->dir, slash == NULL ? "" : path, t->owner, ret_fd, e);
}

static int
make_file(struct tar *t, const char *below, mode_t mode, int64_t size, struct error *e)
{
    autoclose int dir = -1;
    char name[256];
    size_t got = 0;

    if (parent_of(t, below, &dir, name, e) < 0)
        return -(int)e->code;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT) /* a later entry of that name */
        return error_errno(e, errno, "write \"%.200s\"", name);
    autoclose int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "write \"%.200s\"", name);
    for (int64_t left = size; left > 0; left -= (int64_t)got) {
        size_t want = left < COPY ? (size_t)left : COPY;
        if (read_full(t, t->copy, want, &got, e) < 0)
            return -(int)e->code;
        if (got < want)
            return error_set(e, ERR_INVALID, "the archive is cut short");
        if (fs_write_all(fd, t->copy, got, e) < 0)
            return error_prepend(e, "write \"%.200s\"", name);
    }
    if (fchown(fd, t->owner->uid, t->owner->gid) < 0 || fchmod(fd, mode & 0777) < 0)
        return error_errno(e, errno, "hand over \"%.200s\"", name);
    return skip(t, padding(size), e);
}

static int
make_directory(struct tar *t, const char *below, mode_t mode, struct error *e)
{
    autofree char *path =
        *below == '\0' ? xstrdup(t->top) : xasprintf("%s/%s", t->top, below);
    autoclose int fd = -1;

    if (tree_open(t->dir, path, t->owner, &fd, e) < 0)
        return -(int)e->code;
    /* Ours to fill until the end, whatever its mode says. */
    if (fchmod(fd, (mode & 0777) | 0700) < 0)
        return error_errno(e, errno, "make directory \"%.200s\"", path);
    return 0;
}

static int
keep_link(struct tar *t, const char *below, const char *target, bool hard,
          struct error *e)
{
    struct link_entry l = {.hard = hard};
    const char *inside = target;

    if (t->links.len >= LINKS_MAX)
        return error_set(e, ERR_INVALID, "the archive has over %d links", LINKS_MAX);
    if (hard && path_below(t, target, &inside, e) < 0)
        return -(int)e->code;
    l.name = xstrdup(below);
    l.target = xstrdup(inside);
    vec_push(&t->links, l);
    return 0;
}

static int
make_link(struct tar *t, const struct link_entry *l, struct error *e)
{
    autoclose int dir = -1;
    autoclose int from = -1;
    char name[256];
    char source[256];

    if (parent_of(t, l->name, &dir, name, e) < 0)
        return -(int)e->code;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return error_errno(e, errno, "write \"%.200s\"", name);
    if (!l->hard) {
        if (symlinkat(l->target, dir, name) < 0 ||
            fchownat(dir, name, t->owner->uid, t->owner->gid, AT_SYMLINK_NOFOLLOW) < 0)
            return error_errno(e, errno, "make link \"%.200s\"", name);
        return 0;
    }
    if (parent_of(t, l->target, &from, source, e) < 0)
        return -(int)e->code;
    if (linkat(from, source, dir, name, 0) < 0)
        return error_errno(e, errno, "make link \"%.200s\"", name);
    return 0;
}

/* Hard links first: while they are made there is no other kind to go through. */
static int
make_links(struct tar *t, struct error *e)
{
    int rc = 0;

    for (int hard = 1; hard >= 0; hard--) {
        vec_foreach (l, &t->links) {
            if (rc == 0 && l->hard == (hard == 1))
                rc = make_link(t, l, e);
        }
    }
    return rc;
}

/* One entry with its content. */
static int
take_entry(struct tar *t, const struct header *h, struct error *e)
{
    auto_str name = STR_INIT(NAME_MAX_LEN + 256);
    auto_str link = STR_INIT(NAME_MAX_LEN);
    int64_t size = number(h->size, sizeof(h->size));
    int64_t mode = number(h->mode, sizeof(h->mode));
    const char *below = "";

    if (t->pax_size >= 0)
        size = t->pax_size;
    t->pax_size = -1;
    if (t->name.len > 0) {
        str_add(&name, t->name.ptr, t->name.len);
    } else {
        if (memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0] != '\0') {
            field(&name, h->prefix, sizeof(h->prefix));
            str_addc(&name, '/');
        }
        field(&name, h->name, sizeof(h->name));
    }
    if (t->link.len > 0)
        str_add(&link, t->link.ptr, t->link.len);
    else
        field(&link, h->linkname, sizeof(h->linkname));
    str_reset(&t->name);
    str_reset(&t->link);
    if (size < 0 || mode < 0 || name.toobig || link.toobig ||
        strlen(name.ptr) != name.len || strlen(link.ptr) != link.len)
        return error_set(e, ERR_INVALID, "the archive has a malformed header");
    if (path_below(t, name.ptr, &below, e) < 0)
        return -(int)e->code;
    bool slash = str_ends(name.ptr, "/");
    if (h->type == '5' || ((h->type == '0' || h->type == '\0') && slash)) {
        int rc = make_directory(t, below, (mode_t)mode, e);
        return rc < 0 ? rc : skip(t, size + padding(size), e);
    }
    if (h->type == '0' || h->type == '\0' || h->type == '7')
        return make_file(t, below, (mode_t)mode, size, e);
    if (h->type == '1' || h->type == '2') {
        int rc = keep_link(t, below, link.ptr, h->type == '1', e);
        return rc < 0 ? rc : skip(t, size + padding(size), e);
    }
    return error_set(e, ERR_INVALID,
                     "\"%.200s\" in the archive is no file, directory or link", name.ptr);
}

static int
take_header(struct tar *t, const struct header *h, struct error *e)
{
    auto_str text = STR_INIT(PAX_MAX);
    int64_t size = number(h->size, sizeof(h->size));
    int rc;

    switch (h->type) {
    case 'L':
    case 'K':
        rc = read_text(t, size, NAME_MAX_LEN, &text, e);
        if (rc == 0) {
            struct str *to = h->type == 'L' ? &t->name : &t->link;
            str_reset(to);
            field(to, text.ptr, text.len);
        }
        return rc;
    case 'x':
        rc = read_text(t, size, PAX_MAX, &text, e);
        return rc < 0 ? rc : take_pax(t, &text, e);
    case 'g': /* comments, such as git archive's */
        return read_text(t, size, PAX_MAX, &text, e);
    default:
        return take_entry(t, h, e);
    }
}

static int
take_all(struct tar *t, struct error *e)
{
    static const char zeros[BLOCK];
    struct header h;
    size_t got = 0;

    _Static_assert(sizeof(h) == BLOCK, "a tar header");
    for (unsigned n = 0; n < ENTRIES_MAX; n++) {
        int rc = read_full(t, &h, sizeof(h), &got, e);
        if (rc < 0)
            return rc;
        if (got == 0 || (got == BLOCK && memcmp(&h, zeros, BLOCK) == 0))
            return make_links(t, e);
        if (got < BLOCK || !sum_is_right(&h))
            return error_set(e, ERR_INVALID, "it is no tar archive, or it is damaged");
        rc = take_header(t, &h, e);
        if (rc < 0)
            return rc;
    }
    return error_set(e, ERR_INVALID, "the archive has over %d entries", ENTRIES_MAX);
}

int
untar(int fd, int dir_fd, const char *top, const struct place_owner *o, struct error *e)
{
    struct tar t = {.fd = fd,
                    .dir = dir_fd,
                    .top = top,
                    .owner = o,
                    .pax_size = -1,
                    .name = STR_INIT(PAX_MAX),
                    .link = STR_INIT(PAX_MAX)};
    int rc = tree_remove_at(dir_fd, top, e);

    if (rc < 0)
        return rc;
    t.copy = xmalloc(COPY);
    rc = take_all(&t, e);
    free(t.copy);
    str_done(&t.name);
    str_done(&t.link);
    vec_foreach (l, &t.links) {
        free(l->name);
        free(l->target);
    }
    vec_done(&t.links);
    return rc;
}
