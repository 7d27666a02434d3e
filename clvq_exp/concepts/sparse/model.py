"""What the sparse methods share: neurons as concepts, what of them is removed, a network for each penalty."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Callable, Sequence
from functools import cache, partial
from pathlib import Path
from typing import Any, ClassVar, TypeVar

import torch
from jaxtyping import Float, Int64
from safetensors.torch import load_file, save_file
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.activations.word_batches import WordDataModule
from clvq_exp.concepts.base import (
    CONCEPT,
    MEMBER_MEAN,
    ConceptError,
    ConceptModel,
    ConceptSettings,
    FitRun,
    FitSummary,
    concept_members,
    concepts_in_use,
    orthonormal,
    perplexity,
    read_summary,
    unit_rows,
    write_summary,
)
from clvq_exp.concepts.sparse.module import SparseModule, SparseSettings
from clvq_exp.concepts.sparse.network import Moments, SparseNetwork, layer_moments
from clvq_exp.concepts.sparse.trained import Trained, TrainedParts
from clvq_exp.concepts.trained_module import knobs_of_training
from clvq_exp.concepts.training import leave_to_the_first, train
from clvq_exp.ranks import first_says, ranks
from clvq_exp.settings import LayerPair, Split

TOP_NEURONS = 10
"""Neurons of a word that `assign` gives."""
ENCODER_TOP = {f"encoder_top_{k}": k for k in (TOP_NEURONS, 5, 1)}
"""Removal -> neurons whose encoder weights span what is removed. The largest is that of the paper's main table."""

_WEIGHTS = "model.safetensors"
_MEMBERS = ("member_means", "member_counts")
_PENALTY = "l1"
_ACTIVE_BYTES = 64 * 2**20
"""Activations that `assign` holds at once."""
_TRAINING_KNOBS = ("max_epochs", "patience", "gradient_clip", "plateau_factor", "plateau_patience")

Model = TypeVar("Model", bound="SparseModel")


class SparseModel(ConceptModel):
    """A concept is a neuron; a word's concepts are its most active neurons.

    Removals: `encoder_top_<k>` (the span of the encoder weights of the word's k most active neurons, which live in
    the layer that is perturbed), `concept` (the decoder vector of its most active neuron) and `member_mean`.

    Args:
        settings: of which the trainer's part is used.
        learning_rate: Adam's.
        batch_words: words per optimizer step.
        penalties: weights of the L1 penalty; one network is trained with each.
        k: neurons that TopK keeps, or None.

    Raises:
        ConceptError: an argument that no network can be trained with.
    """

    name: ClassVar[str]
    is_trained: ClassVar[bool] = True
    removals: tuple[str, ...] = (*ENCODER_TOP, CONCEPT, MEMBER_MEAN)

    def __init__(
        self,
        settings: ConceptSettings,
        learning_rate: float,
        batch_words: int,
        penalties: Sequence[float],
        k: int | None,
    ) -> None:
        if not learning_rate > 0:
            raise ConceptError(f"baseline.learning_rate={learning_rate}: it has to be above 0")
        if batch_words < 1:
            raise ConceptError(f"baseline.batch_words={batch_words}: a step needs a word at least")
        self._sparse = SparseSettings(learning_rate, batch_words, settings.trainer)
        self._penalties = tuple(penalties)
        self._k = k
        self._network: SparseNetwork | None = None
        self._member_means: Tensor | None = None
        self._member_counts: Tensor | None = None

    @abstractmethod
    def neurons(self, width: int) -> int:
        """Hidden neurons for activations of a width."""

    @abstractmethod
    def choose(self, found: Sequence[Trained]) -> Trained:
        """The network to keep, of those trained with each penalty."""

    @property
    def n_concepts(self) -> int:
        """Neurons of the fitted network."""
        return self.network.neurons

    @property
    def network(self) -> SparseNetwork:
        """The trained network."""
        assert self._network is not None, "fit or load the model first"
        return self._network

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        """Both layers and every knob that reaches training."""
        trainer = self._sparse.trainer
        return {
            "method": self.name,
            "source": store.layer_fingerprint(pair.lower),
            "target": store.layer_fingerprint(pair.upper),
            "neurons": self.neurons(store.width),
            "k": self._k,
            "penalties": self._penalties,
            "learning_rate": self._sparse.learning_rate,
            "batch_words": self._sparse.batch_words,
            "trainer": knobs_of_training(trainer, _TRAINING_KNOBS),
        }

    def fit(self, run: FitRun) -> None:
        """Train a network with each penalty and keep one.

        A killed fit goes on from its last checkpoint in `run.work`; a finished network is not trained again.

        Raises:
            ConceptError: no words, a loss that is not finite, or no active neuron.
        """
        start, end = run.store.word_range(Split.train)
        if start == end:
            raise ConceptError("no training words: raise trainer.sentences.concepts")
        moments = cache(partial(layer_moments, run.store))
        parts = TrainedParts(run.work / "networks")
        for l1 in self._penalties:
            if not first_says(parts.holds(l1)):
                self._train(run, l1, moments, parts)
        leave_to_the_first()
        chosen = self.choose([parts.read(l1) for l1 in self._penalties])
        self._log_curves(run, chosen)
        self._finish(run, chosen)
        parts.remove_all()

    def _train(self, run: FitRun, l1: float, moments: Callable[[int], Moments], parts: TrainedParts) -> None:
        store, trainer = run.store, self._sparse.trainer
        network = SparseNetwork(store.width, self.neurons(store.width), self._k, run.seed)
        module = SparseModule(network, self._sparse, l1)
        data = WordDataModule(
            store,
            run.pair.lower,
            run.pair.upper,
            self._sparse.batch_words,
            run.seed,
            trainer.num_workers,
            trainer.resident_gib,
            run.device,
        )

        def start() -> None:
            network.start_at(moments(run.pair.lower), moments(run.pair.upper))

        # The curves of several networks would lie over each other: those of the chosen one are logged afterwards.
        several = len(self._penalties) > 1
        label = ", ".join(filter(None, (run.label, f"{_PENALTY}={l1:g}")))
        alone = run._replace(logger=None, label=label) if several else run
        checkpoints = train(module, data, trainer, alone, start, part=f"{_PENALTY}_{l1:g}")
        if ranks().rank == 0:
            parts.enter(l1, network.state_dict(), module.history)
            checkpoints.remove_all()

    def _log_curves(self, run: FitRun, chosen: Trained) -> None:
        if run.logger is not None and len(self._penalties) > 1:
            for record in chosen.history:
                known = {name: value for name, value in record.items() if value is not None}
                run.logger.log_metrics(known, step=int(known["epoch"]))

    def _finish(self, run: FitRun, chosen: Trained) -> None:
        """Members and figures of the chosen network."""
        store, layer = run.store, run.pair.lower
        self._network = self._of_tensors(chosen.tensors()).to(run.device)
        self._member_means, self._member_counts = concept_members(self, store, layer, run.device)
        counts, in_use = concepts_in_use(self, store, layer, self._member_counts)
        if not counts.any():
            raise ConceptError(
                f"no neuron is active on any validation word at {_PENALTY}={chosen.l1:g}: train for longer "
                f"(trainer.max_epochs) or with a smaller baseline.{_PENALTY}"
            )
        best = chosen.best
        self.summary = FitSummary(
            perplexity=perplexity(counts),
            codes_in_use=in_use,
            validation_loss=chosen.validation_loss,
            best_epoch=int(best["epoch"] or 0),
            variance_explained=best["variance_explained"],
            l0=chosen.l0,
            dead_neurons=int(best["dead_neurons"] or 0),
            chosen={_PENALTY: chosen.l1} if len(self._penalties) > 1 else {},
            history=chosen.history,
        )

    @torch.no_grad()
    def assign(self, activations: Float[Tensor, "n d"]) -> Int64[Tensor, "n 10"]:
        """The most active neurons of each word, the most active first; -1 where fewer are active."""
        network = self.network
        device, neurons = network.encoder_weight.device, network.neurons
        found: list[Tensor] = []
        for block in activations.float().split(max(1, _ACTIVE_BYTES // (4 * neurons))):
            top = network.encode(block.to(device)).topk(min(TOP_NEURONS, neurons), dim=1)
            ids = torch.where(top.values > 0, top.indices, -1)
            found.append(torch.nn.functional.pad(ids, (0, TOP_NEURONS - ids.shape[1]), value=-1))
        return torch.cat(found)

    @torch.no_grad()
    def directions(self, ids: Int64[Tensor, "n 10"], removal: str) -> Float[Tensor, "n r d"]:
        """What a word's most active neurons stand for, as an orthonormal basis; -1 gives zero rows.

        Args:
            ids: neurons, as `assign` gives them.
            removal: one of `removals`.
        """
        if removal in ENCODER_TOP:
            return orthonormal(_rows(self.network.encoder_weight, ids[:, : ENCODER_TOP[removal]]))
        if removal == CONCEPT:
            vectors = self.network.decoder_weight
        elif removal == MEMBER_MEAN:
            assert self._member_means is not None, "fit or load the model first"
            vectors = self._member_means
        else:
            raise ValueError(f"{self.name} offers the removals {self.removals}, not {removal!r}")
        return unit_rows(_rows(vectors, ids[:, :1]))

    def vectors(self) -> Float[Tensor, "K d"]:
        """The decoder vectors, of norm 1."""
        return self.network.decoder_weight.detach()

    def save(self, folder: Path) -> None:
        """Write tensors and summary."""
        assert self._member_means is not None
        assert self._member_counts is not None
        members = dict(zip(_MEMBERS, (self._member_means, self._member_counts), strict=True))
        tensors = {**self.network.state_dict(), **members}
        save_file({name: each.detach().cpu().contiguous() for name, each in tensors.items()}, folder / _WEIGHTS)
        write_summary(folder, self.summary)

    def load(self: Model, folder: Path) -> Model:
        """Read tensors and summary; returns self."""
        tensors = load_file(folder / _WEIGHTS)
        self._member_means, self._member_counts = (tensors.pop(name) for name in _MEMBERS)
        self._network = self._of_tensors(tensors)
        self.summary = read_summary(folder)
        return self

    def to(self: Model, device: torch.device) -> Model:
        """Move the network and the means of its neurons' words; returns self."""
        self._network = self.network.to(device)
        if self._member_means is not None and self._member_counts is not None:
            self._member_means = self._member_means.to(device)
            self._member_counts = self._member_counts.to(device)
        return self

    def _of_tensors(self, tensors: dict[str, Tensor]) -> SparseNetwork:
        neurons, width = tensors["encoder_weight"].shape
        network = SparseNetwork(width, neurons, self._k, seed=0)
        network.load_state_dict(tensors)
        return network.eval()


def _rows(vectors: Float[Tensor, "K d"], ids: Int64[Tensor, "n r"]) -> Float[Tensor, "n r d"]:
    """Some rows; zeros for -1."""
    where = ids.to(vectors.device)
    return vectors[where.clamp(min=0)] * (where >= 0)[..., None]
