/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The blocking client. It drives a multi handle of its own rather than
 * curl_easy_perform(), because that looks at a cancel flag only once a second.
 */
#include "io/http_client.h"

#include "base/mem.h"
#include "io/http_exchange.h"

enum { CANCEL_POLL_MS = 200, WAIT_MS = 10000 };

struct http_conn {
    struct http_peer_conf peer;
    char *ca_pem; /* until the memory file is made */
    CURL *easy;
    CURLM *multi; /* holds the connection between calls */
};

/* A streaming call's way to its on_data. */
struct sink {
    bool (*on_data)(void *arg, const char *bytes, size_t n);
    void *arg;
    bool stopped;
};

struct http_conn *
http_conn_new(const struct http_target *t)
{
    struct http_conn *c = xnew(struct http_conn);

    http_peer_conf_copy(&c->peer, t);
    if (t->ca_file == NULL && t->ca_pem != NULL)
        c->ca_pem = xstrdup(t->ca_pem);
    c->easy = curl_easy_init();
    c->multi = curl_multi_init();
    bug_if(c->easy == NULL || c->multi == NULL);
    return c;
}

void
http_conn_free(struct http_conn *c)
{
    if (c == NULL)
        return;
    curl_easy_cleanup(c->easy);
    curl_multi_cleanup(c->multi);
    http_peer_conf_done(&c->peer);
    free(c->ca_pem);
    free(c);
}

static size_t
pass_on(void *arg, const char *bytes, size_t n)
{
    struct sink *s = arg;

    s->stopped = !s->on_data(s->arg, bytes, n);
    return s->stopped ? 0 : n;
}

static bool
is_set(const volatile bool *flag)
{
    return flag != NULL && __atomic_load_n(flag, __ATOMIC_ACQUIRE);
}

/* True when it was cancelled; otherwise *ret_code is the result. */
static bool
perform(struct http_conn *c, const volatile bool *cancel, CURLcode *ret_code)
{
    int running = 1;
    int left = 0;

    while (curl_multi_perform(c->multi, &running) == CURLM_OK && running > 0) {
        if (is_set(cancel))
            return true;
        curl_multi_poll(c->multi, NULL, 0, cancel == NULL ? WAIT_MS : CANCEL_POLL_MS,
                        NULL);
    }
    const CURLMsg *msg = curl_multi_info_read(c->multi, &left);
    *ret_code = msg == NULL ? CURLE_FAILED_INIT : msg->data.result;
    return false;
}

static int
run(struct http_conn *c, const struct http_call *call, struct http_exchange *x,
    const volatile bool *cancel, struct error *e)
{
    CURLcode code = CURLE_OK;

    if (c->ca_pem != NULL && c->peer.ca_path == NULL) {
        int rc = http_ca_memfd(c->ca_pem, &c->peer.ca_fd, &c->peer.ca_path, e);
        if (rc != 0)
            return rc;
    }
    int rc = http_exchange_prepare(x, &c->peer, call, e);
    if (rc != 0)
        return rc;
    bug_if(curl_multi_add_handle(c->multi, c->easy) != CURLM_OK);
    bool cancelled = perform(c, cancel, &code);
    curl_multi_remove_handle(c->multi, c->easy);
    if (cancelled)
        return error_set(e, ERR_TIMEOUT, "%s %s: cancelled", call->method, x->url);
    if (code == CURLE_WRITE_ERROR && x->on_bytes != NULL &&
        ((const struct sink *)x->arg)->stopped)
        return 0;
    return http_exchange_result(x, call->method, code, e);
}

static void
clear_reply(struct http_reply *r)
{
    struct str body = r->body;

    str_reset(&body);
    *r = (struct http_reply){.body = body};
}

int
http_conn_do(struct http_conn *c, const struct http_call *call, struct http_reply *ret,
             struct error *e)
{
    struct http_exchange x = {.easy = c->easy, .reply = ret};

    clear_reply(ret);
    int rc = run(c, call, &x, NULL, e);
    http_exchange_done(&x);
    return rc;
}

int
http_conn_stream(struct http_conn *c, const struct http_call *call,
                 bool (*on_data)(void *arg, const char *bytes, size_t n), void *arg,
                 const volatile bool *cancel, struct http_reply *ret, struct error *e)
{
    struct sink sink = {.on_data = on_data, .arg = arg};
    struct http_exchange x = {
        .easy = c->easy, .reply = ret, .on_bytes = pass_on, .arg = &sink};

    clear_reply(ret);
    int rc = run(c, call, &x, cancel, e);
    http_exchange_done(&x);
    return rc;
}
