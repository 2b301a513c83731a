/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* spice_marshaller_*: building a message out of parts. */
#define _GNU_SOURCE
#include "device.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/** The message is these bytes (`want` in hexadecimal, spaces between groups). */
static void expect_bytes(SpiceMarshaller *m, const char *want)
{
    size_t size;
    int must_free;
    char got[512] = "";
    uint8_t *bytes = spice_marshaller_linearize(m, 0, &size, &must_free);
    EXPECT_EQ(size, spice_marshaller_get_total_size(m));
    for (size_t i = 0, n = 0; i < size && n < sizeof got - 4; i++)
        n += (size_t)sprintf(got + n, "%02x", bytes[i]);
    char packed[512] = "";
    for (size_t i = 0, n = 0; want[i]; i++)
        if (want[i] != ' ')
            packed[n++] = want[i];
    EXPECT_MSG(!strcmp(got, packed), "message is %s, expected %s", got, packed);
    if (must_free)
        free(bytes);
}

static void numbers_are_little_endian(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    EXPECT_EQ(spice_marshaller_get_total_size(m), 0);
    EXPECT(spice_marshaller_add_uint8(m, 0x01) != NULL);
    EXPECT(spice_marshaller_add_uint16(m, 0x0302) != NULL);
    EXPECT(spice_marshaller_add_uint32(m, 0x07060504) != NULL);
    EXPECT(spice_marshaller_add_uint64(m, 0x0f0e0d0c0b0a0908u) != NULL);
    expect_bytes(m, "01 0203 04050607 08090a0b0c0d0e0f");
    spice_marshaller_destroy(m);
}

static void bytes_are_copied(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    uint8_t bytes[] = { 1, 2, 3 };
    uint8_t *copy = spice_marshaller_add(m, bytes, 3);
    EXPECT(copy && copy != bytes);
    memset(bytes, 9, 3);
    expect_bytes(m, "010203");
    copy[1] = 0x22;
    expect_bytes(m, "012203");
    spice_marshaller_destroy(m);
}

static void reserved_space_stays_where_it_is(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    spice_marshaller_add_uint8(m, 0xaa);
    uint8_t *space = spice_marshaller_reserve_space(m, 4);
    EXPECT(space != NULL);
    for (int i = 0; i < 100000; i++)
        spice_marshaller_add_uint64(m, 0);
    memcpy(space, "\1\2\3\4", 4);
    size_t size;
    int must_free;
    uint8_t *bytes = spice_marshaller_linearize(m, 0, &size, &must_free);
    EXPECT_EQ(size, 800005);
    EXPECT(!memcmp(bytes, "\xaa\1\2\3\4\0", 6));
    if (must_free)
        free(bytes);
    spice_marshaller_destroy(m);
}

static void parts_follow_their_parent(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    spice_marshaller_add_uint8(m, 0x11);
    SpiceMarshaller *a = spice_marshaller_get_ptr_submarshaller(m, 0);
    SpiceMarshaller *b = spice_marshaller_get_ptr_submarshaller(m, 1);
    spice_marshaller_add_uint8(b, 0xbb);
    spice_marshaller_add_uint8(b, 0xbc);
    spice_marshaller_add_uint16(a, 0xa2a1);
    spice_marshaller_add_uint8(m, 0x12);
    /* 1 + 4 + 8 + 1 = 14 bytes of the parent, then a, then b */
    expect_bytes(m, "11 0e000000 1000000000000000 12 a1a2 bbbc");
    EXPECT_EQ(spice_marshaller_get_total_size(b), 18);
    spice_marshaller_destroy(m);
}

static void an_empty_part_has_no_place(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMarshaller *a = spice_marshaller_get_ptr_submarshaller(m, 0);
    SpiceMarshaller *b = spice_marshaller_get_ptr_submarshaller(m, 0);
    EXPECT(a && b);
    spice_marshaller_add_uint8(b, 0xbb);
    expect_bytes(m, "00000000 08000000 bb");
    spice_marshaller_destroy(m);
}

static void parts_have_parts(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMarshaller *a = spice_marshaller_get_ptr_submarshaller(m, 0);
    SpiceMarshaller *b = spice_marshaller_get_ptr_submarshaller(a, 0);
    spice_marshaller_add_uint8(b, 0xbb);
    spice_marshaller_add_uint8(a, 0xaa);
    expect_bytes(m, "04000000 09000000 aa bb");
    spice_marshaller_destroy(m);
}

static void linearize_skips(void)
{
    size_t size;
    int must_free;
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    spice_marshaller_add_uint32(m, 0x04030201);
    spice_marshaller_add_uint32(m, 0x08070605);
    for (size_t skip = 0; skip < 8; skip++) {
        uint8_t *bytes = spice_marshaller_linearize(m, skip, &size, &must_free);
        EXPECT_EQ(size, 8 - skip);
        EXPECT_EQ(bytes[0], skip + 1);
        EXPECT_EQ(bytes[size - 1], 8);
        if (must_free)
            free(bytes);
    }
    for (size_t skip = 8; skip < 10; skip++) {
        size = 77;
        must_free = 77;
        EXPECT(!spice_marshaller_linearize(m, skip, &size, &must_free));
        EXPECT_EQ(size, 0);
        EXPECT_EQ(must_free, 0);
    }
    spice_marshaller_destroy(m);
}

static void reset_empties(void)
{
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    for (int i = 0; i < 3; i++) {
        SpiceMarshaller *a = spice_marshaller_get_ptr_submarshaller(m, 0);
        spice_marshaller_add_uint8(a, (uint8_t)i);
        EXPECT_EQ(spice_marshaller_get_total_size(m), 5);
        spice_marshaller_reset(m);
        EXPECT_EQ(spice_marshaller_get_total_size(m), 0);
    }
    spice_marshaller_add_uint8(m, 5);
    expect_bytes(m, "05");
    spice_marshaller_destroy(m);
}

static void misuse_is_refused(void)
{
    size_t size = 77;
    int must_free = 77;
    uint8_t fake[256] = { 0 };
    host_init();
    SpiceMarshaller *m = spice_marshaller_new();
    SpiceMarshaller *part = spice_marshaller_get_ptr_submarshaller(m, 0);
    SpiceMarshaller *gone = spice_marshaller_new();
    spice_marshaller_destroy(gone);
    SpiceMarshaller *bad[] = { NULL, (SpiceMarshaller *)fake, gone };
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        tap_log_mark();
#define REFUSED(call) do { call; EXPECT_REFUSED(); } while (0)
        REFUSED(spice_marshaller_destroy(bad[i]));
        REFUSED(spice_marshaller_reset(bad[i]));
        REFUSED(EXPECT(!spice_marshaller_add_uint8(bad[i], 1)));
        REFUSED(EXPECT(!spice_marshaller_add_uint16(bad[i], 1)));
        REFUSED(EXPECT(!spice_marshaller_add_uint32(bad[i], 1)));
        REFUSED(EXPECT(!spice_marshaller_add_uint64(bad[i], 1)));
        REFUSED(EXPECT(!spice_marshaller_add(bad[i], fake, 1)));
        REFUSED(EXPECT(!spice_marshaller_reserve_space(bad[i], 1)));
        REFUSED(EXPECT_EQ(spice_marshaller_get_total_size(bad[i]), 0));
        REFUSED(EXPECT(!spice_marshaller_linearize(bad[i], 0, &size, &must_free)));
        REFUSED(EXPECT(!spice_marshaller_get_ptr_submarshaller(bad[i], 0)));
        REFUSED(spice_char_device_state_migrate_data_marshall_empty(bad[i]));
    }
    REFUSED(spice_marshaller_destroy(part));
    REFUSED(spice_marshaller_reset(part));
    REFUSED(EXPECT(!spice_marshaller_add(m, NULL, 1)));
    REFUSED(EXPECT(!spice_marshaller_reserve_space(m, (size_t)-1)));
    REFUSED(EXPECT(!spice_marshaller_linearize(m, 0, NULL, &must_free)));
    REFUSED(EXPECT(!spice_marshaller_linearize(m, 0, &size, NULL)));
    spice_marshaller_destroy(m);
}

static const struct tap_case cases[] = {
    TAP_CASE(numbers_are_little_endian),
    TAP_CASE(bytes_are_copied),
    TAP_CASE(reserved_space_stays_where_it_is),
    TAP_CASE(parts_follow_their_parent),
    TAP_CASE(an_empty_part_has_no_place),
    TAP_CASE(parts_have_parts),
    TAP_CASE(linearize_skips),
    TAP_CASE(reset_empties),
    TAP_CASE(misuse_is_refused),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-marshaller", cases, TAP_COUNT(cases));
}
