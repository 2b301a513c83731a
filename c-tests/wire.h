/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Little-endian packing and the protocol numbers the tests use. */
#ifndef WIRE_H
#define WIRE_H

#include <stdint.h>
#include <string.h>

static inline uint16_t get16(const uint8_t *p)
{
    return (uint16_t)(p[0] | p[1] << 8);
}

static inline uint32_t get32(const uint8_t *p)
{
    return (uint32_t)p[0] | (uint32_t)p[1] << 8 | (uint32_t)p[2] << 16 | (uint32_t)p[3] << 24;
}

static inline uint64_t get64(const uint8_t *p)
{
    return get32(p) | (uint64_t)get32(p + 4) << 32;
}

static inline uint8_t *put8(uint8_t *p, uint8_t v)
{
    *p = v;
    return p + 1;
}

static inline uint8_t *put16(uint8_t *p, uint16_t v)
{
    return put8(put8(p, (uint8_t)v), (uint8_t)(v >> 8));
}

static inline uint8_t *put32(uint8_t *p, uint32_t v)
{
    return put16(put16(p, (uint16_t)v), (uint16_t)(v >> 16));
}

static inline uint8_t *put64(uint8_t *p, uint64_t v)
{
    return put32(put32(p, (uint32_t)v), (uint32_t)(v >> 32));
}

/* Link results and errors. */
enum {
    LINK_OK = 0,
    LINK_ERROR = 1,
    LINK_INVALID_MAGIC = 2,
    LINK_INVALID_DATA = 3,
    LINK_VERSION_MISMATCH = 4,
    LINK_NEED_SECURED = 5,
    LINK_NEED_UNSECURED = 6,
    LINK_PERMISSION_DENIED = 7,
    LINK_BAD_CONNECTION_ID = 8,
    LINK_CHANNEL_NOT_AVAILABLE = 9,
};

/* Channel types. */
enum {
    CH_MAIN = 1,
    CH_DISPLAY = 2,
    CH_INPUTS = 3,
    CH_CURSOR = 4,
    CH_PLAYBACK = 5,
    CH_RECORD = 6,
    CH_SMARTCARD = 8,
    CH_USBREDIR = 9,
    CH_PORT = 10,
    CH_WEBDAV = 11,
};

/* Common capability bits. */
enum {
    CAP_AUTH_SELECTION = 1,
    CAP_AUTH_SPICE = 2,
    CAP_AUTH_SASL = 4,
    CAP_MINI_HEADER = 8,
};

/* Messages of every channel. */
enum {
    S_MIGRATE = 1,
    S_SET_ACK = 3,
    S_PING = 4,
    S_NOTIFY = 7,
    C_ACK_SYNC = 1,
    C_ACK = 2,
    C_PONG = 3,
    C_FLUSH_MARK = 4,
    C_MIGRATE_DATA = 5,
    C_DISCONNECTING = 6,
};

/* Main channel. */
enum {
    S_MAIN_INIT = 103,
    S_MAIN_CHANNELS_LIST = 104,
    S_MAIN_MOUSE_MODE = 105,
    S_MAIN_MULTIMEDIA_TIME = 106,
    S_MAIN_AGENT_CONNECTED = 107,
    S_MAIN_AGENT_DISCONNECTED = 108,
    S_MAIN_AGENT_DATA = 109,
    S_MAIN_AGENT_TOKEN = 110,
    S_MAIN_NAME = 113,
    S_MAIN_UUID = 114,
    S_MAIN_AGENT_CONNECTED_TOKENS = 115,
    C_MAIN_CLIENT_INFO = 101,
    C_MAIN_ATTACH_CHANNELS = 104,
    C_MAIN_MOUSE_MODE_REQUEST = 105,
    C_MAIN_AGENT_START = 106,
    C_MAIN_AGENT_DATA = 107,
    C_MAIN_AGENT_TOKEN = 108,
    C_MAIN_QUALITY = 112,
};

/* Inputs. */
enum {
    S_INPUTS_INIT = 101,
    S_INPUTS_LOCKS = 102,
    S_INPUTS_MOTION_ACK = 111,
    C_INPUTS_KEY_DOWN = 101,
    C_INPUTS_KEY_UP = 102,
    C_INPUTS_LOCKS = 103,
    C_INPUTS_SCANCODES = 104,
    C_INPUTS_MOTION = 111,
    C_INPUTS_POSITION = 112,
    C_INPUTS_PRESS = 113,
    C_INPUTS_RELEASE = 114,
};

/* Their bits of a lock mask. */
enum {
    LOCK_SCROLL = 1,
    LOCK_NUM = 2,
    LOCK_CAPS = 4,
};

/* Cursor. */
enum {
    S_CURSOR_INIT = 101,
    S_CURSOR_RESET = 102,
    S_CURSOR_SET = 103,
    S_CURSOR_MOVE = 104,
    S_CURSOR_HIDE = 105,
    S_CURSOR_TRAIL = 106,
    S_CURSOR_INVAL_ONE = 107,
    S_CURSOR_INVAL_ALL = 108,
};

/* Playback and record. */
enum {
    S_PLAYBACK_DATA = 101,
    S_PLAYBACK_MODE = 102,
    S_PLAYBACK_START = 103,
    S_PLAYBACK_STOP = 104,
    S_PLAYBACK_VOLUME = 105,
    S_PLAYBACK_MUTE = 106,
    S_RECORD_START = 101,
    S_RECORD_STOP = 102,
    S_RECORD_VOLUME = 103,
    S_RECORD_MUTE = 104,
    C_RECORD_DATA = 101,
    C_RECORD_MODE = 102,
    C_RECORD_START_MARK = 103,
};

/* Their capabilities, as bits, and modes. */
enum {
    PLAYBACK_CAP_VOLUME = 2,
    PLAYBACK_CAP_OPUS = 8,
    RECORD_CAP_VOLUME = 2,
    RECORD_CAP_OPUS = 4,
    MODE_RAW = 1,
    MODE_OPUS = 3,
};

/* Port, usbredir, webdav. */
enum {
    VMC_DATA = 101,
    VMC_COMPRESSED = 102,
    S_PORT_INIT = 201,
    S_PORT_EVENT = 202,
    C_PORT_EVENT = 201,
};

/* Their capability, as bits, and the kind of compression it allows. */
enum {
    VMC_CAP_LZ4 = 1,
    COMPRESSION_LZ4 = 1,
};

#endif
