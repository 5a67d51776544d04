/* SPDX-License-Identifier: Apache-2.0 */
#include "apiserver/http/store_options.h"

#include "api/values.h"
#include "base/str.h"

int
store_options_check(struct store_options *o, struct error *e)
{
    const struct store_etcd_opts *x = &o->etcd;
    bool any = x->endpoints != NULL || x->prefix != NULL || x->ca_file != NULL ||
               x->cert_file != NULL || x->key_file != NULL || x->user != NULL ||
               x->password_file != NULL || o->compact != NULL;

    if (o->driver == NULL || streq(o->driver, "files"))
        return any ? error_set(e, ERR_BAD_REQUEST,
                               "--etcd-... without --store etcd: the store is in files")
                   : 0;
    if (!streq(o->driver, "etcd"))
        return error_set(e, ERR_BAD_REQUEST, "--store: \"%s\" is not files or etcd",
                         o->driver);
    if (x->endpoints == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--store etcd needs --etcd-endpoints");
    if (o->compact == NULL)
        return 0;
    int64_t seconds = 0;
    int rc = value_duration_text(o->compact, true, &seconds, e);
    if (rc < 0)
        return error_prepend(e, "--etcd-compact");
    o->etcd.compact_ms = seconds == DURATION_OFF ? -1 : seconds * 1000;
    return seconds == 0 ? error_set(e, ERR_BAD_REQUEST,
                                    "--etcd-compact: 0 keeps nothing; "
                                    "\"off\" never compacts")
                        : 0;
}

int
store_options_open(const struct store_options *o, struct loop *l,
                   const struct store_opts *so, struct store **ret, struct error *e)
{
    struct store_opts all = *so;

    if (o->driver != NULL && streq(o->driver, "etcd"))
        all.etcd = &o->etcd;
    return store_open(l, &all, ret, e);
}
