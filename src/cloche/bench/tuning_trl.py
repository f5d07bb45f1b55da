"""TRL's side of `cloche bench tune`: its SFTTrainer with PEFT's LoRA, held by a callback.

    python -m cloche.bench.tuning_trl

As TRL comes (each record in a row of its own, padded to the longest of the batch) but for gradient
checkpointing, which TRL has on and which spares memory for time: it is off, as in cloche.
"""

import tempfile
from pathlib import Path
from typing import Any

import torch

from cloche.bench.tuners import Gate, TunerSetup, tune_on_request
from cloche.bench.tuning_records import SEED, step_sums, training_records
from cloche.data.example_order import Order
from cloche.errors import SettingError
from cloche.text.messages import Conversation
from cloche.tuning.base import choose_template
from cloche.weights.opening import folders_to_try


def tune_held(setup: TunerSetup, gate: Gate) -> None:
    """Tune by LoRA; SettingError where TRL or PEFT is not installed."""
    try:
        from datasets import Dataset
        from peft import LoraConfig
        from transformers import AutoModelForCausalLM, AutoTokenizer
        from trl.trainer.sft_config import SFTConfig
        from trl.trainer.sft_trainer import SFTTrainer
    except ImportError as exc:
        raise SettingError(
            "this comparison needs trl and peft: pip install 'cloche[dev]', or leave TRL out with "
            "--sides cloche"
        ) from exc
    torch.set_num_threads(setup.threads)
    source = folders_to_try(Path(setup.base), "best", warn=_ignore)[0]
    tokenizer = AutoTokenizer.from_pretrained(source)
    tokenizer.chat_template = choose_template("", source).source
    tokenizer.pad_token = tokenizer.pad_token or tokenizer.eos_token
    with tempfile.TemporaryDirectory(prefix="cloche-bench-") as folder:
        trainer: Any = SFTTrainer(
            AutoModelForCausalLM.from_pretrained(source, dtype=torch.float32),
            args=SFTConfig(
                output_dir=folder,
                max_steps=setup.steps,
                per_device_train_batch_size=setup.batch,
                learning_rate=setup.learning_rate,
                bf16=setup.precision == "bfloat16",
                gradient_checkpointing=False,
                train_sampling_strategy="sequential",
                completion_only_loss=True,
                max_length=None,
                use_cpu=True,
                report_to="none",
                save_strategy="no",
                logging_steps=1,
                disable_tqdm=True,
                seed=SEED,
            ),
            train_dataset=Dataset.from_list(records_in_order(setup)),
            processing_class=tokenizer,
            peft_config=LoraConfig(
                r=setup.rank,
                lora_alpha=setup.alpha,
                target_modules="all-linear",
                task_type="CAUSAL_LM",
            ),
        )
        trainer.add_callback(_held_by(gate, trainer, setup))
        trainer.train()


def records_in_order(setup: TunerSetup) -> list[dict[str, list[dict[str, str]]]]:
    """The records of all steps, prompt and completion, in the order in which cloche has them."""
    records = training_records(Path(setup.records))
    numbers = Order(len(records), seed=SEED).numbers(0, size=setup.steps * setup.batch)
    return [
        {"prompt": _as_dicts(records[n][:-1]), "completion": _as_dicts(records[n][-1:])}
        for n in numbers
    ]


def _held_by(gate: Gate, trainer: Any, setup: TunerSetup) -> Any:
    """A callback of transformers that passes through the gate after each step."""
    from transformers import TrainerCallback

    class Held(TrainerCallback):
        def on_train_begin(self, *_: Any, **__: Any) -> None:
            lengths = [len(ids) for ids in trainer.train_dataset["input_ids"]]
            trained = sum(p.numel() for p in trainer.model.parameters() if p.requires_grad)
            about = {
                "trained": trained,
                "torch": torch.__version__,
                "threads": torch.get_num_threads(),
            }
            gate.start(step_sums(lengths, setup.batch), about)

        def on_log(self, *_: Any, logs: dict[str, Any] | None = None, **__: Any) -> None:
            if logs and "loss" in logs:  # not the summary at the end
                gate.passed(float(logs["loss"]))

    return Held()


def _as_dicts(messages: Conversation) -> list[dict[str, str]]:
    return [{"role": message.role, "content": message.content} for message in messages]


def _ignore(_text: str) -> None:
    """Told by cloche's side."""


if __name__ == "__main__":
    tune_on_request(tune_held)
