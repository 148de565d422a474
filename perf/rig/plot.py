"""A picture of a run: for each scenario how many times its rival's rate ours is, and how many times are wanted."""

import math
from html import escape

ROW_HEIGHT, LABEL_WIDTH, PLOT_WIDTH, MARGIN = 20, 230, 520, 30
# The axis is logarithmic: half as fast lies as far from the rival as twice as fast.
RATIO_MIN, RATIO_MAX = 0.5, 32
REACHED, MISSED, NO_TARGET, WANTED = "#2a7f62", "#c8553d", "#7a8594", "#222222"


def write_svg(path, results):
    """Writes the picture, of those results that have a ratio."""
    judged = [(f"{result['scenario']}, {result['flows']:,}", result["judged"]) for result in results]
    judged = [(label, each) for label, each in judged if each["ratio"] is not None]
    height = (len(judged) + 1) * ROW_HEIGHT + 2 * MARGIN
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{LABEL_WIDTH + PLOT_WIDTH + 2 * MARGIN}" height="{height}" '
        'font-family="sans-serif" font-size="12">',
        '<rect width="100%" height="100%" fill="white"/>',
        _text(MARGIN, MARGIN - 10, "Penstock's rate, times its rival's; the line is what is wanted"),
        *_axis(height),
    ]
    for row, (label, each) in enumerate(judged):
        lines += _row(MARGIN + row * ROW_HEIGHT, label, each)
    with open(path, "w", encoding="utf-8") as file:
        file.write("\n".join([*lines, "</svg>\n"]))


def _x(ratio):
    share = math.log(min(max(ratio, RATIO_MIN), RATIO_MAX) / RATIO_MIN) / math.log(RATIO_MAX / RATIO_MIN)
    return MARGIN + LABEL_WIDTH + share * PLOT_WIDTH


def _text(x, y, text, anchor="start"):
    return f'<text x="{x:.0f}" y="{y:.0f}" text-anchor="{anchor}">{escape(text)}</text>'


def _axis(height):
    for power in range(int(math.log2(RATIO_MIN)), int(math.log2(RATIO_MAX)) + 1):
        x = _x(2**power)
        yield f'<line x1="{x:.0f}" x2="{x:.0f}" y1="{MARGIN}" y2="{height - MARGIN - 10}" stroke="#dddddd"/>'
        yield _text(x, height - MARGIN + 5, f"{2**power:g}", "middle")


def _row(y, label, judged):
    ratio, target, is_reached = judged["ratio"], judged["target"], judged["is_reached"]
    color = {True: REACHED, False: MISSED, None: NO_TARGET}[is_reached]
    # From the rival's own rate, to the right if ours is ahead.
    left, right = sorted((_x(1), _x(ratio)))
    yield _text(MARGIN + LABEL_WIDTH - 8, y + 15, label, "end")
    yield f'<rect x="{left:.1f}" y="{y + 4}" width="{right - left:.1f}" height="{ROW_HEIGHT - 6}" fill="{color}"/>'
    if target is not None:
        yield f'<rect x="{_x(target) - 1:.1f}" y="{y + 1}" width="2" height="{ROW_HEIGHT}" fill="{WANTED}"/>'
    yield _text(max(right, _x(target or 1)) + 5, y + 15, f"{ratio:.2f}")
