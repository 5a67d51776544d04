/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Two levels are enough: 100 000 objects are some 500 leaves, so the upper array is 4 KB
 * and moving it on a split costs less than a cache miss per level of a deeper tree.
 */
#include "apiserver/store/store_index.h"

#include <stdatomic.h>

#include "base/mem.h"

#define LEAF_SMALL (STORE_LEAF_MAX / 4)

struct store_leaf {
    _Atomic uint32_t refs;
    uint32_t n;
    struct object *items[STORE_LEAF_MAX];
};

/* A place between two objects. Without a name it lies before the whole namespace, or,
 * inclusive, after it; with one, before or after that key. */
struct bound {
    const char *ns, *name;
    bool inclusive;
};

static bool
is_before(const struct object *o, const struct bound *b)
{
    int c = strcmp(o->ns, b->ns);

    if (c != 0)
        return c < 0;
    if (b->name == NULL)
        return b->inclusive;
    c = strcmp(o->name, b->name);
    return c < 0 || (c == 0 && b->inclusive);
}

struct place {
    size_t leaf, pos;
};

/* The first object that is not before the bound. leaf == x->n: none. */
static struct place
find(const struct store_index *x, const struct bound *b)
{
    size_t lo = 0;
    size_t hi = x->n;

    while (lo < hi) {
        size_t mid = lo + (hi - lo) / 2;
        const struct store_leaf *l = x->leaves[mid];
        if (is_before(l->items[l->n - 1], b))
            lo = mid + 1;
        else
            hi = mid;
    }
    struct place p = {lo, 0};
    if (lo == x->n)
        return p;
    const struct store_leaf *l = x->leaves[lo];
    hi = l->n;
    while (p.pos < hi) {
        size_t mid = p.pos + (hi - p.pos) / 2;
        if (is_before(l->items[mid], b))
            p.pos = mid + 1;
        else
            hi = mid;
    }
    return p;
}

static bool
is_at(const struct store_index *x, struct place p, const char *ns, const char *name)
{
    if (p.leaf == x->n)
        return false;
    const struct object *o = x->leaves[p.leaf]->items[p.pos];
    return streq(o->name, name) && streq(o->ns, ns);
}

/* --- leaves --- */

static struct store_leaf *
leaf_new(void)
{
    struct store_leaf *l = xmalloc(sizeof(*l));

    atomic_init(&l->refs, 1);
    l->n = 0;
    return l;
}

static void
leaf_unref(struct store_leaf *l)
{
    if (atomic_fetch_sub_explicit(&l->refs, 1, memory_order_acq_rel) != 1)
        return;
    for (uint32_t i = 0; i < l->n; i++)
        object_unref(l->items[i]);
    free(l);
}

/* Only the owner of the index takes references from it, so a count of one cannot grow
 * behind our back: the leaf may be changed in place. */
static struct store_leaf *
leaf_own(struct store_index *x, size_t i)
{
    struct store_leaf *l = x->leaves[i];

    if (atomic_load_explicit(&l->refs, memory_order_acquire) == 1)
        return l;
    struct store_leaf *copy = leaf_new();
    copy->n = l->n;
    for (uint32_t k = 0; k < l->n; k++)
        copy->items[k] = object_ref(l->items[k]);
    x->leaves[i] = copy;
    leaf_unref(l);
    return copy;
}

static void
leaf_insert(struct store_leaf *l, size_t pos, struct object *o)
{
    memmove(&l->items[pos + 1], &l->items[pos], (l->n - pos) * sizeof(l->items[0]));
    l->items[pos] = o;
    l->n++;
}

static void
insert_leaf_at(struct store_index *x, size_t i, struct store_leaf *l)
{
    if (x->n == x->cap) {
        x->cap = x->cap == 0 ? 8 : x->cap * 2;
        x->leaves = xreallocarray(x->leaves, x->cap, sizeof(x->leaves[0]));
    }
    memmove(&x->leaves[i + 1], &x->leaves[i], (x->n - i) * sizeof(x->leaves[0]));
    x->leaves[i] = l;
    x->n++;
}

static void
remove_leaf_at(struct store_index *x, size_t i)
{
    x->n--;
    memmove(&x->leaves[i], &x->leaves[i + 1], (x->n - i) * sizeof(x->leaves[0]));
}

/* Moves the upper half of leaf i into a new leaf after it. At the right edge nothing is
 * moved: keys that come in order fill their leaves. */
static void
split(struct store_index *x, size_t i, size_t pos)
{
    struct store_leaf *l = leaf_own(x, i);
    struct store_leaf *right = leaf_new();
    bool at_edge = i == x->n - 1 && pos == l->n;
    uint32_t keep = at_edge ? l->n : l->n / 2;

    right->n = l->n - keep;
    memcpy(right->items, &l->items[keep], right->n * sizeof(l->items[0]));
    l->n = keep;
    insert_leaf_at(x, i + 1, right);
}

/* Empties leaf i + 1 into leaf i when both are small. */
static void
merge_right(struct store_index *x, size_t i)
{
    if (i + 1 >= x->n ||
        x->leaves[i]->n + x->leaves[i + 1]->n > STORE_LEAF_MAX - LEAF_SMALL)
        return;
    struct store_leaf *l = leaf_own(x, i);
    struct store_leaf *r = leaf_own(x, i + 1);
    memcpy(&l->items[l->n], r->items, r->n * sizeof(l->items[0]));
    l->n += r->n;
    r->n = 0;
    remove_leaf_at(x, i + 1);
    leaf_unref(r);
}

/* --- index --- */

void
store_index_done(struct store_index *x)
{
    for (size_t i = 0; i < x->n; i++)
        leaf_unref(x->leaves[i]);
    free(x->leaves);
    *x = (struct store_index){0};
}

struct object *
store_index_get(const struct store_index *x, const char *ns, const char *name)
{
    struct place p = find(x, &(struct bound){ns, name, false});

    return is_at(x, p, ns, name) ? x->leaves[p.leaf]->items[p.pos] : NULL;
}

struct object *
store_index_put(struct store_index *x, struct object *o)
{
    struct place p = find(x, &(struct bound){o->ns, o->name, false});

    if (is_at(x, p, o->ns, o->name)) {
        struct store_leaf *l = leaf_own(x, p.leaf);
        struct object *old = l->items[p.pos];
        l->items[p.pos] = object_ref(o);
        return old;
    }
    if (x->n == 0)
        insert_leaf_at(x, 0, leaf_new());
    if (p.leaf == x->n) {
        p.leaf = x->n - 1;
        p.pos = x->leaves[p.leaf]->n;
    }
    if (x->leaves[p.leaf]->n == STORE_LEAF_MAX) {
        split(x, p.leaf, p.pos);
        uint32_t n = x->leaves[p.leaf]->n;
        if (p.pos > n || n == STORE_LEAF_MAX) {
            p.leaf++;
            p.pos -= n;
        }
    }
    leaf_insert(leaf_own(x, p.leaf), p.pos, object_ref(o));
    x->len++;
    return NULL;
}

struct object *
store_index_remove(struct store_index *x, const char *ns, const char *name)
{
    struct place p = find(x, &(struct bound){ns, name, false});

    if (!is_at(x, p, ns, name))
        return NULL;
    struct store_leaf *l = leaf_own(x, p.leaf);
    struct object *old = l->items[p.pos];
    l->n--;
    memmove(&l->items[p.pos], &l->items[p.pos + 1], (l->n - p.pos) * sizeof(l->items[0]));
    x->len--;
    if (l->n == 0) {
        remove_leaf_at(x, p.leaf);
        leaf_unref(l);
    } else if (l->n < LEAF_SMALL) {
        merge_right(x, p.leaf);
        if (p.leaf > 0)
            merge_right(x, p.leaf - 1);
    }
    return old;
}

/* --- ranges --- */

static bool
place_less(struct place a, struct place b)
{
    return a.leaf != b.leaf ? a.leaf < b.leaf : a.pos < b.pos;
}

void
store_range_init(const struct store_index *x, const char *ns, const char *after_ns,
                 const char *after_name, struct store_range *ret)
{
    struct place from = {0, 0};
    struct place to = {x->n, 0};

    if (ns != NULL) {
        from = find(x, &(struct bound){ns, NULL, false});
        to = find(x, &(struct bound){ns, NULL, true});
    }
    if (after_name != NULL) {
        struct place p = find(x, &(struct bound){after_ns, after_name, true});
        if (place_less(from, p))
            from = p;
    }
    *ret = (struct store_range){.pos = from.pos};
    if (!place_less(from, to))
        return;
    size_t end = to.pos == 0 ? to.leaf : to.leaf + 1;
    ret->n_leaves = end - from.leaf;
    ret->leaves = xcalloc(ret->n_leaves, sizeof(ret->leaves[0]));
    for (size_t i = 0; i < ret->n_leaves; i++) {
        struct store_leaf *l = x->leaves[from.leaf + i];
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
        ret->leaves[i] = l;
        ret->left += l->n;
    }
    ret->left -= from.pos;
    if (to.pos != 0)
        ret->left -= x->leaves[to.leaf]->n - to.pos;
}

void
store_range_copy(const struct store_range *r, struct store_range *ret)
{
    *ret = *r;
    if (r->n_leaves == 0)
        return;
    ret->leaves = xcalloc(r->n_leaves, sizeof(ret->leaves[0]));
    for (size_t i = 0; i < r->n_leaves; i++) {
        struct store_leaf *l = r->leaves[i];
        atomic_fetch_add_explicit(&l->refs, 1, memory_order_relaxed);
        ret->leaves[i] = l;
    }
}

static bool
is_past(const struct object *o, const char *ns, const char *name)
{
    int c = strcmp(o->ns, ns);

    return c != 0 ? c > 0 : strcmp(o->name, name) > 0;
}

void
store_range_seek(struct store_range *r, const char *ns, const char *name)
{
    while (r->left > 0) {
        const struct store_leaf *l = r->leaves[r->leaf];
        size_t here = l->n - r->pos;
        if (here >= r->left || is_past(l->items[l->n - 1], ns, name))
            break;
        r->left -= here;
        r->leaf++;
        r->pos = 0;
    }
    while (r->left > 0 && !is_past(r->leaves[r->leaf]->items[r->pos], ns, name))
        (void)store_range_next(r);
}

struct object *
store_range_next(struct store_range *r)
{
    if (r->left == 0)
        return NULL;
    const struct store_leaf *l = r->leaves[r->leaf];
    struct object *o = l->items[r->pos++];
    r->left--;
    if (r->pos == l->n) {
        r->leaf++;
        r->pos = 0;
    }
    return o;
}

void
store_range_done(struct store_range *r)
{
    for (size_t i = 0; i < r->n_leaves; i++)
        leaf_unref(r->leaves[i]);
    free(r->leaves);
    *r = (struct store_range){0};
}
