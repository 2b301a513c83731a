"""What goes on while its machine moves: a disc of the client's that the guest reads, the
guest's agent, and connections that are encrypted."""

import json
import shutil
import socket
import struct
import tempfile

from lib.bench import check
from lib.devices import USB_BUS, usbredir
from lib.pki import Pki
from lib.qemu import Library
from lib.raw_agent import (ANNOUNCE_CAPABILITIES, CAP_BY_DEMAND, CAP_SELECTION, CLIPBOARD,
                           CLIPBOARD_GRAB, CLIPBOARD_REQUEST, TEXT, ByHand)
from lib.spice_client import sha256_file
from test_migrate import MIB, move, quit_all, receive_through_a_move, source, target
from test_usb import load_disc_drivers, make_iso, used_slots, wait_drives

CAPS = (CAP_BY_DEMAND, CAP_SELECTION)
SELECTION = b"\0\0\0\0"
# What is read past the page cache again and again, until the file is there; each round
# prints the disc's SHA-256.
READ_ON = """rm -f /tmp/enough; while ! test -e /tmp/enough; do
    dd if=/dev/sr0 bs=64k iflag=direct 2>/dev/null | sha256sum; done"""


def start_agent(vm, client):
    """An agent in the guest that client and guest exchange texts by."""
    agent = ByHand(vm.guest)
    agent.wait(ANNOUNCE_CAPABILITIES)
    agent.announce(*CAPS)
    client.wait("agent-caps", caps=sorted(CAPS))
    return agent


def exchange_texts(bench, agent, client, text):
    """A text from the guest, and one from the client."""
    mark = client.events.mark()
    agent.say(CLIPBOARD_GRAB, SELECTION + struct.pack("<I", TEXT))
    client.wait("clipboard-grab", 20, mark, types=[TEXT])
    heard = len(agent.heard())
    client.command("clipboard_request", type=TEXT)
    agent.wait(CLIPBOARD_REQUEST, mark=heard)
    agent.say(CLIPBOARD, SELECTION + struct.pack("<I", TEXT) + text)
    path = client.wait("clipboard-data", 20, mark)["path"]
    with open(path, "rb") as file:
        assert file.read() == text
    own = bench.logs / "text"
    own.write_bytes(text[::-1])
    client.command("clipboard_grab", types=[TEXT], path=str(own))
    agent.wait(CLIPBOARD_GRAB, mark=heard)
    agent.say(CLIPBOARD_REQUEST, SELECTION + struct.pack("<I", TEXT))
    assert agent.wait(CLIPBOARD, mark=heard) == SELECTION + struct.pack("<I", TEXT) + text[::-1]


def statistics(path, name):
    """What our library counts of a channel."""
    with socket.socket(socket.AF_UNIX) as sock:
        sock.settimeout(20)
        sock.connect(path)
        sock.sendall(b"statistics\n")
        document = json.loads(sock.makefile("rb").readline())
    (found,) = [channel for channel in document["channels"] if channel["name"] == name]
    return found


@check
def a_disc_and_the_agent(bench):
    """From host to host, the other library's too, while the guest reads a disc of the
    client's without a pause, half of it by LZ4. The agent stays, and texts pass at each
    host."""
    directory = tempfile.mkdtemp(prefix="spice-migration-")  # a socket's path is short
    bench.at_end(lambda: shutil.rmtree(directory))
    config = bench.logs / "config.toml"
    config.write_text(f'[statistics]\nsocket = "{directory}/{{pid}}"\n')
    more = USB_BUS + usbredir(1)
    hops = [bench.library] * 2
    if bench.library.name == "ours":
        hops += [Library("debian"), bench.library]
    vm, client = source(bench, more=more, library=hops[0], config=config, usb=True)
    load_disc_drivers(vm.guest)
    client.wait_channel("usbredir:0", "opened")
    (bench.logs / "disc").mkdir()
    text = "".join(f"line {n}\n" for n in range(400_000))
    (bench.logs / "disc" / "text").write_text(text[:2 * MIB])
    iso, _ = make_iso(bench, "disc", 2 * MIB)
    client.command("share_cd", path=str(iso), seconds=20)
    wait_drives(vm, 1)
    agent = start_agent(vm, client)
    exchange_texts(bench, agent, client, b"at the first host")
    mark = client.events.mark()
    for number, library in enumerate(hops[1:]):
        there = target(bench, more=more, library=library, config=config)
        vm.guest.background(READ_ON)
        vm.guest.sh("wait_until 10 grep -q '[1-9]' /sys/block/sr0/inflight")
        move(vm, there, client)
        agent.guest = there.guest
        exchange_texts(bench, agent, client, b"at host %d" % number)
        there.guest.sh("touch /tmp/enough")
        sums = [line.split()[0] for line in there.guest.wait_job().splitlines()]
        assert set(sums) == {sha256_file(iso)}, f"the disc reads differently: {sums}"
        assert len(used_slots(there)) == 1, there.qmp.hmp("info usb")
        if library.name == "ours":
            usb = statistics(f"{directory}/{there.pid}", "usbredir:0")
            assert 0 < usb["in_compressed_bytes"] < usb["in_decompressed_bytes"] // 2, usb
        bench.quit_cleanly(vm)
        vm = there
    assert vm.guest.sha256("/dev/sr0", 60) == sha256_file(iso)
    client.command("unshare_cd", path=str(iso))
    wait_drives(vm, 0)
    assert not client.seen("main", mark, property="agent-connected"), "the agent was away"
    bench.quit_cleanly(vm)


@check
def encrypted(bench):
    """TLS at both hosts, whose certificates have different owners."""
    pki = Pki(bench.logs / "pki")
    spice = f"tls-port=SECURE,x509-dir={pki.directory}"
    vm, client = source(bench, spice=spice, ca_file=str(pki.ca),
                        cert_subject=pki.subject)
    pki.renew(name="there")
    there = target(bench, spice=spice)
    # Without a word of the plain port clients are told of 65535, and spice-gtk tries it.
    where = {"port": 0, "tls_port": there.tls_port, "cert_subject": pki.subject}
    receive_through_a_move(vm, there, client, 24 * MIB, **where)
    channels = there.qmp.command("query-spice")["channels"]
    assert all(channel["tls"] for channel in channels), channels
    quit_all(bench, vm, there)
