"""What `clvq estimate` says of each concept method beside what the method takes: seconds, memory, disk.

    python benchmarks/estimate_methods.py
    python benchmarks/estimate_methods.py --sentences 2000 --only sae_2048 clustering trainer.max_epochs=5
    python benchmarks/estimate_methods.py --only clvq_vae transcoder trainer.devices=2

The embedded encoder (with a classification head of random weights) reads some of the embedded film reviews once;
then each method is fitted with one seed, ablated and measured for specificity in a process of its own, on one
thread. A random word stands for the salient one. Seconds are the processor's, so that other work beside does not
count; memory is the growth of the process's resident memory during the fit. Linux only.

With `trainer.devices` above 1 as many processes of one thread train a method together: the seconds are those of
all of them, and memory is what they have at once beside what there was before, pages that several share counted
once.
"""

from __future__ import annotations

import argparse
import importlib
import json
import os
import resource
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Generator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

SETTINGS = (
    *("beside=table1", "trainer.device=cpu", "seeds=[0]", "trainer.max_epochs=2", "specificity.shuffles=20"),
    *("fine_tuning.when=never", "decoder.layers=2"),
)
BUDGET = ("trainer.sentences.concepts", "trainer.sentences.evaluation")
MEASURES = ("fit s", "memory MiB", "model MiB", "ablation s", "specificity s")
LIBRARIES = ("pytorch_lightning", "clvq_exp.concepts.clvq_vae", "faiss", "fastcluster", "sklearn.cluster")
"""What is imported late, and would count for the method that comes to it first."""
_STATUS = Path("/proc/self/status")
_EVERY = 0.1
"""Seconds between two looks at the memory of several processes."""


def resident(name: str) -> int:
    """A line of this process's memory in bytes: VmRSS, or VmHWM for the peak."""
    lines = (line.split() for line in _STATUS.read_text().splitlines())
    return next(int(words[1]) * 1024 for words in lines if words[0] == f"{name}:")


def processes(of: int) -> list[int]:
    """A process and all that it started, and those that they did."""
    begun: list[int] = []
    for path in Path(f"/proc/{of}/task").glob("*/children"):
        try:
            begun += [int(number) for number in path.read_text().split()]
        except OSError:  # it has just ended
            continue
    return [of, *(each for child in begun for each in processes(child))]


def held(process: int) -> int:
    """Memory of a process in bytes, its share of the pages that several have."""
    try:
        lines = [line.split() for line in Path(f"/proc/{process}/smaps_rollup").read_text().splitlines()]
    except OSError:
        return 0
    return sum(int(words[1]) * 1024 for words in lines if words[0] == "Pss:")


@contextmanager
def growth() -> Generator[list[int]]:
    """The most that this process and those that it starts take inside, beyond what it had, in bytes."""
    before, peak, done = held(os.getpid()), [0], threading.Event()

    def watch() -> None:
        while not done.wait(_EVERY):
            peak[0] = max(peak[0], sum(map(held, processes(os.getpid()))) - before)

    watcher = threading.Thread(target=watch)
    watcher.start()
    try:
        yield peak
    finally:
        done.set()
        watcher.join()


def with_head(folder: Path, to: Path, names: list[str]) -> None:
    """Give a model without a classification head one of random weights."""
    from transformers import AutoModelForSequenceClassification, AutoTokenizer

    numbers = dict(enumerate(names))
    model = AutoModelForSequenceClassification.from_pretrained(
        folder, num_labels=len(names), id2label=numbers, label2id={name: i for i, name in numbers.items()}
    )
    model.save_pretrained(to)
    AutoTokenizer.from_pretrained(folder).save_pretrained(to)


def composed(folder: Path, overrides: list[str]) -> Any:
    """The cell's configuration."""
    from clvq_exp.composing import compose_cells

    path = f"model.path={folder / 'model'}"
    return compose_cells([*SETTINGS, path, *overrides])[0].config


def prepare(folder: Path, overrides: list[str]) -> list[str]:
    """Read the texts once; returns the methods' names."""
    import torch

    from clvq_exp.activations.extraction import extract
    from clvq_exp.artifacts import ArtifactCache
    from clvq_exp.composing import compose_cells
    from clvq_exp.language_models.encoder import EncoderModel
    from clvq_exp.language_models.sources import locate_model
    from clvq_exp.settings import Split
    from clvq_exp.texts import load_texts, store_sizes, subset

    torch.set_num_threads(1)
    given = compose_cells([*SETTINGS, *overrides])[0].config
    with_head(locate_model(given.model), folder / "model", given.dataset.label_names)
    config = composed(folder, overrides)
    model = EncoderModel.load(folder / "model", config.model, config.dataset.label_names, torch.device("cpu"))
    texts, budget, seed = load_texts(config.dataset, False), config.trainer.sentences, config.dataset.split_seed
    n_train, n_validation = store_sizes(len(texts.train), len(texts.validation), budget.concepts)
    splits = {
        Split.train: subset(texts.train, n_train, seed),
        Split.validation: subset(texts.validation, n_validation, seed),
        Split.dev: subset(texts.dev, budget.evaluation, seed),
    }
    layers = [config.layer_pair.lower, config.layer_pair.upper]
    store = extract(ArtifactCache(), model, splits, layers, config.activations, config.model.max_length)
    made = [str(store.tables), {layer: str(path) for layer, path in store.layer_folders.items()}]
    (folder / "store.json").write_text(json.dumps(made), encoding="utf-8")
    return list(config.methods)


def processor_rate(width: int) -> float:
    """A plain matrix product, in operations for each second of the processor."""
    import torch

    weights, rows = torch.ones(width, 4 * width), torch.ones(1024, width)
    fastest = float("inf")
    for _ in range(10):
        start = time.process_time()
        torch.matmul(rows, weights)
        fastest = min(fastest, time.process_time() - start)
    return 2 * len(rows) * weights.numel() / fastest


def estimated(config: Any, name: str, folder: Path) -> dict[str, float]:
    """What the estimate says of one method."""
    from clvq_exp.estimate.corpus import corpus_of, tokens_of
    from clvq_exp.estimate.evaluation import evaluation_parts
    from clvq_exp.estimate.memory import fit_memory
    from clvq_exp.estimate.methods import methods_of
    from clvq_exp.estimate.names import Names
    from clvq_exp.estimate.network import network_sizes
    from clvq_exp.estimate.records import ABLATION, SPECIFICITY, MethodMemory, Rates
    from clvq_exp.estimate.subject import Subject
    from clvq_exp.texts import load_texts

    network, texts = network_sizes(config.model, folder / "model"), load_texts(config.dataset, False)
    tokens = tokens_of(config, network, folder / "model", texts)
    rate = processor_rate(network.width)
    subject = Subject(
        config, network, corpus_of(config, texts, tokens), "cpu", tuned=False, rates=Rates(rate, rate)
    )
    methods = methods_of(subject, Names(subject))
    needs = next(each for each in methods if each.name == name)
    parts = [part for part in evaluation_parts(subject, Names(subject), methods) if part.method == name]
    idle = needs._replace(memory=MethodMemory(0, 0, 0, 0), trains=False)
    fit, nothing = (fit_memory(subject, methods, each).host for each in (needs, idle))
    figures = (
        sum(part.seconds for part in needs.parts),
        (fit - nothing) / 2**20,
        needs.model_bytes / 2**20,
        *(sum(part.seconds for part in parts if part.step == step) for step in (ABLATION, SPECIFICITY)),
    )
    return dict(zip(MEASURES, figures, strict=True))


def measured(config: Any, name: str, folder: Path) -> dict[str, float]:
    """What the method takes."""
    import torch

    from clvq_exp.activations.store import ActivationStore
    from clvq_exp.artifacts import ArtifactCache
    from clvq_exp.concepts.base import FitRun
    from clvq_exp.evaluation.specificity.figures import measure_specificity
    from clvq_exp.fitting import ConceptFit, make_method
    from clvq_exp.memory import use_system_allocator

    for late in LIBRARIES:
        importlib.import_module(late)
    use_system_allocator()
    tables, layers = json.loads((folder / "store.json").read_text(encoding="utf-8"))
    store = ActivationStore(Path(tables), {int(layer): Path(path) for layer, path in layers.items()})
    model, pair = make_method(config.methods[name], config), config.layer_pair
    work = folder / name
    work.mkdir()
    found: dict[str, float] = {}
    if config.trainer.devices > 1 and model.is_trained:
        fit_together(found, ConceptFit(config, config.methods[name], store, 0, torch.device("cpu"), work))
        model.load(work)
    else:
        run = FitRun(store, pair, 0, work, ArtifactCache(work / "cache"), torch.device("cpu"))
        before = resident("VmRSS")
        Path("/proc/self/clear_refs").write_text("5")
        timed(found, "fit s", lambda: model.fit(run))
        found["memory MiB"] = (resident("VmHWM") - before) / 2**20
        model.save(work)
    found["model MiB"] = (work / "model.safetensors").stat().st_size / 2**20
    timed(found, "ablation s", ablation(config, store, model))
    names, settings = config.dataset.label_names, config.specificity
    timed(found, "specificity s", lambda: measure_specificity({0: model}, store, pair.lower, names, settings))
    return found


def fit_together(found: dict[str, float], fit: Any) -> None:
    """Enter seconds and memory of a fit by several processes."""
    from clvq_exp.fitting import fit_concepts
    from clvq_exp.ranks import run_on_ranks

    os.environ["CLVQ_EXP_CACHE"] = str(fit.folder / "cache")
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    with growth() as peak:
        run_on_ranks(fit.config.trainer.devices, "cpu", fit_concepts, fit, fit.folder)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    found["fit s"] = after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime
    found["memory MiB"] = peak[0] / 2**20


def ablation(config: Any, store: Any, model: Any) -> Callable[[], Any]:
    """The call that ablates a fitted model; probes are trained before."""
    import numpy as np

    from clvq_exp.evaluation.controls import Subjects, layer_directions
    from clvq_exp.evaluation.faithfulness import AblationPlan, ablate_all, train_probes
    from clvq_exp.settings import Split
    from clvq_exp.texts import evenly_spaced

    layer, table = config.layer_pair.lower, store.sentences

    def subjects(sentences: Any) -> Any:
        drawn = np.random.default_rng(0).integers(table.n_words[sentences])
        return Subjects(store, layer, sentences, table.first_word[sentences] + drawn)

    train = store.sentence_ids(Split.train)
    refit = train[evenly_spaced(len(train), config.trainer.sentences.refit)]
    who = (subjects(store.sentence_ids(Split.dev)), subjects(refit))
    classes = len(config.dataset.label_names)
    plan = AblationPlan(store, layer, classes, *who, layer_directions(store, layer), config.probe)
    probes = {0: train_probes(plan, 0)}
    return lambda: ablate_all(plan, {0: model}, probes)


def timed(found: dict[str, float], name: str, call: Callable[[], Any]) -> None:
    """Enter the processor's seconds of a call."""
    start = time.process_time()
    call()
    found[name] = time.process_time() - start


def run_one(name: str, folder: Path, overrides: list[str]) -> None:
    """Measure one method in this process, and leave both figures."""
    import torch

    torch.set_num_threads(1)
    config = composed(folder, overrides)
    both = [measured(config, name, folder), estimated(config, name, folder)]
    (folder / f"{name}.json").write_text(json.dumps(both), encoding="utf-8")


def row(name: str, folder: Path) -> str:
    """One line of the table: estimated, and behind the stroke measured."""
    found, said = json.loads((folder / f"{name}.json").read_text(encoding="utf-8"))
    cells = [f"{said[each]:.1f} / {found[each]:.1f}" for each in MEASURES]
    return f"{name:<26}" + "".join(f"{cell:>17}" for cell in cells)


def main() -> None:
    """Measure each method in a process of its own, print the table."""
    parser = argparse.ArgumentParser(description="Estimates of concept methods beside what they take.")
    parser.add_argument("--sentences", type=int, default=300, help="sentences of the store (default 300)")
    parser.add_argument("--only", nargs="+", default=[], help="methods of beside=table1; default: all")
    parser.add_argument("--method", help=argparse.SUPPRESS)
    parser.add_argument("--in-folder", help=argparse.SUPPRESS)
    given, overrides = parser.parse_known_args()
    named = [each for each in given.only if "=" not in each]
    overrides += [each for each in given.only if "=" in each]
    budget = [f"{name}={n}" for name, n in zip(BUDGET, (given.sentences, given.sentences // 3), strict=True)]
    if given.in_folder:
        run_one(given.method, Path(given.in_folder), [*budget, *overrides])
        return
    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        os.environ["CLVQ_EXP_CACHE"] = str(folder / "cache")
        every = prepare(folder, [*budget, *overrides])
        print(f"{'estimated / measured':<26}" + "".join(f"{each:>17}" for each in MEASURES))
        for method in named or every:
            hidden = ["--sentences", str(given.sentences), "--method", method, "--in-folder", name]
            done = subprocess.run(
                [sys.executable, __file__, *overrides, *hidden], check=False, capture_output=True, text=True
            )
            if done.returncode:
                sys.exit(f"{method}: {done.stderr}")
            print(row(method, folder), flush=True)


if __name__ == "__main__":
    main()
