/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A stream device for tests: the program in its guest, which says what a test wants, and
 * the clients of its display and cursor channel.
 */
#ifndef STREAM_H
#define STREAM_H

#include "chardev.h"
#include "rig.h"

#define STREAM_PORT "org.spice-space.stream.0"

enum {
    /* on the device */
    T_CAPABILITIES = 1,
    T_FORMAT = 2,
    T_DATA = 3,
    T_START_STOP = 4,
    T_NOTIFY_ERROR = 5,
    T_CURSOR_SET = 6,
    T_CURSOR_MOVE = 7,
    T_DISPLAY_INFO = 8,
    /* on the display channel */
    D_MARK = 102,
    D_INVAL_ALL_PALETTES = 108,
    D_STREAM_CREATE = 122,
    D_STREAM_DATA = 123,
    D_STREAM_DESTROY = 125,
    D_DRAW_FILL = 302,
    D_SURFACE_CREATE = 314,
    D_SURFACE_DESTROY = 315,
    D_MONITORS_CONFIG = 317,
    D_ACTIVATE_REPORT = 319,
    /* on the cursor channel */
    C_INIT = 101,
    C_SET = 103,
    C_MOVE = 104,
    /* events of a port */
    OPENED = 0,
    CLOSED = 1,
    BREAK = 2,
    /* capabilities of a display client, as bits */
    CAP_MONITORS = 1 << 1,
    CAP_REPORT = 1 << 4,
    CAP_MULTI = 1 << 8,
    CAP_VP8 = 1 << 10,
    CAP_H264 = 1 << 11,
    CAP_VP9 = 1 << 13,
    CAP_H265 = 1 << 14,
    CAPS_ALL = CAP_MONITORS | CAP_REPORT | CAP_MULTI | CAP_VP8 | CAP_H264 | CAP_VP9 | CAP_H265,
    CAPS_COMMON = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
    MIB = 1 << 20,
};

/** A server with a stream device. */
struct bench {
    struct rig r;
    struct chardev d;
    uint64_t heard; /**< bytes of what the guest was told that were looked at */
};

/** One client with its main channel and what it has of a device. */
struct viewer {
    struct client main_channel, display, cursor;
    uint32_t session;
};

/* ---- life ---- */

/** Several clients are allowed; the port is closed. */
void open_bench(struct bench *b);
/** An open port, one client with a display channel, and START_STOP was heard. */
void open_watched(struct bench *b, struct viewer *v, uint32_t caps);
/** A port event; after OPENED the guest hears CAPABILITIES. */
void event(struct bench *b, uint8_t event);
void close_bench(struct bench *b);
/** The client leaves before. */
void close_watched(struct bench *b, struct viewer *v);

/* ---- what the guest says ---- */

void queue_message(struct chardev *d, uint16_t type, const void *body, uint32_t n);
/** Queues a message and wakes the library. */
void say(struct chardev *d, uint16_t type, const void *body, uint32_t n);
void say_format(struct chardev *d, uint32_t width, uint32_t height, uint8_t codec);
void say_frame(struct chardev *d, const char *text);
/** A cursor whose picture has `n` bytes, 0, 1, 2, ...; hot spot 1, 2. */
void say_cursor(struct chardev *d, uint16_t width, uint16_t height, uint8_t type, uint32_t n);
void say_place(struct chardev *d, int32_t x, int32_t y);
/** A frame of `n` bytes of the pattern. */
void generate_frame(struct chardev *d, uint32_t n);
/** `n` frames of `size` bytes of the pattern at once. */
void offer_frames(struct chardev *d, int n, uint32_t size);
/** Waits until the library has read all, waking it again and again. */
bool all_read(struct chardev *d);
/** The same, and nobody wakes it. */
bool all_read_by_itself(struct chardev *d);

/* ---- what the guest is told ---- */

/** The next message, of this type; its body, which stays the bench's. */
const uint8_t *hear(struct bench *b, uint16_t type, uint32_t *n);
/** START_STOP with these codecs, as a text of digits. */
void hear_codecs(struct bench *b, const char *codecs);
void hear_error(struct bench *b);
void hear_nothing(struct bench *b);

/* ---- clients ---- */

void join(struct bench *b, struct viewer *v);
/** Links the display channel and takes what every client gets first. */
void watch(struct bench *b, struct viewer *v, int id, uint32_t caps);
/** Links the cursor channel and takes what every client gets first. */
void link_cursor(struct bench *b, struct viewer *v, struct message *init);
/** Closes the socket, if it is open, and waits until the library has noticed. */
void hang_up(struct client *c);
/** The same with all that the client has. */
void leave(struct viewer *v);

void expect_empty(struct client *c, uint16_t type);
void expect_word(struct client *c, uint16_t type, uint32_t word);
void expect_surface(struct client *c, uint32_t width, uint32_t height, uint32_t caps);
void expect_stream(struct client *c, uint32_t id, uint8_t codec, uint32_t width, uint32_t height,
                   uint32_t caps);
/** A frame of stream `id`. */
void expect_frame(struct client *c, uint32_t id, const char *text);
/** A frame of `n` bytes of the pattern. */
void expect_pattern(struct client *c, uint32_t n);
/** MOVE on a cursor channel. */
void expect_place(struct client *c, int16_t x, int16_t y);
/** The guest begins a stream of 64 x 64 pixels, and a client without capabilities hears it. */
void start_stream(struct bench *b, struct viewer *v);

#endif
