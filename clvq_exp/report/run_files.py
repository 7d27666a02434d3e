"""The files of a run folder, as rows. A file that is absent has no rows."""

from __future__ import annotations

from collections.abc import Collection, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any, cast

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

Row = Mapping[str, Any]
"""One row of a table: column -> plain value or None."""


def read_rows(folder: Path, name: str, columns: Sequence[str] | None = None, **equal_to: str | int) -> list[Row]:
    """Rows of `<folder>/<name>.parquet`.

    Args:
        folder: the run folder.
        name: the table, `history` say.
        columns: columns to read; None for all.
        **equal_to: keep only rows whose column equals the value.

    Returns:
        The rows in file order; none where there is no such file.
    """
    import pyarrow.parquet as parquet

    path = folder / f"{name}.parquet"
    if not path.is_file():
        return []
    filters = [(column, "=", value) for column, value in equal_to.items()] or None
    table: Any = parquet.read_table(path, columns=list(columns) if columns else None, filters=filters)
    return cast("list[Row]", table.to_pylist())


def read_vectors(
    folder: Path, chosen: Collection[int], **equal_to: str | int
) -> tuple[list[int], NDArray[np.float64]]:
    """The vectors of some concepts.

    Args:
        folder: the run folder, with `concepts`.
        chosen: their numbers.
        **equal_to: as in `read_rows`.

    Returns:
        Numbers and vectors `[n, d]`, of those that have one, in file order.
    """
    import numpy as np
    import pyarrow.parquet as parquet

    filters: list[tuple[str, str, Any]] = [(column, "=", value) for column, value in equal_to.items()]
    filters.append(("concept", "in", list(chosen)))
    path = folder / "concepts.parquet"
    if not path.is_file() or not chosen:
        return [], np.empty((0, 0))
    table: Any = parquet.read_table(path, columns=["concept", "vector"], filters=filters)
    table = table.filter(table.column("vector").is_valid()).combine_chunks()
    numbers: list[int] = table.column("concept").to_pylist()
    if not numbers:
        return [], np.empty((0, 0))
    flat = table.column("vector").combine_chunks().flatten().to_numpy()
    return numbers, flat.astype(np.float64).reshape(len(numbers), -1)


def read_config(folder: Path) -> Mapping[str, Any]:
    """The resolved configuration of the run; empty where there is none that can be read."""
    import yaml

    path = folder / "config.yaml"
    if not path.is_file():
        return {}
    try:
        content: object = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (yaml.YAMLError, UnicodeDecodeError):
        return {}
    return cast("Mapping[str, Any]", content) if isinstance(content, Mapping) else {}
