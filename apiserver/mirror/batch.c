/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Batches: what files say (after quiet) and what the store says (soon). Order of the
 * former: Namespaces and kinds, all else, deletions.
 */
#include <stdarg.h>
#include <stdlib.h>

#include "apiserver/mirror/internal.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(mirror);

#define CRDS_DIR MIRROR_CLUSTER_DIR "/customresourcedefinitions.apiextensions.k8s.io/"
#define NAMESPACES_DIR MIRROR_CLUSTER_DIR "/namespaces/"
enum { FLUSH_AT = 512, OUT_SLICE = 256, EVENTS_PER_BATCH = 50, KIND_TRIES = 5 };

typedef vec(char *) path_list;

/* --- requests
 * ---------------------------------------------------------------------------- */

bool
mirror_batch_flush(struct mirror_batch *b)
{
    bool fine = mirror_calls_run(b->m->calls, b->ops.items, b->ops.len);

    vec_foreach (op, &b->ops) {
        if (fine)
            mirror_answer(b->m, op->tag, op);
        mirror_item_op_free(op->tag);
        mirror_op_done(op);
    }
    b->ops.len = 0;
    return fine;
}

static void
batch_done(struct mirror_batch *b)
{
    vec_foreach (g, &b->gone) {
        free(g->path);
        mirror_look_done(&g->look);
    }
    vec_foreach (f, &b->fresh)
        free(f->path);
    vec_done(&b->gone);
    vec_done(&b->fresh);
    vec_done(&b->ops);
}

/* --- one path
 * ---------------------------------------------------------------------------- */

/* A file whose path is no object's. */
static void
odd_path(struct mirror *m, const char *path, struct mirror_entry *en)
{
    const char *name = strrchr(path, '/');
    unsigned depth = 0;
    struct mirror_stat st;

    for (const char *p = path; *p != '\0'; p++)
        depth += *p == '/';
    name = name == NULL ? path : name + 1;
    enum mirror_name class = mirror_name_class(name);
    bool weird = class == MIRROR_NAME_WEIRD && depth == 2;
    bool misplaced = class == MIRROR_NAME_OBJECT;
    if ((!weird && !misplaced) || !mirror_tree_stat(m->tree, path, &st)) {
        mirror_clear(m, path, en);
        return;
    }
    mirror_fail(m, path, en,
                weird
                    ? mirror_name_problem(name)
                    : "object files belong into <namespace>/<plural>.<group>/, those of "
                      "cluster-scoped kinds into _cluster/<plural>.<group>/\n");
}

static void
note_fresh(struct mirror_batch *b, const char *path, const struct mirror_look *l)
{
    struct mirror_fresh f = {.path = xstrdup(path), .bytes = l->file_hash};

    if (l->form.json != NULL)
        f.body = mirror_body_hash(l->form.json);
    vec_push(&b->fresh, f);
}

static void
unhold(struct mirror *m, const char *path)
{
    struct error e = ERROR_INIT;

    if (mirror_state_hold(m->state, path, false, &e) < 0)
        mirror_later(m, path, "record", &e);
}

static void
refuse(struct mirror_batch *b, const char *path, struct mirror_entry *en,
       const struct mirror_look *l, const char *text)
{
    struct error e = ERROR_INIT;

    if (b->crds && l->kind == NULL && en->tries++ < KIND_TRIES) {
        error_set(&e, ERR_UNAVAILABLE, "its kind is not served yet");
        mirror_later(b->m, path, NULL, &e);
        return;
    }
    mirror_fail(b->m, path, en, text);
}

/* Takes over item when it becomes a request or is gone. */
static void
act(struct mirror_batch *b, struct mirror_item_op **item, struct mirror_entry *en,
    const struct mirror_plan *plan)
{
    struct mirror *m = b->m;
    const char *path = (*item)->path;
    struct mirror_look *l = &(*item)->look;
    struct mirror_op op;

    (*item)->action = plan->action;
    switch (plan->action) {
    case MIRROR_NOTHING:
        if (l->file != MIRROR_FILE_ABSENT && l->file != MIRROR_FILE_UNKNOWN)
            unhold(m, path);
        break;
    case MIRROR_WRITE:
    case MIRROR_RESTORE:
        mirror_act_write(m, path, en, l);
        break;
    case MIRROR_REMOVE:
        mirror_act_remove(m, path, en, l);
        break;
    case MIRROR_RECORD:
        mirror_act_record(m, path, en, l);
        break;
    case MIRROR_FORGET:
        mirror_act_forget(m, path, en);
        break;
    case MIRROR_DELETE:
        vec_push(&b->gone, ((struct mirror_gone){xstrdup(path), *l}));
        memset(l, 0, sizeof(*l));
        return;
    case MIRROR_REFUSE:
        refuse(b, path, en, l, plan->text.ptr);
        return;
    case MIRROR_CREATE:
    case MIRROR_PATCH:
        if (mirror_request(m, *item, plan->patch, &op)) {
            vec_push(&b->ops, op);
            *item = NULL;
        }
        return;
    }
    if (plan->action == MIRROR_RESTORE) {
        mirror_fail(m, path, en, plan->text.ptr);
        en->restored = true;
    } else if (l->file != MIRROR_FILE_UNKNOWN &&
               !(en->restored && plan->action == MIRROR_NOTHING)) {
        mirror_clear(m, path, en); /* what was restored is told until one side changes */
    }
}

static bool
is_edit(struct mirror *m, const char *path, const struct mirror_look *l)
{
    const struct mirror_base *base = mirror_state_get(m->state, path);

    return l->file == MIRROR_FILE_CHANGED || l->file == MIRROR_FILE_BAD ||
           (l->file == MIRROR_FILE_ABSENT && base != NULL && base->now.set);
}

static void
reconcile(struct mirror_batch *b, const char *path, bool out)
{
    struct mirror *m = b->m;
    struct mirror_entry *en = mirror_entry_get(m, path, true);
    struct mirror_item_op *item = xnew(struct mirror_item_op);
    auto_plan plan = {0};

    item->path = xstrdup(path);
    if (!mirror_look(m, path, en, out, &item->look)) {
        odd_path(m, path, en);
    } else if (out && is_edit(m, path, &item->look)) {
        mirror_hint_path(m, path); /* when it is quiet */
    } else if (en->discard && en->obj != NULL && item->look.file != MIRROR_FILE_UNKNOWN) {
        mirror_act_write(m, path, en, &item->look);
        mirror_clear(m, path, en);
    } else {
        const struct mirror_base *base = mirror_state_get(m->state, path);
        if (is_edit(m, path, &item->look) && (base == NULL || !base->now.set))
            note_fresh(b, path, &item->look);
        mirror_look_plan(m, path, en, &item->look, &plan);
        act(b, &item, en, &plan);
    }
    en->discard = false;
    if (item != NULL)
        mirror_item_op_free(item);
    mirror_entry_prune(m, path);
}

/* --- which paths
 * ------------------------------------------------------------------------- */

struct collecting {
    struct mirror *m;
    struct map *paths;
    const char *prefix;
};

static void
remove_temp(struct mirror *m, const char *path)
{
    struct error e = ERROR_INIT;

    if (mirror_tree_remove(m->tree, path, NULL, &e) < 0)
        log_debug("a temporary file stays", "file=%s error=\"%s\"", path, e.msg);
}

static void
on_seen(void *arg, enum mirror_seen what, const char *path, const char *why)
{
    struct collecting *c = arg;
    struct mirror *m = c->m;
    autofree char *object = NULL;

    switch (what) {
    case MIRROR_SEEN_DIR:
        map_del(m->blind, path);
        mirror_hints_add(m->hints, path);
        break;
    case MIRROR_SEEN_UNREADABLE:
        log_warn(
            "a directory of the mirror cannot be read; nothing is concluded from what "
            "is missing there",
            "dir=%s error=\"%s\"", *path == '\0' ? "." : path, why);
        map_put(m->blind, path, xstrdup(why));
        break;
    case MIRROR_SEEN_ERROR:
        object = xstrndup(path, strlen(path) - strlen(MIRROR_ERROR_SUFFIX));
        mirror_entry_get(m, object, true)->failed = true;
        map_put(c->paths, object, m);
        break;
    case MIRROR_SEEN_TEMP:
        remove_temp(m, path);
        break;
    case MIRROR_SEEN_OBJECT:
    case MIRROR_SEEN_WEIRD:
    case MIRROR_SEEN_MISPLACED:
        map_put(c->paths, path, m);
        break;
    }
}

static void
on_base(void *arg, const char *path, const struct mirror_base *b)
{
    struct collecting *c = arg;
    size_t n = strlen(c->prefix);

    UNUSED(b);
    if (n == 0 || (strncmp(path, c->prefix, n) == 0 && path[n] == '/'))
        map_put(c->paths, path, c->m);
}

static void
collect_dir(struct collecting *c, const char *dir)
{
    struct map_cursor cur = map_begin(c->m->entries);
    const char *path;
    void *value;

    c->prefix = dir;
    mirror_tree_walk(c->m->tree, dir, on_seen, c);
    mirror_state_each(c->m->state, on_base, c);
    while (map_next(&cur, &path, &value))
        on_base(c, path, NULL);
}

/* "ns" or "ns/kind", nothing hidden. */
static bool
is_ours(const char *dir)
{
    const char *slash = strchr(dir, '/');
    autofree char *ns =
        xstrndup(dir, slash == NULL ? strlen(dir) : (size_t)(slash - dir));

    return mirror_dir_is_namespace(ns) &&
           (slash == NULL || (strchr(slash + 1, '/') == NULL && slash[1] != '.'));
}

static int
compare_paths(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static void
collect(struct mirror *m, path_list *ret)
{
    auto_map *paths = map_new(NULL);
    struct collecting c = {m, paths, ""};
    struct map_cursor cur = map_begin(m->in);
    const char *path;

    if (m->in_all) {
        collect_dir(&c, "");
    } else {
        while (map_next(&cur, &path, NULL))
            map_put(paths, path, m);
        cur = map_begin(m->in_dirs);
        while (map_next(&cur, &path, NULL)) {
            if (is_ours(path))
                collect_dir(&c, path);
        }
    }
    map_clear(m->in);
    map_clear(m->in_dirs);
    m->in_all = false;
    m->first_hint = m->last_hint = 0;
    cur = map_begin(paths);
    while (map_next(&cur, &path, NULL))
        vec_push(ret, xstrdup(path));
    if (ret->len > 0)
        qsort(ret->items, ret->len, sizeof(char *), compare_paths);
}

/* --- the root
 * ---------------------------------------------------------------------------- */

static bool suspend(struct mirror *m, const char *fmt, ...) PRINTF_LIKE(2, 3);

static bool
suspend(struct mirror *m, const char *fmt, ...)
{
    char text[sizeof(m->suspended)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    if (!streq(text, m->suspended))
        log_err("the mirror is suspended", "reason=\"%s\"", text);
    memcpy(m->suspended, text, sizeof(text));
    return false;
}

static bool
open_root(struct mirror *m, struct mirror_root *ret)
{
    const char *root = mirror_tree_root(m->tree);
    struct error e = ERROR_INIT;

    if (mirror_tree_open_root(m->tree, ret, &e) == 0)
        return true;
    if (e.code != ERR_NOT_FOUND)
        return suspend(m, "the root cannot be read: %s", e.msg);
    if (mirror_state_len(m->state) > 0)
        return suspend(
            m,
            "%s is missing, %zu files were mirrored to it; nothing is deleted. "
            "Bring it back, or write it anew with `drover mirror discard`",
            root, mirror_state_len(m->state));
    struct error made = ERROR_INIT;
    if (mirror_tree_make_root(m->tree, &made) < 0 ||
        mirror_tree_open_root(m->tree, ret, &made) < 0)
        return suspend(m, "the root cannot be made: %s", made.msg);
    mirror_hints_add(m->hints, "");
    m->in_all = true;
    return true;
}

/* False: suspended. */
static bool
check_root(struct mirror *m)
{
    struct mirror_root now, then = mirror_state_root(m->state);
    struct error e = ERROR_INIT;

    if (!open_root(m, &now))
        return false;
    if (m->suspended[0] != '\0') {
        log_info("the mirror goes on", "root=%s", mirror_tree_root(m->tree));
        m->suspended[0] = '\0';
        m->in_all = true;
    }
    bool same = then.known && then.dev == now.dev && then.ino == now.ino;
    if (!same && mirror_state_len(m->state) == 0)
        same = mirror_state_set_root(m->state, now.dev, now.ino, &e) == 0;
    if (!same && !m->foreign)
        m->in_all = true;
    m->foreign = !same;
    return true;
}

/* Another directory in the root's place, and nothing is missing in it: it is the root
 * now.
 */
static void
accept_root(struct mirror *m)
{
    struct mirror_root now;
    struct error e = ERROR_INIT;

    if (!m->foreign || m->n_held > 0 || map_len(m->blind) > 0)
        return;
    if (mirror_tree_open_root(m->tree, &now, &e) == 0 &&
        mirror_state_set_root(m->state, now.dev, now.ino, &e) == 0)
        m->foreign = false;
}

/* --- batches
 * ----------------------------------------------------------------------------- */

static void
count_held(void *arg, const char *path, const struct mirror_base *b)
{
    size_t *n = arg;

    UNUSED(path);
    *n += b->held;
}

static bool
comes_first(const char *path)
{
    return str_starts(path, NAMESPACES_DIR) || str_starts(path, CRDS_DIR);
}

/* False: stopping. */
static bool
run_phase(struct mirror_batch *b, const path_list *paths, bool first)
{
    vec_foreach (p, paths) {
        if (comes_first(*p) != first)
            continue;
        size_t before = b->ops.len;
        reconcile(b, *p, false);
        b->crds = b->crds || (b->ops.len > before && str_starts(*p, CRDS_DIR));
        if (b->ops.len >= FLUSH_AT && !mirror_batch_flush(b))
            return false;
    }
    return mirror_batch_flush(b);
}

void
mirror_run_in(struct mirror *m)
{
    struct mirror_batch b = {.m = m};
    path_list paths = {0};

    if (!check_root(m))
        return;
    m->events_left = EVENTS_PER_BATCH;
    int64_t start = clock_now_ms();
    collect(m, &paths);
    if (run_phase(&b, &paths, true) && run_phase(&b, &paths, false))
        mirror_deletes(&b);
    m->n_held = 0;
    mirror_state_each(m->state, count_held, &m->n_held);
    accept_root(m);
    if (paths.len > 0)
        log_debug("looked at files", "paths=%zu gone=%zu took_ms=%lld", paths.len,
                  b.gone.len, (long long)(clock_now_ms() - start));
    vec_foreach (p, &paths)
        free(*p);
    vec_done(&paths);
    batch_done(&b);
}

void
mirror_run_out(struct mirror *m)
{
    struct mirror_batch b = {.m = m};
    struct map_cursor cur = map_begin(m->out);
    path_list paths = {0};
    const char *path;

    if (!check_root(m) || m->in_all)
        return;
    m->events_left = EVENTS_PER_BATCH;
    while (paths.len < OUT_SLICE && map_next(&cur, &path, NULL))
        vec_push(&paths, xstrdup(path));
    vec_foreach (p, &paths)
        map_del(m->out, *p);
    if (paths.len > 0)
        qsort(paths.items, paths.len, sizeof(char *), compare_paths);
    vec_foreach (p, &paths) {
        reconcile(&b, *p, true);
        free(*p);
    }
    vec_done(&paths);
    mirror_batch_flush(&b);
    batch_done(&b);
}
