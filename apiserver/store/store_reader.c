/* SPDX-License-Identifier: Apache-2.0 */
/* Reading segments and snapshots; the format is at the top of store_log.c. */
#include "apiserver/store/store_reader.h"

#include <fcntl.h>
#include <inttypes.h>
#include <sodium.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/mem.h"

#define WINDOW_BYTES (1u << 20)
/* Looking for a later record in a damaged file stops after this many bytes of checksums,
 * so that a file made for it cannot keep us busy. Then the damage counts as attested. */
#define ATTEST_BUDGET (256u << 20)

static unsigned
get16(const char *p)
{
    return (unsigned char)p[0] | (unsigned)(unsigned char)p[1] << 8;
}

/* n bytes at off, which lie within the file. NULL: e says why. */
static const char *
view(struct log_reader *r, uint64_t off, size_t n, struct error *e)
{
    if (off >= r->window_at && off + n <= r->window_at + r->window_len)
        return r->window + (off - r->window_at);
    size_t want = n > WINDOW_BYTES ? n : WINDOW_BYTES;
    if (want > r->size - off)
        want = (size_t)(r->size - off);
    if (want > r->window_cap) {
        r->window = xrealloc(r->window, want);
        r->window_cap = want;
    }
    r->window_at = off;
    r->window_len = 0;
    while (r->window_len < want) {
        ssize_t got = r->fs->pread(r->fs->arg, r->fd, r->window + r->window_len,
                                   want - r->window_len, (off_t)(off + r->window_len));
        if (got < 0 && errno == EINTR)
            continue;
        if (got <= 0) {
            error_errno(e, got == 0 ? EIO : errno, "read %s at %" PRIu64, r->path, off);
            return NULL;
        }
        r->window_len += (size_t)got;
    }
    return r->window;
}

static int
read_head(struct log_reader *r, const char magic[8], struct error *e)
{
    unsigned char sum[LOG_SUM_BYTES];

    if (r->size < LOG_HEAD_BYTES)
        return error_set(e, ERR_CORRUPT, "%s: shorter than its head", r->path);
    const char *p = view(r, 0, LOG_HEAD_BYTES, e);
    if (p == NULL)
        return -(int)e->code;
    if (memcmp(p, magic, 8) != 0)
        return error_set(e, ERR_CORRUPT, "%s: not a file of this kind", r->path);
    r->version = log_get32(p + 8);
    if (r->version < 1 || r->version > LOG_VERSION)
        return error_set(e, ERR_CORRUPT,
                         "%s: format version %u; this program reads up to %d", r->path,
                         r->version, LOG_VERSION);
    r->head.version = r->version;
    memcpy(r->head.id, p + 16, LOG_ID_BYTES);
    crypto_generichash(sum, sizeof(sum), (const unsigned char *)p, 64, r->head.id,
                       LOG_ID_BYTES);
    if (memcmp(sum, p + 64, sizeof(sum)) != 0)
        return error_set(e, ERR_CORRUPT, "%s: damaged head at offset 0", r->path);
    r->head.first = log_get64(p + 32);
    r->head.floor = log_get64(p + 40);
    r->head.prev_first = log_get64(p + 48);
    r->head.prev_end = log_get64(p + 56);
    r->pos = LOG_HEAD_BYTES;
    return 0;
}

int
log_reader_init(struct log_reader *r, const struct store_fs_ops *fs, int fd,
                const char *path, const char magic[8], struct error *e)
{
    struct stat st;

    *r = (struct log_reader){.fs = fs, .fd = fd, .path = xstrdup(path)};
    int rc = 0;
    if (fstat(fd, &st) < 0)
        rc = error_errno(e, errno, "stat %s", path);
    if (rc == 0) {
        r->size = (uint64_t)st.st_size;
        rc = read_head(r, magic, e);
    }
    if (rc < 0)
        log_reader_done(r);
    return rc;
}

int
log_reader_open(struct log_reader *r, const struct store_fs_ops *fs, const char *path,
                const char magic[8], struct error *e)
{
    int fd = fs->open(fs->arg, path, O_RDONLY, 0);

    if (fd < 0)
        return error_errno(e, errno, "open %s", path);
    return log_reader_init(r, fs, fd, path, magic, e);
}

void
log_reader_done(struct log_reader *r)
{
    if (r->fd >= 0)
        close(r->fd);
    free(r->path);
    free(r->window);
    *r = (struct log_reader){.fd = -1};
}

/* What can be said without the body. False: no record can start here. */
static bool
plausible(const struct log_reader *r, uint64_t off, const char *p, struct log_record *ret)
{
    unsigned type = (unsigned char)p[4];

    *ret = (struct log_record){
        .type = type,
        .flags = (unsigned char)p[5],
        .n_ops = get16(p + 6),
        .revision = log_get64(p + 8),
        .group = log_get64(p + 16),
        .offset = off,
        .body_len = log_get32(p),
    };
    return type >= LOG_COMMIT && type <= LOG_END && ret->group <= off &&
           ret->body_len <= LOG_BODY_MAX &&
           log_record_size(ret->body_len) <= r->size - off;
}

static int
read_record(struct log_reader *r, uint64_t off, struct log_record *ret, bool *ret_valid,
            struct error *e)
{
    unsigned char sum[LOG_SUM_BYTES];

    *ret_valid = false;
    if (r->size - off < LOG_RECORD_HEAD)
        return 0;
    const char *p = view(r, off, LOG_RECORD_HEAD, e);
    if (p == NULL)
        return -(int)e->code;
    if (!plausible(r, off, p, ret))
        return 0;
    size_t size = log_record_size(ret->body_len);
    p = view(r, off, size, e);
    if (p == NULL)
        return -(int)e->code;
    log_record_sum(&r->head, p, size, off, sum);
    ret->body = p + LOG_RECORD_HEAD;
    *ret_valid = memcmp(sum, p + 24, sizeof(sum)) == 0;
    return 0;
}

static bool
all_zero(const char *p, size_t n)
{
    return n == 0 || (p[0] == 0 && memcmp(p, p + 1, n - 1) == 0);
}

/* Preallocated room is a hole to most file systems: what lseek passes over reads as zeros
 * and need not be read. */
static uint64_t
skip_hole(const struct log_reader *r, uint64_t off)
{
    off_t data = lseek(r->fd, (off_t)off, SEEK_DATA);

    if (data < 0)
        return errno == ENXIO ? r->size : off;
    return (uint64_t)data > off ? (uint64_t)data : off;
}

static int
only_zeros(struct log_reader *r, uint64_t off, bool *ret, struct error *e)
{
    *ret = true;
    while (*ret && (off = skip_hole(r, off)) < r->size) {
        size_t n = r->size - off < WINDOW_BYTES ? (size_t)(r->size - off) : WINDOW_BYTES;
        const char *p = view(r, off, n, e);
        if (p == NULL)
            return -(int)e->code;
        *ret = all_zero(p, n);
        off += n;
    }
    return 0;
}

int
log_reader_next(struct log_reader *r, struct log_record *ret, enum log_read *ret_what,
                struct error *e)
{
    bool yes;
    int rc = read_record(r, r->pos, ret, &yes, e);

    if (rc < 0)
        return rc;
    if (yes) {
        r->pos += log_record_size(ret->body_len);
        *ret_what = LOG_READ_RECORD;
        return 0;
    }
    rc = only_zeros(r, r->pos, &yes, e);
    *ret_what = yes ? LOG_READ_END : LOG_READ_BAD;
    return rc;
}

int
log_reader_peek(struct log_reader *r, struct log_record *ret, enum log_read *ret_what,
                struct error *e)
{
    *ret_what = LOG_READ_END;
    if (r->size - r->pos < LOG_RECORD_HEAD)
        return 0;
    const char *p = view(r, r->pos, LOG_RECORD_HEAD, e);
    if (p == NULL)
        return -(int)e->code;
    if (!plausible(r, r->pos, p, ret))
        return 0;
    r->pos += log_record_size(ret->body_len);
    *ret_what = LOG_READ_RECORD;
    return 0;
}

int
log_reader_attested(struct log_reader *r, bool *ret, struct error *e)
{
    uint64_t spent = 0;

    *ret = false;
    for (uint64_t off = r->pos + LOG_ALIGN;
         off < r->size && r->size - off >= LOG_RECORD_HEAD; off += LOG_ALIGN) {
        struct log_record rec;
        bool valid;
        const char *p = view(r, off, LOG_RECORD_HEAD, e);
        if (p == NULL)
            return -(int)e->code;
        if (!plausible(r, off, p, &rec) || rec.group <= r->pos)
            continue;
        spent += LOG_RECORD_HEAD + rec.body_len;
        int rc = read_record(r, off, &rec, &valid, e);
        if (rc < 0)
            return rc;
        if (valid || spent > ATTEST_BUDGET) {
            *ret = true;
            return 0;
        }
    }
    return 0;
}

/* --- operations --- */

void
log_ops_init(struct log_ops *c, const struct log_record *rec)
{
    *c = (struct log_ops){rec->body, rec->body + rec->body_len, rec->n_ops};
}

static struct span
take(struct log_ops *c, size_t n)
{
    struct span s = {c->p, n};

    c->p += n;
    return s;
}

static bool
has_nul(struct span s)
{
    return s.len > 0 && memchr(s.ptr, 0, s.len) != NULL;
}

int
log_ops_next(struct log_ops *c, struct log_op *ret, struct error *e)
{
    if (c->left == 0 && c->p == c->end)
        return 0;
    if (c->left == 0)
        return error_set(e, ERR_CORRUPT, "bytes after the last operation");
    if ((size_t)(c->end - c->p) < LOG_OP_HEAD)
        return error_set(e, ERR_CORRUPT, "operation cut off");
    const char *h = c->p;
    size_t resource = get16(h + 2);
    size_t ns = get16(h + 4);
    size_t name = get16(h + 6);
    size_t object = log_get32(h + 8);
    size_t facts = log_get32(h + 12);
    if ((h[0] != 1 && h[0] != 2) || object > OBJECT_MAX_BYTES ||
        facts > OBJECT_MAX_BYTES || resource == 0 || name == 0)
        return error_set(e, ERR_CORRUPT, "not an operation");
    if ((size_t)(c->end - c->p) < log_op_size(resource, ns, name, object) + facts)
        return error_set(e, ERR_CORRUPT, "operation cut off");
    take(c, LOG_OP_HEAD);
    ret->del = h[0] == 2;
    ret->revision = log_get64(h + 16);
    ret->resource = take(c, resource);
    ret->ns = take(c, ns);
    ret->name = take(c, name);
    ret->object = take(c, object);
    ret->facts = take(c, facts);
    if (has_nul(ret->resource) || has_nul(ret->ns) || has_nul(ret->name))
        return error_set(e, ERR_CORRUPT, "NUL in a name");
    c->left--;
    return 1;
}
