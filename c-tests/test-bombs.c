/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Clients that mean harm, on port, usbredir and webdav channels: compressed messages
 * that are wrong or grow without end, and any announced length. Each ends its own
 * connection or is taken, as docs/protocol/spicevmc.md says; no announcement costs
 * memory, and a bystander on another channel notices nothing.
 */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "packed.h"
#include "rig.h"

#include <lz4.h>
#include <stdio.h>
#include <stdlib.h>

enum {
    KIB = 1 << 10,
    MIB = 1 << 20,
    DEVICES = 3,
    WHOLE = 256 * KIB,  /**< up to here a message is decoded whole */
    GROWTH_KIB = 8 * KIB,
};

static const uint8_t channel_types[DEVICES] = { CH_PORT, CH_USBREDIR, CH_WEBDAV };

static struct rig r;
static struct client main_channel, bystander;
static uint32_t session;
static struct chardev devices[DEVICES], other;
/** What each device was given and must have taken. */
static struct { uint64_t n, digest; } wanted[DEVICES];

static void link_to(struct client *c, int which)
{
    struct message m;
    int states = devices[which].n_states;
    rig_channel_caps(&r, c, channel_types[which], 0, session,
                     CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER, 0);
    if (channel_types[which] != CH_USBREDIR) {
        client_expect(c, S_PORT_INIT, &m);
        message_free(&m);
    }
    c->answer_pings = true;
    EXPECT(chardev_wait_states(&devices[which], states + 1));
    EXPECT_EQ(devices[which].states[states % CHARDEV_CALLS], 1);
}

static void unlink_from(struct client *c, int which)
{
    int states = devices[which].n_states;
    client_close(c);
    if (states % 2)
        EXPECT(chardev_wait_states(&devices[which], states + 1));
    devices[which].n_states = 0;
}

/** The connection must end, although the client says nothing more about it. */
static void must_end(struct client *c, int which, const char *about, long detail)
{
    int states = devices[which].n_states;
    EXPECT_MSG(client_closed(c), "%s %ld is taken", about, detail);
    EXPECT(chardev_wait_states(&devices[which], states + 1));
    unlink_from(c, which);
}

static void note_wanted(int which, const uint8_t *data, size_t n)
{
    wanted[which].digest = chardev_digest(wanted[which].digest, data, n);
    wanted[which].n += n;
}

static void expect_input(int which)
{
    struct chardev *d = &devices[which];
    EXPECT_MSG(chardev_wait_input(d, wanted[which].n), "only %llu of %llu bytes arrived",
               (unsigned long long)d->in_len, (unsigned long long)wanted[which].n);
    EXPECT_EQ(d->in_len, wanted[which].n);
    EXPECT(d->in_digest == wanted[which].digest);
}

/** The bystander's device answers. */
static void bystander_is_served(void)
{
    struct message m;
    EXPECT(client_send(&bystander, VMC_DATA, "still there?", 12));
    client_expect(&bystander, VMC_DATA, &m);
    EXPECT(m.size == 12 && !memcmp(m.body, "still there?", 12));
    message_free(&m);
}

/** The next client of each device is served as if nothing had been. */
static void all_is_well(void)
{
    static const uint8_t data[20000] = "all is well";
    struct client c;
    for (int i = 0; i < DEVICES; i++) {
        link_to(&c, i);
        EXPECT(packed_send(&c, data, sizeof data, PACK_FAST));
        EXPECT(client_send(&c, VMC_DATA, data, 100));
        note_wanted(i, data, sizeof data);
        note_wanted(i, data, 100);
        expect_input(i);
        unlink_from(&c, i);
    }
    bystander_is_served();
}

static void open_all(void)
{
    struct message m;
    rig_open_tcp(&r);
    chardev_add_port(&devices[0], r.server, "org.example.0");
    chardev_add_usbredir(&devices[1], r.server);
    chardev_add_port(&devices[2], r.server, "org.spice-space.webdav.0");
    chardev_add_port(&other, r.server, "org.example.bystander");
    for (int i = 0; i < DEVICES; i++)
        devices[i].keep_input = false;
    other.keep_input = false;
    other.echo = true;
    session = rig_main(&r, &main_channel);
    main_channel.answer_pings = true;
    rig_channel(&r, &bystander, CH_PORT, 1, session);
    client_expect(&bystander, S_PORT_INIT, &m);
    message_free(&m);
    bystander.answer_pings = true;
    /* what is allocated once is no growth */
    all_is_well();
    all_is_well();
}

static void close_all(void)
{
    all_is_well();
    client_close(&bystander);
    client_close(&main_channel);
    for (int i = 0; i < DEVICES; i++)
        chardev_remove(&devices[i]);
    chardev_remove(&other);
    rig_close(&r);
}

static long peak_before;

static void watch_memory(void)
{
    tap_peak_reset();
    peak_before = tap_peak_kib();
}

static void memory_is_bounded(long limit_kib)
{
    long growth = tap_peak_kib() - peak_before;
    fprintf(stderr, "memory grew by %ld KiB\n", growth);
    if (differs(DIFF_ANNOUNCED_MEMORY, 1, 0))
        EXPECT_MSG(growth < limit_kib, "memory grew by %ld KiB", growth);
}

/* ---- sizes that are announced ---- */

/** Header of a compressed message, then `packed` bytes of `fill`. */
static void send_announced(struct client *c, uint32_t announced, uint32_t packed, int fill)
{
    uint8_t *body = malloc(PACKED_HEADER + packed);
    put32(put8(body, COMPRESSION_LZ4), announced);
    memset(body + PACKED_HEADER, fill, packed);
    EXPECT(client_send(c, VMC_COMPRESSED, body, PACKED_HEADER + packed));
    free(body);
}

static void small_blocks_that_announce_much(void)
{
    static const uint32_t announced[] = {
        0xffffffff, 0xfffffffe, 0x80000001, 0x80000000, 0x7fffffff, 0x7ffffffe, 1u << 30,
        64 * MIB,   16 * MIB,   MIB,        255 * 100 + 1, 255 * 100,
    };
    struct client c;
    open_all();
    watch_memory();
    for (int which = 0; which < DEVICES; which++)
        for (size_t i = 0; i < TAP_COUNT(announced); i++) {
            link_to(&c, which);
            send_announced(&c, announced[i], 100, 0x1f);
            must_end(&c, which, "a small block that announces", announced[i]);
            expect_input(which);
        }
    memory_is_bounded(GROWTH_KIB);
    bystander_is_served();
    close_all();
}

/* Announced on both sides, as much as the format can mean, and never sent. */
static void announced_and_never_sent(void)
{
    static const uint32_t sizes[] = { 1 * MIB, 64 * MIB, 0x7ffffffe, 0x7fffffff };
    struct client c;
    open_all();
    watch_memory();
    for (int which = 0; which < DEVICES; which++)
        for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
            uint8_t start[PACKED_HEADER + 2] = { COMPRESSION_LZ4 };
            put32(start + 1, sizes[i] > 1u << 24 ? 0xffffffff : 255 * (sizes[i] - PACKED_HEADER));
            link_to(&c, which);
            EXPECT(client_send_header(&c, VMC_COMPRESSED, sizes[i]));
            EXPECT(client_write(&c, start, sizeof start));
            host_run_for(2);
            unlink_from(&c, which);
            expect_input(which);
        }
    memory_is_bounded(GROWTH_KIB);
    close_all();
}

/* The start of a message that announces four gigabytes: literals, as many as come. */
static void the_start_of_four_gigabytes(void)
{
    enum { N = 20 * MIB };
    uint8_t start[PACKED_HEADER + 1] = { COMPRESSION_LZ4, 0xff, 0xff, 0xff, 0xff, 0xf0 };
    static uint8_t data[100000];
    struct client c;
    struct noise s = { 1 };
    open_all();
    /* the literals' number: 15, and 255 for each further byte of it */
    size_t n_more = N / 255 + 1;
    uint8_t *more = malloc(n_more);
    memset(more, 255, n_more - 1);
    more[n_more - 1] = 0;
    watch_memory();
    link_to(&c, 0);
    EXPECT(client_send_header(&c, VMC_COMPRESSED, 0x7fffffff));
    EXPECT(client_write(&c, start, sizeof start));
    EXPECT(client_write(&c, more, n_more));
    uint64_t before = wanted[0].n;
    while (wanted[0].n - before < N - sizeof data) {
        fill_noise(data, sizeof data, &s);
        EXPECT(client_write(&c, data, sizeof data));
        note_wanted(0, data, sizeof data);
    }
    memory_is_bounded(GROWTH_KIB);
    expect_input(0);
    unlink_from(&c, 0);
    expect_input(0);
    free(more);
    close_all();
}

/* ---- blocks that grow ---- */

enum { BOMB = 63 * MIB };

/** A message of some 250 KiB that comes to 63 MiB of zeros. */
static uint8_t *bomb(struct client *c, size_t *size)
{
    uint8_t *zeros = calloc(1, BOMB);
    uint8_t *wire = packed_wire(c, zeros, BOMB, PACK_FAST, size);
    free(zeros);
    EXPECT_MSG(*size < WHOLE, "the bomb has %zu bytes", *size);
    return wire;
}

static void note_bomb(int which)
{
    static const uint8_t zeros[MIB];
    for (int i = 0; i < BOMB / MIB; i++)
        note_wanted(which, zeros, sizeof zeros);
}

static void a_bomb_into_a_device_that_does_not_read(void)
{
    struct client c;
    size_t size;
    open_all();
    link_to(&c, 0);
    uint8_t *wire = bomb(&c, &size);
    watch_memory();
    devices[0].accept = 0;
    EXPECT(client_write(&c, wire, size));
    for (int i = 0; i < 20; i++) {
        host_run_for(5);
        bystander_is_served();
    }
    expect_input(0);
    memory_is_bounded(GROWTH_KIB);
    /* it reads a little, then all */
    uint64_t before = devices[0].in_len;
    for (int i = 1; i <= 50; i++) {
        chardev_accept(&devices[0], 50001);
        EXPECT(chardev_wait_input(&devices[0], before + (uint64_t)i * 50001));
        EXPECT_EQ(devices[0].in_len, before + (uint64_t)i * 50001);
    }
    memory_is_bounded(GROWTH_KIB);
    chardev_accept(&devices[0], CHARDEV_UNLIMITED);
    note_bomb(0);
    expect_input(0);
    memory_is_bounded(GROWTH_KIB);
    unlink_from(&c, 0);
    free(wire);
    close_all();
}

static void a_bomb_into_a_device_that_reads(void)
{
    struct client c;
    size_t size;
    open_all();
    link_to(&c, 1);
    uint8_t *wire = bomb(&c, &size);
    watch_memory();
    for (int i = 0; i < 2; i++) {
        EXPECT(client_write(&c, wire, size));
        note_bomb(1);
        expect_input(1);
    }
    memory_is_bounded(GROWTH_KIB);
    unlink_from(&c, 1);
    free(wire);
    close_all();
}

static void bombs_on_all_channels(void)
{
    struct client c[DEVICES];
    size_t size;
    open_all();
    for (int i = 0; i < DEVICES; i++)
        link_to(&c[i], i);
    uint8_t *wire = bomb(&c[0], &size);
    watch_memory();
    for (int i = 0; i < DEVICES; i++) {
        devices[i].accept = 0;
        EXPECT(client_write(&c[i], wire, size));
    }
    for (int i = 0; i < 20; i++) {
        host_run_for(5);
        bystander_is_served();
    }
    memory_is_bounded(DEVICES * GROWTH_KIB);
    /* the clients go; what they have sent is whole */
    for (int i = 0; i < DEVICES; i++)
        client_close(&c[i]);
    for (int i = 0; i < DEVICES; i++) {
        chardev_accept(&devices[i], CHARDEV_UNLIMITED);
        note_bomb(i);
        expect_input(i);
        unlink_from(&c[i], i);
    }
    memory_is_bounded(DEVICES * GROWTH_KIB);
    free(wire);
    close_all();
}

/* Many messages, each no larger than is decoded at once. */
static void many_small_bombs(void)
{
    enum { N = 250 };
    static const uint8_t zeros[WHOLE];
    struct client c;
    uint32_t size;
    open_all();
    link_to(&c, 2);
    uint8_t *body = packed_body(zeros, WHOLE, PACK_FAST, &size);
    watch_memory();
    devices[2].accept = 0;
    for (int i = 0; i < N; i++) {
        EXPECT(client_send(&c, VMC_COMPRESSED, body, size));
        note_wanted(2, zeros, WHOLE);
    }
    host_run_for(50);
    memory_is_bounded(GROWTH_KIB);
    chardev_accept(&devices[2], CHARDEV_UNLIMITED);
    expect_input(2);
    memory_is_bounded(GROWTH_KIB);
    unlink_from(&c, 2);
    free(body);
    close_all();
}

/* ---- what is wrong in a compressed message ---- */

static void other_kinds_of_compression(void)
{
    static const uint8_t data[100] = "some text that is compressed";
    struct client c;
    uint32_t size;
    open_all();
    uint8_t *body = packed_body(data, sizeof data, PACK_FAST, &size);
    for (int kind = 0; kind <= 255; kind++) {
        if (kind == COMPRESSION_LZ4)
            continue;
        body[0] = (uint8_t)kind;
        int which = kind % DEVICES;
        link_to(&c, which);
        EXPECT(client_send(&c, VMC_COMPRESSED, body, size));
        must_end(&c, which, "compression", kind);
        expect_input(which);
    }
    free(body);
    close_all();
}

static void short_bodies(void)
{
    static const uint8_t body[5] = { COMPRESSION_LZ4, 1 };
    struct client c;
    open_all();
    for (int which = 0; which < DEVICES; which++) {
        for (uint32_t size = 0; size <= sizeof body; size++) {
            link_to(&c, which);
            EXPECT(client_send(&c, VMC_COMPRESSED, body, size));
            must_end(&c, which, "a body of", size);
            expect_input(which);
        }
        link_to(&c, which);
        send_announced(&c, 0, 100, 0x11);
        must_end(&c, which, "a block that is announced as empty, of", 100);
        expect_input(which);
    }
    close_all();
}

static void block_that_comes_to_nothing(void)
{
    struct client c;
    open_all();
    for (int which = 0; which < DEVICES; which++) {
        link_to(&c, which);
        send_announced(&c, 0, 1, 0);
        must_end(&c, which, "an empty block of", 1);
        expect_input(which);
    }
    close_all();
}

/** The device may have taken a beginning of `data`, of a long message only. */
static void note_beginning(int which, const uint8_t *data, size_t n, bool is_long)
{
    uint64_t part = devices[which].in_len - wanted[which].n;
    EXPECT_MSG(part <= (is_long ? n : 0), "%llu bytes of a wrong message of %zu arrive",
               (unsigned long long)part, n);
    note_wanted(which, data, (size_t)part);
    expect_input(which);
}

static void announced_size_is_wrong(void)
{
    static const size_t sizes[] = { 1, 2, 20, 1000, WHOLE - 1, WHOLE, WHOLE + 1, 3 * WHOLE };
    static uint8_t data[3 * WHOLE];
    struct noise s = { 2 };
    struct client c;
    open_all();
    fill_text(data, sizeof data, &s);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        uint32_t n = (uint32_t)sizes[i], size;
        uint32_t wrong[] = { n - 1, n + 1, n / 2, 2 * n, n - 100, n + 100 };
        for (size_t w = 0; w < TAP_COUNT(wrong); w++) {
            int which = (int)(i + w) % DEVICES;
            if (wrong[w] == 0 || wrong[w] > 4 * sizeof data)
                continue;
            uint8_t *body = packed_body(data, n, PACK_FAST, &size);
            put32(body + 1, wrong[w]);
            link_to(&c, which);
            EXPECT(client_send(&c, VMC_COMPRESSED, body, size));
            must_end(&c, which, "a wrong announcement of", wrong[w]);
            note_beginning(which, data, n, n > WHOLE || wrong[w] > WHOLE);
            free(body);
        }
    }
    close_all();
}

/** Sends a block that may be wrong; liblz4 says what must come of it. */
static void judge(int which, const uint8_t *block, uint32_t size, uint32_t announced)
{
    struct client c;
    uint8_t *body = malloc(PACKED_HEADER + size);
    uint8_t *data = malloc(announced);
    put32(put8(body, COMPRESSION_LZ4), announced);
    memcpy(body + PACKED_HEADER, block, size);
    int verdict = LZ4_decompress_safe((const char *)block, (char *)data, (int)size, (int)announced);
    uint64_t before = devices[which].in_len;
    link_to(&c, which);
    EXPECT(client_send(&c, VMC_COMPRESSED, body, PACKED_HEADER + size));
    if (verdict == (int)announced) {
        note_wanted(which, data, announced);
        expect_input(which);
        unlink_from(&c, which);
    } else {
        /* The format's rules for a block's end are the encoder's: a decoder may take
         * what breaks only them. */
        EXPECT(client_send(&c, VMC_DATA, NULL, 0));
        must_end(&c, which, "a block of", size);
        uint64_t part = devices[which].in_len - before;
        EXPECT_MSG(part <= announced && (part == 0 || part == announced || announced > WHOLE),
                   "%llu of %u bytes arrive", (unsigned long long)part, announced);
        wanted[which].n = devices[which].in_len;
        wanted[which].digest = devices[which].in_digest;
    }
    free(body);
    free(data);
}

static void noise_instead_of_a_block(void)
{
    uint8_t block[300];
    struct noise s = { 3 };
    open_all();
    for (int i = 0; i < 300; i++) {
        uint32_t size = noise_next(&s) % sizeof block + 1;
        fill_noise(block, size, &s);
        /* offsets and lengths that are more likely to be good */
        for (uint32_t j = 0; i % 3 && j < size; j++)
            block[j] &= i % 3 == 1 ? 0x13 : 0x31;
        judge(i % DEVICES, block, size, noise_next(&s) % (255 * size) + 1);
    }
    close_all();
}

static void a_byte_is_wrong(void)
{
    enum { N = 2000, LONG = 400 * KIB };
    static uint8_t data[LONG];
    struct noise s = { 4 };
    uint32_t size;
    open_all();
    for (int i = 0; i < 200; i++) {
        size_t n = i % 10 == 9 ? LONG : N;
        fill_text(data, n, &s);
        uint8_t *body = packed_body(data, n, PACK_FAST, &size);
        body[PACKED_HEADER + noise_next(&s) % (size - PACKED_HEADER)] ^= (uint8_t)(1u << i % 8);
        judge(i % DEVICES, body + PACKED_HEADER, size - PACKED_HEADER, (uint32_t)n);
        free(body);
    }
    close_all();
}

static void a_block_is_cut_or_too_long(void)
{
    enum { N = 200 };
    static uint8_t data[N], block[N + 100];
    struct noise s = { 5 };
    uint32_t size;
    open_all();
    fill_text(data, N, &s);
    uint8_t *body = packed_body(data, N, PACK_FAST, &size);
    memcpy(block, body + PACKED_HEADER, size - PACKED_HEADER);
    free(body);
    for (uint32_t n = 1; n < size + 20; n++)
        judge((int)n % DEVICES, block, n, N);
    close_all();
}

/* ---- lengths of messages ---- */

static void port_events_of_any_size(void)
{
    static const uint32_t good[] = { 1, 2, 3, 100, 1000, 65535, 65536 };
    static uint8_t body[65537];
    struct client c;
    open_all();
    memset(body, 0x77, sizeof body);
    for (int which = 0; which < DEVICES; which++) {
        bool port = channel_types[which] != CH_USBREDIR;
        int events = 0;
        for (size_t i = 0; i < TAP_COUNT(good); i++) {
            body[0] = (uint8_t)(i * 37);
            link_to(&c, which);
            EXPECT(client_send(&c, C_PORT_EVENT, body, good[i]));
            if (port) {
                EXPECT(chardev_wait_events(&devices[which], ++events));
                EXPECT_EQ(devices[which].port_events[events - 1], body[0]);
                unlink_from(&c, which);
            } else {
                must_end(&c, which, "an event on usbredir of", good[i]);
            }
        }
        link_to(&c, which);
        EXPECT(client_send(&c, C_PORT_EVENT, NULL, 0));
        must_end(&c, which, "an event of", 0);
        EXPECT_EQ(devices[which].n_port_events, events);
        expect_input(which);
    }
    close_all();
}

static bool may_announce(uint16_t type, uint32_t length)
{
    return length <= (type == C_PORT_EVENT ? 65536 : 0x7fffffff);
}

/* Powers of two and their neighbours. What is too long ends the connection at its
 * header; for the rest the library waits, and takes no memory for it. */
static void messages_of_any_announced_length(void)
{
    static const uint16_t types[] = { VMC_DATA, VMC_COMPRESSED, C_PORT_EVENT };
    struct client c;
    struct message m;
    open_all();
    watch_memory();
    for (int bit = 0; bit <= 32; bit++)
        for (int step = -1; step <= 1; step++)
            for (size_t t = 0; t < TAP_COUNT(types); t++) {
                uint64_t length = ((uint64_t)1 << bit) + (uint64_t)(int64_t)step;
                int which = (int)((size_t)bit + t) % DEVICES;
                if (length > 0xffffffff)
                    continue;
                link_to(&c, which);
                EXPECT(client_send_header(&c, types[t], (uint32_t)length));
                if (length == 0 || !may_announce(types[t], (uint32_t)length)) {
                    must_end(&c, which, "an announcement of", (long)length);
                    continue;
                }
                /* the library has seen the header when it has answered twice */
                for (int i = 0; i < 2; i++) {
                    EXPECT(client_send(&main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
                    client_expect(&main_channel, S_MAIN_CHANNELS_LIST, &m);
                    message_free(&m);
                }
                EXPECT_MSG(client_silent(&c, 0), "type %u of %lu bytes is refused", types[t],
                           (unsigned long)length);
                unlink_from(&c, which);
                expect_input(which);
            }
    memory_is_bounded(GROWTH_KIB);
    close_all();
}

/* Of a long plain message the beginning is passed on; then the client goes. */
static void long_messages_that_never_end(void)
{
    enum { N = 3 * MIB };
    static uint8_t data[N];
    struct noise s = { 6 };
    struct client c;
    open_all();
    fill_noise(data, N, &s);
    watch_memory();
    for (int which = 0; which < DEVICES; which++) {
        link_to(&c, which);
        EXPECT(client_send_header(&c, VMC_DATA, 0x7fffffff));
        EXPECT(client_write(&c, data, N));
        note_wanted(which, data, N);
        expect_input(which);
        unlink_from(&c, which);
        expect_input(which);
    }
    memory_is_bounded(GROWTH_KIB);
    close_all();
}

static const struct tap_case cases[] = {
    TAP_CASE(small_blocks_that_announce_much),
    TAP_CASE(announced_and_never_sent),
    TAP_CASE(the_start_of_four_gigabytes),
    TAP_CASE(a_bomb_into_a_device_that_does_not_read),
    TAP_CASE(a_bomb_into_a_device_that_reads),
    TAP_CASE(bombs_on_all_channels),
    TAP_CASE(many_small_bombs),
    TAP_CASE(other_kinds_of_compression),
    TAP_CASE(short_bodies),
    TAP_CASE(block_that_comes_to_nothing),
    TAP_CASE(announced_size_is_wrong),
    TAP_CASE(noise_instead_of_a_block),
    TAP_CASE(a_byte_is_wrong),
    TAP_CASE(a_block_is_cut_or_too_long),
    TAP_CASE(port_events_of_any_size),
    TAP_CASE(messages_of_any_announced_length),
    TAP_CASE(long_messages_that_never_end),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "bombs", cases, TAP_COUNT(cases));
}
