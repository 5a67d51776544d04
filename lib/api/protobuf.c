/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One message at a time: its fields are noted, put in order of their numbers if they are
 * not (repeated fields may be spread), and written along the message's table.
 */
#include "api/protobuf.h"

#include "api/jtok_internal.h"
#include "api/protobuf_internal.h"
#include "base/clock.h"
#include "base/id.h"
#include "base/mem.h"
#include "base/vec.h"

enum {
    DEPTH_MAX = 40,
    MAGIC_LEN = 4,
    NAME_MAX_LEN = 256, /* of apiVersion and kind */
    WIRE_VARINT = 0,
    WIRE_64 = 1,
    WIRE_BYTES = 2,
    WIRE_32 = 5,
};
/* What clock_format can hold: years 1678 to 2261. */
#define SECONDS_MAX INT64_C(9200000000)

struct entry {
    uint32_t number, seq;
    unsigned wire;
    uint64_t value; /* varint and 64 bit */
    struct span bytes;
};

struct pb {
    vec(struct entry) entries; /* of all open messages */
    struct str *out;
    struct error *e;
    unsigned depth;
};

/* --- the wire ----------------------------------------------------------------------- */

static int
broken(struct pb *p, const char *what)
{
    return error_set(p->e, ERR_BAD_REQUEST, "protobuf: %s", what);
}

/* An absent message has no bytes to point at. */
static const char *
begin(struct span s)
{
    return s.ptr == NULL ? "" : s.ptr;
}

static bool
take_varint(const char **at, const char *end, uint64_t *ret)
{
    uint64_t v = 0;

    for (unsigned shift = 0; shift < 64; shift += 7) {
        if (*at == end)
            return false;
        unsigned char c = (unsigned char)*(*at)++;
        v |= (uint64_t)(c & 0x7f) << shift;
        if (c < 0x80) {
            *ret = v;
            return true;
        }
    }
    return false;
}

static int
take_fixed(struct pb *p, const char **at, const char *end, size_t n, uint64_t *ret)
{
    if ((size_t)(end - *at) < n)
        return broken(p, "cut short");
    *ret = 0;
    for (size_t i = 0; i < n; i++)
        *ret |= (uint64_t)(unsigned char)(*at)[i] << (8 * i);
    *at += n;
    return 0;
}

static int
take_entry(struct pb *p, const char **at, const char *end, struct entry *x)
{
    uint64_t tag, n;

    if (!take_varint(at, end, &tag) || tag >> 3 == 0 || tag >> 32 != 0)
        return broken(p, "a wrong tag");
    x->number = (uint32_t)(tag >> 3);
    x->wire = tag & 7;
    switch (x->wire) {
    case WIRE_VARINT:
        return take_varint(at, end, &x->value) ? 0 : broken(p, "a wrong varint");
    case WIRE_64:
        return take_fixed(p, at, end, 8, &x->value);
    case WIRE_32:
        return take_fixed(p, at, end, 4, &x->value);
    case WIRE_BYTES:
        if (!take_varint(at, end, &n) || n > (uint64_t)(end - *at))
            return broken(p, "a wrong length");
        x->bytes = (struct span){*at, (size_t)n};
        *at += n;
        return 0;
    default:
        return broken(p, "an unknown wire type");
    }
}

static int
compare_entries(const void *left, const void *right)
{
    const struct entry *a = left, *b = right;

    if (a->number != b->number)
        return a->number < b->number ? -1 : 1;
    return (a->seq > b->seq) - (a->seq < b->seq);
}

/* Notes the fields of a message behind entries.len as it was, ordered by number. */
static int
read_entries(struct pb *p, struct span message)
{
    const char *at = begin(message), *end = at + message.len;
    size_t first = p->entries.len;
    bool ordered = true;

    while (at < end) {
        struct entry x = {.seq = (uint32_t)(p->entries.len - first)};
        int rc = take_entry(p, &at, end, &x);
        if (rc < 0)
            return rc;
        if (x.seq > 0 && p->entries.items[p->entries.len - 1].number > x.number)
            ordered = false;
        vec_push(&p->entries, x);
    }
    if (!ordered)
        qsort(p->entries.items + first, p->entries.len - first, sizeof(struct entry),
              compare_entries);
    return 0;
}

/* The last field `number` in the message, for the small wrapper messages. */
static int
find_entry(struct pb *p, struct span message, uint32_t number, unsigned wire,
           struct entry *ret)
{
    const char *at = begin(message), *end = at + message.len;
    int rc;

    *ret = (struct entry){0};
    while (at < end) {
        struct entry x = {0};
        if ((rc = take_entry(p, &at, end, &x)) < 0)
            return rc;
        if (x.number != number)
            continue;
        if (x.wire != wire)
            return broken(p, "a field of another type");
        *ret = x;
    }
    return 0;
}

/* --- values ------------------------------------------------------------------------- */

static int write_message(struct pb *p, const struct pb_message *m, struct span bytes);
static int write_value(struct pb *p, const struct pb_field *f, const struct entry *x);

static int
write_string(struct pb *p, struct span s)
{
    const char *at = begin(s), *end = at + s.len;

    while (at < end) {
        size_t n = (unsigned char)*at < 0x80 ? 1 : jtok_utf8(at, end);
        if (n == 0)
            return broken(p, "a string is not UTF-8");
        at += n;
    }
    jput_string(p->out, begin(s), s.len);
    return 0;
}

static int
write_time(struct pb *p, struct span message, bool micro)
{
    char text[CLOCK_RFC3339_US_LEN];
    struct entry seconds, nanos;
    int rc = find_entry(p, message, 1, WIRE_VARINT, &seconds);

    if (rc < 0 || (rc = find_entry(p, message, 2, WIRE_VARINT, &nanos)) < 0)
        return rc;
    int64_t s = (int64_t)seconds.value, n = (int64_t)nanos.value;
    if (s == 0 && n == 0) {
        str_adds(p->out, "null");
        return 0;
    }
    if (s < -SECONDS_MAX || s > SECONDS_MAX || n < 0 || n > 999999999)
        return broken(p, "a time out of range");
    if (micro)
        clock_format_us(s * 1000000000 + n, text);
    else
        clock_format(s * 1000000000, text);
    jput_stringz(p->out, text);
    return 0;
}

static int
write_json(struct pb *p, struct span message)
{
    struct entry raw;
    int rc = find_entry(p, message, 1, WIRE_BYTES, &raw);

    if (rc < 0)
        return rc;
    if (raw.bytes.len == 0) {
        str_adds(p->out, "null");
        return 0;
    }
    return jcanon(raw.bytes.ptr, raw.bytes.len, p->out, p->e);
}

static int
write_wrapped(struct pb *p, struct span message)
{
    struct entry text;
    int rc = find_entry(p, message, 1, WIRE_BYTES, &text);

    return rc < 0 ? rc : write_string(p, text.bytes);
}

static int
write_strings(struct pb *p, struct span message)
{
    const char *at = begin(message), *end = at + message.len;

    str_addc(p->out, '[');
    while (at < end) {
        struct entry x = {0};
        int rc = take_entry(p, &at, end, &x);
        if (rc == 0 && x.number == 1) {
            if (x.wire != WIRE_BYTES)
                return broken(p, "a field of another type");
            jput_item(p->out);
            rc = write_string(p, x.bytes);
        }
        if (rc < 0)
            return rc;
    }
    str_addc(p->out, ']');
    return 0;
}

static int
write_schemas(struct pb *p, const struct pb_message *m, struct span list)
{
    const char *at = begin(list), *end = at + list.len;

    str_addc(p->out, '[');
    while (at < end) {
        struct entry x = {0};
        int rc = take_entry(p, &at, end, &x);
        if (rc == 0 && x.number == 2 && x.wire == WIRE_BYTES) {
            jput_item(p->out);
            rc = write_message(p, m, x.bytes);
        }
        if (rc < 0)
            return rc;
    }
    str_addc(p->out, ']');
    return 0;
}

static int
write_schema_or(struct pb *p, const struct pb_field *f, struct span message)
{
    bool list = f->type == PB_SCHEMA_OR_LIST;
    struct entry schema, allows;
    int rc = find_entry(p, message, list ? 1 : 2, WIRE_BYTES, &schema);

    if (rc < 0)
        return rc;
    if (schema.number != 0)
        return write_message(p, f->message, schema.bytes);
    if (list)
        return write_schemas(p, f->message, message);
    if ((rc = find_entry(p, message, 1, WIRE_VARINT, &allows)) < 0)
        return rc;
    str_adds(p->out, allows.value != 0 ? "true" : "false");
    return 0;
}

static int
write_double(struct pb *p, uint64_t bits)
{
    double d;

    memcpy(&d, &bits, sizeof(d));
    return canon_double(p->out, d) ? 0 : broken(p, "a number that is not finite");
}

static unsigned
wire_of(enum pb_type type)
{
    if (type == PB_INT || type == PB_BOOL)
        return WIRE_VARINT;
    return type == PB_DOUBLE ? WIRE_64 : WIRE_BYTES;
}

static int
write_value(struct pb *p, const struct pb_field *f, const struct entry *x)
{
    if (x->wire != wire_of(f->type))
        return broken(p, "a field of another type");
    switch (f->type) {
    case PB_STRING:
        return write_string(p, x->bytes);
    case PB_BYTES:
        str_addc(p->out, '"');
        id_base64(x->bytes.ptr, x->bytes.len, p->out);
        str_addc(p->out, '"');
        return 0;
    case PB_INT:
        jput_int(p->out, (int64_t)x->value);
        return 0;
    case PB_BOOL:
        str_adds(p->out, x->value != 0 ? "true" : "false");
        return 0;
    case PB_DOUBLE:
        return write_double(p, x->value);
    case PB_MESSAGE:
        return write_message(p, f->message, x->bytes);
    case PB_TIME:
    case PB_MICRO_TIME:
        return write_time(p, x->bytes, f->type == PB_MICRO_TIME);
    case PB_JSON:
        return write_json(p, x->bytes);
    case PB_QUANTITY:
        return write_wrapped(p, x->bytes);
    case PB_STRINGS:
        return write_strings(p, x->bytes);
    case PB_SCHEMA_OR_LIST:
    case PB_SCHEMA_OR_BOOL:
        return write_schema_or(p, f, x->bytes);
    }
    return 0;
}

/* --- members ------------------------------------------------------------------------ */

/* An absent key or value is the empty one. */
static int
write_pair(struct pb *p, const struct pb_field *f, struct span pair)
{
    struct entry key, value;
    unsigned wire = wire_of(f->type);
    int rc = find_entry(p, pair, 1, WIRE_BYTES, &key);

    if (rc < 0 || (rc = find_entry(p, pair, 2, wire, &value)) < 0)
        return rc;
    value.wire = wire;
    if (value.bytes.ptr == NULL)
        value.bytes.ptr = "";
    if (key.bytes.ptr == NULL)
        key.bytes.ptr = "";
    jput_item(p->out);
    if ((rc = write_string(p, key.bytes)) < 0)
        return rc;
    str_addc(p->out, ':');
    return write_value(p, f, &value);
}

static int
write_run(struct pb *p, const struct pb_field *f, size_t from, size_t to)
{
    bool map = (f->flags & PB_MAP) != 0;
    int rc;

    if ((f->flags & (PB_LIST | PB_MAP)) == 0) { /* the last one counts */
        struct entry x = p->entries.items[to - 1];
        return write_value(p, f, &x);
    }
    str_addc(p->out, map ? '{' : '[');
    for (size_t i = from; i < to; i++) {
        struct entry x = p->entries.items[i]; /* the vector may move below */
        if (map && x.wire != WIRE_BYTES)
            return broken(p, "a field of another type");
        if (!map)
            jput_item(p->out);
        rc = map ? write_pair(p, f, x.bytes) : write_value(p, f, &x);
        if (rc < 0)
            return rc;
    }
    str_addc(p->out, map ? '}' : ']');
    return 0;
}

/* Go writes empty strings and structs that JSON leaves out. */
static bool
is_empty(const struct pb_field *f, struct span value)
{
    if ((f->flags & PB_OMIT) != 0)
        return span_eq(value, "0") || span_eq(value, "false");
    if ((f->flags & (PB_KEEP | PB_LIST | PB_MAP)) != 0)
        return false;
    if (span_eq(value, "null"))
        return true;
    return f->type != PB_JSON && (span_eq(value, "\"\"") || span_eq(value, "{}"));
}

static int
write_member(struct pb *p, const struct pb_field *f, size_t from, size_t to)
{
    size_t before = p->out->len;

    jput_key(p->out, f->name);
    size_t value = p->out->len;
    int rc = write_run(p, f, from, to);
    if (rc < 0)
        return error_prepend(p->e, "%s", f->name);
    if (p->out->toobig)
        return error_set(p->e, ERR_TOO_LARGE, "protobuf: more than %zu bytes of JSON",
                         p->out->max);
    if (is_empty(f, (struct span){p->out->ptr + value, p->out->len - value}))
        str_truncate(p->out, before);
    return 0;
}

static int
write_members(struct pb *p, const struct pb_message *m, struct span bytes)
{
    size_t first = p->entries.len, k = 0;
    int rc = read_entries(p, bytes);

    for (size_t i = first, next; rc == 0 && i < p->entries.len; i = next) {
        uint32_t number = p->entries.items[i].number;
        for (next = i + 1;
             next < p->entries.len && p->entries.items[next].number == number; next++)
            ;
        while (k < m->n && m->fields[k].number < number)
            k++;
        if (k < m->n && m->fields[k].number == number)
            rc = write_member(p, &m->fields[k], i, next);
    }
    p->entries.len = first;
    return rc;
}

static int
write_message(struct pb *p, const struct pb_message *m, struct span bytes)
{
    if (p->depth == DEPTH_MAX)
        return broken(p, "nested too deep");
    p->depth++;
    str_addc(p->out, '{');
    int rc = write_members(p, m, bytes);
    str_addc(p->out, '}');
    p->depth--;
    return rc;
}

/* --- the envelope ------------------------------------------------------------------- */

static bool
copy_name(struct span s, char out[NAME_MAX_LEN])
{
    if (s.len >= NAME_MAX_LEN)
        return false;
    if (s.len > 0)
        memcpy(out, s.ptr, s.len);
    out[s.len] = '\0';
    return strlen(out) == s.len;
}

static int
convert(struct pb *p, struct span unknown)
{
    char version[NAME_MAX_LEN], kind[NAME_MAX_LEN];
    struct entry type, raw, coding, x;
    int rc;

    if ((rc = find_entry(p, unknown, 1, WIRE_BYTES, &type)) < 0 ||
        (rc = find_entry(p, unknown, 2, WIRE_BYTES, &raw)) < 0 ||
        (rc = find_entry(p, unknown, 3, WIRE_BYTES, &coding)) < 0)
        return rc;
    if (coding.bytes.len > 0)
        return broken(p, "an encoded object inside");
    if ((rc = find_entry(p, type.bytes, 1, WIRE_BYTES, &x)) < 0)
        return rc;
    bool ok = copy_name(x.bytes, version);
    if ((rc = find_entry(p, type.bytes, 2, WIRE_BYTES, &x)) < 0)
        return rc;
    if (!copy_name(x.bytes, kind) || !ok)
        return broken(p, "the name of a kind is wrong");
    const struct pb_message *m = pb_message_of(version, kind);
    if (m == NULL)
        return error_set(p->e, ERR_MEDIA_TYPE,
                         "no protobuf form is known here for %.100s, Kind=%.100s; send "
                         "JSON or YAML",
                         *version == '\0' ? "an empty apiVersion" : version, kind);
    str_addc(p->out, '{');
    jput_member(p->out, "apiVersion", version);
    jput_member(p->out, "kind", kind);
    p->depth = 1;
    if ((rc = write_members(p, m, raw.bytes)) < 0)
        return rc;
    str_addc(p->out, '}');
    if (p->out->toobig)
        return error_set(p->e, ERR_TOO_LARGE, "protobuf: more than %zu bytes of JSON",
                         p->out->max);
    return 0;
}

int
protobuf_to_json(struct span body, struct str *out, struct error *e)
{
    struct pb p = {.out = out, .e = e};
    size_t before = out->len;

    if (body.len < MAGIC_LEN || memcmp(body.ptr, "k8s", MAGIC_LEN) != 0)
        return broken(&p, "the body does not begin with the magic bytes \"k8s\\0\"");
    int rc = convert(&p, (struct span){body.ptr + MAGIC_LEN, body.len - MAGIC_LEN});
    vec_done(&p.entries);
    if (rc < 0)
        str_truncate(out, before);
    return rc;
}
