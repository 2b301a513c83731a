/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The smartcard channel: readers, cards, who has the reader, and nonsense. */
#define _GNU_SOURCE
#include "chardev.h"
#include "differences.h"
#include "rig.h"

#include <stdlib.h>

/* VSC messages. */
enum {
    VSC_INIT = 1,
    VSC_ERROR,
    VSC_READER_ADD,
    VSC_READER_REMOVE,
    VSC_ATR,
    VSC_CARD_REMOVE,
    VSC_APDU,
    VSC_FLUSH,
    VSC_FLUSH_COMPLETE,
    VSC_HEADER = 12,
    VSC_DATA = 101, /**< the channel's one message */
    UNDEFINED = 0xffffffff,
    GENERAL_ERROR = 1,
    CANNOT_ADD_MORE = 2,
    QEMU_BUFFER = 65536, /**< where its reader collects a message */
};

/** One reader, a main channel and the reader's channel. */
struct bench {
    struct rig r;
    struct client main_channel, c;
    uint32_t session;
    struct chardev card;
    uint64_t seen; /**< bytes of the card's input that were looked at */
    int states;    /**< how often its state should have changed */
};

static void put_be(uint8_t *p, uint32_t v)
{
    put32(p, __builtin_bswap32(v));
}

/** A message as the device has it; returns its length. */
static size_t be_message(uint8_t *to, uint32_t kind, uint32_t reader, const void *data, size_t n)
{
    put_be(to, kind);
    put_be(to + 4, reader);
    put_be(to + 8, (uint32_t)n);
    if (n)
        memcpy(to + VSC_HEADER, data, n);
    return VSC_HEADER + n;
}

static void open_server(struct bench *b)
{
    memset(b, 0, sizeof *b);
    rig_open(&b->r);
    chardev_prepare(&b->card, "smartcard", NULL);
    EXPECT_EQ(chardev_add(&b->card, b->r.server), 0);
    EXPECT(b->card.added);
    spice_server_vm_start(b->r.server);
    b->session = rig_main(&b->r, &b->main_channel);
}

static void expect_state(struct bench *b, int connected)
{
    EXPECT(chardev_wait_states(&b->card, b->states + 1));
    EXPECT_EQ(b->card.states[b->states++], connected);
}

static void connect_card(struct bench *b, struct client *c)
{
    rig_channel(&b->r, c, CH_SMARTCARD, 0, b->session);
    expect_state(b, 1);
}

static void open_bench(struct bench *b)
{
    open_server(b);
    connect_card(b, &b->c);
}

static void close_server(struct bench *b)
{
    EXPECT(client_silent(&b->main_channel, 0));
    client_close(&b->main_channel);
    chardev_remove(&b->card);
    rig_close(&b->r);
}

/** The client goes, if the server has not cut it. */
static void leave(struct bench *b)
{
    client_close(&b->c);
    expect_state(b, 0);
}

static void close_bench(struct bench *b)
{
    leave(b);
    close_server(b);
}

/** The client sends a message whose header says `length`. */
static bool send_as(struct client *c, uint32_t kind, uint32_t reader, uint32_t length,
                    const void *data, size_t n)
{
    uint8_t *body = malloc(VSC_HEADER + n);
    put32(put32(put32(body, kind), reader), length);
    if (n)
        memcpy(body + VSC_HEADER, data, n);
    bool sent = client_send(c, VSC_DATA, body, (uint32_t)(VSC_HEADER + n));
    free(body);
    return sent;
}

static void say(struct client *c, uint32_t kind, uint32_t reader, const void *data, size_t n)
{
    EXPECT(send_as(c, kind, reader, (uint32_t)n, data, n));
}

/** The client hears this. */
static void expect_heard(struct client *c, uint32_t kind, uint32_t reader, const void *data,
                         size_t n)
{
    struct message m;
    client_expect(c, VSC_DATA, &m);
    EXPECT_EQ(m.size, VSC_HEADER + n);
    EXPECT_EQ(get32(m.body), kind);
    EXPECT_EQ(get32(m.body + 4), reader);
    EXPECT_EQ(get32(m.body + 8), n);
    if (n)
        EXPECT(!memcmp(m.body + VSC_HEADER, data, n));
    message_free(&m);
}

static void expect_error(struct client *c, uint32_t reader, uint32_t code)
{
    uint8_t data[4];
    put32(data, code);
    expect_heard(c, VSC_ERROR, reader, data, sizeof data);
}

/** The device is told this next. */
static void expect_told(struct bench *b, uint32_t kind, const void *data, size_t n)
{
    uint8_t *want = malloc(VSC_HEADER + n);
    size_t size = be_message(want, kind, 0, data, n);
    EXPECT(chardev_wait_input(&b->card, b->seen + size));
    EXPECT(!memcmp(b->card.in + b->seen, want, size));
    b->seen += size;
    free(want);
}

static void expect_told_nothing(struct bench *b)
{
    host_run_for(20);
    EXPECT_EQ(b->card.in_len, b->seen);
}

/** The device says this, under a number of its own. */
static void device_says(struct bench *b, uint32_t kind, const void *data, size_t n)
{
    uint8_t *bytes = malloc(VSC_HEADER + n);
    chardev_say(&b->card, bytes, be_message(bytes, kind, 5, data, n));
    free(bytes);
}

static void add_reader(struct bench *b)
{
    say(&b->c, VSC_READER_ADD, UNDEFINED, "name", 4);
    expect_told(b, VSC_READER_ADD, NULL, 0);
}

static void a_card_s_life(void)
{
    static const uint8_t success[4], failure[4] = { 0, 0, 0, 1 };
    struct bench b;
    open_bench(&b);
    EXPECT_EQ(b.c.reply.n_channel, 0);
    EXPECT(client_silent(&b.c, 20));
    add_reader(&b);
    device_says(&b, VSC_ERROR, success, 4);
    expect_heard(&b.c, VSC_ERROR, 0, success, 4);
    say(&b.c, VSC_ATR, 0, "\x3b\x02\x14\x50", 4);
    expect_told(&b, VSC_ATR, "\x3b\x02\x14\x50", 4);
    device_says(&b, VSC_APDU, "\0\xa4\4\0\7", 5);
    expect_heard(&b.c, VSC_APDU, 0, "\0\xa4\4\0\7", 5);
    say(&b.c, VSC_APDU, 0, "\x90\0", 2);
    expect_told(&b, VSC_APDU, "\x90\0", 2);
    say(&b.c, VSC_CARD_REMOVE, 0, NULL, 0);
    expect_told(&b, VSC_CARD_REMOVE, NULL, 0);
    say(&b.c, VSC_ERROR, 0, success, 4);
    expect_told(&b, VSC_ERROR, success, 4);
    /* codes of the device pass as they are */
    device_says(&b, VSC_ERROR, failure, 4);
    expect_heard(&b.c, VSC_ERROR, 0, failure, 4);
    say(&b.c, VSC_READER_REMOVE, 0, NULL, 0);
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    expect_told_nothing(&b);
    close_bench(&b);
    EXPECT_EQ(b.card.n_states, 2);
}

static void channel_is_announced(void)
{
    struct bench b;
    struct message m;
    open_server(&b);
    EXPECT(client_send(&b.main_channel, C_MAIN_ATTACH_CHANNELS, NULL, 0));
    client_expect(&b.main_channel, S_MAIN_CHANNELS_LIST, &m);
    EXPECT(message_lists(&m, CH_SMARTCARD, 0));
    message_free(&m);
    close_server(&b);
}

static void full_headers(void)
{
    struct bench b;
    struct link l;
    open_server(&b);
    link_init(&l, CH_SMARTCARD, 0, b.session);
    l.caps[0] &= ~(uint32_t)CAP_MINI_HEADER;
    rig_connect(&b.r, &b.c);
    EXPECT_EQ(client_link_with(&b.c, &l, ""), LINK_OK);
    expect_state(&b, 1);
    add_reader(&b);
    device_says(&b, VSC_APDU, "hello", 5);
    expect_heard(&b.c, VSC_APDU, 0, "hello", 5);
    close_bench(&b);
}

static void init_goes_nowhere(void)
{
    struct bench b;
    open_bench(&b);
    say(&b.c, VSC_INIT, 0, "VSCD\0\0\2\0\0\0\0\0", 12);
    expect_told_nothing(&b);
    device_says(&b, VSC_INIT, "VSCD\0\0\2\0\0\0\0\0", 12);
    EXPECT(client_silent(&b.c, 20));
    close_bench(&b);
}

static void device_messages_split_anywhere(void)
{
    struct bench b;
    uint8_t bytes[400];
    open_bench(&b);
    for (int chunk = 1; chunk < 40; chunk += 1 + chunk / 8) {
        size_t n = 0;
        b.card.read_chunk = chunk;
        n += be_message(bytes + n, VSC_APDU, 9, "one", 3);
        n += be_message(bytes + n, VSC_APDU, 9, NULL, 0);
        n += be_message(bytes + n, VSC_INIT, 9, "init", 4);
        n += be_message(bytes + n, VSC_CARD_REMOVE, 9, "three", 5);
        chardev_say(&b.card, bytes, n);
        EXPECT_EQ(chardev_unread(&b.card), 0);
        expect_heard(&b.c, VSC_APDU, 0, "one", 3);
        expect_heard(&b.c, VSC_APDU, 0, NULL, 0);
        expect_heard(&b.c, VSC_CARD_REMOVE, 0, "three", 5);
    }
    /* some now, the rest later */
    b.card.read_chunk = 0;
    be_message(bytes, VSC_APDU, 9, "later", 5);
    for (size_t i = 0; i < VSC_HEADER + 5; i++) {
        EXPECT(client_silent(&b.c, 2));
        chardev_say(&b.card, bytes + i, 1);
    }
    expect_heard(&b.c, VSC_APDU, 0, "later", 5);
    close_bench(&b);
}

static void long_messages_to_the_device(void)
{
    static const size_t sizes[] = { 270, 271, 1024, 30000, QEMU_BUFFER - VSC_HEADER };
    static uint8_t data[QEMU_BUFFER];
    struct bench b;
    open_bench(&b);
    chardev_fill(data, sizeof data, 0);
    add_reader(&b);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        say(&b.c, VSC_APDU, 0, data, sizes[i]);
        expect_told(&b, VSC_APDU, data, sizes[i]);
    }
    close_bench(&b);
}

static void short_messages_from_the_device(void)
{
    static uint8_t data[270]; /* a short command with all that it can have */
    struct bench b;
    open_bench(&b);
    chardev_fill(data, sizeof data, 0);
    for (size_t n = 0; n <= sizeof data; n++) {
        device_says(&b, VSC_APDU, data, n);
        expect_heard(&b.c, VSC_APDU, 0, data, n);
    }
    close_bench(&b);
}

static void long_messages_from_the_device(void)
{
    static const size_t sizes[] = { 271, 1024, 4097, 30000, 65544 };
    static uint8_t data[65544]; /* the longest command of ISO 7816-4 */
    struct bench b;
    open_bench(&b);
    chardev_fill(data, sizeof data, 0);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        device_says(&b, VSC_APDU, data, sizes[i]);
        expect_heard(&b.c, VSC_APDU, 0, data, sizes[i]);
    }
    close_bench(&b);
}

static void surplus_bytes_stay_here(void)
{
    struct bench b;
    open_bench(&b);
    add_reader(&b);
    EXPECT(send_as(&b.c, VSC_APDU, 0, 3, "onesurplus", 10));
    EXPECT(send_as(&b.c, VSC_CARD_REMOVE, 0, 0, "surplus", 7));
    expect_told(&b, VSC_APDU, "one", 3);
    expect_told(&b, VSC_CARD_REMOVE, NULL, 0);
    expect_told_nothing(&b);
    close_bench(&b);
}

static void only_an_added_reader_is_removed(void)
{
    struct bench b;
    open_bench(&b);
    static const uint32_t others[] = { 1, 7, 10, 0x80000000, UNDEFINED };
    for (size_t i = 0; i < TAP_COUNT(others); i++) {
        say(&b.c, VSC_READER_REMOVE, others[i], NULL, 0);
        expect_error(&b.c, others[i], GENERAL_ERROR);
    }
    say(&b.c, VSC_READER_REMOVE, 0, NULL, 0);
    expect_error(&b.c, 0, GENERAL_ERROR);
    add_reader(&b);
    say(&b.c, VSC_READER_REMOVE, 1, NULL, 0);
    expect_error(&b.c, 1, GENERAL_ERROR);
    say(&b.c, VSC_READER_REMOVE, 0, NULL, 0);
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    say(&b.c, VSC_READER_REMOVE, 0, NULL, 0);
    expect_error(&b.c, 0, GENERAL_ERROR);
    add_reader(&b);
    expect_told_nothing(&b);
    close_bench(&b);
}

/* The second session of a spice-gtk begins so. The card goes with its client. */
static void card_without_reader_add(void)
{
    struct bench b;
    open_bench(&b);
    say(&b.c, VSC_APDU, 0, "\x90", 1);
    expect_told(&b, VSC_APDU, "\x90", 1);
    leave(&b);
    expect_told_nothing(&b);
    connect_card(&b, &b.c);
    say(&b.c, VSC_ATR, 0, "\x3b", 1);
    expect_told(&b, VSC_ATR, "\x3b", 1);
    leave(&b);
    if (differs(DIFF_CARD_STAYS, true, false))
        expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    expect_told_nothing(&b);
    close_server(&b);
}

static void reader_goes_with_its_client(void)
{
    struct bench b;
    open_bench(&b);
    for (int i = 0; i < 3; i++) {
        add_reader(&b);
        say(&b.c, VSC_ATR, 0, "\x3b", 1);
        expect_told(&b, VSC_ATR, "\x3b", 1);
        leave(&b);
        expect_told(&b, VSC_READER_REMOVE, NULL, 0);
        connect_card(&b, &b.c);
    }
    /* without READER_ADD there is nothing to remove */
    leave(&b);
    expect_told_nothing(&b);
    connect_card(&b, &b.c);
    add_reader(&b);
    say(&b.c, VSC_READER_REMOVE, 0, NULL, 0);
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    leave(&b);
    expect_told_nothing(&b);
    close_server(&b);
}

static void nothing_stays_in_the_device(void)
{
    struct bench b;
    open_server(&b);
    device_says(&b, VSC_APDU, "nobody", 6);
    EXPECT_EQ(chardev_unread(&b.card), 0);
    connect_card(&b, &b.c);
    EXPECT(client_silent(&b.c, 20));
    device_says(&b, VSC_APDU, "somebody", 8);
    expect_heard(&b.c, VSC_APDU, 0, "somebody", 8);
    leave(&b);
    device_says(&b, VSC_APDU, "nobody", 6);
    EXPECT_EQ(chardev_unread(&b.card), 0);
    connect_card(&b, &b.c);
    EXPECT(client_silent(&b.c, 20));
    close_bench(&b);
}

/* QEMU's reader answers from inside the write. */
static void answer_inside_write(struct chardev *d)
{
    uint8_t bytes[VSC_HEADER + 4];
    chardev_say(d, bytes, be_message(bytes, VSC_ERROR, 0, "\0\0\0", 4));
}

static void device_answers_at_once(void)
{
    static const uint8_t success[4];
    struct bench b;
    open_bench(&b);
    b.card.in_write = answer_inside_write;
    for (int i = 0; i < 10; i++) {
        add_reader(&b);
        expect_heard(&b.c, VSC_ERROR, 0, success, 4);
    }
    leave(&b);
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    EXPECT_EQ(chardev_unread(&b.card), 0);
    connect_card(&b, &b.c);
    EXPECT(client_silent(&b.c, 20));
    close_bench(&b);
}

static void a_slow_device_gets_everything(void)
{
    static uint8_t data[10000];
    enum { MESSAGES = 200 };
    struct bench b;
    open_bench(&b);
    add_reader(&b);
    b.card.accept = 0;
    b.card.write_chunk = 777;
    uint8_t *all = malloc(MESSAGES * (12 + VSC_HEADER + sizeof data)), *end = all;
    for (int i = 0; i < MESSAGES; i++) {
        chardev_fill(data, sizeof data, (uint64_t)i);
        end = put32(put16(end, VSC_DATA), VSC_HEADER + sizeof data);
        end = put32(put32(put32(end, VSC_APDU), 0), sizeof data);
        memcpy(end, data, sizeof data);
        end += sizeof data;
    }
    size_t size = (size_t)(end - all);
    size_t sent = client_write_some(&b.c, all, size, 100);
    EXPECT_EQ(b.card.in_len, b.seen);
    chardev_accept(&b.card, CHARDEV_UNLIMITED);
    EXPECT(client_write(&b.c, all + sent, size - sent));
    for (int i = 0; i < MESSAGES; i++) {
        chardev_fill(data, sizeof data, (uint64_t)i);
        expect_told(&b, VSC_APDU, data, sizeof data);
    }
    free(all);
    close_bench(&b);
}

/* While the device takes nothing, the client is held up and no memory is filled. */
static void a_client_is_held_up(void)
{
    struct bench b;
    open_bench(&b);
    add_reader(&b);
    b.card.accept = 0;
    enum { LOT = 64 << 20 };
    uint8_t *all = malloc(LOT), *end = all;
    uint8_t *unit_end = put32(put32(put32(put32(put16(end, VSC_DATA), VSC_HEADER + 2000), VSC_APDU), 0), 2000);
    size_t unit = (size_t)(unit_end - all) + 2000;
    memset(unit_end, 7, 2000);
    size_t units = LOT / unit;
    for (size_t i = 1; i < units; i++)
        memcpy(all + i * unit, all, unit);
    size_t sent = client_write_some(&b.c, all, units * unit, 100);
    EXPECT_MSG(sent < LOT / 4, "%zu bytes are taken", sent);
    free(all);
    chardev_accept(&b.card, CHARDEV_UNLIMITED);
    close_bench(&b);
}

static void a_stopped_machine(void)
{
    struct bench b;
    open_bench(&b);
    spice_server_vm_stop(b.r.server);
    say(&b.c, VSC_READER_ADD, UNDEFINED, NULL, 0);
    say(&b.c, VSC_ATR, 0, "\x3b", 1);
    expect_told_nothing(&b);
    spice_server_vm_start(b.r.server);
    expect_told(&b, VSC_READER_ADD, NULL, 0);
    expect_told(&b, VSC_ATR, "\x3b", 1);
    close_bench(&b);
}

static void one_channel_a_session(void)
{
    struct bench b;
    struct client second;
    open_bench(&b);
    add_reader(&b);
    rig_channel(&b.r, &second, CH_SMARTCARD, 0, b.session);
    EXPECT(client_at_eof(&second));
    client_close(&second);
    EXPECT_EQ(b.card.n_states, 1);
    device_says(&b, VSC_APDU, "still", 5);
    expect_heard(&b.c, VSC_APDU, 0, "still", 5);
    close_bench(&b);
}

/* Two clients at a time: the second one waits for the reader. */
static void second_client_waits(void)
{
    struct bench b;
    struct client main_channel, c;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    open_bench(&b);
    add_reader(&b);
    uint32_t session = rig_main(&b.r, &main_channel);
    rig_channel(&b.r, &c, CH_SMARTCARD, 0, session);
    say(&c, VSC_READER_ADD, UNDEFINED, "mine", 4);
    expect_error(&c, UNDEFINED, CANNOT_ADD_MORE);
    EXPECT_EQ(b.card.n_states, 1);
    device_says(&b, VSC_APDU, "first", 5);
    expect_heard(&b.c, VSC_APDU, 0, "first", 5);
    leave(&b);
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    say(&c, VSC_READER_ADD, UNDEFINED, "mine", 4);
    expect_told(&b, VSC_READER_ADD, NULL, 0);
    expect_state(&b, 1);
    device_says(&b, VSC_APDU, "second", 6);
    expect_heard(&c, VSC_APDU, 0, "second", 6);
    client_close(&c);
    expect_state(&b, 0);
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    client_close(&main_channel);
    close_server(&b);
}

static void a_card_without_a_reader_ends_the_channel(void)
{
    static const uint32_t kinds[] = { VSC_ERROR, VSC_ATR, VSC_CARD_REMOVE, VSC_APDU,
                                      VSC_READER_REMOVE };
    struct bench b;
    struct client main_channel, c;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    open_bench(&b);
    uint32_t session = rig_main(&b.r, &main_channel);
    for (size_t i = 0; i < TAP_COUNT(kinds); i++) {
        rig_channel(&b.r, &c, CH_SMARTCARD, 0, session);
        say(&c, kinds[i], 0, "data", 4);
        if (kinds[i] == VSC_READER_REMOVE)
            expect_error(&c, 0, GENERAL_ERROR);
        else
            EXPECT_MSG(client_at_eof(&c), "kind %u", kinds[i]);
        client_close(&c);
    }
    expect_told_nothing(&b);
    client_close(&main_channel);
    close_bench(&b);
}

static void leaves_while_the_next_one_links(void)
{
    struct bench b;
    struct client next;
    open_bench(&b);
    for (int i = 0; i < 20; i++) {
        add_reader(&b);
        client_close(&b.c);
        rig_channel(&b.r, &next, CH_SMARTCARD, 0, b.session);
        expect_state(&b, 0);
        expect_state(&b, 1);
        expect_told(&b, VSC_READER_REMOVE, NULL, 0);
        b.c = next;
    }
    close_bench(&b);
}

static void no_such_reader(void)
{
    static const uint32_t kinds[] = { VSC_ERROR, VSC_ATR, VSC_CARD_REMOVE, VSC_APDU };
    static const uint32_t readers[] = { 1, 9, 10, 0x80000000, UNDEFINED };
    struct bench b;
    open_server(&b);
    for (size_t i = 0; i < TAP_COUNT(kinds); i++) {
        for (size_t j = 0; j < TAP_COUNT(readers); j++) {
            connect_card(&b, &b.c);
            add_reader(&b);
            say(&b.c, kinds[i], readers[j], "data", 4);
            EXPECT_MSG(client_at_eof(&b.c), "kind %u, reader %u", kinds[i], readers[j]);
            leave(&b);
            expect_told(&b, VSC_READER_REMOVE, NULL, 0);
        }
    }
    close_server(&b);
}

static void shorter_than_announced(void)
{
    static const uint8_t data[100];
    static const struct { uint32_t size, announced; } bodies[] = {
        { 0, 0 }, { 1, 0 }, { 4, 0 }, { 11, 0 }, { 12, 1 }, { 12, 0xffffffff },
        { 12, 0xfffffff4 }, { 12, 0x7fffffff }, { 50, 39 }, { 50, 0xfffffff5 },
    };
    struct bench b;
    uint8_t body[VSC_HEADER + sizeof data];
    open_server(&b);
    for (size_t i = 0; i < TAP_COUNT(bodies); i++) {
        connect_card(&b, &b.c);
        put32(put32(put32(body, VSC_APDU), 0), bodies[i].announced);
        memcpy(body + VSC_HEADER, data, sizeof data);
        EXPECT(client_send(&b.c, VSC_DATA, body, bodies[i].size));
        EXPECT_MSG(client_at_eof(&b.c), "number %zu is taken", i);
        leave(&b);
    }
    expect_told_nothing(&b);
    close_server(&b);
}

static void unknown_kinds_are_passed_over(void)
{
    static const uint32_t kinds[] = { 0, VSC_FLUSH, VSC_FLUSH_COMPLETE, 10, 0x01000000, UNDEFINED };
    struct bench b;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(kinds); i++) {
        say(&b.c, kinds[i], 0, "data", 4);
        say(&b.c, kinds[i], UNDEFINED, NULL, 0);
    }
    add_reader(&b);
    EXPECT(client_silent(&b.c, 0));
    close_bench(&b);
}

static void unknown_types_end_the_channel(void)
{
    static const uint16_t types[] = { 7, 50, 100, 102, 201, 65535 };
    struct bench b;
    open_server(&b);
    for (size_t i = 0; i < TAP_COUNT(types); i++) {
        connect_card(&b, &b.c);
        EXPECT(client_send(&b.c, types[i], "0123456789012345", 16));
        EXPECT_MSG(client_at_eof(&b.c), "type %u", types[i]);
        leave(&b);
    }
    expect_told_nothing(&b);
    close_server(&b);
}

static void flush_mark_ends_the_channel(void)
{
    struct bench b;
    open_bench(&b);
    EXPECT(client_send(&b.c, C_FLUSH_MARK, NULL, 0));
    EXPECT(client_at_eof(&b.c));
    close_bench(&b);
}

static void migrate_data_is_not_expected(void)
{
    static const uint8_t body[42] = { 'S', 'C', 'M', 'D', 1 };
    struct bench b;
    open_bench(&b);
    EXPECT(client_send(&b.c, C_MIGRATE_DATA, body, sizeof body));
    EXPECT(client_at_eof(&b.c));
    expect_told_nothing(&b);
    close_bench(&b);
}

/* QEMU's reader would never take the end of a message that is longer than its buffer,
 * and every client after this one would find it blocked. */
static void longer_than_the_reader_takes(void)
{
    static uint8_t data[QEMU_BUFFER - VSC_HEADER + 1];
    static const uint32_t announced[] = { QEMU_BUFFER + 1, 1 << 24, 0x7fffffff, 0xffffffff };
    struct bench b;
    open_server(&b);
    connect_card(&b, &b.c);
    EXPECT(send_as(&b.c, VSC_APDU, 0, sizeof data, data, sizeof data));
    EXPECT(client_closed(&b.c));
    leave(&b);
    for (size_t i = 0; i < TAP_COUNT(announced); i++) {
        connect_card(&b, &b.c);
        EXPECT(client_send_header(&b.c, VSC_DATA, announced[i]));
        EXPECT_MSG(client_at_eof(&b.c), "%u bytes are announced", announced[i]);
        leave(&b);
    }
    expect_told_nothing(&b);
    close_server(&b);
}

static void a_device_that_announces_much(void)
{
    static const uint32_t lengths[] = { 128 * 1024 + 1, 1 << 24, 1 << 28, 0xffffffff };
    uint8_t header[VSC_HEADER];
    struct bench b;
    open_bench(&b);
    tap_peak_reset();
    long before = tap_peak_kib();
    for (size_t i = 0; i < TAP_COUNT(lengths); i++) {
        put_be(header, VSC_APDU);
        put_be(header + 4, 0);
        put_be(header + 8, lengths[i]);
        chardev_say(&b.card, header, sizeof header);
        if (i < 3) {
            chardev_generate(&b.card, lengths[i]);
            device_says(&b, VSC_APDU, "after", 5);
            expect_heard(&b.c, VSC_APDU, 0, "after", 5);
        }
    }
    EXPECT(client_silent(&b.c, 20));
    EXPECT_MSG(tap_peak_kib() - before < 4096, "%ld KiB", tap_peak_kib() - before);
    close_bench(&b);
}

/* What the device says cannot wait in it: a client that does not read is cut. */
static void a_client_that_never_reads(void)
{
    static uint8_t data[60000];
    struct bench b;
    open_bench(&b);
    add_reader(&b);
    int said = 0;
    while (b.card.n_states == 1 && said < 2000) {
        device_says(&b, VSC_APDU, data, sizeof data);
        EXPECT_EQ(chardev_unread(&b.card), 0);
        host_drain();
        said++;
    }
    EXPECT_MSG(said < 2000, "120 MB wait for the client");
    expect_told(&b, VSC_READER_REMOVE, NULL, 0);
    leave(&b);
    connect_card(&b, &b.c);
    close_bench(&b);
}

static void asks_and_never_reads(void)
{
    struct bench b;
    uint8_t unit[6 + VSC_HEADER];
    open_bench(&b);
    put32(put32(put32(put32(put16(unit, VSC_DATA), VSC_HEADER), VSC_READER_REMOVE), 9), 0);
    enum { MANY = 1 << 20 };
    uint8_t *all = malloc(MANY * sizeof unit);
    for (size_t i = 0; i < MANY; i++)
        memcpy(all + i * sizeof unit, unit, sizeof unit);
    client_write_some(&b.c, all, MANY * sizeof unit, 200);
    expect_state(&b, 0);
    free(all);
    client_close(&b.c);
    connect_card(&b, &b.c);
    close_bench(&b);
}

static void noise(void)
{
    struct bench b;
    unsigned seed = 7;
    open_server(&b);
    for (int i = 0; i < 100; i++) {
        connect_card(&b, &b.c);
        for (int j = 0; j < 20; j++) {
            uint8_t body[64];
            size_t n = (size_t)rand_r(&seed) % sizeof body;
            for (size_t k = 0; k < n; k++)
                body[k] = (uint8_t)(rand_r(&seed) % 4 ? 0 : rand_r(&seed));
            body[0] = (uint8_t)(rand_r(&seed) % 11);
            if (!client_send(&b.c, VSC_DATA, body, (uint32_t)n))
                break;
        }
        host_drain();
        leave(&b);
    }
    b.seen = b.card.in_len;
    connect_card(&b, &b.c);
    add_reader(&b);
    close_bench(&b);
}

static void removal_ends_the_channel(void)
{
    struct bench b;
    open_bench(&b);
    add_reader(&b);
    chardev_remove(&b.card);
    EXPECT_EQ(b.card.n_states, 2);
    EXPECT(client_closed(&b.c));
    leave(&b);
    client_close(&b.main_channel);
    rig_close(&b.r);
}

static void reader_comes_again(void)
{
    struct bench b;
    struct link l;
    open_bench(&b);
    for (int i = 0; i < 5; i++) {
        add_reader(&b);
        chardev_remove(&b.card);
        EXPECT(client_closed(&b.c));
        leave(&b);
        link_init(&l, CH_SMARTCARD, 0, b.session);
        rig_connect(&b.r, &b.c);
        EXPECT(client_send_link(&b.c, &l));
        EXPECT(client_at_eof(&b.c));
        client_close(&b.c);
        chardev_prepare(&b.card, "smartcard", NULL);
        EXPECT_EQ(chardev_add(&b.card, b.r.server), 0);
        EXPECT(b.card.added);
        b.seen = 0;
        b.states = 0;
        connect_card(&b, &b.c);
    }
    add_reader(&b);
    device_says(&b, VSC_APDU, "hello", 5);
    expect_heard(&b.c, VSC_APDU, 0, "hello", 5);
    close_bench(&b);
}

static void second_reader_is_refused(void)
{
    struct bench b;
    struct chardev second;
    open_bench(&b);
    for (int i = 0; i < 3; i++) {
        chardev_prepare(&second, "smartcard", NULL);
        tap_log_mark();
        EXPECT_EQ(chardev_add(&second, b.r.server), -1);
        EXPECT(!second.added);
        EXPECT_EQ(tap_log_lines("reader"), 1);
        EXPECT_EQ(spice_server_remove_interface(&second.sin.base), -1);
        chardev_forget(&second);
    }
    EXPECT_EQ(second.reads + second.writes + second.n_states, 0);
    add_reader(&b);
    close_bench(&b);
}

static void device_outlives_its_server(void)
{
    struct bench b;
    open_bench(&b);
    add_reader(&b);
    leave(&b);
    client_close(&b.main_channel);
    rig_close(&b.r);
    chardev_forget(&b.card);
}

static const struct tap_case cases[] = {
    TAP_CASE(a_card_s_life),
    TAP_CASE(channel_is_announced),
    TAP_CASE(full_headers),
    TAP_CASE(init_goes_nowhere),
    TAP_CASE(device_messages_split_anywhere),
    TAP_CASE(long_messages_to_the_device),
    TAP_CASE(short_messages_from_the_device),
    TAP_CASE(long_messages_from_the_device),
    TAP_CASE(surplus_bytes_stay_here),
    TAP_CASE(only_an_added_reader_is_removed),
    TAP_CASE(card_without_reader_add),
    TAP_CASE(reader_goes_with_its_client),
    TAP_CASE(nothing_stays_in_the_device),
    TAP_CASE(device_answers_at_once),
    TAP_CASE(a_slow_device_gets_everything),
    TAP_CASE(a_client_is_held_up),
    TAP_CASE(a_stopped_machine),
    TAP_CASE(one_channel_a_session),
    TAP_CASE(second_client_waits),
    TAP_CASE(a_card_without_a_reader_ends_the_channel),
    TAP_CASE(leaves_while_the_next_one_links),
    TAP_CASE(no_such_reader),
    TAP_CASE(shorter_than_announced),
    TAP_CASE(unknown_kinds_are_passed_over),
    TAP_CASE(unknown_types_end_the_channel),
    TAP_CASE(flush_mark_ends_the_channel),
    TAP_CASE(migrate_data_is_not_expected),
    TAP_CASE(longer_than_the_reader_takes),
    TAP_CASE(a_device_that_announces_much),
    TAP_CASE(a_client_that_never_reads),
    TAP_CASE(asks_and_never_reads),
    TAP_CASE(noise),
    TAP_CASE(removal_ends_the_channel),
    TAP_CASE(reader_comes_again),
    TAP_CASE(second_reader_is_refused),
    TAP_CASE(device_outlives_its_server),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "smartcard", cases, TAP_COUNT(cases));
}
