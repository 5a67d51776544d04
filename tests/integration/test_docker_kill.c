/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Short jobs on a real dockerd while the agent is replaced and dockerd killed at random
 * moments, among starts and ends. What must hold is counted by what the jobs leave on
 * disk: none runs twice; an end that is told is the end that was; what nobody can know is
 * told as EngineRestarted, and only of jobs that saw a daemon die; nothing stays behind.
 */
#include <dirent.h>
#include <signal.h>
#include <spawn.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "integration/docker_fixture.h"
#include "io/segment.h"

#define AT_ONCE 8

extern char **environ;

struct short_job {
    struct job *job; /* NULL: free place */
    unsigned number;
    unsigned daemons; /* that had died when it was launched */
    int code;
    char script[160], bind[120];
    const char *binds[2];
};

struct crowd {
    struct short_job at[AT_ONCE];
    struct job *neighbour; /* lives through all of it */
    char out[100];
    unsigned total, begun, done, restarted, short_logs, daemons, agents;
    uint32_t seed;
};

static uint32_t
rnd(struct crowd *c, uint32_t bound)
{
    c->seed ^= c->seed << 13;
    c->seed ^= c->seed >> 17;
    c->seed ^= c->seed << 5;
    return c->seed % bound;
}

static void
begin(struct fixture *f, struct crowd *c, struct short_job *s)
{
    /* 255 is also what a daemon writes when it does not know. */
    static const int codes[] = {0, 7, 255};
    s->number = c->begun++;
    s->code = codes[rnd(c, ARRAY_LEN(codes))];
    s->daemons = c->daemons;
    snprintf(s->script, sizeof(s->script),
             "echo s >>/out/%u; echo job %u; sleep 0.%02u; echo e >>/out/%u; exit %d",
             s->number, s->number, rnd(c, 40), s->number, s->code);
    snprintf(s->bind, sizeof(s->bind), "%s:/out", c->out);
    s->binds[0] = s->bind;
    s->job = job_new(f, s->script);
    s->job->j.binds = s->binds;
    launch(f, s->job);
}

/* "s\ne\n" when it ran once. */
static void
read_out(const struct crowd *c, const struct short_job *s, struct str *out)
{
    struct error e = ERROR_INIT;
    autofree char *path = xasprintf("%s/%u", c->out, s->number);
    int rc = fs_read(path, out, &e);
    assert_true(rc == 0 || rc == -ERR_NOT_FOUND);
}

/* Entries of the daemon that came twice have one time, those that it had twice have two.
 */
static void
print_frame(void *arg, const struct segment_frame *fr)
{
    UNUSED(arg);
    print_message("stream %d at %lld: " SPAN_FMT, (int)fr->stream, (long long)fr->unix_ns,
                  SPAN_ARG(fr->bytes));
}

static void
check_end(struct crowd *c, const struct short_job *s)
{
    const struct engine_result *r = &s->job->result;
    auto_str ran = STR_INIT(4096);
    read_out(c, s, &ran);
    if (r->reason == ENGINE_RESTARTED) {
        if (c->daemons == s->daemons)
            fail_msg("job %u: EngineRestarted without a restart: %s", s->number,
                     r->message);
        c->restarted++;
        assert_true(str_starts("s\ne\n", ran.ptr)); /* at most once */
        return;
    }
    if (r->reason != ENGINE_EXITED || r->exit_code != s->code ||
        !streq(ran.ptr, "s\ne\n"))
        fail_msg("job %u: reason %d, exit %d (it ended with %d), ran \"%s\": %s",
                 s->number, (int)r->reason, r->exit_code, s->code, ran.ptr, r->message);
    /* A daemon that dies may take output along that it had read and not yet written. */
    auto_str got = STR_INIT(4096);
    autofree char *want = xasprintf("job %u\n", s->number);
    read_log(s->job, SEGMENT_STDOUT, &got);
    if (c->daemons == s->daemons && !streq(got.ptr, want))
        fail_msg("job %u: log \"%s\"", s->number, got.ptr);
    c->short_logs += !streq(got.ptr, want);
    if (!str_starts(want, got.ptr)) {
        each_frame(s->job, print_frame, NULL);
        fail_msg("job %u: log \"%s\"", s->number, got.ptr);
    }
}

/* One that never ran may be launched again; any other end is final. */
static void
reap(struct fixture *f, struct crowd *c, struct short_job *s)
{
    if (s->job == NULL || s->job->n_exits == 0)
        return;
    if (s->job->result.never_started) {
        s->job->n_exits = 0;
        launch(f, s->job);
        return;
    }
    check_end(c, s);
    wait_for(f, f->status.available);
    remove_job(f, s->job);
    s->job = NULL;
    c->done++;
    if (c->begun < c->total)
        begin(f, c, s);
}

static void
reap_all(struct fixture *f, struct crowd *c)
{
    for (size_t i = 0; i < AT_ONCE; i++)
        reap(f, c, &c->at[i]);
}

static void
run_for(struct fixture *f, int64_t ms)
{
    int64_t until = clock_now_ms() + ms;
    for (int64_t now; (now = clock_now_ms()) < until;)
        loop_turn(f->loop, (int)(until - now));
}

static void
new_agent(struct fixture *f, struct crowd *c)
{
    engine_docker.close(f->en);
    engine_up(f, NULL);
    c->agents++;
    engine_docker.adopt(f->en, &c->neighbour->j);
    for (size_t i = 0; i < AT_ONCE; i++) {
        struct job *job = c->at[i].job;
        if (job == NULL)
            continue;
        job->n_exits = 0;
        engine_docker.adopt(f->en, &job->j);
    }
}

/* Dead, away for a moment, and back while the agent's loop runs. */
static void
new_daemon(struct fixture *f, struct crowd *c, bool agent_too)
{
    char start[] = "start";
    char *argv[] = {getenv("WITH_DOCKERD_RESTART"), start, NULL};
    int status = 0;
    pid_t pid;
    ctl(f, "kill");
    c->daemons++;
    run_for(f, rnd(c, 300));
    assert_int_equal(posix_spawn(&pid, argv[0], NULL, NULL, argv, environ), 0);
    if (agent_too)
        new_agent(f, c);
    wait_for(f, waitpid(pid, &status, WNOHANG) == pid);
    assert_int_equal(status, 0);
    wait_for(f, f->status.available);
}

/* Shims and processes below the private dockerd's directory. */
static unsigned
shims_left(void)
{
    unsigned n = 0;
    DIR *d = opendir("/proc");
    struct dirent *de;
    while ((de = readdir(d)) != NULL) {
        struct error e = ERROR_INIT;
        auto_str cmdline = STR_INIT(4096);
        autofree char *path = xasprintf("/proc/%s/cmdline", de->d_name);
        if (strtol(de->d_name, NULL, 10) <= 0 || fs_read(path, &cmdline, &e) < 0)
            continue;
        for (size_t i = 0; i < cmdline.len; i++) {
            if (cmdline.ptr[i] == '\0')
                cmdline.ptr[i] = ' ';
        }
        n += strstr(cmdline.ptr, "containerd-shim") != NULL &&
             strstr(cmdline.ptr, getenv("WITH_DOCKERD_DIR")) != NULL;
    }
    closedir(d);
    return n;
}

static void
crowd_up(struct fixture *f, struct crowd *c, unsigned total)
{
    struct error e = ERROR_INIT;
    const char *seed = getenv("SEED");
    *c = (struct crowd){.total = total};
    c->seed = seed != NULL ? (uint32_t)strtoul(seed, NULL, 10) : id_uniform(1u << 31) + 1;
    print_message("SEED=%u\n", c->seed);
    snprintf(c->out, sizeof(c->out), "%s/out", f->dir);
    assert_int_equal(fs_mkdirs(c->out, 0777, &e), 0);
    c->neighbour = job_new(f, "trap 'exit 9' TERM; echo up; while :; do sleep 0.1; done");
    launch(f, c->neighbour);
    wait_for(f, c->neighbour->n_started == 1 && log_length(c->neighbour) > 0);
    for (size_t i = 0; i < AT_ONCE; i++)
        begin(f, c, &c->at[i]);
}

static void
short_jobs_under_kills(void **state)
{
    struct fixture *f = *state;
    struct crowd c;
    bool many = getenv("DROVER_LONG") != NULL;
    crowd_up(f, &c, many ? 500 : 60);
    unsigned daemon_every = c.total / (many ? 25 : 2), agent_every = 15;
    unsigned next_daemon = daemon_every / 2, next_agent = agent_every;
    while (c.done < c.total) {
        unsigned before = c.done;
        wait_for(f, (reap_all(f, &c), c.done > before));
        if (c.done >= next_daemon && c.done < c.total) {
            next_daemon += daemon_every;
            run_for(f, rnd(&c, 150));
            new_daemon(f, &c, rnd(&c, 3) == 0);
        } else if (c.done >= next_agent) {
            next_agent += agent_every;
            new_agent(f, &c);
        }
    }
    print_message("%u jobs, %u daemons and %u agents killed: %u told EngineRestarted, "
                  "%u logs cut\n",
                  c.total, c.daemons, c.agents, c.restarted, c.short_logs);
    assert_true(c.daemons > 0 && c.agents > 0);
    assert_int_equal(c.neighbour->n_exits, 0);
    engine_docker.stop(f->en, &c.neighbour->j, 30000);
    wait_for(f, c.neighbour->n_exits == 1);
    assert_int_equal(c.neighbour->result.exit_code, 9);
    remove_job(f, c.neighbour);
    wait_for(f, shims_left() == 0);
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(short_jobs_under_kills, setup, teardown),
    };
    UNUSED(argc);
    int skip = under_dockerd((char *[]){argv[0], argv[0], NULL});
    return skip >= 0 ? skip : cmocka_run_group_tests(tests, NULL, NULL);
}
