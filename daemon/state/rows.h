/* rows.h - what the state looks like in the store, one row per key and per remembered request.
 *
 *   row key                         row value (little-endian)
 *   'k', the key                    u8 format, u64 create_revision, u64 mod_revision, u64 version,
 *                                   the value
 *   'r', node (u32, big-endian),    u8 format, u8 succeeded, i32 code, u32 deleted, u64
 *        slot (u16, big-endian)     incarnation, u64 seq, u64 floor (of the window, then), u64
 *                                   revision, u64 index, u64 term, u64 actual
 *
 * The slot is seq modulo STATE_WINDOW_MAX: a request's row takes the place of one that its origin
 * has forgotten, so forgetting costs no deletion and the rows of an origin are bounded. Rows below
 * the floor or of an earlier incarnation may be left; loading passes them over. What belongs to the
 * whole state (index, term, revision, digest) is not a row: state_load_done() is given it.
 *
 * Private to the room. The layout stands on disk; it may only change by a new format number. */
#ifndef RAFTD_STATE_ROWS_H
#define RAFTD_STATE_ROWS_H

#include "state/kv.h"
#include "state/state.h"

enum row_kind { ROW_KEY = 'k', ROW_REQUEST = 'r' };

enum { ROW_KEY_MAX = 1 + STATE_KEY_MAX };

void rows_put_key(struct state_rows *rows, const struct kv_item *item);
void rows_delete_key(struct state_rows *rows, const void *key, uint16_t key_size);
/* `floor`: of the origin's window after the request. */
void rows_put_request(struct state_rows *rows, const struct request_id *id, uint64_t floor,
                      const struct state_result *result);

/* All that may have been written of this origin, the rows it has outgrown included. */
void rows_delete_requests(struct state_rows *rows, uint32_t node);

/* Parse a row of that kind; outputs borrow from it. -RD_ECORRUPT: no such row was ever written. */
int rows_parse_key(const void *key, size_t key_size, const void *value, size_t value_size,
                   struct state_kv *out);
int rows_parse_request(const void *key, size_t key_size, const void *value, size_t value_size,
                       struct request_id *id, struct state_result *result);

#endif
