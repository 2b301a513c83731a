"""spice-gtk ends its session in good order and comes back, again and again, while data
flows both ways: nothing leaks, nothing gets stuck."""

from pathlib import Path

from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, SPICE_TCP, port
from lib.growth import Growth
from lib.spice_client import random_file, sha256_file
from lib.waiting import resident_kib, wait_until

DEVICE = f"/dev/virtio-ports/{PORT}"
MIB = 1 << 20
WARM_UP, ROUNDS = 10, 50
# More than the kernel takes off a client's hands: 32 MiB where the server's socket
# receives, 4 MiB where the client's sends.
SENT = 64 * MIB
# Between the lowest of the first ten rounds and of the last ten. What malloc holds swings
# by 5 MiB (with Debian's library by 14), and its low creeps up by 4 MiB in the course of
# 150 rounds before it stays. 128 KiB lost in each round are seen.
MEMORY_KIB = 6 << 10


def start_vm(bench):
    vm = bench.qemu(MACHINE + ["-mem-prealloc"] + SERIAL_BUS + port(1, PORT) + SPICE_TCP,
                    boot=True, memory=256)
    vm.guest.wait_boot()
    return vm


class Ring:
    """Numbered lines of 8 bytes, over and over again; one turn is 1 MiB."""

    def __init__(self):
        self.lines = range(1_000_000, 1_000_000 + MIB // 8)
        self.turn = b"".join(b"%d\n" % n for n in self.lines)

    def check(self, piece, what):
        """A piece begins anywhere and has no hole."""
        if len(piece) < 16:
            return  # there need not be a whole line in it
        end = piece.index(b"\n") + 1  # of the first line, which may be cut
        position = (int(piece[end:end + 7]) - self.lines[0]) * 8 - end
        turns = self.turn * (len(piece) // MIB + 2)
        assert piece == turns[position % MIB:][:len(piece)], f"{what}: not what the guest wrote"


def wait_more(vm, before):
    """Waits until the guest has received more than `before`; returns how much."""
    return int(vm.guest.sh(f"""more() {{ [ "$(stat -c %s /tmp/in)" -gt {before} ]; }}
        wait_until 20 more && stat -c %s /tmp/in"""))


def wait_nobody(vm):
    """Waits until QEMU has told the end of every connection that it told the beginning
    of; returns how often it told what."""
    def told():
        names = [name for name in vm.qmp.event_names() if name.startswith("SPICE_")]
        counts = {name: names.count(name) for name in sorted(set(names))}
        return counts.get("SPICE_CONNECTED") == counts.get("SPICE_DISCONNECTED") and counts

    return wait_until(told, 10, "the end of every connection")


@check
def fifty_disconnects_while_data_flows(bench):
    """The guest keeps the port open through all of it: one process writes without end,
    another reads, at a pace at which no client gets rid of everything."""
    vm = bench.vm
    ring = Ring()
    data = random_file(bench.logs / "data", SENT)
    vm.guest.sh(f": >/tmp/in; seq {ring.lines[0]} {ring.lines[-1]} >/tmp/turn")
    vm.guest.background(f"""exec 3<>{DEVICE}
        until test -e /tmp/stop; do cat /tmp/turn >&3; done &
        until test -e /tmp/stop; do head -c 131072 <&3 >>/tmp/in; usleep 5000; done &
        wait; cat <&3 >>/tmp/in &
        wait_until 60 sh -c 'tail -c 4 /tmp/in | grep -q END' || exit
        kill $!; sha256sum </tmp/in; cat /tmp/in >&3""")
    client = bench.client()
    arrived = 0
    memory = []
    for number in range(WARM_UP + ROUNDS):
        if number == WARM_UP:
            wait_nobody(vm)
            growth = Growth(vm)
        mark = client.events.mark()
        client.open(port=vm.port, connect=["port"])
        channel = client.port_named(PORT, mark=mark, opened=True)
        sending = client.begin("send", channel=channel, path=str(data))
        path = client.wait_received(channel, 128 << 10)
        if number % 5 == 4:  # seldom: the guest's agent is slow
            arrived = wait_more(vm, arrived)
        assert not client.finished(sending), f"round {number}: all was sent before the end"
        mark = client.events.mark()
        client.close()
        closed = [e["channel"] for e in client.seen("channel-event", mark, what="closed")]
        assert closed == [channel, "main:0"], f"round {number}: closed in the order {closed}"
        ring.check(Path(path).read_bytes(), f"round {number}")
        memory.append(resident_kib(vm.pid))
    growth.check()
    grown = min(memory[-WARM_UP:]) - min(memory[:WARM_UP])
    assert grown < MEMORY_KIB, f"QEMU's resident memory has grown: {memory} KiB"
    bench.observe("QEMU's events", wait_nobody(vm))

    # The next client gets what was still left of the guest's writing, and then what the
    # guest has received from all clients, its own bytes last.
    vm.guest.sh("touch /tmp/stop")
    echo = bench.logs / "echo"
    echo.write_bytes(random_file(echo, MIB).read_bytes() + b"END\n")
    last = bench.client()
    last.open(port=vm.port, connect=["port"])
    channel = last.port_named(PORT, opened=True)
    last.send(channel, echo)
    in_guest = vm.guest.wait_job().split()[0]
    size = wait_more(vm, arrived)
    path = Path(last.received(channel)[1])
    wait_until(lambda: path.read_bytes().endswith(b"END\n"), 30, "the end of the echo", 0.1)
    left, back = path.read_bytes()[:-size], path.read_bytes()[-size:]
    assert sha256_file(path, len(left)) == in_guest, "other bytes came back"
    assert back.endswith(echo.read_bytes()), "the last client's bytes are not the last ones"
    ring.check(left, "what was left")
    # Of each client the guest has a beginning, or nothing.
    sent = data.read_bytes()
    head = sent[:16]
    nothing, *parts = back[:-echo.stat().st_size].split(head)
    assert nothing == b"" and parts
    for number, part in enumerate(parts):
        assert sent.startswith(part, len(head)), f"part {number} is not what was sent"
    data.unlink()
