/* SPDX-License-Identifier: Apache-2.0 */
/* Reads or makes the CA and the server certificate. */
#include "apiserver/http/tls.h"

#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/pki.h"

LOG_MODULE(tls);

enum { PEM_MAX = 64 * 1024, CA_DAYS = 3650, SERVER_DAYS = 365, RENEW_DAYS = 30 };

static int
read_pair(const char *dir, const char *name, struct pki_pair *ret, struct error *e)
{
    autofree char *cert = xasprintf("%s/%s.crt", dir, name);
    autofree char *key = xasprintf("%s/%s.key", dir, name);
    int rc = fs_read(cert, &ret->cert, e);

    return rc < 0 ? rc : fs_read(key, &ret->key, e);
}

static int
write_pair(const char *dir, const char *name, const struct pki_pair *p, struct error *e)
{
    autofree char *cert = xasprintf("%s/%s.crt", dir, name);
    autofree char *key = xasprintf("%s/%s.key", dir, name);
    int rc = fs_write_atomic(key, p->key.ptr, p->key.len, 0600, e);

    return rc < 0 ? rc : fs_write_atomic(cert, p->cert.ptr, p->cert.len, 0600, e);
}

static void
pair_init(struct pki_pair *p)
{
    str_init(&p->cert, PEM_MAX);
    str_init(&p->key, PEM_MAX);
}

static void
pair_done(struct pki_pair *p)
{
    str_done(&p->cert);
    str_done(&p->key);
}

static int
load_ca(const char *dir, struct pki_pair *ca, struct error *e)
{
    int rc = read_pair(dir, "ca", ca, e);

    if (rc == 0 || e->code != ERR_NOT_FOUND)
        return rc;
    *e = ERROR_INIT;
    pair_done(ca);
    rc = pki_make_ca("drover", CA_DAYS, ca, e);
    if (rc == 0)
        rc = write_pair(dir, "ca", ca, e);
    if (rc == 0)
        log_info("made a certificate authority", "dir=%s", dir);
    return rc;
}

static bool
still_good(const struct pki_pair *p)
{
    struct error e = ERROR_INIT;
    int64_t until;

    return pki_expiry(p->cert.ptr, &until, &e) == 0 &&
           until - clock_wall_ns() / 1000000000 > (int64_t)RENEW_DAYS * 24 * 3600;
}

static int
load_server(const char *dir, const struct pki_pair *ca, struct pki_pair *ret,
            struct error *e)
{
    char host[256] = "";
    const char *names[] = {"localhost", "127.0.0.1", "::1", host, NULL};

    int rc = read_pair(dir, "server", ret, e);
    if (rc == 0 && still_good(ret))
        return 0;
    if (rc < 0 && e->code != ERR_NOT_FOUND)
        return rc;
    *e = ERROR_INIT;
    pair_done(ret);
    if (gethostname(host, sizeof(host) - 1) != 0 || host[0] == '\0')
        names[3] = NULL;
    rc = pki_make_server(ca, "drover-apiserver", names, SERVER_DAYS, ret, e);
    if (rc == 0)
        rc = write_pair(dir, "server", ret, e);
    if (rc == 0)
        log_info("made a server certificate", "dir=%s", dir);
    return rc;
}

int
tls_load(const char *dir, struct tls_files *ret, struct error *e)
{
    struct pki_pair ca, server;
    struct tls_files t = {0};

    pair_init(&ca);
    pair_init(&server);
    int rc = fs_mkdirs(dir, 0700, e);
    if (rc == 0)
        rc = load_ca(dir, &ca, e);
    if (rc == 0)
        rc = load_server(dir, &ca, &server, e);
    if (rc == 0)
        rc = pki_ca_hash(ca.cert.ptr, t.ca_hash, e);
    if (rc == 0) {
        t.ca_cert = ca.cert;
        t.cert = server.cert;
        t.key = server.key;
        str_init(&ca.cert, 0);
        str_init(&server.cert, 0);
        str_init(&server.key, 0);
        *ret = t;
    }
    pair_done(&ca);
    pair_done(&server);
    return rc;
}

void
tls_done(struct tls_files *t)
{
    str_done(&t->ca_cert);
    str_done(&t->cert);
    str_done(&t->key);
}
