/* SPDX-License-Identifier: Apache-2.0 */
/*
 * kind_decode under a schema that uses every keyword: what it accepts is canonical,
 * decodes to itself without a complaint, and makes an object when it has a name and a
 * uid.
 */
#include <stdint.h>

#include "api/jtok.h"
#include "api/kind.h"
#include "api/object.h"
#include "api/selector.h"
#include "base/mem.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static const char crd_text[] =
    "{\"metadata\":{\"annotations\":{\"drover.dev/"
    "builtin\":\"true\"}},\"spec\":{\"group\":"
    "\"e.x\",\"scope\":\"Namespaced\",\"names\":{\"plural\":\"ws\",\"kind\":\"W\"},"
    "\"versions\":[{\"name\":\"v1\",\"storage\":true,\"selectableFields\":[{\"jsonPath\":"
    "\".spec.s\"}],\"additionalPrinterColumns\":[{\"name\":\"A\",\"type\":\"string\","
    "\"jsonPath\":\".spec.l[?(@.a==\\\"x\\\")].b\"},{\"name\":\"B\",\"type\":\"date\","
    "\"jsonPath\":\".metadata.creationTimestamp\"},{\"name\":\"C\",\"type\":\"string\","
    "\"jsonPath\":\".spec.l[*].b\"}],\"schema\":{\"openAPIV3Schema\":{\"type\":"
    "\"object\","
    "\"properties\":{\"spec\":{\"type\":\"object\",\"required\":[\"i\"],\"properties\":{"
    "\"s\":{\"type\":\"string\",\"minLength\":1,\"maxLength\":5,\"pattern\":\"^(a|b)*$\"}"
    ","
    "\"i\":{\"type\":\"integer\",\"minimum\":-5,\"maximum\":500,\"multipleOf\":5,"
    "\"default\":5},"
    "\"n\":{\"type\":\"number\",\"nullable\":true,\"minimum\":0,\"exclusiveMinimum\":"
    "true},"
    "\"e\":{\"type\":\"string\",\"enum\":[\"x\",\"y\"],\"default\":\"x\"},"
    "\"v\":{\"x-kubernetes-int-or-string\":true},\"t\":{\"type\":\"string\",\"format\":"
    "\"date-time\"},\"q\":{\"type\":\"string\",\"format\":\"byte\"},"
    "\"l\":{\"type\":\"array\",\"maxItems\":4,\"x-kubernetes-list-type\":\"map\","
    "\"x-kubernetes-list-map-keys\":[\"a\"],\"items\":{\"type\":\"object\",\"required\":["
    "\"a\"],\"properties\":{\"a\":{\"type\":\"string\"},\"b\":{\"type\":\"boolean\","
    "\"default\":true}}}},\"set\":{\"type\":\"array\",\"x-kubernetes-list-type\":\"set\","
    "\"items\":{\"type\":\"string\"}},\"m\":{\"type\":\"object\",\"maxProperties\":3,"
    "\"additionalProperties\":{\"type\":\"integer\",\"format\":\"int32\"}},\"p\":{"
    "\"x-kubernetes-preserve-unknown-fields\":true},\"r\":{\"type\":\"object\","
    "\"x-kubernetes-embedded-resource\":true,\"x-kubernetes-preserve-unknown-fields\":"
    "true}"
    "}}}}}}]}}";

static const struct kind *
the_kind(void)
{
    static struct kind *k;
    auto_violations v = {0};
    struct error e = ERROR_INIT;
    json_error_t je;
    json_t *crd;

    if (k != NULL)
        return k;
    crd = json_loads(crd_text, 0, &je);
    bug_if(crd == NULL);
    bug_if(kind_compile(crd, NULL, &k, &v, &e) < 0);
    json_decref(crd);
    return k;
}

static void
check_object(const struct kind *k, const struct str *bytes)
{
    struct object *o = NULL, *copy;
    struct error e = ERROR_INIT;
    auto_str written = STR_INIT(1u << 22), canon = STR_INIT(1u << 22);
    struct selector *s = NULL;
    json_t *tree;

    if (object_new(k, bytes->ptr, bytes->len, 7, &o, &e) < 0) {
        bug_if(e.code != ERR_INVALID);
        return;
    }
    object_write(o, &written);
    bug_if(written.len != object_written_len(o));
    bug_if(jcanon(written.ptr, written.len, &canon, &e) < 0);
    bug_if(canon.len != written.len || memcmp(canon.ptr, written.ptr, canon.len) != 0);
    bug_if(object_from_json(k, written.ptr, written.len, &copy, &e) < 0);
    bug_if(copy->revision != 7 || copy->len != o->len ||
           memcmp(copy->bytes, o->bytes, o->len) != 0);
    bug_if(selector_parse_fields(k, "spec.s=a", &s, &e) < 0);
    selector_match(s, o);
    selector_free(s);
    tree = object_json(o);
    json_decref(tree);
    object_unref(copy);
    object_unref(o);
}

static void
check_doc(const struct str *bytes)
{
    struct doc d;
    struct error e = ERROR_INIT;
    auto_str once = STR_INIT(1u << 22), twice = STR_INIT(1u << 22),
             canon = STR_INIT(1u << 22);

    if (doc_parse(bytes->ptr, bytes->len, &d, &e) < 0)
        return;
    doc_write(&d, &once);
    bug_if(jcanon(once.ptr, once.len, &canon, &e) < 0);
    bug_if(canon.len != once.len || memcmp(canon.ptr, once.ptr, canon.len) != 0);
    bug_if(doc_parse(once.ptr, once.len, &d, &e) < 0);
    doc_write(&d, &twice);
    bug_if(once.len != twice.len || memcmp(once.ptr, twice.ptr, once.len) != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const struct kind *k = the_kind();
    auto_str out = STR_INIT(1u << 22), again = STR_INIT(1u << 22),
             canon = STR_INIT(1u << 22);
    auto_violations v = {0}, none = {0};
    struct error e = ERROR_INIT;
    struct span in = {(const char *)data, size};

    if (kind_decode(k, in, &out, &v, &e) < 0) {
        bug_if(out.len > 0 || e.msg[0] == '\0');
        bug_if(e.code == ERR_INVALID && violations_errors(&v) == 0);
        return 0;
    }
    bug_if(violations_errors(&v) > 0);
    bug_if(jcanon(out.ptr, out.len, &canon, &e) < 0);
    bug_if(canon.len != out.len || memcmp(canon.ptr, out.ptr, out.len) != 0);
    bug_if(kind_decode(k, (struct span){out.ptr, out.len}, &again, &none, &e) < 0);
    bug_if(none.list.len > 0);
    bug_if(again.len != out.len || memcmp(again.ptr, out.ptr, out.len) != 0);
    check_object(k, &out);
    check_doc(&out);
    return 0;
}
