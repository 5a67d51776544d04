/* SPDX-License-Identifier: Apache-2.0 */
/* Makes the Revision of a generation that is being replaced. Pure; may run on the pool.
 */
#include <sodium.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/registry/history.h"
#include "apiserver/store/keyring.h"
#include "base/clock.h"
#include "base/id.h"

enum { LABEL_VALUE_MAX = 63, CHANGED_MAX = 2048 };

void
revision_name(const char *uid, int64_t generation, char out[REVISION_NAME_MAX])
{
    snprintf(out, REVISION_NAME_MAX, "%.253s.%010lld", uid, (long long)generation);
}

const char *
revision_ns(const struct object *of)
{
    return *of->ns == '\0' ? "drover-system" : of->ns;
}

int64_t
revision_generation(const struct object *revision)
{
    return object_get_int(revision, "generation", 0);
}

static struct span
bytes_of(const struct object *o)
{
    return (struct span){o->bytes, o->len};
}

/* What next changes. False: nothing that makes a generation. */
static bool
changes(const struct revision_in *in, struct str *out)
{
    if (in->next == NULL)
        return true;
    if (in->live->facts.generation > 0 &&
        in->live->facts.generation == in->next->facts.generation)
        return false;
    /* A Namespace declares nothing; its spec is a list of finalizers. */
    if (streq(in->kind->resource, "namespaces"))
        return false;
    revision_diff(bytes_of(in->live), bytes_of(in->next), out);
    return out->len > 0;
}

/* The generation that is replaced. Kinds without generations are counted. */
static int64_t
number(const struct revision_in *in)
{
    int64_t last = in->previous == NULL ? 0 : revision_generation(in->previous);
    int64_t own = in->live->facts.generation;

    return own > last ? own : last + 1;
}

static void
put_raw(struct str *out, const char *key, struct span value)
{
    jput_key(out, key);
    str_add(out, value.ptr, value.len);
}

static void
put_stringf(struct str *out, const char *key, struct span raw)
{
    auto_str text = STR_INIT(OBJECT_MAX_BYTES);

    if (jscan_string(raw, &text))
        jput_member(out, key, text.ptr);
}

/* --- who made the generation --- */

/* Without a Revision before it, managedFields tell: the first entry of a first
 * generation, the latest of another. */
static void
put_guess(const struct object *live, int64_t generation, struct str *out)
{
    struct span managed = object_fact(live, live->facts.managed_fields);
    struct span item, best = {0}, best_time = {0}, time, sub;
    const char *at = NULL;

    while (managed.len > 0 && jscan_next_item(managed, &at, &item)) {
        if (jscan_member(item, "subresource", &sub) || !jscan_member(item, "time", &time))
            continue;
        /* RFC 3339 in UTC, of one length: the order of bytes is that of time */
        int d = best.len == 0 ? 0 : memcmp(time.ptr, best_time.ptr, time.len);
        if (best.len == 0 || (generation == 1 ? d < 0 : d > 0)) {
            best = item;
            best_time = time;
        }
    }
    struct span manager;
    if (best.len > 0 && jscan_member(best, "manager", &manager))
        put_stringf(out, "manager", manager);
    if (generation == 1) {
        char created[CLOCK_RFC3339_LEN];
        clock_format(live->facts.created_s * 1000000000, created);
        jput_member(out, "time", created);
    } else if (best.len > 0) {
        put_raw(out, "time", best_time);
    }
}

/* What the Revision before it says about who replaced it. */
static void
put_author(const struct revision_in *in, int64_t generation, struct str *out)
{
    static const char *const members[] = {"manager", "time", "user"};
    struct span by, value;

    jput_key(out, "changedBy");
    str_addc(out, '{');
    if (in->previous == NULL || !object_path(in->previous, "replacedBy", &by)) {
        put_guess(in->live, generation, out);
    } else {
        for (size_t i = 0; i < ARRAY_LEN(members); i++)
            if (jscan_member(by, members[i], &value))
                put_raw(out, members[i], value);
        char revision[24];
        snprintf(revision, sizeof(revision), "%llu",
                 (unsigned long long)in->previous->revision);
        jput_member(out, "resourceVersion", revision);
    }
    str_addc(out, '}');
    if (in->previous != NULL && object_path(in->previous, "replacedBy.changed", &value))
        put_raw(out, "changed", value);
    else if (generation == 1)
        jput_member(out, "changed", "created");
}

static void
put_replaced(const struct revision_in *in, const char *now, const char *changed,
             struct str *out)
{
    jput_member(out, "reason", in->next == NULL ? "Deleted" : "Replaced");
    jput_key(out, "replacedBy");
    str_addc(out, '{');
    jput_member(out, "user", in->user);
    if (*in->manager != '\0')
        jput_member(out, "manager", in->manager);
    jput_member(out, "time", now);
    if (*changed != '\0')
        jput_member(out, "changed", changed);
    str_addc(out, '}');
}

/* --- the object --- */

static void
put_metadata(const struct revision_in *in, int64_t generation, const char *now,
             struct str *out)
{
    char name[REVISION_NAME_MAX], uid[37];

    revision_name(in->live->uid, generation, name);
    id_uuid4(uid);
    jput_key(out, "metadata");
    str_addc(out, '{');
    jput_member(out, "name", name);
    jput_member(out, "namespace", revision_ns(in->live));
    jput_member(out, "uid", uid);
    jput_member(out, "creationTimestamp", now);
    jput_key(out, "labels");
    str_addc(out, '{');
    jput_member(out, "history.drover.dev/kind", in->kind->kind);
    if (strlen(in->live->name) <= LABEL_VALUE_MAX)
        jput_member(out, "history.drover.dev/name", in->live->name);
    jput_member(out, "history.drover.dev/uid", in->live->uid);
    jput_member(out, "history.drover.dev/reason",
                in->next == NULL ? "Deleted" : "Replaced");
    str_adds(out, "}}");
}

static void
put_of(const struct revision_in *in, struct str *out)
{
    jput_key(out, "of");
    str_addc(out, '{');
    jput_member(out, "apiVersion", in->kind->api_version);
    jput_member(out, "kind", in->kind->kind);
    jput_member(out, "resource", in->kind->resource);
    jput_member(out, "name", in->live->name);
    jput_member(out, "uid", in->live->uid);
    str_addc(out, '}');
}

/* {apiversion, kind, metadata}; of a sealed one no more of metadata than who it is:
 * annotations may hold what was applied. */
static void
put_identity(const struct doc *d, bool sealed, struct str *out)
{
    str_addf(out,
             "\"apiVersion\":\"%.*s\",\"kind\":\"%.*s\",\"metadata\":{\"name\":\"%.*s\"",
             SPAN_ARG(d->api_version), SPAN_ARG(d->kind), SPAN_ARG(d->meta.name));
    if (d->meta.ns.len > 0)
        str_addf(out, ",\"namespace\":\"%.*s\"", SPAN_ARG(d->meta.ns));
    if (d->meta.labels.len > 0 && !sealed)
        put_raw(out, "labels", d->meta.labels);
    if (d->meta.annotations.len > 0 && !sealed)
        put_raw(out, "annotations", d->meta.annotations);
    str_addc(out, '}');
}

/* Everything that a person declares: no status, and of metadata the name, labels and
 * annotations. */
static void
put_object(const struct doc *d, struct str *out)
{
    str_addc(out, '{');
    put_identity(d, false, out);
    for (size_t i = 0; i < d->n; i++) {
        if (span_eq(d->members[i].key, "status"))
            continue;
        str_addf(out, ",\"%.*s\":", SPAN_ARG(d->members[i].key));
        str_add(out, d->members[i].value.ptr, d->members[i].value.len);
    }
    str_addc(out, '}');
}

/* --- sealing --- */

static bool
is_sealed(const struct kind *k)
{
    return streq(k->resource, "secrets");
}

static void
context_of(const char *uid, int64_t generation, struct str *out)
{
    str_addf(out, "revision %s %lld object", uid, (long long)generation);
}

/* "data":"<base64>","key":"<id>" */
static void
seal_object(const struct keyring *keys, const struct str *context, struct span plain,
            struct str *out)
{
    struct keyring_place p = {.use = KEYRING_HISTORY,
                              .bound = {context->ptr, context->len}};
    auto_str text = STR_INIT(2 * OBJECT_MAX_BYTES);

    keyring_seal(keys, &p, plain, &text);
    str_addf(out, "{\"data\":\"%s\",\"key\":\"%.*s\"}", text.ptr + KEYRING_ID_LEN + 1,
             KEYRING_ID_LEN, text.ptr);
}

static void
put_sealed(const struct revision_in *in, const struct doc *d, int64_t generation,
           struct str *out)
{
    auto_str plain = STR_INIT(OBJECT_MAX_BYTES), context = STR_INIT(512);

    put_object(d, &plain);
    context_of(in->live->uid, generation, &context);
    jput_key(out, "sealed");
    seal_object(in->keys, &context, (struct span){plain.ptr, plain.len}, out);
    sodium_memzero(plain.ptr, plain.len);
    jput_key(out, "object");
    str_addc(out, '{');
    put_identity(d, true, out);
    str_addc(out, '}');
}

static void
context_of_revision(const struct object *revision, struct str *out)
{
    char uid[256];

    object_get_string(revision, "of.uid", uid, sizeof(uid));
    context_of(uid, revision_generation(revision), out);
}

int
revision_object(const struct object *revision, const struct keyring *keys,
                struct str *out, struct error *e)
{
    auto_str context = STR_INIT(512), text = STR_INIT(2 * OBJECT_MAX_BYTES);
    char key[KEYRING_ID_LEN + 1] = "";
    struct span object, sealed;

    if (!object_path(revision, "sealed.data", &sealed)) {
        if (!object_path(revision, "object", &object))
            return error_set(e, ERR_CORRUPT, "the revision has no object");
        str_add(out, object.ptr, object.len);
        return 0;
    }
    context_of_revision(revision, &context);
    object_get_string(revision, "sealed.key", key, sizeof(key));
    str_addf(&text, "%s:", key);
    str_add(&text, sealed.ptr + 1, sealed.len - 2);
    struct keyring_place p = {.use = KEYRING_HISTORY,
                              .bound = {context.ptr, context.len}};
    return keyring_open(keys, &p, (struct span){text.ptr, text.len}, out, e);
}

int
revision_reseal(const struct kind *kind, const struct object *revision,
                const struct keyring *keys, struct object **ret, struct error *e)
{
    auto_str plain = STR_INIT(OBJECT_MAX_BYTES), context = STR_INIT(512);
    auto_str sealed = STR_INIT(2 * OBJECT_MAX_BYTES);
    auto_str bytes = STR_INIT(2 * OBJECT_MAX_BYTES);
    char key[KEYRING_ID_LEN + 1] = "";
    struct doc d;

    *ret = NULL;
    if (!object_get_string(revision, "sealed.key", key, sizeof(key)) ||
        streq(key, keyring_id(keys, 0)))
        return 0;
    int rc = revision_object(revision, keys, &plain, e);
    if (rc == 0)
        rc = doc_parse(revision->bytes, revision->len, &d, e);
    if (rc < 0)
        return rc;
    context_of_revision(revision, &context);
    seal_object(keys, &context, (struct span){plain.ptr, plain.len}, &sealed);
    sodium_memzero(plain.ptr, plain.len);
    if ((rc = doc_set(&d, "sealed", (struct span){sealed.ptr, sealed.len}, e)) < 0)
        return rc;
    doc_write(&d, &bytes);
    return object_new(kind, bytes.ptr, bytes.len, 0, ret, e);
}

int
revision_make(const struct revision_in *in, struct object **ret, struct error *e)
{
    auto_str changed = STR_INIT(CHANGED_MAX);
    auto_str json = STR_INIT(2 * OBJECT_MAX_BYTES);
    auto_str canonical = STR_INIT(2 * OBJECT_MAX_BYTES);
    char now[CLOCK_RFC3339_LEN];
    struct doc d;

    if (!object_declared(in->kind, in->live) || !changes(in, &changed)) {
        *ret = NULL;
        return 0;
    }
    int rc = doc_parse(in->live->bytes, in->live->len, &d, e);
    if (rc < 0)
        return rc;
    int64_t generation = number(in);
    clock_format(in->now_ns, now);
    str_addf(&json, "{\"apiVersion\":\"%s\",\"kind\":\"%s\",\"generation\":%lld",
             in->revisions->api_version, in->revisions->kind, (long long)generation);
    put_metadata(in, generation, now, &json);
    put_of(in, &json);
    put_author(in, generation, &json);
    put_replaced(in, now, changed.ptr, &json);
    if (is_sealed(in->kind)) {
        put_sealed(in, &d, generation, &json);
    } else {
        jput_key(&json, "object");
        put_object(&d, &json);
    }
    str_addc(&json, '}');
    if (json.toobig)
        return error_set(e, ERR_TOO_LARGE, "the generation is too large to be kept");
    if ((rc = jcanon(json.ptr, json.len, &canonical, e)) < 0)
        return rc;
    return object_new(in->revisions, canonical.ptr, canonical.len, 0, ret, e);
}
