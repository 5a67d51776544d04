/* SPDX-License-Identifier: Apache-2.0 */
/* get: one object in the representation asked for. */
#include "apiserver/registry/server_internal.h"
#include "base/clock.h"

static void
answer_table(struct api_call *c, const struct object *o, const char *version)
{
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);
    struct table_opts t = {
        .kind = c->route.kind, .version = version, .now_ns = clock_wall_ns()};
    char meta[64];
    auto_problem p;

    problem_init(&p, NULL, NULL);
    if (include_parse(c, &t.include, &p) < 0) {
        call_problem(c, &p);
        return;
    }
    snprintf(meta, sizeof(meta), "\"resourceVersion\":\"%llu\"",
             (unsigned long long)o->revision);
    table_head(&t, meta, true, &body);
    table_row(&t, o, &body);
    str_adds(&body, "]}");
    call_json(c, 200, &body);
}

static int
check_revision(struct api_call *c, struct problem *p)
{
    struct list_options o;
    struct store *s = c->server->store;
    int rc = list_options_parse(c, &o, p);

    if (rc < 0 || !o.rv_given || o.rv <= store_revision(s))
        return rc;
    problem_set(p, ERR_TIMEOUT,
                "Timeout: Too large resource version: %llu, current: %llu",
                (unsigned long long)o.rv, (unsigned long long)store_revision(s));
    p->e.retry_after_ms = 1000;
    p->cause_reason = "ResourceVersionTooLarge";
    p->cause_message = "Too large resource version";
    return -ERR_TIMEOUT;
}

void
verb_get(struct api_call *c)
{
    const struct route *r = &c->route;
    struct store_key key = {r->kind->resource, r->ns, r->name};
    struct accept accept;
    auto_problem p;

    problem_init(&p, r->kind, r->name);
    if (accept_parse(call_header_in(c, "Accept"), &accept, &p) < 0 ||
        check_revision(c, &p) < 0) {
        call_problem(c, &p);
        return;
    }
    const struct object *o = store_get(c->server->store, &key);
    if (o == NULL) {
        problem_not_found(&p);
        call_problem(c, &p);
        return;
    }
    if (accept.form == ACCEPT_TABLE) {
        answer_table(c, o, accept.version);
        return;
    }
    struct str body = STR_INIT(2 * OBJECT_MAX_BYTES);
    represent_object(o, accept.form, accept.version, &body);
    call_json(c, 200, &body);
}
