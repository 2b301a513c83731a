/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A thousand connections that come and go, on six servers, and machines that move on a
 * seventh; afterwards nothing is left: no timer, watch, descriptor or thread (rig_close), and memory has stopped
 * growing early.  `scripts/valgrind-cycles` runs the same with a leak check.
 *
 * CYCLES=N replaces the thousand.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "mover.h"
#include "rig.h"

#include <stdlib.h>

/** This case's share of all cycles. */
static int share(int per_thousand)
{
    const char *all = getenv("CYCLES");
    int n = (all ? atoi(all) : 1000) * per_thousand / 1000;
    return n > 4 ? n : 4;
}

/** Fails when memory grows between the first fifth of the cycles and the last. */
struct growth {
    long begin;
};

static void watch_growth(struct growth *g, int cycle, int cycles)
{
    if (getenv("TAP_NO_FORK"))
        return; /* valgrind's own memory would be counted */
    if (cycle == cycles / 5)
        g->begin = tap_usage().rss_kib;
    if (cycle == cycles - 1) {
        long grown = tap_usage().rss_kib - g->begin;
        EXPECT_MSG(grown < 2048, "memory grew by %ld KiB in %d cycles", grown, cycles);
    }
}

/** A main channel with a password; returns its session id, 0 when refused. */
static uint32_t main_with(struct rig *r, struct client *c, const char *password)
{
    struct message m;
    rig_connect(r, c);
    if (client_link(c, CH_MAIN, 0, 0, password) != LINK_OK)
        return 0;
    client_expect(c, S_MAIN_INIT, &m);
    uint32_t session = get32(m.body);
    message_free(&m);
    return session;
}

static void main_channel(void)
{
    struct rig r;
    struct client c;
    struct message m;
    struct growth g = { 0 };
    int n = share(250);
    rig_open(&r);
    for (int i = 0; i < n; i++) {
        rig_main(&r, &c);
        EXPECT(client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
        client_expect(&c, S_MAIN_CHANNELS_LIST, &m);
        message_free(&m);
        client_close(&c);
        watch_growth(&g, i, n);
    }
    rig_close(&r);
}

static void main_and_port(void)
{
    struct rig r;
    struct client c, d;
    struct chardev port;
    struct message m;
    struct growth g = { 0 };
    int n = share(200);
    rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    port.keep_input = false;
    for (int i = 0; i < n; i++) {
        uint32_t session = rig_main(&r, &c);
        rig_channel(&r, &d, CH_PORT, 0, session);
        client_expect(&d, S_PORT_INIT, &m);
        message_free(&m);
        EXPECT(client_send(&d, VMC_DATA, "to the guest", 12));
        EXPECT(chardev_wait_input(&port, 12 * (uint64_t)(i + 1)));
        chardev_say(&port, "to the client", 13);
        client_expect(&d, VMC_DATA, &m);
        message_free(&m);
        /* either end goes first */
        client_close(i % 2 ? &c : &d);
        EXPECT(i % 2 == 0 || client_closed(&d));
        client_close(i % 2 ? &d : &c);
        watch_growth(&g, i, n);
    }
    chardev_remove(&port);
    rig_close(&r);
}

static void right_password(void)
{
    struct rig r;
    struct client c;
    struct growth g = { 0 };
    int n = share(150);
    rig_new(&r);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    rig_init_unix(&r);
    for (int i = 0; i < n; i++) {
        EXPECT(main_with(&r, &c, "secret") != 0);
        client_close(&c);
        watch_growth(&g, i, n);
    }
    rig_close(&r);
}

static void wrong_password(void)
{
    struct rig r;
    struct client c;
    struct growth g = { 0 };
    int n = share(100);
    rig_new(&r);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    rig_init_unix(&r);
    for (int i = 0; i < n; i++) {
        EXPECT(main_with(&r, &c, i % 2 ? "Secret" : "") == 0);
        client_close(&c);
        watch_growth(&g, i, n);
    }
    rig_close(&r);
}

static void broken_links(void)
{
    struct rig r;
    struct client c;
    struct link l;
    struct growth g = { 0 };
    int n = share(200);
    rig_open(&r);
    for (int i = 0; i < n; i++) {
        link_init(&l, i % 5 == 4 ? CH_PORT : CH_MAIN, 0, 0);
        rig_connect(&r, &c);
        if (i % 5 == 1)
            EXPECT(client_write(&c, "REDQ\2\0\0", 7));
        if (i % 5 >= 2)
            EXPECT(client_send_link(&c, &l));
        if (i % 5 == 3)
            EXPECT(client_read_reply(&c));
        client_close(&c);
        host_turn(1);
        watch_growth(&g, i, n);
    }
    rig_close(&r);
}

static void hot_plug(void)
{
    struct rig r;
    struct client c, d;
    struct chardev usb;
    struct growth g = { 0 };
    int n = share(100);
    rig_open(&r);
    uint32_t session = rig_main(&r, &c);
    for (int i = 0; i < n; i++) {
        chardev_add_usbredir(&usb, r.server);
        usb.accept = 0;
        rig_channel(&r, &d, CH_USBREDIR, 0, session);
        EXPECT(chardev_wait_states(&usb, 1));
        EXPECT(client_send(&d, VMC_DATA, "never taken", 11));
        chardev_generate(&usb, 100000);
        chardev_remove(&usb);
        EXPECT(client_closed(&d));
        client_close(&d);
        watch_growth(&g, i, n);
    }
    client_close(&c);
    rig_close(&r);
}

/** A session moves away with bytes that the device has not taken, and another one comes
 *  with as many. */
static void machines_that_move(void)
{
    struct mover b;
    struct message main, port;
    struct growth g = { 0 };
    int n = share(50);
    uint8_t body[SVMD + 5];
    put_magic(body, "SVMD");
    memcpy(put_block(body + 8, UINT32_MAX, UINT32_MAX, 5, 0, SVMD), "moved", 5);
    mover_open_source(&b, NULL, NULL);
    for (int i = 0; i < n; i++) {
        b.m.connect_completes = b.m.end_completes = 0;
        chardev_add_port(&b.device, b.a.r.server, "org.example.0");
        b.device.accept = 2;
        spice_server_vm_start(b.a.r.server);
        b.a.session = mover_link_main(&b, 0);
        rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
        EXPECT(client_send(&b.c, VMC_DATA, "stays and moves", 15));
        EXPECT(chardev_wait_input(&b.device, 2));
        mover_begin(&b);
        mover_take_along(&b.c, &port);
        mover_take_along(&b.a.c, &main);
        EXPECT_EQ(port.size, SVMD + 13);
        message_free(&port);
        client_close(&b.c);
        client_close(&b.a.c);
        mover_ended(&b);
        chardev_remove(&b.device);
        chardev_add_port(&b.device, b.a.r.server, "org.example.0");
        mover_open_target(&b);
        rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
        EXPECT(client_send(&b.a.c, C_MIGRATE_DATA, main.body, main.size));
        EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, sizeof body));
        spice_server_vm_start(b.a.r.server);
        EXPECT(chardev_wait_input(&b.device, 5));
        message_free(&main);
        client_close(&b.c);
        client_close(&b.a.c);
        EXPECT(chardev_wait_states(&b.device, 2));
        chardev_remove(&b.device);
        watch_growth(&g, i, n);
    }
    mover_close_target(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(main_channel),
    TAP_CASE(main_and_port),
    TAP_CASE(right_password),
    TAP_CASE(wrong_password),
    TAP_CASE(broken_links),
    TAP_CASE(hot_plug),
    TAP_CASE(machines_that_move),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "cycles", cases, TAP_COUNT(cases));
}
