"""Builds the site: lessons executed, guides, reference; English and Chinese, page by page.

Both languages are built from the same list of pages, so that the language switch leads from each to
its other. A lesson runs once for both; it runs again only when it, the package or the libraries
that compute and draw have changed (`build/lessons` keeps what it gave).
"""

import argparse
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import yaml
from site_lessons import Built, build_lessons, course_page
from site_links import broken_links, outside_links, without_outer_links

from cloche.lens.wording import Language

ROOT = Path(__file__).parents[1]
BUILD = ROOT / "build"
DOCS = ROOT / "docs"
LANGUAGES: dict[Language, str] = {"en": "English", "zh": "中文"}
TITLES = {
    "en": {"home": "Home", "lessons": "Lessons", "guides": "Guides", "reference": "Reference"},
    "zh": {
        "home": "首页",
        "lessons": "课程",
        "guides": "指南（英文）",
        "reference": "参考（英文）",
    },
}


def collect(lang: Language, lessons: list[Built], folder: Path) -> None:
    """Every page of a language: its own where there is one, else the English."""
    (folder / "lessons").mkdir(parents=True)
    for path in DOCS.rglob("*"):
        inside = path.relative_to(DOCS)
        if path.is_dir() or inside.parts[0] in LANGUAGES:
            continue
        own = DOCS / lang / inside
        (folder / inside).parent.mkdir(parents=True, exist_ok=True)
        if path.suffix == ".md":
            text = (own if own.exists() else path).read_text(encoding="utf-8")
            (folder / inside).write_text(without_outer_links(text), encoding="utf-8")
        else:
            shutil.copy(path, folder / inside)
    for each in lessons:
        shutil.copy(each.pages[lang], folder / "lessons" / f"{each.lesson.name}.md")
        for picture in each.folder.glob(f"*-{lang}-*.svg"):
            shutil.copy(picture, folder / "lessons")
    course = course_page([each.lesson for each in lessons], lang)
    (folder / "lessons" / "index.md").write_text(course, encoding="utf-8")


def navigation(lang: Language, lessons: list[Built], folder: Path) -> list[dict[str, Any]]:
    """Home, lessons in their order, guides by name, reference."""
    words = TITLES[lang]
    course = [f"lessons/{each.lesson.name}.md" for each in lessons]
    guides = sorted(path.name for path in folder.glob("*.md") if path.name != "index.md")
    guides.sort(key=lambda name: name not in ("guide.md", "learning.md"))
    reference = folder / "reference"
    commands = sorted(f"reference/commands/{path.name}" for path in reference.glob("commands/*"))
    names = sorted(f"reference/python/{path.name}" for path in reference.glob("python/*"))
    return [
        {words["home"]: "index.md"},
        {words["lessons"]: ["lessons/index.md", *course]},
        {words["guides"]: guides},
        {words["reference"]: ["reference/index.md", {"cloche": commands}, {"Python": names}]},
    ]


def configuration(lang: Language, nav: list[dict[str, Any]]) -> str:
    """The builder's file for a language: mkdocs.yml with what differs."""
    shared = yaml.safe_load((ROOT / "mkdocs.yml").read_text(encoding="utf-8"))
    switch = [
        {"name": name, "lang": code, "link": _way(lang, code)} for code, name in LANGUAGES.items()
    ]
    shared |= {"docs_dir": "pages", "site_dir": "site", "nav": nav}
    shared |= {"extra": {"alternate": switch, "generator": False}}
    shared["theme"] |= {"language": lang, "custom_dir": "theme"}
    return yaml.safe_dump(shared, allow_unicode=True, sort_keys=False)


def build(lessons: list[Built], site: Path) -> None:
    """Build both languages with no warning; the Chinese one lies within the English one."""
    shutil.rmtree(site, ignore_errors=True)
    for lang in LANGUAGES:
        project = BUILD / f"site-{lang}"
        shutil.rmtree(project, ignore_errors=True)
        collect(lang, lessons, project / "pages")
        shutil.copytree(ROOT / "scripts" / "site_theme", project / "theme")
        config = configuration(lang, navigation(lang, lessons, project / "pages"))
        (project / "mkdocs.yml").write_text(config, encoding="utf-8")
        command = [sys.executable, "-m", "zensical", "build", "--strict"]
        subprocess.run(command, check=True, cwd=project)
        shutil.copytree(project / "site", site if lang == "en" else site / lang)


def main() -> int:
    """Build the site, or only the pages of some lessons."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--only", nargs="*", default=[], help="run these lessons; build no site")
    parser.add_argument("--model", help="a pretrained model, for the lessons that look at one")
    parser.add_argument("--out", type=Path, default=BUILD / "site", help="folder of the site")
    given = parser.parse_args()
    lessons = build_lessons(BUILD / "lessons", only=given.only, model=given.model)
    if given.only:
        return 0
    try:
        build(lessons, given.out)
    except subprocess.CalledProcessError:
        print("the site was not built: see above", file=sys.stderr)
        return 1
    outside, broken = outside_links(given.out), broken_links(given.out)
    if outside or broken:
        print("loaded from elsewhere, or of no file:", *outside, *broken, sep="\n  ")
        return 1
    print(
        f"site: {given.out}/index.html, every link has its page, nothing is loaded from elsewhere"
    )
    return 0


def _way(here: Language, there: Language) -> str:
    """From the root of one language to the root of another: English lies above."""
    if here == there:
        return ""
    return "../" if there == "en" else f"{there}/"


if __name__ == "__main__":
    sys.exit(main())
