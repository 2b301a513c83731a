/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Sound: the playback and the record channel, and the calls on the devices behind them.
 * Opus is made and taken apart by the project's own library. */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <arpa/inet.h>
#include <math.h>
#include <netinet/in.h>
#include <netinet/ip.h>
#include <netinet/tcp.h>
#include <opus/opus.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <time.h>

enum { FRAME = 480, RATE = 48000, RING = 8192, AHEAD = 4096 };

struct studio {
    struct rig r;
    struct audio a;
    struct client main, c;
    uint32_t session;
};

/** A server with both devices at the usual rate, and a client's main channel. */
static void studio_open(struct studio *s)
{
    rig_open(&s->r);
    audio_prepare(&s->a);
    EXPECT_EQ(spice_server_add_interface(s->r.server, &s->a.playback.base), 0);
    EXPECT_EQ(spice_server_add_interface(s->r.server, &s->a.record.base), 0);
    spice_server_set_playback_rate(&s->a.playback, RATE);
    spice_server_set_record_rate(&s->a.record, RATE);
    s->session = rig_main(&s->r, &s->main);
}

static void studio_close(struct studio *s)
{
    client_close(&s->main);
    EXPECT_EQ(spice_server_remove_interface(&s->a.playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&s->a.record.base), 0);
    rig_close(&s->r);
}

static void link_sound(struct studio *s, struct client *c, int type, uint32_t caps)
{
    rig_channel_caps(&s->r, c, type, 0, s->session, CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
                     caps);
}

/** The next message must be this one, with this body. */
static void expect_body(struct client *c, uint16_t type, const void *body, uint32_t size)
{
    struct message m;
    client_expect(c, type, &m);
    EXPECT_EQ(m.size, size);
    for (uint32_t i = 0; i < size; i++)
        EXPECT_MSG(m.body[i] == ((const uint8_t *)body)[i], "type %d: byte %u is 0x%02x, not 0x%02x",
                   type, i, m.body[i], ((const uint8_t *)body)[i]);
    message_free(&m);
}
#define EXPECT_BODY(c, type, text) expect_body(c, type, text, sizeof text - 1)

/** A time of the server's, which has the same clock, is not more than 5 s old. */
static void expect_now(uint32_t time)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    uint32_t age = (uint32_t)(now.tv_sec * 1000 + now.tv_nsec / 1000000) - time;
    EXPECT_MSG(age < 5000, "the time is %u ms old", age);
}

static void expect_mode(struct client *c, int mode)
{
    struct message m;
    client_expect(c, S_PLAYBACK_MODE, &m);
    EXPECT_EQ(m.size, 6);
    expect_now(get32(m.body));
    EXPECT_EQ(get16(m.body + 4), mode);
    message_free(&m);
}

static void expect_start(struct client *c, uint32_t rate)
{
    struct message m;
    client_expect(c, S_PLAYBACK_START, &m);
    EXPECT_EQ(m.size, 14);
    EXPECT_EQ(get32(m.body), 2);
    EXPECT_EQ(get16(m.body + 4), 1);
    EXPECT_EQ(get32(m.body + 6), rate);
    expect_now(get32(m.body + 10));
    message_free(&m);
}

/** A client of the playback channel with these capabilities, told of the silence. */
static void listen_with(struct studio *s, uint32_t caps)
{
    link_sound(s, &s->c, CH_PLAYBACK, caps);
    expect_mode(&s->c, caps & PLAYBACK_CAP_OPUS ? MODE_OPUS : MODE_RAW);
}

/** A frame of the library's; the case fails when there is none. */
static uint32_t *frame_of(struct studio *s)
{
    uint32_t *samples = NULL, n = 0;
    spice_server_playback_get_buffer(&s->a.playback, &samples, &n);
    EXPECT(samples != NULL);
    EXPECT_EQ(n, FRAME);
    return samples;
}

static void expect_no_frame(struct studio *s)
{
    uint32_t *samples = (uint32_t *)1, n = 1;
    spice_server_playback_get_buffer(&s->a.playback, &samples, &n);
    EXPECT(samples == NULL);
    EXPECT_EQ(n, 0);
}

static void play_value(struct studio *s, uint32_t value)
{
    uint32_t *samples = frame_of(s);
    for (int i = 0; i < FRAME; i++)
        samples[i] = value + (uint32_t)i;
    spice_server_playback_put_samples(&s->a.playback, samples);
}

static void expect_value(struct client *c, uint32_t value)
{
    struct message m;
    client_expect(c, S_PLAYBACK_DATA, &m);
    EXPECT_EQ(m.size, 4 + 4 * FRAME);
    expect_now(get32(m.body));
    for (int i = 0; i < FRAME; i++)
        EXPECT_EQ(get32(m.body + 4 + 4 * i), value + (uint32_t)i);
    message_free(&m);
}

/* ---- the channels ---- */

static void offered_capabilities(void)
{
    struct studio s;
    rig_open(&s.r);
    audio_prepare(&s.a);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &s.a.playback.base), 0);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &s.a.record.base), 0);
    s.session = rig_main(&s.r, &s.main);
    static const struct {
        uint32_t rate;
        bool opus;
    } rates[] = { { 0, false }, { 44100, false }, { 48000, true }, { 24000, true },
                  { 12000, true }, { 8000, true } };
    bool opus = false;
    for (size_t i = 0; i < TAP_COUNT(rates); i++) {
        if (rates[i].rate) {
            spice_server_set_playback_rate(&s.a.playback, rates[i].rate);
            spice_server_set_record_rate(&s.a.record, rates[i].rate);
        }
        opus = rates[i].opus;
        link_sound(&s, &s.c, CH_PLAYBACK, 0);
        EXPECT_EQ(s.c.reply.n_channel, 1);
        EXPECT_EQ(s.c.reply.caps[s.c.reply.n_common],
                  PLAYBACK_CAP_VOLUME | (opus ? PLAYBACK_CAP_OPUS : 0));
        client_close(&s.c);
        link_sound(&s, &s.c, CH_RECORD, 0);
        EXPECT_EQ(s.c.reply.n_channel, 1);
        EXPECT_EQ(s.c.reply.caps[s.c.reply.n_common],
                  RECORD_CAP_VOLUME | (opus ? RECORD_CAP_OPUS : 0));
        client_close(&s.c);
    }
    studio_close(&s);
}

static void playback_begins(void)
{
    struct studio s;
    studio_open(&s);
    listen_with(&s, PLAYBACK_CAP_VOLUME);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    listen_with(&s, 0);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    uint16_t volume[2] = { 0x1234, 0xffff };
    spice_server_playback_set_volume(&s.a.playback, 2, volume);
    spice_server_playback_set_mute(&s.a.playback, 1);
    spice_server_playback_start(&s.a.playback);
    link_sound(&s, &s.c, CH_PLAYBACK, PLAYBACK_CAP_VOLUME | PLAYBACK_CAP_OPUS);
    expect_mode(&s.c, MODE_OPUS);
    expect_start(&s.c, RATE);
    EXPECT_BODY(&s.c, S_PLAYBACK_VOLUME, "\2\x34\x12\xff\xff");
    EXPECT_BODY(&s.c, S_PLAYBACK_MUTE, "\1");
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    studio_close(&s);
}

static void record_begins(void)
{
    struct studio s;
    studio_open(&s);
    link_sound(&s, &s.c, CH_RECORD, RECORD_CAP_VOLUME);
    spice_server_record_start(&s.a.record);
    EXPECT_BODY(&s.c, S_RECORD_START, "\2\0\0\0\1\0\x80\xbb\0\0");
    uint16_t volume[1] = { 7 };
    spice_server_record_set_volume(&s.a.record, 1, volume);
    EXPECT_BODY(&s.c, S_RECORD_VOLUME, "\1\7\0");
    spice_server_record_set_mute(&s.a.record, 1);
    EXPECT_BODY(&s.c, S_RECORD_MUTE, "\1");
    spice_server_record_stop(&s.a.record);
    EXPECT_BODY(&s.c, S_RECORD_STOP, "");
    client_close(&s.c);
    spice_server_record_start(&s.a.record);
    link_sound(&s, &s.c, CH_RECORD, RECORD_CAP_VOLUME);
    EXPECT_BODY(&s.c, S_RECORD_START, "\2\0\0\0\1\0\x80\xbb\0\0");
    EXPECT_BODY(&s.c, S_RECORD_VOLUME, "\1\7\0");
    EXPECT_BODY(&s.c, S_RECORD_MUTE, "\1");
    client_close(&s.c);
    spice_server_record_stop(&s.a.record);
    studio_close(&s);
}

static void levels_reach_those_who_know_them(void)
{
    struct studio s;
    studio_open(&s);
    uint16_t volume[3] = { 1, 2, 3 };
    listen_with(&s, PLAYBACK_CAP_VOLUME);
    spice_server_playback_set_volume(&s.a.playback, 3, volume);
    EXPECT_BODY(&s.c, S_PLAYBACK_VOLUME, "\3\1\0\2\0\3\0");
    spice_server_playback_set_volume(&s.a.playback, 0, NULL);
    spice_server_playback_set_mute(&s.a.playback, 1);
    EXPECT_BODY(&s.c, S_PLAYBACK_MUTE, "\1");
    spice_server_playback_set_mute(&s.a.playback, 0);
    EXPECT_BODY(&s.c, S_PLAYBACK_MUTE, "\0");
    client_close(&s.c);
    listen_with(&s, 0);
    spice_server_playback_set_volume(&s.a.playback, 1, volume);
    spice_server_playback_set_mute(&s.a.playback, 1);
    EXPECT(client_silent(&s.c, 30));
    client_close(&s.c);
    studio_close(&s);
}

/* Who comes is told no volume that was never set, but that it is silent. */
static void silent_without_a_volume(void)
{
    struct studio s;
    studio_open(&s);
    spice_server_playback_set_mute(&s.a.playback, 1);
    listen_with(&s, PLAYBACK_CAP_VOLUME);
    if (differs(DIFF_MUTED_NEWCOMER, 1, 0))
        EXPECT_BODY(&s.c, S_PLAYBACK_MUTE, "\1");
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    studio_close(&s);
}

static void a_new_client_takes_over(void)
{
    struct studio s;
    struct client again;
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    again = s.c;
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    EXPECT(client_closed(&again));
    client_close(&again);
    expect_mode(&s.c, MODE_RAW);
    expect_start(&s.c, RATE);
    play_value(&s, 5);
    expect_value(&s.c, 5);
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    studio_close(&s);
}

/** The library's end of a client's TCP connection: it is in this process. */
static int other_end(const struct client *c)
{
    struct sockaddr_in ours, theirs;
    socklen_t size = sizeof ours;
    EXPECT_EQ(getsockname(c->fd, (struct sockaddr *)&ours, &size), 0);
    for (int fd = 3; fd < 1024; fd++) {
        size = sizeof theirs;
        if (getpeername(fd, (struct sockaddr *)&theirs, &size) == 0 &&
            theirs.sin_family == AF_INET && theirs.sin_port == ours.sin_port)
            return fd;
    }
    FAIL("no socket has port %d for a peer", ntohs(ours.sin_port));
}

static void sound_packets_come_first(void)
{
    struct studio s;
    rig_open_tcp(&s.r);
    audio_prepare(&s.a);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &s.a.playback.base), 0);
    s.session = rig_main(&s.r, &s.main);
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    expect_mode(&s.c, MODE_RAW);
    int value, fd = other_end(&s.c);
    socklen_t size = sizeof value;
    EXPECT_EQ(getsockopt(fd, IPPROTO_IP, IP_TOS, &value, &size), 0);
    EXPECT_EQ(value, IPTOS_LOWDELAY);
    EXPECT_EQ(getsockopt(fd, SOL_SOCKET, SO_PRIORITY, &value, &size), 0);
    EXPECT_EQ(value, 6);
    EXPECT_EQ(getsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &value, &size), 0);
    EXPECT_EQ(value, 1);
    client_close(&s.c);
    client_close(&s.main);
    EXPECT_EQ(spice_server_remove_interface(&s.a.playback.base), 0);
    rig_close(&s.r);
}

/* ---- playing ---- */

static void frames_as_they_are(void)
{
    struct studio s;
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    for (uint32_t i = 0; i < 50; i++) {
        play_value(&s, i << 16);
        expect_value(&s.c, i << 16);
    }
    spice_server_playback_stop(&s.a.playback);
    EXPECT_BODY(&s.c, S_PLAYBACK_STOP, "");
    client_close(&s.c);
    studio_close(&s);
}

static double phase;
static void tone(uint32_t *samples, int n, double frequency)
{
    for (int i = 0; i < n; i++) {
        uint16_t value = (uint16_t)(int16_t)(sin(phase) * 8000);
        samples[i] = value | (uint32_t)value << 16;
        phase += 2 * M_PI * frequency / RATE;
    }
}

/** How often a tone comes up through zero. */
static int periods(const int16_t *pcm, int n, int *last)
{
    int count = 0;
    for (int i = 0; i < n; i++) {
        count += *last < 0 && pcm[2 * i] >= 0;
        *last = pcm[2 * i];
    }
    return count;
}

static void frames_by_opus(void)
{
    struct studio s;
    int error, last = 0, count = 0;
    struct message m;
    int16_t pcm[2 * FRAME];
    OpusDecoder *decoder = opus_decoder_create(RATE, 2, &error);
    studio_open(&s);
    listen_with(&s, PLAYBACK_CAP_OPUS);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    size_t bytes = 0;
    for (int i = 0; i < 200; i++) {
        uint32_t *samples = frame_of(&s);
        tone(samples, FRAME, 1000);
        spice_server_playback_put_samples(&s.a.playback, samples);
        client_expect(&s.c, S_PLAYBACK_DATA, &m);
        EXPECT(m.size > 5 && m.size <= 4 + 480);
        expect_now(get32(m.body));
        EXPECT_EQ(opus_decode(decoder, m.body + 4, (int)m.size - 4, pcm, FRAME, 0), FRAME);
        bytes += m.size;
        message_free(&m);
        if (i >= 100)
            count += periods(pcm, FRAME, &last);
    }
    EXPECT_MSG(count >= 999 && count <= 1001, "%d periods in a second", count);
    EXPECT_MSG(bytes < 200 * 480, "%zu bytes", bytes);
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    opus_decoder_destroy(decoder);
    studio_close(&s);
}

static void compression_is_switched(void)
{
    struct studio s;
    struct message m;
    studio_open(&s);
    listen_with(&s, PLAYBACK_CAP_OPUS);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    EXPECT_EQ(spice_server_set_playback_compression(s.r.server, 0), 0);
    play_value(&s, 1);
    expect_mode(&s.c, MODE_RAW);
    expect_value(&s.c, 1);
    EXPECT_EQ(spice_server_set_playback_compression(s.r.server, 1), 0);
    play_value(&s, 1);
    expect_mode(&s.c, MODE_OPUS);
    client_expect(&s.c, S_PLAYBACK_DATA, &m);
    EXPECT(m.size <= 4 + 480);
    message_free(&m);
    EXPECT_EQ(spice_server_set_playback_compression(s.r.server, 0), 0);
    play_value(&s, 2);
    expect_mode(&s.c, MODE_RAW);
    expect_value(&s.c, 2);
    client_close(&s.c);
    link_sound(&s, &s.c, CH_PLAYBACK, PLAYBACK_CAP_OPUS);
    expect_mode(&s.c, MODE_RAW);
    expect_start(&s.c, RATE);
    EXPECT_EQ(spice_server_set_playback_compression(s.r.server, 0), 0);
    client_close(&s.c);
    /* one that does not know Opus */
    EXPECT_EQ(spice_server_set_playback_compression(s.r.server, 1), 0);
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    expect_mode(&s.c, MODE_RAW);
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    studio_close(&s);
}

static void other_rates(void)
{
    struct studio s;
    studio_open(&s);
    spice_server_set_playback_rate(&s.a.playback, 44100);
    link_sound(&s, &s.c, CH_PLAYBACK, PLAYBACK_CAP_OPUS);
    expect_mode(&s.c, MODE_RAW);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, 44100);
    play_value(&s, 3);
    expect_value(&s.c, 3);
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    studio_close(&s);
}

static void three_frames_each(void)
{
    struct studio s;
    uint32_t *frames[3];
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    for (int i = 0; i < 3; i++)
        frames[i] = frame_of(&s);
    expect_no_frame(&s);
    EXPECT(frames[0] != frames[1] && frames[1] != frames[2] && frames[0] != frames[2]);
    for (int i = 0; i < 3; i++) {
        memset(frames[i], 0, 4 * FRAME);
        spice_server_playback_put_samples(&s.a.playback, frames[i]);
    }
    frames[0] = frame_of(&s);
    spice_server_playback_put_samples(&s.a.playback, frames[0]);
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    studio_close(&s);
}

static void frames_outlive_their_client(void)
{
    struct studio s;
    uint32_t *kept[2];
    studio_open(&s);
    spice_server_playback_start(&s.a.playback);
    for (int i = 0; i < 2; i++) {
        link_sound(&s, &s.c, CH_PLAYBACK, 0);
        expect_mode(&s.c, MODE_RAW);
        expect_start(&s.c, RATE);
        kept[i] = frame_of(&s);
        client_close(&s.c);
        EXPECT(rig_wait_events(host_event_count() + 1));
    }
    expect_no_frame(&s);
    for (int i = 0; i < 2; i++)
        for (int k = 0; k < FRAME; k++)
            kept[i][k] = 0x5a5a0000 + (uint32_t)k;
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    expect_mode(&s.c, MODE_RAW);
    expect_start(&s.c, RATE);
    spice_server_playback_put_samples(&s.a.playback, kept[0]);
    play_value(&s, 9); /* the only one that is heard */
    spice_server_playback_put_samples(&s.a.playback, kept[1]);
    expect_value(&s.c, 9);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    spice_server_playback_stop(&s.a.playback);
    studio_close(&s);
}

/* Whoever has gone, what was lent stays good until it comes back. */
static void frames_outlive_device_and_server(void)
{
    struct studio s;
    uint32_t *kept[2];
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    kept[0] = frame_of(&s);
    kept[1] = frame_of(&s);
    EXPECT_EQ(spice_server_remove_interface(&s.a.playback.base), 0);
    EXPECT(client_closed(&s.c));
    client_close(&s.c);
    memset(kept[0], 1, 4 * FRAME);
    spice_server_playback_put_samples(&s.a.playback, kept[0]);
    spice_server_playback_put_samples(&s.a.playback, kept[0]); /* twice: refused */
    EXPECT_EQ(spice_server_remove_interface(&s.a.record.base), 0);
    client_close(&s.main);
    rig_close(&s.r);
    memset(kept[1], 1, 4 * FRAME);
    spice_server_playback_put_samples(&s.a.playback, kept[1]);
    spice_server_playback_put_samples(NULL, kept[1]);
}

static void the_newest_frame_wins(void)
{
    struct studio s;
    struct message m;
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    enum { MANY = 3000 };
    long before = tap_usage().rss_kib;
    for (uint32_t i = 0; i < MANY; i++) {
        play_value(&s, i << 16);
        host_turn(0);
    }
    EXPECT_MSG(tap_usage().rss_kib - before < 2048, "grew by %ld KiB", tap_usage().rss_kib - before);
    /* in order, without those that were thrown away; the last one is among them */
    uint32_t last = 0;
    int heard = 0;
    while (last != MANY - 1) {
        client_expect(&s.c, S_PLAYBACK_DATA, &m);
        uint32_t number = get32(m.body + 4) >> 16;
        EXPECT(heard == 0 || number > last);
        last = number;
        heard++;
        message_free(&m);
    }
    EXPECT_MSG(heard < MANY, "all %d are heard", heard);
    spice_server_playback_stop(&s.a.playback);
    EXPECT_BODY(&s.c, S_PLAYBACK_STOP, "");
    client_close(&s.c);
    studio_close(&s);
}

static void wrong_order_is_harmless(void)
{
    struct studio s;
    uint32_t samples[16];
    uint32_t foreign[FRAME];
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_stop(&s.a.playback);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    spice_server_playback_start(&s.a.playback);
    play_value(&s, 1);
    expect_value(&s.c, 1);
    uint32_t *frame = frame_of(&s);
    spice_server_playback_put_samples(&s.a.playback, foreign);
    spice_server_playback_put_samples(&s.a.playback, NULL);
    spice_server_playback_put_samples(&s.a.playback, frame + 1);
    spice_server_playback_stop(&s.a.playback);
    EXPECT_BODY(&s.c, S_PLAYBACK_STOP, "");
    spice_server_playback_put_samples(&s.a.playback, frame);
    spice_server_playback_stop(&s.a.playback);
    expect_no_frame(&s);
    spice_server_playback_get_buffer(&s.a.playback, NULL, NULL);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);

    link_sound(&s, &s.c, CH_RECORD, 0);
    EXPECT_EQ(spice_server_record_get_samples(&s.a.record, samples, 16), 0);
    spice_server_record_stop(&s.a.record);
    spice_server_record_start(&s.a.record);
    spice_server_record_start(&s.a.record);
    EXPECT_BODY(&s.c, S_RECORD_START, "\2\0\0\0\1\0\x80\xbb\0\0");
    EXPECT_EQ(spice_server_record_get_samples(&s.a.record, NULL, 16), 0);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    studio_close(&s);
}

static void second_device_of_a_kind(void)
{
    struct studio s;
    struct audio other;
    studio_open(&s);
    audio_prepare(&other);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &other.playback.base), -1);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &other.record.base), -1);
    EXPECT_EQ(spice_server_remove_interface(&other.playback.base), -1);
    listen_with(&s, 0);
    spice_server_playback_start(&other.playback); /* nobody's */
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    EXPECT_EQ(spice_server_remove_interface(&s.a.playback.base), 0);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &other.playback.base), 0);
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    expect_mode(&s.c, MODE_RAW);
    client_close(&s.c);
    EXPECT_EQ(spice_server_remove_interface(&other.playback.base), 0);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &s.a.playback.base), 0);
    studio_close(&s);
}

static void removal_ends_the_channels(void)
{
    struct studio s;
    struct client record;
    studio_open(&s);
    listen_with(&s, 0);
    link_sound(&s, &record, CH_RECORD, 0);
    EXPECT_EQ(spice_server_remove_interface(&s.a.playback.base), 0);
    EXPECT_EQ(spice_server_remove_interface(&s.a.record.base), 0);
    EXPECT(client_closed(&s.c));
    EXPECT(client_closed(&record));
    client_close(&s.c);
    client_close(&record);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &s.a.playback.base), 0);
    EXPECT_EQ(spice_server_add_interface(s.r.server, &s.a.record.base), 0);
    studio_close(&s);
}

/* ---- the multimedia clock ---- */

static void expect_clock(struct studio *s)
{
    struct message m;
    client_expect(&s->main, S_MAIN_MULTIMEDIA_TIME, &m);
    EXPECT_EQ(m.size, 4);
    expect_now(get32(m.body));
    message_free(&m);
}

static void the_clock_comes_back_with_silence(void)
{
    struct studio s;
    studio_open(&s);
    listen_with(&s, 0);
    spice_server_playback_start(&s.a.playback);
    expect_start(&s.c, RATE);
    EXPECT(client_silent(&s.main, 20));
    spice_server_playback_stop(&s.a.playback);
    expect_clock(&s);
    EXPECT_BODY(&s.c, S_PLAYBACK_STOP, "");
    client_close(&s.c);
    EXPECT(client_silent(&s.main, 20));
    /* a listener who leaves */
    spice_server_playback_start(&s.a.playback);
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    expect_mode(&s.c, MODE_RAW);
    expect_start(&s.c, RATE);
    client_close(&s.c);
    expect_clock(&s);
    /* without one it has never been gone */
    spice_server_playback_stop(&s.a.playback);
    spice_server_playback_start(&s.a.playback);
    spice_server_playback_stop(&s.a.playback);
    EXPECT(client_silent(&s.main, 20));
    studio_close(&s);
}

/* ---- recording ---- */

/** A client of the record channel, asked to record. */
static void speak_with(struct studio *s)
{
    link_sound(s, &s->c, CH_RECORD, RECORD_CAP_OPUS);
    spice_server_record_start(&s->a.record);
    EXPECT_BODY(&s->c, S_RECORD_START, "\2\0\0\0\1\0\x80\xbb\0\0");
}

static void say_mode(struct studio *s, uint16_t mode)
{
    uint8_t body[6];
    put16(put32(body, 0), mode);
    EXPECT(client_send(&s->c, C_RECORD_MODE, body, sizeof body));
}

static void say(struct studio *s, uint32_t first, uint32_t n)
{
    uint8_t *body = malloc(4 + 4 * n), *p = put32(body, 77);
    for (uint32_t i = 0; i < n; i++)
        p = put32(p, first + i);
    EXPECT(client_send(&s->c, C_RECORD_DATA, body, 4 + 4 * n));
    free(body);
}

struct heard {
    struct studio *s;
    uint32_t *samples;
    uint32_t n, want;
};

static bool heard_enough(void *opaque)
{
    struct heard *h = opaque;
    h->n += spice_server_record_get_samples(&h->s->a.record, h->samples + h->n, h->want - h->n);
    return h->n == h->want;
}

/** Fetches `n` samples, which must come. */
static void hear(struct studio *s, uint32_t *samples, uint32_t n)
{
    struct heard h = { s, samples, 0, n };
    EXPECT_MSG(host_run_until(heard_enough, &h, HOST_DEADLINE_MS), "%u of %u samples", h.n, n);
}

static uint32_t hear_now(struct studio *s)
{
    static uint32_t samples[2 * RING];
    return spice_server_record_get_samples(&s->a.record, samples, 2 * RING);
}

static void samples_as_they_are(void)
{
    struct studio s;
    static uint32_t samples[RING];
    uint8_t mark[4] = { 0 };
    studio_open(&s);
    speak_with(&s);
    say_mode(&s, MODE_RAW);
    EXPECT(client_send(&s.c, C_RECORD_START_MARK, mark, sizeof mark));
    say(&s, 100, AHEAD - 1);
    host_run_for(30);
    EXPECT_EQ(hear_now(&s), 0); /* too few to begin with */
    say(&s, 100 + AHEAD - 1, 1);
    hear(&s, samples, AHEAD);
    for (uint32_t i = 0; i < AHEAD; i++)
        EXPECT_EQ(samples[i], 100 + i);
    EXPECT_EQ(hear_now(&s), 0);
    say(&s, 7, 3); /* it is only the beginning that waits */
    hear(&s, samples, 3);
    EXPECT(samples[0] == 7 && samples[2] == 9);
    spice_server_record_stop(&s.a.record);
    EXPECT_BODY(&s.c, S_RECORD_STOP, "");
    spice_server_record_start(&s.a.record);
    EXPECT_BODY(&s.c, S_RECORD_START, "\2\0\0\0\1\0\x80\xbb\0\0");
    say(&s, 0, AHEAD - 1);
    host_run_for(30);
    EXPECT_EQ(hear_now(&s), 0); /* and a new start is a new beginning */
    client_close(&s.c);
    spice_server_record_stop(&s.a.record);
    studio_close(&s);
}

static void the_oldest_samples_are_lost(void)
{
    struct studio s;
    static uint32_t samples[RING];
    studio_open(&s);
    speak_with(&s);
    for (uint32_t i = 0; i < 20; i++)
        say(&s, i * 512, 512);
    host_run_for(50);
    hear(&s, samples, RING);
    for (uint32_t i = 0; i < RING; i++)
        EXPECT_EQ(samples[i], 20 * 512 - RING + i);
    EXPECT_EQ(hear_now(&s), 0);
    client_close(&s.c);
    spice_server_record_stop(&s.a.record);
    studio_close(&s);
}

/* A message that crosses the ring's end. */
static void the_ring_goes_round(void)
{
    struct studio s;
    static uint32_t samples[RING];
    studio_open(&s);
    speak_with(&s);
    uint32_t sent = 0, heard = 0;
    for (int i = 0; i < 9; i++) {
        say(&s, sent, 5000);
        sent += 5000;
        hear(&s, samples, 5000);
        for (uint32_t k = 0; k < 5000; k++)
            EXPECT_EQ(samples[k], heard + k);
        heard += 5000;
    }
    client_close(&s.c);
    spice_server_record_stop(&s.a.record);
    studio_close(&s);
}

static void samples_by_opus(void)
{
    struct studio s;
    int error, last = 0;
    static uint32_t samples[AHEAD];
    uint32_t frame[FRAME];
    uint8_t body[4 + 480] = { 0 };
    OpusEncoder *encoder = opus_encoder_create(RATE, 2, OPUS_APPLICATION_AUDIO, &error);
    studio_open(&s);
    speak_with(&s);
    say_mode(&s, MODE_OPUS);
    for (int i = 0; i < 15; i++) {
        tone(frame, FRAME, 3000);
        int n = opus_encode(encoder, (opus_int16 *)frame, FRAME, body + 4, 480);
        EXPECT(n > 0);
        EXPECT(client_send(&s.c, C_RECORD_DATA, body, 4 + (uint32_t)n));
    }
    hear(&s, samples, AHEAD);
    /* the codec needs a moment to swing in */
    int count = periods((int16_t *)(samples + AHEAD - 2400), 2400, &last);
    EXPECT_MSG(count >= 149 && count <= 151, "%d periods in 50 ms", count);
    client_close(&s.c);
    spice_server_record_stop(&s.a.record);
    opus_encoder_destroy(encoder);
    studio_close(&s);
}

/** What this client sends ends its channel, and nothing else. */
static void ends_the_channel(struct studio *s, uint16_t type, const void *body, uint32_t size)
{
    EXPECT(client_send(&s->c, type, body, size));
    EXPECT_MSG(client_closed(&s->c), "type %d of %u bytes is taken", type, size);
    client_close(&s->c);
    EXPECT(client_silent(&s->main, 5));
}

static void bad_messages_end_the_channel(void)
{
    struct studio s;
    uint8_t body[2000] = { 0 };
    memset(body + 4, 0xff, sizeof body - 4);
    studio_open(&s);
    spice_server_record_start(&s.a.record);
    static const uint16_t modes[] = { 0, 2, 4, 0xffff };
    for (size_t i = 0; i < TAP_COUNT(modes); i++) {
        link_sound(&s, &s.c, CH_RECORD, RECORD_CAP_OPUS);
        uint8_t mode[6] = { 0 };
        put16(mode + 4, modes[i]);
        ends_the_channel(&s, C_RECORD_MODE, mode, sizeof mode);
    }
    link_sound(&s, &s.c, CH_RECORD, 0);
    ends_the_channel(&s, C_RECORD_MODE, body, 5);
    link_sound(&s, &s.c, CH_RECORD, 0);
    ends_the_channel(&s, C_RECORD_DATA, body, 3);
    link_sound(&s, &s.c, CH_RECORD, 0);
    ends_the_channel(&s, C_RECORD_START_MARK, body, 3);
    link_sound(&s, &s.c, CH_RECORD, 0);
    ends_the_channel(&s, 104, body, 10);
    /* no packets */
    for (uint32_t size = 5; size < sizeof body; size += 333) {
        link_sound(&s, &s.c, CH_RECORD, RECORD_CAP_OPUS);
        say_mode(&s, MODE_OPUS);
        ends_the_channel(&s, C_RECORD_DATA, body, size);
    }
    /* Opus where the rate forbids it */
    spice_server_set_record_rate(&s.a.record, 44100);
    link_sound(&s, &s.c, CH_RECORD, RECORD_CAP_OPUS);
    uint8_t mode[6] = { 0, 0, 0, 0, MODE_OPUS, 0 };
    ends_the_channel(&s, C_RECORD_MODE, mode, sizeof mode);
    /* the playback channel takes nothing at all */
    for (uint16_t type = 101; type < 104; type++) {
        link_sound(&s, &s.c, CH_PLAYBACK, 0);
        expect_mode(&s.c, MODE_RAW);
        ends_the_channel(&s, type, body, 10);
    }
    spice_server_record_stop(&s.a.record);
    studio_close(&s);
}

static void odd_data_are_survived(void)
{
    struct studio s;
    static uint32_t samples[RING];
    uint8_t body[64] = { 0 };
    studio_open(&s);
    speak_with(&s);
    for (uint32_t size = 5; size < 12; size++) /* a part of a sample is none */
        EXPECT(client_send(&s.c, C_RECORD_DATA, body, size));
    EXPECT(client_send(&s.c, C_RECORD_MODE, body, 0) || true);
    client_close(&s.c);
    link_sound(&s, &s.c, CH_RECORD, 0);
    EXPECT_BODY(&s.c, S_RECORD_START, "\2\0\0\0\1\0\x80\xbb\0\0");
    say(&s, 0, RING);
    hear(&s, samples, RING);
    EXPECT(samples[0] == 0 && samples[RING - 1] == RING - 1);
    client_close(&s.c);
    spice_server_record_stop(&s.a.record);
    studio_close(&s);
}

static void flush_mark_ends_the_channel(void)
{
    struct studio s;
    studio_open(&s);
    link_sound(&s, &s.c, CH_RECORD, 0);
    ends_the_channel(&s, C_FLUSH_MARK, NULL, 0);
    link_sound(&s, &s.c, CH_PLAYBACK, 0);
    expect_mode(&s.c, MODE_RAW);
    ends_the_channel(&s, C_FLUSH_MARK, NULL, 0);
    studio_close(&s);
}

static void longer_than_the_ring(void)
{
    struct studio s;
    studio_open(&s);
    link_sound(&s, &s.c, CH_RECORD, 0);
    EXPECT(client_send_header(&s.c, C_RECORD_DATA, 1 << 30));
    EXPECT(client_closed(&s.c));
    client_close(&s.c);
    studio_close(&s);
}

int main(int argc, char **argv)
{
    static const struct tap_case cases[] = {
        TAP_CASE(offered_capabilities),
        TAP_CASE(playback_begins),
        TAP_CASE(record_begins),
        TAP_CASE(levels_reach_those_who_know_them),
        TAP_CASE(silent_without_a_volume),
        TAP_CASE(a_new_client_takes_over),
        TAP_CASE(sound_packets_come_first),
        TAP_CASE(frames_as_they_are),
        TAP_CASE(frames_by_opus),
        TAP_CASE(compression_is_switched),
        TAP_CASE(other_rates),
        TAP_CASE(three_frames_each),
        TAP_CASE(frames_outlive_their_client),
        TAP_CASE(frames_outlive_device_and_server),
        TAP_CASE(the_newest_frame_wins),
        TAP_CASE(wrong_order_is_harmless),
        TAP_CASE(second_device_of_a_kind),
        TAP_CASE(removal_ends_the_channels),
        TAP_CASE(the_clock_comes_back_with_silence),
        TAP_CASE(samples_as_they_are),
        TAP_CASE(the_oldest_samples_are_lost),
        TAP_CASE(the_ring_goes_round),
        TAP_CASE(samples_by_opus),
        TAP_CASE(bad_messages_end_the_channel),
        TAP_CASE(odd_data_are_survived),
        TAP_CASE(flush_mark_ends_the_channel),
        TAP_CASE(longer_than_the_ring),
    };
    return tap_main(argc, argv, "audio", cases, TAP_COUNT(cases));
}
