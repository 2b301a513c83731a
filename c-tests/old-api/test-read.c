/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The read loop, its budget, tokens to clients, several clients, slow ones. */
#define _GNU_SOURCE
#include "clock.h"
#include "device.h"

#include <string.h>

static struct old d;

static void tokens_add(char client, uint32_t n)
{
    spice_char_device_send_to_client_tokens_add(d.st, old_client(client), n);
}

static void tokens_set(char client, uint32_t n)
{
    spice_char_device_send_to_client_tokens_set(d.st, old_client(client), n);
}

/** Bytes that are still in the device. */
static int unread(void)
{
    return (int)(d.out_len - d.out_pos);
}

/* ---- who gets what ---- */

static void without_clients_data_are_dropped(void)
{
    old_open_started(&d, 1, 1);
    old_say_wake(&d, "aaabbbcc");
    EXPECT_EQ(d.made, 3);
    EXPECT_EQ(d.live, 0);
    EXPECT_EQ(unread(), 0);
    EXPECT_TRACE(&d, "");
    old_add_plain(&d, 'A');
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void stopped_is_not_read(void)
{
    old_open(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_say_wake(&d, "aaa");
    EXPECT_EQ(d.calls[AT_READ_MSG], 0);
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "sA:aaa");
    spice_char_device_stop(d.st);
    int calls = d.calls[AT_READ_MSG];
    old_say_wake(&d, "bbb");
    EXPECT_EQ(d.calls[AT_READ_MSG], calls);
    old_close(&d);
}

static void one_wakeup_reads_all(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_say_wake(&d, "aaabbbc");
    EXPECT_TRACE(&d, "sA:aaa sA:bbb sA:c");
    EXPECT_EQ(d.live, 0);
    old_close(&d);
}

static void the_hosts_wakeup_is_the_same(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.accept = 0;
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_TRACE(&d, "w1=0");
    d.accept = 1;
    old_say(&d, "aaa");
    spice_server_char_device_wakeup(&d.sin);
    EXPECT_TRACE(&d, "w1=1 sA:aaa");
    old_close(&d);
}

static void wakeup_writes_then_reads(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.accept = 0;
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_TRACE(&d, "w1=0");
    d.accept = 1;
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "w1=1 sA:aaa");
    old_close(&d);
}

static void adding_a_client_wakes(void)
{
    old_open_started(&d, 1, 1);
    d.accept = 0;
    EXPECT(old_put(&d, 1, "x"));
    d.trace_len = 0;
    d.accept = 1;
    old_say(&d, "aaa");
    old_add_plain(&d, 'A');
    EXPECT_TRACE(&d, "w1=1 sA:aaa");
    old_close(&d);
}

static void plain_clients_need_no_tokens(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.silent = true;
    for (int i = 0; i < 1000; i++)
        old_say_wake(&d, "aaabbb");
    EXPECT_EQ(d.calls[AT_SEND], 2000);
    EXPECT_EQ(d.calls[AT_REF], 0);
    old_close(&d);
}

/* ---- tokens of one client ---- */

static void budget_is_the_clients_tokens(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 2);
    old_say_wake(&d, "aaabbbcccddd");
    EXPECT_TRACE(&d, "sA:aaa sA:bbb");
    EXPECT_EQ(unread(), 6);
    int calls = d.calls[AT_READ_MSG];
    spice_char_device_wakeup(d.st);
    EXPECT_EQ(d.calls[AT_READ_MSG], calls);
    tokens_add('A', 1);
    EXPECT_TRACE(&d, "sA:ccc");
    tokens_add('A', 3);
    EXPECT_TRACE(&d, "sA:ddd");
    old_say_wake(&d, "eeefffggg");
    EXPECT_TRACE(&d, "sA:eee sA:fff");
    old_close(&d);
}

static void one_client_without_tokens_stops_reading(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 0);
    int calls = d.calls[AT_READ_MSG];
    old_say_wake(&d, "aaabbb");
    EXPECT_EQ(d.calls[AT_READ_MSG], calls);
    /* nothing is queued, so nobody is slow */
    EXPECT_EQ(host_armed_timers(), 0);
    EXPECT(old_at_rest(&d));
    EXPECT_TRACE(&d, "");
    tokens_add('A', 1);
    EXPECT_TRACE(&d, "sA:aaa");
    old_close(&d);
}

static void tokens_set_replaces(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 5);
    tokens_set('A', 1);
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "sA:aaa");
    tokens_set('A', 1);
    EXPECT_TRACE(&d, "sA:bbb");
    tokens_add('A', 5);
    tokens_set('A', 0);
    old_say_wake(&d, "ccc");
    EXPECT_TRACE(&d, "");
    tokens_add('A', 0);
    EXPECT_TRACE(&d, "");
    tokens_add('A', 1);
    EXPECT_TRACE(&d, "sA:ccc");
    old_close(&d);
}

static void tokens_do_not_wrap(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 0);
    tokens_add('A', ~0u);
    tokens_add('A', ~0u);
    tokens_add('A', 2);
    old_say_wake(&d, "aaabbbccc");
    EXPECT_TRACE(&d, "sA:aaa sA:bbb sA:ccc");
    old_close(&d);
}

/* ---- several clients ---- */

static void newest_client_first(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 5);
    old_add_plain(&d, 'C');
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "sC:aaa sB:aaa sA:aaa sC:bbb sB:bbb sA:bbb");
    EXPECT_EQ(d.made, 2);
    EXPECT_EQ(d.live, 0);
    old_close(&d);
}

static void the_best_client_sets_the_budget(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 3);
    old_add(&d, 'B', 5, 0, 1);
    old_say_wake(&d, "aaabbbcccddd");
    EXPECT_TRACE(&d, "sB:aaa sA:aaa sA:bbb sA:ccc");
    EXPECT_EQ(unread(), 3);
    /* two messages are kept for B */
    EXPECT_EQ(d.live, 2);
    EXPECT_EQ(d.calls[AT_REF], 2);
    tokens_add('B', 1);
    EXPECT_TRACE(&d, "sB:bbb");
    EXPECT_EQ(d.live, 1);
    EXPECT_EQ(unread(), 3);
    tokens_add('B', 2);
    EXPECT_TRACE(&d, "sB:ccc sB:ddd");
    EXPECT_EQ(unread(), 0);
    EXPECT_EQ(d.live, 1); /* ddd for A */
    tokens_add('A', 1);
    EXPECT_TRACE(&d, "sA:ddd");
    old_close(&d);
}

static void all_without_tokens_leaves_it_in_the_device(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 0);
    old_add(&d, 'B', 5, 0, 0);
    int calls = d.calls[AT_READ_MSG];
    old_say_wake(&d, "aaa");
    EXPECT_EQ(d.calls[AT_READ_MSG], calls);
    tokens_add('B', 1);
    EXPECT_TRACE(&d, "sB:aaa");
    tokens_add('A', 1);
    EXPECT_TRACE(&d, "sA:aaa");
    old_close(&d);
}

static void a_full_queue_removes_the_client(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 2, 0, 0);
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "sA:aaa sA:bbb");
    EXPECT_EQ(d.live, 2);
    old_say_wake(&d, "ccc");
    EXPECT_TRACE(&d, "xB sA:ccc");
    EXPECT_EQ(d.live, 2);
    old_remove(&d, 'B');
    EXPECT_EQ(d.live, 0);
    old_close(&d);
}

static void a_queue_of_none_removes_at_once(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 0, 0, 1);
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "sB:aaa sA:aaa");
    old_say_wake(&d, "bbb");
    EXPECT_TRACE(&d, "xB sA:bbb");
    EXPECT_EQ(d.live, 0);
    old_close(&d);
}

static void tokens_set_serves_the_queue(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 0);
    old_say_wake(&d, "aaabbbccc");
    d.trace_len = 0;
    d.trace[0] = 0;
    tokens_set('B', 2);
    EXPECT_TRACE(&d, "sB:aaa sB:bbb");
    tokens_set('B', 2);
    EXPECT_TRACE(&d, "sB:ccc");
    old_say_wake(&d, "ddd");
    EXPECT_TRACE(&d, "sB:ddd sA:ddd");
    old_close(&d);
}

/* ---- slow clients ---- */

static void thirty_seconds_without_tokens(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 0);
    clock_freeze();
    EXPECT_EQ(host_armed_timers(), 0);
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "sA:aaa");
    EXPECT_EQ(host_armed_timers(), 1);
    EXPECT_EQ(host_next_timer_ms(), 30000);
    /* a further message does not put it off */
    clock_skip_ms(20000);
    old_say_wake(&d, "bbb");
    EXPECT_TRACE(&d, "sA:bbb");
    clock_skip_ms(9999);
    host_turn(0);
    EXPECT_TRACE(&d, "");
    clock_skip_ms(1);
    host_turn(0);
    EXPECT_TRACE(&d, "xB");
    /* once; the client goes when the host takes it away */
    clock_skip_ms(60000);
    host_turn(0);
    EXPECT_TRACE(&d, "");
    EXPECT(spice_char_device_client_exists(d.st, old_client('B')));
    old_remove(&d, 'B');
    old_close(&d);
}

static void too_few_tokens_begin_a_new_wait(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 0);
    clock_freeze();
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "sA:aaa sA:bbb");
    clock_skip_ms(20000);
    tokens_add('B', 1);
    EXPECT_TRACE(&d, "sB:aaa");
    EXPECT_EQ(host_next_timer_ms(), 30000);
    clock_skip_ms(29999);
    host_turn(0);
    EXPECT_TRACE(&d, "");
    clock_skip_ms(1);
    host_turn(0);
    EXPECT_TRACE(&d, "xB");
    old_close(&d);
}

static void enough_tokens_end_the_wait(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 0);
    clock_freeze();
    old_say_wake(&d, "aaa");
    EXPECT_EQ(host_armed_timers(), 1);
    tokens_add('B', 2);
    EXPECT_TRACE(&d, "sA:aaa sB:aaa");
    EXPECT(old_at_rest(&d));
    EXPECT_TRACE(&d, "");
    /* and the next wait is a whole one */
    old_say_wake(&d, "bbbccc");
    EXPECT_TRACE(&d, "sB:bbb sA:bbb sA:ccc");
    EXPECT_EQ(host_next_timer_ms(), 30000);
    old_close(&d);
}

static void the_wait_ends_with_the_client(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 0);
    old_say_wake(&d, "aaa");
    EXPECT_EQ(host_armed_timers(), 1);
    old_remove(&d, 'B');
    EXPECT(old_at_rest(&d));
    EXPECT_EQ(d.live, 0);
    old_close(&d);
}

static void remove_in_callback(struct old *o, enum old_at at)
{
    if (at == AT_REMOVE)
        old_remove(o, 'B');
}

static void a_slow_client_may_be_removed_inside(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 1, 0, 0);
    d.hook = remove_in_callback;
    old_say_wake(&d, "aaabbbccc");
    EXPECT_TRACE(&d, "sA:aaa xB sA:bbb sA:ccc");
    old_add(&d, 'B', 1, 0, 0);
    clock_freeze();
    old_say_wake(&d, "ddd");
    clock_skip_ms(30000);
    host_turn(0);
    EXPECT_TRACE(&d, "sA:ddd xB");
    EXPECT(old_at_rest(&d));
    EXPECT(!spice_char_device_client_exists(d.st, old_client('B')));
    old_close(&d);
}

/* ---- wakeups inside ---- */

static int once;

static void say_inside_read(struct old *o, enum old_at at)
{
    if (at == AT_READ && once-- > 0)
        old_say_wake(o, "zzz");
}

static void wakeup_inside_an_empty_read_reads_again(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.hook = say_inside_read;
    once = 1;
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "sA:zzz");
    EXPECT_EQ(unread(), 0);
    old_close(&d);
}

static void wakeups_inside_reads_do_not_nest(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.hook = say_inside_read;
    once = 5;
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "sA:aaa sA:zzz sA:zzz sA:zzz sA:zzz sA:zzz");
    old_close(&d);
}

static void say_inside_send(struct old *o, enum old_at at)
{
    if (at == AT_SEND && once-- > 0)
        old_say_wake(o, "yyy");
}

static void a_wakeup_inside_send_keeps_the_order(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add_plain(&d, 'B');
    d.hook = say_inside_send;
    once = 1;
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "sB:aaa sA:aaa sB:yyy sA:yyy");
    old_close(&d);
}

static void tokens_inside_send(struct old *o, enum old_at at)
{
    if (at == AT_SEND && once-- > 0)
        spice_char_device_send_to_client_tokens_add(o->st, o->last_client, 1);
}

static void tokens_added_inside_send_are_used(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 5, 0, 1);
    d.hook = tokens_inside_send;
    once = 100;
    old_say_wake(&d, "aaabbbccc");
    /* the budget was 1 when the loop began; what came later is used by the next */
    spice_char_device_wakeup(d.st);
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "sA:aaa sA:bbb sA:ccc");
    old_close(&d);
}

static void stop_inside_read(struct old *o, enum old_at at)
{
    if (at == AT_READ)
        spice_char_device_stop(o->st);
}

static void stop_inside_read_ends_the_loop(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.hook = stop_inside_read;
    int reads = d.reads;
    old_say_wake(&d, "aaabbb");
    EXPECT_EQ(d.reads, reads + 1);
    EXPECT_EQ(unread(), 3);
    EXPECT_EQ(d.live, 0);
    d.hook = NULL;
    spice_char_device_start(d.st);
    EXPECT_EQ(unread(), 0);
    EXPECT_TRACE(&d, "sA:aaa sA:bbb");
    old_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(without_clients_data_are_dropped),
    TAP_CASE(stopped_is_not_read),
    TAP_CASE(one_wakeup_reads_all),
    TAP_CASE(the_hosts_wakeup_is_the_same),
    TAP_CASE(wakeup_writes_then_reads),
    TAP_CASE(adding_a_client_wakes),
    TAP_CASE(plain_clients_need_no_tokens),
    TAP_CASE(budget_is_the_clients_tokens),
    TAP_CASE(one_client_without_tokens_stops_reading),
    TAP_CASE(tokens_set_replaces),
    TAP_CASE(tokens_do_not_wrap),
    TAP_CASE(newest_client_first),
    TAP_CASE(the_best_client_sets_the_budget),
    TAP_CASE(all_without_tokens_leaves_it_in_the_device),
    TAP_CASE(a_full_queue_removes_the_client),
    TAP_CASE(a_queue_of_none_removes_at_once),
    TAP_CASE(tokens_set_serves_the_queue),
    TAP_CASE(thirty_seconds_without_tokens),
    TAP_CASE(too_few_tokens_begin_a_new_wait),
    TAP_CASE(enough_tokens_end_the_wait),
    TAP_CASE(the_wait_ends_with_the_client),
    TAP_CASE(a_slow_client_may_be_removed_inside),
    TAP_CASE(wakeup_inside_an_empty_read_reads_again),
    TAP_CASE(wakeups_inside_reads_do_not_nest),
    TAP_CASE(a_wakeup_inside_send_keeps_the_order),
    TAP_CASE(tokens_added_inside_send_are_used),
    TAP_CASE(stop_inside_read_ends_the_loop),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-read", cases, TAP_COUNT(cases));
}
