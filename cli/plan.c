/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The plan of an apply. What an object would become is the server's answer to a dry run;
 * where a Run would go is computed here from the instances and jobs as they are.
 */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "api/priority.h"
#include "api/profile.h"
#include "api/resources.h"
#include "api/run_instances.h"
#include "api/run_update.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "cli/apply.h"
#include "cli/jdiff.h"
#include "cli/past.h"
#include "cli/placement.h"
#include "cli/table.h"

static bool
is_run(const struct apply_item *i)
{
    return i->m->resource->resource == &resource_runs;
}

int
plan_look(struct apply *a, struct apply_item *i, struct error *e)
{
    auto_str path = STR_INIT(4096);

    client_path(&path, i->m->resource->resource, i->ns, i->m->name, NULL);
    int rc = session_get_json(&a->s, path.ptr, NULL, &i->live, e);
    if (rc < 0 && e->code != ERR_NOT_FOUND && e->code != ERR_FORBIDDEN)
        return rc;
    *e = ERROR_INIT;
    bool over = cli_final_phase(js(i->live, "status.phase"));
    i->action = APPLY_SEND;
    if (i->live == NULL)
        i->action = APPLY_CREATE;
    else if (is_run(i) && over && (i->m->dstack != NULL || a->replace))
        i->action = APPLY_REPLACE;
    return 0;
}

/* --- the server's answer ------------------------------------------------------------ */

static int
dry_run(struct apply *a, struct apply_item *i, struct error *e)
{
    auto_object *o = NULL;
    int rc = apply_send(a, i, true, &o, e);

    if (rc == 0) {
        json_decref(i->next);
        i->next = object_json(o);
    }
    return rc;
}

/* As if there were no Run of the name: under one that nobody has. */
static int
dry_run_anew(struct apply *a, struct apply_item *i, struct error *e)
{
    json_t *meta = json_object_get(i->m->object, "metadata");
    json_t *name = json_incref(json_object_get(meta, "name"));
    char suffix[9];

    id_suffix(suffix, sizeof(suffix) - 1);
    json_object_set_new(meta, "name", json_sprintf("plan-%s", suffix));
    i->m->name = js(i->m->object, "metadata.name");
    int rc = dry_run(a, i, e);
    json_object_set_new(meta, "name", name);
    i->m->name = js(i->m->object, "metadata.name");
    if (rc == 0)
        json_object_set(json_object_get(i->next, "metadata"), "name", name);
    return rc;
}

/* The server refused nothing but changes of a Run that is under way or over. */
static bool
is_fixed(struct apply *a, const struct apply_item *i)
{
    const json_t *causes = js_get(client_last_status(a->s.client), "details.causes");
    size_t n;
    const json_t *c;

    json_array_foreach (causes, n, c) {
        if (!streq(js(c, "reason"), "FieldValueForbidden") ||
            !str_starts(js(c, "field"), "spec."))
            return false;
    }
    return is_run(i) && i->live != NULL && json_array_size(causes) > 0;
}

static bool
differs(const struct apply_item *i)
{
    json_t *before = past_declared(i->live), *after = past_declared(i->next);
    bool same = json_equal(before, after);

    json_decref(before);
    json_decref(after);
    return !same;
}

/* The apply makes the PriorityClass that the Run names, before it. */
static bool
makes_class(const struct apply *a, const struct apply_item *i)
{
    const char *name = js(i->m->object, "spec.priorityClassName");

    vec_foreach (other, &a->items) {
        if (other == i)
            break;
        if (other->m->resource->resource == &resource_priorityclasses && is_run(i) &&
            streq(other->m->name, name))
            return true;
    }
    return false;
}

int
plan_make(struct apply *a, struct apply_item *i)
{
    struct error e = ERROR_INIT;
    bool anew = i->action == APPLY_REPLACE;
    int rc = anew ? dry_run_anew(a, i, &e) : dry_run(a, i, &e);

    if (rc < 0 && !anew && e.code == ERR_INVALID && is_fixed(a, i)) {
        e = ERROR_INIT;
        i->action = a->replace ? APPLY_REPLACE : APPLY_REFUSED;
        rc = dry_run_anew(a, i, &e);
    }
    /* Something that an earlier document of the same apply will make is fine. */
    if (rc < 0 && e.code == ERR_NOT_FOUND && a->items.len > 1 && i->m->ns != NULL)
        return 0;
    if (rc < 0 && e.code == ERR_INVALID && makes_class(a, i))
        return 0;
    if (rc < 0)
        return apply_report(a, i, &e);
    if (i->action == APPLY_SEND)
        i->action = differs(i) ? APPLY_CHANGE : APPLY_NOTHING;
    return 0;
}

/* --- where it would run ------------------------------------------------------------- */

static json_t *
list_of(struct apply *a, const struct resource *r, const char *ns)
{
    auto_str path = STR_INIT(2048);
    json_t *list = NULL;
    struct error e = ERROR_INIT;

    client_path(&path, r, ns, NULL, NULL);
    /* Who may not look gets a plan without places. */
    return session_get_json(&a->s, path.ptr, NULL, &list, &e) < 0 ? NULL : list;
}

/* A Job that waits, as the run controller would make it. */
static json_t *
job_of(const json_t *spec, const json_t *resources, int64_t nodes)
{
    static const char *const copied[] = {"image", "priority", "fleets"};
    char now[CLOCK_RFC3339_US_LEN];
    json_t *job = json_object();

    for (size_t i = 0; i < ARRAY_LEN(copied); i++) {
        json_t *value = json_object_get(spec, copied[i]);
        if (value != NULL)
            json_object_set(job, copied[i], value);
    }
    if (resources != NULL)
        json_object_set(job, "resources", (json_t *)(uintptr_t)resources);
    json_object_set_new(job, "instances",
                        run_instance_names(json_object_get(spec, "instances")));
    json_object_set_new(job, "nodes", json_integer((json_int_t)nodes));
    clock_format_us(clock_wall_ns(), now);
    json_object_set_new(job, "queuedAt", json_string(now));
    return json_pack("{s:{s:s}, s:o}", "metadata", "name", "", "spec", job);
}

/* What it comes to; enough: it fits now. */
static void
print_verdict(const json_t *spec, const struct placement_verdict *v, bool enough)
{
    const char *room = js(spec, "whenNoCapacity");
    const char *lack = v->room == 0 ? "No machine has room now"
                                    : "Fewer machines than nodes have room now";
    const json_t *events = js_get(spec, "retry.onEvents");
    bool patient = false;
    size_t i;
    const json_t *e;

    json_array_foreach (events, i, e)
        patient |= json_is_string(e) && streq(json_string_value(e), "no-capacity");
    if (js_get(spec, "schedule") != NULL)
        puts("It starts at the times of its schedule.");
    else if (js_get(spec, "dependsOn") != NULL)
        puts("It starts after the runs that it depends on.");
    else if (enough)
        printf("%s\n", v->ahead == 0 ? "It can start now." : "It waits for its turn.");
    else if (!streq(room, "fail"))
        printf("%s: it will wait in the queue.\n", lack);
    else if (patient)
        printf("%s: it will wait as long as its retry says, and then fail with "
               "NoCapacity.\n",
               lack);
    else
        printf("%s: it will fail with NoCapacity (retry: true waits).\n", lack);
}

static void
print_places(struct apply *a, const struct apply_item *i, const json_t *spec)
{
    json_t *jobs = list_of(a, &resource_jobs, i->ns);
    json_t *instances = list_of(a, &resource_instances, i->ns);
    const json_t *list = json_object_get(spec, "groups");
    size_t n = list == NULL ? 1 : json_array_size(list);
    struct placement_group groups[PLACEMENT_GROUPS_MAX];
    struct placement_verdict worst = {.room = SIZE_MAX};
    size_t n_groups = 0;
    int64_t nodes = 0;

    for (size_t k = 0; k < n && k < ARRAY_LEN(groups); k++)
        nodes += js_int(list == NULL ? spec : json_array_get(list, k), "nodes", 1);
    for (; n_groups < n && n_groups < ARRAY_LEN(groups) && jobs != NULL &&
           instances != NULL;
         n_groups++) {
        const json_t *g = list == NULL ? spec : json_array_get(list, n_groups);
        struct placement_group *x = &groups[n_groups];
        struct placement_verdict v;
        x->job = job_of(spec, json_object_get(g, "resources"), nodes);
        x->nodes = js_int(g, "nodes", 1);
        if (list != NULL)
            printf("Group %zu, %lld node%s:\n", n_groups, (long long)x->nodes,
                   x->nodes == 1 ? "" : "s");
        else if (nodes > 1)
            printf("%lld nodes, all at once; for each:\n", (long long)nodes);
        placement_judge(x->job, jobs, instances, stdout, &v);
        if (v.room < worst.room)
            worst = v;
    }
    bool enough = worst.room > 0;
    if (n_groups > 0 && nodes > 1)
        enough = placement_gang(groups, n_groups, jobs, instances, stdout);
    if (n_groups > 0)
        print_verdict(spec, &worst, enough);
    while (n_groups > 0)
        json_decref(groups[--n_groups].job);
    json_decref(jobs);
    json_decref(instances);
}

/* --- what a Run says ---------------------------------------------------------------- */

static void
print_value(const char *title, const json_t *v)
{
    if (v == NULL || json_is_null(v))
        return;
    autofree char *text = json_is_string(v)
                              ? xstrdup(json_string_value(v))
                              : json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);
    printf("  %-14s %s\n", title, text);
}

static void
print_retry(const json_t *retry)
{
    const json_t *events = json_object_get(retry, "onEvents");
    const json_t *duration = json_object_get(retry, "duration");
    const char *sep = "";
    size_t i;
    const json_t *e;

    printf("  %-14s after ", "Retry");
    json_array_foreach (events, i, e) {
        printf("%s%s", sep, json_string_value(e));
        sep = ", ";
    }
    autofree char *text = json_dumps(duration, JSON_ENCODE_ANY);
    if (events == NULL)
        fputs("anything", stdout);
    printf(", within %s\n", json_is_string(duration) ? json_string_value(duration)
                            : text != NULL           ? text
                                                     : "1h");
}

static void
print_secret(const char *run, const char *suffix, const json_t *values)
{
    const char *key;
    json_t *value;
    const char *sep = "";

    if (values == NULL)
        return;
    printf("  %-14s %s-%s (", "Secret", run, suffix);
    json_object_foreach ((json_t *)(uintptr_t)values, key, value) {
        printf("%s%s", sep, key);
        sep = ", ";
    }
    puts(")");
}

static void
print_facts(const struct apply_item *i, const json_t *spec, const json_t *profile)
{
    static const struct {
        const char *title, *field;
    } rows[] = {
        {"Type", "type"},     {"Image", "image"},         {"Nodes", "nodes"},
        {"Array", "array"},   {"After", "dependsOn"},     {"Schedule", "schedule"},
        {"Fleets", "fleets"}, {"Instances", "instances"}, {"Max duration", "maxDuration"},
    };

    const json_t *retry = json_object_get(spec, "retry");
    if (js_int(spec, "priority", 0) > 0)
        print_value("Priority", json_object_get(spec, "priority"));
    if (retry != NULL)
        print_retry(retry);
    for (size_t r = 0; r < ARRAY_LEN(rows); r++)
        print_value(rows[r].title, json_object_get(spec, rows[r].field));
    if (profile != NULL)
        printf("  %-14s %s\n", "Profile", js(profile, "metadata.name"));
    print_secret(i->m->name, "env", i->secrets.env);
    print_secret(i->m->name, "registry", i->secrets.registry);
}

/* What the namespace may take together, and takes. */
static void
print_quotas(struct apply *a, const struct apply_item *i)
{
    json_t *list = list_of(a, &resource_quotas, i->ns);
    size_t n;
    const json_t *q;

    json_array_foreach (json_object_get(list, "items"), n, q) {
        const char *summary = js(q, "status.summary");
        printf("  %-14s %s: %s\n", "Quota", js(q, "metadata.name"),
               summary[0] != '\0' ? summary : "not looked at yet");
    }
    json_decref(list);
}

/* The spec with what its PriorityClass says; a new reference. */
static json_t *
with_class(struct apply *a, json_t *spec)
{
    json_t *list = list_of(a, &resource_priorityclasses, NULL), *chosen = NULL;
    struct error e = ERROR_INIT;

    if (list != NULL &&
        priority_choose(spec, json_object_get(list, "items"), &chosen, &e) < 0)
        printf("  %-14s %s\n", "Priority class", e.msg);
    json_decref(list);
    if (chosen == NULL)
        return json_incref(spec);
    printf("  %-14s %s (%lld)\n", "Priority class", js(chosen, "name"),
           (long long)js_int(chosen, "value", 0));
    json_t *merged = priority_merge(spec, chosen);
    json_decref(chosen);
    return merged;
}

/* The spec with its profile and class, and where it would run. */
static void
print_run(struct apply *a, const struct apply_item *i)
{
    const json_t *spec = json_object_get(i->next, "spec");
    json_t *list = list_of(a, &resource_profiles, i->ns);
    const json_t *profile = NULL;
    struct error e = ERROR_INIT;

    if (profile_choose(spec, json_object_get(list, "items"), &profile, &e) < 0 &&
        list != NULL)
        printf("  %-14s %s\n", "Profile", e.msg);
    json_t *merged = profile_merge(spec, json_object_get(profile, "spec"));
    print_facts(i, merged, profile);
    json_t *whole = with_class(a, merged);
    print_quotas(a, i);
    print_places(a, i, whole);
    json_decref(whole);
    json_decref(merged);
    json_decref(list);
}

/* --- the whole ---------------------------------------------------------------------- */

static void
print_changes(const struct apply_item *i)
{
    struct jdiff_opts o = {.colour = term_colours(),
                           .hide_data = i->m->resource->resource == &resource_secrets};
    json_t *before = past_declared(i->live), *after = past_declared(i->next);
    auto_str out = STR_INIT(16u << 20);

    jdiff_print(before, after, &o, &out);
    fputs(out.ptr, stdout);
    json_decref(before);
    json_decref(after);
}

void
plan_print(struct apply *a, const struct apply_item *i)
{
    const char *kind = i->m->resource->singular;
    const char *phase = js(i->live, "status.phase");
    const char *name = i->m->name;

    switch (i->action) {
    case APPLY_NOTHING:
        printf("%s/%s: no change\n", kind, name);
        return;
    case APPLY_SEND:
    case APPLY_CREATE:
        printf("%s/%s: will be created\n", kind, name);
        break;
    case APPLY_CHANGE:
        printf("%s/%s: will be changed in place\n", kind, name);
        break;
    case APPLY_REPLACE:
        printf("%s/%s: is %s; a new one will take its place\n", kind, name, phase);
        break;
    case APPLY_REFUSED:
        printf("%s/%s: is %s, and this takes a new one\n", kind, name, phase);
        break;
    }
    if (i->live != NULL && i->next != NULL)
        print_changes(i);
    if (is_run(i) && i->next != NULL && i->action != APPLY_CHANGE)
        print_run(a, i);
}

static void
add_name(void *arg, const char *field)
{
    struct str *out = arg;

    str_addf(out, "%s%.100s", out->len > 0 ? ", " : "", field);
}

int
plan_refuse(const struct apply_item *i)
{
    const char *phase = js(i->live, "status.phase");
    auto_str names = STR_INIT(8192);

    run_update_fixed(json_object_get(i->live, "spec"), json_object_get(i->next, "spec"),
                     add_name, &names);
    manifest_problem(i->m, NULL,
                     "run/%s is %s: %s cannot be changed in place; --replace %s",
                     i->m->name, phase, names.ptr,
                     cli_final_phase(phase) ? "starts a new one in its place"
                                            : "stops it and starts a new one");
    return error_exit_status(ERR_CONFLICT);
}

bool
plan_confirm(struct apply *a)
{
    bool replaces = false, changes = false;
    char answer[16] = "";

    vec_foreach (i, &a->items) {
        replaces |= i->action == APPLY_REFUSED;
        changes |= i->action != APPLY_NOTHING;
    }
    if (!changes)
        return true;
    printf("%s [y/N] ",
           replaces ? "Stop what is there and start the new one?" : "Go on?");
    fflush(stdout);
    if (fgets(answer, sizeof(answer), stdin) == NULL ||
        (answer[0] != 'y' && answer[0] != 'Y'))
        return false;
    vec_foreach (i, &a->items) {
        if (i->action == APPLY_REFUSED)
            i->action = APPLY_REPLACE;
    }
    return true;
}
