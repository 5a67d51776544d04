/* SPDX-License-Identifier: Apache-2.0 */
/* Typed calls: paths, queries and bodies of the verbs, objects from the replies. */
#include <string.h>

#include "api/jtok.h"
#include "base/mem.h"
#include "base/vec.h"
#include "client/client.h"

enum {
    PATH_MAX_LEN = 16 * 1024,
    OBJECT_REPLY_MAX = 4 << 20,
    LIST_REPLY_MAX = 256 << 20,
    LIST_PAGE = 500,
    LIST_RESTARTS = 3
};

static int
path_ok(const struct str *path, struct error *e)
{
    return path->toobig ? error_set(e, ERR_TOO_LARGE, "the request path is too long") : 0;
}

/* Sends and turns the reply into an object; ret may be NULL. */
static int
do_object(struct client *c, const struct client_request *r, struct object **ret,
          struct error *e)
{
    auto_str body = STR_INIT(OBJECT_REPLY_MAX);
    int rc = client_do(c, r, &body, e);

    if (rc < 0 || ret == NULL)
        return rc;
    return object_from_json(NULL, body.ptr, body.len, ret, e);
}

int
client_get(struct client *c, const struct resource *r, const char *ns, const char *name,
           struct object **ret, struct error *e)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);

    client_path(&path, r, ns, name, NULL);
    int rc = path_ok(&path, e);
    if (rc < 0)
        return rc;
    return do_object(c, &(struct client_request){.method = "GET", .path = path.ptr}, ret,
                     e);
}

/* --- lists ------------------------------------------------------------------------- */

struct list_parser {
    struct jtok_reader r;
    void (*fn)(void *arg, struct object *o);
    void *arg;
    struct str *cont;
    uint64_t revision;
};

/* Reads string members of the list's metadata. The reader is behind the '{'. */
static int
parse_list_meta(struct list_parser *p, struct error *e)
{
    struct jtok key, value;
    int rc;

    for (;;) {
        rc = jtok_next(&p->r, &key, e);
        if (rc < 0 || key.type == JTOK_OBJECT_END)
            return rc;
        rc = jtok_next(&p->r, &value, e);
        if (rc == 0 && (value.type == JTOK_OBJECT || value.type == JTOK_ARRAY))
            rc = jtok_skip(&p->r, e);
        if (rc < 0)
            return rc;
        if (value.type == JTOK_STRING && jtok_eq(&key, "continue")) {
            jtok_unescape(&value, p->cont);
        } else if (value.type == JTOK_STRING && jtok_eq(&key, "resourceVersion")) {
            autofree char *text = xstrndup(value.text.ptr, value.text.len);
            p->revision = strtoull(text, NULL, 10);
        }
    }
}

static int
parse_list_items(struct list_parser *p, struct error *e)
{
    struct jtok item;

    for (;;) {
        int rc = jtok_next(&p->r, &item, e);
        if (rc < 0 || item.type == JTOK_ARRAY_END)
            return rc;
        if (item.type != JTOK_OBJECT)
            return error_set(e, ERR_BAD_REQUEST, "a list item is not an object");
        rc = jtok_skip(&p->r, e);
        if (rc < 0)
            return rc;
        auto_object *o = NULL;
        const char *start = p->r.start + item.offset;
        rc = object_from_json(NULL, start, (size_t)(p->r.pos - start), &o, e);
        if (rc < 0)
            return rc;
        p->fn(p->arg, o);
    }
}

static int
parse_list_member(struct list_parser *p, const struct jtok *key, struct error *e)
{
    struct jtok value;
    int rc = jtok_next(&p->r, &value, e);

    if (rc < 0)
        return rc;
    if (value.type == JTOK_OBJECT && jtok_eq(key, "metadata"))
        return parse_list_meta(p, e);
    if (value.type == JTOK_ARRAY && jtok_eq(key, "items"))
        return parse_list_items(p, e);
    if (value.type == JTOK_OBJECT || value.type == JTOK_ARRAY)
        return jtok_skip(&p->r, e);
    return 0;
}

int
client_parse_list(struct span body, void (*fn)(void *arg, struct object *o), void *arg,
                  struct str *ret_continue, uint64_t *ret_revision, struct error *e)
{
    struct list_parser p = {.fn = fn, .arg = arg, .cont = ret_continue};
    struct jtok t;

    jtok_init(&p.r, body.ptr, body.len);
    int rc = jtok_next(&p.r, &t, e);
    if (rc == 0 && t.type != JTOK_OBJECT)
        rc = error_set(e, ERR_BAD_REQUEST, "the reply is not a list");
    while (rc == 0) {
        rc = jtok_next(&p.r, &t, e);
        if (rc < 0 || t.type == JTOK_OBJECT_END)
            break;
        rc = parse_list_member(&p, &t, e);
    }
    if (rc == 0 && ret_revision != NULL)
        *ret_revision = p.revision;
    return rc;
}

struct object_refs {
    vec(struct object *) list;
};

static void
keep_ref(void *arg, struct object *o)
{
    struct object_refs *refs = arg;

    vec_push(&refs->list, object_ref(o));
}

static void
drop_refs(struct object_refs *refs)
{
    vec_foreach (o, &refs->list)
        object_unref(*o);
    vec_done(&refs->list);
}

/* All pages of one snapshot. ERR_EXPIRED when the server forgot it in between. */
static int
list_pages(struct client *c, const char *base, const char *query,
           struct object_refs *refs, uint64_t *revision, struct error *e)
{
    auto_str cont = STR_INIT(PATH_MAX_LEN);

    for (;;) {
        auto_str path = STR_INIT(PATH_MAX_LEN);
        auto_str body = STR_INIT(LIST_REPLY_MAX);
        str_addf(&path, "%s?limit=%d", base, LIST_PAGE);
        if (query != NULL && query[0] != '\0')
            str_addf(&path, "&%s", query);
        if (cont.len > 0) {
            str_adds(&path, "&continue=");
            client_escape(&path, cont.ptr);
        }
        int rc = path_ok(&path, e);
        if (rc == 0)
            rc = client_do(c, &(struct client_request){.method = "GET", .path = path.ptr},
                           &body, e);
        str_reset(&cont);
        if (rc == 0)
            rc = client_parse_list((struct span){body.ptr, body.len}, keep_ref, refs,
                                   &cont, revision, e);
        if (rc < 0 || cont.len == 0)
            return rc;
    }
}

int
client_list(struct client *c, const struct resource *r, const char *ns, const char *query,
            void (*fn)(void *arg, struct object *o), void *arg, uint64_t *ret_revision,
            struct error *e)
{
    auto_str base = STR_INIT(PATH_MAX_LEN);
    struct object_refs refs = {0};
    uint64_t revision = 0;
    int rc = 0;

    client_path(&base, r, ns, NULL, NULL);
    for (int i = 0; i < LIST_RESTARTS; i++) {
        drop_refs(&refs);
        rc = list_pages(c, base.ptr, query, &refs, &revision, e);
        if (rc != -ERR_EXPIRED)
            break;
    }
    if (rc == 0) {
        vec_foreach (o, &refs.list)
            fn(arg, *o);
        if (ret_revision != NULL)
            *ret_revision = revision;
    }
    drop_refs(&refs);
    return rc;
}

/* --- writes ------------------------------------------------------------------------ */

static int
send_json(struct client *c, const char *method, const char *path, const char *type,
          const json_t *body, struct object **ret, struct error *e)
{
    autofree char *text = json_dumps(body, JSON_COMPACT | JSON_ENCODE_ANY);

    if (text == NULL)
        return error_set(e, ERR_BAD_REQUEST, "the body cannot be encoded as JSON");
    struct client_request r = {
        .method = method,
        .path = path,
        .content_type = type,
        .body = text,
        .body_len = strlen(text),
    };
    return do_object(c, &r, ret, e);
}

int
client_create(struct client *c, const struct resource *r, const char *ns,
              const json_t *body, struct object **ret, struct error *e)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);

    client_path(&path, r, ns, NULL, NULL);
    int rc = path_ok(&path, e);
    return rc < 0 ? rc : send_json(c, "POST", path.ptr, "application/json", body, ret, e);
}

int
client_update(struct client *c, const struct resource *r, const char *ns,
              const char *name, const json_t *body, struct object **ret, struct error *e)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);

    client_path(&path, r, ns, name, NULL);
    int rc = path_ok(&path, e);
    return rc < 0 ? rc : send_json(c, "PUT", path.ptr, "application/json", body, ret, e);
}

static const char *const patch_types[] = {
    [CLIENT_PATCH_MERGE] = "application/merge-patch+json",
    [CLIENT_PATCH_JSON] = "application/json-patch+json",
    [CLIENT_PATCH_APPLY] = "application/apply-patch+yaml",
};

int
client_patch(struct client *c, const struct resource *r, const char *ns, const char *name,
             const struct client_patch_opts *o, const json_t *patch, struct object **ret,
             struct error *e)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    char separator = '?';

    bug_if(o->type == CLIENT_PATCH_APPLY && o->manager == NULL);
    client_path(&path, r, ns, name, o->subresource);
    if (o->manager != NULL) {
        str_addf(&path, "%cfieldManager=", separator);
        client_escape(&path, o->manager);
        separator = '&';
    }
    if (o->force) {
        str_addf(&path, "%cforce=true", separator);
        separator = '&';
    }
    if (o->dry_run) {
        str_addf(&path, "%cdryRun=All", separator);
        separator = '&';
    }
    if (o->strict)
        str_addf(&path, "%cfieldValidation=Strict", separator);
    int rc = path_ok(&path, e);
    return rc < 0 ? rc
                  : send_json(c, "PATCH", path.ptr, patch_types[o->type], patch, ret, e);
}

int
client_patch_status(struct client *c, const struct resource *r, const char *ns,
                    const char *name, const json_t *patch, struct object **ret,
                    struct error *e)
{
    struct client_patch_opts o = {.type = CLIENT_PATCH_MERGE, .subresource = "status"};

    return client_patch(c, r, ns, name, &o, patch, ret, e);
}

int
client_delete(struct client *c, const struct resource *r, const char *ns,
              const char *name, const char *uid, const char *policy, struct error *e)
{
    auto_str path = STR_INIT(PATH_MAX_LEN);
    auto_str body = STR_INIT(4096);

    client_path(&path, r, ns, name, NULL);
    int rc = path_ok(&path, e);
    if (rc < 0)
        return rc;
    str_adds(&body, "{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\"");
    jput_member(&body, "propagationPolicy", policy != NULL ? policy : "Background");
    if (uid != NULL) {
        jput_key(&body, "preconditions");
        str_addc(&body, '{');
        jput_member(&body, "uid", uid);
        str_addc(&body, '}');
    }
    str_addc(&body, '}');
    struct client_request q = {
        .method = "DELETE",
        .path = path.ptr,
        .content_type = "application/json",
        .body = body.ptr,
        .body_len = body.len,
    };
    return client_do(c, &q, NULL, e);
}
