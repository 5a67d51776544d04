/* SPDX-License-Identifier: Apache-2.0 */
/* Whatever yaml_read accepts is JSON, and yaml_write's text for it reads back as the
 * same. */
#include <stdint.h>

#include "api/jtok.h"
#include "api/yaml.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_doc(const struct yaml_doc *d)
{
    auto_str canon = STR_INIT(1u << 24), yaml = STR_INIT(YAML_MAX_BYTES),
             back = STR_INIT(1u << 24);
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    bug_if(yaml_line(d, "a.b[0].c") == 0);
    if (jcanon(d->json.ptr, d->json.len, &canon, &e) < 0) {
        bug_if(e.code != ERR_BAD_REQUEST);
        return; /* a number beyond double in a JSON document */
    }
    if (yaml_write((struct span){canon.ptr, canon.len}, &yaml, &e) < 0) {
        bug_if(e.code != ERR_TOO_LARGE);
        return;
    }
    if (yaml_read(yaml.ptr, yaml.len, false, &docs, &e) < 0) {
        /* libyaml refuses keys over 1024 bytes and control characters that JSON can
         * escape */
        return;
    }
    if (docs.list.len == 1) {
        bug_if(jcanon(docs.list.items[0].json.ptr, docs.list.items[0].json.len, &back,
                      &e) < 0);
        bug_if(back.len != canon.len || memcmp(back.ptr, canon.ptr, canon.len) != 0);
    }
    yaml_docs_done(&docs);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    if (yaml_read((const char *)data, size, true, &docs, &e) < 0) {
        bug_if(e.msg[0] == '\0' || docs.list.len > 0);
        return 0;
    }
    vec_foreach (d, &docs.list)
        check_doc(d);
    yaml_docs_done(&docs);
    return 0;
}
