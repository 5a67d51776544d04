/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The docker engine on a pretended daemon, for what a real one cannot be made to do here:
 * API versions, refusals of device runtimes, pulls that end early, one pull for many
 * jobs.
 */
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "integration/docker_fixture.h"
#include "io/http_server.h"
#include "io/segment.h"

#define MAX_SEEN 64
#define ID "c111111111111111111111111111111111111111111111111111111111111111"

struct daemon {
    struct http_server *server;
    char socket[100];
    /* what it is like */
    const char *api, *min_api, *components;
    const char *pull_lines;  /* reply of a pull; NULL: it never ends */
    const char *start_error; /* of the first start */
    const char *state;       /* of the container, until it is started; NULL: exited, 0 */
    const char *actions;     /* kept events of the container, comma-separated */
    bool no_restore;         /* live-restore is off */
    bool has_image;
    int exit_code;
    unsigned kills_needed; /* it runs until so many SIGKILLs came; 0: no */
    unsigned n_kills;
    struct http_stream *wait_stream;
    bool wait_sent;
    bool log_waits;                 /* nothing of a log is sent before this is false */
    struct http_stream *log_stream; /* the newest */
    bool log_sent;
    /* what came */
    char seen[MAX_SEEN][300]; /* "POST /v1.41/containers/create?name=u" */
    size_t n_seen;
    unsigned n_pulls, n_pulls_open, n_creates, n_starts, n_deletes;
    char created[2][4096]; /* bodies */
    char auth[600];
    struct str lines;
    size_t sent;
};

static ssize_t
fill(void *arg, char *buf, size_t max)
{
    struct daemon *d = arg;
    size_t n = d->lines.len - d->sent;
    if (n == 0)
        return d->pull_lines != NULL ? -1 : 0;
    n = n < max ? n : max;
    memcpy(buf, d->lines.ptr + d->sent, n);
    d->sent += n;
    return (ssize_t)n;
}

static ssize_t
silence(void *arg, char *buf, size_t max)
{
    UNUSED(arg);
    UNUSED(buf);
    UNUSED(max);
    return 0;
}

static void
pull_closed(void *arg)
{
    struct daemon *d = arg;
    d->n_pulls_open--;
}

#define LOG_ENTRY                                                                        \
    "\1\0\0\0\0\0\0\x24"                                                                 \
    "2036-01-02T03:04:05.000000001Z late\n"
/* As it was read from the init, in two parts. */
#define LOG_COMPLAINT                                                                    \
    "\2\0\0\0\0\0\0\x30"                                                                 \
    "2036-01-02T03:04:05.000000001Z [FATAL tini (7)] "                                   \
    "\2\0\0\0\0\0\0\x3c"                                                                 \
    "2036-01-02T03:04:05.000000002Z exec /x failed: No such file\n"

static ssize_t
fill_log(void *arg, char *buf, size_t max)
{
    struct daemon *d = arg;
    if (d->log_waits)
        return 0;
    if (d->log_sent)
        return -1;
    struct span log = {LOG_ENTRY, sizeof(LOG_ENTRY) - 1};
    if (d->exit_code == 127)
        log = (struct span){LOG_COMPLAINT, sizeof(LOG_COMPLAINT) - 1};
    assert_true(max >= log.len);
    memcpy(buf, log.ptr, log.len);
    d->log_sent = true;
    return (ssize_t)log.len;
}

static void
on_log(struct daemon *d, struct http_request *r)
{
    if (d->log_waits)
        d->log_stream =
            http_respond_stream(r, 200, "application/octet-stream", fill_log, NULL, d);
    else
        http_respond(r, 200, "application/octet-stream", "", 0);
}

static void
json(struct http_request *r, int status, const char *text)
{
    http_respond(r, status, "application/json", text, strlen(text));
}

static void
on_pull(struct daemon *d, struct http_request *r)
{
    const char *auth = http_header(r, "X-Registry-Auth");
    d->n_pulls++;
    d->n_pulls_open++;
    d->sent = 0;
    snprintf(d->auth, sizeof(d->auth), "%s", auth != NULL ? auth : "");
    str_reset(&d->lines);
    str_adds(&d->lines, d->pull_lines != NULL
                            ? d->pull_lines
                            : "{\"status\":\"Pulling fs layer\",\"id\":\"a\"}\n");
    d->has_image = d->pull_lines != NULL;
    http_respond_stream(r, 200, "application/json", fill, pull_closed, d);
}

static void
on_version(struct daemon *d, struct http_request *r)
{
    auto_str out = STR_INIT(2048);
    str_addf(&out,
             "{\"Version\":\"9.9\",\"ApiVersion\":\"%s\",\"MinAPIVersion\":\"%s\","
             "\"Components\":[{\"Name\":\"%s\"}]}",
             d->api, d->min_api, d->components);
    json(r, 200, out.ptr);
}

static void
on_create(struct daemon *d, struct http_request *r)
{
    struct span body = http_body(r);
    if (!d->has_image) {
        json(r, 404, "{\"message\":\"No such image\"}");
        return;
    }
    if (d->n_creates < ARRAY_LEN(d->created))
        snprintf(d->created[d->n_creates], sizeof(d->created[0]), "%.*s", SPAN_ARG(body));
    d->n_creates++;
    json(r, 201, "{\"Id\":\"" ID "\"}");
}

static void
on_start(struct daemon *d, struct http_request *r)
{
    d->n_starts++;
    if (d->n_starts == 1 && d->start_error != NULL) {
        auto_str out = STR_INIT(1024);
        str_addf(&out, "{\"message\":\"%s\"}", d->start_error);
        json(r, 500, out.ptr);
        return;
    }
    http_respond(r, 204, "text/plain", "", 0);
}

static bool
runs(const struct daemon *d)
{
    return d->n_starts > 0 && d->n_kills < d->kills_needed;
}

static ssize_t
fill_wait(void *arg, char *buf, size_t max)
{
    static const char reply[] = "{\"StatusCode\":137}";
    struct daemon *d = arg;
    if (runs(d))
        return 0;
    if (d->wait_sent)
        return -1;
    assert_true(max >= sizeof(reply));
    memcpy(buf, reply, sizeof(reply) - 1);
    d->wait_sent = true;
    return sizeof(reply) - 1;
}

static void
wait_closed(void *arg)
{
    struct daemon *d = arg;
    d->wait_stream = NULL;
}

static void
on_wait(struct daemon *d, struct http_request *r)
{
    if (d->kills_needed == 0)
        json(r, 200, "{\"StatusCode\":0}");
    else
        d->wait_stream =
            http_respond_stream(r, 200, "application/json", fill_wait, wait_closed, d);
}

static void
on_kill(struct daemon *d, struct http_request *r)
{
    bool last = ++d->n_kills >= d->kills_needed;
    http_respond(r, 204, "text/plain", "", 0);
    if (last && d->wait_stream != NULL)
        http_stream_wake(d->wait_stream);
}

static void
on_inspect(struct daemon *d, struct http_request *r)
{
    auto_str out = STR_INIT(2048);
    const char *uid = strstr(http_path(r), "/containers/") + strlen("/containers/");
    const char *state = d->n_starts == 0 ? d->state : NULL;
    if (runs(d))
        state = "\"Status\":\"running\",\"Running\":true,\"Pid\":0,"
                "\"StartedAt\":\"2036-01-02T03:04:05Z\"";
    if (state == NULL)
        state = "\"Status\":\"exited\",\"StartedAt\":"
                "\"2036-01-02T03:04:05Z\",\"FinishedAt\":\"2036-01-02T03:04:06Z\"";
    auto_str code = STR_INIT(64);
    if (state != d->state)
        str_addf(&code, ",\"ExitCode\":%d", d->exit_code);
    str_addf(&out,
             "{\"Id\":\"" ID "\",\"State\":{%s%s},"
             "\"Config\":{\"Labels\":{\"drover.dev/job-uid\":\"%.36s\"}}}",
             state, code.ptr, uid);
    json(r, 200, out.ptr);
}

static void
on_kept_events(struct daemon *d, struct http_request *r)
{
    auto_str out = STR_INIT(64 * 1024);
    autofree char *actions =
        xstrdup(d->actions != NULL && d->n_starts == 0 ? d->actions : "start");
    char *rest = NULL;
    str_adds(&out, "{\"Type\":\"network\",\"Action\":\"create\",\"Actor\":{\"ID\":\"" ID
                   "\"}}\n{\"Type\":\"container\",\"Action\":\"die\",\"Actor\":{\"ID\":"
                   "\"another\"}}\n");
    for (char *a = strtok_r(actions, ",", &rest); a; a = strtok_r(NULL, ",", &rest))
        str_addf(&out,
                 "{\"Type\":\"container\",\"Action\":\"%s\",\"Actor\":{\"ID\":\"" ID
                 "\"}}\n",
                 a);
    http_respond(r, 200, "application/json", out.ptr, out.len);
}

static bool
is(struct http_request *r, const char *method, const char *part)
{
    return streq(http_method(r), method) && strstr(http_path(r), part) != NULL;
}

static void
handle(void *arg, struct http_request *r)
{
    struct daemon *d = arg;
    if (d->n_seen < MAX_SEEN)
        snprintf(d->seen[d->n_seen++], sizeof(d->seen[0]), "%s %s", http_method(r),
                 http_raw_path(r));
    if (is(r, "GET", "/version"))
        on_version(d, r);
    else if (is(r, "GET", "/events") && strstr(http_raw_path(r), "until=") != NULL)
        on_kept_events(d, r);
    else if (is(r, "GET", "/events"))
        http_respond_stream(r, 200, "application/json", silence, NULL, d);
    else if (is(r, "GET", "/info"))
        json(r, 200,
             d->no_restore ? "{\"LiveRestoreEnabled\":false}"
                           : "{\"LiveRestoreEnabled\":true}");
    else if (is(r, "POST", "/images/create"))
        on_pull(d, r);
    else if (is(r, "POST", "/containers/create"))
        on_create(d, r);
    else if (is(r, "POST", "/start"))
        on_start(d, r);
    else if (is(r, "POST", "/wait"))
        on_wait(d, r);
    else if (is(r, "POST", "/kill"))
        on_kill(d, r);
    else if (is(r, "GET", "/logs"))
        on_log(d, r);
    else if (is(r, "GET", "/json") && strstr(http_path(r), "/containers/") != NULL)
        on_inspect(d, r);
    else if (is(r, "DELETE", "/containers/")) {
        d->n_deletes++;
        http_respond(r, 204, "text/plain", "", 0);
    } else
        json(r, 404, "{\"message\":\"no such thing\"}");
}

static struct fixture *
up(struct daemon *d)
{
    struct fixture *f = fixture_new();
    struct error e = ERROR_INIT;
    struct http_server_opts o = {.name = "daemon", .handler = handle, .arg = d};
    if (d->api == NULL) {
        d->api = "1.41";
        d->min_api = "1.12";
    }
    if (d->components == NULL)
        d->components = "Engine";
    str_init(&d->lines, 64 * 1024);
    snprintf(d->socket, sizeof(d->socket), "%s/docker.sock", f->dir);
    o.unix_path = d->socket;
    assert_int_equal(http_server_start(f->loop, &o, &d->server, &e), 0);
    engine_up_with(f, &(struct engine_config){.docker_socket = d->socket,
                                              .pull_stall_ms = 300,
                                              .kill_again_ms = 10});
    return f;
}

static void
down(struct fixture *f, struct daemon *d)
{
    engine_docker.close(f->en);
    f->en = NULL;
    http_server_free(d->server);
    str_done(&d->lines);
    fixture_free(f);
}

static bool
saw(const struct daemon *d, const char *text)
{
    for (size_t i = 0; i < d->n_seen; i++) {
        if (strstr(d->seen[i], text) != NULL)
            return true;
    }
    return false;
}

static void
versions(void **state)
{
    static const struct {
        const char *api, *min_api, *prefix; /* NULL: not a daemon */
    } cases[] = {
        {"1.41", "1.12", "/v1.41/"}, {"1.47", "1.24", "/v1.43/"},
        {"1.52", "1.44", "/v1.44/"}, {"1.30", "1.12", "/v1.30/"},
        {"2.0", "2.0", "/v2.0/"},    {"x", "1.12", NULL},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct daemon d = {
            .api = cases[i].api, .min_api = cases[i].min_api, .has_image = true};
        struct fixture *f = up(&d);
        assert_int_equal(f->status.available, cases[i].prefix != NULL);
        if (cases[i].prefix == NULL) {
            assert_string_equal(f->status.reason, "NotDocker");
        } else {
            struct job *job = job_new(f, "true");
            run(f, job);
            assert_int_equal(job->result.exit_code, 0);
            remove_job(f, job);
            autofree char *want = xasprintf("POST %scontainers/create", cases[i].prefix);
            assert_true(saw(&d, want));
        }
        down(f, &d);
    }
}

/* A server without the display module: once more, without that capability; once only. */
static void
modeset_retry(void **state)
{
    static const struct engine_device gpu = {"nvidia", "GPU-1", NULL};
    struct daemon d = {.has_image = true,
                       .start_error = "nvidia-container-cli: stat failed: "
                                      "/dev/nvidia-modeset: no such file or directory"};
    UNUSED(state);
    struct fixture *f = up(&d);
    struct job *job = job_new(f, "true");
    job->j.devices = &gpu;
    job->j.n_devices = 1;
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_EXITED);
    assert_int_equal(d.n_creates, 2);
    assert_int_equal(d.n_starts, 2);
    assert_int_equal(d.n_deletes, 1);
    assert_non_null(strstr(d.created[0], "\"display\""));
    assert_null(strstr(d.created[1], "\"display\""));
    assert_non_null(strstr(d.created[1], "\"compat32\""));
    remove_job(f, job);
    down(f, &d);
}

/* A daemon that took a kill has not killed: it is told again until the end, and people
 * are told when that takes long. */
static void
kill_until_it_ends(void **state)
{
    UNUSED(state);
    for (unsigned needed = 1; needed <= 6; needed += 5) {
        struct daemon d = {.has_image = true, .kills_needed = needed, .exit_code = 137};
        struct fixture *f = up(&d);
        struct job *job = job_new(f, "true");
        launch(f, job);
        wait_for(f, job->n_started == 1);
        engine_docker.stop(f->en, &job->j, 0);
        wait_for(f, job->n_exits == 1);
        assert_int_equal(d.n_kills, needed);
        assert_int_equal(job->result.exit_code, 137);
        assert_int_equal(job->n_stuck, needed > 1);
        assert_true(needed == 1 || strstr(job->stuck, "4 times, and docker took each"));
        remove_job(f, job);
        down(f, &d);
    }
}

static void
start_failure_is_final(void **state)
{
    struct daemon d = {.has_image = true, .start_error = "OCI runtime create failed: x"};
    UNUSED(state);
    struct fixture *f = up(&d);
    struct job *job = job_new(f, "true");
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_START_FAILED);
    assert_string_equal(job->result.message, "OCI runtime create failed: x");
    assert_int_equal(d.n_creates, 1);
    remove_job(f, job);
    down(f, &d);
}

static void
ends_of_a_pull(void **state)
{
#define LAYER "{\"status\":\"Pull complete\",\"id\":\"a\"}\n"
    static const struct {
        const char *components, *lines;
        const char *message; /* NULL: the job runs */
    } cases[] = {
        {"Engine", LAYER "{\"status\":\"Status: Downloaded newer image for x\"}\n", NULL},
        {"Engine", LAYER "{\"status\":\"Status: Image is up to date\"}", NULL},
        {"Engine", LAYER, "before the image was complete"},
        {"Engine", "", "before the image was complete"},
        {"Engine",
         LAYER "{\"errorDetail\":{\"message\":\"toomanyrequests: slow down\"}}\n",
         "toomanyrequests: slow down"},
        {"Engine",
         LAYER "{\"error\":\"no space left\"}\n{\"status\":\"Status: Downloaded\"}\n",
         "no space left"},
        {"Podman Engine", "{\"status\":\"Download complete\",\"id\":\"a\"}\n", NULL},
        {"Podman Engine", "{\"error\":\"unauthorized\"}\n", "unauthorized"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct daemon d = {.pull_lines = cases[i].lines,
                           .components = cases[i].components};
        struct fixture *f = up(&d);
        struct job *job = job_new(f, "true");
        run(f, job);
        if (cases[i].message == NULL) {
            assert_int_equal(job->result.reason, ENGINE_EXITED);
        } else {
            assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
            assert_non_null(strstr(job->result.message, cases[i].message));
        }
        assert_true(saw(&d, "/images/create?fromImage=docker.io%2Fdrover-test%2Fbusybox"
                            "&tag=1"));
        assert_string_equal(d.auth, "");
        remove_job(f, job);
        down(f, &d);
    }
}

static void
pulls_are_shared(void **state)
{
    static const struct engine_registry_auth me = {.username = "me", .password = "x"};
    struct daemon d = {0};
    struct job *jobs[4];
    UNUSED(state);
    struct fixture *f = up(&d);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = job_new(f, "true");
        if (i == 3)
            jobs[i]->j.registry_auth = &me; /* may see what the others may not */
        launch(f, jobs[i]);
    }
    wait_for(f, d.n_pulls == 2);
    assert_true(d.auth[0] != '\0');
    engine_docker.stop(f->en, &jobs[0]->j, 0);
    engine_docker.stop(f->en, &jobs[3]->j, 0);
    wait_for(f, jobs[0]->n_exits == 1 && jobs[3]->n_exits == 1);
    wait_for(f, d.n_pulls_open == 1); /* nobody waits for the other: it was broken off */
    assert_false(jobs[0]->result.started);
    /* Nothing moves any more. */
    wait_for(f, jobs[1]->n_exits == 1 && jobs[2]->n_exits == 1);
    assert_non_null(strstr(jobs[1]->result.message, "no progress"));
    assert_int_equal(d.n_pulls, 2);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++)
        remove_job(f, jobs[i]);
    down(f, &d);
}

static void
let_log_go(struct daemon *d)
{
    d->log_waits = false;
    http_stream_wake(d->log_stream);
}

/* The end is told although the log is not read yet; that has its own end. */
static void
exit_before_the_log(void **state)
{
    struct daemon d = {.has_image = true, .exit_code = 3, .log_waits = true};
    UNUSED(state);
    struct fixture *f = up(&d);
    struct job *job = job_new(f, "true");
    launch(f, job);
    wait_for(f, job->n_exits == 1);
    assert_int_equal(job->result.exit_code, 3);
    assert_true(job->result.log_follows);
    assert_int_equal(job->n_log_ends, 0);
    let_log_go(&d);
    wait_for(f, job->n_log_ends == 1);
    assert_log(job, SEGMENT_STDOUT, "late\n");
    remove_job(f, job); /* one exit */
    assert_true(d.log_sent);
    down(f, &d);
}

/* The log may say why nothing was executed: it comes first. Removal does not wait. */
static void
log_that_explains(void **state)
{
    struct daemon d = {.has_image = true, .exit_code = 127, .log_waits = true};
    UNUSED(state);
    struct fixture *f = up(&d);
    struct job *job = job_new(f, "true");
    launch(f, job);
    wait_for(f, saw(&d, "follow=0"));
    int64_t until = clock_now_ms() + 100;
    while (clock_now_ms() < until)
        loop_turn(f->loop, 1);
    assert_int_equal(job->n_exits, 0);
    let_log_go(&d);
    wait_for(f, job->n_exits == 1);
    assert_false(job->result.log_follows);
    assert_int_equal(job->result.reason, ENGINE_START_FAILED);
    assert_string_equal(job->result.message, "exec /x failed: No such file");
    remove_job(f, job);

    d.exit_code = 0;
    d.log_waits = true;
    d.log_sent = false;
    job = job_new(f, "true");
    launch(f, job);
    wait_for(f, job->n_exits == 1);
    assert_true(job->result.log_follows);
    remove_job(f, job);
    down(f, &d);
}

/* What a daemon's files say, and what of it the daemon has seen itself. */
static void
what_a_daemon_cannot_know(void **state)
{
#define CREATED "\"Status\":\"created\",\"StartedAt\":\"0001-01-01T00:00:00Z\""
#define ENDED(code)                                                                      \
    "\"Status\":\"exited\",\"ExitCode\":" #code                                          \
    ",\"StartedAt\":\"2036-01-02T03:04:05Z\",\"FinishedAt\":\"2036-01-02T03:04:06Z\""
    /* Before the pretended daemon's process began. */
#define ENDED_BEFORE(code)                                                               \
    "\"Status\":\"exited\",\"ExitCode\":" #code                                          \
    ",\"StartedAt\":\"2020-01-02T03:04:05Z\",\"FinishedAt\":\"2020-01-02T03:04:06Z\""
#define DEAD "\"Status\":\"dead\",\"StartedAt\":\"0001-01-01T00:00:00Z\""
    static const struct {
        const char *state, *actions;
        bool marked, no_restore;
        enum engine_reason reason;
        int exit_code;
        unsigned n_starts;
    } cases[] = {
        {CREATED, "", false, false, ENGINE_EXITED, 0, 1},
        {CREATED, "create", true, false, ENGINE_EXITED, 0, 1},
        {CREATED, "", true, false, ENGINE_RESTARTED, -1, 0},
        {DEAD, "", false, false, ENGINE_EXITED, 0, 1},
        {DEAD, "", true, false, ENGINE_RESTARTED, -1, 0},
        {ENDED(255), "create,start,die", true, false, ENGINE_EXITED, 255, 0},
        {ENDED(255), "die", true, false, ENGINE_EXITED, 255, 0},
        {ENDED(255), "", true, false, ENGINE_RESTARTED, 255, 0},
        {ENDED(0), "", true, false, ENGINE_RESTARTED, 0, 0},
        {ENDED(0), "start,die", true, false, ENGINE_EXITED, 0, 0},
        {ENDED_BEFORE(0), "", true, false, ENGINE_EXITED, 0, 0},
        {ENDED_BEFORE(255), "", true, false, ENGINE_EXITED, 255, 0},
        {ENDED(254), "", true, false, ENGINE_EXITED, 254, 0},
        {ENDED(143), "", true, false, ENGINE_SIGNALED, 143, 0},
        {ENDED(143), "start,die", true, true, ENGINE_SIGNALED, 143, 0},
        {ENDED(143), "die", true, true, ENGINE_RESTARTED, 143, 0},
        {ENDED(137), "", true, true, ENGINE_RESTARTED, 137, 0},
        {ENDED(3), "", true, true, ENGINE_EXITED, 3, 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct daemon d = {.has_image = true,
                           .state = cases[i].state,
                           .actions = cases[i].actions,
                           .no_restore = cases[i].no_restore};
        struct fixture *f = up(&d);
        struct job *job = job_new(f, "true");
        autofree char *mark = xasprintf("%s/docker.start", job->dir);
        struct error e = ERROR_INIT;
        if (cases[i].marked)
            assert_int_equal(fs_write_atomic(mark, "", 0, 0600, &e), 0);
        engine_docker.adopt(f->en, &job->j);
        wait_for(f, job->n_exits == 1);
        if (job->result.reason != cases[i].reason ||
            job->result.exit_code != cases[i].exit_code)
            fail_msg("case %zu: reason %d, exit %d: %s", i, (int)job->result.reason,
                     job->result.exit_code, job->result.message);
        assert_int_equal(d.n_starts, cases[i].n_starts);
        remove_job(f, job);
        down(f, &d);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(versions),
        cmocka_unit_test(modeset_retry),
        cmocka_unit_test(kill_until_it_ends),
        cmocka_unit_test(start_failure_is_final),
        cmocka_unit_test(ends_of_a_pull),
        cmocka_unit_test(pulls_are_shared),
        cmocka_unit_test(exit_before_the_log),
        cmocka_unit_test(log_that_explains),
        cmocka_unit_test(what_a_daemon_cannot_know),
    };
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    log_set_spec(getenv("TEST_LOG") != NULL ? getenv("TEST_LOG") : "error");
    return cmocka_run_group_tests(tests, NULL, NULL);
}
