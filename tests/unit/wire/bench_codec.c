/* What encoding and decoding cost, in nanoseconds per message, as the median of several runs. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "base/err.h"
#include "samples.h"

enum { RUNS = 9, ROUNDS = 20000 };

static uint64_t now_ns(void)
{
    struct timespec t;

    assert_int_equal(clock_gettime(CLOCK_MONOTONIC, &t), 0);
    return (uint64_t)t.tv_sec * 1000000000U + (uint64_t)t.tv_nsec;
}

static int compare_u64(const void *a, const void *b)
{
    uint64_t x, y;

    memcpy(&x, a, sizeof x);
    memcpy(&y, b, sizeof y);
    return (x > y) - (x < y);
}

typedef void bench_fn(void *arg, struct buf *b);

static void bench(const char *what, bench_fn *encode, bench_fn *decode, void *arg)
{
    struct buf b = BUF_INIT;
    uint64_t spent[2][RUNS];
    bench_fn *steps[2] = {encode, decode};

    for (int run = 0; run < RUNS; run++) {
        for (int step = 0; step < 2; step++) {
            uint64_t start = now_ns();
            for (int round = 0; round < ROUNDS; round++) {
                steps[step](arg, &b);
            }
            spent[step][run] = (now_ns() - start) / ROUNDS;
        }
    }
    for (int step = 0; step < 2; step++) {
        qsort(spent[step], RUNS, sizeof spent[step][0], compare_u64);
    }
    (void)printf("%-36s %6zu bytes  encode %6" PRIu64 " ns  decode %6" PRIu64 " ns\n", what, b.size,
                 spent[0][RUNS / 2], spent[1][RUNS / 2]);
    buf_done(&b);
}

static void encode_peer(void *arg, struct buf *b)
{
    b->size = 0;
    peer_encode(arg, b);
}

static void decode_peer(void *arg, struct buf *b)
{
    struct frame f = {0};
    struct peer_msg out;

    (void)arg;
    assert_true(frame_parse(b->data, b->size, FRAME_PEER_MAX, &f, NULL) == 1);
    assert_true(peer_decode(&f, &out) == 0);
    peer_msg_done(&out);
}

static void encode_request(void *arg, struct buf *b)
{
    b->size = 0;
    assert_true(admin_request_encode(arg, b) == 0);
}

static void decode_request(void *arg, struct buf *b)
{
    struct frame f = {0};
    struct admin_request out;

    (void)arg;
    assert_true(frame_parse(b->data, b->size, FRAME_ADMIN_MAX, &f, NULL) == 1);
    assert_true(admin_request_decode(&f, &out) == 0);
    admin_request_done(&out);
}

static void encode_reply(void *arg, struct buf *b)
{
    const char *json = arg;

    b->size = 0;
    assert_true(admin_reply_put(b, 40000, 0, false, 0, NULL, json, strlen(json)) == 0);
}

static void decode_reply(void *arg, struct buf *b)
{
    struct frame f = {0};
    struct admin_reply out;

    (void)arg;
    assert_true(frame_parse(b->data, b->size, FRAME_ADMIN_REPLY_MAX, &f, NULL) == 1);
    assert_true(admin_reply_decode(&f, &out) == 0);
    admin_reply_done(&out);
}

static void bench_append(struct prng *p, uint32_t count)
{
    struct peer_msg m = {.type = PEER_RAFT,
                         .raft = {.type = RAFT_MSG_APPEND,
                                  .cluster = sample_uuid(p),
                                  .from = 1,
                                  .to = 2,
                                  .term = 12,
                                  .seq = 1000000,
                                  .stamp = 86400000,
                                  .session = 12,
                                  .index = 10000000,
                                  .log_term = 12,
                                  .chain = prng_next(p),
                                  .commit = 10000000}};
    char what[64];

    if (count > 0) {
        m.raft.entries = mem_zalloc(count * sizeof *m.raft.entries);
    }
    m.raft.entries_count = count;
    for (uint32_t i = 0; i < count; i++) {
        m.raft.entries[i] = (struct raft_entry){.index = m.raft.index + 1 + i,
                                                .term = 12,
                                                .type = RAFT_ENTRY_COMMAND,
                                                .data = sample_blob(p, 150, 151)};
    }
    (void)snprintf(what, sizeof what, "append, %u entries of 150 bytes", count);
    bench(what, encode_peer, decode_peer, &m);
    peer_msg_done(&m);
}

static void bench_others(struct prng *p)
{
    struct peer_msg m = {
        .type = PEER_FORWARD,
        .forward = {.request = {2, 14, 1000000, 999990}, .txn = sample_blob(p, 150, 151)}};
    char json[] = "{\"revision\":1000000,\"index\":10000000,\"term\":12}";
    struct admin_request put = {.id = 40000,
                                .command = "put",
                                .timeout_ms = 10000,
                                .key = sample_blob(p, 20, 21),
                                .value = sample_blob(p, 100, 101)};

    bench("forward, 150 bytes", encode_peer, decode_peer, &m);
    peer_msg_done(&m);
    m = (struct peer_msg){
        .type = PEER_FORWARD_REPLY,
        .forward_reply = {
            .incarnation = 14,
            .seq = 1000000,
            .result = {.succeeded = true, .revision = 1000000, .index = 10000000, .term = 12}}};
    bench("forward reply", encode_peer, decode_peer, &m);
    bench("admin put request, 100 bytes", encode_request, decode_request, &put);
    admin_request_done(&put);
    bench("admin put reply", encode_reply, decode_reply, json);
}

int main(void)
{
    struct prng p = sample_prng();

    bench_append(&p, 0);
    bench_append(&p, 64);
    bench_append(&p, 1024);
    bench_others(&p);
    return 0;
}
