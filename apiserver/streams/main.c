/* SPDX-License-Identifier: Apache-2.0 */
/* drover-streams: start-up, listeners, shutdown. */
#include <getopt.h>
#include <jansson.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "apiserver/streams/blobs.h"
#include "apiserver/streams/streams.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/tls_files.h"

LOG_MODULE(streams);

enum { PER_ADDRESS_MAX = 4096 };

struct options {
    const char *data_dir, *listen, *unix_socket, *api_socket, *token_file;
    const char *tls_cert, *tls_key, *client_ca;
    int64_t blob_quota, blob_grace_s, log_max, log_ttl_s, log_total;
};

struct program {
    struct streams streams;
    struct loop *loop;
    struct http_server *tcp, *local;
    struct tls_files *tls;
    struct loop_signal *term, *intr;
    char *output_dir, *blobs_dir;
    int lock_fd;
};

static const char usage[] =
    "usage: drover-streams --data-dir DIR --listen ADDRESS:PORT --unix-socket PATH\n"
    "                      --api-socket PATH --token-file FILE [--log-level SPEC]\n"
    "                      [--blob-quota BYTES] [--blob-grace SECONDS]\n"
    "                      [--log-max-bytes BYTES] [--log-ttl SECONDS]\n"
    "                      [--log-total-bytes BYTES]\n"
    "                      [--tls-cert-file FILE --tls-private-key-file FILE]\n"
    "                      [--client-ca-file FILE]\n"
    "The certificate is the API server's (keys/server.crt) if none is given; it is\n"
    "followed when it changes.\n"
    "Serves job logs and blobs (streams.drover.dev/v1). Started by `drover server`.\n";

static bool
take_number(const char *text, int64_t *ret)
{
    char *end;

    errno = 0;
    *ret = strtoll(text, &end, 10);
    return errno == 0 && *end == '\0' && end != text && *ret > 0;
}

static int
parse_options(int argc, char **argv, struct options *o, struct error *e)
{
    static const struct option longs[] = {
        {"data-dir", required_argument, NULL, 'd'},
        {"listen", required_argument, NULL, 'l'},
        {"unix-socket", required_argument, NULL, 'u'},
        {"api-socket", required_argument, NULL, 'a'},
        {"token-file", required_argument, NULL, 't'},
        {"tls-cert-file", required_argument, NULL, 'c'},
        {"tls-private-key-file", required_argument, NULL, 'k'},
        {"client-ca-file", required_argument, NULL, 'C'},
        {"log-level", required_argument, NULL, 'v'},
        {"blob-quota", required_argument, NULL, 'Q'},
        {"blob-grace", required_argument, NULL, 'G'},
        {"log-max-bytes", required_argument, NULL, 'M'},
        {"log-ttl", required_argument, NULL, 'T'},
        {"log-total-bytes", required_argument, NULL, 'A'},
        {"help", no_argument, NULL, 'h'},
        {0},
    };
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        switch (c) {
        case 'd':
            o->data_dir = optarg;
            break;
        case 'l':
            o->listen = optarg;
            break;
        case 'u':
            o->unix_socket = optarg;
            break;
        case 'a':
            o->api_socket = optarg;
            break;
        case 't':
            o->token_file = optarg;
            break;
        case 'c':
            o->tls_cert = optarg;
            break;
        case 'k':
            o->tls_key = optarg;
            break;
        case 'C':
            o->client_ca = optarg;
            break;
        case 'M':
        case 'T':
        case 'A':
            if (!take_number(optarg, c == 'M'   ? &o->log_max
                                     : c == 'T' ? &o->log_ttl_s
                                                : &o->log_total))
                return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not a positive number",
                                 optarg);
            break;
        case 'Q':
        case 'G':
            if (!take_number(optarg, c == 'Q' ? &o->blob_quota : &o->blob_grace_s))
                return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not a positive number",
                                 optarg);
            break;
        case 'v':
            if (!log_set_spec(optarg))
                return error_set(e, ERR_BAD_REQUEST,
                                 "--log-level: unknown level in \"%s\"", optarg);
            break;
        case 'h':
            fputs(usage, stdout);
            exit(0);
        default:
            return error_set(e, ERR_BAD_REQUEST, "see drover-streams --help");
        }
    }
    if (o->data_dir == NULL || o->listen == NULL || o->unix_socket == NULL ||
        o->api_socket == NULL || o->token_file == NULL)
        return error_set(e, ERR_BAD_REQUEST,
                         "--data-dir, --listen, --unix-socket, --api-socket and "
                         "--token-file are required");
    if ((o->tls_cert == NULL) != (o->tls_key == NULL))
        return error_set(e, ERR_BAD_REQUEST,
                         "--tls-cert-file and --tls-private-key-file go together");
    return 0;
}

static int
start_listeners(struct program *p, const struct options *o, struct error *e)
{
    autofree char *cert = xasprintf("%s/keys/server.crt", o->data_dir);
    autofree char *key = xasprintf("%s/keys/server.key", o->data_dir);
    struct tls_files_opts files = {.loop = p->loop,
                                   .cert = o->tls_cert != NULL ? o->tls_cert : cert,
                                   .key = o->tls_key != NULL ? o->tls_key : key,
                                   .client_ca = o->client_ca};
    char address[64];
    uint16_t port = 0;

    if (http_split_listen(o->listen, address, sizeof(address), &port, e) < 0)
        return error_prepend(e, "--listen");
    if (tls_files_open(&files, &p->tls, e) < 0)
        return -(int)e->code;
    struct http_server_opts tcp = {.name = "streams-tls",
                                   .address = address,
                                   .port = port,
                                   .tls_cert_pem = tls_files_cert(p->tls),
                                   .tls_key_pem = tls_files_key(p->tls),
                                   .client_ca_pem = tls_files_client_ca(p->tls),
                                   .max_body = STREAMS_MAX_APPEND,
                                   .max_per_address = PER_ADDRESS_MAX,
                                   .loopback_unlimited = true,
                                   .handler = streams_handle,
                                   .arg = &p->streams};
    struct http_server_opts local = {.name = "streams-unix",
                                     .unix_path = o->unix_socket,
                                     .max_body = STREAMS_MAX_APPEND,
                                     .handler = streams_handle,
                                     .arg = &p->streams};
    if (http_server_start(p->loop, &tcp, &p->tcp, e) < 0)
        return error_prepend(e, "listen on %s", o->listen);
    tls_files_serve(p->tls, p->tcp);
    if (http_server_start(p->loop, &local, &p->local, e) < 0)
        return error_prepend(e, "listen on %s", o->unix_socket);
    return 0;
}

static void
on_signal(void *arg, int signo)
{
    struct program *p = arg;

    log_info("stopping", "signal=%d", signo);
    loop_quit(p->loop, 0);
}

static int
start(struct program *p, const struct options *o, struct error *e)
{
    struct streams *s = &p->streams;

    p->output_dir = fs_join(o->data_dir, "output");
    autofree char *lock = fs_join(p->output_dir, "lock");
    if (fs_mkdirs(p->output_dir, 0700, e) < 0 || fs_lock(lock, &p->lock_fd, e) < 0 ||
        loop_new(&p->loop, e) < 0)
        return -(int)e->code;
    s->loop = p->loop;
    s->output_dir = p->output_dir;
    s->api = (struct http_target){.url = "http://apiserver",
                                  .unix_socket = o->api_socket,
                                  .bearer_file = o->token_file,
                                  .user_agent = "drover-streams"};
    s->tokens = map_new(access_free_identity);
    s->jobs = map_new(access_free_job);
    s->logs = map_new(append_free_log);
    s->queue = append_queue_new(s);
    p->blobs_dir = fs_join(o->data_dir, "blobs");
    struct blob_config blobs = {.dir = p->blobs_dir,
                                .quota_bytes = (uint64_t)o->blob_quota,
                                .grace_s = o->blob_grace_s,
                                .output_dir = p->output_dir,
                                .log_ttl_s = o->log_ttl_s,
                                .log_total_bytes = (uint64_t)o->log_total};
    s->log_max_bytes = (uint64_t)o->log_max;
    s->blobs = blobs_new(s, &blobs);
    s->writer = loop_pool_new(p->loop, "log-writer", 1);
    s->syncer = loop_pool_new(p->loop, "log-syncer", 1);
    if (http_multi_new(p->loop, &s->multi, e) < 0 ||
        loop_signal_add(p->loop, SIGTERM, on_signal, p, &p->term, e) < 0 ||
        loop_signal_add(p->loop, SIGINT, on_signal, p, &p->intr, e) < 0)
        return -(int)e->code;
    return start_listeners(p, o, e);
}

static void
stop(struct program *p)
{
    struct streams *s = &p->streams;

    /* The writer first: what it holds is answered before the listeners go. */
    append_queue_close(s->queue);
    if (s->writer != NULL)
        loop_pool_free(s->writer);
    if (s->syncer != NULL)
        loop_pool_free(s->syncer);
    tls_files_free(p->tls);
    blobs_free(s->blobs);
    http_server_free(p->tcp);
    http_server_free(p->local);
    http_multi_free(s->multi);
    append_queue_free(s->queue);
    map_free(s->logs);
    map_free(s->jobs);
    map_free(s->tokens);
    loop_signal_free(p->term);
    loop_signal_free(p->intr);
    loop_free(p->loop);
    cleanup_close_ptr(&p->lock_fd);
    free(p->output_dir);
    free(p->blobs_dir);
}

int
main(int argc, char **argv)
{
    struct options o = {.blob_quota = INT64_C(20) << 30,
                        .blob_grace_s = 3600,
                        .log_max = INT64_C(8) << 30,
                        .log_total = INT64_C(64) << 30,
                        .log_ttl_s = 24 * 3600};
    struct program p = {.lock_fd = -1};
    struct error e = ERROR_INIT;

    log_set_program("drover-streams");
    json_object_seed(0);
    signal(SIGPIPE, SIG_IGN);
    int rc = parse_options(argc, argv, &o, &e);
    if (rc == 0)
        rc = start(&p, &o, &e);
    if (rc < 0) {
        fprintf(stderr, "drover-streams: %s\n", e.msg);
        return error_exit_status(e.code);
    }
    log_info("ready", "listen=%s", o.listen);
    int code = loop_run(p.loop);
    stop(&p);
    return code;
}
