/* SPDX-License-Identifier: Apache-2.0 */
/* From the stored object to the file. Text to text: this runs for every write. */
#include "apiserver/mirror/form.h"

#include "api/jtok.h"
#include "api/yaml.h"
#include "base/id.h"
#include "base/mem.h"

#define LAST_APPLIED "kubectl.kubernetes.io/last-applied-configuration"
#define NAME_LABEL "kubernetes.io/metadata.name" /* of Namespaces */
#define CRDS "customresourcedefinitions.apiextensions.k8s.io"
#define SYSTEM_NAMESPACE "drover-system"

static bool
annotation_is(const struct object *o, const char *key, const char *value)
{
    struct span meta = object_fact(o, o->facts.metadata), annotations, raw;

    return jscan_member(meta, "annotations", &annotations) &&
           jscan_member(annotations, key, &raw) && jscan_is(raw, value);
}

const char *
mirror_unwanted(const struct kind *k, const struct object *o)
{
    struct span raw;

    if (!k->declared)
        return "objects of this kind are not mirrored";
    if (object_controller(o) != NULL)
        return "a controller owns it";
    if (streq(o->ns, SYSTEM_NAMESPACE) ||
        (streq(k->resource, "namespaces") && streq(o->name, SYSTEM_NAMESPACE)))
        return "it belongs to the system";
    if (streq(k->resource, CRDS) && str_ends(o->name, ".drover.dev"))
        return "the kind comes with the server";
    if (object_label(o, "kubernetes.io/bootstrapping", &raw))
        return "the server made it";
    if (streq(k->resource, "secrets") && object_path(o, "type", &raw) &&
        jscan_is(raw, "drover.dev/join-token"))
        return "it is a join token";
    if (annotation_is(o, "drover.dev/mirror", "false"))
        return "its annotation drover.dev/mirror says so";
    return NULL;
}

static void
put_raw(struct str *out, struct span key, struct span value)
{
    jput_item(out);
    str_addc(out, '"');
    str_add(out, key.ptr, key.len);
    str_adds(out, "\":");
    str_add(out, value.ptr, value.len);
}

/* A map of metadata without the entry that the server owns. */
static void
put_map(struct str *out, const char *member, struct span map, const char *without)
{
    struct span key, value;
    const char *cursor = NULL;
    size_t start = out->len;

    jput_key(out, member);
    str_addc(out, '{');
    size_t open = out->len;
    while (jscan_next_member(map, &cursor, &key, &value)) {
        if (!span_eq(key, without))
            put_raw(out, key, value);
    }
    if (out->len == open)
        str_truncate(out, start);
    else
        str_addc(out, '}');
}

static void
put_metadata(struct str *out, const struct doc *d)
{
    const struct meta *m = &d->meta;

    jput_key(out, "metadata");
    str_adds(out, "{\"name\":\"");
    str_add(out, m->name.ptr, m->name.len);
    str_addc(out, '"');
    if (m->ns.len > 0) {
        jput_key(out, "namespace");
        str_addc(out, '"');
        str_add(out, m->ns.ptr, m->ns.len);
        str_addc(out, '"');
    }
    if (m->labels.len > 2)
        put_map(out, "labels", m->labels, NAME_LABEL);
    if (m->annotations.len > 2)
        put_map(out, "annotations", m->annotations, LAST_APPLIED);
    str_addc(out, '}');
}

/* data of a Secret: base64 -> sealed. */
static int
put_sealed(const struct keyring *seal, const struct object *o, struct span data,
           struct str *out, struct error *e)
{
    struct span key, value;
    const char *cursor = NULL;

    jput_key(out, "data");
    str_addc(out, '{');
    while (jscan_next_member(data, &cursor, &key, &value)) {
        auto_str text = STR_INIT(OBJECT_MAX_BYTES), plain = STR_INIT(OBJECT_MAX_BYTES);
        autofree char *field = xstrndup(key.ptr, key.len);
        struct mirror_field f = {o->uid, o->ns, o->name, field};
        if (!jscan_string(value, &text) ||
            id_base64_decode(text.ptr, text.len, false, &plain, e) < 0)
            return error_set(e, ERR_CORRUPT, "secret %s/%s: data.%s is not base64", o->ns,
                             o->name, field);
        jput_item(out);
        str_addf(out, "\"%s\":\"", field);
        mirror_seal_value(seal, &f, plain.ptr, plain.len, out);
        str_addc(out, '"');
        memset(plain.ptr, 0, plain.len);
        memset(text.ptr, 0, text.len);
    }
    str_addc(out, '}');
    return 0;
}

int
mirror_render(const struct keyring *seal, const struct kind *k, const struct object *o,
              struct str *out, struct error *e)
{
    struct doc d;
    bool secret = streq(k->resource, "secrets");
    bool namespace = streq(k->resource, "namespaces"); /* spec: finalizers only */

    if (doc_parse(o->bytes, o->len, &d, e) < 0)
        return -(int)e->code;
    str_addc(out, '{');
    jput_member(out, "apiVersion", k->api_version);
    jput_member(out, "kind", k->kind);
    put_metadata(out, &d);
    for (size_t i = 0; i < d.n; i++) {
        if (span_eq(d.members[i].key, "status") ||
            (namespace && span_eq(d.members[i].key, "spec")))
            continue;
        if (secret && span_eq(d.members[i].key, "data")) {
            if (put_sealed(seal, o, d.members[i].value, out, e) < 0)
                return -(int)e->code;
            continue;
        }
        put_raw(out, d.members[i].key, d.members[i].value);
    }
    str_addc(out, '}');
    if (out->toobig)
        return error_set(e, ERR_TOO_LARGE, "larger than %zu bytes", out->max);
    return 0;
}

int
mirror_to_yaml(struct span form, struct str *out, struct error *e)
{
    if (yaml_write(form, out, e) < 0)
        return -(int)e->code;
    return out->toobig ? error_set(e, ERR_TOO_LARGE, "the file would be too large") : 0;
}
