/* SPDX-License-Identifier: Apache-2.0 */
/* The fields of a CustomResourceDefinition: see protobuf_table.c. */
#include "api/protobuf_internal.h"
#include "base/cleanup.h"

static const struct pb_message m_crd_schema; /* holds itself */

static const struct pb_field crd_names_fields[] = {
    {1, "plural", PB_STRING, 0, NULL},
    {2, "singular", PB_STRING, 0, NULL},
    {3, "shortNames", PB_STRING, PB_LIST, NULL},
    {4, "kind", PB_STRING, 0, NULL},
    {5, "listKind", PB_STRING, 0, NULL},
    {6, "categories", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_crd_names = {crd_names_fields,
                                              ARRAY_LEN(crd_names_fields)};

static const struct pb_field crd_validation_fields[] = {
    {1, "openAPIV3Schema", PB_MESSAGE, PB_KEEP, &m_crd_schema},
};
static const struct pb_message m_crd_validation = {crd_validation_fields,
                                                   ARRAY_LEN(crd_validation_fields)};

static const struct pb_message m_empty = {NULL, 0};

static const struct pb_field crd_scale_fields[] = {
    {1, "specReplicasPath", PB_STRING, 0, NULL},
    {2, "statusReplicasPath", PB_STRING, 0, NULL},
    {3, "labelSelectorPath", PB_STRING, PB_KEEP, NULL},
};
static const struct pb_message m_crd_scale = {crd_scale_fields,
                                              ARRAY_LEN(crd_scale_fields)};

static const struct pb_field crd_subresources_fields[] = {
    {1, "status", PB_MESSAGE, PB_KEEP, &m_empty},
    {2, "scale", PB_MESSAGE, PB_KEEP, &m_crd_scale},
};
static const struct pb_message m_crd_subresources = {crd_subresources_fields,
                                                     ARRAY_LEN(crd_subresources_fields)};

static const struct pb_field crd_column_fields[] = {
    {1, "name", PB_STRING, 0, NULL},        {2, "type", PB_STRING, 0, NULL},
    {3, "format", PB_STRING, 0, NULL},      {4, "description", PB_STRING, 0, NULL},
    {5, "priority", PB_INT, PB_OMIT, NULL}, {6, "jsonPath", PB_STRING, 0, NULL},
};
static const struct pb_message m_crd_column = {crd_column_fields,
                                               ARRAY_LEN(crd_column_fields)};

static const struct pb_field crd_selectable_fields[] = {
    {1, "jsonPath", PB_STRING, 0, NULL},
};
static const struct pb_message m_crd_selectable = {crd_selectable_fields,
                                                   ARRAY_LEN(crd_selectable_fields)};

static const struct pb_field crd_version_fields[] = {
    {1, "name", PB_STRING, 0, NULL},
    {2, "served", PB_BOOL, 0, NULL},
    {3, "storage", PB_BOOL, 0, NULL},
    {4, "schema", PB_MESSAGE, 0, &m_crd_validation},
    {5, "subresources", PB_MESSAGE, 0, &m_crd_subresources},
    {6, "additionalPrinterColumns", PB_MESSAGE, PB_LIST, &m_crd_column},
    {7, "deprecated", PB_BOOL, 0, NULL},
    {8, "deprecationWarning", PB_STRING, PB_KEEP, NULL},
    {9, "selectableFields", PB_MESSAGE, PB_LIST, &m_crd_selectable},
};
static const struct pb_message m_crd_version = {crd_version_fields,
                                                ARRAY_LEN(crd_version_fields)};

static const struct pb_field crd_service_fields[] = {
    {1, "namespace", PB_STRING, 0, NULL},
    {2, "name", PB_STRING, 0, NULL},
    {3, "path", PB_STRING, PB_KEEP, NULL},
    {4, "port", PB_INT, 0, NULL},
};
static const struct pb_message m_crd_service = {crd_service_fields,
                                                ARRAY_LEN(crd_service_fields)};

static const struct pb_field crd_client_config_fields[] = {
    {1, "service", PB_MESSAGE, 0, &m_crd_service},
    {2, "caBundle", PB_BYTES, 0, NULL},
    {3, "url", PB_STRING, PB_KEEP, NULL},
};
static const struct pb_message m_crd_client_config = {
    crd_client_config_fields, ARRAY_LEN(crd_client_config_fields)};

static const struct pb_field crd_webhook_fields[] = {
    {2, "clientConfig", PB_MESSAGE, 0, &m_crd_client_config},
    {3, "conversionReviewVersions", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_crd_webhook = {crd_webhook_fields,
                                                ARRAY_LEN(crd_webhook_fields)};

static const struct pb_field crd_conversion_fields[] = {
    {1, "strategy", PB_STRING, 0, NULL},
    {2, "webhook", PB_MESSAGE, PB_KEEP, &m_crd_webhook},
};
static const struct pb_message m_crd_conversion = {crd_conversion_fields,
                                                   ARRAY_LEN(crd_conversion_fields)};

static const struct pb_field crd_spec_fields[] = {
    {1, "group", PB_STRING, 0, NULL},
    {3, "names", PB_MESSAGE, 0, &m_crd_names},
    {4, "scope", PB_STRING, 0, NULL},
    {7, "versions", PB_MESSAGE, PB_LIST, &m_crd_version},
    {9, "conversion", PB_MESSAGE, PB_KEEP, &m_crd_conversion},
    {10, "preserveUnknownFields", PB_BOOL, 0, NULL},
};
static const struct pb_message m_crd_spec = {crd_spec_fields, ARRAY_LEN(crd_spec_fields)};

static const struct pb_field crd_condition_fields[] = {
    {1, "type", PB_STRING, 0, NULL},
    {2, "status", PB_STRING, 0, NULL},
    {3, "lastTransitionTime", PB_TIME, 0, NULL},
    {4, "reason", PB_STRING, 0, NULL},
    {5, "message", PB_STRING, 0, NULL},
    {6, "observedGeneration", PB_INT, PB_OMIT, NULL},
};
static const struct pb_message m_crd_condition = {crd_condition_fields,
                                                  ARRAY_LEN(crd_condition_fields)};

static const struct pb_field crd_status_fields[] = {
    {1, "conditions", PB_MESSAGE, PB_LIST, &m_crd_condition},
    {2, "acceptedNames", PB_MESSAGE, 0, &m_crd_names},
    {3, "storedVersions", PB_STRING, PB_LIST, NULL},
    {4, "observedGeneration", PB_INT, PB_OMIT, NULL},
};
static const struct pb_message m_crd_status = {crd_status_fields,
                                               ARRAY_LEN(crd_status_fields)};

static const struct pb_field custom_resource_definition_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_crd_spec},
    {3, "status", PB_MESSAGE, 0, &m_crd_status},
};
const struct pb_message pb_crd = {custom_resource_definition_fields,
                                  ARRAY_LEN(custom_resource_definition_fields)};

static const struct pb_field crd_docs_fields[] = {
    {1, "description", PB_STRING, 0, NULL},
    {2, "url", PB_STRING, 0, NULL},
};
static const struct pb_message m_crd_docs = {crd_docs_fields, ARRAY_LEN(crd_docs_fields)};

static const struct pb_field crd_rule_fields[] = {
    {1, "rule", PB_STRING, 0, NULL},
    {2, "message", PB_STRING, 0, NULL},
    {3, "messageExpression", PB_STRING, 0, NULL},
    {4, "reason", PB_STRING, PB_KEEP, NULL},
    {5, "fieldPath", PB_STRING, 0, NULL},
    {6, "optionalOldSelf", PB_BOOL, 0, NULL},
};
static const struct pb_message m_crd_rule = {crd_rule_fields, ARRAY_LEN(crd_rule_fields)};

static const struct pb_field crd_schema_fields[] = {
    {1, "id", PB_STRING, 0, NULL},
    {2, "$schema", PB_STRING, 0, NULL},
    {3, "$ref", PB_STRING, PB_KEEP, NULL},
    {4, "description", PB_STRING, 0, NULL},
    {5, "type", PB_STRING, 0, NULL},
    {6, "format", PB_STRING, 0, NULL},
    {7, "title", PB_STRING, 0, NULL},
    {8, "default", PB_JSON, 0, NULL},
    {9, "maximum", PB_DOUBLE, 0, NULL},
    {10, "exclusiveMaximum", PB_BOOL, PB_OMIT, NULL},
    {11, "minimum", PB_DOUBLE, 0, NULL},
    {12, "exclusiveMinimum", PB_BOOL, PB_OMIT, NULL},
    {13, "maxLength", PB_INT, 0, NULL},
    {14, "minLength", PB_INT, 0, NULL},
    {15, "pattern", PB_STRING, 0, NULL},
    {16, "maxItems", PB_INT, 0, NULL},
    {17, "minItems", PB_INT, 0, NULL},
    {18, "uniqueItems", PB_BOOL, PB_OMIT, NULL},
    {19, "multipleOf", PB_DOUBLE, 0, NULL},
    {20, "enum", PB_JSON, PB_LIST, NULL},
    {21, "maxProperties", PB_INT, 0, NULL},
    {22, "minProperties", PB_INT, 0, NULL},
    {23, "required", PB_STRING, PB_LIST, NULL},
    {24, "items", PB_SCHEMA_OR_LIST, PB_KEEP, &m_crd_schema},
    {25, "allOf", PB_MESSAGE, PB_LIST, &m_crd_schema},
    {26, "oneOf", PB_MESSAGE, PB_LIST, &m_crd_schema},
    {27, "anyOf", PB_MESSAGE, PB_LIST, &m_crd_schema},
    {28, "not", PB_MESSAGE, PB_KEEP, &m_crd_schema},
    {29, "properties", PB_MESSAGE, PB_MAP, &m_crd_schema},
    {30, "additionalProperties", PB_SCHEMA_OR_BOOL, PB_KEEP, &m_crd_schema},
    {31, "patternProperties", PB_MESSAGE, PB_MAP, &m_crd_schema},
    {32, "dependencies", PB_MESSAGE, PB_MAP, &m_empty},
    {33, "additionalItems", PB_SCHEMA_OR_BOOL, PB_KEEP, &m_crd_schema},
    {34, "definitions", PB_MESSAGE, PB_MAP, &m_crd_schema},
    {35, "externalDocs", PB_MESSAGE, 0, &m_crd_docs},
    {36, "example", PB_JSON, 0, NULL},
    {37, "nullable", PB_BOOL, PB_OMIT, NULL},
    {38, "x-kubernetes-preserve-unknown-fields", PB_BOOL, 0, NULL},
    {39, "x-kubernetes-embedded-resource", PB_BOOL, PB_OMIT, NULL},
    {40, "x-kubernetes-int-or-string", PB_BOOL, PB_OMIT, NULL},
    {41, "x-kubernetes-list-map-keys", PB_STRING, PB_LIST, NULL},
    {42, "x-kubernetes-list-type", PB_STRING, PB_KEEP, NULL},
    {43, "x-kubernetes-map-type", PB_STRING, PB_KEEP, NULL},
    {44, "x-kubernetes-validations", PB_MESSAGE, PB_LIST, &m_crd_rule},
};
static const struct pb_message m_crd_schema = {crd_schema_fields,
                                               ARRAY_LEN(crd_schema_fields)};
