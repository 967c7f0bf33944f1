"""Bar charts and a roofline as SVG text: pictures for the docs without another library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape
from math import log10

# (title, (name, value, is it ours) of each bar, a limit that is drawn as a line, or None)
Chart = tuple[str, Sequence[tuple[str, float, bool]], float | None]

WIDTH, LEFT, RIGHT = 920, 390, 70
ROW, BAR, HEAD, GAP = 26, 17, 44, 22
OWN, PEER, LIMIT, TEXT = "#c2410c", "#94a3b8", "#0f172a", "#1e293b"


def draw_bars(charts: Sequence[Chart], note: str) -> str:
    """The charts one below the other."""
    parts: list[str] = []
    top = 10
    for title, bars, limit in charts:
        largest = max([value for _, value, _ in bars] + ([limit] if limit else []))
        scale = (WIDTH - LEFT - RIGHT) / largest
        parts.append(_text(16, top + 20, title, "start", weight="bold"))
        y = top + HEAD - 8
        for name, value, ours in bars:
            parts.append(_text(LEFT - 10, y + 13, name, "end"))
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" rx="2" '
                f'fill="{OWN if ours else PEER}"/>'
            )
            parts.append(_text(LEFT + value * scale + 6, y + 13, _short(value), "start"))
            y += ROW
        if limit:
            x = LEFT + limit * scale
            parts.append(
                f'<line x1="{x:.1f}" x2="{x:.1f}" y1="{top + HEAD - 12}" y2="{y - 4}" '
                f'stroke="{LIMIT}" stroke-dasharray="4 3"/>'
            )
            parts.append(
                _text(x - 5, top + HEAD - 14, f"FMA limit {_short(limit)}", "end", size=11)
            )
        top = y + GAP
    parts.append(_text(16, top, note, "start", size=11))
    return _picture(parts, top + 14)


def _picture(parts: Sequence[str], height: float) -> str:
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


# what it is called, FLOP for each byte that must be moved, GFLOP/s
Point = tuple[str, float, float]


def draw_roofline(
    points: Sequence[Point], peak: float, bandwidths: dict[str, float], note: str
) -> str:
    """Each layer below its limits, on logarithmic axes; numbers lead to a list.

    Args:
        points: the layers.
        peak: GFLOP/s that multiply-adds reach.
        bandwidths: from where -> GB/s that reading reaches. The list's shares are of the first.
        note: stands below.
    """
    left, top, width, height = 70, 46, 500, 360
    x_low, x_high = 1.0, 1.1 * max(point[1] for point in points)
    y_low, y_high = peak / 4, peak * 1.15

    def x_of(intensity: float) -> float:
        return left + width * log10(intensity / x_low) / log10(x_high / x_low)

    def y_of(rate: float) -> float:
        return top + height * (1 - log10(rate / y_low) / log10(y_high / y_low))

    parts = [_text(16, 26, "Each block of MobileNetV2, on one thread", "start", weight="bold")]
    for i, (source, bandwidth) in enumerate(bandwidths.items()):
        first = max(x_low, y_low / bandwidth)
        path = f"M{x_of(first):.1f} {y_of(first * bandwidth):.1f} "
        path += f"L{x_of(peak / bandwidth):.1f} {y_of(peak):.1f} L{left + width} {y_of(peak):.1f}"
        parts.append(f'<path d="{path}" fill="none" stroke="{LIMIT}" stroke-dasharray="4 3"/>')
        what = f"{source}: {_short(bandwidth)} GB/s"
        parts.append(
            _text(x_of(peak / bandwidth) + 8, y_of(peak * (0.9 - 0.3 * i)), what, "start", 11)
        )
    parts.append(
        _text(left + width, y_of(peak) - 6, f"FMA limit {_short(peak)} GFLOP/s", "end", 11)
    )
    parts.append(
        f'<path d="M{left} {top} V{top + height} H{left + width}" fill="none" stroke="{TEXT}"/>'
    )
    for power in range(9):
        if x_low <= 2**power <= x_high:
            parts.append(_text(x_of(2**power), top + height + 16, str(2**power), "middle", 11))
        share = 1 - power / 8  # of the peak, down to a quarter
        if share >= 0.25:
            parts.append(_text(left - 6, y_of(peak * share) + 4, f"{peak * share:.0f}", "end", 11))
    parts.append(_text(left + width / 2, top + height + 34, "FLOP a byte", "middle", 11))
    parts.append(_text(16, top - 6, "GFLOP/s", "start", 11))
    for number, (name, intensity, rate) in enumerate(points, start=1):
        x, y = x_of(intensity), y_of(rate)
        roof = min(peak, intensity * next(iter(bandwidths.values())))
        parts.append(f'<circle cx="{x:.1f}" cy="{y:.1f}" r="3.5" fill="{OWN}"/>')
        parts.append(_text(x, y - 7 if number % 2 else y + 15, str(number), "middle", 9))
        line = f"{number}  {name}: {rate / roof:.0%}"
        parts.append(_text(left + width + 30, top + 13 * number, line, "start", 10))
    bottom = max(top + height + 60, top + 13 * len(points) + 26)
    parts.append(_text(16, bottom, note, "start", size=11))
    return _picture(parts, bottom + 14)


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _text(
    x: float, y: float, text: str, anchor: str, size: int = 13, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{TEXT}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
