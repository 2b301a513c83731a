#!/usr/bin/env python3
"""Compares what Rust declares with the C headers: the signature of each exported
function in src/ffi, and the members of each structure in src/host/abi and
src/ffi/char_device/layout.rs.

No compiler sees both sides: a parameter that is u32 here and uint64_t there
links and then misbehaves. Both are read as text and reduced to the same small
set of types. A pointer to void fits every pointer, and const is not compared:
neither changes how a call works.
"""

import argparse
import pathlib
import re

from headers import OWN_HEADERS, Headers, Toolchain, fail

# Scalars of both languages -> what counts: size and sign.
SCALARS = {
    "void": "void", "c_void": "void", "()": "void",
    "char": "char", "c_char": "char",
    "int": "i32", "c_int": "i32", "i32": "i32", "int32_t": "i32",
    "unsigned int": "u32", "c_uint": "u32", "u32": "u32", "uint32_t": "u32",
    "socklen_t": "u32", "SpiceImageCompression": "enum",
    "u8": "u8", "uint8_t": "u8", "u16": "u16", "uint16_t": "u16",
    "size_t": "u64", "u64": "u64", "uint64_t": "u64", "uintptr_t": "u64", "usize": "u64", "QXLPHYSICAL": "u64",
}
# C's enumerations are unsigned int here; int passes in the same way.
ENUM_FITS = {"enum", "i32", "u32"}
# The same slot as attached_worker, in its old form.
UNION_TWINS = {("QXLInterface", "attache_worker")}


def main():
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--cc", required=True)
    parser.add_argument("--clang", required=True)
    parser.add_argument("--ours", required=True, type=pathlib.Path)
    parser.add_argument("--protocol", action="append", default=[])
    parser.add_argument("--source", required=True, type=pathlib.Path, help="src")
    args = parser.parse_args()

    headers = Headers(args.ours, Toolchain(args.cc, args.clang, args.protocol), OWN_HEADERS)
    names = Names(headers)
    problems, functions, records, aliases = [], {}, {}, {}
    for path in sorted((args.source / "ffi").rglob("*.rs")):
        functions |= rust_functions(path.read_text(encoding="utf-8"))
    layouts = [args.source / "host/abi.rs", args.source / "ffi/char_device/layout.rs",
               *sorted((args.source / "host").rglob("abi*/*.rs")),
               args.source / "ffi" / "registry.rs"]
    for path in layouts:
        records |= rust_records(path.read_text(encoding="utf-8"))
        aliases |= rust_aliases(path.read_text(encoding="utf-8"))

    for name, (declared, _) in sorted(headers.functions.items()):
        if name not in functions:
            problems.append(f"function {name}: none in src/ffi")
        elif not names.fit(c_type(declared, names), functions[name]):
            problems.append(f"function {name}:\n    C    {declared}\n    Rust {functions[name]}")
    for name in sorted(set(functions) - set(headers.functions)):
        problems.append(f"function {name}: none in the headers")
    for record, members in sorted(headers.records.items()):
        problems += compare_record(record, members, records.get(record), names)
    for name, rust in sorted(aliases.items()):
        if not names.fit(c_type(headers.typedefs.get(name, name), names), rust):
            problems.append(f"type {name}: C {headers.typedefs.get(name)}, Rust {rust}")
    if problems:
        fail("Rust and C differ\n  " + "\n  ".join(problems))
    print(f"the same in Rust: {len(functions)} functions, {len(headers.records)} structures")


def compare_record(record, members, rust, names):
    if rust is None:
        return [f"structure {record}: none in Rust"]
    members = [(name, c_type(declared, names)) for name, declared, _ in members
               if (record, name) not in UNION_TWINS]
    if [name for name, _ in members] != [name for name, _ in rust]:
        return [f"structure {record}: C has {[name for name, _ in members]}, "
                f"Rust {[name for name, _ in rust]}"]
    return [f"structure {record}.{name}: C {ours}, Rust {theirs}"
            for (name, ours), (_, theirs) in zip(members, rust) if not names.fit(ours, theirs)]


class Names:
    """What the names in C declarations mean, and whether two types fit."""

    def __init__(self, headers):
        self.typedefs = headers.typedefs
        self.known = set(headers.records) | set(headers.typedefs)

    def meaning(self, name):
        if name in SCALARS:
            return SCALARS[name]
        # A typedef of something that has a meaning of its own: int (*)(...).
        declared = self.typedefs.get(name, "")
        return "enum" if name.startswith("enum ") or declared.startswith("enum ") else name

    def fit(self, left, right):
        """`left` from C, `right` from Rust."""
        if isinstance(left, str) and isinstance(right, str):
            if left == "enum":
                return right in ENUM_FITS
            # Rust may call an opaque type something else.
            opaque = left in self.typedefs and self.typedefs[left].startswith("struct ")
            return left == right or (opaque and right not in self.known
                                     and right not in SCALARS.values())
        if isinstance(left, str) or isinstance(right, str) or left[0] != right[0]:
            return False
        if left[0] == "pointer":
            return "void" in (left[1], right[1]) or self.fit(left[1], right[1])
        return len(left) == len(right) and all(map(self.fit, left[1:], right[1:]))


# Types are a name, ("pointer", type) or ("function", result, parameter...).

def c_type(text, names):
    """Reads a type as clang prints it."""
    text = re.sub(r"\b(const|volatile|struct)\b", "", text).strip()
    if match := re.fullmatch(r"(.*?)\s*\(\*\)\s*\((.*)\)", text):
        return ("pointer", c_function(match[1], match[2], names))
    if match := re.fullmatch(r"([^()]*?)\s*\((.*)\)", text):
        return c_function(match[1], match[2], names)
    if text.endswith("]"):
        return ("pointer", c_type(text[:text.index("[")], names))
    if text.endswith("*"):
        return ("pointer", c_type(text[:-1], names))
    return names.meaning(text.strip())


def c_function(result, parameters, names):
    parameters = [part for part in split(parameters) if part != "void"]
    return ("function", c_type(result, names), *(c_type(part, names) for part in parameters))


def rust_type(text):
    # rustfmt breaks long types and puts a comma after their last part.
    text = re.sub(r"(?<=[(<]) | ?,? (?=[)>])", "", " ".join(text.split())).removesuffix(",")
    if match := re.fullmatch(r"Option<(.*)>", text):
        return rust_type(match[1])
    if match := re.fullmatch(r'(?:unsafe )?extern "C" fn\((.*?)\)(?: -> (.*))?', text):
        return ("pointer", rust_function(match[1], match[2]))
    if match := re.fullmatch(r"\*(?:const|mut) (.*)|(?:ptr::)?NonNull<(.*)>", text):
        return ("pointer", rust_type(match[1] or match[2]))
    name = text.rpartition("::")[2]
    return SCALARS.get(name, name)


def rust_function(parameters, result):
    types = [re.sub(r"^(mut )?\w+: ", "", part) for part in split(parameters)]
    return ("function", rust_type(result or "()"), *(rust_type(part) for part in types))


def rust_functions(source):
    """Exported functions of a file."""
    found = re.findall(r'\#\[unsafe\(no_mangle\)\][^{;]*?\bextern "C" fn (\w+)\s*\((.*?)\)\s*'
                       r"(?:->\s*([^{]*?))?\s*\{", without_comments(source), re.DOTALL)
    return {name: rust_function(" ".join(parameters.split()), result)
            for name, parameters, result in found}


def rust_records(source):
    """Structures with C layout: name -> [(member, type)]."""
    found = re.findall(r"\#\[repr\(C[^)]*\)\]\s*(?:\#\[[^\]]*\]\s*)*pub(?:\([^)]*\))? struct (\w+)"
                       r" \{(.*?)\n\}", without_comments(source), re.DOTALL)
    return {name: [(member.rstrip("_"), rust_type(declared)) for member, declared in
                   (re.fullmatch(r"(?:pub(?:\([^)]*\))? )?(\w+): (.*)", part).groups()
                    for part in split(" ".join(body.split())))]
            for name, body in found}


def rust_aliases(source):
    found = re.findall(r"^pub type (\w+) =\s*(.*?);", without_comments(source),
                       re.MULTILINE | re.DOTALL)
    return {name: rust_type(declared) for name, declared in found}


def without_comments(source):
    return re.sub(r"//.*", "", source)


def split(text):
    """Splits at the commas that are in no bracket."""
    parts, depth, current = [], 0, ""
    for char in text.replace("->", "\0"):
        depth += (char in "(<[{") - (char in ")>]}")
        if char == "," and depth == 0:
            parts.append(current)
            current = ""
        else:
            current += char
    return [part.replace("\0", "->").strip() for part in [*parts, current] if part.strip()]


if __name__ == "__main__":
    main()
