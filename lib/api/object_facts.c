/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The facts of an object as bytes, so that a snapshot can give them back without a walk
 * over the JSON. All numbers are little-endian.
 *
 *    0   8  id of the layout and of the kind's columns and selectable fields
 *    8  24  generation, created_s, deleting_s
 *   32   4  rv_offset
 *   36  12  numbers of labels, owners, finalizers, fields, cells; length of the uid
 *   48  32  four facts: metadata, spec, status, managed_fields
 *   80      labels (2 facts each), owners (4 facts and 4 bytes of flags), finalizers,
 *           fields, cells; the uid
 *
 * A fact is offset and length, 4 bytes each.
 */
#include <endian.h>
#include <sodium.h>

#include "api/kind_internal.h"
#include "api/object_internal.h"
#include "base/mem.h"

#define FACTS_LAYOUT "facts 1"
#define FACTS_HEAD 80
#define OWNER_BYTES 36

_Static_assert(sizeof(struct fact) == 8, "facts are copied as they are");
_Static_assert(__BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__, "numbers are little-endian");

static void
hash_path(crypto_generichash_state *st, const struct jsonpath *p)
{
    crypto_generichash_update(st, (const unsigned char *)&p->n_steps, sizeof(p->n_steps));
    for (size_t i = 0; i < p->n_steps; i++) {
        const struct jsonpath_step *s = &p->steps[i];
        const char *texts[2] = {s->key == NULL ? "" : s->key,
                                s->value == NULL ? "" : s->value};
        int64_t numbers[3] = {(int64_t)s->op, s->index, (int64_t)s->test};
        crypto_generichash_update(st, (const unsigned char *)numbers, sizeof(numbers));
        for (size_t k = 0; k < 2; k++)
            crypto_generichash_update(st, (const unsigned char *)texts[k],
                                      strlen(texts[k]) + 1);
        if (s->sub != NULL)
            hash_path(st, s->sub);
    }
}

uint64_t
object_facts_id(const struct kind *k)
{
    crypto_generichash_state st;
    unsigned char sum[16];
    uint64_t id;

    crypto_generichash_init(&st, NULL, 0, sizeof(sum));
    crypto_generichash_update(&st, (const unsigned char *)FACTS_LAYOUT,
                              sizeof(FACTS_LAYOUT));
    for (size_t i = 0; k != NULL && i < k->n_selectable; i++)
        crypto_generichash_update(&st, (const unsigned char *)k->selectable[i],
                                  strlen(k->selectable[i]) + 1);
    for (size_t i = 0; k != NULL && i < k->n_columns; i++)
        hash_path(&st, k->columns[i].path);
    crypto_generichash_final(&st, sum, sizeof(sum));
    memcpy(&id, sum, sizeof(id));
    return id;
}

static void
emit(char **p, const void *bytes, size_t n)
{
    if (n > 0)
        memcpy(*p, bytes, n);
    *p += n;
}

static void
fetch(const char **p, void *out, size_t n)
{
    if (n > 0)
        memcpy(out, *p, n);
    *p += n;
}

enum { N_LABELS, N_OWNERS, N_FINALIZERS, N_FIELDS, N_CELLS, UID_LEN, N_COUNTS };

static size_t
facts_size(const uint16_t n[N_COUNTS])
{
    size_t facts = (size_t)n[N_LABELS] * 2 + n[N_FINALIZERS] + n[N_FIELDS] + n[N_CELLS];

    return FACTS_HEAD + facts * sizeof(struct fact) + (size_t)n[N_OWNERS] * OWNER_BYTES +
           n[UID_LEN];
}

static void
count(const struct object *o, uint16_t n[N_COUNTS])
{
    n[N_LABELS] = o->facts.n_labels;
    n[N_OWNERS] = o->facts.n_owners;
    n[N_FINALIZERS] = o->facts.n_finalizers;
    n[N_FIELDS] = o->facts.n_fields;
    n[N_CELLS] = o->facts.n_cells;
    n[UID_LEN] = (uint16_t)strlen(o->uid);
}

size_t
object_facts_size(const struct object *o)
{
    uint16_t n[N_COUNTS];

    count(o, n);
    return facts_size(n);
}

void
object_facts_write(const struct object *o, uint64_t id, char *out)
{
    const struct facts *f = &o->facts;
    const struct fact four[4] = {f->metadata, f->spec, f->status, f->managed_fields};
    const int64_t numbers[3] = {f->generation, f->created_s, f->deleting_s};
    uint16_t n[N_COUNTS];

    count(o, n);
    emit(&out, &id, sizeof(id));
    emit(&out, numbers, sizeof(numbers));
    emit(&out, &f->rv_offset, sizeof(f->rv_offset));
    emit(&out, n, sizeof(n));
    emit(&out, four, sizeof(four));
    emit(&out, f->labels, f->n_labels * sizeof(*f->labels));
    for (size_t i = 0; i < f->n_owners; i++) {
        const struct fact_owner *w = &f->owners[i];
        const struct fact parts[4] = {w->uid, w->kind, w->name, w->api_version};
        uint32_t flags = (uint32_t)w->controller | (uint32_t)w->block_deletion << 1;
        emit(&out, parts, sizeof(parts));
        emit(&out, &flags, sizeof(flags));
    }
    emit(&out, f->finalizers, f->n_finalizers * sizeof(struct fact));
    emit(&out, f->fields, f->n_fields * sizeof(struct fact));
    emit(&out, f->cells, f->n_cells * sizeof(struct fact));
    emit(&out, o->uid, n[UID_LEN]);
}

static bool
within(const struct fact *f, size_t count, size_t n)
{
    bool ok = true;

    for (size_t i = 0; i < count; i++)
        ok = ok && f[i].off <= n && f[i].len <= n - f[i].off;
    return ok;
}

/* Struct, arrays, names and bytes are one allocation, as object.c has them. */
static struct object *
allocate(const uint16_t n[N_COUNTS], const struct object_source *src)
{
    size_t singles = (size_t)n[N_FINALIZERS] + n[N_FIELDS] + n[N_CELLS];
    size_t total = sizeof(struct object) + n[N_LABELS] * sizeof(struct fact_label) +
                   n[N_OWNERS] * sizeof(struct fact_owner) +
                   singles * sizeof(struct fact) + src->ns.len + src->name.len +
                   n[UID_LEN] + 3 + src->bytes.len + 1;
    struct object *o = xmalloc(total);

    memset(o, 0, sizeof(*o));
    o->magic = OBJECT_MAGIC;
    o->refs = 1;
    o->revision = src->revision;
    return o;
}

static const char *
place(char **at, const char *bytes, size_t n)
{
    const char *p = *at;

    emit(at, bytes, n);
    *(*at)++ = '\0';
    return p;
}

/* Reads what stands behind the head into the memory behind the struct. False: a fact lies
 * outside of the bytes. */
static bool
take_rest(struct object *o, const char *p, const uint16_t n[N_COUNTS],
          const struct object_source *src)
{
    struct fact_label *labels = (struct fact_label *)(void *)(o + 1);
    struct fact_owner *owners = (struct fact_owner *)(void *)(labels + n[N_LABELS]);
    struct fact *singles = (struct fact *)(void *)(owners + n[N_OWNERS]);
    size_t n_singles = (size_t)n[N_FINALIZERS] + n[N_FIELDS] + n[N_CELLS];
    char *at = (char *)(singles + n_singles);
    size_t len = src->bytes.len;
    bool ok = true;

    fetch(&p, labels, n[N_LABELS] * sizeof(*labels));
    for (size_t i = 0; i < n[N_LABELS]; i++)
        ok = ok && within(&labels[i].key, 1, len) && within(&labels[i].value, 1, len);
    for (size_t i = 0; i < n[N_OWNERS]; i++) {
        struct fact four[4];
        uint32_t flags;
        fetch(&p, four, sizeof(four));
        fetch(&p, &flags, sizeof(flags));
        ok = ok && within(four, 4, len);
        owners[i] = (struct fact_owner){four[0], four[1],          four[2],
                                        four[3], (flags & 1) != 0, (flags & 2) != 0};
    }
    fetch(&p, singles, n_singles * sizeof(*singles));
    ok = ok && within(singles, n_singles, len);
    o->facts.labels = labels;
    o->facts.owners = owners;
    o->facts.finalizers = singles;
    o->facts.fields = singles + n[N_FINALIZERS];
    o->facts.cells = o->facts.fields + n[N_FIELDS];
    o->ns = place(&at, src->ns.ptr, src->ns.len);
    o->name = place(&at, src->name.ptr, src->name.len);
    o->uid = place(&at, p, n[UID_LEN]);
    o->bytes = place(&at, src->bytes.ptr, len);
    o->len = len;
    return ok;
}

static bool
plausible(const struct kind *k, const struct object_source *src, const struct facts *f,
          const uint16_t n[N_COUNTS])
{
    const struct fact four[4] = {f->metadata, f->spec, f->status, f->managed_fields};

    return src->facts.len == facts_size(n) && src->name.len > 0 && n[UID_LEN] > 0 &&
           src->bytes.len <= OBJECT_MAX_BYTES && within(four, 4, src->bytes.len) &&
           f->rv_offset > f->metadata.off &&
           f->rv_offset < f->metadata.off + f->metadata.len &&
           n[N_FIELDS] == (k == NULL ? 0 : k->n_selectable) &&
           n[N_CELLS] == (k == NULL ? 0 : k->n_columns);
}

bool
object_from_facts(const struct kind *k, uint64_t id, const struct object_source *src,
                  struct object **ret)
{
    const char *p = src->facts.ptr;
    struct facts f = {0};
    struct fact four[4];
    int64_t numbers[3];
    uint16_t n[N_COUNTS];
    uint64_t have;

    if (src->facts.len < FACTS_HEAD)
        return false;
    fetch(&p, &have, sizeof(have));
    fetch(&p, numbers, sizeof(numbers));
    fetch(&p, &f.rv_offset, sizeof(f.rv_offset));
    fetch(&p, n, sizeof(n));
    fetch(&p, four, sizeof(four));
    f.generation = numbers[0];
    f.created_s = numbers[1];
    f.deleting_s = numbers[2];
    f.metadata = four[0];
    f.spec = four[1];
    f.status = four[2];
    f.managed_fields = four[3];
    f.n_labels = n[N_LABELS];
    f.n_owners = n[N_OWNERS];
    f.n_finalizers = n[N_FINALIZERS];
    f.n_fields = n[N_FIELDS];
    f.n_cells = n[N_CELLS];
    if (have != id || !plausible(k, src, &f, n))
        return false;
    struct object *o = allocate(n, src);
    o->facts = f;
    if (!take_rest(o, p, n, src)) {
        object_unref(o);
        return false;
    }
    *ret = o;
    return true;
}
