"""What a MONAI bundle may do without a person's approval: build networks and transforms, and nothing else.

A bundle's configuration is a program: ``$...`` strings are evaluated as Python and ``_target_`` names anything
importable. Only the part of it that inference needs is kept, and of that every expression and every target is checked
against the lists below. Whatever is not on them is refused, not interpreted.
"""

from __future__ import annotations

import ast
import importlib
import re
from collections.abc import Iterator
from typing import Any

from models.errors import UntrustedBundle

_REFERENCE = re.compile(r"@([A-Za-z_][\w]*)((?:(?:#|::)\w+)*)")
_TARGET_MODULES = (
    "monai.transforms",
    "monai.inferers",
    "monai.networks.nets",
    "monai.networks.blocks",
    "monai.networks.layers",
    "monai.utils.enums",
)
_TORCH_TARGET = re.compile(r"torch\.nn\.[A-Z]\w*$|torch\.device$")
# These write files, run foreign code, or fetch pretrained weights; inference needs none of them.
_REFUSED_TARGET = re.compile(
    r"(^|\.)(Save|Write|TorchVision|RandTorchVision|TorchIO|RandTorchIO|ImageFilter|Mapping|EfficientNet|Transchex)"
)
_REFUSED_KEYS = ("pretrained", "_mode_")
_BUILTINS = {
    "abs", "bool", "dict", "float", "int", "len", "list", "max", "min", "range", "round", "str", "sum", "tuple", "zip",
}  # fmt: skip
_MODULE_NAMES = {
    "torch.device", "torch.cuda.is_available", "torch.nn.Softmax", "torch.nn.Sigmoid", "torch.sigmoid", "torch.softmax",
    "torch.argmax", "torch.where", "torch.float", "torch.float16", "torch.float32", "torch.int", "torch.int64",
    "torch.long", "torch.uint8", "np.float32", "np.int32", "np.uint8", "numpy.float32", "numpy.int32", "numpy.uint8",
}  # fmt: skip
_ATTRIBUTES = {
    "to", "eval", "float", "long", "int", "half", "argmax", "softmax", "sigmoid", "items", "keys", "values", "shape",
    "ndim", "device", "transforms",
}  # fmt: skip
_NODES = (
    ast.Expression, ast.Constant, ast.Name, ast.Load, ast.Store, ast.Attribute, ast.Call, ast.keyword, ast.BinOp,
    ast.UnaryOp, ast.BoolOp, ast.Compare, ast.IfExp, ast.List, ast.Tuple, ast.Dict, ast.Subscript, ast.Slice,
    ast.Lambda, ast.arguments, ast.arg, ast.ListComp, ast.comprehension, ast.operator, ast.unaryop, ast.boolop,
    ast.cmpop,
)  # fmt: skip


def needed_part(config: dict[str, Any], roots: tuple[str, ...]) -> dict[str, Any]:
    """Return the top-level entries of `config` that `roots` refer to, directly or through others."""
    wanted = [root for root in roots if root in config]
    kept: dict[str, Any] = {}
    while wanted:
        key = wanted.pop()
        if key in kept or key not in config:
            continue
        kept[key] = config[key]
        for text in _strings(config[key]):
            wanted += [match[1] for match in _REFERENCE.finditer(text)]
    return kept


def check_trust(config: dict[str, Any]) -> None:
    """Check every string and target of a configuration.

    Raises
    ------
    UntrustedBundle
        If an expression or a target is not on the list of what inference needs.
    """
    for entry in _entries(config):
        target = entry.get("_target_")
        if target is not None and not _target_allowed(str(target)):
            raise UntrustedBundle(f"the bundle builds '{_short(target)}', which is not a network, transform or inferer")
        refused = next((key for key in _REFUSED_KEYS if entry.get(key)), None)
        if refused is not None:
            raise UntrustedBundle(f"the bundle sets '{refused}', which would fetch weights or open a debugger")
    for text in _strings(config):
        if text.startswith("%") or text.startswith("__"):
            raise UntrustedBundle("the bundle includes other files by a % macro")
        if text.startswith("$"):
            _check_expression(text[1:])


def _check_expression(text: str) -> None:
    source = _REFERENCE.sub(r"__ref_\1", text)
    try:
        tree = ast.parse(source.strip(), mode="eval")
    except (SyntaxError, ValueError) as error:
        raise UntrustedBundle(f"the bundle holds code that is not a plain expression: '{_short(text)}'") from error
    local = {node.arg for node in ast.walk(tree) if isinstance(node, ast.arg)}
    local |= {node.id for node in ast.walk(tree) if isinstance(node, ast.Name) and isinstance(node.ctx, ast.Store)}
    for node in ast.walk(tree):
        if not _node_allowed(node, local):
            raise UntrustedBundle(f"the bundle would evaluate '{_short(text)}', which is not on the list of safe code")


def _node_allowed(node: ast.AST, local: set[str]) -> bool:
    if not isinstance(node, _NODES):
        return False
    if isinstance(node, ast.Attribute):
        return _attribute_allowed(node)
    if isinstance(node, ast.Name):
        known = local | _BUILTINS | {name.split(".")[0] for name in _MODULE_NAMES}
        return node.id in known or node.id.startswith("__ref_")
    if isinstance(node, ast.Call):
        return _call_allowed(node.func, local)
    return True


def _attribute_allowed(node: ast.Attribute) -> bool:
    name = _dotted(node)
    if name is not None and name.split(".")[0] in ("torch", "np", "numpy", "monai"):
        return any(known == name or known.startswith(f"{name}.") for known in _MODULE_NAMES)
    return node.attr in _ATTRIBUTES


def _call_allowed(function: ast.expr, local: set[str]) -> bool:
    """Only named functions and methods; never a value that happens to be callable."""
    if isinstance(function, ast.Name):
        return function.id in _BUILTINS and function.id not in local
    return isinstance(function, ast.Attribute)


def _dotted(node: ast.expr) -> str | None:
    parts: list[str] = []
    while isinstance(node, ast.Attribute):
        parts.append(node.attr)
        node = node.value
    return ".".join([node.id, *reversed(parts)]) if isinstance(node, ast.Name) else None


def _target_allowed(target: str) -> bool:
    if _REFUSED_TARGET.search(target):
        return False
    if _TORCH_TARGET.match(target):
        return True
    module, _, name = target.rpartition(".")
    if module and not any(module == known or module.startswith(f"{known}.") for known in _TARGET_MODULES):
        return False
    return any(isinstance(getattr(importlib.import_module(known), name, None), type) for known in _TARGET_MODULES)


def _entries(value: Any) -> Iterator[dict[str, Any]]:
    if isinstance(value, dict):
        yield value
        for inner in value.values():
            yield from _entries(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _entries(inner)


def _strings(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, dict):
        for key, inner in value.items():
            yield from _strings(key)
            yield from _strings(inner)
    elif isinstance(value, list):
        for inner in value:
            yield from _strings(inner)


def _short(text: object) -> str:
    return str(text)[:60]
