/* SPDX-License-Identifier: Apache-2.0 */
/* A direct-mapped cache: what collides or is too much is written again, no more. */
#include "apiserver/registry/watch_piece.h"

#include <stdlib.h>

#include "apiserver/registry/server_internal.h"

enum { SLOTS = 256, CACHE_BYTES = 8 << 20 };

struct slot {
    struct object *obj; /* a reference, so that its address stays its own */
    const char *type;
    enum accept_form form;
    char version[16];
    struct watch_piece *piece;
};

struct watch_pieces {
    struct slot slots[SLOTS];
    size_t bytes;
};

struct watch_pieces *
watch_pieces_new(void)
{
    return xnew(struct watch_pieces);
}

static void
empty(struct watch_pieces *c, struct slot *s)
{
    if (s->piece == NULL)
        return;
    c->bytes -= s->piece->len + s->obj->len;
    watch_piece_unref(s->piece);
    object_unref(s->obj);
    *s = (struct slot){0};
}

void
watch_pieces_free(struct watch_pieces *c)
{
    if (c == NULL)
        return;
    for (size_t i = 0; i < SLOTS; i++)
        empty(c, &c->slots[i]);
    free(c);
}

static struct watch_piece *
write_piece(const char *type, const struct object *o, const struct accept *as)
{
    auto_str text = STR_INIT(2 * OBJECT_MAX_BYTES);

    str_reserve(&text, o->len + 96);
    str_adds(&text, "{\"type\":\"");
    str_adds(&text, type);
    str_adds(&text, "\",\"object\":");
    represent_object(o, as->form, as->version, &text);
    str_adds(&text, "}\n");
    struct watch_piece *p = xmalloc(sizeof(*p) + text.len);
    p->refs = 1;
    p->len = text.len;
    memcpy(p->bytes, text.ptr, text.len);
    return p;
}

static struct slot *
slot_of(struct watch_pieces *c, const char *type, const struct object *o)
{
    uintptr_t h = ((uintptr_t)o >> 4) * 31 + (uintptr_t)type[0] * 7;

    return &c->slots[(h ^ h >> 8) % SLOTS];
}

struct watch_piece *
watch_pieces_get(struct watch_pieces *c, const char *type, const struct object *o,
                 const struct accept *as)
{
    struct slot *s = slot_of(c, type, o);

    if (s->obj != o || s->type != type || s->form != as->form ||
        !streq(s->version, as->version)) {
        empty(c, s);
        struct watch_piece *p = write_piece(type, o, as);
        if (p->len + o->len > CACHE_BYTES / 8)
            return p;
        for (size_t i = 0; i < SLOTS && c->bytes + p->len + o->len > CACHE_BYTES; i++)
            empty(c, &c->slots[i]);
        *s = (struct slot){
            .obj = object_ref(o), .type = type, .form = as->form, .piece = p};
        snprintf(s->version, sizeof(s->version), "%s", as->version);
        c->bytes += p->len + o->len;
    }
    s->piece->refs++;
    return s->piece;
}

void
watch_piece_unref(struct watch_piece *p)
{
    if (p != NULL && --p->refs == 0)
        free(p);
}
