"""A finished run, asked about sentences: attribution, salient word, its concept, and what its removal changes.

Each sentence goes through the rooms of a cell by itself, so an explanation does not hang on its company.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float, Int64
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.alignment import align, white_space_tokens
from clvq_exp.activations.pooling import WordPooling
from clvq_exp.activations.row_file import TORCH_TYPES
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.evaluation.intervention import places, project_out, tokens_at
from clvq_exp.evaluation.probe import Probe
from clvq_exp.evaluation.projection import remove
from clvq_exp.explanations.attribution import attribute
from clvq_exp.explanations.salient_words import salient_word
from clvq_exp.finished_run import FinishedRun, RunError, open_run
from clvq_exp.fitting import choose_device
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.records import Alignment, EncodedText, LanguageModelOutput
from clvq_exp.report.explanation import PROBE, ExplainedBy, ExplainedWord, Explanation, Outcome, Prediction
from clvq_exp.report.explanation_concepts import ConceptSource
from clvq_exp.settings import WordScore
from clvq_exp.subject_model import find_subject_model, open_subject_model


class SentenceError(ValueError):
    """A sentence that cannot be explained; the message says which, and what to do."""


class Explainer:
    """Explains sentences by the concepts of a finished run; `Explainer.load` opens one.

    Args:
        run: the opened run.
        model: its language model.
        concepts: its concept model.
        probes: its probe, or those of all folds of dev: their probabilities are averaged.
        by: which seed and removal these are.
    """

    def __init__(
        self,
        run: FinishedRun,
        model: LanguageModel,
        concepts: ConceptModel,
        probes: Sequence[Probe],
        by: ExplainedBy,
    ) -> None:
        self.by = by
        self._config = run.config
        self._layer = run.config.layer_pair.lower
        self._model = model
        self._concepts = concepts
        self._probes = tuple(probes)
        self._places = places(model)
        self._held = cache(ConceptSource(run.folder, by.method, by.seed, by.label_names).concept)

    @classmethod
    def load(
        cls,
        run: str | Path,
        *,
        seed: int | None = None,
        removal: str | None = None,
        device: str = "auto",
        model_path: str | Path | None = None,
        trust: bool = False,
    ) -> Explainer:
        """Open a finished run with its language model; the data set is not needed.

        Args:
            run: the run folder.
            seed: of the concept model and the probe; None for the run's first.
            removal: what is removed for a concept; None for the method's own.
            device: `auto`, `cpu`, `cuda` or `cuda:0`, whatever the run was made on.
            model_path: a folder that holds the run's language model, where it lies elsewhere now.
            trust: run Python files that come with the language model, and a method from outside of this package,
                where the run names them.

        Raises:
            RunError: no finished run of this version, or a seed, removal or device that there is not.
            LanguageModelError: its language model is gone, or is another.
        """
        opened = open_run(Path(run), trust)
        seeds = opened.config.seeds
        seed = seeds[0] if seed is None else seed
        if seed not in seeds:
            raise RunError(f"seed {seed}: the run in {run} has {', '.join(map(str, seeds))}")
        where = _device(device)
        concepts = opened.concept_model(seed).to(where)
        removal = concepts.removals[0] if removal is None else removal
        if removal not in concepts.removals:
            raise RunError(f"removal {removal}: the method of the run offers {', '.join(concepts.removals)}")
        moved = None if model_path is None else Path(model_path)
        found = find_subject_model(opened.config, opened.subject, moved)
        model = open_subject_model(found, opened.subject, where)
        probes = opened.probes(seed, model.width)
        return cls(opened, model, concepts, probes, _described(opened, seed, removal, len(probes)))

    def explain(self, texts: Sequence[str]) -> list[Explanation]:
        """Explain sentences.

        Args:
            texts: a sentence, or a document, each.

        Returns:
            One record per text, in order.

        Raises:
            SentenceError: a text without words, or one that the model gives no numbers for; nothing is explained.
        """
        if isinstance(texts, str):
            raise SentenceError("explain takes a list of sentences: put the sentence into one")
        sentences = [self._read(text, f"sentence {number}") for number, text in enumerate(texts, 1)]
        progress = tqdm(sentences, desc="explaining", unit="sentence", disable=len(sentences) < 2)
        return [self._explain(sentence) for sentence in progress]

    def _read(self, text: str, name: str) -> _Sentence:
        if not text.strip():
            raise SentenceError(f"{name} is empty: give one with a word in it")
        try:
            text.encode()
        except UnicodeEncodeError as error:
            raise SentenceError(f"{name} holds half a character, its {error.start + 1}.: give UTF-8") from error
        encoded = self._model.encode([text])[0]
        sentence = _Sentence(name, text, encoded, align(text, encoded))
        if not sentence.alignment.words:
            raise SentenceError(
                f"{name} has no word that the tokenizer of {self._model.name} keeps within its limit: give another"
            )
        return sentence

    def _explain(self, sentence: _Sentence) -> Explanation:
        output = self._model.run(self._model.pad([sentence.encoded]), [self._layer])
        words, h = self._activations(sentence, output)
        settings = self._config.attribution
        attribution = attribute(self._model, [sentence.text], settings, self._layer)[0]
        ids = self._concepts.assign(words).cpu()
        special = np.array([word.special for word in sentence.alignment.words])
        allowed = settings.sentence_token_can_be_salient
        salient = salient_word(attribution.words, special, allowed, settings.salient_by)
        basis = self._basis(ids[salient : salient + 1])
        before = _prediction(torch.softmax(output.logits[0].double(), 0), self.by)
        left = remove(h, basis)
        shown = tuple(sentence.shown(attribution.words, ids[:, 0].numpy()))
        position = sentence.alignment.words[salient].position
        return Explanation(
            text=sentence.text,
            prediction=before,
            words=shown,
            salient=next(word for word in shown if word.position == position),
            concept=self._held(int(ids[salient, 0])) if ids[salient, 0] >= 0 else None,
            removed=tuple(int(each) for each in ids[salient, : basis.shape[1]] if each >= 0),
            removed_share=float((h - left).norm() / h.norm().clamp(min=torch.finfo(h.dtype).tiny)),
            probe=_outcome(PROBE, self._probed(h), self._probed(left)),
            live=tuple(self._live(sentence, output, basis, position, before)),
            steps=attribution.steps,
            convergence_delta=attribution.convergence_delta,
            truncated=len(sentence.alignment.truncated),
            vanished=len(sentence.alignment.vanished),
        )

    def _activations(
        self, sentence: _Sentence, output: LanguageModelOutput
    ) -> tuple[Float[Tensor, "n d"], Float[Tensor, "1 d"]]:
        """The words at layer l, rounded as the run's store holds them, and the representation h."""
        hidden, settings = output.hidden[self._layer], self._config.activations
        pooling = WordPooling([sentence.alignment], hidden, settings.sub_word)
        words = pooling.words(hidden)
        stored = words.to(TORCH_TYPES[settings.dtype])
        if not (torch.isfinite(stored).all() and torch.isfinite(output.logits).all()):
            raise SentenceError(
                f"{sentence.name}: layer {self._layer} of {self._model.name}, or its answer, is not finite as "
                f"{settings.dtype.value}: give another sentence"
            )
        h = pooling.sentences(hidden, words, self._model.pooling)
        return stored.float().cpu(), h.float().cpu()

    def _basis(self, ids: Int64[Tensor, "1 c"]) -> Float[Tensor, "1 r d"]:
        """What a word's concepts remove; zero rows where it has none."""
        known = ids[:, :1] >= 0
        found = self._concepts.directions(torch.where(known, ids, 0), self.by.removal)
        return found.cpu() * known[..., None]

    @torch.no_grad()
    def _probed(self, h: Float[Tensor, "1 d"]) -> Prediction:
        probabilities = [torch.softmax(probe(h)[0].double(), 0) for probe in self._probes]
        return _prediction(torch.stack(probabilities).mean(0), self.by)

    @torch.no_grad()
    def _live(
        self,
        sentence: _Sentence,
        output: LanguageModelOutput,
        basis: Float[Tensor, "1 r d"],
        salient_position: int,
        before: Prediction,
    ) -> Iterator[Outcome]:
        """The removal inside the model at every place, each a row of one batch."""
        n, device = len(self._places), self._model.device
        where = torch.zeros((n, len(sentence.encoded.input_ids)), dtype=torch.bool)
        for row, place in enumerate(self._places):
            where[row, tokens_at(place, sentence.encoded, sentence.alignment, salient_position)] = True
        tokens = self._model.pad([sentence.encoded] * n)
        hidden = output.hidden[self._layer]
        states = project_out(hidden.expand(n, -1, -1), basis.expand(n, -1, -1).to(device), where.to(device))
        with self._model.replacing(self._layer, states):
            after = torch.softmax(self._model.class_logits(*tokens).double(), 1)
        for place, probabilities in zip(self._places, after, strict=True):
            yield _outcome(place, before, _prediction(probabilities, self.by))


class _Sentence(NamedTuple):
    """A text as the model reads it."""

    name: str
    text: str
    encoded: EncodedText
    alignment: Alignment

    def shown(self, scores: NDArray[np.float32], codes: NDArray[np.int64]) -> Iterator[ExplainedWord]:
        """Every word of the text in order, the sentence token first; those that are not read have no score."""
        found = {
            word.position: ExplainedWord(word.position, word.text, float(score), int(code) if code >= 0 else None)
            for word, score, code in zip(self.alignment.words, scores, codes, strict=True)
        }
        spans = white_space_tokens(self.text)
        yield from (word for position, word in found.items() if position < 0)
        for position, (start, end) in enumerate(spans):
            yield found.get(position, ExplainedWord(position, self.text[start:end], None, None))


def _prediction(probabilities: Tensor, by: ExplainedBy) -> Prediction:
    chosen = int(probabilities.argmax())
    return Prediction(by.label_names[chosen], float(probabilities[chosen]), tuple(probabilities.tolist()))


def _outcome(place: str, before: Prediction, after: Prediction) -> Outcome:
    chosen = before.probabilities.index(before.confidence)
    return Outcome(place, before, after, after.probabilities[chosen] - before.probabilities[chosen])


def _device(name: str) -> torch.device:
    try:
        return choose_device(name)
    except (ValueError, RuntimeError) as error:
        said = str(error).splitlines()[0]
        raise RunError(f"device {name}: {said.removeprefix(f'trainer.device={name}: ')}") from error


def _described(run: FinishedRun, seed: int, removal: str, probes: int) -> ExplainedBy:
    config = run.config
    shares = config.attribution.word_score is WordScore.max_absolute
    return ExplainedBy(
        run=str(run.folder),
        model=config.model.name,
        dataset=config.dataset.name,
        layer_pair=config.layer_pair.name,
        method=run.method.name,
        seed=seed,
        removal=removal,
        label_names=tuple(config.dataset.label_names),
        attribution_unit="share" if shares else "logits",
        probes=probes,
        content_warning=config.dataset.content_warning,
    )
