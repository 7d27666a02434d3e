"""What the names in `metrics.json` are called in front of a reader, and what each means."""

from __future__ import annotations

from typing import NamedTuple


class Name(NamedTuple):
    """A name for readers."""

    title: str
    explanation: str
    """One phrase."""


CONDITIONS: dict[str, Name] = {
    "original": Name("Original", "nothing removed"),
    "perturbed": Name("Concept removed", "the concept of the most salient word, projected out"),
    "random_direction": Name("Random direction", "a Gaussian direction, removed in its place"),
    "random_direction_norm_matched": Name(
        "Random direction, matched", "the same, taking away as much of the norm as the concept does"
    ),
    "random_active_code": Name("Random active concept", "a concept that other words of the data use"),
    "random_active_code_norm_matched": Name(
        "Random active concept, matched", "the same, taking away as much of the norm as the concept does"
    ),
    "mean_direction": Name("Mean direction", "the mean of all training words at this layer"),
    "centred_concept": Name("Centred concept", "the concept without what it shares with the mean direction"),
    "own_code": Name("Sentence's own concept", "the concept nearest to the sentence representation itself"),
    "other_word": Name("Another word's concept", "the concept of a random other word of the sentence"),
    "class_means": Name("Class means", "the differences between the classes: a ceiling"),
    "refit": Name("Refit probe", "a new probe on representations perturbed alike; drop against the row below"),
    "refit_original": Name("Refit probe, unperturbed", "a new probe on as many sentences, nothing removed"),
}
"""In the order of the tables."""

CONTROLS = ("random_direction", "random_active_code", "mean_direction", "own_code", "other_word")
"""The conditions whose largest drop is taken from the concept's own to get the specific drop."""

DROPS: dict[str, Name] = {
    "drop": Name("Drop", "(original − concept removed) / original"),
    "specific_drop": Name("Specific drop", "the drop minus the largest drop among the controls"),
}

REMOVALS: dict[str, Name] = {
    "concept": Name("the concept vector", "the code (or centroid) itself is the direction removed"),
    "member_mean": Name("the mean of its members", "the mean raw activation of the concept's training words"),
    **{
        f"encoder_top_{k}": Name(
            f"what its top {k} read", f"the span of the encoder weights of the top {k} neurons"
        )
        for k in (1, 5, 10)
    },
}

PLACES: dict[str, Name] = {
    "sentence_token": Name("Sentence token", "removed at the sentence token"),
    "answer_position": Name("Answer position", "removed at the last position, where a decoder reads the label"),
    "salient_word": Name("Salient word", "removed at the most salient word"),
    "all_words": Name("All words", "removed at every word"),
}

METHODS: dict[str, str] = {
    "clvqvae": "CLVQ-VAE",
    "singlelayer": "Single-Layer",
    "clustering": "Clustering",
    "clvqvaerandom": "CLVQ-VAE, random start",
    "clvqvaesphericalkmeans": "CLVQ-VAE, spherical k-means",
    "sae2048": "SAE 2048",
    "sae4096": "SAE 4096",
    "transcoder": "Sparse transcoder",
    "kmeanscodes": "k-means codes",
}
"""Keyed without underscores and hyphens."""


def method_title(method: str) -> str:
    """The name of a method in front of a reader."""
    plain = method.lower().replace("_", "").replace("-", "")
    return METHODS.get(plain, method.replace("_", " "))


def _title(names: dict[str, Name], name: str) -> Name:
    return names.get(name, Name(name.replace("_", " "), ""))


def condition_name(condition: str) -> Name:
    """Title and explanation of a condition; an unknown one is shown as it is."""
    return _title(CONDITIONS, condition)


def removal_name(removal: str) -> Name:
    """Title and explanation of a removal; an unknown one is shown as it is."""
    return _title(REMOVALS, removal)


def place_name(place: str) -> Name:
    """Title and explanation of a place of the intervention; an unknown one is shown as it is."""
    return _title(PLACES, place)


def in_order(known: dict[str, Name], present: set[str]) -> list[str]:
    """The names that are present: known ones in the order of their table, then the rest by name."""
    return [name for name in known if name in present] + sorted(present - known.keys())
