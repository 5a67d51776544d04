/* SPDX-License-Identifier: Apache-2.0 */
/* Reading of quotas: numbers for devices and jobs, quantities for cores, sizes. */
#include "api/quota.h"

#include "api/resources_internal.h"
#include "base/mem.h"

enum { MIB_PER_GB = 1024, MIB_PER_TB = 1024 * 1024 };

static const char *const resource_names[] = {
    [QUOTA_GPU] = "gpu",
    [QUOTA_CPU] = "cpu",
    [QUOTA_MEMORY] = "memory",
    [QUOTA_JOBS] = "jobs",
};

const char *
quota_resource_name(enum quota_resource r)
{
    return resource_names[r];
}

const char *
quota_vendor_name(enum gpu_vendor v)
{
    return gpu_vendor_word(v);
}

void
quota_amount_text(enum quota_resource r, int64_t amount, struct str *out)
{
    if (r == QUOTA_CPU && amount % 1000 != 0)
        str_addf(out, "%.3f", (double)amount / 1000);
    else if (r == QUOTA_CPU)
        str_addf(out, "%lld", (long long)amount / 1000);
    else if (r != QUOTA_MEMORY)
        str_addf(out, "%lld", (long long)amount);
    else if (amount != 0 && amount % MIB_PER_TB == 0)
        str_addf(out, "%lldTB", (long long)amount / MIB_PER_TB);
    else if (amount % MIB_PER_GB == 0)
        str_addf(out, "%lldGB", (long long)amount / MIB_PER_GB);
    else
        str_addf(out, "%lldMB", (long long)amount);
}

static int
amount(enum quota_resource r, const json_t *v, int64_t *ret, struct error *e)
{
    struct range range;

    if (r == QUOTA_MEMORY)
        return value_memory(v, ret, e);
    if (r == QUOTA_CPU && json_is_string(v))
        return value_quantity(json_string_value(v), ret, e);
    int rc = value_int_range(v, &range, e);
    if (rc == 0 && range.min != range.max)
        rc = error_set(e, ERR_INVALID, "must be one number");
    if (rc == 0 && range.max > INT64_MAX / 1000)
        rc = error_set(e, ERR_INVALID, "is too large");
    if (rc == 0)
        *ret = r == QUOTA_CPU ? range.max * 1000 : range.max;
    return rc;
}

static void
refuse(struct violations *v, const char *path, const char *key, const json_t *value,
       const char *why)
{
    autofree char *at = xasprintf("%s.%s", path, key);
    autofree char *text =
        value == NULL ? NULL : json_dumps(value, JSON_ENCODE_ANY | JSON_COMPACT);

    violations_add(v, VIOLATION_INVALID, at, text, "%s", why);
}

static void
read_kind(const json_t *o, const char *path, struct quota_limit *l, struct violations *v)
{
    const json_t *vendor = json_object_get(o, "vendor");
    const json_t *name = json_object_get(o, "name");
    const char *text = json_string_value(vendor);

    if ((vendor != NULL || name != NULL) && l->resource != QUOTA_GPU) {
        refuse(v, path, vendor != NULL ? "vendor" : "name",
               vendor != NULL ? vendor : name, "only a limit of gpu can name a kind");
        return;
    }
    if (text != NULL &&
        !gpu_vendor_from_word((struct span){text, strlen(text)}, &l->vendor))
        refuse(v, path, "vendor", vendor, "is not a vendor of GPUs");
    text = json_string_value(name);
    if (text != NULL && strlen(text) >= sizeof(l->name))
        refuse(v, path, "name", name, "is too long");
    else if (text != NULL)
        memcpy(l->name, text, strlen(text) + 1);
}

static void
read_limit(const json_t *o, const char *path, struct quota_limit *l, struct violations *v)
{
    static const char *const keys[] = {"hard", "borrow"};
    const json_t *resource = json_object_get(o, "resource");
    const char *text = json_string_value(resource);
    size_t r = 0;

    *l = (struct quota_limit){.borrow = INT64_MAX};
    while (r < ARRAY_LEN(resource_names) &&
           (text == NULL || !streq(text, resource_names[r])))
        r++;
    if (r == ARRAY_LEN(resource_names)) {
        refuse(v, path, "resource", resource, "must be gpu, cpu, memory or jobs");
        return;
    }
    l->resource = (enum quota_resource)r;
    read_kind(o, path, l, v);
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        const json_t *value = json_object_get(o, keys[i]);
        struct error e = ERROR_INIT;
        int64_t *to = i == 0 ? &l->hard : &l->borrow;
        if (value == NULL && i > 0)
            continue;
        if (value == NULL || amount(l->resource, value, to, &e) < 0)
            refuse(v, path, keys[i], value, value == NULL ? "is needed" : e.msg);
        else if (*to < 0)
            refuse(v, path, keys[i], value, "must not be negative");
    }
}

int
quota_parse(const json_t *limits, const char *path,
            struct quota_limit ret[QUOTA_LIMITS_MAX], size_t *ret_n, struct violations *v,
            struct error *e)
{
    size_t before = violations_errors(v), n = json_array_size(limits);

    if (n > QUOTA_LIMITS_MAX) {
        violations_add(v, VIOLATION_TOO_MANY, path, NULL, "must have at most %d items",
                       QUOTA_LIMITS_MAX);
        n = 0;
    }
    for (size_t i = 0; i < n; i++) {
        autofree char *at = xasprintf("%s[%zu]", path, i);
        read_limit(json_array_get(limits, i), at, &ret[i], v);
    }
    if (violations_errors(v) > before) {
        auto_str text = STR_INIT(400);
        violations_join(v, false, &text);
        return error_set(e, ERR_INVALID, "%s", text.ptr);
    }
    *ret_n = n;
    return 0;
}
