/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "content.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static void fill(uint8_t *bytes, size_t n)
{
    for (size_t i = 0; i < n; i++)
        bytes[i] = (uint8_t)(i % 251 + i / 251 * 7);
}

static void fill_random(uint8_t *bytes, size_t n)
{
    uint64_t state = 0x9e3779b97f4a7c15;
    for (size_t i = 0; i < n; i++) {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        bytes[i] = (uint8_t)(state >> 32);
    }
}

static void fill_from(const char *path, uint8_t *bytes, size_t n)
{
    FILE *file = fopen(path, "rb");
    size_t have = file ? fread(bytes, 1, n, file) : 0;
    if (!have) {
        fprintf(stderr, "bench: cannot read %s\n", path);
        exit(2);
    }
    fclose(file);
    for (size_t i = have; i < n; i++)
        bytes[i] = bytes[i - have];
}

void content_open(struct content *content, const char *name)
{
    bool pattern = !strcmp(name, "pattern");
    content->period = pattern ? 251 * 256 : 1 << 20;
    content->bytes = malloc(content->period + CONTENT_RUN);
    if (pattern)
        fill(content->bytes, content->period);
    else if (!strcmp(name, "random"))
        fill_random(content->bytes, content->period);
    else
        fill_from(name, content->bytes, content->period);
    for (size_t i = 0; i < CONTENT_RUN; i++)
        content->bytes[content->period + i] = content->bytes[i % content->period];
}

void place_pass(struct place *place, size_t n)
{
    place->passed += n;
    place->at += n;
    while (place->at >= place->content->period)
        place->at -= place->content->period;
}

void place_copy(struct place *place, uint8_t *to, size_t n)
{
    memcpy(to, place_peek(place), n);
    if (place->spoil && n > 0) {
        place->spoil = false;
        to[n / 2] ^= 1;
    }
    place_pass(place, n);
}

void place_check(struct place *place, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        size_t run = n < CONTENT_RUN ? n : CONTENT_RUN;
        place->wrong += memcmp(bytes, place_peek(place), run) != 0;
        place_pass(place, run);
        bytes += run;
        n -= run;
    }
}

bool fault_wanted(const char *side)
{
    const char *wanted = getenv("BENCH_FAULT");
    return wanted && !strcmp(wanted, side);
}
