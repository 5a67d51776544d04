/* SPDX-License-Identifier: Apache-2.0 */
/* Protobuf bodies: the official vectors, and what is out of order, cut or too much. */
#include <dirent.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/protobuf.h"
#include "base/fs.h"
#include "base/mem.h"

enum { OFFICIAL = 19, RECORDED = 15 };

static void
canonical_file(const char *path, struct str *out)
{
    auto_str text = STR_INIT(1u << 20);
    struct error e = ERROR_INIT;

    if (fs_read(path, &text, &e) < 0 || jcanon(text.ptr, text.len, out, &e) < 0)
        fail_msg("%s: %s", path, e.msg);
}

static void
check_vector(const char *dir, const char *name)
{
    autofree char *base = xstrndup(name, strlen(name) - strlen(".pb"));
    autofree char *pb = xasprintf("%s/%s.pb", dir, base);
    autofree char *json = xasprintf("%s/%s.json", dir, base);
    auto_str body = STR_INIT(1u << 20), want = STR_INIT(1u << 20);
    auto_str text = STR_INIT(1u << 20), got = STR_INIT(1u << 20);
    struct error e = ERROR_INIT;

    canonical_file(json, &want);
    if (fs_read(pb, &body, &e) < 0 ||
        protobuf_to_json((struct span){body.ptr, body.len}, &text, &e) < 0 ||
        jcanon(text.ptr, text.len, &got, &e) < 0)
        fail_msg("%s: %s", base, e.msg);
    assert_string_equal(got.ptr, want.ptr);
    /* Every prefix ends without a fault; none of those inside the envelope is right. */
    for (size_t n = 0; n < body.len; n++) {
        autofree char *cut = xmemdup(body.ptr, n);
        str_reset(&text);
        e = ERROR_INIT;
        if (protobuf_to_json((struct span){cut, n}, &text, &e) < 0)
            assert_int_equal(text.len, 0);
    }
}

static int
check_vectors(const char *dir)
{
    DIR *d = opendir(dir);
    struct dirent *f;
    int n = 0;

    assert_non_null(d);
    while ((f = readdir(d)) != NULL) {
        if (str_ends(f->d_name, ".pb")) {
            check_vector(dir, f->d_name);
            n++;
        }
    }
    closedir(d);
    return n;
}

static void
test_vectors(void **state)
{
    (void)state;
    assert_int_equal(check_vectors(VECTORS "/k8s-protobuf"), OFFICIAL);
    /* What kubectl 1.34 sends for create ns, secret, role, token, ..., auth can-i. */
    assert_int_equal(check_vectors(VECTORS "/kubectl-1.34"), RECORDED);
}

/* --- made bodies: `raw` as hex text without the envelope ---------------------------- */

static void
put_field(struct str *out, unsigned number, const void *bytes, size_t n)
{
    bug_if(number > 255 || n > 16383);
    str_addc(out, (char)(number << 3 | 2 | (number > 15 ? 0x80 : 0)));
    if (number > 15)
        str_addc(out, (char)(number >> 4));
    if (n > 127)
        str_addc(out, (char)(n | 0x80));
    str_addc(out, (char)(n > 127 ? n >> 7 : n));
    str_add(out, bytes, n);
}

static void
make_body(const char *version, const char *kind, struct span raw, struct str *out)
{
    auto_str type = STR_INIT(1000);

    put_field(&type, 1, version, strlen(version));
    put_field(&type, 2, kind, strlen(kind));
    str_add(out, "k8s", 4);
    put_field(out, 1, type.ptr, type.len);
    put_field(out, 2, raw.ptr, raw.len);
}

static int
convert(const char *version, const char *kind, const void *raw, size_t n, size_t max,
        struct str *out, struct error *e)
{
    auto_str body = STR_INIT(1u << 16);

    make_body(version, kind, (struct span){raw, n}, &body);
    str_init(out, max);
    *e = ERROR_INIT;
    return protobuf_to_json((struct span){body.ptr, body.len}, out, e);
}

#define TEXT(s) s, sizeof(s) - 1

static void
test_cases(void **state)
{
    static const struct {
        const char *version, *kind, *raw;
        size_t n;
        const char *want;
    } cases[] = {
        /* fields out of order, a repeated one spread, an unknown one, the last wins */
        {"v1", "ServiceAccount",
         TEXT("\x20\x01\x1a\x03\x0a\x01"
              "b"
              "\x7a\x01x\x0a\x03\x0a\x01n\x1a\x03\x0a\x01"
              "a\x20\x00"),
         "{\"apiVersion\":\"v1\",\"kind\":\"ServiceAccount\",\"metadata\":{\"name\":"
         "\"n\"},\"imagePullSecrets\":[{\"name\":\"b\"},{\"name\":\"a\"}],"
         "\"automountServiceAccountToken\":false}"},
        /* what Go cannot leave out is dropped, lists and pointers keep their empties */
        {"rbac.authorization.k8s.io/v1", "Role",
         TEXT("\x0a\x06\x0a\x00\x12\x00\x42\x00\x12\x07\x0a\x03get\x12\x00"),
         "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"Role\",\"rules\":"
         "[{\"verbs\":[\"get\"],\"apiGroups\":[\"\"]}]}"},
        {"coordination.k8s.io/v1", "Lease", TEXT("\x12\x02\x0a\x00"),
         "{\"apiVersion\":\"coordination.k8s.io/v1\",\"kind\":\"Lease\",\"spec\":{"
         "\"holderIdentity\":\"\"}}"},
        /* a map with an absent key and value */
        {"v1", "ConfigMap", TEXT("\x12\x00"),
         "{\"apiVersion\":\"v1\",\"kind\":\"ConfigMap\",\"data\":{\"\":\"\"}}"},
        {"v1", "Secret", TEXT("\x12\x08\x0a\x01k\x12\x03\x00\xff\x41"),
         "{\"apiVersion\":\"v1\",\"kind\":\"Secret\",\"data\":{\"k\":\"AP9B\"}}"},
        /* options come in the group of their call */
        {"rbac.authorization.k8s.io/v1", "DeleteOptions", TEXT("\x08\x00\x22\x06Orphan"),
         "{\"apiVersion\":\"rbac.authorization.k8s.io/v1\",\"kind\":\"DeleteOptions\","
         "\"gracePeriodSeconds\":0,\"propagationPolicy\":\"Orphan\"}"},
        /* quantities in a map */
        {"v1", "ResourceQuota",
         TEXT("\x12\x0d\x0a\x0b\x0a\x04pods\x12\x03\x0a\x01"
              "5"),
         "{\"apiVersion\":\"v1\",\"kind\":\"ResourceQuota\",\"spec\":{\"hard\":{\"pods\":"
         "\"5\"}}}"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str out;
        struct error e;
        int rc = convert(cases[i].version, cases[i].kind, cases[i].raw, cases[i].n,
                         1u << 16, &out, &e);
        if (rc < 0)
            fail_msg("case %zu: %s", i, e.msg);
        assert_string_equal(out.ptr, cases[i].want);
        str_done(&out);
    }
}

static void
test_refused(void **state)
{
    static const struct {
        const char *version, *kind, *raw;
        size_t n;
        enum err_code code;
        const char *text;
    } cases[] = {
        {"v1", "Pod", TEXT(""), ERR_MEDIA_TYPE, "no protobuf form is known here for v1"},
        {"v2", "Secret", TEXT(""), ERR_MEDIA_TYPE, "no protobuf form"},
        {"v1", "Secret", TEXT("\x08\x01"), ERR_BAD_REQUEST,
         "metadata: protobuf: a field of another type"},
        {"v1", "Secret", TEXT("\x0a\x04\x0a\x02\xff\xfe"), ERR_BAD_REQUEST,
         "metadata: name: protobuf: a string is not UTF-8"},
        {"v1", "Secret", TEXT("\x0b"), ERR_BAD_REQUEST, "an unknown wire type"},
        {"v1", "Secret", TEXT("\x00"), ERR_BAD_REQUEST, "a wrong tag"},
        {"v1", "Secret", TEXT("\x0a\x05x"), ERR_BAD_REQUEST, "a wrong length"},
        {"v1", "Secret", TEXT("\x28\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01"),
         ERR_BAD_REQUEST, "a wrong varint"},
        {"v1", "Namespace",
         TEXT("\x0a\x0c\x42\x0a\x08\xff\xff\xff\xff\xff\xff\xff\xff\x7f"),
         ERR_BAD_REQUEST, "a time out of range"},
    };

    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct str out;
        struct error e;
        assert_true(convert(cases[i].version, cases[i].kind, cases[i].raw, cases[i].n,
                            1u << 16, &out, &e) < 0);
        assert_int_equal(e.code, cases[i].code);
        if (strstr(e.msg, cases[i].text) == NULL)
            fail_msg("case %zu: %s", i, e.msg);
        str_done(&out);
    }
}

/* The schema of version v1 of a CRD, as raw bytes of its JSONSchemaProps. */
static int
convert_schema(const struct str *schema, struct str *out, struct error *e)
{
    auto_str validation = STR_INIT(1u << 16), version = STR_INIT(1u << 16);
    auto_str spec = STR_INIT(1u << 16), whole = STR_INIT(1u << 16);

    put_field(&validation, 1, schema->ptr, schema->len);
    put_field(&version, 4, validation.ptr, validation.len);
    put_field(&spec, 7, version.ptr, version.len);
    put_field(&whole, 2, spec.ptr, spec.len);
    return convert("apiextensions.k8s.io/v1", "CustomResourceDefinition", whole.ptr,
                   whole.len, 1u << 16, out, e);
}

static void
test_crd(void **state)
{
    auto_str schema = STR_INIT(1000), item = STR_INIT(1000), holder = STR_INIT(1000);
    struct str out;
    struct error e;

    (void)state;
    put_field(&schema, 5, TEXT("array"));
    put_field(&schema, 8, TEXT("\x0a\x09[ 1, {} ]"));   /* default */
    str_add(&schema, TEXT("\x49\0\0\0\0\0\0\x04\x40")); /* maximum 2.5 */
    str_add(&schema, TEXT("\x50\x00\x90\x01\x01"));     /* false, uniqueItems */
    put_field(&item, 5, TEXT("string"));
    put_field(&holder, 1, item.ptr, item.len);
    put_field(&schema, 24, holder.ptr, holder.len); /* items */
    put_field(&schema, 30, TEXT("\x08\x01"));       /* additionalProperties: true */
    put_field(&schema, 42, TEXT("set"));
    if (convert_schema(&schema, &out, &e) < 0)
        fail_msg("%s", e.msg);
    assert_string_equal(
        out.ptr,
        "{\"apiVersion\":\"apiextensions.k8s.io/v1\",\"kind\":"
        "\"CustomResourceDefinition\",\"spec\":{\"versions\":[{\"schema\":{"
        "\"openAPIV3Schema\":{\"type\":\"array\",\"default\":[1,{}],\"maximum\":2.5,"
        "\"uniqueItems\":true,\"items\":{\"type\":\"string\"},"
        "\"additionalProperties\":true,\"x-kubernetes-list-type\":\"set\"}}}]}}");
    str_done(&out);
}

static void
test_bounds(void **state)
{
    auto_str raw = STR_INIT(1u << 16);
    struct str out;
    struct error e;

    (void)state;
    for (int i = 0; i < 60; i++) { /* not:{not:{...}} */
        auto_str outer = STR_INIT(1u << 16);
        put_field(&outer, 28, raw.ptr, raw.len);
        str_reset(&raw);
        str_add(&raw, outer.ptr, outer.len);
    }
    assert_true(convert_schema(&raw, &out, &e) < 0);
    assert_non_null(strstr(e.msg, "nested too deep"));
    str_done(&out);
    /* a list of many empty maps grows; the output's bound holds */
    str_reset(&raw);
    for (int i = 0; i < 8000; i++)
        str_add(&raw, "\x12", 2);
    assert_int_equal(convert("v1", "ConfigMap", raw.ptr, raw.len, 1000, &out, &e),
                     -ERR_TOO_LARGE);
    assert_int_equal(out.len, 0);
    str_done(&out);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_vectors), cmocka_unit_test(test_cases),
        cmocka_unit_test(test_refused), cmocka_unit_test(test_crd),
        cmocka_unit_test(test_bounds),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
