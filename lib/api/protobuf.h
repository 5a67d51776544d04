/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Kubernetes' protobuf bodies as JSON. Typed clients (kubectl 1.32 and newer, helm,
 * client-go) send the built-in kinds this way and know no other. A body is the magic
 * "k8s\0" and a runtime.Unknown {typeMeta, raw}; raw is the message of the kind, read by
 * a table of its fields (generated.proto of k8s.io/api and apiextensions-apiserver). The
 * JSON is what the Go types marshal to, but for empty members, which are left out where
 * Go could not tell them from absent ones.
 *
 * Bounds: nesting 40, the output's own; time is linear in the body (n log n when fields
 * come out of order). Unknown fields are skipped, as everywhere in protobuf.
 */
#ifndef API_PROTOBUF_H
#define API_PROTOBUF_H

#include "base/error.h"
#include "base/str.h"

#define PROTOBUF_MEDIA_TYPE "application/vnd.kubernetes.protobuf"

/* Appends the JSON. ERR_BAD_REQUEST: not such a body; ERR_MEDIA_TYPE: a kind that has no
 * protobuf form here; ERR_TOO_LARGE: past out's bound. Any thread. */
int protobuf_to_json(struct span body, struct str *out, struct error *e) WARN_UNUSED;

#endif
