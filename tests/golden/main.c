/* golden - run a script against a cluster of cores and compare the trace with the one in the file.
 *
 *   golden FILE            exit status 1 and the first difference when they differ
 *   golden --accept FILE   write the trace into the file
 *
 * A script is a text file. Lines that start with # and empty lines are for people. Indented lines
 * are the expected trace of the command above them. Commands:
 *
 *   cluster N [key=value]...    N empty cores; members (the first so many), T, heartbeat, entries,
 *                               bytes, msgs, window, cache
 *   past ID term=T vote=V loyal=MS log=T1,T2,...   what is on its disk: a log with entries of these
 *                               terms; T:promote4 and the like: a change of the membership
 *   ... base=N                  the first N of them are forgotten, and in its state
 *   wipe ID                     a new empty disk, with another store
 *   start ID|all                restart ID     crash ID
 *   form ID                     all start empty, ID founds the cluster and leads it, quietly
 *   adopt ID                    an empty core joins the cluster
 *   autosave on|off             is every save durable at once
 *   persist ID|all              a save is taken and durable    save ID / saved ID: its two halves
 *   wait MS                     time passes, nobody notices
 *   advance MS                  time passes, everybody keeps his deadlines
 *   campaign ID                 its election timer runs out; the others' do not
 *   tick ID     paused ID     disk ID stall|ok     linkdown ID PEER
 *   propose ID TEXT             read ID TOKEN
 *   change ID add|promote|demote|remove ID [auto] [force]     transfer ID TARGET|best
 *   removed ID     retire ID
 *   claimed ID MS               a claim was told that holds so long
 *   held ID MS     released ID  the same, to a holder; all holders have stopped
 *   shortest ID MS              the shortest election timeout of a member that it knows of
 *   deliver FROM->TO [TYPE] [COUNT]   what is under way now; * for anybody; deliver all
 *   duplicate FROM->TO [TYPE]   the same, and it stays under way
 *   drop FROM->TO [TYPE]        drop all
 *   beat LEADER PEER N          N heartbeats heard by that peer alone, quietly
 *   flush ID INDEX              the state on its disk is as of that entry
 *   trim ID INDEX               entries up to that one, which are in the state, may be forgotten
 *   piece FROM->TO OFFSET SIZE [last]   of the sender's state as it is on disk
 *   taken ID HAS [reject]       the receiver's word on the last piece that came
 *   install ID [untold]         that snapshot is the state on its disk; the core does not hear of it
 *   needs ID                    which entries are still needed, who wants a snapshot
 *   settle                      deliver and save until nothing moves
 *   quietly COMMAND...          without its trace
 *   inject FROM->TO TYPE key=value...   a message that nobody sent
 *   status [ID]   timer ID   log ID   members ID   queue */
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/check.h"
#include "base/units.h"
#include "golden.h"
#include "msgs.h"

enum { WORDS_MAX = 24 };

struct words {
    char *word[WORDS_MAX];
    uint32_t count;
};

struct command {
    const char *name;
    uint32_t words_min; /* with the name */
    void (*run)(struct golden *g, const struct words *w);
};

static const char *script_name;
static uint32_t script_line;

_Noreturn static void bad(const char *what, const char *word)
{
    (void)fprintf(stderr, "%s:%" PRIu32 ": %s: %s\n", script_name, script_line, what, word);
    exit(2);
}

static uint64_t number(const char *text)
{
    uint64_t n;

    if (units_parse_number(text, 0, UINT64_MAX, &n)) {
        bad("not a number", text);
    }
    return n;
}

static raft_id core_id(const struct golden *g, const char *text)
{
    uint64_t n = number(text);

    if (n < 1 || n > g->count) {
        bad("no such core", text);
    }
    return (raft_id)n;
}

static struct golden_core *running(struct golden *g, const char *text)
{
    struct golden_core *c = &g->cores[core_id(g, text)];

    if (!c->started) {
        bad("is not running", text);
    }
    return c;
}

/* The value of key=value, or NULL. */
static char *value_of(const struct words *w, const char *key)
{
    size_t size = strlen(key);

    for (uint32_t i = 1; i < w->count; i++) {
        if (strncmp(w->word[i], key, size) == 0 && w->word[i][size] == '=') {
            return w->word[i] + size + 1;
        }
    }
    return NULL;
}

static uint64_t number_of(const struct words *w, const char *key, uint64_t otherwise)
{
    const char *text = value_of(w, key);

    return text ? number(text) : otherwise;
}

static struct golden_filter filter(const struct golden *g, const struct words *w)
{
    struct golden_filter f = {0};
    char *arrow = strstr(w->word[1], "->");

    if (strcmp(w->word[1], "all") == 0) {
        return f;
    }
    if (!arrow) {
        bad("FROM->TO expected", w->word[1]);
    }
    *arrow = '\0';
    f.from = strcmp(w->word[1], "*") == 0 ? 0 : core_id(g, w->word[1]);
    f.to = strcmp(arrow + 2, "*") == 0 ? 0 : core_id(g, arrow + 2);
    *arrow = '-';
    if (w->count > 2) {
        f.type = msgs_type_by_name(w->word[2]);
        if (f.type == 0) {
            bad("no such message type", w->word[2]);
        }
    }
    return f;
}

/* ---- Commands ---- */

static void run_cluster(struct golden *g, const struct words *w)
{
    struct raft_config config = {
        .heartbeat_ms = (uint32_t)number_of(w, "heartbeat", 100),
        .election_timeout_ms = (uint32_t)number_of(w, "T", 500),
        .append_bytes_max = (uint32_t)number_of(w, "bytes", 65536),
        .append_entries_max = (uint32_t)number_of(w, "entries", 64),
        .inflight_bytes_max = (uint32_t)number_of(w, "window", 1048576),
        .inflight_msgs_max = (uint32_t)number_of(w, "msgs", 64),
        .cache_bytes_max = number_of(w, "cache", 1048576),
    };
    uint64_t count = number(w->word[1]);

    if (count < 1 || count > GOLDEN_CORES_MAX || g->count) {
        bad("one cluster of 1 to 7", w->word[1]);
    }
    uint64_t members = number_of(w, "members", count);
    if (members < 1 || members > count) {
        bad("members are some of the cores", w->word[1]);
    }
    golden_cluster(g, (uint32_t)count, (uint32_t)members, &config);
}

/* "add4" and the like: the kind, then whom. */
static struct raft_change change_of(const struct golden *g, const char *kind, const char *id)
{
    static const char *const names[RAFT_CHANGE_COUNT] = {[RAFT_CHANGE_ADD] = "add",
                                                         [RAFT_CHANGE_PROMOTE] = "promote",
                                                         [RAFT_CHANGE_DEMOTE] = "demote",
                                                         [RAFT_CHANGE_REMOVE] = "remove"};

    for (unsigned i = 1; i < RAFT_CHANGE_COUNT; i++) {
        size_t size = strlen(names[i]);

        if (strncmp(kind, names[i], size) == 0 && (kind[size] == '\0' || kind + size == id)) {
            struct raft_change c = golden_addition(g, core_id(g, id));
            c.kind = (enum raft_change_kind)i;
            return c;
        }
    }
    bad("no such change", kind);
}

static void run_past(struct golden *g, const struct words *w)
{
    struct golden_past past = {.term = number_of(w, "term", 0),
                               .vote = (raft_id)number_of(w, "vote", 0)};
    raft_id id = core_id(g, w->word[1]);
    char nothing[] = "", *save = NULL, *log = value_of(w, "log");

    past.loyal_ms = (uint32_t)number_of(w, "loyal", g->cores[id].config.election_timeout_ms);
    for (char *p = strtok_r(log ? log : nothing, ",", &save); p; p = strtok_r(NULL, ",", &save)) {
        char *change = strchr(p, ':');

        if (past.count == GOLDEN_PAST_MAX) {
            bad("too long a log", p);
        }
        struct golden_entry *e = &past.entries[past.count++];
        if (change) {
            *change++ = '\0';
            e->change = change_of(g, change, change + strcspn(change, "123456789"));
        }
        e->term = number(p);
    }
    past.base = (uint32_t)number_of(w, "base", 0);
    golden_past(g, id, &past);
}

static void run_wipe(struct golden *g, const struct words *w)
{
    raft_id id = core_id(g, w->word[1]);

    golden_crash(g, id);
    golden_wipe(g, id);
}

static void run_start(struct golden *g, const struct words *w)
{
    bool all = strcmp(w->word[1], "all") == 0;

    for (uint32_t id = 1; id <= g->count; id++) {
        if (all || id == core_id(g, w->word[1])) {
            golden_start(g, id);
            golden_status(g, id);
        }
    }
}

static void run_crash(struct golden *g, const struct words *w)
{
    golden_crash(g, running(g, w->word[1])->id);
}

static void run_restart(struct golden *g, const struct words *w)
{
    golden_crash(g, core_id(g, w->word[1]));
    run_start(g, w);
}

static void run_form(struct golden *g, const struct words *w)
{
    raft_id leader = core_id(g, w->word[1]);
    struct uuid cluster = {.bytes = {0xcc}};

    g->quiet = true;
    for (uint32_t id = 1; id <= g->membership.members_count; id++) {
        struct raft_event adopt = {.type = RAFT_EV_ADOPT, .found = {.cluster = &cluster}};
        struct raft_event found = {.type = RAFT_EV_FOUND,
                                   .found = {.cluster = &cluster, .membership = &g->membership}};

        golden_start(g, id);
        golden_step(g, id, id == leader ? &found : &adopt);
    }
    mono_ms at = raft_deadline(g->cores[leader].raft);
    g->now = at > g->now ? at : g->now;
    golden_settle(g);
    golden_step(g, leader, &(struct raft_event){.type = RAFT_EV_TICK});
    golden_settle(g);
    g->now += g->cores[leader].config.heartbeat_ms;
    golden_step(g, leader, &(struct raft_event){.type = RAFT_EV_TICK});
    golden_settle(g);
    g->quiet = false;
    for (uint32_t id = 1; id <= g->membership.members_count; id++) {
        golden_status(g, id);
    }
}

static void run_adopt(struct golden *g, const struct words *w)
{
    struct uuid cluster = {.bytes = {0xcc}};
    struct raft_event e = {.type = RAFT_EV_ADOPT, .found = {.cluster = &cluster}};

    golden_step(g, running(g, w->word[1])->id, &e);
}

static void run_autosave(struct golden *g, const struct words *w)
{
    g->autosave = strcmp(w->word[1], "on") == 0;
}

static void run_persist(struct golden *g, const struct words *w)
{
    bool all = strcmp(w->word[1], "all") == 0;

    for (uint32_t id = 1; id <= g->count; id++) {
        bool wanted = g->cores[id].started && raft_save_wanted(g->cores[id].raft);

        if (all ? wanted : id == core_id(g, w->word[1])) {
            golden_save(g, id);
            golden_saved(g, id);
        }
    }
}

static void run_save(struct golden *g, const struct words *w)
{
    golden_save(g, running(g, w->word[1])->id);
}

static void run_saved(struct golden *g, const struct words *w)
{
    golden_saved(g, running(g, w->word[1])->id);
}

static void run_wait(struct golden *g, const struct words *w)
{
    g->now += number(w->word[1]);
}

static void run_advance(struct golden *g, const struct words *w)
{
    golden_advance(g, number(w->word[1]));
}

static void run_campaign(struct golden *g, const struct words *w)
{
    const struct golden_core *c = running(g, w->word[1]);
    mono_ms at = raft_deadline(c->raft);

    if (at == UINT64_MAX) {
        golden_say(g, "%" PRIu32 " has no election timer", c->id);
        return;
    }
    g->now = at > g->now ? at : g->now;
    golden_step(g, c->id, &(struct raft_event){.type = RAFT_EV_TICK});
}

static void run_tick(struct golden *g, const struct words *w)
{
    golden_step(g, running(g, w->word[1])->id, &(struct raft_event){.type = RAFT_EV_TICK});
}

static void run_paused(struct golden *g, const struct words *w)
{
    golden_step(g, running(g, w->word[1])->id, &(struct raft_event){.type = RAFT_EV_PAUSED});
}

static void run_disk(struct golden *g, const struct words *w)
{
    struct raft_event e = {.type = RAFT_EV_DISK,
                           .disk = {.stalled = strcmp(w->word[2], "stall") == 0}};

    golden_step(g, running(g, w->word[1])->id, &e);
}

static void run_linkdown(struct golden *g, const struct words *w)
{
    struct raft_event e = {.type = RAFT_EV_LINK_DOWN, .peer = core_id(g, w->word[2])};

    golden_step(g, running(g, w->word[1])->id, &e);
}

static void run_propose(struct golden *g, const struct words *w)
{
    struct blob *data = blob_copy(w->word[2], strlen(w->word[2]));
    struct raft_event e = {.type = RAFT_EV_PROPOSE, .propose = {.data = data}};

    golden_step(g, running(g, w->word[1])->id, &e);
    blob_unref(data);
}

static void run_read(struct golden *g, const struct words *w)
{
    struct raft_event e = {.type = RAFT_EV_READ, .read = {.token = number(w->word[2])}};

    golden_step(g, running(g, w->word[1])->id, &e);
}

static bool has_word(const struct words *w, const char *word)
{
    for (uint32_t i = 1; i < w->count; i++) {
        if (strcmp(w->word[i], word) == 0) {
            return true;
        }
    }
    return false;
}

static void run_change(struct golden *g, const struct words *w)
{
    struct raft_change c = change_of(g, w->word[2], w->word[3]);
    struct raft_event e = {.type = RAFT_EV_CHANGE, .change = &c};

    c.auto_promote = has_word(w, "auto");
    c.force = has_word(w, "force");
    golden_step(g, running(g, w->word[1])->id, &e);
}

static void run_transfer(struct golden *g, const struct words *w)
{
    bool best = strcmp(w->word[2], "best") == 0;
    struct raft_event e = {.type = RAFT_EV_TRANSFER,
                           .transfer = {.target = best ? 0 : core_id(g, w->word[2])}};

    golden_step(g, running(g, w->word[1])->id, &e);
}

static void run_removed(struct golden *g, const struct words *w)
{
    golden_step(g, running(g, w->word[1])->id, &(struct raft_event){.type = RAFT_EV_REMOVED});
}

static void run_retire(struct golden *g, const struct words *w)
{
    golden_step(g, running(g, w->word[1])->id, &(struct raft_event){.type = RAFT_EV_RETIRE});
}

static void run_claimed(struct golden *g, const struct words *w)
{
    raft_claim_told(running(g, w->word[1])->raft, g->now + number(w->word[2]));
}

static void run_shortest(struct golden *g, const struct words *w)
{
    raft_set_lease_base(running(g, w->word[1])->raft, (uint32_t)number(w->word[2]));
}

static void run_held(struct golden *g, const struct words *w)
{
    raft_claim_held(running(g, w->word[1])->raft, g->now + number(w->word[2]));
}

static void run_released(struct golden *g, const struct words *w)
{
    golden_step(g, running(g, w->word[1])->id,
                &(struct raft_event){.type = RAFT_EV_CLAIMS_RELEASED});
}

static void run_flush(struct golden *g, const struct words *w)
{
    golden_flush(g, running(g, w->word[1])->id, number(w->word[2]));
}

static void run_trim(struct golden *g, const struct words *w)
{
    golden_trim(g, running(g, w->word[1])->id, number(w->word[2]));
}

static void run_piece(struct golden *g, const struct words *w)
{
    const struct words ends = {.word = {w->word[0], w->word[1]}, .count = 2};
    struct golden_filter f = filter(g, &ends);

    golden_piece(g, &f, number(w->word[2]), (uint32_t)number(w->word[3]), has_word(w, "last"));
}

static void run_taken(struct golden *g, const struct words *w)
{
    golden_taken(g, running(g, w->word[1])->id, number(w->word[2]), has_word(w, "reject"));
}

static void run_install(struct golden *g, const struct words *w)
{
    golden_install(g, running(g, w->word[1])->id, !has_word(w, "untold"));
}

static void run_needs(struct golden *g, const struct words *w)
{
    golden_needs(g, running(g, w->word[1])->id);
}

static void run_deliver(struct golden *g, const struct words *w)
{
    struct golden_filter f = filter(g, w);
    uint32_t count = w->count > 3 ? (uint32_t)number(w->word[3]) : UINT32_MAX;

    if (golden_deliver(g, &f, count, false) == 0) {
        golden_say(g, "nothing to deliver");
    }
}

static void run_duplicate(struct golden *g, const struct words *w)
{
    struct golden_filter f = filter(g, w);

    if (golden_deliver(g, &f, UINT32_MAX, true) == 0) {
        golden_say(g, "nothing to deliver");
    }
}

static void run_drop(struct golden *g, const struct words *w)
{
    struct golden_filter f = filter(g, w);

    golden_say(g, "%" PRIu32 " dropped", golden_drop(g, &f));
}

/* A leader and one follower hear each other for some heartbeats; what others are sent is lost. */
static void run_beat(struct golden *g, const struct words *w)
{
    const struct golden_core *leader = running(g, w->word[1]);
    struct golden_filter out = {.from = leader->id, .to = core_id(g, w->word[2])};
    struct golden_filter back = {.from = out.to, .to = out.from};

    g->quiet = true;
    for (uint64_t i = number(w->word[3]); i > 0; i--) {
        golden_advance(g, leader->config.heartbeat_ms);
        (void)golden_deliver(g, &out, UINT32_MAX, false);
        (void)golden_deliver(g, &back, UINT32_MAX, false);
        (void)golden_drop(g, &(struct golden_filter){0});
    }
    g->quiet = false;
}

static void run_settle(struct golden *g, const struct words *w)
{
    (void)w;
    golden_settle(g);
}

/* Some count only as answers to the newest question, or about the last TimeoutNow. */
static uint64_t seq_that_counts(const struct golden_core *to, enum raft_msg_type type)
{
    bool answers_the_newest = type == RAFT_MSG_PRE_VOTE_REPLY || type == RAFT_MSG_VOTE_REPLY ||
                              type == RAFT_MSG_TIMEOUT_NOW_REPLY;

    return answers_the_newest ? to->seq : type == RAFT_MSG_CLAIMS_LEFT ? to->told : 0;
}

/* As the receiver has it on its disk; of what that does not hold, as the sender does. */
static uint64_t chain_at(const struct golden *g, const struct raft_msg *m)
{
    const raft_id sides[] = {m->to, m->from};

    for (size_t i = 0; i < sizeof sides / sizeof *sides; i++) {
        const struct vdisk *d = &g->cores[sides[i]].disk;
        const struct raft_entry *e = vdisk_entry(d, m->index);
        if (e && e->term == m->log_term) {
            return e->chain;
        }
        if (m->index > 0 && d->base.index == m->index) {
            return d->base.chain;
        }
    }
    const struct golden_core *to = &g->cores[m->to]; /* what it has and did not save yet */
    return m->index == to->view.last ? to->view.last_chain : 0;
}

static void run_inject(struct golden *g, const struct words *w)
{
    struct golden_filter f = filter(g, w);
    const char *entry = value_of(w, "entry");
    struct raft_msg m = {
        .type = f.type,
        .cluster = {.bytes = {0xcc}},
        .from = f.from,
        .to = f.to,
        .term = number_of(w, "term", 0),
        .seq = number_of(w, "seq", seq_that_counts(&g->cores[f.to], f.type)),
        .stamp = number_of(w, "stamp", 0),
        .session = number_of(w, "session", 1),
        .index = number_of(w, "index", 0),
        .log_term = number_of(w, "log_term", 0),
        .commit = number_of(w, "commit", 0),
        .hint = number_of(w, "hint", 0),
        .reject = number_of(w, "reject", 0) != 0,
        .transfer = number_of(w, "transfer", 0) != 0,
        .hold_ms = (uint32_t)number_of(w, "hold", 0),
        .offset = number_of(w, "offset", 0),
        .done = number_of(w, "done", 0) != 0,
    };

    m.chain = number_of(w, "chain", chain_at(g, &m));
    if (m.type == RAFT_MSG_SNAPSHOT) {
        m.data = blob_copy("piece", 5);
    }
    if (entry) { /* one command of the message's term */
        m.entries = mem_zalloc(sizeof *m.entries);
        m.entries_count = 1;
        m.entries[0] = (struct raft_entry){.index = m.index + 1,
                                           .term = number_of(w, "entry_term", m.term),
                                           .type = RAFT_ENTRY_COMMAND,
                                           .data = blob_copy(entry, strlen(entry))};
    }
    golden_step(g, running(g, (char[]){(char)('0' + m.to), '\0'})->id,
                &(struct raft_event){.type = RAFT_EV_MESSAGE, .message = &m});
    raft_msg_done(&m);
}

static void run_status(struct golden *g, const struct words *w)
{
    for (uint32_t id = 1; id <= g->count; id++) {
        if (w->count < 2 || id == core_id(g, w->word[1])) {
            golden_status(g, id);
        }
    }
}

static void run_timer(struct golden *g, const struct words *w)
{
    golden_timer(g, running(g, w->word[1])->id);
}

static void run_log(struct golden *g, const struct words *w)
{
    golden_log(g, running(g, w->word[1])->id);
}

static void run_members(struct golden *g, const struct words *w)
{
    golden_members(g, running(g, w->word[1])->id);
}

static void run_queue(struct golden *g, const struct words *w)
{
    (void)w;
    for (uint32_t i = 0; i < g->queue_count; i++) {
        struct buf text = BUF_INIT;

        msgs_text(&g->queue[i], &text);
        golden_say(g, "%s", buf_str(&text));
        buf_done(&text);
    }
    if (g->queue_count == 0) {
        golden_say(g, "nothing is under way");
    }
}

static const struct command commands[] = {
    {"cluster", 2, run_cluster},   {"past", 3, run_past},         {"start", 2, run_start},
    {"crash", 2, run_crash},       {"restart", 2, run_restart},   {"form", 2, run_form},
    {"autosave", 2, run_autosave}, {"persist", 2, run_persist},   {"save", 2, run_save},
    {"saved", 2, run_saved},       {"wait", 2, run_wait},         {"advance", 2, run_advance},
    {"campaign", 2, run_campaign}, {"tick", 2, run_tick},         {"paused", 2, run_paused},
    {"disk", 3, run_disk},         {"linkdown", 3, run_linkdown}, {"propose", 3, run_propose},
    {"read", 3, run_read},         {"deliver", 2, run_deliver},   {"duplicate", 2, run_duplicate},
    {"drop", 2, run_drop},         {"settle", 1, run_settle},     {"inject", 3, run_inject},
    {"status", 1, run_status},     {"log", 2, run_log},           {"queue", 1, run_queue},
    {"timer", 2, run_timer},       {"beat", 4, run_beat},         {"wipe", 2, run_wipe},
    {"adopt", 2, run_adopt},       {"change", 4, run_change},     {"transfer", 3, run_transfer},
    {"removed", 2, run_removed},   {"retire", 2, run_retire},     {"claimed", 3, run_claimed},
    {"members", 2, run_members},   {"flush", 3, run_flush},       {"trim", 3, run_trim},
    {"piece", 4, run_piece},       {"taken", 3, run_taken},       {"install", 2, run_install},
    {"needs", 2, run_needs},       {"held", 3, run_held},         {"released", 2, run_released},
    {"shortest", 3, run_shortest},
};

static void split(char *line, struct words *w)
{
    char *save = NULL;

    w->count = 0;
    for (char *p = strtok_r(line, " ", &save); p; p = strtok_r(NULL, " ", &save)) {
        if (w->count == WORDS_MAX) {
            bad("too many words", p);
        }
        w->word[w->count++] = p;
    }
}

static void run_words(struct golden *g, const struct words *w)
{
    if (strcmp(w->word[0], "quietly") == 0 && w->count > 1) {
        struct words rest = {.count = w->count - 1};

        memcpy(rest.word, w->word + 1, rest.count * sizeof *rest.word);
        g->quiet = true;
        run_words(g, &rest);
        g->quiet = false;
        return;
    }
    for (size_t i = 0; i < sizeof commands / sizeof *commands; i++) {
        if (strcmp(commands[i].name, w->word[0]) == 0) {
            if (w->count < commands[i].words_min) {
                bad("words are missing after", w->word[0]);
            }
            commands[i].run(g, w);
            return;
        }
    }
    bad("no such command", w->word[0]);
}

/* Run the whole script; the trace becomes what the file should be. */
static void run_script(struct golden *g, char *text)
{
    char *next;

    for (char *line = text; *line; line = next) {
        struct words w;

        script_line++;
        next = strchr(line, '\n');
        if (next) {
            *next++ = '\0';
        } else {
            next = line + strlen(line);
        }
        if (line[0] == ' ') {
            continue;
        }
        buf_printf(&g->trace, "%s\n", line);
        if (line[0] != '#' && line[0] != '\0') {
            split(line, &w);
            run_words(g, &w);
        }
    }
}

static void read_file(const char *name, struct buf *out)
{
    FILE *f = fopen(name, "rb");
    char chunk[4096];
    size_t n;

    if (!f) {
        bad("cannot be read", name);
    }
    while ((n = fread(chunk, 1, sizeof chunk, f)) > 0) {
        buf_put(out, chunk, n);
    }
    (void)fclose(f);
}

/* Where two texts part: the line before, then both sides. */
static void print_difference(const char *want, const char *got)
{
    uint32_t line = 1;

    while (*want && *got) {
        size_t a = strcspn(want, "\n"), b = strcspn(got, "\n");

        if (a != b || memcmp(want, got, a) != 0) {
            break;
        }
        want += a + (want[a] != '\0');
        got += b + (got[b] != '\0');
        line++;
    }
    (void)fprintf(stderr, "%s:%" PRIu32 ": the trace differs\n  expected: %.*s\n  got:      %.*s\n",
                  script_name, line, (int)strcspn(want, "\n"), want, (int)strcspn(got, "\n"), got);
    (void)fprintf(stderr, "to take the new trace, after reading it: golden --accept %s\n",
                  script_name);
}

static int accept_trace(const struct golden *g)
{
    FILE *f = fopen(script_name, "wb");

    if (!f || fwrite(g->trace.data, 1, g->trace.size, f) != g->trace.size || fclose(f)) {
        bad("cannot be written", script_name);
    }
    return 0;
}

static void where(void *arg, char *text, unsigned text_size)
{
    (void)arg;
    (void)snprintf(text, text_size, "(at %s:%" PRIu32 ")", script_name, script_line);
}

int main(int argc, char **argv)
{
    static struct golden g;
    bool accept = argc == 3 && strcmp(argv[1], "--accept") == 0;
    struct buf file = BUF_INIT, work = BUF_INIT;
    int status = 0;

    if (argc < 2 || (argc == 3 && !accept) || argc > 3) {
        (void)fprintf(stderr, "usage: golden [--accept] FILE\n");
        return 2;
    }
    script_name = argv[argc - 1];
    check_set_context(where, NULL);
    read_file(script_name, &file);
    buf_put(&work, file.data, file.size);
    buf_put_u8(&work, '\0');
    run_script(&g, (char *)work.data);
    if (accept) {
        status = accept_trace(&g);
    } else if (strcmp(buf_str(&file), buf_str(&g.trace)) != 0) {
        print_difference(buf_str(&file), buf_str(&g.trace));
        status = 1;
    }
    golden_done(&g);
    buf_done(&file);
    buf_done(&work);
    return status;
}
