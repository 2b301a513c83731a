"""WebSocket: spice-html5 in a browser, straight to QEMU's SPICE ports, and a client by
hand."""

import os
import ssl

from lib import raw_link
from lib.bench import check
from lib.browser import Browser, WebServer
from lib.devices import MACHINE, PORT, SERIAL_BUS, port
from lib.pki import Pki
from lib.waiting import wait_until
from lib.websocket import WebSocket, answer_to, request

MIB = 1 << 20
DATA, PORT_INIT, PORT_EVENT = 101, 201, 202
MAIN, DISPLAY, INPUTS = 1, 2, 3
DEVICE = f"/dev/virtio-ports/{PORT}"

# The page keeps its connections to itself.
LOOK_IN = """
    window.links = [];
    window.WebSocket = class extends WebSocket {
        constructor(...words) { super(...words); links.push(this); }
    };
    window.fromGuest = '';
    window.addEventListener('spice-port-data', event => {
        fromGuest += new TextDecoder().decode(event.detail.data);
    });
    window.linkOf = type => links.find(link => link.parent && link.parent.type == type);
    window.isReady = type => { const link = linkOf(type); return link && link.parent.state == 'ready'; };
"""

# What takes keys in the page is its picture. Where no display is announced this takes its
# place, with the page's own handlers.
INSTEAD_OF_A_PICTURE = f"""
    import('/inputs.js').then(inputs => {{
        const canvas = document.createElement('canvas');
        canvas.tabIndex = 0;
        canvas.sc = linkOf({MAIN}).parent;
        canvas.addEventListener('keydown', inputs.handle_keydown);
        canvas.addEventListener('keyup', inputs.handle_keyup);
        document.querySelector('#spice-screen').append(canvas);
    }})
"""


def start_vm(bench):
    pki = Pki(bench.logs / "x509")
    vm = bench.qemu(MACHINE + SERIAL_BUS + port(1, PORT) + [
        "-spice", f"port=PORT,tls-port=SECURE,addr=127.0.0.1,x509-dir={pki.directory},"
        "disable-ticketing=on"], boot=True)
    vm.pki = pki
    vm.guest.wait_boot()
    return vm


def secured(vm):
    """A connection to the TLS port."""
    context = ssl.create_default_context(cafile=vm.pki.ca)
    return context.wrap_socket(raw_link.connect(vm.tls_port), server_hostname="127.0.0.1")


def page(bench, name, port_number, pki=None):
    """The page connects; a port's data pass both ways; what is typed into it arrives."""
    vm = bench.vm
    server = WebServer(pki)
    browser = Browser(bench.logs, name, pki)
    try:
        browser.open(f"{server.origin}/spice_auto.html?host=127.0.0.1&port={port_number}", LOOK_IN)
        browser.wait(f"isReady({MAIN})", "the main channel")
        browser.wait(f"isReady({raw_link.PORT}) && linkOf({raw_link.PORT}).parent.portName",
                     "the port's channel")
        scheme = "wss" if pki else "ws"
        channels = vm.qmp.command("query-spice")["channels"]
        tls = {channel["tls"] for channel in channels}
        assert tls == {scheme == "wss"}, channels
        bench.observe("urls", browser.value(f"linkOf({MAIN}).url.split(':')[0]"))
        bench.observe("protocol", browser.value(f"linkOf({MAIN}).protocol"))

        vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; echo 'from the guest' >&3; "
                            "head -n 1 <&3")
        browser.wait("fromGuest.includes('from the guest')", "the guest's words in the page")
        words = "from the page\n"
        header = [DATA, 0, len(words), 0, 0, 0]
        browser.value(f"linkOf({raw_link.PORT}).send(new Uint8Array("
                      f"{header + list(words.encode())}))")
        assert vm.guest.wait_job() == words.strip()

        type_into(browser, vm)
        browser.screenshot(bench.logs / f"{name}.png")
    finally:
        browser.stop()
        server.close()
    wait_until(lambda: not vm.qmp.command("query-spice")["channels"], 10, "no more channels")


def type_into(browser, vm):
    browser.wait(f"isReady({INPUTS})", "the inputs channel")
    if not browser.value(f"!!linkOf({DISPLAY})"):
        browser.value(INSTEAD_OF_A_PICTURE)
    browser.wait("!!document.querySelector('#spice-screen canvas')", "a picture")
    browser.value("document.querySelector('#spice-screen canvas').focus()")
    vm.guest.background("exec 3</dev/tty1; touch /tmp/reading; head -n 1 <&3; rm /tmp/reading")
    vm.guest.sh("wait_until 10 test -e /tmp/reading")
    browser.type("spice\n")
    assert vm.guest.wait_job() == "spice"


@check
def page_by_ws(bench):
    page(bench, "ws", bench.vm.port)


@check
def page_by_wss(bench):
    page(bench, "wss", bench.vm.tls_port, bench.vm.pki)


def echo(bench, main, connection):
    """8 MiB into the guest and back, in frames and messages that are cut anywhere."""
    vm = bench.vm
    size = 8 * MIB
    data = os.urandom(size)
    vm.guest.background(f"wait_host {PORT}; exec 3<>{DEVICE}; head -c {size} <&3 >/tmp/in; "
                        "sha256sum </tmp/in; cat /tmp/in >&3; rm /tmp/in")
    assert raw_link.link(main, MAIN) == raw_link.LINK_OK
    kind, body = raw_link.read_message(main)
    assert kind == raw_link.Session.INIT, kind
    session = int.from_bytes(body[:4], "little")
    assert raw_link.link(connection, raw_link.PORT, 0, session) == raw_link.LINK_OK

    # QEMU does not ask again for what came before the guest had opened the port.
    kind, body = raw_link.read_message(connection)
    assert kind == PORT_INIT, kind
    opened = body[8] == 1
    while not opened:
        kind, body = raw_link.read_message(connection)
        opened = (kind, body) == (PORT_EVENT, b"\0")

    # The guest sends back when it has got everything: nobody has to read meanwhile, and
    # Python's TLS is not for two threads at a time.
    at, length = 0, 1
    while at < size:
        part = data[at:at + length]
        connection.sendall(raw_link.message(DATA, part))
        at, length = at + length, length * 13 % 80_021
    back = bytearray()
    while len(back) < size:
        kind, body = raw_link.read_message(connection)
        if kind == DATA:
            back += body
    assert back == data, "other bytes came back than were sent"
    assert connection.pings, "no pings among the data"
    # Debian's library may leave out those that a later one overtakes.
    assert set(connection.pongs) <= set(connection.pings), "a pong that nobody asked for"
    if bench.library.name == "ours":
        assert connection.pongs == connection.pings
    vm.guest.wait_job()
    connection.close()
    main.close()


@check
def echo_8_mib_by_ws(bench):
    ends = (WebSocket(raw_link.connect(bench.vm.port, 60), seed=seed) for seed in (1, 2))
    echo(bench, *ends)


@check
def echo_8_mib_by_wss(bench):
    ends = (WebSocket(secured(bench.vm), seed=seed) for seed in (3, 4))
    echo(bench, *ends)


def answer(address, origin):
    with raw_link.connect(address) as sock:
        return answer_to(sock, request(origin=origin))


@check
def any_page_may_come(bench):
    for origin in (None, "null", "https://example.org", "http://127.0.0.1:1"):
        bench.observe(f"answer to {origin}", answer(bench.vm.port, origin))
        assert answer(bench.vm.port, origin) == ("HTTP", 101), origin


@check
def only_listed_pages_may_come(bench):
    """By our configuration file; Debian's library knows none."""
    if bench.library.name != "ours":
        return
    bench.expect_stderr(r"Spice: .*link from .* refused: (a WebSocket from a page of|"
                        r"the peer does not speak SPICE|the client closed the connection)")
    words = ["-M", "none", "-name", "guarded", "-spice",
             "port=PORT,addr=127.0.0.1,disable-ticketing=on"]
    config = bench.logs / "config.toml"
    server = WebServer()
    config.write_text('[websocket]\norigins = ["https://example.org:443"]\n')
    vm = bench.own_vm(words, config=config)
    answers = {origin: answer(vm.port, origin)
               for origin in (None, "https://example.org", "https://example.com", "null")}
    assert answers == {None: ("HTTP", 101), "https://example.org": ("HTTP", 101),
                       "https://example.com": ("HTTP", 403), "null": ("HTTP", 403)}
    browser = Browser(bench.logs, "refused")
    try:
        browser.open(f"{server.origin}/spice_auto.html?host=127.0.0.1&port={vm.port}", LOOK_IN)
        browser.wait("links.length > 0 && links[0].readyState == WebSocket.CLOSED", "a refusal")
    finally:
        browser.stop()
        server.close()
    bench.quit_cleanly(vm)

    config.write_text("[[vm]]\nname = 'guarded'\n[vm.websocket]\nenabled = false\n")
    vm = bench.own_vm(words, config=config)
    assert answer(vm.port, "https://example.org") == ("link error", 2)
    bench.quit_cleanly(vm)
