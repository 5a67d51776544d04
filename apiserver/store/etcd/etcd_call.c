/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request to etcd, at the endpoint in use. A failure moves on to the next
 * endpoint; what may be repeated is, until the deadline.
 *
 * What a failure means for a request that changes something: without a
 * connection nothing was sent. etcd's refusals (a bad request, too large, no
 * space, not permitted) are final and nothing was done. Everything else (a
 * time-out on either side, a broken connection, a leader that changed) leaves
 * the outcome open.
 */
#include <stdlib.h>

#include "apiserver/store/etcd/etcd.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(etcd);

enum {
    RETRY_MS = 100, /* between rounds of attempts that fail at once */
    TOKEN_MAX_BYTES = 4096,
};

struct etcd_call {
    TAILQ_ENTRY(etcd_call) entry;
    struct store_etcd *x;
    const char *path; /* static */
    struct str body;
    bool idempotent;
    bool waits; /* for its next attempt */
    bool is_login, token_tried;
    size_t max_reply, endpoint;
    int64_t deadline_ms;
    struct http_transfer *transfer;
    etcd_call_fn *fn;
    void *arg;
};

static void login(struct store_etcd *x);

void
etcd_target(const struct store_etcd *x, size_t endpoint, struct http_target *ret)
{
    *ret = (struct http_target){.url = x->endpoints.items[endpoint],
                                .ca_file = x->ca_file,
                                .cert_file = x->cert_file,
                                .key_file = x->key_file,
                                .user_agent = "drover-apiserver"};
}

void
etcd_next_endpoint(struct store_etcd *x, size_t failed)
{
    if (x->endpoint == failed)
        x->endpoint = (failed + 1) % x->endpoints.len;
}

void
etcd_fatal(struct store_etcd *x, const struct error *e)
{
    log_err("the store in etcd is not the one that was", "error=\"%s\"", e->msg);
    if (x->s->opts.on_fatal != NULL)
        x->s->opts.on_fatal(x->s->opts.arg, e);
}

bool
etcd_check_header(struct store_etcd *x, const struct etcd_header *h)
{
    struct error e = ERROR_INIT;

    if (x->cluster == 0)
        x->cluster = h->cluster;
    if (x->cluster == h->cluster)
        return true;
    error_set(&e, ERR_CORRUPT,
              "etcd: this is cluster %llx, not %llx: it was replaced; start "
              "again to take "
              "what it has for the truth",
              (unsigned long long)h->cluster, (unsigned long long)x->cluster);
    etcd_fatal(x, &e);
    return false;
}

/* --- the end of a call --- */

static void
call_free(struct etcd_call *c)
{
    TAILQ_REMOVE(&c->x->calls, c, entry);
    http_transfer_cancel(c->transfer);
    str_done(&c->body);
    free(c);
}

static void
end(struct etcd_call *c, enum etcd_outcome outcome, struct span reply,
    const struct error *e)
{
    etcd_call_fn *fn = c->fn;
    void *arg = c->arg;

    c->transfer = NULL; /* ends by itself */
    call_free(c);
    fn(arg, outcome, reply, e);
}

static void
again(struct etcd_call *c, bool soon)
{
    c->transfer = NULL;
    c->waits = true;
    if (soon)
        loop_timer_in(c->x->retry_timer, 0);
    else if (!loop_timer_armed(c->x->retry_timer))
        loop_timer_in(c->x->retry_timer, RETRY_MS);
}

static void
failed(struct etcd_call *c, enum etcd_outcome outcome, const struct error *e)
{
    struct store_etcd *x = c->x;
    struct error full = *e;

    x->last_failure = *e;
    log_debug("call failed", "path=%s outcome=%d error=\"%s\"", c->path, (int)outcome,
              e->msg);
    if (outcome != ETCD_REFUSED)
        etcd_next_endpoint(x, c->endpoint);
    bool may = outcome == ETCD_FAILED || (outcome == ETCD_UNKNOWN && c->idempotent);
    if (may && loop_now_ms(x->s->loop) < c->deadline_ms) {
        again(c, false);
        return;
    }
    if (outcome != ETCD_REFUSED) {
        full.code = ERR_UNAVAILABLE;
        full.retry_after_ms = 1000;
    }
    error_prepend(&full, "etcd");
    end(c, outcome, (struct span){NULL, 0}, &full);
}

/* --- what a reply means --- */

static enum etcd_outcome
judge(int http, int code, const struct str *text, struct error *e)
{
    const char *t = text->ptr;

    switch (code) {
    case GRPC_INVALID:
    case GRPC_NOT_FOUND:
        error_set(e, strstr(t, "too large") != NULL ? ERR_TOO_LARGE : ERR_PROVIDER, "%s",
                  t);
        return ETCD_REFUSED;
    case GRPC_OUT_OF_RANGE:
        error_set(e, ERR_EXPIRED, "%s", t);
        return ETCD_REFUSED;
    case GRPC_DENIED:
    case GRPC_UNAUTHENTICATED:
        error_set(e, ERR_PROVIDER, "%s; see --etcd-user", t);
        return ETCD_REFUSED;
    case GRPC_EXHAUSTED:
        if (strstr(t, "space exceeded") != NULL) {
            error_set(e, ERR_FULL, "etcd has no space left: %s", t);
            return ETCD_REFUSED;
        }
        if (strstr(t, "larger than max") != NULL || strstr(t, "too large") != NULL) {
            error_set(e, ERR_TOO_LARGE, "%s", t);
            return ETCD_REFUSED;
        }
        error_set(e, ERR_BUSY, "%s", t);
        return ETCD_FAILED; /* too many requests: it was not proposed */
    default:
        error_set(e, ERR_UNAVAILABLE, "HTTP %d: %s", http, t);
        return ETCD_UNKNOWN;
    }
}

static bool
wants_token(const struct etcd_call *c, int code, const struct str *text)
{
    return c->x->user != NULL && !c->is_login && !c->token_tried &&
           (code == GRPC_UNAUTHENTICATED ||
            (code == GRPC_INVALID && strstr(text->ptr, "user name is empty") != NULL));
}

static void
on_done(void *arg, const struct http_reply *r, const struct error *error)
{
    struct etcd_call *c = arg;
    struct store_etcd *x = c->x;
    auto_str text = STR_INIT(4096);
    struct error e = ERROR_INIT;
    int code;

    if (error->code != ERR_OK) {
        enum etcd_outcome o = error->sys == ECONNREFUSED ? ETCD_FAILED : ETCD_UNKNOWN;
        if (error->code == ERR_TOO_LARGE || error->code == ERR_BAD_REQUEST)
            o = c->idempotent ? ETCD_REFUSED : ETCD_UNKNOWN;
        failed(c, o, error);
        return;
    }
    if (r->status == 200) {
        end(c, ETCD_OK, (struct span){r->body.ptr, r->body.len}, NULL);
        return;
    }
    etcd_read_error((struct span){r->body.ptr, r->body.len}, &code, &text);
    if (wants_token(c, code, &text)) {
        etcd_forget_token(x);
        c->token_tried = true;
        again(c, true);
        return;
    }
    enum etcd_outcome o = judge(r->status, code, &text, &e);
    failed(c, o, &e);
}

void
etcd_forget_token(struct store_etcd *x)
{
    free(x->token_header);
    x->token_header = NULL;
}

bool
etcd_has_token(struct store_etcd *x)
{
    bool has = x->user == NULL || x->token_header != NULL;

    if (!has)
        loop_timer_in(x->retry_timer, 0);
    return has;
}

static const struct http_transfer_cbs call_cbs = {.on_done = on_done};

static void
attempt(struct etcd_call *c)
{
    struct store_etcd *x = c->x;
    const char *headers[2] = {NULL, NULL};
    struct http_target target;
    int64_t left = c->deadline_ms - loop_now_ms(x->s->loop);
    int64_t limit = x->opts.attempt_ms;

    if (left < 1)
        left = 1;
    if (x->token_header != NULL && !c->is_login)
        headers[0] = x->token_header;
    struct http_call call = {.method = "POST",
                             .path = c->path,
                             .content_type = "application/json",
                             .headers = headers,
                             .body = c->body.ptr,
                             .body_len = c->body.len,
                             .timeout_ms = (int)(left < limit ? left : limit),
                             .connect_timeout_ms = (int)limit};
    c->waits = false;
    c->endpoint = x->endpoint;
    etcd_target(x, c->endpoint, &target);
    c->transfer = http_multi_start(x->http, &target, &call, c->max_reply, &call_cbs, c);
}

/* Starts what waits, except what needs a token that is not there yet. */
static void
on_retry(void *arg)
{
    struct store_etcd *x = arg;
    struct etcd_call *c;
    struct etcd_call *next;
    bool no_token = x->user != NULL && x->token_header == NULL;

    if (no_token)
        login(x);
    for (c = TAILQ_FIRST(&x->calls); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        if (c->waits && (!no_token || c->is_login))
            attempt(c);
    }
}

/* --- tokens --- */

static void
fail_without_token(struct store_etcd *x, const struct error *e)
{
    struct etcd_call *c;
    struct etcd_call *next;

    for (c = TAILQ_FIRST(&x->calls); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        if (!c->waits)
            continue;
        end(c, ETCD_FAILED, (struct span){NULL, 0}, e);
        next = TAILQ_FIRST(&x->calls); /* the callback may have changed anything */
    }
}

static void
on_login(void *arg, enum etcd_outcome outcome, struct span reply, const struct error *e)
{
    struct store_etcd *x = arg;
    auto_str token = STR_INIT(TOKEN_MAX_BYTES);
    struct error bad = ERROR_INIT;

    x->authenticating = false;
    if (outcome == ETCD_OK && etcd_read_token(reply, &token, &bad) < 0)
        e = &bad;
    if (e != NULL) {
        log_warn_rl("cannot log in to etcd", "error=\"%s\"", e->msg);
        bad = *e;
        bad.code = ERR_UNAVAILABLE;
        fail_without_token(x, &bad);
        return;
    }
    free(x->token_header);
    x->token_header = xasprintf("Authorization: %s", token.ptr);
    loop_timer_in(x->retry_timer, 0);
}

static void
login(struct store_etcd *x)
{
    struct str body = STR_INIT(64 << 10);
    auto_str password = STR_INIT(4096);
    struct error e = ERROR_INIT;

    if (x->authenticating)
        return;
    if (x->password_file != NULL && fs_read(x->password_file, &password, &e) < 0) {
        error_prepend(&e, "the password of etcd");
        fail_without_token(x, &e);
        return;
    }
    while (password.len > 0 && strchr("\r\n", password.ptr[password.len - 1]) != NULL)
        str_truncate(&password, password.len - 1);
    str_addc(&body, '{');
    jput_member(&body, "name", x->user);
    jput_key(&body, "password");
    jput_string(&body, password.ptr, password.len);
    str_addc(&body, '}');
    x->authenticating = true;
    struct etcd_call *c =
        etcd_call(x, "/v3/auth/authenticate", &body, true, TOKEN_MAX_BYTES * 2,
                  loop_now_ms(x->s->loop) + x->opts.attempt_ms, on_login, x);
    c->is_login = true;
}

/* --- calls --- */

struct etcd_call *
etcd_call(struct store_etcd *x, const char *path, struct str *body, bool idempotent,
          size_t max_reply, int64_t deadline_ms, etcd_call_fn *fn, void *arg)
{
    struct etcd_call *c = xnew(struct etcd_call);

    bug_if(body->toobig);
    c->x = x;
    c->path = path;
    c->body = *body;
    *body = STR_INIT(0);
    c->idempotent = idempotent;
    c->max_reply = max_reply;
    c->deadline_ms = deadline_ms;
    c->fn = fn;
    c->arg = arg;
    TAILQ_INSERT_TAIL(&x->calls, c, entry);
    if (x->user != NULL) { /* there may be no token yet; a login marks itself first */
        c->waits = true;
        loop_timer_in(x->retry_timer, 0);
    } else {
        attempt(c);
    }
    return c;
}

void
etcd_call_cancel(struct etcd_call *c)
{
    if (c != NULL)
        call_free(c);
}

static int
add_endpoint(struct store_etcd *x, struct span one, struct error *e)
{
    while (one.len > 0 && one.ptr[one.len - 1] == '/')
        one.len--;
    char *url = xstrndup(one.ptr, one.len);
    vec_push(&x->endpoints, url);
    if (!str_starts(url, "http://") && !str_starts(url, "https://"))
        return error_set(e, ERR_BAD_REQUEST,
                         "etcd endpoint \"%s\": not http://... or https://...", url);
    return 0;
}

int
etcd_call_init(struct store_etcd *x, const char *endpoints, struct error *e)
{
    const char *p = endpoints;

    TAILQ_INIT(&x->calls);
    x->retry_timer = loop_timer_new(x->s->loop, "etcd-retry", on_retry, x);
    while (*p != '\0') {
        size_t n = strcspn(p, ",");
        if (n > 0 && add_endpoint(x, (struct span){p, n}, e) < 0)
            return -(int)e->code;
        p += n + (p[n] == ',');
    }
    if (x->endpoints.len == 0)
        return error_set(e, ERR_BAD_REQUEST, "no etcd endpoint is given");
    return http_multi_new(x->s->loop, &x->http, e);
}

void
etcd_call_done(struct store_etcd *x)
{
    while (!TAILQ_EMPTY(&x->calls))
        call_free(TAILQ_FIRST(&x->calls));
    if (x->http != NULL)
        http_multi_free(x->http);
    loop_timer_free(x->retry_timer);
    vec_foreach (u, &x->endpoints)
        free(*u);
    vec_done(&x->endpoints);
    if (x->token_header != NULL)
        explicit_bzero(x->token_header, strlen(x->token_header));
    free(x->token_header);
}
