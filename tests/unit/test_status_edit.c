/* SPDX-License-Identifier: Apache-2.0 */
/* Status patches: only what differs; transition times move with the status alone. */
#include "controllers/common/status.h"

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>

#include "base/clock.h"
#include "base/mem.h"

static const char object_text[] =
    "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Run\",\"metadata\":{\"name\":\"r\","
    "\"namespace\":\"d\",\"uid\":\"u\",\"resourceVersion\":\"9\",\"generation\":2,"
    "\"finalizers\":[\"a/b\",\"c/d\"]},\"spec\":{},\"status\":{\"phase\":\"Running\","
    "\"observedGeneration\":2,\"exitCode\":3,\"startedAt\":\"2026-01-01T00:00:01Z\","
    "\"conditions\":[{\"type\":\"Ready\",\"status\":\"False\",\"reason\":\"Why\","
    "\"message\":\"m\",\"lastTransitionTime\":\"2025-01-01T00:00:00Z\"}]}}";

static struct object *
object(void)
{
    struct object *o = NULL;
    struct error e = ERROR_INIT;

    assert_int_equal(object_from_json(NULL, object_text, strlen(object_text), &o, &e), 0);
    return o;
}

static int64_t
at(const char *text)
{
    int64_t ns = 0;

    assert_true(clock_parse(text, strlen(text), &ns));
    return ns;
}

static void
patch_is(struct status_edit *s, uint64_t revision, const char *expected)
{
    json_t *patch = status_edit_patch(s, revision);
    autofree char *text =
        patch == NULL ? xstrdup("") : json_dumps(patch, JSON_COMPACT | JSON_SORT_KEYS);

    assert_string_equal(text, expected);
    json_decref(patch);
}

static void
nothing_differs(void **state)
{
    auto_object *o = object();
    auto_status_edit s;

    UNUSED(state);
    status_edit_init(&s, o, at("2026-01-01T00:00:09Z"));
    status_set(&s, "phase", "Running");
    status_set_int(&s, "exitCode", 3);
    status_set_time(&s, "startedAt", at("2026-01-01T00:00:01.000000Z"));
    status_set(&s, "absent", "");
    status_unset(&s, "absent");
    status_set_condition(&s, &(struct condition){"Ready", "Why", "m", false});
    patch_is(&s, 0, "");
    assert_false(status_condition_true(&s, "Ready"));
}

static void
what_differs(void **state)
{
    auto_object *o = object();
    auto_status_edit s;

    UNUSED(state);
    status_edit_init(&s, o, at("2026-01-01T00:00:09Z"));
    status_set(&s, "phase", "Done");
    status_unset(&s, "exitCode");
    status_set_time(&s, "finishedAt", at("2026-01-01T00:00:02.5Z"));
    status_set(&s, "startedAt", NULL);
    patch_is(&s, 9,
             "{\"metadata\":{\"resourceVersion\":\"9\",\"uid\":\"u\"},\"status\":{"
             "\"exitCode\":null,"
             "\"finishedAt\":\"2026-01-01T00:00:02.500000Z\",\"phase\":\"Done\","
             "\"startedAt\":null}}");
}

/* The whole list is sent, since a merge patch replaces lists. */
static void
conditions(void **state)
{
    auto_object *o = object();

    UNUSED(state);
    {
        auto_status_edit s;
        status_edit_init(&s, o, at("2026-01-01T00:00:09Z"));
        status_set_condition(&s, &(struct condition){"Ready", "Other", NULL, false});
        patch_is(&s, 0,
                 "{\"metadata\":{\"uid\":\"u\"},\"status\":{\"conditions\":[{"
                 "\"lastTransitionTime\":"
                 "\"2025-01-01T00:00:00Z\",\"observedGeneration\":2,\"reason\":\"Other\","
                 "\"status\":\"False\",\"type\":\"Ready\"}]}}");
    }
    auto_status_edit s;
    status_edit_init(&s, o, at("2026-01-01T00:00:09Z"));
    status_set_condition(&s, &(struct condition){"Ready", "Ok", "m", true});
    status_set_condition(&s, &(struct condition){"New", "Why", NULL, false});
    assert_true(status_condition_true(&s, "Ready"));
    patch_is(&s, 0,
             "{\"metadata\":{\"uid\":\"u\"},\"status\":{\"conditions\":[{"
             "\"lastTransitionTime\":"
             "\"2026-01-01T00:00:09Z\",\"message\":\"m\",\"observedGeneration\":2,"
             "\"reason\":\"Ok\",\"status\":\"True\",\"type\":\"Ready\"},"
             "{\"lastTransitionTime\":\"2026-01-01T00:00:09Z\",\"observedGeneration\":2,"
             "\"reason\":\"Why\",\"status\":\"False\",\"type\":\"New\"}]}}");
}

static void
finalizers(void **state)
{
    auto_object *o = object();
    json_t *with = finalizers_with(o, "e/f"), *without = finalizers_without(o, "a/b");
    autofree char *a = json_dumps(with, JSON_COMPACT | JSON_SORT_KEYS);
    autofree char *b = json_dumps(without, JSON_COMPACT | JSON_SORT_KEYS);

    UNUSED(state);
    assert_string_equal(a, "{\"metadata\":{\"finalizers\":[\"a/b\",\"c/d\",\"e/f\"],"
                           "\"resourceVersion\":\"9\"}}");
    assert_string_equal(
        b, "{\"metadata\":{\"finalizers\":[\"c/d\"],\"resourceVersion\":\"9\"}}");
    json_decref(with);
    json_decref(without);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nothing_differs),
        cmocka_unit_test(what_differs),
        cmocka_unit_test(conditions),
        cmocka_unit_test(finalizers),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
