/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A char device as a user of the 0.12 interface writes it: an instance with
 * scripted read and write, a callbacks table, a state.
 *
 * Every call the library makes is noted as a word of `trace`; a test compares the
 * words with what it expects (EXPECT_TRACE), so order and number count too:
 *
 *     w5=3       write() was offered 5 bytes and took 3
 *     sA:abc     send_msg_to_client: message "abc" for client A
 *     tA:5       send_tokens_to_client: 5 tokens for client A
 *     self       on_free_self_token
 *     xA         remove_client
 *
 * Reads and references are counted instead.  What the library must never do (a
 * write inside a write, a callback for a client that was taken away or on a state
 * that was destroyed, a message freed twice) is a violation of the host.
 */
#ifndef OLD_DEVICE_H
#define OLD_DEVICE_H

#include "../rig.h"

#include <spice-char-device.h>

enum old_at {
    AT_WRITE, AT_READ, AT_READ_MSG, AT_REF, AT_UNREF,
    AT_SEND, AT_TOKENS, AT_SELF, AT_REMOVE, AT_COUNT,
};

enum { OLD_CLIENTS = 4, OLD_BYTES = 1 << 16, OLD_UNLIMITED = -1 };

struct old {
    struct rig r;
    SpiceCharDeviceInterface sif;
    SpiceCharDeviceInstance sin;
    SpiceCharDeviceCallbacks cbs;
    SpiceCharDeviceState *st;

    /* what the device takes */
    int64_t accept;   /**< bytes it still takes; OLD_UNLIMITED */
    int chunk;        /**< at most so many at a time; 0 = no limit */
    bool uneven;      /**< 1 to 7 bytes at a time instead */
    int write_result; /**< returned instead when not 0 */
    char *in;         /**< what was taken, up to OLD_BYTES of it */
    size_t in_len;
    bool echo;        /**< what is taken is said again */

    /* what the device says */
    char *out;
    size_t out_len, out_pos;
    int cut;          /**< bytes of a message */
    int reads;        /**< read() calls */
    int made;         /**< messages made of what was read */
    int live;         /**< of these not freed yet */

    /** Called inside each callback. */
    void (*hook)(struct old *d, enum old_at at);
    bool inside[AT_COUNT];
    int calls[AT_COUNT];
    bool gone[OLD_CLIENTS]; /**< clients the test has taken away */
    bool dead;              /**< the state was destroyed */
    bool silent;            /**< no trace: for long traffic */
    RedClient *last_client; /**< of the last callback with one */

    char trace[1 << 15];
    size_t trace_len;
};

/** Identities 'A' to 'D'; the library never looks behind the pointer. */
RedClient *old_client(char name);

/** The device alone, for a second one on the same server. */
void old_prepare_device(struct old *d);
/** Frees what old_prepare_device made. */
void old_forget_device(struct old *d);
/** A server and a device that announces when it is writable; no state yet. */
void old_prepare(struct old *d);
/** old_prepare and a state that is not started. */
void old_open(struct old *d, uint32_t interval, uint32_t self_tokens);
/** The same, started. */
void old_open_started(struct old *d, uint32_t interval, uint32_t self_tokens);
/** Creates the state. */
void old_create(struct old *d, uint32_t interval, uint32_t self_tokens);
/** Destroys the state; from now on callbacks are violations. */
void old_destroy(struct old *d);
/** Destroys the state if there is one; every message must have been freed; audit. */
void old_close(struct old *d);

/** client_add without flow control / with: `window` from and `send` to the client. */
void old_add_plain(struct old *d, char client);
void old_add(struct old *d, char client, uint32_t queue, uint32_t window, uint32_t send);
void old_remove(struct old *d, char client);

/** A buffer with this text, from the client (0: from the server, 1: without
 *  token); NULL when there is none to get. */
SpiceCharDeviceWriteBuffer *old_get(struct old *d, char client, const char *text);
/** The same, added.  False when there was none. */
bool old_put(struct old *d, char client, const char *text);

/** The guest says this; the library is not woken. */
void old_say(struct old *d, const char *text);
/** The same, and the library is woken. */
void old_say_wake(struct old *d, const char *text);
/** The device takes `n` more bytes; the library is woken. */
void old_accept(struct old *d, int64_t n);

/** Whether time is without effect: a minute passes, no callback comes, and then no
 *  timer runs. (The library has one timer for all; one that was put off may fire.) */
bool old_at_rest(struct old *d);

void old_expect_trace(struct old *d, const char *want, const char *file, int line);
#define EXPECT_TRACE(d, want) old_expect_trace(d, want, __FILE__, __LINE__)

/** Exactly one line was logged since the last look, or none. */
void old_expect_log(int lines, const char *file, int line);
#define EXPECT_REFUSED() old_expect_log(1, __FILE__, __LINE__)
#define EXPECT_NO_LOG() old_expect_log(0, __FILE__, __LINE__)

#endif
