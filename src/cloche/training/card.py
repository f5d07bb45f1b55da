"""The README.md of a checkpoint: what the model is and how it came about, all of it measured."""

from cloche.data.prepare import PreparedText
from cloche.model.config import ModelConfig
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
    return card_with(rows, library="transformers")


def counted_card(config: ModelConfig, prepared: PreparedText, state: LoopState) -> str:
    """The same for a counted model, which only cloche opens."""
    train = prepared.train.metadata
    return card_with(
        {
            "family": f"ngram: counted, not trained; {config.smoothing} smoothing",
            "order": f"{config.order}: it looks at the last {(config.order or 1) - 1} tokens",
            "n-grams of each order": ", ".join(f"{count:,}" for count in config.ngrams),
            "vocabulary": f"{config.vocab_size:,} ({prepared.tokenizer.kind})",
            "counted over": f"{train.characters:,} characters, {train.count:,} tokens",
            "validation loss": f"{state.best_loss:.4f} nats a token",
        },
        library="cloche",
    )


def card_with(
    rows: dict[str, str],
    *,
    library: str,
    task: str = "text-generation",
    about: str = "It continues text; it has not been tuned to answer.",
) -> str:
    """The card of a model: what is known of it as a table, by name."""
    table = "\n".join(f"| {name} | {value} |" for name, value in rows.items())
    return (
        "---\n"
        f"library_name: {library}\n"
        f"pipeline_tag: {task}\n"
        "tags: [cloche]\n"
        "---\n"
        "# A language model grown with cloche\n\n"
        f"{about}\n\n"
        f"| | |\n| --- | --- |\n{table}\n\n"
        "```\n"
        'cloche generate PATH "some words"\n'
        "```\n"
    )
