/* SPDX-License-Identifier: Apache-2.0 */
/* What of a log reaches a terminal, whole and byte by byte. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "cli/ansi.h"

static const struct {
    const char *in, *out;
} cases[] = {
    {"plain\ttab\r\nnext\n\n", "plain\ttab\r\nnext\n\n"},
    {"\033[1;31mred\033[0m", "\033[1;31mred\033[0m"},
    {"a\033[2Jb\033[10;10Hc\033[Kd", "abcd"},
    {"a\033]0;title\007b", "ab"},
    {"a\033]52;c;Y2xpcA==\033\\b", "ab"},
    {"a\033P1$r\033\\b\033_x\033\\c", "abc"},
    {"a\033(Bb\033=c\033cd", "abcd"},
    {"a\033[?1049hb", "ab"},
    {"\033[>4;1mx", "x"},
    {"bell\007end\177", "bellend"},
    {"h\303\251\377\200", "h\303\251\377\200"},
    {"cut\033[3", "cut"},
    {"a\033[1\nb", "a\nb"},
};

static void
table(void **state)
{
    (void)state;
    for (size_t i = 0; i < ARRAY_LEN(cases); i++) {
        struct ansi whole = {0};
        struct ansi pieces = {0};
        auto_str a = STR_INIT(4096);
        auto_str b = STR_INIT(4096);
        ansi_filter(&whole, cases[i].in, strlen(cases[i].in), &a);
        for (const char *p = cases[i].in; *p != '\0'; p++)
            ansi_filter(&pieces, p, 1, &b);
        assert_string_equal(a.ptr, cases[i].out);
        assert_string_equal(b.ptr, cases[i].out);
    }
}

int
main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(table)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
