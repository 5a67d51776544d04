/* SPDX-License-Identifier: Apache-2.0 */
/* The mirror's own memory: appending and looking up. state_load.c reads it back. */
#include "apiserver/mirror/state_internal.h"

#include <endian.h>
#include <fcntl.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <zlib.h>

#include "base/fs.h"

enum { COMPACT_SLACK = 8 << 20 };

struct mirror_hash
mirror_hash_of(const void *bytes, size_t n)
{
    struct mirror_hash h;

    crypto_generichash(h.b, sizeof(h.b), bytes, n, NULL, 0);
    return h;
}

void
mirror_base_free(void *p)
{
    struct mirror_base *b = p;

    vec_done(&b->older);
    free(b);
}

struct mirror_base *
mirror_base_make(struct mirror_state *s, const char *path)
{
    struct mirror_base *b = map_get(s->paths, path);

    if (b == NULL) {
        b = xnew(struct mirror_base);
        map_put(s->paths, path, b);
    }
    return b;
}

const struct mirror_base *
mirror_state_get(const struct mirror_state *s, const char *path)
{
    return map_get(s->paths, path);
}

void
mirror_state_each(const struct mirror_state *s,
                  void (*fn)(void *arg, const char *path, const struct mirror_base *b),
                  void *arg)
{
    struct map_cursor c = map_begin(s->paths);
    const char *path;
    void *value;

    while (map_next(&c, &path, &value))
        fn(arg, path, value);
}

size_t
mirror_state_len(const struct mirror_state *s)
{
    return s->n_set;
}

/* --- writing records
 * --------------------------------------------------------------------- */

static void
put_u16(struct str *out, size_t n)
{
    uint16_t le = htole16((uint16_t)n);

    str_add(out, &le, sizeof(le));
}

static void
put_u32(struct str *out, size_t n)
{
    uint32_t le = htole32((uint32_t)n);

    str_add(out, &le, sizeof(le));
}

static void
put_u64(struct str *out, uint64_t n)
{
    uint64_t le = htole64(n);

    str_add(out, &le, sizeof(le));
}

static void
begin(struct str *out, char type, const char *path)
{
    str_reset(out);
    str_add(out, "\0\0\0\0\0\0\0\0", RECORD_HEAD);
    str_addc(out, type);
    put_u16(out, strlen(path));
    str_adds(out, path);
}

static void
put_new(struct str *out, const struct mirror_new *n)
{
    put_u16(out, strlen(n->uid));
    str_adds(out, n->uid);
    put_u64(out, n->revision);
    str_add(out, n->file.b, MIRROR_HASH);
    put_u32(out, n->store.len);
    str_add(out, n->store.ptr, n->store.len);
    put_u32(out, n->form.len);
    str_add(out, n->form.ptr, n->form.len);
}

static void
seal_record(struct str *out)
{
    uint32_t len = htole32((uint32_t)(out->len - RECORD_HEAD));
    uint32_t crc = htole32((uint32_t)crc32_z(
        0, (const unsigned char *)out->ptr + RECORD_HEAD, out->len - RECORD_HEAD));

    memcpy(out->ptr, &len, sizeof(len));
    memcpy(out->ptr + 4, &crc, sizeof(crc));
}

/* Appends the record that was begun in s->buf; *ret_off is where. */
static int
append(struct mirror_state *s, uint64_t *ret_off, struct error *e)
{
    if (s->broken)
        return error_set(e, ERR_IO, "the mirror's state could not be written before");
    if (s->buf.toobig)
        return error_set(e, ERR_TOO_LARGE, "too large for the mirror's state");
    seal_record(&s->buf);
    if (fs_write_all(s->fd, s->buf.ptr, s->buf.len, e) < 0) {
        error_prepend(e, "write the mirror's state");
        s->broken = ftruncate(s->fd, (off_t)s->size) != 0 ||
                    lseek(s->fd, (off_t)s->size, SEEK_SET) < 0;
        return -(int)e->code;
    }
    *ret_off = s->size;
    s->size += s->buf.len;
    s->dirty = true;
    return 0;
}

static int
append_plain(struct mirror_state *s, char type, const char *path, struct error *e)
{
    uint64_t off = 0;

    begin(&s->buf, type, path);
    return append(s, &off, e);
}

static void
set_mark(struct mirror_mark *m, const struct mirror_new *n, uint64_t off)
{
    *m = (struct mirror_mark){.set = true,
                              .revision = n->revision,
                              .file = n->file,
                              .store = mirror_hash_of(n->store.ptr, n->store.len),
                              .off = off};
    snprintf(m->uid, sizeof(m->uid), "%s", n->uid);
}

void
mirror_base_settle_now(struct mirror_state *s, struct mirror_base *b,
                       const struct mirror_mark *m)
{
    if (!b->now.set)
        s->n_set++;
    b->now = *m;
    b->intent.set = false;
    memset(b->applied, 0, sizeof(b->applied));
    b->suspect = false;
    vec_done(&b->older);
}

int
mirror_state_applying(struct mirror_state *s, const char *path, struct span form,
                      struct error *e)
{
    uint64_t off = 0;

    begin(&s->buf, 'A', path);
    put_u32(&s->buf, form.len);
    str_add(&s->buf, form.ptr, form.len);
    if (append(s, &off, e) < 0)
        return -(int)e->code;
    mirror_base_applying(s, path, off);
    return 0;
}

void
mirror_base_applying(struct mirror_state *s, const char *path, uint64_t off)
{
    struct mirror_base *b = mirror_base_make(s, path);

    b->applied[1] = b->applied[0];
    b->applied[0] = off;
}

void
mirror_base_refused(struct mirror_state *s, const char *path)
{
    struct mirror_base *b = map_get(s->paths, path);

    if (b == NULL)
        return;
    b->applied[0] = b->applied[1];
    b->applied[1] = 0;
    if (b->applied[0] == 0 && !b->now.set && !b->intent.set && !b->suspect)
        map_del(s->paths, path);
}

int
mirror_state_refused(struct mirror_state *s, const char *path, struct error *e)
{
    const struct mirror_base *b = map_get(s->paths, path);

    if (b == NULL || b->applied[0] == 0)
        return 0;
    if (append_plain(s, 'X', path, e) < 0)
        return -(int)e->code;
    mirror_base_refused(s, path);
    return 0;
}

int
mirror_state_intend(struct mirror_state *s, const char *path, const struct mirror_new *n,
                    struct error *e)
{
    uint64_t off = 0;

    begin(&s->buf, 'W', path);
    put_new(&s->buf, n);
    if (append(s, &off, e) < 0)
        return -(int)e->code;
    set_mark(&mirror_base_make(s, path)->intent, n, off);
    return 0;
}

int
mirror_state_done(struct mirror_state *s, const char *path, struct error *e)
{
    struct mirror_base *b = map_get(s->paths, path);

    bug_if(b == NULL || !b->intent.set);
    if (append_plain(s, 'K', path, e) < 0)
        return -(int)e->code;
    struct mirror_mark m = b->intent;
    mirror_base_settle_now(s, b, &m);
    return 0;
}

int
mirror_state_record(struct mirror_state *s, const char *path, const struct mirror_new *n,
                    struct error *e)
{
    struct mirror_mark m;
    uint64_t off = 0;

    begin(&s->buf, 'B', path);
    put_new(&s->buf, n);
    if (append(s, &off, e) < 0)
        return -(int)e->code;
    set_mark(&m, n, off);
    mirror_base_settle_now(s, mirror_base_make(s, path), &m);
    return 0;
}

int
mirror_state_forget(struct mirror_state *s, const char *path, struct error *e)
{
    struct mirror_base *b = map_get(s->paths, path);

    if (b == NULL)
        return 0;
    if (append_plain(s, 'F', path, e) < 0)
        return -(int)e->code;
    s->n_set -= b->now.set;
    map_del(s->paths, path);
    return 0;
}

int
mirror_state_hold(struct mirror_state *s, const char *path, bool held, struct error *e)
{
    struct mirror_base *b = map_get(s->paths, path);

    if (b == NULL || b->held == held)
        return 0;
    if (append_plain(s, held ? 'H' : 'U', path, e) < 0)
        return -(int)e->code;
    b->held = held;
    return 0;
}

bool
mirror_state_settle(struct mirror_state *s, const char *path,
                    const struct mirror_hash *hash)
{
    struct mirror_base *b = map_get(s->paths, path);
    bool ours = false;

    if (b == NULL)
        return false;
    if (b->intent.set && hash != NULL && mirror_hash_eq(*hash, b->intent.file)) {
        struct mirror_mark m = b->intent;
        mirror_base_settle_now(s, b, &m);
        return false;
    }
    b->intent.set = false;
    if (b->suspect) {
        ours = hash == NULL;
        vec_foreach (h, &b->older)
            ours = ours || (hash != NULL && mirror_hash_eq(*h, *hash));
        if (hash != NULL && b->now.set && mirror_hash_eq(*hash, b->now.file))
            ours = false;
        b->suspect = false;
        vec_done(&b->older);
    }
    return ours;
}

/* --- the root, and the disk
 * -------------------------------------------------------------- */

struct mirror_root
mirror_state_root(const struct mirror_state *s)
{
    return s->root;
}

int
mirror_state_set_root(struct mirror_state *s, uint64_t dev, uint64_t ino, struct error *e)
{
    uint64_t off = 0;

    begin(&s->buf, 'R', "");
    put_u64(&s->buf, dev);
    put_u64(&s->buf, ino);
    if (append(s, &off, e) < 0)
        return -(int)e->code;
    s->root = (struct mirror_root){true, dev, ino};
    return 0;
}

int
mirror_state_opened(struct mirror_state *s, struct error *e)
{
    uint64_t off = 0;

    begin(&s->buf, 'O', "");
    put_u16(&s->buf, strlen(s->boot));
    str_adds(&s->buf, s->boot);
    return append(s, &off, e);
}

bool
mirror_state_dirty(const struct mirror_state *s)
{
    return s->dirty;
}

/* Copies the records that count into a new file. */
static int
copy_live(struct mirror_state *s, int fd, uint64_t *ret_size, struct error *e)
{
    struct map_cursor c = map_begin(s->paths);
    struct mirror_state to = {.fd = fd, .size = strlen(STATE_MAGIC), .root = s->root};
    const char *path;
    void *value;
    int rc = fs_write_all(fd, STATE_MAGIC, strlen(STATE_MAGIC), e);

    str_init(&to.buf, RECORD_MAX);
    memcpy(to.boot, s->boot, sizeof(to.boot));
    if (rc == 0)
        rc = mirror_state_opened(&to, e);
    if (rc == 0 && s->root.known)
        rc = mirror_state_set_root(&to, s->root.dev, s->root.ino, e);
    while (rc == 0 && map_next(&c, &path, &value)) {
        struct mirror_base *b = value;
        auto_str store = STR_INIT(RECORD_MAX), form = STR_INIT(RECORD_MAX);
        memset(b->applied, 0,
               sizeof(b->applied)); /* nothing is under way at a checkpoint */
        if (!b->now.set)
            continue;
        rc = mirror_state_read(s, b, &store, &form, e);
        struct mirror_new n = {.uid = b->now.uid,
                               .revision = b->now.revision,
                               .file = b->now.file,
                               .store = {store.ptr, store.len},
                               .form = {form.ptr, form.len}};
        begin(&to.buf, 'B', path);
        put_new(&to.buf, &n);
        if (rc == 0)
            rc = append(&to, &b->now.off, e);
        if (rc == 0 && b->held)
            rc = append_plain(&to, 'H', path, e);
    }
    str_done(&to.buf);
    *ret_size = to.size;
    return rc;
}

/* On failure the offsets in memory may be the new file's: the state is given up. */
static int
compact(struct mirror_state *s, struct error *e)
{
    autofree char *temp = xasprintf("%s.new", s->path);
    autoclose int fd = open(temp, O_RDWR | O_CREAT | O_TRUNC | O_CLOEXEC, 0600);
    uint64_t size = 0;

    if (fd < 0)
        return error_errno(e, errno, "create %s", temp);
    if (copy_live(s, fd, &size, e) < 0 || fdatasync(fd) != 0 ||
        rename(temp, s->path) != 0) {
        if (e->code == ERR_OK)
            error_errno(e, errno, "rewrite %s", s->path);
        unlink(temp);
        s->broken = true;
        return -(int)e->code;
    }
    close(s->fd);
    s->fd = move_fd(fd);
    s->size = s->compacted = size;
    return 0;
}

int
mirror_state_checkpoint(struct mirror_state *s, struct error *e)
{
    if (s->size > 2 * s->compacted + COMPACT_SLACK && compact(s, e) < 0)
        return -(int)e->code;
    if (append_plain(s, 'C', "", e) < 0)
        return -(int)e->code;
    if (fdatasync(s->fd) != 0)
        return error_errno(e, errno, "sync %s", s->path);
    s->dirty = false;
    return 0;
}
