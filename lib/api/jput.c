/* SPDX-License-Identifier: Apache-2.0 */
/* Writing JSON into a str: strings, numbers, and members with their commas. */
#include <math.h>

#include "api/jtok_internal.h"

/* Bytes that stand in a JSON string as they are: all but controls, quote, backslash. */
static inline bool
plain(unsigned char c)
{
    return c >= 0x20 && c < 0x80 && c != '"' && c != '\\';
}

void
jput_escape(struct str *out, unsigned char c)
{
    static const char hex[] = "0123456789abcdef";
    static const char names[256] = {
        ['"'] = '"',  ['\\'] = '\\', ['\b'] = 'b', ['\f'] = 'f',
        ['\n'] = 'n', ['\r'] = 'r',  ['\t'] = 't'};

    if (names[c] != 0)
        put(out, (char[]){'\\', names[c]}, 2);
    else
        put(out, (char[]){'\\', 'u', '0', '0', hex[c >> 4], hex[c & 15]}, 6);
}

void
jput_string(struct str *out, const char *bytes, size_t n)
{
    const char *p = bytes, *end = bytes + n;

    put_char(out, '"');
    while (p < end) {
        const char *run = p;
        size_t len;
        while (p < end && plain((unsigned char)*p))
            p++;
        put(out, run, (size_t)(p - run));
        if (p == end)
            break;
        if ((unsigned char)*p < 0x80) {
            jput_escape(out, (unsigned char)*p++);
            continue;
        }
        len = jtok_utf8(p, end);
        if (len == 0) { /* not UTF-8: U+FFFD keeps the document valid */
            put(out, "\xef\xbf\xbd", 3);
            p++;
        } else {
            put(out, p, len);
            p += len;
        }
    }
    put_char(out, '"');
}

void
jput_stringz(struct str *out, const char *z)
{
    jput_string(out, z, strlen(z));
}

void
jput_item(struct str *out)
{
    if (out->len > 0 && out->ptr[out->len - 1] != '{' && out->ptr[out->len - 1] != '[')
        put_char(out, ',');
}

void
jput_key(struct str *out, const char *key)
{
    jput_item(out);
    jput_stringz(out, key);
    put_char(out, ':');
}

void
jput_member(struct str *out, const char *key, const char *value)
{
    jput_key(out, key);
    jput_stringz(out, value);
}

void
jput_int(struct str *out, int64_t v)
{
    char buf[20], *p = buf + sizeof(buf);
    uint64_t u = v < 0 ? 0 - (uint64_t)v : (uint64_t)v;

    do
        *--p = (char)('0' + u % 10);
    while ((u /= 10) != 0);
    if (v < 0)
        *--p = '-';
    put(out, p, (size_t)(buf + sizeof(buf) - p));
}

void
jput_member_int(struct str *out, const char *key, int64_t value)
{
    jput_key(out, key);
    jput_int(out, value);
}

bool
canon_double(struct str *out, double v)
{
    char buf[40];

    if (!isfinite(v))
        return false;
    if (v == floor(v) && v >= -0x1p63 && v < 0x1p63) {
        jput_int(out, (int64_t)v);
        return true;
    }
    for (int digits = 15; digits <= 17; digits++) {
        snprintf(buf, sizeof(buf), "%.*g", digits, v);
        if (digits == 17 || strtod(buf, NULL) == v)
            break;
    }
    str_adds(out, buf);
    return true;
}

int
canon_number(struct str *out, const struct jtok *t, struct error *e)
{
    int64_t i;
    double v;
    int rc;

    if (t->integer && (t->text.len < 19 || jscan_int64(t->text, &i))) {
        if (t->text.ptr[0] == '-' && t->text.ptr[1] == '0')
            put_char(out, '0');
        else
            put(out, t->text.ptr, t->text.len);
        return 0;
    }
    rc = jtok_double(t, &v, e);
    if (rc < 0) {
        e->code = ERR_BAD_REQUEST;
        return -ERR_BAD_REQUEST;
    }
    canon_double(out, v);
    return 0;
}
