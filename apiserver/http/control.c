/* SPDX-License-Identifier: Apache-2.0 */
/* The control socket. Answers are small and local: they are written at once. */
#include "apiserver/http/control.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/queue.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(control);

enum { LINE_MAX_BYTES = 512, CONNECTIONS_MAX = 16, ANSWER_MAX = 1 << 20 };

struct session {
    TAILQ_ENTRY(session) entry;
    struct control *control;
    int fd;
    struct loop_io *io;
    struct str line;
    struct later *later; /* the answer comes when the store is done */
};
TAILQ_HEAD(sessions, session);

/* A command under way in the store or the pool; the session may be gone before it ends.
 */
struct later {
    struct session *session;
    uint64_t revision; /* to answer; 0: that of the store's completion */
};

struct control {
    struct loop *loop;
    struct api_server *server;
    char *path;
    int fd;
    struct loop_io *io;
    struct sessions sessions;
    size_t n;
    struct auth *auth;                                               /* NULL: none */
    void (*mirror)(void *arg, const char *command, struct str *out); /* NULL: none */
    void *mirror_arg;
};

void
control_set_auth(struct control *c, struct auth *a)
{
    c->auth = a;
}

void
control_set_mirror(struct control *c,
                   void (*fn)(void *arg, const char *command, struct str *out), void *arg)
{
    c->mirror = fn;
    c->mirror_arg = arg;
}

static void
session_free(struct session *s)
{
    TAILQ_REMOVE(&s->control->sessions, s, entry);
    if (s->later != NULL)
        s->later->session = NULL;
    s->control->n--;
    loop_io_free(s->io);
    close(s->fd);
    str_done(&s->line);
    free(s);
}

static void
answer(struct session *s, const struct str *text)
{
    struct error e = ERROR_INIT;

    if (fs_write_all(s->fd, text->ptr, text->len, &e) < 0)
        log_debug("answer not taken", "error=\"%s\"", e.msg);
    session_free(s);
}

static void
on_stored(void *arg, uint64_t revision, const struct error *e)
{
    struct later *l = arg;
    auto_str text = STR_INIT(LINE_MAX_BYTES * 2);

    if (e != NULL)
        str_addf(&text, "error: %s\n", e->msg);
    else
        str_addf(&text, "%llu\n",
                 (unsigned long long)(l->revision != 0 ? l->revision : revision));
    if (l->session != NULL) {
        l->session->later = NULL;
        answer(l->session, &text);
    }
    free(l);
}

static void
on_keys(void *arg, const char *kid, const struct error *e)
{
    struct later *l = arg;
    auto_str text = STR_INIT(LINE_MAX_BYTES * 2);

    if (e != NULL)
        str_addf(&text, "error: %s\n", e->msg);
    else
        str_addf(&text, "%s\n", kid);
    if (l->session != NULL) {
        l->session->later = NULL;
        answer(l->session, &text);
    }
    free(l);
}

/* Rotating and reading keys waits for a disk. */
static bool
run_keys(struct session *s, const char *line)
{
    bool rotate = streq(line, "keys rotate");
    struct auth *auth = s->control->auth;

    if (auth == NULL || (!rotate && !streq(line, "keys reload")))
        return false;
    struct later *l = xnew(struct later);
    l->session = s;
    s->later = l;
    (rotate ? auth_rotate_keys : auth_reload_keys)(auth, on_keys, l);
    return true;
}

/* Commands that the store answers later. False: it is none, or out has the answer. */
static bool
run_later(struct session *s, const char *line, struct str *out)
{
    struct store *store = api_server_store(s->control->server);
    struct error e = ERROR_INIT;
    bool compact = str_starts(line, "compact ");

    if (!compact && !streq(line, "snapshot"))
        return false;
    struct later *l = xnew(struct later);
    l->session = s;
    s->later = l;
    if (!compact) {
        store_snapshot(store, on_stored, l);
        return true;
    }
    l->revision = strtoull(line + strlen("compact "), NULL, 10);
    if (l->revision == 0)
        l->revision = store_revision(store);
    if (store_compact(store, l->revision, on_stored, l, &e) == 0)
        return true;
    s->later = NULL;
    free(l);
    str_addf(out, "error: %s\n", e.msg);
    return false;
}

static void
run_command(struct control *c, const char *line, struct str *out)
{
    if (streq(line, "stats"))
        api_server_metrics(c->server, out);
    else if (streq(line, "loop"))
        loop_dump(c->loop, out);
    else if (str_starts(line, "log "))
        str_adds(out, log_set_spec(line + 4) ? "ok\n" : "unknown level or module\n");
    else if (streq(line, "keys") && c->auth != NULL)
        auth_list_keys(c->auth, out);
    else if (str_starts(line, "mirror ") && c->mirror != NULL)
        c->mirror(c->mirror_arg, line + strlen("mirror "), out);
    else if (str_starts(line, "mirror "))
        str_adds(out, "error: this server runs without the mirror (--no-mirror)\n");
    else if (out->len == 0)
        str_adds(
            out,
            "commands: stats, loop, log SPEC, snapshot, compact REVISION, keys, keys "
            "rotate, keys reload, mirror COMMAND\n");
}

static void
on_session(void *arg, int fd, uint32_t events)
{
    struct session *s = arg;
    char buf[LINE_MAX_BYTES];

    UNUSED(events);
    ssize_t n = read(fd, buf, sizeof(buf));
    if (n < 0 && (errno == EAGAIN || errno == EINTR))
        return;
    if (n > 0 && s->later != NULL)
        return; /* one command per connection */
    if (n > 0)
        str_add(&s->line, buf, (size_t)n);
    char *end = memchr(s->line.ptr, '\n', s->line.len);
    if (n > 0 && end == NULL && !s->line.toobig)
        return;
    if (end == NULL || s->later != NULL) {
        session_free(s);
        return;
    }
    auto_str text = STR_INIT(ANSWER_MAX);
    *end = '\0';
    if (run_keys(s, s->line.ptr) || run_later(s, s->line.ptr, &text))
        return;
    run_command(s->control, s->line.ptr, &text);
    answer(s, &text);
}

static void
on_accept(void *arg, int fd, uint32_t events)
{
    struct control *c = arg;
    struct error e = ERROR_INIT;
    struct timeval limit = {.tv_sec = 1};

    UNUSED(events);
    /* Blocking with a limit: an answer that nobody reads is cut off. */
    int peer = accept4(fd, NULL, NULL, SOCK_CLOEXEC);
    if (peer < 0)
        return;
    if (c->n == CONNECTIONS_MAX ||
        setsockopt(peer, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof(limit)) != 0) {
        close(peer);
        return;
    }
    struct session *s = xnew(struct session);
    s->control = c;
    s->fd = peer;
    str_init(&s->line, LINE_MAX_BYTES);
    TAILQ_INSERT_TAIL(&c->sessions, s, entry);
    c->n++;
    if (loop_io_add(c->loop, "control-session", peer, EPOLLIN, on_session, s, &s->io,
                    &e) < 0)
        session_free(s);
}

static int
listen_unix(const char *path, int *ret, struct error *e)
{
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);

    if (fd < 0)
        return error_errno(e, errno, "control socket");
    if (strlen(path) >= sizeof(a.sun_path))
        return error_set(e, ERR_BAD_REQUEST, "%s: the path is too long for a socket",
                         path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    unlink(path);
    mode_t mask = umask(0177);
    int rc = bind(fd, (const struct sockaddr *)&a, sizeof(a));
    int err = errno;
    umask(mask);
    if (rc != 0 || listen(fd, CONNECTIONS_MAX) != 0)
        return error_errno(e, rc != 0 ? err : errno, "listen on %s", path);
    *ret = move_fd(fd);
    return 0;
}

int
control_start(struct loop *l, const char *path, struct api_server *s,
              struct control **ret, struct error *e)
{
    struct control *c = xnew(struct control);

    c->loop = l;
    c->server = s;
    c->path = xstrdup(path);
    c->fd = -1;
    TAILQ_INIT(&c->sessions);
    if (listen_unix(path, &c->fd, e) < 0 ||
        loop_io_add(l, "control", c->fd, EPOLLIN, on_accept, c, &c->io, e) < 0) {
        control_free(c);
        return -(int)e->code;
    }
    *ret = c;
    return 0;
}

void
control_free(struct control *c)
{
    if (c == NULL)
        return;
    while (!TAILQ_EMPTY(&c->sessions))
        session_free(TAILQ_FIRST(&c->sessions));
    loop_io_free(c->io);
    if (c->fd >= 0) {
        close(c->fd);
        unlink(c->path);
    }
    free(c->path);
    free(c);
}
