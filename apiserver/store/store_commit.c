/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The way of a commit: checked against what is there including what still waits (the
 * overlay), given a revision, collected, handed to the writer in a batch, made visible
 * when its batch is durable, completed.
 *
 * Revisions become visible in order, without exception. A commit that must not wait for
 * the disk takes one of the revisions that are left free below the oldest commit that
 * does wait (STORE_REVISION_GAP).
 */
#include <inttypes.h>

#include "apiserver/store/store_internal.h"
#include "apiserver/store/store_seal.h"
#include "apiserver/store/store_writer.h"
#include "base/log.h"
#include "base/mem.h"

LOG_MODULE(store);

#define KEY_PART_MAX 1024

/* --- overlay --- */

static void
overlay_key(struct str *out, const char *resource, const char *ns, const char *name)
{
    str_reset(out);
    str_add(out, resource, strlen(resource) + 1);
    str_add(out, ns, strlen(ns) + 1);
    str_adds(out, name);
}

static const struct store_overlay *
overlay_get(const struct store *s, const char *resource, const char *ns, const char *name)
{
    if (map_len(s->files->overlay) == 0)
        return NULL;
    auto_str key = STR_INIT(4 * KEY_PART_MAX);
    overlay_key(&key, resource, ns, name);
    return map_getn(s->files->overlay, key.ptr, key.len);
}

static void
overlay_put(struct store *s, uint64_t revision, const struct store_change *ch)
{
    auto_str key = STR_INIT(4 * KEY_PART_MAX);
    struct store_overlay *o = xnew(struct store_overlay);

    o->revision = revision;
    o->obj = ch->type == STORE_PUT ? object_ref(ch->obj) : NULL;
    overlay_key(&key, ch->resource->name, ch->obj->ns, ch->obj->name);
    map_putn(s->files->overlay, key.ptr, key.len, o);
}

/* Unless a later commit has changed the key again. */
static void
overlay_drop(struct store *s, uint64_t revision, const struct store_change *ch)
{
    auto_str key = STR_INIT(4 * KEY_PART_MAX);

    overlay_key(&key, ch->resource->name, ch->obj->ns, ch->obj->name);
    const struct store_overlay *o = map_getn(s->files->overlay, key.ptr, key.len);
    if (o != NULL && o->revision == revision)
        map_deln(s->files->overlay, key.ptr, key.len);
}

struct object *
store_files_peek(const struct store *s, const struct store_key *k)
{
    const struct store_overlay *o = overlay_get(s, k->resource, k->ns, k->name);

    return o != NULL ? o->obj : store_get(s, k);
}

/* --- pending commits --- */

static void
pending_free(struct store_pending *p)
{
    for (size_t i = 0; i < p->n; i++) {
        object_unref(p->changes[i].obj);
        free(p->changes[i].sealed);
    }
    free(p);
}

static void
finish(struct store *s, struct store_pending *p, const struct error *e)
{
    store_finish_later(s, p->done, p->arg, p->revision, e);
    p->done = NULL;
}

static void
stop_waiting(struct store *s, struct store_pending *p)
{
    TAILQ_REMOVE(&s->files->waiting, p, wait);
    s->files->n_waiting--;
}

static void
make_visible(struct store *s, struct store_pending *p)
{
    for (size_t i = 0; i < p->n; i++) {
        overlay_drop(s, p->revision, &p->changes[i]);
        store_apply(s, p->revision, &p->changes[i]);
    }
    p->applied = true;
    s->commits++;
    store_set_visible(s, p->revision);
    finish(s, p, NULL);
}

static void
collect_commit(struct store *s, struct store_pending *p)
{
    STAILQ_INSERT_TAIL(&s->files->collected, p, link);
    s->files->collected_durable |= p->durability == STORE_DURABLE;
}

/* What is logged of a delete: while the disk is full as little as possible. */
static const struct object *
last_state(const struct store *s, const struct store_op *op)
{
    const struct object *o = op->obj != NULL ? op->obj : store_files_peek(s, &op->key);

    return s->files->full || o == NULL || o->len > LOG_LAST_STATE_MAX ? NULL : o;
}

/* --- checks --- */

static bool
same_key(const struct store_key *a, const struct store_key *b)
{
    return streq(a->name, b->name) && streq(a->ns, b->ns) &&
           streq(a->resource, b->resource);
}

static int
check_op(const struct store *s, const struct store_op *ops, size_t i, size_t *body,
         struct error *e)
{
    const struct store_op *op = &ops[i];
    const struct store_key *k = &op->key;
    const struct object *logged = op->type == STORE_PUT ? op->obj : last_state(s, op);
    size_t object = logged == NULL ? 0 : logged->len;

    if (logged != NULL && store_seal_wants(s->opts.seal, k->resource))
        object = store_seal_size((struct span){logged->bytes, logged->len});

    if (strlen(k->resource) > KEY_PART_MAX || strlen(k->ns) > KEY_PART_MAX ||
        strlen(k->name) > KEY_PART_MAX)
        return error_set(e, ERR_INVALID, "name longer than %d bytes", KEY_PART_MAX);
    if (object > OBJECT_MAX_BYTES)
        return error_set(e, ERR_TOO_LARGE, "object of %zu bytes; the limit is %u", object,
                         OBJECT_MAX_BYTES);
    bug_if(op->obj != NULL &&
           (!streq(op->obj->name, k->name) || !streq(op->obj->ns, k->ns)));
    for (size_t j = 0; j < i; j++) {
        if (same_key(&ops[j].key, k))
            return error_set(e, ERR_BAD_REQUEST, "%s \"%s\" twice in one commit",
                             k->resource, k->name);
    }
    *body += log_op_size(strlen(k->resource), strlen(k->ns), strlen(k->name), object);
    return store_check_expect(k, op->type, op->expect, store_files_peek(s, k), e);
}

static int
check(const struct store *s, const struct store_op *ops, size_t n, size_t *ret_body,
      struct error *e)
{
    if (s->opts.read_only)
        return error_set(e, ERR_UNSUPPORTED, "the store is open for reading only");
    if (s->files->poisoned) {
        *e = s->files->poison;
        return -(int)e->code;
    }
    if (n == 0 || n > LOG_OPS_MAX)
        return error_set(e, ERR_BAD_REQUEST, "%zu operations in one commit; 1 to %d", n,
                         LOG_OPS_MAX);
    size_t body = 0;
    for (size_t i = 0; i < n; i++) {
        int rc = check_op(s, ops, i, &body, e);
        if (rc < 0)
            return rc;
    }
    if (body > LOG_BODY_MAX)
        return error_set(e, ERR_TOO_LARGE, "commit of %zu bytes; the limit is %u", body,
                         LOG_BODY_MAX);
    *ret_body = body;
    return 0;
}

/* --- revisions --- */

static void
ask_floor(struct store *s)
{
    if (s->files->last + STORE_FLOOR_BLOCK / 2 > s->files->floor_asked)
        s->files->floor_asked = s->files->floor_due = s->files->last + STORE_FLOOR_BLOCK;
    s->files->floor_try = s->files->floor_due != 0;
}

static bool
touches_overlay(const struct store *s, const struct store_op *ops, size_t n)
{
    for (size_t i = 0; i < n; i++) {
        const struct store_key *k = &ops[i].key;
        if (overlay_get(s, k->resource, k->ns, k->name) != NULL)
            return true;
    }
    return false;
}

/* Chooses the revision. True: it can be visible at once. */
static bool
take_revision(struct store *s, const struct store_op *ops, size_t n,
              enum store_durability durability, uint64_t *ret)
{
    const struct store_pending *oldest = TAILQ_FIRST(&s->files->waiting);

    if (durability != STORE_DURABLE && oldest == NULL &&
        s->files->last < s->files->floor) {
        *ret = ++s->files->last;
        return true;
    }
    if (durability == STORE_MEMORY && oldest != NULL &&
        s->visible + 1 < oldest->revision && s->visible < s->files->floor &&
        !touches_overlay(s, ops, n)) {
        *ret = s->visible + 1;
        return true;
    }
    bool first = durability == STORE_DURABLE && !s->files->collected_durable;
    s->files->last += first ? STORE_REVISION_GAP + 1 : 1;
    *ret = s->files->last;
    return false;
}

static void
fill_change(struct store *s, const struct store_op *op, uint64_t revision,
            struct store_change *ch)
{
    ch->type = op->type;
    ch->expect = op->expect;
    if (op->type == STORE_PUT) {
        op->obj->revision = revision;
        ch->obj = object_ref(op->obj);
    } else {
        ch->bare = last_state(s, op) == NULL;
        const struct object *state =
            op->obj != NULL ? op->obj : store_files_peek(s, &op->key);
        ch->obj = object_with_revision(state, revision);
    }
    ch->resource = store_resource_get(s, op->key.resource);
    if (!ch->bare && store_seal_wants(s->opts.seal, op->key.resource)) {
        auto_str sealed = STR_INIT(2 * OBJECT_MAX_BYTES);
        store_seal(s->opts.seal, (struct span){ch->obj->bytes, ch->obj->len}, &sealed);
        ch->sealed_len = sealed.len;
        ch->sealed = str_detach(&sealed);
    }
}

static struct store_pending *
pending_new(struct store *s, const struct store_op *ops, size_t n, uint64_t revision)
{
    struct store_pending *p = xcalloc(1, sizeof(*p) + n * sizeof(p->changes[0]));

    p->revision = revision;
    p->reclaim = true;
    p->n = n;
    for (size_t i = 0; i < n; i++) {
        fill_change(s, &ops[i], revision, &p->changes[i]);
        p->reclaim = p->reclaim && (ops[i].type == STORE_DELETE ||
                                    p->changes[i].obj->facts.deleting_s != 0);
    }
    return p;
}

int
store_files_commit(struct store *s, const struct store_op *ops, size_t n,
                   enum store_durability durability, store_done_fn *done, void *arg,
                   uint64_t *ret_revision, struct error *e)
{
    size_t body = 0;
    uint64_t revision;

    int rc = check(s, ops, n, &body, e);
    if (rc < 0)
        return rc;
    bool at_once = take_revision(s, ops, n, durability, &revision);
    struct store_pending *p = pending_new(s, ops, n, revision);
    p->durability = durability;
    for (size_t i = 0; i < n && durability == STORE_MEMORY; i++)
        p->changes[i].resource->lazy = true;
    p->done = done;
    p->arg = arg;
    p->size = durability == STORE_MEMORY ? 0 : log_record_size(body);
    p->reclaim = p->reclaim || p->size == 0;
    ask_floor(s);
    if (at_once) {
        make_visible(s, p);
        if (p->size != 0)
            collect_commit(s, p);
        else
            pending_free(p);
    } else {
        for (size_t i = 0; i < n; i++)
            overlay_put(s, revision, &p->changes[i]);
        TAILQ_INSERT_TAIL(&s->files->waiting, p, wait);
        s->files->n_waiting++;
        collect_commit(s, p);
    }
    if (!at_once && s->files->n_with_writer == 0 && !s->opts.inline_sync)
        store_submit(s);
    else
        store_kick(s);
    if (ret_revision != NULL)
        *ret_revision = revision;
    return 0;
}

/* --- to the writer --- */

bool
store_has_unwritten(const struct store *s)
{
    return !s->files->poisoned &&
           (!STAILQ_EMPTY(&s->files->collected) || s->files->floor_try);
}

/* While the disk is full, a batch is of one sort: deletes may still find room in the
 * reserve where a put does not. */
static struct log_batch *
make_batch(struct store *s)
{
    struct log_batch *b = xnew(struct log_batch);
    struct store_pending *p;
    size_t n = 0;

    STAILQ_INIT(&b->commits);
    b->last = s->files->last;
    b->reclaim = true;
    if (s->files->floor_due != 0) {
        b->floor = s->files->floor_due;
        b->sync = true;
        b->size = log_record_size(sizeof(uint64_t));
        s->files->floor_due = 0;
        s->files->floor_try = false;
    }
    while ((p = STAILQ_FIRST(&s->files->collected)) != NULL) {
        if (n >= STORE_BATCH_COMMITS || b->size >= STORE_BATCH_BYTES ||
            (s->files->full && n > 0 && p->reclaim != b->reclaim))
            break;
        STAILQ_REMOVE_HEAD(&s->files->collected, link);
        STAILQ_INSERT_TAIL(&b->commits, p, link);
        b->size += p->size;
        b->sync = b->sync || p->durability == STORE_DURABLE;
        b->reclaim = b->reclaim && p->reclaim;
        n++;
    }
    if (STAILQ_EMPTY(&s->files->collected))
        s->files->collected_durable = false;
    return b;
}

void
store_submit(struct store *s)
{
    while (store_has_unwritten(s)) {
        if (s->files->full && s->files->n_with_writer > 0)
            return;
        struct log_batch *b = make_batch(s);
        s->files->n_with_writer++;
        writer_submit(s->files->writer, b);
    }
}

/* --- from the writer --- */

static void
complete_batch(struct store *s, struct log_batch *b)
{
    struct store_pending *p;

    s->files->log_since_snapshot += b->size;
    if (b->floor > s->files->floor)
        s->files->floor = b->floor;
    if (b->size > 0 && !b->reclaim)
        s->files->full = false;
    while ((p = STAILQ_FIRST(&b->commits)) != NULL) {
        STAILQ_REMOVE_HEAD(&b->commits, link);
        if (!p->applied) {
            stop_waiting(s, p);
            make_visible(s, p);
        }
        pending_free(p);
    }
    free(b);
}

static bool
still_expected(const struct store *s, const struct store_pending *p)
{
    struct error ignored = ERROR_INIT;

    for (size_t i = 0; i < p->n; i++) {
        const struct store_change *ch = &p->changes[i];
        struct store_key k = {ch->resource->name, ch->obj->ns, ch->obj->name};
        if (store_check_expect(&k, ch->type, ch->expect, store_files_peek(s, &k),
                               &ignored) < 0)
            return false;
    }
    return true;
}

/* The commits of a batch for which there was no room. One that nobody promised to keep is
 * still made visible, unless it rests on one that is gone. */
static void
refuse_batch(struct store *s, struct log_batch *b, const struct error *e)
{
    struct store_pending *p;

    while ((p = STAILQ_FIRST(&b->commits)) != NULL) {
        STAILQ_REMOVE_HEAD(&b->commits, link);
        if (!p->applied) {
            stop_waiting(s, p);
            if (p->durability != STORE_DURABLE && p->revision <= s->files->floor &&
                still_expected(s, p))
                make_visible(s, p);
            else
                finish(s, p, e);
        }
        pending_free(p);
    }
}

/* What was not tried goes to the front of what is collected, as far as it can still hold.
 */
static void
keep_untried(struct store *s, struct store_pending_list *untried, const struct error *e)
{
    struct store_pending *p;

    STAILQ_CONCAT(untried, &s->files->collected);
    while ((p = STAILQ_FIRST(untried)) != NULL) {
        STAILQ_REMOVE_HEAD(untried, link);
        if (!p->applied && !still_expected(s, p)) {
            stop_waiting(s, p);
            finish(s, p, e);
            pending_free(p);
            continue;
        }
        for (size_t i = 0; !p->applied && i < p->n; i++)
            overlay_put(s, p->revision, &p->changes[i]);
        collect_commit(s, p);
    }
}

static void
no_room(struct store *s, struct log_batch_list *failed, const struct error *e)
{
    struct store_pending_list untried = STAILQ_HEAD_INITIALIZER(untried);
    struct log_batch *b;

    log_warn_rl("no space for the log", "error=\"%s\"", e->msg);
    if (!s->files->full)
        store_snapshot_release(s);
    s->files->full = true;
    map_clear(s->files->overlay);
    while ((b = STAILQ_FIRST(failed)) != NULL) {
        STAILQ_REMOVE_HEAD(failed, link);
        if (b->floor != 0)
            s->files->floor_due = s->files->floor_asked;
        if (b->outcome == LOG_FAILED)
            refuse_batch(s, b, e);
        else
            STAILQ_CONCAT(&untried, &b->commits);
        free(b);
    }
    keep_untried(s, &untried, e);
}

static void
refuse_all(struct store *s, struct store_pending_list *list, const struct error *e)
{
    struct store_pending *p;

    while ((p = STAILQ_FIRST(list)) != NULL) {
        STAILQ_REMOVE_HEAD(list, link);
        if (!p->applied) {
            stop_waiting(s, p);
            finish(s, p, e);
        }
        pending_free(p);
    }
}

static void
poison(struct store *s, struct log_batch_list *failed, const struct error *e)
{
    struct log_batch *b;
    bool first = !s->files->poisoned;

    s->files->poisoned = true;
    s->files->poison = *e;
    map_clear(s->files->overlay);
    while ((b = STAILQ_FIRST(failed)) != NULL) {
        STAILQ_REMOVE_HEAD(failed, link);
        refuse_all(s, &b->commits, e);
        free(b);
    }
    refuse_all(s, &s->files->collected, e);
    if (!first)
        return;
    log_err("the log is broken; nothing more is acknowledged", "error=\"%s\"", e->msg);
    if (s->opts.on_fatal != NULL)
        s->opts.on_fatal(s->opts.arg, e);
}

void
store_collect(struct store *s)
{
    struct log_batch_list done = STAILQ_HEAD_INITIALIZER(done);
    struct error e = ERROR_INIT;
    struct log_batch *b;
    int rc = writer_collect(s->files->writer, &done, &e);

    STAILQ_FOREACH(b, &done, link)
    s->files->n_with_writer--;
    /* The disk first: it works while the loop completes what is done. */
    if (rc == 0 && !s->opts.inline_sync)
        store_submit(s);
    while ((b = STAILQ_FIRST(&done)) != NULL &&
           (b->outcome == LOG_SYNCED || b->outcome == LOG_WRITTEN)) {
        STAILQ_REMOVE_HEAD(&done, link);
        complete_batch(s, b);
    }
    if (rc < 0 && e.code == ERR_FULL)
        no_room(s, &done, &e);
    else if (rc < 0)
        poison(s, &done, &e);
}
