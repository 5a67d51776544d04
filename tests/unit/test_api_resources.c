/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The resource grammar: input -> normal form as resources_text prints it (which must read
 * back as the same), refusals with their message, and fits against machines.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/resources.h"

static json_t *
parse(const char *text)
{
    json_t *v = json_loads(text, JSON_DECODE_ANY, NULL);
    if (v == NULL)
        print_error("bad JSON in the table: %s\n", text);
    assert_non_null(v);
    return v;
}

static int
req_of(const char *json, struct resource_req *ret, struct violations *v, struct error *e)
{
    json_t *tree = json == NULL ? NULL : parse(json);
    int r = resources_parse(tree, "spec.resources", ret, v, e);
    json_decref(tree);
    return r;
}

static void
must(const char *json, struct resource_req *ret)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    if (req_of(json, ret, &v, &e) < 0)
        fail_msg("%s: %s", json, e.msg);
    assert_int_equal(v.list.len, 0);
}

static const struct {
    const char *json, *text;
} normal_forms[] = {
    {NULL, "cpu=1.. mem=512MB.."},
    {"null", "cpu=1.. mem=512MB.."},
    {"{}", "cpu=1.. mem=512MB.."},
    {"{\"gpu\": null, \"disk\": null, \"cpu\": null}", "cpu=1.. mem=512MB.."},
    {"{\"gpu\": 24}", "cpu=1.. mem=512MB.. gpu=24"},
    {"{\"gpu\": \"24\"}", "cpu=1.. mem=512MB.. gpu=24"},
    {"{\"gpu\": \"24GB\"}", "cpu=1.. mem=512MB.. gpu=24GB"},
    {"{\"gpu\": \"24GB..\"}", "cpu=1.. mem=512MB.. gpu=24GB.."},
    {"{\"gpu\": \"24GB..80GB:2..4\"}", "cpu=1.. mem=512MB.. gpu=24GB..80GB:2..4"},
    {"{\"gpu\": \"A100\"}", "cpu=1.. mem=512MB.. gpu=A100"},
    {"{\"gpu\": \"a100\"}", "cpu=1.. mem=512MB.. gpu=a100"},
    {"{\"gpu\": \"A100,H100:8\"}", "cpu=1.. mem=512MB.. gpu=A100,H100:8"},
    {"{\"gpu\": \" 2 : 80 GB : A100 \"}", "cpu=1.. mem=512MB.. gpu=A100:80GB:2"},
    {"{\"gpu\": \"A100:80GB:2\"}", "cpu=1.. mem=512MB.. gpu=A100:80GB:2"},
    {"{\"gpu\": \"nvidia:1..8\"}", "cpu=1.. mem=512MB.. gpu=nvidia:1..8"},
    {"{\"gpu\": \"NVIDIA\"}", "cpu=1.. mem=512MB.. gpu=nvidia"},
    {"{\"gpu\": \"nvidia:A100\"}", "cpu=1.. mem=512MB.. gpu=A100"},
    {"{\"gpu\": \"amd:MI300X:8\"}", "cpu=1.. mem=512MB.. gpu=MI300X:8"},
    {"{\"gpu\": \"amd:A100\"}", "cpu=1.. mem=512MB.. gpu=amd:A100"},
    {"{\"gpu\": \"tpu:v5litepod-8\"}", "cpu=1.. mem=512MB.. gpu=v5litepod-8"},
    {"{\"gpu\": \"tpu-v5litepod-8\"}", "cpu=1.. mem=512MB.. gpu=v5litepod-8"},
    {"{\"gpu\": \"tt:n300\"}", "cpu=1.. mem=512MB.. gpu=n300"},
    {"{\"gpu\": \"tt\"}", "cpu=1.. mem=512MB.. gpu=tenstorrent"},
    {"{\"gpu\": 0}", "cpu=1.. mem=512MB.. gpu=0"},
    {"{\"gpu\": \"0..\"}", "cpu=1.. mem=512MB.. gpu=0.."},
    {"{\"gpu\": \"..4\"}", "cpu=1.. mem=512MB.. gpu=0..4"},
    {"{\"gpu\": {}}", "cpu=1.. mem=512MB.. gpu=1.."},
    {"{\"gpu\": {\"name\": [\"A100\", \"H100\"], \"count\": 2, \"memory\": \"80GB..\"}}",
     "cpu=1.. mem=512MB.. gpu=A100,H100:80GB..:2"},
    {"{\"gpu\": {\"vendor\": \"tpu\", \"name\": \"v6e-4\"}}",
     "cpu=1.. mem=512MB.. gpu=v6e-4"},
    {"{\"gpu\": {\"name\": \"A100\", \"totalMemory\": \"160GB..\"}}",
     "cpu=1.. mem=512MB.. gpu=A100 gpu.totalMemory=160GB.."},
    {"{\"gpu\": {\"total_memory\": {\"min\": 40}, \"compute_capability\": 7.5}}",
     "cpu=1.. mem=512MB.. gpu=1.. gpu.totalMemory=40GB.. gpu.computeCapability=7.5"},
    {"{\"gpu\": {\"computeCapability\": \"8.0\"}}",
     "cpu=1.. mem=512MB.. gpu=1.. gpu.computeCapability=8.0"},
    {"{\"gpu\": {\"computeCapability\": [9, 0], \"count\": \"2..\"}}",
     "cpu=1.. mem=512MB.. gpu=2.. gpu.computeCapability=9.0"},
    {"{\"cpu\": 4}", "cpu=4 mem=512MB.."},
    {"{\"cpu\": \"4\"}", "cpu=4 mem=512MB.."},
    {"{\"cpu\": \"4..\"}", "cpu=4.. mem=512MB.."},
    {"{\"cpu\": \"..8\"}", "cpu=0..8 mem=512MB.."},
    {"{\"cpu\": \"2..8\"}", "cpu=2..8 mem=512MB.."},
    {"{\"cpu\": \"0..\"}", "cpu=0.. mem=512MB.."},
    {"{\"cpu\": \"arm:4..\"}", "cpu=arm:4.. mem=512MB.."},
    {"{\"cpu\": \"4..:ARM\"}", "cpu=arm:4.. mem=512MB.."},
    {"{\"cpu\": \"x86\"}", "cpu=x86:1.. mem=512MB.."},
    {"{\"cpu\": \" x86 : 2 .. 4 \"}", "cpu=x86:2..4 mem=512MB.."},
    {"{\"cpu\": {\"arch\": \"arm\", \"count\": \"8..\"}}", "cpu=arm:8.. mem=512MB.."},
    {"{\"cpu\": {\"min\": 4, \"max\": 8}}", "cpu=4..8 mem=512MB.."},
    {"{\"cpu\": {\"min\": 4, \"arch\": \"x86\"}}", "cpu=x86:4.. mem=512MB.."},
    {"{\"cpu\": {\"arch\": \"arm\"}}", "cpu=arm:1.. mem=512MB.."},
    {"{\"memory\": 16}", "cpu=1.. mem=16GB"},
    {"{\"memory\": \"16GB\"}", "cpu=1.. mem=16GB"},
    {"{\"memory\": \"16GB..\"}", "cpu=1.. mem=16GB.."},
    {"{\"memory\": \"512MB..1TB\"}", "cpu=1.. mem=512MB..1TB"},
    {"{\"memory\": \"0..\"}", "cpu=1.. mem=0GB.."},
    {"{\"shm_size\": \"16GB\"}", "cpu=1.. mem=512MB.. shm=16GB"},
    {"{\"shmSize\": 1}", "cpu=1.. mem=512MB.. shm=1GB"},
    {"{\"disk\": \"200GB..\"}", "cpu=1.. mem=512MB.. disk=200GB.."},
    {"{\"disk\": {\"size\": \"200GB..\"}}", "cpu=1.. mem=512MB.. disk=200GB.."},
    {"{\"disk\": {\"min\": 100, \"max\": 200}}", "cpu=1.. mem=512MB.. disk=100GB..200GB"},
    {"{\"disk\": 100}", "cpu=1.. mem=512MB.. disk=100GB"},
    {"\"cpu=2..  mem=8GB.. gpu=A100:80GB:2\"", "cpu=2.. mem=8GB.. gpu=A100:80GB:2"},
};

static void
test_normal_forms(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(normal_forms); i++) {
        struct resource_req req, again;
        auto_str text = STR_INIT(1024), twice = STR_INIT(1024);
        must(normal_forms[i].json, &req);
        resources_text(&req, &text);
        print_message("%s\n", text.ptr);
        assert_string_equal(text.ptr, normal_forms[i].text);

        autofree char *quoted = xasprintf("\"%s\"", text.ptr);
        must(quoted, &again);
        resources_text(&again, &twice);
        assert_string_equal(twice.ptr, text.ptr);
        assert_int_equal(again.gpu.vendor, req.gpu.vendor);
        assert_int_equal(again.gpu.given, req.gpu.given);
    }
}

static void
test_fields(void **state)
{
    struct resource_req r;
    UNUSED(state);
    must("{\"gpu\": \"24GB..80GB:2..4\", \"memory\": \"0.5\", \"shmSize\": \"100MB\"}",
         &r);
    assert_true(r.gpu.given);
    assert_int_equal(r.gpu.memory_mib.min, 24576);
    assert_int_equal(r.gpu.memory_mib.max, 81920);
    assert_int_equal(r.gpu.count.min, 2);
    assert_int_equal(r.gpu.count.max, 4);
    assert_int_equal(r.memory_mib.min, 512);
    assert_int_equal(r.memory_mib.max, 512);
    assert_int_equal(r.shm_mib, 100);
    must(NULL, &r);
    assert_false(r.gpu.given);
    assert_int_equal(r.gpu.count.min, 0);
    assert_true(r.disk_mib.max == INT64_MAX);
}

static void
test_vendors(void **state)
{
    static const struct {
        const char *gpu;
        enum gpu_vendor vendor;
    } cases[] = {
        {"A100", GPU_VENDOR_NVIDIA},       {"h100,A10G", GPU_VENDOR_NVIDIA},
        {"rtx4090", GPU_VENDOR_NVIDIA},    {"MI300X", GPU_VENDOR_AMD},
        {"gaudi3", GPU_VENDOR_INTEL},      {"N150", GPU_VENDOR_TENSTORRENT},
        {"v5p-16", GPU_VENDOR_GOOGLE},     {"v5p", GPU_VENDOR_ANY},
        {"v7-8", GPU_VENDOR_ANY},          {"v5p-x", GPU_VENDOR_ANY},
        {"A100,MI300X", GPU_VENDOR_ANY},   {"A100,XYZ", GPU_VENDOR_ANY},
        {"XYZ", GPU_VENDOR_ANY},           {"24GB", GPU_VENDOR_ANY},
        {"A100:0", GPU_VENDOR_ANY},        {"amd", GPU_VENDOR_AMD},
        {"tpu", GPU_VENDOR_GOOGLE},        {"intel:2", GPU_VENDOR_INTEL},
        {"tt", GPU_VENDOR_TENSTORRENT},    {"amd:XYZ", GPU_VENDOR_AMD},
        {"GB200", GPU_VENDOR_NVIDIA},      {"L40S", GPU_VENDOR_NVIDIA},
        {"RTX6000Ada", GPU_VENDOR_NVIDIA}, {"tpu-v2-8", GPU_VENDOR_GOOGLE},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct resource_req r;
        autofree char *json = xasprintf("{\"gpu\": \"%s\"}", cases[i].gpu);
        print_message("%s\n", json);
        must(json, &r);
        assert_int_equal(r.gpu.vendor, cases[i].vendor);
    }
}

static const struct {
    const char *json, *path, *part; /* of the message */
} refusals[] = {
    {"{\"gpu\": \"A100::2\"}", "spec.resources.gpu",
     "Invalid value: \"A100::2\": empty part between colons; write e.g. \"A100:80GB:2\""},
    {"{\"gpu\": \"A100:\"}", "spec.resources.gpu", "empty part"},
    {"{\"gpu\": \"\"}", "spec.resources.gpu", "must not be empty"},
    {"{\"gpu\": \"A100:B200\"}", "spec.resources.gpu", "two parts give the name"},
    {"{\"gpu\": \"2:4\"}", "spec.resources.gpu", "two parts give the count"},
    {"{\"gpu\": \"24GB:80GB\"}", "spec.resources.gpu", "two parts give the memory"},
    {"{\"gpu\": \"amd:nvidia\"}", "spec.resources.gpu", "two parts give the vendor"},
    {"{\"gpu\": \"A100,:2\"}", "spec.resources.gpu", "empty name"},
    {"{\"gpu\": \"A100,24\"}", "spec.resources.gpu", "start with a letter"},
    {"{\"gpu\": \"A100/2\"}", "spec.resources.gpu", "only letters"},
    {"{\"gpu\": \"A100,amd\"}", "spec.resources.gpu", "amd is a vendor"},
    {"{\"gpu\": \"24G\"}", "spec.resources.gpu", "MB, GB or TB"},
    {"{\"gpu\": \"..\"}", "spec.resources.gpu", "needs at least one end"},
    {"{\"gpu\": \"80GB..24GB\"}", "spec.resources.gpu", "lower end is above"},
    {"{\"gpu\": 2.5}", "spec.resources.gpu", "a count, or a mapping"},
    {"{\"gpu\": -1}", "spec.resources.gpu", "whole number"},
    {"{\"gpu\": true}", "spec.resources.gpu", "a count, or a mapping"},
    {"{\"gpu\": {\"names\": \"A100\"}}", "spec.resources.gpu.names", "unknown key"},
    {"{\"gpu\": {\"vendor\": \"acme\"}}", "spec.resources.gpu.vendor", "must be nvidia"},
    {"{\"gpu\": {\"vendor\": 1}}", "spec.resources.gpu.vendor", "must be nvidia"},
    {"{\"gpu\": {\"name\": []}}", "spec.resources.gpu.name", "a name or a list"},
    {"{\"gpu\": {\"name\": [1]}}", "spec.resources.gpu.name", "item 0"},
    {"{\"gpu\": {\"computeCapability\": \"x\"}}", "spec.resources.gpu.computeCapability",
     "such as 7.5"},
    {"{\"gpu\": {\"computeCapability\": \"7.5.1\"}}",
     "spec.resources.gpu.computeCapability", "such as 7.5"},
    {"{\"gpu\": {\"vendor\": \"amd\", \"computeCapability\": 8}}", "spec.resources.gpu",
     "NVIDIA's"},
    {"{\"cpu\": 2.5}", "spec.resources.cpu", "must be a count"},
    {"{\"cpu\": \"x86:arm\"}", "spec.resources.cpu", "two parts give the architecture"},
    {"{\"cpu\": \"2:4\"}", "spec.resources.cpu", "two parts give the count"},
    {"{\"cpu\": \"riscv:4\"}", "spec.resources.cpu", "x86 or arm"},
    {"{\"cpu\": \"\"}", "spec.resources.cpu", "empty part"},
    {"{\"cpu\": {}}", "spec.resources.cpu", "needs min or max"},
    {"{\"cpu\": {\"arch\": \"mips\"}}", "spec.resources.cpu", "x86 or arm"},
    {"{\"cpu\": {\"count\": 1, \"min\": 2}}", "spec.resources.cpu", "beside count"},
    {"{\"cpu\": {\"arch\": \"arm\", \"cores\": 2}}", "spec.resources.cpu", "unknown key"},
    {"{\"memory\": \"8G\"}", "spec.resources.memory", "MB, GB or TB"},
    {"{\"memory\": \"100KB\"}", "spec.resources.memory", "MB, GB or TB"},
    {"{\"memory\": \"..\"}", "spec.resources.memory", "needs at least one end"},
    {"{\"memory\": \"32GB..16GB\"}", "spec.resources.memory", "lower end is above"},
    {"{\"disk\": {\"size\": 1, \"min\": 1}}", "spec.resources.disk", "unknown key"},
    {"{\"disk\": {\"size\": \"x\"}}", "spec.resources.disk", "size: must be"},
    {"{\"shmSize\": \"1GB..2GB\"}", "spec.resources.shmSize", "not a range"},
    {"{\"gpus\": 8}", "spec.resources.gpus", "unknown key; resources are"},
    {"\"cpu\"", "spec.resources", "must be a mapping"},
    {"\"cpu=x gpu=1\"", "spec.resources", "cpu: must be"},
    {"\"ram=1GB\"", "spec.resources", "unknown part"},
    {"[]", "spec.resources", "must be a mapping"},
    {"4", "spec.resources", "must be a mapping"},
};

static void
test_refusals(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(refusals); i++) {
        auto_violations v = {0};
        struct error e = ERROR_INIT;
        struct resource_req req;
        int r = req_of(refusals[i].json, &req, &v, &e);
        print_message("%s: %s\n", refusals[i].json, e.msg);
        assert_int_equal(r, -ERR_INVALID);
        assert_int_equal(v.list.len, 1);
        assert_string_equal(v.list.items[0].path, refusals[i].path);
        assert_non_null(strstr(v.list.items[0].message, refusals[i].part));
        assert_true(str_starts(e.msg, refusals[i].path));
    }
}

static void
test_every_problem_is_listed(void **state)
{
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    struct resource_req req;
    UNUSED(state);
    int r = req_of("{\"cpu\": \"x\", \"gpu\": {\"count\": \"x\", \"memory\": \"x\"}, "
                   "\"memory\": \"x\"}",
                   &req, &v, &e);
    assert_int_equal(r, -ERR_INVALID);
    assert_int_equal(v.list.len, 4);
}

/* 8 CPUs, 32 GB, 4 A100 (0, 1: 40 GB; 2, 3: 80 GB), 100 GB disk. */
static struct resource_have
machine(void)
{
    struct resource_have h = {.cpu_milli = 8000,
                              .arch = CPU_ARCH_X86,
                              .memory_mib = 32768,
                              .disk_mib = 102400,
                              .n_gpus = 4,
                              .gpu_free = 0xf};
    for (size_t i = 0; i < 4; i++) {
        h.gpus[i] =
            (struct gpu_have){GPU_VENDOR_NVIDIA, "A100", i < 2 ? 40960 : 81920, 8, 0};
    }
    return h;
}

struct fit_case {
    const char *json;
    int64_t free_cpu, free_memory;
    uint64_t free_gpus;
    enum resource_lack lack;
    uint64_t mask;
    const char *text;
};

static const struct fit_case fits[] = {
    {"{}", 8000, 32768, 0xf, RESOURCE_FITS, 0, "fits"},
    {"{}", 999, 32768, 0xf, RESOURCE_LACKS_CPU, 0, "needs 1 CPUs, has 0.999 free of 8"},
    {"{\"cpu\": \"0..\", \"memory\": \"0..\"}", 0, 0, 0, RESOURCE_FITS, 0, "fits"},
    {"{\"cpu\": \"0..\", \"memory\": \"0..\"}", -5, -5, 0, RESOURCE_FITS, 0, "fits"},
    {"{\"cpu\": 4}", 8000, 32768, 0, RESOURCE_FITS, 0, "fits"},
    {"{\"cpu\": \"4..\"}", 3500, 32768, 0, RESOURCE_LACKS_CPU, 0,
     "needs 4 CPUs, has 3.5 free of 8"},
    {"{\"memory\": 64}", 8000, 24576, 0xf, RESOURCE_LACKS_MEMORY, 0,
     "needs 64 GB memory, has 24 GB free of 32 GB"},
    {"{\"disk\": \"200GB..\"}", 8000, 32768, 0xf, RESOURCE_LACKS_DISK, 0,
     "needs 200 GB disk, has 100 GB free of 100 GB"},
    {"{\"cpu\": \"arm:1\"}", 8000, 32768, 0xf, RESOURCE_LACKS_ARCH, 0,
     "needs CPU architecture arm, is x86"},
    {"{\"cpu\": \"x86\"}", 8000, 32768, 0xf, RESOURCE_FITS, 0, "fits"},
    {"{\"gpu\": 1}", 8000, 32768, 0xf, RESOURCE_FITS, 0x1, "fits"},
    {"{\"gpu\": 2}", 8000, 32768, 0xa, RESOURCE_FITS, 0xa, "fits"},
    {"{\"gpu\": 0}", 8000, 32768, 0xf, RESOURCE_FITS, 0, "fits"},
    {"{\"gpu\": \"T4:0..2\"}", 8000, 32768, 0xf, RESOURCE_FITS, 0, "fits"},
    {"{\"gpu\": \"a100:80GB:2\"}", 8000, 32768, 0xf, RESOURCE_FITS, 0xc, "fits"},
    {"{\"gpu\": \"A100:80GB\"}", 8000, 32768, 0x7, RESOURCE_FITS, 0x4, "fits"},
    {"{\"gpu\": \"A100:80GB:2\"}", 8000, 32768, 0x7, RESOURCE_LACKS_GPU, 0,
     "needs 2 GPUs, has 1 free of 2 matching"},
    {"{\"gpu\": 5}", 8000, 32768, 0xf, RESOURCE_LACKS_GPU, 0,
     "needs 5 GPUs, has 4 free of 4 matching"},
    {"{\"gpu\": \"24GB\"}", 8000, 32768, 0xf, RESOURCE_LACKS_GPU_KIND, 0,
     "needs GPU 24GB, has 2 x A100 40 GB, 2 x A100 80 GB"},
    {"{\"gpu\": \"T4:2\"}", 8000, 32768, 0xf, RESOURCE_LACKS_GPU_KIND, 0,
     "needs GPU T4, has 2 x A100 40 GB, 2 x A100 80 GB"},
    {"{\"gpu\": \"amd\"}", 8000, 32768, 0xf, RESOURCE_LACKS_GPU_KIND, 0,
     "needs GPU amd, has 2 x A100 40 GB, 2 x A100 80 GB"},
    {"{\"gpu\": {\"computeCapability\": 8.0}}", 8000, 32768, 0x8, RESOURCE_FITS, 0x8,
     "fits"},
    {"{\"gpu\": {\"computeCapability\": 7.5}}", 8000, 32768, 0x8, RESOURCE_FITS, 0x8,
     "fits"},
    {"{\"gpu\": {\"computeCapability\": 9}}", 8000, 32768, 0xf, RESOURCE_LACKS_GPU_KIND,
     0, "needs GPU of compute capability 9.0, has 2 x A100 40 GB, 2 x A100 80 GB"},
    {"{\"gpu\": {\"totalMemory\": \"100GB..\"}}", 8000, 32768, 0xf, RESOURCE_FITS, 0x7,
     "fits"},
    {"{\"gpu\": {\"totalMemory\": \"100GB..\", \"count\": \"1..2\"}}", 8000, 32768, 0xf,
     RESOURCE_LACKS_GPU, 0, "needs GPU with 100GB.. in total, has 4 free of 4 matching"},
    /* The order of the checks: the kind of machine first. */
    {"{\"gpu\": 9, \"cpu\": 99, \"memory\": 99}", 8000, 32768, 0xf, RESOURCE_LACKS_GPU, 0,
     "needs 9 GPUs, has 4 free of 4 matching"},
};

static void
test_fit(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(fits); i++) {
        const struct fit_case *c = &fits[i];
        struct resource_have capacity = machine(), avail = machine();
        struct reservation got = {.gpu_mask = 0};
        struct resource_req req;
        auto_str text = STR_INIT(1024);

        avail.cpu_milli = c->free_cpu;
        avail.memory_mib = c->free_memory;
        avail.gpu_free = c->free_gpus;
        must(c->json, &req);
        enum resource_lack l = resources_fit(&req, &capacity, &avail, &got);
        resources_lack_text(l, &req, &capacity, &avail, &text);
        print_message("%s: %s: %s\n", c->json, resource_lack_name(l), text.ptr);
        assert_int_equal(l, c->lack);
        assert_int_equal(got.gpu_mask, c->mask);
        assert_string_equal(text.ptr, c->text);
        if (l == RESOURCE_FITS) {
            assert_int_equal(got.cpu_milli, req.cpu.min * 1000);
            assert_int_equal(got.memory_mib, req.memory_mib.min);
        }
    }
}

static void
test_no_gpus(void **state)
{
    struct resource_have h = {.cpu_milli = 1000, .memory_mib = 1024};
    struct reservation got;
    struct resource_req req;
    auto_str text = STR_INIT(1024);
    UNUSED(state);
    must("{\"gpu\": 1}", &req);
    assert_int_equal(resources_fit(&req, &h, &h, &got), RESOURCE_LACKS_GPU_KIND);
    resources_lack_text(RESOURCE_LACKS_GPU_KIND, &req, &h, &h, &text);
    assert_string_equal(text.ptr, "needs GPU, has no GPU");
}

static void
test_gpu_complete(void **state)
{
    static const struct {
        const char *name;
        int64_t reported, mib;
        enum gpu_vendor vendor;
        int major, minor;
    } cases[] = {
        {"L4", 23034, 24576, GPU_VENDOR_NVIDIA, 8, 9},
        {"A100", 40536, 40960, GPU_VENDOR_NVIDIA, 8, 0},
        {"a100", 81251, 81920, GPU_VENDOR_NVIDIA, 8, 0},
        {"RTX4090", 24564, 24576, GPU_VENDOR_NVIDIA, 8, 9},
        {"MI300X", 196592, 196608, GPU_VENDOR_AMD, 0, 0},
        {"T4", 10000, 10240, GPU_VENDOR_NVIDIA, 7, 5},
        {"Mystery", 12200, 12288, GPU_VENDOR_ANY, 0, 0},
        {"v5p-8", 0, 0, GPU_VENDOR_GOOGLE, 0, 0},
    };
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct gpu_have g = {.memory_mib = cases[i].reported};
        snprintf(g.name, sizeof(g.name), "%s", cases[i].name);
        gpu_have_complete(&g);
        assert_int_equal(g.memory_mib, cases[i].mib);
        assert_int_equal(g.vendor, cases[i].vendor);
        assert_int_equal(g.compute_major, cases[i].major);
        assert_int_equal(g.compute_minor, cases[i].minor);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_normal_forms),
        cmocka_unit_test(test_fields),
        cmocka_unit_test(test_vendors),
        cmocka_unit_test(test_refusals),
        cmocka_unit_test(test_every_problem_is_listed),
        cmocka_unit_test(test_fit),
        cmocka_unit_test(test_no_gpus),
        cmocka_unit_test(test_gpu_complete),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
