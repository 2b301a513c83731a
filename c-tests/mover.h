/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host whose machine moves, or is moved to, and a client that carries what moves.  The
 * host that is on the other side is played by the test.
 */
#ifndef MOVER_H
#define MOVER_H

#include "agent.h"
#include "devices.h"

enum {
    S_MIGRATE_DATA = 2,
    S_MAIN_BEGIN_SEAMLESS = 116,
    S_MAIN_SEAMLESS_ACK = 117,
    C_MAIN_DO_SEAMLESS = 110,
    C_MAIN_CONNECTED_SEAMLESS = 111,
    BLOCK = 25, /**< bytes of a char device's block */
    SVMD = 33,  /**< where what it points to begins in the body of usbredir, ports, webdav */
};

/** A host with an agent or another device, and its client. */
struct mover {
    struct agent_bench a;
    struct chardev device;
    struct qxl q;
    struct client c; /**< the device's channel, or another one */
    struct migration m;
};

/** A server that lets sessions go along; its machine does not run yet. */
void mover_open_server(struct mover *b);
/** The client's main channel; with a `session` it comes from another host.  Returns the
 *  session's id. */
uint32_t mover_link_main(struct mover *b, uint32_t session);
/** The next message of this type; others are passed over. */
void mover_find(struct client *c, uint16_t type, struct message *m);

/** A running host with this device; NULL: without. */
void mover_open_source(struct mover *b, const char *subtype, const char *port);
/** The same with a port, and its client's channel. */
void mover_open_port(struct mover *b);
/** The machine moves; the client was at the other host. */
void mover_begin(struct mover *b);
/** MIGRATE, and then the data. */
void mover_take_along(struct client *c, struct message *m);
/** Waits until the host hears that all clients have left. */
void mover_ended(struct mover *b);
void mover_close_source(struct mover *b);

/** A client comes, and its session is to go on. */
void mover_open_target(struct mover *b);
void mover_close_target(struct mover *b);

/** A body begins. */
void put_magic(uint8_t *body, const char *magic);
/** A connected char device's block. */
uint8_t *put_block(uint8_t *p, uint32_t client, uint32_t server, uint32_t size, uint32_t price,
                   uint32_t at);
/** This body: magic, version and these bytes. */
void expect_moved(const struct message *m, const char *magic, const void *rest, size_t n);

#endif
