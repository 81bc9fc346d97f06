/* A new data directory from a backup: another cluster, of one node, with the same keys. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/check.h"
#include "base/mem.h"
#include "raft/membership.h"
#include "raftctl/backup.h"
#include "raftctl/backup_file.h"
#include "raftctl/changes.h"
#include "raftctl/child.h"
#include "store/offline.h"

struct plan {
    const char *file, *data_dir;
    struct backup backup; /* its state is the new one */
    struct raft_member self;
    struct state_rows rows;
    struct store_row *store_rows;
    struct store_beginning beginning;
};

/* ---- Who it is ---- */

static int decode_members(const struct plan *p, struct raft_membership *out, struct ctl_error *e)
{
    const struct blob *data = p->backup.membership;

    if (membership_decode(data->data, data->size, p->backup.head.membership_index, out)) {
        return ctl_fail(e, -RD_EINVALID, "%s holds a membership that makes no sense", p->file);
    }
    return 0;
}

static int choose_address(struct plan *p, const struct invocation *inv, struct ctl_error *e)
{
    struct raft_member *self = &p->self;

    if (inv->set[OPT_ADDRESS]) {
        const char *text = inv->text[OPT_ADDRESS];
        int code = changes_check_address(text, e);
        if (code == 0) {
            memcpy(self->address, text, strlen(text) + 1);
        }
        return code;
    }
    struct raft_membership *m = mem_zalloc(sizeof *m);
    int code = decode_members(p, m, e);
    const struct raft_member *known = membership_find(m, self->id);
    if (code == 0 && !known) {
        code = ctl_fail(e, -RD_EUSAGE,
                        "node %" PRIu32
                        " is not in the backup's membership: give its --address HOST:PORT",
                        self->id);
    } else if (code == 0) {
        memcpy(self->address, known->address, sizeof self->address);
    }
    mem_free(m);
    return code;
}

static int choose_self(struct plan *p, const struct invocation *inv, struct ctl_error *e)
{
    uint64_t id = inv->set[OPT_ID] ? inv->number[OPT_ID] : p->backup.origin.node;

    p->self = (struct raft_member){.id = (raft_id)id, .role = RAFT_VOTER};
    return choose_address(p, inv, e);
}

/* ---- What it begins with ---- */

static void random_uuid(struct uuid *out)
{
    ssize_t size = getrandom(out->bytes, sizeof out->bytes, 0);

    rd_assert(size == (ssize_t)sizeof out->bytes);
}

static void fill_rows(struct plan *p)
{
    state_key_rows(p->backup.state, &p->rows);
    p->store_rows = mem_alloc(p->rows.count * sizeof *p->store_rows);
    for (uint32_t i = 0; i < p->rows.count; i++) {
        const struct state_row *row = &p->rows.rows[i];
        p->store_rows[i] = (struct store_row){.key = p->rows.bytes.data + row->key_at,
                                              .key_size = row->key_size,
                                              .value = p->rows.bytes.data + row->value_at,
                                              .value_size = row->value_size};
    }
}

static struct blob *membership_of(const void *arg, const struct uuid *store)
{
    const struct plan *p = arg;
    struct raft_membership *m = mem_zalloc(sizeof *m);
    struct raft_member self = p->self;

    self.store = *store;
    self.session = p->backup.head.index;
    membership_insert(m, &self);
    struct blob *data = membership_encode(m);
    mem_free(m);
    return data;
}

static int fill_beginning(struct plan *p, struct ctl_error *e)
{
    const struct stream_head *head = &p->backup.head;
    struct store_beginning *b = &p->beginning;

    if (head->term > RAFT_NUMBER_MAX - RESTORE_TERMS ||
        head->revision > RAFT_NUMBER_MAX - RESTORE_REVISIONS) {
        return ctl_fail(e, -RD_EINVALID,
                        "%s is of term %" PRIu64 ", revision %" PRIu64 ": too far to go on from",
                        p->file, head->term, head->revision);
    }
    state_move_on(p->backup.state, RESTORE_REVISIONS);
    fill_rows(p);
    *b = (struct store_beginning){.id = p->self.id,
                                  .mark = {.at = {.index = head->index,
                                                  .term = head->term + RESTORE_TERMS,
                                                  .chain = head->chain,
                                                  .membership_index = head->index},
                                           .revision = state_revision(p->backup.state),
                                           .digest = state_digest(p->backup.state)},
                                  .membership = membership_of,
                                  .arg = p,
                                  .rows = p->store_rows,
                                  .rows_count = p->rows.count};
    random_uuid(&b->cluster);
    return 0;
}

static int job(const void *arg, void *answer)
{
    const struct plan *p = arg;

    (void)answer;
    return store_offline_make(p->data_dir, &p->beginning);
}

/* ---- The command ---- */

static int print(const struct ctl *ctl, const struct plan *p, struct ctl_error *e)
{
    const struct store_beginning *b = &p->beginning;
    struct buf out = BUF_INIT;
    char cluster[UUID_TEXT_SIZE];

    uuid_text(&b->cluster, cluster);
    if (ctl->json) {
        json_t *answer =
            json_pack("{s:I, s:I, s:I, s:I, s:s, s:s, s:I}", "index", (json_int_t)b->mark.at.index,
                      "revision", (json_int_t)b->mark.revision, "bytes",
                      (json_int_t)p->backup.bytes, "id", (json_int_t)b->id, "address",
                      p->self.address, "cluster_id", cluster, "term", (json_int_t)b->mark.at.term);
        ctl_put_json(answer, &out);
        json_decref(answer);
    } else {
        buf_printf(&out,
                   "%s: %" PRIu64 " key%s from %s, as of entry %" PRIu64
                   "\ncluster %s, new: node %" PRIu32
                   " at %s is its only voter, and goes on with revision %" PRIu64 ", term %" PRIu64
                   "\nStart raftd with this data_dir, then add the other nodes, with empty ones "
                   "(raftctl add-server).",
                   p->data_dir, state_keys(p->backup.state),
                   state_keys(p->backup.state) == 1 ? "" : "s", p->file, b->mark.at.index, cluster,
                   b->id, p->self.address, b->mark.revision, b->mark.at.term);
    }
    int code = ctl_write_line(&out, e);
    buf_done(&out);
    return code;
}

/* What root makes where nothing was belongs to root. */
static void note_owner(const struct ctl *ctl, const struct plan *p)
{
    struct stat st;

    if (geteuid() == 0 && stat(p->data_dir, &st) == 0 && st.st_uid == 0) {
        ctl_note(ctl, "%s belongs to root: if raftd runs as another user, chown -R it to that one",
                 p->data_dir);
    }
}

static int restore(struct ctl *ctl, struct plan *p, const struct invocation *inv,
                   struct ctl_error *e)
{
    struct buf reason = BUF_INIT;
    int code = choose_self(p, inv, e);

    if (code == 0) {
        code = fill_beginning(p, e);
    }
    if (code == 0) {
        code = child_run(p->data_dir, job, p, NULL, 0, &reason);
        code = code ? child_fail(e, code, &reason) : print(ctl, p, e);
        if (code == 0) {
            note_owner(ctl, p);
        }
    }
    buf_done(&reason);
    state_rows_done(&p->rows);
    mem_free(p->store_rows);
    return code;
}

int restore_run(struct ctl *ctl, const struct invocation *inv, struct ctl_error *e)
{
    struct plan p = {.file = inv->args[0], .data_dir = inv->text[OPT_DATA_DIR]};

    if (!p.file[0]) {
        return ctl_fail(e, -RD_EUSAGE, "the name of the FILE is empty");
    }
    int code = backup_load(p.file, p.file, &p.backup, e);
    if (code == 0) {
        code = restore(ctl, &p, inv, e);
        backup_done(&p.backup);
    }
    return code;
}
