"""`cloche tune --show N`: examples token by token, what is learned of them in colour."""

import json

from rich.console import Console
from rich.text import Text

from cloche.errors import SettingError
from cloche.tuning.options import TuneOptions

LEARNED, READ = "bold black on green", "dim"


def show_examples(options: TuneOptions, *, count: int, json_wanted: bool) -> int:
    """Print the first examples of the training part; returns the exit status."""
    if count < 1:
        raise SettingError(f"show must be at least 1, got {count}")
    from cloche.tuning.held_out import encoded_for

    base, held = encoded_for(options)
    examples = held.train.examples[:count]
    told = []
    for example, record in zip(examples, held.train.records, strict=False):
        tokens = [
            {"id": number, "text": base.tokenizer.token_text(number), "learned": learned}
            for number, learned in zip(example.ids.tolist(), example.learned.tolist(), strict=True)
        ]
        told.append({"record": record.place, "tokens": tokens})
    if json_wanted:
        print(json.dumps({"template": base.template.name, "examples": told}, ensure_ascii=False))
        return 0
    console = Console()
    names = {number: name for name, number in base.tokenizer.special_tokens.items()}
    for example in told:
        tokens = example["tokens"]
        learned = sum(token["learned"] for token in tokens)
        console.print(f"{example['record']}: {len(tokens)} tokens, {learned} learned", style="bold")
        console.print(_coloured(tokens, names))
        console.print()
    console.print(
        Text.assemble(("learned", LEARNED), " (predicted, with loss)   ", ("read", READ), " only")
    )
    return 0


def _coloured(tokens: list[dict[str, object]], names: dict[int, str]) -> Text:
    """The tokens, parted by thin bars; a line break is shown and made."""
    text = Text(overflow="fold")
    for token in tokens:
        number = token["id"]
        assert isinstance(number, int)
        shown = names.get(number, str(token["text"]))
        text.append(shown.replace("\n", "⏎"), LEARNED if token["learned"] else READ)
        text.append("\n" if "\n" in shown else "▏", "bright_black")
    return text
