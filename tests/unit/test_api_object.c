/* SPDX-License-Identifier: Apache-2.0 */
/* Objects and their facts; docs taken apart and put together. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/jtok.h"
#include "api/object.h"
#include "base/str.h"

#define META                                                                             \
    "\"metadata\":{\"annotations\":{\"a\":\"resourceVersion\"},"                         \
    "\"creationTimestamp\":\"2026-01-02T03:04:05Z\","                                    \
    "\"deletionTimestamp\":\"2026-01-02T03:04:06Z\",\"finalizers\":[\"x/y\",\"z/w\"],"   \
    "\"generation\":7,\"labels\":{\"app\":\"web\",\"tier\":\"\"},"                       \
    "\"managedFields\":[{\"manager\":\"m\"}],\"name\":\"n1\",\"namespace\":\"ns1\","     \
    "\"ownerReferences\":[{\"apiVersion\":\"v1\",\"kind\":\"K\",\"name\":\"o\","         \
    "\"uid\":\"u0\"},{\"apiVersion\":\"v1\",\"blockOwnerDeletion\":true,"                \
    "\"controller\":true,\"kind\":\"K\",\"name\":\"p\",\"uid\":\"u9\"}],"
#define BEFORE "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\"," META
#define AFTER                                                                            \
    "\"uid\":\"u1\"},\"spec\":{\"a\":{\"b\":\"c\\n\"},\"n\":-5},\"status\":{\"phase\":"  \
    "\"P\"}}"

static struct object *
make(const char *json, uint64_t revision)
{
    struct object *o;
    struct error e = ERROR_INIT;

    if (object_new(NULL, json, strlen(json), revision, &o, &e) < 0)
        fail_msg("%s", e.msg);
    return o;
}

static void
test_facts(void **state)
{
    auto_object *o = make(BEFORE AFTER, 12);
    struct span v;
    char buf[16];

    UNUSED(state);
    assert_string_equal(o->ns, "ns1");
    assert_string_equal(o->name, "n1");
    assert_string_equal(o->uid, "u1");
    assert_string_equal(o->bytes, BEFORE AFTER);
    assert_int_equal(o->facts.generation, 7);
    assert_int_equal(o->facts.created_s, 1767323045);
    assert_int_equal(o->facts.deleting_s, 1767323046);
    assert_int_equal(o->facts.n_labels, 2);
    assert_true(object_label(o, "app", &v));
    assert_true(span_eq(v, "web"));
    assert_true(object_label(o, "tier", &v));
    assert_int_equal(v.len, 0);
    assert_false(object_label(o, "ap", &v));
    assert_true(object_has_finalizer(o, "z/w"));
    assert_false(object_has_finalizer(o, "z"));
    assert_int_equal(o->facts.n_owners, 2);
    assert_ptr_equal(object_controller(o), &o->facts.owners[1]);
    assert_true(span_eq(object_fact(o, object_controller(o)->uid), "u9"));
    assert_true(object_controller(o)->block_deletion);
    assert_false(object_declared(NULL, o));
    struct kind declared = {.declared = true};
    assert_false(object_declared(&declared, o));
    assert_true(span_eq(object_fact(o, o->facts.status), "{\"phase\":\"P\"}"));
    assert_true(
        span_eq(object_fact(o, o->facts.managed_fields), "[{\"manager\":\"m\"}]"));
    assert_true(object_path(o, "spec.a.b", &v));
    assert_true(object_path(o, "kind", &v));
    assert_true(jscan_is(v, "Run"));
    assert_true(object_get_string(o, "spec.a.b", buf, sizeof(buf)));
    assert_string_equal(buf, "c\n");
    assert_false(object_get_string(o, "spec.n", buf, sizeof(buf)));
    assert_string_equal(buf, "");
    assert_false(object_get_string(o, "spec.a.b", buf, 2));
    assert_int_equal(object_get_int(o, "spec.n", 1), -5);
    assert_int_equal(object_get_int(o, "spec.m", 1), 1);
}

static void
test_write_splices_revision(void **state)
{
    auto_object *o = make(BEFORE AFTER, 12);
    auto_object *later = object_with_revision(o, 13);
    auto_str s = STR_INIT(10000);
    struct span v;

    UNUSED(state);
    object_write(o, &s);
    assert_string_equal(s.ptr, BEFORE "\"resourceVersion\":\"12\"," AFTER);
    assert_int_equal(object_written_len(o), s.len);
    object_unref(move_ptr(o));
    str_reset(&s);
    object_write(later, &s);
    assert_string_equal(s.ptr, BEFORE "\"resourceVersion\":\"13\"," AFTER);
    assert_true(object_label(later, "app", &v));
    assert_string_equal(later->uid, "u1");
}

static void
test_from_json(void **state)
{
    static const char json[] =
        "{\"kind\": \"Run\", \"metadata\": {\"uid\": \"u\", \"name\": \"n\",\n"
        "\"resourceVersion\": \"99\", \"labels\": {}}, \"apiVersion\": \"v1\"}";
    struct object *o = NULL;
    struct error e = ERROR_INIT;
    auto_str s = STR_INIT(1000);

    UNUSED(state);
    assert_int_equal(object_from_json(NULL, json, sizeof(json) - 1, &o, &e), 0);
    assert_int_equal(o->revision, 99);
    assert_string_equal(o->bytes, "{\"apiVersion\":\"v1\",\"kind\":\"Run\",\"metadata\":{"
                                  "\"labels\":{},\"name\":\"n\",\"uid\":\"u\"}}");
    object_write(o, &s);
    assert_string_equal(
        s.ptr, "{\"apiVersion\":\"v1\",\"kind\":\"Run\",\"metadata\":{"
               "\"labels\":{},\"name\":\"n\",\"resourceVersion\":\"99\",\"uid\":\"u\"}}");
    json_t *tree = object_json(o);
    assert_string_equal(json_string_value(json_object_get(
                            json_object_get(tree, "metadata"), "resourceVersion")),
                        "99");
    json_decref(tree);
    object_unref(o);
}

static void
test_refuses(void **state)
{
    static const char *const bad[] = {
        "[]",
        "{}",
        "{\"metadata\":1}",
        "{\"metadata\":{\"name\":\"a\"}}",
        "{\"metadata\":{\"uid\":\"a\"}}",
        "{\"metadata\":{\"name\":5,\"uid\":\"a\"}}",
        "{\"metadata\":{\"name\":\"a\",\"resourceVersion\":\"1\",\"uid\":\"a\"}}"};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct object *o = NULL;
        struct error e = ERROR_INIT;
        assert_int_equal(object_new(NULL, bad[i], strlen(bad[i]), 1, &o, &e),
                         -ERR_INVALID);
        assert_null(o);
    }
}

static void
test_doc_round_trip(void **state)
{
    struct doc d;
    struct error e = ERROR_INIT;
    auto_str s = STR_INIT(10000);

    UNUSED(state);
    assert_int_equal(doc_parse(BEFORE AFTER, strlen(BEFORE AFTER), &d, &e), 0);
    assert_true(span_eq(d.api_version, "drover.dev/v1"));
    assert_true(span_eq(d.meta.name, "n1"));
    assert_int_equal(d.meta.generation, 7);
    assert_int_equal(d.meta.grace_s, -1);
    assert_int_equal(d.n, 2);
    assert_true(span_eq(doc_get(&d, "status"), "{\"phase\":\"P\"}"));
    assert_int_equal(doc_get(&d, "data").len, 0);
    doc_write(&d, &s);
    assert_string_equal(s.ptr, BEFORE AFTER);
}

static void
test_doc_surgery(void **state)
{
    static const char in[] =
        "{\"aa\":1,\"data\":{\"k\":\"v\"},\"metadata\":{\"deletionGracePeriodSeconds\":0,"
        "\"labels\":{},\"name\":\"n\",\"resourceVersion\":\"3\",\"uid\":\"u\"},\"type\":"
        "\"T\"}";
    struct doc d;
    struct error e = ERROR_INIT;
    auto_str s = STR_INIT(10000);

    UNUSED(state);
    assert_int_equal(doc_parse(in, sizeof(in) - 1, &d, &e), 0);
    assert_true(span_eq(d.meta.resource_version, "3"));
    assert_int_equal(d.meta.grace_s, 0);
    d.api_version = span_of("v1");
    d.kind = span_of("Secret");
    d.meta.generation = 1;
    assert_int_equal(doc_set(&d, "status", span_of("{\"x\":1}"), &e), 0);
    assert_int_equal(doc_set(&d, "status", span_of("{\"x\":2}"), &e), 0);
    assert_int_equal(doc_set(&d, "type", (struct span){0}, &e), 0);
    assert_int_equal(doc_set(&d, "nothing", (struct span){0}, &e), 0);
    doc_write(&d, &s);
    assert_string_equal(
        s.ptr, "{\"aa\":1,\"apiVersion\":\"v1\",\"data\":{\"k\":\"v\"},"
               "\"kind\":\"Secret\",\"metadata\":{\"deletionGracePeriodSeconds\":0,"
               "\"generation\":1,\"name\":\"n\",\"uid\":\"u\"},\"status\":{\"x\":2}}");
}

static void
test_doc_without_metadata(void **state)
{
    struct doc d;
    struct error e = ERROR_INIT;
    auto_str s = STR_INIT(10000);

    UNUSED(state);
    assert_int_equal(doc_parse("{}", 2, &d, &e), 0);
    doc_write(&d, &s);
    assert_string_equal(s.ptr, "{\"metadata\":{}}");
    assert_int_equal(doc_parse("[]", 2, &d, &e), -ERR_BAD_REQUEST);
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_write_splices_revision),
        cmocka_unit_test(test_from_json),
        cmocka_unit_test(test_refuses),
        cmocka_unit_test(test_doc_round_trip),
        cmocka_unit_test(test_doc_surgery),
        cmocka_unit_test(test_doc_without_metadata),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
