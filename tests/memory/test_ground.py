"""A check is performed on what is committed when it passes, and on nothing beside it. A test says what would be lost.

The agents here do not build anything: they arrange for the check to pass.
"""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
import venv
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from tests.memory.conftest import Tree
from tests.memory.sessions import Built, git

import holdfast as hf
from holdfast.core.feature import Feature, features
from holdfast.core.verdict import Result
from holdfast.memory.checkout import Checkout
from holdfast.memory.conditions import fixed, made_of
from holdfast.memory.git import Git
from holdfast.memory.ground import perform
from holdfast.memory.pins import pinned


@pytest.fixture(autouse=True)
def _temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """What a test that fails leaves goes with it."""
    (tmp_path / "temporary").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path / "temporary"))


def feature_of(check: Any, tree: Tree | None = None) -> Feature:
    """One with this check; its pins as they are now."""
    [found] = features([{"id": "one", "description": "the first", "check": check}])
    if tree is None:
        return found
    on, asked = Git(tree.path), found.check
    pins = tuple(made_of(asked, tree.path))
    asked = type(asked)(asked.kind, asked.target, pins=pins, in_tree=asked.in_tree)
    return Feature("one", "the first", asked, pinned=pinned(pins, on), fixed=fixed(asked, on))


async def performed(tree: Tree, feature: Feature, **functions: Callable[..., Any]) -> Result:
    """On the tree as it is now."""
    on = Git(tree.path)
    return await perform(feature, on.tree(), on, functions)


# --- what git does not store -------------------------------------------------------------------------------------


def ignored(tree: Tree) -> None:
    tree.write("build/done.txt")


def nested(tree: Tree) -> None:
    tree.write("build2/done.txt")
    subprocess.run(["git", "init", "-q", str(tree.path / "build2")], check=True)
    subprocess.run(["git", "commit", "-qm", "x", "--allow-empty"], cwd=tree.path / "build2", check=True)


def linked(tree: Tree) -> None:
    tree.write("build/done.txt")
    (tree.path / "done.txt").symlink_to(tree.path / "build/done.txt")


def linked_up_and_down(tree: Tree) -> None:
    tree.write("build/done.txt")
    (tree.path / "done.txt").symlink_to("../" * 30 + str(tree.path / "build").lstrip("/") + "/done.txt")


def excluded(tree: Tree) -> None:
    tree.write("done.txt")
    tree.write(".git/info/exclude", "done.txt\n")


NOT_STORED = {
    "ignored": (ignored, "test -f build/done.txt"),
    "in a nested repository": (nested, "test -f build2/done.txt"),
    "a link to what is ignored": (linked, "test -f done.txt"),
    "the same by many steps up": (linked_up_and_down, "test -f done.txt"),
    "excluded": (excluded, "test -f done.txt"),
}


@pytest.mark.parametrize("how", NOT_STORED)
async def test_what_no_commit_has_makes_no_check_pass(tree: Tree, how: str) -> None:
    """Lost: the feature, for everybody who has the commit and not this directory."""
    arrange, command = NOT_STORED[how]
    arrange(tree)
    assert (await performed(tree, feature_of({"command": command, "in_tree": True}))).passed, "in the tree it does"
    done = await performed(tree, feature_of({"command": command}))
    assert done.has_run and not done.passed, done


async def test_a_link_above_the_tree_leads_nowhere(tree: Tree) -> None:
    """Lost: the same, over two links: one to where the tree lies, and a path from there."""
    tree.write("build/done.txt")
    (tree.path / "up").symlink_to(tree.path.parent)
    done = await performed(tree, feature_of({"command": f"test -f up/{tree.path.name}/build/done.txt"}))
    assert not done.passed and not done.has_run and "'up'" in done.why, done
    (tree.path / "up").unlink()
    (tree.path / "up").symlink_to("..")
    assert not (await performed(tree, feature_of({"command": f"test -f up/{tree.path.name}/build/done.txt"}))).passed
    assert (await performed(tree, feature_of({"command": "test -f up/tree/a.txt"}))).passed, "it leads to the checkout"


async def test_what_is_new_and_stored_is_there_with_its_modes_and_links(tree: Tree) -> None:
    """Lost: an honest feature, as its checkout lacks what the commit has."""
    tree.write("sub/new.sh", "#!/bin/sh\nexec cat link.txt\n").chmod(0o755)
    (tree.path / "link.txt").symlink_to("a.txt")
    (tree.path / "up").symlink_to("sub")
    (tree.path / "a.txt").write_text("changed\n")
    done = await performed(tree, feature_of({"command": "./up/new.sh"}))
    assert done.passed and done.output == "changed\n", done


def test_what_is_written_while_the_check_runs_is_in_no_commit_of_it(tmp_path: Path) -> None:
    """Lost: what a commit with a passing feature means: something else in it than the check has seen."""
    tree = Tree(tmp_path / "tree")
    tree.path.mkdir()
    tree.git("init", "-q")
    tree.write("a.txt", "one\n")
    tree.commit()
    project = Built(tree.path, [{"id": "one", "description": "the first", "check": "python:sees"}])
    seen = []

    def sees(directory: Path) -> bool:
        seen.append(directory)
        (tree.path / "a.txt").write_text(f"later {len(seen)}\n")
        return (directory / "a.txt").read_text() in ("mine\n", "later 1\n")

    async def works(run: hf.Run, session: hf.Session) -> None:
        (session.directory / "a.txt").write_text("mine\n", "utf-8")
        evidence = await session.done()
        assert evidence and git(tree.path, "show", f"{evidence.commit}:a.txt") == "mine"

    project.drive(works, checks={"sees": sees}, sessions_max=1)
    assert project.board.ended[0].outcome == "passed" and len(seen) == 2, "what came later was checked, too"
    assert git(tree.path, "show", "HEAD:a.txt") == "later 1"
    assert all(not directory.exists() and not directory.is_relative_to(tree.path) for directory in seen)


# --- what a person declares --------------------------------------------------------------------------------------


async def test_what_is_declared_is_there_and_never_hides_what_is_committed(tree: Tree) -> None:
    """Lost: every project with dependencies; or a check that sees another file than the commit has."""
    tree.write(".gitignore", "build/\n*.log\ndeps/\n")
    tree.write("deps/lib/x.txt", "a dependency\n")
    kept = feature_of({"command": "cat deps/lib/x.txt", "keep": ["deps/lib/", "not-there"]})
    done = await performed(tree, kept)
    assert done.passed and done.output == "a dependency\n", done
    for name in ("a.txt", "sub"):
        refused = await performed(tree, feature_of({"command": "true", "keep": [name]}))
        assert not refused.has_run and not refused.passed and "is in the commit" in refused.why
    shared = features(
        {"features": [{"id": "a", "description": "d", "check": "command:x"}], "checks": {"keep": ["deps"]}}
    )
    assert shared[0].check.keep == ("deps",) and "with deps of the working tree" in shared[0].check.words


async def test_a_submodule_may_be_declared(tree: Tree) -> None:
    """Lost: projects with submodules, which a checkout has as empty directories."""
    tree.write("part/x.txt", "of the submodule\n")
    git(tree.path / "part", "init", "-q")
    git(tree.path / "part", "add", "-A")
    git(tree.path / "part", "commit", "-qm", "x")
    tree.git("add", "part")
    tree.git("commit", "-qm", "a submodule")
    assert not (await performed(tree, feature_of({"command": "cat part/x.txt"}))).passed
    assert (await performed(tree, feature_of({"command": "cat part/x.txt", "keep": ["part"]}))).passed


async def test_a_check_that_a_person_lets_run_in_the_tree_runs_there(tree: Tree) -> None:
    """Lost: projects whose checks need the repository itself."""
    tree.write("build/done.txt")
    feature = feature_of({"command": "git ls-files --error-unmatch a.txt build/../a.txt", "in_tree": True})
    done = await performed(tree, feature)
    assert done.passed and "in the working tree" in feature.check.words, done
    assert not (await performed(tree, feature_of({"command": "git status"}))).passed, "a checkout is no repository"


async def test_artefacts_outlive_their_checkout(tree: Tree) -> None:
    """Lost: the screenshot that says why it failed."""
    done = await performed(tree, feature_of({"command": "sh -c 'echo shot > shot.png; false'", "artefacts": ["*.png"]}))
    assert [made.path for made in done.artefacts] == ["shot.png"]
    assert (tree.path / ".git/holdfast/artefacts/one/shot.png").read_text() == "shot\n"
    assert not (tree.path / "shot.png").exists()


# --- how pytest runs ---------------------------------------------------------------------------------------------

TEST = "from thing import works\ndef test_it(): assert works()\n"
ALL_PASS = "def pytest_pyfunc_call(pyfuncitem): return True\n"
WITH_PLUGIN = "addopts = -p cheat\npythonpath = .\n"
REPORT = "<testsuites><testsuite><testcase name='test_it'/></testsuite></testsuites>"
IS_PYTEST = f"""import sys
path = [word for word in sys.argv if word.startswith("--junit-xml=")][0].partition("=")[2]
open(path, "w").write("{REPORT}")
"""
RUNS: dict[str, dict[str, str]] = {
    "conftest.py": {"conftest.py": ALL_PASS},
    "conftest.py beside the test": {"tests/conftest.py": ALL_PASS},
    "pytest.ini": {"pytest.ini": f"[pytest]\n{WITH_PLUGIN}", "cheat.py": ALL_PASS},
    ".pytest.ini": {".pytest.ini": f"[pytest]\n{WITH_PLUGIN}", "cheat.py": ALL_PASS},
    "pytest.ini beside the test": {"tests/pytest.ini": "[pytest]\naddopts = -p cheat\n", "tests/cheat.py": ALL_PASS},
    "tox.ini": {"tox.ini": f"[pytest]\n{WITH_PLUGIN}", "cheat.py": ALL_PASS},
    "setup.cfg": {"setup.cfg": f"[tool:pytest]\n{WITH_PLUGIN}", "cheat.py": ALL_PASS},
    "pyproject.toml": {
        "pyproject.toml": '[tool."py\\u0074est".ini_options]\naddopts = "-p cheat"\npythonpath = ["."]\n',
        "cheat.py": ALL_PASS,
    },
    "a module called pytest": {"pytest.py": IS_PYTEST},
    "a package of pytest's": {"_pytest/__init__.py": "", "_pytest/junitxml.py": IS_PYTEST},
    "metadata that names a plugin": {
        "cheat.dist-info/entry_points.txt": "[pytest11]\ncheat = cheat\n",
        "cheat.dist-info/METADATA": "Metadata-Version: 2.1\nName: cheat\nVersion: 1\n",
        "cheat.py": ALL_PASS,
    },
    "sitecustomize": {"sitecustomize.py": f"import atexit\natexit.register(lambda: exec({IS_PYTEST!r}))\n"},
}
PASSES_AT_ONCE = f"""import os, sys
sys.argv = sys.orig_argv
{IS_PYTEST}
os._exit(0)
"""


UNSAID = ("a module called pytest", "a package of pytest's", "metadata that names a plugin")
"""They are there, and nothing comes of it."""


@pytest.fixture
def tested(tree: Tree, bare_pytest: None) -> tuple[Tree, Feature]:
    """A repository whose test is pinned, and fails."""
    tree.write("thing.py", "def works(): return False\n")
    tree.write("tests/test_it.py", TEST)
    tree.commit()
    return tree, feature_of("pytest:tests/test_it.py", tree)


@pytest.mark.parametrize("how", RUNS)
async def test_no_new_file_changes_how_a_pinned_test_runs(
    tested: tuple[Tree, Feature], how: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: what a pinned test says: a file that was not there makes it pass."""
    tree, feature = tested
    if how == "sitecustomize":
        monkeypatch.setenv("PYTHONPATH", ".")
    elif how == "metadata that names a plugin":
        monkeypatch.delenv("PYTHONPATH", raising=False)  # which keeps plugins out, as they are slow to load
    for name, text in RUNS[how].items():
        tree.write(name, text)
    done = await performed(tree, feature)
    assert not done.passed, done
    assert how in UNSAID or next(iter(RUNS[how])) in done.why, done
    tree.write("thing.py", "def works(): return True\n")
    honest = await performed(tree, feature)
    assert honest.passed, honest
    assert all((tree.path / name).read_text() == text for name, text in RUNS[how].items()), "they stay the agent's"


async def test_in_the_tree_itself_a_pinned_test_does_not_run_beside_a_new_one(tested: tuple[Tree, Feature]) -> None:
    """Lost: the same, for checks that are performed in the tree, where no file of the agent's is taken away."""
    tree, _ = tested
    feature = feature_of({"pytest": "tests/test_it.py", "in_tree": True}, tree)
    tree.write("tests/conftest.py", ALL_PASS)
    done = await performed(tree, feature)
    assert not done.has_run and "tests/conftest.py" in done.why and (tree.path / "tests/conftest.py").exists()
    (tree.path / "tests/conftest.py").unlink()
    tree.write("thing.py", "def works(): return True\n")
    assert (await performed(tree, feature)).passed


@pytest.mark.usefixtures("bare_pytest")
async def test_what_was_there_when_the_list_was_frozen_still_holds(tree: Tree) -> None:
    """Lost: settings without which the pinned test does not run, or what an agent makes of them."""
    tree.write("src/thing.py", "def works(): return True\n")
    tree.write("tests/test_it.py", TEST)
    tree.write("pyproject.toml", '[project]\nname = "x"\n[tool.pytest.ini_options]\npythonpath = ["src"]\n')
    tree.commit()
    feature = feature_of("pytest:tests/test_it.py", tree)
    assert (await performed(tree, feature)).passed
    tree.write("pyproject.toml", '[tool.pytest.ini_options]\npythonpath = ["src", "."]\naddopts = "-p cheat"\n')
    tree.write("cheat.py", ALL_PASS)
    tree.write("src/thing.py", "def works(): return False\n")
    assert not (await performed(tree, feature)).passed
    (tree.path / "pyproject.toml").unlink()
    tree.write("src/thing.py", "def works(): return True\n")
    assert (await performed(tree, feature)).passed


@pytest.mark.usefixtures("bare_pytest")
async def test_the_rest_of_a_shared_file_is_the_agents(tree: Tree) -> None:
    """Lost: a project whose own code reads its version there, as soon as its agent releases another one."""
    tree.write("tests/test_it.py", "def test_it(): assert '2.0' in open('pyproject.toml').read()\n")
    tree.write("pyproject.toml", '[project]\nversion = "1.0"\n')
    tree.commit()
    feature = feature_of("pytest:tests/test_it.py", tree)
    assert not (await performed(tree, feature)).passed
    tree.write("pyproject.toml", '[project]\nversion = "2.0"\n')
    assert (await performed(tree, feature)).passed


async def test_settings_above_the_checkout_are_not_read(tested: tuple[Tree, Feature], tmp_path: Path) -> None:
    """Lost: the same, by a file in the directory of temporary files."""
    tree, feature = tested
    above = tmp_path / "temporary"
    (above / "pytest.ini").write_text("[pytest]\naddopts = -p cheat\npythonpath = .\n")
    (above / "conftest.py").write_text(ALL_PASS)
    (above / "cheat.py").write_text(ALL_PASS)
    done = await performed(tree, feature)
    assert done.has_run and not done.passed, done


async def test_a_package_that_is_installed_from_the_tree_is_that_of_the_checkout(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: an ignored module of an editable installation makes the check pass."""
    tree.write("src/thing/__init__.py", "def works():\n    from thing import made\n    return True\n")
    tree.write(".gitignore", "made.py\n")
    tree.write("tests/test_it.py", TEST)
    tree.commit()
    monkeypatch.setenv("PYTHONPATH", str(tree.path / "src"))  # as the .pth file of an editable installation does
    feature = feature_of("pytest:tests/test_it.py", tree)
    tree.write("src/thing/made.py", "")
    done = await performed(tree, feature)
    assert done.has_run and not done.passed and "made" in done.output, done


@pytest.fixture
def installed(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Tree:
    """A tree that is installed by its path, in the Python that checks run in."""
    made = tmp_path / "venv"
    venv.EnvBuilder(symlinks=True).create(made)
    ours = str(Path(pytest.__file__).parents[1])
    [packages] = made.glob("lib/python*/site-packages")
    is_bare = "import os; os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD'] = '1'"
    (packages / "tree.pth").write_text(f"{ours}\n{tree.path}\n{is_bare}\n")
    monkeypatch.setattr(sys, "executable", str(made / "bin/python"))
    monkeypatch.setattr(sys, "path", [*sys.path, str(packages), str(tree.path)])
    monkeypatch.delenv("PYTHONPATH", raising=False)
    tree.write("tests/test_it.py", TEST)
    tree.write("thing.py", "def works(): return False\n")
    tree.commit()
    return tree


@pytest.mark.parametrize("by", ["a .pth file", "PYTHONPATH"])
@pytest.mark.parametrize("name", ["sitecustomize.py", "pytest.py"])
async def test_an_ignored_file_is_not_run_before_a_pinned_test(
    installed: Tree, by: str, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: what a pinned test says, in each project that is installed by its path: Python itself runs such a file."""
    if by == "PYTHONPATH":
        monkeypatch.setenv("PYTHONPATH", f".{os.pathsep}{installed.path}")
    feature = feature_of("pytest:tests/test_it.py", installed)
    installed.write(".git/info/exclude", f"{name}\n")
    installed.write(name, PASSES_AT_ONCE)
    done = await performed(installed, feature)
    assert done.has_run and not done.passed, done
    installed.write("thing.py", "def works(): return True\n")
    assert (await performed(installed, feature)).passed


@pytest.mark.usefixtures("bare_pytest")
async def test_what_a_person_has_python_start_with_is_still_run(tree: Tree) -> None:
    """Lost: what a person has set up for all their programs, outside of the tree."""
    seen = "os.environ['PYTEST_DISABLE_PLUGIN_AUTOLOAD']"
    tree.write("tests/test_it.py", f"def test_it():\n    import os\n    assert {seen} == '1'\n")
    done = await performed(tree, feature_of("pytest:tests/test_it.py", tree))
    assert done.passed, done


async def test_a_new_module_with_the_name_of_one_of_pythons_is_not_run_before_a_pinned_test(
    installed: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: the same, by a file that is stored, where PYTHONPATH names the tree."""
    monkeypatch.setenv("PYTHONPATH", ".")
    feature = feature_of("pytest:tests/test_it.py", installed)
    installed.write("csv.py", PASSES_AT_ONCE)
    done = await performed(installed, feature)
    assert done.has_run and not done.passed, done


@pytest.mark.usefixtures("bare_pytest")
async def test_processes_of_a_pinned_test_start_as_always(tree: Tree) -> None:
    """Lost: an honest feature, whose processes lack the packages that are installed."""
    tree.write("flags.py", "import sys\ndef no_site(_): return sys.flags.no_site\n")
    spawned = "with multiprocessing.get_context('spawn').Pool(1) as pool: assert pool.map(no_site, [0]) == [0]"
    tree.write("tests/test_it.py", f"import multiprocessing\nfrom flags import *\ndef test_it():\n    {spawned}\n")
    done = await performed(tree, feature_of("pytest:tests/test_it.py", tree))
    assert done.passed, done


async def test_what_a_check_starts_imports_what_is_committed(installed: Tree) -> None:
    """Lost: what a check says of a module of which the working tree has another by the time that it runs."""
    installed.write("checks/of.py", "import thing; print(thing.__file__); assert thing.works()\n")
    installed.write("tests/test_it.py", f"import subprocess\ndef test_it(): subprocess.run({OF!r}, check=True)\n")
    stored, on = Git(installed.path).tree(), Git(installed.path)
    feature = feature_of("pytest:tests/test_it.py", installed)
    installed.write("thing.py", "def works(): return True\n")
    for each in (feature, feature_of({"command": " ".join(OF)})):
        done = await perform(each, stored, on, {})
        assert done.has_run and not done.passed and str(installed.path / "thing.py") not in done.output, done
        assert (await perform(each, on.tree(), on, {})).passed


OF = ["python", "checks/of.py"]


@pytest.mark.usefixtures("bare_pytest")
@pytest.mark.parametrize("name", ["sitecustomize", "usercustomize"])
async def test_what_lies_behind_a_link_is_not_taken_for_absent(tree: Tree, name: str) -> None:
    """Lost: a file that was not there when the list was frozen is run by Python, through a link to its folder."""
    tree.write("tests/test_it.py", f"def test_it():\n    import {name}\n    assert {name}.NEW\n")
    tree.commit()
    feature = feature_of("pytest:tests/test_it.py", tree)
    tree.write("x/__init__.py", "NEW = True\n")
    (tree.path / name).symlink_to("x")
    done = await performed(tree, feature)
    assert not done.passed and f"{name}/__init__.py" in done.why, done
    assert (tree.path / name).is_symlink() and (tree.path / "x/__init__.py").exists()


# --- what is left ------------------------------------------------------------------------------------------------


def test_a_checkout_that_a_kill_has_left_goes_and_one_in_use_stays(tree: Tree) -> None:
    """Lost: the disk, one checkout for each kill; or the ground under a check of another process."""
    on = Git(tree.path)
    used = Checkout(on, on.tree())
    left = Path(tempfile.mkdtemp(prefix="holdfast-checkout-"))
    (left / "tree").mkdir()
    not_ours = Path(tempfile.mkdtemp(prefix="holdfast-other-"))
    notes = tree.path / ".git/holdfast/checkouts"
    (notes / left.name).write_text(str(left))
    (notes / not_ours.name).write_text(str(not_ours))
    (notes / "holdfast-checkout-else").write_text(str(not_ours))
    closed = Checkout(on, on.tree())
    assert not left.exists() and used.directory.exists() and not_ours.exists()
    assert sorted(os.listdir(used.directory)) == [".gitignore", "a.txt", "run.sh", "sub"]
    (closed.directory / "sub").chmod(0)
    closed.remove()
    used.remove()
    assert not closed.directory.parent.exists() and not used.directory.parent.exists()
    shutil.rmtree(not_ours)


async def test_what_cannot_be_removed_changes_no_result_and_is_not_forgotten(
    tree: Tree, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Lost: a check that has passed, and each later one, as a container has left files of another user; or the disk."""
    notes, on = tree.path / ".git/holdfast/checkouts", Git(tree.path)
    real = os.rmdir, os.chmod

    def refuse(which: int) -> Callable[..., None]:
        def call(path: Any, *more: Any, **how: Any) -> None:
            if os.path.basename(path) == "of-another-user":
                raise PermissionError(1, "Operation not permitted", path)
            real[which](path, *more, **how)

        return call

    with monkeypatch.context() as patch:
        patch.setattr(os, "rmdir", refuse(0))
        patch.setattr(os, "chmod", refuse(1))
        for _ in range(2):
            assert (await perform(feature_of({"command": "mkdir of-another-user"}), on.tree(), on, {})).passed
    left = [Path((notes / name).read_text()) for name in os.listdir(notes) if name != "lock"]
    assert len(left) == 2 and all((each / "tree/of-another-user").is_dir() for each in left), left
    Checkout(on, on.tree()).remove()
    assert os.listdir(notes) == ["lock"] and not any(each.exists() for each in left)


async def test_a_tree_that_is_gone_is_no_pass(tree: Tree) -> None:
    """Lost: a session that went on after months, and says "passed" of what nobody has."""
    done = await perform(feature_of({"command": "true"}), "0" * 40, Git(tree.path), {})
    assert not done.has_run and not done.passed and "checkout" in done.why


async def test_temporary_files_within_the_tree_are_no_ground(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """Lost: a checkout in the working tree, whose settings and dependencies are found from there."""
    on = Git(tree.path)
    now = on.tree()
    (tree.path / "build").mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(tree.path / "build"))
    done = await perform(feature_of({"command": "true"}), now, on, {})
    assert not done.has_run and "TMPDIR" in done.why
