/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What spice_server_register_channel() says of clients: who gets a channel that has one
 * already, and when one counts as lost. Not run on Debian's library.
 */
#define _GNU_SOURCE
#include "packed.h"
#include "registry.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

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
    open_busy(SPICE_SERVER_BUSY_TAKE_OVER, false);
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
        int fd = rig_server_end(&c), on;
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

static const struct tap_case cases[] = {
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
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "registry-clients", cases, TAP_COUNT(cases));
}
