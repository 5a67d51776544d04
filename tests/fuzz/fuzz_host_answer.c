/* SPDX-License-Identifier: Apache-2.0 */
/* What a machine says to a step: success only with its last line and exit code 0, words
 * of bounded length otherwise. */
#include <stdint.h>
#include <stdlib.h>

#include "base/mem.h"
#include "controllers/instance/host_script.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2)
        return 0;
    struct host_task t = {.step = (enum host_step)(1 + data[0] % HOST_REMOVE)};
    int code = (int8_t)data[1] == -2 ? -1 : data[1];
    autofree char *text = xstrndup((const char *)data + 2, size - 2);
    struct host_result r = {0};

    host_script_read(&t, text, code, &r);
    if (r.ok ? code != 0 || strstr(text, "drover:done=yes") == NULL
             : r.reason[0] == '\0' && !r.reached)
        abort();
    if (r.step != t.step || strnlen(r.message, sizeof(r.message)) == sizeof(r.message))
        abort();
    host_script_read_jump(text, &r);
    return 0;
}
