/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The docker engine's table and its view of the daemon. While the daemon is up one idle
 * stream of its events stays open: its end is how the engine hears of a stop at once.
 * When the daemon is down, inotify on the socket's directory tells of its return; a slow
 * retry covers a daemon that has its socket but does not answer yet.
 */
#include "runner/engines/docker/docker_job.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/unix_socket.h"

LOG_MODULE(docker);

#define API_MAX_MAJOR 1
#define API_MAX_MINOR 43
#define START_SLOTS 4
#define RETRY_MIN_MS 250
#define RETRY_MAX_MS 30000
#define PROBE_TIMEOUT_MS 10000
#define PULL_STALL_MS (5 * 60 * 1000)
#define KILL_AGAIN_MS 1000

static void probe_start(struct engine *en);
static void sweep_start(struct engine *en);

/* --- availability --------------------------------------------------------------------
 */

static void
tell_status(struct engine *en, bool changed)
{
    if ((changed || en->probe_pending) && en->probe_done != NULL) {
        en->probe_pending = false;
        en->probe_done(en->probe_arg, &en->status);
    }
}

static void
retry_later(struct engine *en)
{
    unsigned shift = en->n_retries < 8 ? en->n_retries : 8;
    int64_t delay = (int64_t)RETRY_MIN_MS << shift;
    if (delay > RETRY_MAX_MS)
        delay = RETRY_MAX_MS;
    en->n_retries++;
    loop_timer_in(en->retry, delay + id_uniform((uint32_t)(delay / 4) + 1));
}

static void
set_unavailable(struct engine *en, const char *reason, const char *message)
{
    bool changed = en->status.available || !streq(en->status.reason, reason);
    en->status = (struct engine_status){.available = false};
    snprintf(en->status.reason, sizeof(en->status.reason), "%s", reason);
    snprintf(en->status.message, sizeof(en->status.message), "%s", message);
    docker_call_cancel(&en->events_call);
    if (changed)
        log_info("docker not available", "reason=%s message=\"%s\"", reason, message);
    tell_status(en, changed);
}

static void
on_events_end(void *arg, const struct docker_reply *r)
{
    struct engine *en = arg;
    UNUSED(r);
    docker_engine_suspect(en);
}

static void
on_event_bytes(void *arg, const char *bytes, size_t n)
{
    UNUSED(arg);
    UNUSED(bytes);
    UNUSED(n);
}

static void
watch_events(struct engine *en)
{
    auto_str path = STR_INIT(256);
    if (en->events_call != NULL)
        return;
    str_adds(&path, "/events?filters=");
    docker_escape(&path, "{\"type\":[\"daemon\"]}");
    struct docker_request r = {.method = "GET",
                               .path = path.ptr,
                               .timeout_ms = -1,
                               .on_data = on_event_bytes,
                               .on_reply = on_events_end,
                               .arg = en};
    docker_call_start(en, &en->events_call, &r);
}

static void
set_available(struct engine *en, const char *version)
{
    bool changed = !en->status.available || !streq(en->status.version, version);
    en->status = (struct engine_status){.available = true};
    snprintf(en->status.version, sizeof(en->status.version), "%s", version);
    en->n_retries = 0;
    watch_events(en);
    if (changed)
        log_info("docker available", "version=%s api=%s", version, en->prefix);
    struct docker_job *dj = TAILQ_FIRST(&en->jobs);
    while (dj != NULL) {
        struct docker_job *next = TAILQ_NEXT(dj, link);
        docker_job_engine_back(dj);
        dj = next;
    }
    sweep_start(en);
    tell_status(en, changed);
}

struct api_version {
    long major, minor;
};

static bool
parse_version(const char *text, struct api_version *ret)
{
    char *end;
    if (text == NULL)
        return false;
    ret->major = strtol(text, &end, 10);
    if (end == text || *end != '.')
        return false;
    const char *minor = end + 1;
    ret->minor = strtol(minor, &end, 10);
    return end != minor && *end == '\0' && ret->major > 0 && ret->major < 1000 &&
           ret->minor >= 0 && ret->minor < 1000;
}

static bool
older(const struct api_version *a, const struct api_version *b)
{
    return a->major != b->major ? a->major < b->major : a->minor < b->minor;
}

/* The greatest version both sides speak, as "/v1.41"; false when the daemon's cannot be
 * read. A daemon whose oldest is newer than what we know gets its oldest: the API grows.
 */
static bool
negotiate(const json_t *version, char *out, size_t size)
{
    struct api_version use = {API_MAX_MAJOR, API_MAX_MINOR};
    struct api_version max;
    struct api_version min;
    if (!parse_version(json_string_value(json_object_get(version, "ApiVersion")), &max))
        return false;
    if (older(&max, &use))
        use = max;
    if (parse_version(json_string_value(json_object_get(version, "MinAPIVersion")),
                      &min) &&
        older(&use, &min))
        use = min;
    snprintf(out, size, "/v%ld.%ld", use.major, use.minor);
    return true;
}

static bool
is_podman(const json_t *version)
{
    size_t i;
    const json_t *c;
    json_array_foreach (json_object_get(version, "Components"), i, c) {
        const char *name = json_string_value(json_object_get(c, "Name"));
        if (name != NULL && str_starts(name, "Podman"))
            return true;
    }
    return false;
}

/* The second half of a probe: what the daemon is like. */
static void
on_info(void *arg, const struct docker_reply *r)
{
    struct engine *en = arg;
    const char *root = json_string_value(json_object_get(r->doc, "DockerRootDir"));
    if (!r->reached) {
        set_unavailable(en, "NotAnswering", r->message);
        retry_later(en);
        return;
    }
    en->live_restore = json_is_true(json_object_get(r->doc, "LiveRestoreEnabled"));
    snprintf(en->root_dir, sizeof(en->root_dir), "%s", root != NULL ? root : "");
    set_available(en, en->version);
}

static void
on_version(void *arg, const struct docker_reply *r)
{
    struct engine *en = arg;
    char prefix[16];
    if (!r->reached) {
        set_unavailable(en, "NotAnswering", r->message);
        retry_later(en);
        return;
    }
    const char *version = json_string_value(json_object_get(r->doc, "Version"));
    if (r->status != 200 || version == NULL ||
        !negotiate(r->doc, prefix, sizeof(prefix))) {
        set_unavailable(en, "NotDocker",
                        r->message[0] != '\0' ? r->message
                                              : "the socket's reply has no version");
        retry_later(en);
        return;
    }
    memcpy(en->prefix, prefix, sizeof(en->prefix));
    en->podman = is_podman(r->doc);
    snprintf(en->version, sizeof(en->version), "%s", version);
    struct docker_request info = {.method = "GET",
                                  .path = "/info",
                                  .timeout_ms = PROBE_TIMEOUT_MS,
                                  .on_reply = on_info,
                                  .arg = en};
    docker_call_start(en, &en->probe_call, &info);
}

/* Clearer than what a failed connect says. */
static bool
socket_usable(struct engine *en)
{
    struct stat st;
    char message[240];
    const char *reason = NULL;
    if (stat(en->socket, &st) < 0) {
        reason = errno == EACCES ? "PermissionDenied" : "SocketMissing";
        snprintf(message, sizeof(message), "%.180s: %s", en->socket,
                 errno == EACCES ? "no permission" : "no such socket");
    } else if (!S_ISSOCK(st.st_mode)) {
        reason = "NotDocker";
        snprintf(message, sizeof(message), "%.180s is not a socket", en->socket);
    } else if (access(en->socket, R_OK | W_OK) < 0) {
        reason = "PermissionDenied";
        snprintf(message, sizeof(message), "%.180s: no permission", en->socket);
    }
    if (reason == NULL)
        return true;
    set_unavailable(en, reason, message);
    return false;
}

static void
on_dir_change(void *arg, uint32_t mask, const char *name)
{
    struct engine *en = arg;
    const char *base = strrchr(en->socket, '/');
    UNUSED(mask);
    if (*name != '\0' && !streq(name, base + 1))
        return;
    en->n_retries = 0;
    if (!en->status.available)
        probe_start(en);
}

/* False when the directory cannot be watched (it does not exist). */
static bool
watch_dir(struct engine *en)
{
    struct error e = ERROR_INIT;
    if (en->dir_watch != NULL)
        return true;
    autofree char *dir = xstrdup(en->socket);
    char *slash = strrchr(dir, '/');
    *(slash == dir ? slash + 1 : slash) = '\0';
    return loop_watch_add(en->loop, dir, IN_CREATE | IN_DELETE | IN_MOVED_TO | IN_ATTRIB,
                          on_dir_change, en, &en->dir_watch, &e) == 0;
}

static void
probe_start(struct engine *en)
{
    loop_timer_cancel(en->retry);
    if (en->probe_call != NULL)
        return;
    bool watched = watch_dir(en);
    if (!socket_usable(en)) {
        if (!watched)
            retry_later(en);
        return;
    }
    struct docker_request r = {.method = "GET",
                               .path = "/version",
                               .unversioned = true,
                               .timeout_ms = PROBE_TIMEOUT_MS,
                               .on_reply = on_version,
                               .arg = en};
    docker_call_start(en, &en->probe_call, &r);
}

static void
on_retry(void *arg)
{
    probe_start(arg);
}

/* Not at once: what failed may fail again while /version is fine. */
void
docker_engine_suspect(struct engine *en)
{
    docker_call_cancel(&en->events_call);
    if (en->probe_call == NULL && !loop_timer_armed(en->retry))
        retry_later(en);
}

bool
docker_engine_closed(const struct engine *en)
{
    autoclose int fd = unix_connect(en->socket, SOCK_NONBLOCK);

    return fd == -ECONNREFUSED || fd == -ENOENT;
}

static void
docker_probe(struct engine *en, void (*done)(void *arg, const struct engine_status *s),
             void *arg)
{
    en->probe_done = done;
    en->probe_arg = arg;
    en->probe_pending = true;
    probe_start(en);
}

/* --- slots ---------------------------------------------------------------------------
 */

void
docker_slot_acquire(struct docker_job *dj)
{
    struct engine *en = dj->en;
    bug_if(dj->slot_held || dj->slot_waiting);
    if (en->slots_used < START_SLOTS) {
        en->slots_used++;
        dj->slot_held = true;
        docker_job_slot_granted(dj);
        return;
    }
    dj->slot_waiting = true;
    TAILQ_INSERT_TAIL(&en->waiting, dj, wait_link);
}

void
docker_slot_release(struct docker_job *dj)
{
    struct engine *en = dj->en;
    if (dj->slot_waiting) {
        TAILQ_REMOVE(&en->waiting, dj, wait_link);
        dj->slot_waiting = false;
    }
    if (!dj->slot_held)
        return;
    dj->slot_held = false;
    en->slots_used--;
    struct docker_job *next = TAILQ_FIRST(&en->waiting);
    if (next == NULL)
        return;
    TAILQ_REMOVE(&en->waiting, next, wait_link);
    next->slot_waiting = false;
    next->slot_held = true;
    en->slots_used++;
    docker_job_slot_granted(next);
}

/* --- sweep ---------------------------------------------------------------------------
 */

static void sweep_next(struct engine *en);

static void
on_swept(void *arg, const struct docker_reply *r)
{
    struct engine *en = arg;
    if (!r->reached || (r->status != 204 && r->status != 404))
        log_warn("leftover container not removed", "message=\"%s\"", r->message);
    sweep_next(en);
}

static bool
sweep_knows(const struct engine *en, const char *uid)
{
    for (char **k = en->sweep_known; *k != NULL; k++) {
        if (streq(*k, uid))
            return true;
    }
    for (struct docker_job *dj = TAILQ_FIRST(&en->jobs); dj; dj = TAILQ_NEXT(dj, link)) {
        if (streq(dj->j->uid, uid))
            return true;
    }
    return false;
}

/* Removes one leftover after the other. */
static void
sweep_next(struct engine *en)
{
    auto_str path = STR_INIT(512);
    size_t n = json_array_size(en->sweep_ids);
    if (n == 0) {
        json_decref(en->sweep_ids);
        en->sweep_ids = NULL;
        return;
    }
    const char *id = json_string_value(json_array_get(en->sweep_ids, n - 1));
    log_info("removing leftover container", "id=%s", id);
    str_adds(&path, "/containers/");
    docker_escape(&path, id);
    str_adds(&path, "?force=1&v=1");
    json_array_remove(en->sweep_ids, n - 1);
    struct docker_request r = {
        .method = "DELETE", .path = path.ptr, .on_reply = on_swept, .arg = en};
    docker_call_start(en, &en->sweep_call, &r);
}

static void
sweep_forget(struct engine *en)
{
    for (char **k = en->sweep_known; k != NULL && *k != NULL; k++)
        free(*k);
    free(en->sweep_known);
    en->sweep_known = NULL;
}

static void
on_sweep_list(void *arg, const struct docker_reply *r)
{
    struct engine *en = arg;
    size_t i;
    const json_t *c;
    if (!r->reached) {
        docker_engine_suspect(en); /* stays pending */
        return;
    }
    if (r->status != 200)
        log_warn("leftovers cannot be listed", "message=\"%s\"", r->message);
    en->sweep_ids = json_array();
    json_array_foreach (r->doc, i, c) {
        const char *id = json_string_value(json_object_get(c, "Id"));
        const json_t *labels = json_object_get(c, "Labels");
        const char *uid = json_string_value(json_object_get(labels, DOCKER_LABEL_JOB));
        if (id != NULL && uid != NULL && !sweep_knows(en, uid))
            json_array_append_new(en->sweep_ids, json_string(id));
    }
    sweep_forget(en);
    sweep_next(en);
}

static void
sweep_start(struct engine *en)
{
    auto_str filter = STR_INIT(512);
    auto_str path = STR_INIT(2048);
    if (en->sweep_known == NULL || en->sweep_call != NULL || !en->status.available)
        return;
    str_addf(&filter, "{\"label\":[\"%s=%s\"]}", DOCKER_LABEL_AGENT, en->agent_id);
    str_adds(&path, "/containers/json?all=1&filters=");
    docker_escape(&path, filter.ptr);
    struct docker_request r = {
        .method = "GET", .path = path.ptr, .on_reply = on_sweep_list, .arg = en};
    docker_call_start(en, &en->sweep_call, &r);
}

static void
docker_sweep(struct engine *en, const char *const *known_uids)
{
    size_t n = 0;
    sweep_forget(en);
    while (known_uids[n] != NULL)
        n++;
    en->sweep_known = xcalloc(n + 1, sizeof(char *));
    for (size_t i = 0; i < n; i++)
        en->sweep_known[i] = xstrdup(known_uids[i]);
    sweep_start(en);
}

/* --- table ---------------------------------------------------------------------------
 */

static int
socket_path(const struct engine_config *c, char **ret, struct error *e)
{
    const char *host = getenv("DOCKER_HOST");
    if (c->docker_socket != NULL) {
        *ret = xstrdup(c->docker_socket);
    } else if (host != NULL && *host != '\0') {
        if (!str_starts(host, "unix:///"))
            return error_set(e, ERR_UNSUPPORTED,
                             "DOCKER_HOST is %.100s: only unix:// sockets are supported",
                             host);
        *ret = xstrdup(host + strlen("unix://"));
    } else {
        *ret = xstrdup("/var/run/docker.sock");
    }
    if (**ret != '/') {
        free(*ret);
        return error_set(e, ERR_INVALID, "the docker socket's path must be absolute");
    }
    return 0;
}

/* Passed on to jobs, as a machine behind a proxy gives it to its daemons. */
static void
take_proxies(struct engine *en)
{
    static const char *const names[] = {"http_proxy", "https_proxy", "no_proxy",
                                        "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY"};
    size_t n = 0;
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        const char *value = getenv(names[i]);
        if (value == NULL || *value == '\0')
            continue;
        en->proxy_text[n] = xasprintf("%s=%s", names[i], value);
        en->proxies[n] = en->proxy_text[n];
        n++;
    }
}

static int
docker_open(struct loop *l, const struct engine_config *c, struct engine **ret,
            struct error *e)
{
    autofree char *socket = NULL;
    struct http_multi *http;
    int r = socket_path(c, &socket, e);
    if (r < 0)
        return r;
    r = http_multi_new(l, &http, e);
    if (r < 0)
        return r;
    struct engine *en = xnew(struct engine);
    en->loop = l;
    en->http = http;
    en->socket = move_ptr(socket);
    en->agent_id = xstrdup(c->agent_id != NULL ? c->agent_id : "none");
    en->nvidia = access("/dev/nvidiactl", F_OK) == 0;
    en->retry = loop_timer_new(l, "docker probe", on_retry, en);
    TAILQ_INIT(&en->jobs);
    TAILQ_INIT(&en->waiting);
    TAILQ_INIT(&en->fetches);
    en->stall_ms = c->pull_stall_ms > 0 ? c->pull_stall_ms : PULL_STALL_MS;
    en->kill_again_ms = c->kill_again_ms > 0 ? c->kill_again_ms : KILL_AGAIN_MS;
    en->spool_bytes = c->spool_bytes > 0 ? c->spool_bytes : DOCKER_SPOOL_BYTES;
    en->space = docker_space_new(en, c);
    take_proxies(en);
    *ret = en;
    return 0;
}

static void
docker_close(struct engine *en)
{
    while (!TAILQ_EMPTY(&en->waiting)) {
        struct docker_job *dj = TAILQ_FIRST(&en->waiting);
        TAILQ_REMOVE(&en->waiting, dj, wait_link);
        dj->slot_waiting = false;
    }
    while (!TAILQ_EMPTY(&en->jobs)) {
        struct docker_job *dj = TAILQ_FIRST(&en->jobs);
        dj->slot_held = false;
        docker_job_free(dj);
    }
    docker_fetches_free(en);
    docker_space_free(en->space);
    for (size_t i = 0; i < ARRAY_LEN(en->proxy_text); i++)
        free(en->proxy_text[i]);
    docker_call_cancel(&en->probe_call);
    docker_call_cancel(&en->events_call);
    docker_call_cancel(&en->sweep_call);
    loop_watch_free(en->dir_watch);
    loop_timer_free(en->retry);
    sweep_forget(en);
    json_decref(en->sweep_ids);
    http_multi_free(en->http);
    free(en->socket);
    free(en->agent_id);
    free(en);
}

const struct engine_ops engine_docker = {
    .name = "docker",
    .open = docker_open,
    .close = docker_close,
    .probe = docker_probe,
    .launch = docker_job_launch,
    .adopt = docker_job_adopt,
    .stop = docker_job_stop,
    .remove = docker_job_remove,
    .sweep = docker_sweep,
};
