/* The files of [tls]: what fits, and what is said of what does not. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include <openssl/x509v3.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "base/err.h"
#include "fixture.h"
#include "net/tls_internal.h"

/* A shell command in which %s is the directory of the certificates. */
static void run(const char *format)
{
    char command[1024];
    const char *directory = certs_path("");

    (void)snprintf(command, sizeof command, "umask 077; cd %s && { %s; } >/dev/null 2>&1",
                   directory, format);
    assert_int_equal(system(command), 0); /* NOLINT(cert-env33-c,concurrency-mt-unsafe) */
}

static void refused(const char *cert, const char *key, const char *ca, enum tls_file blamed,
                    const char *words)
{
    const struct tls_files files = {.cert = certs_path(cert),
                                    .key = certs_path(key),
                                    .ca = certs_path(ca),
                                    .cluster = "test",
                                    .id = 1};
    struct tls_context *x = NULL;
    struct buf why = BUF_INIT;
    enum tls_file which = TLS_CA;

    int code = tls_context_new(&files, &x, &which, &why);
    assert_int_equal(code, -RD_ECONFIG);
    assert_null(x);
    assert_int_equal(which, blamed);
    if (!strstr(buf_str(&why), words)) {
        fail_msg("\"%s\" is not in \"%s\"", words, buf_str(&why));
    }
    buf_done(&why);
}

static void good_files(void **state)
{
    struct tls_context *x = certs_context(1);
    struct tls_context *again = certs_context(1);
    struct tls_context *other = certs_context(2);
    struct tls_times times = tls_context_times(x);
    int64_t now = (int64_t)(mono_wall_ms() / 1000);

    (void)state;
    assert_true(times.cert_from <= now && times.cert_from > now - 3600);
    assert_true(times.cert_until > now + 89 * 86400 && times.cert_until < now + 91 * 86400);
    assert_true(times.ca_until > now + 3649LL * 86400 - 3600);
    assert_true(tls_context_equals(x, again));
    assert_false(tls_context_equals(x, other));
    tls_context_unref(x);
    tls_context_unref(again);
    tls_context_unref(other);
    tls_context_unref(NULL);
}

static void files_that_cannot_be_used(void **state)
{
    (void)state;
    run("mkdir -p dir; : >empty; printf 'x\\n' >text; head -c 100 1.crt >cut; cp 1.key cut.key;"
        "truncate -s 60 cut.key; openssl ec -in 1.key -aes256 -passout pass:x -out locked.key;"
        "cp 1.key open.key; chmod 644 open.key");
    refused("none", "1.key", "ca.crt", TLS_CERT, "cannot be read: No such file");
    refused("dir", "1.key", "ca.crt", TLS_CERT, "cannot be read: it is no file");
    refused("empty", "1.key", "ca.crt", TLS_CERT, "holds no certificate that can be used");
    refused("cut", "1.key", "ca.crt", TLS_CERT, "holds no certificate that can be used");
    refused("1.crt", "none", "ca.crt", TLS_KEY, "cannot be read: No such file");
    refused("1.crt", "empty", "ca.crt", TLS_KEY, "holds no private key that can be used");
    refused("1.crt", "cut.key", "ca.crt", TLS_KEY, "holds no private key that can be used");
    refused("1.crt", "2.key", "ca.crt", TLS_KEY, "is not the key of the certificate in");
    refused("1.crt", "locked.key", "ca.crt", TLS_KEY, "is protected by a password");
    refused("1.crt", "open.key", "ca.crt", TLS_KEY, "may be read or written by every user");
    refused("1.crt", "1.key", "none", TLS_CA, "cannot be read: No such file");
    refused("1.crt", "1.key", "text", TLS_CA, "holds no certificate of an authority");
}

static void certificates_that_do_not_fit(void **state)
{
    (void)state;
    run("openssl req -new -key 1.key -subj /CN=x -out r;"
        "sign() { openssl x509 -req -in r -CA ca.crt -CAkey ca.key -days 1 -set_serial $1 -out $2 "
        "-extfile /dev/stdin; };"
        "printf 'subjectAltName=URI:raftd://test/1\\nextendedKeyUsage=serverAuth\\n' | sign 7 one;"
        "printf 'subjectAltName=DNS:raftd.test\\n' | sign 8 nameless;"
        "printf 'subjectAltName=URI:raftd://test/1,URI:raftd://test/2\\n' | sign 9 two;"
        "printf 'subjectAltName=URI:raftd://test/1,DNS:x,URI:http://y/\\n' | sign 10 also;"
        "openssl req -x509 -newkey rsa:2048 -nodes -keyout o.key -subj /CN=o -out o.crt");
    refused("2.crt", "2.key", "ca.crt", TLS_CERT,
            "shows the certificate of raftd://test/2, not of raftd://test/1");
    refused("one", "1.key", "ca.crt", TLS_CERT, "has to name serverAuth and clientAuth");
    refused("nameless", "1.key", "ca.crt", TLS_CERT, "shows a certificate without a name");
    refused("two", "1.key", "ca.crt", TLS_CERT, "shows a certificate without a name");
    refused("1.crt", "1.key", "o.crt", TLS_CERT, "is not signed by an authority in");
    refused("o.crt", "o.key", "ca.crt", TLS_CERT, "is not signed by an authority in");
    run("cp 1.crt kept; cp also 1.crt"); /* other names beside ours are nobody's business */
    tls_context_unref(certs_context(1));
    run("cp kept 1.crt; cat ca.crt o.crt >bundle");
}

/* Of what has to be changed first. */
static void the_earliest_end_counts(void **state)
{
    struct tls_times times;
    struct tls_context *x;
    int64_t now = (int64_t)(mono_wall_ms() / 1000);

    (void)state;
    run("cp ca.crt ca-kept; openssl req -x509 -newkey rsa:2048 -nodes -keyout o.key -subj /CN=o "
        "-days 5 -out o.crt; cat ca-kept o.crt >ca.crt");
    x = certs_context(1);
    times = tls_context_times(x);
    assert_true(times.ca_until > now && times.ca_until < now + 6 * 86400);
    tls_context_unref(x);
    run("cp ca-kept ca.crt");
    certs_make("--ids 3 --days -1");
    x = certs_context(3); /* it can be read: who starts with it is told */
    assert_true(tls_context_times(x).cert_until < now);
    tls_context_unref(x);
}

static void names(void **state)
{
    char prefix[TLS_URI_SIZE];
    char why[TLS_WHY_SIZE];
    char longest[65];

    (void)state;
    tls_name_prefix("a B-z_9.~", prefix);
    assert_string_equal(prefix, "raftd://a%20B-z_9.~/");
    tls_name_prefix("\xc3\xbc/%", prefix);
    assert_string_equal(prefix, "raftd://%C3%BC%2F%25/");
    memset(longest, ' ', 64);
    longest[64] = 0;
    tls_name_prefix(longest, prefix);
    assert_int_equal(strlen(prefix), 8 + 3 * 64 + 1);

    static const char *const others[] = {"raftd://c/12", "raftd://c/01", "raftd://c/1/",
                                         "raftd://c/",   "raftd://c/ 1", "raftd://c/1x"};
    assert_int_equal(tls_name_check("raftd://c/1", "raftd://c/", 1, why, sizeof why), 0);
    assert_int_equal(
        tls_name_check("raftd://c/4294967295", "raftd://c/", UINT32_MAX, why, sizeof why), 0);
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        assert_int_equal(tls_name_check(others[i], "raftd://c/", 1, why, sizeof why), -RD_EINVALID);
    }
    assert_int_equal(tls_name_check("raftd://cc/1", "raftd://c/", 1, why, sizeof why),
                     -RD_EWRONG_CLUSTER);
    assert_int_equal(tls_name_check("raftd://C/1", "raftd://c/", 1, why, sizeof why),
                     -RD_EWRONG_CLUSTER);
    assert_int_equal(tls_name_check("", "raftd://c/", 1, why, sizeof why), -RD_EINVALID);
}

static void name_of(const char *san, const char *expected)
{
    char uri[TLS_URI_SIZE];
    X509 *cert = X509_new();

    if (san) {
        X509_EXTENSION *extension = X509V3_EXT_conf_nid(NULL, NULL, NID_subject_alt_name, san);
        assert_non_null(extension);
        assert_int_equal(X509_add_ext(cert, extension, -1), 1);
        X509_EXTENSION_free(extension);
    }
    tls_name_of(cert, uri);
    assert_string_equal(uri, expected);
    X509_free(cert);
}

static void names_in_certificates(void **state)
{
    (void)state;
    name_of(NULL, "");
    name_of("URI:raftd://c/1", "raftd://c/1");
    name_of("DNS:raftd,URI:http://raftd://c/2,URI:raftd://c/1,IP:127.0.0.1", "raftd://c/1");
    name_of("URI:raftd://c/1,URI:raftd://c/2", "");
    name_of("DNS:raftd://c/1,email:raftd://c/1", "");
    name_of("URI:RAFTD://c/1", "");
    name_of("URI:raftd://", "");
    name_of("URI:raftd://c/1 ,URI:raftd://c/\x01", "raftd://c/1");
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_files),
        cmocka_unit_test(files_that_cannot_be_used),
        cmocka_unit_test(certificates_that_do_not_fit),
        cmocka_unit_test(the_earliest_end_counts),
        cmocka_unit_test(names),
        cmocka_unit_test(names_in_certificates),
    };

    return cmocka_run_group_tests(tests, NULL, NULL);
}
