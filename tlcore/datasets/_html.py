"""A report as HTML for notebooks: findings by kind, with thumbnails of the files."""

from __future__ import annotations

import base64
import html
import io
from typing import TYPE_CHECKING

from tlcore.datasets._findings import KINDS, Finding, shown
from tlcore.preprocessing.image import load_img

if TYPE_CHECKING:
    from tlcore.datasets._report import Report

# Findings of one kind that are shown, and thumbnails altogether: at most about 10 kB each.
_OF_A_KIND, _THUMBNAILS = 6, 120
_SIDE = 144

_COLOURS = {"error": "#c62828", "warning": "#b26a00", "note": "#607d8b"}
_FIGURE = (
    "display:inline-block;vertical-align:top;margin:4px 12px 8px 0;padding:4px;"
    "border:1px solid #8886;border-radius:4px"
)
_CAPTION = "font-size:85%;max-width:310px;overflow-wrap:anywhere"
_MISSING = (
    f"display:inline-block;width:{_SIDE}px;height:{_SIDE // 2}px;line-height:{_SIDE // 2}px;"
    "text-align:center;opacity:.6;border:1px dashed #8886;margin-right:4px"
)


def report_html(report: Report) -> str:
    """The whole report; names are escaped, pictures are data of the page."""
    thumbnails = _Thumbnails(report)
    parts = [f"<p><b>{_text(report.headline())}</b></p>"]
    if not report.findings:
        parts.append("<p>nothing was found</p>")
    for kind in report.findings:
        found = report.of_kind(kind)
        severity, advice = KINDS[kind]
        mark = f'<span style="color:{_COLOURS[severity]};font-weight:bold">{severity}</span>'
        parts.append(
            f'<div style="margin-top:8px">{mark} <b>{len(found)} {_text(kind)}</b>: '
            f"{_text(advice)}</div><div>"
        )
        parts += [_figure(finding, thumbnails) for finding in found[:_OF_A_KIND]]
        if len(found) > _OF_A_KIND:
            parts.append(
                f"<div>and {len(found) - _OF_A_KIND} more in <code>report.table</code></div>"
            )
        parts.append("</div>")
    parts += [f"<p>{_text(note)}</p>" for note in report.notes]
    return "<div>" + "\n".join(parts) + "</div>"


def _figure(finding: Finding, thumbnails: _Thumbnails) -> str:
    names = [name for name in (finding.file, finding.other) if name]
    pictures = "".join(thumbnails.of(name) for name in names if finding.kind != "other file")
    titles = "<br>".join(_text(name) for name in names)
    return (
        f'<div style="{_FIGURE}"><div>{pictures}</div><div style="{_CAPTION}">{titles}'
        f'<div style="opacity:.7">{_text(finding.detail)}</div></div></div>'
    )


class _Thumbnails:
    """Small pictures as Keras would read them, so many in all."""

    def __init__(self, report: Report) -> None:
        self._report = report
        self._left = _THUMBNAILS
        self._made: dict[str, str] = {}

    def of(self, name: str) -> str:
        """The tag for the file; a word in its place if there is no picture, "" for no file."""
        path = self._report.path(name)
        if path is None or self._left == 0:
            return ""
        self._left -= 1
        if name not in self._made:
            self._made[name] = self._tag(path)
        return self._made[name]

    @staticmethod
    def _tag(path: str) -> str:
        data = io.BytesIO()
        try:
            with load_img(path) as img:
                img.thumbnail((_SIDE, _SIDE))
                img.save(data, "JPEG", quality=80)
        except (OSError, ValueError):
            return f'<span style="{_MISSING}">not readable</span>'
        encoded = base64.b64encode(data.getvalue()).decode("ascii")
        source = f"data:image/jpeg;base64,{encoded}"
        return f'<img src="{source}" alt="" style="margin-right:4px;vertical-align:top">'


def _text(text: str) -> str:
    return html.escape(shown(text))
