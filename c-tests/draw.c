/* SPDX-License-Identifier: LGPL-2.1-or-later */
#include "draw.h"

#include "tap.h"

#include <stdlib.h>
#include <string.h>

static int bits_of(uint32_t format)
{
    return format == SPICE_SURFACE_FMT_32_ARGB ? 32 : format == SPICE_SURFACE_FMT_16_565 ? 16 : (int)format;
}

static struct surface new_surface(uint32_t format, int width, int height)
{
    int stride = (width * bits_of(format) + 31) / 32 * 4;
    return (struct surface){ .width = width, .height = height, .stride = stride,
                             .format = format, .pixels = calloc((size_t)height, (size_t)stride) };
}

static void begin(struct painter *p, uint32_t format, int width, int height, int stride_sign)
{
    qxl_prepare(&p->q, 0);
    qxl_add(&p->q, p->r.server);
    p->arena = malloc(ARENA);
    p->seed = 0x2545f491;
    p->digest = 0xcbf29ce484222325;
    p->surface[0] = new_surface(format, width, height);
    QXLDevSurfaceCreate create = { .width = (uint32_t)width, .height = (uint32_t)height,
                                   .stride = stride_sign * p->surface[0].stride,
                                   .format = format, .mouse_mode = 1,
                                   .mem = (uintptr_t)p->surface[0].pixels };
    spice_qxl_create_primary_surface(&p->q.sin, 0, &create);
    spice_server_vm_start(p->r.server);
    const char *directory = getenv("DRAW_DUMP");
    if (directory) {
        char path[512];
        snprintf(path, sizeof path, "%s/%s", directory, tap_current());
        p->dump = fopen(path, "wb");
        EXPECT(p->dump);
    }
    painter_noise(p, 0);
}

void painter_open(struct painter *p, uint32_t format, int width, int height, int stride_sign)
{
    memset(p, 0, sizeof *p);
    rig_open(&p->r);
    begin(p, format, width, height, stride_sign);
}

void painter_open_tcp(struct painter *p, uint32_t format, int width, int height)
{
    memset(p, 0, sizeof *p);
    rig_open_tcp(&p->r);
    begin(p, format, width, height, 1);
}

void painter_close(struct painter *p)
{
    if (p->dump)
        fclose(p->dump);
    p->dump = NULL;
    tap_result("%016llx", (unsigned long long)p->digest);
    for (int i = 1; i < SURFACES; i++)
        if (p->surface[i].pixels)
            painter_destroy(p, i);
    spice_server_vm_stop(p->r.server);
    EXPECT_EQ(qxl_count(&p->q, &p->q.released), qxl_count(&p->q, &p->q.fetched));
    spice_qxl_destroy_primary_surface(&p->q.sin, 0);
    qxl_remove(&p->q);
    rig_close(&p->r);
    free(p->surface[0].pixels);
    free(p->arena);
}

void painter_surface(struct painter *p, int id, uint32_t format, int width, int height)
{
    p->surface[id] = new_surface(format, width, height);
    QXLSurfaceCmd command = { .surface_id = (uint32_t)id, .type = QXL_SURFACE_CMD_CREATE };
    command.u.surface_create.format = format;
    command.u.surface_create.width = (uint32_t)width;
    command.u.surface_create.height = (uint32_t)height;
    command.u.surface_create.stride = p->surface[id].stride;
    command.u.surface_create.data = (uintptr_t)p->surface[id].pixels;
    EXPECT(qxl_push_surface(&p->q, &command));
    painter_update(p, (uint32_t)0, NULL, 0, 1);
    painter_noise(p, id);
}

void painter_destroy(struct painter *p, int id)
{
    QXLSurfaceCmd command = { .surface_id = (uint32_t)id, .type = QXL_SURFACE_CMD_DESTROY };
    EXPECT(qxl_push_surface(&p->q, &command));
    painter_update(p, 0, NULL, 0, 1);
    free(p->surface[id].pixels);
    p->surface[id].pixels = NULL;
}

uint32_t rnd(struct painter *p)
{
    p->seed ^= p->seed << 13;
    p->seed ^= p->seed >> 17;
    p->seed ^= p->seed << 5;
    return p->seed;
}

int between(struct painter *p, int from, int to)
{
    return from + (int)(rnd(p) % (uint32_t)(to - from + 1));
}

static void noise(struct painter *p, uint8_t *bytes, size_t size)
{
    for (size_t i = 0; i < size; i++)
        bytes[i] = (uint8_t)(rnd(p) >> 8);
}

void painter_noise(struct painter *p, int id)
{
    struct surface *s = &p->surface[id];
    noise(p, s->pixels, (size_t)s->height * (size_t)s->stride);
    /* colours multiplied by alpha are never more than that */
    if (s->format == SPICE_SURFACE_FMT_32_ARGB)
        for (int i = 0; i < s->height * s->stride; i += 4)
            for (int c = 0; c < 3; c++)
                s->pixels[i + c] = (uint8_t)(s->pixels[i + c] * s->pixels[i + 3] / 255);
}

void *guest_alloc(struct painter *p, size_t size)
{
    void *memory = p->arena + p->used;
    p->used += (size + 7) / 8 * 8;
    EXPECT(p->used <= ARENA);
    memset(memory, 0, size);
    return memory;
}

QXLDataChunk *guest_chunks(struct painter *p, const void *data, size_t size, size_t piece)
{
    QXLDataChunk *first = NULL, *last = NULL;
    for (size_t at = 0; at < size || !first; at += piece) {
        size_t now = size - at < piece ? size - at : piece;
        QXLDataChunk *chunk = guest_alloc(p, sizeof *chunk + now);
        chunk->data_size = (uint32_t)now;
        memcpy(chunk->data, (const uint8_t *)data + at, now);
        chunk->prev_chunk = (uintptr_t)last;
        if (last)
            last->next_chunk = (uintptr_t)chunk;
        else
            first = chunk;
        last = chunk;
    }
    return first;
}

QXLImage *guest_bitmap(struct painter *p, int format, int width, int height, unsigned flags)
{
    static const int bits[] = { 0, 1, 1, 4, 4, 8, 16, 24, 32, 32, 8 };
    static const int colours[] = { 0, 2, 2, 16, 16, 256 };
    static uint32_t unique;
    QXLImage *image = guest_alloc(p, sizeof *image);
    int line = (width * bits[format] + 7) / 8;
    int stride = format == SPICE_BITMAP_FMT_32BIT ? line : (line + 3) / 4 * 4 + between(p, 0, 1) * 4;
    size_t size = (size_t)stride * (size_t)height;
    QXL_SET_IMAGE_ID(image, QXL_IMAGE_GROUP_DEVICE, ++unique);
    image->descriptor.type = SPICE_IMAGE_TYPE_BITMAP;
    image->descriptor.width = (uint32_t)width;
    image->descriptor.height = (uint32_t)height;
    image->bitmap.format = (uint8_t)format;
    image->bitmap.flags = (uint8_t)flags;
    image->bitmap.x = (uint32_t)width;
    image->bitmap.y = (uint32_t)height;
    image->bitmap.stride = (uint32_t)stride;
    uint8_t *data = guest_alloc(p, size);
    noise(p, data, size);
    if (format == SPICE_BITMAP_FMT_RGBA)
        for (size_t i = 0; i < size; i += 4)
            for (int c = 0; c < 3; c++)
                data[i + (size_t)c] = (uint8_t)(data[i + (size_t)c] * data[i + 3] / 255);
    if (flags & QXL_BITMAP_DIRECT)
        image->bitmap.data = (uintptr_t)data;
    else
        image->bitmap.data = (uintptr_t)guest_chunks(p, data, size, (size_t)between(p, 1, 300));
    if (format <= SPICE_BITMAP_FMT_8BIT) {
        QXLPalette *palette = guest_alloc(p, sizeof *palette + 4 * (size_t)colours[format]);
        palette->num_ents = (uint16_t)colours[format];
        for (int i = 0; i < colours[format]; i++)
            palette->ents[i] = rnd(p);
        image->bitmap.palette = (uintptr_t)palette;
    }
    return image;
}

QXLImage *guest_surface_image(struct painter *p, uint32_t id)
{
    QXLImage *image = guest_alloc(p, sizeof *image);
    image->descriptor.type = SPICE_IMAGE_TYPE_SURFACE;
    image->descriptor.width = (uint32_t)p->surface[id].width;
    image->descriptor.height = (uint32_t)p->surface[id].height;
    image->surface_image.surface_id = id;
    return image;
}

size_t quic_file(const char *name, uint8_t *data)
{
    char path[512];
    snprintf(path, sizeof path, QUIC_IMAGES "/%s.quic", name);
    FILE *file = fopen(path, "rb");
    EXPECT_MSG(file, "%s", path);
    size_t size = fread(data, 1, QUIC_LARGEST, file);
    fclose(file);
    return size;
}

QXLImage *guest_quic(struct painter *p, const uint8_t *data, size_t size, int width, int height)
{
    size_t piece = 400, first = size < piece ? size : piece;
    QXLImage *image = guest_alloc(p, sizeof *image + sizeof(QXLDataChunk) + piece);
    image->descriptor.type = SPICE_IMAGE_TYPE_QUIC;
    image->descriptor.width = (uint32_t)width;
    image->descriptor.height = (uint32_t)height;
    image->quic.data_size = (uint32_t)size;
    QXLDataChunk *chunk = (QXLDataChunk *)image->quic.data;
    chunk->data_size = (uint32_t)first;
    memcpy(chunk->data, data, first);
    if (size > first)
        chunk->next_chunk = (uintptr_t)guest_chunks(p, data + first, size - first, piece);
    return image;
}

QXLDrawable guest_drawable(struct painter *p, uint32_t surface, int type)
{
    QXLDrawable d = { .surface_id = surface, .type = (uint8_t)type,
                      .effect = QXL_EFFECT_BLEND };
    d.bbox.right = p->surface[surface].width;
    d.bbox.bottom = p->surface[surface].height;
    d.clip.type = SPICE_CLIP_TYPE_NONE;
    d.surfaces_dest[0] = d.surfaces_dest[1] = d.surfaces_dest[2] = -1;
    return d;
}

QXLRect guest_rect(struct painter *p, const struct surface *s)
{
    QXLRect r;
    r.left = between(p, 0, s->width - 1);
    r.right = between(p, r.left + 1, s->width);
    r.top = between(p, 0, s->height - 1);
    r.bottom = between(p, r.top + 1, s->height);
    return r;
}

void guest_clip(struct painter *p, QXLDrawable *d, int count)
{
    size_t size = (size_t)count * sizeof(QXLRect);
    QXLRect rects[64];
    for (int i = 0; i < count; i++)
        rects[i] = guest_rect(p, &p->surface[d->surface_id]);
    QXLDataChunk *rest = guest_chunks(p, rects, size, 40);
    QXLClipRects *clip = guest_alloc(p, sizeof *clip + 40);
    clip->num_rects = (uint32_t)count;
    clip->chunk = *rest;
    memcpy(clip->chunk.data, rest->data, rest->data_size);
    d->clip.type = SPICE_CLIP_TYPE_RECTS;
    d->clip.data = (uintptr_t)clip;
}

void painter_update(struct painter *p, uint32_t id, QXLRect *dirty, uint32_t count, int clear)
{
    QXLRect area = { .right = p->surface[id].width, .bottom = p->surface[id].height };
    spice_qxl_update_area(&p->q.sin, id, &area, dirty, count, (uint32_t)clear);
}

void painter_look(struct painter *p, uint32_t id, uint32_t mask)
{
    struct surface *s = &p->surface[id];
    int bytes = (s->width * bits_of(s->format) + 7) / 8;
    for (int y = 0; y < s->height; y++)
        for (int i = 0; i < bytes; i++) {
            uint8_t byte = s->pixels[y * s->stride + i] & (uint8_t)(mask >> i % 4 * 8);
            p->digest = (p->digest ^ byte) * 0x100000001b3;
            if (p->dump)
                fputc(byte, p->dump);
        }
}

void painter_draw(struct painter *p, const QXLDrawable *d, uint32_t mask)
{
    QXLRect dirty;
    EXPECT(qxl_push_drawable(&p->q, d));
    painter_update(p, d->surface_id, &dirty, 1, 1);
    painter_look(p, d->surface_id, mask);
    p->used = 0;
    p->drawn++;
}
