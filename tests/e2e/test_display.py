"""What clients see of a graphics device: spicy-screenshot's picture beside the machine's
own, for each compression, each card, and after what happens to a session."""

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


@check
def every_compression(bench):
    for compression in COMPRESSIONS:
        vm = start(bench, "std", f",image-compression={compression}")
        check_same(bench, vm, compression)
        bench.quit_cleanly(vm)
