/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Published objects. object_new walks the canonical bytes once: ObjectMeta by the table
 * of meta.c, columns and selectable fields by the kind's tree of wanted members,
 * everything else by skipping. Struct, fact arrays, names and bytes are one allocation.
 */
#include "api/object.h"

#include <stdatomic.h>

#include "api/kind_internal.h"
#include "api/object_internal.h"
#include "base/clock.h"
#include "base/mem.h"

#define RV_KEY "\"resourceVersion\":\""

struct scan {
    const char *base;
    const struct kind *kind;
    struct meta_scan meta;
    struct span metadata, spec, status;
    struct fact *fields, *cells; /* kind's n_selectable and n_columns of them */
};

static struct fact
fact_of(const char *base, struct span s)
{
    if (s.len == 0)
        return (struct fact){0};
    return (struct fact){(uint32_t)(s.ptr - base), (uint32_t)s.len};
}

static void
hit(struct scan *s, const struct want *w, struct span value)
{
    for (size_t i = 0; i < w->n_targets; i++) {
        const struct want_target *t = &w->targets[i];
        struct span v = value;
        if (t->path != NULL && !jsonpath_from(t->path, t->from, value, &v))
            continue;
        (t->cell ? s->cells : s->fields)[t->index] = fact_of(s->base, v);
    }
}

static const struct want *
want_next(const struct want *w, size_t *i, struct span key)
{
    while (*i < w->n_children) {
        const struct want *c = &w->children[*i];
        int d = span_cmp((struct span){c->key, c->key_len}, key);
        if (d == 0)
            return c;
        if (d > 0)
            return NULL;
        (*i)++;
    }
    return NULL;
}

/* p at a value; returns behind it, having recorded what w wants of it. */
static const char *
walk(struct scan *s, const char *p, const struct want *w)
{
    const char *begin = p;
    size_t i = 0;

    if (w->n_children == 0 || *p != '{') {
        p = scan_value(p);
        hit(s, w, (struct span){begin, (size_t)(p - begin)});
        return p;
    }
    p++;
    while (*p == '"') {
        const char *key = p + 1;
        const struct want *c;
        p = scan_string(key);
        c = want_next(w, &i, (struct span){key, (size_t)(p - key) - 1});
        p = c != NULL ? walk(s, p + 1, c) : scan_value(p + 1);
        if (*p == ',')
            p++;
    }
    p++;
    hit(s, w, (struct span){begin, (size_t)(p - begin)});
    return p;
}

/* Wanted members of metadata: mostly ones that were found already. */
static void
metadata_wants(struct scan *s, const struct want *w)
{
    size_t plain = 0;

    for (size_t i = 0; i < w->n_children; i++) {
        const struct want *c = &w->children[i];
        for (int k = 0; k < META_N && c->n_children == 0; k++) {
            if (!streq(c->key, meta_keys[k]))
                continue;
            if (s->meta.value[k].len > 0)
                hit(s, c, s->meta.value[k]);
            plain++;
        }
    }
    if (plain < w->n_children || w->n_targets > 0)
        walk(s, s->metadata.ptr, w);
}

static const char *
root_member(struct scan *s, struct span key, const char *p, const struct want *w)
{
    const char *begin = p;
    struct span *section = span_eq(key, "metadata") ? &s->metadata
                           : span_eq(key, "spec")   ? &s->spec
                           : span_eq(key, "status") ? &s->status
                                                    : NULL;

    if (section == &s->metadata && *p == '{') {
        p = meta_scan(p, &s->meta);
        s->metadata = (struct span){begin, (size_t)(p - begin)};
        if (w != NULL)
            metadata_wants(s, w);
        return p;
    }
    p = w != NULL ? walk(s, p, w) : scan_value(p);
    if (section != NULL)
        *section = (struct span){begin, (size_t)(p - begin)};
    return p;
}

static void
scan_root(struct scan *s, const char *p)
{
    static const struct want nothing = {0};
    const struct want *wants =
        s->kind != NULL && s->kind->wants != NULL ? s->kind->wants : &nothing;
    size_t i = 0;

    p++;
    while (*p == '"') {
        const char *key = p + 1;
        struct span k;
        p = scan_string(key);
        k = (struct span){key, (size_t)(p - key) - 1};
        p = root_member(s, k, p + 1, want_next(wants, &i, k));
        if (*p == ',')
            p++;
    }
}

static size_t
count_members(struct span v)
{
    struct span key, value;
    const char *c = NULL;
    size_t n = 0;

    while (v.len > 2 && jscan_next_member(v, &c, &key, &value))
        n++;
    return n;
}

static size_t
count_items(struct span v)
{
    struct span value;
    const char *c = NULL;
    size_t n = 0;

    while (v.len > 2 && jscan_next_item(v, &c, &value))
        n++;
    return n;
}

static int64_t
seconds_of(struct span raw)
{
    struct span t = raw_text(raw);
    int64_t ns;

    if (t.len == 0 || !clock_parse(t.ptr, t.len, &ns))
        return 0;
    return ns / 1000000000;
}

static void
fill_labels(const struct scan *s, struct fact_label *out)
{
    struct span key, value;
    const char *c = NULL;

    while (jscan_next_member(s->meta.value[META_LABELS], &c, &key, &value)) {
        out->key = fact_of(s->base, key);
        out->value = fact_of(s->base, raw_text(value));
        out++;
    }
}

static void
fill_owners(const struct scan *s, struct fact_owner *out)
{
    struct span item, key, value;
    const char *c = NULL;

    for (; jscan_next_item(s->meta.value[META_OWNERS], &c, &item); out++) {
        const char *m = NULL;
        *out = (struct fact_owner){0};
        while (jscan_next_member(item, &m, &key, &value)) {
            if (span_eq(key, "uid"))
                out->uid = fact_of(s->base, raw_text(value));
            else if (span_eq(key, "kind"))
                out->kind = fact_of(s->base, raw_text(value));
            else if (span_eq(key, "name"))
                out->name = fact_of(s->base, raw_text(value));
            else if (span_eq(key, "apiVersion"))
                out->api_version = fact_of(s->base, raw_text(value));
            else if (span_eq(key, "controller"))
                out->controller = jscan_bool(value);
            else if (span_eq(key, "blockOwnerDeletion"))
                out->block_deletion = jscan_bool(value);
        }
    }
}

static void
fill_finalizers(const struct scan *s, struct fact *out)
{
    struct span item;
    const char *c = NULL;

    while (jscan_next_item(s->meta.value[META_FINALIZERS], &c, &item))
        *out++ = fact_of(s->base, raw_text(item));
}

struct sizes {
    size_t labels, owners, finalizers, fields, cells, total;
};

static struct sizes
measure(const struct scan *s, size_t n)
{
    struct sizes z = {
        .labels = count_members(s->meta.value[META_LABELS]),
        .owners = count_items(s->meta.value[META_OWNERS]),
        .finalizers = count_items(s->meta.value[META_FINALIZERS]),
        .fields = s->kind == NULL ? 0 : s->kind->n_selectable,
        .cells = s->kind == NULL ? 0 : s->kind->n_columns,
    };

    z.total = sizeof(struct object) + z.labels * sizeof(struct fact_label) +
              z.owners * sizeof(struct fact_owner) +
              (z.finalizers + z.fields + z.cells) * sizeof(struct fact) +
              s->meta.value[META_NAMESPACE].len + s->meta.value[META_NAME].len +
              s->meta.value[META_UID].len + 3 + n + 1;
    return z;
}

static const char *
place(char **at, const void *bytes, size_t n)
{
    char *p = *at;

    if (n > 0)
        memcpy(p, bytes, n);
    p[n] = '\0';
    *at += n + 1;
    return p;
}

static struct object *
build(const struct scan *s, size_t n, uint64_t revision)
{
    struct sizes z = measure(s, n);
    struct object *o = xmalloc(z.total);
    struct fact_label *labels = (struct fact_label *)(void *)(o + 1);
    struct fact_owner *owners = (struct fact_owner *)(void *)(labels + z.labels);
    struct fact *finalizers = (struct fact *)(void *)(owners + z.owners);
    struct fact *fields = finalizers + z.finalizers, *cells = fields + z.fields;
    char *at = (char *)(cells + z.cells);
    struct span ns = raw_text(s->meta.value[META_NAMESPACE]);
    struct span name = raw_text(s->meta.value[META_NAME]);
    struct span uid = raw_text(s->meta.value[META_UID]);
    int64_t generation = 0;

    jscan_int64(s->meta.value[META_GENERATION], &generation);
    *o = (struct object){
        .magic = OBJECT_MAGIC,
        .refs = 1,
        .revision = revision,
        .len = n,
        .facts = {
            .rv_offset = (uint32_t)(s->meta.rv_at - s->base),
            .metadata = fact_of(s->base, s->metadata),
            .spec = fact_of(s->base, s->spec),
            .status = fact_of(s->base, s->status),
            .managed_fields = fact_of(s->base, s->meta.value[META_MANAGED_FIELDS]),
            .generation = generation,
            .created_s = seconds_of(s->meta.value[META_CREATED]),
            .deleting_s = seconds_of(s->meta.value[META_DELETED]),
            .n_labels = (uint16_t)z.labels,
            .n_owners = (uint16_t)z.owners,
            .n_finalizers = (uint16_t)z.finalizers,
            .n_fields = (uint16_t)z.fields,
            .n_cells = (uint16_t)z.cells,
            .shape = s->kind == NULL ? 0 : s->kind->shape,
            .labels = labels,
            .owners = owners,
            .finalizers = finalizers,
            .fields = fields,
            .cells = cells,
        }};
    fill_labels(s, labels);
    fill_owners(s, owners);
    fill_finalizers(s, finalizers);
    if (z.fields > 0)
        memcpy(fields, s->fields, z.fields * sizeof(*fields));
    if (z.cells > 0)
        memcpy(cells, s->cells, z.cells * sizeof(*cells));
    o->ns = place(&at, ns.ptr, ns.len);
    o->name = place(&at, name.ptr, name.len);
    o->uid = place(&at, uid.ptr, uid.len);
    o->bytes = place(&at, s->base, n);
    return o;
}

static int
check(const struct scan *s, struct error *e)
{
    if (raw_text(s->meta.value[META_NAME]).len == 0)
        return error_set(e, ERR_INVALID, "object without metadata.name");
    if (raw_text(s->meta.value[META_UID]).len == 0 || s->meta.rv_at == NULL)
        return error_set(e, ERR_INVALID, "object without metadata.uid");
    if (s->meta.value[META_RESOURCE_VERSION].len > 0)
        return error_set(e, ERR_INVALID, "stored bytes with metadata.resourceVersion");
    if (count_members(s->meta.value[META_LABELS]) > UINT16_MAX ||
        count_items(s->meta.value[META_OWNERS]) > UINT16_MAX ||
        count_items(s->meta.value[META_FINALIZERS]) > UINT16_MAX)
        return error_set(e, ERR_INVALID, "too many labels, owners or finalizers");
    return 0;
}

#define FEW_FACTS 32

int
object_new(const struct kind *k, const char *canonical, size_t n, uint64_t revision,
           struct object **ret, struct error *e)
{
    struct fact few[FEW_FACTS];
    autofree struct fact *many = NULL;
    struct scan s = {.base = canonical, .kind = k};
    size_t n_facts = k == NULL ? 0 : k->n_selectable + k->n_columns;
    int rc;

    if (n > OBJECT_MAX_BYTES)
        return error_set(e, ERR_TOO_LARGE, "object of %zu bytes; the limit is %u", n,
                         OBJECT_MAX_BYTES);
    if (n < 2 || canonical[0] != '{' || canonical[n - 1] != '}')
        return error_set(e, ERR_INVALID, "object is not a JSON object");
    if (n_facts > FEW_FACTS)
        many = xcalloc(n_facts, sizeof(*many));
    else
        memset(few, 0, sizeof(few));
    s.fields = many != NULL ? many : few;
    s.cells = s.fields + (k == NULL ? 0 : k->n_selectable);
    scan_root(&s, canonical);
    rc = check(&s, e);
    if (rc < 0)
        return rc;
    *ret = build(&s, n, revision);
    return 0;
}

/* Cuts `"resourceVersion":"N"` and one comma out of canonical bytes. */
static int
cut_revision(struct str *bytes, uint64_t *ret, struct error *e)
{
    struct span metadata, rv, text;
    size_t off, n;
    int64_t v;

    *ret = 0;
    if (!jscan_member((struct span){bytes->ptr, bytes->len}, "metadata", &metadata) ||
        !jscan_member(metadata, "resourceVersion", &rv))
        return 0;
    text = raw_text(rv);
    if (text.len > 0) {
        if (!jscan_int64(text, &v) || v < 0)
            return error_set(e, ERR_INVALID, "resourceVersion \"%.*s\" is not a number",
                             (int)(text.len > 40 ? 40 : text.len), text.ptr);
        *ret = (uint64_t)v;
    }
    off = (size_t)(rv.ptr - bytes->ptr) - (sizeof(RV_KEY) - 2);
    n = rv.len + sizeof(RV_KEY) - 2;
    if (bytes->ptr[off + n] == ',')
        n++;
    else if (bytes->ptr[off - 1] == ',')
        off--, n++;
    memmove(bytes->ptr + off, bytes->ptr + off + n, bytes->len - off - n);
    str_truncate(bytes, bytes->len - n);
    return 0;
}

int
object_from_json(const struct kind *k, const char *json, size_t n, struct object **ret,
                 struct error *e)
{
    auto_str bytes = STR_INIT(OBJECT_MAX_BYTES + 64);
    uint64_t revision;
    int rc = jcanon(json, n, &bytes, e);

    if (rc == 0)
        rc = cut_revision(&bytes, &revision, e);
    if (rc == 0)
        rc = object_new(k, bytes.ptr, bytes.len, revision, ret, e);
    return rc;
}

struct object *
object_with_revision(const struct object *o, uint64_t revision)
{
    size_t total = (size_t)(o->bytes + o->len + 1 - (const char *)o);
    struct object *c = xmemdup(o, total);
    char *base = (char *)c;
    const char *old = (const char *)o;

#define REBASE(field)                                                                    \
    c->field = (__typeof__(c->field))(void *)(base + ((const char *)o->field - old))
    REBASE(facts.labels);
    REBASE(facts.owners);
    REBASE(facts.finalizers);
    REBASE(facts.fields);
    REBASE(facts.cells);
    REBASE(ns);
    REBASE(name);
    REBASE(uid);
    REBASE(bytes);
#undef REBASE
    c->refs = 1;
    c->revision = revision;
    return c;
}

bool
object_has_version(const struct object *o, const struct kind *k)
{
    struct span v;

    if (strncmp(o->bytes, k->head, strlen(k->head)) == 0)
        return true;
    return jscan_member((struct span){o->bytes, o->len}, "apiVersion", &v) &&
           jscan_is(v, k->api_version);
}

static void
put_version(const struct kind *k, const struct object *o, struct str *out)
{
    struct span v;

    if (!jscan_member((struct span){o->bytes, o->len}, "apiVersion", &v)) {
        str_add(out, o->bytes, o->len);
        return;
    }
    str_add(out, o->bytes, (size_t)(v.ptr - o->bytes));
    jput_stringz(out, k->api_version);
    str_add(out, v.ptr + v.len, (size_t)(o->bytes + o->len - v.ptr) - v.len);
}

int
object_as(const struct kind *k, const struct object *o, struct object **ret,
          struct error *e)
{
    auto_str bytes = STR_INIT(OBJECT_MAX_BYTES + 1024);
    auto_str full = STR_INIT(2 * OBJECT_MAX_BYTES);
    bool same = object_has_version(o, k), fits = same && o->facts.shape == k->shape;
    int rc = 0;

    if (fits && !k->pruned_on_read) {
        *ret = object_ref(o);
        return 0;
    }
    if (same)
        str_add(&bytes, o->bytes, o->len);
    else if (object_is_renamed(k))
        rc = object_rename(k, o, &bytes, e);
    else
        put_version(k, o, &bytes);
    if (rc == 0 && k->pruned_on_read)
        rc = kind_normalize(k, (struct span){bytes.ptr, bytes.len}, &full, e);
    if (rc < 0)
        return rc;
    const struct str *done = k->pruned_on_read ? &full : &bytes;
    if (fits && done->len == o->len && memcmp(done->ptr, o->bytes, o->len) == 0) {
        *ret = object_ref(o); /* written since */
        return 0;
    }
    return object_new(k, done->ptr, done->len, o->revision, ret, e);
}

struct object *
object_ref(const struct object *o)
{
    union {
        const struct object *c;
        struct object *m;
    } u = {.c = o}; /* the count is the only mutable part */

    bug_if(o->magic != OBJECT_MAGIC);
    atomic_fetch_add_explicit(&u.m->refs, 1, memory_order_relaxed);
    return u.m;
}

void
object_unref(struct object *o)
{
    if (o == NULL)
        return;
    bug_if(o->magic != OBJECT_MAGIC);
    if (atomic_fetch_sub_explicit(&o->refs, 1, memory_order_acq_rel) > 1)
        return;
    o->magic = 0;
    free(o);
}
