"""USB in the guest: a disc that the client shares, and a tablet."""

import hashlib
import subprocess

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, USB_BUS, port, usbredir
from lib.spice_client import random_file
from lib.waiting import wait_until

MOUSE_SERVER, MOUSE_CLIENT = 1, 2


def start_vm(bench):
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + USB_BUS + usbredir(1)
                    + ["-device", "usb-tablet,bus=usb.0,id=tablet"] + SPICE_TCP, boot=True)
    vm.guest.wait_boot()
    vm.guest.sh("for m in ehci_pci uhci_hcd usb_storage sr_mod isofs; do load $m || exit 1; done",
                60)
    return vm


def make_iso(bench):
    content = bench.logs / "content"
    content.mkdir(exist_ok=True)
    data = random_file(content / "random.bin", 2 << 20)
    (content / "hello.txt").write_text("hello from the client's disc\n")
    iso = bench.logs / "disc.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "E2EDISC", "-R", "-o", iso, content],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return iso, data


@check
def usb_cd(bench):
    """spice-gtk emulates a CD drive over usbredir; the guest reads the whole disc,
    then the client takes it away, and brings it again."""
    vm = bench.vm
    iso, data = make_iso(bench)
    client = bench.client()
    client.open(port=vm.port, connect=["port"], usb=True)
    client.wait_channel("usbredir:0", "opened")
    wanted = hashlib.sha256(iso.read_bytes()).hexdigest()
    for _ in range(2):
        client.command("share_cd", path=str(iso), seconds=20)
        vm.guest.sh("wait_until 20 sh -c 'grep -qs . /sys/block/sr0/size && "
                    "test $(cat /sys/block/sr0/size) -gt 0 && head -c 2048 /dev/sr0 >/tmp/sector'")
        assert "SPICE CD" in vm.guest.sh("cat /sys/block/sr0/device/model")
        assert "480 Mb/s" in vm.qmp.hmp("info usb")
        sectors = iso.stat().st_size // 2048
        assert vm.guest.sh(f"dd if=/dev/sr0 bs=2048 count={sectors} 2>/dev/null | sha256sum",
                           60).split()[0] == wanted, "the disc reads differently in the guest"
        vm.guest.sh("mkdir -p /tmp/cd; mount -t iso9660 -o ro /dev/sr0 /tmp/cd")
        assert vm.guest.sh("cat /tmp/cd/hello.txt") == "hello from the client's disc"
        assert vm.guest.sha256("/tmp/cd/random.bin") == hashlib.sha256(
            data.read_bytes()).hexdigest()
        vm.guest.sh("umount /tmp/cd")
        client.command("unshare_cd")
        vm.guest.sh("wait_until 20 sh -c '! test -e /sys/block/sr0'")
    client.close()


@check
def tablet_gives_client_mouse_mode(bench):
    """With an absolute pointing device that the guest listens to, and one display,
    the client may place the pointer; spice-gtk asks for that at once. A server that
    announces no display keeps the pointer to itself."""
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    client.port_named(PORT)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    vm.guest.sh("for m in usbhid hid_generic evdev; do load $m || exit 1; done; "
                "wait_until 10 test -e /dev/input/event0; "
                "for e in /dev/input/event*; do sleep 60 <$e & done", 30)
    if bench.library.name == "ours" and "display:0" not in client.channels():
        client.command("request_mouse_mode", mode=MOUSE_CLIENT)
        vm.guest.sh("usleep 500000")
        assert [e["value"] for e in client.seen("main", property="mouse-mode")] == [MOUSE_SERVER]
        assert vm.qmp.command("query-spice")["mouse-mode"] == "server"
        return
    client.wait("main", property="mouse-mode", value=MOUSE_CLIENT)
    wait_until(lambda: vm.qmp.command("query-spice")["mouse-mode"] == "client", 10,
               "mouse mode client in query-spice")
    mark = client.events.mark()
    client.command("request_mouse_mode", mode=MOUSE_SERVER)
    client.wait("main", mark=mark, property="mouse-mode", value=MOUSE_SERVER)
    assert vm.qmp.command("query-spice")["mouse-mode"] == "server"
    later = bench.client()
    later.open(port=vm.port, connect=["port"])
    later.wait("main", property="mouse-mode", value=MOUSE_CLIENT)
