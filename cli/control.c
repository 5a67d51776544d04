/* SPDX-License-Identifier: Apache-2.0 */
/* One command to the control socket. */
#include "cli/control.h"

#include <stdlib.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "io/unix_socket.h"

int
control_ask(const char *dir, const char *command, struct str *out, struct error *e)
{
    autofree char *path = fs_join(dir, "run/apiserver.ctl");
    autoclose int fd = unix_connect(path, 0);
    char buf[4096];
    ssize_t n;

    if (fd == -ENAMETOOLONG)
        return error_set(e, ERR_BAD_REQUEST, "%s: the path is too long for a socket",
                         path);
    if (fd < 0)
        return error_set(e, ERR_UNAVAILABLE, "no server runs on %s (%s: %s)", dir, path,
                         strerrorname_np(-fd));
    autofree char *line = xasprintf("%s\n", command);
    if (fs_write_all(fd, line, strlen(line), e) < 0)
        return -(int)e->code;
    while ((n = read(fd, buf, sizeof(buf))) > 0)
        str_add(out, buf, (size_t)n);
    if (n < 0)
        return error_errno(e, errno, "read the answer");
    if (str_starts(out->ptr, "error: ")) {
        out->ptr[strcspn(out->ptr, "\n")] = '\0';
        return error_set(e, ERR_UNSUPPORTED, "%s", out->ptr + strlen("error: "));
    }
    return 0;
}
