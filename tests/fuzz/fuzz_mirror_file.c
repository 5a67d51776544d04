/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Any bytes as a file of the mirror. What is understood is written back as YAML,
 * understood again as the same form, no longer holds a value to be sealed, and plans like
 * any edit. The first byte chooses the kind.
 */
#include <stdint.h>
#include <stdlib.h>

#include "apiserver/mirror/form.h"
#include "apiserver/mirror/plan.h"
#include "apiserver/registry/kinds.h"
#include "base/fs.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

struct world {
    struct keyring *seal;
    struct kinds *kinds;
};

static const struct world *
the_world(void)
{
    static struct world w;
    struct error e = ERROR_INIT;

    if (w.kinds != NULL)
        return &w;
    bug_if(keyring_load(NULL, false, &w.seal, &e) < 0 || kinds_load(&w.kinds, &e) < 0);
    return &w;
}

static void
check_plan(const struct mirror_form *f)
{
    json_t *base = json_pack("{s:{s:i}}", "spec", "x", 1);
    struct mirror_versions v = {.has_base = true,
                                .base_uid = "u",
                                .base_file = base,
                                .base_store = base,
                                .file = MIRROR_FILE_CHANGED,
                                .file_form = f->json,
                                .file_plain = f->plain,
                                .has_store = true,
                                .uid = "u",
                                .store = f->json};
    struct mirror_plan p;

    /* The store says what the file says: no patch, no conflict. */
    mirror_plan(&v, false, &p);
    bug_if(p.action != MIRROR_WRITE);
    mirror_plan_done(&p);
    v.store = base;
    v.store_same = true;
    mirror_plan(&v, false, &p);
    bug_if(p.action != MIRROR_PATCH && p.action != MIRROR_RECORD &&
           p.action != MIRROR_WRITE);
    mirror_plan_done(&p);
    json_decref(base);
}

static void
check_back(const struct world *w, const struct kind *k, const struct mirror_key *key,
           const struct mirror_form *f)
{
    autofree char *text = json_dumps(f->json, JSON_COMPACT);
    auto_str yaml = STR_INIT(MIRROR_FILE_MAX);
    auto_form again = {0};
    struct mirror_problem p;
    struct error e = ERROR_INIT;

    if (text == NULL || mirror_to_yaml(span_of(text), &yaml, &e) < 0)
        return; /* too large as YAML */
    struct span bytes = {yaml.ptr, yaml.len};
    if (mirror_read_form(w->seal, k, key, "u", bytes, &again, &p) < 0)
        return; /* libyaml refuses some keys that it has written */
    bug_if(again.plain || !json_equal(again.json, f->json));
    json_t *opened = mirror_open_values(w->seal, key, f->json, &p);
    bug_if(opened == NULL);
    json_decref(opened);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const char *const resources[] = {"runs.drover.dev", "secrets", "namespaces",
                                            "configmaps"};
    const struct world *w = the_world();
    struct mirror_key key = {.ns = "default", .name = "a"};
    auto_form f = {0};
    struct mirror_problem p;

    if (size == 0)
        return 0;
    const char *resource = resources[data[0] % ARRAY_LEN(resources)];
    const struct kind *k = kinds_by_resource(w->kinds, resource);
    snprintf(key.resource, sizeof(key.resource), "%s", resource);
    if (!k->namespaced)
        key.ns[0] = '\0';
    struct span bytes = {(const char *)data + 1, size - 1};
    if (mirror_read_form(w->seal, k, &key, "u", bytes, &f, &p) < 0) {
        bug_if(p.e.msg[0] == '\0' || f.json != NULL);
        return 0;
    }
    check_back(w, k, &key, &f);
    check_plan(&f);
    return 0;
}
