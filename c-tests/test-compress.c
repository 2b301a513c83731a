/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * LZ4 on port, usbredir and webdav channels, both ways: what is compressed and what
 * is not, that nothing is lost or reordered, and what slow and vanishing peers do.
 * liblz4 is the judge (packed.h). What is wrong on purpose is in test-bombs.c.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "packed.h"
#include "rig.h"

#include <poll.h>
#include <stdlib.h>

enum { KIB = 1 << 10, MIB = 1 << 20, ONE_READ = 65568, THRESHOLD = 1000 };

static struct rig r;
static struct client main_channel, c;
static uint32_t session;
static struct chardev port;

/** What follows on the link: header form, and whether the client knows LZ4. */
static uint32_t common_caps(bool mini)
{
    return CAP_AUTH_SELECTION | CAP_AUTH_SPICE | (mini ? CAP_MINI_HEADER : 0);
}

static void connect_port(bool mini, bool lz4)
{
    struct message m;
    int states = port.n_states;
    rig_channel_caps(&r, &c, CH_PORT, 0, session, common_caps(mini), lz4 ? VMC_CAP_LZ4 : 0);
    client_expect(&c, S_PORT_INIT, &m);
    message_free(&m);
    EXPECT(chardev_wait_states(&port, states + 1));
    c.answer_pings = true;
}

static void disconnect_port(void)
{
    int states = port.n_states;
    client_close(&c);
    EXPECT(chardev_wait_states(&port, states + 1));
}

static void open_port(bool tcp)
{
    if (tcp)
        rig_open_tcp(&r);
    else
        rig_open(&r);
    chardev_add_port(&port, r.server, "org.example.0");
    port.keep_input = false;
    session = rig_main(&r, &main_channel);
    main_channel.answer_pings = true;
}

static void close_all(void)
{
    client_close(&c);
    client_close(&main_channel);
    chardev_remove(&port);
    rig_close(&r);
}

/* ---- what is offered ---- */

static void offered(bool tcp)
{
    static const int types[] = { CH_PORT, CH_WEBDAV, CH_USBREDIR };
    struct chardev webdav, usb;
    open_port(tcp);
    chardev_add_port(&webdav, r.server, "org.spice-space.webdav.0");
    chardev_add_usbredir(&usb, r.server);
    for (size_t i = 0; i < TAP_COUNT(types); i++)
        for (uint32_t caps = 0; caps <= VMC_CAP_LZ4; caps++) {
            rig_channel_caps(&r, &c, types[i], 0, session, common_caps(true), caps);
            EXPECT_EQ(c.reply.n_channel, 1);
            EXPECT_EQ(c.reply.caps[1], VMC_CAP_LZ4);
            client_close(&c);
            struct chardev *d = i == 0 ? &port : i == 1 ? &webdav : &usb;
            EXPECT(chardev_wait_states(d, 2 * (int)caps + 2));
        }
    chardev_remove(&webdav);
    chardev_remove(&usb);
    close_all();
}

static void lz4_is_offered_on_tcp(void)
{
    offered(true);
}

/* The client decides for its own direction. */
static void lz4_is_offered_on_unix_sockets(void)
{
    offered(false);
}

/* ---- device to client ---- */

/** The device says a block; the client gets it, as `packed` says. */
static void say(const uint8_t *data, uint32_t n, bool packed)
{
    struct block b;
    chardev_say(&port, data, n);
    EXPECT_EQ(chardev_unread(&port), 0);
    block_next(&c, &b);
    EXPECT_EQ(b.n, n);
    EXPECT(!memcmp(b.data, data, n));
    EXPECT_MSG(b.packed == packed, "%u bytes come %s", n, b.packed ? "compressed" : "as they are");
    if (b.packed)
        EXPECT_MSG(b.wire < n, "%u bytes became %u", n, b.wire);
    block_free(&b);
}

static void what_is_compressed(bool mini)
{
    static const uint32_t sizes[] = { 1, 4, 500, 999, 1000, 1001, 1002, 1500, 30000,
                                      65535, 65536, 65537, ONE_READ };
    static uint8_t data[ONE_READ];
    struct noise s = { 1 };
    open_port(true);
    connect_port(mini, true);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        fill_text(data, sizes[i], &s);
        say(data, sizes[i], sizes[i] > THRESHOLD);
        memset(data, 'z', sizes[i]);
        say(data, sizes[i], sizes[i] > THRESHOLD);
        fill_noise(data, sizes[i], &s);
        say(data, sizes[i], false);
    }
    close_all();
}

static void text_is_compressed_and_noise_is_not(void)
{
    what_is_compressed(true);
}

static void the_same_with_full_headers(void)
{
    what_is_compressed(false);
}

static void nothing_is_compressed(bool tcp, bool lz4)
{
    static uint8_t data[ONE_READ];
    open_port(tcp);
    connect_port(true, lz4);
    for (uint32_t n = 1; n < sizeof data; n = 2 * n + 1)
        say(data, n, false);
    close_all();
}

static void nothing_for_a_client_without_lz4(void)
{
    nothing_is_compressed(true, false);
}

static void nothing_on_unix_sockets(void)
{
    nothing_is_compressed(false, true);
}

/* Each client decides for itself, whoever had the device before. */
static void clients_with_and_without_take_turns(void)
{
    static uint8_t data[5000];
    open_port(true);
    for (int i = 0; i < 6; i++) {
        connect_port(i % 4 < 2, i % 2);
        say(data, sizeof data, i % 2);
        disconnect_port();
    }
    close_all();
}

static void other_channel_types(void)
{
    static uint8_t data[20000];
    struct message m;
    struct block b;
    struct chardev d;
    struct noise s = { 2 };
    fill_text(data, sizeof data, &s);
    open_port(true);
    for (int webdav = 0; webdav <= 1; webdav++) {
        if (webdav)
            chardev_add_port(&d, r.server, "org.spice-space.webdav.0");
        else
            chardev_add_usbredir(&d, r.server);
        rig_channel_caps(&r, &c, webdav ? CH_WEBDAV : CH_USBREDIR, 0, session, common_caps(true),
                         VMC_CAP_LZ4);
        if (webdav) {
            client_expect(&c, S_PORT_INIT, &m);
            message_free(&m);
        }
        EXPECT(chardev_wait_states(&d, 1));
        chardev_say(&d, data, sizeof data);
        block_next(&c, &b);
        EXPECT(b.packed && b.n == sizeof data && !memcmp(b.data, data, b.n));
        block_free(&b);
        EXPECT(packed_send(&c, data, sizeof data, PACK_FAST));
        EXPECT(chardev_wait_input(&d, sizeof data));
        EXPECT(!memcmp(d.in, data, sizeof data));
        client_close(&c);
        chardev_remove(&d);
    }
    close_all();
}

/* ---- streams to the client ---- */

static uint8_t *wanted; /* what the device has said */
static size_t n_wanted, n_got;
static struct { size_t at; uint8_t event; } marks[1000];
static size_t n_marks, n_marks_got;
static int n_packed, n_plain;

/** The next message: data where they belong, or an event between them. */
static void receive_next(void)
{
    struct message m;
    struct block b;
    if (!client_next(&c, &m))
        FAIL("the channel ends after %zu of %zu bytes", n_got, n_wanted);
    if (!c.mini)
        EXPECT_EQ(m.serial, c.received);
    if (m.type == S_PORT_EVENT) {
        EXPECT(n_marks_got < n_marks);
        EXPECT_EQ(m.body[0], marks[n_marks_got].event);
        EXPECT_EQ(n_got, marks[n_marks_got].at);
        n_marks_got++;
        message_free(&m);
        return;
    }
    block_of(&m, &b);
    EXPECT(n_got + b.n <= n_wanted && !memcmp(b.data, wanted + n_got, b.n));
    n_got += b.n;
    if (b.packed)
        n_packed++;
    else
        n_plain++;
    block_free(&b);
}

static void expect_rest(void)
{
    while (n_got < n_wanted || n_marks_got < n_marks) {
        chardev_pump(&port);
        receive_next();
    }
    EXPECT(client_silent(&c, 20));
}

static void mixed_stream(bool mini)
{
    enum { BLOCKS = 300 };
    struct noise s = { 3 };
    wanted = malloc((size_t)BLOCKS * ONE_READ);
    open_port(true);
    connect_port(mini, true);
    for (int i = 0; i < BLOCKS; i++) {
        uint8_t *at = wanted + n_wanted;
        uint32_t pick = noise_next(&s);
        size_t n = pick % 3 == 0 ? pick / 3 % 50 + 1 : pick / 3 % ONE_READ + 1;
        if (pick % 5 < 2)
            fill_text(at, n, &s);
        else if (pick % 5 < 4)
            fill_half(at, n, &s);
        else
            fill_noise(at, n, &s);
        n_wanted += n;
        chardev_say(&port, at, n);
        if (pick % 7 == 0 && chardev_unread(&port) == 0) {
            marks[n_marks].at = n_wanted;
            marks[n_marks++].event = (uint8_t)i;
            spice_server_port_event(&port.sin, (uint8_t)i);
        }
        while (n_wanted - n_got > MIB / 4)
            receive_next();
    }
    expect_rest();
    EXPECT_MSG(n_packed > 100 && n_plain > 50 && n_marks > 20, "%d compressed, %d not, %zu events",
               n_packed, n_plain, n_marks);
    close_all();
    free(wanted);
}

static void a_mixed_stream_keeps_its_order(void)
{
    mixed_stream(true);
}

/* Here the serials tell of each message: none is left out. */
static void a_mixed_stream_with_full_headers(void)
{
    mixed_stream(false);
}

static void much_to_the_client(void)
{
    enum { N = 24 * MIB };
    struct block b;
    uint64_t got = 0, digest = 0, wire = 0;
    open_port(true);
    connect_port(true, true);
    chardev_generate(&port, N);
    while (got < N) {
        chardev_pump(&port);
        block_next(&c, &b);
        digest = chardev_digest(digest, b.data, b.n);
        got += b.n;
        wire += b.wire;
        block_free(&b);
    }
    EXPECT_EQ(got, N);
    EXPECT(digest == chardev_pattern_digest(N));
    EXPECT_MSG(wire < N / 2, "%llu bytes on the wire", (unsigned long long)wire);
    close_all();
}

static bool read_on(void *opaque)
{
    return chardev_unread(&port) < *(uint64_t *)opaque;
}

/* What waits inside has its bound, and when the client reads, the device is read on
 * without being asked. */
static void client_that_does_not_read(void)
{
    enum { N = 40 * MIB };
    struct noise s = { 4 };
    open_port(true);
    wanted = malloc(N);
    n_wanted = N;
    fill_half(wanted, N, &s);
    connect_port(true, true);
    chardev_queue(&port, wanted, N);
    long before = tap_usage().rss_kib;
    uint64_t left = N + 1;
    for (int quiet = 0; quiet < 20; quiet = chardev_unread(&port) < left ? 0 : quiet + 1) {
        left = chardev_unread(&port);
        chardev_pump(&port);
        host_run_for(5);
    }
    EXPECT_MSG(left > 0, "all is taken");
    EXPECT_MSG(N - left >= MIB, "only %llu bytes are taken", (unsigned long long)(N - left));
    long growth = tap_usage().rss_kib - before;
    EXPECT_MSG(growth < 16 * KIB, "memory grew by %ld KiB", growth);
    while (chardev_unread(&port) == left && n_got < N - left)
        receive_next();
    EXPECT_MSG(host_run_until(read_on, &left, HOST_DEADLINE_MS), "the device is not read again");
    expect_rest();
    EXPECT_EQ(n_got, N);
    close_all();
    free(wanted);
}

/* ---- a stream that does not shrink ---- */

enum { BLOCK = 64 * KIB, PAUSE = 256 * KIB, LONGEST_PAUSE = 16 * MIB };

/** One block of 64 KiB through the device; whether it came compressed. */
static bool pass_block(const uint8_t *data)
{
    struct block b;
    chardev_say(&port, data, BLOCK);
    block_next(&c, &b);
    EXPECT_EQ(b.n, BLOCK);
    EXPECT(!memcmp(b.data, data, BLOCK));
    bool packed = b.packed;
    block_free(&b);
    port.out_len = port.out_pos = 0; /* the script need not remember it */
    return packed;
}

static void noise_then_text(void)
{
    static uint8_t noise[BLOCK], text[BLOCK];
    struct noise s = { 5 };
    open_port(true);
    connect_port(true, true);
    fill_text(text, BLOCK, &s);
    EXPECT(pass_block(text));
    for (int i = 0; i < 700; i++) {
        fill_noise(noise, BLOCK, &s);
        EXPECT(!pass_block(noise));
    }
    size_t passed = 0;
    while (!pass_block(text)) {
        passed += BLOCK;
        EXPECT_MSG(passed <= LONGEST_PAUSE, "%zu bytes of text are not compressed", passed);
    }
    for (int i = 0; i < 50; i++)
        EXPECT(pass_block(text));
    /* one picture in it stops nothing */
    for (int i = 0; i < 20; i++) {
        fill_noise(noise, BLOCK, &s);
        EXPECT(!pass_block(noise));
        EXPECT(pass_block(text));
    }
    close_all();
}

/* Blocks that shrink by one part in a hundred: each attempt shows on the wire. */
static void attempts_become_rare(void)
{
    static uint8_t data[BLOCK];
    struct noise s = { 6 };
    size_t since = 0, expected = 0;
    int attempts = 0;
    open_port(true);
    connect_port(true, true);
    for (int i = 0; i < 900; i++) {
        fill_noise(data, BLOCK, &s);
        memset(data + BLOCK / 2, 0, BLOCK / 100);
        bool packed = pass_block(data);
        EXPECT_MSG(packed == (since >= expected), "attempt %d: %s after %zu of %zu bytes", attempts,
                   packed ? "made" : "not made", since, expected);
        since += BLOCK;
        if (!packed)
            continue;
        attempts++;
        since = 0;
        if (attempts == 4)
            expected = PAUSE;
        else if (attempts > 4)
            expected = 2 * expected < LONGEST_PAUSE ? 2 * expected : LONGEST_PAUSE;
    }
    EXPECT_EQ(attempts, 4 + 7 + 1);
    close_all();
}

/* ---- client to device ---- */

static uint64_t n_sent, digest_sent;

/** Adds to what the device is to get. */
static void note_sent(const uint8_t *data, size_t n)
{
    digest_sent = chardev_digest(digest_sent, data, n);
    n_sent += n;
}

static void send_packed(const uint8_t *data, size_t n, int level)
{
    EXPECT(packed_send(&c, data, n, level));
    note_sent(data, n);
}

static void send_plain(const uint8_t *data, size_t n)
{
    EXPECT(client_send(&c, VMC_DATA, data, (uint32_t)n));
    note_sent(data, n);
}

static void expect_input(void)
{
    EXPECT_MSG(chardev_wait_input(&port, n_sent), "only %llu of %llu bytes arrived",
               (unsigned long long)port.in_len, (unsigned long long)n_sent);
    EXPECT_EQ(port.in_len, n_sent);
    EXPECT(port.in_digest == digest_sent);
}

static void sizes_to_the_device(bool mini)
{
    static const size_t sizes[] = {
        1,     2,     3,     4,     5,      11,     12,     13,  14,      64,          999,    1000,
        1001,  4096,  65535, 65536, 65537,  262143, 262144, 262145, 263000, MIB, 3 * MIB, 8 * MIB - 1,
        8 * MIB,
    };
    static void (*const fill[])(uint8_t *, size_t, struct noise *) = { fill_text, fill_half,
                                                                       fill_noise };
    uint8_t *data = malloc(8 * MIB);
    struct noise s = { 7 };
    open_port(true);
    connect_port(mini, true);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++)
        for (size_t kind = 0; kind < TAP_COUNT(fill) + 1; kind++) {
            /* megabytes of each would only take long */
            if (sizes[i] > MIB && (kind % 2 || !mini))
                continue;
            if (kind < TAP_COUNT(fill))
                fill[kind](data, sizes[i], &s);
            else
                memset(data, (int)i, sizes[i]);
            send_packed(data, sizes[i], kind % 2 ? PACK_HC : PACK_FAST);
            expect_input();
            if (sizes[i] < MIB) {
                send_packed(data, sizes[i], kind % 2 ? PACK_FAST : PACK_HC);
                expect_input();
            }
        }
    close_all();
    free(data);
}

static void one_byte_to_eight_mib(void)
{
    sizes_to_the_device(true);
}

static void one_byte_to_one_mib_with_full_headers(void)
{
    sizes_to_the_device(false);
}

static void interleaved_with_plain_data(void)
{
    enum { LONGEST = 400 * KIB };
    static uint8_t data[LONGEST];
    struct noise s = { 8 };
    open_port(true);
    connect_port(true, true);
    for (int i = 0; i < 500; i++) {
        uint32_t pick = noise_next(&s);
        size_t n = pick % 20 == 0 ? pick / 20 % LONGEST + 1 : pick / 20 % 5000 + 1;
        (pick % 3 ? fill_text : fill_noise)(data, n, &s);
        if (noise_next(&s) % 2)
            send_packed(data, n, PACK_FAST);
        else
            send_plain(data, n);
    }
    expect_input();
    close_all();
}

static void on_unix_sockets_too(void)
{
    static uint8_t data[300000];
    struct noise s = { 9 };
    open_port(false);
    connect_port(true, true);
    fill_text(data, sizeof data, &s);
    send_packed(data, sizeof data, PACK_FAST);
    send_plain(data, 1000);
    send_packed(data, 1000, PACK_HC);
    expect_input();
    close_all();
}

/* A client may compress although it takes nothing compressed itself. */
static void from_a_client_without_the_capability(void)
{
    static uint8_t data[5000];
    open_port(true);
    connect_port(true, false);
    send_packed(data, sizeof data, PACK_FAST);
    expect_input();
    say(data, sizeof data, false);
    close_all();
}

static void split_at_each_byte(bool mini)
{
    uint8_t data[200];
    struct noise s = { 10 };
    open_port(true);
    connect_port(mini, true);
    for (size_t cut = 1;; cut++) {
        size_t size;
        fill_text(data, sizeof data, &s);
        uint8_t *wire = packed_wire(&c, data, sizeof data, PACK_FAST, &size);
        if (cut < size) {
            EXPECT(client_write(&c, wire, cut));
            host_run_for(1);
            EXPECT_EQ(port.in_len, n_sent);
            EXPECT(client_write(&c, wire + cut, size - cut));
        } else {
            for (size_t i = 0; i < size; i++) {
                EXPECT(client_write(&c, wire + i, 1));
                host_run_for(1);
            }
        }
        note_sent(data, sizeof data);
        expect_input();
        free(wire);
        if (cut >= size)
            break;
    }
    close_all();
}

static void split_at_each_byte_mini(void)
{
    split_at_each_byte(true);
}

static void split_at_each_byte_full(void)
{
    split_at_each_byte(false);
}

/* What is decoded while it arrives: cut inside its headers, and anywhere. */
static void a_long_message_in_pieces(void)
{
    enum { N = 700 * KIB };
    static uint8_t data[N];
    struct noise s = { 11 };
    open_port(true);
    connect_port(true, true);
    for (size_t step = 1; step < 16; step++) {
        size_t size, at = step;
        (step % 2 ? fill_text : fill_half)(data, N, &s);
        uint8_t *wire = packed_wire(&c, data, N, PACK_FAST, &size);
        EXPECT(client_write(&c, wire, at));
        host_run_for(1);
        while (at < size) {
            size_t part = noise_next(&s) % 100000 + 1;
            part = part < size - at ? part : size - at;
            EXPECT(client_write(&c, wire + at, part));
            host_turn(0);
            at += part;
        }
        note_sent(data, N);
        expect_input();
        free(wire);
    }
    close_all();
}

/* ---- slow devices ---- */

static void take_another_bite(struct chardev *d)
{
    d->write_chunk = d->write_chunk % 7 + 1;
}

static void device_that_takes_one_to_seven_bytes(void)
{
    enum { N = 300 * KIB };
    static uint8_t data[N];
    struct noise s = { 12 };
    open_port(true);
    connect_port(true, true);
    port.write_chunk = 1;
    port.in_write = take_another_bite;
    fill_text(data, N, &s);
    for (size_t n = 1; n < N; n = 3 * n + 1) {
        send_packed(data, n, PACK_FAST);
        send_plain(data + n / 2, n / 7 + 1);
    }
    send_packed(data, N, PACK_HC);
    expect_input();
    close_all();
}

/* It takes nothing for a while: a bounded part waits inside, then the socket is full. */
static void stalled(size_t message, bool noise)
{
    enum { N = 40 * MIB };
    struct noise s = { 13 };
    uint8_t *data = malloc(message);
    size_t size = 0, room = 0;
    uint8_t *wire = NULL;
    open_port(true);
    connect_port(true, true);
    port.accept = 0;
    while (n_sent < N) {
        size_t one;
        (noise ? fill_noise : fill_half)(data, message, &s);
        uint8_t *next = packed_wire(&c, data, message, PACK_FAST, &one);
        note_sent(data, message);
        if (size + one > room)
            wire = realloc(wire, room = 2 * room + one);
        memcpy(wire + size, next, one);
        size += one;
        free(next);
    }
    long before = tap_usage().rss_kib;
    size_t sent = client_write_some(&c, wire, size, 300);
    EXPECT_EQ(port.in_len, 0);
    /* Debian's takes a compressed message without a token: as many as come */
    if (differs(DIFF_COMPRESSED_TOKENS, 1, 0)) {
        EXPECT_MSG(sent < size, "all %zu bytes are taken", size);
        long growth = tap_usage().rss_kib - before;
        EXPECT_MSG(growth < 16 * KIB, "memory grew by %ld KiB", growth);
    }
    /* other channels go on */
    struct message m;
    EXPECT(client_send(&main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&main_channel, S_MAIN_CHANNELS_LIST, &m);
    message_free(&m);
    chardev_accept(&port, 1000);
    EXPECT(chardev_wait_input(&port, 1000));
    EXPECT_EQ(port.in_len, 1000);
    chardev_accept(&port, CHARDEV_UNLIMITED);
    EXPECT(client_write(&c, wire + sent, size - sent));
    expect_input();
    close_all();
    free(wire);
    free(data);
}

static void device_that_stops_at_short_messages(void)
{
    stalled(20 * KIB, false);
}

static void device_that_stops_at_long_messages(void)
{
    stalled(2 * MIB, false);
}

static void device_that_stops_at_noise(void)
{
    stalled(200 * KIB, true);
}

/* It stops inside a message, again and again. */
static void device_that_takes_a_little_at_a_time(void)
{
    enum { N = 2 * MIB, BITE = 33333 };
    uint8_t *data = malloc(N);
    struct noise s = { 14 };
    open_port(true);
    connect_port(true, true);
    port.accept = 0;
    fill_text(data, N, &s);
    send_packed(data, N, PACK_FAST);
    send_packed(data, 1000, PACK_FAST);
    for (uint64_t want = BITE; want < n_sent; want += BITE) {
        chardev_accept(&port, BITE);
        EXPECT(chardev_wait_input(&port, want));
        EXPECT_EQ(port.in_len, want);
    }
    chardev_accept(&port, CHARDEV_UNLIMITED);
    expect_input();
    close_all();
    free(data);
}

static void both_ways_at_once(void)
{
    enum { N = 12 * MIB, SIZE = 100000 };
    static uint8_t data[SIZE];
    struct block b;
    struct noise s = { 15 };
    uint64_t got = 0, digest = 0;
    size_t size = 0, at = 0;
    uint8_t *wire = NULL;
    open_port(true);
    connect_port(true, true);
    port.generate = N;
    while (n_sent < N || at < size || got < N) {
        if (at == size && n_sent < N) {
            free(wire);
            (noise_next(&s) % 2 ? fill_text : fill_half)(data, SIZE, &s);
            wire = packed_wire(&c, data, SIZE, PACK_FAST, &size);
            note_sent(data, SIZE);
            at = 0;
        }
        if (at < size)
            at += client_write_some(&c, wire + at, size - at, 0);
        chardev_pump(&port);
        if (got < N && host_wait_fd(c.fd, POLLIN, at < size ? 10 : HOST_DEADLINE_MS)) {
            block_next(&c, &b);
            digest = chardev_digest(digest, b.data, b.n);
            got += b.n;
            block_free(&b);
        }
    }
    free(wire);
    EXPECT(digest == chardev_pattern_digest(N));
    expect_input();
    close_all();
}

/* ---- clients that vanish ---- */

/** The device works on with the next client. */
static void next_client_is_served(bool mini)
{
    static const uint8_t data[2000] = "next";
    connect_port(mini, true);
    send_packed(data, sizeof data, PACK_FAST);
    expect_input();
    say(data, sizeof data, true);
}

/* Of a short message nothing arrives before its last byte. */
static void gone_within_a_short_message(void)
{
    uint8_t data[300];
    struct noise s = { 16 };
    open_port(true);
    for (size_t cut = 0, size = 1; cut < size; cut++) {
        next_client_is_served(cut % 2);
        fill_text(data, sizeof data, &s);
        uint8_t *wire = packed_wire(&c, data, sizeof data, PACK_FAST, &size);
        EXPECT(client_write(&c, wire, cut));
        disconnect_port();
        EXPECT_EQ(port.in_len, n_sent);
        free(wire);
    }
    next_client_is_served(true);
    close_all();
}

static void gone_after_the_last_byte(void)
{
    static uint8_t data[1000 * KIB];
    struct noise s = { 17 };
    open_port(true);
    for (size_t n = 1; n < sizeof data; n = 3 * n + 1) {
        connect_port(true, true);
        fill_half(data, n, &s);
        send_packed(data, n, PACK_FAST);
        disconnect_port();
        expect_input();
    }
    next_client_is_served(true);
    close_all();
}

/* Of a message that is long, compressed or not, the part that arrived may have been
 * delivered; never anything else. */
static void gone_within_a_long_message(void)
{
    enum { N = 600 * KIB, CUTS = 40 };
    static uint8_t data[N];
    struct noise s = { 18 };
    open_port(true);
    for (size_t i = 0; i < CUTS; i++) {
        size_t size;
        next_client_is_served(true);
        /* short on the wire, or long there, too */
        (i % 2 ? fill_text : fill_noise)(data, N, &s);
        uint8_t *wire = packed_wire(&c, data, N, PACK_FAST, &size);
        size_t cut = i < 12 ? i : size - 1 - noise_next(&s) % (uint32_t)(size - 1) / (i % 3 + 1);
        EXPECT(client_write(&c, wire, cut));
        disconnect_port();
        uint64_t part = port.in_len - n_sent;
        EXPECT_MSG(part < N, "%llu bytes of a message cut at %zu of %zu", (unsigned long long)part,
                   cut, size);
        note_sent(data, (size_t)part);
        expect_input();
        free(wire);
    }
    next_client_is_served(true);
    close_all();
}

/* The client goes while compressed data wait for it, and while the device waits. */
static void gone_without_reading(void)
{
    static uint8_t data[MIB];
    struct noise s = { 19 };
    open_port(true);
    for (int i = 0; i < 3; i++) {
        connect_port(true, true);
        port.out_len = port.out_pos = 0;
        for (int j = 0; j < 10; j++) {
            fill_half(data, sizeof data, &s);
            chardev_queue(&port, data, sizeof data);
        }
        for (int j = 0; j < 20; j++) {
            chardev_pump(&port);
            host_run_for(1);
        }
        disconnect_port();
        port.out_len = port.out_pos = 0;
        next_client_is_served(true);
        disconnect_port();
    }
    next_client_is_served(true);
    close_all();
}

static void removed_with_everything_pending(void)
{
    static uint8_t data[MIB];
    struct noise s = { 20 };
    open_port(true);
    connect_port(true, true);
    port.accept = 0;
    for (int j = 0; j < 8; j++) {
        fill_half(data, sizeof data, &s);
        chardev_queue(&port, data, sizeof data);
    }
    for (int j = 0; j < 20; j++) {
        send_packed(data, 100000, PACK_FAST);
        chardev_pump(&port);
        host_run_for(1);
    }
    chardev_remove(&port);
    EXPECT(client_closed(&c));
    chardev_add_port(&port, r.server, "org.example.again");
    port.keep_input = false;
    client_close(&c);
    n_sent = digest_sent = 0;
    next_client_is_served(true);
    close_all();
}

static const struct tap_case cases[] = {
    TAP_CASE(lz4_is_offered_on_tcp),
    TAP_CASE(lz4_is_offered_on_unix_sockets),
    TAP_CASE(text_is_compressed_and_noise_is_not),
    TAP_CASE(the_same_with_full_headers),
    TAP_CASE(nothing_for_a_client_without_lz4),
    TAP_CASE(nothing_on_unix_sockets),
    TAP_CASE(clients_with_and_without_take_turns),
    TAP_CASE(other_channel_types),
    TAP_CASE(a_mixed_stream_keeps_its_order),
    TAP_CASE(a_mixed_stream_with_full_headers),
    TAP_CASE(much_to_the_client),
    TAP_CASE(client_that_does_not_read),
    TAP_CASE(noise_then_text),
    TAP_CASE(attempts_become_rare),
    TAP_CASE(one_byte_to_eight_mib),
    TAP_CASE(one_byte_to_one_mib_with_full_headers),
    TAP_CASE(interleaved_with_plain_data),
    TAP_CASE(on_unix_sockets_too),
    TAP_CASE(from_a_client_without_the_capability),
    TAP_CASE(split_at_each_byte_mini),
    TAP_CASE(split_at_each_byte_full),
    TAP_CASE(a_long_message_in_pieces),
    TAP_CASE(device_that_takes_one_to_seven_bytes),
    TAP_CASE(device_that_stops_at_short_messages),
    TAP_CASE(device_that_stops_at_long_messages),
    TAP_CASE(device_that_stops_at_noise),
    TAP_CASE(device_that_takes_a_little_at_a_time),
    TAP_CASE(both_ways_at_once),
    TAP_CASE(gone_within_a_short_message),
    TAP_CASE(gone_after_the_last_byte),
    TAP_CASE(gone_within_a_long_message),
    TAP_CASE(gone_without_reading),
    TAP_CASE(removed_with_everything_pending),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "compress", cases, TAP_COUNT(cases));
}
