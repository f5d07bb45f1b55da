"""Fails where a source file has over 400 lines or a function over 60."""

import ast
import sys
from pathlib import Path

FILE_LINES = 400
FUNCTION_LINES = 60


def over_budget(path: Path) -> list[str]:
    """One line for each file or function of `path` that is too long."""
    source = path.read_text(encoding="utf-8")
    length = len(source.splitlines())
    found = [f"{path}: {length} lines, at most {FILE_LINES}"] if length > FILE_LINES else []
    for node in ast.walk(ast.parse(source)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            lines = (node.end_lineno or node.lineno) - node.lineno + 1
            if lines > FUNCTION_LINES:
                found.append(f"{path}:{node.lineno}: {node.name} {lines} lines, at most 60")
    return found


def main() -> int:
    """Check every Python file of the project."""
    roots = [Path("src"), Path("tests"), Path("scripts")]
    files = sorted(path for root in roots for path in root.rglob("*.py"))
    found = [line for path in files for line in over_budget(path)]
    print("\n".join(found) or f"size budgets: {len(files)} files within them")
    return 1 if found else 0


if __name__ == "__main__":
    sys.exit(main())
