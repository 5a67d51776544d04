/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A published object: one immutable, refcounted block of canonical JSON with its facts
 * (ADR 0006). No cache anywhere holds a tree. Stored bytes carry no resourceVersion;
 * object_write splices it in at facts.rv_offset.
 *
 * Threading: immutable after object_new; ref/unref from any thread.
 */
#ifndef API_OBJECT_H
#define API_OBJECT_H

#include <jansson.h>
#include <stdint.h>

#include "api/kind.h"
#include "base/error.h"
#include "base/str.h"

#define OBJECT_MAX_BYTES (3u << 20)

/* A range of the object's bytes; len 0: absent. String values: raw, without the quotes.
 */
struct fact {
    uint32_t off, len;
};
struct fact_label {
    struct fact key, value;
};
struct fact_owner {
    struct fact uid, kind, name, api_version;
    bool controller, block_deletion;
};

struct facts {
    uint32_t rv_offset;                 /* where `"resourceVersion":"N",` belongs */
    struct fact metadata, spec, status; /* raw values */
    struct fact managed_fields;         /* raw value inside metadata */
    int64_t generation;
    int64_t created_s;  /* unix seconds; 0 unknown */
    int64_t deleting_s; /* deletionTimestamp; 0: not being deleted */
    uint16_t n_labels, n_owners, n_finalizers, n_fields, n_cells;
    uint32_t shape; /* kind->shape of the kind that fields and cells are of */
    const struct fact_label *labels;
    const struct fact_owner *owners;
    const struct fact *finalizers;
    const struct fact *fields; /* raw JSON values, by index of kind->selectable */
    const struct fact *cells;  /* raw JSON values, by index of kind->columns */
};

struct object {
    uint32_t magic;
    _Atomic uint32_t refs;
    uint64_t revision; /* resourceVersion; 0: not stored. Set before publishing. */
    const char *ns, *name, *uid; /* NUL-terminated; ns "" when cluster-scoped */
    size_t len;
    const char *bytes; /* NUL-terminated after len */
    struct facts facts;
};

/* Scans canonical bytes without a resourceVersion (copied) once and builds the facts.
 * kind may be NULL: no fields and cells then. ERR_INVALID when metadata.name or uid is
 * missing. */
int object_new(const struct kind *k, const char *canonical, size_t n, uint64_t revision,
               struct object **ret, struct error *e) WARN_UNUSED;
/* From a reply of a server: any JSON, with resourceVersion inside (a decimal number, else
 * ERR_INVALID); canonicalises. */
int object_from_json(const struct kind *k, const char *json, size_t n,
                     struct object **ret, struct error *e) WARN_UNUSED;
/*
 * The facts as bytes (object_facts.c says how), for a store's snapshot: an object comes
 * back from its canonical bytes and these without a look at the JSON. id names the kind's
 * columns and selectable fields; facts of another id are of no use.
 */
uint64_t object_facts_id(const struct kind *k); /* NULL ok; takes some microseconds */
size_t object_facts_size(const struct object *o);
void object_facts_write(const struct object *o, uint64_t id, char *out); /* so many */
struct object_source {
    struct span bytes, facts; /* bytes: canonical, which the caller answers for */
    struct span ns, name;     /* as in the bytes */
    uint64_t revision;
};
/* False: not facts of this id, or not of these bytes as far as can be seen; object_new
 * then. Whatever the facts are, nothing is read outside of the bytes. */
bool object_from_facts(const struct kind *k, uint64_t id, const struct object_source *src,
                       struct object **ret);
/* Same bytes and facts under another revision (a delete event carries the deletion's). */
struct object *object_with_revision(const struct object *o, uint64_t revision);
/* The object as that version of its kind shows it: another apiVersion (conversion None),
 * facts of the kind's shape, later defaults. Mostly it is the object itself, by another
 * reference. */
bool object_has_version(const struct object *o, const struct kind *k);
int object_as(const struct kind *k, const struct object *o, struct object **ret,
              struct error *e) WARN_UNUSED;
struct object *object_ref(const struct object *o);
void object_unref(struct object *o); /* NULL ok */
static inline void
object_unref_ptr(struct object **o)
{
    object_unref(*o);
}
#define auto_object CLEANUP(object_unref_ptr) struct object

/* Appends the bytes with resourceVersion spliced in (object->revision, or none when 0).
 */
void object_write(const struct object *o, struct str *out);
size_t object_written_len(const struct object *o);

static inline struct span
object_fact(const struct object *o, struct fact f)
{
    return (struct span){o->bytes + f.off, f.len};
}
/* NULL-span when absent. Raw value of a label. */
bool object_label(const struct object *o, const char *key, struct span *ret);
bool object_has_finalizer(const struct object *o, const char *name);
const struct fact_owner *object_controller(const struct object *o); /* NULL: none */
/* Raw JSON value at a dotted path in the whole object. */
bool object_path(const struct object *o, const char *path, struct span *ret);
/* Convenience for reconcilers: string at path copied to buf ("" when absent); int or
 * fallback. */
bool object_get_string(const struct object *o, const char *path, char *buf, size_t size);
int64_t object_get_int(const struct object *o, const char *path, int64_t fallback);
/* What a person declared: of a declared kind and not made by a controller. Only these
 * have a history and a file in the mirror. kind NULL: false. */
bool object_declared(const struct kind *k, const struct object *o);
/* A private tree of the whole object (resourceVersion included). Caller decrefs. */
json_t *object_json(const struct object *o);

/* --- doc: taking an object apart and putting it together, for the registry
 * -------------- */
/* Spans borrow from the parsed bytes; a zero span is an absent member. */
struct meta {
    struct span name, generate_name, ns, uid; /* raw string contents */
    struct span labels, annotations, owners, finalizers, managed_fields; /* raw values */
    struct span resource_version, created, deleted; /* raw string contents */
    int64_t generation;
    int64_t grace_s; /* deletionGracePeriodSeconds; -1 absent */
};
#define DOC_MAX_MEMBERS 64
struct doc {
    struct span api_version, kind;
    struct meta meta;
    size_t n; /* other top-level members, sorted by key */
    struct {
        struct span key, value;
    } members[DOC_MAX_MEMBERS];
};
int doc_parse(const char *canonical, size_t n, struct doc *ret,
              struct error *e) WARN_UNUSED;
struct span doc_get(const struct doc *d, const char *key);
/* key and value are borrowed; value.len == 0 removes the member. */
int doc_set(struct doc *d, const char *key, struct span value,
            struct error *e) WARN_UNUSED;
/* Canonical bytes; resourceVersion and selfLink are never written, empty maps and lists
 * of metadata are left out. */
void doc_write(const struct doc *d, struct str *out);

#endif
