/* SPDX-License-Identifier: Apache-2.0 */
/*
 * ObjectMeta by a table in canonical order, and objects taken apart into spans for the
 * registry, which replaces a few of them and writes the whole again.
 */
#include "api/object_internal.h"

const char *const meta_keys[META_N] = {
    [META_ANNOTATIONS] = "annotations",
    [META_CREATED] = "creationTimestamp",
    [META_GRACE] = "deletionGracePeriodSeconds",
    [META_DELETED] = "deletionTimestamp",
    [META_FINALIZERS] = "finalizers",
    [META_GENERATE_NAME] = "generateName",
    [META_GENERATION] = "generation",
    [META_LABELS] = "labels",
    [META_MANAGED_FIELDS] = "managedFields",
    [META_NAME] = "name",
    [META_NAMESPACE] = "namespace",
    [META_OWNERS] = "ownerReferences",
    [META_RESOURCE_VERSION] = "resourceVersion",
    [META_UID] = "uid",
};

const char *
meta_scan(const char *p, struct meta_scan *ret)
{
    size_t k = 0;

    *ret = (struct meta_scan){0};
    p++;
    while (*p == '"') {
        const char *begin = p, *value;
        struct span key = {p + 1, 0};
        int d = -1;
        p = scan_string(key.ptr);
        key.len = (size_t)(p - key.ptr) - 1;
        value = p + 1;
        p = scan_value(value);
        while (k < META_N && (d = span_cmp(span_of(meta_keys[k]), key)) < 0)
            k++;
        if (d == 0)
            ret->value[k] = (struct span){value, (size_t)(p - value)};
        if (ret->rv_at == NULL && k >= META_RESOURCE_VERSION &&
            span_cmp(key, span_of("resourceVersion")) > 0)
            ret->rv_at = begin;
        if (*p == ',')
            p++;
    }
    return p + 1;
}

struct span
raw_text(struct span raw)
{
    if (raw.len < 2 || raw.ptr[0] != '"')
        return (struct span){0};
    return (struct span){raw.ptr + 1, raw.len - 2};
}

static void
read_meta(struct span metadata, struct meta *m)
{
    struct meta_scan s;
    int64_t v;

    meta_scan(metadata.ptr, &s);
    m->name = raw_text(s.value[META_NAME]);
    m->generate_name = raw_text(s.value[META_GENERATE_NAME]);
    m->ns = raw_text(s.value[META_NAMESPACE]);
    m->uid = raw_text(s.value[META_UID]);
    m->labels = s.value[META_LABELS];
    m->annotations = s.value[META_ANNOTATIONS];
    m->owners = s.value[META_OWNERS];
    m->finalizers = s.value[META_FINALIZERS];
    m->managed_fields = s.value[META_MANAGED_FIELDS];
    m->resource_version = raw_text(s.value[META_RESOURCE_VERSION]);
    m->created = raw_text(s.value[META_CREATED]);
    m->deleted = raw_text(s.value[META_DELETED]);
    if (jscan_int64(s.value[META_GENERATION], &v))
        m->generation = v;
    if (jscan_int64(s.value[META_GRACE], &v))
        m->grace_s = v;
}

int
doc_parse(const char *canonical, size_t n, struct doc *ret, struct error *e)
{
    struct span object = {canonical, n}, key, value;
    const char *c = NULL;

    if (n < 2 || canonical[0] != '{')
        return error_set(e, ERR_BAD_REQUEST, "not a JSON object");
    ret->api_version = ret->kind = (struct span){0};
    ret->meta = (struct meta){.grace_s = -1};
    ret->n = 0;
    while (jscan_next_member(object, &c, &key, &value)) {
        if (span_eq(key, "apiVersion")) {
            ret->api_version = raw_text(value);
        } else if (span_eq(key, "kind")) {
            ret->kind = raw_text(value);
        } else if (span_eq(key, "metadata")) {
            if (value.ptr[0] != '{')
                return error_set(e, ERR_BAD_REQUEST, "metadata is not an object");
            read_meta(value, &ret->meta);
        } else if (ret->n == DOC_MAX_MEMBERS) {
            return error_set(e, ERR_INVALID, "more than %d members in an object",
                             DOC_MAX_MEMBERS);
        } else {
            ret->members[ret->n].key = key;
            ret->members[ret->n++].value = value;
        }
    }
    return 0;
}

struct span
doc_get(const struct doc *d, const char *key)
{
    for (size_t i = 0; i < d->n; i++)
        if (span_eq(d->members[i].key, key))
            return d->members[i].value;
    return (struct span){0};
}

int
doc_set(struct doc *d, const char *key, struct span value, struct error *e)
{
    struct span k = span_of(key);
    size_t i = 0;
    int c = 1;

    while (i < d->n && (c = span_cmp(d->members[i].key, k)) < 0)
        i++;
    if (i < d->n && c == 0) {
        if (value.len > 0) {
            d->members[i].value = value;
            return 0;
        }
        d->n--;
        memmove(&d->members[i], &d->members[i + 1], (d->n - i) * sizeof(d->members[0]));
        return 0;
    }
    if (value.len == 0)
        return 0;
    if (d->n == DOC_MAX_MEMBERS)
        return error_set(e, ERR_INVALID, "more than %d members in an object",
                         DOC_MAX_MEMBERS);
    memmove(&d->members[i + 1], &d->members[i], (d->n - i) * sizeof(d->members[0]));
    d->members[i].key = k;
    d->members[i].value = value;
    d->n++;
    return 0;
}

static void
put_raw(struct str *out, struct span key, struct span value)
{
    jput_item(out);
    put_char(out, '"');
    put(out, key.ptr, key.len);
    put(out, "\":", 2);
    put(out, value.ptr, value.len);
}

static void
put_text(struct str *out, const char *key, struct span text)
{
    if (text.len == 0)
        return;
    put_raw(out, span_of(key), (struct span){"\"", 1});
    put(out, text.ptr, text.len);
    put_char(out, '"');
}

/* Empty maps and lists of metadata are not kept, as in Kubernetes. */
static void
put_nonempty(struct str *out, const char *key, struct span value)
{
    if (value.len > 2)
        put_raw(out, span_of(key), value);
}

static void
put_metadata(struct str *out, const struct meta *m)
{
    put_raw(out, span_of("metadata"), (struct span){"{", 1});
    put_nonempty(out, "annotations", m->annotations);
    put_text(out, "creationTimestamp", m->created);
    if (m->grace_s >= 0)
        jput_member_int(out, "deletionGracePeriodSeconds", m->grace_s);
    put_text(out, "deletionTimestamp", m->deleted);
    put_nonempty(out, "finalizers", m->finalizers);
    put_text(out, "generateName", m->generate_name);
    if (m->generation != 0)
        jput_member_int(out, "generation", m->generation);
    put_nonempty(out, "labels", m->labels);
    put_nonempty(out, "managedFields", m->managed_fields);
    put_text(out, "name", m->name);
    put_text(out, "namespace", m->ns);
    put_nonempty(out, "ownerReferences", m->owners);
    put_text(out, "uid", m->uid);
    put_char(out, '}');
}

void
doc_write(const struct doc *d, struct str *out)
{
    static const char *const own[] = {"apiVersion", "kind", "metadata"};
    size_t i = 0;

    put_char(out, '{');
    for (size_t k = 0; k < ARRAY_LEN(own); k++) {
        for (; i < d->n && span_cmp(d->members[i].key, span_of(own[k])) < 0; i++)
            put_raw(out, d->members[i].key, d->members[i].value);
        if (k == 0)
            put_text(out, own[k], d->api_version);
        else if (k == 1)
            put_text(out, own[k], d->kind);
        else
            put_metadata(out, &d->meta);
    }
    for (; i < d->n; i++)
        put_raw(out, d->members[i].key, d->members[i].value);
    put_char(out, '}');
}
