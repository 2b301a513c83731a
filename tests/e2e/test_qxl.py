"""A guest with the qxl driver of its kernel: memory slots, surfaces and both rings
at work. QEMU's own trace shows that each command taken from a ring is given back."""

import re

from lib import guest_program
from lib.bench import check
from lib.waiting import wait_until

# The guest's console is drawn by the driver; so is what is written to fb0.
DRAW = ("dd if=/dev/urandom of=/dev/fb0 bs=64k count=40 2>/dev/null; "
        "for i in $(seq 100); do echo line $i >/dev/tty0; done; "
        "for n in 4 0; do echo $n >/sys/class/graphics/fb0/blank; done")


def start(bench, name, *more):
    trace = bench.logs / f"{name}.trace"
    vm = bench.own_vm(["-M", "pc", "-vga", "qxl", "-device", "virtio-rng-pci",
                       "-spice", "port=PORT,disable-ticketing=on",
                       "-d", "trace:qxl_ring_command_get,trace:qxl_ring_cursor_get,"
                       "trace:qxl_ring_res_put",
                       "-D", trace, *more],
                      boot=True, memory=256)
    vm.trace = trace
    return vm


def load_driver(vm):
    vm.guest.wait_boot()
    assert "/dev/fb0" in vm.guest.sh("load qxl; ls /dev/fb0"), "the qxl driver found no device"


def check_given_back(vm, least=20, kept=0):
    """To be called after the machine has ended. So many may be kept to its end."""
    trace = vm.trace.read_text(errors="replace")
    # In VGA mode QEMU draws for itself and takes its own memory back unseen.
    taken = len(re.findall(r"^qxl_ring_(?:command|cursor)_get \d+ (?!vga)", trace, re.MULTILINE))
    given_back = len(re.findall(r"^qxl_ring_res_put ", trace, re.MULTILINE))
    assert taken > least, f"the guest drew only {taken} times"
    assert taken - kept <= given_back <= taken, f"{taken} commands taken, {given_back} given back"


@check
def driver_draws(bench):
    vm = start(bench, "draws")
    load_driver(vm)
    vm.guest.sh(DRAW)
    for command in ("stop", "cont"):
        vm.qmp.command(command)
    vm.guest.sh(DRAW)
    vm.qmp.command("screendump", filename=str(bench.logs / "screen.ppm"))
    mark = vm.qmp.events.mark()
    vm.qmp.command("system_reset")
    vm.qmp.wait_event("RESET", mark=mark)
    load_driver(vm)
    vm.guest.sh(DRAW)
    bench.quit_cleanly(vm)
    check_given_back(vm)


@check
def driver_goes_on_after_restore(bench):
    """The saved guest's surfaces and memory slots are handed to a new library."""
    state = bench.logs / "state"
    vm = start(bench, "saved")
    load_driver(vm)
    vm.guest.sh(DRAW)
    mark = vm.qmp.events.mark()
    vm.qmp.command("migrate-set-capabilities",
                   capabilities=[{"capability": "events", "state": True}])
    vm.qmp.command("migrate", uri=f"exec:cat >{state}")
    while vm.qmp.command("query-migrate")["status"] != "completed":
        vm.qmp.wait_event("MIGRATION", mark=mark)
        mark = vm.qmp.events.mark()
    bench.quit_cleanly(vm)
    check_given_back(vm)

    again = start(bench, "restored", "-incoming", f"exec:cat {state}")
    again.qmp.wait_event("RESUME", seconds=60)
    again.guest.sh(DRAW)
    bench.quit_cleanly(again)
    check_given_back(again)
    state.unlink()


@check
def pointer_of_the_driver(bench):
    """The picture that a program in the guest gives its driver is the client's pointer: shown,
    moved, hidden, and told to who comes later."""
    vm = start(bench, "pointer")
    load_driver(vm)
    guest_program.install(vm.guest, "cursor", bench.logs)
    # The program ends when nobody can write to it any more.
    vm.guest.sh("mkfifo /tmp/letters; sleep 3600 >/tmp/letters & "
                "cursor </tmp/letters >/tmp/said 2>&1 &")
    said = ""

    def letter(which):
        nonlocal said
        said += "ok\n"
        vm.guest.sh(f"printf {which} >/tmp/letters")
        wait_until(lambda: vm.guest.sh("cat /tmp/said") + "\n" == said, 20, f"letter {which}")

    client = bench.client()
    client.open(port=vm.port, connect=["cursor"], opened="cursor:0")
    letter("s")
    shown = client.wait("cursor-set", 20, size=[64, 64], hot=[3, 4])
    assert len(shown["rgba"]) == 2 * 4 * 64 * 64
    bench.observe("pixels", [shown["rgba"][:8], shown["rgba"][-8:]])
    letter("m")
    moved = client.events.wait(
        lambda e: e["event"] == "cursor-move" and e["position"][0] >= 100, 20, "it moves")
    bench.observe("place", moved["position"])
    late = bench.client()
    client.close()
    late.open(port=vm.port, connect=["cursor"], opened="cursor:0")
    assert late.wait("cursor-set", 10, size=[64, 64])["rgba"] == shown["rgba"]
    letter("h")
    late.wait("cursor-hide", 20)
    letter("s")
    late.close()
    bench.quit_cleanly(vm)
    # The last picture is the pointer's as long as there is no other one.
    check_given_back(vm, least=8, kept=1)
