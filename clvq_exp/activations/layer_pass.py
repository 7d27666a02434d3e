"""One pass of the language model that fills the files of all asked layers, part by part."""

from __future__ import annotations

from collections.abc import Generator, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from contextlib import ExitStack, closing, contextmanager
from functools import partial
from itertools import chain
from pathlib import Path
from typing import NamedTuple

import numpy as np
import torch
from jaxtyping import Float
from numpy.typing import NDArray
from torch import Tensor
from tqdm import tqdm

from clvq_exp.activations.alignment import align
from clvq_exp.activations.batching import length_sorted_batches
from clvq_exp.activations.layer_files import LayerFiles, LayerOutput
from clvq_exp.activations.pooling import WordPooling
from clvq_exp.activations.store import LAYER_FACTS, read_sentence_table
from clvq_exp.activations.tables import ActivationError
from clvq_exp.artifacts import write_json
from clvq_exp.behind import Behind
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.language_models.recipe import ALONE, ModelProcesses
from clvq_exp.memory import give_back
from clvq_exp.parts import EXTRACTED, Ledger
from clvq_exp.ranks import Ranks
from clvq_exp.records import Alignment, EncodedText, Sentence
from clvq_exp.settings import ActivationSettings, Split

PART = EXTRACTED


class Part(NamedTuple):
    """Some batches of sentences: what is done, or done again, as a whole."""

    name: str
    batches: list[NDArray[np.int64]]
    """Rows of sentences of like length."""

    @property
    def rows(self) -> NDArray[np.int64]:
        """Of all its sentences."""
        return np.concatenate(self.batches)


class _Prepared(NamedTuple):
    """A batch as far as it needs no language model's layers: its sub-words, and which words they make."""

    rows: NDArray[np.int64]
    encoded: list[EncodedText]
    alignments: list[Alignment]


class LayerWork(NamedTuple):
    """A pass over all sentences, for some layers."""

    folders: dict[int, Path]
    """Working folder of each layer; parts that an earlier run finished there are kept."""
    tables: Path
    """The store's tables."""
    sentences: Sequence[tuple[Split, Sentence]]
    """All sentences, in the order of the store."""
    settings: ActivationSettings
    """Sub-word, number format and batch size."""
    width: int
    """d."""

    @contextmanager
    def files(self) -> Generator[dict[int, LayerFiles]]:
        """The layers' files, open inside; what they hold stays."""
        table = read_sentence_table(self.tables)
        with ExitStack() as opened:
            yield {
                layer: opened.enter_context(closing(LayerFiles(out, table, self.width, self.settings.dtype)))
                for layer, out in self.folders.items()
            }

    def missing(self) -> list[Part]:
        """The parts that no run has finished, or that are not what was written."""
        n_tokens = read_sentence_table(self.tables).n_tokens
        ledgers = {layer: Ledger(out) for layer, out in self.folders.items()}
        found: list[Part] = []
        with self.files() as files:
            for part in _parts(length_sorted_batches(n_tokens, self.settings.batch_tokens)):
                checksums = {layer: partial(out.checksum, part.rows) for layer, out in files.items()}
                if not all(ledger.keeps(part.name, checksums[layer]) for layer, ledger in ledgers.items()):
                    found.append(part)
        return found


def run_layers(model: LanguageModel, work: LayerWork, processes: ModelProcesses = ALONE) -> None:
    """Run all sentences in batches of like length and write each layer as it goes.

    Args:
        model: the language model.
        work: sentences, layers and where they go.
        processes: those that share the work.

    Raises:
        ActivationError: activations that are not finite or do not fit the number format.
        RankError: of several processes, one died.
    """
    missing = work.missing()
    processes.share(model, missing, fill_parts, work)
    n_words = int(read_sentence_table(work.tables).n_words.sum())
    for layer, out in work.folders.items():
        facts = {
            "layer": layer,
            "width": work.width,
            "dtype": work.settings.dtype,
            "n_words": n_words,
            "after_final_norm": model.after_final_norm(layer),
            "tables": work.tables.name,
        }
        write_json(out / LAYER_FACTS, facts)
        Ledger(out).close()


def fill_parts(model: LanguageModel, parts: Sequence[Part], who: Ranks, work: LayerWork) -> None:
    """Run some parts and enter each once its bytes are on the disk.

    Args:
        model: the language model.
        parts: this process's share.
        who: this process among those that share the work; each has a ledger of its own.
        work: sentences, layers and where they go.
    """
    ledgers = {layer: Ledger(out, who.rank) for layer, out in work.folders.items()}
    total = sum(len(part.rows) for part in parts)
    ahead = _prepared_ahead(chain.from_iterable(part.batches for part in parts), model, work)
    with (
        tqdm(total=total, desc=who.title("activations"), unit="sentence", disable=who.rank > 0) as progress,
        closing(ahead),
        work.files() as files,
        Behind() as disk,
    ):
        for part in parts:
            for _ in part.batches:
                batch = next(ahead)
                disk.give(_write, files, batch.rows, _run_batch(files, batch, model, work))
                give_back(model.device)
                progress.update(len(batch.rows))
            disk.give(_enter, files, ledgers, part)


def _write(files: Mapping[int, LayerFiles], rows: NDArray[np.int64], outputs: Mapping[int, LayerOutput]) -> None:
    for layer, output in outputs.items():
        files[layer].write(rows, output)


def _enter(files: Mapping[int, LayerFiles], ledgers: Mapping[int, Ledger], part: Part) -> None:
    """Enter a part that is written, once it is on the disk."""
    for layer, out in files.items():
        out.flush()
        ledgers[layer].enter(part.name, out.checksum(part.rows))


def _parts(batches: Iterable[NDArray[np.int64]]) -> Iterator[Part]:
    open_part: list[NDArray[np.int64]] = []
    number = 0
    for batch in batches:
        open_part.append(batch)
        if sum(map(len, open_part)) >= PART:
            yield Part(f"{number:06d}", open_part)
            number, open_part = number + 1, []
    if open_part:
        yield Part(f"{number:06d}", open_part)


def _prepared_ahead(
    batches: Iterable[NDArray[np.int64]], model: LanguageModel, work: LayerWork
) -> Generator[_Prepared]:
    """Prepare each batch while the one before it is run."""
    with ThreadPoolExecutor(1, thread_name_prefix="ahead") as thread:
        ready: Future[_Prepared] | None = None
        for rows in batches:
            following = thread.submit(_prepared, rows, model, work)
            if ready is not None:
                yield ready.result()
            ready = following
        if ready is not None:
            yield ready.result()


def _prepared(rows: NDArray[np.int64], model: LanguageModel, work: LayerWork) -> _Prepared:
    texts = [work.sentences[row][1].text for row in rows]
    encoded = model.encode(texts)
    return _Prepared(rows, encoded, [align(text, each) for text, each in zip(texts, encoded, strict=True)])


def _run_batch(
    files: Mapping[int, LayerFiles], batch: _Prepared, model: LanguageModel, work: LayerWork
) -> dict[int, LayerOutput]:
    """Run a batch: what each layer's files get of it."""
    rows, settings = batch.rows, work.settings
    hidden = model.states(model.pad(batch.encoded), list(files))
    pooling = WordPooling(batch.alignments, next(iter(hidden.values())), settings.sub_word)
    outputs: dict[int, LayerOutput] = {}
    for layer, out in files.items():
        words = pooling.words(hidden[layer])
        stored = words.to(out.dtype)
        if not torch.isfinite(stored).all():
            first = rows[int((~pooling.finite(stored)).nonzero()[0])]
            raise _not_finite(model, layer, work.sentences[first][1].id, words, settings)
        representations = pooling.sentences(hidden[layer], words, model.pooling).float()
        outputs[layer] = LayerOutput(stored, representations)
    return outputs


def _not_finite(
    model: LanguageModel, layer: int, sentence: str, words: Float[Tensor, "words d"], settings: ActivationSettings
) -> ActivationError:
    advice = (
        "use activations.dtype=bfloat16 or float32"
        if torch.isfinite(words).all()
        else "the model itself gives them: check its weights, or try another checkpoint"
    )
    return ActivationError(
        f"layer {layer} of {model.name} has activations that are not finite as {settings.dtype.value}, first in "
        f"sentence {sentence!r}: {advice}"
    )
