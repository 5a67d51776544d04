/* SPDX-License-Identifier: Apache-2.0 */
/* The list of drivers, and what they share. */
#include "runner/gpu/gpu.h"

#include <dirent.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "io/proc.h"
#include "runner/gpu/gpu_internal.h"

/* Unambiguous ones first: an AMD or Intel device may be the processor's own display. */
static const struct gpu_ops *const drivers[] = {&gpu_nvidia, &gpu_tenstorrent, &gpu_amd,
                                                &gpu_intel, &gpu_google};

enum { LINE_BYTES = 4096 };

int
gpu_probe(const struct gpu_config *c, struct gpu_list *ret, struct error *e)
{
    memset(ret, 0, sizeof(*ret));
    if (c->fake_file != NULL)
        return gpu_fake_probe(c->fake_file, ret, e);
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        struct error why = ERROR_INIT;
        size_t before = ret->len;
        if (!drivers[i]->present(c) || drivers[i]->probe(c, ret, &why) == 0)
            continue;
        ret->len = before;
        snprintf(ret->note, sizeof(ret->note), "%s: %.200s", drivers[i]->vendor, why.msg);
    }
    for (size_t i = 0; i < ret->len; i++)
        ret->items[i].index = (unsigned)i;
    return 0;
}

int
gpu_sample(const struct gpu_config *c, struct gpu_loads *ret, struct error *e)
{
    memset(ret, 0, sizeof(*ret));
    if (c->fake_file != NULL)
        return gpu_fake_load(c->fake_file, ret, e);
    for (size_t i = 0; i < ARRAY_LEN(drivers); i++) {
        struct error why = ERROR_INIT;
        size_t before = ret->len;
        if (drivers[i]->load == NULL || !drivers[i]->present(c) ||
            drivers[i]->load(c, ret, &why) == 0)
            continue;
        ret->len = before;
        snprintf(ret->note, sizeof(ret->note), "%s: %.200s", drivers[i]->vendor, why.msg);
    }
    return 0;
}

const struct gpu_device *
gpu_find(const struct gpu_list *l, const char *uuid)
{
    for (size_t i = 0; i < l->len; i++) {
        if (streq(l->items[i].uuid, uuid))
            return &l->items[i];
    }
    return NULL;
}

static void
set_text(json_t *o, const char *key, const char *text)
{
    json_t *v = text[0] == '\0' ? NULL : json_string(text);

    if (v != NULL) /* absent when unknown, or not UTF-8 */
        json_object_set_new(o, key, v);
}

json_t *
gpu_list_json(const struct gpu_list *l)
{
    json_t *list = json_array();

    for (size_t i = 0; i < l->len; i++) {
        const struct gpu_device *d = &l->items[i];
        json_t *o = json_object();
        set_text(o, "uuid", d->uuid);
        json_object_set_new(o, "index", json_integer(d->index));
        set_text(o, "vendor", d->vendor);
        set_text(o, "name", d->name);
        json_object_set_new(o, "memoryMiB", json_integer(d->memory_mib));
        set_text(o, "driverVersion", d->driver_version);
        set_text(o, "computeCapability", d->compute_capability);
        json_object_set_new(o, "healthy", json_boolean(d->healthy));
        json_array_append_new(list, o);
    }
    return list;
}

struct gpu_device *
gpu_add(struct gpu_list *l, const char *vendor)
{
    if (l->len == GPU_MAX)
        return NULL;
    struct gpu_device *d = &l->items[l->len];
    memset(d, 0, sizeof(*d));
    d->index = (unsigned)l->len++;
    d->healthy = true;
    snprintf(d->vendor, sizeof(d->vendor), "%s", vendor);
    return d;
}

void
gpu_add_path(struct gpu_device *d, const char *path)
{
    size_t n = strlen(path);

    if (d->n_paths < GPU_PATHS && n < sizeof(d->paths[0]))
        memcpy(d->paths[d->n_paths++], path, n + 1);
}

void
gpu_add_node(struct gpu_device *d, const char *prefix, unsigned long number)
{
    char path[sizeof(d->paths[0])];

    snprintf(path, sizeof(path), "%s%lu", prefix, number);
    gpu_add_path(d, path);
}

static char *
rooted(const struct gpu_config *c, const char *path)
{
    return xasprintf("%s%s", c->root == NULL ? "" : c->root, path);
}

bool
gpu_exists(const struct gpu_config *c, const char *path)
{
    autofree char *full = rooted(c, path);

    return access(full, F_OK) == 0;
}

void
gpu_read_line(const struct gpu_config *c, const char *path, char *out, size_t size)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(LINE_BYTES);
    autofree char *full = rooted(c, path);

    out[0] = '\0';
    if (fs_read(full, &text, &ignored) == 0)
        gpu_text(out, size, text.ptr, strcspn(text.ptr, "\n"));
}

void
gpu_read_field(const struct gpu_config *c, const char *path, const char *key, char *out,
               size_t size)
{
    struct error ignored = ERROR_INIT;
    auto_str text = STR_INIT(LINE_BYTES);
    autofree char *full = rooted(c, path);

    out[0] = '\0';
    if (fs_read(full, &text, &ignored) != 0)
        return;
    const char *p = strstr(text.ptr, key);
    if (p != NULL)
        gpu_text(out, size, p + strlen(key), strcspn(p + strlen(key), "\n"));
}

uint64_t
gpu_read_number(const struct gpu_config *c, const char *path)
{
    char line[64];

    gpu_read_line(c, path, line, sizeof(line));
    return strtoull(line, NULL, 0);
}

static int
by_version(const struct dirent **a, const struct dirent **b)
{
    return strverscmp((*a)->d_name, (*b)->d_name);
}

void
gpu_each(const struct gpu_config *c, const char *dir,
         void (*fn)(void *arg, const char *name), void *arg)
{
    struct dirent **entries = NULL;
    autofree char *full = rooted(c, dir);
    int n = scandir(full, &entries, NULL, by_version);

    for (int i = 0; i < n; i++) {
        if (entries[i]->d_name[0] != '.')
            fn(arg, entries[i]->d_name);
        free(entries[i]);
    }
    free(entries);
}

int
gpu_tool(const char *const *argv, struct str *out, struct error *e)
{
    struct proc_opts opts = PROC_OPTS_INIT;
    int status;

    opts.argv = argv;
    int rc = proc_run(&opts, GPU_TOOL_MS, out, &status, e);
    if (rc != 0)
        return rc;
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0) {
        const char *slash = strrchr(argv[0], '/');
        char how[64];
        proc_status_text(status, how, sizeof(how));
        return error_set(e, ERR_PROVIDER, "%s %s: %.*s",
                         slash == NULL ? argv[0] : slash + 1, how,
                         (int)strcspn(out->ptr, "\n"), out->ptr);
    }
    return 0;
}

void
gpu_text(char *out, size_t size, const char *text, size_t n)
{
    static const char *const placeholders[] = {
        "N/A", "[N/A]", "Unknown", "[Unknown]", "[Not Supported]", "[Not Available]"};

    while (n > 0 && (*text == ' ' || *text == '\t')) {
        text++;
        n--;
    }
    while (n > 0 && strchr(" \t\r\n", text[n - 1]) != NULL)
        n--;
    snprintf(out, size, "%.*s", (int)n, text);
    for (size_t i = 0; i < ARRAY_LEN(placeholders); i++) {
        if (strcasecmp(out, placeholders[i]) == 0)
            out[0] = '\0';
    }
}
