/* SPDX-License-Identifier: Apache-2.0 */
/* Options and dispatch of the store's tools, and what they share. */
#include "apiserver/tools/tool.h"

#include <dirent.h>
#include <fcntl.h>
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "apiserver/registry/kinds.h"
#include "apiserver/store/store_seal.h"
#include "base/fs.h"
#include "base/mem.h"
#include "io/unix_socket.h"

enum { ANSWER_MAX = 64 * 1024, COPY_BYTES = 1 << 20 };

enum option_id {
    OPT_DATA = 'd',
    OPT_TARGET = 't',
    OPT_OUTPUT = 'o',
    OPT_NAMESPACE = 'n',
    OPT_HELP = 'h',
    OPT_RESOURCE = 256,
    OPT_NAME,
    OPT_LOG,
    OPT_FROM,
    OPT_TO,
    OPT_REVISION,
    OPT_KEYS,
    OPT_FINISH,
    OPT_CONTROL,
};

static const struct option all_options[] = {
    {"data-dir", required_argument, NULL, OPT_DATA},
    {"dir", required_argument, NULL, OPT_TARGET},
    {"output", required_argument, NULL, OPT_OUTPUT},
    {"resource", required_argument, NULL, OPT_RESOURCE},
    {"namespace", required_argument, NULL, OPT_NAMESPACE},
    {"name", required_argument, NULL, OPT_NAME},
    {"log", no_argument, NULL, OPT_LOG},
    {"from", required_argument, NULL, OPT_FROM},
    {"to", required_argument, NULL, OPT_TO},
    {"revision", required_argument, NULL, OPT_REVISION},
    {"with-keys", no_argument, NULL, OPT_KEYS},
    {"finish", no_argument, NULL, OPT_FINISH},
    {"control-socket", required_argument, NULL, OPT_CONTROL},
    {"help", no_argument, NULL, OPT_HELP},
    {0},
};

static const struct verb {
    const char *name;
    const char *options; /* names, each between spaces */
    const char *args, *help;
    int (*run)(struct tool *t, struct error *e);
} verbs[] = {
    {"check", " data-dir ", "",
     "Reads every record of the log and of every snapshot, as a start would and more, "
     "and\n"
     "changes nothing. Exit status: 0 all is well; 70 damage, named with file and "
     "offset;\n"
     "6 the directory is in use by a server.\n",
     tool_check},
    {"dump", " data-dir output resource namespace name log from to ",
     "[-o yaml|json] [--resource RESOURCE] [-n NS] [--name NAME] [--log [--from N] [--to "
     "N]]",
     "Prints the stored objects (values of Secrets as they are stored: sealed), or with\n"
     "--log the retained changes after revision --from up to --to, one JSON object a "
     "line.\n"
     "  --resource RESOURCE   such as runs.drover.dev or namespaces\n",
     tool_dump},
    {"compact", " data-dir revision control-socket ", "[--revision N]",
     "Writes a snapshot and removes what is older than revision N (the current one), so\n"
     "that watches from before it have to list again. Asks the server when one runs.\n",
     tool_compact},
    {"backup", " data-dir dir with-keys control-socket ", "--dir DIR [--with-keys]",
     "Saves all objects, as they are at one revision, into the new directory DIR. Works "
     "while\n"
     "a server runs (it is asked for a snapshot) and while none does. Keys are left out\n"
     "unless --with-keys: without them Secrets cannot be read, so keep them elsewhere.\n",
     tool_backup},
    {"restore", " data-dir dir ", "--dir DIR",
     "Makes the data directory, which must be empty or absent, from the backup DIR, "
     "checking\n"
     "all of it. Revisions go on far above those of the backup, so that no client "
     "mistakes\n"
     "a new state for one that it has seen.\n",
     tool_restore},
    {"rekey", " data-dir finish ", "[--finish]",
     "Makes a new key for the values of Secrets, writes store and history anew under it, "
     "and\n"
     "drops the old keys. The files of the mirror are sealed anew by the next server "
     "that "
     "starts;\n"
     "keys that they still need stay until --finish, which makes no new key. Backups "
     "made "
     "before\n"
     "need the old keys. Only while no server runs.\n",
     tool_rekey},
};

static void
usage(const struct verb *v, FILE *out)
{
    fprintf(out, "usage: drover store %s [--data-dir DIR] %s\n\n%s", v->name, v->args,
            v->help);
    fputs("  --data-dir DIR   that of `drover server` (default ./state)\n", out);
}

static int
take_number(uint64_t *ret, struct error *e)
{
    char *end;

    errno = 0;
    *ret = strtoull(optarg, &end, 10);
    if (errno != 0 || end == optarg || *end != '\0' || optarg[0] == '-' || *ret == 0)
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not a revision", optarg);
    return 0;
}

static int
take_option(struct tool *t, int id, struct error *e)
{
    const struct {
        int id;
        const char **text;
        uint64_t *number;
        bool *flag;
    } targets[] = {
        {OPT_DATA, &t->data_dir, NULL, NULL},   {OPT_TARGET, &t->target, NULL, NULL},
        {OPT_OUTPUT, &t->output, NULL, NULL},   {OPT_RESOURCE, &t->resource, NULL, NULL},
        {OPT_NAMESPACE, &t->ns, NULL, NULL},    {OPT_NAME, &t->name, NULL, NULL},
        {OPT_CONTROL, &t->control, NULL, NULL}, {OPT_FROM, NULL, &t->from, NULL},
        {OPT_TO, NULL, &t->to, NULL},           {OPT_REVISION, NULL, &t->revision, NULL},
        {OPT_LOG, NULL, NULL, &t->log},         {OPT_KEYS, NULL, NULL, &t->with_keys},
        {OPT_FINISH, NULL, NULL, &t->finish},
    };

    for (size_t i = 0; i < ARRAY_LEN(targets); i++) {
        if (targets[i].id != id)
            continue;
        if (targets[i].text != NULL)
            *targets[i].text = optarg;
        else if (targets[i].flag != NULL)
            *targets[i].flag = true;
        else if (targets[i].number != NULL)
            return take_number(targets[i].number, e);
    }
    return 0;
}

/* 1: help was asked for. */
static int
parse(const struct verb *v, int argc, char **argv, struct tool *t, struct error *e)
{
    struct option own[ARRAY_LEN(all_options)] = {0};
    size_t n = 0;
    int id;

    for (size_t i = 0; all_options[i].name != NULL; i++) {
        char word[32];
        snprintf(word, sizeof(word), " %s ", all_options[i].name);
        if (strstr(v->options, word) != NULL || all_options[i].val == OPT_HELP)
            own[n++] = all_options[i];
    }
    opterr = 0;
    while ((id = getopt_long(argc, argv, ":o:n:h", own, NULL)) != -1) {
        if (id == OPT_HELP)
            return 1;
        if (id == ':')
            return error_set(e, ERR_BAD_REQUEST, "%s needs a value", argv[optind - 1]);
        if (id == '?')
            return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not an option of %s",
                             argv[optind - 1], v->name);
        int rc = take_option(t, id, e);
        if (rc < 0)
            return rc;
    }
    if (optind < argc)
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not an option of %s",
                         argv[optind], v->name);
    if (strstr(v->args, "--dir") == v->args && t->target == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--dir is required");
    return 0;
}

int
tool_main(int argc, char **argv)
{
    struct tool t = {.data_dir = "state"};
    struct error e = ERROR_INIT;
    const struct verb *v = NULL;

    for (size_t i = 0; argc > 1 && i < ARRAY_LEN(verbs); i++) {
        if (streq(verbs[i].name, argv[1]))
            v = &verbs[i];
    }
    if (v == NULL) {
        fprintf(stderr, "drover store: there is no verb \"%s\"\n",
                argc > 1 ? argv[1] : "");
        return 2;
    }
    int rc = parse(v, argc - 1, argv + 1, &t, &e);
    if (rc == 1) {
        usage(v, stdout);
        return 0;
    }
    if (rc < 0)
        fprintf(stderr, "drover store %s: %s\n\n", v->name, e.msg);
    if (rc < 0) {
        usage(v, stderr);
        return error_exit_status(e.code);
    }
    rc = v->run(&t, &e);
    tool_close(&t);
    if (rc == 0 && (fflush(stdout) != 0 || ferror(stdout) != 0))
        rc = error_errno(&e, errno, "write the output");
    if (rc < 0) {
        fflush(stdout);
        fprintf(stderr, "drover store %s: %s\n", v->name, e.msg);
        return error_exit_status(e.code);
    }
    return 0;
}

/* --- the store --- */

void
tool_done(void *arg, uint64_t revision, const struct error *e)
{
    struct tool_result *r = arg;

    UNUSED(revision);
    r->done = true;
    if (e != NULL)
        r->e = *e;
}

int
tool_wait(struct tool *t, const struct tool_result *r, struct error *e)
{
    while (!r->done)
        store_flush(t->store);
    if (r->e.code != ERR_OK)
        *e = r->e;
    return -(int)r->e.code;
}

char *
tool_path(const struct tool *t, const char *name)
{
    return fs_join(t->data_dir, name);
}

int
tool_open(struct tool *t, enum tool_mode mode, struct error *e)
{
    struct store_opts o = {.dir = t->data_dir,
                           .inline_sync = true,
                           .read_only = mode != TOOL_WRITE,
                           .retain_s = mode == TOOL_WRITE ? -1 : 0,
                           .kind_of = kinds_kind_of};
    autofree char *log = tool_path(t, "log");
    autofree char *keys = tool_path(t, "keys/" KEYRING_FILE);
    int rc = 0;

    if (access(log, F_OK) != 0)
        return error_set(e, ERR_NOT_FOUND, "%s: there is no store", t->data_dir);
    rc = kinds_load(&t->kinds, e);
    if (rc == 0)
        rc = loop_new(&t->loop, e);
    if (rc == 0 && mode != TOOL_RAW && access(keys, F_OK) == 0)
        rc = keyring_load(keys, false, &t->seal, e);
    o.arg = t->kinds;
    o.seal = t->seal;
    if (rc == 0)
        rc = store_open(t->loop, &o, &t->store, e);
    if (rc == -ERR_BUSY)
        return error_set(e, ERR_BUSY, "%s is in use: %.200s", t->data_dir,
                         strstr(e->msg, "held by") == NULL ? e->msg
                                                           : strstr(e->msg, "held by"));
    return rc;
}

void
tool_close(struct tool *t)
{
    store_close(t->store);
    t->store = NULL;
    if (t->loop != NULL)
        loop_free(t->loop);
    t->loop = NULL;
    kinds_free(t->kinds);
    t->kinds = NULL;
    keyring_free(t->seal);
    t->seal = NULL;
}

/* --- a running server --- */

static int
connect_control(const struct tool *t, int *ret, struct error *e)
{
    autofree char *own = tool_path(t, "run/apiserver.ctl");
    const char *path = t->control != NULL ? t->control : own;
    int fd = unix_connect(path, 0);

    if (fd == -ENAMETOOLONG)
        return error_set(e, ERR_BAD_REQUEST, "%s: the path is too long for a socket",
                         path);
    if (fd < 0)
        return error_set(e, ERR_UNAVAILABLE, "no server answers on %s: %s", path,
                         strerrorname_np(-fd));
    *ret = fd;
    return 0;
}

int
tool_ask(const struct tool *t, const char *command, struct str *out, struct error *e)
{
    autoclose int fd = -1;
    char buf[4096];
    ssize_t n;
    int rc = connect_control(t, &fd, e);

    if (rc == 0)
        rc = fs_write_all(fd, command, strlen(command), e);
    if (rc < 0)
        return rc;
    while ((n = read(fd, buf, sizeof(buf))) > 0 || (n < 0 && errno == EINTR)) {
        if (n > 0 && out->len < ANSWER_MAX)
            str_add(out, buf, (size_t)n);
    }
    if (n < 0)
        return error_errno(e, errno, "read the server's answer");
    if (str_starts(out->ptr, "error: "))
        return error_set(e, ERR_PROVIDER, "the server said: %.*s",
                         (int)strcspn(out->ptr + 7, "\n"), out->ptr + 7);
    return 0;
}

/* --- files --- */

int
tool_sync_dir(const char *dir, struct error *e)
{
    autoclose int fd = open(dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);

    if (fd < 0 || fsync(fd) != 0)
        return error_errno(e, errno, "sync %s", dir);
    return 0;
}

int
tool_copy(const char *from, const char *to, struct error *e)
{
    autoclose int in = open(from, O_RDONLY | O_CLOEXEC);
    autofree char *buf = xmalloc(COPY_BYTES);
    ssize_t n;

    if (in < 0)
        return error_errno(e, errno, "open %s", from);
    autoclose int out = open(to, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0600);
    if (out < 0)
        return error_errno(e, errno, "create %s", to);
    while ((n = read(in, buf, COPY_BYTES)) != 0) {
        if (n < 0 && errno == EINTR)
            continue;
        if (n < 0)
            return error_errno(e, errno, "read %s", from);
        if (fs_write_all(out, buf, (size_t)n, e) < 0)
            return error_prepend(e, "%s", to);
    }
    if (fsync(out) != 0)
        return error_errno(e, errno, "sync %s", to);
    return 0;
}

int
tool_copy_dir(const char *from, const char *to, struct error *e)
{
    DIR *d = opendir(from);
    const struct dirent *de;
    int rc = 0;

    if (d == NULL && errno == ENOENT)
        return 0;
    if (d == NULL)
        return error_errno(e, errno, "open %s", from);
    if (mkdir(to, 0700) != 0)
        rc = error_errno(e, errno, "create %s", to);
    while (rc == 0 && (de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        struct stat st;
        if (fstatat(dirfd(d), de->d_name, &st, AT_SYMLINK_NOFOLLOW) != 0 ||
            !S_ISREG(st.st_mode))
            continue;
        autofree char *a = fs_join(from, de->d_name);
        autofree char *b = fs_join(to, de->d_name);
        rc = tool_copy(a, b, e);
    }
    closedir(d);
    return rc < 0 ? rc : tool_sync_dir(to, e);
}
