"""What is looked at before Hydra makes a run's folder."""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path
from typing import Any

from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from clvq_exp.publishing import ADVICE
from clvq_exp.report.text_safety import visible
from clvq_exp.storage import StorageError, storage_errors

SWEEP_ADVICE = "free space there, or choose another by hydra.sweep.dir"


class WritableFolder(Callback):
    """Hydra writes into the run folder before the run begins; if it cannot, that is said in one line."""

    def on_run_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Try the folder of a single run."""
        del kwargs
        _try("the run folder", Path(str(config.hydra.run.dir)), ADVICE)

    def on_multirun_start(self, config: DictConfig, **kwargs: Any) -> None:
        """Try the folder of a sweep."""
        del kwargs
        _try("the sweep's folder", Path(str(config.hydra.sweep.dir)), SWEEP_ADVICE)


def _try(what: str, folder: Path, advice: str) -> None:
    try:
        with storage_errors(what, folder, advice):
            folder.mkdir(parents=True, exist_ok=True)
            with tempfile.TemporaryFile(dir=folder):
                pass
    except StorageError as error:
        sys.stderr.write(visible(str(error)) + "\n")
        raise SystemExit(1) from None  # any other error of a callback is a warning to Hydra
