/* The files of [tls] become a context, or one sentence that says what is wrong with which. */
#include <errno.h>
#include <fcntl.h>
#include <openssl/err.h>
#include <openssl/pem.h>
#include <openssl/x509v3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include "base/check.h"
#include "base/crc.h"
#include "base/err.h"
#include "base/mem.h"
#include "net/tls_internal.h"

enum {
    TLS_CHAIN_MAX = 16 * 1024, /* bytes of certificates a stranger may show */
    TLS_DEPTH_MAX = 4,         /* authorities between a node and the bundle */
};

/* ---- What is wrong ---- */

static const char *openssl_reason(void)
{
    const char *text = ERR_reason_error_string(ERR_peek_last_error());

    return text ? text : "no PEM file that can be read";
}

/* Opened by us first: OpenSSL's words for a file that is missing are poor. -1 after the sentence. */
static int file_open(const char *path, struct buf *why)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    struct stat st;

    if (fd >= 0 && fstat(fd, &st) == 0 && !S_ISREG(st.st_mode)) {
        (void)close(fd);
        fd = -1;
        errno = EISDIR;
    }
    if (fd < 0) {
        buf_printf(why, "%s cannot be read: %s", path,
                   errno == EISDIR ? "it is no file" : err_text(-errno));
    }
    return fd;
}

static int file_digest(const char *path, uint64_t *digest, struct buf *why)
{
    uint8_t bytes[4096];
    ssize_t n;
    int fd = file_open(path, why);

    if (fd < 0) {
        return -RD_ECONFIG;
    }
    while ((n = read(fd, bytes, sizeof bytes)) > 0) {
        *digest = hash64(*digest, bytes, (size_t)n);
    }
    int error = errno;
    (void)close(fd);
    if (n < 0) {
        buf_printf(why, "%s cannot be read: %s", path, err_text(-error));
        return -RD_ECONFIG;
    }
    return 0;
}

/* ---- The three files ---- */

static int load_cert(struct tls_context *x, const struct tls_files *files, struct buf *why)
{
    if (file_digest(files->cert, &x->digest, why)) {
        return -RD_ECONFIG;
    }
    if (SSL_CTX_use_certificate_chain_file(x->ctx, files->cert) != 1) {
        buf_printf(why, "%s holds no certificate that can be used: %s", files->cert,
                   openssl_reason());
        return -RD_ECONFIG;
    }
    return 0;
}

/* Nobody is there to type it. */
static int no_password(char *text, int size, int writing, void *arg)
{
    (void)text;
    (void)size;
    (void)writing;
    *(bool *)arg = true;
    return -1;
}

static int check_key_mode(const char *path, struct buf *why)
{
    struct stat st;
    int fd = file_open(path, why);

    if (fd < 0) {
        return -RD_ECONFIG;
    }
    int rc = fstat(fd, &st);
    (void)close(fd);
    if (rc == 0 && st.st_mode & (S_IROTH | S_IWOTH)) {
        buf_printf(why, "%s may be read or written by every user; take that away: chmod o-rwx %s",
                   path, path);
        return -RD_ECONFIG;
    }
    return 0;
}

static int load_key(struct tls_context *x, const struct tls_files *files, struct buf *why)
{
    bool asked = false;

    if (check_key_mode(files->key, why)) {
        return -RD_ECONFIG;
    }
    SSL_CTX_set_default_passwd_cb(x->ctx, no_password);
    SSL_CTX_set_default_passwd_cb_userdata(x->ctx, &asked);
    int rc = SSL_CTX_use_PrivateKey_file(x->ctx, files->key, SSL_FILETYPE_PEM);
    SSL_CTX_set_default_passwd_cb_userdata(x->ctx, NULL);
    SSL_CTX_set_default_passwd_cb(x->ctx, NULL);
    if (asked) {
        buf_printf(why,
                   "%s is protected by a password, which nobody is there to type; write the "
                   "key without one, readable by raftd only",
                   files->key);
    } else if ((rc != 1 && ERR_GET_LIB(ERR_peek_error()) == ERR_LIB_X509) ||
               (rc == 1 && SSL_CTX_check_private_key(x->ctx) != 1)) {
        buf_printf(why, "%s is not the key of the certificate in %s", files->key, files->cert);
    } else if (rc != 1) {
        buf_printf(why, "%s holds no private key that can be used: %s", files->key,
                   openssl_reason());
    }
    return why->size == 0 ? 0 : -RD_ECONFIG;
}

static int load_ca(struct tls_context *x, const struct tls_files *files, struct buf *why)
{
    if (file_digest(files->ca, &x->digest, why)) {
        return -RD_ECONFIG;
    }
    if (SSL_CTX_load_verify_file(x->ctx, files->ca) != 1) {
        buf_printf(why, "%s holds no certificate of an authority: %s", files->ca, openssl_reason());
        return -RD_ECONFIG;
    }
    return 0;
}

/* ---- Do they fit? ---- */

/* As a peer will look at it. `now`: at the times, too; else not, for who starts with a wrong clock, or with a
 * certificate that has expired, starts, and can be given another. */
static int verify_as(const struct tls_context *x, int purpose, bool now)
{
    X509_STORE_CTX *verify = X509_STORE_CTX_new();
    STACK_OF(X509) *chain = NULL;
    int error = X509_V_ERR_OUT_OF_MEM;

    (void)SSL_CTX_get0_chain_certs(x->ctx, &chain);
    if (verify && X509_STORE_CTX_init(verify, SSL_CTX_get_cert_store(x->ctx),
                                      SSL_CTX_get0_certificate(x->ctx), chain) == 1) {
        X509_VERIFY_PARAM *rules = X509_STORE_CTX_get0_param(verify);
        X509_VERIFY_PARAM_set_auth_level(rules, SSL_CTX_get_security_level(x->ctx));
        X509_VERIFY_PARAM_set_depth(rules, TLS_DEPTH_MAX);
        X509_STORE_CTX_set_flags(verify, now ? 0 : X509_V_FLAG_NO_CHECK_TIME);
        (void)X509_STORE_CTX_set_purpose(verify, purpose);
        error = X509_verify_cert(verify) == 1 ? X509_V_OK : X509_STORE_CTX_get_error(verify);
    }
    X509_STORE_CTX_free(verify);
    return error;
}

static int verify(const struct tls_context *x, bool now)
{
    int error = verify_as(x, X509_PURPOSE_SSL_SERVER, now);

    return error == X509_V_OK ? verify_as(x, X509_PURPOSE_SSL_CLIENT, now) : error;
}

const char *tls_context_refused_now(const struct tls_context *x)
{
    int error = verify(x, true);

    ERR_clear_error();
    return error == X509_V_OK ? NULL : X509_verify_cert_error_string(error);
}

static int check_chain(const struct tls_context *x, const struct tls_files *files, struct buf *why)
{
    int error = verify(x, false);

    if (error == X509_V_ERR_INVALID_PURPOSE) {
        buf_printf(why,
                   "the certificate in %s is not for both ends of a connection; its extended "
                   "key usage has to name serverAuth and clientAuth",
                   files->cert);
    } else if (error != X509_V_OK) {
        buf_printf(why, "the certificate in %s is not signed by an authority in %s: %s",
                   files->cert, files->ca, X509_verify_cert_error_string(error));
    }
    return error == X509_V_OK ? 0 : -RD_ECONFIG;
}

static int check_name(const struct tls_context *x, const struct tls_files *files, struct buf *why)
{
    char uri[TLS_URI_SIZE];
    char what[TLS_WHY_SIZE + TLS_URI_SIZE];

    tls_name_of(SSL_CTX_get0_certificate(x->ctx), uri);
    if (tls_name_check(uri, x->prefix, x->id, what, sizeof what)) {
        buf_printf(why, "%s %s (cluster.name and node.id)", files->cert, what);
        return -RD_ECONFIG;
    }
    return 0;
}

/* ---- Times ---- */

static int64_t seconds_of(const ASN1_TIME *time)
{
    struct tm tm;

    return ASN1_TIME_to_tm(time, &tm) == 1 ? (int64_t)timegm(&tm) : 0;
}

static void note_cert_times(struct tls_times *t, const X509 *cert)
{
    int64_t from = seconds_of(X509_get0_notBefore(cert));
    int64_t until = seconds_of(X509_get0_notAfter(cert));

    t->cert_from = from > t->cert_from ? from : t->cert_from;
    t->cert_until = until < t->cert_until ? until : t->cert_until;
}

static void note_times(struct tls_context *x)
{
    STACK_OF(X509_OBJECT) *trusted = X509_STORE_get0_objects(SSL_CTX_get_cert_store(x->ctx));
    STACK_OF(X509) *chain = NULL;

    x->times = (struct tls_times){.cert_until = INT64_MAX, .ca_until = INT64_MAX};
    note_cert_times(&x->times, SSL_CTX_get0_certificate(x->ctx));
    (void)SSL_CTX_get0_chain_certs(x->ctx, &chain);
    for (int i = 0; i < sk_X509_num(chain); i++) {
        note_cert_times(&x->times, sk_X509_value(chain, i));
    }
    for (int i = 0; i < sk_X509_OBJECT_num(trusted); i++) {
        const X509 *ca = X509_OBJECT_get0_X509(sk_X509_OBJECT_value(trusted, i));
        int64_t until = ca ? seconds_of(X509_get0_notAfter(ca)) : INT64_MAX;
        x->times.ca_until = until < x->times.ca_until ? until : x->times.ca_until;
    }
}

/* ---- The context ---- */

/* As ALPN lists them: each with its length before it. Not const, for OpenSSL hands them on as void *. */
static unsigned char member_protocol[] = "\x07" TLS_ALPN;
static unsigned char web_protocol[] = "\x08" TLS_ALPN_WEB;

/* Who accepts: only the protocol we speak. Who asks for none is found out after the handshake. */
static int choose_protocol(SSL *ssl, const unsigned char **out, unsigned char *out_size,
                           const unsigned char *offered, unsigned int offered_size, void *arg)
{
    const unsigned char *ours = arg;
    unsigned char *chosen = NULL;

    (void)ssl;
    int rc = SSL_select_next_proto(&chosen, out_size, ours, ours[0] + 1U, offered, offered_size);
    *out = chosen;
    return rc == OPENSSL_NPN_NEGOTIATED ? SSL_TLSEXT_ERR_OK : SSL_TLSEXT_ERR_ALERT_FATAL;
}

static void set_rules(SSL_CTX *ctx, unsigned char *protocol)
{
    static char groups[] = "X25519:P-256:P-384"; /* the macro casts a const away */

    rd_assert(SSL_CTX_set_min_proto_version(ctx, TLS1_3_VERSION) == 1);
    rd_assert(SSL_CTX_set_max_proto_version(ctx, TLS1_3_VERSION) == 1);
    /* The default has groups of 8192 bits: a stranger's ClientHello would cost 133 ms. */
    rd_assert(SSL_CTX_set1_groups_list(ctx, groups) == 1);
    SSL_CTX_set_max_cert_list(ctx, TLS_CHAIN_MAX);
    (void)SSL_CTX_set_session_cache_mode(ctx, SSL_SESS_CACHE_OFF);
    (void)SSL_CTX_set_num_tickets(ctx, 0);
    (void)SSL_CTX_set_options(ctx, SSL_OP_NO_TICKET | SSL_OP_NO_RENEGOTIATION |
                                       SSL_OP_NO_COMPRESSION | SSL_OP_IGNORE_UNEXPECTED_EOF);
    (void)SSL_CTX_set_mode(ctx,
                           SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    /* Else SSL_read() goes on for as long as somebody sends renewals of keys, and nothing else. */
    (void)SSL_CTX_clear_mode(ctx, SSL_MODE_AUTO_RETRY);
    SSL_CTX_set_read_ahead(ctx, 0); /* what tls_pending() rests on */
    SSL_CTX_set_alpn_select_cb(ctx, choose_protocol, protocol);
}

static void open_member_context(struct tls_context *x)
{
    x->ctx = SSL_CTX_new(TLS_method());
    rd_assert(x->ctx);
    set_rules(x->ctx, member_protocol);
    SSL_CTX_set_verify(x->ctx, SSL_VERIFY_PEER | SSL_VERIFY_FAIL_IF_NO_PEER_CERT, NULL);
    SSL_CTX_set_verify_depth(x->ctx, TLS_DEPTH_MAX);
    rd_assert(SSL_CTX_set_alpn_protos(x->ctx, member_protocol, sizeof member_protocol - 1) == 0);
}

/* The certificate as members see it, with those that lead to the authority. Many clients wait most of the
 * time: buffers are theirs only while there is something in them. */
static void open_web_context(struct tls_context *x)
{
    STACK_OF(X509) *chain = NULL;

    x->web = SSL_CTX_new(TLS_server_method());
    rd_assert(x->web);
    set_rules(x->web, web_protocol);
    (void)SSL_CTX_set_mode(x->web, SSL_MODE_RELEASE_BUFFERS);
    (void)SSL_CTX_get0_chain_certs(x->ctx, &chain);
    rd_assert(SSL_CTX_use_cert_and_key(x->web, SSL_CTX_get0_certificate(x->ctx),
                                       SSL_CTX_get0_privatekey(x->ctx), chain, 1) == 1);
    rd_assert(SSL_CTX_set1_chain_cert_store(x->web, SSL_CTX_get_cert_store(x->ctx)) == 1);
}

static int load_all(struct tls_context *x, const struct tls_files *files, enum tls_file *which,
                    struct buf *why)
{
    static int (*const steps[])(struct tls_context *, const struct tls_files *, struct buf *) = {
        [TLS_CERT] = load_cert, [TLS_KEY] = load_key, [TLS_CA] = load_ca};

    for (enum tls_file file = TLS_CERT; file <= TLS_CA; file++) {
        *which = file;
        ERR_clear_error();
        if (steps[file](x, files, why)) {
            return -RD_ECONFIG;
        }
    }
    *which = TLS_CERT;
    return check_chain(x, files, why) || check_name(x, files, why) ? -RD_ECONFIG : 0;
}

int tls_context_new(const struct tls_files *files, struct tls_context **out, enum tls_file *which,
                    struct buf *why)
{
    struct tls_context *x = mem_zalloc(sizeof *x);

    x->refs = 1;
    x->id = files->id;
    tls_name_prefix(files->cluster, x->prefix);
    open_member_context(x);
    int code = load_all(x, files, which, why);
    ERR_clear_error();
    if (code) {
        tls_context_unref(x);
        return code;
    }
    open_web_context(x);
    note_times(x);
    *out = x;
    return 0;
}

struct tls_context *tls_context_ref(struct tls_context *x)
{
    x->refs++;
    return x;
}

void tls_context_unref(struct tls_context *x)
{
    if (x && --x->refs == 0) {
        SSL_CTX_free(x->ctx);
        SSL_CTX_free(x->web);
        mem_free(x);
    }
}

bool tls_context_equals(const struct tls_context *a, const struct tls_context *b)
{
    return a->digest == b->digest;
}

struct tls_times tls_context_times(const struct tls_context *x)
{
    return x->times;
}
