/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "devices.h"
#include "host.h"
#include "tap.h"

#include <stdint.h>
#include <stdlib.h>
#include <string.h>

/* A command is one allocation: what the library is told to give back comes
 * first, so that a release finds its command. */
struct qxl_command {
    QXLCommandExt ext;
    bool released;
    bool fetched;
    uint64_t address; /* where the guest has it in group 1; 0: it is the harness's own */
    QXLImage image;
    union {
        QXLReleaseInfo info;
        QXLDrawable drawable;
        QXLCompatDrawable compat;
        QXLSurfaceCmd surface;
        QXLCursorCmd cursor;
        QXLUpdateCmd update;
    } u;
    uint8_t *pixels;
};

static struct qxl *device(QXLInstance *sin)
{
    return (struct qxl *)((char *)sin - offsetof(struct qxl, sin));
}

/* Every callback passes here: under the lock, and not after removal. */
static struct qxl *enter(QXLInstance *sin, const char *where)
{
    struct qxl *q = device(sin);
    pthread_mutex_lock(&q->lock);
    if (q->removed)
        host_complain("qxl %s after remove_interface returned", where);
    return q;
}

static void leave(struct qxl *q)
{
    pthread_mutex_unlock(&q->lock);
    host_wake();
}

static void attached_worker(QXLInstance *sin)
{
    host_assert_main_thread("attached_worker");
    struct qxl *q = enter(sin, "attached_worker");
    q->attached++;
    leave(q);
}

static void set_compression_level(QXLInstance *sin, int level)
{
    host_assert_main_thread("set_compression_level");
    struct qxl *q = enter(sin, "set_compression_level");
    if (!q->attached)
        host_complain("set_compression_level before attached_worker");
    if (level != 0 && level != 1)
        host_complain("compression level %d", level);
    q->compression_levels++;
    leave(q);
}

static void set_mm_time(QXLInstance *sin, uint32_t mm_time)
{
    (void)sin;
    host_complain("set_mm_time(%u) is never called", mm_time);
}

static void get_init_info(QXLInstance *sin, QXLDevInitInfo *info)
{
    host_assert_main_thread("get_init_info");
    struct qxl *q = enter(sin, "get_init_info");
    q->init_infos++;
    *info = (QXLDevInitInfo){ .num_memslots_groups = 2,
                              .num_memslots = 8,
                              .memslot_gen_bits = 8,
                              .memslot_id_bits = 8,
                              .qxl_ram_size = q->ram_size,
                              .n_surfaces = q->n_surfaces };
    leave(q);
}

static int take(struct qxl *q, struct qxl_command **ring, unsigned *head, unsigned tail,
                QXLCommandExt *ext)
{
    if (*head == tail)
        return 0;
    struct qxl_command *c = ring[(*head)++ % QXL_RING];
    c->fetched = true;
    q->fetched++;
    *ext = c->ext;
    return 1;
}

static int get_command(QXLInstance *sin, QXLCommandExt *ext)
{
    struct qxl *q = enter(sin, "get_command");
    int got = take(q, q->ring, &q->head, q->tail, ext);
    pthread_mutex_unlock(&q->lock);
    return got;
}

static int req_cmd_notification(QXLInstance *sin)
{
    struct qxl *q = enter(sin, "req_cmd_notification");
    q->armed = q->head == q->tail;
    q->notified += q->armed;
    int armed = q->armed;
    leave(q);
    return armed;
}

static int get_cursor_command(QXLInstance *sin, QXLCommandExt *ext)
{
    struct qxl *q = enter(sin, "get_cursor_command");
    int got = take(q, q->cursor_ring, &q->cursor_head, q->cursor_tail, ext);
    pthread_mutex_unlock(&q->lock);
    return got;
}

static int req_cursor_notification(QXLInstance *sin)
{
    struct qxl *q = enter(sin, "req_cursor_notification");
    q->cursor_armed = q->cursor_head == q->cursor_tail;
    int armed = q->cursor_armed;
    leave(q);
    return armed;
}

static void free_command(struct qxl_command *c)
{
    free(c->pixels);
    c->pixels = NULL;
    if (!c->address)
        free(c);
}

static void release_resource(QXLInstance *sin, QXLReleaseInfoExt ext)
{
    struct qxl *q = enter(sin, "release_resource");
    struct qxl_command *c =
        (struct qxl_command *)((char *)ext.info - offsetof(struct qxl_command, u));
    q->released++;
    if (ext.info->id != (uintptr_t)c || ext.group_id != c->ext.group_id) {
        host_complain("release_resource of something that was never given");
    } else if (c->released) {
        q->twice++;
        host_complain("a command is released twice");
    } else {
        if (!c->fetched)
            host_complain("a command is released that was not fetched");
        c->released = true;
        q->live--;
        /* the memory is unusable from now on, as a guest would reuse it */
        memset(c->pixels, 0xdd, c->pixels ? 4 : 0);
        free_command(c);
    }
    leave(q);
}

static void notify_update(QXLInstance *sin, uint32_t id)
{
    struct qxl *q = enter(sin, "notify_update");
    (void)id;
    q->updates++;
    leave(q);
}

static int flush_resources(QXLInstance *sin)
{
    struct qxl *q = enter(sin, "flush_resources");
    q->flushes++;
    leave(q);
    return 0;
}

static void async_complete(QXLInstance *sin, uint64_t cookie)
{
    struct qxl *q = enter(sin, "async_complete");
    if (q->n_cookies < QXL_COOKIES)
        q->cookies[q->n_cookies++] = cookie;
    leave(q);
}

static void update_area_complete(QXLInstance *sin, uint32_t surface, QXLRect *rects, uint32_t n)
{
    struct qxl *q = enter(sin, "update_area_complete");
    (void)surface;
    q->n_area_rects = (int)n;
    for (uint32_t i = 0; i < n && i < 8; i++)
        q->area_rects[i] = rects[i];
    q->area_updates++;
    leave(q);
}

static void set_client_capabilities(QXLInstance *sin, uint8_t present,
                                    uint8_t caps[SPICE_CAPABILITIES_SIZE])
{
    struct qxl *q = enter(sin, "set_client_capabilities");
    (void)present;
    (void)caps;
    q->capabilities++;
    leave(q);
}

static int client_monitors_config(QXLInstance *sin, VDAgentMonitorsConfig *config)
{
    host_assert_main_thread("client_monitors_config");
    struct qxl *q = enter(sin, "client_monitors_config");
    int takes = q->takes_monitors;
    if (takes && config) {
        size_t each = sizeof(VDAgentMonConfig) +
                      (config->flags & VD_AGENT_CONFIG_MONITORS_FLAG_PHYSICAL_SIZE ? 4 : 0);
        size_t size = sizeof *config + config->num_of_monitors * each;
        q->monitors_size = size < sizeof q->monitors ? size : sizeof q->monitors;
        memcpy(q->monitors, config, q->monitors_size);
        q->monitors_configs++;
    }
    leave(q);
    return takes;
}

static const QXLInterface interface = {
    .base = { .type = SPICE_INTERFACE_QXL,
              .description = "scripted display",
              .major_version = SPICE_INTERFACE_QXL_MAJOR,
              .minor_version = SPICE_INTERFACE_QXL_MINOR },
    .attached_worker = attached_worker,
    .set_compression_level = set_compression_level,
    .set_mm_time = set_mm_time,
    .get_init_info = get_init_info,
    .get_command = get_command,
    .req_cmd_notification = req_cmd_notification,
    .release_resource = release_resource,
    .get_cursor_command = get_cursor_command,
    .req_cursor_notification = req_cursor_notification,
    .notify_update = notify_update,
    .flush_resources = flush_resources,
    .async_complete = async_complete,
    .update_area_complete = update_area_complete,
    .set_client_capabilities = set_client_capabilities,
    .client_monitors_config = client_monitors_config,
};

void qxl_prepare(struct qxl *q, int id)
{
    *q = (struct qxl){ .ram_size = 16 << 20, .n_surfaces = 1024 };
    q->sin.base.sif = &interface.base;
    q->sin.id = id;
    pthread_mutex_init(&q->lock, NULL);
}

void qxl_add_host_slot(struct qxl *q)
{
    QXLDevMemSlot slot = { .virt_end = ~(uintptr_t)0 };
    spice_qxl_add_memslot(&q->sin, &slot);
}

void qxl_add(struct qxl *q, SpiceServer *server)
{
    EXPECT_EQ(spice_server_add_interface(server, &q->sin.base), 0);
    EXPECT_EQ(q->attached, 1);
    q->added = true;
    qxl_add_host_slot(q);
}

QXLDevSurfaceCreate qxl_surface(struct qxl *q, uint32_t width, uint32_t height)
{
    q->width = width;
    q->height = height;
    free(q->frame);
    q->frame = calloc((size_t)width * height, 4);
    return (QXLDevSurfaceCreate){ .width = width,
                                  .height = height,
                                  .stride = -(int32_t)width * 4,
                                  .format = SPICE_SURFACE_FMT_32_xRGB,
                                  .mouse_mode = 1,
                                  .mem = (uintptr_t)q->frame,
                                  .group_id = 0 };
}

void qxl_create_primary(struct qxl *q, uint32_t width, uint32_t height)
{
    QXLDevSurfaceCreate surface = qxl_surface(q, width, height);
    spice_qxl_create_primary_surface(&q->sin, 0, &surface);
}

static void drop_unfetched(struct qxl *q)
{
    for (; q->head != q->tail; q->head++) {
        free_command(q->ring[q->head % QXL_RING]);
        q->live--;
    }
    for (; q->cursor_head != q->cursor_tail; q->cursor_head++) {
        free_command(q->cursor_ring[q->cursor_head % QXL_RING]);
        q->live--;
    }
}

void qxl_remove(struct qxl *q)
{
    if (q->added)
        EXPECT_EQ(spice_server_remove_interface(&q->sin.base), 0);
    pthread_mutex_lock(&q->lock);
    q->removed = true;
    q->added = false;
    drop_unfetched(q);
    int kept = q->live;
    pthread_mutex_unlock(&q->lock);
    EXPECT_MSG(kept == 0, "%d fetched commands were never released", kept);
    free(q->frame);
    q->frame = NULL;
}

/** Hands a command to a ring and wakes the library when it asked for that. */
static bool push(struct qxl *q, struct qxl_command *c, uint32_t type, bool cursor)
{
    c->u.info.id = (uintptr_t)c;
    c->ext.cmd.data = c->address ? c->address + offsetof(struct qxl_command, u) : (uintptr_t)&c->u;
    c->ext.cmd.type = type;
    pthread_mutex_lock(&q->lock);
    struct qxl_command **ring = cursor ? q->cursor_ring : q->ring;
    unsigned *tail = cursor ? &q->cursor_tail : &q->tail;
    unsigned head = cursor ? q->cursor_head : q->head;
    bool fits = *tail - head < QXL_RING;
    if (fits) {
        ring[(*tail)++ % QXL_RING] = c;
        q->live++;
    }
    /* As a guest's driver: it rings when the library has asked for that. */
    bool *armed = cursor ? &q->cursor_armed : &q->armed, rings = *armed;
    *armed = false;
    pthread_mutex_unlock(&q->lock);
    if (!fits) {
        free_command(c);
        return false;
    }
    if (rings)
        spice_qxl_wakeup(&q->sin);
    return true;
}

bool qxl_draw(struct qxl *q, int left, int top, int right, int bottom)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    uint32_t w = (uint32_t)(right - left), h = (uint32_t)(bottom - top);
    static uint32_t unique;
    c->pixels = calloc((size_t)w * h, 4);
    memset(c->pixels, q->shade ? q->shade : 0x40, (size_t)w * h * 4);
    for (size_t i = 0; q->gradual && i < (size_t)w * h * 4; i++)
        c->pixels[i] = (uint8_t)(i / 4 % w + i / 4 / w % 32 + q->shade);
    QXLDrawable *d = &c->u.drawable;
    d->bbox = (QXLRect){ .left = left, .top = top, .right = right, .bottom = bottom };
    d->clip.type = SPICE_CLIP_TYPE_NONE;
    d->effect = QXL_EFFECT_OPAQUE;
    d->type = QXL_DRAW_COPY;
    d->surfaces_dest[0] = d->surfaces_dest[1] = d->surfaces_dest[2] = -1;
    d->u.copy.rop_descriptor = SPICE_ROPD_OP_PUT;
    d->u.copy.src_bitmap = (uintptr_t)&c->image;
    d->u.copy.src_area.right = (int32_t)w;
    d->u.copy.src_area.bottom = (int32_t)h;
    QXL_SET_IMAGE_ID(&c->image, QXL_IMAGE_GROUP_DEVICE, ++unique);
    c->image.descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    c->image.descriptor.width = w;
    c->image.descriptor.height = h;
    c->image.bitmap.format = SPICE_BITMAP_FMT_32BIT;
    c->image.bitmap.flags = QXL_BITMAP_DIRECT | QXL_BITMAP_TOP_DOWN;
    c->image.bitmap.x = w;
    c->image.bitmap.y = h;
    c->image.bitmap.stride = w * 4;
    c->image.bitmap.data = (uintptr_t)c->pixels;
    return push(q, c, QXL_CMD_DRAW, false);
}

bool qxl_push_drawable(struct qxl *q, const QXLDrawable *drawable)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    c->u.drawable = *drawable;
    return push(q, c, QXL_CMD_DRAW, false);
}

QXLDrawable *qxl_push_guest(struct qxl *q, void *memory, uint64_t address,
                            const QXLDrawable *drawable)
{
    struct qxl_command *c = memory;
    EXPECT(sizeof *c <= QXL_GUEST_COMMAND);
    memset(c, 0, sizeof *c);
    c->address = address;
    c->ext.group_id = 1;
    c->u.drawable = *drawable;
    return push(q, c, QXL_CMD_DRAW, false) ? &c->u.drawable : NULL;
}

bool qxl_push_compat(struct qxl *q, const QXLCompatDrawable *drawable, uint32_t flags)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    c->u.compat = *drawable;
    c->ext.flags = flags;
    return push(q, c, QXL_CMD_DRAW, false);
}

bool qxl_push_surface(struct qxl *q, const QXLSurfaceCmd *command)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    c->u.surface = *command;
    return push(q, c, QXL_CMD_SURFACE, false);
}

bool qxl_push_raw(struct qxl *q, uint32_t type, uint32_t group)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    c->ext.group_id = group;
    if (type == QXL_CMD_UPDATE)
        c->u.update.area = (QXLRect){ .right = 8, .bottom = 8 };
    return push(q, c, type, false);
}

bool qxl_cursor(struct qxl *q, uint8_t type, int x, int y)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    c->u.cursor.type = type;
    c->u.cursor.u.position.x = (int16_t)x;
    c->u.cursor.u.position.y = (int16_t)y;
    return push(q, c, QXL_CMD_CURSOR, true);
}

bool qxl_shape(struct qxl *q, const struct qxl_pointer *p, int x, int y, bool visible)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    size_t pieces = p->pieces ? p->pieces : 1, each = (p->size + pieces - 1) / pieces, at = 0;
    /* the header and the pieces one behind the other, each with its own address */
    c->pixels = calloc(1, sizeof(QXLCursor) + pieces * (sizeof(QXLDataChunk) + each));
    QXLCursor *cursor = (QXLCursor *)c->pixels;
    cursor->header.unique = p->unique;
    cursor->header.type = p->type;
    cursor->header.width = p->width;
    cursor->header.height = p->height;
    cursor->header.hot_spot_x = p->hot_x;
    cursor->header.hot_spot_y = p->hot_y;
    cursor->data_size = (uint32_t)p->size;
    QXLDataChunk *chunk = &cursor->chunk;
    for (size_t i = 0; i < pieces; i++, at += each) {
        chunk->data_size = (uint32_t)(p->size - at < each ? p->size - at : each);
        memcpy(chunk->data, (const uint8_t *)p->data + at, chunk->data_size);
        QXLDataChunk *next = (QXLDataChunk *)(chunk->data + chunk->data_size);
        chunk->next_chunk = i + 1 < pieces ? (uintptr_t)next : 0;
        chunk = next;
    }
    if (p->spoil)
        p->spoil(cursor);
    c->u.cursor.type = QXL_CURSOR_SET;
    c->u.cursor.u.set.position.x = (int16_t)x;
    c->u.cursor.u.set.position.y = (int16_t)y;
    c->u.cursor.u.set.visible = visible;
    c->u.cursor.u.set.shape = (uintptr_t)c->pixels;
    return push(q, c, QXL_CMD_CURSOR, true);
}

bool qxl_trail(struct qxl *q, uint16_t length, uint16_t frequency)
{
    struct qxl_command *c = calloc(1, sizeof *c);
    c->u.cursor.type = QXL_CURSOR_TRAIL;
    c->u.cursor.u.trail.length = length;
    c->u.cursor.u.trail.frequency = frequency;
    return push(q, c, QXL_CMD_CURSOR, true);
}

void qxl_write_off(struct qxl *q)
{
    pthread_mutex_lock(&q->lock);
    q->live = (int)(q->tail - q->head) + (int)(q->cursor_tail - q->cursor_head);
    pthread_mutex_unlock(&q->lock);
}

int qxl_count(struct qxl *q, const int *counter)
{
    pthread_mutex_lock(&q->lock);
    int n = *counter;
    pthread_mutex_unlock(&q->lock);
    return n;
}

struct goal {
    struct qxl *q;
    const int *counter;
    int n;
    uint64_t cookie;
};

static bool counted(void *opaque)
{
    struct goal *g = opaque;
    return qxl_count(g->q, g->counter) >= g->n;
}

bool qxl_wait(struct qxl *q, const int *counter, int n)
{
    return host_run_until(counted, &(struct goal){ .q = q, .counter = counter, .n = n },
                          HOST_DEADLINE_MS);
}

int qxl_completed(struct qxl *q, uint64_t cookie)
{
    int n = 0;
    pthread_mutex_lock(&q->lock);
    for (int i = 0; i < q->n_cookies; i++)
        n += q->cookies[i] == cookie;
    pthread_mutex_unlock(&q->lock);
    return n;
}

static bool completed(void *opaque)
{
    struct goal *g = opaque;
    return qxl_completed(g->q, g->cookie) > 0;
}

bool qxl_wait_cookie(struct qxl *q, uint64_t cookie)
{
    return host_run_until(completed, &(struct goal){ .q = q, .cookie = cookie }, HOST_DEADLINE_MS);
}
