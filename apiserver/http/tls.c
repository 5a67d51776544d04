/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, keeps and rotates the CA and the server certificate. */
#include "apiserver/http/tls.h"

#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "apiserver/http/ca.h"
#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/vec.h"

LOG_MODULE(tls);

enum {
    PEM_MAX = 64 * 1024,
    CA_WARN_DAYS = 180,
    NAMES_MAX = 60,
    LONGEST_WAIT_S = 12 * 3600, /* the wall clock may have been set meanwhile */
    RETRY_S = 60,
};

struct tls {
    char *dir;
    int64_t lifetime_s;
    vec(char *) names;
    bool own;
    struct ca ca; /* own: with its key */
    char ca_hash[80];
    struct tls_files *files;
    struct loop_timer *timer;
};

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

static int64_t
now_s(void)
{
    return clock_wall_ns() / 1000000000;
}

/* Seconds that are left of it. */
static int64_t
left_of(const char *pem)
{
    struct error e = ERROR_INIT;
    int64_t until = 0;

    return pki_expiry(pem, &until, &e) < 0 ? 0 : until - now_s();
}

/* It is ours, whole, lives long enough, not longer than is wanted now, and has all names.
 */
static bool
still_good(const struct tls *t, const struct pki_pair *p)
{
    struct error e = ERROR_INIT;
    int64_t left = left_of(p->cert.ptr);

    if (left <= t->lifetime_s / 3 || left > t->lifetime_s + RETRY_S ||
        pki_check(p->cert.ptr, p->key.ptr, NULL, &e) < 0)
        return false;
    vec_foreach (name, &t->names) {
        if (!pki_covers(p->cert.ptr, *name))
            return false;
    }
    return true;
}

static int
make_server(struct tls *t, struct error *e)
{
    const char *names[NAMES_MAX + 1] = {NULL};
    struct pki_pair made;

    for (size_t i = 0; i < t->names.len; i++)
        names[i] = t->names.items[i];
    pair_init(&made);
    /* The chain begins with the CA, as itself or as an older one vouches for it. */
    struct pki_pair by = {.cert = t->ca.chain, .key = t->ca.pair.key};
    int rc = pki_make_server_for(&by, "drover-apiserver", names, t->lifetime_s, &made, e);
    if (rc == 0)
        rc = write_pair(t->dir, "server", &made, e);
    if (rc == 0)
        log_info("made a server certificate", "dir=%s seconds=%lld", t->dir,
                 (long long)t->lifetime_s);
    pair_done(&made);
    return rc;
}

static int
ensure_server(struct tls *t, struct error *e)
{
    struct pki_pair server;

    pair_init(&server);
    int rc = read_pair(t->dir, "server", &server, e);
    bool good = rc == 0 && still_good(t, &server);
    pair_done(&server);
    if (good)
        return 0;
    if (rc < 0 && e->code != ERR_NOT_FOUND)
        return rc;
    *e = ERROR_INIT;
    return make_server(t, e);
}

/* --- rotation
 * ----------------------------------------------------------------------------- */

static void
arm(struct tls *t, int64_t in_s)
{
    if (in_s > LONGEST_WAIT_S)
        in_s = LONGEST_WAIT_S;
    loop_timer_in(t->timer, in_s < 1 ? 1000 : in_s * 1000);
}

static void
on_timer(void *arg)
{
    struct tls *t = arg;
    struct error e = ERROR_INIT;
    int64_t due = left_of(tls_files_cert(t->files)) - t->lifetime_s / 3;

    if (left_of(t->ca.pair.cert.ptr) < (int64_t)CA_WARN_DAYS * 86400)
        log_warn("the certificate authority expires soon", "dir=%s", t->dir);
    if (due > 0) {
        arm(t, due);
        return;
    }
    if (make_server(t, &e) == 0 && tls_files_look(t->files)) {
        arm(t, t->lifetime_s - t->lifetime_s / 3);
        return;
    }
    log_err("the server certificate cannot be renewed", "dir=%s error=\"%s\"", t->dir,
            e.msg);
    arm(t, RETRY_S);
}

/* --- life
 * --------------------------------------------------------------------------------- */

static void
add_name(struct tls *t, const char *name, size_t n)
{
    if (n > 0 && t->names.len < NAMES_MAX)
        vec_push(&t->names, xstrndup(name, n));
}

static void
collect_names(struct tls *t, const char *more)
{
    static const char *const local[] = {
        "localhost",         "127.0.0.1",          "::1",
        "kubernetes",        "kubernetes.default", "kubernetes.default.svc",
        "drover.default.svc"};
    char host[256] = "";

    for (size_t i = 0; i < ARRAY_LEN(local); i++)
        add_name(t, local[i], strlen(local[i]));
    if (gethostname(host, sizeof(host) - 1) == 0)
        add_name(t, host, strlen(host));
    while (more != NULL && *more != '\0') {
        size_t n = strcspn(more, ", ");
        add_name(t, more, n);
        more += n + (more[n] != '\0');
    }
}

static int
open_own(struct tls *t, const struct tls_opts *o, struct error *e)
{
    autofree char *cert = fs_join(o->dir, "server.crt");
    autofree char *key = fs_join(o->dir, "server.key");
    struct tls_files_opts fo = {o->loop, cert, key, o->client_ca};

    t->own = true;
    collect_names(t, o->names);
    if (fs_mkdirs(o->dir, 0700, e) < 0 || ca_open(o->dir, &t->ca, e) < 0 ||
        ensure_server(t, e) < 0 || tls_files_open(&fo, &t->files, e) < 0)
        return -(int)e->code;
    t->timer = loop_timer_new(o->loop, "tls-rotate", on_timer, t);
    arm(t, left_of(tls_files_cert(t->files)) - t->lifetime_s / 3);
    return 0;
}

static int
open_given(struct tls *t, const struct tls_opts *o, struct error *e)
{
    static const char mark[] = "-----BEGIN CERTIFICATE-----";
    struct tls_files_opts fo = {o->loop, o->cert, o->key, o->client_ca};

    if (tls_files_open(&fo, &t->files, e) < 0)
        return -(int)e->code;
    if (o->ca != NULL)
        return fs_read(o->ca, &t->ca.pair.cert, e);
    const char *last = tls_files_cert(t->files), *p = last;
    while ((p = strstr(p, mark)) != NULL)
        last = p++;
    str_adds(&t->ca.pair.cert, last);
    return 0;
}

int
tls_open(const struct tls_opts *o, struct tls **ret, struct error *e)
{
    struct tls *t = xnew(struct tls);

    t->dir = xstrdup(o->dir);
    t->lifetime_s = o->lifetime_s;
    ca_init(&t->ca);
    int rc = o->cert == NULL ? open_own(t, o, e) : open_given(t, o, e);
    if (rc == 0)
        rc = pki_ca_hash(t->ca.pair.cert.ptr, t->ca_hash, e);
    if (rc < 0) {
        tls_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void
tls_free(struct tls *t)
{
    if (t == NULL)
        return;
    loop_timer_free(t->timer);
    tls_files_free(t->files);
    ca_done(&t->ca);
    vec_foreach (name, &t->names) {
        free(*name);
    }
    vec_done(&t->names);
    free(t->dir);
    free(t);
}

struct tls_files *
tls_served(const struct tls *t)
{
    return t->files;
}

const char *
tls_ca(const struct tls *t)
{
    return t->ca.pair.cert.ptr;
}

const char *
tls_ca_hash(const struct tls *t)
{
    return t->ca_hash;
}

int64_t
tls_expiry(const struct tls *t)
{
    return now_s() + left_of(tls_files_cert(t->files));
}
