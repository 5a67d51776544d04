/* SPDX-License-Identifier: Apache-2.0 */
/* Limits of quotas: what is read, what is refused and where, and amounts as text. */
#include "api/quota.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/mem.h"

static int
parse(const char *text, struct quota_limit *limits, size_t *n, struct str *said)
{
    json_t *v = json_loads(text, 0, NULL);
    auto_violations list = {0};
    struct error e = ERROR_INIT;
    int rc = quota_parse(v, "spec.limits", limits, n, &list, &e);

    json_decref(v);
    if (rc < 0)
        violations_join(&list, false, said);
    return rc;
}

static void
amounts_are_read(void **state)
{
    static const struct {
        const char *json, *text;
        int64_t hard, borrow;
    } cases[] = {
        {"[{\"resource\":\"gpu\",\"hard\":8,\"borrow\":4}]", "8", 8, 4},
        {"[{\"resource\":\"jobs\",\"hard\":\"20\"}]", "20", 20, INT64_MAX},
        {"[{\"resource\":\"cpu\",\"hard\":64}]", "64", 64000, INT64_MAX},
        {"[{\"resource\":\"cpu\",\"hard\":\"2500m\",\"borrow\":0}]", "2.500", 2500, 0},
        {"[{\"resource\":\"memory\",\"hard\":\"256GB\"}]", "256GB", 262144, INT64_MAX},
        {"[{\"resource\":\"memory\",\"hard\":\"2TB\"}]", "2TB", 2097152, INT64_MAX},
        {"[{\"resource\":\"memory\",\"hard\":\"1500MB\"}]", "1500MB", 1500, INT64_MAX},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quota_limit limits[QUOTA_LIMITS_MAX];
        auto_str said = STR_INIT(1000), text = STR_INIT(100);
        size_t n = 0;
        if (parse(cases[i].json, limits, &n, &said) < 0)
            fail_msg("%s: %s", cases[i].json, said.ptr);
        assert_int_equal(n, 1);
        assert_int_equal(limits[0].hard, cases[i].hard);
        assert_int_equal(limits[0].borrow, cases[i].borrow);
        quota_amount_text(limits[0].resource, limits[0].hard, &text);
        assert_string_equal(text.ptr, cases[i].text);
    }
}

static void
kinds_of_gpus(void **state)
{
    struct quota_limit limits[QUOTA_LIMITS_MAX];
    auto_str said = STR_INIT(1000);
    size_t n = 0;

    UNUSED(state);
    assert_int_equal(parse("[{\"resource\":\"gpu\",\"hard\":1,\"vendor\":\"amd\","
                           "\"name\":\"MI300X\"}]",
                           limits, &n, &said),
                     0);
    assert_int_equal(limits[0].vendor, GPU_VENDOR_AMD);
    assert_string_equal(limits[0].name, "MI300X");
    assert_string_equal(quota_vendor_name(limits[0].vendor), "amd");
}

static void
nonsense_is_refused(void **state)
{
    static const struct {
        const char *json, *says;
    } cases[] = {
        {"[{\"resource\":\"gpu\"}]", "spec.limits[0].hard"},
        {"[{\"resource\":\"gpu\",\"hard\":\"1..2\"}]", "must be one number"},
        {"[{\"resource\":\"cpu\",\"hard\":-1}]", "spec.limits[0].hard"},
        {"[{\"resource\":\"memory\",\"hard\":\"much\"}]", "spec.limits[0].hard"},
        {"[{\"resource\":\"disk\",\"hard\":1}]", "must be gpu, cpu, memory or jobs"},
        {"[{\"resource\":\"cpu\",\"hard\":1,\"name\":\"A100\"}]", "only a limit of gpu"},
        {"[{\"resource\":\"gpu\",\"hard\":1,\"vendor\":\"acme\"}]",
         "spec.limits[0].vendor"},
        {"[{\"resource\":\"gpu\",\"hard\":1},{\"resource\":\"jobs\",\"hard\":1,"
         "\"borrow\":\"x\"}]",
         "spec.limits[1].borrow"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct quota_limit limits[QUOTA_LIMITS_MAX];
        auto_str said = STR_INIT(1000);
        size_t n = 0;
        assert_int_equal(parse(cases[i].json, limits, &n, &said), -ERR_INVALID);
        if (strstr(said.ptr, cases[i].says) == NULL)
            fail_msg("%s: %s", cases[i].json, said.ptr);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(amounts_are_read),
        cmocka_unit_test(kinds_of_gpus),
        cmocka_unit_test(nonsense_is_refused),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
