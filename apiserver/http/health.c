/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health as kubectl, load balancers and kubelets ask for it: "ok", or with ?verbose a
 * line per check; ?exclude=NAME leaves one out; /livez/NAME is one alone. Reasons are
 * withheld: anybody may ask.
 */
#include <stdlib.h>

#include "apiserver/http/front.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(health);

enum { STUCK_MS = 30000, EXCLUDES_MAX = 16 };

struct health {
    struct api_server *server;
    bool ready, stopping;
    uint64_t commits; /* as last seen, and since when */
    int64_t since_ms;
};

struct health *
health_new(struct api_server *s)
{
    struct health *h = xnew(struct health);

    h->server = s;
    return h;
}

void
health_free(struct health *h)
{
    free(h);
}

void
health_set(struct health *h, bool ready, bool stopping)
{
    h->ready = ready;
    h->stopping = stopping;
}

/* --- the checks
 * ---------------------------------------------------------------------------- */

static const char *
check_nothing(struct health *h)
{
    UNUSED(h);
    return NULL;
}

/* Writes wait, and none has become durable for long. */
static const char *
check_store(struct health *h)
{
    struct store_stats st;
    int64_t now = clock_now_ms();

    store_stats(api_server_store(h->server), &st);
    if (st.pending == 0 || st.commits != h->commits || h->since_ms == 0) {
        h->commits = st.commits;
        h->since_ms = now;
    }
    return now - h->since_ms > STUCK_MS ? "writes do not become durable" : NULL;
}

static const char *
check_started(struct health *h)
{
    return h->ready ? NULL : "starting";
}

static const char *
check_shutdown(struct health *h)
{
    return h->stopping ? "process is shutting down" : NULL;
}

static const struct check {
    const char *name;
    const char *(*run)(struct health *h); /* NULL: well */
    bool ready_only;
} checks[] = {
    {"ping", check_nothing, false},     {"log", check_nothing, false},
    {"store", check_store, false},      {"started", check_started, true},
    {"shutdown", check_shutdown, true},
};

/* --- answering
 * ----------------------------------------------------------------------------- */

static const char *const kinds[] = {"livez", "readyz", "healthz"};

/* "/livez/ping" -> "livez", and "ping" or "". NULL: not about health. */
static const char *
split(const char *path, const char **ret_check)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i]);
        if (path[0] != '/' || strncmp(path + 1, kinds[i], n) != 0)
            continue;
        const char *rest = path + 1 + n;
        if (*rest != '\0' && *rest != '/')
            continue;
        *ret_check = *rest == '/' ? rest + 1 : rest;
        return kinds[i];
    }
    return NULL;
}

bool
health_is(const char *path)
{
    const char *check;

    return split(path, &check) != NULL;
}

static void
send(struct http_request *r, int status, const char *text)
{
    http_add_header(r, "Cache-Control", "no-cache, private");
    http_add_header(r, "X-Content-Type-Options", "nosniff");
    http_respond(r, status, "text/plain; charset=utf-8", text, strlen(text));
}

static void
serve_one(struct health *h, struct http_request *r, const char *kind, const char *name)
{
    auto_str text = STR_INIT(512);

    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (!streq(checks[i].name, name) ||
            (checks[i].ready_only && !streq(kind, "readyz")))
            continue;
        const char *why = checks[i].run(h);
        if (why != NULL)
            str_addf(&text, "internal server error: %s\n", why);
        send(r, why == NULL ? 200 : 500, why == NULL ? "ok" : text.ptr);
        return;
    }
    send(r, 404, "404 page not found\n");
}

struct excludes {
    const char *name[EXCLUDES_MAX];
    bool used[EXCLUDES_MAX];
    size_t n;
};

static bool
add_exclude(void *arg, const char *key, const char *value)
{
    struct excludes *x = arg;

    if (streq(key, "exclude") && x->n < EXCLUDES_MAX)
        x->name[x->n++] = value;
    return true;
}

static bool
is_excluded(struct excludes *x, const char *name)
{
    bool found = false;

    for (size_t i = 0; i < x->n; i++) {
        if (streq(x->name[i], name))
            x->used[i] = found = true;
    }
    return found;
}

static bool
run_all(struct health *h, const char *kind, struct excludes *x, struct str *out)
{
    bool well = true;

    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (checks[i].ready_only && !streq(kind, "readyz"))
            continue;
        if (is_excluded(x, checks[i].name)) {
            str_addf(out, "[+]%s excluded: ok\n", checks[i].name);
            continue;
        }
        const char *why = checks[i].run(h);
        if (why == NULL) {
            str_addf(out, "[+]%s ok\n", checks[i].name);
            continue;
        }
        well = false;
        log_debug("unhealthy", "check=%s reason=\"%s\"", checks[i].name, why);
        str_addf(out, "[-]%s failed: reason withheld\n", checks[i].name);
    }
    return well;
}

void
health_serve(struct health *h, struct http_request *r)
{
    const char *name = "";
    const char *kind = split(http_path(r), &name);
    struct excludes x = {0};
    auto_str text = STR_INIT(8192);

    if (kind == NULL) {
        send(r, 404, "404 page not found\n");
        return;
    }
    if (!streq(http_method(r), "GET") && !streq(http_method(r), "HEAD")) {
        http_add_header(r, "Allow", "GET, HEAD");
        send(r, 405, "method not allowed\n");
        return;
    }
    if (*name != '\0') {
        serve_one(h, r, kind, name);
        return;
    }
    http_query_each(r, add_exclude, &x);
    bool well = run_all(h, kind, &x, &text);
    for (size_t i = 0; i < x.n; i++) {
        if (!x.used[i])
            str_addf(&text,
                     "warn: some health checks cannot be excluded: no matches for "
                     "\"%.100s\"\n",
                     x.name[i]);
    }
    str_addf(&text, "%s check %s\n", kind, well ? "passed" : "failed");
    bool verbose = http_query(r, "verbose") != NULL;
    send(r, well ? 200 : 500, well && !verbose ? "ok" : text.ptr);
}
