"""USB in the guest: discs that the client shares, and a tablet."""

import re
import subprocess

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, USB_BUS, port, usbredir
from lib.spice_client import random_file, sha256_file
from lib.waiting import wait_until

MIB = 1 << 20
MOUSE_SERVER, MOUSE_CLIENT = 1, 2


def start_vm(bench):
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + USB_BUS + usbredir(1) + usbredir(2)
                    + ["-device", "usb-tablet,bus=usb.0,id=tablet"] + SPICE_TCP, boot=True)
    vm.guest.wait_boot()
    load_disc_drivers(vm.guest)
    return vm


def load_disc_drivers(guest):
    guest.sh("for m in ehci_pci uhci_hcd usb_storage sr_mod isofs; do load $m || exit 1; done", 60)


def make_iso(bench, name, size):
    """A disc with a file of random bytes: (image, file)."""
    content = bench.logs / name
    content.mkdir(exist_ok=True)
    data = random_file(content / "random.bin", size)
    (content / "hello.txt").write_text("hello from the client's disc\n")
    iso = bench.logs / f"{name}.iso"
    subprocess.run(["xorriso", "-as", "mkisofs", "-quiet", "-V", "E2EDISC", "-R", "-o", iso, content],
                   check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    return iso, data


def connect(bench):
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"], usb=True)
    for channel in ("usbredir:0", "usbredir:1"):
        client.wait_channel(channel, "opened")
    return client


def wait_drives(vm, count):
    """Waits until the guest has as many drives and can read all of them; until it is
    so, a drive may be there without its disc."""
    vm.guest.sh(f"""drives() {{ ls /sys/block | grep '^sr'; }}
        complete() {{ [ "$(drives | wc -l)" = {count} ]; }}
        readable() {{ [ "$(cat /sys/block/$1/size)" -gt 0 ] && head -c 2048 /dev/$1 >/dev/null; }}
        wait_until 20 complete || exit
        for drive in $(drives); do wait_until 20 readable $drive || exit; done""", 60)


def used_slots(vm):
    """The redirection slots behind which QEMU has a drive: an empty one is slow."""
    return re.findall(r"480 Mb/s, Product USB Redirection Device, ID: (\w+)",
                      vm.qmp.hmp("info usb"))


def wait_reading(vm, *drives):
    """Waits until the guest's kernel waits for an answer from each drive."""
    for drive in drives:
        vm.guest.sh(f"wait_until 10 grep -q '[1-9]' /sys/block/{drive}/inflight")


@check
def usb_cd(bench):
    """spice-gtk emulates a CD drive over usbredir; the guest reads the whole disc,
    then the client takes it away, and brings it again."""
    vm = bench.vm
    iso, data = make_iso(bench, "disc", 2 * MIB)
    client = connect(bench)
    for _ in range(2):
        client.command("share_cd", path=str(iso), seconds=20)
        wait_drives(vm, 1)
        assert "SPICE CD" in vm.guest.sh("cat /sys/block/sr0/device/model")
        bench.observe("slots in use", used_slots(vm))
        assert len(used_slots(vm)) == 1, vm.qmp.hmp("info usb")
        assert vm.guest.sha256("/dev/sr0", 60) == sha256_file(iso), \
            "the disc reads differently in the guest"
        vm.guest.sh("mkdir -p /tmp/cd; mount -t iso9660 -o ro /dev/sr0 /tmp/cd")
        assert vm.guest.sh("cat /tmp/cd/hello.txt") == "hello from the client's disc"
        assert vm.guest.sha256("/tmp/cd/random.bin") == sha256_file(data)
        vm.guest.sh("umount /tmp/cd")
        client.command("unshare_cd", path=str(iso))
        wait_drives(vm, 0)
        assert not used_slots(vm), vm.qmp.hmp("info usb")
    client.close()


@check
def client_killed_in_mid_read(bench):
    """The client dies while the guest reads, once working and once long silent; the read
    ends with an error, the drive is gone, and the next client brings it back."""
    vm = bench.vm
    iso, _ = make_iso(bench, "disc", 16 * MIB)
    for silent in (False, True, None):
        client = connect(bench)
        client.command("share_cd", path=str(iso), seconds=20)
        wait_drives(vm, 1)
        assert len(used_slots(vm)) == 1, vm.qmp.hmp("info usb")
        assert vm.guest.sha256("/dev/sr0", 60) == sha256_file(iso), \
            "the disc reads differently in the guest"
        if silent is None:
            break
        # What has no end but an error. The pipe holds it up before the client falls
        # silent; O_DIRECT, for the page cache may say end of file when a drive goes.
        vm.guest.background("""rm -f /tmp/go /tmp/begun
            while dd if=/dev/sr0 bs=64k iflag=direct; do :; done |
            { dd bs=64k count=1 iflag=fullblock 2>/dev/null; touch /tmp/begun
              wait_until 20 test -e /tmp/go; cat; } >/dev/null""")
        vm.guest.sh("wait_until 10 test -e /tmp/begun")
        if silent:
            client.pause()
        vm.guest.sh("touch /tmp/go")
        wait_reading(vm, "sr0")
        client.kill()
        log = vm.guest.wait_job(40)
        assert not silent or log.startswith("dd: /dev/sr0: "), f"no error of a read: {log}"
        wait_drives(vm, 0)
        assert not used_slots(vm), vm.qmp.hmp("info usb")
    client.close()
    wait_drives(vm, 0)


@check
def two_discs_at_once(bench):
    """Two redirection channels of one client: both drives are read at the same time,
    and one goes on when the other is taken away."""
    vm = bench.vm
    discs = [make_iso(bench, name, size * MIB)[0] for name, size in (("one", 12), ("two", 16))]
    wanted = sorted(sha256_file(iso) for iso in discs)
    client = connect(bench)
    for begun in [client.begin("share_cd", path=str(iso)) for iso in discs]:
        client.finish(begun, 20)
    wait_drives(vm, 2)
    bench.observe("slots in use", sorted(used_slots(vm)))
    assert len(used_slots(vm)) == 2, vm.qmp.hmp("info usb")
    for drive in ("sr0", "sr1"):
        vm.guest.background(f"""exec 3</dev/{drive}; touch /tmp/open.{drive}
            wait_until 20 test -e /tmp/go; sha256sum <&3""", drive)
    vm.guest.sh("wait_until 10 test -e /tmp/open.sr0; wait_until 10 test -e /tmp/open.sr1")
    client.pause()  # so that both reads have begun when the first answer comes
    vm.guest.sh("touch /tmp/go")
    wait_reading(vm, "sr0", "sr1")
    client.resume()
    sums = sorted(vm.guest.wait_job(job=drive).split()[0] for drive in ("sr0", "sr1"))
    assert sums == wanted, "a disc reads differently in the guest"
    client.command("unshare_cd", path=str(discs[0]))
    wait_drives(vm, 1)
    assert len(used_slots(vm)) == 1, vm.qmp.hmp("info usb")
    left = vm.guest.sh("cd /dev; ls sr*")
    assert vm.guest.sha256(f"/dev/{left}", 60) == sha256_file(discs[1]), \
        "the second disc reads differently without the first"
    client.close()
    wait_drives(vm, 0)
    assert not used_slots(vm), vm.qmp.hmp("info usb")


@check
def tablet_gives_client_mouse_mode(bench):
    """With an absolute pointing device that the guest listens to, and one display,
    the client may place the pointer; spice-gtk asks for that at once."""
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    client.port_named(PORT)
    client.wait("main", property="mouse-mode", value=MOUSE_SERVER)
    vm.guest.sh("for m in usbhid hid_generic evdev; do load $m || exit 1; done; "
                "wait_until 10 test -e /dev/input/event0; "
                "for e in /dev/input/event*; do sleep 60 <$e & done", 30)
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
