/* SPDX-License-Identifier: Apache-2.0 */
/* Reading manifests and saying what is wrong with them, and where. */
#include "cli/manifest.h"

#include <dirent.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "api/dstack.h"
#include "base/fs.h"
#include "base/mem.h"

void
manifests_done(struct manifests *m)
{
    vec_foreach (x, &m->list) {
        free(x->file);
        json_decref(x->object);
        json_decref(x->dstack);
    }
    vec_done(&m->list);
    vec_foreach (d, &m->docs)
        yaml_docs_done(d);
    vec_done(&m->docs);
}

void
manifest_problem(const struct manifest *m, const char *path, const char *fmt, ...)
{
    auto_str theirs = STR_INIT(4096);
    va_list ap;

    if (m->dstack != NULL && path != NULL) {
        manifest_dstack_path(m, path, &theirs);
        path = theirs.ptr;
    }
    unsigned line = yaml_line(&m->doc, path == NULL ? "" : path);

    if (line == 0)
        line = m->doc.line;
    fprintf(stderr, "%s:%u: ", m->file, line);
    if (path != NULL && path[0] != '\0')
        fprintf(stderr, "%s: ", path);
    va_start(ap, fmt);
    vfprintf(stderr, fmt, ap);
    va_end(ap);
    fputc('\n', stderr);
}

/* Kubernetes says strict decoding problems in its message only: unknown field "a.b", ...
 */
static size_t
strict_problems(const struct manifest *m, const char *message)
{
    static const char *const kinds[] = {"unknown field \"", "duplicate field \""};
    size_t n = 0;

    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        const char *p = message;
        while ((p = strstr(p, kinds[k])) != NULL) {
            p += strlen(kinds[k]);
            size_t len = strcspn(p, "\"");
            autofree char *path = xstrndup(p, len);
            manifest_problem(m, path, "%s",
                             k == 0 ? "there is no such field"
                                    : "the field is given twice");
            p += len;
            n++;
        }
    }
    return n;
}

size_t
manifest_status_problems(const struct manifest *m, const json_t *status)
{
    const json_t *causes = js_get(status, "details.causes");
    size_t i;
    const json_t *c;
    size_t n = 0;

    json_array_foreach (causes, i, c) {
        const char *message = js(c, "message");
        if (message[0] == '\0')
            continue;
        manifest_problem(m, js(c, "field"), "%s", message);
        n++;
    }
    return n > 0 ? n : strict_problems(m, js(status, "message"));
}

/* What must be right before the server can even be asked. */
static void
identify_ours(struct manifests *ms, struct manifest *m)
{
    const char *kind = js(m->object, "kind");
    const char *api = js(m->object, "apiVersion");
    char word[128];
    size_t before = ms->problems;

    if (!json_is_object(m->object)) {
        manifest_problem(m, NULL,
                         "a document must be a mapping with apiVersion, kind, "
                         "metadata and spec");
        ms->problems++;
        return;
    }
    if (kind[0] == '\0' || strlen(kind) >= sizeof(word)) {
        manifest_problem(m, NULL, "kind is missing, e.g. kind: Run");
        ms->problems++;
        return;
    }
    if (api[0] == '\0') {
        manifest_problem(m, NULL,
                         "apiVersion is missing, e.g. apiVersion: drover.dev/v1");
        ms->problems++;
    }
    for (size_t i = 0; i <= strlen(kind); i++)
        word[i] = (kind[i] >= 'A' && kind[i] <= 'Z') ? (char)(kind[i] + 32) : kind[i];
    m->resource = cli_resource(word);
    if (m->resource == NULL || !streq(m->resource->resource->kind, kind)) {
        manifest_problem(m, "kind", "\"%.60s\" is not a kind of object here", kind);
        ms->problems++;
    } else if (api[0] != '\0') {
        const struct resource *r = m->resource->resource;
        char want[128];
        snprintf(want, sizeof(want), "%s%s%s", r->group, r->group[0] != '\0' ? "/" : "",
                 r->version);
        if (!streq(api, want)) {
            manifest_problem(m, "apiVersion", "\"%.60s\" does not have kind %s; use %s",
                             api, kind, want);
            ms->problems++;
        }
    }
    m->name = js(m->object, "metadata.name");
    m->ns = json_string_value(js_get(m->object, "metadata.namespace"));
    if (m->name[0] == '\0' && ms->problems == before) {
        manifest_problem(m, "metadata", "name is missing");
        ms->problems++;
    }
}

static void
identify(struct manifests *ms, struct manifest *m)
{
    if (!dstack_is_document(m->object)) {
        identify_ours(ms, m);
        return;
    }
    manifest_from_dstack(ms, m);
    m->resource = cli_resource_of_kind(js(m->object, "kind"));
    m->name = js(m->object, "metadata.name");
    if (m->object != NULL && m->name[0] == '\0' && !ms->may_lack_name) {
        manifest_problem(m, NULL, "name is missing: which one is meant?");
        ms->problems++;
    }
}

static void
read_bytes(struct manifests *ms, const char *file, const struct str *bytes)
{
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    if (yaml_read(bytes->ptr, bytes->len, true, &docs, &e) < 0) {
        fprintf(stderr, "%s: %s\n", file, e.msg);
        ms->problems++;
        return;
    }
    vec_push(&ms->docs, docs);
    vec_foreach (d, &docs.list) {
        struct manifest m = {.file = xstrdup(file), .doc = *d};
        json_error_t je;
        m.object = json_loadb(d->json.ptr, d->json.len, JSON_DECODE_ANY, &je);
        if (m.object == NULL) {
            manifest_problem(&m, NULL, "%s", je.text);
            ms->problems++;
        } else {
            identify(ms, &m);
        }
        vec_push(&ms->list, m);
    }
    if (docs.list.len == 0) {
        fprintf(stderr, "%s: no document in it\n", file);
        ms->problems++;
    }
}

static void
read_file(struct manifests *ms, const char *path)
{
    auto_str bytes = STR_INIT(YAML_MAX_BYTES);
    struct error e = ERROR_INIT;
    int rc = fs_read(streq(path, "-") ? "/dev/stdin" : path, &bytes, &e);

    if (rc < 0) {
        if (e.code == ERR_TOO_LARGE)
            fprintf(stderr, "%s: larger than the %u MiB that an object may have\n", path,
                    YAML_MAX_BYTES >> 20);
        else
            fprintf(stderr, "%s\n", e.msg);
        ms->problems++;
        return;
    }
    read_bytes(ms, path, &bytes);
}

static int
manifest_filter(const struct dirent *d)
{
    const char *n = d->d_name;

    return n[0] != '.' &&
           (str_ends(n, ".yaml") || str_ends(n, ".yml") || str_ends(n, ".json"));
}

static void
read_dir(struct manifests *ms, const char *path)
{
    struct dirent **names = NULL;
    int n = scandir(path, &names, manifest_filter, alphasort);

    if (n < 0) {
        fprintf(stderr, "%s: %s\n", path, strerrordesc_np(errno));
        ms->problems++;
        return;
    }
    if (n == 0) {
        fprintf(stderr, "%s: no *.yaml, *.yml or *.json file in it\n", path);
        ms->problems++;
    }
    for (int i = 0; i < n; i++) {
        autofree char *file = fs_join(path, names[i]->d_name);
        read_file(ms, file);
        free(names[i]);
    }
    free(names);
}

void
manifests_read(struct manifests *ms, const char *path)
{
    struct stat st;

    if (!streq(path, "-") && stat(path, &st) == 0 && S_ISDIR(st.st_mode))
        read_dir(ms, path);
    else
        read_file(ms, path);
}
