/* SPDX-License-Identifier: Apache-2.0 */
/* One walk over spec.ssh serves admission and the controller, so that they agree. */
#include "api/fleet.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <stdarg.h>
#include <stdlib.h>

#include "base/id.h"
#include "base/map.h"
#include "base/mem.h"

enum { SSH_PORT = 22, SHOWN_MAX = 200, BLOCKS_MAX = 1024, ADDRESS_BYTES = 16 };

struct reading {
    const char *fleet;
    const json_t *fleet_spec, *ssh;
    struct violations *v;
    struct map *names; /* of hosts so far */
    struct fleet_hosts *out;
    size_t with_ip, without_ip;
    const char *at; /* path of the host being read */
};

static void problem(struct reading *r, const char *field, const json_t *value,
                    const char *fmt, ...) PRINTF_LIKE(4, 5);

static void
problem(struct reading *r, const char *field, const json_t *value, const char *fmt, ...)
{
    autofree char *path = xasprintf("%s%s%s", r->at, *field != '\0' ? "." : "", field);
    autofree char *shown =
        value == NULL ? NULL : json_dumps(value, JSON_COMPACT | JSON_ENCODE_ANY);
    char buf[400];
    va_list ap;

    va_start(ap, fmt);
    vsnprintf(buf, sizeof(buf), fmt, ap);
    va_end(ap);
    if (shown != NULL && strlen(shown) > SHOWN_MAX)
        shown[SHOWN_MAX] = '\0';
    violations_add(r->v, value == NULL ? VIOLATION_REQUIRED : VIOLATION_INVALID, path,
                   shown, "%s", buf);
}

/* --- addresses --------------------------------------------------------------------- */

/* Family, or 0. */
static int
parse_address(const char *text, unsigned char out[ADDRESS_BYTES])
{
    if (inet_pton(AF_INET, text, out) == 1)
        return AF_INET;
    return inet_pton(AF_INET6, text, out) == 1 ? AF_INET6 : 0;
}

/* "10.0.0.0/24"; a missing length is the whole address. Family, or 0. */
static int
parse_network(const char *text, unsigned char out[ADDRESS_BYTES], unsigned *ret_bits)
{
    size_t n = strcspn(text, "/");
    autofree char *address = xstrndup(text, n);
    int family = parse_address(address, out);
    unsigned max = family == AF_INET ? 32 : 128;
    char *end;

    if (family == 0 || text[n] == '\0') {
        *ret_bits = max;
        return family;
    }
    unsigned long bits = strtoul(text + n + 1, &end, 10);
    if (!isdigit((unsigned char)text[n + 1]) || *end != '\0' || bits > max)
        return 0;
    *ret_bits = (unsigned)bits;
    return family;
}

bool
fleet_is_address(const char *text)
{
    unsigned char bytes[ADDRESS_BYTES];

    return parse_address(text, bytes) != 0;
}

bool
fleet_in_network(const char *address, const char *network)
{
    unsigned char a[ADDRESS_BYTES], n[ADDRESS_BYTES];
    unsigned ignored, bits;
    int family = parse_network(address, a, &ignored);

    if (family == 0 || parse_network(network, n, &bits) != family)
        return false;
    for (unsigned i = 0; i < bits; i++) {
        unsigned char mask = (unsigned char)(0x80 >> (i % 8));
        if ((a[i / 8] & mask) != (n[i / 8] & mask))
            return false;
    }
    return true;
}

bool
fleet_is_cluster(const json_t *spec)
{
    const char *placement = json_string_value(json_object_get(spec, "placement"));

    return placement != NULL && streq(placement, "cluster");
}

bool
fleet_network_of(const char *address, char *out, size_t size)
{
    unsigned char a[ADDRESS_BYTES];
    char text[INET6_ADDRSTRLEN];
    unsigned bits;
    int family = parse_network(address, a, &bits);

    if (family == 0)
        return false;
    for (unsigned i = bits; i < (family == AF_INET ? 32U : 128U); i++)
        a[i / 8] &= (unsigned char)~(0x80 >> (i % 8));
    inet_ntop(family, a, text, sizeof(text));
    return (size_t)snprintf(out, size, "%s/%u", text, bits) < size;
}

static bool
private_address(const char *text)
{
    static const char *const networks[] = {"10.0.0.0/8",     "172.16.0.0/12",
                                           "192.168.0.0/16", "100.64.0.0/10",
                                           "127.0.0.0/8",    "fc00::/7"};

    for (size_t i = 0; i < ARRAY_LEN(networks); i++)
        if (fleet_in_network(text, networks[i]))
            return true;
    return false;
}

/* --- words that become arguments of ssh ----------------------------------------------
 */

static bool
made_of(const char *text, const char *more)
{
    if (*text == '\0' || *text == '-')
        return false;
    for (; *text != '\0'; text++)
        if (!isalnum((unsigned char)*text) && strchr(more, *text) == NULL)
            return false;
    return true;
}

static const char *
text_of(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* Of the host, else of the fleet's ssh, else NULL. */
static json_t *
either(const json_t *host, const json_t *ssh, const char *key)
{
    json_t *value = json_object_get(host, key);

    return value != NULL && !json_is_null(value) ? value : json_object_get(ssh, key);
}

static bool
take_hostname(struct reading *r, const char *field, const json_t *value, json_t *to)
{
    const char *text = json_string_value(value);

    if (text == NULL || !made_of(text, "._-:")) {
        problem(r, field, value, "must be a host name or an address");
        return false;
    }
    json_object_set_new(to, "hostname", json_string(text));
    return true;
}

static bool
take_port(struct reading *r, const char *field, const json_t *value, json_t *to)
{
    json_int_t port = value == NULL ? SSH_PORT : json_integer_value(value);

    if (port < 1 || port > 65535) {
        problem(r, field, value, "must be a port from 1 to 65535");
        return false;
    }
    json_object_set_new(to, "port", json_integer(port));
    return true;
}

static bool
take_user(struct reading *r, const char *field, const json_t *value, json_t *to)
{
    const char *text = json_string_value(value);

    if (value == NULL) {
        problem(r, field, NULL, "the user to log in as, here or in spec.ssh.user");
        return false;
    }
    if (text == NULL || !made_of(text, "._-")) {
        problem(r, field, value, "must be a user name");
        return false;
    }
    json_object_set_new(to, "user", json_string(text));
    return true;
}

static bool
take_identity(struct reading *r, const char *field, const json_t *value, json_t *to)
{
    const char *secret = text_of(value, "secretName"), *key = text_of(value, "key");

    if (value == NULL) {
        problem(r, field, NULL,
                "the private key, here or in spec.ssh.identity: {secretName: ...}; "
                "`drover apply` also takes identityFile");
        return false;
    }
    if (secret == NULL || *secret == '\0') {
        problem(r, field, value, "must name a Secret: {secretName: ...}");
        return false;
    }
    json_object_set_new(to, "identity",
                        json_pack("{s:s, s:s}", "secretName", secret, "key",
                                  key != NULL ? key : "identity"));
    return true;
}

static bool
known_members(struct reading *r, const char *field, const json_t *o,
              const char *const *known)
{
    const char *key;
    json_t *value;
    bool ok = true;

    json_object_foreach ((json_t *)(uintptr_t)o, key, value) {
        bool found = false;
        for (const char *const *k = known; *k != NULL && !found; k++)
            found = streq(*k, key);
        if (found)
            continue;
        autofree char *path =
            xasprintf("%s%s%.200s", field, *field != '\0' ? "." : "", key);
        problem(r, path, value, "there is no such field%s",
                streq(key, "identityFile")
                    ? " in stored objects; `drover apply` makes a Secret of it"
                    : "");
        ok = false;
    }
    return ok;
}

static bool
take_jump(struct reading *r, const json_t *jump, json_t *to)
{
    static const char *const known[] = {"hostname", "port", "user", "identity", NULL};
    json_t *out;

    if (jump == NULL)
        return true;
    if (!json_is_object(jump)) {
        problem(r, "proxyJump", jump, "must be a mapping: {hostname: ...}");
        return false;
    }
    out = json_object();
    json_object_set_new(to, "proxyJump", out);
    return known_members(r, "proxyJump", jump, known) &&
           take_hostname(r, "proxyJump.hostname", json_object_get(jump, "hostname"),
                         out) &&
           take_port(r, "proxyJump.port", json_object_get(jump, "port"), out) &&
           take_user(r, "proxyJump.user", either(jump, to, "user"), out) &&
           take_identity(r, "proxyJump.identity", either(jump, to, "identity"), out);
}

/* --- one host ---------------------------------------------------------------------- */

static void
host_name(const struct reading *r, const json_t *ssh, char out[FLEET_NAME_MAX])
{
    auto_str name = STR_INIT(1024);
    json_int_t port = json_integer_value(json_object_get(ssh, "port"));
    char hash[65];

    str_addf(&name, "%s-", r->fleet);
    for (const char *p = text_of(ssh, "hostname"); *p != '\0'; p++)
        str_addc(&name,
                 isalnum((unsigned char)*p) ? (char)tolower((unsigned char)*p) : '-');
    while (name.len > 0 && name.ptr[name.len - 1] == '-')
        str_truncate(&name, name.len - 1);
    if (port != SSH_PORT)
        str_addf(&name, "-p%lld", (long long)port);
    if (name.len >= FLEET_NAME_MAX) {
        id_hash_hex(name.ptr, name.len, hash);
        str_truncate(&name, FLEET_NAME_MAX - 10);
        str_addf(&name, "-%.8s", hash);
    }
    snprintf(out, FLEET_NAME_MAX, "%s", name.ptr);
}

static bool
blocks_ok(const json_t *v)
{
    if (v == NULL || (json_is_string(v) && streq(json_string_value(v), "auto")))
        return true;
    return json_is_integer(v) && json_integer_value(v) >= 1 &&
           json_integer_value(v) <= BLOCKS_MAX;
}

static bool
take_rest(struct reading *r, const json_t *host, json_t *to)
{
    const json_t *ip = json_object_get(host, "internalIP");
    json_t *blocks = either(host, r->fleet_spec, "blocks");
    bool ok = true;

    if (ip == NULL) {
        r->without_ip++;
    } else if (!json_is_string(ip) || !private_address(json_string_value(ip))) {
        problem(r, "internalIP", ip, "must be an address of a private network");
        ok = false;
    } else {
        r->with_ip++;
        json_object_set_new(to, "internalIP", json_string(json_string_value(ip)));
    }
    if (!blocks_ok(json_object_get(host, "blocks"))) {
        problem(r, "blocks", json_object_get(host, "blocks"),
                "must be auto, or a number from 1 to %d", BLOCKS_MAX);
        ok = false;
    }
    if (blocks != NULL)
        json_object_set(to, "blocks", blocks);
    return ok;
}

static bool
read_ssh(struct reading *r, const json_t *host, json_t *out)
{
    const char *url = text_of(r->ssh, "agentURL");

    if (!take_hostname(r, "hostname", json_object_get(host, "hostname"), out) ||
        !take_port(r, "port", either(host, r->ssh, "port"), out) ||
        !take_user(r, "user", either(host, r->ssh, "user"), out) ||
        !take_identity(r, "identity", either(host, r->ssh, "identity"), out) ||
        !take_jump(r, either(host, r->ssh, "proxyJump"), out))
        return false;
    if (url != NULL)
        json_object_set_new(out, "agentURL", json_string(url));
    return true;
}

static void
read_host(struct reading *r, const json_t *item)
{
    static const char *const known[] = {"hostname",  "port",       "user",   "identity",
                                        "proxyJump", "internalIP", "blocks", NULL};
    json_t *host = json_is_string(item)
                       ? json_pack("{s:O}", "hostname", (json_t *)(uintptr_t)item)
                       : json_incref((json_t *)(uintptr_t)item);
    struct fleet_host h = {.spec = json_object()};
    json_t *ssh = json_object();

    json_object_set_new(h.spec, "ssh", ssh);
    bool ok = json_is_object(host);
    if (!ok)
        problem(r, "", item, "must be a host name or a mapping: {hostname: ...}");
    ok = ok && known_members(r, "", host, known) && read_ssh(r, host, ssh) &&
         take_rest(r, host, h.spec);
    if (ok) {
        host_name(r, ssh, h.name);
        ok = map_get(r->names, h.name) == NULL;
        if (!ok)
            violations_add(r->v, VIOLATION_DUPLICATE, r->at, NULL, "%s",
                           text_of(ssh, "hostname"));
    }
    json_decref(host);
    if (!ok) {
        json_decref(h.spec);
        return;
    }
    map_put(r->names, h.name, r);
    vec_push(&r->out->list, h);
}

/* --- the fleet --------------------------------------------------------------------- */

static void
check_network(struct reading *r)
{
    const json_t *network = json_object_get(r->ssh, "network");
    unsigned char bytes[ADDRESS_BYTES];
    unsigned bits;

    r->at = "spec.ssh";
    if (r->with_ip > 0 && r->without_ip > 0)
        violations_add(r->v, VIOLATION_INVALID, "spec.ssh.hosts", NULL,
                       "internalIP must be given for all hosts or for none");
    if (network == NULL)
        return;
    if (!json_is_string(network) ||
        parse_network(json_string_value(network), bytes, &bits) == 0)
        problem(r, "network", network, "must be a network, e.g. 10.0.0.0/24");
    else if (r->with_ip > 0)
        problem(r, "network", network, "cannot be given beside internalIP of hosts");
}

void
fleet_read_hosts(const char *fleet, const json_t *spec, struct fleet_hosts *ret,
                 struct violations *v)
{
    const json_t *ssh = json_object_get(spec, "ssh");
    struct reading r = {.fleet = fleet,
                        .fleet_spec = spec,
                        .ssh = ssh,
                        .v = v,
                        .names = map_new(NULL),
                        .out = ret};
    size_t i;
    const json_t *item;

    *ret = (struct fleet_hosts){.is_ssh = json_is_object(ssh)};
    json_array_foreach (json_object_get(ssh, "hosts"), i, item) {
        autofree char *at = xasprintf("spec.ssh.hosts[%zu]", i);
        r.at = at;
        read_host(&r, item);
    }
    if (ret->is_ssh)
        check_network(&r);
    map_free(r.names);
}

void
fleet_hosts_done(struct fleet_hosts *h)
{
    vec_foreach (host, &h->list)
        json_decref(host->spec);
    vec_done(&h->list);
}

static void
check_env(const json_t *env, struct violations *v)
{
    const char *key;
    json_t *value;

    json_object_foreach ((json_t *)(uintptr_t)env, key, value) {
        if (made_of(key, "_") && !isdigit((unsigned char)key[0]))
            continue;
        autofree char *path = xasprintf("spec.env.%.200s", key);
        violations_add(v, VIOLATION_INVALID, path, NULL,
                       "a variable name is letters, digits and underscores, and does not "
                       "start with a digit");
    }
}

void
fleet_check(const char *fleet, const json_t *spec, struct violations *v)
{
    auto_fleet_hosts hosts = {0};
    const json_t *blocks = json_object_get(spec, "blocks");

    if (!blocks_ok(blocks)) {
        autofree char *shown = json_dumps(blocks, JSON_COMPACT | JSON_ENCODE_ANY);
        violations_add(v, VIOLATION_INVALID, "spec.blocks", shown,
                       "must be auto, or a number from 1 to %d", BLOCKS_MAX);
    }
    check_env(json_object_get(spec, "env"), v);
    fleet_read_hosts(fleet, spec, &hosts, v);
}

/* --- blocks ------------------------------------------------------------------------ */

static int64_t
divisor_of_both(int64_t a, int64_t b)
{
    while (b != 0) {
        int64_t rest = a % b;
        a = b;
        b = rest;
    }
    return a;
}

int
fleet_blocks(const json_t *wanted, int64_t cpus, int64_t gpus, int64_t *ret,
             struct error *e)
{
    if (wanted == NULL) {
        *ret = 1;
        return 0;
    }
    if (json_is_string(wanted)) {
        *ret = divisor_of_both(cpus, gpus);
        if (*ret < 1)
            *ret = 1;
        return 0;
    }
    int64_t n = json_integer_value(wanted);
    if (n < 1 || cpus % n != 0 || gpus % n != 0)
        return error_set(e, ERR_INVALID,
                         "%lld processors%s cannot be divided into %lld equal blocks",
                         (long long)cpus, gpus > 0 ? " and the GPUs" : "", (long long)n);
    *ret = n;
    return 0;
}
