"""The README.md of a checkpoint: what the model is and how it came about, all of it measured."""

from cloche.data.prepare import PreparedText
from cloche.planning.flops import parameter_count
from cloche.training.choices import Choice
from cloche.training.state import LoopState


def model_card(choice: Choice, prepared: PreparedText, state: LoopState) -> str:
    """Markdown with the front matter that model hubs read."""
    config, options = choice.config, choice.options.train
    train = prepared.train.metadata
    best = "not evaluated yet" if state.best_loss is None else f"{state.best_loss:.4f}"
    rows = {
        "family": config.family,
        "parameters": f"{parameter_count(config):,}",
        "layers, width, heads": f"{config.layers}, {config.width}, {config.heads}",
        "context": f"{config.context} tokens",
        "vocabulary": f"{config.vocab_size:,} ({prepared.tokenizer.kind})",
        "trained on": f"{train.characters:,} characters, {train.count:,} tokens",
        "steps": f"{state.step:,} of {state.plan.steps:,}",
        "tokens seen": f"{state.tokens:,}",
        "lowest validation loss": f"{best} nats a token (step {state.best_step})",
        "optimizer": f"{options.optimizer}, learning rate {options.learning_rate}",
        "seed": str(options.seed),
    }
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\n"
        "library_name: transformers\n"
        "pipeline_tag: text-generation\n"
        "tags: [cloche]\n"
        "---\n"
        "# A language model grown with cloche\n\n"
        "It continues text; it has not been tuned to answer.\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n"
        "```\n"
        'cloche generate PATH "some words"\n'
        "```\n"
    )
