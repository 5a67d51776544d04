/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Getting and keeping an identity. The first time: the server's CA is checked against the
 * hash (or read from a file), the join token is exchanged for an Instance and a token of
 * its own. Afterwards the token is renewed at half of its life. A token that the server
 * does not accept any more is replaced by enrolling again, when there is a join token.
 */
#include <inttypes.h>
#include <string.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"
#include "io/pki.h"
#include "runner/agent.h"

LOG_MODULE(enrol);

#define RETRY_MIN_MS 500
#define RETRY_MAX_MS 30000
#define RENEW_MIN_MS 5000
#define RENEW_MAX_MS 300000
#define CA_TIMEOUT_MS 5000
#define TEXT_MAX (256 * 1024)

struct enrol {
    struct agent *a;
    void (*ready)(struct agent *a);
    bool was_ready, joining, fetching;
    struct server_call *call;
    struct loop_timer *retry, *renew;
    struct backoff backoff, renew_backoff;
    char *ca_pem; /* to be trusted once enrolled */
    /* the CA fetch, on a pool thread */
    struct str fetched;
    struct error fetch_error;
};

static void join_start(struct enrol *en);
static void renew_at_half_life(struct enrol *en);

static void
trim_end(struct str *s)
{
    while (s->len > 0 && strchr(" \t\r\n", s->ptr[s->len - 1]) != NULL)
        str_truncate(s, s->len - 1);
}

static int
join_token(const struct agent *a, struct str *out, struct error *e)
{
    if (a->opts->token != NULL) {
        str_adds(out, a->opts->token);
        return 0;
    }
    if (a->opts->token_file == NULL)
        return error_set(e, ERR_UNAUTHORIZED, "no join token was given");
    int r = fs_read(a->opts->token_file, out, e);
    if (r == 0)
        trim_end(out);
    return r;
}

/* What tells this machine from others for ever. */
static void
machine_id(const struct agent *a, const char *host, struct str *out)
{
    struct error e = ERROR_INIT;
    if (fs_read("/etc/machine-id", out, &e) < 0)
        str_reset(out);
    trim_end(out);
    str_addf(out, "-%s", a->opts->name != NULL ? a->opts->name : host);
}

static void
retry_or_give_up(struct enrol *en, const struct error *e)
{
    bool refused = e->code == ERR_UNAUTHORIZED || e->code == ERR_FORBIDDEN ||
                   e->code == ERR_NOT_FOUND || e->code == ERR_INVALID ||
                   e->code == ERR_BAD_REQUEST;
    en->joining = false;
    if (refused && !en->was_ready) {
        log_err("cannot enrol", "server=%s error=\"%s\"", en->a->identity.url, e->msg);
        loop_quit(en->a->loop, 1);
        return;
    }
    log_warn_rl("not enrolled yet", "server=%s error=\"%s\"", en->a->identity.url,
                e->msg);
    loop_timer_in(en->retry, backoff_next_ms(&en->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

/* --- the CA --------------------------------------------------------------------------
 */

static int
split_url(const char *url, char host[256], uint16_t *port, struct error *e)
{
    const char *p = strstr(url, "://");
    p = p != NULL ? p + 3 : url;
    size_t n = strcspn(p, "/");
    size_t h = n;
    *port = 443;
    for (size_t i = n; i > 0 && p[i - 1] != ']'; i--) {
        if (p[i - 1] == ':') {
            h = i - 1;
            *port = (uint16_t)strtoul(p + i, NULL, 10);
            break;
        }
    }
    if (h >= 2 && p[0] == '[' && p[h - 1] == ']') {
        p++;
        h -= 2;
    }
    if (h == 0 || h >= 256 || *port == 0)
        return error_set(e, ERR_INVALID, "\"%.200s\" is not a server URL", url);
    memcpy(host, p, h);
    host[h] = '\0';
    return 0;
}

static int
check_hash(const struct str *pem, const char *want, struct error *e)
{
    char got[80];
    int r = pki_ca_hash(pem->ptr, got, e);
    if (r < 0)
        return r;
    if (!streq(got, want))
        return error_set(e, ERR_FORBIDDEN,
                         "the server's CA has the hash %s, not the given one: it is "
                         "another server, or somebody is in between",
                         got);
    return 0;
}

static void
fetch_work(void *arg)
{
    struct enrol *en = arg;
    char host[256];
    uint16_t port;
    en->fetch_error = ERROR_INIT;
    str_reset(&en->fetched);
    if (split_url(en->a->identity.url, host, &port, &en->fetch_error) == 0 &&
        pki_fetch_ca(host, port, CA_TIMEOUT_MS, &en->fetched, &en->fetch_error) == 0 &&
        check_hash(&en->fetched, en->a->opts->ca_hash, &en->fetch_error) < 0)
        str_reset(&en->fetched);
}

static void
fetch_done(void *arg)
{
    struct enrol *en = arg;
    en->fetching = false;
    if (en->fetch_error.code != ERR_OK) {
        retry_or_give_up(en, &en->fetch_error);
        return;
    }
    free(en->ca_pem);
    en->ca_pem = xstrdup(en->fetched.ptr);
    join_start(en);
}

/* 1: there; 0: on its way; < 0: error. */
static int
need_ca(struct enrol *en, struct error *e)
{
    const struct agent_opts *o = en->a->opts;
    auto_str pem = STR_INIT(TEXT_MAX);
    if (en->ca_pem != NULL || !str_starts(en->a->identity.url, "https://"))
        return 1;
    if (o->ca_file != NULL) {
        int r = fs_read(o->ca_file, &pem, e);
        if (r < 0)
            return r;
        en->ca_pem = xstrdup(pem.ptr);
        return 1;
    }
    if (o->ca_hash == NULL)
        return error_set(e, ERR_INVALID,
                         "--ca-hash or --ca-file is needed to know the right server");
    en->fetching = true;
    loop_pool_run(en->a->pool, fetch_work, fetch_done, en);
    return 0;
}

/* --- joining -------------------------------------------------------------------------
 */

static const char *
text_at(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

static int
take_token(struct identity *id, const json_t *doc, struct error *e)
{
    const char *token = text_at(doc, "token");
    const char *expires = text_at(doc, "expiresAt");
    int64_t expires_ns;
    if (token == NULL || expires == NULL ||
        !clock_parse(expires, strlen(expires), &expires_ns))
        return error_set(e, ERR_PROVIDER, "the server's answer has no token");
    free(id->token);
    id->token = xstrdup(token);
    id->token_issued_ns = clock_wall_ns();
    id->token_expires_ns = expires_ns;
    return 0;
}

static int
take_identity(struct enrol *en, const json_t *doc, bool *ret_other, struct error *e)
{
    struct identity *id = &en->a->identity;
    const json_t *in = json_object_get(doc, "instance");
    if (text_at(in, "uid") == NULL || text_at(in, "name") == NULL ||
        text_at(in, "namespace") == NULL)
        return error_set(e, ERR_PROVIDER, "the server's answer names no instance");
    int r = take_token(id, doc, e);
    if (r < 0)
        return r;
    *ret_other = id->uid != NULL && !streq(id->uid, text_at(in, "uid"));
    free(id->uid);
    free(id->name);
    free(id->ns);
    id->uid = xstrdup(text_at(in, "uid"));
    id->name = xstrdup(text_at(in, "name"));
    id->ns = xstrdup(text_at(in, "namespace"));
    if (en->ca_pem != NULL) {
        free(id->ca_pem);
        id->ca_pem = xstrdup(en->ca_pem);
    }
    return identity_save(en->a->opts->dir, id, e);
}

static void
be_ready(struct enrol *en)
{
    struct identity *id = &en->a->identity;
    server_set(en->a->server, id->url, id->ca_pem, id->token);
    renew_at_half_life(en);
    if (en->was_ready)
        return;
    en->was_ready = true;
    en->ready(en->a);
}

static void
on_joined(void *arg, const struct server_reply *r)
{
    struct enrol *en = arg;
    struct error e = r->error;
    bool other = false;
    if (!server_ok(r) || take_identity(en, r->doc, &other, &e) < 0) {
        retry_or_give_up(en, &e);
        return;
    }
    en->joining = false;
    en->backoff.failures = 0;
    log_info("enrolled", "instance=%s namespace=%s uid=%s", en->a->identity.name,
             en->a->identity.ns, en->a->identity.uid);
    if (other) {
        /* Everything hangs on the uid; a fresh start is the safe way to take it. */
        log_warn("a new instance, starting again", "uid=%s", en->a->identity.uid);
        loop_quit(en->a->loop, 1);
        return;
    }
    be_ready(en);
}

static void
join_start(struct enrol *en)
{
    struct agent *a = en->a;
    struct error e = ERROR_INIT;
    auto_str token = STR_INIT(4096);
    auto_str machine = STR_INIT(4096);
    char host[256] = "machine";

    en->joining = true;
    if (join_token(a, &token, &e) < 0) {
        retry_or_give_up(en, &e);
        return;
    }
    int r = need_ca(en, &e);
    if (r < 0)
        retry_or_give_up(en, &e);
    if (r <= 0)
        return;
    gethostname(host, sizeof(host) - 1);
    machine_id(a, host, &machine);
    server_set(a->server, a->identity.url, en->ca_pem, NULL);
    json_t *body = json_pack("{s:s, s:s, s:s}", "hostname",
                             a->opts->name != NULL ? a->opts->name : host, "machineID",
                             machine.ptr, "journalID", journal_id(a->journal));
    struct server_request req = {.method = "POST",
                                 .path = "/enroll",
                                 .body = body,
                                 .bearer = token.ptr,
                                 .urgent = true,
                                 .on_reply = on_joined,
                                 .arg = en};
    server_call(a->server, &en->call, &req);
    json_decref(body);
}

static void
on_retry(void *arg)
{
    struct enrol *en = arg;
    if (!en->joining)
        join_start(en);
}

/* --- renewal -------------------------------------------------------------------------
 */

static void
renew_at_half_life(struct enrol *en)
{
    const struct identity *id = &en->a->identity;
    int64_t half = id->token_issued_ns + (id->token_expires_ns - id->token_issued_ns) / 2;
    int64_t in_ms = (half - clock_wall_ns()) / 1000000;
    loop_timer_in(en->renew, in_ms > 0 ? in_ms : 0);
}

static void
renew_later(struct enrol *en)
{
    loop_timer_in(en->renew,
                  backoff_next_ms(&en->renew_backoff, RENEW_MIN_MS, RENEW_MAX_MS));
}

static void
on_renewed(void *arg, const struct server_reply *r)
{
    struct enrol *en = arg;
    struct error e = r->error;
    if (!server_ok(r) || take_token(&en->a->identity, r->doc, &e) < 0 ||
        identity_save(en->a->opts->dir, &en->a->identity, &e) < 0) {
        log_warn("token not renewed", "error=\"%s\"", e.msg);
        renew_later(en);
        return;
    }
    en->renew_backoff.failures = 0;
    log_debug("token renewed", "instance=%s", en->a->identity.name);
    be_ready(en);
}

static void
on_renew(void *arg)
{
    struct enrol *en = arg;
    auto_str path = STR_INIT(2048);
    if (en->call != NULL) {
        renew_later(en);
        return;
    }
    server_path(&path, &resource_instances, en->a->identity.ns, en->a->identity.name,
                "token");
    struct server_request req = {
        .method = "POST", .path = path.ptr, .on_reply = on_renewed, .arg = en};
    server_call(en->a->server, &en->call, &req);
}

/* Our token is refused: revoked with its Instance, or the server has new keys. */
static void
on_unauthorized(void *arg)
{
    struct enrol *en = arg;
    if (en->joining || en->fetching || en->call != NULL || loop_timer_armed(en->retry))
        return;
    log_warn_rl("token refused", "instance=%s", en->a->identity.name);
    loop_timer_in(en->retry, backoff_next_ms(&en->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

/* --- start ---------------------------------------------------------------------------
 */

struct enrol *
enrol_start(struct agent *a, void (*ready)(struct agent *a))
{
    struct enrol *en = xnew(struct enrol);
    struct identity *id = &a->identity;
    en->a = a;
    en->ready = ready;
    str_init(&en->fetched, TEXT_MAX);
    en->retry = loop_timer_new(a->loop, "enrol", on_retry, en);
    en->renew = loop_timer_new(a->loop, "token renewal", on_renew, en);
    server_on_unauthorized(a->server, on_unauthorized, en);
    if (id->uid == NULL) {
        join_start(en);
        return en;
    }
    if (id->ca_pem != NULL)
        en->ca_pem = xstrdup(id->ca_pem);
    a->enrol = en;
    be_ready(en);
    return en;
}

void
enrol_free(struct enrol *en)
{
    if (en == NULL)
        return;
    server_call_cancel(&en->call);
    loop_timer_free(en->retry);
    loop_timer_free(en->renew);
    str_done(&en->fetched);
    free(en->ca_pem);
    free(en);
}
