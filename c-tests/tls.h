/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * TLS for the raw client (OpenSSL on its own socket), and the certificates that a
 * server needs, made anew in the program's own directory.
 */
#ifndef TLS_H
#define TLS_H

#include "client.h"

#include <openssl/types.h>

enum key_kind { KEY_RSA, KEY_EC, KEY_ED25519 };

/** An authority and a server's certificate and key, as files. */
struct pki {
    char ca[128], cert[128], key[128];
};

/** Makes them; the files' names begin with `name`. The key is encrypted when there is a
 *  password. */
void pki_make(struct pki *p, const char *name, enum key_kind kind, const char *password);
/** Diffie-Hellman parameters of a standard group. */
void pki_make_dh(char path[128], const char *name);
/** A file with this text. */
void pki_make_file(char path[128], const char *name, const char *text);

/** What a client insists on; all zero: whatever OpenSSL likes. */
struct tls_wants {
    const char *ca;         /**< the server must show a certificate of this authority */
    int oldest, newest;     /**< TLS1_2_VERSION and so on */
    const char *ciphers;    /**< suites up to TLS 1.2, may end in :@SECLEVEL=0 */
    const char *suites;     /**< suites of TLS 1.3 */
};

/** From now on the client's bytes pass through TLS.  Sends nothing yet. */
void tls_begin(struct client *c, const struct tls_wants *wants);
/** The handshake; false when it fails or the deadline passes. */
bool tls_handshake(struct client *c);
/** Both; fails the case when it does not work. */
void tls_start(struct client *c, const struct tls_wants *wants);
/** Whether the server said goodbye before it closed (after client_closed() or so). */
bool tls_ended_well(struct client *c);
/** Asks for new keys in both directions. */
bool tls_update_keys(struct client *c);
/** Whether the server takes part in a second handshake on this connection. */
bool tls_renegotiates(struct client *c);

/* For client.c: like send, recv and close. */
ssize_t tls_give(struct client *c, const void *data, size_t n);
ssize_t tls_take(struct client *c, void *data, size_t n);
void tls_free(struct client *c);

#endif
