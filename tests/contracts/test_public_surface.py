"""The public names are complete, documented and really there."""

from __future__ import annotations

import ast
import inspect
from pathlib import Path

import pytest

import kapps

MODULES = sorted(Path(kapps.__file__).parent.rglob("*.py"))


def test_all_and_the_lazy_table_name_the_same():
    assert sorted(kapps.__all__) == sorted(kapps._PUBLIC)
    assert kapps.__all__ == sorted(kapps.__all__)


@pytest.mark.parametrize("name", kapps.__all__)
def test_public_name_resolves_and_is_documented(name):
    value = getattr(kapps, name)
    assert value.__module__ == kapps._PUBLIC[name]
    doc = inspect.getdoc(value)
    assert doc
    assert len(doc.splitlines()[0]) <= 120
    signature = inspect.signature(value)
    assert signature.return_annotation is not inspect.Signature.empty
    for parameter in signature.parameters.values():
        assert parameter.annotation is not inspect.Parameter.empty, f"{name}({parameter.name}) has no type"


def test_static_imports_for_type_checkers_match_the_lazy_table():
    tree = ast.parse(Path(kapps.__file__).read_text(encoding="utf-8"))
    guarded = [node for node in tree.body if isinstance(node, ast.If)]
    named = {alias.name: node.module for block in guarded for node in block.body for alias in node.names}
    assert named == kapps._PUBLIC


def test_unknown_name_is_answered_with_the_public_ones():
    with pytest.raises(AttributeError, match="create_model"):
        _ = kapps.creat_model


def test_dir_shows_the_public_names():
    assert set(kapps.__all__) <= set(dir(kapps))


def test_version_is_the_project_s(pyproject):
    assert kapps.__version__ == pyproject["project"]["version"]


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(Path(kapps.__file__).parent).as_posix())
def test_module_has_a_docstring(module):
    tree = ast.parse(module.read_text(encoding="utf-8"))
    if not tree.body:
        pytest.skip("an empty __init__ only marks a package")
    assert ast.get_docstring(tree)


@pytest.mark.parametrize("module", MODULES, ids=lambda path: path.relative_to(Path(kapps.__file__).parent).as_posix())
def test_public_classes_and_functions_are_documented(module):
    """Top-level ones; methods that fulfil a base class' contract need no words of their own."""
    tree = ast.parse(module.read_text(encoding="utf-8"))
    definitions = (ast.FunctionDef, ast.ClassDef)
    nameless = [
        node.name
        for node in tree.body
        if isinstance(node, definitions) and not node.name.startswith("_") and not ast.get_docstring(node)
    ]
    assert nameless == []
