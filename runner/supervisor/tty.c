/* SPDX-License-Identifier: Apache-2.0 */
/* Terminal pairs; pty(7), ioctl_tty(2), unix(7). */
#include "runner/supervisor/tty.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

#include "base/cleanup.h"

enum { ENDS = 2 };

union ends_control {
    struct cmsghdr head;
    char room[CMSG_SPACE(ENDS * sizeof(int))];
};

int
tty_socket(int ret_pair[2], struct error *e)
{
    if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ret_pair) < 0)
        return error_errno(e, errno, "create a socket for the terminal");
    return 0;
}

static int
send_ends(int socket_fd, int master, int slave, struct error *e)
{
    const int fds[ENDS] = {master, slave};
    union ends_control control = {.head = {0}};
    char byte = 't';
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    control.head.cmsg_level = SOL_SOCKET;
    control.head.cmsg_type = SCM_RIGHTS;
    control.head.cmsg_len = CMSG_LEN(sizeof(fds));
    memcpy(CMSG_DATA(&control.head), fds, sizeof(fds));
    if (sendmsg(socket_fd, &msg, MSG_NOSIGNAL) != 1)
        return error_errno(e, errno, "hand over the terminal");
    return 0;
}

int
tty_make(int64_t columns, int64_t rows, uid_t owner, int socket_fd, int *ret_slave,
         struct error *e)
{
    struct winsize size = {.ws_col = (unsigned short)columns,
                           .ws_row = (unsigned short)rows};
    int unlock = 0;
    autoclose int master = open("/dev/pts/ptmx", O_RDWR | O_NOCTTY | O_CLOEXEC);

    if (master < 0 || ioctl(master, TIOCSPTLCK, &unlock) < 0)
        return error_errno(e, errno, "create a terminal");
    autoclose int slave = ioctl(master, TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC);
    if (slave < 0 || ioctl(slave, TIOCSWINSZ, &size) < 0)
        return error_errno(e, errno, "open the terminal");
    if (fchown(slave, owner, (gid_t)-1) < 0)
        return error_errno(e, errno, "hand over the terminal");
    int rc = send_ends(socket_fd, master, slave, e);
    if (rc == 0)
        *ret_slave = move_fd(slave);
    return rc;
}

int
tty_control(int slave, struct error *e)
{
    if (ioctl(slave, TIOCSCTTY, 0) < 0)
        return error_errno(e, errno, "take the terminal");
    return 0;
}

int
tty_take(int socket_fd, int *ret_master, int *ret_slave, struct error *e)
{
    int fds[ENDS];
    union ends_control control;
    char byte;
    struct iovec iov = {&byte, 1};
    struct msghdr msg = {.msg_iov = &iov,
                         .msg_iovlen = 1,
                         .msg_control = &control,
                         .msg_controllen = sizeof(control)};

    ssize_t n = recvmsg(socket_fd, &msg, MSG_DONTWAIT | MSG_CMSG_CLOEXEC);
    const struct cmsghdr *head = n == 1 ? CMSG_FIRSTHDR(&msg) : NULL;
    if (head == NULL || head->cmsg_type != SCM_RIGHTS ||
        head->cmsg_len != CMSG_LEN(sizeof(fds)))
        return error_set(e, ERR_INTERNAL, "the job's terminal did not arrive");
    memcpy(fds, CMSG_DATA(head), sizeof(fds));
    fcntl(fds[0], F_SETFL, O_NONBLOCK);
    *ret_master = fds[0];
    *ret_slave = fds[1];
    return 0;
}
