/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Replies of etcd. The first byte says of what: 'r' range, 't' transaction, 'w' a line of
 * a watch, 'e' an error, 'k' a token, 'x' a key below the prefix. What is read must be
 * within its bounds; a key that is read must be written the same again.
 */
#include <stdint.h>
#include <stdlib.h>

#include "apiserver/store/etcd/etcd_proto.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void
check_kvs(const etcd_kvs *list)
{
    bug_if(list->len > ETCD_EVENTS_MAX);
    vec_foreach (kv, list) {
        bug_if(kv->key == NULL || kv->key_len > ETCD_KEY_MAX || kv->mod == 0);
        bug_if(kv->key[kv->key_len] != '\0');
        bug_if(kv->value != NULL && kv->value[kv->value_len] != '\0');
    }
}

static void
fuzz_range(struct span s)
{
    struct etcd_range r;
    struct error e = ERROR_INIT;

    if (etcd_read_range(s, &r, &e) < 0) {
        bug_if(e.code == ERR_OK);
        return;
    }
    check_kvs(&r.kvs);
    etcd_range_done(&r);
}

static void
fuzz_txn(struct span s)
{
    struct etcd_txn t;
    struct error e = ERROR_INIT;

    if (etcd_read_txn(s, &t, &e) < 0) {
        bug_if(e.code == ERR_OK);
        return;
    }
    bug_if(t.header.revision == 0 || t.mods.len > ETCD_TXN_OPS_MAX * s.len);
    etcd_txn_done(&t);
}

static void
fuzz_frame(struct span s)
{
    struct etcd_frame f;
    struct error e = ERROR_INIT;

    if (etcd_read_frame(s, &f, &e) < 0) {
        bug_if(e.code == ERR_OK);
        return;
    }
    check_kvs(&f.events);
    etcd_frame_done(&f);
}

static void
fuzz_key(struct span s)
{
    auto_str out = STR_INIT(ETCD_KEY_MAX);
    struct etcd_key k;

    if (!etcd_key_read(s, &k))
        return;
    etcd_key_write(&out, "/p", k.resource, k.ns, k.name);
    bug_if(out.len != s.len + 3 || memcmp(out.ptr + 3, s.ptr, s.len) != 0);
}

int
LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    auto_str text = STR_INIT(4096);
    struct error e = ERROR_INIT;
    int code;

    if (size == 0)
        return 0;
    struct span s = {(const char *)data + 1, size - 1};
    switch (data[0]) {
    case 'r':
        fuzz_range(s);
        break;
    case 't':
        fuzz_txn(s);
        break;
    case 'w':
        fuzz_frame(s);
        break;
    case 'e':
        etcd_read_error(s, &code, &text);
        break;
    case 'k':
        bug_if(etcd_read_token(s, &text, &e) < 0 && e.code == ERR_OK);
        break;
    case 'x':
        fuzz_key(s);
        break;
    default:
        break;
    }
    return 0;
}
