/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ${{ name }} in a text; $${{ stands for ${{ itself. Unlike in dstack a $ that no {{
 * follows is left alone, so that $$ keeps its meaning for a shell. Pure.
 */
#ifndef API_INTERPOLATE_H
#define API_INTERPOLATE_H

#include "base/error.h"
#include "base/str.h"

/* Appends the value of name (trimmed, not NUL-terminated), or says why there is none. */
typedef int interpolate_fn(void *arg, struct span name, struct str *out, struct error *e);

bool interpolate_needed(const char *text);
/* ERR_INVALID for a ${{ that is not closed, and whatever value() says. */
int interpolate(const char *text, interpolate_fn *value, void *arg, struct str *out,
                struct error *e) WARN_UNUSED;

/* As above for what is known here only: the value is appended and 1 returned, or 0, and
 * the text stays as it was written for who comes later, $${{ included. */
typedef int interpolate_some_fn(void *arg, struct span name, struct str *out,
                                struct error *e);
int interpolate_some(const char *text, interpolate_some_fn *value, void *arg,
                     struct str *out, struct error *e) WARN_UNUSED;
/* "ns.name" with a name of letters, digits, - and _. */
bool interpolate_member(struct span name, const char *ns, struct span *ret_member);

/* "groups[<i>].nodes[<j>].IP_ADDRESS"; false: something else. */
bool interpolate_node(struct span name, int64_t *ret_group, int64_t *ret_node);

#endif
