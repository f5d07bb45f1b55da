import importlib.util
from pathlib import Path

import pytest

SCRIPT = Path(__file__).parents[2] / "scripts" / "site_links.py"


@pytest.fixture(scope="module")
def links():
    spec = importlib.util.spec_from_file_location("site_links", SCRIPT)
    assert spec is not None
    assert spec.loader is not None
    module = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(module)
    return module


@pytest.fixture
def site(tmp_path):
    (tmp_path / "a").mkdir()
    (tmp_path / "a" / "page.html").write_text("<a href='../index.html#x'>x</a>", encoding="utf-8")
    return tmp_path


def write(site, body):
    (site / "index.html").write_text(body, encoding="utf-8")


def test_a_site_of_its_own_files_is_whole(links, site):
    write(
        site,
        "<a href='a/page.html'>x</a> <a href='https://example.org'>read</a> <a href='#y'>y</a>",
    )
    assert links.outside_links(site) == []
    assert links.broken_links(site) == []


@pytest.mark.parametrize(
    "body",
    [
        "<script src='https://cdn.example.org/x.js'></script>",
        "<link rel='stylesheet' href='//fonts.example.org/x.css'>",
        "<img src='http://example.org/x.png'>",
    ],
)
def test_what_is_loaded_from_elsewhere_is_found(links, site, body):
    write(site, body)
    assert len(links.outside_links(site)) == 1


def test_what_a_style_sheet_fetches_is_found(links, site):
    write(site, "")
    (site / "x.css").write_text("@import 'https://example.org/y.css';", encoding="utf-8")
    assert len(links.outside_links(site)) == 1


def test_links_without_a_page_are_found(links, site):
    write(site, "<a href='none.html'>x</a> <img src='none.svg'>")
    assert links.broken_links(site) == ["index.html: none.html", "index.html: none.svg"]


def test_links_out_of_the_guides_become_words(links):
    text = "see [the task](../src/a.yaml) and [b](b.md)"
    assert links.without_outer_links(text) == "see the task (`src/a.yaml`) and [b](b.md)"
