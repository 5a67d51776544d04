/* SPDX-License-Identifier: Apache-2.0 */
/*
 * The difference between the status that an object has and the one it should have, as a
 * merge patch: only what differs is written, and nothing when nothing does. A condition's
 * lastTransitionTime moves only when its status does.
 */
#ifndef CONTROLLERS_COMMON_STATUS_H
#define CONTROLLERS_COMMON_STATUS_H

#include "api/object.h"

struct status_edit {
    json_t *current;    /* the object's status */
    json_t *patch;      /* members that change */
    json_t *conditions; /* the whole new list */
    bool conditions_changed;
    int64_t now_ns;
    int64_t generation;
    char uid[64]; /* names are reused: a patch names whom it is for */
};

void status_edit_init(struct status_edit *s, const struct object *o, int64_t now_ns);
void status_edit_done(struct status_edit *s);
static inline void
status_edit_done_ptr(struct status_edit *s)
{
    status_edit_done(s);
}
#define auto_status_edit CLEANUP(status_edit_done_ptr) struct status_edit

/* NULL or "": the member is removed. */
void status_set(struct status_edit *s, const char *key, const char *value);
void status_set_int(struct status_edit *s, const char *key, int64_t value);
void status_unset(struct status_edit *s, const char *key);
/* Takes value over. Objects merge: members that are to go must be null. */
void status_set_json(struct status_edit *s, const char *key, json_t *value);
/* 0: removed. */
void status_set_time(struct status_edit *s, const char *key, int64_t wall_ns);

struct condition {
    const char *type, *reason, *message; /* type NULL: none */
    bool value;
};
void status_set_condition(struct status_edit *s, const struct condition *c);
bool status_condition_there(const struct status_edit *s, const char *type);
/* True when the condition exists and is True. */
bool status_condition_true(const struct status_edit *s, const char *type);

/* {"metadata": {"uid": ...}, "status": {...}} to patch with, owned by the caller; NULL:
 * nothing changes. Fails with a conflict on another object of the name. revision > 0 adds
 * metadata.resourceVersion, so that a change in between fails it. */
json_t *status_edit_patch(struct status_edit *s, uint64_t revision);

/* Patches of metadata.finalizers; they name the revision, since the list is one value. */
json_t *finalizers_with(const struct object *o, const char *name);
json_t *finalizers_without(const struct object *o, const char *name);

#endif
