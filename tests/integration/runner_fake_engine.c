/* SPDX-License-Identifier: Apache-2.0 */
/* An engine that starts nothing, on the test's loop. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "integration/runner_fake_engine.h"
#include "io/segment.h"

struct engine {
    struct loop *loop;
    struct loop_timer *timer;
    void (*probed)(void *arg, const struct engine_status *s);
    void *probed_arg;
};
static struct engine *the_engine;
struct machine machine;

struct thing *
thing_of(const char *uid)
{
    for (size_t i = 0; i < machine.n; i++) {
        if (streq(machine.things[i].uid, uid))
            return &machine.things[i];
    }
    struct thing *t = &machine.things[machine.n++];
    *t = (struct thing){.quick = machine.quick};
    snprintf(t->uid, sizeof(t->uid), "%s", uid);
    return t;
}

static int
fake_open(struct loop *l, const struct engine_config *c, struct engine **ret,
          struct error *e)
{
    UNUSED(c);
    UNUSED(e);
    *ret = the_engine = xnew(struct engine);
    the_engine->loop = l;
    return 0;
}

static void
fake_close(struct engine *en)
{
    for (size_t i = 0; i < machine.n; i++)
        machine.things[i].job = NULL;
    the_engine = NULL;
    free(en);
}

static void
fake_probe(struct engine *en, void (*done)(void *arg, const struct engine_status *s),
           void *arg)
{
    struct engine_status s = {.available = machine.available};
    en->probed = done;
    en->probed_arg = arg;
    snprintf(s.reason, sizeof(s.reason), "%s", machine.available ? "" : "SocketMissing");
    done(arg, &s);
}

void
thing_write(const struct thing *t, const char *text)
{
    struct segment_log *s;
    struct error e = ERROR_INIT;
    uint64_t length;
    auto_str frame = STR_INIT(4096);
    autofree char *dir = fs_join(t->job->dir, "log");
    assert_int_equal(segment_open(dir, &s, &e), 0);
    segment_frame_put(&frame, clock_wall_ns(), SEGMENT_STDOUT, text, strlen(text));
    assert_int_equal(
        segment_append(s, segment_length(s), frame.ptr, frame.len, &length, &e), 0);
    segment_close(s);
}

static void
tell_exit(struct thing *t)
{
    struct engine_result r = {.reason = t->signal ? ENGINE_SIGNALED : ENGINE_EXITED,
                              .started = true,
                              .exit_code = t->exit_code,
                              .signal = t->signal,
                              .started_ns = clock_wall_ns(),
                              .finished_ns = clock_wall_ns(),
                              .log_follows = t->log_late};
    if (t->job != NULL)
        t->job->events->on_exit(t->job, &r);
}

void
thing_exit(struct thing *t, int code, int sig)
{
    if (t->state != THING_RUNNING)
        return;
    t->state = THING_EXITED;
    t->exit_code = code;
    t->signal = sig;
    tell_exit(t);
}

void
thing_start(struct thing *t)
{
    if (t->job == NULL)
        return;
    t->job->facts = (struct engine_facts){
        .pid = 4711, .user = "app", .working_dir = "/w", .n_ports = 1};
    t->job->facts.ports[0] = (struct engine_port){8080, 49153};
    t->job->events->on_started(t->job, clock_wall_ns());
    if (t->quick)
        thing_exit(t, 0, 0);
}

/* Answers come from the loop, never from inside the call, as real engines do it. */
static void
after_launch(void *arg)
{
    static const struct engine_progress creating = {.phase = ENGINE_CREATING};
    struct thing *t = arg;
    if (t->job == NULL)
        return;
    t->job->events->on_progress(t->job, &creating);
    if (!machine.creating)
        thing_start(t);
}

/* What only a container has, as one text. */
static void
write_wants(struct thing *t, const struct engine_job *j)
{
    const struct engine_registry_auth *a = j->registry_auth;
    auto_str out = STR_INIT(sizeof(t->wants) - 1);
    str_addf(&out, "%s%s%s auth=%s:%s", j->privileged ? "privileged " : "",
             j->bridge ? "bridge" : "host", j->whole_instance ? " whole" : "",
             a != NULL ? a->username : "", a != NULL ? a->password : "");
    for (size_t i = 0; i < j->n_mounts; i++)
        str_addf(&out, " %s%s:%s%s%s", j->mounts[i].volume ? "volume " : "",
                 j->mounts[i].source, j->mounts[i].path,
                 j->mounts[i].read_only ? " ro" : "",
                 j->mounts[i].optional ? " optional" : "");
    for (size_t i = 0; i < j->n_ports; i++)
        str_addf(&out, " port %u", j->ports[i].container);
    for (size_t i = 0; i < j->n_ulimits; i++)
        str_addf(&out, " %s=%lld:%lld", j->ulimits[i].name, (long long)j->ulimits[i].soft,
                 (long long)j->ulimits[i].hard);
    snprintf(t->wants, sizeof(t->wants), "%s", out.ptr);
}

static void
fake_launch(struct engine *en, struct engine_job *j)
{
    struct thing *t = thing_of(j->uid);
    write_wants(t, j);
    assert_int_equal(t->state, THING_NONE);
    t->job = j;
    t->starts++;
    t->state = THING_RUNNING;
    for (const char *const *p = j->env; *p != NULL; p++) {
        if (str_starts(*p, "TOKEN="))
            snprintf(t->secret, sizeof(t->secret), "%s", *p + 6);
    }
    thing_write(t, "hello\n");
    loop_post(en->loop, after_launch, t);
}

static void
after_adopt(void *arg)
{
    struct thing *t = arg;
    if (t->job == NULL)
        return;
    if (t->state == THING_NONE) {
        struct engine_result r = {
            .reason = ENGINE_LOST, .never_started = true, .exit_code = -1};
        t->job->events->on_exit(t->job, &r);
    } else if (t->state == THING_REMOVED) {
        struct engine_result r = {
            .reason = ENGINE_LOST, .started = true, .exit_code = -1};
        t->job->events->on_exit(t->job, &r);
    } else if (t->state == THING_EXITED) {
        tell_exit(t);
    } else {
        thing_start(t);
    }
}

static void
fake_adopt(struct engine *en, struct engine_job *j)
{
    struct thing *t = thing_of(j->uid);
    t->job = j;
    loop_post(en->loop, after_adopt, t);
}

static void
after_stop(void *arg)
{
    thing_exit(arg, 143, SIGTERM);
}

static void
fake_stop(struct engine *en, struct engine_job *j, int64_t grace_ms)
{
    struct thing *t = thing_of(j->uid);
    if (grace_ms > 0)
        t->stops++;
    else
        t->kills++;
    loop_post(en->loop, after_stop, t);
}

static void
after_remove(void *arg)
{
    struct thing *t = arg;
    if (t->state != THING_NONE)
        t->state = THING_REMOVED;
    if (t->job != NULL) {
        struct engine_job *j = t->job;
        t->job = NULL;
        j->events->on_removed(j, NULL);
    }
}

static void
fake_remove(struct engine *en, struct engine_job *j)
{
    struct thing *t = thing_of(j->uid);
    assert_int_not_equal(t->state, THING_RUNNING);
    t->job = j;
    loop_post(en->loop, after_remove, t);
}

static void
fake_sweep(struct engine *en, const char *const *known)
{
    UNUSED(en);
    UNUSED(known);
}

void
fake_engine_tell(const struct engine_status *s)
{
    the_engine->probed(the_engine->probed_arg, s);
}

#define FAKE(n)                                                                          \
    {                                                                                    \
        .name = n, .open = fake_open, .close = fake_close, .probe = fake_probe,          \
        .launch = fake_launch, .adopt = fake_adopt, .stop = fake_stop,                   \
        .remove = fake_remove, .sweep = fake_sweep,                                      \
    }
static const struct engine_ops fake_docker = FAKE("docker");
static const struct engine_ops fake_process = FAKE("process");
const struct engine_ops *const fake_engines[AGENT_ENGINES] = {&fake_docker,
                                                              &fake_process};
