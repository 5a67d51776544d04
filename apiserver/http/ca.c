/* SPDX-License-Identifier: Apache-2.0 */
/* Makes, keeps and exchanges the certificate authority. */
#include "apiserver/http/ca.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(tls);

enum { PEM_MAX = 64 * 1024, CA_DAYS = 3650 };

#define NEXT "ca.next"
#define CHAIN "ca-chain.crt"
static const char begin[] = "-----BEGIN CERTIFICATE-----";

void
ca_init(struct ca *c)
{
    str_init(&c->pair.cert, PEM_MAX);
    str_init(&c->pair.key, PEM_MAX);
    str_init(&c->chain, PEM_MAX);
}

void
ca_done(struct ca *c)
{
    str_done(&c->pair.cert);
    str_done(&c->pair.key);
    str_done(&c->chain);
}

static int
read_file(const char *dir, const char *name, struct str *out, struct error *e)
{
    autofree char *path = fs_join(dir, name);

    str_reset(out);
    return fs_read(path, out, e);
}

static int
write_file(const char *dir, const char *name, const char *text, size_t n, struct error *e)
{
    autofree char *path = fs_join(dir, name);

    return fs_write_atomic(path, text, n, 0600, e);
}

static int
remove_file(const char *dir, const char *name, struct error *e)
{
    autofree char *path = fs_join(dir, name);

    if (unlink(path) != 0 && errno != ENOENT)
        return error_errno(e, errno, "%s", path);
    return 0;
}

/* --- changes of several files: written down in one, then done, maybe twice --- */

/* "<file> <bytes>\n" and the bytes; 0: the file is removed. */
static void
plan(struct str *out, const char *file, const char *text, size_t n)
{
    str_addf(out, "%s %zu\n", file, n);
    str_add(out, text, n);
}

static int
carry_out(const char *dir, const struct str *plan, struct error *e)
{
    const char *p = plan->ptr, *end = plan->ptr + plan->len;
    int rc = 0;

    while (rc == 0 && p < end) {
        char name[32] = "";
        char *after = NULL;
        const char *space = memchr(p, ' ', (size_t)(end - p));
        if (space == NULL || (size_t)(space - p) >= sizeof(name))
            return error_set(e, ERR_CORRUPT, "%s/" NEXT " is damaged", dir);
        memcpy(name, p, (size_t)(space - p));
        size_t n = strtoul(space + 1, &after, 10);
        if (*after != '\n' || n > (size_t)(end - after) - 1)
            return error_set(e, ERR_CORRUPT, "%s/" NEXT " is damaged", dir);
        p = after + 1;
        rc = n == 0 ? remove_file(dir, name, e) : write_file(dir, name, p, n, e);
        p += n;
    }
    return rc < 0 ? rc : remove_file(dir, NEXT, e);
}

/* What was planned and not carried out. */
static int
finish(const char *dir, struct error *e)
{
    auto_str plan = STR_INIT(4 * PEM_MAX);
    int rc = read_file(dir, NEXT, &plan, e);

    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        return 0;
    }
    return rc < 0 ? rc : carry_out(dir, &plan, e);
}

static int
change(const char *dir, const struct ca *c, struct error *e)
{
    auto_str all = STR_INIT(4 * PEM_MAX);

    plan(&all, "ca.key", c->pair.key.ptr, c->pair.key.len);
    plan(&all, "ca.crt", c->pair.cert.ptr, c->pair.cert.len);
    plan(&all, CHAIN, c->chain.len == 0 ? "" : c->chain.ptr, c->chain.len);
    plan(&all, "server.crt", "", 0); /* made anew at the next start */
    plan(&all, "server.key", "", 0);
    int rc = write_file(dir, NEXT, all.ptr, all.len, e);
    return rc < 0 ? rc : carry_out(dir, &all, e);
}

/* --- the authority --- */

static int
make(const char *dir, struct ca *c, struct error *e)
{
    int rc = pki_make_ca("drover", CA_DAYS, &c->pair, e);

    if (rc == 0)
        rc = write_file(dir, "ca.key", c->pair.key.ptr, c->pair.key.len, e);
    if (rc == 0)
        rc = write_file(dir, "ca.crt", c->pair.cert.ptr, c->pair.cert.len, e);
    if (rc == 0)
        log_info("made a certificate authority", "dir=%s", dir);
    return rc;
}

static int
load(const char *dir, struct ca *c, struct error *e)
{
    int rc = finish(dir, e);

    if (rc == 0)
        rc = read_file(dir, "ca.crt", &c->pair.cert, e);
    if (rc == 0)
        rc = read_file(dir, "ca.key", &c->pair.key, e);
    if (rc < 0)
        return rc;
    rc = read_file(dir, CHAIN, &c->chain, e);
    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        rc = 0;
    }
    return rc;
}

int
ca_open(const char *dir, struct ca *ret, struct error *e)
{
    int rc = load(dir, ret, e);

    if (rc < 0 && e->code == ERR_NOT_FOUND) {
        *e = ERROR_INIT;
        ca_done(ret);
        ca_init(ret);
        rc = make(dir, ret, e);
    }
    if (rc < 0)
        return rc;
    if (ret->chain.len == 0) /* what a server presents ends with its CA */
        str_add(&ret->chain, ret->pair.cert.ptr, ret->pair.cert.len);
    return 0;
}

static int
exchange(const char *dir, const struct ca *old, struct ca *now, struct error *e)
{
    int rc;

    if (old->chain.len > 0)
        return error_set(e, ERR_CONFLICT,
                         "the last exchange is not over: clients may still trust the CA "
                         "before this one (retire-ca ends it)");
    /* The name tells them apart for who reads a certificate. */
    autofree char *name =
        xasprintf("drover %lld", (long long)(clock_wall_ns() / 1000000000));
    if ((rc = pki_make_ca(name, CA_DAYS, &now->pair, e)) < 0 ||
        (rc = pki_vouch(&old->pair, now->pair.cert.ptr, &now->chain, e)) < 0)
        return rc;
    /* In this order: OpenSSL takes the first that fits, and the last is the CA. */
    str_add(&now->chain, now->pair.cert.ptr, now->pair.cert.len);
    str_add(&now->pair.cert, old->pair.cert.ptr, old->pair.cert.len);
    return change(dir, now, e);
}

int
ca_rotate(const char *dir, struct error *e)
{
    struct ca old, now;

    ca_init(&old);
    ca_init(&now);
    int rc = load(dir, &old, e);
    if (rc == 0)
        rc = exchange(dir, &old, &now, e);
    ca_done(&old);
    ca_done(&now);
    return rc;
}

int
ca_retire(const char *dir, struct error *e)
{
    struct ca c;

    ca_init(&c);
    int rc = load(dir, &c, e);
    const char *second = rc < 0 ? NULL : strstr(c.pair.cert.ptr + 1, begin);
    if (rc == 0 && c.chain.len == 0)
        rc = error_set(e, ERR_NOT_FOUND, "there is no old CA beside the present one");
    if (rc == 0) {
        str_reset(&c.chain);
        if (second != NULL)
            str_truncate(&c.pair.cert, (size_t)(second - c.pair.cert.ptr));
        rc = change(dir, &c, e);
    }
    ca_done(&c);
    return rc;
}
