/* SPDX-License-Identifier: Apache-2.0 */
/* An API server in the test's process. */
#include "integration/api_fixture.h"

#include <stdio.h>
#include <stdlib.h>

#include "apiserver/store/keyring.h"
#include "base/fs.h"
#include "base/log.h"

enum { REPLY_MAX = 16 << 20 };

static void
on_fatal(void *arg, const struct error *e)
{
    UNUSED(arg);
    fail_msg("the store failed: %s", e->msg);
}

static void
on_bootstrapped(void *arg, const struct error *e)
{
    bool *done = arg;

    if (e != NULL)
        fail_msg("bootstrap: %s", e->msg);
    *done = true;
}

static void
open_server(struct api_fixture *f)
{
    struct error e = ERROR_INIT;
    bool done = false;

    if (loop_new(&f->loop, &e) < 0 || kinds_load(&f->kinds, &e) < 0)
        fail_msg("%s", e.msg);
    struct store_opts so = {.dir = f->dir,
                            .inline_sync = true,
                            .ring_events = 2000,
                            .on_fatal = on_fatal,
                            .kind_of = kinds_kind_of,
                            .arg = f->kinds};
    if (store_open(f->loop, &so, &f->store, &e) < 0)
        fail_msg("%s", e.msg);
    autofree char *keys = fs_join(f->dir, KEYRING_FILE);
    if (keyring_load(keys, true, &f->keys, &e) < 0)
        fail_msg("%s", e.msg);
    struct api_server_opts ao = {.loop = f->loop,
                                 .keys = f->keys,
                                 .store = f->store,
                                 .kinds = f->kinds,
                                 .history = f->history,
                                 .advertise_address = "127.0.0.1:1",
                                 .streams_address = "127.0.0.1:2"};
    if (api_server_new(&ao, &f->server, &e) < 0)
        fail_msg("%s", e.msg);
    struct auth_opts au = {.server = f->server, .ca_hash = "sha256:00"};
    if (auth_new(&au, &f->auth, &e) < 0 || api_server_start_loops(f->server, &e) < 0)
        fail_msg("%s", e.msg);
    struct api_hooks hooks = auth_hooks(f->auth);
    api_server_set_hooks(f->server, &hooks);
    api_server_bootstrap(f->server, on_bootstrapped, &done);
    for (int i = 0; i < 100 && !done; i++)
        store_flush(f->store);
    assert_true(done);
    done = false;
    auth_bootstrap(f->auth, on_bootstrapped, &done);
    for (int i = 0; i < 100 && !done; i++)
        store_flush(f->store);
    assert_true(done);
}

static void
close_server(struct api_fixture *f)
{
    client_free(f->client);
    api_server_prepare_close(f->server);
    store_close(f->store);
    auth_free(f->auth);
    api_server_free(f->server);
    keyring_free(f->keys);
    kinds_free(f->kinds);
    loop_free(f->loop);
}

void
api_restart(struct api_fixture *f)
{
    close_server(f);
    open_server(f);
    f->client = local_client_new(f->server, f->admin);
}

int
api_setup(void **state)
{
    struct history_limits history = {0};

    return api_setup_history(state, &history);
}

int
api_setup_history(void **state, const struct history_limits *history)
{
    struct api_fixture *f = xnew(struct api_fixture);
    char template[] = "/tmp/drover-api-XXXXXX";

    log_set_level(LOG_LV_ERR);
    f->dir = xstrdup(mkdtemp(template));
    f->history = *history;
    http_reply_init(&f->reply, REPLY_MAX);
    open_server(f);
    f->admin = user_new("admin", "system:masters,system:authenticated");
    f->client = local_client_new(f->server, f->admin);
    *state = f;
    return 0;
}

int
api_teardown(void **state)
{
    struct api_fixture *f = *state;
    struct error e = ERROR_INIT;

    close_server(f);
    user_unref(f->admin);
    json_decref(f->json);
    http_reply_done(&f->reply);
    int rc = fs_remove_tree(f->dir, &e);
    free(f->dir);
    free(f);
    return rc;
}

static int
request(struct api_fixture *f, struct client *c, const struct client_request *r)
{
    struct error e = ERROR_INIT;

    http_reply_done(&f->reply);
    http_reply_init(&f->reply, REPLY_MAX);
    if (client_raw(c, r, &f->reply, &e) < 0)
        fail_msg("%s %s: %s", r->method, r->path, e.msg);
    json_decref(f->json);
    f->json = json_loadb(f->reply.body.ptr, f->reply.body.len, JSON_ALLOW_NUL, NULL);
    return f->reply.status;
}

int
api_do(struct api_fixture *f, const char *method, const char *path, const char *type,
       const char *body)
{
    struct client_request r = {.method = method,
                               .path = path,
                               .content_type = type,
                               .accept = f->accept,
                               .body = body,
                               .body_len = body == NULL ? 0 : strlen(body)};

    return request(f, f->client, &r);
}

int
api_do_as(struct api_fixture *f, struct api_user *user, const char *method,
          const char *path, const char *type, const char *body)
{
    struct client *own = f->client;

    f->client = local_client_new(f->server, user);
    int status = api_do(f, method, path, type, body);
    client_free(f->client);
    f->client = own;
    return status;
}

void
api_ok(struct api_fixture *f, int status, const char *method, const char *path,
       const char *type, const char *body)
{
    int got = api_do(f, method, path, type, body);

    if (got != status)
        fail_msg("%s %s: status %d instead of %d: %.2000s", method, path, got, status,
                 f->reply.body.ptr);
}

const json_t *
api_at(const struct api_fixture *f, const char *path)
{
    const char *separators = strchr(path, '/') != NULL ? "/" : ".";
    const json_t *at = f->json;

    while (at != NULL && *path != '\0') {
        size_t n = strcspn(path, separators);
        autofree char *key = xstrndup(path, n);
        at = json_is_array(at) ? json_array_get(at, strtoul(key, NULL, 10))
                               : json_object_get(at, key);
        path += n + (path[n] != '\0');
    }
    return at;
}

const char *
api_text(const struct api_fixture *f, const char *path)
{
    const char *text = json_string_value(api_at(f, path));

    return text == NULL ? "" : text;
}

int64_t
api_int(const struct api_fixture *f, const char *path)
{
    const json_t *at = api_at(f, path);

    return json_is_integer(at) ? json_integer_value(at) : -1;
}

void
api_settle(struct api_fixture *f, unsigned turns)
{
    for (unsigned i = 0; i < turns; i++) {
        store_flush(f->store);
        loop_turn(f->loop, 0);
    }
}

const char *
api_run(const char *name, const char *spec)
{
    static char text[2048];

    snprintf(text, sizeof(text),
             "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":"
             "\"%s\"},\"spec\":{\"type\":\"task\",\"commands\":[\"true\"]%s}}",
             name, spec);
    return text;
}
