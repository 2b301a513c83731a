/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Peers that talk nonsense: the connection ends, one log line says why, the host
 * and the other clients live on, and memory does not grow.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "rig.h"

#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

/* A port, a usbredir and a webdav device: with main all channel types there are. */
struct bench {
    struct rig r;
    struct chardev devices[3];
    struct client main_channel;
    uint32_t session;
    long rss;
};

static const uint8_t channel_types[] = { CH_PORT, CH_USBREDIR, CH_WEBDAV };

static void connect_main(struct bench *b)
{
    client_close(&b->main_channel);
    b->session = rig_main(&b->r, &b->main_channel);
}

static void open_bench(struct bench *b)
{
    rig_open(&b->r);
    chardev_add_port(&b->devices[0], b->r.server, "org.example.0");
    chardev_add_usbredir(&b->devices[1], b->r.server);
    chardev_add_port(&b->devices[2], b->r.server, "org.spice-space.webdav.0");
    for (int i = 0; i < 3; i++)
        b->devices[i].keep_input = false;
    b->main_channel.fd = -1;
    connect_main(b);
    /* what a server allocates once is not growth */
    for (int i = 0; i < 20; i++)
        connect_main(b);
    b->rss = tap_usage().rss_kib;
}

enum { GROWTH_KIB = 16 * 1024 };

/** All is well after all: a client moves data, and memory has not grown. */
static void close_bench(struct bench *b)
{
    struct client c;
    connect_main(b);
    for (int i = 0; i < 3; i++) {
        uint64_t before = b->devices[i].in_len;
        rig_channel(&b->r, &c, channel_types[i], 0, b->session);
        EXPECT(client_send(&c, VMC_DATA, "alive", 5));
        EXPECT(chardev_wait_input(&b->devices[i], before + 5));
        client_close(&c);
    }
    long growth = tap_usage().rss_kib - b->rss;
    EXPECT_MSG(growth < GROWTH_KIB, "memory grew by %ld KiB", growth);
    client_close(&b->main_channel);
    for (int i = 0; i < 3; i++)
        chardev_remove(&b->devices[i]);
    rig_close(&b->r);
}

static bool has_log_line(void *opaque)
{
    (void)opaque;
    return tap_log_lines("Spice") >= 1;
}

/** The library writes a line after tap_log_mark(); another thread of it may
 *  write it a moment after the peer has been told. */
static void logged(const char *about)
{
    if (differs(DIFF_LOG_LINE, 0, 1))
        return;
    for (int i = 0; i < 200 && !has_log_line(NULL); i++)
        host_run_until(has_log_line, NULL, 10);
    EXPECT_MSG(has_log_line(NULL), "no log line about %s", about);
}

/** No more bytes from us; the library must end the connection. */
static void must_end(struct client *c, const char *about)
{
    shutdown(c->fd, SHUT_WR);
    EXPECT_MSG(client_closed(c), "the connection with %s stays", about);
    client_close(c);
}

/* A small generator of its own, so that every run sends the same bytes. */
static uint32_t noise_state = 1;

static uint32_t noise(void)
{
    noise_state = noise_state * 1664525u + 1013904223u;
    return noise_state >> 8;
}

static void fill_noise(uint8_t *buf, size_t n)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = (uint8_t)noise();
}

/* ---- the link ---- */

static void link_log_lines(void)
{
    static const struct {
        const char *about;
        int offset, value;
    } bad[] = {
        { "a wrong magic", 0, 'X' },     { "a wrong version", 4, 9 },
        { "a tiny message", 12, 3 },     { "a large message", 14, 1 },
        { "many common caps", 24, 0xff }, { "many channel caps", 28, 0xff },
        { "a wrong caps offset", 30, 3 }, { "an unknown channel", 20, 77 },
    };
    struct bench b;
    struct client c;
    struct link l;
    uint8_t buf[LINK_BYTES_MAX];
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        link_init(&l, CH_MAIN, 0, 0);
        size_t n = link_bytes(&l, buf);
        buf[bad[i].offset] = (uint8_t)bad[i].value;
        tap_log_mark();
        rig_connect(&b.r, &c);
        EXPECT(client_write(&c, buf, n));
        EXPECT_MSG(client_closed(&c), "%s is taken", bad[i].about);
        client_close(&c);
        logged(bad[i].about);
    }
    close_bench(&b);
}

static void ticket_log_lines(void)
{
    struct rig r;
    struct client c;
    struct link l;
    uint8_t auth[4 + TICKET_SIZE] = { 1 };
    rig_new(&r);
    spice_server_set_ticket(r.server, "secret", 0, 0, 0);
    rig_init_unix(&r);
    tap_log_mark();
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "wrong"), LINK_PERMISSION_DENIED);
    client_close(&c);
    logged("a wrong password");
    tap_log_mark();
    link_init(&l, CH_MAIN, 0, 0);
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    EXPECT(client_write(&c, auth, sizeof auth));
    EXPECT_EQ(client_read_result(&c), LINK_PERMISSION_DENIED);
    client_close(&c);
    logged("a garbage ticket");
    tap_log_mark();
    auth[0] = 9;
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    EXPECT(client_write(&c, auth, 4));
    EXPECT(client_closed(&c));
    client_close(&c);
    logged("a wrong mechanism");
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", -9, 0, 0), 0);
    tap_log_mark();
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), LINK_PERMISSION_DENIED);
    client_close(&c);
    logged("an expired ticket");
    rig_close(&r);
}

static void link_cut_anywhere(void)
{
    struct bench b;
    struct client c;
    struct link l;
    uint8_t buf[LINK_BYTES_MAX];
    open_bench(&b);
    link_init(&l, CH_MAIN, 0, 0);
    size_t n = link_bytes(&l, buf);
    for (size_t cut = 0; cut < n; cut++) {
        rig_connect(&b.r, &c);
        EXPECT(client_write(&c, buf, cut));
        must_end(&c, "half a link message");
    }
    for (size_t cut = 0; cut < 4 + TICKET_SIZE; cut += 11) {
        uint8_t auth[4 + TICKET_SIZE] = { 1 };
        rig_connect(&b.r, &c);
        EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
        EXPECT(client_write(&c, auth, cut));
        must_end(&c, "half a ticket");
    }
    close_bench(&b);
}

static void link_with_one_byte_wrong(void)
{
    static const uint8_t flips[] = { 0x01, 0x80, 0xff };
    struct bench b;
    struct client c;
    struct link l;
    uint8_t buf[LINK_BYTES_MAX];
    open_bench(&b);
    link_init(&l, CH_PORT, 0, b.session);
    size_t n = link_bytes(&l, buf);
    for (size_t at = 0; at < n; at++)
        for (size_t f = 0; f < sizeof flips; f++) {
            buf[at] ^= flips[f];
            rig_connect(&b.r, &c);
            EXPECT(client_write(&c, buf, n));
            must_end(&c, "a wrong byte");
            buf[at] ^= flips[f];
        }
    close_bench(&b);
}

static void noise_instead_of_a_link(void)
{
    struct bench b;
    struct client c;
    uint8_t buf[5000];
    open_bench(&b);
    for (int i = 0; i < 150; i++) {
        size_t n = noise() % sizeof buf;
        fill_noise(buf, sizeof buf);
        if (i % 3)
            memcpy(buf, "REDQ", 4);
        if (i % 3 == 2)
            put32(put32(put32(buf + 4, 2), 2), (uint32_t)(n % 4200));
        rig_connect(&b.r, &c);
        (void)client_write(&c, buf, n); /* it may be closed before the last byte */
        must_end(&c, "noise");
    }
    close_bench(&b);
}

static void http_request_instead_of_a_link(void)
{
    static const char *const requests[] = {
        "GET / HTTP/1.1\r\nHost: x\r\n\r\n",
        "GET / HTTP/1.1\r\nSec-WebSocket-Key:\r\n\r\n",
        "POST / HTTP/1.1\r\n\r\n",
        "GET ",
    };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(requests); i++) {
        rig_connect(&b.r, &c);
        EXPECT(client_write(&c, requests[i], strlen(requests[i])));
        must_end(&c, "a browser");
    }
    close_bench(&b);
}

static void many_silent_links(void)
{
    enum { N = 300, CLOSED = 100 };
    struct bench b;
    static struct client idle[N];
    open_bench(&b);
    for (int i = 0; i < N; i++) {
        rig_connect(&b.r, &idle[i]);
        EXPECT(client_write(&idle[i], "REDQ", (size_t)i % 5));
        host_turn(0);
    }
    /* a client that was there is not disturbed at all */
    EXPECT(client_send(&b.main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    struct message m;
    client_expect(&b.main_channel, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    for (int i = 0; i < CLOSED; i++)
        client_close(&idle[i]);
    connect_main(&b);
    for (int i = CLOSED; i < N; i++)
        client_close(&idle[i]);
    close_bench(&b);
}

/* A peer that says nothing is not kept for ever. */
static void silent_links_end(void)
{
    struct rig r;
    struct client silent, half;
    rig_open(&r);
    rig_connect(&r, &silent);
    rig_connect(&r, &half);
    EXPECT(client_write(&half, "REDQ\2", 5));
    EXPECT(host_wait_fd(silent.fd, POLLIN, 30000));
    EXPECT(client_at_eof(&silent));
    EXPECT(client_at_eof(&half));
    client_close(&silent);
    client_close(&half);
    rig_close(&r);
}

/* ---- messages ---- */

static const uint32_t lengths[] = {
    0,         1,         2,          3,          4,          5,          8,
    11,        12,        13,         255,        1024,       2048,       2049,
    4096,      26624,     26625,      65536,      65537,      0x40000,    0x100000,
    0x100001,  0x1000000, 0x4000000,  0x4000001,  0x7ffffffe, 0x7fffffff, 0x80000000,
    0x80000001, 0xfffffff0, 0xfffffffe, 0xffffffff,
};

/** Header, up to 64 bytes of body, end. */
static void announce(struct client *c, uint16_t type, uint32_t length)
{
    uint8_t body[64] = { 0 };
    (void)client_send_header(c, type, length);
    (void)client_write(c, body, length < sizeof body ? length : sizeof body);
    must_end(c, "a strange length");
}

static void main_announces_any_length(void)
{
    /* not 4: FLUSH_MARK has a case of its own */
    static const uint16_t types[] = { 1, 3, 5, C_MAIN_ATTACH_CHANNELS, C_MAIN_MOUSE_MODE_REQUEST,
                                      C_MAIN_AGENT_START, C_MAIN_AGENT_DATA, 999 };
    struct bench b;
    open_bench(&b);
    for (size_t t = 0; t < TAP_COUNT(types); t++)
        for (size_t i = 0; i < TAP_COUNT(lengths); i++) {
            connect_main(&b);
            announce(&b.main_channel, types[t], lengths[i]);
        }
    close_bench(&b);
}

static void announces_any_length(int which)
{
    static const uint16_t types[] = { 1, 3, 5, VMC_DATA, VMC_COMPRESSED, C_PORT_EVENT, 999 };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t t = 0; t < TAP_COUNT(types); t++)
        for (size_t i = 0; i < TAP_COUNT(lengths); i++) {
            rig_channel(&b.r, &c, channel_types[which], 0, b.session);
            announce(&c, types[t], lengths[i]);
            /* the next link must find the channel free */
            EXPECT(chardev_wait_states(&b.devices[which],
                                       2 * (int)(t * TAP_COUNT(lengths) + i + 1)));
        }
    close_bench(&b);
}

static void port_announces_any_length(void)
{
    announces_any_length(0);
}

static void usbredir_announces_any_length(void)
{
    announces_any_length(1);
}

static void webdav_announces_any_length(void)
{
    announces_any_length(2);
}

/* Too long for the channel: it ends on the header alone. */
static void too_long_ends_at_the_header(void)
{
    static const struct { uint16_t type; uint32_t length; } main_bad[] = {
        { C_MAIN_ATTACH_CHANNELS, 26625 }, { C_MAIN_MOUSE_MODE_REQUEST, 0x7fffffff },
        { C_PONG, 0x80000000 },            { C_MIGRATE_DATA, 0xffffffff },
    };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(main_bad); i++) {
        connect_main(&b);
        tap_log_mark();
        EXPECT(client_send_header(&b.main_channel, main_bad[i].type, main_bad[i].length));
        EXPECT_MSG(client_closed(&b.main_channel), "type %u of %u bytes is awaited",
                   main_bad[i].type, main_bad[i].length);
        logged("a message too long for the main channel");
    }
    connect_main(&b);
    for (int i = 0; i < 3; i++) {
        rig_channel(&b.r, &c, channel_types[i], 0, b.session);
        tap_log_mark();
        EXPECT(client_send_header(&c, VMC_DATA, 0xffffffff));
        EXPECT_MSG(client_closed(&c), "4 GiB are awaited on channel type %u", channel_types[i]);
        client_close(&c);
        logged("a message too long");
        EXPECT(chardev_wait_states(&b.devices[i], 2));
    }
    close_bench(&b);
}

/* Announced, never sent: no memory is taken for it. */
static void announced_bodies_cost_nothing(void)
{
    static const uint32_t sizes[] = { 0x1000000, 0x4000000, 0x3fffffff, 0x7fffffff };
    static const uint8_t part[4096];
    struct bench b;
    struct client c[3];
    open_bench(&b);
    for (size_t s = 0; s < TAP_COUNT(sizes); s++) {
        for (int i = 0; i < 3; i++) {
            rig_channel(&b.r, &c[i], channel_types[i], 0, b.session);
            (void)client_send_header(&c[i], VMC_DATA, sizes[s]);
            (void)client_write(&c[i], part, sizeof part);
        }
        host_run_for(20);
        long growth = tap_usage().rss_kib - b.rss;
        EXPECT_MSG(growth < GROWTH_KIB, "%u announced bytes cost %ld KiB", sizes[s], growth);
        for (int i = 0; i < 3; i++)
            must_end(&c[i], "an announcement");
        for (int i = 0; i < 3; i++)
            EXPECT(chardev_wait_states(&b.devices[i], 2 * (int)s + 2));
    }
    close_bench(&b);
}

static void message_log_lines(void)
{
    static const struct {
        const char *about;
        uint16_t type;
        uint32_t size;
    } bad[] = {
        { "an unknown type", 99, 4 },
        { "a short body", C_ACK_SYNC, 2 },
        { "an empty data message", VMC_DATA, 0 },
        { "a compressed nonsense", VMC_COMPRESSED, 8 },
        { "an event without body", C_PORT_EVENT, 0 },
    };
    static const uint8_t body[16];
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        rig_channel(&b.r, &c, CH_PORT, 0, b.session);
        tap_log_mark();
        EXPECT(client_send(&c, bad[i].type, body, bad[i].size));
        EXPECT_MSG(client_closed(&c), "%s is taken", bad[i].about);
        client_close(&c);
        logged(bad[i].about);
        EXPECT(chardev_wait_states(&b.devices[0], 2 * (int)i + 2));
    }
    tap_log_mark();
    EXPECT(client_send(&b.main_channel, 999, body, 4));
    EXPECT(client_closed(&b.main_channel));
    logged("an unknown type on the main channel");
    close_bench(&b);
}

static void noise_on_channels(void)
{
    struct bench b;
    struct client c;
    static uint8_t buf[3000];
    open_bench(&b);
    for (int i = 0; i < 120; i++) {
        int which = i % 4;
        size_t n = noise() % sizeof buf;
        fill_noise(buf, n);
        /* sensible types now and then, and lengths that end within the noise */
        for (size_t at = 0; i % 3 && at + 6 < n;) {
            uint32_t size = noise() % 300;
            put32(put16(buf + at, (uint16_t)(100 + noise() % 13)), size);
            at += 6 + size;
        }
        if (which < 3) {
            rig_channel(&b.r, &c, channel_types[which], 0, b.session);
            (void)client_write(&c, buf, n);
            must_end(&c, "noise");
            EXPECT(chardev_wait_states(&b.devices[which], 2 * (i / 4 + 1)));
        } else {
            (void)client_write(&b.main_channel, buf, n);
            must_end(&b.main_channel, "noise");
            b.main_channel.fd = -1;
            connect_main(&b);
        }
    }
    close_bench(&b);
}

static void full_headers_with_noise(void)
{
    struct bench b;
    struct client c;
    struct link l;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(lengths); i++) {
        link_init(&l, CH_PORT, 0, b.session);
        l.caps[0] &= ~(uint32_t)CAP_MINI_HEADER;
        rig_connect(&b.r, &c);
        EXPECT_EQ(client_link_with(&c, &l, ""), LINK_OK);
        uint8_t header[18];
        /* a sub-message list is nothing a client may send; it is not looked at */
        put32(put32(put16(put64(header, noise()), C_ACK), 4), lengths[i]);
        EXPECT(client_write(&c, header, sizeof header));
        EXPECT(client_write(&c, "\0\0\0\0", 4));
        announce(&c, VMC_DATA, lengths[i]);
        EXPECT(chardev_wait_states(&b.devices[0], 2 * (int)i + 2));
    }
    close_bench(&b);
}

/* Answers pile up for a client that asks and never reads: it is no longer read,
 * or cut, before they cost memory. */
static void asks_and_never_reads(void)
{
    enum { N = 400000 };
    struct bench b;
    uint8_t *wire = calloc(N, 6);
    open_bench(&b);
    for (size_t i = 0; i < N; i++)
        put16(wire + 6 * i, C_MAIN_ATTACH_CHANNELS);
    b.rss = tap_usage().rss_kib;
    (void)client_write_some(&b.main_channel, wire, 6 * (size_t)N, 200);
    long growth = tap_usage().rss_kib - b.rss;
    EXPECT_MSG(growth < GROWTH_KIB, "unread answers cost %ld KiB", growth);
    free(wire);
    b.rss = tap_usage().rss_kib;
    close_bench(&b);
}

static void stale_session_ids(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    for (int i = 0; i < 100; i++) {
        rig_connect(&b.r, &c);
        uint32_t guess = b.session ^ (noise() | 1);
        EXPECT_EQ(client_link(&c, CH_PORT, 0, guess, ""), LINK_BAD_CONNECTION_ID);
        client_close(&c);
    }
    EXPECT_EQ(b.devices[0].n_states, 0);
    close_bench(&b);
}

static void reset_instead_of_close(void)
{
    static const struct linger now = { .l_onoff = 1 };
    struct rig r;
    struct client c;
    rig_new(&r);
    spice_server_set_noauth(r.server);
    rig_init_tcp(&r);
    for (int i = 0; i < 30; i++) {
        struct link l;
        link_init(&l, CH_MAIN, 0, 0);
        rig_connect(&r, &c);
        EXPECT_EQ(setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
        if (i % 3 > 0)
            EXPECT(client_send_link(&c, &l));
        if (i % 3 > 1)
            EXPECT(client_read_reply(&c) && client_send_ticket(&c, ""));
        client_close(&c);
        host_turn(0);
    }
    rig_main(&r, &c);
    client_close(&c);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(link_log_lines),
    TAP_CASE(ticket_log_lines),
    TAP_CASE(link_cut_anywhere),
    TAP_CASE(link_with_one_byte_wrong),
    TAP_CASE(noise_instead_of_a_link),
    TAP_CASE(http_request_instead_of_a_link),
    TAP_CASE(many_silent_links),
    TAP_CASE(silent_links_end),
    TAP_CASE(main_announces_any_length),
    TAP_CASE(port_announces_any_length),
    TAP_CASE(usbredir_announces_any_length),
    TAP_CASE(webdav_announces_any_length),
    TAP_CASE(too_long_ends_at_the_header),
    TAP_CASE(announced_bodies_cost_nothing),
    TAP_CASE(message_log_lines),
    TAP_CASE(noise_on_channels),
    TAP_CASE(full_headers_with_noise),
    TAP_CASE(asks_and_never_reads),
    TAP_CASE(stale_session_ids),
    TAP_CASE(reset_instead_of_close),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "badinput", cases, TAP_COUNT(cases));
}
