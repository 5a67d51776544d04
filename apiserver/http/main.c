/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover-apiserver: opens the store, starts the registry, listens, and stops in order:
 * not ready -> no new connections -> watches end -> open requests finish -> store closes.
 */
#include <getopt.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "apiserver/http/control.h"
#include "apiserver/http/front.h"
#include "apiserver/http/store_options.h"
#include "apiserver/http/tls.h"
#include "apiserver/mirror/mirror.h"
#include "apiserver/mirror/rebuild.h"
#include "apiserver/store/store_options.h"
#include "apiserver/store/store_seal.h"
#include "apiserver/tools/tool.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"

LOG_MODULE(apiserver);

enum {
    CLIENT_CA_MAX = 1 << 20,
    POOL_THREADS = 2,
    DRAIN_MS = 10 * 1000,
    DRAIN_STEP_MS = 20
};

struct options {
    const char *data_dir, *listen, *unix_socket, *parts_tokens, *streams_address,
        *streams_socket, *control_socket, *user_tokens, *client_ca, *issuer;
    const char *history_count, *history_age, *history_size;
    const char *retain_age, *retain_size;
    struct history_limits history;
    struct store_options store;
    bool insecure, no_mirror, anonymous, rotate_key;
    char address[64];
    uint16_t port;
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
    struct tls_files tls;
    struct str client_ca;
    struct store_seal *seal;
    int64_t drain_until_ms;
    struct error start_error;
};

static const char usage[] =
    "usage: drover-apiserver --data-dir DIR [--listen ADDRESS:PORT] [--unix-socket "
    "PATH]\n"
    "    [--parts-tokens-file FILE] [--streams-address HOST:PORT] [--streams-socket "
    "PATH]\n"
    "    [--control-socket PATH] [--token-auth-file FILE] [--client-ca-file FILE]\n"
    "    [--service-account-issuer URL] [--anonymous-auth] [--rotate-token-key]\n"
    "    [--insecure-listen] [--no-mirror] [--log-level SPEC]\n"
    "    [--history-count N] [--history-age DURATION] [--history-size SIZE]\n"
    "    [--retain-age DURATION] [--retain-size SIZE]\n"
    "    [--store files|etcd --etcd-endpoints URL,URL [--etcd-prefix /PREFIX]\n"
    "     [--etcd-cacert FILE] [--etcd-cert FILE --etcd-key FILE]\n"
    "     [--etcd-user NAME --etcd-password-file FILE] [--etcd-compact DURATION]]\n"
    "Serves the API over HTTPS on --listen (127.0.0.1:6440) and over HTTP on the unix\n"
    "socket. Makes keys/, admin.token and kubeconfig in the data directory. Normally\n"
    "started by `drover server`. As `drover-apiserver store VERB` it is a tool for the\n"
    "store's files: see drover store --help. Earlier generations are kept: at most N of "
    "an object\n"
    "(50; 0: none), for DURATION (30d), in SIZE of memory (64MB). Of the log that a\n"
    "snapshot has replaced, --retain-age (1h) and --retain-size (256MB) stay for "
    "watchers that\n"
    "are behind. --insecure-listen "
    "leaves TLS out; for measurements "
    "only.\n";

enum option_id {
    OPT_DATA = 1,
    OPT_LISTEN,
    OPT_UNIX,
    OPT_PARTS,
    OPT_STREAMS_ADDRESS,
    OPT_STREAMS_SOCKET,
    OPT_CONTROL,
    OPT_USER_TOKENS,
    OPT_CLIENT_CA,
    OPT_ISSUER,
    OPT_HISTORY_COUNT,
    OPT_HISTORY_AGE,
    OPT_HISTORY_SIZE,
    OPT_RETAIN_AGE,
    OPT_RETAIN_SIZE,
    OPT_STORE,
    OPT_ETCD_ENDPOINTS,
    OPT_ETCD_PREFIX,
    OPT_ETCD_CACERT,
    OPT_ETCD_CERT,
    OPT_ETCD_KEY,
    OPT_ETCD_USER,
    OPT_ETCD_PASSWORD,
    OPT_ETCD_COMPACT,
    OPT_INSECURE,
    OPT_NO_MIRROR,
    OPT_ANONYMOUS,
    OPT_ROTATE_KEY,
    OPT_LOG,
    OPT_HELP
};

static const struct option long_options[] = {
    {"data-dir", required_argument, NULL, OPT_DATA},
    {"listen", required_argument, NULL, OPT_LISTEN},
    {"unix-socket", required_argument, NULL, OPT_UNIX},
    {"parts-tokens-file", required_argument, NULL, OPT_PARTS},
    {"streams-address", required_argument, NULL, OPT_STREAMS_ADDRESS},
    {"streams-socket", required_argument, NULL, OPT_STREAMS_SOCKET},
    {"control-socket", required_argument, NULL, OPT_CONTROL},
    {"token-auth-file", required_argument, NULL, OPT_USER_TOKENS},
    {"client-ca-file", required_argument, NULL, OPT_CLIENT_CA},
    {"service-account-issuer", required_argument, NULL, OPT_ISSUER},
    {"history-count", required_argument, NULL, OPT_HISTORY_COUNT},
    {"history-age", required_argument, NULL, OPT_HISTORY_AGE},
    {"history-size", required_argument, NULL, OPT_HISTORY_SIZE},
    {"retain-age", required_argument, NULL, OPT_RETAIN_AGE},
    {"retain-size", required_argument, NULL, OPT_RETAIN_SIZE},
    {"store", required_argument, NULL, OPT_STORE},
    {"etcd-endpoints", required_argument, NULL, OPT_ETCD_ENDPOINTS},
    {"etcd-prefix", required_argument, NULL, OPT_ETCD_PREFIX},
    {"etcd-cacert", required_argument, NULL, OPT_ETCD_CACERT},
    {"etcd-cert", required_argument, NULL, OPT_ETCD_CERT},
    {"etcd-key", required_argument, NULL, OPT_ETCD_KEY},
    {"etcd-user", required_argument, NULL, OPT_ETCD_USER},
    {"etcd-password-file", required_argument, NULL, OPT_ETCD_PASSWORD},
    {"etcd-compact", required_argument, NULL, OPT_ETCD_COMPACT},
    {"insecure-listen", no_argument, NULL, OPT_INSECURE},
    {"no-mirror", no_argument, NULL, OPT_NO_MIRROR},
    {"anonymous-auth", no_argument, NULL, OPT_ANONYMOUS},
    {"rotate-token-key", no_argument, NULL, OPT_ROTATE_KEY},
    {"log-level", required_argument, NULL, OPT_LOG},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int
take_option(struct options *o, int id, struct error *e)
{
    const char **const text[] = {[OPT_DATA] = &o->data_dir,
                                 [OPT_LISTEN] = &o->listen,
                                 [OPT_UNIX] = &o->unix_socket,
                                 [OPT_PARTS] = &o->parts_tokens,
                                 [OPT_STREAMS_ADDRESS] = &o->streams_address,
                                 [OPT_STREAMS_SOCKET] = &o->streams_socket,
                                 [OPT_CONTROL] = &o->control_socket,
                                 [OPT_USER_TOKENS] = &o->user_tokens,
                                 [OPT_CLIENT_CA] = &o->client_ca,
                                 [OPT_ISSUER] = &o->issuer,
                                 [OPT_HISTORY_COUNT] = &o->history_count,
                                 [OPT_HISTORY_AGE] = &o->history_age,
                                 [OPT_HISTORY_SIZE] = &o->history_size,
                                 [OPT_RETAIN_AGE] = &o->retain_age,
                                 [OPT_RETAIN_SIZE] = &o->retain_size,
                                 [OPT_STORE] = &o->store.driver,
                                 [OPT_ETCD_ENDPOINTS] = &o->store.etcd.endpoints,
                                 [OPT_ETCD_PREFIX] = &o->store.etcd.prefix,
                                 [OPT_ETCD_CACERT] = &o->store.etcd.ca_file,
                                 [OPT_ETCD_CERT] = &o->store.etcd.cert_file,
                                 [OPT_ETCD_KEY] = &o->store.etcd.key_file,
                                 [OPT_ETCD_USER] = &o->store.etcd.user,
                                 [OPT_ETCD_PASSWORD] = &o->store.etcd.password_file,
                                 [OPT_ETCD_COMPACT] = &o->store.compact};

    if (id >= OPT_DATA && id <= OPT_ETCD_COMPACT) {
        *text[id] = optarg;
        return 0;
    }
    bool *const flags[] = {[OPT_INSECURE] = &o->insecure,
                           [OPT_NO_MIRROR] = &o->no_mirror,
                           [OPT_ANONYMOUS] = &o->anonymous,
                           [OPT_ROTATE_KEY] = &o->rotate_key};
    if (id >= OPT_INSECURE && id <= OPT_ROTATE_KEY) {
        *flags[id] = true;
        return 0;
    }
    if (id == OPT_LOG && log_set_spec(optarg))
        return 0;
    if (id == OPT_LOG)
        return error_set(e, ERR_BAD_REQUEST,
                         "--log-level: \"%s\" is not level or "
                         "module=level,...",
                         optarg);
    if (id == OPT_HELP) {
        fputs(usage, stdout);
        exit(0);
    }
    return error_set(e, ERR_BAD_REQUEST, "see drover-apiserver --help");
}

static int
split_listen(struct options *o, struct error *e)
{
    if (http_split_listen(o->listen, o->address, sizeof(o->address), &o->port, e) < 0)
        return error_prepend(e, "--listen");
    return 0;
}

static int
parse_options(int argc, char **argv, struct options *o, struct error *e)
{
    int id;

    o->listen = "127.0.0.1:6440";
    opterr = 1;
    while ((id = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (take_option(o, id, e) < 0)
            return -(int)e->code;
    }
    if (optind < argc)
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not an option", argv[optind]);
    if (o->data_dir == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--data-dir is required");
    if (history_limits_parse(o->history_count, o->history_age, o->history_size,
                             &o->history, e) < 0 ||
        store_options_check(&o->store, e) < 0)
        return -(int)e->code;
    return split_listen(o, e);
}

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

static void
on_signal(void *arg, int signo)
{
    struct program *p = arg;

    if (p->drain_until_ms != 0) { /* the second one does not wait */
        loop_quit(p->loop, 0);
        return;
    }
    log_info("stopping", "signal=%d", signo);
    if (p->server == NULL) /* still waiting for etcd; nothing was acknowledged */
        _exit(0);
    p->drain_until_ms = loop_now_ms(p->loop) + DRAIN_MS;
    if (p->front != NULL)
        front_set_ready(p->front, false);
    if (p->tcp != NULL)
        http_server_quiesce(p->tcp);
    if (p->local != NULL)
        http_server_quiesce(p->local);
    api_server_stop_watches(p->server);
    loop_timer_in(p->drain, 0);
}

/* --- starting
 * ---------------------------------------------------------------------------- */

static int
start_core(struct program *p, struct error *e)
{
    const struct options *o = &p->o;
    autofree char *keys = fs_join(o->data_dir, "keys");
    autofree char *history_key = fs_join(keys, "history.key");
    autofree char *seal = fs_join(keys, SEAL_FILE);

    if (fs_mkdirs(keys, 0700, e) < 0 || kinds_load(&p->kinds, e) < 0 ||
        store_seal_load(seal, true, &p->seal, e) < 0)
        return -(int)e->code;
    struct store_opts so = {.dir = o->data_dir,
                            .on_fatal = on_store_fatal,
                            .kind_of = kinds_kind_of,
                            .arg = p->kinds,
                            .seal = p->seal};
    if (store_retention_parse(o->retain_age, o->retain_size, &so, e) < 0)
        return -(int)e->code;
    if (store_options_open(&o->store, p->loop, &so, &p->store, e) < 0 ||
        (!o->insecure && tls_load(keys, &p->tls, e) < 0))
        return -(int)e->code;
    p->pool = loop_pool_new(p->loop, "compute", POOL_THREADS);
    struct api_server_opts ao = {.loop = p->loop,
                                 .store = p->store,
                                 .kinds = p->kinds,
                                 .pool = p->pool,
                                 .advertise_address = o->listen,
                                 .streams_address = o->streams_address,
                                 .history = o->history,
                                 .history_key_file = history_key};
    if (api_server_new(&ao, &p->server, e) < 0)
        return -(int)e->code;
    struct auth_opts au = {.server = p->server,
                           .data_dir = o->data_dir,
                           .parts_tokens = o->parts_tokens,
                           .user_tokens = o->user_tokens,
                           .issuer = o->issuer,
                           .rotate_key = o->rotate_key,
                           .ca_hash = p->tls.ca_hash};
    if (auth_new(&au, &p->auth, e) < 0 ||
        (o->streams_socket != NULL &&
         proxy_new(p->loop, o->streams_socket, &p->proxy, e) < 0))
        return -(int)e->code;
    struct api_hooks hooks = auth_hooks(p->auth);
    api_server_set_hooks(p->server, &hooks);
    struct front_opts front = {p->server, p->auth, p->proxy, o->anonymous};
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
    struct client_context c = {.name = name,
                               .server = url,
                               .ca_pem = p->o.insecure ? NULL : p->tls.ca_cert.ptr,
                               .token = token,
                               .ns = ns};

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
    struct http_server_opts tcp = {.name = "api",
                                   .address = o->address,
                                   .port = o->port,
                                   .lean_query = "watch=",
                                   .handler = front_handle,
                                   .arg = p->front};
    struct http_server_opts local = {.name = "api-unix",
                                     .unix_path = o->unix_socket,
                                     .lean_query = "watch=",
                                     .handler = front_handle,
                                     .arg = p->front};

    if (!o->insecure) {
        tcp.tls_cert_pem = p->tls.cert.ptr;
        tcp.tls_key_pem = p->tls.key.ptr;
        str_init(&p->client_ca, CLIENT_CA_MAX);
        if (o->client_ca != NULL && fs_read(o->client_ca, &p->client_ca, e) < 0)
            return error_prepend(e, "--client-ca-file");
        tcp.client_ca_pem = o->client_ca == NULL ? NULL : p->client_ca.ptr;
    }
    if (http_server_start(p->loop, &tcp, &p->tcp, e) < 0)
        return -(int)e->code;
    if (o->unix_socket != NULL && http_server_start(p->loop, &local, &p->local, e) < 0)
        return -(int)e->code;
    if (o->control_socket != NULL &&
        control_start(p->loop, o->control_socket, p->server, &p->control, e) < 0)
        return -(int)e->code;
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
        front_set_ready(p->front, true);
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
    tls_done(&p->tls);
    if (p->client_ca.cap > 0)
        str_done(&p->client_ca);
    store_seal_free(p->seal);
    loop_timer_free(p->drain);
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
    if (argc > 1 && streq(argv[1], "store"))
        return tool_main(argc - 1, argv + 1);
    signal(SIGPIPE, SIG_IGN);
    raise_descriptor_limit();
    int rc = parse_options(argc, argv, &p.o, &e);
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
