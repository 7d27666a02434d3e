"""What an answer of a judge has to look like."""

from __future__ import annotations

import pytest

from clvq_exp.judging.schema import read_answer

GOOD = '{"Config_A": {"rating": 3, "reason": "r"}, "Config_B": {"rating": 1, "reason": ""}}'
NAMES = ("Config_A", "Config_B")


@pytest.mark.parametrize("text", [GOOD, f"```json\n{GOOD}\n```", f"```\n{GOOD}\n```", f"\n  {GOOD}\n"])
def test_answer__that_fits(text: str) -> None:
    found = read_answer(text, NAMES).ratings
    assert found is not None
    assert {name: (each.rating, each.reason) for name, each in found.items()} == {
        "Config_A": (3, "r"),
        "Config_B": (1, ""),
    }


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("", "not one valid JSON object"),
        (GOOD[:40], "not one valid JSON object"),
        (f"Sure! {GOOD}", "not one valid JSON object"),
        (f"{GOOD}\nI hope this helps.", "not one valid JSON object"),
        (f"{GOOD}{GOOD}", "not one valid JSON object"),
        (f"[{GOOD}]", "no object"),
        ("3", "no object"),
        ('{"Config_A": {"rating": 3, "reason": "r"}}', "exactly Config_A, Config_B"),
        (GOOD.replace("Config_B", "Config_C"), "exactly Config_A, Config_B"),
        (GOOD.replace("}}", '}, "Config_C": {"rating": 1, "reason": ""}}'), "exactly Config_A, Config_B"),
        (GOOD.replace("Config_B", "Config_A"), "twice"),
        (GOOD.replace('"rating": 3', '"rating": 4'), "Config_A.rating"),
        (GOOD.replace('"rating": 3', '"rating": 0'), "Config_A.rating"),
        (GOOD.replace('"rating": 3', '"rating": "3"'), "Config_A.rating"),
        (GOOD.replace('"rating": 3', '"rating": 2.5'), "Config_A.rating"),
        (GOOD.replace('"rating": 3', '"rating": true'), "Config_A.rating"),
        (GOOD.replace('"rating": 3', '"rating": NaN'), "NaN is no JSON"),
        (GOOD.replace('"rating": 3', '"score": 3'), "Config_A.rating"),
        (GOOD.replace('"reason": "r"', '"reason": null'), "Config_A.reason"),
        ('{"Config_A": 3, "Config_B": 1}', "Config_A"),
        ("[" * 100_000, "not one valid JSON object"),
    ],
)
def test_answer__that_does_not(text: str, said: str) -> None:
    found = read_answer(text, NAMES)
    assert found.ratings is None
    assert said in found.problem
