/* SPDX-License-Identifier: Apache-2.0 */
/* Reading the small JSON bodies of the token and review endpoints. */
#include <jansson.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"

enum { BODY_MAX = 256 * 1024 };

json_t *
body_tree(struct api_call *c)
{
    auto_str clean = STR_INIT(BODY_MAX);
    struct error e = ERROR_INIT;

    if (c->req.body.len == 0)
        str_adds(&clean, "{}");
    else if (jcanon(c->req.body.ptr, c->req.body.len, &clean, &e) < 0) {
        call_error(c, e.code, "%s", e.msg);
        return NULL;
    }
    json_t *tree = json_loadb(clean.ptr, clean.len, 0, NULL);
    if (json_is_object(tree) && !clean.toobig)
        return tree;
    json_decref(tree);
    call_error(c, ERR_BAD_REQUEST, "the body must be a JSON object");
    return NULL;
}

const char *
body_text(const json_t *tree, const char *key)
{
    const char *text = json_string_value(json_object_get(tree, key));

    return text == NULL ? "" : text;
}
