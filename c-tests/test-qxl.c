/* SPDX-License-Identifier: LGPL-2.1-or-later */
/*
 * QXL devices: everything a host does with its displays is accepted, finished
 * and given back exactly once.  Pictures are not looked at here.
 */
#define _GNU_SOURCE
#include "devices.h"
#include "differences.h"
#include "rig.h"

#include <dlfcn.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <unistd.h>

struct bench {
    struct rig r;
    struct qxl q;
};

/** A server with one QXL device and its host memory slot; not started. */
static void open_bench(struct bench *b)
{
    rig_open(&b->r);
    qxl_prepare(&b->q, 0);
    qxl_add(&b->q, b->r.server);
}

static void close_bench(struct bench *b)
{
    qxl_remove(&b->q);
    rig_close(&b->r);
}

/** With a primary surface of 64×64 and the VM running. */
static void open_running(struct bench *b)
{
    open_bench(b);
    qxl_create_primary(&b->q, 64, 64);
    spice_server_vm_start(b->r.server);
}

static void close_running(struct bench *b)
{
    spice_server_vm_stop(b->r.server);
    EXPECT_EQ(qxl_count(&b->q, &b->q.released), qxl_count(&b->q, &b->q.fetched));
    spice_qxl_destroy_primary_surface(&b->q.sin, 0);
    close_bench(b);
}

/** Everything on the rings has been fetched. */
static void wait_drained(struct bench *b, int commands)
{
    EXPECT_MSG(qxl_wait(&b->q, &b->q.fetched, commands), "%d of %d commands are fetched",
               qxl_count(&b->q, &b->q.fetched), commands);
}

static void added_and_removed(void)
{
    struct bench b;
    open_bench(&b);
    EXPECT(b.q.init_infos >= 1);
    EXPECT_EQ(b.q.attached, 1);
    EXPECT_EQ(b.q.compression_levels, 1);
    EXPECT(b.q.sin.st != NULL);
    EXPECT_EQ(spice_server_remove_interface(&b.q.sin.base), 0);
    b.q.added = false;
    qxl_remove(&b.q);
    /* the id is free again */
    qxl_prepare(&b.q, 0);
    qxl_add(&b.q, b.r.server);
    close_bench(&b);
}

static void refused_devices(void)
{
    struct bench b;
    struct qxl other;
    open_bench(&b);
    qxl_prepare(&other, 0);
    EXPECT_EQ(spice_server_add_interface(b.r.server, &other.sin.base), -1);
    other.sin.id = -1;
    EXPECT_EQ(spice_server_add_interface(b.r.server, &other.sin.base), -1);
    QXLInterface wrong = *(const QXLInterface *)other.sin.base.sif;
    other.sin.id = 1;
    other.sin.base.sif = &wrong.base;
    wrong.base.minor_version = SPICE_INTERFACE_QXL_MINOR + 1;
    EXPECT_EQ(spice_server_add_interface(b.r.server, &other.sin.base), -1);
    wrong.base.minor_version = 0;
    wrong.base.major_version = SPICE_INTERFACE_QXL_MAJOR - 1;
    EXPECT_EQ(spice_server_add_interface(b.r.server, &other.sin.base), -1);
    EXPECT_EQ(other.attached, 0);
    close_bench(&b);
}

static void several_devices(void)
{
    struct rig r;
    struct qxl q[3];
    rig_open(&r);
    for (int i = 0; i < 3; i++) {
        qxl_prepare(&q[i], i);
        qxl_add(&q[i], r.server);
        qxl_create_primary(&q[i], 32, 32);
    }
    spice_server_vm_start(r.server);
    for (int n = 0; n < 20; n++)
        for (int i = 0; i < 3; i++)
            EXPECT(qxl_draw(&q[i], 0, 0, 32, 32));
    for (int i = 0; i < 3; i++)
        EXPECT(qxl_wait(&q[i], &q[i].fetched, 20));
    spice_server_vm_stop(r.server);
    for (int i = 0; i < 3; i++) {
        EXPECT_EQ(qxl_count(&q[i], &q[i].released), 20);
        spice_qxl_destroy_primary_surface(&q[i].sin, 0);
        qxl_remove(&q[i]);
    }
    rig_close(&r);
}

/* Since 0.15.1 a device added to a running server waits for the first start. */
static void rings_are_read_after_start(void)
{
    struct bench b;
    open_bench(&b);
    qxl_create_primary(&b.q, 64, 64);
    for (int i = 0; i < 10; i++)
        EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    EXPECT(qxl_cursor(&b.q, QXL_CURSOR_MOVE, 1, 1));
    host_run_for(50);
    EXPECT_EQ(qxl_count(&b.q, &b.q.fetched), 0);
    spice_server_vm_start(b.r.server);
    wait_drained(&b, 11);
    close_running(&b);
}

static void started_and_stopped_alone(void)
{
    struct bench b;
    open_bench(&b);
    qxl_create_primary(&b.q, 64, 64);
    spice_qxl_start(&b.q.sin);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    wait_drained(&b, 1);
    spice_qxl_stop(&b.q.sin);
    EXPECT_EQ(qxl_count(&b.q, &b.q.released), 1);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    host_run_for(50);
    EXPECT_EQ(qxl_count(&b.q, &b.q.fetched), 1);
    spice_qxl_start(&b.q.sin);
    wait_drained(&b, 2);
    close_running(&b);
}

static void five_hundred_commands(void)
{
    struct bench b;
    open_running(&b);
    for (int i = 0; i < 500; i++) {
        while (!qxl_draw(&b.q, i % 32, i % 16, i % 32 + 32, i % 16 + 32))
            host_turn(10);
        if (i % 10 == 0)
            while (!qxl_cursor(&b.q, QXL_CURSOR_MOVE, i, i))
                host_turn(10);
    }
    wait_drained(&b, 550);
    close_running(&b);
    EXPECT_EQ(b.q.twice, 0);
}

static void notification_is_asked_for(void)
{
    struct bench b;
    open_running(&b);
    for (int i = 1; i <= 5; i++) {
        EXPECT(qxl_draw(&b.q, 0, 0, 8, 8));
        wait_drained(&b, i);
        EXPECT(qxl_wait(&b.q, &b.q.notified, i));
    }
    close_running(&b);
}

static void start_and_stop_fifty_times(void)
{
    struct bench b;
    open_bench(&b);
    qxl_create_primary(&b.q, 64, 64);
    for (int i = 0; i < 50; i++) {
        spice_server_vm_start(b.r.server);
        EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
        EXPECT(qxl_draw(&b.q, 8, 8, 16, 16));
        wait_drained(&b, 2 * i + 2);
        spice_server_vm_stop(b.r.server);
        EXPECT_EQ(qxl_count(&b.q, &b.q.released), 2 * i + 2);
    }
    spice_qxl_destroy_primary_surface(&b.q.sin, 0);
    close_bench(&b);
}

static void commands_without_primary_are_released(void)
{
    struct bench b;
    open_bench(&b);
    spice_server_vm_start(b.r.server);
    for (int i = 0; i < 5; i++)
        EXPECT(qxl_draw(&b.q, 0, 0, 8, 8));
    wait_drained(&b, 5);
    spice_server_vm_stop(b.r.server);
    EXPECT_EQ(qxl_count(&b.q, &b.q.released), 5);
    close_bench(&b);
}

static void commands_outside_the_surface_are_released(void)
{
    struct bench b;
    open_running(&b);
    EXPECT(qxl_draw(&b.q, -10, -10, 10, 10));
    EXPECT(qxl_draw(&b.q, 60, 60, 100, 100));
    EXPECT(qxl_draw(&b.q, 10, 10, 20, 20));
    wait_drained(&b, 3);
    close_running(&b);
}

/* What an unknown command points to is unknown too, so nothing can be given
 * back; what comes after it is served. */
static void unknown_commands_are_passed_over(void)
{
    struct bench b;
    open_running(&b);
    EXPECT(qxl_push_raw(&b.q, 0, 0));
    EXPECT(qxl_push_raw(&b.q, 77, 0));
    EXPECT(qxl_push_raw(&b.q, 0xffffffff, 0));
    EXPECT(qxl_draw(&b.q, 0, 0, 8, 8));
    wait_drained(&b, 4);
    spice_server_vm_stop(b.r.server);
    EXPECT(qxl_count(&b.q, &b.q.released) >= 1);
    qxl_write_off(&b.q);
    close_bench(&b);
}

static void message_and_update_commands(void)
{
    struct bench b;
    open_running(&b);
    EXPECT(qxl_push_raw(&b.q, QXL_CMD_UPDATE, 0));
    EXPECT(qxl_wait(&b.q, &b.q.updates, 1));
    EXPECT_EQ(qxl_count(&b.q, &b.q.updates), 1);
    EXPECT(qxl_push_raw(&b.q, QXL_CMD_MESSAGE, 0));
    wait_drained(&b, 2);
    close_running(&b);
}

static void primary_again_and_again(void)
{
    struct bench b;
    open_bench(&b);
    spice_server_vm_start(b.r.server);
    for (uint32_t i = 1; i <= 20; i++) {
        qxl_create_primary(&b.q, 16 * i, 8 * i);
        EXPECT(qxl_draw(&b.q, 0, 0, 16, 8));
        wait_drained(&b, (int)i);
        spice_qxl_destroy_primary_surface(&b.q.sin, 0);
        /* nothing may hold on to a command of the surface that is gone */
        EXPECT_EQ(qxl_count(&b.q, &b.q.released), (int)i);
    }
    spice_server_vm_stop(b.r.server);
    close_bench(&b);
}

static void async_requests_complete_once(void)
{
    struct bench b;
    QXLRect area = { .right = 32, .bottom = 32 };
    QXLDevMemSlot slot = { .slot_group_id = 1, .slot_id = 1, .virt_start = 0x1000,
                           .virt_end = 0x2000 };
    open_bench(&b);
    QXLInstance *q = &b.q.sin;
    spice_server_vm_start(b.r.server);
    uint64_t cookie = 0x1122334455667700;
    spice_qxl_add_memslot_async(q, &slot, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    QXLDevSurfaceCreate surface = qxl_surface(&b.q, 64, 64);
    spice_qxl_create_primary_surface_async(q, 0, &surface, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    spice_qxl_flush_surfaces_async(q, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    spice_qxl_update_area_async(q, 0, &area, 1, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    EXPECT_EQ(qxl_count(&b.q, &b.q.area_updates), 1);
    spice_qxl_destroy_primary_surface_async(q, 0, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    spice_qxl_destroy_surface_async(q, 5, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    spice_qxl_destroy_surfaces_async(q, ++cookie);
    EXPECT(qxl_wait_cookie(&b.q, cookie));
    host_run_for(20);
    for (uint64_t c = 0x1122334455667701; c <= cookie; c++)
        EXPECT_MSG(qxl_completed(&b.q, c) == 1, "request %d completes %d times",
                   (int)(c & 0xff), qxl_completed(&b.q, c));
    EXPECT_EQ(b.q.n_cookies, 7);
    spice_server_vm_stop(b.r.server);
    close_bench(&b);
}

static void async_requests_in_a_burst(void)
{
    struct bench b;
    open_running(&b);
    for (uint64_t i = 0; i < 60; i++)
        spice_qxl_flush_surfaces_async(&b.q.sin, 1000 + i);
    EXPECT(qxl_wait(&b.q, &b.q.n_cookies, 60));
    for (int i = 0; i < 60; i++)
        EXPECT_EQ(b.q.cookies[i], 1000 + i); /* in order */
    close_running(&b);
}

static void async_requests_while_stopped(void)
{
    struct bench b;
    open_bench(&b);
    QXLDevSurfaceCreate surface = qxl_surface(&b.q, 64, 64);
    spice_qxl_create_primary_surface_async(&b.q.sin, 0, &surface, 1);
    EXPECT(qxl_wait_cookie(&b.q, 1));
    spice_qxl_destroy_primary_surface_async(&b.q.sin, 0, 2);
    EXPECT(qxl_wait_cookie(&b.q, 2));
    EXPECT_EQ(b.q.n_cookies, 2);
    close_bench(&b);
}

static void monitors_config(void)
{
    static struct {
        QXLMonitorsConfig config;
        QXLHead head;
    } one;
    struct bench b;
    open_running(&b);
    one.config.count = 1;
    one.config.max_allowed = 1;
    one.head.width = 64;
    one.head.height = 64;
    spice_qxl_set_max_monitors(&b.q.sin, 4);
    spice_qxl_monitors_config_async(&b.q.sin, (uintptr_t)&one, 0, 11);
    EXPECT(qxl_wait_cookie(&b.q, 11));
    /* refused ones complete as well */
    one.config.count = 0;
    spice_qxl_monitors_config_async(&b.q.sin, (uintptr_t)&one, 0, 12);
    EXPECT(qxl_wait_cookie(&b.q, 12));
    one.config.count = 2;
    spice_qxl_monitors_config_async(&b.q.sin, (uintptr_t)&one, 0, 13);
    EXPECT(qxl_wait_cookie(&b.q, 13));
    EXPECT_EQ(b.q.n_cookies, 3);
    spice_qxl_driver_unload(&b.q.sin);
    spice_qxl_set_device_info(&b.q.sin, "pci/0000/02.0", 0, 1);
    close_running(&b);
}

static void update_area(void)
{
    struct bench b;
    QXLRect area = { .right = 64, .bottom = 64 }, dirty[8];
    open_running(&b);
    memset(dirty, 0x7f, sizeof dirty);
    EXPECT(qxl_draw(&b.q, 0, 0, 16, 16));
    spice_qxl_update_area(&b.q.sin, 0, &area, dirty, 8, 1);
    /* it has taken everything from the ring, and says which entries are unused */
    EXPECT_EQ(qxl_count(&b.q, &b.q.fetched), 1);
    for (int i = 1; i < 8; i++)
        EXPECT(dirty[i].left == 0 && dirty[i].top == 0 && dirty[i].right == 0 &&
               dirty[i].bottom == 0);
    EXPECT_EQ(qxl_count(&b.q, &b.q.area_updates), 0);
    close_running(&b);
}

static void resets_and_oom(void)
{
    struct bench b;
    open_running(&b);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    wait_drained(&b, 1);
    spice_qxl_reset_cursor(&b.q.sin);
    spice_qxl_reset_image_cache(&b.q.sin);
    int flushes = qxl_count(&b.q, &b.q.flushes);
    spice_qxl_oom(&b.q.sin);
    EXPECT(qxl_wait(&b.q, &b.q.flushes, flushes + 1));
    spice_qxl_loadvm_commands(&b.q.sin, NULL, 0);
    spice_qxl_destroy_surface_wait(&b.q.sin, 0);
    EXPECT_EQ(qxl_count(&b.q, &b.q.released), 1);
    qxl_create_primary(&b.q, 64, 64);
    spice_qxl_destroy_surfaces(&b.q.sin);
    spice_qxl_del_memslot(&b.q.sin, 0, 0);
    spice_qxl_reset_memslots(&b.q.sin);
    qxl_add_host_slot(&b.q);
    qxl_create_primary(&b.q, 64, 64);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    wait_drained(&b, 2);
    close_running(&b);
}

static void wakeups_in_any_number(void)
{
    struct bench b;
    open_bench(&b);
    for (int i = 0; i < 1000; i++)
        spice_qxl_wakeup(&b.q.sin);
    spice_server_vm_start(b.r.server);
    for (int i = 0; i < 1000; i++)
        spice_qxl_wakeup(&b.q.sin);
    qxl_create_primary(&b.q, 64, 64);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    wait_drained(&b, 1);
    close_running(&b);
}

static void removed_while_running(void)
{
    struct bench b;
    open_running(&b);
    for (int i = 0; i < 30; i++)
        EXPECT(qxl_draw(&b.q, i, i, i + 8, i + 8));
    close_bench(&b);
}

static void removed_at_any_moment(void)
{
    struct rig r;
    rig_open(&r);
    spice_server_vm_start(r.server);
    for (int i = 0; i < 20; i++) {
        struct qxl q;
        qxl_prepare(&q, i % 3);
        qxl_add(&q, r.server);
        if (i % 2)
            qxl_create_primary(&q, 64, 64);
        spice_qxl_start(&q.sin);
        for (int n = 0; n < i; n++)
            qxl_draw(&q, 0, 0, 8, 8);
        qxl_remove(&q);
    }
    rig_close(&r);
}

/* QEMU keeps its qxl device when it destroys the server. */
static void destroyed_with_devices(void)
{
    struct bench b;
    open_running(&b);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    wait_drained(&b, 1);
    spice_server_vm_stop(b.r.server);
    rig_close(&b.r);
    b.q.added = false;
    b.q.removed = true;
    host_run_for(20);
    EXPECT_MSG(!host_violation(), "%s", host_violation());
    qxl_remove(&b.q);
}

static void *vcpu(void *opaque)
{
    struct bench *b = opaque;
    for (int i = 0; i < 20; i++) {
        qxl_create_primary(&b->q, 64, 64);
        while (!qxl_draw(&b->q, 0, 0, 64, 64))
            usleep(1000);
        spice_qxl_flush_surfaces_async(&b->q.sin, 100 + (uint64_t)i);
        spice_qxl_destroy_primary_surface(&b->q.sin, 0);
    }
    return NULL;
}

/* QEMU's vCPU threads call in as well, while the main thread runs its loop. */
static void called_from_another_thread(void)
{
    struct bench b;
    pthread_t thread;
    open_bench(&b);
    spice_server_vm_start(b.r.server);
    EXPECT_EQ(pthread_create(&thread, NULL, vcpu, &b), 0);
    EXPECT(qxl_wait_cookie(&b.q, 119));
    pthread_join(thread, NULL);
    EXPECT_EQ(qxl_count(&b.q, &b.q.n_cookies), 20);
    spice_server_vm_stop(b.r.server);
    EXPECT_EQ(qxl_count(&b.q, &b.q.released), 20);
    close_bench(&b);
}

static int memory_fd(void)
{
    int fd = memfd_create("scanout", MFD_CLOEXEC);
    EXPECT(fd >= 0);
    return fd;
}

static bool is_open(int fd)
{
    return fcntl(fd, F_GETFD) >= 0;
}

static void gl_scanout(void)
{
    struct bench b;
    open_running(&b);
    /* without a scanout a draw completes at once */
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 64, 21);
    EXPECT(qxl_wait_cookie(&b.q, 21));
    int first = memory_fd(), second = memory_fd();
    spice_qxl_gl_scanout(&b.q.sin, first, 64, 64, 256, 0x34325258, 1);
    EXPECT(is_open(first));
    /* nobody looks: complete */
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 64, 22);
    EXPECT(qxl_wait_cookie(&b.q, 22));
    spice_qxl_gl_scanout(&b.q.sin, second, 64, 64, 256, 0x34325258, 0);
    EXPECT(!is_open(first));
    EXPECT(is_open(second));
    spice_qxl_gl_scanout(&b.q.sin, -1, 0, 0, 0, 0, 0);
    EXPECT(!is_open(second));
    EXPECT_EQ(b.q.n_cookies, 2);
    close_running(&b);
}

typedef void scanout2(QXLInstance *, const int *, uint32_t, uint32_t, const uint32_t *,
                      const uint32_t *, uint32_t, uint32_t, uint64_t, int);

/* Level 0.16 only, hence looked up. */
static void gl_scanout2(void)
{
    struct bench b;
    scanout2 *call = (scanout2 *)dlsym(RTLD_DEFAULT, "spice_qxl_gl_scanout2");
    EXPECT_EQ(call != NULL, differs(DIFF_SCANOUT2, 1, 0));
    if (!call)
        return;
    open_running(&b);
    uint32_t offsets[4] = { 0 }, strides[4] = { 256, 256, 256, 256 };
    int fds[4] = { memory_fd(), memory_fd(), -1, memory_fd() };
    call(&b.q.sin, fds, 64, 64, offsets, strides, 4, 0x34325258, 0xffffffffffffff, 1);
    EXPECT(is_open(fds[0]) && is_open(fds[1]) && is_open(fds[3]));
    spice_qxl_gl_draw_async(&b.q.sin, 0, 0, 64, 64, 31);
    EXPECT(qxl_wait_cookie(&b.q, 31));
    /* how QEMU says "none" */
    call(&b.q.sin, NULL, 0, 0, NULL, NULL, 0, 0, 0xffffffffffffff, 0);
    EXPECT(!is_open(fds[0]) && !is_open(fds[1]) && !is_open(fds[3]));
    /* what is left is closed with the device */
    int last = memory_fd();
    call(&b.q.sin, &last, 64, 64, offsets, strides, 1, 0x34325258, 0, 1);
    EXPECT(is_open(last));
    close_running(&b);
    EXPECT(!is_open(last));
}

/* Minor 0 ends before async_complete and what follows. */
static void old_interface(void)
{
    struct bench b;
    static QXLInterface old;
    rig_open(&b.r);
    qxl_prepare(&b.q, 0);
    old = *(const QXLInterface *)b.q.sin.base.sif;
    old.base.minor_version = 0;
    old.set_client_capabilities = (void *)1;
    old.client_monitors_config = (void *)1;
    old.async_complete = (void *)1;
    old.update_area_complete = (void *)1;
    b.q.sin.base.sif = &old.base;
    qxl_add(&b.q, b.r.server);
    qxl_create_primary(&b.q, 64, 64);
    spice_server_vm_start(b.r.server);
    EXPECT(qxl_draw(&b.q, 0, 0, 64, 64));
    wait_drained(&b, 1);
    struct client c;
    rig_main(&b.r, &c);
    client_close(&c);
    close_running(&b);
}

static const struct tap_case cases[] = {
    TAP_CASE(added_and_removed),
    TAP_CASE(refused_devices),
    TAP_CASE(several_devices),
    TAP_CASE(rings_are_read_after_start),
    TAP_CASE(started_and_stopped_alone),
    TAP_CASE(five_hundred_commands),
    TAP_CASE(notification_is_asked_for),
    TAP_CASE(start_and_stop_fifty_times),
    TAP_CASE(commands_without_primary_are_released),
    TAP_CASE(commands_outside_the_surface_are_released),
    TAP_CASE(unknown_commands_are_passed_over),
    TAP_CASE(message_and_update_commands),
    TAP_CASE(primary_again_and_again),
    TAP_CASE(async_requests_complete_once),
    TAP_CASE(async_requests_in_a_burst),
    TAP_CASE(async_requests_while_stopped),
    TAP_CASE(monitors_config),
    TAP_CASE(update_area),
    TAP_CASE(resets_and_oom),
    TAP_CASE(wakeups_in_any_number),
    TAP_CASE(removed_while_running),
    TAP_CASE(removed_at_any_moment),
    TAP_CASE(destroyed_with_devices),
    TAP_CASE(called_from_another_thread),
    TAP_CASE(gl_scanout),
    TAP_CASE(gl_scanout2),
    TAP_CASE(old_interface),
};

int main(int argc, char **argv)
{
    return tap_main(argc, argv, "qxl", cases, TAP_COUNT(cases));
}
