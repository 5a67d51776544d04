/* SPDX-License-Identifier: Apache-2.0 */
/* Shared by the writers of the OpenAPI documents. */
#ifndef REGISTRY_OPENAPI_INTERNAL_H
#define REGISTRY_OPENAPI_INTERNAL_H

#include <jansson.h>

#include "apiserver/registry/kinds.h"
#include "base/vec.h"

/* The served kinds at one moment; references, so that the documents can be written on the
 * pool. */
struct openapi_kinds {
    vec(struct kind *) list;
};

#define OBJECT_META_NAME "io.k8s.apimachinery.pkg.apis.meta.v1.ObjectMeta"

/* "dev.drover.v1.Run". */
void openapi_name(const struct kind *k, struct str *out);
/* "/apis/drover.dev/v1/namespaces/{namespace}/runs/{name}" */
void openapi_path(const struct kind *k, struct str *out);
/* {"group":...,"kind":...,"version":...} */
json_t *openapi_gvk(const struct kind *k);
/* The kind's schema as published; metadata refers to ObjectMeta with the given prefix
 * ("#/definitions/"). */
json_t *openapi_schema(const struct kind *k, const char *ref_prefix);
json_t *openapi_object_meta(void);

/* Takes out of a schema, in place, what v2 cannot say. */
void openapi_v2_clean(json_t *schema);
json_t *openapi_v2_definition(const struct kind *k);
/* The OpenAPI v2 document of all kinds, as JSON. */
json_t *openapi_v2_tree(const struct openapi_kinds *kinds);
/* The OpenAPI v2 document of all kinds, in gnostic's protobuf encoding. */
void openapi_v2_write(const struct openapi_kinds *kinds, struct str *out);

#endif
