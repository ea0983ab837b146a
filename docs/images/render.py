#!/usr/bin/env python3
"""Draws what a command printed as an SVG picture of a terminal. Run by hand; needs Python alone.

    sandmill demo > demo.txt                   # in another terminal: Ctrl-C once it says so
    ./render.py "sandmill demo" demo.txt > demo.svg

Text is placed cell by cell and box-drawing characters are drawn as lines, so the picture looks the same
with every font.
"""

import sys
from xml.sax.saxutils import escape

CELL, LINE, SIZE = 8.4, 19.0, 14.0
PAD, BAR = 18.0, 34.0
BACK, EDGE, TEXT, DIM, PROMPT = "#16181d", "#2b2f38", "#d7dae0", "#7d8594", "#8fd18a"
FONT = "ui-monospace, SFMono-Regular, Menlo, Consolas, 'DejaVu Sans Mono', 'Liberation Mono', monospace"

# Which arms a box-drawing character has, and whether its horizontal or vertical line is another kind.
ARMS = {
    "─": "we", "│": "ns", "┌": "es", "┐": "ws", "└": "ne", "┘": "nw", "├": "nse", "┤": "nsw", "┬": "wes",
    "┴": "wen", "┼": "nsew", "═": "we", "╞": "nse", "╡": "nsw", "╪": "nsew", "┆": "ns",
}
DOUBLE, DASHED = set("═╞╡╪"), set("┆")


def box(char, x, y):
    """Lines from the middle of the cell whose upper left corner is at x, y."""
    mid_x, mid_y = x + CELL / 2, y + LINE / 2
    for arm in ARMS[char]:
        if arm in "ns":
            end = y if arm == "n" else y + LINE
            dash = ' stroke-dasharray="2.4 2.35"' if char in DASHED else ""
            yield f'<path d="M{mid_x:.1f} {mid_y:.1f}V{end:.1f}"{dash}/>'
        else:
            end = x if arm == "w" else x + CELL
            for shift in (-1.5, 1.5) if char in DOUBLE else (0,):
                yield f'<path d="M{mid_x:.1f} {mid_y + shift:.1f}H{end:.1f}"/>'


def runs(line):
    """Pieces of text without wide gaps and box characters, with the column in which each begins."""
    start, text = 0, ""
    for column, char in enumerate(line + "  "):
        if char in ARMS or line[column : column + 2].strip() == "" and char == " ":
            if text.strip():
                yield start, text
            start, text = column + 1, ""
        elif not text and char == " ":
            start = column + 1
        else:
            text += char


def draw(command, lines):
    columns = max(len(line) for line in lines + [f"$ {command}"])
    width = columns * CELL + 2 * PAD
    height = BAR + (len(lines) + 1) * LINE + PAD
    yield (
        f'<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 {width:.0f} {height:.0f}" '
        f'width="{width:.0f}" height="{height:.0f}" role="img" aria-label="{escape(command)} in a terminal">'
    )
    yield (
        f'<rect x=".5" y=".5" width="{width - 1:.0f}" height="{height - 1:.0f}" rx="9" fill="{BACK}" '
        f'stroke="{EDGE}"/>'
    )
    for at, colour in enumerate(("#e0655c", "#dfb04e", "#69b765")):
        yield f'<circle cx="{PAD + 4 + at * 18:.0f}" cy="17" r="5.5" fill="{colour}"/>'
    yield f'<g font-family="{FONT}" font-size="{SIZE:g}" xml:space="preserve">'
    for row, line in enumerate([f"$ {command}", *lines]):
        y = BAR + row * LINE
        base = y + LINE * 0.72
        for column, text in runs(line):
            x, long = PAD + column * CELL, len(text) * CELL
            colour = TEXT
            if row == 0:
                yield f'<text x="{x:.1f}" y="{base:.1f}" fill="{PROMPT}">$</text>'
                x, text, long = x + 2 * CELL, text[2:], long - 2 * CELL
            yield (
                f'<text x="{x:.1f}" y="{base:.1f}" fill="{colour}" textLength="{long:.1f}" '
                f'lengthAdjust="spacingAndGlyphs">{escape(text)}</text>'
            )
        drawn = [part for at, char in enumerate(line) if char in ARMS for part in box(char, PAD + at * CELL, y)]
        if drawn:
            yield f'<g stroke="{DIM}" fill="none">{"".join(drawn)}</g>'
    yield "</g></svg>"


def main():
    _, command, source = sys.argv
    with open(source, encoding="utf-8") as text:
        lines = text.read().rstrip("\n").split("\n")
    print("\n".join(draw(command, lines)))


main()
