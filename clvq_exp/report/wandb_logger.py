"""A Lightning logger for Weights & Biases whose curves stand over epochs. Imported by whoever logs there only."""

from __future__ import annotations

from typing import Any

from pytorch_lightning.loggers import WandbLogger
from pytorch_lightning.loggers.logger import rank_zero_experiment

EPOCH = "epoch"
LOWEST = "min"
HIGHEST = "max"
CURVES: dict[str, str | None] = {
    "train_loss": LOWEST,
    "train_reconstruction": LOWEST,
    "train_commitment": LOWEST,
    "train_sparsity": LOWEST,
    "validation_loss": LOWEST,
    "validation_reconstruction": LOWEST,
    "validation_commitment": LOWEST,
    "validation_sparsity": LOWEST,
    "variance_explained": HIGHEST,
    "perplexity": None,
    "codes_in_use": None,
    "revived_codes": None,
    "alpha": None,
    "learning_rate": None,
    "l0": None,
    "dead_neurons": None,
}
"""Column of `history.parquet` -> what of it stands in the summary: `min` as `<name>.min`; None, the last value.

A summary that is asked for by name, `last` too, stands one step below the metric's own name, where no panel looks
for a plain figure; without one W&B keeps the last value under the name itself.
"""


class TrainingLogger(WandbLogger):
    """Curves of one concept model. The run is opened, and its curves are declared, with the first figure."""

    @property
    @rank_zero_experiment
    def experiment(self) -> Any:
        """The W&B run."""
        is_new = self._experiment is None
        run: Any = super().experiment
        if is_new:
            # Lightning has put every metric over its count of steps, which means nothing beside other methods.
            run.define_metric(EPOCH)
            run.define_metric("*", step_metric=EPOCH)
            for name, summary in CURVES.items():
                run.define_metric(name, step_metric=EPOCH, summary=summary)
        return run


def declare_figures(run: Any, names: list[str]) -> None:
    """Declare figures of a cell: each has one value, which the summary keeps under the figure's own name.

    Args:
        run: an open W&B run.
        names: of the figures.
    """
    for name in names:
        run.define_metric(name)
