/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Uploaded code and files: <data>/blobs/<namespace>/<sha256 of the bytes>. A blob that is
 * being uploaded is <hash>.part; it gets its name once its bytes have the hash and are on
 * disk. Nothing ever changes a blob.
 *
 *   PUT  .../namespaces/<ns>/blobs/sha256:<hex>?offset=N&size=TOTAL   next bytes
 *        202 {"offset":M} go on at M; 201 whole and good; 200 it was there already;
 *        409 {"offset":M} when M is not N; 422 the bytes have another hash
 *   HEAD, GET  the bytes; GET takes ?offset=N
 *
 * Blobs that no Run and no Job names are removed once they were not touched for a grace
 * time. Uploads are written and hashed on a pool thread of their own, one after another;
 * everything else is on the loop thread.
 */
#ifndef APISERVER_STREAMS_BLOBS_H
#define APISERVER_STREAMS_BLOBS_H

#include "apiserver/streams/streams.h"

#define BLOB_HEX 64
#define BLOB_MAX_BYTES (UINT64_C(4) << 30)

struct blob_config {
    const char *dir;      /* <data>/blobs */
    uint64_t quota_bytes; /* per namespace */
    int64_t grace_s;
    /* Logs are collected along with them: those whose Job is gone for log_ttl_s. */
    const char *output_dir;
    int64_t log_ttl_s;
    uint64_t log_total_bytes; /* of all logs together */
};

struct blobs;
struct blobs *blobs_new(struct streams *s, const struct blob_config *c);
void blobs_free(struct blobs *b); /* waits for what is being written; NULL ok */
/* "<ns>/blobs/sha256:<hex>", the rest of the path after the namespaces prefix; false when
 * it is no blob's path. */
bool blobs_parse_route(const char *path, char ns[STREAMS_NAME_MAX],
                       char hex[BLOB_HEX + 1]);
void blobs_handle(struct blobs *b, struct http_request *r, const char *ns,
                  const char *hex);

/* --- blob_store.c: files, on the pool thread ------------------------------------------
 */
struct blob_put {
    const char *dir, *ns, *hex; /* borrowed */
    uint64_t offset, size, quota_bytes;
    struct span bytes;
    /* result */
    uint64_t at;  /* where the next bytes go */
    bool there;   /* it was whole before */
    bool created; /* it is whole now */
};
/* ERR_CONFLICT with `at` when offset is not it; ERR_INVALID when the hash is another. */
int blob_store_put(struct blob_put *p, struct error *e) WARN_UNUSED;
/* Opens a whole blob; touches it, so that it is not collected under a reader. */
int blob_store_open(const char *dir, const char *ns, const char *hex, int *ret_fd,
                    uint64_t *ret_size, struct error *e) WARN_UNUSED;
/* Removes what is not a key of refs and was last touched before the grace time. */
void blob_store_sweep(const char *dir, const struct map *refs, int64_t grace_s,
                      size_t *ret_removed);
/* Removes the logs below dir whose Job's uid is not a key of refs and that were last
 * written before the time to live. */
void blob_store_sweep_logs(const char *dir, const struct map *refs, int64_t ttl_s,
                           size_t *ret_removed);
/* Past max_bytes in all, what was not written for the longest time goes; log_bound.c. */
void log_bound_apply(const char *dir, const struct map *refs, uint64_t max_bytes,
                     uint64_t *ret_freed);
/* Puts each "sha256:<hex>" and each uid of the text into refs. */
void blob_scan_refs(struct span text, struct map *refs);

#endif
