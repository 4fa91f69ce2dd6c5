"""The browser that other tests look through."""

from __future__ import annotations

from pathlib import Path

from tests import browser


def test_a_page_is_rendered(tmp_path: Path) -> None:
    with browser.opened(tmp_path / "browser") as page:
        page.set_content("<p id=a></p><script>document.getElementById('a').textContent = 6 * 7</script>")
        assert page.inner_text("#a") == "42"
