"""A judge that runs in this process: a small decoder with random weights, and a real one."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from judging.judged_runs import make_run, sentences

from clvq_exp.commands import main
from clvq_exp.judging.asking import Asking
from clvq_exp.judging.evaluation import open_speakers, prepare
from clvq_exp.judging.ledger import Ledger
from clvq_exp.judging.local_model import LocalModel
from clvq_exp.judging.records import JudgingError
from clvq_exp.judging.settings import Judge, Panel, Plan
from clvq_exp.judging.speakers import StoppedError
