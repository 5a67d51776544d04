/* SPDX-License-Identifier: Apache-2.0 */
/*
 * dstack's files from any bytes: as a configuration, as its own profile, and as a
 * profiles file. Either there are problems or there is an object whose resources can be
 * read.
 */
#include "api/dstack.h"
#include "api/profile.h"
#include "api/resources.h"
#include "api/yaml.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_notes(const struct dstack_result *r)
{
    bug_if(r->notes.len > DSTACK_NOTES_MAX);
    vec_foreach (n, &r->notes) {
        auto_str out = STR_INIT(4096);
        bug_if(n->text[0] == '\0');
        dstack_path(n->path, &out);
    }
}

static void
check_resources(const json_t *resources)
{
    auto_violations v = {0};
    struct resource_req req;
    struct error e = ERROR_INIT;

    if (resources != NULL)
        bug_if(resources_parse(resources, "r", &req, &v, &e) < 0);
}

static void
translate(const json_t *doc, const json_t *profile)
{
    auto_dstack_result r = {0};
    size_t i;
    const json_t *group;

    dstack_translate(doc, profile, &r);
    check_notes(&r);
    bug_if((r.problems > 0) != (r.object == NULL));
    const json_t *spec = json_object_get(r.object, "spec");
    check_resources(json_object_get(spec, "resources"));
    json_array_foreach (json_object_get(spec, "groups"), i, group)
        check_resources(json_object_get(group, "resources"));
    json_t *merged = profile_merge(spec == NULL ? doc : spec, doc);
    json_decref(merged);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct yaml_docs docs = {0};
    struct error e = ERROR_INIT;

    if (size > 16384 || yaml_read((const char *)data, size, false, &docs, &e) < 0)
        return 0;
    vec_foreach (d, &docs.list) {
        json_t *doc = json_loadb(d->json.ptr, d->json.len, JSON_DECODE_ANY, NULL);
        auto_dstack_result r = {0};
        const json_t *entry = NULL;
        if (dstack_is_document(doc)) {
            translate(doc, NULL);
            translate(doc, doc);
        }
        dstack_profile_find(doc, size % 2 == 0 ? NULL : "p", &entry, &r);
        check_notes(&r);
        if (dstack_is_document(doc) && entry != NULL)
            translate(doc, entry);
        json_decref(doc);
    }
    yaml_docs_done(&docs);
    return 0;
}
