/* SPDX-License-Identifier: Apache-2.0 */
/* A blob to drover-streams, in pieces. */
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"
#include "cli/code.h"

enum { PIECE = 1 << 20, REPLY_MAX = 65536, RETRY_MS = 500, GIVE_UP_MS = 60000 };

struct upload {
    struct session *s;
    const struct packed *p;
    struct http_conn *conn;
    const char *label;
    char *path;
    uint64_t at;
    bool complete;
};

static void
progress(const struct upload *u)
{
    if (isatty(2) && u->p->size > 0)
        fprintf(stderr, "\r\033[Kuploading %s: %" PRIu64 " of %" PRIu64 " MB", u->label,
                u->at >> 20, u->p->size >> 20);
}

static int
send_piece(struct upload *u, char *piece, struct error *e)
{
    uint64_t left = u->p->size - u->at;
    size_t want = left < PIECE ? (size_t)left : PIECE;
    ssize_t n = pread(u->p->fd, piece, want, (off_t)u->at);
    auto_http_reply reply = {0};
    json_t *doc;

    if (n < 0 || (size_t)n != want)
        return error_errno(e, errno, "read %s", u->label);
    autofree char *path =
        xasprintf("%s?offset=%" PRIu64 "&size=%" PRIu64, u->path, u->at, u->p->size);
    struct http_call call = {.method = "PUT",
                             .path = path,
                             .content_type = "application/octet-stream",
                             .body = piece,
                             .body_len = want,
                             .timeout_ms = 60000};
    http_reply_init(&reply, REPLY_MAX);
    int rc = http_conn_do(u->conn, &call, &reply, e);
    if (rc < 0)
        return rc;
    doc = json_loadb(reply.body.ptr, reply.body.len, 0, NULL);
    const json_t *offset = json_object_get(doc, "offset");
    if ((reply.status / 100 == 2 || reply.status == 409) && json_is_integer(offset)) {
        u->at = (uint64_t)json_integer_value(offset);
        u->complete = json_is_true(json_object_get(doc, "complete"));
        if (u->at > u->p->size)
            rc = error_set(e, ERR_PROVIDER, "the server has more bytes than there are");
    } else {
        rc = client_reply_error(reply.status,
                                (struct span){reply.body.ptr, reply.body.len}, e);
        if (rc == 0)
            rc = error_set(e, ERR_PROVIDER, "the server's answer is not understood");
    }
    json_decref(doc);
    return rc;
}

static int
send_all(struct upload *u, struct error *e)
{
    autofree char *piece = xmalloc(PIECE);
    int64_t last_ok = clock_now_ms();

    while (!u->complete) {
        struct error why = ERROR_INIT;
        progress(u);
        if (send_piece(u, piece, &why) == 0) {
            last_ok = clock_now_ms();
            continue;
        }
        bool passing = why.code == ERR_UNAVAILABLE || why.code == ERR_IO ||
                       why.code == ERR_TIMEOUT || why.code == ERR_BUSY;
        if (!passing || clock_now_ms() - last_ok > GIVE_UP_MS) {
            *e = why;
            return -(int)e->code;
        }
        poll(NULL, 0, RETRY_MS);
    }
    return 0;
}

int
upload_blob(struct session *s, const char *ns, const struct packed *p, const char *label,
            struct error *e)
{
    autofree char *url = session_streams_url(s);
    struct upload u = {.s = s, .p = p, .label = label};
    struct http_target target = s->target;

    if (url != NULL)
        target.url = url;
    u.path = xasprintf("/apis/streams.drover.dev/v1/namespaces/%s/blobs/%s", ns, p->blob);
    u.conn = http_conn_new(&target);
    int rc = send_all(&u, e);
    if (isatty(2))
        fputs("\r\033[K", stderr);
    http_conn_free(u.conn);
    free(u.path);
    return rc == 0 ? 0 : error_prepend(e, "upload %.150s", label);
}
