/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The yardstick for the API server's front: libmicrohttpd with nothing around it. GET
 * /hello answers 1 KB, GET /watch is a stream that waits, POST /fire sends its body to
 * all streams. External epoll, pools of 4 KB.
 * Usage: bare_mhd PORT [CERT.pem KEY.pem]
 */
#include <microhttpd.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"

enum { WATCHERS_MAX = 20000, POOL = 4096, EVENT_MAX = 16 << 10 };

struct watcher {
    struct MHD_Connection *c;
    unsigned seen; /* number of the event sent last */
    size_t off;
    bool suspended;
};

struct bare {
    struct watcher *watchers;
    size_t n;
    unsigned event; /* number of the newest */
    bool resumed;   /* since the last run */
    char text[EVENT_MAX];
    size_t len;
    struct MHD_Response *hello, *ok;
};

struct stream {
    struct bare *b;
    struct watcher *w;
};

static ssize_t
fill(void *cls, uint64_t pos, char *buf, size_t max)
{
    struct stream *s = cls;
    struct watcher *w = s->w;

    UNUSED(pos);
    if (w->seen == s->b->event) {
        w->suspended = true;
        MHD_suspend_connection(w->c);
        return 0;
    }
    size_t n = s->b->len - w->off < max ? s->b->len - w->off : max;
    memcpy(buf, s->b->text + w->off, n);
    w->off += n;
    if (w->off == s->b->len) {
        w->off = 0;
        w->seen = s->b->event;
    }
    return (ssize_t)n;
}

static enum MHD_Result
watch(struct bare *b, struct MHD_Connection *c)
{
    struct stream *s = xnew(struct stream);

    if (b->n == WATCHERS_MAX)
        return MHD_NO;
    s->b = b;
    s->w = &b->watchers[b->n++];
    *s->w = (struct watcher){.c = c, .seen = b->event};
    struct MHD_Response *r =
        MHD_create_response_from_callback(MHD_SIZE_UNKNOWN, 512, fill, s, free);
    enum MHD_Result rc = MHD_queue_response(c, 200, r);
    MHD_destroy_response(r);
    return rc;
}

static void
fire(struct bare *b)
{
    b->event++;
    for (size_t i = 0; i < b->n; i++) {
        if (!b->watchers[i].suspended)
            continue;
        b->watchers[i].suspended = false;
        b->resumed = true;
        MHD_resume_connection(b->watchers[i].c);
    }
}

static enum MHD_Result
on_request(void *cls, struct MHD_Connection *c, const char *url, const char *method,
           const char *version, const char *data, size_t *size, void **context)
{
    struct bare *b = cls;

    UNUSED(method);
    UNUSED(version);
    if (*context == NULL) {
        *context = b;
        if (streq(url, "/fire"))
            b->len = 0;
        return MHD_YES;
    }
    if (*size > 0) {
        size_t n = *size < EVENT_MAX - b->len ? *size : EVENT_MAX - b->len;
        memcpy(b->text + b->len, data, n);
        b->len += n;
        *size = 0;
        return MHD_YES;
    }
    if (streq(url, "/watch"))
        return watch(b, c);
    if (streq(url, "/fire"))
        fire(b);
    return MHD_queue_response(c, 200, streq(url, "/fire") ? b->ok : b->hello);
}

static void
start(struct bare *b, int argc, char **argv)
{
    auto_str cert = STR_INIT(1 << 20), key = STR_INIT(1 << 20);
    struct error e = ERROR_INIT;
    struct MHD_OptionItem tls[4] = {{MHD_OPTION_END, 0, NULL}};
    unsigned flags = MHD_USE_EPOLL | MHD_ALLOW_SUSPEND_RESUME;

    if (argc > 3) {
        if (fs_read(argv[2], &cert, &e) < 0 || fs_read(argv[3], &key, &e) < 0) {
            fprintf(stderr, "bare_mhd: %s\n", e.msg);
            exit(1);
        }
        flags |= MHD_USE_TLS;
        tls[0] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_CERT, 0, cert.ptr};
        tls[1] = (struct MHD_OptionItem){MHD_OPTION_HTTPS_MEM_KEY, 0, key.ptr};
        tls[2] = (struct MHD_OptionItem){MHD_OPTION_END, 0, NULL};
    }
    struct MHD_Daemon *d = MHD_start_daemon(
        flags, (uint16_t)strtol(argv[1], NULL, 10), NULL, NULL, on_request, b,
        MHD_OPTION_CONNECTION_LIMIT, WATCHERS_MAX, MHD_OPTION_CONNECTION_MEMORY_LIMIT,
        (size_t)POOL, MHD_OPTION_LISTEN_BACKLOG_SIZE, 4096u, MHD_OPTION_ARRAY, tls,
        MHD_OPTION_END);
    if (d == NULL) {
        fprintf(stderr, "bare_mhd: cannot start on port %s\n", argv[1]);
        exit(1);
    }
    struct pollfd p = {.fd = MHD_get_daemon_info(d, MHD_DAEMON_INFO_EPOLL_FD)->epoll_fd,
                       .events = POLLIN};
    for (;;) {
        unsigned long long ms;
        int wait = MHD_get_timeout(d, &ms) == MHD_YES ? (int)ms : -1;
        /* A resume takes effect in the next run, and MHD_get_timeout() knows nothing of
         * it. */
        poll(&p, 1, b->resumed ? 0 : wait);
        b->resumed = false;
        MHD_run(d);
    }
}

int
main(int argc, char **argv)
{
    struct bare b = {.watchers = xcalloc(WATCHERS_MAX, sizeof(struct watcher))};
    static char hello[1024];

    if (argc != 2 && argc != 4) {
        fprintf(stderr, "usage: bare_mhd PORT [CERT.pem KEY.pem]\n");
        return 2;
    }
    memset(hello, 'x', sizeof(hello));
    b.hello =
        MHD_create_response_from_buffer(sizeof(hello), hello, MHD_RESPMEM_PERSISTENT);
    b.ok = MHD_create_response_from_buffer(2, hello, MHD_RESPMEM_PERSISTENT);
    start(&b, argc, argv);
    return 0;
}
