/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Facts that come from a snapshot. The first two bytes are the length of the facts; the
 * object follows them. True facts give back the very object; others are refused or point
 * into the object's bytes, whatever they are.
 */
#include <stdint.h>

#include "api/jtok.h"
#include "api/object.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define INPUT_MAX (1u << 16)

static unsigned sink;

static void
touch(const struct object *o, struct fact f)
{
    struct span s = object_fact(o, f);

    bug_if(f.off > o->len || f.len > o->len - f.off);
    for (size_t i = 0; i < s.len; i++)
        sink += (unsigned char)s.ptr[i];
}

static void
touch_all(const struct object *o)
{
    const struct facts *f = &o->facts;
    auto_str out = STR_INIT(2 * INPUT_MAX);

    touch(o, f->metadata);
    touch(o, f->spec);
    touch(o, f->status);
    touch(o, f->managed_fields);
    for (size_t i = 0; i < f->n_labels; i++) {
        touch(o, f->labels[i].key);
        touch(o, f->labels[i].value);
    }
    for (size_t i = 0; i < f->n_owners; i++) {
        touch(o, f->owners[i].uid);
        touch(o, f->owners[i].kind);
        touch(o, f->owners[i].name);
        touch(o, f->owners[i].api_version);
    }
    for (size_t i = 0; i < f->n_finalizers; i++)
        touch(o, f->finalizers[i]);
    object_write(o, &out);
    sink += (unsigned)(strlen(o->ns) + strlen(o->name) + strlen(o->uid));
}

/* What object_new found comes back. */
static void
round_trip(const struct object *o, uint64_t id)
{
    size_t n = object_facts_size(o);
    autofree char *a = xmalloc(n);
    autofree char *b = xmalloc(n);
    struct object_source src = {
        {o->bytes, o->len}, {a, n}, span_of(o->ns), span_of(o->name), o->revision};
    auto_object *again = NULL;

    object_facts_write(o, id, a);
    bug_if(!object_from_facts(NULL, id, &src, &again));
    touch_all(again);
    bug_if(object_facts_size(again) != n);
    object_facts_write(again, id, b);
    bug_if(memcmp(a, b, n) != 0);
    bug_if(strcmp(o->uid, again->uid) != 0 || strcmp(o->ns, again->ns) != 0);
    src.facts.len--;
    auto_object *cut = NULL;
    bug_if(object_from_facts(NULL, id, &src, &cut));
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_str canon = STR_INIT(2 * INPUT_MAX);
    struct error e = ERROR_INIT;
    uint64_t id = object_facts_id(NULL);

    if (size < 2 || size > INPUT_MAX)
        return 0;
    size_t n = data[0] | (size_t)data[1] << 8;
    if (n > size - 2)
        n = size - 2;
    autofree char *facts = xmalloc(n + 8);
    const char *json = (const char *)data + 2 + n;
    auto_object *plain = NULL;
    if (jcanon(json, size - 2 - n, &canon, &e) == 0 &&
        object_new(NULL, canon.ptr, canon.len, 7, &plain, &e) == 0)
        round_trip(plain, id);
    /* The id is right: what lies behind it is the question. */
    memcpy(facts, &id, sizeof(id));
    memcpy(facts + 8, data + 2, n);
    const struct object_source src = {
        {json, size - 2 - n}, {facts, n + 8}, span_of("ns"), span_of("name"), 7};
    auto_object *o = NULL;
    if (object_from_facts(NULL, id, &src, &o))
        touch_all(o);
    return 0;
}
