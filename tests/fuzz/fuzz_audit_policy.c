/* SPDX-License-Identifier: Apache-2.0 */
/* An audit policy: read whole or refused, and a policy that was read always decides; what
 * holds tokens never gets a body. */
#include <stdint.h>
#include <stdlib.h>

#include "apiserver/audit/policy.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char group[] = "dev";
    char *groups[] = {group, NULL};
    const struct audit_subject subjects[] = {
        {"u", groups, "create", true, "", "secrets", "", "a", "b", "/x"},
        {"u", groups, "create", true, "", "serviceaccounts", "token", "a", "b", "/x"},
        {"u", groups, "list", true, "drover.dev", "jobs", "log", "a", "", "/x"},
        {"", groups, "get", false, "", "", "", "", "", "/healthz"},
    };
    struct audit_policy *p = NULL;
    struct error e = ERROR_INIT;

    if (audit_policy_read((const char *)data, size, &p, &e) < 0)
        return 0;
    for (size_t i = 0; i < ARRAY_LEN(subjects); i++) {
        struct audit_decision d = audit_policy_decide(p, &subjects[i]);
        if (d.level > AUDIT_REQUEST_RESPONSE || (i < 2 && d.level > AUDIT_METADATA))
            abort();
    }
    audit_policy_free(p);
    return 0;
}
