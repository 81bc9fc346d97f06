/* A snapshot that comes in: gathered in memory, checked as a whole, written in one transaction of the
 * state's environment, and only then the log begins anew after it. Until then nothing of what this
 * node has is touched, so what is not complete is simply dropped (traps 39 to 42). */
#include "node/internal.h"
#include "state/stream.h"

static bool is_of(const struct node_incoming *in, const struct raft_msg *m)
{
    return in->phase != NODE_INCOMING_NONE && in->last.from == m->from &&
           in->last.term == m->term && in->mark.at.index == m->index &&
           in->mark.at.term == m->log_term;
}

static void incoming_drop(struct node *n)
{
    struct node_incoming *in = &n->incoming;

    rd_assert(in->phase != NODE_INCOMING_WRITING);
    state_free(in->state);
    state_rows_done(&in->rows);
    raft_point_done(&in->mark.at);
    *in = (struct node_incoming){0};
}

static int take_row(void *arg, const void *key, size_t key_size, const void *value,
                    size_t value_size)
{
    struct node_incoming *in = arg;
    int code = state_load_row(in->state, key, key_size, value, value_size);

    if (code == 0) {
        state_rows_put(&in->rows, key, key_size, value, value_size);
    }
    return code;
}

/* What is installed has to be readable: found out later it would end the node at each start. */
static bool is_membership(const struct stream_head *head)
{
    struct raft_membership *m = mem_zalloc(sizeof *m);
    int code =
        membership_decode(head->membership, head->membership_size, head->membership_index, m);

    mem_free(m);
    return code == 0;
}

static int take_head(struct node_incoming *in, const struct raft_msg *m)
{
    struct stream_head head;
    int code = stream_get_head(m->data->data, m->data->size, &head);

    if (code || head.index != m->index || head.term != m->log_term || head.chain != m->chain ||
        !is_membership(&head)) {
        return -RD_ECORRUPT;
    }
    in->state = state_new();
    in->mark = (struct node_mark){
        .at = {.index = head.index,
               .term = head.term,
               .chain = head.chain,
               .membership_index = head.membership_index,
               .membership =
                   head.membership_size ? blob_copy(head.membership, head.membership_size) : NULL},
        .revision = head.revision,
        .digest = head.digest,
        .installed = true};
    return 0;
}

/* The next piece. */
static int take_piece(struct node_incoming *in, const struct raft_msg *m)
{
    const struct blob *data = m->data;
    int code = m->offset == 0 ? take_head(in, m)
               : m->done      ? stream_check_tail(data->data, data->size, in->received)
                              : stream_each_row(data->data, data->size, take_row, in);

    in->received += data->size;
    if (code == 0 && m->done) {
        code = state_load_done(in->state, in->mark.at.index, in->mark.at.term, in->mark.revision,
                               in->mark.digest);
        in->phase = NODE_INCOMING_WHOLE;
    }
    return code;
}

static void answer(struct node *n, const struct raft_msg *m, bool reject)
{
    node_step(n, &(struct raft_event){
                     .type = RAFT_EV_PIECE_TAKEN,
                     .snapshot = {.message = m,
                                  .offset = is_of(&n->incoming, m) ? n->incoming.received : 0,
                                  .reject = reject}});
}

/* Only the header is kept: to whom to say that it is done. */
static void remember(struct node_incoming *in, const struct raft_msg *m)
{
    in->last = *m;
    in->last.data = NULL;
    in->last.entries = NULL;
    in->last.entries_count = 0;
}

void incoming_take(struct node *n, const struct raft_msg *m)
{
    struct node_incoming *in = &n->incoming;

    if (in->phase == NODE_INCOMING_WRITING && !is_of(in, m)) {
        return; /* soon: its sender asks again */
    }
    if (m->offset == 0 && !is_of(in, m)) {
        incoming_drop(n);
        in->phase = NODE_INCOMING_RECEIVING;
    } else if (!is_of(in, m)) {
        answer(n, m, true); /* of one whose beginning is not here (trap 40) */
        return;
    }
    remember(in, m);
    if (in->phase == NODE_INCOMING_RECEIVING && m->offset == in->received && take_piece(in, m)) {
        answer(n, m, true);
        incoming_drop(n);
        return;
    }
    answer(n, m, false);
}

bool incoming_is_whole(const struct node *n)
{
    return n->incoming.phase == NODE_INCOMING_WHOLE;
}

bool incoming_is_written(const struct node *n)
{
    return n->incoming.phase == NODE_INCOMING_WRITING;
}

/* Has the log brought as much meanwhile, or is its sender not heard any more? */
void incoming_turn(struct node *n)
{
    struct node_incoming *in = &n->incoming;
    struct raft_view view;

    if (in->phase != NODE_INCOMING_RECEIVING && in->phase != NODE_INCOMING_WHOLE) {
        return;
    }
    raft_view_get(n->raft, &view);
    if (view.term != in->last.term || view.commit >= in->mark.at.index) {
        incoming_drop(n);
    }
}

void incoming_flush(struct node *n, struct node_flush *flush)
{
    struct node_incoming *in = &n->incoming;

    rd_assert(in->phase == NODE_INCOMING_WHOLE);
    in->phase = NODE_INCOMING_WRITING;
    state_rows_done(&flush->rows);
    flush->rows = in->rows;
    in->rows = (struct state_rows){0};
    flush->anew = true;
    flush->mark = in->mark; /* the reference stays here */
    (void)blob_ref(flush->mark.at.membership);
}

/* The rows on disk are those of the snapshot. */
void incoming_written(struct node *n)
{
    struct node_incoming *in = &n->incoming;

    state_free(n->state);
    n->state = in->state;
    in->state = NULL;
    n->flushed = in->mark.at.index;
    state_rows_clear(&n->rows);
    trim_forget(n);
    in->phase = NODE_INCOMING_RECEIVING; /* droppable again */
    node_step(n, &(struct raft_event){.type = RAFT_EV_INSTALLED,
                                      .snapshot = {.message = &in->last, .point = &in->mark.at}});
    incoming_drop(n);
    /* Its removal is older than the snapshot, as are, perhaps, its writes. */
    if (node_is_removed(n)) {
        writes_removed(n, false);
        reads_removed(n);
    }
}

/* It does not fit: what we had is as it was. */
void incoming_failed(struct node *n)
{
    n->incoming.phase = NODE_INCOMING_RECEIVING;
    answer(n, &n->incoming.last, true);
    incoming_drop(n);
}

void incoming_free(struct node *n)
{
    n->incoming.phase = NODE_INCOMING_NONE;
    incoming_drop(n);
}
