"""`cloche align`: learning from what people prefer, and from rewards."""

import difflib
import importlib
import sys

from cloche.cli.main import USER_ERROR

KINDS = {
    "collect": "show answers, and keep which one a person prefers",
    "reward": "train a model that scores answers as people's choices do",
    "dpo": "learn from pairs directly: DPO, IPO; KTO for single votes",
    "ppo": "learn from a reward, by proximal policy optimisation",
    "grpo": "learn from a reward, by comparing a group of answers",
}


def main(arguments: list[str]) -> int:
    """Run one kind of alignment; returns its exit status."""
    if not arguments or arguments[0] in ("-h", "--help"):
        print(overview())
        return 0 if arguments else USER_ERROR
    kind, *rest = arguments
    if kind not in KINDS:
        near = difflib.get_close_matches(kind, KINDS, n=1)
        hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(KINDS)}"
        print(f"cloche: there is no cloche align {kind}; {hint}", file=sys.stderr)
        return USER_ERROR
    return importlib.import_module(f"cloche.cli.align_{kind}").main(rest)


def overview() -> str:
    """What `cloche align --help` prints."""
    width = max(map(len, KINDS))
    kinds = "\n".join(f"  {kind:<{width}}  {what}" for kind, what in KINDS.items())
    return (
        "usage: cloche align KIND ...\n\n"
        "Learn from people's choices, and from rewards.\n\n"
        f"{kinds}\n\n"
        "cloche align KIND --help tells its options."
    )
