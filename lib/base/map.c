/* SPDX-License-Identifier: Apache-2.0 */
/* uthash behind an opaque type, with libsodium's keyed short hash. */
#include "base/map.h"

#include <pthread.h>
#include <sodium.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include "base/error.h"
#include "base/mem.h"

static unsigned char map_key[crypto_shorthash_KEYBYTES];
static pthread_once_t map_key_once = PTHREAD_ONCE_INIT;

static void
map_key_make(void)
{
    bug_if(sodium_init() < 0);
    randombytes_buf(map_key, sizeof(map_key));
}

static unsigned
map_hash(const void *key, size_t len)
{
    unsigned char out[crypto_shorthash_BYTES];
    unsigned h;

    crypto_shorthash(out, key, len, map_key);
    memcpy(&h, out, sizeof(h));
    return h;
}

#define HASH_FUNCTION(keyptr, keylen, hashv) ((hashv) = map_hash((keyptr), (keylen)))
#define uthash_fatal(msg) abort()
#include <uthash.h>

struct entry {
    UT_hash_handle hh;
    void *value;
    char key[];
};

struct map {
    struct entry *head;
    void (*free_value)(void *);
};

struct map *
map_new(void (*free_value)(void *))
{
    struct map *m = xnew(struct map);

    pthread_once(&map_key_once, map_key_make);
    m->free_value = free_value;
    return m;
}

void
map_clear(struct map *m)
{
    struct entry *e;
    struct entry *next;

    HASH_ITER (hh, m->head, e, next) {
        HASH_DEL(m->head, e);
        if (m->free_value != NULL)
            m->free_value(e->value);
        free(e);
    }
}

void
map_free(struct map *m)
{
    if (m == NULL)
        return;
    map_clear(m);
    free(m);
}

size_t
map_len(const struct map *m)
{
    return HASH_COUNT(m->head);
}

static struct entry *
find(const struct map *m, const void *key, size_t len)
{
    struct entry *e;

    HASH_FIND(hh, m->head, key, len, e);
    return e;
}

void *
map_getn(const struct map *m, const void *key, size_t len)
{
    const struct entry *e = find(m, key, len);

    return e == NULL ? NULL : e->value;
}

void *
map_get(const struct map *m, const char *key)
{
    return map_getn(m, key, strlen(key));
}

void
map_putn(struct map *m, const void *key, size_t len, void *value)
{
    struct entry *e = find(m, key, len);

    if (e != NULL) {
        if (m->free_value != NULL && e->value != value)
            m->free_value(e->value);
        e->value = value;
        return;
    }
    e = xcalloc(1, sizeof(*e) + len + 1);
    memcpy(e->key, key, len);
    e->value = value;
    HASH_ADD_KEYPTR(hh, m->head, e->key, len, e);
}

void
map_put(struct map *m, const char *key, void *value)
{
    map_putn(m, key, strlen(key), value);
}

bool
map_deln(struct map *m, const void *key, size_t len)
{
    struct entry *e = find(m, key, len);

    if (e == NULL)
        return false;
    HASH_DEL(m->head, e);
    if (m->free_value != NULL)
        m->free_value(e->value);
    free(e);
    return true;
}

bool
map_del(struct map *m, const char *key)
{
    return map_deln(m, key, strlen(key));
}

void *
map_take(struct map *m, const char *key)
{
    struct entry *e = find(m, key, strlen(key));

    if (e == NULL)
        return NULL;
    void *value = e->value;
    HASH_DEL(m->head, e);
    free(e);
    return value;
}

struct map_cursor
map_begin(const struct map *m)
{
    return (struct map_cursor){m->head};
}

bool
map_next(struct map_cursor *c, const char **ret_key, void **ret_value)
{
    struct entry *e = c->next;

    if (e == NULL)
        return false;
    c->next = e->hh.next;
    if (ret_key != NULL)
        *ret_key = e->key;
    if (ret_value != NULL)
        *ret_value = e->value;
    return true;
}
