/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The client's side of scripts/bench: connections with and without a SPICE link before
 * the messages, and what comes through them.
 */
#ifndef PEER_H
#define PEER_H

#include "../client.h"
#include "content.h"

#include <sys/types.h>

enum { DONE = 60, MINI = 6, READ = 256 * 1024, CHANNELS = 64 };

/** What the command line says. */
struct options {
    const char *transport, *where, *flow;
    const char *content, *password, *ca;
    int channels;
    size_t size;
    double seconds;
    bool bare;  /**< messages from the first byte on, for bench-bare */
    bool lz4;
    bool listens; /**< `hold` has nothing to say afterwards */
};
extern struct options options;

/** A connection that carries data. */
struct peer {
    struct client client;
    struct place heard;
    bool done; /**< the other side's event has come */

    /* the message that is arriving */
    uint8_t header[MINI];
    size_t have;
    uint16_t type;
    uint32_t left;
    uint8_t *packed;
    size_t packed_have;
};

/** The main channel; returns the session. */
uint32_t peer_main(struct client *c);
/** Lets a thread read it from now on. */
void peer_read_main(struct client *c);
/** A port channel, or a bare connection.  Blocking from then on. */
void peer_open(struct peer *p, int number, uint32_t session, const struct content *content);

/** All of it; ends the program when the other side is gone. */
void peer_send(struct peer *p, const void *bytes, size_t n);
/** What has come, at least a byte; 0 at the end, -1 with EAGAIN as usual. */
ssize_t peer_receive(struct peer *p, void *bytes, size_t n);
/** Takes received bytes apart and compares the data in them. */
void peer_take(struct peer *p, const uint8_t *bytes, size_t n);
/** Says that nothing more will come. */
void peer_say_done(struct peer *p);
/** Receives until the other side's event. */
void peer_drain(struct peer *p);

/** The header of a message. */
void peer_header(uint8_t header[MINI], uint16_t type, size_t size);

/* What is measured; each prints a line of JSON. */
void flow_drain(void);
void flow_flood(void);
void flow_echo(void);
void flow_fair(void);
void flow_connect(void);
void flow_hold(void);
void flow_bomb(void);

#endif
