/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kill -9 of a process that commits: a child with the writer thread and background
 * snapshots runs 32 clients, each with a key of its own, and tells over a pipe what it
 * tries and what was acknowledged. It is killed after a random number of
 * acknowledgements, the directory is opened and compared: each key holds what was
 * acknowledged last, or what was being tried then; no revision is below one that was
 * seen. Over and over on one directory.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apiserver/store/store.h"
#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"

#define RUNS "runs.drover.dev"
#define CLIENTS 32
#define ROUNDS 20

/* What travels over the pipe; far below PIPE_BUF, so it arrives whole. */
struct report {
    uint32_t client;
    uint32_t acked; /* 0: about to try */
    int64_t value;  /* -1: deletion */
    uint64_t revision;
};

/* --- the child --- */

struct client {
    struct child *child;
    uint32_t id;
    char name[16];
    int64_t next;
};

struct child {
    struct store *store;
    int pipe;
    struct client clients[CLIENTS];
};

static void
tell(const struct child *c, const struct report *r)
{
    if (write(c->pipe, r, sizeof(*r)) != (ssize_t)sizeof(*r))
        _exit(3);
}

static struct object *
make_object(const char *name, int64_t n)
{
    char text[4096];
    char uid[ID_UUID_LEN];
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    id_uuid4(uid);
    int len = snprintf(text, sizeof(text),
                       "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{"
                       "\"name\":\"%s\",\"namespace\":\"d\",\"uid\":\"%s\"},"
                       "\"spec\":{\"n\":%" PRId64 ",\"pad\":\"%0*d\"}}",
                       name, uid, n, (int)(n % 3000), 0);
    if (object_new(NULL, text, (size_t)len, 0, &o, &e) != 0)
        _exit(4);
    return o;
}

static void try_next(struct client *c);

static void
on_done(void *arg, uint64_t revision, const struct error *e)
{
    struct client *c = arg;
    struct report r = {c->id, 1, c->next % 7 == 6 ? -1 : c->next, revision};

    if (e != NULL)
        _exit(5);
    tell(c->child, &r);
    c->next++;
    try_next(c);
}

static void
try_next(struct client *c)
{
    struct store_key k = {RUNS, "d", c->name};
    const struct object *have = store_peek(c->child->store, &k);
    struct error e = ERROR_INIT;
    auto_object *o = NULL;

    if (c->next % 7 == 6 && have == NULL)
        c->next++; /* the deletion came through before the kill */
    struct store_op op = {.type = STORE_DELETE, .key = k};
    op.expect = have == NULL ? 0 : have->revision;
    struct report r = {c->id, 0, -1, 0};
    if (c->next % 7 != 6) {
        op.type = STORE_PUT;
        op.obj = o = make_object(c->name, c->next);
        r.value = c->next;
    }
    tell(c->child, &r);
    if (store_commit(c->child->store, &op, 1, STORE_DURABLE, on_done, c, NULL, &e) != 0)
        _exit(6);
}

_Noreturn static void
run_child(const char *dir, int pipe, int64_t first)
{
    struct child c = {.pipe = pipe};
    struct loop *l = NULL;
    struct error e = ERROR_INIT;
    struct store_opts opts = {.dir = dir, .snapshot_after = 300000};

    if (loop_new(&l, &e) != 0 || store_open(l, &opts, &c.store, &e) != 0) {
        fprintf(stderr, "child: %s\n", e.msg);
        _exit(2);
    }
    for (uint32_t i = 0; i < CLIENTS; i++) {
        struct client *cl = &c.clients[i];
        *cl = (struct client){.child = &c, .id = i, .next = first + i};
        snprintf(cl->name, sizeof(cl->name), "c%u", i);
        try_next(cl);
    }
    loop_run(l);
    _exit(7);
}

/* --- the parent --- */

struct state {
    int64_t acked, tried; /* -1: absent */
    uint64_t revision;    /* of the acknowledgement */
};

struct harness {
    char dir[64];
    struct loop *loop;
    struct state keys[CLIENTS];
    uint64_t seen; /* greatest revision */
    unsigned acks;
};

static void
take_report(struct harness *h, const struct report *r)
{
    assert_true(r->client < CLIENTS);
    struct state *k = &h->keys[r->client];

    if (!r->acked) {
        k->tried = r->value;
        return;
    }
    assert_int_equal(k->tried, r->value);
    assert_true(r->revision > k->revision);
    k->acked = r->value;
    k->revision = r->revision;
    if (r->revision > h->seen)
        h->seen = r->revision;
    h->acks++;
}

/* False: the child is gone. */
static bool
read_report(struct harness *h, int fd)
{
    struct report r;
    size_t got = 0;

    while (got < sizeof(r)) {
        ssize_t n = read(fd, (char *)&r + got, sizeof(r) - got);
        if (n <= 0)
            return false;
        got += (size_t)n;
    }
    take_report(h, &r);
    return true;
}

static void
compare(struct harness *h)
{
    struct store *s = NULL;
    struct error e = ERROR_INIT;
    struct store_opts opts = {.dir = h->dir, .inline_sync = true};

    if (store_open(h->loop, &opts, &s, &e) != 0)
        fail_msg("open after kill: %s", e.msg);
    assert_true(store_revision(s) >= h->seen);
    h->seen = store_revision(s);
    for (uint32_t i = 0; i < CLIENTS; i++) {
        char name[16];
        struct state *k = &h->keys[i];
        snprintf(name, sizeof(name), "c%u", i);
        const struct object *o = store_get(s, &(struct store_key){RUNS, "d", name});
        int64_t value = o == NULL ? -1 : object_get_int(o, "spec.n", -2);
        if (value != k->acked && value != k->tried)
            fail_msg("%s: %" PRId64 " is there, %" PRId64 " was acknowledged, %" PRId64
                     " was under way",
                     name, value, k->acked, k->tried);
        if (value == k->acked && o != NULL)
            assert_true(o->revision == k->revision || k->acked == k->tried);
        k->acked = k->tried = value;
        k->revision = o == NULL ? k->revision : o->revision;
    }
    store_close(s);
}

static void
one_round(struct harness *h, unsigned round)
{
    int fds[2];
    int status;
    unsigned kill_after = h->acks + id_uniform(round % 4 == 0 ? 50 : 3000);

    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        close(fds[0]);
        run_child(h->dir, fds[1], (int64_t)(round + 1) * 1000000);
    }
    close(fds[1]);
    while (h->acks <= kill_after && read_report(h, fds[0]))
        ;
    kill(pid, SIGKILL);
    while (read_report(h, fds[0]))
        ;
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    compare(h);
}

static void
test_kill(void **state)
{
    struct harness h = {.dir = "/tmp/drover-store-kill-XXXXXX"};
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_non_null(mkdtemp(h.dir));
    assert_int_equal(loop_new(&h.loop, &e), 0);
    for (uint32_t i = 0; i < CLIENTS; i++)
        h.keys[i] = (struct state){-1, -1, 0};
    for (unsigned round = 0; round < ROUNDS; round++)
        one_round(&h, round);
    printf("%u commits acknowledged in %d rounds\n", h.acks, ROUNDS);
    loop_free(h.loop);
    assert_int_equal(fs_remove_tree(h.dir, &e), 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_kill)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
