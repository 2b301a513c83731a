/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * The published attacks on SPICE servers, each under its number (SECURITY.md says what
 * they were), and requests of guests that end upstream's process (docs/containment.md).
 * Whatever happens to the attacker, somebody else is served afterwards.
 */
#define _GNU_SOURCE
#include "agent.h"
#include "chardev.h"
#include "draw.h"
#include "rig.h"

#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>
#include <sys/socket.h>

/* ---- clients ---- */

/** A server with a port and somebody who uses it. */
struct bench {
    struct rig r;
    struct chardev port;
    struct client main_channel;
    uint32_t session;
};

static void open_bench(struct bench *b)
{
    rig_open(&b->r);
    chardev_add_port(&b->port, b->r.server, "org.example.0");
    b->session = rig_main(&b->r, &b->main_channel);
}

static void close_bench(struct bench *b)
{
    struct client c;
    client_close(&b->main_channel);
    b->session = rig_main(&b->r, &b->main_channel);
    rig_channel(&b->r, &c, CH_PORT, 0, b->session);
    uint64_t before = b->port.in_len;
    EXPECT(client_send(&c, VMC_DATA, "alive", 5));
    EXPECT(chardev_wait_input(&b->port, before + 5));
    client_close(&c);
    client_close(&b->main_channel);
    chardev_remove(&b->port);
    rig_close(&b->r);
}

/** Sent on main; the client is cut. */
static void main_is_cut(struct bench *b, uint16_t type, const void *body, uint32_t size)
{
    client_close(&b->main_channel);
    b->session = rig_main(&b->r, &b->main_channel);
    EXPECT(client_send(&b->main_channel, type, body, size));
    EXPECT_MSG(client_closed(&b->main_channel), "type %u with %u bytes", type, size);
}

/* A client that left while messages for it were queued, and the list of them was walked. */
static void CVE_2013_4130(void)
{
    struct bench b;
    open_bench(&b);
    for (int i = 0; i < 50; i++) {
        struct client c;
        rig_channel(&b.r, &c, CH_PORT, 0, b.session);
        chardev_say(&b.port, "to somebody who is about to leave", 33);
        struct linger at_once = { .l_onoff = 1 };
        setsockopt(c.fd, SOL_SOCKET, SO_LINGER, &at_once, sizeof at_once);
        client_close(&c);
        chardev_say(&b.port, "to nobody", 9);
        EXPECT(chardev_wait_states(&b.port, 2 * (i + 1)));
    }
    close_bench(&b);
}

/* A password that is longer than the place for it. */
static void CVE_2013_4282(void)
{
    /* The last one is all that the encryption can carry. */
    static const size_t sizes[] = { 60, 61, 64, 86 };
    char text[86];
    struct rig r;
    struct client c;
    rig_new(&r);
    EXPECT_EQ(spice_server_set_ticket(r.server, "secret", 0, 0, 0), 0);
    rig_init_unix(&r);
    memset(text, 'x', sizeof text);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++) {
        uint8_t auth[4 + TICKET_SIZE] = { 1 };
        struct link l;
        link_init(&l, CH_MAIN, 0, 0);
        rig_connect(&r, &c);
        EXPECT(client_send_link(&c, &l) && client_read_reply(&c));
        client_make_ticket(&c, text, sizes[i], auth + 4);
        EXPECT(client_write(&c, auth, sizeof auth));
        EXPECT_MSG(client_read_result(&c) != 0, "a password of %zu bytes", sizes[i]);
        client_close(&c);
    }
    rig_connect(&r, &c);
    EXPECT_EQ(client_link(&c, CH_MAIN, 0, 0, "secret"), 0);
    client_close(&c);
    rig_close(&r);
}

/* A smartcard message that is longer than the buffer for it. */
static void CVE_2016_0749(void)
{
    static const uint32_t announced[] = { 65537, 1u << 24, 0x7fffffff, 0xffffffff };
    struct bench b;
    struct chardev card;
    open_bench(&b);
    chardev_prepare(&card, "smartcard", NULL);
    EXPECT_EQ(chardev_add(&card, b.r.server), 0);
    for (size_t i = 0; i < TAP_COUNT(announced); i++) {
        struct client c;
        rig_channel(&b.r, &c, CH_SMARTCARD, 0, b.session);
        EXPECT(chardev_wait_states(&card, 2 * (int)i + 1));
        EXPECT(client_send_header(&c, 101, announced[i]));
        EXPECT_MSG(client_closed(&c), "%u bytes are announced", announced[i]);
        client_close(&c);
        EXPECT(chardev_wait_states(&card, 2 * (int)i + 2));
    }
    chardev_remove(&card);
    close_bench(&b);
}

/* Agent data that are longer than a piece of an agent message may be. */
static void CVE_2016_9577(void)
{
    static uint8_t data[26 * 1024];
    static const uint32_t sizes[] = { 2049, 4096, 4097, sizeof data };
    struct bench b;
    struct chardev agent;
    open_bench(&b);
    chardev_prepare(&agent, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&agent, b.r.server), 0);
    for (size_t i = 0; i < TAP_COUNT(sizes); i++)
        main_is_cut(&b, C_MAIN_AGENT_DATA, data, sizes[i]);
    /* It hears that clients leave, and nothing of theirs. */
    EXPECT(agent.in_len < 2048);
    chardev_remove(&agent);
    close_bench(&b);
}

/* A link message whose capabilities lie outside of it. */
static void CVE_2016_9578(void)
{
    static const struct { uint32_t common, channel, offset, size; } bad[] = {
        { 0xffffffff, 1, 18, 0 }, { 1, 0xffffffff, 18, 0 },     { 0x80000000, 0x80000000, 18, 0 },
        { 1, 1, 0xffffffff, 0 },  { 1, 1, 4096, 0 },            { 1, 1, 17, 0 },
        { 0, 0, 18, 0xffffffff }, { 0, 0, 18, 17 },             { 0x3fffffff, 1, 18, 0 },
    };
    struct bench b;
    open_bench(&b);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        struct client c;
        struct link l;
        link_init(&l, CH_MAIN, 0, 0);
        link_set_caps(&l, 1, 1);
        l.n_common = bad[i].common;
        l.n_channel = bad[i].channel;
        l.caps_offset = bad[i].offset;
        if (bad[i].size)
            l.size = bad[i].size;
        rig_connect(&b.r, &c);
        EXPECT(client_link_with(&c, &l, "") != 0);
        client_close(&c);
    }
    close_bench(&b);
}

/* Monitors from a client that announces more than it sends. */
static void CVE_2017_7506(void)
{
    static const uint32_t counts[] = { 2, 257, 0x7fffffff, 0xffffffff };
    struct bench b;
    struct chardev agent;
    struct qxl q;
    open_bench(&b);
    chardev_prepare(&agent, "vdagent", NULL);
    EXPECT_EQ(chardev_add(&agent, b.r.server), 0);
    qxl_prepare(&q, 0);
    q.takes_monitors = true;
    qxl_add(&q, b.r.server);
    for (size_t i = 0; i < TAP_COUNT(counts); i++) {
        uint8_t body[20 + 8 + 20] = { 0 }; /* the agent's header; one monitor of them */
        client_close(&b.main_channel);
        b.session = rig_main(&b.r, &b.main_channel);
        agent_start(&b.main_channel, 10);
        put32(body, 1);
        put32(body + 4, MONITORS_CONFIG);
        put32(body + 16, 8 + 20);
        put32(body + 20, counts[i]);
        EXPECT(client_send(&b.main_channel, C_MAIN_AGENT_DATA, body, sizeof body));
        EXPECT_MSG(client_closed(&b.main_channel), "%u monitors are announced", counts[i]);
    }
    EXPECT_EQ(q.monitors_configs, 0);
    qxl_remove(&q);
    chardev_remove(&agent);
    close_bench(&b);
}

/* Messages whose parts are longer than they are. */
static void CVE_2018_10873(void)
{
    /* INIT and a report that are cut; 255 codecs, of which one is there. */
    static const struct { uint16_t type; const char *body; uint32_t size; } bad[] = {
        { 101, "\1", 1 }, { 102, "\1\0\0\0", 4 }, { 105, "\xff\1", 2 }, { 105, "", 0 },
    };
    struct bench b;
    struct qxl q;
    open_bench(&b);
    qxl_prepare(&q, 0);
    qxl_add(&q, b.r.server);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        struct client c;
        rig_channel(&b.r, &c, CH_DISPLAY, 0, b.session);
        EXPECT(client_send(&c, bad[i].type, bad[i].body, bad[i].size));
        EXPECT_MSG(client_closed(&c), "type %u of a display channel", bad[i].type);
        client_close(&c);
    }
    main_is_cut(&b, C_MAIN_MOUSE_MODE_REQUEST, "", 1);
    main_is_cut(&b, C_MAIN_AGENT_START, "\1\0\0", 3);
    qxl_remove(&q);
    close_bench(&b);
}

/* ---- guests ---- */

static struct painter p;

/** The primary surface, after another one was asked for. */
static void create_primary_again(void)
{
    QXLDevSurfaceCreate create = { .width = 64, .height = 48, .stride = p.surface[0].stride,
                                   .format = SPICE_SURFACE_FMT_32_xRGB,
                                   .mem = (uintptr_t)p.surface[0].pixels };
    spice_qxl_create_primary_surface(&p.q.sin, 0, &create);
}

/** The device still draws what is good, and nothing else changed. */
static void still_draws(void)
{
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_BLACKNESS);
    painter_noise(&p, 0);
    painter_draw(&p, &d, 0);
    for (int i = 0; i < p.surface[0].height * p.surface[0].width; i++)
        EXPECT((((uint32_t *)(void *)p.surface[0].pixels)[i] & 0xffffff) == 0);
    painter_close(&p);
    /* Its digest says nothing here, and what is not run on the reference has none. */
    tap_result("%s", "");
}

static void open_guest(void)
{
    painter_open(&p, SPICE_SURFACE_FMT_32_xRGB, 64, 48, 1);
}

static uint64_t pixels_digest(void)
{
    uint64_t digest = 1;
    for (int i = 0; i < p.surface[0].height * p.surface[0].stride; i++)
        digest = digest * 31 + p.surface[0].pixels[i];
    return digest;
}

static struct {
    QXLMonitorsConfig config;
    QXLHead heads[64];
} monitors;
static atomic_bool racing;

static void *race(void *opaque)
{
    volatile QXLMonitorsConfig *config = &monitors.config;
    (void)opaque;
    while (racing)
        config->count = config->count == 1 ? 0xffff : 1;
    return NULL;
}

/* The number of monitors, changed by the guest between the check and the copy. */
static void CVE_2015_3247(void)
{
    pthread_t racer;
    open_guest();
    monitors.config.count = 1;
    monitors.config.max_allowed = 0xffff;
    monitors.heads[0].width = 64;
    monitors.heads[0].height = 48;
    racing = true;
    EXPECT_EQ(pthread_create(&racer, NULL, race, NULL), 0);
    for (uint64_t cookie = 1; cookie <= 200; cookie++) {
        spice_qxl_monitors_config_async(&p.q.sin, (uintptr_t)&monitors, 0, cookie);
        EXPECT(qxl_wait_cookie(&p.q, cookie));
    }
    racing = false;
    pthread_join(racer, NULL);
    still_draws();
}

/* Surfaces by ids that the device does not have. */
static void CVE_2015_5260(void)
{
    static const uint32_t ids[] = { 1024, 1025, 0x7fffffff, 0x80000000, 0xffffffff };
    uint8_t pixels[8 * 8 * 4];
    open_guest();
    uint64_t before = pixels_digest();
    for (size_t i = 0; i < TAP_COUNT(ids); i++) {
        QXLSurfaceCmd command = { .surface_id = ids[i], .type = QXL_SURFACE_CMD_CREATE };
        command.u.surface_create.format = SPICE_SURFACE_FMT_32_xRGB;
        command.u.surface_create.width = command.u.surface_create.height = 8;
        command.u.surface_create.stride = 32;
        command.u.surface_create.data = (uintptr_t)pixels;
        EXPECT(qxl_push_surface(&p.q, &command));
        command.type = QXL_SURFACE_CMD_DESTROY;
        EXPECT(qxl_push_surface(&p.q, &command));
        QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_BLACKNESS);
        d.surface_id = ids[i];
        EXPECT(qxl_push_drawable(&p.q, &d));
        QXLRect area = { .right = 8, .bottom = 8 };
        spice_qxl_update_area(&p.q.sin, ids[i], &area, NULL, 0, 0);
        painter_update(&p, 0, NULL, 0, 1);
    }
    EXPECT(pixels_digest() == before);
    still_draws();
}

/* Rectangles outside of a surface, and of a source. */
static void CVE_2015_5261(void)
{
    static const QXLRect outside[] = {
        { .left = -1, .right = 8, .bottom = 8 },      { .top = -64, .right = 8, .bottom = 8 },
        { .right = 65, .bottom = 8 },                 { .right = 8, .bottom = 49 },
        { .left = INT32_MIN, .right = INT32_MAX, .bottom = 8 },
        { .right = 8, .top = INT32_MIN, .bottom = INT32_MAX },
    };
    open_guest();
    uint64_t before = pixels_digest();
    for (size_t i = 0; i < TAP_COUNT(outside); i++) {
        QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_BLACKNESS);
        d.bbox = outside[i];
        EXPECT(qxl_push_drawable(&p.q, &d));
        d = guest_drawable(&p, 0, QXL_DRAW_COPY);
        d.bbox = (QXLRect){ .right = 8, .bottom = 8 };
        d.u.copy.src_area = outside[i];
        d.u.copy.src_bitmap = (uintptr_t)guest_bitmap(&p, SPICE_BITMAP_FMT_32BIT, 8, 8,
                                                      QXL_BITMAP_TOP_DOWN);
        d.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
        EXPECT(qxl_push_drawable(&p.q, &d));
        QXLRect area = outside[i];
        spice_qxl_update_area(&p.q.sin, 0, &area, NULL, 0, 0);
    }
    EXPECT(pixels_digest() == before);
    still_draws();
}

/* A slot of eight pages of the guest's, in the middle of other memory. */
enum { SLOT = 8 * 4096 };
static uint8_t guest_memory[3 * SLOT];

static void add_guest_slot(uint32_t id)
{
    uint64_t start = (uintptr_t)guest_memory + SLOT;
    QXLDevMemSlot slot = { .slot_group_id = 1, .slot_id = id, .generation = 1,
                           .virt_start = start, .virt_end = start + SLOT, .addr_delta = start };
    spice_qxl_add_memslot(&p.q.sin, &slot);
}

static uint64_t guest_address(uint64_t id, uint64_t offset)
{
    return id << 56 | (uint64_t)1 << 48 | offset;
}

/* A primary surface that is larger than the memory which the guest gives for it. */
static void CVE_2016_2150(void)
{
    static const struct { uint32_t width, height; int32_t stride; uint64_t offset; } bad[] = {
        { 64, 129, 256, 0 },          { 64, 128, 256, 1 },          { 64, 1, 256, SLOT },
        { 64, 1, 256, (uint64_t)-8 }, { 0x4000, 0x8001, 0x10000, 0 }, { 64, 128, 252, 0 },
        { 64, 129, -256, 0 },         { 0x40000001, 4, 4, 0 },      { 64, 4, INT32_MIN, 0 },
    };
    open_guest();
    spice_qxl_destroy_primary_surface(&p.q.sin, 0);
    add_guest_slot(1);
    memset(guest_memory, 0x55, sizeof guest_memory);
    for (size_t i = 0; i < TAP_COUNT(bad); i++) {
        QXLDevSurfaceCreate create = { .width = bad[i].width, .height = bad[i].height,
                                       .stride = bad[i].stride, .group_id = 1,
                                       .format = SPICE_SURFACE_FMT_32_xRGB,
                                       .mem = guest_address(1, bad[i].offset) };
        spice_qxl_create_primary_surface(&p.q.sin, 0, &create);
        QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_WHITENESS);
        EXPECT(qxl_push_drawable(&p.q, &d));
        QXLRect area = { .right = 8, .bottom = 8 };
        spice_qxl_update_area(&p.q.sin, 0, &area, NULL, 0, 0);
        spice_qxl_destroy_primary_surface(&p.q.sin, 0);
    }
    for (size_t i = 0; i < sizeof guest_memory; i++)
        EXPECT(guest_memory[i] == 0x55);
    create_primary_again();
    still_draws();
}

/* The slot behind the last one, and groups that do not exist. */
static void CVE_2019_3813(void)
{
    static const uint32_t ids[] = { 8, 9, 255, 0x7fffffff, 0xffffffff };
    open_guest();
    uint64_t before = pixels_digest();
    for (size_t i = 0; i < TAP_COUNT(ids); i++) {
        add_guest_slot(ids[i]);
        spice_qxl_del_memslot(&p.q.sin, 1, ids[i]);
        spice_qxl_del_memslot(&p.q.sin, ids[i], 0);
        QXLDevMemSlot slot = { .slot_group_id = ids[i] };
        spice_qxl_add_memslot(&p.q.sin, &slot);
        QXLDevSurfaceCreate create = { .width = 8, .height = 8, .stride = 32, .group_id = 1,
                                       .format = SPICE_SURFACE_FMT_32_xRGB,
                                       .mem = guest_address(ids[i] & 0xff, 0) };
        spice_qxl_create_primary_surface(&p.q.sin, 0, &create);
    }
    EXPECT(pixels_digest() == before);
    create_primary_again();
    still_draws();
}

/** Has the left half of a surface drawn from QUIC data; the right half stays as it was. */
static void draw_quic(const uint8_t *data, size_t size, int width, int height)
{
    uint8_t before[64 * 48 * 4];
    memcpy(before, p.surface[0].pixels, sizeof before);
    QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_COPY);
    d.bbox = d.u.copy.src_area = (QXLRect){ .right = 32, .bottom = 48 };
    d.u.copy.src_bitmap = (uintptr_t)guest_quic(&p, data, size, width, height);
    d.u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    painter_draw(&p, &d, 0);
    for (int y = 0; y < 48; y++)
        EXPECT(!memcmp(p.surface[0].pixels + 256 * y + 128, before + 256 * y + 128, 128));
}

/* QUIC images that end anywhere, of other sizes than they say, and with data that make runs
 * beyond their lines and values beyond their tables. */
static void CVE_2020_14355(void)
{
    static const char *const names[] = { "rgb16", "rgb24", "rgb32", "rgba" };
    static const uint32_t sides[] = { 0, 1, 32, 161, 65536, 0x7fffffff, 0x80000001, 0xffffffff };
    uint8_t *good = malloc(QUIC_LARGEST), *data = malloc(QUIC_LARGEST);
    open_guest();
    for (size_t i = 0; i < TAP_COUNT(names); i++) {
        size_t size = quic_file(names[i], good);
        for (size_t end = 0; end < size; end += end < 24 ? 1 : size / 16)
            draw_quic(good, end, 160, 100);
        for (size_t at = 0; at < 2 * TAP_COUNT(sides); at++) {
            memcpy(data, good, size);
            put32(data + 12 + 4 * (at & 1), sides[at / 2]);
            draw_quic(data, size, 160, 100);
            draw_quic(data, size, at & 1 ? 160 : (int)sides[at / 2], at & 1 ? (int)sides[at / 2] : 100);
        }
        for (int damage = 0; damage < 100; damage++) {
            memcpy(data, good, size);
            for (int bits = between(&p, 1, 4); bits; bits--)
                data[between(&p, 20, (int)size - 1)] ^= (uint8_t)(1 << between(&p, 0, 7));
            draw_quic(data, size, 160, 100);
        }
        for (int all = 0; all < 256; all += 5) {
            memset(data + 20, all, size - 20);
            draw_quic(data, size, 160, 100);
        }
    }
    free(data);
    free(good);
    still_draws();
}

/* ---- what else ends upstream's process ---- */

static void requests_of_a_stopped_guest(void)
{
    QXLRect area = { .right = 8, .bottom = 8 };
    open_guest();
    spice_server_vm_stop(p.r.server);
    spice_qxl_oom(&p.q.sin);
    spice_qxl_update_area(&p.q.sin, 0, &area, NULL, 0, 0);
    spice_qxl_update_area_async(&p.q.sin, 0, &area, 0, 5);
    EXPECT(qxl_wait_cookie(&p.q, 5));
    spice_server_vm_start(p.r.server);
    still_draws();
}

static void surfaces_to_wait_for(void)
{
    static const uint32_t ids[] = { 1, 1023, 1024, 0xffffffff };
    open_guest();
    for (size_t i = 0; i < TAP_COUNT(ids); i++) {
        spice_qxl_destroy_surface_wait(&p.q.sin, ids[i]);
        spice_qxl_destroy_surface_async(&p.q.sin, ids[i], i + 1);
        EXPECT(qxl_wait_cookie(&p.q, i + 1));
    }
    still_draws();
}

static void clips_that_are_not_as_many_as_they_say(void)
{
    static const uint32_t counts[] = { 0, 2, 0x10000000, 0x7fffffff, 0xffffffff };
    open_guest();
    uint64_t before = pixels_digest();
    for (size_t i = 0; i < TAP_COUNT(counts); i++) {
        QXLClipRects *clip = guest_alloc(&p, sizeof *clip + sizeof(QXLRect));
        QXLRect rect = { .right = 8, .bottom = 8 };
        clip->num_rects = counts[i];
        clip->chunk.data_size = sizeof rect;
        memcpy(clip->chunk.data, &rect, sizeof rect);
        QXLDrawable d = guest_drawable(&p, 0, QXL_DRAW_WHITENESS);
        d.clip.type = SPICE_CLIP_TYPE_RECTS;
        d.clip.data = (uintptr_t)clip;
        EXPECT(qxl_push_drawable(&p.q, &d));
        painter_update(&p, 0, NULL, 0, 1);
    }
    EXPECT(pixels_digest() == before);
    still_draws();
}

static const struct tap_case cases[] = {
    TAP_CASE(CVE_2013_4130), TAP_CASE(CVE_2013_4282), TAP_CASE(CVE_2015_3247),
    TAP_CASE(CVE_2015_5260), TAP_CASE(CVE_2015_5261), TAP_CASE(CVE_2016_0749),
    TAP_CASE(CVE_2016_2150), TAP_CASE(CVE_2016_9577), TAP_CASE(CVE_2016_9578),
    TAP_CASE(CVE_2017_7506), TAP_CASE(CVE_2018_10873), TAP_CASE(CVE_2019_3813),
    TAP_CASE(CVE_2020_14355),
    TAP_CASE(requests_of_a_stopped_guest),
    TAP_CASE(surfaces_to_wait_for),
    TAP_CASE(clips_that_are_not_as_many_as_they_say),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "cve", cases, TAP_COUNT(cases));
}
