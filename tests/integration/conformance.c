/* SPDX-License-Identifier: Apache-2.0 */
#include "integration/conformance.h"

#include <fcntl.h>
#include <inttypes.h>
#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/mem.h"

#define SEEN_MAX (8u << 20)

/* --- etcd --- */

/* The output of a command of the shell, which must succeed. */
char *
cf_run(const char *command)
{
    char buf[4096];
    size_t n = 0;
    ssize_t got;
    int fds[2];
    int status = -1;

    assert_int_equal(pipe2(fds, O_CLOEXEC), 0);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fds[1], STDOUT_FILENO);
        execl("/bin/sh", "sh", "-c", command, (char *)NULL);
        _exit(127);
    }
    close(fds[1]);
    while (n < sizeof(buf) - 1 && (got = read(fds[0], buf + n, sizeof(buf) - 1 - n)) > 0)
        n += (size_t)got;
    buf[n] = '\0';
    close(fds[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    if (status != 0)
        fail_msg("%s: status %d: %s", command, status, buf);
    return xstrdup(buf);
}

static char *
line_of(const char *text, const char *key)
{
    const char *p = strstr(text, key);

    if (p == NULL)
        return NULL;
    p += strlen(key);
    return xstrndup(p, strcspn(p, "\n"));
}

void
cf_etcd_up(struct conf *c, const char *args)
{
    autofree char *command = xasprintf("%s/hack/etcd-up %s", DROVER_SOURCE_DIR, args);
    autofree char *out = cf_run(command);

    c->etcd_dir = line_of(out, "dir=");
    c->endpoints = line_of(out, "endpoints=");
    assert_non_null(c->endpoints);
    /* Until cf_etcd_opts_done: the options borrow them. */
    c->eo.ca_file = line_of(out, "cacert=");
    c->eo.cert_file = line_of(out, "\ncert=");
    c->eo.key_file = line_of(out, "\nkey=");
}

void
cf_etcd(struct conf *c, const char *verb, int node)
{
    autofree char *command =
        xasprintf("%s/hack/etcd-up %s %s %d", DROVER_SOURCE_DIR, verb, c->etcd_dir, node);
    free(cf_run(command));
}

pid_t
cf_etcd_pid(struct conf *c, int node)
{
    autofree char *command =
        xasprintf("%s/hack/etcd-up --pid %s %d", DROVER_SOURCE_DIR, c->etcd_dir, node);
    autofree char *out = cf_run(command);

    return (pid_t)strtol(out, NULL, 10);
}

void
cf_etcd_down(struct conf *c)
{
    if (c->etcd_dir == NULL)
        return;
    autofree char *command =
        xasprintf("%s/hack/etcd-up --stop %s", DROVER_SOURCE_DIR, c->etcd_dir);
    free(cf_run(command));
    free(c->etcd_dir);
    free(c->endpoints);
    c->etcd_dir = c->endpoints = NULL;
}

void
cf_etcd_opts_done(struct conf *c)
{
    const char *files[] = {c->eo.ca_file, c->eo.cert_file, c->eo.key_file};

    for (size_t i = 0; i < ARRAY_LEN(files); i++)
        free((void *)(uintptr_t)files[i]);
}

void
cf_etcd_opts(struct conf *c, const char *prefix)
{
    c->eo.endpoints = c->endpoints;
    c->eo.prefix = prefix;
    c->eo.attempt_ms = 1000;
    c->eo.deadline_ms = 6000;
    c->eo.load_ms = 20000;
    c->eo.beat_ms = 1000;
    c->eo.compact_ms = -1;
    c->f.opts.etcd = &c->eo;
}

struct store *
cf_open(struct conf *c)
{
    struct error e = ERROR_INIT;
    struct store *s = NULL;

    if (store_open(c->f.loop, &c->f.opts, &s, &e) < 0)
        fail_msg("open: %s", e.msg);
    return s;
}

void
cf_until(struct conf *c, bool (*holds)(void *arg), void *arg, int ms)
{
    int64_t end = clock_now_ns() + (int64_t)ms * 1000000;

    while (!holds(arg)) {
        if (clock_now_ns() > end)
            fail_msg("not within %d ms", ms);
        loop_turn(c->f.loop, 20);
    }
}

/* --- operations --- */

static bool
is_done(void *arg)
{
    return ((struct fx_result *)arg)->done;
}

int
cf_commit(struct conf *c, struct store *s, const struct cf_op *ops, size_t n,
          uint64_t *ret_revision)
{
    struct store_op so[64] = {{0}};
    struct object *objs[64] = {NULL};
    struct fx_result r = {0};
    struct error e = ERROR_INIT;

    assert_true(n <= ARRAY_LEN(so));
    for (size_t i = 0; i < n; i++) {
        so[i] = (struct store_op){.type = ops[i].type,
                                  .key = {RUNS, ops[i].ns, ops[i].name},
                                  .expect = ops[i].expect};
        if (ops[i].type == STORE_PUT)
            objs[i] = so[i].obj = fx_object(ops[i].ns, ops[i].name, "x", ops[i].n, 0);
    }
    int rc = store_commit(s, so, n, STORE_DURABLE, fx_on_done, &r, NULL, &e);
    if (rc == 0)
        cf_until(c, is_done, &r, 20000);
    for (size_t i = 0; i < n; i++)
        object_unref(objs[i]);
    if (rc < 0)
        return (int)e.code;
    if (ret_revision != NULL)
        *ret_revision = r.revision;
    return (int)r.e.code;
}

int
cf_put(struct conf *c, struct store *s, const char *ns, const char *name, int64_t n,
       uint64_t expect, uint64_t *ret_revision)
{
    struct cf_op op = {STORE_PUT, ns, name, n, expect};

    return cf_commit(c, s, &op, 1, ret_revision);
}

int
cf_del(struct conf *c, struct store *s, const char *ns, const char *name, uint64_t expect,
       uint64_t *ret_revision)
{
    struct cf_op op = {STORE_DELETE, ns, name, 0, expect};

    return cf_commit(c, s, &op, 1, ret_revision);
}

int
cf_sync(struct conf *c, struct store *s)
{
    struct fx_result r = {0};

    if (store_sync(s, fx_on_done, &r))
        return ERR_OK;
    cf_until(c, is_done, &r, 20000);
    return (int)r.e.code;
}

struct object *
cf_get(struct store *s, const char *ns, const char *name)
{
    struct store_key k = {RUNS, ns, name};

    return store_get(s, &k);
}

/* --- watching --- */

static void
on_wake(void *arg)
{
    struct cf_watch *w = arg;
    struct store_event ev;
    struct error e = ERROR_INIT;
    int rc;

    while ((rc = store_watch_next(w->w, &ev, &e)) == 1) {
        static const char mark[] = {
            [STORE_ADDED] = '+', [STORE_MODIFIED] = '~', [STORE_DELETED] = '-'};
        str_addf(&w->seen, "%c%s/%s@%" PRIu64 "=%" PRId64 " ", mark[ev.type], ev.obj->ns,
                 ev.obj->name, ev.revision, fx_value(ev.obj));
        w->disordered =
            w->disordered || ev.revision < w->last || ev.obj->revision != ev.revision;
        w->last = ev.revision;
        w->n++;
    }
    if (rc < 0)
        w->expired = (int)e.code;
}

int
cf_watch(struct conf *c, struct store *s, struct cf_watch *w,
         const struct store_watch_opts *opts)
{
    struct store_watch_opts o = *opts;
    struct error e = ERROR_INIT;

    *w = (struct cf_watch){.c = c, .last = opts->from};
    str_init(&w->seen, SEEN_MAX);
    o.wake = on_wake;
    o.arg = w;
    return store_watch(s, &o, &w->w, &e) < 0 ? (int)e.code : 0;
}

void
cf_watch_from(struct conf *c, struct store *s, struct cf_watch *w, uint64_t from)
{
    struct store_watch_opts o = {.resource = RUNS, .from = from};

    assert_int_equal(cf_watch(c, s, w, &o), 0);
}

void
cf_watch_done(struct cf_watch *w)
{
    assert_false(w->disordered);
    assert_false(w->seen.toobig);
    store_watch_free(w->w);
    str_done(&w->seen);
}

struct count {
    struct cf_watch *w;
    size_t n;
};

static bool
has_events(void *arg)
{
    const struct count *x = arg;

    return x->w->n >= x->n || x->w->expired != 0;
}

void
cf_events(struct cf_watch *w, size_t n)
{
    struct count x = {w, n};

    cf_until(w->c, has_events, &x, 15000);
    if (w->n != n)
        fail_msg("%zu events, not %zu: %s (ended by %d)", w->n, n, w->seen.ptr,
                 w->expired);
}
