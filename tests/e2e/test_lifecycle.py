"""Ordinary command lines with every kind of display and sound: they boot, stop,
go on, reset and quit; with a client and without one."""

from lib.bench import check
from lib.devices import PORT
from lib.spice_client import random_file, sha256_file

# The line of devices that stands for an ordinary machine; QEMU's own defaults
# (network card, floppy drive, PS/2 keyboard and mouse) are there as well.
ORDINARY = [
    "-device", "virtio-serial-pci",
    "-chardev", f"spiceport,name={PORT},id=fs",
    "-device", f"virtserialport,chardev=fs,name={PORT}",
    "-device", "ich9-usb-ehci1,id=usb",
    "-device", "ich9-usb-uhci1,masterbus=usb.0,firstport=0,multifunction=on",
    "-chardev", "spicevmc,name=usbredir,id=u1", "-device", "usb-redir,chardev=u1",
    "-spice", "port=PORT,disable-ticketing=on",
]
SOUND = ["-audiodev", "spice,id=a", "-device", "ich9-intel-hda",
         "-device", "hda-duplex,audiodev=a"]


def start(bench, vga, more=()):
    return bench.own_vm(["-M", "pc", "-m", "256", *vga, *ORDINARY, *more],
                        boot=True, defaults=True)


def exchange(bench, vm, client):
    """64 KiB to the guest and back."""
    channel = client.port_named(PORT)
    mark = client.events.mark()
    before, _ = client.received(channel)
    size = 64 * 1024
    vm.guest.sh(f"{{ wait_host {PORT} 20; exec 3<>/dev/virtio-ports/{PORT}; "
                f"head -c {size} <&3 >/tmp/in; cat /tmp/in >&3; }} >/dev/null 2>&1 &")
    client.wait("port-event", mark=mark, channel=channel, number=0)
    data = random_file(bench.logs / "data", size)
    client.send(channel, data)
    path = client.wait_received(channel, before + size)
    assert sha256_file(path, before, size) == sha256_file(data), "other bytes came back"
    client.wait("port-event", mark=mark, channel=channel, number=1)


def stop_and_continue(vm):
    for _ in range(3):
        mark = vm.qmp.events.mark()
        vm.qmp.command("stop")
        vm.qmp.wait_event("STOP", mark=mark)
        assert vm.status() == "paused"
        vm.qmp.command("cont")
        vm.qmp.wait_event("RESUME", mark=mark)
    assert vm.status() == "running"
    vm.guest.sh("true")


def live(bench, vga):
    """A client comes before the guest is up and stays until the end."""
    vm = start(bench, vga)
    client = bench.client()
    client.open(port=vm.port, connect=["port", "usbredir"])
    vm.guest.wait_boot()
    exchange(bench, vm, client)
    stop_and_continue(vm)
    exchange(bench, vm, client)
    mark = vm.qmp.events.mark()
    vm.qmp.command("system_reset")
    vm.qmp.wait_event("RESET", mark=mark)
    vm.guest.wait_boot()
    exchange(bench, vm, client)
    assert not client.seen("channel-event", what="closed"), "the client lost a channel"
    bench.quit_cleanly(vm)
    client.wait_channel("main:0", "closed")


@check
def vga_std(bench):
    live(bench, ["-vga", "std"])


@check
def vga_qxl(bench):
    live(bench, ["-vga", "qxl"])


@check
def vga_virtio(bench):
    live(bench, ["-vga", "virtio"])


@check
def sound(bench):
    live(bench, ["-vga", "std", *SOUND])


@check
def everything_without_a_client(bench):
    """Two displays, sound, an agent's port and a tablet; nobody connects."""
    vm = start(bench, ["-vga", "qxl", "-device", "qxl", *SOUND],
               more=["-chardev", "spicevmc,name=vdagent,id=agent0",
                     "-device", "virtserialport,chardev=agent0,name=com.redhat.spice.0",
                     "-device", "usb-tablet,bus=usb.0"])
    vm.guest.wait_boot()
    vm.guest.sh("test -e /dev/virtio-ports/com.redhat.spice.0")
    stop_and_continue(vm)
    mark = vm.qmp.events.mark()
    vm.qmp.command("system_reset")
    vm.qmp.wait_event("RESET", mark=mark)
    vm.qmp.command("screendump", filename=str(bench.logs / "screen.ppm"))
    assert (bench.logs / "screen.ppm").stat().st_size > 10_000
    vm.guest.wait_boot()
    bench.quit_cleanly(vm)


@check
def guest_powers_off(bench):
    """The guest ends the machine while a client is connected."""
    vm = start(bench, ["-vga", "std"])
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    vm.guest.wait_boot()
    client.port_named(PORT)
    vm.guest.sh("{ usleep 200000; poweroff -f; } >/dev/null 2>&1 &")
    assert vm.wait_exit(30) == 0
    client.wait_channel("main:0", "closed")
    assert not bench.complaints(vm), bench.complaints(vm)
