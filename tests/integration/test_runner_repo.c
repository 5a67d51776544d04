/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uncommitted changes of every kind arrive as they were made: each case changes a work
 * tree, and a clone (from a git daemon of this test) with the changes applied must be the
 * same tree, modes included. And a repository whose place is taken.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <arpa/inet.h>
#include <cmocka.h>
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/proc.h"
#include "runner/place/place.h"

static char root[64];
static pid_t daemon_pid;
static int port;

/* In the work tree; what it prints, without the last line's end. malloc'd. */
static char *
shell(const char *script)
{
    struct proc_opts o = PROC_OPTS_INIT;
    auto_str out = STR_INIT(1 << 20);
    struct error e = ERROR_INIT;
    autofree char *cwd = fs_join(root, "work");
    int status = 0;

    o.argv = (const char *const[]){"sh", "-ec", script, NULL};
    o.cwd = cwd;
    if (proc_run(&o, 60000, &out, &status, &e) < 0 || status != 0)
        fail_msg("%s: %s %s", script, e.msg, out.ptr);
    str_truncate(&out, out.len - (out.len > 0 && out.ptr[out.len - 1] == '\n'));
    return str_detach(&out);
}

static void
sh(const char *script)
{
    free(shell(script));
}

static int
free_port(void)
{
    struct sockaddr_in a = {.sin_family = AF_INET,
                            .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t n = sizeof(a);
    autoclose int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);

    assert_true(fd >= 0);
    assert_int_equal(bind(fd, (const struct sockaddr *)&a, sizeof(a)), 0);
    assert_int_equal(getsockname(fd, (struct sockaddr *)&a, &n), 0);
    return ntohs(a.sin_port);
}

static void
start_daemon(void)
{
    struct proc_opts o = PROC_OPTS_INIT;
    struct error e = ERROR_INIT;
    autofree char *dir = shell("git --exec-path");
    autofree char *program = xasprintf("%s/git-daemon", dir);
    autofree char *base = xasprintf("--base-path=%s", root);
    auto_str said = STR_INIT(4096);
    char buf[512];
    int pipes[2];

    port = free_port();
    autofree char *on = xasprintf("--port=%d", port);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    o.argv = (const char *const[]){program,        "--listen=127.0.0.1", on,  base,
                                   "--export-all", "--verbose",          NULL};
    o.stderr_fd = pipes[1];
    o.parent_death_signal = SIGKILL;
    if (proc_spawn(&o, &daemon_pid, &e) < 0)
        fail_msg("%s", e.msg);
    close(pipes[1]);
    while (strstr(said.ptr, "Ready") == NULL) {
        ssize_t n = read(pipes[0], buf, sizeof(buf));
        if (n <= 0)
            fail_msg("git daemon: %s", said.ptr);
        str_add(&said, buf, (size_t)n);
    }
    /* pipes[0] stays open: the daemon goes on talking. */
}

static int
group_setup(void **state)
{
    UNUSED(state);
    umask(022);
    setenv("GIT_CONFIG_NOSYSTEM", "1", 1);
    setenv("GIT_CONFIG_GLOBAL", "/dev/null", 1);
    snprintf(root, sizeof(root), "/tmp/drover-repo-XXXXXX");
    assert_non_null(mkdtemp(root));
    autofree char *work = fs_join(root, "work");
    assert_int_equal(mkdir(work, 0755), 0);
    sh("git init -q -b main; git config user.name t; git config user.email t@t;"
       "printf 'one\\ntwo\\nthree\\n' > a.txt; printf 'one\\ntwo' > open.txt;"
       "mkdir d; seq 1 40 > d/long.txt; printf 'echo ran\\n' > run.sh;"
       "head -c 300 /dev/urandom > bytes; git add -A; git commit -q -m first");
    start_daemon();
    return 0;
}

static int
group_teardown(void **state)
{
    struct error e = ERROR_INIT;

    UNUSED(state);
    kill(daemon_pid, SIGTERM);
    waitpid(daemon_pid, NULL, 0);
    return fs_remove_tree(root, &e);
}

/* Clones into <root>/out, anew, and applies what differs from the last commit. */
static int
place_changes(const char *hash, struct error *e)
{
    autofree char *url = xasprintf("git://127.0.0.1:%d/work", port);
    autofree char *out = fs_join(root, "out");
    autofree char *patch = fs_join(root, "patch");
    struct git_repo g = {.url = url, .branch = "main", .hash = hash, .scratch = root};

    sh("git add -A; git diff --cached --binary HEAD > ../patch; rm -rf ../out;"
       "mkdir ../out");
    autoclose int fd = open(patch, O_RDONLY | O_CLOEXEC);
    assert_true(fd >= 0);
    g.patch_fd = fd;
    return git_place(&g, out, e);
}

static void
changes_arrive(void **state)
{
    static const struct {
        const char *name, *script;
    } cases[] = {
        {"nothing", ":"},
        {"edit", "sed -i s/two/TWO/ a.txt"},
        {"append, ends before and after", "echo four >> a.txt"},
        {"append, ends before, open after", "printf four >> a.txt"},
        {"append, open before, ends after", "printf '\\nthree\\n' >> open.txt"},
        {"append, open before and after", "printf '\\nthree' >> open.txt"},
        {"rename", "mv d/long.txt moved.txt; rmdir d"},
        {"rename and edit",
         "mv d/long.txt moved.txt; rmdir d; sed -i s/20/twenty/ moved.txt"},
        {"delete", "rm a.txt"},
        {"new nested file", "mkdir -p x/y; echo new > x/y/z.txt"},
        {"bytes", "head -c 500 /dev/urandom > bytes; head -c 9 /dev/zero > x"},
        {"executable", "chmod +x run.sh"},
        {"no longer a file", "rm open.txt; mkdir open.txt; echo in > open.txt/in"},
        {"a link", "ln -s /nowhere/at/all l"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        print_message("%s\n", cases[i].name);
        sh(cases[i].script);
        if (place_changes(NULL, &e) < 0)
            fail_msg("%s: %s", cases[i].name, e.msg);
        autofree char *same =
            shell("list() { cd $1; find . -name .git -prune -o -printf '%P %y %m %l\\n' |"
                  " sort; }; diff -r --no-dereference -x .git . ../out &&"
                  " [ \"$(list .)\" = \"$(list ../out)\" ] && echo same; true");
        if (!streq(same, "same"))
            fail_msg("%s: %s", cases[i].name, same);
        sh("git reset -q --hard; git clean -qfdx");
    }
}

/* The changes belong to another commit: no guess is made where they go. */
static void
moved_hunks_are_refused(void **state)
{
    struct error e = ERROR_INIT;
    autofree char *first = shell("git rev-parse HEAD");

    UNUSED(state);
    sh("sed -i '1i zero\\nzero\\nzero' d/long.txt; git commit -q -a -m shift;"
       "sed -i s/20/twenty/ d/long.txt");
    assert_int_equal(place_changes(first, &e), -ERR_INVALID);
    assert_non_null(strstr(e.msg, "not at its place"));
    autofree char *second = shell("git rev-parse HEAD");
    assert_int_equal(place_changes(second, &e), 0);
    sh("git reset -q --hard");
}

/* --- a place that is taken -----------------------------------------------------------
 */

/* What the child that places says to an order with one repository. */
static char *
carry_out(const char *to, const char *if_exists)
{
    autofree char *url = xasprintf("git://127.0.0.1:%d/work", port);
    autofree char *dir = fs_join(root, "job");
    json_t *order =
        json_pack("{s:s, s:[], s:s, s:s, s:s, s:[{s:s, s:s, s:s, s:s*}]}", "dir", dir,
                  "roots", "cache", root, "url", "http://127.0.0.1:1", "ns", "default",
                  "repos", "url", url, "path", "/repo", "to", to, "ifExists", if_exists);
    char said[1024] = "";
    int pipes[2];

    autoclose int fd = memfd_create("order", MFD_CLOEXEC);
    assert_int_equal(json_dumpfd(order, fd, 0), 0);
    assert_int_equal(lseek(fd, 0, SEEK_SET), 0);
    json_decref(order);
    assert_int_equal(pipe2(pipes, O_CLOEXEC), 0);
    fflush(NULL);
    pid_t pid = fork();
    assert_true(pid >= 0);
    if (pid == 0) {
        dup2(fd, 0);
        dup2(pipes[1], 1);
        _exit(place_main());
    }
    close(pipes[1]);
    int status = 0;
    ssize_t n = read(pipes[0], said, sizeof(said) - 1);
    close(pipes[0]);
    assert_int_equal(waitpid(pid, &status, 0), pid);
    assert_true(n > 0);
    said[strcspn(said, "\n")] = '\0';
    assert_int_equal(streq(said, "ok"), status == 0);
    return xstrdup(said);
}

static void
taken_places(void **state)
{
    static const struct {
        const char *to, *if_exists, *want; /* want: "ok", or words */
        bool cloned;
    } cases[] = {
        {"taken", NULL, "/repo is not empty", false},
        {"taken", "error", "/repo is not empty", false},
        {"taken", "skip", "ok", false},
        {"empty", "error", "ok", true},
        {"absent", "skip", "ok", true},
        {"fresh", "error", "ok", true}, /* a file system that was just made */
    };

    UNUSED(state);
    if (geteuid() != 0)
        skip();
    sh("mkdir -p ../job/taken ../job/empty ../job/fresh/lost+found;"
       "echo mine > ../job/taken/mine");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *said = carry_out(cases[i].to, cases[i].if_exists);
        autofree char *file = xasprintf("%s/job/%s/a.txt", root, cases[i].to);
        if (streq(cases[i].want, "ok") ? !streq(said, "ok")
                                       : strstr(said, cases[i].want) == NULL)
            fail_msg("%s: %s", cases[i].to, said);
        assert_int_equal(access(file, F_OK) == 0, cases[i].cloned);
    }
    autofree char *mine = shell("cat ../job/taken/mine; ls -A ../job/taken");
    assert_string_equal(mine, "mine\nmine");
    autofree char *kept = shell("ls -d ../job/fresh/lost+found; git -C ../job/fresh "
                                "-c safe.directory='*' rev-parse --abbrev-ref HEAD");
    assert_string_equal(kept, "../job/fresh/lost+found\nmain");
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(changes_arrive),
        cmocka_unit_test(moved_hunks_are_refused),
        cmocka_unit_test(taken_places),
    };

    return cmocka_run_group_tests(tests, group_setup, group_teardown);
}
