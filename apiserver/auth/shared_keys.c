/* SPDX-License-Identifier: Apache-2.0 */
/*
 * API servers that share a store must share their keys: a token that one signs the others
 * must accept, and clients trust one authority. The first server leaves the fingerprints
 * of its keys in the ConfigMap drover-system/drover-api-keys; one that has others does
 * not start.
 */
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "base/mem.h"

#define KEYS_NS "drover-system"
#define KEYS_NAME "drover-api-keys"

struct keys_check {
    struct auth *a;
    void (*done)(void *arg, const struct error *e);
    void *arg;
};

static void
end(struct keys_check *k, const struct error *e)
{
    k->done(k->arg, e);
    free(k);
}

static void
on_moved(void *arg, const struct write_result *r)
{
    end(arg, r->obj == NULL ? &r->problem->e : NULL);
}

static void
put(struct keys_check *k, enum write_type type, const char *name, struct span body,
    write_done_fn *done)
{
    struct api_server *s = k->a->server;
    struct write_req w = {.kind = kinds_by_resource(api_server_kinds(s), "configmaps"),
                          .type = type,
                          .ns = KEYS_NS,
                          .name = name,
                          .sub = "",
                          .body = body,
                          .internal = true};

    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    w.opt.manager_given = true;
    registry_write(s, &w, done, k);
}

/* A server that has rotated its key still knows the one that was left; the others must
 * now get the new one. */
static void
compare(struct keys_check *k, const struct object *o)
{
    const struct signer *signer = k->a->signer;
    auto_str body = STR_INIT(4096);
    struct error e = ERROR_INIT;
    char tokens[128];
    char ca[128];

    object_get_string(o, "data.tokens", tokens, sizeof(tokens));
    object_get_string(o, "data.ca", ca, sizeof(ca));
    if (!streq(ca, k->a->ca_hash) || !signer_knows(signer, tokens)) {
        error_set(&e, ERR_INVALID,
                  "this server's keys are not those of the servers that share its store: "
                  "copy keys/ (ca.crt, ca.key, tokens.key, secrets.keys) and admin.token "
                  "from the data directory of one of them (or, when all have new keys, "
                  "delete the ConfigMap " KEYS_NS "/" KEYS_NAME ")");
        end(k, &e);
    } else if (streq(tokens, signer_kid(signer))) {
        end(k, NULL);
    } else {
        str_addf(&body, "{\"data\":{\"tokens\":\"%s\"}}", signer_kid(signer));
        put(k, WRITE_MERGE, KEYS_NAME, (struct span){body.ptr, body.len}, on_moved);
    }
}

static void
on_written(void *arg, const struct write_result *r)
{
    struct keys_check *k = arg;
    struct store_key key = {"configmaps", KEYS_NS, KEYS_NAME};
    const struct object *o = store_get(api_server_store(k->a->server), &key);

    if (r->obj == NULL && r->problem->e.code != ERR_EXISTS)
        end(k, &r->problem->e);
    else if (o != NULL)
        compare(k, o);
    else
        end(k, NULL);
}

void
auth_check_keys(struct auth *a, void (*done)(void *arg, const struct error *e), void *arg)
{
    auto_str body = STR_INIT(4096);

    if (!store_is_shared(api_server_store(a->server))) {
        done(arg, NULL);
        return;
    }
    struct keys_check *k = xnew(struct keys_check);
    *k = (struct keys_check){a, done, arg};
    str_adds(&body, "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"metadata\":{"
                    "\"name\":\"" KEYS_NAME "\"},\"data\":{");
    jput_member(&body, "ca", a->ca_hash);
    jput_member(&body, "tokens", signer_kid(a->signer));
    str_adds(&body, "}}");
    put(k, WRITE_CREATE, "", (struct span){body.ptr, body.len}, on_written);
}
