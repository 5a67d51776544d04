/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Starting other programs without a shell. Descriptors are closed in the child except
 * those named. Errors of exec are reported to the caller (not as an exit code 127).
 */
#ifndef IO_PROC_H
#define IO_PROC_H

#include <sys/types.h>

#include "base/error.h"
#include "base/str.h"

struct proc_opts {
    const char *const *argv; /* NULL-terminated; argv[0] is looked up in PATH */
    const char *const *env;  /* NULL-terminated "K=V", or NULL to inherit */
    const char *cwd;         /* NULL to inherit */
    int stdin_fd, stdout_fd, stderr_fd; /* -1: /dev/null; borrowed */
    int extra_fd;                       /* passed as descriptor 3, or -1 */
    int parent_death_signal;            /* 0 for none */
    bool new_session;
};
#define PROC_OPTS_INIT                                                                   \
    ((struct proc_opts){.stdin_fd = -1, .stdout_fd = -1, .stderr_fd = -1, .extra_fd = -1})

/* pid is to be reaped by the caller (loop_child_add or waitpid). */
int proc_spawn(const struct proc_opts *opts, pid_t *ret_pid, struct error *e) WARN_UNUSED;
/* Runs to the end and captures stdout+stderr (bounded by out->max; the rest is dropped).
 * Blocking, killed after timeout_ms; ERR_TIMEOUT. ret_status as from waitpid. */
int proc_run(const struct proc_opts *opts, int timeout_ms, struct str *out,
             int *ret_status, struct error *e) WARN_UNUSED;
/* "exited with 3", "killed by SIGKILL". */
void proc_status_text(int wait_status, char *out, size_t size);

#endif
