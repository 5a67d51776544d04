/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What every verb that talks to a server needs: the context (kubeconfig), a client, and
 * the options common to all of them. Blocking; one thread.
 */
#ifndef CLI_SESSION_H
#define CLI_SESSION_H

#include <jansson.h>

#include "cli/cli.h"
#include "client/client.h"
#include "io/http_client.h"

struct session {
    const struct cli_verb *verb;
    const char *kubeconfig, *context, *ns_option;
    bool all_namespaces;
    struct client_context ctx;
    struct http_target target;
    struct client *client;
    const char *ns; /* effective namespace */
    bool open;
};

/* Long options for getopt_long; short: "n:A". Put SESSION_OPTIONS first in the verb's
 * own. */
enum { OPT_KUBECONFIG = 1000, OPT_CONTEXT };
#define SESSION_SHORT "hn:A"
#define SESSION_OPTIONS                                                                  \
    {"help", no_argument, NULL, 'h'}, {"namespace", required_argument, NULL, 'n'},       \
        {"all-namespaces", no_argument, NULL, 'A'},                                      \
        {"kubeconfig", required_argument, NULL, OPT_KUBECONFIG},                         \
    {                                                                                    \
        "context", required_argument, NULL, OPT_CONTEXT                                  \
    }
#define SESSION_HELP                                                                     \
    "  -n, --namespace NAME      (default: the context's, else \"default\")\n"           \
    "      --kubeconfig FILE     where the server is (default $DROVER_CONFIG,\n"         \
    "                            $KUBECONFIG, ~/.drover/config, ~/.kube/config)\n"       \
    "      --context NAME        of that file\n"

/* True when c was one of the common options. */
bool session_option(struct session *s, int c, const char *value);
int session_open(struct session *s, struct error *e) WARN_UNUSED;
void session_close(struct session *s);

/* A JSON document by GET; the caller decrefs. */
int session_get_json(struct session *s, const char *path, const char *accept,
                     json_t **ret, struct error *e) WARN_UNUSED;
/* Says on stderr when no controllers are at work: nothing is placed, started or ended
 * then, and no condition of an object can tell. Silent when the server does not know. */
void session_warn_idle(struct session *s);
/* Calls fn for each line of a streamed GET until fn returns false, the stream ends, or
 * timeout_ms passes (-1: never; ERR_TIMEOUT). A reply other than 2xx becomes its error.
 */
int session_stream_lines(struct session *s, const char *path, const char *accept,
                         int timeout_ms, bool (*fn)(void *arg, struct span line),
                         void *arg, struct error *e) WARN_UNUSED;
/* Raw bytes of a streamed GET on another target (logs). */
int session_stream_bytes(const struct http_target *t, const char *path, int timeout_ms,
                         bool (*fn)(void *arg, const char *bytes, size_t n), void *arg,
                         struct error *e) WARN_UNUSED;

/* Where drover-streams is, from discovery: what is bulky need not pass the API server.
 * malloc'd; NULL: ask the API server itself, which passes it on. */
char *session_streams_url(struct session *s);

/* --- resources by the names people type
 * ---------------------------------------------------- */
struct named_resource {
    const struct resource *resource;
    const char *singular;
    const char *aliases[3];
};
/* "run", "runs", "job", "instance" ...; NULL: unknown. */
const struct named_resource *cli_resource(const char *word);
/* By kind, "Run"; NULL: unknown. */
const struct named_resource *cli_resource_of_kind(const char *kind);
/* Lists what exists, for messages: "runs, jobs, ...". */
void cli_resource_names(struct str *out);
/* "run/hello" or "run" "hello": fills resource and name (NULL when absent). */
int cli_target(const char *word, const struct named_resource **ret, const char **ret_name,
               struct error *e) WARN_UNUSED;

/* --- small JSON helpers
 * -------------------------------------------------------------------- */
/* "status.phase"; "" when absent or not a string. Borrowed. */
const char *js(const json_t *o, const char *path);
/* Integer at path, or fallback. */
int64_t js_int(const json_t *o, const char *path, int64_t fallback);
const json_t *js_get(const json_t *o, const char *path);
/* "3m", from an RFC 3339 time; "" when it is none. */
void cli_age(const char *rfc3339, char *out, size_t size);
bool cli_final_phase(const char *phase); /* Done, Failed, Terminated */

#endif
