/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the store as text. */
#include "apiserver/store/store_options.h"

#include <jansson.h>

#include "api/values.h"

int
store_retention_parse(const char *age, const char *size, struct store_opts *ret,
                      struct error *e)
{
    int64_t seconds = 0;
    int64_t mib = 0;

    if (age != NULL && value_duration_text(age, false, &seconds, e) < 0)
        return error_prepend(e, "--retain-age");
    if (size != NULL) {
        json_t *v = json_string(size);
        int rc = v == NULL ? error_set(e, ERR_BAD_REQUEST, "not UTF-8")
                           : value_memory(v, &mib, e);
        json_decref(v);
        if (rc < 0)
            return error_prepend(e, "--retain-size");
    }
    if (age != NULL)
        ret->retain_s = seconds == 0 ? -1 : seconds;
    if (size != NULL)
        ret->retain_bytes = mib == 0 ? 1 : (uint64_t)mib << 20;
    return 0;
}
