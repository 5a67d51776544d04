/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The docker engine against a real dockerd (run it by hack/with-dockerd): outcomes, logs
 * to the byte, stop of a whole job, hostile jobs, restarts of the agent and of the
 * daemon.
 */
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "integration/docker_fixture.h"
#include "io/segment.h"

/* Lines "0\n1\n...": none lost, none twice, in order. */
static void
assert_counted(const struct job *job, unsigned n)
{
    auto_str got = STR_INIT(256 << 20);
    read_log(job, SEGMENT_STDOUT, &got);
    const char *p = got.ptr;
    for (unsigned i = 0; i < n; i++) {
        char *end;
        unsigned long v = strtoul(p, &end, 10);
        if (v != i || *end != '\n')
            fail_msg("line %u of the log is \"%.20s\"", i, p);
        p = end + 1;
    }
    assert_int_equal(*p, '\0');
}

/* --- tests ---------------------------------------------------------------------------
 */

static void
outcome_and_log(void **state)
{
    static const char *const env[] = {"GREETING=hi there", NULL};
    struct fixture *f = *state;
    struct job *job = job_new(f, "echo $GREETING $IMAGE_VAR; pwd; id -u; echo oops >&2");
    job->j.env = env;
    job->j.user = "worker";
    job->j.working_dir = "/home/worker";
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_EXITED);
    assert_int_equal(job->result.exit_code, 0);
    assert_true(job->result.started);
    assert_int_equal(job->n_started, 1);
    assert_int_equal(job->started_ns, job->result.started_ns);
    assert_true(job->result.finished_ns >= job->result.started_ns);
    assert_log(job, SEGMENT_STDOUT, "hi there from-image\n/home/worker\n1234\n");
    assert_log(job, SEGMENT_STDERR, "oops\n");
    remove_job(f, job);
}

static void
outcomes(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *script;
        int64_t memory_mib;
        enum engine_reason reason;
        int exit_code, signal;
    } cases[] = {
        {"exit 3", 0, ENGINE_EXITED, 3, 0},
        {"kill -9 $$", 0, ENGINE_SIGNALED, 137, SIGKILL},
        {"dd if=/dev/zero of=/dev/null bs=200M count=2", 32, ENGINE_OOM, 137, SIGKILL},
        {"exit 127", 0, ENGINE_EXITED, 127, 0},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job *job = job_new(f, cases[i].script);
        job->j.memory_limit_mib = cases[i].memory_mib;
        run(f, job);
        assert_int_equal(job->result.reason, cases[i].reason);
        assert_int_equal(job->result.exit_code, cases[i].exit_code);
        assert_int_equal(job->result.signal, cases[i].signal);
        remove_job(f, job);
    }
}

/* The daemon's words are "killed"; the kernel says whose limit it was, and the peak. It
 * is read as soon as the end is heard of, and by then the runtime may have cleaned up. */
static bool
peak_is_told(struct fixture *f)
{
    struct job *job =
        job_new(f, "read go </go; dd if=/dev/zero of=/dev/null bs=200M count=2");
    autofree char *fifo = xasprintf("%s/go", job->dir);
    autofree char *bind = xasprintf("%s:/go", fifo);
    const char *binds[] = {bind, NULL};
    assert_int_equal(mkfifo(fifo, 0600), 0);
    autoclose int go = open(fifo, O_RDWR | O_CLOEXEC);
    job->j.binds = binds;
    job->j.memory_limit_mib = 32;
    launch(f, job);
    wait_for(f, job->n_started == 1); /* its facts are known */
    assert_int_equal(write(go, "\n", 1), 1);
    wait_for(f, job->n_exits == 1);
    const struct engine_result *r = &job->result;
    bool told = r->memory_peak_bytes > 0;
    assert_int_equal(r->reason, ENGINE_OOM);
    assert_int_equal(r->signal, SIGKILL);
    assert_non_null(strstr(r->message, "by the memory limit of the job (limit 32 MiB"));
    if (told) {
        assert_in_range(r->memory_peak_bytes, 24 << 20, 32 << 20);
        assert_non_null(strstr(r->message, ", peak "));
        assert_non_null(strstr(r->oom_cgroup, "/docker"));
    }
    remove_job(f, job);
    return told;
}

static void
out_of_memory(void **state)
{
    bool told = false;
    for (int i = 0; i < 10 && !told; i++)
        told = peak_is_told(*state);
    assert_true(told);
}

static void
failures_before_the_start(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "true");
    job->j.user = "nosuch";
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_START_FAILED);
    assert_false(job->result.started);
    assert_non_null(strstr(job->result.message, "nosuch"));
    remove_job(f, job);

    job = job_new(f, "true");
    job->j.working_dir = "relative";
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_CREATE_FAILED);
    assert_non_null(strstr(job->result.message, "absolute"));
    remove_job(f, job);

    job = job_new(f, "true");
    job->argv[0] = "/no/such/program";
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_START_FAILED);
    assert_non_null(strstr(job->result.message, "/no/such/program"));
    remove_job(f, job);

    job = job_new(f, "true");
    job->j.image = "127.0.0.1:1/none/such:1";
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
    if (strstr(job->result.message, "127.0.0.1:1") == NULL)
        fail_msg("message: %s", job->result.message);
    remove_job(f, job);
}

static void
log_is_exact(void **state)
{
    struct fixture *f = *state;
    /* Binary, a line of 20 000 bytes, one of exactly 16 KiB, and an unfinished last one.
     */
    struct job *job = job_new(
        f, "printf 'a\\0b\\r\\377\\376\\n\\n'; "
           "head -c 20000 /dev/zero | busybox tr '\\0' x; echo; "
           "head -c 16384 /dev/zero | busybox tr '\\0' y; echo; printf 'no newline'");
    auto_str want = STR_INIT(1 << 20);
    auto_str got = STR_INIT(1 << 20);
    str_add(&want, "a\0b\r\377\376\n\n", 8);
    for (int i = 0; i < 20000; i++)
        str_addc(&want, 'x');
    str_addc(&want, '\n');
    for (int i = 0; i < 16384; i++)
        str_addc(&want, 'y');
    str_adds(&want, "\nno newline");
    run(f, job);
    read_log(job, 0, &got);
    assert_int_equal(got.len, want.len);
    assert_memory_equal(got.ptr, want.ptr, want.len);
    remove_job(f, job);

    job = job_new(f, "seq 0 199999");
    run(f, job);
    assert_counted(job, 200000);
    remove_job(f, job);
}

static void
log_follows_at_once(void **state)
{
    struct fixture *f = *state;
    int64_t best = INT64_MAX;
    /* The best of a few: a busy machine may delay one, a wrong design delays all. */
    for (int n = 0; n < 5 && best >= 100; n++) {
        struct job *job = job_new(f, "echo ready; sleep 60");
        launch(f, job);
        wait_for(f, job->n_started == 1);
        wait_for(f, log_length(job) > 0);
        int64_t ms = clock_now_ms() - job->started_ms;
        best = ms < best ? ms : best;
        engine_docker.stop(f->en, &job->j, 0);
        wait_for(f, over(job));
        assert_int_equal(job->result.reason, ENGINE_SIGNALED);
        assert_int_equal(job->result.signal, SIGKILL);
        remove_job(f, job);
    }
    print_message("first line stored %lld ms after the start\n", (long long)best);
    assert_true(best < 100);
}

static void
stop_reaches_everything(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(
        f, "(trap 'echo child; exit' TERM; echo up; while :; do sleep 0.1; done) & "
           "trap 'echo main; wait; exit 7' TERM; echo up; while :; do sleep 0.1; done");
    launch(f, job);
    wait_for(f, log_length(job) == 2 * (SEGMENT_HEADER + 3)); /* both are ready */
    int64_t at = clock_now_ms();
    engine_docker.stop(f->en, &job->j, 30000);
    wait_for(f, over(job));
    assert_true(clock_now_ms() - at < 10000);
    auto_str got = STR_INIT(4096);
    read_log(job, SEGMENT_STDOUT, &got);
    assert_non_null(strstr(got.ptr, "child"));
    assert_non_null(strstr(got.ptr, "main"));
    assert_int_equal(job->result.exit_code, 7);
    remove_job(f, job);

    /* One that ignores SIGTERM is killed after the grace; asking again shortens it. */
    job = job_new(f, "trap '' TERM; echo up; while :; do sleep 0.1; done");
    launch(f, job);
    wait_for(f, log_length(job) > 0);
    at = clock_now_ms();
    engine_docker.stop(f->en, &job->j, 60000);
    engine_docker.stop(f->en, &job->j, 1000);
    wait_for(f, over(job));
    assert_in_range(clock_now_ms() - at, 900, 10000);
    assert_int_equal(job->result.signal, SIGKILL);
    remove_job(f, job);
}

static void
stop_before_the_start(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "echo never");
    launch(f, job);
    engine_docker.stop(f->en, &job->j, 0);
    wait_for(f, over(job));
    if (job->result.started) /* the start request was on its way */
        assert_int_equal(job->result.signal, SIGKILL);
    remove_job(f, job);
}

static void
agent_restarts(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "i=0; while [ $i -lt 3000 ]; do echo $i; i=$((i+1)); "
                                 "[ $((i % 100)) = 0 ] && sleep 0.1; done; exit 5");
    launch(f, job);
    wait_for(f, log_length(job) > 0);
    for (int n = 0; n < 4; n++) {
        uint64_t before = log_length(job);
        wait_for(f, log_length(job) > before + 2000 || job->n_exits > 0);
        engine_docker.close(f->en);
        engine_up(f, NULL);
        engine_docker.adopt(f->en, &job->j);
    }
    wait_for(f, over(job));
    assert_int_equal(job->result.exit_code, 5);
    assert_true(job->n_started >= 2);
    assert_counted(job, 3000);

    /* Again, after the end: the same answer, nothing new in the log. */
    engine_docker.close(f->en);
    engine_up(f, NULL);
    job->n_exits = 0;
    engine_docker.adopt(f->en, &job->j);
    wait_for(f, over(job));
    assert_int_equal(job->result.exit_code, 5);
    assert_counted(job, 3000);
    remove_job(f, job);
}

static void
adopt_what_never_ran(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "echo once");
    /* Nothing was made yet: a launch is safe, and works on the same job. */
    engine_docker.adopt(f->en, &job->j);
    wait_for(f, over(job));
    assert_int_equal(job->result.reason, ENGINE_LOST);
    assert_true(job->result.never_started);
    job->n_exits = 0;
    run(f, job);
    assert_log(job, SEGMENT_STDOUT, "once\n");
    /* It ran, and the container is gone: lost, never started again. */
    engine_docker.remove(f->en, &job->j);
    wait_for(f, job->n_removed == 1);
    job->n_removed = 0;
    job->n_exits = 0;
    engine_docker.adopt(f->en, &job->j);
    wait_for(f, over(job));
    assert_int_equal(job->result.reason, ENGINE_LOST);
    assert_false(job->result.never_started);
    remove_job(f, job);
}

/* Killed at a random moment of the launch, over and over: one start. */
static void
restart_while_launching(void **state)
{
    struct fixture *f = *state;
    for (int n = 0; n < 8; n++) {
        struct job *job = job_new(f, "echo once");
        launch(f, job);
        int64_t until = clock_now_ms() + 15 * n;
        while (clock_now_ms() < until)
            loop_turn(f->loop, 1);
        bool exited = job->n_exits > 0;
        engine_docker.close(f->en);
        engine_up(f, NULL);
        job->n_exits = 0;
        engine_docker.adopt(f->en, &job->j);
        wait_for(f, over(job));
        if (job->result.never_started) {
            assert_false(exited);
            job->n_exits = 0;
            run(f, job);
        }
        assert_int_equal(job->result.reason, ENGINE_EXITED);
        assert_log(job, SEGMENT_STDOUT, "once\n");
        remove_job(f, job);
    }
}

/* What Docker itself has of the output: the file of its log driver "local", entries of
 * u32be size, protobuf (3: the line without its newline, 2: time, ...), size again. */
static void
docker_kept(const struct job *job, struct str *out)
{
    const char *argv[] = {"docker", "inspect", "-f", "{{.Id}}", job->uid, NULL};
    auto_str id = STR_INIT(256);
    auto_str raw = STR_INIT(1 << 20);
    struct error e = ERROR_INIT;
    assert_int_equal(run_program(argv, &id), 0);
    autofree char *path = xasprintf("%s/data/containers/%.64s/local-logs/container.log",
                                    getenv("WITH_DOCKERD_DIR"), id.ptr);
    assert_int_equal(fs_read(path, &raw, &e), 0);
    const unsigned char *p = (const unsigned char *)raw.ptr;
    const unsigned char *end = p + raw.len;
    while (end - p > 8) {
        uint32_t n =
            (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3];
        assert_true(n < 256 && (size_t)(end - p) >= n + 8);
        const unsigned char *f = p + 4;
        while (f < p + 4 + n) {
            unsigned tag = *f++;
            if ((tag & 7) == 2 && tag >> 3 == 3) {
                str_add(out, (const char *)f + 1, *f);
                str_addc(out, '\n');
            }
            if ((tag & 7) == 2)
                f += *f;
            else
                while ((*f & 0x80) != 0)
                    f++;
            f++;
        }
        p += n + 8;
    }
    assert_ptr_equal(p, end);
}

static unsigned
count_marks(const struct job *job, const char *text)
{
    auto_str marks = STR_INIT(1 << 20);
    unsigned n = 0;
    read_log(job, SEGMENT_MARK, &marks);
    for (const char *p = marks.ptr; (p = strstr(p, text)) != NULL; p++)
        n++;
    return n;
}

/* A dockerd that is told to stop goes on reading the container's output for a while
 * without keeping it, so lines may lack there; all that it has is in our copy, once, and
 * the copy says so. What was there before is never lost, nor is what comes after. */
static void
daemon_restarts(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(f, "i=0; while [ ! -e /tmp/end ]; do echo $i; i=$((i+1)); "
                                 "sleep 0.1; done; echo end; exit 4");
    const char *end_it[] = {"docker", "exec", job->uid, "touch", "/tmp/end", NULL};
    auto_str said = STR_INIT(4096);
    launch(f, job);
    wait_for(f, log_length(job) > 100);
    unsigned before = f->n_status;
    ctl(f, "stop");
    wait_for(f, !f->status.available);
    assert_true(f->n_status > before);
    ctl(f, "start");
    wait_for(f, f->status.available);
    uint64_t length = log_length(job);
    wait_for(f, log_length(job) > length);
    assert_int_equal(run_program(end_it, &said), 0);
    wait_for(f, over(job));
    assert_int_equal(job->result.reason, ENGINE_EXITED);
    assert_int_equal(job->result.exit_code, 4);
    auto_str kept = STR_INIT(1 << 20);
    docker_kept(job, &kept);
    assert_log(job, SEGMENT_STDOUT, kept.ptr);
    assert_true(str_starts(kept.ptr, "0\n1\n2\n"));
    assert_true(str_ends(kept.ptr, "\nend\n"));
    /* Once for each time that it could not be talked to. */
    assert_in_range(count_marks(job, "the Docker daemon was stopped"), 1, 5);
    remove_job(f, job);
}

static void
missing_daemon(void **state)
{
    struct fixture *f = *state;
    autofree char *none = xasprintf("%s/none.sock", f->dir);
    autofree char *real = xstrdup(getenv("DOCKER_HOST") + strlen("unix://"));
    engine_docker.close(f->en);
    engine_up(f, none);
    assert_false(f->status.available);
    assert_string_equal(f->status.reason, "SocketMissing");
    assert_non_null(strstr(f->status.message, "none.sock"));
    /* It appears. */
    assert_int_equal(symlink(real, none), 0);
    wait_for(f, f->status.available);
    assert_true(f->status.version[0] != '\0');
    engine_docker.close(f->en);
    engine_up(f, NULL);
}

static void
sweep_removes_leftovers(void **state)
{
    struct fixture *f = *state;
    struct job *kept = job_new(f, "sleep 1000");
    struct job *left = job_new(f, "sleep 1000");
    launch(f, kept);
    launch(f, left);
    wait_for(f, kept->n_started == 1 && left->n_started == 1);
    engine_docker.close(f->en);
    engine_up(f, NULL);
    const char *known[] = {kept->uid, NULL};
    engine_docker.adopt(f->en, &kept->j);
    engine_docker.sweep(f->en, known);
    wait_for(f, !container_exists(left));
    assert_true(container_exists(kept));
    engine_docker.adopt(f->en, &left->j);
    wait_for(f, left->n_exits == 1);
    assert_int_equal(left->result.reason, ENGINE_LOST);
    remove_job(f, left);
    assert_int_equal(kept->n_exits, 0);
    engine_docker.stop(f->en, &kept->j, 0);
    wait_for(f, kept->n_exits == 1);
    remove_job(f, kept);
}

/* --- jobs that harm what is around them ----------------------------------------------
 */

static void
stop_now(struct fixture *f, struct job *job, int64_t grace_ms)
{
    engine_docker.stop(f->en, &job->j, grace_ms);
    wait_for(f, job->n_exits == 1);
}

static void
assert_gone(struct fixture *f, const char *command)
{
    const char *argv[] = {"pgrep", "-fx", command, NULL};
    auto_str out = STR_INIT(4096);
    wait_for(f, run_program(argv, &out) == 1); /* none */
}

/* A fork bomb ends at the bound of its processes; a job beside it starts and ends
 * meanwhile, and the whole of it goes with its stop. */
static void
fork_bomb(void **state)
{
    static const struct engine_ulimit few[] = {{"nproc", 200, 200}};
    struct fixture *f = *state;
    struct job *bomb = job_new(
        f, "echo ready; trap '' TERM; b() { b 2>/dev/null & b 2>/dev/null & sleep "
           "4712; }; b; sleep 4712");
    bomb->j.user = "worker";
    bomb->j.ulimits = few;
    bomb->j.n_ulimits = 1;
    bomb->j.cpu_limit_milli = 500;
    launch(f, bomb);
    wait_for(f, log_length(bomb) > 0);
    struct job *quick = job_new(f, "exit 4");
    run(f, quick);
    assert_int_equal(quick->result.exit_code, 4);
    remove_job(f, quick);
    stop_now(f, bomb, 300);
    assert_int_equal(bomb->result.signal, SIGKILL);
    remove_job(f, bomb);
    assert_gone(f, "sleep 4712");
}

/* Output closed, a daemon in a session of its own that ignores signals, orphans and
 * zombies: the end is that of the main process, and the rest goes with it. */
static void
leaves_things_behind(void **state)
{
    struct fixture *f = *state;
    struct job *job = job_new(
        f,
        "echo ready; exec >&- 2>&- <&-; for i in 1 2 3 4; do true & done; "
        "(busybox setsid sh -c 'trap \"\" TERM HUP INT; cd /; (sleep 4711 & sleep 4711 "
        "&) ; sleep 4711' &) ; sleep 0.2; exit 8");
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_EXITED);
    assert_int_equal(job->result.exit_code, 8);
    assert_log(job, SEGMENT_STDOUT, "ready\n");
    remove_job(f, job);
    assert_gone(f, "sleep 4711");
}

/* One line of 16 MiB (1 GiB) and no newline, and a file system that is full. */
static void
floods(void **state)
{
    struct fixture *f = *state;
    bool all = getenv("DROVER_LONG") != NULL;
    struct job *line = job_new(f, all ? "head -c 1073741824 /dev/zero; exit 2"
                                      : "head -c 16777216 /dev/zero; exit 2");
    struct job *disk =
        job_new(f, "head -c 100000000 /dev/zero >/dev/shm/full; echo $?; exit 9");
    disk->j.shm_mib = 4;
    launch(f, line);
    run(f, disk);
    assert_int_equal(disk->result.exit_code, 9);
    assert_log(disk, SEGMENT_STDOUT, "1\n");
    wait_for(f, line->n_exits == 1);
    assert_int_equal(line->result.exit_code, 2);
    wait_for(f, !line->result.log_follows || line->n_log_ends == 1);
    assert_true(log_length(line) >= (uint64_t)(all ? 1 << 30 : 16 << 20) / 8);
    remove_job(f, line);
    remove_job(f, disk);
}

static int
by_value(const void *a, const void *b)
{
    int64_t x = *(const int64_t *)a;
    int64_t y = *(const int64_t *)b;
    return (x > y) - (x < y);
}

static void
start_latency(void **state)
{
    struct fixture *f = *state;
    int64_t ms[20];
    for (size_t i = 0; i < ARRAY_LEN(ms); i++) {
        struct job *job = job_new(f, "true");
        run(f, job);
        ms[i] = job->started_ms - job->launched_ms;
        remove_job(f, job);
    }
    qsort(ms, ARRAY_LEN(ms), sizeof(ms[0]), by_value);
    print_message("launch to started: p50 %lld ms, max %lld ms\n", (long long)ms[10],
                  (long long)ms[19]);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(outcome_and_log),
        T(outcomes),
        T(out_of_memory),
        T(failures_before_the_start),
        T(log_is_exact),
        T(log_follows_at_once),
        T(stop_reaches_everything),
        T(stop_before_the_start),
        T(agent_restarts),
        T(adopt_what_never_ran),
        T(restart_while_launching),
        T(daemon_restarts),
        T(missing_daemon),
        T(sweep_removes_leftovers),
        T(start_latency),
        T(fork_bomb),
        T(leaves_things_behind),
        T(floods),
    };
    UNUSED(argc);
    int skip = under_dockerd((char *[]){argv[0], argv[0], NULL});
    return skip >= 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
