/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Documents by their type, mappings by their tables. A wrong key is told with the nearest
 * right one, or with the kind of document that it belongs to.
 */
#include <ctype.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "api/dstack_internal.h"

enum { NOTE_MAX = 600, WORD_MAX = 64 };

void
dstack_result_done(struct dstack_result *r)
{
    vec_foreach (n, &r->notes) {
        free(n->path);
        free(n->text);
    }
    vec_done(&r->notes);
    json_decref(r->object);
    r->object = NULL;
}

static void
note(struct dstack_result *r, bool warning, const char *path, const char *text)
{
    struct dstack_note n = {.warning = warning};

    r->problems += !warning;
    if (r->notes.len == DSTACK_NOTES_MAX)
        return;
    n.path = xstrdup(path);
    n.text = xstrdup(text);
    vec_push(&r->notes, n);
}

void
dstack_problem(struct dstack_result *r, const char *path, const char *fmt, ...)
{
    char text[NOTE_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    note(r, false, path, text);
}

void
dstack_warning(struct dstack_result *r, const char *path, const char *fmt, ...)
{
    char text[NOTE_MAX];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    note(r, true, path, text);
}

void
dstack_join(char out[DSTACK_PATH_MAX], const char *path, const char *key)
{
    snprintf(out, DSTACK_PATH_MAX, "%.255s%s%.250s", path, path[0] != '\0' ? "." : "",
             key);
}

void
dstack_at(char out[DSTACK_PATH_MAX], const char *path, size_t index)
{
    snprintf(out, DSTACK_PATH_MAX, "%.480s[%zu]", path, index);
}

/* --- nearest names ------------------------------------------------------------------ */

static size_t
least(size_t a, size_t b)
{
    return a < b ? a : b;
}

size_t
dstack_distance(const char *a, const char *b, size_t max)
{
    size_t na = strlen(a), nb = strlen(b);
    size_t rows[3][WORD_MAX + 1]; /* two before, one before, this one */

    if (na > WORD_MAX || nb > WORD_MAX || na > nb + max || nb > na + max)
        return max + 1;
    for (size_t j = 0; j <= nb; j++)
        rows[0][j] = j;
    for (size_t i = 1; i <= na; i++) {
        size_t *row = rows[i % 3], *up = rows[(i - 1) % 3];
        const size_t *two = rows[(i + 1) % 3];
        row[0] = i;
        for (size_t j = 1; j <= nb; j++) {
            row[j] =
                least(least(up[j], row[j - 1]) + 1, up[j - 1] + (a[i - 1] != b[j - 1]));
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1])
                row[j] = least(row[j], two[j - 2] + 1);
        }
    }
    return rows[na % 3][nb];
}

/* maxDuration and max-duration are max_duration. */
static void
as_snake(const char *key, char out[WORD_MAX + 2])
{
    size_t n = 0;

    for (const char *p = key; *p != '\0' && n + 1 < WORD_MAX; p++) {
        if (isupper((unsigned char)*p) && n > 0)
            out[n++] = '_';
        out[n++] = *p == '-' ? '_' : (char)tolower((unsigned char)*p);
    }
    out[n] = '\0';
}

static const char *
nearest(const struct dstack_table *t, const char *key)
{
    char snake[WORD_MAX + 2] = "";
    const char *best = NULL;
    size_t limit = strlen(key) < 5 ? 1 : 2;
    size_t nearest_yet = limit + 1;

    as_snake(key, snake);
    for (; t != NULL; t = t->also) {
        for (size_t i = 0; i < t->n; i++) {
            size_t d = dstack_distance(snake, t->fields[i].key, limit);
            if (d < nearest_yet) {
                nearest_yet = d;
                best = t->fields[i].key;
            }
        }
    }
    return best;
}

/* Keys of the kinds of documents that there are besides. */
static const struct {
    const char *key, *owner;
} elsewhere[] = {
    {"ide", "a dev-environment"},
    {"init", "a dev-environment"},
    {"version", "a dev-environment"},
    {"inactivity_duration", "a dev-environment"},
    {"port", "a service (a task has ports)"},
    {"gateway", "a service"},
    {"strip_prefix", "a service"},
    {"model", "a service"},
    {"https", "a service"},
    {"auth", "a service"},
    {"replicas", "a service (a task has nodes)"},
    {"scaling", "a service"},
    {"rate_limits", "a service"},
    {"probes", "a service"},
    {"router", "a service"},
    {"ssh_config", "a fleet"},
    {"placement", "a fleet"},
    {"blocks", "a fleet"},
    {"domain", "a gateway"},
    {"pool_name", "versions of dstack before 0.19"},
    {"instance_name", "versions of dstack before 0.19"},
    {"termination_policy", "versions of dstack before 0.19 (write idle_duration)"},
    {"termination_idle_time", "versions of dstack before 0.19 (write idle_duration)"},
    {"retry_policy", "versions of dstack before 0.19 (write retry)"},
};

static void
unknown_key(struct dstack_result *r, const struct dstack_table *t, const char *path,
            const char *key)
{
    const char *near = nearest(t, key);

    for (size_t i = 0; near == NULL && i < ARRAY_LEN(elsewhere); i++) {
        if (!streq(elsewhere[i].key, key))
            continue;
        dstack_problem(r, path, "%s has no such key; it belongs to %s", t->what,
                       elsewhere[i].owner);
        return;
    }
    if (near != NULL)
        dstack_problem(r, path, "%s has no such key; did you mean \"%s\"?", t->what,
                       near);
    else
        dstack_problem(r, path, "%s has no such key", t->what);
}

/* --- the walk ----------------------------------------------------------------------- */

static const struct dstack_field *
find(const struct dstack_table *t, const char *key)
{
    for (; t != NULL; t = t->also) {
        for (size_t i = 0; i < t->n; i++) {
            if (streq(t->fields[i].key, key))
                return &t->fields[i];
        }
    }
    return NULL;
}

void
dstack_walk(struct dstack_result *r, const struct dstack_table *t, const char *path,
            const json_t *v, json_t *to)
{
    const char *key;
    json_t *item;
    char at[DSTACK_PATH_MAX];

    if (!json_is_object(v)) {
        dstack_problem(r, path, "must be a mapping");
        return;
    }
    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        const struct dstack_field *f = find(t, key);
        dstack_join(at, path, key);
        if (f == NULL)
            unknown_key(r, t, at, key);
        else if (!json_is_null(item))
            f->put(r, f, at, item, to);
    }
}

/* --- documents ---------------------------------------------------------------------- */

bool
dstack_is_document(const json_t *doc)
{
    return json_is_object(doc) && json_object_get(doc, "type") != NULL &&
           json_object_get(doc, "apiVersion") == NULL &&
           json_object_get(doc, "kind") == NULL;
}

static const struct {
    const char *type;
    void (*translate)(struct dstack_result *r, const json_t *doc);
    const char *why; /* not; NULL: it is translated */
} types[] = {
    {"task", dstack_run, NULL},
    {"fleet", dstack_fleet, NULL},
    {"service", NULL, "services are not served yet; a task can run the same commands"},
    {"dev-environment", NULL,
     "dev environments are not served yet; a task can run the same image"},
    {"gateway", NULL, "gateways are not served yet"},
    {"volume", NULL, "volumes are not served yet"},
    {"preset", NULL, "presets are not served"},
    {"template", NULL, "templates are for dstack's web interface and are not applied"},
};

/* What the profile says and doc does not. */
static json_t *
with_profile(const json_t *doc, const json_t *profile)
{
    json_t *all = json_copy((json_t *)(uintptr_t)doc);
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)profile, key, value) {
        const json_t *have = json_object_get(all, key);
        if (streq(key, "name") || streq(key, "default") ||
            (have != NULL && !json_is_null(have)))
            continue;
        json_object_set(all, key, value);
    }
    return all;
}

void
dstack_translate(const json_t *doc, const json_t *profile, struct dstack_result *ret)
{
    const char *type = json_string_value(json_object_get(doc, "type"));

    for (size_t i = 0; type != NULL && i < ARRAY_LEN(types); i++) {
        if (!streq(types[i].type, type))
            continue;
        if (types[i].translate == NULL) {
            dstack_problem(ret, "type", "%s", types[i].why);
            return;
        }
        json_t *all = with_profile(doc, profile);
        types[i].translate(ret, all);
        json_decref(all);
        if (ret->problems > 0) {
            json_decref(ret->object);
            ret->object = NULL;
        }
        return;
    }
    dstack_problem(ret, "type",
                   "must be task or fleet (service, dev-environment, gateway and volume "
                   "are not served yet)");
}

static const struct {
    const char *ours, *theirs;
} renamed[] = {
    {"metadata.name", "name"},  {"metadata", ""},
    {"spec.mounts", "volumes"}, {"spec.registryAuth.secretRef", "registry_auth"},
    {"spec.ssh", "ssh_config"}, {"spec.envFrom", "env"},
};

void
dstack_path(const char *field, struct str *out)
{
    const char *p = field;

    if (!str_starts(field, "spec") && !str_starts(field, "metadata")) {
        str_adds(out, field);
        return;
    }
    for (size_t i = 0; i < ARRAY_LEN(renamed); i++) {
        size_t n = strlen(renamed[i].ours);
        if (strncmp(field, renamed[i].ours, n) == 0 &&
            (field[n] == '\0' || field[n] == '.' || field[n] == '[')) {
            str_adds(out, renamed[i].theirs);
            p = field + n;
            break;
        }
    }
    if (p == field && (streq(field, "spec") || str_starts(field, "spec.")))
        p += field[4] == '\0' ? 4 : 5;
    if (str_starts(p, "env.") || str_starts(p, "tags.")) { /* names of the user's */
        str_adds(out, p);
        return;
    }
    for (; *p != '\0'; p++) {
        if (isupper((unsigned char)*p) && (p == field || !isupper((unsigned char)p[-1])))
            str_addc(out, '_'); /* internalIP is internal_ip */
        str_addc(out, (char)tolower((unsigned char)*p));
    }
}
