"""Reward: is the number right? The question's arithmetic is done by a parser of our own."""

import re
import unicodedata
from collections.abc import Mapping
from fractions import Fraction
from typing import Any

from cloche.alignment.reward_functions.reading import RewardFunction
from cloche.errors import DataError, SettingError

LONGEST_NUMBER = 40
"""Digits of a number that is calculated with."""
DEEPEST = 50
"""Parentheses within one another."""
_OPERAND = r"(?:\d+(?:,\d{3})*(?:\.\d+)?|\.\d+)"
_EXPRESSION = re.compile(rf"[(\-−\s]*{_OPERAND}(?:[)\s]*[+\-*/×÷−·][(+\-−\s]*{_OPERAND})+[)\s]*")
_TOKENS = re.compile(r"\d+(?:,\d{3})+(?:\.\d+)?|\d+(?:\.\d+)?|\.\d+|[()+\-*/]")
_NUMBER = re.compile(r"[-−]?(?:\d+(?:,\d{3})+|\d+)(?:\.\d+)?(?:/\d+)?|[-−]?\.\d+")
_SIGNS = str.maketrans({"×": "*", "·": "*", "÷": "/", "−": "-"})
_FEWEST_DECIMALS = 2


def reward_arithmetic(option: str | None) -> RewardFunction:
    """1 where the last number of the answer is the value of the prompt's last arithmetic question.

    A question is numbers with + - * / (also × ÷ −) and parentheses, such as "What is 3 * (2 + 4)?".
    A number with two decimals or more may be rounded.
    """
    if option is not None:
        raise SettingError(f"the reward arithmetic takes no option, got {option!r}")

    def arithmetic(prompt: str, answer: str, record: Mapping[str, Any]) -> float:  # noqa: ARG001
        value = question_value(prompt)
        numbers = _NUMBER.findall(unicodedata.normalize("NFKC", answer))
        return float(bool(numbers) and _is_value(numbers[-1], value))

    return arithmetic


def question_value(text: str) -> Fraction:
    """The value of the last arithmetic expression in a text; DataError where there is none."""
    found = _EXPRESSION.findall(unicodedata.normalize("NFKC", text))
    if not found:
        raise DataError("there is no arithmetic question in its prompt, such as 3 * (2 + 4)")
    return evaluate(_balanced(found[-1].strip()))


def _balanced(expression: str) -> str:
    """Without the parentheses around it that belong to the sentence it stands in."""
    while expression.endswith(")") and expression.count(")") > expression.count("("):
        expression = expression[:-1].rstrip()
    while expression.startswith("(") and expression.count("(") > expression.count(")"):
        expression = expression[1:].lstrip()
    return expression


def evaluate(expression: str) -> Fraction:
    """The value of + - * / and parentheses, exactly; DataError where it has none."""
    plain = expression.translate(_SIGNS)
    tokens = _TOKENS.findall(plain)
    if "".join(tokens) != "".join(plain.split()):
        raise DataError(f"{expression!r:.80} is no arithmetic")
    if any(len(token) > LONGEST_NUMBER for token in tokens):
        raise DataError(f"{expression!r:.80} has a number of over {LONGEST_NUMBER} digits")
    reader = _Reader(tokens)
    try:
        value = reader.sum(depth=0)
    except ZeroDivisionError as exc:
        raise DataError(f"{expression!r:.80} divides by zero") from exc
    if reader.rest:
        raise DataError(f"{expression!r:.80} is no arithmetic")
    return value


class _Reader:
    """Reads a sum from tokens, by recursive descent."""

    def __init__(self, tokens: list[str]) -> None:
        self.rest = tokens[::-1]

    def sum(self, *, depth: int) -> Fraction:
        value = self.product(depth=depth)
        while self.rest and self.rest[-1] in "+-":
            sign = self.rest.pop()
            other = self.product(depth=depth)
            value = value + other if sign == "+" else value - other
        return value

    def product(self, *, depth: int) -> Fraction:
        value = self.signed(depth=depth)
        while self.rest and self.rest[-1] in "*/":
            sign = self.rest.pop()
            other = self.signed(depth=depth)
            value = value * other if sign == "*" else value / other
        return value

    def signed(self, *, depth: int) -> Fraction:
        negative = False
        while self.rest and self.rest[-1] in "+-":
            negative ^= self.rest.pop() == "-"
        value = self.atom(depth=depth)
        return -value if negative else value

    def atom(self, *, depth: int) -> Fraction:
        token = self.rest.pop() if self.rest else ""
        if token == "(" and depth < DEEPEST:
            value = self.sum(depth=depth + 1)
            if not self.rest or self.rest.pop() != ")":
                raise DataError("a parenthesis of the arithmetic question is not closed")
            return value
        if not token or token in "()*/":
            raise DataError("the arithmetic question of the prompt ends too early, or nests deeply")
        return Fraction(token.replace(",", ""))


def _is_value(number: str, value: Fraction) -> bool:
    text = number.translate(_SIGNS).replace(",", "")
    if len(text) > LONGEST_NUMBER:
        return False
    try:
        said = Fraction(text)
    except ZeroDivisionError:
        return False
    decimals = len(text.partition(".")[2])
    rounded = decimals >= _FEWEST_DECIMALS and abs(said - value) <= Fraction(1, 2 * 10**decimals)
    return said == value or rounded
