"""What a tuning changed on held-out records: their loss, and answers before and after."""

from pathlib import Path
from typing import Any

from rich.console import Console
from rich.markup import escape

Values = dict[str, Any]


def held_out_report(run: Path, *, answers: int) -> Values:
    """The mean loss of the held-out answers before and after, and so many answers of both.

    Held out are the test records, or the validation records where the split has no others. Told on
    standard error, and returned for JSON.
    """
    from cloche.tuning.held_out import compare_held_out

    console = Console(stderr=True)
    found = compare_held_out(run, answers=answers)
    console.print(
        f"Held-out answers ({found.records} {found.part} records): {found.before:.4f} nats a "
        f"learned token before, {found.after:.4f} after ({found.change:+.1%}).",
        highlight=False,
        soft_wrap=True,
    )
    for pair in found.answers:
        console.print(f"\n[bold]{escape(pair.question)}[/bold]", highlight=False, soft_wrap=True)
        for name, text in (("record", pair.expected), ("before", pair.before)):
            console.print(f"  [dim]{name}:[/dim] {escape(text)}", highlight=False, soft_wrap=True)
        console.print(
            f"  [green]after:[/green]  {escape(pair.after)}", highlight=False, soft_wrap=True
        )
    return {
        "held_out": {
            "part": found.part,
            "records": found.records,
            "loss_before": found.before,
            "loss_after": found.after,
        },
        "answers": [vars(pair) for pair in found.answers],
    }
