"""From raw rows to sentences, with everything that is wrong with a file said at once."""

from __future__ import annotations

from collections import Counter
from enum import Enum
from typing import Any

from clvq_exp.records import Sentence
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts.reading import RawRow, RowSource, TextsError, shown

PROBLEMS_SHOWN = 5
_ABSENT = object()


class Problem(Enum):
    """What can be wrong with a row, in the words of the summary."""

    broken = "broken row"
    no_text_column = "row without the text's column"
    no_label_column = "row without the label's column"
    no_string = "text that is not a string"
    empty = "text that is empty or white space only"
    surrogate = "text with half a character"
    label = "unknown label"
    bad_name = "unusable id or group"
    repeated_id = "repeated id"


class _UnusableRowError(Exception):
    def __init__(self, problem: Problem, detail: str) -> None:
        super().__init__(detail)
        self.problem = problem


class Labels:
    """Raw labels and the classes that they stand for.

    With `label_values` only its keys are labels. Without it a label is a class name or a class id; the
    name wins where names are digits. Names are compared exactly, then without regard to case.
    """

    def __init__(self, settings: DatasetSettings) -> None:
        names = {name: index for index, name in enumerate(settings.label_names)}
        self._exact = dict(settings.label_values) or names
        folded = Counter(name.casefold() for name in self._exact)
        self._folded = {
            name.casefold(): index for name, index in self._exact.items() if folded[name.casefold()] == 1
        }
        self._ids = 0 if settings.label_values else len(names)
        self._dropped = set(settings.drop_labels)

    @property
    def known(self) -> str:
        """The labels that are understood, for messages."""
        ids = [f"0 to {self._ids - 1}"] if self._ids else []
        return ", ".join([*(repr(name) for name in self._exact), *ids])

    def dropped(self, raw: object) -> bool:
        """Whether rows with this label are left out."""
        return _label_word(raw) in self._dropped

    def class_id(self, raw: object) -> int | None:
        """The class of a raw label, or None if it is unknown."""
        word = _label_word(raw)
        if word is None:
            return None
        if word in self._exact:
            return self._exact[word]
        if word.isascii() and word.isdigit() and len(word) < 10 and int(word) < self._ids:
            return int(word)
        return self._folded.get(word.casefold())


def _label_word(raw: object) -> str | None:
    if isinstance(raw, bool):
        return str(raw).lower()
    if isinstance(raw, float) and raw.is_integer():
        return str(int(raw))
    return str(raw) if isinstance(raw, str | int | float) else None


def read_sentences(source: RowSource, part: str) -> list[Sentence]:
    """Read the sentences of one part, texts exactly as the source gives them.

    Args:
        source: what to read; its settings say columns, labels and rows to leave out.
        part: begins the id of a row that has none of its own: `train-12` is row 12.

    Returns:
        The sentences in the order of the source.

    Raises:
        TextsError: if any row cannot be used (the first five are shown, all are counted), if there is no row
            at all, if there is one only, or if all have one label.
    """
    reader = _SentenceReader(source, part)
    sentences = [sentence for row in source.rows() if (sentence := reader.read(row)) is not None]
    reader.check(sentences)
    return sentences


class _SentenceReader:
    """Reads the rows of one part and remembers what was wrong with them."""

    def __init__(self, source: RowSource, part: str) -> None:
        self.settings = source.settings
        self.source = source
        self.part = part
        self.labels = Labels(source.settings)
        self.rows = 0
        self.with_group = 0
        self.columns: list[str] = []
        self.ids: dict[str, int] = {}
        self.shown: list[str] = []
        self.problems: Counter[Problem] = Counter()

    def read(self, row: RawRow) -> Sentence | None:
        """The sentence of a row; None if it is left out or cannot be used."""
        self.rows += 1
        try:
            if row.problem is not None:
                raise _UnusableRowError(Problem.broken, row.problem)
            self.columns = self.columns or _column_names(row.values)
            return self._sentence(row)
        except _UnusableRowError as error:
            self.problems[error.problem] += 1
            if len(self.shown) < PROBLEMS_SHOWN:
                self.shown.append(f"{self.source.row_word} {row.number}: {error}")
            return None

    def _sentence(self, row: RawRow) -> Sentence | None:
        settings = self.settings
        raw_label = self._column(row, settings.label_column, Problem.no_label_column)
        group = "" if settings.group_column is None else self._name(row, settings.group_column)
        if self.labels.dropped(raw_label):
            return None
        text = self._text(row)
        label = self.labels.class_id(raw_label)
        if label is None:
            raise _UnusableRowError(Problem.label, f"unknown label {shown(raw_label)}")
        name = "" if settings.id_column is None else self._name(row, settings.id_column)
        name = name or f"{self.part}-{row.number}"
        first = self.ids.setdefault(name, row.number)
        if first != row.number:
            raise _UnusableRowError(
                Problem.repeated_id, f"the id {shown(name)} is that of {self.source.row_word} {first}"
            )
        return Sentence(id=name, text=text, label=label, group=group or name)

    def _text(self, row: RawRow) -> str:
        text = self._column(row, self.settings.text_column, Problem.no_text_column)
        if not isinstance(text, str):
            raise _UnusableRowError(Problem.no_string, f"the text is no string but {shown(text)}")
        if not text.strip():
            raise _UnusableRowError(Problem.empty, "the text is white space only" if text else "the text is empty")
        if not _is_unicode(text):
            raise _UnusableRowError(Problem.surrogate, f"half a surrogate pair in {shown(text)}")
        return text

    def _column(self, row: RawRow, column: str, problem: Problem) -> Any:
        if column not in row.values:
            there = ", ".join(shown(name) for name in row.values) or "none"
            raise _UnusableRowError(problem, f"no column {column!r}; columns there: {there}")
        return row.values[column]

    def _name(self, row: RawRow, column: str) -> str:
        """The value of an id or group column as text, empty where there is none."""
        value = _reach(row.values, column)
        if column == self.settings.group_column and value is not _ABSENT:
            self.with_group += 1
        if value is _ABSENT or value is None:
            return ""
        if not isinstance(value, str | int | float) or not _is_unicode(str(value)):
            raise _UnusableRowError(Problem.bad_name, f"{shown(value)} in column {column!r} is no name")
        return str(value)

    def check(self, sentences: list[Sentence]) -> None:
        """Raise the one error that says all that is wrong with the file."""
        start = f"dataset {self.settings.name}: "
        path = self.source.place
        if self.problems:
            raise TextsError(start + self._all_problems())
        if not self.rows:
            raise TextsError(f"{start}{path} is empty: it has no rows; give another file as dataset.path")
        if not sentences:
            raise TextsError(
                f"{start}all {self.rows} rows of {path} are left out by "
                f"dataset.drop_labels={self.settings.drop_labels}"
            )
        if self.settings.group_column is not None and not self.with_group:
            raise TextsError(
                f"{start}{path} has no column {self.settings.group_column!r} (dataset.group_column) "
                f"in any row; columns there: {', '.join(shown(name) for name in self.columns)}: "
                f"name one of them, or set dataset.group_column=null to take each sentence by itself"
            )
        if len(sentences) == 1:
            raise TextsError(
                f"{start}{path} holds one sentence only; needed are two of each of at least two classes to "
                "train on, and one of each for dev: give another file as dataset.path"
            )
        classes = {sentence.label for sentence in sentences}
        if len(classes) == 1:
            name = self.settings.label_names[classes.pop()]
            raise TextsError(
                f"{start}all {len(sentences)} rows of {path} have the label {name!r}; at least two classes "
                f"are needed: check dataset.label_column={self.settings.label_column} and dataset.drop_labels"
            )

    def _all_problems(self) -> str:
        total = self.problems.total()
        more = total - len(self.shown)
        lines = [f"{total} of {self.rows} rows of {self.source.place} cannot be used"]
        lines += [f"  {line}" for line in self.shown]
        lines += [f"  and {more} more"] if more else []
        for problem, count in self.problems.items():
            lines.append(f"{count} x {problem.value}: {self._advice(problem)}")
        return "\n".join(lines)

    def _advice(self, problem: Problem) -> str:
        settings = self.settings
        match problem:
            case Problem.broken:
                return "mend the file, or give another as dataset.path"
            case Problem.no_text_column:
                return f"name the column in dataset.text_column (now {settings.text_column})"
            case Problem.no_label_column:
                return f"name the column in dataset.label_column (now {settings.label_column})"
            case Problem.no_string | Problem.empty | Problem.surrogate:
                return (
                    "take these rows out of the file, or name another column in dataset.text_column "
                    f"(now {settings.text_column})"
                )
            case Problem.label:
                return (
                    f"known labels are {self.labels.known}; set dataset.label_names or dataset.label_values, "
                    "or leave rows out by dataset.drop_labels"
                )
            case Problem.bad_name:
                return (
                    "names are strings or numbers; set dataset.id_column "
                    f"(now {settings.id_column or 'null'}) or dataset.group_column "
                    f"(now {settings.group_column or 'null'}) to another column or to null"
                )
            case Problem.repeated_id:
                return "ids must differ; dataset.id_column=null numbers the rows"


def _is_unicode(text: str) -> bool:
    """False where JSON's escapes left half a surrogate pair, which no file and no tokenizer can take."""
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def _reach(values: dict[str, Any], column: str) -> Any:
    """A column's value; dots reach into nested objects unless a column has them in its own name."""
    if column in values:
        return values[column]
    found: Any = values
    for key in column.split("."):
        if not isinstance(found, dict) or key not in found:
            return _ABSENT
        found = found[key]
    return found


def _column_names(values: dict[str, Any], before: str = "") -> list[str]:
    names: list[str] = []
    for key, value in values.items():
        nested = _column_names(value, f"{before}{key}.") if isinstance(value, dict) and value else []
        names += nested or [f"{before}{key}"]
    return names
