/* SPDX-License-Identifier: Apache-2.0 */
/* Two API servers on one etcd. */
#include "integration/etcd_pair.h"

#include <stdio.h>
#include <stdlib.h>

#include "base/log.h"
#include "base/mem.h"

static void
on_fatal(void *arg, const struct error *e)
{
    UNUSED(arg);
    fail_msg("the store failed: %s", e->msg);
}

static void
start_side(struct pair *p, struct pair_side *s, const struct history_limits *limits)
{
    struct error e = ERROR_INIT;
    struct store_opts so = {.etcd = &p->c.eo,
                            .on_fatal = on_fatal,
                            .kind_of = kinds_kind_of,
                            .arg = p->kinds};

    if (store_open(p->c.f.loop, &so, &s->store, &e) < 0)
        fail_msg("%s", e.msg);
    struct api_server_opts ao = {.loop = p->c.f.loop,
                                 .store = s->store,
                                 .kinds = p->kinds,
                                 .history = *limits,
                                 .advertise_address = "127.0.0.1:1"};
    if (api_server_new(&ao, &s->server, &e) < 0 ||
        api_server_start_loops(s->server, &e) < 0)
        fail_msg("%s", e.msg);
}

void
pair_start(struct pair *p, const struct conf *etcd, const char *name,
           const struct history_limits *limits)
{
    struct error e = ERROR_INIT;

    log_set_level(LOG_LV_ERR);
    if (loop_new(&p->c.f.loop, &e) < 0 || kinds_load(&p->kinds, &e) < 0)
        fail_msg("%s", e.msg);
    p->c.endpoints = etcd->endpoints;
    snprintf(p->prefix, sizeof(p->prefix), "/%s", name);
    cf_etcd_opts(&p->c, p->prefix);
    for (size_t i = 0; i < ARRAY_LEN(p->side); i++)
        start_side(p, &p->side[i], limits);
}

void
pair_stop(struct pair *p)
{
    for (size_t i = 0; i < ARRAY_LEN(p->side); i++) {
        api_server_prepare_close(p->side[i].server);
        store_close(p->side[i].store);
        api_server_free(p->side[i].server);
    }
    kinds_free(p->kinds);
    loop_free(p->c.f.loop);
}

static void
on_done(void *arg, const struct write_result *r)
{
    struct pair *p = arg;

    p->open--;
    if (r->obj != NULL)
        p->ok++;
    else if (r->problem->e.code == ERR_FORBIDDEN || r->problem->e.code == ERR_CONFLICT)
        p->refused++;
    else
        fail_msg("%s", r->problem->e.msg);
}

void
pair_write(struct pair *p, size_t side, enum write_type type, const char *resource,
           const char *ns, const char *name, const char *json)
{
    struct write_req r = {.kind = kinds_by_resource(p->kinds, resource),
                          .type = type,
                          .ns = ns,
                          .name = name,
                          .sub = "",
                          .body = span_of(json)};

    snprintf(r.opt.manager, sizeof(r.opt.manager), "test");
    p->open++;
    registry_write(p->side[side].server, &r, on_done, p);
}

static bool
none_open(void *arg)
{
    return ((struct pair *)arg)->open == 0;
}

void
pair_wait(struct pair *p)
{
    cf_until(&p->c, none_open, p, PAIR_WAIT_MS);
}

int
pair_group_setup(void **state)
{
    struct conf *etcd = xnew(struct conf);

    cf_etcd_up(etcd, "");
    *state = etcd;
    return 0;
}

int
pair_group_teardown(void **state)
{
    cf_etcd_down(*state);
    free(*state);
    return 0;
}
