/* SPDX-License-Identifier: Apache-2.0 */
/* Where the API server keeps its objects: the options, and opening the store by them. */
#ifndef HTTP_STORE_OPTIONS_H
#define HTTP_STORE_OPTIONS_H

#include "apiserver/store/store.h"
#include "apiserver/store/store_etcd.h"

struct store_options {
    const char *driver;  /* "files" or "etcd"; NULL: files */
    const char *compact; /* history kept in etcd: "5m"; "off": never compacted by us */
    struct store_etcd_opts etcd;
};
/* The options belong together and the store that is asked for exists. Sets o->etcd's
 * numbers. */
int store_options_check(struct store_options *o, struct error *e) WARN_UNUSED;
/* so with what the options add. */
int store_options_open(const struct store_options *o, struct loop *l,
                       const struct store_opts *so, struct store **ret,
                       struct error *e) WARN_UNUSED;

#endif
