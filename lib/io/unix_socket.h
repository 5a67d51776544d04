/* SPDX-License-Identifier: Apache-2.0 */
/* Connecting to a unix socket. From any thread. */
#ifndef IO_UNIX_SOCKET_H
#define IO_UNIX_SOCKET_H

/* A connected stream socket, closed on exec; flags: 0 or SOCK_NONBLOCK. Else -errno:
 * -ENAMETOOLONG when the path does not fit an address. */
int unix_connect(const char *path, int flags);

#endif
