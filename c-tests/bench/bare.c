/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * What the machine allows: a single-threaded loop with the same framing and no library,
 * which parses many messages a read and gathers many a write.
 *
 *   bench-bare TRANSPORT FLOW [KEY=VALUE ...]
 *
 * Transports, flows and keys as bench-host has them, without `stop`.  Connections carry
 * messages from the first byte on.
 */
#define _GNU_SOURCE
#include "../wire.h"
#include "content.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <netinet/tcp.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>
#include <unistd.h>

enum { CHANNELS = 64, MINI = 6, GATHERED = 256 * 1024, DONE = 60 };

struct line {
    int fd;
    SSL *tls;
    struct place said, heard;
    uint8_t *in, *out;
    size_t in_have, out_at, out_have;
    uint64_t snapshot;
    bool echoes, says_done, done;
};

static struct {
    struct line lines[CHANNELS];
    struct content content;
    int channels;
    size_t block;
    double seconds, begun, last;
    bool out, snapped;
} bare;

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

/* ---- bytes ---- */

/** -1 with EAGAIN when it has to wait, 0 at the end. */
static ssize_t take(struct line *l, void *bytes, size_t n)
{
    if (!l->tls)
        return recv(l->fd, bytes, n, 0);
    int got = SSL_read(l->tls, bytes, (int)n);
    if (got > 0)
        return got;
    errno = EAGAIN;
    return SSL_get_error(l->tls, got) == SSL_ERROR_WANT_READ ? -1 : 0;
}

static ssize_t give(struct line *l, const void *bytes, size_t n)
{
    if (!l->tls)
        return send(l->fd, bytes, n, MSG_NOSIGNAL);
    int sent = SSL_write(l->tls, bytes, (int)n);
    if (sent > 0)
        return sent;
    errno = EAGAIN;
    return SSL_get_error(l->tls, sent) == SSL_ERROR_WANT_WRITE ? -1 : 0;
}

static void flush(struct line *l)
{
    while (l->out_at < l->out_have) {
        ssize_t sent = give(l, l->out + l->out_at, l->out_have - l->out_at);
        if (sent <= 0)
            return;
        l->out_at += (size_t)sent;
    }
    l->out_at = l->out_have = 0;
}

static void queue(struct line *l, uint16_t type, const uint8_t *body, size_t n)
{
    put32(put16(l->out + l->out_have, type), (uint32_t)n);
    memcpy(l->out + l->out_have + MINI, body, n);
    l->out_have += MINI + n;
}

static void queue_done(struct line *l)
{
    uint8_t event = DONE;
    l->done = true;
    queue(l, S_PORT_EVENT, &event, 1);
}

/* ---- messages ---- */

static void handle(struct line *l, uint16_t type, const uint8_t *body, size_t n)
{
    static uint8_t room[CONTENT_RUN];
    if (type == VMC_COMPRESSED) {
        int length = LZ4_decompress_safe((const char *)body + 5, (char *)room, (int)n - 5,
                                         sizeof room);
        place_check(&l->heard, room, length > 0 ? (size_t)length : 0);
    } else if (type == VMC_DATA) {
        place_check(&l->heard, body, n);
        if (l->echoes)
            queue(l, VMC_DATA, body, n);
    } else if (type == C_PORT_EVENT) {
        bare.last = now();
        l->says_done = true;
    }
}

/** Reads once and handles all that is whole; false at the end. */
static bool receive(struct line *l)
{
    for (;;) {
        ssize_t got = take(l, l->in + l->in_have, 2 * GATHERED - l->in_have);
        if (got == 0)
            return false;
        if (got < 0)
            return true;
        if (!bare.begun)
            bare.begun = now();
        l->in_have += (size_t)got;
        size_t at = 0;
        while (l->in_have - at >= MINI) {
            size_t n = get32(l->in + at + 2);
            if (l->in_have - at - MINI < n)
                break;
            handle(l, get16(l->in + at), l->in + at + MINI, n);
            at += MINI + n;
        }
        memmove(l->in, l->in + at, l->in_have - at);
        l->in_have -= at;
        /* Others have their turn; what TLS has unwrapped would wait for ever. */
        if (!l->tls || !SSL_has_pending(l->tls))
            return true;
    }
}

static void speak(struct line *l, bool late)
{
    if (l->out_have)
        return;
    while (!late && l->out_have + MINI + bare.block <= GATHERED) {
        put32(put16(l->out + l->out_have, VMC_DATA), (uint32_t)bare.block);
        place_copy(&l->said, l->out + l->out_have + MINI, bare.block);
        l->out_have += MINI + bare.block;
    }
    if (late)
        queue_done(l);
}

static void run(void)
{
    struct pollfd polled[CHANNELS];
    int open = bare.channels;
    while (open > 0) {
        bool late = bare.begun && now() - bare.begun >= bare.seconds;
        for (int i = 0; i < bare.channels; i++) {
            struct line *l = &bare.lines[i];
            if (bare.out && !l->done)
                speak(l, late);
            if (l->says_done && !l->done)
                queue_done(l);
            flush(l);
            short events = l->out_have ? POLLIN | POLLOUT : POLLIN;
            polled[i] = (struct pollfd){ .fd = l->fd, .events = events };
        }
        if (late && !bare.snapped) {
            bare.snapped = true;
            for (int i = 0; i < bare.channels; i++)
                bare.lines[i].snapshot = bare.lines[i].heard.passed;
        }
        bool more = false;
        for (int i = 0; i < bare.channels; i++)
            more |= bare.out && !bare.lines[i].done && !bare.lines[i].out_have;
        poll(polled, (nfds_t)bare.channels, more ? 0 : -1);
        for (int i = 0; i < bare.channels; i++) {
            struct line *l = &bare.lines[i];
            if (l->fd >= 0 && (polled[i].revents & ~POLLOUT) && !receive(l)) {
                close(l->fd);
                l->fd = -1;
                open--;
            }
        }
    }
}

/* ---- connections ---- */

static int listen_on(const char *transport, const char *directory, char *where, size_t room)
{
    int fd;
    if (!strcmp(transport, "unix")) {
        struct sockaddr_un address = { .sun_family = AF_UNIX };
        if ((size_t)snprintf(where, room, "%s/bare-%d", directory, getpid()) >= room)
            exit(2);
        memcpy(address.sun_path, where, room);
        fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&address, sizeof address) < 0)
            exit(2);
    } else {
        struct sockaddr_in address = { .sin_family = AF_INET,
                                       .sin_addr = { htonl(INADDR_LOOPBACK) } };
        socklen_t length = sizeof address;
        fd = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
        if (bind(fd, (struct sockaddr *)&address, length) < 0 ||
            getsockname(fd, (struct sockaddr *)&address, &length) < 0)
            exit(2);
        snprintf(where, room, "%d", ntohs(address.sin_port));
    }
    if (listen(fd, CHANNELS) < 0)
        exit(2);
    return fd;
}

static SSL_CTX *tls_context(const char *pki)
{
    char path[4096];
    SSL_CTX *context = SSL_CTX_new(TLS_server_method());
    snprintf(path, sizeof path, "%s/server-cert.pem", pki);
    if (SSL_CTX_use_certificate_chain_file(context, path) != 1)
        exit(2);
    snprintf(path, sizeof path, "%s/server-key.pem", pki);
    if (SSL_CTX_use_PrivateKey_file(context, path, SSL_FILETYPE_PEM) != 1)
        exit(2);
    SSL_CTX_set_mode(context, SSL_MODE_ENABLE_PARTIAL_WRITE | SSL_MODE_ACCEPT_MOVING_WRITE_BUFFER);
    return context;
}

static void accept_one(struct line *l, int listener, SSL_CTX *context)
{
    int on = 1;
    *l = (struct line){ .fd = accept(listener, NULL, NULL) };
    l->in = malloc(2 * GATHERED);
    l->out = malloc(2 * GATHERED);
    l->said = l->heard = (struct place){ .content = &bare.content };
    l->said.spoil = fault_wanted("guest");
    setsockopt(l->fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
    if (context) {
        l->tls = SSL_new(context);
        SSL_set_fd(l->tls, l->fd);
        if (SSL_accept(l->tls) != 1)
            exit(2);
    }
    fcntl(l->fd, F_SETFL, fcntl(l->fd, F_GETFL) | O_NONBLOCK);
}

static const char *value_of(int argc, char **argv, const char *key, const char *otherwise)
{
    size_t n = strlen(key);
    for (int i = 3; i < argc; i++)
        if (!strncmp(argv[i], key, n) && argv[i][n] == '=')
            return argv[i] + n + 1;
    return otherwise;
}

int main(int argc, char **argv)
{
    char where[sizeof ((struct sockaddr_un *)0)->sun_path];
    if (argc < 3)
        return 2;
    bool tls = !strcmp(argv[1], "tls");
    bare.out = !strcmp(argv[2], "out");
    bare.channels = atoi(value_of(argc, argv, "channels", "1"));
    bare.block = strtoul(value_of(argc, argv, "block", "65536"), NULL, 10);
    bare.seconds = strtod(value_of(argc, argv, "seconds", "1"), NULL);
    content_open(&bare.content, value_of(argc, argv, "content", "pattern"));
    SSL_CTX *context = tls ? tls_context(value_of(argc, argv, "pki", ".")) : NULL;
    int listener = listen_on(argv[1], value_of(argc, argv, "directory", "/tmp"), where,
                             sizeof where);
    printf("ready %s\n", where);
    fflush(stdout);
    for (int i = 0; i < bare.channels; i++)
        accept_one(&bare.lines[i], listener, context);
    bare.lines[0].echoes = !strcmp(argv[2], "echo");
    if (bare.out)
        bare.begun = now();
    run();
    uint64_t heard = 0, said = 0, wrong = 0;
    for (int i = 0; i < bare.channels; i++) {
        heard += bare.lines[i].heard.passed;
        said += bare.lines[i].said.passed;
        wrong += bare.lines[i].heard.wrong;
    }
    printf("{\"heard\": %llu, \"said\": %llu, \"wrong\": %llu, \"seconds\": %.6f, \"each\": [",
           (unsigned long long)heard, (unsigned long long)said, (unsigned long long)wrong,
           bare.last - bare.begun);
    for (int i = 0; i < bare.channels; i++)
        printf("%s%llu", i ? ", " : "", (unsigned long long)bare.lines[i].snapshot);
    printf("]}\n");
    return 0;
}
