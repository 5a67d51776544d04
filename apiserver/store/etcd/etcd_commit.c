/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A commit is one transaction: if no key has moved from the expected revision,
 * and the fence of its slot has not, put and delete, put the fence, and put
 * "last" with our number. So it is made once, however many copies of it arrive.
 *
 *     queued -> flying -> applied (etcd said so, or the watch brought our
 * number) |          `-> done when the local view has it
 *                 |-> refused, or the keys moved: done when the view has what
 * won
 *                 `-> unknown: no answer. The fence is put: a transaction that
 * is still on its way now fails. When the watch has come to where the fence
 *                     moved, and it was not by our number, it was not made and
 * never will be: it is tried again, or fails as such. Only if etcd stays silent
 *                     until the deadline it ends as "not known".
 *
 * Commits of one key go one after the other: the next is checked against what
 * the one before made of it, and does not travel to learn that it is too late.
 */
#include <inttypes.h>
#include <stdlib.h>

#include "apiserver/store/etcd/etcd.h"
#include "apiserver/store/store_seal.h"
#include "base/clock.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(etcd);

enum {
    QUEUE_MAX = 10000,
    SCAN_MAX = 256,
    CHANGES_MAX = ETCD_TXN_OPS_MAX - 2, /* the fence and "last" */
    REPLY_MAX = 1 << 20,
    /* A commit that etcd has made but that the watch does not bring. */
    VISIBLE_MS = 5000,
};

enum state { QUEUED, FLYING, APPLIED, LOST };

struct change {
    enum store_op_type type;
    uint64_t expect;
    char *resource, *ns, *name, *key;
    struct object *obj;
};

struct etcd_commit {
    TAILQ_ENTRY(etcd_commit) entry;
    struct store_etcd *x;
    enum state state;
    bool unknown;    /* sent, and no answer came */
    bool in_gap;     /* the watch may have missed it */
    uint64_t number; /* of its transaction */
    struct etcd_slot *slot;
    uint64_t fence;    /* its condition: where the slot's fence is */
    uint64_t revision; /* APPLIED: its own; LOST: of what won, to be visible first */
    int64_t deadline_ms;
    struct error why; /* LOST */
    struct etcd_call *call;
    store_done_fn *done;
    void *arg;
    size_t n;
    struct change changes[];
};

static void
commit_free(struct etcd_commit *c)
{
    for (size_t i = 0; i < c->n; i++) {
        struct change *ch = &c->changes[i];
        object_unref(ch->obj);
        free(ch->resource);
        free(ch->ns);
        free(ch->name);
        free(ch->key);
    }
    free(c);
}

static void
leave_list(struct etcd_commit *c)
{
    struct store_etcd *x = c->x;

    switch (c->state) {
    case QUEUED:
        TAILQ_REMOVE(&x->queue, c, entry);
        x->n_queued--;
        break;
    case FLYING:
        TAILQ_REMOVE(&x->flying, c, entry);
        x->n_flying--;
        break;
    case APPLIED:
    case LOST:
        TAILQ_REMOVE(&x->applied, c, entry);
        break;
    }
}

static void
free_slot(struct etcd_commit *c)
{
    if (c->slot != NULL)
        c->slot->commit = NULL;
    c->slot = NULL;
}

static void
free_keys(struct etcd_commit *c)
{
    for (size_t i = 0; i < c->n; i++)
        map_del(c->x->busy, c->changes[i].key);
}

/* The completion comes with the other callbacks of the store, in a later turn.
 */
static void
finish(struct etcd_commit *c, uint64_t revision, const struct error *e)
{
    struct store *s = c->x->s;

    leave_list(c);
    if (c->state != QUEUED)
        free_keys(c);
    free_slot(c);
    etcd_call_cancel(c->call);
    store_finish_later(s, c->done, c->arg, revision, e);
    store_kick(s);
    commit_free(c);
}

static void
finish_failed(struct etcd_commit *c)
{
    struct store_etcd *x = c->x;
    struct error e = ERROR_INIT;
    bool unknown = c->unknown || c->state == FLYING;

    error_set(&e, unknown ? ERR_TIMEOUT : ERR_UNAVAILABLE,
              unknown ? "etcd did not answer in time; it is not known whether the change "
                        "was made (%s)"
                      : "etcd did not take the change; it was not made (%s)",
              x->last_failure.code == ERR_OK ? "no reply" : x->last_failure.msg);
    e.retry_after_ms = 1000;
    finish(c, 0, &e);
}

/* --- checks --- */

static size_t
value_size(const struct store *s, const struct store_op *op)
{
    if (op->type != STORE_PUT)
        return 0;
    if (!store_seal_wants(s->opts.seal, op->key.resource))
        return op->obj->len;
    return store_seal_size((struct span){op->obj->bytes, op->obj->len});
}

static int
check_ops(const struct store *s, const struct store_op *ops, size_t n, struct error *e)
{
    size_t bytes = 0;

    if (n == 0 || n > CHANGES_MAX)
        return error_set(e, n == 0 ? ERR_BAD_REQUEST : ERR_TOO_LARGE,
                         "%zu operations in one commit; with etcd 1 to %d", n,
                         CHANGES_MAX);
    for (size_t i = 0; i < n; i++) {
        const struct store_op *op = &ops[i];
        const struct store_key *k = &op->key;
        if (strlen(k->resource) >= 500 || strlen(k->ns) >= 256 || strlen(k->name) >= 512)
            return error_set(e, ERR_INVALID, "the name is too long");
        if (strchr(k->name, '/') != NULL || strchr(k->ns, '/') != NULL ||
            *k->name == '\0')
            return error_set(e, ERR_INVALID, "a name may have no '/'");
        bytes += value_size(s, op);
        for (size_t j = 0; j < i; j++) {
            if (streq(ops[j].key.name, k->name) && streq(ops[j].key.ns, k->ns) &&
                streq(ops[j].key.resource, k->resource))
                return error_set(e, ERR_BAD_REQUEST, "%s \"%s\" twice in one commit",
                                 k->resource, k->name);
        }
        int rc = store_check_expect(k, op->type, op->expect, store_get(s, k), e);
        if (rc < 0)
            return rc;
    }
    /* Keys and framing come on top, but are small against what is left over. */
    if (bytes > ETCD_REQUEST_MAX - 16384)
        return error_set(e, ERR_TOO_LARGE,
                         "%zu bytes in one commit; etcd takes %u in a request", bytes,
                         ETCD_REQUEST_MAX);
    return 0;
}

/* Whether the view still has what the commit expects. */
static bool
still_expected(const struct etcd_commit *c, struct error *e)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct change *ch = &c->changes[i];
        struct store_key k = {ch->resource, ch->ns, ch->name};
        const struct object *have = store_get(c->x->s, &k);
        if (store_check_expect(&k, ch->type, ch->expect, have, e) < 0)
            return false;
    }
    return true;
}

/* --- the transaction --- */

static void
write_value(const struct keyring *seal, struct str *out, const struct change *ch)
{
    auto_str sealed = STR_INIT(2 * OBJECT_MAX_BYTES);

    if (!store_seal_wants(seal, ch->resource)) {
        etcd_put_bytes(out, "value", ch->obj->bytes, ch->obj->len);
        return;
    }
    store_seal(seal, (struct span){ch->obj->bytes, ch->obj->len}, &sealed);
    etcd_put_bytes(out, "value", sealed.ptr, sealed.len);
}

static void
write_change(const struct keyring *seal, struct str *out, const struct change *ch)
{
    jput_item(out);
    if (ch->type == STORE_DELETE) {
        str_adds(out, "{\"request_delete_range\":{");
        etcd_put_bytes(out, "key", ch->key, strlen(ch->key));
    } else {
        str_adds(out, "{\"request_put\":{");
        etcd_put_bytes(out, "key", ch->key, strlen(ch->key));
        write_value(seal, out, ch);
    }
    str_adds(out, "}}");
}

/* Its value says since when it is there, for forget_old_fence. */
static void
write_fence(struct str *out, const char *key)
{
    char now[32];

    snprintf(now, sizeof(now), "%lld", (long long)(clock_wall_ns() / 1000000000));
    etcd_put_bytes(out, "key", key, strlen(key));
    etcd_put_bytes(out, "value", now, strlen(now));
}

static void
write_probe(struct str *out, const char *key)
{
    struct etcd_range_req r = {.key = span_of(key), .keys_only = true};

    jput_item(out);
    str_adds(out, "{\"request_range\":");
    etcd_write_range(out, &r);
    str_addc(out, '}');
}

static void
write_txn(const struct etcd_commit *c, struct str *out)
{
    const struct store_etcd *x = c->x;
    const char *fence = c->slot->key;
    char last[64];

    snprintf(last, sizeof(last), "%s.%" PRIu64 ".%zu", x->id, c->number, c->n);
    str_adds(out, "{\"compare\":[");
    etcd_write_compare(out, span_of(fence), c->fence);
    for (size_t i = 0; i < c->n; i++)
        etcd_write_compare(out, span_of(c->changes[i].key), c->changes[i].expect);
    str_adds(out, "],\"success\":[{\"request_put\":{");
    etcd_put_bytes(out, "key", x->last_key, strlen(x->last_key));
    etcd_put_bytes(out, "value", last, strlen(last));
    str_adds(out, "}}");
    str_adds(out, ",{\"request_put\":{");
    write_fence(out, fence);
    str_adds(out, "}}");
    for (size_t i = 0; i < c->n; i++)
        write_change(x->s->opts.seal, out, &c->changes[i]);
    str_adds(out, "],\"failure\":[");
    write_probe(out, fence);
    write_probe(out, x->last_key);
    for (size_t i = 0; i < c->n; i++)
        write_probe(out, c->changes[i].key);
    str_adds(out, "]}");
}

/* --- the fence --- */

static void
on_fence(void *arg, enum etcd_outcome outcome, struct span reply, const struct error *e)
{
    struct etcd_slot *slot = arg;
    struct store_etcd *x = slot->x;
    struct etcd_range range = {0}; /* of a put's reply only the header is looked at */
    struct error bad = ERROR_INIT;

    slot->fencing = false;
    if (outcome != ETCD_OK) {
        log_warn_rl("cannot put a fence in etcd", "error=\"%s\"", e->msg);
        return; /* tried again by the tick */
    }
    if (etcd_read_range(reply, &range, &bad) < 0)
        return;
    if (etcd_check_header(x, &range.header)) {
        slot->put = range.header.revision;
        etcd_watch_want(x, slot->put);
    }
    etcd_range_done(&range);
}

/* The watch brings it: etcd_commit_fenced. */
static void
put_fence(struct etcd_slot *slot)
{
    struct store_etcd *x = slot->x;
    struct str body = STR_INIT(64 << 10);

    if (slot->fencing)
        return;
    slot->fencing = true;
    str_addc(&body, '{');
    write_fence(&body, slot->key);
    str_addc(&body, '}');
    etcd_call(x, "/v3/kv/put", &body, true, REPLY_MAX,
              loop_now_ms(x->s->loop) + x->opts.deadline_ms, on_fence, slot);
}

void
etcd_commit_init(struct store_etcd *x)
{
    for (unsigned i = 0; i < ETCD_SLOTS; i++) {
        x->slots[i].x = x;
        x->slots[i].key = xasprintf("%s%u", x->fence_prefix, i);
    }
}

int
etcd_slot_of(const struct store_etcd *x, const char *key)
{
    size_t n = strlen(x->fence_prefix);
    char *end;

    if (strncmp(key, x->fence_prefix, n) != 0 || key[n] < '0' || key[n] > '9')
        return -1;
    unsigned long slot = strtoul(key + n, &end, 10);
    return *end == '\0' && slot < ETCD_SLOTS ? (int)slot : -1;
}

/* --- what became of it --- */

static void
to_applied(struct etcd_commit *c, enum state state, uint64_t revision)
{
    struct store_etcd *x = c->x;

    leave_list(c);
    if (state == APPLIED && c->slot != NULL && c->slot->mod < revision)
        c->slot->mod = revision;
    free_slot(c);
    c->state = state;
    c->revision = revision;
    c->unknown = false;
    etcd_call_cancel(c->call);
    c->call = NULL;
    TAILQ_INSERT_TAIL(&x->applied, c, entry);
    c->deadline_ms = loop_now_ms(x->s->loop) + VISIBLE_MS;
    etcd_watch_want(x, revision);
}

/* It was not made: once more from the front of the queue. */
static void
requeue(struct etcd_commit *c)
{
    struct store_etcd *x = c->x;

    leave_list(c);
    free_keys(c);
    free_slot(c);
    etcd_call_cancel(c->call);
    c->call = NULL;
    c->state = QUEUED;
    c->unknown = false;
    TAILQ_INSERT_HEAD(&x->queue, c, entry);
    x->n_queued++;
}

static void
became_unknown(struct etcd_commit *c)
{
    struct store_etcd *x = c->x;

    x->unknown_outcomes++;
    c->unknown = true;
    if (c->in_gap)
        finish_failed(c);
    else if (c->fence < c->slot->mod)
        requeue(c); /* ended by a fence that has been seen */
    else
        put_fence(c->slot);
}

/* The conditions did not hold. mods: the fence, "last", then each key. */
static void
was_refused(struct etcd_commit *c, const struct etcd_txn *t)
{
    struct store_etcd *x = c->x;

    if (t->mods.len != c->n + 2) {
        became_unknown(c); /* no reply of ours */
        return;
    }
    if (t->mods.items[0] != c->fence) { /* by a copy of this one, or by a fence */
        if (t->mods.items[0] == 0)
            put_fence(c->slot); /* somebody removed it */
        etcd_watch_want(x, t->mods.items[0]);
        c->unknown = true; /* the watch has it, or will bring it */
        if (c->fence < c->slot->mod)
            requeue(c);
        return;
    }
    error_set(&c->why, ERR_CONFLICT, "the object has been modified");
    for (size_t i = 0; i < c->n; i++) {
        const struct change *ch = &c->changes[i];
        uint64_t have = t->mods.items[i + 2];
        if (have == ch->expect)
            continue;
        if (have == 0)
            error_set(&c->why, ERR_NOT_FOUND, "%s \"%s\" not found", ch->resource,
                      ch->name);
        else if (ch->expect == 0)
            error_set(&c->why, ERR_EXISTS, "%s \"%s\" already exists", ch->resource,
                      ch->name);
        else
            error_set(&c->why, ERR_CONFLICT,
                      "%s \"%s\": the object has been modified; it is at revision "
                      "%" PRIu64 ", not %" PRIu64,
                      ch->resource, ch->name, have, ch->expect);
        break;
    }
    x->lost_races++;
    to_applied(c, LOST, t->mods.items[1]);
    etcd_commit_visible(x);
}

static void
on_txn(void *arg, enum etcd_outcome outcome, struct span reply, const struct error *e)
{
    struct etcd_commit *c = arg;
    struct store_etcd *x = c->x;
    struct etcd_txn t = {0};
    struct error bad = ERROR_INIT;

    c->call = NULL;
    if (outcome == ETCD_OK && etcd_read_txn(reply, &t, &bad) < 0) {
        x->last_failure = bad;
        outcome = ETCD_UNKNOWN;
    }
    if (outcome == ETCD_OK) {
        if (!etcd_check_header(x, &t.header)) {
            became_unknown(c);
        } else if (t.succeeded) {
            to_applied(c, APPLIED, t.header.revision);
            etcd_commit_visible(x);
        } else {
            was_refused(c, &t);
        }
        etcd_txn_done(&t);
    } else if (outcome == ETCD_UNKNOWN) {
        became_unknown(c);
    } else if (outcome == ETCD_REFUSED) {
        finish(c, 0, e);
    } else {
        requeue(c); /* past its deadline: the tick ends it */
    }
    etcd_commit_pump(x);
}

/* --- sending --- */

static bool
keys_free(const struct etcd_commit *c)
{
    for (size_t i = 0; i < c->n; i++) {
        if (map_get(c->x->busy, c->changes[i].key) != NULL)
            return false;
    }
    return true;
}

static struct etcd_slot *
free_slot_of(struct store_etcd *x)
{
    for (size_t i = 0; i < ETCD_SLOTS; i++) {
        if (x->slots[i].commit == NULL && !x->slots[i].fencing)
            return &x->slots[i];
    }
    return NULL;
}

static void
fly(struct etcd_commit *c, struct etcd_slot *slot)
{
    struct store_etcd *x = c->x;
    struct str body = STR_INIT(4 * ETCD_REQUEST_MAX + ETCD_TXN_OPS_MAX * 16384);

    leave_list(c);
    c->state = FLYING;
    TAILQ_INSERT_TAIL(&x->flying, c, entry);
    x->n_flying++;
    for (size_t i = 0; i < c->n; i++)
        map_put(x->busy, c->changes[i].key, c);
    c->number = ++x->number;
    c->in_gap = false;
    c->slot = slot;
    slot->commit = c;
    c->fence = slot->mod;
    write_txn(c, &body);
    c->call =
        etcd_call(x, "/v3/kv/txn", &body, false, REPLY_MAX, c->deadline_ms, on_txn, c);
}

void
etcd_commit_pump(struct store_etcd *x)
{
    int64_t now = loop_now_ms(x->s->loop);
    struct etcd_commit *c = TAILQ_FIRST(&x->queue);
    struct etcd_commit *next;
    struct etcd_slot *slot;

    if (x->load != NULL)
        return;
    for (size_t n = 0; c != NULL && n < SCAN_MAX; n++) {
        struct error e = ERROR_INIT;
        next = TAILQ_NEXT(c, entry);
        if (keys_free(c)) {
            if (!still_expected(c, &e))
                finish(c, 0, &e);
            else if ((slot = free_slot_of(x)) == NULL)
                return;
            else if (now < c->deadline_ms)
                fly(c, slot);
        }
        c = next;
    }
}

int
etcd_commit(struct store *s, const struct store_op *ops, size_t n,
            enum store_durability durability, store_done_fn *done, void *arg,
            uint64_t *ret_revision, struct error *e)
{
    struct store_etcd *x = s->etcd;
    int rc = check_ops(s, ops, n, e);

    UNUSED(durability); /* all must be seen by the other servers */
    if (rc < 0)
        return rc;
    if (x->n_queued >= QUEUE_MAX) {
        error_set(e, ERR_UNAVAILABLE, "etcd is too slow: %d commits wait for it",
                  QUEUE_MAX);
        e->retry_after_ms = 1000;
        return -ERR_UNAVAILABLE;
    }
    struct etcd_commit *c = xcalloc(1, sizeof(*c) + n * sizeof(c->changes[0]));
    c->x = x;
    c->n = n;
    c->done = done;
    c->arg = arg;
    c->deadline_ms = loop_now_ms(s->loop) + x->opts.deadline_ms;
    for (size_t i = 0; i < n; i++) {
        const struct store_op *op = &ops[i];
        struct str key = STR_INIT(ETCD_KEY_MAX);
        etcd_key_write(&key, x->prefix, op->key.resource, op->key.ns, op->key.name);
        c->changes[i] =
            (struct change){.type = op->type,
                            .expect = op->expect,
                            .resource = xstrdup(op->key.resource),
                            .ns = xstrdup(op->key.ns),
                            .name = xstrdup(op->key.name),
                            .key = str_detach(&key),
                            .obj = op->type == STORE_PUT ? object_ref(op->obj) : NULL};
    }
    TAILQ_INSERT_TAIL(&x->queue, c, entry);
    x->n_queued++;
    etcd_commit_pump(x);
    if (ret_revision != NULL)
        *ret_revision = 0;
    return 0;
}

/* --- from the watch --- */

static struct etcd_commit *
find_in(const struct etcd_commits *list, uint64_t number)
{
    struct etcd_commit *c;

    TAILQ_FOREACH (c, list, entry) {
        if (c->number == number)
            return c;
    }
    return NULL;
}

struct etcd_commit *
etcd_commit_find(struct store_etcd *x, uint64_t number)
{
    struct etcd_commit *c = find_in(&x->flying, number);

    return c != NULL ? c : find_in(&x->applied, number);
}

struct object *
etcd_commit_object(const struct etcd_commit *c, const char *resource, const char *ns,
                   const char *name)
{
    for (size_t i = 0; i < c->n; i++) {
        const struct change *ch = &c->changes[i];
        if (streq(ch->name, name) && streq(ch->ns, ns) && streq(ch->resource, resource))
            return ch->obj;
    }
    return NULL;
}

void
etcd_commit_seen(struct store_etcd *x, struct etcd_commit *c, uint64_t revision)
{
    UNUSED(x);
    if (c->state == APPLIED) {
        c->revision = revision;
        return;
    }
    to_applied(c, APPLIED, revision);
}

void
etcd_commit_visible(struct store_etcd *x)
{
    struct etcd_commit *c;
    struct etcd_commit *next;
    bool any = false;

    for (c = TAILQ_FIRST(&x->applied); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        if (c->revision > x->s->visible)
            continue;
        any = true;
        finish(c, c->state == APPLIED ? c->revision : 0,
               c->state == APPLIED ? NULL : &c->why);
    }
    if (any)
        etcd_commit_pump(x);
}

void
etcd_commit_fenced(struct store_etcd *x, int slot, uint64_t revision)
{
    struct etcd_slot *of = &x->slots[slot];
    struct etcd_commit *c = of->commit;

    if (revision > of->mod)
        of->mod = revision;
    if (c != NULL && c->unknown && c->fence < of->mod) {
        requeue(c);
        etcd_commit_pump(x);
    }
}

void
etcd_commit_gap(struct store_etcd *x)
{
    struct etcd_commit *c;
    struct etcd_commit *next;

    for (c = TAILQ_FIRST(&x->flying); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        c->in_gap = true;
        if (c->unknown)
            finish_failed(c);
    }
    /* What was refused may have been refused for a copy of it that went before.
     */
    for (c = TAILQ_FIRST(&x->applied); c != NULL; c = next) {
        next = TAILQ_NEXT(c, entry);
        if (c->state == LOST) {
            c->unknown = true;
            finish_failed(c);
        }
    }
}

/* --- time --- */

void
etcd_commit_tick(struct store_etcd *x, int64_t now_ms)
{
    struct etcd_commits *lists[] = {&x->queue, &x->flying, &x->applied};
    struct etcd_commit *c;
    struct etcd_commit *next;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        for (c = TAILQ_FIRST(lists[i]); c != NULL; c = next) {
            next = TAILQ_NEXT(c, entry);
            if (c->unknown && c->slot != NULL && c->fence >= c->slot->put)
                put_fence(c->slot);
            if (c->deadline_ms > now_ms)
                continue;
            if (c->state == APPLIED)
                finish(c, c->revision, NULL); /* it is made, whoever may not see it yet */
            else if (c->state == LOST)
                finish(c, 0, &c->why);
            else
                finish_failed(c);
        }
    }
    etcd_commit_pump(x);
}

void
etcd_commit_stop(struct store_etcd *x)
{
    struct etcd_commits *lists[] = {&x->applied, &x->flying, &x->queue};
    struct etcd_commit *c;

    for (size_t i = 0; i < ARRAY_LEN(lists); i++) {
        while ((c = TAILQ_FIRST(lists[i])) != NULL) {
            if (c->state == APPLIED)
                finish(c, c->revision, NULL);
            else if (c->state == LOST)
                finish(c, 0, &c->why);
            else
                finish_failed(c);
        }
    }
}
