"""What may pass to and from the guest's agent: QEMU's two switches, and the rules of our
library's configuration file, which apply to a running machine too. Debian's library has
no such rules. The guest has Debian's agent (test_agent.py)."""

import base64
import os
import re

from lib.bench import check
from lib.devices import MACHINE, SERIAL_BUS, SPICE_TCP, VDAGENT
from lib.raw_agent import CAP_FILE_XFER_DISABLED, CLIPBOARD_CAPS, TEXT
from lib.spice_client import ClientError, random_file, sha256_file
from lib.vdagent import FILES, Programs
from lib.waiting import wait_until

KIB = 1 << 10
NOTHING = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855"
MAIN = 1


def machine(start, spice, **options):
    vm = start(MACHINE + SERIAL_BUS + VDAGENT + spice, boot=True, programs="vdagent", memory=512,
               **options)
    vm.guest.wait_boot(120)
    vm.agent = Programs(vm.guest)
    return vm


def start_vm(bench):
    """The machine with rules; a check begins with its own ones."""
    write_rules(bench, "")
    return machine(bench.qemu, SPICE_TCP, config=rules_file(bench))


def rules_file(bench):
    return bench.logs / "rules.toml"


def write_rules(bench, text):
    """A new file in the old one's place."""
    new = rules_file(bench).with_suffix(".new")
    new.write_text(text)
    new.rename(rules_file(bench))


def has_rules(bench):
    return bench.library.name == "ours"


class User:
    """Somebody who copies and pastes on both sides, with a new client."""

    def __init__(self, bench, vm):
        self.bench = bench
        self.vm = vm
        mark = vm.qmp.events.mark()
        self.client = bench.client()
        self.client.open(port=vm.port)
        self.caps = set(self.client.events.wait(
            lambda e: e["event"] == "agent-caps" and e["caps"], 20, "capabilities")["caps"])
        event = vm.qmp.wait_event("SPICE_INITIALIZED", 10, mark,
                                  lambda data: data["client"]["channel-type"] == MAIN)
        self.port = event["data"]["client"]["port"]

    def pastes_in_guest(self, size):
        """The client has copied a text. The guest gets it or nothing, and is not left
        waiting: True or False."""
        text = self.bench.logs / "text"
        text.write_bytes(base64.b64encode(os.urandom(size))[:size])
        self.vm.agent.clear()
        self.client.command("clipboard_grab", types=[TEXT], path=str(text))
        self.caught_up()
        status, pasted = self.vm.agent.paste("/tmp/pasted", 20)
        if (status, pasted) == (0, sha256_file(text)):
            return True
        assert pasted == NOTHING, "the guest pasted something else"
        return False

    def caught_up(self):
        """The guest's agent has had all that the client has said before."""
        assert self.copies_file(1) is True

    def pastes_at_client(self, size):
        """The same the other way."""
        mark = self.client.events.mark()
        self.vm.guest.sh(f"head -c {size} /dev/urandom | base64 -w 0 | head -c {size} >/tmp/text")
        self.vm.agent.copy("/tmp/text")
        self.client.command("clipboard_request", type=TEXT)
        data = self.client.wait("clipboard-data", 20, mark)
        assert data["size"] == 0 or sha256_file(data["path"]) == self.vm.guest.sha256("/tmp/text"), \
            "the client got something else"
        return data["size"] > 0

    def copies_file(self, size):
        """True if the guest has the file, else the client's error; there is no third."""
        data = random_file(self.bench.logs / "copied", size)
        try:
            self.client.command("copy_file", path=str(data), seconds=30)
        except ClientError as error:
            assert self.vm.guest.sh(f"ls {FILES}") == "", "the guest has something of the file"
            return str(error)
        assert self.vm.guest.sha256(f"{FILES}/copied") == sha256_file(data)
        self.vm.guest.sh(f"rm {FILES}/copied")
        return True


def own_user(bench, switches):
    """On a machine of one's own with QEMU's switches."""
    spice = ["-spice", f"port=PORT,addr=127.0.0.1,disable-ticketing=on,{switches}"]
    return User(bench, machine(bench.own_vm, spice))


@check
def copy_and_paste_off(bench):
    """The client is told so by the agent's capabilities. Files pass."""
    user = own_user(bench, "disable-copy-paste=on")
    bench.observe("capabilities", sorted(user.caps))
    assert not user.caps & CLIPBOARD_CAPS, user.caps
    user.vm.guest.sh("echo text >/tmp/text")
    user.vm.agent.copy("/tmp/text")
    assert user.copies_file(64 * KIB) is True
    assert not user.client.seen("clipboard-grab"), "the client heard of the guest's clipboard"


@check
def file_transfer_off(bench):
    """The client is told so, and ends a copy at once. Clipboards pass."""
    user = own_user(bench, "disable-agent-file-xfer=on")
    bench.observe("capabilities", sorted(user.caps))
    assert CAP_FILE_XFER_DISABLED in user.caps, user.caps
    error = user.copies_file(64 * KIB)
    assert error is not True
    bench.observe("error", error)
    assert user.pastes_at_client(KIB)
    text = bench.logs / "text"
    text.write_text("text of the client's")
    user.client.command("clipboard_grab", types=[TEXT], path=str(text))
    user.vm.agent.wait_offer()
    assert user.vm.agent.paste("/tmp/pasted") == (0, sha256_file(text))


@check
def everything_passes_without_rules(bench):
    """A file without rules changes nothing: both libraries let the same through."""
    write_rules(bench, "")
    user = User(bench, bench.vm)
    wait_rules(lambda: (user.pastes_in_guest(KIB), user.pastes_at_client(KIB)), (True, True),
               "none")
    assert user.copies_file(64 * KIB) is True


@check
def clipboard_one_way(bench):
    """Each way in turn, none, and both again; files are not concerned."""
    if not has_rules(bench):
        return
    user = User(bench, bench.vm)
    for direction, to_guest, to_client in (("to-client", False, True), ("to-guest", True, False),
                                           ("off", False, False), ("both", True, True)):
        write_rules(bench, f'[clipboard]\ndirection = "{direction}"\n')
        wait_rules(lambda: (user.pastes_in_guest(KIB), user.pastes_at_client(KIB)),
                   (to_guest, to_client), direction)


@check
def files_off(bench):
    """A client gets an error at once, whether it has been there before or comes now."""
    if not has_rules(bench):
        return
    write_rules(bench, "")
    user = User(bench, bench.vm)
    wait_rules(lambda: user.copies_file(KIB) is True, True, "none")
    write_rules(bench, '[file-transfer]\ndirection = "off"\n')
    wait_rules(lambda: user.copies_file(KIB) is True, False, "off")
    later = User(bench, bench.vm)
    assert later.copies_file(64 * KIB) is not True
    assert later.pastes_at_client(KIB)
    write_rules(bench, "")
    wait_rules(lambda: later.copies_file(KIB) is True, True, "none again")


@check
def sizes_have_limits(bench):
    """What is as large as allowed passes, one byte more does not, and then it goes on."""
    if not has_rules(bench):
        return
    write_rules(bench, f"[clipboard]\nmax-size = {100 * KIB}\n"
                       f"[file-transfer]\nmax-size = {300 * KIB}\n")
    user = User(bench, bench.vm)
    wait_rules(lambda: user.pastes_at_client(100 * KIB + 1), False, "sizes")
    for over in (0, 1, 100 * KIB, 0):
        assert user.pastes_in_guest(100 * KIB + over) is (over == 0), over
        assert user.pastes_at_client(100 * KIB + over) is (over == 0), over
        assert (user.copies_file(300 * KIB + over) is True) is (over == 0), over


@check
def transfers_are_in_the_log(bench):
    """A line for each, with whose it is, where to, what and how much, and never what it
    says; nothing without the rule."""
    if not has_rules(bench):
        return
    bench.expect_stderr(AUDIT)
    before = len(audit_lines(bench))
    write_rules(bench, "[clipboard]\nmax-size = 3000\n")
    user = User(bench, bench.vm)
    wait_rules(lambda: user.pastes_at_client(3001), False, "without a log")
    assert len(audit_lines(bench)) == before, audit_lines(bench)
    write_rules(bench, "[audit]\nlog = true\n[clipboard]\nmax-size = 3000\n")
    wait_rules(lambda: user.pastes_at_client(1000) and len(audit_lines(bench)) > before, True,
               "with a log")
    done = [(user.pastes_in_guest(2001), "clipboard to the guest, type text, 2001 bytes"),
            (user.pastes_at_client(2002), "clipboard to the client, type text, 2002 bytes"),
            (user.copies_file(2003) is True, "file to the guest, 2003 bytes"),
            (user.pastes_in_guest(3001), "clipboard to the guest, type text, 3001 bytes"),
            (user.pastes_at_client(3002), "clipboard to the client, type text, 3002 bytes")]
    assert [passed for passed, _ in done] == [True, True, True, False, False], done
    for passed, text in done:
        lines = [line for line in audit_lines(bench) if text in line]
        assert len(lines) == 1, f"{len(lines)} lines say: {text}: {audit_lines(bench)}"
        assert lines[0].endswith("passed" if passed else "refused"), lines
        assert re.search(rf"\b{user.port}\b", lines[0]), f"no {user.port} in {lines}"
    log = "\n".join(audit_lines(bench))
    for secret in ((bench.logs / "text").read_text()[:20], "copied",
                   bench.vm.guest.sh("head -c 20 /tmp/text")):
        assert secret not in log, f"{secret} is in the log"


AUDIT = r"Spice: .*audit: "


def audit_lines(bench):
    return [line for line in bench.vm.stderr().splitlines() if re.search(AUDIT, line)]


def wait_rules(result, wanted, rules):
    """The server looks for a new file when something passes, at most once a second: so
    something passes again and again."""
    wait_until(lambda: result() == wanted, 20, f"{wanted} with the rules: {rules}", 0.1)
