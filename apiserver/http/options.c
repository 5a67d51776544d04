/* SPDX-License-Identifier: Apache-2.0 */
/* One table says what each option is and where it goes. */
#include "apiserver/http/options.h"

#include <getopt.h>
#include <stddef.h>
#include <stdlib.h>

#include "api/values.h"
#include "apiserver/http/tls.h"
#include "base/log.h"
#include "base/mem.h"
#include "io/http_server.h"

static const char usage[] =
    "usage: drover-apiserver --data-dir DIR [OPTION ...]\n"
    "Serves the API over HTTPS and over HTTP on a unix socket. Normally started by\n"
    "`drover server`. As `drover-apiserver store VERB` it is a tool for the store's "
    "files:\n"
    "see drover store --help. docs/operations.md says more about each option.\n"
    "\n"
    "  --listen ADDRESS:PORT           of the API (127.0.0.1:6440)\n"
    "  --unix-socket PATH              the same for local programs, mode 0600\n"
    "  --control-socket PATH           commands for operators\n"
    "  --streams-address HOST:PORT     of drover-streams, for discovery\n"
    "  --streams-socket PATH           where requests for it are passed on\n"
    "who may come in\n"
    "  --token-auth-file FILE          lines \"<hash> <user> <group,group>\"\n"
    "  --parts-tokens-file FILE        the same, for the other programs\n"
    "  --client-ca-file FILE           who vouches for client certificates; followed\n"
    "  --service-account-issuer URL    in tokens of ServiceAccounts\n"
    "  --anonymous-auth                without credentials one is system:anonymous\n"
    "  --rotate-token-key              sign tokens with a new key from now on\n"
    "certificates\n"
    "  --tls-cert-file FILE --tls-private-key-file FILE\n"
    "                                  instead of our own; followed when they change\n"
    "  --tls-ca-file FILE              who signed it, for the kubeconfig\n"
    "  --tls-san NAME,...              more names and addresses in our own\n"
    "  --tls-lifetime DURATION         of our own (90d); renewed after two thirds\n"
    "  --insecure-listen               no TLS; for measurements only\n"
    "audit\n"
    "  --audit-policy-file FILE        what is written down (audit.k8s.io/v1 Policy)\n"
    "  --audit-log-path FILE           where (<data-dir>/audit/audit.log)\n"
    "  --audit-log-maxsize MEGABYTES   then a new file is begun (100)\n"
    "  --audit-log-maxbackup N         old files kept (10)\n"
    "  --audit-log-maxage DAYS         and for how long (0: no limit)\n"
    "limits; 0 is none\n"
    "  --user-rate N --user-burst N    requests per second of one user (500, 1000)\n"
    "  --user-inflight N               requests of one user at a time (256)\n"
    "  --user-watches N                watches of one user (2000)\n"
    "  --max-requests-inflight N       reads of all users at a time (1000)\n"
    "  --max-mutating-requests-inflight N\n"
    "                                  writes of all users at a time (1000)\n"
    "  --max-connections N             in all (16384)\n"
    "  --max-connections-per-address N (4096, and no limit for this machine)\n"
    "running\n"
    "  --shutdown-delay DURATION       /readyz fails that long before anything stops "
    "(0)\n"
    "  --history-count N --history-age DURATION --history-size SIZE\n"
    "                                  earlier generations kept (50, 30d, 64MB)\n"
    "store\n"
    "  --store files|etcd              where objects are kept (files)\n"
    "  --etcd-endpoints URL,URL --etcd-prefix /PREFIX --etcd-cacert FILE\n"
    "  --etcd-cert FILE --etcd-key FILE --etcd-user NAME --etcd-password-file FILE\n"
    "  --etcd-compact DURATION\n"
    "  --retain-age DURATION --retain-size SIZE\n"
    "                                  of the log that a snapshot has replaced, for\n"
    "                                  watchers that are behind (1h, 256MB)\n"
    "  --no-mirror                     no files in <data-dir>/desired\n"
    "  --log-level SPEC                info, debug, or store=debug,http=warn\n"
    "  --log-format text|json\n";

enum type { TEXT, FLAG, NUMBER, DURATION, DAYS, MEGABYTES, REAL };

/* Where history's values go before they are parsed together. */
struct parse {
    struct options o;
    const char *history_count, *history_age, *history_size;
    const char *log_level, *log_format;
    bool help;
};

static const struct row {
    const char *name;
    enum type type;
    size_t at;
} rows[] = {
#define O(field) offsetof(struct parse, o.field)
    {"data-dir", TEXT, O(data_dir)},
    {"listen", TEXT, O(listen)},
    {"unix-socket", TEXT, O(unix_socket)},
    {"parts-tokens-file", TEXT, O(parts_tokens)},
    {"streams-address", TEXT, O(streams_address)},
    {"streams-socket", TEXT, O(streams_socket)},
    {"control-socket", TEXT, O(control_socket)},
    {"token-auth-file", TEXT, O(user_tokens)},
    {"client-ca-file", TEXT, O(client_ca)},
    {"service-account-issuer", TEXT, O(issuer)},
    {"retain-age", TEXT, O(retain_age)},
    {"retain-size", TEXT, O(retain_size)},
    {"store", TEXT, O(store.driver)},
    {"etcd-endpoints", TEXT, O(store.etcd.endpoints)},
    {"etcd-prefix", TEXT, O(store.etcd.prefix)},
    {"etcd-cacert", TEXT, O(store.etcd.ca_file)},
    {"etcd-cert", TEXT, O(store.etcd.cert_file)},
    {"etcd-key", TEXT, O(store.etcd.key_file)},
    {"etcd-user", TEXT, O(store.etcd.user)},
    {"etcd-password-file", TEXT, O(store.etcd.password_file)},
    {"etcd-compact", TEXT, O(store.compact)},
    {"tls-cert-file", TEXT, O(tls_cert)},
    {"tls-private-key-file", TEXT, O(tls_key)},
    {"tls-ca-file", TEXT, O(tls_ca)},
    {"tls-san", TEXT, O(tls_san)},
    {"tls-lifetime", DURATION, O(tls_lifetime_s)},
    {"audit-policy-file", TEXT, O(audit_policy)},
    {"audit-log-path", TEXT, O(audit_log)},
    {"audit-log-maxsize", MEGABYTES, O(audit_max_bytes)},
    {"audit-log-maxbackup", NUMBER, O(audit_backups)},
    {"audit-log-maxage", DAYS, O(audit_max_age_s)},
    {"user-rate", REAL, O(limits.rate)},
    {"user-burst", REAL, O(limits.burst)},
    {"user-inflight", NUMBER, O(limits.inflight)},
    {"user-watches", NUMBER, O(limits.watches)},
    {"max-requests-inflight", NUMBER, O(limits.reads)},
    {"max-mutating-requests-inflight", NUMBER, O(limits.writes)},
    {"max-connections", NUMBER, O(max_connections)},
    {"max-connections-per-address", NUMBER, O(max_per_address)},
    {"shutdown-delay", DURATION, O(shutdown_delay_s)},
    {"insecure-listen", FLAG, O(insecure)},
    {"no-mirror", FLAG, O(no_mirror)},
    {"anonymous-auth", FLAG, O(anonymous)},
    {"rotate-token-key", FLAG, O(rotate_key)},
#undef O
    {"history-count", TEXT, offsetof(struct parse, history_count)},
    {"history-age", TEXT, offsetof(struct parse, history_age)},
    {"history-size", TEXT, offsetof(struct parse, history_size)},
    {"log-level", TEXT, offsetof(struct parse, log_level)},
    {"log-format", TEXT, offsetof(struct parse, log_format)},
    {"help", FLAG, offsetof(struct parse, help)},
};

static int
number(const char *text, int64_t most, int64_t *ret, struct error *e)
{
    char *end;
    long long n = strtoll(text, &end, 10);

    if (end == text || *end != '\0' || n < 0 || n > most)
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not a number from 0 to %lld",
                         text, (long long)most);
    *ret = n;
    return 0;
}

static int
take(struct parse *p, const struct row *row, const char *value, struct error *e)
{
    char *to = (char *)p + row->at;
    int64_t *n = (int64_t *)(void *)to;
    int rc = 0;

    switch (row->type) {
    case TEXT:
        *(const char **)(void *)to = value;
        break;
    case FLAG:
        *(bool *)to = true;
        break;
    case NUMBER:
        rc = number(value, INT32_MAX, n, e);
        break;
    case REAL: {
        int64_t whole = 0;
        rc = number(value, INT32_MAX, &whole, e);
        *(double *)(void *)to = (double)whole;
        break;
    }
    case DURATION:
        rc = value_duration_text(value, false, n, e);
        break;
    case DAYS:
        rc = number(value, 36500, n, e);
        *n *= 86400;
        break;
    case MEGABYTES:
        rc = number(value, 1 << 20, n, e);
        *n <<= 20;
        break;
    }
    return rc < 0 ? error_prepend(e, "--%s", row->name) : 0;
}

static int
check(struct parse *p, struct error *e)
{
    struct options *o = &p->o;

    if (p->help) {
        fputs(usage, stdout);
        exit(0);
    }
    if (p->log_level != NULL && !log_set_spec(p->log_level))
        return error_set(e, ERR_BAD_REQUEST,
                         "--log-level: \"%s\" is not level or module=level,...",
                         p->log_level);
    if (p->log_format != NULL && !streq(p->log_format, "json") &&
        !streq(p->log_format, "text"))
        return error_set(e, ERR_BAD_REQUEST, "--log-format: \"%s\" is not text or json",
                         p->log_format);
    if (p->log_format != NULL)
        log_set_json(streq(p->log_format, "json"));
    if (o->data_dir == NULL)
        return error_set(e, ERR_BAD_REQUEST, "--data-dir is required");
    if ((o->tls_cert == NULL) != (o->tls_key == NULL))
        return error_set(e, ERR_BAD_REQUEST,
                         "--tls-cert-file and --tls-private-key-file go together");
    if (o->tls_lifetime_s < 3)
        return error_set(e, ERR_BAD_REQUEST, "--tls-lifetime: too short to be renewed");
    if (o->limits.rate > 0 && o->limits.burst < 1)
        return error_set(e, ERR_BAD_REQUEST, "--user-burst: a rate needs at least 1");
    if (history_limits_parse(p->history_count, p->history_age, p->history_size,
                             &o->history, e) < 0 ||
        store_options_check(&o->store, e) < 0)
        return -(int)e->code;
    if (http_split_listen(o->listen, o->address, sizeof(o->address), &o->port, e) < 0)
        return error_prepend(e, "--listen");
    return 0;
}

int
options_parse(int argc, char **argv, struct options *ret, struct error *e)
{
    struct option longs[ARRAY_LEN(rows) + 1] = {0};
    struct parse p = {.o = {.listen = "127.0.0.1:6440",
                            .tls_lifetime_s = TLS_LIFETIME_DEFAULT_S,
                            .audit_max_bytes = (int64_t)100 << 20,
                            .audit_backups = 10,
                            .limits = LIMITS_DEFAULT,
                            .max_connections = -1,
                            .max_per_address = -1}};
    int id;

    for (size_t i = 0; i < ARRAY_LEN(rows); i++)
        longs[i] = (struct option){rows[i].name,
                                   rows[i].type == FLAG ? no_argument : required_argument,
                                   NULL, (int)i + 1};
    opterr = 1;
    while ((id = getopt_long(argc, argv, "", longs, NULL)) != -1) {
        if (id < 1 || id > (int)ARRAY_LEN(rows))
            return error_set(e, ERR_BAD_REQUEST, "see drover-apiserver --help");
        if (take(&p, &rows[id - 1], optarg, e) < 0)
            return -(int)e->code;
    }
    if (optind < argc)
        return error_set(e, ERR_BAD_REQUEST, "\"%s\" is not an option", argv[optind]);
    if (check(&p, e) < 0)
        return -(int)e->code;
    *ret = p.o;
    return 0;
}
