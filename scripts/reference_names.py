"""Reference of a module's public names, as Markdown: read from the source, nothing is imported."""

import ast
import importlib.util
from collections.abc import Iterator
from pathlib import Path
from types import ModuleType

Definition = ast.FunctionDef | ast.ClassDef


def describe_module(module: ModuleType) -> str:
    """Every name that the module makes public, with the views that its functions return."""
    parts = []
    for name in module.__all__:
        place = module._PLACES[name]
        node = find_definition(place, name)
        parts.append(describe(node, place))
        view = _returned(node)
        if view.endswith("View"):
            parts.append(describe(find_definition(place, view), place))
    return "\n".join(parts)


def find_definition(module: str, name: str) -> Definition:
    """Where a module defines a name, also by importing it. LookupError."""
    spec = importlib.util.find_spec(module)
    if spec is None or spec.origin is None:
        raise LookupError(f"there is no module {module}")
    tree = ast.parse(Path(spec.origin).read_text(encoding="utf-8"))
    for node in tree.body:
        if isinstance(node, Definition) and node.name == name:
            return node
        if isinstance(node, ast.ImportFrom) and any(each.name == name for each in node.names):
            return find_definition(str(node.module), name)
    raise LookupError(f"{module} has no {name}")


def describe(node: Definition, module: str) -> str:
    """A function or class with what a reader needs of it."""
    if isinstance(node, ast.FunctionDef):
        return f"## {node.name}\n\n{_code(_signature(node))}\n\n{_text(node)}\n"
    parts = [f"## {node.name}\n\n`{module}.{node.name}`\n\n{_text(node)}\n"]
    fields = "\n".join(_fields(node))
    if fields:
        parts.append(f"{fields}\n")
    for method in node.body:
        if isinstance(method, ast.FunctionDef) and _is_public(method):
            parts.append(f"### {node.name}.{method.name}\n")
            if not _is_property(method):
                parts.append(f"{_code(_signature(method))}\n")
            parts.append(f"{_text(method)}\n")
    return "\n".join(parts)


def _fields(node: ast.ClassDef) -> Iterator[str]:
    """One line a field, with the string that follows it."""
    following = [*node.body[1:], None]
    for each, after in zip(node.body, following, strict=True):
        if not isinstance(each, ast.AnnAssign) or not isinstance(each.target, ast.Name):
            continue
        if each.target.id.startswith("_"):
            continue
        said = ""
        if isinstance(after, ast.Expr) and isinstance(after.value, ast.Constant):
            said = ": " + " ".join(str(after.value.value).split())
        yield f"- `{each.target.id}: {ast.unparse(each.annotation)}`{said}"


def _signature(node: ast.FunctionDef) -> str:
    """`def` with the arguments as the source writes them, one a line where they are many."""
    returns = f" -> {ast.unparse(node.returns)}" if node.returns is not None else ""
    line = f"{node.name}({ast.unparse(node.args)}){returns}"
    if len(line) <= 88:
        return line
    return (
        f"{node.name}(\n{''.join(f'    {each},' + chr(10) for each in _arguments(node))}){returns}"
    )


def _arguments(node: ast.FunctionDef) -> list[str]:
    args = node.args
    usual = [*args.posonlyargs, *args.args]
    defaults = [None] * (len(usual) - len(args.defaults)) + list(args.defaults)
    found = [_argument(each, value) for each, value in zip(usual, defaults, strict=True)]
    if args.vararg is not None:
        found.append(f"*{_argument(args.vararg, None)}")
    elif args.kwonlyargs:
        found.append("*")
    for each, value in zip(args.kwonlyargs, args.kw_defaults, strict=True):
        found.append(_argument(each, value))
    if args.kwarg is not None:
        found.append(f"**{_argument(args.kwarg, None)}")
    return found


def _argument(each: ast.arg, default: ast.expr | None) -> str:
    annotation = f": {ast.unparse(each.annotation)}" if each.annotation is not None else ""
    return f"{each.arg}{annotation}" + (f" = {ast.unparse(default)}" if default else "")


def _returned(node: Definition) -> str:
    """The name of what a function gives, or nothing."""
    if isinstance(node, ast.FunctionDef) and isinstance(node.returns, ast.Name):
        return node.returns.id
    return ""


def _is_public(method: ast.FunctionDef) -> bool:
    return not method.name.startswith("_")


def _is_property(method: ast.FunctionDef) -> bool:
    names = (ast.unparse(each) for each in method.decorator_list)
    return any(name.endswith("property") for name in names)


def _text(node: Definition) -> str:
    text = ast.get_docstring(node)
    if text is None:
        raise LookupError(f"{node.name} has no docstring")
    return text


def _code(text: str) -> str:
    return f"```python\n{text}\n```"
