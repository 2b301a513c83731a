/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* Devices as hosts have them: they echo, take little at a time, wake the library
 * from inside, and lose clients meanwhile.  No byte is lost, doubled or misplaced. */
#define _GNU_SOURCE
#include "device.h"

#include <stdlib.h>
#include <string.h>

static struct old d;

/** What a client has got. */
static struct {
    size_t bytes;
    char text[1 << 16];
} received;

/** `n` bytes that tell their place. */
static char *text_of(size_t n)
{
    static char text[1 << 15];
    EXPECT(n < sizeof text);
    for (size_t i = 0; i < n; i++)
        text[i] = (char)('a' + (i * 7 + i / 26) % 26);
    text[n] = 0;
    return text;
}

/** The next `n` bytes of the text, or what there is, as a string. */
static void cut(char *part, const char *text, size_t n)
{
    n = strnlen(text, n);
    memcpy(part, text, n);
    part[n] = 0;
}

/** Takes what was sent to a client out of the trace. */
static void collect(char client)
{
    received.bytes = 0;
    char *save = NULL, wanted[4] = { 's', client, ':', 0 };
    for (char *word = strtok_r(d.trace, " ", &save); word; word = strtok_r(NULL, " ", &save))
        if (!strncmp(word, wanted, 3)) {
            size_t n = strlen(word + 3);
            memcpy(received.text + received.bytes, word + 3, n);
            received.bytes += n;
        }
    received.text[received.bytes] = 0;
    d.trace_len = 0;
    d.trace[0] = 0;
}

static void an_echo_device(void)
{
    old_open_started(&d, 2, 1);
    old_add(&d, 'A', 5, 10, 1000);
    d.echo = true;
    d.cut = 40;
    const char *text = text_of(4000);
    size_t sent = 0;
    char part[64];
    for (int i = 1; sent < 4000; i = i % 50 + 1) {
        cut(part, text + sent, (size_t)i);
        sent += strlen(part);
        EXPECT(old_put(&d, 'A', part));
        spice_char_device_wakeup(d.st);
    }
    collect('A');
    EXPECT_EQ(received.bytes, 4000);
    EXPECT(!strcmp(received.text, text));
    old_close(&d);
}

static void an_echo_inside_write(struct old *o, enum old_at at)
{
    if (at == AT_WRITE)
        spice_server_char_device_wakeup(&o->sin);
}

static void an_echo_device_that_wakes_inside_write(void)
{
    old_open_started(&d, 2, 1);
    old_add(&d, 'A', 5, 10, 1000);
    d.echo = true;
    d.cut = 70;
    d.hook = an_echo_inside_write;
    const char *text = text_of(3000);
    char part[101];
    for (int i = 0; i < 30; i++) {
        cut(part, text + 100 * i, sizeof part - 1);
        EXPECT(old_put(&d, 'A', part));
    }
    /* no wakeup but those inside */
    collect('A');
    EXPECT_EQ(received.bytes, 3000);
    EXPECT(!strcmp(received.text, text));
    old_close(&d);
}

static void one_to_seven_bytes_at_a_time(void)
{
    old_open_started(&d, 1, 3);
    old_add_plain(&d, 'A');
    d.uneven = true;
    d.silent = true;
    const char *text = text_of(20000);
    char part[1001];
    for (int i = 0; i < 20; i++) {
        cut(part, text + 1000 * i, sizeof part - 1);
        EXPECT(old_put(&d, i % 3 ? i % 2 ? 'A' : 1 : 0, part));
    }
    EXPECT_EQ(d.in_len, 20000);
    EXPECT(!memcmp(d.in, text, 20000));
    EXPECT(d.calls[AT_WRITE] > 20000 / 7);
    old_close(&d);
}

/** A device that is nearly always full; it takes on when the guest reads. */
static void a_full_device_with_a_polling_library(void)
{
    old_prepare(&d);
    d.sif.flags = 0;
    old_create(&d, 1, 100);
    spice_char_device_start(d.st);
    d.uneven = true;
    d.silent = true;
    d.accept = 10;
    const char *text = text_of(500);
    char part[51];
    for (int i = 0; i < 10; i++) {
        cut(part, text + 50 * i, sizeof part - 1);
        EXPECT(old_put(&d, 0, part));
    }
    EXPECT_EQ(d.in_len, 10);
    for (int i = 0; i < 49; i++) {
        /* either the library comes back by itself or the device calls */
        if (i < 2) {
            int calls = d.calls[AT_WRITE];
            d.accept += 10;
            while (d.calls[AT_WRITE] == calls)
                host_turn(1000);
        } else {
            old_accept(&d, 10);
        }
        EXPECT_EQ(d.in_len, 10 * (size_t)(i + 2));
    }
    EXPECT(!memcmp(d.in, text, 500));
    EXPECT_EQ(d.calls[AT_SELF], 10);
    old_close(&d);
}

/** A device that wakes whenever it is asked and has nothing would never be left. */
static void wake_everywhere(struct old *o, enum old_at at)
{
    static int depth;
    bool nothing = (at == AT_READ || at == AT_READ_MSG) && o->out_pos == o->out_len;
    if (!nothing && depth < 3) {
        depth++;
        spice_char_device_wakeup(o->st);
        depth--;
    }
}

static void wakeups_from_inside_everything(void)
{
    old_open_started(&d, 2, 3);
    old_add(&d, 'A', 5, 10, 10);
    d.uneven = true;
    d.hook = wake_everywhere;
    d.cut = 10;
    const char *text = text_of(2000);
    char part[21], seen[4096] = "";
    for (int i = 0; i < 100; i++) {
        cut(part, text + 20 * i, sizeof part - 1);
        EXPECT(old_put(&d, i % 2 ? 'A' : 0, part));
        old_say_wake(&d, part);
        spice_char_device_send_to_client_tokens_add(d.st, old_client('A'), 2);
        collect('A');
        strcat(seen, received.text);
    }
    EXPECT_EQ(d.in_len, 2000);
    EXPECT(!memcmp(d.in, text, 2000));
    EXPECT_EQ(strlen(seen), 2000);
    EXPECT(!strcmp(seen, text));
    old_close(&d);
}

/** Two clients of different speed get the same bytes in the same order. */
static void a_fast_and_a_slow_client(void)
{
    old_open_started(&d, 1, 1);
    old_add(&d, 'A', 100, 0, 0);
    old_add(&d, 'B', 100, 0, 0);
    d.cut = 10;
    const char *text = text_of(3000);
    char part[31], a[4096] = "", b[4096] = "";
    for (int i = 0; i < 100; i++) {
        cut(part, text + 30 * i, sizeof part - 1);
        old_say_wake(&d, part);
        spice_char_device_send_to_client_tokens_add(d.st, old_client('A'), 3);
        if (i % 20 == 19)
            spice_char_device_send_to_client_tokens_add(d.st, old_client('B'), 60);
        char *copy = strdup(d.trace);
        collect('A');
        strcat(a, received.text);
        strcpy(d.trace, copy);
        collect('B');
        strcat(b, received.text);
        free(copy);
    }
    EXPECT_MSG(!strcmp(a, text), "A got %zu bytes, not as they were said", strlen(a));
    EXPECT_MSG(!strcmp(b, text), "B got %zu bytes, not as they were said", strlen(b));
    EXPECT_EQ(d.calls[AT_REMOVE], 0);
    old_close(&d);
}

static enum old_at leave_at;

static void leave(struct old *o, enum old_at at)
{
    if (at == leave_at && spice_char_device_client_exists(o->st, old_client('B')))
        old_remove(o, 'B');
}

/** B leaves inside each callback in turn; A and the device lose nothing. */
static void a_client_leaves_inside_each_callback(void)
{
    static const enum old_at places[] = {
        AT_WRITE, AT_READ, AT_READ_MSG, AT_REF, AT_UNREF, AT_SEND, AT_TOKENS, AT_SELF, AT_REMOVE,
    };
    old_prepare(&d);
    for (size_t i = 0; i < TAP_COUNT(places); i++) {
        leave_at = places[i];
        d.hook = NULL;
        memset(d.in, 0, 100);
        d.in_len = 0;
        old_create(&d, 1, 5);
        spice_char_device_start(d.st);
        old_add(&d, 'A', 5, 10, 10);
        old_add(&d, 'B', 1, 10, 0);
        d.chunk = 2;
        d.hook = leave;
        old_say_wake(&d, "aaabbbcccddd");
        EXPECT(old_put(&d, 0, "one") && old_put(&d, 'A', "two") && old_put(&d, 1, "three"));
        d.hook = NULL;
        EXPECT_MSG(!spice_char_device_client_exists(d.st, old_client('B')),
                   "place %d was not visited", leave_at);
        collect('A');
        EXPECT_MSG(!strcmp(received.text, "aaabbbcccddd"), "place %d: A got %s", leave_at,
                   received.text);
        EXPECT_MSG(!strcmp(d.in, "onetwothree"), "place %d: the device got %s", leave_at, d.in);
        old_destroy(&d);
        EXPECT_EQ(d.live, 0);
        d.gone[1] = false;
    }
    old_close(&d);
}

static const struct tap_case cases[] = {
    TAP_CASE(an_echo_device),
    TAP_CASE(an_echo_device_that_wakes_inside_write),
    TAP_CASE(one_to_seven_bytes_at_a_time),
    TAP_CASE(a_full_device_with_a_polling_library),
    TAP_CASE(wakeups_from_inside_everything),
    TAP_CASE(a_fast_and_a_slow_client),
    TAP_CASE(a_client_leaves_inside_each_callback),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "old-hosts", cases, TAP_COUNT(cases));
}
