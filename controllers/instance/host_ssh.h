/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A host task over OpenSSH: one ssh child, with its key and known hosts in files of a
 * directory that is removed afterwards. Configuration and agent of whoever runs us play
 * no part. The first key that a host shows is taken and handed back; with a key given,
 * only that one is. Blocking; any thread.
 */
#ifndef CONTROLLERS_HOST_SSH_H
#define CONTROLLERS_HOST_SSH_H

#include "controllers/instance/host_task.h"

/* dir: where the directory is made (0700). cancel_fd: readable = give up. */
void host_ssh_run(const char *dir, const struct host_task *t, int cancel_fd,
                  struct host_result *ret);

#endif
