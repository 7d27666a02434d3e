"""Layer Integrated Gradients to a given convergence delta, beside captum sentence by sentence at 50 steps.

    python benchmarks/attribution.py --texts FOLDER_OR_FILE

The encoder is the embedded one, fine-tuned on some of the texts. captum explains one sentence after another, all
its steps in one pass. Ours goes in batches and gives each sentence as many steps as it needs for a delta of at
most 1% of the logit's change. The salient word is compared, and the share of sentences above the tolerance is
given for both.
"""

from __future__ import annotations

import argparse
import shutil
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
from subjects import LABELS, model_folder, sentences
from turns import Row, Side, arguments, finish, in_turn, seconds, versions, worker

STEPS = 50
TOLERANCE = 0.01
WANTED = 2.0
Repeat = Callable[[], "dict[str, Any]"]


def fine_tuned(given: argparse.Namespace) -> Path:
    """The embedded encoder after an epoch on other sentences, made once."""
    import torch

    from clvq_exp.language_models.fine_tuning import MODEL_FOLDER, fine_tune
    from clvq_exp.settings import FineTuningSettings, ModelKind, ModelSettings

    made = given.models / f"fine_tuned-{given.train}"
    if not made.is_dir():
        source = model_folder("minilm", given.models)
        working = given.models / "fine_tuned.part"
        shutil.rmtree(working, ignore_errors=True)
        working.mkdir()
        model = ModelSettings(name="minilm", kind=ModelKind.encoder, path=str(source))
        rows = sentences(given.texts, given.train)
        settings = FineTuningSettings(epochs=1)
        fine_tune(source, working, model, settings, LABELS, rows, rows[:50], torch.device("cpu"))
        working.rename(made)
    return made / MODEL_FOLDER


def opened(given: argparse.Namespace) -> Any:
    import torch

    from clvq_exp.language_models.prompt import Task
    from clvq_exp.language_models.recipe import ModelRecipe
    from clvq_exp.settings import ModelKind, ModelSettings

    folder = fine_tuned(given)
    settings = ModelSettings(name="minilm", kind=ModelKind.encoder, path=str(folder))
    return ModelRecipe(folder, settings, Task(LABELS, "{text}", LABELS)).open(torch.device("cpu"))


def texts_of(given: argparse.Namespace) -> list[str]:
    return [row.text for row in sentences(given.texts, given.sentences)]


def ours(given: argparse.Namespace) -> Repeat:
    from clvq_exp.composing import compose_cells
    from clvq_exp.explanations.attribution import attribute

    settings = compose_cells(["attribution.adaptive=true"])[0].config.attribution
    model, texts = opened(given), texts_of(given)

    def repeat() -> dict[str, Any]:
        found = attribute(model, texts, settings)
        return {
            "salient": [int(np.argmax(each.words)) for each in found],
            "off": [abs(each.convergence_delta / each.logit_change) for each in found],
            "steps": [each.steps for each in found],
        }

    return repeat


def captum(given: argparse.Namespace) -> Repeat:
    import torch
    from captum.attr import LayerIntegratedGradients

    from clvq_exp.activations.alignment import align

    model, texts = opened(given), texts_of(given)
    method = LayerIntegratedGradients(model.class_logits, model.layer_module(0))

    def repeat() -> dict[str, Any]:
        salient: list[int] = []
        off: list[float] = []
        for text in texts:
            encoded = model.encode([text])
            batch, baseline = model.pad(encoded), model.attribution_baseline(encoded)
            with torch.no_grad():
                logits = model.class_logits(batch.input_ids, batch.attention_mask)
                target = int(logits.argmax())
                at_baseline = model.class_logits(baseline, batch.attention_mask)[0, target]
            scores = method.attribute(
                batch.input_ids,
                baselines=baseline,
                target=target,
                additional_forward_args=(batch.attention_mask,),
                n_steps=STEPS,
            )
            of_tokens = scores.detach().sum(-1)[0].double()
            words = [float(of_tokens[list(word.sub_words)].sum()) for word in align(text, encoded[0]).words]
            salient.append(int(np.argmax(words)))
            change = float(logits[0, target] - at_baseline)
            off.append(abs((float(of_tokens.sum()) - change) / change))
        return {"salient": salient, "off": off, "steps": [STEPS] * len(texts)}

    return repeat


def main() -> None:
    """Entry point."""
    parser = arguments(__doc__)
    parser.add_argument("--texts", help="JSONL file or folder of such (text, label 0 or 1); default: film reviews")
    parser.add_argument("--sentences", type=int, default=200, help="to explain (default 200)")
    parser.add_argument("--train", type=int, default=2000, help="to fine-tune on (default 2000)")
    parser.add_argument("--models", type=Path, help="keeps the models; default: made anew")
    given = parser.parse_args()
    if given.side:
        import torch

        torch.set_num_threads(given.threads)
        worker(lambda: {"ours": ours, "captum": captum}[given.side](given))
        return
    with tempfile.TemporaryDirectory() as folder:
        given.models = given.models or Path(folder)
        fine_tuned(given)
        passed = ["--threads", str(given.threads), "--models", str(given.models), "--train", str(given.train)]
        passed += ["--sentences", str(given.sentences), *(["--texts", given.texts] if given.texts else [])]
        found = in_turn(__file__, passed, [Side("ours"), Side("captum")], given.repetitions)
    finish(rows_of(found["ours"], found["captum"], given.sentences), given.rows)


def rows_of(own: Any, other: Any, n: int) -> list[Row]:
    """Seconds, and what is made of them."""
    above = [float((np.array(side.notes["off"]) > TOLERANCE).mean()) for side in (own, other)]
    same = float((np.array(own.notes["salient"]) == np.array(other.notes["salient"])).mean())
    steps = float(np.mean(own.notes["steps"]))
    what, against = "Layer IG, minilm", f"captum, {STEPS} steps, one by one"
    used = versions("torch", "captum")
    note = (
        f"{steps:.1f} steps in a sentence's last rule on the average; a delta above {TOLERANCE:.0%} remains in "
        f"{above[0]:.1%} of {n} sentences (captum: {above[1]:.1%})"
    )
    return [
        Row(
            f"{what}, a sentence",
            against,
            seconds(own.median / n),
            seconds(other.median / n),
            other.median / own.median,
            WANTED,
            note,
            versions=used,
        ),
        Row(f"{what}: the same salient word", against, f"{same:.1%}", "100%", same, 0.995, versions=used),
        Row(
            f"{what}: sentences within {TOLERANCE:.0%}",
            "all of them",
            f"{1 - above[0]:.1%}",
            "100%",
            1 - above[0],
            1.0,
        ),
    ]


if __name__ == "__main__":
    main()
