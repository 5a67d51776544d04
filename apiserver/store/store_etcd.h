/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Options of the etcd driver: the store in an etcd cluster (3.4 or newer) through its
 * JSON gateway, shared by any number of API servers with the same prefix. What stands
 * where in etcd, and what the driver relies on: docs/formats/store-etcd.md.
 *
 * With struct store_opts.etcd set, store_open connects and loads by turning the loop
 * until it is done or load_ms have passed; so it must not be called from a callback.
 */
#ifndef APISERVER_STORE_ETCD_H
#define APISERVER_STORE_ETCD_H

#include <stdint.h>

struct store_etcd_opts {
    const char *endpoints; /* "https://a:2379,https://b:2379"; one is used at a time */
    const char *prefix;    /* NULL: "/drover". Nothing else may write below it */
    /* PEM files; NULL: the system's certificates, no client certificate. */
    const char *ca_file, *cert_file, *key_file;
    const char *user, *password_file; /* NULL: etcd without authentication */
    int64_t attempt_ms;               /* for one endpoint to answer; 0: 3 s */
    int64_t deadline_ms;              /* for a commit or barrier; 0: 10 s */
    int64_t load_ms;                  /* for store_open; 0: 60 s */
    int64_t compact_ms; /* history kept, at least; 0: 5 min; -1: not compacted by us */
    int64_t beat_ms;    /* between signs of life of an idle watch; 0: 5 s */
};

#endif
