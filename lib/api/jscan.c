/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Walking canonical bytes. Nothing is checked: the bytes came out of jcanon, kind_decode
 * or another writer of this library, so a scan is a loop that looks for quotes and
 * brackets.
 */
#include "api/jtok_internal.h"

const char *
jscan_skip(const char *p)
{
    return scan_value(p);
}

bool
jscan_next_member(struct span object, const char **cursor, struct span *ret_key,
                  struct span *ret_value)
{
    const char *p, *end, *key;

    if (object.len < 2 || object.ptr[0] != '{')
        return false;
    end = object.ptr + object.len;
    if (*cursor == NULL) {
        p = object.ptr + 1;
    } else {
        p = *cursor;
        if (p < end && *p == ',')
            p++;
    }
    if (p >= end || *p != '"')
        return false;
    key = p + 1;
    p = scan_string(key);
    *ret_key = (struct span){key, (size_t)(p - key) - 1};
    key = p + 1;
    p = scan_value(key);
    *ret_value = (struct span){key, (size_t)(p - key)};
    *cursor = p;
    return true;
}

bool
jscan_next_item(struct span array, const char **cursor, struct span *ret_value)
{
    const char *p, *end, *begin;

    if (array.len < 2 || array.ptr[0] != '[')
        return false;
    end = array.ptr + array.len;
    if (*cursor == NULL) {
        p = array.ptr + 1;
        if (*p == ']')
            return false;
    } else {
        p = *cursor;
        if (p >= end || *p != ',')
            return false;
        p++;
    }
    begin = p;
    p = scan_value(begin);
    *ret_value = (struct span){begin, (size_t)(p - begin)};
    *cursor = p;
    return true;
}

static bool
member(struct span object, struct span want, struct span *ret)
{
    const char *cursor = NULL;
    struct span key, value;

    while (jscan_next_member(object, &cursor, &key, &value)) {
        if (span_same(key, want)) {
            *ret = value;
            return true;
        }
    }
    return false;
}

bool
jscan_member(struct span object, const char *key, struct span *ret)
{
    return member(object, span_of(key), ret);
}

bool
jscan_path(struct span object, const char *path, struct span *ret)
{
    struct span at = object;

    for (;;) {
        size_t n = strcspn(path, ".");
        if (!member(at, (struct span){path, n}, &at))
            return false;
        if (path[n] == '\0')
            break;
        path += n + 1;
    }
    *ret = at;
    return true;
}

bool
jscan_string(struct span raw, struct str *out)
{
    struct jtok t = {.type = JTOK_STRING};

    if (raw.len < 2 || raw.ptr[0] != '"')
        return false;
    t.text = (struct span){raw.ptr + 1, raw.len - 2};
    t.escaped = memchr(t.text.ptr, '\\', t.text.len) != NULL;
    jtok_unescape(&t, out);
    return true;
}

bool
jscan_is(struct span raw, const char *z)
{
    size_t n = strlen(z);
    return raw.len == n + 2 && raw.ptr[0] == '"' && memcmp(raw.ptr + 1, z, n) == 0;
}

bool
jscan_int64(struct span raw, int64_t *ret)
{
    size_t i = 0;
    bool neg = raw.len > 0 && raw.ptr[0] == '-';
    uint64_t v = 0, bound = neg ? (uint64_t)INT64_MAX + 1 : INT64_MAX;

    if (neg)
        i++;
    if (i == raw.len)
        return false;
    for (; i < raw.len; i++) {
        unsigned d = (unsigned)(unsigned char)raw.ptr[i] - '0';
        if (d > 9 || v > (bound - d) / 10)
            return false;
        v = v * 10 + d;
    }
    *ret = neg ? (int64_t)(0 - v) : (int64_t)v;
    return true;
}

bool
jscan_bool(struct span raw)
{
    return raw.len == 4 && memcmp(raw.ptr, "true", 4) == 0;
}

size_t
jscan_runes(const char *p, size_t n)
{
    const char *end = p + n;
    size_t runes = 0;

    while (p < end) {
        if (*p == '\\') {
            p += p + 1 < end && p[1] == 'u' ? 6 : 2;
            runes++;
        } else {
            runes += ((unsigned char)*p & 0xc0) != 0x80;
            p++;
        }
    }
    return runes;
}
