/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the mirror's own memory back. The bytes may be anything: a fuzz target. */
#include "apiserver/mirror/state_internal.h"

#include <endian.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/fs.h"
#include "base/log.h"

LOG_MODULE(mirror);

struct cursor {
    const unsigned char *p, *end;
    bool bad;
};

static const unsigned char *
take(struct cursor *c, size_t n)
{
    const unsigned char *at = c->p;

    if (c->bad || (size_t)(c->end - c->p) < n) {
        c->bad = true;
        return NULL;
    }
    c->p += n;
    return at;
}

static uint64_t
take_int(struct cursor *c, size_t n)
{
    const unsigned char *at = take(c, n);
    uint64_t value = 0;

    for (size_t i = 0; at != NULL && i < n; i++)
        value |= (uint64_t)at[i] << (8 * i);
    return value;
}

static struct span
take_span(struct cursor *c, size_t length_bytes)
{
    size_t n = take_int(c, length_bytes);
    const unsigned char *at = take(c, n);

    return at == NULL ? (struct span){0} : (struct span){(const char *)at, n};
}

static bool
take_mark(struct cursor *c, uint64_t off, struct mirror_mark *ret)
{
    struct span uid = take_span(c, 2);
    struct mirror_mark m = {.set = true, .off = off};

    m.revision = take_int(c, 8);
    const unsigned char *hash = take(c, MIRROR_HASH);
    struct span store = take_span(c, 4);
    take_span(c, 4);
    if (c->bad || c->p != c->end || uid.len >= sizeof(m.uid))
        return false;
    if (uid.len > 0)
        memcpy(m.uid, uid.ptr, uid.len);
    memcpy(m.file.b, hash, MIRROR_HASH);
    m.store = mirror_hash_of(store.ptr, store.len);
    *ret = m;
    return true;
}

/* --- replay
 * ------------------------------------------------------------------------------ */

struct replay {
    struct mirror_state *s;
    struct map
        *touched; /* paths since the last checkpoint -> struct mirror_base (older) */
    char boot[BOOT_ID_LEN];
    bool checkpointed; /* nothing since */
};

static void
touch(struct replay *r, const char *path, const struct mirror_mark *m)
{
    struct mirror_base *b = map_get(r->touched, path);

    if (b == NULL) {
        b = xnew(struct mirror_base);
        map_put(r->touched, path, b);
    }
    if (m != NULL)
        vec_push(&b->older, m->file);
}

static void
replay_forget(struct replay *r, const char *path)
{
    struct mirror_base *b = map_get(r->s->paths, path);

    if (b == NULL)
        return;
    touch(r, path, b->now.set ? &b->now : NULL);
    r->s->n_set -= b->now.set;
    map_del(r->s->paths, path);
}

static bool
replay_version(struct replay *r, char type, const char *path, struct cursor *c,
               uint64_t off)
{
    struct mirror_mark m;
    struct mirror_base *b = map_get(r->s->paths, path);

    if (!take_mark(c, off, &m))
        return false;
    touch(r, path, b != NULL && b->now.set ? &b->now : NULL);
    touch(r, path, &m);
    b = mirror_base_make(r->s, path);
    if (type == 'W')
        b->intent = m;
    else
        mirror_base_settle_now(r->s, b, &m);
    return true;
}

static bool
replay_plain(struct replay *r, char type, const char *path)
{
    struct mirror_base *b = map_get(r->s->paths, path);

    if (type == 'F') {
        replay_forget(r, path);
        return true;
    }
    if (type == 'X') {
        mirror_base_refused(r->s, path);
        return true;
    }
    if (type == 'H' || type == 'U') {
        if (b != NULL)
            b->held = type == 'H';
        return true;
    }
    if (type != 'K' || b == NULL || !b->intent.set)
        return false;
    struct mirror_mark m = b->intent;
    mirror_base_settle_now(r->s, b, &m);
    return true;
}

static bool
replay_whole(struct replay *r, char type, struct cursor *c)
{
    struct span boot;

    if (type == 'C') {
        map_clear(r->touched);
        r->checkpointed = true;
        return true;
    }
    if (type == 'R') {
        r->s->root.known = true;
        r->s->root.dev = take_int(c, 8);
        r->s->root.ino = take_int(c, 8);
        return !c->bad;
    }
    boot = take_span(c, 2);
    if (type != 'O' || c->bad || boot.len >= BOOT_ID_LEN)
        return false;
    if (boot.len > 0)
        memcpy(r->boot, boot.ptr, boot.len);
    r->boot[boot.len] = '\0';
    return true;
}

static bool
replay_record(struct replay *r, struct cursor c, uint64_t off)
{
    char type = (char)take_int(&c, 1);
    struct span raw = take_span(&c, 2);

    if (c.bad || (raw.len > 0 && memchr(raw.ptr, '\0', raw.len) != NULL))
        return false;
    if (type == 'C' || type == 'R' || type == 'O')
        return replay_whole(r, type, &c);
    autofree char *path = xstrndup(raw.len == 0 ? "" : raw.ptr, raw.len);
    if (type != 'H' && type != 'U')
        r->checkpointed = false;
    if (type == 'W' || type == 'B')
        return replay_version(r, type, path, &c, off);
    if (type == 'A') {
        take_span(&c, 4);
        if (c.bad || c.p != c.end)
            return false;
        mirror_base_applying(r->s, path, off);
        return true;
    }
    return c.p == c.end && replay_plain(r, type, path);
}

/* Returns the length of the good part. */
static uint64_t
replay_all(struct replay *r, const unsigned char *bytes, uint64_t n)
{
    uint64_t at = strlen(STATE_MAGIC);

    while (n - at >= RECORD_HEAD) {
        struct cursor head = {bytes + at, bytes + n, false};
        uint64_t len = take_int(&head, 4);
        uint32_t crc = (uint32_t)take_int(&head, 4);
        if (len == 0 || len > RECORD_MAX || len > n - at - RECORD_HEAD ||
            crc != (uint32_t)crc32_z(0, head.p, len))
            break;
        if (!replay_record(r, (struct cursor){head.p, head.p + len, false}, at))
            break;
        at += RECORD_HEAD + len;
    }
    return at;
}

/* The machine has been started anew since: what was written lately may be lost. */
static void
mark_suspects(struct replay *r)
{
    struct map_cursor c = map_begin(r->touched);
    const char *path;
    void *value;

    if (r->boot[0] == '\0' || streq(r->boot, r->s->boot) || r->checkpointed)
        return;
    while (map_next(&c, &path, &value)) {
        struct mirror_base *from = value, *b = mirror_base_make(r->s, path);
        b->suspect = true;
        vec_done(&b->older);
        memcpy(&b->older, &from->older, sizeof(b->older));
        memset(&from->older, 0, sizeof(from->older));
    }
}

static void
read_boot_id(char out[BOOT_ID_LEN])
{
    auto_str text = STR_INIT(256);
    struct error e = ERROR_INIT;

    if (fs_read("/proc/sys/kernel/random/boot_id", &text, &e) < 0)
        log_debug("no boot id", "error=\"%s\"", e.msg);
    snprintf(out, BOOT_ID_LEN, "%.36s", text.ptr);
}

static int
load(struct mirror_state *s, struct error *e)
{
    struct stat st;
    size_t magic = strlen(STATE_MAGIC);

    if (fstat(s->fd, &st) != 0)
        return error_errno(e, errno, "%s", s->path);
    uint64_t n = (uint64_t)st.st_size;
    if (n == 0) {
        s->size = magic;
        return fs_write_all(s->fd, STATE_MAGIC, magic, e);
    }
    unsigned char *bytes = mmap(NULL, n, PROT_READ, MAP_PRIVATE, s->fd, 0);
    if (bytes == MAP_FAILED)
        return error_errno(e, errno, "map %s", s->path);
    if (n < magic || memcmp(bytes, STATE_MAGIC, magic) != 0) {
        munmap(bytes, n);
        return error_set(e, ERR_CORRUPT, "%s is not the state of a mirror", s->path);
    }
    struct replay r = {.s = s, .touched = map_new(mirror_base_free)};
    s->size = replay_all(&r, bytes, n);
    munmap(bytes, n);
    mark_suspects(&r);
    map_free(r.touched);
    if (s->size == n)
        return lseek(s->fd, 0, SEEK_END) < 0 ? error_errno(e, errno, "%s", s->path) : 0;
    log_warn("the end of the mirror's state is torn; cut", "file=%s at=%llu bytes=%llu",
             s->path, (unsigned long long)s->size, (unsigned long long)(n - s->size));
    if (ftruncate(s->fd, (off_t)s->size) != 0 || lseek(s->fd, 0, SEEK_END) < 0)
        return error_errno(e, errno, "cut %s", s->path);
    return 0;
}

int
mirror_state_open(const char *dir, struct mirror_state **ret, struct error *e)
{
    struct mirror_state *s = xnew(struct mirror_state);

    s->fd = -1;
    s->path = fs_join(dir, "state");
    s->paths = map_new(mirror_base_free);
    str_init(&s->buf, RECORD_MAX);
    read_boot_id(s->boot);
    if (fs_mkdirs(dir, 0700, e) < 0)
        goto fail;
    s->fd = open(s->path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    if (s->fd < 0) {
        error_errno(e, errno, "open %s", s->path);
        goto fail;
    }
    if (load(s, e) < 0)
        goto fail;
    s->compacted = s->size;
    s->dirty = false;
    *ret = s;
    return 0;

fail:
    mirror_state_close(s);
    return -(int)e->code;
}

void
mirror_state_close(struct mirror_state *s)
{
    if (s == NULL)
        return;
    if (s->fd >= 0)
        close(s->fd);
    map_free(s->paths);
    str_done(&s->buf);
    free(s->path);
    free(s);
}

/* The payload of the record at off. */
static int
read_record(const struct mirror_state *s, uint64_t off, unsigned char **ret,
            size_t *ret_n, struct error *e)
{
    unsigned char head[RECORD_HEAD];

    if (pread(s->fd, head, sizeof(head), (off_t)off) != RECORD_HEAD)
        return error_set(e, ERR_CORRUPT, "%s: short read", s->path);
    struct cursor h = {head, head + 4, false};
    size_t len = take_int(&h, 4);
    if (len > RECORD_MAX)
        return error_set(e, ERR_CORRUPT, "%s: bad record", s->path);
    autofree unsigned char *bytes = xmalloc(len + 1);
    if (pread(s->fd, bytes, len, (off_t)(off + RECORD_HEAD)) != (ssize_t)len)
        return error_set(e, ERR_CORRUPT, "%s: short read", s->path);
    *ret = move_ptr(bytes);
    *ret_n = len;
    return 0;
}

int
mirror_state_read(const struct mirror_state *s, const struct mirror_base *b,
                  struct str *store, struct str *form, struct error *e)
{
    autofree unsigned char *bytes = NULL;
    size_t len = 0;

    if (read_record(s, b->now.off, &bytes, &len, e) < 0)
        return -(int)e->code;
    struct cursor c = {bytes, bytes + len, false};
    take(&c, 1);
    take_span(&c, 2); /* path */
    take_span(&c, 2); /* uid */
    take(&c, 8 + MIRROR_HASH);
    struct span st = take_span(&c, 4), fo = take_span(&c, 4);
    if (c.bad)
        return error_set(e, ERR_CORRUPT, "%s: bad record", s->path);
    str_add(store, st.ptr, st.len);
    str_add(form, fo.ptr, fo.len);
    return 0;
}

int
mirror_state_read_applied(const struct mirror_state *s, uint64_t off, struct str *form,
                          struct error *e)
{
    autofree unsigned char *bytes = NULL;
    size_t len = 0;

    if (read_record(s, off, &bytes, &len, e) < 0)
        return -(int)e->code;
    struct cursor c = {bytes, bytes + len, false};
    take(&c, 1);
    take_span(&c, 2); /* path */
    struct span fo = take_span(&c, 4);
    if (c.bad)
        return error_set(e, ERR_CORRUPT, "%s: bad record", s->path);
    str_add(form, fo.ptr, fo.len);
    return 0;
}
