/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The log-writer thread: takes all batches that were handed over since it last looked,
 * appends them as one group, and gives them back with their outcomes. It owns the log.
 *
 *     writer_submit(w, batch);            loop thread, any number of times
 *     ... w's descriptor becomes readable ...
 *     writer_collect(w, &batches, &e);    the batches with outcomes, in order
 *
 * After a failure it takes nothing more until writer_collect has told the loop, because
 * what was submitted meanwhile may rest on what failed; that comes back as LOG_UNTRIED.
 *
 * Without a thread (inline) writer_submit appends at once, on the caller's thread.
 */
#ifndef APISERVER_STORE_WRITER_H
#define APISERVER_STORE_WRITER_H

#include "apiserver/store/store_log.h"

struct store_writer;

/* Takes the log over. event_fd (borrowed) is written to when there are results. */
struct store_writer *writer_new(struct store_log *log, int event_fd, bool threaded);
/* Waits for what was submitted, syncs, closes the log. What was not collected is lost. */
void writer_free(struct store_writer *w);
/* Takes the batch. */
void writer_submit(struct store_writer *w, struct log_batch *b);
/* Appends to `ret` the batches that are done. On a failure, returned as its code, also
 * those that were not tried: then the writer holds nothing any more and goes on, unless
 * ERR_IO. */
int writer_collect(struct store_writer *w, struct log_batch_list *ret, struct error *e);
/* Until nothing is submitted that is not yet done (or it has failed). */
void writer_wait(struct store_writer *w);
void writer_counters(struct store_writer *w, struct log_counters *ret);

#endif
