/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Binding, the write loop and its retry timer. */
#define _GNU_SOURCE
#include "clock.h"
#include "device.h"

#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

static struct old d;

/* ---- binding ---- */

static void create_binds_the_instance(void)
{
    old_open(&d, 1, 1);
    EXPECT(d.sin.st == d.st);
    EXPECT(spice_char_device_state_opaque_get(d.st) == &d);
    old_close(&d);
}

static void create_does_not_start(void)
{
    old_open(&d, 1, 1);
    old_say(&d, "aaa");
    EXPECT(old_put(&d, 1, "x"));
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "");
    EXPECT_EQ(d.reads, 0);
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w1=1");
    EXPECT(d.reads > 0);
    old_close(&d);
}

static void callbacks_table_is_copied(void)
{
    old_open(&d, 1, 1);
    memset(&d.cbs, 0, sizeof d.cbs);
    spice_char_device_start(d.st);
    EXPECT(old_put(&d, 0, "x"));
    EXPECT_TRACE(&d, "w1=1 self");
    old_close(&d);
}

static void self_token_callback_may_be_missing(void)
{
    old_prepare(&d);
    d.cbs.on_free_self_token = NULL;
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    for (int i = 0; i < 3; i++)
        EXPECT(old_put(&d, 0, "x"));
    EXPECT_TRACE(&d, "w1=1 w1=1 w1=1");
    old_close(&d);
}

static void rebinding_moves_to_the_new_instance(void)
{
    static struct old other;
    old_open_started(&d, 1, 1);
    old_prepare_device(&other);
    d.accept = 2;
    EXPECT(old_put(&d, 1, "abcde"));
    EXPECT_TRACE(&d, "w5=2 w3=0");
    spice_char_device_state_reset_dev_instance(d.st, &other.sin);
    EXPECT(other.sin.st == d.st);
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "");
    EXPECT_TRACE(&other, "w3=3");
    EXPECT(!memcmp(other.in, "cde", 3));
    old_add_plain(&d, 'A');
    old_say(&other, "fff");
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "sA:fff");
    old_close(&d);
    old_forget_device(&other);
}

/* ---- the retry timer ---- */

static void no_retry_with_notify_writable(void)
{
    old_open_started(&d, 1, 1);
    d.accept = 2;
    int armed = host_armed_timers();
    EXPECT(old_put(&d, 1, "abcde"));
    EXPECT_TRACE(&d, "w5=2 w3=0");
    EXPECT_EQ(host_armed_timers(), armed);
    clock_skip_ms(60000);
    host_drain();
    host_turn(0);
    EXPECT_TRACE(&d, "");
    old_accept(&d, 10);
    EXPECT_TRACE(&d, "w3=3");
    old_close(&d);
}

static void retry_after_100_ms(uint32_t minor, spice_char_device_flags flags)
{
    old_prepare(&d);
    d.sif.base.minor_version = minor;
    d.sif.flags = flags;
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    clock_freeze();
    d.accept = 2;
    EXPECT_EQ(host_armed_timers(), 0);
    EXPECT(old_put(&d, 1, "abcde"));
    EXPECT_TRACE(&d, "w5=2 w3=0");
    EXPECT_EQ(host_armed_timers(), 1);
    EXPECT_EQ(host_next_timer_ms(), 100);
    clock_skip_ms(99);
    host_turn(0);
    EXPECT_TRACE(&d, "");
    clock_skip_ms(1);
    host_turn(0);
    EXPECT_TRACE(&d, "w3=0");
    EXPECT_EQ(host_next_timer_ms(), 100);
    d.accept = 1;
    clock_skip_ms(100);
    host_turn(0);
    EXPECT_TRACE(&d, "w3=1 w2=0");
    /* a write for another reason puts the timer off */
    clock_skip_ms(60);
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "w2=0");
    EXPECT_EQ(host_next_timer_ms(), 100);
    d.accept = 2;
    clock_skip_ms(100);
    host_turn(0);
    EXPECT_TRACE(&d, "w2=2");
    EXPECT(old_at_rest(&d));
    EXPECT(clock_calls() > 0);
    old_close(&d);
}

static void retry_without_notify_writable(void)
{
    retry_after_100_ms(3, 0);
}

static void retry_with_an_old_interface(void)
{
    /* the flag stands where an older interface ends, so it means nothing */
    retry_after_100_ms(2, SPICE_CHAR_DEVICE_NOTIFY_WRITABLE);
}

/** An interface that ends at the end of a page, with nothing behind it. */
static void short_interface(uint32_t minor, size_t size)
{
    size_t page = (size_t)sysconf(_SC_PAGESIZE);
    uint8_t *two = mmap(NULL, 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    EXPECT(two != MAP_FAILED);
    EXPECT_EQ(mprotect(two + page, page, PROT_NONE), 0);
    old_prepare(&d);
    d.sif.base.minor_version = minor;
    SpiceBaseInterface *cut = (SpiceBaseInterface *)(two + page - size);
    memcpy(cut, &d.sif, size);
    d.sin.base.sif = cut;
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    d.accept = 1;
    EXPECT(old_put(&d, 1, "ab"));
    EXPECT_TRACE(&d, "w2=1 w1=0");
    EXPECT_EQ(host_armed_timers(), 1);
    old_close(&d);
    munmap(two, 2 * page);
}

static void flags_are_not_read_before_minor_3(void)
{
    short_interface(2, offsetof(SpiceCharDeviceInterface, flags));
}

static void event_is_not_read_before_minor_2(void)
{
    short_interface(1, offsetof(SpiceCharDeviceInterface, event));
}

static void stop_cancels_the_retry(void)
{
    old_prepare(&d);
    d.sif.flags = 0;
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    d.accept = 0;
    EXPECT(old_put(&d, 1, "ab"));
    EXPECT_EQ(host_armed_timers(), 1);
    spice_char_device_stop(d.st);
    EXPECT(old_at_rest(&d));
    EXPECT_TRACE(&d, "w2=0");
    d.accept = OLD_UNLIMITED;
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w2=2");
    old_close(&d);
}

static void rebinding_drops_the_retry(void)
{
    old_prepare(&d);
    d.sif.flags = 0;
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    d.accept = 0;
    EXPECT(old_put(&d, 1, "ab"));
    EXPECT_EQ(host_armed_timers(), 1);
    d.sif.flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE;
    spice_char_device_state_reset_dev_instance(d.st, &d.sin);
    EXPECT(old_at_rest(&d));
    spice_char_device_wakeup(d.st);
    EXPECT(old_at_rest(&d));
    EXPECT_TRACE(&d, "w2=0 w2=0");
    old_close(&d);
}

/* ---- the write loop ---- */

static void oldest_first(void)
{
    old_open(&d, 1, 1);
    EXPECT(old_put(&d, 1, "a"));
    EXPECT(old_put(&d, 1, "bb"));
    EXPECT(old_put(&d, 1, "ccc"));
    EXPECT_TRACE(&d, "");
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w1=1 w2=2 w3=3");
    EXPECT(!strcmp(d.in, "abbccc"));
    old_close(&d);
}

static void partial_writes_advance(void)
{
    old_open_started(&d, 1, 1);
    d.chunk = 2;
    EXPECT(old_put(&d, 1, "abcde"));
    EXPECT_TRACE(&d, "w5=2 w3=2 w1=1");
    EXPECT(!strcmp(d.in, "abcde"));
    old_close(&d);
}

static void a_refusal_ends_the_loop(void)
{
    static const int results[] = { -1, -1000, -2147483647 - 1 };
    old_open_started(&d, 1, 1);
    d.accept = 0;
    EXPECT(old_put(&d, 1, "ab"));
    EXPECT_TRACE(&d, "w2=0");
    d.accept = OLD_UNLIMITED;
    for (size_t i = 0; i < TAP_COUNT(results); i++) {
        d.write_result = results[i];
        spice_char_device_wakeup(d.st);
        EXPECT_EQ(d.calls[AT_WRITE], 2 + (int)i);
    }
    d.trace_len = 0;
    d.write_result = 0;
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "w2=2");
    old_close(&d);
}

static void claiming_too_much_is_cut(void)
{
    old_open(&d, 1, 1);
    EXPECT(old_put(&d, 1, "ab"));
    EXPECT(old_put(&d, 1, "cd"));
    d.write_result = 1000;
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w2=1000 w2=1000");
    EXPECT(!strcmp(d.in, "abcd"));
    old_close(&d);
}

static void stopped_is_not_written(void)
{
    old_open_started(&d, 1, 1);
    spice_char_device_stop(d.st);
    EXPECT(old_put(&d, 1, "ab"));
    spice_char_device_wakeup(d.st);
    spice_server_char_device_wakeup(&d.sin);
    EXPECT_TRACE(&d, "");
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w2=2");
    old_close(&d);
}

static void add_writes_at_once(void)
{
    old_open_started(&d, 1, 1);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 1, "ab");
    EXPECT_TRACE(&d, "");
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_TRACE(&d, "w2=2");
    old_close(&d);
}

static int once;

static void wake_inside_write(struct old *o, enum old_at at)
{
    if (at == AT_WRITE && once-- > 0)
        spice_char_device_wakeup(o->st);
}

static void wakeup_inside_a_refused_write_tries_again(void)
{
    old_open_started(&d, 1, 1);
    d.accept = 0;
    d.hook = wake_inside_write;
    once = 2;
    EXPECT(old_put(&d, 1, "abc"));
    EXPECT_TRACE(&d, "w3=0 w3=0 w3=0");
    old_close(&d);
}

static void wake_thrice_inside_write(struct old *o, enum old_at at)
{
    if (at == AT_WRITE && once-- > 0)
        for (int i = 0; i < 3; i++)
            spice_char_device_wakeup(o->st);
}

static void wakeups_inside_one_write_count_once(void)
{
    old_open_started(&d, 1, 1);
    d.accept = 0;
    d.hook = wake_thrice_inside_write;
    once = 1;
    EXPECT(old_put(&d, 1, "abc"));
    EXPECT_TRACE(&d, "w3=0 w3=0");
    /* one that is remembered does not outlive the loop */
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "w3=0");
    old_close(&d);
}

static void wakeup_inside_every_write_does_not_nest(void)
{
    old_open_started(&d, 1, 1);
    d.chunk = 1;
    d.hook = wake_inside_write;
    once = 1000;
    EXPECT(old_put(&d, 1, "abc"));
    EXPECT(old_put(&d, 1, "de"));
    EXPECT_TRACE(&d, "w3=1 w2=1 w1=1 w2=1 w1=1");
    EXPECT(!strcmp(d.in, "abcde"));
    old_close(&d);
}

static void add_inside_write(struct old *o, enum old_at at)
{
    if (at == AT_WRITE && once-- > 0)
        EXPECT(old_put(o, 1, "zz"));
}

static void a_buffer_added_inside_write_comes_after(void)
{
    old_open_started(&d, 1, 1);
    d.chunk = 2;
    d.hook = add_inside_write;
    once = 2;
    EXPECT(old_put(&d, 1, "abcd"));
    EXPECT_TRACE(&d, "w4=2 w2=2 w2=2 w2=2");
    EXPECT(!strcmp(d.in, "abcdzzzz"));
    old_close(&d);
}

static void add_inside_self_token(struct old *o, enum old_at at)
{
    if (at == AT_SELF && once-- > 0)
        EXPECT(old_put(o, 0, "next"));
}

static void self_token_is_free_inside_its_callback(void)
{
    old_open_started(&d, 1, 1);
    d.hook = add_inside_self_token;
    once = 3;
    EXPECT(old_put(&d, 0, "a"));
    EXPECT_TRACE(&d, "w1=1 self w4=4 self w4=4 self w4=4 self");
    old_close(&d);
}

static void stop_inside_write(struct old *o, enum old_at at)
{
    if (at == AT_WRITE)
        spice_char_device_stop(o->st);
}

static void stop_inside_write_ends_the_loop(void)
{
    old_prepare(&d);
    d.sif.flags = 0;
    old_create(&d, 1, 1);
    EXPECT(old_put(&d, 1, "abc"));
    EXPECT(old_put(&d, 1, "def"));
    d.chunk = 2;
    d.hook = stop_inside_write;
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w3=2");
    EXPECT(old_at_rest(&d));
    d.hook = NULL;
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w1=1 w3=2 w1=1");
    EXPECT(!strcmp(d.in, "abcdef"));
    old_close(&d);
}

static void an_empty_buffer_does_not_block(void)
{
    old_open_started(&d, 1, 1);
    SpiceCharDeviceWriteBuffer *b = spice_char_device_write_buffer_get(d.st, NULL, 10);
    EXPECT(b != NULL);
    b->buf_used = 0;
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_EQ(d.calls[AT_WRITE], 0);
    EXPECT_EQ(d.calls[AT_SELF], 1);
    d.trace_len = 0;
    EXPECT(old_put(&d, 0, "abc"));
    EXPECT_TRACE(&d, "w3=3 self");
    old_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(create_binds_the_instance),
    TAP_CASE(create_does_not_start),
    TAP_CASE(callbacks_table_is_copied),
    TAP_CASE(self_token_callback_may_be_missing),
    TAP_CASE(rebinding_moves_to_the_new_instance),
    TAP_CASE(no_retry_with_notify_writable),
    TAP_CASE(retry_without_notify_writable),
    TAP_CASE(retry_with_an_old_interface),
    TAP_CASE(flags_are_not_read_before_minor_3),
    TAP_CASE(event_is_not_read_before_minor_2),
    TAP_CASE(stop_cancels_the_retry),
    TAP_CASE(rebinding_drops_the_retry),
    TAP_CASE(oldest_first),
    TAP_CASE(partial_writes_advance),
    TAP_CASE(a_refusal_ends_the_loop),
    TAP_CASE(claiming_too_much_is_cut),
    TAP_CASE(stopped_is_not_written),
    TAP_CASE(add_writes_at_once),
    TAP_CASE(wakeup_inside_a_refused_write_tries_again),
    TAP_CASE(wakeups_inside_one_write_count_once),
    TAP_CASE(wakeup_inside_every_write_does_not_nest),
    TAP_CASE(a_buffer_added_inside_write_comes_after),
    TAP_CASE(self_token_is_free_inside_its_callback),
    TAP_CASE(stop_inside_write_ends_the_loop),
    TAP_CASE(an_empty_buffer_does_not_block),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-write", cases, TAP_COUNT(cases));
}
