#include "raftctl/commands.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "base/log.h"
#include "base/mem.h"
#include "base/similar.h"
#include "raftctl/backup.h"
#include "raftctl/batch.h"
#include "raftctl/bench.h"
#include "raftctl/changes.h"
#include "raftctl/check.h"
#include "raftctl/exec.h"
#include "raftctl/follow.h"
#include "raftctl/recover.h"
#include "raftctl/render.h"
#include "raftctl/watch.h"

/* What to do when no answer came. */
#define LOOK_FIRST "It may or may not have been applied: look before repeating it"
#define REPEAT_IT "It may or may not have been done: repeat the command, it is idempotent"
#define SEE_WHO_LEADS                                                                              \
    "It may or may not have been done: see who leads now, repeating it may move leadership again"

#define OPTIONS(...) ((const enum option_id[]){__VA_ARGS__})

/* ---- Filling requests ---- */

static int fill_key(const char *key, struct admin_request *req, struct ctl_error *e)
{
    size_t size = strlen(key);

    if (size == 0) {
        return ctl_fail(e, -RD_EINVALID, "the key is empty; a key has 1 to %d bytes", CTL_KEY_MAX);
    }
    if (size > CTL_KEY_MAX) {
        return ctl_fail(e, -RD_ETOO_LARGE, "the key has %zu bytes, the limit is %d", size,
                        CTL_KEY_MAX);
    }
    req->key = blob_copy(key, size);
    return 0;
}

static int read_stdin(struct buf *out, struct ctl_error *e)
{
    enum { READ_SIZE = 64 * 1024 };

    while (out->size <= CTL_VALUE_MAX) {
        buf_reserve(out, READ_SIZE);
        ssize_t n = read(STDIN_FILENO, out->data + out->size, READ_SIZE);
        if (n == 0) {
            return 0;
        }
        if (n < 0 && errno != EINTR) {
            return ctl_fail(e, -RD_EINVALID, "cannot read the value from standard input: %s",
                            err_text(-errno));
        }
        out->size += n > 0 ? (size_t)n : 0;
    }
    return ctl_fail(e, -RD_ETOO_LARGE,
                    "the value on standard input has more than %d bytes, the limit", CTL_VALUE_MAX);
}

static int fill_value(const struct ctl *ctl, const char *value, struct admin_request *req,
                      struct ctl_error *e)
{
    size_t size = strlen(value);

    if (strcmp(value, "-") == 0) {
        if (ctl->batch) {
            return ctl_fail(e, -RD_EINVALID,
                            "the value - means standard input, which holds the batch itself");
        }
        struct buf in = BUF_INIT;
        int code = read_stdin(&in, e);
        if (code == 0) {
            req->value = blob_copy(in.data, in.size);
        }
        buf_done(&in);
        return code;
    }
    if (size > CTL_VALUE_MAX) {
        return ctl_fail(e, -RD_ETOO_LARGE, "the value has %zu bytes, the limit is %d", size,
                        CTL_VALUE_MAX);
    }
    req->value = blob_copy(value, size);
    return 0;
}

static int fill_conditions(const struct ctl *ctl, const struct invocation *inv,
                           struct admin_request *req, struct ctl_error *e)
{
    (void)ctl;
    (void)e;
    req->if_revision_set = inv->set[OPT_IF_REVISION];
    req->if_revision = inv->number[OPT_IF_REVISION];
    req->fence_set = inv->set[OPT_FENCE];
    req->fence = inv->number[OPT_FENCE];
    req->stale = inv->set[OPT_STALE];
    req->limit = inv->number[OPT_LIMIT];
    return 0;
}

static int fill_put(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                    struct ctl_error *e)
{
    int code = fill_key(inv->args[0], req, e);

    if (code == 0) {
        code = fill_value(ctl, inv->args[1], req, e);
    }
    return code ? code : fill_conditions(ctl, inv, req, e);
}

static int fill_with_key(const struct ctl *ctl, const struct invocation *inv,
                         struct admin_request *req, struct ctl_error *e)
{
    int code = fill_key(inv->args[0], req, e);

    return code ? code : fill_conditions(ctl, inv, req, e);
}

static int fill_list(const struct ctl *ctl, const struct invocation *inv, struct admin_request *req,
                     struct ctl_error *e)
{
    int code = inv->args_count && inv->args[0][0] ? fill_key(inv->args[0], req, e) : 0;

    return code ? code : fill_conditions(ctl, inv, req, e);
}

static int fill_log_level(const struct ctl *ctl, const struct invocation *inv,
                          struct admin_request *req, struct ctl_error *e)
{
    enum log_level level;

    (void)ctl;
    if (!log_level_by_name(inv->args[0], &level)) {
        return ctl_fail(e, -RD_EUSAGE, "'%s' is not one of: error, warning, notice, info, debug",
                        inv->args[0]);
    }
    memcpy(req->text, inv->args[0], strlen(inv->args[0]) + 1); /* as short as the known names */
    return 0;
}

/* ---- What an answer means for the exit status ---- */

static int judge_leader(const json_t *answer, struct ctl_error *e)
{
    if (json_is_object(json_object_get(answer, "leader"))) {
        return 0;
    }
    return ctl_fail(e, -RD_ENO_LEADER, "no leader is known");
}

static int judge_is_leader(const json_t *answer, struct ctl_error *e)
{
    (void)e;
    return json_is_true(json_object_get(answer, "is_leader")) ? 0 : 1;
}

/* ---- The table ---- */

const struct command command_table[] = {
    {.name = "status",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .in_batch = true,
     .help = "this node and the cluster as it sees them",
     .details = "Works without a leader. The first lines say how the cluster is and why, then "
                "follows a table of its members; a * marks the node that answers. Below it stands "
                "why a member is not connected, where that is known.",
     .render = render_status},
    {.name = "members",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .in_batch = true,
     .help = "the committed membership",
     .details = "The servers the cluster has agreed on, and whether a change is pending.",
     .render = render_members},
    {.name = "leader",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .in_batch = true,
     .help = "who leads",
     .details = "Exit status 4 when no leader is known.",
     .render = render_leader,
     .judge = judge_leader},
    {.name = "is-leader",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .in_batch = true,
     .help = "does this node lead: yes (exit 0) or no (exit 1)",
     .details = "Yes only if this node may act as leader now: its lease holds.",
     .render = render_is_leader,
     .judge = judge_is_leader},
    {.name = "wait",
     .args = "",
     .options = OPTIONS(OPT_FOR, OPT_END),
     .required = OPT_FOR,
     .help = "block until something holds, at most --timeout",
     .details = "Exit status 5 when it does not hold in time. caught-up compares with what the "
                "cluster had committed when the wait began.",
     .run = wait_run},
    {.name = "watch",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .help = "the current state, then every change, until interrupted",
     .details = "One line each. Interrupt it with ^C.",
     .run = watch_run},
    {.name = "follow",
     .args = "",
     .options = OPTIONS(OPT_HOOK, OPT_HOOK_TIMEOUT, OPT_END),
     .required = OPT_HOOK,
     .help = "run hooks now and whenever it changes who leads, until a signal ends it",
     .details =
         "A hook is told the state as JSON on standard input and in RAFTD_EVENT (start, change), "
         "RAFTD_STATE, RAFTD_IS_LEADER (1, 0), RAFTD_LEADER_ID, RAFTD_LEADER_ADDRESS, "
         "RAFTD_LEADER_URI, RAFTD_TERM and RAFTD_FENCE, each empty when unknown. It runs again "
         "when one of these differs. RAFTD_STATE is `unreachable` when raftd is gone, or has not "
         "answered for 3s (or --timeout).\n\n"
         "Hooks run one at a time. What changes meanwhile waits, and only the newest state counts: "
         "states in between are skipped. Hooks that failed run again after 1s, 2s, 4s up to 30s, "
         "so "
         "they have to bear that. Of a directory, names that begin with a dot, have other than "
         "letters, digits, - _ . or are left by a package manager are skipped. TERM, INT or HUP "
         "end "
         "raftctl when the hook that runs has ended, for which it has 5s.\n\n"
         "Being told is not being entitled: a hook may come late. What must never run on two nodes "
         "belongs under `raftctl exec`. With --json, one line on standard output for each hook "
         "that "
         "has run; what hooks print goes there, too.",
     .examples = "  raftctl follow --hook /etc/raftd/hooks.d\n"
                 "  raftctl follow --hook ./announce --hook-timeout 5s\n",
     .run = follow_run},
    {.name = "bootstrap",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = LOOK_FIRST,
     .in_batch = true,
     .help = "make an unconfigured node a cluster of one voter",
     .details = "Only for the first node of a new cluster that was not given a member list. Other "
                "nodes are added to it, never bootstrapped.",
     .render = render_bootstrap},
    {.name = "add-server",
     .args = "ID HOST:PORT",
     .args_min = 2,
     .args_max = 2,
     .options = OPTIONS(OPT_LEARNER, OPT_NO_WAIT, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = REPEAT_IT,
     .progress = true,
     .in_batch = true,
     .help = "add a node, and give it a vote once it has caught up",
     .details = "ID is the node's own, HOST:PORT where the other members dial it. It has to run, "
                "with empty data and without a member list: it is dialled first, and if it does "
                "not fit nothing is changed. It joins as a learner and is made a voter when it "
                "has caught up. Catching up may take longer than the usual --timeout; it goes on "
                "without you.",
     .fill = fill_add_server,
     .render = render_member},
    {.name = "promote",
     .args = "ID",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_FORCE, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = REPEAT_IT,
     .progress = true,
     .in_batch = true,
     .help = "make a learner a voter",
     .details = "Refused, with numbers, while it has not caught up: until it has, it counts for "
                "the majority without helping to reach it.",
     .fill = fill_member,
     .render = render_member},
    {.name = "demote",
     .args = "ID",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_FORCE, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = REPEAT_IT,
     .progress = true,
     .in_batch = true,
     .help = "make a voter a learner; it stays one",
     .details = "It keeps its data and goes on receiving the log. The last voter has to stay; exit "
                "status 6 when too few of the voters left would answer.",
     .fill = fill_member,
     .render = render_member},
    {.name = "remove-server",
     .args = "ID",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_FORCE, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = REPEAT_IT,
     .progress = true,
     .in_batch = true,
     .help = "remove a member",
     .details = "The leader hands over first when it is the one. The last voter has to stay; "
                "exit status 6 when too few of the voters left would answer. What was removed "
                "never comes back under its data: stop it.",
     .fill = fill_member,
     .render = render_removed},
    {.name = "replace-server",
     .args = "OLD NEW HOST:PORT",
     .args_min = 3,
     .args_max = 3,
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = REPEAT_IT,
     .progress = true,
     .in_batch = true,
     .help = "add node NEW, then remove member OLD",
     .details = "NEW is added as by add-server, and OLD removed when NEW is a voter: there is no "
                "time with a voter less. Catching up may take longer than the usual --timeout; it "
                "goes on without you.",
     .fill = fill_replace_server,
     .render = render_replaced},
    {.name = "step-down",
     .args = "",
     .options = OPTIONS(OPT_NO_WAIT, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = SEE_WHO_LEADS,
     .progress = true,
     .in_batch = true,
     .help = "let the leader hand over to the voter that suits best",
     .details = "That is the one in reach with the most of the log. Waits until it has "
                "committed in its term, and says for how long writes waited.",
     .fill = fill_step_down,
     .render = render_hand_over},
    {.name = "transfer",
     .args = "ID",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_NO_WAIT, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = REPEAT_IT,
     .progress = true,
     .in_batch = true,
     .help = "let the leader hand over to this voter",
     .details = "Waits until it has committed in its term, and says for how long writes waited. "
                "Nothing happens when it leads already.",
     .fill = fill_member,
     .render = render_hand_over},
    {.name = "put",
     .args = "KEY VALUE",
     .args_min = 2,
     .args_max = 2,
     .options = OPTIONS(OPT_IF_REVISION, OPT_FENCE, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = LOOK_FIRST,
     .in_batch = true,
     .help = "store a value; VALUE - reads standard input",
     .details = "Keys have 1 to 480 bytes, values at most 1 MiB. Write -- before a value that "
                "begins with -.",
     .fill = fill_put,
     .render = render_put},
    {.name = "get",
     .args = "KEY",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_STALE, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .in_batch = true,
     .help = "print a value; exit 7 if the key is absent",
     .details = "Prints the bytes as they were stored; a newline is added on a terminal only.",
     .fill = fill_with_key,
     .render = render_get},
    {.name = "del",
     .args = "KEY",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_IF_REVISION, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .unanswered = LOOK_FIRST,
     .in_batch = true,
     .help = "delete a key; an absent one is no error",
     .details = "Says how many keys it deleted: 1, or 0 when there was none.",
     .fill = fill_with_key,
     .render = render_del},
    {.name = "list",
     .args = "[PREFIX]",
     .args_max = 1,
     .options = OPTIONS(OPT_LIMIT, OPT_STALE, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .in_batch = true,
     .help = "keys and values in key order",
     .details =
         "One line per key: the key, a tab, the value. Control characters, backslashes and "
         "bytes that are not UTF-8 are shown as \\n, \\t, \\\\ or \\xHH. When --limit leaves "
         "keys out, a note says so (`more` with --json).",
     .fill = fill_list,
     .render = render_list},
    {.name = "batch",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .help = "commands from standard input, one per line, one JSON line each",
     .details = "Words are split as in a POSIX shell (quotes and backslash, # comments, no "
                "expansion). Each line is answered before the next is read, over one connection, "
                "errors included; it never stops at an error. The exit status is 0 when all lines "
                "were answered, whatever the answers say, and 3 when raftd was lost on the way.",
     .run = batch_run},
    {.name = "log-level",
     .args = "LEVEL",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .in_batch = true,
     .help = "what this node logs, until it restarts",
     .details = "LEVEL is one of error, warning, notice, info, debug.",
     .fill = fill_log_level,
     .render = render_log_level},
    {.name = "reload",
     .args = "",
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .in_batch = true,
     .help = "read raftd.conf again",
     .details =
         "Takes over what can change at run time, and names the keys that did and those that "
         "need a restart. A file with errors changes nothing. Systemd does it by `systemctl "
         "reload raftd`, SIGHUP does the same and tells the log.",
     .render = render_reload},
    {.name = "check",
     .args = "",
     .options = OPTIONS(OPT_DATA_DIR, OPT_END),
     .required = OPT_DATA_DIR,
     .help = "verify a data directory that no raftd uses",
     .details = "Reads identity, term and vote, every log entry with its checksum and chain, and "
                "the state with its digest, and changes nothing. Exit 0 when all of it is sound, 1 "
                "when not, with what is wrong, or when it has a format for another version. Of "
                "several nodes the newest is the one with the higher last_term, then the higher "
                "last_index.",
     .run = check_run},
    {.name = "exec",
     .args = "-- CMD...",
     .args_min = 1,
     .args_max = 1,
     .takes_rest = true,
     .usage_status = EXEC_FAILED,
     .options = OPTIONS(OPT_WAIT_TIMEOUT, OPT_GRACE, OPT_END),
     .required = OPT_END,
     .help = "run a command only while this node leads",
     .details =
         "Waits until this node may act as leader, then runs CMD (no shell, a process group of its "
         "own) with RAFTD_FENCE, RAFTD_TERM, RAFTD_NODE_ID and RAFTD_CLUSTER_ID in its "
         "environment; what it writes to elsewhere should refuse a fence lower than the highest it "
         "has seen. When leadership ends, CMD and all that it has started get SIGTERM, and SIGKILL "
         "after --grace, but no later than the end of the lease: that is 0.8 of the election "
         "timeout (400ms by default) after raftd confirmed it last, whatever the grace. A daemon "
         "that does not answer counts as leadership lost, and so does a raftctl that is stopped; "
         "when raftctl is killed, CMD is killed at once. What CMD leaves behind when it ends by "
         "itself is ended in the same way. HUP, INT, QUIT, USR1, USR2, ALRM, TERM, CONT and WINCH "
         "are passed on to it, TSTP as STOP. It has to be a program that this user may signal "
         "(no sudo). Exit status: that of CMD, 128+N when signal N ended it; 75 when "
         "leadership was lost; 124 when --wait-timeout passed; 125 when raftctl failed, or its "
         "command line is bad (2 would be that of CMD); 126 or 127 when CMD cannot be run or is "
         "not found.",
     .examples = "  raftctl exec -- /usr/local/bin/scheduler --queue mail\n"
                 "  raftctl exec --wait-timeout 5s -- ./nightly || test $? = 124\n",
     .run = exec_run},
    {.name = "backup",
     .args = "FILE",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .help = "write a consistent copy of the state, from any member",
     .details =
         "Holds all that was acknowledged before the command began. FILE, replaced when it exists, "
         "appears only when it is whole, verified and on disk. --timeout is how long to wait for "
         "the "
         "next piece, not for all of it. restore makes a new cluster from it.",
     .run = backup_run},
    {.name = "restore",
     .args = "FILE",
     .args_min = 1,
     .args_max = 1,
     .options = OPTIONS(OPT_DATA_DIR, OPT_ID, OPT_ADDRESS, OPT_END),
     .required = OPT_DATA_DIR,
     .help = "make a new data directory from a backup: a new cluster",
     .details =
         "D must not exist, or be empty. The cluster has a new id and one voter, this node; it "
         "leads "
         "when raftd is started on D, and add-server brings the others, with empty data. Revisions "
         "go "
         "on 1,000,000,000 and terms (fences) 1,000,000 above the backup's, so that none is given "
         "twice, whatever was written after the backup.",
     .run = restore_run},
    {.name = "recover",
     .args = "",
     .options = OPTIONS(OPT_DATA_DIR, OPT_MEMBERS, OPT_FORCE, OPT_END),
     .required = OPT_DATA_DIR,
     .also = OPTIONS(OPT_MEMBERS, OPT_END),
     .help = "when quorum is lost for good: this node's data is the cluster",
     .details =
         "For when a majority of the voters is gone and will not come back. No raftd may use D. "
         "Run it on "
         "one node, the newest of the survivors (check says which), and list those that still have "
         "their data; everything in its log counts, and the members not listed are removed for "
         "ever. "
         "Without --force it changes nothing and says what it would do.",
     .run = recover_run},
    {.name = "reset",
     .args = "",
     .options = OPTIONS(OPT_DATA_DIR, OPT_FORCE, OPT_END),
     .required = OPT_DATA_DIR,
     .help = "forget all data of a node, keep its id",
     .details = "Makes a new, empty store in D, which a cluster takes in with add-server. No raftd "
                "may use D. "
                "Exit status 6 unless the node was removed from its cluster, or --force is given. "
                "Was it cut "
                "short, raftd refuses D until it is run again.",
     .run = reset_run},
    {.name = "bench",
     .args = "",
     .options =
         OPTIONS(OPT_CLIENTS, OPT_CONNECTIONS, OPT_SIZE, OPT_DURATION, OPT_OP, OPT_KEEP, OPT_END),
     .required = OPT_END,
     .needs = NEEDS_OPERATOR,
     .help = "measure this cluster under load",
     .details = "Each client has one request open at a time and sends the next when it is "
                "answered. The load is spread over 1,000 keys under bench/ (fewer when the "
                "values are large), deleted afterwards unless --keep. ^C ends the run early.",
     .run = bench_run},
    {.name = "help",
     .args = "[COMMAND]",
     .args_max = 1,
     .options = OPTIONS(OPT_END),
     .required = OPT_END,
     .help = "about raftctl, or about one command",
     .details = "The same as raftctl COMMAND --help.",
     .run = help_run},
};
const uint32_t command_count = sizeof command_table / sizeof command_table[0];

const struct command *command_find(const char *name)
{
    for (uint32_t i = 0; i < command_count; i++) {
        if (strcmp(command_table[i].name, name) == 0) {
            return &command_table[i];
        }
    }
    return NULL;
}

bool command_requires(const struct command *command, enum option_id option)
{
    for (const enum option_id *o = command->also; o && *o != OPT_END; o++) {
        if (*o == option) {
            return true;
        }
    }
    return command->required == option;
}

/* ---- Near misses ---- */

enum { SLIPS_MAX = 2 };

const char *command_nearest(const char *name)
{
    const char *nearest = NULL;
    uint32_t least = SLIPS_MAX + 1;

    if (strlen(name) < 3) {
        return NULL;
    }
    for (uint32_t i = 0; i < command_count; i++) {
        uint32_t d = similar_distance(name, command_table[i].name);
        if (d < least) {
            least = d;
            nearest = command_table[i].name;
        }
    }
    return nearest;
}
