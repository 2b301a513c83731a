"""A terminal as far as full-screen programs such as spice-top need one: what they write
becomes a screen of characters, and the screen an SVG picture."""

import codecs
import fcntl
import os
import pty
import re
import select
import struct
import subprocess
import termios
from xml.sax.saxutils import escape

from .process import end_with_parent
from .waiting import wait_until

BOLD, REVERSED = 1, 2
BLANK = (" ", 0)
# What ratatui's backend writes: a control sequence, or one character.
TOKEN = re.compile(r"\x1b\[([?>]?)([0-9;]*)([A-Za-z])|\x1b[=>78]|([^\x1b])")
# An incomplete sequence at the end of what was read.
OPEN = re.compile(r"\x1b(\[[?>]?[0-9;]*)?$")
FONT, FOREGROUND, BACKGROUND = "DejaVu Sans Mono,Menlo,Consolas,monospace", "#d8dee9", "#1c2128"
# Pixels of a character at 13 px.
WIDTH, HEIGHT = 8, 17
# Block elements of graphs, in eighths: fonts leave gaps between them.
BARS = " ▁▂▃▄▅▆▇█"


class Screen:
    """Lines of cells: a character and its looks."""

    def __init__(self, columns, lines):
        self.columns, self.lines = columns, lines
        self.cells = [[BLANK] * columns for _ in range(lines)]
        self.row = self.column = self.looks = 0
        self.pending = ""

    def feed(self, text):
        text = self.pending + text
        rest = OPEN.search(text)
        self.pending = rest[0] if rest else ""
        for private, numbers, kind, character in TOKEN.findall(
                text[:len(text) - len(self.pending)]):
            if character:
                self._put(character)
            elif not private:
                self._obey(kind, [int(number or 0) for number in numbers.split(";")])

    def _put(self, character):
        if character == "\r":
            self.column = 0
        elif character == "\n":
            self.row = min(self.row + 1, self.lines - 1)
        elif character >= " " and self.column < self.columns:
            self.cells[self.row][self.column] = (character, self.looks)
            self.column += 1

    def _obey(self, kind, numbers):
        if kind == "H":
            row, column = (numbers + [1])[:2]
            self.row = min(max(row, 1), self.lines) - 1
            self.column = min(max(column, 1), self.columns) - 1
        elif kind == "J":
            self.cells = [[BLANK] * self.columns for _ in range(self.lines)]
        elif kind == "m":
            for number in numbers:
                if number == 0:
                    self.looks = 0
                elif number in (1, 7):
                    self.looks |= BOLD if number == 1 else REVERSED
                elif number in (22, 27):
                    self.looks &= ~(BOLD if number == 22 else REVERSED)

    def text(self):
        return "\n".join("".join(c for c, _ in line).rstrip() for line in self.cells)

    def svg(self, title):
        """The screen without its empty lines at the end, but with the last one."""
        lines = list(self.cells)
        while len(lines) > 2 and all(cell[0] == " " for cell in lines[-2]):
            del lines[-2]
        width, height = self.columns * WIDTH, len(lines) * HEIGHT
        out = [f'<svg xmlns="http://www.w3.org/2000/svg" width="{width + 16}" '
               f'height="{height + 16}" viewBox="-8 -8 {width + 16} {height + 16}" '
               f'font-family="{FONT}" font-size="13">',
               f"<title>{escape(title)}</title>",
               f'<rect x="-8" y="-8" width="{width + 16}" height="{height + 16}" rx="6" '
               f'fill="{BACKGROUND}"/>']
        for row, line in enumerate(lines):
            out += self._line(line, row * HEIGHT)
        return "\n".join(out) + "\n</svg>\n"

    def _line(self, line, top):
        out, at = [], 0
        while at < self.columns:
            looks = line[at][1]
            end = at
            while end < self.columns and line[end][1] == looks:
                end += 1
            run = "".join(character for character, _ in line[at:end])
            ink, paper = FOREGROUND, None
            if looks & REVERSED:
                ink, paper = BACKGROUND, FOREGROUND
                out.append(f'<rect x="{at * WIDTH}" y="{top}" width="{(end - at) * WIDTH}" '
                           f'height="{HEIGHT}" fill="{paper}"/>')
            weight = ' font-weight="bold"' if looks & BOLD else ""
            for word in re.finditer(r"[^ ▁-█]+(?: [^ ▁-█]+)*", run):
                x, length = (at + word.start()) * WIDTH, len(word[0]) * WIDTH
                out.append(f'<text x="{x}" y="{top + 13}" textLength="{length}" '
                           f'fill="{ink}"{weight}>{escape(word[0])}</text>')
            for bar in re.finditer("[▁-█]", run):
                part = BARS.index(bar[0]) * HEIGHT / 8
                out.append(f'<rect x="{(at + bar.start()) * WIDTH}" y="{top + HEIGHT - part:g}" '
                           f'width="{WIDTH}" height="{part:g}" fill="#7fb4ca"/>')
            at = end
        return out


class Terminal:
    """A program on a terminal of its own."""

    def __init__(self, command, columns, lines):
        self.screen = Screen(columns, lines)
        self.near, self.far = pty.openpty()
        fcntl.ioctl(self.far, termios.TIOCSWINSZ, struct.pack("HHHH", lines, columns, 0, 0))
        self.before = termios.tcgetattr(self.far)
        self.decoder = codecs.getincrementaldecoder("utf-8")()
        self.process = subprocess.Popen(command, stdin=self.far, stdout=self.far,
                                        stderr=self.far, start_new_session=True,
                                        preexec_fn=end_with_parent)

    def look(self):
        """What stands there now, as text."""
        while select.select([self.near], [], [], 0.05)[0]:
            self.screen.feed(self.decoder.decode(os.read(self.near, 65536)))
        return self.screen.text()

    def shows(self, *texts):
        picture = self.look()
        return all(text in picture for text in texts)

    def press(self, keys):
        os.write(self.near, keys.encode())

    def wait_end(self, seconds=20):
        """Waits for the program's end: its status. The terminal must be as before."""
        wait_until(lambda: self.look() is not None and self.process.poll() is not None, seconds,
                   "the end of a program on a terminal")
        assert termios.tcgetattr(self.far) == self.before, "the terminal is left changed"
        return self.process.returncode

    def stop(self):
        self.process.kill()
        self.process.wait()
        os.close(self.near)
        os.close(self.far)
