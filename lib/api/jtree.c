/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Between canonical bytes, which have been checked, and jansson trees: what json_loadb()
 * and json_dumps() do, in a fifth of their time. Numbers that are not short integers are
 * left to the former.
 */
#include "api/jtok_internal.h"

enum { DIGITS_MAX = 18 };

/* Recursion is bounded by JTOK_MAX_DEPTH, as canonical bytes are. NULL: a number or a
 * key that jansson does not hold. */
static json_t *read_value(const char **at, struct str *scratch);

/* p behind the opening quote. Unescaped, with the bytes' length; borrowed from the text
 * or from the scratch. */
static struct span
read_text(const char **at, struct str *scratch)
{
    struct jtok t = {.type = JTOK_STRING};
    const char *begin = *at;

    *at = scan_string(begin);
    t.text = (struct span){begin, (size_t)(*at - begin) - 1};
    t.escaped = memchr(t.text.ptr, '\\', t.text.len) != NULL;
    if (!t.escaped)
        return t.text;
    str_reset(scratch);
    jtok_unescape(&t, scratch);
    return (struct span){scratch->ptr == NULL ? "" : scratch->ptr, scratch->len};
}

static json_t *
read_number(const char **at)
{
    const char *begin = *at;
    const char *p = begin + (*begin == '-');
    json_int_t v = 0;
    size_t n = 0;

    for (; p[n] >= '0' && p[n] <= '9' && n < DIGITS_MAX; n++)
        v = v * 10 + (p[n] - '0');
    *at = scan_value(begin);
    if (p + n != *at)
        return json_loadb(begin, (size_t)(*at - begin), JSON_DECODE_ANY, NULL);
    return json_integer(*begin == '-' ? -v : v);
}

static json_t *
read_object(const char **at, struct str *scratch)
{
    json_t *object = json_object(), *value;

    for (*at += 1; **at == '"' || **at == ',';) {
        *at += **at == ',' ? 2 : 1;
        struct span key = read_text(at, scratch);
        /* The key may be in the scratch, which the value needs. */
        bool owned = key.ptr == scratch->ptr;
        autofree char *copy = owned ? xmemdup(key.ptr, key.len + 1) : NULL;
        *at += 1;
        /* As jansson's own reader: C code takes keys for texts that end with a NUL. */
        if (owned && memchr(copy, '\0', key.len) != NULL) {
            json_decref(object);
            return NULL;
        }
        value = read_value(at, scratch);
        if (value == NULL || json_object_setn_new_nocheck(object, owned ? copy : key.ptr,
                                                          key.len, value) < 0) {
            json_decref(object);
            return NULL;
        }
    }
    *at += 1;
    return object;
}

static json_t *
read_array(const char **at, struct str *scratch)
{
    json_t *array = json_array(), *value;

    *at += 1;
    while (**at != ']') {
        *at += **at == ',';
        value = read_value(at, scratch);
        if (value == NULL || json_array_append_new(array, value) < 0) {
            json_decref(array);
            return NULL;
        }
    }
    *at += 1;
    return array;
}

static json_t *
read_value(const char **at, struct str *scratch)
{
    struct span text;

    switch (**at) {
    case '{':
        return read_object(at, scratch);
    case '[':
        return read_array(at, scratch);
    case '"':
        *at += 1;
        text = read_text(at, scratch);
        return json_stringn_nocheck(text.ptr, text.len);
    case 't':
        *at += 4;
        return json_true();
    case 'f':
        *at += 5;
        return json_false();
    case 'n':
        *at += 4;
        return json_null();
    default:
        return read_number(at);
    }
}

json_t *
jtree(struct span canonical)
{
    auto_str scratch = STR_INIT(SIZE_MAX / 2);
    const char *at = canonical.ptr;

    return canonical.len == 0 ? NULL : read_value(&at, &scratch);
}

static void
write_members(const json_t *object, struct str *out)
{
    const char *key, *sep = "";
    json_t *value;

    str_addc(out, '{');
    json_object_foreach ((json_t *)(uintptr_t)object, key, value) {
        str_adds(out, sep);
        jput_stringz(out, key);
        str_addc(out, ':');
        jtree_write(value, out);
        sep = ",";
    }
    str_addc(out, '}');
}

static void
write_items(const json_t *array, struct str *out)
{
    str_addc(out, '[');
    for (size_t i = 0; i < json_array_size(array); i++) {
        if (i > 0)
            str_addc(out, ',');
        jtree_write(json_array_get(array, i), out);
    }
    str_addc(out, ']');
}

void
jtree_write(const json_t *v, struct str *out)
{
    switch (json_typeof(v)) {
    case JSON_OBJECT:
        write_members(v, out);
        break;
    case JSON_ARRAY:
        write_items(v, out);
        break;
    case JSON_STRING:
        jput_string(out, json_string_value(v), json_string_length(v));
        break;
    case JSON_INTEGER:
        jput_int(out, json_integer_value(v));
        break;
    case JSON_REAL:
        bug_if(!canon_double(out, json_real_value(v))); /* jansson holds finite ones */
        break;
    case JSON_TRUE:
        str_adds(out, "true");
        break;
    case JSON_FALSE:
        str_adds(out, "false");
        break;
    case JSON_NULL:
        str_adds(out, "null");
        break;
    }
}
