#include "raftctl/check.h"

#include <inttypes.h>
#include <stdio.h>

#include "raftctl/child.h"
#include "raftctl/look.h"

static int job(const void *data_dir, void *answer)
{
    struct store_offline *o;
    int code = store_offline_open(data_dir, false, &o);

    if (code == 0) {
        code = look_at(o, answer);
        store_offline_close(o);
    }
    return code;
}

/* ---- JSON ---- */

static json_t *uuid_json(const struct uuid *u)
{
    char text[UUID_TEXT_SIZE];

    uuid_text(u, text);
    return uuid_is_set(u) ? json_string(text) : json_null();
}

static json_t *number(uint64_t v)
{
    return json_integer((json_int_t)v);
}

static json_t *hex(uint64_t v)
{
    char text[17];

    (void)snprintf(text, sizeof text, "%016" PRIx64, v);
    return json_string(text);
}

static json_t *text_json(const char *text)
{
    return text[0] ? json_string(text) : json_null();
}

static const char *role_text(const struct raft_member *m)
{
    return m->role == RAFT_VOTER ? "voter" : "learner";
}

static json_t *members_json(const struct raft_membership *m)
{
    json_t *list = json_array();

    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct raft_member *member = &m->members[i];
        (void)json_array_append_new(list,
                                    json_pack("{s:o, s:s, s:s, s:o}", "id", number(member->id),
                                              "role", role_text(member), "address", member->address,
                                              "store_id", uuid_json(&member->store)));
    }
    return list;
}

static void put_json(const struct look *l, struct buf *out)
{
    const struct store_found *f = &l->found;
    const struct raft_member *member = look_member(l);
    json_t *all = json_pack("{s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "ok", 1, "format",
                            number(f->format), "used_by", text_json(f->used_by), "node_id",
                            number(f->id), "store_id", uuid_json(&f->store), "cluster_id",
                            uuid_json(&f->cluster), "incarnation", number(f->incarnation), "term",
                            number(f->term), "vote", number(f->vote));
    json_t *log = json_pack("{s:o, s:o, s:o, s:o, s:o, s:o}", "base_index", number(f->base.index),
                            "first_index", number(f->first), "last_index", number(f->last),
                            "last_term", number(f->last_term), "last_chain", hex(f->last_chain),
                            "entries_bytes", number(f->entries_bytes));
    json_t *state = json_pack("{s:o, s:o, s:o}", "applied_index", number(f->mark.at.index),
                              "revision", number(f->mark.revision), "digest", hex(f->mark.digest));
    json_t *members = json_pack(
        "{s:o, s:o, s:o, s:b}", "membership_index", number(f->membership_index), "members",
        members_json(&l->membership), "role", member ? json_string(role_text(member)) : json_null(),
        "removed", look_removed(l) != 0);

    (void)json_object_update_new(all, log);
    (void)json_object_update_new(all, state);
    (void)json_object_update_new(all, members);
    ctl_put_json(all, out);
    json_decref(all);
}

/* ---- Text ---- */

static void put_log(const struct store_found *f, struct buf *out)
{
    if (f->last == 0) {
        buf_put_str(out, "log       empty\n");
        return;
    }
    if (f->first == 0) {
        buf_put_str(out, "log       no entries");
    } else {
        buf_printf(out, "log       entries %" PRIu64 "..%" PRIu64 ", %" PRIu64 " bytes", f->first,
                   f->last, f->entries_bytes);
    }
    if (f->base.index) {
        buf_printf(out, ", begins after entry %" PRIu64, f->base.index);
    }
    buf_printf(out,
               "\nnewest    last_term %" PRIu64 ", last_index %" PRIu64 ", chain %016" PRIx64 "\n",
               f->last_term, f->last, f->last_chain);
}

static void put_members(const struct look *l, struct buf *out)
{
    const struct raft_membership *m = &l->membership;

    for (uint32_t i = 0; i < m->members_count; i++) {
        const struct raft_member *member = &m->members[i];
        buf_printf(out, "%s%" PRIu32 " %s %s%s\n", i ? "          " : "members   ", member->id,
                   role_text(member), member->address,
                   member == look_member(l) ? " (this node)" : "");
    }
    if (look_removed(l)) {
        buf_printf(out, "          this node was removed by entry %" PRIu64 "\n", look_removed(l));
    } else if (m->members_count && !look_member(l)) {
        buf_put_str(out, "          this node is not one of them\n");
    }
}

static void put_text(const struct look *l, struct buf *out)
{
    const struct store_found *f = &l->found;
    char store[UUID_TEXT_SIZE];
    char cluster[UUID_TEXT_SIZE];

    uuid_text(&f->store, store);
    uuid_text(&f->cluster, cluster);
    buf_printf(out, "sound\nformat    %" PRIu32 ", last used by raftd %s\n", f->format,
               f->used_by[0] ? f->used_by : "(not recorded)");
    buf_printf(out, "node      %" PRIu32 ", store %s, %" PRIu64 " starts\ncluster   %s\n", f->id,
               store, f->incarnation, uuid_is_set(&f->cluster) ? cluster : "none yet");
    buf_printf(out, "promises  term %" PRIu64 ", ", f->term);
    if (f->vote) {
        buf_printf(out, "vote for %" PRIu32 "\n", f->vote);
    } else {
        buf_put_str(out, "no vote in it\n");
    }
    put_log(f, out);
    if (f->mark.at.index) {
        buf_printf(
            out, "state     as of entry %" PRIu64 ", revision %" PRIu64 ", digest %016" PRIx64 "\n",
            f->mark.at.index, f->mark.revision, f->mark.digest);
    } else {
        buf_put_str(out, "state     nothing on disk yet\n");
    }
    put_members(l, out);
    if (f->last) {
        buf_put_str(out,
                    "Of several nodes the newest is the one with the higher last_term, then the "
                    "higher last_index.\n");
    }
}

/* ---- Damage, or another version's ---- */

static int report_problem(const struct ctl *ctl, const char *verdict, struct buf *reason,
                          struct ctl_error *e)
{
    struct buf out = BUF_INIT;

    if (ctl->json) {
        json_t *answer = json_pack("{s:b, s:s}", "ok", 0, "problem", buf_str(reason));
        ctl_put_json(answer, &out);
        json_decref(answer);
    } else {
        buf_printf(&out, "%s: %s", verdict, buf_str(reason));
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code ? code : 1;
}

/* The log is sound, the state is not. */
static void put_bad_state(const struct look *l, struct buf *reason)
{
    if (l->state_why[0]) {
        reason->size = 0;
        buf_put_str(reason, l->state_why);
    }
    buf_put_str(reason,
                look_is_whole_log(l)
                    ? "; the log is sound and holds all entries: raftd makes the state anew "
                      "from it"
                    : "; the log does not hold all entries: " RD_MAKE_ANEW);
}

int check_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    const char *data_dir = inv->text[OPT_DATA_DIR];
    struct look *look = mem_zalloc(sizeof *look);
    struct buf reason = BUF_INIT;
    struct buf out = BUF_INIT;
    int code = child_run(data_dir, job, data_dir, look, sizeof *look, &reason);

    if (code == 0 && look->state_is_bad) {
        put_bad_state(look, &reason);
        code = -RD_ECORRUPT;
    }
    if (code == 0) {
        (ctl->json ? put_json : put_text)(look, &out);
        code = ctl->json ? ctl_write_line(&out, e) : ctl_write(&out, e);
    } else if (code == -RD_ECORRUPT) {
        code = report_problem(ctl, "not sound", &reason, e);
    } else if (code == -RD_EFORMAT) {
        code = report_problem(ctl, "not for this version", &reason, e);
    } else {
        code = child_fail(e, code, &reason);
    }
    buf_done(&out);
    buf_done(&reason);
    mem_free(look);
    return code;
}
