"""`cloche export`: a model for other tools, checked before it gets its name."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Annotated, Literal

import tyro

from cloche.cli.parse import parse
from cloche.cli.sampling import tell
from cloche.cli.signals import cleaning_up


@dataclass(frozen=True)
class Export:
    """Write a model for other tools: a Hugging Face folder for transformers and vLLM, a GGUF file
    for llama.cpp and Ollama, or an adapter alone for PEFT. What was written is read back and
    compared before it stays."""

    run: Annotated[tyro.conf.Positional[str], tyro.conf.arg(metavar="RUN")]
    """A run, a checkpoint, or a Hugging Face model folder."""
    to: Literal["hf", "gguf", "peft"]
    """hf: a Hugging Face folder. gguf: a .gguf file, and a Modelfile beside it. Both have adapters
    merged in. peft: an adapter alone, as a folder."""
    out: str
    """The new folder or file."""
    precision: Literal["float32", "bfloat16", "float16"] | None = None
    """Of hf: how weights are stored; float32 when not given."""
    type: str | None = None
    """Of gguf: F32, F16, BF16, Q8_0, or one of llama.cpp's own (Q4_K_M, ...); F16 if not given."""
    checkpoint: str = "best"
    """best, latest, or a step."""
    json: bool = False
    """Print one JSON object, and nothing else, on standard output."""


def main(arguments: list[str]) -> int:
    """Write, check, and say how large the difference is."""
    command = parse(Export, arguments, prog="cloche export")
    from cloche.errors import SettingError
    from cloche.run import load
    from cloche.weights.importing import describe_folder
    from cloche.weights.loading import described_folder, whole_folder
    from cloche.weights.manifest import CARD
    from cloche.weights.reading import find_weights

    if command.to == "hf" and command.type is not None:
        raise SettingError("--type belongs to --to gguf; a Hugging Face folder has --precision")
    if command.to == "gguf" and command.precision is not None:
        raise SettingError("--precision belongs to --to hf; a GGUF file has --type")
    if command.to == "peft":
        if command.precision is not None or command.type is not None:
            raise SettingError("an adapter is written in float32: leave --precision and --type out")
        return _export_adapter(command)
    lm = load(
        command.run,
        precision="float32",
        device="cpu",
        checkpoint=command.checkpoint,
        warn=tell,
    )
    weights = find_weights(whole_folder(lm.folder))
    parts = describe_folder(described_folder(lm.folder), lm.model, weights, tokenizer=None)
    out = Path(command.out)
    with cleaning_up():
        if command.to == "hf":
            from cloche.weights.exporting import export_folder

            path = lm.folder / CARD
            card = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            check = export_folder(parts, out, precision=command.precision or "float32", card=card)
        else:
            from cloche.weights.gguf_writing import export_gguf

            check = export_gguf(
                out,
                model=parts.model,
                config=parts.config,
                tokenizer=parts.tokenizer,
                special_ids=parts.special_ids,
                stop_ids=parts.stop_ids,
                begins_with_bos=parts.begins_with_bos,
                chat_template=parts.chat_template,
                kind=command.type or "F16",
            )
    if command.json:
        values = {"run": command.run, "checkpoint": str(lm.folder), "out": command.out}
        print(json.dumps(values | asdict(check), ensure_ascii=False))
        return 0
    print(f"{command.out}: read back by {' and '.join(check.compared_with)}")
    print(
        f"  largest difference of logits {check.largest_difference:.3g} (their own root mean "
        f"square: {check.rms:.3g}) over {check.tokens:,} tokens"
    )
    print(f"  token ids and text equal for {check.texts} texts; checkpoint {lm.folder}")
    return 0


def _export_adapter(command: Export) -> int:
    from cloche.weights.adapter_exporting import export_adapter
    from cloche.weights.opening import folders_to_try

    folder = folders_to_try(Path(command.run), command.checkpoint, warn=tell)[0]
    with cleaning_up():
        tensors = export_adapter(folder, Path(command.out))
    if command.json:
        values = {"run": command.run, "checkpoint": str(folder), "out": command.out}
        print(json.dumps(values | {"tensors": tensors}, ensure_ascii=False))
        return 0
    print(f"{command.out}: an adapter of {tensors} tensors, read back by cloche; open it with")
    print('  PeftModel.from_pretrained(base, "' + command.out + '")')
    return 0
