/* tls.h - TLS 1.3, mutual between members: files become a context, a context makes sessions.
 *
 * Both sides show a certificate of an authority in the bundle, and the name in it is
 * raftd://CLUSTER/ID: a certificate of another cluster, or of another node, opens nothing. The node
 * id is what a hello is compared with. No session is ever resumed, nothing is sent early.
 *
 * The same certificate is shown to clients of HTTP (TLS_SERVES), who check the names of hosts in it and
 * show none.
 *
 * Sessions work on a non-blocking descriptor that stays the caller's. A write ends in SIGPIPE when
 * the other side is gone: the process ignores that signal.
 *
 * Threads:   loop thread only.
 * Ownership: contexts are counted; each session keeps its own until it is freed.
 * Secrets:   the private key is OpenSSL's; it is in no buffer and no message of ours.
 * Errors:    0 or a negative code; of a refusal (-RD_ETLS) the sentence is kept. */
#ifndef RAFTD_NET_TLS_H
#define RAFTD_NET_TLS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <sys/types.h>

#include "base/buf.h"
#include "node/types.h"

enum {
    TLS_WHY_SIZE = 224,
    TLS_RECORD_MAX = 16 * 1024, /* bytes that one record holds at most */
    TLS_URI_SIZE = 256,
};

/* ---- Context: what a node shows, and whom it believes ---- */

struct tls_context;

struct tls_files {
    const char *cert, *key, *ca; /* paths of PEM files */
    const char *cluster;         /* name of the cluster, not empty */
    raft_id id;                  /* of this node */
};

enum tls_file { TLS_CERT, TLS_KEY, TLS_CA };

struct tls_times {                 /* seconds since 1970 */
    int64_t cert_from, cert_until; /* of this node's certificate, and those that lead to the CA */
    int64_t ca_until;              /* of the authority that ends first */
};

/* Read the files and see that they fit: the certificate is this node's, for both ends of a
 * connection, signed by an authority of the bundle; the key is its key, not protected by a
 * password, and not readable by everybody. The time is not looked at. 0; or -RD_ECONFIG, the file
 * that is wrong in `which` and a sentence without a full stop appended to `why`. */
int tls_context_new(const struct tls_files *files, struct tls_context **out, enum tls_file *which,
                    struct buf *why);
struct tls_context *tls_context_ref(struct tls_context *x);
void tls_context_unref(struct tls_context *x); /* NULL is fine */
/* Was it made of the same certificates? (A key fits only one.) */
bool tls_context_equals(const struct tls_context *a, const struct tls_context *b);
struct tls_times tls_context_times(const struct tls_context *x);
/* Would peers with the same authorities refuse it at this moment? Why, in a few words; NULL: no. */
const char *tls_context_refused_now(const struct tls_context *x);

/* ---- Session ---- */

enum tls_end {
    TLS_DIALS,   /* a member, */
    TLS_ACCEPTS, /* or is dialled by one */
    TLS_SERVES,  /* clients of HTTP/1.1, of whom no certificate is asked */
};

struct tls;

struct tls *tls_new(struct tls_context *x, int fd, enum tls_end end);
void tls_free(struct tls *t); /* NULL is fine */
const struct tls_context *tls_context_of(const struct tls *t);

/* Go on with the handshake. 0: done. -EAGAIN: wait for the descriptor. -RD_ETLS; -ECONNRESET (an
 * accepted connection ended); other -errno. */
int tls_handshake(struct tls *t);
/* As recv() and send() with a negative code in place of errno; 0 from tls_read() is the end of the
 * stream. tls_read() has to be called until it answers -EAGAIN, or while tls_pending(): what OpenSSL
 * has taken from the socket makes the socket readable no more. tls_write() may take less than all;
 * after -EAGAIN the same bytes have to come again. */
ssize_t tls_read(struct tls *t, void *data, size_t size);
ssize_t tls_write(struct tls *t, const void *data, size_t size);
bool tls_pending(const struct tls *t);
/* The last -EAGAIN wants the descriptor to be writable; else: readable. */
bool tls_wants_write(const struct tls *t);
/* Nothing more will be written. Best effort: the frames tell by themselves where they end. */
void tls_finish(struct tls *t);

/* After -RD_ETLS: what the other side did, to be put after its name: "shows no certificate". */
const char *tls_why(const struct tls *t);
/* What refused or failed was no TLS at all, so plain words may be understood. */
bool tls_is_plain(const struct tls *t);

/* After the handshake: is the certificate that of this node of our cluster? 0; or
 * -RD_EWRONG_CLUSTER, -RD_EINVALID and what to put after its name. */
int tls_peer_check(const struct tls *t, raft_id id, char *why, size_t why_size);

#endif
