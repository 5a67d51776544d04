/* SPDX-License-Identifier: Apache-2.0 */
/* Reads the object and its Revisions and puts them in order. */
#include "cli/past.h"

#include <stdlib.h>
#include <string.h>

#include "base/mem.h"

const struct resource resource_revisions = {"history.drover.dev", "v1", "revisions",
                                            "Revision", true};

enum { PATH_BYTES = 8192 };

const char *
past_ns(const struct session *s, const struct named_resource *r)
{
    return r->resource->namespaced ? s->ns : "drover-system";
}

void
past_query(const struct named_resource *r, const char *name, const char *more,
           struct str *path)
{
    str_adds(path, "?fieldSelector=");
    if (r != NULL) {
        str_addf(path, "of.resource%%3D%s", r->resource->plural);
        if (r->resource->group[0] != '\0')
            str_addf(path, ".%s", r->resource->group);
    }
    if (name != NULL) {
        str_adds(path, "%2Cof.name%3D");
        client_escape(path, name);
    }
    if (more[0] != '\0')
        str_addf(path, "%s%s", r != NULL ? "%2C" : "", more);
}

static int
get_live(struct session *s, const struct named_resource *r, const char *name,
         json_t **ret, struct error *e)
{
    auto_str path = STR_INIT(PATH_BYTES);

    client_path(&path, r->resource, s->ns, name, NULL);
    int rc = session_get_json(s, path.ptr, NULL, ret, e);
    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        *ret = NULL;
        return 0;
    }
    return rc;
}

static int
get_revisions(struct session *s, const struct named_resource *r, const char *name,
              json_t **ret, struct error *e)
{
    auto_str path = STR_INIT(PATH_BYTES);

    client_path(&path, &resource_revisions, past_ns(s, r), NULL, NULL);
    past_query(r, name, "", &path);
    int rc = session_get_json(s, path.ptr, NULL, ret, e);
    if (rc < 0 && e->code == ERR_NOT_FOUND)
        return error_set(e, ERR_UNSUPPORTED, "this server keeps no history");
    return rc;
}

json_t *
past_declared(const json_t *live)
{
    static const char *const kept[] = {"name", "namespace", "labels", "annotations"};
    json_t *o = json_deep_copy(live);
    const json_t *meta = json_object_get(live, "metadata");
    json_t *few = json_object();

    for (size_t i = 0; i < ARRAY_LEN(kept); i++)
        if (json_object_get(meta, kept[i]) != NULL)
            json_object_set(few, kept[i], json_object_get(meta, kept[i]));
    json_object_set_new(o, "metadata", few);
    json_object_del(o, "status");
    return o;
}

uint64_t
past_version(const json_t *o)
{
    return strtoull(js(o, "metadata.resourceVersion"), NULL, 10);
}

/* The object that was deleted last. */
static const char *
latest_uid(const json_t *list)
{
    uint64_t latest = 0;
    const char *uid = NULL;
    size_t i;
    const json_t *o;

    json_array_foreach (json_object_get(list, "items"), i, o) {
        if (past_version(o) >= latest) {
            latest = past_version(o);
            uid = js(o, "of.uid");
        }
    }
    return uid;
}

static int
by_number(const void *a, const void *b)
{
    const struct generation *x = a, *y = b;

    return (x->number > y->number) - (x->number < y->number);
}

static void
add_revisions(struct past *p)
{
    size_t i;
    const json_t *o;
    const char *other = "";

    json_array_foreach (json_object_get(p->list, "items"), i, o) {
        if (!streq(js(o, "of.uid"), p->uid)) {
            p->others += !streq(js(o, "of.uid"), other);
            other = js(o, "of.uid");
            continue;
        }
        struct generation g = {.number = js_int(o, "generation", 0),
                               .user = js(o, "changedBy.user"),
                               .manager = js(o, "changedBy.manager"),
                               .time = js(o, "changedBy.time"),
                               .changed = js(o, "changed"),
                               .revision = js(o, "changedBy.resourceVersion"),
                               .name = js(o, "metadata.name"),
                               .deleted = streq(js(o, "reason"), "Deleted"),
                               .object = json_object_get(o, "object")};
        vec_push(&p->all, g);
    }
    if (p->all.len > 0)
        qsort(p->all.items, p->all.len, sizeof(p->all.items[0]), by_number);
}

static const json_t *
revision_named(const struct past *p, const char *name)
{
    size_t i;
    const json_t *o;

    json_array_foreach (json_object_get(p->list, "items"), i, o)
        if (streq(js(o, "metadata.name"), name))
            return o;
    return NULL;
}

/* Without a Revision before it, managedFields tell who made it. */
static void
guess_author(struct generation *g, const json_t *live)
{
    size_t i;
    const json_t *entry;

    g->time = js(live, "metadata.creationTimestamp");
    if (g->number <= 1)
        g->changed = "created";
    json_array_foreach (js_get(live, "metadata.managedFields"), i, entry) {
        if (js(entry, "subresource")[0] != '\0')
            continue;
        if (g->manager[0] == '\0' || g->number > 1)
            g->manager = js(entry, "manager");
        if (g->number > 1)
            g->time = js(entry, "time");
    }
}

static void
add_live(struct past *p)
{
    const struct generation *last = NULL;
    struct generation g = {.user = "", .manager = "", .changed = "", .revision = ""};

    vec_foreach (each, &p->all)
        last = each;
    g.number = js_int(p->live, "metadata.generation", 0);
    if (g.number == 0) /* a kind without generations: counted */
        g.number = last == NULL ? 1 : last->number + 1;
    g.object = p->declared;
    if (last != NULL) {
        const json_t *o = revision_named(p, last->name);
        g.user = js(o, "replacedBy.user");
        g.manager = js(o, "replacedBy.manager");
        g.time = js(o, "replacedBy.time");
        g.changed = js(o, "replacedBy.changed");
        g.revision = js(o, "metadata.resourceVersion");
    } else {
        guess_author(&g, p->live);
    }
    bug_if(p->all.items == NULL); /* past_load has made room */
    vec_push(&p->all, g);
}

int
past_load(struct session *s, const struct named_resource *r, const char *name,
          const char *uid, struct past *ret, struct error *e)
{
    struct past p = {0};
    int rc = get_live(s, r, name, &p.live, e);

    if (rc == 0)
        rc = get_revisions(s, r, name, &p.list, e);
    if (rc < 0) {
        past_done(&p);
        return rc;
    }
    p.uid = uid != NULL      ? uid
            : p.live != NULL ? js(p.live, "metadata.uid")
                             : latest_uid(p.list);
    vec_reserve(&p.all, json_array_size(json_object_get(p.list, "items")) + 1);
    if (p.uid != NULL)
        add_revisions(&p);
    if (p.live != NULL && p.uid != NULL && streq(js(p.live, "metadata.uid"), p.uid)) {
        p.declared = past_declared(p.live);
        add_live(&p);
    }
    if (p.all.len == 0) {
        past_done(&p);
        if (uid != NULL)
            return error_set(e, ERR_NOT_FOUND, "nothing is known of %s/%s with uid %.64s",
                             r->singular, name, uid);
        return error_set(e, ERR_NOT_FOUND,
                         "%s/%s does not exist, and nothing is known of one before",
                         r->singular, name);
    }
    *ret = p;
    return 0;
}

void
past_done(struct past *p)
{
    vec_done(&p->all);
    json_decref(p->declared);
    json_decref(p->live);
    json_decref(p->opened);
    json_decref(p->list);
    *p = (struct past){0};
}

const struct generation *
past_find(const struct past *p, int64_t number, struct error *e)
{
    vec_foreach (g, &p->all)
        if (g->number == number)
            return g;
    auto_str known = STR_INIT(4096);
    vec_foreach (g, &p->all)
        str_addf(&known, "%s%lld", known.len > 0 ? ", " : "", (long long)g->number);
    error_set(e, ERR_NOT_FOUND, "generation %lld is not kept; there are %.300s",
              (long long)number, known.ptr);
    return NULL;
}

int
past_open(struct session *s, const struct named_resource *r, struct past *p,
          const struct generation *g, const json_t **ret, struct error *e)
{
    auto_str path = STR_INIT(PATH_BYTES);
    json_t *object = NULL;

    if (g->name == NULL ||
        json_object_get(revision_named(p, g->name), "sealed") == NULL) {
        *ret = g->object;
        return 0;
    }
    client_path(&path, &resource_revisions, past_ns(s, r), g->name, "object");
    int rc = session_get_json(s, path.ptr, NULL, &object, e);
    if (rc < 0)
        return error_prepend(e, "open generation %lld", (long long)g->number);
    if (p->opened == NULL)
        p->opened = json_array();
    json_array_append_new(p->opened, object);
    *ret = object;
    return 0;
}

void
generation_who(const struct generation *g, char *out, size_t size)
{
    if (g->user[0] != '\0' && g->manager[0] != '\0')
        snprintf(out, size, "%s (%s)", g->user, g->manager);
    else if (g->user[0] != '\0')
        snprintf(out, size, "%s", g->user);
    else if (g->manager[0] != '\0')
        snprintf(out, size, "(%s)", g->manager);
    else if (size > 0)
        out[0] = '\0';
}

int
past_number(const char *option, const char *text, int64_t *ret, struct error *e)
{
    char *end;
    long long n = strtoll(text, &end, 10);

    if (*text < '0' || *text > '9' || *end != '\0' || n < 1)
        return error_set(e, ERR_BAD_REQUEST, "--%s: \"%.40s\" is not a generation",
                         option, text);
    *ret = n;
    return 0;
}

int
past_target(int argc, char **argv, const struct named_resource **ret,
            const char **ret_name, struct error *e)
{
    if (argc < 1)
        return error_set(e, ERR_BAD_REQUEST, "name an object, e.g. run/hello");
    if (cli_target(argv[0], ret, ret_name, e) < 0)
        return -(int)e->code;
    if (*ret_name == NULL && argc == 2)
        *ret_name = argv[1];
    else if (argc > 1)
        return error_set(e, ERR_BAD_REQUEST, "name one object");
    if (*ret_name == NULL)
        return error_set(e, ERR_BAD_REQUEST, "name one %s", (*ret)->singular);
    return 0;
}
