/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a container is given (directories, volumes, ports, limits, privileges) and how it
 * ends with a daemon that does not keep it alive: a real dockerd with a bridge and
 * without live-restore.
 */
#include <arpa/inet.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"
#include "integration/docker_fixture.h"
#include "io/segment.h"

static mode_t
mode_of(const char *path)
{
    struct stat st;
    assert_int_equal(stat(path, &st), 0);
    return st.st_mode & 07777;
}

static void
directories(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    autofree char *missing = xasprintf("%s/a/missing", f->dir);
    autofree char *present = xasprintf("%s/present", f->dir);
    autofree char *file = xasprintf("%s/file", f->dir);
    autofree char *under_file = xasprintf("%s/file/x", f->dir);
    autofree char *made = xasprintf("%s/a/missing/made", f->dir);
    assert_int_equal(fs_mkdirs(present, 0710, &e), 0);
    assert_int_equal(fs_write_atomic(file, "x", 1, 0600, &e), 0);
    struct engine_mount mounts[] = {
        {missing, false, false, false, "/m"},
        {present, false, true, false, "/p"},
        {under_file, false, false, true, "/o"},
    };
    struct job *job =
        job_new(f, "echo x >/m/made; (echo x >/p/made) 2>/dev/null || echo ro; "
                   "[ -e /o ] || echo none");
    job->j.user = "worker";
    job->j.mounts = mounts;
    job->j.n_mounts = ARRAY_LEN(mounts);
    run(f, job);
    if (job->result.reason != ENGINE_EXITED)
        fail_msg("%s", job->result.message);
    assert_log(job, SEGMENT_STDOUT, "ro\nnone\n");
    assert_int_equal(mode_of(missing), 0777);
    assert_int_equal(mode_of(present), 0710);
    assert_int_equal(access(made, F_OK), 0);
    remove_job(f, job);
    assert_int_equal(access(made, F_OK), 0);
}

static void
directories_refused(void **state)
{
    struct fixture *f = *state;
    autofree char *own = xasprintf("%s/agent/jobs", f->dir);
    autofree char *agent = xasprintf("%s/agent", f->dir);
    autofree char *link = xasprintf("%s/link", f->dir);
    struct error e = ERROR_INIT;
    assert_int_equal(fs_mkdirs(own, 0700, &e), 0);
    assert_int_equal(symlink(own, link), 0);
    struct engine_mount cases[] = {
        {own, false, false, true, "/m"},    {"/", false, true, false, "/host"},
        {link, false, false, true, "/m"},   {"relative", false, false, false, "/m"},
        {"/tmp", false, false, false, "m"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job *job = job_new(f, "true");
        job->j.mounts = &cases[i];
        job->j.n_mounts = 1;
        job->j.host_dir_mask[0] = agent;
        run(f, job);
        assert_int_equal(job->result.reason, ENGINE_CREATE_FAILED);
        assert_non_null(strstr(job->result.message, "mount"));
        remove_job(f, job);
    }
}

/* One exact stream with the line ends of a terminal, also past a restart of the agent and
 * with lines of several pieces. */
static void
terminal(void **state)
{
    struct fixture *f = *state;
    struct error e = ERROR_INIT;
    auto_str want = STR_INIT(1 << 20);
    autofree char *go = xasprintf("%s/go", f->dir);
    struct engine_mount mount = {f->dir, false, false, false, "/m"};
    struct job *job =
        job_new(f, "test -t 0 && test -t 1 && test -t 2 && echo three; echo err >&2; "
                   "until [ -e /m/go ]; do sleep 0.1; done; "
                   "until [ \"$(busybox stty size)\" = '50 132' ]; do sleep 0.1; done; "
                   "echo $TERM; head -c 20000 /dev/zero | busybox tr '\\0' x; echo; "
                   "echo 2026-01-02T03:04:05.000000001Z here; printf 'no newline'");
    job->j.tty_columns = 132;
    job->j.tty_rows = 50;
    job->j.mounts = &mount;
    job->j.n_mounts = 1;
    launch(f, job);
    wait_for(f, log_length(job) > 0);
    engine_docker.close(f->en);
    engine_up(f, NULL);
    engine_docker.adopt(f->en, &job->j);
    assert_int_equal(fs_write_atomic(go, "x", 1, 0644, &e), 0);
    wait_for(f, over(job));
    str_adds(&want, "three\r\nerr\r\nxterm\r\n");
    for (int i = 0; i < 20000; i++)
        str_addc(&want, 'x');
    str_adds(&want, "\r\n2026-01-02T03:04:05.000000001Z here\r\nno newline");
    assert_log(job, SEGMENT_STDOUT, want.ptr);
    assert_log(job, SEGMENT_STDERR, "");
    assert_int_equal(job->result.exit_code, 0);
    remove_job(f, job);

    job = job_new(f, "true");
    job->argv[0] = "/no/such/program";
    job->j.tty_columns = 80;
    job->j.tty_rows = 24;
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_START_FAILED);
    remove_job(f, job);
}

static size_t
count_volumes(const char *filter)
{
    const char *argv[] = {"docker", "volume", "ls", "-q", "--filter", filter, NULL};
    auto_str out = STR_INIT(65536);
    size_t n = 0;
    assert_int_equal(run_program(argv, &out), 0);
    for (const char *p = out.ptr; *p != '\0'; p++)
        n += *p == '\n';
    return n;
}

static void
volumes(void **state)
{
    struct fixture *f = *state;
    struct engine_mount data = {"data", true, false, false, "/data"};
    static const char *const scripts[] = {"echo kept >/data/x; echo gone >/anon/x",
                                          "cat /data/x; ls /anon"};
    const char *argv[] = {"/bin/sh", "-c",
                          "docker create --name anon drover-test/busybox:1 >/dev/null && "
                          "docker export anon | docker import -c 'VOLUME /anon' "
                          "-c 'ENV PATH=/bin' - drover-built:anon && docker rm anon",
                          NULL};
    auto_str out = STR_INIT(65536);
    assert_int_equal(run_program(argv, &out), 0);
    for (size_t i = 0; i < ARRAY_LEN(scripts); i++) {
        struct job *job = job_new(f, scripts[i]);
        job->j.image = "drover-built:anon";
        job->j.mounts = &data;
        job->j.n_mounts = 1;
        run(f, job);
        assert_int_equal(job->result.exit_code, 0);
        assert_log(job, SEGMENT_STDOUT, i == 0 ? "" : "kept\n");
        assert_int_equal(count_volumes("driver=local"), 2);
        remove_job(f, job);
        assert_int_equal(count_volumes("driver=local"), 1);
    }
    assert_int_equal(count_volumes("name=drover-default-data"), 1);
}

static void
limits(void **state)
{
    static const struct engine_ulimit nofile = {"nofile", 123, 456};
    struct fixture *f = *state;
    struct job *job =
        job_new(f, "ulimit -Sn; ulimit -Hn; cp /bin/busybox /dev/shm/busybox && "
                   "/dev/shm/busybox echo runs; "
                   "busybox df -m /dev/shm | busybox awk 'END{print $2}'; "
                   "cat /sys/fs/cgroup/memory/memory.limit_in_bytes "
                   "/sys/fs/cgroup/memory.max 2>/dev/null");
    job->j.ulimits = &nofile;
    job->j.n_ulimits = 1;
    job->j.shm_mib = 100;
    job->j.memory_limit_mib = 64;
    run(f, job);
    assert_log(job, SEGMENT_STDOUT, "123\n456\nruns\n100\n67108864\n");
    remove_job(f, job);
    /* The daemon's own: 64 MiB, nothing may be run from it. */
    job = job_new(
        f, "cp /bin/busybox /dev/shm/busybox; /dev/shm/busybox echo runs 2>/dev/null; "
           "busybox df -m /dev/shm | busybox awk 'END{print $2}'");
    run(f, job);
    assert_log(job, SEGMENT_STDOUT, "64\n");
    remove_job(f, job);
}

static void
privileges(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        struct job *job = job_new(
            f,
            "busybox mount -t tmpfs x /tmp 2>/dev/null && echo mounted || echo refused");
        job->j.privileged = i == 1;
        run(f, job);
        if (strstr(job->result.message, "apply caps: operation not permitted") != NULL) {
            print_message("no privileges to give on this machine\n");
            remove_job(f, job);
            return;
        }
        if (job->result.reason != ENGINE_EXITED)
            fail_msg("%s", job->result.message);
        assert_log(job, SEGMENT_STDOUT, i == 1 ? "mounted\n" : "refused\n");
        remove_job(f, job);
    }
}

/* What comes from 127.0.0.1:port until it is closed; empty when nobody listens yet. */
static void
read_port(uint16_t port, struct str *out)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_port = htons(port),
                            .sin_addr = {htonl(INADDR_LOOPBACK)}};
    char buf[64];
    ssize_t n;
    autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (connect(fd, (struct sockaddr *)&a, sizeof(a)) < 0)
        return;
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        str_add(out, buf, (size_t)n);
}

static void
published(void **state)
{
    static const struct engine_port ports[] = {{8080, 0}, {9090, 0}};
    struct fixture *f = *state;
    struct job *job =
        job_new(f, "while :; do echo from inside | busybox nc -l -p 8080; done");
    auto_str got = STR_INIT(4096);
    job->j.bridge = true;
    job->j.ports = ports;
    job->j.n_ports = 2;
    job->j.user = "worker";
    job->j.working_dir = "/home/worker";
    launch(f, job);
    wait_for(f, job->n_started == 1 || job->n_exits == 1);
    if (job->n_exits > 0)
        fail_msg("%s", job->result.message);
    const struct engine_facts *facts = &job->j.facts;
    assert_true(facts->pid > 0);
    assert_string_equal(facts->user, "worker");
    assert_string_equal(facts->working_dir, "/home/worker");
    assert_int_equal(facts->n_ports, 2);
    size_t at = facts->ports[0].container == 8080 ? 0 : 1;
    assert_int_equal(facts->ports[at].container, 8080);
    assert_true(facts->ports[at].host > 0);
    wait_for(f, (read_port(facts->ports[at].host, &got), got.len > 0));
    assert_string_equal(got.ptr, "from inside\n");
    uint16_t host = facts->ports[at].host;

    /* Known again in the next life. */
    engine_docker.close(f->en);
    engine_up(f, NULL);
    job->n_started = 0;
    job->j.facts = (struct engine_facts){0};
    engine_docker.adopt(f->en, &job->j);
    wait_for(f, job->n_started == 1);
    assert_int_equal(job->j.facts.n_ports, 2);
    assert_true(job->j.facts.ports[0].host == host || job->j.facts.ports[1].host == host);
    engine_docker.stop(f->en, &job->j, 0);
    wait_for(f, over(job));
    remove_job(f, job);
}

/* Stopped in order, and killed: both take the containers along. */
static void
daemon_takes_containers_along(void **state)
{
    struct fixture *f = *state;
    for (int i = 0; i < 2; i++) {
        struct job *job = job_new(f, "sleep 1000");
        launch(f, job);
        wait_for(f, job->n_started == 1);
        ctl(f, i == 0 ? "stop" : "kill");
        wait_for(f, !f->status.available);
        ctl(f, "start");
        wait_for(f, over(job));
        if (job->result.reason != ENGINE_RESTARTED)
            fail_msg("%d: reason %d, exit %d", i, (int)job->result.reason,
                     job->result.exit_code);
        assert_non_null(strstr(job->result.message, "live-restore"));
        assert_true(job->result.started);
        remove_job(f, job);
    }
    /* An end of its own is its own. */
    struct job *job = job_new(f, "trap 'exit 3' TERM; while :; do sleep 0.1; done");
    launch(f, job);
    wait_for(f, job->n_started == 1);
    ctl(f, "stop");
    ctl(f, "start");
    wait_for(f, over(job));
    assert_int_equal(job->result.reason, ENGINE_EXITED);
    assert_int_equal(job->result.exit_code, 3);
    remove_job(f, job);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(directories), T(directories_refused),
        T(terminal),    T(volumes),
        T(limits),      T(privileges),
        T(published),   T(daemon_takes_containers_along),
    };
    UNUSED(argc);
    char bridge[] = "--bridge";
    char restore[] = "--no-live-restore";
    int skip = under_dockerd((char *[]){argv[0], bridge, restore, argv[0], NULL});
    return skip >= 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
