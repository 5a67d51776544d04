/* SPDX-License-Identifier: Apache-2.0 */
/* Limits per user and in all. */
#include "apiserver/http/limits.h"

#include <stdlib.h>

#include "base/map.h"
#include "base/mem.h"

enum {
    USERS_SWEEP = 4096, /* then those that a fresh entry would equal are forgotten */
    USERS_MAX = 65536,  /* more names share one entry */
    FEW = 4,            /* requests in flight of one user ... */
    RESERVE_SHARE = 8,  /* ... for whom the last of so many places are */
};

struct limits_user {
    double tokens;
    int64_t at_ms;
    int64_t inflight, watches;
};

struct limits {
    struct limits_opts o;
    struct map *users;
    size_t sweep_at;
    struct limits_user shared;
    int64_t inside[LIMITS_N_CLASSES]; /* everybody */
    int64_t limited[LIMITS_N_LANES][LIMITS_N_CLASSES];
    uint64_t refused[LIMITS_N_CLASSES];
};

struct limits *
limits_new(const struct limits_opts *o)
{
    struct limits *l = xnew(struct limits);

    l->o = *o;
    l->users = map_new(free);
    l->sweep_at = USERS_SWEEP;
    l->shared.tokens = o->burst;
    return l;
}

void
limits_free(struct limits *l)
{
    if (l == NULL)
        return;
    map_free(l->users);
    free(l);
}

static void
refill(const struct limits *l, struct limits_user *u, int64_t now_ms)
{
    if (now_ms > u->at_ms)
        u->tokens += (double)(now_ms - u->at_ms) / 1000.0 * l->o.rate;
    if (l->o.rate <= 0 || u->tokens > l->o.burst)
        u->tokens = l->o.burst;
    u->at_ms = now_ms;
}

static void
sweep(struct limits *l, int64_t now_ms)
{
    struct map_cursor c = map_begin(l->users);
    const char *name;
    void *value;

    while (map_next(&c, &name, &value)) {
        struct limits_user *u = value;
        refill(l, u, now_ms);
        if (u->inflight == 0 && u->watches == 0 && u->tokens >= l->o.burst)
            map_del(l->users, name);
    }
    /* Not again for each of those who stay. */
    l->sweep_at =
        map_len(l->users) * 2 < USERS_SWEEP ? USERS_SWEEP : map_len(l->users) * 2;
}

static struct limits_user *
find(struct limits *l, const char *name, int64_t now_ms)
{
    struct limits_user *u = map_get(l->users, name);

    if (u != NULL)
        return u;
    if (map_len(l->users) >= l->sweep_at)
        sweep(l, now_ms);
    if (map_len(l->users) >= USERS_MAX)
        return &l->shared;
    u = xnew(struct limits_user);
    u->tokens = l->o.burst;
    u->at_ms = now_ms;
    map_put(l->users, name, u);
    return u;
}

static bool
over(int64_t have, int64_t most)
{
    return most > 0 && have >= most;
}

/* Of all in the lane. */
static bool
is_full(const struct limits *l, const struct limits_user *u, enum limits_lane lane,
        enum limits_class class)
{
    int64_t most = class == LIMITS_READ ? l->o.reads : l->o.writes;
    int64_t reserve = u->inflight >= FEW ? most / RESERVE_SHARE : 0;

    return class != LIMITS_LONG && most > 0 && l->limited[lane][class] >= most - reserve;
}

static const char *
refusal(const struct limits *l, struct limits_user *u, enum limits_lane lane,
        enum limits_class class, int64_t now_ms, unsigned *ret_retry_s)
{
    *ret_retry_s = 1;
    if (class == LIMITS_LONG && over(u->watches, l->o.watches)) {
        *ret_retry_s = 5;
        return "this user has as many watches open as are allowed";
    }
    if (class != LIMITS_LONG && over(u->inflight, l->o.inflight))
        return "this user has as many requests in flight as are allowed";
    if (is_full(l, u, lane, class))
        return "the server has as many requests in flight as it takes";
    refill(l, u, now_ms);
    if (l->o.rate > 0 && u->tokens < 1) {
        double wait = (1 - u->tokens) / l->o.rate;
        *ret_retry_s = wait < 1 ? 1 : (unsigned)wait + 1;
        return "this user sends more requests per second than are allowed";
    }
    return NULL;
}

const char *
limits_enter(struct limits *l, const char *user, enum limits_lane lane,
             enum limits_class class, int64_t now_ms, struct limits_slot *slot,
             unsigned *ret_retry_s)
{
    struct limits_user *u = lane == LANE_EXEMPT ? NULL : find(l, user, now_ms);
    const char *why = u == NULL ? NULL : refusal(l, u, lane, class, now_ms, ret_retry_s);

    if (why != NULL) {
        l->refused[class]++;
        return why;
    }
    *slot = (struct limits_slot){u, class, lane, true};
    l->inside[class]++;
    if (u == NULL)
        return NULL;
    u->tokens -= 1;
    l->limited[lane][class]++;
    if (class == LIMITS_LONG)
        u->watches++;
    else
        u->inflight++;
    return NULL;
}

void
limits_leave(struct limits *l, struct limits_slot *slot)
{
    struct limits_user *u = slot->user;

    if (!slot->entered)
        return;
    l->inside[slot->class]--;
    if (u != NULL) {
        l->limited[slot->lane][slot->class]--;
        if (slot->class == LIMITS_LONG)
            u->watches--;
        else
            u->inflight--;
    }
    *slot = (struct limits_slot){0};
}

void
limits_metrics(const struct limits *l, struct str *out)
{
    static const char *const kinds[] = {"readOnly", "mutating", "longRunning"};

    str_adds(out, "# TYPE apiserver_current_inflight_requests gauge\n");
    for (size_t i = 0; i < LIMITS_LONG; i++)
        str_addf(out, "apiserver_current_inflight_requests{request_kind=\"%s\"} %lld\n",
                 kinds[i], (long long)l->inside[i]);
    str_addf(out,
             "# TYPE apiserver_longrunning_requests gauge\n"
             "apiserver_longrunning_requests{verb=\"WATCH\"} %lld\n",
             (long long)l->inside[LIMITS_LONG]);
    str_adds(out, "# TYPE apiserver_dropped_requests_total counter\n");
    for (size_t i = 0; i < LIMITS_N_CLASSES; i++)
        str_addf(out, "apiserver_dropped_requests_total{request_kind=\"%s\"} %llu\n",
                 kinds[i], (unsigned long long)l->refused[i]);
    str_addf(out,
             "# TYPE drover_limits_users gauge\n"
             "drover_limits_users %zu\n",
             limits_users(l));
}

size_t
limits_users(const struct limits *l)
{
    return map_len(l->users);
}
