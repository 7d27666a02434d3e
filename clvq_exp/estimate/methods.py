"""Which concept methods the estimate knows: the one place where their classes are looked up.

A further method is a function that fills in `MethodNeeds`, and a line here.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping

from clvq_exp.config import Method
from clvq_exp.estimate.method_clustering import clustering
from clvq_exp.estimate.method_codebooks import clvq_vae, kmeans_codes
from clvq_exp.estimate.method_of_cell import ArgumentError, MethodOfCell
from clvq_exp.estimate.method_sparse import sparse_autoencoder, sparse_transcoder
from clvq_exp.estimate.names import Names
from clvq_exp.estimate.records import MethodNeeds
from clvq_exp.estimate.subject import Subject

KNOWN: Mapping[str, Callable[[MethodOfCell], MethodNeeds]] = {
    "clvq_exp.concepts.clvq_vae.ClvqVae": clvq_vae,
    "clvq_exp.concepts.kmeans_codes.KMeansCodes": kmeans_codes,
    "clvq_exp.concepts.clustering.Clustering": clustering,
    "clvq_exp.concepts.sparse.autoencoder.SparseAutoencoder": sparse_autoencoder,
    "clvq_exp.concepts.sparse.transcoder.SparseTranscoder": sparse_transcoder,
}
"""Class -> what it needs. Any other is counted as CLVQ-VAE, which takes longest of the project's own."""


def is_known(method: Method) -> bool:
    """Whether the work of a concept method is known."""
    return method.target in KNOWN


def methods_of(subject: Subject, names: Names) -> tuple[MethodNeeds, ...]:
    """What each concept method of a cell needs, the cell's own first.

    Args:
        subject: the cell.
        names: of its artifacts.
    """
    return tuple(_needs(MethodOfCell(subject, names, each)) for each in subject.config.methods.values())


def _needs(cell: MethodOfCell) -> MethodNeeds:
    try:
        return KNOWN.get(cell.method.target, _another)(cell)
    except ArgumentError as error:
        return _another(cell)._replace(problem=str(error))


def _another(cell: MethodOfCell) -> MethodNeeds:
    """A method without a formula: counted as CLVQ-VAE, under names of its own."""
    method, seeds = cell.method, cell.subject.config.seeds
    found = clvq_vae(cell._replace(method=method._replace(arguments={})))
    models = tuple(
        cell.names.fitted(seed, method.target, method.arguments, name)
        for seed, name in zip(seeds, found.models, strict=True)
    )
    own = dict(zip(found.models, models, strict=True))
    parts = tuple(part._replace(key=own.get(str(part.key), part.key)) for part in found.parts)
    return found._replace(parts=parts, models=models)
