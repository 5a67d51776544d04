/* SPDX-License-Identifier: Apache-2.0 */
/* Single values: each function is one way to read what users write. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "api/dstack_internal.h"
#include "api/resources.h"
#include "api/values.h"

char *
dstack_text(const json_t *v)
{
    char text[64];

    if (json_is_string(v))
        return xstrdup(json_string_value(v));
    if (json_is_integer(v))
        return xasprintf("%lld", (long long)json_integer_value(v));
    if (!json_is_real(v))
        return NULL;
    /* The shortest text that reads back as the same number. */
    for (int digits = 1; digits <= 17; digits++) {
        snprintf(text, sizeof(text), "%.*g", digits, json_real_value(v));
        if (strtod(text, NULL) == json_real_value(v))
            break;
    }
    return xasprintf("%s%s", text, strpbrk(text, ".en") == NULL ? ".0" : "");
}

static void
put(json_t *to, const struct dstack_field *f, json_t *value)
{
    json_object_set_new(to, f->to, value);
}

void
dstack_put_text(struct dstack_result *r, const struct dstack_field *f, const char *path,
                const json_t *v, json_t *to)
{
    autofree char *text = dstack_text(v);

    if (text == NULL || text[0] == '\0')
        dstack_problem(r, path, "must be text");
    else
        put(to, f, json_string(text));
}

void
dstack_put_user(struct dstack_result *r, const struct dstack_field *f, const char *path,
                const json_t *v, json_t *to)
{
    autofree char *text = dstack_text(v);
    struct error e = ERROR_INIT;
    struct unix_user u;

    if (text == NULL)
        dstack_problem(r, path, "must be user or user:group");
    else if (value_unix_user(text, &u, &e) < 0)
        dstack_problem(r, path, "%s", e.msg);
    else
        put(to, f, json_string(text));
}

void
dstack_put_absolute_path(struct dstack_result *r, const struct dstack_field *f,
                         const char *path, const json_t *v, json_t *to)
{
    const char *text = json_string_value(v);

    if (text == NULL || (text[0] != '/' && !streq(text, "~") && !str_starts(text, "~/")))
        dstack_problem(r, path, "must be an absolute path, e.g. /app");
    else
        put(to, f, json_string(text));
}

void
dstack_put_flag(struct dstack_result *r, const struct dstack_field *f, const char *path,
                const json_t *v, json_t *to)
{
    if (!json_is_boolean(v))
        dstack_problem(r, path, "must be true or false");
    else
        put(to, f, json_boolean(json_is_true(v)));
}

/* 3 or "3" */
static bool
integer_of(const json_t *v, int min, int max, json_int_t *ret)
{
    const char *text = json_string_value(v);
    char *end = NULL;

    if (text != NULL && (text[0] < '0' || text[0] > '9' || strlen(text) > 12))
        return false;
    if (text == NULL && !json_is_integer(v))
        return false;
    *ret = text != NULL ? strtoll(text, &end, 10) : json_integer_value(v);
    return (end == NULL || *end == '\0') && *ret >= min && *ret <= max;
}

void
dstack_put_integer(struct dstack_result *r, const struct dstack_field *f,
                   const char *path, const json_t *v, json_t *to)
{
    json_int_t n;

    if (!integer_of(v, f->min, f->max, &n))
        dstack_problem(r, path, "must be a whole number from %d to %d", f->min, f->max);
    else
        put(to, f, json_integer(n));
}

/* One of the words in f->text, which are separated by '|'. */
void
dstack_put_word(struct dstack_result *r, const struct dstack_field *f, const char *path,
                const json_t *v, json_t *to)
{
    const char *word = json_string_value(v);
    size_t n = word == NULL ? 0 : strlen(word);

    for (const char *p = f->text; n > 0; p++) {
        size_t len = strcspn(p, "|");
        if (len == n && memcmp(p, word, n) == 0) {
            put(to, f, json_string(word));
            return;
        }
        p += len;
        if (*p == '\0')
            break;
    }
    dstack_problem(r, path, "must be one of %s", f->text);
}

void
dstack_put_price(struct dstack_result *r, const struct dstack_field *f, const char *path,
                 const json_t *v, json_t *to)
{
    const char *text = json_string_value(v);
    char *end = NULL;
    double d = text != NULL ? strtod(text, &end) : json_number_value(v);

    if ((text != NULL && (*text == '\0' || *end != '\0')) ||
        (text == NULL && !json_is_number(v)) || !(d > 0) || !isfinite(d))
        dstack_problem(r, path, "must be a price above 0, e.g. 1.5");
    else
        put(to, f, json_real(d));
}

/* --- durations ---------------------------------------------------------------------- */

void
dstack_put_plain_duration(struct dstack_result *r, const struct dstack_field *f,
                          const char *path, const json_t *v, json_t *to)
{
    struct error e = ERROR_INIT;
    int64_t seconds;

    if (value_duration(v, false, &seconds, &e) < 0)
        dstack_problem(r, path, "%s", e.msg);
    else if (f->min > 0 && seconds < f->min)
        dstack_problem(r, path, "must not be shorter than %d seconds", f->min);
    else
        put(to, f, json_is_real(v) ? json_integer(seconds) : json_deep_copy(v));
}

/* off and false are "off", true leaves the default. */
void
dstack_put_duration(struct dstack_result *r, const struct dstack_field *f,
                    const char *path, const json_t *v, json_t *to)
{
    struct error e = ERROR_INIT;
    int64_t seconds;

    if (json_is_true(v))
        return;
    if (value_duration(v, true, &seconds, &e) < 0)
        dstack_problem(r, path, "%s", e.msg);
    else if (seconds == DURATION_OFF)
        put(to, f, json_string("off"));
    else
        put(to, f, json_is_real(v) ? json_integer(seconds) : json_deep_copy(v));
}

/* Here any negative number means never, too. */
void
dstack_put_idle_duration(struct dstack_result *r, const struct dstack_field *f,
                         const char *path, const json_t *v, json_t *to)
{
    const char *text = json_string_value(v);

    if ((json_is_number(v) && json_number_value(v) < 0) ||
        (text != NULL && streq(text, "-1")))
        put(to, f, json_string("off"));
    else
        dstack_put_duration(r, f, path, v, to);
}

/* --- what is not translated --------------------------------------------------------- */

void
dstack_put_nothing(struct dstack_result *r, const struct dstack_field *f,
                   const char *path, const json_t *v, json_t *to)
{
    UNUSED(r);
    UNUSED(f);
    UNUSED(path);
    UNUSED(v);
    UNUSED(to);
}

void
dstack_put_refused(struct dstack_result *r, const struct dstack_field *f,
                   const char *path, const json_t *v, json_t *to)
{
    UNUSED(v);
    UNUSED(to);
    dstack_problem(r, path, "%s", f->text);
}

void
dstack_put_refused_if_true(struct dstack_result *r, const struct dstack_field *f,
                           const char *path, const json_t *v, json_t *to)
{
    UNUSED(to);
    if (!json_is_boolean(v))
        dstack_problem(r, path, "must be true or false");
    else if (json_is_true(v))
        dstack_problem(r, path, "%s", f->text);
}

void
dstack_put_ignored(struct dstack_result *r, const struct dstack_field *f,
                   const char *path, const json_t *v, json_t *to)
{
    UNUSED(v);
    UNUSED(to);
    dstack_warning(r, path, "%s", f->text);
}

/* --- small mappings ----------------------------------------------------------------- */

static const struct dstack_field retry_fields[] = {
    {.key = "on_events", .put = dstack_put_nothing},
    {.key = "duration", .put = dstack_put_plain_duration, .to = "duration"},
};
static const struct dstack_table retry_table = {"retry", retry_fields,
                                                ARRAY_LEN(retry_fields), NULL};
static const char *const retry_events[] = {"no-capacity", "interruption", "error"};

static bool
is_retry_event(const char *word)
{
    for (size_t i = 0; word != NULL && i < ARRAY_LEN(retry_events); i++) {
        if (streq(retry_events[i], word))
            return true;
    }
    return false;
}

/* NULL, with a note: not understood. Without a list, all events. */
static json_t *
events_of(struct dstack_result *r, const char *path, const json_t *v)
{
    char at[DSTACK_PATH_MAX];
    json_t *list = json_array();
    size_t n = r->problems, i;
    const json_t *item;

    for (i = 0; (v == NULL || json_is_null(v)) && i < ARRAY_LEN(retry_events); i++)
        json_array_append_new(list, json_string(retry_events[i]));
    if (v != NULL && !json_is_null(v) && json_array_size(v) == 0)
        dstack_problem(r, path, "must be a list of no-capacity, interruption and error");
    json_array_foreach (v, i, item) {
        dstack_at(at, path, i);
        if (!is_retry_event(json_string_value(item)))
            dstack_problem(r, at, "must be no-capacity, interruption or error");
        else if (json_array_size(list) < ARRAY_LEN(retry_events))
            json_array_append_new(list, json_string(json_string_value(item)));
    }
    if (r->problems == n)
        return list;
    json_decref(list);
    return NULL;
}

void
dstack_put_retry(struct dstack_result *r, const struct dstack_field *f, const char *path,
                 const json_t *v, json_t *to)
{
    char at[DSTACK_PATH_MAX];

    if (json_is_false(v))
        return;
    if (!json_is_boolean(v) && !json_is_object(v)) {
        dstack_problem(r, path,
                       "must be true, false or a mapping with on_events and "
                       "duration");
        return;
    }
    json_t *retry = json_object();
    if (json_is_object(v))
        dstack_walk(r, &retry_table, path, v, retry);
    dstack_join(at, path, "on_events");
    json_t *events = events_of(r, at, json_object_get(v, "on_events"));
    if (events != NULL)
        json_object_set_new(retry, "onEvents", events);
    if (json_object_get(retry, "duration") == NULL)
        json_object_set_new(retry, "duration", json_string("1h"));
    put(to, f, retry);
}

static const struct dstack_field utilization_fields[] = {
    {"min_gpu_utilization", dstack_put_integer, "minGpuUtilization", NULL, 0, 100},
    {"time_window", dstack_put_plain_duration, "timeWindow", NULL, 300, 0},
};
static const struct dstack_table utilization_table = {
    "utilization_policy", utilization_fields, ARRAY_LEN(utilization_fields), NULL};

void
dstack_put_utilization(struct dstack_result *r, const struct dstack_field *f,
                       const char *path, const json_t *v, json_t *to)
{
    json_t *policy = json_object();
    size_t before = r->problems;

    dstack_walk(r, &utilization_table, path, v, policy);
    if (r->problems == before && json_object_size(policy) < 2)
        dstack_problem(r, path, "needs min_gpu_utilization and time_window");
    put(to, f, policy);
}

void
dstack_put_schedule(struct dstack_result *r, const struct dstack_field *f,
                    const char *path, const json_t *v, json_t *to)
{
    const json_t *cron = json_object_get(v, "cron");
    json_t *list;
    size_t i;
    const json_t *item;

    if (json_object_size(v) != 1 || cron == NULL ||
        (!json_is_string(cron) && json_array_size(cron) == 0)) {
        dstack_problem(r, path, "must be {cron: \"0 8 * * mon-fri\"} or a list of such");
        return;
    }
    list = json_is_string(cron) ? json_pack("[O]", cron) : json_deep_copy(cron);
    json_array_foreach (list, i, item) {
        if (!json_is_string(item))
            dstack_problem(r, path, "each cron is text such as \"0 8 * * mon-fri\"");
    }
    put(to, f, json_pack("{s:o}", "cron", list));
}

/* --- resources ---------------------------------------------------------------------- */

static void
rename_key(json_t *o, const char *from, const char *to)
{
    json_t *v = json_object_get(o, from);

    if (v == NULL)
        return;
    json_incref(v);
    json_object_del(o, from);
    if (json_object_get(o, to) == NULL)
        json_object_set(o, to, v);
    json_decref(v);
}

static bool
is_arch_only(const char *text)
{
    text += strspn(text, " ");
    if (strncasecmp(text, "x86", 3) != 0 && strncasecmp(text, "arm", 3) != 0)
        return false;
    return text[3 + strspn(text + 3, " ")] == '\0';
}

/* Without a count, dstack's default of 2 or more. */
static void
default_cpu(json_t *resources)
{
    json_t *cpu = json_object_get(resources, "cpu");
    const char *text = json_string_value(cpu);

    if (cpu == NULL || json_is_null(cpu))
        json_object_set_new(resources, "cpu", json_string("2.."));
    else if (text != NULL && is_arch_only(text))
        json_object_set_new(resources, "cpu", json_sprintf("%s:2..", text));
    else if (json_is_object(cpu) && json_object_get(cpu, "count") == NULL &&
             json_object_get(cpu, "min") == NULL && json_object_get(cpu, "max") == NULL)
        json_object_set_new(cpu, "count", json_string("2.."));
}

json_t *
dstack_resources(struct dstack_result *r, const char *path, const json_t *v)
{
    json_t *all = json_is_object(v) ? json_deep_copy(v) : json_object();
    struct resource_req req;
    auto_violations problems = {0};
    struct error e = ERROR_INIT;

    if (v != NULL && !json_is_null(v) && !json_is_object(v))
        dstack_problem(r, path, "must be a mapping of cpu, memory, gpu, disk, shm_size");
    else if (resources_parse(v, path, &req, &problems, &e) < 0)
        vec_foreach (p, &problems.list)
            dstack_problem(r, p->path, "%s", p->message);
    default_cpu(all);
    json_t *memory = json_object_get(all, "memory");
    if (memory == NULL || json_is_null(memory))
        json_object_set_new(all, "memory", json_string("8GB.."));
    if (json_object_get(all, "disk") == NULL) /* null is: none asked */
        json_object_set_new(all, "disk", json_string("100GB.."));
    rename_key(all, "shm_size", "shmSize");
    json_t *gpu = json_object_get(all, "gpu");
    rename_key(gpu, "total_memory", "totalMemory");
    rename_key(gpu, "compute_capability", "computeCapability");
    const char *key;
    json_t *item;
    void *next;
    json_object_foreach_safe(all, next, key, item)
    {
        if (json_is_null(item))
            json_object_del(all, key);
    }
    return all;
}

void
dstack_put_resources(struct dstack_result *r, const struct dstack_field *f,
                     const char *path, const json_t *v, json_t *to)
{
    put(to, f, dstack_resources(r, path, v));
}
