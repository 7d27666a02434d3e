"""The typed arguments of every room: plain dataclasses, standard library only.

`config.py` composes them into the schema of the whole configuration, so each knob is written down once:
here, with its unit and the paper's symbol. Rooms take these objects and never see Hydra or OmegaConf.
"""

from clvq_exp.settings.method import (
    AlphaMode,
    DecoderMemory,
    DecoderSettings,
    EmaStart,
    EncoderSettings,
    InitMethod,
    InitSettings,
    QuantizerSettings,
    TargetLayer,
)
from clvq_exp.settings.run import (
    ActivationSettings,
    AttributionSettings,
    EvaluationSettings,
    LoggerSettings,
    ProbeSettings,
    ProtocolSettings,
    SentenceBudget,
    Split,
    StoreDtype,
    SubWord,
    TrainerSettings,
    WeightDecayOn,
)
from clvq_exp.settings.subject import (
    DatasetSettings,
    FineTune,
    FineTuningSettings,
    LabelTokens,
    LastLayer,
    LayerPair,
    ModelKind,
    ModelSettings,
    NumberFormat,
    OriginalForm,
    SentencePooling,
)

__all__ = [
    "ActivationSettings",
    "AlphaMode",
    "AttributionSettings",
    "DatasetSettings",
    "DecoderMemory",
    "DecoderSettings",
    "EmaStart",
    "EncoderSettings",
    "EvaluationSettings",
    "FineTune",
    "FineTuningSettings",
    "InitMethod",
    "InitSettings",
    "LabelTokens",
    "LastLayer",
    "LayerPair",
    "LoggerSettings",
    "ModelKind",
    "ModelSettings",
    "NumberFormat",
    "OriginalForm",
    "ProbeSettings",
    "ProtocolSettings",
    "QuantizerSettings",
    "SentenceBudget",
    "SentencePooling",
    "Split",
    "StoreDtype",
    "SubWord",
    "TargetLayer",
    "TrainerSettings",
    "WeightDecayOn",
]
