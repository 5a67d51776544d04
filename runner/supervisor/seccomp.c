/* SPDX-License-Identifier: Apache-2.0 */
/* The system call filter of jobs, as filter/main.c made it when this was built. */
#include <errno.h>
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>

#include "runner/supervisor/confine.h"

__asm__(".section .rodata\n"
        ".balign 8\n"
        "seccomp_filter_begin:\n"
        ".incbin \"" SECCOMP_FILTER "\"\n"
        "seccomp_filter_end:\n"
        ".previous\n");
extern struct sock_filter seccomp_filter_begin[], seccomp_filter_end[];

int
confine_syscalls(struct error *e)
{
    const struct sock_fprog filter = {
        .len = (unsigned short)(seccomp_filter_end - seccomp_filter_begin),
        .filter = seccomp_filter_begin,
    };

    if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) < 0)
        return error_errno(e, errno, "load the system call filter");
    return 0;
}
