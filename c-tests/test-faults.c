/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A panic in any step of the library: what it happened to is closed, one line is logged,
 * and everything else goes on.
 *
 * Only for a library built with -Dfault_injection=true (scripts/faults), which asks
 * spice_test_fault() at each of its steps.  While it happens a bystander, which is
 * another client, has data under way to a device that does not take them yet; so nothing
 * else moves, and the step that panics is the victim's.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "devices.h"
#include "rig.h"
#include "tls.h"

#include <fcntl.h>
#include <linux/sockios.h>
#include <poll.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <unistd.h>

/* ---- the library's question ---- */

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static struct { const char *step; int countdown; } armed[2];
static int fired;

int spice_test_fault(const char *step);

int spice_test_fault(const char *step)
{
    int now = 0;
    pthread_mutex_lock(&lock);
    for (size_t i = 0; i < TAP_COUNT(armed); i++)
        if (armed[i].step && !strcmp(armed[i].step, step) && --armed[i].countdown == 0) {
            armed[i].step = NULL;
            fired++;
            now = 1;
        }
    pthread_mutex_unlock(&lock);
    if (now)
        host_wake();
    return now;
}

/** The `nth` time that the library comes to this step it panics. */
static void arm(const char *step, int nth)
{
    pthread_mutex_lock(&lock);
    int i = armed[0].step != NULL;
    armed[i].step = step;
    armed[i].countdown = nth;
    pthread_mutex_unlock(&lock);
}

static bool has_fired(void *opaque)
{
    pthread_mutex_lock(&lock);
    int n = fired;
    pthread_mutex_unlock(&lock);
    return n >= *(int *)opaque;
}

static bool is_logged(void *opaque)
{
    return tap_log_lines("step abandoned") >= *(int *)opaque;
}

/** So many panics since begin(), and a line for each. */
static void expect_faults(int n)
{
    EXPECT_MSG(host_run_until(has_fired, &n, HOST_DEADLINE_MS), "the step was not reached");
    /* host_wake() ends no wait for the log: another thread may be writing it */
    for (int i = 0; i < 500 && !is_logged(&n); i++)
        host_run_until(is_logged, &n, 10);
    EXPECT_EQ(tap_log_lines("step abandoned"), n);
    EXPECT_EQ(fired, n);
    EXPECT_EQ(tap_log_lines("panicked at"), 0);
}

/* ---- the world ---- */

enum { UNDER_WAY = 200000 };

static struct rig r;
static struct chardev device, other;
static struct client bystander_main, bystander; /* the other client, on `other` */
static struct client victim_main, victim;       /* the one on `device` */
static uint32_t bystander_session, victim_session;
static long rss;

static bool on_thread(void)
{
    const char *home = getenv("SPICE_SERVER_IO_HOME");
    return home && !strcmp(home, "thread");
}

/** A round trip on a main channel. */
static void main_is_served(struct client *c)
{
    struct message m;
    EXPECT(client_send(c, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(c, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
}

static void link_port(struct client *c, int id, uint32_t session)
{
    struct message m;
    rig_channel(&r, c, CH_PORT, id, session);
    client_expect(c, S_PORT_INIT, &m);
    message_free(&m);
}

static void add_devices(void)
{
    chardev_add_port(&device, r.server, "org.example.victim");
    chardev_add_port(&other, r.server, "org.example.bystander");
    other.keep_input = false;
    other.echo = true;
    spice_server_vm_start(r.server);
}

static void add_clients(void)
{
    bystander_session = rig_main(&r, &bystander_main);
    link_port(&bystander, 1, bystander_session);
    bystander_main.answer_pings = bystander.answer_pings = true;
    victim_session = rig_main(&r, &victim_main);
    victim_main.answer_pings = true;
    victim.fd = -1;
}

static void open_world(void)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    rig_open(&r);
    add_devices();
    add_clients();
}

/** The victim has its port too, and its device's state has been told. */
static void open_port(void)
{
    open_world();
    link_port(&victim, 0, victim_session);
    EXPECT(chardev_wait_states(&device, 1));
}

/** The bystander sends; all of it is inside the library when this returns. */
static void begin(const char *step, int nth)
{
    static uint8_t data[UNDER_WAY];
    int left = 1;
    chardev_fill(data, sizeof data, 0);
    other.accept = 0;
    for (size_t at = 0; at < sizeof data; at += 10000)
        EXPECT(client_send(&bystander, VMC_DATA, data + at, 10000));
    while (left > 0) {
        EXPECT_EQ(ioctl(bystander.fd, SIOCOUTQ, &left), 0);
        host_turn(left ? 1 : 0);
    }
    /* whichever thread has the connections has handled what it read before this */
    main_is_served(&bystander_main);
    main_is_served(&victim_main);
    host_drain();
    rss = tap_usage().rss_kib;
    tap_log_mark();
    arm(step, nth);
}

static void bystander_is_served(void)
{
    size_t got = 0;
    struct message m;
    uint64_t digest = 0;
    other.accept = CHARDEV_UNLIMITED;
    chardev_wakeup(&other);
    while (got < UNDER_WAY) {
        client_expect(&bystander, VMC_DATA, &m);
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
        chardev_pump(&other);
    }
    EXPECT_EQ(got, UNDER_WAY);
    EXPECT(digest == chardev_pattern_digest(UNDER_WAY));
}

/** A later client has everything, in both directions. */
static void newcomer_is_served(void)
{
    struct client c, p;
    struct message m;
    uint64_t before = device.in_len;
    uint32_t session = rig_main(&r, &c);
    c.answer_pings = true;
    link_port(&p, 0, session);
    EXPECT(client_send(&p, VMC_DATA, "hello", 5));
    EXPECT(chardev_wait_input(&device, before + 5));
    chardev_say(&device, "welcome", 7);
    client_expect(&p, VMC_DATA, &m);
    EXPECT(m.size == 7 && !memcmp(m.body, "welcome", 7));
    message_free(&m);
    main_is_served(&c);
    int states = device.n_states;
    client_close(&p);
    EXPECT(chardev_wait_states(&device, states + 1));
    client_close(&c);
}

static void close_world(void)
{
    bystander_is_served();
    main_is_served(&bystander_main);
    newcomer_is_served();
    long growth = tap_usage().rss_kib - rss;
    EXPECT_MSG(growth < 8 * 1024, "memory grew by %ld KiB", growth);
    client_close(&victim);
    client_close(&victim_main);
    client_close(&bystander);
    client_close(&bystander_main);
    chardev_remove(&device);
    chardev_remove(&other);
    rig_close(&r);
}

/* ---- how it ends ---- */

static void ended(struct client *c)
{
    EXPECT_MSG(client_closed(c), "the connection stays");
    client_close(c);
}

/** The victim's port is closed and its main channel is not; the device goes on. */
static void port_ends(void)
{
    ended(&victim);
    expect_faults(1);
    main_is_served(&victim_main);
    close_world();
}

static void session_ends(void)
{
    ended(&victim_main);
    if (victim.fd >= 0)
        ended(&victim);
    expect_faults(1);
    close_world();
}

/** The device takes no client any more, until it is plugged anew. */
static void device_ends(void)
{
    struct client c;
    ended(&victim);
    expect_faults(1);
    main_is_served(&victim_main);
    rig_connect(&r, &c);
    (void)client_link(&c, CH_PORT, 0, victim_session, "");
    ended(&c);
    chardev_wakeup(&device);
    chardev_remove(&device);
    chardev_add_port(&device, r.server, "org.example.victim");
    struct message m;
    /* clients that know the list are told of the new one */
    client_expect(&bystander_main, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    client_expect(&victim_main, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    close_world();
}

/** A client that is linking, to main or to the victim's port, is closed. */
static void newcomer_ends(int type, const char *step, int nth)
{
    struct client c;
    open_world();
    begin(step, nth);
    rig_connect(&r, &c);
    (void)client_link(&c, type, 0, type == CH_MAIN ? 0 : victim_session, "");
    ended(&c);
    expect_faults(1);
    main_is_served(&victim_main);
    close_world();
}

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
    fired = 0;
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

/* ---- graphics devices ---- */

static struct qxl first, second;

static void open_displays(void)
{
    open_world();
    qxl_prepare(&first, 0);
    qxl_prepare(&second, 1);
    qxl_add(&first, r.server);
    qxl_add(&second, r.server);
    spice_server_vm_start(r.server);
    qxl_create_primary(&first, 64, 64);
    qxl_create_primary(&second, 64, 64);
}

/** Both devices take commands and answer requests. */
static void close_displays(bool stopped)
{
    struct qxl *both[] = { &first, &second };
    expect_faults(1);
    if (stopped)
        spice_server_vm_start(r.server);
    for (int i = 0; i < 2; i++) {
        int fetched = qxl_count(both[i], &both[i]->fetched);
        EXPECT(qxl_draw(both[i], 0, 0, 8, 8));
        EXPECT(qxl_wait(both[i], &both[i]->fetched, fetched + 1));
        spice_qxl_flush_surfaces_async(&both[i]->sin, 77);
        EXPECT(qxl_wait_cookie(both[i], 77));
        EXPECT_EQ(qxl_completed(both[i], 77), 1);
    }
    qxl_remove(&first);
    qxl_remove(&second);
    close_world();
}

static void qxl_request_with_a_cookie(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_destroy_surfaces_async(&first.sin, 5);
    EXPECT(qxl_wait_cookie(&first, 5));
    close_displays(false);
}

static void qxl_request_that_is_waited_for(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_reset_cursor(&first.sin);
    close_displays(false);
}

/* When the call returns the rings are not read, whatever happened. */
static void qxl_stop(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_stop(&first.sin);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    spice_qxl_reset_cursor(&first.sin);
    EXPECT_EQ(qxl_count(&first, &first.fetched), 0);
    spice_qxl_start(&first.sin);
    EXPECT(qxl_wait(&first, &first.fetched, 1));
    close_displays(false);
}

/* Memory that the host takes away is not used any more. */
static void qxl_slot_that_goes(void)
{
    open_displays();
    begin("QXL request", 1);
    spice_qxl_del_memslot(&first.sin, 0, 0);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    EXPECT(qxl_wait(&first, &first.fetched, 1));
    spice_qxl_reset_cursor(&first.sin);
    EXPECT_EQ(qxl_count(&first, &first.released), 0);
    qxl_write_off(&first);
    qxl_add_host_slot(&first);
    close_displays(false);
}

static void qxl_commands(void)
{
    open_displays();
    begin("QXL commands", 1);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    close_displays(false);
}

/* The command is given back to the guest. */
static void qxl_command(void)
{
    open_displays();
    begin("QXL command", 1);
    EXPECT(qxl_draw(&first, 0, 0, 8, 8));
    EXPECT(qxl_wait(&first, &first.released, 1));
    close_displays(false);
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

/* ---- the configuration ---- */

/* What it may forbid is not known: nobody is served. */
static void configuration(void)
{
    host_init();
    arm("the configuration", 1);
    SpiceServer *server = spice_server_new();
    EXPECT(server != NULL);
    spice_server_set_noauth(server);
    EXPECT_EQ(spice_server_init(server, host_core()), -1);
    expect_faults(1);
    spice_server_destroy(server);
    open_world();
    fired = 0;
    begin("nothing", 1);
    close_world();
}

/* ---- the C functions ---- */

static struct inputs inputs;

#define CALL(function) { #function, call_##function }

#define DEFINE_CALL(function, call, result) \
    static int call_##function(void) \
    { \
        return (call) == (result); \
    }

DEFINE_CALL(spice_server_set_ticket, spice_server_set_ticket(r.server, "x", 0, 0, 0), -1)
DEFINE_CALL(spice_server_set_noauth, spice_server_set_noauth(r.server), -1)
DEFINE_CALL(spice_server_set_channel_security,
            spice_server_set_channel_security(r.server, "main", 3), -1)
DEFINE_CALL(spice_server_init, spice_server_init(r.server, host_core()), -1)
DEFINE_CALL(spice_server_get_num_clients, spice_server_get_num_clients(r.server), 0)
DEFINE_CALL(spice_server_add_interface,
            spice_server_add_interface(r.server, &inputs.tablet.base), -1)
DEFINE_CALL(spice_server_remove_interface, spice_server_remove_interface(&device.sin.base), -1)
DEFINE_CALL(spice_server_char_device_wakeup, (spice_server_char_device_wakeup(&device.sin), 1), 1)
DEFINE_CALL(spice_server_port_event, (spice_server_port_event(&device.sin, 0), 1), 1)
DEFINE_CALL(spice_server_vm_start, (spice_server_vm_start(r.server), 1), 1)
DEFINE_CALL(spice_server_vm_stop, (spice_server_vm_stop(r.server), 1), 1)
DEFINE_CALL(spice_server_set_name, (spice_server_set_name(r.server, "vm"), 1), 1)
DEFINE_CALL(spice_server_migrate_switch, (spice_server_migrate_switch(r.server), 1), 1)
DEFINE_CALL(spice_qxl_wakeup, (spice_qxl_wakeup(&first.sin), 1), 1)
DEFINE_CALL(spice_qxl_start, (spice_qxl_start(&first.sin), 1), 1)
DEFINE_CALL(spice_qxl_reset_cursor, (spice_qxl_reset_cursor(&first.sin), 1), 1)
/* Nothing is done, so the next one ends the server. */
DEFINE_CALL(spice_server_destroy, (spice_server_destroy(r.server), 1), 1)

static const struct {
    const char *name;
    int (*call)(void);
} calls[] = {
    CALL(spice_server_set_ticket),
    CALL(spice_server_set_noauth),
    CALL(spice_server_set_channel_security),
    CALL(spice_server_init),
    CALL(spice_server_get_num_clients),
    CALL(spice_server_add_interface),
    CALL(spice_server_remove_interface),
    CALL(spice_server_char_device_wakeup),
    CALL(spice_server_port_event),
    CALL(spice_server_vm_start),
    CALL(spice_server_vm_stop),
    CALL(spice_server_set_name),
    CALL(spice_server_migrate_switch),
    CALL(spice_qxl_wakeup),
    CALL(spice_qxl_start),
    CALL(spice_qxl_reset_cursor),
    CALL(spice_server_destroy),
};

static void c_functions(void)
{
    open_displays();
    inputs_prepare(&inputs);
    begin("nothing", 1);
    armed[0].step = NULL;
    for (size_t i = 0; i < TAP_COUNT(calls); i++) {
        arm(calls[i].name, 1);
        EXPECT_MSG(calls[i].call(), "%s returns something else", calls[i].name);
        EXPECT_MSG(fired == (int)i + 1, "%s does not pass by its step", calls[i].name);
        EXPECT_MSG(tap_log_lines(calls[i].name) == 1, "%s is not in the log", calls[i].name);
    }
    main_is_served(&victim_main);
    qxl_remove(&first);
    qxl_remove(&second);
    close_world();
}

/* ---- the end ---- */

static void destroy_with(const char *step)
{
    open_port();
    begin(step, 1);
    spice_server_destroy(r.server);
    expect_faults(1);
    EXPECT(client_closed(&victim) && client_closed(&victim_main));
    EXPECT(client_closed(&bystander) && client_closed(&bystander_main));
    client_close(&victim);
    client_close(&victim_main);
    client_close(&bystander);
    client_close(&bystander_main);
    /* what rig_close() looks at, of another server that takes nothing over */
    chardev_forget(&device);
    chardev_forget(&other);
    struct tap_usage before = r.before;
    r.server = spice_server_new();
    r.before = before;
    rig_close(&r);
}

static void destroy_while_stopping_devices(void)
{
    destroy_with("stopping the devices");
}

static void destroy_while_cutting_clients(void)
{
    destroy_with("cutting the clients");
}

static void destroy_while_closing_a_channel(void)
{
    destroy_with("closing a channel");
}

static void destroy_while_removing_a_device(void)
{
    destroy_with("removing a device");
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
    armed[0].step = NULL;
    for (int i = 0; i < 200; i++) {
        struct client c;
        if (i == 50)
            rss = tap_usage().rss_kib;
        arm(steps[(size_t)i % TAP_COUNT(steps)], 1);
        rig_connect(&r, &c);
        if (client_link(&c, CH_MAIN, 0, 0, "") == LINK_OK)
            (void)client_send(&c, C_MAIN_ATTACH_CHANNELS, NULL, 0);
        ended(&c);
        EXPECT_EQ(fired, i + 1);
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
    TAP_CASE(qxl_request_with_a_cookie),
    TAP_CASE(qxl_request_that_is_waited_for),
    TAP_CASE(qxl_stop),
    TAP_CASE(qxl_slot_that_goes),
    TAP_CASE(qxl_commands),
    TAP_CASE(qxl_command),
    TAP_CASE(tls_reads_in_the_handshake),
    TAP_CASE(tls_writes_in_the_handshake),
    TAP_CASE(tls_reads),
    TAP_CASE(tls_writes),
    TAP_CASE(tls_goodbye_after_another),
    TAP_CASE(websocket_layer),
    TAP_CASE(configuration),
    TAP_CASE(c_functions),
    TAP_CASE(destroy_while_stopping_devices),
    TAP_CASE(destroy_while_cutting_clients),
    TAP_CASE(destroy_while_closing_a_channel),
    TAP_CASE(destroy_while_removing_a_device),
    TAP_CASE(two_hundred_links),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "faults", cases, TAP_COUNT(cases));
}
