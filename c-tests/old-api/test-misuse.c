/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* What a caller must not do: one log line, the failure value, and life goes on. */
#define _GNU_SOURCE
#include "device.h"

#include <limits.h>
#include <spice-server-rs.h>
#include <stdlib.h>
#include <string.h>

static struct old d, other;

#define REFUSED(call) do { tap_log_mark(); call; EXPECT_REFUSED(); } while (0)

/** Every function of the interface on something that is no device. */
static void refuse_device(SpiceCharDeviceState *st)
{
    uint8_t message[33] = { 0 };
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 1, "abc");
    RedClient *a = old_client('A');
    SpiceMarshaller *m = spice_marshaller_new();
    static struct old nobody;
    old_prepare_device(&nobody);
    REFUSED(spice_char_device_state_reset_dev_instance(st, &nobody.sin));
    EXPECT(!nobody.sin.st);
    REFUSED(EXPECT(!spice_char_device_state_opaque_get(st)));
    REFUSED(spice_char_device_state_migrate_data_marshall(st, m));
    EXPECT_EQ(spice_marshaller_get_total_size(m), 0);
    REFUSED(EXPECT_EQ(spice_char_device_state_restore(
        st, (SpiceMigrateDataCharDevice *)(message + 8)), 0));
    REFUSED(EXPECT_EQ(spice_server_char_device_state_restore(st, message, sizeof message, 8), 0));
    REFUSED(spice_char_device_reset(st));
    REFUSED(EXPECT_EQ(spice_char_device_client_add(st, a, 0, 0, 0, 0, 0), 0));
    REFUSED(spice_char_device_client_remove(st, a));
    REFUSED(EXPECT_EQ(spice_char_device_client_exists(st, a), 0));
    REFUSED(spice_char_device_start(st));
    REFUSED(spice_char_device_stop(st));
    REFUSED(spice_char_device_wakeup(st));
    REFUSED(spice_char_device_send_to_client_tokens_add(st, a, 1));
    REFUSED(spice_char_device_send_to_client_tokens_set(st, a, 1));
    REFUSED(EXPECT(!spice_char_device_write_buffer_get(st, NULL, 1)));
    REFUSED(EXPECT(!spice_char_device_write_buffer_get_server_no_token(st, 1)));
    REFUSED(spice_char_device_write_buffer_add(st, b));
    if (st) /* without a device a buffer is freed, see below */
        REFUSED(spice_char_device_write_buffer_release(st, b));
    REFUSED(spice_char_device_state_destroy(st));
    /* the buffer is whole */
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_TRACE(&d, "w3=3");
    spice_marshaller_destroy(m);
    old_forget_device(&nobody);
}

static void null_device(void)
{
    old_open_started(&d, 1, 1);
    refuse_device(NULL);
    old_close(&d);
}

static void foreign_pointer_as_device(void)
{
    static uint64_t fake[64];
    old_open_started(&d, 1, 1);
    refuse_device((SpiceCharDeviceState *)fake);
    refuse_device((SpiceCharDeviceState *)&d.sin);
    refuse_device((SpiceCharDeviceState *)(uintptr_t)1);
    refuse_device((SpiceCharDeviceState *)UINTPTR_MAX);
    old_close(&d);
}

static void destroyed_device(void)
{
    old_open_started(&d, 1, 1);
    SpiceCharDeviceState *stale = d.st;
    old_destroy(&d);
    old_create(&d, 1, 1);
    spice_char_device_start(d.st);
    EXPECT(stale != d.st);
    refuse_device(stale);
    old_close(&d);
}

/* ---- creating ---- */

static void create_without_server(void)
{
    host_init();
    old_prepare_device(&d);
    REFUSED(EXPECT(!spice_char_device_state_create(&d.sin, 1, 1, &d.cbs, &d)));
    SpiceServer *s = spice_server_new();
    REFUSED(EXPECT(!spice_char_device_state_create(&d.sin, 1, 1, &d.cbs, &d)));
    REFUSED(EXPECT(!spice_server_char_device_state_create(s, &d.sin, 1, 1, &d.cbs, &d)));
    REFUSED(EXPECT(!spice_server_char_device_state_create(NULL, &d.sin, 1, 1, &d.cbs, &d)));
    EXPECT(!d.sin.st);
    spice_server_destroy(s);
    old_forget_device(&d);
}

static void create_with_missing_parts(void)
{
    old_prepare(&d);
    REFUSED(EXPECT(!spice_char_device_state_create(NULL, 1, 1, &d.cbs, &d)));
    REFUSED(EXPECT(!spice_char_device_state_create(&d.sin, 1, 1, NULL, &d)));
    d.sin.base.sif = NULL;
    REFUSED(EXPECT(!spice_char_device_state_create(&d.sin, 1, 1, &d.cbs, &d)));
    d.sin.base.sif = &d.sif.base;
    static const size_t members[] = {
        offsetof(SpiceCharDeviceCallbacks, read_one_msg_from_device),
        offsetof(SpiceCharDeviceCallbacks, ref_msg_to_client),
        offsetof(SpiceCharDeviceCallbacks, unref_msg_to_client),
        offsetof(SpiceCharDeviceCallbacks, send_msg_to_client),
        offsetof(SpiceCharDeviceCallbacks, send_tokens_to_client),
        offsetof(SpiceCharDeviceCallbacks, remove_client),
    };
    for (size_t i = 0; i < TAP_COUNT(members); i++) {
        SpiceCharDeviceCallbacks cbs = d.cbs;
        memset((char *)&cbs + members[i], 0, sizeof(void *));
        REFUSED(EXPECT(!spice_char_device_state_create(&d.sin, 1, 1, &cbs, &d)));
    }
    EXPECT(!d.sin.st);
    old_create(&d, 1, 1);
    old_close(&d);
}

static void rebinding_to_nothing(void)
{
    old_open_started(&d, 1, 1);
    REFUSED(spice_char_device_state_reset_dev_instance(d.st, NULL));
    EXPECT(old_put(&d, 0, "x"));
    EXPECT_TRACE(&d, "w1=1 self");
    old_close(&d);
}

static void the_newest_server_is_meant(void)
{
    old_prepare(&d);
    SpiceServer *first = d.r.server;
    SpiceServer *second = spice_server_new();
    EXPECT_EQ(spice_server_set_noauth(second), 0);
    char path[108];
    rig_socket_path(path, sizeof path, "second");
    spice_server_set_addr(second, path, SPICE_ADDR_FLAG_UNIX_ONLY);
    EXPECT_EQ(spice_server_init(second, host_core()), 0);
    old_create(&d, 1, 1);
    old_prepare_device(&other);
    other.st = spice_server_char_device_state_create(first, &other.sin, 1, 1, &other.cbs, &other);
    EXPECT(other.st != NULL);
    spice_char_device_start(d.st);
    spice_char_device_start(other.st);
    EXPECT(old_put(&d, 0, "x") && old_put(&other, 0, "yy"));
    EXPECT_TRACE(&d, "w1=1 self");
    EXPECT_TRACE(&other, "w2=2 self");
    /* without its server a device does nothing any more */
    spice_server_destroy(second);
    old_put(&d, 0, "x");
    spice_char_device_wakeup(d.st);
    EXPECT_TRACE(&d, "");
    EXPECT(old_put(&other, 0, "yy"));
    EXPECT_TRACE(&other, "w2=2 self");
    old_destroy(&other);
    old_forget_device(&other);
    old_close(&d);
}

/* ---- buffers ---- */

static void buffer_released_twice(void)
{
    old_open_started(&d, 1, 2);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc");
    spice_char_device_write_buffer_release(d.st, b);
    EXPECT_TRACE(&d, "self");
    REFUSED(spice_char_device_write_buffer_release(d.st, b));
    REFUSED(spice_char_device_write_buffer_release(NULL, b));
    REFUSED(spice_char_device_write_buffer_add(d.st, b));
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void buffer_added_twice(void)
{
    old_open(&d, 1, 2);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc");
    spice_char_device_write_buffer_add(d.st, b);
    REFUSED(spice_char_device_write_buffer_add(d.st, b));
    REFUSED(spice_char_device_write_buffer_release(d.st, b));
    REFUSED(spice_char_device_write_buffer_release(NULL, b));
    spice_char_device_start(d.st);
    EXPECT_TRACE(&d, "w3=3 self");
    REFUSED(spice_char_device_write_buffer_add(d.st, b));
    REFUSED(spice_char_device_write_buffer_release(d.st, b));
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static SpiceCharDeviceWriteBuffer *being_written;

static void release_the_one_being_written(struct old *o, enum old_at at)
{
    if (at == AT_WRITE)
        REFUSED(spice_char_device_write_buffer_release(o->st, being_written));
}

static void buffer_released_while_it_is_written(void)
{
    old_open_started(&d, 1, 1);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc");
    being_written = b;
    d.hook = release_the_one_being_written;
    d.chunk = 2;
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_TRACE(&d, "w3=2 w1=1 self");
    EXPECT(!strcmp(d.in, "abc"));
    old_close(&d);
}

static void buffer_of_another_device(void)
{
    old_open_started(&d, 1, 1);
    old_prepare_device(&other);
    old_create(&other, 1, 1);
    spice_char_device_start(other.st);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc");
    REFUSED(spice_char_device_write_buffer_add(other.st, b));
    REFUSED(spice_char_device_write_buffer_release(other.st, b));
    EXPECT_TRACE(&other, "");
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_TRACE(&d, "w3=3 self");
    EXPECT(old_put(&other, 0, "x"));
    EXPECT_TRACE(&other, "w1=1 self");
    old_destroy(&other);
    old_forget_device(&other);
    old_close(&d);
}

static void buffer_that_is_none(void)
{
    uint8_t bytes[16] = { 0 };
    SpiceCharDeviceWriteBuffer made = { .buf = bytes, .buf_size = 16, .buf_used = 16, .refs = 1,
                                        .token_price = 1, .origin = 2 };
    old_open_started(&d, 1, 1);
    REFUSED(spice_char_device_write_buffer_add(d.st, &made));
    REFUSED(spice_char_device_write_buffer_release(d.st, &made));
    REFUSED(spice_char_device_write_buffer_release(NULL, &made));
    REFUSED(spice_char_device_write_buffer_add(d.st, NULL));
    REFUSED(spice_char_device_write_buffer_release(d.st, NULL));
    REFUSED(spice_char_device_write_buffer_add(d.st, (void *)(uintptr_t)8));
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void buffer_that_claims_too_much(void)
{
    old_open_started(&d, 1, 1);
    static const uint32_t claims[] = { 1, 1000, INT_MAX, UINT_MAX };
    for (size_t i = 0; i < TAP_COUNT(claims); i++) {
        SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc");
        EXPECT(b != NULL);
        b->buf_used = claims[i] == UINT_MAX ? UINT_MAX : b->buf_size + claims[i];
        REFUSED(spice_char_device_write_buffer_add(d.st, b));
        EXPECT_TRACE(&d, "self");
    }
    /* the size in the structure is for the caller to read, not to believe */
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc");
    b->buf_size = b->buf_used = 100 * 1024 * 1024;
    REFUSED(spice_char_device_write_buffer_add(d.st, b));
    EXPECT_TRACE(&d, "self");
    old_close(&d);
}

static void sizes_out_of_bounds(void)
{
    static const int sizes[] = { -1, INT_MIN, INT_MAX, 64 * 1024 * 1024 + 1 };
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 1, 1, 1);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        REFUSED(EXPECT(!spice_char_device_write_buffer_get(d.st, NULL, sizes[i])));
        REFUSED(EXPECT(!spice_char_device_write_buffer_get(d.st, old_client('A'), sizes[i])));
        REFUSED(EXPECT(!spice_char_device_write_buffer_get_server_no_token(d.st, sizes[i])));
    }
    /* no token was lost */
    EXPECT(old_put(&d, 0, "x") && old_put(&d, 'A', "y"));
    EXPECT_TRACE(&d, "w1=1 self w1=1 tA:1");
    old_close(&d);
}

static void buffers_that_outlive_their_device(void)
{
    old_open_started(&d, 1, 2);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 0, "abc"), *c = old_get(&d, 1, "abc");
    SpiceCharDeviceState *stale = d.st;
    old_destroy(&d);
    REFUSED(spice_char_device_write_buffer_release(stale, b));
    memset(b->buf, 1, b->buf_size); /* still the caller's */
    spice_char_device_write_buffer_release(NULL, b);
    spice_char_device_write_buffer_release(NULL, c);
    REFUSED(spice_char_device_write_buffer_release(NULL, b));
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void scribbled_fields(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 1, 2, 1);
    SpiceCharDeviceWriteBuffer *b = old_get(&d, 'A', "abc");
    memset(&b->link, 0xff, sizeof b->link);
    b->origin = -7;
    b->client = (RedClient *)(uintptr_t)7;
    b->token_price = 1000000;
    spice_char_device_write_buffer_add(d.st, b);
    EXPECT_EQ(d.calls[AT_WRITE], 1);
    EXPECT(!host_violation());
    old_close(&d);
}

/* ---- clients ---- */

static void unknown_clients(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 1, 1, 1);
    RedClient *unknown[] = { old_client('B'), (RedClient *)&d };
    for (size_t i = 0; i < TAP_COUNT(unknown); i++) {
        REFUSED(spice_char_device_client_remove(d.st, unknown[i]));
        REFUSED(spice_char_device_send_to_client_tokens_add(d.st, unknown[i], 1));
        REFUSED(spice_char_device_send_to_client_tokens_set(d.st, unknown[i], 1));
        REFUSED(EXPECT(!spice_char_device_write_buffer_get(d.st, unknown[i], 1)));
    }
    REFUSED(EXPECT_EQ(spice_char_device_client_add(d.st, NULL, 0, 0, 0, 0, 0), 0));
    REFUSED(spice_char_device_client_remove(d.st, NULL));
    REFUSED(spice_char_device_send_to_client_tokens_add(d.st, NULL, 1));
    EXPECT_EQ(spice_char_device_client_exists(d.st, NULL), 0);
    EXPECT_TRACE(&d, "");
    old_close(&d);
}

static void client_added_twice(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 1, 1, 1);
    REFUSED(EXPECT_EQ(spice_char_device_client_add(d.st, old_client('A'), 1, 9, 9, 9, 0), 0));
    old_say_wake(&d, "aaabbb");
    EXPECT_TRACE(&d, "sA:aaa");
    EXPECT(spice_char_device_client_exists(d.st, old_client('A')));
    old_remove(&d, 'A');
    EXPECT(!spice_char_device_client_exists(d.st, old_client('A')));
    old_close(&d);
}

static void client_removed_twice(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 1, 1, 1);
    old_remove(&d, 'A');
    REFUSED(old_remove(&d, 'A'));
    old_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(null_device),
    TAP_CASE(foreign_pointer_as_device),
    TAP_CASE(destroyed_device),
    TAP_CASE(create_without_server),
    TAP_CASE(create_with_missing_parts),
    TAP_CASE(rebinding_to_nothing),
    TAP_CASE(the_newest_server_is_meant),
    TAP_CASE(buffer_released_twice),
    TAP_CASE(buffer_added_twice),
    TAP_CASE(buffer_released_while_it_is_written),
    TAP_CASE(buffer_of_another_device),
    TAP_CASE(buffer_that_is_none),
    TAP_CASE(buffer_that_claims_too_much),
    TAP_CASE(sizes_out_of_bounds),
    TAP_CASE(buffers_that_outlive_their_device),
    TAP_CASE(scribbled_fields),
    TAP_CASE(unknown_clients),
    TAP_CASE(client_added_twice),
    TAP_CASE(client_removed_twice),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-misuse", cases, TAP_COUNT(cases));
}
