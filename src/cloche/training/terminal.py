"""The terminal as a listener: one progress line, evaluations and samples above it."""

from rich.console import Console
from rich.markup import escape
from rich.progress import BarColumn, Progress, TextColumn

from cloche.training.events import (
    CheckpointSaved,
    Evaluated,
    Event,
    Notice,
    Replanned,
    RunEnded,
    RunStarted,
    Sampled,
    StepDone,
    StepSkipped,
)

SHOWN_CHARACTERS = 560
"""Of a sample; all of it is in samples.jsonl."""


class Terminal:
    """Shows a training on a console (stderr); without a terminal, a line at each evaluation."""

    def __init__(self, console: Console) -> None:
        self.console = console
        self._progress = Progress(
            TextColumn("step {task.completed:.0f}/{task.total:.0f}"),
            BarColumn(bar_width=None),
            TextColumn("{task.fields[numbers]}"),
            console=console,
            transient=True,
            refresh_per_second=4,
        )
        self._unit: str | None = None
        self._task = self._progress.add_task("train", total=1, numbers="", visible=False)
        self._rate = _Smoothed()
        self._loss = _Smoothed()
        self._seconds = _Smoothed()

    def __call__(self, event: Event) -> None:
        """Show the event."""
        match event:
            case RunStarted():
                self._start(event)
            case StepDone():
                self._step(event)
            case StepSkipped():
                self._progress.update(self._task, completed=event.step, total=event.steps)
                style = "yellow" if event.warning else "dim"
                self._say(f"[{style}]step {event.step}: {escape(event.reason)}[/{style}]")
            case Evaluated():
                self._say(_evaluation_line(event, unit=self._unit))
            case Sampled() if event.text.strip():
                self._say(f"[dim]{escape(_shortened(event.prompt + event.text))}[/dim]")
            case Replanned():
                self._progress.update(self._task, total=event.steps)
            case Notice():
                style = "yellow" if event.warning else "default"
                self._say(f"[{style}]{escape(event.text)}[/{style}]")
            case CheckpointSaved():
                pass
            case RunEnded():
                self.close()
            case _:
                pass

    def close(self) -> None:
        """Take the progress line away; the terminal is as it was."""
        if self._progress.live.is_started:
            self._progress.stop()

    def _start(self, event: RunStarted) -> None:
        self._unit = event.loss_unit
        going_on = f", from step {event.step}" if event.step else ""
        self._say(
            f"Training {event.parameters:,} parameters on {event.device} in {event.precision}"
            f"{going_on}."
        )
        self._progress.update(self._task, total=event.steps, completed=event.step, visible=True)
        if self.console.is_terminal:
            self._progress.start()

    def _step(self, event: StepDone) -> None:
        loss = self._loss.add(event.loss)
        rate = self._rate.add(event.tokens_per_second)
        left = (event.steps - event.step) * self._seconds.add(
            event.seconds_left / max(1, event.steps - event.step)
        )
        numbers = f"loss {loss:.3f}  {rate:,.0f} tokens/s  {_clock(left)} left"
        self._progress.update(self._task, completed=event.step, total=event.steps, numbers=numbers)

    def _say(self, text: str) -> None:
        self.console.print(text, highlight=False, soft_wrap=True)


class _Smoothed:
    """A mean of the latest values."""

    def __init__(self) -> None:
        self.value: float | None = None

    def add(self, value: float) -> float:
        self.value = value if self.value is None else 0.9 * self.value + 0.1 * value
        return self.value


def _evaluation_line(event: Evaluated, *, unit: str | None) -> str:
    metrics = event.metrics
    best = "  [green]best so far[/green]" if event.best else ""
    told = [f"{name} {value:.4g}" for name, value in _others(metrics).items()]
    if "eval/exact" in metrics:
        told.insert(0, f"{metrics['eval/exact']:.1%} translated exactly")
    elif "eval/bits_per_byte" in metrics:
        told.insert(0, f"{metrics['eval/bits_per_byte']:.3f} bits a byte")
    if unit is not None:
        told.insert(0, _losses(metrics, unit))
    return f"step {event.step}: {'; '.join(told)}{best}"


def _losses(metrics: dict[str, float], unit: str) -> str:
    told = f"validation {metrics['eval/loss']:.4f}"
    if "eval/train_loss" in metrics:
        told += f", training {metrics['eval/train_loss']:.4f}"
    return f"{told} {unit}".rstrip()


def _others(metrics: dict[str, float]) -> dict[str, float]:
    """What a tuning measures besides its loss, by readable names."""
    usual = {"eval/loss", "eval/train_loss", "eval/exact", "eval/bits_per_byte"}
    return {
        name.removeprefix("eval/").replace("_", " "): value
        for name, value in metrics.items()
        if name not in usual and name.startswith("eval/")
    }


def _shortened(text: str) -> str:
    flat = " ⏎ ".join(line.strip() for line in text.strip().splitlines() if line.strip())
    return flat if len(flat) <= SHOWN_CHARACTERS else f"{flat[:SHOWN_CHARACTERS]} …"


def _clock(seconds: float) -> str:
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours}:{minutes:02}:{rest:02}" if hours else f"{minutes}:{rest:02}"
