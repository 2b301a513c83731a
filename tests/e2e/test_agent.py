"""The guest agent: Debian's spice-vdagentd and spice-vdagent in the guest, on an X
server of their own, and a client on the other side."""

import base64
import os

from lib.bench import check
from lib.devices import MACHINE, SERIAL_BUS, SPICE_TCP, VDAGENT
from lib.evdev import ABS_X, ABS_Y, BTN_LEFT, EV_ABS, EV_KEY, Recorder
from lib.raw_agent import (ANNOUNCE_CAPABILITIES, CAP_MONITORS_CONFIG, CAP_REPLY, REPLY, TEXT,
                           RawClient)
from lib.spice_client import random_file, sha256_file
from lib.vdagent import FILES, SCREEN, Programs
from lib.waiting import settled, wait_until

MIB = 1 << 20
MOUSE_CLIENT = 2
LEFT, LEFT_MASK = 1, 1 << 0
TABLET = "spice vdagent tablet"


def start_vm(bench):
    # Memory for the programs, which are there twice while the guest boots, for files in
    # /tmp and for a large clipboard, which each program on its way holds.
    vm = bench.qemu(MACHINE + SERIAL_BUS + VDAGENT + SPICE_TCP, boot=True, programs="vdagent",
                    memory=768)
    vm.guest.wait_boot(120)
    vm.agent = Programs(vm.guest)
    return vm


def connect(bench, **options):
    """A client that knows what the agent can do."""
    client = bench.client()
    client.open(port=bench.vm.port, **options)
    wait_agent(client)
    return client


def wait_agent(client, mark=0):
    return client.events.wait(lambda e: e["event"] == "agent-caps" and e["caps"], 20,
                              "the agent's capabilities", mark)["caps"]


def random_text(path, size):
    path.write_bytes(base64.b64encode(os.urandom(size))[:size])
    return path


def clipboard_to_guest(bench, client, size=MIB):
    """What the client has in its clipboard is pasted in the guest."""
    text = random_text(bench.logs / "to-guest", size)
    client.command("clipboard_grab", types=[TEXT], path=str(text))
    bench.vm.agent.wait_offer()
    assert bench.vm.agent.paste("/tmp/pasted") == (0, sha256_file(text)), \
        "the guest pasted something else than the client has copied"


def clipboard_to_client(bench, client, size=MIB):
    """What the guest has in its clipboard is what the client gets on asking."""
    mark = client.events.mark()
    offer_in_guest(bench, size)
    assert client.wait("clipboard-grab", 20, mark)["types"] == [TEXT]
    client.command("clipboard_request", type=TEXT)
    data = client.wait("clipboard-data", 60, mark)
    assert (data["type"], data["size"]) == (TEXT, size), data
    assert sha256_file(data["path"]) == bench.vm.guest.sha256("/tmp/text"), \
        "the client got something else than the guest has copied"


def offer_in_guest(bench, size):
    bench.vm.guest.sh(f"head -c {size * 3 // 4} /dev/urandom | base64 -w 0 >/tmp/text", 60)
    bench.vm.agent.copy("/tmp/text")


def file_to_guest(bench, client, size):
    data = random_file(bench.logs / "copied", size)
    mark = client.events.mark()
    client.command("copy_file", path=str(data), seconds=60)
    client.wait("file-progress", mark=mark, sent=size, total=size)
    assert bench.vm.guest.sha256(f"{FILES}/copied") == sha256_file(data), \
        "the file is another one in the guest"
    bench.vm.guest.sh(f"rm {FILES}/copied")


@check
def agent_comes_and_goes(bench):
    vm = bench.vm
    client = connect(bench)
    mark = client.events.mark()
    vm.agent.stop_daemon()
    client.wait("main", mark=mark, property="agent-connected", value=0)
    mark = client.events.mark()
    vm.agent.start_daemon()
    client.wait("main", 20, mark, property="agent-connected", value=1)
    bench.observe("capabilities", wait_agent(client, mark))
    clipboard_to_guest(bench, client, 1000)
    client.close()
    later = connect(bench)
    clipboard_to_guest(bench, later, 1000)


@check
def clipboard_both_ways(bench):
    """1 MiB of text each way, twice, as both sides take the clipboard from each other."""
    client = connect(bench)
    for _ in range(2):
        clipboard_to_guest(bench, client)
        clipboard_to_client(bench, client)


@check
def file_of_5_mib(bench):
    client = connect(bench)
    file_to_guest(bench, client, 5 * MIB)


@check
def screen_takes_the_clients_size(bench):
    """By hand: this spice-vdagentd knows nothing of the millimetres that spice-gtk adds
    (test_agent_by_hand.py shows that spice-gtk's message arrives)."""
    client = RawClient(bench.vm.port)
    client.ask_caps(CAP_MONITORS_CONFIG, CAP_REPLY)
    client.wait(ANNOUNCE_CAPABILITIES)
    for size in ((1024, 768), (800, 600), SCREEN):
        client.monitors(size)
        client.wait(REPLY)
        wait_until(lambda s=size: bench.vm.agent.screen() == s, 20, f"the guest's screen of {size}")
    client.close()


@check
def pointer_of_the_client(bench):
    """The agent hands the client's pointer on to an input device of its own, as large as
    the guest's screen."""
    vm = bench.vm
    client = connect(bench, connect=["display", "inputs"])
    client.wait_channel("inputs:0", "opened")
    client.wait("main", property="mouse-mode", value=MOUSE_CLIENT)
    tablet = Recorder(vm.guest, TABLET)
    for call, events in (
            (["position", 300, 200, 0, 0], [(EV_ABS, ABS_X, 300), (EV_ABS, ABS_Y, 200)]),
            (["button_press", LEFT, LEFT_MASK], [(EV_KEY, BTN_LEFT, 1)]),
            (["position", 301, 200, 0, LEFT_MASK], [(EV_ABS, ABS_X, 301)]),
            (["button_release", LEFT, 0], [(EV_KEY, BTN_LEFT, 0)])):
        client.command("inputs", calls=[call])
        tablet.expect(events, f"what comes of {call}")


@check
def client_killed_while_it_copies_a_file(bench):
    """The guest drops what it has of the file, and the next client copies another."""
    vm = bench.vm
    client = connect(bench)
    before = vm.agent.moved("received")
    client.begin("copy_file", path=str(random_file(bench.logs / "large", 64 * MIB)))
    client.events.wait(lambda e: e["event"] == "file-progress" and e["sent"] > 2 * MIB, 30,
                       "2 MiB of the file")
    client.pause()
    settled(lambda: vm.agent.moved("received"))
    assert vm.agent.moved("received") - before < 64 * MIB, "the copy was over"
    client.kill()
    vm.guest.sh(f"gone() {{ ! [ -e {FILES}/large ]; }}; wait_until 20 gone", 30)
    file_to_guest(bench, connect(bench), MIB)


@check
def client_killed_while_it_sends_a_clipboard(bench):
    """The guest's application is not left waiting, and the next client's clipboard is
    whole."""
    vm = bench.vm
    client = connect(bench)
    text = random_text(bench.logs / "large", 32 * MIB)
    client.command("clipboard_grab", types=[TEXT], path=str(text))
    vm.agent.wait_offer()
    before = vm.agent.moved("received")
    vm.agent.paste_in_background("/tmp/pasted")
    wait_until(lambda: vm.agent.moved("received") - before > MIB, 30, "1 MiB of the clipboard")
    client.pause()
    settled(lambda: vm.agent.moved("received"))
    client.kill()
    status, _ = vm.guest.job_end(30)
    assert status != 0, "the guest pasted what had come only in part"
    later = connect(bench)
    clipboard_to_guest(bench, later)
    clipboard_to_client(bench, later)


@check
def late_client_gets_no_half_message(bench):
    """A client falls silent in the middle of the guest's clipboard. The next one comes
    when it has gone, or takes its place: all that it hears from the agent are whole
    messages, and the agent answers it."""
    vm = bench.vm
    for takes_over in (False, True):
        client = connect(bench)
        offer_in_guest(bench, 16 * MIB)
        client.wait("clipboard-grab", 20)
        sent, received = vm.agent.moved("sent"), vm.agent.moved("received")
        # The daemon answers faster than a client can be stopped that has asked.
        vm.guest.sh("killall -STOP spice-vdagentd")
        client.command("clipboard_request", type=TEXT)
        wait_until(lambda b=received: vm.agent.moved("received") > b, 10, "the client's request")
        client.pause()
        vm.guest.sh("killall -CONT spice-vdagentd")
        wait_until(lambda b=sent: vm.agent.moved("sent") - b > MIB, 30, "1 MiB of the clipboard")
        sent = settled(lambda: vm.agent.moved("sent")) - sent
        assert sent < 16 * MIB, "the server took the whole clipboard"
        if not takes_over:
            client.kill()
        later = RawClient(vm.port)
        later.ask_caps(CAP_REPLY)
        later.wait(ANNOUNCE_CAPABILITIES, 60)
        later.close()
        if takes_over:
            client.kill()
        last = connect(bench)
        clipboard_to_client(bench, last)
        clipboard_to_guest(bench, last)
