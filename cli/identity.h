/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Private keys of an SSH fleet before it is applied: each identityFile of spec.ssh is
 * read here and becomes an identity that names a Secret of the fleet. Another key is
 * another Secret, so that a change of the file is a change of the spec.
 */
#ifndef CLI_IDENTITY_H
#define CLI_IDENTITY_H

#include "cli/manifest.h"
#include "cli/session.h"

struct fleet_keys {
    json_t *secrets; /* name -> PEM; NULL: none */
};
void fleet_keys_done(struct fleet_keys *k); /* wipes */

/* Replaces them in m->object. Problems are printed, with file and line, and counted.
 * Objects that are no Fleet are left alone. */
size_t fleet_keys_fill(const struct manifest *m, struct fleet_keys *ret);
/* Writes the Secrets; owned by the fleet once it has a uid (NULL: not yet). */
int fleet_keys_write(struct session *s, const char *ns, const char *fleet,
                     const struct fleet_keys *k, const char *owner_uid, bool dry,
                     struct error *e) WARN_UNUSED;

#endif
