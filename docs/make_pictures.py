"""Take the README's picture: ``python docs/make_pictures.py DEMO/reports`` in a tested checkout."""

import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from tests.browser import browser, file_url  # noqa: E402  - the checkout's own, found above

PICTURES = ROOT / "docs" / "images"


def main(reports: Path) -> None:
    """Photograph the top of the experiment's page."""
    PICTURES.mkdir(exist_ok=True)
    with browser(940, 1540) as context:
        page = context.new_page()
        page.goto(file_url(next(reports.glob("experiment-*.html"))))
        page.screenshot(path=PICTURES / "report.png")


if __name__ == "__main__":
    main(Path(sys.argv[1]))
