"""Fine-tuning an encoder on the data set, by `transformers.Trainer`."""

from __future__ import annotations

import logging
import shutil
from collections.abc import Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import torch
from transformers import TrainerCallback

from clvq_exp.artifacts import folder_checksum, write_json
from clvq_exp.language_models.base import LanguageModelError
from clvq_exp.language_models.loading import load_checkpoint
from clvq_exp.language_models.transformer import length_limit
from clvq_exp.memory import give_back
from clvq_exp.parts import Ledger
from clvq_exp.records import Sentence
from clvq_exp.settings import FineTuningSettings, ModelSettings, NumberFormat

RESULT = "fine_tuning.json"
MODEL_FOLDER = "model"

log = logging.getLogger(__name__)


class _TokenisedSentences(torch.utils.data.Dataset[dict[str, Any]]):
    """Sentences tokenised one at a time."""

    def __init__(self, sentences: Sequence[Sentence], tokenizer: Any, max_length: int) -> None:
        self._sentences = sentences
        self._tokenizer = tokenizer
        self._max_length = max_length

    def __len__(self) -> int:
        return len(self._sentences)

    def __getitem__(self, index: int) -> dict[str, Any]:
        sentence = self._sentences[index]
        encoded = self._tokenizer(sentence.text, truncation=True, max_length=self._max_length)
        return {**encoded, "labels": sentence.label}


def fine_tune(
    folder: Path,
    out: Path,
    model: ModelSettings,
    settings: FineTuningSettings,
    label_names: Sequence[str],
    train: Sequence[Sentence],
    held_out: Sequence[Sentence],
    device: torch.device,
) -> None:
    """Fine-tune the encoder in `folder` and save it below `out`; a killed run goes on behind its last epoch.

    Args:
        folder: a pre-trained encoder.
        out: gets `model/` (by `save_pretrained`) and `fine_tuning.json` (accuracy on `held_out`).
        model: name, length limit, and whether pickles and code of the folder's own are allowed.
        settings: epochs, rate, batch, seed.
        label_names: class names, stored with the model.
        train: sentences to learn from.
        held_out: sentences that accuracy is read on once, at the end.
        device: where to train.

    Raises:
        LanguageModelError: files that are refused, or a loss that is not finite.
    """
    import transformers
    from transformers import Trainer

    transformers.set_seed(settings.seed)  # the new head is drawn here
    network, tokenizer = load_checkpoint(
        folder,
        replace(model, number_format=NumberFormat.float32, device_map=None),
        num_labels=len(label_names),
        id2label=dict(enumerate(label_names)),
        label2id={name: index for index, name in enumerate(label_names)},
        ignore_mismatched_sizes=True,  # a head for other classes is replaced
    )
    tokenizer.truncation_side = "right"
    limit = length_limit(model, network, tokenizer)
    trainer = Trainer(
        model=network,
        args=_arguments(out / "work", settings, len(train), device),
        train_dataset=_TokenisedSentences(train, tokenizer, limit),
        eval_dataset=_TokenisedSentences(held_out, tokenizer, limit),
        data_collator=transformers.DataCollatorWithPadding(tokenizer),
        compute_metrics=_accuracy,
    )
    epochs = _Epochs(out / "work")
    trainer.add_callback(epochs)
    trainer.add_callback(_Memory(device))
    result = trainer.train(resume_from_checkpoint=epochs.last())
    if not np.isfinite(result.training_loss):
        raise LanguageModelError(
            f"fine-tuning of {model.name} diverged (loss {result.training_loss}); lower fine_tuning.learning_rate"
        )
    measured = trainer.evaluate()
    network.save_pretrained(out / MODEL_FOLDER)
    tokenizer.save_pretrained(out / MODEL_FOLDER)
    summary = {
        "accuracy": float(measured["eval_accuracy"]),
        "sentences": len(train),
        "held_out": len(held_out),
        "epochs": settings.epochs,
    }
    shutil.rmtree(out / "work")
    write_json(out / RESULT, summary)
    log.info("fine-tuned %s: accuracy %.4f on %d sentences", model.name, summary["accuracy"], len(held_out))


class _Memory(TrainerCallback):
    """Gives freed memory back after every batch."""

    def __init__(self, device: torch.device) -> None:
        self._device = device

    def on_step_end(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A training step is done."""
        del args, state, control, kwargs
        give_back(self._device)

    def on_prediction_step(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A batch of held-out sentences is done."""
        del args, state, control, kwargs
        give_back(self._device)


class _Epochs(TrainerCallback):
    """The checkpoint of the last epoch, with a checksum: what is half-written or changed is not gone on from."""

    def __init__(self, work: Path) -> None:
        work.mkdir(exist_ok=True)
        self._work = work
        self._ledger = Ledger(work)

    def last(self) -> str | None:
        """The folder to go on from, or None."""
        for folder in sorted(self._work.glob("checkpoint-*"), key=_step, reverse=True):
            if self._ledger.keeps(folder.name, partial(folder_checksum, folder)):
                return str(folder)
        return None

    def on_save(self, args: Any, state: Any, control: Any, **kwargs: Any) -> None:
        """A checkpoint is whole."""
        del args, control, kwargs
        folder = self._work / f"checkpoint-{state.global_step}"
        self._ledger.enter(folder.name, folder_checksum(folder))


def _step(folder: Path) -> int:
    return int(folder.name.rpartition("-")[2])


def _arguments(work: Path, settings: FineTuningSettings, n_train: int, device: torch.device) -> Any:
    from transformers import TrainingArguments

    steps = max(1, -(-n_train // settings.batch_size)) * settings.epochs
    return TrainingArguments(
        output_dir=str(work),
        num_train_epochs=settings.epochs,
        learning_rate=settings.learning_rate,
        per_device_train_batch_size=settings.batch_size,
        per_device_eval_batch_size=2 * settings.batch_size,
        warmup_steps=round(settings.warmup_share * steps),
        weight_decay=settings.weight_decay,
        seed=settings.seed,
        train_sampling_strategy="group_by_length",
        use_cpu=device.type == "cpu",
        save_strategy="epoch",
        save_total_limit=2,  # the one before goes when the next is whole and entered, not when it begins
        report_to="none",
        logging_strategy="no",
        logging_nan_inf_filter=False,  # else a loss of NaN counts as the mean of those before, and nobody sees it
        dataloader_pin_memory=device.type == "cuda",
        disable_tqdm=False,
    )


def _accuracy(prediction: Any) -> dict[str, float]:
    classes = np.argmax(prediction.predictions, axis=-1)
    return {"accuracy": float(np.mean(classes == prediction.label_ids))}
