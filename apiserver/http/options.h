/* SPDX-License-Identifier: Apache-2.0 */
/* The command line of drover-apiserver. docs/operations.md explains the options. */
#ifndef HTTP_OPTIONS_H
#define HTTP_OPTIONS_H

#include "apiserver/http/limits.h"
#include "apiserver/http/store_options.h"
#include "apiserver/registry/history.h"

struct options {
    const char *data_dir, *listen, *unix_socket, *parts_tokens, *streams_address,
        *streams_socket, *control_socket, *user_tokens, *client_ca, *issuer;
    const char *tls_cert, *tls_key, *tls_ca, *tls_san;
    const char *audit_policy, *audit_log;
    int64_t audit_max_bytes, audit_max_age_s, audit_backups;
    const char *retain_age, *retain_size;
    struct store_options store;
    struct history_limits history;
    struct limits_opts limits;
    int64_t tls_lifetime_s, shutdown_delay_s;
    int64_t max_connections, max_per_address; /* -1: the default */
    bool insecure, no_mirror, anonymous, rotate_key;
    char address[64]; /* of listen */
    uint16_t port;
};
/* Borrows argv. Prints the usage and exits for --help. */
int options_parse(int argc, char **argv, struct options *ret,
                  struct error *e) WARN_UNUSED;

#endif
