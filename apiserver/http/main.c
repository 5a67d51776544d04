/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover-apiserver: opens the store, starts the registry, listens, and stops in order:
 * not ready -> no new connections -> watches end -> open requests finish -> store closes.
 */
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apiserver/http/ca.h"
#include "apiserver/http/control.h"
#include "apiserver/http/front.h"
#include "apiserver/http/options.h"
#include "apiserver/http/process.h"
#include "apiserver/http/tls.h"
#include "apiserver/mirror/mirror.h"
#include "apiserver/mirror/rebuild.h"
#include "apiserver/registry/answer.h"
#include "apiserver/store/store_options.h"
#include "apiserver/store/store_seal.h"
#include "apiserver/tools/tool.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"

LOG_MODULE(apiserver);

enum {
    POOL_THREADS = 2,
    DRAIN_MS = 30 * 1000,
    PER_ADDRESS_DEFAULT = 4096,
    DRAIN_STEP_MS = 20
};

struct program {
    struct options o;
    struct loop *loop;
    struct loop_pool *pool;
    struct kinds *kinds;
    struct store *store;
    struct api_server *server;
    struct auth *auth;
    struct proxy *proxy;
    struct front *front;
    struct http_server *tcp, *local;
    struct control *control;
    struct mirror *mirror;
    struct loop_signal *term, *intr;
    struct loop_timer *drain;
    struct tls *tls; /* NULL: insecure */
    struct audit *audit;
    struct keyring *seal;
    struct loop_timer *delay; /* of the shutdown */
    bool stopping;
    int64_t drain_until_ms;
    struct error start_error;
};

/* --- stopping
 * ---------------------------------------------------------------------------- */

static void
on_store_fatal(void *arg, const struct error *e)
{
    UNUSED(arg);
    /* Nothing may be acknowledged any more; what is durable is safe. */
    log_err("the store has failed; stopping at once", "error=\"%s\"", e->msg);
    _exit(70);
}

static void
on_drain(void *arg)
{
    struct program *p = arg;

    if (front_open_requests(p->front) == 0 || loop_now_ms(p->loop) >= p->drain_until_ms)
        loop_quit(p->loop, 0);
    else
        loop_timer_in(p->drain, DRAIN_STEP_MS);
}

/* Nobody new, watches end, what is under way is finished. */
static void
on_delay(void *arg)
{
    struct program *p = arg;

    p->drain_until_ms = loop_now_ms(p->loop) + DRAIN_MS;
    if (p->tcp != NULL)
        http_server_quiesce(p->tcp);
    if (p->local != NULL)
        http_server_quiesce(p->local);
    api_server_stop_watches(p->server);
    loop_timer_in(p->drain, 0);
}

static void
on_signal(void *arg, int signo)
{
    struct program *p = arg;

    if (p->stopping) { /* the second one does not wait */
        loop_quit(p->loop, 0);
        return;
    }
    p->stopping = true;
    log_info("stopping", "signal=%d delay_s=%lld", signo,
             (long long)p->o.shutdown_delay_s);
    if (p->front != NULL)
        front_set_stopping(p->front);
    if (p->o.shutdown_delay_s > 0)
        loop_timer_in(p->delay, p->o.shutdown_delay_s * 1000);
    else
        on_delay(p);
}

/* --- starting
 * ---------------------------------------------------------------------------- */

static int
start_tls(struct program *p, const char *keys, struct error *e)
{
    const struct options *o = &p->o;
    bool all = streq(o->address, "0.0.0.0") || streq(o->address, "::");
    autofree char *names =
        xasprintf("%s,%s", all ? "" : o->address, o->tls_san == NULL ? "" : o->tls_san);
    struct tls_opts to = {.loop = p->loop,
                          .dir = keys,
                          .names = names,
                          .lifetime_s = o->tls_lifetime_s,
                          .cert = o->tls_cert,
                          .key = o->tls_key,
                          .ca = o->tls_ca,
                          .client_ca = o->client_ca};

    return tls_open(&to, &p->tls, e);
}

static int
start_audit(struct program *p, struct error *e)
{
    const struct options *o = &p->o;
    autofree char *dir = fs_join(o->data_dir, "audit");
    autofree char *file = fs_join(dir, "audit.log");
    struct audit_opts ao = {.loop = p->loop,
                            .policy_file = o->audit_policy,
                            .log_file = o->audit_log == NULL ? file : o->audit_log,
                            .max_bytes = o->audit_max_bytes,
                            .backups = o->audit_backups,
                            .max_age_s = o->audit_max_age_s};

    return o->audit_policy == NULL ? 0 : audit_open(&ao, &p->audit, e);
}

/* What comes without an HTTP request: writes of the mirror and of the server itself, and
 * reads of logs on the port of drover-streams. */
static void
on_observed(void *arg, const struct api_observed *o)
{
    const struct program *p = arg;
    struct route route = {0};
    char id[ID_UUID_LEN];

    id_uuid4(id);
    route_parse(p->kinds, o->path, &route);
    struct api_user *user = user_new(o->user, o->groups);
    struct audit_request r = {.id = id,
                              .verb = o->verb,
                              .route = &route,
                              .path = o->path,
                              .uri = o->path,
                              .user_agent = o->user_agent != NULL ? o->user_agent
                                                                  : "drover-apiserver",
                              .source = o->source,
                              .user = user,
                              .body = o->body};
    audit_complete(audit_begin(p->audit, &r), o->status, NULL);
    user_unref(user);
}

static void
on_metrics(void *arg, struct str *out)
{
    const struct program *p = arg;

    process_metrics(out);
    process_listener_metrics(p->tcp, out);
    if (p->tls != NULL)
        str_addf(out,
                 "# TYPE drover_tls_certificate_expiry_seconds gauge\n"
                 "drover_tls_certificate_expiry_seconds %lld\n"
                 "# TYPE drover_tls_reloads_total counter\n"
                 "drover_tls_reloads_total %llu\n",
                 (long long)tls_expiry(p->tls),
                 (unsigned long long)tls_files_reloads(tls_served(p->tls)));
}

static int
start_core(struct program *p, struct error *e)
{
    const struct options *o = &p->o;
    autofree char *keys = fs_join(o->data_dir, "keys");
    autofree char *seal = fs_join(keys, KEYRING_FILE);

    if (fs_mkdirs(keys, 0700, e) < 0 || kinds_load(&p->kinds, e) < 0 ||
        keyring_load(seal, true, &p->seal, e) < 0)
        return -(int)e->code;
    struct store_opts so = {.dir = o->data_dir,
                            .on_fatal = on_store_fatal,
                            .kind_of = kinds_kind_of,
                            .arg = p->kinds,
                            .seal = p->seal};
    if (store_retention_parse(o->retain_age, o->retain_size, &so, e) < 0)
        return -(int)e->code;
    if (store_options_open(&o->store, p->loop, &so, &p->store, e) < 0 ||
        (!o->insecure && start_tls(p, keys, e) < 0) || start_audit(p, e) < 0)
        return -(int)e->code;
    p->pool = loop_pool_new(p->loop, "compute", POOL_THREADS);
    struct api_server_opts ao = {.loop = p->loop,
                                 .store = p->store,
                                 .kinds = p->kinds,
                                 .pool = p->pool,
                                 .advertise_address = o->listen,
                                 .streams_address = o->streams_address,
                                 .history = o->history,
                                 .keys = p->seal};
    if (api_server_new(&ao, &p->server, e) < 0)
        return -(int)e->code;
    struct auth_opts au = {.server = p->server,
                           .data_dir = o->data_dir,
                           .parts_tokens = o->parts_tokens,
                           .user_tokens = o->user_tokens,
                           .issuer = o->issuer,
                           .rotate_key = o->rotate_key,
                           .ca_hash = p->tls == NULL ? "" : tls_ca_hash(p->tls)};
    if (auth_new(&au, &p->auth, e) < 0 ||
        (o->streams_socket != NULL &&
         proxy_new(p->loop, o->streams_socket, &p->proxy, e) < 0))
        return -(int)e->code;
    struct api_hooks hooks = auth_hooks(p->auth);
    api_server_set_hooks(p->server, &hooks);
    if (p->audit != NULL)
        api_server_set_observer(p->server, on_observed, p);
    struct front_opts front = {.server = p->server,
                               .auth = p->auth,
                               .proxy = p->proxy,
                               .anonymous = o->anonymous,
                               .limits = o->limits,
                               .audit = p->audit,
                               .metrics = on_metrics,
                               .arg = p};
    p->front = front_new(&front);
    return api_server_start_loops(p->server, e);
}

static int
write_kubeconfig(struct program *p, uint16_t port, struct error *e)
{
    autofree char *file = fs_join(p->o.data_dir, "kubeconfig");
    char name[] = "drover", ns[] = "default";
    char *address = p->o.address;
    /* Listening on all addresses: this machine reaches it by its loopback. */
    char loopback[] = "127.0.0.1";
    if (streq(address, "0.0.0.0") || streq(address, "::"))
        address = loopback;
    bool v6 = strchr(address, ':') != NULL;
    autofree char *url = xasprintf("http%s://%s%s%s:%u", p->o.insecure ? "" : "s",
                                   v6 ? "[" : "", address, v6 ? "]" : "", port);
    autofree char *token = xstrdup(auth_admin_token(p->auth));
    autofree char *ca = p->tls == NULL ? NULL : xstrdup(tls_ca(p->tls));
    struct client_context c = {
        .name = name, .server = url, .ca_pem = ca, .token = token, .ns = ns};

    int rc = client_context_write(file, &c, e);
    auth_forget_admin(p->auth);
    if (rc == 0)
        log_info("serving", "url=%s kubeconfig=%s", url, file);
    return rc;
}

static int
start_listeners(struct program *p, struct error *e)
{
    const struct options *o = &p->o;
    unsigned connections = o->max_connections < 0    ? 0
                           : o->max_connections == 0 ? INT32_MAX
                                                     : (unsigned)o->max_connections;
    unsigned per_address =
        o->max_per_address < 0 ? PER_ADDRESS_DEFAULT : (unsigned)o->max_per_address;
    struct http_server_opts tcp = {.name = "api",
                                   .address = o->address,
                                   .port = o->port,
                                   .lean_query = "watch=",
                                   .max_connections = connections,
                                   .max_per_address = per_address,
                                   .loopback_unlimited = o->max_per_address < 0,
                                   .handler = front_handle,
                                   .on_done = front_done,
                                   .arg = p->front};
    struct http_server_opts local = {.name = "api-unix",
                                     .unix_path = o->unix_socket,
                                     .lean_query = "watch=",
                                     .handler = front_handle,
                                     .on_done = front_done,
                                     .arg = p->front};

    if (p->tls != NULL) {
        struct tls_files *files = tls_served(p->tls);
        tcp.tls_cert_pem = tls_files_cert(files);
        tcp.tls_key_pem = tls_files_key(files);
        tcp.client_ca_pem = tls_files_client_ca(files);
    }
    if (http_server_start(p->loop, &tcp, &p->tcp, e) < 0)
        return -(int)e->code;
    if (p->tls != NULL)
        tls_files_serve(tls_served(p->tls), p->tcp);
    if (o->unix_socket != NULL && http_server_start(p->loop, &local, &p->local, e) < 0)
        return -(int)e->code;
    if (o->control_socket != NULL &&
        control_start(p->loop, o->control_socket, p->server, &p->control, e) < 0)
        return -(int)e->code;
    if (p->control != NULL)
        control_set_auth(p->control, p->auth);
    return write_kubeconfig(p, http_server_port(p->tcp), e);
}

static void
on_mirror_command(void *arg, const char *command, struct str *out)
{
    const struct program *p = arg;

    mirror_command(p->mirror, command, out);
}

static int
start_mirror(struct program *p, struct error *e)
{
    struct mirror_opts mo = {.server = p->server, .data_dir = p->o.data_dir};

    if (p->o.no_mirror)
        return 0;
    if (mirror_start(&mo, &p->mirror, e) < 0)
        return -(int)e->code;
    if (p->control != NULL)
        control_set_mirror(p->control, on_mirror_command, p);
    return 0;
}

static void
on_roles(void *arg, const struct error *e)
{
    struct program *p = arg;

    if (e != NULL)
        p->start_error = *e;
    else if (start_listeners(p, &p->start_error) == 0 &&
             start_mirror(p, &p->start_error) == 0) {
        front_set_ready(p->front);
        return;
    }
    loop_quit(p->loop, 1);
}

static void
on_bootstrapped(void *arg, const struct error *e)
{
    struct program *p = arg;

    if (e != NULL)
        on_roles(p, e);
    else
        auth_bootstrap(p->auth, on_roles, p);
}

static void
on_keys(void *arg, const struct error *e)
{
    struct program *p = arg;

    if (e != NULL)
        on_roles(p, e);
    else
        api_server_bootstrap(p->server, on_bootstrapped, p);
}

static int
start(struct program *p, struct error *e)
{
    if (loop_new(&p->loop, e) < 0 ||
        loop_signal_add(p->loop, SIGTERM, on_signal, p, &p->term, e) < 0 ||
        loop_signal_add(p->loop, SIGINT, on_signal, p, &p->intr, e) < 0)
        return -(int)e->code;
    p->drain = loop_timer_new(p->loop, "drain", on_drain, p);
    p->delay = loop_timer_new(p->loop, "shutdown-delay", on_delay, p);
    if (start_core(p, e) < 0)
        return -(int)e->code;
    auth_check_keys(p->auth, on_keys, p);
    return 0;
}

static void
stop(struct program *p)
{
    control_free(p->control);
    mirror_stop(p->mirror);
    tls_free(p->tls);
    if (p->tcp != NULL)
        http_server_free(p->tcp);
    if (p->local != NULL)
        http_server_free(p->local);
    proxy_free(p->proxy);
    front_free(p->front);
    api_server_leave_pool(p->server);
    if (p->pool != NULL)
        loop_pool_free(p->pool);
    /* Completions of the last commits still use the registry. */
    if (p->store != NULL)
        api_server_prepare_close(p->server);
    if (p->store != NULL)
        store_close(p->store);
    auth_free(p->auth);
    api_server_free(p->server);
    kinds_free(p->kinds);
    audit_close(p->audit);
    keyring_free(p->seal);
    loop_timer_free(p->drain);
    loop_timer_free(p->delay);
    loop_signal_free(p->term);
    loop_signal_free(p->intr);
    if (p->loop != NULL)
        loop_free(p->loop);
}

/* Ten thousand watchers are ten thousand descriptors; the usual soft limit is 1 024, for
 * the sake of select(), which nothing here calls. */
static void
raise_descriptor_limit(void)
{
    struct rlimit lim;

    if (getrlimit(RLIMIT_NOFILE, &lim) == 0) {
        lim.rlim_cur = lim.rlim_max;
        setrlimit(RLIMIT_NOFILE, &lim);
    }
}

int
main(int argc, char **argv)
{
    struct program p = {0};
    struct error e = ERROR_INIT;

    log_set_program("drover-apiserver");
    if (argc > 2 && streq(argv[1], "store") && streq(argv[2], "rebuild"))
        return rebuild_main(argc - 2, argv + 2);
    if (argc > 1 && streq(argv[1], "keys"))
        return ca_tool_main(argc - 1, argv + 1);
    if (argc > 1 && streq(argv[1], "store"))
        return tool_main(argc - 1, argv + 1);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    int rc = options_parse(argc, argv, &p.o, &e);
    if (rc == 0)
        rc = start(&p, &e);
    if (rc == 0 && loop_run(p.loop) != 0) {
        e = p.start_error;
        rc = -(int)e.code;
    }
    stop(&p);
    if (rc < 0) {
        fprintf(stderr, "drover-apiserver: %s\n", e.msg);
        return error_exit_status(e.code);
    }
    return 0;
}
