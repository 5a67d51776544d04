/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the flags. */
#include "controllers/options.h"

#include <getopt.h>

#include "base/log.h"

const char options_help[] =
    "usage: drover-controllers --api-socket PATH --token-file FILE\n"
    "       drover-controllers --kubeconfig FILE\n"
    "\n"
    "Runs drover's controllers against an API server.\n"
    "\n"
    "  --api-socket PATH    unix socket of the API server\n"
    "  --token-file FILE    bearer token, read again for each request\n"
    "  --kubeconfig FILE    server and credentials from a kubeconfig instead\n"
    "  --only LIST          of fleet, instance, job, run (comma-separated; all)\n"
    "  --agent-url URL      how machines of SSH fleets reach the API server\n"
    "  --agent-programs DIR drover-runner-<arch> for them; the one beside this program\n"
    "                       serves its own architecture\n"
    "  --ssh-dir DIR        for private keys while they are in use; emptied at the "
    "start\n"
    "                       (a new directory in /tmp)\n"
    "  --log-level SPEC     err, warn, info, debug, or module=level,... (info)\n"
    "  --help  --version\n";

enum {
    OPT_API_SOCKET = 256,
    OPT_TOKEN,
    OPT_KUBECONFIG,
    OPT_ONLY,
    OPT_AGENT_URL,
    OPT_PROGRAMS,
    OPT_SSH_DIR,
    OPT_LOG,
    OPT_HELP,
    OPT_V
};

static const struct option long_options[] = {
    {"api-socket", required_argument, NULL, OPT_API_SOCKET},
    {"token-file", required_argument, NULL, OPT_TOKEN},
    {"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},
    {"only", required_argument, NULL, OPT_ONLY},
    {"agent-url", required_argument, NULL, OPT_AGENT_URL},
    {"agent-programs", required_argument, NULL, OPT_PROGRAMS},
    {"ssh-dir", required_argument, NULL, OPT_SSH_DIR},
    {"log-level", required_argument, NULL, OPT_LOG},
    {"help", no_argument, NULL, OPT_HELP},
    {"version", no_argument, NULL, OPT_V},
    {NULL, 0, NULL, 0},
};

static int
check(const struct options *o, struct error *e)
{
    if (o->help || o->version)
        return 0;
    if (o->api_socket != NULL && o->kubeconfig != NULL)
        return error_set(e, ERR_BAD_REQUEST,
                         "give either --api-socket or --kubeconfig, not both");
    if (o->api_socket == NULL && o->kubeconfig == NULL)
        return error_set(e, ERR_BAD_REQUEST,
                         "give --api-socket and --token-file, or --kubeconfig");
    if (o->api_socket != NULL && o->token_file == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--api-socket needs --token-file");
    return 0;
}

int
options_parse(int argc, char **argv, struct options *ret, struct error *e)
{
    struct options o = {.log_level = "info"};
    int c;

    optind = 1;
    opterr = 0;
    while ((c = getopt_long(argc, argv, "", long_options, NULL)) != -1) {
        if (c == OPT_API_SOCKET)
            o.api_socket = optarg;
        else if (c == OPT_TOKEN)
            o.token_file = optarg;
        else if (c == OPT_KUBECONFIG)
            o.kubeconfig = optarg;
        else if (c == OPT_ONLY)
            o.only = optarg;
        else if (c == OPT_AGENT_URL)
            o.agent_url = optarg;
        else if (c == OPT_PROGRAMS)
            o.agent_programs = optarg;
        else if (c == OPT_SSH_DIR)
            o.ssh_dir = optarg;
        else if (c == OPT_LOG)
            o.log_level = optarg;
        else if (c == OPT_HELP)
            o.help = true;
        else if (c == OPT_V)
            o.version = true;
        else
            return error_set(e, ERR_BAD_REQUEST, "unknown or incomplete flag %s",
                             argv[optind - 1]);
    }
    if (optind < argc)
        return error_set(e, ERR_BAD_REQUEST, "unexpected argument \"%s\"", argv[optind]);
    if (!log_set_spec(o.log_level))
        return error_set(e, ERR_BAD_REQUEST, "--log-level %s is not a level",
                         o.log_level);
    *ret = o;
    return check(&o, e);
}
