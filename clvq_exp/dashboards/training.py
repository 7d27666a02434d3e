"""The dashboard of the training curves of all methods."""

from __future__ import annotations

from clvq_exp.dashboards.panels import GROUP, Dashboard, Line, Section, Setting
from clvq_exp.report.run_logger import TRAINING as JOB

TRAINING = Dashboard(
    "training",
    "Training of the concept models",
    (
        Section(
            "Losses",
            (
                Line("Loss, validation", ("validation_loss",)),
                Line("Loss, training", ("train_loss",)),
                Line("Reconstruction", ("train_reconstruction", "validation_reconstruction")),
                Line("Commitment", ("train_commitment", "validation_commitment")),
                Line("Sparsity penalty", ("train_sparsity", "validation_sparsity")),
            ),
        ),
        Section(
            "Codebook",
            (
                Line("Perplexity", ("perplexity",)),
                Line("Codes in use", ("codes_in_use",)),
                Line("Revived codes", ("revived_codes",)),
                Line("Alpha", ("alpha",)),
            ),
        ),
        Section(
            "Neurons",
            (
                Line("Active neurons of a word (l0)", ("l0",)),
                Line("Dead neurons", ("dead_neurons",)),
                Line("Variance explained", ("variance_explained",)),
            ),
        ),
        Section("Optimizer", (Line("Learning rate", ("learning_rate",)),)),
    ),
    job_type=JOB,
    grouped_by=(GROUP, Setting("run.method")),
    columns=(
        Setting("run.method"),
        Setting("run.layers"),
        "validation_loss.min",
        "perplexity",
        "codes_in_use",
        "alpha",
        "l0",
        "dead_neurons",
    ),
)
