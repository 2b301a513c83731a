"""TLS: a real client with an authority and a host's subject, data through it, openssl's
own client for what a library for SPICE does not show, and the host's settings.

Ours only: certificates that change while the machine runs, the configuration's oldest
version, clients that never finish.
"""

import re
import ssl
import subprocess

from lib import raw_link
from lib.bench import check
from lib.devices import MACHINE, PORT, SERIAL_BUS, USB_BUS, port, usbredir
from lib.pki import KEYS, Pki
from lib.spice_client import random_file, sha256_file
from lib.waiting import wait_until
from test_port import echo
from test_usb import load_disc_drivers, make_iso, wait_drives

MIB = 1 << 20
MAIN, USBREDIR, PORTS = 1, 9, 10
DEVICES = SERIAL_BUS + port(1, PORT)
# What a failed handshake makes either library say.
REFUSED = r"SSL|TLS|error:[0-9A-F]{8}:|Spice: .*(link from|should be encrypted)"


def is_ours(bench):
    return bench.library.name == "ours"


def tls_port(pki, more=""):
    return ["-spice", f"tls-port=SECURE,addr=127.0.0.1,disable-ticketing=on,"
                      f"x509-dir={pki.directory}{more}"]


def start_vm(bench):
    bench.expect_stderr(REFUSED)
    bench.pki = Pki(bench.logs / "pki")
    more = ",port=PORT,tls-channel=port,tls-channel=usbredir"
    vm = bench.qemu(MACHINE + DEVICES + USB_BUS + usbredir(1) + tls_port(bench.pki, more),
                    boot=True)
    vm.guest.wait_boot()
    return vm


def small_vm(bench, pki, more="", **options):
    """A machine without a guest, for one check."""
    bench.expect_stderr(REFUSED)
    return bench.own_vm(MACHINE + DEVICES + tls_port(pki, more), **options)


def connect(bench, vm=None, pki=None, plain=False, **options):
    """A client that trusts the authority; with `plain` it begins without TLS."""
    vm = vm or bench.vm
    options.setdefault("ca_file", str((pki or bench.pki).ca))
    options.setdefault("connect", ["port"])
    if plain:
        options["port"] = vm.port
    client = bench.client()
    client.open(tls_port=vm.tls_port, **options)
    return client


def over_tls(vm, *kinds):
    """Whether QEMU says of channels of these types that they are over TLS, once they are
    there."""
    def answers():
        channels = vm.qmp.command("query-spice").get("channels", [])
        found = {c["channel-type"]: c["tls"] for c in channels}
        return [found[kind] for kind in kinds] if found.keys() >= set(kinds) else None

    return wait_until(answers, 10, f"channels of the types {kinds} in query-spice")


def s_client(vm, pki, *words, text=""):
    """openssl's client: (whether there was a handshake, all it printed)."""
    run = subprocess.run(
        ["openssl", "s_client", "-connect", f"127.0.0.1:{vm.tls_port}", "-CAfile", pki.ca,
         "-verify_return_error", *words],
        input=text, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=30)
    return run.returncode == 0, run.stdout


def name_shown(vm, pki):
    """The name in the certificate that a new connection is shown."""
    done, text = s_client(vm, pki)
    assert done, text
    return re.search(r"^subject=.*CN = (\w+)$", text, re.M)[1]


def trusting(pki):
    return ssl.create_default_context(cafile=pki.ca)


@check
def everything_over_tls(bench):
    vm = bench.vm
    client = connect(bench)
    client.port_named(PORT)
    assert over_tls(vm, MAIN, PORTS) == [True, True]
    answer = vm.qmp.command("query-spice")
    bench.observe("query-spice", {key: answer.get(key) for key in ("enabled", "auth", "host")})
    assert answer["tls-port"] == vm.tls_port, answer
    assert "tls" in vm.qmp.hmp("info spice"), vm.qmp.hmp("info spice")
    client.close()


@check
def eight_mib_both_ways(bench):
    echo(bench, random_file(bench.logs / "random", 8 * MIB), connect(bench))


@check
def a_plain_client_is_led_to_tls(bench):
    """With `tls-channel=port` the server asks for TLS, and spice-gtk comes back."""
    vm = bench.vm
    client = connect(bench, plain=True)
    client.port_named(PORT)
    assert over_tls(vm, MAIN, PORTS) == [False, True]
    echo(bench, random_file(bench.logs / "random", 4 * MIB), client)


@check
def a_disc_through_tls(bench):
    vm = bench.vm
    load_disc_drivers(vm.guest)
    iso, _ = make_iso(bench, "disc", 4 * MIB)
    client = connect(bench, plain=True, connect=["usbredir"], usb=True)
    client.wait_channel("usbredir:0", "opened")
    assert over_tls(vm, MAIN, USBREDIR) == [False, True]
    client.command("share_cd", path=str(iso), seconds=20)
    wait_drives(vm, 1)
    assert vm.guest.sha256("/dev/sr0", 60) == sha256_file(iso), \
        "the disc reads differently in the guest"
    client.command("unshare_cd", path=str(iso))
    wait_drives(vm, 0)
    client.close()


@check
def the_client_judges_the_server(bench):
    """By the authority, and by the address or the subject that it is told to expect."""
    other = Pki(bench.logs / "other")
    for what, options in (
        ("error-tls", {"ca_file": str(other.ca)}),
        ("error-tls", {"cert_subject": "O=Example,CN=somebody"}),
        ("error-tls", {"host": "localhost"}),
        ("opened", {"cert_subject": bench.pki.subject}),
        ("opened", {"host": "localhost", "cert_subject": bench.pki.subject}),
        ("opened", {}),
    ):
        client = connect(bench, opened=None, **options)
        client.wait_channel("main:0", what)
        client.stop()


@check
def versions_and_compression(bench):
    vm, spoken = bench.vm, {}
    for version in ("tls1", "tls1_1", "tls1_2", "tls1_3"):
        done, text = s_client(vm, bench.pki, f"-{version}", "-cipher", "ALL:@SECLEVEL=0")
        spoken[version] = done
        assert not done or "Compression: NONE" in text, text
    bench.observe("versions", spoken)
    assert spoken == {"tls1": False, "tls1_1": False, "tls1_2": True, "tls1_3": True}, spoken


@check
def renegotiation_is_refused(bench):
    done, text = s_client(bench.vm, bench.pki, "-tls1_2", text="R\n")
    assert "RENEGOTIATING" in text and "no renegotiation" in text and not done, text


@check
def nothing_is_resumed(bench):
    """Debian's library keeps sessions for clients that come back; no SPICE client does."""
    _, text = s_client(bench.vm, bench.pki, "-tls1_2", "-reconnect")
    handshakes = re.findall(r"^(New|Reused), TLSv1.2", text, re.M)
    assert handshakes == ["New"] + 5 * ["New" if is_ours(bench) else "Reused"], handshakes


@check
def kinds_of_certificates(bench):
    for kind in KEYS:
        pki = Pki(bench.logs / kind, kind)
        vm = small_vm(bench, pki)
        for version in ("-tls1_2", "-tls1_3"):
            done, text = s_client(vm, pki, version)
            assert done, f"{kind}: {text}"
        connect(bench, vm, pki).port_named(PORT)
        bench.quit_cleanly(vm)


@check
def a_host_sets_everything(bench):
    """An encrypted key, a Diffie-Hellman file and one suite that needs both."""
    pki = Pki(bench.logs / "all", "rsa", password="open sesame")
    dh = pki.directory / "dh.pem"
    subprocess.run(["openssl", "genpkey", "-genparam", "-algorithm", "DHX", "-pkeyopt",
                    "dh_rfc5114:3", "-out", dh], check=True, stderr=subprocess.DEVNULL)
    vm = small_vm(bench, pki, f",x509-key-password=open sesame,x509-dh-key-file={dh},"
                              "tls-ciphers=DHE-RSA-AES256-GCM-SHA384")
    done, text = s_client(vm, pki, "-tls1_2")
    assert done and "Server Temp Key: DH, 2048 bits" in text, text
    assert "Cipher is DHE-RSA-AES256-GCM-SHA384" in text, text
    done, text = s_client(vm, pki, "-tls1_2", "-cipher", "ECDHE-RSA-AES256-GCM-SHA384")
    assert not done, text
    connect(bench, vm, pki).port_named(PORT)
    bench.quit_cleanly(vm)


@check
def wrong_settings_end_the_start(bench):
    good = Pki(bench.logs / "good")
    encrypted = Pki(bench.logs / "encrypted", password="open sesame")
    outcomes = {}
    for name, pki, more in (
        ("no password", encrypted, ",x509-key-password=wrong"),
        ("another's key", good, f",x509-key-file={bench.pki.key}"),
        ("no authority", good, ",x509-cacert-file=/nonexistent"),
        ("no suite", good, ",tls-ciphers=no-such-suite"),
        ("no parameters", good, f",x509-dh-key-file={good.ca}"),
    ):
        try:
            small_vm(bench, pki, more).kill()
            outcomes[name] = "started"
        except AssertionError as error:
            outcomes[name] = "failed to initialize spice server" in str(error)
            if is_ours(bench):
                assert "TLS cannot be set up: " in str(error), error
    bench.observe("wrong settings", outcomes)
    assert all(outcomes.values()), outcomes


@check
def changed_certificates_are_for_new_connections(bench):
    """Renewed as certbot does it; then a file is damaged, and mended."""
    if not is_ours(bench):
        return
    vm = bench.vm
    old = connect(bench)
    old.port_named(PORT)
    assert name_shown(vm, bench.pki) == "server"
    bench.pki.renew("rsa", "renewed")
    wait_until(lambda: name_shown(vm, bench.pki) == "renewed", 10, "the new certificate", 0.3)
    bench.pki.certificate.write_text("nonsense\n")
    stays = re.compile(r"TLS: .*server-cert\.pem.*")

    def told():
        assert name_shown(vm, bench.pki) == "renewed"
        return [line for line in vm.stderr().splitlines() if "stay in use: " in line]

    lines = wait_until(told, 10, "a line in the log", 0.3)
    assert stays.search(lines[-1]), lines
    assert len(told()) == len(lines), "it is told again and again"
    bench.pki.renew(name="mended")
    wait_until(lambda: name_shown(vm, bench.pki) == "mended", 10, "the mended one", 0.3)
    # All the while the client of the first certificate is connected, and still works.
    echo(bench, random_file(bench.logs / "random", MIB), old)
    connect(bench, cert_subject=bench.pki.subject).port_named(PORT)


@check
def the_oldest_version_is_configured(bench):
    if not is_ours(bench):
        return
    pki = Pki(bench.logs / "versions")
    for oldest, spoken in (("1.0", "tls1 tls1_1 tls1_2 tls1_3"), ("1.1", "tls1_1 tls1_2 tls1_3"),
                           ("1.2", "tls1_2 tls1_3"), ("1.3", "tls1_3")):
        config = bench.logs / f"oldest-{oldest}.toml"
        config.write_text(f'[tls]\nmin-version = "{oldest}"\n')
        vm = small_vm(bench, pki, ",tls-ciphers=ALL:@SECLEVEL=0", config=config)
        found = [version for version in ("tls1", "tls1_1", "tls1_2", "tls1_3")
                 if s_client(vm, pki, f"-{version}", "-cipher", "ALL:@SECLEVEL=0")[0]]
        assert found == spoken.split(), f"min-version {oldest}: {found}"
        vm.kill()


@check
def suites_of_tls_1_3(bench):
    if not is_ours(bench):
        return
    pki = Pki(bench.logs / "suites")
    vm = small_vm(bench, pki, ",tls-ciphers=TLS_CHACHA20_POLY1305_SHA256")
    done, text = s_client(vm, pki)
    assert done and "Cipher is TLS_CHACHA20_POLY1305_SHA256" in text, text
    done, text = s_client(vm, pki, "-tls1_2")
    assert not done, text


@check
def idle_clients_are_gone_at_the_deadline(bench):
    """Before, in the middle of and after the handshake; the last one is told."""
    if not is_ours(bench):
        return
    vm = bench.vm
    silent = raw_link.connect(vm.tls_port, 20)
    half = raw_link.connect(vm.tls_port, 20)
    half.sendall(b"\x16\x03\x01\x02\x00\x01\x00")
    done = raw_link.connect(vm.tls_port, 20, trusting(bench.pki))
    assert silent.recv(1) == b"" and half.recv(1) == b""
    assert done.recv(1) == b"", "bytes instead of an end"  # ssl raises for a mere cut
    for sock in (silent, half, done):
        sock.close()
    connect(bench).port_named(PORT)
