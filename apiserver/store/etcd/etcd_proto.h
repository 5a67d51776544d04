/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The words of etcd's JSON gateway (/v3/..., etcd 3.4:
 * api/etcdserverpb/rpc.proto as grpc-gateway renders it): 64-bit numbers are
 * decimal strings, bytes are base64, members with a default value are left out.
 * Replies are untrusted: everything is bounded and checked before it is used.
 *
 * Pure functions; no I/O. Ownership: what a reply holds is freed by its _done.
 */
#ifndef STORE_ETCD_PROTO_H
#define STORE_ETCD_PROTO_H

#include "base/error.h"
#include "base/str.h"
#include "base/vec.h"

#define ETCD_KEY_MAX 4096
/* etcd's own limits, with its default options. */
#define ETCD_REQUEST_MAX (3u << 19)
#define ETCD_TXN_OPS_MAX 128
#define ETCD_VALUE_MAX (4u << 20)
#define ETCD_EVENTS_MAX (1u << 20)

struct etcd_header {
    uint64_t cluster, revision;
};

/* A key with its value, or an event: what became of a key. */
struct etcd_kv {
    bool deleted;
    uint64_t mod, version;
    char *key, *value; /* NUL-terminated after their length; value NULL: none */
    size_t key_len, value_len;
};
typedef vec(struct etcd_kv) etcd_kvs;
void etcd_kv_done(struct etcd_kv *kv);
void etcd_kvs_done(etcd_kvs *list);

struct etcd_range {
    struct etcd_header header;
    etcd_kvs kvs;
    bool more;
};
int etcd_read_range(struct span json, struct etcd_range *ret,
                    struct error *e) WARN_UNUSED;
void etcd_range_done(struct etcd_range *r);

/* mods: for each range of the branch that ran, in order, the mod_revision of
 * its key; 0: there is none. Other operations have no entry. */
struct etcd_txn {
    struct etcd_header header;
    bool succeeded;
    vec(uint64_t) mods;
};
int etcd_read_txn(struct span json, struct etcd_txn *ret, struct error *e) WARN_UNUSED;
void etcd_txn_done(struct etcd_txn *t);

struct etcd_frame {
    struct etcd_header header;
    bool created, canceled;
    bool fragment; /* more events of the last revision follow in the next frame */
    uint64_t compact_revision;
    etcd_kvs events;
};
/* One line of a watch. An error that the gateway reports in it becomes *e. */
int etcd_read_frame(struct span json, struct etcd_frame *ret,
                    struct error *e) WARN_UNUSED;
void etcd_frame_done(struct etcd_frame *f);

int etcd_read_token(struct span json, struct str *out, struct error *e) WARN_UNUSED;
/* The body of a reply that is no success: *ret_code is the gRPC code, -1
 * unknown. */
void etcd_read_error(struct span json, int *ret_code, struct str *out);
enum etcd_grpc {
    GRPC_INVALID = 3,
    GRPC_NOT_FOUND = 5,
    GRPC_DENIED = 7,
    GRPC_EXHAUSTED = 8,
    GRPC_PRECONDITION = 9,
    GRPC_OUT_OF_RANGE = 11,
    GRPC_UNAVAILABLE = 14,
    GRPC_UNAUTHENTICATED = 16,
};

/* --- requests --- */

/* Appends `"name":"<base64>"` with comma handling. */
void etcd_put_bytes(struct str *out, const char *name, const char *bytes, size_t n);
void etcd_put_number(struct str *out, const char *name, uint64_t v);
/* [key, end); end NULL: that key alone. revision 0: the newest. Linearizable.
 */
struct etcd_range_req {
    struct span key, end;
    uint64_t revision;
    unsigned limit;
    bool keys_only;
};
void etcd_write_range(struct str *out, const struct etcd_range_req *r);
/* One comparison: the key was last changed at `mod` (0: is not there). */
void etcd_write_compare(struct str *out, struct span key, uint64_t mod);

/* --- keys: <prefix>/<group or "_core">/<plural>/[<namespace>/]<name> ---
 * `resource` is "<plural>.<group>", or "<plural>" for the core group. Group
 * names have no underscore, so that "_core" and "_meta" are nobody's. */
void etcd_key_write(struct str *out, const char *prefix, const char *resource,
                    const char *ns, const char *name);
struct etcd_key {
    char resource[512], ns[256], name[512];
};
/* False: not a key of an object. rest: what follows "<prefix>/". */
bool etcd_key_read(struct span rest, struct etcd_key *ret);

#endif
