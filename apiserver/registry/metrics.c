/* SPDX-License-Identifier: Apache-2.0 */
/* Counters in Prometheus' text form, under the names Kubernetes uses where it has one. */
#include <stdlib.h>

#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

static const double bounds_s[] = {0.001, 0.0025, 0.005, 0.01, 0.025, 0.05,
                                  0.1,   0.25,   0.5,   1,    5,     10};
#define N_BOUNDS ARRAY_LEN(bounds_s)

struct counter { /* one verb, resource, code */
    uint64_t n;
};
struct metrics {
    struct map *requests; /* label text -> struct counter */
    uint64_t duration[N_BOUNDS + 1], duration_us, duration_n;
    uint64_t watch_events;
};
enum { SERIES_MAX = 4096 };

struct metrics *
metrics_new(void)
{
    struct metrics *m = xnew(struct metrics);

    m->requests = map_new(free);
    return m;
}

void
metrics_free(struct metrics *m)
{
    if (m == NULL)
        return;
    map_free(m->requests);
    free(m);
}

void
metrics_request(struct metrics *m, const struct api_call *c, int status)
{
    const struct kind *k = c->route.kind;
    char labels[512];

    snprintf(labels, sizeof(labels),
             "verb=\"%s\",group=\"%s\",version=\"%s\",resource=\"%s\",subresource=\"%s\","
             "code=\"%d\"",
             c->verb, k == NULL ? "" : k->group, k == NULL ? "" : k->version,
             k == NULL ? "" : k->plural, k == NULL ? "" : c->route.sub, status);
    struct counter *n = map_get(m->requests, labels);
    if (n == NULL && map_len(m->requests) < SERIES_MAX) {
        n = xnew(struct counter);
        map_put(m->requests, labels, n);
    }
    if (n != NULL)
        n->n++;
    if (streq(c->verb, "watch"))
        return;
    int64_t us = (clock_now_ns() - c->started_ns) / 1000;
    size_t i = 0;
    while (i < N_BOUNDS && (double)us / 1e6 > bounds_s[i])
        i++;
    m->duration[i]++;
    m->duration_us += us > 0 ? (uint64_t)us : 0;
    m->duration_n++;
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
requests_write(const struct metrics *m, struct str *out)
{
    struct map_cursor cursor = map_begin(m->requests);
    const char *labels;
    void *value;
    uint64_t sum = 0;

    str_adds(out, "# TYPE apiserver_request_total counter\n");
    while (map_next(&cursor, &labels, &value))
        str_addf(out, "apiserver_request_total{%s} %llu\n", labels,
                 (unsigned long long)((struct counter *)value)->n);
    str_adds(out, "# TYPE apiserver_request_duration_seconds histogram\n");
    for (size_t i = 0; i < N_BOUNDS; i++) {
        sum += m->duration[i];
        str_addf(out, "apiserver_request_duration_seconds_bucket{le=\"%g\"} %llu\n",
                 bounds_s[i], (unsigned long long)sum);
    }
    str_addf(out,
             "apiserver_request_duration_seconds_bucket{le=\"+Inf\"} %llu\n"
             "apiserver_request_duration_seconds_sum %f\n"
             "apiserver_request_duration_seconds_count %llu\n",
             (unsigned long long)m->duration_n, (double)m->duration_us / 1e6,
             (unsigned long long)m->duration_n);
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
    if (store_is_shared(s->store)) {
        gauge(out, "drover_store_etcd_lost_races_total", "counter", st.lost_races);
        gauge(out, "drover_store_etcd_unknown_outcomes_total", "counter",
              st.unknown_outcomes);
        gauge(out, "drover_store_etcd_reloads_total", "counter", st.reloads);
    }
    str_adds(out, "# TYPE apiserver_resource_objects gauge\n");
    for (size_t i = 0; i < kinds_len(s->kinds); i++) {
        const char *resource = kinds_at(s->kinds, i)->kind->resource;
        if (!kinds_at(s->kinds, i)->kind->storage)
            continue;
        str_addf(out, "apiserver_resource_objects{resource=\"%s\"} %zu\n", resource,
                 store_count(s->store, resource));
    }
}

void
api_server_metrics(const struct api_server *s, struct str *out)
{
    requests_write(s->metrics, out);
    gauge(out, "apiserver_longrunning_requests", "gauge", s->n_watches);
    gauge(out, "apiserver_current_inflight_requests", "gauge", s->open_calls);
    gauge(out, "apiserver_watch_events_total", "counter", s->metrics->watch_events);
    store_write(s, out);
    history_metrics(s->history, out);
    loop_write(s->loop, out);
}
