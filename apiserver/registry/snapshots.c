/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Lists whose next page has been promised. A snapshot of the store costs references, not
 * copies, so it is simply kept until the page is asked for, for five minutes, the oldest
 * going first when there are too many. A page that is gone is 410 with a token to go on
 * at the latest state.
 */
#include <stdlib.h>

#include "apiserver/registry/server_internal.h"

enum { SNAPSHOTS_MAX = 256, SNAPSHOT_MS = 5 * 60 * 1000 };

struct snapshot {
    TAILQ_ENTRY(snapshot) entry;
    struct store_list *list;
    uint64_t revision;
    char *scope, *position;
    int64_t expires_ms;
};
TAILQ_HEAD(snapshot_list, snapshot);

struct snapshots {
    struct snapshot_list list; /* oldest first */
    size_t n;
};

struct snapshots *
snapshots_new(void)
{
    struct snapshots *s = xnew(struct snapshots);

    TAILQ_INIT(&s->list);
    return s;
}

static struct store_list *
drop(struct snapshots *s, struct snapshot *x)
{
    struct store_list *list = x->list;

    TAILQ_REMOVE(&s->list, x, entry);
    s->n--;
    free(x->scope);
    free(x->position);
    free(x);
    return list;
}

void
snapshots_free(struct snapshots *s)
{
    if (s == NULL)
        return;
    while (!TAILQ_EMPTY(&s->list))
        store_list_free(drop(s, TAILQ_FIRST(&s->list)));
    free(s);
}

void
snapshots_put(struct snapshots *s, struct store_list *l, const char *scope,
              const char *position, int64_t now_ms)
{
    struct snapshot *x = xnew(struct snapshot);

    snapshots_expire(s, now_ms);
    if (s->n == SNAPSHOTS_MAX)
        store_list_free(drop(s, TAILQ_FIRST(&s->list)));
    x->list = l;
    x->revision = store_list_revision(l);
    x->scope = xstrdup(scope);
    x->position = xstrdup(position);
    x->expires_ms = now_ms + SNAPSHOT_MS;
    TAILQ_INSERT_TAIL(&s->list, x, entry);
    s->n++;
}

struct store_list *
snapshots_take(struct snapshots *s, uint64_t revision, const char *scope,
               const char *position)
{
    struct snapshot *x;

    TAILQ_FOREACH (x, &s->list, entry) {
        if (x->revision == revision && streq(x->scope, scope) &&
            streq(x->position, position))
            return drop(s, x);
    }
    return NULL;
}

void
snapshots_expire(struct snapshots *s, int64_t now_ms)
{
    while (!TAILQ_EMPTY(&s->list) && TAILQ_FIRST(&s->list)->expires_ms <= now_ms)
        store_list_free(drop(s, TAILQ_FIRST(&s->list)));
}
