/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Getting, adding and releasing write buffers; tokens from clients; the pool. */
#define _GNU_SOURCE
#include "device.h"

#include <malloc.h>
#include <stdlib.h>
#include <string.h>

static struct old d;

enum { ORIGIN_NONE, ORIGIN_CLIENT, ORIGIN_SERVER, ORIGIN_SERVER_NO_TOKEN };

static void release(SpiceCharDeviceWriteBuffer *b)
{
    spice_char_device_write_buffer_release(d.st, b);
}

/* ---- fields ---- */

static void expect_fresh(const SpiceCharDeviceWriteBuffer *b, int origin, RedClient *client)
{
    EXPECT(b != NULL);
    EXPECT_EQ(b->origin, origin);
    EXPECT(b->client == client);
    EXPECT_EQ(b->buf_used, 0);
    EXPECT_EQ(b->token_price, 1);
    EXPECT_EQ(b->refs, 1);
    EXPECT(b->buf != NULL);
    EXPECT(b->buf_size >= 100);
    memset(b->buf, 0x5a, b->buf_size);
}

static void fields_of_a_fresh_buffer(void)
{
    old_open_started(&d, 1, 10);
    old_add(&d, 'A', 0, 10, 10);
    /* the second round meets what the first has released */
    for (int i = 0; i < 2; i++) {
        SpiceCharDeviceWriteBuffer *a, *b, *c;
        a = spice_char_device_write_buffer_get(d.st, old_client('A'), 100);
        b = spice_char_device_write_buffer_get(d.st, NULL, 100);
        c = spice_char_device_write_buffer_get_server_no_token(d.st, 100);
        expect_fresh(a, ORIGIN_CLIENT, old_client('A'));
        expect_fresh(b, ORIGIN_SERVER, NULL);
        expect_fresh(c, ORIGIN_SERVER_NO_TOKEN, NULL);
        EXPECT(a != b && b != c && a->buf != b->buf && b->buf != c->buf);
        a->buf_used = b->buf_used = c->buf_used = 7;
        release(a);
        release(b);
        release(c);
    }
    old_close(&d);
}

/* ---- self tokens ---- */

static void server_buffers_take_self_tokens(void)
{
    old_open_started(&d, 1, 2);
    SpiceCharDeviceWriteBuffer *a = old_get(&d, 0, "a"), *b = old_get(&d, 0, "b");
    EXPECT(a && b);
    EXPECT(!old_get(&d, 0, "c"));
    EXPECT_NO_LOG();
    EXPECT_TRACE(&d, "");
    release(a);
    EXPECT_TRACE(&d, "self");
    a = old_get(&d, 0, "c");
    EXPECT(a != NULL);
    EXPECT(!old_get(&d, 0, "d"));
    spice_char_device_write_buffer_add(d.st, b);
    spice_char_device_write_buffer_add(d.st, a);
    EXPECT_TRACE(&d, "w1=1 self w1=1 self");
    EXPECT(!strcmp(d.in, "bc"));
    old_close(&d);
}

static void self_token_comes_back_with_the_last_byte(void)
{
    old_open_started(&d, 1, 1);
    d.accept = 2;
    EXPECT(old_put(&d, 0, "abc"));
    EXPECT_TRACE(&d, "w3=2 w1=0");
    EXPECT(!old_get(&d, 0, "x"));
    old_accept(&d, 1);
    EXPECT_TRACE(&d, "w1=1 self");
    old_close(&d);
}

static void buffers_without_token_need_none(void)
{
    old_open_started(&d, 1, 0);
    EXPECT(!old_get(&d, 0, "x"));
    SpiceCharDeviceWriteBuffer *b[20];
    for (int i = 0; i < 20; i++)
        EXPECT((b[i] = old_get(&d, 1, "x")) != NULL);
    for (int i = 0; i < 10; i++)
        release(b[i]);
    EXPECT_TRACE(&d, "");
    for (int i = 10; i < 20; i++)
        spice_char_device_write_buffer_add(d.st, b[i]);
    EXPECT_EQ(d.calls[AT_WRITE], 10);
    EXPECT_EQ(d.calls[AT_SELF], 0);
    EXPECT(!old_get(&d, 0, "x"));
    old_close(&d);
}

static void self_tokens_may_be_all_32_bits(void)
{
    old_open_started(&d, 1, ~0u);
    for (int i = 0; i < 100; i++)
        EXPECT(old_put(&d, 0, "x"));
    EXPECT_EQ(d.in_len, 100);
    old_close(&d);
}

/* ---- tokens of a client ---- */

static void client_buffers_take_the_window(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 2, 0);
    SpiceCharDeviceWriteBuffer *a = old_get(&d, 'A', "a"), *b = old_get(&d, 'A', "b");
    EXPECT(a && b);
    EXPECT_NO_LOG();
    EXPECT(!old_get(&d, 'A', "c"));
    EXPECT_REFUSED();
    EXPECT_TRACE(&d, "xA");
    release(a);
    release(b);
    old_close(&d);
}

static void remove_inside_remove(struct old *o, enum old_at at)
{
    if (at == AT_REMOVE)
        old_remove(o, (char)('A' + (o->last_client == old_client('B'))));
}

static void violation_may_remove_the_client_inside_get(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 0, 0);
    d.hook = remove_inside_remove;
    EXPECT(!old_get(&d, 'A', "a"));
    EXPECT_TRACE(&d, "xA");
    EXPECT(!spice_char_device_client_exists(d.st, old_client('A')));
    old_close(&d);
}

static void tokens_come_back_in_lots(void)
{
    old_open_started(&d, 3, 0);
    old_add(&d, 'A', 0, 5, 0);
    EXPECT(old_put(&d, 'A', "a") && old_put(&d, 'A', "b"));
    EXPECT_TRACE(&d, "w1=1 w1=1");
    EXPECT(old_put(&d, 'A', "c"));
    EXPECT_TRACE(&d, "w1=1 tA:3");
    for (int i = 0; i < 30; i++)
        EXPECT(old_put(&d, 'A', "x"));
    EXPECT_EQ(d.calls[AT_TOKENS], 11);
    old_close(&d);
}

static void tokens_kept_back_are_not_in_the_window(void)
{
    old_open_started(&d, 3, 0);
    old_add(&d, 'A', 0, 2, 0);
    EXPECT(old_put(&d, 'A', "a") && old_put(&d, 'A', "b"));
    EXPECT(!old_put(&d, 'A', "c"));
    EXPECT_TRACE(&d, "w1=1 w1=1 xA");
    old_close(&d);
}

static void interval_0_returns_each_token(void)
{
    old_open_started(&d, 0, 0);
    old_add(&d, 'A', 0, 1, 0);
    EXPECT(old_put(&d, 'A', "a") && old_put(&d, 'A', "b"));
    EXPECT_TRACE(&d, "w1=1 tA:1 w1=1 tA:1");
    old_close(&d);
}

static void release_gives_the_token_back(void)
{
    old_open_started(&d, 2, 0);
    old_add(&d, 'A', 0, 2, 0);
    for (int i = 0; i < 10; i++) {
        SpiceCharDeviceWriteBuffer *a = old_get(&d, 'A', "a"), *b = old_get(&d, 'A', "b");
        EXPECT(a && b);
        release(b);
        EXPECT_TRACE(&d, "");
        release(a);
        EXPECT_TRACE(&d, "tA:2");
    }
    EXPECT_EQ(d.calls[AT_WRITE], 0);
    old_close(&d);
}

static void without_flow_control_there_are_no_tokens(void)
{
    old_open_started(&d, 1, 0);
    old_add_plain(&d, 'A');
    for (int i = 0; i < 50; i++)
        EXPECT(old_put(&d, 'A', "x"));
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 'A', "x");
    release(b);
    EXPECT_EQ(d.calls[AT_WRITE], 50);
    EXPECT_EQ(d.calls[AT_TOKENS], 0);
    EXPECT_EQ(d.calls[AT_SELF], 0);
    old_close(&d);
}

static void tokens_are_each_clients_own(void)
{
    old_open_started(&d, 2, 0);
    old_add(&d, 'A', 0, 2, 0);
    old_add(&d, 'B', 0, 2, 0);
    EXPECT(old_put(&d, 'A', "a") && old_put(&d, 'B', "b"));
    EXPECT_TRACE(&d, "w1=1 w1=1");
    EXPECT(old_put(&d, 'A', "a") && old_put(&d, 'B', "b"));
    EXPECT_TRACE(&d, "w1=1 tA:2 w1=1 tB:2");
    old_close(&d);
}

static void get_inside_tokens(struct old *o, enum old_at at)
{
    static int times = 3;
    if (at == AT_TOKENS && times-- > 0)
        EXPECT(old_put(o, 'A', "y"));
}

static void tokens_are_back_inside_their_callback(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 1, 0);
    d.hook = get_inside_tokens;
    EXPECT(old_put(&d, 'A', "x"));
    EXPECT_TRACE(&d, "w1=1 tA:1 w1=1 tA:1 w1=1 tA:1 w1=1 tA:1");
    old_close(&d);
}

/* ---- buffers of clients that left ---- */

static void queued_buffers_go_with_their_client(void)
{
    old_open(&d, 1, 0);
    old_add(&d, 'A', 0, 5, 0);
    old_add(&d, 'B', 0, 5, 0);
    EXPECT(old_put(&d, 'A', "a") && old_put(&d, 1, "s") && old_put(&d, 'B', "b"));
    EXPECT(old_put(&d, 'A', "aa"));
    old_remove(&d, 'A');
    EXPECT_TRACE(&d, "");
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w1=1 w1=1 tB:1");
    EXPECT(!strcmp(d.in, "sb"));
    old_close(&d);
}

static void a_begun_buffer_is_finished(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 5, 0);
    d.accept = 2;
    EXPECT(old_put(&d, 'A', "abc") && old_put(&d, 'A', "def"));
    EXPECT_TRACE(&d, "w3=2 w1=0 w1=0");
    old_remove(&d, 'A');
    old_accept(&d, OLD_UNLIMITED);
    EXPECT_TRACE(&d, "w1=1");
    EXPECT(!strcmp(d.in, "abc"));
    /* even if it comes back meanwhile, the token is nobody's */
    old_add(&d, 'A', 0, 5, 0);
    d.accept = 1;
    EXPECT(old_put(&d, 'A', "gh"));
    EXPECT_TRACE(&d, "w2=1 w1=0");
    old_remove(&d, 'A');
    old_add(&d, 'A', 0, 5, 0);
    EXPECT_TRACE(&d, "w1=0");
    old_accept(&d, OLD_UNLIMITED);
    EXPECT_TRACE(&d, "w1=1");
    old_close(&d);
}

static void add_after_the_client_left(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 5, 0);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 'A', "abc");
    old_remove(&d, 'A');
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_REFUSED();
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void release_after_the_client_left(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 5, 0);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 'A', "abc");
    old_remove(&d, 'A');
    release(b);
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void a_client_that_returns_is_another_one(void)
{
    old_open_started(&d, 1, 0);
    old_add(&d, 'A', 0, 1, 0);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 'A', "abc");
    old_remove(&d, 'A');
    old_add(&d, 'A', 0, 1, 0);
    release(b);
    /* the window of 1 has not grown by a token of the one before */
    SpiceCharDeviceWriteBuffer *c = old_get(&d, 'A', "x");
    EXPECT(c != NULL);
    EXPECT(!old_get(&d, 'A', "y"));
    release(c);
    old_close(&d);
}

/* ---- memory ---- */

static size_t in_use(void)
{
    struct mallinfo2 m = mallinfo2();
    return m.uordblks + m.hblkhd;
}

/** valgrind and ASAN bring allocators that mallinfo2() knows nothing about. */
static bool allocator_counts(void)
{
    size_t before = in_use();
    void *p = malloc(100000);
    memset(p, 1, 100000);
    bool counts = in_use() >= before + 100000;
    free(p);
    return counts;
}

static void the_pool_is_bounded(void)
{
    enum { BUFFERS = 40, SIZE = 100 * 1024, POOL = 655360 };
    SpiceCharDeviceWriteBuffer *b[BUFFERS];
    old_open_started(&d, 1, 0);
    old_add_plain(&d, 'A');
    size_t before = in_use();
    for (int i = 0; i < BUFFERS; i++) {
        b[i] = spice_char_device_write_buffer_get_server_no_token(d.st, SIZE);
        memset(b[i]->buf, 1, SIZE);
    }
    if (allocator_counts())
        EXPECT(in_use() >= before + (size_t)BUFFERS * SIZE);
    for (int i = 0; i < BUFFERS; i++)
        release(b[i]);
    if (allocator_counts()) {
        size_t kept = in_use() - before;
        EXPECT_MSG(kept < POOL + SIZE + 65536, "%zu bytes kept after release", kept);
    }
    /* with the last client the pool goes too */
    old_remove(&d, 'A');
    if (allocator_counts()) {
        size_t kept = in_use() - before;
        EXPECT_MSG((long)kept < 65536, "%ld bytes kept without clients", (long)kept);
    }
    old_close(&d);
}

static void a_released_buffer_serves_again(void)
{
    old_open_started(&d, 1, 0);
    old_add_plain(&d, 'A');
    SpiceCharDeviceWriteBuffer *b = spice_char_device_write_buffer_get_server_no_token(d.st, 5000);
    release(b);
    size_t before = in_use();
    for (int i = 0; i < 1000; i++) {
        /* smaller, equal and larger than what is pooled */
        b = spice_char_device_write_buffer_get_server_no_token(d.st, 1 + i * 10);
        EXPECT(b && b->buf_size >= (uint32_t)(1 + i * 10));
        memset(b->buf, 0xff, (size_t)(1 + i * 10));
        b->buf_used = 1;
        spice_char_device_write_buffer_add(d.st, b);
    }
    EXPECT_EQ(d.calls[AT_WRITE], 1000);
    if (allocator_counts())
        EXPECT_MSG(in_use() < before + 65536, "%zu bytes more", in_use() - before);
    old_close(&d);
}

static void one_megabyte_in_one_buffer(void)
{
    enum { SIZE = 1 << 20 };
    old_open_started(&d, 1, 1);
    SpiceCharDeviceWriteBuffer *b = spice_char_device_write_buffer_get(d.st, NULL, SIZE);
    EXPECT(b && b->buf_size >= SIZE);
    memset(b->buf, 'm', SIZE);
    b->buf_used = SIZE;
    d.chunk = 60000;
    d.silent = true;
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_EQ(d.calls[AT_WRITE], (SIZE + 59999) / 60000);
    EXPECT_EQ(d.calls[AT_SELF], 1);
    old_close(&d);
}

static void destroy_frees_what_is_queued(void)
{
    old_open_started(&d, 1, 5);
    old_add(&d, 'A', 5, 5, 0);
    d.accept = 1;
    EXPECT(old_put(&d, 0, "abc") && old_put(&d, 'A', "def") && old_put(&d, 1, "ghi"));
    d.trace_len = 0;
    old_close(&d); /* the leak check of valgrind and ASAN looks at this */
}

static const struct tap_case cases[] = {
    TAP_CASE(fields_of_a_fresh_buffer),
    TAP_CASE(server_buffers_take_self_tokens),
    TAP_CASE(self_token_comes_back_with_the_last_byte),
    TAP_CASE(buffers_without_token_need_none),
    TAP_CASE(self_tokens_may_be_all_32_bits),
    TAP_CASE(client_buffers_take_the_window),
    TAP_CASE(violation_may_remove_the_client_inside_get),
    TAP_CASE(tokens_come_back_in_lots),
    TAP_CASE(tokens_kept_back_are_not_in_the_window),
    TAP_CASE(interval_0_returns_each_token),
    TAP_CASE(release_gives_the_token_back),
    TAP_CASE(without_flow_control_there_are_no_tokens),
    TAP_CASE(tokens_are_each_clients_own),
    TAP_CASE(tokens_are_back_inside_their_callback),
    TAP_CASE(queued_buffers_go_with_their_client),
    TAP_CASE(a_begun_buffer_is_finished),
    TAP_CASE(add_after_the_client_left),
    TAP_CASE(release_after_the_client_left),
    TAP_CASE(a_client_that_returns_is_another_one),
    TAP_CASE(the_pool_is_bounded),
    TAP_CASE(a_released_buffer_serves_again),
    TAP_CASE(one_megabyte_in_one_buffer),
    TAP_CASE(destroy_frees_what_is_queued),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-buffers", cases, TAP_COUNT(cases));
}
