"""What the names in `metrics.json` are called in front of a reader, and what each means."""

from __future__ import annotations

import re
from collections.abc import Collection
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
}
_ENCODER_TOP = re.compile(r"encoder_top_(\d+)")
"""A removal of the sparse methods: the number of neurons stands at its end."""

PLACES: dict[str, Name] = {
    "sentence_token": Name("Sentence token", "removed at the sentence token"),
    "answer_position": Name("Answer position", "removed at the last position, where a decoder reads the label"),
    "salient_word": Name("Salient word", "removed at the most salient word"),
    "all_words": Name("All words", "removed at every word"),
}

METHODS: dict[str, str] = {
    "clvq_vae": "CLVQ-VAE",
    "clvq_vae_random": "CLVQ-VAE, random start",
    "clvq_vae_spherical_kmeans": "CLVQ-VAE, spherical k-means",
    "single_layer": "Single-Layer",
    "clustering": "Clustering",
    "clustering_filtered": "Clustering, filtered words",
    "sae_2048": "SAE 2048",
    "sae_4096": "SAE 4096",
    "transcoder": "Sparse transcoder",
    "kmeans_codes": "k-means codes",
}
_PARTS = {"clvq": "CLVQ", "vae": "VAE", "sae": "SAE", "kmeans": "k-means"}
"""Parts of a name that are not written as they stand."""

SHUFFLES: dict[str, Name] = {
    "shuffled": Name("labels shuffled", "the labels are shuffled over the sentences"),
    "shuffled_groups": Name("documents shuffled", "the labels are shuffled over whole documents"),
    "shuffled_within_words": Name(
        "shuffled within words", "the labels are shuffled over the occurrences of each word"
    ),
}
"""What the specificity of the codes is held against."""


def method_title(method: str) -> str:
    """The name of a method in front of a reader; one that is not known is made readable."""
    if method in METHODS:
        return METHODS[method]
    title = " ".join(_PARTS.get(part, part) for part in method.split("_") if part)
    return title.replace("CLVQ VAE", "CLVQ-VAE") or method


def _title(names: dict[str, Name], name: str) -> Name:
    return names.get(name, Name(name.replace("_", " "), ""))


def condition_name(condition: str) -> Name:
    """Title and explanation of a condition; an unknown one is shown as it is."""
    return _title(CONDITIONS, condition)


def removal_name(removal: str) -> Name:
    """Title and explanation of a removal; an unknown one is shown as it is."""
    found = _ENCODER_TOP.fullmatch(removal)
    if found is None:
        return _title(REMOVALS, removal)
    if found[1] == "1":
        return Name("its top neuron", "the encoder weight of the most active neuron")
    return Name(
        f"its top {found[1]} neurons", f"the span of the encoder weights of the {found[1]} most active neurons"
    )


def removals_in_order(present: Collection[str]) -> list[str]:
    """Known removals first, then the sparse methods' own, the most neurons first, then the rest by name."""
    top = {name: int(found[1]) for name in present if (found := _ENCODER_TOP.fullmatch(name))}
    known = [name for name in REMOVALS if name in present]
    return [*known, *sorted(top, key=lambda name: -top[name]), *sorted(set(present) - {*known, *top})]


def place_name(place: str) -> Name:
    """Title and explanation of a place of the intervention; an unknown one is shown as it is."""
    return _title(PLACES, place)


def in_order(known: dict[str, Name], present: set[str]) -> list[str]:
    """The names that are present: known ones in the order of their table, then the rest by name."""
    return [name for name in known if name in present] + sorted(present - known.keys())
