/* SPDX-License-Identifier: Apache-2.0 */
/* Where files of a job go, and archives that mean harm. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/place/untar.h"
#include "unit/tar_writer.h"

static void
expands(void **state)
{
    static const struct {
        const char *path, *base, *home, *want; /* want NULL: refused */
    } cases[] = {
        {"", "", "", "."},
        {"", "/repo", "", "/repo"},
        {"repo", "data", "", "data/repo"},
        {"repo", "/data", "", "/data/repo"},
        {"/repo", "/data", "", "/repo"},
        {"~", "/w", "/home/user", "/home/user"},
        {"~/repo", "/w", "/home/user", "/home/user/repo"},
        {"~/repo", "", "", "repo"},
        {"~user", "", "/h", NULL},
        {"~user/x", "", "/h", NULL},
        {"../x", "/job/a", "", "/job/x"},
        {"./a//b/.", "/job", "", "/job/a/b"},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *got = NULL;
        struct error e = ERROR_INIT;
        int rc = place_expand(cases[i].path, cases[i].base, cases[i].home, &got, &e);
        assert_int_equal(rc == 0, cases[i].want != NULL);
        if (cases[i].want != NULL)
            assert_string_equal(got, cases[i].want);
    }
}

static void
process_paths(void **state)
{
    autofree char *a = NULL;
    autofree char *b = NULL;
    autofree char *c = NULL;
    struct error e = ERROR_INIT;
    UNUSED(state);
    assert_int_equal(place_process_path("/job/x/y", &a, &e), 0);
    assert_string_equal(a, "work/x/y");
    assert_int_equal(place_process_path("/tmp", &b, &e), 0);
    assert_string_equal(b, "tmp");
    assert_int_not_equal(place_process_path("/jobs", &c, &e), 0);
    assert_int_not_equal(place_process_path("/etc/passwd", &c, &e), 0);
}

/* --- archives ------------------------------------------------------------------------
 */

struct entry {
    const char *name;
    char type;
    const char *link, *content;
};

static char root[64];

static int
unpack(const struct entry *entries, struct error *e)
{
    auto_str tar = STR_INIT(1 << 20);
    struct place_owner me = {geteuid(), getegid()};
    for (; entries->name != NULL; entries++) {
        struct tar_entry en = {.name = entries->name,
                               .type = entries->type,
                               .link = entries->link,
                               .content = entries->content,
                               .mode = 04755};
        tar_add(&tar, &en);
    }
    autoclose int fd = memfd_create("tar", MFD_CLOEXEC);
    assert_int_equal(fs_write_all(fd, tar.ptr, tar.len, e), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    autofree char *in = fs_join(root, "in");
    autoclose int dir = open(in, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    return untar(fd, dir, "top", &me, e);
}

static int
setup(void **state)
{
    UNUSED(state);
    snprintf(root, sizeof(root), "/tmp/untar-XXXXXX");
    assert_non_null(mkdtemp(root));
    autofree char *in = fs_join(root, "in");
    return mkdir(in, 0700);
}

static int
teardown(void **state)
{
    struct error e = ERROR_INIT;
    UNUSED(state);
    return fs_remove_tree(root, &e);
}

static bool
there(const char *path)
{
    autofree char *full = fs_join(root, path);
    struct stat st;
    return lstat(full, &st) == 0;
}

static void
good_archive(void **state)
{
    struct error e = ERROR_INIT;
    struct stat st;
    UNUSED(state);
    const struct entry entries[] = {{"d/", '5', NULL, NULL},
                                    {"d/sub/f", '0', NULL, "hello"},
                                    {"d/hard", '1', "d/sub/f", NULL},
                                    {"d/soft", '2', "/etc/passwd", NULL},
                                    {NULL, 0, NULL, NULL}};
    assert_int_equal(unpack(entries, &e), 0);
    autofree char *f = fs_join(root, "in/top/sub/f");
    auto_str text = STR_INIT(100);
    assert_int_equal(fs_read(f, &text, &e), 0);
    assert_string_equal(text.ptr, "hello");
    assert_int_equal(stat(f, &st), 0);
    assert_int_equal(st.st_mode & 07777, 0755); /* no setuid */
    assert_int_equal(st.st_nlink, 2);
    assert_true(there("in/top/soft"));
    /* again over it: what was there goes */
    const struct entry file[] = {{"x", '0', NULL, "new"}, {NULL, 0, NULL, NULL}};
    assert_int_equal(unpack(file, &e), 0);
    assert_false(there("in/top/sub"));
}

static void
harmful_archives(void **state)
{
    UNUSED(state);
    const struct entry cases[][4] = {
        {{"../out", '0', NULL, "x"}},
        {{"d/../../out", '0', NULL, "x"}},
        {{"/out", '0', NULL, "x"}},
        {{"d/..", '5', NULL, NULL}},
        {{"a", '0', NULL, "x"}, {"b", '0', NULL, "x"}},
        {{"d/dev", '3', NULL, NULL}},
        {{"d/fifo", '6', NULL, NULL}},
        {{"d/h", '1', "../../etc/passwd", NULL}},
        {{"d/h", '1', "/etc/passwd", NULL}},
        {{"d", '0', NULL, "x"}, {"d/f", '0', NULL, "x"}},
        /* a directory that is there, then a link in its place */
        {{"d/a/f", '0', NULL, "x"}, {"d/a", '2', "../..", NULL}},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        assert_int_not_equal(unpack(cases[i], &e), 0);
        assert_true(e.msg[0] != '\0');
        assert_false(there("out"));
        assert_false(there("in/out"));
    }
}

/* A link first, a file through it later: the link is only made at the end, so that the
 * file's directory is a real one and the link cannot replace it. */
static void
no_way_through_a_link(void **state)
{
    struct error e = ERROR_INIT;
    UNUSED(state);
    const struct entry entries[] = {{"d/l", '2', "../../", NULL},
                                    {"d/l/evil", '0', NULL, "x"},
                                    {NULL, 0, NULL, NULL}};
    assert_int_not_equal(unpack(entries, &e), 0);
    assert_false(there("evil"));
    assert_true(there("in/top/l/evil"));

    /* And a link that was there before is no directory. */
    autofree char *link = fs_join(root, "in/way");
    assert_int_equal(symlink(root, link), 0);
    autofree char *in = fs_join(root, "in");
    autoclose int dir = open(in, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct place_owner me = {geteuid(), getegid()};
    int fd = -1;
    assert_int_not_equal(tree_open(dir, "way/x", &me, &fd, &e), 0);
    assert_int_not_equal(tree_open(dir, "../x", &me, &fd, &e), 0);
}

/* Links are given away, never what they point to. */
static void
chown_follows_nothing(void **state)
{
    struct error e = ERROR_INIT;
    struct stat st;
    UNUSED(state);
    if (geteuid() != 0)
        skip();
    autofree char *mine = fs_join(root, "mine");
    assert_int_equal(fs_write_atomic(mine, "x", 1, 0600, &e), 0);
    autofree char *link = fs_join(root, "in/l");
    assert_int_equal(symlink(mine, link), 0);
    autoclose int dir = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    struct place_owner other = {12345, 12345};
    assert_int_equal(tree_chown(dir, "in", &other, &e), 0);
    assert_int_equal(lstat(link, &st), 0);
    assert_int_equal(st.st_uid, 12345);
    assert_int_equal(stat(mine, &st), 0);
    assert_int_equal(st.st_uid, 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(expands),
        cmocka_unit_test(process_paths),
        cmocka_unit_test_setup_teardown(good_archive, setup, teardown),
        cmocka_unit_test_setup_teardown(harmful_archives, setup, teardown),
        cmocka_unit_test_setup_teardown(no_way_through_a_link, setup, teardown),
        cmocka_unit_test_setup_teardown(chown_follows_nothing, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
