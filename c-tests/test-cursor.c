/* SPDX-License-Identifier: LGPL-2.1-or-later */
/* The cursor channel of a graphics device: what the guest's commands become, and what
 * becomes of the guest's memory. */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <stdlib.h>

struct scene {
    struct rig r;
    struct qxl q;
    struct client main, c;
    uint32_t session;
    int pushed;
};

static const uint8_t arrow[8] = { 1, 2, 3, 4, 5, 6, 7, 8 };

static struct qxl_pointer plain(void)
{
    return (struct qxl_pointer){ .width = 2, .height = 1, .hot_x = 1, .data = arrow, .size = 8 };
}

/** A running device without a primary surface, and a client's main channel. */
static void scene_open(struct scene *s)
{
    *s = (struct scene){ 0 };
    rig_open(&s->r);
    qxl_prepare(&s->q, 0);
    qxl_add(&s->q, s->r.server);
    spice_server_vm_start(s->r.server);
    s->session = rig_main(&s->r, &s->main);
}

static void scene_close(struct scene *s)
{
    client_close(&s->main);
    spice_server_vm_stop(s->r.server);
    qxl_remove(&s->q);
    rig_close(&s->r);
}

/** Waits until the worker has had all commands. */
static void settled(struct scene *s)
{
    EXPECT(qxl_wait(&s->q, &s->q.fetched, s->pushed));
}

static void move(struct scene *s, int x, int y)
{
    EXPECT(qxl_cursor(&s->q, QXL_CURSOR_MOVE, x, y));
    s->pushed++;
}

static void hide(struct scene *s)
{
    EXPECT(qxl_cursor(&s->q, QXL_CURSOR_HIDE, 0, 0));
    s->pushed++;
}

static void show(struct scene *s, const struct qxl_pointer *p, int x, int y, bool visible)
{
    EXPECT(qxl_shape(&s->q, p, x, y, visible));
    s->pushed++;
}

static void expect_body(struct client *c, uint16_t type, const void *body, uint32_t size)
{
    struct message m;
    client_expect(c, type, &m);
    EXPECT_EQ(m.size, size);
    for (uint32_t i = 0; i < size; i++)
        EXPECT_MSG(m.body[i] == ((const uint8_t *)body)[i], "type %d: byte %u is 0x%02x, not 0x%02x",
                   type, i, m.body[i], ((const uint8_t *)body)[i]);
    message_free(&m);
}
#define EXPECT_BODY(c, type, text) expect_body(c, type, text, sizeof text - 1)

#define NOTHING "\1\0"
#define ARROW "\0\0\0\0\0\0\0\0\0\0\0\2\0\1\0\1\0\0\0\1\2\3\4\5\6\7\x08"

/** A client of the cursor channel; SET_ACK is answered, INIT comes next. */
static void link_cursor(struct scene *s, struct client *c)
{
    struct message m;
    rig_channel(&s->r, c, CH_CURSOR, 0, s->session);
    c->acknowledges = true;
    client_expect(c, S_SET_ACK, &m);
    message_free(&m);
}

static void link_to_nothing(struct scene *s)
{
    link_cursor(s, &s->c);
    EXPECT_BODY(&s->c, S_CURSOR_INIT, "\0\0\0\0\0\0\0\0\1" NOTHING);
}

static void who_comes_is_told_of_the_pointer(void)
{
    struct scene s;
    struct message m;
    struct qxl_pointer p = plain();
    scene_open(&s);
    rig_channel(&s.r, &s.c, CH_CURSOR, 0, s.session);
    EXPECT_EQ(s.c.reply.n_channel, 0);
    client_expect(&s.c, S_SET_ACK, &m);
    EXPECT_EQ(m.size, 8);
    EXPECT_EQ(get32(m.body), 1);
    EXPECT_EQ(get32(m.body + 4), 20);
    message_free(&m);
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\0\0\0\0\0\0\0\0\1" NOTHING);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    show(&s, &p, 7, 8, true);
    settled(&s);
    link_cursor(&s, &s.c); /* a picture's place is not kept */
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\0\0\0\0\0\0\0\0\1" ARROW);
    client_close(&s.c);
    move(&s, 300, -2);
    EXPECT(qxl_trail(&s.q, 5, 6));
    s.pushed++;
    hide(&s);
    settled(&s);
    link_cursor(&s, &s.c);
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\x2c\1\xfe\xff\5\0\6\0\0" ARROW);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    scene_close(&s);
}

static void each_command_is_passed_on(void)
{
    struct scene s;
    struct qxl_pointer p = plain();
    scene_open(&s);
    link_to_nothing(&s);
    show(&s, &p, 7, -8, true);
    EXPECT_BODY(&s.c, S_CURSOR_SET, "\7\0\xf8\xff\1" ARROW);
    move(&s, 1, 2);
    EXPECT_BODY(&s.c, S_CURSOR_MOVE, "\1\0\2\0");
    hide(&s);
    EXPECT_BODY(&s.c, S_CURSOR_HIDE, "");
    EXPECT(qxl_trail(&s.q, 5, 6));
    EXPECT_BODY(&s.c, S_CURSOR_TRAIL, "\5\0\6\0");
    show(&s, &p, 0, 0, false);
    EXPECT_BODY(&s.c, S_CURSOR_SET, "\0\0\0\0\0" ARROW);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    scene_close(&s);
}

static void pictures_in_pieces(void)
{
    struct scene s;
    struct message m;
    uint8_t pixels[64 * 64 * 4];
    for (size_t i = 0; i < sizeof pixels; i++)
        pixels[i] = (uint8_t)(i * 7 + i / 256);
    struct qxl_pointer p = { .width = 64, .height = 64, .data = pixels, .size = sizeof pixels };
    scene_open(&s);
    link_to_nothing(&s);
    for (size_t pieces = 1; pieces < 200; pieces = pieces * 3 + 1) {
        p.pieces = pieces;
        show(&s, &p, 0, 0, true);
        client_expect(&s.c, S_CURSOR_SET, &m);
        EXPECT_EQ(m.size, 24 + sizeof pixels);
        EXPECT(!memcmp(m.body + 24, pixels, sizeof pixels));
        message_free(&m);
    }
    client_close(&s.c);
    scene_close(&s);
}

/* 9 by 2 pixels of each type. */
static void types_of_pictures(void)
{
    static const struct {
        uint16_t type, size;
    } types[] = { { SPICE_CURSOR_TYPE_ALPHA, 72 },   { SPICE_CURSOR_TYPE_MONO, 8 },
                  { SPICE_CURSOR_TYPE_COLOR4, 78 },  { SPICE_CURSOR_TYPE_COLOR8, 1046 },
                  { SPICE_CURSOR_TYPE_COLOR16, 40 }, { SPICE_CURSOR_TYPE_COLOR24, 58 },
                  { SPICE_CURSOR_TYPE_COLOR32, 76 } };
    struct scene s;
    struct message m;
    static uint8_t pixels[1046];
    memset(pixels, 0x5a, sizeof pixels);
    scene_open(&s);
    link_to_nothing(&s);
    for (size_t i = 0; i < TAP_COUNT(types); i++) {
        struct qxl_pointer p = { .type = types[i].type, .width = 9, .height = 2, .data = pixels,
                                 .size = types[i].size };
        show(&s, &p, 0, 0, true);
        client_expect(&s.c, S_CURSOR_SET, &m);
        EXPECT_EQ(m.body[15], types[i].type);
        EXPECT_EQ(m.size, 24 + (uint32_t)types[i].size);
        message_free(&m);
    }
    client_close(&s.c);
    scene_close(&s);
}

/* The client that has the pointer knows where it is. */
static void moves_in_client_mode(void)
{
    struct scene s;
    struct inputs in;
    struct message m;
    struct qxl_pointer p = plain();
    rig_open(&s.r);
    s.pushed = 0;
    qxl_prepare(&s.q, 0);
    qxl_add(&s.q, s.r.server);
    inputs_add(&in, s.r.server);
    qxl_create_primary(&s.q, 64, 64);
    spice_server_vm_start(s.r.server);
    s.session = rig_main(&s.r, &s.main);
    uint8_t wish[2] = { 2, 0 };
    EXPECT(client_send(&s.main, C_MAIN_MOUSE_MODE_REQUEST, wish, sizeof wish));
    do {
        client_expect(&s.main, S_MAIN_MOUSE_MODE, &m);
        bool client_mode = get16(m.body + 2) == 2;
        message_free(&m);
        if (client_mode)
            break;
    } while (true);
    link_to_nothing(&s);
    move(&s, 1, 2);
    show(&s, &p, 0, 0, true);
    EXPECT_BODY(&s.c, S_CURSOR_SET, "\0\0\0\0\1" ARROW);
    move(&s, 3, 4);
    hide(&s);
    EXPECT_BODY(&s.c, S_CURSOR_HIDE, "");
    move(&s, 5, 6); /* it appears */
    EXPECT_BODY(&s.c, S_CURSOR_MOVE, "\5\0\6\0");
    move(&s, 7, 8);
    settled(&s);
    EXPECT(client_silent(&s.c, 30));
    client_close(&s.c);
    spice_qxl_destroy_primary_surface(&s.q.sin, 0);
    client_close(&s.main);
    inputs_remove(&in);
    spice_server_vm_stop(s.r.server);
    qxl_remove(&s.q);
    rig_close(&s.r);
}

static void reset_forgets_the_pointer(void)
{
    struct scene s;
    struct qxl_pointer p = plain();
    scene_open(&s);
    show(&s, &p, 0, 0, true);
    move(&s, 1, 2);
    settled(&s);
    link_cursor(&s, &s.c);
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\1\0\2\0\0\0\0\0\1" ARROW);
    spice_qxl_reset_cursor(&s.q.sin);
    EXPECT_BODY(&s.c, S_CURSOR_INVAL_ALL, "");
    EXPECT_BODY(&s.c, S_CURSOR_RESET, "");
    EXPECT_EQ(qxl_count(&s.q, &s.q.released), 2);
    EXPECT(client_silent(&s.c, 20));
    client_close(&s.c);
    link_to_nothing(&s);
    client_close(&s.c);
    scene_close(&s);
}

/* A new primary surface begins with the pointer as it is; its end is the pointer's. */
static void surfaces_begin_and_end_with_it(void)
{
    struct scene s;
    struct qxl_pointer p = plain();
    scene_open(&s);
    link_to_nothing(&s);
    show(&s, &p, 0, 0, true);
    EXPECT_BODY(&s.c, S_CURSOR_SET, "\0\0\0\0\1" ARROW);
    qxl_create_primary(&s.q, 64, 64);
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\0\0\0\0\0\0\0\0\1" ARROW);
    spice_qxl_destroy_primary_surface(&s.q.sin, 0);
    EXPECT_BODY(&s.c, S_CURSOR_INVAL_ALL, "");
    EXPECT_BODY(&s.c, S_CURSOR_RESET, "");
    EXPECT_EQ(qxl_count(&s.q, &s.q.released), 1);
    client_close(&s.c);
    scene_close(&s);
}

/* A picture's memory comes back with the next picture, everything else's at once. */
static void commands_are_given_back_once(void)
{
    struct scene s;
    struct qxl_pointer p = plain();
    scene_open(&s);
    show(&s, &p, 0, 0, true);
    move(&s, 1, 2);
    hide(&s);
    settled(&s);
    EXPECT(qxl_wait(&s.q, &s.q.released, 2));
    show(&s, &p, 0, 0, true);
    EXPECT(qxl_wait(&s.q, &s.q.released, 3));
    scene_close(&s);
}

/* Remembered by its name: the second time only that is sent; not by us. */
static void named_pictures(void)
{
    struct scene s;
    struct message m;
    struct qxl_pointer p = plain();
    p.unique = 0x1122334455667788;
    scene_open(&s);
    link_to_nothing(&s);
    for (int i = 0; i < 2; i++) {
        show(&s, &p, 0, 0, true);
        client_expect(&s.c, S_CURSOR_SET, &m);
        EXPECT_EQ(get16(m.body + 5), differs(DIFF_CURSOR_CACHE, 0, i ? 4 : 2));
        EXPECT_EQ(get64(m.body + 7), differs(DIFF_CURSOR_CACHE, 0, (int64_t)p.unique));
        EXPECT_EQ(m.size, differs(DIFF_CURSOR_CACHE, 32, i ? 24 : 32));
        message_free(&m);
    }
    client_close(&s.c);
    scene_close(&s);
}

/* Each is told, and the pointer goes on when one leaves. */
static void several_clients(void)
{
    struct scene s;
    struct client main, second;
    setenv("SPICE_DEBUG_ALLOW_MC", "1", 1);
    scene_open(&s);
    link_to_nothing(&s);
    uint32_t session = rig_main(&s.r, &main);
    move(&s, 1, 2);
    EXPECT_BODY(&s.c, S_CURSOR_MOVE, "\1\0\2\0");
    s.session = session;
    link_cursor(&s, &second);
    EXPECT_BODY(&second, S_CURSOR_INIT, "\1\0\2\0\0\0\0\0\1" NOTHING);
    move(&s, 3, 4);
    EXPECT_BODY(&s.c, S_CURSOR_MOVE, "\3\0\4\0");
    EXPECT_BODY(&second, S_CURSOR_MOVE, "\3\0\4\0");
    client_close(&s.c);
    hide(&s);
    EXPECT_BODY(&second, S_CURSOR_HIDE, "");
    client_close(&second);
    client_close(&main);
    scene_close(&s);
}

/* Acknowledges nothing: 41 messages are under way, then the newest waits. */
static void a_client_that_acknowledges_nothing(void)
{
    struct scene s;
    struct message m;
    uint8_t sync[4] = { 1 };
    scene_open(&s);
    rig_channel(&s.r, &s.c, CH_CURSOR, 0, s.session);
    client_expect(&s.c, S_SET_ACK, &m);
    message_free(&m);
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\0\0\0\0\0\0\0\0\1" NOTHING);
    for (int i = 0; i < 39; i++) {
        move(&s, i, 0);
        client_expect(&s.c, S_CURSOR_MOVE, &m);
        EXPECT_EQ(get16(m.body), i);
        message_free(&m);
    }
    for (int i = 100; i < 120; i++) {
        move(&s, i, 0);
        settled(&s);
        host_turn(0);
    }
    EXPECT(client_silent(&s.c, 30));
    EXPECT(client_send(&s.c, C_ACK_SYNC, sync, sizeof sync));
    EXPECT(client_send(&s.c, C_ACK, NULL, 0));
    client_expect(&s.c, S_CURSOR_MOVE, &m);
    EXPECT_EQ(get16(m.body), differs(DIFF_POINTERS_REPLACED, 119, 100));
    message_free(&m);
    client_close(&s.c);
    scene_close(&s);
}

static void circle(QXLCursor *c)
{
    c->chunk.data_size = 0;
    c->chunk.next_chunk = (uintptr_t)&c->chunk;
}

static void short_piece(QXLCursor *c)
{
    c->chunk.data_size = 7;
}

static void too_large(QXLCursor *c)
{
    c->header.width = c->header.height = 0x8000;
    c->data_size = c->chunk.data_size = 0x7fffffff;
}

static void unknown_type(QXLCursor *c)
{
    c->header.type = 7;
}

static void less_than_announced(QXLCursor *c)
{
    c->data_size = 7;
}

/* What is wrong is given back at once, and the pointer stays as it is. */
static void wrong_pictures_are_dropped(void)
{
    static void (*const spoilers[])(QXLCursor *) = { circle, short_piece, too_large, unknown_type,
                                                     less_than_announced };
    struct scene s;
    struct qxl_pointer p = plain();
    scene_open(&s);
    link_to_nothing(&s);
    show(&s, &p, 0, 0, true);
    EXPECT_BODY(&s.c, S_CURSOR_SET, "\0\0\0\0\1" ARROW);
    for (size_t i = 0; i < TAP_COUNT(spoilers); i++) {
        p.spoil = spoilers[i];
        show(&s, &p, 0, 0, true);
        EXPECT(qxl_wait(&s.q, &s.q.released, (int)i + 1));
    }
    EXPECT(qxl_cursor(&s.q, 9, 0, 0)); /* an unknown command */
    EXPECT(qxl_cursor(&s.q, QXL_CURSOR_SET, 0, 0)); /* a picture at address 0 */
    EXPECT(qxl_wait(&s.q, &s.q.released, (int)TAP_COUNT(spoilers) + 2));
    EXPECT(client_silent(&s.c, 20));
    move(&s, 1, 1);
    EXPECT_BODY(&s.c, S_CURSOR_MOVE, "\1\0\1\0");
    client_close(&s.c);
    link_cursor(&s, &s.c);
    EXPECT_BODY(&s.c, S_CURSOR_INIT, "\1\0\1\0\0\0\0\0\1" ARROW);
    client_close(&s.c);
    scene_close(&s);
}

static void clients_send_nothing(void)
{
    struct scene s;
    uint8_t body[16] = { 0 };
    static const uint16_t types[] = { 0, 101, 102, 103, 200 };
    scene_open(&s);
    for (size_t i = 0; i < TAP_COUNT(types); i++) {
        link_to_nothing(&s);
        EXPECT(client_send(&s.c, types[i], body, sizeof body));
        EXPECT(client_closed(&s.c));
        client_close(&s.c);
    }
    link_to_nothing(&s);
    EXPECT(client_send_header(&s.c, C_DISCONNECTING, 1025));
    EXPECT(client_closed(&s.c));
    client_close(&s.c);
    scene_close(&s);
}

static void removal_ends_the_channel(void)
{
    struct scene s;
    scene_open(&s);
    link_to_nothing(&s);
    EXPECT_EQ(spice_server_remove_interface(&s.q.sin.base), 0);
    s.q.added = false;
    EXPECT(client_closed(&s.c));
    client_close(&s.c);
    qxl_remove(&s.q);
    qxl_prepare(&s.q, 0);
    qxl_add(&s.q, s.r.server);
    link_to_nothing(&s);
    client_close(&s.c);
    scene_close(&s);
}

int main(int argc, char **argv)
{
    static const struct tap_case cases[] = {
        TAP_CASE(who_comes_is_told_of_the_pointer),
        TAP_CASE(each_command_is_passed_on),
        TAP_CASE(pictures_in_pieces),
        TAP_CASE(types_of_pictures),
        TAP_CASE(moves_in_client_mode),
        TAP_CASE(reset_forgets_the_pointer),
        TAP_CASE(surfaces_begin_and_end_with_it),
        TAP_CASE(commands_are_given_back_once),
        TAP_CASE(named_pictures),
        TAP_CASE(several_clients),
        TAP_CASE(a_client_that_acknowledges_nothing),
        TAP_CASE(wrong_pictures_are_dropped),
        TAP_CASE(clients_send_nothing),
        TAP_CASE(removal_ends_the_channel),
    };
    return tap_main(argc, argv, "cursor", cases, TAP_COUNT(cases));
}
