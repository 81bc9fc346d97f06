#include "config/options.h"

#include <string.h>
#include <strings.h>

#include "base/similar.h"

#define FIELD(name) offsetof(struct config, name), sizeof(((struct config *)0)->name)
#define MS(n) (n)
#define SECONDS(n) ((n)*1000ULL)
#define MINUTES(n) ((n)*60000ULL)
#define KIB(n) ((n)*1024ULL)
#define MIB(n) ((n)*1024ULL * 1024)
#define GIB(n) ((n)*1024ULL * 1024 * 1024)

/* A table. Order is the order of --dump-config and of the manual. */
/* clang-format off */
const struct option option_table[OPTIONS] = {
    {"node", "id", "",
     "Number of this node, 1..4294967295. Required. Every node of a cluster has its own, and the"
     " number of a node that was removed is never given to another. It is written into data_dir "
     "at the first start.",
     1, UINT32_MAX, FIELD(node_id), OPTION_ID, 0},
    {"node", "name", "",
     "Name shown to people. Default: the host name.",
     0, 0, FIELD(node_name), OPTION_TEXT, OPTION_EMPTY_OK},
    {"node", "data_dir", "/var/lib/raftd",
     "Directory of the log and the state: on a local disk, owned by the user raftd runs as, used"
     " by one raftd only. The service may write elsewhere only when its unit says so: raftd(8).",
     0, 0, FIELD(data_dir), OPTION_TEXT, 0},
    {"node", "listen", "0.0.0.0:7400",
     "Address and port on which the other members connect. [::]:7400 listens on IPv6.",
     0, 0, FIELD(listen), OPTION_LISTEN, 0},
    {"node", "advertise", "",
     "HOST:PORT at which the other members reach this node. Default: the value of listen; it has"
     " to be given when listen is a wildcard (0.0.0.0 or [::]) and there are members.",
     0, 0, FIELD(advertise), OPTION_ADVERTISE, OPTION_EMPTY_OK},
    {"node", "uri", "",
     "Text handed to local applications as the address of the leader when this node leads, for "
     "example amqp://10.0.0.1:5672. raftd does not interpret it.",
     0, 0, FIELD(uri), OPTION_TEXT, OPTION_EMPTY_OK | OPTION_RELOADABLE},

    {"cluster", "name", "",
     "Guard against mixing up clusters: when set, a node whose cluster has another name is "
     "refused. Required with [tls].",
     0, 0, FIELD(cluster_name), OPTION_TEXT, OPTION_EMPTY_OK},
    {"cluster", "member", "",
     "ID@HOST:PORT of a founding member, one line for each, at most 9, this node included; the "
     "same lines on every founding node. A new cluster forms when all of them are up with empty "
     "data. Ignored once this node has data. Without members the node waits for `raftctl "
     "bootstrap` or to be added to a cluster.",
     0, 0, FIELD(members), OPTION_MEMBER, OPTION_EMPTY_OK | OPTION_REPEATABLE},

    {"raft", "heartbeat_interval", "100ms",
     "How often the leader makes itself heard.",
     MS(5), MINUTES(1), FIELD(heartbeat_ms), OPTION_DURATION, 0},
    {"raft", "election_timeout", "500ms",
     "T: a follower that hears nothing from a leader for T to 2 T stands for election. At least "
     "3 x heartbeat_interval; the same on all nodes. Leases last at most 0.8 T.",
     MS(20), MINUTES(10), FIELD(election_timeout_ms), OPTION_DURATION, 0},
    {"raft", "shutdown_transfer_timeout", "5s",
     "How long a node that is told to stop takes at most to hand its leadership over and to answer "
     "what it was asked.",
     MS(100), MINUTES(10), FIELD(shutdown_transfer_timeout_ms), OPTION_DURATION,
     OPTION_RELOADABLE},

    {"storage", "map_size", "16G",
     "Address space of each of the two databases; an upper bound of their size, not disk use. When "
     "the log fills 90 % of it, writes are refused with no_space.",
     MIB(1), GIB(16384), FIELD(map_size), OPTION_SIZE, 0},
    {"storage", "log_keep_entries", "10000",
     "Log entries kept behind the applied index, so that a slow follower catches up from the log "
     "and not by a copy of the whole state. What a member that answers still needs is kept longer: "
     "up to 8 times log_keep_bytes, and at least 64 MiB.",
     1, 1000000000, FIELD(log_keep_entries), OPTION_COUNT, 0},
    {"storage", "log_keep_bytes", "64M",
     "Upper bound in bytes of the entries kept by log_keep_entries.",
     KIB(4), GIB(1024), FIELD(log_keep_bytes), OPTION_SIZE, 0},
    {"storage", "stall_timeout", "2s",
     "A leader whose disk has not finished a log commit for this long gives up leadership.",
     MS(100), MINUTES(10), FIELD(stall_timeout_ms), OPTION_DURATION, OPTION_RELOADABLE},
    {"storage", "state_max_bytes", "256M",
     "Quota of the replicated state, which lives in memory. Beyond it growth is refused with "
     "no_space; deletes work. The same on all nodes.",
     KIB(4), GIB(64), FIELD(state_max_bytes), OPTION_SIZE, 0},

    {"admin", "socket", "/run/raftd/raftd.sock",
     "Unix socket of raftctl. Its directory has to exist. Where it is another, raftctl has to be "
     "told: --socket, or RAFTCTL_SOCKET.",
     0, 0, FIELD(admin_socket), OPTION_TEXT, 0},
    {"admin", "mode", "0666",
     "Permissions of the socket, in octal. Who leads is for every local user who can open it; "
     "keys, values and changes need root, the user of the daemon, or the group below.",
     0, 0, FIELD(admin_mode), OPTION_MODE, 0},
    {"admin", "group", "raftd",
     "Members of this group may see data and make changes. Empty: no group.",
     0, 0, FIELD(admin_group), OPTION_TEXT, OPTION_EMPTY_OK},

    {"http", "listen", "127.0.0.1:7480",
     "Address and port of the read-only HTTP interface: discovery, health and metrics, without "
     "authentication; or a Unix socket, as unix:/run/raftd/http.sock. One line for each, at most "
     "8; an empty value takes away those before it: alone it switches HTTP off.",
     0, 0, FIELD(http_listen), OPTION_HTTP, OPTION_EMPTY_OK | OPTION_REPEATABLE},
    {"http", "max_watchers", "1024",
     "Clients that may wait or stream over HTTP at the same time; one more is answered 503.",
     0, 65536, FIELD(http_max_watchers), OPTION_COUNT, 0},
    {"http", "https", "no",
     "yes: on addresses this interface speaks HTTPS, that is TLS 1.3, with the certificate of [tls], "
     "and no plain HTTP; Unix sockets stay plain. Clients trust the authority of [tls] ca and show no "
     "certificate.",
     0, 0, FIELD(http_https), OPTION_YES_NO, 0},

    {"tls", "cert", "",
     "PEM file with the certificate of this node, for the URI raftd://NAME/ID of [cluster] name and "
     "[node] id, and those that lead from it to the authority. With cert, key and ca (all three or "
     "none) the members speak mutual TLS 1.3 and nothing else, so all of them have it or none. A "
     "reload reads the three files again.",
     0, 0, FIELD(tls_cert), OPTION_TEXT, OPTION_EMPTY_OK | OPTION_RELOADABLE},
    {"tls", "key", "",
     "PEM file with the private key of the certificate: without a password, and not readable by every "
     "user.",
     0, 0, FIELD(tls_key), OPTION_TEXT, OPTION_EMPTY_OK | OPTION_RELOADABLE},
    {"tls", "ca", "",
     "PEM file with the certificate authorities that sign the certificates of all members. Whoever "
     "has a certificate of one of them with a name of this cluster is believed.",
     0, 0, FIELD(tls_ca), OPTION_TEXT, OPTION_EMPTY_OK | OPTION_RELOADABLE},

    {"log", "level", "info",
     "Least important messages that are printed: error, warning, notice, info or debug.",
     0, 0, FIELD(log_level), OPTION_LEVEL, OPTION_RELOADABLE},
    {"log", "format", "text",
     "Form of a log line: text (key=value) or json (one object per line).",
     0, 0, FIELD(log_format), OPTION_FORMAT, 0},
};
/* clang-format on */

const struct option *option_find(const char *section, const char *key)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strcmp(option_table[i].section, section) == 0 &&
            strcmp(option_table[i].key, key) == 0) {
            return &option_table[i];
        }
    }
    return NULL;
}

bool option_is_section(const char *section)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strcmp(option_table[i].section, section) == 0) {
            return true;
        }
    }
    return false;
}

/* 0 is the best; UINT32_MAX: nobody would mean that. */
static unsigned unlikeness(const char *written, const char *known)
{
    size_t size = strlen(written);
    unsigned distance = similar_distance(written, known);

    if (size >= 3 && strncasecmp(written, known, size) == 0) {
        return 1; /* the beginning of it, or other capitals */
    }
    return distance <= 1 + size / 3 && distance < strlen(known) ? distance : UINT32_MAX;
}

void option_suggest_section(const char *section, struct buf *out)
{
    const char *best = NULL;
    unsigned best_unlikeness = UINT32_MAX;

    for (size_t i = 0; i < OPTIONS; i++) {
        unsigned u = unlikeness(section, option_table[i].section);
        if (u < best_unlikeness) {
            best_unlikeness = u;
            best = option_table[i].section;
        }
    }
    if (best) {
        buf_printf(out, "; did you mean [%s]?", best);
        return;
    }
    buf_put_str(out, "; the sections are");
    for (size_t i = 0; i < OPTIONS; i++) {
        if (i == 0 || strcmp(option_table[i].section, option_table[i - 1].section) != 0) {
            buf_printf(out, " [%s]", option_table[i].section);
        }
    }
}

void option_suggest_key(const char *section, const char *key, struct buf *out)
{
    const struct option *best = NULL;
    unsigned best_unlikeness = UINT32_MAX;

    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &option_table[i];
        unsigned u = strcmp(o->section, section) == 0 ? unlikeness(key, o->key) : UINT32_MAX;
        if (u < best_unlikeness) {
            best_unlikeness = u;
            best = o;
        }
    }
    if (best) {
        buf_printf(out, "; did you mean \"%s\"?", best->key);
        return;
    }
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strcmp(option_table[i].key, key) == 0) {
            buf_printf(out, "; it belongs in [%s]", option_table[i].section);
            return;
        }
    }
    buf_printf(out, "; the keys of [%s] are", section);
    for (size_t i = 0; i < OPTIONS; i++) {
        if (strcmp(option_table[i].section, section) == 0) {
            buf_printf(out, " %s", option_table[i].key);
        }
    }
}

static struct config_option_info info_of(const struct option *o)
{
    return (struct config_option_info){
        .section = o->section,
        .key = o->key,
        .default_text = o->default_text,
        .help = o->help,
        .repeatable = o->flags & OPTION_REPEATABLE,
        .reloadable = o->flags & OPTION_RELOADABLE,
    };
}

void config_each_option(config_option_cb *cb, void *arg)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct config_option_info info = info_of(&option_table[i]);
        cb(arg, &info);
    }
}

/* As --dump-config prints them: what reads back to the same is the same. */
static bool is_same(const struct option *o, const struct config *a, const struct config *b)
{
    uint32_t lines = option_lines(o, a);
    struct buf text_a = BUF_INIT;
    struct buf text_b = BUF_INIT;
    bool same = lines == option_lines(o, b);

    for (uint32_t i = 0; same && i < lines; i++) {
        text_a.size = 0;
        text_b.size = 0;
        option_print(o, a, i, &text_a);
        option_print(o, b, i, &text_b);
        same = strcmp(buf_str(&text_a), buf_str(&text_b)) == 0;
    }
    buf_done(&text_a);
    buf_done(&text_b);
    return same;
}

void config_each_change(const struct config *old, const struct config *fresh, config_option_cb *cb,
                        void *arg)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        if (!is_same(&option_table[i], old, fresh)) {
            const struct config_option_info info = info_of(&option_table[i]);
            cb(arg, &info);
        }
    }
}

void config_take_reloadable(const struct config *fresh, struct config *in_force)
{
    for (size_t i = 0; i < OPTIONS; i++) {
        const struct option *o = &option_table[i];
        if (o->flags & OPTION_RELOADABLE) {
            memcpy((char *)in_force + o->offset, (const char *)fresh + o->offset, o->size);
        }
    }
}
