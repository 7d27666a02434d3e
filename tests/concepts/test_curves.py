"""The names under which curves are logged are those of the records that methods make in each epoch."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path

from sparse_models import autoencoder, fit_run

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptSettings, EpochRecord
from clvq_exp.concepts.clvq_vae import ClvqVae
from clvq_exp.report.wandb_logger import CURVES, EPOCH


def known(history: Iterable[EpochRecord]) -> set[str]:
    return {name for record in history for name, value in record.items() if value is not None}


def test_curves__are_the_records_of_the_codebook_and_of_the_sparse_methods(
    store: ActivationStore, settings: Callable[..., ConceptSettings], tmp_path: Path
) -> None:
    codebook = ClvqVae(settings(quantizer__revive_below=30.0, trainer__max_epochs=1))
    codebook.fit(fit_run(store, tmp_path / "codebook"))
    sparse = autoencoder(settings)
    sparse.fit(fit_run(store, tmp_path / "sparse"))
    logged = known(codebook.summary.history) | known(sparse.summary.history)
    assert logged == {*CURVES, EPOCH}
