"""What `check` found: a table, a summary in words, and thumbnails in a notebook."""

from __future__ import annotations

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

from tlcore.datasets._findings import COLUMNS, KINDS, SEVERITIES, Finding, shown

# Of one kind, in the summary.
_NAMES = 3
# Lines of a table as it is printed, and characters of a field.
_LINES, _WIDTH = 60, 60


class Table(list[dict[str, str]]):
    """Rows as dicts of columns, printed as a table: what there is without pandas."""

    def __repr__(self) -> str:
        rows = [{name: shown(text) for name, text in row.items()} for row in self[:_LINES]]
        widths = {
            name: min(_WIDTH, max(len(name), *(len(row[name]) for row in rows)))
            for name in (COLUMNS if rows else ())
        }
        lines = [
            "  ".join(row[name][:width].ljust(width) for name, width in widths.items()).rstrip()
            for row in [dict(zip(COLUMNS, COLUMNS, strict=True)), *rows]
        ]
        return "\n".join([*lines, f"{len(self)} rows, {len(COLUMNS)} columns"])


class Report:
    """What `tlcore.datasets.check` found.

    Attributes:
        directory: the folder that was looked at.
        counts: class -> number of its pictures, in the order of the labels.
        pictures: number of pictures, those of a `validation_directory` included.
        findings: how many there are of each kind that was found, the worst kind first.
        notes: what was not looked for, and why.
        table: one line for each finding, with the columns file, class, split, kind, severity,
            detail, other (the file that it is like), advice, all str and "" where there is
            nothing to say; the worst kind first. A pandas.DataFrame where pandas is installed,
            otherwise a list of dicts.

    `len(report)` is the number of findings, `print(report)` the summary; a notebook shows the
    pictures. Names are relative to `directory`, those of a `validation_directory` begin with it.
    """

    def __init__(
        self,
        directory: str,
        counts: Mapping[str, int],
        splits: Mapping[str, int],
        found: Sequence[Finding],
        notes: Sequence[str],
        paths: Mapping[str, str],
    ) -> None:
        order = {kind: place for place, kind in enumerate(KINDS)}
        self._found = sorted(found, key=lambda finding: order[finding.kind])
        self._splits = dict(splits)
        self._paths = dict(paths)
        self._html: str | None = None
        self.directory = directory
        self.counts = dict(counts)
        self.pictures = sum(splits.values())
        self.findings = dict(Counter(finding.kind for finding in self._found))
        self.notes = list(notes)

    def __len__(self) -> int:
        return len(self._found)

    @property
    def table(self) -> Any:
        """The findings; see the class."""
        try:
            return self.to_pandas()
        except ImportError:
            return Table(finding.row() for finding in self._found)

    def to_pandas(self) -> Any:
        """The findings as a pandas.DataFrame. ImportError if pandas is not installed."""
        try:
            import pandas
        except ImportError:
            raise ImportError(
                "Report.to_pandas needs pandas: pip install 'tlcore[check]' (report.table works "
                "without it)."
            ) from None
        return pandas.DataFrame([finding.row() for finding in self._found], columns=list(COLUMNS))

    def files(self, *kinds: str) -> list[str]:
        """Paths of the files with one of these kinds of finding (none named: any), each once.

        ValueError for a kind that there is not.
        """
        for kind in kinds:
            if kind not in KINDS:
                raise ValueError(f"kind must be one of {', '.join(KINDS)}, not {kind!r}.")
        names = [one.file for one in self._found if not kinds or one.kind in kinds]
        return list(dict.fromkeys(self._paths[name] for name in names if name in self._paths))

    def __repr__(self) -> str:
        return f"<Report on {self.directory!r}: {len(self)} findings>"

    def __str__(self) -> str:
        lines = [self.headline()]
        for severity in SEVERITIES:
            lines += [self._line(kind) for kind in self.findings if KINDS[kind][0] == severity]
        if not self._found:
            lines.append("  nothing was found")
        return "\n".join(lines + [f"  {note}" for note in self.notes])

    def headline(self) -> str:
        """How many pictures there are, and of what."""
        classes = ", ".join(f"{shown(name)} {n}" for name, n in self.counts.items())
        splits = ", ".join(f"{n} for {split}" for split, n in self._splits.items() if split)
        text = f"{shown(self.directory)}: {self.pictures} pictures ({classes})"
        return f"{text}, {splits}" if splits else text

    def _line(self, kind: str) -> str:
        severity, advice = KINDS[kind]
        found = self.of_kind(kind)
        names = ", ".join(title(finding) for finding in found[:_NAMES])
        if len(found) > _NAMES:
            names += f" and {len(found) - _NAMES} more"
        return f"  {severity}: {len(found)} {kind}: {names}\n    {advice}"

    def of_kind(self, kind: str) -> list[Finding]:
        """The findings of one kind."""
        return [finding for finding in self._found if finding.kind == kind]

    def path(self, name: str) -> str | None:
        """Where the file is that the table calls `name`; None if it is no file."""
        return self._paths.get(name)

    def _repr_html_(self) -> str:
        """What a notebook shows; pictures are read once."""
        if self._html is None:
            from tlcore.datasets._html import report_html

            self._html = report_html(self)
        return self._html


def title(finding: Finding) -> str:
    """File and detail, or both files, in a few words that may be printed."""
    name = shown(finding.file)
    return (
        f"{name} = {shown(finding.other)}" if finding.other else f"{name} ({shown(finding.detail)})"
    )
