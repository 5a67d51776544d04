/* SPDX-License-Identifier: Apache-2.0 */
/* Acting on one path where no request is needed: files and the mirror's own memory. */
#include <stdlib.h>

#include "apiserver/mirror/internal.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(mirror);

enum { RETRY_FIRST_MS = 100, RETRY_MAX_MS = 30 * 1000, CHECKPOINT_MS = 5000 };

void
mirror_hint_path(struct mirror *m, const char *path)
{
    map_put(m->in, path, m);
    m->last_hint = clock_now_ms();
    if (m->first_hint == 0)
        m->first_hint = m->last_hint;
}

void
mirror_later(struct mirror *m, const char *path, const char *what, const struct error *e)
{
    int64_t delay = RETRY_FIRST_MS << (m->retry_step > 8 ? 8 : m->retry_step);

    if (delay > RETRY_MAX_MS)
        delay = RETRY_MAX_MS;
    if (m->retry_at == 0) {
        m->retry_step++;
        m->retry_at = clock_now_ms() + delay;
    }
    map_put(m->retry, path, m);
    if (what != NULL)
        log_warn_rl("the mirror tries again later", "what=\"%s\" file=%s error=\"%s\"",
                    what, path, e->msg);
}

/* A file operation did not work: a person was faster, or the disk is in the way. */
static void
not_done(struct mirror *m, const char *path, const char *what, const struct error *e)
{
    if (e->code == ERR_CONFLICT)
        mirror_hint_path(m, path);
    else
        mirror_later(m, path, what, e);
}

static void
touched(struct mirror *m)
{
    if (m->checkpoint_at == 0)
        m->checkpoint_at = clock_now_ms() + CHECKPOINT_MS;
}

static bool
record(struct mirror *m, const char *path, const struct mirror_new *n)
{
    struct error e = ERROR_INIT;

    touched(m);
    if (mirror_state_record(m->state, path, n, &e) == 0)
        return true;
    mirror_later(m, path, "record", &e);
    return false;
}

static bool
put_file(struct mirror *m, const char *path, const struct mirror_new *n,
         const struct str *yaml, const struct mirror_hash *expect, struct mirror_stat *st,
         struct error *e)
{
    if (mirror_state_intend(m->state, path, n, e) < 0 ||
        mirror_tree_write(m->tree, path, (struct span){yaml->ptr, yaml->len}, expect, st,
                          e) < 0)
        return false;
    return mirror_state_done(m->state, path, e) == 0;
}

/* The directories of a new file are watched before the next look at them. */
static void
watch_dirs(struct mirror *m, const char *path)
{
    const char *first = strchr(path, '/'), *second = strrchr(path, '/');
    autofree char *ns = xstrndup(path, (size_t)(first - path));
    autofree char *dir = xstrndup(path, (size_t)(second - path));

    mirror_hints_add(m->hints, ns);
    mirror_hints_add(m->hints, dir);
}

void
mirror_act_write(struct mirror *m, const char *path, struct mirror_entry *en,
                 const struct mirror_look *l)
{
    auto_str yaml = STR_INIT(2 * MIRROR_FILE_MAX);
    struct error e = ERROR_INIT;
    struct mirror_stat st;
    bool absent = l->file == MIRROR_FILE_ABSENT || (l->ours && l->bytes.len == 0);

    if (mirror_to_yaml((struct span){l->store.ptr, l->store.len}, &yaml, &e) < 0) {
        log_warn_rl("an object cannot be written as YAML", "file=%s error=\"%s\"", path,
                    e.msg);
        return;
    }
    struct mirror_new n = {.uid = en->obj->uid,
                           .revision = en->obj->revision,
                           .file = mirror_hash_of(yaml.ptr, yaml.len),
                           .store = {l->store.ptr, l->store.len}};
    touched(m);
    if (!absent && mirror_hash_eq(n.file, l->file_hash)) {
        if (record(m, path, &n)) {
            en->stat = l->stat;
            en->stat_known = true;
        }
        return;
    }
    bool first = mirror_state_get(m->state, path) == NULL;
    if (!put_file(m, path, &n, &yaml, absent ? NULL : &l->file_hash, &st, &e)) {
        not_done(m, path, "write", &e);
        return;
    }
    if (first)
        watch_dirs(m, path);
    en->stat = st;
    en->stat_known = true;
    if (mirror_state_hold(m->state, path, false, &e) < 0)
        mirror_later(m, path, "record", &e);
}

void
mirror_act_forget(struct mirror *m, const char *path, struct mirror_entry *en)
{
    struct error e = ERROR_INIT;

    touched(m);
    en->stat_known = false;
    if (mirror_state_forget(m->state, path, &e) < 0)
        mirror_later(m, path, "forget", &e);
}

void
mirror_act_remove(struct mirror *m, const char *path, struct mirror_entry *en,
                  const struct mirror_look *l)
{
    struct error e = ERROR_INIT;
    bool there = l->file != MIRROR_FILE_ABSENT &&
                 !(l->ours && l->bytes.len == 0 && l->stat.ino == 0);

    if (there && mirror_tree_remove(m->tree, path, &l->file_hash, &e) < 0) {
        not_done(m, path, "remove", &e);
        return;
    }
    mirror_act_forget(m, path, en);
}

void
mirror_act_record(struct mirror *m, const char *path, struct mirror_entry *en,
                  const struct mirror_look *l)
{
    autofree char *form = json_dumps(l->form.json, JSON_COMPACT | JSON_SORT_KEYS);
    struct mirror_new n = {.uid = en->obj->uid,
                           .revision = en->obj->revision,
                           .file = l->file_hash,
                           .store = {l->store.ptr, l->store.len},
                           .form = span_of(form)};

    if (!record(m, path, &n))
        return;
    en->stat = l->stat;
    en->stat_known = true;
    struct error e = ERROR_INIT;
    if (mirror_state_hold(m->state, path, false, &e) < 0)
        mirror_later(m, path, "record", &e);
}
