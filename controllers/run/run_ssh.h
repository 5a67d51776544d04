/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The key pair by which the nodes of a Run reach each other. Ed25519, the private key in
 * OpenSSH's own format (PROTOCOL.key of OpenSSH: "openssh-key-v1", no passphrase). Pure
 * but for the random bytes.
 */
#ifndef CONTROLLERS_RUN_SSH_H
#define CONTROLLERS_RUN_SSH_H

#include "api/object.h"

/* private_text: the file id_ed25519; public_text: a line of authorized_keys without its
 * end. Appended. The caller wipes. */
void ssh_key_make(const char *comment, struct str *private_text, struct str *public_text);
/* The Secret with private-key and public-key, owned by the Run; the caller decrefs. */
json_t *run_ssh_secret(const struct object *run, const char *name);
bool object_owned_by(const struct object *o, const char *uid);

#endif
