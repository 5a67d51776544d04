/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Bearer tokens as they come from outside, and rightly signed tokens with any payload: no
 * crash, and nobody is let in whom the claims do not name. Input that starts with "P" is
 * a payload to be signed (rightly: the key is the signer's own); else it is a whole
 * token.
 */
#include <jansson.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>

#include "apiserver/auth/auth_internal.h"
#include "base/id.h"

static struct signer *signer;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check(const char *token)
{
    struct token_claims c;
    struct error e = ERROR_INIT;

    if (signer_verify(signer, token, 1800000000, &c, &e) < 0) {
        if (e.code != ERR_UNAUTHORIZED)
            abort();
        return;
    }
    if (*c.uid == '\0' && *c.name == '\0' && c.kind == TOKEN_ACCOUNT &&
        c.audiences == NULL)
        abort();
    if (c.expires_s <= 1800000000)
        abort();
    token_claims_done(&c);
}

static void
check_payload(const uint8_t *data, size_t size)
{
    auto_str token = STR_INIT(1 << 20);

    signer_sign_payload(signer, (const char *)data, size, &token);
    check(token.ptr);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct signer_opts o = {.issuer = "https://issuer"};
    struct error e = ERROR_INIT;

    if (signer == NULL && signer_new(&o, &signer, &e) < 0)
        abort();
    if (size > 0 && data[0] == 'P') {
        check_payload(data + 1, size - 1);
        return 0;
    }
    autofree char *text = xstrndup((const char *)data, size);
    check(text);
    return 0;
}
