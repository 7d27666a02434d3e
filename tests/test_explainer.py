"""An explanation of a dev sentence says what the run itself found about it."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
import torch
import transformers
from composing import checked
from explaining import (
    MadeRun,
    held_against_live,
    held_against_salient_words,
    held_against_sentences,
    make_run,
)
from families import make_family
from running import tiny_cell
from safetensors.torch import load_file

from clvq_exp import subject_model
from clvq_exp.artifacts import ArtifactCache
from clvq_exp.explainer import Explainer, SentenceError
from clvq_exp.preflight import Preflight
from clvq_exp.records import LabelledTexts
from clvq_exp.report.explanation import Explanation

METHODS = sorted(path.stem for path in (Path(__file__).parents[1] / "conf" / "baseline").glob("*.yaml"))
SMALL_METHODS = {
    "sae_2048": ["baseline.neurons=48", "baseline.by_kind.encoder.l1=[0.02]"],
    "sae_4096": ["baseline.neurons=64", "baseline.by_kind.encoder.l1=[0.02,0.05]"],
    "transcoder": ["baseline.k=4", "baseline.expansion=2"],
}
QUICK = (
    *("specificity.shuffles=0", "evaluation.bootstrap_samples=100", "evaluation.permutations=100"),
    *("trainer.max_epochs=1", "trainer.sentences.refit=4"),
)
ALONE = ("beside=none", "evaluation.intervention=false", *QUICK)
IN_EVERY_TEST_RUN = ("clustering", "transcoder")


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("explained")


@pytest.fixture(scope="module")
def made(home: Path, tiny_encoder: Path, reviews: Path) -> MadeRun:
    """CLVQ-VAE with two seeds beside k-means codes."""
    overrides = [*tiny_cell(tiny_encoder, reviews), "seeds=[0,1]", *QUICK]
    return make_run(home / "run", home / "cache", *overrides)


@pytest.fixture(scope="module")
def explainer(made: MadeRun) -> Explainer:
    return made.explainer()


@pytest.fixture(scope="module")
def explanations(made: MadeRun, explainer: Explainer) -> list[Explanation]:
    return explainer.explain([row["text"] for row in made.dev()])


# ---------------------------------------------------------------- what the run found


def test_explain__prediction_salient_word_and_code_are_those_of_the_run(
    made: MadeRun, explainer: Explainer, explanations: list[Explanation]
) -> None:
    held_against_salient_words(made, explanations, explainer.by.label_names)


def test_explain__every_word_has_its_attribution_and_code(made: MadeRun, explanations: list[Explanation]) -> None:
    scores = {(row["sentence"], row["position"]): row["attribution"] for row in made.rows("attributions")}
    codes = {
        (row["sentence"], row["position"]): row["code"] for row in made.rows("assignments", seed=0, split="dev")
    }
    for row, found in zip(made.dev(), explanations, strict=True):
        words = {(row["sentence"], word.position): word for word in found.words}
        assert set(words) == {each for each in scores if each[0] == row["sentence"]}
        for key, word in words.items():
            assert word.attribution == pytest.approx(scores[key], abs=1e-4)
            assert word.concept == codes[key]
        assert " ".join(word.text for word in found.words) == f"[CLS] {row['text']}"


def test_explain__the_probe_says_what_it_said_in_the_run(
    made: MadeRun, explainer: Explainer, explanations: list[Explanation]
) -> None:
    held_against_sentences(made, explanations, explainer)
    assert any(found.probe.flips for found in explanations), "or every removal would pass"


def test_explain__the_live_model_does_what_it_did_in_the_run(
    made: MadeRun, explainer: Explainer, explanations: list[Explanation]
) -> None:
    held_against_live(made, explanations, explainer)
    assert any(outcome.flips for found in explanations for outcome in found.live)


def test_explain__another_seed_and_removal_are_those_of_the_run(made: MadeRun) -> None:
    explainer = made.explainer(seed=1, removal="member_mean")
    found = explainer.explain([row["text"] for row in made.dev()])
    held_against_sentences(made, found, explainer)
    held_against_live(made, found, explainer, seed_row=1)
    codes = {row["sentence"]: row for row in made.rows("assignments", seed=1, split="dev")}
    assert set(codes) == {row["sentence"] for row in made.dev()}


def test_explain__a_seed_that_the_run_does_not_have(made: MadeRun) -> None:
    with pytest.raises(ValueError, match=r"seed 7: the run in .* has 0, 1"):
        made.explainer(seed=7)


def test_explain__a_removal_that_the_method_does_not_offer(made: MadeRun) -> None:
    with pytest.raises(
        ValueError, match="removal encoder_top_5: the method of the run offers concept, member_mean"
    ):
        made.explainer(removal="encoder_top_5")


def test_explain__a_device_that_is_not_there(made: MadeRun) -> None:
    with pytest.raises(ValueError, match="device abacus: "):
        made.explainer(device="abacus")


# ---------------------------------------------------------------- every method, protocol and kind of model


@pytest.mark.parametrize(
    "method",
    [name if name in IN_EVERY_TEST_RUN else pytest.param(name, marks=pytest.mark.slow) for name in METHODS],
)
def test_explain__of_every_method(
    method: str, home: Path, tiny_encoder: Path, reviews: Path, made: MadeRun
) -> None:
    overrides = [*tiny_cell(tiny_encoder, reviews), *ALONE, f"baseline={method}", *SMALL_METHODS.get(method, ())]
    run = make_run(home / method, made.cache, *overrides)
    explainer = run.explainer()
    found = explainer.explain([row["text"] for row in run.dev()])
    # A word that has no neuron has the code -1 in the tables, and none here.
    codes = [-1 if each.salient.concept is None else each.salient.concept for each in found]
    assert codes == [row["code"] for row in run.dev()]
    assert [each.concept.code if each.concept else -1 for each in found] == codes
    held_against_sentences(run, found, explainer)
    sparse = method in SMALL_METHODS
    assert explainer.by.removal == ("encoder_top_10" if sparse else "concept")
    for each in found:
        assert len(each.removed) <= (10 if sparse else 1)
        assert each.removed[:1] == (() if each.concept is None else (each.concept.code,))


def test_explain__protocol_reference_reads_the_mean_of_the_probes_of_all_folds(
    home: Path, tiny_encoder: Path, reviews: Path, made: MadeRun
) -> None:
    overrides = [*tiny_cell(tiny_encoder, reviews), *ALONE, "protocol=reference", "probe.folds=3"]
    run = make_run(home / "reference", made.cache, *overrides)
    explainer = run.explainer()
    assert explainer.by.probes == 3
    found = explainer.explain([row["text"] for row in run.dev()])
    held_against_salient_words(run, found, explainer.by.label_names)
    assert explainer.by.attribution_unit == "share"
    assert found[0].probe.before.probabilities == pytest.approx(
        mean_of_probes(run.folder, tiny_encoder, found[0].text), abs=1e-5
    )


def mean_of_probes(folder: Path, encoder: Path, text: str) -> list[float]:
    """The mean over three probes of what each makes of [CLS] at layer 2, by hand."""
    tokenizer: Any = transformers.AutoTokenizer.from_pretrained(encoder)
    network: Any = transformers.AutoModel.from_pretrained(encoder).eval()
    with torch.no_grad():
        h = network(**tokenizer(text, return_tensors="pt"), output_hidden_states=True).hidden_states[2][:, 0]
    tensors = load_file(folder / "probe.safetensors")
    found = []
    for fold in range(3):
        first, last = (
            [tensors[f"seed_0.probes.{fold}.layers.{layer}.{kind}"] for kind in ("weight", "bias")]
            for layer in (0, 3)
        )
        hidden = torch.relu(h @ first[0].T + first[1])
        found.append(torch.softmax(hidden @ last[0].T + last[1], 1)[0])
    return torch.stack(found).mean(0).tolist()


def test_explain__of_a_decoder_whose_activations_are_stored_in_half(
    home: Path, tmp_path_factory: pytest.TempPathFactory, reviews: Path
) -> None:
    folder = make_family(tmp_path_factory.mktemp("decoder") / "model", "Llama")
    overrides = [
        *tiny_cell(folder, reviews),
        *("model=decoder", "layer_pair.lower=1", "layer_pair.upper=3", "decoder.heads=2"),
        *("dataset.train_size=40", "dataset.dev_size=8", "activations.dtype=bfloat16", "beside=none"),
        *("attribution.adaptive=false", "quantizer.codebook_size=8", *QUICK),
    ]
    run = make_run(home / "decoder", home / "decoder_cache", *overrides)
    explainer = run.explainer()
    found = explainer.explain([row["text"] for row in run.dev()])
    held_against_salient_words(run, found, explainer.by.label_names)
    held_against_sentences(run, found, explainer)
    held_against_live(run, found, explainer)
    assert [outcome.place for outcome in found[0].live] == ["answer_position", "salient_word", "all_words"]
    assert [word.position for word in found[0].words] == list(range(len(found[0].text.split())))


def test_model_converted_from_gguf__is_found_in_the_cache_by_its_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def converted(_folder: Path, out: Path, _settings: object) -> None:
        (out / "config.json").write_text("{}", encoding="utf-8")

    monkeypatch.setenv("CLVQ_EXP_CACHE", str(tmp_path / "cache"))
    monkeypatch.setattr(subject_model, "convert_gguf", converted)
    config = checked("model=decoder", "layer_pair=4-8", "model.path=weights", "model.gguf_file=tiny.gguf")
    texts = LabelledTexts("reviews", ("rotten", "fresh"), (), (), (), "t" * 16)
    ready = Preflight(texts, tmp_path, "m" * 16, False, "c" * 16, "", None)
    made = subject_model.make_subject_model(config, ready, ArtifactCache(), torch.device("cpu"))
    assert made.recipe.folder == tmp_path / "cache" / str(made.artifact)
    assert made.recipe.settings.gguf_file is None
    assert subject_model.find_subject_model(config, {"artifact": made.artifact}) == made


# ---------------------------------------------------------------- sentences of one's own


def test_explain__several_at_once_are_each_one_alone_in_their_order(
    explainer: Explainer, capfd: pytest.CaptureFixture[str]
) -> None:
    texts = ["The plot is a mess.", "superb", "The plot is a mess.", "Music and pacing, all of it first-rate " * 3]
    together = explainer.explain(texts)
    assert [each.text for each in together] == texts
    assert together == [explainer.explain([text])[0] for text in texts]
    assert together == explainer.explain(texts[::-1])[::-1]
    assert together[0] == together[2]
    assert "4/4" in capfd.readouterr().err


def test_explain__no_sentence_gives_no_explanation(explainer: Explainer) -> None:
    assert explainer.explain([]) == []


@pytest.mark.parametrize("text", ["", "   ", "\n\t "])
def test_explain__a_sentence_without_a_word(explainer: Explainer, text: str) -> None:
    with pytest.raises(SentenceError, match="sentence 2 is empty"):
        explainer.explain(["good", text])


def test_explain__half_a_character(explainer: Explainer) -> None:
    with pytest.raises(SentenceError, match=r"sentence 1 holds half a character, its 4\.: give UTF-8"):
        explainer.explain(["bad\udc80"])


def test_explain__one_string_in_place_of_a_list(explainer: Explainer) -> None:
    with pytest.raises(SentenceError, match="a list of sentences"):
        explainer.explain("The plot is a mess.")


def test_explain__what_is_cut_off_is_said_and_has_no_attribution(explainer: Explainer) -> None:
    (found,) = explainer.explain(["plot " * 70])  # 64 sub-words at most, two of them special
    assert found.truncated == 8
    assert [word.attribution is None for word in found.words] == [False] * 63 + [True] * 8
    assert found.notes == ("the sentence is longer than the model reads: its last 8 words were cut off",)
    (whole,) = explainer.explain(["plot " * 62])
    assert whole.words == found.words[:63]
    assert whole.notes == ()


def test_explain__a_word_of_ten_thousand_characters(explainer: Explainer) -> None:
    (found,) = explainer.explain(["a" * 10_000 + " dull"])
    assert [word.text for word in found.words] == ["[CLS]", "a" * 10_000, "dull"]
    assert all(word.attribution is not None for word in found.words), "one unknown sub-word stands for it"


def test_explain__what_looks_like_markup_or_acts_is_text(explainer: Explainer) -> None:
    (found,) = explainer.explain(["<script>alert(1)</script> \x1b[31mdull\x07 \x00 [SEP] \u202e"])
    texts = ["[CLS]", "<script>alert(1)</script>", "\x1b[31mdull\x07", "\x00", "[SEP]", "\u202e"]
    assert [word.text for word in found.words] == texts
    assert [word.text for word in found.words if word.attribution is None] == ["\x00", "\u202e"]
    assert found.vanished == 2
    assert found.notes == ("2 words are dropped by the model's tokenizer",)


def test_explain__a_sentence_of_which_the_tokenizer_keeps_nothing_is_its_sentence_token(
    explainer: Explainer,
) -> None:
    (found,) = explainer.explain(["\x00"])
    assert found.salient.text == "[CLS]"
    assert found.salient.concept is not None
    assert found.vanished == 1
