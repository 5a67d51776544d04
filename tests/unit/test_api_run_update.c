/* SPDX-License-Identifier: Apache-2.0 */
/* Which fields of a Run that is under way, or over, may change. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/admit.h"
#include "base/mem.h"

static const struct {
    const char *phase, *before, *after;
    const char *refused; /* paths; NULL: the change is fine */
} cases[] = {
    {"Running", "{\"priority\":0}", "{\"priority\":5}", NULL},
    {"Running", "{}", "{\"priority\":5,\"desiredState\":\"Stopped\"}", NULL},
    {"Running", "{\"ttlAfterFinished\":5}", "{\"jobHistoryLimit\":3}", NULL},
    {"Running", "{\"commands\":[\"a\"]}", "{\"commands\":[\"b\"]}", "spec.commands"},
    {"Submitted", "{\"env\":{}}", "{\"env\":{\"A\":\"b\"}}", "spec.env"},
    {"Unknown", "{}", "{\"image\":\"x\"}", "spec.image"},
    {"Running", "{\"image\":\"x\"}", "{}", "spec.image"},
    {"Running", "{\"a\":1,\"b\":2,\"priority\":1}", "{\"b\":3,\"c\":4}",
     "spec.b spec.c spec.a"},
    {"Done", "{\"commands\":[\"a\"]}", "{\"commands\":[\"b\"]}", "spec.commands"},
    {"Done", "{\"priority\":0}", "{\"priority\":5}", NULL},
    /* Nobody has begun with it. */
    {"", "{\"commands\":[\"a\"]}", "{\"commands\":[\"b\"]}", NULL},
    {NULL, "{\"commands\":[\"a\"]}", "{\"commands\":[\"b\"]}", NULL},
    {"Running", "{\"commands\":[\"a\"]}", "{\"commands\":[\"a\"]}", NULL},
};

static char *
object(const char *spec, const char *phase)
{
    if (phase == NULL)
        return xasprintf("{\"spec\":%s}", spec);
    return xasprintf("{\"spec\":%s,\"status\":{\"phase\":\"%s\"}}", spec, phase);
}

static void
test_cases(void **state)
{
    char name[] = "runs.drover.dev", other[] = "fleets.drover.dev";
    struct kind runs = {.resource = name}, fleets = {.resource = other};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        autofree char *before = object(cases[i].before, cases[i].phase);
        autofree char *after = object(cases[i].after, cases[i].phase);
        auto_violations v = {0};
        struct error e = ERROR_INIT;
        auto_str paths = STR_INIT(1024);
        int rc = admit_update(&runs, span_of(before), span_of(after), &v, &e);
        vec_foreach (x, &v.list) {
            str_addf(&paths, "%s%s", paths.len > 0 ? " " : "", x->path);
            assert_int_equal(x->reason, VIOLATION_FORBIDDEN);
            assert_non_null(strstr(x->message, cases[i].phase));
        }
        assert_int_equal(rc, cases[i].refused == NULL ? 0 : -ERR_INVALID);
        assert_string_equal(paths.ptr, cases[i].refused == NULL ? "" : cases[i].refused);
        auto_violations none = {0};
        assert_int_equal(
            admit_update(&fleets, span_of(before), span_of(after), &none, &e), 0);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_cases)};

    return cmocka_run_group_tests(tests, NULL, NULL);
}
