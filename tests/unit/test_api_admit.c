/* SPDX-License-Identifier: Apache-2.0 */
/* Rules between fields of our kinds, and shell word splitting. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
/* after the headers it needs */
#include <cmocka.h>
#include <string.h>

#include "api/admit.h"
#include "api/jtok.h"
#include "base/mem.h"

#define BLOB "sha256:" E64
#define E64 "eeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeeee"

static const struct {
    const char *spec; /* JSON of the spec; the name is "good-name" */
    const char *path; /* of the violation; NULL: accepted */
    const char *word; /* that the message must contain */
} cases[] = {
    {"{\"commands\":[\"x\"]}", NULL, NULL},
    {"{\"image\":\"a:1\"}", NULL, NULL},
    {"{\"entrypoint\":\"/bin/x 'a b'\"}", NULL, NULL},
    {"{}", "spec.commands", "needs commands"},
    {"{\"commands\":[]}", "spec.commands", "needs commands"},
    {"{\"image\":\"a b\"}", "spec.image", "without spaces"},
    {"{\"commands\":[\"x\"],\"user\":\"a:b:c\"}", "spec.user", ""},
    {"{\"commands\":[\"x\"],\"user\":\"1000:1000\"}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"workingDir\":\"a\"}", "spec.workingDir", "absolute"},
    {"{\"commands\":[\"x\"],\"workingDir\":\"~/a\"}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"shell\":\"zsh\"}", "spec.shell", "absolute path"},
    {"{\"commands\":[\"x\"],\"entrypoint\":\"'open\"}", "spec.entrypoint", "not closed"},
    {"{\"commands\":[\"x\"],\"entrypoint\":\"  \"}", "spec.entrypoint", "program"},
    {"{\"commands\":[\"x\"],\"stopDuration\":\"1h30m\"}", "spec.stopDuration", ""},
    {"{\"commands\":[\"x\"],\"maxDuration\":\"off\"}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"env\":{\"1A\":\"x\"}}", "spec.env.1A", "variable name"},
    {"{\"commands\":[\"x\"],\"env\":{\"A_1\":\"x\"}}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"env\":{\"VAR\":\"\",\"_\":\"\",\"_var1\":\"\",\"VAR_1_2\":"
     "\"\"}}",
     NULL, NULL},
    {"{\"commands\":[\"x\"],\"env\":{\"\":\"x\"}}", "spec.env.", "variable name"},
    {"{\"commands\":[\"x\"],\"env\":{\"VAR-1\":\"x\"}}", "spec.env.VAR-1", "variable"},
    {"{\"commands\":[\"x\"],\"env\":{\"VAR 1\":\"x\"}}", "spec.env.VAR 1", "variable"},
    {"{\"commands\":[\"x\"],\"env\":{\"VAR.1\":\"x\"}}", "spec.env.VAR.1", "variable"},
    {"{\"commands\":[\"x\"],\"env\":{\"BASH_FUNC_foo%%\":\"x\"}}",
     "spec.env.BASH_FUNC_foo%%", "variable"},
    {"{\"commands\":[\"x\"],\"resources\":{\"gpu\":\"A100::2\"}}", "spec.resources.gpu",
     ""},
    {"{\"groups\":[{\"commands\":[\"x\"]},{\"nodes\":2,\"commands\":[\"y\"]}]}", NULL,
     NULL},
    {"{\"groups\":[{\"nodes\":2}],\"image\":\"a\"}", NULL, NULL},
    {"{\"groups\":[{\"nodes\":2}]}", "spec.groups[0].commands", "needs commands"},
    {"{\"groups\":[{\"name\":\"1\",\"commands\":[\"x\"]},{\"name\":\"1\",\"commands\":"
     "[\"x\"]}]}",
     "spec.groups[1].name", "Duplicate"},
    {"{\"groups\":[{\"commands\":[\"x\"]}],\"commands\":[\"x\"]}", "spec.commands",
     "each group"},
    {"{\"groups\":[{\"commands\":[\"x\"]}],\"nodes\":2}", "spec.nodes", "each group"},
    {"{\"groups\":[{\"commands\":[\"x\"],\"resources\":{\"cpu\":\"x\"}}]}",
     "spec.groups[0].resources.cpu", ""},
    {"{\"groups\":[{\"nodes\":1000,\"commands\":[\"x\"]},{\"nodes\":25,\"commands\":["
     "\"x\"]}]}",
     "spec.groups", "1024"},
    {"{\"commands\":[\"ping ${{ groups[0].nodes[1].IP_ADDRESS }}\"],\"nodes\":2}", NULL,
     NULL},
    {"{\"commands\":[\"ping ${{groups[0].nodes[2].IP_ADDRESS}}\"],\"nodes\":2}",
     "spec.commands[0]", "there is no groups[0].nodes[2]"},
    {"{\"commands\":[\"x ${{ run.args }}\"]}", "spec.commands[0]", "run.args"},
    {"{\"commands\":[\"x ${{ a\"]}", "spec.commands[0]", "closed"},
    {"{\"commands\":[\"echo $$ $${{ a }} ${HOME}\"]}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"nodes\":2,\"networkMode\":\"bridge\"}", "spec.networkMode",
     "several nodes"},
    {"{\"commands\":[\"x\"],\"array\":\"0-99%10\"}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"array\":\"0-1000\"}", "spec.array", "more than 1000"},
    {"{\"commands\":[\"x\"],\"array\":\"5-4\"}", "spec.array", "before"},
    {"{\"commands\":[\"x\"],\"array\":\"0-4%0\"}", "spec.array", "at least one"},
    {"{\"commands\":[\"x\"],\"array\":\"0-4x\"}", "spec.array", "first-last"},
    {"{\"commands\":[\"x\"],\"dependsOn\":[{\"run\":\"good-name\"}]}",
     "spec.dependsOn[0].run", "itself"},
    {"{\"commands\":[\"x\"],\"dependsOn\":[{\"run\":\"aa\"},{\"run\":\"aa\"}]}",
     "spec.dependsOn[1].run", "Duplicate"},
    {"{\"commands\":[\"x\"],\"schedule\":{\"cron\":[\"0 1 * * mon\",\"61 * * * *\"]}}",
     "spec.schedule.cron[1]", "minute"},
    {"{\"commands\":[\"x\"],\"schedule\":{\"cron\":[\"0 1 * * mon\"]},\"array\":\"0-4\"}",
     "spec.schedule", "spec.array"},
    {"{\"commands\":[\"x\"],\"backends\":[\"aws\"]}", "spec.backends", "no clouds"},
    {"{\"commands\":[\"x\"],\"backends\":[\"aws\",\"remote\"]}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"regions\":[\"eu\"]}", "spec.regions", "no clouds"},
    {"{\"commands\":[\"x\"],\"spotPolicy\":\"spot\"}", "spec.spotPolicy", "spot"},
    {"{\"commands\":[\"x\"],\"spotPolicy\":\"auto\",\"maxPrice\":1.5}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"instanceTypes\":[\"t\"]}", "spec.instanceTypes", "no type"},
    {"{\"commands\":[\"x\"],\"instances\":[{\"fleet\":\"f\",\"instance\":1}]}", NULL,
     NULL},
    {"{\"commands\":[\"x\"],\"instances\":[{\"fleet\":\"f\"}]}", "spec.instances[0]",
     "together"},
    {"{\"commands\":[\"x\"],\"privileged\":true}", "spec.privileged", "image"},
    {"{\"commands\":[\"x\"],\"tty\":true,\"ttySize\":{\"columns\":9}}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"path\":\"/srv/debian\"}}", NULL, NULL},
    {"{\"image\":\"i\",\"rootfs\":{\"path\":\"/srv/debian\"}}", "spec.rootfs", "image"},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"archive\":\"r.tar\",\"blob\":\"" BLOB "\"}}",
     NULL, NULL},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"blob\":\"" BLOB "\"}}", NULL, NULL},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"size\":1}}", "spec.rootfs", "needs path"},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"archive\":\"r.tar\"}}", "spec.rootfs.blob",
     "drover apply"},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"path\":\"/r\",\"blob\":\"" BLOB "\"}}",
     "spec.rootfs", "exclude"},
    {"{\"image\":\"i\",\"rootfs\":{\"blob\":\"" BLOB "\"}}", "spec.rootfs", "image"},
    {"{\"commands\":[\"x\"],\"rootfs\":{\"path\":\"/srv/../x\"}}", "spec.rootfs.path",
     "absolute"},
    {"{\"commands\":[\"x\"],\"ttySize\":{\"columns\":9}}", "spec.ttySize", "tty: true"},
    {"{\"image\":\"x\",\"mounts\":[{\"instancePath\":\"/a\",\"path\":\"/b\"}]}", NULL,
     NULL},
    {"{\"image\":\"x\",\"mounts\":[{\"instancePath\":\"/a\",\"path\":\"/b/\"}]}",
     "spec.mounts[0].path", "slash"},
    {"{\"image\":\"x\",\"mounts\":[{\"volume\":\"v\",\"path\":\"/b\"}]}",
     "spec.mounts[0].volume", "no volumes"},
    {"{\"commands\":[\"x\"],\"ttlAfterFinished\":\"1x\"}", "spec.ttlAfterFinished", ""},
    {"{\"commands\":[\"x\"],\"utilizationPolicy\":{\"minGpuUtilization\":1,"
     "\"timeWindow\":\"5m\"}}",
     "spec.utilizationPolicy", "no GPU"},
    {"{\"commands\":[\"x\"],\"resources\":{\"gpu\":0},\"utilizationPolicy\":"
     "{\"minGpuUtilization\":1,\"timeWindow\":\"5m\"}}",
     "spec.utilizationPolicy", "no GPU"},
    {"{\"commands\":[\"x\"],\"resources\":{\"gpu\":1},\"utilizationPolicy\":"
     "{\"minGpuUtilization\":1,\"timeWindow\":\"5m\"}}",
     NULL, NULL},
    {"{\"groups\":[{\"commands\":[\"x\"]},{\"commands\":[\"y\"],\"resources\":"
     "{\"gpu\":\"A100:2\"}}],\"utilizationPolicy\":{\"minGpuUtilization\":1,"
     "\"timeWindow\":\"3h\"}}",
     NULL, NULL},
    {"{\"commands\":[\"x\"],\"resources\":{\"gpu\":1},\"utilizationPolicy\":"
     "{\"minGpuUtilization\":1,\"timeWindow\":299}}",
     "spec.utilizationPolicy.timeWindow", "5m or more"},
};

static void
admit_spec(const char *name, const char *spec, struct violations *v)
{
    struct kind k = {.resource = (char[]){"runs.drover.dev"}};
    auto_str canonical = STR_INIT(65536);
    struct error e = ERROR_INIT;
    autofree char *json =
        xasprintf("{\"metadata\":{\"name\":\"%s\"},\"spec\":%s}", name, spec);

    assert_int_equal(jcanon(json, strlen(json), &canonical, &e), 0);
    int rc = admit_object(&k, (struct span){canonical.ptr, canonical.len}, v, &e);
    assert_int_equal(rc<0, v->list.len> 0);
}

static void
test_cases(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_violations v = {0};
        admit_spec("good-name", cases[i].spec, &v);
        if (cases[i].path == NULL) {
            if (v.list.len > 0)
                fail_msg("%s: %s", cases[i].spec, v.list.items[0].message);
            continue;
        }
        if (v.list.len != 1)
            fail_msg("%s: %zu violations", cases[i].spec, v.list.len);
        assert_string_equal(v.list.items[0].path, cases[i].path);
        assert_non_null(strstr(v.list.items[0].message, cases[i].word));
    }
}

static void
test_names(void **state)
{
    static const char *const bad[] = {
        "A", "a", "a-", "1ab", "a_b", "a12345678901234567890123456789012345678901"};

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(bad); i++) {
        auto_violations v = {0};
        admit_spec(bad[i], "{\"commands\":[\"x\"]}", &v);
        assert_int_equal(v.list.len, 1);
        assert_string_equal(v.list.items[0].path, "metadata.name");
    }
}

static void
test_all_problems_are_listed(void **state)
{
    auto_violations v = {0};

    UNUSED(state);
    admit_spec("x1",
               "{\"user\":\"a:b:c\",\"workingDir\":\"x\",\"stopDuration\":\"soon\"}", &v);
    assert_int_equal(v.list.len, 4); /* and no commands */
}

static void
test_shell_words(void **state)
{
    static const struct {
        const char *text, *words; /* separated by | */
    } ok[] = {
        {"a b  c", "a|b|c"},  {"'a b' \"c d\"", "a b|c d"},
        {"a\\ b", "a b"},     {"\"a\\\"b\" 'a\\b'", "a\"b|a\\b"},
        {"a''b \"\"", "ab|"}, {"", NULL},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(ok); i++) {
        char **words = NULL;
        struct error e = ERROR_INIT;
        auto_str joined = STR_INIT(1024);
        assert_int_equal(shell_words(ok[i].text, &words, &e), 0);
        for (char **w = words; *w != NULL; w++)
            str_addf(&joined, "%s%s", w == words ? "" : "|", *w);
        assert_string_equal(joined.ptr, ok[i].words == NULL ? "" : ok[i].words);
        shell_words_free(words);
    }
    char **none = NULL;
    struct error e = ERROR_INIT;
    assert_true(shell_words("a \"b", &none, &e) < 0);
    assert_true(shell_words("a\\", &none, &e) < 0);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_cases),
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_all_problems_are_listed),
        cmocka_unit_test(test_shell_words),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
