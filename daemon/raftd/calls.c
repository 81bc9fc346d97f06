
#include "base/err.h"
#include "base/log.h"
#include "raftd/internal.h"

/* ---- Slots: a token names one open call, and stops naming it when the call ends ---- */

static uint64_t slot_token(const struct server *s, const struct slot *slot)
{
    return (uint64_t)slot->generation << 32 | (uint64_t)(slot - s->slots + 1);
}

struct slot *server_slot_find(const struct server *s, uint64_t token)
{
    uint32_t position = (uint32_t)token;

    if (position == 0 || position > s->slots_count) {
        return NULL;
    }
    struct slot *slot = &s->slots[position - 1];
    return slot->kind != SLOT_FREE && slot->generation == (uint32_t)(token >> 32) ? slot : NULL;
}

static struct slot *slot_open(struct server *s, enum slot_kind kind, struct admin_call *call)
{
    if (s->slots_free == 0) {
        if (s->slots_count == s->slots_capacity) {
            s->slots_capacity = s->slots_capacity ? s->slots_capacity * 2 : 64;
            s->slots = mem_realloc(s->slots, s->slots_capacity * sizeof *s->slots);
        }
        s->slots[s->slots_count] = (struct slot){.kind = SLOT_FREE};
        s->slots_free = ++s->slots_count;
    }
    struct slot *slot = &s->slots[s->slots_free - 1];
    uint32_t generation = slot->generation + 1;
    s->slots_free = slot->next_free;
    *slot = (struct slot){.kind = kind, .generation = generation, .call = call};
    s->watches += kind == SLOT_WATCH;
    s->backups += kind == SLOT_BACKUP;
    if (call) {
        admin_call_set(call, slot_token(s, slot));
    }
    return slot;
}

void server_slot_close(struct server *s, struct slot *slot)
{
    s->watches -= slot->kind == SLOT_WATCH;
    s->backups -= slot->kind == SLOT_BACKUP;
    server_backup_free(s, slot->backup);
    blob_unref(slot->key);
    *slot = (struct slot){.generation = slot->generation, .next_free = s->slots_free};
    s->slots_free = (uint32_t)(slot - s->slots + 1);
}

/* ---- Queues ---- */

struct inbox_item *server_inbox_push(struct server *s, enum inbox_kind kind)
{
    if (s->inbox_count == s->inbox_capacity) {
        s->inbox_capacity = s->inbox_capacity ? s->inbox_capacity * 2 : 256;
        s->inbox = mem_realloc(s->inbox, s->inbox_capacity * sizeof *s->inbox);
    }
    struct inbox_item *item = &s->inbox[s->inbox_count++];
    item->kind = kind;
    return item;
}

struct inbox_item *server_inbox_find(struct server *s, enum inbox_kind kind, raft_id from)
{
    for (uint32_t i = s->inbox_count; i > 0; i--) {
        struct inbox_item *item = &s->inbox[i - 1];
        if (item->kind == kind && item->from == from) {
            return item;
        }
    }
    return NULL;
}

/* Give back what a burst took, once the turns need much less. */
static void inbox_trim(struct server *s, uint32_t used)
{
    if (s->inbox_capacity > SERVER_INBOX_KEEP && used < s->inbox_capacity / 4) {
        mem_free(s->inbox);
        s->inbox = NULL;
        s->inbox_capacity = 0;
    }
}

enum { UNBELIEVED_MS = 60000 }; /* at most one line within that time */

static void inbox_message(struct server *s, struct inbox_item *item)
{
    uint64_t term = item->message.type == PEER_RAFT ? item->message.raft.term : 0;

    if (node_message(s->node, item->from, &item->message) ||
        (s->unbelieved_at && s->now < s->unbelieved_at + UNBELIEVED_MS)) {
        return;
    }
    s->unbelieved_at = s->now;
    log_error("raft",
              "messages dropped: a member's terms or indexes are absurd; stop it, and if its own "
              "data has them reset that (raftctl reset); if all others have them, this node cannot "
              "follow any more: reset and replace this one",
              LOG_U64("peer", item->from), LOG_U64("term", term));
}

static void inbox_give(struct server *s, struct inbox_item *item)
{
    struct node *n = s->node;
    mono_ms deadline = s->now + item->timeout_ms;

    switch (item->kind) {
    case INBOX_MESSAGE:
        inbox_message(s, item);
        break;
    case INBOX_HELLO:
        node_hello(n, item->hello);
        if (net_is_connected(s->net, item->hello->id)) {
            node_link_up(n, item->hello->id);
        }
        mem_free(item->hello);
        break;
    case INBOX_LINK_DOWN:
        if (net_is_connected(s->net,
                             item->from)) { /* its queue overflowed, or it is back already */
            node_messages_lost(n, item->from);
        } else {
            node_link_down(n, item->from);
        }
        break;
    case INBOX_REFUSED:
        node_refused(n, item->from, item->refusal);
        mem_free(item->refusal);
        break;
    case INBOX_UNREACHABLE:
        node_unreachable(n, item->from, item->refusal->code, item->refusal->why);
        mem_free(item->refusal);
        break;
    case INBOX_WRITE:
        node_write(n, item->token, item->txn, deadline);
        break;
    case INBOX_READ:
        node_read(n, item->token, deadline);
        break;
    case INBOX_PROGRESS:
        node_ask_progress(n, item->token, deadline);
        break;
    case INBOX_BOOTSTRAP:
        node_bootstrap(n, item->token, deadline);
        break;
    case INBOX_CHANGE:
        node_change(n, item->token, item->change, deadline);
        mem_free(item->change);
        break;
    case INBOX_CANCEL:
        node_cancel(n, item->token);
        break;
    case INBOX_RELEASE:
        if (holders_release(&s->holders, item->token, s->now)) {
            node_claims_released(n);
        }
        break;
    }
}

void server_inbox_feed(struct server *s)
{
    for (uint32_t i = 0; i < s->inbox_count; i++) {
        inbox_give(s, &s->inbox[i]);
    }
    inbox_trim(s, s->inbox_count);
    s->inbox_count = 0;
    if (s->inbox_dropped) {
        log_warning("raftd", "more messages from members than one turn takes, dropped the rest",
                    LOG_U64("dropped", s->inbox_dropped));
        s->inbox_dropped = 0;
    }
}

static void query_push(struct server *s, uint64_t token)
{
    if (s->queries_count == s->queries_capacity) {
        s->queries_capacity = s->queries_capacity ? s->queries_capacity * 2 : 64;
        s->queries = mem_realloc(s->queries, s->queries_capacity * sizeof *s->queries);
    }
    s->queries[s->queries_count++] = token;
}

static void open_query(struct server *s, enum slot_kind kind, struct admin_call *call)
{
    query_push(s, slot_token(s, slot_open(s, kind, call)));
}

static struct inbox_item *open_request(struct server *s, struct slot *slot, enum inbox_kind kind,
                                       uint32_t timeout_ms)
{
    struct inbox_item *item = server_inbox_push(s, kind);

    slot->at_node = true;
    item->token = slot_token(s, slot);
    item->timeout_ms = timeout_ms;
    return item;
}

/* ---- What the admin room calls (before the node's turn begins: queue and return) ---- */

/* What the leader knows of the members comes first; without it they are shown without. */
static void open_view(struct server *s, enum slot_kind kind, struct admin_call *call,
                      uint32_t timeout_ms)
{
    (void)open_request(s, slot_open(s, kind, call), INBOX_PROGRESS,
                       timeout_ms < SERVER_PROGRESS_MS ? timeout_ms : SERVER_PROGRESS_MS);
}

static void open_web_view(struct server *s, enum slot_kind kind, struct http_call *call)
{
    struct slot *slot = slot_open(s, kind, NULL);

    slot->web = call;
    if (s->draining) { /* it would keep this raftd from ending */
        server_answer_view(s, slot);
        return;
    }
    (void)open_request(s, slot, INBOX_PROGRESS, SERVER_PROGRESS_MS);
}

void server_web_status(void *server, struct http_call *call)
{
    open_web_view(server, SLOT_STATUS, call);
}

void server_web_members(void *server, struct http_call *call)
{
    open_web_view(server, SLOT_MEMBERS, call);
}

static void op_status(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    open_view(server, SLOT_STATUS, call, timeout_ms);
}

static void op_members(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    open_view(server, SLOT_MEMBERS, call, timeout_ms);
}

static void op_leader(void *server, struct admin_call *call)
{
    open_query(server, SLOT_LEADER, call);
}

static void op_is_leader(void *server, struct admin_call *call)
{
    open_query(server, SLOT_IS_LEADER, call);
}

static void op_hold(void *server, struct admin_call *call)
{
    open_query(server, SLOT_HOLD, call);
}

static void op_release(void *server, struct admin_call *call)
{
    server_inbox_push(server, INBOX_RELEASE)->token = admin_call_client(call);
    admin_answer(call, 0, 0, NULL, "{}", 2);
}

static bool op_holds(void *server, uint64_t client)
{
    const struct server *s = server;

    return holders_is_holding(&s->holders, client, s->now);
}

static void op_watch(void *server, struct admin_call *call)
{
    open_query(server, SLOT_WATCH, call);
}

static void op_bootstrap(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    struct server *s = server;

    (void)open_request(s, slot_open(s, SLOT_BOOTSTRAP, call), INBOX_BOOTSTRAP, timeout_ms);
}

static void op_change(void *server, struct admin_call *call, const struct peer_change *change,
                      uint32_t timeout_ms)
{
    struct server *s = server;
    struct slot *slot = slot_open(s, SLOT_CHANGE, call);

    slot->change =
        (struct report_asked){.kind = change->kind, .id = change->id, .replaces = change->replaces};
    open_request(s, slot, INBOX_CHANGE, timeout_ms)->change = mem_dup(change, sizeof *change);
}

static void op_write(void *server, struct admin_call *call, struct blob *txn, bool deletes,
                     uint32_t timeout_ms)
{
    struct server *s = server;
    struct slot *slot = slot_open(s, deletes ? SLOT_DELETE : SLOT_PUT, call);

    open_request(s, slot, INBOX_WRITE, timeout_ms)->txn = txn;
}

static void open_read(struct server *s, struct slot *slot, bool stale, uint32_t timeout_ms)
{
    if (stale) {
        query_push(s, slot_token(s, slot));
    } else {
        (void)open_request(s, slot, INBOX_READ, timeout_ms);
    }
}

static void op_get(void *server, struct admin_call *call, struct blob *key, bool stale,
                   uint32_t timeout_ms)
{
    struct server *s = server;
    struct slot *slot = slot_open(s, SLOT_GET, call);

    slot->key = key;
    open_read(s, slot, stale, timeout_ms);
}

static void op_list(void *server, struct admin_call *call, struct blob *prefix, uint64_t limit,
                    bool stale, uint32_t timeout_ms)
{
    struct server *s = server;
    struct slot *slot = slot_open(s, SLOT_LIST, call);

    slot->key = prefix;
    slot->limit = limit;
    open_read(s, slot, stale, timeout_ms);
}

static void op_backup(void *server, struct admin_call *call, uint32_t timeout_ms)
{
    struct server *s = server;

    if (s->backups == SERVER_BACKUPS_MAX) {
        admin_answer(
            call, -RD_ENOT_READY, 0,
            "4 backups of this node are under way, the limit: wait for one of them, or ask "
            "another member",
            NULL, 0);
        return;
    }
    struct slot *slot = slot_open(s, SLOT_BACKUP, call);
    slot->backup = server_backup_new(s, timeout_ms);
    (void)open_request(s, slot, INBOX_READ, timeout_ms);
}

static void op_log_level(void *server, struct admin_call *call, const char *name)
{
    struct server *s = server;
    enum log_level level;

    if (!log_level_by_name(name, &level)) {
        admin_answer(call, -RD_EINVALID, 0, "no such log level", NULL, 0);
        return;
    }
    s->config->log_level = level;
    log_set_level(level);
    log_notice("raftd", "log level set", LOG_STR("level", name));
    admin_answer(call, 0, 0, NULL, "{}", 2);
}

static void op_reload(void *server, struct admin_call *call)
{
    struct buf said = BUF_INIT;
    int code = server_reload(server, &said);

    if (code) {
        admin_answer(call, -RD_EINVALID, 0, buf_str(&said), NULL, 0);
    } else {
        admin_answer(call, 0, 0, NULL, said.data, said.size);
    }
    buf_done(&said);
}

static void op_cancel(void *server, struct admin_call *call)
{
    struct server *s = server;
    struct slot *slot = server_slot_find(s, admin_call_get(call));

    if (!slot) {
        return;
    }
    if (slot->at_node) {
        server_inbox_push(s, INBOX_CANCEL)->token = admin_call_get(call);
    }
    server_slot_close(s, slot);
}

void server_calls_init(struct server *s)
{
    s->ops = (struct server_ops){.server = s,
                                 .status = op_status,
                                 .members = op_members,
                                 .leader = op_leader,
                                 .is_leader = op_is_leader,
                                 .hold = op_hold,
                                 .release = op_release,
                                 .holds = op_holds,
                                 .watch = op_watch,
                                 .bootstrap = op_bootstrap,
                                 .change = op_change,
                                 .write = op_write,
                                 .get = op_get,
                                 .list = op_list,
                                 .backup = op_backup,
                                 .log_level = op_log_level,
                                 .reload = op_reload,
                                 .cancel = op_cancel};
}

void server_calls_done(struct server *s)
{
    for (uint32_t i = 0; i < s->inbox_count; i++) {
        struct inbox_item *item = &s->inbox[i];
        if (item->kind == INBOX_MESSAGE) {
            peer_msg_done(&item->message);
        } else if (item->kind == INBOX_HELLO) {
            mem_free(item->hello);
        } else if (item->kind == INBOX_REFUSED || item->kind == INBOX_UNREACHABLE) {
            mem_free(item->refusal);
        } else if (item->kind == INBOX_CHANGE) {
            mem_free(item->change);
        } else if (item->kind == INBOX_WRITE) {
            blob_unref(item->txn);
        }
    }
    for (uint32_t i = 0; i < s->slots_count; i++) {
        blob_unref(s->slots[i].key);
    }
    mem_free(s->inbox);
    mem_free(s->slots);
    mem_free(s->queries);
    holders_done(&s->holders);
    buf_done(&s->watch_seen);
    buf_done(&s->json);
    buf_done(&s->shown.status);
    buf_done(&s->shown.members);
}
