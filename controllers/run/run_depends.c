/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A Run that is absent may still come, so it is waited for. Runs that wait for each other
 * would do so for ever: the circle is looked for while one waits, and all in it fail.
 */
#include "controllers/run/run_depends.h"

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

enum depends
run_depends(const struct lister *l, const struct object *run,
            char message[MESSAGE_MAX_LEN])
{
    const char *cursor = NULL;
    struct span list, item;
    char name[RUN_NAME_MAX];
    enum depends ret = DEPENDS_MET;

    message[0] = '\0';
    while (next_depend(run, &cursor, &list, name, &item)) {
        auto_object *other = lister_find(l, &resource_runs, run->ns, name);
        enum phase phase = other == NULL ? PHASE_NONE : phase_of(other);
        if (phase_is_final(phase) && as_asked(item, phase))
            continue;
        if (phase_is_final(phase)) {
            snprintf(message, MESSAGE_MAX_LEN, "run %s is %s", name, phase_name(phase));
            return DEPENDS_FAILED;
        }
        int visits_left = VISITS_MAX;
        if (other != NULL && reaches(l, other, run->name, &visits_left)) {
            snprintf(message, MESSAGE_MAX_LEN, "it and run %s wait for each other", name);
            return DEPENDS_FAILED;
        }
        if (ret == DEPENDS_MET)
            snprintf(message, MESSAGE_MAX_LEN,
                     other == NULL ? "run %s does not exist yet"
                                   : "run %s is not over yet",
                     name);
        ret = DEPENDS_WAITS;
    }
    return ret;
}

void
run_depends_map(const struct lister *l, const struct object *before,
                const struct object *now, struct key_sink *keys)
{
    const struct object *o = now != NULL ? now : before;
    auto_object_list waiting = {0};

    bug_if(o == NULL);
    if (before != NULL && now != NULL && phase_of(before) == phase_of(now))
        return;
    if (now != NULL && before != NULL && !phase_is_final(phase_of(now)))
        return;
    lister_index(l, &resource_runs, INDEX_RUNS_WAITING, o->ns, &waiting);
    vec_foreach (w, &waiting.list) {
        const char *cursor = NULL;
        struct span list, item;
        char name[RUN_NAME_MAX];
        while (next_depend(*w, &cursor, &list, name, &item))
            if (streq(name, o->name)) {
                keys->add(keys, (*w)->ns, (*w)->name);
                break;
            }
    }
}
