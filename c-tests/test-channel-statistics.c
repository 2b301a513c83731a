/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * spice_server_channel_statistics(), which only this library has: what a channel has
 * moved. Not run on Debian's library.
 */
#define _GNU_SOURCE
#include "packed.h"
#include "registry.h"

#include <stdlib.h>
#include <string.h>

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
    TAP_CASE(counters_of_usbredir),
    TAP_CASE(counters_of_a_registered_port),
    TAP_CASE(counters_on_unix_sockets),
    TAP_CASE(counters_never_fall),
    TAP_CASE(statistics_misuse),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "channel-statistics", cases, TAP_COUNT(cases));
}
