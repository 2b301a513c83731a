/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "packed.h"
#include "tap.h"

#include <lz4.h>
#include <lz4hc.h>
#include <stdlib.h>

uint32_t noise_next(struct noise *s)
{
    /* Marsaglia's xorshift */
    s->state = s->state ? s->state : 88172645463325252u;
    s->state ^= s->state << 13;
    s->state ^= s->state >> 7;
    s->state ^= s->state << 17;
    return (uint32_t)(s->state >> 32);
}

void fill_noise(uint8_t *buf, size_t n, struct noise *s)
{
    size_t i = 0;
    for (; i + 4 <= n; i += 4)
        put32(buf + i, noise_next(s));
    for (; i < n; i++)
        buf[i] = (uint8_t)noise_next(s);
}

void fill_text(uint8_t *buf, size_t n, struct noise *s)
{
    static const char *const words[] = {
        "port ",  "channel ", "the ", "of ",  "device ", "and ",    "\n",   "compressed ",
        "guest ", "client ",  "a ",   "is ",  "server ", "message", "s ",   "bytes ",
    };
    size_t at = 0;
    while (at < n) {
        uint32_t pick = noise_next(s);
        char number[4] = { (char)('0' + (pick >> 8) % 10), (char)('0' + (pick >> 12) % 10), ' ' };
        const char *word = pick % 17 == 16 ? number : words[pick % 17];
        size_t part = strlen(word);
        part = part < n - at ? part : n - at;
        memcpy(buf + at, word, part);
        at += part;
    }
}

void fill_half(uint8_t *buf, size_t n, struct noise *s)
{
    enum { RUN = 64 };
    for (size_t at = 0; at < n; at += 2 * RUN) {
        size_t part = n - at < RUN ? n - at : RUN;
        fill_noise(buf + at, part, s);
        if (n - at > RUN)
            memset(buf + at + RUN, 'x', n - at - RUN < RUN ? n - at - RUN : RUN);
    }
}

uint8_t *packed_body(const void *data, size_t n, int level, uint32_t *size)
{
    int room = LZ4_compressBound((int)n);
    uint8_t *body = malloc(PACKED_HEADER + (size_t)room);
    char *block = (char *)body + PACKED_HEADER;
    int packed = level == PACK_FAST ? LZ4_compress_default(data, block, (int)n, room)
                                    : LZ4_compress_HC(data, block, (int)n, room, level);
    if (packed <= 0)
        FAIL("liblz4 does not compress %zu bytes", n);
    put32(put8(body, COMPRESSION_LZ4), (uint32_t)n);
    *size = PACKED_HEADER + (uint32_t)packed;
    return body;
}

bool packed_send(struct client *c, const void *data, size_t n, int level)
{
    uint32_t size;
    uint8_t *body = packed_body(data, n, level, &size);
    bool sent = client_send(c, VMC_COMPRESSED, body, size);
    free(body);
    return sent;
}

uint8_t *packed_wire(struct client *c, const void *data, size_t n, int level, size_t *size)
{
    uint32_t body_size;
    uint8_t *body = packed_body(data, n, level, &body_size);
    uint8_t *wire = malloc(18 + (size_t)body_size);
    uint8_t *p = c->mini ? wire : put64(wire, ++c->serial);
    p = put32(put16(p, VMC_COMPRESSED), body_size);
    p = c->mini ? p : put32(p, 0);
    memcpy(p, body, body_size);
    free(body);
    *size = (size_t)(p - wire) + body_size;
    return wire;
}

void block_free(struct block *b)
{
    free(b->data);
    b->data = NULL;
}

void block_of(struct message *m, struct block *b)
{
    *b = (struct block){ .packed = m->type == VMC_COMPRESSED, .serial = m->serial };
    if (m->type == VMC_DATA) {
        b->data = m->body;
        b->n = b->wire = m->size;
    } else if (m->type == VMC_COMPRESSED) {
        EXPECT_MSG(m->size > PACKED_HEADER, "COMPRESSED_DATA of %u bytes", m->size);
        EXPECT_EQ(m->body[0], COMPRESSION_LZ4);
        b->n = get32(m->body + 1);
        b->wire = m->size - PACKED_HEADER;
        EXPECT_MSG(b->n <= 1u << 20, "a block of %u bytes", b->n);
        b->data = malloc(b->n + 1);
        int got = LZ4_decompress_safe((const char *)m->body + PACKED_HEADER, (char *)b->data,
                                      (int)b->wire, (int)b->n);
        EXPECT_EQ(got, b->n);
        free(m->body);
    } else {
        FAIL("message of type %u among the data", m->type);
    }
    m->body = NULL;
    EXPECT(b->n > 0);
}

void block_next(struct client *c, struct block *b)
{
    struct message m;
    if (!client_next(c, &m))
        FAIL("no message, expected data");
    block_of(&m, b);
}
