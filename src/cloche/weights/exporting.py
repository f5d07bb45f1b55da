"""A model as a Hugging Face folder that opens without our code: whole and checked, or absent."""

import importlib.util
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Literal

import torch
from torch import Tensor

from cloche.errors import CheckpointError
from cloche.text.files import TOKENIZER_FILE
from cloche.text.names import open_tokenizer
from cloche.weights.checking import (
    LONGEST_TEXT,
    ExportCheck,
    compare_ids,
    compare_texts,
    drawn_ids,
    logits_of,
    rms,
    texts_for,
)
from cloche.weights.checkpoint import TOKENIZER_KEY, load_model, write_tokenizer
from cloche.weights.durable import (
    move_into_place,
    put_on_disk,
    remove,
    sweep_beside,
    temporary_beside,
)
from cloche.weights.expressing import Expressed, express
from cloche.weights.folder import CONFIG, WEIGHTS, write_json
from cloche.weights.hf import in_layout
from cloche.weights.imported import Imported
from cloche.weights.importing import refuse_existing
from cloche.weights.manifest import CARD, file_hash
from cloche.weights.prompting import BEGINS_KEY, make_begin_plainly, write_prompting
from cloche.weights.tensors import write_tensors

Precision = Literal["float32", "bfloat16", "float16"]
DTYPES: dict[Precision, torch.dtype] = {
    "float32": torch.float32,
    "bfloat16": torch.bfloat16,
    "float16": torch.float16,
}
ROUNDING: dict[Precision, float] = {"float32": 1e-4, "bfloat16": 0.1, "float16": 0.02}
"""How far storing may move logits: the root mean square of the change, as a share of theirs."""
ROUTED = 0.3
"""The same where experts are chosen: a token that stands between two may go to the other."""
SAME = 1e-4
"""What two readers of one file may differ by: this share of each logit, and of their root mean
square."""
FRONT = "---\n"


def export_folder(
    parts: Imported, out: Path, *, precision: Precision = "float32", card: str = ""
) -> ExportCheck:
    """Write a model in float32 to the new folder `out`, for transformers and vLLM.

    What was written is read back and held against the model, by transformers too where it is
    installed; it takes its name only then, and an export that fails or is interrupted leaves
    nothing. `card` is the model's own README.md, to which the check is added.

    Raises CheckpointError where no class of Hugging Face computes the model, with the reasons,
    where the check fails, and where the disk refuses.
    """
    refuse_existing(out)
    express(parts.model, parts.config)  # nothing is begun where no class computes it
    was_training = parts.model.training
    temporary = temporary_beside(out)
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
        sweep_beside(out)
        remove(temporary)
        temporary.mkdir()
        expressed = _write(temporary, parts, precision=precision)
        parts.model.eval()
        check = _check(temporary, parts, precision=precision)
        text = export_card(card, check, kind=_kind(expressed, precision))
        (temporary / CARD).write_text(text, encoding="utf-8")
        put_on_disk(temporary, mode_of=temporary / CONFIG)
        move_into_place(temporary, out)
    except OSError as exc:
        raise CheckpointError(
            f"could not write {out}: {exc}. Nothing was left there: make room, or name another "
            "place with --out"
        ) from exc
    finally:
        parts.model.train(was_training)
        remove(temporary)
    return check


def export_card(card: str, check: ExportCheck, *, kind: str) -> str:
    """The README.md of an export: the model's own, and what the check found."""
    rows = {
        "format": kind,
        "read back by": ", ".join(check.compared_with),
        "token ids and text": f"equal for {check.texts} texts",
        "largest difference of logits": (
            f"{check.largest_difference:.3g} over {check.tokens:,} tokens; the logits' own root "
            f"mean square is {check.rms:.3g}"
        ),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-generation\ntags: [cloche]\n---\n"
        f"{_without_front(card) or '# A language model, exported with cloche'}\n\n"
        f"## Export\n\n| | |\n| --- | --- |\n{table}\n\n"
        "```python\n"
        "from transformers import AutoModelForCausalLM, AutoTokenizer\n\n"
        'model = AutoModelForCausalLM.from_pretrained("PATH")\n'
        'tokenizer = AutoTokenizer.from_pretrained("PATH")\n'
        "```\n"
    )


def _write(folder: Path, parts: Imported, *, precision: Precision) -> Expressed:
    begins_with = parts.special_ids.bos if parts.begins_with_bos else None
    own = write_tokenizer(folder, parts.tokenizer, begins_with=begins_with)
    if begins_with is None:
        make_begin_plainly(folder)
        own = {TOKENIZER_KEY: file_hash(folder / TOKENIZER_FILE), BEGINS_KEY: False}
    expressed = express(parts.model, parts.config, folder=folder)
    config, layout = expressed.config, expressed.layout
    described = in_layout(layout, config, parts.special_ids, dtype=precision)
    write_json(folder / CONFIG, described | own)
    write_prompting(
        folder,
        special_ids=parts.special_ids,
        stop_ids=parts.stop_ids,
        chat_template=parts.chat_template,
    )
    stored = layout.names.to_stored(expressed.tensors, config)
    rounded = {name: tensor.to(DTYPES[precision]) for name, tensor in stored.items()}
    too_large = [name for name, tensor in rounded.items() if not bool(tensor.isfinite().all())]
    if too_large:
        raise CheckpointError(
            f"{too_large[0]} has numbers that {precision} cannot hold: export as bfloat16 or "
            "float32"
        )
    write_tensors(folder / WEIGHTS, rounded)
    return expressed


def _check(folder: Path, parts: Imported, *, precision: Precision) -> ExportCheck:
    """What our own reader and transformers make of the folder. Raises CheckpointError."""
    texts = texts_for(parts.tokenizer)
    if not texts:
        raise CheckpointError("the tokenizer reads no text at all, so the export cannot be checked")
    ids = [parts.tokenizer.encode(text) for text in texts]
    read, reopened = load_model(folder)[0].eval(), open_tokenizer(str(folder))
    compare_ids(texts, ids, [reopened.encode(text) for text in texts], by="cloche")
    longest = min(LONGEST_TEXT, parts.config.context)
    sequences = [each[:longest] for each in ids]
    sequences.append(drawn_ids(parts.tokenizer.vocab_size, context=parts.config.context))
    wanted = torch.cat([logits_of(parts.model, each) for each in sequences])
    found = torch.cat([logits_of(read, each) for each in sequences])
    most = ROUTED if parts.config.experts and precision != "float32" else ROUNDING[precision]
    _compare_rounded(found, wanted, most=most)
    readers, largest = ["cloche"], _largest(found, wanted)
    if importlib.util.find_spec("transformers"):
        readers.append("transformers")
        theirs = _read_by_transformers(folder, parts, texts, sequences)
        _compare_same(theirs, found)
        largest = max(largest, _largest(theirs, wanted))
    return ExportCheck(
        largest_difference=largest,
        rms=rms(wanted),
        texts=len(texts),
        tokens=len(wanted),
        compared_with=tuple(readers),
    )


def _compare_rounded(found: Tensor, wanted: Tensor, *, most: float) -> None:
    difference, scale = rms(found - wanted), rms(wanted)
    if not difference <= most * scale:
        raise CheckpointError(
            f"the export does not compute what the model does: logits differ by {difference:.3g} "
            f"(root mean square; their own is {scale:.3g}), more than rounding explains. It was "
            "deleted"
        )


def _compare_same(theirs: Tensor, ours: Tensor) -> None:
    apart = (theirs - ours).abs() - SAME * ours.abs()
    if not float(apart.max()) <= SAME * rms(ours):
        raise CheckpointError(
            f"transformers computes something else from the export: logits differ by up to "
            f"{_largest(theirs, ours):.3g}; their own root mean square is {rms(ours):.3g}. It was "
            "deleted"
        )


def _read_by_transformers(
    folder: Path, parts: Imported, texts: Sequence[str], sequences: Sequence[list[int]]
) -> Tensor:
    """Its logits; CheckpointError where its tokenizer gives other ids or another text."""
    from transformers import AutoModelForCausalLM, AutoTokenizer

    first = parts.special_ids.bos
    before = [first] if parts.begins_with_bos and first is not None else []
    ids = [parts.tokenizer.encode(text) for text in texts]
    with _quietly():
        tokenizer: Any = AutoTokenizer.from_pretrained(folder, local_files_only=True)
        model: Any = AutoModelForCausalLM.from_pretrained(
            folder, local_files_only=True, dtype=torch.float32
        )
        found = [tokenizer(text)["input_ids"] for text in texts]
        compare_ids(texts, [[*before, *each] for each in ids], found, by="transformers")
        shown = [tokenizer.decode(each, skip_special_tokens=True) for each in ids]
        compare_texts([parts.tokenizer.decode(each) for each in ids], shown, by="transformers")
        with torch.no_grad():
            return torch.cat([model(torch.tensor([each])).logits[0] for each in sequences])


@contextmanager
def _quietly() -> Iterator[None]:
    """transformers without its progress bars and remarks, and as it was afterwards."""
    from transformers.utils import logging

    level, bars = logging.get_verbosity(), logging.is_progress_bar_enabled()
    logging.set_verbosity_error()
    logging.disable_progress_bar()
    try:
        yield
    finally:
        logging.set_verbosity(level)
        if bars:
            logging.enable_progress_bar()


def _largest(found: Tensor, wanted: Tensor) -> float:
    return float((found - wanted).abs().max())


def _kind(expressed: Expressed, precision: Precision) -> str:
    architecture = expressed.layout.to_values(expressed.config)["architectures"][0]
    return f"Hugging Face folder ({architecture}, {precision})"


def _without_front(card: str) -> str:
    """A card's text, without the lines for machines before it."""
    if card.startswith(FRONT) and (end := card.find(FRONT, len(FRONT))) > 0:
        return card[end + len(FRONT) :].strip()
    return card.strip()
