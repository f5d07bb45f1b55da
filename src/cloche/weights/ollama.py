"""A Modelfile, by which Ollama takes a GGUF file in: `ollama create NAME -f NAME.Modelfile`.

Source: https://github.com/ollama/ollama/blob/main/docs/modelfile.md
"""

import json
from collections.abc import Sequence

from jinja2 import TemplateError
from jinja2.sandbox import ImmutableSandboxedEnvironment

TEMPERATURE = 0.8
"""As `cloche generate` has it."""
_PLAIN = "{{ .Prompt }}"
_CHATML = """\
{{- range .Messages }}<|im_start|>{{ .Role }}
{{ .Content }}<|im_end|>
{{ end }}<|im_start|>assistant
"""
_CHATML_MESSAGES = (
    ("system", "Be brief."),
    ("user", "Who?"),
    ("assistant", "I."),
    ("user", "Why?"),
)


def modelfile(
    file_name: str, *, chat_template: str | None, stops: Sequence[str], context: int
) -> str:
    """The text of a Modelfile for a GGUF file that lies beside it.

    A model without a chat template continues plain text. One in the ChatML form gets Ollama's words
    for it; of any other, Ollama reads the template in the GGUF file itself.
    """
    lines = [f"FROM ./{file_name}"]
    if chat_template is None:
        lines.append(f'TEMPLATE """{_PLAIN}"""')
    elif _is_chatml(chat_template):
        lines.append(f'TEMPLATE """{_CHATML}"""')
    else:
        lines.append("# The chat template lies in the GGUF file.")
    lines += [f"PARAMETER stop {json.dumps(stop, ensure_ascii=False)}" for stop in stops]
    lines += [f"PARAMETER num_ctx {context}", f"PARAMETER temperature {TEMPERATURE}"]
    return "\n".join(lines) + "\n"


def _is_chatml(chat_template: str) -> bool:
    """Whether a template writes conversations as ChatML and adds nothing, such as a first message
    of its own."""
    if not all(mark in chat_template for mark in ("<|im_start|>", "<|im_end|>")):
        return False
    environment = ImmutableSandboxedEnvironment(trim_blocks=True, lstrip_blocks=True)
    for spoken in (_CHATML_MESSAGES, _CHATML_MESSAGES[1:]):
        messages = [{"role": role, "content": content} for role, content in spoken]
        try:
            template = environment.from_string(chat_template)
            written = template.render(messages=messages, add_generation_prompt=True)
        except (TemplateError, TypeError, ValueError, ArithmeticError, RecursionError):
            return False  # it needs more than messages, or is broken: Ollama shall judge it
        turns = "".join(f"<|im_start|>{role}\n{content}<|im_end|>\n" for role, content in spoken)
        if written != f"{turns}<|im_start|>assistant\n":
            return False
    return True
