"""Data sets of the Hugging Face hub, read by the library `datasets`, which runs no code of theirs."""

from __future__ import annotations

import os
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from typing import Any

from clvq_exp.settings import DatasetSettings, OriginalForm
from clvq_exp.texts import agnews, eraser
from clvq_exp.texts.columnar import dataset_columns, dataset_rows, wanted_columns
from clvq_exp.texts.reading import RawRow, RowSource, Source, TextsError, shown

_ERASER_COLUMNS = ["label", "evidences"]


@dataclass(frozen=True)
class HubSplit(RowSource):
    """One split of the data set of the hub that the settings name."""

    split: str

    @property
    def place(self) -> str:
        """Name, revision and split."""
        revision = f" at revision {self.settings.revision}" if self.settings.revision else ""
        return f"the hub's {self.settings.hub_id}{revision}, split {self.split}"

    @cached_property
    def dataset(self) -> Any:
        """The split as a `datasets.Dataset`: all readings of it see the same rows."""
        return load_split(self)

    def rows(self) -> Iterator[RawRow]:
        """See `RowSource.rows`; what the publisher's own form needs is done to the hub's copy too."""
        settings, there = self.settings, dataset_columns(self.dataset)
        if settings.original is OriginalForm.eraser:
            if not set(_ERASER_COLUMNS) <= set(there):
                raise TextsError(
                    f"dataset {settings.name}: {self.place} has the columns {', '.join(map(shown, there))}, but "
                    f"ERASER Movie Reviews have {' and '.join(_ERASER_COLUMNS)}: check dataset.hub_id, or set "
                    "dataset.original=none"
                )
            return eraser.hub_rows(dataset_rows(self.dataset, _ERASER_COLUMNS))
        rows = dataset_rows(self.dataset, wanted_columns(settings, self.place, there))
        if settings.original is OriginalForm.agnews:
            return agnews.cleaned_rows(rows, settings.text_column)
        return rows

    def checksum(self) -> str:
        """The pinned revision and the SHA-256 of all rows."""
        return f"hub {self.settings.revision} {super().checksum()}"


def find_on_hub(settings: DatasetSettings) -> Source:
    """The splits that the settings name; nothing is fetched yet."""
    dev = HubSplit(settings, settings.hub_dev) if settings.hub_dev else None
    return Source(HubSplit(settings, settings.hub_train), dev)


def load_split(split: HubSplit) -> Any:
    """A split as a `datasets.Dataset`, from the local cache where it is there.

    Raises:
        TextsError: if it cannot be had; names the keys to check.
    """
    import datasets
    import pyarrow

    settings = split.settings
    try:
        return datasets.load_dataset(
            str(settings.hub_id), settings.hub_config, split=split.split, revision=settings.revision
        )
    # The library raises almost anything for a data set that is not as it should be.
    except (OSError, ValueError, RuntimeError, TypeError, KeyError, pyarrow.ArrowException) as error:
        offline = " (HF_HUB_OFFLINE is set)" if os.environ.get("HF_HUB_OFFLINE") else ""
        why = (str(error).splitlines() or [type(error).__name__])[0]
        raise TextsError(
            f"dataset {settings.name}: {split.place} cannot be had{offline}: {why}; check dataset.hub_id, "
            "dataset.hub_config, dataset.revision, dataset.hub_train and dataset.hub_dev, or give "
            f"dataset.path=...; what belongs there: {settings.what_belongs_there}"
        ) from error
