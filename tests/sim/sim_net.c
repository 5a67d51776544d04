/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way to the API server. A request may get lost before it is carried out or its
 * answer after; a server that dies under it answers nothing. Every acknowledged write is
 * shown to the monitor.
 */
#include "base/mem.h"
#include "sim/sim.h"

void
sim_link_init(struct sim *s, struct sim_link *l, const char *name)
{
    *l = (struct sim_link){.s = s};
    snprintf(l->name, sizeof(l->name), "%s", name);
    l->user = user_new(name, "system:masters,system:authenticated");
}

void
sim_link_done(struct sim_link *l)
{
    user_unref(l->user);
}

static bool
is_write(const struct client_request *r)
{
    return !streq(r->method, "GET");
}

static void
look_at_bind(struct sim_link *l, const struct client_request *r)
{
    if (!streq(r->method, "PATCH") || r->body == NULL ||
        memmem(r->body, r->body_len, "\"boundAt\"", 9) == NULL)
        return;
    json_t *patch = json_loadb(r->body, r->body_len, 0, NULL);
    const char *slash = strrchr(r->path, '/');
    sim_check_bind(l->s, slash + 1, patch);
    json_decref(patch);
}

static void
acknowledged(struct sim_link *l, const struct client_request *r,
             const struct http_reply *reply)
{
    auto_object *o = NULL;
    struct error e = ERROR_INIT;

    if (strstr(r->path, "/leases") != NULL || strstr(r->path, "/events") != NULL)
        return;
    l->writes++;
    if (streq(r->method, "DELETE"))
        return; /* the reply may be a Status; the monitor sees the deletion itself */
    if (object_from_json(NULL, reply->body.ptr, reply->body.len, &o, &e) == 0)
        sim_monitor_ack(l->s, r->method, o);
}

static int
lost(struct sim_link *l, const struct client_request *r, const char *what,
     struct error *e)
{
    l->s->n_lost_answers++;
    sim_log(l->s, "%s: %s %s: %s lost", l->name, r->method, r->path, what);
    return error_set(e, ERR_TIMEOUT, "%s lost", what);
}

static int
link_request(void *self, const struct client_request *r, struct http_reply *reply,
             struct error *e)
{
    struct sim_link *l = self;
    struct sim *s = l->s;

    if (l->controllers)
        look_at_bind(l, r);
    if (!s->up || l->cut)
        return error_set(e, ERR_UNAVAILABLE, "the API server cannot be reached");
    if (!s->calm && sim_permille(s, l->lose_permille))
        return lost(l, r, "request", e);
    auto_client *c = local_client_new(s->server, l->user);
    int rc = client_raw(c, r, reply, e);
    if (s->disk.dead || s->fatal) {
        s->in_doubt = is_write(r);
        sim_log(s, "%s: %s %s: the server died", l->name, r->method, r->path);
        return error_set(e, ERR_UNAVAILABLE, "the connection was reset");
    }
    if (rc < 0)
        return rc;
    if (is_write(r) && reply->status < 300)
        acknowledged(l, r, reply);
    if (s->opts.verbose && is_write(r))
        sim_log(s, "%s: %s %s -> %d", l->name, r->method, r->path, reply->status);
    if (!s->calm && sim_permille(s, l->lose_permille))
        return lost(l, r, "answer", e);
    return 0;
}

static void *
link_clone(void *self)
{
    return self;
}

static void
link_free(void *self)
{
    UNUSED(self);
}

static const struct client_ops link_ops = {
    .request = link_request, .clone = link_clone, .free = link_free};

struct client *
sim_client_new(struct sim_link *l)
{
    return client_new(&link_ops, l);
}
