/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A served kind, compiled from one version of a CustomResourceDefinition document: names,
 * scope, schema, printer columns, selectable fields, subresources. Immutable and
 * refcounted after kind_compile, shared by threads.
 *
 * Structural schemas only. Checked: type, enum, pattern (PCRE2 with limits; RE2's syntax
 * subset), format (of those that it knows), all bounds, required, nullable, default,
 * additionalProperties, allOf, anyOf, oneOf, not, and the x-kubernetes keywords
 * preserve-unknown-fields, int-or-string, embedded-resource, list-type, list-map-keys,
 * map-type. Refused when compiling, with the path: CEL rules, and what structural schemas
 * may not have.
 */
#ifndef API_KIND_H
#define API_KIND_H

#include <jansson.h>

#include "api/violations.h"
#include "base/error.h"
#include "base/str.h"

struct schema;
struct jsonpath;
struct want;

struct kind_column {
    char *name, *type, *format, *description;
    int priority;
    struct jsonpath *path;
};

struct kind {
    uint32_t magic;
    _Atomic uint32_t refs;
    char *group;   /* "" for the core group */
    char *version; /* "v1" */
    char *plural, *singular, *kind, *list_kind;
    char *resource;                   /* "runs.drover.dev", "secrets" */
    char *api_version;                /* "drover.dev/v1", "v1" */
    char **short_names, **categories; /* NULL-terminated */
    char *head; /* `{"apiVersion":"drover.dev/v1",`: how stored bytes mostly begin */
    bool namespaced;
    bool has_status;      /* status subresource */
    bool served, storage; /* of its version in the CRD */
    bool builtin;         /* shipped with the server: list items, patch defaults */
    bool pruned_on_read;  /* the schema has changed: stored objects may lack defaults,
                             and have what is no longer there */
    /* scale subresource: ".spec.replicas" without the first dot; NULL without */
    char *scale_spec, *scale_status, *scale_selector;
    char *deprecation_warning; /* for users of this version; NULL: none */
    /* drover's own annotations on the CRD (ADR 0009): */
    /* drover.dev/declared: people declare its objects, which therefore have a history and
     * a file in the mirror. True unless the annotation says "false". */
    bool declared;
    bool lazy; /* drover.dev/durability: lazy (Event), lease (Lease renewals) */
    bool lazy_lease;
    bool managed_on_apply;    /* drover.dev/managed-fields: on-apply */
    bool has_generation;      /* all but most built-in kinds; drover.dev/generation */
    bool generation_from_all; /* kinds without spec: any non-metadata change */
    struct schema *schema;    /* root */
    struct kind_column *columns;
    size_t n_columns;
    char **selectable; /* ".spec.x" paths without the leading dot; NULL-terminated */
    size_t n_selectable;
    uint32_t
        shape; /* of columns and fields: objects' facts fit kinds of the same shape */
    struct want *wants; /* columns and fields as one tree; private to lib/api */
    json_t *openapi; /* the version's openAPIV3Schema, for OpenAPI documents; read-only */
};

/* crd: a CustomResourceDefinition object; version: NULL for the storage version. */
int kind_compile(const json_t *crd, const char *version, struct kind **ret,
                 struct violations *v, struct error *e) WARN_UNUSED;
struct kind *kind_ref(const struct kind *k);
void kind_unref(struct kind *k); /* NULL ok */
static inline void
kind_unref_ptr(struct kind **k)
{
    kind_unref(*k);
}
#define auto_kind CLEANUP(kind_unref_ptr) struct kind

enum field_validation { FIELD_IGNORE, FIELD_WARN, FIELD_STRICT };

/*
 * The one pass: bytes of a whole object (or any JSON for it) -> checked, pruned,
 * defaulted, validated canonical bytes appended to out. No tree, no allocation beyond
 * out, a reused scratch and violations.
 *  - not JSON, wrong top-level shape, other apiVersion/kind: error BAD_REQUEST
 *  - unknown and duplicate fields are pruned and listed as
 * VIOLATION_UNKNOWN/_DUPLICATE_KEY
 *  - null for a non-nullable member is dropped (and then defaulted), as in Kubernetes
 *  - a NUL character in any string is BAD_REQUEST; a kind marked builtin may leave out
 *    apiVersion and kind
 *  - schema violations are listed; the return is ERR_INVALID if there is one, and the
 * message joins them Nothing stays in out after an error. The scratch is the calling
 * thread's. metadata is checked by the built-in ObjectMeta schema and kept whole.
 */
int kind_decode(const struct kind *k, struct span in, struct str *out,
                struct violations *v, struct error *e) WARN_UNUSED;

/* For an update that kind_decode refuses: what is wrong but unchanged since `old`
 * (canonical) is tolerated, as in Kubernetes; but for what is required or said by allOf
 * and the like. Doubles in sets and list maps are tolerated when old has any. Two passes.
 */
int kind_decode_changed(const struct kind *k, struct span in, struct span old,
                        struct str *out, struct violations *v,
                        struct error *e) WARN_UNUSED;
/* For objects that are stored already: pruned and defaulted, whatever is wrong with them.
 */
int kind_normalize(const struct kind *k, struct span in, struct str *out,
                   struct error *e) WARN_UNUSED;

/* The subschema at a member, for server-side apply. NULL when there is none. */
const struct schema *schema_member(const struct schema *s, const char *key);
const struct schema *schema_items(const struct schema *s);
bool schema_preserves_unknown(const struct schema *s);
enum schema_list_type { SCHEMA_LIST_ATOMIC, SCHEMA_LIST_SET, SCHEMA_LIST_MAP };
enum schema_list_type schema_list_type(const struct schema *s);
const char *const *schema_list_map_keys(const struct schema *s); /* NULL-terminated */
bool schema_map_atomic(const struct schema *s);

/* JSONPath subset of printer columns: .a.b, ['k'], [n], [*], [?(@.type=="x")].field */
int jsonpath_compile(const char *text, struct jsonpath **ret,
                     struct error *e) WARN_UNUSED;
void jsonpath_free(struct jsonpath *p);
/* First match in canonical bytes; false when there is none. */
bool jsonpath_first(const struct jsonpath *p, struct span object, struct span *ret);

#endif
