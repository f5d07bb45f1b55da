"""Links of the site: all lead to pages that are built, and nothing loads from elsewhere."""

import re
from collections.abc import Iterator
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

_OUTER = re.compile(r"\[([^\]]+)\]\(\s*\.\./([^)\s]+)\s*\)")
_FETCHING = re.compile(rb"""(?:url\(|@import\s*)["']?(?:https?:)?//[^)"'\s]+""")
_FOLLOWED = ("canonical", "next", "prev")


def without_outer_links(text: str) -> str:
    """A guide whose links to files of the repository are its words and their path."""
    return _OUTER.sub(lambda found: f"{found[1]} (`{found[2]}`)", text)


def outside_links(site: Path) -> list[str]:
    """What a browser would load from another place, as `page: address`."""
    found = []
    for path, tag, address in _addresses(site):
        if tag != "a" and re.match(r"(https?:)?//", address):
            found.append(f"{path.relative_to(site)}: {address}")
    for path in sorted(site.rglob("*.css")):
        fetched = _FETCHING.findall(path.read_bytes())
        found += [f"{path.relative_to(site)}: {each.decode()}" for each in fetched]
    return found


def broken_links(site: Path) -> list[str]:
    """Links and pictures of which the site has no file, as `page: address`.

    The page for addresses that are none is left out: its links are those of a server's root.
    """
    found = []
    for path, _, address in _addresses(site):
        parts = urlsplit(address)
        if parts.scheme or parts.netloc or not parts.path or path.name == "404.html":
            continue
        target = (path.parent / unquote(parts.path)).resolve()
        if not (target.is_file() or (target / "index.html").is_file()):
            found.append(f"{path.relative_to(site)}: {address}")
    return found


def _addresses(site: Path) -> Iterator[tuple[Path, str, str]]:
    """Page, tag and address of everything that a page links to or loads."""
    for path in sorted(site.rglob("*.html")):
        reader = _Reader()
        reader.feed(path.read_text(encoding="utf-8"))
        for tag, address in reader.found:
            yield path, tag, address


class _Reader(HTMLParser):
    """Addresses of a page with the tags that have them."""

    def __init__(self) -> None:
        super().__init__()
        self.found: list[tuple[str, str]] = []

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        given = dict(attrs)
        address = given.get("href" if tag in ("a", "link") else "src")
        if address is None or (tag == "link" and given.get("rel") in _FOLLOWED):
            return
        self.found.append((tag, address))
