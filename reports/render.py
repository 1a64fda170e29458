"""From page models to HTML: one template, one style sheet, no script, nothing from elsewhere."""

from __future__ import annotations

import base64
import hashlib
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import jinja2

    from reports.pages.model import Page

TEMPLATES = Path(__file__).resolve().parent / "templates"


def render(page: Page) -> str:
    """The finished page; the same model gives the same bytes."""
    from markupsafe import Markup

    sheet = style_sheet()
    return _environment().get_template("page.html.j2").render(
        page=page, css=Markup(sheet), policy=policy(sheet)  # noqa: S704 - our own file
    )  # fmt: skip


@cache
def style_sheet() -> str:
    """The style sheet without comments and line breaks."""
    lines = (TEMPLATES / "style.css").read_text(encoding="utf-8").splitlines()
    kept = (line.strip() for line in lines if not line.lstrip().startswith("/*"))
    return "".join(line for line in kept if line)


def policy(sheet: str) -> str:
    """The content security policy: this style sheet and nothing else."""
    digest = base64.b64encode(hashlib.sha256(sheet.encode()).digest()).decode()
    return (
        f"default-src 'none'; style-src 'sha256-{digest}'; img-src data:; base-uri 'none'; "
        "form-action 'none'"
    )


@cache
def _environment() -> jinja2.Environment:
    import jinja2

    return jinja2.Environment(
        loader=jinja2.FileSystemLoader(TEMPLATES),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
