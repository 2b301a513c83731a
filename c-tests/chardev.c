/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "chardev.h"
#include "host.h"
#include "tap.h"

#include <stdlib.h>
#include <string.h>

uint8_t chardev_pattern(uint64_t i)
{
    return (uint8_t)(i % 251 + (i / 251) * 7);
}

void chardev_fill(uint8_t *buf, size_t n, uint64_t offset)
{
    for (size_t i = 0; i < n; i++)
        buf[i] = chardev_pattern(offset + i);
}

uint64_t chardev_digest(uint64_t digest, const uint8_t *buf, size_t n)
{
    if (!digest)
        digest = 14695981039346656037u;
    for (size_t i = 0; i < n; i++)
        digest = (digest ^ buf[i]) * 1099511628211u;
    return digest;
}

uint64_t chardev_pattern_digest(uint64_t n)
{
    uint8_t buf[4096];
    uint64_t digest = 0;
    for (uint64_t i = 0; i < n; i += sizeof buf) {
        size_t part = n - i < sizeof buf ? (size_t)(n - i) : sizeof buf;
        chardev_fill(buf, part, i);
        digest = chardev_digest(digest, buf, part);
    }
    return digest;
}

static struct chardev *device(SpiceCharDeviceInstance *sin)
{
    return (struct chardev *)((char *)sin - offsetof(struct chardev, sin));
}

static void enter(struct chardev *d, const char *where)
{
    host_assert_main_thread(where);
    if (!d->added)
        host_complain("%s on a device that is not registered", where);
    d->depth++;
}

static void wake_from_inside(struct chardev *d, bool wanted)
{
    /* a few levels are enough to show a recursion, more would be ours */
    if (wanted && d->added && d->depth < 4)
        spice_server_char_device_wakeup(&d->sin);
}

static void on_state(SpiceCharDeviceInstance *sin, int connected)
{
    struct chardev *d = device(sin);
    host_assert_main_thread("state");
    d->depth++;
    if (d->n_states < CHARDEV_CALLS)
        d->states[d->n_states++] = connected;
    wake_from_inside(d, d->wakeup_in_state);
    if (d->in_state)
        d->in_state(d, connected);
    d->depth--;
}

static void on_event(SpiceCharDeviceInstance *sin, uint8_t event)
{
    struct chardev *d = device(sin);
    enter(d, "event");
    if (d->n_port_events < CHARDEV_CALLS)
        d->port_events[d->n_port_events++] = event;
    wake_from_inside(d, d->wakeup_in_event);
    d->depth--;
}

static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    struct chardev *d = device(sin);
    enter(d, "write");
    if (d->writing)
        host_complain("write inside write");
    d->writing = true;
    d->writes++;
    if (len < 0)
        host_complain("write of %d bytes", len);
    wake_from_inside(d, d->wakeup_in_write);
    if (d->in_write)
        d->in_write(d);
    int n = len;
    if (d->write_result)
        n = d->write_result;
    if (d->write_chunk && n > d->write_chunk)
        n = d->write_chunk;
    if (d->accept >= 0 && n > d->accept)
        n = (int)d->accept;
    if (n > 0) {
        if (d->accept > 0)
            d->accept -= n;
        d->in_digest = chardev_digest(d->in_digest, buf, (size_t)n);
        if (d->keep_input) {
            if (d->in_len + (size_t)n > d->in_cap) {
                d->in_cap = 2 * (size_t)(d->in_len + (uint64_t)n);
                d->in = realloc(d->in, d->in_cap);
            }
            memcpy(d->in + d->in_len, buf, (size_t)n);
        }
        d->in_len += (uint64_t)n;
        if (d->echo) {
            chardev_queue(d, buf, (size_t)n);
            spice_server_char_device_wakeup(&d->sin);
        }
    }
    d->writing = false;
    d->depth--;
    return n;
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    struct chardev *d = device(sin);
    enter(d, "read");
    if (d->reading)
        host_complain("read inside read");
    d->reading = true;
    d->reads++;
    if (len < 0)
        host_complain("read of %d bytes", len);
    if (len > d->max_read_asked)
        d->max_read_asked = len;
    if (!d->min_read_asked || len < d->min_read_asked)
        d->min_read_asked = len;
    int n = len;
    if (d->read_chunk && n > d->read_chunk)
        n = d->read_chunk;
    if (d->read_result) {
        n = d->read_result;
    } else if (d->out_pos < d->out_len) {
        size_t left = d->out_len - d->out_pos;
        n = (size_t)n < left ? n : (int)left;
        memcpy(buf, d->out + d->out_pos, (size_t)n);
        d->out_pos += (size_t)n;
    } else {
        n = (uint64_t)n < d->generate ? n : (int)d->generate;
        chardev_fill(buf, (size_t)n, d->generated);
        d->generated += (uint64_t)n;
        d->generate -= (uint64_t)n;
    }
    /* a guest whose output was taken goes on writing: QEMU wakes from in here */
    wake_from_inside(d, d->wakeup_in_read && n > 0);
    if (d->in_read)
        d->in_read(d);
    d->reading = false;
    d->depth--;
    return n;
}

static const SpiceCharDeviceInterface interface = {
    .base = { .type = SPICE_INTERFACE_CHAR_DEVICE,
              .description = "scripted char device",
              .major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
              .minor_version = SPICE_INTERFACE_CHAR_DEVICE_MINOR },
    .state = on_state,
    .write = on_write,
    .read = on_read,
    .event = on_event,
    .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
};

void chardev_prepare(struct chardev *d, const char *subtype, const char *portname)
{
    *d = (struct chardev){ .accept = CHARDEV_UNLIMITED, .keep_input = true };
    d->sif = interface;
    d->sin.base.sif = &d->sif.base;
    d->sin.subtype = subtype;
    d->sin.portname = portname;
}

void chardev_interface(struct chardev *d, uint32_t minor, spice_char_device_flags flags)
{
    d->sif.base.minor_version = minor;
    d->sif.flags = flags;
}

int chardev_add(struct chardev *d, SpiceServer *server)
{
    d->server = server;
    d->added = true; /* it is read and written inside add_interface */
    int result = spice_server_add_interface(server, &d->sin.base);
    d->added = d->sin.st != NULL;
    return result;
}

static void add(struct chardev *d, SpiceServer *server, const char *subtype, const char *portname)
{
    chardev_prepare(d, subtype, portname);
    EXPECT_EQ(chardev_add(d, server), 0);
    EXPECT_MSG(d->added, "%s device was not accepted", subtype);
}

void chardev_add_port(struct chardev *d, SpiceServer *server, const char *portname)
{
    add(d, server, "port", portname);
}

void chardev_add_usbredir(struct chardev *d, SpiceServer *server)
{
    add(d, server, "usbredir", NULL);
}

void chardev_forget(struct chardev *d)
{
    free(d->out);
    free(d->in);
    d->out = d->in = NULL;
    d->out_len = d->out_pos = d->in_cap = 0;
}

void chardev_remove(struct chardev *d)
{
    if (d->added)
        EXPECT_EQ(spice_server_remove_interface(&d->sin.base), 0);
    d->added = false;
    chardev_forget(d);
}

void chardev_queue(struct chardev *d, const void *data, size_t n)
{
    d->out = realloc(d->out, d->out_len + n);
    memcpy(d->out + d->out_len, data, n);
    d->out_len += n;
}

void chardev_wakeup(struct chardev *d)
{
    spice_server_char_device_wakeup(&d->sin);
}

void chardev_pump(struct chardev *d)
{
    uint64_t before;
    do {
        before = chardev_unread(d);
        chardev_wakeup(d);
    } while (before && chardev_unread(d) != before);
}

void chardev_say(struct chardev *d, const void *data, size_t n)
{
    chardev_queue(d, data, n);
    chardev_wakeup(d);
}

void chardev_generate(struct chardev *d, uint64_t n)
{
    d->generate += n;
    chardev_pump(d);
}

void chardev_accept(struct chardev *d, int64_t n)
{
    d->accept = n == CHARDEV_UNLIMITED || d->accept < 0 ? n : d->accept + n;
    chardev_wakeup(d);
}

uint64_t chardev_unread(const struct chardev *d)
{
    return d->out_len - d->out_pos + d->generate;
}

struct goal {
    struct chardev *d;
    uint64_t n;
};

static bool input_reached(void *opaque)
{
    struct goal *g = opaque;
    return g->d->in_len >= g->n;
}

static bool states_reached(void *opaque)
{
    struct goal *g = opaque;
    return (uint64_t)g->d->n_states >= g->n;
}

static bool events_reached(void *opaque)
{
    struct goal *g = opaque;
    return (uint64_t)g->d->n_port_events >= g->n;
}

bool chardev_wait_input(struct chardev *d, uint64_t n)
{
    return host_run_until(input_reached, &(struct goal){ d, n }, HOST_DEADLINE_MS);
}

bool chardev_wait_states(struct chardev *d, int n)
{
    return host_run_until(states_reached, &(struct goal){ d, (uint64_t)n }, HOST_DEADLINE_MS);
}

bool chardev_wait_events(struct chardev *d, int n)
{
    return host_run_until(events_reached, &(struct goal){ d, (uint64_t)n }, HOST_DEADLINE_MS);
}
