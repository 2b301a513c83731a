/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What a frame of sound costs the host's thread, in QEMU with the big lock held: its time
 * in spice_server_playback_put_samples for a client on a unix socket.
 *
 *     LD_LIBRARY_PATH=DIRECTORY sound-cost [opus|raw]
 *
 * on the library in that directory; REFERENCE=debian for Debian's.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "rig.h"

#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

enum { FRAMES = 3000, RATE = 48000, PAUSE_NS = 1000000 };

static double thread_us(void)
{
    struct timespec t;
    clock_gettime(CLOCK_THREAD_CPUTIME_ID, &t);
    return (double)t.tv_sec * 1e6 + (double)t.tv_nsec / 1e3;
}

/** Two tones and some noise. */
static void fill(uint32_t *samples, uint32_t n)
{
    static double phase;
    for (uint32_t i = 0; i < n; i++) {
        double tones = sin(phase) * 6000 + sin(phase * 2.7) * 3000;
        uint16_t value = (uint16_t)(int16_t)(tones + rand() % 2000 - 1000);
        samples[i] = value | (uint32_t)value << 16;
        phase += 2 * M_PI * 440 / RATE;
    }
}

static void play_to(uint32_t caps)
{
    struct rig r;
    struct audio a;
    struct client main_channel, c;
    uint8_t bytes[4096];
    double spent = 0, worst = 0;
    int frames = 0;

    rig_open(&r);
    audio_prepare(&a);
    EXPECT_EQ(spice_server_add_interface(r.server, &a.playback.base), 0);
    spice_server_set_playback_rate(&a.playback, RATE);
    uint32_t session = rig_main(&r, &main_channel);
    rig_channel_caps(&r, &c, CH_PLAYBACK, 0, session,
                     CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER, caps);
    spice_server_playback_start(&a.playback);
    for (int i = 0; i < FRAMES; i++) {
        uint32_t *samples, n;
        spice_server_playback_get_buffer(&a.playback, &samples, &n);
        if (samples) {
            fill(samples, n);
            double begin = thread_us();
            spice_server_playback_put_samples(&a.playback, samples);
            double took = thread_us() - begin;
            spent += took;
            worst = took > worst ? took : worst;
            frames++;
        }
        host_turn(0);
        while (read(c.fd, bytes, sizeof bytes) > 0)
            ;
        nanosleep(&(struct timespec){ .tv_nsec = PAUSE_NS }, NULL);
    }
    client_close(&c);
    client_close(&main_channel);
    EXPECT_EQ(spice_server_remove_interface(&a.playback.base), 0);
    rig_close(&r);
    printf("%s: %d frames, %.1f us each, the longest %.0f us\n", tap_current(), frames,
           spent / frames, worst);
    fflush(stdout);
}

static void opus(void)
{
    play_to(PLAYBACK_CAP_OPUS);
}

static void raw(void)
{
    play_to(0);
}

int main(int argc, char **argv)
{
    static const struct tap_case cases[] = { TAP_CASE(opus), TAP_CASE(raw) };
    return tap_main(argc, argv, "sound-cost", cases, TAP_COUNT(cases));
}
