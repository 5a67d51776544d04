/* SPDX-License-Identifier: Apache-2.0 */
/* GPUs out of a file. Read anew at each probe, so that a test can break one. */
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "api/yaml.h"
#include "base/fs.h"
#include "base/mem.h"
#include "base/str.h"
#include "runner/gpu/gpu_internal.h"

enum { FAKE_FILE_MAX = 256 * 1024, FAKE_DELAY_MAX_MS = 60000 };

static int
load(const char *file, json_t **ret, struct error *e)
{
    auto_str text = STR_INIT(FAKE_FILE_MAX);
    struct yaml_docs docs = {0};
    json_error_t je;

    int rc = fs_read(file, &text, e);
    if (rc == 0)
        rc = yaml_read(text.ptr, text.len, false, &docs, e);
    if (rc != 0)
        return error_prepend(e, "fake GPUs %s", file);
    if (docs.list.len == 1)
        *ret =
            json_loadb(docs.list.items[0].json.ptr, docs.list.items[0].json.len, 0, &je);
    bool ok = docs.list.len == 1 && *ret != NULL;
    yaml_docs_done(&docs);
    return ok ? 0 : error_set(e, ERR_INVALID, "fake GPUs %s: not one document", file);
}

static int
take_text(const json_t *o, const char *key, char *out, size_t size, struct error *e)
{
    const json_t *v = json_object_get(o, key);

    if (v == NULL)
        return 0;
    if (json_is_number(v)) { /* an unquoted 9.0 */
        snprintf(out, size, "%.1f", json_number_value(v));
        return 0;
    }
    if (!json_is_string(v) || json_string_length(v) >= size)
        return error_set(e, ERR_INVALID, "%s: not a text of at most %zu bytes", key,
                         size - 1);
    snprintf(out, size, "%s", json_string_value(v));
    return 0;
}

static int
take_paths(const json_t *o, struct gpu_device *d, struct error *e)
{
    const json_t *paths = json_object_get(o, "devicePaths");
    size_t i;
    const json_t *p;

    json_array_foreach (paths, i, p) {
        if (!json_is_string(p) || i == GPU_PATHS)
            return error_set(e, ERR_INVALID, "devicePaths: at most %d texts", GPU_PATHS);
        gpu_add_path(d, json_string_value(p));
    }
    return 0;
}

static int
take_device(const json_t *o, struct gpu_list *l, struct error *e)
{
    struct gpu_device *d = gpu_add(l, "nvidia");

    if (d == NULL)
        return error_set(e, ERR_TOO_LARGE, "more than %d", GPU_MAX);
    if (!json_is_object(o))
        return error_set(e, ERR_INVALID, "not an object");
    int rc = take_text(o, "uuid", d->uuid, sizeof(d->uuid), e);
    if (rc == 0)
        rc = take_text(o, "vendor", d->vendor, sizeof(d->vendor), e);
    if (rc == 0)
        rc = take_text(o, "name", d->name, sizeof(d->name), e);
    if (rc == 0)
        rc = take_text(o, "computeCapability", d->compute_capability,
                       sizeof(d->compute_capability), e);
    if (rc == 0)
        rc = take_text(o, "driverVersion", d->driver_version, sizeof(d->driver_version),
                       e);
    if (rc == 0)
        rc = take_paths(o, d, e);
    d->memory_mib = json_integer_value(json_object_get(o, "memoryMiB"));
    d->healthy = !json_is_false(json_object_get(o, "healthy"));
    if (rc == 0 && (d->uuid[0] == '\0' || d->name[0] == '\0'))
        rc = error_set(e, ERR_INVALID, "uuid and name are required");
    return rc;
}

static void
wait_ms(int64_t ms)
{
    struct timespec ts = {.tv_sec = ms / 1000, .tv_nsec = ms % 1000 * 1000000};

    nanosleep(&ts, NULL);
}

static int
take_document(const json_t *doc, struct gpu_list *l, struct error *e)
{
    const json_t *list = json_is_array(doc) ? doc : json_object_get(doc, "gpus");
    const json_t *fail = json_object_get(doc, "fail");
    int64_t delay = json_integer_value(json_object_get(doc, "delay_ms"));
    size_t i;
    const json_t *o;

    if (delay > 0)
        wait_ms(delay < FAKE_DELAY_MAX_MS ? delay : FAKE_DELAY_MAX_MS);
    if (json_is_string(fail)) {
        snprintf(l->note, sizeof(l->note), "fake: %s", json_string_value(fail));
        return 0;
    }
    if (list != NULL && !json_is_array(list))
        return error_set(e, ERR_INVALID, "gpus: not a list");
    json_array_foreach (list, i, o) {
        int rc = take_device(o, l, e);
        if (rc != 0)
            return error_prepend(e, "gpus[%zu]", i);
    }
    return 0;
}

int
gpu_fake_probe(const char *file, struct gpu_list *l, struct error *e)
{
    json_t *doc = NULL;
    int rc = load(file, &doc, e);

    if (rc != 0)
        return rc;
    rc = take_document(doc, l, e);
    json_decref(doc);
    return rc == 0 ? 0 : error_prepend(e, "fake GPUs %s", file);
}

static int64_t
number(const json_t *o, const char *key)
{
    const json_t *v = json_object_get(o, key);

    return json_is_integer(v) ? json_integer_value(v) : -1;
}

int
gpu_fake_load(const char *file, struct gpu_loads *l, struct error *e)
{
    json_t *doc = NULL;
    size_t i;
    const json_t *o;
    int rc = load(file, &doc, e);

    if (rc != 0)
        return rc;
    const json_t *list = json_is_array(doc) ? doc : json_object_get(doc, "gpus");
    const json_t *fail = json_object_get(doc, "fail");
    if (json_is_string(fail))
        snprintf(l->note, sizeof(l->note), "fake: %s", json_string_value(fail));
    json_array_foreach (json_is_string(fail) ? NULL : list, i, o) {
        const char *uuid = json_string_value(json_object_get(o, "uuid"));
        int64_t busy = number(o, "utilization");
        struct gpu_load *g = uuid == NULL ? NULL : gpu_load_add(l, uuid);
        if (g == NULL)
            continue;
        g->busy = busy >= 0 && busy <= 100 ? (int)busy : -1;
        g->memory_mib = number(o, "memoryUsedMiB");
    }
    json_decref(doc);
    return 0;
}
