/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "service.h"

#include "backend.h"
#include "loop.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

enum { EVENT_OPENED = 0, EVENT_CLOSED = 1 };

struct service {
    SpiceCharDeviceInstance sin; /* first: the library hands it back */
    const struct backend_kind *kind;
    const char *argument;
    struct backend backend;
    SpiceWatch *read_watch, *write_watch;
    bool added;
    bool client;      /* one is there */
    bool left;        /* one has left since the last turn */
    bool running;     /* the port is open */
    bool opened;      /* and so is the backend */
    bool ended;       /* it has nothing more to say */
    bool told;        /* and the client knows */
    bool blocked;     /* it took less than it was given */
    bool input_ended; /* the client has nothing more to say */
};

static struct service **services;
static size_t count;

/* ---- what the library calls ---- */

static void on_state(SpiceCharDeviceInstance *sin, int connected)
{
    struct service *s = (struct service *)sin;
    s->left |= !connected;
    s->client = connected;
}

static void end_output(struct service *s)
{
    s->ended = true;
    if (s->read_watch)
        loop_set_mask(s->read_watch, 0);
}

static bool open_backend(struct service *s)
{
    if (s->kind->open(&s->backend, s->argument))
        return true;
    fprintf(stderr, "spice-serve: %s: %s: %s\n", s->sin.portname, s->argument, strerror(errno));
    s->backend = (struct backend){ .in = -1, .out = -1 };
    end_output(s);
    return false;
}

/** A client that only looks who is there must not cost a file its content. */
static void open_late(struct service *s)
{
    if (s->kind->late && !s->opened)
        s->opened = open_backend(s);
}

/** What the backend does not take any more is dropped, as with a command that does not
 * read its input. */
static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    struct service *s = (struct service *)sin;
    s->blocked = false;
    if (s->client && !s->running && !s->ended) {
        s->blocked = true; /* it is about to begin */
        return 0;
    }
    if (s->running && !s->ended)
        open_late(s);
    if (s->backend.in < 0 || len <= 0)
        return len;
    ssize_t n = write(s->backend.in, buf, (size_t)len);
    if (n < 0 && errno != EAGAIN && errno != EINTR && errno != ENOTCONN) {
        if (errno != EPIPE)
            fprintf(stderr, "spice-serve: %s: %s\n", s->sin.portname, strerror(errno));
        backend_end_input(&s->backend);
        return len;
    }
    s->blocked = n < len;
    if (s->blocked && s->write_watch)
        loop_set_mask(s->write_watch, SPICE_WATCH_EVENT_WRITE);
    return n < 0 ? 0 : (int)n;
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    struct service *s = (struct service *)sin;
    if (!s->running || s->ended || s->backend.out < 0)
        return 0;
    ssize_t n = read(s->backend.out, buf, (size_t)len);
    if (n > 0 || (n < 0 && (errno == EAGAIN || errno == EINTR || errno == ENOTCONN))) {
        /* A wakeup means one read: the next one has to be asked for. */
        if (s->read_watch)
            loop_set_mask(s->read_watch, SPICE_WATCH_EVENT_READ);
        return n > 0 ? (int)n : 0;
    }
    /* EIO is how a terminal tells that nobody has it open any more. */
    if (n < 0 && errno != EIO)
        fprintf(stderr, "spice-serve: %s: %s\n", s->sin.portname, strerror(errno));
    end_output(s);
    return 0;
}

static void on_event(SpiceCharDeviceInstance *sin, uint8_t event)
{
    struct service *s = (struct service *)sin;
    s->input_ended |= event == EVENT_CLOSED;
}

static SpiceCharDeviceInterface interface = {
    .base = { SPICE_INTERFACE_CHAR_DEVICE, "spice-serve", SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
              SPICE_INTERFACE_CHAR_DEVICE_MINOR },
    .state = on_state,
    .write = on_write,
    .read = on_read,
    .event = on_event,
    .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
};

/* ---- what the backend makes happen ---- */

static void on_ready(int fd, int event, void *opaque)
{
    struct service *s = opaque;
    (void)fd;
    /* The library reads and writes now; what is not done then asks again. */
    loop_set_mask(event == SPICE_WATCH_EVENT_READ ? s->read_watch : s->write_watch, 0);
    spice_server_char_device_wakeup(&s->sin);
}

static void begin(struct service *s)
{
    s->running = true;
    if (!s->kind->late)
        s->opened = open_backend(s);
    if (s->backend.out >= 0)
        s->read_watch = loop_watch(s->backend.out, 0, on_ready, s);
    if (s->backend.in >= 0)
        s->write_watch = loop_watch(s->backend.in, 0, on_ready, s);
    spice_server_port_event(&s->sin, EVENT_OPENED);
    spice_server_char_device_wakeup(&s->sin);
}

static void end(struct service *s)
{
    loop_unwatch(s->read_watch);
    loop_unwatch(s->write_watch);
    s->read_watch = s->write_watch = NULL;
    backend_close(&s->backend);
    if (s->running && !s->told)
        spice_server_port_event(&s->sin, EVENT_CLOSED);
    s->running = s->opened = s->ended = s->told = s->blocked = s->input_ended = false;
}

static void settle(struct service *s)
{
    if (s->left) {
        s->left = false;
        end(s);
    }
    if (s->client && !s->running)
        begin(s);
    /* All that came before the end of the input has been written if nothing is blocked. */
    if (s->running && s->input_ended && !s->blocked && !s->ended) {
        open_late(s);
        if (s->write_watch && s->backend.in != s->backend.out) {
            loop_unwatch(s->write_watch);
            s->write_watch = NULL;
        }
        backend_end_input(&s->backend);
        if (s->backend.out < 0)
            end_output(s);
    }
    if (s->running && s->ended && !s->told) {
        s->told = true;
        spice_server_port_event(&s->sin, EVENT_CLOSED);
    }
}

/* ---- all of them ---- */

bool service_add(char *text)
{
    char *kind = strchr(text, '=');
    char *argument = kind ? strchr(kind, ':') : NULL;
    if (!argument || kind == text || !argument[1]) {
        fprintf(stderr, "spice-serve: %s is not NAME=KIND:ARGUMENT\n", text);
        return false;
    }
    *kind++ = '\0';
    *argument++ = '\0';
    struct service *s = loop_realloc(NULL, sizeof *s);
    *s = (struct service){
        .sin = { .base = { &interface.base }, .subtype = "port", .portname = text },
        .kind = backend_kind(kind),
        .argument = argument,
        .backend = { .in = -1, .out = -1 },
    };
    services = loop_realloc(services, (count + 1) * sizeof *services);
    services[count++] = s;
    for (size_t i = 0; i + 1 < count; i++) {
        if (!strcmp(services[i]->sin.portname, text)) {
            fprintf(stderr, "spice-serve: there are two ports %s\n", text);
            return false;
        }
    }
    if (!s->kind)
        fprintf(stderr, "spice-serve: %s is not known: exec, pty, unix, tcp, file or save\n", kind);
    return s->kind;
}

bool service_start_all(SpiceServer *server)
{
    for (size_t i = 0; i < count; i++) {
        services[i]->added = spice_server_add_interface(server, &services[i]->sin.base) == 0;
        if (!services[i]->added) {
            fprintf(stderr, "spice-serve: the library does not take %s\n",
                    services[i]->sin.portname);
            return false;
        }
    }
    return true;
}

void service_settle_all(void)
{
    for (size_t i = 0; i < count; i++)
        settle(services[i]);
}

void service_reap(void)
{
    for (pid_t pid; (pid = waitpid(-1, NULL, WNOHANG)) > 0;) {
        backend_reaped(pid);
        for (size_t i = 0; i < count; i++)
            if (services[i]->backend.pid == pid)
                services[i]->backend.pid = 0;
    }
}

/** Commands were told to end when their clients went; whoever has not in a second is made
 * to. */
static void wait_for_children(void)
{
    for (int turns = 0;; turns++) {
        service_reap();
        if (waitpid(-1, NULL, WNOHANG) < 0)
            break; /* there are none */
        if (turns == 100)
            backend_kill_all();
        nanosleep(&(struct timespec){ .tv_nsec = 10000000 }, NULL);
    }
    backend_free();
}

void service_stop_all(void)
{
    for (size_t i = 0; i < count; i++) {
        struct service *s = services[i];
        if (s->added) {
            end(s);
            spice_server_remove_interface(&s->sin.base);
        }
    }
    wait_for_children();
    for (size_t i = 0; i < count; i++)
        free(services[i]);
    free(services);
    services = NULL;
    count = 0;
}
