/* config.h - raftd.conf: one option table, strict parsing, every error with file:line.
 *
 * Threads: loop thread (at start, at a reload). Ownership: struct config is plain data. */
#ifndef RAFTD_CONFIG_CONFIG_H
#define RAFTD_CONFIG_CONFIG_H

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>

#include "base/buf.h"
#include "base/log.h"
#include "base/units.h"

enum { CONFIG_FOUNDERS_MAX = 9, CONFIG_HTTP_MAX = 8 };

struct config {
    /* [node] */
    uint32_t node_id;
    char node_name[65];
    char data_dir[1024];
    struct host_port listen;
    char advertise[UNITS_ADDRESS_SIZE]; /* what others dial; "" only when listen is a wildcard and
                                         * there are no members */
    char uri[513];
    /* [cluster] */
    char cluster_name[65]; /* "": none */
    uint32_t members_count;
    struct {
        uint32_t id;
        char address[UNITS_ADDRESS_SIZE];
    } members[CONFIG_FOUNDERS_MAX]; /* by ascending id */
    /* [raft] */
    uint64_t heartbeat_ms, election_timeout_ms, shutdown_transfer_timeout_ms;
    /* [storage] */
    uint64_t map_size, log_keep_entries, log_keep_bytes, stall_timeout_ms, state_max_bytes;
    /* [admin] */
    char admin_socket[108]; /* sun_path */
    uint32_t admin_mode;
    char admin_group[65];
    /* [http] */
    uint32_t http_listen_count;
    char http_listen[CONFIG_HTTP_MAX][UNITS_ADDRESS_SIZE]; /* "host:port" or "unix:/path" */
    uint64_t http_max_watchers;
    bool http_https; /* on addresses; with [tls] only */
    /* [tls] */
    char tls_cert[1024], tls_key[1024], tls_ca[1024]; /* all set, or none */
    int tls_lines[3]; /* where they stand in the file, for what is wrong in them; 0: given by -o */
    /* [log] */
    enum log_level log_level;
    enum log_format log_format;
};

#define CONFIG_DEFAULT_PATH "/etc/raftd/raftd.conf"

/* Read `path`, then the overrides ("section.key=value", in order), then check the whole. Every
 * error goes to `errors` as "file:line: message\n" (line 0: the file as a whole; overrides:
 * "-o section.key=value: message"), each with what to do. An override replaces the value of the
 * file, or adds one to a repeatable key, whose first value anywhere replaces the default; an empty
 * one takes away those before it. 0, or -RD_ECONFIG when there was any error; `out` is then
 * untouched. */
int config_load(const char *path, const char *const *overrides, uint32_t overrides_count,
                struct config *out, struct buf *errors);

/* The effective configuration as a raftd.conf with every key and its description: reads back to the
 * same. */
void config_dump(const struct config *c, FILE *out);

/* The option table, for manuals and tests: calls cb for each key in order. */
struct config_option_info {
    const char *section, *key, *default_text, *help;
    bool repeatable, reloadable;
};
typedef void config_option_cb(void *arg, const struct config_option_info *info);
void config_each_option(config_option_cb *cb, void *arg);

/* Calls cb for each key whose value differs, in the order of the table. */
void config_each_change(const struct config *old, const struct config *fresh, config_option_cb *cb,
                        void *arg);

/* Copy into `in_force` what may change at run time (the `reloadable` keys). */
void config_take_reloadable(const struct config *fresh, struct config *in_force);

#endif
