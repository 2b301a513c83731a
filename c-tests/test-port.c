/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Port, usbredir and webdav channels: messages, callbacks, life and death. */
#define _GNU_SOURCE
#include "chardev.h"
#include "rig.h"

#include <unistd.h>

/** One port named org.example.0 and a main channel. */
struct bench {
    struct rig r;
    struct client main_channel;
    uint32_t session;
    struct chardev port;
};

static void open_bench(struct bench *b)
{
    rig_open(&b->r);
    chardev_add_port(&b->port, b->r.server, "org.example.0");
    b->session = rig_main(&b->r, &b->main_channel);
}

static void close_bench(struct bench *b)
{
    EXPECT(client_silent(&b->main_channel, 0));
    client_close(&b->main_channel);
    chardev_remove(&b->port);
    rig_close(&b->r);
}

static void expect_port_init(struct client *c, const char *name, uint8_t opened)
{
    struct message m;
    size_t len = strlen(name) + 1;
    client_expect(c, S_PORT_INIT, &m);
    EXPECT_EQ(m.size, 9 + len);
    EXPECT_EQ(get32(m.body), len);
    EXPECT_EQ(get32(m.body + 4), 9);
    EXPECT_EQ(m.body[8], opened);
    EXPECT(!memcmp(m.body + 9, name, len));
    message_free(&m);
}

/** Links the port and takes its PORT_INIT. */
static void connect_port(struct bench *b, struct client *c)
{
    rig_channel(&b->r, c, CH_PORT, 0, b->session);
    expect_port_init(c, "org.example.0", 0);
}

static void expect_data(struct client *c, const void *data, size_t n)
{
    struct message m;
    size_t got = 0;
    while (got < n) {
        client_expect(c, VMC_DATA, &m);
        EXPECT(m.size >= 1 && got + m.size <= n);
        EXPECT(!memcmp(m.body, (const uint8_t *)data + got, m.size));
        got += m.size;
        message_free(&m);
    }
}

static void expect_event(struct client *c, uint8_t event)
{
    struct message m;
    client_expect(c, S_PORT_EVENT, &m);
    EXPECT_EQ(m.size, 1);
    EXPECT_EQ(m.body[0], event);
    message_free(&m);
}

static void port_init_message(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    rig_channel(&b.r, &c, CH_PORT, 0, b.session);
    EXPECT_EQ(c.reply.n_common, 1);
    EXPECT_EQ(c.reply.caps[0], CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER);
    EXPECT_EQ(c.reply.n_channel, 1);
    EXPECT_EQ(c.reply.caps[1], VMC_CAP_LZ4);
    expect_port_init(&c, "org.example.0", 0);
    EXPECT(client_silent(&c, 20));
    client_close(&c);
    close_bench(&b);
}

static void port_init_says_opened(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    static const struct { uint8_t event, opened; } steps[] = {
        { 0, 1 }, { 2, 1 }, { 1, 0 }, { 2, 0 }, { 200, 0 }, { 0, 1 }, { 200, 1 },
    };
    for (size_t i = 0; i < TAP_COUNT(steps); i++) {
        spice_server_port_event(&b.port.sin, steps[i].event);
        rig_channel(&b.r, &c, CH_PORT, 0, b.session);
        expect_port_init(&c, "org.example.0", steps[i].opened);
        client_close(&c);
        EXPECT(chardev_wait_states(&b.port, 2 * (int)i + 2));
    }
    close_bench(&b);
}

static void webdav_has_port_init_too(void)
{
    struct bench b;
    struct client c;
    struct chardev webdav;
    open_bench(&b);
    chardev_add_port(&webdav, b.r.server, "org.spice-space.webdav.0");
    rig_channel(&b.r, &c, CH_WEBDAV, 0, b.session);
    expect_port_init(&c, "org.spice-space.webdav.0", 0);
    client_close(&c);
    chardev_remove(&webdav);
    close_bench(&b);
}

static void usbredir_has_none(void)
{
    struct bench b;
    struct client c;
    struct chardev usb;
    open_bench(&b);
    chardev_add_usbredir(&usb, b.r.server);
    rig_channel(&b.r, &c, CH_USBREDIR, 0, b.session);
    EXPECT(chardev_wait_states(&usb, 1));
    EXPECT(client_silent(&c, 20));
    chardev_say(&usb, "hello", 5);
    expect_data(&c, "hello", 5);
    EXPECT(client_send(&c, VMC_DATA, "world", 5));
    EXPECT(chardev_wait_input(&usb, 5));
    EXPECT(!memcmp(usb.in, "world", 5));
    /* port events do not exist here */
    spice_server_port_event(&usb.sin, 0);
    EXPECT(client_send(&c, C_PORT_EVENT, "\2", 1));
    EXPECT(client_closed(&c));
    EXPECT_EQ(usb.n_port_events, 0);
    client_close(&c);
    chardev_remove(&usb);
    close_bench(&b);
}

static void events_to_the_client(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_port(&b, &c);
    static const uint8_t events[] = { 0, 1, 2, 0, 77, 255, 1 };
    for (size_t i = 0; i < sizeof events; i++)
        spice_server_port_event(&b.port.sin, events[i]);
    for (size_t i = 0; i < sizeof events; i++)
        expect_event(&c, events[i]);
    /* events and data keep their order */
    spice_server_port_event(&b.port.sin, 0);
    chardev_say(&b.port, "data", 4);
    spice_server_port_event(&b.port.sin, 1);
    expect_event(&c, 0);
    expect_data(&c, "data", 4);
    expect_event(&c, 1);
    client_close(&c);
    close_bench(&b);
}

static void events_to_the_device(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_port(&b, &c);
    static const uint8_t events[] = { 0, 1, 2, 77, 255 };
    for (size_t i = 0; i < sizeof events; i++)
        EXPECT(client_send(&c, C_PORT_EVENT, events + i, 1));
    /* surplus bytes are not looked at */
    EXPECT(client_send(&c, C_PORT_EVENT, "\2surplus", 8));
    EXPECT(chardev_wait_events(&b.port, sizeof events + 1));
    EXPECT(!memcmp(b.port.port_events, events, sizeof events));
    EXPECT_EQ(b.port.port_events[sizeof events], 2);
    EXPECT(client_send(&c, C_PORT_EVENT, NULL, 0));
    EXPECT(client_closed(&c));
    EXPECT_EQ(b.port.n_port_events, sizeof events + 1);
    client_close(&c);
    close_bench(&b);
}

/* Before version 1.2 the interface ended before event(). */
static void old_interface_gets_no_events(void)
{
    struct bench b;
    struct client c;
    struct chardev old;
    open_bench(&b);
    chardev_prepare(&old, "port", "org.example.old");
    chardev_interface(&old, 1, 0);
    EXPECT_EQ(chardev_add(&old, b.r.server), 0);
    rig_channel(&b.r, &c, CH_PORT, 1, b.session);
    expect_port_init(&c, "org.example.old", 0);
    EXPECT(client_send(&c, C_PORT_EVENT, "\2", 1));
    EXPECT(client_send(&c, VMC_DATA, "x", 1));
    EXPECT(chardev_wait_input(&old, 1));
    EXPECT_EQ(old.n_port_events, 0);
    client_close(&c);
    chardev_remove(&old);
    close_bench(&b);
}

static void missing_callbacks(void)
{
    struct bench b;
    struct client c;
    struct chardev bare;
    open_bench(&b);
    chardev_prepare(&bare, "port", "org.example.bare");
    bare.sif.state = NULL;
    bare.sif.event = NULL;
    EXPECT_EQ(chardev_add(&bare, b.r.server), 0);
    rig_channel(&b.r, &c, CH_PORT, 1, b.session);
    expect_port_init(&c, "org.example.bare", 0);
    EXPECT(client_send(&c, C_PORT_EVENT, "\2", 1));
    EXPECT(client_send(&c, VMC_DATA, "x", 1));
    EXPECT(chardev_wait_input(&bare, 1));
    client_close(&c);
    chardev_remove(&bare);
    close_bench(&b);
}

static void states_follow_the_client(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    EXPECT_EQ(b.port.n_states, 0);
    for (int i = 0; i < 3; i++) {
        connect_port(&b, &c);
        EXPECT(chardev_wait_states(&b.port, 2 * i + 1));
        EXPECT_EQ(b.port.states[2 * i], 1);
        client_close(&c);
        EXPECT(chardev_wait_states(&b.port, 2 * i + 2));
        EXPECT_EQ(b.port.states[2 * i + 1], 0);
    }
    EXPECT_EQ(b.port.n_states, 6);
    close_bench(&b);
}

static void data_both_ways_with_full_headers(void)
{
    struct bench b;
    struct client c;
    struct link l;
    struct message m;
    open_bench(&b);
    link_init(&l, CH_PORT, 0, b.session);
    l.caps[0] &= ~(uint32_t)CAP_MINI_HEADER;
    rig_connect(&b.r, &c);
    EXPECT_EQ(client_link_with(&c, &l, ""), LINK_OK);
    expect_port_init(&c, "org.example.0", 0);
    chardev_say(&b.port, "one", 3);
    client_expect(&c, VMC_DATA, &m);
    EXPECT_EQ(m.serial, 2);
    EXPECT_EQ(m.size, 3);
    message_free(&m);
    EXPECT(client_send(&c, VMC_DATA, "two", 3));
    EXPECT(chardev_wait_input(&b.port, 3));
    EXPECT(!memcmp(b.port.in, "two", 3));
    client_close(&c);
    close_bench(&b);
}

/* A caller of wakeup sees the effect when the call returns. */
static void device_is_read_inside_wakeup(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_port(&b, &c);
    EXPECT(chardev_wait_states(&b.port, 1));
    chardev_say(&b.port, "now", 3);
    EXPECT_EQ(chardev_unread(&b.port), 0);
    expect_data(&c, "now", 3);
    client_close(&c);
    close_bench(&b);
}

static void second_client_is_refused(void)
{
    struct bench b;
    struct client c, second;
    open_bench(&b);
    connect_port(&b, &c);
    EXPECT(chardev_wait_states(&b.port, 1));
    rig_channel(&b.r, &second, CH_PORT, 0, b.session);
    EXPECT(client_at_eof(&second));
    client_close(&second);
    EXPECT_EQ(b.port.n_states, 1);
    chardev_say(&b.port, "still", 5);
    expect_data(&c, "still", 5);
    client_close(&c);
    EXPECT(chardev_wait_states(&b.port, 2));
    connect_port(&b, &c);
    client_close(&c);
    close_bench(&b);
}

/* Whoever leaves as soon as it is linked leaves the device to the next one. */
static void gone_as_soon_as_linked(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    for (int i = 0; i < 100; i++) {
        rig_channel(&b.r, &c, CH_PORT, 0, b.session);
        client_close(&c);
        EXPECT(chardev_wait_states(&b.port, 2 * i + 2));
    }
    connect_port(&b, &c);
    client_close(&c);
    close_bench(&b);
}

/* The end of one client and the link of the next one come to the main loop in the same
 * turn, in either order: the next one is not refused for the sake of somebody who left. */
static void leaves_while_the_next_one_links(void)
{
    struct bench b;
    struct client old, next;
    struct link l;
    open_bench(&b);
    connect_port(&b, &old);
    for (int i = 0; i < 20; i++) {
        rig_connect(&b.r, &next);
        link_init(&l, CH_PORT, 0, b.session);
        EXPECT(client_send_link(&next, &l));
        EXPECT(client_read_reply(&next));
        client_close(&old);
        EXPECT(client_send_ticket(&next, ""));
        usleep(20000); /* the I/O thread looks at the ticket, the main loop stands still */
        EXPECT_EQ(client_read_result(&next), 0);
        expect_port_init(&next, "org.example.0", 0);
        old = next;
    }
    EXPECT(chardev_wait_states(&b.port, 41));
    client_close(&old);
    close_bench(&b);
}

static void removal_ends_the_channel(void)
{
    struct bench b;
    struct client c;
    struct chardev extra;
    open_bench(&b);
    chardev_add_port(&extra, b.r.server, "org.example.1");
    rig_channel(&b.r, &c, CH_PORT, 1, b.session);
    EXPECT(chardev_wait_states(&extra, 1));
    EXPECT_EQ(spice_server_remove_interface(&extra.sin.base), 0);
    extra.added = false;
    EXPECT_EQ(extra.n_states, 2);
    EXPECT_EQ(extra.states[1], 0);
    EXPECT(client_closed(&c));
    client_close(&c);
    chardev_forget(&extra);
    /* its id serves the next device */
    chardev_add_port(&extra, b.r.server, "org.example.2");
    rig_channel(&b.r, &c, CH_PORT, 1, b.session);
    expect_port_init(&c, "org.example.2", 0);
    client_close(&c);
    chardev_remove(&extra);
    close_bench(&b);
}

static void removal_without_client(void)
{
    struct bench b;
    struct client c;
    struct link l;
    open_bench(&b);
    chardev_remove(&b.port);
    EXPECT_EQ(b.port.n_states, 0);
    link_init(&l, CH_PORT, 0, b.session);
    rig_connect(&b.r, &c);
    EXPECT(client_send_link(&c, &l));
    EXPECT(client_at_eof(&c));
    client_close(&c);
    close_bench(&b);
}

static void lowest_free_id(void)
{
    struct rig r;
    struct client m, c;
    struct chardev d[4];
    static const char *const names[] = { "p0", "p1", "p2", "p3" };
    rig_open(&r);
    for (int i = 0; i < 4; i++)
        chardev_add_port(&d[i], r.server, names[i]);
    chardev_remove(&d[1]);
    chardev_remove(&d[2]);
    uint32_t session = rig_main(&r, &m);
    chardev_add_port(&d[2], r.server, "again1");
    chardev_add_port(&d[1], r.server, "again2");
    static const char *const want[] = { "p0", "again1", "again2", "p3" };
    for (int i = 0; i < 4; i++) {
        rig_channel(&r, &c, CH_PORT, i, session);
        expect_port_init(&c, want[i], 0);
        client_close(&c);
    }
    client_close(&m);
    for (int i = 0; i < 4; i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

static void at_most_256_of_a_type(void)
{
    static struct chardev d[258];
    struct rig r;
    struct client m, c;
    rig_open(&r);
    for (int i = 0; i < 256; i++)
        chardev_add_port(&d[i], r.server, "many");
    chardev_prepare(&d[256], "port", "too many");
    EXPECT_EQ(chardev_add(&d[256], r.server), 0);
    EXPECT(!d[256].added);
    /* other types are not concerned */
    chardev_add_usbredir(&d[257], r.server);
    uint32_t session = rig_main(&r, &m);
    rig_channel(&r, &c, CH_PORT, 255, session);
    expect_port_init(&c, "many", 0);
    client_close(&c);
    client_close(&m);
    for (int i = 0; i < 258; i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

static void hot_plug_a_hundred_times(void)
{
    struct bench b;
    struct client c;
    struct chardev d;
    struct message m;
    open_bench(&b);
    EXPECT(client_send(&b.main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&b.main_channel, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    for (int i = 0; i < 100; i++) {
        chardev_add_usbredir(&d, b.r.server);
        client_expect(&b.main_channel, S_MAIN_CHANNELS_LIST, &m);
        EXPECT_EQ(m.size, 6);
        EXPECT_EQ(m.body[5], 0);
        message_free(&m);
        rig_channel(&b.r, &c, CH_USBREDIR, 0, b.session);
        EXPECT(chardev_wait_states(&d, 1));
        EXPECT(client_send(&c, VMC_DATA, &i, sizeof i));
        EXPECT(chardev_wait_input(&d, sizeof i));
        EXPECT(!memcmp(d.in, &i, sizeof i));
        chardev_remove(&d);
        EXPECT_EQ(d.states[1], 0);
        EXPECT(client_closed(&c));
        client_close(&c);
    }
    close_bench(&b);
}

static void recognized_subtypes(void)
{
    const char **list = spice_server_char_device_recognized_subtypes();
    bool usbredir = false, vdagent = false;
    int n = 0;
    for (; list[n]; n++) {
        EXPECT(strcmp(list[n], "port") != 0);
        usbredir = usbredir || !strcmp(list[n], "usbredir");
        vdagent = vdagent || !strcmp(list[n], "vdagent");
    }
    EXPECT(n >= 2 && n <= 3);
    EXPECT(usbredir && vdagent);
    EXPECT(spice_server_char_device_recognized_subtypes() == list);
}

static void unknown_subtypes(void)
{
    static const char *const names[] = { "", "Port", "usbredir ", "tunnel", "port2" };
    struct bench b;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(names); i++) {
        struct chardev d;
        chardev_prepare(&d, names[i], "org.example.x");
        EXPECT_EQ(chardev_add(&d, b.r.server), 0);
        EXPECT_MSG(!d.added, "subtype \"%s\" is accepted", names[i]);
        /* QEMU calls all of these without having looked */
        spice_server_char_device_wakeup(&d.sin);
        spice_server_port_event(&d.sin, 0);
        EXPECT_EQ(spice_server_remove_interface(&d.sin.base), -1);
        EXPECT_EQ(d.reads + d.writes + d.n_states + d.n_port_events, 0);
        chardev_forget(&d);
    }
    close_bench(&b);
}

static void port_without_name(void)
{
    struct bench b;
    struct chardev d;
    open_bench(&b);
    chardev_prepare(&d, "port", NULL);
    EXPECT_EQ(chardev_add(&d, b.r.server), 0);
    EXPECT(!d.added);
    chardev_forget(&d);
    close_bench(&b);
}

static void removed_twice(void)
{
    struct bench b;
    open_bench(&b);
    EXPECT_EQ(spice_server_remove_interface(&b.port.sin.base), 0);
    EXPECT(b.port.sin.st == NULL);
    EXPECT_EQ(spice_server_remove_interface(&b.port.sin.base), -1);
    b.port.added = false;
    spice_server_char_device_wakeup(&b.port.sin);
    spice_server_port_event(&b.port.sin, 0);
    /* and added again */
    EXPECT_EQ(chardev_add(&b.port, b.r.server), 0);
    EXPECT(b.port.added);
    struct client c;
    connect_port(&b, &c);
    client_close(&c);
    close_bench(&b);
}

static void newer_interface_is_refused(void)
{
    struct bench b;
    struct chardev d;
    open_bench(&b);
    chardev_prepare(&d, "port", "org.example.new");
    chardev_interface(&d, SPICE_INTERFACE_CHAR_DEVICE_MINOR + 1, 0);
    EXPECT_EQ(chardev_add(&d, b.r.server), -1);
    EXPECT(!d.added);
    d.sif.base.minor_version = 0;
    d.sif.base.major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR + 1;
    EXPECT_EQ(chardev_add(&d, b.r.server), -1);
    EXPECT(!d.added);
    chardev_forget(&d);
    close_bench(&b);
}

static void unknown_types_end_the_channel_only(void)
{
    static const uint16_t types[] = { 0, 7, 100, 103, 200, 202, 0xffff };
    static const uint8_t body[8];
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(types); i++) {
        connect_port(&b, &c);
        EXPECT(client_send(&c, types[i], body, sizeof body));
        EXPECT_MSG(client_closed(&c), "type %u is taken", types[i]);
        client_close(&c);
        EXPECT(chardev_wait_states(&b.port, 2 * (int)i + 2));
    }
    EXPECT_EQ(b.port.in_len, 0);
    close_bench(&b);
}

static void empty_data_ends_the_channel(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_port(&b, &c);
    EXPECT(client_send(&c, VMC_DATA, NULL, 0));
    EXPECT(client_closed(&c));
    client_close(&c);
    EXPECT_EQ(b.port.writes, 0);
    close_bench(&b);
}

static void bad_compression_ends_the_channel(void)
{
    static const struct { uint8_t body[9]; uint32_t size; } bad[] = {
        { { 0, 'x' }, 2 },                                   /* NONE */
        { { 2, 4, 0, 0, 0, 'x', 'x', 'x', 'x' }, 9 },        /* unknown */
        { { 255, 4, 0, 0, 0, 'x' }, 6 },
        { { 1 }, 1 },                                        /* LZ4, cut short */
        { { 1, 4, 0, 0, 0, 0xff, 0xff, 0xff, 0xff }, 9 },    /* LZ4, nonsense */
        { { 1, 0xff, 0xff, 0xff, 0x7f, 0xff, 0xff, 0xff, 0xff }, 9 },
    };
    struct bench b;
    struct client c;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        connect_port(&b, &c);
        EXPECT(client_send(&c, VMC_COMPRESSED, bad[i].body, bad[i].size));
        EXPECT_MSG(client_closed(&c), "number %zu is taken", i);
        client_close(&c);
        EXPECT(chardev_wait_states(&b.port, 2 * (int)i + 2));
    }
    EXPECT_EQ(b.port.in_len, 0);
    close_bench(&b);
}

static void flush_mark_ends_the_channel(void)
{
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_port(&b, &c);
    EXPECT(client_send(&c, C_FLUSH_MARK, NULL, 0));
    EXPECT(client_closed(&c));
    client_close(&c);
    close_bench(&b);
}

static void migrate_data_is_not_expected(void)
{
    static const uint8_t body[33] = { 0x53, 0x56, 0x4d, 0x44, 1 };
    struct bench b;
    struct client c;
    open_bench(&b);
    connect_port(&b, &c);
    EXPECT(client_send(&c, C_MIGRATE_DATA, body, sizeof body));
    EXPECT(client_closed(&c));
    client_close(&c);
    EXPECT_EQ(b.port.writes, 0);
    close_bench(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(port_init_message),
    TAP_CASE(port_init_says_opened),
    TAP_CASE(webdav_has_port_init_too),
    TAP_CASE(usbredir_has_none),
    TAP_CASE(events_to_the_client),
    TAP_CASE(events_to_the_device),
    TAP_CASE(old_interface_gets_no_events),
    TAP_CASE(missing_callbacks),
    TAP_CASE(states_follow_the_client),
    TAP_CASE(data_both_ways_with_full_headers),
    TAP_CASE(device_is_read_inside_wakeup),
    TAP_CASE(second_client_is_refused),
    TAP_CASE(leaves_while_the_next_one_links),
    TAP_CASE(gone_as_soon_as_linked),
    TAP_CASE(removal_ends_the_channel),
    TAP_CASE(removal_without_client),
    TAP_CASE(lowest_free_id),
    TAP_CASE(at_most_256_of_a_type),
    TAP_CASE(hot_plug_a_hundred_times),
    TAP_CASE(recognized_subtypes),
    TAP_CASE(unknown_subtypes),
    TAP_CASE(port_without_name),
    TAP_CASE(removed_twice),
    TAP_CASE(newer_interface_is_refused),
    TAP_CASE(unknown_types_end_the_channel_only),
    TAP_CASE(empty_data_ends_the_channel),
    TAP_CASE(bad_compression_ends_the_channel),
    TAP_CASE(flush_mark_ends_the_channel),
    TAP_CASE(migrate_data_is_not_expected),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "port", cases, TAP_COUNT(cases));
}
