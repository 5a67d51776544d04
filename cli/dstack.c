/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dstack's files on the way to objects: the profile from .dstack/profiles.yml here or at
 * home, the translation, and what both have to say with file and line.
 */
#include "api/dstack.h"

#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/manifest.h"

/* A variable that is written in a list is an item of it. */
static bool
env_item(const struct manifest *m, const char *name, struct str *out)
{
    size_t n = strlen(name);
    size_t i;
    const json_t *item;

    json_array_foreach (json_object_get(m->dstack, "env"), i, item) {
        const char *text = json_string_value(item);
        if (text == NULL || strncmp(text, name, n) != 0 ||
            (text[n] != '\0' && text[n] != '='))
            continue;
        str_addf(out, "env[%zu]", i);
        return true;
    }
    return false;
}

void
manifest_dstack_path(const struct manifest *m, const char *field, struct str *out)
{
    if (!str_starts(field, "spec.env.") || !env_item(m, field + 9, out))
        dstack_path(field, out);
}

struct profile_file {
    char *path; /* NULL: there is none */
    struct yaml_docs docs;
    json_t *doc;
};

static void
profile_file_done(struct profile_file *p)
{
    free(p->path);
    yaml_docs_done(&p->docs);
    json_decref(p->doc);
}

/* The first that exists: here, then at home. malloc'd. */
static char *
find_file(void)
{
    static const char *const names[] = {".dstack/profiles.yml", ".dstack/profiles.yaml"};
    const char *home = getenv("HOME");

    for (size_t i = 0; i < 2 * ARRAY_LEN(names); i++) {
        const char *name = names[i % ARRAY_LEN(names)];
        if (i >= ARRAY_LEN(names) && home == NULL)
            break;
        char *path = i < ARRAY_LEN(names) ? xstrdup(name) : fs_join(home, name);
        if (access(path, F_OK) == 0)
            return path;
        free(path);
    }
    return NULL;
}

/* False: said why on stderr. */
static bool
read_file(struct profile_file *p)
{
    auto_str bytes = STR_INIT(YAML_MAX_BYTES);
    struct error e = ERROR_INIT;

    p->path = find_file();
    if (p->path == NULL)
        return true;
    if (fs_read(p->path, &bytes, &e) < 0) {
        fprintf(stderr, "%s\n", e.msg);
        return false;
    }
    if (yaml_read(bytes.ptr, bytes.len, true, &p->docs, &e) < 0) {
        fprintf(stderr, "%s: %s\n", p->path, e.msg);
        return false;
    }
    if (p->docs.list.len == 1) {
        const struct str *json = &p->docs.list.items[0].json;
        p->doc = json_loadb(json->ptr, json->len, JSON_DECODE_ANY, NULL);
    }
    if (p->doc == NULL)
        fprintf(stderr, "%s: must be one document with profiles: in it\n", p->path);
    return p->doc != NULL;
}

static void
print_notes(struct manifests *ms, const struct manifest *m, const struct dstack_result *r)
{
    vec_foreach (n, &r->notes)
        manifest_problem(m, n->path, "%s%s", n->warning ? "warning: " : "", n->text);
    if (r->problems > DSTACK_NOTES_MAX)
        fprintf(stderr, "%s: ... and %zu more\n", m->file,
                r->problems - DSTACK_NOTES_MAX);
    ms->problems += r->problems;
}

static bool
is_set(const char *variable)
{
    const char *value = getenv(variable);

    return value != NULL && value[0] != '\0' && !streq(value, "0");
}

/* Which profile is wanted: NULL with *ret_none false is the default one. */
static const char *
wanted(const struct manifests *ms, bool *ret_none)
{
    const char *name = getenv("DSTACK_PROFILE");

    *ret_none = ms->no_profile;
    if (ms->no_profile || ms->profile != NULL)
        return ms->profile;
    *ret_none = is_set("DSTACK_NO_PROFILE");
    return *ret_none || name == NULL || name[0] == '\0' ? NULL : name;
}

static void
translate(struct manifests *ms, struct manifest *m, const json_t *profile,
          const char *name)
{
    auto_dstack_result r = {0};

    dstack_translate(m->dstack, profile, &r);
    print_notes(ms, m, &r);
    m->object = move_ptr(r.object);
    json_t *spec = json_object_get(m->object, "spec");
    /* Not in a file here, so it is one of the server's. */
    if (name != NULL && profile == NULL && streq(js(m->object, "kind"), "Run"))
        json_object_set_new(spec, "profile", json_string(name));
}

void
manifest_from_dstack(struct manifests *ms, struct manifest *m)
{
    struct profile_file p = {0};
    auto_dstack_result r = {0};
    const json_t *entry = NULL;
    bool none;
    const char *name = wanted(ms, &none);

    if (!none && !read_file(&p))
        ms->problems++;
    if (p.doc != NULL) {
        struct manifest file = {.file = p.path, .doc = p.docs.list.items[0]};
        dstack_profile_find(p.doc, name, &entry, &r);
        print_notes(ms, &file, &r);
    }
    m->dstack = move_ptr(m->object);
    translate(ms, m, entry, none ? "none" : name);
    profile_file_done(&p);
}
