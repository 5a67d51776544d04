/* SPDX-License-Identifier: Apache-2.0 */
/* Files, command line, child. */
#include "controllers/instance/host_ssh.h"

#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <string.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "controllers/instance/host_script.h"
#include "io/proc.h"

enum {
    OUTPUT_MAX = 64 * 1024,
    COMMAND_MAX = 64 * 1024,
    SCRIPT_MAX = 4 << 20, /* with the variables of a fleet */
    QUICK_MS = 45000,
    COPY_MS = 600000,
    START_MS = 120000,
    REMOVE_MS = 300000,
    ARGS_MAX = 64
};

#define HOST_ALIAS "drover-host"
#define JUMP_ALIAS "drover-jump"

struct session {
    char *dir; /* ours, to be removed */
    int input_fd;
};

static void
session_done(struct session *s)
{
    struct error e = ERROR_INIT;

    if (s->input_fd >= 0)
        close(s->input_fd);
    if (s->dir != NULL) {
        int rc = fs_remove_tree(s->dir, &e);
        UNUSED(rc); /* swept at the next start */
    }
    free(s->dir);
}

/* --- files ------------------------------------------------------------------------- */

static int
write_file(const struct session *s, const char *name, const char *text, struct error *e)
{
    autofree char *path = fs_join(s->dir, name);
    autoclose int fd = open(path, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);

    if (fd < 0)
        return error_errno(e, errno, "make %s", path);
    return fs_write_all(fd, text, strlen(text), e);
}

/* A key file must end in a newline; people's Secrets often do not. */
static int
write_key(const struct session *s, const char *name, const char *pem, struct error *e)
{
    size_t n = strlen(pem);
    autofree char *text = xasprintf("%s%s", pem, n > 0 && pem[n - 1] == '\n' ? "" : "\n");
    int rc = write_file(s, name, text, e);

    explicit_bzero(text, strlen(text));
    return rc;
}

static int
write_known(const struct session *s, const char *name, const char *alias,
            const char *keys, struct error *e)
{
    auto_str text = STR_INIT(128 * 1024);

    for (const char *p = keys; *p != '\0';) {
        size_t n = strcspn(p, "\n");
        if (n > 0)
            str_addf(&text, "%s %.*s\n", alias, (int)n, p);
        p += n + (p[n] == '\n');
    }
    return write_file(s, name, text.ptr, e);
}

static int
open_input(struct session *s, const struct host_task *t, struct error *e)
{
    auto_str script = STR_INIT(SCRIPT_MAX);
    autofree char *path = fs_join(s->dir, "input");

    if (t->step == HOST_COPY) {
        s->input_fd = open(t->program, O_RDONLY | O_CLOEXEC);
        return s->input_fd < 0 ? error_errno(e, errno, "open %s", t->program) : 0;
    }
    host_script_input(t, &script);
    int rc = write_file(s, "input", script.ptr, e);
    explicit_bzero(script.ptr, script.len);
    if (rc < 0)
        return rc;
    s->input_fd = open(path, O_RDONLY | O_CLOEXEC);
    return s->input_fd < 0 ? error_errno(e, errno, "open %s", path) : 0;
}

static int
session_open(struct session *s, const char *dir, const struct host_task *t,
             struct error *e)
{
    autofree char *template = xasprintf("%s/host-XXXXXX", dir);

    if (mkdtemp(template) == NULL)
        return error_errno(e, errno, "make a directory in %s", dir);
    s->dir = move_ptr(template);
    int rc = write_key(s, "id", t->identity, e);
    if (rc == 0)
        rc = write_known(s, "known", HOST_ALIAS, t->keys, e);
    if (rc == 0 && t->has_jump)
        rc = write_key(s, "jump_id", t->jump_identity, e);
    if (rc == 0 && t->has_jump)
        rc = write_known(s, "jump_known", JUMP_ALIAS, t->jump_keys, e);
    return rc == 0 ? open_input(s, t, e) : rc;
}

/* The first key of a known_hosts file, without the name. */
static void
read_known(const struct session *s, const char *name, char *out, size_t size)
{
    autofree char *path = fs_join(s->dir, name);
    auto_str text = STR_INIT(128 * 1024);
    struct error e = ERROR_INIT;

    if (fs_read(path, &text, &e) < 0)
        return;
    const char *space = strchr(text.ptr, ' ');
    if (space != NULL)
        snprintf(out, size, "%.*s", (int)strcspn(space + 1, "\n"), space + 1);
}

/* --- command line ------------------------------------------------------------------ */

struct args {
    const char *v[ARGS_MAX];
    char *owned[ARGS_MAX];
    size_t n, n_owned;
};

static void
arg(struct args *a, const char *text)
{
    bug_if(a->n + 1 >= ARGS_MAX);
    a->v[a->n++] = text;
}

static void
arg_owned(struct args *a, char *text)
{
    a->owned[a->n_owned++] = text;
    arg(a, text);
}

static void
args_done(struct args *a)
{
    for (size_t i = 0; i < a->n_owned; i++)
        free(a->owned[i]);
}

static void
add_options(struct args *a, const struct session *s, const struct host_endpoint *to,
            bool jump, bool pinned)
{
    static const char *const fixed[] = {"BatchMode=yes",
                                        "IdentitiesOnly=yes",
                                        "IdentityAgent=none",
                                        "PasswordAuthentication=no",
                                        "KbdInteractiveAuthentication=no",
                                        "GlobalKnownHostsFile=/dev/null",
                                        "CheckHostIP=no",
                                        "UpdateHostKeys=no",
                                        "ControlPath=none",
                                        "ForwardAgent=no",
                                        "ClearAllForwardings=yes",
                                        "ConnectTimeout=10",
                                        "ConnectionAttempts=1",
                                        "ServerAliveInterval=5",
                                        "ServerAliveCountMax=3",
                                        "LogLevel=ERROR"};

    arg(a, "ssh");
    arg(a, "-F");
    arg(a, "/dev/null");
    arg(a, "-T");
    for (size_t i = 0; i < ARRAY_LEN(fixed); i++) {
        if (jump && str_starts(fixed[i], "ClearAll"))
            continue; /* -W is one */
        arg(a, "-o");
        arg(a, fixed[i]);
    }
    arg(a, "-o");
    arg(a, pinned ? "StrictHostKeyChecking=yes" : "StrictHostKeyChecking=accept-new");
    arg(a, "-o");
    arg(a, jump ? "HostKeyAlias=" JUMP_ALIAS : "HostKeyAlias=" HOST_ALIAS);
    arg(a, "-o");
    arg_owned(a, xasprintf("UserKnownHostsFile=\"%s/%s\"", s->dir,
                           jump ? "jump_known" : "known"));
    arg(a, "-i");
    arg_owned(a, xasprintf("%s/%s", s->dir, jump ? "jump_id" : "id"));
    arg(a, "-p");
    arg_owned(a, xasprintf("%lld", (long long)to->port));
    arg(a, "-l");
    arg(a, to->user);
}

/* A word for the shell that runs a ProxyCommand; % is special there. */
static void
quote_proxy(struct str *out, const char *word)
{
    str_adds(out, " '");
    for (; *word != '\0'; word++) {
        if (*word == '\'')
            str_adds(out, "'\\''");
        else if (*word == '%')
            str_adds(out, "%%");
        else
            str_addc(out, *word);
    }
    str_addc(out, '\'');
}

static char *
proxy_option(const struct session *s, const struct host_task *t)
{
    auto_str out = STR_INIT(COMMAND_MAX);
    struct args a = {0};

    add_options(&a, s, &t->jump, true, t->jump_keys[0] != '\0');
    str_adds(&out, "ProxyCommand="); /* ssh puts exec before it */
    for (size_t i = 0; i < a.n; i++)
        quote_proxy(&out, a.v[i]);
    str_adds(&out, " -W '[%h]:%p'");
    quote_proxy(&out, t->jump.hostname);
    autofree char *said = fs_join(s->dir, "jump_said");
    str_adds(&out, " 2>");
    quote_proxy(&out, said);
    args_done(&a);
    return str_detach(&out);
}

/* --- the child --------------------------------------------------------------------- */

static int
time_of(enum host_step step)
{
    switch (step) {
    case HOST_COPY:
        return COPY_MS;
    case HOST_START:
        return START_MS;
    case HOST_REMOVE:
        return REMOVE_MS;
    case HOST_STEP_NONE:
    case HOST_PROBE:
    case HOST_DIAGNOSE:
        break;
    }
    return QUICK_MS;
}

/* Takes what is there; false at the end. */
static bool
drain(int fd, struct str *out)
{
    char buf[4096];
    ssize_t n = read(fd, buf, sizeof(buf));

    if (n > 0) {
        size_t room = out->max - out->len;
        str_add(out, buf, (size_t)n < room ? (size_t)n : room);
    }
    return n > 0 || (n < 0 && (errno == EINTR || errno == EAGAIN));
}

/* Until the child ends, its time is over or we shall give up. False: it had to be killed.
 */
static bool
watch_child(int pidfd, int out_fd, int cancel_fd, int64_t until, struct str *out)
{
    struct pollfd fds[] = {{.fd = pidfd, .events = POLLIN},
                           {.fd = out_fd, .events = POLLIN},
                           {.fd = cancel_fd, .events = POLLIN}};

    for (;;) {
        int64_t left = until - clock_now_ms();
        if (left <= 0 || fds[2].revents != 0)
            return false;
        if (poll(fds, ARRAY_LEN(fds), (int)left) < 0 && errno != EINTR)
            return false;
        if (fds[1].revents != 0 && !drain(out_fd, out))
            fds[1].fd = -1;
        if (fds[0].revents == 0)
            continue;
        while (fds[1].fd >= 0 && poll(&fds[1], 1, 0) > 0 && drain(out_fd, out))
            ;
        return true;
    }
}

/* Exit code, -1 after a kill; < -1 with e when it could not be started. */
static int
run_child(const struct session *s, const struct args *a, int timeout_ms, int cancel_fd,
          struct str *out, struct error *e)
{
    int ends[2], status = 0;
    pid_t pid;

    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(e, errno, "make a pipe") - 1;
    autoclose int read_end = ends[0];
    struct proc_opts o = PROC_OPTS_INIT;
    o.argv = a->v;
    o.stdin_fd = s->input_fd;
    o.stdout_fd = o.stderr_fd = ends[1];
    o.parent_death_signal = SIGKILL;
    int rc = proc_spawn(&o, &pid, e);
    close(ends[1]);
    if (rc < 0)
        return rc - 1;
    autoclose int pidfd = pidfd_open(pid, 0);
    bool ended = pidfd >= 0 && watch_child(pidfd, read_end, cancel_fd,
                                           clock_now_ms() + timeout_ms, out);
    if (!ended)
        kill(pid, SIGKILL);
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return ended && WIFEXITED(status) ? WEXITSTATUS(status) : -1;
}

static void
read_jump(const struct session *s, struct host_result *ret)
{
    autofree char *path = fs_join(s->dir, "jump_said");
    auto_str text = STR_INIT(OUTPUT_MAX);
    struct error e = ERROR_INIT;

    if (fs_read(path, &text, &e) == 0)
        host_script_read_jump(text.ptr, ret);
}

static void
run_session(const struct session *s, const struct host_task *t, int cancel_fd,
            struct host_result *ret)
{
    auto_str output = STR_INIT(OUTPUT_MAX), command = STR_INIT(COMMAND_MAX);
    struct error e = ERROR_INIT;
    struct args a = {0};

    host_script_command(t, &command);
    add_options(&a, s, &t->to, false, t->keys[0] != '\0');
    if (t->has_jump) {
        arg(&a, "-o");
        arg_owned(&a, proxy_option(s, t));
    }
    arg(&a, "--");
    arg(&a, t->to.hostname);
    arg(&a, command.ptr);
    int code = run_child(s, &a, time_of(t->step), cancel_fd, &output, &e);
    if (code < -1)
        host_result_fail(ret, t->step, "NoSSH", "%s", e.msg);
    else
        host_script_read(t, output.ptr, code, ret);
    if (code >= -1 && !ret->ok && t->has_jump)
        read_jump(s, ret);
    args_done(&a);
}

void
host_ssh_run(const char *dir, const struct host_task *t, int cancel_fd,
             struct host_result *ret)
{
    struct session s = {.input_fd = -1};
    struct error e = ERROR_INIT;

    if (session_open(&s, dir, t, &e) < 0) {
        host_result_fail(ret, t->step, "LocalFailure", "%s", e.msg);
    } else {
        run_session(&s, t, cancel_fd, ret);
        read_known(&s, "known", ret->key, sizeof(ret->key));
        if (t->has_jump)
            read_known(&s, "jump_known", ret->jump_key, sizeof(ret->jump_key));
    }
    session_done(&s);
}
