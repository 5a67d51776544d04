/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Files and code of one job: gathers what the child of runner/place needs (where things
 * go, the repository's secret, the blobs' server), starts it, and hears how it went.
 */
#include <fcntl.h>
#include <inttypes.h>
#include <signal.h>
#include <sodium.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/wait.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "client/client.h"
#include "io/proc.h"
#include "runner/job.h"
#include "runner/place/roots.h"
#include "runner/roots_keep.h"
#include "runner/supervisor/rootfs.h"

LOG_MODULE(place);

#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 15000
#define FORBIDDEN_MAX 4 /* the claim may not have reached every cache yet */
#define BINDS_MAX 320
#define ANSWER_MAX 1024
/* Of a container whose working directory is not given. */
#define DEFAULT_DIR "/workflow"

struct job_place {
    struct job *job;
    json_t *order;
    struct server_call *call;
    struct loop_timer *retry;
    struct backoff backoff;
    unsigned forbidden;
    pid_t pid; /* 0: not started */
    struct loop_child *child;
    struct loop_io *io;
    int out_fd;
    struct str answer;
};

/* The token or key of a repository must not stay in freed memory. */
static void
wipe(const json_t *order, const char *key)
{
    size_t i;
    const json_t *repo;

    json_array_foreach (json_object_get(order, "repos"), i, repo) {
        const json_t *v = json_object_get(repo, key);
        if (json_is_string(v))
            sodium_memzero((void *)(uintptr_t)json_string_value(v),
                           json_string_length(v));
    }
}

void
place_cancel(struct job *j)
{
    struct job_place *p = j->place;

    if (p == NULL)
        return;
    server_call_cancel(&p->call);
    loop_timer_free(p->retry);
    loop_io_free(p->io);
    loop_child_free(p->child);
    cleanup_close_ptr(&p->out_fd);
    if (p->pid > 0) {
        kill(-p->pid, SIGKILL);
        while (waitpid(p->pid, NULL, 0) < 0 && errno == EINTR)
            ;
        if (json_object_get(p->order, "archive") != NULL)
            roots_keep_sweep(j->a->roots);
    }
    wipe(p->order, "token");
    wipe(p->order, "privateKey");
    json_decref(p->order);
    str_done(&p->answer);
    free(p);
    j->place = NULL;
}

static void
end(struct job *j, const char *problem)
{
    if (problem == NULL) {
        j->placed = true;
    } else {
        j->place_failed = true;
        snprintf(j->place_message, sizeof(j->place_message), "%s", problem);
    }
    place_cancel(j);
    job_step(j);
}

/* --- where things go ------------------------------------------------------------------
 */

static const json_t *
spec_list(const struct job *j, const char *key)
{
    return json_object_get(json_object_get(j->object, "spec"), key);
}

/* The archive of its root file system, a blob. In a container it is refused later. */
static const char *
root_blob(const struct job *j)
{
    return streq(j->view.engine, "docker")
               ? NULL
               : json_string_value(json_object_get(spec_list(j, "rootfs"), "blob"));
}

void
place_find_root(struct job *j)
{
    const char *path = json_string_value(json_object_get(spec_list(j, "rootfs"), "path"));

    free(j->root);
    j->root = NULL;
    if (path != NULL)
        j->root = xstrdup(path);
    else if (root_blob(j) != NULL)
        j->root = roots_path(j->a->opts->dir, root_blob(j));
}

bool
place_needed(const struct job *j)
{
    return root_blob(j) != NULL || json_array_size(spec_list(j, "files")) > 0 ||
           json_array_size(spec_list(j, "repos")) > 0;
}

/* The directory that relative paths and the command itself start from. */
static const char *
base_dir(const struct job *j, bool process)
{
    const char *dir = json_string_value(spec_list(j, "workingDir"));

    if (dir != NULL && *dir == '/')
        return dir;
    return process ? ROOTFS_HOME : DEFAULT_DIR;
}

/* In a root of its own "/job" and "/tmp" are as ever; the rest is mounted. */
static bool
is_private(const char *target)
{
    struct error ignored = ERROR_INIT;
    autofree char *to = NULL;

    return place_process_path(target, &to, &ignored) == 0;
}

static bool
numeric_user(const char *user)
{
    return user == NULL || *user == '\0' || strspn(user, "0123456789:") == strlen(user) ||
           streq(user, "root") || streq(user, "root:root");
}

static int
add_item(struct job *j, json_t *items, const json_t *from, bool process, struct error *e)
{
    autofree char *target = NULL;
    autofree char *to = NULL;
    const char *path = json_string_value(json_object_get(from, "path"));
    int rc = place_expand(path == NULL ? "." : path, base_dir(j, process),
                          process ? ROOTFS_HOME : "", &target, e);

    bool own = !process || j->root != NULL;
    if (rc == 0 && own && path != NULL && path[0] == '~')
        rc =
            error_set(e, ERR_INVALID,
                      "path %.200s: the home of an image's user is not known here", path);
    if (rc == 0 && target[0] != '/')
        rc = error_set(e, ERR_INVALID, "path %.200s is not absolute", target);
    bool mounted = own && !(rc == 0 && process && is_private(target));
    if (rc == 0 && !mounted)
        rc = place_process_path(target, &to, e);
    if (rc < 0)
        return rc;
    if (mounted) {
        if (j->n_binds == BINDS_MAX || strchr(target, ':') != NULL)
            return error_set(e, ERR_INVALID, "path %.200s cannot be mounted", target);
        to = xasprintf(ROOTFS_CODE "/%zu/x", j->n_binds);
        j->binds = xreallocarray(j->binds, j->n_binds + 2, sizeof(char *));
        j->binds[j->n_binds++] = xasprintf("%s/%s:%s", j->dir, to, target);
        j->binds[j->n_binds] = NULL;
    }
    json_t *item = json_deep_copy(from);
    json_object_set_new(item, "to", json_string(to));
    json_object_set_new(item, "path", json_string(target));
    json_array_append_new(items, item);
    return 0;
}

void
place_free_binds(struct job *j)
{
    for (size_t i = 0; i < j->n_binds; i++)
        free(j->binds[i]);
    free(j->binds);
    j->binds = NULL;
    j->n_binds = 0;
}

static void
add_archive(const struct job *j, json_t *order)
{
    const char *blob = root_blob(j);

    if (blob == NULL)
        return;
    json_object_set_new(order, "archive", json_string(blob));
    json_object_set_new(order, "agentDir", json_string(j->a->opts->dir));
    json_object_set_new(order, "floorMib", json_integer(diskroom_floor(j->a->room)));
}

static int
make_order(struct job_place *p, struct error *e)
{
    static const char *const kinds[] = {"repos", "files"};
    struct job *j = p->job;
    bool process = !streq(j->view.engine, "docker");
    const char *user = json_string_value(spec_list(j, "user"));
    int rc = 0;

    place_free_binds(j);
    p->order =
        json_pack("{s:s, s:b, s:s, s:o}", "dir", j->dir, "process", process, "ns",
                  j->view.ns, "roots",
                  process ? json_pack("[s,s,s]", ROOTFS_WORK, ROOTFS_TMP, ROOTFS_CODE)
                          : json_pack("[s]", ROOTFS_CODE));
    place_find_root(j);
    if (j->root != NULL)
        json_object_set_new(p->order, "root", json_string(j->root));
    add_archive(j, p->order);
    autofree char *cache = fs_join(j->a->opts->dir, "blobs");
    json_object_set_new(p->order, "cache", json_string(cache));
    if (user != NULL)
        json_object_set_new(p->order, "user", json_string(user));
    if (!process && !numeric_user(user))
        return error_set(
            e, ERR_INVALID,
            "files and repos need a numeric user: \"%.100s\" is known to the "
            "image only",
            user);
    for (size_t k = 0; k < ARRAY_LEN(kinds); k++) {
        size_t i;
        const json_t *from;
        json_t *items = json_array();
        json_object_set_new(p->order, kinds[k], items);
        json_array_foreach (spec_list(j, kinds[k]), i, from) {
            if (rc == 0)
                rc = add_item(j, items, from, process, e);
        }
    }
    return rc;
}

void
place_fill(struct job *j)
{
    j->ej.binds = (const char *const *)j->binds;
    bool container = streq(j->view.engine, "docker");
    if (container && place_needed(j) && j->ej.working_dir == NULL)
        j->ej.working_dir = DEFAULT_DIR;
}

/* --- the child -----------------------------------------------------------------------
 */

static void
on_output(void *arg, int fd, uint32_t events)
{
    struct job_place *p = arg;
    char buf[512];
    ssize_t n = read(fd, buf, sizeof(buf));

    UNUSED(events);
    if (n > 0)
        str_add(&p->answer, buf, (size_t)n);
    else if (n == 0 || (errno != EAGAIN && errno != EINTR)) {
        loop_io_free(p->io);
        p->io = NULL;
    }
}

static void
on_end(void *arg, pid_t pid, int status)
{
    struct job_place *p = arg;
    char text[ANSWER_MAX];

    UNUSED(pid);
    kill(-p->pid, SIGKILL); /* what git may have left */
    p->pid = 0;
    while (p->io != NULL)
        on_output(p, p->out_fd, 0);
    bool good = status != LOOP_CHILD_UNKNOWN && WIFEXITED(status) &&
                WEXITSTATUS(status) == 0 && str_starts(p->answer.ptr, "ok");
    if (good) {
        end(p->job, NULL);
        return;
    }
    size_t n = strcspn(p->answer.ptr, "\n");
    if (n > 0)
        snprintf(text, sizeof(text), "%.*s", (int)n, p->answer.ptr);
    else
        proc_status_text(status, text, sizeof(text));
    log_warn("files not placed", "job=%s uid=%s error=\"%s\"", p->job->view.name,
             p->job->uid, text);
    end(p->job, text);
}

static int
order_fd(const json_t *order, int *ret_fd, struct error *e)
{
    autoclose int fd = memfd_create("drover-place", MFD_CLOEXEC);

    if (fd < 0 || json_dumpfd(order, fd, JSON_COMPACT) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        return error_errno(e, errno, "write the order");
    *ret_fd = move_fd(fd);
    return 0;
}

static int
spawn(struct job_place *p, struct error *e)
{
    struct agent *a = p->job->a;
    const char *argv[] = {a->opts->program, PLACE_FLAG, NULL};
    struct proc_opts o = PROC_OPTS_INIT;
    autoclose int in = -1;
    int ends[2];

    if (order_fd(p->order, &in, e) < 0)
        return -(int)e->code;
    if (pipe2(ends, O_CLOEXEC) < 0)
        return error_errno(e, errno, "create pipe");
    p->out_fd = ends[0];
    autoclose int out = ends[1];
    o.argv = argv;
    o.stdin_fd = in;
    o.stdout_fd = out;
    o.stderr_fd = 2;
    o.parent_death_signal = SIGKILL;
    o.new_session = true;
    if (proc_spawn(&o, &p->pid, e) < 0)
        return -(int)e->code;
    if (loop_child_add(a->loop, "place", p->pid, on_end, p, &p->child, e) < 0 ||
        loop_io_add(a->loop, "place", p->out_fd, EPOLLIN, on_output, p, &p->io, e) < 0)
        return -(int)e->code;
    return 0;
}

static void
start(struct job_place *p)
{
    struct job *j = p->job;
    struct error e = ERROR_INIT;
    struct http_target t;

    server_target(j->a->server, &t);
    const char *url = streams_url(j->a->streams);
    json_object_set_new(p->order, "url", json_string(url != NULL ? url : t.url));
    if (t.ca_pem != NULL)
        json_object_set_new(p->order, "caPem", json_string(t.ca_pem));
    if (t.bearer != NULL)
        json_object_set_new(p->order, "bearer", json_string(t.bearer));
    report_state(j, json_array_size(json_object_get(p->order, "repos")) > 0
                        ? "Cloning"
                        : "Preparing");
    if (spawn(p, &e) < 0)
        end(j, e.msg);
}

/* --- the repository's secret ----------------------------------------------------------
 */

static json_t *
first_repo(const struct job_place *p)
{
    return json_array_get(json_object_get(p->order, "repos"), 0);
}

static const char *
secret_name(const struct job_place *p)
{
    return json_string_value(
        json_object_get(json_object_get(first_repo(p), "secretRef"), "name"));
}

static bool
take_value(json_t *repo, const char *to, const json_t *data, const char *key)
{
    const json_t *v = json_object_get(data, key);
    auto_str bytes = STR_INIT(65536);
    struct error e = ERROR_INIT;

    if (!json_is_string(v) ||
        id_base64_decode(json_string_value(v), json_string_length(v), false, &bytes, &e) <
            0)
        return false;
    json_object_set_new(repo, to, json_stringn(bytes.ptr, bytes.len));
    sodium_memzero(bytes.ptr, bytes.len);
    return json_object_get(repo, to) != NULL;
}

static void
on_secret(void *arg, const struct server_reply *r)
{
    struct job_place *p = arg;
    char text[400];

    if (server_ok(r)) {
        const json_t *data = json_object_get(r->doc, "data");
        json_t *repo = first_repo(p);
        if (take_value(repo, "token", data, "token") ||
            take_value(repo, "privateKey", data, "private-key") ||
            take_value(repo, "privateKey", data, "ssh-privatekey")) {
            start(p);
            return;
        }
        snprintf(text, sizeof(text),
                 "secret %.100s has neither the key token nor private-key",
                 secret_name(p));
        end(p->job, text);
        return;
    }
    bool refused = r->error.code == ERR_NOT_FOUND ||
                   (r->error.code == ERR_FORBIDDEN && ++p->forbidden >= FORBIDDEN_MAX);
    if (refused) {
        snprintf(text, sizeof(text), "secret %.100s of the repository: %.250s",
                 secret_name(p), r->error.msg);
        end(p->job, text);
        return;
    }
    loop_timer_in(p->retry, backoff_next_ms(&p->backoff, RETRY_MIN_MS, RETRY_MAX_MS));
}

static void
ask_secret(void *arg)
{
    struct job_place *p = arg;
    auto_str path = STR_INIT(2048);

    server_path(&path, &resource_secrets, p->job->view.ns, secret_name(p), NULL);
    struct server_request r = {
        .method = "GET", .path = path.ptr, .on_reply = on_secret, .arg = p};
    server_call(p->job->a->server, &p->call, &r);
}

void
place_start(struct job *j)
{
    struct job_place *p = xnew(struct job_place);
    struct error e = ERROR_INIT;

    p->job = j;
    p->out_fd = -1;
    p->retry = loop_timer_new(j->a->loop, "job place", ask_secret, p);
    str_init(&p->answer, ANSWER_MAX);
    j->place = p;
    if (make_order(p, &e) < 0)
        end(j, e.msg);
    else if (secret_name(p) != NULL)
        ask_secret(p);
    else
        start(p);
}
