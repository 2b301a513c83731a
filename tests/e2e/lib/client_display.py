"""What a client's display and cursor channels show, told as events. Part of the client
process (spice_client_process.py)."""

import ctypes
import mmap

BYTES_PER_PIXEL = 4


class Display:
    """A display channel. "surface" tells the size of its picture, "colours" what is in
    the middle of the picture's quarters whenever that is not what it was."""

    def __init__(self, client, name, channel, on):
        self.client = client
        self.name = name
        self.pixels = None
        self.told = None
        on(channel, "display-primary-create", self._create)
        on(channel, "display-primary-destroy", self._destroy)
        on(channel, "display-mark", self._mark)
        on(channel, "display-invalidate", self._invalidate)
        on(channel, "notify::monitors", self._monitors)
        on(channel, "notify::gl-scanout", self._gl_picture)
        on(channel, "gl-draw", self._gl_draw)

    def _create(self, _channel, _format, width, height, stride, _shmid, pixels):
        self.width, self.height, self.stride, self.pixels = width, height, stride, pixels
        self.told = None
        self.client.tell("surface", channel=self.name, width=width, height=height)

    def _destroy(self, _channel):
        self.pixels = None
        self.client.tell("surface-gone", channel=self.name)

    def _mark(self, _channel, value):
        self.client.tell("mark", channel=self.name, value=value)

    def _monitors(self, _channel, _spec):
        self.client.tell("monitors", channel=self.name)

    def _invalidate(self, _channel, *_area):
        if not self.pixels:
            return
        colours = [self._colour(x * self.width // 4, y * self.height // 4)
                   for y in (1, 3) for x in (1, 3)]
        if colours != self.told:
            self.told = colours
            self.client.tell("colours", channel=self.name, colours=colours)

    def _gl_picture(self, channel, _spec):
        """A picture in a graphics card's buffer."""
        self.gl = channel.get_gl_scanout()
        if self.gl:
            self.client.tell("gl-picture", channel=self.name, width=self.gl.width,
                             height=self.gl.height, stride=self.gl.stride, format=self.gl.format,
                             top_down=bool(self.gl.y0top))

    def _gl_draw(self, channel, x, y, width, height):
        """Which bytes there are in the buffer, and that they have been looked at."""
        with mmap.mmap(self.gl.fd, self.gl.stride * self.gl.height, prot=mmap.PROT_READ) as buffer:
            shades = sorted(set(buffer[:]))
        self.client.tell("gl-draw", channel=self.name, area=[x, y, width, height], shades=shades)
        channel.gl_draw_done()

    def save(self, path):
        if not self.pixels:
            return False
        with open(path, "wb") as file:
            file.write(f"P6\n{self.width} {self.height}\n255\n".encode())
            for y in range(self.height):
                line = ctypes.string_at(self.pixels + y * self.stride, self.width * 4)
                rgb = bytearray(self.width * 3)
                rgb[0::3], rgb[1::3], rgb[2::3] = line[2::4], line[1::4], line[0::4]
                file.write(rgb)
        return True

    def _colour(self, x, y):
        pixel = ctypes.string_at(self.pixels + y * self.stride + x * BYTES_PER_PIXEL, 3)
        return list(reversed(pixel))  # red, green, blue


class Cursor:
    """A cursor channel."""

    def __init__(self, client, name, channel, on):
        self.client = client
        self.name = name
        on(channel, "cursor-set", self._set)
        on(channel, "cursor-move", self._move)
        on(channel, "cursor-hide", lambda _c: client.tell("cursor-hide", channel=name))
        on(channel, "cursor-reset", lambda _c: client.tell("cursor-reset", channel=name))

    def _set(self, _channel, width, height, hot_x, hot_y, pixels):
        data = ctypes.string_at(pixels, width * height * BYTES_PER_PIXEL) if pixels else b""
        self.client.tell("cursor-set", channel=self.name, size=[width, height],
                         hot=[hot_x, hot_y], rgba=data.hex())

    def _move(self, _channel, x, y):
        self.client.tell("cursor-move", channel=self.name, position=[x, y])
