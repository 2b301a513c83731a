#!/usr/bin/env python3
"""Installs into an empty directory and compares the tree with the files of
Debian's packages; then builds and runs a program by what pkg-config says, runs
the installed program on the installed example, and looks at the manual pages."""

import argparse
import json
import os
import pathlib
import shutil
import subprocess
import tempfile

from headers import OWN_HEADERS, fail, run
from symbols import FILE_NAME

PACKAGES = ["libspice-server1", "libspice-server-dev"]
PC_FILE = "pkgconfig/spice-server.pc"
TOOL = "spice-server-config"
PORT_TOOLS = ["spice-port", "spice-serve", "spice-top"]
# What Debian's packages do not have, beside the headers: option of meson -> files there.
OWN_FILES = {
    "bindir": [TOOL, *PORT_TOOLS],
    "mandir": [f"man1/{TOOL}.1", f"man5/{TOOL}.toml.5",
               *(f"man1/{name}.1" for name in PORT_TOOLS)],
    "datadir": ["doc/spice-server/config.toml.example",
                *(f"bash-completion/completions/{name}" for name in (TOOL, *PORT_TOOLS)),
                *(f"zsh/site-functions/_{name}" for name in PORT_TOOLS),
                *(f"fish/vendor_completions.d/{name}.fish" for name in PORT_TOOLS)],
}
PROGRAM = """\
#include <spice.h>
int main(void) { return spice_get_current_compat_version() == SPICE_COMPAT_VERSION_CURRENT ? 0 : 1; }
"""


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--meson", required=True)
    parser.add_argument("--build", required=True, type=pathlib.Path)
    parser.add_argument("--cc", required=True)
    args = parser.parse_args()

    options = {option["name"]: option["value"] for option in json.loads(
        run([args.meson, "introspect", "--buildoptions", str(args.build)]))}
    prefix = options["prefix"]
    with tempfile.TemporaryDirectory() as place:
        run([args.meson, "install", "-C", str(args.build), "--no-rebuild", "--destdir", place])
        root = pathlib.Path(place + prefix)
        ours, theirs = tree_of(root), debian_tree(options)
        if ours != theirs:
            fail("the installed tree differs from Debian's\n"
                 + "".join(f"  missing: {name} {theirs[name]}\n" for name in theirs
                           if theirs[name] != ours.get(name))
                 + "".join(f"  too much: {name} {ours[name]}\n" for name in ours
                           if ours[name] != theirs.get(name)))
        libdir = root / options["libdir"]
        compare_pc(libdir / PC_FILE)
        build_by_pkg_config(args.cc, libdir, prefix, place)
        files = {place: [root / options[place] / name for name in names]
                 for place, names in OWN_FILES.items()}
        run([str(files["bindir"][0]), "--check", str(files["datadir"][0])])
        for page in files["mandir"]:
            check_page(page)
    print(f"{len(ours)} files where Debian has them under {prefix}")


def tree_of(root):
    """Files relative to the prefix -> what they link to, or ''."""
    return {str(path.relative_to(root)): os.readlink(path) if path.is_symlink() else ""
            for path in root.rglob("*") if path.is_symlink() or not path.is_dir()}


def debian_tree(options):
    """The same for Debian's packages, with the name our real file has, and with the
    files that are ours alone."""
    libdir, tree = options["libdir"], {}
    for package in PACKAGES:
        for line in run(["dpkg", "-L", package]).splitlines():
            path = pathlib.Path(line)
            if line.startswith("/usr/share/doc") or (path.is_dir() and not path.is_symlink()):
                continue
            target = os.readlink(path) if path.is_symlink() else ""
            name = str(path.relative_to("/usr"))
            if name.startswith("lib/") and name.count(".") > 2:
                name = str(pathlib.PurePath(name).with_name(FILE_NAME))
            if target.count(".") > 2:
                target = FILE_NAME
            tree[name] = target
    tree |= {f"include/spice-server/{header}": "" for header in OWN_HEADERS}
    tree |= {f"{options[place]}/{name}": "" for place, names in OWN_FILES.items()
             for name in names}
    if f"{libdir}/libspice-server.so.1" not in tree:
        fail(f"libdir is {libdir}, Debian's packages have {sorted(tree)}")
    return tree


def compare_pc(path):
    """All fields as in Debian's file but the two versions."""
    def fields(file):
        lines = (line.partition(": ") for line in file.read_text(encoding="utf-8").splitlines())
        return {key: value for key, colon, value in lines
                if colon and key not in ("Version", "Requires")}

    theirs = next(pathlib.Path("/usr/lib").glob(f"*/{PC_FILE}"))
    if fields(path) != fields(theirs):
        fail(f"spice-server.pc\n  ours   {fields(path)}\n  theirs {fields(theirs)}")


def check_page(page):
    """A manual page is well-formed, if there is a program that knows."""
    if shutil.which("man"):
        done = subprocess.run(["man", "--warnings", "-Tutf8", "-Z", "-l", str(page)],
                              capture_output=True, text=True, check=False,
                              env=dict(os.environ, LC_ALL="C.UTF-8"))
        if done.returncode != 0 or done.stderr:
            fail(f"man complains of {page.name}\n{done.stderr}")
    if shutil.which("mandoc"):
        run(["mandoc", "-T", "lint", "-W", "warning", str(page)])


def build_by_pkg_config(cc, libdir, prefix, place):
    environment = dict(os.environ, PKG_CONFIG_PATH=str(libdir / "pkgconfig"),
                       LD_LIBRARY_PATH=str(libdir), PKG_CONFIG_ALLOW_SYSTEM_CFLAGS="1",
                       PKG_CONFIG_ALLOW_SYSTEM_LIBS="1")
    version = run(["pkg-config", "--modversion", "spice-server"], env=environment).strip()
    if version != "0.16.0":
        fail(f"pkg-config says version {version}")
    flags = run(["pkg-config", "--cflags", "--libs", "spice-server"], env=environment).split()
    for flag in (f"-I{prefix}/include/spice-server", "-lspice-server"):
        if flag not in flags:
            fail(f"pkg-config gives {flags}, without {flag}")
    # The tree is not where the file says, but below `place`.
    flags = [flag.replace(prefix, place + prefix, 1)
             if flag[:2] in ("-I", "-L") and "spice-1" not in flag else flag for flag in flags]
    source, binary = pathlib.Path(place) / "user.c", pathlib.Path(place) / "user"
    source.write_text(PROGRAM, encoding="utf-8")
    run([cc, str(source), "-o", str(binary), *flags])
    run([str(binary)], env=environment)


if __name__ == "__main__":
    main()
