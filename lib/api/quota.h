/* SPDX-License-Identifier: Apache-2.0 */
/* The limits of a Quota. Pure; plain data. */
#ifndef API_QUOTA_H
#define API_QUOTA_H

#include "api/resources.h"

enum { QUOTA_LIMITS_MAX = 32 };

enum quota_resource { QUOTA_GPU, QUOTA_CPU, QUOTA_MEMORY, QUOTA_JOBS };

/* Units: devices, 1/1000 core, MiB, jobs. */
struct quota_limit {
    enum quota_resource resource;
    enum gpu_vendor vendor; /* GPU only; ANY: all */
    char name[32];          /* GPU only; "": all */
    int64_t hard;
    int64_t borrow; /* INT64_MAX: without limit */
};

/* spec.limits. path: prefix of violations. ERR_INVALID when violations were added. */
int quota_parse(const json_t *limits, const char *path,
                struct quota_limit ret[QUOTA_LIMITS_MAX], size_t *ret_n,
                struct violations *v, struct error *e) WARN_UNUSED;
const char *quota_resource_name(enum quota_resource r); /* "gpu", ... */
const char *quota_vendor_name(enum gpu_vendor v);       /* "" for ANY */
/* An amount as people write it: "2.5", "64GB". */
void quota_amount_text(enum quota_resource r, int64_t amount, struct str *out);

#endif
