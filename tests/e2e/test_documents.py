"""The pages for operators, taken at their word: commands are run, options given to QEMU,
settings checked, the domain compared with libvirt's schema.

A block of a page is marked by its language: `sh` is run by bash in the order of the page,
`qemu` is given to QEMU, `toml` to spice-server-config, `apparmor` to AppArmor's parser.
"""

import os
import re
import shutil
import subprocess
import tempfile
from pathlib import Path

from lib.bench import check
from lib.devices import SPICE_TCP
from lib.qemu import free_port

REPOSITORY = Path(__file__).parents[2]
DOCS = REPOSITORY / "docs"
# What a reader does as another user, here without one; what would change the machine.
STUBS = {"sudo": '[ "$1" != -u ] || shift 2\nexec "$@"\n', "ldconfig": "exit 0\n"}


def blocks(page, language):
    """The blocks of a page in this language."""
    text = (DOCS / f"{page}.md").read_text()
    return re.findall(rf"^```{language}\n(.*?)^```$", text, re.MULTILINE | re.DOTALL)


def run_page(bench, page, replaced=()):
    """Runs the commands of a page at the repository's root, with other words in place of
    those that are replaced. Returns what is printed."""
    build = bench.library.build
    place = bench.logs / page
    stubs = place / "stubs"
    stubs.mkdir(parents=True, exist_ok=True)
    for name, body in STUBS.items():
        (stubs / name).write_text(f"#!/bin/bash\n{body}")
        (stubs / name).chmod(0o755)
    (place / "config.toml").write_text("[log]\nlevel = 'info'\n")
    script = "".join(blocks(page, "sh"))
    assert script, f"{page}.md has no commands"
    for words, here in [("/tmp/spice-try", place), ("5901", free_port()),
                        *replaced,
                        ("/etc/spice-server/config.toml", place / "config.toml"),
                        ("meson setup build", f"meson setup {build}"), ("-C build", f"-C {build}"),
                        ("$PWD/build", build)]:
        script = script.replace(words, str(here))
    env = {**bench.library.environment(), "SPICE_SERVER_CONFIG": place / "config.toml",
           "DESTDIR": str(place / "root"),
           "PATH": f"{stubs}:{build}:{os.environ['PATH']}"}
    run = subprocess.run(["bash", "-e", "-o", "pipefail", "-c", script], cwd=REPOSITORY, env=env,
                         stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=240,
                         check=False)
    (place / "output").write_text(run.stdout + run.stderr)
    assert run.returncode == 0, f"{page}.md: status {run.returncode}: {run.stderr[-600:]}"
    return run.stdout + run.stderr


def is_ours(bench):
    """The pages are about our library; once is enough."""
    return bench.library.name == "ours"


@check
def installing(bench):
    if not is_ours(bench):
        return
    out = run_page(bench, "install")
    assert str(bench.library.file) in out, out
    assert "[log]" in out, "the example of a configuration file"
    left = [path for path in (bench.logs / "install" / "root").rglob("*") if path.is_file()]
    assert not left, f"left by uninstall: {left}"


@check
def under_libvirt(bench):
    if not is_ours(bench):
        return
    out = run_page(bench, "libvirt")
    assert "validates" in out and 'level = "info"' in out, out
    rules = "".join(blocks("libvirt", "apparmor"))
    parser = ["/usr/sbin/apparmor_parser", "--skip-kernel-load", "--skip-cache", "--stdout"]
    run = subprocess.run(parser, input=f"profile machine {{\n{rules}}}\n".encode(),
                         capture_output=True, check=False)
    assert run.returncode == 0 and run.stdout, run.stderr


@check
def serving_safely(bench):
    if not is_ours(bench):
        return
    out = run_page(bench, "security")
    assert "org.example.port.0\t10:0\tclosed\n" in out, out


@check
def reading_statistics(bench):
    if not is_ours(bench):
        return
    directory = Path(tempfile.mkdtemp(prefix="spice-documents-"))
    bench.at_end(lambda: shutil.rmtree(directory, ignore_errors=True))
    config = bench.logs / "statistics.toml"
    config.write_text(f"[statistics]\nsocket = '{directory}/{{name}}.socket'\n")
    vm = bench.own_vm(["-M", "pc", "-name", "win10", *SPICE_TCP], config=config)
    out = run_page(bench, "statistics", [("/run/spice-server", directory)])
    assert out.count('"vm":"win10"') == 2 and "win10 (" in out, out
    assert 'spice_server_up_seconds{vm="win10"}' in out, out
    bench.quit_cleanly(vm)


@check
def checking_settings(bench):
    if is_ours(bench):
        assert "[log]" in run_page(bench, "configuration")


@check
def settings(bench):
    """All blocks of TOML in the documents, but for those that show mistakes."""
    if not is_ours(bench):
        return
    tool = bench.library.build / "spice-server-config"
    seen = 0
    for page in sorted(DOCS.glob("*.md")):
        for block in blocks(page.stem, "toml"):
            path = bench.logs / "block.toml"
            path.write_text(block)
            run = subprocess.run([tool, "--check", path], capture_output=True, text=True,
                                 check=False)
            assert run.returncode == 0, (page.name, run.stderr)
            seen += 1
    assert seen >= 3, seen


@check
def options(bench):
    """QEMU takes the options of the pages, on either library."""
    for page in ("../README", "usb", "security", "tools"):
        for block in blocks(page, "qemu"):
            socket = bench.logs / "machine.socket"
            words = block.replace("/run/user/1000/machine.socket", str(socket)).split()
            if "-spice" not in words:
                words += ["-spice", "port=PORT,addr=127.0.0.1,disable-ticketing=on"]
            bench.quit_cleanly(bench.own_vm(["-M", "pc", *words]))
