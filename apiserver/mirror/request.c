/* SPDX-License-Identifier: Apache-2.0 */
/* One change of a file as a request, and what its answer means. */
#include <stdlib.h>

#include "apiserver/mirror/internal.h"
#include "base/log.h"

LOG_MODULE(mirror);

enum { TEXT_MAX = 16 * 1024, PATH_TEXT_MAX = 1024, TRIES_MAX = 6, FORM_MAX = 16 << 20 };

void
mirror_item_op_free(struct mirror_item_op *i)
{
    mirror_look_done(&i->look);
    free(i->path);
    free(i);
}

/* --- making it
 * --------------------------------------------------------------------------- */

static char *
api_path(const struct kind *k, const struct mirror_key *key, bool with_name)
{
    auto_str out = STR_INIT(PATH_TEXT_MAX);

    str_addf(&out, "/%s/%s", *k->group == '\0' ? "api" : "apis", k->api_version);
    if (k->namespaced)
        str_addf(&out, "/namespaces/%s", key->ns);
    str_addf(&out, "/%s", k->plural);
    if (with_name)
        str_addf(&out, "/%s", key->name);
    return str_detach(&out);
}

static char *
dump(const json_t *j)
{
    return json_dumps(j, JSON_COMPACT);
}

/* {"metadata":{"resourceVersion":"  N  ","uid":..., rest}, rest} */
static void
patch_body(struct mirror_op *op, json_t *patch, const char *uid)
{
    json_t *meta = json_object_get(patch, "metadata");
    auto_str tail = STR_INIT(FORM_MAX);

    json_incref(meta);
    json_object_del(patch, "metadata");
    autofree char *rest = dump(patch);
    autofree char *metadata = json_is_object(meta) ? dump(meta) : xstrdup("{}");
    json_decref(meta);
    str_addf(&tail, "\",\"uid\":\"%s\"", uid);
    if (strlen(metadata) > 2) {
        str_addc(&tail, ',');
        str_adds(&tail, metadata + 1); /* with its closing brace */
    } else {
        str_addc(&tail, '}');
    }
    if (strlen(rest) > 2) {
        str_addc(&tail, ',');
        str_adds(&tail, rest + 1);
    } else {
        str_addc(&tail, '}');
    }
    op->head = xstrdup("{\"metadata\":{\"resourceVersion\":\"");
    op->tail = str_detach(&tail);
}

static void
delete_request(struct mirror_op *op, const struct kind *k, const struct mirror_key *key,
               const char *uid)
{
    op->method = "DELETE";
    op->path = api_path(k, key, true);
    op->head = xstrdup("{\"apiVersion\":\"v1\",\"kind\":\"DeleteOptions\","
                       "\"propagationPolicy\":\"Background\",\"preconditions\":{"
                       "\"resourceVersion\":\"");
    op->tail = xasprintf("\",\"uid\":\"%s\"}}", uid);
}

/* So that a kill before the answer is no conflict with ourselves afterwards. */
static void
announce(struct mirror *m, const char *path, const json_t *form)
{
    autofree char *text = json_dumps(form, JSON_COMPACT | JSON_SORT_KEYS);
    struct error e = ERROR_INIT;

    if (mirror_state_applying(m->state, path, span_of(text), &e) < 0)
        log_warn_rl("the mirror's state is not written", "file=%s error=\"%s\"", path,
                    e.msg);
}

bool
mirror_request(struct mirror *m, struct mirror_item_op *item, const json_t *patch,
               struct mirror_op *ret)
{
    struct mirror_entry *en = mirror_entry_get(m, item->path, true);
    struct mirror_look *l = &item->look;
    struct mirror_problem p = {.e = ERROR_INIT};

    *ret = (struct mirror_op){.tag = item, .kind = l->kind};
    if (item->action != MIRROR_CREATE)
        ret->planned = object_ref(en->obj);
    if (item->action == MIRROR_DELETE) {
        delete_request(ret, l->kind, &l->key, en->obj->uid);
        return true;
    }
    bool create = item->action == MIRROR_CREATE;
    announce(m, item->path, l->form.json);
    json_t *body =
        mirror_open_values(m->seal, &l->key, create ? l->form.json : patch, &p);
    if (body == NULL) {
        auto_str text = STR_INIT(TEXT_MAX);
        str_addf(&text, "%s: %s\n", p.field, p.e.msg);
        mirror_fail(m, item->path, en, text.ptr);
        mirror_op_done(ret);
        return false;
    }
    ret->path = api_path(l->kind, &l->key, !create);
    ret->method = create ? "POST" : "PATCH";
    ret->merge_patch = !create;
    if (create)
        ret->head = dump(body);
    else
        patch_body(ret, body, en->obj->uid);
    json_decref(body);
    return true;
}

/* --- the answer
 * -------------------------------------------------------------------------- */

static const char *
text_at(const json_t *j, const char *key)
{
    const char *text = json_string_value(json_object_get(j, key));

    return text == NULL ? "" : text;
}

/* What the server says about a field of a Secret may quote the value. */
static const char *
without_value(const char *message, const char *field, bool secret)
{
    bool value = str_starts(field, "data") || str_starts(field, "stringData");

    return secret && value ? "the value is refused" : message;
}

/* The Status as lines "field: message". */
static void
explain(const struct mirror_op *op, bool secret, struct str *out)
{
    json_t *status = json_loadb(op->reply.ptr, op->reply.len, JSON_ALLOW_NUL, NULL);
    const json_t *causes = json_object_get(json_object_get(status, "details"), "causes");
    const char *message = text_at(status, "message");
    json_t *cause;
    size_t i;

    json_array_foreach ((json_t *)(uintptr_t)causes, i, cause) {
        const char *field = text_at(cause, "field");
        if (*field == '\0')
            continue;
        str_addf(out, "%s: %s\n", field,
                 without_value(text_at(cause, "message"), field, secret));
    }
    if (out->len == 0 && *message != '\0')
        str_addf(out, "%s\n",
                 secret && op->status == 422 ? "the server refuses the object" : message);
    if (out->len == 0)
        str_addf(out, "the server answered %d\n", op->status);
    json_decref(status);
}

static bool
may_pass(int status)
{
    return status == 0 || status == 429 || status >= 500;
}

/* The stored object as it came back; what of the file is not in it makes it be written.
 */
static void
applied(struct mirror *m, struct mirror_item_op *item, const struct mirror_op *op)
{
    struct mirror_entry *en = mirror_entry_get(m, item->path, true);
    struct mirror_look *l = &item->look;
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    if (object_from_json(op->kind, op->reply.ptr, op->reply.len, &o, &e) < 0) {
        mirror_later(m, item->path, "read the answer", &e);
        return;
    }
    bool alone = item->action == MIRROR_CREATE || l->store_same;
    if (o->revision >= en->revision) {
        object_unref(en->obj);
        kind_unref(en->kind);
        en->obj = o;
        en->kind = kind_ref(op->kind);
        en->unwanted = mirror_unwanted(op->kind, o);
        en->revision = o->revision;
    } else {
        object_unref(o);
    }
    en->tries = 0;
    m->retry_step = 0;
    if (en->obj == NULL || en->unwanted != NULL) {
        mirror_hint_path(m, item->path);
        return;
    }
    str_reset(&l->store);
    if (mirror_render(m->seal, en->kind, en->obj, &l->store, &e) < 0)
        return;
    json_t *store = json_loadb(l->store.ptr, l->store.len, JSON_ALLOW_NUL, NULL);
    bool says = mirror_says(store, l->form.json);
    json_decref(store);
    if (says && alone && !l->form.plain)
        mirror_act_record(m, item->path, en, l);
    else
        mirror_act_write(m, item->path, en, l);
    mirror_clear(m, item->path, en);
}

void
mirror_answer(struct mirror *m, struct mirror_item_op *item, const struct mirror_op *op)
{
    struct mirror_entry *en = mirror_entry_get(m, item->path, true);
    auto_str text = STR_INIT(TEXT_MAX);
    struct error e = ERROR_INIT;

    if (op->status >= 200 && op->status < 300) {
        if (item->action != MIRROR_DELETE)
            applied(m, item, op);
        else
            en->tries = 0; /* the store's watch tells when it is gone */
        return;
    }
    /* Not applied for certain: then only an attempt before this one may have been. */
    if (!may_pass(op->status) && item->action != MIRROR_DELETE &&
        mirror_state_refused(m->state, item->path, &e) < 0)
        log_warn_rl("the mirror's state is not written", "file=%s error=\"%s\"",
                    item->path, e.msg);
    bool moved =
        op->status == 409 || (op->status == 404 && item->action != MIRROR_CREATE);
    if (may_pass(op->status) || (moved && en->tries < TRIES_MAX)) {
        en->tries++;
        error_set(&e, ERR_UNAVAILABLE, "status %d", op->status);
        mirror_later(m, item->path, moved ? NULL : "apply", &e);
        return;
    }
    explain(op, item->look.secret, &text);
    mirror_fail(m, item->path, en, text.ptr);
}
