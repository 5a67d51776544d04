/* SPDX-License-Identifier: Apache-2.0 */
/* Runs a fuzz target over the files of its corpus directories, as an ordinary test. */
#include <dirent.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/fs.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static int
replay_dir(const char *dir)
{
    DIR *d = opendir(dir);
    const struct dirent *de;
    int n = 0;

    if (d == NULL) {
        perror(dir);
        return -1;
    }
    while ((de = readdir(d)) != NULL) { /* NOLINT(concurrency-mt-unsafe) */
        if (de->d_name[0] == '.')
            continue;
        autofree char *path = fs_join(dir, de->d_name);
        auto_str bytes = STR_INIT(16 << 20);
        struct error e = ERROR_INIT;
        if (fs_read(path, &bytes, &e) < 0) {
            fprintf(stderr, "%s\n", e.msg);
            closedir(d);
            return -1;
        }
        /* An exact-size copy, so that the sanitizer sees one byte too far. */
        uint8_t *copy = xmemdup(bytes.ptr, bytes.len);
        LLVMFuzzerTestOneInput(copy, bytes.len);
        free(copy);
        n++;
    }
    closedir(d);
    return n;
}

int
main(int argc, char **argv)
{
    int total = 0;

    for (int i = 1; i < argc; i++) {
        int n = replay_dir(argv[i]);
        if (n < 0)
            return 1;
        total += n;
    }
    printf("%d inputs replayed\n", total);
    return total > 0 ? 0 : 1;
}
