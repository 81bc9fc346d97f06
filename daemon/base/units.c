#include "base/units.h"

#include <arpa/inet.h>
#include <ctype.h>
#include <errno.h>
#include <inttypes.h>
#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"

struct unit {
    const char *suffix;
    uint64_t factor;
};

static const struct unit duration_units[] = {
    {"ms", 1}, {"s", 1000}, {"m", 60000}, {"h", 3600000}, {NULL, 0}};
static const struct unit size_units[] = {{"", 1},           {"K", 1ULL << 10}, {"M", 1ULL << 20},
                                         {"G", 1ULL << 30}, {"T", 1ULL << 40}, {NULL, 0}};

static int parse_digits(const char *text, uint64_t *value, const char **rest)
{
    char *end = NULL;

    if (!isdigit((unsigned char)text[0])) {
        return -RD_EINVALID;
    }
    errno = 0;
    unsigned long long v = strtoull(text, &end, 10);
    if (errno) {
        return -RD_EINVALID;
    }
    *value = v;
    *rest = end;
    return 0;
}

static int parse_with_unit(const char *text, const struct unit *units, uint64_t *out)
{
    uint64_t value;
    const char *rest;

    if (parse_digits(text, &value, &rest)) {
        return -RD_EINVALID;
    }
    for (const struct unit *u = units; u->suffix; u++) {
        if (strcmp(rest, u->suffix) == 0) {
            if (value > UINT64_MAX / u->factor) {
                return -RD_EINVALID;
            }
            *out = value * u->factor;
            return 0;
        }
    }
    return -RD_EINVALID;
}

int units_parse_duration(const char *text, uint64_t *ms)
{
    return parse_with_unit(text, duration_units, ms);
}

int units_parse_size(const char *text, uint64_t *bytes)
{
    return parse_with_unit(text, size_units, bytes);
}

int units_parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *value)
{
    uint64_t v;
    const char *rest;

    if (parse_digits(text, &v, &rest) || *rest || v < low || v > high) {
        return -RD_EINVALID;
    }
    *value = v;
    return 0;
}

static bool is_name_char(unsigned char c)
{
    return isalnum(c) || c == '.' || c == '-' || c == '_';
}

static bool is_host(const char *host, size_t size, bool bracketed)
{
    bool scope = false; /* behind the '%' of [fe80::1%eth0] */

    if (size == 0 || size >= UNITS_HOST_SIZE) {
        return false;
    }
    for (size_t i = 0; i < size; i++) {
        unsigned char c = (unsigned char)host[i];
        if (bracketed && !scope && c == '%' && i > 0 && i + 1 < size) {
            scope = true;
        } else if (bracketed && !scope ? !(isxdigit(c) || c == ':' || c == '.')
                                       : !is_name_char(c)) {
            return false;
        }
    }
    return true;
}

int units_parse_host_port(const char *text, struct host_port *out)
{
    const char *host = text;
    const char *colon = strrchr(text, ':');
    uint64_t port;

    if (!colon || units_parse_number(colon + 1, 1, 65535, &port)) {
        return -RD_EINVALID;
    }
    size_t size = (size_t)(colon - text);
    bool bracketed = size >= 2 && text[0] == '[' && colon[-1] == ']';
    if (bracketed) {
        host++;
        size -= 2;
    }
    if (!is_host(host, size, bracketed)) {
        return -RD_EINVALID;
    }
    memcpy(out->host, host, size);
    out->host[size] = 0;
    out->port = (uint16_t)port;
    return 0;
}

bool units_is_wildcard(const struct host_port *address)
{
    struct in_addr v4;
    struct in6_addr v6; /* has many spellings of zero */

    return (inet_pton(AF_INET, address->host, &v4) == 1 && v4.s_addr == INADDR_ANY) ||
           (inet_pton(AF_INET6, address->host, &v6) == 1 && IN6_IS_ADDR_UNSPECIFIED(&v6));
}

/* The largest unit that divides the value evenly. */
static void text_with_unit(uint64_t value, const struct unit *units, char *text, size_t text_size)
{
    const struct unit *best = units;

    for (const struct unit *u = units; u->suffix; u++) {
        if (value != 0 && value % u->factor == 0 && u->factor >= best->factor) {
            best = u;
        }
    }
    (void)snprintf(text, text_size, "%" PRIu64 "%s", value / best->factor, best->suffix);
}

void units_duration_text(uint64_t ms, char *text, size_t text_size)
{
    text_with_unit(ms, duration_units, text, text_size);
}

void units_size_text(uint64_t bytes, char *text, size_t text_size)
{
    text_with_unit(bytes, size_units, text, text_size);
}

/* Length of the well-formed sequence at p, 0 when there is none. */
static size_t utf8_sequence(const uint8_t *p, size_t left)
{
    static const struct {
        uint8_t mask, lead;
        size_t size;
        uint32_t least;
    } forms[] = {{0x80, 0x00, 1, 0},
                 {0xe0, 0xc0, 2, 0x80},
                 {0xf0, 0xe0, 3, 0x800},
                 {0xf8, 0xf0, 4, 0x10000}};

    for (size_t f = 0; f < 4; f++) {
        if ((p[0] & forms[f].mask) != forms[f].lead) {
            continue;
        }
        uint32_t code = p[0] & (uint8_t)~forms[f].mask;
        if (forms[f].size > left) {
            return 0;
        }
        for (size_t i = 1; i < forms[f].size; i++) {
            if ((p[i] & 0xc0) != 0x80) {
                return 0;
            }
            code = code << 6 | (p[i] & 0x3f);
        }
        bool valid = code >= forms[f].least && code <= 0x10ffff && (code < 0xd800 || code > 0xdfff);
        return valid ? forms[f].size : 0;
    }
    return 0;
}

bool units_is_utf8(const void *data, size_t size)
{
    const uint8_t *p = data;

    while (size) {
        size_t n = utf8_sequence(p, size);
        if (n == 0) {
            return false;
        }
        p += n;
        size -= n;
    }
    return true;
}
