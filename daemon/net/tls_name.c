/* The name in a certificate: the URI raftd://CLUSTER/ID, written in exactly one way, so that names
 * are compared as bytes. The common name says nothing, as everywhere today. */
#include <inttypes.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>

#include "base/err.h"
#include "net/tls_internal.h"

#define TLS_SCHEME "raftd://"

/* Of a kind that anybody can compare and print. */
static bool is_plain_uri(const unsigned char *text, size_t size)
{
    for (size_t i = 0; i < size; i++) {
        if (text[i] <= ' ' || text[i] > '~') {
            return false;
        }
    }
    return size < TLS_URI_SIZE && size > strlen(TLS_SCHEME) &&
           memcmp(text, TLS_SCHEME, strlen(TLS_SCHEME)) == 0;
}

void tls_name_of(X509 *cert, char uri[TLS_URI_SIZE])
{
    GENERAL_NAMES *names = X509_get_ext_d2i(cert, NID_subject_alt_name, NULL, NULL);
    int found = 0;

    uri[0] = 0;
    for (int i = 0; names && i < sk_GENERAL_NAME_num(names); i++) {
        const GENERAL_NAME *name = sk_GENERAL_NAME_value(names, i);
        if (name->type != GEN_URI) {
            continue;
        }
        const unsigned char *text = ASN1_STRING_get0_data(name->d.uniformResourceIdentifier);
        size_t size = (size_t)ASN1_STRING_length(name->d.uniformResourceIdentifier);
        if (is_plain_uri(text, size)) {
            memcpy(uri, text, size);
            uri[size] = 0;
            found++;
        }
    }
    GENERAL_NAMES_free(names);
    if (found > 1) {
        uri[0] = 0; /* who is two nodes is none */
    }
}

static bool is_unreserved(char c)
{
    return (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z') || (c >= '0' && c <= '9') ||
           strchr("-._~", c);
}

void tls_name_prefix(const char *cluster, char prefix[TLS_URI_SIZE])
{
    size_t size = strlen(TLS_SCHEME);

    memcpy(prefix, TLS_SCHEME, size);
    for (; *cluster && size + 8 < TLS_URI_SIZE; cluster++) {
        if (is_unreserved(*cluster)) {
            prefix[size++] = *cluster;
        } else {
            size += (size_t)snprintf(prefix + size, TLS_URI_SIZE - size, "%%%02X",
                                     (unsigned char)*cluster);
        }
    }
    prefix[size++] = '/';
    prefix[size] = 0;
}

int tls_name_check(const char *uri, const char *prefix, raft_id id, char *why, size_t why_size)
{
    char wanted[TLS_URI_SIZE + 16];

    (void)snprintf(wanted, sizeof wanted, "%s%" PRIu32, prefix, id);
    if (strcmp(uri, wanted) == 0) {
        return 0;
    }
    if (uri[0] == 0) {
        (void)snprintf(why, why_size, "shows a certificate without a name (one URI %s)", wanted);
        return -RD_EINVALID;
    }
    bool other_cluster = strncmp(uri, prefix, strlen(prefix)) != 0;
    (void)snprintf(why, why_size, "shows the certificate of %s, not of %s", uri, wanted);
    return other_cluster ? -RD_EWRONG_CLUSTER : -RD_EINVALID;
}
