/* SPDX-License-Identifier: Apache-2.0 */
/* Status documents: messages, reasons and causes as Kubernetes clients expect them. */
#include "apiserver/registry/problem.h"

#include <stdarg.h>
#include <stdlib.h>

#include "api/jtok.h"

enum { MESSAGE_MAX = 64 * 1024 };

void
problem_init(struct problem *p, const struct kind *kind, const char *name)
{
    *p = (struct problem){.e = ERROR_INIT, .kind = kind};
    snprintf(p->name, sizeof(p->name), "%s", name == NULL ? "" : name);
}

void
problem_done(struct problem *p)
{
    violations_done(&p->v);
    managed_conflicts_done(&p->conflicts);
    free(p->cont);
    free(p->text);
    p->cont = p->text = NULL;
}

int
problem_set(struct problem *p, enum err_code code, const char *fmt, ...)
{
    char text[sizeof(p->e.msg)];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(text, sizeof(text), fmt, ap);
    va_end(ap);
    free(p->text);
    p->text = NULL;
    p->form = PROBLEM_PLAIN;
    return error_set(&p->e, code, "%s", text);
}

int
problem_text(struct problem *p, enum err_code code, const char *text)
{
    free(p->text);
    p->text = xstrdup(text);
    p->form = PROBLEM_PLAIN;
    return error_set(&p->e, code, "%s", text);
}

int
problem_not_found(struct problem *p)
{
    return problem_set(p, ERR_NOT_FOUND, "%s \"%s\" not found", p->kind->resource,
                       p->name);
}

int
problem_exists(struct problem *p)
{
    return problem_set(p, ERR_EXISTS, "%s \"%s\" already exists", p->kind->resource,
                       p->name);
}

int
problem_modified(struct problem *p)
{
    return problem_set(p, ERR_CONFLICT,
                       "Operation cannot be fulfilled on %s \"%s\": the object has been "
                       "modified; please apply your changes to the latest version and "
                       "try again",
                       p->kind->resource, p->name);
}

int
problem_invalid(struct problem *p)
{
    p->form = PROBLEM_INVALID;
    return error_set(&p->e, ERR_INVALID, "invalid");
}

int
problem_field(struct problem *p, enum violation_reason reason, const char *path,
              const char *value_json, const char *text)
{
    violations_add(&p->v, reason, path, value_json, "%s", text);
    return problem_invalid(p);
}

static void
kind_title(const struct kind *k, struct str *out)
{
    str_adds(out, k->kind);
    if (*k->group != '\0')
        str_addf(out, ".%s", k->group);
}

static void
message_write(const struct problem *p, struct str *out)
{
    switch (p->form) {
    case PROBLEM_INVALID:
        kind_title(p->kind, out);
        str_addf(out, " \"%s\" is invalid: ", p->name);
        violations_join(&p->v, false, out);
        break;
    case PROBLEM_STRICT:
        str_addf(
            out,
            "%s in version \"%s\" cannot be handled as a %s: strict decoding error: ",
            p->kind->kind, p->kind->version, p->kind->kind);
        violations_join(&p->v, true, out);
        break;
    case PROBLEM_APPLY:
        managed_conflicts_text(&p->conflicts, out);
        break;
    case PROBLEM_PLAIN:
        if (error_http_status(p->e.code) == 500)
            str_adds(out, "Internal error occurred: ");
        str_adds(out, p->text != NULL ? p->text : p->e.msg);
        break;
    }
}

static void
cause_write(struct str *out, const char *reason, const char *message, const char *field)
{
    jput_item(out);
    str_addc(out, '{');
    if (reason != NULL)
        jput_member(out, "reason", reason);
    jput_member(out, "message", message);
    if (field != NULL)
        jput_member(out, "field", field);
    str_addc(out, '}');
}

static bool
is_schema_violation(const struct violation *v)
{
    return v->reason != VIOLATION_UNKNOWN && v->reason != VIOLATION_DUPLICATE_KEY;
}

static void
causes_write(const struct problem *p, struct str *out)
{
    jput_key(out, "causes");
    str_addc(out, '[');
    if (p->form == PROBLEM_INVALID) {
        vec_foreach (v, &p->v.list) {
            if (is_schema_violation(v))
                cause_write(out, violation_reason_name(v->reason), v->message, v->path);
        }
    }
    vec_foreach (c, &p->conflicts.list) {
        autofree char *text = xasprintf("conflict with %s", c->manager);
        cause_write(out, "FieldManagerConflict", text, c->field);
    }
    if (p->cause_reason != NULL)
        cause_write(out, p->cause_reason, p->cause_message, NULL);
    str_addc(out, ']');
}

static void
details_write(const struct problem *p, struct str *out)
{
    bool causes =
        p->form == PROBLEM_INVALID || p->form == PROBLEM_APPLY || p->cause_reason != NULL;
    uint32_t retry_s = (p->e.retry_after_ms + 999) / 1000;

    if (p->kind == NULL && !causes && retry_s == 0)
        return;
    jput_key(out, "details");
    str_addc(out, '{');
    if (p->name[0] != '\0')
        jput_member(out, "name", p->name);
    if (p->kind != NULL) {
        if (*p->kind->group != '\0')
            jput_member(out, "group", p->kind->group);
        jput_member(out, "kind",
                    p->form == PROBLEM_INVALID ? p->kind->kind : p->kind->plural);
    }
    if (causes)
        causes_write(p, out);
    if (retry_s > 0)
        jput_member_int(out, "retryAfterSeconds", retry_s);
    str_addc(out, '}');
}

void
problem_write(const struct problem *p, struct str *out, int *ret_http)
{
    auto_str message = STR_INIT(MESSAGE_MAX);

    message_write(p, &message);
    *ret_http = error_http_status(p->e.code);
    str_adds(out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{");
    if (p->cont != NULL)
        jput_member(out, "continue", p->cont);
    str_adds(out, "},\"status\":\"Failure\"");
    jput_key(out, "message");
    jput_string(out, message.ptr, message.len);
    jput_member(out, "reason", p->reason != NULL ? p->reason : error_reason(p->e.code));
    details_write(p, out);
    jput_member_int(out, "code", *ret_http);
    str_addc(out, '}');
}

void
status_success(const struct kind *kind, const char *name, const char *uid,
               struct str *out)
{
    str_adds(out, "{\"kind\":\"Status\",\"apiVersion\":\"v1\",\"metadata\":{},"
                  "\"status\":\"Success\",\"details\":{");
    jput_member(out, "name", name);
    if (*kind->group != '\0')
        jput_member(out, "group", kind->group);
    jput_member(out, "kind", kind->plural);
    if (uid != NULL)
        jput_member(out, "uid", uid);
    str_adds(out, "}}");
}
