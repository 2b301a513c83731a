"""What clients see of a graphics device: spicy-screenshot's picture beside the machine's
own, for each compression, each card, and after what happens to a session."""

import base64
import os
import subprocess

from lib.bench import check
from lib.browser import Browser, WebServer
from lib.devices import SPICE_TCP
from lib.slow_path import SlowPath
from lib.waiting import wait_until

COMPRESSIONS = ["off", "lz", "auto_lz", "quic", "glz", "auto_glz"]
CARDS = ["std", "virtio", "qxl"]

# A cursor that blinks would be a reason for two pictures to differ.
FILL = ("printf '\\033[?25l\\033[2J' >/dev/tty0; "
        "for i in $(seq {lines}); do echo \"{words} $i\" >/dev/tty0; done")


def start(bench, card, spice="", own=True):
    words = ["-M", "pc", "-vga", card, SPICE_TCP[0], SPICE_TCP[1] + spice]
    vm = (bench.own_vm if own else bench.qemu)(words, boot=True)
    vm.guest.wait_boot()
    write(vm, "first words on the screen")
    return vm


def start_vm(bench):
    return start(bench, "std", own=False)


def write(vm, words, lines=20):
    vm.guest.sh(FILL.format(words=words, lines=lines))


def picture(path):
    """Width, height and the pixels of a PPM file."""
    kind, size, depth, pixels = path.read_bytes().split(b"\n", 3)
    assert (kind, depth) == (b"P6", b"255"), (kind, depth)
    width, height = map(int, size.split())
    assert len(pixels) == width * height * 3
    return width, height, pixels


def screendump(bench, vm, name="dump"):
    path = bench.logs / f"{name}.ppm"
    vm.qmp.command("screendump", filename=str(path))
    return picture(path)


def screenshot(bench, vm, name="shot"):
    path = bench.logs / f"{name}.ppm"
    path.unlink(missing_ok=True)
    subprocess.run(["spicy-screenshot", f"--uri=spice://127.0.0.1:{vm.port}", "-o", path],
                   check=True, timeout=60, capture_output=True,
                   env=dict(os.environ, HOME=str(bench.logs), XDG_CACHE_HOME=str(bench.logs)))
    return picture(path)


def check_same(bench, vm, name):
    """A client that comes now sees what the machine shows. What is drawn in between, and
    a device that has not told of it yet, are other pictures: so it may try again."""
    def same():
        shot, dump = screenshot(bench, vm, f"{name}-shot"), screendump(bench, vm, f"{name}-dump")
        return shot if shot == dump else None

    shot = wait_until(same, 30, f"the same picture in {name}-shot.ppm and {name}-dump.ppm")
    assert len(set(shot[2])) > 1, "nothing is on the screen"
    return shot[:2]


@check
def text_console(bench):
    bench.observe("size", check_same(bench, bench.vm, "text"))
    write(bench.vm, "other words", 40)
    check_same(bench, bench.vm, "again")


@check
def every_card(bench):
    for card in CARDS:
        vm = start(bench, card)
        bench.observe(card, check_same(bench, vm, card))
        bench.quit_cleanly(vm)


def connect(bench, port):
    client = bench.client()
    client.open(port=port, connect=["display"], opened="display:0")
    return client


def check_shown(bench, vm, client, name, seconds=30):
    """A client that stays comes to show what the machine shows."""
    path = bench.logs / f"{name}-client.ppm"

    def same():
        saved = client.command("picture", channel="display:0", path=str(path))["saved"]
        dump = screendump(bench, vm, f"{name}-dump")
        return dump if saved and picture(path) == dump else None

    return wait_until(same, seconds, f"the same picture in {name}-client.ppm and "
                                     f"{name}-dump.ppm")[:2]


@check
def a_client_that_stays(bench):
    vm = bench.vm
    client = connect(bench, vm.port)
    for number in range(3):
        write(vm, f"picture {number}", 10 + 8 * number)
        check_shown(bench, vm, client, f"stays{number}")
    mark = vm.qmp.events.mark()
    vm.qmp.command("system_reset")
    vm.qmp.wait_event("RESET", mark=mark)
    vm.guest.wait_boot()
    write(vm, "after the reset")
    check_shown(bench, vm, client, "reset")
    for command in ("stop", "cont"):
        vm.qmp.command(command)
    write(vm, "after it was stopped")
    check_shown(bench, vm, client, "stopped")
    client.close()
    check_same(bench, vm, "reconnected")


@check
def other_resolutions(bench):
    """The kernel's driver for the card takes it to another mode, and the client stays."""
    vm = start(bench, "qxl")
    client = connect(bench, vm.port)
    before = check_shown(bench, vm, client, "text")
    vm.guest.sh("load qxl; ls /dev/fb0")
    write(vm, "drawn by the driver", 60)
    after = check_shown(bench, vm, client, "driver")
    assert after != before, "the resolution is the same"
    bench.observe("sizes", (before, after))
    client.close()
    check_same(bench, vm, "late")
    bench.quit_cleanly(vm)


@check
def two_clients_at_once(bench):
    os.environ["SPICE_DEBUG_ALLOW_MC"] = "1"
    try:
        vm = start(bench, "std")
    finally:
        del os.environ["SPICE_DEBUG_ALLOW_MC"]
    bench.expect_stderr("SPICE_DEBUG_ALLOW_MC|multiple client connections")
    first, second = connect(bench, vm.port), connect(bench, vm.port)
    for number in range(3):
        write(vm, f"for both {number}", 30)
        check_shown(bench, vm, first, "first")
        check_shown(bench, vm, second, "second")
    first.kill()
    write(vm, "for one", 30)
    check_shown(bench, vm, second, "alone")
    second.close()
    bench.quit_cleanly(vm)


@check
def a_slow_client_sees_the_newest_picture(bench):
    """200 Kbit/s, and the guest fills its screen with noise all the time."""
    vm = bench.vm
    with SlowPath(vm.port, 25_000) as path:
        client = connect(bench, path.port)
        vm.guest.sh("for i in $(seq 100); do head -c 1500 /dev/urandom | base64 >/dev/tty0; "
                    "done", 60)
        write(vm, "the end")
        check_shown(bench, vm, client, "slow", 90)
        client.close()


# What a page shows, as the pixels of a PPM file.
READ_BACK = """(() => {
    const canvas = document.querySelector('#spice-screen canvas');
    if (!canvas) return null;
    const data = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
    let text = '';
    for (let at = 0; at < data.length; at += 4)
        text += String.fromCharCode(data[at], data[at + 1], data[at + 2]);
    return [canvas.width, canvas.height, btoa(text)];
})()"""


@check
def in_a_browser(bench):
    """spice-html5's canvas; its picture stays among the logs."""
    vm = bench.vm
    write(vm, "for a page", 24)
    server, browser = WebServer(), Browser(bench.logs, "display")

    def same():
        shown = browser.value(READ_BACK)
        if not shown:
            return None
        width, height, pixels = shown
        return (width, height, base64.b64decode(pixels)) == screendump(bench, vm, "page-dump")

    try:
        browser.open(f"{server.origin}/spice_auto.html?host=127.0.0.1&port={vm.port}")
        wait_until(same, 30, "the machine's picture in the page")
        write(vm, "something else for the page", 35)
        wait_until(same, 30, "the next picture in the page")
    finally:
        browser.screenshot(bench.logs / "display.png")
        browser.stop()
        server.close()
    wait_until(lambda: not vm.qmp.command("query-spice")["channels"], 10, "no more channels")


@check
def every_compression(bench):
    for compression in COMPRESSIONS:
        vm = start(bench, "std", f",image-compression={compression}")
        check_same(bench, vm, compression)
        bench.quit_cleanly(vm)
