/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Run that was never there may still come, so it is waited for. The first one that is
 * seen under a name is the one meant: its uid is kept in status.dependencies, and how it
 * ended once that is known. So it may be deleted, and its name used anew, after its end.
 * Runs that wait for each other would do so for ever: the circle is looked for while one
 * waits, and all in it fail.
 */
#include "controllers/run/run_depends.h"

#include <string.h>

#include "api/jtok.h"
#include "base/mem.h"

enum { VISITS_MAX = 1000, RUN_NAME_MAX = 64 };

static bool
next_depend(const struct object *run, const char **cursor, struct span *list,
            char name[RUN_NAME_MAX], struct span *item)
{
    struct span raw;
    auto_str text = STR_INIT(RUN_NAME_MAX - 1);

    if (*cursor == NULL && (!object_path(run, "spec.dependsOn", list) || list->len == 0 ||
                            list->ptr[0] != '['))
        return false;
    if (!jscan_next_item(*list, cursor, item))
        return false;
    name[0] = '\0';
    if (jscan_member(*item, "run", &raw) && jscan_string(raw, &text))
        snprintf(name, RUN_NAME_MAX, "%s", text.ptr);
    return true;
}

static enum phase
phase_of(const struct object *run)
{
    char text[32];

    object_get_string(run, "status.phase", text, sizeof(text));
    return phase_parse(text);
}

bool
run_waiting_key(const struct object *o, struct str *key)
{
    struct span raw;

    if (!object_path(o, "spec.dependsOn", &raw) || raw.len <= 2 ||
        phase_is_final(phase_of(o)))
        return false;
    str_adds(key, o->ns);
    return true;
}

static bool
as_asked(struct span item, enum phase end)
{
    struct span raw;

    if (!jscan_member(item, "condition", &raw) || jscan_is(raw, "done"))
        return end == PHASE_DONE;
    return jscan_is(raw, "any") || end != PHASE_DONE;
}

/* Is `target` among those that `run` waits for, directly or not? */
static bool
reaches(const struct lister *l, const struct object *run, const char *target,
        int *visits_left)
{
    const char *cursor = NULL;
    struct span list, item;
    char name[RUN_NAME_MAX];

    while (next_depend(run, &cursor, &list, name, &item)) {
        if (streq(name, target))
            return true;
        if (--*visits_left <= 0)
            return false;
        auto_object *next = lister_find(l, &resource_runs, run->ns, name);
        if (next != NULL && !phase_is_final(phase_of(next)) &&
            reaches(l, next, target, visits_left))
            return true;
    }
    return false;
}

/* --- what was seen --------------------------------------------------------------------
 */

/* status.dependencies: [{run, uid, phase}], the phase once it is final. A new list. */
static json_t *
seen_of(const struct object *run)
{
    struct span raw;
    json_t *list = NULL;

    if (object_path(run, "status.dependencies", &raw))
        list = json_loadb(raw.ptr, raw.len, 0, NULL);
    if (json_is_array(list))
        return list;
    json_decref(list);
    return json_array();
}

static json_t *
entry_of(const json_t *seen, const char *name)
{
    size_t i;
    json_t *x;

    json_array_foreach (seen, i, x) {
        const char *run = json_string_value(json_object_get(x, "run"));
        if (run != NULL && streq(run, name))
            return x;
    }
    return NULL;
}

static enum phase
end_of(const json_t *entry)
{
    const char *text = json_string_value(json_object_get(entry, "phase"));
    enum phase phase = text == NULL ? PHASE_NONE : phase_parse(text);

    return phase_is_final(phase) ? phase : PHASE_NONE;
}

/* The Run of the name becomes the one that is waited for. */
static json_t *
note(json_t *seen, json_t *entry, const struct object *other)
{
    if (entry == NULL) {
        entry = json_pack("{s:s, s:s}", "run", other->name, "uid", other->uid);
        json_array_append_new(seen, entry);
    }
    if (phase_is_final(phase_of(other)))
        json_object_set_new(entry, "phase", json_string(phase_name(phase_of(other))));
    return entry;
}

static bool
is_uid(const json_t *entry, const char *uid)
{
    const char *have = json_string_value(json_object_get(entry, "uid"));

    return have != NULL && streq(have, uid);
}

/* --- waiting --------------------------------------------------------------------------
 */

static enum depends
not_over(const struct lister *l, const struct object *run, const struct object *other,
         char message[MESSAGE_MAX_LEN])
{
    int visits_left = VISITS_MAX;

    if (reaches(l, other, run->name, &visits_left)) {
        snprintf(message, MESSAGE_MAX_LEN, "it and run %s wait for each other",
                 other->name);
        return DEPENDS_FAILED;
    }
    snprintf(message, MESSAGE_MAX_LEN, "run %s is not over yet", other->name);
    return DEPENDS_WAITS;
}

static enum depends
look(const struct lister *l, const struct object *run, struct span item, const char *name,
     json_t *seen, char message[MESSAGE_MAX_LEN])
{
    json_t *entry = entry_of(seen, name);

    if (end_of(entry) == PHASE_NONE) {
        auto_object *other = lister_find(l, &resource_runs, run->ns, name);
        if (entry == NULL && other == NULL) {
            snprintf(message, MESSAGE_MAX_LEN, "waits for run %s, which does not exist",
                     name);
            return DEPENDS_WAITS;
        }
        if (entry != NULL && (other == NULL || !is_uid(entry, other->uid))) {
            snprintf(message, MESSAGE_MAX_LEN,
                     "run %s was deleted before its end was seen%s", name,
                     other == NULL ? "" : "; what has its name now is another run");
            return DEPENDS_MISSING;
        }
        entry = note(seen, entry, other);
        if (end_of(entry) == PHASE_NONE)
            return not_over(l, run, other, message);
    }
    if (as_asked(item, end_of(entry)))
        return DEPENDS_MET;
    snprintf(message, MESSAGE_MAX_LEN, "run %s is %s", name, phase_name(end_of(entry)));
    return DEPENDS_FAILED;
}

enum depends
run_depends(const struct lister *l, const struct object *run,
            char message[MESSAGE_MAX_LEN], json_t **seen)
{
    const char *cursor = NULL;
    struct span list, item;
    char name[RUN_NAME_MAX], said[MESSAGE_MAX_LEN];
    enum depends ret = DEPENDS_MET;

    message[0] = '\0';
    *seen = NULL;
    while (next_depend(run, &cursor, &list, name, &item)) {
        if (*seen == NULL)
            *seen = seen_of(run);
        enum depends d = look(l, run, item, name, *seen, said);
        if (d <= ret) /* the first of the worst */
            continue;
        snprintf(message, MESSAGE_MAX_LEN, "%s", said);
        ret = d;
        if (ret > DEPENDS_WAITS)
            break;
    }
    return ret;
}

/* --- a Run that ended is let go when those that wait for it know how -------------------
 */

static bool
names(const struct object *run, const char *other)
{
    const char *cursor = NULL;
    struct span list, item;
    char name[RUN_NAME_MAX];

    while (next_depend(run, &cursor, &list, name, &item))
        if (streq(name, other))
            return true;
    return false;
}

/* It has not started, and will look at what it waits for. */
static bool
still_looks(const struct object *run)
{
    char text[UID_MAX];

    return run->facts.deleting_s == 0 &&
           !object_get_string(run, "status.jobUID", text, sizeof(text)) &&
           (!object_get_string(run, "spec.desiredState", text, sizeof(text)) ||
            streq(text, "Running"));
}

bool
run_depends_unseen(const struct lister *l, const struct object *run)
{
    auto_object_list waiting = {0};
    bool unseen = false;

    lister_index(l, &resource_runs, INDEX_RUNS_WAITING, run->ns, &waiting);
    vec_foreach (w, &waiting.list) {
        if (!still_looks(*w) || !names(*w, run->name))
            continue;
        json_t *seen = seen_of(*w);
        const json_t *entry = entry_of(seen, run->name);
        unseen |=
            entry == NULL || (is_uid(entry, run->uid) && end_of(entry) == PHASE_NONE);
        json_decref(seen);
    }
    return unseen;
}

/* --- who is woken ---------------------------------------------------------------------
 */

static bool
same_seen(const struct object *before, const struct object *now)
{
    struct span a = {0}, b = {0};
    bool has_a = object_path(before, "status.dependencies", &a);
    bool has_b = object_path(now, "status.dependencies", &b);

    return has_a == has_b && a.len == b.len &&
           (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* Those that it waited for, and that may be held up by it. */
static void
wake_held(const struct lister *l, const struct object *before, const struct object *now,
          const struct object *o, struct key_sink *keys)
{
    const char *cursor = NULL;
    struct span list, item;
    char name[RUN_NAME_MAX];

    if (before == NULL ||
        (now != NULL && same_seen(before, now) &&
         still_looks(before) == still_looks(now) &&
         phase_is_final(phase_of(before)) == phase_is_final(phase_of(now))))
        return;
    while (next_depend(o, &cursor, &list, name, &item)) {
        auto_object *other = lister_find(l, &resource_runs, o->ns, name);
        if (other != NULL && phase_is_final(phase_of(other)))
            keys->add(keys, o->ns, name);
    }
}

void
run_depends_map(const struct lister *l, const struct object *before,
                const struct object *now, struct key_sink *keys)
{
    const struct object *o = now != NULL ? now : before;
    auto_object_list waiting = {0};

    bug_if(o == NULL);
    wake_held(l, before, now, o, keys);
    if (before != NULL && now != NULL &&
        (phase_of(before) == phase_of(now) || !phase_is_final(phase_of(now))))
        return;
    lister_index(l, &resource_runs, INDEX_RUNS_WAITING, o->ns, &waiting);
    vec_foreach (w, &waiting.list)
        if (names(*w, o->name))
            keys->add(keys, (*w)->ns, (*w)->name);
}
