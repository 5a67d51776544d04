/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Enrolment of a machine: a join token and what the machine is called are exchanged for
 * an Instance and a token bound to its uid. Asking again from the same machine under the
 * same name, or with the same journal, gives the same Instance; a name taken by another
 * machine gets -2, -3. (Two agents on one machine go by different names.) A token made
 * for one Instance gives that one, whatever the machine is called.
 */
#include <ctype.h>
#include <jansson.h>
#include <stdlib.h>

#include "api/jtok.h"
#include "apiserver/auth/auth_internal.h"
#include "apiserver/registry/answer.h"
#include "base/clock.h"
#include "base/id.h"

enum { HOSTNAME_MAX = 50, NAME_TRIES_MAX = 1000, MACHINE_DIGITS = 32, TEXT_MAX = 253 };

struct enrolment {
    struct auth *a;
    struct api_call *call;
    char *ns, *fleet, *fleet_uid, *base, *journal;
    char machine[65]; /* hash of the machine's id and name, cut to a label value */
    char name[80];
    unsigned tries;
};

static void
enrolment_free(struct enrolment *n)
{
    free(n->ns);
    free(n->fleet);
    free(n->fleet_uid);
    free(n->base);
    free(n->journal);
    free(n);
}

static void
sign_token(const struct auth *a, const struct object *instance, struct str *out,
           char expires[CLOCK_RFC3339_LEN])
{
    int64_t now_s = clock_wall_ns() / 1000000000;
    struct token_claims c = {
        .kind = TOKEN_AGENT, .issued_s = now_s, .expires_s = now_s + AGENT_TOKEN_S};

    snprintf(c.ns, sizeof(c.ns), "%s", instance->ns);
    snprintf(c.name, sizeof(c.name), "%s", instance->name);
    snprintf(c.uid, sizeof(c.uid), "%s", instance->uid);
    signer_sign(a->signer, &c, out);
    clock_format(c.expires_s * 1000000000, expires);
}

static void
answer_token(struct auth *a, struct api_call *c, const struct object *instance,
             bool with_instance)
{
    auto_str token = STR_INIT(4096);
    struct str body = STR_INIT(8192);
    char expires[CLOCK_RFC3339_LEN];

    sign_token(a, instance, &token, expires);
    str_addc(&body, '{');
    if (with_instance) {
        jput_key(&body, "instance");
        str_addc(&body, '{');
        jput_member(&body, "name", instance->name);
        jput_member(&body, "namespace", instance->ns);
        jput_member(&body, "uid", instance->uid);
        str_addc(&body, '}');
    }
    jput_member(&body, "token", token.ptr);
    jput_member(&body, "expiresAt", expires);
    str_addc(&body, '}');
    call_json(c, 201, &body);
}

/* Lower case letters, digits and '-', starting and ending with a letter or digit. */
static char *
sanitise(const char *hostname)
{
    auto_str out = STR_INIT(HOSTNAME_MAX);

    for (; *hostname != '\0' && *hostname != '.' && out.len < HOSTNAME_MAX; hostname++) {
        char c = (char)tolower((unsigned char)*hostname);
        bool ok = (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9');
        if (ok || out.len > 0)
            str_addc(&out, ok ? c : '-');
    }
    while (out.len > 0 && out.ptr[out.len - 1] == '-')
        str_truncate(&out, out.len - 1);
    return out.len > 0 ? str_detach(&out) : xstrdup("machine");
}

static bool
same_machine(const struct enrolment *n, const struct object *o)
{
    struct span label, raw, annotations;

    if (o->facts.deleting_s != 0 || !object_label(o, LABEL_FLEET, &label) ||
        !span_eq(label, n->fleet))
        return false;
    if (object_label(o, LABEL_MACHINE, &label) && span_eq(label, n->machine))
        return true;
    return jscan_member(object_fact(o, o->facts.metadata), "annotations", &annotations) &&
           jscan_member(annotations, ANNOTATION_JOURNAL, &raw) &&
           jscan_is(raw, n->journal);
}

static struct object *
find_instance(const struct enrolment *n)
{
    struct store_list *list =
        store_list(api_server_store(n->a->server), "instances.drover.dev", n->ns, NULL);
    struct object *o, *found = NULL;

    while (found == NULL && (o = store_list_next(list)) != NULL) {
        if (same_machine(n, o))
            found = object_ref(o);
    }
    store_list_free(list);
    return found;
}

static void create_instance(struct enrolment *n);

static void
on_taken(void *arg, const struct write_result *r)
{
    struct enrolment *n = arg;

    if (r->obj == NULL)
        call_problem(n->call, r->problem);
    else
        answer_token(n->a, n->call, r->obj, true);
    enrolment_free(n);
}

static void
on_created(void *arg, const struct write_result *r)
{
    struct enrolment *n = arg;

    if (r->obj == NULL && r->problem->e.code == ERR_EXISTS && n->tries < NAME_TRIES_MAX)
        create_instance(n);
    else
        on_taken(n, r);
}

static void
instance_json(const struct enrolment *n, struct str *out)
{
    str_adds(out,
             "{\"apiVersion\":\"drover.dev/v1\",\"kind\":\"Instance\",\"metadata\":{");
    jput_member(out, "name", n->name);
    jput_key(out, "labels");
    str_addc(out, '{');
    jput_member(out, LABEL_FLEET, n->fleet);
    jput_member(out, LABEL_MACHINE, n->machine);
    str_addc(out, '}');
    jput_key(out, "annotations");
    str_addc(out, '{');
    jput_member(out, ANNOTATION_JOURNAL, n->journal);
    str_adds(out, "},\"ownerReferences\":[{\"apiVersion\":\"drover.dev/v1\",\"kind\":"
                  "\"Fleet\",\"controller\":true,\"blockOwnerDeletion\":true");
    jput_member(out, "name", n->fleet);
    jput_member(out, "uid", n->fleet_uid);
    str_adds(out, "}]},\"spec\":{");
    jput_member(out, "fleetName", n->fleet);
    str_adds(out, "}}");
}

/* The next free name: base, base-2, base-3, ... */
static void
choose_name(struct enrolment *n)
{
    struct store *s = api_server_store(n->a->server);

    while (n->tries < NAME_TRIES_MAX) {
        if (n->tries++ == 0)
            snprintf(n->name, sizeof(n->name), "%s", n->base);
        else
            snprintf(n->name, sizeof(n->name), "%s-%u", n->base, n->tries);
        struct store_key key = {"instances.drover.dev", n->ns, n->name};
        if (store_peek(s, &key) == NULL)
            return;
    }
}

static void
create_instance(struct enrolment *n)
{
    auto_str json = STR_INIT(16 * 1024);

    choose_name(n);
    instance_json(n, &json);
    struct write_req w = {
        .kind = kinds_by_resource(api_server_kinds(n->a->server), "instances.drover.dev"),
        .type = WRITE_CREATE,
        .ns = n->ns,
        .name = "",
        .sub = "",
        .body = {json.ptr, json.len}};
    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    registry_write(n->a->server, &w, on_created, n);
}

/* The Instance that the token is for, with what tells its machine. */
static void
take_instance(struct enrolment *n, const char *name)
{
    struct store_key key = {"instances.drover.dev", n->ns, name};
    const struct object *o = store_get(api_server_store(n->a->server), &key);
    auto_str json = STR_INIT(16 * 1024);

    if (o == NULL || o->facts.deleting_s != 0) {
        call_error(n->call, ERR_NOT_FOUND, "instances.drover.dev \"%s\" not found", name);
        enrolment_free(n);
        return;
    }
    if (same_machine(n, o)) {
        answer_token(n->a, n->call, o, true);
        enrolment_free(n);
        return;
    }
    str_adds(&json, "{\"metadata\":{");
    jput_member(&json, "uid", o->uid);
    jput_key(&json, "labels");
    str_addc(&json, '{');
    jput_member(&json, LABEL_FLEET, n->fleet);
    jput_member(&json, LABEL_MACHINE, n->machine);
    str_addc(&json, '}');
    jput_key(&json, "annotations");
    str_addc(&json, '{');
    jput_member(&json, ANNOTATION_JOURNAL, n->journal);
    str_adds(&json, "}}}");
    struct write_req w = {
        .kind = kinds_by_resource(api_server_kinds(n->a->server), "instances.drover.dev"),
        .type = WRITE_MERGE,
        .ns = n->ns,
        .name = name,
        .sub = "",
        .body = {json.ptr, json.len}};
    snprintf(w.opt.manager, sizeof(w.opt.manager), "drover-apiserver");
    registry_write(n->a->server, &w, on_taken, n);
}

/* ns and fleet come from the token; a path that names them must agree. */
static bool
path_agrees(const struct api_call *c)
{
    const struct api_user *u = c->user;
    const struct route *r = &c->route;

    return !r->resource || (streq(r->ns, u->join_ns) && streq(r->name, u->join_fleet));
}

static bool
read_body(struct enrolment *n, struct api_call *c)
{
    json_t *body = body_tree(c);
    char hash[65];

    if (body == NULL)
        return false;
    const char *hostname = body_text(body, "hostname");
    const char *machine = body_text(body, "machineID");
    const char *journal = body_text(body, "journalID");
    bool ok = *hostname != '\0' && *machine != '\0' && *journal != '\0' &&
              strlen(hostname) <= TEXT_MAX && strlen(machine) <= TEXT_MAX &&
              strlen(journal) <= TEXT_MAX;
    if (ok) {
        autofree char *identity = xasprintf("%s\n%s", machine, hostname);
        id_hash_hex(identity, strlen(identity), hash);
        snprintf(n->machine, sizeof(n->machine), "%.*s", MACHINE_DIGITS, hash);
        n->base = sanitise(hostname);
        n->journal = xstrdup(journal);
    } else {
        call_error(c, ERR_BAD_REQUEST,
                   "hostname, machineID and journalID are required, of at most %d bytes "
                   "each",
                   TEXT_MAX);
    }
    json_decref(body);
    return ok;
}

void
enroll(struct auth *a, struct api_call *c)
{
    const struct api_user *u = c->user;

    c->verb = "create";
    if (*u->join_fleet == '\0' || !path_agrees(c)) {
        call_error(c, ERR_FORBIDDEN,
                   *u->join_fleet == '\0'
                       ? "enrolment needs a join token as the bearer token"
                       : "the join token is for another fleet");
        return;
    }
    struct store_key key = {"fleets.drover.dev", u->join_ns, u->join_fleet};
    const struct object *fleet = store_get(api_server_store(a->server), &key);
    if (fleet == NULL) {
        call_error(c, ERR_NOT_FOUND, "fleets.drover.dev \"%s\" not found", u->join_fleet);
        return;
    }
    if (fleet->facts.deleting_s != 0) {
        call_error(c, ERR_CONFLICT, "fleets.drover.dev \"%s\" is being deleted",
                   u->join_fleet);
        return;
    }
    struct enrolment *n = xnew(struct enrolment);
    n->a = a;
    n->call = c;
    n->ns = xstrdup(u->join_ns);
    n->fleet = xstrdup(u->join_fleet);
    n->fleet_uid = xstrdup(fleet->uid);
    if (!read_body(n, c)) {
        enrolment_free(n);
        return;
    }
    if (*u->join_instance != '\0') {
        take_instance(n, u->join_instance);
        return;
    }
    auto_object *known = find_instance(n);
    if (known != NULL) {
        answer_token(a, c, known, true);
        enrolment_free(n);
        return;
    }
    create_instance(n);
}

void
renew_token(struct auth *a, struct api_call *c)
{
    struct store_key key = {"instances.drover.dev", c->route.ns, c->route.name};

    if (!auth_allowed(a, c))
        return;
    const struct object *o = store_get(api_server_store(a->server), &key);
    if (o == NULL)
        call_error(c, ERR_NOT_FOUND, "instances.drover.dev \"%s\" not found",
                   c->route.name);
    else
        answer_token(a, c, o, false);
}
