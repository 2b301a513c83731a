"""Numbered lines that tell a newcomer what happens, with signs of life while it does."""

import sys
import threading
import time

QUIET_SECONDS = 2


class Steps:
    """`with steps.step("Doing this") as say:` prints a line; `say(text)` sets what is
    shown when the step takes longer than two seconds."""

    def __init__(self, total):
        self.total = total
        self.number = 0
        self.tty = sys.stdout.isatty()

    def step(self, text):
        self.number += 1
        print(f"[{self.number}/{self.total}] {text}", flush=True)
        return _Progress(self.tty)

    def note(self, text):
        print(f"      {text}", flush=True)


class _Progress:
    """On a terminal one line that is rewritten every second; elsewhere a line every
    five seconds."""

    def __init__(self, tty):
        self.tty = tty
        self.text = "working"
        self._end = threading.Event()
        self._shown = False
        self._thread = threading.Thread(target=self._tick, daemon=True)

    def __enter__(self):
        self._begin = time.monotonic()
        self._thread.start()
        return self

    def __exit__(self, *_error):
        self._end.set()
        self._thread.join()
        if self._shown and self.tty:
            print("\r\033[K", end="", flush=True)

    def __call__(self, text):
        self.text = text

    def seconds(self):
        return time.monotonic() - self._begin

    def _tick(self):
        wait = QUIET_SECONDS
        while not self._end.wait(wait):
            line = f"      ... {self.seconds():.0f} s: {self.text}"[:100]
            print(f"\r\033[K{line}" if self.tty else line, end="" if self.tty else "\n", flush=True)
            self._shown = True
            wait = 1 if self.tty else 5
