/* SPDX-License-Identifier: Apache-2.0 */
/* Counting objects against the quotas of their namespace. */
#include "apiserver/registry/quota.h"

#include <jansson.h>
#include <stdlib.h>
#include <string.h>

#include "api/jtok.h"
#include "api/values.h"
#include "apiserver/registry/loops.h"
#include "base/log.h"

LOG_MODULE(quota);

#define QUOTAS "resourcequotas"

/* A few core resources go by their name too. */
const char *
quota_resource(const char *key)
{
    static const char *const plain[] = {"configmaps", "secrets", "services", QUOTAS};

    if (str_starts(key, "count/"))
        return key + strlen("count/");
    for (size_t i = 0; i < ARRAY_LEN(plain); i++) {
        if (streq(key, plain[i]))
            return plain[i];
    }
    return NULL;
}

static bool
quantity(const json_t *value, int64_t *ret)
{
    struct error e = ERROR_INIT;

    if (json_is_integer(value)) {
        *ret = json_integer_value(value);
        return true;
    }
    if (!json_is_string(value) || value_quantity(json_string_value(value), ret, &e) < 0)
        return false;
    *ret /= 1000;
    return true;
}

static json_t *
member_tree(const struct object *o, const char *key)
{
    struct span raw;

    return object_path(o, key, &raw) ? json_loadb(raw.ptr, raw.len, 0, NULL) : NULL;
}

/* live with another status. */
static int
with_status(const struct object *live, const struct kind *kind, json_t *status,
            struct object **ret, struct error *e)
{
    autofree char *text = json_dumps(status, JSON_COMPACT);
    auto_str canonical = STR_INIT(OBJECT_MAX_BYTES), bytes = STR_INIT(OBJECT_MAX_BYTES);
    struct doc doc;

    if (jcanon(text, strlen(text), &canonical, e) < 0 ||
        doc_parse(live->bytes, live->len, &doc, e) < 0 ||
        doc_set(&doc, "status", (struct span){canonical.ptr, canonical.len}, e) < 0)
        return -(int)e->code;
    doc_write(&doc, &bytes);
    return object_new(kind, bytes.ptr, bytes.len, 0, ret, e);
}

/* --- taking a place
 * ---------------------------------------------------------------------- */

struct demand {
    struct str requested, used, limited, unknown; /* lists of what is in the way */
    json_t *status;
    bool counts;
};

static void
demand_done(struct demand *d)
{
    str_done(&d->requested);
    str_done(&d->used);
    str_done(&d->limited);
    str_done(&d->unknown);
    json_decref(d->status);
}

static void
add_item(struct str *list, const char *key, int64_t n)
{
    str_addf(list, "%s%s=%lld", list->len > 0 ? "," : "", key, (long long)n);
}

static void
ask_for(struct demand *d, const char *key, const json_t *hard)
{
    json_t *all = json_object_get(d->status, "used");
    const json_t *now = json_object_get(all, key);
    int64_t limit = 0, used = 0;
    char text[24];

    d->counts = true;
    if (now == NULL || !quantity(now, &used) || !quantity(hard, &limit)) {
        str_addf(&d->unknown, "%s%s", d->unknown.len > 0 ? "," : "", key);
        return;
    }
    if (used + 1 > limit) {
        add_item(&d->requested, key, 1);
        add_item(&d->used, key, used);
        add_item(&d->limited, key, limit);
        return;
    }
    snprintf(text, sizeof(text), "%lld", (long long)used + 1);
    json_object_set_new(all, key, json_string(text));
}

static int
judge(const struct demand *d, const struct kind *kind, const struct object *obj,
      const struct object *quota, struct problem *p)
{
    auto_str text = STR_INIT(8192);

    if (d->unknown.len == 0 && d->requested.len == 0)
        return 0;
    str_addf(&text, "%s \"%s\" is forbidden: ", kind->resource, obj->name);
    if (d->unknown.len > 0)
        str_addf(&text, "status unknown for quota: %s, resources: %s", quota->name,
                 d->unknown.ptr);
    else
        str_addf(&text, "exceeded quota: %s, requested: %s, used: %s, limited: %s",
                 quota->name, d->requested.ptr, d->used.ptr, d->limited.ptr);
    return problem_text(p, ERR_FORBIDDEN, text.ptr);
}

static int
take_place(const struct kind *quotas, const struct kind *kind, const struct object *obj,
           struct object *quota, struct quota_use *u, struct problem *p)
{
    struct demand d = {.requested = STR_INIT(2048),
                       .used = STR_INIT(2048),
                       .limited = STR_INIT(2048),
                       .unknown = STR_INIT(2048),
                       .status = member_tree(quota, "status")};
    json_t *hard = member_tree(quota, "spec.hard"), *limit;
    const char *key;
    int rc;

    json_object_foreach (hard, key, limit) {
        const char *resource = quota_resource(key);
        if (resource != NULL && streq(resource, kind->resource))
            ask_for(&d, key, limit);
    }
    rc = judge(&d, kind, obj, quota, p);
    if (rc == 0 && d.counts && u->n == QUOTAS_MAX)
        rc = problem_set(p, ERR_FORBIDDEN,
                         "%s \"%s\" is forbidden: more than %d quotas count it",
                         kind->resource, obj->name, QUOTAS_MAX);
    if (rc == 0 && d.counts) {
        rc = with_status(quota, quotas, d.status, &u->next[u->n], &p->e);
        if (rc == 0)
            u->live[u->n++] = object_ref(quota);
    }
    json_decref(hard);
    demand_done(&d);
    return rc;
}

int
quota_admit(struct api_server *s, const struct kind *kind, const struct object *obj,
            struct quota_use *ret, struct problem *p)
{
    const struct kind *quotas = kinds_by_resource(s->kinds, QUOTAS);
    const struct object *visible;
    int rc = 0;

    if (*obj->ns == '\0' || store_count(s->store, QUOTAS) == 0)
        return 0;
    struct store_list *list = store_list(s->store, QUOTAS, obj->ns, NULL);
    while (rc == 0 && (visible = store_list_next(list)) != NULL) {
        struct store_key key = {QUOTAS, visible->ns, visible->name};
        struct object *latest = store_peek(s->store, &key);
        if (latest != NULL)
            rc = take_place(quotas, kind, obj, latest, ret, p);
    }
    store_list_free(list);
    if (rc < 0)
        quota_use_done(ret);
    return rc;
}

struct store_op
quota_op(const struct quota_use *u, size_t i)
{
    const struct object *live = u->live[i];

    return (struct store_op){.type = STORE_PUT,
                             .key = {QUOTAS, live->ns, live->name},
                             .expect = live->revision,
                             .obj = u->next[i]};
}

void
quota_use_done(struct quota_use *u)
{
    for (size_t i = 0; i < u->n; i++) {
        object_unref(u->live[i]);
        object_unref(u->next[i]);
    }
    u->n = 0;
}

/* --- counting
 * ---------------------------------------------------------------------------- */

struct quotas {
    struct api_server *s;
    struct map *dirty; /* namespaces to count again */
    struct loop_timer *timer;
};

static size_t
count(struct store *s, const char *resource, const char *ns)
{
    struct store_list *list = store_list(s, resource, ns, NULL);
    size_t n = store_list_remaining(list);

    store_list_free(list);
    return n;
}

static json_t *
counted(struct quotas *q, const struct object *quota)
{
    json_t *hard = member_tree(quota, "spec.hard"), *used = json_object(), *limit;
    const char *key;
    char text[24];

    json_object_foreach (hard, key, limit) {
        const char *resource = quota_resource(key);
        if (resource == NULL)
            continue;
        snprintf(text, sizeof(text), "%zu", count(q->s->store, resource, quota->ns));
        json_object_set_new(used, key, json_string(text));
    }
    return json_pack("{s:o*,s:o}", "hard", hard, "used", used);
}

/* A create that is on its way has changed the quota too: then its commit wakes us again,
 * and until then nothing is counted. */
static void
count_again(struct quotas *q, const struct object *quota)
{
    struct store_key key = {QUOTAS, quota->ns, quota->name};
    struct object *next = NULL;
    struct error e = ERROR_INIT;

    if (store_peek(q->s->store, &key) != quota)
        return;
    json_t *status = counted(q, quota), *now = member_tree(quota, "status");
    const struct kind *kind = kinds_by_resource(q->s->kinds, QUOTAS);
    if (!json_equal(status, now)) {
        if (with_status(quota, kind, status, &next, &e) < 0 ||
            registry_replace(q->s, kind, quota, next, false, &e) < 0)
            log_warn_rl("cannot write the status of a quota",
                        "ns=%s name=%s error=\"%s\"", quota->ns, quota->name, e.msg);
        object_unref(next);
    }
    json_decref(status);
    json_decref(now);
}

static void
on_timer(void *arg)
{
    struct quotas *q = arg;
    struct map_cursor cursor = map_begin(q->dirty);
    const struct object *o;
    const char *ns;
    void *value;

    while (map_next(&cursor, &ns, &value)) {
        struct store_list *list = store_list(q->s->store, QUOTAS, ns, NULL);
        while ((o = store_list_next(list)) != NULL)
            count_again(q, o);
        store_list_free(list);
    }
    map_clear(q->dirty);
}

struct quotas *
quotas_new(struct api_server *s)
{
    struct quotas *q = xnew(struct quotas);

    q->s = s;
    q->dirty = map_new(NULL);
    q->timer = loop_timer_new(s->loop, "quotas", on_timer, q);
    return q;
}

void
quotas_free(struct quotas *q)
{
    if (q == NULL)
        return;
    loop_timer_free(q->timer);
    map_free(q->dirty);
    free(q);
}

void
quotas_object(struct quotas *q, const char *resource, const struct object *o)
{
    UNUSED(resource);
    if (*o->ns == '\0' || store_count(q->s->store, QUOTAS) == 0)
        return;
    if (map_get(q->dirty, o->ns) == NULL)
        map_put(q->dirty, o->ns, q);
    if (!loop_timer_armed(q->timer))
        loop_timer_in(q->timer, 0);
}
