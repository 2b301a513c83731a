/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* States in which a session is seldom when its machine moves, channels that take nothing
 * along, and clients that take their time.  The ordinary ones are in test-migration-data.c. */
#define _GNU_SOURCE
#include "differences.h"
#include "mover.h"
#include "packed.h"

#include <stdlib.h>

enum {
    MNMD = 65,
    COMMON_CAPS = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
    SOUND_CAPS = PLAYBACK_CAP_VOLUME,
    RATE = 48000,
    TIME_OUT = 10000,
    PORT_OPENED = 0,
};

/* ---- source ---- */

/** What the device has not taken of three messages moves in one piece. */
static void partly_taken(const char *subtype, const char *port, int type, int64_t accept)
{
    struct mover b;
    struct message m;
    mover_open_source(&b, subtype, port);
    b.device.accept = accept;
    b.a.session = mover_link_main(&b, 0);
    rig_channel(&b.a.r, &b.c, type, 0, b.a.session);
    EXPECT(client_send(&b.c, VMC_DATA, "abc", 3));
    EXPECT(client_send(&b.c, VMC_DATA, "d", 1));
    EXPECT(client_send(&b.c, VMC_DATA, "efg", 3));
    EXPECT(chardev_wait_input(&b.device, (uint64_t)accept));
    mover_begin(&b);
    mover_take_along(&b.c, &m);
    uint8_t rest[BLOCK + 7];
    uint32_t left = 7 - (uint32_t)accept;
    put_block(rest, UINT32_MAX, UINT32_MAX, left, 0, left ? SVMD : 0);
    memcpy(rest + BLOCK, &"abcdefg"[accept], left);
    expect_moved(&m, "SVMD", rest, BLOCK + left);
    message_free(&m);
    client_close(&b.c);
    mover_close_source(&b);
}

static void each_place_in_a_buffer(void)
{
    for (int64_t taken = 0; taken <= 7; taken++)
        partly_taken("port", "org.example.0", CH_PORT, taken);
}

static void usb_and_folders(void)
{
    partly_taken("usbredir", NULL, CH_USBREDIR, 2);
    partly_taken("port", "org.spice-space.webdav.0", CH_WEBDAV, 2);
}

/** It moves as it is for the device: without LZ4. */
static void compressed_bytes_wait(void)
{
    enum { LENGTH = 30000, TAKEN = 1234 };
    struct mover b;
    struct message m;
    struct noise noise = { 1 };
    uint8_t *text = malloc(LENGTH);
    fill_text(text, LENGTH, &noise);
    mover_open_source(&b, "port", "org.example.0");
    b.device.accept = TAKEN;
    b.a.session = mover_link_main(&b, 0);
    rig_channel_caps(&b.a.r, &b.c, CH_PORT, 0, b.a.session, COMMON_CAPS, VMC_CAP_LZ4);
    EXPECT(packed_send(&b.c, text, LENGTH, PACK_FAST));
    EXPECT(client_send(&b.c, VMC_DATA, "plain", 5));
    EXPECT(chardev_wait_input(&b.device, TAKEN));
    mover_begin(&b);
    EXPECT(packed_send(&b.c, text, LENGTH, PACK_FAST));
    mover_take_along(&b.c, &m);
    EXPECT_EQ(m.size, SVMD + LENGTH - TAKEN + 5 + LENGTH);
    EXPECT(!memcmp(m.body + SVMD, text + TAKEN, LENGTH - TAKEN));
    EXPECT(!memcmp(m.body + SVMD + LENGTH - TAKEN, "plain", 5));
    EXPECT(!memcmp(m.body + m.size - LENGTH, text, LENGTH));
    message_free(&m);
    free(text);
    client_close(&b.c);
    mover_close_source(&b);
}

/** So many bytes of a chunk's header have come from the agent. */
static void an_agent_cut_in_a_chunk_header(void)
{
    /* Right behind a whole header upstream ends its process. */
    for (uint32_t n = 0; n <= (reference_library() ? 7 : 8); n++) {
        struct mover b;
        struct message m;
        uint8_t header[CHUNK], rest[MNMD - 8], *p;
        mover_open_server(&b);
        agent_add(&b.a);
        spice_server_vm_start(b.a.r.server);
        b.a.session = mover_link_main(&b, 0);
        agent_start(&b.a.c, 7);
        agent_settle(&b.a.c);
        put32(put32(header, PORT_CLIENT), HEAD);
        chardev_say(&b.a.agent, header, n);
        EXPECT_EQ(chardev_unread(&b.a.agent), 0);
        mover_begin(&b);
        mover_take_along(&b.a.c, &m);
        memset(rest, 0, sizeof rest);
        p = put32(put8(put_block(rest, WINDOW, 7, 0, 0, 0), 1), n);
        memcpy(p, header, n);
        /* A whole one says how much of the chunk is left, and of the message nothing is there. */
        size_t same = n < 8 ? 4 + 8 : 4;
        EXPECT(m.size >= MNMD && !memcmp(m.body, "MNMD", 4));
        EXPECT(!memcmp(m.body + 8, rest, BLOCK + 1 + same));
        EXPECT_EQ(get32(m.body + 47), 0);
        EXPECT_EQ(get32(m.body + 55), 0);
        message_free(&m);
        mover_close_source(&b);
    }
}

static void expect_migrate(struct client *c, uint32_t flags)
{
    struct message m;
    client_expect(c, S_MIGRATE, &m);
    EXPECT(m.size == 4 && get32(m.body) == flags);
    message_free(&m);
}

static void add_sound(struct mover *b, struct audio *a)
{
    audio_prepare(a);
    EXPECT_EQ(spice_server_add_interface(b->a.r.server, &a->playback.base), 0);
    EXPECT_EQ(spice_server_add_interface(b->a.r.server, &a->record.base), 0);
    spice_server_set_playback_rate(&a->playback, RATE);
    spice_server_set_record_rate(&a->record, RATE);
    spice_server_playback_start(&a->playback);
    spice_server_record_start(&a->record);
}

static void remove_sound(struct audio *a)
{
    spice_server_playback_stop(&a->playback);
    spice_server_record_stop(&a->record);
    EXPECT_EQ(spice_server_remove_interface(&a->playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&a->record.base), 0);
}

/** Sound has no data: its clients go at once. */
static void sound_leaves(void)
{
    struct mover b;
    struct audio a;
    struct client record;
    struct message m;
    mover_open_source(&b, NULL, NULL);
    add_sound(&b, &a);
    b.a.session = mover_link_main(&b, 0);
    rig_channel_caps(&b.a.r, &b.c, CH_PLAYBACK, 0, b.a.session, COMMON_CAPS, SOUND_CAPS);
    rig_channel_caps(&b.a.r, &record, CH_RECORD, 0, b.a.session, COMMON_CAPS, RECORD_CAP_VOLUME);
    mover_find(&b.c, S_PLAYBACK_START, &m);
    message_free(&m);
    client_expect(&record, S_RECORD_START, &m);
    message_free(&m);
    mover_begin(&b);
    expect_migrate(&b.c, 0);
    expect_migrate(&record, 0);
    client_close(&record);
    client_close(&b.c);
    client_close(&b.a.c);
    mover_ended(&b);
    remove_sound(&a);
    spice_server_remove_interface(&b.m.sin.base);
    rig_close(&b.a.r);
}

/** A stream device's screen begins anew at the other host. */
static void a_stream_device_leaves(void)
{
    struct mover b;
    mover_open_source(&b, "port", "org.spice-space.stream.0");
    spice_server_port_event(&b.device.sin, PORT_OPENED);
    b.a.session = mover_link_main(&b, 0);
    rig_channel(&b.a.r, &b.c, CH_DISPLAY, 0, b.a.session);
    struct message m;
    mover_begin(&b);
    mover_find(&b.c, S_MIGRATE, &m);
    EXPECT(m.size == 4 && get32(m.body) == 0);
    message_free(&m);
    client_close(&b.c);
    mover_close_source(&b);
}

/* ---- target ---- */

/** Levels are those that the client has; what sounds is told again. */
static void sound_comes(void)
{
    struct mover b;
    struct audio a;
    struct client record;
    struct message m;
    uint16_t volume[2] = { 1, 2 };
    mover_open_source(&b, NULL, NULL);
    add_sound(&b, &a);
    spice_server_playback_set_volume(&a.playback, 2, volume);
    spice_server_playback_set_mute(&a.playback, 1);
    mover_open_target(&b);
    rig_channel_caps(&b.a.r, &b.c, CH_PLAYBACK, 0, b.a.session, COMMON_CAPS, SOUND_CAPS);
    rig_channel_caps(&b.a.r, &record, CH_RECORD, 0, b.a.session, COMMON_CAPS, RECORD_CAP_VOLUME);
    do
        EXPECT(client_next(&b.c, &m));
    while (message_free(&m), m.type == S_PLAYBACK_MODE);
    EXPECT_EQ(m.type, S_PLAYBACK_START);
    EXPECT(client_silent(&b.c, 50));
    client_expect(&record, S_RECORD_START, &m);
    message_free(&m);
    client_close(&record);
    client_close(&b.c);
    remove_sound(&a);
    mover_close_target(&b);
}

/** A device that is slow gets what came along, what came behind it, and in this order. */
static void a_device_takes_it_bit_by_bit(void)
{
    enum { MOVED = 1000, LATER = 500 };
    struct mover b;
    uint8_t *bytes = malloc(SVMD + MOVED + LATER);
    mover_open_source(&b, "port", "org.example.0");
    b.device.accept = 0;
    b.device.write_chunk = 7;
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
    put_magic(bytes, "SVMD");
    chardev_fill(put_block(bytes + 8, UINT32_MAX, UINT32_MAX, MOVED, 0, SVMD), MOVED + LATER, 0);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, bytes, SVMD + MOVED));
    EXPECT(client_send(&b.c, VMC_DATA, bytes + SVMD + MOVED, LATER));
    for (uint64_t taken = 0; taken < MOVED + LATER; taken += 100) {
        chardev_accept(&b.device, 100);
        EXPECT(chardev_wait_input(&b.device, taken + 100));
    }
    EXPECT_EQ(b.device.in_len, MOVED + LATER);
    EXPECT_EQ(b.device.in_digest, chardev_pattern_digest(MOVED + LATER));
    free(bytes);
    client_close(&b.c);
    mover_close_target(&b);
}

/* ---- time ---- */

/** A client that is told to go, and says nothing more. */
static void a_client_that_does_not_leave(void)
{
    struct mover b;
    struct message m;
    mover_open_port(&b);
    int64_t begun = tap_now();
    mover_begin(&b);
    mover_find(&b.c, S_MIGRATE, &m);
    message_free(&m);
    EXPECT_EQ(b.m.end_completes, 0);
    host_run_for(TIME_OUT - 1000 - (int)(tap_now() - begun));
    EXPECT_EQ(b.m.end_completes, 0);
    mover_ended(&b);
    EXPECT(client_closed(&b.c));
    mover_find(&b.a.c, S_MIGRATE, &m);
    message_free(&m);
    EXPECT(client_closed(&b.a.c));
    client_close(&b.c);
    mover_close_source(&b);
}

/** The machine may take hours to come: a client that waits for it is not cut. */
static void a_client_that_takes_its_time(void)
{
    struct mover b;
    struct message m;
    uint8_t body[SVMD];
    mover_open_source(&b, "port", "org.example.0");
    mover_open_target(&b);
    rig_channel(&b.a.r, &b.c, CH_PORT, 0, b.a.session);
    client_expect(&b.c, S_PORT_INIT, &m);
    message_free(&m);
    host_run_for(TIME_OUT + 2000);
    put_magic(body, "SVMD");
    put_block(body + 8, UINT32_MAX, UINT32_MAX, 0, 0, 0);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, SVMD));
    EXPECT(client_send(&b.c, VMC_DATA, "abc", 3));
    EXPECT(chardev_wait_input(&b.device, 3));
    client_close(&b.c);
    mover_close_target(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(each_place_in_a_buffer),
    TAP_CASE(usb_and_folders),
    TAP_CASE(compressed_bytes_wait),
    TAP_CASE(an_agent_cut_in_a_chunk_header),
    TAP_CASE(sound_leaves),
    TAP_CASE(a_stream_device_leaves),
    TAP_CASE(sound_comes),
    TAP_CASE(a_device_takes_it_bit_by_bit),
    TAP_CASE(a_client_that_does_not_leave),
    TAP_CASE(a_client_that_takes_its_time),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "migration-states", cases, TAP_COUNT(cases));
}
