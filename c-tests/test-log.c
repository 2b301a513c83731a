/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the log has by default and by configuration, in which form, and how much of it
 * there may be. Its wording is this library's own; not run on Debian's.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void configure(const char *text)
{
    char path[256];
    snprintf(path, sizeof path, "%s/config.toml", tap_directory());
    FILE *file = fopen(path, "w");
    EXPECT(file && fputs(text, file) >= 0 && !fclose(file));
    EXPECT(!setenv("SPICE_SERVER_CONFIG", path, 1));
}

/** A client has a session and a port, and leaves. */
static void visit(const char *port_name)
{
    struct rig r;
    struct client c, port_client;
    struct chardev port;
    rig_open_tcp(&r);
    chardev_add_port(&port, r.server, port_name);
    uint32_t session = rig_main(&r, &c);
    rig_channel(&r, &port_client, CH_PORT, 0, session);
    spice_server_port_event(&port.sin, 0);
    client_close(&port_client);
    client_close(&c);
    chardev_remove(&port);
    rig_close(&r);
}

static void nothing_by_default(void)
{
    visit("org.example.0");
    EXPECT_EQ(tap_log_lines(NULL), 0);
}

static void who_comes_and_goes(void)
{
    configure("[log]\nlevel = 'info'\n");
    visit("org.example.0");
    EXPECT_EQ(tap_log_lines("listening on 127.0.0.1:"), 1);
    EXPECT_EQ(tap_log_lines("char device port org.example.0 is served: channel port:0"), 1);
    EXPECT_EQ(tap_log_lines("channel port:0 is there"), 1);
    EXPECT_EQ(tap_log_lines("connected: plain, no password, session 0x"), 1);
    EXPECT_EQ(tap_log_lines("channel port:0 of 127.0.0.1:"), 2);
    EXPECT_EQ(tap_log_lines("opened: plain, no password"), 1);
    EXPECT_EQ(tap_log_lines("the guest has opened port org.example.0"), 1);
    EXPECT_EQ(tap_log_lines("left: "), 1);
    EXPECT_EQ(tap_log_lines("channel port:0 is gone: the device was removed"), 1);
}

static void level_for_some_categories(void)
{
    configure("[log]\nlevel = 'info'\ncategories = ['device']\n");
    visit("org.example.0");
    EXPECT_EQ(tap_log_lines(NULL), 2);
    EXPECT_EQ(tap_log_lines("char device port"), 1);
    EXPECT_EQ(tap_log_lines("has opened port"), 1);
}

static void variable_of_glib(void)
{
    EXPECT(!setenv("G_MESSAGES_DEBUG", "qemu Spice", 1));
    configure("[log]\nlevel = 'warning'\n");
    visit("org.example.0");
    EXPECT_EQ(tap_log_lines("Spice-INFO: "), tap_log_lines(NULL) - tap_log_lines("Spice-DEBUG: "));
    EXPECT_EQ(tap_log_lines("connected: plain"), 1);
}

static void one_object_a_line(void)
{
    configure("[log]\nlevel = 'info'\nform = 'json'\n");
    visit("org.example.0");
    EXPECT(tap_log_lines(NULL) > 6);
    EXPECT_EQ(tap_log_lines("{\"time\":\"2"), tap_log_lines(NULL));
    EXPECT_EQ(tap_log_lines("\"level\":\"info\",\"category\":\""), tap_log_lines(NULL));
    EXPECT_EQ(tap_log_lines("\"category\":\"connection\",\"place\":\"server/session.rs:"), 2);
    /* whom lines are about */
    EXPECT_EQ(tap_log_lines("\"peer\":\"127.0.0.1:"), 4);
    EXPECT_EQ(tap_log_lines("\"channel\":\"main:0\",\"message\":\"client 127.0.0.1:"), 2);
    EXPECT_EQ(tap_log_lines("\",\"channel\":\"port:0\",\"message\":\"channel port:0 of 127."), 2);
    EXPECT_EQ(tap_log_lines("\"channel\":\"port:0\",\"device\":\"org.example.0\""), 2);
}

static const char FORGED[] = "org.\x1b[2J\n(process:1): Spice-WARNING **: \"forged\"";

static void text_cannot_leave_its_line(void)
{
    configure("[log]\nlevel = 'info'\n");
    visit(FORGED);
    EXPECT(tap_log_lines(NULL) > 6);
    EXPECT_EQ(tap_log_lines("(process:"), tap_log_lines(NULL));
    EXPECT_EQ(tap_log_lines("forged"), 2);
    EXPECT_EQ(tap_log_lines("port org.\\u{1b}[2J\\n(process:1): Spice-WARNING **: \"forged\""), 2);
    EXPECT_EQ(tap_log_lines("\x1b"), 0);
}

static void nor_its_object(void)
{
    configure("[log]\nlevel = 'info'\nform = 'json'\n");
    visit(FORGED);
    EXPECT_EQ(tap_log_lines("{\"time\":\"2"), tap_log_lines(NULL));
    EXPECT_EQ(tap_log_lines("org.\\u001b[2J\\n(process:1): Spice-WARNING **: \\\"forged\\\""), 2);
    EXPECT_EQ(tap_log_lines("\x1b"), 0);
}

static void never_a_password(void)
{
    struct rig r;
    struct client c;
    configure("[log]\nlevel = 'debug'\n");
    rig_new(&r);
    EXPECT_EQ(spice_server_set_ticket(r.server, "open sesame", 0, 0, 0), 0);
    rig_init_tcp(&r);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "a good guess"), LINK_PERMISSION_DENIED);
    client_close(&c);
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "open sesame"), LINK_OK);
    EXPECT(rig_wait_events(4));
    client_close(&c);
    rig_close(&r);
    EXPECT_EQ(tap_log_lines("refused"), 1);
    EXPECT_EQ(tap_log_lines("connected: plain, password, session"), 1);
    EXPECT_EQ(tap_log_lines("sesame") + tap_log_lines("guess"), 0);
}

/* A client that has authenticated makes one place log again and again. */
static void so_many_lines_of_a_place(void)
{
    enum { REQUESTS = 1000, LINES = 120 };
    struct rig r;
    struct client c;
    const uint8_t unknown[2] = { 99 };
    rig_open(&r);
    rig_main(&r, &c);
    for (int i = 0; i < REQUESTS; i++)
        EXPECT(client_send(&c, C_MAIN_MOUSE_MODE_REQUEST, unknown, sizeof unknown));
    host_drain();
    /* another place is not held up by it */
    EXPECT(client_send(&c, 9999, NULL, 0));
    EXPECT(client_closed(&c));
    client_close(&c);
    rig_close(&r);
    EXPECT_EQ(tap_log_lines("the unknown mouse mode 99"), LINES);
    EXPECT_EQ(tap_log_lines(NULL), LINES + 1);
}

static const struct tap_case cases[] = {
    TAP_CASE(nothing_by_default),
    TAP_CASE(who_comes_and_goes),
    TAP_CASE(level_for_some_categories),
    TAP_CASE(variable_of_glib),
    TAP_CASE(one_object_a_line),
    TAP_CASE(text_cannot_leave_its_line),
    TAP_CASE(nor_its_object),
    TAP_CASE(never_a_password),
    TAP_CASE(so_many_lines_of_a_place),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "log", cases, TAP_COUNT(cases));
}
