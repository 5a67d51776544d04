/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A server with a small repertoire on a loop, and raw clients, for the HTTP tests. All on
 * one thread: whoever waits turns the loop.
 *
 *   /hello        answers at once        /big?n=N    N known bytes from a reader
 *   /echo         method, path, query, peer and body as text
 *   /later        answered by fixture_answer_all()
 *   /watch        stream; fixture_fire() gives every stream one event
 *   /firehose     stream that always has something
 *   /cut          stream that is cut after its first piece
 *   /abort        known length, then the reader gives up
 */
#ifndef TESTS_IO_HTTP_FIXTURE_H
#define TESTS_IO_HTTP_FIXTURE_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/vec.h"
#include "io/http_client.h"
#include "io/http_server.h"
#include "io/loop.h"
#include "tests/turn_until.h"

#define OK(call)                                                                         \
    do {                                                                                 \
        if ((call) != 0)                                                                 \
            fail_msg("%s", err.msg);                                                     \
    } while (0)

#define WAIT_MS 20000
#define wait_for(l, cond) TURN_UNTIL(l, WAIT_MS, cond)

extern struct error err;

struct watcher {
    struct fixture *f;
    struct http_stream *stream;
    int available, sent;
};

struct fixture {
    struct loop *l;
    struct http_server *server;
    vec(struct http_request *) pending;
    vec(struct watcher *) watchers;
    int closed, aborted, freed; /* on_close calls, those with aborted, free_arg calls */
    int fills;                  /* of /firehose */
    struct span unused;         /* given to the last fill of /watch that had nothing */
    int handled;
    int done, done_status; /* on_done calls, and what the last said */
    bool done_aborted;
};

/* opts may be NULL; handler, arg and (without unix_path) the address are set here. */
struct fixture *fixture_new(const struct http_server_opts *opts);
void fixture_free(struct fixture *f);
void fixture_answer_all(struct fixture *f, int status);
void fixture_fire(struct fixture *f);

/* Blocking connect to the server; non-blocking from then on. */
int raw_connect(const struct fixture *f);
void raw_send(int fd, const char *text);
/* Turns the loop until the end of the reply is there: its text goes to out. A reply ends
 * by Content-Length, or when the server closes. False when nothing but a close came. */
bool raw_reply(struct fixture *f, int fd, struct str *out);
/* Turns until the peer has closed the connection, ignoring bytes before. */
void raw_closed(struct fixture *f, int fd);

#endif
