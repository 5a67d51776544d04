/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What each format of a string takes and what not, and for which types a name is one. The
 * scenarios are those of kube-openapi's strfmt.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "api/kind_internal.h"

#define LIST(...) ((const char *const[]){__VA_ARGS__, NULL})

static const struct {
    const char *format;
    const char *const *good, *const *bad;
} cases[] = {
    {"uri",
     LIST("http://somewhere.com", "https://a@b:8080/x?y=z#f", "/path/only", "ftp:/x",
          "http://[::1]:80/", "http://host/%20", "*"),
     LIST("", "not a uri", "somewhere.com", "http://host:port/", "http://a b/",
          "http://host/%2", "http://[::1/", "mailto:x@y", "1http://x", "http://h/\x01")},
    {"email",
     LIST("somebody@somewhere.com", "\"quoted part\"@x.org", "a.b+c@localhost",
          "A Name <a@b.c>", "<a@b.c>", "\"A. Name\" <a@b.c>", "a@[127.0.0.1]"),
     LIST("", "somebody", "a@", "@b", "a b@c", "a@b c", "a..b@c", "A <a@b", ".a@b")},
    {"hostname",
     LIST("somewhere.com", "a", "Some-Host", "888.com", "localhost", "a.b.c2",
          "a--b.example.com", "x.p1ai-q", "\xc3\xa9t\xc3\xa9.example.fr"),
     LIST("", "-a.com", "a-.com", "a..b", "a.b.", ".a", "somewhere.com!", "a_b.com",
          "www.example.c", "a.b-", "a b", "x.xn--p1ai",
          "aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa.com")},
    {"ipv4", LIST("192.168.254.1", "0.0.0.0", "::ffff:1.2.3.4"),
     LIST("", "192.168.254.2.2", "256.1.1.1", "1.2.3", "01.2.3.4", "::1")},
    {"ipv6", LIST("::1", "2001:db8::", "::ffff:1.2.3.4", "FE80::1"),
     LIST("", "127.0.0.1", "1::2::3", "fe80::1%eth0", "12345::")},
    {"cidr", LIST("192.0.2.1/24", "2001:db8:a0b:12f0::1/32", "0.0.0.0/0", "::/128"),
     LIST("", "192.0.2.1", "198.168.254.2/2.2", "1.2.3.4/33", "::/129", "1.2.3.4/-1",
          "1.2.3.4/")},
    {"mac",
     LIST("01:02:03:04:05:06", "01-02-03-04-05-0a", "0123.4567.89AB",
          "01:23:45:67:89:ab:cd:ef"),
     LIST("", "01:02:03:04:05", "01:02:03:04:05:0g", "01:02-03:04:05:06", "010203040506",
          "0123:4567:89ab", "01:02:03:04:05:06:07")},
    {"uuid",
     LIST("a8098c1a-f86e-11da-bd1a-00112444be1e", "A8098C1AF86E11DABD1A00112444BE1E"),
     LIST("", "not-a-uuid", "a8098c1a-f86e-11da-bd1a-00112444be1",
          "a8098c1a-f86e-11da-bd1a-00112444be1e0", "a8098c1a--f86e11dabd1a00112444be1e")},
    {"uuid3", LIST("bcd02e22-68f0-3046-a512-327cca9def8f"),
     LIST("bcd02e22-68f0-4046-a512-327cca9def8f")},
    {"uuid4", LIST("025b0d74-00a2-4048-bf57-227c5111bb34"),
     LIST("025b0d74-00a2-4048-7f57-227c5111bb34",
          "025b0d74-00a2-5048-bf57-227c5111bb34")},
    {"uuid5", LIST("886313e1-3b8a-5372-9b90-0c9aee199e5d"),
     LIST("886313e1-3b8a-5372-cb90-0c9aee199e5d")},
    {"isbn", LIST("0321751043", "978-0321751041", "9 780321 751041"),
     LIST("", "0321751044", "9780321751042", "836217463")},
    {"isbn10", LIST("0321751043", "0-8044-2957-X"), LIST("9780321751041", "X321751043")},
    {"isbn13", LIST("9780321751041"), LIST("0321751043", "978-032175104X")},
    {"creditcard", LIST("4111-1111-1111-1111", "378282246310005", "6011111111111117"),
     LIST("", "4111-1111-1111-1112", "9999-9999-9999-999", "411111111111111111111111")},
    {"ssn", LIST("111-11-1111", "111 11 1111"), LIST("", "999 99 999", "111111111")},
    {"hexcolor", LIST("#FFFFFF", "fff", "#aBc123"), LIST("", "#fffffffz", "#ff", "#ggg")},
    {"rgbcolor", LIST("rgb(255,255,255)", "rgb( 0 , 10, 200 )"),
     LIST("", "rgb(300,0,0)", "rgb(01,0,0)", "rgb(0,0)", "rgb(0,0,0", "rgb(0,0,0)x")},
    {"byte", LIST("aGk=", "YWJj"), LIST("", "aGk", "a-_=", "aGk=\n")},
    {"password", LIST("", "anything at all"), ((const char *const[]){NULL})},
    {"date", LIST("2017-12-22"), LIST("", "yada", "2017-13-01", "2017-1-1")},
    {"date-time", LIST("2014-12-15T08:00:00.000Z", "2014-12-15T08:00:00+02:00"),
     LIST("", "2014-12-15", "2014-12-15 08:00", "yesterday")},
    {"datetime", LIST("2014-12-15T08:00:00Z"), LIST("x")},
    {"duration",
     LIST("1h30m", "1.5s", "-3ms", "0", "3 weeks", "2 days 4 hours", "1 nanosecond",
          "5 HR", "1\xc2\xb5s", "4 sec", "1 MIN"),
     LIST("", "yada", "3", "1 year", "h", "-1 day", "1.5 days", ".s")},
    {"bsonobjectid", LIST("507f1f77bcf86cd799439011"),
     LIST("", "507f1f77bcf86cd79943901", "507f1f77bcf86cd79943901z")},
    {"quantity", LIST("10Gi", "500m", "1"), LIST("", "ten", "1Q")},
    {"k8s-short-name", LIST("a-b", "0"), LIST("", "A", "-a", "a.b")},
    {"k8s-long-name", LIST("a.b-c.d", "a"), LIST("", "a..b", "a.-b", "a-.b", "a.")},
};

static void
strings_are_checked(void **state)
{
    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        unsigned f = format_named(SCHEMA_STRING, cases[i].format);
        assert_true(f >= FORMAT_STRING);
        for (const char *const *z = cases[i].good; *z != NULL; z++)
            if (!format_check(f, *z, strlen(*z)))
                fail_msg("%s: \"%s\" is refused", cases[i].format, *z);
        for (const char *const *z = cases[i].bad; *z != NULL; z++)
            if (format_check(f, *z, strlen(*z)))
                fail_msg("%s: \"%s\" is taken", cases[i].format, *z);
    }
}

static void
names_are_of_their_type(void **state)
{
    static const struct {
        enum schema_type type;
        const char *name;
        unsigned format;
    } names[] = {
        {SCHEMA_INTEGER, "int32", FORMAT_INT32}, {SCHEMA_INTEGER, "int64", FORMAT_INT64},
        {SCHEMA_NUMBER, "float", FORMAT_FLOAT},  {SCHEMA_NUMBER, "double", FORMAT_DOUBLE},
        {SCHEMA_STRING, "int32", FORMAT_NONE},   {SCHEMA_NUMBER, "int32", FORMAT_NONE},
        {SCHEMA_INTEGER, "byte", FORMAT_NONE},   {SCHEMA_OBJECT, "date", FORMAT_NONE},
        {SCHEMA_STRING, "made-up", FORMAT_NONE}, {SCHEMA_STRING, "", FORMAT_NONE},
        {SCHEMA_STRING, "dat", FORMAT_NONE},
    };

    UNUSED(state);
    for (size_t i = 0; i < ARRAY_LEN(names); i++)
        assert_int_equal(format_named(names[i].type, names[i].name), names[i].format);
    /* dashes do not count */
    assert_int_equal(format_named(SCHEMA_STRING, "date-time"),
                     format_named(SCHEMA_STRING, "datetime"));
    assert_int_equal(format_named(SCHEMA_INT_OR_STRING, "uuid"),
                     format_named(SCHEMA_STRING, "uuid-"));
    assert_false(format_check(format_named(SCHEMA_STRING, "ssn"), "1\0", 2));
    assert_true(format_check(FORMAT_INT32, "x", 1));
}

int
main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(strings_are_checked),
        cmocka_unit_test(names_are_of_their_type),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
