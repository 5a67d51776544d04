/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What only the submitter of a Run knows, put into it before it is sent: values of the
 * caller's environment, -e options, arguments after --. Secret values leave the Run: they
 * go into Secrets that belong to it, and the Run names these.
 */
#ifndef CLI_VALUES_H
#define CLI_VALUES_H

#include "cli/manifest.h"

struct run_values {
    json_t *env;      /* {NAME: "value" or null: the caller's}; from -e */
    char *args;       /* quoted for a shell; NULL: none were given */
    json_t *settings; /* spec fields said on the command line, or NULL */
};
void run_values_done(struct run_values *v);
/* "NAME" or "NAME=value". */
int run_values_env(struct run_values *v, const char *text, struct error *e) WARN_UNUSED;
/* Words behind --. */
void run_values_args(struct run_values *v, char *const *words, int n);

/* Secrets that a Run owns, beside it: data is {KEY: "value"}, NULL: not needed. */
struct run_secrets {
    json_t *env, *registry;
};
void run_secrets_done(struct run_secrets *s);

/* Fills m->object in, which must have its name. Problems are printed and counted; objects
 * that are no Run are left alone. Values of other Secrets that are part of a longer text
 * are read from the server, with the caller's rights. */
size_t run_values_fill(struct session *s, const struct manifest *m,
                       const struct run_values *v, struct run_secrets *ret);

/* Makes the Secrets <run>-env and <run>-registry. owner_uid NULL: before the Run is
 * there; then they belong to nobody yet. */
int run_secrets_write(struct session *s, const char *ns, const char *run,
                      const struct run_secrets *secrets, const char *owner_uid, bool dry,
                      struct error *e) WARN_UNUSED;

#endif
