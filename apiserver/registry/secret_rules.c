/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Secrets and ConfigMaps beyond their schema: keys, sizes, base64, stringData, what a
 * Secret's type demands, and immutability.
 */
#include "api/jtok.h"
#include "apiserver/registry/compute_internal.h"
#include "base/id.h"

enum { DATA_MAX = 1024 * 1024, KEY_MAX = 253 };

static const char key_rule[] =
    "a valid config key must consist of alphanumeric characters, '-', '_' or '.' (e.g. "
    "'key.name',  or 'KEY_NAME',  or 'key-name', regex used for validation is "
    "'[-._a-zA-Z0-9]+')";

static void
refuse_key(struct compute *c, const char *member, struct span key, const char *why)
{
    autofree char *path = xasprintf("%s[%.*s]", member, SPAN_ARG(key));
    autofree char *json = xasprintf("\"%.*s\"", SPAN_ARG(key));

    violations_add(&compute_problem(c)->v, VIOLATION_INVALID, path, json, "%s", why);
}

static bool
is_key_byte(char b)
{
    return (b >= 'a' && b <= 'z') || (b >= 'A' && b <= 'Z') || (b >= '0' && b <= '9') ||
           b == '-' || b == '_' || b == '.';
}

static void
check_key(struct compute *c, const char *member, struct span key)
{
    bool ok = key.len > 0;

    for (size_t i = 0; i < key.len; i++)
        ok = ok && is_key_byte(key.ptr[i]);
    if (key.len > KEY_MAX)
        refuse_key(c, member, key, "must be no more than 253 characters");
    if (!ok)
        refuse_key(c, member, key, key_rule);
    else if (span_eq(key, "."))
        refuse_key(c, member, key, "must not be '.'");
    else if (span_eq(key, ".."))
        refuse_key(c, member, key, "must not be '..'");
    else if (key.len > 2 && key.ptr[0] == '.' && key.ptr[1] == '.')
        refuse_key(c, member, key, "must not start with '..'");
}

/* Keys and values of one map; adds the bytes that its values stand for to *total. */
static void
check_data(struct compute *c, const char *member, bool base64, size_t *total)
{
    struct span map = doc_get(&c->doc, member), key, value;
    const char *cursor = NULL;

    while (map.len > 0 && jscan_next_member(map, &cursor, &key, &value)) {
        auto_str bytes = STR_INIT(OBJECT_MAX_BYTES);
        struct error e = ERROR_INIT;
        check_key(c, member, key);
        if (!base64) {
            jscan_string(value, &bytes);
        } else if (value.len < 2 || id_base64_decode(value.ptr + 1, value.len - 2, false,
                                                     &bytes, &e) < 0) {
            autofree char *path = xasprintf("%s[%.*s]", member, SPAN_ARG(key));
            violations_add(&compute_problem(c)->v, VIOLATION_INVALID, path, NULL,
                           "not base64");
        }
        *total += bytes.len;
    }
}

static void
check_total(struct compute *c, const char *path, size_t total)
{
    if (total > DATA_MAX)
        violations_add(&compute_problem(c)->v, VIOLATION_TOO_LONG, path, NULL,
                       "may not be more than %d bytes", DATA_MAX);
}

static int
verdict(struct compute *c)
{
    struct problem *p = compute_problem(c);

    return violations_errors(&p->v) > 0 ? problem_invalid(p) : 0;
}

static bool
same_member(const struct compute *c, const char *key)
{
    struct span a = doc_get(&c->doc, key), b = doc_get(&c->live_doc, key);

    return a.len == b.len && (a.len == 0 || memcmp(a.ptr, b.ptr, a.len) == 0);
}

/* immutable: true freezes the named members and itself. */
static int
check_immutable(struct compute *c, const char *const *members)
{
    static const char text[] = "field is immutable when `immutable` is set";
    struct problem *p = compute_problem(c);

    if (c->in->live == NULL || !jscan_bool(doc_get(&c->live_doc, "immutable")))
        return 0;
    if (!jscan_bool(doc_get(&c->doc, "immutable")))
        return problem_field(p, VIOLATION_FORBIDDEN, "immutable", NULL, text);
    for (; *members != NULL; members++) {
        if (!same_member(c, *members))
            return problem_field(p, VIOLATION_FORBIDDEN, *members, NULL, text);
    }
    return 0;
}

/* stringData is moved into data, as base64. */
static int
merge_string_data(struct compute *c)
{
    struct span text = doc_get(&c->doc, "stringData");
    struct span data = doc_get(&c->doc, "data"), key, value;
    struct str *patch = &c->scratch[0], *merged = &c->scratch[1];
    struct error *e = &compute_problem(c)->e;
    const char *cursor = NULL;
    int rc;

    if (text.len == 0)
        return 0;
    str_addc(patch, '{');
    while (jscan_next_member(text, &cursor, &key, &value)) {
        auto_str plain = STR_INIT(OBJECT_MAX_BYTES);
        jput_item(patch);
        str_addc(patch, '"');
        str_add(patch, key.ptr, key.len);
        str_adds(patch, "\":\"");
        jscan_string(value, &plain);
        id_base64(plain.ptr, plain.len, patch);
        str_addc(patch, '"');
    }
    str_addc(patch, '}');
    if (data.len == 0)
        data = span_of("{}");
    rc = jmerge(data, (struct span){patch->ptr, patch->len}, merged, e);
    if (rc < 0)
        return rc;
    if ((rc = doc_set(&c->doc, "stringData", (struct span){0}, e)) < 0)
        return rc;
    return doc_set(&c->doc, "data", (struct span){merged->ptr, merged->len}, e);
}

/* --- what a type demands
 * ------------------------------------------------------------------ */

static const struct secret_type {
    const char *type;
    const char *keys[2]; /* of data; all of them, or any one with any_of */
    bool any_of, json;   /* json: the value is a JSON document */
} secret_types[] = {
    {"kubernetes.io/dockercfg", {".dockercfg", NULL}, false, true},
    {"kubernetes.io/dockerconfigjson", {".dockerconfigjson", NULL}, false, true},
    {"kubernetes.io/basic-auth", {"username", "password"}, true, false},
    {"kubernetes.io/ssh-auth", {"ssh-privatekey", NULL}, false, false},
    {"kubernetes.io/tls", {"tls.crt", "tls.key"}, false, false},
};

static bool
type_is(struct span raw, const char *type)
{
    return raw.len == strlen(type) + 2 && memcmp(raw.ptr + 1, type, raw.len - 2) == 0;
}

static void
check_json_value(struct compute *c, const char *key, struct span value)
{
    auto_str bytes = STR_INIT(OBJECT_MAX_BYTES);
    auto_str clean = STR_INIT(OBJECT_MAX_BYTES);
    struct error e = ERROR_INIT;
    autofree char *path = xasprintf("data[%s]", key);

    if (id_base64_decode(value.ptr + 1, value.len - 2, false, &bytes, &e) == 0 &&
        jcanon(bytes.ptr, bytes.len, &clean, &e) < 0)
        violations_add(&compute_problem(c)->v, VIOLATION_INVALID, path,
                       "\"<secret contents redacted>\"", "not JSON");
}

static void
check_type(struct compute *c, const struct secret_type *t)
{
    struct span data = doc_get(&c->doc, "data"), value;
    size_t found = 0, n = 0;

    for (; n < ARRAY_LEN(t->keys) && t->keys[n] != NULL; n++) {
        if (data.len == 0 || !jscan_member(data, t->keys[n], &value))
            continue;
        found++;
        if (t->json)
            check_json_value(c, t->keys[n], value);
    }
    if (found == n || (t->any_of && found > 0))
        return;
    for (size_t i = 0; i < n; i++) {
        autofree char *path = xasprintf("data[%s]", t->keys[i]);
        if (data.len == 0 || !jscan_member(data, t->keys[i], &value))
            violations_add(&compute_problem(c)->v, VIOLATION_REQUIRED, path, NULL, "%s",
                           "");
    }
}

static void
check_types(struct compute *c)
{
    struct span type = doc_get(&c->doc, "type"), value;
    const char *account = "kubernetes.io/service-account.name";

    for (size_t i = 0; i < ARRAY_LEN(secret_types); i++) {
        if (type_is(type, secret_types[i].type))
            check_type(c, &secret_types[i]);
    }
    if (type_is(type, "kubernetes.io/service-account-token") &&
        (c->doc.meta.annotations.len == 0 ||
         !jscan_member(c->doc.meta.annotations, account, &value) || value.len <= 2))
        violations_add(&compute_problem(c)->v, VIOLATION_REQUIRED,
                       "metadata.annotations[kubernetes.io/service-account.name]", NULL,
                       "%s", "");
}

int
secret_rules(struct compute *c)
{
    static const char *const frozen[] = {"data", NULL};
    size_t total = 0;
    int rc;

    if ((rc = merge_string_data(c)) < 0)
        return rc;
    check_data(c, "data", true, &total);
    check_total(c, "data", total);
    check_types(c);
    if ((rc = verdict(c)) < 0)
        return rc;
    if (c->in->live != NULL && !same_member(c, "type"))
        return problem_field(compute_problem(c), VIOLATION_INVALID, "type", NULL,
                             "field is immutable");
    return check_immutable(c, frozen);
}

int
configmap_rules(struct compute *c)
{
    static const char *const frozen[] = {"data", "binaryData", NULL};
    struct span data = doc_get(&c->doc, "data"), binary = doc_get(&c->doc, "binaryData");
    const char *cursor = NULL;
    struct span key, value;
    size_t total = 0;
    int rc;

    check_data(c, "data", false, &total);
    check_data(c, "binaryData", true, &total);
    while (binary.len > 0 && jscan_next_member(binary, &cursor, &key, &value)) {
        autofree char *name = xstrndup(key.ptr, key.len);
        if (data.len > 0 && jscan_member(data, name, &value))
            refuse_key(c, "data", key, "duplicate of key present in binaryData");
    }
    check_total(c, "", total);
    if ((rc = verdict(c)) < 0)
        return rc;
    return check_immutable(c, frozen);
}
