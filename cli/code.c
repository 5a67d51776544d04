/* SPDX-License-Identifier: Apache-2.0 */
/*
 * spec.files: "local[:path]" or {localPath, path}. spec.repos: "local[:path]",
 * "URL[:path]", {localPath, path} or {url, ...}. spec.rootfs: {archive}.
 */
#include "cli/code.h"

#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/archive.h"
#include "base/fs.h"
#include "base/mem.h"

static bool
is_url(const char *text)
{
    if (text == NULL)
        return false;
    return strstr(text, "://") != NULL ||
           (strchr(text, '@') != NULL && strchr(text, ':') != NULL);
}

/* "first[:second]"; the colons of a URL belong to it. second is NULL when not given. */
static int
split(const char *text, char **first, char **second, struct error *e)
{
    const char *from = text;

    if (is_url(text)) {
        const char *scheme = strstr(text, "://");
        from = scheme != NULL ? scheme + 3 : strchr(text, ':') + 1;
        /* https://host:8443/x: a port is no path in the job */
        const char *slash = strchr(from, '/');
        if (scheme != NULL && slash != NULL)
            from = slash;
    }
    const char *colon = strchr(from, ':');
    if (colon != NULL && strchr(colon + 1, ':') != NULL)
        return error_set(e, ERR_INVALID, "\"%.200s\" has too many colons", text);
    *first = colon == NULL ? xstrdup(text) : xstrndup(text, (size_t)(colon - text));
    *second = colon == NULL || colon[1] == '\0' ? NULL : xstrdup(colon + 1);
    return 0;
}

int
code_local_path(const struct manifest *m, const char *text, char **ret, struct error *e)
{
    const char *home = getenv("HOME");
    const char *slash = strrchr(m->file, '/');

    if (text[0] == '~' && text[1] != '\0' && text[1] != '/')
        return error_set(e, ERR_INVALID, "%.200s: ~user is not supported", text);
    if (text[0] == '~' && home == NULL)
        return error_set(e, ERR_INVALID, "%.200s: HOME is not set", text);
    if (text[0] == '~')
        *ret = xasprintf("%s%s", home, text + 1);
    else if (text[0] == '/' || slash == NULL)
        *ret = xstrdup(text);
    else
        *ret = xasprintf("%.*s/%s", (int)(slash - m->file), m->file, text);
    return 0;
}

struct code {
    struct session *s;
    const struct manifest *m;
    const char *ns;
    bool dry;
};

static int
send_packed(const struct code *c, const struct packed *p, const char *label,
            struct error *e)
{
    return c->dry ? 0 : upload_blob(c->s, c->ns, p, label, e);
}

static void
set(json_t *o, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(o, key, json_string(value));
}

/* A string becomes an object with `local` or `url` and path. */
static int
as_object(json_t *list, size_t i, bool repos, struct error *e)
{
    const char *text = json_string_value(json_array_get(list, i));
    autofree char *first = NULL;
    autofree char *second = NULL;

    if (text == NULL)
        return 0;
    if (split(text, &first, &second, e) < 0)
        return -(int)e->code;
    json_t *o = json_object();
    set(o, repos && is_url(first) ? "url" : "localPath", first);
    set(o, "path", second != NULL ? second : repos ? NULL : first);
    json_array_set_new(list, i, o);
    return 0;
}

static int
prepare_file(const struct code *c, json_t *o, struct error *e)
{
    const char *local = json_string_value(json_object_get(o, "localPath"));
    autofree char *path = NULL;
    struct packed p = {.fd = -1};

    if (local == NULL || json_object_get(o, "blob") != NULL)
        return 0;
    if (json_object_get(o, "path") == NULL)
        set(o, "path", local);
    int rc = code_local_path(c->m, local, &path, e);
    if (rc == 0)
        rc = pack_path(path, &p, e);
    if (rc == 0)
        rc = send_packed(c, &p, local, e);
    if (rc == 0) {
        set(o, "blob", p.blob);
        json_object_set_new(o, "size", json_integer((json_int_t)p.size));
    }
    packed_done(&p);
    return rc;
}

static int
prepare_repo(const struct code *c, json_t *o, struct error *e)
{
    const char *local = json_string_value(json_object_get(o, "localPath"));
    autofree char *path = NULL;
    struct checkout co = {.patch.fd = -1};

    if (local == NULL || json_object_get(o, "url") != NULL)
        return 0;
    int rc = code_local_path(c->m, local, &path, e);
    if (rc == 0)
        rc = checkout_read(path, &co, e);
    if (rc == 0 && co.patch.fd >= 0)
        rc = send_packed(c, &co.patch, local, e);
    if (rc == 0) {
        set(o, "url", co.url);
        set(o, "branch", co.branch);
        set(o, "hash", co.hash);
        if (co.patch.fd >= 0)
            set(o, "patch", co.patch.blob);
    }
    checkout_done(&co);
    return rc;
}

/* The file as it is: its owners and modes count. */
static int
take_archive(const char *path, struct packed *p, struct error *e)
{
    char head[ARCHIVE_HEAD];
    enum archive_kind kind;
    struct stat st;

    p->fd = open(path, O_RDONLY | O_CLOEXEC);
    if (p->fd < 0 || fstat(p->fd, &st) < 0)
        return error_errno(e, errno, "%.300s", path);
    if (S_ISDIR(st.st_mode))
        return error_set(e, ERR_INVALID,
                         "%.300s is a directory: tar -C %.300s -czf root.tar.gz . makes "
                         "an archive of it",
                         path, path);
    ssize_t n = pread(p->fd, head, sizeof(head), 0);
    if (n < 0)
        return error_errno(e, errno, "read %.300s", path);
    int rc = archive_kind(head, (size_t)n, &kind, e);
    return rc < 0 ? error_prepend(e, "%.300s", path) : packed_seal(p, e);
}

static int
prepare_root(const struct code *c, json_t *root, struct error *e)
{
    const char *local = json_string_value(json_object_get(root, "archive"));
    autofree char *path = NULL;
    struct packed p = {.fd = -1};

    if (local == NULL || json_object_get(root, "blob") != NULL)
        return 0;
    int rc = code_local_path(c->m, local, &path, e);
    if (rc == 0 && path != NULL)
        rc = take_archive(path, &p, e);
    if (rc == 0)
        rc = send_packed(c, &p, local, e);
    if (rc == 0) {
        set(root, "blob", p.blob);
        json_object_set_new(root, "size", json_integer((json_int_t)p.size));
    }
    packed_done(&p);
    return rc < 0 ? error_prepend(e, "spec.rootfs.archive") : 0;
}

int
code_prepare(struct session *s, const struct manifest *m, bool dry, struct error *e)
{
    static const struct {
        const char *key;
        bool repos;
        int (*prepare)(const struct code *c, json_t *o, struct error *e);
    } lists[] = {{"files", false, prepare_file}, {"repos", true, prepare_repo}};
    struct code c = {s, m, m->ns != NULL ? m->ns : s->ns, dry};
    json_t *spec = json_object_get(m->object, "spec");

    if (!streq(m->resource->singular, "run"))
        return 0;
    for (size_t k = 0; k < ARRAY_LEN(lists); k++) {
        json_t *list = json_object_get(spec, lists[k].key);
        for (size_t i = 0; i < json_array_size(list); i++) {
            int rc = as_object(list, i, lists[k].repos, e);
            if (rc == 0)
                rc = lists[k].prepare(&c, json_array_get(list, i), e);
            if (rc < 0)
                return error_prepend(e, "spec.%s[%zu]", lists[k].key, i);
        }
    }
    return prepare_root(&c, json_object_get(spec, "rootfs"), e);
}
