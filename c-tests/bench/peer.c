/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "peer.h"
#include "../tls.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <openssl/ssl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

struct options options = { .content = "pattern",
                           .password = "",
                           .channels = 1,
                           .size = 65536,
                           .seconds = 1 };

static _Noreturn void gone(const char *what)
{
    fprintf(stderr, "bench-client: %s\n", what);
    exit(3);
}

static void dial(struct client *c)
{
    client_init(c, !strcmp(options.transport, "unix")
                       ? connect_unix(options.where)
                       : connect_tcp(AF_INET, atoi(options.where)));
    if (!strcmp(options.transport, "tls"))
        tls_start(c, &(struct tls_wants){ .ca = options.ca });
}

static void make_blocking(struct client *c)
{
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK);
    if (c->tls)
        SSL_set_mode(c->tls, SSL_MODE_AUTO_RETRY);
}

/** Somebody has to read the main channel: the network test is a quarter of a megabyte. */
static void *read_main(void *opaque)
{
    struct client *c = opaque;
    char buf[4096];
    while ((c->tls ? SSL_read(c->tls, buf, sizeof buf) : read(c->fd, buf, sizeof buf)) > 0)
        ;
    return NULL;
}

uint32_t peer_main(struct client *c)
{
    struct message m;
    if (options.bare)
        return 0;
    dial(c);
    if (client_link(c, CH_MAIN, 0, 0, options.password) != LINK_OK)
        gone("no main channel");
    client_expect(c, S_MAIN_INIT, &m);
    uint32_t session = get32(m.body);
    message_free(&m);
    return session;
}

void peer_read_main(struct client *c)
{
    pthread_t thread;
    if (options.bare)
        return;
    make_blocking(c);
    if (pthread_create(&thread, NULL, read_main, c) == 0)
        pthread_detach(thread);
}

void peer_open(struct peer *p, int number, uint32_t session, const struct content *content)
{
    *p = (struct peer){ .heard.content = content };
    dial(&p->client);
    if (!options.bare) {
        struct link l;
        link_init(&l, CH_PORT, number, session);
        link_set_caps(&l, CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
                      options.lz4 ? VMC_CAP_LZ4 : 0);
        if (client_link_with(&p->client, &l, options.password) != LINK_OK)
            gone("no port channel");
    }
    make_blocking(&p->client);
}

static void send_plain(int fd, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        ssize_t sent = send(fd, bytes, n, MSG_NOSIGNAL);
        if (sent < 0 && errno != EINTR)
            gone("the host is gone");
        bytes += sent > 0 ? sent : 0;
        n -= sent > 0 ? (size_t)sent : 0;
    }
}

void peer_send(struct peer *p, const void *bytes, size_t n)
{
    const uint8_t *rest = bytes;
    if (!p->client.tls) {
        send_plain(p->client.fd, rest, n);
        return;
    }
    while (n > 0) {
        int sent = SSL_write(p->client.tls, rest, n < READ ? (int)n : READ);
        if (sent <= 0)
            gone("the host is gone");
        rest += sent;
        n -= (size_t)sent;
    }
}

ssize_t peer_receive(struct peer *p, void *bytes, size_t n)
{
    if (!p->client.tls)
        return recv(p->client.fd, bytes, n, 0);
    int got = SSL_read(p->client.tls, bytes, (int)n);
    return got > 0 ? got : 0;
}

static void take_packed(struct peer *p)
{
    static uint8_t room[CONTENT_RUN];
    uint32_t announced = p->packed_have >= 5 ? get32(p->packed + 1) : 0;
    int length = -1;
    if (p->packed_have > 5 && p->packed[0] == COMPRESSION_LZ4 && announced <= sizeof room)
        length = LZ4_decompress_safe((char *)p->packed + 5, (char *)room,
                                     (int)p->packed_have - 5, sizeof room);
    if (length < 0 || (uint32_t)length != announced)
        p->heard.wrong++;
    else
        place_check(&p->heard, room, announced);
    p->packed_have = 0;
}

static void take_body(struct peer *p, const uint8_t *bytes, size_t n)
{
    if (p->type == VMC_DATA) {
        place_check(&p->heard, bytes, n);
    } else if (p->type == VMC_COMPRESSED) {
        if (!p->packed)
            p->packed = malloc(2 * CONTENT_RUN);
        if (p->packed_have + n > 2 * CONTENT_RUN)
            gone("a compressed message is too long");
        memcpy(p->packed + p->packed_have, bytes, n);
        p->packed_have += n;
        if (p->left == n)
            take_packed(p);
    } else if (p->type == S_PORT_EVENT && n > 0) {
        p->done |= bytes[0] == DONE;
    }
}

void peer_take(struct peer *p, const uint8_t *bytes, size_t n)
{
    while (n > 0) {
        if (p->left == 0) {
            size_t part = MINI - p->have < n ? MINI - p->have : n;
            memcpy(p->header + p->have, bytes, part);
            p->have += part;
            bytes += part;
            n -= part;
            if (p->have < MINI)
                return;
            p->have = 0;
            p->type = get16(p->header);
            p->left = get32(p->header + 2);
        }
        size_t run = p->left < n ? p->left : n;
        take_body(p, bytes, run);
        p->left -= (uint32_t)run;
        bytes += run;
        n -= run;
    }
}

void peer_header(uint8_t header[MINI], uint16_t type, size_t size)
{
    put32(put16(header, type), (uint32_t)size);
}

void peer_say_done(struct peer *p)
{
    uint8_t frame[MINI + 1] = { 0 };
    peer_header(frame, C_PORT_EVENT, 1);
    frame[MINI] = DONE;
    peer_send(p, frame, sizeof frame);
}

void peer_drain(struct peer *p)
{
    static uint8_t buf[READ];
    while (!p->done) {
        ssize_t got = peer_receive(p, buf, sizeof buf);
        if (got <= 0)
            gone("the host is gone");
        peer_take(p, buf, (size_t)got);
    }
}

static const char *value_of(int argc, char **argv, const char *key, const char *otherwise)
{
    size_t n = strlen(key);
    for (int i = 4; i < argc; i++)
        if (!strncmp(argv[i], key, n) && argv[i][n] == '=')
            return argv[i] + n + 1;
    return otherwise;
}

int main(int argc, char **argv)
{
    static const struct {
        const char *name;
        void (*run)(void);
    } flows[] = {
        { "drain", flow_drain },     { "flood", flow_flood }, { "echo", flow_echo },
        { "fair", flow_fair },       { "hold", flow_hold },   { "bomb", flow_bomb },
        { "connect", flow_connect },
    };
    if (argc < 4)
        return 2;
    options.transport = argv[1];
    options.where = argv[2];
    options.flow = argv[3];
    options.content = value_of(argc, argv, "content", options.content);
    options.password = value_of(argc, argv, "password", options.password);
    options.ca = value_of(argc, argv, "ca", NULL);
    options.channels = atoi(value_of(argc, argv, "channels", "1"));
    options.size = strtoul(value_of(argc, argv, "size", "65536"), NULL, 10);
    options.seconds = strtod(value_of(argc, argv, "seconds", "1"), NULL);
    options.bare = value_of(argc, argv, "bare", NULL) != NULL;
    options.listens = value_of(argc, argv, "listens", NULL) != NULL;
    options.lz4 = value_of(argc, argv, "lz4", NULL) != NULL;
    if (options.channels < 1 || options.channels > CHANNELS || options.size < 1 ||
        options.size > CONTENT_RUN)
        return 2;
    for (size_t i = 0; i < sizeof flows / sizeof flows[0]; i++) {
        if (strcmp(flows[i].name, options.flow))
            continue;
        flows[i].run();
        fflush(stdout);
        /* The main channel's reader need not be waited for. */
        _exit(0);
    }
    return 2;
}
