/* SPDX-License-Identifier: Apache-2.0 */
/* Set-up of a curl easy handle from our request, and our reply from its callbacks. */
#include "io/http_exchange.h"

#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <strings.h>
#include <sys/mman.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"

enum {
    DEFAULT_TIMEOUT_MS = 30000,
    DEFAULT_CONNECT_MS = 5000,
    RECEIVE_BUFFER = 64 << 10,
    TOKEN_MAX = 64 << 10,
    KEEPALIVE_IDLE_S = 30,
    KEEPALIVE_INTERVAL_S = 10,
};

static pthread_once_t curl_once = PTHREAD_ONCE_INIT;

static void
init_curl(void)
{
    bug_if(curl_global_init(CURL_GLOBAL_DEFAULT) != CURLE_OK);
}

/* --- target ---------------------------------------------------------------------------
 */

static char *
dup_or_null(const char *s)
{
    return s == NULL ? NULL : xstrdup(s);
}

void
http_peer_conf_copy(struct http_peer_conf *out, const struct http_target *t)
{
    pthread_once(&curl_once, init_curl);
    *out = (struct http_peer_conf){
        .url = xstrdup(t->url == NULL ? "http://localhost" : t->url),
        .unix_socket = dup_or_null(t->unix_socket),
        .ca_path = dup_or_null(t->ca_file),
        .cert_file = dup_or_null(t->cert_file),
        .key_file = dup_or_null(t->key_file),
        .bearer = dup_or_null(t->bearer),
        .bearer_file = dup_or_null(t->bearer_file),
        .user_agent =
            xstrdup(t->user_agent == NULL ? "drover/" DROVER_VERSION : t->user_agent),
        .insecure = t->insecure,
        .idle_seconds = t->idle_seconds,
        .ca_fd = -1,
    };
    size_t n = strlen(out->url);
    while (n > 0 && out->url[n - 1] == '/')
        out->url[--n] = '\0';
}

void
http_peer_conf_done(struct http_peer_conf *c)
{
    free(c->url);
    free(c->unix_socket);
    free(c->ca_path);
    free(c->cert_file);
    free(c->key_file);
    free(c->bearer);
    free(c->bearer_file);
    free(c->user_agent);
    if (c->ca_fd >= 0)
        close(c->ca_fd);
    *c = (struct http_peer_conf){.ca_fd = -1};
}

int
http_ca_memfd(const char *pem, int *ret_fd, char **ret_path, struct error *e)
{
    autoclose int fd = memfd_create("ca", MFD_CLOEXEC);

    if (fd < 0)
        return error_errno(e, errno, "create memory file");
    int rc = fs_write_all(fd, pem, strlen(pem), e);
    if (rc != 0)
        return rc;
    *ret_path = xasprintf("/proc/self/fd/%d", fd);
    *ret_fd = move_fd(fd);
    return 0;
}

/* A proxy of the environment is for the way out, never for ourselves. */
static bool
is_local(const struct http_peer_conf *peer)
{
    const char *host = strstr(peer->url, "://");

    if (peer->unix_socket != NULL)
        return true;
    host = host == NULL ? peer->url : host + 3;
    return str_starts(host, "127.") || str_starts(host, "localhost") ||
           str_starts(host, "[::1]");
}

/* --- reply ----------------------------------------------------------------------------
 */

void
http_reply_init(struct http_reply *r, size_t max_body)
{
    *r = (struct http_reply){.status = 0};
    str_init(&r->body, max_body);
}

void
http_reply_done(struct http_reply *r)
{
    str_done(&r->body);
}

/* The value when the line is the named header, trimmed; length 0 otherwise. */
static struct span
header_value(const char *line, size_t n, const char *name)
{
    size_t m = strlen(name);

    if (n <= m || line[m] != ':' || strncasecmp(line, name, m) != 0)
        return (struct span){0};
    const char *p = line + m + 1;
    const char *end = line + n;
    while (p < end && (*p == ' ' || *p == '\t'))
        p++;
    while (end > p && (end[-1] == '\r' || end[-1] == '\n' || end[-1] == ' '))
        end--;
    return (struct span){p, (size_t)(end - p)};
}

static void
keep_header(struct http_reply *r, const char *line, size_t n)
{
    struct span v = header_value(line, n, "Content-Type");

    if (v.len > 0)
        snprintf(r->content_type, sizeof(r->content_type), SPAN_FMT, SPAN_ARG(v));
    v = header_value(line, n, "Warning");
    if (v.len > 0 && r->warning[0] == '\0')
        snprintf(r->warning, sizeof(r->warning), SPAN_FMT, SPAN_ARG(v));
    v = header_value(line, n, "Retry-After");
    uint32_t seconds = 0;
    for (size_t i = 0; i < v.len && v.ptr[i] >= '0' && v.ptr[i] <= '9'; i++) {
        if (seconds < 100000)
            seconds = seconds * 10 + (uint32_t)(v.ptr[i] - '0');
    }
    if (seconds > 0)
        r->retry_after_ms = seconds * 1000;
}

static size_t
on_header(char *line, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    struct http_reply *r = x->reply;
    size_t n = size * count;
    long status = 0;

    if (x->headers_seen) /* trailers */
        return n;
    if (n > 5 && memcmp(line, "HTTP/", 5) == 0) {
        r->content_type[0] = r->warning[0] = '\0';
        r->retry_after_ms = 0;
        return n;
    }
    if (line[0] != '\r' && line[0] != '\n') {
        keep_header(r, line, n);
        return n;
    }
    curl_easy_getinfo(x->easy, CURLINFO_RESPONSE_CODE, &status);
    if (status < 200) /* an interim reply; the real one follows */
        return n;
    x->headers_seen = true;
    r->status = (int)status;
    return x->on_headers == NULL || x->on_headers(x->arg) ? n : 0;
}

static size_t
on_body(char *bytes, size_t size, size_t count, void *arg)
{
    struct http_exchange *x = arg;
    size_t n = size * count;

    if (x->on_bytes != NULL && x->reply->status / 100 == 2)
        return x->on_bytes(x->arg, bytes, n);
    str_add(&x->reply->body, bytes, n);
    x->toobig = x->reply->body.toobig;
    return x->toobig ? 0 : n;
}

/* --- request --------------------------------------------------------------------------
 */

static int
add_header(struct http_exchange *x, const char *name, const char *value, struct error *e)
{
    if (strpbrk(value, "\r\n") != NULL)
        return error_set(e, ERR_BAD_REQUEST, "line break in the %s header", name);
    autofree char *line = xasprintf("%s: %s", name, value);
    struct curl_slist *more = curl_slist_append(x->headers, line);
    bug_if(more == NULL);
    x->headers = more;
    return 0;
}

static int
add_bearer(struct http_exchange *x, const struct http_peer_conf *peer, struct error *e)
{
    auto_str token = STR_INIT(TOKEN_MAX);

    if (peer->bearer_file != NULL) {
        int rc = fs_read(peer->bearer_file, &token, e);
        if (rc != 0)
            return error_prepend(e, "read the token");
    } else if (peer->bearer != NULL) {
        str_adds(&token, peer->bearer);
    } else {
        return 0;
    }
    while (token.len > 0 && strchr(" \t\r\n", token.ptr[token.len - 1]) != NULL)
        str_truncate(&token, token.len - 1);
    autofree char *value = xasprintf("Bearer %s", token.ptr);
    return add_header(x, "Authorization", value, e);
}

static int
add_headers(struct http_exchange *x, const struct http_peer_conf *peer,
            const struct http_call *call, struct error *e)
{
    int rc = add_bearer(x, peer, e);

    if (rc == 0 && call->content_type != NULL)
        rc = add_header(x, "Content-Type", call->content_type, e);
    if (rc == 0 && call->accept != NULL)
        rc = add_header(x, "Accept", call->accept, e);
    for (const char *const *h = call->headers; rc == 0 && h != NULL && *h != NULL; h++) {
        if (strpbrk(*h, "\r\n") != NULL)
            return error_set(e, ERR_BAD_REQUEST, "line break in a header");
        struct curl_slist *more = curl_slist_append(x->headers, *h);
        bug_if(more == NULL);
        x->headers = more;
    }
    /* No wait for a "100 Continue", and no form type of curl's choice. */
    struct curl_slist *more = curl_slist_append(x->headers, "Expect:");
    if (call->content_type == NULL)
        more = curl_slist_append(more, "Content-Type:");
    bug_if(more == NULL);
    x->headers = more;
    return rc;
}

static void
set_method(CURL *c, const struct http_call *call)
{
    const char *m = call->method;
    bool wants_body = streq(m, "POST") || streq(m, "PUT") || streq(m, "PATCH");

    if (call->body_len > 0 || wants_body) {
        curl_easy_setopt(c, CURLOPT_POST, 1L);
        curl_easy_setopt(c, CURLOPT_POSTFIELDSIZE_LARGE, (curl_off_t)call->body_len);
        curl_easy_setopt(c, CURLOPT_POSTFIELDS, call->body_len > 0 ? call->body : "");
        curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, m);
    } else if (streq(m, "HEAD")) {
        curl_easy_setopt(c, CURLOPT_NOBODY, 1L);
    } else {
        curl_easy_setopt(c, CURLOPT_HTTPGET, 1L);
        if (!streq(m, "GET"))
            curl_easy_setopt(c, CURLOPT_CUSTOMREQUEST, m);
    }
}

static void
set_peer(CURL *c, const struct http_peer_conf *peer)
{
    curl_easy_setopt(c, CURLOPT_USERAGENT, peer->user_agent);
    if (peer->unix_socket != NULL)
        curl_easy_setopt(c, CURLOPT_UNIX_SOCKET_PATH, peer->unix_socket);
    if (peer->idle_seconds > 0)
        curl_easy_setopt(c, CURLOPT_MAXAGE_CONN, (long)peer->idle_seconds);
    if (is_local(peer))
        curl_easy_setopt(c, CURLOPT_PROXY, "");
    curl_easy_setopt(c, CURLOPT_SSLVERSION, (long)CURL_SSLVERSION_TLSv1_2);
    if (peer->ca_path != NULL) {
        curl_easy_setopt(c, CURLOPT_CAINFO, peer->ca_path);
        curl_easy_setopt(c, CURLOPT_CAPATH, NULL);
    }
    if (peer->cert_file != NULL)
        curl_easy_setopt(c, CURLOPT_SSLCERT, peer->cert_file);
    if (peer->key_file != NULL)
        curl_easy_setopt(c, CURLOPT_SSLKEY, peer->key_file);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYPEER, peer->insecure ? 0L : 1L);
    curl_easy_setopt(c, CURLOPT_SSL_VERIFYHOST, peer->insecure ? 0L : 2L);
}

static void
set_transport(CURL *c, const struct http_call *call)
{
    long timeout = call->timeout_ms == 0 ? DEFAULT_TIMEOUT_MS : call->timeout_ms;
    long connect =
        call->connect_timeout_ms == 0 ? DEFAULT_CONNECT_MS : call->connect_timeout_ms;

    curl_easy_setopt(c, CURLOPT_NOSIGNAL, 1L);
    curl_easy_setopt(c, CURLOPT_HTTP_VERSION, (long)CURL_HTTP_VERSION_1_1);
    curl_easy_setopt(c, CURLOPT_PROTOCOLS_STR, "http,https");
    curl_easy_setopt(c, CURLOPT_FOLLOWLOCATION, 0L);
    curl_easy_setopt(c, CURLOPT_PATH_AS_IS, 1L);
    curl_easy_setopt(c, CURLOPT_TIMEOUT_MS, timeout < 0 ? 0L : timeout);
    curl_easy_setopt(c, CURLOPT_CONNECTTIMEOUT_MS, connect);
    curl_easy_setopt(c, CURLOPT_FRESH_CONNECT, call->once ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_FORBID_REUSE, call->once ? 1L : 0L);
    curl_easy_setopt(c, CURLOPT_BUFFERSIZE, (long)RECEIVE_BUFFER);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPALIVE, 1L);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPIDLE, (long)KEEPALIVE_IDLE_S);
    curl_easy_setopt(c, CURLOPT_TCP_KEEPINTVL, (long)KEEPALIVE_INTERVAL_S);
}

int
http_exchange_prepare(struct http_exchange *x, const struct http_peer_conf *peer,
                      const struct http_call *call, struct error *e)
{
    CURL *c = x->easy;

    curl_easy_reset(c);
    x->url = xasprintf("%s%s", peer->url, call->path);
    curl_easy_setopt(c, CURLOPT_URL, x->url);
    curl_easy_setopt(c, CURLOPT_ERRORBUFFER, x->text);
    set_transport(c, call);
    set_peer(c, peer);
    set_method(c, call);
    int rc = add_headers(x, peer, call, e);
    if (rc != 0)
        return rc;
    curl_easy_setopt(c, CURLOPT_HTTPHEADER, x->headers);
    curl_easy_setopt(c, CURLOPT_HEADERFUNCTION, on_header);
    curl_easy_setopt(c, CURLOPT_HEADERDATA, x);
    curl_easy_setopt(c, CURLOPT_WRITEFUNCTION, on_body);
    curl_easy_setopt(c, CURLOPT_WRITEDATA, x);
    return 0;
}

static enum err_code
classify(CURLcode code)
{
    if (code == CURLE_OPERATION_TIMEDOUT)
        return ERR_TIMEOUT;
    if (code == CURLE_URL_MALFORMAT || code == CURLE_UNSUPPORTED_PROTOCOL)
        return ERR_BAD_REQUEST;
    if (code == CURLE_PEER_FAILED_VERIFICATION || code == CURLE_SSL_CONNECT_ERROR ||
        code == CURLE_SSL_CERTPROBLEM || code == CURLE_SSL_CACERT_BADFILE ||
        code == CURLE_WEIRD_SERVER_REPLY)
        return ERR_PROVIDER;
    return ERR_UNAVAILABLE;
}

int
http_exchange_result(const struct http_exchange *x, const char *method, CURLcode code,
                     struct error *e)
{
    if (x->toobig)
        return error_set(e, ERR_TOO_LARGE, "%s %s: the reply is larger than %zu bytes",
                         method, x->url, x->reply->body.max);
    if (code == CURLE_OK)
        return 0;
    error_set(e, classify(code), "%s %s: %s", method, x->url,
              x->text[0] != '\0' ? x->text : curl_easy_strerror(code));
    if (code == CURLE_COULDNT_CONNECT || code == CURLE_COULDNT_RESOLVE_HOST)
        e->sys = ECONNREFUSED;
    return -(int)e->code;
}

void
http_exchange_done(struct http_exchange *x)
{
    curl_slist_free_all(x->headers);
    x->headers = NULL;
    free(x->url);
    x->url = NULL;
}
