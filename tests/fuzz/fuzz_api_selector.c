/* SPDX-License-Identifier: Apache-2.0 */
/* Any text as a label selector and as a field selector, evaluated on one object. */
#include <stdint.h>

#include "api/selector.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char bytes[] = "{\"metadata\":{\"labels\":{\"a\":\"1\",\"b.c/d\":\"x\"},"
                                "\"name\":\"n\",\"namespace\":\"s\",\"uid\":\"u\"}}";
    autofree char *text = xstrndup((const char *)data, size);
    struct error e = ERROR_INIT;
    struct object *o = NULL;
    struct selector *s = NULL;

    bug_if(object_new(NULL, bytes, sizeof(bytes) - 1, 1, &o, &e) < 0);
    if (selector_parse_labels(text, &s, &e) == 0) {
        selector_match(s, o);
        selector_requires(s, "a");
        selector_free(s);
    }
    s = NULL;
    if (selector_parse_fields(NULL, text, &s, &e) == 0) {
        selector_match(s, o);
        selector_free(s);
    }
    object_unref(o);
    return 0;
}
