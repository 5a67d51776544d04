/* SPDX-License-Identifier: Apache-2.0 */
/*
 * drover-runner: the agent of one machine. `--supervise` is how it starts itself again as
 * the supervisor of one job (process engine).
 */
#include <getopt.h>
#include <limits.h>
#include <malloc.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "runner/agent.h"
#include "runner/embedded.h"
#include "runner/place/place.h"
#include "runner/supervisor/supervisor.h"
#include "runner/uninstall.h"
#include "runner/upgrade.h"

enum { SPOOL_MIN = 1 << 20 };

static const char usage[] =
    "usage: drover-runner --join URL (--token T | --token-file F)\n"
    "                     (--ca-hash H | --ca-file F) --dir DIR [option...]\n"
    "\n"
    "Runs jobs of a drover control plane on this machine. Once enrolled, --dir is "
    "enough.\n"
    "\n"
    "  --join URL            the API server, https://host:port\n"
    "  --token T             join token (see `drover token create --join`)\n"
    "  --token-file F        file with the join token\n"
    "  --ca-hash H           sha256:... of the server's CA\n"
    "  --ca-file F           the server's CA, PEM\n"
    "  --dir DIR             the agent's directory: identity, journal, jobs\n"
    "  --name N              name of this machine (default: host name)\n"
    "  --mask-dir D          a directory that no job may see (repeatable)\n"
    "  --log-spool-bytes N   of one job's output, kept while the server cannot be "
    "reached;\n"
    "                        what comes on top is dropped and counted (default: 512 "
    "MiB)\n"
    "  --min-free-disk N     MiB of the disk of --dir below which no new job is taken; "
    "0: "
    "never\n"
    "                        (default: 5 %, at most 1024)\n"
    "  --docker-socket S     default: $DOCKER_HOST or /var/run/docker.sock\n"
    "  --job-env F           variables of every job here: a file with a JSON object\n"
    "  --fake-gpus F         pretend to have the GPUs that this file lists\n"
    "  --uninstall           remove everything of this agent from the machine, then end\n"
    "  --force               with --uninstall: also end jobs that run here\n"
    "  --log-level SPEC      error, warn, info, debug; or module=level,...\n"
    "  --version, --help\n"
    "\n"
    "SIGTERM ends the agent and no job. SIGHUP executes the program file anew, under\n"
    "running jobs: the way to upgrade.\n";

enum {
    OPT_JOIN = 256,
    OPT_TOKEN,
    OPT_TOKEN_FILE,
    OPT_CA_HASH,
    OPT_CA_FILE,
    OPT_DIR,
    OPT_NAME,
    OPT_MASK_DIR,
    OPT_SPOOL,
    OPT_MIN_FREE,
    OPT_SOCKET,
    OPT_FAKE_GPUS,
    OPT_JOB_ENV,
    OPT_UNINSTALL,
    OPT_FORCE,
    OPT_LOG_LEVEL,
    OPT_VERSION,
    OPT_HELP,
};

static const struct option options[] = {
    {"join", required_argument, NULL, OPT_JOIN},
    {"token", required_argument, NULL, OPT_TOKEN},
    {"token-file", required_argument, NULL, OPT_TOKEN_FILE},
    {"ca-hash", required_argument, NULL, OPT_CA_HASH},
    {"ca-file", required_argument, NULL, OPT_CA_FILE},
    {"dir", required_argument, NULL, OPT_DIR},
    {"name", required_argument, NULL, OPT_NAME},
    {"mask-dir", required_argument, NULL, OPT_MASK_DIR},
    {"log-spool-bytes", required_argument, NULL, OPT_SPOOL},
    {"min-free-disk", required_argument, NULL, OPT_MIN_FREE},
    {"docker-socket", required_argument, NULL, OPT_SOCKET},
    {"fake-gpus", required_argument, NULL, OPT_FAKE_GPUS},
    {"job-env", required_argument, NULL, OPT_JOB_ENV},
    {"uninstall", no_argument, NULL, OPT_UNINSTALL},
    {"force", no_argument, NULL, OPT_FORCE},
    {"log-level", required_argument, NULL, OPT_LOG_LEVEL},
    {"version", no_argument, NULL, OPT_VERSION},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static int
bad_usage(const char *why)
{
    fprintf(stderr, "drover-runner: %s\nTry drover-runner --help\n", why);
    return 2;
}

struct flags {
    struct agent_opts opts;
    bool uninstall, force;
};

/* -1: go on; else the exit status. */
static int
take_option(int c, struct flags *f)
{
    struct agent_opts *o = &f->opts;
    char *end;

    switch (c) {
    case OPT_JOIN:
        o->url = optarg;
        break;
    case OPT_TOKEN:
        o->token = optarg;
        break;
    case OPT_TOKEN_FILE:
        o->token_file = optarg;
        break;
    case OPT_CA_HASH:
        o->ca_hash = optarg;
        break;
    case OPT_CA_FILE:
        o->ca_file = optarg;
        break;
    case OPT_DIR:
        o->dir = optarg;
        break;
    case OPT_NAME:
        o->name = optarg;
        break;
    case OPT_MASK_DIR:
        if (o->n_masks == AGENT_MASKS - 1)
            return bad_usage("too many --mask-dir");
        o->masks[o->n_masks++] = optarg;
        break;
    case OPT_SPOOL:
        o->spool_bytes = strtoll(optarg, NULL, 10);
        if (o->spool_bytes < SPOOL_MIN)
            return bad_usage("--log-spool-bytes: a number, at least 1048576");
        break;
    case OPT_MIN_FREE:
        o->min_free_mib = strtoll(optarg, &end, 10);
        if (end == optarg || *end != '\0' || o->min_free_mib < 0 ||
            o->min_free_mib > INT32_MAX)
            return bad_usage("--min-free-disk: a number of MiB");
        break;
    case OPT_SOCKET:
        o->docker_socket = optarg;
        break;
    case OPT_FAKE_GPUS:
        o->fake_gpus = optarg;
        break;
    case OPT_JOB_ENV:
        o->job_env = optarg;
        break;
    case OPT_UNINSTALL:
        f->uninstall = true;
        break;
    case OPT_FORCE:
        f->force = true;
        break;
    case OPT_LOG_LEVEL:
        if (!log_set_spec(optarg))
            return bad_usage("--log-level is not understood");
        break;
    case OPT_VERSION:
        puts("drover-runner " DROVER_VERSION);
        return 0;
    case OPT_HELP:
        fputs(usage, stdout);
        return 0;
    default:
        return bad_usage("wrong option");
    }
    return -1;
}

static void
on_signal(void *arg, int signo)
{
    UNUSED(signo);
    loop_quit(arg, 0);
}

/* Returns only when the agent cannot start. program: to be executed by an upgrade. */
static int
run(struct loop *l, const struct agent_opts *o, const char *program, char **argv)
{
    struct error e = ERROR_INIT;
    struct agent *a = NULL;
    struct loop_signal *term = NULL;
    struct loop_signal *intr = NULL;
    struct upgrade *up = NULL;
    if (loop_signal_add(l, SIGTERM, on_signal, l, &term, &e) < 0 ||
        loop_signal_add(l, SIGINT, on_signal, l, &intr, &e) < 0 ||
        upgrade_new(l, program, argv, &up, &e) < 0 || agent_start(l, o, &a, &e) < 0) {
        fprintf(stderr, "drover-runner: %s\n", e.msg);
        upgrade_free(up);
        loop_signal_free(term);
        loop_signal_free(intr);
        return error_exit_status(e.code);
    }
    int code = loop_run(l);
    /* Everything that matters is on disk or with the engines; a kill -9 here would do as
     * well, and it is quicker than taking the agent apart. */
    fflush(NULL);
    _exit(code);
}

static int
uninstall(struct loop *l, const struct flags *f)
{
    struct error e = ERROR_INIT;

    if (uninstall_run(l, &f->opts, f->force, &e) < 0) {
        fprintf(stderr, "drover-runner: %s\n", e.msg);
        return error_exit_status(e.code);
    }
    puts("removed; the Instance of this machine goes with `drover delete instance`");
    return 0;
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    if (argc > 1 && streq(argv[1], PLACE_FLAG))
        return place_main();
    /* Children are of this very program, also when its file was replaced meanwhile. */
    struct flags f = {.opts = {.program = "/proc/self/exe", .min_free_mib = -1}};
    struct error e = ERROR_INIT;
    char program[PATH_MAX];
    char supervisor[40];
    int c;
    while ((c = getopt_long(argc, argv, "", options, NULL)) != -1) {
        int status = take_option(c, &f);
        if (status >= 0)
            return status;
    }
    if (optind < argc)
        return bad_usage("unexpected argument");
    if (f.opts.dir == NULL)
        return bad_usage("--dir is needed");
    ssize_t n = readlink("/proc/self/exe", program, sizeof(program) - 1);
    if (n < 0)
        return bad_usage("/proc/self/exe cannot be read");
    program[n] = '\0';
    signal(SIGPIPE, SIG_IGN);
    log_set_program("drover-runner");
    mallopt(M_ARENA_MAX, 1); /* one loop: arenas per thread would only cost memory */
    json_object_seed(0);
    embedded_supervisor(supervisor, sizeof(supervisor));
    f.opts.supervisor = supervisor;
    struct loop *l;
    if (loop_new(&l, &e) < 0) {
        fprintf(stderr, "drover-runner: %s\n", e.msg);
        return 1;
    }
    int status = f.uninstall ? uninstall(l, &f) : run(l, &f.opts, program, argv);
    loop_free(l);
    return status;
}
