/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The guest's agent: the host's device of subtype "vdagent" on one side, clients'
 * main channels on the other.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "differences.h"

#include <stdlib.h>
#include <string.h>

/* ---- coming and going ---- */

static void agent_in_init(void)
{
    struct agent_bench b = { 0 };
    struct message m;
    rig_open(&b.r);
    for (int attached = 0; attached < 2; attached++) {
        if (attached)
            agent_add(&b);
        rig_connect(&b.r, &b.c);
        EXPECT_EQ(client_link(&b.c, CH_MAIN, 0, 0, ""), LINK_OK);
        client_expect(&b.c, S_MAIN_INIT, &m);
        EXPECT_EQ(get32(m.body + 16), attached);
        EXPECT_EQ(get32(m.body + 20), WINDOW);
        message_free(&m);
        agent_settle(&b.c);
        if (!attached)
            client_close(&b.c);
    }
    agent_close(&b);
}

static void comes_and_goes(void)
{
    struct agent_bench b = { 0 };
    rig_open(&b.r);
    rig_main(&b.r, &b.c);
    for (int i = 0; i < 3; i++) {
        agent_add(&b);
        EXPECT_EQ(b.agent.n_states, 1);
        EXPECT_EQ(b.agent.states[0], 1);
        client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
        if (i == 2)
            break;
        EXPECT_EQ(spice_server_remove_interface(&b.agent.sin.base), 0);
        b.agent.added = false;
        EXPECT_EQ(b.agent.n_states, 2);
        EXPECT_EQ(b.agent.states[1], 0);
        client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
        chardev_forget(&b.agent);
    }
    agent_close(&b);
}

static void clients_without_the_capability(void)
{
    struct agent_bench b = { 0 };
    struct message m;
    struct link l;
    rig_open(&b.r);
    rig_connect(&b.r, &b.c);
    link_init(&l, CH_MAIN, 0, 0);
    link_set_caps(&l, CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER, 0);
    EXPECT_EQ(client_link_with(&b.c, &l, ""), LINK_OK);
    client_expect(&b.c, S_MAIN_INIT, &m);
    message_free(&m);
    agent_add(&b);
    client_expect(&b.c, S_MAIN_AGENT_CONNECTED, &m);
    EXPECT_EQ(m.size, 0);
    message_free(&m);
    agent_close(&b);
}

static void second_agent_is_not_served(void)
{
    struct agent_bench b;
    struct chardev second;
    agent_open_talking(&b);
    chardev_prepare(&second, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&second, b.r.server), 0);
    EXPECT(!second.added);
    EXPECT_EQ(second.n_states, 0);
    /* the first one goes on */
    agent_says(&b, REPLY, "12345678", 8);
    client_gets(&b.c, REPLY, "12345678", 8);
    chardev_forget(&second);
    agent_close(&b);
}

static void talk_goes_on_with_the_next_agent(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    for (int i = 0; i < 3; i++) {
        agent_says(&b, REPLY, NULL, 3000);
        client_gets(&b.c, REPLY, NULL, 3000);
        client_says(&b.c, GRAB, NULL, 8);
        agent_gets(&b, GRAB, NULL, 8);
        EXPECT_EQ(spice_server_remove_interface(&b.agent.sin.base), 0);
        b.agent.added = false;
        chardev_forget(&b.agent);
        client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
        /* for nobody, and without tokens */
        for (int n = 0; n < 2 * WINDOW; n++)
            client_says(&b.c, GRAB, NULL, 8);
        agent_settle(&b.c);
        agent_add(&b);
        client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
        /* the client's tokens are still good */
        agent_says(&b, REPLY, "early", 5);
        client_gets(&b.c, REPLY, "early", 5);
        client_says(&b.c, GRAB, NULL, 8);
        agent_settle(&b.c);
        agent_got_nothing_more(&b);
        agent_start(&b.c, ALL_TOKENS);
        agent_settle(&b.c);
    }
    agent_close(&b);
}

/* A message that has lost its beginning to another agent is for nobody. */
static void agent_goes_in_the_middle(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(GRAB, NULL, 100);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, 50));
    agent_gets_chunk(&b, PORT_CLIENT, bytes, 50);
    agent_say_chunk(&b, PORT_CLIENT, bytes, 30);
    client_gets_bytes(&b.c, bytes, 30);
    chardev_queue(&b.agent, "\1\0\0", 3);
    chardev_wakeup(&b.agent);
    chardev_remove(&b.agent);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    agent_add(&b);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_start(&b.c, ALL_TOKENS);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + 50, 70));
    client_says(&b.c, GRAB, "next", 4);
    agent_gets(&b, GRAB, "next", 4);
    agent_says(&b, GRAB, "next", 4);
    client_gets(&b.c, GRAB, "next", 4);
    free(bytes);
    agent_close(&b);
}

/* ---- data ---- */

static void messages_of_all_sizes(void)
{
    static const size_t sizes[] = { 0, 1, 4, 2027, 2028, 2029, 2048, 4076, 6000, 100000 };
    struct agent_bench b;
    agent_open_talking(&b);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        agent_says(&b, REPLY, NULL, sizes[i]);
        client_gets(&b.c, REPLY, NULL, sizes[i]);
    }
    agent_close(&b);
}

static void pieces_of_a_chunk(void)
{
    static const size_t pieces[] = { 2048, 2048, 904 };
    struct agent_bench b;
    struct message m;
    agent_open_talking(&b);
    agent_says(&b, REPLY, NULL, 5000 - HEAD);
    for (size_t i = 0; i < TAP_COUNT(pieces); i++) {
        client_expect(&b.c, S_MAIN_AGENT_DATA, &m);
        EXPECT_EQ(m.size, pieces[i]);
        message_free(&m);
    }
    agent_close(&b);
}

/* One message in chunks of one size, read in pieces of another. */
static void any_split(void)
{
    static const size_t chunks[] = { HEAD, HEAD + 1, 100, PIECE, PIECE + 1, 9000 };
    static const int reads[] = { 1, 3, 8, 9, 100, 0 };
    enum { BODY = 9000 - HEAD };
    struct agent_bench b;
    struct message m;
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(REPLY, NULL, BODY);
    for (size_t i = 0; i < TAP_COUNT(chunks); i++)
        for (size_t r = 0; r < TAP_COUNT(reads); r++) {
            b.agent.read_chunk = reads[r];
            for (size_t at = 0; at < HEAD + BODY; at += chunks[i]) {
                size_t left = HEAD + BODY - at;
                agent_queue_chunk(&b, PORT_CLIENT, bytes + at, left < chunks[i] ? left : chunks[i]);
                /* not for the client */
                agent_queue_chunk(&b, PORT_SERVER, bytes, 77);
            }
            for (size_t at = 0; at < HEAD + BODY; at += m.size) {
                /* as QEMU, which wakes as long as the guest has something to say */
                chardev_pump(&b.agent);
                agent_expect(&b.c, S_MAIN_AGENT_DATA, &m);
                EXPECT(at + m.size <= HEAD + BODY && !memcmp(m.body, bytes + at, m.size));
                message_free(&m);
            }
        }
    free(bytes);
    agent_close(&b);
}

/* The reference reads zero bytes for ever. */
static void empty_chunks(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    for (int i = 0; i < 1000; i++)
        agent_queue_chunk(&b, i % 2 ? PORT_CLIENT : PORT_SERVER, "", 0);
    agent_says(&b, REPLY, "body", 4);
    client_gets(&b.c, REPLY, "body", 4);
    agent_close(&b);
}

static void chunks_of_the_client(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    b.agent.write_chunk = 3;
    uint8_t *bytes = agent_message(GRAB, NULL, 4000);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, HEAD));
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + HEAD, PIECE));
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + HEAD + PIECE, 4000 - PIECE));
    agent_gets_chunk(&b, PORT_CLIENT, bytes, HEAD);
    agent_gets_chunk(&b, PORT_CLIENT, bytes + HEAD, PIECE);
    agent_gets_chunk(&b, PORT_CLIENT, bytes + HEAD + PIECE, 4000 - PIECE);
    free(bytes);
    agent_close(&b);
}

static void device_calls_back(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    b.agent.wakeup_in_read = b.agent.wakeup_in_write = b.agent.wakeup_in_state = true;
    b.agent.read_chunk = 11;
    agent_says(&b, REPLY, NULL, 5000);
    chardev_pump(&b.agent);
    client_gets(&b.c, REPLY, NULL, 5000);
    client_says(&b.c, GRAB, NULL, 1000);
    agent_gets(&b, GRAB, NULL, 1000);
    agent_close(&b);
}

static void read_fails(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(REPLY, "body", 4);
    uint8_t header[CHUNK];
    put32(put32(header, PORT_CLIENT), HEAD + 4);
    chardev_say(&b.agent, header, 5);
    b.agent.read_result = -1;
    chardev_wakeup(&b.agent);
    b.agent.read_result = 0;
    chardev_queue(&b.agent, header + 5, 3);
    chardev_say(&b.agent, bytes, 10);
    b.agent.read_result = -1;
    chardev_wakeup(&b.agent);
    b.agent.read_result = 0;
    chardev_say(&b.agent, bytes + 10, HEAD + 4 - 10);
    client_gets_bytes(&b.c, bytes, HEAD + 4);
    free(bytes);
    agent_close(&b);
}

static void data_wait_while_the_vm_stands_still(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    spice_server_vm_stop(b.r.server);
    agent_says(&b, REPLY, "body", 4);
    client_says(&b.c, GRAB, "grab", 4);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    spice_server_vm_start(b.r.server);
    client_gets(&b.c, REPLY, "body", 4);
    agent_gets(&b, GRAB, "grab", 4);
    agent_close(&b);
}

static void slow_client(void)
{
    enum { BODY = 8 << 20 };
    struct agent_bench b;
    agent_open_talking(&b);
    agent_says(&b, REPLY, NULL, BODY);
    host_drain();
    /* the client does not read, and so the agent waits */
    uint64_t unread = chardev_unread(&b.agent);
    EXPECT(unread > BODY / 4);
    client_gets(&b.c, REPLY, NULL, BODY);
    EXPECT_EQ(chardev_unread(&b.agent), 0);
    agent_close(&b);
}

/* ---- who may talk when ---- */

static void data_before_start(void)
{
    struct agent_bench b;
    agent_open(&b);
    for (int i = 0; i < 3 * WINDOW; i++)
        client_says(&b.c, GRAB, NULL, 100);
    agent_says(&b, REPLY, "lost", 4);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    EXPECT_EQ(chardev_unread(&b.agent), 0);
    agent_start(&b.c, ALL_TOKENS);
    client_says(&b.c, GRAB, NULL, 100);
    agent_gets(&b, GRAB, NULL, 100);
    agent_says(&b, REPLY, "body", 4);
    client_gets(&b.c, REPLY, "body", 4);
    agent_close(&b);
}

static void token_before_start(void)
{
    struct agent_bench b;
    agent_open(&b);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_TOKEN, "\5\0\0\0", 4));
    agent_settle(&b.c);
    /* they do not count */
    agent_start(&b.c, 1);
    agent_settle(&b.c);
    agent_says(&b, REPLY, "1", 1);
    agent_says(&b, REPLY, "2", 1);
    client_gets(&b.c, REPLY, "1", 1);
    agent_settle(&b.c);
    agent_close(&b);
}

static void data_without_an_agent(void)
{
    struct agent_bench b = { 0 };
    rig_open(&b.r);
    rig_main(&b.r, &b.c);
    for (int i = 0; i < 3 * WINDOW; i++)
        client_says(&b.c, GRAB, NULL, 3000);
    agent_settle(&b.c);
    /* but what is no message is no message */
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, "short", 5));
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    rig_main(&b.r, &b.c);
    agent_add(&b);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_close(&b);
}

static void tokens_come_back(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    for (int i = 1; i <= 4 * LOT; i++) {
        client_says(&b.c, GRAB, NULL, 10);
        if (i % LOT == 0)
            client_gets_word(&b.c, S_MAIN_AGENT_TOKEN, LOT);
        else
            EXPECT(client_silent(&b.c, i < LOT ? 5 : 0));
    }
    agent_close(&b);
}

static void tokens_come_back_when_the_agent_takes(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    chardev_accept(&b.agent, 0);
    for (int i = 0; i < WINDOW; i++)
        client_says(&b.c, GRAB, NULL, 10);
    agent_settle(&b.c);
    for (int i = 0; i < 2; i++) {
        chardev_accept(&b.agent, LOT * (CHUNK + HEAD + 10) - 1);
        agent_settle(&b.c);
        chardev_accept(&b.agent, 1);
        client_gets_word(&b.c, S_MAIN_AGENT_TOKEN, LOT);
    }
    agent_close(&b);
}

static void more_than_the_window(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    chardev_accept(&b.agent, 0);
    for (int i = 0; i < WINDOW; i++)
        client_says(&b.c, GRAB, NULL, 10);
    agent_settle(&b.c);
    client_says(&b.c, GRAB, NULL, 10);
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    /* what it had said is gone, but for what the agent was about to take */
    EXPECT_EQ(spice_server_get_num_clients(b.r.server), 0);
    chardev_accept(&b.agent, CHARDEV_UNLIMITED);
    uint8_t *bytes = agent_message(GRAB, NULL, 10);
    agent_gets_chunk(&b, PORT_CLIENT, bytes, HEAD + 10);
    free(bytes);
    agent_gets_on(&b, PORT_SERVER, CLIENT_DISCONNECTED, "", 0);
    agent_got_nothing_more(&b);
    rig_main(&b.r, &b.c);
    agent_start(&b.c, ALL_TOKENS);
    client_says(&b.c, GRAB, NULL, 10);
    agent_gets(&b, GRAB, NULL, 10);
    agent_close(&b);
}

static void clients_tokens(void)
{
    struct agent_bench b;
    agent_open(&b);
    agent_start(&b.c, 2);
    agent_settle(&b.c);
    for (int i = 0; i < 6; i++)
        agent_says(&b, REPLY, &"abcdef"[i], 1);
    client_gets(&b.c, REPLY, "a", 1);
    client_gets(&b.c, REPLY, "b", 1);
    agent_settle(&b.c);
    EXPECT(chardev_unread(&b.agent) > 3 * (CHUNK + HEAD + 1));
    EXPECT(client_send(&b.c, C_MAIN_AGENT_TOKEN, "\1\0\0\0", 4));
    client_gets(&b.c, REPLY, "c", 1);
    /* AGENT_START once more sets them */
    agent_start(&b.c, 0);
    agent_settle(&b.c);
    agent_start(&b.c, 1);
    client_gets(&b.c, REPLY, "d", 1);
    agent_settle(&b.c);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_TOKEN, "\2\0\0\0", 4));
    client_gets(&b.c, REPLY, "e", 1);
    client_gets(&b.c, REPLY, "f", 1);
    agent_close(&b);
}

/* ---- switches ---- */

static const uint32_t clipboard_types[] = { CLIPBOARD, GRAB, REQUEST, RELEASE };
static const uint32_t file_types[] = { FILE_START, FILE_DATA, FILE_STATUS };
/** In FILE_STATUS. */
enum { FILE_ERROR = 2 };

/** What our library says to a side that has asked for what is switched off. */
static bool answered(uint32_t type, bool client)
{
    return differs(DIFF_ANSWERS, 1, 0) &&
           (type == CLIPBOARD || type == REQUEST || (client && type == FILE_START));
}

/** Clipboard without data, of no type to the client, or the failure of file 7. */
static size_t answer(uint32_t type, bool client, uint8_t *body)
{
    uint8_t *p = put32(body, client && type != FILE_START ? 0 : 7);
    return (size_t)((type == FILE_START ? put32(p, FILE_ERROR) : p) - body);
}

/** One message of each type both ways; they pass, or are answered if somebody waits. */
static void exchange(struct agent_bench *b, const uint32_t *types, size_t n, bool passes)
{
    static const uint8_t body[40] = { 7 };
    uint8_t reply[8];
    for (size_t i = 0; i < n; i++) {
        uint32_t type = types[i];
        uint32_t answer_type = type == FILE_START ? FILE_STATUS : CLIPBOARD;
        bool to_client = type != CLIPBOARD;
        size_t length = answer(type, to_client, reply);
        client_says(&b->c, type, body, sizeof body);
        if (passes)
            agent_gets(b, type, body, sizeof body);
        else if (type == CLIPBOARD && answered(type, false))
            agent_gets(b, CLIPBOARD, reply, length);
        else if (type != CLIPBOARD && answered(type, true))
            client_gets(&b->c, answer_type, reply, length);
        length = answer(type, !to_client, reply);
        agent_says(b, type, body, sizeof body);
        if (passes)
            client_gets(&b->c, type, body, sizeof body);
        else if (type == CLIPBOARD && answered(type, true))
            client_gets(&b->c, CLIPBOARD, reply, length);
        else if (type != CLIPBOARD && answered(type, false))
            agent_gets(b, CLIPBOARD, reply, length);
    }
    client_says(&b->c, REPLY, "end", 3);
    agent_gets(b, REPLY, "end", 3);
    agent_says(b, REPLY, "end", 3);
    client_gets(&b->c, REPLY, "end", 3);
}

static void copy_paste_switched(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    for (int i = 0; i < 3; i++) {
        exchange(&b, clipboard_types, TAP_COUNT(clipboard_types), true);
        EXPECT_EQ(spice_server_set_agent_copypaste(b.r.server, 0), 0);
        exchange(&b, clipboard_types, TAP_COUNT(clipboard_types), false);
        exchange(&b, file_types, TAP_COUNT(file_types), true);
        EXPECT_EQ(spice_server_set_agent_copypaste(b.r.server, 1), 0);
    }
    agent_close(&b);
}

static void file_transfer_switched(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    for (int i = 0; i < 3; i++) {
        exchange(&b, file_types, TAP_COUNT(file_types), true);
        EXPECT_EQ(spice_server_set_agent_file_xfer(b.r.server, 0), 0);
        exchange(&b, file_types, TAP_COUNT(file_types), false);
        exchange(&b, clipboard_types, TAP_COUNT(clipboard_types), true);
        EXPECT_EQ(spice_server_set_agent_file_xfer(b.r.server, 1), 0);
    }
    agent_close(&b);
}

/* Messages are not cut by a switch. */
static void switched_in_the_middle(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(GRAB, NULL, 100);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, 50));
    agent_gets_chunk(&b, PORT_CLIENT, bytes, 50);
    agent_say_chunk(&b, PORT_CLIENT, bytes, 70);
    client_gets_bytes(&b.c, bytes, 70);
    spice_server_set_agent_copypaste(b.r.server, 0);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + 50, 70));
    agent_gets_chunk(&b, PORT_CLIENT, bytes + 50, 70);
    agent_say_chunk(&b, PORT_CLIENT, bytes + 70, 50);
    client_gets_bytes(&b.c, bytes + 70, 50);
    /* and those that began while it was off stay off */
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, 50));
    agent_say_chunk(&b, PORT_CLIENT, bytes, 70);
    agent_settle(&b.c);
    spice_server_set_agent_copypaste(b.r.server, 1);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + 50, 70));
    agent_say_chunk(&b, PORT_CLIENT, bytes + 70, 50);
    agent_settle(&b.c);
    agent_got_nothing_more(&b);
    exchange(&b, clipboard_types, TAP_COUNT(clipboard_types), true);
    free(bytes);
    agent_close(&b);
}

static void capabilities_are_adjusted(void)
{
    struct agent_bench b;
    uint8_t body[12], expected[12];
    agent_open_talking(&b);
    for (int copy_paste = 0; copy_paste < 2; copy_paste++)
        for (int files = 0; files < 2; files++) {
            spice_server_set_agent_copypaste(b.r.server, copy_paste);
            spice_server_set_agent_file_xfer(b.r.server, files);
            put32(put32(put32(body, 1), 0xffff5fff), 0xffffffff);
            memcpy(expected, body, sizeof body);
            put32(expected + 4,
                  (0xffff5fff & ~(copy_paste ? 0 : 0x68u)) | (files ? 0 : 0x2000u));
            agent_says(&b, ANNOUNCE, body, sizeof body);
            client_gets(&b.c, ANNOUNCE, expected, sizeof expected);
            /* the client's are its own business */
            client_says(&b.c, ANNOUNCE, body, sizeof body);
            agent_gets(&b, ANNOUNCE, body, sizeof body);
        }
    agent_close(&b);
}

/* The reference looks at each piece as if it began a message. */
static void capabilities_in_pieces(void)
{
    struct agent_bench b;
    uint8_t body[12];
    agent_open_talking(&b);
    put32(put32(put32(body, 0), 0xffffffff), 0xffffffff);
    uint8_t *bytes = agent_message(ANNOUNCE, body, sizeof body);
    spice_server_set_agent_copypaste(b.r.server, 0);
    for (size_t first = HEAD; first < HEAD + sizeof body; first++) {
        agent_queue_chunk(&b, PORT_CLIENT, bytes, first);
        for (size_t at = first; at < HEAD + sizeof body; at++)
            agent_queue_chunk(&b, PORT_CLIENT, bytes + at, 1);
        chardev_pump(&b.agent);
        put32(body + 4, 0xffffffff & ~0x68u);
        client_gets(&b.c, ANNOUNCE, body, sizeof body);
    }
    /* announcements that end too early */
    for (size_t size = 0; size < 8; size++) {
        memset(body, 0, sizeof body);
        agent_says(&b, ANNOUNCE, body, size);
        client_gets(&b.c, ANNOUNCE, body, size);
    }
    free(bytes);
    agent_close(&b);
}

/* ---- broken messages ---- */

/** What is said ends the client, and the next one finds everything in order. */
static void client_is_cut(struct agent_bench *b, const void *first, size_t n, const void *second,
                          size_t m)
{
    EXPECT(client_send(&b->c, C_MAIN_AGENT_DATA, first, (uint32_t)n));
    if (second)
        EXPECT(client_send(&b->c, C_MAIN_AGENT_DATA, second, (uint32_t)m));
    EXPECT(client_closed(&b->c));
    client_close(&b->c);
    if (second)
        agent_gets_chunk(b, PORT_CLIENT, first, n);
    agent_gets_on(b, PORT_SERVER, CLIENT_DISCONNECTED, "", 0);
    agent_got_nothing_more(b);
    rig_main(&b->r, &b->c);
    agent_start(&b->c, ALL_TOKENS);
    client_says(&b->c, GRAB, "next", 4);
    agent_gets(b, GRAB, "next", 4);
}

static void broken_messages_of_the_client(void)
{
    struct agent_bench b;
    static uint8_t long_piece[PIECE + 1];
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(GRAB, NULL, 100);
    client_is_cut(&b, bytes, HEAD - 1, NULL, 0);
    client_is_cut(&b, bytes, 1, NULL, 0);
    client_is_cut(&b, bytes, HEAD + 101, NULL, 0);
    client_is_cut(&b, bytes, HEAD + 50, bytes, 51);
    memcpy(long_piece, bytes, HEAD);
    put32(long_piece + 16, 5000);
    client_is_cut(&b, long_piece, PIECE + 1, NULL, 0);
    for (uint32_t protocol = 0; protocol < 4; protocol += 2) {
        put32(bytes, protocol);
        client_is_cut(&b, bytes, HEAD + 100, NULL, 0);
    }
    free(bytes);
    agent_close(&b);
}

/** What the agent says detaches it; the client stays. */
static void agent_is_detached(struct agent_bench *b, uint32_t port, const void *data, size_t n)
{
    agent_say_chunk(b, port, data, n);
    client_gets_word(&b->c, S_MAIN_AGENT_DISCONNECTED, 0);
    EXPECT_EQ(b->agent.n_states, 2);
    EXPECT_EQ(b->agent.states[1], 0);
    /* it is still there for the host, and nothing flows */
    int reads = b->agent.reads, writes = b->agent.writes;
    agent_says(b, REPLY, "body", 4);
    spice_server_vm_stop(b->r.server);
    spice_server_vm_start(b->r.server);
    agent_start(&b->c, ALL_TOKENS);
    for (int i = 0; i < 2 * WINDOW; i++)
        client_says(&b->c, GRAB, "grab", 4);
    agent_settle(&b->c);
    EXPECT_EQ(b->agent.reads, reads);
    EXPECT_EQ(b->agent.writes, writes);
    EXPECT_EQ(spice_server_remove_interface(&b->agent.sin.base),
              differs(DIFF_REMOVE_DETACHED, 0, -1));
    b->agent.added = false;
    chardev_forget(&b->agent);
    EXPECT_EQ(b->agent.n_states, 2);
    agent_add(b);
    client_gets_word(&b->c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_start(&b->c, ALL_TOKENS);
    agent_settle(&b->c);
    exchange(b, clipboard_types, TAP_COUNT(clipboard_types), true);
}

static void broken_messages_of_the_agent(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(GRAB, NULL, 100);
    agent_is_detached(&b, PORT_CLIENT, bytes, HEAD - 1);
    agent_is_detached(&b, PORT_CLIENT, bytes, HEAD + 101);
    agent_is_detached(&b, 0, bytes, HEAD + 100);
    agent_is_detached(&b, 3, bytes, HEAD + 100);
    put32(bytes, 2);
    agent_is_detached(&b, PORT_CLIENT, bytes, HEAD + 100);
    free(bytes);
    agent_close(&b);
}

/* ---- clients come and go ---- */

static void without_a_client(void)
{
    struct agent_bench b = { 0 };
    rig_open(&b.r);
    agent_add(&b);
    for (int i = 0; i < 100; i++)
        agent_says(&b, REPLY, NULL, 5000);
    chardev_pump(&b.agent);
    EXPECT_EQ(chardev_unread(&b.agent), 0);
    /* half a message, whose rest is for nobody either */
    uint8_t *bytes = agent_message(REPLY, NULL, 100);
    agent_say_chunk(&b, PORT_CLIENT, bytes, 50);
    rig_main(&b.r, &b.c);
    agent_start(&b.c, ALL_TOKENS);
    agent_settle(&b.c);
    agent_say_chunk(&b, PORT_CLIENT, bytes + 50, 70);
    agent_says(&b, REPLY, "whole", 5);
    client_gets(&b.c, REPLY, "whole", 5);
    free(bytes);
    agent_close(&b);
}

/* It is connected before the message, and begins with the agent inside it. The reference
 * gives it the rest. */
static void starts_in_the_middle(void)
{
    struct agent_bench b;
    agent_open(&b);
    uint8_t *bytes = agent_message(REPLY, NULL, 3000);
    agent_say_chunk(&b, PORT_CLIENT, bytes, 50);
    agent_start(&b.c, ALL_TOKENS);
    agent_settle(&b.c);
    agent_say_chunk(&b, PORT_CLIENT, bytes + 50, HEAD + 3000 - 50);
    agent_says(&b, REPLY, "whole", 5);
    client_gets(&b.c, REPLY, "whole", 5);
    free(bytes);
    agent_close(&b);
}

static void leaves_in_the_middle(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    uint8_t *bytes = agent_message(GRAB, NULL, 5000);
    for (int take_over = 0; take_over < 2; take_over++) {
        struct client old = b.c;
        EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, PIECE));
        agent_gets_chunk(&b, PORT_CLIENT, bytes, PIECE);
        /* and in the middle of the agent's message */
        agent_say_chunk(&b, PORT_CLIENT, bytes, 3000);
        client_gets_bytes(&b.c, bytes, 3000);
        if (!take_over)
            client_close(&b.c);
        rig_main(&b.r, &b.c);
        agent_gets_on(&b, PORT_SERVER, CLIENT_DISCONNECTED, "", 0);
        if (take_over) {
            EXPECT(client_closed(&old));
            client_close(&old);
        }
        agent_start(&b.c, ALL_TOKENS);
        agent_settle(&b.c);
        agent_say_chunk(&b, PORT_CLIENT, bytes + 3000, HEAD + 2000);
        exchange(&b, clipboard_types, TAP_COUNT(clipboard_types), true);
    }
    free(bytes);
    agent_close(&b);
}

static bool nobody_is_there(void *opaque)
{
    return spice_server_get_num_clients(opaque) == 0;
}

static void agent_is_told_of_the_end(void)
{
    struct agent_bench b;
    agent_open(&b);
    for (int i = 0; i < 3; i++) {
        client_close(&b.c);
        EXPECT(host_run_until(nobody_is_there, b.r.server, HOST_DEADLINE_MS));
        agent_gets_on(&b, PORT_SERVER, CLIENT_DISCONNECTED, "", 0);
        rig_main(&b.r, &b.c);
        if (i)
            agent_start(&b.c, ALL_TOKENS);
        agent_settle(&b.c);
    }
    agent_got_nothing_more(&b);
    agent_close(&b);
}

/* Newer QEMU destroys the server first. */
static void server_goes_first(void)
{
    struct agent_bench b;
    agent_open_talking(&b);
    chardev_accept(&b.agent, 5);
    client_says(&b.c, GRAB, NULL, 100);
    agent_settle(&b.c);
    b.r.open_clients = 1;
    rig_close(&b.r);
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    int calls = b.agent.reads + b.agent.writes + b.agent.n_states;
    spice_server_char_device_wakeup(&b.agent.sin);
    EXPECT_EQ(spice_server_remove_interface(&b.agent.sin.base), -1);
    EXPECT_EQ(b.agent.reads + b.agent.writes + b.agent.n_states, calls);
    chardev_forget(&b.agent);
}

/* Everything may happen inside the device's functions. */
static struct agent_bench *inside;

static void remove_inside(struct chardev *d)
{
    if (d->added) {
        d->added = false;
        EXPECT_EQ(spice_server_remove_interface(&d->sin.base), 0);
    }
}

static void add_again_inside(struct chardev *d)
{
    d->in_read = NULL;
    remove_inside(d);
    EXPECT_EQ(chardev_add(d, inside->r.server), 0);
}

static void remove_in_state(struct chardev *d, int connected)
{
    /* its number is in place, but the call has not returned */
    if (connected && d->sin.st) {
        d->added = true;
        remove_inside(d);
    }
}

static void removed_inside_its_functions(void)
{
    struct agent_bench b;
    inside = &b;
    agent_open_talking(&b);
    b.agent.in_read = remove_inside;
    agent_says(&b, REPLY, "body", 4);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    chardev_forget(&b.agent);
    agent_add(&b);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_start(&b.c, ALL_TOKENS);
    agent_settle(&b.c);
    b.agent.in_write = remove_inside;
    client_says(&b.c, GRAB, "grab", 4);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    chardev_forget(&b.agent);
    /* what the old one was reading is not the new one's */
    agent_add(&b);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_start(&b.c, ALL_TOKENS);
    agent_settle(&b.c);
    b.agent.in_read = add_again_inside;
    chardev_say(&b.agent, "\1\0\0", 3);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_says(&b, REPLY, "body", 4);
    client_gets(&b.c, REPLY, "body", 4);
    chardev_remove(&b.agent);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    chardev_prepare(&b.agent, "vdagent", NULL);
    b.agent.in_state = remove_in_state;
    EXPECT_EQ(chardev_add(&b.agent, b.r.server), 0);
    client_gets_word(&b.c, S_MAIN_AGENT_DISCONNECTED, 0);
    b.agent.in_state = NULL;
    b.agent.added = false;
    agent_settle(&b.c);
    chardev_forget(&b.agent);
    agent_add(&b);
    client_gets_word(&b.c, S_MAIN_AGENT_CONNECTED_TOKENS, WINDOW);
    agent_close(&b);
}

/* What each hears, and whose message passes when two speak at a time. */
static void several_clients(void)
{
    struct agent_bench b = { 0 };
    struct client second;
    EXPECT_EQ(setenv("SPICE_DEBUG_ALLOW_MC", "1", 1), 0);
    rig_open(&b.r);
    agent_add(&b);
    rig_main(&b.r, &b.c);
    rig_main(&b.r, &second);
    agent_start(&b.c, ALL_TOKENS);
    agent_start(&second, ALL_TOKENS);
    agent_settle(&b.c);
    agent_settle(&second);
    agent_says(&b, REPLY, NULL, 3000);
    client_gets(&b.c, REPLY, NULL, 3000);
    client_gets(&second, REPLY, NULL, 3000);
    client_says(&b.c, GRAB, "1", 1);
    agent_gets(&b, GRAB, "1", 1);
    client_says(&second, GRAB, "2", 1);
    agent_gets(&b, GRAB, "2", 1);
    uint8_t *bytes = agent_message(GRAB, NULL, 100);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes, 50));
    agent_gets_chunk(&b, PORT_CLIENT, bytes, 50);
    client_says(&second, GRAB, NULL, 3000);
    agent_settle(&second);
    EXPECT(client_send(&b.c, C_MAIN_AGENT_DATA, bytes + 50, 70));
    agent_gets_chunk(&b, PORT_CLIENT, bytes + 50, 70);
    client_says(&second, GRAB, "3", 1);
    agent_gets(&b, GRAB, "3", 1);
    /* one leaves in the middle */
    EXPECT(client_send(&second, C_MAIN_AGENT_DATA, bytes, 50));
    agent_gets_chunk(&b, PORT_CLIENT, bytes, 50);
    client_close(&second);
    agent_gets_on(&b, PORT_SERVER, CLIENT_DISCONNECTED, "", 0);
    client_says(&b.c, GRAB, "4", 1);
    agent_gets(&b, GRAB, "4", 1);
    free(bytes);
    agent_close(&b);
    unsetenv("SPICE_DEBUG_ALLOW_MC");
}

/* A slow client's messages wait while another one takes them; then it is cut. */
static void one_of_several_without_tokens(void)
{
    struct agent_bench b = { 0 };
    struct client second;
    EXPECT_EQ(setenv("SPICE_DEBUG_ALLOW_MC", "1", 1), 0);
    rig_open(&b.r);
    agent_add(&b);
    rig_main(&b.r, &b.c);
    rig_main(&b.r, &second);
    agent_start(&b.c, ALL_TOKENS);
    agent_start(&second, 0);
    agent_settle(&b.c);
    agent_settle(&second);
    for (int i = 0; i < 5; i++) {
        agent_says(&b, REPLY, "body", 4);
        client_gets(&b.c, REPLY, "body", 4);
    }
    EXPECT(client_send(&second, C_MAIN_AGENT_TOKEN, "\5\0\0\0", 4));
    for (int i = 0; i < 5; i++)
        client_gets(&second, REPLY, "body", 4);
    for (int i = 0; i < 6; i++) {
        agent_says(&b, REPLY, "body", 4);
        client_gets(&b.c, REPLY, "body", 4);
    }
    EXPECT(client_closed(&second));
    client_close(&second);
    agent_close(&b);
    unsetenv("SPICE_DEBUG_ALLOW_MC");
}

static const struct tap_case cases[] = {
    TAP_CASE(agent_in_init),
    TAP_CASE(comes_and_goes),
    TAP_CASE(clients_without_the_capability),
    TAP_CASE(second_agent_is_not_served),
    TAP_CASE(talk_goes_on_with_the_next_agent),
    TAP_CASE(agent_goes_in_the_middle),
    TAP_CASE(messages_of_all_sizes),
    TAP_CASE(pieces_of_a_chunk),
    TAP_CASE(any_split),
    TAP_CASE(empty_chunks),
    TAP_CASE(chunks_of_the_client),
    TAP_CASE(device_calls_back),
    TAP_CASE(read_fails),
    TAP_CASE(data_wait_while_the_vm_stands_still),
    TAP_CASE(slow_client),
    TAP_CASE(data_before_start),
    TAP_CASE(token_before_start),
    TAP_CASE(data_without_an_agent),
    TAP_CASE(tokens_come_back),
    TAP_CASE(tokens_come_back_when_the_agent_takes),
    TAP_CASE(more_than_the_window),
    TAP_CASE(clients_tokens),
    TAP_CASE(copy_paste_switched),
    TAP_CASE(file_transfer_switched),
    TAP_CASE(switched_in_the_middle),
    TAP_CASE(capabilities_are_adjusted),
    TAP_CASE(capabilities_in_pieces),
    TAP_CASE(broken_messages_of_the_client),
    TAP_CASE(broken_messages_of_the_agent),
    TAP_CASE(without_a_client),
    TAP_CASE(starts_in_the_middle),
    TAP_CASE(leaves_in_the_middle),
    TAP_CASE(agent_is_told_of_the_end),
    TAP_CASE(server_goes_first),
    TAP_CASE(removed_inside_its_functions),
    TAP_CASE(several_clients),
    TAP_CASE(one_of_several_without_tokens),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "agent", cases, TAP_COUNT(cases));
}
