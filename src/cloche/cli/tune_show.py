"""`cloche tune --show N`: examples token by token, what is learned of them in colour."""

import json

from rich.console import Console
from rich.text import Text

from cloche.errors import SettingError
from cloche.tuning.options import TuneOptions

LEARNED, READ = "bold black on green", "dim"
BEGIN, END = "⟦", "⟧"
"""Around what is learned, where there are no colours."""


def show_examples(options: TuneOptions, *, count: int, json_wanted: bool) -> int:
    """Print the first examples that the records make; returns the exit status."""
    if count < 1:
        raise SettingError(f"show must be at least 1, got {count}")
    from cloche.tuning.showing import first_examples

    base, found = first_examples(options, count=count)
    told = []
    for example, record in found:
        tokens = [
            {"id": number, "text": base.tokenizer.token_text(number), "learned": learned}
            for number, learned in zip(example.ids.tolist(), example.learned.tolist(), strict=True)
        ]
        told.append({"record": record.place, "tokens": tokens})
    if json_wanted:
        print(json.dumps({"template": base.template.name, "examples": told}, ensure_ascii=False))
        return 0
    console = Console()
    coloured = console.color_system is not None and not console.no_color
    names = {number: name for name, number in base.tokenizer.special_tokens.items()}
    for example in told:
        tokens = example["tokens"]
        learned = sum(token["learned"] for token in tokens)
        console.print(f"{example['record']}: {len(tokens)} tokens, {learned} learned", style="bold")
        console.print(_laid_out(tokens, names, coloured=coloured))
        console.print()
    begin, end = ("", "") if coloured else (BEGIN, END)
    learned = (f"{begin}learned{end}", LEARNED)
    console.print(Text.assemble(learned, " (predicted, with loss)   ", ("read", READ), " only"))
    return 0


def _laid_out(tokens: list[dict[str, object]], names: dict[int, str], *, coloured: bool) -> Text:
    """The tokens, parted by thin bars; a line break is shown and made."""
    text = Text(overflow="fold")
    before = [False, *(bool(token["learned"]) for token in tokens)]
    for token, was_learned, will_be in zip(tokens, before, [*before[2:], False], strict=False):
        number, is_learned = token["id"], bool(token["learned"])
        assert isinstance(number, int)
        shown = names.get(number, str(token["text"]))
        if is_learned and not (coloured or was_learned):
            text.append(BEGIN)
        text.append(shown.replace("\n", "⏎"), LEARNED if is_learned else READ)
        if is_learned and not (coloured or will_be):
            text.append(END)
        text.append("\n" if "\n" in shown else "▏", "bright_black")
    return text
