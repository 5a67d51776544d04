/* SPDX-License-Identifier: Apache-2.0 */
/* Options of the store as text. */
#ifndef APISERVER_STORE_OPTIONS_H
#define APISERVER_STORE_OPTIONS_H

#include "apiserver/store/store.h"

/* --retain-age DURATION and --retain-size SIZE: what of the log stays for watchers that
 * are behind (store_opts). NULL: the default. ERR_BAD_REQUEST names the option. */
int store_retention_parse(const char *age, const char *size, struct store_opts *ret,
                          struct error *e) WARN_UNUSED;

#endif
