"""The command `cloche`: finds the verb, loads only its file, turns errors into exit statuses."""

import importlib
import keyword
import os
import signal
import sys

from cloche.errors import ClocheError

VERBS = {
    "train": "grow a model from text",
    "tune": "teach a model to answer: instruction tuning, LoRA, more text, labels",
    "align": "learn from choices and rewards: collect, reward, dpo, ppo, grpo",
    "generate": "let a model continue a text",
    "chat": "write with a model, turn by turn",
    "eval": "measure how well a model predicts a text",
    "tokenize": "show a text as tokens, how they came about, and how much each carries",
    "data": "look at texts: list, show, inspect, fetch; prepare them for training",
    "import": "take a foreign model in: a Hugging Face folder, a GGUF file, a PyTorch file",
    "export": "write a model for other tools: a Hugging Face folder or a GGUF file, checked",
    "plan": "what a training would take: memory, time, cost, laws; fit a law to runs",
    "replay": "compute published results anew, and hold them beside the printed ones",
    "lens": "see what a model sees: tokens, attention, layers, trainings, as numbers and pictures",
    "learn": "lessons that run: list them, read one in the terminal, write it as a notebook",
    "bench": "time cloche against bare libraries on this machine",
    "image": "draw pictures from words, by a pretrained diffusion model",
    "demo": "train on the built-in stories for a minute and read the result",
}
USER_ERROR, INTERRUPTED = 2, 130


def main(arguments: list[str] | None = None) -> int:
    """Run the command; returns the exit status: 0, 2 for a user's mistake, 130 for Ctrl-C."""
    given = sys.argv[1:] if arguments is None else arguments
    if not given or given[0] in ("-h", "--help", "help"):
        print(overview())
        return 0 if given else USER_ERROR
    if given[0] in ("-V", "--version"):
        print(version())
        return 0
    verb, *rest = given
    if verb not in VERBS:
        return _unknown(verb)
    try:
        return importlib.import_module(f"cloche.cli.{_file_of(verb)}").main(rest)
    except ClocheError as exc:
        print(f"cloche: {exc}", file=sys.stderr)
        return USER_ERROR
    except KeyboardInterrupt:
        print("\ncloche: interrupted", file=sys.stderr)
        return INTERRUPTED
    except BrokenPipeError:
        # whoever read our output has gone, as `head` does: not an error, and nobody to tell
        os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
        return 128 + signal.SIGPIPE


def overview() -> str:
    """What `cloche --help` prints."""
    width = max(map(len, VERBS))
    verbs = "\n".join(f"  {verb:<{width}}  {what}" for verb, what in VERBS.items())
    return (
        "usage: cloche VERB ...\n\n"
        "Grow a language model under glass: from any text to a GPT of your own.\n\n"
        f"{verbs}\n\n"
        "cloche VERB --help tells a verb's options. First steps:\n"
        "  cloche demo\n"
        "  cloche train book.txt --minutes 5\n"
        '  cloche generate runs/book "Once upon a time"'
    )


def version() -> str:
    """Name and version of the installed package."""
    from importlib.metadata import version as installed

    return f"cloche {installed('cloche')}"


def _file_of(verb: str) -> str:
    """The verb's file: of its name, but for a name that Python keeps for itself."""
    return f"{verb}_" if keyword.iskeyword(verb) else verb


def _unknown(verb: str) -> int:
    import difflib

    near = difflib.get_close_matches(verb, VERBS, n=1)
    hint = f"did you mean {near[0]}?" if near else f"known are: {', '.join(VERBS)}"
    print(f"cloche: there is no verb {verb!r}; {hint}", file=sys.stderr)
    return USER_ERROR


if __name__ == "__main__":
    sys.exit(main())
