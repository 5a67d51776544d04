/* SPDX-License-Identifier: Apache-2.0 */
/* Building a status patch by comparing. */
#include "controllers/common/status.h"

#include "base/clock.h"

void
status_edit_init(struct status_edit *s, const struct object *o, int64_t now_ns)
{
    struct span raw = object_fact(o, o->facts.status);

    s->current = raw.len == 0 ? NULL : json_loadb(raw.ptr, raw.len, 0, NULL);
    if (s->current == NULL)
        s->current = json_object();
    s->patch = json_object();
    s->conditions = json_deep_copy(json_object_get(s->current, "conditions"));
    if (!json_is_array(s->conditions)) {
        json_decref(s->conditions);
        s->conditions = json_array();
    }
    s->conditions_changed = false;
    s->now_ns = now_ns;
    s->generation = o->facts.generation;
    snprintf(s->uid, sizeof(s->uid), "%s", o->uid);
}

void
status_edit_done(struct status_edit *s)
{
    json_decref(s->current);
    json_decref(s->patch);
    json_decref(s->conditions);
}

/* Takes value. */
static void
set_json(struct status_edit *s, const char *key, json_t *value)
{
    if (json_equal(json_object_get(s->current, key), value))
        json_decref(value);
    else
        json_object_set_new(s->patch, key, value);
}

void
status_unset(struct status_edit *s, const char *key)
{
    if (json_object_get(s->current, key) != NULL)
        json_object_set_new(s->patch, key, json_null());
}

void
status_set(struct status_edit *s, const char *key, const char *value)
{
    if (value == NULL || value[0] == '\0')
        status_unset(s, key);
    else
        set_json(s, key, json_string(value));
}

void
status_set_json(struct status_edit *s, const char *key, json_t *value)
{
    set_json(s, key, value);
}

void
status_set_int(struct status_edit *s, const char *key, int64_t value)
{
    set_json(s, key, json_integer(value));
}

void
status_set_time(struct status_edit *s, const char *key, int64_t wall_ns)
{
    char text[CLOCK_RFC3339_US_LEN];
    const char *have = json_string_value(json_object_get(s->current, key));
    int64_t have_ns;

    if (wall_ns == 0) {
        status_unset(s, key);
        return;
    }
    if (have != NULL && clock_parse(have, strlen(have), &have_ns) && have_ns == wall_ns)
        return;
    clock_format_us(wall_ns, text);
    set_json(s, key, json_string(text));
}

static json_t *
find_condition(const struct status_edit *s, const char *type)
{
    size_t i;
    json_t *c;

    json_array_foreach (s->conditions, i, c) {
        const char *t = json_string_value(json_object_get(c, "type"));
        if (t != NULL && streq(t, type))
            return c;
    }
    return NULL;
}

static bool
has(const json_t *c, const char *key, const char *value)
{
    const char *have = json_string_value(json_object_get(c, key));

    return streq(have == NULL ? "" : have, value == NULL ? "" : value);
}

void
status_set_condition(struct status_edit *s, const struct condition *c)
{
    const char *status = c->value ? "True" : "False";
    json_t *have = find_condition(s, c->type);
    char now[CLOCK_RFC3339_LEN];

    if (have != NULL && has(have, "status", status) && has(have, "reason", c->reason) &&
        has(have, "message", c->message))
        return;
    if (have == NULL) {
        have = json_pack("{s:s}", "type", c->type);
        json_array_append_new(s->conditions, have);
    }
    if (!has(have, "status", status)) {
        clock_format(s->now_ns, now);
        json_object_set_new(have, "status", json_string(status));
        json_object_set_new(have, "lastTransitionTime", json_string(now));
    }
    json_object_set_new(have, "reason", json_string(c->reason));
    if (c->message != NULL && c->message[0] != '\0')
        json_object_set_new(have, "message", json_string(c->message));
    else
        json_object_del(have, "message");
    if (s->generation > 0)
        json_object_set_new(have, "observedGeneration", json_integer(s->generation));
    s->conditions_changed = true;
}

bool
status_condition_there(const struct status_edit *s, const char *type)
{
    return find_condition(s, type) != NULL;
}

bool
status_condition_true(const struct status_edit *s, const char *type)
{
    const json_t *c = find_condition(s, type);

    return c != NULL && has(c, "status", "True");
}

json_t *
status_edit_patch(struct status_edit *s, uint64_t revision)
{
    char text[24];

    if (s->conditions_changed)
        json_object_set(s->patch, "conditions", s->conditions);
    if (s->generation > 0)
        set_json(s, "observedGeneration", json_integer(s->generation));
    if (json_object_size(s->patch) == 0)
        return NULL;
    json_t *metadata = json_pack("{s:s}", "uid", s->uid);
    if (revision > 0) {
        snprintf(text, sizeof(text), "%llu", (unsigned long long)revision);
        json_object_set_new(metadata, "resourceVersion", json_string(text));
    }
    return json_pack("{s:o, s:O}", "metadata", metadata, "status", s->patch);
}

static json_t *
finalizers_patch(const struct object *o, const char *without, const char *with)
{
    json_t *list = json_array();
    char revision[24];

    for (uint16_t i = 0; i < o->facts.n_finalizers; i++) {
        struct span f = object_fact(o, o->facts.finalizers[i]);
        if (without == NULL || !span_eq(f, without))
            json_array_append_new(list, json_stringn(f.ptr, f.len));
    }
    if (with != NULL)
        json_array_append_new(list, json_string(with));
    snprintf(revision, sizeof(revision), "%llu", (unsigned long long)o->revision);
    return json_pack("{s:{s:o, s:s}}", "metadata", "finalizers", list, "resourceVersion",
                     revision);
}

json_t *
finalizers_with(const struct object *o, const char *name)
{
    return finalizers_patch(o, NULL, name);
}

json_t *
finalizers_without(const struct object *o, const char *name)
{
    return finalizers_patch(o, name, NULL);
}
