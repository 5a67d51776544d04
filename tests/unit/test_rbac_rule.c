/* SPDX-License-Identifier: Apache-2.0 */
/* Which request a rule allows and which rule covers which: tables. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <stdlib.h>

#include "apiserver/auth/rbac_rule.h"

/* {"v":verbs,"g":groups,"r":resources,"n":names,"u":urls} with space separated words. */
static struct rbac_rules
rules(const char *verbs, const char *groups, const char *resources, const char *names,
      const char *urls)
{
    const char *const given[] = {verbs, groups, resources, names, urls};
    static const char *const keys[] = {"verbs", "apiGroups", "resources", "resourceNames",
                                       "nonResourceURLs"};
    json_t *rule = json_object();
    struct rbac_rules ret;

    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        if (given[i] == NULL)
            continue;
        json_t *list = json_array();
        for (const char *at = given[i]; *at != '\0'; at += *at == ' ') {
            size_t n = strcspn(at, " ");
            bool core = n == 1 && *at == '-';
            json_array_append_new(list, json_stringn(at, core ? 0 : n));
            at += n;
        }
        json_object_set_new(rule, keys[i], list);
    }
    json_t *all = json_pack("[o]", rule);
    rbac_rules_parse(all, &ret);
    json_decref(all);
    return ret;
}

static void
requests(void **state)
{
    static const struct {
        bool allowed;
        const char *verbs, *groups, *resources, *names, *urls;   /* the rule */
        const char *verb, *group, *resource, *sub, *name, *path; /* the request */
    } table[] = {
        {true, "get", "drover.dev", "runs", NULL, NULL, "get", "drover.dev", "runs", "",
         "a", NULL},
        {false, "get", "drover.dev", "runs", NULL, NULL, "list", "drover.dev", "runs", "",
         "", NULL},
        {false, "get", "drover.dev", "runs", NULL, NULL, "get", "", "runs", "", "a",
         NULL},
        {true, "get", "-", "secrets", NULL, NULL, "get", "", "secrets", "", "a", NULL},
        {false, "get", "-", "secrets", NULL, NULL, "get", "drover.dev", "secrets", "",
         "a", NULL},
        {true, "*", "*", "*", NULL, NULL, "escalate", "x", "y", "z", "", NULL},
        {false, "*", "*", "*", NULL, NULL, "get", NULL, NULL, NULL, NULL, "/healthz"},
        /* subresources are resources of their own */
        {false, "get", "*", "runs", NULL, NULL, "get", "drover.dev", "runs", "status",
         "a", NULL},
        {true, "get", "*", "runs/status", NULL, NULL, "get", "drover.dev", "runs",
         "status", "a", NULL},
        {false, "get", "*", "runs/status", NULL, NULL, "get", "drover.dev", "runs", "",
         "a", NULL},
        {true, "get", "*", "*/status", NULL, NULL, "get", "drover.dev", "runs", "status",
         "a", NULL},
        {false, "get", "*", "*/status", NULL, NULL, "get", "drover.dev", "runs", "log",
         "a", NULL},
        {false, "get", "*", "*/status", NULL, NULL, "get", "drover.dev", "runs", "", "a",
         NULL},
        {false, "get", "*", "runs/*", NULL, NULL, "get", "drover.dev", "runs", "status",
         "a", NULL},
        {false, "get", "*", "run", NULL, NULL, "get", "drover.dev", "runs", "", "a",
         NULL},
        {false, "get", "*", "runsx/status", NULL, NULL, "get", "drover.dev", "runs",
         "status", "a", NULL},
        /* names */
        {true, "get", "-", "secrets", "a b", NULL, "get", "", "secrets", "", "b", NULL},
        {false, "get", "-", "secrets", "a b", NULL, "get", "", "secrets", "", "c", NULL},
        {false, "list", "-", "secrets", "a", NULL, "list", "", "secrets", "", "", NULL},
        {true, "list", "-", "secrets", "a", NULL, "list", "", "secrets", "", "a", NULL},
        {false, "get", "-", "secrets", "*", NULL, "get", "", "secrets", "", "b", NULL},
        /* paths */
        {true, "get", NULL, NULL, NULL, "/healthz", "get", NULL, NULL, NULL, NULL,
         "/healthz"},
        {false, "get", NULL, NULL, NULL, "/healthz", "get", NULL, NULL, NULL, NULL,
         "/healthz/x"},
        {true, "get", NULL, NULL, NULL, "/healthz/*", "get", NULL, NULL, NULL, NULL,
         "/healthz/x"},
        {true, "get", NULL, NULL, NULL, "/healthz*", "get", NULL, NULL, NULL, NULL,
         "/healthz"},
        {true, "*", NULL, NULL, NULL, "*", "post", NULL, NULL, NULL, NULL, "/any"},
        {false, "get", NULL, NULL, NULL, "/*/x", "get", NULL, NULL, NULL, NULL, "/a/x"},
        {false, "get", NULL, NULL, NULL, "/metrics", "post", NULL, NULL, NULL, NULL,
         "/metrics"},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        struct rbac_rules r = rules(table[i].verbs, table[i].groups, table[i].resources,
                                    table[i].names, table[i].urls);
        struct authz_attributes t = {.verb = table[i].verb,
                                     .group = table[i].group,
                                     .resource = table[i].resource,
                                     .sub = table[i].sub,
                                     .name = table[i].name,
                                     .path = table[i].path};
        if (rbac_rule_allows(&r.items[0], &t) != table[i].allowed)
            fail_msg("row %zu", i);
        rbac_rules_done(&r);
    }
}

static void
covering(void **state)
{
    static const struct {
        bool covers;
        const char *own[5], *asked[5]; /* verbs, groups, resources, names, urls */
    } table[] = {
        {true, {"get list", "a", "r", NULL, NULL}, {"get", "a", "r", NULL, NULL}},
        {false, {"get", "a", "r", NULL, NULL}, {"get list", "a", "r", NULL, NULL}},
        {true, {"*", "*", "*", NULL, NULL}, {"*", "*", "*", "x", NULL}},
        {false, {"get", "a", "r", NULL, NULL}, {"*", "a", "r", NULL, NULL}},
        {false, {"get", "a", "r", NULL, NULL}, {"get", "a", "*", NULL, NULL}},
        {false, {"get", "a", "r", "x", NULL}, {"get", "a", "r", NULL, NULL}},
        {true, {"get", "a", "r", NULL, NULL}, {"get", "a", "r", "x", NULL}},
        {true, {"get", "a", "r", "x y", NULL}, {"get", "a", "r", "x", NULL}},
        {false, {"get", "a", "r", "x", NULL}, {"get", "a", "r", "x y", NULL}},
        {true,
         {"get", "a", "*/status", NULL, NULL},
         {"get", "a", "r/status", NULL, NULL}},
        {false, {"get", "a", "*/status", NULL, NULL}, {"get", "a", "r", NULL, NULL}},
        {false, {"get", "a", "r", NULL, NULL}, {"get", "a", "r/status", NULL, NULL}},
        {true, {"get", NULL, NULL, NULL, "/x/*"}, {"get", NULL, NULL, NULL, "/x/y"}},
        {true, {"get", NULL, NULL, NULL, "*"}, {"get", NULL, NULL, NULL, "/x/*"}},
        {false, {"get", NULL, NULL, NULL, "/x/y"}, {"get", NULL, NULL, NULL, "/x/*"}},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(table); i++) {
        const char *const *o = table[i].own, *const *a = table[i].asked;
        struct rbac_rules own = rules(o[0], o[1], o[2], o[3], o[4]);
        struct rbac_rules asked = rules(a[0], a[1], a[2], a[3], a[4]);
        if (rbac_rule_covers(&own.items[0], &asked.items[0]) != table[i].covers)
            fail_msg("row %zu", i);
        rbac_rules_done(&own);
        rbac_rules_done(&asked);
    }
}

static bool
count_part(void *arg, const struct rbac_rule *part)
{
    size_t *n = arg;

    assert_int_equal(part->verbs.n, 1);
    ++*n;
    return *n < 100;
}

static void
parts(void **state)
{
    struct rbac_rules r = rules("get list", "a -", "r s t", "x y", "/p /q");
    auto_str text = STR_INIT(1024);
    size_t n = 0;

    UNUSED(state);
    assert_true(rbac_rule_each_part(&r.items[0], count_part, &n));
    assert_int_equal(n, 2 * 2 * 3 * 2 + 2 * 2);
    assert_int_equal(n, rbac_rule_parts(&r.items[0]));
    rbac_rule_text(&r.items[0], &text);
    assert_string_equal(text.ptr,
                        "{APIGroups:[\"a\" \"\"], Resources:[\"r\" \"s\" \"t\"], "
                        "NonResourceURLs:[\"/p\" \"/q\"], ResourceNames:[\"x\" \"y\"], "
                        "Verbs:[\"get\" \"list\"]}");
    rbac_rules_done(&r);
}

static void
strange_documents(void **state)
{
    static const char *const texts[] = {"{}", "[]", "[1,\"x\",null,{}]",
                                        "[{\"verbs\":\"get\"}]",
                                        "[{\"verbs\":[1,null,\"get\"]}]"};
    struct authz_attributes t = {
        .verb = "get", .group = "", .resource = "runs", .sub = "", .name = ""};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(texts); i++) {
        json_t *tree = json_loads(texts[i], 0, NULL);
        struct rbac_rules r;
        assert_non_null(tree);
        rbac_rules_parse(tree, &r);
        for (size_t k = 0; k < r.n; k++)
            assert_false(rbac_rule_allows(&r.items[k], &t));
        rbac_rules_done(&r);
        json_decref(tree);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(requests),
        cmocka_unit_test(covering),
        cmocka_unit_test(parts),
        cmocka_unit_test(strange_documents),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
