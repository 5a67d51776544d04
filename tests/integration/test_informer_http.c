/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The HTTP watch source and the HTTP client against a scripted server on a unix socket:
 * pages, a watch, its end, 410, errors, garbage, and a server that was away.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/fs.h"
#include "base/mem.h"
#include "control/async.h"
#include "control/informer.h"
#include "io/http_server.h"

enum { TURNS_MAX = 20000 };

/* What the server does with its next requests, in order. */
struct script_step {
    const char *expect; /* a part of the path with its query */
    int status;
    const char *body;
    bool hold; /* a watch: stays open behind its lines */
};

struct stream_state {
    struct script *s;
    const char *text;
    size_t sent;
    bool hold;
};

struct script {
    struct loop *loop;
    struct http_server *server;
    char dir[32];
    char *socket;
    const struct script_step *steps;
    size_t n, next;
    struct str log; /* what the handlers of the informer were told */
};

static ssize_t
fill(void *arg, char *buf, size_t max)
{
    struct stream_state *st = arg;
    size_t left = strlen(st->text) - st->sent;

    if (left == 0)
        return st->hold ? 0 : -1;
    if (left > max)
        left = max;
    if (left > 7) /* lines arrive in pieces */
        left = 7;
    memcpy(buf, st->text + st->sent, left);
    st->sent += left;
    return (ssize_t)left;
}

static void
handle(void *arg, struct http_request *r)
{
    struct script *s = arg;

    if (s->next == s->n)
        fail_msg("unexpected request %s", http_raw_path(r));
    const struct script_step *step = &s->steps[s->next++];
    if (strstr(http_raw_path(r), step->expect) == NULL)
        fail_msg("%s does not contain %s", http_raw_path(r), step->expect);
    if (strstr(step->expect, "watch=true") != NULL && step->status == 200) {
        struct stream_state *st = xnew(struct stream_state);
        *st = (struct stream_state){s, step->body, 0, step->hold};
        http_respond_stream(r, 200, "application/json", fill, free, st);
    } else {
        http_respond(r, step->status, "application/json", step->body, strlen(step->body));
    }
}

static void
start_server(struct script *s)
{
    struct error e = ERROR_INIT;
    struct http_server_opts o = {
        .name = "script", .unix_path = s->socket, .handler = handle, .arg = s};

    if (http_server_start(s->loop, &o, &s->server, &e) < 0)
        fail_msg("%s", e.msg);
}

static void
script_init(struct script *s, const struct script_step *steps, size_t n)
{
    struct error e = ERROR_INIT;

    *s = (struct script){.steps = steps, .n = n, .log = STR_INIT(10000)};
    memcpy(s->dir, "/tmp/test-informer-XXXXXX", sizeof("/tmp/test-informer-XXXXXX"));
    assert_non_null(mkdtemp(s->dir));
    s->socket = fs_join(s->dir, "s");
    assert_int_equal(loop_new(&s->loop, &e), 0);
    start_server(s);
}

static void
script_done(struct script *s)
{
    struct error e = ERROR_INIT;

    http_server_free(s->server);
    loop_free(s->loop);
    assert_int_equal(fs_remove_tree(s->dir, &e), 0);
    free(s->socket);
    str_done(&s->log);
}

static void
on_set(void *arg, const struct object *before, const struct object *now, bool initial)
{
    struct script *s = arg;

    UNUSED(initial);
    str_addf(&s->log, "%s%s;", before == NULL ? "+" : "~", now->name);
}

static void
on_delete(void *arg, const struct object *last)
{
    struct script *s = arg;

    str_addf(&s->log, "-%s;", last->name);
}

struct client_side {
    struct http_multi *multi;
    struct informer_http *http;
    struct informer *inf;
    struct watch_source source;
    void *watch;
};

static void
client_start(struct client_side *c, struct script *s)
{
    struct error e = ERROR_INIT;
    struct http_target target = {.url = "http://x", .unix_socket = s->socket};
    struct informer_handler h = {on_set, on_delete, NULL, s};

    assert_int_equal(http_multi_new(s->loop, &c->multi, &e), 0);
    c->http = informer_http_new(s->loop, c->multi, &target);
    c->source = informer_http_source(c->http);
    c->inf = informer_new(&resource_jobs);
    informer_add_handler(c->inf, &h);
    c->watch = c->source.ops->start(c->source.self, c->inf);
}

static void
client_stop(struct client_side *c)
{
    c->source.ops->stop(c->source.self, c->watch);
    informer_http_free(c->http);
    informer_free(c->inf);
    http_multi_free(c->multi);
}

static void
until(struct script *s, const char *log)
{
    for (int i = 0; i < TURNS_MAX && !streq(s->log.ptr, log); i++)
        loop_turn(s->loop, 50);
    assert_string_equal(s->log.ptr, log);
}

#define JOB(name, rv)                                                                    \
    "{\"metadata\":{\"name\":\"" name "\",\"namespace\":\"d\",\"uid\":\"u" name          \
    "\",\"resourceVersion\":\"" rv "\"}}"
#define LIST(rv, cont, items)                                                            \
    "{\"metadata\":{\"resourceVersion\":\"" rv "\",\"continue\":\"" cont                 \
    "\"},\"items\":[" items "]}"
#define EVENT(type, object) "{\"type\":\"" type "\",\"object\":" object "}\n"
#define GONE                                                                             \
    EVENT("ERROR", "{\"kind\":\"Status\",\"code\":410,\"reason\":\"Expired\","           \
                   "\"message\":\"old\"}")

/* Pages, then a watch from the list's revision; its end is resumed from the last event;
 * 410 lists again. */
static void
list_watch_resume_relist(void **state)
{
    static const struct script_step steps[] = {
        {"jobs?limit=500", 200, LIST("10", "p2", JOB("a", "3")), false},
        {"&continue=p2", 200, LIST("10", "", JOB("b", "4")), false},
        {"watch=true&allowWatchBookmarks=true&resourceVersion=10&", 200,
         EVENT("ADDED", JOB("c", "11"))
             EVENT("BOOKMARK", "{\"metadata\":{\"resourceVersion\":\"15\"}}"),
         false},
        {"watch=true&allowWatchBookmarks=true&resourceVersion=15&", 200,
         EVENT("DELETED", JOB("a", "16")) GONE, true},
        {"jobs?limit=500", 200, LIST("30", "", JOB("c", "11") "," JOB("d", "20")), false},
        {"watch=true&allowWatchBookmarks=true&resourceVersion=30&", 200,
         EVENT("MODIFIED", JOB("d", "31")), true},
    };
    struct script s;
    struct client_side c;

    UNUSED(state);
    script_init(&s, steps, ARRAY_LEN(steps));
    client_start(&c, &s);
    until(&s, "+a;+b;+c;-a;+d;-b;~d;");
    assert_int_equal(informer_revision(c.inf), 31);
    assert_true(informer_connected(c.inf));
    client_stop(&c);
    script_done(&s);
}

/* Errors and garbage are retried; nothing is deleted by a list that failed. */
static void
failures(void **state)
{
    static const struct script_step steps[] = {
        {"jobs?limit=500", 500, "{}", false},
        {"jobs?limit=500", 200, LIST("5", "p2", JOB("a", "3")), false},
        {"&continue=p2", 410, "{\"kind\":\"Status\",\"reason\":\"Expired\"}", false},
        {"jobs?limit=500", 200, LIST("6", "", JOB("a", "3") "," JOB("b", "4")), false},
        {"watch=true", 503, "{}", false},
        {"watch=true", 410, "{\"kind\":\"Status\",\"reason\":\"Expired\"}", false},
        {"jobs?limit=500", 200, LIST("8", "", JOB("b", "4")), false},
        {"watch=true", 200, EVENT("ADDED", JOB("x", "9")) "{garbage\n", true},
        {"jobs?limit=500", 200, LIST("9", "", JOB("b", "4") "," JOB("x", "9")), false},
        {"watch=true&allowWatchBookmarks=true&resourceVersion=9&", 200,
         EVENT("DELETED", JOB("b", "10")), true},
    };
    struct script s;
    struct client_side c;

    UNUSED(state);
    script_init(&s, steps, ARRAY_LEN(steps));
    client_start(&c, &s);
    until(&s, "+a;+b;-a;+x;-b;");
    client_stop(&c);
    script_done(&s);
}

/* The server goes away and comes back: the informer says so, keeps its objects, resumes.
 */
static void
an_outage(void **state)
{
    static const struct script_step steps[] = {
        {"jobs?limit=500", 200, LIST("5", "", JOB("a", "3")), false},
        {"watch=true", 200, EVENT("ADDED", JOB("b", "6")), true},
        {"watch=true&allowWatchBookmarks=true&resourceVersion=6&", 200,
         EVENT("ADDED", JOB("c", "7")), true},
    };
    struct script s;
    struct client_side c;

    UNUSED(state);
    script_init(&s, steps, ARRAY_LEN(steps));
    client_start(&c, &s);
    until(&s, "+a;+b;");
    http_server_free(s.server);
    unlink(s.socket);
    for (int i = 0; i < TURNS_MAX && informer_connected(c.inf); i++)
        loop_turn(s.loop, 50);
    assert_false(informer_connected(c.inf));
    assert_int_equal(informer_len(c.inf), 2);
    start_server(&s);
    until(&s, "+a;+b;+c;");
    assert_true(informer_connected(c.inf));
    client_stop(&c);
    script_done(&s);
}

struct answer {
    enum err_code code;
    char body[64];
    bool done;
};

static void
answered(void *arg, struct span body, const struct error *e)
{
    struct answer *a = arg;

    a->code = e->code;
    a->done = true;
    snprintf(a->body, sizeof(a->body), SPAN_FMT, SPAN_ARG(body));
}

static void
asynchronous_requests(void **state)
{
    static const struct script_step steps[] = {
        {"/ok", 200, "fine", false},
        {"/bad", 409, "{\"kind\":\"Status\",\"reason\":\"Conflict\",\"message\":\"m\"}",
         false},
        {"/never", 200, "", false},
    };
    struct script s;
    struct error e = ERROR_INIT;
    struct http_multi *multi = NULL;
    struct answer ok = {0}, bad = {0}, never = {0};

    UNUSED(state);
    script_init(&s, steps, ARRAY_LEN(steps));
    assert_int_equal(http_multi_new(s.loop, &multi, &e), 0);
    struct http_target target = {.url = "http://x", .unix_socket = s.socket};
    struct async_client *a = async_http_new(multi, &target);
    async_start(a, &(struct client_request){.method = "GET", .path = "/ok"}, answered,
                &ok);
    for (int i = 0; i < TURNS_MAX && !ok.done; i++)
        loop_turn(s.loop, 50);
    json_t *body = json_object();
    async_json(a,
               &(struct client_request){
                   .method = "PUT", .path = "/bad", .content_type = "application/json"},
               body, answered, &bad);
    json_decref(body);
    for (int i = 0; i < TURNS_MAX && !bad.done; i++)
        loop_turn(s.loop, 50);
    assert_int_equal(ok.code, ERR_OK);
    assert_string_equal(ok.body, "fine");
    assert_int_equal(bad.code, ERR_CONFLICT);
    async_start(a, &(struct client_request){.method = "GET", .path = "/never"}, answered,
                &never);
    assert_int_equal(async_in_flight(a), 1);
    async_free(a);
    loop_turn(s.loop, 0);
    assert_false(never.done);
    http_multi_free(multi);
    script_done(&s);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(list_watch_resume_relist),
        cmocka_unit_test(failures),
        cmocka_unit_test(an_outage),
        cmocka_unit_test(asynchronous_requests),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
