"""What makes a page one file that opens from a disk and runs no script but its own."""

from __future__ import annotations

import base64
import hashlib
import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

from clvq_exp.report.text_safety import visible

if TYPE_CHECKING:
    from jinja2 import Environment


def trusted(text: str) -> Any:
    """Text that a template takes as it stands."""
    from markupsafe import Markup

    return Markup(text)


def escaping_templates(folder: Path) -> Environment:
    """Jinja that escapes every text it prints, and shows what would act in it.

    Args:
        folder: where the templates are.
    """
    from jinja2 import Environment, FileSystemLoader, StrictUndefined
    from markupsafe import Markup

    def finalize(value: object) -> object:
        return visible(value) if isinstance(value, str) and not isinstance(value, Markup) else value

    return Environment(
        loader=FileSystemLoader(folder),
        autoescape=True,
        finalize=finalize,
        undefined=StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )


def plotly_script() -> str:
    """The plot library, as the browser reads it before it hashes it."""
    from plotly.offline import get_plotlyjs

    script: str = get_plotlyjs()
    return script.replace("\r\n", "\n").replace("\r", "\n")


def script_hash(script: str) -> str:
    """The script's name in the page's security policy: no other script runs on the page."""
    return "sha256-" + base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()


def embedded_json(value: object) -> str:
    """JSON that cannot end the script element that it stands in."""
    text = json.dumps(value, allow_nan=False, ensure_ascii=True, separators=(",", ":"))
    return text.replace("<", "\\u003c").replace(">", "\\u003e").replace("&", "\\u0026")
