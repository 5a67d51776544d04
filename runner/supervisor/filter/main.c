/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The system call filter of jobs, made when drover is built: writes the instructions for
 * the kernel to stdout, which seccomp.c carries. So no supervisor needs libseccomp, nor
 * the time that it takes.
 *
 * Allow by default, refuse what only the owner of a machine needs or what has been a way
 * out of containers. The user namespace already refuses most of it; the filter keeps the
 * kernel's code behind those calls unreachable. ptrace and process_vm_* stay: inside its
 * own pid namespace a job may debug itself.
 */
#include <errno.h>
#include <linux/sched.h>
#include <seccomp.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

#define NEW_NAMESPACES                                                                   \
    (CLONE_NEWNS | CLONE_NEWCGROUP | CLONE_NEWUTS | CLONE_NEWIPC | CLONE_NEWUSER |       \
     CLONE_NEWPID | CLONE_NEWNET)

#ifndef TIOCLINUX
#define TIOCLINUX 0x541C
#endif

/* By name: a call that this architecture or library does not know is skipped. */
static const char *const refused[] = {
    /* mounts and namespaces */
    "mount",
    "umount",
    "umount2",
    "pivot_root",
    "move_mount",
    "open_tree",
    "fsopen",
    "fsconfig",
    "fsmount",
    "fspick",
    "mount_setattr",
    "unshare",
    "setns",
    /* kernel code and images */
    "bpf",
    "init_module",
    "finit_module",
    "delete_module",
    "create_module",
    "kexec_load",
    "kexec_file_load",
    "reboot",
    "perf_event_open",
    "lookup_dcookie",
    "userfaultfd",
    "uselib",
    "get_kernel_syms",
    "query_module",
    "nfsservctl",
    /* keys: not divided by namespaces */
    "keyctl",
    "add_key",
    "request_key",
    /* the machine's state */
    "swapon",
    "swapoff",
    "acct",
    "quotactl",
    "quotactl_fd",
    "syslog",
    "vhangup",
    "settimeofday",
    "stime",
    "clock_settime",
    "clock_settime64",
    "clock_adjtime",
    "clock_adjtime64",
    "adjtimex",
    "iopl",
    "ioperm",
    "sethostname",
    "setdomainname",
    "_sysctl",
    "sysfs",
    "ustat",
    "vm86",
    "vm86old",
    "fanotify_init",
    /* past the file system's checks */
    "open_by_handle_at",
    "io_uring_setup",
    "io_uring_enter",
    "io_uring_register",
};

static const unsigned refused_families[] = {AF_VSOCK, AF_ALG,  AF_KEY,
                                            AF_RDS,   AF_TIPC, AF_PACKET};
static const unsigned refused_ioctls[] = {TIOCSTI, TIOCLINUX};

static int
add_conditional(scmp_filter_ctx ctx)
{
    uint32_t eperm = SCMP_ACT_ERRNO(EPERM);
    int rc = 0;

    /* The flags of clone3 are in memory, where a filter cannot see them: libc falls back
     * to clone on ENOSYS. */
    rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(ENOSYS), SCMP_SYS(clone3), 0);
    for (int bit = 0; rc == 0 && bit < 32; bit++) {
        scmp_datum_t flag = 1ULL << bit;
        if ((NEW_NAMESPACES & flag) != 0)
            rc = seccomp_rule_add(ctx, eperm, SCMP_SYS(clone), 1,
                                  SCMP_A0(SCMP_CMP_MASKED_EQ, flag, flag));
    }
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refused_families); i++)
        rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EAFNOSUPPORT), SCMP_SYS(socket), 1,
                              SCMP_A0(SCMP_CMP_EQ, refused_families[i], 0));
    /* The kernel looks at 32 bits of the request, so must the filter. */
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refused_ioctls); i++)
        rc = seccomp_rule_add(
            ctx, eperm, SCMP_SYS(ioctl), 1,
            SCMP_A1(SCMP_CMP_MASKED_EQ, 0xffffffffULL, refused_ioctls[i]));
    return rc;
}

static int
add_rules(scmp_filter_ctx ctx)
{
    int rc = seccomp_attr_set(ctx, SCMP_FLTATR_ACT_BADARCH, SCMP_ACT_ERRNO(ENOSYS));

#if defined(__x86_64__)
    if (rc == 0)
        rc = seccomp_arch_add(ctx, SCMP_ARCH_X86);
#elif defined(__aarch64__)
    if (rc == 0)
        rc = seccomp_arch_add(ctx, SCMP_ARCH_ARM);
#endif
    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(refused); i++) {
        int nr = seccomp_syscall_resolve_name(refused[i]);
        if (nr != __NR_SCMP_ERROR)
            rc = seccomp_rule_add(ctx, SCMP_ACT_ERRNO(EPERM), nr, 0);
    }
    return rc == 0 ? add_conditional(ctx) : rc;
}

int
main(void)
{
    scmp_filter_ctx ctx = seccomp_init(SCMP_ACT_ALLOW);
    int rc = ctx == NULL ? -ENOMEM : add_rules(ctx);

    if (rc == 0)
        rc = seccomp_export_bpf(ctx, STDOUT_FILENO);
    seccomp_release(ctx);
    if (rc < 0)
        fprintf(stderr, "system call filter: %s\n", strerrordesc_np(-rc));
    return rc < 0;
}
