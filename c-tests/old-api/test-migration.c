/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The migration block, out and in, and blocks made by an enemy. */
#define _GNU_SOURCE
#include "device.h"

#include <spice-server-rs.h>
#include <stdlib.h>
#include <string.h>

enum { BLOCK = 25, HEADER = 8, MAGIC = 0x4d474d56, MIB = 1 << 20 };

static struct old d;

struct block {
    uint32_t version;
    uint8_t connected;
    uint32_t client_tokens, send_tokens, write_size, write_tokens, data;
};

static const struct block IDLE = { 1, 1, 10, 7, 0, 0, 0 };

/** A whole message: header, block, the text at `data` when that is the usual place. */
static uint8_t *make(const struct block *b, const char *text, size_t *size)
{
    *size = HEADER + BLOCK + strlen(text);
    uint8_t *message = malloc(*size), *p = message;
    p = put32(put32(p, MAGIC), 1);
    p = put8(put32(p, b->version), b->connected);
    p = put32(put32(p, b->client_tokens), b->send_tokens);
    p = put32(put32(put32(p, b->write_size), b->write_tokens), b->data);
    memcpy(p, text, strlen(text));
    return message;
}

static int restore(const struct block *b, const char *text)
{
    size_t size;
    uint8_t *message = make(b, text, &size);
    int result = spice_char_device_state_restore(
        d.st, (SpiceMigrateDataCharDevice *)(message + HEADER));
    free(message);
    return result;
}

/** Adds A, waiting for data, with a window of 10. */
static void add_waiting(void)
{
    EXPECT_EQ(spice_char_device_client_add(d.st, old_client('A'), 1, 5, 10, 0, 1), 1);
}

static void open_waiting(void)
{
    old_open_started(&d, 5, 3);
    add_waiting();
    EXPECT_TRACE(&d, "");
}

/** The message a device makes of itself; to be freed. */
static uint8_t *marshalled(size_t *size)
{
    int must_free;
    SpiceMarshaller *m = spice_marshaller_new();
    spice_marshaller_add_uint32(m, MAGIC);
    spice_marshaller_add_uint32(m, 1);
    spice_char_device_state_migrate_data_marshall(d.st, m);
    EXPECT(spice_marshaller_get_total_size(m) >= HEADER + BLOCK);
    uint8_t *bytes = spice_marshaller_linearize(m, 0, size, &must_free);
    EXPECT(bytes != NULL);
    EXPECT_EQ(*size, spice_marshaller_get_total_size(m));
    uint8_t *copy = malloc(*size);
    memcpy(copy, bytes, *size);
    if (must_free)
        free(bytes);
    spice_marshaller_destroy(m);
    return copy;
}

static void expect_message(const struct block *b, const char *text)
{
    size_t got_size, want_size;
    uint8_t *got = marshalled(&got_size), *want = make(b, text, &want_size);
    EXPECT_EQ(got_size, want_size);
    for (size_t i = 0; i < want_size; i++)
        EXPECT_MSG(got[i] == want[i], "byte %zu is %02x, expected %02x", i, got[i], want[i]);
    free(got);
    free(want);
}

/* ---- out ---- */

static void block_of_an_idle_device(void)
{
    old_open_started(&d, 5, 3);
    old_add(&d, 'A', 5, 10, 7);
    expect_message(&IDLE, "");
    old_close(&d);
}

static void block_without_flow_control(void)
{
    old_open_started(&d, 5, 3);
    old_add_plain(&d, 'A');
    expect_message(&(struct block){ 1, 1, ~0u, ~0u, 0, 0, 0 }, "");
    old_close(&d);
}

static void block_with_unwritten_bytes(void)
{
    old_open_started(&d, 5, 3);
    old_add(&d, 'A', 5, 10, 7);
    d.accept = 1;
    EXPECT(old_put(&d, 'A', "abc") && old_put(&d, 0, "de"));
    EXPECT(old_put(&d, 'A', "f") && old_put(&d, 1, "g"));
    EXPECT_TRACE(&d, "w3=1 w2=0 w2=0 w2=0 w2=0");
    expect_message(&(struct block){ 1, 1, 8, 7, 6, 2, HEADER + BLOCK }, "bcdefg");
    /* the device keeps what it has */
    old_accept(&d, OLD_UNLIMITED);
    EXPECT_TRACE(&d, "w2=2 w2=2 self w1=1 w1=1");
    EXPECT(!strcmp(d.in, "abcdefg"));
    old_close(&d);
}

static void block_counts_both_ways(void)
{
    old_open_started(&d, 5, 3);
    old_add(&d, 'A', 5, 10, 7);
    for (int i = 0; i < 3; i++)
        EXPECT(old_put(&d, 'A', "x"));
    old_say_wake(&d, "aaabbb");
    /* three tokens are kept back for the next lot, and not told */
    expect_message(&(struct block){ 1, 1, 7, 5, 0, 0, 0 }, "");
    old_close(&d);
}

static void a_message_outlives_its_device(void)
{
    size_t size;
    int must_free;
    old_open_started(&d, 5, 3);
    old_add(&d, 'A', 5, 10, 7);
    d.accept = 0;
    EXPECT(old_put(&d, 'A', "abcdef"));
    SpiceMarshaller *m = spice_marshaller_new();
    spice_marshaller_add_uint64(m, MAGIC);
    spice_char_device_state_migrate_data_marshall(d.st, m);
    old_destroy(&d);
    uint8_t *bytes = spice_marshaller_linearize(m, 0, &size, &must_free);
    EXPECT_EQ(size, HEADER + BLOCK + 6);
    EXPECT(!memcmp(bytes + HEADER + BLOCK, "abcdef", 6));
    if (must_free)
        free(bytes);
    spice_marshaller_destroy(m);
    old_close(&d);
}

static void empty_block(void)
{
    size_t size;
    int must_free;
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    spice_char_device_state_migrate_data_marshall_empty(m);
    uint8_t *bytes = spice_marshaller_linearize(m, 0, &size, &must_free);
    EXPECT_EQ(size, BLOCK);
    EXPECT_EQ(get32(bytes), 1);
    for (size_t i = 4; i < BLOCK; i++)
        EXPECT_EQ(bytes[i], 0);
    if (must_free)
        free(bytes);
    spice_marshaller_destroy(m);
}

static void only_one_idle_client_goes_out(void)
{
    static const struct block nothing = { 1, 0, 0, 0, 0, 0, 0 };
    old_open_started(&d, 5, 3);
    expect_message(&nothing, "");
    EXPECT_REFUSED();
    old_add(&d, 'A', 5, 10, 7);
    old_add(&d, 'B', 5, 10, 0);
    expect_message(&nothing, "");
    EXPECT_REFUSED();
    /* a message waits for B */
    old_say_wake(&d, "aaa");
    old_remove(&d, 'A');
    EXPECT_EQ(d.live, 1);
    expect_message(&nothing, "");
    EXPECT_REFUSED();
    old_close(&d);
}

/* ---- in ---- */

static void restore_sets_the_tokens(void)
{
    open_waiting();
    old_say_wake(&d, "aaabbbccc");
    EXPECT_TRACE(&d, "");
    EXPECT_EQ(restore(&(struct block){ 1, 1, 7, 2, 0, 0, 0 }, ""), 1);
    EXPECT_TRACE(&d, "sA:aaa sA:bbb");
    /* 10 - 7 = 3 were consumed before: two more make a lot of 5 */
    EXPECT(old_put(&d, 'A', "x"));
    EXPECT_TRACE(&d, "w1=1");
    EXPECT(old_put(&d, 'A', "x"));
    EXPECT_TRACE(&d, "w1=1 tA:5");
    EXPECT_NO_LOG();
    old_close(&d);
}

static void restore_writes_the_bytes(void)
{
    open_waiting();
    d.chunk = 4;
    EXPECT_EQ(restore(&(struct block){ 1, 1, 7, 2, 6, 2, HEADER + BLOCK }, "abcdef"), 1);
    /* worth two tokens, and one was kept back */
    EXPECT_TRACE(&d, "w6=4 w2=2");
    EXPECT(!strcmp(d.in, "abcdef"));
    EXPECT(old_put(&d, 'A', "x"));
    EXPECT_TRACE(&d, "w1=1");
    EXPECT(old_put(&d, 'A', "x"));
    EXPECT_TRACE(&d, "w1=1 tA:5");
    old_close(&d);
}

static void restored_bytes_of_the_server_take_a_token(void)
{
    open_waiting();
    d.accept = 1;
    EXPECT_EQ(restore(&(struct block){ 1, 1, 10, 2, 3, 0, HEADER + BLOCK }, "abc"), 1);
    EXPECT_TRACE(&d, "w3=1 w2=0");
    SpiceCharDeviceWriteBuffer *a = old_get(&d, 0, "x"), *b = old_get(&d, 0, "x");
    EXPECT(a && b);
    EXPECT(!old_get(&d, 0, "x"));
    old_accept(&d, OLD_UNLIMITED);
    EXPECT_TRACE(&d, "w2=2 self");
    spice_char_device_write_buffer_release(d.st, a);
    spice_char_device_write_buffer_release(d.st, b);
    old_close(&d);
}

static void restored_bytes_survive_their_client(void)
{
    open_waiting();
    d.accept = 1;
    EXPECT_EQ(restore(&(struct block){ 1, 1, 8, 2, 3, 2, HEADER + BLOCK }, "abc"), 1);
    EXPECT_TRACE(&d, "w3=1 w2=0");
    old_remove(&d, 'A');
    old_accept(&d, OLD_UNLIMITED);
    EXPECT_TRACE(&d, "w2=2");
    old_close(&d);
}

static void there_and_back_again(void)
{
    size_t size;
    old_open_started(&d, 5, 3);
    old_add(&d, 'A', 5, 10, 7);
    d.accept = 1;
    EXPECT(old_put(&d, 'A', "abc") && old_put(&d, 0, "de"));
    uint8_t *first = marshalled(&size);
    old_destroy(&d);
    d.trace_len = 0;
    old_create(&d, 5, 3);
    spice_char_device_start(d.st);
    add_waiting();
    d.accept = 0;
    EXPECT_EQ(spice_char_device_state_restore(
                  d.st, (SpiceMigrateDataCharDevice *)(first + HEADER)), 1);
    size_t again;
    uint8_t *second = marshalled(&again);
    EXPECT_EQ(again, size);
    EXPECT(!memcmp(first, second, size));
    free(first);
    free(second);
    old_accept(&d, OLD_UNLIMITED);
    EXPECT(!strcmp(d.in, "abcde"));
    old_close(&d);
}

static void without_flow_control_tokens_are_ignored(void)
{
    old_open_started(&d, 1, 1);
    EXPECT_EQ(spice_char_device_client_add(d.st, old_client('A'), 0, 0, 0, 0, 1), 1);
    EXPECT_EQ(restore(&(struct block){ 1, 1, 3, 1, 3, 1, HEADER + BLOCK }, "abc"), 1);
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "w3=3 sA:aaa sA:bbb");
    EXPECT(old_put(&d, 'A', "x"));
    EXPECT_EQ(d.calls[AT_TOKENS], 0);
    old_close(&d);
}

/* ---- blocks made by an enemy ---- */

/** Refused, logged, and the device waits on for a good one. */
static void refuse(struct block b, const char *text)
{
    tap_log_mark();
    EXPECT_MSG(restore(&b, text) == 0, "accepted: version %u connected %u tokens %u/%u "
               "write %u bytes %u tokens at %u", b.version, b.connected, b.client_tokens,
               b.send_tokens, b.write_size, b.write_tokens, b.data);
    EXPECT_REFUSED();
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "");
}

static void bad_blocks_are_refused(void)
{
    open_waiting();
    old_say(&d, "aaa");
    refuse((struct block){ 2, 1, 10, 7, 0, 0, 0 }, "");
    refuse((struct block){ ~0u, 1, 10, 7, 0, 0, 0 }, "");
    refuse((struct block){ 1, 0, 0, 0, 0, 0, 0 }, "");
    /* more tokens than the window has */
    refuse((struct block){ 1, 1, 11, 7, 0, 0, 0 }, "");
    refuse((struct block){ 1, 1, ~0u, 7, 0, 0, 0 }, "");
    refuse((struct block){ 1, 1, 10, 7, 3, 1, HEADER + BLOCK }, "abc");
    refuse((struct block){ 1, 1, 0, 7, 3, 11, HEADER + BLOCK }, "abc");
    refuse((struct block){ 1, 1, 8, 7, 3, ~0u, HEADER + BLOCK }, "abc");
    refuse((struct block){ 1, 1, ~0u, 7, 3, 2, HEADER + BLOCK }, "abc");
    /* bytes that are nowhere, or more than anybody has */
    refuse((struct block){ 1, 1, 8, 7, 3, 2, 0 }, "abc");
    refuse((struct block){ 1, 1, 8, 7, 64 * MIB + 1, 2, HEADER + BLOCK }, "abc");
    refuse((struct block){ 1, 1, 8, 7, ~0u, 2, HEADER + BLOCK }, "abc");
    refuse((struct block){ 1, 1, 8, 7, ~0u, 0, ~0u }, "abc");
    EXPECT_EQ(spice_char_device_state_restore(d.st, NULL), 0);
    EXPECT_REFUSED();
    EXPECT_EQ(restore(&IDLE, ""), 1);
    EXPECT_TRACE(&d, "sA:aaa");
    old_close(&d);
}

static void no_self_token_for_restored_bytes(void)
{
    old_open_started(&d, 5, 0);
    add_waiting();
    refuse((struct block){ 1, 1, 10, 7, 3, 0, HEADER + BLOCK }, "abc");
    EXPECT_EQ(restore(&IDLE, ""), 1);
    old_close(&d);
}

static void only_a_waiting_device_is_restored(void)
{
    old_open_started(&d, 5, 3);
    refuse(IDLE, "");
    old_add(&d, 'A', 5, 10, 7);
    refuse(IDLE, "");
    old_remove(&d, 'A');
    /* twice */
    add_waiting();
    EXPECT_EQ(restore(&IDLE, ""), 1);
    refuse(IDLE, "");
    old_close(&d);
}

static void nothing_may_be_queued_before(void)
{
    open_waiting();
    EXPECT(old_put(&d, 1, "x"));
    refuse((struct block){ 1, 1, 8, 7, 3, 2, HEADER + BLOCK }, "abc");
    old_close(&d);
}

static int restore_checked(const uint8_t *message, size_t size, size_t offset)
{
    return spice_server_char_device_state_restore(d.st, message, size, offset);
}

static void cut_messages_are_refused(void)
{
    size_t size;
    open_waiting();
    uint8_t *whole = make(&(struct block){ 1, 1, 8, 7, 3, 2, HEADER + BLOCK }, "abc", &size);
    for (size_t cut = 0; cut < size; cut++) {
        uint8_t *part = malloc(cut ? cut : 1); /* exactly: valgrind sees a read behind it */
        memcpy(part, whole, cut);
        tap_log_mark();
        EXPECT_MSG(restore_checked(part, cut, HEADER) == 0, "accepted %zu bytes", cut);
        EXPECT_REFUSED();
        free(part);
    }
    static const size_t offsets[] = { 12, 1000, (size_t)-1, (size_t)-25, (size_t)-8 };
    for (size_t i = 0; i < TAP_COUNT(offsets); i++) {
        EXPECT_EQ(restore_checked(whole, size, offsets[i]), 0);
        EXPECT_REFUSED();
    }
    EXPECT_TRACE(&d, "");
    EXPECT_EQ(restore_checked(whole, size, HEADER), 1);
    EXPECT_TRACE(&d, "w3=3");
    free(whole);
    old_close(&d);
}

static void random_messages_do_no_harm(void)
{
    size_t size;
    int accepted = 0;
    unsigned seed = 1;
    const int rounds = getenv("TAP_SCALE") ? 500 : 20000;
    old_prepare(&d);
    d.silent = true;
    uint8_t *good = make(&(struct block){ 1, 1, 8, 7, 3, 2, HEADER + BLOCK }, "abc", &size);
    for (int i = 0; i < rounds; i++) {
        uint8_t *bad = malloc(size);
        memcpy(bad, good, size);
        for (int n = rand_r(&seed) % 3; n >= 0; n--)
            bad[HEADER + (size_t)rand_r(&seed) % BLOCK] = (uint8_t)(rand_r(&seed) % 40);
        d.out_pos = d.out_len = 0; /* dropped data would make the device active */
        old_create(&d, 5, (uint32_t)rand_r(&seed) % 2);
        spice_char_device_start(d.st);
        add_waiting();
        accepted += restore_checked(bad, size, HEADER);
        old_say_wake(&d, "aaa");
        old_destroy(&d);
        free(bad);
    }
    EXPECT(accepted > 0 && accepted < rounds);
    free(good);
    old_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(block_of_an_idle_device),
    TAP_CASE(block_without_flow_control),
    TAP_CASE(block_with_unwritten_bytes),
    TAP_CASE(block_counts_both_ways),
    TAP_CASE(a_message_outlives_its_device),
    TAP_CASE(empty_block),
    TAP_CASE(only_one_idle_client_goes_out),
    TAP_CASE(restore_sets_the_tokens),
    TAP_CASE(restore_writes_the_bytes),
    TAP_CASE(restored_bytes_of_the_server_take_a_token),
    TAP_CASE(restored_bytes_survive_their_client),
    TAP_CASE(there_and_back_again),
    TAP_CASE(without_flow_control_tokens_are_ignored),
    TAP_CASE(bad_blocks_are_refused),
    TAP_CASE(no_self_token_for_restored_bytes),
    TAP_CASE(only_a_waiting_device_is_restored),
    TAP_CASE(nothing_may_be_queued_before),
    TAP_CASE(cut_messages_are_refused),
    TAP_CASE(random_messages_do_no_harm),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-migration", cases, TAP_COUNT(cases));
}
