/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Resources of a run: cpu, memory, disk, shm_size and the whole. A mapping is what users
 * write; the one-line form of resources_text is read back too.
 */
#include "api/resources_internal.h"

#include <string.h>
#include <strings.h>

#include "api/values_internal.h"

#define DEFAULT_MEMORY_MIB 512

bool
resources_key_is(const char *key, const char *camel, const char *snake)
{
    return streq(key, camel) || streq(key, snake);
}

void
resources_violation(struct violations *violations, const char *path, const json_t *v,
                    const struct error *e)
{
    autofree char *text = json_dumps(v, JSON_ENCODE_ANY | JSON_COMPACT);

    violations_add(violations, VIOLATION_INVALID, path, text, "%s", e->msg);
}

static void
req_init(struct resource_req *r)
{
    *r = (struct resource_req){
        .cpu = {1, INT64_MAX},
        .memory_mib = {DEFAULT_MEMORY_MIB, INT64_MAX},
        .gpu = {.count = RANGE_ANY,
                .memory_mib = RANGE_ANY,
                .total_memory_mib = RANGE_ANY},
        .disk_mib = RANGE_ANY,
    };
}

static bool
parse_arch(struct span s, enum cpu_arch *ret)
{
    if (s.len == 3 && strncasecmp(s.ptr, "x86", 3) == 0)
        *ret = CPU_ARCH_X86;
    else if (s.len == 3 && strncasecmp(s.ptr, "arm", 3) == 0)
        *ret = CPU_ARCH_ARM;
    else
        return false;
    return true;
}

static int
bad_cpu(struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "must be a count or range with an optional x86 or arm, e.g. 4, "
                     "\"2..8\" or \"arm:4..\"");
}

static int
parse_cpu_text(struct span s, struct resource_req *ret, struct error *e)
{
    bool arch = false, count = false;

    for (;;) {
        const char *colon = memchr(s.ptr, ':', s.len);
        struct span t = {s.ptr, colon == NULL ? s.len : (size_t)(colon - s.ptr)};
        while (t.len > 0 && t.ptr[0] == ' ')
            t.ptr++, t.len--;
        while (t.len > 0 && t.ptr[t.len - 1] == ' ')
            t.len--;
        if (t.len == 0)
            return error_set(e, ERR_INVALID, "empty part; write e.g. \"arm:4..\"");
        bool *seen = parse_arch(t, &ret->arch) ? &arch : &count;
        if (*seen)
            return error_set(e, ERR_INVALID,
                             "two parts give the %s; write it once, e.g. \"arm:4..\"",
                             seen == &arch ? "architecture" : "count");
        *seen = true;
        if (seen == &count && value_int_range_text(t, &ret->cpu, e) < 0)
            return bad_cpu(e);
        if (colon == NULL)
            return 0;
        size_t skip = (size_t)(colon - s.ptr) + 1;
        s.ptr += skip;
        s.len -= skip;
    }
}

/* {arch, count} or {arch, min, max}; each may be absent. */
static int
parse_cpu_object(const json_t *v, struct resource_req *ret, struct error *e)
{
    const json_t *arch = json_object_get(v, "arch"), *count = json_object_get(v, "count");
    json_t *ends;
    int r = 0;

    if (arch != NULL && !json_is_null(arch) &&
        !(json_is_string(arch) &&
          parse_arch((struct span){json_string_value(arch), json_string_length(arch)},
                     &ret->arch)))
        return error_set(e, ERR_INVALID, "arch must be x86 or arm");
    ends = json_copy((json_t *)(uintptr_t)v);
    json_object_del(ends, "arch");
    json_object_del(ends, "count");
    if (count != NULL && json_object_size(ends) > 0)
        r = error_set(e, ERR_INVALID,
                      "must be {arch, count} or {arch, min, max}, nothing beside count");
    else if (count != NULL && !json_is_null(count))
        r = value_int_range(count, &ret->cpu, e);
    else if (json_object_size(ends) > 0 || arch == NULL)
        r = value_int_range(ends, &ret->cpu, e);
    json_decref(ends);
    return r;
}

static int
parse_cpu(const json_t *v, struct resource_req *ret, struct error *e)
{
    if (json_is_object(v))
        return parse_cpu_object(v, ret, e);
    if (json_is_string(v))
        return parse_cpu_text((struct span){json_string_value(v), json_string_length(v)},
                              ret, e);
    return value_int_range(v, &ret->cpu, e) < 0 ? bad_cpu(e) : 0;
}

static int
parse_disk(const json_t *v, struct resource_req *ret, struct error *e)
{
    const json_t *size = json_object_get(v, "size");

    if (size == NULL)
        return value_memory_range(v, &ret->disk_mib, e);
    if (json_object_size(v) != 1)
        return error_set(e, ERR_INVALID,
                         "has an unknown key; write {size: 200GB..} or \"200GB..\"");
    int r = value_memory_range(size, &ret->disk_mib, e);
    return r < 0 ? error_prepend(e, "size") : 0;
}

static int
parse_shm(const json_t *v, struct resource_req *ret, struct error *e)
{
    if (value_memory(v, &ret->shm_mib, e) < 0)
        return error_set(e, ERR_INVALID,
                         "must be one size in MB, GB or TB, not a range, e.g. \"16GB\"");
    return 0;
}

static void
parse_member(const char *key, const json_t *v, const char *path, struct resource_req *ret,
             struct violations *violations)
{
    struct error e = ERROR_INIT;
    int r;

    if (streq(key, "gpu")) {
        gpu_parse(v, path, &ret->gpu, violations);
        return;
    }
    if (streq(key, "cpu"))
        r = parse_cpu(v, ret, &e);
    else if (streq(key, "memory"))
        r = value_memory_range(v, &ret->memory_mib, &e);
    else if (streq(key, "disk"))
        r = parse_disk(v, ret, &e);
    else if (resources_key_is(key, "shmSize", "shm_size"))
        r = parse_shm(v, ret, &e);
    else
        r = error_set(&e, ERR_INVALID,
                      "unknown key; resources are cpu, memory, gpu, disk and shmSize");
    if (r < 0)
        resources_violation(violations, path, v, &e);
}

static void
parse_object(const json_t *v, const char *path, struct resource_req *ret,
             struct violations *violations)
{
    const char *key;
    json_t *item;

    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        if (json_is_null(item))
            continue;
        autofree char *at = xasprintf("%s.%s", path, key);
        parse_member(key, item, at, ret, violations);
    }
}

static int
text_member(struct span key, struct span value, struct resource_req *ret, struct error *e)
{
    int r;

    if (span_eq(key, "cpu"))
        return parse_cpu_text(value, ret, e);
    if (span_eq(key, "mem") || span_eq(key, "memory"))
        return value_memory_range_text(value, &ret->memory_mib, e);
    if (span_eq(key, "gpu"))
        return gpu_parse_text(value, &ret->gpu, e);
    if (span_eq(key, "disk"))
        return value_memory_range_text(value, &ret->disk_mib, e);
    if (span_eq(key, "shm"))
        return value_memory_text(value, &ret->shm_mib, e);
    if (span_eq(key, "gpu.totalMemory") && ret->gpu.given)
        return value_memory_range_text(value, &ret->gpu.total_memory_mib, e);
    if (span_eq(key, "gpu.computeCapability") && ret->gpu.given) {
        json_t *v = json_stringn(value.ptr, value.len);
        r = gpu_parse_compute(v, &ret->gpu, e);
        json_decref(v);
        return r;
    }
    return error_set(e, ERR_INVALID,
                     "unknown part; they are cpu, mem, gpu, disk and shm");
}

/* "cpu=2.. mem=8GB.. gpu=A100:80GB:2", as resources_text writes it. */
static int
parse_line(struct span s, struct resource_req *ret, struct error *e)
{
    while (s.len > 0) {
        const char *blank = memchr(s.ptr, ' ', s.len);
        size_t n = blank == NULL ? s.len : (size_t)(blank - s.ptr);
        const char *eq = memchr(s.ptr, '=', n);
        if (n > 0 && eq == NULL)
            return error_set(e, ERR_INVALID,
                             "must be a mapping, or parts such as \"cpu=2.. mem=8GB..\"");
        if (n > 0) {
            size_t k = (size_t)(eq - s.ptr);
            int r = text_member((struct span){s.ptr, k}, (struct span){eq + 1, n - k - 1},
                                ret, e);
            if (r < 0)
                return error_prepend(e, "%.*s", (int)(k < 40 ? k : 40), s.ptr);
        }
        size_t skip = blank == NULL ? n : n + 1;
        s.ptr += skip;
        s.len -= skip;
    }
    return ret->gpu.given ? gpu_finish(&ret->gpu, e) : 0;
}

int
resources_parse(const json_t *v, const char *path, struct resource_req *ret,
                struct violations *violations, struct error *e)
{
    size_t before = violations->list.len + violations->dropped;
    struct error line = ERROR_INIT;
    struct resource_req req;

    req_init(&req);
    if (json_is_object(v)) {
        parse_object(v, path, &req, violations);
    } else if (v != NULL && !json_is_null(v)) {
        int r =
            json_is_string(v)
                ? parse_line((struct span){json_string_value(v), json_string_length(v)},
                             &req, &line)
                : error_set(&line, ERR_INVALID,
                            "must be a mapping with cpu, memory, gpu, "
                            "disk and shmSize");
        if (r < 0)
            resources_violation(violations, path, v, &line);
    }
    if (violations->list.len + violations->dropped != before) {
        if (before >= violations->list.len)
            return error_set(e, ERR_INVALID, "%s: invalid resources", path);
        const struct violation *first = &violations->list.items[before];
        return error_set(e, ERR_INVALID, "%s: %s", first->path, first->message);
    }
    *ret = req;
    return 0;
}
