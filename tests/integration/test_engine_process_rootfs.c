/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Jobs of the process engine with a root file system of their own: a directory that the
 * test makes around a static busybox, in places as hostile as one can be.
 */
#include "tests/integration/engine_process_world.h"

#include <elf.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "io/segment.h"
#include "runner/supervisor/supervisor.h"

#define BUSYBOX "/bin/busybox"
#define TEXT_MAX (16 * 1024 * 1024)

/* A path below the root; a few at a time. */
static const char *
at(const struct world *w, const char *path)
{
    static char names[8][256];
    static unsigned next;
    char *out = names[next++ % 8];

    /* Beside the data directory: what lies in it is not for jobs. */
    snprintf(out, 256, "%s.fs%s", w->root, path);
    return out;
}

static void
put(const char *path, const void *bytes, size_t n, mode_t mode)
{
    struct error e = ERROR_INIT;

    if (fs_write_atomic(path, bytes, n, mode, &e) != 0)
        fail_msg("%s: %s", path, e.msg);
    assert_int_equal(chmod(path, mode), 0);
}

static void
put_text(const struct world *w, const char *path, const char *text)
{
    put(at(w, path), text, strlen(text), 0644);
}

static void
make_root(const struct world *w)
{
    static const char *const dirs[] = {"",      "/bin",        "/etc",
                                       "/home", "/home/alice", "/root"};
    static const char *const applets[] = {"/bin/sh", "/bin/cat",  "/bin/stat", "/bin/rm",
                                          "/bin/mv", "/bin/ls",   "/bin/id",   "/bin/tty",
                                          "/bin/ln", "/bin/head", "/bin/sleep"};
    struct error e = ERROR_INIT;
    auto_str busybox = STR_INIT(TEXT_MAX);

    assert_int_equal(fs_read(BUSYBOX, &busybox, &e), 0);
    for (size_t i = 0; i < ARRAY_LEN(dirs); i++)
        assert_int_equal(mkdir(at(w, dirs[i]), 0755), 0);
    put(at(w, "/bin/busybox"), busybox.ptr, busybox.len, 0755);
    for (size_t i = 0; i < ARRAY_LEN(applets); i++)
        assert_int_equal(symlink("busybox", at(w, applets[i])), 0);
    put_text(w, "/etc/passwd",
             "root:x:0:0::/root:/bin/sh\nalice:x:1000:300::/home/alice:/bin/ash\n");
    put_text(w, "/etc/group", "alices:x:300:\nrender:x:500:alice\n");
    put_text(w, "/marker", "of the root\n");
    assert_int_equal(chown(at(w, "/home/alice"), 1000, 300), 0);
}

static void
root_open(struct world *w)
{
    world_open(w);
    make_root(w);
}

static void
root_close(struct world *w)
{
    struct error e = ERROR_INIT;

    assert_int_equal(fs_remove_tree(at(w, ""), &e), 0);
    world_close(w);
}

static void
root_job(struct world *w, struct job *j, const char *script)
{
    job_init(w, j, script);
    j->j.rootfs = at(w, "");
}

static void
expect(struct world *w, struct job *j, const char *want)
{
    auto_str out = STR_INIT(1);

    job_run(w, j);
    if (j->result.reason != ENGINE_EXITED)
        fail_msg("%s", j->result.message);
    job_output(j, SEGMENT_STDOUT, &out);
    assert_string_equal(out.ptr, want);
    job_assert_exit(j, 0);
    job_remove(w, j);
}

static void
expect_failure(struct world *w, struct job *j, enum engine_reason reason,
               const char *message)
{
    job_run(w, j);
    if (j->result.started || j->result.reason != reason ||
        strstr(j->result.message, message) == NULL)
        fail_msg("reason %d: %s", (int)j->result.reason, j->result.message);
    job_remove(w, j);
}

/* Its own files with their owners under a writable layer of each job's own; the directory
 * stays as it is. */
static void
test_a_root_of_its_own(void **state)
{
    struct world w;
    struct job j;
    auto_str text = STR_INIT(TEXT_MAX);
    struct error e = ERROR_INIT;

    UNUSED(state);
    root_open(&w);
    for (int i = 0; i < 2; i++) {
        root_job(
            &w, &j,
            "cat /marker; stat -c '%u:%g' /bin/busybox /home/alice /;"
            "rm /marker; echo mine >/new; echo more >>/etc/group; mv /home/alice /h;"
            "ls -d /new /marker /h 2>&1; pwd; echo $HOME $SHELL; ls -d /usr /opt 2>&1;"
            "true");
        expect(
            &w, &j,
            "of the root\n0:0\n1000:300\n0:0\n"
            "ls: /marker: No such file or directory\n/h\n/new\n/job\n/root /bin/sh\n"
            "ls: /usr: No such file or directory\nls: /opt: No such file or directory\n");
    }
    assert_int_equal(fs_read(at(&w, "/etc/group"), &text, &e), 0);
    assert_null(strstr(text.ptr, "more"));
    assert_int_equal(access(at(&w, "/marker"), F_OK), 0);
    assert_int_equal(access(at(&w, "/home/alice"), F_OK), 0);
    assert_int_equal(access(at(&w, "/new"), F_OK), -1);
    assert_int_equal(access(at(&w, "/proc"), F_OK), -1);
    root_close(&w);
}

/* One that the agent keeps in its own directory, for two jobs at once. */
static void
test_a_kept_root_is_shared(void **state)
{
    struct world w;
    struct job a;
    struct job b;
    auto_str text = STR_INIT(TEXT_MAX);
    struct error e = ERROR_INIT;

    UNUSED(state);
    root_open(&w);
    autofree char *roots = fs_join(w.agent, "roots");
    autofree char *kept = fs_join(roots, "0123");
    assert_int_equal(mkdir(roots, 0700), 0);
    assert_int_equal(rename(at(&w, ""), kept), 0);
    root_job(&w, &a, "echo a >/marker; echo ready; sleep $MARK");
    root_job(&w, &b, "cat /marker; echo b >>/marker; cat /marker; id -u alice");
    a.j.rootfs = b.j.rootfs = kept;
    a.j.rootfs_kept = b.j.rootfs_kept = true;
    a.j.user = b.j.user = "root";
    job_launch(&w, &a);
    job_wait_output(&w, &a, "ready");
    expect(&w, &b, "of the root\nof the root\nb\n1000\n");
    job_stop(&w, &a, 0);
    job_wait_exit(&w, &a);
    job_remove(&w, &a);
    autofree char *marker = fs_join(kept, "marker");
    assert_int_equal(fs_read(marker, &text, &e), 0);
    assert_string_equal(text.ptr, "of the root\n");
    /* A run that names it as a directory of the machine does not get it. */
    root_job(&w, &b, "true");
    b.j.rootfs = kept;
    expect_failure(&w, &b, ENGINE_CREATE_FAILED, "is or holds drover's own files");
    assert_int_equal(rename(kept, at(&w, "")), 0);
    root_close(&w);
}

static void
test_users_of_the_root(void **state)
{
    static const struct {
        const char *user, *dir, *want;
    } cases[] = {
        {"alice", NULL, "1000:300:300 500:/home/alice:/job\n"},
        {"alice:500", "~", "1000:500:500:/home/alice:/home/alice\n"},
        {"1000", "~/made", "1000:300:300 500:/home/alice:/home/alice/made\n"},
        {"4711", NULL, "4711:0:0:/job:/job\n"},
    };
    struct world w;
    struct job j;

    UNUSED(state);
    root_open(&w);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        root_job(&w, &j, "echo $(id -u):$(id -g):$(id -G):$HOME:$(pwd)");
        j.j.user = cases[i].user;
        j.j.working_dir = cases[i].dir;
        expect(&w, &j, cases[i].want);
    }
    root_job(&w, &j, "true");
    j.j.user = "nobody"; /* of the machine, not of the root */
    expect_failure(&w, &j, ENGINE_CREATE_FAILED, "user \"nobody\" is not in /etc/passwd");
    root_close(&w);
}

/* /dev, /proc, /sys, names, a terminal, a device of the machine, files of the job. */
static void
test_what_is_mounted(void **state)
{
    struct world w;
    struct job j;
    struct error e = ERROR_INIT;
    auto_str resolv = STR_INIT(TEXT_MAX);
    auto_str hosts = STR_INIT(TEXT_MAX);
    auto_str want = STR_INIT(TEXT_MAX);
    const char *paths[] = {"/dev/loop-control", NULL};
    struct engine_device device = {.vendor = "fake", .uuid = "u", .paths = paths};

    UNUSED(state);
    if (access(paths[0], F_OK) < 0)
        paths[0] = "/dev/zero";
    root_open(&w);
    int rc = fs_read("/etc/resolv.conf", &resolv, &e);
    assert_true(rc == 0 || e.code == ERR_NOT_FOUND);
    assert_int_equal(fs_read("/etc/hosts", &hosts, &e), 0);
    root_job(&w, &j,
             "cd /dev && ls -d1 null zero full random urandom tty pts shm ptmx fd;"
             "ls $DEVICE >/dev/null && echo device;"
             "cat /etc/resolv.conf /etc/hosts /proc/1/comm;"
             "(echo x >/sys/x) 2>/dev/null || echo ro;"
             "cat /opt/app/conf /deep/er/file; stat -c %u /opt/app/conf; tty;"
             "echo t >/tmp/t && echo j >/job/j && echo fine");
    autofree char *dir = xasprintf("%s/code", j.dir);
    autofree char *conf = xasprintf("%s/code/conf", j.dir);
    assert_int_equal(mkdir(dir, 0755), 0);
    put(conf, "placed\n", 7, 0644);
    autofree char *whole = xasprintf("%s:/opt/app", dir);
    autofree char *one = xasprintf("%s:/deep/er/file", conf);
    autofree char *which = xasprintf("DEVICE=%s", paths[0]);
    const char *binds[] = {whole, one, NULL};
    j.j.binds = binds;
    j.j.devices = &device;
    j.j.n_devices = 1;
    j.env[1] = which;
    j.j.tty_columns = 80;
    j.j.tty_rows = 24;
    auto_str lines = STR_INIT(TEXT_MAX);
    str_addf(&lines,
             "fd\nfull\nnull\nptmx\npts\nrandom\nshm\ntty\nurandom\nzero\ndevice\n"
             "%s%sdrover-init\nro\nplaced\nplaced\n65534\n/dev/pts/0\nfine\n",
             resolv.ptr, hosts.ptr);
    for (const char *p = lines.ptr; *p != '\0'; p++) {
        if (*p == '\n')
            str_addc(&want, '\r');
        str_addc(&want, *p);
    }
    expect(&w, &j, want.ptr);
    root_close(&w);
}

/* Links that lead out are followed inside, where they end nowhere. */
static void
test_links_stay_inside(void **state)
{
    struct world w;
    struct job j;
    auto_str text = STR_INIT(TEXT_MAX);
    struct error e = ERROR_INIT;

    UNUSED(state);
    root_open(&w);
    autofree char *bait = xasprintf("%s/bait", w.root);
    autofree char *up = xasprintf("../../../../../..%s", bait);
    static const char eve[] = "eve:x:77:77::/:/bin/sh\n";
    put(bait, eve, strlen(eve), 0644);
    const char *const targets[] = {bait, up};
    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        unlink(at(&w, "/etc/passwd"));
        unlink(at(&w, "/etc/resolv.conf"));
        assert_int_equal(symlink(targets[i], at(&w, "/etc/passwd")), 0);
        assert_int_equal(symlink(targets[i], at(&w, "/etc/resolv.conf")), 0);
        root_job(&w, &j, "true");
        j.j.user = "eve";
        expect_failure(&w, &j, ENGINE_CREATE_FAILED, "\"eve\"");
        root_job(&w, &j, "cat /etc/passwd 2>&1; cat /etc/resolv.conf >/dev/null; echo x");
        expect(&w, &j, "cat: can't open '/etc/passwd': No such file or directory\nx\n");
    }
    /* A pipe in its place delays nobody. */
    unlink(at(&w, "/etc/passwd"));
    assert_int_equal(mkfifo(at(&w, "/etc/passwd"), 0644), 0);
    root_job(&w, &j, "true");
    j.j.user = "eve";
    expect_failure(&w, &j, ENGINE_CREATE_FAILED, "\"eve\"");
    /* Neither a file of the job nor a mount goes through one. */
    assert_int_equal(symlink(w.root, at(&w, "/out")), 0);
    root_job(&w, &j, "true");
    autofree char *bind = xasprintf("%s:/out/x", at(&w, "/marker"));
    const char *binds[] = {bind, NULL};
    j.j.binds = binds;
    expect_failure(&w, &j, ENGINE_CREATE_FAILED, "/out/x");
    autofree char *outside = xasprintf("%s/x", w.root);
    assert_int_equal(access(outside, F_OK), -1);
    assert_int_equal(symlink(w.root, at(&w, "/proc")), 0);
    root_job(&w, &j, "true");
    expect_failure(&w, &j, ENGINE_CREATE_FAILED, "/proc of the root file system is not");
    assert_int_equal(fs_read(bait, &text, &e), 0);
    assert_string_equal(text.ptr, eve);
    assert_int_equal(unlink(bait), 0);
    root_close(&w);
}

/* An executable of a machine that nobody has. */
static void
put_alien(const struct world *w)
{
    Elf64_Ehdr h = {.e_type = ET_EXEC,
                    .e_machine = EM_PDP11,
                    .e_version = EV_CURRENT,
                    .e_ehsize = sizeof(h)};

    memcpy(h.e_ident, ELFMAG, SELFMAG);
    h.e_ident[EI_CLASS] = ELFCLASS64;
    h.e_ident[EI_DATA] = ELFDATA2LSB;
    h.e_ident[EI_VERSION] = EV_CURRENT;
    put(at(w, "/bin/alien"), &h, sizeof(h), 0755);
}

static void
test_failures_in_words(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    root_open(&w);
    put_alien(&w);
    put(at(&w, "/bin/script"), "#!/no/such/loader\n", 18, 0755);
    autofree char *missing = xasprintf("%s/missing", w.root);
    const struct {
        const char *root, *program;
        enum engine_reason reason;
        const char *message;
    } cases[] = {
        {missing, "true", ENGINE_CREATE_FAILED, "missing: No such file or directory"},
        {at(&w, "/marker"), "true", ENGINE_CREATE_FAILED, "is not a directory"},
        {"srv/root", "true", ENGINE_CREATE_FAILED, "srv/root is not absolute"},
        {"/", "true", ENGINE_CREATE_FAILED, "is or holds drover's own files"},
        {w.agent, "true", ENGINE_CREATE_FAILED, "is or holds drover's own files"},
        {at(&w, "/etc"), "sh", ENGINE_START_FAILED,
         "command not found: sh in the root file system "},
        {at(&w, ""), "/bin/script", ENGINE_START_FAILED, "interpreter or loader"},
    };
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        root_job(&w, &j, "true");
        j.argv[0] = cases[i].program;
        j.j.rootfs = cases[i].root;
        expect_failure(&w, &j, cases[i].reason, cases[i].message);
    }
    assert_int_equal(rename(at(&w, "/bin/alien"), at(&w, "/bin/sh")), 0);
    root_job(&w, &j, "true");
    expect_failure(&w, &j, ENGINE_START_FAILED, "architecture is not this machine's");
    root_close(&w);
}

/* What a job changes of its root counts as what it keeps. */
static void
test_disk_bound(void **state)
{
    struct world w;
    struct job j;

    UNUSED(state);
    root_open(&w);
    root_job(&w, &j, "head -c 30000000 /dev/zero >/big; while :; do sleep 1; done");
    j.j.disk_limit_mib = 16;
    j.j.stop_ms = 100;
    job_run(&w, &j);
    assert_int_equal(j.result.reason, ENGINE_DISK_QUOTA);
    job_remove(&w, &j);
    root_close(&w);
}

int
main(int argc, char **argv)
{
    if (argc > 1 && streq(argv[1], SUPERVISOR_FLAG))
        return supervisor_main(argc, argv);
    if (geteuid() != 0 || access(BUSYBOX, X_OK) < 0) {
        puts("SKIP: needs root and " BUSYBOX);
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_a_root_of_its_own),
        cmocka_unit_test(test_a_kept_root_is_shared),
        cmocka_unit_test(test_users_of_the_root),
        cmocka_unit_test(test_what_is_mounted),
        cmocka_unit_test(test_links_stay_inside),
        cmocka_unit_test(test_failures_in_words),
        cmocka_unit_test(test_disk_bound),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
