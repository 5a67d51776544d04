/* SPDX-License-Identifier: Apache-2.0 */
/* One pass; what is filled in is not looked at again. */
#include "api/interpolate.h"

#include <ctype.h>

bool
interpolate_needed(const char *text)
{
    return strstr(text, "${{") != NULL;
}

static struct span
trimmed(const char *from, const char *to)
{
    while (from < to && isspace((unsigned char)*from))
        from++;
    while (to > from && isspace((unsigned char)to[-1]))
        to--;
    return (struct span){from, (size_t)(to - from)};
}

int
interpolate(const char *text, interpolate_fn *value, void *arg, struct str *out,
            struct error *e)
{
    const char *at;

    while ((at = strstr(text, "${{")) != NULL) {
        if (at > text && at[-1] == '$') { /* $${{ */
            str_add(out, text, (size_t)(at - text) - 1);
            str_adds(out, "${{");
            text = at + 3;
            continue;
        }
        const char *end = strstr(at, "}}");
        str_add(out, text, (size_t)(at - text));
        if (end == NULL)
            return error_set(e, ERR_INVALID,
                             "\"%.40s\" is not closed by }} ($${{ stands for ${{)", at);
        int rc = value(arg, trimmed(at + 3, end), out, e);
        if (rc < 0)
            return rc;
        text = end + 2;
    }
    str_adds(out, text);
    return 0;
}

int
interpolate_some(const char *text, interpolate_some_fn *value, void *arg, struct str *out,
                 struct error *e)
{
    const char *at;

    while ((at = strstr(text, "${{")) != NULL) {
        bool escaped = at > text && at[-1] == '$';
        const char *end = escaped ? at + 1 : strstr(at, "}}");
        str_add(out, text, (size_t)(at - text));
        if (end == NULL)
            return error_set(e, ERR_INVALID,
                             "\"%.40s\" is not closed by }} ($${{ stands for ${{)", at);
        int rc = escaped ? 0 : value(arg, trimmed(at + 3, end), out, e);
        if (rc < 0)
            return rc;
        text = escaped ? at + 3 : end + 2;
        if (rc == 0)
            str_add(out, at, (size_t)(text - at));
    }
    str_adds(out, text);
    if (out->toobig)
        return error_set(e, ERR_TOO_LARGE, "the text becomes too long");
    return 0;
}

bool
interpolate_member(struct span name, const char *ns, struct span *ret_member)
{
    size_t n = strlen(ns);

    if (name.len < n + 2 || memcmp(name.ptr, ns, n) != 0 || name.ptr[n] != '.')
        return false;
    for (size_t i = n + 1; i < name.len; i++) {
        char c = name.ptr[i];
        if (!isalnum((unsigned char)c) && c != '_' && c != '-')
            return false;
    }
    *ret_member = (struct span){name.ptr + n + 1, name.len - n - 1};
    return true;
}

/* The number in "<word>[<n>]" at *p; *p behind it. */
static bool
indexed(const char **p, const char *end, const char *word, int64_t *ret)
{
    size_t n = strlen(word);
    const char *s = *p;
    int64_t value = 0;

    if ((size_t)(end - s) < n || memcmp(s, word, n) != 0)
        return false;
    s += n;
    const char *digits = s;
    for (; s < end && isdigit((unsigned char)*s) && s - digits < 9; s++)
        value = value * 10 + (*s - '0');
    if (s == digits || s == end || *s != ']')
        return false;
    *p = s + 1;
    *ret = value;
    return true;
}

bool
interpolate_node(struct span name, int64_t *ret_group, int64_t *ret_node)
{
    static const char member[] = ".IP_ADDRESS";
    const char *p = name.ptr, *end = name.ptr + name.len;

    return indexed(&p, end, "groups[", ret_group) &&
           indexed(&p, end, ".nodes[", ret_node) && (size_t)(end - p) == strlen(member) &&
           memcmp(p, member, strlen(member)) == 0;
}
