/* SPDX-License-Identifier: Apache-2.0 */
/* Programs by architecture, tasks from Instances. */
#include "controllers/instance/host_service.h"

#include <libgen.h>
#include <limits.h>
#include <pthread.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include "api/jtok.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "controllers/instance/host_bundle.h"
#include "controllers/instance/host_ssh.h"

enum {
    PARALLEL = 64,
    TOKEN_TTL_S = 900,
    REPLY_MAX = 64 * 1024,
    LAYOUT = 2 /* of what START makes; another one is set up anew */
};

/* Never deleted, so its uid names the API server for good, its keys changed or not. */
#define SERVER_NAMESPACE "drover-system"

struct host_service {
    struct manager *m;
    struct host_pool *pool;
    char *agent_url, *programs_dir, *work_dir;
    pthread_mutex_t lock;
    struct host_bundles *bundles;
    char server_id[HOST_ID_MAX]; /* "": not asked yet */
};

static void
run_ssh(void *arg, const struct host_task *t, int cancel_fd, struct host_result *ret)
{
    struct host_service *s = arg;

    host_ssh_run(s->work_dir, t, cancel_fd, ret);
}

static void
task_done(void *arg, const char *ns, const char *name)
{
    struct host_service *s = arg;

    manager_enqueue(s->m, "instance", ns, name);
}

static int64_t
now_ms(void *arg)
{
    const struct host_service *s = arg;

    return manager_now_ms(s->m);
}

/* --- life -------------------------------------------------------------------------- */

static void
instance_deleted(void *arg, const struct object *last)
{
    struct host_service *s = arg;

    host_pool_forget(s->pool, last->uid);
}

static void
instance_set(void *arg, const struct object *before, const struct object *now,
             bool initial)
{
    UNUSED(arg);
    UNUSED(before);
    UNUSED(now);
    UNUSED(initial);
}

static char *
copy_or_null(const char *text)
{
    return text == NULL || text[0] == '\0' ? NULL : xstrdup(text);
}

/* What a killed predecessor left there are keys. */
static int
open_work_dir(const char *dir, struct error *e)
{
    int rc = fs_remove_tree(dir, e);

    return rc == 0 ? fs_mkdirs(dir, 0700, e) : rc;
}

int
host_service_new(struct manager *m, const struct host_config *c,
                 struct host_service **ret, struct error *e)
{
    if (c->work_dir != NULL && open_work_dir(c->work_dir, e) < 0)
        return error_prepend(e, "directory for SSH keys");
    struct host_service *s = xnew(struct host_service);
    struct informer_handler h = {instance_set, instance_deleted, NULL, s};
    struct host_pool_opts o = {
        .run = c->run != NULL ? c->run : run_ssh,
        .run_arg = c->run != NULL ? c->run_arg : s,
        .done = task_done,
        .now_ms = now_ms,
        .arg = s,
        .parallel = c->parallel != 0 ? c->parallel : PARALLEL,
    };

    s->m = m;
    s->agent_url = copy_or_null(c->agent_url);
    s->programs_dir = copy_or_null(c->programs_dir);
    s->work_dir = copy_or_null(c->work_dir);
    s->bundles = host_bundles_new(c->work_dir != NULL ? c->work_dir : "/tmp");
    pthread_mutex_init(&s->lock, NULL);
    int rc = host_pool_new(&o, &s->pool, e);
    if (rc < 0) {
        host_service_free(s);
        return rc;
    }
    informer_add_handler(manager_informer(m, &resource_instances), &h);
    *ret = s;
    return 0;
}

void
host_service_stop(struct host_service *s)
{
    if (s != NULL)
        host_pool_stop(s->pool);
}

void
host_service_free(struct host_service *s)
{
    if (s == NULL)
        return;
    host_pool_free(s->pool);
    host_bundles_free(s->bundles);
    pthread_mutex_destroy(&s->lock);
    free(s->agent_url);
    free(s->programs_dir);
    free(s->work_dir);
    free(s);
}

/* --- programs ---------------------------------------------------------------------- */

static char *
beside_us(void)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0)
        return NULL;
    self[n] = '\0';
    return xasprintf("%s/drover-runner", dirname(self));
}

/* The file with the agent for the architecture; NULL: none. */
static char *
program_path(const struct host_service *s, const char *arch)
{
    struct utsname un;

    if (s->programs_dir != NULL) {
        autofree char *path = xasprintf("%s/drover-runner-%s", s->programs_dir, arch);
        if (access(path, R_OK) == 0)
            return move_ptr(path);
    }
    if (uname(&un) < 0 || !streq(un.machine, arch))
        return NULL;
    autofree char *ours = beside_us();
    return ours != NULL && access(ours, R_OK) == 0 ? move_ptr(ours) : NULL;
}

static const char *
url_for(const struct host_service *s, const struct host_view *v)
{
    return v->agent_url[0] != '\0' ? v->agent_url : s->agent_url;
}

static bool
plain_url(const char *url)
{
    for (const char *p = url; *p != '\0'; p++)
        if (*p <= ' ' || *p >= 0x7f || strchr("'\"\\$`%", *p) != NULL)
            return false;
    return str_starts(url, "https://");
}

/* spec.env of the fleet, as JSON. malloc'd. */
static char *
env_of_fleet(const struct lister *l, const struct object *o)
{
    char fleet[HOST_TEXT_MAX];
    struct span raw;

    if (!object_get_string(o, "spec.fleetName", fleet, sizeof(fleet)))
        return xstrdup("{}");
    auto_object *f = lister_find(l, &resource_fleets, o->ns, fleet);
    if (f == NULL || !object_path(f, "spec.env", &raw))
        return xstrdup("{}");
    return xstrndup(raw.ptr, raw.len);
}

/* The archive for the architecture; false: ret->blocked says why there is none. path:
 * NULL, or its path is wanted, malloc'd. */
static bool
find_bundle(struct host_service *s, const char *arch, struct host_want *ret, char **path)
{
    struct host_bundle b = {0};
    struct error e = ERROR_INIT;
    struct utsname un;
    autofree char *program = program_path(s, arch);

    if (program == NULL) {
        snprintf(ret->blocked, sizeof(ret->blocked),
                 "NoProgram there is no drover-runner-%s for the machine (see "
                 "--agent-programs)",
                 arch);
        return false;
    }
    bool ours = uname(&un) == 0 && streq(un.machine, arch);
    pthread_mutex_lock(&s->lock);
    int rc = host_bundle_get(s->bundles, program, ours, &b, &e);
    if (rc == 0 && path != NULL)
        *path = xstrdup(b.path);
    pthread_mutex_unlock(&s->lock);
    if (rc < 0) {
        snprintf(ret->blocked, sizeof(ret->blocked), "NoProgram %.300s", e.msg);
        return false;
    }
    snprintf(ret->program_id, sizeof(ret->program_id), "%s", b.id);
    ret->libc_minor = b.libc_minor;
    ret->program_kib = b.kib;
    return true;
}

/* Who installs, for the mark on the machine. Asked once. */
static bool
find_server_id(struct host_service *s, const struct reconcile_env *env,
               struct host_want *ret)
{
    struct error e = ERROR_INIT;
    auto_object *ns = NULL;

    pthread_mutex_lock(&s->lock);
    snprintf(ret->server_id, sizeof(ret->server_id), "%s", s->server_id);
    pthread_mutex_unlock(&s->lock);
    if (ret->server_id[0] != '\0')
        return true;
    if (client_get(env->client, &resource_namespaces, "", SERVER_NAMESPACE, &ns, &e) <
        0) {
        snprintf(ret->blocked, sizeof(ret->blocked),
                 "NoServerIdentity the namespace " SERVER_NAMESPACE
                 " cannot be read: %.200s",
                 e.msg);
        return false;
    }
    snprintf(ret->server_id, sizeof(ret->server_id), "%s", ns->uid);
    pthread_mutex_lock(&s->lock);
    snprintf(s->server_id, sizeof(s->server_id), "%s", ns->uid);
    pthread_mutex_unlock(&s->lock);
    return true;
}

static bool
url_ok(const char *url, struct host_want *ret)
{
    if (url == NULL)
        snprintf(
            ret->blocked, sizeof(ret->blocked),
            "NoServerAddress it is not known how machines reach the API server: start "
            "it with --advertise, or set spec.ssh.agentURL of the fleet");
    else if (!plain_url(url))
        snprintf(ret->blocked, sizeof(ret->blocked),
                 "NoServerAddress \"%.200s\" is not a https URL", url);
    return ret->blocked[0] == '\0';
}

void
host_service_want(struct host_service *s, const struct reconcile_env *env,
                  const struct object *o, const struct host_view *v, const char *arch,
                  struct host_want *ret)
{
    const char *url = url_for(s, v);
    char hash[65];

    *ret = (struct host_want){0};
    if (arch[0] == '\0' || !find_bundle(s, arch, ret, NULL) || !url_ok(url, ret) ||
        !find_server_id(s, env, ret))
        return;
    autofree char *job_env = env_of_fleet(env->lister, o);
    autofree char *text = xasprintf("%d\n%s\n%s\n%s\n%s\n%s\n", LAYOUT, ret->program_id,
                                    url, o->name, o->uid, job_env);
    id_hash_hex(text, strlen(text), hash);
    snprintf(ret->settings_id, sizeof(ret->settings_id), "%s", hash);
}

/* --- tasks ------------------------------------------------------------------------- */

static struct host_pool_key
key_of(const struct object *o)
{
    return (struct host_pool_key){o->uid, o->ns, o->name, o->facts.generation};
}

void
host_service_ask(struct host_service *s, const struct object *o, struct host_seen *ret)
{
    struct host_pool_key k = key_of(o);

    host_pool_ask(s->pool, &k, ret);
}

void
host_service_clear(struct host_service *s, const char *uid)
{
    host_pool_clear(s->pool, uid);
}

/* The private key in the Secret that the endpoint names. */
static int
fetch_identity(const struct reconcile_env *env, const char *ns,
               const struct host_endpoint *to, char **ret, struct error *e)
{
    auto_object *secret = NULL;
    auto_str text = STR_INIT(REPLY_MAX), key = STR_INIT(REPLY_MAX);
    autofree char *path = xasprintf("data.%s", to->key);
    struct span raw;

    int rc = client_get(env->client, &resource_secrets, ns, to->secret, &secret, e);
    if (rc == -ERR_NOT_FOUND)
        return error_set(e, ERR_NOT_FOUND, "there is no Secret %s with the private key",
                         to->secret);
    if (rc < 0)
        return error_prepend(e, "read the Secret %s", to->secret);
    bug_if(secret == NULL);
    if (!object_path(secret, path, &raw) || !jscan_string(raw, &text) || text.len == 0)
        return error_set(e, ERR_NOT_FOUND, "the Secret %s has no \"%s\"", to->secret,
                         to->key);
    rc = id_base64_decode(text.ptr, text.len, false, &key, e);
    explicit_bzero(text.ptr, text.len);
    if (rc < 0)
        return error_prepend(e, "the Secret %s", to->secret);
    *ret = str_detach(&key);
    return 0;
}

static int
make_token(const struct reconcile_env *env, const struct object *o, struct host_task *t,
           struct error *e)
{
    auto_str path = STR_INIT(2048), reply = STR_INIT(REPLY_MAX);
    autofree char *body =
        xasprintf("{\"ttlSeconds\":%d,\"instance\":\"%s\"}", TOKEN_TTL_S, o->name);
    struct client_request r = {.method = "POST",
                               .content_type = "application/json",
                               .body = body,
                               .body_len = strlen(body)};
    char fleet[HOST_TEXT_MAX];

    object_get_string(o, "spec.fleetName", fleet, sizeof(fleet));
    client_path(&path, &resource_fleets, o->ns, fleet, "jointoken");
    r.path = path.ptr;
    int rc = client_do(env->client, &r, &reply, e);
    if (rc < 0)
        return error_prepend(e, "make a join token");
    json_t *doc = json_loadb(reply.ptr, reply.len, 0, NULL);
    const char *token = json_string_value(json_object_get(doc, "token"));
    const char *ca = json_string_value(json_object_get(doc, "caHash"));
    if (token != NULL && ca != NULL) {
        t->token = xstrdup(token);
        t->ca_hash = xstrdup(ca);
    }
    json_decref(doc);
    explicit_bzero(reply.ptr, reply.len);
    return t->token != NULL ? 0
                            : error_set(e, ERR_PROVIDER, "the server made no join token");
}

/* What is left on the machine, for other servers and for people. */
static char *
make_mark(const struct object *o, const struct host_want *w, const char *url)
{
    const struct fact_owner *owner = object_controller(o);
    struct span fleet = owner == NULL ? (struct span){"", 0} : object_fact(o, owner->uid);
    char name[HOST_TEXT_MAX] = "";

    object_get_string(o, "spec.fleetName", name, sizeof(name));
    return xasprintf("%s\nserver=%s\nfleet=" SPAN_FMT "\nwho=the fleet %s/%s of %s\n",
                     o->uid, w->server_id, SPAN_ARG(fleet), o->ns, name, url);
}

static int
fill_start(struct host_service *s, const struct reconcile_env *env,
           const struct object *o, const struct host_view *v, struct host_task *t,
           const char *arch, struct error *e)
{
    struct host_want w;

    host_service_want(s, env, o, v, arch, &w);
    if (w.blocked[0] != '\0')
        return error_set(e, ERR_UNAVAILABLE, "%s", w.blocked);
    t->agent_url = xstrdup(url_for(s, v));
    t->name = xstrdup(o->name);
    t->settings_id = xstrdup(w.settings_id);
    t->job_env = env_of_fleet(env->lister, o);
    t->mark = make_mark(o, &w, t->agent_url);
    if (t->step == HOST_COPY && !find_bundle(s, arch, &w, &t->program))
        return error_set(e, ERR_UNAVAILABLE, "%s", w.blocked);
    t->program_id = xstrdup(w.program_id); /* of what is copied, if it changed just now */
    return t->step == HOST_START ? make_token(env, o, t, e) : 0;
}

static int
fill(struct host_service *s, const struct reconcile_env *env, const struct object *o,
     const struct host_view *v, struct host_task *t, const char *arch,
     const char **ret_reason, struct error *e)
{
    *ret_reason = "IdentityMissing";
    int rc = fetch_identity(env, o->ns, &v->to, &t->identity, e);
    if (rc == 0 && v->has_jump)
        rc = fetch_identity(env, o->ns, &v->jump, &t->jump_identity, e);
    if (rc < 0)
        return rc;
    *ret_reason = "NotPrepared";
    if (t->step == HOST_COPY || t->step == HOST_START)
        return fill_start(s, env, o, v, t, arch, e);
    return 0;
}

void
host_service_start(struct host_service *s, const struct reconcile_env *env,
                   const struct object *o, const struct host_view *v, enum host_step step,
                   const char *arch, const char *prior)
{
    struct host_pool_key k = key_of(o);
    struct host_task *t = xnew(struct host_task);
    struct host_result failed = {0};
    struct error e = ERROR_INIT;
    const char *reason;

    t->step = step;
    t->to = v->to;
    t->jump = v->jump;
    t->has_jump = v->has_jump;
    t->keys = xstrdup(v->keys);
    t->jump_keys = xstrdup(v->jump_keys);
    t->instance_uid = xstrdup(o->uid);
    t->prior = xstrdup(prior);
    if (fill(s, env, o, v, t, arch, &reason, &e) == 0) {
        host_pool_start(s->pool, &k, t);
        return;
    }
    host_task_free(t);
    host_result_fail(&failed, step, reason, "%.380s", e.msg);
    host_pool_fail(s->pool, &k, &failed);
}
