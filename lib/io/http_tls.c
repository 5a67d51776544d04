/* SPDX-License-Identifier: Apache-2.0 */
/* Who the client is by its certificate. */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>

#include "io/http_internal.h"

static void
read_name(gnutls_session_t session, char *out, size_t size)
{
    unsigned status = 0;
    unsigned n = 0;
    gnutls_x509_crt_t crt = NULL;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);

    if (chain == NULL || n == 0 ||
        gnutls_certificate_verify_peers2(session, &status) < 0 || status != 0 ||
        gnutls_x509_crt_init(&crt) < 0)
        return;
    size_t len = size;
    if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) < 0 ||
        gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out, &len) <
            0 ||
        strlen(out) != len) /* a NUL inside could pass for another name */
        out[0] = '\0';
    gnutls_x509_crt_deinit(crt);
}

const char *
http_client_name(const struct http_request *r)
{
    struct http_conn_state *c = r->conn;

    if (!c->client_checked && c->server->client_ca != NULL) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        if (info != NULL && info->tls_session != NULL)
            read_name(info->tls_session, c->client_name, sizeof(c->client_name));
    }
    c->client_checked = true;
    return c->client_name[0] == '\0' ? NULL : c->client_name;
}
