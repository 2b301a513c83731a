/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Start, stop, reset, destroy; clients that wait for migration data; and every one
 * of these from inside every callback. */
#define _GNU_SOURCE
#include "clock.h"
#include "device.h"

#include <stdio.h>
#include <string.h>

static struct old d;

static void start_goes_on_until_nothing_moves(void)
{
    old_open(&d, 1, 1);
    old_add_plain(&d, 'A');
    d.echo = true;
    d.chunk = 3;
    EXPECT(old_put(&d, 1, "aaabbb"));
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w6=3 w3=3 sA:aaa sA:bbb");
    old_close(&d);
}

static void put_inside_send(struct old *o, enum old_at at)
{
    if (at == AT_SEND && o->calls[AT_SEND] <= 3)
        EXPECT(old_put(o, 1, "x"));
}

static void start_writes_what_reading_caused(void)
{
    old_open(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_say(&d, "aaabbb");
    d.hook = put_inside_send;
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "sA:aaa w1=1 sA:bbb w1=1");
    old_close(&d);
}

static void start_twice_and_stop_twice(void)
{
    old_open_started(&d, 1, 1);
    spice_char_device_start(d.st);
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_TRACE(&d, "w1=1");
    spice_char_device_stop(d.st);
    spice_char_device_stop(d.st);
    EXPECT(old_put(&d, 1, "yy"));
    EXPECT_TRACE(&d, "");
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w2=2");
    EXPECT_NO_LOG();
    old_close(&d);
}

/* ---- reset ---- */

static void reset_returns_tokens_and_forgets_the_instance(void)
{
    old_open_started(&d, 2, 3);
    old_add(&d, 'A', 5, 5, 5);
    d.accept = 1;
    EXPECT(old_put(&d, 0, "ab") && old_put(&d, 0, "c") && old_put(&d, 'A', "d"));
    EXPECT(old_put(&d, 'A', "e") && old_put(&d, 1, "f"));
    d.trace_len = 0;
    d.trace[0] = 0;
    d.accept = OLD_UNLIMITED;
    spice_char_device_reset(d.st);
    /* what is queued first, then what was begun */
    EXPECT_TRACE(&d, "self tA:2 self");
    EXPECT(spice_char_device_client_exists(d.st, old_client('A')));
    int reads = d.reads;
    old_say(&d, "aaa");
    spice_char_device_start(d.st);
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_TRACE(&d, "");
    EXPECT_EQ(d.reads, reads);
    spice_char_device_state_reset_dev_instance(d.st, &d.sin);
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "w1=1 sA:aaa");
    SpiceCharDeviceWriteBuffer *b[3];
    for (int i = 0; i < 3; i++)
        EXPECT((b[i] = old_get(&d, 0, "y")) != NULL);
    EXPECT(!old_get(&d, 0, "z"));
    for (int i = 0; i < 3; i++)
        spice_char_device_write_buffer_release(d.st, b[i]);
    old_close(&d);
}

static void reset_stops(void)
{
    old_open_started(&d, 1, 1);
    spice_char_device_reset(d.st);
    spice_char_device_state_reset_dev_instance(d.st, &d.sin);
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_TRACE(&d, "");
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w1=1");
    old_close(&d);
}

static void reset_drops_what_waits_for_clients(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 0, 0);
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "sA:aaa sA:bbb");
    EXPECT_EQ(d.live, 2);
    spice_char_device_reset(d.st);
    EXPECT_EQ(d.live, 0);
    EXPECT_TRACE(&d, "");
    spice_char_device_state_reset_dev_instance(d.st, &d.sin);
    old_remove(&d, 'A');
    old_say(&d, "cccdddeee");
    spice_char_device_start(d.st);
    /* the tokens of the two that were dropped are B's again */
    EXPECT_TRACE(&d, "sB:ccc sB:ddd");
    old_close(&d);
}

static void reset_cancels_the_retry(void)
{
    old_prepare(&d);
    d.sif.flags = 0;
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    d.accept = 0;
    EXPECT(old_put(&d, 0, "x"));
    EXPECT_EQ(host_armed_timers(), 1);
    spice_char_device_reset(d.st);
    EXPECT_TRACE(&d, "w1=0 self");
    EXPECT(old_at_rest(&d));
    old_close(&d);
}

static void reset_ends_waiting_for_migration(void)
{
    old_open_started(&d, 1, 1);
    EXPECT_EQ(spice_char_device_client_add(d.st, old_client('A'), 1, 5, 5, 5, 1), 1);
    spice_char_device_reset(d.st);
    spice_char_device_state_reset_dev_instance(d.st, &d.sin);
    spice_char_device_start(d.st);
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_TRACE(&d, "w1=1");
    old_close(&d);
}

/* ---- clients ---- */

static void client_exists(void)
{
    old_open(&d, 1, 1);
    EXPECT_EQ(spice_char_device_client_exists(d.st, old_client('A')), 0);
    old_add(&d, 'A', 1, 1, 1);
    old_add_plain(&d, 'B');
    EXPECT_EQ(spice_char_device_client_exists(d.st, old_client('A')), 1);
    EXPECT_EQ(spice_char_device_client_exists(d.st, old_client('B')), 1);
    EXPECT_EQ(spice_char_device_client_exists(d.st, old_client('C')), 0);
    old_remove(&d, 'A');
    EXPECT_EQ(spice_char_device_client_exists(d.st, old_client('A')), 0);
    EXPECT_EQ(spice_char_device_client_exists(d.st, old_client('B')), 1);
    EXPECT_NO_LOG();
    old_close(&d);
}

static int add_waiting(char client)
{
    return spice_char_device_client_add(d.st, old_client(client), 1, 5, 5, 5, 1);
}

static void waiting_for_migration_blocks_both_ways(void)
{
    old_open_started(&d, 1, 1);
    int reads = d.reads;
    EXPECT_EQ(add_waiting('A'), 1);
    old_say_wake(&d, "aaa");
    EXPECT(old_put(&d, 1, "x") && old_put(&d, 'A', "y"));
    spice_char_device_wakeup(d.st);
    spice_char_device_stop(d.st);
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "");
    EXPECT_EQ(d.reads, reads);
    old_close(&d);
}

static void removing_the_waiting_client_ends_the_wait(void)
{
    old_open(&d, 1, 1);
    EXPECT_EQ(add_waiting('A'), 1);
    spice_char_device_start(d.st);
    old_say_wake(&d, "aaa");
    EXPECT_EQ(d.reads, 0);
    old_remove(&d, 'A');
    /* read and dropped: nobody is there */
    EXPECT_EQ(d.made, 1);
    old_add_plain(&d, 'B');
    old_say_wake(&d, "bbb");
    EXPECT_TRACE(&d, "sB:bbb");
    old_close(&d);
}

static void only_a_fresh_device_waits_for_migration(void)
{
    old_open_started(&d, 1, 1);
    old_add_plain(&d, 'A');
    EXPECT_EQ(add_waiting('B'), 0);
    EXPECT_REFUSED();
    EXPECT(!spice_char_device_client_exists(d.st, old_client('B')));
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "sA:aaa");
    old_remove(&d, 'A');
    /* bytes have moved */
    EXPECT_EQ(add_waiting('B'), 0);
    EXPECT_REFUSED();
    /* a stop makes it fresh again */
    spice_char_device_stop(d.st);
    EXPECT_EQ(add_waiting('B'), 1);
    EXPECT_NO_LOG();
    old_close(&d);
}

static void a_write_makes_it_active_too(void)
{
    old_open_started(&d, 1, 1);
    EXPECT(old_put(&d, 1, "x"));
    EXPECT_EQ(add_waiting('A'), 0);
    EXPECT_REFUSED();
    old_close(&d);
}

static void the_next_client_decides_about_waiting(void)
{
    old_open_started(&d, 1, 1);
    EXPECT_EQ(add_waiting('A'), 1);
    old_say_wake(&d, "aaa");
    EXPECT_TRACE(&d, "");
    old_add_plain(&d, 'B');
    EXPECT_TRACE(&d, "sB:aaa sA:aaa");
    old_close(&d);
}

/* ---- destroy ---- */

static void destroy_lets_go_of_everything(void)
{
    old_open_started(&d, 1, 3);
    old_add_plain(&d, 'A');
    old_add(&d, 'B', 5, 5, 0);
    d.accept = 1;
    EXPECT(old_put(&d, 0, "ab") && old_put(&d, 'B', "c"));
    old_say_wake(&d, "aaa");
    EXPECT_EQ(d.live, 1);
    EXPECT_EQ(host_armed_timers(), 1);
    d.trace_len = 0;
    d.trace[0] = 0;
    old_destroy(&d);
    EXPECT_EQ(d.live, 0);
    EXPECT(old_at_rest(&d));
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void a_destroyed_instance_is_not_woken(void)
{
    old_open_started(&d, 1, 1);
    old_destroy(&d);
    spice_server_char_device_wakeup(&d.sin);
    EXPECT_TRACE(&d, "");
    /* and may be used for the next state */
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    EXPECT(old_put(&d, 0, "x"));
    EXPECT_TRACE(&d, "w1=1 self");
    old_close(&d);
}

static void a_thousand_states(void)
{
    old_prepare(&d);
    d.silent = true;
    for (int i = 0; i < 1000; i++) {
        old_create(&d, 1, 2);
        spice_char_device_start(d.st);
        old_add(&d, 'A', 1, 1, 1);
        EXPECT(old_put(&d, 'A', "x") && old_put(&d, 0, "y"));
        if (i % 2)
            old_remove(&d, 'A');
        old_destroy(&d);
    }
    EXPECT_EQ(d.calls[AT_WRITE], 2000);
    old_close(&d);
}

static void the_server_may_go_first(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'B', 5, 5, 0);
    d.accept = 0;
    EXPECT(old_put(&d, 0, "x"));
    SpiceCharDeviceState *st = d.st;
    d.st = NULL;
    d.trace_len = 0;
    d.trace[0] = 0;
    rig_close(&d.r);
    d.accept = OLD_UNLIMITED;
    spice_char_device_wakeup(st);
    spice_char_device_state_destroy(st);
    EXPECT_TRACE(&d, "");
    old_forget_device(&d);
}

/* ---- everything from inside everything ---- */

enum action { REMOVE_A, REMOVE_B, ADD_C, STOP, STOP_START, RESET, DESTROY, WAKEUP, PUT, TOKENS, ACTIONS };

static enum old_at place;
static enum action action;
static bool done;

static void act(struct old *o, enum old_at at)
{
    if (at != place || done || o->dead || !o->st)
        return;
    done = true;
    switch (action) {
    case REMOVE_A:
        if (spice_char_device_client_exists(o->st, old_client('A')))
            old_remove(o, 'A');
        break;
    case REMOVE_B:
        if (spice_char_device_client_exists(o->st, old_client('B')))
            old_remove(o, 'B');
        break;
    case ADD_C:
        old_add(o, 'C', 1, 1, 1);
        break;
    case STOP:
        spice_char_device_stop(o->st);
        break;
    case STOP_START:
        spice_char_device_stop(o->st);
        spice_char_device_start(o->st);
        break;
    case RESET:
        spice_char_device_reset(o->st);
        break;
    case DESTROY:
        old_destroy(o);
        break;
    case WAKEUP:
        spice_char_device_wakeup(o->st);
        break;
    case PUT:
        old_put(o, 1, "inside");
        break;
    case TOKENS:
        if (spice_char_device_client_exists(o->st, old_client('A')))
            spice_char_device_send_to_client_tokens_add(o->st, old_client('A'), 1);
        break;
    case ACTIONS:
        break;
    }
}

/** Does something for a state that may have gone in the step before. */
#define STEP(what) do { if (d.st) { what; } } while (0)

static bool here(char client)
{
    return spice_char_device_client_exists(d.st, old_client(client));
}

/** Traffic that visits every callback. */
static void visit_everything(void)
{
    STEP(old_say(&d, "aaabbbcccddd"));
    STEP(spice_char_device_start(d.st));          /* read, send, ref, unref */
    STEP(if (here('B')) spice_char_device_send_to_client_tokens_add(d.st, old_client('B'), 1));
    STEP(old_put(&d, 0, "server"));               /* write, self */
    STEP(if (here('A')) old_put(&d, 'A', "client")); /* tokens */
    STEP(if (here('B')) old_put(&d, 'B', "too much")); /* remove */
    STEP(old_say_wake(&d, "eeefff"));
    STEP(spice_char_device_wakeup(d.st));
}

static void all_actions_inside(enum old_at at)
{
    old_prepare(&d);
    d.silent = true;
    place = at;
    for (int a = 0; a <= ACTIONS; a++) {
        action = (enum action)a;
        done = false;
        memset(d.gone, 0, sizeof d.gone);
        d.out_pos = d.out_len = 0;
        d.chunk = 4;
        old_create(&d, 1, 1);
        old_add(&d, 'A', 5, 5, 10);
        old_add(&d, 'B', 1, 0, 0);
        d.hook = act;
        visit_everything();
        d.hook = NULL;
        EXPECT_MSG(done, "action %d was never reached", a);
        EXPECT_MSG(!host_violation(), "action %d: %s", a, host_violation());
        if (d.st)
            old_destroy(&d);
        EXPECT_MSG(d.live == 0, "action %d: %d messages are still referenced", a, d.live);
        EXPECT_MSG(old_at_rest(&d), "action %d: a timer still runs", a);
    }
    old_close(&d);
}

#define INSIDE(name, at) static void name(void) { all_actions_inside(at); }
INSIDE(anything_inside_write, AT_WRITE)
INSIDE(anything_inside_read, AT_READ)
INSIDE(anything_inside_read_one_msg, AT_READ_MSG)
INSIDE(anything_inside_ref, AT_REF)
INSIDE(anything_inside_unref, AT_UNREF)
INSIDE(anything_inside_send, AT_SEND)
INSIDE(anything_inside_tokens, AT_TOKENS)
INSIDE(anything_inside_self_token, AT_SELF)
INSIDE(anything_inside_remove_client, AT_REMOVE)

static const struct tap_case cases[] = {
    TAP_CASE(start_goes_on_until_nothing_moves),
    TAP_CASE(start_writes_what_reading_caused),
    TAP_CASE(start_twice_and_stop_twice),
    TAP_CASE(reset_returns_tokens_and_forgets_the_instance),
    TAP_CASE(reset_stops),
    TAP_CASE(reset_drops_what_waits_for_clients),
    TAP_CASE(reset_cancels_the_retry),
    TAP_CASE(reset_ends_waiting_for_migration),
    TAP_CASE(client_exists),
    TAP_CASE(waiting_for_migration_blocks_both_ways),
    TAP_CASE(removing_the_waiting_client_ends_the_wait),
    TAP_CASE(only_a_fresh_device_waits_for_migration),
    TAP_CASE(a_write_makes_it_active_too),
    TAP_CASE(the_next_client_decides_about_waiting),
    TAP_CASE(destroy_lets_go_of_everything),
    TAP_CASE(a_destroyed_instance_is_not_woken),
    TAP_CASE(a_thousand_states),
    TAP_CASE(the_server_may_go_first),
    TAP_CASE(anything_inside_write),
    TAP_CASE(anything_inside_read),
    TAP_CASE(anything_inside_read_one_msg),
    TAP_CASE(anything_inside_ref),
    TAP_CASE(anything_inside_unref),
    TAP_CASE(anything_inside_send),
    TAP_CASE(anything_inside_tokens),
    TAP_CASE(anything_inside_self_token),
    TAP_CASE(anything_inside_remove_client),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-life", cases, TAP_COUNT(cases));
}
