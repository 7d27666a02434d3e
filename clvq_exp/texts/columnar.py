"""Rows of Parquet files and of folders saved by the library `datasets`, a batch at a time.

Both hold columns. Only those that the settings name are read, so that images or embeddings beside the texts
cost nothing. A label is taken as it is stored: a `ClassLabel` is a class id.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from clvq_exp.artifacts import file_checksum
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts.reading import RawRow, RowSource, Source, TextsError, check_columns

BATCH_ROWS = 1024
_BUFFER_BYTES = 2**20
SAVED_DATASET = "state.json"
"""Written by `Dataset.save_to_disk`."""
SAVED_SPLITS = "dataset_dict.json"
"""Written by `DatasetDict.save_to_disk`."""


@dataclass(frozen=True)
class ParquetFile(RowSource):
    """One Parquet file."""

    path: Path

    @property
    def place(self) -> str:
        """The path."""
        return str(self.path)

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`."""
        import pyarrow
        import pyarrow.parquet as parquet

        try:
            # As it stands pyarrow reads a column's whole row group at once, which may be the whole file.
            with parquet.ParquetFile(self.path, buffer_size=_BUFFER_BYTES, pre_buffer=False) as file:
                columns = wanted_columns(self.settings, self.place, file.schema_arrow.names)
                batches = file.iter_batches(BATCH_ROWS, columns=columns)
                yield from numbered(row for batch in batches for row in batch.to_pylist())
        except TextsError:
            raise
        except (OSError, ValueError, pyarrow.ArrowException) as error:  # ValueError: texts that are no UTF-8
            raise TextsError(f"dataset {self.settings.name}: {self.place} cannot be read: {error}") from error

    def checksum(self) -> str:
        """SHA-256 of the file, and how it is read."""
        return f"parquet {file_checksum(self.path)}"


@dataclass(frozen=True)
class SavedSplit(RowSource):
    """A folder that `Dataset.save_to_disk` wrote."""

    folder: Path

    @property
    def place(self) -> str:
        """The folder's path."""
        return str(self.folder)

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`."""
        import datasets
        import pyarrow

        try:
            dataset = datasets.load_from_disk(str(self.folder.absolute()))
            columns = wanted_columns(self.settings, self.place, dataset_columns(dataset))
            yield from dataset_rows(dataset, columns)
        except TextsError:
            raise
        # Whatever the folder's own JSON files hold is taken apart by the library, unchecked.
        except (OSError, ValueError, TypeError, KeyError, AttributeError, pyarrow.ArrowException) as error:
            raise TextsError(
                f"dataset {self.settings.name}: {self.place} cannot be read as a folder saved by the library "
                f"datasets: {error}; save it again with save_to_disk, or give another as dataset.path"
            ) from error


def find_saved(settings: DatasetSettings, folder: Path, dev_names: Iterable[str]) -> Source | None:
    """The splits of a folder that `save_to_disk` wrote; None if it is no such folder.

    Args:
        settings: names the data set in messages.
        folder: where to look.
        dev_names: names of the dev split, the first that is there wins.

    Raises:
        TextsError: if it has no split called train.
    """
    if (folder / SAVED_DATASET).is_file():
        return Source(SavedSplit(settings, folder), None)
    if not (folder / SAVED_SPLITS).is_file():
        return None
    there = [name for name in ("train", *dev_names) if (folder / name / SAVED_DATASET).is_file()]
    if "train" not in there:
        names = ", ".join(sorted(path.name for path in folder.iterdir() if path.is_dir())) or "none"
        raise TextsError(
            f"dataset {settings.name}: the saved data set {folder} (dataset.path) has no split called train; "
            f"splits there: {names}. Rename one, or give one split's folder as dataset.path"
        )
    dev = SavedSplit(settings, folder / there[1]) if there[1:] else None
    return Source(SavedSplit(settings, folder / "train"), dev)


def wanted_columns(settings: DatasetSettings, place: str, there: list[str]) -> list[str]:
    """The columns that the settings name, in the order of the table.

    Raises:
        TextsError: if that of the texts or of the labels is not there.
    """
    check_columns(settings, place, there, "its columns are")
    names = {settings.text_column, settings.label_column, settings.id_column, settings.group_column}
    if settings.group_column is not None:
        names.add(settings.group_column.split(".")[0])
    return [column for column in there if column in names]


def dataset_columns(dataset: Any) -> list[str]:
    """The column names of a `datasets.Dataset`."""
    return list(dataset.column_names)


def dataset_rows(dataset: Any, columns: list[str]) -> Iterator[RawRow]:
    """Some columns of a `datasets.Dataset`, as they are stored: nothing is decoded or downloaded."""
    tables = dataset.select_columns(columns).with_format("arrow").iter(batch_size=BATCH_ROWS)
    return numbered(row for table in tables for row in table.to_pylist())


def numbered(rows: Iterable[Mapping[str, Any]]) -> Iterator[RawRow]:
    """Rows with their numbers, from 1."""
    for number, values in enumerate(rows, start=1):
        yield RawRow(number, dict(values))
