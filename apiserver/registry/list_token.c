/* SPDX-License-Identifier: Apache-2.0 */
/* base64url of the JSON that Kubernetes puts in it too. */
#include "apiserver/registry/list_token.h"

#include <jansson.h>
#include <stdio.h>

#include "api/jtok.h"
#include "base/id.h"

void
list_token_write(int64_t revision, const char *position, struct str *out)
{
    auto_str json = STR_INIT(LIST_TOKEN_MAX);

    str_addf(&json,
             "{\"v\":\"meta.k8s.io/v1\",\"rv\":%lld,\"start\":", (long long)revision);
    jput_stringz(&json, position);
    str_truncate(&json, json.len - 1);
    str_adds(&json, "\\u0000\"}");
    id_base64url(json.ptr, json.len, out);
}

int
list_token_read(const char *token, int64_t *ret_revision,
                char position[LIST_POSITION_MAX], struct problem *p)
{
    auto_str json = STR_INIT(LIST_TOKEN_MAX);
    struct error e = ERROR_INIT;
    int rc = -1;

    if (id_base64_decode(token, strlen(token), true, &json, &e) == 0 && !json.toobig) {
        json_t *t = json_loadb(json.ptr, json.len, JSON_ALLOW_NUL, NULL);
        const json_t *rv = json_object_get(t, "rv");
        const char *start = json_string_value(json_object_get(t, "start"));
        if (json_is_integer(rv) && start != NULL && strlen(start) < LIST_POSITION_MAX &&
            strchr(start, '/') != NULL) {
            *ret_revision = json_integer_value(rv);
            snprintf(position, LIST_POSITION_MAX, "%s", start);
            rc = 0;
        }
        json_decref(t);
    }
    if (rc < 0)
        return problem_set(p, ERR_BAD_REQUEST,
                           "continue key is not valid: \"%.60s\" was not made by this "
                           "server",
                           token);
    return 0;
}
