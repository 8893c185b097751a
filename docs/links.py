"""Every link of a built site: inside, it must lead somewhere; nothing is loaded from outside."""

from __future__ import annotations

from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

LOADED = {("script", "src"), ("img", "src"), ("iframe", "src"), ("source", "src")}
SHEETS = {"stylesheet", "preload", "preconnect", "dns-prefetch"}


class _Page(HTMLParser):
    """Anchors, links, and what the browser loads without being asked."""

    def __init__(self) -> None:
        super().__init__()
        self.anchors: set[str] = set()
        self.links: list[str] = []
        self.loads: list[str] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = {name: value or "" for name, value in attrs}
        self.anchors |= {given[name] for name in ("id", "name") if name in given}
        if tag == "a" and "href" in given:
            self.links.append(given["href"])
        if tag == "link" and SHEETS & set(given.get("rel", "").split()):
            self.loads.append(given.get("href", ""))
        self.loads += [given[name] for of, name in LOADED if of == tag and name in given]


def problems(site: Path) -> list[str]:
    """One sentence for each link that leads nowhere and each thing loaded from another host."""
    pages = {path.resolve(): _parse(path) for path in site.rglob("*.html")}
    out = []
    for path, page in pages.items():
        name = path.relative_to(site.resolve())
        for load in page.loads:
            if urlsplit(load).netloc:
                out.append(f"{name} loads {load}")
            elif not load.startswith("data:") and not (path.parent / _path(load)).exists():
                out.append(f"{name} loads {load}, which is not there")
        for link in page.links:
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = (path.parent / _path(link)).resolve() if parts.path else path
            target = target / "index.html" if target.is_dir() else target
            if not target.exists():
                out.append(f"{name} links to {link}, which is not there")
            elif (
                parts.fragment
                and target in pages
                and unquote(parts.fragment) not in pages[target].anchors
            ):
                out.append(f"{name} links to {link}: no such heading")
    return sorted(set(out))


def _path(link: str) -> str:
    return unquote(urlsplit(link).path)


def _parse(path: Path) -> _Page:
    page = _Page()
    page.feed(path.read_text(encoding="utf-8"))
    return page
