"""Devices that come and go a hundred times while a guest runs and a client looks on."""

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, USB_BUS, port, usbredir
from lib.growth import Growth
from lib.spice_client import random_file, sha256_file

ROUNDS = 100
HOT = "org.example.hot.0"


def start_vm(bench):
    # QEMU's own words when the guest still talks to a port that is gone.
    bench.expect_stderr(r"virtio-serial-bus: Unexpected port id")
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + USB_BUS + usbredir(1) + SPICE_TCP,
                    boot=True)
    vm.guest.wait_boot()
    return vm


def add_redir(vm):
    vm.qmp.command("chardev-add", id="hotredir", backend={
        "type": "spicevmc", "data": {"type": "usbredir"}})
    vm.qmp.command("device_add", driver="usb-redir", chardev="hotredir", id="hotusb", bus="usb.0")


def remove_redir(vm):
    """usb-redir takes its character device with it."""
    mark = vm.qmp.events.mark()
    vm.qmp.command("device_del", id="hotusb")
    vm.qmp.wait_event("DEVICE_DELETED", mark=mark, matches=lambda d: d.get("device") == "hotusb")
    assert "hotredir" not in [c["label"] for c in vm.qmp.command("query-chardev")]


def add_port(vm):
    vm.qmp.command("chardev-add", id="hotport", backend={
        "type": "spiceport", "data": {"fqdn": HOT}})
    vm.qmp.command("device_add", driver="virtserialport", chardev="hotport", name=HOT,
                   id="hotserial", bus="vs.0")


def remove_port(vm):
    mark = vm.qmp.events.mark()
    vm.qmp.command("device_del", id="hotserial")
    vm.qmp.wait_event("DEVICE_DELETED", mark=mark,
                      matches=lambda d: d.get("device") == "hotserial")
    vm.qmp.command("chardev-remove", id="hotport")


@check
def usbredir_channel(bench):
    """spice-gtk's USB device manager sees the slot and connects it by itself."""
    client = bench.client()
    client.open(port=bench.vm.port, connect=["port"], usb=True)
    client.port_named(PORT)
    client.wait_channel("usbredir:0", "opened")
    kinds = sorted((c["channel-type"], c["channel-id"])
                   for c in bench.vm.qmp.command("query-spice")["channels"])
    bench.observe("channels of QEMU", kinds)
    assert kinds == [(1, 0), (9, 0), (10, 0)], kinds
    client.close()


@check
def usbredir_hundred_times_with_a_client(bench):
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port", "usbredir"], usb=True)
    client.wait_channel("usbredir:0", "opened")
    client.port_named(PORT)
    growth = Growth(vm)
    for _ in range(ROUNDS):
        mark = client.events.mark()
        add_redir(vm)
        client.wait("channel-new", mark=mark, channel="usbredir:1")
        client.wait_channel("usbredir:1", "opened", mark=mark)
        remove_redir(vm)
        client.wait_channel("usbredir:1", "closed", mark=mark)
    assert not client.seen("channel-event", channel="main:0", what="closed")
    assert not client.seen("channel-event", channel="usbredir:0", what="closed")
    growth.check()
    assert vm.status() == "running"
    client.close()


@check
def usbredir_hundred_times_without_a_client(bench):
    vm = bench.vm
    growth = Growth(vm)
    for _ in range(ROUNDS):
        add_redir(vm)
        remove_redir(vm)
    growth.check()
    assert vm.status() == "running"


@check
def port_hundred_times_with_a_client(bench):
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    client.port_named(PORT)
    growth = Growth(vm)
    for _ in range(ROUNDS):
        mark = client.events.mark()
        add_port(vm)
        channel = client.port_named(HOT, mark=mark)
        assert channel == "port:1", f"the new port is {channel}: ids are not used again"
        remove_port(vm)
        client.wait_channel(channel, "closed", mark=mark)
    assert not client.seen("channel-event", channel="port:0", what="closed")
    growth.check()
    client.close()


@check
def plugged_port_carries_data(bench):
    """A port that was plugged in works like any other, and so do the old ones."""
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    client.port_named(PORT)
    size = 1 << 20
    for name, plugged in ((HOT, True), (PORT, False), (HOT, True)):
        mark = client.events.mark()
        if plugged:
            add_port(vm)
        channel = client.port_named(name, mark=mark if plugged else 0)
        vm.guest.sh(f"link_ports; wait_until 10 sh -c '. /guest.sh; link_ports; "
                    f"test -e /dev/virtio-ports/{name}'; "
                    f"{{ wait_host {name}; exec 3<>/dev/virtio-ports/{name}; "
                    f"head -c {size} <&3 >/tmp/in; cat /tmp/in >&3; }} >/dev/null 2>&1 &")
        client.wait("port-opened", mark=mark, channel=channel, opened=True)
        data = random_file(bench.logs / "data", size)
        client.send(channel, data)
        path = client.wait_received(channel, size)
        assert sha256_file(path) == sha256_file(data), f"{name}: other bytes came back"
        if plugged:
            remove_port(vm)
            client.wait_channel(channel, "closed", mark=mark)


@check
def pulled_in_the_middle_of_a_transfer(bench):
    """The device goes while data is under way: the channel ends, QEMU goes on."""
    vm = bench.vm
    client = bench.client()
    client.open(port=vm.port, connect=["port"])
    client.port_named(PORT)
    data = random_file(bench.logs / "data", 16 << 20)
    for _ in range(5):
        mark = client.events.mark()
        add_port(vm)
        channel = client.port_named(HOT, mark=mark)
        vm.guest.sh(f"wait_until 10 sh -c '. /guest.sh; link_ports; "
                    f"test -e /dev/virtio-ports/{HOT}'; {{ wait_host {HOT}; "
                    f"exec 3<>/dev/virtio-ports/{HOT}; cat <&3 >&3; }} >/dev/null 2>&1 &")
        client.wait("port-opened", mark=mark, channel=channel, opened=True)
        client.begin("send", channel=channel, path=str(data))
        client.wait("data", mark=mark, channel=channel)
        remove_port(vm)
        client.events.wait(
            lambda e: e["event"] == "channel-event" and e["channel"] == channel
            and e["what"] in ("closed", "error-io"), 10, "the channel to end", mark)
        vm.guest.sh("wait_until 10 sh -c '! pidof cat'")
    assert vm.status() == "running"
    assert not client.seen("channel-event", channel="main:0", what="closed")
