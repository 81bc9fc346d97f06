/* queue.h - encoded frames that wait for a socket, in two lanes.
 *
 * The urgent lane overtakes the bulk lane at frame boundaries: a frame of which some bytes are
 * written is finished first. Frames lie one after the other in blocks of about 64 KiB (a longer
 * frame has a block of its own), so that a turn's messages leave with one system call.
 * Threads:   loop thread only. Ownership: the queue owns its bytes. */
#ifndef RAFTD_NET_QUEUE_H
#define RAFTD_NET_QUEUE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/queue.h>
#include <sys/uio.h>

#include "base/buf.h"
#include "node/types.h"

enum {
    QUEUE_BLOCK_SIZE = 64 * 1024,
    QUEUE_IOV_MAX = 64,
    QUEUE_URGENT_RESERVE = 1024 * 1024, /* bytes the urgent lane has beyond the limit */
};

enum queue_lane { QUEUE_URGENT, QUEUE_BULK, QUEUE_LANES };

struct queue_block {
    TAILQ_ENTRY(queue_block) next;
    struct buf bytes; /* whole frames */
    size_t at;        /* bytes already written */
};

struct queue {
    struct queue_lane_state {
        TAILQ_HEAD(queue_blocks, queue_block) blocks;
        size_t bytes;      /* that wait */
        size_t frame_left; /* of a frame partly written; 0: at a boundary */
    } lanes[QUEUE_LANES];
    bool checks_heads;         /* of the frames to come: the peer understands that */
    struct queue_block *spare; /* the last block emptied: an idle link allocates nothing */
};

void queue_init(struct queue *q);
void queue_done(struct queue *q);

size_t queue_bytes(const struct queue *q);

/* Which lane a message takes: entries and forwarded writes are bulk. */
enum queue_lane queue_lane_of(const struct peer_msg *msg);

/* Append a message (encoded at once). False: it would bring the queue above bytes_max and was
 * dropped. An empty queue takes any message, else a large one would never leave. */
bool queue_put(struct queue *q, const struct peer_msg *msg, uint64_t bytes_max);
/* Append one encoded frame to the urgent lane; same limit. */
bool queue_put_frame(struct queue *q, const struct buf *frame, uint64_t bytes_max);

/* What to write next, borrowed until the queue changes. Returns how many. */
int queue_iov(const struct queue *q, struct iovec iov[QUEUE_IOV_MAX]);
/* The first `size` bytes of what queue_iov() gave are written. Returns how many frames ended. */
uint64_t queue_written(struct queue *q, size_t size);

#endif
