/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The server's own certificate authority, and how it is exchanged while clients still
 * trust the old one. Files in <dir>, 0600:
 *
 *   ca.crt        what clients are to trust: the CA, and after an exchange the old one
 * too ca.key        of the first of those ca-chain.crt  after an exchange: the CA as the
 * old one vouches for it (cross-signed). It goes behind the server's certificate, so that
 * whoever trusts only the old CA, as agents do that enrolled before, accepts the new one
 *   ca.next       an exchange that is not complete; done again by the next ca_open()
 *
 * Only while no server runs on the directory, but for ca_open(). Waits for the disk.
 */
#ifndef HTTP_CA_H
#define HTTP_CA_H

#include "io/pki.h"

struct ca {
    struct pki_pair pair; /* cert: all of ca.crt */
    struct str chain;     /* certificates that follow one made with pair */
};
void ca_init(struct ca *c);
/* Into one that was set up. Makes a CA when there is none. */
int ca_open(const char *dir, struct ca *ret, struct error *e) WARN_UNUSED;
void ca_done(struct ca *c);
/* A new CA. ERR_CONFLICT while a former exchange is not over (ca_retire). */
int ca_rotate(const char *dir, struct error *e) WARN_UNUSED;
/* The end of an exchange: the old CA is trusted no more. ERR_NOT_FOUND when there is
 * none.
 */
int ca_retire(const char *dir, struct error *e) WARN_UNUSED;

/* `drover-apiserver keys rotate-ca|retire-ca --data-dir DIR`. The exit status. */
int ca_tool_main(int argc, char **argv);

#endif
