/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host like QEMU for scripts/bench, on whichever library is loaded:
 *
 *   bench-host TRANSPORT FLOW [KEY=VALUE ...]
 *
 * TRANSPORT is unix, tcp or tls.  FLOW is what each port device does:
 *   in     takes whatever comes, and compares it
 *   out    writes for `seconds`, and ends with a port event
 *   echo   says what it is told; with more than one device only the first does, and the
 *          others take whatever comes
 *   stop   takes nothing
 * KEYs: channels (1), block (bytes a write of the guest, 65536), seconds (1), content
 * (pattern), pki (a directory, for tls), password, directory (for the socket), stay=1
 * (takes the time of each stay in the library), pin (the main thread's processor).
 *
 * A device offers data only while the library is being woken, and keeps what is not taken
 * until the library has asked again, as QEMU's spicevmc backend does for a virtio port.
 *
 * Prints "ready WHERE" when clients may come, and when its input ends one line of JSON.
 */
#define _GNU_SOURCE
#include "content.h"
#include "loop.h"

#include <arpa/inet.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { CHANNELS = 64, VIRTQUEUE = 128, ECHO = 64 * 1024, DONE = 60 };

struct device {
    SpiceCharDeviceInstance sin;
    char name[32];
    bool takes, echoes;

    /* what is being offered, during a wakeup only */
    const uint8_t *offer;
    size_t offered;
    /* what of the guest's last write was not taken */
    size_t kept;
    bool blocked, connected;
    bool says_done, done;

    struct place said, heard;
    uint64_t snapshot;
    uint8_t *echo;
    size_t echo_have;
};

static struct {
    const char *flow, *content, *pki, *password, *directory;
    int channels;
    size_t block;
    double seconds;

    struct device devices[CHANNELS];
    struct content what;
    bool out, over, input_ended;
    double begun, last, main_begun, process_begun;
    bool snapped;
} host = { .content = "pattern", .channels = 1, .block = 65536, .seconds = 1 };

static struct device *device_of(SpiceCharDeviceInstance *sin)
{
    return (struct device *)((char *)sin - offsetof(struct device, sin));
}

static void moved(void)
{
    host.last = seconds_on(CLOCK_MONOTONIC);
    if (host.begun)
        return;
    host.begun = host.last;
    host.main_begun = seconds_on(CLOCK_THREAD_CPUTIME_ID);
    host.process_begun = seconds_on(CLOCK_PROCESS_CPUTIME_ID);
}

static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *bytes, int n)
{
    struct device *d = device_of(sin);
    if (!d->takes)
        return 0;
    if (d->echoes) {
        size_t room = ECHO - d->echo_have;
        n = (size_t)n < room ? n : (int)room;
        memcpy(d->echo + d->echo_have, bytes, (size_t)n);
        d->echo_have += (size_t)n;
    }
    place_check(&d->heard, bytes, (size_t)n);
    if (!host.begun)
        moved();
    return n;
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *to, int most)
{
    struct device *d = device_of(sin);
    size_t n = (size_t)most < d->offered ? (size_t)most : d->offered;
    if (n > 0) {
        if (host.out)
            place_copy(&d->said, to, n);
        else
            memcpy(to, d->offer, n);
        d->offer += n;
        d->offered -= n;
    }
    if (d->offered == 0)
        d->blocked = false;
    return (int)n;
}

static void on_state(SpiceCharDeviceInstance *sin, int connected)
{
    struct device *d = device_of(sin);
    d->connected = connected;
    if (connected) {
        d->says_done = d->done = false;
        d->heard.at = 0;
    }
}

static void on_event(SpiceCharDeviceInstance *sin, uint8_t event)
{
    host.last = seconds_on(CLOCK_MONOTONIC);
    device_of(sin)->says_done |= event == DONE;
}

/** The guest writes; returns how much was taken. */
static size_t guest_write(struct device *d, const uint8_t *bytes, size_t n)
{
    d->offer = bytes;
    d->offered = n;
    stay_begin();
    spice_server_char_device_wakeup(&d->sin);
    stay_end();
    size_t left = d->offered;
    d->blocked = left > 0;
    d->offered = 0;
    return n - left;
}

/** The guest has as many buffers ready as its queue holds. */
static void run_guest(struct device *d)
{
    for (int i = 0; i < VIRTQUEUE && !d->blocked; i++) {
        size_t n = d->kept ? d->kept : host.block;
        d->kept = n - guest_write(d, place_peek(&d->said), n);
    }
}

static void run_echo(struct device *d)
{
    size_t taken = guest_write(d, d->echo, d->echo_have);
    memmove(d->echo, d->echo + taken, d->echo_have - taken);
    d->echo_have -= taken;
}

static void say_done(struct device *d)
{
    d->done = true;
    spice_server_port_event(&d->sin, DONE);
}

/** What the devices do in this turn; returns whether they have more to do at once. */
static bool run_devices(void)
{
    bool more = false;
    bool late = host.begun && seconds_on(CLOCK_MONOTONIC) - host.begun >= host.seconds;
    for (int i = 0; i < host.channels; i++) {
        struct device *d = &host.devices[i];
        if (!d->connected)
            continue;
        if (host.out && !d->done) {
            moved();
            if (late)
                say_done(d);
            else
                run_guest(d);
            more |= !d->done && !d->blocked;
        } else if (d->echoes && d->echo_have > 0 && !d->blocked) {
            run_echo(d);
        } else if (d->says_done && !d->done) {
            say_done(d);
        }
    }
    if (late && !host.snapped) {
        host.snapped = true;
        for (int i = 0; i < host.channels; i++)
            host.devices[i].snapshot = host.devices[i].heard.passed;
    }
    return more;
}

static void add_device(SpiceServer *server, int number)
{
    static const SpiceCharDeviceInterface interface = {
        .base = { .type = SPICE_INTERFACE_CHAR_DEVICE,
                  .description = "bench port",
                  .major_version = SPICE_INTERFACE_CHAR_DEVICE_MAJOR,
                  .minor_version = SPICE_INTERFACE_CHAR_DEVICE_MINOR },
        .state = on_state,
        .write = on_write,
        .read = on_read,
        .event = on_event,
        .flags = SPICE_CHAR_DEVICE_NOTIFY_WRITABLE,
    };
    struct device *d = &host.devices[number];
    snprintf(d->name, sizeof d->name, "org.example.bench.%d", number);
    d->sin = (SpiceCharDeviceInstance){ .base.sif = &interface.base,
                                        .subtype = "port",
                                        .portname = d->name };
    d->said = d->heard = (struct place){ .content = &host.what };
    d->said.spoil = fault_wanted("guest");
    d->takes = strcmp(host.flow, "stop") != 0;
    d->echoes = !strcmp(host.flow, "echo") && number == 0;
    if (d->echoes)
        d->echo = malloc(ECHO);
    if (spice_server_add_interface(server, &d->sin.base) != 0)
        exit(2);
}

static int free_port(void)
{
    struct sockaddr_in any = { .sin_family = AF_INET };
    socklen_t length = sizeof any;
    int fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (bind(fd, (struct sockaddr *)&any, length) < 0 ||
        getsockname(fd, (struct sockaddr *)&any, &length) < 0)
        exit(2);
    close(fd);
    return ntohs(any.sin_port);
}

static bool listen_tls(SpiceServer *server, int port)
{
    char ca[4096], cert[4096], key[4096];
    snprintf(ca, sizeof ca, "%s/ca-cert.pem", host.pki);
    snprintf(cert, sizeof cert, "%s/server-cert.pem", host.pki);
    snprintf(key, sizeof key, "%s/server-key.pem", host.pki);
    return spice_server_set_tls(server, port, ca, cert, key, NULL, NULL, NULL) == 0;
}

static void start(const char *transport)
{
    SpiceServer *server = spice_server_new();
    char where[4096];
    if (host.password)
        spice_server_set_ticket(server, host.password, 0, 0, 0);
    else
        spice_server_set_noauth(server);
    if (!strcmp(transport, "unix")) {
        snprintf(where, sizeof where, "%s/bench-%d", host.directory, getpid());
        spice_server_set_addr(server, where, SPICE_ADDR_FLAG_UNIX_ONLY);
    } else {
        int port = free_port();
        snprintf(where, sizeof where, "%d", port);
        spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
        if (strcmp(transport, "tls"))
            spice_server_set_port(server, port);
        else if (!listen_tls(server, port))
            exit(2);
    }
    if (spice_server_init(server, loop_core()) != 0)
        exit(2);
    for (int i = 0; i < host.channels; i++)
        add_device(server, i);
    spice_server_vm_start(server);
    printf("ready %s\n", where);
    fflush(stdout);
}

static const char *value_of(int argc, char **argv, const char *key, const char *otherwise)
{
    size_t n = strlen(key);
    for (int i = 3; i < argc; i++)
        if (!strncmp(argv[i], key, n) && argv[i][n] == '=')
            return argv[i] + n + 1;
    return otherwise;
}

static void on_input(void *opaque)
{
    char buf[64];
    (void)opaque;
    host.input_ended = read(STDIN_FILENO, buf, sizeof buf) <= 0;
}

static void report(void)
{
    double main_cpu = seconds_on(CLOCK_THREAD_CPUTIME_ID) - host.main_begun;
    double process_cpu = seconds_on(CLOCK_PROCESS_CPUTIME_ID) - host.process_begun;
    uint64_t wrong = 0, heard = 0, said = 0;
    for (int i = 0; i < host.channels; i++) {
        wrong += host.devices[i].heard.wrong;
        heard += host.devices[i].heard.passed;
        said += host.devices[i].said.passed;
    }
    printf("{\"heard\": %llu, \"said\": %llu, \"wrong\": %llu, \"seconds\": %.6f, "
           "\"main\": %.6f, \"process\": %.6f, \"stay\": %.6f, \"wakeups\": %llu, "
           "\"each\": [",
           (unsigned long long)heard, (unsigned long long)said, (unsigned long long)wrong,
           host.last - host.begun, main_cpu, process_cpu, longest_stay(),
           (unsigned long long)loop_wakeups());
    for (int i = 0; i < host.channels; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)host.devices[i].snapshot);
    printf("]}\n");
    fflush(stdout);
}

int main(int argc, char **argv)
{
    if (argc < 3) {
        fprintf(stderr, "usage: bench-host unix|tcp|tls in|out|echo|stop [KEY=VALUE ...]\n");
        return 2;
    }
    host.flow = argv[2];
    host.out = !strcmp(host.flow, "out");
    host.channels = atoi(value_of(argc, argv, "channels", "1"));
    host.block = strtoul(value_of(argc, argv, "block", "65536"), NULL, 10);
    host.seconds = strtod(value_of(argc, argv, "seconds", "1"), NULL);
    host.pki = value_of(argc, argv, "pki", ".");
    host.password = value_of(argc, argv, "password", NULL);
    host.directory = value_of(argc, argv, "directory", "/tmp");
    if (host.channels < 1 || host.channels > CHANNELS || host.block > CONTENT_RUN)
        return 2;
    if (value_of(argc, argv, "stay", NULL))
        loop_time_stays();
    /* As QEMU does; the reference writes without MSG_NOSIGNAL. */
    signal(SIGPIPE, SIG_IGN);
    content_open(&host.what, value_of(argc, argv, "content", "pattern"));
    start(argv[1]);
    const char *processor = value_of(argc, argv, "pin", NULL);
    if (processor) {
        /* Only this thread: where the library's own run is the system's affair. */
        cpu_set_t set;
        CPU_ZERO(&set);
        CPU_SET(atoi(processor), &set);
        sched_setaffinity(0, sizeof set, &set);
    }
    loop_watch(STDIN_FILENO, on_input, NULL);
    host.main_begun = seconds_on(CLOCK_THREAD_CPUTIME_ID);
    host.process_begun = seconds_on(CLOCK_PROCESS_CPUTIME_ID);
    bool more = false;
    while (!host.input_ended) {
        loop_turn(more ? 0 : -1);
        more = run_devices();
    }
    report();
    /* No spice_server_destroy: the client may still be there, and nobody needs it. */
    _exit(0);
}
