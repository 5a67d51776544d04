/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The terminal of a job: a pair on the job's own devpts, so that its name means something
 * inside. The job's init makes it and hands both ends to the supervisor through a socket
 * (SCM_RIGHTS); main inherits the slave and makes it its controlling terminal.
 *
 * The supervisor keeps a slave open as well: a job that closes all of its own and opens
 * /dev/tty later finds the terminal alive. The end of output is the end of the job, not
 * an error of the master.
 */
#ifndef SUPERVISOR_TTY_H
#define SUPERVISOR_TTY_H

#include <stdint.h>
#include <sys/types.h>

#include "base/error.h"

#define TTY_GROUP 5 /* the group "tty" of every distribution: may write(1) to it */

/* A connected pair of sockets for the two ends; CLOEXEC. */
int tty_socket(int ret_pair[2], struct error *e) WARN_UNUSED;
/* By init, in the job's root: makes the pair, gives the slave to `owner` and sends both
 * ends. *ret_slave is the caller's. */
int tty_make(int64_t columns, int64_t rows, uid_t owner, int socket_fd, int *ret_slave,
             struct error *e) WARN_UNUSED;
/* By main, which is the leader of a session without a terminal. */
int tty_control(int slave, struct error *e) WARN_UNUSED;
/* By the supervisor, once init has sent. Both are the caller's. */
int tty_take(int socket_fd, int *ret_master, int *ret_slave, struct error *e) WARN_UNUSED;

#endif
