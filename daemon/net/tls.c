/* One TLS session on a descriptor, and what went wrong with it in words. */
#include "net/tls.h"

#include <errno.h>
#include <openssl/err.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "base/check.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/tls_internal.h"

enum { TLS_HANDSHAKE = 22, TLS_ALERT = 21 }; /* first byte of the records it begins with */

struct tls {
    SSL *ssl;
    struct tls_context *context;
    int fd;
    enum tls_end end;
    bool looked; /* the first byte was one of TLS */
    bool plain;
    bool wants_write;
    char why[TLS_WHY_SIZE];
};

struct tls *tls_new(struct tls_context *x, int fd, enum tls_end end)
{
    struct tls *t = mem_zalloc(sizeof *t);

    t->context = tls_context_ref(x);
    t->fd = fd;
    t->end = end;
    t->ssl = SSL_new(end == TLS_SERVES ? x->web : x->ctx);
    rd_assert(t->ssl && SSL_set_fd(t->ssl, fd) == 1);
    if (end == TLS_DIALS) {
        SSL_set_connect_state(t->ssl);
    } else {
        SSL_set_accept_state(t->ssl);
    }
    return t;
}

void tls_free(struct tls *t)
{
    if (t) {
        SSL_free(t->ssl);
        tls_context_unref(t->context);
        mem_free(t);
    }
}

const struct tls_context *tls_context_of(const struct tls *t)
{
    return t->context;
}

/* ---- Words ---- */

/* Who is at the other end, and so what is to be done about it. */
struct words {
    const char *plain;             /* what came is no TLS */
    const char *alpn;              /* not the protocol we speak within it */
    const char *unknown_authority; /* it does not know who signed our certificate */
    const char *bad_certificate;   /* or refuses it for a reason that stands behind this */
};

static const struct words member_words = {
    .plain = "speaks no TLS; set [tls] there, or take it away here",
    .alpn = "speaks TLS, but not " TLS_ALPN,
    .unknown_authority =
        "refuses our certificate: the authority that signed it is not in tls.ca there",
    .bad_certificate = "refuses our certificate: ",
};

static const struct words client_words = {
    .plain = "speaks no TLS; write https:// there, or take [http] https away here",
    .alpn = "speaks TLS, but not " TLS_ALPN_WEB,
    .unknown_authority = "refuses our certificate: it does not know the authority; give it tls.ca "
                         "(curl: --cacert)",
    .bad_certificate =
        "refuses our certificate; is the host name that it asked for in there? It says: ",
};

static const struct words *words_of(const struct tls *t)
{
    return t->end == TLS_SERVES ? &client_words : &member_words;
}

static int refuse(struct tls *t, const char *what, const char *detail)
{
    (void)snprintf(t->why, sizeof t->why, "%s%s", what, detail);
    return -RD_ETLS;
}

/* We refuse its certificate. */
static int refuse_certificate(struct tls *t, long error)
{
    switch (error) {
    case X509_V_ERR_CERT_HAS_EXPIRED:
        return refuse(t, "shows a certificate that has expired", "");
    case X509_V_ERR_CERT_NOT_YET_VALID:
        return refuse(t, "shows a certificate that is not valid yet; compare the clocks", "");
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT:
    case X509_V_ERR_UNABLE_TO_GET_ISSUER_CERT_LOCALLY:
    case X509_V_ERR_UNABLE_TO_VERIFY_LEAF_SIGNATURE:
    case X509_V_ERR_CERT_SIGNATURE_FAILURE:
    case X509_V_ERR_SELF_SIGNED_CERT_IN_CHAIN:
    case X509_V_ERR_DEPTH_ZERO_SELF_SIGNED_CERT:
        return refuse(t, "shows a certificate that is not signed by an authority in tls.ca", "");
    case X509_V_ERR_INVALID_PURPOSE:
        return refuse(t, "shows a certificate that is not for this end of a connection", "");
    default:
        return refuse(
            t, "shows a certificate that is not accepted: ", X509_verify_cert_error_string(error));
    }
}

/* An alert came: it refuses us. */
static int refused_by_alert(struct tls *t, int alert)
{
    switch (alert) {
    case SSL_AD_CERTIFICATE_EXPIRED:
        return refuse(t, "refuses our certificate: it has expired, or the clock there is wrong",
                      "");
    case SSL_AD_UNKNOWN_CA:
        return refuse(t, words_of(t)->unknown_authority, "");
    case SSL_AD_CERTIFICATE_REQUIRED:
        return refuse(t, "refuses us: no certificate was shown", "");
    case SSL_AD_BAD_CERTIFICATE:
    case SSL_AD_UNSUPPORTED_CERTIFICATE:
    case SSL_AD_CERTIFICATE_REVOKED:
    case SSL_AD_CERTIFICATE_UNKNOWN:
        return refuse(t, words_of(t)->bad_certificate, SSL_alert_desc_string_long(alert));
    case SSL_AD_PROTOCOL_VERSION:
        return refuse(t, "speaks no TLS 1.3", "");
    case SSL_AD_NO_APPLICATION_PROTOCOL:
        return refuse(t, words_of(t)->alpn, "");
    default:
        return refuse(t, "ends TLS with the alert: ", SSL_alert_desc_string_long(alert));
    }
}

static int refuse_plain(struct tls *t)
{
    t->plain = true;
    return refuse(t, words_of(t)->plain, "");
}

static int refuse_error(struct tls *t, unsigned long error)
{
    int reason = ERR_GET_REASON(error);
    const char *text = ERR_reason_error_string(error);

    if (ERR_GET_LIB(error) == ERR_LIB_SSL && reason > SSL_AD_REASON_OFFSET) {
        return refused_by_alert(t, reason - SSL_AD_REASON_OFFSET);
    }
    if (ERR_GET_LIB(error) == ERR_LIB_SSL) {
        switch (reason) {
        case SSL_R_CERTIFICATE_VERIFY_FAILED:
            return refuse_certificate(t, SSL_get_verify_result(t->ssl));
        case SSL_R_PEER_DID_NOT_RETURN_A_CERTIFICATE:
            return refuse(t, "shows no certificate", "");
        case SSL_R_UNSUPPORTED_PROTOCOL:
        case SSL_R_VERSION_TOO_LOW:
            return refuse(t, "speaks no TLS 1.3", "");
        case SSL_R_NO_APPLICATION_PROTOCOL:
            return refuse(t, words_of(t)->alpn, "");
        case SSL_R_WRONG_VERSION_NUMBER:
            if (!t->looked) { /* its answer was here before we could look */
                return refuse_plain(t);
            }
            break;
        default:
            break;
        }
    }
    return refuse(t, "breaks TLS: ", text ? text : "no reason is known");
}

/* ---- Steps ---- */

/* What a call of OpenSSL that did not succeed means. The queue of errors was empty before it. */
static int code_of(struct tls *t, int rc, int error)
{
    int code = -ECONNRESET;

    t->wants_write = false;
    switch (SSL_get_error(t->ssl, rc)) {
    case SSL_ERROR_WANT_WRITE:
        t->wants_write = true;
        return -EAGAIN;
    case SSL_ERROR_WANT_READ:
        return -EAGAIN;
    case SSL_ERROR_ZERO_RETURN:
        return 0;
    case SSL_ERROR_SYSCALL:
        code = error ? -error : -ECONNRESET;
        break;
    default:
        code = refuse_error(t, ERR_peek_error());
    }
    ERR_clear_error();
    return code;
}

/* Before OpenSSL takes the first bytes: are they of TLS? 0, -EAGAIN: none are here, -RD_ETLS. */
static int look(struct tls *t)
{
    uint8_t first = 0;

    if (t->looked) {
        return 0;
    }
    ssize_t n = recv(t->fd, &first, 1, MSG_PEEK);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR ? -EAGAIN : -errno;
    }
    if (n > 0 && first != TLS_HANDSHAKE && first != TLS_ALERT) {
        return refuse_plain(t);
    }
    t->looked = true;
    return 0;
}

static int end_of_handshake(const struct tls *t)
{
    return t->end == TLS_DIALS ? -RD_ETLS : -ECONNRESET;
}

int tls_handshake(struct tls *t)
{
    int code = look(t);

    if (code && (code != -EAGAIN || t->end != TLS_DIALS)) {
        t->wants_write = false;
        return code;
    }
    ERR_clear_error();
    errno = 0;
    int rc = SSL_do_handshake(t->ssl);
    if (rc == 1) {
        const unsigned char *protocol = NULL;
        unsigned int size = 0;
        SSL_get0_alpn_selected(t->ssl, &protocol, &size);
        t->wants_write = false;
        return size || t->end == TLS_SERVES ? 0 : refuse(t, words_of(t)->alpn, "");
    }
    code = code_of(t, rc, errno);
    if (code == 0 || code == -ECONNRESET || code == -EPIPE) {
        (void)refuse(t, "closed the connection during the TLS handshake; has it [tls] set?", "");
        return end_of_handshake(t);
    }
    return code;
}

ssize_t tls_read(struct tls *t, void *data, size_t size)
{
    size_t n = 0;

    ERR_clear_error();
    errno = 0;
    int rc = SSL_read_ex(t->ssl, data, size, &n);
    return rc == 1 ? (ssize_t)n : code_of(t, rc, errno);
}

ssize_t tls_write(struct tls *t, const void *data, size_t size)
{
    size_t n = 0;

    ERR_clear_error();
    errno = 0;
    int rc = SSL_write_ex(t->ssl, data, size, &n);
    if (rc == 1) {
        return (ssize_t)n;
    }
    int code = code_of(t, rc, errno);
    return code ? code : -ECONNRESET;
}

bool tls_pending(const struct tls *t)
{
    return SSL_pending(t->ssl) > 0;
}

bool tls_wants_write(const struct tls *t)
{
    return t->wants_write;
}

void tls_finish(struct tls *t)
{
    ERR_clear_error();
    if (!(SSL_get_shutdown(t->ssl) & SSL_SENT_SHUTDOWN)) {
        (void)SSL_shutdown(t->ssl);
    }
    ERR_clear_error();
}

/* ---- Who is there ---- */

const char *tls_why(const struct tls *t)
{
    return t->why;
}

bool tls_is_plain(const struct tls *t)
{
    return t->plain;
}

int tls_peer_check(const struct tls *t, raft_id id, char *why, size_t why_size)
{
    char uri[TLS_URI_SIZE] = "";
    X509 *cert = SSL_get0_peer_certificate(t->ssl);

    if (cert) {
        tls_name_of(cert, uri);
    }
    return tls_name_check(uri, t->context->prefix, id, why, why_size);
}
