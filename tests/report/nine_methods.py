"""What a run with every method of Table 1 leaves behind beside the small run of `conftest.py`, by hand."""

from __future__ import annotations

from typing import Any

BESIDE = (
    "kmeans_codes",
    "clvq_vae_random",
    "clvq_vae_spherical_kmeans",
    "single_layer",
    "clustering",
    "sae_2048",
    "sae_4096",
    "transcoder",
)
"""In the order of `conf/beside/table1.yaml`."""
SPARSE = ("sae_2048", "sae_4096", "transcoder")
ENCODER_TOP = ("encoder_top_10", "encoder_top_5", "encoder_top_1")
HOSTILE_LABEL = '"><img src=x onerror=alert(1)>'


def interval(mean: float, half: float = 0.02) -> dict[str, float]:
    return {"mean": mean, "low": mean - half, "high": mean + half}


def specificity(labels: tuple[str, ...] = ("negative", "positive"), seeds: tuple[int, ...] = (0, 1)) -> Any:
    """Purity above its baselines, routing not above the shuffle within words, overlap above one of two."""
    whole = {**of_model(labels), "stability": stability(seeds)}
    facts = {
        "sentences": 90,
        "documents": 30,
        "compared_sentences": 90,
        "words": 1100,
        "content_forms": 240,
        "majority": 0.53,
        "shuffles": 100,
        "min_count": 5,
    }
    return {**facts, **whole, "seeds": {str(seed): of_model(labels) for seed in seeds}}


def of_model(labels: tuple[str, ...]) -> dict[str, Any]:
    def purity(mean: float) -> dict[str, Any]:
        return {
            "weighted_mean": interval(mean),
            "mean": interval(mean),
            "pure_share": interval(0.05),
            "histogram": [0.0] * 10 + [2.0, 3.0, 2.0] + [0.0] * 7,
        }

    def routing(share: float) -> dict[str, Any]:
        return {"words": interval(120.0), "differing_share": interval(share), "divergence": interval(share / 2)}

    pairs = [(a, b) for index, a in enumerate(labels) for b in labels[index + 1 :]]
    return {
        "purity": {
            "words": 1090,
            "codes": 7,
            "weighted_mean": 0.71,
            "mean": 0.74,
            "pure_share": 0.25,
            "histogram": [0] * 11 + [3] + [0] * 7 + [4],
            "shuffled": purity(0.55),
            "shuffled_groups": purity(0.6),
            "shuffled_within_words": purity(0.58),
        },
        "routing": {
            "words": 120,
            "differing_share": 0.63,
            "divergence": 0.41,
            "shuffled": routing(0.5),
            "shuffled_groups": routing(0.52),
            "shuffled_within_words": routing(0.62),
            "label_pairs": [
                {"labels": [a, b], "words": 120, "differing_share": 0.63, "divergence": 0.41} for a, b in pairs
            ],
        },
        "overlap": {
            "bands": {"0-0.1": overlap(1.1), "0.1-0.3": overlap(1.4), "0.3-1": overlap(None)},
            "below": {"0.1": overlap(1.1), "0.3": overlap(1.2)},
            "at_least": {"0": overlap(1.15), "0.1": overlap(1.4), "0.3": overlap(None)},
        },
        "cosine": {
            "mean": 0.31,
            "0": -0.4,
            "0.05": -0.1,
            "0.25": 0.1,
            "0.5": 0.3,
            "0.75": 0.5,
            "0.95": 0.7,
            "1": 1.0,
        },
    }


def overlap(ratio: float | None) -> dict[str, Any]:
    def shuffled(mean: float) -> dict[str, Any]:
        return {"same_label": interval(2.0), "different_label": interval(2.0), "ratio": interval(mean, 0.1)}

    if ratio is None:
        nothing = dict.fromkeys(("same_label", "different_label", "ratio", "shuffled", "shuffled_groups"))
        return {"same_pairs": 0, "different_pairs": 0, **nothing}
    return {
        "same_pairs": 400,
        "different_pairs": 500,
        "same_label": 2.0 * ratio,
        "different_label": 2.0,
        "ratio": ratio,
        "shuffled": shuffled(1.0),
        "shuffled_groups": shuffled(1.35),
    }


def stability(seeds: tuple[int, ...]) -> dict[str, Any] | None:
    if len(seeds) < 2:
        return None
    measures = {
        "matched_cosine": 0.81,
        "random_cosine": 0.3,
        "matched_cosine_in_use": 0.85,
        "random_cosine_in_use": 0.33,
        "agreement": 0.44,
    }
    return {**measures, "pairs": [{"seeds": list(seeds[:2]), **measures}]}


def sparse_codebook(penalties: tuple[float, ...]) -> dict[str, Any]:
    """Of a sparse method whose fits chose these weights, seed by seed."""
    whole = {
        "size": 2048,
        "perplexity": 310.5,
        "utilisation": 310.5 / 2048,
        "codes_in_use": 700,
        "mean_cosine": 0.02,
        "alpha": None,
        "validation_loss": 0.31,
        "best_epoch": 4,
        "variance_explained": 0.625,
        "l0": 31.4,
        "dead_neurons": 12,
        "bypass": None,
    }
    return {**whole, "seeds": {str(seed): {**whole, "chosen": {"l1": l1}} for seed, l1 in enumerate(penalties)}}


def own_removal(method: str) -> str:
    return ENCODER_TOP[0] if method in SPARSE else "concept"


def comparisons(methods: list[str]) -> list[dict[str, Any]]:
    """Every pair by the removals of its own, and by those that both have."""
    rows: list[dict[str, Any]] = []
    for index, first in enumerate(methods):
        for second in methods[index + 1 :]:
            own = (own_removal(first), own_removal(second))
            shared = [("concept", "concept"), ("member_mean", "member_mean")]
            rows += [
                {
                    "methods": [first, second],
                    "removals": list(removals),
                    "difference": {"mean": -0.04, "low": -0.07, "high": -0.01},
                    "cohens_h": -0.08,
                    "p_value": 0.002,
                    "p_holm": 0.072,
                }
                for removals in [own, *(each for each in shared if each != own)]
            ]
    return rows


def routed_rows(method: str, words: tuple[str, ...], labels: tuple[str, str]) -> list[dict[str, Any]]:
    """Two rows for each word and seed, as `routed_words` holds them."""
    return [
        {
            "method": method,
            "seed": seed,
            "word": word,
            "label": label,
            "against": against,
            "code": 10 * index + side + 100 * seed,
            "n_words": 6 + side,
            "occurrences": 9 + side,
            "purity": 0.91 + 0.06 * side,
            "divergence": 0.875,
        }
        for seed in (0, 1)
        for index, word in enumerate(words)
        for side, (label, against) in enumerate((labels, labels[::-1]))
    ]
