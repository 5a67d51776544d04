/* SPDX-License-Identifier: Apache-2.0 */
/* Deep copies of a http_target. */
#include "client/target_copy.h"

#include "base/mem.h"

enum { TARGET_STRINGS = 9 };

/* The string members, so that copying and releasing cannot disagree. */
static void
members(struct http_target *t, const char **out[TARGET_STRINGS])
{
    size_t i = 0;

    out[i++] = &t->url;
    out[i++] = &t->unix_socket;
    out[i++] = &t->ca_file;
    out[i++] = &t->ca_pem;
    out[i++] = &t->cert_file;
    out[i++] = &t->key_file;
    out[i++] = &t->bearer;
    out[i++] = &t->bearer_file;
    out[i++] = &t->user_agent;
}

void
target_copy_init(struct target_copy *t, const struct http_target *from)
{
    const char **all[TARGET_STRINGS];

    t->view = *from;
    members(&t->view, all);
    for (size_t i = 0; i < TARGET_STRINGS; i++)
        *all[i] = *all[i] == NULL ? NULL : xstrdup(*all[i]);
}

void
target_copy_done(struct target_copy *t)
{
    const char **all[TARGET_STRINGS];

    members(&t->view, all);
    for (size_t i = 0; i < TARGET_STRINGS; i++) {
        union {
            const char *in;
            char *out;
        } u = {.in = *all[i]}; /* owned here; const only for readers */
        free(u.out);
        *all[i] = NULL;
    }
}
