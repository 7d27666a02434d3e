"""Concepts of activations, as an object to work with in a notebook."""

from __future__ import annotations

import tempfile
from collections.abc import Mapping, Sequence
from functools import cached_property
from pathlib import Path
from typing import Any

import pyarrow as pa
import torch
from jaxtyping import Float, Int64
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, FitSummary, orthonormal
from clvq_exp.evaluation.projection import remove
from clvq_exp.fitting import choose_device
from clvq_exp.notebook.fit import fit_own, store_layers
from clvq_exp.notebook.given import check_activations
from clvq_exp.notebook.inspection import Neighbour, concept_table, nearest, purity
from clvq_exp.notebook.rows import Asked, NotebookError
from clvq_exp.report.text_safety import visible
from clvq_exp.sharing.card import HUB_ID, model_card
from clvq_exp.sharing.folder import load_folder, save_folder
from clvq_exp.sharing.hub import fetch, is_hub_id, push
from clvq_exp.sharing.records import Held, Origin, SharedModel, WordCount
from clvq_exp.sharing.runs import model_of_run, subject_of
from clvq_exp.sharing.shipped import DEFAULT_METHOD, configure

WORDS_SHOWN = 10


class Concepts:
    """A fitted concept model: assigns activations to concepts, takes concepts out, shows what they hold.

    Made by `fit`, `from_run` or `from_pretrained`.

    Args:
        shared: the model and what is told of it.
        device: `auto`, `cpu`, `cuda` or `cuda:0`: where words are assigned.
        store: the activations that it was fitted to, where they are there.
        scratch: the temporary folder that they lie in, which goes with this object.
    """

    def __init__(
        self,
        shared: SharedModel,
        device: str = "auto",
        store: ActivationStore | None = None,
        scratch: tempfile.TemporaryDirectory[str] | None = None,
    ) -> None:
        self._shared = shared
        self._scratch = scratch
        self.store = store
        """The activations that it was fitted to; None where it was loaded."""
        shared.model.to(choose_device(device))

    @classmethod
    def fit(
        cls,
        lower: Any,
        upper: Any = None,
        *,
        words: Any = None,
        sentences: Any = None,
        labels: Any = None,
        label_names: Sequence[str] | None = None,
        sentence_tokens: Any = None,
        validation: Any = None,
        method: str | type[ConceptModel] = DEFAULT_METHOD,
        seed: int = 0,
        protocol: str = "paper",
        init: str = "kmeans",
        folder: str | Path | None = None,
        language_model: str | None = None,
        layer_pair: tuple[int, int] | None = None,
        dataset: str | None = None,
        content_warning: str | None = None,
        settings: Mapping[str, Any] | None = None,
        **short: Any,
    ) -> Concepts:
        """Fit a concept method to one's own activations.

        What is not given is as in `conf/`: the sizes of Table 11, protocol and start of the codebook by name.

        Args:
            lower: activations at the layer whose concepts are wanted, `[n, d]`, one row for each word; a NumPy
                array (memory-mapped too) or a tensor on any device. They are read a block at a time.
            upper: the same words at the layer to rebuild, `[n, d]`; None rebuilds `lower`.
            words: the n words.
            sentences: which sentence each word is of, `[n]`, numbers or names; the words of a sentence lie side by
                side, and see each other when the upper layer is rebuilt. None: each word stands for itself.
            labels: class of each sentence in the order in which they come, or of each word.
            label_names: names of the classes; None takes them from the labels.
            sentence_tokens: which rows are sentence tokens ([CLS]), `[n]` of bool; they are not counted by label.
            validation: share of the sentences that training is stopped on, or which, as bool per sentence or word;
                None for the share of `conf/`.
            method: the name of a method of `conf/baseline/` (`clvq_vae`, `single_layer`, `kmeans_codes`,
                `clustering`, `sae_2048`, `transcoder`, ...), or a class of a module.
            seed: of everything that is drawn.
            protocol: `paper`, `reference` or `strict`.
            init: the start of the codebook: `kmeans`, `random` or `spherical_kmeans`.
            folder: where activations and model are kept, so that the same call finds them again; they take 4 n d
                bytes for each layer. None: a temporary folder, which goes with the object.
            language_model: whose activations they are, for the model card; a name on the hub is linked.
            layer_pair: numbers of the lower and upper layer, for the model card.
            dataset: the name of the texts, for the model card; a name on the hub is linked.
            content_warning: what readers should know before they see the words, for the model card.
            settings: full keys as on a command line, `{"quantizer.codebook_size": 50, "baseline.words": "all"}`.
            **short: the same by the last part of the key: `codebook_size=50`, `max_epochs=5`, `device="cpu"`, and
                the method's own arguments.

        Raises:
            NotebookError: arrays that do not fit together or cannot be used.
            ConfigError: unknown names, with the nearest, and values that do not fit.
            ConceptError: what the method says against the activations: too few words, a loss that is not finite.
        """
        configured = configure(method, short, settings, protocol, init)
        own = isinstance(method, str)
        shipped = configure(method, {}, {}, protocol, init) if own and configured.changed else None
        texts = configured.config.dataset
        given = check_activations(
            lower,
            upper,
            words,
            sentences,
            labels,
            label_names,
            sentence_tokens,
            texts.validation_share if validation is None else validation,
            texts.split_seed,
        )
        pair = store_layers(layer_pair, given.upper is None)
        origin = Origin(
            language_model=subject_of(_named(language_model)),
            dataset=subject_of(_named(dataset)),
            layer_pair=None if layer_pair is None else (pair.lower, pair.upper),
            protocol=protocol,
            content_warning=content_warning,
        )
        scratch = tempfile.TemporaryDirectory(prefix="clvq_exp-") if folder is None else None
        place = Path(scratch.name if scratch is not None else str(folder)).expanduser()
        made = fit_own(given, configured, shipped, pair, seed, place, origin)
        return cls(made.shared, configured.config.trainer.device, made.store, scratch)

    @classmethod
    def from_run(
        cls,
        folder: str | Path,
        seed: int | None = None,
        *,
        method: type[ConceptModel] | None = None,
        device: str = "auto",
    ) -> Concepts:
        """The concept model of a finished run, with the run's figures.

        Args:
            folder: the run folder.
            seed: whose model; None for the run's first.
            method: the class of a method that is not shipped.
            device: where words are assigned.

        Raises:
            SharingError: no finished run, no such seed, or a damaged file.
        """
        return cls(model_of_run(Path(folder), seed, method), device)

    @classmethod
    def from_pretrained(
        cls,
        source: str | Path,
        *,
        revision: str | None = None,
        method: type[ConceptModel] | None = None,
        device: str = "auto",
    ) -> Concepts:
        """A concept model that `save_pretrained` or `push_to_hub` wrote. No code comes with it and none is run.

        Args:
            source: a folder, or `owner/name` on the Hugging Face hub; a folder of that name wins.
            revision: of the hub: a commit, tag or branch.
            method: the class of a method that is not shipped.
            device: where words are assigned.

        Raises:
            SharingError: says what is wrong with the folder, or why the hub cannot be reached.
        """
        folder = Path(source).expanduser()
        if not folder.is_dir() and isinstance(source, str) and is_hub_id(source):
            folder = fetch(source, revision)
        return cls(load_folder(folder, method), device)

    def save_pretrained(self, folder: str | Path, *, words: bool = True) -> Path:
        """Write the model as a folder: safetensors, `config.json`, a model card. Whole or not at all.

        Args:
            folder: made where it is not there; an earlier model in it is replaced.
            words: whether words of the data set are written, into the table and onto the card.

        Raises:
            SharingError: other files are in the way.
            StorageError: a full disk or a folder that cannot be written.
        """
        return save_folder(Path(folder), self._shared, words)

    def push_to_hub(self, repo_id: str, *, private: bool = True, words: bool = True) -> str:
        """Send the model to the Hugging Face hub; returns the address of the commit.

        Args:
            repo_id: `owner/name`; made where it is not there.
            private: of a repository that is made: whether only its owner sees it.
            words: whether words of the data set are sent.

        Raises:
            SharingError: no network, no login, or no right to write there.
        """
        return push(self._shared, repo_id, private, words)

    @property
    def model(self) -> ConceptModel:
        """The concept model itself."""
        return self._shared.model

    @property
    def origin(self) -> Origin:
        """What it was fitted to."""
        return self._shared.origin

    @property
    def settings(self) -> Mapping[str, Any]:
        """What it was fitted with: section -> key -> value."""
        return self._shared.settings

    @property
    def summary(self) -> FitSummary:
        """What the fit came to, with its training curves (`history`)."""
        return self.model.summary

    @property
    def codebook(self) -> Mapping[str, Any]:
        """Figures of the codebook: size, use, perplexity, cosines, variance explained; as in `metrics.json`."""
        return self._shared.codebook

    @property
    def metrics(self) -> Mapping[str, Any] | None:
        """`metrics.json` of the run that it comes from; None outside of a run."""
        return self._shared.metrics

    @property
    def removals(self) -> tuple[str, ...]:
        """Ways to take a concept out, the method's own first."""
        return self.model.removals

    @property
    def width(self) -> int:
        """d of the activations."""
        return self._shared.width

    def __len__(self) -> int:
        return self.model.n_concepts

    def __repr__(self) -> str:
        """Method, size and origin in a line."""
        model = self.origin.language_model.name
        of = f" of {visible(model)}" if model else ""
        use = f"{self.summary.codes_in_use} in use"
        return f"<{visible(self._shared.method.name)}: {len(self)} concepts{of}, width {self.width}, {use}>"

    def assign(self, activations: Any, every: bool = False) -> Any:
        """The concept of each activation.

        Args:
            activations: `[..., d]` of the lower layer, an array or a tensor.
            every: all columns of the method instead of the first: the most active neurons of a sparse method.

        Returns:
            Numbers of concepts, `[...]`, or `[..., c]` with `every`; -1 for none. An array for an array, a tensor
            on the same device for a tensor.

        Raises:
            NotebookError: another width, or a value that is not finite.
        """
        asked = Asked(activations, self.width)
        found: list[Tensor] = []
        for rows, block in asked.blocks():
            if not bool(block.isfinite().all()):
                raise NotebookError(f"rows {rows.start} to {rows.stop - 1} hold a value that is not finite")
            codes = self._codes(block)
            found.append(codes if every else codes[:, 0])
        return asked.told_of_them(found, self._columns if every else None)

    def remove(self, activations: Any, codes: Any = None, removal: str | None = None) -> Any:
        """Project concepts out of activations, orthogonally.

        Args:
            activations: `[..., d]`, an array or a tensor; a gradient goes through.
            codes: the concept to take out of each, `[...]` or `[..., c]`; one number for all of them; None for
                each one's own, with all columns of `assign`.
            removal: one of `removals`; None for the method's own.

        Returns:
            What is left, in the shape, kind and number format of what was given; a row whose code is -1 as it was.

        Raises:
            NotebookError: another shape, or a concept or a removal that there is not.
        """
        removal = self.removals[0] if removal is None else removal
        if removal not in self.removals:
            raise NotebookError(f"removal={removal!r}: there are {', '.join(self.removals)}")
        asked = Asked(activations, self.width)
        ids = None if codes is None else asked.concepts(codes, len(self), self._columns)
        left: list[Tensor] = []
        for rows, block in asked.blocks():
            own = self._codes(block.detach()) if ids is None else ids[rows]
            basis = self.model.directions(own, removal).detach().to(block.device, block.dtype)
            left.append(remove(block, orthonormal(basis) if block.dtype == torch.float64 else basis))
        return asked.like_them(left)

    @cached_property
    def _columns(self) -> int:
        """Concepts that the method assigns a word to at most."""
        return self._codes(torch.zeros(1, self.width)).shape[1]

    def _codes(self, block: Float[Tensor, "n d"]) -> Int64[Tensor, "n c"]:
        return self.model.assign(block.float())

    def words(self, concept: int, n: int = WORDS_SHOWN) -> list[WordCount]:
        """The most frequent training words of a concept with their counts, case-folded.

        Args:
            concept: its number.
            n: words at most.

        Raises:
            NotebookError: no such concept, or words that are not known.
        """
        held = self._held(concept)
        if not any(each.words for each in self._shared.held):
            raise NotebookError("the words are not known: give words to fit, or save the model with words=True")
        return list(held.words[:n])

    def labels(self, concept: int) -> dict[str, int]:
        """Training words of a concept by the label of their sentence, the commonest first.

        Raises:
            NotebookError: no such concept.
        """
        return {each.label: each.n_words for each in self._held(concept).labels}

    def purity(self, concept: int) -> float | None:
        """The largest share of one label among a concept's words; None where no label is known of it.

        Raises:
            NotebookError: no such concept.
        """
        return purity(self._held(concept))

    def nearest(self, concept: int, n: int = 5) -> list[Neighbour]:
        """The other concepts of highest cosine.

        Raises:
            NotebookError: no such concept.
        """
        self._held(concept)
        return nearest(self.vectors(), [concept], n)[0]

    def vectors(self) -> Float[Tensor, "K d"]:
        """One vector per concept, on the CPU."""
        return self.model.vectors().detach().cpu()

    def table(self, words: int = WORDS_SHOWN) -> pa.Table:
        """One row per concept: size, words, commonest label, purity, nearest concept; `.to_pandas()` shows it.

        Args:
            words: of each concept.
        """
        return concept_table(self._shared.held, self.vectors(), words)

    def card(self) -> str:
        """The model card as Markdown."""
        return model_card(self._shared)

    def _held(self, concept: int) -> Held:
        if not 0 <= concept < len(self):
            raise NotebookError(f"concept {concept}: there are 0 to {len(self) - 1}")
        return self._shared.held[concept]


def _named(name: str | None) -> dict[str, str | None]:
    """A name, and the same on the hub where it has that form."""
    return {"name": name, "hub_id": name if name is not None and HUB_ID.fullmatch(name) else None}
