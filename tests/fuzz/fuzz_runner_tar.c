/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Archives that nobody vouches for. Whatever is in them, what lies beside the directory
 * they are unpacked into stays as it was, and nothing new appears there.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/str.h"
#include "runner/place/untar.h"

int LLVMFuzzerTestOneInput(const unsigned char *data, size_t size);

static size_t
entries(const char *dir)
{
    size_t n = 0;
    DIR *d = opendir(dir);
    while (d != NULL && readdir(d) != NULL)
        n++;
    if (d != NULL)
        closedir(d);
    return n;
}

static int
no_more(void *arg, int64_t bytes, struct error *e)
{
    int64_t *left = arg;

    *left -= bytes;
    return *left > 0 ? 0 : error_set(e, ERR_TOO_LARGE, "too much");
}

/* The same bytes as a root file system. Owners need root. */
static int
as_root(int fd, int dir, struct error *e)
{
    int64_t left = 1 << 20;
    struct untar_root r = {.fd = fd, .dir_fd = dir, .room = no_more, .arg = &left};

    if (geteuid() != 0)
        return 0;
    if (mkdirat(dir, "root", 0700) < 0 || lseek(fd, 0, SEEK_SET) < 0)
        abort();
    r.dir_fd = openat(dir, "root", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = untar_root(&r, e);
    close(r.dir_fd);
    return rc;
}

int
LLVMFuzzerTestOneInput(const unsigned char *data, size_t size)
{
    char root[] = "/tmp/fuzz-tar-XXXXXX";
    struct error e = ERROR_INIT;
    struct place_owner me = {geteuid(), getegid()};
    int fd = memfd_create("tar", MFD_CLOEXEC);

    if (fd < 0 || mkdtemp(root) == NULL || fs_write_all(fd, data, size, &e) < 0 ||
        lseek(fd, 0, SEEK_SET) < 0)
        abort();
    int root_fd = open(root, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (mkdirat(root_fd, "in", 0700) < 0)
        abort();
    int dir = openat(root_fd, "in", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    int rc = untar(fd, dir, "top", &me, &e);
    if (rc < 0 && e.msg[0] == '\0')
        abort();
    struct error of_root = ERROR_INIT;
    if (as_root(fd, dir, &of_root) < 0 && of_root.msg[0] == '\0')
        abort();
    autofree char *in = fs_join(root, "in");
    if (entries(root) != 3 || entries(in) > 4) /* with . and .. */
        abort();
    close(dir);
    close(root_fd);
    close(fd);
    if (fs_remove_tree(root, &e) < 0)
        abort();
    return 0;
}
