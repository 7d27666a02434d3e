"""The runs that are compared: each opened, its tables checked, and read by columns."""

from __future__ import annotations

from collections.abc import Generator, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any, NamedTuple

from clvq_exp.artifacts import DamagedArtifactError, file_checksum, read_json
from clvq_exp.collect.runs import Run, find_runs
from clvq_exp.report.access import entry, main_method, mapping, number

TABLES = ("salient_words", "sentences", "assignments", "concepts", "concept_words")
"""What is read of a run folder beside its metrics, its configuration and its provenance."""
BATCH = 2**16
"""Rows of a table that are in memory at once, where it is read in batches."""
_DECODING = frozenset(["SparseAutoencoder", "SparseTranscoder"])
"""Classes whose vectors are those of a decoder: they live at the upper layer."""


class OpenedRuns(NamedTuple):
    """What the given folders hold."""

    subjects: list[Subject]
    problems: list[str]
    """One line for each folder that cannot be compared."""


@dataclass(frozen=True, eq=False)
class Subject:
    """A finished run under a letter."""

    letter: str
    run: Run

    @cached_property
    def method(self) -> str:
        """Its own method, as the metrics name it."""
        return main_method(self.run.metrics)

    @cached_property
    def provenance(self) -> Mapping[str, Any]:
        """What `provenance.json` holds; empty where there is none."""
        path = self.run.folder / "provenance.json"
        return mapping(read_json(path)) if path.name in self.run.files else {}

    @cached_property
    def seeds(self) -> tuple[int, ...]:
        """Its seeds, in their order."""
        found = self.run.cell.get("seeds")
        return tuple(each for each in found if isinstance(each, int)) if isinstance(found, list) else ()

    @property
    def language_model(self) -> str | None:
        """Fingerprint of the language model's weights; None where the run names none."""
        found = entry(self.provenance, "fingerprints").get("model")
        return found if isinstance(found, str) else None

    @property
    def vector_layer(self) -> str:
        """The layer in whose space the vectors of its concepts live."""
        kind = str(entry(self.run.config, "baseline").get("_target_", "")).rpartition(".")[2]
        lower, _, upper = self.run.place[2].partition("-")
        return upper if kind in _DECODING else lower

    def setting(self, key: str, default: float) -> float:
        """A number of its configuration."""
        found = number(self.run.settings.get(key))
        return default if found is None else found

    def columns_of(self, name: str) -> frozenset[str]:
        """The columns of one of its tables; none where it has no such table."""
        import pyarrow.parquet as parquet

        path = self.run.folder / f"{name}.parquet"
        if path.name not in self.run.files:
            return frozenset()
        with reading(path):
            schema: Any = parquet.read_schema(path)
            return frozenset(schema.names)

    def batches(self, name: str, columns: Sequence[str], **equal_to: str | int) -> Iterator[Any]:
        """Record batches of some columns of a table, in the order of its rows.

        Args:
            name: of the table, which has these columns.
            columns: that are read.
            **equal_to: only rows whose column equals the value.
        """
        import pyarrow.dataset as datasets

        path = self.run.folder / f"{name}.parquet"
        with reading(path):
            wanted: Any = None
            for column, value in equal_to.items():
                field: Any = datasets.field(column)
                wanted = (field == value) if wanted is None else wanted & (field == value)
            table: Any = datasets.dataset(path, format="parquet")
            yield from table.to_batches(
                columns=list(columns), filter=wanted, batch_size=BATCH, batch_readahead=1, fragment_readahead=1
            )


def open_runs(folders: Sequence[Path]) -> OpenedRuns:
    """Open the run in each folder, the first as A.

    Args:
        folders: each a run folder, or a folder that holds one finished run.

    Returns:
        The runs, and a line for each folder without exactly one finished run whose files are what was written.
    """
    subjects: list[Subject] = []
    problems: list[str] = []
    for folder in folders:
        try:
            run = _only_run(folder)
            _check_tables(run)
        except (_NotOneRunError, DamagedArtifactError) as error:
            problems.append(f"{folder}: {error}")
        else:
            subjects.append(Subject(letter_of(len(subjects)), run))
    return OpenedRuns(subjects, problems)


def letter_of(place: int) -> str:
    """The name of a run by its place: A to Z, then R27 and so on."""
    return chr(ord("A") + place) if place < 26 else f"R{place + 1}"


@contextmanager
def reading(path: Path) -> Generator[None]:
    """Turn what pyarrow raises over a table into an error that names the file.

    Raises:
        DamagedArtifactError: the file cannot be read.
    """
    try:
        yield
    except (OSError, ValueError, KeyError) as error:  # pyarrow's own are among them
        raise DamagedArtifactError(f"{path} cannot be read: {error}") from error


class _NotOneRunError(Exception):
    """A folder in which not exactly one finished run is."""


def _only_run(folder: Path) -> Run:
    found = find_runs([folder])
    if len(found.runs) == 1:
        return found.runs[0]
    if found.runs:
        names = ", ".join(str(run.folder.relative_to(folder)) for run in found.runs[:2])
        raise _NotOneRunError(f"holds {len(found.runs)} finished runs ({names}, ...); name one of them")
    reasons = list(dict.fromkeys(each.reason for each in found.left_out))
    more = f"; and {len(reasons) - 1} more" if len(reasons) > 1 else ""
    raise _NotOneRunError(reasons[0] + more if reasons else "no finished run is in it")


def _check_tables(run: Run) -> None:
    """Compare the tables that will be read with the manifest.

    Raises:
        DamagedArtifactError: names the first one that is not what was written.
    """
    for name in (f"{table}.parquet" for table in TABLES):
        if name not in run.files:
            continue
        path = run.folder / name
        with reading(path):
            checksum = file_checksum(path)
        if checksum != mapping(run.files[name]).get("sha256"):
            raise DamagedArtifactError(f"{path} is not what was written: its checksum differs")
