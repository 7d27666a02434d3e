"""The same messages where a user meets them: one process each, its exit code, its log, and no traceback."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from running import Call, call, tiny_cell
from safetensors.torch import load_file, save_file
from tiny import review

Row = dict[str, Any]
Writer = Callable[[str, list[Row] | str | bytes], Path]


def run(home: Path, encoder: Path, texts: Path, *overrides: str) -> Call:
    given = [*tiny_cell(encoder, texts), "model.name=tiny", f"hydra.run.dir={home / 'run'}", *overrides]
    return call(home, *given)


def assert_refused(done: Call, home: Path, message: str) -> None:
    assert done.code == 1
    assert "Traceback" not in done.out + done.err
    log = (home / "run" / "clvq_exp.log").read_text(encoding="utf-8")
    for place in (done.out + done.err, log):
        assert f"\n{message}\n" in f"\n{place}"
    assert not (home / "run" / "metrics.json").exists()


def test_settings_that_contradict_each_other(tmp_path: Path, tiny_encoder: Path, reviews: Path) -> None:
    overrides = (
        "layer_pair.lower=5",
        "quantizer.top_k=21",
        "quantizer.temperature=0",
        "quantizer.commitment_weight=-0.1",
    )
    assert_refused(
        run(tmp_path, tiny_encoder, reviews, *overrides),
        tmp_path,
        "the configuration has 4 error(s):\n"
        "  - layer_pair.lower=5 is not below layer_pair.upper=4\n"
        "  - quantizer.top_k=21 is more than quantizer.codebook_size=20\n"
        "  - quantizer.temperature=0.0 is not above 0\n"
        "  - quantizer.commitment_weight=-0.1 is below 0",
    )


def test_unknown_label_and_a_pickle(tmp_path: Path, model_folder: Path, write: Writer) -> None:
    (model_folder / "model.safetensors").rename(model_folder / "pytorch_model.bin")
    path = write("reviews.jsonl", [{"text": "dull", "label": "rotten"}, {"text": "superb", "label": 1}])
    assert_refused(
        run(tmp_path, model_folder, path),
        tmp_path,
        "the configuration has 2 error(s):\n"
        f"  - {model_folder} holds only pickles (pytorch_model.bin), which can run code: convert them to "
        "model.safetensors with save_pretrained on a machine where you trust them, or set "
        "model.allow_pickle=true, which takes tensors out of them and nothing else: do so only if you trust "
        f"where it comes from\n  - dataset file: 1 of 2 rows of {path} cannot be used\n"
        "  line 1: unknown label 'rotten'\n"
        "1 x unknown label: known labels are '0', '1', 0 to 1; set dataset.label_names or "
        "dataset.label_values, or leave rows out by dataset.drop_labels",
    )


def test_layers_labels_and_encoding(tmp_path: Path, tiny_encoder: Path, write: Writer) -> None:
    path = write("reviews.csv", "text,label\nsuperb,fresh\nÄrger,rotten\n".encode("latin-1"))
    labels = ("dataset.label_names=[rotten,fresh]", "dataset.label_meanings=[rotten,fresh]")
    assert_refused(
        run(tmp_path, tiny_encoder, path, "layer_pair.upper=9", *labels),
        tmp_path,
        "the configuration has 3 error(s):\n"
        "  - layer_pair.upper=9: model tiny has layers 0 (embeddings) to 4\n"
        "  - label 'rotten' of the data set is none of the model's labels ['0', '1']: give dataset.label_names "
        "with the model's names, or fine_tuning.when=always\n"
        f"  - dataset file: {path} is not UTF-8: byte 24 (0xc4) cannot be decoded; convert the file to UTF-8, "
        "or give another as dataset.path",
    )


SIX = ["dull mess", "superb joy", "clumsy mess", "moving joy", "tired mess", "clever joy"]


def folder_of(write: Writer, texts: list[str]) -> Path:
    """Texts whose labels take turns: four to train on, the others for dev."""
    for name, part in (("train", texts[:4]), ("dev", texts[4:])):
        rows = [{"id": f"{name} {row}", "text": text, "label": row % 2} for row, text in enumerate(part)]
        path = write(f"reviews/{name}.jsonl", rows)
    return path.parent


def test_more_codes_than_words(tmp_path: Path, tiny_encoder: Path, write: Writer) -> None:
    assert_refused(
        run(tmp_path, tiny_encoder, folder_of(write, SIX), "quantizer.codebook_size=7"),
        tmp_path,
        "quantizer.codebook_size=7, but only 6 training words: set it lower, or use more sentences "
        "(trainer.sentences.concepts)",
    )


def test_activations_that_are_not_finite(tmp_path: Path, model_folder: Path, write: Writer) -> None:
    weights = model_folder / "model.safetensors"
    tensors = load_file(weights)
    tensors["bert.encoder.layer.2.output.dense.bias"][0] = float("nan")
    save_file(tensors, weights, metadata={"format": "pt"})
    longest = "dull " * 9  # runs first
    assert_refused(
        run(tmp_path, model_folder, folder_of(write, [*SIX, longest])),
        tmp_path,
        "layer 4 of tiny has activations that are not finite as float32, first in sentence 'dev 2': the model "
        "itself gives them: check its weights, or try another checkpoint",
    )


@pytest.mark.slow
def test_smallest_cell__six_sentences_one_at_a_time_and_a_text_of_100_000_words(
    tmp_path: Path, base_encoder: Path, write: Writer
) -> None:
    texts = folder_of(write, [*(review(index)[0] for index in range(6)), "dull script " * 50_000])
    one = [f"{section}.batch_size=1" for section in ("trainer", "fine_tuning", "probe")]
    one += [f"{section}.batch_tokens=1" for section in ("activations", "attribution")]
    done = run(tmp_path, base_encoder, texts, "quantizer.codebook_size=2", "quantizer.top_k=1", *one)
    assert done.code == 0, done.err[-3000:]
    cell = json.loads((tmp_path / "run" / "metrics.json").read_text(encoding="utf-8"))["cell"]
    parts = ("train", "validation", "evaluation", "refit")
    assert [cell["sentences"][part] for part in parts] == [2, 2, 3, 2]
    assert cell["words"]["truncated"] == 100_000 - 62
    assert (tmp_path / "run" / "report.html").is_file()
