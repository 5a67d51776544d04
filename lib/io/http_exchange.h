/* SPDX-License-Identifier: Apache-2.0 */
/*
 * One request and its reply on a curl easy handle: what the blocking and the asynchronous
 * client have in common. Internal to lib/io.
 */
#ifndef IO_HTTP_EXCHANGE_H
#define IO_HTTP_EXCHANGE_H

#include <curl/curl.h>

#include "io/http_client.h"

/* An owned copy of a target. ca_path names the file curl reads: the caller's, or a memory
 * file with the PEM text. */
struct http_peer_conf {
    char *url, *unix_socket, *ca_path, *cert_file, *key_file, *bearer, *bearer_file;
    char *user_agent;
    bool insecure;
    int idle_seconds;
    int ca_fd; /* of the memory file, or -1 */
};
/* Leaves ca_pem to http_peer_conf_ca(). */
void http_peer_conf_copy(struct http_peer_conf *out, const struct http_target *t);
void http_peer_conf_done(struct http_peer_conf *c);
/* Puts PEM text where curl (GnuTLS) can read it: only by a path. */
int http_ca_memfd(const char *pem, int *ret_fd, char **ret_path,
                  struct error *e) WARN_UNUSED;

struct http_exchange {
    CURL *easy;
    struct http_reply *reply;
    struct curl_slist *headers;
    char *url;
    bool headers_seen, toobig;
    /* Of a 2xx reply, instead of collecting. Returns n, or 0 to stop, or the pause value.
     */
    size_t (*on_bytes)(void *arg, const char *bytes, size_t n);
    /* False stops the transfer. May be NULL. */
    bool (*on_headers)(void *arg);
    void *arg;
    char text[CURL_ERROR_SIZE];
};
/* Sets up x->easy; x->reply, x->easy and the callbacks are already there. The body of the
 * call is borrowed until the end of the transfer. */
int http_exchange_prepare(struct http_exchange *x, const struct http_peer_conf *peer,
                          const struct http_call *call, struct error *e) WARN_UNUSED;
/* The outcome as an error; 0 when a whole reply is there. */
int http_exchange_result(const struct http_exchange *x, const char *method, CURLcode code,
                         struct error *e);
void http_exchange_done(struct http_exchange *x); /* not the easy handle */

#endif
