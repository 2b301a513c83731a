/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * A host with one port channel for scripts/bench, on whichever library is loaded:
 *
 *   vmc-host out FILE BLOCK SECONDS   the device says FILE over and over, BLOCK bytes a read
 *   vmc-host in                       the device takes whatever comes
 *
 * VMC_HOST_PKI=DIRECTORY: the port is one for TLS, with the files there.  Prints "port N"
 * when clients may come, and when it is done
 *   bytes N seconds T main-cpu T process-cpu T
 * "out" begins when a client has connected; "in" lasts from the first byte of the client
 * to its end.  The main thread's time is what QEMU's lock would be held for.
 */
#define _GNU_SOURCE
#include "../chardev.h"
#include "../host.h"
#include "../rig.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static struct {
    bool out;
    const uint8_t *content;
    size_t length, at, block;
    double limit;

    bool connected, gone, begun;
    double begin, main_begin, process_begin;
    double last;
    uint64_t bytes;
} bench;

static double now(clockid_t clock)
{
    struct timespec t;
    clock_gettime(clock, &t);
    return t.tv_sec + t.tv_nsec / 1e9;
}

static void begin(void)
{
    if (bench.begun)
        return;
    bench.begun = true;
    bench.begin = bench.last = now(CLOCK_MONOTONIC);
    bench.main_begin = now(CLOCK_THREAD_CPUTIME_ID);
    bench.process_begin = now(CLOCK_PROCESS_CPUTIME_ID);
}

static void on_state(SpiceCharDeviceInstance *sin, int connected)
{
    (void)sin;
    if (connected && bench.out)
        begin();
    bench.gone |= bench.connected && !connected;
    bench.connected = connected;
}

static bool done(void)
{
    return bench.gone || (bench.out && bench.begun &&
                          now(CLOCK_MONOTONIC) - bench.begin >= bench.limit);
}

static int on_read(SpiceCharDeviceInstance *sin, uint8_t *buf, int len)
{
    (void)sin;
    if (!bench.out || !bench.connected || done())
        return 0;
    size_t n = (size_t)len < bench.block ? (size_t)len : bench.block;
    if (n > bench.length - bench.at)
        n = bench.length - bench.at;
    memcpy(buf, bench.content + bench.at, n);
    bench.at = (bench.at + n) % bench.length;
    bench.bytes += n;
    bench.last = now(CLOCK_MONOTONIC);
    return (int)n;
}

static int on_write(SpiceCharDeviceInstance *sin, const uint8_t *buf, int len)
{
    (void)sin;
    (void)buf;
    begin();
    bench.bytes += len;
    bench.last = now(CLOCK_MONOTONIC);
    return len;
}

static bool map_content(const char *path)
{
    struct stat info;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0 || fstat(fd, &info) < 0 || info.st_size == 0)
        return false;
    void *content = mmap(NULL, info.st_size, PROT_READ, MAP_PRIVATE | MAP_POPULATE, fd, 0);
    close(fd);
    bench.content = content;
    bench.length = info.st_size;
    return content != MAP_FAILED;
}

/** A TLS port; returns its number. */
static int init_tls(SpiceServer *server, const char *pki)
{
    char ca[4096], cert[4096], key[4096];
    int port = rig_free_port(AF_INET);
    snprintf(ca, sizeof ca, "%s/ca-cert.pem", pki);
    snprintf(cert, sizeof cert, "%s/server-cert.pem", pki);
    snprintf(key, sizeof key, "%s/server-key.pem", pki);
    spice_server_set_addr(server, "127.0.0.1", SPICE_ADDR_FLAG_IPV4_ONLY);
    if (spice_server_set_tls(server, port, ca, cert, key, NULL, NULL, NULL) != 0 ||
        spice_server_init(server, host_core()) != 0)
        exit(2);
    return port;
}

int main(int argc, char **argv)
{
    const char *pki = getenv("VMC_HOST_PKI");
    static struct chardev port;
    struct rig r;

    bench.out = argc == 5 && !strcmp(argv[1], "out");
    if (bench.out) {
        bench.block = strtoul(argv[3], NULL, 10);
        bench.limit = strtod(argv[4], NULL);
        if (!map_content(argv[2]) || bench.block == 0)
            return 2;
    } else if (argc != 2 || strcmp(argv[1], "in")) {
        fprintf(stderr, "usage: vmc-host out FILE BLOCK SECONDS | vmc-host in\n");
        return 2;
    }
    rig_new(&r);
    spice_server_set_noauth(r.server);
    if (pki)
        r.port = init_tls(r.server, pki);
    else
        rig_init_tcp(&r);
    chardev_prepare(&port, "port", "org.example.bench.0");
    port.sif.state = on_state;
    port.sif.read = on_read;
    port.sif.write = on_write;
    chardev_add(&port, r.server);
    printf("port %d\n", r.port);
    fflush(stdout);
    while (!done()) {
        uint64_t before = bench.bytes;
        if (bench.out && bench.connected)
            spice_server_char_device_wakeup(&port.sin);
        /* As a guest does: while bytes go it has more, otherwise it waits to be asked. */
        host_turn(bench.out && bench.bytes != before ? 0 : 100);
    }
    double main_cpu = now(CLOCK_THREAD_CPUTIME_ID) - bench.main_begin;
    double process_cpu = now(CLOCK_PROCESS_CPUTIME_ID) - bench.process_begin;
    printf("bytes %llu seconds %.6f main-cpu %.6f process-cpu %.6f\n",
           (unsigned long long)bench.bytes, bench.last - bench.begin, main_cpu, process_cpu);
    fflush(stdout);
    /* No end of the rig: it wants a clean slate, and the client is still there. */
    _exit(0);
}
