/* SPDX-License-Identifier: Apache-2.0 */
/* drover token create --join FLEET: what a new machine needs to enrol. */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>

#include "base/mem.h"
#include "cli/session.h"

static int
create(struct session *s, const char *fleet, long ttl, struct error *e)
{
    auto_str path = STR_INIT(2048);
    auto_str reply = STR_INIT(65536);
    autofree char *body = xasprintf("{\"ttlSeconds\":%ld}", ttl);
    struct client_request r = {.method = "POST",
                               .content_type = "application/json",
                               .body = body,
                               .body_len = strlen(body)};

    client_path(&path, &resource_fleets, s->ns, fleet, "jointoken");
    r.path = path.ptr;
    if (client_do(s->client, &r, &reply, e) < 0)
        return -(int)e->code;
    json_t *doc = json_loadb(reply.ptr, reply.len, 0, NULL);
    printf("# valid until %s; on the new machine, as root:\n"
           "drover-runner --join %s --token %s --ca-hash %s --dir /var/lib/drover\n",
           js(doc, "expiresAt"), s->ctx.server, js(doc, "token"), js(doc, "caHash"));
    json_decref(doc);
    return 0;
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {
        SESSION_OPTIONS,
        {"join", required_argument, NULL, 'j'},
        {"ttl", required_argument, NULL, 't'},
        {0},
    };
    struct session s = {.verb = &verb_token};
    struct error e = ERROR_INIT;
    const char *fleet = NULL;
    long ttl = 86400;
    int c;

    while ((c = getopt_long(argc, argv, SESSION_SHORT, longs, NULL)) != -1) {
        if (session_option(&s, c, optarg))
            continue;
        if (c == 'j') {
            fleet = optarg;
        } else if (c == 't') {
            char *end;
            ttl = strtol(optarg, &end, 10);
            if (*end != '\0' || ttl < 60 || ttl > 30L * 86400)
                return cli_misuse(&verb_token, "--ttl \"%s\": seconds, 60 to 2592000",
                                  optarg);
        } else if (c == 'h') {
            cli_usage(&verb_token);
            return 0;
        } else {
            return cli_misuse(&verb_token, "see drover token --help");
        }
    }
    if (argc - optind != 1 || !streq(argv[optind], "create") || fleet == NULL)
        return cli_misuse(&verb_token, "use: drover token create --join FLEET");
    int rc = session_open(&s, &e);
    if (rc == 0)
        rc = create(&s, fleet, ttl, &e);
    session_close(&s);
    return rc < 0 ? cli_fail(&verb_token, &e) : 0;
}

const struct cli_verb verb_token = {
    .name = "token",
    .args = "create --join FLEET [--ttl SECONDS]",
    .summary = "make a token with which a machine joins a fleet",
    .help = "      --join FLEET\n"
            "      --ttl SECONDS         (default 86400)\n" SESSION_HELP,
    .run = run,
};
