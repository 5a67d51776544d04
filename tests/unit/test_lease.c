/* SPDX-License-Identifier: Apache-2.0 */
/* The election: two candidates over one server, clocks moved by hand. */
#include "control/lease.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <sys/wait.h>

#include <cmocka.h>

#include "base/mem.h"
#include "tests/unit/fake_api.h"

static bool a_is_gone;

static bool
gone(const char *identity)
{
    return a_is_gone && streq(identity, "a");
}

static struct lease
candidate(const char *identity)
{
    struct lease l = {.opts = {.ns = "drover-system",
                               .name = "x",
                               .identity = identity,
                               .duration_ms = 15000,
                               .renew_ms = 5000,
                               .give_up_ms = 10000,
                               .retry_ms = 1000,
                               .holder_gone = gone}};

    return l;
}

/* Does what the candidate wants until it waits; the time to ask again. down: the server
 * does not answer. */
static int64_t
drive(struct lease *l, struct client *c, int64_t now, bool down)
{
    int64_t wake;
    enum lease_do what;

    while ((what = lease_next(l, now, &wake)) != LEASE_WAIT) {
        struct error e = ERROR_INIT;
        auto_object *o = NULL;
        json_t *body = what == LEASE_GET ? NULL : lease_body(l, now, now * 1000000);
        int rc = 0;
        if (down)
            rc = error_set(&e, ERR_UNAVAILABLE, "down");
        else if (what == LEASE_GET)
            rc = client_get(c, &resource_leases, "drover-system", "x", &o, &e);
        else if (what == LEASE_CREATE)
            rc = client_create(c, &resource_leases, "drover-system", body, &o, &e);
        else
            rc = client_update(c, &resource_leases, "drover-system", "x", body, &o, &e);
        json_decref(body);
        if (what == LEASE_GET && rc == -ERR_NOT_FOUND)
            lease_got(l, NULL, now);
        else if (rc < 0)
            lease_failed(l, &e, now);
        else if (what == LEASE_GET)
            lease_got(l, o, now);
        else
            lease_wrote(l, o, now);
    }
    return wake;
}

static void
one_holds_the_other_waits(void **state)
{
    struct fake_api *api = fake_api_new();
    auto_client *c = fake_api_client(api);
    struct lease a = candidate("a"), b = candidate("b");

    UNUSED(state);
    a_is_gone = false;
    assert_int_equal(drive(&a, c, 1000, false), 6000);
    assert_true(lease_held(&a, 1000));
    assert_int_equal(drive(&b, c, 2000, false), 17000);
    assert_false(lease_held(&b, 2000));
    /* a renews in time; b's attempt at its time is a conflict, then it waits again */
    drive(&a, c, 6000, false);
    drive(&a, c, 11000, false);
    drive(&a, c, 16000, false);
    int64_t wake = drive(&b, c, 17000, false);
    wake = drive(&b, c, wake, false);
    assert_false(lease_held(&b, wake));
    assert_true(wake > 31000);
    assert_true(lease_held(&a, 17000));
    fake_api_free(api);
}

static void
silence_hands_it_over_and_never_to_two(void **state)
{
    struct fake_api *api = fake_api_new();
    auto_client *c = fake_api_client(api);
    struct lease a = candidate("a"), b = candidate("b");
    int64_t took = 0;

    UNUSED(state);
    a_is_gone = false;
    drive(&a, c, 0, false);
    int64_t wake_a = 5000, wake_b = drive(&b, c, 100, false);
    for (int64_t now = 100; now < 60000; now += 50) {
        if (now >= wake_a) /* a is cut off, and back after 30 s */
            wake_a = drive(&a, c, now, now < 30000);
        if (now >= wake_b)
            wake_b = drive(&b, c, now, false);
        assert_false(lease_held(&a, now) && lease_held(&b, now));
        if (took == 0 && lease_held(&b, now))
            took = now;
    }
    assert_true(took >= 15000 && took < 16000);
    assert_true(lease_held(&b, 59950));
    assert_int_equal(b.transitions, 2);
    fake_api_free(api);
}

static void
a_dead_holder_and_a_released_lease_cost_no_time(void **state)
{
    struct fake_api *api = fake_api_new();
    auto_client *c = fake_api_client(api);
    struct lease a = candidate("a"), b = candidate("b"), d = candidate("d");
    struct error e = ERROR_INIT;

    UNUSED(state);
    a_is_gone = true;
    drive(&a, c, 0, false);
    drive(&b, c, 10, false);
    assert_true(lease_held(&b, 10));
    json_t *body = lease_release_body(&b, 0);
    assert_int_equal(
        client_update(c, &resource_leases, "drover-system", "x", body, NULL, &e), 0);
    json_decref(body);
    drive(&d, c, 20, false);
    assert_true(lease_held(&d, 20));
    fake_api_free(api);
}

static void
identities(void **state)
{
    char mine[LEASE_IDENTITY_MAX], other[LEASE_IDENTITY_MAX];
    int fds[2];
    char go;

    UNUSED(state);
    lease_identity(mine);
    assert_false(lease_holder_gone(mine));
    assert_false(lease_holder_gone("another-host/boot/1/2/3"));
    assert_false(lease_holder_gone(""));
    assert_int_equal(lease_holder_pidfd("another-host/boot/1/2/3"), -1);
    assert_int_equal(pipe(fds), 0);
    pid_t pid = fork();
    if (pid == 0) {
        lease_identity(other);
        if (write(fds[1], other, sizeof(other)) < 0 || read(fds[1], &go, 0) < 0)
            _exit(1);
        _exit(0);
    }
    assert_int_equal(read(fds[0], other, sizeof(other)), sizeof(other));
    siginfo_t info;
    assert_int_equal(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
    assert_true(lease_holder_gone(other)); /* a zombie is gone */
    waitpid(pid, NULL, 0);
    assert_true(lease_holder_gone(other));
    /* the pid of a living process with another start time */
    char *slash = strrchr(mine, '/');
    snprintf(slash, 10, "/12");
    assert_true(lease_holder_gone(mine));
    close(fds[0]);
    close(fds[1]);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(one_holds_the_other_waits),
        cmocka_unit_test(silence_hands_it_over_and_never_to_two),
        cmocka_unit_test(a_dead_holder_and_a_released_lease_cost_no_time),
        cmocka_unit_test(identities),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
