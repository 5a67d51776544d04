/* SPDX-License-Identifier: Apache-2.0 */
/* Counters in Prometheus' text form, under the names Kubernetes uses where it has one. */
#include <stdlib.h>

#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

static const double bounds_s[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                  0.1,   0.25,   0.5,   1,    5,     10};
#define N_BOUNDS ARRAY_LEN(bounds_s)

/* One verb on one resource. */
struct series {
    struct {
        int code;
        uint64_t n;
    } codes[16];
    size_t n_codes;
    uint64_t bucket[N_BOUNDS + 1], n, us;
    bool timed; /* not for watches: they last as long as their client wants */
};
struct metrics {
    struct map *series; /* label text -> struct series */
    uint64_t watch_events;
};
enum { SERIES_MAX = 1024 };

struct metrics *
metrics_new(void)
{
    struct metrics *m = xnew(struct metrics);

    m->series = map_new(free);
    return m;
}

void
metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    map_free(m->series);
    free(m);
}

/* In Kubernetes' words: the methods, but LIST, WATCH, APPLY and DELETECOLLECTION. */
static const char *
verb_label(const struct api_call *c)
{
    static const struct {
        const char *verb, *label;
    } labels[] = {{"get", "GET"},       {"list", "LIST"},
                  {"watch", "WATCH"},   {"create", "POST"},
                  {"update", "PUT"},    {"patch", "PATCH"},
                  {"delete", "DELETE"}, {"deletecollection", "DELETECOLLECTION"},
                  {"post", "POST"},     {"put", "PUT"},
                  {"head", "HEAD"}};

    if (streq(c->verb, "patch") && c->ops != NULL) {
        const char *type = call_header_in(c, "Content-Type");
        if (type != NULL && str_starts(type, "application/apply-patch+"))
            return "APPLY";
    }
    for (size_t i = 0; i < ARRAY_LEN(labels); i++) {
        if (streq(c->verb, labels[i].verb))
            return labels[i].label;
    }
    return "OTHER";
}

static struct series *
find_series(struct metrics *m, const struct api_call *c)
{
    const struct kind *k = c->route.kind;
    char labels[512];
    const char *scope = "";
    const char *dry = c->ops == NULL ? NULL : call_query(c, "dryRun");

    if (k != NULL)
        scope = *c->route.name != '\0' ? "resource"
                : *c->route.ns != '\0' ? "namespace"
                                       : "cluster";
    /* Only names that we know: what clients make up would fill the table. */
    snprintf(labels, sizeof(labels),
             "verb=\"%s\",dry_run=\"%s\",group=\"%s\",version=\"%s\",resource=\"%s\","
             "subresource=\"%s\",scope=\"%s\",component=\"apiserver\"",
             verb_label(c), dry != NULL && streq(dry, "All") ? "All" : "",
             k == NULL ? "" : k->group, k == NULL ? "" : k->version,
             k == NULL ? "" : k->plural,
             k != NULL && streq(c->route.sub, "status") ? "status"
             : k != NULL && *c->route.sub != '\0'       ? "other"
                                                        : "",
             scope);
    struct series *s = map_get(m->series, labels);
    if (s == NULL && map_len(m->series) < SERIES_MAX) {
        s = xnew(struct series);
        s->timed = !streq(c->verb, "watch");
        map_put(m->series, labels, s);
    }
    return s;
}

void
metrics_request(struct metrics *m, const struct api_call *c, int status)
{
    struct series *s = find_series(m, c);
    size_t i = 0;

    if (s == NULL)
        return;
    while (i < s->n_codes && s->codes[i].code != status)
        i++;
    if (i == s->n_codes && i < ARRAY_LEN(s->codes))
        s->codes[s->n_codes++].code = status;
    if (i < s->n_codes)
        s->codes[i].n++;
    if (!s->timed)
        return;
    int64_t us = (clock_now_ns() - c->started_ns) / 1000;
    for (i = 0; i < N_BOUNDS && (double)us / 1e6 > bounds_s[i];)
        i++;
    s->bucket[i]++;
    s->us += us > 0 ? (uint64_t)us : 0;
    s->n++;
}

void
api_server_count(struct api_server *s, const char *method, const char *path, bool watch,
                 int64_t started_ns, int status)
{
    struct api_call c = {.server = s, .started_ns = started_ns};

    route_parse(s->kinds, path, &c.route);
    c.verb = call_verb_of(method, &c.route, watch);
    metrics_request(s->metrics, &c, status);
}

void
metrics_watch_event(struct metrics *m)
{
    m->watch_events++;
}

static void
gauge(struct str *out, const char *name, const char *type, uint64_t value)
{
    str_addf(out, "# TYPE %s %s\n%s %llu\n", name, type, name, (unsigned long long)value);
}

static void
durations_write(const struct series *s, const char *labels, struct str *out)
{
    static const char name[] = "apiserver_request_duration_seconds";
    uint64_t sum = 0;

    for (size_t i = 0; i < N_BOUNDS; i++) {
        sum += s->bucket[i];
        str_addf(out, "%s_bucket{%s,le=\"%g\"} %llu\n", name, labels, bounds_s[i],
                 (unsigned long long)sum);
    }
    str_addf(out, "%s_bucket{%s,le=\"+Inf\"} %llu\n%s_sum{%s} %f\n%s_count{%s} %llu\n",
             name, labels, (unsigned long long)s->n, name, labels, (double)s->us / 1e6,
             name, labels, (unsigned long long)s->n);
}

static void
requests_write(const struct metrics *m, struct str *out)
{
    struct map_cursor cursor = map_begin(m->series);
    const char *labels;
    void *value;

    str_adds(out, "# TYPE apiserver_request_total counter\n");
    while (map_next(&cursor, &labels, &value)) {
        const struct series *s = value;
        for (size_t i = 0; i < s->n_codes; i++)
            str_addf(out, "apiserver_request_total{%s,code=\"%d\"} %llu\n", labels,
                     s->codes[i].code, (unsigned long long)s->codes[i].n);
    }
    str_adds(out, "# TYPE apiserver_request_duration_seconds histogram\n");
    cursor = map_begin(m->series);
    while (map_next(&cursor, &labels, &value)) {
        if (((struct series *)value)->timed)
            durations_write(value, labels, out);
    }
}

static void
loop_write(const struct loop *l, struct str *out)
{
    struct loop_stats s;
    uint64_t sum = 0;

    loop_stats(l, &s);
    str_adds(out, "# TYPE drover_loop_lag_seconds histogram\n");
    for (size_t i = 0; i < LOOP_LAG_BUCKETS; i++) {
        sum += s.lag[i];
        if (i + 1 < LOOP_LAG_BUCKETS)
            str_addf(out, "drover_loop_lag_seconds_bucket{le=\"%g\"} %llu\n",
                     s.lag_bound_us[i] / 1e6, (unsigned long long)sum);
        else
            str_addf(out, "drover_loop_lag_seconds_bucket{le=\"+Inf\"} %llu\n",
                     (unsigned long long)sum);
    }
    str_addf(out, "drover_loop_lag_seconds_count %llu\n", (unsigned long long)sum);
    str_addf(out,
             "# TYPE drover_loop_lag_max_seconds gauge\ndrover_loop_lag_max_seconds %f\n",
             (double)s.lag_max_us / 1e6);
    gauge(out, "drover_loop_turns_total", "counter", s.turns);
    gauge(out, "drover_loop_long_callbacks_total", "counter", s.n_long);
    for (size_t i = 0; i < LOOP_LONG_NAMES && s.longs[i].name != NULL; i++)
        str_addf(out, "drover_loop_long_callback_max_seconds{source=\"%s\"} %f\n",
                 s.longs[i].name, s.longs[i].max_us / 1e6);
}

static void
store_write(const struct api_server *s, struct str *out)
{
    struct store_stats st;

    store_stats(s->store, &st);
    gauge(out, "drover_store_revision", "gauge", st.revision);
    gauge(out, "drover_store_commits_total", "counter", st.commits);
    gauge(out, "drover_store_fsyncs_total", "counter", st.fsyncs);
    gauge(out, "drover_store_fsync_max_microseconds", "gauge", st.fsync_us_max);
    gauge(out, "drover_store_log_bytes", "gauge", st.log_bytes);
    gauge(out, "drover_store_object_bytes", "gauge", st.object_bytes);
    gauge(out, "drover_store_pending_commits", "gauge", st.pending);
    gauge(out, "drover_store_full", "gauge", st.full);
    if (store_is_shared(s->store)) {
        gauge(out, "drover_store_etcd_lost_races_total", "counter", st.lost_races);
        gauge(out, "drover_store_etcd_unknown_outcomes_total", "counter",
              st.unknown_outcomes);
        gauge(out, "drover_store_etcd_reloads_total", "counter", st.reloads);
    }
    str_adds(out, "# TYPE apiserver_storage_objects gauge\n");
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const struct kind *k = kinds_at(s->kinds, i)->kind;
        if (k->storage)
            str_addf(out, "apiserver_storage_objects{resource=\"%s\"} %zu\n", k->resource,
                     store_count(s->store, k->resource));
    }
    str_adds(out, "# TYPE apiserver_resource_objects gauge\n");
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const struct kind *k = kinds_at(s->kinds, i)->kind;
        if (k->storage)
            str_addf(out,
                     "apiserver_resource_objects{group=\"%s\",resource=\"%s\"} %zu\n",
                     k->group, k->plural, store_count(s->store, k->resource));
    }
}

void
api_server_metrics(const struct api_server *s, struct str *out)
{
    requests_write(s->metrics, out);
    watches_write(s, out);
    gauge(out, "drover_open_calls", "gauge", s->open_calls);
    gauge(out, "apiserver_watch_events_total", "counter", s->metrics->watch_events);
    store_write(s, out);
    history_metrics(s->history, out);
    loop_write(s->loop, out);
}
