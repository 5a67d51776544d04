/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists and watches of informers, one piece per step. Follows lib/control's HTTP source:
 * list by pages, watch from the list's revision, resume after a cut, list again after
 * 410.
 */
#include "base/mem.h"
#include "sim/sim.h"

enum { PAGE_MAX = 64 << 20, BURST = 4 };

struct sim_reader *
sim_reader_new(struct sim_link *l, struct informer *inf, const char *query)
{
    struct sim_reader *r = xnew(struct sim_reader);

    r->link = l;
    r->inf = inf;
    r->query = xstrdup(query);
    vec_push(&l->s->readers, r);
    return r;
}

void
sim_reader_free(struct sim_reader *r)
{
    struct sim *s;

    if (r == NULL)
        return;
    s = r->link->s;
    for (size_t i = 0; i < s->readers.len; i++) {
        if (s->readers.items[i] != r)
            continue;
        vec_remove(&s->readers, i);
        break;
    }
    local_watch_close(r->watch);
    free(r->query);
    free(r);
}

void
sim_reader_cut(struct sim_reader *r)
{
    local_watch_close(r->watch);
    r->watch = NULL;
}

void
sim_reader_expire(struct sim_reader *r)
{
    sim_reader_cut(r);
    r->listed = false;
    r->link->s->n_expired++;
}

static void
feed_item(void *arg, struct object *o)
{
    informer_list_item(arg, o);
}

/* Pages are small, so that writes may come between them; but a list is one step. */
static int
list(struct sim_reader *r, struct error *e)
{
    struct sim *s = r->link->s;
    auto_client *c = sim_client_new(r->link);
    auto_str cont = STR_INIT(16 * 1024);
    unsigned limit = 2 + sim_below(s, 20);
    int rc = 0;

    do {
        auto_str path = STR_INIT(32 * 1024), body = STR_INIT(PAGE_MAX);
        client_path(&path, informer_resource(r->inf), NULL, NULL, NULL);
        str_addf(&path, "?limit=%u&%s", limit, r->query);
        if (cont.len > 0) {
            str_adds(&path, "&continue=");
            client_escape(&path, cont.ptr);
        }
        struct client_request q = {.method = "GET", .path = path.ptr};
        rc = client_do(c, &q, &body, e);
        str_reset(&cont);
        if (rc == 0)
            rc = client_parse_list((struct span){body.ptr, body.len}, feed_item, r->inf,
                                   &cont, &r->from, e);
    } while (rc == 0 && cont.len > 0);
    return rc;
}

static bool
step_list(struct sim_reader *r)
{
    struct error e = ERROR_INIT;

    informer_list_begin(r->inf);
    if (list(r, &e) < 0) {
        informer_list_abort(r->inf);
        if (e.code != ERR_EXPIRED)
            informer_set_connected(r->inf, false);
        return true;
    }
    r->listed = true;
    informer_set_connected(r->inf, true);
    informer_list_end(r->inf, r->from);
    return true;
}

static bool
step_open(struct sim_reader *r)
{
    struct sim *s = r->link->s;
    auto_str path = STR_INIT(32 * 1024);
    struct error e = ERROR_INIT;

    if (informer_revision(r->inf) > r->from)
        r->from = informer_revision(r->inf);
    client_path(&path, informer_resource(r->inf), NULL, NULL, NULL);
    str_addf(&path, "?watch=true&allowWatchBookmarks=true&resourceVersion=%llu&%s",
             (unsigned long long)r->from, r->query);
    int rc =
        local_watch_open(s->server, r->link->user, path.ptr, NULL, NULL, &r->watch, &e);
    if (rc == 0)
        informer_set_connected(r->inf, true);
    else if (e.code == ERR_EXPIRED)
        sim_reader_expire(r);
    else
        informer_set_connected(r->inf, false);
    return true;
}

static bool
step_events(struct sim_reader *r)
{
    struct sim *s = r->link->s;
    auto_str line = STR_INIT(2 * OBJECT_MAX_BYTES);
    struct error e = ERROR_INIT;
    unsigned burst = 1 + sim_below(s, BURST);
    bool any = false;

    while (burst-- > 0) {
        int rc = local_watch_next(r->watch, &line);
        if (rc == 0)
            break;
        any = true;
        if (rc < 0) {
            sim_reader_cut(r);
            break;
        }
        if (informer_apply_line(r->inf, (struct span){line.ptr, line.len}, &e) == 0)
            continue;
        if (e.code != ERR_EXPIRED)
            sim_violate(s, "watch_is_understood", "%s: %s: %.200s", r->link->name, e.msg,
                        line.ptr);
        sim_reader_expire(r);
        break;
    }
    return any;
}

bool
sim_reader_step(struct sim_reader *r)
{
    struct sim *s = r->link->s;

    if (!s->up || r->link->cut) {
        sim_reader_cut(r);
        informer_set_connected(r->inf, false);
        return false;
    }
    if (!r->listed)
        return step_list(r);
    return r->watch == NULL ? step_open(r) : step_events(r);
}

/* --- as a manager's source ----------------------------------------------------------
 */

static void *
source_start(void *self, struct informer *inf)
{
    struct sim *s = self;
    struct sim_reader *r = sim_reader_new(&s->control, inf, "");

    vec_push(&s->control_readers, r);
    return r;
}

static void
source_stop(void *self, void *handle)
{
    struct sim *s = self;

    for (size_t i = 0; i < s->control_readers.len; i++) {
        if (s->control_readers.items[i] != handle)
            continue;
        vec_remove(&s->control_readers, i);
        break;
    }
    sim_reader_free(handle);
}

struct watch_source
sim_source(struct sim *s)
{
    static const struct watch_source_ops ops = {.start = source_start,
                                                .stop = source_stop};

    return (struct watch_source){&ops, s};
}
