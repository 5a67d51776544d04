/* SPDX-License-Identifier: Apache-2.0 */
/* The table of messages, shared by protobuf.c and protobuf_table.c. */
#ifndef API_PROTOBUF_INTERNAL_H
#define API_PROTOBUF_INTERNAL_H

#include <stddef.h>
#include <stdint.h>

enum pb_type {
    PB_STRING,
    PB_BYTES, /* -> base64 */
    PB_INT,
    PB_BOOL,
    PB_DOUBLE,
    PB_MESSAGE,
    PB_TIME,           /* {1 seconds, 2 nanos} -> RFC 3339, seconds */
    PB_MICRO_TIME,     /* the same, microseconds */
    PB_JSON,           /* {1 raw} that holds JSON */
    PB_QUANTITY,       /* {1 string} */
    PB_STRINGS,        /* {1 items[]} -> an array */
    PB_SCHEMA_OR_LIST, /* JSONSchemaPropsOrArray {1 schema, 2 schemas[]} */
    PB_SCHEMA_OR_BOOL, /* JSONSchemaPropsOrBool {1 allows, 2 schema} */
};

enum {
    PB_LIST = 1,
    PB_MAP = 2,  /* string -> this type */
    PB_KEEP = 4, /* a pointer in Go: present and empty is not absent */
    PB_OMIT = 8, /* 0 and false are left out, as Go leaves them out of JSON */
};

struct pb_message;
struct pb_field {
    uint32_t number;
    const char *name; /* in JSON */
    enum pb_type type;
    unsigned flags;
    const struct pb_message *message;
};
struct pb_message {
    const struct pb_field *fields; /* by number */
    size_t n;
};

extern const struct pb_message pb_object_meta, pb_crd;
/* NULL: none. */
const struct pb_message *pb_message_of(const char *api_version, const char *kind);

#endif
