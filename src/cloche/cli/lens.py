"""`cloche lens`: what a model sees, in the terminal, as a picture, as JSON."""

import difflib
import json
import sys
from functools import partial
from io import TextIOWrapper
from pathlib import Path
from typing import TYPE_CHECKING

from cloche.cli.lens_options import (
    Attention,
    Embeddings,
    Memory,
    NextToken,
    OfModel,
    Parameters,
    Positions,
    Residual,
    Shown,
    Tokens,
    Training,
    Two,
    Windows,
    opened,
    read_file,
    read_text,
)
from cloche.cli.main import USER_ERROR
from cloche.cli.parse import parse
from cloche.cli.sampling import tell
from cloche.errors import SettingError

if TYPE_CHECKING:
    from cloche.lens.view import View
    from cloche.run import LM

VIEWS: dict[str, type[Shown]] = {
    "tokens": Tokens,
    "embeddings": Embeddings,
    "positions": Positions,
    "attention": Attention,
    "residual": Residual,
    "windows": Windows,
    "next-token": NextToken,
    "parameters": Parameters,
    "memory": Memory,
    "two": Two,
    "training": Training,
}


def main(arguments: list[str]) -> int:
    """Look at a model; returns the exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else USER_ERROR
    run, *rest = arguments
    if not rest or rest[0] not in VIEWS:
        return _no_view(run, rest)
    name, *options = rest
    command = parse(VIEWS[name], options, prog=f"cloche lens {run} {name}")
    _check(command)
    view = _see(command, run)
    if command.out is not None:
        _draw(view, command)
    if command.json:
        print(json.dumps(view.to_json(), ensure_ascii=False, allow_nan=False))
    elif command.out is None:
        _print(view, command)
    return 0


def overview() -> str:
    """What `cloche lens --help` prints."""
    width = max(map(len, VIEWS))
    views = "\n".join(
        f"  {name:<{width}}  {' '.join((kind.__doc__ or '').split())}"
        for name, kind in VIEWS.items()
    )
    return (
        "usage: cloche lens RUN VIEW ...\n\n"
        "See what a model sees: a run, a checkpoint, or a Hugging Face folder.\n\n"
        f"{views}\n\n"
        "cloche lens RUN VIEW --help tells a view's options. For example:\n"
        '  cloche lens runs/book tokens "Once upon a time"\n'
        '  cloche lens runs/book attention "Once upon a time" --layer 0 --head 1 --out head.png\n'
        "  cloche lens runs/book training --out training.svg"
    )


def _no_view(run: str, rest: list[str]) -> int:
    if rest and rest[0] in ("-h", "--help"):
        print(overview())
        return 0
    if not rest and run not in VIEWS:
        said = "name a view"
    elif run in VIEWS:
        said = f"the run comes first: cloche lens RUN {run} ..."
    else:
        near = difflib.get_close_matches(rest[0], VIEWS, n=1)
        said = f"there is no view {rest[0]!r}" + (f"; did you mean {near[0]}?" if near else "")
    print(f"cloche: {said}. Views are: {', '.join(VIEWS)}", file=sys.stderr)
    return USER_ERROR


def _check(command: Shown) -> None:
    """What can be found wrong before a model is opened."""
    from cloche.lens.over_time_animation import ANIMATIONS
    from cloche.lens.wording import check_language
    from cloche.plots.canvas import check_format

    over_time = isinstance(command, OfModel) and command.over_time
    if command.lang != "en":
        check_language(command.lang)
    if command.out is not None and not (over_time and Path(command.out).suffix in ANIMATIONS):
        check_format(Path(command.out))
    if over_time and command.out is None and not command.json:
        raise SettingError("--over-time draws or gives numbers: add --out FILE or --json")


def _see(command: Shown, run: str) -> "View":
    if isinstance(command, Training):
        from cloche.lens.training import see_training

        return see_training([run, *command.others], metrics=command.metrics)
    if isinstance(command, Two):
        return _see_two(command, run)
    assert isinstance(command, OfModel), "all others are of one model"
    if isinstance(command, Attention):
        from cloche.evaluation.translation import is_translator

        if is_translator(run, checkpoint=command.checkpoint):
            return _see_translation(command, run)
    see = partial(_see_memory, command, run) if isinstance(command, Memory) else command.see
    if command.over_time:
        from cloche.lens.over_time import see_over_time

        if command.checkpoint != "best":
            raise SettingError("--over-time looks at every checkpoint: leave --checkpoint out")
        return see_over_time(Path(run), see, precision=command.precision, warn=tell)
    return see(command.opened(run))


def _see_translation(command: Attention, run: str) -> "View":
    from cloche.evaluation.translation import load_translator
    from cloche.lens.attention_translation import see_translation_attention

    if command.over_time:
        raise SettingError("--over-time shows models that continue text: leave it out here")
    return see_translation_attention(
        load_translator(run, precision=command.precision, checkpoint=command.checkpoint, warn=tell),
        command.required_text(),
        command.target,
        layer=command.layer,
        head=command.head,
        kind=command.kind,
    )


def _see_two(command: Two, run: str) -> "View":
    from cloche.lens.two import see_two

    if command.other is None:
        raise SettingError("two models are compared: name the other by --with RUN")
    if command.text is None:
        raise SettingError("both models read a text: give it in quotes, or - for standard input")
    first = opened(run, checkpoint=command.checkpoint, precision="auto")
    checkpoint = command.other_checkpoint or command.checkpoint
    second = opened(command.other, checkpoint=checkpoint, precision="auto")
    return see_two(first, second, read_text(command.text))


def _see_memory(command: Memory, run: str, lm: "LM") -> "View":
    from cloche.lens.memory import see_memory, texts_of_run

    given = (command.training, command.held_out)
    own = ("", "") if all(given) else texts_of_run(Path(run), lm)
    training, held_out = (
        read_file(path) if path is not None else found
        for path, found in zip(given, own, strict=True)
    )
    return see_memory(lm, training=training, held_out=held_out)


def _draw(view: "View", command: Shown) -> None:
    from cloche.lens.drawing import draw
    from cloche.lens.over_time import OverTimeView
    from cloche.lens.over_time_animation import ANIMATIONS, animate

    assert command.out is not None, "only called where a file was named"
    if isinstance(view, OverTimeView) and Path(command.out).suffix in ANIMATIONS:
        path = animate(view, command.out, lang=command.lang, theme=command.theme)
    else:
        path = draw(view, command.out, lang=command.lang, theme=command.theme)
    tell(f"drew {path}")


def _print(view: "View", command: Shown) -> None:
    import rich

    from cloche.lens.rendering import render

    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show, it shows by number
        sys.stdout.reconfigure(errors="backslashreplace")
    rich.print(render(view, lang=command.lang))
