/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A fake char device (port, usbredir, ...) whose guest is scripted.
 *
 * Towards the client the guest has bytes to say (chardev_say, chardev_generate);
 * towards the device it takes what `accept` allows and keeps it, or counts and
 * digests it.  Nothing happens by itself: as in QEMU the guest's side calls
 * spice_server_char_device_wakeup() when there is something to read or room to
 * write; chardev_wakeup() does it.
 */
#ifndef CHARDEV_H
#define CHARDEV_H

#include <spice.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum { CHARDEV_CALLS = 4096, CHARDEV_UNLIMITED = -1 };

struct chardev {
    SpiceCharDeviceInstance sin;
    SpiceCharDeviceInterface sif;
    SpiceServer *server;
    bool added;

    /* the guest's output: explicit bytes, then generated ones */
    uint8_t *out;
    size_t out_len, out_pos;
    uint64_t generate;   /**< pattern bytes still to be produced */
    uint64_t generated;  /**< pattern bytes handed out */
    int read_chunk;      /**< at most so many bytes per read(); 0 = no limit */
    int min_read_asked, max_read_asked;

    /* the guest's input */
    int64_t accept;      /**< bytes it still takes; CHARDEV_UNLIMITED */
    int write_chunk;     /**< at most so many bytes per write(); 0 = no limit */
    bool keep_input;     /**< store bytes in `in` (else only count and digest) */
    uint8_t *in;
    size_t in_cap;
    uint64_t in_len;     /**< bytes taken */
    uint64_t in_digest;  /**< chardev_digest() of them */
    bool echo;           /**< what is taken becomes output, and a wakeup follows */

    /* misbehaviour on purpose */
    bool wakeup_in_read, wakeup_in_write, wakeup_in_state, wakeup_in_event;
    void (*in_read)(struct chardev *);
    void (*in_write)(struct chardev *);
    void (*in_state)(struct chardev *, int connected);
    int depth;           /**< callbacks active now */
    bool reading, writing;
    int read_result, write_result; /**< forced result when non-zero (e.g. -1) */

    /* the record */
    int reads, writes;   /**< calls */
    int states[CHARDEV_CALLS];
    int n_states;
    uint8_t port_events[CHARDEV_CALLS];
    int n_port_events;
};

/** Prepares a device without adding it (fields can be set before the add). */
void chardev_prepare(struct chardev *d, const char *subtype, const char *portname);
/** Interface version 1.`minor`, with these flags when the version has them. */
void chardev_interface(struct chardev *d, uint32_t minor, spice_char_device_flags flags);
/** add_interface; returns its result. */
int chardev_add(struct chardev *d, SpiceServer *server);
/** prepare + add, both expected to work. */
void chardev_add_port(struct chardev *d, SpiceServer *server, const char *portname);
void chardev_add_usbredir(struct chardev *d, SpiceServer *server);
/** remove_interface (expected to work when it was added) and frees the script. */
void chardev_remove(struct chardev *d);
/** Frees the script only; for a device whose server is gone. */
void chardev_forget(struct chardev *d);

/** Gives the guest bytes to say and wakes the library. */
void chardev_say(struct chardev *d, const void *data, size_t n);
/** The same without waking it. */
void chardev_queue(struct chardev *d, const void *data, size_t n);
/** The guest says `n` bytes of the pattern; pumps. */
void chardev_generate(struct chardev *d, uint64_t n);
/** The guest takes `n` more bytes; wakes the library. */
void chardev_accept(struct chardev *d, int64_t n);
void chardev_wakeup(struct chardev *d);
/** Wakes the library until it reads no more (it may read once per wakeup). */
void chardev_pump(struct chardev *d);
/** Bytes the guest has still to say. */
uint64_t chardev_unread(const struct chardev *d);

/** Waits until the guest has taken `n` bytes. */
bool chardev_wait_input(struct chardev *d, uint64_t n);
/** Waits until state() has been called `n` times. */
bool chardev_wait_states(struct chardev *d, int n);
/** Waits until event() has been called `n` times. */
bool chardev_wait_events(struct chardev *d, int n);

/** Byte `i` of the pattern: period 251·256, so no power of two hides a shift. */
uint8_t chardev_pattern(uint64_t i);
void chardev_fill(uint8_t *buf, size_t n, uint64_t offset);
/** FNV-1a over `n` bytes, continuing from `digest` (0 to begin). */
uint64_t chardev_digest(uint64_t digest, const uint8_t *buf, size_t n);
/** Digest of the first `n` bytes of the pattern. */
uint64_t chardev_pattern_digest(uint64_t n);

#endif
