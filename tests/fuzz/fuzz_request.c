/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What arrives before anybody is authenticated or a schema is known: line 1 a path, line
 * 2 an Accept header, line 3 a continue-like token, the rest a body whose name is looked
 * for.
 */
#include <stdint.h>
#include <stdlib.h>

#include "apiserver/registry/answer.h"
#include "apiserver/registry/kinds.h"
#include "apiserver/registry/options.h"
#include "base/mem.h"

static struct kinds *kinds;

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* The next line, without NULs; *rest moves on. */
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

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct span rest = {(const char *)data, size};
    struct error e = ERROR_INIT;
    struct accept accept;
    struct route route;
    auto_problem p;

    if (kinds == NULL && kinds_load(&kinds, &e) < 0)
        abort();
    problem_init(&p, NULL, NULL);
    autofree char *path = take_line(&rest);
    autofree char *header = take_line(&rest);
    if (route_parse(kinds, path, &route) && route.kind != NULL &&
        strcmp(route.kind->plural, route.plural) != 0)
        abort();
    if (accept_parse(header, &accept, &p) == 0 && accept.version == NULL)
        abort();
    accept_discovery(header);
    accept_has(header, "application/json");
    autofree char *base = NULL;
    autofree char *name = body_name(rest, &base);
    if (strlen(name) >= ROUTE_SEGMENT_MAX)
        abort();
    return 0;
}
