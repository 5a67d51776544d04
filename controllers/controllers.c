/* SPDX-License-Identifier: Apache-2.0 */
/* The table of controllers and how a set of them is put into a manager. */
#include "controllers/controllers.h"

#include <string.h>

#include "base/mem.h"
#include "controllers/instance/host_service.h"
#include "controllers/job/scheduler_loop.h"
#include "controllers/shared.h"

/* Sorted by name. */
static const struct controller *const table[] = {
    &fleet_controller,
    &instance_controller,
    &job_controller,
    &run_controller,
};

static bool
word_in(const char *list, const char *word)
{
    for (const char *p = list; *p != '\0';) {
        size_t n = strcspn(p, ",");
        if (n == strlen(word) && memcmp(p, word, n) == 0)
            return true;
        p += n + (p[n] == ',');
    }
    return false;
}

static bool
chosen(const char *only, const struct controller *c)
{
    return only == NULL || only[0] == '\0' || word_in(only, c->name);
}

static int
check_names(const char *only, struct error *e)
{
    for (const char *p = only; p != NULL && *p != '\0';) {
        size_t n = strcspn(p, ",");
        autofree char *word = xstrndup(p, n);
        bool known = false;
        for (size_t i = 0; i < ARRAY_LEN(table); i++)
            known |= streq(table[i]->name, word);
        if (!known)
            return error_set(e, ERR_BAD_REQUEST,
                             "there is no controller \"%s\"; there are fleet, instance, "
                             "job and run",
                             word);
        p += n + (p[n] == ',');
    }
    return 0;
}

int
controllers_names(const char *only, struct str *out, struct error *e)
{
    int rc = check_names(only, e);

    for (size_t i = 0; rc == 0 && i < ARRAY_LEN(table); i++)
        if (chosen(only, table[i]))
            str_addf(out, "%s%s", out->len > 0 ? "," : "", table[i]->name);
    return rc;
}

int
controllers_add(struct manager *m, const char *only, struct controller_set **ret,
                struct error *e)
{
    int rc = check_names(only, e);

    if (rc < 0)
        return rc;
    struct controller_set *s = xnew(struct controller_set);
    manager_set_shared(m, s);
    s->with_instances = chosen(only, &instance_controller);
    if (chosen(only, &job_controller) || chosen(only, &instance_controller))
        s->leases = lease_tracker_new(m);
    for (size_t i = 0; i < ARRAY_LEN(table) && rc == 0; i++)
        if (chosen(only, table[i]))
            rc = manager_add(m, table[i], e);
    if (rc == 0 && chosen(only, &job_controller))
        s->scheduler = scheduler_loop_new(m);
    if (rc < 0) {
        controllers_free(s);
        return rc;
    }
    *ret = s;
    return 0;
}

int
controllers_add_hosts(struct controller_set *s, struct manager *m,
                      const struct host_config *c, struct error *e)
{
    return s->with_instances ? host_service_new(m, c, &s->hosts, e) : 0;
}

void
controllers_stop(struct controller_set *s)
{
    if (s != NULL)
        host_service_stop(s->hosts);
}

void
controllers_free(struct controller_set *s)
{
    if (s == NULL)
        return;
    scheduler_loop_free(s->scheduler);
    host_service_free(s->hosts);
    lease_tracker_free(s->leases);
    free(s);
}
