/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A server with the guest's agent on one side and a client on the other, and what they
 * say to each other.
 */
#ifndef AGENT_H
#define AGENT_H

#include "chardev.h"
#include "rig.h"

enum {
    PORT_CLIENT = 1,
    PORT_SERVER = 2,
    HEAD = 20,
    CHUNK = 8,
    PIECE = 2048,
    WINDOW = 10,
    LOT = 5,
    ALL_TOKENS = -1,
};

/* Message types. */
enum {
    MOUSE_STATE = 1,
    MONITORS_CONFIG = 2,
    REPLY = 3,
    CLIPBOARD = 4,
    ANNOUNCE = 6,
    GRAB = 7,
    REQUEST = 8,
    RELEASE = 9,
    FILE_START = 10,
    FILE_STATUS = 11,
    FILE_DATA = 12,
    CLIENT_DISCONNECTED = 13,
    GRAPHICS_INFO = 16,
};

/** A server with an agent and one client. */
struct agent_bench {
    struct rig r;
    struct chardev agent;
    struct client c;
    uint32_t session;
    uint64_t taken; /**< bytes of the agent's input that were looked at */
};

void agent_add(struct agent_bench *b);
void agent_start(struct client *c, int32_t tokens);
/** The next message but for tokens, which the client never runs out of here, and the
 *  mouse mode, which follows the displays. */
void agent_expect(struct client *c, uint16_t type, struct message *m);
/** Whatever was sent to the server before has been handled when this returns. */
void agent_settle(struct client *c);
void agent_open(struct agent_bench *b);
/** The client has begun with the agent and takes everything. */
void agent_open_talking(struct agent_bench *b);
void agent_close(struct agent_bench *b);
/** Head and `size` bytes of body; `data` NULL: the pattern. */
uint8_t *agent_message(uint32_t type, const void *data, size_t size);
void agent_queue_chunk(struct agent_bench *b, uint32_t port, const void *data, size_t size);
void agent_say_chunk(struct agent_bench *b, uint32_t port, const void *data, size_t size);
/** The agent says a message in one chunk. */
void agent_says(struct agent_bench *b, uint32_t type, const void *data, size_t size);
void client_gets_bytes(struct client *c, const uint8_t *data, size_t size);
/** The client gets a message of the agent. */
void client_gets(struct client *c, uint32_t type, const void *data, size_t size);
/** The client says a message; 2048 bytes a piece. */
void client_says(struct client *c, uint32_t type, const void *data, size_t size);
/** The agent gets a chunk with these bytes. */
void agent_gets_chunk(struct agent_bench *b, uint32_t port, const void *data, size_t size);
/** The agent gets a message in one chunk. */
void agent_gets_on(struct agent_bench *b, uint32_t port, uint32_t type, const void *data,
                          size_t size);
void agent_gets(struct agent_bench *b, uint32_t type, const void *data, size_t size);
void agent_got_nothing_more(struct agent_bench *b);
void client_gets_word(struct client *c, uint16_t type, uint32_t word);

#endif
