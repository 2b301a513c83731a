/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A guest that draws: surfaces, and drawables built in its memory.
 *
 * What comes out is a digest over the pixels after each drawable.  With DRAW_DUMP=DIR the
 * pixels go to files there, one a case, so that a difference can be looked at.
 */
#ifndef DRAW_H
#define DRAW_H

#include "devices.h"
#include "rig.h"

#include <stdio.h>

enum { SURFACES = 8, ARENA = 8 << 20, QUIC_LARGEST = 65536 };

struct surface {
    uint8_t *pixels;
    int width, height, stride; /**< the stride in bytes, positive */
    uint32_t format;
};

struct painter {
    struct rig r;
    struct qxl q;
    struct surface surface[SURFACES];
    uint8_t *arena; /**< what drawables point to; all of it is free after each */
    size_t used;
    uint32_t seed;
    uint64_t digest;
    FILE *dump;
    int drawn;
};

/** A running device with a primary surface; top-down if `stride_sign` is 1. */
void painter_open(struct painter *p, uint32_t format, int width, int height, int stride_sign);
/** The same, top-down, for clients over TCP: those over a unix socket get nothing compressed. */
void painter_open_tcp(struct painter *p, uint32_t format, int width, int height);
/** Ends it; the digest becomes the result of the case. */
void painter_close(struct painter *p);
/** A surface besides the primary, filled with noise. */
void painter_surface(struct painter *p, int id, uint32_t format, int width, int height);
/** Destroys one. */
void painter_destroy(struct painter *p, int id);
/** Fills the pixels of a surface with noise, behind the library's back. */
void painter_noise(struct painter *p, int id);

/** Pseudo-random numbers; the same in each run. */
uint32_t rnd(struct painter *p);
/** One of `from` to `to`, both included. */
int between(struct painter *p, int from, int to);

/** Zeroed memory for what a drawable points to. */
void *guest_alloc(struct painter *p, size_t size);
/** Data as a list of chunks of at most `piece` bytes. */
QXLDataChunk *guest_chunks(struct painter *p, const void *data, size_t size, size_t piece);

/** A bitmap of noise with all that it needs: palette, padding. */
QXLImage *guest_bitmap(struct painter *p, int format, int width, int height, unsigned flags);
/** An image that is a surface. */
QXLImage *guest_surface_image(struct painter *p, uint32_t id);
/** One of the images in tests/data/quic, of 160 by 100 pixels; `data` has QUIC_LARGEST bytes.
 *  How many of them it is. */
size_t quic_file(const char *name, uint8_t *data);
/** An image of QUIC data, in several chunks; the first one is in its head. */
QXLImage *guest_quic(struct painter *p, const uint8_t *data, size_t size, int width, int height);
/** A drawable of the whole of a surface. */
QXLDrawable guest_drawable(struct painter *p, uint32_t surface, int type);
/** A rectangle inside a surface, not empty. */
QXLRect guest_rect(struct painter *p, const struct surface *s);
/** Clips a drawable to so many rectangles. */
void guest_clip(struct painter *p, QXLDrawable *d, int count);

/** Has it drawn and adds the surface's pixels to the digest, those bits that `mask` has. */
void painter_draw(struct painter *p, const QXLDrawable *d, uint32_t mask);
/** Adds a surface's pixels to the digest. */
void painter_look(struct painter *p, uint32_t id, uint32_t mask);
/** Has everything drawn that was given; the rectangles it says are dirty. */
void painter_update(struct painter *p, uint32_t id, QXLRect *dirty, uint32_t count, int clear);

#endif
