"""ERASER Movie Reviews as the benchmark gives them: `movies.tar.gz`, or the folder that it unpacks to.

A folder `docs/` holds one review a file, one sentence a line; `train.jsonl` and `val.jsonl` hold one review a
line, with its class and the evidence for it. Each evidence is one example here: its sentences, from
`start_sentence` up to but without `end_sentence`, joined by spaces, labelled by the review's class. So the
1,600 training reviews give the paper's 13,878 examples. The 200 reviews of `val.jsonl` give 1,517, of which
the paper has 856.

The archive is read as a stream and never unpacked to the disk.
"""

from __future__ import annotations

import tarfile
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from functools import cached_property, lru_cache
from itertools import chain
from pathlib import Path, PurePosixPath
from typing import Any

from clvq_exp.settings import DatasetSettings
from clvq_exp.texts.reading import DAMAGE, RawRow, RowSource, Source, TextsError, json_rows, open_packed, shown

TOP = "movies"
DOCUMENTS = "docs"
TRAIN, DEV = "train.jsonl", "val.jsonl"
CLASSES = {"NEG": 0, "POS": 1}
ARCHIVE_NAME = "movies.tar.gz"
ARCHIVE_ENDINGS = (".tar", ".tgz", ".tar.gz", ".tar.bz2", ".tar.xz")
FILE_LIMIT = 2**26
"""Bytes of one file; the largest of the benchmark has 2.5 million."""
ARCHIVE_LIMIT = 2**28
"""Bytes of the unpacked archive; the benchmark's has 13 million."""
MEMBERS_LIMIT = 20_000
"""Members of the archive; the benchmark's has 2,005."""


class Benchmark(ABC):
    """The benchmark's files, wherever they are."""

    def __init__(self, settings: DatasetSettings, path: Path) -> None:
        self.settings = settings
        self.path = path

    @abstractmethod
    def read(self, name: str) -> bytes | None:
        """A file by its name below `movies/`, or None if it is not there."""

    def error(self, problem: str) -> TextsError:
        """An error that names data set and path."""
        return TextsError(
            f"dataset {self.settings.name}: {self.path} {problem}; give the benchmark's own {ARCHIVE_NAME}, or "
            "the folder that it unpacks to, as dataset.path"
        )

    def text(self, name: str) -> str | None:
        """A file as text."""
        content = self.read(name)
        try:
            return None if content is None else content.decode("utf-8")
        except UnicodeDecodeError as error:
            raise self.error(f"has a file {shown(name)} that is not UTF-8 (byte {error.start})") from error


class Folder(Benchmark):
    """The unpacked folder."""

    def read(self, name: str) -> bytes | None:
        """See `Benchmark.read`; a document that is a link must lead to another document."""
        path = self.path / name
        try:
            if not path.is_file():
                return None
            if path.parent != self.path and not path.resolve().is_relative_to(path.parent.resolve()):
                raise self.error(f"has a file {shown(name)} that is a link out of its folder")
            if path.stat().st_size > FILE_LIMIT:
                raise self.error(f"has a file {shown(name)} of more than {FILE_LIMIT} bytes")
            return path.read_bytes()
        except OSError as error:
            raise self.error(f"has a file {shown(name)} that cannot be read ({error})") from error


class Archive(Benchmark):
    """The archive; its texts are read once and kept in memory."""

    def read(self, name: str) -> bytes | None:
        """See `Benchmark.read`."""
        return self._files.get(name)

    @cached_property
    def _files(self) -> dict[str, bytes]:
        files: dict[str, bytes] = {}
        try:
            with open_packed(self.path) as stream:
                bounded: Any = _Bounded(stream, self)
                with tarfile.open(fileobj=bounded, mode="r|") as archive:
                    for number, member in enumerate(archive, start=1):
                        if number > MEMBERS_LIMIT:
                            raise self.error(f"has more than {MEMBERS_LIMIT} members")
                        name = self._checked(member)
                        content = None if name is None else archive.extractfile(member)
                        if name is not None and content is not None:
                            files[name] = content.read()
                while bounded.read(2**16):  # the packing's own checksum comes after the last member
                    pass
        except TextsError:
            raise
        except (tarfile.TarError, ValueError, *DAMAGE) as error:  # ValueError: numbers that are none in a header
            raise self.error(f"cannot be read as an archive ({error})") from error
        return files

    def _checked(self, member: tarfile.TarInfo) -> str | None:
        """The name below `movies/` of a member to read; None for one to pass over."""
        path = PurePosixPath(member.name)
        kind = _kind(member)
        if kind is not None:
            raise self.error(f"holds {shown(member.name)}, which is {kind} and no plain file")
        if path.is_absolute() or ".." in path.parts:
            raise self.error(f"holds {shown(member.name)}, a name that leads out of the archive")
        if path.parts and path.parts[0] != TOP:
            raise self.error(f"holds {shown(member.name)}, which is not below {TOP}/")
        if member.size > FILE_LIMIT:
            raise self.error(f"holds {shown(member.name)} of {member.size} bytes, more than {FILE_LIMIT}")
        below = path.parts[1:]
        wanted = below in ((TRAIN,), (DEV,)) or (len(below) == 2 and below[0] == DOCUMENTS)
        return "/".join(below) if wanted and member.isreg() else None


class _Bounded:
    """A stream that ends with an error where an archive unpacks to more than any benchmark has."""

    def __init__(self, stream: Any, archive: Archive) -> None:
        self.stream = stream
        self.archive = archive
        self.left = ARCHIVE_LIMIT

    def read(self, size: int) -> bytes:
        content: bytes = self.stream.read(size)
        self.left -= len(content)
        if self.left < 0:
            raise self.archive.error(f"unpacks to more than {ARCHIVE_LIMIT} bytes")
        return content


def _kind(member: tarfile.TarInfo) -> str | None:
    """What a member is that is neither a plain file nor a folder."""
    kinds = {
        tarfile.SYMTYPE: "a symbolic link",
        tarfile.LNKTYPE: "a hard link",
        tarfile.CHRTYPE: "a device",
        tarfile.BLKTYPE: "a device",
        tarfile.FIFOTYPE: "a named pipe",
    }
    if member.issparse():
        return "a sparse file"
    if member.type in (tarfile.REGTYPE, tarfile.AREGTYPE, tarfile.DIRTYPE):
        return None
    return kinds.get(member.type, "of an unknown kind")


@dataclass(frozen=True)
class EraserPart(RowSource):
    """The evidence of one part of the benchmark."""

    benchmark: Benchmark
    file: str

    @property
    def place(self) -> str:
        """The path and the file in it."""
        return f"{self.benchmark.path}, {self.file}"

    @property
    def row_word(self) -> str:
        """Pieces of evidence are counted through the whole file."""
        return "evidence"

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`; values are `text`, `label` and `evidence` as it stands in the file."""
        text = self.benchmark.text(self.file)
        if text is None:
            raise self.benchmark.error(f"has no {self.file}")
        sentences = lru_cache(maxsize=1)(self._sentences)
        number = 0
        for line in json_rows(text.split("\n")):
            for values, problem in _examples(line, sentences):
                number += 1
                where = f"line {line.number} of {self.file}: {problem}"
                yield RawRow(number, values, None if problem is None else where)

    def _sentences(self, document: str) -> list[str] | None:
        """The sentences of a document; None if it is not there."""
        if PurePosixPath(document).name != document:
            return None
        text = self.benchmark.text(f"{DOCUMENTS}/{document}")
        return None if text is None else text.removesuffix("\n").split("\n")


def find_eraser(settings: DatasetSettings, path: Path) -> Source | None:
    """The benchmark in its own form, or None.

    Args:
        settings: names the data set in messages.
        path: the archive, the folder that it unpacks to, or a folder that holds one of them.

    Raises:
        TextsError: if an archive holds what no archive of the benchmark holds, or is damaged.
    """
    benchmark = _find_benchmark(settings, path)
    if benchmark is None:
        return None
    dev = EraserPart(settings, benchmark, DEV) if benchmark.read(DEV) is not None else None
    return Source(EraserPart(settings, benchmark, TRAIN), dev)


def _find_benchmark(settings: DatasetSettings, path: Path) -> Benchmark | None:
    if path.is_file():
        return Archive(settings, path) if path.name.lower().endswith(ARCHIVE_ENDINGS) else None
    for folder in (path, path / TOP):
        if (folder / DOCUMENTS).is_dir() and (folder / TRAIN).is_file():
            return Folder(settings, folder)
    packed = path / ARCHIVE_NAME
    return Archive(settings, packed) if packed.is_file() and not (path / TRAIN).exists() else None


Example = tuple[dict[str, Any], str | None]
"""Values of a row, and what is wrong with it."""


def _examples(line: RawRow, sentences: Callable[[str], list[str] | None]) -> Iterator[Example]:
    """One example for each piece of evidence of a review."""
    if line.problem is not None:
        yield {}, line.problem
        return
    groups = line.values.get("evidences")
    if not isinstance(groups, list) or not all(isinstance(group, list) for group in groups):
        yield {}, f"evidences is {shown(groups)} and no list of lists"
        return
    for evidence in chain.from_iterable(groups):
        text, problem = _span(evidence, sentences)
        label = line.values.get("classification")
        label = CLASSES.get(label, label) if isinstance(label, str) else label
        yield {"text": text, "label": label, "evidence": evidence}, problem


def _span(evidence: object, sentences: Callable[[str], list[str] | None]) -> tuple[str, str | None]:
    """The sentences of a piece of evidence, or what is wrong with it."""
    wanted = ("docid", str), ("start_sentence", int), ("end_sentence", int)
    values: dict[str, Any] = evidence if isinstance(evidence, dict) else {}
    for key, kind in wanted:
        if not isinstance(values.get(key), kind) or isinstance(values.get(key), bool):
            return "", f"the evidence {shown(evidence)} has no usable {key}"
    document, start, end = (values[key] for key, _ in wanted)
    found = sentences(document)
    if found is None:
        return "", f"there is no document {shown(document)} in {DOCUMENTS}/"
    if not 0 <= start < end <= len(found):
        return "", f"sentences {start} to {end} (without the last) of {len(found)} in {shown(document)}"
    return " ".join(found[start:end]), None


def hub_rows(rows: Iterable[RawRow]) -> Iterator[RawRow]:
    """The pieces of evidence of the hub's copy: their own words, not the whole sentences.

    Args:
        rows: `review`, `label` and `evidences`, a list of texts.
    """
    number = 0
    for row in rows:
        texts = row.values.get("evidences")
        for text in texts if isinstance(texts, list) else [texts]:
            number += 1
            document = {"docid": f"review-{row.number}"}
            yield RawRow(number, {"text": text, "label": row.values.get("label"), "evidence": document})
