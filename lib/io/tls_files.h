/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The certificate of a server in files, taken anew when they change. inotify says when to
 * look; what counts is the content. New content is used only when certificate and key
 * belong together, so a pair that is written one after the other is taken once both are
 * there; until then, and when it is damaged, the old one stays.
 *
 * Loop thread only. Reading files of some kilobytes is done on the loop.
 */
#ifndef IO_TLS_FILES_H
#define IO_TLS_FILES_H

#include "io/http_server.h"

struct tls_files_opts {
    struct loop *loop;
    const char *cert, *key; /* paths, PEM; copied */
    const char *client_ca;  /* or NULL */
};
struct tls_files;
int tls_files_open(const struct tls_files_opts *o, struct tls_files **ret,
                   struct error *e) WARN_UNUSED;
void tls_files_free(struct tls_files *t); /* NULL ok; before the server */
/* PEM; valid until the next turn. */
const char *tls_files_cert(const struct tls_files *t);
const char *tls_files_key(const struct tls_files *t);
const char *tls_files_client_ca(const struct tls_files *t); /* NULL: none */
/* From here on the server follows the files. */
void tls_files_serve(struct tls_files *t, struct http_server *s);
/* Looks at once. False: nothing new, or nothing that can be used. */
bool tls_files_look(struct tls_files *t);
/* How many times a new certificate was taken, and how often one was refused. */
uint64_t tls_files_reloads(const struct tls_files *t);
uint64_t tls_files_refusals(const struct tls_files *t);

#endif
