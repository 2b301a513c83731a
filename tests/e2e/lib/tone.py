"""Tones: one period for a guest to play, and what is left of them at the other end."""

import array
import base64
import math

RATE, EARS = 48000, 2


def one_period(frequency, loudness=8000):
    """A period as samples of 16 bits for each ear."""
    length = RATE // frequency
    samples = array.array("h")
    for at in range(length):
        samples.extend([round(loudness * math.sin(2 * math.pi * at / length))] * EARS)
    return samples.tobytes()


def write_in_guest(guest, path, frequency, seconds):
    """A file in the guest with so much of a tone."""
    period = base64.b64encode(one_period(frequency)).decode()
    guest.sh(f"echo {period} | base64 -d >/tmp/period; "
             f"repeat_to /tmp/period {RATE * EARS * 2 * seconds} >{path}; rm /tmp/period")


class Heard:
    """What arrived of a tone: samples of the left ear, without the silence around it."""

    def __init__(self, data):
        samples = array.array("h", data[:len(data) // (2 * EARS) * 2 * EARS])
        left = samples[::EARS]
        loud = [at for at, value in enumerate(left) if abs(value) > 300]
        self.samples = left[loud[0]:loud[-1] + 1] if loud else left[:0]
        self.loudest = max(map(abs, self.samples), default=0)

    def seconds(self):
        return len(self.samples) / RATE

    def rises(self):
        """Where it comes up through zero."""
        samples = self.samples
        return [at for at in range(1, len(samples)) if samples[at - 1] < 0 <= samples[at]]

    def frequency(self):
        """By the period that is in the middle of all."""
        rises = self.rises()
        lengths = sorted(after - before for before, after in zip(rises, rises[1:]))
        return RATE / lengths[len(lengths) // 2] if lengths else 0

    def breaks(self, frequency):
        """How many periods are not as long as they should be."""
        rises, length = self.rises(), RATE / frequency
        return sum(1 for before, after in zip(rises, rises[1:])
                   if abs(after - before - length) > 2)
