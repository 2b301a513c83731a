/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spice_server_register_channel(), which only this library has: which device gets which
 * channel, and what is refused. Not run on Debian's library.
 */
#define _GNU_SOURCE
#include "packed.h"
#include "registry.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** A rule with only its size set. */
static rule empty_rule(void)
{
    return (rule){ .size = sizeof(rule) };
}

static rule subtype_rule(const char *subtype, uint32_t type)
{
    return (rule){ .size = sizeof(rule), .subtype = subtype, .channel_type = type };
}

/** The call returns -1 and says why in one line. */
static void refused(const rule *what, const char *about, const char *why)
{
    tap_log_mark();
    EXPECT_MSG(spice_server_register_channel(r.server, what) == -1, "%s is taken", about);
    EXPECT_MSG(tap_log_lines("Spice") == 1, "%d log lines about %s", tap_log_lines("Spice"), about);
    EXPECT_MSG(tap_log_lines(why) == 1, "the line about %s does not say \"%s\"", about, why);
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
    TAP_CASE(no_rule_at_all),
    TAP_CASE(wrong_selectors),
    TAP_CASE(wrong_types),
    TAP_CASE(duplicates),
    TAP_CASE(wrong_names),
    TAP_CASE(wrong_choices),
    TAP_CASE(refused_rules_leave_nothing),
    TAP_CASE(the_table_has_a_bound),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "registry", cases, TAP_COUNT(cases));
}
