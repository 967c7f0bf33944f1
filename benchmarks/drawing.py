"""Bar charts as SVG text: a picture for the docs without another library."""

from __future__ import annotations

from collections.abc import Sequence
from html import escape

# (title, (name, value) of each bar, a limit that is drawn as a line, or None)
Chart = tuple[str, Sequence[tuple[str, float]], float | None]

WIDTH, LEFT, RIGHT = 860, 330, 70
ROW, BAR, HEAD, GAP = 26, 17, 44, 22
OWN, PEER, LIMIT, TEXT = "#c2410c", "#94a3b8", "#0f172a", "#1e293b"


def draw_bars(charts: Sequence[Chart], note: str) -> str:
    """The charts one below the other; the first bar of each is ours."""
    parts: list[str] = []
    top = 10
    for title, bars, limit in charts:
        largest = max([value for _, value in bars] + ([limit] if limit else []))
        scale = (WIDTH - LEFT - RIGHT) / largest
        parts.append(_text(16, top + 20, title, "start", weight="bold"))
        y = top + HEAD - 8
        for i, (name, value) in enumerate(bars):
            parts.append(_text(LEFT - 10, y + 13, name, "end"))
            parts.append(
                f'<rect x="{LEFT}" y="{y}" width="{value * scale:.1f}" height="{BAR}" rx="2" '
                f'fill="{OWN if i == 0 else PEER}"/>'
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
    height = top + 14
    return (
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{WIDTH}" height="{height}" '
        f'viewBox="0 0 {WIDTH} {height}" font-family="Helvetica, Arial, sans-serif">\n'
        f'<rect width="{WIDTH}" height="{height}" fill="white"/>\n'
        + "\n".join(parts)
        + "\n</svg>\n"
    )


def _short(value: float) -> str:
    return f"{value:.0f}" if value >= 100 else f"{value:.2f}"


def _text(
    x: float, y: float, text: str, anchor: str, size: int = 13, weight: str = "normal"
) -> str:
    return (
        f'<text x="{x:.1f}" y="{y:.1f}" font-size="{size}" font-weight="{weight}" fill="{TEXT}" '
        f'text-anchor="{anchor}">{escape(text)}</text>'
    )
