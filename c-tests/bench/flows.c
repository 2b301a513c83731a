/* SPDX-License-Identifier: LGPL-2.1-or-later */
#define _GNU_SOURCE
#include "peer.h"

#include <errno.h>
#include <fcntl.h>
#include <lz4.h>
#include <openssl/ssl.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

static struct content content;
static struct client main_channel;
static struct peer peers[CHANNELS];

static double now(void)
{
    struct timespec t;
    clock_gettime(CLOCK_MONOTONIC, &t);
    return (double)t.tv_sec + (double)t.tv_nsec / 1e9;
}

static void open_all(void)
{
    content_open(&content, options.content);
    uint32_t session = peer_main(&main_channel);
    peer_read_main(&main_channel);
    for (int i = 0; i < options.channels; i++)
        peer_open(&peers[i], i, session, &content);
}

static void report(double seconds, uint64_t sent)
{
    uint64_t heard = 0, wrong = 0;
    for (int i = 0; i < options.channels; i++) {
        heard += peers[i].heard.passed;
        wrong += peers[i].heard.wrong;
    }
    printf("{\"heard\": %llu, \"sent\": %llu, \"wrong\": %llu, \"seconds\": %.6f}\n",
           (unsigned long long)heard, (unsigned long long)sent, (unsigned long long)wrong,
           seconds);
}

/* ---- device to client ---- */

static void make_quick(struct peer *p)
{
    fcntl(p->client.fd, F_SETFL, fcntl(p->client.fd, F_GETFL) | O_NONBLOCK);
}

/** Reads all channels until each has had its event. */
static void drain_many(double *begun)
{
    static uint8_t buf[READ];
    struct pollfd polled[CHANNELS];
    int open = options.channels;
    for (int i = 0; i < options.channels; i++) {
        make_quick(&peers[i]);
        polled[i] = (struct pollfd){ .fd = peers[i].client.fd, .events = POLLIN };
    }
    while (open > 0) {
        poll(polled, (nfds_t)options.channels, -1);
        for (int i = 0; i < options.channels; i++) {
            if (!polled[i].revents)
                continue;
            ssize_t got = recv(polled[i].fd, buf, sizeof buf, 0);
            if (got == 0 || (got < 0 && errno != EAGAIN))
                exit(3);
            if (got <= 0)
                continue;
            peer_take(&peers[i], buf, (size_t)got);
            if (!*begun && peers[i].heard.passed)
                *begun = now();
            if (peers[i].done) {
                polled[i].fd = -1;
                open--;
            }
        }
    }
}

void flow_drain(void)
{
    static uint8_t buf[READ];
    double begun = 0;
    open_all();
    if (options.channels > 1) {
        drain_many(&begun);
    } else {
        struct peer *p = &peers[0];
        while (!p->done) {
            ssize_t got = peer_receive(p, buf, sizeof buf);
            if (got <= 0)
                exit(3);
            peer_take(p, buf, (size_t)got);
            if (!begun && p->heard.passed)
                begun = now();
        }
    }
    report(now() - begun, 0);
}

/* ---- client to device ---- */

/** Messages, whole periods of the content, as they go out. */
struct batch {
    uint8_t *bytes;
    size_t length;
    uint64_t data; /**< bytes of content in it */
};

static size_t put_message(uint8_t *to, struct place *place, size_t size)
{
    if (!options.lz4) {
        peer_header(to, VMC_DATA, size);
        place_copy(place, to + MINI, size);
        return MINI + size;
    }
    uint8_t *body = to + MINI;
    int packed = LZ4_compress_default((const char *)place_peek(place), (char *)body + 5,
                                      (int)size, LZ4_compressBound((int)size));
    if (place->spoil) {
        place->spoil = false;
        body[5 + packed / 2] ^= 1;
    }
    place_pass(place, size);
    put32(put8(body, COMPRESSION_LZ4), (uint32_t)size);
    peer_header(to, VMC_COMPRESSED, (size_t)packed + 5);
    return MINI + 5 + (size_t)packed;
}

static void make_batch(struct batch *batch)
{
    struct place place = { .content = &content, .spoil = fault_wanted("client") };
    size_t each = MINI + 5 + (size_t)LZ4_compressBound((int)options.size);
    size_t messages = 0;
    /* As many messages as end where a period does. */
    do
        messages++;
    while (messages * options.size % content.period);
    batch->bytes = malloc(messages * each);
    batch->data = messages * options.size;
    for (size_t i = 0; i < messages; i++)
        batch->length += put_message(batch->bytes + batch->length, &place, options.size);
}

/** Large messages from where the content is, without a copy, for a period. */
static void send_gathered(struct peer *p, struct place *place)
{
    enum { AT_ONCE = 4 };
    uint8_t header[MINI];
    struct iovec parts[2 * AT_ONCE];
    size_t left = 0;
    peer_header(header, VMC_DATA, options.size);
    for (int i = 0; i < AT_ONCE; i++) {
        parts[2 * i] = (struct iovec){ header, MINI };
        parts[2 * i + 1] = (struct iovec){ (void *)(uintptr_t)place_peek(place), options.size };
        place_pass(place, options.size);
        left += MINI + options.size;
    }
    struct msghdr message = { .msg_iov = parts, .msg_iovlen = 2 * AT_ONCE };
    while (left > 0) {
        ssize_t sent = sendmsg(p->client.fd, &message, MSG_NOSIGNAL);
        if (sent < 0)
            exit(3);
        left -= (size_t)sent;
        while (message.msg_iovlen && (size_t)sent >= message.msg_iov->iov_len) {
            sent -= (ssize_t)message.msg_iov->iov_len;
            message.msg_iov++;
            message.msg_iovlen--;
        }
        if (sent > 0) {
            message.msg_iov->iov_base = (uint8_t *)message.msg_iov->iov_base + sent;
            message.msg_iov->iov_len -= (size_t)sent;
        }
    }
}

static bool is_gathered(void)
{
    return options.size >= 16384 && !options.lz4 && strcmp(options.transport, "tls") &&
           !fault_wanted("client");
}

/** Floods until `until`; returns how many bytes of content went. */
static uint64_t flood(struct peer *p, double until)
{
    struct place place = { .content = &content };
    struct batch batch = { 0 };
    if (is_gathered()) {
        while (now() < until)
            send_gathered(p, &place);
        return place.passed;
    }
    make_batch(&batch);
    do {
        for (size_t at = 0; at < batch.length; at += READ)
            peer_send(p, batch.bytes + at, batch.length - at < READ ? batch.length - at : READ);
        place.passed += batch.data;
    } while (now() < until);
    return place.passed;
}

void flow_flood(void)
{
    open_all();
    double begun = now();
    uint64_t sent = flood(&peers[0], begun + options.seconds);
    peer_say_done(&peers[0]);
    peer_drain(&peers[0]);
    report(now() - begun, sent);
}

/** All channels at once; whoever has room is given to. */
void flow_fair(void)
{
    struct pollfd polled[CHANNELS];
    size_t at[CHANNELS] = { 0 };
    struct batch batch = { 0 };
    open_all();
    make_batch(&batch);
    for (int i = 0; i < options.channels; i++) {
        make_quick(&peers[i]);
        polled[i] = (struct pollfd){ .fd = peers[i].client.fd, .events = POLLOUT };
    }
    double begun = now();
    /* The host looks after `seconds`; until then nobody stops. */
    while (now() - begun < options.seconds * 1.2 + 0.1) {
        poll(polled, (nfds_t)options.channels, 100);
        for (int i = 0; i < options.channels; i++) {
            if (!(polled[i].revents & POLLOUT))
                continue;
            size_t rest = batch.length - at[i];
            ssize_t sent = send(polled[i].fd, batch.bytes + at[i], rest < 65536 ? rest : 65536,
                                MSG_NOSIGNAL);
            if (sent > 0)
                at[i] = (at[i] + (size_t)sent) % batch.length;
            else if (errno != EAGAIN)
                exit(3);
        }
    }
    report(now() - begun, 0);
}

/* ---- both ways ---- */

static int by_size(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

/** With more than one channel another process floods the second one meanwhile. */
void flow_echo(void)
{
    enum { MOST = 200000 };
    static double took[MOST];
    static uint8_t frame[MINI + 65536], buf[READ];
    int n = 0;
    pid_t flooding = 0;
    open_all();
    struct peer *p = &peers[0];
    struct place said = { .content = &content, .spoil = fault_wanted("client") };
    if (options.channels > 1) {
        flooding = fork();
        if (flooding == 0) {
            options.size = 1024;
            flood(&peers[1], now() + 3600);
            _exit(0);
        }
        usleep(100000);
    }
    double until = now() + options.seconds, sum = 0;
    while (n < MOST && now() < until) {
        peer_header(frame, VMC_DATA, options.size);
        place_copy(&said, frame + MINI, options.size);
        double begun = now();
        peer_send(p, frame, MINI + options.size);
        while (p->heard.passed < said.passed) {
            ssize_t got = peer_receive(p, buf, sizeof buf);
            if (got <= 0)
                exit(3);
            peer_take(p, buf, (size_t)got);
        }
        took[n] = now() - begun;
        sum += took[n++];
        usleep(100);
    }
    if (flooding)
        kill(flooding, SIGKILL);
    qsort(took, (size_t)n, sizeof took[0], by_size);
    printf("{\"heard\": %llu, \"sent\": %llu, \"wrong\": %llu, \"p50\": %.9f, \"p99\": %.9f, "
           "\"mean\": %.9f, \"rounds\": %d}\n",
           (unsigned long long)p->heard.passed, (unsigned long long)said.passed,
           (unsigned long long)p->heard.wrong, took[n / 2], took[n * 99 / 100], sum / n, n);
}

/* ---- links, memory, silence ---- */

/** Until the host has noticed.  The reference may crash when a client comes back while its
 *  last session still ends. */
static void leave(struct client *c)
{
    char buf[4096];
    shutdown(c->fd, SHUT_WR);
    fcntl(c->fd, F_SETFL, fcntl(c->fd, F_GETFL) & ~O_NONBLOCK);
    while (recv(c->fd, buf, sizeof buf, 0) > 0)
        ;
    client_close(c);
}

void flow_connect(void)
{
    int n = 0;
    content_open(&content, options.content);
    double begun = now(), until = begun + options.seconds;
    while (now() < until) {
        uint32_t session = peer_main(&main_channel);
        peer_open(&peers[0], 0, session, &content);
        leave(&peers[0].client);
        leave(&main_channel);
        n++;
    }
    printf("{\"connects\": %d, \"seconds\": %.6f}\n", n, now() - begun);
}

static void wait_for_input(void)
{
    char byte;
    while (read(STDIN_FILENO, &byte, 1) > 0)
        ;
}

/** Connects and reads nothing until it is told to go on; then everything is compared. */
void flow_hold(void)
{
    uint64_t sent = 0;
    uint8_t frame[MINI + 64];
    open_all();
    printf("{\"linked\": %d}\n", options.channels);
    fflush(stdout);
    wait_for_input();
    peer_header(frame, VMC_DATA, 64);
    for (int i = 0; i < options.channels; i++) {
        struct place place = { .content = &content, .spoil = fault_wanted("client") };
        place_copy(&place, frame + MINI, 64);
        if (!options.listens) {
            peer_send(&peers[i], frame, sizeof frame);
            peer_say_done(&peers[i]);
            sent += 64;
        }
        peer_drain(&peers[i]);
    }
    report(0, sent);
}

/** Messages of little that come to much. */
void flow_bomb(void)
{
    enum { ZEROS = 4 << 20, ROOM = 32 << 10 };
    static uint8_t message[MINI + 5 + ROOM];
    char *zeros = calloc(1, ZEROS);
    size_t at = 0;
    uint64_t sent = 0;
    open_all();
    int packed = LZ4_compress_default(zeros, (char *)message + MINI + 5, ZEROS, ROOM);
    size_t length = MINI + 5 + (size_t)packed;
    peer_header(message, VMC_COMPRESSED, (size_t)packed + 5);
    put32(put8(message + MINI, COMPRESSION_LZ4), ZEROS);
    make_quick(&peers[0]);
    double until = now() + options.seconds;
    while (now() < until) {
        struct pollfd polled = { .fd = peers[0].client.fd, .events = POLLOUT };
        poll(&polled, 1, 50);
        ssize_t part = send(polled.fd, message + at, length - at, MSG_NOSIGNAL);
        if (part < 0 && errno != EAGAIN)
            exit(3);
        if (part > 0) {
            at = (at + (size_t)part) % length;
            sent += (uint64_t)part;
        }
    }
    printf("{\"linked\": 1, \"sent\": %llu}\n", (unsigned long long)sent);
    fflush(stdout);
    wait_for_input();
}
