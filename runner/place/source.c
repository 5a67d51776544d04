/* SPDX-License-Identifier: Apache-2.0 */
/* The bytes of an archive as they are, or out of gzip (several members, one after the
 * other, are one stream, as gzip has it). */
#include <errno.h>
#include <unistd.h>

#include "base/archive.h"
#include "base/mem.h"
#include "runner/place/untar.h"

enum { IN = 64 * 1024 };

void
source_plain(struct source *s, int fd)
{
    *s = (struct source){.fd = fd};
}

int
source_detect(struct source *s, int fd, struct error *e)
{
    unsigned char head[ARCHIVE_HEAD];
    enum archive_kind kind;
    ssize_t n = pread(fd, head, sizeof(head), 0);

    source_plain(s, fd);
    if (n < 0)
        return error_errno(e, errno, "read the archive");
    int rc = archive_kind(head, (size_t)n, &kind, e);
    if (rc < 0 || kind == ARCHIVE_TAR)
        return rc;
    s->in = xmalloc(IN);
    s->gzip = true;
    /* 15: the largest window; 16: gzip and nothing else */
    if (inflateInit2(&s->z, 15 + 16) != Z_OK)
        return error_set(e, ERR_INTERNAL, "start zlib");
    return 0;
}

void
source_done(struct source *s)
{
    if (s->gzip)
        inflateEnd(&s->z);
    free(s->in);
    *s = (struct source){.fd = -1};
}

static int
read_some(int fd, void *buf, size_t n, size_t *ret, struct error *e)
{
    ssize_t r;

    do
        r = read(fd, buf, n);
    while (r < 0 && errno == EINTR);
    if (r < 0)
        return error_errno(e, errno, "read the archive");
    *ret = (size_t)r;
    return 0;
}

/* There is input, or the file is at its end. */
static int
refill(struct source *s, struct error *e)
{
    size_t n = 0;

    if (s->z.avail_in > 0)
        return 0;
    int rc = read_some(s->fd, s->in, IN, &n, e);
    s->z.next_in = s->in;
    s->z.avail_in = (unsigned)n;
    return rc;
}

/* At the end of a member: another one, or the end of all. */
static int
next_member(struct source *s, struct error *e)
{
    int rc = refill(s, e);

    if (rc == 0 && s->z.avail_in > 0 && s->z.next_in[0] == 0x1f)
        inflateReset(&s->z);
    else
        s->ended = true; /* what follows is padding, or nobody's */
    return rc;
}

static int
inflate_some(struct source *s, void *buf, size_t n, size_t *ret, struct error *e)
{
    s->z.next_out = buf;
    s->z.avail_out = (unsigned)n;
    while (!s->ended && s->z.avail_out == (unsigned)n) {
        int rc = refill(s, e);
        if (rc < 0)
            return rc;
        if (s->z.avail_in == 0)
            return error_set(e, ERR_INVALID, "the archive is cut short");
        int z = inflate(&s->z, Z_NO_FLUSH);
        if (z != Z_OK && z != Z_STREAM_END && z != Z_BUF_ERROR)
            return error_set(e, ERR_INVALID, "the archive is damaged: %.100s",
                             s->z.msg != NULL ? s->z.msg : "gzip");
        rc = z == Z_STREAM_END ? next_member(s, e) : 0;
        if (rc < 0)
            return rc;
    }
    *ret = n - s->z.avail_out;
    return 0;
}

int
source_read(struct source *s, void *buf, size_t n, size_t *ret, struct error *e)
{
    size_t at = 0;
    size_t got = 1;

    while (at < n && got > 0) {
        char *to = (char *)buf + at;
        int rc = s->gzip ? inflate_some(s, to, n - at, &got, e)
                         : read_some(s->fd, to, n - at, &got, e);
        if (rc < 0)
            return rc;
        at += got;
    }
    *ret = at;
    return 0;
}
