/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What stands behind the question mark: line 1 a continue token, line 2 a label selector,
 * line 3 a field selector, line 4 a query string (k=v&k=v), the rest a body of
 * DeleteOptions. A token that is read says the same when it is written again.
 */
#include <stdint.h>
#include <stdlib.h>

#include "api/selector.h"
#include "apiserver/registry/compute.h"
#include "apiserver/registry/kinds.h"
#include "apiserver/registry/list_token.h"
#include "base/mem.h"

static struct kinds *kinds;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static char *
take_line(struct span *rest)
{
    const char *end = rest->len == 0 ? NULL : memchr(rest->ptr, '\n', rest->len);
    size_t n = end == NULL ? rest->len : (size_t)(end - rest->ptr);
    char *line = xstrndup(rest->len == 0 ? "" : rest->ptr, n);

    rest->ptr += n + (end != NULL);
    rest->len -= n + (end != NULL);
    return line;
}

static void
check_token(const char *token)
{
    char position[LIST_POSITION_MAX], again[LIST_POSITION_MAX];
    auto_str text = STR_INIT(2 * LIST_TOKEN_MAX);
    int64_t revision, same;
    auto_problem p;

    problem_init(&p, NULL, NULL);
    if (list_token_read(token, &revision, position, &p) < 0)
        return;
    list_token_write(revision, position, &text);
    if (list_token_read(text.ptr, &same, again, &p) < 0 || same != revision ||
        strcmp(position, again) != 0)
        abort();
}

enum { MEMBERS_MAX = 32 };

/* "k=v&k=v", cut in place. */
struct query {
    const char *keys[MEMBERS_MAX], *values[MEMBERS_MAX];
    size_t n;
};

static void
cut(char *text, struct query *q)
{
    char *member;

    q->n = 0;
    while (q->n < MEMBERS_MAX && (member = strsep(&text, "&")) != NULL) {
        q->keys[q->n] = strsep(&member, "=");
        q->values[q->n++] = member == NULL ? "" : member;
    }
}

static const char *
find(const void *src, const char *key)
{
    const struct query *q = src;

    for (size_t i = 0; i < q->n; i++) {
        if (strcmp(q->keys[i], key) == 0)
            return q->values[i];
    }
    return NULL;
}

static void
check_options(char *text, struct span body)
{
    struct query q;
    struct api_call c = {.req = {.method = "GET",
                                 .path = "/",
                                 .query = find,
                                 .header = find,
                                 .src = &q,
                                 .body = body}};
    struct write_options w;
    struct list_options l;
    struct delete_options d;
    enum include_object include;
    auto_problem p;

    cut(text, &q);
    problem_init(&p, NULL, NULL);
    if (write_options_parse(&c, &w, &p) == 0 && strlen(w.manager) > 128)
        abort();
    if (list_options_parse(&c, &l, &p) == 0 && (l.limit < 0 || l.timeout_s < 0))
        abort();
    if (delete_options_parse(&c, &d, &p) == 0 && d.policy > DELETE_DEFAULT)
        abort();
    if (include_parse(&c, &include, &p) == 0 && include > INCLUDE_OBJECT)
        abort();
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = {(const char *)data, size};
    struct selector *labels = NULL, *fields = NULL;
    struct error e = ERROR_INIT;

    if (kinds == NULL && kinds_load(&kinds, &e) < 0)
        abort();
    autofree char *token = take_line(&rest);
    autofree char *label = take_line(&rest);
    autofree char *field = take_line(&rest);
    autofree char *query = take_line(&rest);
    check_token(token);
    if (selector_parse_labels(label, &labels, &e) == 0)
        selector_free(labels);
    if (selector_parse_fields(kinds_by_resource(kinds, "events"), field, &fields, &e) ==
        0)
        selector_free(fields);
    check_options(query, rest);
    return 0;
}
