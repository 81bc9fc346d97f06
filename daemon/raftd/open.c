#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"
#include "raftd/stop.h"

/* ---- Event callbacks: they queue ---- */

static void store_cb(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;

    (void)fd;
    (void)what;
    s->store_ready = true;
}

static void timer_cb(evutil_socket_t fd, short what, void *arg)
{
    struct server *s = arg;

    (void)fd;
    (void)what;
    s->timer_at = UINT64_MAX; /* the turn that follows looks at every deadline */
}

static void note_stopping(const struct server *s, int number)
{
    systemd_stopping(s->systemd);
    log_notice("raftd", "stopping", LOG_STR("signal", sigabbrev_np(number)));
}

static void signal_cb(evutil_socket_t number, short what, void *arg)
{
    struct server *s = arg;

    (void)what;
    if (number == SIGHUP) {
        s->reload_wanted = true;
        return;
    }
    stop_take((int)number);
    if (!s->stop_wanted) {
        note_stopping(s, (int)number);
        systemd_extend(s->systemd,
                       (uint32_t)s->config->shutdown_transfer_timeout_ms + SERVER_STOP_MARGIN_MS);
    }
    s->stop_wanted = true;
}

static void peer_refused_cb(void *arg, raft_id peer, const struct peer_refusal *refusal)
{
    struct server *s = arg;
    struct inbox_item *item = server_inbox_find(s, INBOX_REFUSED, peer);

    if (item) {
        *item->refusal = *refusal;
        return;
    }
    if (s->inbox_count >= SERVER_INBOX_MAX) {
        s->inbox_dropped++;
        return;
    }
    item = server_inbox_push(s, INBOX_REFUSED);
    item->from = peer;
    item->refusal = mem_dup(refusal, sizeof *refusal);
}

static int peer_check_cb(void *arg, const struct peer_hello *hello, struct peer_refusal *refusal)
{
    struct server *s = arg;
    int code = node_hello_check(s->node, hello, refusal);

    if (code) {
        /* What does not fit us does not fit them: they refuse us too, if they hear us at all. A node that
         * nobody dials has to tell its operator all the same. That they were removed says nothing of
         * us. */
        struct peer_refusal ours = *refusal;
        ours.cluster = (struct uuid){{0}};
        ours.index = 0;
        peer_refused_cb(s, hello->id, &ours);
    }
    return code;
}

/* Of one peer only the last failure of a turn counts. */
static void peer_failed_cb(void *arg, raft_id peer, int code, const char *why)
{
    struct inbox_item *item = server_inbox_find(arg, INBOX_UNREACHABLE, peer);

    if (!item) {
        item = server_inbox_push(arg, INBOX_UNREACHABLE);
        item->from = peer;
        item->refusal = mem_zalloc(sizeof *item->refusal);
    }
    item->refusal->code = code;
    (void)snprintf(item->refusal->why, sizeof item->refusal->why, "%s", why);
}

static void peer_greeting_cb(void *arg, struct peer_hello *out)
{
    const struct server *s = arg;

    node_hello_get(s->node, out);
}

static enum node_standing peer_standing_cb(void *arg, const struct peer_hello *hello)
{
    const struct server *s = arg;

    return node_hello_standing(s->node, hello);
}

/* Of one peer only the last hello, and the last refusal, of a turn counts. */
static void peer_hello_cb(void *arg, const struct peer_hello *hello)
{
    struct inbox_item *item = server_inbox_find(arg, INBOX_HELLO, hello->id);

    if (item) {
        /* One of the two that a peer says, as dialler and in answer, may tell less: node_hello()
         * keeps what the other told, so it has to survive here, too. */
        bool same = item->hello->process == hello->process &&
                    item->hello->incarnation == hello->incarnation;
        if (!same || uuid_is_set(&hello->cluster) || !uuid_is_set(&item->hello->cluster)) {
            *item->hello = *hello;
        }
        return;
    }
    item = server_inbox_push(arg, INBOX_HELLO);
    item->from = hello->id;
    item->hello = mem_dup(hello, sizeof *hello);
}

static void peer_message_cb(void *arg, raft_id from, struct peer_msg *msg)
{
    struct server *s = arg;

    if (s->inbox_count >= SERVER_INBOX_MAX) {
        s->inbox_dropped++;
        peer_msg_done(msg);
        return;
    }
    struct inbox_item *item = server_inbox_push(s, INBOX_MESSAGE);
    item->from = from;
    item->message = *msg;
}

static void peer_down_cb(void *arg, raft_id peer)
{
    if (!server_inbox_find(arg, INBOX_LINK_DOWN, peer)) {
        server_inbox_push(arg, INBOX_LINK_DOWN)->from = peer;
    }
}

/* ---- Start ---- */

static void check_cb(void *arg, char *text, unsigned text_size)
{
    const struct server *s = arg;

    (void)snprintf(text, text_size, "(node %u, term %llu, state %s, last %llu, commit %llu)",
                   s->config->node_id, (unsigned long long)s->seen_view.term,
                   node_state_text(s->seen.state), (unsigned long long)s->seen_view.last,
                   (unsigned long long)s->seen_view.commit);
}

static void random_bytes(void *out, size_t size)
{
    rd_assert(getrandom(out, size, 0) == (ssize_t)size);
}

static void founders_from(const struct config *c, struct node_config *out)
{
    out->founders_count = c->members_count;
    for (uint32_t i = 0; i < c->members_count; i++) {
        out->founders[i].id = c->members[i].id;
        (void)snprintf(out->founders[i].address, sizeof out->founders[i].address, "%s",
                       c->members[i].address);
    }
}

static void node_config_from(const struct server *s, struct node_config *out)
{
    const struct config *c = s->config;

    *out = (struct node_config){
        .raft = {.id = c->node_id,
                 .store = s->info.store,
                 .heartbeat_ms = (uint32_t)c->heartbeat_ms,
                 .election_timeout_ms = (uint32_t)c->election_timeout_ms,
                 .append_bytes_max = SERVER_APPEND_BYTES,
                 .append_entries_max = SERVER_APPEND_ENTRIES,
                 .inflight_bytes_max = SERVER_INFLIGHT_BYTES,
                 .inflight_msgs_max = SERVER_INFLIGHT_MSGS,
                 .cache_bytes_max = SERVER_CACHE_BYTES},
        .incarnation = s->info.incarnation,
        .state_bytes_max = c->state_max_bytes,
        .apply_max = SERVER_APPLY_MAX,
        .batch_bytes_max = SERVER_BATCH_BYTES,
        .keeps_rows = true,
        .log_keep_entries = c->log_keep_entries,
        .log_keep_bytes = c->log_keep_bytes,
        .log_hold_bytes = c->log_keep_bytes * SERVER_HOLD_TIMES > SERVER_HOLD_BYTES
                              ? c->log_keep_bytes * SERVER_HOLD_TIMES
                              : SERVER_HOLD_BYTES,
        .piece_bytes_max = SERVER_PIECE_BYTES,
    };
    random_bytes(&out->raft.seed, sizeof out->raft.seed);
    random_bytes(&out->process, sizeof out->process);
    out->process |= 1; /* 0 would be: not told */
    (void)snprintf(out->name, sizeof out->name, "%s", c->node_name);
    (void)snprintf(out->uri, sizeof out->uri, "%s", c->uri);
    (void)snprintf(out->address, sizeof out->address, "%s", c->advertise);
    (void)snprintf(out->version, sizeof out->version, "%s", RAFTD_VERSION);
    (void)snprintf(out->cluster_name, sizeof out->cluster_name, "%s", c->cluster_name);
    founders_from(c, out);
}

static int entry_cb(void *arg, const struct raft_entry *entry)
{
    const struct server *s = arg;

    return stop_signal() ? -ECANCELED : node_restore_entry(s->node, entry);
}

static void progress_cb(void *arg, raft_index at, raft_index last)
{
    struct server *s = arg;
    char text[96];

    (void)snprintf(text, sizeof text, "verifying the log: entry %llu of %llu",
                   (unsigned long long)at, (unsigned long long)last);
    systemd_status(s->systemd, text);
    systemd_extend(s->systemd, SERVER_EXTEND_MS);
    (void)systemd_watchdog(s->systemd, mono_now_ms());
}

/* As of where the state can make good what the log has lost. A log that ends before it has lost more than
 * that, unless it came as a snapshot: then nothing is made good. */
static const struct raft_point *made_good_by(const struct server *s)
{
    static const struct raft_point nothing;
    bool fits = s->mark.installed || s->mark.at.index <= s->info.last;

    return fits ? &s->mark.at : &nothing;
}

/* The node, with everything that the store holds. 1: the store made good what is damaged, look again. */
static int restore(struct server *s)
{
    struct node_config node;

    node_config_from(s, &node);
    s->node = node_new(&node, store_load, s->store);
    server_set_source(s);
    node_restore_hard(s->node, &s->info.cluster, s->info.term, s->info.vote, s->info.loyal_ms);
    int code = server_state_load(s);
    if (code == 0 && s->info.base.index > 0) {
        code = node_restore_base(s->node, &s->info.base);
    }
    if (code == 0) {
        code = store_verify(s->store, made_good_by(s), entry_cb, progress_cb, s, &s->info);
    }
    return code ? code : server_state_restore(s);
}

static int restore_all(struct server *s)
{
    int code = restore(s);

    if (code == 1) {
        node_free(s->node);
        raft_point_done(&s->mark.at);
        code = restore(s);
    }
    return code;
}

/* The store, and the node with everything the store holds. */
static int open_data(struct server *s)
{
    const struct store_config config = {.data_dir = s->config->data_dir,
                                        .id = s->config->node_id,
                                        .map_size = s->config->map_size,
                                        .stall_timeout_ms = s->config->stall_timeout_ms,
                                        .version = RAFTD_VERSION};
    struct uuid fresh;

    int code = store_open(&config, &s->store, &s->info);
    if (code == 0) {
        code = restore_all(s);
    }
    if (code == 0) {
        code = store_start(s->store);
    }
    if (code) {
        return code;
    }
    random_bytes(&fresh, sizeof fresh);
    s->now = mono_now_ms();
    node_set_log_use(s->node, store_log_bytes(s->store), s->config->map_size);
    node_start(s->node, s->now, &fresh);
    return 0;
}

static int open_net(struct server *s)
{
    const struct config *c = s->config;
    uint32_t timeout_ms = (uint32_t)c->election_timeout_ms;
    const struct net_config config = {
        .listen = c->listen,
        .backoff_max_ms = timeout_ms,
        .user_timeout_ms = timeout_ms * 4 > SERVER_USER_TIMEOUT_MIN_MS ? timeout_ms * 4
                                                                       : SERVER_USER_TIMEOUT_MIN_MS,
        .queue_bytes_max = SERVER_PEER_QUEUE_BYTES,
        .tls = s->certs,
    };
    const struct net_ops ops = {.arg = s,
                                .greeting = peer_greeting_cb,
                                .check = peer_check_cb,
                                .standing = peer_standing_cb,
                                .hello = peer_hello_cb,
                                .message = peer_message_cb,
                                .link_down = peer_down_cb,
                                .refused = peer_refused_cb,
                                .failed = peer_failed_cb};

    return net_open(s->base, &config, &ops, &s->net);
}

static int open_admin(struct server *s)
{
    const struct admin_config config = {.socket_path = s->config->admin_socket,
                                        .mode = s->config->admin_mode,
                                        .group = s->config->admin_group};

    return admin_open(s->base, &config, &s->ops, &s->admin);
}

static void open_loop(struct server *s)
{
    struct event_config *config = event_config_new();

    rd_assert(config);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_NOLOCK);
    (void)event_config_set_flag(config, EVENT_BASE_FLAG_EPOLL_USE_CHANGELIST);
    s->base = event_base_new_with_config(config);
    event_config_free(config);
    rd_assert(s->base);
}

static void open_events(struct server *s)
{
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};

    s->timer = evtimer_new(s->base, timer_cb, s);
    s->store_event =
        event_new(s->base, store_event_fd(s->store), EV_READ | EV_PERSIST, store_cb, s);
    s->state_event =
        event_new(s->base, store_state_event_fd(s->store), EV_READ | EV_PERSIST, store_cb, s);
    rd_assert(s->timer && s->store_event && event_add(s->store_event, NULL) == 0);
    rd_assert(s->state_event && event_add(s->state_event, NULL) == 0);
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        s->signals[i] = evsignal_new(s->base, numbers[i], signal_cb, s);
        rd_assert(s->signals[i] && evsignal_add(s->signals[i], NULL) == 0);
    }
}

static void log_started(const struct server *s)
{
    char store[UUID_TEXT_SIZE];
    char cluster[UUID_TEXT_SIZE];

    uuid_text(&s->info.store, store);
    uuid_text(&s->info.cluster, cluster);
    log_notice("raftd", "ready", LOG_STR("version", RAFTD_VERSION),
               LOG_U64("id", s->config->node_id), LOG_STR("name", s->config->node_name),
               LOG_STR("data_dir", s->config->data_dir), LOG_STR("store_id", store),
               LOG_STR("cluster_id", uuid_is_set(&s->info.cluster) ? cluster : "none"),
               LOG_STR("address", s->config->advertise), LOG_STR("tls", s->certs ? "on" : "off"),
               LOG_STR("https", s->config->http_https ? "yes" : "no"),
               LOG_STR("socket", s->config->admin_socket), LOG_U64("term", s->info.term),
               LOG_U64("last_index", s->info.last), LOG_U64("applied_index", s->mark.at.index));
}

int server_open(struct config *config, const struct server_source *source, struct systemd *systemd,
                struct server **out)
{
    struct server *s = mem_zalloc(sizeof *s);

    s->config = config;
    s->source = source;
    s->systemd = systemd;
    s->started = mono_now_ms();
    s->timer_at = UINT64_MAX;
    (void)signal(SIGPIPE, SIG_IGN);
    check_set_context(check_cb, s);
    server_calls_init(s);
    open_loop(s);
    int code = server_certs_open(s);
    if (code == 0) {
        code = open_data(s);
    }
    if (code == 0) {
        code = open_net(s);
    }
    if (code == 0) {
        code = open_admin(s);
    }
    if (code == 0) {
        code = server_web_open(s);
    }
    if (code == 0) {
        open_events(s);
        code = stop_signal() ? -ECANCELED : 0; /* from here on the loop hears signals */
        s->reload_wanted = stop_reload_asked();
    }
    if (code == -ECANCELED) {
        note_stopping(s, stop_signal());
    }
    if (code) {
        server_close(s);
        return code;
    }
    s->ran = true;
    server_introduce(s);
    log_started(s);
    systemd_ready(s->systemd);
    *out = s;
    return 0;
}

/* ---- Stop ---- */

/* Their place is taken by the handlers that were there before: from now on a signal does not wait
 * for the loop. */
static void close_signals(struct server *s)
{
    for (size_t i = 0; i < sizeof s->signals / sizeof s->signals[0]; i++) {
        if (s->signals[i]) {
            event_free(s->signals[i]);
        }
    }
}

static void close_events(struct server *s)
{
    if (s->store_event) {
        event_free(s->store_event);
    }
    if (s->state_event) {
        event_free(s->state_event);
    }
    if (s->timer) {
        event_free(s->timer);
    }
}

void server_close(struct server *s)
{
    if (!s) {
        return;
    }
    close_signals(s);
    if (s->admin) {
        server_calls_stop(s);
        admin_flush(s->admin);
        admin_close(s->admin);
    }
    http_close(s->http);
    if (s->net) {
        net_close(s->net);
    }
    tls_context_unref(s->certs);
    close_events(s);
    if (s->store) {
        if (s->ran) {
            node_close_source(s->node); /* snapshots are read from the store */
            server_flush_last(s);
        }
        store_close(s->store); /* before the node: it may be reading the node's batch */
    }
    server_calls_done(s);
    if (s->node) {
        node_free(s->node);
    }
    mem_free(s->flush_rows);
    raft_point_done(&s->mark.at);
    event_base_free(s->base);
    check_set_context(NULL, NULL);
    mem_free(s);
}
