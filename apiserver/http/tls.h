/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's certificate. Its own: <dir>/ca.crt ca.key server.crt server.key, 0600. The
 * CA is made once and lives ten years, so that what clients hold stays valid; the server
 * certificate lives `lifetime_s` and is made anew when a third of that is left, or when
 * it lacks one of the names. Or that of the operator, in files. Either is taken into use
 * while the server runs (io/tls_files.h); drover-streams follows the same files. Loop
 * thread only.
 */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include "io/tls_files.h"

#define TLS_LIFETIME_DEFAULT_S ((int64_t)90 * 86400)

struct tls_opts {
    struct loop *loop;
    const char *dir;
    const char *names;      /* more names and addresses, comma separated; NULL: none */
    int64_t lifetime_s;     /* of a server certificate */
    const char *cert, *key; /* files of the operator's; NULL: our own */
    const char *ca;         /* file of the CA of that; NULL: the last of its chain */
    const char *client_ca;  /* file, or NULL */
};
struct tls;
int tls_open(const struct tls_opts *o, struct tls **ret, struct error *e) WARN_UNUSED;
void tls_free(struct tls *t); /* NULL ok; before the server */
struct tls_files *tls_served(const struct tls *t);
/* What clients are told to trust, PEM, and its hash as in pki.h. */
const char *tls_ca(const struct tls *t);
const char *tls_ca_hash(const struct tls *t);
/* Seconds since the epoch when what is served now expires. */
int64_t tls_expiry(const struct tls *t);

#endif
