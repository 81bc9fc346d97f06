/* tls_internal.h - what tls.c, tls_context.c and tls_name.c share. Not for others. */
#ifndef RAFTD_NET_TLS_INTERNAL_H
#define RAFTD_NET_TLS_INTERNAL_H

#include <openssl/ssl.h>

#include "net/tls.h"

#define TLS_ALPN "raftd/1"
#define TLS_ALPN_WEB "http/1.1"

struct tls_context {
    SSL_CTX *ctx; /* between members */
    SSL_CTX *web; /* the same certificate, for clients who show none: TLS_SERVES */
    uint32_t refs;
    uint64_t digest; /* of the bytes of the certificates and the bundle */
    struct tls_times times;
    raft_id id;
    char prefix[TLS_URI_SIZE]; /* what the names of this cluster begin with: "raftd://CLUSTER/" */
};

/* The one URI of the certificate that begins with raftd://, or "" when there is none, or are
 * several. */
void tls_name_of(X509 *cert, char uri[TLS_URI_SIZE]);
/* "raftd://CLUSTER/", with %XX for what a URI does not hold. */
void tls_name_prefix(const char *cluster, char prefix[TLS_URI_SIZE]);
/* Is it the name of this node of the cluster with this prefix? As tls_peer_check(). */
int tls_name_check(const char *uri, const char *prefix, raft_id id, char *why, size_t why_size);

#endif
