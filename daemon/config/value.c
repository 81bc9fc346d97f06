/* value.c - the text of one option to its field, and back. */
#include <arpa/inet.h>
#include <ctype.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "config/options.h"

static void *field_of(const struct option *o, struct config *c)
{
    return (char *)c + o->offset;
}

static const void *field_in(const struct option *o, const struct config *c)
{
    return (const char *)c + o->offset;
}

void address_text(const struct host_port *address, char text[UNITS_ADDRESS_SIZE])
{
    struct in6_addr v6;
    char host[UNITS_HOST_SIZE];

    memcpy(host, address->host, sizeof host);
    for (char *p = host; *p; p++) {
        *p = (char)tolower((unsigned char)*p);
    }
    if (inet_pton(AF_INET6, host, &v6) == 1) {
        (void)inet_ntop(AF_INET6, &v6, host, sizeof host);
    }
    (void)snprintf(text, UNITS_ADDRESS_SIZE, strchr(host, ':') ? "[%s]:%u" : "%s:%u", host,
                   address->port);
}

/* Does a host that looks like a number spell a real address? Names are resolved later. */
static bool is_plausible_host(const char *host)
{
    char bare[UNITS_HOST_SIZE];
    unsigned char ip[sizeof(struct in6_addr)];

    (void)snprintf(bare, sizeof bare, "%s", host);
    if (strchr(bare, ':')) {
        bare[strcspn(bare, "%")] = 0; /* fe80::1%eth0 */
        return inet_pton(AF_INET6, bare, ip) == 1;
    }
    return bare[strspn(bare, "0123456789.")] != 0 || inet_pton(AF_INET, bare, ip) == 1;
}

static int parse_address(const char *value, struct host_port *out, struct buf *why)
{
    struct host_port address;

    if (units_parse_host_port(value, &address) || !is_plausible_host(address.host)) {
        buf_printf(why,
                   "\"%.300s\" is not an address; write HOST:PORT with a port of 1..65535, such as "
                   "10.0.0.1:7400, n1.example.org:7400 or [::1]:7400",
                   value);
        return -RD_EINVALID;
    }
    *out = address;
    return 0;
}

/* The same, for others to dial, in its one spelling. */
static int parse_dialled(const char *value, char text[UNITS_ADDRESS_SIZE], struct buf *why)
{
    struct host_port address;

    if (parse_address(value, &address, why)) {
        return -RD_EINVALID;
    }
    if (units_is_wildcard(&address)) {
        buf_printf(
            why,
            "\"%.300s\" is a wildcard, which nobody can dial; write the address at which the "
            "other members reach the node",
            value);
        return -RD_EINVALID;
    }
    address_text(&address, text);
    return 0;
}

static int set_advertise(const char *value, struct config *c, struct buf *why)
{
    char text[UNITS_ADDRESS_SIZE] = "";

    if (*value && parse_dialled(value, text, why)) {
        return -RD_EINVALID;
    }
    memcpy(c->advertise, text, sizeof text);
    return 0;
}

static int set_member(const char *value, struct config *c, struct buf *why)
{
    const char *at = strchr(value, '@');
    char number[16] = "";
    uint64_t id;

    if (*value == 0) {
        c->members_count = 0;
        return 0;
    }
    if (at && (size_t)(at - value) < sizeof number) {
        memcpy(number, value, (size_t)(at - value));
    }
    if (units_parse_number(number, 1, UINT32_MAX, &id)) {
        buf_printf(
            why,
            "\"%.300s\" is not a member; write ID@HOST:PORT with an id of 1..4294967295, such "
            "as 1@10.0.0.1:7400",
            value);
        return -RD_EINVALID;
    }
    if (c->members_count == CONFIG_FOUNDERS_MAX) {
        buf_printf(why,
                   "more than %d members; found the cluster with at most that many and add the "
                   "others with `raftctl add-server`",
                   CONFIG_FOUNDERS_MAX);
        return -RD_EINVALID;
    }
    char text[UNITS_ADDRESS_SIZE] = "";
    if (parse_dialled(at + 1, text, why)) {
        return -RD_EINVALID;
    }
    c->members[c->members_count].id = (uint32_t)id;
    memcpy(c->members[c->members_count].address, text, sizeof text);
    c->members_count++;
    return 0;
}

/* "unix:/path" */
static int parse_unix(const char *value, char text[UNITS_ADDRESS_SIZE], struct buf *why)
{
    const char *path = value + strlen("unix:");

    if (*path != '/' || strlen(path) >= sizeof((struct config *)0)->admin_socket) {
        buf_printf(why,
                   "\"%.300s\" is no Unix socket; write unix: and an absolute path of at most 107 "
                   "bytes, such as unix:/run/raftd/http.sock",
                   value);
        return -RD_EINVALID;
    }
    (void)snprintf(text, UNITS_ADDRESS_SIZE, "%s", value);
    return 0;
}

static int parse_http(const char *value, char text[UNITS_ADDRESS_SIZE], struct buf *why)
{
    struct host_port address;

    if (strncmp(value, "unix:", strlen("unix:")) == 0) {
        return parse_unix(value, text, why);
    }
    if (parse_address(value, &address, why)) {
        return -RD_EINVALID;
    }
    address_text(&address, text);
    return 0;
}

static int set_http(const char *value, struct config *c, struct buf *why)
{
    char text[UNITS_ADDRESS_SIZE] = "";

    if (*value == 0) {
        c->http_listen_count = 0;
        return 0;
    }
    if (parse_http(value, text, why)) {
        return -RD_EINVALID;
    }
    for (uint32_t i = 0; i < c->http_listen_count; i++) {
        if (strcmp(c->http_listen[i], text) == 0) {
            buf_printf(why, "%s is listed twice; delete one", text);
            return -RD_EINVALID;
        }
    }
    if (c->http_listen_count == CONFIG_HTTP_MAX) {
        buf_printf(why, "more than %d addresses; delete some, or listen on 0.0.0.0 or [::]",
                   CONFIG_HTTP_MAX);
        return -RD_EINVALID;
    }
    memcpy(c->http_listen[c->http_listen_count++], text, sizeof text);
    return 0;
}

static int set_listen(const char *value, struct config *c, struct buf *why)
{
    return parse_address(value, &c->listen, why);
}

static int set_text(const struct option *o, const char *value, struct config *c, struct buf *why)
{
    size_t size = strlen(value);

    if (size >= o->size) {
        buf_printf(why, "is %zu bytes long; at most %zu are possible", size, o->size - 1);
        return -RD_EINVALID;
    }
    memset(field_of(o, c), 0, o->size);
    memcpy(field_of(o, c), value, size);
    return 0;
}

/* A number as people write it for this kind of option. */
static void number_text(enum option_kind kind, uint64_t value, char *text, size_t size)
{
    if (kind == OPTION_DURATION) {
        units_duration_text(value, text, size);
    } else if (kind == OPTION_SIZE) {
        units_size_text(value, text, size);
    } else {
        (void)snprintf(text, size, "%" PRIu64, value);
    }
}

static int parse_number(enum option_kind kind, const char *value, uint64_t *out, struct buf *why)
{
    if (kind == OPTION_DURATION) {
        if (units_parse_duration(value, out) == 0) {
            return 0;
        }
        buf_printf(why,
                   "\"%.300s\" is not a duration; write a number and ms, s, m or h, such as 500ms",
                   value);
    } else if (kind == OPTION_SIZE) {
        if (units_parse_size(value, out) == 0) {
            return 0;
        }
        buf_printf(
            why, "\"%.300s\" is not a size; write bytes, or a number and K, M, G or T, such as 64M",
            value);
    } else {
        if (units_parse_number(value, 0, UINT64_MAX, out) == 0) {
            return 0;
        }
        buf_printf(why, "\"%.300s\" is not a number; write decimal digits", value);
    }
    return -RD_EINVALID;
}

static int set_number(const struct option *o, const char *value, struct config *c, struct buf *why)
{
    uint64_t number;
    char low[32];
    char high[32];

    if (parse_number(o->kind, value, &number, why)) {
        return -RD_EINVALID;
    }
    if (number < o->low || number > o->high) {
        number_text(o->kind, o->low, low, sizeof low);
        number_text(o->kind, o->high, high, sizeof high);
        buf_printf(why, "%s is out of range; write a value from %s to %s", value, low, high);
        return -RD_EINVALID;
    }
    if (o->kind == OPTION_ID) {
        uint32_t id = (uint32_t)number;
        memcpy(field_of(o, c), &id, sizeof id);
    } else {
        memcpy(field_of(o, c), &number, sizeof number);
    }
    return 0;
}

static int set_mode(const char *value, struct config *c, struct buf *why)
{
    size_t digits = strspn(value, "01234567");
    uint32_t mode = 0;

    for (const char *p = value; *p && digits <= 4; p++) {
        mode = mode * 8 + (uint32_t)(*p - '0');
    }
    if (digits < 3 || digits > 4 || value[digits] || mode > 0777) {
        buf_printf(
            why,
            "\"%.300s\" is not a mode; write octal permissions from 0000 to 0777, such as 0660",
            value);
        return -RD_EINVALID;
    }
    c->admin_mode = mode;
    return 0;
}

static int set_level(const char *value, struct config *c, struct buf *why)
{
    if (log_level_by_name(value, &c->log_level)) {
        return 0;
    }
    buf_printf(why, "\"%.300s\" is not a level; write error, warning, notice, info or debug",
               value);
    return -RD_EINVALID;
}

static int set_format(const char *value, struct config *c, struct buf *why)
{
    if (strcmp(value, "text") != 0 && strcmp(value, "json") != 0) {
        buf_printf(why, "\"%.300s\" is not a format; write text or json", value);
        return -RD_EINVALID;
    }
    c->log_format = *value == 'j' ? LOG_FORMAT_JSON : LOG_FORMAT_TEXT;
    return 0;
}

static int set_yes_no(const struct option *o, const char *value, struct config *c, struct buf *why)
{
    bool yes = strcmp(value, "yes") == 0;

    if (!yes && strcmp(value, "no") != 0) {
        buf_printf(why, "\"%.300s\" is neither; write yes or no", value);
        return -RD_EINVALID;
    }
    memcpy(field_of(o, c), &yes, sizeof yes);
    return 0;
}

/* What no value may hold, so that a dump reads back to the same. */
static int check_writable(const char *value, struct buf *why)
{
    if (!units_is_utf8(value, strlen(value))) {
        buf_put_str(why, "is not UTF-8; save the file in that encoding");
        return -RD_EINVALID;
    }
    for (const char *p = value; *p; p++) {
        if ((unsigned char)*p < 0x20 || *p == 0x7f) {
            buf_printf(why, "holds the control character 0x%02x; remove it",
                       (unsigned)(unsigned char)*p);
            return -RD_EINVALID;
        }
    }
    if (value[0] == ';' || strstr(value, " ;")) {
        buf_put_str(why, "holds a ';' where a comment begins; remove it, or the blank before it");
        return -RD_EINVALID;
    }
    return 0;
}

int option_set(const struct option *o, const char *value, struct config *c, struct buf *why)
{
    if (*value == 0 && !(o->flags & OPTION_EMPTY_OK)) {
        buf_put_str(why, "has no value; write one");
        if (*o->default_text) {
            buf_printf(why, ", or delete the line for the default %s", o->default_text);
        }
        return -RD_EINVALID;
    }
    if (check_writable(value, why)) {
        return -RD_EINVALID;
    }
    switch (o->kind) {
    case OPTION_ID:
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        return set_number(o, value, c, why);
    case OPTION_MODE:
        return set_mode(value, c, why);
    case OPTION_TEXT:
        return set_text(o, value, c, why);
    case OPTION_LISTEN:
        return set_listen(value, c, why);
    case OPTION_ADVERTISE:
        return set_advertise(value, c, why);
    case OPTION_MEMBER:
        return set_member(value, c, why);
    case OPTION_HTTP:
        return set_http(value, c, why);
    case OPTION_LEVEL:
        return set_level(value, c, why);
    case OPTION_FORMAT:
        return set_format(value, c, why);
    case OPTION_YES_NO:
        break;
    }
    return set_yes_no(o, value, c, why);
}

uint32_t option_lines(const struct option *o, const struct config *c)
{
    if (o->kind == OPTION_MEMBER) {
        return c->members_count;
    }
    return o->kind == OPTION_HTTP ? c->http_listen_count : 1;
}

static void print_number(const struct option *o, const struct config *c, struct buf *out)
{
    uint64_t number;
    char text[32];

    memcpy(&number, field_in(o, c), sizeof number);
    number_text(o->kind, number, text, sizeof text);
    buf_put_str(out, text);
}

void option_print(const struct option *o, const struct config *c, uint32_t nth, struct buf *out)
{
    char address[UNITS_ADDRESS_SIZE];

    switch (o->kind) {
    case OPTION_ID:
        buf_printf(out, "%" PRIu32, c->node_id);
        break;
    case OPTION_COUNT:
    case OPTION_DURATION:
    case OPTION_SIZE:
        print_number(o, c, out);
        break;
    case OPTION_MODE:
        buf_printf(out, "%04o", (unsigned)c->admin_mode);
        break;
    case OPTION_TEXT:
    case OPTION_ADVERTISE:
        buf_put_str(out, field_in(o, c));
        break;
    case OPTION_LISTEN:
        address_text(&c->listen, address);
        buf_put_str(out, address);
        break;
    case OPTION_MEMBER:
        buf_printf(out, "%" PRIu32 "@%s", c->members[nth].id, c->members[nth].address);
        break;
    case OPTION_HTTP:
        buf_put_str(out, c->http_listen[nth]);
        break;
    case OPTION_LEVEL:
        buf_put_str(out, log_level_name(c->log_level));
        break;
    case OPTION_FORMAT:
        buf_put_str(out, c->log_format == LOG_FORMAT_JSON ? "json" : "text");
        break;
    case OPTION_YES_NO:
        buf_put_str(out, *(const bool *)field_in(o, c) ? "yes" : "no");
        break;
    }
}
