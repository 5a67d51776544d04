/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Repositories by the machine's git. Nothing of the machine's or of root's configuration
 * counts; a token travels in git's environment only, for its server only; a key is a 0600
 * file while git runs. Neither is left in the clone.
 */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sodium.h>
#include <stdlib.h>
#include <sys/wait.h>

#include "base/fs.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"
#include "io/proc.h"
#include "runner/place/place.h"

#define CLONE_DIR ".drover-clone"

enum { GIT_MS = 3600 * 1000, OUTPUT_MAX = 256 * 1024 };

typedef vec(char *) text_list;

struct git {
    const struct git_repo *g;
    const char *to;
    char *key_path; /* NULL: none */
    text_list env;
    struct str output;
};

static void
list_done(text_list *l)
{
    vec_foreach (s, l) {
        if (*s == NULL)
            continue;
        sodium_memzero(*s, strlen(*s));
        free(*s);
    }
    vec_done(l);
}

static void
add_env(struct git *t, char *text)
{
    vec_push(&t->env, text);
}

/* "https://host[:port]/" of the URL. */
static char *
origin_of(const char *url)
{
    const char *host = strstr(url, "://");

    return host == NULL
               ? NULL
               : xasprintf("%.*s/", (int)(host + 3 - url + strcspn(host + 3, "/")), url);
}

static int
add_token(struct git *t, struct error *e)
{
    auto_str user = STR_INIT(16384);
    auto_str base64 = STR_INIT(32768);
    autofree char *origin = origin_of(t->g->url);

    if (origin == NULL || !str_starts(t->g->url, "http"))
        return error_set(e, ERR_INVALID, "a token is for https:// repositories only");
    str_addf(&user, "x-access-token:%s", t->g->token);
    id_base64(user.ptr, user.len, &base64);
    add_env(t, xstrdup("GIT_CONFIG_COUNT=1"));
    add_env(t, xasprintf("GIT_CONFIG_KEY_0=http.%s.extraHeader", origin));
    add_env(t, xasprintf("GIT_CONFIG_VALUE_0=Authorization: Basic %s", base64.ptr));
    sodium_memzero(user.ptr, user.len);
    sodium_memzero(base64.ptr, base64.len);
    return 0;
}

static int
add_key(struct git *t, struct error *e)
{
    const char *key = t->g->private_key;
    size_t n = strlen(key);

    t->key_path = fs_join(t->g->scratch, "git-key");
    unlink(t->key_path);
    autoclose int fd =
        open(t->key_path, O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
    if (fd < 0)
        return error_errno(e, errno, "write the key");
    int rc = fs_write_all(fd, key, n, e);
    if (rc == 0 && n > 0 && key[n - 1] != '\n')
        rc = fs_write_all(fd, "\n", 1, e);
    return rc;
}

static int
make_env(struct git *t, struct error *e)
{
    const char *path = getenv("PATH");

    add_env(t, xasprintf("PATH=%s", path != NULL ? path : "/usr/bin:/bin"));
    add_env(t, xasprintf("HOME=%s", t->g->scratch));
    add_env(t, xstrdup("LC_ALL=C.UTF-8"));
    add_env(t, xstrdup("GIT_CONFIG_NOSYSTEM=1"));
    add_env(t, xstrdup("GIT_CONFIG_GLOBAL=/dev/null"));
    add_env(t, xstrdup("GIT_TERMINAL_PROMPT=0"));
    add_env(t, xstrdup("GIT_ASKPASS=/bin/false"));
    add_env(t, xstrdup("GIT_ALLOW_PROTOCOL=https:http:ssh:git"));
    int rc = 0;
    if (t->g->token != NULL)
        rc = add_token(t, e);
    if (rc == 0 && t->g->private_key != NULL)
        rc = add_key(t, e);
    /* The servers' keys are not known here; the key is offered to this server alone. */
    add_env(t, xasprintf("GIT_SSH_COMMAND=ssh -F /dev/null -o BatchMode=yes "
                         "-o StrictHostKeyChecking=no -o UserKnownHostsFile=/dev/null "
                         "-o LogLevel=ERROR -o IdentitiesOnly=yes -o IdentityAgent=none "
                         "-o ConnectTimeout=30 -o IdentityFile='%s'",
                         t->key_path != NULL ? t->key_path : "none"));
    add_env(t, NULL);
    return rc;
}

static size_t
at_most(size_t n, size_t max)
{
    return n < max ? n : max;
}

/* The first line (of ssh, or a helper) and git's own last complaint. */
static void
last_words(const struct str *out, char text[300])
{
    const char *first = NULL;
    const char *best = NULL;
    const char *p = out->ptr;

    text[0] = '\0';
    while (*p != '\0') {
        size_t n = strcspn(p, "\n");
        bool complaint = str_starts(p, "fatal: ") || str_starts(p, "error: ");
        if (n > 0 && first == NULL)
            first = p;
        if (n > 0 && complaint)
            best = p;
        p += n + (p[n] == '\n');
    }
    if (best == NULL)
        best = first;
    if (best == NULL)
        return;
    int shown = first == best
                    ? 0
                    : snprintf(text, 300, "%.*s; ",
                               (int)at_most(strcspn(first, "\r\n"), 140), first);
    snprintf(text + shown, 300 - (size_t)shown, "%.*s",
             (int)at_most(strcspn(best, "\n"), 150), best);
}

/* stdin_fd -1: nothing. The words after NULL are not given. */
static int
run(struct git *t, int stdin_fd, const char *const *words, struct error *e)
{
    struct proc_opts o = PROC_OPTS_INIT;
    vec(const char *) argv = {0};
    char text[300];
    char status_text[64];
    int status = 0;

    vec_push(&argv, "git");
    vec_push(&argv, "-c");
    vec_push(&argv, "core.hooksPath=/dev/null");
    vec_push(&argv, "-c");
    vec_push(&argv, "advice.detachedHead=false");
    for (; *words != NULL; words++)
        vec_push(&argv, *words);
    vec_push(&argv, NULL);
    o.argv = argv.items;
    o.env = (const char *const *)t->env.items;
    o.cwd = t->to;
    o.stdin_fd = stdin_fd;
    o.parent_death_signal = SIGKILL;
    str_reset(&t->output);
    int rc = proc_run(&o, GIT_MS, &t->output, &status, e);
    vec_done(&argv);
    if (rc < 0 && e->sys == ENOENT)
        return error_set(e, ERR_UNAVAILABLE, "this machine has no git");
    if (rc < 0 || (WIFEXITED(status) && WEXITSTATUS(status) == 0))
        return rc;
    last_words(&t->output, text);
    proc_status_text(status, status_text, sizeof(status_text));
    return error_set(e, ERR_PROVIDER, "git %s", text[0] != '\0' ? text : status_text);
}

#define GIT(t, e, ...) run(t, -1, (const char *const[]){__VA_ARGS__, NULL}, e)

static bool
branch_is_at(struct git *t, const char *hash)
{
    autofree char *ref = xasprintf("refs/remotes/origin/%s", t->g->branch);
    struct error ignored = ERROR_INIT;

    return GIT(t, &ignored, "rev-parse", "--verify", ref) == 0 &&
           strlen(t->output.ptr) >= strlen(hash) &&
           memcmp(t->output.ptr, hash, strlen(hash)) == 0;
}

static int
checkout(struct git *t, struct error *e)
{
    const struct git_repo *g = t->g;
    struct error first = ERROR_INIT;

    if (g->hash == NULL || (g->branch != NULL && branch_is_at(t, g->hash)))
        return GIT(t, e, "checkout", "-q");
    if (GIT(t, &first, "checkout", "-q", "--detach", g->hash) == 0)
        return 0;
    /* Not on what was cloned: many servers hand out a commit by its name. */
    if (GIT(t, e, "fetch", "-q", "origin", g->hash) < 0)
        return error_set(e, first.code, "commit %s: %s", g->hash, first.msg);
    return GIT(t, e, "checkout", "-q", "--detach", g->hash);
}

/* git refuses a directory with a lost+found: it clones beside that, and what it made (a
 * .git and nothing else yet) is moved up. */
static int
clone(struct git *t, struct error *e)
{
    const struct git_repo *g = t->g;
    const char *argv[12];
    size_t n = 0;

    argv[n++] = "clone";
    argv[n++] = "-q";
    argv[n++] = "--no-checkout";
    if (g->branch != NULL) {
        argv[n++] = "--branch";
        argv[n++] = g->branch;
    }
    if (g->branch != NULL && !g->all_branches)
        argv[n++] = "--single-branch";
    argv[n++] = "--";
    argv[n++] = g->url;
    argv[n++] = CLONE_DIR;
    argv[n] = NULL;
    if (run(t, -1, argv, e) < 0)
        return -(int)e->code;
    autofree char *made = fs_join(t->to, CLONE_DIR);
    autofree char *from = fs_join(made, ".git");
    autofree char *to = fs_join(t->to, ".git");
    if (rename(from, to) < 0 || rmdir(made) < 0)
        return error_errno(e, errno, "move %s", from);
    return 0;
}

/* Exactly as it was made: git itself would accept hunks that have moved. */
static int
apply_patch(struct git *t, struct error *e)
{
    static const char *const check[] = {"apply", "--check", "-v", "--whitespace=nowarn",
                                        "-",     NULL};
    static const char *const apply[] = {"apply", "--whitespace=nowarn", "-", NULL};
    off_t size = lseek(t->g->patch_fd, 0, SEEK_END);

    if (size <= 0)
        return 0; /* nothing was changed */
    if (lseek(t->g->patch_fd, 0, SEEK_SET) < 0)
        return error_errno(e, errno, "read the changes");
    int rc = run(t, t->g->patch_fd, check, e);
    if (rc == 0 && strstr(t->output.ptr, "(offset ") != NULL)
        rc = error_set(e, ERR_INVALID, "a hunk is not at its place");
    if (rc == 0 && lseek(t->g->patch_fd, 0, SEEK_SET) < 0)
        rc = error_errno(e, errno, "read the changes");
    if (rc == 0)
        rc = run(t, t->g->patch_fd, apply, e);
    return rc == 0 ? 0 : error_prepend(e, "apply the uncommitted changes");
}

static bool
is_plain(const char *s)
{
    return s == NULL || (s[0] != '-' && s[0] != '\0' && strpbrk(s, "\n\r") == NULL);
}

static int
place(struct git *t, struct error *e)
{
    const struct git_repo *g = t->g;

    if (!is_plain(g->url) || !is_plain(g->branch) || !is_plain(g->hash))
        return error_set(e, ERR_INVALID, "url, branch or hash is not usable");
    int rc = make_env(t, e);
    if (rc == 0)
        rc = clone(t, e);
    if (rc == 0)
        rc = checkout(t, e);
    if (rc == 0)
        rc = GIT(t, e, "submodule", "-q", "update", "--init", "--recursive");
    if (rc == 0 && g->user_name != NULL)
        rc = GIT(t, e, "config", "user.name", g->user_name);
    if (rc == 0 && g->user_email != NULL)
        rc = GIT(t, e, "config", "user.email", g->user_email);
    if (rc == 0 && g->patch_fd >= 0)
        rc = apply_patch(t, e);
    return rc;
}

int
git_place(const struct git_repo *g, const char *to, struct error *e)
{
    struct git t = {.g = g, .to = to, .output = STR_INIT(OUTPUT_MAX)};
    int rc = place(&t, e);

    if (t.key_path != NULL)
        unlink(t.key_path);
    free(t.key_path);
    list_done(&t.env);
    str_done(&t.output);
    return rc == 0 ? 0 : error_prepend(e, "repository %.150s", g->url);
}
