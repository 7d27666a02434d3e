"""The figures of a cell, as `metrics.json` holds them (docs/run_folder.md)."""

from __future__ import annotations

import logging
from collections.abc import Mapping
from typing import Any, NamedTuple

import numpy as np
from numpy.typing import NDArray

from clvq_exp.activations.store import ActivationStore
from clvq_exp.config import Config
from clvq_exp.evaluation.codes_alone import CodesAlone
from clvq_exp.evaluation.controls import Subjects
from clvq_exp.evaluation.faithfulness import Probes, RemovalOutcomes
from clvq_exp.evaluation.intervention import Found
from clvq_exp.evaluation.specificity.figures import Specificity
from clvq_exp.evaluation.statistics import Bootstrap, SignFlips, above_majority
from clvq_exp.evaluation.summary import (
    READABLE_LEVEL,
    codebook_figures,
    comparisons,
    faithfulness_figures,
    intervention_figures,
)
from clvq_exp.explanations.salient_words import SalientWords
from clvq_exp.explanations.word_attributions import WordAttributions
from clvq_exp.preflight import Preflight
from clvq_exp.run_folder import Models
from clvq_exp.settings import Split

FORMAT_VERSION = 1

log = logging.getLogger(__name__)


class Ablations(NamedTuple):
    """What the evaluation found, by method."""

    outcomes: dict[str, dict[str, RemovalOutcomes]]
    live: dict[str, dict[str, Found]]
    """method -> removal -> place -> condition."""
    probes: dict[int, Probes]


class Explained(NamedTuple):
    """The attributed sentences of one split."""

    attributions: WordAttributions
    salient: SalientWords
    who: Subjects


def cell_metrics(
    config: Config,
    ready: Preflight,
    store: ActivationStore,
    models: Models,
    explained: Mapping[Split, Explained],
    ablations: Ablations,
    specific: Mapping[str, Specificity],
    alone: Mapping[str, Mapping[int, CodesAlone]],
    tuned: dict[str, Any] | None,
) -> dict[str, Any]:
    """All figures of a cell, in the form of `metrics.json`.

    Args:
        config: the checked configuration.
        ready: texts and fingerprint.
        store: the activations.
        models: method -> seed -> fitted model, the main method first.
        explained: attributed sentences of dev and of the training split.
        ablations: what the evaluation found.
        specific: method -> what its concepts hold.
        alone: method -> seed -> what its concepts alone explain of the upper layer.
        tuned: what fine-tuning measured, or None.
    """
    dev = explained[Split.dev]
    groups: list[str] = store.sentence_column("group", dev.salient.sentences).to_pylist()
    labels = dev.who.labels.numpy()
    bootstrap = Bootstrap(
        groups,
        len(config.seeds),
        config.evaluation.bootstrap_samples,
        config.evaluation.confidence,
        config.evaluation.seed,
    )
    flips = SignFlips(groups, config.evaluation.permutations, config.evaluation.seed)
    right = dev.attributions.prediction == labels
    live_original = np.tile(right, (len(config.seeds), 1))

    def of_method(name: str) -> dict[str, Any]:
        return {
            "faithfulness": {
                removal: faithfulness_figures(
                    outcomes, bootstrap, labels, ready.texts.n_classes, dev.salient.special
                )
                for removal, outcomes in ablations.outcomes[name].items()
            },
            "intervention": {
                removal: intervention_figures(live, live_original, bootstrap)
                for removal, live in ablations.live.get(name, {}).items()
            },
            "codebook": codebook_figures(models[name], alone[name]),
            "specificity": specific[name].figures,
        }

    main, *beside = models
    return {
        "format_version": FORMAT_VERSION,
        "cell": _cell_facts(config, ready, store, dev, explained[Split.train]),
        "model": {
            "accuracy": bootstrap.of([live_original])[0].as_dict(),
            "majority": float(np.bincount(labels).max() / len(labels)),
            **_chance(right, labels),
            "fine_tuning": tuned,
        },
        "attribution": _attribution_figures(dev, config.attribution.tolerance),
        **of_method(main),
        "beside": {name: of_method(name) for name in beside},
        "comparisons": comparisons(ablations.outcomes, bootstrap, flips),
    }


def _cell_facts(
    config: Config, ready: Preflight, store: ActivationStore, dev: Explained, refit: Explained
) -> dict[str, Any]:
    texts = ready.texts
    return {
        "model": config.model.name,
        "dataset": config.dataset.name,
        "layer_pair": config.layer_pair.name,
        "method": config.baseline["name"],
        "init": config.init.name,
        "protocol": config.protocol.name,
        "trainer": config.trainer.name,
        "seeds": config.seeds,
        "codebook_size": config.quantizer.codebook_size,
        "fingerprint": ready.fingerprint,
        "label_names": list(texts.label_names),
        "content_warning": config.dataset.content_warning,
        "sentences": {
            "train": len(store.sentence_ids(Split.train)),
            "validation": len(store.sentence_ids(Split.validation)),
            "evaluation": len(dev.salient.sentences),
            "refit": len(refit.salient.sentences),
            "duplicates_removed": texts.duplicates_removed,
        },
        "words": {
            "stored": store.n_words,
            "vanished": int(np.sum(store.sentence_column("vanished").to_numpy())),
            "truncated": int(np.sum(store.sentence_column("truncated").to_numpy())),
        },
    }


def _chance(right: NDArray[np.bool_], labels: NDArray[np.int64]) -> dict[str, Any]:
    """Whether the language model knows more than the commonest class; said at once where it does not."""
    p_value = above_majority(right, labels)
    if p_value >= READABLE_LEVEL:
        log.warning(
            "the language model answers no better than its commonest class (accuracy %.3f, p %.3f): whatever is "
            "removed from it, no drop can be read; fine-tune it, or ask a decoder otherwise (model.label_tokens, "
            "model.calibration, dataset.prompt)",
            right.mean(),
            p_value,
        )
    return {"above_majority": p_value < READABLE_LEVEL, "above_majority_p_value": p_value}


def _attribution_figures(dev: Explained, tolerance: float) -> dict[str, Any]:
    change = np.abs(dev.attributions.logit_change)
    relative = np.abs(dev.attributions.convergence_delta) / np.maximum(change, 1e-12)
    return {
        "steps_mean": float(dev.attributions.steps.mean()),
        "tolerance": tolerance,
        "converged_share": float((relative <= tolerance).mean()),
        "median_relative_delta": float(np.median(relative)),
        "sentence_token_share": float(dev.salient.special.mean()),
    }
