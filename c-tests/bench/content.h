/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What is sent in every scenario, and the check that it arrives: what a byte has to be
 * follows from its place in the stream, so that nothing lost, doubled or exchanged can
 * pass.  Both processes make it the same way.
 */
#ifndef CONTENT_H
#define CONTENT_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/** The longest run that is had at once. */
enum { CONTENT_RUN = 512 * 1024 };

/** A stream of bytes that repeats itself. */
struct content {
    uint8_t *bytes; /**< one period and CONTENT_RUN more */
    size_t period;
};

/**
 * "pattern": a period of 64,256 bytes, no power of two; "random"; or the name of a file.
 * The latter two have a period of a MiB.
 */
void content_open(struct content *content, const char *name);

/** A place in the stream. */
struct place {
    const struct content *content;
    size_t at;      /**< within the period */
    uint64_t passed;
    uint64_t wrong; /**< runs that were not what they had to be */
    bool spoil;     /**< the next run is to be spoilt, once */
};

/** The next `n` bytes, at most CONTENT_RUN; the place stays. */
static inline const uint8_t *place_peek(const struct place *place)
{
    return place->content->bytes + place->at;
}

/** Goes on by `n` bytes. */
void place_pass(struct place *place, size_t n);
/** Copies the next `n` bytes and goes on; spoils one if that is asked for. */
void place_copy(struct place *place, uint8_t *to, size_t n);
/** Compares what has arrived with what had to arrive, and goes on. */
void place_check(struct place *place, const uint8_t *bytes, size_t n);

/** Whether BENCH_FAULT names this side: "guest" or "client".  Then it spoils a byte. */
bool fault_wanted(const char *side);

#endif
