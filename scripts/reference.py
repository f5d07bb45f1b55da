"""Writes the reference pages of every command and public name; --check fails where they are stale.

Commands: what `--help` prints, in a fixed width. Names: signature and docstring as the source has
them, read and not imported. It is our own generator, and not mkdocstrings, because its pages lie
in the repository, where people read them too, and because no plugin of one site builder is needed.
"""

import argparse
import contextlib
import importlib
import io
import os
import re
import sys
from pathlib import Path

from reference_names import describe_module

ROOT = Path(__file__).parents[1]
FOLDER = ROOT / "docs" / "reference"
COLUMNS = 96
MORE = {
    "tune": (("--task", "text"), ("--task", "classify")),
    "demo": (("ladder",),),
}
"""Commands that the help of their verb does not list as `  name  what`."""
MODULES = {
    "cloche": "From Python: training, opening, tuning, aligning.",
    "cloche.lens": "From Python: what a model sees.",
}
NOTE = "<!-- Written by scripts/reference.py: change the source, then run it. -->\n\n"
_LISTED = re.compile(r"^  ([a-z][a-z-]*)  +\S", re.MULTILINE)


def help_of(arguments: list[str]) -> str:
    """What a command prints for --help."""
    from cloche.cli.main import main

    printed = io.StringIO()
    with contextlib.redirect_stdout(printed), contextlib.suppress(SystemExit):
        main([*arguments, "--help"])
    lines = (line.rstrip() for line in printed.getvalue().splitlines())
    return "\n".join(lines).strip("\n")


def commands_of(verb: str) -> list[list[str]]:
    """The verb, and the commands below it."""
    found = [[verb, *more] for more in MORE.get(verb, ())]
    text = help_of([verb])
    if "--help  " not in text:  # a list of commands, not of options
        run = ["RUN"] if verb == "lens" else []
        found += [[verb, *run, name] for name in _LISTED.findall(text)]
    return [[verb], *found]


def command_page(verb: str) -> str:
    """The page of a verb."""
    parts = [f"{NOTE}# cloche {verb}\n"]
    for number, command in enumerate(commands_of(verb)):
        if number:
            parts.append(f"## cloche {' '.join(command)}\n")
        parts.append(f"```text\n{help_of(command)}\n```\n")
    return "\n".join(parts)


def pages() -> dict[Path, str]:
    """All reference pages by their files."""
    from cloche.cli.main import VERBS, overview

    rows = "\n".join(f"- [`cloche {verb}`](commands/{verb}.md): {VERBS[verb]}" for verb in VERBS)
    names = "\n".join(
        f"- [`{module}`](python/{module}.md): {about}" for module, about in MODULES.items()
    )
    index = f"{NOTE}# Reference\n\n## Commands\n\n{rows}\n\n## Python\n\n{names}\n\n"
    found = {FOLDER / "index.md": f"{index}## cloche --help\n\n```text\n{overview()}\n```\n"}
    for verb in VERBS:
        found[FOLDER / "commands" / f"{verb}.md"] = command_page(verb)
    for module, about in MODULES.items():
        text = describe_module(importlib.import_module(module))
        found[FOLDER / "python" / f"{module}.md"] = f"{NOTE}# {module}\n\n{about}\n\n{text}"
    return found


def stale(wanted: dict[Path, str]) -> list[str]:
    """Files that are absent, differ, or belong to nothing."""
    lying = set(FOLDER.rglob("*.md"))
    differing = [
        path
        for path, text in wanted.items()
        if path not in lying or path.read_text("utf-8") != text
    ]
    return sorted(str(path.relative_to(ROOT)) for path in [*differing, *(lying - set(wanted))])


def main() -> int:
    """Write the pages, or check them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--check", action="store_true", help="write nothing, fail where stale")
    check = parser.parse_args().check
    os.environ.update(COLUMNS=str(COLUMNS), NO_COLOR="1", TERM="dumb")
    wanted = pages()
    if check:
        found = stale(wanted)
        print(
            f"stale: {', '.join(found)}; run scripts/reference.py" if found else "reference: fresh"
        )
        return 1 if found else 0
    for path in set(FOLDER.rglob("*.md")) - set(wanted):
        path.unlink()
    for path, text in wanted.items():
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(text, encoding="utf-8")
    print(f"wrote {len(wanted)} pages into {FOLDER.relative_to(ROOT)}")
    return 0


if __name__ == "__main__":
    sys.exit(main())
