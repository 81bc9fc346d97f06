/* fake_raftd SOCKET MODE - speaks wire/admin like raftd, and fails on request.
 *
 * Modes: leader (this node leads), follower, alone (no leader), degraded, late (a leader appears
 * 150 ms after `watch`, and the log is applied step by step), mute (reads, never answers), closing
 * (closes each connection at once), foreign (answers with bytes of another protocol), broken (JSON
 * that is none), full (refuses each connection as the 257th is refused), stray (answers the first
 * request with a refusal of the connection, then closes it). Keys with a meaning: err/NAME is refused with that code, vanish closes the
 * connection without an answer, silent gets no answer, late gets its answer ("too late") when the
 * next request comes, exit ends the process. Modes refusing and cut-off: permission_denied, no_quorum to
 * everything. Mode doubtful: a put is done, and answered with unknown_outcome.
 *
 * `hold` gets its claims in the modes of `holds`, and after some of them what the mode is about.
 *
 * Changes of the membership succeed at once; a member id that is an error's number is refused with
 * it, and those of `scripts` tell their progress first. Their answers repeat what was asked. */
#include <errno.h>
#include <inttypes.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "base/check.h"
#include "base/err.h"
#include "base/jw.h"
#include "base/mem.h"
#include "base/mono.h"
#include "wire/admin.h"

enum { CONNS_MAX = 64, KEYS_MAX = 2048, LATE_MS = 150, RUNNING_MAX = 4, SAID_MAX = 8 };

/* How a change of this member goes on, in ms since it was asked for. */
struct script {
    uint32_t member_id;
    struct {
        uint32_t at_ms;
        const char *json;
    } said[SAID_MAX]; /* ends with NULL */
    uint32_t end_ms;
    bool vanishes; /* the end is that of the connection */
};

struct running {
    const struct script *script;
    struct admin_request request; /* without its blobs */
    uint64_t began;
    uint32_t said;
};

struct conn {
    int fd;
    struct buf in, out;
    bool dead;
    bool ends;                    /* dead once its output is sent */
    uint64_t late_id;             /* answered before the next request */
    uint64_t watch_id, watch_due; /* late: when the leader appears */
    struct running running[RUNNING_MAX];
    uint32_t running_count;
    uint32_t held; /* times that `hold` was answered */
};

/* Modes in which this node leads as `hold` and `watch` tell it: after so many claims this comes. */
static const struct hold_mode {
    const char *mode;
    uint32_t claims;
    const char *then; /* NULL: no answer; "": refused */
} holds[] = {
    {"holder", UINT32_MAX, NULL},
    {"usurped", 3,
     "{\"is_leader\":true,\"term\":9,\"fence\":9,\"lease_remaining_ms\":300,\"node\":1}"},
    {"deposed", 3,
     "{\"is_leader\":false,\"term\":9,\"fence\":null,\"lease_remaining_ms\":0,\"reason\":\"it told "
     "so\"}"},
    {"garbled", 3, "{\"is_leader\":"},
    {"balking", 3, ""},
    {"falling-silent", 3, NULL},
    {"never-holds", 0, ""},
};

struct pair {
    struct blob *key, *value;
    uint64_t created, modified, version;
};

static struct fake {
    const char *mode;
    int listener;
    struct conn conns[CONNS_MAX];
    uint32_t conns_count;
    struct pair pairs[KEYS_MAX];
    uint32_t pairs_count;
    uint64_t revision, status_asked;
} fake;

static bool mode_is(const char *mode)
{
    return strcmp(fake.mode, mode) == 0;
}

static void answer(struct conn *c, const struct admin_request *r, bool more, const char *json)
{
    rd_assert(admin_reply_put(&c->out, r->id, 0, more, 0, NULL, json, strlen(json)) == 0);
}

static void refuse(struct conn *c, const struct admin_request *r, int code, uint32_t leader,
                   const char *message)
{
    rd_assert(admin_reply_put(&c->out, r->id, code, false, leader, message, NULL, 0) == 0);
}

static void answer_buf(struct conn *c, const struct admin_request *r, struct buf *out)
{
    answer(c, r, false, buf_str(out));
    buf_done(out);
}

/* ---- The cluster ---- */

static const char *const node_1 = "{\"id\":1,\"address\":\"10.0.0.1:7400\",\"uri\":\"amqp://1\"}";

static void status(struct conn *c, const struct admin_request *r)
{
    struct buf out = BUF_INIT;
    bool leader = mode_is("leader") || mode_is("degraded");
    bool led = !mode_is("alone");
    uint64_t applied = mode_is("late") ? 60 + 10 * ++fake.status_asked : 100;

    buf_printf(&out,
               "{\"schema\":\"raftd/1\",\"version\":\"0.1.0\",\"cluster\":{\"id\":"
               "\"00112233445566778899aabbccddeeff\",\"name\":\"prod\"},\"node\":{\"id\":%d,"
               "\"name\":\"n%d\",\"address\":\"10.0.0.%d:7400\"},\"state\":\"%s\",\"is_leader\":%s,"
               "\"role\":\"voter\",\"reason\":null,\"term\":7,\"fence\":7,\"leader\":%s,"
               "\"lease_remaining_ms\":%d,\"leader_contact_ms\":%d,\"commit_index\":100,"
               "\"applied_index\":%" PRIu64
               ",\"first_index\":1,\"last_index\":100,\"revision\":90,",
               leader ? 1 : 2, leader ? 1 : 2, leader ? 1 : 2,
               leader ? "leader" : (led ? "follower" : "candidate"), leader ? "true" : "false",
               led ? node_1 : "null", leader ? 790 : 0, leader ? 0 : 41, applied);
    buf_printf(&out,
               "\"membership\":{\"index\":3,\"pending\":false},\"quorum\":{\"voters\":3,\"need\":2,"
               "\"reachable\":%d,\"failure_tolerance\":1},\"members\":[",
               led ? (mode_is("degraded") ? 2 : 3) : 1);
    for (int i = 1; i <= 3; i++) {
        bool up = led && !(mode_is("degraded") && i == 3);
        buf_printf(
            &out,
            "%s{\"id\":%d,\"name\":\"n%d\",\"address\":\"10.0.0.%d:7400\",\"role\":\"voter\","
            "\"match_index\":%d,\"lag\":%d,\"contact_ms\":%d,\"connected\":%s,"
            "\"version\":\"0.1.0\"}",
            i > 1 ? "," : "", i, i, i, up ? 100 : 40, up ? 0 : 60, up ? 3 * i : 65000,
            up ? "true" : "false");
    }
    buf_put_str(&out,
                "],\"disk\":{\"state\":\"ok\",\"log_commit_p99_us\":410,\"log_bytes\":1572864,"
                "\"state_bytes\":4096},\"process\":{\"rss_bytes\":1,\"fds\":9,\"uptime_ms\":"
                "83000}}");
    answer_buf(c, r, &out);
}

static const struct hold_mode *hold_mode(void)
{
    for (size_t i = 0; i < sizeof holds / sizeof holds[0]; i++) {
        if (mode_is(holds[i].mode)) {
            return &holds[i];
        }
    }
    return NULL;
}

static void hold(struct conn *c, const struct admin_request *r)
{
    const struct hold_mode *m = hold_mode();

    if (m && c->held++ < m->claims) {
        answer(c, r, false,
               "{\"is_leader\":true,\"term\":7,\"fence\":7,\"lease_remaining_ms\":300,\"node\":1,"
               "\"cluster_id\":\"00112233445566778899aabbccddeeff\"}");
    } else if (!m) {
        answer(c, r, false,
               "{\"is_leader\":false,\"term\":7,\"fence\":7,\"lease_remaining_ms\":0}");
    } else if (m->then && !m->then[0]) {
        refuse(c, r, -RD_EINVALID, 0, "no such command");
    } else if (m->then) {
        answer(c, r, false, m->then);
    }
}

static void release(struct conn *c, const struct admin_request *r)
{
    answer(c, r, false, "{}");
}

static void watch(struct conn *c, const struct admin_request *r)
{
    static const char none[] = "{\"state\":\"candidate\",\"term\":6,\"leader\":null,\"fence\":0,"
                               "\"lease_remaining_ms\":0}";
    struct buf out = BUF_INIT;
    bool leads = mode_is("leader");

    if (mode_is("late")) {
        answer(c, r, true, none);
        c->watch_id = r->id;
        c->watch_due = mono_now_ms() + LATE_MS;
        return;
    }
    if (mode_is("alone")) {
        answer(c, r, true, none);
        return;
    }
    if (hold_mode()) {
        answer(c, r, true, "{\"state\":\"leader\",\"is_leader\":true,\"term\":7,\"leader\":null}");
        return;
    }
    buf_printf(&out,
               "{\"state\":\"%s\",\"term\":7,\"leader\":%s,\"fence\":7,\"lease_remaining_ms\":%d}",
               leads ? "leader" : "follower", node_1, leads ? 790 : 0);
    answer(c, r, true, buf_str(&out));
    buf_done(&out);
    if (mode_is("degraded")) {
        answer(c, r, false, none); /* and the stream ends: raftd stops */
    }
}

static void watch_late(struct conn *c)
{
    struct admin_request r = {.id = c->watch_id};
    struct buf out = BUF_INIT;

    buf_printf(
        &out,
        "{\"state\":\"leader\",\"term\":7,\"leader\":%s,\"fence\":7,\"lease_remaining_ms\":790}",
        node_1);
    answer(c, &r, true, buf_str(&out));
    buf_done(&out);
    c->watch_due = 0;
}

static void leader(struct conn *c, const struct admin_request *r)
{
    struct buf out = BUF_INIT;

    if (mode_is("alone")) {
        refuse(c, r, -RD_ENO_LEADER, 0, "no leader since 2000 ms");
        return;
    }
    buf_printf(&out, "{\"leader\":%s,\"term\":7,\"fence\":7}", mode_is("late") ? "null" : node_1);
    answer_buf(c, r, &out);
}

/* ---- Keys ---- */

static uint32_t find(const struct blob *key)
{
    uint32_t i = 0;

    while (i < fake.pairs_count && (fake.pairs[i].key->size != key->size ||
                                    memcmp(fake.pairs[i].key->data, key->data, key->size) != 0)) {
        i++;
    }
    return i;
}

static void put(struct conn *c, const struct admin_request *r)
{
    uint32_t i = find(r->key);
    struct pair *p = &fake.pairs[i];
    struct buf out = BUF_INIT;

    if (r->if_revision_set && r->if_revision != (i < fake.pairs_count ? p->modified : 0)) {
        refuse(c, r, -RD_ECONFLICT, 1, "the key is at another revision");
        return;
    }
    if (r->fence_set && r->fence != 7) {
        refuse(c, r, -RD_ESTALE_FENCE, 1, "the term is 7");
        return;
    }
    fake.revision++;
    if (i == fake.pairs_count) {
        rd_assert(i < KEYS_MAX);
        *p = (struct pair){.key = blob_ref(r->key), .created = fake.revision};
        fake.pairs_count++;
    }
    blob_unref(p->value);
    p->value = r->value ? blob_ref(r->value) : blob_copy("", 0);
    p->modified = fake.revision;
    p->version++;
    if (mode_is("doubtful")) {
        refuse(c, r, -RD_EUNKNOWN_OUTCOME, 0, NULL);
        return;
    }
    buf_printf(&out, "{\"revision\":%" PRIu64 ",\"index\":40,\"term\":7}", fake.revision);
    answer_buf(c, r, &out);
}

static void put_pair(struct jw *j, const struct pair *p)
{
    jw_object(j, NULL);
    jw_bytes(j, "key", p->key->data, p->key->size);
    jw_bytes(j, "value", p->value->data, p->value->size);
    jw_u64(j, "create_revision", p->created);
    jw_u64(j, "mod_revision", p->modified);
    jw_u64(j, "version", p->version);
    jw_object_end(j);
}

static void get(struct conn *c, const struct admin_request *r)
{
    uint32_t i = find(r->key);
    struct buf out = BUF_INIT;
    struct jw j = jw_begin(&out);

    if (i == fake.pairs_count) {
        refuse(c, r, -RD_ENOT_FOUND, 0, NULL);
        return;
    }
    put_pair(&j, &fake.pairs[i]);
    answer_buf(c, r, &out);
}

static void del(struct conn *c, const struct admin_request *r)
{
    uint32_t i = find(r->key);
    struct buf out = BUF_INIT;
    bool found = i < fake.pairs_count;

    if (found) {
        fake.revision++;
        blob_unref(fake.pairs[i].key);
        blob_unref(fake.pairs[i].value);
        fake.pairs[i] = fake.pairs[--fake.pairs_count];
        fake.pairs[fake.pairs_count] = (struct pair){0};
    }
    buf_printf(&out, "{\"deleted\":%d,\"revision\":%" PRIu64 ",\"index\":41}", found,
               fake.revision);
    answer_buf(c, r, &out);
}

/* Prefix "paged": each pair in a reply of its own. */
static void list(struct conn *c, const struct admin_request *r)
{
    bool paged = r->key && r->key->size >= 5 && memcmp(r->key->data, "paged", 5) == 0;
    struct buf out = BUF_INIT;
    struct jw j = jw_begin(&out);
    uint64_t count = 0;
    bool more = false;

    buf_printf(&out, "{\"revision\":%" PRIu64 ",\"kvs\":[", fake.revision);
    for (uint32_t i = 0; i < fake.pairs_count; i++) {
        const struct pair *p = &fake.pairs[i];
        if (r->key && (p->key->size < r->key->size ||
                       memcmp(p->key->data, r->key->data, r->key->size) != 0)) {
            continue;
        }
        more = r->limit && count == r->limit;
        if (more) {
            break;
        }
        count++;
        put_pair(&j, p);
        if (paged) {
            buf_put_str(&out, "]}");
            answer(c, r, true, buf_str(&out));
            out.size = 0;
            j.comma = false;
            buf_printf(&out, "{\"revision\":%" PRIu64 ",\"kvs\":[", fake.revision);
        }
    }
    buf_printf(&out, "]%s}", more ? ",\"more\":true" : "");
    answer_buf(c, r, &out);
}

/* ---- Changes ---- */

#define STEP(step) "{\"progress\":{\"step\":\"" step "\",\"id\":43}}"
#define CATCHING_UP(match, percent)                                                                \
    "{\"progress\":{\"step\":\"catching_up\",\"id\":43,\"match_index\":" match                     \
    ",\"last_index\":1000,\"percent\":" percent "}}"

static const struct script scripts[] = {
    {.member_id = 40, .said = {{0, STEP("dialling")}}, .end_ms = 500, .vanishes = true},
    {.member_id = 41, .said = {{0, STEP("dialling")}}, .end_ms = UINT32_MAX},
    {.member_id = 42, .said = {{0, STEP("dialling")}, {0, STEP("committing")}}},
    {.member_id = 43,
     .said = {{0, STEP("dialling")},
              {700, CATCHING_UP("430", "43")},
              {710, CATCHING_UP("440", "44")}, /* too soon to be told as a line */
              {720, STEP("committing")},
              {730, STEP("handing_over")},
              {740, STEP("moving_house")},
              {750, "\"no step\""}},
     .end_ms = 800},
    {.member_id = 44,
     .said = {{0, CATCHING_UP("100", "10")}, {1200, CATCHING_UP("500", "50")}},
     .end_ms = 3000},
    {.member_id = 45, .said = {{0, STEP("dialling")}}, .end_ms = 900},
};

static void change_result(struct conn *c, const struct admin_request *r)
{
    struct buf out = BUF_INIT;
    struct jw j = jw_begin(&out);
    bool hands_over = strcmp(r->command, "step-down") == 0 || strcmp(r->command, "transfer") == 0;
    bool voter = strcmp(r->command, "demote") != 0 && !r->learner && !r->no_wait;

    jw_object(&j, NULL);
    if (hands_over) {
        jw_u64(&j, "from", 1);
        jw_u64(&j, "to", r->member_id ? r->member_id : 2);
        buf_put_str(&out,
                    r->no_wait ? ",\"term\":null,\"gap_ms\":null" : ",\"term\":8,\"gap_ms\":4");
    } else if (r->replaces) {
        jw_u64(&j, "added", r->member_id);
        jw_u64(&j, "removed", r->replaces);
        jw_u64(&j, "index", 20);
    } else {
        jw_u64(&j, "id", r->member_id);
        if (strcmp(r->command, "remove-server") != 0) {
            jw_str(&j, "role", voter ? "voter" : "learner");
        }
        jw_u64(&j, "index", 12);
    }
    buf_printf(&out, ",\"asked\":\"%s%s%s%s\"}", r->address, r->learner ? " learner" : "",
               r->no_wait ? " no_wait" : "", r->force ? " force" : "");
    answer_buf(c, r, &out);
}

/* Say what is due. false: it is over. */
static bool go_on(struct conn *c, struct running *run)
{
    uint64_t since = mono_now_ms() - run->began;

    while (run->script->said[run->said].json && run->script->said[run->said].at_ms <= since) {
        answer(c, &run->request, true, run->script->said[run->said++].json);
    }
    if (since < run->script->end_ms) {
        return true;
    }
    if (run->script->vanishes) {
        c->ends = true;
    } else {
        change_result(c, &run->request);
    }
    return false;
}

static void run_changes(struct conn *c)
{
    for (uint32_t i = 0; i < c->running_count;) {
        if (go_on(c, &c->running[i])) {
            i++;
        } else {
            c->running[i] = c->running[--c->running_count];
        }
    }
}

static void change(struct conn *c, const struct admin_request *r)
{
    if (r->member_id >= RD_ENOT_LEADER && r->member_id < RD_EUSAGE) {
        refuse(c, r, -(int)r->member_id, 2, "as asked");
        return;
    }
    for (size_t i = 0; i < sizeof scripts / sizeof scripts[0]; i++) {
        if (scripts[i].member_id == r->member_id) {
            rd_assert(c->running_count < RUNNING_MAX);
            c->running[c->running_count++] =
                (struct running){.script = &scripts[i], .request = *r, .began = mono_now_ms()};
            run_changes(c);
            return;
        }
    }
    change_result(c, r);
}

/* ---- Requests ---- */

static bool key_is(const struct admin_request *r, const char *key)
{
    return r->key && r->key->size == strlen(key) && memcmp(r->key->data, key, r->key->size) == 0;
}

/* The keys that ask for trouble. false: an ordinary request. */
static bool trouble(struct conn *c, const struct admin_request *r)
{
    char name[64];

    if (key_is(r, "vanish")) {
        c->dead = true;
    } else if (key_is(r, "late")) {
        c->late_id = r->id;
    } else if (key_is(r, "exit")) {
        exit(0);
    } else if (r->key && r->key->size > 4 && r->key->size < sizeof name &&
               memcmp(r->key->data, "err/", 4) == 0) {
        memcpy(name, r->key->data + 4, r->key->size - 4);
        name[r->key->size - 4] = 0;
        refuse(c, r, err_by_name(name), 2, "as asked");
    } else if (mode_is("refusing")) {
        refuse(c, r, -RD_EPERMISSION, 0, NULL);
    } else if (mode_is("cut-off")) {
        refuse(c, r, -RD_ENO_QUORUM, 0, "1 of 3 voters reachable");
    } else {
        return key_is(r, "silent") || mode_is("mute");
    }
    return true;
}

static void handle(struct conn *c, const struct admin_request *r)
{
    static const struct {
        const char *name;
        void (*run)(struct conn *, const struct admin_request *);
    } commands[] = {{"status", status},
                    {"watch", watch},
                    {"hold", hold},
                    {"release", release},
                    {"leader", leader},
                    {"put", put},
                    {"get", get},
                    {"del", del},
                    {"list", list},
                    {"add-server", change},
                    {"promote", change},
                    {"demote", change},
                    {"remove-server", change},
                    {"replace-server", change},
                    {"step-down", change},
                    {"transfer", change}};

    if (c->late_id) {
        struct admin_request late = {.id = c->late_id};
        c->late_id = 0;
        answer(c, &late, false, "{\"key\":\"late\",\"value\":\"too late\"}");
    }
    if (trouble(c, r)) {
        return;
    }
    if (mode_is("broken")) {
        answer(c, r, false, "{\"half\":");
        return;
    }
    for (size_t i = 0; i < sizeof commands / sizeof commands[0]; i++) {
        if (strcmp(commands[i].name, r->command) == 0) {
            commands[i].run(c, r);
            return;
        }
    }
    if (strcmp(r->command, "members") == 0) {
        answer(
            c, r, false,
            "{\"index\":3,\"pending\":false,\"members\":[{\"id\":1,\"name\":\"n1\",\"address\":"
            "\"10.0.0.1:7400\",\"uri\":\"amqp://1\",\"role\":\"voter\"},{\"id\":12,\"name\":null,"
            "\"address\":\"n12.example:7400\",\"uri\":null,\"role\":\"learner\","
            "\"auto_promote\":true}]}");
    } else if (strcmp(r->command, "is-leader") == 0) {
        answer(c, r, false,
               mode_is("leader") ? "{\"is_leader\":true,\"fence\":7,\"lease_remaining_ms\":790}"
                                 : "{\"is_leader\":false,\"fence\":7,\"lease_remaining_ms\":0}");
    } else if (strcmp(r->command, "bootstrap") == 0) {
        answer(c, r, false, "{\"cluster_id\":\"00112233445566778899aabbccddeeff\"}");
    } else if (strcmp(r->command, "log-level") == 0 || strcmp(r->command, "reload") == 0) {
        answer(c, r, false, "{}");
    } else {
        refuse(c, r, -RD_EINVALID, 0, "no such command");
    }
}

static void conn_parse(struct conn *c)
{
    size_t done = 0;
    struct frame frame;

    if (mode_is("stray")) {
        rd_assert(admin_reply_put(&c->out, 0, -RD_EINVALID, false, 0, "that is no request", NULL,
                                  0) == 0);
        c->ends = true;
        return;
    }
    while (!c->dead &&
           frame_parse(c->in.data + done, c->in.size - done, FRAME_ADMIN_MAX, &frame, NULL) == 1) {
        struct admin_request r;
        rd_assert(admin_request_decode(&frame, &r) == 0);
        handle(c, &r);
        admin_request_done(&r);
        done += frame.total;
    }
    buf_drop(&c->in, done);
}

static void conn_read(struct conn *c)
{
    buf_reserve(&c->in, 256 * 1024);
    ssize_t n = recv(c->fd, c->in.data + c->in.size, 256 * 1024, 0);
    if (n <= 0) {
        c->dead = true;
        return;
    }
    c->in.size += (size_t)n;
    if (mode_is("foreign")) {
        buf_put_str(&c->out, "HTTP/1.1 400 Bad Request\r\n\r\n");
        return;
    }
    conn_parse(c);
}

static void conn_flush(struct conn *c)
{
    size_t done = 0;

    while (!c->dead && done < c->out.size) {
        ssize_t n = send(c->fd, c->out.data + done, c->out.size - done, MSG_NOSIGNAL);
        if (n < 0 && errno != EINTR) {
            c->dead = true;
        }
        done += n > 0 ? (size_t)n : 0;
    }
    c->out.size = 0;
    c->dead = c->dead || c->ends;
}

static void refuse_connection(int fd)
{
    static const char why[] = "256 admin connections are open, the limit: close some first";
    struct buf reply = BUF_INIT;

    rd_assert(admin_reply_put(&reply, 0, -RD_ETOO_LARGE, false, 0, why, NULL, 0) == 0);
    rd_assert(send(fd, reply.data, reply.size, MSG_NOSIGNAL) >= 0 || errno == EPIPE);
    buf_done(&reply);
    (void)close(fd);
}

static void conn_accept(void)
{
    int fd = accept(fake.listener, NULL, NULL);

    if (fd >= 0 && mode_is("full")) {
        refuse_connection(fd);
    } else if (fd >= 0 && (mode_is("closing") || fake.conns_count == CONNS_MAX)) {
        (void)close(fd);
    } else if (fd >= 0) {
        fake.conns[fake.conns_count++] = (struct conn){.fd = fd};
    }
}

static void reap(void)
{
    for (uint32_t i = 0; i < fake.conns_count;) {
        struct conn *c = &fake.conns[i];
        if (!c->dead) {
            i++;
            continue;
        }
        (void)close(c->fd);
        buf_done(&c->in);
        buf_done(&c->out);
        *c = fake.conns[--fake.conns_count];
    }
}

static void turn(void)
{
    struct pollfd fds[CONNS_MAX + 1] = {{.fd = fake.listener, .events = POLLIN}};
    uint32_t count = fake.conns_count;
    int wait_ms = -1;

    for (uint32_t i = 0; i < count; i++) {
        fds[i + 1] = (struct pollfd){.fd = fake.conns[i].fd, .events = POLLIN};
        wait_ms = fake.conns[i].watch_due || fake.conns[i].running_count ? 5 : wait_ms;
    }
    (void)poll(fds, count + 1, wait_ms);
    for (uint32_t i = 0; i < count; i++) {
        struct conn *c = &fake.conns[i];
        if (fds[i + 1].revents) {
            conn_read(c);
        }
        if (c->watch_due && mono_now_ms() >= c->watch_due) {
            watch_late(c);
        }
        run_changes(c);
        conn_flush(c);
    }
    if (fds[0].revents) {
        conn_accept();
    }
    reap();
}

int main(int argc, char **argv)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};

    if (argc != 3 || strlen(argv[1]) >= sizeof address.sun_path) {
        return 64;
    }
    (void)prctl(PR_SET_PDEATHSIG, SIGKILL); /* a test that fails leaves nothing behind */
    memcpy(address.sun_path, argv[1], strlen(argv[1]));
    fake.mode = argv[2];
    fake.listener = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fake.listener < 0 ||
        bind(fake.listener, (struct sockaddr *)&address, sizeof address) != 0 ||
        listen(fake.listener, 16) != 0) {
        return 81;
    }
    for (;;) {
        turn();
    }
}
