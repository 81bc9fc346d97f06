#include "base/check.h"
#include "base/err.h"
#include "wire/peer_internal.h"

/* The longest hello without bindings fits, and so does the longest without the member list; the
 * encoder leaves the list out when both together do not. 3 bytes of tag and length per field. */
enum {
    HELLO_REST_MAX = FRAME_HEAD + 3 + 2 * (3 + 16) + 4 * (1 + 5) + 11 + 2 + PEER_NAME_SIZE +
                     PEER_URI_SIZE + RAFT_ADDRESS_SIZE + PEER_VERSION_SIZE + PEER_NAME_SIZE +
                     5 * 3 + (2 + 8) + (2 + 1),
    HELLO_LIST_MAX = PEER_MEMBER_LIST_SIZE + 3,
    HELLO_MEMORY_MAX = 3 * (1 + 9) + 2 + (1 + 8),
    HELLO_BINDINGS_MAX = RAFT_MEMBERS_MAX * (2 + 6 + 2 + 16 + HELLO_MEMORY_MAX),
};
_Static_assert(HELLO_REST_MAX + HELLO_LIST_MAX <= FRAME_HELLO_MAX, "a founder's hello fits");
_Static_assert(HELLO_REST_MAX + HELLO_BINDINGS_MAX <= FRAME_HELLO_MAX, "a member's hello fits");

static bool binding_is_valid(const Raftd__Peer__Binding *b)
{
    return b->id != 0 && field_is_uuid(&b->store) && field_is_number(b->seen_term) &&
           field_is_number(b->seen_index) && b->seen_log_term <= b->seen_term;
}

static bool bindings_are_valid(const Raftd__Peer__Hello *m)
{
    if (m->n_bindings > RAFT_MEMBERS_MAX) {
        return false;
    }
    for (size_t i = 0; i < m->n_bindings; i++) {
        if (!binding_is_valid(m->bindings[i])) {
            return false;
        }
        for (size_t k = 0; k < i; k++) {
            if (m->bindings[k]->id == m->bindings[i]->id) {
                return false;
            }
        }
    }
    return true;
}

static bool hello_is_valid(const Raftd__Peer__Hello *m)
{
    return field_is_uuid(&m->cluster) && m->id != 0 && m->store.len > 0 &&
           field_is_uuid(&m->store) && field_is_number(m->incarnation) &&
           field_is_number(m->session) && m->protocol_min > 0 &&
           m->protocol_min <= m->protocol_max && m->protocol_max <= UINT16_MAX &&
           field_text_fits(&m->name, PEER_NAME_SIZE) && field_text_fits(&m->uri, PEER_URI_SIZE) &&
           field_text_fits(&m->address, RAFT_ADDRESS_SIZE) &&
           field_text_fits(&m->version, PEER_VERSION_SIZE) &&
           field_text_fits(&m->cluster_name, PEER_NAME_SIZE) &&
           field_text_fits(&m->member_list, PEER_MEMBER_LIST_SIZE) && bindings_are_valid(m);
}

static void binding_pack(struct peer_binding *from, Raftd__Peer__Binding *to)
{
    raftd__peer__binding__init(to);
    to->id = from->id;
    to->store = field_uuid(&from->store);
    to->seen_process = from->seen.process;
    to->seen_term = from->seen.term;
    to->seen_index = from->seen.index;
    to->seen_log_term = from->seen.log_term;
    to->seen_vote = from->seen.voted;
}

static void binding_unpack(const Raftd__Peer__Binding *from, struct peer_binding *to)
{
    to->id = from->id;
    to->store = field_copy_uuid(&from->store);
    to->seen = (struct peer_memory){.process = from->seen_process,
                                    .term = from->seen_term,
                                    .index = from->seen_index,
                                    .log_term = from->seen_log_term,
                                    .voted = from->seen_vote != 0};
}

static void hello_pack(struct peer_hello *h, struct buf *out)
{
    Raftd__Peer__Hello m;
    Raftd__Peer__Binding bindings[RAFT_MEMBERS_MAX];
    Raftd__Peer__Binding *pointers[RAFT_MEMBERS_MAX];

    rd_assert(h->bindings_count <= RAFT_MEMBERS_MAX);
    for (uint32_t i = 0; i < h->bindings_count; i++) {
        binding_pack(&h->bindings[i], &bindings[i]);
        pointers[i] = &bindings[i];
    }
    raftd__peer__hello__init(&m);
    m.cluster = field_uuid(&h->cluster);
    m.id = h->id;
    m.store = field_uuid(&h->store);
    m.incarnation = h->incarnation;
    m.protocol_min = h->protocol_min;
    m.protocol_max = h->protocol_max;
    m.empty = h->empty;
    m.election_timeout_ms = h->election_timeout_ms;
    m.disk_low = h->disk_low;
    m.process = h->process;
    m.session = h->session;
    m.name = field_mended(h->name, sizeof h->name);
    m.uri = field_mended(h->uri, sizeof h->uri);
    m.address = field_mended(h->address, sizeof h->address);
    m.version = field_mended(h->version, sizeof h->version);
    m.cluster_name = field_mended(h->cluster_name, sizeof h->cluster_name);
    m.member_list = field_mended(h->member_list, sizeof h->member_list);
    m.n_bindings = h->bindings_count;
    m.bindings = pointers;
    rd_assert(hello_is_valid(&m));
    Raftd__Peer__Envelope e = peer_envelope(RAFTD__PEER__ENVELOPE__BODY_HELLO);
    e.hello = &m;
    peer_end(out, field_pack(&e.base, 0, out));
}

void peer_hello_encode(const struct peer_hello *hello, struct buf *out)
{
    struct peer_hello copy = *hello;
    size_t at = out->size;

    hello_pack(&copy, out);
    if (out->size - at > FRAME_HELLO_MAX) {
        out->size = at;
        copy.member_list[0] = 0; /* who has bindings is in a cluster: its list has no say */
        hello_pack(&copy, out);
    }
    rd_assert(out->size - at <= FRAME_HELLO_MAX);
}

int peer_hello_decode(const Raftd__Peer__Hello *m, const struct frame *frame, struct peer_msg *out)
{
    if (frame->total > FRAME_HELLO_MAX || frame->payload_size > 0 || !hello_is_valid(m)) {
        return -RD_EPROTOCOL;
    }
    struct peer_hello *h = mem_zalloc(sizeof *h);
    h->cluster = field_copy_uuid(&m->cluster);
    h->id = m->id;
    h->store = field_copy_uuid(&m->store);
    h->incarnation = m->incarnation;
    h->protocol_min = (uint16_t)m->protocol_min;
    h->protocol_max = (uint16_t)m->protocol_max;
    h->empty = m->empty != 0;
    h->election_timeout_ms = m->election_timeout_ms;
    h->disk_low = m->disk_low != 0;
    h->process = m->process;
    h->session = m->session;
    field_copy_text(&m->name, h->name);
    field_copy_text(&m->uri, h->uri);
    field_copy_text(&m->address, h->address);
    field_copy_text(&m->version, h->version);
    field_copy_text(&m->cluster_name, h->cluster_name);
    field_copy_text(&m->member_list, h->member_list);
    h->bindings_count = (uint32_t)m->n_bindings;
    for (size_t i = 0; i < m->n_bindings; i++) {
        binding_unpack(m->bindings[i], &h->bindings[i]);
    }
    *out = (struct peer_msg){.type = PEER_HELLO, .hello = h};
    return 0;
}
