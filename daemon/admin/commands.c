#include "admin/commands.h"

#include <stdio.h>
#include <string.h>

#include "admin/internal.h"
#include "base/check.h"
#include "base/err.h"
#include "base/log.h"
#include "base/mem.h"
#include "base/units.h"

static uint32_t timeout_of(const struct admin_request *r)
{
    if (r->timeout_ms == 0) {
        return ADMIN_TIMEOUT_DEFAULT_MS;
    }
    return r->timeout_ms < ADMIN_TIMEOUT_MAX_MS ? r->timeout_ms : ADMIN_TIMEOUT_MAX_MS;
}

static struct blob *blob_take(struct blob **from)
{
    struct blob *taken = *from;

    *from = NULL;
    return taken;
}

/* ---- What a request has to carry ---- */

static const char *check_key(const struct admin_request *r)
{
    if (!r->key || r->key->size == 0 || r->key->size > STATE_KEY_MAX) {
        return "a key is required: 1 to 480 bytes";
    }
    return NULL;
}

static const char *check_prefix(const struct admin_request *r)
{
    return r->key && r->key->size > STATE_KEY_MAX ? "a prefix has at most 480 bytes" : NULL;
}

static const char *check_put(const struct admin_request *r)
{
    const char *wrong = check_key(r);

    if (!wrong && !r->value) {
        wrong = "put needs a value; it may be empty";
    }
    return wrong;
}

static const char *check_level(const struct admin_request *r)
{
    enum log_level level;

    return log_level_by_name(r->text, &level) ? NULL
                                              : "the level is one of error, warning, notice, info, "
                                                "debug";
}

/* The id of a member has 32 bits on the wire too, so that 0 is the only one that cannot be. */
static const char *check_member(const struct admin_request *r)
{
    return r->member_id ? NULL : "member_id: the id of a node is required, 1 to 4294967295";
}

static const char *check_address(const struct admin_request *r)
{
    struct host_port address;

    if (units_parse_host_port(r->address, &address)) {
        return "address: where the other members dial the node is required, HOST:PORT as in "
               "10.0.0.4:7400 or [fd00::4]:7400";
    }
    if (units_is_wildcard(&address)) {
        return "address: 0.0.0.0 and [::] are to listen on; give the address that the other "
               "members dial";
    }
    return NULL;
}

static const char *check_add(const struct admin_request *r)
{
    const char *wrong = check_member(r);

    return wrong ? wrong : check_address(r);
}

static const char *check_replace(const struct admin_request *r)
{
    if (r->replaces == 0) {
        return "replaces: the id of the member that leaves is required, 1 to 4294967295";
    }
    if (r->replaces == r->member_id) {
        return "replaces: a node cannot replace itself; give another id in member_id, or "
               "remove-server this one and add-server it on empty data";
    }
    return check_add(r);
}

/* ---- Rows ---- */

static void run_status(const struct server_ops *ops, struct admin_call *call,
                       struct admin_request *r)
{
    ops->status(ops->server, call, timeout_of(r));
}

static void run_members(const struct server_ops *ops, struct admin_call *call,
                        struct admin_request *r)
{
    ops->members(ops->server, call, timeout_of(r));
}

static void run_leader(const struct server_ops *ops, struct admin_call *call,
                       struct admin_request *r)
{
    (void)r;
    ops->leader(ops->server, call);
}

static void run_is_leader(const struct server_ops *ops, struct admin_call *call,
                          struct admin_request *r)
{
    (void)r;
    ops->is_leader(ops->server, call);
}

static void run_hold(const struct server_ops *ops, struct admin_call *call, struct admin_request *r)
{
    (void)r;
    call->conn->holds = true;
    ops->hold(ops->server, call);
}

static void run_release(const struct server_ops *ops, struct admin_call *call,
                        struct admin_request *r)
{
    (void)r;
    ops->release(ops->server, call);
}

static void run_watch(const struct server_ops *ops, struct admin_call *call,
                      struct admin_request *r)
{
    (void)r;
    ops->watch(ops->server, call);
}

static void run_bootstrap(const struct server_ops *ops, struct admin_call *call,
                          struct admin_request *r)
{
    ops->bootstrap(ops->server, call, timeout_of(r));
}

/* put and del are transactions: the conditions are compares, then one operation. */
static void run_write(const struct server_ops *ops, struct admin_call *call,
                      const struct admin_request *r, const struct state_op *op)
{
    struct buf *bytes = &call->conn->admin->scratch;
    struct state_txn txn; /* large: only what the counts cover is set */

    txn.compares_count = 0;
    txn.else_count = 0;
    txn.ops_count = 1;
    txn.ops[0] = *op;
    if (r->if_revision_set) {
        txn.compares[txn.compares_count++] =
            (struct state_compare){.type = STATE_COMPARE_MOD_REVISION,
                                   .key = op->key,
                                   .key_size = op->key_size,
                                   .number = r->if_revision};
    }
    if (r->fence_set) {
        txn.compares[txn.compares_count++] =
            (struct state_compare){.type = STATE_COMPARE_TERM, .number = r->fence};
    }
    bytes->size = 0;
    int code = state_txn_encode(&txn, bytes);
    if (code) {
        admin_answer(call, code, 0,
                     "key <= 480 bytes, value <= 1 MiB, request <= 1.5 MiB: nothing was written",
                     NULL, 0);
        return;
    }
    ops->write(ops->server, call, blob_copy(bytes->data, bytes->size), op->type == STATE_OP_DELETE,
               timeout_of(r));
}

static void run_put(const struct server_ops *ops, struct admin_call *call, struct admin_request *r)
{
    run_write(ops, call, r,
              &(struct state_op){.type = STATE_OP_PUT,
                                 .key = r->key->data,
                                 .key_size = (uint16_t)r->key->size,
                                 .value = r->value->data,
                                 .value_size = r->value->size});
}

static void run_del(const struct server_ops *ops, struct admin_call *call, struct admin_request *r)
{
    run_write(ops, call, r,
              &(struct state_op){.type = STATE_OP_DELETE,
                                 .key = r->key->data,
                                 .key_size = (uint16_t)r->key->size});
}

static void run_get(const struct server_ops *ops, struct admin_call *call, struct admin_request *r)
{
    ops->get(ops->server, call, blob_take(&r->key), r->stale, timeout_of(r));
}

static void run_list(const struct server_ops *ops, struct admin_call *call, struct admin_request *r)
{
    ops->list(ops->server, call, blob_take(&r->key), r->limit, r->stale, timeout_of(r));
}

static void run_add(const struct server_ops *ops, struct admin_call *call, struct admin_request *r)
{
    struct peer_change change = {
        .kind = PEER_CHANGE_ADD, .id = r->member_id, .learner = r->learner, .no_wait = r->no_wait};

    _Static_assert(sizeof change.address == sizeof r->address, "what fits there fits here");
    memcpy(change.address, r->address, sizeof change.address);
    ops->change(ops->server, call, &change, timeout_of(r));
}

static void run_replace(const struct server_ops *ops, struct admin_call *call,
                        struct admin_request *r)
{
    struct peer_change change = {
        .kind = PEER_CHANGE_ADD, .id = r->member_id, .replaces = r->replaces};

    memcpy(change.address, r->address, sizeof change.address);
    ops->change(ops->server, call, &change, timeout_of(r));
}

static void run_on_member(const struct server_ops *ops, struct admin_call *call,
                          const struct admin_request *r, enum peer_change_kind kind)
{
    struct peer_change change = {.kind = kind, .id = r->member_id, .force = r->force};

    ops->change(ops->server, call, &change, timeout_of(r));
}

static void run_promote(const struct server_ops *ops, struct admin_call *call,
                        struct admin_request *r)
{
    run_on_member(ops, call, r, PEER_CHANGE_PROMOTE);
}

static void run_demote(const struct server_ops *ops, struct admin_call *call,
                       struct admin_request *r)
{
    run_on_member(ops, call, r, PEER_CHANGE_DEMOTE);
}

static void run_remove(const struct server_ops *ops, struct admin_call *call,
                       struct admin_request *r)
{
    run_on_member(ops, call, r, PEER_CHANGE_REMOVE);
}

static void run_hand_over(const struct server_ops *ops, struct admin_call *call,
                          const struct admin_request *r, raft_id target)
{
    struct peer_change change = {.kind = PEER_CHANGE_TRANSFER, .id = target, .no_wait = r->no_wait};

    ops->change(ops->server, call, &change, timeout_of(r));
}

static void run_step_down(const struct server_ops *ops, struct admin_call *call,
                          struct admin_request *r)
{
    run_hand_over(ops, call, r, 0); /* whoever is best */
}

static void run_transfer(const struct server_ops *ops, struct admin_call *call,
                         struct admin_request *r)
{
    run_hand_over(ops, call, r, r->member_id);
}

static void run_backup(const struct server_ops *ops, struct admin_call *call,
                       struct admin_request *r)
{
    ops->backup(ops->server, call, timeout_of(r));
}

static void run_log_level(const struct server_ops *ops, struct admin_call *call,
                          struct admin_request *r)
{
    ops->log_level(ops->server, call, r->text);
}

static void run_reload(const struct server_ops *ops, struct admin_call *call,
                       struct admin_request *r)
{
    (void)r;
    ops->reload(ops->server, call);
}

static const struct admin_command commands[] = {
    {"status", ADMIN_ASK, false, NULL, run_status},
    {"members", ADMIN_ASK, false, NULL, run_members},
    {"leader", ADMIN_ASK, false, NULL, run_leader},
    {"is-leader", ADMIN_ASK, false, NULL, run_is_leader},
    {"hold", ADMIN_ASK, false, NULL, run_hold},
    {"release", ADMIN_ASK, false, NULL, run_release},
    {"watch", ADMIN_ASK, true, NULL, run_watch},
    {"bootstrap", ADMIN_CHANGE, false, NULL, run_bootstrap},
    {"add-server", ADMIN_CHANGE, false, check_add, run_add},
    {"promote", ADMIN_CHANGE, false, check_member, run_promote},
    {"demote", ADMIN_CHANGE, false, check_member, run_demote},
    {"remove-server", ADMIN_CHANGE, false, check_member, run_remove},
    {"replace-server", ADMIN_CHANGE, false, check_replace, run_replace},
    {"step-down", ADMIN_CHANGE, false, NULL, run_step_down},
    {"transfer", ADMIN_CHANGE, false, check_member, run_transfer},
    {"put", ADMIN_CHANGE, false, check_put, run_put},
    {"get", ADMIN_CHANGE, false, check_key, run_get},
    {"del", ADMIN_CHANGE, false, check_key, run_del},
    {"list", ADMIN_CHANGE, false, check_prefix, run_list},
    {"backup", ADMIN_CHANGE, false, NULL, run_backup},
    {"log-level", ADMIN_CHANGE, false, check_level, run_log_level},
    {"reload", ADMIN_CHANGE, false, NULL, run_reload},
};

enum { COMMANDS_COUNT = sizeof commands / sizeof commands[0] };

const struct admin_command *admin_command_at(size_t position)
{
    return position < COMMANDS_COUNT ? &commands[position] : NULL;
}

const struct admin_command *admin_command_find(const char *name)
{
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        if (strcmp(commands[i].name, name) == 0) {
            return &commands[i];
        }
    }
    return NULL;
}

/* ---- Refusals ---- */

static void refuse_unknown(struct admin_conn *c, const struct admin_request *r)
{
    struct buf text = BUF_INIT;

    buf_put_str(&text, "unknown command '");
    for (const char *p = r->command; *p; p++) { /* a stranger's bytes end up on a terminal */
        buf_put_u8(&text, *p >= 0x20 && *p < 0x7f ? (uint8_t)*p : '?');
    }
    buf_put_str(&text, "': this raftd knows");
    for (size_t i = 0; i < COMMANDS_COUNT; i++) {
        buf_printf(&text, "%s %s", i ? "," : "", commands[i].name);
    }
    admin_conn_reply(c, r->id, -RD_EINVALID, buf_str(&text));
    buf_done(&text);
}

static void audit(struct admin *a, const struct credentials *who, const char *command)
{
    uint64_t dropped;

    if (admin_may_log(a, &dropped)) {
        log_warning("admin", "refused a command", LOG_STR("command", command),
                    LOG_U64("uid", who->uid), LOG_I64("pid", who->pid),
                    LOG_U64("suppressed", dropped));
    }
}

static void refuse_permission(struct admin_conn *c, const struct admin_request *r)
{
    char text[192];

    audit(c->admin, &c->who, r->command);
    (void)snprintf(text, sizeof text,
                   "'%s' needs root, raftd's own user or a member of [admin] group; uid %u is "
                   "none of them",
                   r->command, (unsigned)c->who.uid);
    admin_conn_reply(c, r->id, -RD_EPERMISSION, text);
}

void admin_command_run(struct admin_conn *c, struct admin_request *request)
{
    const struct admin_command *command = admin_command_find(request->command);

    if (!command) {
        refuse_unknown(c, request);
        return;
    }
    if (!credentials_allow(&c->who, &c->admin->policy, command->permission)) {
        refuse_permission(c, request);
        return;
    }
    if (c->admin->draining && c->spared && command->run != run_release &&
        command->run != run_hold) {
        admin_conn_reply(c, request->id, -RD_ENOT_READY,
                         "this raftd stops, nothing was done: ask another member");
        return;
    }
    const char *wrong = command->check ? command->check(request) : NULL;
    if (wrong) {
        admin_conn_reply(c, request->id, -RD_EINVALID, wrong);
        return;
    }
    if (command->is_watch && c->watches_open == ADMIN_WATCHES_MAX) {
        admin_conn_reply(c, request->id, -RD_ETOO_LARGE,
                         "4 watches are open on this connection, the limit");
        return;
    }
    command->run(c->admin->ops, admin_call_open(c, request->id, command->is_watch), request);
}
