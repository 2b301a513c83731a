/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "agent.h"

#include <stdlib.h>
#include <string.h>

void agent_add(struct agent_bench *b)
{
    chardev_prepare(&b->agent, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&b->agent, b->r.server), 0);
    EXPECT(b->agent.added);
    b->taken = 0;
}

void agent_start(struct client *c, int32_t tokens)
{
    uint8_t body[4];
    put32(body, (uint32_t)tokens);
    EXPECT(client_send(c, C_MAIN_AGENT_START, body, 4));
}

void agent_expect(struct client *c, uint16_t type, struct message *m)
{
    for (;;) {
        EXPECT_MSG(client_next(c, m), "no message, expected type %d", type);
        if (m->type == type)
            return;
        bool passed_over = m->type == S_MAIN_AGENT_TOKEN || m->type == S_MAIN_MOUSE_MODE ||
                           m->type == S_MAIN_CHANNELS_LIST;
        EXPECT_MSG(passed_over, "message %d, expected %d", m->type, type);
        message_free(m);
    }
}

void agent_settle(struct client *c)
{
    struct message m;
    EXPECT(client_send(c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    agent_expect(c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
}

void agent_open(struct agent_bench *b)
{
    *b = (struct agent_bench){ 0 };
    rig_open(&b->r);
    agent_add(b);
    b->session = rig_main(&b->r, &b->c);
}

void agent_open_talking(struct agent_bench *b)
{
    agent_open(b);
    agent_start(&b->c, ALL_TOKENS);
    agent_settle(&b->c);
}

void agent_close(struct agent_bench *b)
{
    agent_settle(&b->c);
    EXPECT(client_silent(&b->c, 0));
    client_close(&b->c);
    chardev_remove(&b->agent);
    rig_close(&b->r);
}

/* ---- bytes ---- */

uint8_t *agent_message(uint32_t type, const void *data, size_t size)
{
    uint8_t *bytes = malloc(HEAD + size);
    uint8_t *p = put32(put64(put32(put32(bytes, 1), type), 0), (uint32_t)size);
    if (data)
        memcpy(p, data, size);
    else
        chardev_fill(p, size, type);
    return bytes;
}

void agent_queue_chunk(struct agent_bench *b, uint32_t port, const void *data, size_t size)
{
    uint8_t header[CHUNK];
    put32(put32(header, port), (uint32_t)size);
    chardev_queue(&b->agent, header, CHUNK);
    chardev_queue(&b->agent, data, size);
}

void agent_say_chunk(struct agent_bench *b, uint32_t port, const void *data, size_t size)
{
    agent_queue_chunk(b, port, data, size);
    chardev_wakeup(&b->agent);
}

void agent_says(struct agent_bench *b, uint32_t type, const void *data, size_t size)
{
    uint8_t *bytes = agent_message(type, data, size);
    agent_say_chunk(b, PORT_CLIENT, bytes, HEAD + size);
    free(bytes);
}

void client_gets_bytes(struct client *c, const uint8_t *data, size_t size)
{
    struct message m;
    for (size_t at = 0; at < size; at += m.size) {
        agent_expect(c, S_MAIN_AGENT_DATA, &m);
        EXPECT(m.size >= 1 && m.size <= PIECE && at + m.size <= size);
        EXPECT(!memcmp(m.body, data + at, m.size));
        message_free(&m);
    }
}

void client_gets(struct client *c, uint32_t type, const void *data, size_t size)
{
    uint8_t *bytes = agent_message(type, data, size);
    client_gets_bytes(c, bytes, HEAD + size);
    free(bytes);
}

void client_says(struct client *c, uint32_t type, const void *data, size_t size)
{
    uint8_t *bytes = agent_message(type, data, size);
    for (size_t at = 0; at < HEAD + size; at += PIECE) {
        size_t n = HEAD + size - at < PIECE ? HEAD + size - at : PIECE;
        EXPECT(client_send(c, C_MAIN_AGENT_DATA, bytes + at, (uint32_t)n));
    }
    free(bytes);
}

void agent_gets_chunk(struct agent_bench *b, uint32_t port, const void *data, size_t size)
{
    EXPECT(chardev_wait_input(&b->agent, b->taken + CHUNK + size));
    const uint8_t *p = b->agent.in + b->taken;
    EXPECT_EQ(get32(p), port);
    EXPECT_EQ(get32(p + 4), size);
    EXPECT(!memcmp(p + CHUNK, data, size));
    b->taken += CHUNK + size;
}

void agent_gets_on(struct agent_bench *b, uint32_t port, uint32_t type, const void *data,
                          size_t size)
{
    uint8_t *bytes = agent_message(type, data, size);
    agent_gets_chunk(b, port, bytes, HEAD + size);
    free(bytes);
}

void agent_gets(struct agent_bench *b, uint32_t type, const void *data, size_t size)
{
    agent_gets_on(b, PORT_CLIENT, type, data, size);
}

void agent_got_nothing_more(struct agent_bench *b)
{
    EXPECT_EQ(b->agent.in_len, b->taken);
}

void client_gets_word(struct client *c, uint16_t type, uint32_t word)
{
    struct message m;
    agent_expect(c, type, &m);
    EXPECT_EQ(m.size, 4);
    EXPECT_EQ(get32(m.body), word);
    message_free(&m);
}
