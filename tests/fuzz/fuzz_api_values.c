/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The value and resource grammars on any bytes: as JSON when they are JSON, as text
 * otherwise. What is accepted must print and read back as the same.
 */
#include "api/resources.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_round_trip(const struct resource_req *req)
{
    struct error e = ERROR_INIT;
    auto_violations v = {0};
    auto_str text = STR_INIT(4096), again = STR_INIT(4096);
    struct resource_req read;

    resources_text(req, &text);
    json_t *line = json_stringn(text.ptr, text.len);
    bug_if(resources_parse(line, "r", &read, &v, &e) < 0);
    json_decref(line);
    resources_text(&read, &again);
    bug_if(!streq(text.ptr, again.ptr));
}

static void
check_resources(const json_t *tree)
{
    struct error e = ERROR_INIT;
    auto_violations v = {0};
    struct resource_req req;

    if (resources_parse(tree, "spec.resources", &req, &v, &e) < 0) {
        bug_if(e.msg[0] == '\0' || v.list.len == 0);
        return;
    }
    bug_if(v.list.len != 0);
    check_round_trip(&req);
}

static void
check_text(const char *s, size_t n)
{
    struct error e = ERROR_INIT;
    struct unix_user user;
    int64_t number;

    int seen = value_is_dns_subdomain(s, n) + value_is_label_key(s, n) +
               value_is_label_value(s, n) + value_is_run_name(s, n);
    bug_if(value_is_run_name(s, n) && seen < 4);
    if (value_duration_text(s, true, &number, &e) == 0)
        bug_if(number < DURATION_OFF);
    if (value_quantity(s, &number, &e) == 0)
        bug_if(number == INT64_MIN);
    if (value_unix_user(s, &user, &e) == 0)
        bug_if((user.uid < 0) == (user.user[0] == '\0'));
    json_t *text = json_stringn(s, n);
    if (text == NULL)
        return;
    const char *const keys[] = {"cpu", "memory", "gpu", "disk", "shm_size"};
    for (size_t i = 0; i < ARRAY_LEN(keys); i++) {
        json_t *tree = json_object();
        json_object_set(tree, keys[i], text);
        check_resources(tree);
        json_decref(tree);
    }
    check_resources(text);
    json_decref(text);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size > 4096)
        return 0;
    autofree char *z = xstrndup((const char *)data, size);
    json_t *tree =
        json_loadb((const char *)data, size, JSON_DECODE_ANY | JSON_ALLOW_NUL, NULL);
    if (tree != NULL) {
        int64_t number;
        struct error e = ERROR_INIT;
        if (value_duration(tree, true, &number, &e) < 0)
            bug_if(e.msg[0] == '\0');
        check_resources(tree);
    }
    json_decref(tree);
    check_text(z, strlen(z));
    return 0;
}
