/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "tls.h"
#include "host.h"
#include "rig.h"
#include "tap.h"

#include <errno.h>
#include <openssl/bio.h>
#include <openssl/dh.h>
#include <openssl/err.h>
#include <openssl/evp.h>
#include <openssl/pem.h>
#include <openssl/ssl.h>
#include <openssl/x509.h>
#include <openssl/x509v3.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>

#define MUST(what) \
    do { \
        if (!(what)) \
            FAIL("OpenSSL: %s: %s", #what, ERR_reason_error_string(ERR_get_error())); \
    } while (0)

/* ---- certificates ---- */

static EVP_PKEY *make_key(enum key_kind kind)
{
    EVP_PKEY *key = kind == KEY_RSA  ? EVP_PKEY_Q_keygen(NULL, NULL, "RSA", (size_t)2048)
                    : kind == KEY_EC ? EVP_PKEY_Q_keygen(NULL, NULL, "EC", "P-256")
                                     : EVP_PKEY_Q_keygen(NULL, NULL, "ED25519");
    MUST(key);
    return key;
}

static X509 *make_certificate(const char *name, EVP_PKEY *key, X509 *issuer, EVP_PKEY *by)
{
    X509 *cert = X509_new();
    X509_NAME *subject = X509_get_subject_name(cert);
    const EVP_MD *digest = EVP_PKEY_is_a(by, "ED25519") ? NULL : EVP_sha256();
    X509V3_CTX ctx;
    MUST(X509_set_version(cert, X509_VERSION_3));
    ASN1_INTEGER_set(X509_get_serialNumber(cert), issuer ? 2 : 1);
    MUST(X509_NAME_add_entry_by_txt(subject, "CN", MBSTRING_ASC, (const uint8_t *)name, -1, -1,
                                    0));
    MUST(X509_set_issuer_name(cert, issuer ? X509_get_subject_name(issuer) : subject));
    MUST(X509_gmtime_adj(X509_getm_notBefore(cert), -3600));
    MUST(X509_gmtime_adj(X509_getm_notAfter(cert), 3600));
    MUST(X509_set_pubkey(cert, key));
    X509V3_set_ctx(&ctx, issuer ? issuer : cert, cert, NULL, NULL, 0);
    X509_EXTENSION *basic = X509V3_EXT_conf_nid(NULL, &ctx, NID_basic_constraints,
                                                issuer ? "CA:FALSE" : "critical,CA:TRUE");
    MUST(basic && X509_add_ext(cert, basic, -1));
    X509_EXTENSION_free(basic);
    MUST(X509_sign(cert, by, digest));
    return cert;
}

static FILE *create(char path[128], const char *name, const char *what)
{
    snprintf(path, 128, "%s/%s-%s", tap_directory(), name, what);
    FILE *f = fopen(path, "w");
    if (!f)
        FAIL("%s: %s", path, strerror(errno));
    return f;
}

void pki_make(struct pki *p, const char *name, enum key_kind kind, const char *password)
{
    EVP_PKEY *ca_key = make_key(KEY_EC), *key = make_key(kind);
    X509 *ca = make_certificate("authority", ca_key, NULL, ca_key);
    X509 *cert = make_certificate(name, key, ca, ca_key);
    FILE *f = create(p->ca, name, "ca.pem");
    MUST(PEM_write_X509(f, ca));
    fclose(f);
    f = create(p->cert, name, "cert.pem");
    MUST(PEM_write_X509(f, cert));
    fclose(f);
    f = create(p->key, name, "key.pem");
    MUST(PEM_write_PKCS8PrivateKey(f, key, password ? EVP_aes_256_cbc() : NULL, password,
                                   password ? (int)strlen(password) : 0, NULL, NULL));
    fclose(f);
    X509_free(cert);
    X509_free(ca);
    EVP_PKEY_free(key);
    EVP_PKEY_free(ca_key);
}

void pki_make_dh(char path[128], const char *name)
{
    DH *dh = DH_get_2048_256();
    FILE *f = create(path, name, "dh.pem");
    MUST(dh && PEM_write_DHxparams(f, dh));
    fclose(f);
    DH_free(dh);
}

void pki_make_file(char path[128], const char *name, const char *text)
{
    FILE *f = create(path, name, "file");
    fputs(text, f);
    fclose(f);
}

/* ---- the client ---- */

void tls_begin(struct client *c, const struct tls_wants *wants)
{
    static const struct tls_wants none;
    const struct tls_wants *w = wants ? wants : &none;
    SSL_CTX *ctx = SSL_CTX_new(TLS_client_method());
    MUST(ctx);
    /* OpenSSL writes without MSG_NOSIGNAL. */
    signal(SIGPIPE, SIG_IGN);
    MUST(SSL_CTX_set_min_proto_version(ctx, w->oldest));
    MUST(SSL_CTX_set_max_proto_version(ctx, w->newest));
    MUST(!w->ciphers || SSL_CTX_set_cipher_list(ctx, w->ciphers));
    MUST(!w->suites || SSL_CTX_set_ciphersuites(ctx, w->suites));
    if (w->ca) {
        MUST(SSL_CTX_load_verify_locations(ctx, w->ca, NULL));
        SSL_CTX_set_verify(ctx, SSL_VERIFY_PEER, NULL);
    }
    SSL_CTX_set_mode(ctx, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    c->tls = SSL_new(ctx);
    SSL_CTX_free(ctx);
    MUST(c->tls && SSL_set_fd(c->tls, c->fd));
    SSL_set_connect_state(c->tls);
}

/** Waits for what OpenSSL wants; false when it wants nothing or the deadline passes. */
static bool wait_for(struct client *c, int result)
{
    switch (SSL_get_error(c->tls, result)) {
    case SSL_ERROR_WANT_READ:
        return host_wait_fd(c->fd, POLLIN, HOST_DEADLINE_MS);
    case SSL_ERROR_WANT_WRITE:
        return host_wait_fd(c->fd, POLLOUT, HOST_DEADLINE_MS);
    default:
        return false;
    }
}

bool tls_handshake(struct client *c)
{
    int result;
    do {
        ERR_clear_error();
        result = SSL_do_handshake(c->tls);
    } while (result != 1 && wait_for(c, result));
    return result == 1;
}

void tls_start(struct client *c, const struct tls_wants *wants)
{
    tls_begin(c, wants);
    if (!tls_handshake(c))
        FAIL("no TLS handshake: %s", ERR_reason_error_string(ERR_peek_error()));
}

bool tls_ended_well(struct client *c)
{
    return SSL_get_shutdown(c->tls) & SSL_RECEIVED_SHUTDOWN;
}

bool tls_update_keys(struct client *c)
{
    ERR_clear_error();
    return SSL_key_update(c->tls, SSL_KEY_UPDATE_REQUESTED) && SSL_do_handshake(c->tls) == 1;
}

bool tls_renegotiates(struct client *c)
{
    ERR_clear_error();
    return SSL_renegotiate(c->tls) && tls_handshake(c) && !SSL_renegotiate_pending(c->tls);
}

/** -1 with EAGAIN when it has to wait, 0 when the connection is over. */
static ssize_t outcome(struct client *c, int result)
{
    if (result > 0)
        return result;
    int error = SSL_get_error(c->tls, result);
    if (error != SSL_ERROR_WANT_READ && error != SSL_ERROR_WANT_WRITE)
        return 0;
    errno = EAGAIN;
    return -1;
}

ssize_t tls_give(struct client *c, const void *data, size_t n)
{
    ERR_clear_error();
    ssize_t given = outcome(c, SSL_write(c->tls, data, (int)(n < 1 << 20 ? n : 1 << 20)));
    if (given == 0) {
        errno = EPIPE;
        return -1;
    }
    return given;
}

ssize_t tls_take(struct client *c, void *data, size_t n)
{
    ERR_clear_error();
    return outcome(c, SSL_read(c->tls, data, (int)(n < 1 << 20 ? n : 1 << 20)));
}

void tls_free(struct client *c)
{
    SSL_free(c->tls);
    c->tls = NULL;
}
