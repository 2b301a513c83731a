/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Compressed data, made and taken apart by the LZ4 project's own library: an
 * independent judge of what the library under test sends and takes.
 */
#ifndef PACKED_H
#define PACKED_H

#include "client.h"

/* ---- contents ---- */

/** A sequence that is the same in each run; each seed has its own. */
struct noise {
    uint64_t state;
};
uint32_t noise_next(struct noise *s);
/** Nothing repeats in it. */
void fill_noise(uint8_t *buf, size_t n, struct noise *s);
/** Words, numbers and lines: shrinks to a part, with near and far repetitions. */
void fill_text(uint8_t *buf, size_t n, struct noise *s);
/** Shrinks to about a half. */
void fill_half(uint8_t *buf, size_t n, struct noise *s);

/* ---- a client's messages ---- */

/** What compresses: the fast form, or the high compression of this level. */
enum { PACK_FAST = 0, PACK_HC = 9 };

/** What goes before a block. */
enum { PACKED_HEADER = 5 };

/** The body of a COMPRESSED_DATA message, of `*size` bytes; the caller frees it. */
uint8_t *packed_body(const void *data, size_t n, int level, uint32_t *size);
/** Sends data compressed. */
bool packed_send(struct client *c, const void *data, size_t n, int level);
/** A whole message with its header, in the form that the client uses. */
uint8_t *packed_wire(struct client *c, const void *data, size_t n, int level, size_t *size);

/* ---- a server's messages ---- */

/** DATA or COMPRESSED_DATA. */
struct block {
    uint8_t *data; /**< as the device said it; owned, block_free() */
    uint32_t n;
    bool packed;    /**< came compressed */
    uint32_t wire;  /**< length of the compressed block, or of the data */
    uint64_t serial;
};

void block_free(struct block *b);
/** Understands a message, whose body it takes; another type fails the case. */
void block_of(struct message *m, struct block *b);
/** The next message must be one of the two. */
void block_next(struct client *c, struct block *b);

#endif
