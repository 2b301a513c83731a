"""Waiting for events with a deadline: the tests never sleep for a fixed time."""

import os
import threading
import time


class Timeout(AssertionError):
    """What was waited for did not happen in time."""


class Deadline:
    """A point in time after which waiting is an error."""

    def __init__(self, seconds):
        self.end = time.monotonic() + seconds
        self.seconds = seconds

    def left(self):
        return max(0.0, self.end - time.monotonic())

    def passed(self):
        return time.monotonic() >= self.end


class EventList:
    """A list that grows in one thread while others wait for an entry."""

    def __init__(self):
        self._items = []
        self._changed = threading.Condition()
        self._closed = None

    def add(self, item):
        with self._changed:
            self._items.append(item)
            self._changed.notify_all()

    def close(self, reason):
        """No more entries will come: whoever waits is told why."""
        with self._changed:
            self._closed = reason
            self._changed.notify_all()

    def mark(self):
        """A position to give to `wait` and `since`."""
        with self._changed:
            return len(self._items)

    def since(self, mark=0):
        with self._changed:
            return list(self._items[mark:])

    def wait(self, matches, seconds, what, mark=0):
        """The first entry after `mark` that `matches`; Timeout if none comes."""
        deadline = Deadline(seconds)
        position = mark
        with self._changed:
            while True:
                while position < len(self._items):
                    item = self._items[position]
                    position += 1
                    if matches(item):
                        return item
                if self._closed is not None:
                    raise Timeout(f"{what}: will not happen any more ({self._closed})")
                if deadline.passed():
                    raise Timeout(
                        f"{what}: not within {seconds} s; seen instead: "
                        f"{_shorten(self._items[mark:])}"
                    )
                self._changed.wait(deadline.left())


def wait_until(condition, seconds, what, interval=0.02):
    """For states that nobody announces (a count in /proc): looks again and again."""
    deadline = Deadline(seconds)
    while True:
        value = condition()
        if value:
            return value
        if deadline.passed():
            raise Timeout(f"{what}: not within {seconds} s")
        time.sleep(interval)


def settled(value, seconds=30, interval=0.3):
    """Waits until `value()` is twice the same, `interval` apart; returns it."""
    seen = []

    def same():
        seen.append(value())
        return len(seen) > 1 and seen[-1] == seen[-2]

    wait_until(same, seconds, "a value that stays the same", interval)
    return seen[-1]


def count_fds(pid):
    return len(os.listdir(f"/proc/{pid}/fd"))


def count_threads(pid):
    return len(os.listdir(f"/proc/{pid}/task"))


def resident_kib(pid):
    with open(f"/proc/{pid}/status", encoding="ascii") as status:
        return next(int(line.split()[1]) for line in status if line.startswith("VmRSS:"))


def _shorten(items):
    text = repr(items[-12:])
    return text if len(text) < 1500 else "… " + text[-1500:]
