/* SPDX-License-Identifier: Apache-2.0 */
/* A server's certificate in files. */
#include "io/tls_files.h"

#include <libgen.h>
#include <stdlib.h>
#include <sys/inotify.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/pki.h"

LOG_MODULE(tls);

enum { PEM_MAX = 1 << 20, N_FILES = 3, SETTLE_MS = 100 };

struct tls_files {
    char *path[N_FILES]; /* certificate, key, client CA (NULL: none) */
    struct str pem[N_FILES];
    struct loop_watch *watch[N_FILES];
    struct loop_timer *settle;
    struct http_server *server;
    uint64_t reloads, refusals;
};

static int
read_all(const struct tls_files *t, struct str pem[N_FILES], struct error *e)
{
    for (size_t i = 0; i < N_FILES; i++) {
        if (t->path[i] != NULL && fs_read(t->path[i], &pem[i], e) < 0)
            return -(int)e->code;
    }
    if (pki_check(pem[0].ptr, pem[1].ptr, t->path[2] == NULL ? NULL : pem[2].ptr, e) < 0)
        return error_prepend(e, "%s", t->path[0]);
    return 0;
}

static bool
same(const struct str *a, const struct str *b)
{
    return a->len == b->len && memcmp(a->ptr, b->ptr, a->len) == 0;
}

static int
use(struct tls_files *t, struct str pem[N_FILES], struct error *e)
{
    if (t->server != NULL &&
        http_server_set_tls(t->server, pem[0].ptr, pem[1].ptr,
                            t->path[2] == NULL ? NULL : pem[2].ptr, e) < 0)
        return -(int)e->code;
    for (size_t i = 0; i < N_FILES; i++) {
        str_done(&t->pem[i]);
        t->pem[i] = pem[i];
        str_init(&pem[i], PEM_MAX);
    }
    return 0;
}

bool
tls_files_look(struct tls_files *t)
{
    struct str pem[N_FILES];
    struct error e = ERROR_INIT;
    bool taken = false;

    for (size_t i = 0; i < N_FILES; i++)
        str_init(&pem[i], PEM_MAX);
    int rc = read_all(t, pem, &e);
    bool news = rc < 0 || !same(&pem[0], &t->pem[0]) || !same(&pem[1], &t->pem[1]) ||
                !same(&pem[2], &t->pem[2]);
    if (rc == 0 && news)
        rc = use(t, pem, &e);
    if (rc < 0) {
        t->refusals++;
        log_warn("a changed certificate is not used", "error=\"%s\"", e.msg);
    } else if (news) {
        t->reloads++;
        taken = true;
        log_info("certificate reloaded", "cert=%s", t->path[0]);
    }
    for (size_t i = 0; i < N_FILES; i++)
        str_done(&pem[i]);
    return taken;
}

static void
on_settled(void *arg)
{
    tls_files_look(arg);
}

static void
on_change(void *arg, uint32_t mask, const char *name)
{
    struct tls_files *t = arg;

    UNUSED(mask);
    UNUSED(name); /* it may be a link's target that changed */
    loop_timer_in(t->settle, SETTLE_MS);
}

/* The directory: a file is replaced by a rename, and a mounted secret by one beside it.
 */
static int
watch(struct tls_files *t, struct loop *l, size_t i, struct error *e)
{
    autofree char *copy = xstrdup(t->path[i]);

    return loop_watch_add(l, dirname(copy), IN_CLOSE_WRITE | IN_MOVED_TO | IN_CREATE,
                          on_change, t, &t->watch[i], e);
}

int
tls_files_open(const struct tls_files_opts *o, struct tls_files **ret, struct error *e)
{
    struct tls_files *t = xnew(struct tls_files);
    const char *paths[N_FILES] = {o->cert, o->key, o->client_ca};
    int rc = 0;

    t->settle = loop_timer_new(o->loop, "tls-files", on_settled, t);
    for (size_t i = 0; i < N_FILES; i++) {
        str_init(&t->pem[i], PEM_MAX);
        t->path[i] = paths[i] == NULL ? NULL : xstrdup(paths[i]);
    }
    for (size_t i = 0; i < N_FILES && rc == 0; i++)
        rc = paths[i] == NULL ? 0 : watch(t, o->loop, i, e);
    if (rc == 0)
        rc = read_all(t, t->pem, e);
    if (rc < 0) {
        tls_files_free(t);
        return rc;
    }
    *ret = t;
    return 0;
}

void
tls_files_free(struct tls_files *t)
{
    if (t == NULL)
        return;
    loop_timer_free(t->settle);
    for (size_t i = 0; i < N_FILES; i++) {
        if (t->watch[i] != NULL)
            loop_watch_free(t->watch[i]);
        str_done(&t->pem[i]);
        free(t->path[i]);
    }
    free(t);
}

const char *
tls_files_cert(const struct tls_files *t)
{
    return t->pem[0].ptr;
}

const char *
tls_files_key(const struct tls_files *t)
{
    return t->pem[1].ptr;
}

const char *
tls_files_client_ca(const struct tls_files *t)
{
    return t->path[2] == NULL ? NULL : t->pem[2].ptr;
}

void
tls_files_serve(struct tls_files *t, struct http_server *s)
{
    t->server = s;
}

uint64_t
tls_files_reloads(const struct tls_files *t)
{
    return t->reloads;
}

uint64_t
tls_files_refusals(const struct tls_files *t)
{
    return t->refusals;
}
