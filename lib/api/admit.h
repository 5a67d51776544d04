/* SPDX-License-Identifier: Apache-2.0 */
/*
 * What a schema cannot say about our kinds: grammars and rules between fields. The API
 * server calls this at admission, controllers call it again before they act (on a foreign
 * Kubernetes API server nobody else did), and `drover apply` for early messages. Pure.
 */
#ifndef API_ADMIT_H
#define API_ADMIT_H

#include <jansson.h>

#include "api/kind.h"
#include "api/violations.h"

/* canonical: the whole object, already valid by schema. Kinds without rules are accepted.
 * ERR_INVALID when violations were added. */
int admit_object(const struct kind *k, struct span canonical, struct violations *v,
                 struct error *e) WARN_UNUSED;

/* What may become of an object that there is: before and after, whole and canonical. */
int admit_update(const struct kind *k, struct span before, struct span after,
                 struct violations *v, struct error *e) WARN_UNUSED;

/* utilizationPolicy.timeWindow of a Run, in seconds; ERR_INVALID says what is wrong. */
int admit_idle_window(const json_t *value, int64_t *ret_s, struct error *e) WARN_UNUSED;
/* True when the resources (of a Run or a group; NULL: none) ask for a GPU. */
bool admit_wants_gpu(const json_t *resources);

/* Splits like a POSIX shell does without expansions: quotes, backslashes. Fills a
 * NULL-terminated vector to free with shell_words_free. */
int shell_words(const char *text, char ***ret, struct error *e) WARN_UNUSED;
void shell_words_free(char **words);

#endif
