"""JPEG pictures of plain colours: baseline, without subsampling, one coefficient a block."""

import struct

BLOCK = 8

# Huffman codes of our own: nine sizes of a DC difference with four bits each, and for AC
# nothing but the end of the block, with one.
_DC_BITS, _DC_SIZES = [0, 0, 0, 9] + [0] * 12, list(range(9))
_AC_BITS, _AC_SIZES = [1] + [0] * 15, [0]


def quarters(width, height, colours):
    """A picture with four colours (red, green, blue): top left and right, bottom left
    and right. The sides are multiples of 16."""
    out = b"\xff\xd8"
    out += _segment(0xdb, b"\0" + bytes([BLOCK]) * 64)
    out += _segment(0xc0, struct.pack(">BHHB", 8, height, width, 3)
                    + b"".join(bytes([number, 0x11, 0]) for number in (1, 2, 3)))
    out += _segment(0xc4, b"\x00" + bytes(_DC_BITS) + bytes(_DC_SIZES))
    out += _segment(0xc4, b"\x10" + bytes(_AC_BITS) + bytes(_AC_SIZES))
    out += _segment(0xda, bytes([3, 1, 0, 2, 0, 3, 0, 0, 63, 0]))
    bits = []
    before = [0, 0, 0]
    planes = [_ycbcr(colour) for colour in colours]
    for y in range(height // BLOCK):
        for x in range(width // BLOCK):
            block = planes[2 * (2 * y >= height // BLOCK) + (2 * x >= width // BLOCK)]
            for component in range(3):
                bits.append(_block(block[component] - before[component]))
            before = block
    bits = "".join(bits)
    bits += "1" * (-len(bits) % 8)
    data = int(bits, 2).to_bytes(len(bits) // 8, "big")
    return out + data.replace(b"\xff", b"\xff\0") + b"\xff\xd9"


def plain(width, height, colour):
    return quarters(width, height, [colour] * 4)


def comment(size):
    """The first four bytes of a comment of `size` bytes in all; it may stand behind a
    picture's first two."""
    return struct.pack(">BBH", 0xff, 0xfe, size - 2)


def _segment(marker, body):
    return struct.pack(">BBH", 0xff, marker, len(body) + 2) + body


def _ycbcr(colour):
    """Relative to the middle grey, which is what a DC coefficient is."""
    red, green, blue = colour
    y = 0.299 * red + 0.587 * green + 0.114 * blue
    values = [y - 128, (blue - y) * 0.564, (red - y) * 0.713]
    return [max(-128, min(127, round(value))) for value in values]


def _block(difference):
    size = abs(difference).bit_length()
    bits = f"{size:04b}"
    if size:
        bits += f"{difference if difference > 0 else difference + (1 << size) - 1:0{size}b}"
    return bits + "0"
