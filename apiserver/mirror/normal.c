/* SPDX-License-Identifier: Apache-2.0 */
/* From the file to a form. Everything a person can write comes through here: a fuzz
 * target. */
#include "apiserver/mirror/form.h"

#include <sodium.h>
#include <stdarg.h>

#include "api/jtok.h"
#include "api/yaml.h"
#include "base/id.h"
#include "base/mem.h"

enum { VALUE_MAX = 3 << 20 };

struct reading {
    const struct keyring *seal;
    const struct kind *kind;
    const struct mirror_key *key;
    const char *uid;
    const struct yaml_doc *doc;
    struct mirror_form *out;
    struct mirror_problem *p;
};

void
mirror_form_done(struct mirror_form *f)
{
    json_decref(f->json);
    f->json = NULL;
}

static int PRINTF_LIKE(3, 4)
    bad(const struct reading *r, const char *field, const char *fmt, ...)
{
    char text[sizeof(r->p->e.msg)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    snprintf(r->p->field, sizeof(r->p->field), "%s", field);
    r->p->line = r->doc == NULL ? 0 : yaml_line(r->doc, field);
    return error_set(&r->p->e, ERR_INVALID, "%s", text);
}

/* --- what is left out
 * -------------------------------------------------------------------- */

/* In a merge patch null means "absent"; an object with one means the same without it. */
static void
drop_nulls(json_t *j)
{
    const char *key;
    json_t *value;
    void *tmp;
    size_t i;

    if (json_is_array(j)) {
        json_array_foreach (j, i, value)
            drop_nulls(value);
        return;
    }
    json_object_foreach_safe(j, tmp, key, value)
    {
        if (json_is_null(value))
            json_object_del(j, key);
        else
            drop_nulls(value);
    }
}

static void
drop_if_empty(json_t *parent, const char *key)
{
    json_t *j = json_object_get(parent, key);

    if (json_is_object(j) && json_object_size(j) == 0)
        json_object_del(parent, key);
}

static void
drop_server_owned(json_t *meta)
{
    static const char *const names[] = {"uid",
                                        "resourceVersion",
                                        "generation",
                                        "creationTimestamp",
                                        "deletionTimestamp",
                                        "deletionGracePeriodSeconds",
                                        "managedFields",
                                        "selfLink",
                                        "generateName",
                                        "ownerReferences",
                                        "finalizers"};

    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        json_object_del(meta, names[i]);
    json_t *annotations = json_object_get(meta, "annotations");
    if (json_is_object(annotations))
        json_object_del(annotations, "kubectl.kubernetes.io/last-applied-configuration");
    json_t *labels = json_object_get(meta, "labels");
    if (json_is_object(labels))
        json_object_del(labels, "kubernetes.io/metadata.name");
    drop_if_empty(meta, "annotations");
    drop_if_empty(meta, "labels");
}

/* --- identity
 * ---------------------------------------------------------------------------- */

/* The member must be `want`; absent, it is filled in. */
static int
expect(const struct reading *r, json_t *parent, const char *member, const char *field,
       const char *want)
{
    json_t *j = json_object_get(parent, member);

    if (j == NULL) {
        json_object_set_new(parent, member, json_string(want));
        return 0;
    }
    if (!json_is_string(j))
        return bad(r, field, "must be the text \"%s\"", want);
    if (!streq(json_string_value(j), want))
        return bad(r, field, "is \"%.100s\"; this file's place says \"%s\"",
                   json_string_value(j), want);
    return 0;
}

static int
check_identity(const struct reading *r, json_t *doc)
{
    const struct kind *k = r->kind;
    json_t *meta = json_object_get(doc, "metadata");

    if (expect(r, doc, "apiVersion", "apiVersion", k->api_version) < 0 ||
        expect(r, doc, "kind", "kind", k->kind) < 0)
        return -(int)r->p->e.code;
    if (meta == NULL) {
        meta = json_object();
        json_object_set_new(doc, "metadata", meta);
    }
    if (!json_is_object(meta))
        return bad(r, "metadata", "must be a mapping");
    drop_server_owned(meta);
    if (expect(r, meta, "name", "metadata.name", r->key->name) < 0)
        return -(int)r->p->e.code;
    if (k->namespaced)
        return expect(r, meta, "namespace", "metadata.namespace", r->key->ns);
    if (json_object_get(meta, "namespace") != NULL)
        return bad(r, "metadata.namespace", "must not be given: %s is cluster-scoped",
                   k->kind);
    return 0;
}

/* --- secrets
 * ----------------------------------------------------------------------------- */

static json_t *
sealed_json(const struct reading *r, const char *field, const void *bytes, size_t n)
{
    auto_str text = STR_INIT(2 * VALUE_MAX);
    struct mirror_field f = {r->uid, r->key->ns, r->key->name, field};

    mirror_seal_value(r->seal, &f, bytes, n, &text);
    return json_stringn_nocheck(text.ptr, text.len);
}

static int
text_of(const struct reading *r, const char *path, const json_t *value)
{
    if (json_is_string(value) && json_string_length(value) <= VALUE_MAX)
        return 0;
    return bad(r, path, "must be text%s",
               json_is_string(value) ? " of at most 3 MiB" : "");
}

/* A value of data: sealed, or base64. */
static int
seal_data(const struct reading *r, const char *field, const json_t *value, json_t **ret)
{
    auto_str path = STR_INIT(512), plain = STR_INIT(VALUE_MAX);
    struct error e = ERROR_INIT;
    struct mirror_field f = {r->uid, r->key->ns, r->key->name, field};
    int rc;

    str_addf(&path, "data.%.200s", field);
    if (text_of(r, path.ptr, value) < 0)
        return -(int)r->p->e.code;
    const char *text = json_string_value(value);
    bool sealed = str_starts(text, MIRROR_SEALED_PREFIX);
    if (sealed)
        rc = mirror_seal_open(r->seal, &f, text, &plain, &e);
    else
        rc = id_base64_decode(text, json_string_length(value), false, &plain, &e);
    if (rc < 0)
        return bad(r, path.ptr, "%s%s",
                   sealed ? e.msg : "is neither base64 nor a sealed value",
                   sealed ? "; write the plain value under stringData instead"
                          : "; plain text goes under stringData");
    *ret = sealed_json(r, field, plain.ptr, plain.len);
    sodium_memzero(plain.ptr, plain.len);
    if (!streq(json_string_value(*ret), text))
        r->out->plain = true;
    return 0;
}

static int
secret_values(const struct reading *r, json_t *doc)
{
    json_t *data = json_object_get(doc, "data");
    json_t *text = json_object_get(doc, "stringData");
    const char *field;
    json_t *value;
    json_t *sealed = NULL;

    if (data != NULL && !json_is_object(data))
        return bad(r, "data", "must be a mapping of names to values");
    if (text != NULL && !json_is_object(text))
        return bad(r, "stringData", "must be a mapping of names to text");
    json_object_foreach (data, field, value) {
        if (seal_data(r, field, value, &sealed) < 0)
            return -(int)r->p->e.code;
        json_object_set_new(data, field, sealed);
    }
    if (text == NULL)
        return 0;
    if (data == NULL) {
        data = json_object();
        json_object_set_new(doc, "data", data);
    }
    json_object_foreach (text, field, value) {
        auto_str path = STR_INIT(512);
        str_addf(&path, "stringData.%.200s", field);
        if (text_of(r, path.ptr, value) < 0)
            return -(int)r->p->e.code;
        json_object_set_new(
            data, field,
            sealed_json(r, field, json_string_value(value), json_string_length(value)));
    }
    json_object_del(doc, "stringData");
    r->out->plain = true;
    return 0;
}

/* --- the whole file
 * ---------------------------------------------------------------------- */

static int
parse(struct reading *r, const struct yaml_docs *docs, json_t **ret)
{
    auto_str canon = STR_INIT(4 * MIRROR_FILE_MAX);

    if (docs->list.len == 0)
        return bad(r, "", "the file is empty; to delete the object, delete the file");
    if (docs->list.len > 1)
        return bad(r, "", "there are %zu documents; a file holds one object",
                   docs->list.len);
    r->doc = &docs->list.items[0];
    if (jcanon(r->doc->json.ptr, r->doc->json.len, &canon, &r->p->e) < 0)
        return -(int)r->p->e.code;
    if (canon.toobig)
        return error_set(&r->p->e, ERR_TOO_LARGE, "the file is too large");
    json_error_t why;
    *ret = json_loadb(canon.ptr, canon.len, JSON_ALLOW_NUL, &why);
    if (*ret == NULL)
        return bad(r, "", "is not an object: %s", why.text);
    if (!json_is_object(*ret))
        return bad(r, "", "must be a mapping with apiVersion, kind and metadata");
    return 0;
}

int
mirror_read_form(const struct keyring *seal, const struct kind *k,
                 const struct mirror_key *key, const char *uid, struct span bytes,
                 struct mirror_form *ret, struct mirror_problem *p)
{
    struct yaml_docs docs = {0};
    struct reading r = {seal, k, key, uid, NULL, ret, p};

    *p = (struct mirror_problem){.e = ERROR_INIT};
    *ret = (struct mirror_form){0};
    if (bytes.len > MIRROR_FILE_MAX)
        return error_set(&p->e, ERR_TOO_LARGE, "the file is larger than %u bytes",
                         MIRROR_FILE_MAX);
    if (yaml_read(bytes.ptr, bytes.len, true, &docs, &p->e) < 0)
        return -(int)p->e.code;
    int rc = parse(&r, &docs, &ret->json);
    if (rc == 0) {
        json_object_del(ret->json, "status");
        if (streq(k->resource, "namespaces"))
            json_object_del(ret->json, "spec");
        drop_nulls(ret->json);
        rc = check_identity(&r, ret->json);
    }
    if (rc == 0 && streq(k->resource, "secrets"))
        rc = secret_values(&r, ret->json);
    if (rc < 0)
        mirror_form_done(ret);
    yaml_docs_done(&docs);
    return rc;
}

void
mirror_reseal_form(const struct keyring *seal, const struct mirror_key *key, json_t *form)
{
    json_t *data = json_object_get(form, "data"), *value;
    const char *field;

    if (keyring_len(seal) < 2 || !streq(key->resource, "secrets"))
        return;
    json_object_foreach (data, field, value) {
        auto_str plain = STR_INIT(VALUE_MAX), text = STR_INIT(2 * VALUE_MAX);
        const char *old = json_is_string(value) ? json_string_value(value) : "";
        struct error e = ERROR_INIT;
        char uid[ID_UUID_LEN];
        struct mirror_field f = {uid, key->ns, key->name, field};
        if (!mirror_sealed_uid(old, uid) ||
            mirror_seal_open(seal, &f, old, &plain, &e) < 0)
            continue;
        mirror_seal_value(seal, &f, plain.ptr, plain.len, &text);
        json_object_set_new(data, field, json_stringn_nocheck(text.ptr, text.len));
        sodium_memzero(plain.ptr, plain.len);
    }
}

json_t *
mirror_open_values(const struct keyring *seal, const struct mirror_key *key,
                   const json_t *form, struct mirror_problem *p)
{
    json_t *copy = json_deep_copy(form), *value;
    json_t *data = json_object_get(copy, "data");
    const char *field;

    if (!streq(key->resource, "secrets") || !json_is_object(data))
        return copy;
    json_object_foreach (data, field, value) {
        auto_str plain = STR_INIT(VALUE_MAX), text = STR_INIT(2 * VALUE_MAX);
        struct mirror_field f = {"", key->ns, key->name, field};
        if (json_is_null(value))
            continue;
        if (mirror_seal_open(seal, &f, json_string_value(value), &plain, &p->e) < 0) {
            snprintf(p->field, sizeof(p->field), "data.%.200s", field);
            json_decref(copy);
            return NULL;
        }
        id_base64(plain.ptr, plain.len, &text);
        json_object_set_new(data, field, json_stringn_nocheck(text.ptr, text.len));
        sodium_memzero(plain.ptr, plain.len);
        sodium_memzero(text.ptr, text.len);
    }
    return copy;
}
