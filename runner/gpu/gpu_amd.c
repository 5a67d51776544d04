/* SPDX-License-Identifier: Apache-2.0 */
/*
 * AMD by what the amdgpu driver shows in sysfs; no tool is needed. A GPU that computes
 * has memory of its own, a render node, and /dev/kfd beside it.
 */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/mem.h"
#include "base/str.h"
#include "runner/gpu/gpu_internal.h"

enum { PCI_AMD = 0x1002, MIN_VRAM_MIB = 2048 };

/* Where the driver does not give the name of the product. */
static const struct {
    unsigned device;
    const char *name;
} names[] = {{0x738c, "MI100"},  {0x740c, "MI250X"}, {0x7408, "MI250X"},
             {0x740f, "MI210"},  {0x74a0, "MI300A"}, {0x74a1, "MI300X"},
             {0x74a2, "MI308X"}, {0x74a5, "MI325X"}, {0x75a0, "MI350X"},
             {0x75a3, "MI355X"}};

struct walk {
    const struct gpu_config *c;
    struct gpu_list *l;
    struct gpu_loads *loads;
    int render; /* -1: none */
};

static bool
present(const struct gpu_config *c)
{
    return gpu_exists(c, "/dev/kfd");
}

static void
find_render(void *arg, const char *name)
{
    struct walk *w = arg;

    if (str_starts(name, "renderD"))
        w->render = (int)strtol(name + strlen("renderD"), NULL, 10);
}

static void
set_name(struct gpu_device *d, const struct gpu_config *c, const char *dir)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/product_name", dir);
    gpu_read_line(c, path, d->name, sizeof(d->name));
    if (d->name[0] != '\0')
        return;
    snprintf(path, sizeof(path), "%s/device", dir);
    unsigned id = (unsigned)gpu_read_number(c, path);
    snprintf(d->name, sizeof(d->name), "AMD GPU 0x%04x", id);
    for (size_t i = 0; i < ARRAY_LEN(names); i++) {
        if (names[i].device == id)
            snprintf(d->name, sizeof(d->name), "%s", names[i].name);
    }
}

/* A card that computes: its directory, memory and render node. */
static bool
usable(struct walk *w, const char *card, char dir[128], int64_t *ret_mib)
{
    char path[256];

    if (!str_starts(card, "card") || strchr(card, '-') != NULL)
        return false; /* card0-DP-1: a connector */
    snprintf(dir, 128, "/sys/class/drm/%.40s/device", card);
    snprintf(path, sizeof(path), "%s/vendor", dir);
    if (gpu_read_number(w->c, path) != PCI_AMD)
        return false;
    snprintf(path, sizeof(path), "%s/mem_info_vram_total", dir);
    *ret_mib = (int64_t)(gpu_read_number(w->c, path) >> 20);
    w->render = -1;
    snprintf(path, sizeof(path), "%s/drm", dir);
    gpu_each(w->c, path, find_render, w);
    /* else the processor's own display, or not usable */
    return *ret_mib >= MIN_VRAM_MIB && w->render >= 0;
}

static void
read_uuid(const struct walk *w, const char *dir, char *out, size_t size)
{
    char path[256];

    snprintf(path, sizeof(path), "%s/unique_id", dir);
    gpu_read_line(w->c, path, out, size);
    if (out[0] == '\0')
        snprintf(out, size, "renderD%d", w->render);
}

static void
take_card(void *arg, const char *card)
{
    struct walk *w = arg;
    char dir[128];
    int64_t mib;

    if (!usable(w, card, dir, &mib))
        return;
    struct gpu_device *d = gpu_add(w->l, "amd");
    if (d == NULL)
        return;
    d->memory_mib = mib;
    set_name(d, w->c, dir);
    read_uuid(w, dir, d->uuid, sizeof(d->uuid));
    gpu_read_line(w->c, "/sys/module/amdgpu/version", d->driver_version,
                  sizeof(d->driver_version));
    gpu_add_path(d, "/dev/kfd");
    gpu_add_node(d, "/dev/dri/renderD", (unsigned long)w->render);
}

static int
probe(const struct gpu_config *c, struct gpu_list *l, struct error *e)
{
    struct walk w = {.c = c, .l = l};
    size_t before = l->len;

    gpu_each(c, "/sys/class/drm", take_card, &w);
    if (l->len == before)
        return error_set(e, ERR_NOT_FOUND,
                         "/dev/kfd is there, but no GPU with memory and render node");
    return 0;
}

static void
take_load(void *arg, const char *card)
{
    struct walk *w = arg;
    char dir[128], path[256], line[64], uuid[80];
    int64_t mib;

    if (!usable(w, card, dir, &mib))
        return;
    read_uuid(w, dir, uuid, sizeof(uuid));
    struct gpu_load *l = gpu_load_add(w->loads, uuid);
    if (l == NULL)
        return;
    /* Cards that are divided, or of some drivers, have the file and cannot read it. */
    snprintf(path, sizeof(path), "%s/gpu_busy_percent", dir);
    gpu_read_line(w->c, path, line, sizeof(line));
    l->busy = gpu_percent(line);
    snprintf(path, sizeof(path), "%s/mem_info_vram_used", dir);
    gpu_read_line(w->c, path, line, sizeof(line));
    l->memory_mib = gpu_used_mib(line, 1);
}

static int
load(const struct gpu_config *c, struct gpu_loads *l, struct error *e)
{
    struct walk w = {.c = c, .loads = l};

    UNUSED(e);
    gpu_each(c, "/sys/class/drm", take_load, &w);
    return 0;
}

const struct gpu_ops gpu_amd = {
    .vendor = "amd", .present = present, .probe = probe, .load = load};
