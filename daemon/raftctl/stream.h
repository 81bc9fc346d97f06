/* stream.h - raftd's stream of changes, for as long as it takes: connects again when raftd was lost,
 * and notices when it hangs.
 *
 * Nothing here waits. Times are on mono_now_ms()'s clock. Threads: one. */
#ifndef RAFTD_RAFTCTL_STREAM_H
#define RAFTD_RAFTCTL_STREAM_H

#include <jansson.h>
#include <stdbool.h>
#include <stdint.h>

#include "raftctl/ctl.h"

struct stream {
    struct ctl *ctl;     /* borrowed; its client is the connection, NULL while there is none */
    uint64_t silence_ms; /* raftd that answers nothing for so long counts as lost */
    uint64_t watch_id, probe_id;
    bool probe_open;
    bool live;         /* it has told a state on this connection */
    uint64_t heard;    /* when it said something last */
    uint64_t next;     /* when to connect, or else to probe */
    uint64_t retry_ms; /* how long after the next loss */
};

enum stream_news {
    STREAM_NOTHING,
    STREAM_STATE, /* the newest object, owned by the caller */
    STREAM_LOST,  /* lost, or not reached: why stands in the error. Comes with every attempt */
};

void stream_init(struct stream *s, struct ctl *ctl, uint64_t silence_ms);
void stream_close(struct stream *s);

/* Do what can be done now, and say what is new. */
enum stream_news stream_step(struct stream *s, json_t **state, struct ctl_error *e);

/* When to call it: when the descriptor (-1: none) is readable, or then. */
int stream_fd(const struct stream *s);
uint64_t stream_deadline(const struct stream *s);

#endif
