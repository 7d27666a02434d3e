"""Tables as Markdown."""

from __future__ import annotations

import re

from clvq_exp.collect.sheets import NO_REPRODUCTION, Kind, Sheet
from clvq_exp.report.text_safety import visible

_ACTS = re.compile(r"[\\`*|~$]|!(?=\[)|\](?=[\[(:])|(?<!\w)_|_(?!\w)")
"""What Markdown reads as more than a character. A bracket alone and an underscore inside a word are none of it."""


def escaped(text: str) -> str:
    """Text that Markdown shows as it stands, in one line."""
    plain = visible(text).replace("&", "&amp;").replace("<", "&lt;").replace(">", "&gt;")
    return _ACTS.sub(lambda match: "\\" + match.group(), plain)


def markdown(sheet: Sheet) -> str:
    """One table under its title and key, with its notes and what is missing."""
    parts = [f"## {escaped(sheet.title)}\n\nKey `{sheet.key}`."]
    parts += [escaped(text) + "." * (text == sheet.same) for text in (sheet.remark, sheet.same) if text]
    if sheet.lines:
        parts.append("\n".join(_table(sheet)))
    if sheet.departs:
        parts.append(escaped(NO_REPRODUCTION))
    if sheet.notes:
        parts.append("\n".join(f"- {note.mark}: {escaped(note.text)}" for note in sheet.notes))
    if sheet.missing:
        parts.append(escaped(sheet.missing))
    if sheet.commands:
        parts.append("\n".join(f"    {visible(command)}" for command in sheet.commands))
    return "\n\n".join(parts) + "\n"


def _table(sheet: Sheet) -> list[str]:
    rule = ["---:" if kind is Kind.number else "---" for kind in sheet.kinds]
    lines = [_line([escaped(each) for each in sheet.head]), _line(rule)]
    return lines + [_line([escaped(cell) for cell in line.cells]) for line in sheet.lines]


def _line(cells: list[str]) -> str:
    return f"| {' | '.join(cells)} |"
