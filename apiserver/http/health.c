/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Health as kubectl, load balancers and kubelets ask for it: "ok", or with ?verbose a
 * line per check; ?exclude=NAME leaves one out; /livez/NAME is one alone. Reasons are
 * withheld: anybody may ask.
 *
 * What is wrong with the installation but would be no better on another API server, nor
 * after a restart of this one, must not take it out of a load balancer, for then nobody
 * could look or make room: dead controllers, a full disk. Those checks are asked alone
 * (/healthz/controllers), and are metrics.
 */
#include <stdlib.h>
#include <string.h>

#include "apiserver/http/front.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(health);

enum { STUCK_MS = 30000, EXCLUDES_MAX = 16 };
/* Where drover-controllers keep their Leases: one for all, or "-NAMES" for each set. */
#define CONTROLLERS_NS "drover-system"
#define CONTROLLERS_LEASE "drover-controllers"

struct health {
    struct api_server *server;
    bool ready, stopping;
    uint64_t commits; /* as last seen, and since when */
    int64_t since_ms;
    char text[300]; /* the reason that was made last */
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

static const char *
check_disk(struct health *h)
{
    struct store_stats st;

    store_stats(api_server_store(h->server), &st);
    return st.full ? "no space left on the disk of the store: writes are refused" : NULL;
}

/* Why a controllers' Lease says that nobody is at work. NULL: somebody is. The clocks of
 * its holder and of this machine are compared: fit for people, not for taking it over. */
static const char *
lease_problem(struct health *h, const struct object *lease)
{
    char renewed[64], ago[32], holder[256];
    int64_t at, age_s;

    object_get_string(lease, "spec.renewTime", renewed, sizeof(renewed));
    object_get_string(lease, "spec.holderIdentity", holder, sizeof(holder));
    if (!clock_parse(renewed, strlen(renewed), &at))
        at = 0;
    age_s = (clock_wall_ns() - at) / 1000000000;
    if (holder[0] != '\0' &&
        age_s <= object_get_int(lease, "spec.leaseDurationSeconds", 0))
        return NULL;
    clock_human(age_s, ago, sizeof(ago));
    snprintf(
        h->text, sizeof(h->text),
        "the Lease \"%s\" was given back or last renewed %s ago: its controllers are "
        "not at work",
        lease->name, ago);
    return h->text;
}

static const char *
check_controllers(struct health *h)
{
    struct store_list *l = store_list(api_server_store(h->server),
                                      "leases.coordination.k8s.io", CONTROLLERS_NS, NULL);
    const struct object *o;
    const char *why = "no controllers have ever been at work";
    bool any = false;

    while ((o = store_list_next(l)) != NULL) {
        if (strncmp(o->name, CONTROLLERS_LEASE, strlen(CONTROLLERS_LEASE)) != 0)
            continue;
        const char *problem = lease_problem(h, o);
        if (!any || problem != NULL)
            why = problem;
        any = true;
        if (problem != NULL)
            break;
    }
    store_list_free(l);
    return why;
}

enum {
    LIVEZ = 1 << 0,
    READYZ = 1 << 1,
    HEALTHZ = 1 << 2,
    ALONE = 1 << 3, /* asked by its name only */
    ALL = LIVEZ | READYZ | HEALTHZ,
};

static const struct check {
    const char *name;
    const char *(*run)(struct health *h); /* NULL: well */
    unsigned of;
} checks[] = {
    {"ping", check_nothing, ALL},
    {"log", check_nothing, ALL},
    {"store", check_store, ALL},
    {"started", check_started, READYZ},
    {"shutdown", check_shutdown, READYZ},
    {"disk", check_disk, HEALTHZ | ALONE},
    {"controllers", check_controllers, HEALTHZ | ALONE},
};

/* --- answering
 * ----------------------------------------------------------------------------- */

static const struct kind_of_health {
    const char *name;
    unsigned bit;
} kinds[] = {{"livez", LIVEZ}, {"readyz", READYZ}, {"healthz", HEALTHZ}};

/* "/livez/ping" -> "livez", and "ping" or "". NULL: not about health. */
static const struct kind_of_health *
split(const char *path, const char **ret_check)
{
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        size_t n = strlen(kinds[i].name);
        if (path[0] != '/' || strncmp(path + 1, kinds[i].name, n) != 0)
            continue;
        const char *rest = path + 1 + n;
        if (*rest != '\0' && *rest != '/')
            continue;
        *ret_check = *rest == '/' ? rest + 1 : rest;
        return &kinds[i];
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
serve_one(struct health *h, struct http_request *r, unsigned kind, const char *name)
{
    auto_str text = STR_INIT(512);

    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if (!streq(checks[i].name, name) || (checks[i].of & kind) == 0)
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
run_all(struct health *h, unsigned kind, struct excludes *x, struct str *out)
{
    bool well = true;

    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        if ((checks[i].of & kind) == 0 || (checks[i].of & ALONE) != 0)
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
    const struct kind_of_health *kind = split(http_path(r), &name);
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
        serve_one(h, r, kind->bit, name);
        return;
    }
    http_query_each(r, add_exclude, &x);
    bool well = run_all(h, kind->bit, &x, &text);
    for (size_t i = 0; i < x.n; i++) {
        if (!x.used[i])
            str_addf(&text,
                     "warn: some health checks cannot be excluded: no matches for "
                     "\"%.100s\"\n",
                     x.name[i]);
    }
    str_addf(&text, "%s check %s\n", kind->name, well ? "passed" : "failed");
    bool verbose = http_query(r, "verbose") != NULL;
    send(r, well ? 200 : 500, well && !verbose ? "ok" : text.ptr);
}

/* The name that the field's dashboards know. */
void
health_metrics(struct health *h, struct str *out)
{
    str_adds(out, "# TYPE kubernetes_healthcheck gauge\n");
    for (size_t i = 0; i < ARRAY_LEN(checks); i++) {
        bool well = checks[i].run(h) == NULL;
        for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
            if ((checks[i].of & kinds[k].bit) != 0)
                str_addf(out, "kubernetes_healthcheck{name=\"%s\",type=\"%s\"} %d\n",
                         checks[i].name, kinds[k].name, well);
        }
    }
}
