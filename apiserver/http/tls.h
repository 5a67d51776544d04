/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own certificates: <dir>/ca.crt ca.key server.crt server.key, made at the
 * first start, 0600. The CA lives ten years; the server certificate one, and is made anew
 * when less than thirty days of it are left.
 */
#ifndef HTTP_TLS_H
#define HTTP_TLS_H

#include "base/error.h"
#include "base/str.h"

struct tls_files {
    struct str ca_cert, cert, key; /* PEM */
    char ca_hash[80];
};
int tls_load(const char *dir, struct tls_files *ret, struct error *e) WARN_UNUSED;
void tls_done(struct tls_files *t);

#endif
