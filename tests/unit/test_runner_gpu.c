/* SPDX-License-Identifier: Apache-2.0 */
/* GPU drivers over made-up machines (a directory with /sys, /dev, /proc), the fake
 * driver, and the inventory of the real machine. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>

#include <cmocka.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/inventory.h"

struct machine {
    char root[64];
    struct gpu_config c;
    struct gpu_list l;
};

static int
setup(void **state)
{
    struct machine *m = xnew(struct machine);

    snprintf(m->root, sizeof(m->root), "/tmp/drover-gpu-XXXXXX");
    assert_non_null(mkdtemp(m->root));
    m->c.root = m->root;
    *state = m;
    return 0;
}

static int
teardown(void **state)
{
    struct machine *m = *state;
    struct error e = ERROR_INIT;

    assert_int_equal(fs_remove_tree(m->root, &e), 0);
    free(m);
    return 0;
}

static void
put(struct machine *m, const char *path, const char *text)
{
    struct error e = ERROR_INIT;
    autofree char *full = xasprintf("%s%s", m->root, path);
    char *slash = strrchr(full, '/');

    *slash = '\0';
    assert_int_equal(fs_mkdirs(full, 0755, &e), 0);
    *slash = '/';
    assert_int_equal(fs_write_atomic(full, text, strlen(text), 0644, &e), 0);
}

/* A stand-in for nvidia-smi; returns its path. */
static char *
put_tool(struct machine *m, const char *script)
{
    char *path = xasprintf("%s/nvidia-smi", m->root);

    put(m, "/nvidia-smi", script);
    assert_int_equal(chmod(path, 0755), 0);
    m->c.nvidia_smi = path;
    return path;
}

static void
probe(struct machine *m)
{
    struct error e = ERROR_INIT;

    if (gpu_probe(&m->c, &m->l, &e) != 0)
        fail_msg("%s", e.msg);
}

static void
test_none(void **state)
{
    struct machine *m = *state;

    probe(m);
    assert_int_equal(m->l.len, 0);
    assert_string_equal(m->l.note, "");
}

static void
test_nvidia(void **state)
{
    struct machine *m = *state;
    autofree char *tool = put_tool(
        m,
        "#!/bin/sh\n"
        "echo 'NVIDIA H100 80GB HBM3, 81559, GPU-aaa, 550.54, 00000000:3B:00.0, 9.0'\n"
        "echo 'NVIDIA GB10, [N/A], GPU-bbb, [Not Supported], 00000000:5C:00.0, 12.1'\n");

    UNUSED(tool);
    put(m, "/dev/nvidiactl", "");
    put(m, "/dev/nvidia-uvm", "");
    put(m, "/proc/driver/nvidia/gpus/0000:3b:00.0/information",
        "Model: \t\t NVIDIA H100\nIRQ:   \t\t 16\nBus Location: \t 0000:3b:00.0\n"
        "Device Minor: \t 4\nGPU Excluded:\t No\n");
    probe(m);
    assert_int_equal(m->l.len, 2);
    const struct gpu_device *d = &m->l.items[0];
    assert_string_equal(d->name, "NVIDIA H100 80GB HBM3");
    assert_string_equal(d->uuid, "GPU-aaa");
    assert_string_equal(d->driver_version, "550.54");
    assert_string_equal(d->compute_capability, "9.0");
    assert_int_equal(d->memory_mib, 81559);
    assert_true(d->healthy);
    assert_int_equal(d->n_paths, 3);
    assert_string_equal(d->paths[0], "/dev/nvidia4");
    assert_string_equal(d->paths[1], "/dev/nvidiactl");
    assert_string_equal(d->paths[2], "/dev/nvidia-uvm");
    d = &m->l.items[1];
    assert_int_equal(d->memory_mib, 0);
    assert_string_equal(d->driver_version, "");
    assert_int_equal(d->index, 1);
    assert_ptr_equal(gpu_find(&m->l, "GPU-bbb"), d);
    assert_null(gpu_find(&m->l, "GPU-ccc"));
}

static void
test_nvidia_old_driver(void **state)
{
    struct machine *m = *state;
    autofree char *tool = put_tool(
        m, "#!/bin/sh\n"
           "case \"$1\" in *compute_cap*) echo 'Field \"compute_cap\" is not valid';"
           " exit 2;; esac\n"
           "echo 'Tesla T4, 15109, GPU-t4, 418.1, 00000000:00:04.0'\n");

    UNUSED(tool);
    put(m, "/dev/nvidiactl", "");
    probe(m);
    assert_int_equal(m->l.len, 1);
    assert_string_equal(m->l.items[0].compute_capability, "");
    assert_string_equal(m->l.items[0].paths[0], "/dev/nvidia0");
}

static void
test_nvidia_tool_fails(void **state)
{
    struct machine *m = *state;
    autofree char *tool = put_tool(
        m, "#!/bin/sh\necho 'NVIDIA-SMI has failed because it could not talk'\nexit 9\n");

    UNUSED(tool);
    put(m, "/dev/nvidiactl", "");
    probe(m);
    assert_int_equal(m->l.len, 0);
    assert_non_null(strstr(m->l.note, "nvidia"));
    assert_non_null(strstr(m->l.note, "exited with 9"));
    assert_non_null(strstr(m->l.note, "could not talk"));
    m->c.nvidia_smi = "/no/such/tool";
    probe(m);
    assert_int_equal(m->l.len, 0);
    assert_non_null(strstr(m->l.note, "/no/such/tool"));
}

static void
test_nvidia_garbage(void **state)
{
    struct machine *m = *state;
    autofree char *tool =
        put_tool(m, "#!/bin/sh\necho 'A, 1, GPU-a, 1, x, 1'\necho garbage\n");

    UNUSED(tool);
    put(m, "/dev/nvidiactl", "");
    probe(m);
    assert_int_equal(m->l.len, 0); /* all or nothing: half a list would be a lie */
    assert_string_not_equal(m->l.note, "");
}

static void
put_amd(struct machine *m, int card, const char *device, const char *vram,
        const char *unique)
{
    const struct {
        const char *file, *text;
    } files[] = {{"vendor", "0x1002\n"},
                 {"device", device},
                 {"mem_info_vram_total", vram},
                 {"unique_id", unique}};

    for (size_t i = 0; i < ARRAY_LEN(files); i++) {
        autofree char *path =
            xasprintf("/sys/class/drm/card%d/device/%s", card, files[i].file);
        if (files[i].text != NULL)
            put(m, path, files[i].text);
    }
    autofree char *render =
        xasprintf("/sys/class/drm/card%d/device/drm/renderD%d/dev", card, 128 + card);
    put(m, render, "226:128\n");
}

static void
test_amd(void **state)
{
    struct machine *m = *state;

    put(m, "/dev/kfd", "");
    put(m, "/sys/module/amdgpu/version", "6.7.0\n");
    put(m, "/sys/class/drm/card0-DP-1/status", "connected\n");
    put_amd(m, 0, "0x74a1\n", "206141652992\n", "a1b2c3d4\n");
    put_amd(m, 1, "0x1234\n", "34342961152\n", NULL);
    put_amd(m, 2, "0x164e\n", "536870912\n", NULL); /* the processor's display */
    put(m, "/sys/class/drm/card3/device/vendor", "0x8086\n");
    probe(m);
    assert_int_equal(m->l.len, 2);
    const struct gpu_device *d = &m->l.items[0];
    assert_string_equal(d->vendor, "amd");
    assert_string_equal(d->name, "MI300X");
    assert_string_equal(d->uuid, "a1b2c3d4");
    assert_string_equal(d->driver_version, "6.7.0");
    assert_int_equal(d->memory_mib, 196592);
    assert_string_equal(d->paths[0], "/dev/kfd");
    assert_string_equal(d->paths[1], "/dev/dri/renderD128");
    assert_string_equal(m->l.items[1].name, "AMD GPU 0x1234");
    assert_string_equal(m->l.items[1].uuid, "renderD129");
}

static void
test_amd_only_a_display(void **state)
{
    struct machine *m = *state;

    put(m, "/dev/kfd", "");
    put_amd(m, 0, "0x164e\n", "536870912\n", NULL);
    probe(m);
    assert_int_equal(m->l.len, 0);
    assert_non_null(strstr(m->l.note, "amd"));
}

static void
test_accelerators(void **state)
{
    struct machine *m = *state;

    put(m, "/dev/accel/accel0", "");
    put(m, "/sys/class/accel/accel0/device/vendor", "0x1da3\n");
    put(m, "/sys/class/accel/accel0/device/device", "0x1020\n");
    put(m, "/sys/class/accel/accel_controlD0/device/vendor", "0x1da3\n");
    put(m, "/dev/tenstorrent/0", "");
    put(m, "/sys/class/tenstorrent/tenstorrent!10/device/vendor", "0x1e52\n");
    put(m, "/sys/class/tenstorrent/tenstorrent!10/device/device", "0xb140\n");
    put(m, "/sys/class/tenstorrent/tenstorrent!2/device/vendor", "0x1e52\n");
    put(m, "/sys/class/tenstorrent/tenstorrent!2/device/device", "0x401e\n");
    put(m, "/sys/class/tenstorrent/tenstorrent!2/tt_card_type", "n300\n");
    put(m, "/sys/class/tenstorrent/tenstorrent!2/tt_serial", "0100014\n");
    probe(m);
    assert_int_equal(m->l.len, 3);
    assert_string_equal(m->l.items[0].vendor, "tenstorrent");
    assert_string_equal(m->l.items[0].name, "n300");
    assert_int_equal(m->l.items[0].memory_mib, 24 * 1024);
    assert_string_equal(m->l.items[0].uuid, "0100014");
    assert_string_equal(m->l.items[0].paths[0], "/dev/tenstorrent/2");
    assert_string_equal(m->l.items[1].name, "Blackhole");
    assert_string_equal(m->l.items[1].uuid, "tenstorrent-10");
    assert_int_equal(m->l.items[1].memory_mib, 32 * 1024);
    assert_string_equal(m->l.items[2].vendor, "intel");
    assert_string_equal(m->l.items[2].name, "Gaudi2");
    assert_int_equal(m->l.items[2].memory_mib, 96 * 1024);
    assert_string_equal(m->l.items[2].paths[1], "/dev/accel/accel_controlD0");
}

/* One device per chip that the bus shows. */
static void
test_tenstorrent_boards(void **state)
{
    static const struct {
        const char *type, *device, *name;
        int n, gib;
    } cases[] = {
        {"n150", "0x401e\n", "n150", 1, 12},
        {"n300", "0x401e\n", "n300", 1, 24},
        {"p100a", "0xb140\n", "p100a", 1, 28},
        {"p150b", "0xb140\n", "p150", 8, 32},
        {"p300a", "0xb140\n", "p300", 2, 32},
        {"galaxy-blackhole", "0xb140\n", "galaxy-bh", 32, 32},
        {"galaxy-wormhole", "0x401e\n", "galaxy-wh", 32, 12},
        {"of tomorrow", "0xffff\n", "tenstorrent 0xffff", 1, 0},
    };
    struct machine *m = *state;

    put(m, "/dev/tenstorrent/0", "");
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        autofree char *class = xasprintf("%s/sys/class", m->root);
        assert_int_equal(fs_remove_tree(class, &e), 0);
        for (int k = 0; k < cases[i].n; k++) {
            const char *const files[][2] = {{"device/vendor", "0x1e52\n"},
                                            {"device/device", cases[i].device},
                                            {"tt_card_type", cases[i].type}};
            for (size_t f = 0; f < ARRAY_LEN(files); f++) {
                autofree char *path =
                    xasprintf("/sys/class/tenstorrent/tenstorrent!%d/%s", k, files[f][0]);
                put(m, path, files[f][1]);
            }
        }
        probe(m);
        assert_int_equal(m->l.len, cases[i].n);
        for (size_t k = 0; k < m->l.len; k++) {
            assert_string_equal(m->l.items[k].name, cases[i].name);
            assert_int_equal(m->l.items[k].memory_mib, cases[i].gib * 1024);
        }
    }
}

static void
test_tpu(void **state)
{
    struct machine *m = *state;

    put(m, "/dev/accel0", "");
    for (int i = 0; i < 2; i++) {
        autofree char *vendor = xasprintf("/sys/class/accel/accel%d/device/vendor", i);
        autofree char *device = xasprintf("/sys/class/accel/accel%d/device/device", i);
        put(m, vendor, "0x1ae0\n");
        put(m, device, "0x005e\n");
    }
    probe(m);
    assert_int_equal(m->l.len, 2);
    assert_string_equal(m->l.items[1].vendor, "google");
    assert_string_equal(m->l.items[1].name, "v4");
    assert_int_equal(m->l.items[1].memory_mib, 32 * 1024);
    assert_string_equal(m->l.items[1].paths[0], "/dev/accel1");
    assert_int_equal(m->l.items[1].n_paths, 1);
}

/* Newer ones: a VFIO group each. A network card of the same vendor, a group that is not
 * handed out, and a card of somebody else are none. */
static void
test_tpu_by_vfio(void **state)
{
    static const struct {
        const char *group, *address, *vendor, *device;
    } cards[] = {
        {"0", "0000:00:04.0", "0x1ae0\n", "0x0063\n"},
        {"1", "0000:00:05.0", "0x1ae0\n", "0x0063\n"},
        {"2", "0000:00:06.0", "0x1ae0\n", "0x0042\n"},
        {"3", "0000:00:07.0", "0x10de\n", "0x2330\n"},
        {"9", "0000:00:08.0", "0x1ae0\n", "0x0063\n"},
    };
    struct machine *m = *state;

    put(m, "/dev/vfio/vfio", "");
    for (size_t i = 0; i < ARRAY_LEN(cards); i++) {
        autofree char *node = xasprintf("/dev/vfio/%s", cards[i].group);
        autofree char *in_group = xasprintf("/sys/kernel/iommu_groups/%s/devices/%s",
                                            cards[i].group, cards[i].address);
        autofree char *vendor =
            xasprintf("/sys/bus/pci/devices/%s/vendor", cards[i].address);
        autofree char *device =
            xasprintf("/sys/bus/pci/devices/%s/device", cards[i].address);
        if (*cards[i].group != '9')
            put(m, node, "");
        put(m, in_group, "");
        put(m, vendor, cards[i].vendor);
        put(m, device, cards[i].device);
    }
    probe(m);
    assert_int_equal(m->l.len, 2);
    assert_string_equal(m->l.items[0].name, "v5litepod");
    assert_string_equal(m->l.items[0].uuid, "google-0000:00:04.0");
    assert_string_equal(m->l.items[1].paths[0], "/dev/vfio/vfio");
    assert_string_equal(m->l.items[1].paths[1], "/dev/vfio/1");
    assert_string_equal(m->l.note, "");
}

static void
put_fake(struct machine *m, char file[128], const char *text)
{
    put(m, "/gpus.yaml", text);
    snprintf(file, 128, "%s/gpus.yaml", m->root);
    m->c.fake_file = file;
}

static void
test_fake(void **state)
{
    struct machine *m = *state;
    char file[128];

    put(m, "/dev/nvidiactl", ""); /* the file replaces the machine */
    put_fake(m, file,
             "delay_ms: 30\n"
             "gpus:\n"
             "- {uuid: GPU-0, name: H100, memoryMiB: 81920, computeCapability: \"9.0\",\n"
             "   devicePaths: [/dev/null, /dev/zero]}\n"
             "- uuid: GPU-1\n  vendor: amd\n  name: MI300X\n  memoryMiB: 196608\n"
             "  healthy: false\n");
    int64_t before = clock_now_ms();
    probe(m);
    assert_true(clock_now_ms() - before >= 30);
    assert_int_equal(m->l.len, 2);
    assert_string_equal(m->l.items[0].vendor, "nvidia");
    assert_int_equal(m->l.items[0].n_paths, 2);
    assert_true(m->l.items[0].healthy);
    assert_string_equal(m->l.items[1].vendor, "amd");
    assert_int_equal(m->l.items[1].memory_mib, 196608);
    assert_false(m->l.items[1].healthy);

    put_fake(m, file, "[{\"uuid\": \"x\", \"name\": \"A10\", \"memoryMiB\": 24576}]");
    probe(m);
    assert_int_equal(m->l.len, 1);

    put_fake(m, file, "{fail: driver not loaded, gpus: [{uuid: x, name: z}]}");
    probe(m);
    assert_int_equal(m->l.len, 0);
    assert_string_equal(m->l.note, "fake: driver not loaded");
}

static void
test_fake_errors(void **state)
{
    static const struct {
        const char *text, *want;
    } cases[] = {
        {"gpus: 3", "not a list"},
        {"gpus: [3]", "gpus[0]: not an object"},
        {"gpus: [{uuid: a, name: b}, {name: b}]", "gpus[1]: uuid and name"},
        {"gpus: [{uuid: a, name: [b]}]", "name: not a text"},
        {"gpus: [{uuid: a, name: b, devicePaths: [1]}]", "devicePaths"},
        {"a: b\n---\nc: d", "not one document"},
        {"a: [", "line"},
    };
    struct machine *m = *state;
    char file[128];

    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct error e = ERROR_INIT;
        put_fake(m, file, cases[i].text);
        assert_true(gpu_probe(&m->c, &m->l, &e) < 0);
        if (strstr(e.msg, cases[i].want) == NULL || strstr(e.msg, file) == NULL)
            fail_msg("%s: \"%s\"", cases[i].text, e.msg);
    }
    struct error e = ERROR_INIT;
    m->c.fake_file = "/no/such/file";
    assert_int_equal(gpu_probe(&m->c, &m->l, &e), -ERR_NOT_FOUND);
}

static void
sample(struct machine *m, struct gpu_loads *l)
{
    struct error e = ERROR_INIT;

    if (gpu_sample(&m->c, l, &e) != 0)
        fail_msg("%s", e.msg);
}

static void
told(const struct gpu_loads *l, const char *uuid, int busy, int64_t mib)
{
    const struct gpu_load *g = gpu_load_find(l, uuid);

    if (g == NULL || g->busy != busy || g->memory_mib != mib)
        fail_msg("%s: %d%%, %lld MiB", uuid, g == NULL ? -2 : g->busy,
                 g == NULL ? -2LL : (long long)g->memory_mib);
}

static void
test_loads_of_nvidia(void **state)
{
    struct machine *m = *state;
    struct gpu_loads l;
    autofree char *tool =
        put_tool(m, "#!/bin/sh\n"
                    "case \"$1\" in --query-gpu=uuid,utilization.gpu,memory.used) ;;"
                    " *) exit 3;; esac\n"
                    "echo 'GPU-aaa, 37, 1024'\necho 'GPU-mig, [N/A], 5'\n");

    UNUSED(tool);
    put(m, "/dev/nvidiactl", "");
    sample(m, &l);
    assert_int_equal(l.len, 2);
    told(&l, "GPU-aaa", 37, 1024);
    told(&l, "GPU-mig", -1, 5);
    assert_null(gpu_load_find(&l, "GPU-ccc"));
    autofree char *broken = put_tool(m, "#!/bin/sh\necho 'could not talk'\nexit 9\n");
    UNUSED(broken);
    sample(m, &l);
    assert_int_equal(l.len, 0);
    assert_non_null(strstr(l.note, "exited with 9: could not talk"));
}

/* 283 MiB and 10 % as the tool of the vendor would print them. */
static void
test_loads_of_amd(void **state)
{
    struct machine *m = *state;
    struct gpu_loads l;

    put(m, "/dev/kfd", "");
    put_amd(m, 0, "0x74a1\n", "206141652992\n", "a1b2c3d4\n");
    put_amd(m, 1, "0x74a1\n", "206141652992\n", NULL);
    put(m, "/sys/class/drm/card0/device/gpu_busy_percent", "10\n");
    put(m, "/sys/class/drm/card0/device/mem_info_vram_used", "296747008\n");
    put(m, "/sys/class/drm/card1/device/gpu_busy_percent", "N/A\n");
    sample(m, &l);
    assert_int_equal(l.len, 2);
    told(&l, "a1b2c3d4", 10, 283);
    told(&l, "renderD129", -1, -1);
}

static void
test_loads_of_gaudi(void **state)
{
    struct machine *m = *state;
    struct gpu_loads l;
    autofree char *tool =
        put_tool(m, "#!/bin/sh\n"
                    "case \"$1\" in --query-aip=bus_id,utilization.aip,memory.used) ;;"
                    " *) exit 3;; esac\n"
                    "echo '0000:1A:00.0, 3, 768'\necho '0000:19:00.0, 90, 80000'\n");

    m->c.hl_smi = tool;
    put(m, "/dev/accel/accel0", "");
    put(m, "/sys/class/accel/accel0/device/uevent",
        "DRIVER=habanalabs\nPCI_SLOT_NAME=0000:19:00.0\n");
    put(m, "/sys/class/accel/accel1/device/uevent",
        "DRIVER=habanalabs\nPCI_SLOT_NAME=0000:1a:00.0\n");
    sample(m, &l);
    assert_int_equal(l.len, 2);
    told(&l, "intel-0", 90, 80000);
    told(&l, "intel-1", 3, 768);
}

static void
test_loads_of_fakes(void **state)
{
    struct machine *m = *state;
    struct gpu_loads l;
    char file[128];

    put_fake(m, file,
             "gpus:\n- {uuid: a, name: A10, utilization: 7, memoryUsedMiB: 12}\n"
             "- {uuid: b, name: A10}\n- {uuid: c, name: A10, utilization: 101}\n");
    sample(m, &l);
    told(&l, "a", 7, 12);
    told(&l, "b", -1, -1);
    told(&l, "c", -1, -1);
    put_fake(m, file, "{fail: driver gone, gpus: [{uuid: a, name: A10}]}");
    sample(m, &l);
    assert_int_equal(l.len, 0);
    assert_string_equal(l.note, "fake: driver gone");
}

static void
test_inventory(void **state)
{
    struct machine *m = *state;
    struct inventory *inv = xnew(struct inventory);
    struct error e = ERROR_INIT;
    char file[128];
    char host[256];

    put_fake(m, file, "[{uuid: u, name: A10, memoryMiB: 10}]");
    if (inventory_probe(m->root, &m->c, inv, &e) != 0)
        fail_msg("%s", e.msg);
    assert_true(inv->cpus >= 1 && inv->cpus <= sysconf(_SC_NPROCESSORS_CONF));
    int64_t ram = sysconf(_SC_PHYS_PAGES) * (sysconf(_SC_PAGESIZE) / 1024) / 1024;
    assert_true(inv->memory_mib >= 1 && inv->memory_mib <= ram);
    assert_true(inv->disk_mib > 0);
    json_t *o = inventory_json(inv);
    json_t *agent = json_object();
    inventory_put_host(inv, agent);
    assert_int_equal(json_integer_value(json_object_get(o, "cpus")), inv->cpus);
    assert_int_equal(json_integer_value(json_object_get(o, "gpuCount")), 1);
    const json_t *gpu = json_array_get(json_object_get(o, "gpus"), 0);
    assert_string_equal(json_string_value(json_object_get(gpu, "uuid")), "u");
    assert_int_equal(json_integer_value(json_object_get(gpu, "memoryMiB")), 10);
    assert_true(json_is_true(json_object_get(gpu, "healthy")));
    assert_null(json_object_get(gpu, "driverVersion")); /* unknown is absent */
    assert_int_equal(gethostname(host, sizeof(host)), 0);
    assert_string_equal(json_string_value(json_object_get(agent, "hostname")), host);
    assert_int_equal(json_string_length(json_object_get(agent, "bootID")), 36);
    json_decref(o);
    json_decref(agent);
    assert_true(inventory_probe("/no/such/dir", &m->c, inv, &e) < 0);
    free(inv);
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(test_none, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvidia, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvidia_old_driver, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvidia_tool_fails, setup, teardown),
        cmocka_unit_test_setup_teardown(test_nvidia_garbage, setup, teardown),
        cmocka_unit_test_setup_teardown(test_amd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_amd_only_a_display, setup, teardown),
        cmocka_unit_test_setup_teardown(test_accelerators, setup, teardown),

        cmocka_unit_test_setup_teardown(test_tenstorrent_boards, setup, teardown),
        cmocka_unit_test_setup_teardown(test_tpu, setup, teardown),

        cmocka_unit_test_setup_teardown(test_tpu_by_vfio, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fake, setup, teardown),
        cmocka_unit_test_setup_teardown(test_fake_errors, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loads_of_nvidia, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loads_of_amd, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loads_of_gaudi, setup, teardown),
        cmocka_unit_test_setup_teardown(test_loads_of_fakes, setup, teardown),
        cmocka_unit_test_setup_teardown(test_inventory, setup, teardown),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
