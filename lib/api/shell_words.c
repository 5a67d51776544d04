/* SPDX-License-Identifier: Apache-2.0 */
/* POSIX shell word splitting (XCU 2.2 quoting) without expansions. */
#include <string.h>

#include "api/admit.h"
#include "base/mem.h"
#include "base/str.h"
#include "base/vec.h"

enum { WORD_MAX = 64 * 1024, WORDS_MAX = 4096 };

/* Copies one word to out; leaves *p behind it. */
static int
one_word(const char **p, struct str *out, struct error *e)
{
    char quote = '\0';

    for (; **p != '\0'; (*p)++) {
        char c = **p;
        if (quote == '\0' && strchr(" \t\n", c) != NULL)
            return 0;
        if (quote == '\0' && (c == '\'' || c == '"')) {
            quote = c;
        } else if (c == quote) {
            quote = '\0';
        } else if (c == '\\' && quote != '\'') {
            char next = (*p)[1];
            if (next == '\0')
                return error_set(e, ERR_INVALID, "a backslash ends the text");
            if (quote == '"' && strchr("\"\\$`", next) == NULL)
                str_addc(out, c);
            str_addc(out, next);
            (*p)++;
        } else {
            str_addc(out, c);
        }
    }
    if (quote != '\0')
        return error_set(e, ERR_INVALID, "the quote %c is not closed", quote);
    return 0;
}

int
shell_words(const char *text, char ***ret, struct error *e)
{
    vec(char *) words = {0};
    const char *p = text;
    int rc = 0;

    while (rc == 0) {
        p += strspn(p, " \t\n");
        if (*p == '\0')
            break;
        auto_str word = STR_INIT(WORD_MAX);
        rc = one_word(&p, &word, e);
        if (rc == 0 && (word.toobig || words.len == WORDS_MAX))
            rc = error_set(e, ERR_TOO_LARGE, "too many or too long words");
        if (rc == 0)
            vec_push(&words, str_detach(&word));
    }
    vec_push(&words, NULL);
    if (rc < 0) {
        shell_words_free(words.items);
        return rc;
    }
    *ret = words.items;
    return 0;
}

void
shell_words_free(char **words)
{
    if (words == NULL)
        return;
    for (char **w = words; *w != NULL; w++)
        free(*w);
    free(words);
}
