/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The GPU part of the resource grammar. In text the kinds of tokens are told apart by
 * their look (vendor word, letter first, letter inside, rest), so their order is free and
 * each may come once.
 */
#include "api/resources_internal.h"

#include <math.h>
#include <string.h>
#include <strings.h>

#include "api/values_internal.h"

#define GPU_TEXT_MAX 512

enum {
    SEEN_VENDOR = 1,
    SEEN_NAMES = 2,
    SEEN_MEMORY = 4,
    SEEN_COUNT = 8,
};

static bool
is_letter(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
}

static int
add_name(struct span s, struct gpu_req *g, struct error *e)
{
    while (s.len >= 4 && strncasecmp(s.ptr, "tpu-", 4) == 0) {
        s.ptr += 4;
        s.len -= 4;
    }
    if (s.len == 0)
        return error_set(e, ERR_INVALID,
                         "empty name in the list; write e.g. \"A100,H100:8\"");
    if (s.len >= sizeof(g->names[0]))
        return error_set(e, ERR_INVALID, "a GPU name must be at most %zu characters",
                         sizeof(g->names[0]) - 1);
    if (!is_letter(s.ptr[0]))
        return error_set(e, ERR_INVALID,
                         "a GPU name must start with a letter, e.g. \"A100\"");
    for (size_t i = 0; i < s.len; i++) {
        char c = s.ptr[i];
        if (!is_letter(c) && !(c >= '0' && c <= '9') && strchr("-_.+", c) == NULL)
            return error_set(e, ERR_INVALID,
                             "a GPU name has only letters, digits and - _ . +, e.g. "
                             "\"A100\"");
    }
    enum gpu_vendor vendor;
    if (gpu_vendor_from_word(s, &vendor))
        return error_set(e, ERR_INVALID,
                         "%.*s is a vendor, not a name; write it as a part of its own, "
                         "e.g. \"amd:MI300X:8\"",
                         SPAN_ARG(s));
    if (g->n_names == GPU_NAMES_MAX)
        return error_set(e, ERR_INVALID, "at most %d GPU names", GPU_NAMES_MAX);
    memcpy(g->names[g->n_names], s.ptr, s.len);
    g->names[g->n_names++][s.len] = '\0';
    return 0;
}

static int
add_names(struct span s, struct gpu_req *g, struct error *e)
{
    for (;;) {
        const char *comma = memchr(s.ptr, ',', s.len);
        size_t n = comma == NULL ? s.len : (size_t)(comma - s.ptr);
        int r = add_name((struct span){s.ptr, n}, g, e);
        if (r < 0 || comma == NULL)
            return r;
        s.ptr += n + 1;
        s.len -= n + 1;
    }
}

static int
once(unsigned *seen, unsigned kind, const char *what, struct error *e)
{
    if (*seen & kind)
        return error_set(e, ERR_INVALID,
                         "two parts give the %s; write it once, e.g. \"A100:80GB:2\" (a "
                         "list of names is \"A100,H100\")",
                         what);
    *seen |= kind;
    return 0;
}

static int
add_token(struct span s, struct gpu_req *g, unsigned *seen, struct error *e)
{
    enum gpu_vendor vendor;
    int r;

    if (s.len == 0)
        return error_set(e, ERR_INVALID,
                         "empty part between colons; write e.g. \"A100:80GB:2\"");
    if (gpu_vendor_from_word(s, &vendor)) {
        g->vendor = vendor;
        return once(seen, SEEN_VENDOR, "vendor", e);
    }
    if (is_letter(s.ptr[0])) {
        r = once(seen, SEEN_NAMES, "name", e);
        return r < 0 ? r : add_names(s, g, e);
    }
    for (size_t i = 0; i < s.len; i++) {
        if (is_letter(s.ptr[i])) {
            r = once(seen, SEEN_MEMORY, "memory", e);
            return r < 0 ? r : value_memory_range_text(s, &g->memory_mib, e);
        }
    }
    r = once(seen, SEEN_COUNT, "count", e);
    if (r == 0 && (r = value_int_range_text(s, &g->count, e)) < 0)
        return error_prepend(e, "count");
    return r;
}

static void
gpu_init(struct gpu_req *g)
{
    *g = (struct gpu_req){.given = true,
                          .count = GPU_COUNT_DEFAULT,
                          .memory_mib = RANGE_ANY,
                          .total_memory_mib = RANGE_ANY};
}

int
gpu_parse_text(struct span in, struct gpu_req *ret, struct error *e)
{
    struct gpu_req g;
    char buf[GPU_TEXT_MAX];
    unsigned seen = 0;
    size_t n = 0;

    gpu_init(&g);
    for (size_t i = 0; i < in.len; i++) {
        if (in.ptr[i] == ' ')
            continue;
        if (n == sizeof(buf))
            return error_set(e, ERR_INVALID, "must be at most %d characters",
                             GPU_TEXT_MAX);
        buf[n++] = in.ptr[i];
    }
    if (n == 0)
        return error_set(e, ERR_INVALID,
                         "must not be empty; write e.g. \"A100:80GB:2\" or 0 for none");
    struct span s = {buf, n};
    for (;;) {
        const char *colon = memchr(s.ptr, ':', s.len);
        size_t len = colon == NULL ? s.len : (size_t)(colon - s.ptr);
        int r = add_token((struct span){s.ptr, len}, &g, &seen, e);
        if (r < 0)
            return r;
        if (colon == NULL)
            break;
        s.ptr += len + 1;
        s.len -= len + 1;
    }
    *ret = g;
    return 0;
}

static int
bad_compute(struct error *e)
{
    return error_set(e, ERR_INVALID,
                     "must be a CUDA compute capability such as 7.5, \"8.0\" or [9, 0]");
}

/* "9", "7.5": up to two digits, and one behind the point. */
static bool
compute_text(const char *s, long long *major, long long *minor)
{
    size_t n = strspn(s, "0123456789");

    if (n == 0 || n > 2)
        return false;
    *major = n == 1 ? s[0] - '0' : (s[0] - '0') * 10 + s[1] - '0';
    s += n;
    if (*s == '\0')
        return true;
    *minor = s[1] - '0';
    return s[0] == '.' && strspn(s + 1, "0123456789") == 1 && s[2] == '\0';
}

int
gpu_parse_compute(const json_t *v, struct gpu_req *ret, struct error *e)
{
    long long major = -1, minor = 0;

    if (json_is_number(v)) {
        double d = json_number_value(v);
        if (!(d > 0 && d < 100))
            return bad_compute(e);
        major = llround(d * 10) / 10;
        minor = llround(d * 10) % 10;
    } else if (json_is_string(v)) {
        if (!compute_text(json_string_value(v), &major, &minor))
            return bad_compute(e);
    } else if (json_array_size(v) == 2) {
        const json_t *first = json_array_get(v, 0), *second = json_array_get(v, 1);
        if (!json_is_integer(first) || !json_is_integer(second))
            return bad_compute(e);
        major = json_integer_value(first);
        minor = json_integer_value(second);
    }
    if (major < 1 || major > 99 || minor < 0 || minor > 9)
        return bad_compute(e);
    ret->compute_major = (int)major;
    ret->compute_minor = (int)minor;
    return 0;
}

int
gpu_finish(struct gpu_req *g, struct error *e)
{
    if (g->compute_major > 0) {
        if (g->vendor == GPU_VENDOR_ANY)
            g->vendor = GPU_VENDOR_NVIDIA;
        if (g->vendor != GPU_VENDOR_NVIDIA)
            return error_set(
                e, ERR_INVALID,
                "a compute capability is NVIDIA's; leave it out for vendor %s",
                gpu_vendor_word(g->vendor));
    }
    if (g->vendor == GPU_VENDOR_ANY && g->count.max > 0)
        g->vendor = gpu_vendor_of_names(g);
    return 0;
}

static int
parse_vendor(const json_t *v, struct gpu_req *g, struct error *e)
{
    struct span word = {json_string_value(v), json_string_length(v)};

    if (word.ptr == NULL || !gpu_vendor_from_word(word, &g->vendor))
        return error_set(e, ERR_INVALID,
                         "must be nvidia, amd, google (tpu), intel or tenstorrent (tt)");
    return 0;
}

static int
parse_names(const json_t *v, struct gpu_req *g, struct error *e)
{
    int r = 0;

    if (json_is_string(v)) {
        struct span s = {json_string_value(v), json_string_length(v)};
        return add_names(s, g, e);
    }
    if (!json_is_array(v) || json_array_size(v) == 0)
        return error_set(e, ERR_INVALID,
                         "must be a name or a list of names, e.g. \"A100\" or "
                         "[A100, H100]");
    for (size_t i = 0; i < json_array_size(v) && r == 0; i++) {
        const json_t *item = json_array_get(v, i);
        if (!json_is_string(item))
            return error_set(e, ERR_INVALID, "item %zu must be a name, e.g. \"A100\"", i);
        r = add_name((struct span){json_string_value(item), json_string_length(item)}, g,
                     e);
    }
    return r;
}

static int
parse_member(const char *key, const json_t *v, struct gpu_req *g, struct error *e)
{
    if (streq(key, "vendor"))
        return parse_vendor(v, g, e);
    if (streq(key, "name"))
        return parse_names(v, g, e);
    if (streq(key, "count"))
        return value_int_range(v, &g->count, e);
    if (streq(key, "memory"))
        return value_memory_range(v, &g->memory_mib, e);
    if (resources_key_is(key, "totalMemory", "total_memory"))
        return value_memory_range(v, &g->total_memory_mib, e);
    if (resources_key_is(key, "computeCapability", "compute_capability"))
        return gpu_parse_compute(v, g, e);
    return error_set(e, ERR_INVALID,
                     "unknown key; a GPU has vendor, name, count, memory, totalMemory "
                     "and computeCapability");
}

static void
parse_object(const json_t *v, const char *path, struct gpu_req *g,
             struct violations *violations)
{
    const char *key;
    json_t *item;

    json_object_foreach ((json_t *)(uintptr_t)v, key, item) {
        struct error e = ERROR_INIT;
        if (json_is_null(item))
            continue;
        if (parse_member(key, item, g, &e) < 0) {
            autofree char *at = xasprintf("%s.%s", path, key);
            resources_violation(violations, at, item, &e);
        }
    }
}

void
gpu_parse(const json_t *v, const char *path, struct gpu_req *ret,
          struct violations *violations)
{
    struct error e = ERROR_INIT;
    struct gpu_req g;
    int r = 0;

    gpu_init(&g);
    if (json_is_object(v)) {
        size_t before = violations_errors(violations);
        parse_object(v, path, &g, violations);
        if (violations_errors(violations) != before)
            return;
    } else if (json_is_integer(v)) {
        r = value_int_range(v, &g.count, &e);
    } else if (json_is_string(v)) {
        struct span s = {json_string_value(v), json_string_length(v)};
        r = gpu_parse_text(s, &g, &e);
    } else {
        r = error_set(&e, ERR_INVALID,
                      "must be text such as \"A100:80GB:2\", a count, or a mapping with "
                      "name, memory and count");
    }
    if (r == 0)
        r = gpu_finish(&g, &e);
    if (r < 0)
        resources_violation(violations, path, v, &e);
    else
        *ret = g;
}
