/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Root file systems out of archives: what comes of an entry, what refuses an archive, and
 * the cache: unpacked once, shared, swept, collected. The archives are made here; the
 * blobs lie in the cache already, so that a second fetch would fail for lack of a server.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/file.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/place/roots.h"
#include "runner/place/untar.h"
#include "unit/tar_writer.h"

enum { TAR_MAX = 8 << 20 };

static char dir[64]; /* the agent's */

/* --- archives ------------------------------------------------------------------------
 */

static void
gzip_member(struct str *out, const char *bytes, size_t n)
{
    z_stream z = {0};
    size_t room = compressBound(n) + 64;
    autofree unsigned char *buf = xmalloc(room);

    assert_int_equal(deflateInit2(&z, 9, Z_DEFLATED, 15 + 16, 9, Z_DEFAULT_STRATEGY),
                     Z_OK);
    z.next_in = (unsigned char *)(uintptr_t)bytes;
    z.avail_in = (unsigned)n;
    z.next_out = buf;
    z.avail_out = (unsigned)room;
    assert_int_equal(deflate(&z, Z_FINISH), Z_STREAM_END);
    str_add(out, (char *)buf, room - z.avail_out);
    deflateEnd(&z);
}

/* --- the world -----------------------------------------------------------------------
 */

static const char *
at(const char *path)
{
    static char names[8][256];
    static unsigned next;
    char *out = names[next++ % 8];

    snprintf(out, 256, "%s/%s", dir, path);
    return out;
}

static bool
there(const char *path)
{
    struct stat st;

    return lstat(at(path), &st) == 0;
}

/* The blob "sha256:<digit> 64 times". */
static const char *
blob_of(char digit)
{
    static char names[4][80];
    static unsigned next;
    char *out = names[next++ % 4];

    memcpy(out, "sha256:", 8);
    memset(out + 7, digit, 64);
    out[71] = '\0';
    return out;
}

static void
put_blob(char digit, const struct str *bytes)
{
    struct error e = ERROR_INIT;
    autofree char *path = xasprintf("%s/blobs/%s", dir, blob_of(digit) + 7);

    assert_int_equal(fs_write_atomic(path, bytes->ptr, bytes->len, 0600, &e), 0);
}

static const char *
root_at(char digit, const char *path)
{
    static char names[8][256];
    static unsigned next;
    char *out = names[next++ % 8];

    snprintf(out, 256, ROOTS_DIR "/%s%s", blob_of(digit) + 7, path);
    return out;
}

static int
take(char digit, const char *job, struct roots_take t, struct error *e)
{
    autofree char *cache = fs_join(dir, "blobs");
    struct fetch f = {.cache = cache, .url = "http://127.0.0.1:1", .ns = "default"};
    autofree char *job_dir = xasprintf("%s/jobs/%s", dir, job);

    assert_int_equal(fs_mkdirs(job_dir, 0700, e), 0);
    t.agent_dir = dir;
    t.job_dir = job_dir;
    t.blob = blob_of(digit);
    t.fetch = &f;
    return roots_take(&t, e);
}

static void
take_well(char digit, const char *job)
{
    struct error e = ERROR_INIT;

    if (take(digit, job, (struct roots_take){0}, &e) < 0)
        fail_msg("%s", e.msg);
}

static int
setup(void **state)
{
    UNUSED(state);
    snprintf(dir, sizeof(dir), "/tmp/drover-roots-XXXXXX");
    assert_non_null(mkdtemp(dir));
    assert_int_equal(mkdir(at("blobs"), 0700), 0);
    return mkdir(at("jobs"), 0700);
}

static int
teardown(void **state)
{
    struct error e = ERROR_INIT;

    UNUSED(state);
    return fs_remove_tree(dir, &e);
}

/* --- what comes of an entry ----------------------------------------------------------
 */

static const struct tar_entry small[] = {
    {"./", '5', .mode = 0751},
    {"./usr/bin/tool", '0', .content = "tool", .mode = 06755, .gid = 8, .mtime = 1000000},
    {"./bin", '2', "usr/bin", .uid = 5, .mtime = 1000001},
    {.name = "./usr/bin/same", .type = '1', .link = "./usr/bin/tool"},
    {.name = "./bin2", .type = '1', .link = "./bin"}, /* a hard link to a symbolic one */
    {"tmp", '5', .mode = 01777},
    {"var/mail", '5', .mode = 02770, .uid = 1, .gid = 2},
    {"home/alice/.profile", '0', .content = "x", .mode = 0600, .uid = 1000, .gid = 300},
    {"high", '0', .uid = 70000, .gid = 65535},
    {"dev/null", '3', .mode = 0666},
    {"dev/sda", '4', .mode = 0660},
    {.name = "run/pipe", .type = '6'},
    {.name = "etc/.wh.shadow", .type = '0'},
    {.name = "abroad", .type = '2', .link = "/etc/passwd"},
    {0}};

static void
make(struct str *tar, const struct tar_entry *entries)
{
    for (; entries->name != NULL; entries++)
        tar_add(tar, entries);
    tar_finish(tar);
}

static void
assert_is(const char *path, mode_t mode, uid_t uid, gid_t gid)
{
    struct stat st;

    if (lstat(at(root_at('a', path)), &st) < 0)
        fail_msg("%s is not there", path);
    if (st.st_mode != mode || st.st_uid != uid || st.st_gid != gid)
        fail_msg("%s: %o %u:%u", path, st.st_mode, st.st_uid, st.st_gid);
}

static void
entries_become_files(void **state)
{
    auto_str tar = STR_INIT(TAR_MAX);
    struct stat st;
    char target[300] = "";

    UNUSED(state);
    make(&tar, small);
    put_blob('a', &tar);
    take_well('a', "j1");
    assert_is("", S_IFDIR | 0751, 0, 0);
    assert_is("/usr/bin/tool", S_IFREG | 0755, 0, 8); /* no setuid, no setgid */
    assert_is("/bin", S_IFLNK | 0777, 5, 0);
    assert_is("/bin2", S_IFLNK | 0777, 5, 0);
    assert_is("/tmp", S_IFDIR | 01777, 0, 0);
    assert_is("/var/mail", S_IFDIR | 02770, 1, 2);
    assert_is("/home", S_IFDIR | 0755, 0, 0);
    assert_is("/home/alice/.profile", S_IFREG | 0600, 1000, 300);
    assert_is("/high", S_IFREG | 0644, 65534, 65535);
    assert_is("/etc/.wh.shadow", S_IFREG | 0644, 0, 0);
    assert_false(there(root_at('a', "/dev/null")));
    assert_false(there(root_at('a', "/dev/sda")));
    assert_false(there(root_at('a', "/run/pipe")));
    assert_int_equal(lstat(at(root_at('a', "/usr/bin/tool")), &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, 1000000);
    assert_int_equal(st.st_nlink, 2);
    assert_int_equal(lstat(at(root_at('a', "/bin")), &st), 0);
    assert_int_equal(st.st_mtim.tv_sec, 1000001);
    assert_true(readlink(at("jobs/j1/" ROOTS_LINK), target, sizeof(target) - 1) == 64);
    assert_string_equal(target, blob_of('a') + 7);
    assert_int_equal(stat(at(ROOTS_DIR), &st), 0);
    assert_int_equal(st.st_mode & 07777, 0700); /* nobody else comes to what is in it */
    autofree char *path = roots_path(dir, blob_of('a'));
    assert_string_equal(path, at(root_at('a', "")));
}

static void
gzip_of_two_members(void **state)
{
    auto_str tar = STR_INIT(TAR_MAX);
    auto_str gz = STR_INIT(TAR_MAX);

    UNUSED(state);
    make(&tar, small);
    gzip_member(&gz, tar.ptr, 700);
    gzip_member(&gz, tar.ptr + 700, tar.len - 700);
    str_add(&gz, "\0\0\0", 3); /* padding, as of tapes */
    put_blob('a', &gz);
    take_well('a', "j1");
    assert_is("/usr/bin/tool", S_IFREG | 0755, 0, 8);
}

/* --- what refuses an archive ----------------------------------------------------------
 */

static void
assert_refused(const struct str *bytes, const char *word)
{
    struct error e = ERROR_INIT;

    put_blob('b', bytes);
    assert_int_not_equal(take('b', "bad", (struct roots_take){0}, &e), 0);
    if (strstr(e.msg, word) == NULL)
        fail_msg("\"%s\" not in: %s", word, e.msg);
    assert_false(there(root_at('b', "")));
    assert_false(there(root_at('b', ".tmp")));
    assert_false(there("jobs/bad/" ROOTS_LINK));
    assert_false(there("out"));
    assert_false(there(ROOTS_DIR "/out"));
}

static void
harmful_archives(void **state)
{
    static const struct {
        struct tar_entry entries[3];
        const char *word;
    } cases[] = {
        {{{.name = "../out", .type = '0'}}, "leads out"},
        {{{.name = "a/../../../out", .type = '0'}}, "leads out"},
        {{{.name = "..", .type = '5'}}, "leads out"},
        {{{.name = "/out", .type = '0'}}, "\"/out\""},
        {{{.name = "h", .type = '1', .link = "/etc/passwd"}}, "\"/etc/passwd\""},
        {{{.name = "h", .type = '1', .link = "../../etc/passwd"}}, "leads out"},
        {{{.name = "h", .type = '1', .link = "nothing"}}, "make link \"h\""},
        {{{.name = "a", .type = '2', .link = "../.."}, {.name = "a/out", .type = '0'}},
         "write \"a\""},
        {{{.name = "a/f", .type = '0'}, {.name = "a", .type = '2', .link = "../.."}},
         "write \"a\""},
        {{{.name = "f", .type = '0'}, {.name = "f/out", .type = '0'}}, "is no directory"},
        {{{.name = "s", .type = 'S'}}, "no file, directory or link"},
        {{{"pax", 'x', .content = "22 GNU.sparse.major=1\n"}, {.name = "s", .type = '0'}},
         "sparse"},
        {{{"pax", 'x', .content = "99 path=x\n"}}, "pax"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str tar = STR_INIT(TAR_MAX);
        for (size_t k = 0; k < 2 && cases[i].entries[k].type != 0; k++)
            tar_add(&tar, &cases[i].entries[k]);
        tar_finish(&tar);
        assert_refused(&tar, cases[i].word);
    }
}

static void
damaged_archives(void **state)
{
    static const struct {
        const char *bytes;
        size_t n;
        const char *word;
    } kinds[] = {
        {"", 0, "it is empty"},
        {"\x28\xb5\x2f\xfd----", 8, "zstd; a tar archive, plain or gzip, is accepted"},
        {"\xfd"
         "7zXZ\0----",
         10, "xz"},
        {"BZh9----", 8, "bzip2"},
        {"hello", 5, "no tar archive"},
    };
    auto_str tar = STR_INIT(TAR_MAX);
    auto_str gz = STR_INIT(TAR_MAX);
    auto_str text = STR_INIT(TAR_MAX);

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(kinds); i++) {
        str_reset(&text);
        str_add(&text, kinds[i].bytes, kinds[i].n);
        assert_refused(&text, kinds[i].word);
    }
    make(&tar, small);
    gzip_member(&gz, tar.ptr, tar.len);
    const struct {
        const struct str *from;
        size_t n;
    } cuts[] = {{&tar, 700},
                {&tar, tar.len - 1024},
                {&gz, gz.len / 2},
                {&gz, gz.len - 4},
                {&gz, 12}};
    for (size_t i = 0; i < ARRAY_LEN(cuts); i++) {
        str_reset(&text);
        str_add(&text, cuts[i].from->ptr, cuts[i].n);
        assert_refused(&text, "cut short");
    }
    str_reset(&text);
    str_add(&text, gz.ptr, gz.len);
    text.ptr[gz.len - 6] ^= 1; /* the sum, behind the last entry */
    assert_refused(&text, "damaged");
    str_reset(&text);
    str_add(&text, tar.ptr, tar.len);
    str_add(&text, tar.ptr, tar.len);
    assert_refused(&text, "goes on after its end");
}

/* A kilobyte that says it is a terabyte, and one whose bytes are really there. */
static void
bombs(void **state)
{
    static const struct tar_entry huge[] = {{"f", '0', .size = "77777777777"}, {0}};
    auto_str tar = STR_INIT(TAR_MAX);
    auto_str zeros = STR_INIT(TAR_MAX);
    auto_str gz = STR_INIT(TAR_MAX);
    struct statvfs fs;

    UNUSED(state);
    make(&tar, huge);
    struct error e = ERROR_INIT;
    put_blob('b', &tar);
    struct roots_take bounded = {.max_bytes = INT64_C(1) << 30};
    assert_int_equal(take('b', "j", bounded, &e), -ERR_TOO_LARGE);
    assert_non_null(strstr(e.msg, "over 1024 MiB, which is the bound"));

    const struct tar_entry f = {"f", '0', .size = "00020000000"}; /* 4 MiB */
    tar_add(&zeros, &f);
    autofree char *block = xcalloc(1, 4 << 20);
    str_add(&zeros, block, 4 << 20);
    tar_finish(&zeros);
    gzip_member(&gz, zeros.ptr, zeros.len);
    assert_true(gz.len < 8192);
    put_blob('c', &gz);
    bounded.max_bytes = 2 << 20;
    e = ERROR_INIT;
    assert_int_equal(take('c', "j", bounded, &e), -ERR_TOO_LARGE);

    /* What must stay free of jobs stays free. */
    assert_int_equal(statvfs(dir, &fs), 0);
    struct roots_take kept = {.floor_bytes = (int64_t)(fs.f_blocks * fs.f_frsize)};
    e = ERROR_INIT;
    assert_int_equal(take('c', "j", kept, &e), -ERR_FULL);
    assert_non_null(strstr(e.msg, "MiB are kept free"));
    assert_false(there(root_at('b', ".tmp")));
    assert_false(there(root_at('c', ".tmp")));
    take_well('c', "j");
}

/* --- the cache -----------------------------------------------------------------------
 */

static void
put_small(char digit)
{
    auto_str tar = STR_INIT(TAR_MAX);

    make(&tar, small);
    put_blob(digit, &tar);
}

static int
status_of(pid_t pid)
{
    int status = 0;

    assert_int_equal(waitpid(pid, &status, 0), pid);
    return status;
}

/* Many at once: the first unpacks and lets go of the blob, so that another that tried
 * would fail, for there is no server. */
static void
unpacked_once(void **state)
{
    pid_t pids[6];

    UNUSED(state);
    put_small('a');
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        pids[i] = fork();
        if (pids[i] == 0) {
            char job[8];
            struct error e = ERROR_INIT;
            snprintf(job, sizeof(job), "j%zu", i);
            _exit(take('a', job, (struct roots_take){0}, &e) == 0 ? 0 : 1);
        }
    }
    for (size_t i = 0; i < ARRAY_LEN(pids); i++) {
        char link[32];
        assert_int_equal(status_of(pids[i]), 0);
        snprintf(link, sizeof(link), "jobs/j%zu/" ROOTS_LINK, i);
        assert_true(there(link));
    }
    assert_is("/usr/bin/tool", S_IFREG | 0755, 0, 8);
}

/* Dies while it writes a file of 4 MiB, by the kernel's hand. */
static void
die_unpacking(char digit)
{
    auto_str tar = STR_INIT(TAR_MAX);
    const struct tar_entry f = {"f", '0', .size = "00020000000"};
    autofree char *block = xcalloc(1, 4 << 20);

    tar_add(&tar, &small[0]);
    tar_add(&tar, &f);
    str_add(&tar, block, 4 << 20);
    tar_finish(&tar);
    put_blob(digit, &tar);
    pid_t pid = fork();
    if (pid == 0) {
        struct rlimit small_files = {1 << 20, 1 << 20};
        struct error e = ERROR_INIT;
        signal(SIGXFSZ, SIG_DFL);
        setrlimit(RLIMIT_CORE, &(struct rlimit){0, 0});
        setrlimit(RLIMIT_FSIZE, &small_files);
        _exit(take(digit, "j", (struct roots_take){0}, &e) == 0 ? 0 : 1);
    }
    int status = status_of(pid);
    assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGXFSZ);
    assert_true(there(root_at(digit, ".tmp/f")));
    assert_false(there(root_at(digit, "")));
}

static void
killed_at_work(void **state)
{
    struct stat st;

    UNUSED(state);
    die_unpacking('a');
    take_well('a', "j1"); /* begins anew */
    assert_int_equal(stat(at(root_at('a', "/f")), &st), 0);
    assert_int_equal(st.st_size, 4 << 20);
    assert_false(there(root_at('a', ".tmp")));

    die_unpacking('b');
    autofree char *lock = fs_join(dir, root_at('b', ".lock"));
    int fd = open(lock, O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(mkdir(at(root_at('d', ".77.gone")), 0700), 0);
    roots_sweep(dir);
    assert_true(there(root_at('b', ".tmp"))); /* somebody is at work on it */
    assert_false(there(root_at('d', ".77.gone")));
    close(fd);
    roots_sweep(dir);
    assert_false(there(root_at('b', ".tmp")));
    assert_false(there(root_at('b', ".lock")));
    assert_true(there(root_at('a', "/f"))); /* what is whole stays */
    assert_true(there(root_at('a', ".lock")));
}

static void
end_job(const char *job)
{
    struct error e = ERROR_INIT;
    autofree char *path = xasprintf("%s/jobs/%s", dir, job);

    assert_int_equal(fs_remove_tree(path, &e), 0);
}

static void
use_at(char digit, time_t when)
{
    struct timespec times[2] = {{.tv_sec = when}, {.tv_sec = when}};

    assert_int_equal(utimensat(AT_FDCWD, at(root_at(digit, ".lock")), times, 0), 0);
}

static void
collected(void **state)
{
    struct error e = ERROR_INIT;
    bool removed = false;

    UNUSED(state);
    for (const char *d = "abcd"; *d != '\0'; d++) {
        char job[3] = {'j', *d};
        put_small(*d);
        take_well(*d, job);
        use_at(*d, 1000 + *d);
    }
    use_at('a', 5000);
    assert_int_equal(roots_collect(dir, &removed, &e), 0);
    assert_false(removed); /* all are in use */
    end_job("ja");
    end_job("jb");
    end_job("jc");
    int fd = open(at(root_at('c', ".lock")), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    assert_int_equal(roots_collect(dir, &removed, &e), 0);
    assert_true(removed);
    assert_false(there(root_at('b', "")));
    assert_false(there(root_at('b', ".lock")));
    assert_true(there(root_at('a', ""))); /* used later */
    assert_int_equal(roots_collect(dir, &removed, &e), 0);
    assert_true(removed);
    assert_false(there(root_at('a', "")));
    assert_int_equal(roots_collect(dir, &removed, &e), 0);
    assert_false(removed); /* c is being looked at, d is used */
    close(fd);
    assert_true(there(root_at('c', "")));

    /* Room for another one comes from what nobody uses, and from nothing else. */
    struct statvfs fs;
    assert_int_equal(statvfs(dir, &fs), 0);
    struct roots_take t = {.floor_bytes = (int64_t)(fs.f_blocks * fs.f_frsize)};
    put_small('e');
    assert_int_equal(take('e', "je", t, &e), -ERR_FULL);
    assert_false(there(root_at('c', "")));
    assert_true(there(root_at('d', "/usr/bin/tool")));
}

/* Whoever waits for the lock of a root that is being removed gets one that is whole. */
static void
removed_while_waited_for(void **state)
{
    struct error e = ERROR_INIT;
    bool removed = false;

    UNUSED(state);
    put_small('a');
    take_well('a', "j1");
    end_job("j1");
    int fd = open(at(root_at('a', ".lock")), O_RDWR | O_CLOEXEC);
    assert_int_equal(flock(fd, LOCK_EX), 0);
    put_small('a');
    pid_t pid = fork();
    if (pid == 0) {
        close(fd);
        _exit(take('a', "j2", (struct roots_take){0}, &e) == 0 ? 0 : 1);
    }
    /* As roots_collect does it, under our lock. */
    autofree char *whole = roots_path(dir, blob_of('a'));
    assert_int_equal(fs_remove_tree(whole, &e), 0);
    assert_int_equal(unlink(at(root_at('a', ".lock"))), 0);
    close(fd);
    assert_int_equal(status_of(pid), 0);
    assert_is("/usr/bin/tool", S_IFREG | 0755, 0, 8);
    assert_true(there(root_at('a', ".lock")));
    assert_int_equal(roots_collect(dir, &removed, &e), 0);
    assert_false(removed);
}

int
main(void)
{
    if (geteuid() != 0) {
        puts("SKIP: needs root");
        return 0;
    }
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(entries_become_files, setup, teardown),
        cmocka_unit_test_setup_teardown(gzip_of_two_members, setup, teardown),
        cmocka_unit_test_setup_teardown(harmful_archives, setup, teardown),
        cmocka_unit_test_setup_teardown(damaged_archives, setup, teardown),
        cmocka_unit_test_setup_teardown(bombs, setup, teardown),
        cmocka_unit_test_setup_teardown(unpacked_once, setup, teardown),
        cmocka_unit_test_setup_teardown(killed_at_work, setup, teardown),
        cmocka_unit_test_setup_teardown(collected, setup, teardown),
        cmocka_unit_test_setup_teardown(removed_while_waited_for, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
