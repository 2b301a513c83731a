/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A panic in any step of links, connections, the layers under them and char devices
 * (faults.h).
 */
#define _GNU_SOURCE
#include "faults.h"
#include "tls.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- links ---- */

#define NEWCOMER(name, type, step, nth) \
    static void name(void) \
    { \
        newcomer_ends(type, step, nth); \
    }

NEWCOMER(accepting, CH_MAIN, "accept", 1)
NEWCOMER(first_event_of_a_link, CH_MAIN, "socket event", 2) /* the first is the listener's */
NEWCOMER(link_step, CH_MAIN, "link step", 1)
NEWCOMER(link_step_of_the_ticket, CH_MAIN, "link step", 2)
NEWCOMER(link_key, CH_MAIN, "link key", 1)
NEWCOMER(link_with_its_key, CH_MAIN, "link with its key", 1)
NEWCOMER(link_at_its_end, CH_MAIN, "link at its end", 1)
NEWCOMER(notice_of_an_accepted_client, CH_MAIN, "notice from the I/O thread", 1)
NEWCOMER(notice_of_a_link, CH_MAIN, "notice from the I/O thread", 2)
NEWCOMER(about_to_establish, CH_MAIN, "about to establish", 1)
NEWCOMER(establishing, CH_MAIN, "establishing", 1)
NEWCOMER(establishing_a_port, CH_PORT, "establishing", 1)
NEWCOMER(beginning_a_session, CH_MAIN, "beginning a session", 1)
NEWCOMER(device_state, CH_PORT, "device state", 1)
NEWCOMER(attached_to_a_channel, CH_PORT, "attached to a channel", 1)

/* The event's own callback, before anybody is found for it: the event comes again. */
static void callback_of_the_loop(void)
{
    open_world();
    begin("watch callback", 1);
    main_is_served(&victim_main);
    expect_faults(1);
    close_world();
}

static void moving_in(void)
{
    if (on_thread())
        newcomer_ends(CH_MAIN, "I/O thread command", 1);
}

static void link_deadline(void)
{
    open_world();
    begin("link deadline", 1);
    struct client c;
    rig_connect(&r, &c);
    EXPECT(host_wait_fd(c.fd, POLLIN, 30000));
    ended(&c);
    expect_faults(1);
    close_world();
}

static void key_thread(void)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    tap_log_mark();
    arm("making a key", 1);
    rig_init_unix(&r);
    expect_faults(1);
    add_devices();
    add_clients();
    forget_faults();
    begin("nothing", 1);
    close_world();
}

static void added_client(const char *step, int result, bool ours)
{
    int pair[2];
    struct client c;
    open_world();
    begin(step, 1);
    EXPECT_EQ(socketpair(AF_UNIX, SOCK_STREAM, 0, pair), 0);
    client_init(&c, pair[0]);
    EXPECT_EQ(spice_server_add_client(r.server, pair[1], 1), result);
    if (ours) {
        EXPECT(fcntl(pair[1], F_GETFD) >= 0);
        close(pair[1]);
    }
    ended(&c);
    expect_faults(1);
    close_world();
}

static void added_client_before_it_is_taken(void)
{
    added_client("spice_server_add_client", -1, true);
}

static void added_client_on_its_way(void)
{
    added_client("adding a client", 0, false);
}

static void added_client_on_the_io_thread(void)
{
    added_client("I/O thread command", 0, false);
}

/* ---- connections ---- */

/** What a client's message does. */
static void message_on_the_port(const char *step, int nth)
{
    open_port();
    begin(step, nth);
    EXPECT(client_send(&victim, VMC_DATA, "x", 1));
}

static void port_message(void)
{
    message_on_the_port("port message", 1);
    port_ends();
}

static void second_of_two_messages(void)
{
    message_on_the_port("port message", 2);
    // Two that arrive together are one step.
    EXPECT(chardev_wait_input(&device, 1));
    EXPECT(client_send(&victim, VMC_DATA, "y", 1));
    port_ends();
}

static void channel_step(void)
{
    message_on_the_port("channel step", 1);
    port_ends();
}

static void reading_a_socket(void)
{
    message_on_the_port("reading a socket", 1);
    port_ends();
}

static void socket_event(void)
{
    message_on_the_port("socket event", 1);
    port_ends();
}

static void notice_of_a_message(void)
{
    if (!on_thread())
        return;
    message_on_the_port("notice from the I/O thread", 1);
    port_ends();
}

static void device_event(void)
{
    open_port();
    begin("device event", 1);
    EXPECT(client_send(&victim, C_PORT_EVENT, "\2", 1));
    port_ends();
}

static void main_message_of(const char *step)
{
    open_port();
    begin(step, 1);
    EXPECT(client_send(&victim_main, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    session_ends();
}

static void main_message(void)
{
    main_message_of("main message");
}

static void queueing_an_answer(void)
{
    main_message_of("queueing");
}

static void flushing_an_answer(void)
{
    main_message_of("flush");
}

/* A connection closes, and that panics: the others of its session close all the same. */
static void closing_a_channel(void)
{
    open_port();
    begin("closing a channel", 2); /* the main channel's is the first */
    client_close(&victim_main);
    ended(&victim);
    expect_faults(1);
    /* the device was not told; its next client is no trouble */
    chardev_remove(&device);
    chardev_add_port(&device, r.server, "org.example.victim");
    struct message m;
    client_expect(&bystander_main, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    close_world();
}

static void device_state_at_the_end(void)
{
    open_port();
    begin("device state", 1);
    client_close(&victim);
    expect_faults(1);
    EXPECT(chardev_wait_states(&device, 2));
    main_is_served(&victim_main);
    close_world();
}

static void inputs_message(void)
{
    struct inputs in;
    struct message m;
    struct client c;
    open_world();
    inputs_add(&in, r.server);
    rig_channel(&r, &c, CH_INPUTS, 0, victim_session);
    client_expect(&c, S_INPUTS_INIT, &m);
    message_free(&m);
    client_expect(&victim_main, S_NOTIFY, &m); /* keys are not encrypted */
    message_free(&m);
    begin("inputs message", 1);
    EXPECT(client_send(&c, C_INPUTS_KEY_DOWN, "\x1e\0\0", 4));
    ended(&c);
    expect_faults(1);
    EXPECT_EQ(in.n_told, 0);
    rig_channel(&r, &c, CH_INPUTS, 0, victim_session);
    client_expect(&c, S_INPUTS_INIT, &m);
    message_free(&m);
    client_close(&c);
    bystander_is_served();
    client_close(&victim_main);
    client_close(&bystander);
    client_close(&bystander_main);
    inputs_remove(&in);
    chardev_remove(&device);
    chardev_remove(&other);
    rig_close(&r);
}

static void smartcard_message(void)
{
    struct chardev card;
    struct client c;
    static const uint8_t add[12] = { 3 };
    open_world();
    chardev_prepare(&card, "smartcard", NULL);
    EXPECT_EQ(chardev_add(&card, r.server), 0);
    rig_channel(&r, &c, CH_SMARTCARD, 0, victim_session);
    EXPECT(chardev_wait_states(&card, 1));
    begin("smartcard message", 1);
    EXPECT(client_send(&c, VMC_DATA, add, sizeof add));
    ended(&c);
    expect_faults(1);
    EXPECT(chardev_wait_states(&card, 2));
    /* the reader is free for the next client */
    rig_channel(&r, &c, CH_SMARTCARD, 0, bystander_session);
    EXPECT(client_send(&c, VMC_DATA, add, sizeof add));
    EXPECT(chardev_wait_input(&card, 12));
    client_close(&c);
    EXPECT(chardev_wait_states(&card, 4));
    chardev_remove(&card);
    close_world();
}

/* ---- devices ---- */

static void device_write(void)
{
    message_on_the_port("device write", 1);
    device_ends();
}

static void device_says(const char *step)
{
    open_port();
    begin(step, 1);
    chardev_say(&device, "x", 1);
}

static void device_read(void)
{
    device_says("device read");
    device_ends();
}

static void device_step(void)
{
    device_says("device step");
    device_ends();
}

static void queueing_of_a_device(void)
{
    device_says("queueing");
    device_ends();
}

static void flushing_for_a_device(void)
{
    device_says("flush");
    if (on_thread())
        port_ends();
    else
        device_ends();
}

static void fetching_for_a_device(void)
{
    if (!on_thread())
        return;
    device_says("I/O thread command");
    port_ends();
}

/* The retry of a device that does not tell when it is writable. */
static void device_timer(void)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    rig_open(&r);
    chardev_prepare(&device, "port", "org.example.victim");
    chardev_interface(&device, SPICE_INTERFACE_CHAR_DEVICE_MINOR, 0);
    EXPECT_EQ(chardev_add(&device, r.server), 0);
    chardev_add_port(&other, r.server, "org.example.bystander");
    other.keep_input = false;
    other.echo = true;
    spice_server_vm_start(r.server);
    add_clients();
    link_port(&victim, 0, victim_session);
    begin("device timer", 1);
    device.accept = 0;
    EXPECT(client_send(&victim, VMC_DATA, "x", 1));
    device_ends();
}

/* ---- what wraps the bytes ---- */

/** The victim is a client over TLS; unix socket. */
static void open_tls(void)
{
    struct pki pki;
    struct tls_wants wants = { 0 };
    pki_make(&pki, "tls", KEY_EC, NULL);
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    rig_new(&r);
    EXPECT_EQ(spice_server_set_noauth(r.server), 0);
    int port = rig_free_port(AF_INET);
    EXPECT_EQ(spice_server_set_tls(r.server, port, pki.ca, pki.cert, pki.key, NULL, NULL, NULL), 0);
    rig_init_tcp(&r);
    add_devices();
    add_clients();
    client_close(&victim_main);
    client_init(&victim_main, connect_tcp(AF_INET, port));
    tls_begin(&victim_main, &wants);
}

static void finish_tls_link(void)
{
    struct message m;
    EXPECT(tls_handshake(&victim_main));
    EXPECT_EQ(client_link(&victim_main, CH_MAIN, 0, 0, ""), LINK_OK);
    client_expect(&victim_main, S_MAIN_INIT, &m);
    message_free(&m);
    victim_main.answer_pings = true;
}

static void tls_handshake_fails(const char *step)
{
    struct client keep;
    open_tls();
    keep = victim_main;
    rig_main(&r, &victim_main);
    victim_main.answer_pings = true;
    begin(step, 1);
    EXPECT(!tls_handshake(&keep));
    ended(&keep);
    expect_faults(1);
    main_is_served(&victim_main);
    close_world();
}

static void tls_reads_in_the_handshake(void)
{
    tls_handshake_fails("inside OpenSSL, reading");
}

static void tls_writes_in_the_handshake(void)
{
    tls_handshake_fails("inside OpenSSL, writing");
}

static void tls_message_of(const char *step)
{
    open_tls();
    finish_tls_link();
    begin(step, 1);
    EXPECT(client_send(&victim_main, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    session_ends();
}

static void tls_reads(void)
{
    tls_message_of("inside OpenSSL, reading");
}

static void tls_writes(void)
{
    tls_message_of("inside OpenSSL, writing");
}

/* A panic, and another one while what it left is put away. */
static void tls_goodbye_after_another(void)
{
    open_tls();
    finish_tls_link();
    begin("main message", 1);
    arm("TLS goodbye", 1);
    EXPECT(client_send(&victim_main, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    ended(&victim_main);
    expect_faults(2);
    close_world();
}

static void websocket_layer(void)
{
    static const char request[] =
        "GET / HTTP/1.1\r\nHost: x\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
        "Sec-WebSocket-Protocol: binary\r\n\r\n";
    struct client c;
    open_world();
    begin("WebSocket layer", 1);
    rig_connect(&r, &c);
    EXPECT(client_write(&c, request, sizeof request - 1));
    (void)client_write(&c, "\x82\x84\0\0\0\0REDQ", 10);
    ended(&c);
    expect_faults(1);
    main_is_served(&victim_main);
    close_world();
}

/* ---- again and again ---- */

/** More than the place that logs them may write. */
static void two_hundred_links(void)
{
    enum { SHARE = 120 };
    static const char *const steps[] = { "link step", "establishing", "beginning a session",
                                         "main message", "notice from the I/O thread" };
    open_world();
    begin("nothing", 1);
    disarm();
    for (int i = 0; i < 200; i++) {
        struct client c;
        if (i == 50)
            rss = tap_usage().rss_kib;
        arm(steps[(size_t)i % TAP_COUNT(steps)], 1);
        rig_connect(&r, &c);
        if (client_link(&c, CH_MAIN, 0, 0, "") == LINK_OK)
            (void)client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0);
        ended(&c);
        EXPECT_EQ(faults(), i + 1);
    }
    EXPECT_EQ(tap_log_lines("step abandoned"), SHARE);
    EXPECT_EQ(tap_log_lines("panicked at"), 0);
    long growth = tap_usage().rss_kib - rss;
    EXPECT_MSG(growth < 1024, "memory grew by %ld KiB", growth);
    main_is_served(&victim_main);
    close_world();
}

static const struct tap_case cases[] = {
    TAP_CASE(accepting),
    TAP_CASE(first_event_of_a_link),
    TAP_CASE(link_step),
    TAP_CASE(link_step_of_the_ticket),
    TAP_CASE(link_key),
    TAP_CASE(link_with_its_key),
    TAP_CASE(link_at_its_end),
    TAP_CASE(notice_of_an_accepted_client),
    TAP_CASE(notice_of_a_link),
    TAP_CASE(about_to_establish),
    TAP_CASE(establishing),
    TAP_CASE(establishing_a_port),
    TAP_CASE(beginning_a_session),
    TAP_CASE(device_state),
    TAP_CASE(attached_to_a_channel),
    TAP_CASE(callback_of_the_loop),
    TAP_CASE(moving_in),
    TAP_CASE(link_deadline),
    TAP_CASE(key_thread),
    TAP_CASE(added_client_before_it_is_taken),
    TAP_CASE(added_client_on_its_way),
    TAP_CASE(added_client_on_the_io_thread),
    TAP_CASE(port_message),
    TAP_CASE(second_of_two_messages),
    TAP_CASE(channel_step),
    TAP_CASE(reading_a_socket),
    TAP_CASE(socket_event),
    TAP_CASE(notice_of_a_message),
    TAP_CASE(device_event),
    TAP_CASE(main_message),
    TAP_CASE(queueing_an_answer),
    TAP_CASE(flushing_an_answer),
    TAP_CASE(closing_a_channel),
    TAP_CASE(device_state_at_the_end),
    TAP_CASE(inputs_message),
    TAP_CASE(smartcard_message),
    TAP_CASE(device_write),
    TAP_CASE(device_read),
    TAP_CASE(device_step),
    TAP_CASE(queueing_of_a_device),
    TAP_CASE(flushing_for_a_device),
    TAP_CASE(fetching_for_a_device),
    TAP_CASE(device_timer),
    TAP_CASE(tls_reads_in_the_handshake),
    TAP_CASE(tls_writes_in_the_handshake),
    TAP_CASE(tls_reads),
    TAP_CASE(tls_writes),
    TAP_CASE(tls_goodbye_after_another),
    TAP_CASE(websocket_layer),
    TAP_CASE(two_hundred_links),
};

int main(int argc, char **argv)
{
    tap_want_panics();
    return tap_main(argc, argv, "faults", cases, TAP_COUNT(cases));
}
