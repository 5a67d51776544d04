/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Accelerators that show as one character device per chip and are known by their PCI
 * device: Intel Gaudi and, up to the fourth generation, Google's TPU (/sys/class/accel),
 * Tenstorrent (/sys/class/tenstorrent). Newer TPUs are handed out by VFIO: one group per
 * chip. (PCI ids of TPUs: jax, hardware_utils.py; memory per chip: Google's system
 * architecture pages.)
 */
#include <stdio.h>
#include <string.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/gpu/gpu_internal.h"

enum { PCI_HABANA = 0x1da3, PCI_TENSTORRENT = 0x1e52, PCI_GOOGLE = 0x1ae0, GIB = 1024 };
enum { TOOL_OUTPUT_MAX = 64 * 1024 };

static const struct chip {
    unsigned vendor, device;
    const char *name;
    int64_t memory_mib;
} chips[] = {
    {PCI_HABANA, 0x1000, "Gaudi", 32LL * GIB},
    {PCI_HABANA, 0x1010, "Gaudi", 32LL * GIB},
    {PCI_HABANA, 0x1020, "Gaudi2", 96LL * GIB},
    {PCI_HABANA, 0x1060, "Gaudi3", 128LL * GIB},
    {PCI_HABANA, 0x1061, "Gaudi3", 128LL * GIB},
    {PCI_GOOGLE, 0x0027, "v3", 32LL * GIB},
    {PCI_GOOGLE, 0x005e, "v4", 32LL * GIB},
    {PCI_GOOGLE, 0x0062, "v5p", 95LL * GIB},
    {PCI_GOOGLE, 0x0063, "v5litepod", 16LL * GIB},
    {PCI_GOOGLE, 0x006f, "v6e", 32LL * GIB},
    {PCI_TENSTORRENT, 0x401e, "Wormhole", 12LL * GIB},
    {PCI_TENSTORRENT, 0xb140, "Blackhole", 32LL * GIB},
};

/* Boards whose type the driver tells. */
static const struct board {
    const char *type, *name;
    int64_t memory_mib;
} boards[] = {
    {"n150", "n150", 12LL * GIB},
    {"n300", "n300", 24LL * GIB}, /* two chips, one of them on the bus */
    {"p100", "p100a", 28LL * GIB},
    {"p150", "p150", 32LL * GIB},
    {"p300", "p300", 32LL * GIB},
    {"galaxy-wormhole", "galaxy-wh", 12LL * GIB},
    {"galaxy-blackhole", "galaxy-bh", 32LL * GIB},
};

struct walk {
    const struct gpu_config *c;
    struct gpu_list *l;
    const char *class_dir;
    const char *prefix; /* of an entry; its number follows */
    unsigned vendor;
    const char *vendor_name;
};

static const struct chip *
find_chip(unsigned vendor, unsigned device)
{
    for (size_t i = 0; i < ARRAY_LEN(chips); i++) {
        if (chips[i].vendor == vendor && chips[i].device == device)
            return &chips[i];
    }
    return NULL;
}

static void
read_attribute(const struct walk *w, const char *entry, const char *name, char *out,
               size_t size)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/%.60s/%s", w->class_dir, entry, name);
    gpu_read_line(w->c, path, out, size);
}

static void
set_board(const struct walk *w, const char *entry, struct gpu_device *d)
{
    char type[64];

    read_attribute(w, entry, "tt_card_type", type, sizeof(type));
    for (size_t i = 0; i < ARRAY_LEN(boards); i++) {
        if (type[0] != '\0' && str_starts(type, boards[i].type)) {
            snprintf(d->name, sizeof(d->name), "%s", boards[i].name);
            d->memory_mib = boards[i].memory_mib;
        }
    }
    read_attribute(w, entry, "tt_serial", d->uuid, sizeof(d->uuid));
}

static void
take_entry(void *arg, const char *entry)
{
    struct walk *w = arg;
    char text[64];

    if (!str_starts(entry, w->prefix))
        return;
    const char *number = entry + strlen(w->prefix);
    if (*number < '0' || *number > '9')
        return; /* accel_controlD0 */
    read_attribute(w, entry, "device/vendor", text, sizeof(text));
    if (strtoul(text, NULL, 0) != w->vendor)
        return;
    read_attribute(w, entry, "device/device", text, sizeof(text));
    unsigned device = (unsigned)strtoul(text, NULL, 0);
    const struct chip *chip = find_chip(w->vendor, device);
    struct gpu_device *d = gpu_add(w->l, w->vendor_name);
    if (d == NULL)
        return;
    snprintf(d->name, sizeof(d->name), "%s", chip == NULL ? "" : chip->name);
    if (chip == NULL)
        snprintf(d->name, sizeof(d->name), "%s 0x%04x", w->vendor_name, device);
    d->memory_mib = chip == NULL ? 0 : chip->memory_mib;
    unsigned long n = strtoul(number, NULL, 10);
    if (w->vendor == PCI_TENSTORRENT) {
        set_board(w, entry, d);
        gpu_add_node(d, "/dev/tenstorrent/", n);
    } else if (w->vendor == PCI_GOOGLE) {
        gpu_add_node(d, "/dev/accel", n);
    } else {
        gpu_add_node(d, "/dev/accel/accel", n);
        gpu_add_node(d, "/dev/accel/accel_controlD", n);
    }
    if (d->uuid[0] == '\0')
        snprintf(d->uuid, sizeof(d->uuid), "%s-%lu", w->vendor_name, n);
    if (w->vendor != PCI_GOOGLE)
        gpu_read_line(w->c,
                      w->vendor == PCI_TENSTORRENT ? "/sys/module/tenstorrent/version"
                                                   : "/sys/module/habanalabs/version",
                      d->driver_version, sizeof(d->driver_version));
}

static int
walk_class(struct walk *w, struct error *e)
{
    size_t before = w->l->len;

    gpu_each(w->c, w->class_dir, take_entry, w);
    if (w->l->len == before)
        return error_set(e, ERR_NOT_FOUND, "%s has no device of this vendor",
                         w->class_dir);
    return 0;
}

static bool
intel_present(const struct gpu_config *c)
{
    /* Also where a processor has a neural unit; then the walk finds no Gaudi. */
    return gpu_exists(c, "/dev/accel");
}

static int
intel_probe(const struct gpu_config *c, struct gpu_list *l, struct error *e)
{
    struct walk w = {c, l, "/sys/class/accel", "accel", PCI_HABANA, "intel"};

    return walk_class(&w, e);
}

struct slot {
    const char *bus; /* as hl-smi writes it */
    const struct gpu_config *c;
    char uuid[80]; /* "": none is in it */
};

/* The same name that take_entry gives. */
static void
match_slot(void *arg, const char *entry)
{
    struct slot *s = arg;
    char path[128], at[64];

    if (!str_starts(entry, "accel") || entry[5] < '0' || entry[5] > '9')
        return;
    snprintf(path, sizeof(path), "/sys/class/accel/%.60s/device/uevent", entry);
    gpu_read_field(s->c, path, "PCI_SLOT_NAME=", at, sizeof(at));
    if (at[0] != '\0' && strcasecmp(at, s->bus) == 0)
        snprintf(s->uuid, sizeof(s->uuid), "intel-%lu", strtoul(entry + 5, NULL, 10));
}

static int
intel_load(const struct gpu_config *c, struct gpu_loads *l, struct error *e)
{
    const char *argv[] = {c->hl_smi != NULL ? c->hl_smi : "hl-smi",
                          "--query-aip=bus_id,utilization.aip,memory.used",
                          "--format=csv,noheader,nounits", NULL};
    auto_str out = STR_INIT(TOOL_OUTPUT_MAX);
    size_t before = l->len;

    int rc = gpu_tool(argv, &out, e);
    if (rc != 0)
        return rc;
    if (gpu_loads_parse(out.ptr, l) == 0)
        return error_set(e, ERR_PROVIDER, "hl-smi: no line of an accelerator");
    for (size_t i = before; i < l->len; i++) {
        struct slot s = {.bus = l->items[i].uuid, .c = c};
        gpu_each(c, "/sys/class/accel", match_slot, &s);
        memcpy(l->items[i].uuid, s.uuid, sizeof(s.uuid));
    }
    return 0;
}

static bool
tenstorrent_present(const struct gpu_config *c)
{
    return gpu_exists(c, "/dev/tenstorrent");
}

static int
tenstorrent_probe(const struct gpu_config *c, struct gpu_list *l, struct error *e)
{
    struct walk w = {
        c, l, "/sys/class/tenstorrent", "tenstorrent!", PCI_TENSTORRENT, "tenstorrent"};

    return walk_class(&w, e);
}

struct vfio_group {
    struct walk *w;
    const char *number;
};

/* A PCI device of a group that VFIO hands out. */
static void
take_vfio(void *arg, const char *address)
{
    const struct vfio_group *g = arg;
    struct walk *w = g->w;
    char text[64];

    read_attribute(w, address, "vendor", text, sizeof(text));
    if (strtoul(text, NULL, 0) != PCI_GOOGLE)
        return;
    read_attribute(w, address, "device", text, sizeof(text));
    const struct chip *chip = find_chip(PCI_GOOGLE, (unsigned)strtoul(text, NULL, 0));
    if (chip == NULL) /* Google's network cards and disks are of the same vendor */
        return;
    struct gpu_device *d = gpu_add(w->l, w->vendor_name);
    if (d == NULL)
        return;
    snprintf(d->name, sizeof(d->name), "%s", chip->name);
    d->memory_mib = chip->memory_mib;
    snprintf(d->uuid, sizeof(d->uuid), "google-%.40s", address);
    gpu_add_path(d, "/dev/vfio/vfio");
    gpu_add_node(d, "/dev/vfio/", strtoul(g->number, NULL, 10));
}

static void
take_group(void *arg, const char *number)
{
    struct vfio_group g = {arg, number};
    char path[128];

    snprintf(path, sizeof(path), "/dev/vfio/%.20s", number);
    if (!gpu_exists(g.w->c, path))
        return;
    snprintf(path, sizeof(path), "/sys/kernel/iommu_groups/%.20s/devices", number);
    gpu_each(g.w->c, path, take_vfio, &g);
}

static bool
google_present(const struct gpu_config *c)
{
    return gpu_exists(c, "/dev/accel0") || gpu_exists(c, "/dev/vfio/vfio");
}

static int
google_probe(const struct gpu_config *c, struct gpu_list *l, struct error *e)
{
    struct walk w = {c, l, "/sys/class/accel", "accel", PCI_GOOGLE, "google"};

    if (walk_class(&w, e) == 0)
        return 0;
    /* Other machines have VFIO or accelerators as well: no TPU is no news. */
    *e = ERROR_INIT;
    w.class_dir = "/sys/bus/pci/devices";
    gpu_each(c, "/sys/kernel/iommu_groups", take_group, &w);
    return 0;
}

const struct gpu_ops gpu_google = {
    .vendor = "google", .present = google_present, .probe = google_probe};
const struct gpu_ops gpu_intel = {.vendor = "intel",
                                  .present = intel_present,
                                  .probe = intel_probe,
                                  .load = intel_load};
const struct gpu_ops gpu_tenstorrent = {
    .vendor = "tenstorrent", .present = tenstorrent_present, .probe = tenstorrent_probe};
