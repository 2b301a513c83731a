/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spice_server_register_channel() and spice_server_channel_statistics(), which only
 * this library has: which device gets which channel, how that channel is served, what
 * it has moved. Not run on Debian's library.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "packed.h"
#include "rig.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <spice-server-rs.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

static struct rig r;
static struct client main_channel;
static uint32_t session;

typedef SpiceServerChannelRule rule;

/** A rule with only its size set. */
static rule empty_rule(void)
{
    return (rule){ .size = sizeof(rule) };
}

static rule port_rule(const char *name, uint32_t type)
{
    return (rule){ .size = sizeof(rule), .port_name = name, .channel_type = type };
}

static rule subtype_rule(const char *subtype, uint32_t type)
{
    return (rule){ .size = sizeof(rule), .subtype = subtype, .channel_type = type };
}

static void add_rule(rule what)
{
    EXPECT_EQ(spice_server_register_channel(r.server, &what), 0);
}

/** The call returns -1 and says why in one line. */
static void refused(const rule *what, const char *about, const char *why)
{
    tap_log_mark();
    EXPECT_MSG(spice_server_register_channel(r.server, what) == -1, "%s is taken", about);
    EXPECT_MSG(tap_log_lines("Spice") == 1, "%d log lines about %s", tap_log_lines("Spice"), about);
    EXPECT_MSG(tap_log_lines(why) == 1, "the line about %s does not say \"%s\"", about, why);
}

static void connect_main(void)
{
    session = rig_main(&r, &main_channel);
    main_channel.answer_pings = true;
}

static void link_to(struct client *c, int type, int id)
{
    rig_channel_caps(&r, c, type, id, session,
                     CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER, VMC_CAP_LZ4);
    c->answer_pings = true;
}

static void expect_port_init(struct client *c, const char *name)
{
    struct message m;
    client_expect(c, S_PORT_INIT, &m);
    EXPECT_EQ(m.size, 9 + strlen(name) + 1);
    EXPECT(!memcmp(m.body + 9, name, strlen(name) + 1));
    message_free(&m);
}

static void expect_data(struct client *c, const char *text)
{
    struct message m;
    client_expect(c, VMC_DATA, &m);
    EXPECT(m.size == strlen(text) && !memcmp(m.body, text, m.size));
    message_free(&m);
}

static void add_device(struct chardev *d, const char *subtype, const char *portname)
{
    chardev_prepare(d, subtype, portname);
    EXPECT_EQ(chardev_add(d, r.server), 0);
    EXPECT_MSG(d->added, "%s %s is not served", subtype, portname ? portname : "");
}

/** A port that became this channel: its name comes first, then data go both ways. */
static void port_is_served(struct chardev *d, int type, int id)
{
    struct client c;
    int states = d->n_states;
    uint64_t before = d->in_len;
    link_to(&c, type, id);
    expect_port_init(&c, d->sin.portname);
    EXPECT(chardev_wait_states(d, states + 1));
    chardev_say(d, "from the device", 15);
    expect_data(&c, "from the device");
    EXPECT(client_send(&c, VMC_DATA, "to the device", 13));
    EXPECT(chardev_wait_input(d, before + 13));
    client_close(&c);
    EXPECT(chardev_wait_states(d, states + 2));
}

/* ---- which device becomes which channel ---- */

static void rules_choose_the_type(void)
{
    static const struct { const char *name; int type, id; } ports[] = {
        { "org.example.exact", 100, 0 },
        { "org.example.other", 101, 0 },
        { "org.example.exactly", 101, 1 },
        { "org.example.deep.one", 102, 0 },
        { "org.example.deep.", 102, 1 },
        { "org.example.", 101, 2 },
        { "org.example", CH_PORT, 0 },
        { "com.example.exact", CH_PORT, 1 },
        { "org.spice-space.webdav.0", CH_WEBDAV, 0 },
        { "com.vendor.files", CH_WEBDAV, 1 },
        { "com.vendor.plain", CH_PORT, 2 },
    };
    struct chardev d[TAP_COUNT(ports)];
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    /* the order in which they come does not matter */
    add_rule(port_rule("org.example.*", 101));
    add_rule(port_rule("org.example.exact", 100));
    add_rule(port_rule("com.vendor.files", CH_WEBDAV));
    rig_init_unix(&r);
    add_rule(port_rule("org.example.deep.*", 102));
    add_rule(port_rule("com.vendor.plain", 0));
    for (size_t i = 0; i < TAP_COUNT(ports); i++)
        add_device(&d[i], "port", ports[i].name);
    connect_main();
    for (size_t i = 0; i < TAP_COUNT(ports); i++)
        port_is_served(&d[i], ports[i].type, ports[i].id);
    client_close(&main_channel);
    for (size_t i = 0; i < TAP_COUNT(ports); i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

static void every_port(void)
{
    struct chardev own, webdav, named;
    rig_open(&r);
    add_rule(port_rule("*", 255));
    add_rule(port_rule("org.example.port", CH_PORT));
    add_device(&own, "port", "anything");
    add_device(&webdav, "port", "org.spice-space.webdav.0");
    add_device(&named, "port", "org.example.port");
    connect_main();
    port_is_served(&own, 255, 0);
    port_is_served(&webdav, CH_WEBDAV, 0);
    port_is_served(&named, CH_PORT, 0);
    client_close(&main_channel);
    chardev_remove(&own);
    chardev_remove(&webdav);
    chardev_remove(&named);
    rig_close(&r);
}

static void rules_are_for_devices_added_later(void)
{
    struct chardev before, after;
    rig_open(&r);
    add_device(&before, "port", "org.example.0");
    add_rule(port_rule("org.example.*", 12));
    add_device(&after, "port", "org.example.1");
    connect_main();
    port_is_served(&before, CH_PORT, 0);
    port_is_served(&after, 12, 0);
    client_close(&main_channel);
    chardev_remove(&before);
    chardev_remove(&after);
    rig_close(&r);
}

/* What a rule says is copied. */
static void texts_are_copied(void)
{
    char name[] = "org.example.0", channel[] = "mine";
    struct chardev d;
    rig_open(&r);
    rule what = port_rule(name, 99);
    what.name = channel;
    EXPECT_EQ(spice_server_register_channel(r.server, &what), 0);
    memset(name, 'x', sizeof name - 1);
    memset(channel, 'x', sizeof channel - 1);
    memset(&what, 0xff, sizeof what);
    add_device(&d, "port", "org.example.0");
    connect_main();
    port_is_served(&d, 99, 0);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "mine", 1), 0);
    client_close(&main_channel);
    chardev_remove(&d);
    rig_close(&r);
}

static bool recognized(const char *subtype)
{
    const char **list = spice_server_char_device_recognized_subtypes();
    for (int i = 0; list[i]; i++)
        if (!strcmp(list[i], subtype))
            return true;
    return false;
}

static void a_new_subtype(void)
{
    struct chardev camera, second, nobody;
    struct client c;
    struct message m;
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    EXPECT(!recognized("camera"));
    add_rule(subtype_rule("camera", 120));
    rig_init_unix(&r);
    EXPECT(recognized("camera"));
    EXPECT(recognized("usbredir") && recognized("vdagent") && !recognized("port"));
    add_rule(subtype_rule("scanner", 121));
    EXPECT(recognized("camera") && recognized("scanner"));
    /* the port of the same name has nothing to do with it */
    add_device(&camera, "camera", NULL);
    connect_main();
    EXPECT(client_send(&main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, 120, 0));
    EXPECT(!message_lists(&m, 121, 0));
    message_free(&m);
    add_device(&second, "camera", "org.example.name");
    client_expect(&main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, 120, 1));
    message_free(&m);
    /* no port messages, although one has a name */
    for (int id = 0; id < 2; id++) {
        struct chardev *d = id ? &second : &camera;
        link_to(&c, 120, id);
        EXPECT(chardev_wait_states(d, 1));
        EXPECT(client_silent(&c, 20));
        chardev_say(d, "picture", 7);
        expect_data(&c, "picture");
        EXPECT(client_send(&c, VMC_DATA, "smile", 5));
        EXPECT(chardev_wait_input(d, 5));
        tap_log_mark();
        spice_server_port_event(&d->sin, 0);
        EXPECT_EQ(tap_log_lines("Spice"), 1);
        EXPECT(client_silent(&c, 20));
        EXPECT(client_send(&c, C_PORT_EVENT, "\2", 1));
        EXPECT(client_closed(&c));
        EXPECT_EQ(d->n_port_events, 0);
        client_close(&c);
    }
    /* nobody has registered this one */
    chardev_prepare(&nobody, "Camera", NULL);
    EXPECT_EQ(chardev_add(&nobody, r.server), 0);
    EXPECT(!nobody.added);
    chardev_forget(&nobody);
    client_close(&main_channel);
    chardev_remove(&camera);
    chardev_remove(&second);
    rig_close(&r);
}

static void ports_have_port_messages(void)
{
    struct chardev d;
    struct client c;
    struct message m;
    rig_open(&r);
    add_rule(port_rule("org.example.0", 77));
    add_device(&d, "port", "org.example.0");
    spice_server_port_event(&d.sin, 0);
    connect_main();
    link_to(&c, 77, 0);
    client_expect(&c, S_PORT_INIT, &m);
    EXPECT_EQ(m.body[8], 1);
    message_free(&m);
    EXPECT(client_send(&c, C_PORT_EVENT, "\2", 1));
    EXPECT(chardev_wait_events(&d, 1));
    EXPECT_EQ(d.port_events[0], 2);
    spice_server_port_event(&d.sin, 1);
    client_expect(&c, S_PORT_EVENT, &m);
    EXPECT_EQ(m.body[0], 1);
    message_free(&m);
    client_close(&c);
    client_close(&main_channel);
    chardev_remove(&d);
    rig_close(&r);
}

static void ids_count_within_a_type(void)
{
    struct chardev d[3];
    rig_open(&r);
    add_rule(port_rule("a.*", 50));
    add_rule(port_rule("b.*", 50));
    add_rule(subtype_rule("camera", 50));
    add_device(&d[0], "port", "a.0");
    add_device(&d[1], "camera", NULL);
    add_device(&d[2], "port", "b.0");
    connect_main();
    port_is_served(&d[0], 50, 0);
    port_is_served(&d[2], 50, 2);
    chardev_remove(&d[0]);
    add_device(&d[0], "port", "b.1");
    port_is_served(&d[0], 50, 0);
    client_close(&main_channel);
    for (int i = 0; i < 3; i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

static void link_needs_tls(int type)
{
    struct client c;
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, type, 0, session, ""), LINK_REFUSED + LINK_NEED_SECURED);
    client_close(&c);
}

static void names_in_security_settings(void)
{
    struct chardev fs, plain;
    rig_open(&r);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "folder", 2), -1);
    rule what = port_rule("org.example.fs", 60);
    what.name = "folder";
    add_rule(what);
    add_rule(port_rule("org.example.plain", 61));
    add_device(&fs, "port", "org.example.fs");
    add_device(&plain, "port", "org.example.plain");
    connect_main();
    EXPECT_EQ(spice_server_set_channel_security(r.server, "folder", SPICE_CHANNEL_SECURITY_SSL), 0);
    link_needs_tls(60);
    port_is_served(&plain, 61, 0);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "channel-61", SPICE_CHANNEL_SECURITY_SSL),
              0);
    link_needs_tls(61);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "folder", SPICE_CHANNEL_SECURITY_NONE),
              0);
    port_is_served(&fs, 60, 0);
    /* a type that has a name has only that one */
    EXPECT_EQ(spice_server_set_channel_security(r.server, "channel-60", 1), -1);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "Folder", 1), -1);
    EXPECT_EQ(spice_server_set_channel_security(r.server, "channel-62", 1), -1);
    client_close(&main_channel);
    chardev_remove(&fs);
    chardev_remove(&plain);
    rig_close(&r);
}

/* ---- compression ---- */

static void compression_off(void)
{
    static const uint8_t zeros[5000];
    struct chardev d[3];
    struct client c;
    struct block b;
    rig_open_tcp(&r);
    rule off = port_rule("org.example.off", 0), on = port_rule("org.example.on", 70);
    off.compression = SPICE_SERVER_COMPRESSION_OFF;
    on.compression = SPICE_SERVER_COMPRESSION_ON;
    add_rule(off);
    add_rule(on);
    add_device(&d[0], "port", "org.example.off");
    add_device(&d[1], "port", "org.example.on");
    add_device(&d[2], "port", "org.example.default");
    connect_main();
    for (int i = 0; i < 3; i++) {
        static const struct { int type, id; } channels[] = { { CH_PORT, 0 }, { 70, 0 }, { CH_PORT, 1 } };
        bool lz4 = i > 0;
        link_to(&c, channels[i].type, channels[i].id);
        EXPECT_EQ(c.reply.n_channel ? c.reply.caps[1] : 0, lz4 ? VMC_CAP_LZ4 : 0);
        expect_port_init(&c, d[i].sin.portname);
        chardev_say(&d[i], zeros, sizeof zeros);
        block_next(&c, &b);
        EXPECT_EQ(b.n, sizeof zeros);
        EXPECT_EQ(b.packed, lz4);
        block_free(&b);
        EXPECT(packed_send(&c, zeros, sizeof zeros, PACK_FAST));
        if (lz4)
            EXPECT(chardev_wait_input(&d[i], sizeof zeros));
        else
            EXPECT(client_closed(&c));
        EXPECT_EQ(d[i].in_len, lz4 ? sizeof zeros : 0);
        client_close(&c);
    }
    client_close(&main_channel);
    for (int i = 0; i < 3; i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

/* ---- a channel that is busy ---- */

static struct chardev dev;

static void open_busy(uint32_t busy, bool tcp)
{
    if (tcp)
        rig_open_tcp(&r);
    else
        rig_open(&r);
    rule what = port_rule("org.example.0", 80);
    what.busy = busy;
    add_rule(what);
    add_device(&dev, "port", "org.example.0");
    connect_main();
}

static void close_busy(void)
{
    client_close(&main_channel);
    chardev_remove(&dev);
    rig_close(&r);
}

static void expect_states(const char *wanted)
{
    EXPECT(chardev_wait_states(&dev, (int)strlen(wanted)));
    EXPECT_EQ(dev.n_states, strlen(wanted));
    for (int i = 0; i < dev.n_states; i++)
        EXPECT_EQ(dev.states[i], wanted[i] - '0');
}

static void second_client_is_refused(uint32_t busy)
{
    struct client first, second;
    open_busy(busy, true);
    link_to(&first, 80, 0);
    expect_port_init(&first, "org.example.0");
    link_to(&second, 80, 0);
    EXPECT(client_at_eof(&second));
    client_close(&second);
    chardev_say(&dev, "for the first", 13);
    expect_data(&first, "for the first");
    expect_states("1");
    client_close(&first);
    expect_states("10");
    close_busy();
}

static void busy_refuse(void)
{
    second_client_is_refused(SPICE_SERVER_BUSY_REFUSE);
}

static void busy_default_is_refuse(void)
{
    second_client_is_refused(SPICE_SERVER_CHANNEL_DEFAULT);
}

static void takes_over(bool tcp)
{
    struct client first, second;
    open_busy(SPICE_SERVER_BUSY_TAKE_OVER, tcp);
    link_to(&first, 80, 0);
    expect_port_init(&first, "org.example.0");
    EXPECT(client_send(&first, VMC_DATA, "first", 5));
    EXPECT(chardev_wait_input(&dev, 5));
    link_to(&second, 80, 0);
    expect_port_init(&second, "org.example.0");
    EXPECT(client_at_eof(&first));
    client_close(&first);
    expect_states("101");
    EXPECT(client_send(&second, VMC_DATA, "second", 6));
    EXPECT(chardev_wait_input(&dev, 11));
    EXPECT(!memcmp(dev.in, "firstsecond", 11));
    chardev_say(&dev, "for the second", 14);
    expect_data(&second, "for the second");
    expect_states("101");
    client_close(&second);
    expect_states("1010");
    close_busy();
}

static void take_over_on_tcp(void)
{
    takes_over(true);
}

static void take_over_on_unix_sockets(void)
{
    takes_over(false);
}

static void take_over_many_times(void)
{
    struct client c[30];
    open_busy(SPICE_SERVER_BUSY_TAKE_OVER, true);
    for (int i = 0; i < (int)TAP_COUNT(c); i++) {
        link_to(&c[i], 80, 0);
        expect_port_init(&c[i], "org.example.0");
        chardev_say(&dev, "x", 1);
        expect_data(&c[i], "x");
        if (i)
            EXPECT(client_at_eof(&c[i - 1]));
        EXPECT_EQ(dev.n_states, 2 * i + 1);
    }
    for (size_t i = 0; i < TAP_COUNT(c); i++)
        client_close(&c[i]);
    EXPECT(chardev_wait_states(&dev, 2 * (int)TAP_COUNT(c)));
    close_busy();
}

/* Data wait on both sides: the old client's are dropped towards it, and reach the
 * device as far as they were taken. */
static void take_over_with_everything_pending(void)
{
    enum { N = 300, SIZE = 1000 };
    static uint8_t body[SIZE], more[100000];
    struct client first, second;
    struct noise s = { 1 };
    open_busy(SPICE_SERVER_BUSY_TAKE_OVER, true);
    link_to(&first, 80, 0);
    expect_port_init(&first, "org.example.0");
    dev.accept = 0;
    memset(body, 'a', SIZE);
    for (int i = 0; i < N; i++)
        EXPECT(client_send(&first, VMC_DATA, body, SIZE));
    fill_noise(more, sizeof more, &s);
    for (int i = 0; i < 200; i++)
        chardev_queue(&dev, more, sizeof more);
    for (int i = 0; i < 50; i++) {
        chardev_pump(&dev);
        host_run_for(1);
    }
    uint64_t unread = chardev_unread(&dev);
    EXPECT(unread > 0);
    /* nothing of what the first has in its queue goes to the second */
    dev.out_len = dev.out_pos = 0;
    link_to(&second, 80, 0);
    expect_port_init(&second, "org.example.0");
    chardev_say(&dev, "fresh", 5);
    expect_data(&second, "fresh");
    expect_states("101");
    EXPECT(client_closed(&first));
    client_close(&first);
    EXPECT(client_send(&second, VMC_DATA, "second", 6));
    chardev_accept(&dev, CHARDEV_UNLIMITED);
    while (dev.in_len < 6 || memcmp(dev.in + dev.in_len - 6, "second", 6))
        EXPECT(chardev_wait_input(&dev, dev.in_len + 1));
    EXPECT_EQ((dev.in_len - 6) % SIZE, 0);
    for (uint64_t i = 0; i < dev.in_len - 6; i++)
        EXPECT_EQ(dev.in[i], 'a');
    client_close(&second);
    close_busy();
}

/* The guest's device goes when it hears that its client is gone. */
static void remove_when_gone(struct chardev *d, int connected)
{
    if (!connected && d->added) {
        d->added = false;
        EXPECT_EQ(spice_server_remove_interface(&d->sin.base), 0);
    }
}

static void take_over_of_a_device_that_goes(void)
{
    struct client first, second;
    open_busy(SPICE_SERVER_BUSY_TAKE_OVER, false);
    link_to(&first, 80, 0);
    expect_port_init(&first, "org.example.0");
    dev.in_state = remove_when_gone;
    link_to(&second, 80, 0);
    EXPECT(client_at_eof(&second));
    EXPECT(client_at_eof(&first));
    expect_states("10");
    client_close(&first);
    client_close(&second);
    close_busy();
}

/* Another session, while several are allowed. */
static void take_over_from_another_session(void)
{
    struct client first, second, other_main;
    rig_open(&r);
    rule what = port_rule("org.example.0", 80);
    what.busy = SPICE_SERVER_BUSY_TAKE_OVER;
    add_rule(what);
    add_device(&dev, "port", "org.example.0");
    connect_main();
    link_to(&first, 80, 0);
    expect_port_init(&first, "org.example.0");
    other_main = main_channel;
    /* the new session ends the old one, and its channels with it */
    connect_main();
    EXPECT(client_closed(&first));
    EXPECT(client_closed(&other_main));
    link_to(&second, 80, 0);
    expect_port_init(&second, "org.example.0");
    expect_states("101");
    client_close(&first);
    client_close(&second);
    client_close(&other_main);
    close_busy();
}

/* ---- a client that cannot be reached ---- */

/** The server's end of this connection. */
static int server_end(const struct client *c)
{
    struct sockaddr_in own, peer;
    socklen_t len = sizeof own;
    EXPECT_EQ(getsockname(c->fd, (struct sockaddr *)&own, &len), 0);
    for (int fd = 0; fd < 1024; fd++) {
        len = sizeof peer;
        if (fd != c->fd && getpeername(fd, (struct sockaddr *)&peer, &len) == 0 &&
            peer.sin_family == AF_INET && peer.sin_port == own.sin_port)
            return fd;
    }
    FAIL("the server's socket is not found");
}

static int tcp_option(int fd, int option)
{
    int value = -1;
    socklen_t len = sizeof value;
    EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, option, &value, &len), 0);
    return value;
}

static void idle_timeouts(void)
{
    /* seconds; milliseconds; seconds, seconds, number of probes */
    static const struct { int32_t idle; int user, time, step; } wanted[] = {
        { 0, 0, 600, -1 },       { -1, 0, 600, -1 },      { 1, 1000, 1, 1 },
        { 10, 10000, 5, 1 },     { 60, 60000, 30, 6 },    { 86400, 86400000, 32767, 6553 },
    };
    struct chardev d[TAP_COUNT(wanted)];
    char names[TAP_COUNT(wanted)][20];
    rig_open_tcp(&r);
    for (size_t i = 0; i < TAP_COUNT(wanted); i++) {
        snprintf(names[i], sizeof names[i], "org.example.%zu", i);
        rule what = port_rule(names[i], 90 + (uint32_t)i);
        what.idle_timeout = wanted[i].idle;
        add_rule(what);
        add_device(&d[i], "port", names[i]);
    }
    connect_main();
    for (size_t i = 0; i < TAP_COUNT(wanted); i++) {
        struct client c;
        link_to(&c, 90 + (int)i, 0);
        expect_port_init(&c, names[i]);
        int fd = server_end(&c), on;
        socklen_t len = sizeof on;
        EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_KEEPALIVE, &on, &len), 0);
        EXPECT_EQ(on, 1);
        EXPECT_EQ(tcp_option(fd, TCP_USER_TIMEOUT), wanted[i].user);
        EXPECT_EQ(tcp_option(fd, TCP_KEEPIDLE), wanted[i].time);
        if (wanted[i].step > 0) {
            EXPECT_EQ(tcp_option(fd, TCP_KEEPINTVL), wanted[i].step);
            EXPECT_EQ(tcp_option(fd, TCP_KEEPCNT), 5);
        }
        client_close(&c);
    }
    client_close(&main_channel);
    for (size_t i = 0; i < TAP_COUNT(wanted); i++)
        chardev_remove(&d[i]);
    rig_close(&r);
}

static void idle_timeout_on_unix_sockets(void)
{
    struct chardev d;
    rig_open(&r);
    rule what = port_rule("org.example.0", 90);
    what.idle_timeout = 1;
    add_rule(what);
    add_device(&d, "port", "org.example.0");
    connect_main();
    port_is_served(&d, 90, 0);
    client_close(&main_channel);
    chardev_remove(&d);
    rig_close(&r);
}

/* ---- what is refused ---- */

static void no_rule_at_all(void)
{
    rule what = port_rule("org.example.0", 100);
    union { rule good; uint8_t bytes[sizeof(rule) + 16]; } larger;
    rig_open(&r);
    refused(NULL, "NULL", "missing");
    for (uint32_t size = 0; size < sizeof(rule); size++) {
        what.size = size;
        refused(&what, "a short rule", "size");
    }
    /* what a later version has at its end is not looked at */
    memset(&larger, 0, sizeof larger);
    larger.good = port_rule("org.example.0", 100);
    larger.good.size = sizeof larger;
    EXPECT_EQ(spice_server_register_channel(r.server, &larger.good), 0);
    what = port_rule("org.example.1", 100);
    tap_log_mark();
    EXPECT_EQ(spice_server_register_channel(NULL, &what), -1);
    EXPECT_EQ(spice_server_register_channel((SpiceServer *)&r, &what), -1);
    EXPECT_EQ(tap_log_lines("is not a server"), 2);
    rig_close(&r);
}

static void wrong_selectors(void)
{
    static const char *const ports[] = { "", "a b", "a*b", "**", "*a", "tab\t", "new\nline" };
    static const char *const reserved[] = { "vdagent", "smartcard", "port" };
    char too_long[300];
    memset(too_long, 'n', sizeof too_long);
    too_long[256] = 0;
    rig_open(&r);
    rule what = empty_rule();
    what.channel_type = 100;
    refused(&what, "a rule for nothing", "one of them");
    what.port_name = what.subtype = "both";
    refused(&what, "a rule for two", "one of them");
    for (size_t i = 0; i < TAP_COUNT(ports); i++) {
        what = port_rule(ports[i], 100);
        refused(&what, ports[i], "no name of a port");
        what = subtype_rule(ports[i], 100);
        refused(&what, ports[i], "no name of a port");
    }
    what = port_rule(too_long, 100);
    refused(&what, "256 characters", "no name of a port");
    what = subtype_rule("cam*", 100);
    refused(&what, "a beginning of subtypes", "no name of a port");
    what = port_rule("caf\xe9", 100);
    refused(&what, "Latin 1", "not UTF-8");
    what = port_rule("org.spice-space.stream.0", 100);
    refused(&what, "the stream device", "reserved");
    for (size_t i = 0; i < TAP_COUNT(reserved); i++) {
        what = subtype_rule(reserved[i], 100);
        refused(&what, reserved[i], "reserved");
    }
    too_long[255] = 0;
    add_rule(port_rule(too_long, 100));
    rig_close(&r);
}

static void wrong_types(void)
{
    static const uint32_t none[] = { 256, 257, 266, 0x10000 + 100, 0x7fffffff, 0xffffffff };
    rig_open(&r);
    for (uint32_t type = 1; type <= 9; type++) {
        rule what = port_rule("org.example.0", type);
        refused(&what, "a type of another protocol for a port", "reserved");
        what = subtype_rule("camera", type);
        refused(&what, "a type of another protocol for a subtype", "reserved");
    }
    for (uint32_t type = CH_PORT; type <= CH_WEBDAV; type++) {
        rule what = subtype_rule("camera", type);
        refused(&what, "a port's type for a subtype", "reserved");
    }
    for (size_t i = 0; i < TAP_COUNT(none); i++) {
        rule what = port_rule("org.example.0", none[i]);
        refused(&what, "a number that is no type", "no channel type");
    }
    rule what = subtype_rule("camera", 0);
    refused(&what, "a subtype without a type", "needs a channel type");
    /* the first and the last that are free, and usbredir's own */
    add_rule(subtype_rule("camera", 12));
    add_rule(port_rule("org.example.0", 255));
    add_rule(subtype_rule("usbredir", 0));
    rig_close(&r);
}

static void duplicates(void)
{
    rig_open(&r);
    add_rule(port_rule("org.example.0", 100));
    add_rule(port_rule("org.example.*", 100));
    add_rule(subtype_rule("camera", 101));
    rule what = port_rule("org.example.0", 100);
    refused(&what, "the same rule", "already");
    what.channel_type = 0;
    refused(&what, "another rule for the same port", "already");
    what = port_rule("org.example.*", 102);
    refused(&what, "another rule for the same beginning", "already");
    what = subtype_rule("camera", 102);
    refused(&what, "another rule for the same subtype", "already");
    /* a port may be called like a subtype */
    add_rule(port_rule("camera", 102));
    rig_close(&r);
}

static void wrong_names(void)
{
    static const char *const bad[] = { "", "Fs", "a b", "a/b", "\xc3\xa9", "a*" };
    char name[40] = { 0 };
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        rule what = port_rule("org.example.0", 100);
        what.name = bad[i];
        refused(&what, bad[i], "no channel name");
    }
    memset(name, 'x', 33);
    rule what = port_rule("org.example.0", 100);
    what.name = name;
    refused(&what, "33 characters", "no channel name");
    what.name = "bad\xff";
    refused(&what, "a name in no encoding", "not UTF-8");
    name[32] = 0;
    what.name = name;
    add_rule(what);
    what = port_rule("org.example.1", 101);
    what.name = "main";
    refused(&what, "the name of a known channel", "belongs to type 1");
    what.name = name;
    refused(&what, "a name that is taken", "belongs to type 100");
    what = port_rule("org.example.1", 100);
    what.name = "other";
    refused(&what, "a second name for a type", "named");
    what = port_rule("org.example.1", CH_PORT);
    what.name = "other";
    refused(&what, "another name for a known type", "named port");
    /* the same name for the same type is no other */
    what = port_rule("org.example.1", 100);
    what.name = name;
    add_rule(what);
    what = port_rule("org.example.2", CH_PORT);
    what.name = "port";
    add_rule(what);
    what = port_rule("org.example.3", 103);
    what.name = "a-z_0.9";
    add_rule(what);
    rig_close(&r);
}

static void wrong_choices(void)
{
    static const int32_t idle[] = { -2, -100, 86401, INT32_MAX, INT32_MIN };
    static const uint32_t choice[] = { 3, 4, 0x80000000, 0xffffffff };
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(choice); i++) {
        rule what = port_rule("org.example.0", 100);
        what.compression = choice[i];
        refused(&what, "a choice of compression", "compression");
        what = port_rule("org.example.0", 100);
        what.busy = choice[i];
        refused(&what, "a choice for a busy channel", "busy");
    }
    for (size_t i = 0; i < TAP_COUNT(idle); i++) {
        rule what = port_rule("org.example.0", 100);
        what.idle_timeout = idle[i];
        refused(&what, "an idle timeout", "idle timeout");
    }
    rule what = port_rule("org.example.0", 100);
    what.reserved = 1;
    refused(&what, "a reserved member", "reserved");
    what.reserved = 0;
    add_rule(what);
    rig_close(&r);
}

/* A refused rule leaves nothing behind. */
static void refused_rules_leave_nothing(void)
{
    struct chardev d;
    rig_open(&r);
    rule what = port_rule("org.example.0", 100);
    what.name = "Bad";
    refused(&what, "a bad name", "no channel name");
    EXPECT_EQ(spice_server_set_channel_security(r.server, "channel-100", 1), -1);
    what = subtype_rule("camera", 3);
    refused(&what, "a reserved type", "reserved");
    EXPECT(!recognized("camera"));
    add_device(&d, "port", "org.example.0");
    connect_main();
    port_is_served(&d, CH_PORT, 0);
    client_close(&main_channel);
    chardev_remove(&d);
    rig_close(&r);
}

static void the_table_has_a_bound(void)
{
    char name[32];
    rig_open(&r);
    for (int i = 0; i < 256; i++) {
        snprintf(name, sizeof name, "org.example.%d", i);
        add_rule(port_rule(name, 12 + (uint32_t)i % 244));
    }
    rule what = port_rule("one.more", 100);
    refused(&what, "one more rule", "256 rules");
    rig_close(&r);
}

/* ---- what a channel has moved ---- */

typedef SpiceServerChannelStatistics statistics;

static statistics moved(uint8_t type, uint8_t id)
{
    statistics s;
    memset(&s, 0xee, sizeof s);
    s.size = sizeof s;
    EXPECT_EQ(spice_server_channel_statistics(r.server, type, id, &s), 0);
    EXPECT_EQ(s.size, sizeof s);
    EXPECT_EQ(s.reserved, 0);
    return s;
}

static void expect_moved(int type, const statistics *want)
{
    statistics s = moved((uint8_t)type, 0);
    EXPECT_EQ(s.in_data, want->in_data);
    EXPECT_EQ(s.in_compressed, want->in_compressed);
    EXPECT_EQ(s.in_decompressed, want->in_decompressed);
    EXPECT_EQ(s.out_data, want->out_data);
    EXPECT_EQ(s.out_compressed, want->out_compressed);
    EXPECT_EQ(s.out_uncompressed, want->out_uncompressed);
}

static void say(struct chardev *d, struct client *c, const uint8_t *data, uint32_t n,
                statistics *want)
{
    struct block b;
    chardev_say(d, data, n);
    block_next(c, &b);
    EXPECT(b.n == n && !memcmp(b.data, data, n));
    want->out_data += n;
    if (b.packed) {
        want->out_compressed += b.wire;
        want->out_uncompressed += n;
    }
    block_free(&b);
}

static void hear(struct chardev *d, struct client *c, const uint8_t *data, uint32_t n, bool packed,
                 statistics *want)
{
    uint64_t before = d->in_len;
    if (packed) {
        uint32_t size;
        free(packed_body(data, n, PACK_FAST, &size));
        want->in_compressed += size - PACKED_HEADER;
        want->in_decompressed += n;
        EXPECT(packed_send(c, data, n, PACK_FAST));
    } else {
        want->in_data += n;
        EXPECT(client_send(c, VMC_DATA, data, n));
    }
    EXPECT(chardev_wait_input(d, before + n));
}

static void counters_of(int type, const char *subtype, const char *name, bool tcp)
{
    static uint8_t text[600000], noise[5000];
    struct chardev d;
    struct client c;
    struct noise s = { 2 };
    statistics want = { 0 };
    fill_text(text, sizeof text, &s);
    fill_noise(noise, sizeof noise, &s);
    if (tcp)
        rig_open_tcp(&r);
    else
        rig_open(&r);
    add_rule(port_rule("org.example.*", 110));
    add_device(&d, subtype, name);
    d.keep_input = false;
    connect_main();
    expect_moved(type, &want);
    for (int i = 0; i < 3; i++) {
        /* over all clients */
        link_to(&c, type, 0);
        if (name)
            expect_port_init(&c, name);
        expect_moved(type, &want);
        say(&d, &c, text, 900, &want);
        expect_moved(type, &want);
        say(&d, &c, text, 20000, &want);
        say(&d, &c, noise, sizeof noise, &want);
        expect_moved(type, &want);
        EXPECT_EQ(want.out_uncompressed, tcp ? 20000 * ((uint64_t)i + 1) : 0);
        hear(&d, &c, text, 7, false, &want);
        expect_moved(type, &want);
        hear(&d, &c, text, 1000, true, &want);
        hear(&d, &c, text, sizeof text, true, &want);
        hear(&d, &c, text, sizeof text, false, &want);
        hear(&d, &c, noise, sizeof noise, true, &want);
        hear(&d, &c, noise, sizeof noise, false, &want);
        expect_moved(type, &want);
        client_close(&c);
        EXPECT(chardev_wait_states(&d, 2 * i + 2));
        expect_moved(type, &want);
    }
    /* a new device begins at nothing, also under the same id */
    chardev_remove(&d);
    tap_log_mark();
    statistics gone = { .size = sizeof gone };
    EXPECT_EQ(spice_server_channel_statistics(r.server, (uint8_t)type, 0, &gone), -1);
    EXPECT_EQ(tap_log_lines("there is no channel"), 1);
    add_device(&d, subtype, name);
    expect_moved(type, &(statistics){ 0 });
    chardev_remove(&d);
    client_close(&main_channel);
    rig_close(&r);
}

static void counters_of_usbredir(void)
{
    counters_of(CH_USBREDIR, "usbredir", NULL, true);
}

static void counters_of_a_registered_port(void)
{
    counters_of(110, "port", "org.example.0", true);
}

static void counters_on_unix_sockets(void)
{
    counters_of(110, "port", "org.example.0", false);
}

/* Each only ever grows, whatever is on its way between two threads. */
static void counters_never_fall(void)
{
    enum { STALLED = 100, ALL = 250 };
    static uint8_t text[300000];
    struct chardev d;
    struct client c;
    struct noise s = { 3 };
    statistics last = { 0 }, want = { 0 };
    uint32_t size;
    fill_text(text, sizeof text, &s);
    rig_open_tcp(&r);
    add_device(&d, "usbredir", NULL);
    d.keep_input = false;
    connect_main();
    link_to(&c, CH_USBREDIR, 0);
    EXPECT(client_send(&c, VMC_DATA, text, 50000));
    EXPECT(chardev_wait_input(&d, 50000));
    want.in_data = 50000;
    d.accept = 0;
    uint8_t *body = packed_body(text, sizeof text, PACK_FAST, &size);
    for (int i = 0; i < ALL; i++) {
        /* a few wait inside; later they go through */
        if (i == STALLED)
            chardev_accept(&d, CHARDEV_UNLIMITED);
        if (i >= STALLED && i % 4 == 0) {
            EXPECT(client_send(&c, VMC_DATA, text, 1000));
            want.in_data += 1000;
        } else if (i < 10 || i >= STALLED) {
            EXPECT(client_send(&c, VMC_COMPRESSED, body, size));
            want.in_compressed += size - PACKED_HEADER;
            want.in_decompressed += sizeof text;
        }
        host_turn(0);
        statistics now = moved(CH_USBREDIR, 0);
        EXPECT_MSG(now.in_data >= last.in_data, "in_data falls from %llu to %llu",
                   (unsigned long long)last.in_data, (unsigned long long)now.in_data);
        EXPECT(now.in_compressed >= last.in_compressed);
        EXPECT(now.in_decompressed >= last.in_decompressed);
        last = now;
    }
    EXPECT(chardev_wait_input(&d, want.in_data + want.in_decompressed));
    expect_moved(CH_USBREDIR, &want);
    free(body);
    client_close(&c);
    client_close(&main_channel);
    chardev_remove(&d);
    rig_close(&r);
}

static void statistics_misuse(void)
{
    static const struct { uint8_t type, id; } none[] = {
        { CH_USBREDIR, 0 }, { CH_PORT, 1 }, { CH_MAIN, 0 }, { CH_DISPLAY, 0 }, { 0, 0 }, { 255, 255 },
    };
    struct chardev d;
    statistics s;
    rig_open(&r);
    add_device(&d, "port", "org.example.0");
    for (uint32_t size = 0; size < sizeof s; size++) {
        memset(&s, 0xee, sizeof s);
        s.size = size;
        statistics before = s;
        tap_log_mark();
        EXPECT_EQ(spice_server_channel_statistics(r.server, CH_PORT, 0, &s), -1);
        EXPECT_EQ(tap_log_lines("Spice"), 1);
        EXPECT(!memcmp(&s, &before, sizeof s));
    }
    tap_log_mark();
    EXPECT_EQ(spice_server_channel_statistics(r.server, CH_PORT, 0, NULL), -1);
    EXPECT_EQ(tap_log_lines("Spice"), 1);
    for (size_t i = 0; i < TAP_COUNT(none); i++) {
        s.size = sizeof s;
        tap_log_mark();
        EXPECT_EQ(spice_server_channel_statistics(r.server, none[i].type, none[i].id, &s), -1);
        EXPECT_EQ(tap_log_lines("there is no channel"), 1);
    }
    s.size = sizeof s;
    tap_log_mark();
    EXPECT_EQ(spice_server_channel_statistics(NULL, CH_PORT, 0, &s), -1);
    EXPECT_EQ(tap_log_lines("is not a server"), 1);
    /* of a larger one no more is written than there is */
    struct { statistics s; uint8_t more[8]; } larger;
    memset(&larger, 0xee, sizeof larger);
    larger.s.size = sizeof larger;
    EXPECT_EQ(spice_server_channel_statistics(r.server, CH_PORT, 0, &larger.s), 0);
    EXPECT_EQ(larger.s.size, sizeof(statistics));
    for (size_t i = 0; i < sizeof larger.more; i++)
        EXPECT_EQ(larger.more[i], 0xee);
    chardev_remove(&d);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(rules_choose_the_type),
    TAP_CASE(every_port),
    TAP_CASE(rules_are_for_devices_added_later),
    TAP_CASE(texts_are_copied),
    TAP_CASE(a_new_subtype),
    TAP_CASE(ports_have_port_messages),
    TAP_CASE(ids_count_within_a_type),
    TAP_CASE(names_in_security_settings),
    TAP_CASE(compression_off),
    TAP_CASE(busy_refuse),
    TAP_CASE(busy_default_is_refuse),
    TAP_CASE(take_over_on_tcp),
    TAP_CASE(take_over_on_unix_sockets),
    TAP_CASE(take_over_many_times),
    TAP_CASE(take_over_with_everything_pending),
    TAP_CASE(take_over_of_a_device_that_goes),
    TAP_CASE(take_over_from_another_session),
    TAP_CASE(idle_timeouts),
    TAP_CASE(idle_timeout_on_unix_sockets),
    TAP_CASE(no_rule_at_all),
    TAP_CASE(wrong_selectors),
    TAP_CASE(wrong_types),
    TAP_CASE(duplicates),
    TAP_CASE(wrong_names),
    TAP_CASE(wrong_choices),
    TAP_CASE(refused_rules_leave_nothing),
    TAP_CASE(the_table_has_a_bound),
    TAP_CASE(counters_of_usbredir),
    TAP_CASE(counters_of_a_registered_port),
    TAP_CASE(counters_on_unix_sockets),
    TAP_CASE(counters_never_fall),
    TAP_CASE(statistics_misuse),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "registry", cases, TAP_COUNT(cases));
}
