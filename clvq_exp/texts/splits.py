"""From sentences to splits: repeats, the draws, the share for early stopping, and seeded samples."""

from __future__ import annotations

import hashlib
import logging
from collections import Counter, defaultdict
from collections.abc import Callable, Iterable, Mapping, Sequence
from itertools import zip_longest
from typing import NamedTuple

import numpy as np

from clvq_exp.artifacts import fingerprint
from clvq_exp.records import LabelledTexts, Sentence
from clvq_exp.settings import DatasetSettings
from clvq_exp.texts.reading import Source, TextsError
from clvq_exp.texts.rows import read_sentences
from clvq_exp.texts.sources import find_source

SPLITTING_VERSION = 1
"""Raised whenever the same file and settings would give other splits; part of the fingerprint."""

log = logging.getLogger(__name__)


class _Parts(NamedTuple):
    """What a source gives, before training sentences are kept for early stopping."""

    train: Sequence[Sentence]
    dev: Sequence[Sentence]
    removed: int
    """Duplicates that went."""
    drawn: dict[str, int]
    """Sizes asked for of the parts that are samples of more."""


def load_texts(settings: DatasetSettings, remove_duplicates: bool) -> LabelledTexts:
    """Read a data set and split it.

    Args:
        settings: where the texts are and how to read and split them.
        remove_duplicates: drop repeated texts (the first stays; dev wins over training; texts with two labels
            in one split go altogether). False keeps them, but for `settings.drop_repeats`.

    Returns:
        Training, validation and dev sentences, each in the order of the source.

    Raises:
        TextsError: if a source is not there or cannot be used, or the settings ask for what it cannot give.
    """
    _check(settings)
    source = find_source(settings)
    parts = _train_and_dev(settings, source, remove_duplicates)
    train = parts.train
    _check_classes(train, "training", settings, source, parts.removed)
    _check_classes(parts.dev, "dev", settings, source, parts.removed)
    kept = _validation_rows(train, settings)
    return LabelledTexts(
        name=settings.name,
        label_names=tuple(settings.label_names),
        train=tuple(sentence for index, sentence in enumerate(train) if index not in kept),
        validation=tuple(sentence for index, sentence in enumerate(train) if index in kept),
        dev=tuple(parts.dev),
        fingerprint=_fingerprint(settings, source, parts.drawn, remove_duplicates),
        duplicates_removed=parts.removed,
    )


def subset(sentences: Sequence[Sentence], n: int, seed: int) -> tuple[Sentence, ...]:
    """A seeded sample, balanced by label as far as the labels go, in the order of the source.

    Args:
        sentences: what to draw from.
        n: how many sentences; 0, or more than there are, takes all.
        seed: of the draw. For one seed the smaller sample is contained in the larger.

    Returns:
        The sample.

    Raises:
        ValueError: if n is negative.
    """
    if n < 0:
        raise ValueError(f"a sample of n={n} sentences cannot be drawn: n is 0 (all) or more")
    if n == 0 or n >= len(sentences):
        return tuple(sentences)
    drawn = set(_balanced_order([sentence.label for sentence in sentences], "subset", seed)[:n])
    return tuple(sentence for index, sentence in enumerate(sentences) if index in drawn)


def store_sizes(train: int, validation: int, asked: int) -> tuple[int, int]:
    """Training and validation sentences of a store: their shares of what is asked for.

    Args:
        train: training sentences that are there.
        validation: sentences kept for early stopping.
        asked: how many of both together; 0 takes all.
    """
    total = train + validation
    n_validation = max(1, round(validation / total * min(asked or total, total)))
    return max(1, (asked or total) - n_validation), n_validation


def evenly_spaced(count: int, n: int) -> list[int]:
    """About `n` of `count` positions, evenly spaced; all where `n` is 0 or more than there are."""
    if n == 0 or n >= count:
        return list(range(count))
    return np.linspace(0, count - 1, n).round().astype(np.int64).tolist()


def _check(settings: DatasetSettings) -> None:
    classes = len(settings.label_names)
    outside = {raw: value for raw, value in settings.label_values.items() if not 0 <= value < classes}
    wrong = [
        (classes < 2, f"dataset.label_names={settings.label_names} names fewer than two classes"),
        (
            len(set(settings.label_names)) < classes,
            f"dataset.label_names={settings.label_names} repeats a name",
        ),
        (bool(outside), f"dataset.label_values has {outside}, but class ids are 0 to {classes - 1}"),
        (settings.train_size < 0, f"dataset.train_size={settings.train_size} is negative"),
        (settings.dev_size < 0, f"dataset.dev_size={settings.dev_size} is negative"),
        (
            not 0 <= settings.validation_share < 1,
            f"dataset.validation_share={settings.validation_share} is not at least 0 and below 1",
        ),
    ]
    found = [message for is_wrong, message in wrong if is_wrong]
    if found:
        raise TextsError(f"dataset {settings.name}: {'; '.join(found)}")


def _check_classes(
    sentences: Sequence[Sentence], part: str, settings: DatasetSettings, source: Source, removed: int
) -> None:
    there = {sentence.label for sentence in sentences}
    absent = [name for index, name in enumerate(settings.label_names) if index not in there]
    if len(there) < 2:
        advice = ["give more texts as dataset.path"]
        advice += ["raise dataset.dev_size"] if source.dev is None and part == "dev" else []
        advice += ["keep duplicates with protocol=paper"] if removed else []
        raise TextsError(
            f"dataset {settings.name}: {len(sentences)} {part} sentences of fewer than two classes are left "
            f"after {removed} duplicates were removed: {', or '.join(advice)}"
        )
    if absent:
        log.warning(
            "dataset %s: no %s sentence is labelled %s; check dataset.label_names",
            settings.name,
            part,
            ", ".join(absent),
        )


def _train_and_dev(settings: DatasetSettings, source: Source, remove_duplicates: bool) -> _Parts:
    """Training (validation included) and dev sentences."""
    drawn: dict[str, int] = {}
    if source.dev is None:
        rows = read_sentences(source.train, "row")
        pool = _without_repeats(rows, settings, remove_duplicates)
        train, dev = _draw_dev(pool, settings, source)
        drawn["dev"] = settings.dev_size
        removed = len(rows) - len(pool)
    else:
        log.info("dataset %s: dev is %s", settings.name, source.dev.place)
        dev_rows = read_sentences(source.dev, "dev")
        train_rows = read_sentences(source.train, "train")
        dev = _without_repeats(dev_rows, settings, remove_duplicates)
        train = _without_repeats(train_rows, settings, remove_duplicates)
        if remove_duplicates:
            dev_texts = {sentence.text for sentence in dev_rows}
            train = [sentence for sentence in train if sentence.text not in dev_texts]
        removed = len(dev_rows) + len(train_rows) - len(dev) - len(train)
        dev = _sample(dev, "dev", settings.dev_size, settings, drawn)
    return _Parts(_sample(train, "train", settings.train_size, settings, drawn), dev, removed, drawn)


def _sample(
    sentences: list[Sentence], part: str, size: int, settings: DatasetSettings, drawn: dict[str, int]
) -> Sequence[Sentence]:
    """As many sentences as asked for; `drawn` is told where that is not all."""
    sample = subset(sentences, size, settings.split_seed)
    if len(sample) < len(sentences):
        drawn[part] = size
    there = Counter(sentence.label for sentence in sample)
    counts = [there[label] for label in range(len(settings.label_names))]
    if size and max(counts) > -(-size // len(counts)):
        log.warning(
            "dataset %s: dataset.%s_size=%d asks for as many sentences of each label, and some labels have too "
            "few; taken are %s",
            settings.name,
            part,
            size,
            ", ".join(f"{n} {name}" for n, name in zip(counts, settings.label_names, strict=True)),
        )
    return sample


def _without_repeats(
    sentences: list[Sentence], settings: DatasetSettings, remove_duplicates: bool
) -> list[Sentence]:
    if remove_duplicates:
        labels: defaultdict[str, set[int]] = defaultdict(set)
        for sentence in sentences:
            labels[sentence.text].add(sentence.label)
        consistent = [sentence for sentence in sentences if len(labels[sentence.text]) == 1]
        return _first_of_each(consistent, lambda sentence: sentence.text)
    if settings.drop_repeats:
        return _first_of_each(sentences, lambda sentence: (sentence.text, sentence.label))
    return sentences


def _first_of_each(sentences: Iterable[Sentence], key: Callable[[Sentence], object]) -> list[Sentence]:
    first: dict[object, Sentence] = {}
    for sentence in sentences:
        first.setdefault(key(sentence), sentence)
    return list(first.values())


def _draw_dev(
    sentences: list[Sentence], settings: DatasetSettings, source: Source
) -> tuple[list[Sentence], list[Sentence]]:
    """Training and dev sentences of a source without a dev file; equal texts stay together."""
    start = f"dataset {settings.name}: {source.train.place} "
    size = settings.dev_size
    if size == 0:
        raise TextsError(
            f"{start}comes without a dev file: set dataset.dev_size to the number of sentences to draw "
            f"for dev, or give a folder with a train and a dev file as dataset.path"
        )
    if size >= len(sentences):
        raise TextsError(
            f"{start}gives {len(sentences)} sentences, too few for dataset.dev_size={size} and a training "
            f"split: lower dataset.dev_size"
        )
    labels = [sentence.label for sentence in sentences]
    there = Counter(labels)
    quotas = Counter(labels[index] for index in _balanced_order(labels, "dev", settings.split_seed)[:size])
    emptied = [label for label in sorted(there) if quotas[label] == there[label]]
    if emptied:
        rarest = emptied[0]
        raise TextsError(
            f"{start}has {there[rarest]} sentences labelled {settings.label_names[rarest]!r}, which "
            f"dataset.dev_size={size} would take altogether: lower it to at most "
            f"{len(there) * (min(there.values()) - 1)}"
        )
    drawn = _draw_whole_texts(sentences, quotas, "dev", settings.split_seed)
    if len(drawn) != size:
        log.warning(
            "%sgives %d dev sentences where dataset.dev_size=%d: repeated texts stay on one side",
            start,
            len(drawn),
            size,
        )
    train = [sentence for index, sentence in enumerate(sentences) if index not in drawn]
    return train, [sentence for index, sentence in enumerate(sentences) if index in drawn]


def _validation_rows(train: Sequence[Sentence], settings: DatasetSettings) -> set[int]:
    share = settings.validation_share
    if share == 0:
        return set()
    there = Counter(sentence.label for sentence in train)
    quotas = {label: min(max(1, round(share * count)), count - 1) for label, count in there.items()}
    drawn = _draw_whole_texts(train, quotas, "validation", settings.split_seed)
    if not drawn:
        raise TextsError(
            f"dataset {settings.name}: none of its {len(train)} training sentences can be kept back for early "
            f"stopping (dataset.validation_share={share}): give at least two different texts of each class as "
            "dataset.path"
        )
    return drawn


def _draw_whole_texts(
    sentences: Sequence[Sentence], quotas: Mapping[int, int], purpose: str, seed: int
) -> set[int]:
    """Positions of as many sentences of each label as its quota, all of a text or none of it.

    A text that is repeated more often than the quota of its label allows is passed over; only where a label
    would get none is its least repeated text taken all the same, if another stays behind.
    """
    by_text: defaultdict[str, list[int]] = defaultdict(list)
    for index, sentence in enumerate(sentences):
        by_text[sentence.text].append(index)
    texts = list(by_text.values())
    counts = [Counter(sentences[index].label for index in text) for text in texts]
    left = Counter(quotas)
    drawn: set[int] = set()
    waiting: defaultdict[int, list[int]] = defaultdict(list)
    for position in _shuffled(range(len(texts)), purpose, seed):
        if all(count <= left[label] for label, count in counts[position].items()):
            drawn.update(texts[position])
            for label, count in counts[position].items():
                left[label] -= count
        else:
            for label in counts[position]:
                waiting[label].append(position)
    for label in sorted(quotas):
        untouched = left[label] == quotas[label] > 0
        if untouched and len(waiting[label]) > 1:
            drawn.update(texts[min(waiting[label], key=lambda position: len(texts[position]))])
    return drawn


def _balanced_order(labels: Sequence[int], purpose: str, seed: int) -> list[int]:
    """All positions, shuffled within each label, the labels taking turns: every beginning is balanced."""
    by_label: defaultdict[int, list[int]] = defaultdict(list)
    for index, label in enumerate(labels):
        by_label[label].append(index)
    columns = [_shuffled(by_label[label], purpose, seed) for label in sorted(by_label)]
    return [index for turn in zip_longest(*columns) for index in turn if index is not None]


def _shuffled(numbers: Iterable[int], purpose: str, seed: int) -> list[int]:
    """A seeded order that no version of any random generator can change."""
    return sorted(numbers, key=lambda n: hashlib.blake2b(f"{purpose} {seed} {n}".encode()).digest())


def _fingerprint(
    settings: DatasetSettings, source: Source, drawn: Mapping[str, int], remove_duplicates: bool
) -> str:
    parts = {"train": source.train} if source.dev is None else {"train": source.train, "dev": source.dev}
    return fingerprint(
        {
            "splitting": SPLITTING_VERSION,
            "sources": {name: part.checksum() for name, part in parts.items()},
            "text_column": settings.text_column,
            "label_column": settings.label_column,
            "id_column": settings.id_column,
            "group_column": settings.group_column,
            "label_names": settings.label_names,
            "label_values": settings.label_values,
            "drop_labels": sorted(settings.drop_labels),
            "drop_repeats": settings.drop_repeats,
            "drawn": drawn,
            "split_seed": settings.split_seed,
            "validation_share": settings.validation_share,
            "remove_duplicates": remove_duplicates,
        }
    )
