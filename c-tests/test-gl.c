/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * Pictures in a graphics card's buffers: a client on this machine gets the descriptors, is
 * told what was drawn and says when it has shown that; each draw is completed, whatever the
 * client does.  A memfd stands for a card's buffer: nobody on the way looks into it.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

enum {
    D_MONITORS_CONFIG = 317,
    D_GL_SCANOUT_UNIX = 320,
    D_GL_DRAW = 321,
    D_GL_SCANOUT2_UNIX = 323,
    D_INIT = 101,
    D_GL_DRAW_DONE = 104,
    CAP_MONITORS = 1 << 1,
    CAP_GL_SCANOUT = 1 << 7,
    CAP_GL_SCANOUT2 = 1 << 15,
    CAPS_COMMON = CAP_AUTH_SELECTION | CAP_AUTH_SPICE | CAP_MINI_HEADER,
    XR24 = 0x34325258,
    PLANES = 4,
    QUIET_MS = 50,
};

struct bench {
    struct rig r;
    struct qxl q;
};

/** A client, and the descriptors that came with the last picture. */
struct viewer {
    struct client main_channel, display;
    uint32_t session;
    int fds[PLANES];
    int n_fds;
};

static void open_bench(struct bench *b)
{
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    *b = (struct bench){ 0 };
    rig_open(&b->r);
    qxl_prepare(&b->q, 0);
    qxl_add(&b->q, b->r.server);
    spice_server_vm_start(b->r.server);
}

static void close_bench(struct bench *b)
{
    spice_server_vm_stop(b->r.server);
    qxl_remove(&b->q);
    rig_close(&b->r);
}

static void join(struct bench *b, struct viewer *v, uint32_t caps)
{
    uint8_t init[14], *p = put8(init, 1);
    *v = (struct viewer){ 0 };
    v->session = rig_main(&b->r, &v->main_channel);
    rig_channel_caps(&b->r, &v->display, CH_DISPLAY, 0, v->session, CAPS_COMMON, caps);
    v->display.acknowledges = true;
    put32(put8(put64(p, 1 << 20), 1), 1 << 20);
    EXPECT(client_send(&v->display, D_INIT, init, sizeof init));
}

static void join_gl(struct bench *b, struct viewer *v)
{
    join(b, v, CAP_MONITORS | CAP_GL_SCANOUT);
    /* SET_ACK and what follows it were taken in: draws from now on are for it too */
    host_run_for(QUIET_MS);
}

static void forget_fds(struct viewer *v)
{
    while (v->n_fds > 0)
        close(v->fds[--v->n_fds]);
}

static void leave(struct viewer *v)
{
    forget_fds(v);
    client_close(&v->display);
    client_close(&v->main_channel);
}

static int buffer(void)
{
    int fd = memfd_create("scanout", MFD_CLOEXEC);
    EXPECT(fd >= 0);
    return fd;
}

static ino_t inode(int fd)
{
    struct stat status;
    EXPECT_EQ(fstat(fd, &status), 0);
    return status.st_ino;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

struct handed_in {
    int fd;
    ino_t file;
};

/** The number may be another descriptor's by now. */
static bool is_closed(void *opaque)
{
    struct handed_in *buffer = opaque;
    return !is_open(buffer->fd) || inode(buffer->fd) != buffer->file;
}

/** What has just been sent may be held a moment longer by who has sent it. */
static void expect_closed(struct handed_in *buffer)
{
    EXPECT(host_run_until(is_closed, buffer, HOST_DEADLINE_MS));
}

/** A picture of this width; returns the buffer, which is the library's now. */
static int show(struct bench *b, uint32_t width)
{
    int fd = buffer();
    spice_qxl_gl_scanout(&b->q.sin, fd, width, 48, width * 4, XR24, 1);
    return fd;
}

/** The byte behind a picture's message, and the descriptors that come with it. */
static void take_fds(struct viewer *v)
{
    char byte = 0;
    union {
        struct cmsghdr header;
        char space[CMSG_SPACE(PLANES * sizeof(int))];
    } control;
    struct iovec bytes = { .iov_base = &byte, .iov_len = 1 };
    struct msghdr message = { .msg_iov = &bytes,
                              .msg_iovlen = 1,
                              .msg_control = &control,
                              .msg_controllen = sizeof control };
    forget_fds(v);
    EXPECT(host_wait_fd(v->display.fd, POLLIN, HOST_DEADLINE_MS));
    EXPECT_EQ(recvmsg(v->display.fd, &message, MSG_CMSG_CLOEXEC), 1);
    EXPECT_EQ(byte, '@');
    struct cmsghdr *rights = CMSG_FIRSTHDR(&message);
    EXPECT(rights && rights->cmsg_type == SCM_RIGHTS);
    v->n_fds = (int)((rights->cmsg_len - CMSG_LEN(0)) / sizeof(int));
    EXPECT(v->n_fds <= PLANES);
    memcpy(v->fds, CMSG_DATA(rights), (size_t)v->n_fds * sizeof(int));
}

/** The next message of this type; others may come before. */
static void take(struct viewer *v, uint16_t type, struct message *m)
{
    for (;;) {
        EXPECT_MSG(client_next(&v->display, m), "no message %d", type);
        if (m->type == D_GL_SCANOUT_UNIX || m->type == D_GL_SCANOUT2_UNIX)
            take_fds(v);
        if (m->type == type)
            return;
        message_free(m);
    }
}

/** The picture of this width in this buffer. */
static void take_picture(struct viewer *v, uint32_t width, ino_t file)
{
    struct message m;
    take(v, D_GL_SCANOUT_UNIX, &m);
    EXPECT_EQ(m.size, 20);
    EXPECT_EQ(get32(m.body), width);
    EXPECT_EQ(get32(m.body + 4), 48);
    EXPECT_EQ(get32(m.body + 8), width * 4);
    EXPECT_EQ(get32(m.body + 12), XR24);
    EXPECT_EQ(get32(m.body + 16), 1);
    message_free(&m);
    EXPECT_EQ(v->n_fds, 1);
    EXPECT_EQ(inode(v->fds[0]), file);
}

static void take_draw(struct viewer *v, uint32_t x, uint32_t y, uint32_t w, uint32_t h)
{
    struct message m;
    take(v, D_GL_DRAW, &m);
    EXPECT_EQ(m.size, 16);
    EXPECT_EQ(get32(m.body), x);
    EXPECT_EQ(get32(m.body + 4), y);
    EXPECT_EQ(get32(m.body + 8), w);
    EXPECT_EQ(get32(m.body + 12), h);
    message_free(&m);
}

static void say_done(struct viewer *v)
{
    EXPECT(client_send(&v->display, D_GL_DRAW_DONE, NULL, 0));
}

static void expect_under_way(struct bench *b, uint64_t cookie)
{
    host_run_for(QUIET_MS);
    EXPECT_EQ(qxl_completed(&b->q, cookie), 0);
}

static void expect_done(struct bench *b, uint64_t cookie)
{
    EXPECT(qxl_wait_cookie(&b->q, cookie));
    EXPECT_EQ(qxl_completed(&b->q, cookie), 1);
}

static void a_draw_is_done_when_the_client_says_so(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    take_picture(&v, 64, file);
    for (uint32_t i = 0; i < 100; i++) {
        spice_qxl_gl_draw_async(&b.q.sin, i, 2, 30, 40, 100 + i);
        take_draw(&v, i, 2, 30, 40);
        if (i % 20 == 0)
            expect_under_way(&b, 100 + i);
        say_done(&v);
        expect_done(&b, 100 + i);
    }
    leave(&v);
    close_bench(&b);
}

static void who_comes_late_is_told(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    int fd = show(&b, 64);
    ino_t file = inode(fd);
    join_gl(&b, &v);
    take_picture(&v, 64, file);
    EXPECT(is_open(fd));
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, 7);
    take_draw(&v, 0, 0, 64, 48);
    say_done(&v);
    expect_done(&b, 7);
    leave(&v);
    close_bench(&b);
}

/** What monitors show is told even where there never was a surface. */
static void monitors_without_a_surface(void)
{
    struct {
        QXLMonitorsConfig config;
        QXLHead head;
    } shown = { .config = { .count = 1, .max_allowed = 1 },
                .head = { .width = 64, .height = 48 } };
    struct bench b;
    struct viewer v;
    struct message m;
    open_bench(&b);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    spice_qxl_monitors_config_async(&b.q.sin, (uintptr_t)&shown, 0, 5);
    EXPECT(qxl_wait_cookie(&b.q, 5));
    take_picture(&v, 64, file);
    take(&v, D_MONITORS_CONFIG, &m);
    EXPECT_EQ(get32(m.body + 12), 64);
    EXPECT_EQ(get32(m.body + 16), 48);
    message_free(&m);
    leave(&v);
    close_bench(&b);
}

static void pictures_replace_each_other(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    struct handed_in last = { .fd = -1 };
    for (uint32_t i = 1; i < 100; i++) {
        int fd = show(&b, i);
        ino_t file = inode(fd);
        take_picture(&v, i, file);
        expect_closed(&last);
        last = (struct handed_in){ fd, file };
    }
    spice_qxl_gl_scanout(&b.q.sin, -1, 0, 0, 0, 0, 0);
    /* what the client has is its own */
    int theirs = v.fds[0];
    if (theirs != last.fd)
        expect_closed(&last);
    EXPECT(is_open(theirs));
    EXPECT(client_silent(&v.display, QUIET_MS));
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 1, 1, 9);
    expect_done(&b, 9);
    EXPECT(client_silent(&v.display, QUIET_MS));
    leave(&v);
    close_bench(&b);
}

static void a_draw_waits_for_all_clients(void)
{
    struct bench b;
    struct viewer v[3];
    open_bench(&b);
    for (int i = 0; i < 3; i++)
        join_gl(&b, &v[i]);
    ino_t file = inode(show(&b, 64));
    for (int i = 0; i < 3; i++)
        take_picture(&v[i], 64, file);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, 1);
    for (int i = 0; i < 3; i++)
        take_draw(&v[i], 0, 0, 64, 48);
    say_done(&v[0]);
    expect_under_way(&b, 1);
    say_done(&v[2]);
    expect_under_way(&b, 1);
    leave(&v[1]);
    expect_done(&b, 1);
    leave(&v[0]);
    leave(&v[2]);
    close_bench(&b);
}

/** Before it has read of the draw, and after. */
static void a_client_that_leaves_ends_the_wait(void)
{
    struct bench b;
    open_bench(&b);
    for (uint32_t i = 0; i < 20; i++) {
        struct viewer v;
        join_gl(&b, &v);
        ino_t file = inode(show(&b, 64));
        spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, i);
        if (i % 2)
            take_picture(&v, 64, file);
        if (i % 4 == 3)
            take_draw(&v, 0, 0, 64, 48);
        leave(&v);
        expect_done(&b, i);
        spice_qxl_gl_scanout(&b.q.sin, -1, 0, 0, 0, 0, 0);
    }
    close_bench(&b);
}

/** Only the descriptors show this picture, so who cannot take them is cut. */
static void without_the_capability(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join(&b, &v, CAP_MONITORS);
    host_run_for(QUIET_MS);
    show(&b, 64);
    EXPECT(client_closed(&v.display));
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, 3);
    expect_done(&b, 3);
    leave(&v);
    /* who comes later, with the next draw */
    join(&b, &v, CAP_MONITORS);
    host_run_for(QUIET_MS);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, 4);
    EXPECT(client_closed(&v.display));
    expect_done(&b, 4);
    leave(&v);
    close_bench(&b);
}

static void over_tcp(void)
{
    struct bench b = { 0 };
    struct viewer v;
    rig_open_tcp(&b.r);
    qxl_prepare(&b.q, 0);
    qxl_add(&b.q, b.r.server);
    spice_server_vm_start(b.r.server);
    join_gl(&b, &v);
    show(&b, 64);
    EXPECT(client_closed(&v.display));
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, 3);
    expect_done(&b, 3);
    leave(&v);
    close_bench(&b);
}

/** A client that does not answer is waited for once, and not for long.  Its answer is good
 *  whenever it comes, and then it is told what was drawn meanwhile. */
static void a_client_that_does_not_answer(void)
{
    enum { N = 50 };
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    take_picture(&v, 64, file);
    int64_t begin = tap_now();
    spice_qxl_gl_draw_async(&b.q.sin, 5, 5, 1, 1, 0);
    take_draw(&v, 5, 5, 1, 1);
    expect_done(&b, 0);
    int64_t took = tap_now() - begin;
    EXPECT_MSG(took >= 800 && took < tap_ms(2000), "%d ms", (int)took);
    for (uint32_t i = 1; i <= N; i++) {
        spice_qxl_gl_draw_async(&b.q.sin, i, 2 * i, 1, 1, i);
        EXPECT_EQ(qxl_completed(&b.q, i), 1);
    }
    EXPECT(client_silent(&v.display, QUIET_MS));
    say_done(&v);
    take_draw(&v, 1, 2, N, 2 * N - 1);
    say_done(&v);
    host_run_for(QUIET_MS);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, N + 1);
    take_draw(&v, 0, 0, 64, 48);
    expect_under_way(&b, N + 1);
    say_done(&v);
    expect_done(&b, N + 1);
    leave(&v);
    close_bench(&b);
}

/** Nor may a client that does not read keep many buffers. */
static void a_client_that_does_not_read(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    int before = tap_usage().fds;
    for (uint32_t i = 1; i <= 500; i++) {
        show(&b, i);
        if (i % 50 == 0)
            host_run_for(10);
    }
    EXPECT_MSG(tap_usage().fds - before <= 2, "%d more", tap_usage().fds - before);
    leave(&v);
    close_bench(&b);
}

static void done_without_a_draw(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    take_picture(&v, 64, file);
    say_done(&v);
    EXPECT(client_closed(&v.display));
    leave(&v);
    close_bench(&b);
}

/** No host does that. */
static void a_draw_before_the_last_one_is_done(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    take_picture(&v, 64, file);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 1, 1, 1);
    take_draw(&v, 0, 0, 1, 1);
    spice_qxl_gl_draw_async(&b.q.sin, 2, 2, 1, 1, 2);
    expect_done(&b, 2);
    expect_under_way(&b, 1);
    say_done(&v);
    expect_done(&b, 1);
    take_draw(&v, 2, 2, 1, 1);
    leave(&v);
    close_bench(&b);
}

/** The picture, or the device, goes while a draw is waited for. */
static void ended_in_mid_draw(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    take_picture(&v, 64, file);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 1, 1, 1);
    take_draw(&v, 0, 0, 1, 1);
    show(&b, 65);
    spice_qxl_gl_scanout(&b.q.sin, -1, 0, 0, 0, 0, 0);
    expect_under_way(&b, 1);
    say_done(&v);
    expect_done(&b, 1);
    show(&b, 66);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 1, 1, 2);
    take_draw(&v, 0, 0, 1, 1);
    spice_server_vm_stop(b.r.server);
    qxl_remove(&b.q);
    EXPECT_EQ(qxl_completed(&b.q, 2), 1);
    EXPECT(client_closed(&v.display));
    leave(&v);
    rig_close(&b.r);
}

/** A surface and a picture at once: both are told. */
static void beside_a_surface(void)
{
    struct bench b;
    struct viewer v;
    open_bench(&b);
    qxl_create_primary(&b.q, 64, 48);
    join_gl(&b, &v);
    ino_t file = inode(show(&b, 64));
    take_picture(&v, 64, file);
    for (uint32_t i = 0; i < 20; i++) {
        b.q.shade = (uint8_t)(i + 1);
        EXPECT(qxl_draw(&b.q, 0, 0, 64, 48));
        spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, i);
        take_draw(&v, 0, 0, 64, 48);
        say_done(&v);
        expect_done(&b, i);
    }
    leave(&v);
    spice_qxl_destroy_primary_surface(&b.q.sin, 0);
    close_bench(&b);
}

typedef void scanout2(QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *,
                      const uint32_t *, uint32_t, uint32_t, uint64_t, int);

/* Level 0.16 only, hence looked up. */
static void several_planes(void)
{
    static const uint32_t offsets[PLANES] = { 0, 1, 2, 3 }, strides[PLANES] = { 256, 128, 64, 32 };
    struct bench b;
    struct viewer v, old;
    struct message m;
    scanout2 *call = (scanout2 *)dlsym(RTLD_DEFAULT, "spice_qxl_gl_scanout2");
    EXPECT(call);
    open_bench(&b);
    join(&b, &v, CAP_MONITORS | CAP_GL_SCANOUT | CAP_GL_SCANOUT2);
    join_gl(&b, &old);
    /* one plane: everybody can be told */
    int fd = buffer();
    ino_t file = inode(fd);
    call(&b.q.sin, &fd, 64, 48, offsets, strides, 1, XR24, 0x0123456789abcdef, 1);
    take_picture(&old, 64, file);
    take(&v, D_GL_SCANOUT2_UNIX, &m);
    EXPECT_EQ(m.size, 25 + 8);
    EXPECT_EQ(get64(m.body + 17), 0x0123456789abcdef);
    message_free(&m);
    EXPECT_EQ(inode(v.fds[0]), file);
    /* four, two of them with a buffer of their own */
    int fds[PLANES] = { buffer(), -1, buffer(), -1 };
    ino_t files[2] = { inode(fds[0]), inode(fds[2]) };
    call(&b.q.sin, fds, 64, 48, offsets, strides, PLANES, XR24, 7, 0);
    EXPECT(client_closed(&old.display));
    take(&v, D_GL_SCANOUT2_UNIX, &m);
    EXPECT_EQ(m.size, 25 + 8 * PLANES);
    EXPECT_EQ(get32(m.body), 64);
    EXPECT_EQ(get32(m.body + 4), 48);
    EXPECT_EQ(get32(m.body + 8), XR24);
    EXPECT_EQ(get32(m.body + 12), 0);
    EXPECT_EQ(m.body[16], PLANES);
    EXPECT_EQ(get64(m.body + 17), 7);
    for (int i = 0; i < PLANES; i++) {
        EXPECT_EQ(get32(m.body + 25 + 8 * i), offsets[i]);
        EXPECT_EQ(get32(m.body + 29 + 8 * i), strides[i]);
    }
    message_free(&m);
    EXPECT_EQ(v.n_fds, 2);
    EXPECT_EQ(inode(v.fds[0]), files[0]);
    EXPECT_EQ(inode(v.fds[1]), files[1]);
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 48, 1);
    take_draw(&v, 0, 0, 64, 48);
    expect_under_way(&b, 1);
    say_done(&v);
    expect_done(&b, 1);
    leave(&v);
    leave(&old);
    close_bench(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(a_draw_is_done_when_the_client_says_so),
    TAP_CASE(who_comes_late_is_told),
    TAP_CASE(monitors_without_a_surface),
    TAP_CASE(pictures_replace_each_other),
    TAP_CASE(a_draw_waits_for_all_clients),
    TAP_CASE(a_client_that_leaves_ends_the_wait),
    TAP_CASE(without_the_capability),
    TAP_CASE(over_tcp),
    TAP_CASE(a_client_that_does_not_answer),
    TAP_CASE(a_client_that_does_not_read),
    TAP_CASE(done_without_a_draw),
    TAP_CASE(a_draw_before_the_last_one_is_done),
    TAP_CASE(ended_in_mid_draw),
    TAP_CASE(beside_a_surface),
    TAP_CASE(several_planes),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "gl", cases, TAP_COUNT(cases));
}
