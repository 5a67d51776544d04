/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover-controllers: takes the Lease of its set of controllers, then runs them until it
 * is told to stop or loses the Lease. A lost Lease ends the process: what runs in worker
 * threads at that moment cannot be taken back, a new process can.
 */
#include <signal.h>
#include <string.h>
#include <sys/utsname.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "control/lease.h"
#include "controllers/controllers.h"
#include "controllers/instance/host_service.h"
#include "controllers/options.h"
#include "io/http_client.h"

LOG_MODULE(controllers);

#define LEASE_NAMESPACE "drover-system"
enum {
    LEASE_MS = 15000,
    LEASE_RENEW_MS = 5000,
    LEASE_GIVE_UP_MS = 10000,
    LEASE_RETRY_MS = 500,
    EXIT_LOST = 75
};

struct program {
    struct options options;
    struct client_context context;
    struct http_target target;
    struct loop *loop;
    struct http_multi *multi;
    struct async_client *async;
    struct informer_http *watches;
    struct client *client;
    struct manager *manager;
    struct controller_set *set;
    struct lease_runner *lease;
    char identity[LEASE_IDENTITY_MAX];
    char host[sizeof(((struct utsname *)NULL)->nodename)];
    char lease_name[128];
    char ssh_dir[32]; /* made by us, to be removed; "": none */
    struct loop_signal *on_term, *on_int;
};

static int
choose_target(struct program *p, struct error *e)
{
    if (p->options.kubeconfig != NULL) {
        int rc = client_context_load(p->options.kubeconfig, NULL, &p->context, e);
        if (rc < 0)
            return rc;
        client_context_target(&p->context, &p->target);
    } else {
        p->target = (struct http_target){
            .url = "http://drover",
            .unix_socket = p->options.api_socket,
            .bearer_file = p->options.token_file,
        };
    }
    p->target.user_agent = "drover-controllers/" DROVER_VERSION;
    return 0;
}

static void
stop(void *arg, int signo)
{
    struct program *p = arg;

    log_info("stopping", "signal=%d", signo);
    loop_quit(p->loop, 0);
}

static void
acquired(void *arg)
{
    struct program *p = arg;

    manager_start(p->manager);
}

static void
lost(void *arg)
{
    struct program *p = arg;

    log_err("the lease was lost; ending", "lease=%s", p->lease_name);
    loop_quit(p->loop, EXIT_LOST);
}

static int
set_lease_name(struct program *p, struct error *e)
{
    auto_str names = STR_INIT(100);
    int rc = controllers_names(p->options.only, &names, e);

    if (rc < 0)
        return rc;
    for (char *c = names.ptr; *c != '\0'; c++)
        if (*c == ',')
            *c = '-';
    snprintf(p->lease_name, sizeof(p->lease_name), "drover-controllers-%s", names.ptr);
    if (p->options.only == NULL || p->options.only[0] == '\0')
        snprintf(p->lease_name, sizeof(p->lease_name), "drover-controllers");
    return 0;
}

static int
set_up_loop(struct program *p, struct error *e)
{
    int rc = loop_new(&p->loop, e);

    if (rc == 0)
        rc = http_multi_new(p->loop, &p->multi, e);
    if (rc == 0)
        rc = loop_signal_add(p->loop, SIGTERM, stop, p, &p->on_term, e);
    if (rc == 0)
        rc = loop_signal_add(p->loop, SIGINT, stop, p, &p->on_int, e);
    return rc;
}

static int
set_up_hosts(struct program *p, struct error *e)
{
    const char *dir = p->options.ssh_dir;

    if (dir == NULL) {
        snprintf(p->ssh_dir, sizeof(p->ssh_dir), "/tmp/drover-ssh-XXXXXX");
        if (mkdtemp(p->ssh_dir) == NULL)
            return error_errno(e, errno, "make a directory in /tmp");
        dir = p->ssh_dir;
    }
    struct host_config c = {.agent_url = p->options.agent_url,
                            .programs_dir = p->options.agent_programs,
                            .work_dir = dir};
    return controllers_add_hosts(p->set, p->manager, &c, e);
}

static int
set_up(struct program *p, struct error *e)
{
    struct utsname un;
    int rc = choose_target(p, e);

    if (rc == 0)
        rc = set_lease_name(p, e);
    if (rc == 0)
        rc = set_up_loop(p, e);
    if (rc < 0)
        return rc;
    uname(&un);
    snprintf(p->host, sizeof(p->host), "%s", un.nodename);
    lease_identity(p->identity);
    p->async = async_http_new(p->multi, &p->target);
    p->watches = informer_http_new(p->loop, p->multi, &p->target);
    p->client = client_http_new(&p->target);
    struct manager_opts m = {
        .loop = p->loop,
        .client = p->client,
        .async = p->async,
        .source = informer_http_source(p->watches),
        .component = "drover-controllers",
        .instance = p->host,
    };
    manager_new(&m, &p->manager);
    rc = controllers_add(p->manager, p->options.only, &p->set, e);
    if (rc == 0)
        rc = set_up_hosts(p, e);
    if (rc < 0)
        return rc;
    struct lease_runner_opts l = {
        .lease = {.ns = LEASE_NAMESPACE,
                  .name = p->lease_name,
                  .identity = p->identity,
                  .duration_ms = LEASE_MS,
                  .renew_ms = LEASE_RENEW_MS,
                  .give_up_ms = LEASE_GIVE_UP_MS,
                  .retry_ms = LEASE_RETRY_MS,
                  .holder_gone = lease_holder_gone},
        .loop = p->loop,
        .async = p->async,
        .on_acquired = acquired,
        .on_lost = lost,
        .arg = p,
    };
    p->lease = lease_runner_start(&l);
    return 0;
}

static void
tear_down(struct program *p)
{
    if (p->manager != NULL)
        manager_stop(p->manager);
    lease_runner_stop(p->lease, p->client);
    async_free(p->async);
    controllers_stop(p->set);
    manager_free(p->manager);
    controllers_free(p->set);
    client_free(p->client);
    informer_http_free(p->watches);
    if (p->multi != NULL)
        http_multi_free(p->multi);
    if (p->on_term != NULL)
        loop_signal_free(p->on_term);
    if (p->on_int != NULL)
        loop_signal_free(p->on_int);
    if (p->loop != NULL)
        loop_free(p->loop);
    client_context_done(&p->context);
    struct error e = ERROR_INIT;
    if (p->ssh_dir[0] != '\0' && fs_remove_tree(p->ssh_dir, &e) < 0)
        log_warn("keys are left", "dir=%s error=\"%s\"", p->ssh_dir, e.msg);
}

int
main(int argc, char **argv)
{
    struct program *p = xnew(struct program);
    struct error e = ERROR_INIT;
    int status = 0;

    log_set_program("drover-controllers");
    json_object_seed(0);
    int rc = options_parse(argc, argv, &p->options, &e);
    if (rc == 0 && p->options.help) {
        fputs(options_help, stdout);
    } else if (rc == 0 && p->options.version) {
        puts("drover-controllers " DROVER_VERSION);
    } else {
        if (rc == 0)
            rc = set_up(p, &e);
        if (rc == 0)
            status = loop_run(p->loop);
        tear_down(p);
    }
    if (rc < 0) {
        fprintf(stderr, "drover-controllers: %s\n", e.msg);
        status = error_exit_status(e.code);
    }
    free(p);
    return status;
}
