/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Sound: playback goes from the guest to the client, record the other way.
 * Samples are interleaved stereo frames of signed 16-bit words in host order;
 * one frame (left in the low half, right in the high half) is one uint32_t.
 */
#ifndef SPICE_AUDIO_H_
#define SPICE_AUDIO_H_

#include "spice-core.h"

SPICE_BEGIN_DECLS

enum {
    SPICE_INTERFACE_AUDIO_FMT_S16 = 1,
};

#define SPICE_INTERFACE_PLAYBACK "playback"
#define SPICE_INTERFACE_PLAYBACK_MAJOR 1
#define SPICE_INTERFACE_PLAYBACK_MINOR 3
typedef struct SpicePlaybackInterface SpicePlaybackInterface;
typedef struct SpicePlaybackInstance SpicePlaybackInstance;
typedef struct SpicePlaybackState SpicePlaybackState;

/** Rate (Hz), channels and format of the oldest hosts. New ones ask
 * spice_server_get_best_playback_rate(). */
#define SPICE_INTERFACE_PLAYBACK_FREQ  44100
#define SPICE_INTERFACE_PLAYBACK_CHAN  2
#define SPICE_INTERFACE_PLAYBACK_FMT   SPICE_INTERFACE_AUDIO_FMT_S16

/** Nothing is called back: the host drives playback. */
struct SpicePlaybackInterface {
    SpiceBaseInterface base;
};

struct SpicePlaybackInstance {
    SpiceBaseInstance base;
    /** The library's. */
    SpicePlaybackState *st;
};

/** The guest begins to play. */
void spice_server_playback_start(SpicePlaybackInstance *sin);
/** The guest stopped playing. A buffer not put yet is taken back. */
void spice_server_playback_stop(SpicePlaybackInstance *sin);
/** Lends a buffer of *num_samples frames to fill; *samples NULL and
 * *num_samples 0 when nobody listens or no buffer is free. */
void spice_server_playback_get_buffer(SpicePlaybackInstance *sin,
                                      uint32_t **samples, uint32_t *num_samples);
/** Gives a filled buffer back; all its frames are sent. */
void spice_server_playback_put_samples(SpicePlaybackInstance *sin, uint32_t *samples);
/** The guest set the volume: one value for each of `nchannels` channels,
 * 0 silent to 65535 full. */
void spice_server_playback_set_volume(SpicePlaybackInstance *sin,
                                      uint8_t nchannels, uint16_t *volume);
/** The guest muted (1) or unmuted (0). */
void spice_server_playback_set_mute(SpicePlaybackInstance *sin, uint8_t mute);

#define SPICE_INTERFACE_RECORD "record"
#define SPICE_INTERFACE_RECORD_MAJOR 2
#define SPICE_INTERFACE_RECORD_MINOR 3
typedef struct SpiceRecordInterface SpiceRecordInterface;
typedef struct SpiceRecordInstance SpiceRecordInstance;
typedef struct SpiceRecordState SpiceRecordState;

/** As for playback. */
#define SPICE_INTERFACE_RECORD_FREQ  44100
#define SPICE_INTERFACE_RECORD_CHAN  2
#define SPICE_INTERFACE_RECORD_FMT   SPICE_INTERFACE_AUDIO_FMT_S16

/** Nothing is called back: the host polls. */
struct SpiceRecordInterface {
    SpiceBaseInterface base;
};

struct SpiceRecordInstance {
    SpiceBaseInstance base;
    /** The library's. */
    SpiceRecordState *st;
};

/** The guest begins to record. */
void spice_server_record_start(SpiceRecordInstance *sin);
/** The guest stopped recording. */
void spice_server_record_stop(SpiceRecordInstance *sin);
/** Copies at most `bufsize` frames that have arrived from the client to
 * `samples`. Returns how many; 0 when none wait or nobody records. */
uint32_t spice_server_record_get_samples(SpiceRecordInstance *sin,
                                         uint32_t *samples, uint32_t bufsize);
/** As spice_server_playback_set_volume(). */
void spice_server_record_set_volume(SpiceRecordInstance *sin,
                                    uint8_t nchannels, uint16_t *volume);
/** As spice_server_playback_set_mute(). */
void spice_server_record_set_mute(SpiceRecordInstance *sin, uint8_t mute);

/** The sample rate (Hz) a host should choose: 48000. `sin` may be NULL or not
 * added yet. */
uint32_t spice_server_get_best_playback_rate(SpicePlaybackInstance *sin);
/** The rate (Hz) of all samples from here on; before the instance starts. */
void spice_server_set_playback_rate(SpicePlaybackInstance *sin, uint32_t frequency);
/** As spice_server_get_best_playback_rate(). */
uint32_t spice_server_get_best_record_rate(SpiceRecordInstance *sin);
/** As spice_server_set_playback_rate(). */
void spice_server_set_record_rate(SpiceRecordInstance *sin, uint32_t frequency);

SPICE_END_DECLS

#endif /* SPICE_AUDIO_H_ */
