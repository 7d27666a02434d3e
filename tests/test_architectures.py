"""Whole cells of every family, from a folder of its files and without a line of code for it."""

from __future__ import annotations

import ast
import json
import math
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
import yaml
from families import DECODERS, ENCODERS, FAMILIES, LAYERS, Folders
from running import Call, call
from tiny import review

import clvq_exp

PACKAGE = Path(clvq_exp.__file__).parent
DEV = [review(index) for index in range(1000, 1040)]
STEMS = {
    *("bert", "roberta", "mpnet", "electra", "llama", "qwen", "gpt", "gemma", "mistral", "opt", "phi", "falcon"),
    *("bloom", "xlnet", "albert", "camembert", "distilbert", "modernbert", "deberta", "xlm", "neox"),
}
"""What families are called, in parts."""
SMALL = [
    "dataset=file",
    f"model.default_lower={LAYERS - 2}",
    f"model.default_upper={LAYERS}",
    "trainer=demo",
    "trainer.max_epochs=1",
    "trainer.sentences.refit=20",
    "quantizer.codebook_size=10",
    "decoder.layers=1",
    "decoder.heads=4",
    "decoder.feed_forward=16",
    "attribution.steps=4",
    "probe.max_epochs=5",
    "evaluation.bootstrap_samples=100",
    "evaluation.permutations=100",
    "evaluation.example_sentences=2",
]


class Cells:
    """The cells of all families of a kind, run by one command."""

    def __init__(self, home: Path, reviews: Path, folders: Folders) -> None:
        self._home = home
        self._reviews = reviews
        self._folders = folders
        self._done: dict[str, Call] = {}

    def __call__(self, name: str) -> tuple[Call, Path]:
        """The finished command, and the run folder of a family."""
        kind = "encoder" if name in ENCODERS else "decoder"
        home = self._home / kind
        if kind not in self._done:
            home.mkdir()
            paths = ",".join(str(self._folders(each)) for each in (ENCODERS if name in ENCODERS else DECODERS))
            chosen = [f"model={kind}", "model.name=tiny", f"model.path={paths}", f"dataset.path={self._reviews}"]
            self._done[kind] = call(home, "--multirun", *SMALL, *chosen)
        runs = [path.parent for path in home.rglob("metrics.json")]
        own = [run for run in runs if configuration(run)["model"]["path"] == str(self._folders(name))]
        assert len(own) == 1, self._done[kind].err[-3000:]
        return self._done[kind], own[0]


def configuration(run: Path) -> Any:
    return yaml.safe_load((run / "config.yaml").read_text(encoding="utf-8"))


@pytest.fixture(scope="module")
def folders(tmp_path_factory: pytest.TempPathFactory) -> Folders:
    return Folders(tmp_path_factory.mktemp("families"))


@pytest.fixture(scope="module")
def cells(tmp_path_factory: pytest.TempPathFactory, reviews: Path, folders: Folders) -> Cells:
    return Cells(tmp_path_factory.mktemp("cells"), reviews, folders)


def figures(values: Any, name: str = "") -> Iterator[tuple[str, float]]:
    """All numbers of a JSON document with their places."""
    if isinstance(values, dict):
        for key, value in values.items():
            yield from figures(value, f"{name}.{key}")
    elif isinstance(values, list):
        for index, value in enumerate(values):
            yield from figures(value, f"{name}[{index}]")
    elif isinstance(values, int | float):
        yield name, float(values)


def accuracy(folder: Path, name: str, asked: Any) -> float:
    """The share of right answers on the dev reviews, by transformers alone."""
    tokenizer = transformers.AutoTokenizer.from_pretrained(folder)
    auto: Any = (
        transformers.AutoModelForSequenceClassification if name in ENCODERS else transformers.AutoModelForCausalLM
    )
    network = auto.from_pretrained(folder).eval()
    right = 0
    for text, label in DEV:
        if asked is None:
            ids = tokenizer(text)["input_ids"]
        else:
            whole = asked["prompt"]["before"] + text + asked["prompt"]["after"]
            ids = [*asked["prompt"]["lead"], *tokenizer(whole, add_special_tokens=False)["input_ids"]]
            ids += asked["answer_tokens"]["common"]
        with torch.no_grad():
            logits = network(torch.tensor([ids])).logits[0]
        if asked is not None:
            logits = logits[-1, asked["answer_tokens"]["first"]]
        right += int(logits.argmax()) == label
    return right / len(DEV)


@pytest.mark.slow
@pytest.mark.parametrize("name", list(FAMILIES))
def test_cell__of_a_family_runs_from_its_folder_alone(cells: Cells, folders: Folders, name: str) -> None:
    done, run = cells(name)
    assert done.code == 0, done.err[-3000:]
    metrics = json.loads((run / "metrics.json").read_text(encoding="utf-8"))
    found = dict(figures(metrics))
    assert len(found) > 50
    assert [place for place, value in found.items() if not math.isfinite(value)] == []
    assert metrics["cell"]["layer_pair"] == f"{LAYERS - 2}-{LAYERS}"
    assert metrics["cell"]["sentences"]["evaluation"] == len(DEV)
    assert metrics["cell"]["words"]["truncated"] == 0
    asked = json.loads((run / "provenance.json").read_text(encoding="utf-8"))["asked"]
    assert (asked is None) is (name in ENCODERS)
    expected = accuracy(folders(name), name, asked)
    assert metrics["model"]["accuracy"]["mean"] == pytest.approx(expected, abs=1e-9)
    assert (run / "report.html").stat().st_size > 10_000


def words_in_code(source: str) -> set[str]:
    """Names and keys of a module in lower case, cut at capitals and marks; no comments, docstrings, messages."""
    texts: list[str] = []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.Constant) and isinstance(node.value, str) and not re.search(r"\s", node.value):
            texts.append(node.value)
        named = [getattr(node, key, None) for key in ("id", "attr", "name", "arg", "module")]
        texts += [value for value in named if isinstance(value, str)]
    return {part.lower() for part in re.findall(r"[A-Z]*[a-z]+|[A-Z]+", " ".join(texts))}


def test_words_in_code__finds_families_by_hand() -> None:
    assert words_in_code('if config.model_type == "gpt2":\n    DebertaV2Model()') & STEMS == {"gpt", "deberta"}
    assert words_in_code('"""Gemma scales."""\n# as BERT does\nraise KeyError("not for Llama")') & STEMS == set()


def test_code__names_no_family() -> None:
    modules = list(PACKAGE.rglob("*.py"))
    assert len(modules) > 50
    found = {str(path.relative_to(PACKAGE)): words_in_code(path.read_text("utf-8")) & STEMS for path in modules}
    assert {name: words for name, words in found.items() if words} == {}
