/* SPDX-License-Identifier: Apache-2.0 */
/* subuid(5), newuidmap(1), user_namespaces(7). */
#include "runner/supervisor/usermap.h"

#include <errno.h>
#include <fcntl.h>
#include <pwd.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/proc.h"
#include "runner/supervisor/idmap.h"

enum { HELPER_MS = 30000, NAME_BYTES = 16384 };

static const char *const helpers[] = {"newuidmap", "newgidmap"};

/* The largest range of user (or of its number) in a file of lines "who:first:count". */
static bool
find_range(const char *file, const char *user, uid_t uid, uint32_t *first,
           uint32_t *count)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(1024 * 1024);
    char number[16];
    char *save = NULL;

    *count = 0;
    snprintf(number, sizeof(number), "%u", (unsigned)uid);
    if (fs_read(file, &text, &ignored) != 0)
        return false;
    for (char *line = strtok_r(text.ptr, "\n", &save); line != NULL;
         line = strtok_r(NULL, "\n", &save)) {
        char *from = strchr(line, ':');
        char *n = from == NULL ? NULL : strchr(from + 1, ':');
        if (n == NULL)
            continue;
        *from++ = '\0';
        if (!streq(line, number) && (user[0] == '\0' || !streq(line, user)))
            continue;
        unsigned long long a = strtoull(from, NULL, 10);
        unsigned long long b = strtoull(n + 1, NULL, 10);
        if (a > 0 && b > 0 && a < UINT32_MAX && b < UINT32_MAX - a && b > *count) {
            *first = (uint32_t)a;
            *count = (uint32_t)b;
        }
    }
    return *count > 0;
}

static bool
have_helpers(void)
{
    static const char *const dirs[] = {"/usr/bin", "/bin", "/usr/local/bin"};
    size_t found = 0;

    for (size_t i = 0; i < ARRAY_LEN(helpers); i++) {
        bool here = false;
        for (size_t k = 0; k < ARRAY_LEN(dirs) && !here; k++) {
            autofree char *path = fs_join(dirs[k], helpers[i]);
            here = access(path, X_OK) == 0;
        }
        found += here;
    }
    return found == ARRAY_LEN(helpers);
}

void
usermap_read(const char *subuid_file, const char *subgid_file, const char *user,
             struct usermap *ret)
{
    uint32_t uids = 0;
    uint32_t gids = 0;
    const char *missing = NULL;

    ret->count = 0;
    if (!find_range(subuid_file, user, ret->uid, &ret->sub_uid, &uids))
        missing = subuid_file;
    else if (!find_range(subgid_file, user, ret->uid, &ret->sub_gid, &gids))
        missing = subgid_file;
    if (missing != NULL) {
        snprintf(ret->why, sizeof(ret->why), "%.100s has no range for user %.60s",
                 missing, user);
        return;
    }
    ret->count = uids < gids ? uids : gids;
    if (ret->count > IDMAP_SIZE)
        ret->count = IDMAP_SIZE;
}

void
usermap_find(struct usermap *ret)
{
    autofree char *buf = xmalloc(NAME_BYTES);
    struct passwd pw;
    struct passwd *found = NULL;
    char name[64];

    *ret = (struct usermap){.needed = geteuid() != 0, .uid = geteuid(), .gid = getegid()};
    if (!ret->needed)
        return;
    snprintf(name, sizeof(name), "%u", (unsigned)ret->uid);
    autofile FILE *f = fopen("/etc/passwd", "re");
    while (f != NULL && fgetpwent_r(f, &pw, buf, NAME_BYTES, &found) == 0) {
        if (pw.pw_uid == ret->uid) {
            snprintf(name, sizeof(name), "%s", pw.pw_name);
            break;
        }
    }
    usermap_read("/etc/subuid", "/etc/subgid", name, ret);
    if (ret->count > 0 && !have_helpers()) {
        ret->count = 0;
        snprintf(ret->why, sizeof(ret->why),
                 "newuidmap and newgidmap are not installed (package uidmap)");
    }
}

uid_t
usermap_base(const struct usermap *m)
{
    return m->count > 0 ? 1 : 0;
}

uint32_t
usermap_size(const struct usermap *m)
{
    return !m->needed ? IDMAP_SIZE : m->count > 0 ? m->count : 1;
}

static int
write_single(const struct usermap *m, pid_t pid, struct error *e)
{
    char uids[32];
    char gids[32];

    snprintf(uids, sizeof(uids), "0 %u 1\n", (unsigned)m->uid);
    snprintf(gids, sizeof(gids), "0 %u 1\n", (unsigned)m->gid);
    int rc = idmap_put(pid, "uid_map", uids, e);
    if (rc == 0) /* the kernel's condition for the next line */
        rc = idmap_put(pid, "setgroups", "deny", e);
    return rc != 0 ? rc : idmap_put(pid, "gid_map", gids, e);
}

/* newuidmap PID 0 UID 1 1 SUB COUNT */
static int
run_helper(const char *program, pid_t pid, uint32_t own, uint32_t sub, uint32_t count,
           struct error *e)
{
    char text[4][16];
    auto_str out = STR_INIT(512);
    struct proc_opts o = PROC_OPTS_INIT;
    int status;

    snprintf(text[0], sizeof(text[0]), "%d", (int)pid);
    snprintf(text[1], sizeof(text[1]), "%u", own);
    snprintf(text[2], sizeof(text[2]), "%u", sub);
    snprintf(text[3], sizeof(text[3]), "%u", count);
    const char *argv[] = {program, text[0], "0",     text[1], "1",
                          "1",     text[2], text[3], NULL};
    o.argv = argv;
    int rc = proc_run(&o, HELPER_MS, &out, &status, e);
    if (rc != 0)
        return error_prepend(e, "map user ids");
    if (WIFEXITED(status) && WEXITSTATUS(status) == 0)
        return 0;
    out.ptr[strcspn(out.ptr, "\n")] = '\0';
    return error_set(e, ERR_FORBIDDEN, "map user ids: %s: %s", program, out.ptr);
}

int
usermap_write(const struct usermap *m, pid_t pid, struct error *e)
{
    if (m->count == 0)
        return write_single(m, pid, e);
    int rc = run_helper(helpers[0], pid, m->uid, m->sub_uid, m->count, e);
    return rc != 0 ? rc : run_helper(helpers[1], pid, m->gid, m->sub_gid, m->count, e);
}

/* The helper maps its parent once that is in the new namespace. Its exit status is the
 * answer; its words go through the pipe. */
static _Noreturn void
map_parent(const struct usermap *m, int go, int words)
{
    struct error e = ERROR_INIT;
    char byte;

    if (read(go, &byte, 1) != 1)
        _exit(1);
    int rc = usermap_write(m, getppid(), &e);
    if (rc != 0 && write(words, e.msg, strlen(e.msg)) < 0)
        _exit(2);
    _exit(rc == 0 ? 0 : 1);
}

int
usermap_enter(const struct usermap *m, struct error *e)
{
    int go[2];
    int words[2];
    char text[300] = "";
    int status = 0;

    if (!m->needed)
        return 0;
    if (pipe2(go, O_CLOEXEC) < 0)
        return error_errno(e, errno, "create pipe");
    if (pipe2(words, O_CLOEXEC) < 0) {
        close(go[0]);
        close(go[1]);
        return error_errno(e, errno, "create pipe");
    }
    pid_t pid = fork();
    if (pid == 0) {
        close(go[1]);
        map_parent(m, go[0], words[1]);
    }
    close(go[0]);
    close(words[1]);
    int rc = pid < 0 ? error_errno(e, errno, "map user ids") : 0;
    if (rc == 0 && unshare(CLONE_NEWUSER) < 0)
        rc = error_errno(e, errno, "new user namespace");
    if (rc == 0 && write(go[1], "m", 1) != 1)
        rc = error_errno(e, errno, "map user ids");
    close(go[1]);
    ssize_t n = read(words[0], text, sizeof(text) - 1);
    close(words[0]);
    while (pid > 0 && waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    if (rc == 0 && status != 0)
        rc = error_set(e, ERR_FORBIDDEN, "%s",
                       n > 0 ? text : "user ids could not be mapped");
    return rc;
}
