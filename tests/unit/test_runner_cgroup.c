/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Job cgroups over made-up hierarchies of plain files, so that version 2 is tested on a
 * version 1 machine and the other way round: which controllers are found where, and what
 * is written.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/cgroup.h"
#include "runner/supervisor/spec.h"
#include "runner/supervisor/usermap.h"

static char root[64];

static int
setup(void **state)
{
    UNUSED(state);
    snprintf(root, sizeof(root), "/tmp/drover-cgroup-XXXXXX");
    assert_non_null(mkdtemp(root));
    return 0;
}

static int
teardown(void **state)
{
    struct error e = ERROR_INIT;

    UNUSED(state);
    return fs_remove_tree(root, &e);
}

static void
put(const char *path, const char *text)
{
    struct error e = ERROR_INIT;
    autofree char *full = xasprintf("%s/%s", root, path);
    char *slash = strrchr(full, '/');

    *slash = '\0';
    assert_int_equal(fs_mkdirs(full, 0755, &e), 0);
    *slash = '/';
    assert_int_equal(fs_write_atomic(full, text, strlen(text), 0644, &e), 0);
}

static void
assert_file(const char *path, const char *want)
{
    struct error e = ERROR_INIT;
    auto_str text = STR_INIT(4096);
    autofree char *full = xasprintf("%s/%s", root, path);

    if (fs_read(full, &text, &e) != 0)
        fail_msg("%s", e.msg);
    assert_string_equal(text.ptr, want);
}

static void
test_find_v1(void **state)
{
    char mounts[] =
        "22 27 0:21 / /proc rw - proc proc rw\n"
        "32 31 0:29 / /cg/cpu,cpuacct rw,nosuid shared:1 - cgroup cgroup rw,cpu,cpuacct\n"
        "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
        "39 31 0:36 / /cg/pids rw - cgroup cgroup rw,pids\n"
        "40 31 0:37 / /cg/systemd rw - cgroup cgroup rw,xattr,name=systemd\n";
    struct cgroup_host h;
    struct cgroup c;
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(cgroup_host_parse(mounts, &h, &e), 0);
    assert_string_equal(h.mount[CGROUP_CPU], "/cg/cpu,cpuacct");
    assert_string_equal(h.mount[CGROUP_CPUACCT], "/cg/cpu,cpuacct");
    assert_string_equal(h.mount[CGROUP_FREEZER], "");
    assert_false(h.v2[CGROUP_CPU]);
    assert_int_equal(cgroup_paths(&h, "a1", "uid", &c, &e), 0);
    assert_int_equal(c.n, 3);
    assert_int_equal(c.of[CGROUP_CPU], c.of[CGROUP_CPUACCT]);
    assert_int_equal(c.of[CGROUP_FREEZER], SIZE_MAX);
    assert_string_equal(c.dir[c.of[CGROUP_MEMORY]], "/cg/memory/drover-a1/uid");
    assert_int_equal(cgroup_paths(&h, "a1", "../x", &c, &e), -ERR_INVALID);
    assert_int_equal(cgroup_paths(&h, "a1", "", &c, &e), -ERR_INVALID);
}

static void
test_find_missing(void **state)
{
    char mounts[] = "35 31 0:32 / /cg/memory rw - cgroup cgroup rw,memory\n"
                    "36 31 0:33 / /cg/cpuset rw - cgroup cgroup rw,cpuset\n"
                    "garbage\n\n - \n1 2 3 - cgroup\n";
    struct cgroup_host h;
    struct error e = ERROR_INIT;

    UNUSED(state);
    assert_int_equal(cgroup_host_parse(mounts, &h, &e), -ERR_UNSUPPORTED);
    assert_non_null(strstr(e.msg, "\"cpu\""));
}

static struct cgroup
find_v2(void)
{
    struct error e = ERROR_INIT;
    struct cgroup_host h;
    struct cgroup c;

    put("cgroup.controllers", "cpuset cpu io memory hugetlb pids\n");
    put("cgroup.subtree_control", "");
    put("drover-a1/cgroup.subtree_control", "");
    autofree char *mounts =
        xasprintf("30 23 0:26 / %s rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", root);
    assert_int_equal(cgroup_host_parse(mounts, &h, &e), 0);
    assert_true(h.v2[CGROUP_CPU] && h.v2[CGROUP_MEMORY] && h.v2[CGROUP_PIDS]);
    assert_string_equal(h.mount[CGROUP_FREEZER], root);
    assert_int_equal(cgroup_paths(&h, "a1", "uid", &c, &e), 0);
    assert_int_equal(c.n, 1);
    return c;
}

static void
test_limits_v2(void **state)
{
    struct error e = ERROR_INIT;
    struct cgroup c = find_v2();
    struct cgroup_limits l = {.cpu_request_milli = 1000,
                              .cpu_limit_milli = 2500,
                              .memory_limit_mib = 32,
                              .pids_max = 100};

    UNUSED(state);
    /* Empty, because a plain file keeps what a control file would replace. */
    put("drover-a1/uid/memory.max", "");
    put("drover-a1/uid/memory.swap.max", "");
    put("drover-a1/uid/cpu.weight", "");
    put("drover-a1/uid/cpu.max", "");
    put("drover-a1/uid/pids.max", "");
    if (cgroup_create(&c, &l, &e) != 0)
        fail_msg("%s", e.msg);
    assert_file("drover-a1/uid/memory.max", "33554432");
    assert_file("drover-a1/uid/memory.swap.max", "0");
    assert_file("drover-a1/uid/cpu.weight", "39");
    assert_file("drover-a1/uid/cpu.max", "250000 100000");
    assert_file("drover-a1/uid/pids.max", "100");
    /* Each write replaces the start of the plain file; the last word stands. */
    assert_file("cgroup.subtree_control", "+pidsry");
    assert_file("drover-a1/cgroup.subtree_control", "+pidsry");
}

static void
test_oom_count(void **state)
{
    struct cgroup c = find_v2();

    UNUSED(state);
    assert_int_equal(cgroup_oom_kills(&c), 0);
    put("drover-a1/uid/memory.events", "low 0\nhigh 0\nmax 7\noom 2\noom_kill 3\n");
    assert_int_equal(cgroup_oom_kills(&c), 3);
    c.v2[CGROUP_MEMORY] = false;
    put("drover-a1/uid/memory.oom_control",
        "oom_kill_disable 0\nunder_oom 0\noom_kill 5\n");
    assert_int_equal(cgroup_oom_kills(&c), 5);
}

static void
test_remove(void **state)
{
    struct error e = ERROR_INIT;
    struct cgroup c = find_v2();
    autofree char *parent = xasprintf("%s/drover-a1", root);
    autofree char *file = xasprintf("%s/cgroup.subtree_control", parent);

    UNUSED(state);
    assert_int_equal(unlink(file), 0);
    assert_int_equal(mkdir(c.dir[0], 0755), 0);
    assert_int_equal(cgroup_remove(&c, &e), 0);
    assert_int_equal(access(parent, F_OK), -1);
    assert_int_equal(cgroup_remove(&c, &e), 0); /* absent is success */
}

static void
test_spec_round_trip(void **state)
{
    const char *argv[] = {"a", "", "c d", NULL};
    const char *env[] = {"K=V", "S=secret", NULL};
    struct spec s = {.dir = "/jobs/x",
                     .uid = "x",
                     .agent_id = "a1",
                     .user = "1:2",
                     .argv = {argv, 3},
                     .env = {env, 2},
                     .memory_limit_mib = 77,
                     .cpu_limit_milli = -1};
    struct spec back;
    struct error e = ERROR_INIT;
    int fd;

    UNUSED(state);
    assert_int_equal(spec_memfd(&s, &fd, &e), 0);
    assert_int_equal(ftruncate(fd, 0), -1); /* sealed */
    assert_int_equal(spec_map(fd, &back, &e), 0);
    close(fd);
    assert_string_equal(back.dir, "/jobs/x");
    assert_null(back.working_dir);
    assert_string_equal(back.user, "1:2");
    assert_int_equal(back.argv.len, 3);
    assert_string_equal(back.argv.items[1], "");
    assert_string_equal(back.argv.items[2], "c d");
    assert_null(back.argv.items[3]);
    assert_string_equal(back.env.items[1], "S=secret");
    assert_int_equal(back.masks.len, 0);
    assert_int_equal(back.memory_limit_mib, 77);
    assert_int_equal(back.cpu_limit_milli, -1);
    spec_done(&back);
}

/* What systemd hands over: the agent's own cgroup. It sits down beside its jobs. */
static void
test_own_v2(void **state)
{
    struct cgroup_host h;
    struct cgroup_host given;
    struct error e = ERROR_INIT;
    const char *self = "1:name=systemd:/x\n0::/user/app\n";

    UNUSED(state);
    put("cgroup.controllers", "cpu memory pids\n");
    put("user/app/cgroup.controllers", "memory pids\n"); /* no cpu */
    put("user/app/cgroup.subtree_control", "");
    put("user/app/cgroup.procs", "");
    autofree char *mounts =
        xasprintf("30 23 0:26 / %s rw,nosuid - cgroup2 cgroup2 rw,nsdelegate\n", root);
    assert_int_equal(cgroup_host_parse(mounts, &h, &e), 0);
    given = h;
    cgroup_own(&given, self, false); /* not switched on: nothing yet */
    for (int c = 0; c < CGROUP_N; c++)
        assert_string_equal(given.mount[c], "");
    given = h;
    cgroup_own(&given, self, true);
    autofree char *seat = xasprintf("%s/user/app/drover-agent", root);
    assert_int_equal(access(seat, F_OK), 0);
    put("user/app/cgroup.subtree_control", "memory pids\n"); /* as a kernel would */
    given = h;
    cgroup_own(&given, "0::/user/app/drover-agent\n", false); /* where it is now */
    autofree char *app = xasprintf("%s/user/app", root);
    assert_string_equal(given.mount[CGROUP_MEMORY], app);
    assert_string_equal(given.mount[CGROUP_PIDS], app);
    assert_string_equal(given.mount[CGROUP_FREEZER], app);
    assert_string_equal(given.mount[CGROUP_CPU], "");
    /* Somebody else's, or none. */
    given = h;
    cgroup_own(&given, "0::/elsewhere\n", true);
    assert_string_equal(given.mount[CGROUP_MEMORY], "");
    given = h;
    cgroup_own(&given, "garbage\n:\n", true);
    assert_string_equal(given.mount[CGROUP_MEMORY], "");
}

static void
test_own_path(void **state)
{
    const char *text = "9:name=systemd:/\n8:cpu,cpuacct:/a/b\n4:memory:/m\n0::/two\n";
    char out[16];

    UNUSED(state);
    assert_true(cgroup_own_path(text, "cpuacct", out, sizeof(out)));
    assert_string_equal(out, "/a/b");
    assert_true(cgroup_own_path(text, "memory", out, sizeof(out)));
    assert_string_equal(out, "/m");
    assert_true(cgroup_own_path(text, NULL, out, sizeof(out)));
    assert_string_equal(out, "/two");
    assert_false(cgroup_own_path(text, "cpua", out, sizeof(out)));
    assert_false(cgroup_own_path(text, "memory", out, 2));
}

static void
test_sub_ids(void **state)
{
    struct usermap m = {.needed = true, .uid = 1000};

    UNUSED(state);
    put("subuid", "# a comment\nann:100000:65536\nbob:200000:10\n1000:300000:70000\nx\n");
    put("subgid", "bob:500:20\nann:600000:1000\n");
    autofree char *uids = xasprintf("%s/subuid", root);
    autofree char *gids = xasprintf("%s/subgid", root);
    usermap_read(uids, gids, "ann", &m); /* by name or number, the larger one */
    assert_int_equal(m.sub_uid, 300000);
    assert_int_equal(m.sub_gid, 600000);
    assert_int_equal(m.count, 1000); /* what both have */
    assert_int_equal(usermap_size(&m), 1000);
    assert_int_equal(usermap_base(&m), 1);
    m.uid = 7;
    usermap_read(uids, gids, "bob", &m);
    assert_int_equal(m.count, 10);
    usermap_read(uids, gids, "eve", &m);
    assert_int_equal(m.count, 0);
    assert_non_null(strstr(m.why, "subuid has no range for user eve"));
    assert_int_equal(usermap_size(&m), 1);
    m.needed = false;
    assert_int_equal(usermap_size(&m), 65536);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_find_v1, setup, teardown),
        cmocka_unit_test_setup_teardown(test_find_missing, setup, teardown),
        cmocka_unit_test_setup_teardown(test_limits_v2, setup, teardown),
        cmocka_unit_test_setup_teardown(test_oom_count, setup, teardown),
        cmocka_unit_test_setup_teardown(test_remove, setup, teardown),
        cmocka_unit_test(test_spec_round_trip),
        cmocka_unit_test(test_own_path),
        cmocka_unit_test_setup_teardown(test_sub_ids, setup, teardown),
        cmocka_unit_test_setup_teardown(test_own_v2, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
