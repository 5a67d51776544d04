/* SPDX-License-Identifier: Apache-2.0 */
/* Selectors by a table of text and whether the one object matches. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/selector.h"

static const char crd_text[] =
    "{\"spec\":{\"group\":\"example.dev\",\"scope\":\"Namespaced\",\"names\":{\"plural\":"
    "\"widgets\",\"kind\":\"Widget\"},\"versions\":[{\"name\":\"v1\",\"storage\":true,"
    "\"selectableFields\":[{\"jsonPath\":\".spec.color\"},{\"jsonPath\":\".spec.n\"},"
    "{\"jsonPath\":\".spec.on\"},{\"jsonPath\":\".spec.none\"}],"
    "\"schema\":{\"openAPIV3Schema\":{\"type\":\"object\"}}}]}}";
static const char object_text[] =
    "{\"metadata\":{\"labels\":{\"a.b/"
    "c\":\"1\",\"app\":\"web\",\"empty\":\"\",\"size\":\"10\"},"
    "\"name\":\"n\",\"namespace\":\"ns\",\"uid\":\"u\"},\"spec\":{\"color\":\"r,e="
    "d\\\\\","
    "\"n\":5,\"on\":true}}";

struct fixture {
    struct kind *k;
    struct object *o;
};

static int
set_up(void **state)
{
    static struct fixture f;
    json_error_t je;
    json_t *crd = json_loads(crd_text, 0, &je);
    auto_violations v = {0};
    struct error e = ERROR_INIT;

    if (crd == NULL || kind_compile(crd, NULL, &f.k, &v, &e) < 0 ||
        object_new(f.k, object_text, sizeof(object_text) - 1, 1, &f.o, &e) < 0)
        return -1;
    json_decref(crd);
    *state = &f;
    return 0;
}

static int
tear_down(void **state)
{
    struct fixture *f = *state;

    object_unref(f->o);
    kind_unref(f->k);
    return 0;
}

static void
test_labels(void **state)
{
    static const struct {
        const char *text;
        bool match;
    } cases[] = {
        {"app=web", true},
        {"app==web", true},
        {" app = web ", true},
        {"app=other", false},
        {"app!=web", false},
        {"app!=other", true},
        {"none!=x", true},
        {"none=x", false},
        {"app in (db, web)", true},
        {"app in (db)", false},
        {"app in(web)", true},
        {"app notin (db)", true},
        {"app notin (web,db)", false},
        {"none notin (x)", true},
        {"app", true},
        {"none", false},
        {"!app", false},
        {"!none", true},
        {"! none", true},
        {"size>9", true},
        {"size>10", false},
        {"size<11", true},
        {"size < 10", false},
        {"app>1", false},
        {"none<1", false},
        {"empty=", true},
        {"empty", true},
        {"app=", false},
        {"app in (web),size=10", true},
        {"app=web,size=11", false},
        {"a.b/c=1,!x,app", true},
        {"empty in (,x)", true},
        {"in=x", false},
        {"app,!none,size>1", true},
    };
    const struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct selector *s = NULL;
        struct error e = ERROR_INIT;
        if (selector_parse_labels(cases[i].text, &s, &e) < 0)
            fail_msg("%s: %s", cases[i].text, e.msg);
        if (selector_match(s, f->o) != cases[i].match)
            fail_msg("%s: expected %d", cases[i].text, cases[i].match);
        selector_free(s);
    }
}

static void
test_bad_labels(void **state)
{
    static const char *const bad[] = {
        ",",   "=x",    "a=b=c",      "a in", "a in (",   "a in (x", "a in x", "a in ()x",
        "a b", "a>x",   "a=b,",       "!",    "!a=b",     "a/b/c=1", "a=-x",   "a notin",
        "(a)", "a=b c", "a in (x y)", "-a",   "a=b,,c=d", "a<",      "a!b"};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct selector *s = NULL;
        struct error e = ERROR_INIT;
        if (selector_parse_labels(bad[i], &s, &e) != -ERR_BAD_REQUEST)
            fail_msg("%s was accepted", bad[i]);
    }
}

static void
test_fields(void **state)
{
    static const struct {
        const char *text;
        bool match;
    } cases[] = {
        {"metadata.name=n", true},
        {"metadata.name==n", true},
        {"metadata.name!=n", false},
        {"metadata.namespace=ns", true},
        {"metadata.namespace=", false},
        {"metadata.name=n,metadata.namespace=other", false},
        {"spec.color=r\\,e\\=d\\\\", true},
        {"spec.color!=red", true},
        {"spec.n=5", true},
        {"spec.n=6", false},
        {"spec.on=true", true},
        {"spec.none=", true},
        {"spec.none=x", false},
        {"spec.none!=x", true},
    };
    static const char *const bad[] = {"spec.x=1",          "metadata.name",
                                      "metadata.name=a=b", "metadata.name=\\x",
                                      "metadata.name!n",   "=x"};
    const struct fixture *f = *state;

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct selector *s = NULL;
        struct error e = ERROR_INIT;
        if (selector_parse_fields(f->k, cases[i].text, &s, &e) < 0)
            fail_msg("%s: %s", cases[i].text, e.msg);
        if (selector_match(s, f->o) != cases[i].match)
            fail_msg("%s: expected %d", cases[i].text, cases[i].match);
        selector_free(s);
    }
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        struct selector *s = NULL;
        struct error e = ERROR_INIT;
        assert_int_equal(selector_parse_fields(f->k, bad[i], &s, &e), -ERR_BAD_REQUEST);
        if (i == 0)
            assert_string_equal(e.msg, "field label not supported: spec.x");
    }
}

static void
test_requires(void **state)
{
    const struct fixture *f = *state;
    struct selector *s = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(selector_parse_labels("a=1,b in (2),c in (3,4),d!=5", &s, &e), 0);
    assert_string_equal(selector_requires(s, "a"), "1");
    assert_string_equal(selector_requires(s, "b"), "2");
    assert_null(selector_requires(s, "c"));
    assert_null(selector_requires(s, "d"));
    selector_free(s);
    assert_int_equal(selector_parse_fields(f->k, "metadata.name=x", &s, &e), 0);
    assert_string_equal(selector_requires(s, "metadata.name"), "x");
    selector_free(s);
    assert_null(selector_requires(NULL, "a"));
    assert_int_equal(selector_parse_labels("", &s, &e), 0);
    assert_null(s);
    assert_true(selector_match(NULL, f->o));
}

int
main(void)
{
    static const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_labels),
        cmocka_unit_test(test_bad_labels),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_requires),
    };
    return cmocka_run_group_tests(tests, set_up, tear_down);
}
