"""The paper's tables: what each sweeps, which figures it holds, and which sweep file fills it."""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum

from clvq_exp.collect.units import CODEBOOK_METHODS

METHOD = "method"
LAYER_PAIR = "layer_pair"
"""Swept beside keys of the configuration."""

_GRID = ("model", "dataset")
_ALPHA = ("encoder.alpha_mode", "encoder.alpha")
_SAMPLING = ("quantizer.temperature", "quantizer.top_k")
_TABLE1 = ("clvq_vae", "single_layer", "clustering", "sae_2048", "sae_4096")
_STARTS = ("clvq_vae", "clvq_vae_random", "clvq_vae_spherical_kmeans")
_TOP = ("encoder_top_1", "encoder_top_5", "encoder_top_10")
_REMOVALS = ("concept", "member_mean", *_TOP)


class RowsOf(Enum):
    """What a row of a table is."""

    methods = "methods"  # a method of a run
    pairs = "pairs"  # two methods of a run
    cells = "cells"  # model, data set and layers
    datasets = "datasets"
    hyperparameters = "hyperparameters"
    elsewhere = "elsewhere"  # no run holds these figures


@dataclass(frozen=True)
class TableSpec:
    """A table of the paper."""

    key: str
    title: str
    figures: tuple[str, ...]
    """In the order of the columns; a key of `MEASURES` each."""
    rows: RowsOf = RowsOf.methods
    swept: tuple[str, ...] = ()
    """Keys of the configuration in which the rows differ, `method`, or `layer_pair`; none: of the whole grid."""
    methods: tuple[str, ...] = ()
    """Where methods are swept: a run is of the table as soon as two of these stand there."""
    kinds: frozenset[str] = frozenset()
    """Classes of the methods; any where empty."""
    removals: tuple[str, ...] = ("concept",)
    reference: tuple[str, ...] = ()
    """Figures of cells in rows of their own beside those of the methods."""
    reads: tuple[str, ...] = ()
    """Keys, or beginnings of keys, that these figures hang on beside what all do."""
    sweep: str = ""
    """File in `multirun_sweeps/` that fills it; none where no sweep does."""
    overrides: tuple[str, ...] = ()
    """What picks one row of that sweep."""
    on_grid: bool = False
    """Whether every cell of Table 10 belongs to it, without figures of its own in `paper_figures.csv`."""
    remark: str = ""
    """Said below the title."""
    of_paper: bool = True
    """Whether the paper has such a table; otherwise its figures stand side by side, a row of ours in one line."""

    @property
    def swept_settings(self) -> tuple[str, ...]:
        """The swept keys of the configuration."""
        return tuple(key for key in self.swept if key not in (METHOD, LAYER_PAIR))


_JUDGES = "Of judges and people: no run folder holds these figures, so the paper's stand alone."
_BEYOND = "The paper has no such table."
_REVISION = "The list of the revision's changes prints no figures of this table."

TABLES: tuple[TableSpec, ...] = (
    TableSpec(
        "v1_table01",
        "Table 1: accuracy after removal, methods",
        ("perturbed", "drop_percent", "specific_drop_percent"),
        swept=(METHOD,),
        methods=_TABLE1,
        sweep="table01_methods",
        overrides=_GRID,
    ),
    TableSpec(
        "v1_table02",
        "Table 2: judges' ratings, methods",
        ("rating", "reciprocal_rank", "win_percent"),
        RowsOf.elsewhere,
        remark=_JUDGES,
    ),
    TableSpec(
        "v1_table03",
        "Table 3: agreement of the judges, methods",
        ("kendall_w",),
        RowsOf.elsewhere,
        remark=_JUDGES,
    ),
    TableSpec(
        "v1_table04",
        "Table 4: people",
        ("fleiss_kappa", "confidence", "alignment_percent"),
        RowsOf.elsewhere,
        remark=_JUDGES,
    ),
    TableSpec(
        "v1_table05",
        "Table 5: accuracy after removal, starts of the codebook",
        ("perturbed", "drop_percent", "specific_drop_percent"),
        swept=(METHOD,),
        methods=_STARTS,
        sweep="table05_initialisations",
        overrides=_GRID,
        kinds=CODEBOOK_METHODS,
    ),
    TableSpec(
        "v1_table06",
        "Table 6: judges' ratings, starts of the codebook",
        ("rating", "reciprocal_rank", "win_percent"),
        RowsOf.elsewhere,
        remark=_JUDGES,
    ),
    TableSpec(
        "v1_table07",
        "Table 7: agreement of the judges, starts of the codebook",
        ("kendall_w",),
        RowsOf.elsewhere,
        remark=_JUDGES,
    ),
    TableSpec(
        "v1_table08",
        "Table 8: size K of the codebook",
        ("perturbed", "perplexity", "utilisation_percent", "specific_drop_percent"),
        swept=("quantizer.codebook_size",),
        sweep="table08_codebook_size",
        overrides=("quantizer.codebook_size",),
    ),
    TableSpec(
        "v1_table09",
        "Table 9: sizes of the data sets",
        ("train_sentences", "dev_sentences", "labels"),
        RowsOf.datasets,
        sweep="table01_methods",
        overrides=("dataset",),
    ),
    TableSpec(
        "v1_table10",
        "Table 10: accuracy before removal and with a random direction removed",
        ("original", "random_direction"),
        RowsOf.cells,
        sweep="table01_methods",
        overrides=_GRID,
    ),
    TableSpec(
        "v1_table11",
        "Table 11: hyper-parameters",
        ("value",),
        RowsOf.hyperparameters,
        remark="Ours are the settings of the given runs of CLVQ-VAE.",
    ),
    TableSpec(
        "v1_table12",
        "Table 12: strategies of alpha",
        (
            "perplexity_before",
            "perplexity_epoch_10",
            "perplexity_epoch_30",
            "perplexity_final",
            "best_validation_loss",
        ),
        swept=_ALPHA,
        sweep="table12_alpha",
        overrides=("encoder",),
        kinds=frozenset(["ClvqVae"]),
    ),
    TableSpec(
        "v1_table13",
        "Table 13: weight beta of the commitment loss",
        ("perplexity",),
        swept=("quantizer.commitment_weight",),
        sweep="table13_commitment",
        overrides=("dataset", "quantizer.commitment_weight"),
        kinds=CODEBOOK_METHODS,
    ),
    TableSpec(
        "v1_table14",
        "Table 14: temperature tau and top-k of the sampling, perplexity",
        ("perplexity",),
        swept=_SAMPLING,
        sweep="table14_sampling",
        overrides=("quantizer",),
        kinds=CODEBOOK_METHODS,
    ),
    TableSpec(
        "v1_table15",
        "Table 15: top-k and temperature tau of the sampling, accuracy after removal",
        ("perturbed", "specific_drop_percent"),
        swept=_SAMPLING,
        reference=("original", "random_direction"),
        sweep="table15_sampling_faithfulness",
        overrides=("quantizer",),
        kinds=CODEBOOK_METHODS,
    ),
    TableSpec(
        "v1_table16",
        "Table 16: layer pairs",
        ("perturbed", "original", "random_direction", "specific_drop_percent"),
        swept=(LAYER_PAIR,),
        sweep="table16_layer_pairs",
        overrides=(*_GRID, LAYER_PAIR),
    ),
    TableSpec(
        "v2_table10",
        "Revision, Table 10: removing what the top neurons of sparse autoencoders read",
        ("perturbed", "drop_percent", "specific_drop_percent"),
        kinds=frozenset(["SparseAutoencoder"]),
        removals=_TOP,
        sweep="v2_table10_sae_subspaces",
        overrides=_GRID,
        on_grid=True,
        remark=_REVISION,
    ),
    TableSpec(
        "v2_table12",
        "Revision, Table 12: the sparse transcoder",
        ("perturbed", "drop_percent", "specific_drop_percent"),
        kinds=frozenset(["SparseTranscoder"]),
        removals=(*_TOP, "concept"),
        sweep="v2_table12_transcoder",
        overrides=_GRID,
        on_grid=True,
        remark=_REVISION,
    ),
    TableSpec(
        "v2_table13",
        "Revision, Table 13: a random active code in place of the salient word's",
        ("perturbed", "random_active_code", "random_active_code_norm_matched"),
        kinds=CODEBOOK_METHODS,
        sweep="v2_table13_random_active_code",
        overrides=_GRID,
        on_grid=True,
        remark=_REVISION,
    ),
    TableSpec(
        "v2_figure02",
        "Revision, Figure 2: how much of what a code holds stands under one label",
        ("purity", "purity_shuffled", "pure_share_percent"),
        kinds=CODEBOOK_METHODS,
        reads=("specificity.",),
        sweep="table01_methods",
        overrides=_GRID,
        on_grid=True,
    ),
    TableSpec(
        "v2_table17",
        "Revision, Table 17: specificity of the codes",
        (
            "differing_percent",
            "divergence",
            *(f"overlap_ratio_{which}" for which in ("below_0.1", "below_0.3", "at_least_0.1", "at_least_0.3")),
        ),
        kinds=CODEBOOK_METHODS,
        reads=("specificity.",),
        sweep="table01_methods",
        overrides=_GRID,
        on_grid=True,
    ),
    TableSpec(
        "controls",
        "Beyond the paper: what every removal and its controls leave of the probe",
        (
            *("original", "perturbed", "drop_percent", "specific_drop_percent"),
            *("random_direction", "random_direction_norm_matched"),
            *("random_active_code", "random_active_code_norm_matched"),
            *("mean_direction", "centred_concept", "own_code", "other_word", "class_means"),
            *("refit", "refit_original"),
        ),
        removals=_REMOVALS,
        remark=_BEYOND,
        of_paper=False,
    ),
    TableSpec(
        "live_model",
        "Beyond the paper: predictions of the live model without the concept",
        (
            *("live_original", "live_perturbed"),
            *("flips_all_words", "flips_all_words_other_word", "flips_all_words_mean_direction"),
            *("flips_all_words_random_direction", "flips_salient_word", "flips_salient_word_other_word"),
            *("flips_sentence_token", "flips_sentence_token_other_word"),
        ),
        removals=_REMOVALS,
        remark=_BEYOND,
        of_paper=False,
    ),
    TableSpec(
        "concepts",
        "Beyond the paper: the concepts themselves, and how much of the upper layer they hold",
        (
            *("concepts_in_use", "perplexity", "mean_cosine"),
            *("purity", "purity_within_words", "pure_share_percent"),
            *("differing_percent", "differing_within_words_percent", "divergence", "divergence_within_words"),
            *("agreement", "matched_cosine", "matched_noise"),
            *("variance_percent", "variance_alone_percent", "variance_of_means_percent", "permuted_percent"),
        ),
        reads=("specificity.",),
        remark=f"{_BEYOND} Stability is between seeds; noise is what random vectors match. The target of the "
        "single-layer model and of sparse autoencoders is the lower layer.",
        of_paper=False,
    ),
    TableSpec(
        "differences",
        "Beyond the paper: differences of methods in accuracy after removal",
        ("difference", "p_value", "p_holm", "cohens_h"),
        RowsOf.pairs,
        removals=_REMOVALS,
        remark=f"{_BEYOND} Intervals resample sentences and seeds; tests flip the signs of whole documents, for "
        "the seeds that there are, so an interval may hold 0 where a p-value is small. Holm's correction is over "
        "all pairs of a run.",
        of_paper=False,
    ),
)
"""In the order of the paper, its revision last, then what the paper has no table of."""

KEYS = tuple(table.key for table in TABLES)
