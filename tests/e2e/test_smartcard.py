"""A smartcard of the client's in the guest: Debian's pcscd and OpenSC see the card that
spice-gtk makes of certificates."""

import base64
import os
import re
import struct

from lib import raw_link
from lib.bench import check
from lib.card import Card
from lib.devices import MACHINE, SPICE_TCP, USB_BUS, smartcard
from lib.waiting import wait_until

SMARTCARD = 8
PING, DATA = 4, 101
INIT, ERROR, READER_ADD, READER_REMOVE, ATR, CARD_REMOVE, APDU = range(1, 8)
UNDEFINED_READER = 0xffffffff
SUCCESS, GENERAL_ERROR = 0, 1

# The card's answer to reset, as libcacard makes it: protocol T=0, and its name.
ATR_BYTES = bytes.fromhex("3b7a18000073667465206364313434")
SELECT_CAC = "00:A4:04:00:07:A0:00:00:00:79:01:00"


def start_vm(bench):
    # What a hostile client provokes, in the library and in QEMU.
    bench.expect_stderr(r"Spice:|ATR size exceeds spec|ATR is inconsistent")
    vm = bench.qemu(MACHINE + USB_BUS + smartcard(1) + SPICE_TCP, boot=True,
                    programs="smartcard", memory=320)
    vm.guest.wait_boot(120)
    # There is no udevd that tells pcscd of a new reader: it starts when it is there.
    vm.guest.sh("""for m in ehci_pci uhci_hcd; do load $m || exit 1; done
        reader() { grep -q 'QEMU USB CCID' /sys/bus/usb/devices/*/product; }
        wait_until 20 reader""", 60)
    start_pcscd(vm)
    bench.card = Card(bench.logs / "card")
    return vm


def start_pcscd(vm):
    vm.guest.sh("mkdir -p /run/pcscd; pcscd --foreground >/tmp/pcscd.log 2>&1 &")
    wait_card(vm, False)


def wait_card(vm, there):
    """Waits until the guest sees the reader, with a card or without one."""
    word = "Yes" if there else "No"
    vm.guest.sh(f"""card() {{ opensc-tool -l | grep -q '^0  *{word} .*CCID'; }}
        wait_until 20 card || {{ opensc-tool -l; exit 1; }}""", 60)


def insert(bench):
    """A client that brings a card, and the guest has it."""
    client = bench.client()
    client.open(port=bench.vm.port, connect=["smartcard"], smartcard=bench.card.offer)
    client.wait_channel("smartcard:0", "opened")
    wait_card(bench.vm, True)
    return client


def answer_to_reset(vm):
    """What the guest reads off the card."""
    return bytes.fromhex(vm.guest.sh("opensc-tool -a").splitlines()[-1].replace(":", ""))


def exchange(vm):
    """A command to the card and its answer: the CAC applet is chosen."""
    output = vm.guest.sh(f"opensc-tool -s {SELECT_CAC}")
    return re.search(r"Received \((.*)\)", output)[1]


def works(vm):
    assert answer_to_reset(vm) == ATR_BYTES
    assert exchange(vm) == "SW1=0x90, SW2=0x00"


@check
def reader_and_card(bench):
    """The guest sees the reader, then the card, its answer to reset and what kind of card
    it is; commands are answered; the certificates come out of it as they went in."""
    vm, card = bench.vm, bench.card
    client = insert(bench)
    bench.observe("atr", answer_to_reset(vm).hex())
    bench.observe("answer to SELECT", exchange(vm))
    works(vm)
    assert vm.guest.sh("opensc-tool -n").endswith("Common Access Card (CAC)")
    serial = re.search(r"Serial number *: (\w+)", vm.guest.sh("pkcs15-tool --dump", 60))
    assert serial, "the card has no serial number"
    for number, name in enumerate(card.offer["certificates"], 1):
        vm.guest.sh(f"pkcs15-tool --read-certificate 000{number} -o /tmp/certificate", 60)
        pem = vm.guest.sh("sed '/^---/d' /tmp/certificate | base64 -d | base64")
        assert pem.split() == base64_lines(card.certificate(name)), f"another {name} in the guest"
    client.close()
    wait_card(vm, False)


def base64_lines(data):
    return base64.encodebytes(data).decode().split()


@check
def guest_signs(bench):
    """The guest has the client's card sign, and the signature is right: long commands
    and answers pass in pieces that only the card's key can make."""
    vm, card = bench.vm, bench.card
    client = insert(bench)
    for number, name in ((1, "id-cert"), (2, "signing-cert")):
        digest = os.urandom(32)
        octal = "".join(f"\\{byte:03o}" for byte in digest)
        vm.guest.sh(f"printf '{octal}' >/tmp/digest; rm -f /tmp/signature; "
                    f"pkcs15-crypt --sign -k 000{number} --pkcs1 --sha-256 --raw --pin 1234 "
                    "-i /tmp/digest -o /tmp/signature", 60)
        signature = vm.guest.run("cat /tmp/signature")[1]
        assert card.verifies(name, signature, digest), f"{name} made no such signature"
        assert not card.verifies(name, signature, os.urandom(32)), "any digest will do"
    client.close()


@check
def card_out_and_in(bench):
    """The client takes the card out and puts it in again, many times."""
    vm = bench.vm
    client = insert(bench)
    for _ in range(5):
        client.command("remove_card")
        wait_card(vm, False)
        status, _output = vm.guest.run(f"opensc-tool -s {SELECT_CAC}")
        assert status != 0, "a card that is out still answers"
        client.command("insert_card")
        wait_card(vm, True)
        works(vm)
    client.close()
    wait_card(vm, False)


@check
def clients_come_and_go(bench):
    """Clients that leave in good order, that are killed, and one that takes over."""
    vm = bench.vm
    for _ in range(2):
        for leave in ("close", "kill"):
            client = insert(bench)
            works(vm)
            getattr(client, leave)()
            wait_card(vm, False)
    client = insert(bench)
    newer = bench.client()
    newer.open(port=vm.port, connect=["smartcard"], smartcard=bench.card.offer)
    newer.wait_channel("smartcard:0", "opened")
    client.wait_channel("main:0", "closed")
    wait_card(vm, True)
    works(vm)
    newer.close()
    wait_card(vm, False)


@check
def second_session_of_a_client(bench):
    """spice-gtk brings its reader in its first session only, and in the next ones a card
    without one. Debian's library leaves the guest with such a card when the client goes."""
    vm = bench.vm
    client = insert(bench)
    for _ in range(3):
        works(vm)
        client.close()
        wait_card(vm, False)
        if bench.library.name == "debian":
            return
        client.open(port=vm.port, connect=["smartcard"])
        wait_card(vm, True)
    works(vm)
    client.kill()
    wait_card(vm, False)


@check
def killed_in_mid_exchange(bench):
    """A client that owes the guest an answer is killed. QEMU leaves the guest's driver
    without one, which waits for minutes; a pcscd that starts anew works with the next
    client's card."""
    vm = bench.vm
    for _ in range(2):
        client = insert(bench)
        works(vm)
        client.pause()
        vm.guest.background(f"opensc-tool -s {SELECT_CAC}")
        wait_until(lambda: client_has_unread_bytes(vm), 20, "the guest's command at the client")
        client.kill()
        vm.guest.sh("killall -9 pcscd")
        status, output = vm.guest.job_end(20)
        assert status != 0, f"a command without an answer succeeded: {output}"
        start_pcscd(vm)
    client = insert(bench)
    works(vm)
    client.close()
    wait_card(vm, False)


def client_has_unread_bytes(vm):
    """Whether bytes that came from the SPICE port wait in a socket's receive queue."""
    with open("/proc/net/tcp", encoding="ascii") as file:
        rows = [line.split() for line in file][1:]
    port = f":{vm.port:04X}"
    return any(row[2].endswith(port) and int(row[4].split(":")[1], 16) > 0 for row in rows)


def vsc(kind, reader, data=b"", length=None):
    """A client's message."""
    header = struct.pack("<III", kind, reader, len(data) if length is None else length)
    return raw_link.message(DATA, header + data)


class RawCard:
    """A client by hand, and the card that it is."""

    def __init__(self, port):
        self.session = raw_link.Session(port)
        assert (SMARTCARD, 0) in self.session.channels, self.session.channels
        self.sock = self.session.channel(SMARTCARD)

    def say(self, kind, reader=0, data=b"", length=None):
        self.sock.sendall(vsc(kind, reader, data, length))

    def hear(self):
        """The next message: (kind, reader, data). Debian's library measures the latency of
        an idle channel by PINGs, which need no answer."""
        kind, body = raw_link.read_message(self.sock)
        while kind == PING:
            kind, body = raw_link.read_message(self.sock)
        assert kind == DATA, kind
        vsc_kind, reader, length = struct.unpack_from("<III", body)
        assert length == len(body) - 12, body
        return vsc_kind, reader, body[12:]

    def insert(self):
        self.say(READER_ADD, UNDEFINED_READER, b"by hand")
        assert self.hear() == (ERROR, 0, struct.pack("<I", SUCCESS))
        self.say(ATR, 0, ATR_BYTES)
        assert self.hear() == (ERROR, 0, struct.pack("<I", SUCCESS))

    def serve(self, answer):
        """Answers what the guest asks, until a command has been answered so."""
        while True:
            kind, _reader, data = self.hear()
            if kind == APDU:
                self.say(APDU, 0, answer)
                return data

    def closed(self):
        """The server has ended the channel."""
        try:
            while self.sock.recv(4096):
                pass
        except ConnectionResetError:
            pass
        except TimeoutError:
            return False
        return True

    def close(self):
        self.sock.close()
        self.session.main.close()


@check
def card_by_hand(bench):
    """What stands on the wire: a card that is played here, down to its last byte."""
    vm = bench.vm
    card = RawCard(vm.port)
    card.insert()
    wait_card(vm, True)
    vm.guest.background(f"opensc-tool -c default -s {SELECT_CAC} | tail -n 4")
    asked = []
    while not asked or asked[-1].hex().upper() != SELECT_CAC.replace(":", ""):
        asked.append(card.serve(b"\x6a\x82" if len(asked) % 2 else b"\x90\x00"))
        assert len(asked) < 100, asked
    vm.guest.wait_job(30)
    card.say(CARD_REMOVE)
    wait_card(vm, False)
    card.say(READER_REMOVE, 0)
    assert card.hear()[0] == ERROR
    card.close()


@check
def bad_messages(bench):
    """What no honest client sends: the channel ends or an error is answered, and a real
    card works afterwards."""
    vm = bench.vm
    cut = {
        "no header": raw_link.message(DATA, b"x" * 11),
        "no body": raw_link.message(DATA),
        "less than announced": vsc(ATR, 0, ATR_BYTES, 16),
        "2^32-1 announced": vsc(APDU, 0, b"x", 0xffffffff),
        "command for no reader": vsc(APDU, 1, b"\0\0\0\0"),
        "atr for reader 2^32-1": vsc(ATR, UNDEFINED_READER, ATR_BYTES),
        "unknown message": raw_link.message(102, b"x" * 20),
    }
    passed = {
        "init": vsc(INIT, 0, b"VSCD" + bytes(8)),
        "unknown kind": vsc(77, 0, b"x"),
        "no kind": vsc(0, UNDEFINED_READER),
        "card removed twice": vsc(CARD_REMOVE, 0) * 2,
        "an answer to nothing": vsc(APDU, 0, b"\x90\0"),
        "an error": vsc(ERROR, 0, bytes(4)),
        "atr that is too long": vsc(ATR, 0, b"\x3b" * 41),
        "atr without bytes": vsc(ATR, 0),
    }
    refused = {
        "removal of another reader": vsc(READER_REMOVE, 3),
        "removal of no reader": vsc(READER_REMOVE, UNDEFINED_READER),
    }
    if bench.library.name == "ours":
        # Debian's takes memory for it and goes on waiting; QEMU's reader would never take
        # the end of the second one.
        cut["2^32-1 bytes"] = struct.pack("<HI", DATA, 0xffffffff)
        cut["more than the reader takes"] = vsc(APDU, 0, bytes(65536))
    for name, message in cut.items():
        card = RawCard(vm.port)
        card.insert()
        card.sock.sendall(message)
        assert card.closed(), f"{name}: the channel goes on"
        card.close()
    for name, message in passed.items():
        card = RawCard(vm.port)
        card.insert()
        card.sock.sendall(message + vsc(READER_REMOVE, 9))
        while (heard := card.hear())[0] != ERROR or heard[1] != 9:
            pass
        assert heard[2] == struct.pack("<I", GENERAL_ERROR), name
        card.close()
    for name, message in refused.items():
        card = RawCard(vm.port)
        card.sock.sendall(message)
        heard = card.hear()
        assert heard[0] == ERROR and heard[2] == struct.pack("<I", GENERAL_ERROR), (name, heard)
        card.close()
    assert vm.status() == "running"
    wait_card(vm, False)
    client = insert(bench)
    works(vm)
    client.close()
    wait_card(vm, False)


@check
def longest_commands(bench):
    """A message that just fits into QEMU's reader passes and leaves it usable."""
    vm = bench.vm
    card = RawCard(vm.port)
    card.insert()
    for _ in range(3):
        card.say(APDU, 0, bytes(65536 - 12))
    card.say(READER_REMOVE, 9)
    while (heard := card.hear())[0] != ERROR or heard[1] != 9:
        pass
    card.close()
    wait_card(vm, False)
    client = insert(bench)
    works(vm)
    client.close()
    wait_card(vm, False)


@check
def second_reader(bench):
    """One reader is served. Debian's library ends QEMU at the second one; ours refuses it
    with a line in the log, and the first one works."""
    if bench.library.name == "debian":
        return
    vm = bench.own_vm(MACHINE + USB_BUS + smartcard(1) + smartcard(2) + SPICE_TCP)
    assert vm.status() == "running"
    assert vm.stderr().count("there is a smartcard reader already") == 1, vm.stderr()
    for _ in range(2):
        card = RawCard(vm.port)
        assert card.session.channels.count((SMARTCARD, 0)) == 1, card.session.channels
        card.insert()
        card.close()


@check
def reader_unplugged_and_plugged(bench):
    """The reader goes while a client has it, and comes again: its channel does so too.
    Debian's library keeps the channel, and ends QEMU when the reader comes again."""
    if bench.library.name == "debian":
        return
    vm = bench.own_vm(MACHINE + USB_BUS + smartcard(1) + SPICE_TCP)
    for number in range(1, 6):
        card = RawCard(vm.port)
        card.insert()
        mark = vm.qmp.events.mark()
        vm.qmp.command("device_del", id="passthru1")
        vm.qmp.wait_event("DEVICE_DELETED", mark=mark,
                          matches=lambda d: d.get("device") == "passthru1")
        vm.qmp.command("chardev-remove", id=f"card{number}")
        assert card.closed(), "the channel of a reader that is gone"
        card.close()
        assert SMARTCARD not in dict(raw_link.Session(vm.port).channels)
        vm.qmp.command("chardev-add", id=f"card{number + 1}", backend={
            "type": "spicevmc", "data": {"type": "smartcard"}})
        vm.qmp.command("device_add", driver="ccid-card-passthru", bus="ccid1.0", id="passthru1",
                       chardev=f"card{number + 1}")
