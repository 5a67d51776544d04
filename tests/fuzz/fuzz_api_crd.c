/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any JSON as the spec of a CustomResourceDefinition: default, validate, compile every
 * version; what compiles decodes and ratchets an object.
 */
#include <stdint.h>

#include "api/crd.h"
#include "api/jtok.h"
#include "api/kind.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char object[] = "{\"spec\":{\"a\":1,\"b\":[\"x\",{\"k\":null}],\"c\":{\"d\":"
                             "\"2020-01-01T00:00:00Z\"}},"
                             "\"apiVersion\":\"example.dev/"
                             "v1\",\"kind\":\"Widget\",\"metadata\":{\"name\":\"a\"}}";
static const char old[] = "{\"apiVersion\":\"example.dev/"
                          "v1\",\"kind\":\"Widget\",\"metadata\":{\"name\":\"a\"},"
                          "\"spec\":{\"a\":1,\"b\":[{\"k\":2}]}}";

static void
use(const struct kind *k)
{
    auto_str out = STR_INIT(1u << 20), again = STR_INIT(1u << 20);
    auto_violations v = {0}, w = {0};
    struct error e = ERROR_INIT, f = ERROR_INIT;

    if (kind_decode(k, span_of(object), &out, &v, &e) == 0) {
        /* What has been decoded decodes to itself. */
        bug_if(kind_decode(k, (struct span){out.ptr, out.len}, &again, &w, &f) < 0);
        bug_if(out.len != again.len || memcmp(out.ptr, again.ptr, out.len) != 0);
    } else if (e.code == ERR_INVALID) {
        int rc = kind_decode_changed(k, span_of(object), span_of(old), &again, &w, &f);
        bug_if(rc == 0 && again.len == 0);
    }
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_str clean = STR_INIT(1u << 20);
    struct error e = ERROR_INIT;
    auto_violations v = {0};

    if (size > 1u << 16 || jcanon((const char *)data, size, &clean, &e) < 0)
        return 0;
    json_t *spec = json_loadb(clean.ptr, clean.len, 0, NULL);
    if (json_is_object(spec)) {
        crd_default(spec);
        crd_validate("widgets.example.dev", NULL, spec, spec, true, &v);
        json_t *crd = json_pack("{s:O}", "spec", spec), *version;
        size_t i;
        json_array_foreach (json_object_get(spec, "versions"), i, version) {
            const char *name = json_string_value(json_object_get(version, "name"));
            struct kind *k = NULL;
            e = ERROR_INIT;
            if (name != NULL && kind_compile(crd, name, &k, &v, &e) == 0)
                use(k);
            kind_unref(k);
        }
        json_decref(crd);
    }
    json_decref(spec);
    return 0;
}
