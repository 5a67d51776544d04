/* SPDX-License-Identifier: Apache-2.0 */
/* Files that are gone: moved, deleted, or too many to believe it at once. */
#include <stdlib.h>

#include "apiserver/mirror/internal.h"
#include "base/log.h"

LOG_MODULE(mirror);

#define CRDS "customresourcedefinitions.apiextensions.k8s.io"
/* More deletions in one batch than this, or more than a fifth of all files, are held. One
 * deleted file is always meant. */
enum { DELETES_MAX = 10, FRACTION = 5, FORM_MAX = 16 << 20 };

struct mirror_hash
mirror_body_hash(const json_t *form)
{
    json_t *copy = json_deep_copy(form);
    json_t *meta = json_object_get(copy, "metadata");

    json_object_del(meta, "name");
    json_object_del(meta, "namespace");
    autofree char *text = json_dumps(copy, JSON_COMPACT | JSON_SORT_KEYS);
    json_decref(copy);
    return mirror_hash_of(text, text == NULL ? 0 : strlen(text));
}

static bool
base_body(struct mirror *m, const struct mirror_base *b, struct mirror_hash *ret)
{
    auto_str store = STR_INIT(FORM_MAX), form = STR_INIT(FORM_MAX);
    struct error e = ERROR_INIT;

    if (mirror_state_read(m->state, b, &store, &form, &e) < 0)
        return false;
    const struct str *text = form.len > 0 ? &form : &store;
    json_t *j = json_loadb(text->ptr, text->len, JSON_ALLOW_NUL, NULL);
    *ret = mirror_body_hash(j);
    json_decref(j);
    return j != NULL;
}

/* The new file that this one was moved to: the same bytes, or the same but for the name.
 */
static const struct mirror_fresh *
moved_to(struct mirror_batch *b, const struct mirror_gone *g)
{
    const struct mirror_base *base = mirror_state_get(b->m->state, g->path);
    struct mirror_hash body;

    if (b->fresh.len == 0 || base == NULL)
        return NULL;
    bool has_body = base_body(b->m, base, &body);
    vec_foreach (f, &b->fresh) {
        if (mirror_hash_eq(f->bytes, base->now.file) ||
            (has_body && mirror_hash_eq(f->body, body)))
            return f;
    }
    return NULL;
}

struct counting {
    const char *prefix, *middle;
    size_t n;
};

static void
count_below(void *arg, const char *path, const struct mirror_base *b)
{
    struct counting *c = arg;

    UNUSED(b);
    if (c->prefix != NULL ? str_starts(path, c->prefix) : strstr(path, c->middle) != NULL)
        c->n++;
}

/* How many files this deletion means: that of a Namespace or a kind takes along all in
 * it.
 */
static size_t
weight(struct mirror *m, const struct mirror_look *l)
{
    autofree char *prefix = xasprintf("%s/", l->key.name);
    autofree char *middle = xasprintf("/%s/", l->key.name);
    struct counting c = {0};

    if (streq(l->key.resource, "namespaces"))
        c.prefix = prefix;
    else if (streq(l->key.resource, CRDS))
        c.middle = middle;
    else
        return 1;
    mirror_state_each(m->state, count_below, &c);
    return 1 + c.n;
}

static void
hold(struct mirror *m, const char *path)
{
    struct error e = ERROR_INIT;

    if (mirror_state_hold(m->state, path, true, &e) < 0)
        mirror_later(m, path, "record", &e);
}

static void
request_delete(struct mirror_batch *b, struct mirror_gone *g)
{
    struct mirror_item_op *item = xnew(struct mirror_item_op);
    struct mirror_op op;

    item->path = move_ptr(g->path);
    item->action = MIRROR_DELETE;
    item->look = g->look;
    memset(&g->look, 0, sizeof(g->look));
    if (mirror_request(b->m, item, NULL, &op))
        vec_push(&b->ops, op);
    else
        mirror_item_op_free(item);
}

/* Counts what is neither moved nor decided yet; takes out what waits for a move. */
static size_t
count_deletes(struct mirror_batch *b, bool *ret_moved)
{
    size_t n = 0;

    for (size_t i = 0; i < b->gone.len; i++) {
        struct mirror_gone *g = &b->gone.items[i];
        struct mirror_entry *en = mirror_entry_get(b->m, g->path, true);
        const struct mirror_base *base = mirror_state_get(b->m->state, g->path);
        const struct mirror_fresh *to = moved_to(b, g);
        ret_moved[i] = to != NULL;
        en->withheld = false;
        if (to != NULL) {
            const struct mirror_entry *there = mirror_entry_get(b->m, to->path, false);
            en->withheld = there == NULL || there->obj == NULL;
        } else if (!en->confirmed && (base == NULL || !base->held)) {
            n += weight(b->m, &g->look);
        }
    }
    return n;
}

void
mirror_deletes(struct mirror_batch *b)
{
    struct mirror *m = b->m;
    size_t total = mirror_state_len(m->state);
    autofree bool *moved = xcalloc(b->gone.len + 1, sizeof(bool));
    size_t n = count_deletes(b, moved);
    bool many = n > DELETES_MAX || (n > 1 && n * FRACTION > total);

    if (n > 0 && (many || m->foreign))
        log_warn("deletions are held; `drover mirror confirm` or `drover mirror discard`",
                 "deletions=%zu files=%zu%s", n, total,
                 m->foreign ? " reason=\"the root is another directory than before\""
                            : "");
    for (size_t i = 0; i < b->gone.len; i++) {
        struct mirror_gone *g = &b->gone.items[i];
        struct mirror_entry *en = mirror_entry_get(m, g->path, true);
        const struct mirror_base *base = mirror_state_get(m->state, g->path);
        bool was_held = base != NULL && base->held;
        if (en->withheld)
            continue;
        if (!en->confirmed && (was_held || (!moved[i] && (many || m->foreign))))
            hold(m, g->path);
        else
            request_delete(b, g);
        en->confirmed = false;
    }
    mirror_batch_flush(b);
}
