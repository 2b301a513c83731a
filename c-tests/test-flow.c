/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Data through char devices: nothing lost, nothing twice, nothing reordered,
 * bounded on both sides, whatever calls whatever from inside what.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "rig.h"

#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

struct bench {
    struct rig r;
    struct client main_channel, c;
    uint32_t session;
    struct chardev port;
};

static void connect_port(struct bench *b)
{
    struct message m;
    rig_channel(&b->r, &b->c, CH_PORT, 0, b->session);
    client_expect(&b->c, S_PORT_INIT, &m);
    message_free(&m);
    int states = b->port.n_states;
    if (states % 2 == 0)
        EXPECT(chardev_wait_states(&b->port, states + 1));
}

static void open_bench(struct bench *b, bool tcp)
{
    if (tcp) {
        rig_new(&b->r);
        spice_server_set_noauth(b->r.server);
        rig_init_tcp(&b->r);
    } else {
        rig_open(&b->r);
    }
    chardev_add_port(&b->port, b->r.server, "org.example.0");
    b->port.keep_input = false;
    b->session = rig_main(&b->r, &b->main_channel);
    b->main_channel.answer_pings = b->c.answer_pings = true;
    connect_port(b);
    b->c.answer_pings = true;
}

static void close_bench(struct bench *b)
{
    client_close(&b->c);
    client_close(&b->main_channel);
    chardev_remove(&b->port);
    rig_close(&b->r);
}

/** Receives `n` bytes of DATA and returns their digest; pumps the device. */
static uint64_t receive_data(struct bench *b, uint64_t n)
{
    struct message m;
    uint64_t got = 0, digest = 0;
    while (got < n) {
        if (b->port.added)
            chardev_pump(&b->port);
        if (!client_next(&b->c, &m))
            FAIL("the channel ends after %llu of %llu bytes", (unsigned long long)got,
                 (unsigned long long)n);
        if (m.type != VMC_DATA)
            FAIL("message of type %u among the data", m.type);
        EXPECT_MSG(m.size >= 1 && m.size <= 65568, "DATA of %u bytes", m.size);
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
    }
    EXPECT_EQ(got, n);
    return digest;
}

/** Sends `n` bytes of the pattern in DATA messages of `size` bytes. */
static void send_data(struct bench *b, uint64_t n, uint32_t size)
{
    uint8_t *body = malloc(size);
    for (uint64_t at = 0; at < n; at += size) {
        uint32_t part = n - at < size ? (uint32_t)(n - at) : size;
        chardev_fill(body, part, at);
        EXPECT(client_send(&b->c, VMC_DATA, body, part));
    }
    free(body);
}

static void expect_input(struct bench *b, uint64_t n)
{
    EXPECT_MSG(chardev_wait_input(&b->port, n), "only %llu of %llu bytes arrived",
               (unsigned long long)b->port.in_len, (unsigned long long)n);
    EXPECT_EQ(b->port.in_len, n);
    EXPECT(b->port.in_digest == chardev_pattern_digest(n));
}

enum { MIB = 1 << 20 };

static void to_client_large(void)
{
    struct bench b;
    open_bench(&b, false);
    chardev_generate(&b.port, 16 * MIB);
    EXPECT(receive_data(&b, 16 * MIB) == chardev_pattern_digest(16 * MIB));
    EXPECT(client_silent(&b.c, 20));
    close_bench(&b);
}

static void to_client_tiny_reads(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.read_chunk = 7;
    chardev_generate(&b.port, 70001);
    EXPECT(receive_data(&b, 70001) == chardev_pattern_digest(70001));
    close_bench(&b);
}

static void to_client_many_small_blocks(void)
{
    struct bench b;
    uint8_t bytes[64];
    uint64_t n = 0;
    open_bench(&b, false);
    for (int i = 0; i < 5000; i++) {
        size_t part = (size_t)(i % 64) + 1;
        chardev_fill(bytes, part, n);
        chardev_say(&b.port, bytes, part);
        n += part;
    }
    EXPECT(receive_data(&b, n) == chardev_pattern_digest(n));
    close_bench(&b);
}

static void to_client_over_tcp(void)
{
    struct bench b;
    open_bench(&b, true);
    chardev_generate(&b.port, 8 * MIB);
    EXPECT(receive_data(&b, 8 * MIB) == chardev_pattern_digest(8 * MIB));
    close_bench(&b);
}

static void to_device_large_messages(void)
{
    struct bench b;
    open_bench(&b, false);
    send_data(&b, 16 * MIB, 64 << 10);
    expect_input(&b, 16 * MIB);
    close_bench(&b);
}

static void to_device_one_huge_message(void)
{
    struct bench b;
    open_bench(&b, false);
    send_data(&b, MIB, MIB);
    expect_input(&b, MIB);
    close_bench(&b);
}

static void to_device_small_messages(void)
{
    struct bench b;
    open_bench(&b, false);
    send_data(&b, 100000, 13);
    expect_input(&b, 100000);
    close_bench(&b);
}

static void to_device_over_tcp(void)
{
    struct bench b;
    open_bench(&b, true);
    send_data(&b, 8 * MIB, 50000);
    expect_input(&b, 8 * MIB);
    close_bench(&b);
}

static void to_device_in_small_bites(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.write_chunk = 100;
    send_data(&b, 300000, 4099);
    expect_input(&b, 300000);
    close_bench(&b);
}

static void to_device_byte_by_byte_on_the_wire(void)
{
    struct bench b;
    uint8_t wire[6 + 40];
    open_bench(&b, false);
    put32(put16(wire, VMC_DATA), 40);
    chardev_fill(wire + 6, 40, 0);
    for (size_t i = 0; i < sizeof wire; i++) {
        EXPECT(client_write(&b.c, wire + i, 1));
        host_run_for(1);
    }
    expect_input(&b, 40);
    close_bench(&b);
}

static void both_ways_at_once(void)
{
    enum { N = 8 * MIB, SIZE = 30000 };
    struct bench b;
    static uint8_t body[6 + SIZE];
    struct message m;
    uint64_t sent = 0, got = 0, digest = 0;
    size_t pending = 0, at = 0;
    open_bench(&b, false);
    b.port.generate = N;
    while (sent < N || pending || got < N) {
        if (!pending && sent < N) {
            uint32_t part = N - sent < SIZE ? (uint32_t)(N - sent) : SIZE;
            put32(put16(body, VMC_DATA), part);
            chardev_fill(body + 6, part, sent);
            sent += part;
            pending = 6 + part;
            at = 0;
        }
        if (pending) {
            size_t w = client_write_some(&b.c, body + at, pending, 0);
            at += w;
            pending -= w;
        }
        chardev_pump(&b.port);
        if (got < N && host_wait_fd(b.c.fd, POLLIN, pending ? 10 : HOST_DEADLINE_MS)) {
            EXPECT(client_next(&b.c, &m));
            EXPECT_EQ(m.type, VMC_DATA);
            digest = chardev_digest(digest, m.body, m.size);
            got += m.size;
            message_free(&m);
        }
    }
    EXPECT(digest == chardev_pattern_digest(N));
    expect_input(&b, N);
    close_bench(&b);
}

static void echo(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.echo = true;
    for (uint32_t size = 1; size <= 20000; size = size * 3 + 1) {
        uint8_t *body = malloc(size);
        chardev_fill(body, size, size);
        EXPECT(client_send(&b.c, VMC_DATA, body, size));
        EXPECT(receive_data(&b, size) == chardev_digest(0, body, size));
        free(body);
    }
    close_bench(&b);
}

/* ---- back-pressure ---- */

struct reread {
    struct chardev *d;
    uint64_t before;
};

static bool read_again(void *opaque)
{
    struct reread *goal = opaque;
    return goal->d->generated > goal->before;
}

static void client_that_does_not_read(void)
{
    enum { N = 8 * MIB };
    struct bench b;
    open_bench(&b, false);
    b.port.generate = N;
    for (int i = 0; i < 200; i++) {
        chardev_pump(&b.port);
        host_run_for(1);
    }
    uint64_t taken = b.port.generated;
    EXPECT_MSG(taken >= MIB, "only %llu bytes are taken", (unsigned long long)taken);
    /* 1 MiB is queued, one more read, and what the socket buffers */
    EXPECT_MSG(taken <= 2 * MIB, "%llu bytes are taken", (unsigned long long)taken);
    int reads = b.port.reads;
    chardev_pump(&b.port);
    host_run_for(50);
    EXPECT_EQ(b.port.reads, reads);
    EXPECT_EQ(b.port.generated, taken);
    /* as the client reads, the library reads the device by itself */
    struct message m;
    uint64_t got = 0, digest = 0;
    while (b.port.generated == taken) {
        EXPECT(client_next(&b.c, &m));
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
        if (got >= taken)
            break;
    }
    EXPECT_MSG(host_run_until(read_again, &(struct reread){ &b.port, taken }, HOST_DEADLINE_MS),
               "the device is not read again");
    while (got < N) {
        chardev_pump(&b.port);
        EXPECT(client_next(&b.c, &m));
        digest = chardev_digest(digest, m.body, m.size);
        got += m.size;
        message_free(&m);
    }
    EXPECT(digest == chardev_pattern_digest(N));
    close_bench(&b);
}

/* The queue is full and the device waits; then the client empties its socket and the
 * port sends an event before the main loop runs. Whoever sends more at that moment
 * must not forget the device. */
static void event_while_the_device_waits(void)
{
    struct bench b;
    uint8_t sink[65536];
    open_bench(&b, false);
    b.port.generate = 8 * MIB;
    for (int i = 0; i < 200; i++) {
        chardev_pump(&b.port);
        host_run_for(1);
    }
    uint64_t taken = b.port.generated;
    EXPECT(taken >= MIB);
    for (int round = 0; round < 20; round++) {
        /* without the harness's client, which would turn the host's loop */
        while (recv(b.c.fd, sink, sizeof sink, MSG_DONTWAIT) > 0)
            ;
        spice_server_port_event(&b.port.sin, 1 /* closed */);
    }
    EXPECT_MSG(host_run_until(read_again, &(struct reread){ &b.port, taken }, HOST_DEADLINE_MS),
               "the device is not read again");
    close_bench(&b);
}

static void device_that_takes_nothing(void)
{
    enum { SIZE = 32 << 10, N = 400 };
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    uint8_t *wire = malloc((size_t)N * (6 + SIZE));
    for (int i = 0; i < N; i++) {
        put32(put16(wire + (size_t)i * (6 + SIZE), VMC_DATA), SIZE);
        chardev_fill(wire + (size_t)i * (6 + SIZE) + 6, SIZE, (uint64_t)i * SIZE);
    }
    size_t total = (size_t)N * (6 + SIZE);
    size_t sent = client_write_some(&b.c, wire, total, 300);
    /* 128 messages wait inside, one is cut, and the socket buffers some more */
    EXPECT_MSG(sent >= 64 * SIZE, "the socket is full after %zu bytes", sent);
    EXPECT_MSG(sent <= (size_t)140 * SIZE + (2 << 20), "%zu bytes are taken", sent);
    EXPECT_EQ(b.port.in_len, 0);
    /* the main channel is not concerned */
    struct message m;
    EXPECT(client_send(&b.main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&b.main_channel, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    chardev_accept(&b.port, SIZE);
    EXPECT(chardev_wait_input(&b.port, SIZE));
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    EXPECT(client_write(&b.c, wire + sent, total - sent));
    expect_input(&b, (uint64_t)N * SIZE);
    free(wire);
    close_bench(&b);
}

static void many_small_messages_to_a_stalled_device(void)
{
    enum { N = 60000 };
    struct bench b;
    uint8_t *wire = malloc((size_t)N * 7);
    open_bench(&b, false);
    b.port.accept = 0;
    for (int i = 0; i < N; i++) {
        put32(put16(wire + (size_t)i * 7, VMC_DATA), 1);
        wire[(size_t)i * 7 + 6] = chardev_pattern((uint64_t)i);
    }
    size_t sent = client_write_some(&b.c, wire, (size_t)N * 7, 300);
    chardev_accept(&b.port, 1000);
    EXPECT(chardev_wait_input(&b.port, 100));
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    EXPECT(client_write(&b.c, wire + sent, (size_t)N * 7 - sent));
    expect_input(&b, N);
    free(wire);
    close_bench(&b);
}

static void device_that_takes_a_little_at_a_time(void)
{
    enum { N = 40000 };
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    send_data(&b, N, 1000);
    for (uint64_t want = 777; want < N; want += 777) {
        chardev_accept(&b.port, 777);
        EXPECT(chardev_wait_input(&b.port, want));
        EXPECT_EQ(b.port.in_len, want);
    }
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    expect_input(&b, N);
    close_bench(&b);
}

static void negative_results_mean_later(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.write_result = -1;
    b.port.read_result = -1;
    send_data(&b, 5000, 1000);
    chardev_generate(&b.port, 5000);
    EXPECT(client_silent(&b.c, 30));
    EXPECT_EQ(b.port.in_len, 0);
    b.port.write_result = b.port.read_result = 0;
    chardev_wakeup(&b.port);
    expect_input(&b, 5000);
    EXPECT(receive_data(&b, 5000) == chardev_pattern_digest(5000));
    close_bench(&b);
}

static bool was_written_to(void *opaque)
{
    return ((struct chardev *)opaque)->writes > 0;
}

/* With NOTIFY_WRITABLE there is no polling: the host says when there is room. */
static void no_polling_with_notify_writable(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    send_data(&b, 100, 100);
    EXPECT(host_run_until(was_written_to, &b.port, HOST_DEADLINE_MS));
    int writes = b.port.writes;
    host_run_for(400);
    EXPECT_EQ(b.port.writes, writes);
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    expect_input(&b, 100);
    close_bench(&b);
}

static void retry(uint32_t minor, spice_char_device_flags flags)
{
    struct bench b;
    struct chardev old;
    struct message m;
    open_bench(&b, false);
    chardev_prepare(&old, "port", "org.example.old");
    chardev_interface(&old, minor, flags);
    EXPECT_EQ(chardev_add(&old, b.r.server), 0);
    old.accept = 0;
    client_close(&b.c);
    EXPECT(chardev_wait_states(&b.port, 2));
    rig_channel(&b.r, &b.c, CH_PORT, 1, b.session);
    client_expect(&b.c, S_PORT_INIT, &m);
    message_free(&m);
    send_data(&b, 100, 100);
    host_run_for(50);
    EXPECT_EQ(old.in_len, 0);
    /* nobody wakes the library: its 100 ms timer must do */
    old.accept = CHARDEV_UNLIMITED;
    EXPECT(chardev_wait_input(&old, 100));
    EXPECT(old.in_digest == chardev_pattern_digest(100));
    chardev_remove(&old);
    close_bench(&b);
}

static void polling_without_the_flag(void)
{
    retry(3, 0);
}

/* Version 1.2 had no flags member: what lies there must not be read. */
static void polling_of_old_interfaces(void)
{
    retry(2, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE);
}

/* ---- calls from inside calls ---- */

static void nested(bool in_read, bool in_write, bool in_state)
{
    struct bench b;
    open_bench(&b, false);
    b.port.wakeup_in_read = in_read;
    b.port.wakeup_in_write = in_write;
    b.port.wakeup_in_state = in_state;
    client_close(&b.c);
    EXPECT(chardev_wait_states(&b.port, 2));
    connect_port(&b);
    b.port.write_chunk = 1000;
    b.port.read_chunk = 1000;
    send_data(&b, 50000, 5000);
    chardev_generate(&b.port, 50000);
    EXPECT(receive_data(&b, 50000) == chardev_pattern_digest(50000));
    expect_input(&b, 50000);
    close_bench(&b);
}

static void wakeup_inside_read(void)
{
    nested(true, false, false);
}

static void wakeup_inside_write(void)
{
    nested(false, true, false);
}

static void wakeup_inside_everything(void)
{
    nested(true, true, true);
}

/* Room appears while a write that returned 0 is still running: the wakeup from
 * inside must make the library try again, in the same call. */
static void wake_then_open_up(struct chardev *d)
{
    static bool called;
    if (!called) {
        called = true;
        spice_server_char_device_wakeup(&d->sin);
    } else {
        d->accept = CHARDEV_UNLIMITED;
        d->in_write = NULL;
    }
}

static void wakeup_while_write_says_zero(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    send_data(&b, 10, 10);
    host_run_for(50);
    EXPECT_EQ(b.port.in_len, 0);
    b.port.in_write = wake_then_open_up;
    chardev_wakeup(&b.port);
    EXPECT_EQ(b.port.in_len, 10);
    close_bench(&b);
}

static void say_more_inside(struct chardev *d)
{
    d->in_read = NULL;
    chardev_say(d, "second", 6);
}

static void wakeup_while_read_is_not_lost(void)
{
    struct bench b;
    uint8_t want[11] = "firstsecond";
    open_bench(&b, false);
    b.port.in_read = say_more_inside;
    chardev_say(&b.port, "first", 5);
    /* no further wakeup: the one from inside the read counts */
    struct message m;
    size_t got = 0;
    while (got < sizeof want) {
        client_expect(&b.c, VMC_DATA, &m);
        EXPECT(got + m.size <= sizeof want && !memcmp(m.body, want + got, m.size));
        got += m.size;
        message_free(&m);
    }
    close_bench(&b);
}

static void port_event_inside(struct chardev *d)
{
    d->in_write = NULL;
    spice_server_port_event(&d->sin, 2);
}

static void port_event_inside_write(void)
{
    struct bench b;
    struct message m;
    open_bench(&b, false);
    b.port.in_write = port_event_inside;
    send_data(&b, 10, 10);
    client_expect(&b.c, S_PORT_EVENT, &m);
    EXPECT_EQ(m.body[0], 2);
    message_free(&m);
    expect_input(&b, 10);
    close_bench(&b);
}

/* ---- stops, starts, comings and goings ---- */

static void stopped_vm_moves_nothing(void)
{
    struct bench b;
    open_bench(&b, false);
    spice_server_vm_start(b.r.server);
    spice_server_vm_stop(b.r.server);
    int reads = b.port.reads;
    b.port.generate = 3000;
    chardev_wakeup(&b.port);
    send_data(&b, 3000, 1000);
    spice_server_port_event(&b.port.sin, 0);
    struct message m;
    client_expect(&b.c, S_PORT_EVENT, &m);
    message_free(&m);
    EXPECT(client_silent(&b.c, 50));
    EXPECT_EQ(b.port.reads, reads);
    EXPECT_EQ(b.port.writes, 0);
    spice_server_vm_start(b.r.server);
    /* start itself reads and writes */
    EXPECT(receive_data(&b, 3000) == chardev_pattern_digest(3000));
    expect_input(&b, 3000);
    close_bench(&b);
}

static void device_added_to_a_stopped_vm(void)
{
    struct bench b;
    struct chardev late;
    struct client c;
    struct message m;
    open_bench(&b, false);
    spice_server_vm_start(b.r.server);
    spice_server_vm_stop(b.r.server);
    chardev_add_port(&late, b.r.server, "org.example.late");
    rig_channel(&b.r, &c, CH_PORT, 1, b.session);
    client_expect(&c, S_PORT_INIT, &m);
    message_free(&m);
    EXPECT(chardev_wait_states(&late, 1));
    chardev_say(&late, "early", 5);
    EXPECT(client_silent(&c, 50));
    EXPECT_EQ(late.reads, 0);
    spice_server_vm_start(b.r.server);
    client_expect(&c, VMC_DATA, &m);
    EXPECT_EQ(m.size, 5);
    message_free(&m);
    client_close(&c);
    chardev_remove(&late);
    close_bench(&b);
}

/* What the guest says while nobody listens stays in the guest. */
static void data_before_the_client(void)
{
    struct bench b;
    struct message m;
    open_bench(&b, false);
    client_close(&b.c);
    EXPECT(chardev_wait_states(&b.port, 2));
    int reads = b.port.reads;
    chardev_generate(&b.port, 30000);
    host_run_for(20);
    EXPECT_EQ(b.port.reads, reads);
    EXPECT_EQ(chardev_unread(&b.port), 30000);
    rig_channel(&b.r, &b.c, CH_PORT, 0, b.session);
    client_expect(&b.c, S_PORT_INIT, &m);
    message_free(&m);
    EXPECT(receive_data(&b, 30000) == chardev_pattern_digest(30000));
    close_bench(&b);
}

/* What a client handed over reaches the device although the client is gone. */
static void client_data_survive_the_client(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    send_data(&b, 100 * 1000, 1000);
    client_close(&b.c);
    EXPECT(chardev_wait_states(&b.port, 2));
    EXPECT_EQ(b.port.in_len, 0);
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    expect_input(&b, 100 * 1000);
    close_bench(&b);
}

static void client_data_survive_even_a_takeover(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 500;
    send_data(&b, 20 * 1000, 1000);
    EXPECT(chardev_wait_input(&b.port, 500));
    struct client old_main = b.main_channel, old = b.c;
    b.session = rig_main(&b.r, &b.main_channel);
    EXPECT(chardev_wait_states(&b.port, 2));
    client_close(&old_main);
    client_close(&old);
    connect_port(&b);
    /* the new client's bytes queue up behind the old one's */
    uint8_t tail[1000];
    chardev_fill(tail, sizeof tail, 20 * 1000);
    EXPECT(client_send(&b.c, VMC_DATA, tail, sizeof tail));
    host_run_for(20);
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    expect_input(&b, 21 * 1000);
    close_bench(&b);
}

static void half_a_message_then_gone(void)
{
    struct bench b;
    open_bench(&b, false);
    for (int i = 0; i < 3; i++) {
        EXPECT(client_send(&b.c, VMC_DATA, "whole", 5));
        EXPECT(client_send_header(&b.c, VMC_DATA, 1000));
        EXPECT(client_write(&b.c, "part", 4));
        client_close(&b.c);
        EXPECT(chardev_wait_states(&b.port, 2 * i + 2));
        EXPECT_EQ(b.port.in_len, 5 * (i + 1));
        connect_port(&b);
    }
    close_bench(&b);
}

static void removed_with_everything_pending(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    send_data(&b, 200000, 1000 * 2);
    b.port.generate = 4 * MIB;
    for (int i = 0; i < 50; i++) {
        chardev_pump(&b.port);
        host_run_for(1);
    }
    EXPECT_EQ(spice_server_remove_interface(&b.port.sin.base), 0);
    b.port.added = false;
    EXPECT_EQ(b.port.states[b.port.n_states - 1], 0);
    int reads = b.port.reads, writes = b.port.writes;
    EXPECT(client_closed(&b.c));
    EXPECT_EQ(b.port.reads, reads);
    EXPECT_EQ(b.port.writes, writes);
    close_bench(&b);
}

static void destroyed_with_everything_pending(void)
{
    struct bench b;
    open_bench(&b, false);
    b.port.accept = 0;
    send_data(&b, 200000, 1000 * 2);
    b.port.generate = 4 * MIB;
    for (int i = 0; i < 50; i++) {
        chardev_pump(&b.port);
        host_run_for(1);
    }
    b.port.generate = 0;
    b.port.accept = CHARDEV_UNLIMITED;
    /* the instance is still registered: QEMU destroys the server like that */
    spice_server_vm_stop(b.r.server);
    b.r.open_clients = 2;
    rig_close(&b.r);
    EXPECT(client_closed(&b.c));
    client_close(&b.c);
    client_close(&b.main_channel);
    chardev_forget(&b.port);
}

static void two_ports_do_not_mix(void)
{
    struct bench b;
    struct chardev other;
    struct client d;
    struct message m;
    open_bench(&b, false);
    chardev_add_port(&other, b.r.server, "org.example.1");
    rig_channel(&b.r, &d, CH_PORT, 1, b.session);
    client_expect(&d, S_PORT_INIT, &m);
    message_free(&m);
    EXPECT(chardev_wait_states(&other, 1));
    b.port.accept = 0; /* one stalls, the other runs */
    other.keep_input = true;
    send_data(&b, 50000, 1000);
    for (int i = 0; i < 50; i++) {
        uint8_t body[1000];
        memset(body, i, sizeof body);
        EXPECT(client_send(&d, VMC_DATA, body, sizeof body));
    }
    EXPECT(chardev_wait_input(&other, 50000));
    for (int i = 0; i < 50000; i++)
        EXPECT_EQ(other.in[i], i / 1000);
    EXPECT_EQ(b.port.in_len, 0);
    chardev_accept(&b.port, CHARDEV_UNLIMITED);
    expect_input(&b, 50000);
    client_close(&d);
    chardev_remove(&other);
    close_bench(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(to_client_large),
    TAP_CASE(to_client_tiny_reads),
    TAP_CASE(to_client_many_small_blocks),
    TAP_CASE(to_client_over_tcp),
    TAP_CASE(to_device_large_messages),
    TAP_CASE(to_device_one_huge_message),
    TAP_CASE(to_device_small_messages),
    TAP_CASE(to_device_over_tcp),
    TAP_CASE(to_device_in_small_bites),
    TAP_CASE(to_device_byte_by_byte_on_the_wire),
    TAP_CASE(both_ways_at_once),
    TAP_CASE(echo),
    TAP_CASE(client_that_does_not_read),
    TAP_CASE(event_while_the_device_waits),
    TAP_CASE(device_that_takes_nothing),
    TAP_CASE(many_small_messages_to_a_stalled_device),
    TAP_CASE(device_that_takes_a_little_at_a_time),
    TAP_CASE(negative_results_mean_later),
    TAP_CASE(no_polling_with_notify_writable),
    TAP_CASE(polling_without_the_flag),
    TAP_CASE(polling_of_old_interfaces),
    TAP_CASE(wakeup_inside_read),
    TAP_CASE(wakeup_inside_write),
    TAP_CASE(wakeup_inside_everything),
    TAP_CASE(wakeup_while_write_says_zero),
    TAP_CASE(wakeup_while_read_is_not_lost),
    TAP_CASE(port_event_inside_write),
    TAP_CASE(stopped_vm_moves_nothing),
    TAP_CASE(device_added_to_a_stopped_vm),
    TAP_CASE(data_before_the_client),
    TAP_CASE(client_data_survive_the_client),
    TAP_CASE(client_data_survive_even_a_takeover),
    TAP_CASE(half_a_message_then_gone),
    TAP_CASE(removed_with_everything_pending),
    TAP_CASE(destroyed_with_everything_pending),
    TAP_CASE(two_ports_do_not_mix),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "flow", cases, TAP_COUNT(cases));
}
