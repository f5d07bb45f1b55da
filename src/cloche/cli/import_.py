"""`cloche import`: a foreign model becomes a checkpoint of ours."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloche.cli.parse import parse
from cloche.cli.sampling import tell
from cloche.cli.signals import cleaning_up


@dataclass(frozen=True)
class Import:
    """Take a foreign model in: a Hugging Face folder, a GGUF file, or a PyTorch file whose origin
    you trust. The result is a model folder that every verb takes as RUN."""

    source: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="SOURCE")]
    """A folder with config.json, a .gguf file, or a .pt, .pth, .bin or .safetensors file."""
    out: str
    """The new folder."""
    pickle_ok: bool = False
    """Read pickled weights, too: only for files whose origin you trust."""
    family: Literal["gpt"] | None = None
    """Take GPT-2 in as a gpt, which computes the same; as it is when not given."""
    tokenizer: str | None = None
    """The tokenizer of weights that bring none: gpt2, a path, ...; gpt2 where its size fits."""
    heads: int | None = None
    """Attention heads, where the file does not say how many; as many as are 64 wide if not given.
    """
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Open, save, and say what it is."""
    command = parse(Import, arguments, prog="cloche import")
    from cloche.errors import SettingError
    from cloche.model.build import parameter_count
    from cloche.weights.foreign import ForeignOptions, open_foreign
    from cloche.weights.importing import as_family, import_card, refuse_existing, save_imported

    if command.heads is not None and command.heads < 1:
        raise SettingError(f"--heads must be at least 1, got {command.heads}")
    out = Path(command.out)
    refuse_existing(out)
    options = ForeignOptions(command.pickle_ok, command.tokenizer, command.heads)
    with cleaning_up():
        imported = open_foreign(Path(command.source), options, tell=tell)
        if command.family is not None:
            imported = as_family(imported, command.family)
        save_imported(imported, out, card=import_card(imported))
    values = {
        "run": command.out,
        "origin": imported.origin,
        "family": imported.config.family,
        "parameters": parameter_count(imported.model),
        "context": imported.config.context,
        "vocabulary": imported.tokenizer.vocab_size,
        "chat_template": imported.chat_template is not None,
    }
    if command.json:
        print(json.dumps(values, ensure_ascii=False))
        return 0
    print(f"{imported.origin}: {values['parameters']:,} parameters, family {values['family']}")
    print(f"  context {values['context']:,}, vocabulary {values['vocabulary']:,}")
    print(f'  Try: cloche generate {command.out} "..."')
    return 0
