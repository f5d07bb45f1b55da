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
    with_text,
)
from cloche.cli.main import USER_ERROR
from cloche.cli.parse import parse
from cloche.cli.sampling import require_unicode, tell
from cloche.errors import ClocheError, DataError, RequestError, SettingError

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
    view = _see(with_text(command), run)
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
        said = "name a view."
    elif run in VIEWS:
        said = f"the run comes first, as in cloche lens RUN {run}."
    else:
        near = difflib.get_close_matches(rest[0].lower(), VIEWS, n=1)
        said = f"there is no view {rest[0]!r}" + (f"; did you mean {near[0]}?" if near else ".")
    print(f"cloche: {said} Views are: {', '.join(VIEWS)}", file=sys.stderr)
    return USER_ERROR


def _check(command: Shown) -> None:
    """What can be found wrong before a model is opened."""
    from cloche.lens.wording import check_language

    over_time = isinstance(command, OfModel) and command.over_time
    if command.lang != "en":
        check_language(command.lang)
    if command.out is not None:
        _check_out(Path(command.out), over_time=over_time)
    if over_time and command.out is None and not command.json:
        raise SettingError("--over-time draws or gives numbers: add --out FILE or --json")


def _check_out(out: Path, *, over_time: bool) -> None:
    from cloche.lens.over_time_animation import ANIMATIONS
    from cloche.plots.canvas import check_format

    moves = out.suffix.lower() in ANIMATIONS
    if out.suffix.lower() == ".gif" and not over_time:
        raise SettingError("a .gif shows a view at every checkpoint: add --over-time")
    if not (over_time and moves):
        check_format(out)
    if out.is_dir():
        raise SettingError(f"{out} is a folder: --out names the picture's file")


def _see(command: Shown, run: str) -> "View":
    if isinstance(command, Training):
        from cloche.lens.training import see_training

        return see_training([run, *command.others], metrics=command.metrics)
    if isinstance(command, Two):
        return _see_two(command, run)
    assert isinstance(command, OfModel), "all others are of one model"
    if _translates(run, command.checkpoint):
        if isinstance(command, Attention):
            return _see_translation(command, run)
        raise _no_translator(run)
    see = partial(_see_memory, command, run) if isinstance(command, Memory) else command.see
    if command.over_time:
        from cloche.lens.over_time import see_over_time

        if command.checkpoint != "best":
            raise SettingError("--over-time looks at every checkpoint: leave --checkpoint out")
        return see_over_time(Path(run), see, precision=command.precision, warn=tell)
    return see(command.opened(run))


def _translates(run: str, checkpoint: str) -> bool:
    from cloche.evaluation.translation import is_translator

    return is_translator(run, checkpoint=checkpoint)


def _no_translator(run: str) -> ClocheError:
    return RequestError(
        f"{run} holds an encoder-decoder, which writes a target for a source: its views are "
        "attention and training"
    )


def _see_translation(command: Attention, run: str) -> "View":
    from cloche.evaluation.translation import load_translator
    from cloche.lens.attention_translation import see_translation_attention

    if command.over_time:
        raise SettingError("--over-time shows models that continue text: leave it out here")
    if command.target is not None:
        require_unicode(command.target, what="the target")
    return see_translation_attention(
        load_translator(run, precision=command.precision, checkpoint=command.checkpoint, warn=tell),
        command.read,
        command.target,
        layer=command.layer,
        head=command.head,
        kind=command.kind,
    )


def _see_two(command: Two, run: str) -> "View":
    from cloche.lens.two import see_two

    if command.other is None:
        raise SettingError("two models are compared: name the other by --with RUN")
    checkpoints = (command.checkpoint, command.other_checkpoint or command.checkpoint)
    both = list(zip((run, command.other), checkpoints, strict=True))
    for each, checkpoint in both:
        if _translates(each, checkpoint):
            raise _no_translator(each)
    assert command.text is not None, "with_text refuses a command without one"
    first, second = (
        opened(each, checkpoint=checkpoint, precision="auto") for each, checkpoint in both
    )
    return see_two(first, second, command.text)


def _see_memory(command: Memory, run: str, lm: "LM") -> "View":
    from cloche.lens.memory import see_memory, texts_of_run

    given = (command.training, command.held_out)
    if command.encoding is not None and not any(given):
        raise SettingError("--encoding is that of the files of --training and --held-out: name one")
    try:
        own = ("", "") if all(given) else texts_of_run(Path(run), lm)
    except DataError as exc:
        raise DataError(f"{exc} (--training FILE --held-out FILE)") from exc
    training, held_out = (
        read_file(path, encoding=command.encoding) if path is not None else found
        for path, found in zip(given, own, strict=True)
    )
    return see_memory(lm, training=training, held_out=held_out)


def _draw(view: "View", command: Shown) -> None:
    from cloche.lens.drawing import draw
    from cloche.lens.over_time import OverTimeView
    from cloche.lens.over_time_animation import ANIMATIONS, animate

    assert command.out is not None, "only called where a file was named"
    try:
        if isinstance(view, OverTimeView) and Path(command.out).suffix.lower() in ANIMATIONS:
            path = animate(view, command.out, lang=command.lang, theme=command.theme)
        else:
            path = draw(view, command.out, lang=command.lang, theme=command.theme)
    except OSError as exc:
        raise SettingError(f"{command.out} cannot be written: {exc.strerror or exc}") from exc
    tell(f"drew {path}")


def _print(view: "View", command: Shown) -> None:
    import rich

    from cloche.lens.rendering import render

    if isinstance(sys.stdout, TextIOWrapper):  # what a terminal cannot show, it shows by number
        sys.stdout.reconfigure(errors="backslashreplace")
    rich.print(render(view, lang=command.lang))
