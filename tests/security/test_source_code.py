"""What must not be in the source: ways to run code that a file brings along."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

import pytest

import tacit

ROOT = Path(tacit.__file__).parent
UNPICKLER = "data/plain_pickle.py"  # the one restricted unpickler
FILES = sorted(path.relative_to(ROOT).as_posix() for path in ROOT.rglob("*.py"))


def name_of(node: ast.expr) -> str:
    """`torch.load` of the expression, also behind an attribute of something else."""
    if isinstance(node, ast.Attribute):
        return f"{name_of(node.value)}.{node.attr}"
    return node.id if isinstance(node, ast.Name) else ""


def is_constant(call: ast.Call, keyword: str, value: object) -> bool:
    return any(
        k.arg == keyword and isinstance(k.value, ast.Constant) and k.value.value is value
        for k in call.keywords
    )


def has(call: ast.Call, keyword: str) -> bool:
    return any(k.arg == keyword for k in call.keywords)


def wrong(tree: ast.AST, file: str) -> Iterator[str]:
    for node in ast.walk(tree):
        if isinstance(node, ast.Import | ast.ImportFrom):
            names = [alias.name for alias in node.names]
            module = getattr(node, "module", None) or ""
            loaders = {"pickle", "cPickle", "_pickle", "dill", "cloudpickle", "joblib", "shelve"}
            an_error = (module, names) == ("pickle", ["UnpicklingError"])  # to catch, not to load
            if (loaders & {*names, module}) and file != UNPICKLER and not an_error:
                yield f"line {node.lineno}: imports {module or names}"
        if not isinstance(node, ast.Call):
            continue
        name, line = name_of(node.func), f"line {node.lineno}: "
        if name in ("eval", "exec", "compile", "__import__", "os.system", "os.popen"):
            yield line + name
        if has(node, "shell") and not is_constant(node, "shell", False):
            yield f"{line}shell="
        if name.split(".")[0] in ("pickle", "_pickle") and name != "pickle.UnpicklingError":
            yield line + name
        if name in ("torch.load", "torch.jit.load") and not is_constant(node, "weights_only", True):
            yield f"{line}{name} without weights_only=True"
        if name.endswith(("load_from_checkpoint", "read_pickle", "from_pickle", "memmap_pickle")):
            yield line + name
        if has(node, "allow_pickle") and not is_constant(node, "allow_pickle", False):
            yield f"{line}allow_pickle"  # numpy's default is False
        if has(node, "trust_remote_code") and not is_constant(node, "trust_remote_code", False):
            yield f"{line}trust_remote_code"
        if name in ("yaml.load", "yaml.load_all", "yaml.unsafe_load", "yaml.full_load"):
            yield line + name
        if name.endswith((".extractall", ".unpack_archive")) or name == "unpack_archive":
            yield f"{line}{name} (path traversal)"
        if name in ("Environment", "jinja2.Environment") and not is_constant(
            node, "autoescape", True
        ):
            yield f"{line}Environment without autoescape=True"
        if name == "Markup" and node.args and not isinstance(node.args[0], ast.Constant):
            yield f"{line}Markup of something that is not a literal"


@pytest.mark.parametrize("file", FILES)
def test_nothing_in_the_source_runs_what_a_file_brings(file: str) -> None:
    tree = ast.parse((ROOT / file).read_text(encoding="utf-8"))
    assert list(wrong(tree, file)) == []


@pytest.mark.parametrize(
    "code",
    [
        "import pickle",
        "from pickle import loads",
        "import joblib",
        "torch.load(p)",
        "torch.load(p, weights_only=False)",
        "np.load(p, allow_pickle=True)",
        "numpy.lib.format.read_array(f, allow_pickle=flag)",
        "yaml.load(t, Loader=L)",
        "eval(x)",
        "exec(x)",
        "subprocess.run(c, shell=True)",
        "os.system(c)",
        "archive.extractall(d)",
        "AutoModel.from_pretrained(n, trust_remote_code=t)",
        "Environment()",
        "Markup(f'<b>{name}</b>')",
    ],
)
def test_the_check_finds_each(code: str) -> None:
    assert list(wrong(ast.parse(code), "x.py"))


def test_the_network_mode_is_no_evaluation_of_code() -> None:
    assert not list(wrong(ast.parse("model.eval()\nmask.compile()"), "x.py"))
