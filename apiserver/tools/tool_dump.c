/* SPDX-License-Identifier: Apache-2.0 */
/* drover store dump: the objects as YAML or JSON, or the records of the log. */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "api/yaml.h"
#include "apiserver/store/store_log_reader.h"
#include "apiserver/tools/tool.h"
#include "base/mem.h"
#include "base/vec.h"

enum { YAML_FACTOR = 8 };

struct names {
    vec(char *) list;
};

static void
add_name(void *arg, const char *resource)
{
    struct names *n = arg;

    vec_push(&n->list, xstrdup(resource));
}

static int
compare(const void *a, const void *b)
{
    return strcmp(*(char *const *)a, *(char *const *)b);
}

static int
print_object(const struct tool *t, const struct object *o, size_t n, struct error *e)
{
    auto_str json = STR_INIT(2 * OBJECT_MAX_BYTES);
    auto_str yaml = STR_INIT((size_t)YAML_FACTOR * OBJECT_MAX_BYTES);

    object_write(o, &json);
    if (t->output != NULL && streq(t->output, "json")) {
        printf("%s%s", n == 0 ? "" : ",\n", json.ptr);
        return 0;
    }
    int rc = yaml_write((struct span){json.ptr, json.len}, &yaml, e);
    if (rc == 0)
        printf("%s%s", n == 0 ? "" : "---\n", yaml.ptr);
    return rc;
}

static int
dump_resource(const struct tool *t, const char *resource, size_t *n, struct error *e)
{
    struct store_list *l;
    const struct object *o;
    int rc = 0;

    if (t->resource != NULL && !streq(t->resource, resource))
        return 0;
    l = store_list(t->store, resource, t->ns, NULL);
    while (rc == 0 && (o = store_list_next(l)) != NULL) {
        if (t->name == NULL || streq(t->name, o->name))
            rc = print_object(t, o, (*n)++, e);
    }
    store_list_free(l);
    return rc;
}

static int
dump_objects(const struct tool *t, struct error *e)
{
    struct names names = {0};
    size_t n = 0;
    bool json = t->output != NULL && streq(t->output, "json");
    int rc = 0;

    store_resources(t->store, add_name, &names);
    if (names.list.len > 0)
        qsort(names.list.items, names.list.len, sizeof(names.list.items[0]), compare);
    if (json)
        printf("{\"apiVersion\":\"v1\",\"kind\":\"List\",\"metadata\":{"
               "\"resourceVersion\":\"%" PRIu64 "\"},\"items\":[\n",
               store_revision(t->store));
    vec_foreach (name, &names.list) {
        if (rc == 0)
            rc = dump_resource(t, *name, &n, e);
        free(*name);
    }
    vec_done(&names.list);
    if (json && rc == 0)
        printf("\n]}\n");
    return rc;
}

static void
add_span(struct str *out, const char *key, struct span s)
{
    jput_key(out, key);
    jput_string(out, s.ptr, s.len);
}

static void
print_change(const struct log_change *c)
{
    auto_str line = STR_INIT(2 * OBJECT_MAX_BYTES);

    str_addf(&line, "{\"revision\":%" PRIu64 ",\"type\":\"%s\"", c->revision,
             c->del ? "delete" : "put");
    if (c->lazy)
        str_adds(&line, ",\"lazy\":true");
    if (c->prev != 0)
        str_addf(&line, ",\"replaces\":%" PRIu64, c->prev);
    add_span(&line, "resource", c->resource);
    if (c->ns.len > 0)
        add_span(&line, "namespace", c->ns);
    add_span(&line, "name", c->name);
    if (c->object.len > 0) {
        jput_key(&line, "object");
        str_add(&line, c->object.ptr, c->object.len);
    }
    str_adds(&line, "}\n");
    fwrite(line.ptr, 1, line.len, stdout);
}

static bool
matches(const struct tool *t, const struct log_change *c)
{
    return (t->resource == NULL || span_eq(c->resource, t->resource)) &&
           (t->ns == NULL || span_eq(c->ns, t->ns)) &&
           (t->name == NULL || span_eq(c->name, t->name));
}

static int
dump_log(const struct tool *t, struct error *e)
{
    autofree char *dir = tool_path(t, "log");
    struct log_back *b = NULL;
    struct log_change c;
    uint64_t from = t->from;
    int rc = from != 0 ? 0 : log_back_oldest(dir, &from, e);

    if (rc == 0)
        rc = log_back_open(dir, from, t->to == 0 ? UINT64_MAX / 2 : t->to, &b, e);
    if (rc < 0)
        return rc;
    while ((rc = log_back_next(b, &c, e)) == 1) {
        if (matches(t, &c))
            print_change(&c);
    }
    log_back_close(b);
    return rc;
}

int
tool_dump(struct tool *t, struct error *e)
{
    if (t->output != NULL && !streq(t->output, "json") && !streq(t->output, "yaml"))
        return error_set(e, ERR_BAD_REQUEST, "-o \"%s\": there are yaml and json",
                         t->output);
    if (!t->log && (t->from != 0 || t->to != 0))
        return error_set(e, ERR_BAD_REQUEST, "--from and --to go with --log");
    int rc = tool_open(t, TOOL_RAW, e);

    if (rc < 0)
        return rc;
    return t->log ? dump_log(t, e) : dump_objects(t, e);
}
