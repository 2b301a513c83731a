"""Runs the end-to-end checks; see `scripts/e2e --help`."""

import argparse
import fcntl
import json
import os
import queue
import shutil
import subprocess
import sys
import threading
import time
from pathlib import Path

HERE = Path(__file__).parent
REPOSITORY = HERE.parent.parent
sys.path.insert(0, str(HERE))

from lib.guest import make_guest  # noqa: E402

FILE_SECONDS = 300
STATE = REPOSITORY / ".cache" / "e2e"

# Longest first: several run side by side.
ORDER = ["xorg", "migrate", "migrate_ways", "lifecycle", "agent", "stream_wire", "stream", "smartcard", "port", "agent_policy",
         "inputs", "migrate_devices", "audio", "tls", "flood", "sandbox", "display", "agent_by_hand", "webdav", "qxl",
         "hotplug", "usb", "xspice", "gl", "video", "custom_channel", "documents", "statistics",
         "websocket", "reconnect", "log", "session"]

# Test files that compare times with bounds: nothing else runs beside them, and they get no
# second chance. What they do to the machine would be felt by the others, too.
ALONE = ["flood"]

# Of more test files than that, what failed does not run again: it is not the machine's load.
AGAIN = 6

# How much is told about a failure at the end of the output, of which CI keeps little.
REASONS = 6
REASON_LINES = 12
LINE_CHARACTERS = 240

# Test files whose guest has programs of Debian's in it, and the name of the set.
PROGRAMS = {"webdav": "webdav", "agent": "vdagent", "agent_policy": "vdagent",
            "smartcard": "smartcard", "audio": "sound", "xorg": "xorg"}


def parse():
    parser = argparse.ArgumentParser(
        prog="scripts/e2e",
        description="End-to-end checks: an unmodified QEMU, a small Linux guest and a real SPICE "
        "client on Debian's SPICE server library or on ours. A NAME is a test file (port) or one "
        "of its checks (port.echo); without a NAME everything runs.",
    )
    parser.add_argument("--lib", choices=["debian", "ours"], default="ours")
    parser.add_argument("--home", choices=["main", "thread"],
                        help="the thread on which our library serves established connections")
    parser.add_argument("--build", default=str(REPOSITORY / "build"), metavar="DIR",
                        help="the directory that holds our libspice-server.so.1 (default: build)")
    parser.add_argument("--jobs", type=int, default=3, metavar="N",
                        help="test files at a time (default: 3; a machine and its client wait "
                        "for each other much of the time)")
    parser.add_argument("--differential", action="store_true",
                        help="run with Debian's library, then with ours in both homes, and fail "
                        "where they disagree")
    parser.add_argument("--compare", nargs="+", metavar="FILE",
                        help="only compare result files of earlier runs with the first one")
    parser.add_argument("--list", action="store_true", help="print the names of all test files")
    parser.add_argument("names", nargs="*", metavar="NAME")
    return parser.parse_args()


def test_files(names):
    files = sorted(path.stem.removeprefix("test_") for path in HERE.glob("test_*.py"))
    files.sort(key=lambda name: ORDER.index(name) if name in ORDER else len(ORDER))
    wanted = {}
    for name in names:
        file, _, check = name.partition(".")
        if file not in files:
            sys.exit(f"e2e: no test file named {file}; there are: {', '.join(files)}")
        wanted.setdefault(file, [])
        if check:
            wanted[file].append(check)
    if not names:
        return {file: [] for file in files}
    return {file: wanted[file] for file in files if file in wanted}


class Run:
    """All test files on one library."""

    def __init__(self, options, lib, home):
        self.options = options
        self.lib = lib
        self.home = home
        self.title = lib + (f"-{home}" if home else "")
        self.logs = STATE / self.title
        self.results = []
        self.lock = threading.Lock()
        self.unsteady = {}

    def reserve(self):
        """Two runs must not write the same logs: waits for the other one. Returns what is to
        be kept open meanwhile."""
        self.logs.mkdir(parents=True, exist_ok=True)
        lock = open(self.logs / "lock", "w", encoding="ascii")
        try:
            fcntl.flock(lock, fcntl.LOCK_EX | fcntl.LOCK_NB)
        except BlockingIOError:
            print(f"e2e: another run on {self.title} is under way; waiting for it", flush=True)
            fcntl.flock(lock, fcntl.LOCK_EX)
        return lock

    def finish(self):
        """Writes the results to a file and returns its path."""
        self.results.sort(key=lambda result: result["check"])
        part = "-part" if self.options.names else ""
        path = STATE / f"results-{self.title}{part}.json"
        path.write_text(json.dumps(self.results, indent=1) + "\n")
        failed = sum(not result["passed"] for result in self.results)
        if failed:
            print(f"e2e: logs are in {self.logs.relative_to(REPOSITORY)}")
        print(f"e2e: {self.title}: results in {path.relative_to(REPOSITORY)}")
        print(f"{len(self.results) - failed} passed, {failed} failed", flush=True)
        return path

    def run_file(self, file, only):
        """Runs the checks of a test file and keeps their results."""
        for result in self._checks(file, only, self.logs / file):
            with self.lock:
                self.results.append(result)

    def run_again(self):
        """What failed beside other jobs runs once more, alone, and that result counts; the
        first failure is kept in `unsteady` when it passes now."""
        for file, checks in self.failed_beside_others().items():
            print(f"e2e: {self.title}: once more, alone: {file}.{{{','.join(checks)}}}", flush=True)
            # How a machine ends, or a file, can only be asked of all of it.
            whole = not {"quits", "runs"}.isdisjoint(checks)
            again = self._checks(file, [] if whole else checks, self.logs / "again" / file)
            self._settle(file, {result["check"]: result for result in again})

    def failed_beside_others(self):
        """Test files, and which of their checks failed."""
        failed = {}
        for result in self.results:
            file, _, check = result["check"].partition(".")
            if not result["passed"] and file not in ALONE:
                failed.setdefault(file, []).append(check)
        return failed

    def _settle(self, file, again):
        """Puts the results of a file's second run in the places of failures."""
        kept = {}
        for result in self.results:
            check = result["check"]
            second = again.pop(check, None)
            if result["passed"]:
                kept[check] = result if second is None or second["passed"] else second
                continue
            if second is None and check == f"{file}.runs":
                self.unsteady[check] = result["error"]
                continue
            kept[check] = second or result
            if kept[check]["passed"]:
                self.unsteady[check] = result["error"]
        self.results = [*kept.values(), *again.values()]

    def _checks(self, file, only, logs):
        """Runs a test file in a process of its own and yields the results as they come."""
        shutil.rmtree(logs, ignore_errors=True)
        logs.mkdir(parents=True)
        command = [sys.executable, HERE / "run_file.py", f"test_{file}", "--lib", self.lib,
                   "--build", self.options.build, "--logs", logs]
        command += ["--home", self.home] if self.home else []
        command += ["--only", *only] if only else []
        with open(logs / "log", "wb") as log:
            # No preexec_fn here: this runs in a thread. The child asks for the
            # signal itself.
            process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=log, text=True)
        timer = threading.Timer(FILE_SECONDS, process.kill)
        timer.start()
        for line in process.stdout:
            yield self._tell(json.loads(line))
        timed_out = not timer.is_alive()
        timer.cancel()
        if process.wait() != 0:
            tail = (logs / "log").read_text(errors="replace").strip().splitlines()[-5:]
            yield self._tell({
                "check": f"{file}.runs", "passed": False, "seconds": 0, "facts": {}, "where": tail,
                "error": f"not done after {FILE_SECONDS} s" if timed_out
                else f"the test file ended with status {process.returncode}"})

    def _tell(self, result):
        word = "ok  " if result["passed"] else "FAIL"
        with self.lock:
            print(f"{word} {self.title} {result['check']} ({result['seconds']} s)", flush=True)
            if result["error"]:
                print(f"     {result['error']}", flush=True)
        return result


def execute(runs, jobs):
    """Runs the test files of all runs, `jobs` at a time, the longest first: one queue, so that
    no run has an end of its own at which processors idle. Then come those that have to be
    alone, and what failed beside others."""
    files = test_files(runs[0].options.names)
    work = [(run, file, only) for file, only in files.items() for run in runs]
    together = [item for item in work if item[1] not in ALONE]
    titles = ", ".join(run.title for run in runs)
    print(f"e2e: {len(files)} test files on: {titles}", flush=True)
    begin = time.monotonic()
    locks = [run.reserve() for run in runs]
    work_through(together, jobs)
    work_through([item for item in work if item[1] in ALONE], 1)
    failed = sum(len(run.failed_beside_others()) for run in runs)
    if min(jobs, len(together)) > 1 and failed <= AGAIN:
        for run in runs:
            run.run_again()
    for lock in locks:
        lock.close()
    print(f"e2e: done in {time.monotonic() - begin:.0f} s", flush=True)


def work_through(items, jobs):
    """Runs test files, `jobs` at a time."""
    work = queue.Queue()
    for item in items:
        work.put(item)

    def take():
        while True:
            try:
                run, file, only = work.get_nowait()
            except queue.Empty:
                return
            run.run_file(file, only)

    workers = [threading.Thread(target=take) for _ in range(max(1, jobs))]
    for worker in workers:
        worker.start()
    for worker in workers:
        worker.join()


def tell_unsteady(runs):
    """What passed only when it was alone: counted as passed, and not hidden."""
    for run in runs:
        for check, error in run.unsteady.items():
            print(f"unsteady: {run.title} {check} (first failure: {one_line(error)})")


def tell_reasons(runs):
    """The last words, for whoever sees only the end: why checks failed."""
    failed = [(run, result) for run in runs for result in run.results if not result["passed"]]
    if not failed:
        return
    print("why they failed:")
    for run, result in failed[:REASONS]:
        print(f"  {run.title} {result['check']} ({result['seconds']} s)")
        lines = result["error"].strip().splitlines() + result.get("where", [])
        if len(lines) > REASON_LINES:
            lines = lines[:REASON_LINES // 2] + ["..."] + lines[-REASON_LINES // 2:]
        for line in lines:
            print(f"    {one_line(line)}")
    if len(failed) > REASONS:
        rest = ", ".join(f"{run.title} {result['check']}" for run, result in failed[REASONS:])
        print(one_line(f"  and {len(failed) - REASONS} more: {rest}"))


def one_line(text):
    text = " ".join(text.split())
    half = LINE_CHARACTERS // 2
    return text if len(text) <= LINE_CHARACTERS else f"{text[:half]} ... {text[-half:]}"


def compare(paths):
    """How many checks of the other runs disagree with the first one."""
    runs = []
    for path in paths:
        runs.append((Path(path).stem.removeprefix("results-"),
                     {r["check"]: r for r in json.loads(Path(path).read_text())}))
    (judge_name, judge), *others = runs
    disagreements = 0
    for name, results in others:
        for check in sorted(judge.keys() | results.keys()):
            left, right = judge.get(check), results.get(check)
            problem = None
            if left is None or right is None:
                problem = f"ran only with {judge_name if right is None else name}"
            elif left["passed"] != right["passed"]:
                problem = " and ".join(f"{'passes' if r['passed'] else 'fails'} with {n}"
                                       for n, r in ((judge_name, left), (name, right)))
            elif left["facts"] != right["facts"]:
                keys = [k for k in sorted(left["facts"].keys() | right["facts"].keys())
                        if left["facts"].get(k) != right["facts"].get(k)]
                problem = "; ".join(f"{k}: {judge_name} {json.dumps(left['facts'].get(k))}, "
                                    f"{name} {json.dumps(right['facts'].get(k))}" for k in keys)
            if problem:
                disagreements += 1
                print(f"DIFF {check}: {problem}")
    print(f"e2e: {', '.join(name for name, _ in others)} against {judge_name}: "
          f"{disagreements} disagreements")
    return disagreements


def main():
    options = parse()
    os.environ["LC_ALL"] = "C.UTF-8"
    if options.list:
        print("\n".join(test_files([])))
        return 0
    if options.compare:
        return 1 if compare(options.compare) else 0
    make_guest()
    for programs in {PROGRAMS[file] for file in test_files(options.names) if file in PROGRAMS}:
        make_guest(programs)
    runs = [(options.lib, options.home)]
    if options.differential:
        runs = [("debian", None), ("ours", "main"), ("ours", "thread")]
    runs = [Run(options, lib, home) for lib, home in runs]
    execute(runs, options.jobs)
    paths = [run.finish() for run in runs]
    failed = sum(not result["passed"] for run in runs for result in run.results)
    failed += sum(not run.results for run in runs)
    if options.differential:
        failed += compare(paths)
    tell_unsteady(runs)
    tell_reasons(runs)
    return 1 if failed else 0


sys.exit(main())
