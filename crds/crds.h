/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The CustomResourceDefinition documents of this folder, compiled into the programs as
 * YAML bytes, so that a server needs no files beside its data directory.
 */
#ifndef CRDS_CRDS_H
#define CRDS_CRDS_H

#include <stddef.h>

struct crd_document {
    const char *name; /* file name without suffix; NULL ends the table */
    const unsigned char *bytes;
    size_t len;
};
extern const struct crd_document crd_documents[];

#endif
