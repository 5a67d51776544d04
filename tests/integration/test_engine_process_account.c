/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bash's functions in an environment. And whose ids a job gets: the table of user and
 * group names and numbers, over a passwd and a group file of the test's own (mounted over
 * the machine's, for this process alone).
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <sched.h>
#include <stdio.h>
#include <sys/mount.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/supervisor/account.h"
#include "runner/supervisor/launch.h"

static const char passwd[] = "root:x:0:0:root:/root:/bin/sh\n"
                             "broken line\n"
                             "alice:x:2000:300::/home/alice:/bin/sh\n"
                             "far:x:70000:70000::/:/bin/sh\n";
static const char group[] = "root:x:0:\n"
                            "staff:x:200:\n"
                            "alices:x:300:alice\n"
                            "render:x:500:bob,alice\n"
                            "video:x:400:alice,root\n"
                            "again:x:400:alice\n"
                            "far:x:70000:alice\n";

static const struct {
    const char *text;
    int uid; /* -1: an error that says `groups` */
    int gid;
    const char *groups;
} cases[] = {
    {NULL, 0, 0, "0 400"},
    {"", 0, 0, "0 400"},
    {"0", 0, 0, "0 400"},
    {"3000", 3000, 0, "0"},         /* unknown number */
    {"3000:200", 3000, 200, "200"}, /* with a group: only that */
    {"3000:staff", 3000, 200, "200"},
    {"2000", 2000, 300, "300 400 500"}, /* known number: its groups, each once */
    {"alice", 2000, 300, "300 400 500"},
    {"alice:staff", 2000, 200, "200"},
    {"alice:200", 2000, 200, "200"},
    {"alice:", 2000, 300, "300"},
    {":staff", 0, 200, "200"},
    {"bob", -1, 0, "user \"bob\" is not in /etc/passwd"},
    {"alice:nobodies", -1, 0, "group \"nobodies\" is not in /etc/group"},
    {"far", -1, 0, "ids of a job are below"},
    {"70000", -1, 0, "ids of a job are below"},
    {"1:99999999", -1, 0, "ids of a job are below"},
    {"-1", -1, 0, "is not in /etc/passwd"},
    {"99999999999", -1, 0, "is not in /etc/passwd"},
};

static void
cover(const char *path, const char *text)
{
    struct error e = ERROR_INIT;
    char name[] = "/tmp/drover-account-XXXXXX";
    autoclose int fd = mkstemp(name);

    assert_true(fd >= 0);
    assert_int_equal(fs_write_all(fd, text, strlen(text), &e), 0);
    assert_int_equal(mount(name, path, NULL, MS_BIND, NULL), 0);
    unlink(name);
}

static void
test_table(void **state)
{
    UNUSED(state);
    assert_int_equal(unshare(CLONE_NEWNS), 0);
    assert_int_equal(mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL), 0);
    cover("/etc/passwd", passwd);
    cover("/etc/group", group);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        struct account a;
        auto_str groups = STR_INIT(256);
        int rc = account_find(-1, cases[i].text, &a, &e);
        if (cases[i].uid < 0) {
            if (rc == 0 || strstr(e.msg, cases[i].groups) == NULL)
                fail_msg("%s: %s", cases[i].text, e.msg);
            continue;
        }
        if (rc != 0)
            fail_msg("%s: %s", cases[i].text, e.msg);
        for (size_t g = 0; g < a.n_groups; g++)
            str_addf(&groups, "%s%u", g > 0 ? " " : "", (unsigned)a.groups[g]);
        if ((int)a.uid != cases[i].uid || (int)a.gid != cases[i].gid ||
            !streq(groups.ptr, cases[i].groups))
            fail_msg("%s: %u:%u groups %s", cases[i].text, (unsigned)a.uid,
                     (unsigned)a.gid, groups.ptr);
    }
}

static void
test_shell_functions(void **state)
{
    static const struct {
        const char *text;
        bool want;
    } names[] = {
        {"BASH_FUNC_foo%%=() { :; }", true},
        {"BASH_FUNC_foo()=() { :; }", true},
        {"BASH_FUNC_f%%=", true},
        {"BASH_FUNC_%%=x", false},
        {"BASH_FUNC_()=x", false},
        {"BASH_FUNC_foo=x", false},
        {"BASH_FUNC_foo%=x", false},
        {"foo%%=x", false},
        {"bash_func_foo%%=x", false},
        {"A=BASH_FUNC_foo%%=", false},
        {"BASH_FUNC_foo%%", false},
        {"", false},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        if (launch_is_shell_function(names[i].text) != names[i].want)
            fail_msg("%s", names[i].text);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_table),
                                       cmocka_unit_test(test_shell_functions)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
