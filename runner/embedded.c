/* SPDX-License-Identifier: Apache-2.0 */
#include "runner/embedded.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(runner);

#define LOWEST_FD 16 /* out of the way of what a child is handed */
#ifndef MFD_EXEC
#define MFD_EXEC 0x0010U
#endif

__asm__(".section .rodata\n"
        ".balign 16\n"
        "embedded_begin:\n"
        ".incbin \"" EMBEDDED_SUPERVISOR "\"\n"
        "embedded_end:\n"
        ".byte 0\n"
        ".previous\n");
extern const char embedded_begin[], embedded_end[];

static int
memory_file(struct error *e)
{
    size_t n = (size_t)(embedded_end - embedded_begin);
    /* MFD_EXEC is refused by kernels before 6.3, which need not be told. */
    int made =
        memfd_create("drover-supervisor", MFD_CLOEXEC | MFD_ALLOW_SEALING | MFD_EXEC);
    if (made < 0)
        made = memfd_create("drover-supervisor", MFD_CLOEXEC | MFD_ALLOW_SEALING);
    autoclose int fd = made;
    if (fd < 0)
        return error_errno(e, errno, "create memory file");
    int r = fs_write_all(fd, embedded_begin, n, e);
    if (r < 0)
        return r;
    if (fchmod(fd, 0500) < 0 ||
        fcntl(fd, F_ADD_SEALS, F_SEAL_SHRINK | F_SEAL_GROW | F_SEAL_WRITE | F_SEAL_SEAL) <
            0)
        return error_errno(e, errno, "seal memory file");
    int high = fcntl(fd, F_DUPFD_CLOEXEC, LOWEST_FD);
    return high >= 0 ? high : error_errno(e, errno, "duplicate memory file");
}

void
embedded_supervisor(char *path, size_t size)
{
    struct error e = ERROR_INIT;
    int fd = memory_file(&e);
    if (fd >= 0) {
        snprintf(path, size, "/proc/self/fd/%d", fd);
        if (access(path, X_OK) == 0)
            return;
        error_errno(&e, errno, "%s", path);
        close(fd);
    }
    log_warn("supervisors are started from the whole program", "error=\"%s\"", e.msg);
    snprintf(path, size, "/proc/self/exe");
}
