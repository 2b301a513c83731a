/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The main channel: what it says, what it hears, when it ends. */
#define _GNU_SOURCE
#include "chardev.h"
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <netinet/in.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static void expect_end(struct rig *r, struct client *c)
{
    EXPECT(client_closed(c));
    client_close(c);
    EXPECT_EQ(spice_server_get_num_clients(r->server), 0);
}

static void init_fields(void)
{
    struct rig r;
    struct client c;
    struct message m;
    rig_open(&r);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    uint32_t now = (uint32_t)tap_now();
    EXPECT_EQ(m.size, 32);
    EXPECT(get32(m.body) != 0);
    EXPECT_EQ(get32(m.body + 4), 0);   /* displays */
    EXPECT_EQ(get32(m.body + 8), 1);   /* mouse modes: SERVER */
    EXPECT_EQ(get32(m.body + 12), 1);
    EXPECT_EQ(get32(m.body + 16), 0);  /* no agent */
    EXPECT_EQ(get32(m.body + 20), 10); /* its window all the same */
    uint32_t age = now - get32(m.body + 24) - 400;
    EXPECT_MSG(age < (uint32_t)tap_ms(5000), "multi_media_time lies %u ms back", age);
    EXPECT_EQ(get32(m.body + 28), 0);
    message_free(&m);
    EXPECT(client_silent(&c, 50));
    client_close(&c);
    rig_close(&r);
}

static void init_with_devices(void)
{
    struct rig r;
    struct client c;
    struct message m;
    struct qxl first, second;
    struct inputs inputs;
    rig_open(&r);
    qxl_prepare(&first, 0);
    qxl_prepare(&second, 1);
    first.ram_size = 0x1000000;
    second.ram_size = 0x2000000;
    qxl_add(&first, r.server);
    inputs_add(&inputs, r.server);
    qxl_create_primary(&first, 64, 48);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    EXPECT_EQ(get32(m.body + 4), 1);
    /* a tablet and one display with a primary surface that allows it */
    EXPECT_EQ(get32(m.body + 8), 3);
    EXPECT_EQ(get32(m.body + 12), 1);
    EXPECT_EQ(get32(m.body + 28), 0x1000000);
    message_free(&m);
    client_close(&c);

    qxl_add(&second, r.server);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    EXPECT_EQ(get32(m.body + 4), 2);
    /* the device added last counts */
    EXPECT_EQ(get32(m.body + 28), 0x2000000);
    message_free(&m);
    client_close(&c);
    qxl_remove(&second);
    spice_qxl_destroy_primary_surface(&first.sin, 0);
    qxl_remove(&first);
    inputs_remove(&inputs);
    rig_close(&r);
}

static const uint8_t uuid[16] = { 0xde, 0xad, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14 };

static void expect_name(struct client *c, const char *name)
{
    struct message m;
    size_t len = strlen(name) + 1;
    client_expect(c, S_MAIN_NAME, &m);
    EXPECT_EQ(m.size, 4 + len);
    EXPECT_EQ(get32(m.body), len);
    EXPECT(!memcmp(m.body + 4, name, len));
    message_free(&m);
}

static void expect_uuid(struct client *c, const uint8_t *want)
{
    struct message m;
    client_expect(c, S_MAIN_UUID, &m);
    EXPECT_EQ(m.size, 16);
    EXPECT(!memcmp(m.body, want, 16));
    message_free(&m);
}

static void name_and_uuid(void)
{
    struct rig r;
    struct client c;
    rig_new(&r);
    spice_server_set_noauth(r.server);
    spice_server_set_name(r.server, "a \xc3\xa4 name");
    spice_server_set_uuid(r.server, uuid);
    rig_init_unix(&r);
    rig_main(&r, &c);
    expect_name(&c, "a \xc3\xa4 name");
    expect_uuid(&c, uuid);
    EXPECT(client_silent(&c, 20));
    client_close(&c);
    rig_close(&r);
}

static void uuid_of_zeros_alone(void)
{
    static const uint8_t zeros[16];
    struct rig r;
    struct client c;
    rig_open(&r);
    spice_server_set_uuid(r.server, zeros);
    rig_main(&r, &c);
    expect_uuid(&c, zeros);
    EXPECT(client_silent(&c, 20));
    client_close(&c);
    rig_close(&r);
}

static void name_for_clients_who_ask(void)
{
    struct rig r;
    struct client c;
    struct link l;
    struct message m;
    rig_open(&r);
    spice_server_set_name(r.server, "vm");
    spice_server_set_uuid(r.server, uuid);
    link_init(&l, CH_MAIN, 0, 0);
    l.caps[1] = 0x0d; /* all but NAME_AND_UUID */
    rig_connect(&r, &c);
    EXPECT_EQ(client_link_with(&c, &l, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    EXPECT(client_silent(&c, 50));
    client_close(&c);
    rig_close(&r);
}

static void name_changes_are_for_later_clients(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    spice_server_set_name(r.server, "first");
    rig_main(&r, &c);
    expect_name(&c, "first");
    spice_server_set_name(r.server, "second");
    spice_server_set_uuid(r.server, uuid);
    EXPECT(client_silent(&c, 50));
    client_close(&c);
    rig_main(&r, &c);
    expect_name(&c, "second");
    expect_uuid(&c, uuid);
    client_close(&c);
    rig_close(&r);
}

/** Receives a CHANNELS_LIST; keeps the char device channels in `got`. */
static int channels_list(struct client *c, uint8_t got[][2])
{
    struct message m;
    int n = 0;
    client_expect(c, S_MAIN_CHANNELS_LIST, &m);
    EXPECT_EQ(m.size, 4 + 2 * get32(m.body));
    for (uint32_t i = 0; i < get32(m.body); i++) {
        const uint8_t *entry = m.body + 4 + 2 * i;
        if (entry[0] >= CH_SMARTCARD)
            memcpy(got[n++], entry, 2);
        else
            EXPECT_MSG(entry[0] == CH_INPUTS, "channel %u:%u is announced", entry[0], entry[1]);
    }
    message_free(&m);
    return n;
}

static void attach(struct client *c)
{
    EXPECT(client_send(c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
}

static void channels_list_newest_first(void)
{
    static const uint8_t want[][2] = { { CH_WEBDAV, 0 }, { CH_PORT, 1 }, { CH_USBREDIR, 0 },
                                       { CH_PORT, 0 } };
    struct rig r;
    struct client c;
    struct chardev d[4];
    uint8_t got[260][2];
    rig_open(&r);
    chardev_add_port(&d[0], r.server, "org.example.0");
    chardev_add_usbredir(&d[1], r.server);
    chardev_add_port(&d[2], r.server, "org.example.1");
    chardev_add_port(&d[3], r.server, "org.spice-space.webdav.0");
    rig_main(&r, &c);
    for (int again = 0; again < 2; again++) {
        attach(&c);
        EXPECT_EQ(channels_list(&c, got), TAP_COUNT(want));
        EXPECT(!memcmp(got, want, sizeof want));
    }
    client_close(&c);
    for (int i = 0; i < 4; i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

static void later_device_in_a_list_of_one(void)
{
    struct rig r;
    struct client c;
    struct chardev early, late;
    struct message m;
    uint8_t got[260][2];
    rig_open(&r);
    rig_main(&r, &c);
    /* before the first full list nothing is announced */
    chardev_add_port(&early, r.server, "org.example.0");
    EXPECT(client_silent(&c, 50));
    attach(&c);
    EXPECT_EQ(channels_list(&c, got), 1);
    chardev_add_usbredir(&late, r.server);
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    EXPECT_EQ(m.size, 6);
    EXPECT_EQ(get32(m.body), 1);
    EXPECT_EQ(m.body[4], CH_USBREDIR);
    EXPECT_EQ(m.body[5], 0);
    message_free(&m);
    /* a removal is not announced, and the id is used again */
    chardev_remove(&late);
    EXPECT(client_silent(&c, 50));
    chardev_add_usbredir(&late, r.server);
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    EXPECT_EQ(m.size, 6);
    EXPECT_EQ(m.body[5], 0);
    message_free(&m);
    attach(&c);
    EXPECT_EQ(channels_list(&c, got), 2);
    client_close(&c);
    chardev_remove(&late);
    chardev_remove(&early);
    rig_close(&r);
}

static void mouse_mode_request(struct client *c, uint16_t mode)
{
    uint8_t body[2];
    put16(body, mode);
    EXPECT(client_send(c, C_MAIN_MOUSE_MODE_REQUEST, body, 2));
}

static void mouse_mode_needs_a_tablet(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_main(&r, &c);
    for (uint16_t mode = 0; mode < 5; mode++)
        mouse_mode_request(&c, mode);
    mouse_mode_request(&c, 0xffff);
    EXPECT(client_silent(&c, 50));
    EXPECT_EQ(spice_server_is_server_mouse(r.server), 1);
    client_close(&c);
    rig_close(&r);
}

static void expect_mouse_mode(struct client *c, uint16_t supported, uint16_t current)
{
    struct message m;
    client_expect(c, S_MAIN_MOUSE_MODE, &m);
    EXPECT_EQ(m.size, 4);
    EXPECT_EQ(get16(m.body), supported);
    EXPECT_EQ(get16(m.body + 2), current);
    message_free(&m);
}

static void mouse_mode_changes(void)
{
    struct rig r;
    struct client c;
    struct qxl qxl;
    struct inputs inputs;
    rig_open(&r);
    qxl_prepare(&qxl, 0);
    qxl_add(&qxl, r.server);
    rig_main(&r, &c);
    inputs_add(&inputs, r.server);
    EXPECT(client_silent(&c, 50));
    qxl_create_primary(&qxl, 64, 48);
    expect_mouse_mode(&c, 3, 1);
    EXPECT_EQ(inputs.width, 64);
    EXPECT_EQ(inputs.height, 48);
    mouse_mode_request(&c, 1);
    mouse_mode_request(&c, 2);
    expect_mouse_mode(&c, 3, 2);
    EXPECT_EQ(spice_server_is_server_mouse(r.server), 0);
    mouse_mode_request(&c, 2);
    mouse_mode_request(&c, 7);
    mouse_mode_request(&c, 1);
    expect_mouse_mode(&c, 3, 1);
    EXPECT_EQ(spice_server_is_server_mouse(r.server), 1);
    mouse_mode_request(&c, 2);
    expect_mouse_mode(&c, 3, 2);
    /* the tablet goes: back to SERVER in one message */
    EXPECT_EQ(spice_server_remove_interface(&inputs.tablet.base), 0);
    inputs.has_tablet = false;
    expect_mouse_mode(&c, 1, 1);
    EXPECT(client_silent(&c, 50));
    EXPECT_EQ(spice_server_is_server_mouse(r.server), 1);
    client_close(&c);
    inputs_remove(&inputs);
    spice_qxl_destroy_primary_surface(&qxl.sin, 0);
    qxl_remove(&qxl);
    rig_close(&r);
}

static void no_pings_on_unix_sockets(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_main(&r, &c);
    EXPECT(client_silent(&c, 400));
    client_close(&c);
    rig_close(&r);
}

/** rig on TCP with a main channel that has seen INIT. */
static void open_tcp(struct rig *r, struct client *c)
{
    rig_new(r);
    spice_server_set_noauth(r->server);
    rig_init_tcp(r);
    rig_main(r, c);
}

static void net_test_pings(void)
{
    static const uint32_t sizes[] = { 12, 12, 12 + 256000 };
    struct rig r;
    struct client c;
    struct message m;
    uint32_t id = 0;
    uint8_t got[260][2];
    open_tcp(&r, &c);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        client_expect(&c, S_PING, &m);
        EXPECT_EQ(m.size, sizes[i]);
        if (i == 0)
            id = get32(m.body);
        EXPECT_EQ(get32(m.body), id + i);
        for (uint32_t j = 12; j < m.size; j++)
            EXPECT_EQ(m.body[j], 0);
        EXPECT(client_send(&c, C_PONG, m.body, 12));
        message_free(&m);
    }
    c.answer_pings = true;
    attach(&c);
    channels_list(&c, got);
    client_close(&c);
    rig_close(&r);
}

static void strange_pongs(void)
{
    struct rig r;
    struct client c;
    uint8_t body[12] = { 0 }, got[260][2];
    open_tcp(&r, &c);
    for (uint32_t id = 0; id < 8; id++) {
        put32(body, id * 0x20000001u);
        EXPECT(client_send(&c, C_PONG, body, 12));
    }
    memset(body, 0xff, sizeof body);
    EXPECT(client_send(&c, C_PONG, body, 12));
    c.answer_pings = true;
    attach(&c);
    channels_list(&c, got);
    client_close(&c);
    rig_close(&r);
}

/* 100 ms after the channel fell silent: two pings with one id. */
static void latency_pings(void)
{
    struct rig r;
    struct client c;
    struct message m;
    open_tcp(&r, &c);
    for (int i = 0; i < 3; i++) {
        client_expect(&c, S_PING, &m);
        EXPECT(client_send(&c, C_PONG, m.body, 12));
        message_free(&m);
    }
    if (!differs(DIFF_LATENCY_PINGS, 1, 0)) {
        client_expect(&c, S_PING, &m);
        uint32_t id = get32(m.body);
        EXPECT_EQ(m.size, 12);
        EXPECT(client_send(&c, C_PONG, m.body, 12));
        message_free(&m);
        client_expect(&c, S_PING, &m);
        EXPECT_EQ(m.size, 12);
        EXPECT_EQ(get32(m.body), id);
        EXPECT(client_send(&c, C_PONG, m.body, 12));
        message_free(&m);
    }
    EXPECT(client_silent(&c, 400));
    client_close(&c);
    rig_close(&r);
}

static void unknown_types_end_the_client(void)
{
    static const uint16_t types[] = { 0, 7, 50, 100, C_MAIN_CLIENT_INFO, C_MAIN_QUALITY, 113, 200,
                                      0x7fff, 0xffff };
    static const uint8_t body[16];
    struct rig r;
    struct client c;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(types); i++) {
        rig_main(&r, &c);
        EXPECT(client_send(&c, types[i], body, sizeof body));
        EXPECT_MSG(client_closed(&c), "type %u is taken", types[i]);
        client_close(&c);
    }
    EXPECT_EQ(spice_server_get_num_clients(r.server), 0);
    rig_close(&r);
}

static void short_bodies_end_the_client(void)
{
    static const struct { uint16_t type; uint32_t size; } bad[] = {
        { C_ACK_SYNC, 3 }, { C_PONG, 11 }, { C_MAIN_MOUSE_MODE_REQUEST, 1 },
        { C_MAIN_AGENT_START, 3 }, { C_MAIN_AGENT_TOKEN, 0 }, { 110, 3 },
        { C_DISCONNECTING, 11 },
    };
    static const uint8_t body[16];
    struct rig r;
    struct client c;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        rig_main(&r, &c);
        EXPECT(client_send(&c, bad[i].type, body, bad[i].size));
        EXPECT_MSG(client_closed(&c), "type %u with %u bytes is taken", bad[i].type, bad[i].size);
        client_close(&c);
    }
    rig_close(&r);
}

static void harmless_messages(void)
{
    static const struct { uint16_t type; uint32_t size; } good[] = {
        { C_ACK_SYNC, 4 }, { C_ACK, 0 }, { C_ACK, 0 }, { C_DISCONNECTING, 12 },
        { C_MAIN_MOUSE_MODE_REQUEST, 16 }, { C_MAIN_AGENT_TOKEN, 4 }, { C_ACK, 16 },
    };
    static const uint8_t body[16];
    struct rig r;
    struct client c;
    uint8_t got[260][2];
    rig_open(&r);
    rig_main(&r, &c);
    for (size_t i = 0; i < TAP_COUNT(good); i++)
        EXPECT(client_send(&c, good[i].type, body, good[i].size));
    attach(&c);
    channels_list(&c, got);
    client_close(&c);
    rig_close(&r);
}

static void largest_message(void)
{
    static const uint8_t body[26625];
    struct rig r;
    struct client c;
    uint8_t got[260][2];
    rig_open(&r);
    rig_main(&r, &c);
    EXPECT(client_send(&c, C_MAIN_ATTACH_CHANNELS, body, 26624));
    channels_list(&c, got);
    EXPECT(client_send_header(&c, C_MAIN_ATTACH_CHANNELS, 26625));
    expect_end(&r, &c);
    rig_close(&r);
}

static void unexpected_flush_mark(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_main(&r, &c);
    EXPECT(client_send(&c, C_FLUSH_MARK, NULL, 0));
    expect_end(&r, &c);
    rig_main(&r, &c);
    client_close(&c);
    rig_close(&r);
}

static void agent_messages_without_agent(void)
{
    static const uint8_t data[64];
    struct rig r;
    struct client c;
    uint8_t got[260][2];
    rig_open(&r);
    rig_main(&r, &c);
    EXPECT(client_send(&c, C_MAIN_AGENT_START, "\377\377\377\377", 4));
    EXPECT(client_send(&c, C_MAIN_AGENT_TOKEN, "\1\0\0\0", 4));
    (void)data;
    attach(&c);
    channels_list(&c, got);
    client_close(&c);
    rig_close(&r);
}

static void events_of_a_session(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    uint32_t session = rig_main(&r, &c);
    EXPECT_EQ(host_event_count(), 2);
    client_close(&c);
    EXPECT(rig_wait_events(3));
    EXPECT_EQ(host_event_count(), 3);
    for (int i = 0; i < 3; i++) {
        const struct host_event *e = host_event(i);
        EXPECT_EQ(e->event, i + 1);
        EXPECT_MSG(e->info == host_event(0)->info, "event %d has another pointer", i + 1);
        EXPECT_EQ((uint32_t)e->copy.connection_id, i ? session : 0);
        EXPECT_EQ(e->copy.type, i ? CH_MAIN : 0);
        EXPECT_EQ(e->copy.id, 0);
        EXPECT_EQ(e->copy.flags, SPICE_CHANNEL_EVENT_FLAG_ADDR_EXT);
        EXPECT_EQ(e->copy.laddr_ext.ss_family, AF_UNIX);
    }
    rig_close(&r);
}

static void connected_before_any_byte(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_connect(&r, &c);
    EXPECT(rig_wait_events(1));
    EXPECT_EQ(host_event(0)->event, SPICE_CHANNEL_EVENT_CONNECTED);
    EXPECT(client_silent(&c, 20));
    EXPECT_EQ(host_event_count(), 1);
    client_close(&c);
    EXPECT(rig_wait_events(2));
    EXPECT_EQ(host_event(1)->event, SPICE_CHANNEL_EVENT_DISCONNECTED);
    EXPECT(host_event(1)->info == host_event(0)->info);
    rig_close(&r);
}

static void failed_link_is_never_initialized(void)
{
    struct rig r;
    struct client c;
    rig_new(&r);
    spice_server_set_ticket(r.server, "secret", 0, 0, 0);
    rig_init_unix(&r);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"), LINK_PERMISSION_DENIED);
    EXPECT(client_at_eof(&c));
    EXPECT(rig_wait_events(2));
    EXPECT_EQ(host_event(0)->event, SPICE_CHANNEL_EVENT_CONNECTED);
    EXPECT_EQ(host_event(1)->event, SPICE_CHANNEL_EVENT_DISCONNECTED);
    client_close(&c);
    rig_close(&r);
}

static void events_carry_addresses(void)
{
    struct rig r;
    struct client c;
    struct sockaddr_in mine, server;
    socklen_t len = sizeof mine;
    open_tcp(&r, &c);
    EXPECT_EQ(getsockname(c.fd, (struct sockaddr *)&mine, &len), 0);
    EXPECT_EQ(getpeername(c.fd, (struct sockaddr *)&server, &len), 0);
    for (int i = 0; i < 2; i++) {
        const SpiceChannelEventInfo *e = &host_event(i)->copy;
        EXPECT_EQ(e->llen_ext, sizeof mine);
        EXPECT_EQ(e->plen_ext, sizeof mine);
        EXPECT(!memcmp(&e->laddr_ext, &server, sizeof server));
        EXPECT(!memcmp(&e->paddr_ext, &mine, sizeof mine));
        EXPECT_EQ(e->llen, sizeof mine);
        EXPECT_EQ(e->plen, sizeof mine);
        EXPECT(!memcmp(&e->laddr, &server, sizeof server));
        EXPECT(!memcmp(&e->paddr, &mine, sizeof mine));
    }
    client_close(&c);
    rig_close(&r);
}

static void other_channels_have_events_too(void)
{
    struct rig r;
    struct client c, d;
    struct chardev port;
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    chardev_remove(&port);
    struct chardev first;
    chardev_add_port(&first, r.server, "org.example.0");
    chardev_add_port(&port, r.server, "org.example.1");
    uint32_t session = rig_main(&r, &c);
    rig_channel(&r, &d, CH_PORT, 1, session);
    EXPECT(rig_wait_events(4));
    const struct host_event *e = host_event(3);
    EXPECT_EQ(e->event, SPICE_CHANNEL_EVENT_INITIALIZED);
    EXPECT_EQ((uint32_t)e->copy.connection_id, session);
    EXPECT_EQ(e->copy.type, CH_PORT);
    EXPECT_EQ(e->copy.id, 1);
    EXPECT_EQ(host_connected_channels(), 2);
    client_close(&d);
    EXPECT(rig_wait_events(5));
    EXPECT(host_event(4)->info == host_event(3)->info);
    client_close(&c);
    chardev_remove(&port);
    chardev_remove(&first);
    rig_close(&r);
}

static void main_lost_ends_the_session(void)
{
    struct rig r;
    struct client c, d;
    struct chardev port;
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    uint32_t session = rig_main(&r, &c);
    rig_channel(&r, &d, CH_PORT, 0, session);
    EXPECT(chardev_wait_states(&port, 1));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    client_close(&c);
    EXPECT(client_closed(&d));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 0);
    EXPECT(chardev_wait_states(&port, 2));
    EXPECT_EQ(port.states[1], 0);
    client_close(&d);
    chardev_remove(&port);
    rig_close(&r);
}

static void takeover_ends_the_old_session(void)
{
    struct rig r;
    struct client c, d, e;
    struct chardev port;
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    uint32_t session = rig_main(&r, &c);
    rig_channel(&r, &d, CH_PORT, 0, session);
    EXPECT(chardev_wait_states(&port, 1));
    uint32_t next = rig_main(&r, &e);
    EXPECT(client_closed(&c));
    EXPECT(client_closed(&d));
    client_close(&c);
    client_close(&d);
    rig_connect(&r, &d);
    EXPECT_EQ(client_link(&d, CH_PORT, 0, session, ""), LINK_BAD_CONNECTION_ID);
    client_close(&d);
    rig_channel(&r, &d, CH_PORT, 0, next);
    EXPECT(chardev_wait_states(&port, 3));
    EXPECT_EQ(port.states[0], 1);
    EXPECT_EQ(port.states[1], 0);
    EXPECT_EQ(port.states[2], 1);
    client_close(&d);
    client_close(&e);
    chardev_remove(&port);
    rig_close(&r);
}

static void destroy_cuts_everybody(void)
{
    struct rig r;
    struct client c, d;
    struct chardev port;
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    uint32_t session = rig_main(&r, &c);
    rig_channel(&r, &d, CH_PORT, 0, session);
    EXPECT(chardev_wait_states(&port, 1));
    port.added = false; /* its server goes; it is never to be called again */
    r.open_clients = 2;
    rig_close(&r);
    EXPECT(client_closed(&c));
    EXPECT(client_closed(&d));
    EXPECT(port.states[port.n_states - 1] == 0);
    chardev_forget(&port);
}

static bool may_exit;

static void judge_exit(void)
{
    if (!may_exit)
        _exit(3);
    _exit(0);
}

static void exit_on_disconnect(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    EXPECT_EQ(spice_server_set_exit_on_disconnect(r.server, 1), 0);
    atexit(judge_exit);
    rig_main(&r, &c);
    EXPECT(client_silent(&c, 20));
    may_exit = true;
    unlink(r.path);
    client_close(&c);
    host_run_for(tap_ms(5000));
    FAIL("the process lives on");
}

static void several_clients_when_debugging(void)
{
    struct rig r;
    struct client c, d;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    rig_open(&r);
    uint32_t first = rig_main(&r, &c);
    uint32_t second = rig_main(&r, &d);
    EXPECT(first != second);
    EXPECT(client_silent(&c, 20));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 2);
    client_close(&c);
    client_close(&d);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(init_fields),
    TAP_CASE(init_with_devices),
    TAP_CASE(name_and_uuid),
    TAP_CASE(uuid_of_zeros_alone),
    TAP_CASE(name_for_clients_who_ask),
    TAP_CASE(name_changes_are_for_later_clients),
    TAP_CASE(channels_list_newest_first),
    TAP_CASE(later_device_in_a_list_of_one),
    TAP_CASE(mouse_mode_needs_a_tablet),
    TAP_CASE(mouse_mode_changes),
    TAP_CASE(no_pings_on_unix_sockets),
    TAP_CASE(net_test_pings),
    TAP_CASE(strange_pongs),
    TAP_CASE(latency_pings),
    TAP_CASE(unknown_types_end_the_client),
    TAP_CASE(short_bodies_end_the_client),
    TAP_CASE(harmless_messages),
    TAP_CASE(largest_message),
    TAP_CASE(unexpected_flush_mark),
    TAP_CASE(agent_messages_without_agent),
    TAP_CASE(events_of_a_session),
    TAP_CASE(connected_before_any_byte),
    TAP_CASE(failed_link_is_never_initialized),
    TAP_CASE(events_carry_addresses),
    TAP_CASE(other_channels_have_events_too),
    TAP_CASE(main_lost_ends_the_session),
    TAP_CASE(takeover_ends_the_old_session),
    TAP_CASE(destroy_cuts_everybody),
    TAP_CASE(exit_on_disconnect),
    TAP_CASE(several_clients_when_debugging),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "main", cases, TAP_COUNT(cases));
}
