/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The agent's care for unpacked root file systems: at its start what the dead have left
 * goes; when the disk is short of room, those that no job uses, and only then.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "runner/agent.h"
#include "runner/roots_keep.h"
#include "runner/trash.h"

enum { WAIT_MS = 60000 };

#define HEX63 "000000000000000000000000000000000000000000000000000000000000000"

static const char *const trees[] = {"roots/" HEX63 "1",        "roots/" HEX63 "2",
                                    "roots/" HEX63 "3",        "roots/" HEX63 "4.tmp",
                                    "roots/" HEX63 "1.7.gone", "jobs/j"};

struct world {
    struct agent a;
    struct agent_opts opts;
    char dir[64];
};

static bool
there(const struct world *w, const char *path)
{
    autofree char *full = fs_join(w->dir, path);

    return access(full, F_OK) == 0;
}

static void
up(struct world *w)
{
    struct error e = ERROR_INIT;

    snprintf(w->dir, sizeof(w->dir), "/tmp/drover-keep-XXXXXX");
    assert_non_null(mkdtemp(w->dir));
    for (size_t i = 0; i < ARRAY_LEN(trees); i++) {
        autofree char *path = fs_join(w->dir, trees[i]);
        assert_int_equal(fs_mkdirs(path, 0700, &e), 0);
    }
    autofree char *link = fs_join(w->dir, "jobs/j/rootfs");
    assert_int_equal(symlink(HEX63 "2", link), 0);
    assert_int_equal(loop_new(&w->a.loop, &e), 0);
    w->opts = (struct agent_opts){.dir = w->dir, .min_free_mib = 0};
    w->a.opts = &w->opts;
    w->a.jobs = map_new(NULL);
    w->a.trash = trash_new(w->a.loop, w->dir);
    w->a.roots = roots_keep_start(&w->a);
    w->a.room = diskroom_start(&w->a);
}

static void
down(struct world *w)
{
    struct error e = ERROR_INIT;

    trash_free(w->a.trash);
    w->a.trash = NULL;
    roots_keep_free(w->a.roots);
    diskroom_free(w->a.room);
    map_free(w->a.jobs);
    loop_free(w->a.loop);
    assert_int_equal(fs_remove_tree(w->dir, &e), 0);
}

static void
wait_gone(const struct world *w, const char *path)
{
    int64_t until = clock_now_ms() + WAIT_MS;

    while (there(w, path)) {
        if (clock_now_ms() > until)
            fail_msg("%s is still there", path);
        loop_turn(w->a.loop, 10);
    }
}

static void
swept_and_collected(void **state)
{
    struct world w = {0};

    UNUSED(state);
    up(&w);
    wait_gone(&w, trees[3]);
    wait_gone(&w, trees[4]);
    diskroom_look(w.a.room); /* there is room: nothing goes */
    for (int i = 0; i < 10; i++)
        loop_turn(w.a.loop, 1);
    assert_true(there(&w, trees[0]) && there(&w, trees[1]) && there(&w, trees[2]));
    assert_int_equal(diskroom_floor(w.a.room), 0);

    w.opts.min_free_mib = INT32_MAX; /* nowhere so much is free */
    assert_non_null(diskroom_low(w.a.room));
    wait_gone(&w, trees[0]);
    wait_gone(&w, trees[2]);          /* one after the other, without being asked again */
    assert_true(there(&w, trees[1])); /* a job uses it */
    down(&w);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(swept_and_collected)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
