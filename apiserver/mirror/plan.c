/* SPDX-License-Identifier: Apache-2.0 */
/* The three-way plan. No I/O, no clock, no state. */
#include "apiserver/mirror/plan.h"

#include <stdarg.h>
#include <stdint.h>

#include "base/mem.h"

enum { TEXT_MAX = 16 * 1024, VALUE_SHOWN = 120, PATH_MAX_LEN = 512 };

void
mirror_plan_done(struct mirror_plan *p)
{
    json_decref(p->patch);
    p->patch = NULL;
    str_done(&p->text);
}

/* --- trees
 * ------------------------------------------------------------------------------- */

json_t *
mirror_diff(const json_t *from, const json_t *to)
{
    json_t *patch = json_object();
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)from, key, value) {
        if (json_object_get(to, key) == NULL)
            json_object_set_new(patch, key, json_null());
    }
    json_object_foreach ((json_t *)(uintptr_t)to, key, value) {
        const json_t *old = json_object_get(from, key);
        if (json_is_object(old) && json_is_object(value)) {
            json_t *sub = mirror_diff(old, value);
            if (sub != NULL)
                json_object_set_new(patch, key, sub);
        } else if (old == NULL || !json_equal(old, value)) {
            json_object_set_new(patch, key, json_deep_copy(value));
        }
    }
    if (json_object_size(patch) > 0)
        return patch;
    json_decref(patch);
    return NULL;
}

bool
mirror_says(const json_t *store, const json_t *file)
{
    const char *key;
    json_t *value;

    if (!json_is_object(file) || !json_is_object(store))
        return json_equal(store, file);
    json_object_foreach ((json_t *)(uintptr_t)file, key, value) {
        const json_t *stored = json_object_get(store, key);
        if (stored == NULL && json_is_object(value) && json_object_size(value) == 0)
            continue;
        if (stored == NULL || !mirror_says(stored, value))
            return false;
    }
    return true;
}

/* --- conflicts
 * --------------------------------------------------------------------------- */

struct check {
    bool secret;
    struct str *text;
    size_t conflicts, open; /* open: differences that are not in the store yet */
};

static void
put_value(const struct check *c, const json_t *j)
{
    if (j == NULL || json_is_null(j)) {
        str_adds(c->text, "nothing");
        return;
    }
    if (c->secret) {
        str_adds(c->text, "another value");
        return;
    }
    autofree char *text = json_dumps(j, JSON_COMPACT | JSON_ENCODE_ANY | JSON_SORT_KEYS);
    size_t n = text == NULL ? 0 : strlen(text);
    str_add(c->text, text, n > VALUE_SHOWN ? VALUE_SHOWN : n);
    if (n > VALUE_SHOWN)
        str_adds(c->text, "...");
}

static bool
same(const json_t *a, const json_t *b)
{
    return a == NULL || b == NULL ? a == b : json_equal(a, b);
}

/* One changed path: file's value (null: removed) against base and store. */
static void
check_leaf(struct check *c, const char *path, const json_t *want, const json_t *base,
           const json_t *const applied[2], const json_t *stored)
{
    bool there =
        json_is_null(want) ? stored == NULL : stored != NULL && mirror_says(stored, want);

    if (there)
        return;
    bool ours = (applied[0] != NULL && same(applied[0], stored)) ||
                (applied[1] != NULL && same(applied[1], stored));
    if (same(base, stored) || ours) {
        c->open++;
        return;
    }
    c->conflicts++;
    str_addf(c->text, "%s: the file says ", path);
    put_value(c, want);
    str_adds(c->text, ", but the stored value has changed meanwhile from ");
    put_value(c, base);
    str_adds(c->text, " to ");
    put_value(c, stored);
    str_addc(c->text, '\n');
}

struct three {
    const json_t *base, *applied[2], *stored;
};

static void
check_patch(struct check *c, const char *at, const json_t *patch, struct three t)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)patch, key, value) {
        char path[PATH_MAX_LEN];
        struct three sub = {
            json_object_get(t.base, key),
            {json_object_get(t.applied[0], key), json_object_get(t.applied[1], key)},
            json_object_get(t.stored, key)};
        snprintf(path, sizeof(path), "%s%s%s", at, *at == '\0' ? "" : ".", key);
        if (json_is_object(value) && json_is_object(sub.base) &&
            json_is_object(sub.stored))
            check_patch(c, path, value, sub);
        else
            check_leaf(c, path, value, sub.base, sub.applied, sub.stored);
    }
}

/* --- the table
 * --------------------------------------------------------------------------- */

static void refuse(struct mirror_plan *p, const char *fmt, ...) PRINTF_LIKE(2, 3);

static void
refuse(struct mirror_plan *p, const char *fmt, ...)
{
    char line[1024];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(line, sizeof(line), fmt, ap);
    va_end(ap);
    p->action = MIRROR_REFUSE;
    str_addf(&p->text, "%s\n", line);
}

/* The file is not there. */
static void
plan_absent(const struct mirror_versions *v, bool same_object, struct mirror_plan *p)
{
    if (!v->has_store)
        p->action = v->has_base ? MIRROR_FORGET : MIRROR_NOTHING;
    else if (!same_object)
        p->action = MIRROR_WRITE;
    else if (v->deleting)
        p->action = MIRROR_NOTHING;
    else if (v->store_same)
        p->action = MIRROR_DELETE;
    else {
        p->action = MIRROR_RESTORE;
        str_adds(&p->text, "the file was deleted, but the stored object has changed "
                           "meanwhile: here it is again; delete it once more if that is "
                           "what you want\n");
    }
}

/* The file is as it was mirrored. */
static void
plan_same(const struct mirror_versions *v, bool same_object, struct mirror_plan *p)
{
    if (!v->has_store)
        p->action = MIRROR_REMOVE;
    else
        p->action = same_object && v->store_same ? MIRROR_NOTHING : MIRROR_WRITE;
}

static void
plan_new(const struct mirror_versions *v, struct mirror_plan *p)
{
    if (!v->has_store && v->unwanted != NULL)
        refuse(p, "an object of this name exists, but is not mirrored: %s", v->unwanted);
    else if (!v->has_store)
        p->action = MIRROR_CREATE;
    else if (mirror_says(v->store, v->file_form))
        p->action = v->file_plain ? MIRROR_WRITE : MIRROR_RECORD;
    else
        refuse(p, "an object of this name exists already and differs from this new file; "
                  "`drover mirror discard` puts the stored one in its place");
}

/* An edit of the object that was mirrored. */
static void
plan_edit(const struct mirror_versions *v, bool secret, struct mirror_plan *p)
{
    json_t *patch = mirror_diff(v->base_file, v->file_form);
    struct check c = {.secret = secret, .text = &p->text};

    if (patch != NULL)
        check_patch(
            &c, "", patch,
            (struct three){v->base_store, {v->applied[0], v->applied[1]}, v->store});
    if (c.conflicts > 0) {
        p->action = MIRROR_REFUSE;
        json_decref(patch);
        return;
    }
    if (c.open > 0) {
        p->action = MIRROR_PATCH;
        p->patch = patch;
        return;
    }
    json_decref(patch);
    bool agree = mirror_says(v->store, v->file_form) && !v->file_plain;
    /* What the store has beside is news to the file only if it came later. */
    p->action = agree && v->store_same ? MIRROR_RECORD : MIRROR_WRITE;
}

static void
plan_changed(const struct mirror_versions *v, bool same_object, bool secret,
             struct mirror_plan *p)
{
    if (!v->has_base)
        plan_new(v, p);
    else if (!v->has_store && v->unwanted != NULL)
        refuse(p, "the object is not mirrored any more: %s", v->unwanted);
    else if (!v->has_store)
        refuse(p,
               "the object was deleted while this file was edited; delete the file, or "
               "rename it (with metadata.name) to make a new object");
    else if (!same_object)
        refuse(p,
               "the object was replaced by another of the same name while this file was "
               "edited; `drover mirror discard` puts the stored one in its place");
    else
        plan_edit(v, secret, p);
}

void
mirror_plan(const struct mirror_versions *v, bool secret, struct mirror_plan *ret)
{
    bool same_object = v->has_base && v->has_store && streq(v->base_uid, v->uid);

    *ret = (struct mirror_plan){.action = MIRROR_NOTHING};
    str_init(&ret->text, TEXT_MAX);
    switch (v->file) {
    case MIRROR_FILE_ABSENT:
        plan_absent(v, same_object, ret);
        break;
    case MIRROR_FILE_SAME:
        plan_same(v, same_object, ret);
        break;
    case MIRROR_FILE_CHANGED:
        plan_changed(v, same_object, secret, ret);
        break;
    case MIRROR_FILE_BAD:
        refuse(ret, "%s", v->problem);
        break;
    case MIRROR_FILE_UNKNOWN:
        break;
    }
}
