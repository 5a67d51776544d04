/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The tokenizer. A string is looked at eight bytes at a time until a byte needs thought;
 * everything else is a byte loop. Line and column are computed only for an error.
 */
#include "api/jtok.h"

#include <math.h>

#include "api/jtok_internal.h"

enum { AT_VALUE, AT_FIRST_KEY, AT_FIRST_ITEM, AT_NEXT };

#define BYTES8(b) (0x0101010101010101ull * (b))

static int
fail(const struct jtok_reader *r, const char *at, struct error *e, const char *what)
{
    size_t line = 1;
    const char *begin = r->start;

    for (const char *p = r->start; p < at; p++) {
        if (*p == '\n') {
            line++;
            begin = p + 1;
        }
    }
    return error_set(e, ERR_BAD_REQUEST, "line %zu, column %zu: %s", line,
                     (size_t)(at - begin) + 1, what);
}

size_t
jtok_utf8(const char *p, const char *end)
{
    const unsigned char *s = (const unsigned char *)p;
    size_t left = (size_t)(end - p), n;
    uint32_t v;

    if (left == 0)
        return 0;
    if (s[0] < 0x80)
        return 1;
    if (s[0] >= 0xc2 && s[0] <= 0xdf) {
        n = 2;
        v = s[0] & 0x1fu;
    } else if ((s[0] & 0xf0) == 0xe0) {
        n = 3;
        v = s[0] & 0x0fu;
    } else if (s[0] >= 0xf0 && s[0] <= 0xf4) {
        n = 4;
        v = s[0] & 0x07u;
    } else {
        return 0;
    }
    if (left < n)
        return 0;
    for (size_t i = 1; i < n; i++) {
        if ((s[i] & 0xc0) != 0x80)
            return 0;
        v = v << 6 | (s[i] & 0x3fu);
    }
    if ((n == 3 && v < 0x800) || (n == 4 && (v < 0x10000 || v > 0x10ffff)) ||
        (v >= 0xd800 && v <= 0xdfff))
        return 0;
    return n;
}

static int
hex4(const char *p, const char *end, uint32_t *ret)
{
    uint32_t v = 0;

    if (end - p < 4)
        return -1;
    for (int i = 0; i < 4; i++) {
        char c = p[i];
        if (c >= '0' && c <= '9')
            v = v << 4 | (uint32_t)(c - '0');
        else if ((c | 0x20) >= 'a' && (c | 0x20) <= 'f')
            v = v << 4 | (uint32_t)((c | 0x20) - 'a' + 10);
        else
            return -1;
    }
    *ret = v;
    return 0;
}

/* p behind the backslash. Length of the rest of the escape and its rune; 0: malformed. */
static size_t
read_escape(const char *p, const char *end, uint32_t *ret)
{
    static const char from[] = "\"\\/bfnrt", to[] = "\"\\/\b\f\n\r\t";
    uint32_t lo;

    if (p == end)
        return 0;
    if (*p != 'u') {
        const char *hit = *p == '\0' ? NULL : strchr(from, *p);
        if (hit == NULL)
            return 0;
        *ret = (uint32_t)to[hit - from];
        return 1;
    }
    if (hex4(p + 1, end, ret) < 0)
        return 0;
    if (*ret < 0xd800 || *ret > 0xdfff)
        return 5;
    if (*ret > 0xdbff || end - p < 11 || p[5] != '\\' || p[6] != 'u' ||
        hex4(p + 7, end, &lo) < 0 || lo < 0xdc00 || lo > 0xdfff)
        return 0;
    *ret = 0x10000 + ((*ret - 0xd800) << 10) + (lo - 0xdc00);
    return 11;
}

/* First byte at or after p that is not plain ASCII text of a string. */
static const char *
plain_end(const char *p, const char *end)
{
    while (end - p >= 8) {
        uint64_t x, quote, slash, hit;
        memcpy(&x, p, 8);
        quote = x ^ BYTES8('"');
        slash = x ^ BYTES8('\\');
        hit = (x | ((x - BYTES8(0x20)) & ~x) | ((quote - BYTES8(1)) & ~quote) |
               ((slash - BYTES8(1)) & ~slash)) &
              BYTES8(0x80);
        if (hit != 0) {
#if __BYTE_ORDER__ == __ORDER_LITTLE_ENDIAN__
            return p + __builtin_ctzll(hit) / 8;
#else
            break;
#endif
        }
        p += 8;
    }
    while (p < end && (unsigned char)*p >= 0x20 && (unsigned char)*p < 0x80 &&
           *p != '"' && *p != '\\')
        p++;
    return p;
}

/* p behind the opening quote; leaves r->pos behind the closing one. */
static int
read_string(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    const char *begin = p;

    ret->escaped = false;
    for (;;) {
        uint32_t rune;
        size_t n;

        p = plain_end(p, r->end);
        if (p == r->end)
            return fail(r, p, e, "string is not closed");
        if (*p == '"')
            break;
        if (*p == '\\') {
            ret->escaped = true;
            n = read_escape(p + 1, r->end, &rune);
            if (n == 0)
                return fail(r, p, e, "invalid escape in string");
            p += n + 1;
        } else if ((unsigned char)*p < 0x20) {
            return fail(r, p, e, "control character in string");
        } else {
            n = jtok_utf8(p, r->end);
            if (n == 0)
                return fail(r, p, e, "invalid UTF-8 in string");
            p += n;
        }
    }
    ret->text = (struct span){begin, (size_t)(p - begin)};
    r->pos = p + 1;
    return 0;
}

static const char *
digits(const char *p, const char *end)
{
    while (p < end && *p >= '0' && *p <= '9')
        p++;
    return p;
}

static int
read_number(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    const char *begin = p, *q;

    ret->type = JTOK_NUMBER;
    ret->integer = true;
    ret->escaped = false;
    if (*p == '-')
        p++;
    q = digits(p, r->end);
    if (q == p)
        return fail(r, p, e, "expected a digit");
    if (*p == '0' && q - p > 1)
        return fail(r, p, e, "number with a leading zero");
    p = q;
    if (p < r->end && *p == '.') {
        ret->integer = false;
        q = digits(p + 1, r->end);
        if (q == p + 1)
            return fail(r, q, e, "expected a digit after the decimal point");
        p = q;
    }
    if (p < r->end && (*p | 0x20) == 'e') {
        ret->integer = false;
        p++;
        if (p < r->end && (*p == '+' || *p == '-'))
            p++;
        q = digits(p, r->end);
        if (q == p)
            return fail(r, q, e, "expected a digit in the exponent");
        p = q;
    }
    ret->text = (struct span){begin, (size_t)(p - begin)};
    r->pos = p;
    return 0;
}

static int
read_word(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    static const struct {
        char text[6];
        unsigned char len;
        enum jtok_type type;
    } words[] = {
        {"true", 4, JTOK_TRUE}, {"false", 5, JTOK_FALSE}, {"null", 4, JTOK_NULL}};

    for (size_t i = 0; i < ARRAY_LEN(words); i++) {
        size_t n = words[i].len;
        if ((size_t)(r->end - p) >= n && memcmp(p, words[i].text, n) == 0) {
            ret->type = words[i].type;
            ret->text = (struct span){p, n};
            r->pos = p + n;
            return 0;
        }
    }
    return fail(r, p, e, "expected a value");
}

static int
open_container(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    if (r->depth == JTOK_MAX_DEPTH)
        return fail(r, p, e, "nested too deeply");
    r->stack[r->depth++] = (unsigned char)*p;
    ret->type = *p == '{' ? JTOK_OBJECT : JTOK_ARRAY;
    r->state = *p == '{' ? AT_FIRST_KEY : AT_FIRST_ITEM;
    ret->text = (struct span){p, 1};
    r->pos = p + 1;
    return 0;
}

static int
close_container(struct jtok_reader *r, const char *p, struct jtok *ret)
{
    r->depth--;
    ret->type = *p == '}' ? JTOK_OBJECT_END : JTOK_ARRAY_END;
    ret->text = (struct span){p, 1};
    ret->offset = (size_t)(p - r->start);
    r->state = AT_NEXT;
    r->pos = p + 1;
    return 0;
}

static int
read_value(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    if (p == r->end)
        return fail(r, p, e, "expected a value, found the end");
    ret->offset = (size_t)(p - r->start);
    if (*p == '{' || *p == '[')
        return open_container(r, p, ret, e);
    r->state = AT_NEXT;
    if (*p == '"') {
        ret->type = JTOK_STRING;
        return read_string(r, p + 1, ret, e);
    }
    if (*p == '-' || (*p >= '0' && *p <= '9'))
        return read_number(r, p, ret, e);
    return read_word(r, p, ret, e);
}

static const char *
skip_space(const char *p, const char *end)
{
    while (p < end && (*p == ' ' || *p == '\n' || *p == '\r' || *p == '\t'))
        p++;
    return p;
}

static int
read_key(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    int rc;

    if (p == r->end || *p != '"')
        return fail(r, p, e, "expected a quoted member name");
    ret->type = JTOK_KEY;
    ret->offset = (size_t)(p - r->start);
    rc = read_string(r, p + 1, ret, e);
    if (rc < 0)
        return rc;
    p = skip_space(r->pos, r->end);
    if (p == r->end || *p != ':')
        return fail(r, p, e, "expected ':' after the member name");
    r->pos = p + 1;
    r->state = AT_VALUE;
    return 0;
}

void
jtok_init(struct jtok_reader *r, const char *bytes, size_t n)
{
    r->start = r->pos = bytes;
    r->end = bytes + n;
    r->depth = 0;
    r->state = AT_VALUE;
}

/* Behind a complete value. */
static int
read_next(struct jtok_reader *r, const char *p, struct jtok *ret, struct error *e)
{
    bool object;

    if (r->depth == 0) {
        if (p != r->end)
            return fail(r, p, e, "unexpected text after the document");
        ret->type = JTOK_END;
        ret->text = (struct span){p, 0};
        ret->offset = (size_t)(p - r->start);
        return 0;
    }
    object = r->stack[r->depth - 1] == '{';
    if (p < r->end && *p == (object ? '}' : ']'))
        return close_container(r, p, ret);
    if (p == r->end || *p != ',')
        return fail(r, p, e, object ? "expected ',' or '}'" : "expected ',' or ']'");
    p = skip_space(p + 1, r->end);
    return object ? read_key(r, p, ret, e) : read_value(r, p, ret, e);
}

int
jtok_next(struct jtok_reader *r, struct jtok *ret, struct error *e)
{
    const char *p = skip_space(r->pos, r->end);

    if (r->state == AT_NEXT)
        return read_next(r, p, ret, e);
    if (r->state == AT_VALUE)
        return read_value(r, p, ret, e);
    if (r->state == AT_FIRST_KEY) {
        if (p < r->end && *p == '}')
            return close_container(r, p, ret);
        return read_key(r, p, ret, e);
    }
    if (p < r->end && *p == ']')
        return close_container(r, p, ret);
    return read_value(r, p, ret, e);
}

int
jtok_skip(struct jtok_reader *r, struct error *e)
{
    unsigned outside = r->depth - 1;

    while (r->depth > outside) {
        struct jtok t;
        int rc = jtok_next(r, &t, e);
        if (rc < 0)
            return rc;
    }
    return 0;
}

void
jput_rune(struct str *out, uint32_t v)
{
    char b[4];
    size_t n;

    if (v < 0x80) {
        b[0] = (char)v;
        n = 1;
    } else if (v < 0x800) {
        b[0] = (char)(0xc0 | v >> 6);
        b[1] = (char)(0x80 | (v & 0x3f));
        n = 2;
    } else if (v < 0x10000) {
        b[0] = (char)(0xe0 | v >> 12);
        b[1] = (char)(0x80 | (v >> 6 & 0x3f));
        b[2] = (char)(0x80 | (v & 0x3f));
        n = 3;
    } else {
        b[0] = (char)(0xf0 | v >> 18);
        b[1] = (char)(0x80 | (v >> 12 & 0x3f));
        b[2] = (char)(0x80 | (v >> 6 & 0x3f));
        b[3] = (char)(0x80 | (v & 0x3f));
        n = 4;
    }
    put(out, b, n);
}

void
jtok_unescape(const struct jtok *t, struct str *out)
{
    const char *p = t->text.ptr, *end = p + t->text.len;

    if (!t->escaped) {
        put(out, p, t->text.len);
        return;
    }
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        uint32_t rune = 0;
        if (slash == NULL)
            slash = end;
        put(out, p, (size_t)(slash - p));
        if (slash == end)
            break;
        p = slash + 1 + read_escape(slash + 1, end, &rune);
        jput_rune(out, rune);
    }
}

bool
jtok_eq(const struct jtok *t, const char *z)
{
    if (!t->escaped)
        return span_eq(t->text, z);
    auto_str plain = STR_INIT(t->text.len);
    jtok_unescape(t, &plain);
    return plain.len == strlen(z) && memcmp(plain.ptr, z, plain.len) == 0;
}

int
jtok_double(const struct jtok *t, double *ret, struct error *e)
{
    char small[64];
    autofree char *big = NULL;
    const char *z = small;
    double v;

    if (t->type != JTOK_NUMBER)
        return error_set(e, ERR_INVALID, "not a number");
    if (t->text.len < sizeof(small)) {
        memcpy(small, t->text.ptr, t->text.len);
        small[t->text.len] = '\0';
    } else {
        big = xstrndup(t->text.ptr, t->text.len);
        z = big;
    }
    v = strtod(z, NULL);
    if (!isfinite(v))
        return error_set(e, ERR_INVALID, "number out of range");
    *ret = v;
    return 0;
}

int
jtok_int64(const struct jtok *t, int64_t *ret, struct error *e)
{
    double v = 0;
    int rc;

    if (t->type == JTOK_NUMBER && t->integer) {
        if (jscan_int64(t->text, ret))
            return 0;
        return error_set(e, ERR_INVALID, "number out of range");
    }
    rc = jtok_double(t, &v, e);
    if (rc < 0)
        return rc;
    if (v != floor(v) || v < -0x1p63 || v >= 0x1p63)
        return error_set(e, ERR_INVALID, "not an integer");
    *ret = (int64_t)v;
    return 0;
}

bool
canon_text(struct str *out, const struct jtok *t)
{
    const char *p = t->text.ptr, *end = p + t->text.len;
    bool clean = true;

    if (!t->escaped) {
        put(out, p, t->text.len);
        return true;
    }
    while (p < end) {
        const char *slash = memchr(p, '\\', (size_t)(end - p));
        uint32_t v = 0;
        if (slash == NULL)
            slash = end;
        put(out, p, (size_t)(slash - p));
        if (slash == end)
            break;
        p = slash + 1 + read_escape(slash + 1, end, &v);
        clean = clean && v != 0;
        if (v < 0x20 || v == '"' || v == '\\')
            jput_escape(out, (unsigned char)v);
        else
            jput_rune(out, v);
    }
    return clean;
}
