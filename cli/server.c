/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover server: everything on one machine. Holds the data directory's lock, makes the
 * local parts' tokens, starts drover-apiserver, waits until it is ready, makes sure that
 * the local fleet exists, then starts drover-streams, drover-controllers and
 * drover-runner, and keeps all four running. Nothing here is on the path of a request.
 */
#include <getopt.h>
#include <jansson.h>
#include <libgen.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "cli/cli.h"
#include "cli/supervise.h"
#include "io/http_client.h"
#include "io/loop.h"

enum {
    READY_RETRY_MS = 20,
    READY_LIMIT_MS = 60000,
    BUSY_LIMIT_MS = 10000,
    DEAD_HOLDER_MS = 3000,
    PATH_MAX_ARGS = 96
};

/* Options that are the API server's, passed on as they are. */
static const char *const passed_on[] = {
    "tls-cert-file",
    "tls-private-key-file",
    "tls-ca-file",
    "client-ca-file",
    "tls-san",
    "tls-lifetime",
    "audit-policy-file",
    "audit-log-path",
    "audit-log-maxsize",
    "audit-log-maxbackup",
    "audit-log-maxage",
    "user-rate",
    "user-burst",
    "user-inflight",
    "user-watches",
    "max-requests-inflight",
    "max-mutating-requests-inflight",
    "max-connections",
    "max-connections-per-address",
    "shutdown-delay",
    "history-count",
    "history-age",
    "history-size",
    "token-auth-file",
    "service-account-issuer",
    "retain-age",
    "retain-size",
    "store",
    "etcd-endpoints",
    "etcd-prefix",
    "etcd-cacert",
    "etcd-cert",
    "etcd-key",
    "etcd-user",
    "etcd-password-file",
    "etcd-compact",
};
enum {
    PASSED_MAX = ARRAY_LEN(passed_on),
    PASSED_TLS_CERT = 0,
    PASSED_TLS_KEY,
    PASSED_TLS_CA,
    PASSED_CLIENT_CA,
    PASSED_TLS_SAN
};

struct server {
    const char *listen, *streams_listen, *log_level, *fake_gpus;
    const char *advertise, *agent_programs;
    const char *passed[PASSED_MAX]; /* by index into passed_on */
    bool no_runner, no_mirror, anonymous;
    char *dir;    /* absolute */
    char *bindir; /* where our sibling programs are */
    int lock_fd;
    struct loop *loop;
    struct supervisor *supervisor;
    struct part *apiserver;
    struct loop_watch *run_watch;
    struct loop_timer *ready_timer;
    struct loop_signal *signals[3];
    char token[ID_TOKEN_MAX]; /* our own, for the API */
    int64_t start_ms;
    bool ready;
    int exit_code;
};

static char *
in_dir(const struct server *s, const char *name)
{
    return xasprintf("%s/%s", s->dir, name);
}

/* --- tokens of the local parts ---------------------------------------------------------
 */

static const struct {
    const char *part, *user, *groups;
} identities[] = {
    {"server", "system:drover:server", "system:masters"},
    {"controllers", "system:drover:controllers", "system:drover:controllers"},
    {"streams", "system:drover:streams", "system:drover:streams"},
};

/* A fresh token per part and start; the API server gets the hashes only. */
static int
write_tokens(struct server *s, struct error *e)
{
    auto_str table = STR_INIT(8192);

    for (size_t i = 0; i < ARRAY_LEN(identities); i++) {
        char token[ID_TOKEN_MAX];
        char hash[65];
        id_token("drp_", token);
        id_hash_hex(token, strlen(token), hash);
        str_addf(&table, "%s %s %s\n", hash, identities[i].user, identities[i].groups);
        if (i == 0)
            memcpy(s->token, token, sizeof(token));
        autofree char *path = xasprintf("%s/run/%s.token", s->dir, identities[i].part);
        if (i > 0 && fs_write_atomic(path, token, strlen(token), 0600, e) < 0)
            return -(int)e->code;
    }
    autofree char *path = in_dir(s, "run/parts.tokens");
    return fs_write_atomic(path, table.ptr, table.len, 0600, e);
}

/* --- calls to the API server
 * ------------------------------------------------------------ */

static int
api_call(const struct server *s, const char *method, const char *path, const char *body,
         struct http_reply *reply, struct error *e)
{
    autofree char *socket = in_dir(s, "run/api.sock");
    struct http_target t = {.url = "http://apiserver",
                            .unix_socket = socket,
                            .bearer = s->token,
                            .user_agent = "drover-server"};
    struct http_call call = {.method = method,
                             .path = path,
                             .accept = "application/json",
                             .content_type = body == NULL ? NULL : "application/json",
                             .body = body,
                             .body_len = body == NULL ? 0 : strlen(body),
                             .timeout_ms = 5000};
    struct http_conn *c = http_conn_new(&t);
    int rc = http_conn_do(c, &call, reply, e);

    http_conn_free(c);
    return rc;
}

#define FLEETS "/apis/drover.dev/v1/namespaces/default/fleets"

static int
ensure_fleet(const struct server *s, struct error *e)
{
    auto_http_reply reply = {0};

    http_reply_init(&reply, 1 << 20);
    if (api_call(s, "POST", FLEETS "?fieldManager=drover-server",
                 "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Fleet\",\"metadata\":"
                 "{\"name\":\"local\"},\"spec\":{}}",
                 &reply, e) < 0)
        return -(int)e->code;
    if (reply.status == 201 || reply.status == 409)
        return 0;
    return error_set(e, ERR_PROVIDER,
                     "create the fleet \"local\": the API server said %d: %.200s",
                     reply.status, reply.body.ptr);
}

/* The runner keeps its identity; a join token is needed only for the first start. */
static int
ensure_join_token(const struct server *s, struct error *e)
{
    autofree char *identity = in_dir(s, "agent/identity.json");
    autofree char *file = in_dir(s, "run/join.token");
    auto_http_reply reply = {0};

    if (access(identity, R_OK) == 0)
        return 0;
    http_reply_init(&reply, 65536);
    if (api_call(s, "POST", FLEETS "/local/jointoken", "{\"ttlSeconds\":86400}", &reply,
                 e) < 0)
        return -(int)e->code;
    json_t *doc = json_loadb(reply.body.ptr, reply.body.len, 0, NULL);
    const char *token = json_string_value(json_object_get(doc, "token"));
    int rc = 0;
    if (token == NULL)
        rc = error_set(e, ERR_PROVIDER,
                       "make a join token: the API server said %d: %.200s", reply.status,
                       reply.body.ptr);
    else
        rc = fs_write_atomic(file, token, strlen(token), 0600, e);
    json_decref(doc);
    return rc;
}

/* --- parts
 * -------------------------------------------------------------------------------- */

struct args {
    const char *v[PATH_MAX_ARGS];
    char *owned[PATH_MAX_ARGS];
    size_t n, n_owned;
};

static void
arg(struct args *a, const char *text)
{
    bug_if(a->n + 1 >= PATH_MAX_ARGS);
    a->v[a->n++] = text;
}

static void
arg_owned(struct args *a, char *text)
{
    arg(a, text);
    a->owned[a->n_owned++] = text;
}

static void
arg_path(struct args *a, const char *flag, char *path)
{
    arg(a, flag);
    arg(a, path);
    a->owned[a->n_owned++] = path;
}

static struct part *
add_part(struct server *s, const char *name, struct args *a)
{
    if (s->log_level != NULL) {
        arg(a, "--log-level");
        arg(a, s->log_level);
    }
    arg(a, NULL);
    struct part_opts o = {.name = name, .argv = a->v};
    struct part *p = supervisor_add(s->supervisor, &o);
    for (size_t i = 0; i < a->n_owned; i++)
        free(a->owned[i]);
    return p;
}

static void
arg_program(const struct server *s, struct args *a, const char *name)
{
    char *path = xasprintf("%s/%s", s->bindir, name);

    arg(a, path);
    a->owned[a->n_owned++] = path;
}

/* Passed on when it was given. */
static void
arg_passed(const struct server *s, struct args *a, size_t i)
{
    if (s->passed[i] == NULL)
        return;
    arg_owned(a, xasprintf("--%s=%s", passed_on[i], s->passed[i]));
}

static struct part *
add_apiserver(struct server *s)
{
    struct args a = {0};

    arg_program(s, &a, "drover-apiserver");
    arg_path(&a, "--data-dir", xstrdup(s->dir));
    arg(&a, "--listen");
    arg(&a, s->listen);
    arg_path(&a, "--unix-socket", in_dir(s, "run/api.sock"));
    arg_path(&a, "--parts-tokens-file", in_dir(s, "run/parts.tokens"));
    arg(&a, "--streams-address");
    arg(&a, s->streams_listen);
    arg_path(&a, "--streams-socket", in_dir(s, "run/streams.sock"));
    arg_path(&a, "--control-socket", in_dir(s, "run/apiserver.ctl"));
    if (s->no_mirror)
        arg(&a, "--no-mirror");
    if (s->anonymous)
        arg(&a, "--anonymous-auth");
    for (size_t i = 0; i < PASSED_MAX; i++)
        arg_passed(s, &a, i);
    return add_part(s, "drover-apiserver", &a);
}

static struct part *
add_streams(struct server *s)
{
    struct args a = {0};

    arg_program(s, &a, "drover-streams");
    arg_path(&a, "--data-dir", xstrdup(s->dir));
    arg(&a, "--listen");
    arg(&a, s->streams_listen);
    arg_path(&a, "--unix-socket", in_dir(s, "run/streams.sock"));
    arg_path(&a, "--api-socket", in_dir(s, "run/api.sock"));
    arg_path(&a, "--token-file", in_dir(s, "run/streams.token"));
    arg_passed(s, &a, PASSED_TLS_CERT);
    arg_passed(s, &a, PASSED_TLS_KEY);
    arg_passed(s, &a, PASSED_CLIENT_CA);
    return add_part(s, "drover-streams", &a);
}

static struct part *
add_controllers(struct server *s)
{
    struct args a = {0};

    arg_program(s, &a, "drover-controllers");
    arg_path(&a, "--api-socket", in_dir(s, "run/api.sock"));
    arg_path(&a, "--token-file", in_dir(s, "run/controllers.token"));
    arg_path(&a, "--ssh-dir", in_dir(s, "run/ssh"));
    if (s->advertise != NULL)
        arg_path(&a, "--agent-url", xasprintf("https://%s", s->advertise));
    if (s->agent_programs != NULL) {
        arg(&a, "--agent-programs");
        arg(&a, s->agent_programs);
    }
    return add_part(s, "drover-controllers", &a);
}

static struct part *
add_runner(struct server *s)
{
    struct args a = {0};

    arg_program(s, &a, "drover-runner");
    arg_path(&a, "--join", xasprintf("https://%s", s->listen));
    const char *ca = s->passed[PASSED_TLS_CA] != NULL ? s->passed[PASSED_TLS_CA]
                                                      : s->passed[PASSED_TLS_CERT];
    arg_path(&a, "--ca-file", ca != NULL ? xstrdup(ca) : in_dir(s, "keys/ca.crt"));
    arg_path(&a, "--token-file", in_dir(s, "run/join.token"));
    arg_path(&a, "--dir", in_dir(s, "agent"));
    arg_path(&a, "--mask-dir", xstrdup(s->dir));
    if (s->fake_gpus != NULL) {
        arg(&a, "--fake-gpus");
        arg(&a, s->fake_gpus);
    }
    return add_part(s, "drover-runner", &a);
}

/* --- start-up
 * ------------------------------------------------------------------------------ */

static void
give_up(struct server *s, const struct error *e)
{
    fprintf(stderr, "drover server: %s\n", e->msg);
    s->exit_code = error_exit_status(e->code);
    loop_quit(s->loop, s->exit_code);
}

static void
print_ready(const struct server *s)
{
    printf("drover server is ready (%lld ms)\n"
           "  API         https://%s\n"
           "  token       %s/admin.token\n"
           "  data        %s\n"
           "  use it      export DROVER_CONFIG=%s/kubeconfig\n"
           "  kubectl     kubectl --kubeconfig %s/kubeconfig get runs,jobs,instances\n"
           "Stop it with Ctrl-C. Jobs go on running and are taken up again at the next "
           "start.\n",
           (long long)(clock_now_ms() - s->start_ms), s->listen, s->dir, s->dir, s->dir,
           s->dir);
    fflush(stdout);
}

static int
start_rest(struct server *s, struct error *e)
{
    if (ensure_fleet(s, e) < 0)
        return -(int)e->code;
    if (supervisor_start(add_streams(s), e) < 0 ||
        supervisor_start(add_controllers(s), e) < 0)
        return -(int)e->code;
    if (s->no_runner)
        return 0;
    if (ensure_join_token(s, e) < 0)
        return -(int)e->code;
    return supervisor_start(add_runner(s), e);
}

/* Asks whether the API server is up; again in a moment if not. */
static void
check_ready(void *arg)
{
    struct server *s = arg;
    struct error e = ERROR_INIT;
    auto_http_reply reply = {0};

    if (s->ready)
        return;
    http_reply_init(&reply, 65536);
    if (api_call(s, "GET", "/readyz", NULL, &reply, &e) < 0 || reply.status != 200) {
        if (clock_now_ms() - s->start_ms > READY_LIMIT_MS) {
            error_set(&e, ERR_TIMEOUT, "the API server was not ready within %d s",
                      READY_LIMIT_MS / 1000);
            give_up(s, &e);
            return;
        }
        loop_timer_in(s->ready_timer, READY_RETRY_MS);
        return;
    }
    s->ready = true;
    if (start_rest(s, &e) < 0)
        give_up(s, &e);
    else
        print_ready(s);
}

/* The socket appears when the API server has its data: look at once. */
static void
on_run_dir(void *arg, uint32_t mask, const char *name)
{
    struct server *s = arg;

    UNUSED(mask);
    if (streq(name, "api.sock") && !s->ready)
        loop_timer_in(s->ready_timer, 0);
}

/* Before it was ever ready, an API server that refuses its input is not started again. An
 * earlier one that still shuts down (its store's lock, its port) is waited for. */
static bool
on_part_exit(void *arg, struct part *p, int wait_status)
{
    struct server *s = arg;
    struct error e = ERROR_INIT;

    if (p != s->apiserver || s->ready)
        return true;
    bool may_pass = WIFSIGNALED(wait_status) || WEXITSTATUS(wait_status) == 6;
    if (may_pass && clock_now_ms() - s->start_ms < BUSY_LIMIT_MS)
        return true;
    error_set(&e, ERR_UNAVAILABLE, "the API server did not start; its reason is above");
    s->exit_code = WIFEXITED(wait_status) ? WEXITSTATUS(wait_status) : 6;
    fprintf(stderr, "drover server: %s\n", e.msg);
    loop_quit(s->loop, s->exit_code);
    return false;
}

static void
on_stopped(void *arg)
{
    struct server *s = arg;

    loop_quit(s->loop, 0);
}

static void
on_signal(void *arg, int signo)
{
    struct server *s = arg;

    UNUSED(signo);
    fprintf(stderr, "drover server: stopping; jobs go on running\n");
    supervisor_stop(s->supervisor, on_stopped, s);
}

/* The pid that a lock file names is a process that is alive. */
static bool
holder_lives(const char *lock)
{
    auto_str text = STR_INIT(64);
    struct error e = ERROR_INIT;
    char *end;

    if (fs_read(lock, &text, &e) < 0)
        return false;
    long pid = strtol(text.ptr, &end, 10);
    return end != text.ptr && pid > 0 && (kill((pid_t)pid, 0) == 0 || errno == EPERM);
}

/* A server that was killed while it forked leaves its lock to the child until that execs:
 * a lock whose holder is dead is waited for, one of a living server is not. */
static int
take_lock(const char *lock, int *ret_fd, struct error *e)
{
    int64_t until = clock_now_ms() + DEAD_HOLDER_MS;
    int rc;

    while ((rc = fs_lock(lock, ret_fd, e)) < 0 && e->code == ERR_BUSY &&
           !holder_lives(lock) && clock_now_ms() < until)
        poll(NULL, 0, READY_RETRY_MS);
    return rc;
}

static int
prepare_dir(struct server *s, const char *dir, struct error *e)
{
    char resolved[PATH_MAX];

    if (fs_mkdirs(dir, 0700, e) < 0)
        return error_prepend(e, "data directory %s", dir);
    if (realpath(dir, resolved) == NULL)
        return error_errno(e, errno, "data directory %s", dir);
    s->dir = xstrdup(resolved);
    autofree char *lock = in_dir(s, "lock");
    if (take_lock(lock, &s->lock_fd, e) < 0) {
        if (e->code == ERR_BUSY)
            return error_set(e, ERR_BUSY,
                             "data directory %s is in use by another drover server (%s); "
                             "stop that one or choose another --data-dir",
                             dir,
                             strstr(e->msg, "held by") != NULL ? strstr(e->msg, "held by")
                                                               : e->msg);
        return error_prepend(e, "data directory %s", dir);
    }
    if (chmod(s->dir, 0700) < 0)
        return error_errno(e, errno, "data directory %s", dir);
    autofree char *run = in_dir(s, "run");
    autofree char *socket = in_dir(s, "run/api.sock");
    if (fs_mkdirs(run, 0700, e) < 0)
        return -(int)e->code;
    unlink(socket);
    return write_tokens(s, e);
}

static int
find_programs(struct server *s, struct error *e)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0)
        return error_errno(e, errno, "find my own program");
    self[n] = '\0';
    s->bindir = xstrdup(dirname(self));
    autofree char *api = xasprintf("%s/drover-apiserver", s->bindir);
    if (access(api, X_OK) < 0)
        return error_errno(e, errno, "drover-apiserver must stand beside drover: %s",
                           api);
    return 0;
}

static int
start(struct server *s, struct error *e)
{
    static const int signals[] = {SIGINT, SIGTERM, SIGHUP};
    autofree char *run = in_dir(s, "run");

    if (loop_new(&s->loop, e) < 0)
        return -(int)e->code;
    s->supervisor = supervisor_new(s->loop, on_part_exit, s);
    s->ready_timer = loop_timer_new(s->loop, "ready", check_ready, s);
    for (size_t i = 0; i < ARRAY_LEN(signals); i++) {
        if (loop_signal_add(s->loop, signals[i], on_signal, s, &s->signals[i], e) < 0)
            return -(int)e->code;
    }
    if (loop_watch_add(s->loop, run, IN_CREATE | IN_MOVED_TO, on_run_dir, s,
                       &s->run_watch, e) < 0)
        return -(int)e->code;
    s->apiserver = add_apiserver(s);
    if (supervisor_start(s->apiserver, e) < 0)
        return -(int)e->code;
    loop_timer_in(s->ready_timer, READY_RETRY_MS);
    return 0;
}

static void
finish(struct server *s)
{
    for (size_t i = 0; i < ARRAY_LEN(s->signals); i++)
        loop_signal_free(s->signals[i]);
    loop_watch_free(s->run_watch);
    loop_timer_free(s->ready_timer);
    supervisor_free(s->supervisor);
    if (s->loop != NULL)
        loop_free(s->loop);
    cleanup_close_ptr(&s->lock_fd);
    free(s->bindir);
    free(s->dir);
}

/* "address" of "address:port". */
static int
host_length(const char *listen)
{
    const char *colon = strrchr(listen, ':');

    return (int)(colon == NULL ? strlen(listen) : (size_t)(colon - listen));
}

/* Who can reach the API can reach the logs. */
static char *
streams_beside(const char *listen)
{
    return xasprintf("%.*s:6441", host_length(listen), listen);
}

/* The name under which others know us is one of the certificate's. */
static char *
certificate_names(const struct server *s)
{
    const char *more = s->passed[PASSED_TLS_SAN];

    return xasprintf("%.*s%s%s", host_length(s->advertise), s->advertise,
                     more != NULL ? "," : "", more != NULL ? more : "");
}

/* An address that machines elsewhere can use; the loopback and "any" are none. */
static bool
is_reachable(const char *listen)
{
    static const char *const local[] = {"127.",     "localhost:", "[::1]",
                                        "0.0.0.0:", "[::]",       "*:"};

    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        if (str_starts(listen, local[i]))
            return false;
    return true;
}

static const struct option own_options[] = {
    {"data-dir", required_argument, NULL, 'd'},
    {"listen", required_argument, NULL, 'l'},
    {"streams-listen", required_argument, NULL, 's'},
    {"log-level", required_argument, NULL, 'v'},
    {"fake-gpus", required_argument, NULL, 'g'},
    {"advertise", required_argument, NULL, 'a'},
    {"agent-programs", required_argument, NULL, 'P'},
    {"no-runner", no_argument, NULL, 'R'},
    {"no-mirror", no_argument, NULL, 'M'},
    {"log-format", required_argument, NULL, 'F'},
    {"anonymous-auth", no_argument, NULL, 'N'},
    {"help", no_argument, NULL, 'h'},
};
enum { OPT_PASSED = 1000 };

static int
run(int argc, char **argv)
{
    struct option longs[ARRAY_LEN(own_options) + PASSED_MAX + 1] = {0};
    struct server s = {.listen = "127.0.0.1:6440", .lock_fd = -1};
    struct error e = ERROR_INIT;
    const char *dir = "./state";
    int c;

    memcpy(longs, own_options, sizeof(own_options));
    for (size_t i = 0; i < PASSED_MAX; i++)
        longs[ARRAY_LEN(own_options) + i] =
            (struct option){passed_on[i], required_argument, NULL, OPT_PASSED + (int)i};
    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c >= OPT_PASSED) {
            s.passed[c - OPT_PASSED] = optarg;
            continue;
        }
        switch (c) {
        case 'd':
            dir = optarg;
            break;
        case 'v':
            s.log_level = optarg;
            if (!log_set_spec(optarg))
                return cli_misuse(&verb_server, "--log-level: unknown level in \"%s\"",
                                  optarg);
            break;
        case 'l':
            s.listen = optarg;
            break;
        case 's':
            s.streams_listen = optarg;
            break;
        case 'g':
            s.fake_gpus = optarg;
            break;
        case 'a':
            s.advertise = optarg;
            break;
        case 'P':
            s.agent_programs = optarg;
            break;
        case 'F':
            if (!streq(optarg, "json") && !streq(optarg, "text"))
                return cli_misuse(&verb_server, "--log-format: text or json");
            setenv(LOG_FORMAT_ENV, optarg, 1); /* for all programs */
            break;
        case 'N':
            s.anonymous = true;
            break;
        case 'R':
            s.no_runner = true;
            break;
        case 'M':
            s.no_mirror = true;
            break;
        case 'h':
            cli_usage(&verb_server);
            return 0;
        default:
            return cli_misuse(&verb_server, "see drover server --help");
        }
    }
    if (optind < argc)
        return cli_misuse(&verb_server, "unexpected argument \"%s\"", argv[optind]);
    autofree char *streams = streams_beside(s.listen);
    if (s.streams_listen == NULL)
        s.streams_listen = streams;
    autofree char *names = s.advertise == NULL ? NULL : certificate_names(&s);
    if (names != NULL)
        s.passed[PASSED_TLS_SAN] = names;
    if (s.advertise == NULL && is_reachable(s.listen))
        s.advertise = s.listen;
    log_set_program("drover-server");
    s.start_ms = clock_now_ms();
    int rc = find_programs(&s, &e);
    if (rc == 0)
        rc = prepare_dir(&s, dir, &e);
    if (rc == 0)
        rc = start(&s, &e);
    int code = rc < 0 ? cli_fail(&verb_server, &e) : loop_run(s.loop);
    finish(&s);
    return code;
}

const struct cli_verb verb_server = {
    .name = "server",
    .args = "[--data-dir DIR] [--listen ADDRESS:PORT]",
    .summary = "run API server, controllers and an agent for this machine",
    .help =
        "  --data-dir DIR            where everything is kept (default ./state)\n"
        "  --listen ADDRESS:PORT     of the API (default 127.0.0.1:6440)\n"
        "  --streams-listen A:P      of logs (default: address of --listen, port 6441)\n"
        "  --advertise ADDRESS:PORT  of the API as other machines reach it (--listen, "
        "if\n"
        "                            that is neither loopback nor any)\n"
        "  --agent-programs DIR      drover-runner-<arch> for machines of SSH fleets\n"
        "  --no-runner               do not run jobs on this machine\n"
        "  --no-mirror               no files in <data-dir>/desired, and no edits "
        "from there\n"
        "  --fake-gpus FILE          pretend to have the GPUs that FILE lists\n"
        "  --history-count N         earlier generations kept of an object (50; 0: "
        "none)\n"
        "  --history-age DURATION    for how long (30d)\n"
        "  --history-size SIZE       of all of them together (64MB)\n"
        "  --retain-age DURATION     of the log that a snapshot has replaced, for "
        "watchers\n"
        "  --retain-size SIZE        that are behind (1h, 256MB)\n"
        "  --token-auth-file FILE    tokens of users: lines \"<hash> <user> "
        "<group,group>\"\n"
        "  --client-ca-file FILE     who vouches for client certificates\n"
        "  --service-account-issuer URL\n"
        "                            what tokens of ServiceAccounts say who made "
        "them\n"
        "  --anonymous-auth          serve requests without credentials too, by RBAC\n"
        "  --store files|etcd        where objects are kept (files)\n"
        "  --etcd-endpoints URL,URL  with --store etcd; also --etcd-prefix,\n"
        "                            --etcd-cacert, --etcd-cert, --etcd-key,\n"
        "                            --etcd-user, --etcd-password-file, --etcd-compact\n"
        "  --log-level SPEC          info, debug, or store=debug,http=warn\n"
        "  --log-format text|json    of all programs\n"
        "and what drover-apiserver --help says of certificates, audit, limits and the\n"
        "shutdown: --tls-*, --audit-*, --user-*, --max-*, --shutdown-delay\n",
    .run = run,
};
