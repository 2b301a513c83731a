"""An SVG of the ratios by message size, and of the main thread's time."""

import math

from scenarios import SIZES, TRANSPORTS

WIDTH, HEIGHT, LEFT, TOP = 460, 300, 60, 40
COLOURS = ("#1b6ca8", "#2a9d5c", "#c0392b", "#7d3c98", "#b9770e", "#117a65")


def svg(rows):
    """Two panels: ours/Debian's in MB/s by size, main-thread seconds ours/Debian's."""
    panels = [panel(0, "throughput, ours/other", lines_of(rows, "MB/s")),
              panel(WIDTH + 200, "main-thread seconds a GB, ours/other",
                    lines_of(rows, "main s/GB"))]
    return (f'<svg xmlns="http://www.w3.org/2000/svg" width="{2 * (WIDTH + 200)}" '
            f'height="{HEIGHT + 90}" font-family="sans-serif" font-size="12">\n'
            '<rect width="100%" height="100%" fill="white"/>\n' + "\n".join(panels) + "\n</svg>\n")


def lines_of(rows, unit):
    by_name = {(row["scenario"], row["unit"]): row.get("ratio") for row in rows}
    lines = {}
    for letter, way in (("in", "to device"), ("out", "to client")):
        for transport, title in TRANSPORTS.items():
            points = [(size, by_name.get((f"{letter}-{transport}-{size}", unit)))
                      for size in SIZES]
            points = [(size, ratio) for size, ratio in points if ratio]
            if points:
                lines[f"{way}, {title}"] = points
    return lines


def panel(shift, title, lines):
    ratios = [ratio for points in lines.values() for _, ratio in points] + [1]
    low = math.floor(math.log10(min(ratios)) - 0.01)
    high = math.ceil(math.log10(max(ratios)) + 0.01)
    sizes = [math.log2(size) for size in SIZES]

    def x(size):
        return LEFT + (math.log2(size) - sizes[0]) / (sizes[-1] - sizes[0]) * (WIDTH - LEFT)

    def y(ratio):
        return TOP + (high - math.log10(ratio)) / (high - low) * HEIGHT

    parts = [f'<g transform="translate({shift},0)">',
             f'<text x="{LEFT}" y="20" font-size="14">{title}</text>']
    for power in range(low, high + 1):
        at, strong = y(10 ** power), "#444" if power == 0 else "#ddd"
        parts.append(f'<line x1="{LEFT}" y1="{at:.1f}" x2="{WIDTH}" y2="{at:.1f}" '
                     f'stroke="{strong}"/>')
        parts.append(f'<text x="{LEFT - 6}" y="{at + 4:.1f}" text-anchor="end">'
                     f'{10 ** power:g}</text>')
    for size, words in SIZES.items():
        parts.append(f'<text x="{x(size):.1f}" y="{TOP + HEIGHT + 18}" text-anchor="middle">'
                     f'{words}</text>')
    for number, (name, points) in enumerate(lines.items()):
        colour = COLOURS[number % len(COLOURS)]
        path = " ".join(f"{x(size):.1f},{y(ratio):.1f}" for size, ratio in points)
        parts.append(f'<polyline points="{path}" fill="none" stroke="{colour}" '
                     'stroke-width="2"/>')
        parts.extend(f'<circle cx="{x(size):.1f}" cy="{y(ratio):.1f}" r="3" fill="{colour}"/>'
                     for size, ratio in points)
        at = TOP + 10 + 18 * number
        parts.append(f'<rect x="{WIDTH + 14}" y="{at - 9}" width="12" height="10" '
                     f'fill="{colour}"/><text x="{WIDTH + 32}" y="{at}">{name}</text>')
    return "\n".join([*parts, "</g>"])
