/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A new key for signing tokens while the server runs: on command, and by age. The file is
 * written on the pool, so that the loop does not wait for the disk; then the new key
 * signs, and the old one verifies for as long as its tokens may live.
 */
#include <stdlib.h>

#include "apiserver/auth/auth_internal.h"
#include "base/clock.h"
#include "base/log.h"

LOG_MODULE(auth);

enum { LOOK_MS = 12 * 3600 * 1000 }; /* the wall clock may be set meanwhile */

struct rotation {
    struct auth *auth;
    const struct signer *now; /* borrowed; it does not change meanwhile */
    struct signer *next;
    bool reload;
    struct error e;
    auth_keys_fn *done;
    void *arg;
};

static void
work(void *arg)
{
    struct rotation *r = arg;

    int rc =
        r->reload ? signer_read(r->now, &r->next, &r->e) : signer_write(r->next, &r->e);
    bug_if(rc < 0 && r->e.code == ERR_OK);
}

/* The ConfigMap of servers that share the store follows. */
static void
on_shared(void *arg, const struct error *e)
{
    UNUSED(arg);
    if (e != NULL)
        log_warn("the other servers are not told of the new key", "error=\"%s\"", e->msg);
}

static void
on_done(void *arg)
{
    struct rotation *r = arg;
    struct auth *a = r->auth;
    bool failed = r->e.code != ERR_OK;

    a->rotating = false;
    if (failed) {
        log_warn("the keys of tokens stay as they are", "error=\"%s\"", r->e.msg);
        signer_free(r->next);
    } else {
        signer_free(a->signer);
        a->signer = r->next;
        log_info(r->reload ? "read the keys of tokens" : "took a new key for tokens",
                 "kid=%s", signer_kid(a->signer));
        auth_check_keys(a, on_shared, a);
    }
    r->done(r->arg, signer_kid(a->signer), failed ? &r->e : NULL);
    free(r);
}

static void
change(struct auth *a, bool reload, auth_keys_fn *done, void *arg)
{
    struct loop_pool *pool = api_server_pool(a->server);
    struct error e = ERROR_INIT;

    if (a->rotating) {
        error_set(&e, ERR_CONFLICT, "the keys are being changed already");
        done(arg, signer_kid(a->signer), &e);
        return;
    }
    a->rotating = true;
    struct rotation *r = xnew(struct rotation);
    *r = (struct rotation){.auth = a,
                           .now = a->signer,
                           .reload = reload,
                           .e = ERROR_INIT,
                           .done = done,
                           .arg = arg};
    if (!reload)
        r->next = signer_rotated(a->signer, clock_wall_ns() / 1000000000);
    if (pool != NULL) {
        loop_pool_run(pool, work, on_done, r);
        return;
    }
    work(r);
    on_done(r);
}

void
auth_rotate_keys(struct auth *a, auth_keys_fn *done, void *arg)
{
    change(a, false, done, arg);
}

void
auth_reload_keys(struct auth *a, auth_keys_fn *done, void *arg)
{
    change(a, true, done, arg);
}

void
auth_list_keys(const struct auth *a, struct str *out)
{
    signer_list(a->signer, out);
}

static void
on_aged(void *arg, const char *kid, const struct error *e)
{
    UNUSED(arg);
    UNUSED(kid);
    UNUSED(e); /* logged */
}

static void
on_timer(void *arg)
{
    struct auth *a = arg;

    if (signer_is_old(a->signer))
        auth_rotate_keys(a, on_aged, NULL);
    loop_timer_in(a->key_age, LOOK_MS);
}

void
rotation_start(struct auth *a)
{
    struct api_server *s = a->server;

    /* The others would not know the key. */
    if (store_is_shared(api_server_store(s)))
        return;
    a->key_age = loop_timer_new(api_server_loop(s), "token-key", on_timer, a);
    loop_timer_in(a->key_age, LOOK_MS);
}
