"""Parameters for the terminal: the tree of tensors, alike layers as one, and what each part has."""

from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field

from rich import box
from rich.console import Group, RenderableType
from rich.table import Table
from rich.text import Text

from cloche.lens.parameters import ParametersView, Weights
from cloche.lens.wording import Language, Words
from cloche.planning.wording import format_bytes

NAMED = 5
"""Tensors with numbers that are none, by name; of more, how many there are."""

CHINESE = {
    "{count:,} parameters": "共 {count:,} 个参数",
    "{count:,} n-grams, counted and not learned": "共 {count:,} 个 n 元组（统计得到，非学习所得）",
    "{active:,} of them in each token: {used} of {experts} experts": (
        "每个词元用到其中 {active:,} 个：{experts} 个专家中的 {used} 个"
    ),
    "{here} in memory, {disk} in a checkpoint (float32)": (
        "内存中 {here}，检查点中 {disk}（float32）"
    ),
    "the head is the embedding: its numbers are counted once": "输出头就是嵌入表：只计一次",
    "{nan:,} are not a number (NaN), {infinite:,} are infinite:": (
        "{nan:,} 个不是数（NaN），{infinite:,} 个为无穷大："
    ),
    "and {count} tensors more": "另有 {count} 个张量",
    "adapter {name}: rank {rank}, {layers} layers, {count:,} parameters, {disk}, {merged}": (
        "适配器 {name}：秩 {rank}，{layers} 个层，{count:,} 个参数，{disk}，{merged}"
    ),
    "merged into the weights above": "已并入以上权重",
    "not active": "未启用",
    "tensor": "张量",
    "shape": "形状",
    "parameters": "参数",
    "n-grams": "n 元组",
    "share": "占比",
    "in memory": "内存",
    "kept as": "存为",
    "part": "部分",
    "all": "合计",
    "embedding": "嵌入",
    "positions": "位置",
    "attention": "注意力",
    "MLP": "前馈",
    "norms": "归一化",
    "head": "输出头",
    "adapter": "适配器",
    "counts": "计数",
}


def make_rendering(view: ParametersView, lang: Language) -> RenderableType:
    """The tree, the parts, and the sums."""
    words = Words(CHINESE, lang)
    return Group(_tree(view, words), _parts(view, words), *map(Text, said_of(view, words)))


def said_of(view: ParametersView, words: Words) -> Iterator[str]:
    """The sums in sentences."""
    if view.family == "ngram":
        yield words("{count:,} n-grams, counted and not learned", count=view.parameters)
    else:
        yield words("{count:,} parameters", count=view.parameters)
    if view.experts:
        yield words(
            "{active:,} of them in each token: {used} of {experts} experts",
            active=view.active,
            used=view.experts_used,
            experts=view.experts,
        )
    yield words(
        "{here} in memory, {disk} in a checkpoint (float32)",
        here=format_bytes(view.kept_bytes),
        disk=format_bytes(view.checkpoint_bytes),
    )
    if view.tied:
        yield words("the head is the embedding: its numbers are counted once")
    for each in view.adapters:
        yield words(
            "adapter {name}: rank {rank}, {layers} layers, {count:,} parameters, {disk}, {merged}",
            name=each.name,
            rank=each.rank,
            layers=each.layers,
            count=each.parameters,
            disk=format_bytes(each.checkpoint_bytes),
            merged=words("merged into the weights above" if each.merged else "not active"),
        )
    if view.nan or view.infinite:
        yield words(
            "{nan:,} are not a number (NaN), {infinite:,} are infinite:",
            nan=view.nan,
            infinite=view.infinite,
        )
        broken = [each for each in view.tensors if _is_broken(each) and each.shared_with is None]
        yield from (
            f"  {each.name}: NaN {each.nan:,}, inf {each.infinite:,}" for each in broken[:NAMED]
        )
        if len(broken) > NAMED:
            yield "  " + words("and {count} tensors more", count=len(broken) - NAMED)


@dataclass
class _Node:
    """A module or a tensor of the tree; several alike ones that stand side by side are one."""

    name: str
    tensor: Weights | None = None
    children: list["_Node"] = field(default_factory=list)
    copies: int = 1

    @property
    def likeness(self) -> tuple[object, ...]:
        """What is the same for modules that are alike in all but their weights' values."""
        own = None
        if self.tensor is not None:
            kept = self.tensor
            own = (kept.shape, kept.kept_as, kept.kept_bytes, kept.nan, kept.infinite)
        return own, tuple((each.name, each.copies, each.likeness) for each in self.children)

    def total(self, amount: str) -> int:
        """The sum of an amount over all tensors inside, of all copies."""
        own = 0 if self.tensor is None else getattr(self.tensor, amount)
        return self.copies * (own + sum(each.total(amount) for each in self.children))


def _tree(view: ParametersView, words: Words) -> Table:
    table = Table(box=box.SIMPLE_HEAD, padding=(0, 1, 0, 0), pad_edge=False)
    table.add_column(words("tensor"), overflow="fold")
    table.add_column(words("shape"), justify="right")
    table.add_column(words("n-grams" if view.family == "ngram" else "parameters"), justify="right")
    table.add_column(words("share"), justify="right")
    table.add_column(words("in memory"), justify="right")
    table.add_column(words("kept as"), overflow="fold")
    for node in _roots(view.tensors):
        _add_rows(table, node, view, depth=0, times=1)
    return table


def _add_rows(table: Table, node: _Node, view: ParametersView, *, depth: int, times: int) -> None:
    """A row with the sums over all copies, and those of what is inside."""
    count, kept = times * node.total("parameters"), times * node.total("kept_bytes")
    name = node.name if node.copies == 1 else f"{node.name} ({node.copies} ×)"
    cells = ["", f"{count:,}", share(count, view.parameters), format_bytes(kept), ""]
    if (tensor := node.tensor) is not None:
        cells[0], cells[4] = "×".join(map(str, tensor.shape)), tensor.kept_as + _flags(tensor)
        if tensor.shared_with is not None:
            cells[1], cells[2] = f"= {tensor.shared_with.removesuffix('.weight')}", ""
            cells[3] = cells[3] if tensor.kept_bytes else ""
    style = "" if node.tensor is not None else "bold"
    table.add_row(Text(" " * depth + name, style=style), *map(Text, cells))
    for child in node.children:
        _add_rows(table, child, view, depth=depth + 1, times=times * node.copies)


def _flags(tensor: Weights) -> str:
    nan = f" NaN: {tensor.nan:,}" if tensor.nan else ""
    return nan + (f" inf: {tensor.infinite:,}" if tensor.infinite else "")


def _roots(tensors: Sequence[Weights]) -> list[_Node]:
    root = _Node("")
    for tensor in tensors:
        at = root
        for part in tensor.name.split("."):
            found = next((each for each in reversed(at.children) if each.name == part), None)
            if found is None:
                found = _Node(part)
                at.children.append(found)
            at = found
        at.tensor = tensor
    return [_folded(each) for each in root.children]


def _folded(node: _Node) -> _Node:
    """The node with alike numbered children as one, and named together with an only child."""
    children: list[_Node] = []
    runs: list[list[str]] = []
    for child in map(_folded, node.children):
        same = children and child.name.isdecimal() and children[-1].likeness == child.likeness
        if same and runs[-1][-1].isdecimal():
            runs[-1].append(child.name)
        else:
            children.append(child)
            runs.append([child.name])
    for child, names in zip(children, runs, strict=True):
        if len(names) > 1:
            child.name, child.copies = f"{names[0]}–{names[-1]}", len(names)
    if node.tensor is None and len(children) == 1:
        only = children[0]
        name = node.name if only.name == "weight" else f"{node.name}.{only.name}"
        return _Node(name, only.tensor, only.children, only.copies)
    return _Node(node.name, node.tensor, children)


def _parts(view: ParametersView, words: Words) -> Table:
    table = Table(box=box.SIMPLE, pad_edge=False)
    table.add_column(words("part"))
    for name in ("n-grams" if view.family == "ngram" else "parameters", "share", "in memory"):
        table.add_column(words(name), justify="right")
    for part, count in view.by_part.items():
        kept = sum(each.kept_bytes for each in view.tensors if each.part == part)
        cells = (words(part), f"{count:,}", share(count, view.parameters), format_bytes(kept))
        table.add_row(*cells)
    total = (words("all"), f"{view.parameters:,}", "100%", format_bytes(view.kept_bytes))
    table.add_row(*total, style="bold")
    return table


def share(count: int, total: int) -> str:
    """A part of all as a percentage; a dash of nothing."""
    if not total:
        return "–"
    return "<0.1%" if 0 < count < total / 2000 else f"{count / total:.1%}"


def _is_broken(tensor: Weights) -> bool:
    return bool(tensor.nan or tensor.infinite)
