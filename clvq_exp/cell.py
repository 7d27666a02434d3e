"""One cell of the grid: the rooms in order, each step through the artifact cache.

texts -> language model -> activations -> concepts -> salient words -> ablation and controls -> report
"""

from __future__ import annotations

import logging
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from clvq_exp import provenance
from clvq_exp.activations.extraction import extract
from clvq_exp.activations.store import ActivationStore
from clvq_exp.artifacts import ArtifactCache, plain, write_json, write_text
from clvq_exp.concept_tables import Models, write_concept_tables, write_salient_concepts
from clvq_exp.concepts.base import ConceptModel
from clvq_exp.config import Config
from clvq_exp.evaluation.codes_alone import CodesAlone, codes_alone
from clvq_exp.evaluation.controls import Subjects, layer_directions
from clvq_exp.evaluation.faithfulness import AblationPlan, ablate_all, train_probes
from clvq_exp.evaluation.intervention import Found
from clvq_exp.evaluation.live import live_outcomes
from clvq_exp.evaluation.specificity.figures import Specificity, measure_specificity
from clvq_exp.explanations.salient_words import choose_salient_words
from clvq_exp.explanations.word_attributions import attribute_sentences
from clvq_exp.fitting import ConceptFit, check_devices, choose_device, fitted, make_method
from clvq_exp.inventory import CellRecorder
from clvq_exp.language_models.base import LanguageModel
from clvq_exp.language_models.recipe import ModelProcesses
from clvq_exp.memory import use_system_allocator
from clvq_exp.metrics import Ablations, Explained, cell_metrics
from clvq_exp.preflight import Preflight
from clvq_exp.publishing import METRICS, publishing
from clvq_exp.report.html import write_report
from clvq_exp.report.run_logger import CELL, LoggedRun, finish, make_training_logger
from clvq_exp.run_folder import (
    write_assignments,
    write_concept_models,
    write_history,
    write_probes,
    write_routed_words,
    write_salient_words,
    write_sentence_outcomes,
)
from clvq_exp.settings import Split
from clvq_exp.subject_model import make_subject_model
from clvq_exp.texts import evenly_spaced, store_sizes, subset

log = logging.getLogger(__name__)


def run_cell(config: Config, ready: Preflight, folder: Path) -> dict[str, Any]:
    """Run one cell and write its folder.

    Args:
        config: the checked configuration.
        ready: what was found before anything ran: texts, model folder, fingerprint.
        folder: the run folder.

    Returns:
        The figures, as written to `metrics.json`.
    """
    use_system_allocator()
    return _Cell(config, ready, folder).run()


class _Cell:
    def __init__(self, config: Config, ready: Preflight, folder: Path) -> None:
        self.config = config
        self.ready = ready
        self.folder = folder
        self.cache = ArtifactCache()
        self.cache.on_use = CellRecorder(self.cache.root, _title(config), folder)
        self.device = choose_device(config.trainer.device)
        check_devices(self.device, config.trainer.devices)
        self.steps = provenance.Steps()
        self.pair = config.layer_pair
        self.subject: dict[str, Any] = {}
        for method in config.methods.values():  # before hours are spent
            make_method(method, config)

    def run(self) -> dict[str, Any]:
        model, tuned, processes = self.language_model()
        store = self.activations(model, processes)
        explained = self.salient_words(model, store, processes)
        models, sources = self.concepts(store)
        ablations = self.ablations(model, store, models, explained)
        specific, alone = self.specificity(store, models)
        metrics = cell_metrics(
            self.config, self.ready, store, models, explained, ablations, specific, alone, tuned
        )
        self.write(store, models, sources, explained, ablations, specific, metrics)
        return metrics

    def language_model(self) -> tuple[LanguageModel, dict[str, Any] | None, ModelProcesses]:
        """The fine-tuned model, what fine-tuning measured, and the processes that run the model."""
        with self.steps.step("language_model"):
            subject = make_subject_model(self.config, self.ready, self.cache, self.device)
            model = subject.recipe.open(self.device)
        self.subject = subject.facts(model)
        alone = subject.recipe.settings.device_map is not None  # spread over all GPUs already
        processes = ModelProcesses(subject.recipe, 1 if alone else self.config.trainer.devices)
        return model, subject.tuned, processes

    def activations(self, model: LanguageModel, processes: ModelProcesses) -> ActivationStore:
        """Both layers of the pair, and the further ones asked for."""
        config, texts = self.config, self.ready.texts
        for layer, key in ((self.pair.lower, "layer_pair.lower"), (self.pair.upper, "layer_pair.upper")):
            model.check_layer(layer, key)
        for layer in config.activations.layers:
            model.check_layer(layer, "activations.layers")
        budget, seed = config.trainer.sentences, config.dataset.split_seed
        n_train, n_validation = store_sizes(len(texts.train), len(texts.validation), budget.concepts)
        splits = {
            Split.train: subset(texts.train, n_train, seed),
            Split.validation: subset(texts.validation, n_validation, seed),
            Split.dev: subset(texts.dev, budget.evaluation, seed),
        }
        with self.steps.step("activations"):
            layers = [self.pair.lower, self.pair.upper, *config.activations.layers]
            limit = config.model.max_length
            return extract(self.cache, model, splits, layers, config.activations, limit, processes)

    def salient_words(
        self, model: LanguageModel, store: ActivationStore, processes: ModelProcesses
    ) -> dict[Split, Explained]:
        """Attribution of the dev sentences, and of training sentences for the refit probe."""
        config = self.config
        n_refit = config.trainer.sentences.refit
        train = store.sentence_ids(Split.train)
        chosen = {
            Split.dev: store.sentence_ids(Split.dev),
            Split.train: train[evenly_spaced(len(train), n_refit)],
        }
        explained: dict[Split, Explained] = {}
        with self.steps.step("attribution"):
            for split, sentences in chosen.items():
                settings = config.attribution
                attributions = attribute_sentences(
                    self.cache, model, store, sentences, settings, self.pair.lower, processes
                )
                salient = choose_salient_words(
                    attributions, store, settings.sentence_token_can_be_salient, settings.salient_by
                )
                who = Subjects(store, self.pair.lower, sentences, salient.word_rows)
                explained[split] = Explained(attributions, salient, who)
        return explained

    def concepts(self, store: ActivationStore) -> tuple[Models, dict[int, Path]]:
        """The cell's method and those beside it, one model per seed."""
        config = self.config
        models: dict[str, dict[int, ConceptModel]] = {name: {} for name in config.methods}
        sources: dict[int, Path] = {}
        with self.steps.step("concepts"):
            for name, method in config.methods.items():
                for seed in config.seeds:
                    fit = ConceptFit(config, method, store, seed, self.device, self.folder)
                    model, source = fitted(fit, self.cache)
                    models[name][seed] = model
                    if name == config.baseline["name"]:
                        sources[seed] = source
        return models, sources

    def ablations(
        self,
        model: LanguageModel,
        store: ActivationStore,
        models: Models,
        explained: Mapping[Split, Explained],
    ) -> Ablations:
        """Probe, removals, controls and the live intervention, for every method."""
        config, layer = self.config, self.pair.lower
        plan = AblationPlan(
            store,
            layer,
            self.ready.texts.n_classes,
            explained[Split.dev].who,
            explained[Split.train].who,
            layer_directions(store, layer),
            config.probe,
        )
        with self.steps.step("ablation"):
            probes = {seed: train_probes(plan, seed) for seed in config.seeds}
            found = {name: ablate_all(plan, of_seeds, probes) for name, of_seeds in models.items()}
        live: dict[str, dict[str, Found]] = {}
        if config.evaluation.intervention:
            budget = config.activations.batch_tokens
            with self.steps.step("intervention"):
                for name, (_, removals) in found.items():
                    live[name] = {
                        removal: live_outcomes(
                            self.cache, model, of_seeds, budget, f"intervention, {name}, {removal}"
                        )
                        for removal, of_seeds in removals.items()
                    }
        return Ablations({name: outcomes for name, (outcomes, _) in found.items()}, live, probes)

    def specificity(
        self, store: ActivationStore, models: Models
    ) -> tuple[dict[str, Specificity], dict[str, dict[int, CodesAlone]]]:
        """What the concepts of every method hold, alone explain, and how far they are the same over seeds."""
        config, names = self.config, self.ready.texts.label_names
        with self.steps.step("specificity"):
            specific = {
                name: measure_specificity(
                    of_seeds, store, self.pair.lower, names, config.specificity, config.evaluation.confidence
                )
                for name, of_seeds in models.items()
            }
            alone = {
                name: {seed: codes_alone(model, store, self.pair) for seed, model in of_seeds.items()}
                for name, of_seeds in models.items()
            }
        return specific, alone

    def write(
        self,
        store: ActivationStore,
        models: Models,
        sources: Mapping[int, Path],
        explained: Mapping[Split, Explained],
        ablations: Ablations,
        specific: Mapping[str, Specificity],
        metrics: dict[str, Any],
    ) -> None:
        """The run folder, all of it or nothing."""
        config, layer = self.config, self.pair.lower
        main = models[config.baseline["name"]]
        with publishing(self.folder, self.ready.fingerprint) as folder:
            with self.steps.step("report"):
                write_text(folder / "config.yaml", self.ready.yaml)
                write_concept_models(folder, sources)
                write_probes(folder, ablations.probes)
                write_history(folder, models)
                write_concept_tables(folder, models, store, layer, self.ready.texts.label_names)
                write_salient_concepts(folder, models, store, layer, explained[Split.dev].salient)
                write_assignments(folder, main, store, layer)
                parts = {split: (each.attributions, each.salient) for split, each in explained.items()}
                write_salient_words(folder, store, layer, next(iter(main.values())), parts)
                write_routed_words(folder, specific)
                write_sentence_outcomes(
                    folder, ablations.outcomes, explained[Split.dev].salient.sentences, config.seeds
                )
                found = self._provenance()
                write_report(folder, metrics, found)
            write_json(folder / "provenance.json", {**found, **vars(self.steps)})
            write_json(folder / METRICS, metrics)
            self._log_summary(metrics, folder)

    def _log_summary(self, metrics: dict[str, Any], files: Path) -> None:
        config = self.config
        run = LoggedRun("cell", CELL, config.baseline["name"], config.init.name, config.seeds)
        logger = make_training_logger(config.logger, self.folder, run, plain(config))
        finish(logger, metrics, self.folder, files)

    def _provenance(self) -> dict[str, Any]:
        config = self.config
        return {
            **provenance.facts(str(self.device)),
            "seeds": config.seeds,
            **self.subject,
            "fingerprints": {
                "cell": self.ready.fingerprint,
                "texts": self.ready.texts.fingerprint,
                "model": self.ready.model_fingerprint,
            },
            "departures_from_protocol": {
                key: {"used": plain(used), "protocol": plain(said)}
                for key, (used, said) in config.departures.items()
            },
            "seconds": dict(self.steps.seconds),
            "peak_memory_bytes": dict(self.steps.peak_memory_bytes),
        }


def _title(config: Config) -> str:
    """The cell in a line, for people."""
    pair = f"{config.layer_pair.lower}-{config.layer_pair.upper}"
    method = f"{config.baseline['name']}/{config.init.name}/{config.protocol.name}"
    return f"{config.model.name} {config.dataset.name} {pair} {method}"
