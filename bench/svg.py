# SPDX-License-Identifier: GPL-2.0-only
"""Draws bench.json: for each row a bar by mode, from 1 to the ratio."""

import math
from html import escape
from itertools import cycle

BAR, GAP, LEFT, PLOT, VALUE, TOP, BOTTOM = 9, 9, 96, 310, 52, 78, 58
PANEL = LEFT + PLOT + VALUE
COLOURS = ["#8a8a8a", "#d08a1d", "#1f6fb4", "#2c9360", "#8b4fa8", "#b43d3d"]
BOLD = 'font-weight="bold"'


def text(x, y, content, anchor="start", size=11, more=""):
    return f'<text x="{x:.1f}" y="{y:.1f}" text-anchor="{anchor}" font-size="{size}" {more}>{escape(content)}</text>'


def bars_of(setting, modes, base):
    """By row and mode: the ratio, the ends of its range, whether it is sure. The last rows are the geometric means."""
    rows = {}
    for name, row in setting["rows"].items():
        rows[name] = {}
        for mode in modes:
            one = row.get(mode, {})
            if "ratio" in one:
                rows[name][mode] = one["ratio"], *one["quartiles"], one["sure"]
    for mean in setting["means"]:
        if mean["to"] == base:
            rows[f"{mean['of']}s"] = {
                mode: (one["ratio"], min(one["by_round"]), max(one["by_round"]), one["sure"])
                for mode, one in mean["modes"].items()
            }
    return rows


def axis(rows):
    """The powers of two around a panel's ratios, and a function that places a ratio between them."""
    ratios = [ratio for row in rows.values() for bar in row.values() for ratio in bar[:3]]
    low = min(math.floor(math.log2(min(ratios, default=1))), -1)
    high = max(math.ceil(math.log2(max(ratios, default=1))), 1)
    return [2.0**n for n in range(low, high + 1)], lambda ratio: LEFT + PLOT * (math.log2(ratio) - low) / (high - low)


def draw_bar(x, y, bar, colour):
    ratio, low, high, sure = bar
    start, end = sorted((x(1), x(ratio)))
    low, high, middle = x(low), x(high), y + BAR / 2
    width, opacity = max(end - start, 1), 1 if sure else 0.45
    return [
        f'<rect x="{start:.1f}" y="{y}" width="{width:.1f}" height="{BAR - 1}" fill="{colour}" opacity="{opacity}"/>',
        f'<path d="M{low:.1f} {middle}H{high:.1f}M{low:.1f} {middle - 2}v4M{high:.1f} {middle - 2}v4" stroke="#222" stroke-width="0.8"/>',
        text(LEFT + PLOT + 8, y + BAR - 1.5, f"{'' if sure else '~'}{ratio:.2f}", size=9),
    ]


def draw_panel(rows, what, colours, bottom):
    ticks, x = axis(rows)
    out = [text(LEFT, 64, what, size=12, more=BOLD)]
    for ratio in ticks:
        colour = "#222" if ratio == 1 else "#ddd"
        out.append(f'<path d="M{x(ratio):.1f} {TOP - 6}V{bottom}" stroke="{colour}"/>')
        out.append(text(x(ratio), bottom + 13, f"{ratio:g}", "middle", 10))
    y = TOP
    for name, bars in rows.items():
        out.append(text(LEFT - 8, y + BAR * len(colours) / 2 + 4, name, "end"))
        for mode, colour in colours.items():
            if mode in bars:
                out += draw_bar(x, y, bars[mode], colour)
            y += BAR
        y += GAP
    return out


def draw(result):
    base = result["base"]
    colours = dict(zip((mode for mode in result["modes"] if mode not in (base, "native")), cycle(COLOURS)))
    panels = [(setting["what"], bars_of(setting, list(colours), base)) for setting in result["cpus"].values()]
    bottom = TOP + (BAR * len(colours) + GAP) * max(len(rows) for _, rows in panels)
    height, width = bottom + BOTTOM, max(PANEL * len(result["cpus"]) + 16, 500)
    out = [
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width} {height}" width="{width}" height="{height}"',
        ' font-family="sans-serif" fill="#222">',
        f'<rect width="{width}" height="{height}" fill="#fff"/>',
        text(12, 22, f"Time for one operation in a UML guest, ratio to {base}", size=15, more=BOLD),
    ]
    for i, (mode, colour) in enumerate(colours.items()):
        out += [f'<rect x="{12 + 90 * i}" y="33" width="10" height="10" fill="{colour}"/>', text(27 + 90 * i, 42, mode)]
    for i, (what, rows) in enumerate(panels):
        out += [f'<g transform="translate({PANEL * i})">', *draw_panel(rows, what, colours, bottom), "</g>"]
    legend = "Left is faster. Whiskers: the middle half of the rounds (of a mean: all rounds). Pale, ~: not sure."
    where = "{date}, Linux {host[kernel]}, {host[cpu]}, {host[cpus]} CPUs; medians of {rounds} rounds.".format(**result)
    out += [text(12, height - 22, legend, size=9), text(12, height - 10, where, size=9), "</svg>"]
    return "\n".join(out) + "\n"
