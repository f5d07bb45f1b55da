"""A scorer that is being trained: which weights learn, how it is saved, opened and gone on from."""

import copy
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from cloche.model.scorer import Scorer
from cloche.text.names import open_tokenizer
from cloche.text.tokenizer import SpecialIds, Tokenizer
from cloche.training.machine import dtype_of
from cloche.training.options import TrainOptions
from cloche.training.recomputing import recompute_blocks
from cloche.tuning.session import WriteModel
from cloche.tuning.tuned import TunedModel
from cloche.weights.checkpoint import TrainerState
from cloche.weights.opening import folders_to_try, open_first_whole
from cloche.weights.scorers import OpenedScorer, load_scorer, save_scorer

Learned = Literal["head", "last", "all"]


@dataclass(frozen=True)
class Prompting:
    """How a scorer's texts are written: what lies beside the weights."""

    tokenizer: Tokenizer
    special_ids: SpecialIds
    stop_ids: tuple[int, ...]
    begins_with_bos: bool
    chat_template: str | None


@dataclass(frozen=True, eq=False)
class FoundScorer:
    """A scorer, ready to score."""

    folder: Path
    opened: OpenedScorer
    tokenizer: Tokenizer


def open_scorer(
    source: str | Path, *, device: str = "cpu", warn: Callable[[str], None]
) -> FoundScorer:
    """The scorer of a run, a checkpoint or a Hugging Face folder, in float32, in evaluation mode.

    Of a run, its best checkpoint. Raises CheckpointError, also for a model that scores nothing.
    """
    folders = folders_to_try(Path(source), "best", warn=warn)

    def open_one(folder: Path) -> FoundScorer:
        opened = load_scorer(folder)
        opened.scorer.to(torch.device(device)).eval()
        return FoundScorer(folder, opened, open_tokenizer(str(folder.absolute())))

    return open_first_whole(folders, open_one, warn=warn)


def choose_learned(scorer: Scorer, learned: Learned) -> str:
    """Have the score alone learn; or the last block and the final norm as well; or everything.

    What is trained then, in words.
    """
    scorer.requires_grad_(learned == "all")
    scorer.score.requires_grad_(True)
    if learned == "last":
        scorer.decoder.layers[-1].requires_grad_(True)
        scorer.decoder.norm.requires_grad_(True)
    count = sum(p.numel() for p in scorer.parameters() if p.requires_grad)
    what = {
        "head": "the score alone",
        "last": "the score, the last block and the final norm",
        "all": "everything",
    }
    return f"{what[learned]}: {count:,} weights"


def tuned_scorer(scorer: Scorer, train: TrainOptions, *, dropout: float) -> TunedModel:
    """The passes' model for the loop. All weights are saved, and so kept in float32."""
    compute = TunedModel(scorer, dtype=dtype_of(train.precision), kept=True)
    if train.checkpointing == "on":
        recompute_blocks(compute.model.get_submodule("decoder"), dropout=dropout)
    return compute


def scorer_writer(
    compute: TunedModel, prompting: Prompting, *, labels: Sequence[str]
) -> WriteModel:
    """Copies the scorer as it is now; writes the copy as a checkpoint."""
    assert isinstance(compute.whole, Scorer), "what scores is kept whole"
    return write_scorer(copy.deepcopy(compute.whole).cpu(), prompting, labels=labels)


def write_scorer(scorer: Scorer, prompting: Prompting, *, labels: Sequence[str]) -> WriteModel:
    """Writes this scorer as a checkpoint."""

    def write(folder: Path, trainer: TrainerState, card: str) -> None:
        save_scorer(
            folder,
            scorer=scorer,
            labels=labels,
            tokenizer=prompting.tokenizer,
            trainer=trainer,
            card=card,
            special_ids=prompting.special_ids,
            stop_ids=prompting.stop_ids,
            begins_with_bos=prompting.begins_with_bos,
            chat_template=prompting.chat_template,
        )

    return write


def read_trained_scorer(folder: Path) -> Mapping[str, Tensor]:
    """The weights of a scorer's checkpoint, by the names of a `Scorer`."""
    return load_scorer(folder).scorer.state_dict()


def scorer_card(rows: Mapping[str, str], *, about: str) -> str:
    """The README.md of a scorer: what is known of it as a table, by name."""
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\nlibrary_name: transformers\npipeline_tag: text-classification\ntags: [cloche]\n---\n"
        f"# A model that scores, tuned with cloche\n\n{about}\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n"
        "```python\n"
        "from transformers import AutoModelForSequenceClassification\n\n"
        'model = AutoModelForSequenceClassification.from_pretrained("PATH")\n'
        "```\n"
    )
