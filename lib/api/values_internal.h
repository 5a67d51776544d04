/* SPDX-License-Identifier: Apache-2.0 */
/* Text forms of the scalar grammars, shared by values_*.c and resources_*.c. */
#ifndef API_VALUES_INTERNAL_H
#define API_VALUES_INTERNAL_H

#include "api/values.h"
#include "base/str.h"

#define VALUE_INT_MAX 1000000000
#define VALUE_MEMORY_MIB_MAX (INT64_C(1) << 40)

int value_int_range_text(struct span s, struct range *ret, struct error *e) WARN_UNUSED;
int value_memory_range_text(struct span s, struct range *ret_mib,
                            struct error *e) WARN_UNUSED;
int value_memory_text(struct span in, int64_t *ret_mib, struct error *e) WARN_UNUSED;

#endif
