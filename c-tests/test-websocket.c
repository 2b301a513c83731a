/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* WebSocket: how one begins, frames both ways, and the link and channels inside. */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "rig.h"

#include <stdio.h>
#include <stdlib.h>

#define KEY "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n"
#define REST "Host: localhost\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n" \
             "Sec-WebSocket-Version: 13\r\n"
#define GET "GET / HTTP/1.1\r\n"

enum { CONT = 0, TEXT = 1, BINARY = 2, CLOSE = 8, PING = 9, PONG = 10, FIN = 0x80 };

/** A client inside a WebSocket. */
struct ws {
    struct client c;
    uint64_t left;  /**< payload of the frame that is being read */
    int frames;     /**< data frames that came */
    int pongs;
    char pong[126]; /**< what the last one said */
};

/* ---- the request ---- */

static void ws_connect(struct rig *r, struct ws *w)
{
    *w = (struct ws){ 0 };
    rig_connect(r, &w->c);
}

/** Reads an answer of HTTP up to its empty line. */
static void read_answer(struct ws *w, char *answer, size_t size)
{
    size_t n = 0;
    while (n < 4 || memcmp(answer + n - 4, "\r\n\r\n", 4)) {
        EXPECT(n + 1 < size);
        EXPECT_MSG(client_read(&w->c, answer + n, 1) == 1, "the answer ends after %zu bytes", n);
        n++;
    }
    answer[n] = 0;
}

static void expect_accepted(struct ws *w, bool with_protocol)
{
    char answer[1024];
    read_answer(w, answer, sizeof answer);
    EXPECT_MSG(!strncmp(answer, "HTTP/1.1 101 ", 13), "the answer is %s", answer);
    EXPECT(strcasestr(answer, "\r\nUpgrade: websocket\r\n"));
    EXPECT(strcasestr(answer, "\r\nConnection: Upgrade\r\n"));
    EXPECT(strstr(answer, "\r\nSec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n"));
    EXPECT_EQ(strstr(answer, "\r\nSec-WebSocket-Protocol: binary\r\n") != NULL, with_protocol);
    EXPECT_EQ(strcasestr(answer, "Sec-WebSocket-Protocol") != NULL, with_protocol);
}

/** What a peer gets that speaks neither SPICE nor this. */
static void expect_wrong_magic(struct client *c)
{
    uint8_t want[194] = "REDQ", got[194];
    put32(put32(put32(put32(want + 4, 2), 2), 178), LINK_INVALID_MAGIC);
    EXPECT_EQ(client_read(c, got, sizeof got), sizeof got);
    EXPECT(!memcmp(got, want, sizeof got));
    EXPECT(client_at_eof(c));
}

static void ws_open(struct rig *r, struct ws *w)
{
    static const char request[] = GET REST KEY "Sec-WebSocket-Protocol: binary\r\n\r\n";
    ws_connect(r, w);
    EXPECT(client_write(&w->c, request, sizeof request - 1));
    expect_accepted(w, true);
}

static void requests(void)
{
    enum answer { ACCEPTED, WITH_PROTOCOL, REFUSED };
    static const struct { const char *request; enum answer answer; } table[] = {
        { GET REST KEY "\r\n", ACCEPTED },
        { GET REST KEY "Sec-WebSocket-Protocol: binary\r\n\r\n", WITH_PROTOCOL },
        { GET REST KEY "Sec-WebSocket-Protocol: binary, base64\r\n\r\n", WITH_PROTOCOL },
        { GET REST KEY "sec-websocket-protocol:  binary\r\n\r\n", WITH_PROTOCOL },
        { GET REST KEY "Sec-WebSocket-Protocol: base64, binary\r\n\r\n", REFUSED },
        { GET REST KEY "Sec-WebSocket-Protocol: Binary\r\n\r\n", REFUSED },
        { GET REST KEY "Sec-WebSocket-Protocol: base64\r\n\r\n", REFUSED },
        { GET REST "\r\n", REFUSED },
        { GET KEY "\r\n", ACCEPTED },
        { GET "sec-websocket-key:dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n", ACCEPTED },
        { "GET /any?thing HTTP/1.1\r\n" REST KEY "Origin: https://example.org\r\n\r\n", ACCEPTED },
        { "HEAD / HTTP/1.1\r\n" REST KEY "\r\n", REFUSED },
        { "get / HTTP/1.1\r\n" REST KEY "\r\n", REFUSED },
    };
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(table); i++) {
        ws_connect(&r, &w);
        EXPECT(client_write(&w.c, table[i].request, strlen(table[i].request)));
        if (table[i].answer == REFUSED)
            expect_wrong_magic(&w.c);
        else
            expect_accepted(&w, table[i].answer == WITH_PROTOCOL);
        client_close(&w.c);
    }
    rig_close(&r);
}

static void request_in_pieces(void)
{
    static const char request[] = GET REST KEY "\r\n";
    struct rig r;
    struct ws w;
    rig_open(&r);
    ws_connect(&r, &w);
    for (size_t i = 0; i < sizeof request - 1; i++) {
        EXPECT(client_silent(&w.c, 0));
        EXPECT(client_write(&w.c, request + i, 1));
    }
    expect_accepted(&w, false);
    client_close(&w.c);
    rig_close(&r);
}

static void longest_request(void)
{
    enum { LONGEST = 8192 };
    char request[LONGEST + 1];
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (int longer = 0; longer <= 1; longer++) {
        size_t n = (size_t)snprintf(request, sizeof request, "%s", GET REST KEY "Cookie: ");
        memset(request + n, 'x', sizeof request - n);
        memcpy(request + LONGEST + longer - 4, "\r\n\r\n", 4);
        ws_connect(&r, &w);
        EXPECT(client_write(&w.c, request, (size_t)LONGEST + (size_t)longer));
        if (longer)
            expect_wrong_magic(&w.c);
        else
            expect_accepted(&w, false);
        client_close(&w.c);
    }
    rig_close(&r);
}

/* ---- frames ---- */

/** Sends a frame with a mask; `first` is its first byte. */
static bool ws_frame(struct ws *w, uint8_t first, const void *payload, size_t n)
{
    static const uint8_t mask[4] = { 0x1f, 0xa5, 0x00, 0xfe };
    uint8_t *frame = malloc(14 + n), *p = put8(frame, first);
    if (n < 126) {
        p = put8(p, (uint8_t)(0x80 | n));
    } else if (n < 65536) {
        p = put8(put8(put8(p, 0x80 | 126), (uint8_t)(n >> 8)), (uint8_t)n);
    } else {
        p = put8(p, 0x80 | 127);
        for (int shift = 56; shift >= 0; shift -= 8)
            p = put8(p, (uint8_t)((uint64_t)n >> shift));
    }
    memcpy(p, mask, 4);
    p += 4;
    for (size_t i = 0; i < n; i++)
        *p++ = ((const uint8_t *)payload)[i] ^ mask[i % 4];
    bool sent = client_write(&w->c, frame, (size_t)(p - frame));
    free(frame);
    return sent;
}

/** Reads a frame's header: its first byte and its length. */
static uint8_t read_header(struct ws *w, uint64_t *n)
{
    uint8_t head[2], length[8];
    EXPECT(client_read(&w->c, head, 2) == 2);
    EXPECT_MSG(!(head[1] & 0x80), "a server's frame has a mask");
    *n = head[1];
    int more = head[1] == 127 ? 8 : head[1] == 126 ? 2 : 0;
    if (more) {
        EXPECT(client_read(&w->c, length, (size_t)more) == (size_t)more);
        *n = 0;
        for (int i = 0; i < more; i++)
            *n = *n << 8 | length[i];
        EXPECT_MSG(*n >= (more == 8 ? 65536 : 126), "a length of %d bytes for %llu", more,
                   (unsigned long long)*n);
    }
    return head[0];
}

/** Payload of binary frames; what comes between is noted. */
static void ws_read(struct ws *w, void *data, size_t n)
{
    uint8_t *p = data;
    while (n > 0) {
        if (w->left == 0) {
            uint64_t length;
            uint8_t first = read_header(w, &length);
            if (first == (FIN | PONG)) {
                EXPECT(length <= 125);
                EXPECT(client_read(&w->c, w->pong, length) == length);
                w->pong[length] = 0;
                w->pongs++;
                continue;
            }
            EXPECT_EQ(first, FIN | BINARY);
            w->left = length;
            w->frames++;
        }
        size_t part = n < w->left ? n : (size_t)w->left;
        EXPECT_EQ(client_read(&w->c, p, part), part);
        p += part;
        n -= part;
        w->left -= part;
    }
}

/** The link error in a link reply, whose key is kept. */
static uint32_t ws_read_reply(struct ws *w)
{
    uint8_t buf[16 + 178 + 64];
    ws_read(w, buf, 16);
    EXPECT(!memcmp(buf, "REDQ", 4));
    uint32_t size = get32(buf + 12);
    EXPECT(size >= 178 && size <= sizeof buf - 16);
    ws_read(w, buf, size);
    memcpy(w->c.reply.key, buf + 4, PUBKEY_SIZE);
    return get32(buf);
}

/** Goes on after the link message: ticket and result. */
static void ws_finish_link(struct ws *w)
{
    uint8_t buf[4 + TICKET_SIZE];
    EXPECT_EQ(ws_read_reply(w), LINK_OK);
    put32(buf, 1);
    client_make_ticket(&w->c, "", 1, buf + 4);
    EXPECT(ws_frame(w, FIN | BINARY, buf, sizeof buf));
    ws_read(w, buf, 4);
    EXPECT_EQ(get32(buf), LINK_OK);
}

static size_t main_link(uint8_t *buf)
{
    struct link l;
    link_init(&l, CH_MAIN, 0, 0);
    return link_bytes(&l, buf);
}

/** The next message; its body is kept in `body`. */
static uint32_t ws_message(struct ws *w, uint16_t type, uint8_t *body, size_t size)
{
    uint8_t header[6];
    ws_read(w, header, sizeof header);
    EXPECT_EQ(get16(header), type);
    uint32_t n = get32(header + 2);
    EXPECT(n <= size);
    ws_read(w, body, n);
    return n;
}

/** A main channel; returns the session id. */
static uint32_t ws_main(struct rig *r, struct ws *w)
{
    uint8_t buf[LINK_BYTES_MAX];
    ws_open(r, w);
    EXPECT(ws_frame(w, FIN | BINARY, buf, main_link(buf)));
    ws_finish_link(w);
    EXPECT_EQ(ws_message(w, S_MAIN_INIT, buf, sizeof buf), 32);
    return get32(buf);
}

static void frames_with_a_link(void)
{
    enum how { WHOLE, AS_TEXT, HALVES, BYTES, WITH_EMPTY, WITH_PING };
    uint8_t link[LINK_BYTES_MAX];
    size_t n = main_link(link);
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (int how = WHOLE; how <= WITH_PING; how++) {
        ws_open(&r, &w);
        switch (how) {
        case WHOLE:
            EXPECT(ws_frame(&w, FIN | BINARY, link, n));
            break;
        case AS_TEXT:
            EXPECT(ws_frame(&w, FIN | TEXT, link, n));
            break;
        case HALVES:
            EXPECT(ws_frame(&w, FIN | BINARY, link, 3));
            EXPECT(ws_frame(&w, FIN | BINARY, link + 3, n - 3));
            break;
        case BYTES:
            for (size_t i = 0; i < n; i++)
                EXPECT(ws_frame(&w, (i ? CONT : BINARY) | (i == n - 1 ? FIN : 0), link + i, 1));
            break;
        case WITH_EMPTY:
            EXPECT(ws_frame(&w, FIN | BINARY, "", 0));
            EXPECT(ws_frame(&w, BINARY, "", 0));
            EXPECT(ws_frame(&w, CONT, link, n));
            EXPECT(ws_frame(&w, FIN | CONT, "", 0));
            break;
        case WITH_PING:
            EXPECT(ws_frame(&w, BINARY, link, 7));
            EXPECT(ws_frame(&w, FIN | PING, "between", 7));
            EXPECT(ws_frame(&w, FIN | CONT, link + 7, n - 7));
            break;
        }
        ws_finish_link(&w);
        EXPECT_EQ(w.pongs, how == WITH_PING);
        client_close(&w.c);
    }
    rig_close(&r);
}

/** Lengths that are written longer than need be, and no mask. */
static void odd_headers_with_a_link(void)
{
    static const struct { const char *header; size_t n; } headers[] = {
        { "\x82\x2a", 2 },
        { "\x82\x7e\x00\x2a", 4 },
        { "\x82\x7f\x00\x00\x00\x00\x00\x00\x00\x2a", 10 },
        { "\x82\x7f\x7f\xff\xff\xff\xff\xff\xff\xff", 10 },
        { "\x02\x7f\x00\x00\x00\x10\x00\x00\x00\x00", 10 },
    };
    uint8_t link[LINK_BYTES_MAX];
    size_t n = main_link(link);
    EXPECT_EQ(n, 0x2a);
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(headers); i++) {
        ws_open(&r, &w);
        EXPECT(client_write(&w.c, headers[i].header, headers[i].n));
        EXPECT(client_write(&w.c, link, n));
        EXPECT_EQ(ws_read_reply(&w), LINK_OK);
        client_close(&w.c);
    }
    rig_close(&r);
}

static void frames_behind_the_request(void)
{
    static const char request[] = GET REST KEY "\r\n\x89\x05hello\x82\x2a";
    uint8_t buf[sizeof request + LINK_BYTES_MAX];
    struct rig r;
    struct ws w;
    rig_open(&r);
    ws_connect(&r, &w);
    memcpy(buf, request, sizeof request - 1);
    EXPECT(client_write(&w.c, buf, sizeof request - 1 + main_link(buf + sizeof request - 1)));
    expect_accepted(&w, false);
    ws_finish_link(&w);
    EXPECT_EQ(w.pongs, 1);
    client_close(&w.c);
    rig_close(&r);
}

static void pings(void)
{
    struct rig r;
    struct ws w;
    uint8_t byte;
    char longest[126];
    memset(longest, 'p', sizeof longest - 1);
    longest[sizeof longest - 1] = 0;
    const char *const payloads[] = { "", "hello", longest };
    rig_open(&r);
    ws_main(&r, &w);
    for (size_t i = 0; i < TAP_COUNT(payloads); i++) {
        uint64_t n;
        EXPECT(ws_frame(&w, FIN | PING, payloads[i], strlen(payloads[i])));
        EXPECT_EQ(read_header(&w, &n), FIN | PONG);
        EXPECT_EQ(n, strlen(payloads[i]));
        char pong[125];
        EXPECT(client_read(&w.c, pong, n) == n && !memcmp(pong, payloads[i], n));
    }
    EXPECT(ws_frame(&w, FIN | PONG, "unasked", 7));
    EXPECT(client_silent(&w.c, 20));
    EXPECT(ws_frame(&w, FIN | PING, "end", 3));
    EXPECT(client_read(&w.c, &byte, 1) == 1 && byte == (FIN | PONG));
    client_close(&w.c);
    rig_close(&r);
}

static void pings_and_never_reads(void)
{
    enum { MIB = 1 << 20 };
    static uint8_t flood[16 * MIB];
    struct rig r;
    struct ws w;
    rig_open(&r);
    ws_main(&r, &w);
    /* without a mask: 89 7d and 125 bytes, again and again */
    for (size_t i = 0; i + 127 <= sizeof flood; i += 127)
        memcpy(flood + i, "\x89\x7d", 2);
    EXPECT(client_write_some(&w.c, flood, sizeof flood / 127 * 127, 1000) < sizeof flood / 127 * 127);
    EXPECT(client_closed(&w.c));
    client_close(&w.c);
    rig_close(&r);
}

static void close_is_answered(void)
{
    static const struct { const char *payload; size_t n; uint8_t answer; } table[] = {
        { "", 0, 0 },
        { "\x03\xe8", 2, 2 },
        { "\x03\xe8" "bye", 5, 2 },
        { "\x03", 1, 2 },
    };
    struct rig r;
    struct ws w;
    uint8_t got[4];
    rig_open(&r);
    for (size_t i = 0; i < 2 * TAP_COUNT(table); i++) {
        size_t row = i / 2;
        if (i % 2)
            ws_main(&r, &w);
        else
            ws_open(&r, &w);
        EXPECT(ws_frame(&w, FIN | CLOSE, table[row].payload, table[row].n));
        size_t n = 2 + (size_t)differs(DIFF_CLOSE_CODE, table[row].answer, 0);
        EXPECT_EQ(client_read(&w.c, got, n), n);
        EXPECT_EQ(got[0], FIN | CLOSE);
        EXPECT_EQ(got[1], n - 2);
        EXPECT(client_at_eof(&w.c));
        client_close(&w.c);
    }
    rig_close(&r);
}

static void broken_frames(void)
{
    static const struct { const char *bytes; size_t n; } table[] = {
        { "\xc2\x80mask", 6 },  /* reserved bits */
        { "\xa2\x80mask", 6 },
        { "\x92\x80mask", 6 },
        { "\xc9\x80mask", 6 },
        { "\x83\x80mask", 6 },  /* opcodes that there are not */
        { "\x87\x80mask", 6 },
        { "\x8b\x80mask", 6 },
        { "\x8f\x80mask", 6 },
        { "\x09\x80mask", 6 },  /* control frames in fragments */
        { "\x0a\x80mask", 6 },
        { "\x08\x80mask", 6 },
        { "\x89\xfe\x00\x7emask", 8 },  /* and too long */
        { "\x88\xfe\x00\x7emask", 8 },
        { "\x80\x80mask", 6 },  /* nothing to go on with */
        { "\x00\x80mask", 6 },
        { "\x02\x80mask\x82\x80mask", 12 },  /* a message in a message */
        { "\x02\x80mask\x81\x80mask", 12 },
        { "\x01\x80mask\x80\x80mask\x80\x80mask", 18 },
    };
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (size_t i = 0; i < 2 * TAP_COUNT(table); i++) {
        if (i % 2)
            ws_main(&r, &w);
        else
            ws_open(&r, &w);
        EXPECT(client_write(&w.c, table[i / 2].bytes, table[i / 2].n));
        EXPECT_MSG(client_closed(&w.c), "the connection stays after case %zu", i);
        client_close(&w.c);
    }
    rig_close(&r);
}

static void something_else_inside(void)
{
    static const char *const words[] = { "HTTP", GET REST KEY "\r\n", "\0\0\0\0", "REDX" };
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (size_t i = 0; i < TAP_COUNT(words); i++) {
        ws_open(&r, &w);
        EXPECT(ws_frame(&w, FIN | BINARY, words[i], words[i][0] ? strlen(words[i]) : 4));
        EXPECT_EQ(ws_read_reply(&w), LINK_INVALID_MAGIC);
        EXPECT(client_closed(&w.c));
        client_close(&w.c);
    }
    rig_close(&r);
}

static void ends_in_the_middle(void)
{
    static const char request[] = GET REST KEY "\r\n";
    struct rig r;
    struct ws w;
    rig_open(&r);
    for (size_t n = 1; n < sizeof request; n += 7) {
        ws_connect(&r, &w);
        EXPECT(client_write(&w.c, request, n));
        client_close(&w.c);
    }
    for (size_t n = 0; n < 12; n++) {
        ws_main(&r, &w);
        EXPECT(client_write(&w.c, "\x02\xfe\x01\x00mask\x00\x00\x00\x00", n));
        client_close(&w.c);
    }
    rig_close(&r);
}

/* ---- channels ---- */

/** A port's channel over a WebSocket of its own. */
static void ws_port(struct rig *r, struct ws *w, uint32_t session)
{
    uint8_t buf[LINK_BYTES_MAX];
    struct link l;
    link_init(&l, CH_PORT, 0, session);
    ws_open(r, w);
    EXPECT(ws_frame(w, FIN | BINARY, buf, link_bytes(&l, buf)));
    ws_finish_link(w);
    EXPECT(ws_message(w, S_PORT_INIT, buf, sizeof buf) > 9);
}

/* Messages and frames are cut where the other is not. */
static void data_both_ways(void)
{
    enum { TOTAL = 3 << 20, MESSAGE = 5003 };
    struct rig r;
    struct ws main_channel, w;
    struct chardev port;
    static uint8_t wire[TOTAL + 6 * (TOTAL / MESSAGE + 1)], body[1 << 17];
    rig_open(&r);
    chardev_prepare(&port, "port", "org.example.0");
    port.accept = CHARDEV_UNLIMITED;
    EXPECT_EQ(chardev_add(&port, r.server), 0);
    ws_port(&r, &w, ws_main(&r, &main_channel));
    uint8_t *p = wire;
    for (uint32_t sent = 0; sent < TOTAL;) {
        uint32_t n = TOTAL - sent < MESSAGE ? TOTAL - sent : MESSAGE;
        p = put32(put16(p, VMC_DATA), n);
        chardev_fill(p, n, sent);
        p += n;
        sent += n;
    }
    size_t length = (size_t)(p - wire), frame = 1;
    for (size_t at = 0; at < length; at += frame, frame = frame * 7 % 70001) {
        frame = length - at < frame ? length - at : frame;
        EXPECT(ws_frame(&w, FIN | BINARY, wire + at, frame));
    }
    EXPECT(chardev_wait_input(&port, TOTAL));
    EXPECT_EQ(port.in_digest, chardev_pattern_digest(TOTAL));

    chardev_generate(&port, TOTAL);
    uint64_t got = 0, digest = 0;
    while (got < TOTAL) {
        uint32_t n = ws_message(&w, VMC_DATA, body, sizeof body);
        digest = chardev_digest(digest, body, n);
        got += n;
        chardev_pump(&port);
    }
    EXPECT_EQ(got, TOTAL);
    EXPECT_EQ(digest, chardev_pattern_digest(TOTAL));
    EXPECT(client_silent(&main_channel.c, 0));
    client_close(&w.c);
    client_close(&main_channel.c);
    chardev_remove(&port);
    rig_close(&r);
}

/* One client's channels may come in different ways. */
static void mixed_with_plain_channels(void)
{
    struct rig r;
    struct client plain;
    struct ws w;
    struct chardev port;
    uint8_t body[16];
    rig_open(&r);
    chardev_prepare(&port, "port", "org.example.0");
    port.accept = CHARDEV_UNLIMITED;
    port.echo = true;
    EXPECT_EQ(chardev_add(&port, r.server), 0);
    ws_port(&r, &w, rig_main(&r, &plain));
    EXPECT(ws_frame(&w, FIN | BINARY, "\x65\x00\x05\x00\x00\x00hello", 11));
    EXPECT_EQ(ws_message(&w, VMC_DATA, body, sizeof body), 5);
    EXPECT(!memcmp(body, "hello", 5));
    client_close(&plain);
    EXPECT(client_closed(&w.c));
    client_close(&w.c);
    chardev_remove(&port);
    rig_close(&r);
}

static const struct tap_case cases[] = {
    TAP_CASE(requests),
    TAP_CASE(request_in_pieces),
    TAP_CASE(longest_request),
    TAP_CASE(frames_with_a_link),
    TAP_CASE(odd_headers_with_a_link),
    TAP_CASE(frames_behind_the_request),
    TAP_CASE(pings),
    TAP_CASE(pings_and_never_reads),
    TAP_CASE(close_is_answered),
    TAP_CASE(broken_frames),
    TAP_CASE(something_else_inside),
    TAP_CASE(ends_in_the_middle),
    TAP_CASE(data_both_ways),
    TAP_CASE(mixed_with_plain_channels),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "websocket", cases, TAP_COUNT(cases));
}
