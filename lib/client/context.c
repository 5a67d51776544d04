/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Contexts: reads and writes the kubeconfig files that kubectl uses. Paths inside a file
 * are relative to it, as kubectl has it. "unix:///path" as a server is our addition.
 */
#include <string.h>
#include <sys/stat.h>

#include "api/yaml.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "client/client.h"

enum { KUBECONFIG_MAX = 1 << 20, PEM_MAX = 256 * 1024 };
#define UNIX_SCHEME "unix://"

void
client_context_done(struct client_context *c)
{
    free(c->file);
    free(c->name);
    free(c->server);
    free(c->unix_socket);
    free(c->ca_pem);
    free(c->token);
    free(c->token_file);
    free(c->ns);
    free(c->cert_file);
    free(c->key_file);
    *c = (struct client_context){0};
}

static bool
file_exists(const char *path)
{
    struct stat st;

    return stat(path, &st) == 0;
}

/* The first existing file of a colon-separated list, else its first entry; NULL: empty.
 */
static char *
first_existing(const char *list)
{
    char *first = NULL;

    for (const char *p = list; *p != '\0';) {
        size_t n = strcspn(p, ":");
        char *entry = n > 0 ? xstrndup(p, n) : NULL;
        p += n + (p[n] == ':');
        if (entry == NULL)
            continue;
        if (file_exists(entry)) {
            free(first);
            return entry;
        }
        if (first == NULL)
            first = entry;
        else
            free(entry);
    }
    return first;
}

/* Which kubeconfig; NULL when there is none. */
static char *
choose_file(const char *explicit_file)
{
    const char *drover = getenv("DROVER_CONFIG");
    const char *kube = getenv("KUBECONFIG");
    const char *home = getenv("HOME");

    if (explicit_file != NULL)
        return xstrdup(explicit_file);
    if (drover != NULL && drover[0] != '\0')
        return first_existing(drover);
    if (kube != NULL && kube[0] != '\0')
        return first_existing(kube);
    if (home == NULL || home[0] == '\0')
        return NULL;
    autofree char *ours = xasprintf("%s/.drover/config", home);
    autofree char *theirs = xasprintf("%s/.kube/config", home);
    if (file_exists(ours))
        return move_ptr(ours);
    return file_exists(theirs) ? move_ptr(theirs) : NULL;
}

/* The inner mapping ("cluster", "user", "context") of the named entry of a list. */
static const json_t *
named(const json_t *doc, const char *list, const char *name, const char *inner)
{
    size_t i;
    const json_t *entry;

    json_array_foreach (json_object_get(doc, list), i, entry) {
        const char *n = json_string_value(json_object_get(entry, "name"));
        if (n != NULL && name != NULL && streq(n, name))
            return json_object_get(entry, inner);
    }
    return NULL;
}

static const char *
text(const json_t *map, const char *key)
{
    return json_string_value(json_object_get(map, key));
}

static char *
dup_or_null(const char *s)
{
    return s == NULL ? NULL : xstrdup(s);
}

/* A path from the file, made relative to the file's directory. */
static char *
beside(const char *file, const char *path)
{
    const char *slash = strrchr(file, '/');

    if (path == NULL)
        return NULL;
    if (path[0] == '/' || slash == NULL)
        return xstrdup(path);
    autofree char *dir = xstrndup(file, (size_t)(slash - file));
    return fs_join(dir, path);
}

static int
take_cluster(struct client_context *c, const json_t *cluster, struct error *e)
{
    const char *server = text(cluster, "server");
    const char *data = text(cluster, "certificate-authority-data");
    const char *ca_file = text(cluster, "certificate-authority");
    auto_str pem = STR_INIT(PEM_MAX);
    int rc = 0;

    if (server == NULL)
        return error_set(e, ERR_INVALID, "the cluster has no server");
    if (str_starts(server, UNIX_SCHEME)) {
        c->unix_socket = xstrdup(server + strlen(UNIX_SCHEME));
        c->server = xstrdup("http://drover");
    } else {
        c->server = xstrdup(server);
    }
    c->insecure = json_is_true(json_object_get(cluster, "insecure-skip-tls-verify"));
    if (data != NULL) {
        rc = id_base64_decode(data, strlen(data), false, &pem, e);
        if (rc < 0)
            return error_prepend(e, "certificate-authority-data");
    } else if (ca_file != NULL) {
        autofree char *path = beside(c->file, ca_file);
        rc = fs_read(path, &pem, e);
        if (rc < 0)
            return error_prepend(e, "certificate-authority");
    }
    if (pem.len > 0)
        c->ca_pem = str_detach(&pem);
    return 0;
}

static int
take_user(struct client_context *c, const json_t *user, struct error *e)
{
    c->token = dup_or_null(text(user, "token"));
    c->token_file = beside(c->file, text(user, "tokenFile"));
    c->cert_file = beside(c->file, text(user, "client-certificate"));
    c->key_file = beside(c->file, text(user, "client-key"));
    if (c->token != NULL || c->token_file != NULL || c->cert_file != NULL)
        return 0;
    if (text(user, "client-certificate-data") != NULL)
        return error_set(e, ERR_INVALID,
                         "the user has an inline client certificate; only tokens, token "
                         "files and certificate files are supported");
    if (json_object_get(user, "exec") != NULL)
        return error_set(e, ERR_INVALID,
                         "the user wants a credential plugin (exec), which is not "
                         "supported; use a token");
    return 0;
}

static int
take_context(struct client_context *c, const json_t *doc, const char *name,
             struct error *e)
{
    if (name == NULL)
        name = text(doc, "current-context");
    if (name == NULL || name[0] == '\0')
        return error_set(e, ERR_INVALID, "no context is chosen (current-context)");
    const json_t *context = named(doc, "contexts", name, "context");
    if (context == NULL)
        return error_set(e, ERR_NOT_FOUND, "there is no context \"%s\"", name);
    const json_t *cluster = named(doc, "clusters", text(context, "cluster"), "cluster");
    if (cluster == NULL)
        return error_set(e, ERR_INVALID, "context \"%s\": its cluster is not defined",
                         name);
    c->name = xstrdup(name);
    c->ns = dup_or_null(text(context, "namespace"));
    int rc = take_cluster(c, cluster, e);
    if (rc == 0)
        rc = take_user(c, named(doc, "users", text(context, "user"), "user"), e);
    return rc < 0 ? error_prepend(e, "context \"%s\"", name) : 0;
}

static int
parse_kubeconfig(const struct str *bytes, json_t **ret, struct error *e)
{
    struct yaml_docs docs = {0};
    int rc = yaml_read(bytes->ptr, bytes->len, false, &docs, e);

    if (rc < 0)
        return rc;
    if (docs.list.len == 1)
        *ret =
            json_loadb(docs.list.items[0].json.ptr, docs.list.items[0].json.len, 0, NULL);
    if (docs.list.len != 1 || *ret == NULL)
        rc = error_set(e, ERR_INVALID, "is not one kubeconfig document");
    yaml_docs_done(&docs);
    return rc;
}

int
client_context_load(const char *file, const char *context, struct client_context *ret,
                    struct error *e)
{
    struct client_context c = {.file = choose_file(file)};
    auto_str bytes = STR_INIT(KUBECONFIG_MAX);
    json_t *doc = NULL;

    if (c.file == NULL)
        return error_set(e, ERR_NOT_FOUND,
                         "no kubeconfig: give --kubeconfig, set DROVER_CONFIG or "
                         "KUBECONFIG, or write ~/.drover/config");
    int rc = fs_read(c.file, &bytes, e);
    if (rc == 0) {
        rc = parse_kubeconfig(&bytes, &doc, e);
        if (rc == 0)
            rc = take_context(&c, doc, context, e);
        if (rc < 0)
            error_prepend(e, "%s", c.file);
        json_decref(doc);
    }
    if (rc < 0) {
        client_context_done(&c);
        return rc;
    }
    if (c.ns == NULL)
        c.ns = xstrdup("default");
    *ret = c;
    return 0;
}

void
client_context_target(const struct client_context *c, struct http_target *ret)
{
    *ret = (struct http_target){
        .url = c->server,
        .unix_socket = c->unix_socket,
        .ca_pem = c->ca_pem,
        .cert_file = c->cert_file,
        .key_file = c->key_file,
        .bearer = c->token,
        .bearer_file = c->token == NULL ? c->token_file : NULL,
        .insecure = c->insecure,
        .user_agent = "drover/" DROVER_VERSION,
    };
}

/* [{"name": name, "<inner>": value}] */
static json_t *
one_named(const char *name, const char *inner, json_t *value)
{
    return json_pack("[{s:s, s:o}]", "name", name, inner, value);
}

static void
set_text(json_t *map, const char *key, const char *value)
{
    if (value != NULL)
        json_object_set_new(map, key, json_string(value));
}

static json_t *
kubeconfig_json(const struct client_context *c)
{
    const char *name = c->name != NULL ? c->name : "drover";
    json_t *cluster = json_object(), *user = json_object(), *context = json_object();

    if (c->unix_socket != NULL) {
        autofree char *url = xasprintf(UNIX_SCHEME "%s", c->unix_socket);
        set_text(cluster, "server", url);
    } else {
        set_text(cluster, "server", c->server);
    }
    if (c->insecure)
        json_object_set_new(cluster, "insecure-skip-tls-verify", json_true());
    if (c->ca_pem != NULL) {
        auto_str b64 = STR_INIT(2 * PEM_MAX);
        id_base64(c->ca_pem, strlen(c->ca_pem), &b64);
        set_text(cluster, "certificate-authority-data", b64.ptr);
    }
    set_text(user, "token", c->token);
    set_text(user, "tokenFile", c->token_file);
    set_text(user, "client-certificate", c->cert_file);
    set_text(user, "client-key", c->key_file);
    set_text(context, "cluster", name);
    set_text(context, "user", name);
    set_text(context, "namespace", c->ns);
    return json_pack("{s:s, s:s, s:o, s:o, s:o, s:s}", "apiVersion", "v1", "kind",
                     "Config", "clusters", one_named(name, "cluster", cluster), "users",
                     one_named(name, "user", user), "contexts",
                     one_named(name, "context", context), "current-context", name);
}

int
client_context_write(const char *file, const struct client_context *c, struct error *e)
{
    json_t *doc = kubeconfig_json(c);
    autofree char *json = json_dumps(doc, JSON_COMPACT);
    auto_str yaml = STR_INIT(KUBECONFIG_MAX);

    json_decref(doc);
    if (json == NULL)
        return error_set(e, ERR_INVALID, "the context is not valid UTF-8");
    int rc = yaml_write(span_of(json), &yaml, e);
    if (rc == 0 && yaml.toobig)
        rc = error_set(e, ERR_TOO_LARGE, "the kubeconfig is too large");
    return rc < 0 ? rc : fs_write_atomic(file, yaml.ptr, yaml.len, 0600, e);
}
