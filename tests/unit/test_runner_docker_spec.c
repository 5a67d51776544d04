/* SPDX-License-Identifier: Apache-2.0 */
/* The docker engine's create request, for each vendor too, and what an inspect means. */
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/engines/docker/docker_spec.h"

static json_t *
path_get(json_t *o, const char *path)
{
    auto_str p = STR_INIT(256);
    str_adds(&p, path);
    char *save = NULL;
    for (char *k = strtok_r(p.ptr, ".", &save); k != NULL; k = strtok_r(NULL, ".", &save))
        o = json_object_get(o, k);
    return o;
}

static void
assert_json(json_t *o, const char *path, const char *want)
{
    json_t *v = path_get(o, path);
    autofree char *got = v != NULL ? json_dumps(v, JSON_COMPACT | JSON_ENCODE_ANY) : NULL;
    if (got == NULL || !streq(got, want))
        fail_msg("%s: got %s, want %s", path, got != NULL ? got : "nothing", want);
}

static void
create_request(void **state)
{
    static const char *const argv[] = {"/bin/sh", "-c", "echo $A", NULL};
    static const char *const env[] = {"A=b", "SECRET=s3cret", "https_proxy=mine", NULL};
    static const char *const proxies[] = {"http_proxy=http://p", "https_proxy=http://q",
                                          NULL};
    static struct engine_mount mounts[] = {{"/data", false, false, false, "/mnt/data"},
                                           {"models", true, true, false, "/models"},
                                           {NULL, false, false, true, "/gone"}};
    static const struct engine_ulimit ulimits[] = {{"nofile", 1024, 65536},
                                                   {"memlock", -1, -1}};
    static const struct engine_port ports[] = {{8080, 0}};
    struct engine_job j = {.uid = "u-1",
                           .ns = "team",
                           .run_name = "hello",
                           .image = "app:1",
                           .argv = argv,
                           .env = env,
                           .user = "1000:1000",
                           .working_dir = "/w",
                           .cpu_limit_milli = 1500,
                           .cpu_request_milli = 500,
                           .memory_limit_mib = 64,
                           .shm_mib = 16,
                           .mounts = mounts,
                           .n_mounts = ARRAY_LEN(mounts),
                           .ulimits = ulimits,
                           .n_ulimits = ARRAY_LEN(ulimits),
                           .ports = ports,
                           .n_ports = 1,
                           .bridge = true};
    struct docker_spec_env de = {
        .agent_id = "agent1", .nvidia = true, .proxies = proxies};
    UNUSED(state);
    json_t *c = docker_spec_create(&j, &de);
    assert_json(c, "Image", "\"app:1\"");
    assert_json(c, "Entrypoint", "[\"/bin/sh\"]");
    assert_json(c, "Cmd", "[\"-c\",\"echo $A\"]");
    assert_json(c, "Env",
                "[\"A=b\",\"SECRET=s3cret\",\"https_proxy=mine\",\"http_proxy=http://p\","
                "\"NVIDIA_VISIBLE_DEVICES=void\"]");
    assert_json(c, "User", "\"1000:1000\"");
    assert_json(c, "WorkingDir", "\"/w\"");
    assert_json(c, "Labels",
                "{\"drover.dev/agent\":\"agent1\",\"drover.dev/job-uid\":"
                "\"u-1\",\"drover.dev/run\":\"hello\"}");
    assert_json(c, "ExposedPorts", "{\"8080/tcp\":{}}");
    assert_json(c, "HostConfig.PortBindings",
                "{\"8080/tcp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"\"}]}");
    assert_json(c, "HostConfig.NetworkMode", "\"bridge\"");
    assert_json(
        c, "HostConfig.Mounts",
        "[{\"Type\":\"bind\",\"Source\":\"/data\",\"Target\":\"/mnt/data\","
        "\"ReadOnly\":false},{\"Type\":\"volume\",\"Source\":\"drover-team-models\","
        "\"Target\":\"/models\",\"ReadOnly\":true}]");
    assert_json(c, "HostConfig.Ulimits",
                "[{\"Name\":\"nofile\",\"Soft\":1024,\"Hard\":65536},"
                "{\"Name\":\"memlock\",\"Soft\":-1,\"Hard\":-1}]");
    assert_json(c, "HostConfig.Memory", "67108864");
    assert_json(c, "HostConfig.MemorySwap", "67108864");
    assert_json(c, "HostConfig.NanoCpus", "1500000000");
    assert_json(c, "HostConfig.CpuShares", "512");
    assert_json(c, "HostConfig.Tmpfs",
                "{\"/dev/shm\":\"rw,nosuid,nodev,exec,mode=1777,size=16777216\"}");
    assert_json(c, "HostConfig.Init", "true");
    assert_json(c, "HostConfig.SecurityOpt", "[\"no-new-privileges\"]");
    assert_json(c, "HostConfig.RestartPolicy.Name", "\"no\"");
    assert_json(c, "HostConfig.LogConfig.Type", "\"local\"");
    assert_null(path_get(c, "HostConfig.Privileged"));
    assert_null(path_get(c, "HostConfig.Binds"));
    json_decref(c);

    /* The whole machine: no limits, its own network (where ports are simply open). */
    j.whole_instance = true;
    j.bridge = false;
    j.privileged = true;
    c = docker_spec_create(&j, &de);
    assert_null(path_get(c, "HostConfig.Memory"));
    assert_null(path_get(c, "HostConfig.NanoCpus"));
    assert_null(path_get(c, "HostConfig.CpuShares"));
    assert_null(path_get(c, "HostConfig.PortBindings"));
    assert_null(path_get(c, "HostConfig.SecurityOpt"));
    assert_json(c, "HostConfig.NetworkMode", "\"host\"");
    assert_json(c, "HostConfig.Privileged", "true");
    assert_json(c, "Tty", "false");
    assert_null(path_get(c, "HostConfig.ConsoleSize"));
    json_decref(c);

    j.tty_columns = 132;
    j.tty_rows = 50;
    c = docker_spec_create(&j, &de);
    assert_json(c, "Tty", "true");
    assert_json(c, "HostConfig.ConsoleSize", "[50,132]");
    json_decref(c);
}

/* The whole request of a job that asks for nothing, and what each vendor adds to it:
 * members of the request and of its HostConfig. */
static const char golden_base[] =
    "{\"Image\":\"app\",\"Tty\":false,\"OpenStdin\":false,\"Env\":[],\"Healthcheck\":"
    "{\"Test\":[\"NONE\"]},\"Labels\":{\"drover.dev/agent\":\"a\",\"drover.dev/job-uid\":"
    "\"u\",\"drover.dev/"
    "run\":\"\"},\"HostConfig\":{\"NetworkMode\":\"host\",\"Init\":true,"
    "\"RestartPolicy\":{\"Name\":\"no\"},\"LogConfig\":{\"Type\":\"local\",\"Config\":"
    "{\"max-size\":\"64m\",\"max-file\":\"8\",\"compress\":\"false\"}},\"PidsLimit\":"
    "16384,"
    "\"SecurityOpt\":[\"no-new-privileges\"]}}";

#define NODE(path)                                                                       \
    "{\"PathOnHost\":\"" path "\",\"PathInContainer\":\"" path                           \
    "\",\"CgroupPermissions\":\"rwm\"}"
#define MEMLOCK "\"Ulimits\":[{\"Name\":\"memlock\",\"Soft\":-1,\"Hard\":-1}]"

static const char *const amd0[] = {"/dev/kfd", "/dev/dri/renderD128", NULL};
static const char *const amd1[] = {"/dev/kfd", "/dev/dri/renderD129", NULL};
static const char *const gaudi2[] = {"/dev/accel/accel2", "/dev/accel/accel_controlD2",
                                     NULL};
static const char *const gaudi5[] = {"/dev/accel/accel5", "/dev/accel/accel_controlD5",
                                     NULL};
static const char *const tt0[] = {"/dev/tenstorrent/0", NULL};
static const char *const tpu0[] = {"/dev/accel0", NULL};
static const char *const null0[] = {"/dev/null", NULL};
static const unsigned groups[] = {44, 109};

static const struct golden {
    const char *what;
    struct engine_device devices[2];
    size_t n_devices;
    struct docker_spec_env env;
    const char *config, *host;
} goldens[] = {
    {"nothing", {{0}}, 0, {0}, "{}", "{}"},
    {"no GPU of a machine with some",
     {{0}},
     0,
     {.nvidia = true},
     "{\"Env\":[\"NVIDIA_VISIBLE_DEVICES=void\"]}",
     "{}"},
    {"nvidia",
     {{"nvidia", "GPU-1", NULL}, {"nvidia", "GPU-2", NULL}},
     2,
     {.nvidia = true},
     "{}",
     "{\"DeviceRequests\":[{\"Driver\":\"\",\"Count\":0,\"DeviceIDs\":[\"GPU-1\",\"GPU-"
     "2\"],"
     "\"Capabilities\":[[\"gpu\",\"utility\",\"compute\",\"graphics\",\"video\","
     "\"display\","
     "\"compat32\"]]}]}"},
    {"nvidia without modeset",
     {{"nvidia", "GPU-1", NULL}},
     1,
     {.nvidia = true, .no_display = true},
     "{}",
     "{\"DeviceRequests\":[{\"Driver\":\"\",\"Count\":0,\"DeviceIDs\":[\"GPU-1\"],"
     "\"Capabilities\":[[\"gpu\",\"utility\",\"compute\",\"graphics\",\"video\","
     "\"compat32\"]]}]}"},
    {"amd",
     {{"amd", "x", amd0}, {"amd", "y", amd1}},
     2,
     {.groups = groups, .n_groups = 2},
     "{}",
     "{\"Devices\":[" NODE("/dev/kfd") "," NODE("/dev/dri/renderD128") "," NODE(
         "/dev/dri/renderD129") "],\"IpcMode\":\"host\",\"CapAdd\":[\"SYS_PTRACE\"],"
                                "\"SecurityOpt\":[\"no-new-privileges\","
                                "\"seccomp=unconfined\"],\"GroupAdd\":[\"44\",\"109\"]}"},
    {"gaudi",
     {{"intel", "g2", gaudi2}, {"intel", "g5", gaudi5}},
     2,
     {0},
     "{\"Env\":[\"HABANA_VISIBLE_DEVICES=2,5\"]}",
     "{\"Runtime\":\"habana\",\"IpcMode\":\"host\",\"CapAdd\":[\"SYS_NICE\"]}"},
    {"tenstorrent",
     {{"tenstorrent", "t", tt0}},
     1,
     {.hugepages_1g = true},
     "{}",
     "{\"Devices\":[" NODE("/dev/tenstorrent/0") "],\"Mounts\":[{\"Type\":\"bind\","
                                                 "\"Source\":\"/dev/hugepages-1G\","
                                                 "\"Target\":\"/dev/hugepages-1G\","
                                                 "\"ReadOnly\":false}]}"},
    {"tenstorrent without large pages",
     {{"tenstorrent", "t", tt0}},
     1,
     {0},
     "{}",
     "{\"Devices\":[" NODE("/dev/tenstorrent/0") "]}"},
    {"tpu",
     {{"google", "t", tpu0}},
     1,
     {0},
     "{\"Env\":[\"PJRT_DEVICE=TPU\"]}",
     "{\"Devices\":[" NODE("/dev/accel0") "]," MEMLOCK "}"},
    {"rdma",
     {{0}},
     0,
     {.infiniband = true},
     "{}",
     "{\"Devices\":[" NODE("/dev/infiniband") "]," MEMLOCK "}"},
    {"rdma under a daemon that may not lock",
     {{0}},
     0,
     {.infiniband = true, .no_memlock = true},
     "{}",
     "{\"Devices\":[" NODE("/dev/infiniband") "]}"},
    {"pretended",
     {{"fake", "f", null0}},
     1,
     {0},
     "{}",
     "{\"Devices\":[" NODE("/dev/null") "]}"},
};

static void
golden_requests(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(goldens); i++) {
        const struct golden *g = &goldens[i];
        struct engine_job j = {
            .uid = "u", .image = "app", .devices = g->devices, .n_devices = g->n_devices};
        struct docker_spec_env env = g->env;
        env.agent_id = "a";
        json_t *want = json_loads(golden_base, 0, NULL);
        json_t *config = json_loads(g->config, 0, NULL);
        json_t *host = json_loads(g->host, 0, NULL);
        assert_non_null(want);
        assert_non_null(config);
        assert_non_null(host);
        json_object_update(want, config);
        json_object_update(json_object_get(want, "HostConfig"), host);
        json_t *got = docker_spec_create(&j, &env);
        if (!json_equal(got, want))
            fail_msg("%s:\ngot  %s\nwant %s", g->what,
                     json_dumps(got, JSON_SORT_KEYS | JSON_COMPACT),
                     json_dumps(want, JSON_SORT_KEYS | JSON_COMPACT));
        json_decref(got);
        json_decref(want);
        json_decref(config);
        json_decref(host);
    }
}

static void
what_is_tried_again(void **state)
{
    static const struct engine_device gpu = {"nvidia", "GPU-1", NULL};
    static const char modeset[] = "stat failed: /dev/nvidia-modeset: no such file";
    static const char lock[] =
        "error setting rlimits for process: operation not permitted";
    struct engine_job with = {.devices = &gpu, .n_devices = 1};
    struct engine_job without = {0};
    struct docker_spec_env env = {0};
    UNUSED(state);
    assert_false(docker_accel_retry("no such file", &with, &env));
    assert_false(docker_accel_retry(modeset, &without, &env));
    assert_true(docker_accel_retry(modeset, &with, &env));
    assert_true(env.no_display);
    assert_false(docker_accel_retry(modeset, &with, &env)); /* once */
    assert_false(docker_accel_retry(lock, &with, &env));
    env.infiniband = true;
    assert_true(docker_accel_retry(lock, &with, &env));
    assert_true(env.no_memlock);
    assert_false(docker_accel_retry(lock, &with, &env));
}

static void
published_ports(void **state)
{
    struct docker_facts f;
    struct error e = ERROR_INIT;
    json_t *o = json_loads(
        "{\"State\":{\"Pid\":7,\"Running\":true},\"Config\":{\"User\":\"app\","
        "\"WorkingDir\":\"/w\"},\"NetworkSettings\":{\"Ports\":{\"80/tcp\":["
        "{\"HostIp\":\"127.0.0.1\",\"HostPort\":\"49153\"},{\"HostIp\":\"::1\","
        "\"HostPort\":\"49154\"}],\"53/udp\":[{\"HostIp\":\"127.0.0.1\",\"HostPort\":"
        "\"1\"}],\"81/tcp\":null,\"82/tcp\":[{\"HostPort\":\"99999\"}]}}}",
        0, NULL);
    UNUSED(state);
    assert_int_equal(docker_facts_parse(o, &f, &e), 0);
    json_decref(o);
    assert_int_equal(f.job.pid, 7);
    assert_string_equal(f.job.user, "app");
    assert_string_equal(f.job.working_dir, "/w");
    assert_int_equal(f.job.n_ports, 1);
    assert_int_equal(f.job.ports[0].container, 80);
    assert_int_equal(f.job.ports[0].host, 49153);
}

#define BOOT INT64_C(1767322800000000000) /* 2026-01-02T03:00:00Z */

static void
facts(void **state)
{
    static const struct {
        const char *state;
        enum engine_reason reason;
        bool started;
        int exit_code, signal;
    } cases[] = {
        {"{\"Status\":\"exited\",\"ExitCode\":0,\"StartedAt\":\"2026-01-02T03:04:05.5Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 0, 0},
        {"{\"Status\":\"exited\",\"ExitCode\":3,\"StartedAt\":\"2026-01-02T03:04:05.5Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 3, 0},
        {"{\"Status\":\"exited\",\"ExitCode\":143,\"StartedAt\":\"2026-01-02T03:04:05Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_SIGNALED, true, 143, SIGTERM},
        {"{\"Status\":\"exited\",\"ExitCode\":255,\"StartedAt\":\"2026-01-02T03:04:05Z\","
         "\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 255, 0},
        {"{\"Status\":\"exited\",\"ExitCode\":137,\"OOMKilled\":true,\"StartedAt\":"
         "\"2026-01-02T03:04:05Z\",\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_OOM, true, 137, SIGKILL},
        /* only a child was killed; the job coped */
        {"{\"Status\":\"exited\",\"ExitCode\":0,\"OOMKilled\":true,\"StartedAt\":"
         "\"2026-01-02T03:04:05Z\",\"FinishedAt\":\"2026-01-02T03:04:06Z\"}",
         ENGINE_EXITED, true, 0, 0},
        /* created, start failed */
        {"{\"Status\":\"created\",\"ExitCode\":128,\"Error\":\"unable to find user\","
         "\"StartedAt\":\"0001-01-01T00:00:00Z\",\"FinishedAt\":\"0001-01-01T00:00:"
         "00Z\"}",
         ENGINE_START_FAILED, false, -1, 0},
        /* ran across a reboot, noticed after it */
        {"{\"Status\":\"exited\",\"ExitCode\":255,\"StartedAt\":\"2026-01-02T02:00:00Z\","
         "\"FinishedAt\":\"2026-01-02T03:00:10Z\"}",
         ENGINE_REBOOTED, true, -1, 0},
        /* ended before the reboot: a normal exit */
        {"{\"Status\":\"exited\",\"ExitCode\":1,\"StartedAt\":\"2026-01-02T02:00:00Z\","
         "\"FinishedAt\":\"2026-01-02T02:30:00Z\"}",
         ENGINE_EXITED, true, 1, 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct docker_facts f;
        struct engine_result r;
        struct error e = ERROR_INIT;
        auto_str doc = STR_INIT(4096);
        str_addf(&doc,
                 "{\"State\":%s,\"Config\":{\"Labels\":{\"drover.dev/job-uid\":\"u\"}}}",
                 cases[i].state);
        json_t *o = json_loads(doc.ptr, 0, NULL);
        assert_int_equal(docker_facts_parse(o, &f, &e), 0);
        json_decref(o);
        assert_string_equal(f.job_uid, "u");
        docker_facts_result(&f, BOOT, &r);
        assert_int_equal(r.reason, cases[i].reason);
        assert_int_equal(r.started, cases[i].started);
        assert_int_equal(r.exit_code, cases[i].exit_code);
        assert_int_equal(r.signal, cases[i].signal);
    }
    struct docker_facts f;
    struct error e = ERROR_INIT;
    json_t *o = json_object();
    assert_int_equal(docker_facts_parse(o, &f, &e), -ERR_PROVIDER);
    assert_int_equal(docker_facts_parse(NULL, &f, &e), -ERR_PROVIDER);
    json_decref(o);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(create_request),
        cmocka_unit_test(golden_requests),
        cmocka_unit_test(what_is_tried_again),
        cmocka_unit_test(published_ports),
        cmocka_unit_test(facts),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
