/* SPDX-License-Identifier: Apache-2.0 */
/* drover mirror: what the files in <data-dir>/desired wait for. Asks the API server of
 * the data directory by its control socket: files and commands are of the same machine.
 */
#include <getopt.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "cli/cli.h"

enum { ANSWER_MAX = 1 << 20 };

static int
ask(const char *dir, const char *command, struct str *out, struct error *e)
{
    autofree char *path = fs_join(dir, "run/apiserver.ctl");
    struct sockaddr_un a = {.sun_family = AF_UNIX};
    autoclose int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    char buf[4096];
    ssize_t n;

    if (fd < 0)
        return error_errno(e, errno, "socket");
    if (strlen(path) >= sizeof(a.sun_path))
        return error_set(e, ERR_BAD_REQUEST, "%s: the path is too long for a socket",
                         path);
    memcpy(a.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&a, sizeof(a)) != 0)
        return error_set(e, ERR_UNAVAILABLE, "no server runs on %s (%s: %s)", dir, path,
                         strerrorname_np(errno));
    autofree char *line = xasprintf("mirror %s\n", command);
    if (fs_write_all(fd, line, strlen(line), e) < 0)
        return -(int)e->code;
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        str_add(out, buf, (size_t)n);
    if (n < 0)
        return error_errno(e, errno, "read the answer");
    if (str_starts(out->ptr, "error: ")) {
        out->ptr[strcspn(out->ptr, "\n")] = '\0';
        return error_set(e, ERR_UNSUPPORTED, "%s", out->ptr + strlen("error: "));
    }
    return 0;
}

/* A file as the shell names it -> its path in the tree; a path in the tree stays. */
static char *
path_in_tree(const char *dir, const char *file)
{
    autofree char *desired = fs_join(dir, "desired");
    autofree char *root = realpath(desired, NULL);
    autofree char *real = realpath(file, NULL);
    size_t n = root == NULL ? 0 : strlen(root);

    if (root != NULL && real != NULL && strncmp(real, root, n) == 0 && real[n] == '/')
        return xstrdup(real + n + 1);
    return xstrdup(file);
}

static int
run(int argc, char **argv)
{
    static const struct option longs[] = {{"data-dir", required_argument, NULL, 'd'},
                                          {"help", no_argument, NULL, 'h'},
                                          {0}};
    static const char *const known[] = {"status", "confirm", "discard", "rescan"};
    const char *dir = "./state", *verb;
    auto_str command = STR_INIT(8192), answer = STR_INIT(ANSWER_MAX);
    struct error e = ERROR_INIT;
    int c;

    while ((c = getopt_long(argc, argv, "h", longs, NULL)) != -1) {
        if (c == 'h') {
            cli_usage(&verb_mirror);
            return 0;
        }
        if (c != 'd')
            return cli_misuse(&verb_mirror, "see drover mirror --help");
        dir = optarg;
    }
    verb = optind < argc ? argv[optind++] : "status";
    bool ok = false;
    for (size_t i = 0; i < ARRAY_LEN(known); i++)
        ok = ok || streq(verb, known[i]);
    if (!ok || (optind < argc && (!streq(verb, "discard") || argc - optind > 1)))
        return cli_misuse(&verb_mirror, "\"%s\" is not understood",
                          ok ? argv[optind] : verb);
    str_adds(&command, verb);
    if (optind < argc) {
        autofree char *path = path_in_tree(dir, argv[optind]);
        str_addf(&command, " %s", path);
    }
    if (strpbrk(command.ptr, "\r\n") != NULL)
        return cli_misuse(&verb_mirror, "a file name with line breaks is no object's");
    if (ask(dir, command.ptr, &answer, &e) < 0)
        return cli_fail(&verb_mirror, &e);
    fwrite(answer.ptr, 1, answer.len, stdout);
    return 0;
}

const struct cli_verb verb_mirror = {
    .name = "mirror",
    .args = "[status | confirm | discard [FILE] | rescan] [--data-dir DIR]",
    .summary = "what the files in desired/ wait for, and what to do about it",
    .help = "  status          files, those not applied, deletions that are held\n"
            "  confirm         delete the objects whose files were deleted\n"
            "  discard         write the deleted files again\n"
            "  discard FILE    replace this file by the stored object\n"
            "  rescan          look at all files now\n"
            "  --data-dir DIR  that of `drover server` (default ./state)\n",
    .run = run,
};
