/* SPDX-License-Identifier: Apache-2.0 */
/* Which informer has it. */
#include "control/lister.h"

struct informer *
lister_informer(const struct lister *l, const struct resource *r)
{
    for (size_t i = 0; i < l->n; i++) {
        const struct resource *have = informer_resource(l->informers[i]);
        if (have == r || (streq(have->plural, r->plural) && streq(have->group, r->group)))
            return l->informers[i];
    }
    return NULL;
}

static struct informer *
must_have(const struct lister *l, const struct resource *r)
{
    struct informer *inf = lister_informer(l, r);

    bug_if(inf == NULL);
    return inf;
}

struct object *
lister_find(const struct lister *l, const struct resource *r, const char *ns,
            const char *name)
{
    return informer_find(must_have(l, r), ns, name);
}

struct object *
lister_find_uid(const struct lister *l, const struct resource *r, const char *uid)
{
    return informer_find_uid(must_have(l, r), uid);
}

void
lister_index(const struct lister *l, const struct resource *r, const char *index,
             const char *key, struct object_list *ret)
{
    informer_index(must_have(l, r), index, key, ret);
}
