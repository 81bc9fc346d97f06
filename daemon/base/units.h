/* units.h - what people write for times, sizes and addresses. Threads: any. */
#ifndef RAFTD_BASE_UNITS_H
#define RAFTD_BASE_UNITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* "500ms", "2s", "1m", "1h", "0ms": a unit is required. 0, or -RD_EINVALID. */
int units_parse_duration(const char *text, uint64_t *ms);

/* "4096", "64K", "256M", "16G" (powers of 1024). 0, or -RD_EINVALID (also on overflow). */
int units_parse_size(const char *text, uint64_t *bytes);

/* A decimal number low..high, nothing around it. 0, or -RD_EINVALID. */
int units_parse_number(const char *text, uint64_t low, uint64_t high, uint64_t *value);

#define UNITS_HOST_SIZE 256
struct host_port {
    char host[UNITS_HOST_SIZE]; /* without brackets */
    uint16_t port;              /* 1..65535 */
};

#define UNITS_ADDRESS_SIZE 270 /* longest "[host]:port" and its NUL */

/* "10.0.0.1:7400", "host.example:7400", "[::1]:7400". 0, or -RD_EINVALID. */
int units_parse_host_port(const char *text, struct host_port *out);

/* Is it 0.0.0.0 or [::]: fit to listen on, not to be dialled. */
bool units_is_wildcard(const struct host_port *address);

/* The canonical text of a duration ("500ms", "2s") and of a size ("64M"). */
void units_duration_text(uint64_t ms, char *text, size_t text_size);
void units_size_text(uint64_t bytes, char *text, size_t text_size);

/* Are the bytes well-formed UTF-8 (RFC 3629: no surrogates, no overlong forms)? */
bool units_is_utf8(const void *data, size_t size);

#endif
