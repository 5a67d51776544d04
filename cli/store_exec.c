/* SPDX-License-Identifier: Apache-2.0 */
/* Verbs of `drover store` that the API server's program does. */
#include <libgen.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "base/mem.h"
#include "cli/store.h"

int
apiserver_exec(const char *tool, int argc, char **argv)
{
    char self[PATH_MAX];
    ssize_t n = readlink("/proc/self/exe", self, sizeof(self) - 1);

    if (n < 0) {
        fprintf(stderr, "drover %s: /proc/self/exe: %s\n", tool, strerrorname_np(errno));
        return 6;
    }
    self[n] = '\0';
    autofree char *program = xasprintf("%s/drover-apiserver", dirname(self));
    autofree char *first = xstrdup(tool);
    char **args = xcalloc((size_t)argc + 3, sizeof(*args));
    args[0] = program;
    args[1] = first;
    for (int i = 0; i < argc; i++)
        args[i + 2] = argv[i];
    execv(program, args);
    fprintf(stderr, "drover %s: cannot run %s: %s\n", tool, program,
            strerrorname_np(errno));
    free(args);
    return 6;
}

int
store_exec(const struct store_verb *v, int argc, char **argv)
{
    UNUSED(v);
    return apiserver_exec("store", argc, argv);
}

const struct store_verb store_verb_check = {
    "check", "verify every record of the log and the snapshots", store_exec};
const struct store_verb store_verb_dump = {
    "dump", "print stored objects, or the log's records", store_exec};
const struct store_verb store_verb_compact = {
    "compact", "forget old revisions and give their room back", store_exec};
const struct store_verb store_verb_backup = {
    "backup", "save all objects at one revision, also of a running server", store_exec};
const struct store_verb store_verb_rebuild = {
    "rebuild", "make a new store from the files in desired/ alone", store_exec};
const struct store_verb store_verb_restore = {
    "restore", "make an empty data directory from a backup", store_exec};
const struct store_verb store_verb_rekey = {"rekey", "change the key that seals Secrets",
                                            store_exec};
