/* SPDX-License-Identifier: Apache-2.0 */
/* Query options of the verbs, parsed and checked. Strings are borrowed from the request.
 */
#ifndef REGISTRY_OPTIONS_H
#define REGISTRY_OPTIONS_H

#include "apiserver/registry/problem.h"
#include "apiserver/registry/request.h"

struct write_options {
    bool dry_run, force;
    enum field_validation validation;
    char manager[129]; /* fieldManager, or the User-Agent up to '/' */
    bool manager_given;
};
int write_options_parse(const struct api_call *c, struct write_options *ret,
                        struct problem *p) WARN_UNUSED;

enum rv_match { RV_MATCH_UNSET, RV_MATCH_EXACT, RV_MATCH_NOT_OLDER };
struct list_options {
    bool watch, bookmarks, send_initial_given, send_initial;
    int64_t limit;     /* 0: none */
    int64_t timeout_s; /* 0: not given */
    const char *cont, *label, *field;
    bool rv_given;
    uint64_t rv;
    enum rv_match match;
};
int list_options_parse(const struct api_call *c, struct list_options *ret,
                       struct problem *p) WARN_UNUSED;

/* The option timeout=, a Go duration: how long the client means to wait. Only checked. */
int timeout_check(const struct api_call *c, struct problem *p) WARN_UNUSED;

/* What representation the Accept header asks for. */
enum accept_form { ACCEPT_JSON, ACCEPT_TABLE, ACCEPT_PARTIAL, ACCEPT_PARTIAL_LIST };
struct accept {
    enum accept_form form;
    const char *version; /* "v1" or "v1beta1" of meta.k8s.io */
};
/* ERR_NOT_ACCEPTABLE when no clause can be served. */
int accept_parse(const char *header, struct accept *ret, struct problem *p) WARN_UNUSED;
/* The first clause that asks for aggregated discovery: "v2", "v2beta1", or NULL. */
const char *accept_discovery(const char *header);
/* Some clause takes an object as it is, in JSON. */
bool accept_plain_json(const char *header);
bool accept_has(const char *header, const char *media_type);

enum include_object { INCLUDE_METADATA, INCLUDE_NONE, INCLUDE_OBJECT };
int include_parse(const struct api_call *c, enum include_object *ret,
                  struct problem *p) WARN_UNUSED;

#endif
