#include "net/queue.h"

#include <endian.h>
#include <string.h>

#include "base/check.h"
#include "base/mem.h"
#include "wire/peer.h"

enum { QUEUE_SPARE_MAX = 2 * QUEUE_BLOCK_SIZE };

void queue_init(struct queue *q)
{
    *q = (struct queue){.spare = NULL};
    for (int i = 0; i < QUEUE_LANES; i++) {
        TAILQ_INIT(&q->lanes[i].blocks);
    }
}

static void block_free(struct queue_block *block)
{
    if (block) {
        buf_done(&block->bytes);
        mem_free(block);
    }
}

void queue_done(struct queue *q)
{
    for (int i = 0; i < QUEUE_LANES; i++) {
        while (!TAILQ_EMPTY(&q->lanes[i].blocks)) {
            struct queue_block *block = TAILQ_FIRST(&q->lanes[i].blocks);
            TAILQ_REMOVE(&q->lanes[i].blocks, block, next);
            block_free(block);
        }
    }
    block_free(q->spare);
    queue_init(q);
}

size_t queue_bytes(const struct queue *q)
{
    return q->lanes[QUEUE_URGENT].bytes + q->lanes[QUEUE_BULK].bytes;
}

enum queue_lane queue_lane_of(const struct peer_msg *msg)
{
    switch (msg->type) {
    case PEER_RAFT:
        return msg->raft.entries_count || msg->raft.data ? QUEUE_BULK : QUEUE_URGENT;
    case PEER_FORWARD:
    case PEER_FORWARD_REPLY:
        return QUEUE_BULK;
    case PEER_HELLO:
    case PEER_REFUSAL:
    case PEER_PROGRESS_ASK: /* small, and status is wanted most when much is under way */
    case PEER_PROGRESS:
    case PEER_CHANGE:
    case PEER_CHANGE_REPLY:
        break;
    }
    return QUEUE_URGENT;
}

/* The block new frames go to. */
static struct queue_block *lane_tail(struct queue *q, struct queue_lane_state *lane)
{
    struct queue_block *block = TAILQ_LAST(&lane->blocks, queue_blocks);

    if (block && block->bytes.size < QUEUE_BLOCK_SIZE) {
        return block;
    }
    block = q->spare;
    q->spare = NULL;
    if (!block) {
        block = mem_zalloc(sizeof *block);
    }
    TAILQ_INSERT_TAIL(&lane->blocks, block, next);
    return block;
}

/* Take the block out; keep it for the next frames when it is of the usual size. */
static void lane_retire(struct queue *q, struct queue_lane_state *lane, struct queue_block *block)
{
    TAILQ_REMOVE(&lane->blocks, block, next);
    if (q->spare || block->bytes.capacity > QUEUE_SPARE_MAX) {
        block_free(block);
        return;
    }
    block->bytes.size = 0;
    block->at = 0;
    q->spare = block;
}

static uint64_t lane_limit(enum queue_lane lane, uint64_t bytes_max)
{
    return lane == QUEUE_URGENT ? bytes_max + QUEUE_URGENT_RESERVE : bytes_max;
}

/* Count the frame that was appended to the tail since `before`, or take it back when it is too much. */
static bool lane_commit(struct queue *q, enum queue_lane lane, struct queue_block *block,
                        size_t before, uint64_t bytes_max)
{
    size_t added = block->bytes.size - before;
    size_t waiting = queue_bytes(q);

    if (q->checks_heads) {
        frame_check_head(block->bytes.data + before);
    }
    if (waiting != 0 && waiting + added > lane_limit(lane, bytes_max)) {
        block->bytes.size = before;
        if (before == 0) {
            lane_retire(q, &q->lanes[lane], block);
        }
        return false;
    }
    q->lanes[lane].bytes += added;
    return true;
}

bool queue_put(struct queue *q, const struct peer_msg *msg, uint64_t bytes_max)
{
    enum queue_lane lane = queue_lane_of(msg);

    if (queue_bytes(q) > lane_limit(lane, bytes_max)) {
        return false; /* before the work of encoding */
    }
    struct queue_block *block = lane_tail(q, &q->lanes[lane]);
    size_t before = block->bytes.size;
    peer_encode(msg, &block->bytes);
    return lane_commit(q, lane, block, before, bytes_max);
}

bool queue_put_frame(struct queue *q, const struct buf *frame, uint64_t bytes_max)
{
    struct queue_block *block = lane_tail(q, &q->lanes[QUEUE_URGENT]);
    size_t before = block->bytes.size;

    buf_put(&block->bytes, frame->data, frame->size);
    return lane_commit(q, QUEUE_URGENT, block, before, bytes_max);
}

static int iov_put(struct iovec *iov, int count, const struct queue_block *block, size_t from,
                   size_t to)
{
    if (count < QUEUE_IOV_MAX && from < to) {
        iov[count] = (struct iovec){block->bytes.data + from, to - from};
        count++;
    }
    return count;
}

static int iov_put_lane(struct iovec *iov, int count, const struct queue_lane_state *lane,
                        size_t skip)
{
    const struct queue_block *block;

    TAILQ_FOREACH (block, &lane->blocks, next) {
        count = iov_put(iov, count, block, block->at + skip, block->bytes.size);
        skip = 0; /* a frame lies in one block: only the first holds the one begun */
    }
    return count;
}

int queue_iov(const struct queue *q, struct iovec iov[QUEUE_IOV_MAX])
{
    const struct queue_lane_state *bulk = &q->lanes[QUEUE_BULK];
    const struct queue_block *block = TAILQ_FIRST(&bulk->blocks);
    int count = 0;

    if (bulk->frame_left) {
        count = iov_put(iov, count, block, block->at, block->at + bulk->frame_left);
    }
    count = iov_put_lane(iov, count, &q->lanes[QUEUE_URGENT], 0);
    return iov_put_lane(iov, count, bulk, bulk->frame_left);
}

static size_t frame_size(const struct queue_block *block)
{
    uint32_t length;

    rd_assert(block->bytes.size - block->at >= sizeof length);
    memcpy(&length, block->bytes.data + block->at, sizeof length);
    return sizeof length + le32toh(length);
}

static uint64_t lane_written(struct queue *q, struct queue_lane_state *lane, size_t size)
{
    uint64_t frames = 0;

    while (size) {
        struct queue_block *block = TAILQ_FIRST(&lane->blocks);
        rd_assert(block);
        if (lane->frame_left == 0) {
            lane->frame_left = frame_size(block);
        }
        size_t step = size < lane->frame_left ? size : lane->frame_left;
        rd_assert(step <= block->bytes.size - block->at);
        block->at += step;
        lane->frame_left -= step;
        lane->bytes -= step;
        size -= step;
        frames += lane->frame_left == 0;
        if (block->at == block->bytes.size) {
            lane_retire(q, lane, block);
        }
    }
    return frames;
}

uint64_t queue_written(struct queue *q, size_t size)
{
    struct queue_lane_state *urgent = &q->lanes[QUEUE_URGENT];
    struct queue_lane_state *bulk = &q->lanes[QUEUE_BULK];
    size_t begun = size < bulk->frame_left ? size : bulk->frame_left;
    uint64_t frames = lane_written(q, bulk, begun);

    size -= begun;
    size_t overtaking = size < urgent->bytes ? size : urgent->bytes;
    frames += lane_written(q, urgent, overtaking);
    return frames + lane_written(q, bulk, size - overtaking);
}
