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
#include "runner/place/untar.h"

enum {
    BLOCK = 512,
    COPY = 128 * 1024,
    NAME_MAX_LEN = 4096,
    PAX_MAX = 64 * 1024,
    ENTRIES_MAX = 2000000,
    LINKS_MAX = 200000,
    ID_MAX = 65535, /* of a job's range; nobody is 65534 in it */
    ENTRY_COST = 4096,
    AFTER_END_MAX = 1 << 20,
};

struct link_entry {
    char *name, *target;
    bool hard, made;
    struct place_owner owner; /* of a symbolic link, and its time */
    int64_t mtime;
};

/* What a pax header says in place of the next entry's own. */
struct pax {
    int64_t size, uid, gid, mtime; /* -1: nothing */
};
#define PAX_NONE ((struct pax){-1, -1, -1, -1})

struct entry {
    const char *below; /* its path below the top */
    int64_t size, mtime;
    mode_t mode;
    struct place_owner owner;
};

struct tar {
    struct source src;
    const struct untar_root *root; /* NULL: files of a job */
    int dir;
    const char *top;
    const struct place_owner *owner;
    char *copy;
    struct str name, link; /* from 'L', 'K' or pax; empty: from the header */
    struct pax pax;
    char first[256]; /* the top entry's name */
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
    return source_read(&t->src, buf, n, ret, e);
}

/* "65534" and the like; what is none is nothing. */
static int64_t
decimal(const char *text, size_t n)
{
    char digits[24];

    if (n == 0 || n >= sizeof(digits) || *text < '0' || *text > '9')
        return -1;
    memcpy(digits, text, n);
    digits[n] = '\0';
    return strtoll(digits, NULL, 10); /* of a time the whole seconds */
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

static int
take_record(struct tar *t, struct span key, const char *value, size_t n, struct error *e)
{
    const struct {
        const char *key;
        int64_t *to;
    } numbers[] = {{"size", &t->pax.size},
                   {"uid", &t->pax.uid},
                   {"gid", &t->pax.gid},
                   {"mtime", &t->pax.mtime}};

    if (span_eq(key, "path") || span_eq(key, "linkpath")) {
        struct str *to = key.len == 4 ? &t->name : &t->link;
        str_reset(to);
        str_add(to, value, n);
    }
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++) {
        if (span_eq(key, numbers[i].key))
            *numbers[i].to = decimal(value, n);
    }
    if (key.len > 11 && memcmp(key.ptr, "GNU.sparse.", 11) == 0)
        return error_set(e, ERR_INVALID, "the archive has sparse files: make it without");
    return 0;
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
        if (take_record(t, k, eq + 1, (size_t)(stop - eq - 1), e) < 0)
            return -(int)e->code;
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
        name += 2 + strspn(name + 2, "/");
    if (t->root != NULL && (name[0] == '\0' || streq(name, "."))) {
        *ret = "";
        return 0;
    }
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
    if (t->root != NULL) {
        *ret = name;
        return 0;
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

static char *
full_path(const struct tar *t, const char *below)
{
    if (t->root != NULL)
        return xstrdup(below);
    return *below == '\0' ? xstrdup(t->top) : xasprintf("%s/%s", t->top, below);
}

/* The directory that holds it, and its own name. */
static int
parent_of(struct tar *t, const char *below, int *ret_fd, char name[256], struct error *e)
{
    autofree char *path = full_path(t, below);
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

static mode_t
mode_kept(const struct tar *t, mode_t mode, bool dir)
{
    if (t->root == NULL)
        return dir ? (mode & 0777) | 0700 /* ours to fill, whatever it says */
                   : mode & 0777;
    return dir ? mode & 03777 : mode & 01777;
}

/* Owner, mode and, where they count, times. */
static int
finish(const struct tar *t, int fd, const struct entry *en, bool dir, struct error *e)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = en->mtime}};

    if (fchown(fd, en->owner.uid, en->owner.gid) < 0 ||
        fchmod(fd, mode_kept(t, en->mode, dir)) < 0 ||
        (t->root != NULL && futimens(fd, times) < 0))
        return error_errno(e, errno, "hand over \"%.200s\"", en->below);
    return 0;
}

static int
make_file(struct tar *t, const struct entry *en, struct error *e)
{
    autoclose int dir = -1;
    char name[256];
    size_t got = 0;

    if (parent_of(t, en->below, &dir, name, e) < 0)
        return -(int)e->code;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT) /* a later entry of that name */
        return error_errno(e, errno, "write \"%.200s\"", name);
    autoclose int fd =
        openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "write \"%.200s\"", name);
    for (int64_t left = en->size; left > 0; left -= (int64_t)got) {
        size_t want = left < COPY ? (size_t)left : COPY;
        if (read_full(t, t->copy, want, &got, e) < 0)
            return -(int)e->code;
        if (got < want)
            return error_set(e, ERR_INVALID, "the archive is cut short");
        if (fs_write_all(fd, t->copy, got, e) < 0)
            return error_prepend(e, "write \"%.200s\"", name);
    }
    int rc = finish(t, fd, en, false, e);
    return rc < 0 ? rc : skip(t, padding(en->size), e);
}

static int
make_directory(struct tar *t, const struct entry *en, struct error *e)
{
    autofree char *path = full_path(t, en->below);
    autoclose int fd = -1;

    if (tree_open(t->dir, path, t->owner, &fd, e) < 0)
        return -(int)e->code;
    if (t->root != NULL)
        return finish(t, fd, en, true, e);
    if (fchmod(fd, mode_kept(t, en->mode, true)) < 0)
        return error_errno(e, errno, "make directory \"%.200s\"", path);
    return 0;
}

static int
keep_link(struct tar *t, const struct entry *en, const char *target, bool hard,
          struct error *e)
{
    struct link_entry l = {.hard = hard, .owner = en->owner, .mtime = en->mtime};
    const char *inside = target;

    if (t->links.len >= LINKS_MAX)
        return error_set(e, ERR_INVALID, "the archive has over %d links", LINKS_MAX);
    if (hard && path_below(t, target, &inside, e) < 0)
        return -(int)e->code;
    l.name = xstrdup(en->below);
    l.target = xstrdup(inside);
    vec_push(&t->links, l);
    return 0;
}

static int
make_symlink(const struct tar *t, const struct link_entry *l, int dir, const char *name,
             struct error *e)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = l->mtime}};

    if (symlinkat(l->target, dir, name) < 0 ||
        fchownat(dir, name, l->owner.uid, l->owner.gid, AT_SYMLINK_NOFOLLOW) < 0 ||
        (t->root != NULL && utimensat(dir, name, times, AT_SYMLINK_NOFOLLOW) < 0))
        return error_errno(e, errno, "make link \"%.200s\"", name);
    return 0;
}

/* wait: a hard link whose target is not there stays for later. */
static int
make_link(struct tar *t, struct link_entry *l, bool wait, struct error *e)
{
    autoclose int dir = -1;
    autoclose int from = -1;
    char name[256];
    char source[256];
    struct stat st;

    if (parent_of(t, l->name, &dir, name, e) < 0)
        return -(int)e->code;
    if (l->hard && parent_of(t, l->target, &from, source, e) < 0)
        return -(int)e->code;
    if (wait && fstatat(from, source, &st, AT_SYMLINK_NOFOLLOW) < 0 && errno == ENOENT)
        return 0;
    l->made = true;
    if (unlinkat(dir, name, 0) < 0 && errno != ENOENT)
        return error_errno(e, errno, "write \"%.200s\"", name);
    if (!l->hard)
        return make_symlink(t, l, dir, name, e);
    if (linkat(from, source, dir, name, 0) < 0)
        return error_errno(e, errno, "make link \"%.200s\"", name);
    return 0;
}

/* Hard links first: while they are made there is no other kind to go through. Those to a
 * symbolic link come after that; no step of a path ever follows one. */
static int
make_links(struct tar *t, struct error *e)
{
    static const struct {
        bool hard, wait;
    } rounds[] = {{true, true}, {false, false}, {true, false}};
    int rc = 0;

    for (size_t i = 0; i < ARRAY_LEN(rounds); i++) {
        vec_foreach (l, &t->links) {
            if (rc == 0 && !l->made && l->hard == rounds[i].hard)
                rc = make_link(t, l, rounds[i].wait, e);
        }
    }
    return rc;
}

static id_t
id_of(int64_t pax, const char *text, size_t n)
{
    int64_t id = pax >= 0 ? pax : number(text, n);

    return id < 0 || id > ID_MAX ? 65534 : (id_t)id;
}

/* What the header and the pax header before it say of an entry; its names come in name
 * and link. */
static int
read_entry(struct tar *t, const struct header *h, struct str *name, struct str *link,
           struct entry *en, struct error *e)
{
    int64_t mode = number(h->mode, sizeof(h->mode));
    int64_t mtime = number(h->mtime, sizeof(h->mtime));

    en->size = t->pax.size >= 0 ? t->pax.size : number(h->size, sizeof(h->size));
    en->mtime = t->pax.mtime >= 0 ? t->pax.mtime : mtime < 0 ? 0 : mtime;
    en->mode = (mode_t)mode;
    en->owner = *t->owner;
    if (t->root != NULL)
        en->owner = (struct place_owner){id_of(t->pax.uid, h->uid, sizeof(h->uid)),
                                         id_of(t->pax.gid, h->gid, sizeof(h->gid))};
    t->pax = PAX_NONE;
    if (t->name.len > 0) {
        str_add(name, t->name.ptr, t->name.len);
    } else {
        if (memcmp(h->magic, "ustar\0", 6) == 0 && h->prefix[0] != '\0') {
            field(name, h->prefix, sizeof(h->prefix));
            str_addc(name, '/');
        }
        field(name, h->name, sizeof(h->name));
    }
    if (t->link.len > 0)
        str_add(link, t->link.ptr, t->link.len);
    else
        field(link, h->linkname, sizeof(h->linkname));
    str_reset(&t->name);
    str_reset(&t->link);
    if (en->size < 0 || mode < 0 || name->toobig || link->toobig ||
        strlen(name->ptr) != name->len || strlen(link->ptr) != link->len)
        return error_set(e, ERR_INVALID, "the archive has a malformed header");
    return path_below(t, name->ptr, &en->below, e);
}

/* A root brings devices, of no use below the job's own /dev. */
static bool
passed_over(const struct tar *t, char type)
{
    return t->root != NULL && (type == '3' || type == '4' || type == '6');
}

/* One entry with its content. */
static int
take_entry(struct tar *t, const struct header *h, struct error *e)
{
    auto_str name = STR_INIT(NAME_MAX_LEN + 256);
    auto_str link = STR_INIT(NAME_MAX_LEN);
    struct entry en = {.below = ""};
    bool file = h->type == '0' || h->type == '\0' || h->type == '7';
    int rc = read_entry(t, h, &name, &link, &en, e);

    if (rc == 0 && t->root != NULL && t->root->room != NULL)
        rc = t->root->room(t->root->arg, ENTRY_COST + en.size, e);
    if (rc < 0)
        return rc;
    bool dir = h->type == '5' || (file && h->type != '7' && str_ends(name.ptr, "/"));
    if (file && !dir)
        return make_file(t, &en, e);
    if (dir)
        rc = make_directory(t, &en, e);
    else if (h->type == '1' || h->type == '2')
        rc = keep_link(t, &en, link.ptr, h->type == '1', e);
    else if (!passed_over(t, h->type))
        rc = error_set(e, ERR_INVALID,
                       "\"%.200s\" in the archive is no file, directory or link",
                       name.ptr);
    return rc < 0 ? rc : skip(t, en.size + padding(en.size), e);
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

/* Padding only, to the end: so gzip has its say about the sum of all. */
static int
take_rest(struct tar *t, struct error *e)
{
    size_t got = COPY;
    size_t all = 0;

    while (got > 0) {
        int rc = read_full(t, t->copy, COPY, &got, e);
        all += got;
        if (rc < 0)
            return rc;
        for (size_t i = 0; i < got; i++)
            if (t->copy[i] != 0 || all > AFTER_END_MAX)
                return error_set(e, ERR_INVALID, "the archive goes on after its end");
    }
    return 0;
}

static int
take_end(struct tar *t, bool marked, struct error *e)
{
    if (t->root != NULL && !marked)
        return error_set(e, ERR_INVALID, "the archive is cut short");
    int rc = t->root != NULL ? take_rest(t, e) : 0;
    return rc < 0 ? rc : make_links(t, e);
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
        bool marked = got == BLOCK && memcmp(&h, zeros, BLOCK) == 0;
        if (got == 0 || marked)
            return take_end(t, marked, e);
        if (got < BLOCK && n > 0)
            return error_set(e, ERR_INVALID, "the archive is cut short");
        if (got < BLOCK || !sum_is_right(&h))
            return error_set(e, ERR_INVALID, "it is no tar archive, or it is damaged");
        rc = take_header(t, &h, e);
        if (rc < 0)
            return rc;
    }
    return error_set(e, ERR_INVALID, "the archive has over %d entries", ENTRIES_MAX);
}

static int
unpack(struct tar *t, struct error *e)
{
    t->pax = PAX_NONE;
    str_init(&t->name, PAX_MAX);
    str_init(&t->link, PAX_MAX);
    t->copy = xmalloc(COPY);
    int rc = take_all(t, e);
    free(t->copy);
    str_done(&t->name);
    str_done(&t->link);
    vec_foreach (l, &t->links) {
        free(l->name);
        free(l->target);
    }
    vec_done(&t->links);
    return rc;
}

int
untar(int fd, int dir_fd, const char *top, const struct place_owner *o, struct error *e)
{
    struct tar t = {.dir = dir_fd, .top = top, .owner = o};
    int rc = tree_remove_at(dir_fd, top, e);

    source_plain(&t.src, fd);
    return rc < 0 ? rc : unpack(&t, e);
}

int
untar_root(const struct untar_root *r, struct error *e)
{
    static const struct place_owner root = {0, 0};
    struct tar t = {.root = r, .dir = r->dir_fd, .owner = &root};
    int rc = source_detect(&t.src, r->fd, e);

    if (rc == 0)
        rc = unpack(&t, e);
    source_done(&t.src);
    return rc;
}
