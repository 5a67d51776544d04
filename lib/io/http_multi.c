/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The asynchronous client: curl multi driven by its socket and timer callbacks on a loop.
 *
 * curl forbids adding and removing handles inside its callbacks, and un-pausing calls the
 * data callback from within. So while curl runs (in_curl) starts and cancels only mark
 * the transfer; settle() acts on the marks as soon as curl has returned. Un-pausing
 * always waits for the next turn.
 */
#include <string.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <unistd.h>

#include "base/id.h"
#include "base/log.h"
#include "base/map.h"
#include "base/mem.h"
#include "io/http_exchange.h"

LOG_MODULE(http_client);

struct ca_file {
    int fd;
    char *path;
};

struct http_transfer {
    struct http_multi *multi;
    struct http_peer_conf peer;
    struct http_exchange x;
    struct http_reply reply;
    struct http_transfer_cbs cbs;
    void *arg;
    char *method;
    void *body;
    struct error failure; /* of the set-up; reported in the next turn */
    bool added, cancelled, unpause;
    LIST_ENTRY(http_transfer) link;
};

struct http_multi {
    struct loop *loop;
    CURLM *curl;
    struct loop_timer *timer; /* curl's */
    struct loop_timer *kick;  /* ours: marks are set and curl is not running */
    struct map *cas;          /* hash of PEM text -> struct ca_file */
    unsigned in_curl;
    bool settling;
    LIST_HEAD(, http_transfer) transfers;
};

/* --- curl's callbacks -----------------------------------------------------------------
 */

static void settle(struct http_multi *m);

static void
act(struct http_multi *m, curl_socket_t fd, int what)
{
    int running = 0;

    m->in_curl++;
    curl_multi_socket_action(m->curl, fd, what, &running);
    m->in_curl--;
    settle(m);
}

static void
on_socket_event(void *arg, int fd, uint32_t events)
{
    int what = 0;

    if (events & (EPOLLIN | EPOLLRDHUP))
        what |= CURL_CSELECT_IN;
    if (events & EPOLLOUT)
        what |= CURL_CSELECT_OUT;
    if (events & (EPOLLERR | EPOLLHUP))
        what |= CURL_CSELECT_ERR;
    act(arg, fd, what);
}

static void
on_curl_timer(void *arg)
{
    act(arg, CURL_SOCKET_TIMEOUT, 0);
}

static int
curl_wants_timer(CURLM *curl, long ms, void *arg)
{
    struct http_multi *m = arg;

    UNUSED(curl);
    if (ms < 0)
        loop_timer_cancel(m->timer);
    else
        loop_timer_in(m->timer, ms);
    return 0;
}

static int
curl_wants_socket(CURL *easy, curl_socket_t fd, int what, void *arg, void *socket_arg)
{
    struct http_multi *m = arg;
    struct loop_io *io = socket_arg;
    struct error e = ERROR_INIT;
    uint32_t events = 0;
    int rc = 0;

    UNUSED(easy);
    if (what == CURL_POLL_REMOVE) {
        /* libcurl 7.88 closes a socket that was never connected before it says so. */
        loop_io_forget(io);
        curl_multi_assign(m->curl, fd, NULL);
        return 0;
    }
    if (what & CURL_POLL_IN)
        events |= EPOLLIN;
    if (what & CURL_POLL_OUT)
        events |= EPOLLOUT;
    if (io != NULL) {
        rc = loop_io_set(io, events, &e);
    } else {
        rc = loop_io_add(m->loop, "http-transfer", fd, events, on_socket_event, m, &io,
                         &e);
        if (rc == 0)
            curl_multi_assign(m->curl, fd, io);
    }
    if (rc != 0)
        log_warn_rl("cannot watch a connection", "error=\"%s\"", e.msg);
    return rc == 0 ? 0 : -1;
}

static bool
headers_in(void *arg)
{
    struct http_transfer *t = arg;

    if (!t->cancelled && t->cbs.on_headers != NULL)
        t->cbs.on_headers(t->arg, &t->reply);
    return !t->cancelled;
}

static size_t
bytes_in(void *arg, const char *bytes, size_t n)
{
    struct http_transfer *t = arg;

    if (t->cancelled)
        return 0;
    t->unpause = false;
    bool taken = t->cbs.on_data(t->arg, bytes, n);
    if (t->cancelled)
        return 0;
    return taken ? n : CURL_WRITEFUNC_PAUSE;
}

/* --- transfers ------------------------------------------------------------------------
 */

static void
transfer_free(struct http_transfer *t)
{
    if (t->added)
        curl_multi_remove_handle(t->multi->curl, t->x.easy);
    LIST_REMOVE(t, link);
    curl_easy_cleanup(t->x.easy);
    http_exchange_done(&t->x);
    http_peer_conf_done(&t->peer);
    http_reply_done(&t->reply);
    free(t->method);
    free(t->body);
    free(t);
}

static void
finish(struct http_transfer *t, const struct error *e)
{
    if (!t->cancelled) {
        t->cancelled = true; /* a cancel from on_done is too late and harmless */
        t->cbs.on_done(t->arg, &t->reply, e);
    }
    transfer_free(t);
}

/* One transfer that has a mark to act on; NULL when there is none. */
static struct http_transfer *
next_marked(const struct http_multi *m)
{
    struct http_transfer *t;

    LIST_FOREACH(t, &m->transfers, link)
    {
        if (t->cancelled || (!t->added && t->failure.code == ERR_OK))
            return t;
    }
    return NULL;
}

static void
act_on_marks(struct http_multi *m)
{
    struct http_transfer *t;

    while ((t = next_marked(m)) != NULL) {
        if (t->cancelled) {
            transfer_free(t);
            continue;
        }
        t->added = true;
        bug_if(curl_multi_add_handle(m->curl, t->x.easy) != CURLM_OK);
    }
}

static void
settle(struct http_multi *m)
{
    const CURLMsg *msg;
    int left = 0;

    if (m->in_curl > 0 || m->settling)
        return;
    m->settling = true;
    act_on_marks(m);
    while ((msg = curl_multi_info_read(m->curl, &left)) != NULL) {
        struct http_transfer *t = NULL;
        struct error e = ERROR_INIT;
        if (msg->msg != CURLMSG_DONE)
            continue;
        curl_easy_getinfo(msg->easy_handle, CURLINFO_PRIVATE, (char **)&t);
        http_exchange_result(&t->x, t->method, msg->data.result, &e);
        finish(t, &e);
        act_on_marks(m);
    }
    m->settling = false;
}

static void
unpause_marked(struct http_multi *m)
{
    struct http_transfer *t;

    m->in_curl++; /* nothing is freed while the list is walked */
    LIST_FOREACH(t, &m->transfers, link)
    {
        if (!t->unpause || t->cancelled || !t->added)
            continue;
        t->unpause = false;
        curl_easy_pause(t->x.easy, CURLPAUSE_CONT);
    }
    m->in_curl--;
}

static void
report_failures(struct http_multi *m)
{
    struct http_transfer *t = LIST_FIRST(&m->transfers);

    while (t != NULL) {
        if (t->failure.code == ERR_OK || t->cancelled) {
            t = LIST_NEXT(t, link);
            continue;
        }
        struct error e = t->failure;
        finish(t, &e);
        t = LIST_FIRST(&m->transfers); /* on_done may have changed the list */
    }
}

static void
on_kick(void *arg)
{
    struct http_multi *m = arg;

    unpause_marked(m);
    settle(m);
    m->settling = true;
    report_failures(m);
    m->settling = false;
    settle(m);
}

/* --- interface ------------------------------------------------------------------------
 */

static void
ca_free(void *p)
{
    struct ca_file *ca = p;

    close(ca->fd);
    free(ca->path);
    free(ca);
}

int
http_multi_new(struct loop *l, struct http_multi **ret, struct error *e)
{
    struct http_peer_conf unused;
    struct http_multi *m = xnew(struct http_multi);

    http_peer_conf_copy(&unused, &(struct http_target){0}); /* initialises curl */
    http_peer_conf_done(&unused);
    m->loop = l;
    m->curl = curl_multi_init();
    if (m->curl == NULL) {
        free(m);
        return error_set(e, ERR_INTERNAL, "create HTTP client");
    }
    LIST_INIT(&m->transfers);
    m->cas = map_new(ca_free);
    m->timer = loop_timer_new(l, "http-client", on_curl_timer, m);
    m->kick = loop_timer_new(l, "http-client-kick", on_kick, m);
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETFUNCTION, curl_wants_socket);
    curl_multi_setopt(m->curl, CURLMOPT_SOCKETDATA, m);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERFUNCTION, curl_wants_timer);
    curl_multi_setopt(m->curl, CURLMOPT_TIMERDATA, m);
    *ret = m;
    return 0;
}

void
http_multi_free(struct http_multi *m)
{
    if (m == NULL)
        return;
    bug_if(m->in_curl > 0 || m->settling);
    while (!LIST_EMPTY(&m->transfers))
        transfer_free(LIST_FIRST(&m->transfers));
    curl_multi_cleanup(m->curl);
    loop_timer_free(m->timer);
    loop_timer_free(m->kick);
    map_free(m->cas);
    free(m);
}

/* Equal texts share a file for the life of the multi: curl reuses a connection when the
 * paths are equal, so one path must never come to mean another text. */
static int
use_ca(struct http_multi *m, struct http_transfer *t, const char *pem, struct error *e)
{
    char hash[65];

    id_hash_hex(pem, strlen(pem), hash);
    struct ca_file *ca = map_get(m->cas, hash);
    if (ca == NULL) {
        int fd = -1;
        char *path = NULL;
        int rc = http_ca_memfd(pem, &fd, &path, e);
        if (rc != 0)
            return rc;
        ca = xnew(struct ca_file);
        *ca = (struct ca_file){fd, path};
        map_put(m->cas, hash, ca);
    }
    t->peer.ca_path = xstrdup(ca->path);
    return 0;
}

struct http_transfer *
http_multi_start(struct http_multi *m, const struct http_target *target,
                 const struct http_call *call, size_t max_body,
                 const struct http_transfer_cbs *cbs, void *arg)
{
    struct http_transfer *t = xnew(struct http_transfer);
    struct http_call own = *call;
    int rc = 0;

    t->multi = m;
    t->cbs = *cbs;
    t->arg = arg;
    t->method = xstrdup(call->method);
    t->body = call->owned_body;
    if (t->body == NULL && call->body_len > 0)
        t->body = xmemdup(call->body, call->body_len);
    own.body = t->body;
    http_reply_init(&t->reply, max_body);
    http_peer_conf_copy(&t->peer, target);
    t->x = (struct http_exchange){.easy = curl_easy_init(),
                                  .reply = &t->reply,
                                  .on_bytes = cbs->on_data == NULL ? NULL : bytes_in,
                                  .on_headers = headers_in,
                                  .arg = t};
    bug_if(t->x.easy == NULL);
    if (target->ca_file == NULL && target->ca_pem != NULL)
        rc = use_ca(m, t, target->ca_pem, &t->failure);
    if (rc == 0)
        rc = http_exchange_prepare(&t->x, &t->peer, &own, &t->failure);
    curl_easy_setopt(t->x.easy, CURLOPT_PRIVATE, (char *)t);
    LIST_INSERT_HEAD(&m->transfers, t, link);
    if (rc != 0 || m->in_curl > 0 || m->settling) {
        loop_timer_in(m->kick, 0);
        return t;
    }
    t->added = true;
    bug_if(curl_multi_add_handle(m->curl, t->x.easy) != CURLM_OK);
    return t;
}

void
http_transfer_unpause(struct http_transfer *t)
{
    t->unpause = true;
    loop_timer_in(t->multi->kick, 0);
}

void
http_transfer_cancel(struct http_transfer *t)
{
    if (t == NULL || t->cancelled)
        return;
    t->cancelled = true;
    if (t->multi->in_curl > 0 || t->multi->settling)
        loop_timer_in(t->multi->kick, 0);
    else
        transfer_free(t);
}
