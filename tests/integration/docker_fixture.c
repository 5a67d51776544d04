/* SPDX-License-Identifier: Apache-2.0 */
/* What the tests of the docker engine share. */
#include "integration/docker_fixture.h"

#include <stdlib.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/proc.h"
#include "io/segment.h"

enum { REMOVALS_MAX = 50 };

static struct job *
job_of(struct engine_job *j)
{
    return CONTAINER_OF(j, struct job, j);
}

static void
on_progress(struct engine_job *j, const struct engine_progress *p)
{
    job_of(j)->n_progress++;
    if (p->phase == ENGINE_PULLING) {
        job_of(j)->n_pulling++;
        job_of(j)->progress = *p;
    }
}

static void
on_started(struct engine_job *j, int64_t started_ns)
{
    job_of(j)->started_ns = started_ns;
    job_of(j)->started_ms = clock_now_ms();
    job_of(j)->n_started++;
}

static void
on_exit_(struct engine_job *j, const struct engine_result *r)
{
    job_of(j)->result = *r;
    job_of(j)->n_log_ends = 0;
    job_of(j)->exit_ms = clock_now_ms();
    job_of(j)->n_exits++;
}

static void
on_removed(struct engine_job *j, const struct error *e)
{
    job_of(j)->remove_error = e != NULL ? *e : ERROR_INIT;
    job_of(j)->n_removed++;
}

static void
on_log_end(struct engine_job *j)
{
    job_of(j)->log_ended_ms = clock_now_ms();
    job_of(j)->n_log_ends++;
}

static void
on_stuck(struct engine_job *j, const char *message)
{
    snprintf(job_of(j)->stuck, sizeof(job_of(j)->stuck), "%s", message);
    job_of(j)->n_stuck++;
}

static const struct engine_events events = {on_progress, on_started, on_exit_,
                                            on_removed,  on_log_end, on_stuck};

static void
on_status(void *arg, const struct engine_status *s)
{
    struct fixture *f = arg;
    f->status = *s;
    f->n_status++;
}

void
engine_up_with(struct fixture *f, const struct engine_config *c)
{
    struct error e = ERROR_INIT;
    struct engine_config mine = c != NULL ? *c : (struct engine_config){0};
    mine.agent_dir = f->dir;
    mine.agent_id = "test-agent";
    assert_int_equal(engine_docker.open(f->loop, &mine, &f->en, &e), 0);
    f->n_status = 0;
    engine_docker.probe(f->en, on_status, f);
    wait_for(f, f->n_status > 0);
}

void
engine_up(struct fixture *f, const char *socket)
{
    engine_up_with(f, &(struct engine_config){.docker_socket = socket});
}

struct fixture *
fixture_new(void)
{
    struct error e = ERROR_INIT;
    struct fixture *f = xnew(struct fixture);
    snprintf(f->dir, sizeof(f->dir), "/tmp/drover-dt-XXXXXX");
    assert_non_null(mkdtemp(f->dir));
    assert_int_equal(loop_new(&f->loop, &e), 0);
    return f;
}

void
fixture_free(struct fixture *f)
{
    struct error e = ERROR_INIT;
    if (f->en != NULL)
        engine_docker.close(f->en);
    loop_free(f->loop);
    assert_int_equal(fs_remove_tree(f->dir, &e), 0);
    free(f);
}

int
setup(void **state)
{
    struct fixture *f = fixture_new();
    engine_up(f, NULL);
    assert_true(f->status.available);
    *state = f;
    return 0;
}

int
teardown(void **state)
{
    fixture_free(*state);
    return 0;
}

struct job *
job_new(struct fixture *f, const char *script)
{
    struct error e = ERROR_INIT;
    struct job *job = xnew(struct job);
    id_uuid4(job->uid);
    job->dir = xasprintf("%s/%s", f->dir, job->uid);
    assert_int_equal(fs_mkdirs(job->dir, 0700, &e), 0);
    job->argv[0] = "/bin/sh";
    job->argv[1] = "-c";
    job->argv[2] = script;
    job->j = (struct engine_job){.uid = job->uid,
                                 .ns = "default",
                                 .name = "t",
                                 .run_name = "t",
                                 .dir = job->dir,
                                 .image = "drover-test/busybox:1",
                                 .argv = job->argv,
                                 .events = &events};
    return job;
}

void
launch(struct fixture *f, struct job *job)
{
    job->launched_ms = clock_now_ms();
    engine_docker.launch(f->en, &job->j);
}

void
run(struct fixture *f, struct job *job)
{
    launch(f, job);
    wait_for(f, over(job));
}

/* Again until it is gone, as the agent does: a daemon that was killed amid it refuses for
 * a while. */
void
remove_job(struct fixture *f, struct job *job)
{
    for (int tries = 0; tries < REMOVALS_MAX; tries++) {
        job->n_removed = 0;
        engine_docker.remove(f->en, &job->j);
        wait_for(f, job->n_removed > 0);
        if (job->remove_error.code == ERR_OK)
            break;
        print_message("%s\n", job->remove_error.msg);
        loop_turn(f->loop, 200);
    }
    assert_int_equal(job->remove_error.code, ERR_OK);
    assert_int_equal(job->n_exits, 1);
    free(job->dir);
    free(job);
}

void
each_frame(const struct job *job, frame_fn *fn, void *arg)
{
    struct error e = ERROR_INIT;
    autofree char *dir = fs_join(job->dir, "log");
    auto_str raw = STR_INIT(256 << 20);
    uint64_t first, length;
    assert_int_equal(segment_stat(dir, &first, &length, &e), 0);
    while (raw.len < length)
        assert_int_equal(segment_read(dir, raw.len, &raw, 1 << 20, &e), 0);
    for (size_t at = 0; at < raw.len;) {
        struct segment_frame fr;
        assert_int_equal(segment_frame_get(raw.ptr + at, raw.len - at, at, &fr, &e), 1);
        fn(arg, &fr);
        at += SEGMENT_HEADER + fr.bytes.len;
    }
}

struct wanted {
    int stream;
    struct str *out;
};

static void
add_wanted(void *arg, const struct segment_frame *fr)
{
    const struct wanted *w = arg;

    if (w->stream == 0 || (int)fr->stream == w->stream)
        str_add(w->out, fr->bytes.ptr, fr->bytes.len);
}

/* All payload bytes of a stream (0: of both), in order. */
void
read_log(const struct job *job, int stream, struct str *out)
{
    each_frame(job, add_wanted, &(struct wanted){stream, out});
}

void
assert_log(const struct job *job, int stream, const char *want)
{
    auto_str got = STR_INIT(256 << 20);
    read_log(job, stream, &got);
    assert_string_equal(got.ptr, want);
}

uint64_t
log_length(const struct job *job)
{
    struct error e = ERROR_INIT;
    uint64_t first, length = 0;
    autofree char *dir = fs_join(job->dir, "log");
    if (segment_stat(dir, &first, &length, &e) < 0)
        return 0;
    return length;
}

int
run_program(const char *const *argv, struct str *out)
{
    struct error e = ERROR_INIT;
    struct proc_opts o = PROC_OPTS_INIT;
    int status;
    o.argv = argv;
    assert_int_equal(proc_run(&o, WAIT_MS, out, &status, &e), 0);
    return WIFEXITED(status) ? WEXITSTATUS(status) : 128;
}

void
ctl(struct fixture *f, const char *verb)
{
    const char *argv[] = {getenv("WITH_DOCKERD_RESTART"), verb, NULL};
    auto_str out = STR_INIT(4096);
    UNUSED(f);
    assert_int_equal(run_program(argv, &out), 0);
}

bool
container_exists(const struct job *job)
{
    const char *argv[] = {"docker", "inspect", job->uid, NULL};
    auto_str out = STR_INIT(65536);
    return run_program(argv, &out) == 0;
}

int
under_dockerd(char **argv)
{
    const char *wrapper = getenv("WITH_DOCKERD");
    if (getenv("WITH_DOCKERD_RESTART") == NULL && wrapper != NULL) {
        execv(wrapper, argv);
        perror(wrapper);
        return 1;
    }
    if (getenv("DOCKER_HOST") == NULL || getenv("WITH_DOCKERD_RESTART") == NULL) {
        fprintf(stderr, "skipped: run it by hack/with-dockerd\n");
        return 77;
    }
    cmocka_set_test_filter(getenv("TEST_FILTER"));
    log_set_spec(getenv("TEST_LOG") != NULL ? getenv("TEST_LOG") : "warn");
    return -1;
}
