/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Pulls by a real dockerd from real registries (hack/with-registry), with and without
 * credentials: progress, failures in words, `latest` fresh, one pull for many, stall,
 * stop, collection of images.
 */
#include <arpa/inet.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "integration/docker_fixture.h"
#include "io/segment.h"

static const struct engine_registry_auth good = {.username = "drover",
                                                 .password = "s3cret"};
static const struct engine_registry_auth bad = {.username = "drover", .password = "no"};

static char *
image_in(const char *registry_var, const char *path)
{
    return xasprintf("%s/%s", getenv(registry_var), path);
}

static void
docker(const char *verb, const char *a, const char *b)
{
    const char *argv[] = {"docker", verb, a, b, NULL};
    auto_str out = STR_INIT(65536);
    run_program(argv, &out);
}

static bool
image_exists(const char *reference)
{
    const char *argv[] = {"docker", "image", "inspect", reference, NULL};
    auto_str out = STR_INIT(1 << 20);
    return run_program(argv, &out) == 0;
}

static void
pulls_with_progress(void **state)
{
    struct fixture *f = *state;
    autofree char *image = image_in("REGISTRY", "team/layers:1");
    docker("rmi", "-f", image);
    struct job *job = job_new(f, "head -c 1 /a >/dev/null && echo there");
    job->j.image = image;
    run(f, job);
    if (job->result.reason != ENGINE_EXITED)
        fail_msg("%s", job->result.message);
    assert_int_equal(job->result.exit_code, 0);
    assert_log(job, SEGMENT_STDOUT, "there\n");
    assert_true(job->n_pulling > 1);
    assert_int_equal(job->progress.layers_total, 3);
    assert_int_equal(job->progress.layers_done, 3);
    /* Two layers of random bytes; the base may have been here. */
    assert_true(job->progress.downloaded_bytes >= 5000000);
    assert_int_equal(job->progress.downloaded_bytes, job->progress.total_bytes);
    remove_job(f, job);

    /* Here now: no pull. */
    job = job_new(f, "true");
    job->j.image = image;
    run(f, job);
    assert_int_equal(job->result.exit_code, 0);
    assert_int_equal(job->n_pulling, 0);
    remove_job(f, job);
}

static void
credentials(void **state)
{
    struct fixture *f = *state;
    autofree char *image = image_in("REGISTRY_AUTH", "team/app:1");
    static const struct {
        const struct engine_registry_auth *auth;
        bool good;
    } cases[] = {{NULL, false}, {&bad, false}, {&good, true}};
    docker("rmi", "-f", image);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct job *job = job_new(f, "cat /version");
        job->j.image = image;
        job->j.registry_auth = cases[i].auth;
        run(f, job);
        if (cases[i].good) {
            assert_int_equal(job->result.exit_code, 0);
            assert_log(job, SEGMENT_STDOUT, "1\n");
        } else {
            assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
            assert_false(job->result.started);
            assert_non_null(strstr(job->result.message, "no basic auth credentials") !=
                                    NULL
                                ? "ok"
                                : strstr(job->result.message, "unauthorized"));
            assert_null(strstr(job->result.message, "s3cret"));
        }
        remove_job(f, job);
    }
}

static void
failures_in_words(void **state)
{
    struct fixture *f = *state;
    static const struct {
        const char *path, *word;
    } cases[] = {
        {"team/app:none", "not found"},
        {"none/such:1", "not found"},
        {"team/app@sha256:"
         "0000000000000000000000000000000000000000000000000000000000000000",
         "not found"},
        {"Team/app:1", "lower-case"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *image = image_in("REGISTRY", cases[i].path);
        struct job *job = job_new(f, "true");
        job->j.image = image;
        run(f, job);
        assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
        if (strstr(job->result.message, cases[i].word) == NULL &&
            strstr(job->result.message, "unknown") == NULL)
            fail_msg("%s: %s", image, job->result.message);
        remove_job(f, job);
    }
}

static void
expect_version(struct fixture *f, const char *image, const char *want)
{
    struct job *job = job_new(f, "cat /version");
    job->j.image = image;
    run(f, job);
    if (job->result.reason != ENGINE_EXITED)
        fail_msg("%s: %s", image, job->result.message);
    assert_log(job, SEGMENT_STDOUT, want);
    remove_job(f, job);
}

static void
latest_is_fresh(void **state)
{
    struct fixture *f = *state;
    autofree char *latest = image_in("REGISTRY", "team/app:latest");
    autofree char *unsaid = image_in("REGISTRY", "team/app");
    autofree char *fixed = image_in("REGISTRY", "team/app:fixed");
    docker("tag", "drover-built:1", latest);
    docker("push", "-q", latest);
    docker("tag", "drover-built:1", fixed);
    docker("push", "-q", fixed);
    expect_version(f, latest, "1\n");
    expect_version(f, fixed, "1\n");
    docker("tag", "drover-built:2", latest);
    docker("push", "-q", latest);
    docker("tag", "drover-built:2", fixed);
    docker("push", "-q", fixed);
    /* What is here is the old one again. */
    docker("tag", "drover-built:1", fixed);
    expect_version(f, fixed, "1\n");
    expect_version(f, unsaid, "2\n");
    /* Built here, from no registry: nothing to refresh. */
    expect_version(f, "drover-built:1", "1\n");
    struct job *job = job_new(f, "true");
    job->j.image = "drover-test/busybox";
    run(f, job);
    assert_int_equal(job->result.exit_code, 0);
    assert_int_equal(job->n_pulling, 0);
    remove_job(f, job);
}

static void
by_digest(void **state)
{
    struct fixture *f = *state;
    autofree char *image = image_in("REGISTRY", "team/app:2");
    const char *argv[] = {"docker", "image", "inspect", "-f", "{{index .RepoDigests 0}}",
                          image,    NULL};
    auto_str out = STR_INIT(4096);
    docker("pull", "-q", image);
    assert_int_equal(run_program(argv, &out), 0);
    char *at = strchr(out.ptr, '@');
    assert_non_null(at);
    at[strcspn(at, "\n")] = '\0';
    docker("rmi", "-f", image);
    autofree char *plain = xasprintf("%s/team/app%s", getenv("REGISTRY"), at);
    autofree char *both = xasprintf("%s%s", image, at);
    expect_version(f, plain, "2\n");
    expect_version(f, both, "2\n");
}

/* A registry that accepts and never answers. */
static int
silent_listener(char *image, size_t size)
{
    struct sockaddr_in a = {.sin_family = AF_INET, .sin_addr = {htonl(INADDR_LOOPBACK)}};
    socklen_t len = sizeof(a);
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(listen(fd, 16), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &len), 0);
    snprintf(image, size, "127.0.0.1:%u/slow/app:1", ntohs(a.sin_port));
    return fd;
}

static void
stall_and_stop(void **state)
{
    struct fixture *f = *state;
    char image[100];
    autoclose int fd = silent_listener(image, sizeof(image));
    assert_true(fd >= 0); /* open to the end */
    engine_docker.close(f->en);
    engine_up_with(f, &(struct engine_config){.pull_stall_ms = 1500});
    struct job *job = job_new(f, "true");
    job->j.image = image;
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
    assert_non_null(strstr(job->result.message, "no progress"));
    assert_in_range(job->exit_ms - job->launched_ms, 1400, 10000);
    remove_job(f, job);

    engine_docker.close(f->en);
    engine_up(f, NULL);
    struct job *two[2] = {job_new(f, "true"), job_new(f, "true")};
    for (size_t i = 0; i < 2; i++) {
        two[i]->j.image = image;
        launch(f, two[i]);
    }
    wait_for(f, two[0]->n_pulling > 0 && two[1]->n_pulling > 0);
    int64_t at = clock_now_ms();
    engine_docker.stop(f->en, &two[0]->j, 60000);
    wait_for(f, two[0]->n_exits == 1);
    assert_true(clock_now_ms() - at < 1000);
    assert_int_equal(two[1]->n_exits, 0); /* goes on waiting */
    engine_docker.stop(f->en, &two[1]->j, 60000);
    wait_for(f, two[1]->n_exits == 1);
    for (size_t i = 0; i < 2; i++) {
        assert_false(two[i]->result.started);
        remove_job(f, two[i]);
    }
}

static void
collects_what_is_unused(void **state)
{
    struct fixture *f = *state;
    autofree char *one = image_in("REGISTRY", "team/app:1");
    autofree char *two = image_in("REGISTRY", "team/app:2");
    autofree char *three = image_in("REGISTRY", "team/layers:1");
    docker("rmi", "-f", one);
    docker("rmi", "-f", two);
    docker("rmi", "-f", three);
    /* Never enough is free, so that all that may go goes. */
    engine_docker.close(f->en);
    engine_up_with(f, &(struct engine_config){.image_low_percent = 100});
    expect_version(f, one, "1\n");
    struct job *user = job_new(f, "sleep 1000");
    user->j.image = two;
    launch(f, user);
    wait_for(f, user->n_started == 1);
    assert_false(image_exists(one)); /* went before the second was pulled */
    expect_version(f, one, "1\n");
    struct job *job = job_new(f, "true");
    job->j.image = three;
    run(f, job);
    assert_int_equal(job->result.exit_code, 0);
    remove_job(f, job);
    assert_false(image_exists(one));
    assert_true(image_exists(two));                     /* in use */
    assert_true(image_exists("drover-test/busybox:1")); /* not ours */
    engine_docker.stop(f->en, &user->j, 0);
    wait_for(f, user->n_exits == 1);
    remove_job(f, user);
}

static void
no_room(void **state)
{
    struct fixture *f = *state;
    autofree char *image = image_in("REGISTRY", "team/app:2");
    docker("rmi", "-f", image);
    engine_docker.close(f->en);
    engine_up_with(f, &(struct engine_config){.image_min_free = UINT64_C(1) << 62});
    struct job *job = job_new(f, "true");
    job->j.image = image;
    run(f, job);
    assert_int_equal(job->result.reason, ENGINE_IMAGE_PULL);
    assert_non_null(strstr(job->result.message, "no room"));
    remove_job(f, job);
}

static void
many_jobs_one_pull(void **state)
{
    struct fixture *f = *state;
    autofree char *image = image_in("REGISTRY", "team/layers:1");
    struct job *jobs[6];
    docker("rmi", "-f", image);
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        jobs[i] = job_new(f, "echo ok");
        jobs[i]->j.image = image;
        launch(f, jobs[i]);
    }
    for (size_t i = 0; i < ARRAY_LEN(jobs); i++) {
        wait_for(f, jobs[i]->n_exits == 1);
        assert_int_equal(jobs[i]->result.exit_code, 0);
        assert_log(jobs[i], SEGMENT_STDOUT, "ok\n");
        remove_job(f, jobs[i]);
    }
}

int
main(int argc, char **argv)
{
    const struct CMUnitTest tests[] = {
#define T(name) cmocka_unit_test_setup_teardown(name, setup, teardown)
        T(pulls_with_progress),     T(credentials), T(failures_in_words),
        T(latest_is_fresh),         T(by_digest),   T(stall_and_stop),
        T(collects_what_is_unused), T(no_room),     T(many_jobs_one_pull),
    };
    UNUSED(argc);
    const char *registry = getenv("WITH_REGISTRY");
    char *program = argv[0];
    char *under[] = {program, (char *)(uintptr_t)registry, program, NULL};
    int skip =
        under_dockerd(registry != NULL ? under : (char *[]){program, program, NULL});
    if (skip >= 0)
        return skip;
    if (getenv("REGISTRY") == NULL) {
        fprintf(stderr, "skipped: run it by hack/with-registry\n");
        return 77;
    }
    return cmocka_run_group_tests(tests, NULL, NULL);
}
