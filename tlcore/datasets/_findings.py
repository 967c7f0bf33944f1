"""What can be found in a folder of pictures: the kinds, how bad they are, and what to do."""

from __future__ import annotations

from typing import NamedTuple

ERROR, WARNING, NOTE = "error", "warning", "note"
SEVERITIES = (ERROR, WARNING, NOTE)

# kind -> (severity, what to do), worst first; reports keep this order.
KINDS = {
    "unreadable folder": (ERROR, "flow_from_directory stops at it: set its permissions"),
    "empty class": (ERROR, "flow_from_directory stops at it: add pictures or remove the folder"),
    "different classes": (ERROR, "the numbers of the labels differ: give both the same folders"),
    "unreadable": (ERROR, "training stops at it: remove or replace the file"),
    "truncated": (ERROR, "the file is cut short: get it again or remove it"),
    "empty file": (ERROR, "training stops at it: get it again or remove it"),
    "broken link": (ERROR, "training stops at it: remove the link or restore its target"),
    "across the split": (WARNING, "validation is flattered: keep all copies on one side"),
    "label conflict": (WARNING, "one of the two labels is wrong, or both apply: decide"),
    "exact duplicate": (WARNING, "it counts twice: remove one"),
    "same pixels": (WARNING, "it counts twice: remove one"),
    "near duplicate": (WARNING, "look at both, and keep one"),
    "class imbalance": (WARNING, "add pictures, or give fit a class_weight"),
    "no validation pictures": (WARNING, "add pictures, or raise validation_split"),
    "EXIF rotation": (WARNING, "Keras ignores the tag: turn the pixels, or read with exif=True"),
    "CMYK": (WARNING, "save it as RGB with its colour profile applied"),
    "16-bit": (WARNING, "save it with 8 bits a channel, scaled as it should look"),
    "tiny": (WARNING, "enlarged it is a blur: find a larger original or remove it"),
    "outside the classes": (WARNING, "it is not used: move it into the folder of its class"),
    "ignored picture": (WARNING, "it is not used: convert it to .jpg or .png"),
    "link not followed": (WARNING, "it is not used: pass follow_links=True, also when training"),
    "animated": (NOTE, "only the first picture is used: save the others as files of their own"),
    "transparency": (NOTE, "save it on the background that it should have"),
    "extreme shape": (NOTE, "a square target distorts it: cut it, or keep_aspect_ratio=True"),
    "wrong extension": (NOTE, "programs that go by the name fail: save it anew as .jpg or .png"),
    "hidden folder": (NOTE, "tlcore leaves it out, Keras does not: remove it"),
    "other file": (NOTE, "it is not used"),
}


class Finding(NamedTuple):
    """One thing that was found. `label`, `split` and `other` may be empty."""

    kind: str
    file: str
    label: str
    split: str
    detail: str
    other: str = ""

    def row(self) -> dict[str, str]:
        """As a line of the report's table."""
        severity, advice = KINDS[self.kind]
        return {
            "file": self.file,
            "class": self.label,
            "split": self.split,
            "kind": self.kind,
            "severity": severity,
            "detail": self.detail,
            "other": self.other,
            "advice": advice,
        }


COLUMNS = tuple(Finding("tiny", "", "", "", "").row())


def shown(text: str) -> str:
    """A file's name as it may be printed: control characters and undecodable bytes escaped."""
    return "".join(
        c if c.isprintable() else c.encode("unicode_escape").decode("ascii") for c in text
    )
