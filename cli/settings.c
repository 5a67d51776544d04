/* SPDX-License-Identifier: Apache-2.0 */
/* One row an option: the field and how its value is written there. */
#include "cli/settings.h"

#include <stdlib.h>
#include <string.h>

#include "base/str.h"

enum how { AS_RESOURCE, AS_TEXT, AS_NUMBER, AS_ITEM, AS_NAMED_ITEM, AS_RETRY, AS_NONE };

static const struct {
    const char *field; /* of spec, or of spec.resources */
    enum how how;
} rows[] = {
    {"cpu", AS_RESOURCE},    {"memory", AS_RESOURCE},  {"gpu", AS_RESOURCE},
    {"disk", AS_RESOURCE},   {"fleets", AS_ITEM},      {"instances", AS_NAMED_ITEM},
    {"priority", AS_NUMBER}, {"maxDuration", AS_TEXT}, {"retry", AS_RETRY},
    {"retry", AS_NONE},      {"retry", AS_RETRY},      {"nodes", AS_NUMBER},
};

/* The member, made when it is not there. */
static json_t *
member(json_t *o, const char *key, json_t *fresh)
{
    json_t *v = json_object_get(o, key);

    if (v != NULL && !json_is_null(v)) {
        json_decref(fresh);
        return v;
    }
    json_object_set_new(o, key, fresh);
    return fresh;
}

static json_t *
all_events(void)
{
    return json_pack("{s:[s, s, s]}", "onEvents", "no-capacity", "interruption", "error");
}

bool
settings_option(json_t **settings, int c, const char *value, struct error *e)
{
    size_t i = (size_t)(c - OPT_SETTING);
    json_t *all;

    if (c < OPT_SETTING || i >= ARRAY_LEN(rows))
        return false;
    if (*settings == NULL)
        *settings = json_object();
    all = *settings;
    switch (rows[i].how) {
    case AS_RESOURCE:
        json_object_set_new(member(all, "resources", json_object()), rows[i].field,
                            json_string(value));
        break;
    case AS_TEXT:
        json_object_set_new(all, rows[i].field, json_string(value));
        break;
    case AS_NUMBER:
        if (*value == '\0' || strspn(value, "0123456789") != strlen(value) ||
            strlen(value) > 9)
            error_set(e, ERR_BAD_REQUEST, "\"%.40s\" is not a number", value);
        else
            json_object_set_new(all, rows[i].field,
                                json_integer(strtol(value, NULL, 10)));
        break;
    case AS_ITEM:
        json_array_append_new(member(all, rows[i].field, json_array()),
                              json_string(value));
        break;
    case AS_NAMED_ITEM:
        json_array_append_new(member(all, rows[i].field, json_array()),
                              json_pack("{s:s}", "name", value));
        break;
    case AS_RETRY: {
        json_t *retry = member(all, rows[i].field, all_events());
        json_object_set_new(retry, "duration", json_string(value != NULL ? value : "1h"));
        break;
    }
    case AS_NONE:
        json_object_set_new(all, rows[i].field, json_null());
        break;
    }
    return true;
}
