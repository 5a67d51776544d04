/* SPDX-License-Identifier: Apache-2.0 */
/* A local git checkout: what the remote has of it, and the rest as a patch. */
#include <fcntl.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>

#include "base/fs.h"
#include "base/mem.h"
#include "cli/code.h"
#include "io/proc.h"

enum { GIT_MS = 300 * 1000, WORD_MAX = 16384, INDEX_MAX = 256 << 20 };

static void
start_git(struct proc_opts *o, const char *dir, const char *index,
          const char *const *words, const char **argv, size_t max, char **env_room)
{
    size_t n = 0;

    *o = PROC_OPTS_INIT;
    if (index != NULL) {
        *env_room = xasprintf("GIT_INDEX_FILE=%s", index);
        argv[n++] = "env";
        argv[n++] = *env_room;
    }
    argv[n++] = "git";
    argv[n++] = "-C";
    argv[n++] = dir;
    for (; *words != NULL && n + 1 < max; words++)
        argv[n++] = *words;
    argv[n] = NULL;
    o->argv = argv;
}

int
checkout_git(const char *dir, const char *index, const char *const *words,
             struct str *out, struct error *e)
{
    struct proc_opts o;
    const char *argv[40];
    autofree char *room = NULL;
    int status = 0;

    start_git(&o, dir, index, words, argv, ARRAY_LEN(argv), &room);
    int rc = proc_run(&o, GIT_MS, out, &status, e);
    if (rc < 0)
        return rc;
    while (out->len > 0 && out->ptr[out->len - 1] == '\n')
        str_truncate(out, out->len - 1);
    if (out->toobig)
        return error_set(e, ERR_TOO_LARGE, "git %s: too much output", words[0]);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
        return error_set(e, ERR_PROVIDER, "git %s: %.200s", words[0], out->ptr);
    return 0;
}

#define GIT(dir, out, e, ...)                                                            \
    (str_reset(out),                                                                     \
     checkout_git(dir, NULL, (const char *const[]){__VA_ARGS__, NULL}, out, e))

void
checkout_done(struct checkout *c)
{
    free(c->url);
    free(c->branch);
    free(c->hash);
    packed_done(&c->patch);
}

/* The commit that the remote certainly has: what the branch follows, or HEAD itself when
 * some branch of the remote has it. */
static int
find_base(const char *top, const char *remote, struct checkout *c, struct error *e)
{
    auto_str out = STR_INIT(WORD_MAX);
    struct error ignored = ERROR_INIT;
    size_t n = strlen(remote);

    if (GIT(top, &out, &ignored, "rev-parse", "--abbrev-ref", "@{upstream}") == 0 &&
        strncmp(out.ptr, remote, n) == 0 && out.ptr[n] == '/') {
        c->branch = xstrdup(out.ptr + n + 1);
        if (GIT(top, &out, e, "rev-parse", "--verify", "@{upstream}^{commit}") < 0)
            return -(int)e->code;
        c->hash = xstrdup(out.ptr);
        return 0;
    }
    if (GIT(top, &out, e, "branch", "-r", "--contains", "HEAD") < 0)
        return -(int)e->code;
    if (out.len == 0)
        return error_set(e, ERR_INVALID,
                         "the remote does not have the commit that is checked out, and "
                         "the branch follows none of it: push it first (git push -u)");
    if (GIT(top, &out, e, "rev-parse", "--verify", "HEAD^{commit}") < 0)
        return -(int)e->code;
    c->hash = xstrdup(out.ptr);
    return 0;
}

/* A copy of the index in which new files are announced, so that the checkout's own stays
 * as it is. */
static int
copy_index(const char *top, char **ret, struct error *e)
{
    autofree char *name = NULL;
    autoclose int fd = -1;
    auto_str where = STR_INIT(WORD_MAX);
    auto_str bytes = STR_INIT(INDEX_MAX);
    struct error ignored = ERROR_INIT;

    if (GIT(top, &where, e, "rev-parse", "--git-path", "index") < 0)
        return -(int)e->code;
    autofree char *from =
        where.ptr[0] == '/' ? xstrdup(where.ptr) : fs_join(top, where.ptr);
    if (fs_temp("drover-index", &name, &fd, e) < 0)
        return -(int)e->code;
    int rc = fs_read(from, &bytes, &ignored);
    if (rc == 0)
        rc = fs_write_all(fd, bytes.ptr, bytes.len, e);
    else if (ignored.code == ERR_NOT_FOUND)
        rc = unlink(name) < 0 ? error_errno(e, errno, "%s", name) : 0; /* none yet */
    else
        *e = ignored;
    if (rc < 0)
        unlink(name);
    else
        *ret = move_ptr(name);
    return rc;
}

/* git's output straight into the file. */
static int
write_diff(const char *top, const char *index, const char *hash, int to, struct error *e)
{
    const char *const words[] = {"-c",
                                 "core.quotePath=true",
                                 "diff",
                                 "--binary",
                                 "--full-index",
                                 "--no-color",
                                 "--no-ext-diff",
                                 "--no-textconv",
                                 "--src-prefix=a/",
                                 "--dst-prefix=b/",
                                 "--ignore-submodules",
                                 "--no-renames",
                                 hash,
                                 "--",
                                 NULL};
    struct proc_opts o;
    const char *argv[40];
    autofree char *room = NULL;
    pid_t pid;
    int status = 0;

    start_git(&o, top, index, words, argv, ARRAY_LEN(argv), &room);
    o.stdout_fd = to;
    o.stderr_fd = 2;
    if (proc_spawn(&o, &pid, e) < 0)
        return -(int)e->code;
    while (waitpid(pid, &status, 0) < 0 && errno == EINTR)
        ;
    return WIFEXITED(status) && WEXITSTATUS(status) == 0
               ? 0
               : error_set(e, ERR_PROVIDER, "git diff failed");
}

static int
make_patch(const char *top, struct checkout *c, struct error *e)
{
    static const char *const announce[] = {"add", "--all", "--intent-to-add",
                                           "--",  ".",     NULL};
    auto_str out = STR_INIT(WORD_MAX);
    autofree char *index = NULL;
    int rc = copy_index(top, &index, e);

    if (rc == 0)
        rc = checkout_git(top, index, announce, &out, e);
    if (rc == 0)
        rc = packed_new(&c->patch, e);
    if (rc == 0)
        rc = write_diff(top, index, c->hash, c->patch.fd, e);
    if (index != NULL)
        unlink(index);
    if (rc == 0)
        rc = packed_seal(&c->patch, e);
    if (rc == 0 && c->patch.size == 0)
        packed_done(&c->patch);
    return rc;
}

static int
read_checkout(const char *path, struct checkout *c, struct error *e)
{
    auto_str top = STR_INIT(WORD_MAX);
    auto_str remote = STR_INIT(WORD_MAX);
    auto_str out = STR_INIT(WORD_MAX);
    struct error ignored = ERROR_INIT;

    if (GIT(path, &top, e, "rev-parse", "--show-toplevel") < 0)
        return error_set(e, ERR_INVALID, "%.300s is no git checkout", path);
    if (GIT(top.ptr, &out, &ignored, "symbolic-ref", "-q", "--short", "HEAD") == 0) {
        autofree char *key = xasprintf("branch.%s.remote", out.ptr);
        int rc = GIT(top.ptr, &remote, &ignored, "config", "--get", key);
        UNUSED(rc); /* then there is none */
    }
    if (remote.len == 0 || streq(remote.ptr, ".")) {
        str_reset(&remote);
        str_adds(&remote, "origin");
    }
    if (GIT(top.ptr, &out, e, "remote", "get-url", remote.ptr) < 0)
        return error_set(e, ERR_INVALID, "the checkout %.300s has no remote \"%.100s\"",
                         top.ptr, remote.ptr);
    c->url = xstrdup(out.ptr);
    int rc = find_base(top.ptr, remote.ptr, c, e);
    return rc < 0 ? rc : make_patch(top.ptr, c, e);
}

int
checkout_read(const char *path, struct checkout *ret, struct error *e)
{
    struct checkout c = {.patch.fd = -1};
    int rc = read_checkout(path, &c, e);

    if (rc < 0)
        checkout_done(&c);
    else
        *ret = c;
    return rc;
}
