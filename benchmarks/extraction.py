"""Extraction, tokenising and storing included, beside the bare forward pass, and beside NeuroX's extractor.

    python benchmarks/extraction.py --peers FOLDER/bin/python --texts FOLDER_OR_FILE

The bare pass runs the same length-sorted batches through the blocks up to the highest layer that is asked for,
from sub-words that are already there, and keeps nothing. NeuroX reads one sentence at a time and writes every
layer as JSON; its figures stand beside a store in float16. A repetition of ours begins with an empty cache:
texts are tokenised and aligned, states pooled, files written with checksums and synchronised to the disk.
"""

from __future__ import annotations

import argparse
import contextlib
import os
import tempfile
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from subjects import MODELS, model_folder, open_model, sentences
from turns import Measured, Row, Side, arguments, finish, in_turn, versions, worker

PAIRS = {"minilm": (4, 6), "bert": (4, 8)}
FLOOR = {"pair": 0.90, "all": 0.80}
SENTENCES = {"minilm": 2400, "bert": 600}
"""Of a repetition, so that it takes either model about as long, and starting and ending count for little, as they
do with the paper's data sets."""
Repeat = Callable[[], "dict[str, Any]"]


def layers_of(model: str, which: str) -> list[int]:
    """Layers that are stored."""
    if which == "pair":
        return list(PAIRS[model])
    return list(range({"minilm": 6, "bert": 12}[model] + 1))


def ours(given: argparse.Namespace, layers: Sequence[int]) -> Repeat:
    from clvq_exp.activations.extraction import extract
    from clvq_exp.artifacts import ArtifactCache
    from clvq_exp.settings import ActivationSettings, Split, StoreDtype

    settings = ActivationSettings(dtype=StoreDtype(given.dtype))
    model = open_model(given.model, given.models)
    rows = sentences(given.texts, given.sentences)

    def repeat() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
            store = extract(ArtifactCache(Path(folder)), model, {Split.train: rows}, layers, settings, 512)
            size = sum(file.stat().st_size for file in Path(folder).rglob("*") if file.is_file())
            return {"words": store.n_words, "bytes": size}

    return repeat


def bare(given: argparse.Namespace, layers: Sequence[int]) -> Repeat:
    import torch
    from transformers import AutoModel, AutoTokenizer

    from clvq_exp.activations.batching import length_sorted_batches
    from clvq_exp.settings import ActivationSettings

    folder = model_folder(given.model, given.models)
    tokenizer, model = AutoTokenizer.from_pretrained(folder), AutoModel.from_pretrained(folder).eval()
    model.encoder.layer = model.encoder.layer[: max(layers)]
    texts = [row.text for row in sentences(given.texts, given.sentences)]
    lengths = [len(each) for each in tokenizer(texts, truncation=True)["input_ids"]]
    batches = [
        tokenizer([texts[row] for row in batch], truncation=True, padding=True, return_tensors="pt")
        for batch in length_sorted_batches(lengths, ActivationSettings().batch_tokens)
    ]

    @torch.no_grad()
    def repeat() -> dict[str, Any]:
        for batch in batches:
            model(**batch)
        return {}

    return repeat


def neurox(given: argparse.Namespace, layers: Sequence[int]) -> Repeat:
    del layers
    from neurox.data.extraction.transformers_extractor import extract_representations

    folder = model_folder(given.model, given.models)
    lines = Path(given.lines)

    def repeat() -> dict[str, Any]:
        with tempfile.TemporaryDirectory(dir=given.scratch) as out:
            file = Path(out) / "activations.json"
            with Path(os.devnull).open("w") as nowhere, contextlib.redirect_stdout(nowhere):
                extract_representations(str(folder), str(lines), str(file), "cpu", output_type="json")
            return {"bytes": file.stat().st_size}

    return repeat


def rate(words: int, measured: Measured) -> str:
    return f"{words / measured.median:,.0f} words/s"


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__, peers=True)
    parser.add_argument("--texts", help="JSONL file or folder of such (text, label 0 or 1); default: film reviews")
    parser.add_argument("--sentences", type=int, help=f"for each repetition (default: {SENTENCES})")
    parser.add_argument("--slow-sentences", type=int, default=60, help="beside NeuroX (default 60)")
    parser.add_argument("--dtype", default="float32", help="of the store beside the bare pass (default float32)")
    parser.add_argument("--scratch", type=Path, default=Path(tempfile.gettempdir()), help="where is written to")
    parser.add_argument("--models", type=Path, help="keeps the models; default: made anew")
    for hidden in ("--model", "--which", "--lines"):
        parser.add_argument(hidden, help=argparse.SUPPRESS)
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(given.threads)
        layers = layers_of(given.model, given.which)
        worker(lambda: {"ours": ours, "bare": bare, "neurox": neurox}[given.side](given, layers))
        return
    rows: list[Row] = []
    with tempfile.TemporaryDirectory(dir=given.scratch) as folder:
        models = given.models or Path(folder)
        common = ["--peers", given.peers, "--threads", str(given.threads), "--scratch", str(given.scratch)]
        common += ["--models", str(models), *(["--texts", given.texts] if given.texts else [])]
        used = versions("torch", "transformers")
        for name in MODELS:
            model_folder(name, models)
            for which, floor in FLOOR.items():
                n = given.sentences or SENTENCES[name]
                passed = [*common, "--model", name, "--which", which, "--sentences", str(n)]
                found = in_turn(__file__, passed, [Side("ours"), Side("bare")], given.repetitions)
                words = found["ours"].notes["words"]
                shown = "layers {} and {}".format(*PAIRS[name]) if which == "pair" else "all layers"
                rows.append(
                    Row(
                        f"extraction, {name}, {shown}",
                        "the bare forward pass",
                        rate(words, found["ours"]),
                        rate(words, found["bare"]),
                        found["bare"].median / found["ours"].median,
                        floor,
                        versions=used,
                    )
                )
            rows += beside_neurox(given, common, name, Path(folder))
    finish(rows, given.rows)


def beside_neurox(given: argparse.Namespace, common: list[str], name: str, folder: Path) -> list[Row]:
    """Rates and bytes of all layers."""
    n = given.slow_sentences
    lines = folder / "lines.txt"
    texts = [" ".join(row.text.split()) for row in sentences(given.texts, n)]
    lines.write_text("\n".join(texts) + "\n", encoding="utf-8")
    passed = [*common, "--model", name, "--which", "all", "--sentences", str(n), "--lines", str(lines)]
    passed += ["--dtype", "float16"]
    found = in_turn(__file__, passed, [Side("ours"), Side("neurox", given.peers)], given.repetitions)
    own, other = found["ours"], found["neurox"]
    words = own.notes["words"]
    used = {**versions("torch"), **versions("neurox", python=given.peers)}
    sizes = own.notes["bytes"], other.notes["bytes"]
    title = f"extraction, {name}, all layers in float16"
    against = "NeuroX, JSON"
    return [
        Row(
            title,
            against,
            rate(words, own),
            rate(words, other),
            other.median / own.median,
            3,
            versions=used,
        ),
        Row(
            f"{title}: size",
            against,
            f"{sizes[0] / words / 1024:,.1f} KiB a word",
            f"{sizes[1] / words / 1024:,.1f} KiB a word",
            sizes[1] / sizes[0],
            5,
            versions=used,
        ),
    ]


if __name__ == "__main__":
    main()
