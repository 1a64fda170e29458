"""A real Chromium for tests: found or installed, headless, with a fresh profile and no network."""

import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from tests.components import CHROMIUM, require

if TYPE_CHECKING:
    from playwright.sync_api import BrowserContext

FLAGS = (
    "--headless",
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


@contextmanager
def browser(
    width: int = 1280,
    height: int = 900,
    *,
    scheme: Literal["light", "dark"] = "light",
    scale: float = 1,
) -> "Iterator[BrowserContext]":
    """Open Chromium at a size; requests to anything but files and data are refused."""
    from playwright.sync_api import sync_playwright

    program = require(CHROMIUM)
    with (
        tempfile.TemporaryDirectory(prefix="chromium-") as profile,
        sync_playwright() as playwright,
    ):
        context = playwright.chromium.launch_persistent_context(
            profile,
            executable_path=str(program),
            args=list(FLAGS),
            headless=True,
            viewport={"width": width, "height": height},
            device_scale_factor=scale,
            color_scheme=scheme,
            offline=True,
        )
        try:
            yield context
        finally:
            context.close()


def file_url(path: Path) -> str:
    return path.resolve().as_uri()
