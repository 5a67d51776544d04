/* SPDX-License-Identifier: Apache-2.0 */
#include "api/run_instances.h"

#include "base/mem.h"

json_t *
run_instance_names(const json_t *instances)
{
    json_t *list = json_array();
    size_t i;
    const json_t *m;

    json_array_foreach (instances, i, m) {
        const char *name = json_string_value(json_object_get(m, "name"));
        const char *host = json_string_value(json_object_get(m, "hostname"));
        const char *fleet = json_string_value(json_object_get(m, "fleet"));
        const json_t *own = json_object_get(m, "instance");
        if (json_is_integer(own)) {
            autofree char *text = xasprintf("%s-%lld", fleet == NULL ? "" : fleet,
                                            (long long)json_integer_value(own));
            json_array_append_new(list, json_string(text));
        } else {
            name = name != NULL ? name : host != NULL ? host : json_string_value(own);
            json_array_append_new(list, json_string(name == NULL ? "" : name));
        }
    }
    return list;
}
