/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "device.h"
#include "clock.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

struct message_to_client {
    int refs;
    int size;
    char text[];
};

static char identities[OLD_CLIENTS];

RedClient *old_client(char name)
{
    return (RedClient *)&identities[name - 'A'];
}

static char name_of(const RedClient *client)
{
    const char *p = (const char *)client;
    if (p < identities || p >= identities + OLD_CLIENTS) {
        host_complain("callback with an unknown client %p", (const void *)client);
        return '?';
    }
    return (char)('A' + (p - identities));
}

static void note(struct old *d, const char *fmt, ...) __attribute__((format(printf, 2, 3)));

static void note(struct old *d, const char *fmt, ...)
{
    va_list ap;
    if (d->silent)
        return;
    if (d->trace_len + 100 > sizeof d->trace)
        FAIL("trace is full: %.200s", d->trace);
    if (d->trace_len)
        d->trace[d->trace_len++] = ' ';
    va_start(ap, fmt);
    int n = vsnprintf(d->trace + d->trace_len, 90, fmt, ap);
    va_end(ap);
    if (n >= 90)
        FAIL("a call of %d characters is too long for the trace", n);
    d->trace_len += (size_t)n;
}

void old_expect_trace(struct old *d, const char *want, const char *file, int line)
{
    if (strcmp(d->trace, want))
        tap_fail(file, line, "calls were \"%s\", expected \"%s\"", d->trace, want);
    d->trace_len = 0;
    d->trace[0] = 0;
}

void old_expect_log(int lines, const char *file, int line)
{
    int got = tap_log_lines("Spice");
    if (got != lines)
        tap_fail(file, line, "%d log lines, expected %d", got, lines);
    tap_log_mark();
}

bool old_at_rest(struct old *d)
{
    int calls = 0, now = 0;
    for (int i = 0; i < AT_COUNT; i++)
        calls += d->calls[i];
    clock_skip_ms(60000);
    host_turn(0);
    for (int i = 0; i < AT_COUNT; i++)
        now += d->calls[i];
    return now == calls && host_armed_timers() == 0;
}

static void enter(struct old *d, enum old_at at, const char *where)
{
    host_assert_main_thread(where);
    if (d->dead)
        host_complain("%s after the state was destroyed", where);
    if ((at == AT_WRITE || at == AT_READ) && d->inside[at])
        host_complain("%s inside %s", where, where);
    d->calls[at]++;
}

static void hook(struct old *d, enum old_at at)
{
    bool outer = d->inside[at];
    d->inside[at] = true;
    if (d->hook)
        d->hook(d, at);
    d->inside[at] = outer;
}

static void enter_client(struct old *d, enum old_at at, const char *where, RedClient *client)
{
    enter(d, at, where);
    char name = name_of(client);
    if (name != '?' && d->gone[name - 'A'])
        host_complain("%s for client %c that was removed", where, name);
    d->last_client = client;
}

/* ---- the device ---- */

static struct old *owner(SpiceCharDeviceInstance *sin)
{
    return (struct old *)((char *)sin - offsetof(struct old, sin));
}

static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    struct old *d = owner(sin);
    enter(d, AT_WRITE, "write");
    int n = len;
    if (d->uneven && n > 1 + d->calls[AT_WRITE] % 7)
        n = 1 + d->calls[AT_WRITE] % 7;
    if (d->chunk && n > d->chunk)
        n = d->chunk;
    if (d->accept >= 0 && n > d->accept)
        n = (int)d->accept;
    if (d->write_result)
        n = d->write_result;
    note(d, "w%d=%d", len, n);
    int taken = n < len ? n : len;
    if (taken > 0) {
        if (d->accept > 0)
            d->accept -= taken;
        if (d->in_len + (size_t)taken > OLD_BYTES)
            d->in_len = 0;
        memcpy(d->in + d->in_len, buf, (size_t)taken);
        d->in_len += (size_t)taken;
        if (d->echo) {
            char *text = strndup((const char *)buf, (size_t)taken);
            old_say(d, text);
            free(text);
        }
    }
    hook(d, AT_WRITE);
    return n;
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    struct old *d = owner(sin);
    enter(d, AT_READ, "read");
    d->reads++;
    size_t n = d->out_len - d->out_pos;
    if (n > (size_t)len)
        n = (size_t)len;
    memcpy(buf, d->out + d->out_pos, n);
    d->out_pos += n;
    hook(d, AT_READ);
    return (int)n;
}

/* ---- the callbacks ---- */

static SpiceCharDeviceMsgToClient *on_read_one_msg(SpiceCharDeviceInstance *sin, void *opaque)
{
    struct old *d = opaque;
    enter(d, AT_READ_MSG, "read_one_msg_from_device");
    if (sin->st != d->st)
        host_complain("read_one_msg_from_device on another instance");
    struct message_to_client *m = malloc(sizeof *m + (size_t)d->cut + 1);
    int n = on_read(sin, (uint8_t *)m->text, d->cut);
    hook(d, AT_READ_MSG);
    if (n <= 0) {
        free(m);
        return NULL;
    }
    m->refs = 1;
    m->size = n;
    m->text[n] = 0;
    d->made++;
    d->live++;
    return m;
}

static SpiceCharDeviceMsgToClient *on_ref(SpiceCharDeviceMsgToClient *msg, void *opaque)
{
    struct message_to_client *m = msg;
    enter(opaque, AT_REF, "ref_msg_to_client");
    m->refs++;
    hook(opaque, AT_REF);
    return msg;
}

/* A reference is dropped even when the state is dead: the loop owns it. */
static void on_unref(SpiceCharDeviceMsgToClient *msg, void *opaque)
{
    struct old *d = opaque;
    struct message_to_client *m = msg;
    host_assert_main_thread("unref_msg_to_client");
    d->calls[AT_UNREF]++;
    hook(d, AT_UNREF);
    if (--m->refs == 0) {
        d->live--;
        free(m);
    }
}

static void on_send(SpiceCharDeviceMsgToClient *msg, RedClient *client, void *opaque)
{
    struct old *d = opaque;
    struct message_to_client *m = msg;
    enter_client(d, AT_SEND, "send_msg_to_client", client);
    if (m->refs < 1)
        host_complain("send_msg_to_client without a reference");
    note(d, "s%c:%s", name_of(client), m->text);
    hook(d, AT_SEND);
}

static void on_tokens(RedClient *client, uint32_t tokens, void *opaque)
{
    struct old *d = opaque;
    enter_client(d, AT_TOKENS, "send_tokens_to_client", client);
    note(d, "t%c:%u", name_of(client), tokens);
    hook(d, AT_TOKENS);
}

static void on_self_token(void *opaque)
{
    struct old *d = opaque;
    enter(d, AT_SELF, "on_free_self_token");
    note(d, "self");
    hook(d, AT_SELF);
}

static void on_remove(RedClient *client, void *opaque)
{
    struct old *d = opaque;
    enter_client(d, AT_REMOVE, "remove_client", client);
    note(d, "x%c", name_of(client));
    hook(d, AT_REMOVE);
}

/* ---- life ---- */

void old_prepare_device(struct old *d)
{
    memset(d, 0, sizeof *d);
    d->accept = OLD_UNLIMITED;
    d->cut = 3;
    d->in = calloc(1, OLD_BYTES + 1);
    d->out = calloc(1, OLD_BYTES + 1);
    d->sif = (SpiceCharDeviceInterface){
        .base = { .type = SPICE_INTERFACE_CHAR_DEVICE,
                  .description = "a device of the 0.12 interface",
                  .major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
                  .minor_version = SPICE_INTERFACE_CHAR_DEVICE_MINOR },
        .write = on_write,
        .read = on_read,
        .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
    };
    d->sin.base.sif = &d->sif.base;
    d->sin.subtype = "vendor";
    d->cbs = (SpiceCharDeviceCallbacks){
        .read_one_msg_from_device = on_read_one_msg,
        .ref_msg_to_client = on_ref,
        .unref_msg_to_client = on_unref,
        .send_msg_to_client = on_send,
        .send_tokens_to_client = on_tokens,
        .on_free_self_token = on_self_token,
        .remove_client = on_remove,
    };
}

void old_forget_device(struct old *d)
{
    EXPECT_MSG(d->live == 0, "%d messages are still referenced", d->live);
    free(d->in);
    free(d->out);
    d->in = d->out = NULL;
}

void old_prepare(struct old *d)
{
    struct rig r;
    rig_open(&r);
    old_prepare_device(d);
    d->r = r;
    tap_log_mark();
}

void old_create(struct old *d, uint32_t interval, uint32_t self_tokens)
{
    d->st = spice_char_device_state_create(&d->sin, interval, self_tokens, &d->cbs, d);
    EXPECT(d->st != NULL);
    d->dead = false;
}

void old_open(struct old *d, uint32_t interval, uint32_t self_tokens)
{
    old_prepare(d);
    old_create(d, interval, self_tokens);
}

void old_open_started(struct old *d, uint32_t interval, uint32_t self_tokens)
{
    old_open(d, interval, self_tokens);
    spice_char_device_start(d->st);
}

void old_destroy(struct old *d)
{
    spice_char_device_state_destroy(d->st);
    d->st = NULL;
    d->dead = true;
}

void old_close(struct old *d)
{
    if (d->st)
        old_destroy(d);
    rig_close(&d->r);
    old_forget_device(d);
}

/* ---- traffic ---- */

void old_add_plain(struct old *d, char client)
{
    EXPECT_EQ(spice_char_device_client_add(d->st, old_client(client), 0, 0, 0, 0, 0), 1);
    d->gone[client - 'A'] = false;
}

void old_add(struct old *d, char client, uint32_t queue, uint32_t window, uint32_t send)
{
    EXPECT_EQ(spice_char_device_client_add(d->st, old_client(client), 1, queue, window, send, 0), 1);
    d->gone[client - 'A'] = false;
}

void old_remove(struct old *d, char client)
{
    spice_char_device_client_remove(d->st, old_client(client));
    d->gone[client - 'A'] = true;
}

SpiceCharDeviceWriteBuffer *old_get(struct old *d, char client, const char *text)
{
    int size = (int)strlen(text);
    SpiceCharDeviceWriteBuffer *b;
    if (client == 1)
        b = spice_char_device_write_buffer_get_server_no_token(d->st, size);
    else
        b = spice_char_device_write_buffer_get(d->st, client ? old_client(client) : NULL, size);
    if (b) {
        EXPECT(b->buf_size >= (uint32_t)size);
        memcpy(b->buf, text, (size_t)size);
        b->buf_used = (uint32_t)size;
    }
    return b;
}

bool old_put(struct old *d, char client, const char *text)
{
    SpiceCharDeviceWriteBuffer *b = old_get(d, client, text);
    if (b)
        spice_char_device_write_buffer_add(d->st, b);
    return b != NULL;
}

void old_say(struct old *d, const char *text)
{
    size_t n = strlen(text);
    if (d->out_pos == d->out_len)
        d->out_pos = d->out_len = 0;
    EXPECT(d->out_len + n <= OLD_BYTES);
    memcpy(d->out + d->out_len, text, n);
    d->out_len += n;
}

void old_say_wake(struct old *d, const char *text)
{
    old_say(d, text);
    spice_char_device_wakeup(d->st);
}

void old_accept(struct old *d, int64_t n)
{
    d->accept = n == OLD_UNLIMITED || d->accept < 0 ? n : d->accept + n;
    spice_char_device_wakeup(d->st);
}
