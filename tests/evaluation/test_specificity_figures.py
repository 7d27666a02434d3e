from __future__ import annotations

import json
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, ClassVar, NamedTuple, Self

import numpy as np
import pytest
import torch
from stores import MadeSentence, write_store
from torch import Tensor

from clvq_exp.activations.store import ActivationStore
from clvq_exp.concepts.base import ConceptModel, FitRun, FitSummary
from clvq_exp.evaluation.specificity.figures import Specificity, measure_specificity, specificity_figures
from clvq_exp.evaluation.specificity.words import training_words
from clvq_exp.settings import LayerPair, SpecificitySettings, Split

LAYER = 1
NAMES = ("bad", "good")
OF_SENTENCES = {"shuffled", "shuffled_groups"}
OF_WORDS = {*OF_SENTENCES, "shuffled_within_words"}
PURITY = {"words", "codes", "weighted_mean", "mean", "pure_share", "histogram", *OF_WORDS}
ROUTING = {"words", "differing_share", "divergence", "label_pairs", *OF_WORDS}
OVERLAP = {"same_pairs", "different_pairs", "same_label", "different_label", "ratio", *OF_SENTENCES}
COSINE = {"mean", "0", "0.05", "0.25", "0.5", "0.75", "0.95", "1"}
MEASURES = {"purity", "routing", "overlap", "cosine"}


class Line(NamedTuple):
    """A sentence: its words, the code of each by every model, and the code of its sentence token is 0."""

    text: str
    codes: Sequence[Sequence[int]]
    """Of each model, one for each word."""
    label: int
    group: str
    split: Split = Split.train


class GivenCodes(ConceptModel):
    """The code of a word stands in one column of its activation."""

    name: ClassVar[str] = "given"

    def __init__(self, column: int, vectors: Tensor) -> None:
        self.column = column
        self._vectors = vectors
        self.summary = FitSummary(perplexity=1.0, codes_in_use=1)

    @property
    def n_concepts(self) -> int:
        return len(self._vectors)

    def identity(self, store: ActivationStore, pair: LayerPair) -> dict[str, Any]:
        raise NotImplementedError

    def fit(self, run: FitRun) -> None:
        raise NotImplementedError

    def assign(self, activations: Tensor) -> Tensor:
        return activations[:, self.column : self.column + 1].long()

    def directions(self, ids: Tensor, removal: str) -> Tensor:
        raise NotImplementedError

    def vectors(self) -> Tensor:
        return self._vectors

    def save(self, folder: Path) -> None:
        raise NotImplementedError

    def load(self, folder: Path) -> Self:
        raise NotImplementedError


def write_lines(folder: Path, lines: Sequence[Line], row_group: int = 1000) -> ActivationStore:
    """A store of sentences whose activations are the codes of the models."""
    splits: dict[Split, list[MadeSentence]] = {split: [] for split in Split}
    for line in lines:
        codes = np.array([(0, *of_model) for of_model in line.codes], dtype=np.float32).T
        splits[line.split].append(MadeSentence({LAYER: codes}, line.label, line.text.split(), line.group))
    return write_store(folder, splits, row_group=row_group)


@pytest.fixture
def write(tmp_path: Path) -> Callable[..., ActivationStore]:
    return lambda lines, **given: write_lines(tmp_path / f"store_{len(list(tmp_path.iterdir()))}", lines, **given)


def settings(**given: int) -> SpecificitySettings:
    return SpecificitySettings(**({"shuffles": 4, "min_count": 2} | given))


def measured(
    store: ActivationStore, n_models: int = 1, names: Sequence[str] = NAMES, k: int = 6, **given: int
) -> Specificity:
    """What models with codes at whole angles give, checked to be JSON without NaN."""
    angles = 10.0 * torch.arange(k)
    vectors = torch.stack([angles.deg2rad().cos(), angles.deg2rad().sin()], dim=1)
    models = {seed: GivenCodes(seed, vectors.roll(seed, 0)) for seed in range(n_models)}
    found = measure_specificity(models, store, LAYER, names, settings(**given))
    json.dumps(found.figures, allow_nan=False)
    return found


DEV = Line("a fine play", [[1, 2, 3]], 1, "d9", Split.dev)
LINES = [
    Line("The plot sags !", [[1, 2, 2, 5]], 0, "d0"),
    Line("Plot holes sags", [[2, 3, 2]], 0, "d0"),
    Line("a plot soars .", [[1, 4, 4, -1]], 1, "d1"),
    Line("the plot soars", [[1, 4, -1]], 1, "d2"),
    Line("unused", [[0]], 0, "d3", Split.validation),
    DEV,
]
"""Sentence tokens have code 0 throughout; code 0 holds no other training word."""


def test_figures__have_the_documented_keys(write: Callable[..., ActivationStore]) -> None:
    figures = measured(write(LINES)).figures
    assert set(figures) == {
        *("sentences", "documents", "compared_sentences", "words", "content_forms", "majority"),
        *("shuffles", "min_count", "stability", "seeds", *MEASURES),
    }
    assert set(figures["seeds"]) == {"0"}
    for of in (figures, figures["seeds"]["0"]):
        assert set(of["purity"]) == PURITY
        assert set(of["routing"]) == ROUTING
        assert set(of["cosine"]) == COSINE
        assert {reading: set(parts) for reading, parts in of["overlap"].items()} == {
            "bands": {"0-0.1", "0.1-0.3", "0.3-1"},
            "below": {"0.1", "0.3"},
            "at_least": {"0", "0.1", "0.3"},
        }
        assert all(set(part) == OVERLAP for parts in of["overlap"].values() for part in parts.values())
    assert set(figures["seeds"]["0"]) == MEASURES


def test_figures__of_four_sentences_by_hand(write: Callable[..., ActivationStore]) -> None:
    found = measured(write(LINES))
    figures = found.figures
    assert (figures["sentences"], figures["documents"], figures["words"]) == (4, 3, 14)
    assert figures["content_forms"] == 4  # plot, sags, soars, holes: no stop words, no "!"
    assert figures["majority"] == 0.5
    # code 1: bad, good, good; 2: four bad; 3: one bad; 4: three good; 5: one bad; two words have no concept
    assert (figures["purity"]["words"], figures["purity"]["codes"]) == (12, 5)
    assert figures["purity"]["weighted_mean"] == pytest.approx((2 + 4 + 1 + 3 + 1) / 12)
    assert figures["purity"]["pure_share"] == 0.8
    # "plot" is the only word with two occurrences under each label
    routing = figures["routing"]
    assert (routing["words"], routing["differing_share"], routing["divergence"]) == (1, 1.0, 1.0)
    assert routing["label_pairs"] == [
        {"labels": ["bad", "good"], "words": 1, "differing_share": 1.0, "divergence": 1.0}
    ]
    everything = figures["overlap"]["at_least"]["0"]
    assert (everything["same_pairs"], everything["different_pairs"]) == (1, 4)  # the first two are of one document
    assert everything["same_label"] == 2  # codes 1 and 4
    assert everything["different_label"] == (1 + 1 + 0 + 0) / 4
    assert everything["ratio"] == 4
    assert figures["cosine"]["1"] == pytest.approx(np.cos(np.deg2rad(10)), abs=1e-4)
    assert figures["cosine"]["0"] == pytest.approx(np.cos(np.deg2rad(50)), abs=1e-4)
    assert figures["stability"] is None


def test_routed_words__are_those_of_the_table(write: Callable[..., ActivationStore]) -> None:
    found = measured(write(LINES))
    assert [(row.word, row.label, row.code, row.n_words, row.purity) for row in found.routed_words] == [
        ("plot", "bad", 2, 2, 1.0),
        ("plot", "good", 4, 2, 1.0),
    ]
    assert measured(write(LINES), examples=0).routed_words == []


def test_figures_alone__are_those_of_the_whole_measurement(write: Callable[..., ActivationStore]) -> None:
    store = write(LINES)
    models = {3: GivenCodes(0, torch.eye(6))}
    whole = measure_specificity(models, store, LAYER, NAMES, settings())
    assert specificity_figures(models, store, LAYER, NAMES, settings()) == whole.figures


def test_figures__do_not_depend_on_the_order_of_the_sentences(write: Callable[..., ActivationStore]) -> None:
    forth, back = (measured(write(lines), shuffles=0) for lines in (LINES, LINES[::-1]))
    assert forth.routed_words == back.routed_words
    assert forth.figures == back.figures


@pytest.mark.parametrize("at_once", [1, 5, 2**16])
@pytest.mark.parametrize("row_group", [3, 1000])
def test_words__do_not_depend_on_how_many_are_read_at_once(
    write: Callable[..., ActivationStore], at_once: int, row_group: int
) -> None:
    words = training_words(write(LINES, row_group=row_group), at_once)
    content = [form for form, is_content in zip(words.forms, words.content, strict=True) if is_content]
    assert content == ["holes", "plot", "sags", "soars"]
    assert list(words.forms) == sorted({"[cls]", "the", "plot", "sags", "!", "holes", "a", "soars", "."})
    assert words.sentence.tolist() == [0, 0, 0, 0, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3]
    texts = [word.casefold() for line in LINES[:4] for word in line.text.split()]
    assert [words.forms[form] for form in words.form] == texts
    assert words.counted.tolist() == [
        word != "[CLS]" for line in LINES[:4] for word in ["[CLS]", *line.text.split()]
    ]


@pytest.mark.parametrize(
    ("word", "content"),
    [
        ("film", True),
        ("FILM", True),
        ("Straße", True),
        ("The", False),
        ("film,", False),
        ("it's", False),
        ("7", False),
    ],
)
def test_content_words__are_alphabetic_and_no_stop_words(
    write: Callable[..., ActivationStore], word: str, content: bool
) -> None:
    words = training_words(write([Line(word, [[1]], 0, "d"), DEV]))
    assert words.content[words.form].tolist() == [content]
    assert words.forms[words.form[0]] == word.casefold()


def test_seeds__are_averaged_and_kept(write: Callable[..., ActivationStore]) -> None:
    lines = [line._replace(codes=[line.codes[0], [1] * len(line.codes[0])]) for line in LINES]
    figures = measured(write(lines), 2).figures
    first, second = figures["seeds"]["0"], figures["seeds"]["1"]
    assert second["purity"]["weighted_mean"] == 0.5
    assert second["routing"]["divergence"] == 0
    assert figures["purity"]["weighted_mean"] == pytest.approx((11 / 12 + 0.5) / 2)
    assert figures["purity"]["codes"] == 3
    shared = [each["overlap"]["at_least"]["0"] for each in (first, second, figures)]
    assert [each["same_label"] for each in shared] == [2, 1, 1.5]
    assert [each["ratio"] for each in shared] == [4, 1, 2.5]
    assert figures["routing"]["divergence"] == 0.5
    assert figures["routing"]["label_pairs"][0]["differing_share"] == 0.5
    for whole, a, b in zip(*(each["purity"]["histogram"] for each in (figures, first, second)), strict=True):
        assert whole == (a + b) / 2
    chance = [each["purity"]["shuffled"]["weighted_mean"]["mean"] for each in (figures, first, second)]
    assert chance[0] == pytest.approx((chance[1] + chance[2]) / 2)


def test_stability__is_over_pairs_of_seeds(write: Callable[..., ActivationStore]) -> None:
    same = [1, 2, 3]
    lines = [line._replace(codes=[line.codes[0]] * 3) for line in LINES[:-1]]
    lines.append(DEV._replace(codes=[same, [3, 1, 2], [1, 1, 1]]))
    found = measured(write(lines), 3).figures["stability"]
    assert [each["seeds"] for each in found["pairs"]] == [[0, 1], [0, 2], [1, 2]]
    assert found["matched_cosine"] == pytest.approx(1.0)  # the vectors are the same in another order
    assert [each["agreement"] for each in found["pairs"]] == pytest.approx([1.0, 0.0, 0.0])
    assert found["agreement"] == pytest.approx(1 / 3)
    # codes 1 to 5 hold words: in seed 0 the angles 10 to 50, in seed 1 the angles 0 to 40
    in_use = np.deg2rad([10 * (a - b) for a in range(1, 6) for b in range(5)])
    assert found["pairs"][0]["random_cosine_in_use"] == pytest.approx(np.cos(in_use).mean())
    assert found["pairs"][0]["matched_cosine_in_use"] < 1


def test_stability__does_not_match_codebooks_above_the_limit(write: Callable[..., ActivationStore]) -> None:
    lines = [line._replace(codes=[line.codes[0]] * 2) for line in LINES]
    store = write(lines)
    assert measured(store, 2, largest_matching=6).figures["stability"]["matched_cosine"] == pytest.approx(1.0)
    found = measured(store, 2, largest_matching=5).figures["stability"]
    assert found["matched_cosine"] is None
    assert found["random_cosine_in_use"] is None
    assert found["agreement"] == 1.0


def test_sentences_compared__are_drawn_by_seed_and_counted(write: Callable[..., ActivationStore]) -> None:
    store = write(LINES)
    drawn = [measured(store, sentences=3, seed=seed).figures for seed in range(8)]
    assert {each["compared_sentences"] for each in drawn} == {3}
    found = [each["overlap"]["at_least"]["0"] for each in drawn]
    # left out is the first sentence, the second, or one of the others: then only those of one document are alike
    assert {each["different_label"]: each["same_pairs"] for each in found} == {0: 1, 1: 1, 0.5: 0}
    assert {each["different_pairs"] for each in found} == {2}
    assert measured(store, sentences=3).figures == measured(store, sentences=3).figures
    whole = [measured(store, sentences=n).figures["overlap"] for n in (0, 4, 400)]
    assert whole[0] == whole[1] == whole[2]


def planted(knows: str, n: int = 120) -> list[Line]:
    """Sentences of five content words in documents of three; codes know the label, the document or neither."""
    generator = np.random.default_rng(5)
    lines: list[Line] = []
    for index in range(n):
        document = index // 3
        label = document % 2
        words = generator.choice(["plot", "actor", "scene", "music", "voice", "camera", "script", "ending"], 5)
        own = {"label": 10 * label, "document": 10 * document, "nothing": 0}[knows]
        codes = own + generator.integers(0, 10, 5)
        lines.append(Line(" ".join(words), [codes.tolist()], label, f"d{document}"))
    return [*lines, DEV]


def test_baselines__tell_planted_labels_from_chance(write: Callable[..., ActivationStore]) -> None:
    knows, not_at_all = (
        measured(write(planted(what)), k=20, shuffles=20).figures for what in ("label", "nothing")
    )
    assert knows["routing"]["differing_share"] == 1
    for part, name in (("purity", "weighted_mean"), ("routing", "divergence")):
        assert knows[part][name] == 1
        for baseline in OF_WORDS:
            assert not_at_all[part][name] == pytest.approx(not_at_all[part][baseline][name]["mean"], abs=0.1)
            assert knows[part][baseline][name]["high"] < 0.8
    at_all = knows["overlap"]["at_least"]["0"]
    assert at_all["same_label"] > 1
    assert (at_all["different_label"], at_all["ratio"]) == (0, None)
    assert at_all["shuffled"]["ratio"]["mean"] == pytest.approx(1, abs=0.1)
    assert not_at_all["overlap"]["at_least"]["0"]["ratio"] == pytest.approx(1, abs=0.1)


def test_shuffled_documents__show_codes_that_only_know_the_document(write: Callable[..., ActivationStore]) -> None:
    figures = measured(write(planted("document")), k=400, shuffles=20).figures["purity"]
    assert figures["weighted_mean"] == 1
    assert figures["shuffled"]["weighted_mean"]["high"] < 0.95
    assert figures["shuffled_groups"]["weighted_mean"]["low"] == 1  # any labels of documents would do


def test_one_label__leaves_nothing_to_compare(write: Callable[..., ActivationStore]) -> None:
    figures = measured(write([line._replace(label=0) for line in LINES])).figures
    assert figures["purity"]["weighted_mean"] == figures["majority"] == 1
    assert figures["purity"]["shuffled"]["weighted_mean"] == {"mean": 1, "low": 1, "high": 1}
    assert (figures["routing"]["words"], figures["routing"]["divergence"]) == (0, None)
    assert figures["routing"]["shuffled"]["divergence"] is None
    everything = figures["overlap"]["at_least"]["0"]
    assert (everything["different_pairs"], everything["different_label"], everything["ratio"]) == (0, None, None)


def test_words_without_concepts__leave_everything_undefined(write: Callable[..., ActivationStore]) -> None:
    lines = [line._replace(codes=[[-1] * len(each) for each in line.codes] * 2) for line in LINES]
    figures = measured(write(lines), 2).figures
    assert figures["words"] == 14
    assert (figures["purity"]["words"], figures["purity"]["weighted_mean"]) == (0, None)
    assert figures["routing"]["differing_share"] is None
    assert figures["overlap"]["at_least"]["0"]["ratio"] is None
    assert figures["stability"]["agreement"] is None
    assert figures["stability"]["matched_cosine_in_use"] is None
    assert figures["stability"]["matched_cosine"] == pytest.approx(1.0)


def test_texts_without_content_words__can_be_measured(write: Callable[..., ActivationStore]) -> None:
    lines = [Line("! ?", [[1, 2]], index % 2, f"d{index}") for index in range(6)]
    figures = measured(write([*lines, DEV])).figures
    assert figures["content_forms"] == 0
    assert figures["routing"]["words"] == 0
    assert figures["purity"]["weighted_mean"] == 0.5
    assert figures["overlap"]["bands"]["0-0.1"]["same_label"] == 2  # no words in common that count
    assert figures["purity"]["shuffled_groups"] is None  # every sentence is a document


def test_three_labels__are_compared_in_pairs(write: Callable[..., ActivationStore]) -> None:
    lines = [
        Line("plot plot", [[code, code]], label, f"d{label}{copy}")
        for copy in range(2)
        for label, code in enumerate((1, 1, 2))
    ]
    figures = measured(write([*lines, DEV]), names=("a", "b", "c")).figures
    assert figures["purity"]["weighted_mean"] == pytest.approx((4 + 4) / 12)
    assert figures["routing"]["differing_share"] == pytest.approx(2 / 3)
    assert [each["divergence"] for each in figures["routing"]["label_pairs"]] == [0, 1, 1]
    same = figures["overlap"]["bands"]["0.3-1"]
    assert (same["same_pairs"], same["different_pairs"]) == (3, 12)
    assert (same["same_label"], same["different_label"]) == (1, pytest.approx(4 / 12))


def test_class_without_a_name__is_refused(write: Callable[..., ActivationStore]) -> None:
    with pytest.raises(ValueError, match=r"holds class 1, but only 1 names are given: \['bad'\]"):
        measured(write(LINES), names=("bad",))
