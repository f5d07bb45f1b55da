"""What `cloche bench generate` found: speeds, ratios, and shares of the memory's bandwidth."""

from collections.abc import Iterator, Mapping
from dataclasses import asdict, dataclass
from typing import Any

from cloche.bench.generating_works import PREFILL, Work
from cloche.bench.paired import Timing, paired_ratio

THOUSAND, GIGA = 1e3, 1e9
_OURS, _OVER = "cloche ", " over "


@dataclass(frozen=True)
class GenerationResult:
    """Timings of all sides: seconds for a thousand tokens, and for a gigabyte of memory."""

    source: str
    threads: int
    device: str
    about: Mapping[str, Mapping[str, Any]]
    """What each side said of itself."""
    timings: Mapping[Work, Mapping[str, Timing]]
    bandwidth: Timing
    ways: list[dict[str, float]]
    """Of each round, bytes a second of each way to read memory."""
    memory: Mapping[str, Mapping[str, int]]
    """Most memory of each side, in a process that writes one answer."""

    def ratios(self, work: Work) -> dict[str, float]:
        """cloche's speed over that of the others in the same round; the median of the rounds."""
        timings = self.timings[work]
        return {
            f"{ours}{_OVER}{name}": paired_ratio(timing, timings[ours])
            for ours in timings
            if ours.startswith(_OURS)
            for name, timing in timings.items()
            if not name.startswith(_OURS)
        }

    def bandwidth_share(self, side: str, work: Work) -> float | None:
        """Bytes of weights read a second over what the memory gives; None but at batch 1.

        In a batch one reading serves several tokens, and a prompt is read at the speed of
        matrix products.
        """
        if work.name != "batch 1":
            return None
        gigabytes = THOUSAND * self.about[side]["weight_bytes"] / GIGA  # of a thousand tokens
        return gigabytes * paired_ratio(self.bandwidth, self.timings[work][side])

    def over_batch_1(self, side: str, work: Work) -> float | None:
        """All answers' speed over that of one alone; None where that was not timed."""
        alone = next((each for each in self.timings if each.name == "batch 1"), None)
        if alone is None or work.name in ("batch 1", PREFILL):
            return None
        return paired_ratio(self.timings[alone][side], self.timings[work][side])

    def to_values(self) -> dict[str, Any]:
        """Plain values: tokens a second by work and side, ratios by name."""
        works = [self._work(work) for work in self.timings]
        return {
            "source": self.source,
            "threads": self.threads,
            "device": self.device,
            "rounds": len(self.ways),
            "memory_bytes_per_second": [GIGA / seconds for seconds in self.bandwidth.seconds],
            "ways_to_read": self.ways,
            "sides": {
                name: {**about, **self.memory.get(name, {})} for name, about in self.about.items()
            },
            "decode": [work for work in works if work["name"] != PREFILL],
            "prefill": next(work for work in works if work["name"] == PREFILL),
        }

    def lines(self) -> list[str]:
        """The result for a screen."""
        low, high = _from_to(GIGA / 1e9, self.bandwidth)
        best = max(self.ways[-1], key=self.ways[-1].__getitem__)
        found = [
            f"{self.source}, threads: {self.threads}; memory: {1.0 / self.bandwidth.median:.1f} "
            f"GB/s ({low:.1f} - {high:.1f}), by {best}"
        ]
        for work in self.timings:
            found += ["", *self._work_lines(work)]
        return [*found, "", *self._start_lines()]

    def _work(self, work: Work) -> dict[str, Any]:
        return {
            "name": work.name,
            **asdict(work),
            "sides": {name: self._timed(name, work) for name in self.timings[work]},
            "ratios": self.ratios(work),
        }

    def _timed(self, side: str, work: Work) -> dict[str, Any]:
        timing = self.timings[work][side]
        found: dict[str, Any] = {
            "tokens_per_second": THOUSAND / timing.median,
            "rounds": [THOUSAND / seconds for seconds in timing.seconds],
        }
        share, gain = self.bandwidth_share(side, work), self.over_batch_1(side, work)
        if share is not None:
            read = self.about[side]["weight_bytes"] * found["tokens_per_second"]
            found |= {"bytes_per_second": read, "bandwidth_share": share}
        if gain is not None:
            found["over_batch_1"] = gain
        return found

    def _work_lines(self, work: Work) -> Iterator[str]:
        timings = self.timings[work]
        width = max(map(len, timings))
        yield _title(work)
        for name, timing in timings.items():
            low, high = _from_to(THOUSAND, timing)
            spread = f"({low:,.1f} - {high:,.1f})"
            line = f"  {name:<{width}} {THOUSAND / timing.median:9,.1f} tokens/s  {spread:<20}"
            share, gain = self.bandwidth_share(name, work), self.over_batch_1(name, work)
            if share is not None:
                read = self.about[name]["weight_bytes"] / timing.median * THOUSAND / GIGA
                line += f" reads {read:.1f} GB/s, {share:.0%} of the memory's"
            if gain is not None:
                line += f" {gain:.1f} times batch 1"
            yield line.rstrip()
        yield from self._ratio_lines(work)

    def _ratio_lines(self, work: Work) -> Iterator[str]:
        by_side: dict[str, list[str]] = {}
        for name, ratio in self.ratios(work).items():
            ours, _, peer = name.partition(_OVER)
            by_side.setdefault(ours, []).append(f"{ratio:.2f} times {peer}")
        for ours, ratios in by_side.items():
            yield f"    {ours}: {', '.join(ratios)}"

    def _start_lines(self) -> Iterator[str]:
        width = max(map(len, self.about))
        yield "start, most memory in writing one answer (and without a model), weights of a token"
        for name, about in self.about.items():
            peak, before = (self.memory[name][key] / GIGA for key in ("peak_bytes", "before_bytes"))
            yield (
                f"  {name:<{width}} {about['start_seconds']:6.1f} s, of it "
                f"{about['first_seconds']:.1f} s for the first tokens  {peak:6.2f} GB "
                f"({before:.2f} GB)  {about['weight_bytes'] / GIGA:.3f} GB"
            )
        for name, about in self.about.items():
            yield from (f"  {name}: {note}" for note in about["notes"])


def _title(work: Work) -> str:
    if work.name == PREFILL:
        return f"reading a prompt of {work.prompt_tokens} tokens, until the first new one"
    together = "" if work.batch == 1 else ", all answers together"
    return (
        f"writing {work.new_tokens} tokens after {work.prompt_tokens}, batch {work.batch}{together}"
    )


def _from_to(amount: float, timing: Timing) -> tuple[float, float]:
    return amount / max(timing.seconds), amount / min(timing.seconds)
