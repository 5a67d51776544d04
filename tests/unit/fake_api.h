/* SPDX-License-Identifier: Apache-2.0 */
/*
 * A small API server in memory for tests of lib/control: objects by path, one revision
 * counter, merge patches, conflicts by resourceVersion, and the changes as watch lines.
 * It knows no schemas, no finalizers and no users. Thread-safe.
 */
#ifndef TESTS_FAKE_API_H
#define TESTS_FAKE_API_H

#include "client/client.h"
#include "control/informer.h"

struct fake_api;
struct fake_api *fake_api_new(void);
void fake_api_free(struct fake_api *f);

struct client *fake_api_client(struct fake_api *f);
/* Delivered by fake_api_deliver, on the caller's thread. */
struct watch_source fake_api_source(struct fake_api *f);
/* One step for every informer: its list, or its next event; false: all are up to date. */
bool fake_api_deliver(struct fake_api *f);
/* Only to the informers of this resource: the others lag behind. */
bool fake_api_deliver_only(struct fake_api *f, const struct resource *r);

/* Fails the next n requests of this method and path prefix with the status. */
void fake_api_fail(struct fake_api *f, const char *method, const char *prefix, int status,
                   int n);
/* Carries out the next n such requests, and answers 504: the answer is lost. */
void fake_api_lose(struct fake_api *f, const char *method, const char *prefix, int n);
unsigned fake_api_count(struct fake_api *f, const char *method, const char *prefix);
/* The object at the path, or NULL; the caller decrefs. */
json_t *fake_api_get(struct fake_api *f, const char *path);
uint64_t fake_api_revision(struct fake_api *f);

#endif
