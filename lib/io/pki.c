/* SPDX-License-Identifier: Apache-2.0 */
/* Certificates with GnuTLS. */
#include "io/pki.h"

#include <arpa/inet.h>
#include <fcntl.h>
#include <gnutls/abstract.h>
#include <gnutls/crypto.h>
#include <gnutls/gnutls.h>
#include <gnutls/x509.h>
#include <netdb.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/id.h"

enum { SERIAL_BYTES = 16, DAY_S = 86400, BACKDATE_S = 300, NAMES_MAX = 64 };

static void
crt_done_ptr(gnutls_x509_crt_t *c)
{
    if (*c != NULL)
        gnutls_x509_crt_deinit(*c);
}
#define auto_crt CLEANUP(crt_done_ptr) gnutls_x509_crt_t

static void
key_done_ptr(gnutls_x509_privkey_t *k)
{
    if (*k != NULL)
        gnutls_x509_privkey_deinit(*k);
}
#define auto_key CLEANUP(key_done_ptr) gnutls_x509_privkey_t

static void
pubkey_done_ptr(gnutls_pubkey_t *k)
{
    if (*k != NULL)
        gnutls_pubkey_deinit(*k);
}
#define auto_pubkey CLEANUP(pubkey_done_ptr) gnutls_pubkey_t

static void
datum_done_ptr(gnutls_datum_t *d)
{
    gnutls_free(d->data);
}
#define auto_datum CLEANUP(datum_done_ptr) gnutls_datum_t

static int
tls_error(struct error *e, int rc, const char *what)
{
    return error_set(e, ERR_INTERNAL, "%s: %s", what, gnutls_strerror(rc));
}

/* GnuTLS does not write to its inputs; its type lacks const. */
static gnutls_datum_t
datum_of(const char *z)
{
    return (gnutls_datum_t){(unsigned char *)(uintptr_t)z, (unsigned)strlen(z)};
}

/* --- making ---------------------------------------------------------------------------
 */

static int
new_key(gnutls_x509_privkey_t *ret)
{
    int rc = gnutls_x509_privkey_init(ret);

    if (rc < 0)
        return rc;
    return gnutls_x509_privkey_generate(
        *ret, GNUTLS_PK_ECDSA, GNUTLS_CURVE_TO_BITS(GNUTLS_ECC_CURVE_SECP256R1), 0);
}

/* What both kinds have: version, serial, validity, subject, key and its identifier. */
static int
fill_common(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, const char *cn,
            int64_t seconds)
{
    unsigned char serial[SERIAL_BYTES];
    unsigned char id[32];
    size_t id_len = sizeof(id);
    time_t now = (time_t)(clock_wall_ns() / 1000000000);
    int rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

    serial[0] &= 0x7f; /* a serial number is positive */
    if (rc >= 0)
        rc = gnutls_x509_crt_set_version(crt, 3);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
    /* A peer whose clock is a little behind must accept it too. */
    if (rc >= 0)
        rc = gnutls_x509_crt_set_activation_time(crt, now - BACKDATE_S);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_expiration_time(crt, now + (time_t)seconds);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_dn_by_oid(crt, GNUTLS_OID_X520_COMMON_NAME, 0, cn,
                                           (unsigned)strlen(cn));
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key(crt, key);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_key_id(crt, 0, id, &id_len);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_subject_key_id(crt, id, id_len);
    return rc;
}

static int
fill_ca(gnutls_x509_crt_t crt)
{
    int rc = gnutls_x509_crt_set_basic_constraints(crt, 1, -1);

    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_KEY_CERT_SIGN |
                                                    GNUTLS_KEY_CRL_SIGN);
    return rc;
}

static int
add_name(gnutls_x509_crt_t crt, const char *name)
{
    unsigned char ip[16];

    if (inet_pton(AF_INET, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 4,
                                                    GNUTLS_FSAN_APPEND);
    if (inet_pton(AF_INET6, name, ip) == 1)
        return gnutls_x509_crt_set_subject_alt_name(crt, GNUTLS_SAN_IPADDRESS, ip, 16,
                                                    GNUTLS_FSAN_APPEND);
    return gnutls_x509_crt_set_subject_alt_name(
        crt, GNUTLS_SAN_DNSNAME, name, (unsigned)strlen(name), GNUTLS_FSAN_APPEND);
}

static int
fill_leaf(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca, const char *purpose,
          const char *const *names)
{
    unsigned char id[64];
    size_t id_len = sizeof(id);
    unsigned critical = 0;
    int rc = gnutls_x509_crt_set_basic_constraints(crt, 0, -1);

    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_usage(crt, GNUTLS_KEY_DIGITAL_SIGNATURE);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_key_purpose_oid(crt, purpose, 0);
    for (size_t i = 0; rc >= 0 && names != NULL && names[i] != NULL && i < NAMES_MAX; i++)
        rc = add_name(crt, names[i]);
    if (rc >= 0 && gnutls_x509_crt_get_subject_key_id(ca, id, &id_len, &critical) >= 0)
        rc = gnutls_x509_crt_set_authority_key_id(crt, id, id_len);
    return rc;
}

static int export(gnutls_x509_crt_t crt, gnutls_x509_privkey_t key, struct pki_pair *out)
{
    auto_datum cert_pem = {0};
    auto_datum key_pem = {0};
    int rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &cert_pem);

    if (rc >= 0)
        rc = gnutls_x509_privkey_export2(key, GNUTLS_X509_FMT_PEM, &key_pem);
    if (rc < 0)
        return rc;
    str_add(&out->cert, cert_pem.data, cert_pem.size);
    str_add(&out->key, key_pem.data, key_pem.size);
    gnutls_memset(key_pem.data, 0, key_pem.size);
    return out->cert.toobig || out->key.toobig ? GNUTLS_E_SHORT_MEMORY_BUFFER : 0;
}

int
pki_make_ca(const char *common_name, int days, struct pki_pair *ret, struct error *e)
{
    auto_crt crt = NULL;
    auto_key key = NULL;
    int rc = new_key(&key);

    if (rc >= 0)
        rc = gnutls_x509_crt_init(&crt);
    if (rc >= 0)
        rc = fill_common(crt, key, common_name, (int64_t)days * DAY_S);
    if (rc >= 0)
        rc = fill_ca(crt);
    if (rc >= 0)
        rc = gnutls_x509_crt_sign2(crt, crt, key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = export(crt, key, ret);
    return rc < 0 ? tls_error(e, rc, "make a certificate authority") : 0;
}

static int
import(const char *cert_pem, gnutls_x509_crt_t *ret)
{
    gnutls_datum_t text = datum_of(cert_pem);
    int rc = gnutls_x509_crt_init(ret);

    return rc < 0 ? rc : gnutls_x509_crt_import(*ret, &text, GNUTLS_X509_FMT_PEM);
}

static int
import_key(const char *key_pem, gnutls_x509_privkey_t *ret)
{
    gnutls_datum_t text = datum_of(key_pem);
    int rc = gnutls_x509_privkey_init(ret);

    return rc < 0 ? rc : gnutls_x509_privkey_import(*ret, &text, GNUTLS_X509_FMT_PEM);
}

/* names NULL: for a client. */
static int
make_leaf(const struct pki_pair *ca, const char *common_name, const char *const *names,
          int64_t seconds, struct pki_pair *ret, struct error *e)
{
    auto_crt ca_crt = NULL;
    auto_key ca_key = NULL;
    auto_crt crt = NULL;
    auto_key key = NULL;
    int rc = import(ca->cert.ptr, &ca_crt);

    if (rc >= 0)
        rc = import_key(ca->key.ptr, &ca_key);
    if (rc < 0)
        return tls_error(e, rc, "read the certificate authority");
    rc = new_key(&key);
    if (rc >= 0)
        rc = gnutls_x509_crt_init(&crt);
    if (rc >= 0)
        rc = fill_common(crt, key, common_name, seconds);
    if (rc >= 0)
        rc = fill_leaf(
            crt, ca_crt,
            names == NULL ? GNUTLS_KP_TLS_WWW_CLIENT : GNUTLS_KP_TLS_WWW_SERVER, names);
    if (rc >= 0)
        rc = gnutls_x509_crt_sign2(crt, ca_crt, ca_key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = export(crt, key, ret);
    return rc < 0 ? tls_error(e, rc, "make a certificate") : 0;
}

int
pki_make_server(const struct pki_pair *ca, const char *common_name,
                const char *const *names, int days, struct pki_pair *ret, struct error *e)
{
    return pki_make_server_for(ca, common_name, names, (int64_t)days * DAY_S, ret, e);
}

int
pki_make_server_for(const struct pki_pair *ca, const char *common_name,
                    const char *const *names, int64_t seconds, struct pki_pair *ret,
                    struct error *e)
{
    int rc = make_leaf(ca, common_name, names, seconds, ret, e);

    if (rc != 0)
        return rc;
    str_add(&ret->cert, ca->cert.ptr, ca->cert.len);
    return ret->cert.toobig ? error_set(e, ERR_TOO_LARGE, "server certificate chain") : 0;
}

int
pki_make_client(const struct pki_pair *ca, const char *common_name, int days,
                struct pki_pair *ret, struct error *e)
{
    return make_leaf(ca, common_name, NULL, (int64_t)days * DAY_S, ret, e);
}

/* Name, key, identifier and validity of `ca`, under a new serial number. */
static int
fill_vouched(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca, gnutls_x509_crt_t by)
{
    unsigned char serial[SERIAL_BYTES], id[64];
    size_t id_len = sizeof(id);
    unsigned critical = 0;
    time_t end = gnutls_x509_crt_get_expiration_time(ca);
    time_t by_end = gnutls_x509_crt_get_expiration_time(by);
    int rc = gnutls_rnd(GNUTLS_RND_NONCE, serial, sizeof(serial));

    serial[0] &= 0x7f;
    if (rc >= 0)
        rc = gnutls_x509_crt_set_version(crt, 3);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_serial(crt, serial, sizeof(serial));
    if (rc >= 0)
        rc = gnutls_x509_crt_set_activation_time(crt,
                                                 gnutls_x509_crt_get_activation_time(ca));
    if (rc >= 0)
        rc = gnutls_x509_crt_set_expiration_time(crt, by_end < end ? by_end : end);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_subject_key_id(ca, id, &id_len, &critical);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_subject_key_id(crt, id, id_len);
    id_len = sizeof(id);
    if (rc >= 0 && gnutls_x509_crt_get_subject_key_id(by, id, &id_len, &critical) >= 0)
        rc = gnutls_x509_crt_set_authority_key_id(crt, id, id_len);
    return rc < 0 ? rc : fill_ca(crt);
}

static int
copy_subject(gnutls_x509_crt_t crt, gnutls_x509_crt_t ca)
{
    auto_pubkey pub = NULL;
    auto_datum dn = {0};
    int rc = gnutls_pubkey_init(&pub);

    if (rc >= 0)
        rc = gnutls_pubkey_import_x509(pub, ca, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_set_pubkey(crt, pub);
    if (rc >= 0)
        rc = gnutls_x509_crt_get_dn3(ca, &dn, 0);
    return rc < 0 ? rc : gnutls_x509_crt_set_dn(crt, (const char *)dn.data, NULL);
}

int
pki_vouch(const struct pki_pair *by, const char *ca_pem, struct str *out, struct error *e)
{
    auto_crt by_crt = NULL;
    auto_crt ca = NULL;
    auto_crt crt = NULL;
    auto_key key = NULL;
    auto_datum pem = {0};
    int rc = import(by->cert.ptr, &by_crt);

    if (rc >= 0)
        rc = import_key(by->key.ptr, &key);
    if (rc >= 0)
        rc = import(ca_pem, &ca);
    if (rc < 0)
        return tls_error(e, rc, "read the certificate authorities");
    rc = gnutls_x509_crt_init(&crt);
    if (rc >= 0)
        rc = copy_subject(crt, ca);
    if (rc >= 0)
        rc = fill_vouched(crt, ca, by_crt);
    if (rc >= 0)
        rc = gnutls_x509_crt_sign2(crt, by_crt, key, GNUTLS_DIG_SHA256, 0);
    if (rc >= 0)
        rc = gnutls_x509_crt_export2(crt, GNUTLS_X509_FMT_PEM, &pem);
    if (rc < 0)
        return tls_error(e, rc, "vouch for a certificate authority");
    str_add(out, pem.data, pem.size);
    return out->toobig ? error_set(e, ERR_TOO_LARGE, "certificate authority") : 0;
}

/* --- looking at -----------------------------------------------------------------------
 */

int
pki_expiry(const char *cert_pem, int64_t *ret_unix, struct error *e)
{
    auto_crt crt = NULL;
    int rc = import(cert_pem, &crt);

    if (rc < 0)
        return error_set(e, ERR_BAD_REQUEST, "not a certificate: %s",
                         gnutls_strerror(rc));
    time_t t = gnutls_x509_crt_get_expiration_time(crt);
    if (t == (time_t)-1)
        return error_set(e, ERR_BAD_REQUEST, "certificate without an expiry");
    *ret_unix = (int64_t)t;
    return 0;
}

int
pki_check(const char *cert_pem, const char *key_pem, const char *client_ca_pem,
          struct error *e)
{
    gnutls_certificate_credentials_t cred = NULL;
    gnutls_datum_t cert = datum_of(cert_pem);
    gnutls_datum_t key = datum_of(key_pem);
    int rc = gnutls_certificate_allocate_credentials(&cred);

    if (rc < 0)
        return tls_error(e, rc, "check a certificate");
    rc = gnutls_certificate_set_x509_key_mem2(cred, &cert, &key, GNUTLS_X509_FMT_PEM,
                                              NULL, 0);
    if (rc < 0)
        error_set(e, ERR_BAD_REQUEST, "the certificate and its key: %s",
                  gnutls_strerror(rc));
    if (rc >= 0 && client_ca_pem != NULL) {
        gnutls_datum_t ca = datum_of(client_ca_pem);
        rc = gnutls_certificate_set_x509_trust_mem(cred, &ca, GNUTLS_X509_FMT_PEM);
        if (rc <= 0) /* it is how many there were */
            rc = error_set(e, ERR_BAD_REQUEST, "the client CA: %s",
                           rc == 0 ? "no certificate in it" : gnutls_strerror(rc));
    }
    gnutls_certificate_free_credentials(cred);
    return rc < 0 ? -(int)e->code : 0;
}

bool
pki_covers(const char *cert_pem, const char *name)
{
    auto_crt crt = NULL;

    return import(cert_pem, &crt) >= 0 && gnutls_x509_crt_check_hostname(crt, name) != 0;
}

int
pki_ca_hash(const char *cert_pem, char out[80], struct error *e)
{
    auto_crt crt = NULL;
    auto_pubkey pub = NULL;
    auto_datum der = {0};
    unsigned char digest[32];
    int rc = import(cert_pem, &crt);

    if (rc < 0)
        return error_set(e, ERR_BAD_REQUEST, "not a certificate: %s",
                         gnutls_strerror(rc));
    rc = gnutls_pubkey_init(&pub);
    if (rc >= 0)
        rc = gnutls_pubkey_import_x509(pub, crt, 0);
    if (rc >= 0)
        rc = gnutls_pubkey_export2(pub, GNUTLS_X509_FMT_DER, &der);
    if (rc >= 0)
        rc = gnutls_hash_fast(GNUTLS_DIG_SHA256, der.data, der.size, digest);
    if (rc < 0)
        return tls_error(e, rc, "hash the certificate's key");
    auto_str text = STR_INIT(79);
    str_adds(&text, "sha256:");
    id_hex(digest, sizeof(digest), &text);
    memcpy(out, text.ptr, text.len + 1);
    return 0;
}

/* --- fetching -------------------------------------------------------------------------
 */

/* Waits for an event until the deadline; false when it passed. */
static bool
wait_fd(int fd, short events, int64_t deadline)
{
    for (;;) {
        struct pollfd p = {.fd = fd, .events = events};
        int64_t left = deadline - clock_now_ms();
        if (left <= 0)
            return false;
        int n = poll(&p, 1, left > INT32_MAX ? INT32_MAX : (int)left);
        if (n > 0)
            return true;
        if (n == 0 || errno != EINTR)
            return false;
    }
}

static int
connect_one(const struct addrinfo *ai, int64_t deadline)
{
    autoclose int fd =
        socket(ai->ai_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    int sys = 0;
    socklen_t len = sizeof(sys);

    if (fd < 0)
        return -1;
    if (connect(fd, ai->ai_addr, ai->ai_addrlen) == 0)
        return move_fd(fd);
    if (errno != EINPROGRESS)
        return -1;
    if (!wait_fd(fd, POLLOUT, deadline)) {
        errno = ETIMEDOUT;
        return -1;
    }
    if (getsockopt(fd, SOL_SOCKET, SO_ERROR, &sys, &len) < 0 || sys != 0) {
        errno = sys;
        return -1;
    }
    return move_fd(fd);
}

static int
connect_host(const char *host, uint16_t port, int64_t deadline, int *ret_fd,
             struct error *e)
{
    struct addrinfo hints = {
        .ai_family = AF_UNSPEC, .ai_socktype = SOCK_STREAM, .ai_flags = AI_NUMERICSERV};
    struct addrinfo *all = NULL;
    char service[8];
    int fd = -1;

    snprintf(service, sizeof(service), "%u", port);
    int rc = getaddrinfo(host, service, &hints, &all);
    if (rc != 0)
        return error_set(e, ERR_UNAVAILABLE, "resolve %s: %s", host, gai_strerror(rc));
    for (const struct addrinfo *ai = all; ai != NULL && fd < 0; ai = ai->ai_next)
        fd = connect_one(ai, deadline);
    int sys = errno;
    freeaddrinfo(all);
    if (fd < 0)
        return error_errno(e, sys, "connect to %s port %u", host, port);
    *ret_fd = fd;
    return 0;
}

static int
handshake(gnutls_session_t session, int fd, int64_t deadline)
{
    for (;;) {
        int rc = gnutls_handshake(session);
        if (rc == 0 || gnutls_error_is_fatal(rc))
            return rc;
        if (rc != GNUTLS_E_AGAIN && rc != GNUTLS_E_INTERRUPTED)
            continue; /* a warning alert */
        bool writing = gnutls_record_get_direction(session) == 1;
        if (!wait_fd(fd, writing ? POLLOUT : POLLIN, deadline))
            return GNUTLS_E_TIMEDOUT;
    }
}

/* PEM of the last certificate that the peer has presented. */
static int
last_certificate(gnutls_session_t session, struct str *out, struct error *e)
{
    unsigned n = 0;
    const gnutls_datum_t *chain = gnutls_certificate_get_peers(session, &n);
    auto_datum pem = {0};

    if (chain == NULL || n == 0)
        return error_set(e, ERR_PROVIDER, "the server presented no certificate");
    int rc = gnutls_pem_base64_encode2("CERTIFICATE", &chain[n - 1], &pem);
    if (rc < 0)
        return tls_error(e, rc, "encode the certificate");
    str_add(out, pem.data, pem.size);
    return out->toobig ? error_set(e, ERR_TOO_LARGE, "certificate of the server") : 0;
}

static int
fetch(const char *host, int fd, int64_t deadline, struct str *out, struct error *e)
{
    gnutls_session_t session = NULL;
    gnutls_certificate_credentials_t cred = NULL;
    int rc = gnutls_init(&session, GNUTLS_CLIENT | GNUTLS_NONBLOCK | GNUTLS_NO_SIGNAL);

    if (rc >= 0)
        rc = gnutls_certificate_allocate_credentials(&cred);
    if (rc >= 0)
        rc = gnutls_set_default_priority(session);
    if (rc >= 0)
        rc = gnutls_credentials_set(session, GNUTLS_CRD_CERTIFICATE, cred);
    unsigned char ip[16];
    if (rc >= 0 && inet_pton(AF_INET, host, ip) != 1 &&
        inet_pton(AF_INET6, host, ip) != 1)
        rc = gnutls_server_name_set(session, GNUTLS_NAME_DNS, host, strlen(host));
    if (rc >= 0) {
        gnutls_transport_set_int(session, fd);
        rc = handshake(session, fd, deadline);
    }
    if (rc == GNUTLS_E_TIMEDOUT)
        rc = error_set(e, ERR_TIMEOUT, "TLS with %s: no answer in time", host);
    else if (rc < 0)
        rc = error_set(e, ERR_PROVIDER, "TLS with %s: %s", host, gnutls_strerror(rc));
    else
        rc = last_certificate(session, out, e);
    if (session != NULL)
        gnutls_deinit(session);
    if (cred != NULL)
        gnutls_certificate_free_credentials(cred);
    return rc;
}

int
pki_fetch_ca(const char *host, uint16_t port, int timeout_ms, struct str *ret_pem,
             struct error *e)
{
    int64_t deadline = clock_now_ms() + timeout_ms;
    autoclose int fd = -1;
    int rc = connect_host(host, port, deadline, &fd, e);

    return rc != 0 ? rc : fetch(host, fd, deadline, ret_pem, e);
}
