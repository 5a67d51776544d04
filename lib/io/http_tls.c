/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates: the server's, which can be changed, and who the client is by its own. */
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <stdlib.h>

#include "io/http_internal.h"

enum { GROUPS_MAX = 64, GROUPS_MAX_BYTES = 8192 };

static bool
read_name(gnutls_x509_crt_t crt, char *out, size_t size)
{
    size_t len = size;

    if (gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, 0, out,
                                      &len) >= 0 &&
        strlen(out) == len) /* a NUL inside could pass for another name */
        return true;
    out[0] = '\0';
    return false;
}

/* False: more than there is room for, or one that is not a line of text. */
static bool
read_groups(gnutls_x509_crt_t crt, struct str *out)
{
    char name[256];

    for (unsigned i = 0;; i++) {
        size_t len = sizeof(name);
        int rc = gnutls_x509_crt_get_dn_by_oid(crt, GNUTLS_OID_X520_ORGANIZATION_NAME, i,
                                               0, name, &len);
        if (rc == GNUTLS_E_REQUESTED_DATA_NOT_AVAILABLE)
            return !out->toobig;
        if (rc < 0 || strlen(name) != len || strchr(name, '\n') != NULL ||
            i == GROUPS_MAX)
            return false;
        str_addf(out, "%s\n", name);
    }
}

/* The chain leads to the CA, is valid now and meant for clients. */
static bool
is_vouched_for(gnutls_session_t session)
{
    unsigned char purpose[] = GNUTLS_KP_TLS_WWW_CLIENT;
    gnutls_typed_vdata_st data = {
        .type = GNUTLS_DT_KEY_PURPOSE_OID, .data = purpose, .size = sizeof(purpose) - 1};
    unsigned status = 0;

    return gnutls_certificate_verify_peers(session, &data, 1, &status) >= 0 &&
           status == 0;
}

static void
read_subject(struct http_conn_state *c, gnutls_session_t session)
{
    unsigned n = 0;
    gnutls_x509_crt_t crt = NULL;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
    auto_str groups = STR_INIT(GROUPS_MAX_BYTES);

    if (chain == NULL || n == 0 || !is_vouched_for(session) ||
        gnutls_x509_crt_init(&crt) < 0)
        return;
    if (gnutls_x509_crt_import(crt, &chain[0], GNUTLS_X509_FMT_DER) >= 0 &&
        read_name(crt, c->client_name, sizeof(c->client_name))) {
        if (read_groups(crt, &groups))
            c->client_groups = xstrndup(groups.ptr, groups.len);
        else
            c->client_name[0] = '\0';
    }
    gnutls_x509_crt_deinit(crt);
}

const char *
http_client_name(const struct http_request *r)
{
    struct http_conn_state *c = r->conn;

    if (!c->client_checked && c->shard->pems->client_ca != NULL) {
        const union MHD_ConnectionInfo *info =
            MHD_get_connection_info(c->mhd, MHD_CONNECTION_INFO_GNUTLS_SESSION);
        if (info != NULL && info->tls_session != NULL)
            read_subject(c, info->tls_session);
    }
    c->client_checked = true;
    return c->client_name[0] == '\0' ? NULL : c->client_name;
}

const char *
http_client_groups(const struct http_request *r)
{
    return http_client_name(r) == NULL ? NULL : r->conn->client_groups;
}

/* --- the server's own ----------------------------------------------------------------
 */

static char *
copy(const char *text)
{
    return text == NULL ? NULL : xstrdup(text);
}

struct http_pems *
http_pems_new(const char *cert, const char *key, const char *client_ca)
{
    struct http_pems *p = xnew(struct http_pems);

    *p = (struct http_pems){1, copy(cert), copy(key), copy(client_ca)};
    return p;
}

void
http_pems_unref(struct http_pems *p)
{
    if (p == NULL || --p->refs > 0)
        return;
    free(p->cert);
    free(p->key);
    free(p->client_ca);
    free(p);
}

/* MHD reads certificates when a daemon starts: what comes from now on goes to new ones.
 */
int
http_server_set_tls(struct http_server *s, const char *cert_pem, const char *key_pem,
                    const char *client_ca_pem, struct error *e)
{
    struct http_pems *old = s->pems;
    struct http_shard *sh;

    bug_if(old->cert == NULL || cert_pem == NULL || key_pem == NULL);
    s->pems = http_pems_new(cert_pem, key_pem, client_ca_pem);
    if (http_shard_new(s, false, e) < 0) {
        http_pems_unref(s->pems);
        s->pems = old;
        return -(int)e->code;
    }
    TAILQ_FOREACH (sh, &s->shards, link) {
        if (sh->pems != s->pems && !sh->retired) {
            sh->retired = true;
            s->n_retired++;
        }
    }
    http_pems_unref(old);
    return 0;
}
