/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Snapshots of lists that go on: a page may be asked for again, and a list at exactly
 * this revision too. A snapshot of the store costs references, not copies, so it is
 * simply kept for five minutes after it was last used (half a minute once the last page
 * went out), the longest unused going first when there are too many. What is gone is 410
 * with a token to go on at the latest state.
 */
#include <stdlib.h>

#include "apiserver/registry/server_internal.h"

enum {
    SNAPSHOTS_MAX = 256,
    SNAPSHOT_MS = 5 * 60 * 1000,
    SNAPSHOT_DONE_MS = 30 * 1000,
};

struct snapshot {
    TAILQ_ENTRY(snapshot) entry;
    struct store_list *list; /* at its beginning */
    char *scope;
    int64_t expires_ms;
};
TAILQ_HEAD(snapshot_list, snapshot);

struct snapshots {
    struct snapshot_list list; /* longest unused first */
    size_t n;
};

struct snapshots *
snapshots_new(void)
{
    struct snapshots *s = xnew(struct snapshots);

    TAILQ_INIT(&s->list);
    return s;
}

static void
drop(struct snapshots *s, struct snapshot *x)
{
    TAILQ_REMOVE(&s->list, x, entry);
    s->n--;
    store_list_free(x->list);
    free(x->scope);
    free(x);
}

void
snapshots_free(struct snapshots *s)
{
    if (s == NULL)
        return;
    while (!TAILQ_EMPTY(&s->list))
        drop(s, TAILQ_FIRST(&s->list));
    free(s);
}

static void
expire(struct snapshots *s, int64_t now_ms)
{
    struct snapshot *x, *next;

    for (x = TAILQ_FIRST(&s->list); x != NULL; x = next) {
        next = TAILQ_NEXT(x, entry);
        if (x->expires_ms <= now_ms)
            drop(s, x);
    }
}

static struct snapshot *
find(const struct snapshots *s, uint64_t revision, const char *scope)
{
    struct snapshot *x;

    TAILQ_FOREACH (x, &s->list, entry) {
        if (store_list_revision(x->list) == revision && streq(x->scope, scope))
            return x;
    }
    return NULL;
}

void
snapshots_keep(struct snapshots *s, const struct store_list *l, const char *scope,
               bool done, int64_t now_ms)
{
    struct snapshot *x = find(s, store_list_revision(l), scope);

    if (x != NULL) {
        TAILQ_REMOVE(&s->list, x, entry);
    } else if (done) {
        return;
    } else {
        expire(s, now_ms);
        if (s->n == SNAPSHOTS_MAX)
            drop(s, TAILQ_FIRST(&s->list));
        x = xnew(struct snapshot);
        x->list = store_list_copy(l);
        x->scope = xstrdup(scope);
        s->n++;
    }
    x->expires_ms = now_ms + (done ? SNAPSHOT_DONE_MS : SNAPSHOT_MS);
    TAILQ_INSERT_TAIL(&s->list, x, entry);
}

struct store_list *
snapshots_find(struct snapshots *s, uint64_t revision, const char *scope, int64_t now_ms)
{
    expire(s, now_ms);
    const struct snapshot *x = find(s, revision, scope);

    return x == NULL ? NULL : store_list_copy(x->list);
}
