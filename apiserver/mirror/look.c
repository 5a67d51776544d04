/* SPDX-License-Identifier: Apache-2.0 */
/* Observing one path: base, file and store, side by side. */
#include <stdlib.h>

#include "apiserver/mirror/internal.h"
#include "base/log.h"

LOG_MODULE(mirror);

enum { FORM_MAX = 16 << 20, PROBLEM_MAX = 16 * 1024 };

struct mirror_entry *
mirror_entry_get(struct mirror *m, const char *path, bool make)
{
    struct mirror_entry *en = map_get(m->entries, path);

    if (en == NULL && make) {
        en = xnew(struct mirror_entry);
        map_put(m->entries, path, en);
    }
    return en;
}

void
mirror_entry_prune(struct mirror *m, const char *path)
{
    struct mirror_entry *en = map_get(m->entries, path);
    const struct mirror_base *b = mirror_state_get(m->state, path);

    if (en == NULL || en->obj != NULL || en->unwanted != NULL || en->failed || b != NULL)
        return;
    map_del(m->entries, path);
}

void
mirror_look_done(struct mirror_look *l)
{
    str_done(&l->bytes);
    mirror_form_done(&l->form);
    str_done(&l->problem);
    str_done(&l->store);
}

/* --- the file
 * ---------------------------------------------------------------------------- */

static bool
same_stat(const struct mirror_stat *a, const struct mirror_stat *b)
{
    return a->ino == b->ino && a->size == b->size && a->mtime_ns == b->mtime_ns &&
           a->ctime_ns == b->ctime_ns;
}

static void
look_bad(struct mirror_look *l, const char *text)
{
    l->file = MIRROR_FILE_BAD;
    str_reset(&l->problem);
    str_adds(&l->problem, text);
}

static void
look_problem(struct mirror_look *l, const struct mirror_problem *p)
{
    l->file = MIRROR_FILE_BAD;
    l->bad_place = str_starts(p->field, "metadata.name");
    str_reset(&l->problem);
    if (p->line > 0)
        str_addf(&l->problem, "line %u: ", p->line);
    if (p->field[0] != '\0')
        str_addf(&l->problem, "%s: ", p->field);
    str_adds(&l->problem, p->e.msg);
}

static void
parse_file(struct mirror *m, const struct mirror_entry *en, struct mirror_look *l)
{
    struct mirror_problem p;
    char text[3 * MIRROR_SEGMENT_MAX];

    if (l->kind == NULL || !l->kind->declared) {
        snprintf(text, sizeof(text),
                 l->kind == NULL
                     ? "no kind \"%s\" is served; directories are named <plural>.<group>"
                     : "objects of the kind \"%s\" are not mirrored",
                 l->key.resource);
        look_bad(l, text);
        return;
    }
    if (l->kind->namespaced == (l->key.ns[0] == '\0')) {
        look_bad(l,
                 l->kind->namespaced
                     ? "objects of this kind are namespaced: the file belongs below a "
                       "namespace's directory"
                     : "objects of this kind are cluster-scoped: the file belongs below "
                       "_cluster/");
        return;
    }
    if (mirror_read_form(m->seal, l->kind, &l->key, en->obj == NULL ? "" : en->obj->uid,
                         (struct span){l->bytes.ptr, l->bytes.len}, &l->form, &p) < 0)
        look_problem(l, &p);
}

static bool
is_blind(const struct mirror *m, const char *path)
{
    const char *slash = strchr(path, '/');
    const char *second = slash == NULL ? NULL : strchr(slash + 1, '/');

    if (map_len(m->blind) == 0)
        return false;
    return map_get(m->blind, "") != NULL ||
           (slash != NULL && map_getn(m->blind, path, (size_t)(slash - path)) != NULL) ||
           (second != NULL && map_getn(m->blind, path, (size_t)(second - path)) != NULL);
}

static void
read_file(struct mirror *m, const char *path, const struct mirror_base *b,
          struct mirror_look *l)
{
    struct error e = ERROR_INIT;
    enum mirror_found found = mirror_tree_read(m->tree, path, &l->bytes, &l->stat, &e);

    l->file_hash = mirror_hash_of(l->bytes.ptr, l->bytes.len);
    bool same = b != NULL && b->now.set && mirror_hash_eq(b->now.file, l->file_hash);
    switch (found) {
    case MIRROR_FOUND_NONE:
        l->file = is_blind(m, path) ? MIRROR_FILE_UNKNOWN : MIRROR_FILE_ABSENT;
        break;
    case MIRROR_FOUND_FILE:
        l->file = same ? MIRROR_FILE_SAME : MIRROR_FILE_CHANGED;
        break;
    case MIRROR_FOUND_OTHER:
        if (same && l->bytes.len > 0)
            l->file = MIRROR_FILE_SAME;
        else
            look_bad(l, e.msg);
        break;
    case MIRROR_FOUND_UNKNOWN:
        l->file = MIRROR_FILE_UNKNOWN;
        log_warn_rl("a file cannot be read", "file=%s error=\"%s\"", path, e.msg);
        break;
    }
}

static void
look_at_file(struct mirror *m, const char *path, struct mirror_entry *en, bool quick,
             struct mirror_look *l)
{
    const struct mirror_base *b = mirror_state_get(m->state, path);

    if (quick && en->stat_known && b != NULL && b->now.set) {
        if (mirror_tree_stat(m->tree, path, &l->stat) && same_stat(&l->stat, &en->stat)) {
            l->file = MIRROR_FILE_SAME;
            l->file_hash = b->now.file;
            return;
        }
    }
    read_file(m, path, b, l);
    if (!en->settled && l->file != MIRROR_FILE_UNKNOWN) {
        en->settled = true;
        l->ours = mirror_state_settle(
            m->state, path, l->file == MIRROR_FILE_ABSENT ? NULL : &l->file_hash);
        b = mirror_state_get(m->state, path);
        if (l->file == MIRROR_FILE_CHANGED && b != NULL && b->now.set &&
            mirror_hash_eq(b->now.file, l->file_hash))
            l->file = MIRROR_FILE_SAME;
    }
    if (l->file == MIRROR_FILE_SAME) {
        en->stat = l->stat;
        en->stat_known = true;
    }
    if (l->file == MIRROR_FILE_CHANGED && !l->ours)
        parse_file(m, en, l);
}

/* --- the store
 * --------------------------------------------------------------------------- */

static void
look_at_store(struct mirror *m, const char *path, const struct mirror_entry *en,
              struct mirror_look *l)
{
    const struct mirror_base *b = mirror_state_get(m->state, path);
    struct error e = ERROR_INIT;

    if (en->obj == NULL)
        return;
    if (mirror_render(m->seal, en->kind, en->obj, &l->store, &e) < 0) {
        log_warn_rl("an object cannot be written as a file", "file=%s error=\"%s\"", path,
                    e.msg);
        str_reset(&l->store);
        l->file = MIRROR_FILE_UNKNOWN;
        return;
    }
    l->store_same =
        b != NULL && b->now.set && streq(b->now.uid, en->obj->uid) &&
        mirror_hash_eq(b->now.store, mirror_hash_of(l->store.ptr, l->store.len));
}

bool
mirror_look(struct mirror *m, const char *path, struct mirror_entry *en, bool quick,
            struct mirror_look *l)
{
    memset(l, 0, sizeof(*l));
    str_init(&l->bytes, MIRROR_FILE_MAX + 1);
    str_init(&l->problem, PROBLEM_MAX);
    str_init(&l->store, FORM_MAX);
    if (!mirror_path_split(path, &l->key))
        return false;
    l->kind = mirror_kinds_find(m->kinds, l->key.resource);
    l->secret = streq(l->key.resource, "secrets");
    look_at_file(m, path, en, quick, l);
    look_at_store(m, path, en, l);
    if (l->ours) { /* an older state of ours: as if it were the base */
        l->file = MIRROR_FILE_SAME;
        l->store_same = false;
    }
    return true;
}

/* --- the plan
 * ---------------------------------------------------------------------------- */

static json_t *
parse_form(const struct str *text)
{
    return json_loadb(text->ptr, text->len, JSON_ALLOW_NUL, NULL);
}

static json_t *
parse_old_form(const struct mirror *m, const struct mirror_look *l,
               const struct str *text)
{
    json_t *form = parse_form(text);

    mirror_reseal_form(m->seal, &l->key, form);
    return form;
}

static json_t *
read_applied(struct mirror *m, const struct mirror_look *l, uint64_t off)
{
    auto_str text = STR_INIT(FORM_MAX);
    struct error e = ERROR_INIT;

    if (off == 0 || mirror_state_read_applied(m->state, off, &text, &e) < 0)
        return NULL;
    return parse_old_form(m, l, &text);
}

void
mirror_look_plan(struct mirror *m, const char *path, const struct mirror_entry *en,
                 const struct mirror_look *l, struct mirror_plan *ret)
{
    const struct mirror_base *b = mirror_state_get(m->state, path);
    bool has_base = b != NULL && b->now.set;
    auto_str old_store = STR_INIT(FORM_MAX), old_file = STR_INIT(FORM_MAX);
    json_t *base_store = NULL, *base_file = NULL, *store = NULL, *applied[2] = {0};
    struct error e = ERROR_INIT;

    if (l->file == MIRROR_FILE_CHANGED) {
        if (has_base && mirror_state_read(m->state, b, &old_store, &old_file, &e) < 0) {
            log_err("the mirror's state is damaged", "file=%s error=\"%s\"", path, e.msg);
            has_base = false;
        }
        if (has_base) {
            base_store = parse_old_form(m, l, &old_store);
            base_file = old_file.len == 0 ? json_incref(base_store)
                                          : parse_old_form(m, l, &old_file);
        }
        store = parse_form(&l->store);
        for (size_t i = 0; b != NULL && i < MIRROR_APPLIED; i++)
            applied[i] = read_applied(m, l, b->applied[i]);
        if (!has_base && en->obj != NULL && (m->import || applied[0] != NULL)) {
            /* An import: the file is the truth. Or this file has made the object. */
            has_base = true;
            base_store = json_incref(m->import ? store : applied[0]);
            base_file = json_incref(base_store);
        }
    }
    struct mirror_versions v = {.has_base = has_base,
                                .base_uid = !has_base                 ? ""
                                            : b != NULL && b->now.set ? b->now.uid
                                                                      : en->obj->uid,
                                .base_file = base_file,
                                .base_store = base_store,
                                .applied = {applied[0], applied[1]},
                                .file = l->file,
                                .file_form = l->form.json,
                                .file_plain = l->form.plain,
                                .problem = l->problem.ptr,
                                .has_store = en->obj != NULL,
                                .uid = en->obj == NULL ? "" : en->obj->uid,
                                .store = store,
                                .store_same = l->store_same,
                                .deleting =
                                    en->obj != NULL && en->obj->facts.deleting_s != 0,
                                .unwanted = en->unwanted};
    mirror_plan(&v, l->secret, ret);
    json_decref(base_store);
    json_decref(base_file);
    json_decref(applied[0]);
    json_decref(applied[1]);
    json_decref(store);
}
