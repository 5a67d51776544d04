/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The `format` keyword: those that Kubernetes checks in CRDs, by type, and of the others
 * nothing. Dashes in the names of formats of strings mean nothing ("datetime").
 */
#include <ctype.h>

#include "api/schema_format.h"
#include "api/values.h"
#include "base/clock.h"
#include "base/id.h"

static bool
is_any(const char *text)
{
    UNUSED(text);
    return true;
}

static bool
is_date_time(const char *text)
{
    int64_t ns;

    return clock_parse(text, strlen(text), &ns);
}

static bool
is_date(const char *text)
{
    char full[40];

    if (strlen(text) != 10)
        return false;
    snprintf(full, sizeof(full), "%sT00:00:00Z", text);
    return is_date_time(full);
}

static bool
is_quantity(const char *text)
{
    struct error ignored = ERROR_INIT;
    int64_t milli;

    return value_quantity(text, &milli, &ignored) == 0;
}

static bool
is_short_name(const char *text)
{
    return value_is_dns_label(text, strlen(text));
}

/* As value_is_dns_subdomain, without its bound for a segment. */
static bool
is_long_name(const char *text)
{
    size_t n = strlen(text);
    char before = '.';

    if (n == 0 || n > 253)
        return false;
    for (size_t i = 0; i <= n; i++) {
        char c = i == n ? '.' : text[i];
        bool alnum = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        bool after_alnum = before != '.' && before != '-';
        if (!alnum && (c == '.' ? !after_alnum : c != '-' || before == '.'))
            return false;
        before = c;
    }
    return true;
}

static const struct {
    const char *name; /* without dashes */
    bool (*check)(const char *text);
} strings[] = {
    {"bsonobjectid", format_is_object_id},
    {"uri", format_is_uri},
    {"email", format_is_email},
    {"hostname", format_is_hostname},
    {"ipv4", format_is_ipv4},
    {"ipv6", format_is_ipv6},
    {"cidr", format_is_cidr},
    {"mac", format_is_mac},
    {"uuid", format_is_uuid},
    {"uuid3", format_is_uuid3},
    {"uuid4", format_is_uuid4},
    {"uuid5", format_is_uuid5},
    {"isbn", format_is_isbn},
    {"isbn10", format_is_isbn10},
    {"isbn13", format_is_isbn13},
    {"creditcard", format_is_creditcard},
    {"ssn", format_is_ssn},
    {"hexcolor", format_is_hexcolor},
    {"rgbcolor", format_is_rgbcolor},
    {"byte", format_is_byte},
    {"password", is_any},
    {"date", is_date},
    {"duration", format_is_duration},
    {"datetime", is_date_time},
    {"quantity", is_quantity},
    {"k8sshortname", is_short_name},
    {"k8slongname", is_long_name},
};

/* In the order of enum schema_format, behind FORMAT_STRING. */
static const struct {
    const char *name;
    enum schema_type type;
    enum schema_format format;
} numbers[] = {
    {"int32", SCHEMA_INTEGER, FORMAT_INT32},
    {"int64", SCHEMA_INTEGER, FORMAT_INT64},
    {"float", SCHEMA_NUMBER, FORMAT_FLOAT},
    {"double", SCHEMA_NUMBER, FORMAT_DOUBLE},
};

static bool
same_name(const char *plain, const char *name)
{
    for (; *name != '\0'; name++) {
        if (*name != '-' && *plain++ != *name)
            return false;
    }
    return *plain == '\0';
}

unsigned
format_named(enum schema_type type, const char *name)
{
    bool text =
        type == SCHEMA_STRING || type == SCHEMA_ANY || type == SCHEMA_INT_OR_STRING;

    for (size_t i = 0; text && i < ARRAY_LEN(strings); i++)
        if (same_name(strings[i].name, name))
            return FORMAT_STRING + (unsigned)i;
    for (size_t i = 0; i < ARRAY_LEN(numbers); i++)
        if (numbers[i].type == type && streq(numbers[i].name, name))
            return numbers[i].format;
    return FORMAT_NONE;
}

bool
format_check(unsigned f, const char *p, size_t n)
{
    auto_str text = STR_INIT(SIZE_MAX / 2);

    if (f < FORMAT_STRING || f - FORMAT_STRING >= ARRAY_LEN(strings))
        return true;
    if (n > 0 && memchr(p, '\0', n) != NULL)
        return false;
    str_add(&text, p, n);
    return strings[f - FORMAT_STRING].check(text.ptr == NULL ? "" : text.ptr);
}
