/* SPDX-License-Identifier: Apache-2.0 */
/* How new a view a read needs, and what is said when it does not come in time. */
#include <inttypes.h>

#include "apiserver/registry/server_internal.h"

enum { REACH_MS = 3000 };

bool
read_ready(struct api_server *s, const struct list_options *o, store_done_fn *done,
           void *arg)
{
    if (o->cont != NULL && *o->cont != '\0')
        return true; /* at the revision of its first page */
    if (!o->rv_given)
        return store_sync(s->store, done, arg);
    return o->rv == 0 || store_reach(s->store, o->rv, REACH_MS, done, arg);
}

void
read_problem(const struct api_server *s, const struct list_options *o,
             const struct error *e, struct problem *p)
{
    p->e = *e;
    p->form = PROBLEM_PLAIN;
    if (!o->rv_given || e->code != ERR_TIMEOUT)
        return;
    problem_set(p, ERR_TIMEOUT,
                "Timeout: Too large resource version: %" PRIu64 ", current: %" PRIu64,
                o->rv, store_revision(s->store));
    p->e.retry_after_ms = 1000;
    p->cause_reason = "ResourceVersionTooLarge";
    p->cause_message = "Too large resource version";
}
