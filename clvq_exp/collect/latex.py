"""Tables as LaTeX: longtable with the rules of booktabs, every text escaped."""

from __future__ import annotations

from clvq_exp.collect.sheets import NO_REPRODUCTION, Kind, Sheet
from clvq_exp.report.text_safety import visible

_WRITTEN = {
    "\\": r"\textbackslash{}",
    "{": r"\{",
    "}": r"\}",
    "$": r"\$",
    "&": r"\&",
    "#": r"\#",
    "%": r"\%",
    "_": r"\_",
    "^": r"\textasciicircum{}",
    "~": r"\textasciitilde{}",
    "<": r"\textless{}",
    ">": r"\textgreater{}",
    "|": r"\textbar{}",
    '"': r"\textquotedbl{}",
    "*": "{*}",
    "[": "{[}",
    "]": "{]}",
    "−": "$-$",
    "±": r"$\pm$",
    "–": "--",
    "…": r"\ldots{}",
}
"""A bracket or a star behind `\\\\` would be read as a part of it."""


def escaped(text: str) -> str:
    """Text that LaTeX sets as it stands, in one line."""
    return "".join(_WRITTEN.get(character, character) for character in visible(text))


def latex(sheet: Sheet) -> str:
    """One table with its caption, label and notes; it needs the packages booktabs and longtable."""
    parts = ["% needs \\usepackage[T1]{fontenc} and \\usepackage{booktabs,longtable}"]
    parts += _table(sheet) if sheet.lines else [rf"\paragraph{{{escaped(sheet.title)}}}"]
    texts = [sheet.remark, sheet.same and f"{sheet.same}.", NO_REPRODUCTION if sheet.departs else ""]
    parts += [rf"\noindent {escaped(text)}\par" for text in texts if text]
    parts += [rf"\noindent\textsuperscript{{{note.mark}}} {escaped(note.text)}\par" for note in sheet.notes]
    if sheet.missing:
        parts.append(rf"\noindent {escaped(sheet.missing)}\par")
    parts += [rf"\noindent\texttt{{{_command(command)}}}\par" for command in sheet.commands]
    return "\n".join(parts) + "\n"


def _command(command: str) -> str:
    """A command in one piece: two hyphens stay two."""
    return escaped(command).replace("--", "-{}-")


def _table(sheet: Sheet) -> list[str]:
    columns = "".join("r" if kind is Kind.number else "l" for kind in sheet.kinds)
    marks = sheet.kinds.index(Kind.marks)
    head = " & ".join(escaped(each) for each in sheet.head) + r" \\"
    lines = [
        rf"\begin{{longtable}}{{@{{}}{columns}@{{}}}}",
        rf"\caption{{{escaped(sheet.title)}}}\label{{tab:{sheet.key}}}\\",
        r"\toprule",
        head,
        r"\midrule",
        r"\endfirsthead",
        r"\toprule",
        head,
        r"\midrule",
        r"\endhead",
        r"\bottomrule",
        r"\endfoot",
    ]
    for line in sheet.lines:
        shown = [escaped(cell) for cell in line.cells]
        if line.marks:
            shown[marks] = rf"\textsuperscript{{{escaped(line.marks)}}}"
        lines.append(" & ".join(shown) + r" \\")
    return [*lines, r"\end{longtable}"]
