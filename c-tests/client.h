/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A raw SPICE client over a socket.
 *
 * Sockets are non-blocking; whoever waits here runs the host's loop meanwhile
 * (host_wait_fd), so host and client share the one thread and a test reads as a
 * dialogue.  Every field of a link message can be overridden for bad input.
 */
#ifndef CLIENT_H
#define CLIENT_H

#include "wire.h"

#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

enum { LINK_CAPS_MAX = 1100, TICKET_SIZE = 128, PUBKEY_SIZE = 162 };

/** A link message, field by field as it goes out. */
struct link {
    uint8_t magic[4];
    uint32_t major, minor, size;
    uint32_t connection_id;
    uint8_t type, id;
    uint32_t n_common, n_channel, caps_offset;
    uint32_t caps[LINK_CAPS_MAX]; /**< what follows the fixed part */
    size_t n_caps;                /**< words of it that are sent */
};

/** A correct link message with mini headers. */
void link_init(struct link *l, int type, int id, uint32_t connection_id);
/** Sets the words of capabilities and the fields that count them. */
void link_set_caps(struct link *l, uint32_t common, uint32_t channel);
/** Writes it out; returns the number of bytes (at most LINK_BYTES_MAX). */
size_t link_bytes(const struct link *l, uint8_t *buf);
enum { LINK_BYTES_MAX = 16 + 18 + 4 * LINK_CAPS_MAX };

struct link_reply {
    uint32_t major, minor, size;
    uint32_t error;
    uint8_t key[PUBKEY_SIZE];
    uint32_t n_common, n_channel, caps_offset;
    uint32_t caps[64];
};

struct client {
    int fd;
    struct ssl_st *tls; /**< bytes pass through it; made by tls_begin(), see tls.h */
    bool mini;          /**< header form both sides use */
    bool answer_pings;  /**< client_next() answers PINGs itself and skips them */
    bool acknowledges;  /**< client_next() answers SET_ACK and sends ACKs */
    uint32_t window, unacknowledged;
    uint64_t serial;    /**< of the last message sent */
    uint64_t received;  /**< messages received */
    struct link_reply reply;
};

/* ---- sockets ---- */

int connect_unix(const char *path);
/** `name` without the leading zero byte. */
int connect_abstract(const char *name);
/** Loopback, family AF_INET or AF_INET6; -1 when refused. */
int connect_tcp(int family, int port);

/** Takes over a connected socket. */
void client_init(struct client *c, int fd);
/** Closes it at once; a TLS client says no goodbye. */
void client_close(struct client *c);

/* ---- bytes ---- */

/** Sends all of it; false when the peer closed or the deadline passed. */
bool client_write(struct client *c, const void *data, size_t n);
/** Sends what fits until the socket stays full for `quiet` ms; returns the count. */
size_t client_write_some(struct client *c, const void *data, size_t n, int quiet);
/** Receives exactly `n` bytes unless the peer closes or the deadline passes. */
size_t client_read(struct client *c, void *data, size_t n);
/** True when the peer closes within the deadline without sending anything more. */
bool client_at_eof(struct client *c);
/** True when the peer closes within the deadline; bytes before are dropped. */
bool client_closed(struct client *c);
/** True when nothing at all arrives for `ms`, and the peer does not close. */
bool client_silent(struct client *c, int ms);

/* ---- link ---- */

/** Sends the link message. */
bool client_send_link(struct client *c, const struct link *l);
/** Receives header and reply with capabilities; false when the peer closes. */
bool client_read_reply(struct client *c);
/** The ticket for `password` (sent with its NUL) under the reply's key. */
void client_make_ticket(struct client *c, const char *password, size_t len,
                        uint8_t ticket[TICKET_SIZE]);
/** Mechanism and ticket. */
bool client_send_ticket(struct client *c, const char *password);
/** The link result, or -1 when the peer closes without one. */
int client_read_result(struct client *c);

/**
 * The whole link as `l` says.  Returns the link result; a link error makes it
 * 1000 + error, a close before the reply -1, a close before the result -2.
 */
int client_link_with(struct client *c, const struct link *l, const char *password);
/** The same with a correct link message. */
int client_link(struct client *c, int type, int id, uint32_t session, const char *password);
enum { LINK_REFUSED = 1000, LINK_CLOSED = -1, LINK_CLOSED_AFTER_REPLY = -2 };

/* ---- messages ---- */

struct message {
    uint16_t type;
    uint32_t size;
    uint8_t *body; /**< owned; message_free() */
    uint64_t serial;
    uint32_t sub_list;
};

void message_free(struct message *m);
/** Whether a CHANNELS_LIST names this channel. */
bool message_lists(const struct message *m, int type, int id);

/** Header that announces `size`, without a body. */
bool client_send_header(struct client *c, uint16_t type, uint32_t size);
bool client_send(struct client *c, uint16_t type, const void *body, uint32_t size);
/** The next message; false when the peer closes or the deadline passes. */
bool client_next(struct client *c, struct message *m);
/** The next message must be of this type; fails the case otherwise. */
void client_expect(struct client *c, uint16_t type, struct message *m);

#endif
