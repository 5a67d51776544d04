/* SPDX-License-Identifier: Apache-2.0 */
/* How busy GPUs are: what the vendor files share, and what tools print. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/mem.h"
#include "runner/gpu/gpu_internal.h"

enum { FIELDS = 3, FIELD_MAX = 80, MIB = 1 << 20 };

const struct gpu_load *
gpu_load_find(const struct gpu_loads *l, const char *uuid)
{
    for (size_t i = 0; i < l->len; i++) {
        if (streq(l->items[i].uuid, uuid))
            return &l->items[i];
    }
    return NULL;
}

struct gpu_load *
gpu_load_add(struct gpu_loads *l, const char *uuid)
{
    if (l->len == GPU_MAX)
        return NULL;
    struct gpu_load *g = &l->items[l->len++];
    *g = (struct gpu_load){.busy = -1, .memory_mib = -1};
    snprintf(g->uuid, sizeof(g->uuid), "%s", uuid);
    return g;
}

/* -1 when the text is no number that is followed by one of the units. */
static int64_t
whole_number(const char *text, const char *unit)
{
    char *end;

    if (*text < '0' || *text > '9')
        return -1;
    errno = 0;
    long long n = strtoll(text, &end, 10);
    while (*end == ' ')
        end++;
    return errno == 0 && (*end == '\0' || streq(end, unit)) ? n : -1;
}

int
gpu_percent(const char *text)
{
    int64_t n = whole_number(text, "%");

    return n <= 100 ? (int)n : -1;
}

int64_t
gpu_used_mib(const char *text, int64_t unit)
{
    int64_t n = whole_number(text, "MiB");

    if (n < 0 || n > INT64_MAX / unit)
        return -1;
    return n * unit / MIB;
}

static bool
take_line(const char *line, size_t n, struct gpu_loads *l)
{
    char field[FIELDS][FIELD_MAX] = {{0}};

    for (size_t i = 0; i < FIELDS; i++) {
        const char *comma = memchr(line, ',', n);
        size_t len = comma == NULL ? n : (size_t)(comma - line);
        if ((comma == NULL) != (i == FIELDS - 1) || len >= FIELD_MAX)
            return false;
        gpu_text(field[i], FIELD_MAX, line, len);
        line += len + 1;
        n -= comma == NULL ? len : len + 1;
    }
    struct gpu_load *g = field[0][0] == '\0' ? NULL : gpu_load_add(l, field[0]);
    if (g == NULL)
        return false;
    g->busy = gpu_percent(field[1]);
    g->memory_mib = gpu_used_mib(field[2], MIB);
    return true;
}

size_t
gpu_loads_parse(const char *text, struct gpu_loads *l)
{
    size_t taken = 0;

    for (const char *p = text; *p != '\0';) {
        size_t n = strcspn(p, "\n");
        taken += take_line(p, n, l);
        p += n + (p[n] == '\n');
    }
    return taken;
}
