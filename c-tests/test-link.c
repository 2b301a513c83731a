/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The link handshake: replies, errors to the byte, odd peers. */
#include "chardev.h"
#include "differences.h"
#include "rig.h"

#include <stdio.h>

/** The peer gets exactly an error reply, then the end. */
static void expect_error_reply(struct client *c, uint32_t error)
{
    uint8_t want[194] = "REDQ", got[194];
    put32(put32(put32(put32(want + 4, 2), 2), 178), error);
    size_t n = client_read(c, got, sizeof got);
    EXPECT_EQ(n, sizeof got);
    for (size_t i = 0; i < n; i++)
        EXPECT_MSG(got[i] == want[i], "byte %zu is %u, expected %u", i, got[i], want[i]);
    EXPECT(client_at_eof(c));
    client_close(c);
}

/** Sends the link message alone; its answer must be this error. */
static void refused(struct rig *r, const struct link *l, uint32_t error)
{
    struct client c;
    rig_connect(r, &c);
    EXPECT(client_send_link(&c, l));
    expect_error_reply(&c, error);
}

static void noauth_reply(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_main(&r, &c);
    EXPECT_EQ(c.reply.major, 2);
    EXPECT_EQ(c.reply.minor, 2);
    EXPECT_EQ(c.reply.size, 178 + 8);
    EXPECT_EQ(c.reply.n_common, 1);
    EXPECT_EQ(c.reply.n_channel, 1);
    EXPECT_EQ(c.reply.caps_offset, 178);
    EXPECT_EQ(c.reply.caps[0], CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER);
    EXPECT_EQ(c.reply.caps[1], 0x0f);
    client_close(&c);
    rig_close(&r);
}

static void noauth_any_password_but_no_garbage(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "whatever"), LINK_OK);
    client_close(&c);

    struct link l;
    uint8_t ticket[4 + TICKET_SIZE] = { 1 };
    memset(ticket + 4, 0x5a, TICKET_SIZE);
    link_init(&l, CH_MAIN, 0, 0);
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    EXPECT(client_write(&c, ticket, sizeof ticket));
    EXPECT_EQ(client_read_result(&c), LINK_PERMISSION_DENIED);
    EXPECT(client_at_eof(&c));
    client_close(&c);
    rig_close(&r);
}

static void full_headers(void)
{
    struct rig r;
    struct client c;
    struct link l;
    struct message m;
    rig_new(&r);
    spice_server_set_noauth(r.server);
    spice_server_set_name(r.server, "vm");
    rig_init_unix(&r);
    link_init(&l, CH_MAIN, 0, 0);
    l.caps[0] &= ~(uint32_t)CAP_MINI_HEADER;
    rig_connect(&r, &c);
    EXPECT_EQ(client_link_with(&c, &l, ""), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    EXPECT_EQ(m.serial, 1);
    EXPECT_EQ(m.sub_list, 0);
    message_free(&m);
    client_expect(&c, S_MAIN_NAME, &m);
    EXPECT_EQ(m.serial, 2);
    message_free(&m);
    EXPECT(client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    EXPECT_EQ(m.serial, 3);
    message_free(&m);
    /* the serial and sub_list a client sends mean nothing */
    c.serial = 0xdeadbeef;
    EXPECT(client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    EXPECT_EQ(m.serial, 4);
    message_free(&m);
    client_close(&c);
    rig_close(&r);
}

static void without_auth_selection(void)
{
    struct rig r;
    struct client c;
    struct link l;
    uint8_t ticket[TICKET_SIZE];
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    link_set_caps(&l, CAP_AUTH_SPICE | CAP_MINI_HEADER, 0);
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    EXPECT_EQ(c.reply.error, LINK_OK);
    /* no mechanism is awaited: the ticket comes at once */
    client_make_ticket(&c, "", 1, ticket);
    EXPECT(client_write(&c, ticket, sizeof ticket));
    EXPECT_EQ(client_read_result(&c), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void without_any_capability(void)
{
    struct rig r;
    struct client c;
    struct link l;
    struct message m;
    uint8_t ticket[TICKET_SIZE];
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    l.n_common = l.n_channel = 0;
    l.n_caps = 0;
    l.size = 18;
    l.caps_offset = 0; /* not looked at when there are none */
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    client_make_ticket(&c, "", 1, ticket);
    EXPECT(client_write(&c, ticket, sizeof ticket));
    EXPECT_EQ(client_read_result(&c), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    EXPECT_EQ(m.serial, 1);
    message_free(&m);
    client_close(&c);
    rig_close(&r);
}

static void session_ids(void)
{
    enum { N = 12 };
    struct rig r;
    uint32_t ids[N];
    rig_open(&r);
    for (int i = 0; i < N; i++) {
        struct client c;
        ids[i] = rig_main(&r, &c);
        EXPECT(ids[i] != 0);
        for (int j = 0; j < i; j++)
            EXPECT(ids[i] != ids[j]);
        client_close(&c);
    }
    rig_close(&r);
}

static void main_takes_any_id(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 77, 0, ""), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void wrong_magic(void)
{
    struct rig r;
    struct client c;
    rig_open(&r);
    rig_connect(&r, &c);
    /* four bytes are enough to be refused */
    EXPECT(client_write(&c, "RED!", 4));
    expect_error_reply(&c, LINK_INVALID_MAGIC);
    rig_close(&r);
}

static void wrong_major(void)
{
    static const uint32_t majors[] = { 1, 3, 0x7fffffff, 0xffffffff };
    struct rig r;
    struct link l;
    struct client c;
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    for (size_t i = 0; i < TAP_COUNT(majors); i++) {
        l.major = majors[i];
        rig_connect(&r, &c);
        EXPECT(client_send_link(&c, &l));
        expect_error_reply(&c, LINK_VERSION_MISMATCH);
    }
    l.major = 0;
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l));
    EXPECT(client_at_eof(&c));
    client_close(&c);
    rig_close(&r);
}

static void any_minor(void)
{
    static const uint32_t minors[] = { 0, 1, 3, 0xffffffff };
    struct rig r;
    struct link l;
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    for (size_t i = 0; i < TAP_COUNT(minors); i++) {
        struct client c;
        l.minor = minors[i];
        rig_connect(&r, &c);
        EXPECT_EQ(client_link_with(&c, &l, ""), LINK_OK);
        client_close(&c);
    }
    rig_close(&r);
}

static void message_sizes(void)
{
    static const uint32_t bad[] = { 0, 1, 17, 4097, 0x10000, 0x7fffffff, 0x80000000, 0xffffffff };
    struct rig r;
    struct link l;
    struct client c;
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        l.size = bad[i];
        refused(&r, &l, LINK_INVALID_DATA);
    }
    /* the greatest message allowed, mostly surplus */
    link_init(&l, CH_MAIN, 0, 0);
    l.size = 4096;
    rig_connect(&r, &c);
    uint8_t buf[16 + 4096] = { 0 };
    link_bytes(&l, buf);
    EXPECT(client_write(&c, buf, sizeof buf));
    EXPECT(client_read_reply(&c));
    EXPECT_EQ(c.reply.error, LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void capability_counts(void)
{
    struct rig r;
    struct link l;
    rig_open(&r);
    static const uint32_t counts[] = { 1025, 0x10000, 0x40000000, 0x7fffffff, 0x80000000,
                                       0xffffffff };
    for (size_t i = 0; i < TAP_COUNT(counts); i++) {
        link_init(&l, CH_MAIN, 0, 0);
        l.n_common = counts[i];
        refused(&r, &l, LINK_INVALID_DATA);
        link_init(&l, CH_MAIN, 0, 0);
        l.n_channel = counts[i];
        refused(&r, &l, LINK_INVALID_DATA);
    }
    /* counted words do not fit what was sent */
    link_init(&l, CH_MAIN, 0, 0);
    l.n_common = 2;
    refused(&r, &l, LINK_INVALID_DATA);
    link_init(&l, CH_MAIN, 0, 0);
    l.n_common = l.n_channel = 1024;
    refused(&r, &l, LINK_INVALID_DATA);
    rig_close(&r);
}

static void capability_offsets(void)
{
    static const uint32_t bad[] = { 0, 17, 19, 26, 0x7fffffff, 0xfffffff8, 0xffffffff };
    struct rig r;
    struct link l;
    struct client c;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        link_init(&l, CH_MAIN, 0, 0);
        l.caps_offset = bad[i];
        refused(&r, &l, LINK_INVALID_DATA);
    }
    /* a gap before the words is fine, even an odd one */
    link_init(&l, CH_MAIN, 0, 0);
    l.caps_offset = 18 + 5;
    l.size += 5;
    uint8_t buf[LINK_BYTES_MAX];
    size_t n = link_bytes(&l, buf);
    memmove(buf + 34 + 5, buf + 34, 8);
    rig_connect(&r, &c);
    EXPECT(client_write(&c, buf, n + 5) && client_read_reply(&c));
    EXPECT_EQ(c.reply.error, LINK_OK);
    EXPECT(client_send_ticket(&c, ""));
    EXPECT_EQ(client_read_result(&c), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void thousand_capabilities(void)
{
    struct rig r;
    struct link l;
    struct client c;
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    l.n_common = 1000;
    l.n_channel = 19;
    l.n_caps = 1019;
    memset(l.caps, 0xff, sizeof l.caps);
    l.caps[0] = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER;
    l.size = 18 + 4 * 1019;
    rig_connect(&r, &c);
    EXPECT_EQ(client_link_with(&c, &l, ""), LINK_OK);
    client_close(&c);
    rig_close(&r);
}

static void unknown_channels_get_no_reply(void)
{
    static const struct { int type, id; } unknown[] = {
        { 0, 0 }, { CH_DISPLAY, 0 }, { CH_PORT, 0 }, { CH_USBREDIR, 3 }, { CH_WEBDAV, 0 },
        { 12, 0 }, { 255, 255 },
    };
    struct rig r;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(unknown); i++) {
        struct client c;
        struct link l;
        link_init(&l, unknown[i].type, unknown[i].id, 0);
        rig_connect(&r, &c);
        EXPECT(client_send_link(&c, &l));
        EXPECT_MSG(client_at_eof(&c), "channel %d:%d is not just closed", unknown[i].type,
                   unknown[i].id);
        client_close(&c);
    }
    rig_close(&r);
}

static void bad_connection_id(void)
{
    struct rig r;
    struct client main_channel, c;
    struct chardev port;
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    uint32_t session = rig_main(&r, &main_channel);
    uint32_t wrong[] = { 0, session + 1, ~session };
    for (size_t i = 0; i < TAP_COUNT(wrong); i++) {
        rig_connect(&r, &c);
        EXPECT_EQ(client_link(&c, CH_PORT, 0, wrong[i], ""), LINK_BAD_CONNECTION_ID);
        EXPECT(client_at_eof(&c));
        client_close(&c);
    }
    /* the right one still works, and once the main channel is gone no more */
    rig_channel(&r, &c, CH_PORT, 0, session);
    client_close(&main_channel);
    EXPECT(client_closed(&c));
    client_close(&c);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_PORT, 0, session, ""), LINK_BAD_CONNECTION_ID);
    client_close(&c);
    chardev_remove(&port);
    rig_close(&r);
}

static void channel_vanishes_during_link(void)
{
    struct rig r;
    struct client main_channel, c;
    struct link l;
    struct chardev port;
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    uint32_t session = rig_main(&r, &main_channel);
    link_init(&l, CH_PORT, 0, session);
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    EXPECT_EQ(c.reply.error, LINK_OK);
    chardev_remove(&port);
    EXPECT(client_send_ticket(&c, ""));
    EXPECT_EQ(client_read_result(&c), LINK_CHANNEL_NOT_AVAILABLE);
    EXPECT(client_at_eof(&c));
    client_close(&c);
    client_close(&main_channel);
    rig_close(&r);
}

static void wrong_mechanism(void)
{
    static const uint32_t wrong[] = { 0, 3, 0x01000000, 0xffffffff };
    struct rig r;
    struct client c;
    struct link l;
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    for (size_t i = 0; i < TAP_COUNT(wrong); i++) {
        uint8_t mechanism[4];
        put32(mechanism, wrong[i]);
        rig_connect(&r, &c);
        EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
        EXPECT(client_write(&c, mechanism, 4));
        expect_error_reply(&c, LINK_INVALID_DATA);
    }
    rig_close(&r);
}

/* Upstream lets a client choose SASL although it is off. */
static void sasl_mechanism_while_off(void)
{
    struct rig r;
    struct client c;
    struct link l;
    static const uint8_t sasl[4] = { 2 };
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    rig_connect(&r, &c);
    EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
    EXPECT(client_write(&c, sasl, 4));
    if (differs(DIFF_SASL_WHILE_OFF, 0, 1))
        client_close(&c);
    else
        expect_error_reply(&c, LINK_INVALID_DATA);
    rig_close(&r);
}

static void byte_by_byte(void)
{
    struct rig r;
    struct client c;
    struct link l;
    struct message m;
    uint8_t buf[LINK_BYTES_MAX], auth[4 + TICKET_SIZE] = { 1 };
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    size_t n = link_bytes(&l, buf);
    rig_connect(&r, &c);
    for (size_t i = 0; i < n; i++) {
        EXPECT(client_write(&c, buf + i, 1));
        host_run_for(1);
    }
    EXPECT(client_read_reply(&c));
    client_make_ticket(&c, "", 1, auth + 4);
    for (size_t i = 0; i < sizeof auth; i++) {
        EXPECT(client_write(&c, auth + i, 1));
        host_run_for(1);
    }
    EXPECT_EQ(client_read_result(&c), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    static const uint8_t attach[6] = { C_MAIN_ATTACH_CHANNELS };
    for (size_t i = 0; i < sizeof attach; i++) {
        EXPECT(client_write(&c, attach + i, 1));
        host_run_for(1);
    }
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    client_close(&c);
    rig_close(&r);
}

static void pipelined(void)
{
    struct rig r;
    struct client c;
    struct link l;
    struct message m;
    uint8_t buf[LINK_BYTES_MAX + 4], rest[TICKET_SIZE + 12] = { 0 };
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    size_t n = link_bytes(&l, buf);
    put32(buf + n, 1);
    rig_connect(&r, &c);
    /* the mechanism right behind the link message ... */
    EXPECT(client_write(&c, buf, n + 4) && client_read_reply(&c));
    /* ... and two channel messages right behind the ticket */
    client_make_ticket(&c, "", 1, rest);
    put16(rest + TICKET_SIZE, C_MAIN_ATTACH_CHANNELS);
    put16(rest + TICKET_SIZE + 6, C_MAIN_ATTACH_CHANNELS);
    EXPECT(client_write(&c, rest, sizeof rest));
    EXPECT_EQ(client_read_result(&c), LINK_OK);
    client_expect(&c, S_MAIN_INIT, &m);
    message_free(&m);
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    client_close(&c);
    rig_close(&r);
}

static void silent_and_half_links_disturb_nobody(void)
{
    enum { N = 24 };
    struct rig r;
    struct client idle[N], c;
    struct link l;
    uint8_t buf[LINK_BYTES_MAX];
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    size_t n = link_bytes(&l, buf);
    for (size_t i = 0; i < N; i++) {
        rig_connect(&r, &idle[i]);
        /* from nothing at all to all but the last byte, and some after the reply */
        size_t part = i * (n - 1) / (N - 4);
        EXPECT(client_write(&idle[i], buf, part < n ? part : n));
    }
    uint32_t first = rig_main(&r, &c);
    EXPECT(first != 0);
    EXPECT(client_silent(&c, 50));
    client_close(&c);
    for (size_t i = 0; i < N; i++)
        client_close(&idle[i]);
    EXPECT(rig_main(&r, &c) != first);
    client_close(&c);
    rig_close(&r);
}

static void links_left_open_at_destroy(void)
{
    struct rig r;
    struct client silent, half, replied, main_channel;
    struct link l;
    rig_open(&r);
    rig_connect(&r, &silent);
    rig_connect(&r, &half);
    EXPECT(client_write(&half, "REDQ\2\0", 6));
    link_init(&l, CH_MAIN, 0, 0);
    rig_connect(&r, &replied);
    EXPECT(client_send_link(&replied, &l) && client_read_reply(&replied));
    rig_main(&r, &main_channel);
    r.open_clients = 4;
    rig_close(&r);
    EXPECT(client_closed(&main_channel));
    if (!differs(DIFF_DESTROY_LEFTOVERS, 0, 1)) {
        EXPECT(client_closed(&silent));
        EXPECT(client_closed(&half));
        EXPECT(client_closed(&replied));
    }
}

static void takeover_after_authentication_only(void)
{
    struct rig r;
    struct client first, second;
    struct link l;
    rig_open(&r);
    rig_main(&r, &first);
    link_init(&l, CH_MAIN, 0, 0);
    rig_connect(&r, &second);
    EXPECT(client_send_link(&second, &l) && client_read_reply(&second));
    EXPECT(client_silent(&first, 50));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    EXPECT(client_send_ticket(&second, ""));
    EXPECT_EQ(client_read_result(&second), LINK_OK);
    EXPECT(client_at_eof(&first));
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    client_close(&first);
    client_close(&second);
    rig_close(&r);
}

static void interleaved_links(void)
{
    enum { N = 16 };
    struct rig r;
    struct client c[N];
    struct link l;
    rig_open(&r);
    link_init(&l, CH_MAIN, 0, 0);
    for (int i = 0; i < N; i++) {
        rig_connect(&r, &c[i]);
        EXPECT(client_send_link(&c[i], &l));
    }
    for (int i = 0; i < N; i++)
        EXPECT(client_read_reply(&c[N - 1 - i]));
    for (int i = 0; i < N; i++)
        EXPECT(client_send_ticket(&c[i], ""));
    for (int i = 0; i < N; i++)
        EXPECT_EQ(client_read_result(&c[i]), LINK_OK);
    EXPECT_EQ(spice_server_get_num_clients(r.server), 1);
    for (int i = 0; i < N; i++)
        client_close(&c[i]);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(noauth_reply),
    TAP_CASE(noauth_any_password_but_no_garbage),
    TAP_CASE(full_headers),
    TAP_CASE(without_auth_selection),
    TAP_CASE(without_any_capability),
    TAP_CASE(session_ids),
    TAP_CASE(main_takes_any_id),
    TAP_CASE(wrong_magic),
    TAP_CASE(wrong_major),
    TAP_CASE(any_minor),
    TAP_CASE(message_sizes),
    TAP_CASE(capability_counts),
    TAP_CASE(capability_offsets),
    TAP_CASE(thousand_capabilities),
    TAP_CASE(unknown_channels_get_no_reply),
    TAP_CASE(bad_connection_id),
    TAP_CASE(channel_vanishes_during_link),
    TAP_CASE(wrong_mechanism),
    TAP_CASE(sasl_mechanism_while_off),
    TAP_CASE(byte_by_byte),
    TAP_CASE(pipelined),
    TAP_CASE(silent_and_half_links_disturb_nobody),
    TAP_CASE(links_left_open_at_destroy),
    TAP_CASE(takeover_after_authentication_only),
    TAP_CASE(interleaved_links),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "link", cases, TAP_COUNT(cases));
}
