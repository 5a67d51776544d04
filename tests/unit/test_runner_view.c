/* SPDX-License-Identifier: Apache-2.0 */
/* Reading Jobs and Secrets: what the agent acts on and what a job is given. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/id.h"
#include "base/mem.h"
#include "runner/job_container.h"
#include "runner/job_nodes.h"

static json_t *
parse(const char *text)
{
    json_error_t je;
    json_t *o = json_loads(text, 0, &je);
    if (o == NULL)
        fail_msg("%s", je.text);
    return o;
}

#define META                                                                             \
    "\"metadata\":{\"name\":\"a-0-0-0\",\"namespace\":\"default\","                      \
    "\"uid\":\"0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c001\",\"resourceVersion\":\"42\"}"

static void
reads_a_job(void **state)
{
    UNUSED(state);
    json_t *o = parse(
        "{" META ",\"spec\":{\"runName\":\"a\",\"engine\":\"docker\",\"released\":true,"
        "\"instanceUID\":\"i\",\"desiredState\":\"Stopped\",\"stopReason\":\"X\","
        "\"stopDurationSeconds\":5,\"interruptible\":true,\"reservation\":{\"cpuMilli\":"
        "1000,\"memoryMiB\":512,\"gpus\":[\"G1\",\"G2\"]}},\"status\":{\"phase\":"
        "\"Running\",\"agent\":{\"state\":\"Stopping\",\"since\":\"2026-01-02T03:04:"
        "05Z\","
        "\"claim\":{\"journalID\":\"j\",\"instanceUID\":\"i\"}}}}");
    struct job_view v;
    struct error e = ERROR_INIT;
    assert_int_equal(job_view_parse(o, &v, &e), 0);
    assert_int_equal(v.revision, 42);
    assert_string_equal(v.engine, "docker");
    assert_int_equal(v.desired, JOB_STOP);
    assert_true(v.released && v.interruptible && !v.deleting);
    assert_int_equal(v.stop_seconds, 5);
    assert_int_equal(v.hold.n_gpus, 2);
    assert_string_equal(v.claim_journal, "j");
    assert_false(v.agent_terminal);
    assert_true(v.agent_since_ns > 0);
    json_decref(o);

    /* Given up by the controllers: as good as deleted. */
    o = parse("{" META ",\"spec\":{\"runName\":\"a\",\"instanceUID\":\"i\"},"
              "\"status\":{\"phase\":\"Failed\",\"agent\":{\"state\":\"Running\"}}}");
    assert_int_equal(job_view_parse(o, &v, &e), 0);
    assert_true(v.deleting);
    assert_int_equal(v.stop_seconds, 300);
    json_decref(o);

    o = parse("{" META ",\"spec\":{\"runName\":\"a\"}}"); /* not bound */
    assert_int_equal(job_view_parse(o, &v, &e), -ERR_INVALID);
    json_decref(o);
    assert_int_equal(job_view_parse(NULL, &v, &e), -ERR_INVALID);
}

static const char *
env_of(const struct job_run *r, const char *key)
{
    const char *found = NULL;
    for (char **p = r->env; *p != NULL; p++) {
        if (strncmp(*p, key, strlen(key)) == 0 && (*p)[strlen(key)] == '=')
            found = *p + strlen(key) + 1; /* later ones win */
    }
    return found;
}

static void
gives_limits_and_env(void **state)
{
    UNUSED(state);
    json_t *o =
        parse("{" META ",\"spec\":{\"image\":\"i\",\"argv\":[\"sh\",\"-c\",\"x\"],"
              "\"env\":{\"A\":\"1\",\"B\":\"2\"},\"resources\":{\"cpu\":\"1..2\","
              "\"memory\":\"512MB\"}}}");
    const char *const secrets[] = {"A=secret", "C=3", NULL};
    struct job_run r;
    struct error e = ERROR_INIT;
    assert_int_equal(job_run_build(o, secrets, &r, &e), 0);
    assert_string_equal(r.image, "i");
    assert_null(r.user);
    assert_string_equal(r.argv[2], "x");
    assert_null(r.argv[3]);
    assert_string_equal(env_of(&r, "A"), "1"); /* the spec wins */
    assert_string_equal(env_of(&r, "C"), "3");
    assert_string_equal(env_of(&r, "DROVER_JOB_ID"),
                        "0e6f5d2c-6f5e-4b7e-9a55-0a6de6a0c001");
    assert_int_equal(r.cpu_limit_milli, 2000);
    assert_int_equal(r.memory_limit_mib, 512);
    job_run_done(&r);
    json_decref(o);

    o = parse("{" META
              ",\"spec\":{\"resources\":{\"cpu\":\"1..\",\"memory\":\"1GB..\"}}}");
    assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
    assert_int_equal(r.cpu_limit_milli, 0);
    assert_int_equal(r.memory_limit_mib, 0);
    assert_null(r.argv[0]);
    job_run_done(&r);
    json_decref(o);
    o = parse("{" META ",\"spec\":{}}");
    assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
    assert_int_equal(r.tty_columns, 0);
    job_run_done(&r);
    json_decref(o);
    o = parse("{" META ",\"spec\":{\"tty\":true,\"ttySize\":{\"columns\":132}}}");
    assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
    assert_int_equal(r.tty_columns, 132);
    assert_int_equal(r.tty_rows, 24);
    job_run_done(&r);
    json_decref(o);
}

static void
decodes_secrets(void **state)
{
    static const struct {
        const char *data;
        int want;
        const char *env;
    } cases[] = {
        {"{\"K\":\"dmFsdWU=\"}", 0, "K=value"},
        {"{\"K\":\"\"}", 0, "K="},
        {"{\"K\":\"***\"}", -ERR_BAD_REQUEST, NULL},
        {"{\"1K\":\"dmFsdWU=\"}", -ERR_INVALID, NULL},
        {"{\"A B\":\"dmFsdWU=\"}", -ERR_INVALID, NULL},
        {"{\"K\":\"AAE=\"}", -ERR_INVALID, NULL}, /* NUL */
        {"{\"K\":\"//4=\"}", -ERR_INVALID, NULL}, /* not UTF-8 */
        {"{\"K\":7}", -ERR_INVALID, NULL},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str text = STR_INIT(4096);
        struct error e = ERROR_INIT;
        char **list = NULL;
        size_t n = 0;
        str_addf(&text, "{\"data\":%s}", cases[i].data);
        json_t *o = parse(text.ptr);
        struct job_secret_ref all = {.name = "s"};
        assert_int_equal(job_secret_env(o, &all, &list, &n, &e), cases[i].want);
        if (cases[i].env != NULL)
            assert_string_equal(list[0], cases[i].env);
        else
            assert_null(strstr(e.msg, "value="));
        job_env_free(list);
        json_decref(o);
    }
}

/* One key of a Secret, under its own name or another. */
static void
picks_keys(void **state)
{
    static const struct {
        struct job_secret_ref ref;
        int want;
        const char *env;
    } cases[] = {
        {{"s", "A", NULL, false}, 0, "A=b"},
        {{"s", "A", "X", false}, 0, "X=b"},
        {{"s", "B", "X", true}, 0, NULL},
        {{"s", "B", "X", false}, -ERR_INVALID, NULL},
        {{"s", "A", "1X", false}, -ERR_INVALID, NULL},
    };
    UNUSED(state);
    json_t *o = parse("{\"data\":{\"A\":\"Yg==\",\"Z\":\"Yw==\"}}");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        char **list = NULL;
        size_t n = 0;
        assert_int_equal(job_secret_env(o, &cases[i].ref, &list, &n, &e), cases[i].want);
        assert_int_equal(n, cases[i].env != NULL);
        if (cases[i].env != NULL)
            assert_string_equal(list[0], cases[i].env);
        job_env_free(list);
    }
    json_decref(o);
}

static void
count_name(void *arg, const struct job_secret_ref *ref)
{
    *(unsigned *)arg += ref->optional ? 100 : 1;
    if (ref->key != NULL && streq(ref->key, "k") && streq(ref->variable, "V"))
        *(unsigned *)arg += 1000;
}

static void
names_secrets(void **state)
{
    UNUSED(state);
    json_t *o = parse("{\"spec\":{\"envFrom\":[{\"secretRef\":{\"name\":\"a\"}},"
                      "{\"secretRef\":{\"name\":\"b\",\"optional\":true}},{},"
                      "{\"name\":\"V\",\"secretRef\":{\"name\":\"c\",\"key\":\"k\"}}]}}");
    unsigned n = 0;
    assert_int_equal(job_each_secret(o, count_name, &n), 3);
    assert_int_equal(n, 1102);
    json_decref(o);
}

/* base64 of what stands beside */
static void
opens_registries(void **state)
{
    static const struct {
        const char *data, *image;
        int want;
        const char *user, *password, *token;
    } cases[] = {
        {"{\"username\":\"bWU=\",\"password\":\"cHc=\"}", "r.io/app", 0, "me", "pw",
         NULL},
        {"{\"username\":\"bWU=\"}", "r.io/app", -ERR_INVALID, NULL, NULL, NULL},
        {"{}", "r.io/app", -ERR_INVALID, NULL, NULL, NULL},
        {"{\"username\":\"bWU=\",\"password\":\"cHc=\"}", "No Name", -ERR_INVALID, NULL,
         NULL, NULL},
        /* {"auths":{"https://index.docker.io/v1/":{"auth":"bWU6cHc6eA=="},
         *  "r.io:5000":{"username":"u","password":"p"},"t.io":{"identitytoken":"tok"},
         *  "bad.io":{"auth":"bWU="}}} */
        {"DOC", "busybox", 0, "me", "pw:x", NULL},
        {"DOC", "docker.io/team/app:1", 0, "me", "pw:x", NULL},
        {"DOC", "r.io:5000/app", 0, "u", "p", NULL},
        {"DOC", "t.io/app", 0, NULL, NULL, "tok"},
        {"DOC", "r.io/app", -ERR_NOT_FOUND, NULL, NULL, NULL},
        {"DOC", "bad.io/app", -ERR_INVALID, NULL, NULL, NULL},
        {"{\".dockerconfigjson\":\"e30=\"}", "r.io/app", -ERR_INVALID, NULL, NULL, NULL},
        {"{\".dockerconfigjson\":\"bm8=\"}", "r.io/app", -ERR_INVALID, NULL, NULL, NULL},
    };
    static const char doc[] =
        "{\"auths\":{\"https://index.docker.io/v1/\":{\"auth\":\"bWU6cHc6eA==\"},"
        "\"r.io:5000\":{\"username\":\"u\",\"password\":\"p\"},\"t.io\":{"
        "\"identitytoken\":"
        "\"tok\"},\"bad.io\":{\"auth\":\"bWU=\"}}}";
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        auto_str text = STR_INIT(8192);
        struct error e = ERROR_INIT;
        struct registry_auth a = {0};
        str_adds(&text, "{\"data\":");
        if (streq(cases[i].data, "DOC")) {
            str_adds(&text, "{\".dockerconfigjson\":\"");
            id_base64(doc, sizeof(doc) - 1, &text);
            str_adds(&text, "\"}");
        } else {
            str_adds(&text, cases[i].data);
        }
        str_adds(&text, "}");
        json_t *o = parse(text.ptr);
        assert_int_equal(registry_auth_read(o, cases[i].image, &a, &e), cases[i].want);
        const char *have[] = {a.username, a.password, a.identity_token};
        const char *want[] = {cases[i].user, cases[i].password, cases[i].token};
        for (size_t k = 0; k < ARRAY_LEN(have); k++) {
            assert_int_equal(have[k] == NULL, want[k] == NULL);
            if (have[k] != NULL)
                assert_string_equal(have[k], want[k]);
        }
        registry_auth_done(&a);
        json_decref(o);
    }
}

static void
limits_of_a_block(void **state)
{
    struct job_run r;
    struct error e = ERROR_INIT;
    UNUSED(state);
    json_t *o = parse("{" META ",\"spec\":{\"resources\":{\"memory\":\"1GB..2GB\"},"
                      "\"reservation\":{\"blocks\":1,\"cpuMilli\":4000,\"memoryMiB\":"
                      "9000}}}");
    assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
    assert_int_equal(r.cpu_limit_milli, 4000);
    assert_int_equal(r.memory_limit_mib, 2048); /* what the user said */
    job_run_done(&r);
    json_decref(o);
}

/* Without a plain shell command only the variables; the Job's own value wins. */
static void
tells_of_nodes(void **state)
{
    UNUSED(state);
    json_t *o = parse(
        "{" META ",\"spec\":{\"runName\":\"a\",\"runUID\":\"u\",\"nodes\":2,\"node\":1,"
        "\"argv\":[\"/bin/sh\",\"-c\",\"x\"],\"sshSecretRef\":{\"name\":\"a-ssh\"},"
        "\"env\":{\"DSTACK_GPUS_NUM\":\"mine\"},\"peers\":[{\"job\":\"a-0-0-0\","
        "\"address\":\"10.0.0.1\",\"gpus\":8},{\"job\":\"a-0-1-0\",\"address\":"
        "\"10.0.0.2\",\"gpus\":0}]}}");
    struct job_run r;
    struct error e = ERROR_INIT;
    assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
    assert_string_equal(env_of(&r, "DROVER_NODES_IPS"), "10.0.0.1\n10.0.0.2");
    assert_string_equal(env_of(&r, "DSTACK_MASTER_NODE_IP"), "10.0.0.1");
    assert_string_equal(env_of(&r, "DROVER_GPUS_PER_NODE"), "0");
    assert_string_equal(env_of(&r, "DROVER_GPUS_NUM"), "8");
    assert_string_equal(env_of(&r, "DSTACK_GPUS_NUM"), "mine");
    assert_string_equal(env_of(&r, "DROVER_PROLOGUE_HOSTS"),
                        "10.0.0.1 slots=8\n10.0.0.2\n");
    assert_string_equal(env_of(&r, "DSTACK_MPI_HOSTFILE"), "/tmp/.drover/hostfile");
    assert_non_null(strstr(env_of(&r, "DROVER_PROLOGUE_SSHD"), "ListenAddress 10.0.0.2"));
    assert_string_equal(job_nodes_secret(o), "a-ssh");
    assert_string_equal(r.argv[3], "drover");
    assert_string_equal(r.argv[6], "x");
    assert_null(r.argv[7]);
    job_run_done(&r);

    json_array_append_new(json_object_get(json_object_get(o, "spec"), "argv"),
                          json_string("y"));
    assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
    assert_null(job_nodes_secret(o));
    assert_string_equal(r.argv[0], "/bin/sh");
    assert_string_equal(r.argv[3], "y");
    assert_null(env_of(&r, "DSTACK_MPI_HOSTFILE"));
    assert_string_equal(env_of(&r, "DROVER_GPUS_NUM"), "8");
    job_run_done(&r);
    json_decref(o);
}

/* A node without devices has no slots; no file at all when an address is not known. */
static void
writes_hostfiles(void **state)
{
    static const struct {
        const char *addresses[3];
        int gpus[3];
        const char *want;
    } cases[] = {
        {{"10.0.0.1", "10.0.0.2", "10.0.0.3"},
         {8, 4, 0},
         "10.0.0.1 slots=8\n10.0.0.2 slots=4\n10.0.0.3\n"},
        {{"10.0.0.1", "", "10.0.0.3"}, {8, 4, 0}, ""},
        {{"10.0.0.1", "10.0.0.2", ""}, {8, 4, 2}, ""},
        {{"", "10.0.0.2", "10.0.0.3"}, {0, 0, 0}, ""},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        json_t *o = parse("{" META ",\"spec\":{\"runName\":\"a\",\"runUID\":\"u\","
                          "\"nodes\":3,\"node\":0,\"argv\":[\"/bin/sh\",\"-c\",\"x\"],"
                          "\"peers\":[]}}");
        json_t *peers = json_object_get(json_object_get(o, "spec"), "peers");
        struct job_run r;
        struct error e = ERROR_INIT;
        for (size_t k = 0; k < 3; k++)
            json_array_append_new(peers, json_pack("{s:s, s:s, s:i}", "job", "j",
                                                   "address", cases[i].addresses[k],
                                                   "gpus", cases[i].gpus[k]));
        assert_int_equal(job_run_build(o, NULL, &r, &e), 0);
        assert_string_equal(env_of(&r, "DROVER_PROLOGUE_HOSTS"), cases[i].want);
        job_run_done(&r);
        json_decref(o);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(writes_hostfiles),  cmocka_unit_test(tells_of_nodes),
        cmocka_unit_test(reads_a_job),       cmocka_unit_test(gives_limits_and_env),
        cmocka_unit_test(decodes_secrets),   cmocka_unit_test(names_secrets),
        cmocka_unit_test(picks_keys),        cmocka_unit_test(opens_registries),
        cmocka_unit_test(limits_of_a_block),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
