"""A guest agent by hand, to see each message that reaches the guest: the sizes of the
client's monitors, the pointer, the end of a client."""

import re
import struct

from lib.bench import check
from lib.devices import MACHINE, SERIAL_BUS, SPICE_TCP, VDAGENT
from lib.raw_agent import (ANNOUNCE_CAPABILITIES, CAP_BY_DEMAND, CAP_MONITORS_CONFIG,
                           CAP_SELECTION, CLIENT_DISCONNECTED, CLIPBOARD, CLIPBOARD_GRAB,
                           CLIPBOARD_RELEASE, CLIPBOARD_REQUEST, FILE_XFER_DATA, FILE_XFER_START,
                           FILE_XFER_STATUS, FROM_SERVER, MONITORS_CONFIG, MOUSE_STATE, REPLY,
                           TEXT, ByHand, RawClient)
from lib.spice_client import SpiceClient
from lib.waiting import wait_until

CAPS = (CAP_MONITORS_CONFIG, CAP_BY_DEMAND, CAP_SELECTION)
SIZES = [[1024, 768], [800, 600]]
MOUSE_SERVER, MOUSE_CLIENT = 1, 2
LEFT, LEFT_MASK, VDAGENT_LEFT = 1, 1 << 0, 1 << 1
FORBIDDEN = (CLIPBOARD, CLIPBOARD_GRAB, CLIPBOARD_REQUEST, CLIPBOARD_RELEASE, FILE_XFER_START,
             FILE_XFER_STATUS, FILE_XFER_DATA)


def start_vm(bench):
    vm = bench.qemu(MACHINE + SERIAL_BUS + VDAGENT + SPICE_TCP, boot=True)
    vm.guest.wait_boot()
    vm.agent = ByHand(vm.guest)
    return vm


def connect(bench, vm, **options):
    """A client that has heard what the agent can do; the agent has heard the client."""
    mark = len(vm.agent.heard())
    client = bench.client()
    client.open(port=vm.port, **options)
    vm.agent.wait(ANNOUNCE_CAPABILITIES, mark=mark)
    vm.agent.announce(*CAPS)
    client.wait("agent-caps", caps=sorted(CAPS))
    return client


def sizes_in(config):
    """What a MONITORS_CONFIG asks for: [[width, height]], left to right."""
    count, _flags = struct.unpack_from("<II", config)
    monitors = [struct.unpack_from("<IIIii", config, 8 + 20 * n) for n in range(count)]
    monitors.sort(key=lambda monitor: monitor[3])
    return [[width, height] for height, width, _depth, _x, _y in monitors]


@check
def monitors_reach_the_agent(bench):
    """With a display that takes no sizes from the server they are the agent's affair."""
    client = connect(bench, bench.vm)
    for sizes in (SIZES, SIZES[:1]):
        mark = len(bench.vm.agent.heard())
        assert client.command("monitors", sizes=sizes)["ok"]
        assert sizes_in(bench.vm.agent.wait(MONITORS_CONFIG, mark=mark)) == sizes


@check
def monitors_go_to_a_qxl_device(bench):
    """A QXL device whose driver takes them gets the sizes from the server, and the agent
    never hears of them. QEMU's trace shows the interrupt for the guest's driver."""
    trace = bench.logs / "qxl.trace"
    vm = bench.own_vm(["-M", "pc", "-vga", "qxl", *SERIAL_BUS, *VDAGENT, *SPICE_TCP,
                       "-d", "trace:qxl_interrupt_client_monitors_config", "-D", trace],
                      boot=True, memory=256)
    vm.guest.wait_boot()
    vm.guest.sh("load qxl")
    vm.agent = ByHand(vm.guest)
    client = connect(bench, vm)
    assert client.command("monitors", sizes=SIZES[:1])["ok"]
    wait_until(lambda: re.search(r"client_monitors_config 0 1 ", trace.read_text()), 20,
               "the QXL device to get the sizes")
    client.command("clipboard_grab", types=[TEXT])
    vm.agent.wait(CLIPBOARD_GRAB)
    assert MONITORS_CONFIG not in [kind for kind, _ in vm.agent.heard()]


@check
def pointer_reaches_the_agent(bench):
    """The agent makes the pointer the client's to place. Then each position and button is
    a message of the server's to the agent."""
    agent = bench.vm.agent
    client = connect(bench, bench.vm, connect=["display", "inputs"])
    client.wait_channel("inputs:0", "opened")
    client.wait("main", property="mouse-mode", value=MOUSE_CLIENT)
    seen = len(agent.heard(FROM_SERVER))

    def expect(*state):
        wait_until(lambda: struct.unpack("<IIIB", mouse_states(agent, seen)[-1]) == state, 20,
                   f"the pointer's state {state}")

    client.command("inputs", calls=[["position", 30, 40, 0, 0]])
    expect(30, 40, 0, 0)
    client.command("inputs", calls=[["button_press", LEFT, LEFT_MASK]])
    expect(30, 40, VDAGENT_LEFT, 0)
    client.command("inputs", calls=[["position", 300, 200, 0, LEFT_MASK]])
    expect(300, 200, VDAGENT_LEFT, 0)
    client.command("inputs", calls=[["button_release", LEFT, 0]])
    expect(300, 200, 0, 0)


def mouse_states(agent, mark):
    states = [data for kind, data in agent.heard(FROM_SERVER)[mark:] if kind == MOUSE_STATE]
    return states or [bytes(13)]


@check
def agent_mouse_off(bench):
    vm = bench.own_vm(MACHINE + SERIAL_BUS + VDAGENT
                      + ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on,agent-mouse=off"],
                      boot=True)
    vm.guest.wait_boot()
    vm.agent = ByHand(vm.guest)
    client = connect(bench, vm)
    client.command("request_mouse_mode", mode=MOUSE_CLIENT)
    client.command("clipboard_grab", types=[TEXT])  # the server has read the request before
    vm.agent.wait(CLIPBOARD_GRAB)
    assert vm.qmp.command("query-spice")["mouse-mode"] == "server"
    modes = [event["value"] for event in client.seen("main", property="mouse-mode")]
    assert modes == [MOUSE_SERVER], modes


@check
def agent_hears_that_a_client_has_gone(bench):
    agent = bench.vm.agent
    for leave in (SpiceClient.close, SpiceClient.kill):
        client = connect(bench, bench.vm)
        mark = len(agent.heard(FROM_SERVER))
        leave(client)
        assert agent.wait(CLIENT_DISCONNECTED, FROM_SERVER, mark) == b""


@check
def forbidden_messages_do_not_pass(bench):
    """QEMU's switches hold for clients and agents that go on as if there were none. Our
    library answers those who ask: there is nothing, and the file is refused."""
    vm = bench.own_vm(MACHINE + SERIAL_BUS + VDAGENT
                      + ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on,"
                         "disable-copy-paste=on,disable-agent-file-xfer=on"], boot=True)
    vm.guest.wait_boot()
    agent = ByHand(vm.guest)
    client = RawClient(vm.port)
    client.ask_caps(*CAPS)
    agent.wait(ANNOUNCE_CAPABILITIES)
    agent.announce(*CAPS)
    client.wait(ANNOUNCE_CAPABILITIES)
    for side in (client, agent):
        for kind in FORBIDDEN:
            side.say(kind, bytes(40))
    client.say(REPLY, bytes(8))
    agent.wait(REPLY)
    agent.say(REPLY, bytes(8))
    client.wait(REPLY)
    client.close()
    answers = [CLIPBOARD] * 2 if bench.library.name == "ours" else []
    files = [FILE_XFER_STATUS] if answers else []
    for side, heard, wanted in (("agent", agent.heard(), answers),
                                ("client", client.messages, answers + files)):
        between = heard[1:-1]
        assert sorted(kind for kind, _ in between) == wanted, f"the {side} heard {heard}"
        assert all(len(data) <= 8 for _, data in between), f"the {side} heard {heard}"
