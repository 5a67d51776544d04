/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Certificates made with GnuTLS: ECDSA P-256 keys, a self-signed CA, and server
 * certificates under it. PEM text in and out. Thread-safe.
 */
#ifndef IO_PKI_H
#define IO_PKI_H

#include "base/error.h"
#include "base/str.h"

struct pki_pair {
    struct str cert, key; /* PEM; init with STR_INIT(64 KiB) */
};
/* A CA valid for `days`. */
int pki_make_ca(const char *common_name, int days, struct pki_pair *ret,
                struct error *e) WARN_UNUSED;
/* A server certificate followed by its CA's, as a server presents it (pki_fetch_ca of
 * others relies on that). names: NULL-terminated DNS names and IP addresses. */
int pki_make_server(const struct pki_pair *ca, const char *common_name,
                    const char *const *names, int days, struct pki_pair *ret,
                    struct error *e) WARN_UNUSED;
/* The same by seconds. */
int pki_make_server_for(const struct pki_pair *ca, const char *common_name,
                        const char *const *names, int64_t seconds, struct pki_pair *ret,
                        struct error *e) WARN_UNUSED;
/* Another CA's certificate, with its name and key, as `by` vouches for it: who trusts
 * `by` accepts what that CA signs, as long as both are valid. PEM, appended. */
int pki_vouch(const struct pki_pair *by, const char *ca_pem, struct str *out,
              struct error *e) WARN_UNUSED;
/* A client certificate for the name; alone, without its CA's. */
int pki_make_client(const struct pki_pair *ca, const char *common_name, int days,
                    struct pki_pair *ret, struct error *e) WARN_UNUSED;
/* Seconds since the epoch when the first certificate of the PEM text expires. */
int pki_expiry(const char *cert_pem, int64_t *ret_unix, struct error *e) WARN_UNUSED;
/* ERR_BAD_REQUEST unless a server could start with them: chain and key belong together,
 * and client_ca_pem (NULL ok) holds certificates. */
int pki_check(const char *cert_pem, const char *key_pem, const char *client_ca_pem,
              struct error *e) WARN_UNUSED;
/* The first certificate is valid for the DNS name or IP address. */
bool pki_covers(const char *cert_pem, const char *name);
/* "sha256:<64 hex>" over the DER of the certificate's public key (as kubeadm's
 * --ca-hash). */
int pki_ca_hash(const char *cert_pem, char out[80], struct error *e) WARN_UNUSED;
/* Fetches the certificate chain a TLS server presents, without trusting it, so that the
 * caller can compare pki_ca_hash of its CA (agent enrolment). PEM of the last
 * certificate. */
int pki_fetch_ca(const char *host, uint16_t port, int timeout_ms, struct str *ret_pem,
                 struct error *e) WARN_UNUSED;

#endif
