/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The fields of the messages that clients send: number, JSON name, type. Numbers are
 * those of generated.proto in k8s.io/api, apimachinery and apiextensions-apiserver; they
 * never change there.
 */
#include "api/protobuf_internal.h"
#include "base/mem.h"
#include "base/str.h"

static const struct pb_field owner_reference_fields[] = {
    {1, "kind", PB_STRING, 0, NULL},     {3, "name", PB_STRING, 0, NULL},
    {4, "uid", PB_STRING, 0, NULL},      {5, "apiVersion", PB_STRING, 0, NULL},
    {6, "controller", PB_BOOL, 0, NULL}, {7, "blockOwnerDeletion", PB_BOOL, 0, NULL},
};
static const struct pb_message m_owner_reference = {owner_reference_fields,
                                                    ARRAY_LEN(owner_reference_fields)};

static const struct pb_field managed_fields_entry_fields[] = {
    {1, "manager", PB_STRING, 0, NULL},     {2, "operation", PB_STRING, 0, NULL},
    {3, "apiVersion", PB_STRING, 0, NULL},  {4, "time", PB_TIME, 0, NULL},
    {6, "fieldsType", PB_STRING, 0, NULL},  {7, "fieldsV1", PB_JSON, 0, NULL},
    {8, "subresource", PB_STRING, 0, NULL},
};
static const struct pb_message m_managed_fields_entry = {
    managed_fields_entry_fields, ARRAY_LEN(managed_fields_entry_fields)};

static const struct pb_field object_meta_fields[] = {
    {1, "name", PB_STRING, 0, NULL},
    {2, "generateName", PB_STRING, 0, NULL},
    {3, "namespace", PB_STRING, 0, NULL},
    {4, "selfLink", PB_STRING, 0, NULL},
    {5, "uid", PB_STRING, 0, NULL},
    {6, "resourceVersion", PB_STRING, 0, NULL},
    {7, "generation", PB_INT, PB_OMIT, NULL},
    {8, "creationTimestamp", PB_TIME, 0, NULL},
    {9, "deletionTimestamp", PB_TIME, 0, NULL},
    {10, "deletionGracePeriodSeconds", PB_INT, 0, NULL},
    {11, "labels", PB_STRING, PB_MAP, NULL},
    {12, "annotations", PB_STRING, PB_MAP, NULL},
    {13, "ownerReferences", PB_MESSAGE, PB_LIST, &m_owner_reference},
    {14, "finalizers", PB_STRING, PB_LIST, NULL},
    {17, "managedFields", PB_MESSAGE, PB_LIST, &m_managed_fields_entry},
};
const struct pb_message pb_object_meta = {object_meta_fields,
                                          ARRAY_LEN(object_meta_fields)};

static const struct pb_field preconditions_fields[] = {
    {1, "uid", PB_STRING, 0, NULL},
    {2, "resourceVersion", PB_STRING, 0, NULL},
};
static const struct pb_message m_preconditions = {preconditions_fields,
                                                  ARRAY_LEN(preconditions_fields)};

static const struct pb_field delete_options_fields[] = {
    {1, "gracePeriodSeconds", PB_INT, 0, NULL},
    {2, "preconditions", PB_MESSAGE, 0, &m_preconditions},
    {3, "orphanDependents", PB_BOOL, 0, NULL},
    {4, "propagationPolicy", PB_STRING, 0, NULL},
    {5, "dryRun", PB_STRING, PB_LIST, NULL},
    {6, "ignoreStoreReadErrorWithClusterBreakingPotential", PB_BOOL, 0, NULL},
};
static const struct pb_message m_delete_options = {delete_options_fields,
                                                   ARRAY_LEN(delete_options_fields)};

static const struct pb_field label_selector_requirement_fields[] = {
    {1, "key", PB_STRING, 0, NULL},
    {2, "operator", PB_STRING, 0, NULL},
    {3, "values", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_label_selector_requirement = {
    label_selector_requirement_fields, ARRAY_LEN(label_selector_requirement_fields)};

static const struct pb_field label_selector_fields[] = {
    {1, "matchLabels", PB_STRING, PB_MAP, NULL},
    {2, "matchExpressions", PB_MESSAGE, PB_LIST, &m_label_selector_requirement},
};
static const struct pb_message m_label_selector = {label_selector_fields,
                                                   ARRAY_LEN(label_selector_fields)};

static const struct pb_field namespace_spec_fields[] = {
    {1, "finalizers", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_namespace_spec = {namespace_spec_fields,
                                                   ARRAY_LEN(namespace_spec_fields)};

static const struct pb_field namespace_condition_fields[] = {
    {1, "type", PB_STRING, 0, NULL},
    {2, "status", PB_STRING, 0, NULL},
    {4, "lastTransitionTime", PB_TIME, 0, NULL},
    {5, "reason", PB_STRING, 0, NULL},
    {6, "message", PB_STRING, 0, NULL},
};
static const struct pb_message m_namespace_condition = {
    namespace_condition_fields, ARRAY_LEN(namespace_condition_fields)};

static const struct pb_field namespace_status_fields[] = {
    {1, "phase", PB_STRING, 0, NULL},
    {2, "conditions", PB_MESSAGE, PB_LIST, &m_namespace_condition},
};
static const struct pb_message m_namespace_status = {namespace_status_fields,
                                                     ARRAY_LEN(namespace_status_fields)};

static const struct pb_field namespace_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_namespace_spec},
    {3, "status", PB_MESSAGE, 0, &m_namespace_status},
};
static const struct pb_message m_namespace = {namespace_fields,
                                              ARRAY_LEN(namespace_fields)};

static const struct pb_field config_map_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "data", PB_STRING, PB_MAP, NULL},
    {3, "binaryData", PB_BYTES, PB_MAP, NULL},
    {4, "immutable", PB_BOOL, 0, NULL},
};
static const struct pb_message m_config_map = {config_map_fields,
                                               ARRAY_LEN(config_map_fields)};

static const struct pb_field secret_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "data", PB_BYTES, PB_MAP, NULL},
    {3, "type", PB_STRING, 0, NULL},
    {4, "stringData", PB_STRING, PB_MAP, NULL},
    {5, "immutable", PB_BOOL, 0, NULL},
};
static const struct pb_message m_secret = {secret_fields, ARRAY_LEN(secret_fields)};

static const struct pb_field object_reference_fields[] = {
    {1, "kind", PB_STRING, 0, NULL},       {2, "namespace", PB_STRING, 0, NULL},
    {3, "name", PB_STRING, 0, NULL},       {4, "uid", PB_STRING, 0, NULL},
    {5, "apiVersion", PB_STRING, 0, NULL}, {6, "resourceVersion", PB_STRING, 0, NULL},
    {7, "fieldPath", PB_STRING, 0, NULL},
};
static const struct pb_message m_object_reference = {object_reference_fields,
                                                     ARRAY_LEN(object_reference_fields)};

static const struct pb_field local_object_reference_fields[] = {
    {1, "name", PB_STRING, 0, NULL},
};
static const struct pb_message m_local_object_reference = {
    local_object_reference_fields, ARRAY_LEN(local_object_reference_fields)};

static const struct pb_field service_account_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "secrets", PB_MESSAGE, PB_LIST, &m_object_reference},
    {3, "imagePullSecrets", PB_MESSAGE, PB_LIST, &m_local_object_reference},
    {4, "automountServiceAccountToken", PB_BOOL, 0, NULL},
};
static const struct pb_message m_service_account = {service_account_fields,
                                                    ARRAY_LEN(service_account_fields)};

static const struct pb_field event_source_fields[] = {
    {1, "component", PB_STRING, 0, NULL},
    {2, "host", PB_STRING, 0, NULL},
};
static const struct pb_message m_event_source = {event_source_fields,
                                                 ARRAY_LEN(event_source_fields)};

static const struct pb_field event_series_fields[] = {
    {1, "count", PB_INT, PB_OMIT, NULL},
    {2, "lastObservedTime", PB_MICRO_TIME, 0, NULL},
};
static const struct pb_message m_event_series = {event_series_fields,
                                                 ARRAY_LEN(event_series_fields)};

static const struct pb_field event_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "involvedObject", PB_MESSAGE, 0, &m_object_reference},
    {3, "reason", PB_STRING, 0, NULL},
    {4, "message", PB_STRING, 0, NULL},
    {5, "source", PB_MESSAGE, 0, &m_event_source},
    {6, "firstTimestamp", PB_TIME, 0, NULL},
    {7, "lastTimestamp", PB_TIME, 0, NULL},
    {8, "count", PB_INT, PB_OMIT, NULL},
    {9, "type", PB_STRING, 0, NULL},
    {10, "eventTime", PB_MICRO_TIME, 0, NULL},
    {11, "series", PB_MESSAGE, 0, &m_event_series},
    {12, "action", PB_STRING, 0, NULL},
    {13, "related", PB_MESSAGE, 0, &m_object_reference},
    {14, "reportingComponent", PB_STRING, 0, NULL},
    {15, "reportingInstance", PB_STRING, 0, NULL},
};
static const struct pb_message m_event = {event_fields, ARRAY_LEN(event_fields)};

static const struct pb_field new_event_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "eventTime", PB_MICRO_TIME, 0, NULL},
    {3, "series", PB_MESSAGE, 0, &m_event_series},
    {4, "reportingController", PB_STRING, 0, NULL},
    {5, "reportingInstance", PB_STRING, 0, NULL},
    {6, "action", PB_STRING, 0, NULL},
    {7, "reason", PB_STRING, 0, NULL},
    {8, "regarding", PB_MESSAGE, 0, &m_object_reference},
    {9, "related", PB_MESSAGE, 0, &m_object_reference},
    {10, "note", PB_STRING, 0, NULL},
    {11, "type", PB_STRING, 0, NULL},
    {12, "deprecatedSource", PB_MESSAGE, 0, &m_event_source},
    {13, "deprecatedFirstTimestamp", PB_TIME, 0, NULL},
    {14, "deprecatedLastTimestamp", PB_TIME, 0, NULL},
    {15, "deprecatedCount", PB_INT, PB_OMIT, NULL},
};
static const struct pb_message m_new_event = {new_event_fields,
                                              ARRAY_LEN(new_event_fields)};

static const struct pb_field lease_spec_fields[] = {
    {1, "holderIdentity", PB_STRING, PB_KEEP, NULL},
    {2, "leaseDurationSeconds", PB_INT, 0, NULL},
    {3, "acquireTime", PB_MICRO_TIME, 0, NULL},
    {4, "renewTime", PB_MICRO_TIME, 0, NULL},
    {5, "leaseTransitions", PB_INT, 0, NULL},
    {6, "strategy", PB_STRING, 0, NULL},
    {7, "preferredHolder", PB_STRING, 0, NULL},
};
static const struct pb_message m_lease_spec = {lease_spec_fields,
                                               ARRAY_LEN(lease_spec_fields)};

static const struct pb_field lease_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_lease_spec},
};
static const struct pb_message m_lease = {lease_fields, ARRAY_LEN(lease_fields)};

static const struct pb_field priority_class_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "value", PB_INT, 0, NULL},
    {3, "globalDefault", PB_BOOL, 0, NULL},
    {4, "description", PB_STRING, 0, NULL},
    {5, "preemptionPolicy", PB_STRING, 0, NULL},
};
static const struct pb_message m_priority_class = {priority_class_fields,
                                                   ARRAY_LEN(priority_class_fields)};

static const struct pb_field policy_rule_fields[] = {
    {1, "verbs", PB_STRING, PB_LIST, NULL},
    {2, "apiGroups", PB_STRING, PB_LIST, NULL},
    {3, "resources", PB_STRING, PB_LIST, NULL},
    {4, "resourceNames", PB_STRING, PB_LIST, NULL},
    {5, "nonResourceURLs", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_policy_rule = {policy_rule_fields,
                                                ARRAY_LEN(policy_rule_fields)};

static const struct pb_field role_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "rules", PB_MESSAGE, PB_LIST, &m_policy_rule},
};
static const struct pb_message m_role = {role_fields, ARRAY_LEN(role_fields)};

static const struct pb_field aggregation_rule_fields[] = {
    {1, "clusterRoleSelectors", PB_MESSAGE, PB_LIST, &m_label_selector},
};
static const struct pb_message m_aggregation_rule = {aggregation_rule_fields,
                                                     ARRAY_LEN(aggregation_rule_fields)};

static const struct pb_field cluster_role_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "rules", PB_MESSAGE, PB_LIST, &m_policy_rule},
    {3, "aggregationRule", PB_MESSAGE, 0, &m_aggregation_rule},
};
static const struct pb_message m_cluster_role = {cluster_role_fields,
                                                 ARRAY_LEN(cluster_role_fields)};

static const struct pb_field subject_fields[] = {
    {1, "kind", PB_STRING, 0, NULL},
    {2, "apiGroup", PB_STRING, 0, NULL},
    {3, "name", PB_STRING, 0, NULL},
    {4, "namespace", PB_STRING, 0, NULL},
};
static const struct pb_message m_subject = {subject_fields, ARRAY_LEN(subject_fields)};

static const struct pb_field role_ref_fields[] = {
    {1, "apiGroup", PB_STRING, 0, NULL},
    {2, "kind", PB_STRING, 0, NULL},
    {3, "name", PB_STRING, 0, NULL},
};
static const struct pb_message m_role_ref = {role_ref_fields, ARRAY_LEN(role_ref_fields)};

static const struct pb_field role_binding_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "subjects", PB_MESSAGE, PB_LIST, &m_subject},
    {3, "roleRef", PB_MESSAGE, 0, &m_role_ref},
};
static const struct pb_message m_role_binding = {role_binding_fields,
                                                 ARRAY_LEN(role_binding_fields)};

static const struct pb_field cluster_role_binding_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "subjects", PB_MESSAGE, PB_LIST, &m_subject},
    {3, "roleRef", PB_MESSAGE, 0, &m_role_ref},
};
static const struct pb_message m_cluster_role_binding = {
    cluster_role_binding_fields, ARRAY_LEN(cluster_role_binding_fields)};

static const struct pb_field field_selector_requirement_fields[] = {
    {1, "key", PB_STRING, 0, NULL},
    {2, "operator", PB_STRING, 0, NULL},
    {3, "values", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_field_selector_requirement = {
    field_selector_requirement_fields, ARRAY_LEN(field_selector_requirement_fields)};

static const struct pb_field field_selector_attributes_fields[] = {
    {1, "rawSelector", PB_STRING, 0, NULL},
    {2, "requirements", PB_MESSAGE, PB_LIST, &m_field_selector_requirement},
};
static const struct pb_message m_field_selector_attributes = {
    field_selector_attributes_fields, ARRAY_LEN(field_selector_attributes_fields)};

static const struct pb_field label_selector_attributes_fields[] = {
    {1, "rawSelector", PB_STRING, 0, NULL},
    {2, "requirements", PB_MESSAGE, PB_LIST, &m_label_selector_requirement},
};
static const struct pb_message m_label_selector_attributes = {
    label_selector_attributes_fields, ARRAY_LEN(label_selector_attributes_fields)};

static const struct pb_field resource_attributes_fields[] = {
    {1, "namespace", PB_STRING, 0, NULL},
    {2, "verb", PB_STRING, 0, NULL},
    {3, "group", PB_STRING, 0, NULL},
    {4, "version", PB_STRING, 0, NULL},
    {5, "resource", PB_STRING, 0, NULL},
    {6, "subresource", PB_STRING, 0, NULL},
    {7, "name", PB_STRING, 0, NULL},
    {8, "fieldSelector", PB_MESSAGE, 0, &m_field_selector_attributes},
    {9, "labelSelector", PB_MESSAGE, 0, &m_label_selector_attributes},
};
static const struct pb_message m_resource_attributes = {
    resource_attributes_fields, ARRAY_LEN(resource_attributes_fields)};

static const struct pb_field non_resource_attributes_fields[] = {
    {1, "path", PB_STRING, 0, NULL},
    {2, "verb", PB_STRING, 0, NULL},
};
static const struct pb_message m_non_resource_attributes = {
    non_resource_attributes_fields, ARRAY_LEN(non_resource_attributes_fields)};

static const struct pb_field subject_access_review_spec_fields[] = {
    {1, "resourceAttributes", PB_MESSAGE, 0, &m_resource_attributes},
    {2, "nonResourceAttributes", PB_MESSAGE, 0, &m_non_resource_attributes},
    {3, "user", PB_STRING, 0, NULL},
    {4, "groups", PB_STRING, PB_LIST, NULL},
    {5, "extra", PB_STRINGS, PB_MAP, NULL},
    {6, "uid", PB_STRING, 0, NULL},
};
static const struct pb_message m_subject_access_review_spec = {
    subject_access_review_spec_fields, ARRAY_LEN(subject_access_review_spec_fields)};

static const struct pb_field subject_access_review_status_fields[] = {
    {1, "allowed", PB_BOOL, 0, NULL},
    {2, "reason", PB_STRING, 0, NULL},
    {3, "evaluationError", PB_STRING, 0, NULL},
    {4, "denied", PB_BOOL, PB_OMIT, NULL},
};
static const struct pb_message m_subject_access_review_status = {
    subject_access_review_status_fields, ARRAY_LEN(subject_access_review_status_fields)};

static const struct pb_field subject_access_review_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_subject_access_review_spec},
    {3, "status", PB_MESSAGE, 0, &m_subject_access_review_status},
};
static const struct pb_message m_subject_access_review = {
    subject_access_review_fields, ARRAY_LEN(subject_access_review_fields)};

static const struct pb_field self_subject_access_review_spec_fields[] = {
    {1, "resourceAttributes", PB_MESSAGE, 0, &m_resource_attributes},
    {2, "nonResourceAttributes", PB_MESSAGE, 0, &m_non_resource_attributes},
};
static const struct pb_message m_self_subject_access_review_spec = {
    self_subject_access_review_spec_fields,
    ARRAY_LEN(self_subject_access_review_spec_fields)};

static const struct pb_field self_subject_access_review_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_self_subject_access_review_spec},
    {3, "status", PB_MESSAGE, 0, &m_subject_access_review_status},
};
static const struct pb_message m_self_subject_access_review = {
    self_subject_access_review_fields, ARRAY_LEN(self_subject_access_review_fields)};

static const struct pb_field local_subject_access_review_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_subject_access_review_spec},
    {3, "status", PB_MESSAGE, 0, &m_subject_access_review_status},
};
static const struct pb_message m_local_subject_access_review = {
    local_subject_access_review_fields, ARRAY_LEN(local_subject_access_review_fields)};

static const struct pb_field self_subject_rules_review_spec_fields[] = {
    {1, "namespace", PB_STRING, 0, NULL},
};
static const struct pb_message m_self_subject_rules_review_spec = {
    self_subject_rules_review_spec_fields,
    ARRAY_LEN(self_subject_rules_review_spec_fields)};

static const struct pb_field resource_rule_fields[] = {
    {1, "verbs", PB_STRING, PB_LIST, NULL},
    {2, "apiGroups", PB_STRING, PB_LIST, NULL},
    {3, "resources", PB_STRING, PB_LIST, NULL},
    {4, "resourceNames", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_resource_rule = {resource_rule_fields,
                                                  ARRAY_LEN(resource_rule_fields)};

static const struct pb_field non_resource_rule_fields[] = {
    {1, "verbs", PB_STRING, PB_LIST, NULL},
    {2, "nonResourceURLs", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_non_resource_rule = {
    non_resource_rule_fields, ARRAY_LEN(non_resource_rule_fields)};

static const struct pb_field subject_rules_review_status_fields[] = {
    {1, "resourceRules", PB_MESSAGE, PB_LIST, &m_resource_rule},
    {2, "nonResourceRules", PB_MESSAGE, PB_LIST, &m_non_resource_rule},
    {3, "incomplete", PB_BOOL, 0, NULL},
    {4, "evaluationError", PB_STRING, 0, NULL},
};
static const struct pb_message m_subject_rules_review_status = {
    subject_rules_review_status_fields, ARRAY_LEN(subject_rules_review_status_fields)};

static const struct pb_field self_subject_rules_review_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_self_subject_rules_review_spec},
    {3, "status", PB_MESSAGE, 0, &m_subject_rules_review_status},
};
static const struct pb_message m_self_subject_rules_review = {
    self_subject_rules_review_fields, ARRAY_LEN(self_subject_rules_review_fields)};

static const struct pb_field user_info_fields[] = {
    {1, "username", PB_STRING, 0, NULL},
    {2, "uid", PB_STRING, 0, NULL},
    {3, "groups", PB_STRING, PB_LIST, NULL},
    {4, "extra", PB_STRINGS, PB_MAP, NULL},
};
static const struct pb_message m_user_info = {user_info_fields,
                                              ARRAY_LEN(user_info_fields)};

static const struct pb_field self_subject_review_status_fields[] = {
    {1, "userInfo", PB_MESSAGE, 0, &m_user_info},
};
static const struct pb_message m_self_subject_review_status = {
    self_subject_review_status_fields, ARRAY_LEN(self_subject_review_status_fields)};

static const struct pb_field self_subject_review_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "status", PB_MESSAGE, 0, &m_self_subject_review_status},
};
static const struct pb_message m_self_subject_review = {
    self_subject_review_fields, ARRAY_LEN(self_subject_review_fields)};

static const struct pb_field bound_object_reference_fields[] = {
    {1, "kind", PB_STRING, 0, NULL},
    {2, "apiVersion", PB_STRING, 0, NULL},
    {3, "name", PB_STRING, 0, NULL},
    {4, "uid", PB_STRING, 0, NULL},
};
static const struct pb_message m_bound_object_reference = {
    bound_object_reference_fields, ARRAY_LEN(bound_object_reference_fields)};

static const struct pb_field token_request_spec_fields[] = {
    {1, "audiences", PB_STRING, PB_LIST, NULL},
    {3, "boundObjectRef", PB_MESSAGE, 0, &m_bound_object_reference},
    {4, "expirationSeconds", PB_INT, 0, NULL},
    {5, "attestations", PB_STRINGS, PB_MAP, NULL},
};
static const struct pb_message m_token_request_spec = {
    token_request_spec_fields, ARRAY_LEN(token_request_spec_fields)};

static const struct pb_field token_request_status_fields[] = {
    {1, "token", PB_STRING, 0, NULL},
    {2, "expirationTimestamp", PB_TIME, 0, NULL},
};
static const struct pb_message m_token_request_status = {
    token_request_status_fields, ARRAY_LEN(token_request_status_fields)};

static const struct pb_field token_request_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_token_request_spec},
    {3, "status", PB_MESSAGE, 0, &m_token_request_status},
};
static const struct pb_message m_token_request = {token_request_fields,
                                                  ARRAY_LEN(token_request_fields)};

static const struct pb_field token_review_spec_fields[] = {
    {1, "token", PB_STRING, 0, NULL},
    {2, "audiences", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_token_review_spec = {
    token_review_spec_fields, ARRAY_LEN(token_review_spec_fields)};

static const struct pb_field token_review_status_fields[] = {
    {1, "authenticated", PB_BOOL, PB_OMIT, NULL},
    {2, "user", PB_MESSAGE, 0, &m_user_info},
    {3, "error", PB_STRING, 0, NULL},
    {4, "audiences", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_token_review_status = {
    token_review_status_fields, ARRAY_LEN(token_review_status_fields)};

static const struct pb_field token_review_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_token_review_spec},
    {3, "status", PB_MESSAGE, 0, &m_token_review_status},
};
static const struct pb_message m_token_review = {token_review_fields,
                                                 ARRAY_LEN(token_review_fields)};

static const struct pb_field scale_spec_fields[] = {
    {1, "replicas", PB_INT, 0, NULL},
};
static const struct pb_message m_scale_spec = {scale_spec_fields,
                                               ARRAY_LEN(scale_spec_fields)};

static const struct pb_field scale_status_fields[] = {
    {1, "replicas", PB_INT, 0, NULL},
    {2, "selector", PB_STRING, 0, NULL},
};
static const struct pb_message m_scale_status = {scale_status_fields,
                                                 ARRAY_LEN(scale_status_fields)};

static const struct pb_field scale_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_scale_spec},
    {3, "status", PB_MESSAGE, 0, &m_scale_status},
};
static const struct pb_message m_scale = {scale_fields, ARRAY_LEN(scale_fields)};

static const struct pb_field scope_requirement_fields[] = {
    {1, "scopeName", PB_STRING, 0, NULL},
    {2, "operator", PB_STRING, 0, NULL},
    {3, "values", PB_STRING, PB_LIST, NULL},
};
static const struct pb_message m_scope_requirement = {
    scope_requirement_fields, ARRAY_LEN(scope_requirement_fields)};

static const struct pb_field scope_selector_fields[] = {
    {1, "matchExpressions", PB_MESSAGE, PB_LIST, &m_scope_requirement},
};
static const struct pb_message m_scope_selector = {scope_selector_fields,
                                                   ARRAY_LEN(scope_selector_fields)};

static const struct pb_field resource_quota_spec_fields[] = {
    {1, "hard", PB_QUANTITY, PB_MAP, NULL},
    {2, "scopes", PB_STRING, PB_LIST, NULL},
    {3, "scopeSelector", PB_MESSAGE, 0, &m_scope_selector},
};
static const struct pb_message m_resource_quota_spec = {
    resource_quota_spec_fields, ARRAY_LEN(resource_quota_spec_fields)};

static const struct pb_field resource_quota_status_fields[] = {
    {1, "hard", PB_QUANTITY, PB_MAP, NULL},
    {2, "used", PB_QUANTITY, PB_MAP, NULL},
};
static const struct pb_message m_resource_quota_status = {
    resource_quota_status_fields, ARRAY_LEN(resource_quota_status_fields)};

static const struct pb_field resource_quota_fields[] = {
    {1, "metadata", PB_MESSAGE, 0, &pb_object_meta},
    {2, "spec", PB_MESSAGE, 0, &m_resource_quota_spec},
    {3, "status", PB_MESSAGE, 0, &m_resource_quota_status},
};
static const struct pb_message m_resource_quota = {resource_quota_fields,
                                                   ARRAY_LEN(resource_quota_fields)};

static const struct pb_field patch_options_fields[] = {
    {1, "dryRun", PB_STRING, PB_LIST, NULL},
    {2, "force", PB_BOOL, 0, NULL},
    {3, "fieldManager", PB_STRING, 0, NULL},
    {4, "fieldValidation", PB_STRING, 0, NULL},
};
static const struct pb_message m_patch_options = {patch_options_fields,
                                                  ARRAY_LEN(patch_options_fields)};

static const struct pb_field create_options_fields[] = {
    {1, "dryRun", PB_STRING, PB_LIST, NULL},
    {3, "fieldManager", PB_STRING, 0, NULL},
    {4, "fieldValidation", PB_STRING, 0, NULL},
};
static const struct pb_message m_create_options = {create_options_fields,
                                                   ARRAY_LEN(create_options_fields)};

static const struct pb_field update_options_fields[] = {
    {1, "dryRun", PB_STRING, PB_LIST, NULL},
    {2, "fieldManager", PB_STRING, 0, NULL},
    {3, "fieldValidation", PB_STRING, 0, NULL},
};
static const struct pb_message m_update_options = {update_options_fields,
                                                   ARRAY_LEN(update_options_fields)};

struct root {
    const char *api_version; /* NULL: any, options are sent in the group of their call */
    const char *kind;
    const struct pb_message *message;
};

static const struct root roots[] = {
    {"v1", "Namespace", &m_namespace},
    {"v1", "ConfigMap", &m_config_map},
    {"v1", "Secret", &m_secret},
    {"v1", "ServiceAccount", &m_service_account},
    {"v1", "Event", &m_event},
    {"v1", "ResourceQuota", &m_resource_quota},
    {"events.k8s.io/v1", "Event", &m_new_event},
    {"coordination.k8s.io/v1", "Lease", &m_lease},
    {"scheduling.k8s.io/v1", "PriorityClass", &m_priority_class},
    {"rbac.authorization.k8s.io/v1", "Role", &m_role},
    {"rbac.authorization.k8s.io/v1", "ClusterRole", &m_cluster_role},
    {"rbac.authorization.k8s.io/v1", "RoleBinding", &m_role_binding},
    {"rbac.authorization.k8s.io/v1", "ClusterRoleBinding", &m_cluster_role_binding},
    {"authorization.k8s.io/v1", "SubjectAccessReview", &m_subject_access_review},
    {"authorization.k8s.io/v1", "SelfSubjectAccessReview", &m_self_subject_access_review},
    {"authorization.k8s.io/v1", "LocalSubjectAccessReview",
     &m_local_subject_access_review},
    {"authorization.k8s.io/v1", "SelfSubjectRulesReview", &m_self_subject_rules_review},
    {"authentication.k8s.io/v1", "SelfSubjectReview", &m_self_subject_review},
    {"authentication.k8s.io/v1", "TokenRequest", &m_token_request},
    {"authentication.k8s.io/v1", "TokenReview", &m_token_review},
    {"autoscaling/v1", "Scale", &m_scale},
    {"apiextensions.k8s.io/v1", "CustomResourceDefinition", &pb_crd},
    {NULL, "DeleteOptions", &m_delete_options},
    {NULL, "PatchOptions", &m_patch_options},
    {NULL, "CreateOptions", &m_create_options},
    {NULL, "UpdateOptions", &m_update_options},
};

const struct pb_message *
pb_message_of(const char *api_version, const char *kind)
{
    for (size_t i = 0; i < ARRAY_LEN(roots); i++) {
        const struct root *r = &roots[i];
        if (streq(r->kind, kind) &&
            (r->api_version == NULL || streq(r->api_version, api_version)))
            return r->message;
    }
    return NULL;
}
