/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a channel's client takes along to another host, and what a host makes of it. Each
 * case plays one of the two hosts' counterpart: the client, which carries the body of
 * MIGRATE_DATA and can look at it or write it. */
#define _GNU_SOURCE
#include "differences.h"
#include "mover.h"

#include <stdlib.h>

enum {
    MNMD = 65,
    SCMD = 42,
    DCMD = 80,
    SIDE = 64,
    D_INIT = 101,
    D_INVAL_ALL_PIXMAPS = 106,
    D_INVAL_ALL_PALETTES = 108,
    D_SURFACE_CREATE = 314,
    D_DRAW_COPY = 304,
    VSC_DATA = 101,
    VSC_READER_ADD = 3,
    VSC_ATR = 5,
    VSC_HEADER = 12,
};

static void data_that_the_device_has_not_taken(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[64], *p = rest;
    mover_open_port(&b);
    b.device.accept = 2;
    EXPECT(client_send(&b.c, VMC_DATA, "abc", 3));
    EXPECT(client_send(&b.c, VMC_DATA, "defg", 4));
    EXPECT(chardev_wait_input(&b.device, 2));
    mover_begin(&b);
    mover_take_along(&b.c, &m);
    p = put_block(p, UINT32_MAX, UINT32_MAX, 5, 0, SVMD);
    memcpy(p, "cdefg", 5);
    expect_moved(&m, "SVMD", rest, BLOCK + 5);
    message_free(&m);
    client_close(&b.c);
    mover_close_source(&b);
}

static void nothing_waits(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[64];
    mover_open_port(&b);
    mover_begin(&b);
    mover_take_along(&b.c, &m);
    put_block(rest, UINT32_MAX, UINT32_MAX, 0, 0, 0);
    expect_moved(&m, "SVMD", rest, BLOCK);
    message_free(&m);
    client_close(&b.c);
    mover_close_source(&b);
}

static void movements_are_counted(void)
{
    struct mover b;
    struct message m;
    uint8_t motion[10] = { 0 };
    mover_open_source(&b, NULL, NULL);
    b.a.session = mover_link_main(&b, 0);
    rig_channel(&b.a.r, &b.c, CH_INPUTS, 0, b.a.session);
    for (int i = 0; i < 6; i++)
        EXPECT(client_send(&b.c, C_INPUTS_MOTION, motion, sizeof motion));
    mover_find(&b.c, S_INPUTS_MOTION_ACK, &m);
    message_free(&m);
    mover_begin(&b);
    mover_find(&b.c, S_MIGRATE, &m);
    message_free(&m);
    for (int i = 0; i < 5; i++)
        EXPECT(client_send(&b.c, C_INPUTS_MOTION, motion, sizeof motion));
    EXPECT(client_send(&b.c, C_FLUSH_MARK, NULL, 0));
    client_expect(&b.c, S_MIGRATE_DATA, &m);
    expect_moved(&m, "ICMD", "\x07\0", 2);
    message_free(&m);
    client_close(&b.c);
    mover_close_source(&b);
}

/** A source with an agent that talks with the client. */
static void open_agent_source(struct mover *b)
{
    mover_open_server(b);
    agent_add(&b->a);
    spice_server_vm_start(b->a.r.server);
    b->a.session = mover_link_main(b, 0);
    agent_start(&b->a.c, 7);
    agent_settle(&b->a.c);
}

static void an_agent_cut_in_a_head(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[128], *p = rest, header[CHUNK];
    uint8_t *said = agent_message(CLIPBOARD, "hello", 5);
    open_agent_source(&b);
    put32(put32(header, PORT_CLIENT), HEAD + 5);
    chardev_queue(&b.a.agent, header, CHUNK);
    chardev_say(&b.a.agent, said, 7);
    mover_begin(&b);
    mover_take_along(&b.a.c, &m);
    p = put8(put_block(p, WINDOW, 7, 0, 0, 0), 1);
    /* So much is left of the chunk: behind the piece, or in truth. */
    uint32_t left = (uint32_t)differs(DIFF_BEGUN_HEAD, HEAD + 5 - 7, 0);
    p = put32(put32(put32(p, CHUNK), PORT_CLIENT), left);
    p = put32(put32(put8(p, 0), 7), MNMD);
    p = put8(put32(put8(put32(p, 0), 0), 0), 0);
    size_t shift = (size_t)differs(DIFF_BEGUN_HEAD, 2, 0);
    memset(p, 0, shift);
    memcpy(p + shift, said, 7);
    expect_moved(&m, "MNMD", rest, MNMD - 8 + shift + 7);
    message_free(&m);
    free(said);
    mover_close_source(&b);
}

static void an_agent_cut_in_a_body(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[128], *p = rest, header[CHUNK];
    uint8_t *said = agent_message(CLIPBOARD, "hello", 5);
    open_agent_source(&b);
    put32(put32(header, PORT_CLIENT), HEAD + 5);
    chardev_queue(&b.a.agent, header, CHUNK);
    chardev_say(&b.a.agent, said, HEAD + 2);
    mover_begin(&b);
    client_gets_bytes(&b.a.c, said, HEAD + 2);
    mover_take_along(&b.a.c, &m);
    p = put8(put_block(p, WINDOW, (uint32_t)differs(DIFF_LAST_PIECE, 6, 7), 0, 0, 0), 1);
    p = put32(put32(put32(p, CHUNK), PORT_CLIENT), 3);
    p = put32(put32(put8(p, 1), 0), 0);
    put8(put32(put8(put32(p, 3), 0), 0), 0);
    expect_moved(&m, "MNMD", rest, MNMD - 8);
    message_free(&m);
    free(said);
    mover_close_source(&b);
}

static void a_client_cut_in_a_message(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[128], *p = rest;
    uint8_t *said = agent_message(CLIPBOARD, "hello", 5);
    open_agent_source(&b);
    b.a.agent.accept = 3;
    EXPECT(client_send(&b.a.c, C_MAIN_AGENT_DATA, said, HEAD + 1));
    EXPECT(chardev_wait_input(&b.a.agent, 3));
    mover_begin(&b);
    mover_take_along(&b.a.c, &m);
    p = put8(put_block(p, WINDOW - 1, 7, CHUNK + HEAD + 1 - 3, 1, MNMD), 1);
    p = put64(put32(p, 0), 0);
    p = put32(put32(put8(p, 0), 0), 0);
    p = put8(put32(put8(put32(p, 0), 0), 4), 0);
    p = put32(put8(p, 0), HEAD + 1); /* the rest of the chunk's header */
    memcpy(p, said, HEAD + 1);
    expect_moved(&m, "MNMD", rest, MNMD - 8 + 5 + HEAD + 1);
    message_free(&m);
    free(said);
    mover_close_source(&b);
}

/** The screen's client has seen it. */
static void open_display_source(struct mover *b)
{
    struct message m;
    uint8_t init[14];
    mover_open_server(b);
    EXPECT_EQ(spice_server_set_streaming_video(b->a.r.server, SPICE_STREAM_VIDEO_OFF), 0);
    qxl_prepare(&b->q, 0);
    qxl_add(&b->q, b->a.r.server);
    qxl_create_primary(&b->q, SIDE, SIDE);
    spice_server_vm_start(b->a.r.server);
    b->a.session = mover_link_main(b, 0);
    rig_channel(&b->a.r, &b->c, CH_DISPLAY, 0, b->a.session);
    b->c.acknowledges = true;
    put32(put8(put64(put8(init, 3), 1000), 4), 500);
    EXPECT(client_send(&b->c, D_INIT, init, sizeof init));
    mover_find(&b->c, D_SURFACE_CREATE, &m);
    message_free(&m);
}

static void a_screen(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[128], *p = rest;
    open_display_source(&b);
    mover_begin(&b);
    mover_take_along(&b.c, &m);
    EXPECT_EQ(m.size, DCMD + 8);
    p = put8(put64(p, get64(m.body + 8)), 0);
    p = put8(put64(put8(p, 3), 1000), 1);
    for (int i = 0; i < 4; i++)
        p = put64(p, get64(m.body + 27 + 8 * i)); /* who has used the cache */
    p = put32(put32(put8(p, 4), 500), 4);
    p = put64(p, get64(m.body + 68)); /* the last image of the dictionary */
    put32(put32(put32(p, DCMD), 1), 0);
    expect_moved(&m, "DCMD", rest, DCMD - 8 + 8);
    EXPECT(get64(m.body + 8) > 0);
    message_free(&m);
    client_close(&b.c);
    client_close(&b.a.c);
    mover_ended(&b);
    qxl_remove(&b.q);
    spice_server_remove_interface(&b.m.sin.base);
    rig_close(&b.a.r);
}

static uint8_t *put_be(uint8_t *p, uint32_t v)
{
    return put32(p, __builtin_bswap32(v));
}

static void a_card_cut_in_a_message(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[128], *p = rest, said[5], add[VSC_HEADER + 2];
    mover_open_source(&b, "smartcard", NULL);
    b.a.session = mover_link_main(&b, 0);
    b.device.accept = 4;
    rig_channel(&b.a.r, &b.c, CH_SMARTCARD, 0, b.a.session);
    put16(put32(put32(put32(add, VSC_READER_ADD), UINT32_MAX), 2), 0);
    EXPECT(client_send(&b.c, VSC_DATA, add, sizeof add));
    EXPECT(chardev_wait_input(&b.device, 4));
    put8(put_be(said, VSC_ATR), 0);
    chardev_say(&b.device, said, sizeof said);
    mover_begin(&b);
    mover_take_along(&b.c, &m);
    /* Without flow control it does not matter whose tokens the bytes cost. */
    p = put_block(p, UINT32_MAX, UINT32_MAX, VSC_HEADER - 4, get32(m.body + 8 + 17), SCMD);
    p = put32(put32(put8(p, 1), sizeof said), SCMD + VSC_HEADER - 4);
    p = put_be(put_be(p, 0), 0);
    memcpy(p, said, sizeof said);
    expect_moved(&m, "SCMD", rest, SCMD - 8 + VSC_HEADER - 4 + sizeof said);
    message_free(&m);
    client_close(&b.c);
    mover_close_source(&b);
}

/** More than the device's queue takes, and what was on its way when the client was told. */
static void a_full_queue(void)
{
    enum { MESSAGES = 400, LENGTH = 10000 };
    struct mover b;
    struct message m;
    uint8_t *data = malloc(MESSAGES * LENGTH);
    chardev_fill(data, MESSAGES * LENGTH, 0);
    mover_open_port(&b);
    b.device.accept = 5;
    uint8_t *bytes = malloc(MESSAGES * (6 + LENGTH)), *end = bytes;
    for (int i = 0; i < MESSAGES; i++) {
        end = put32(put16(end, VMC_DATA), LENGTH);
        memcpy(end, data + i * LENGTH, LENGTH);
        end += LENGTH;
    }
    size_t sent = client_write_some(&b.c, bytes, (size_t)(end - bytes), 200);
    EXPECT_MSG(sent > 300000 && sent < (size_t)(end - bytes), "%zu bytes were taken", sent);
    mover_begin(&b);
    EXPECT(client_write(&b.c, bytes + sent, (size_t)(end - bytes) - sent));
    mover_take_along(&b.c, &m);
    EXPECT_EQ(m.size, SVMD + MESSAGES * LENGTH - 5);
    EXPECT_EQ(get32(m.body + 8 + 13), MESSAGES * LENGTH - 5);
    EXPECT(!memcmp(m.body + SVMD, data + 5, MESSAGES * LENGTH - 5));
    message_free(&m);
    free(bytes);
    free(data);
    client_close(&b.c);
    mover_close_source(&b);
}

/** What comes behind MIGRATE belongs to what moves. */
static void words_behind_migrate(void)
{
    struct mover b;
    struct message m;
    mover_open_port(&b);
    b.device.accept = 0;
    EXPECT(client_send(&b.c, VMC_DATA, "abc", 3));
    mover_begin(&b);
    mover_find(&b.c, S_MIGRATE, &m);
    message_free(&m);
    EXPECT(client_send(&b.c, VMC_DATA, "def", 3));
    /* 0.15.1 tells it, and spice-gtk takes that for the data */
    if (!reference_library())
        spice_server_port_event(&b.device.sin, 0);
    EXPECT(client_send(&b.c, C_FLUSH_MARK, NULL, 0));
    client_expect(&b.c, S_MIGRATE_DATA, &m);
    EXPECT(m.size == SVMD + 6 && !memcmp(m.body + SVMD, "abcdef", 6));
    message_free(&m);
    EXPECT_EQ(b.device.in_len, 0);
    client_close(&b.c);
    mover_close_source(&b);
}

/** No client is told of an agent that was not there. */
static void no_agent(void)
{
    struct mover b;
    struct message m;
    uint8_t rest[MNMD - 8] = { 1 };
    mover_open_source(&b, NULL, NULL);
    b.a.session = mover_link_main(&b, 0);
    mover_begin(&b);
    mover_take_along(&b.a.c, &m);
    expect_moved(&m, "MNMD", rest, sizeof rest);
    message_free(&m);
    mover_close_source(&b);
}

/** All tokens of the client are used up, and so are the server's. */
static void no_tokens_left(void)
{
    struct mover b;
    struct message m;
    uint8_t *said = agent_message(CLIPBOARD, "hello", 5);
    mover_open_server(&b);
    agent_add(&b.a);
    spice_server_vm_start(b.a.r.server);
    b.a.session = mover_link_main(&b, 0);
    agent_start(&b.a.c, 1);
    agent_settle(&b.a.c);
    b.a.agent.accept = 0;
    for (int i = 0; i < WINDOW; i++)
        EXPECT(client_send(&b.a.c, C_MAIN_AGENT_DATA, said, HEAD + 5));
    agent_settle(&b.a.c);
    agent_says(&b.a, CLIPBOARD, "first", 5);
    client_gets(&b.a.c, CLIPBOARD, "first", 5);
    agent_says(&b.a, CLIPBOARD, "second", 6);
    mover_begin(&b);
    mover_take_along(&b.a.c, &m);
    EXPECT_EQ(get32(m.body + 8 + 5), 0);
    EXPECT_EQ(get32(m.body + 8 + 9), 0);
    EXPECT_EQ(get32(m.body + 8 + 13), WINDOW * (CHUNK + HEAD + 5));
    EXPECT_EQ(get32(m.body + 8 + 17), WINDOW);
    EXPECT_EQ(m.size, MNMD + WINDOW * (CHUNK + HEAD + 5));
    message_free(&m);
    free(said);
    mover_close_source(&b);
}

/** Pointers have no data: the client goes at once. */
static void a_pointer(void)
{
    struct mover b;
    struct message m;
    mover_open_server(&b);
    qxl_prepare(&b.q, 0);
    qxl_add(&b.q, b.a.r.server);
    spice_server_vm_start(b.a.r.server);
    b.a.session = mover_link_main(&b, 0);
    rig_channel(&b.a.r, &b.c, CH_CURSOR, 0, b.a.session);
    b.c.acknowledges = true;
    mover_find(&b.c, S_CURSOR_INIT, &m);
    message_free(&m);
    mover_begin(&b);
    client_expect(&b.c, S_CURSOR_INVAL_ALL, &m);
    message_free(&m);
    client_expect(&b.c, S_MIGRATE, &m);
    EXPECT(m.size == 4 && get32(m.body) == 0);
    message_free(&m);
    client_close(&b.c);
    client_close(&b.a.c);
    mover_ended(&b);
    qxl_remove(&b.q);
    spice_server_remove_interface(&b.m.sin.base);
    rig_close(&b.a.r);
}

/* ---- target ---- */

static void a_device_gets_the_data(void)
{
    struct mover b;
    uint8_t body[64];
    mover_open_source(&b, "port", "org.example.0");
    b.device.keep_input = true;
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
    chardev_say(&b.device, "from the guest", 14);
    put_magic(body, "SVMD");
    memcpy(put_block(body + 8, UINT32_MAX, UINT32_MAX, 5, 0, SVMD), "cdefg", 5);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, SVMD + 5));
    EXPECT(client_send(&b.c, VMC_DATA, "hi", 2));
    EXPECT(chardev_wait_input(&b.device, 7));
    EXPECT(!memcmp(b.device.in, "cdefghi", 7));
    struct message m;
    client_expect(&b.c, S_PORT_INIT, &m);
    message_free(&m);
    client_expect(&b.c, VMC_DATA, &m);
    EXPECT(m.size == 14 && !memcmp(m.body, "from the guest", 14));
    message_free(&m);
    client_close(&b.c);
    mover_close_target(&b);
}

/** The client may be here before the host has loaded the VM whose device it is. */
static void a_device_waits_for_its_machine(void)
{
    struct mover b;
    uint8_t body[64];
    struct message m;
    mover_open_server(&b);
    chardev_prepare(&b.device, "port", "org.example.0");
    b.device.keep_input = true;
    EXPECT_EQ(chardev_add(&b.device, b.a.r.server), 0);
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
    client_expect(&b.c, S_PORT_INIT, &m);
    message_free(&m);
    put_magic(body, "SVMD");
    memcpy(put_block(body + 8, UINT32_MAX, UINT32_MAX, 5, 0, SVMD), "cdefg", 5);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, SVMD + 5));
    EXPECT(client_send(&b.c, VMC_DATA, "hi", 2));
    EXPECT(client_silent(&b.c, 50));
    EXPECT_EQ(b.device.in_len, (size_t)differs(DIFF_EARLY_MACHINE, 0, 7));
    spice_server_vm_start(b.a.r.server);
    EXPECT(chardev_wait_input(&b.device, 7));
    EXPECT(!memcmp(b.device.in, "cdefghi", 7));
    client_close(&b.c);
    mover_close_target(&b);
}

/** The agent comes before the state or behind it. */
static void agent_goes_on(bool agent_first)
{
    struct mover b;
    uint8_t body[256], *p;
    uint8_t *said = agent_message(CLIPBOARD, "hello", 5);
    mover_open_server(&b);
    spice_server_vm_start(b.a.r.server);
    mover_open_target(&b);
    if (agent_first)
        agent_add(&b.a);
    /* seven bytes of the head, in the form that this library writes */
    put_magic(body, "MNMD");
    p = put8(put_block(body + 8, WINDOW - 1, UINT32_MAX, 4, 1, MNMD), 1);
    p = put32(put32(put32(p, CHUNK), PORT_CLIENT), HEAD + 5 - 7);
    p = put32(put32(put8(p, 0), 7), MNMD + 4);
    p = put8(put32(put8(put32(p, 0), 0), 0), 0);
    memcpy(p, "rest", 4);
    memcpy(put16(p + 4, 0), said, 7);
    EXPECT(client_send(&b.a.c, C_MIGRATE_DATA, body, MNMD + 4 + 2 + 7));
    if (!agent_first) {
        struct message m;
        client_expect(&b.a.c, S_MAIN_MULTIMEDIA_TIME, &m);
        message_free(&m);
        host_drain();
        agent_add(&b.a);
    }
    b.a.agent.keep_input = true;
    chardev_say(&b.a.agent, said + 7, HEAD + 5 - 7);
    struct message m;
    mover_find(&b.a.c, S_MAIN_AGENT_DATA, &m);
    EXPECT(m.size == HEAD + 5 && !memcmp(m.body, said, m.size));
    message_free(&m);
    free(said);
    mover_close_target(&b);
}

static void an_agent_that_is_there_goes_on(void)
{
    agent_goes_on(true);
}

static void an_agent_that_comes_goes_on(void)
{
    agent_goes_on(false);
}

static void missed_acknowledgements_are_sent(void)
{
    struct mover b;
    struct message m;
    uint8_t body[16];
    mover_open_source(&b, NULL, NULL);
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_INPUTS, 0, b.a.session);
    put_magic(body, "ICMD");
    put16(body + 8, 9);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, 10));
    client_expect(&b.c, S_INPUTS_INIT, &m);
    message_free(&m);
    client_expect(&b.c, S_INPUTS_LOCKS, &m);
    message_free(&m);
    for (int i = 0; i < 2; i++) {
        client_expect(&b.c, S_INPUTS_MOTION_ACK, &m);
        message_free(&m);
    }
    EXPECT(client_silent(&b.c, 50));
    client_close(&b.c);
    mover_close_target(&b);
}

static void a_card_goes_on(void)
{
    struct mover b;
    struct message m;
    uint8_t body[128], *p, said[VSC_HEADER + 3];
    mover_open_source(&b, "smartcard", NULL);
    b.device.keep_input = true;
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_SMARTCARD, 0, b.a.session);
    memcpy(put_be(put_be(put_be(said, VSC_ATR), 0), 3), "atr", 3);
    put_magic(body, "SCMD");
    p = put_block(body + 8, UINT32_MAX, UINT32_MAX, 4, 1, SCMD);
    p = put32(put32(put8(p, 1), 5), SCMD + 4);
    memcpy(p, "rest", 4);
    memcpy(p + 4, said, 5);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, SCMD + 9));
    EXPECT(chardev_wait_input(&b.device, 4));
    EXPECT(!memcmp(b.device.in, "rest", 4));
    chardev_say(&b.device, said + 5, sizeof said - 5);
    client_expect(&b.c, VSC_DATA, &m);
    EXPECT(m.size == sizeof said && get32(m.body) == VSC_ATR && !memcmp(m.body + 12, "atr", 3));
    message_free(&m);
    client_close(&b.c);
    mover_close_target(&b);
}

/** The client has a screen, and hears of what changes on it. */
static void a_screen_goes_on(void)
{
    struct mover b;
    struct message m;
    uint8_t body[128], *p;
    mover_open_server(&b);
    EXPECT_EQ(spice_server_set_streaming_video(b.a.r.server, SPICE_STREAM_VIDEO_OFF), 0);
    qxl_prepare(&b.q, 0);
    qxl_add(&b.q, b.a.r.server);
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_DISPLAY, 0, b.a.session);
    b.c.acknowledges = true;
    qxl_create_primary(&b.q, SIDE, SIDE);
    put_magic(body, "DCMD");
    p = put8(put64(body + 8, 77), 0);
    p = put8(put64(put8(p, 3), 1000), 1);
    memset(p, 0, 32);
    p = put32(put32(put8(p + 32, 4), 500), 4);
    put32(put32(put32(put64(p, 0), DCMD), 1), 0);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, DCMD + 8));
    spice_server_vm_start(b.a.r.server);
    EXPECT(qxl_draw(&b.q, 0, 0, 8, 8));
    spice_qxl_wakeup(&b.q.sin);
    for (bool seen = false; !seen;) {
        EXPECT(client_next(&b.c, &m));
        EXPECT_MSG(m.type != D_SURFACE_CREATE, "the client has that surface");
        seen = m.type == D_DRAW_COPY;
        message_free(&m);
    }
    client_close(&b.c);
    client_close(&b.a.c);
    qxl_remove(&b.q);
    spice_server_remove_interface(&b.m.sin.base);
    rig_close(&b.a.r);
}

static size_t main_body(uint8_t *body, uint8_t is_connected_there)
{
    put_magic(body, "MNMD");
    memset(body + 8, 0, MNMD - 8);
    put8(put32(body + 8, 1), is_connected_there);
    if (is_connected_there)
        put8(put_block(body + 8, WINDOW, UINT32_MAX, 0, 0, 0), 1);
    return MNMD;
}

static void expect_types(struct client *c, const uint16_t *types, size_t n)
{
    struct message m;
    for (size_t i = 0; i < n;) {
        EXPECT_MSG(client_next(c, &m), "no message, expected %d", types[i]);
        if (m.type != S_MAIN_MULTIMEDIA_TIME && m.type != S_MAIN_MOUSE_MODE) {
            EXPECT_MSG(m.type == types[i], "message %d, expected %d", m.type, types[i]);
            i++;
        }
        message_free(&m);
    }
    EXPECT(client_send(c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    do
        EXPECT(client_next(c, &m));
    while (message_free(&m), m.type == S_MAIN_MULTIMEDIA_TIME);
    EXPECT_MSG(m.type == S_MAIN_CHANNELS_LIST, "message %d behind those expected", m.type);
}

/** What a client hears of the agent, depending on what was and what is. */
static void agents_that_come_and_go(void)
{
    const uint16_t both[] = { S_MAIN_AGENT_DISCONNECTED, S_MAIN_AGENT_CONNECTED_TOKENS };
    const struct {
        int connected, comes, goes, comes_again;
        const uint16_t *told;
        size_t n;
    } table[] = {
        { 1, 1, 0, 0, NULL, 0 },
        { 1, 1, 1, 0, both, 1 },
        { 1, 1, 1, 1, both, 2 },
        { 1, 0, 0, 0, NULL, 0 },
        { 0, 1, 0, 0, both + 1, 1 },
        { 0, 0, 0, 0, NULL, 0 },
    };
    for (size_t i = 0; i < TAP_COUNT(table); i++) {
        struct mover b;
        uint8_t body[MNMD];
        if (table[i].goes && !table[i].comes_again && reference_library())
            continue; /* ends the process */
        mover_open_server(&b);
        spice_server_vm_start(b.a.r.server);
        mover_open_target(&b);
        if (table[i].comes)
            agent_add(&b.a);
        if (table[i].goes)
            chardev_remove(&b.a.agent);
        if (table[i].comes_again)
            agent_add(&b.a);
        EXPECT(client_send(&b.a.c, C_MIGRATE_DATA, body, main_body(body, table[i].connected)));
        expect_types(&b.a.c, table[i].told, table[i].n);
        mover_close_target(&b);
    }
}

/** Where not everything may pass, what a client brings is not passed on unseen. */
static void words_that_nobody_has_looked_at(void)
{
    struct mover b;
    uint8_t body[MNMD + 64];
    const uint16_t anew[] = { S_MAIN_AGENT_DISCONNECTED, S_MAIN_AGENT_CONNECTED_TOKENS };
    uint8_t *file = agent_message(FILE_START, "evil", 4);
    for (int under_way = 0; under_way < 2; under_way++) {
        mover_open_server(&b);
        spice_server_set_agent_file_xfer(b.a.r.server, 0);
        spice_server_vm_start(b.a.r.server);
        mover_open_target(&b);
        agent_add(&b.a);
        b.a.agent.keep_input = true;
        main_body(body, 1);
        if (under_way) {
            put_block(body + 8, WINDOW - 1, UINT32_MAX, CHUNK + HEAD + 4, 1, MNMD);
            memcpy(put32(put32(body + MNMD, PORT_CLIENT), HEAD + 4), file, HEAD + 4);
        }
        EXPECT(client_send(&b.a.c, C_MIGRATE_DATA, body,
                           under_way ? MNMD + CHUNK + HEAD + 4 : MNMD));
        expect_types(&b.a.c, anew, under_way ? 2 : 0);
        if (under_way)
            agent_gets_on(&b.a, PORT_SERVER, CLIENT_DISCONNECTED, NULL, 0);
        client_says(&b.a.c, CLIPBOARD, "text", 4);
        if (under_way) {
            agent_got_nothing_more(&b.a);
            agent_start(&b.a.c, ALL_TOKENS);
            client_says(&b.a.c, CLIPBOARD, "text", 4);
        }
        agent_gets(&b.a, CLIPBOARD, "text", 4);
        mover_close_target(&b);
    }
    free(file);
}

/** Bodies that are not what they say: the channel ends, the server stays. */
static void bad_bodies(void)
{
    uint8_t good[SVMD + 5];
    put_magic(good, "SVMD");
    memcpy(put_block(good + 8, UINT32_MAX, UINT32_MAX, 5, 0, SVMD), "cdefg", 5);
    const struct {
        size_t at, length;
        uint32_t word;
    } table[] = {
        { 0, sizeof good, 0x444d4e4d },       { 4, sizeof good, 2 },
        { 8, sizeof good, 2 },                { 8 + 13, sizeof good, 6 },
        { 8 + 13, sizeof good, UINT32_MAX },  { 8 + 21, sizeof good, 34 },
        { 8 + 21, sizeof good, UINT32_MAX },  { 8 + 21, sizeof good, 0 },
        { 8 + 21, sizeof good, 8 },           { 0, 32, 0x444d5653 },
        { 0, 7, 0x444d5653 },                 { 0, sizeof good - 1, 0x444d5653 },
    };
    struct mover b;
    mover_open_source(&b, "port", "org.example.0");
    b.device.keep_input = true;
    mover_open_target(&b);
    for (size_t i = 0; i < TAP_COUNT(table); i++) {
        uint8_t body[sizeof good];
        memcpy(body, good, sizeof good);
        put32(body + table[i].at, table[i].word);
        rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
        EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, (uint32_t)table[i].length));
        EXPECT_MSG(client_closed(&b.c), "body %zu was taken", i);
        EXPECT(tap_log_lines("migration data refused") == (int)i + 1);
        client_close(&b.c);
    }
    EXPECT_EQ(b.device.in_len, 0);
    rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
    EXPECT(client_send(&b.c, VMC_DATA, "early", 5));
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, good, sizeof good));
    EXPECT(chardev_wait_input(&b.device, 5));
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, good, sizeof good));
    EXPECT(client_closed(&b.c));
    EXPECT_EQ(b.device.in_len, 5);
    client_close(&b.c);
    mover_close_target(&b);
}

/** The client keeps its pointer until there is another one. */
static void a_pointer_goes_on(void)
{
    struct mover b;
    struct message m;
    mover_open_server(&b);
    qxl_prepare(&b.q, 0);
    qxl_add(&b.q, b.a.r.server);
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_CURSOR, 0, b.a.session);
    client_expect(&b.c, S_SET_ACK, &m);
    message_free(&m);
    EXPECT(client_silent(&b.c, 50));
    qxl_create_primary(&b.q, SIDE, SIDE);
    spice_server_vm_start(b.a.r.server);
    const struct qxl_pointer pointer = { .width = 2, .height = 1, .data = "12345678", .size = 8 };
    EXPECT(qxl_shape(&b.q, &pointer, 3, 4, true));
    spice_qxl_wakeup(&b.q.sin);
    do
        EXPECT(client_next(&b.c, &m));
    while (message_free(&m), m.type == S_CURSOR_INVAL_ALL || m.type == S_CURSOR_RESET);
    EXPECT_EQ(m.type, S_CURSOR_SET);
    client_close(&b.c);
    client_close(&b.a.c);
    qxl_remove(&b.q);
    spice_server_remove_interface(&b.m.sin.base);
    rig_close(&b.a.r);
}

static const struct tap_case cases[] = {
    TAP_CASE(data_that_the_device_has_not_taken),
    TAP_CASE(nothing_waits),
    TAP_CASE(a_full_queue),
    TAP_CASE(words_behind_migrate),
    TAP_CASE(no_agent),
    TAP_CASE(no_tokens_left),
    TAP_CASE(movements_are_counted),
    TAP_CASE(an_agent_cut_in_a_head),
    TAP_CASE(an_agent_cut_in_a_body),
    TAP_CASE(a_client_cut_in_a_message),
    TAP_CASE(a_screen),
    TAP_CASE(a_pointer),
    TAP_CASE(a_card_cut_in_a_message),
    TAP_CASE(a_device_gets_the_data),
    TAP_CASE(a_device_waits_for_its_machine),
    TAP_CASE(an_agent_that_is_there_goes_on),
    TAP_CASE(an_agent_that_comes_goes_on),
    TAP_CASE(agents_that_come_and_go),
    TAP_CASE(words_that_nobody_has_looked_at),
    TAP_CASE(bad_bodies),
    TAP_CASE(a_card_goes_on),
    TAP_CASE(a_screen_goes_on),
    TAP_CASE(a_pointer_goes_on),
    TAP_CASE(missed_acknowledgements_are_sent),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "migration-data", cases, TAP_COUNT(cases));
}
