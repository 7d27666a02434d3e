"""Which class of a model each class of the data set is."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from clvq_exp.artifacts import read_json
from clvq_exp.language_models.base import LanguageModelError

_WAY_OUT = "give dataset.label_names with the model's names, or fine_tuning.when=always"


def label_order(model_labels: Sequence[str], data_labels: Sequence[str]) -> list[int]:
    """The model's class for each class of the data, matched by name: exactly, else without regard to case.

    Models whose labels are `LABEL_0`, `LABEL_1`, ... carry no names: their order is taken as it is.

    Raises:
        LanguageModelError: other names, or another number of classes.
    """
    if len(model_labels) != len(data_labels):
        raise LanguageModelError(
            f"the model has {len(model_labels)} classes {list(model_labels)}, the data set has "
            f"{len(data_labels)} {list(data_labels)}: give dataset.label_names, or fine_tuning.when=always"
        )
    if all(name == f"LABEL_{index}" for index, name in enumerate(model_labels)):
        return list(range(len(model_labels)))
    exact = {name: index for index, name in enumerate(model_labels)}
    spellings = Counter(name.casefold() for name in model_labels)
    folded = {name.casefold(): index for name, index in exact.items() if spellings[name.casefold()] == 1}
    taken: dict[int, str] = {}
    for name in data_labels:
        found = exact.get(name, folded.get(name.casefold()))
        if found is None:
            raise LanguageModelError(
                f"label {name!r} of the data set is none of the model's labels {list(model_labels)}: {_WAY_OUT}"
            )
        if found in taken:
            raise LanguageModelError(
                f"labels {taken[found]!r} and {name!r} of the data set are both {model_labels[found]!r} among "
                f"the model's labels {list(model_labels)}: {_WAY_OUT}"
            )
        taken[found] = name
    return list(taken)


def stored_labels(folder: Path) -> list[str] | None:
    """Class names as the folder's config.json has them; None where it has none, which only loading can tell."""
    config: dict[str, Any] = read_json(folder / "config.json")
    names: dict[str, object] | None = config.get("id2label")
    if not names or set(names) != {str(index) for index in range(len(names))}:
        return None
    return [str(names[str(index)]) for index in range(len(names))]
