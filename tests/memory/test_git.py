"""The working tree of a project, in real repositories. Each test says what would be lost."""

from __future__ import annotations

import os
import stat
import subprocess
from pathlib import Path

import pytest
from tests.memory.conftest import Tree

from holdfast.errors import UsageError
from holdfast.memory import repository
from holdfast.memory.git import Git, blob_of
from holdfast.memory.repository import GitFailed

KEY = {"Holdfast-Key": "shop/session-4"}
ODD = ("with\nnewline", 'with "quotes"', "with 'single", "ünï-çødé", "-leading", ":(top)magic", "sp ace/*?[x]", "tab\t")


# --- reading -----------------------------------------------------------------------------------------------------


def test_head_says_where_the_tree_stands(tree: Tree) -> None:
    """A brief names the wrong branch, or fails on a detached head."""
    git = Git(tree.path / "sub")
    assert git.head() == (tree.git("rev-parse", "HEAD"), "main", "start")
    assert (git.directory, git.common) == (tree.path.resolve(), (tree.path / ".git").resolve())
    tree.git("checkout", "-q", "--detach")
    assert git.head().branch == ""


def test_what_is_dirty(tree: Tree) -> None:
    """Unfinished work passes for a clean tree, or ignored files for work."""
    git = Git(tree.path, apart=("view.md",))
    assert git.dirty() == []
    tree.write("build/x")
    tree.write("y.log")
    tree.write("view.md")
    assert git.dirty() == []
    tree.write("new/deep.txt")
    tree.write("a.txt", "changed\n")
    (tree.path / "sub/b.txt").unlink()
    (tree.path / "run.sh").chmod(0o644)
    assert git.dirty() == ["a.txt", "new/deep.txt", "run.sh", "sub/b.txt"]


def test_what_flags_of_the_index_hide_is_dirty_all_the_same(tree: Tree) -> None:
    """`git update-index --assume-unchanged` hides an agent's change from the gate."""
    tree.git("update-index", "--assume-unchanged", "a.txt")
    tree.git("update-index", "--skip-worktree", "run.sh")
    tree.write("a.txt", "hidden\n")
    tree.write("run.sh", "hidden\n")
    assert tree.git("status", "--porcelain") == ""
    assert Git(tree.path).dirty() == ["a.txt", "run.sh"]


def test_what_is_only_in_the_index_is_dirty(tree: Tree) -> None:
    """What was staged, and undone in the file, is thrown away unseen."""
    tree.write("a.txt", "staged\n")
    tree.git("add", "a.txt")
    tree.write("a.txt", "one\n")
    assert Git(tree.path).dirty() == ["a.txt"]


def test_the_tree_has_untracked_files_and_leaves_the_index_alone(tree: Tree) -> None:
    """Evidence names another tree than the check saw, or looking changes what a person has staged."""
    git = Git(tree.path, apart=("view.md",))
    assert git.tree() == tree.git("rev-parse", "HEAD^{tree}")
    tree.write("new.txt")
    tree.write("build/x")
    before = (tree.path / ".git/index").read_bytes()
    seen = git.tree()
    assert (tree.path / ".git/index").read_bytes() == before
    tree.write("view.md", "rendered\n")
    assert git.tree() == seen
    (tree.path / "view.md").unlink()
    assert tree.git("rev-parse", tree.commit() + "^{tree}") == seen


def test_names_that_a_shell_or_git_could_misread(tree: Tree) -> None:
    """A file with an odd name is lost, or taken for an option."""
    git = Git(tree.path)
    for name in ODD:
        tree.write(name, name)
    os.symlink("/etc/passwd", tree.path / "out")
    os.symlink("nowhere", tree.path / "dangling")
    assert git.dirty() == sorted([*ODD, "out", "dangling"])
    files = tree.files(git.commit("odd", KEY))
    assert {name: files[name].decode() for name in ODD} == {name: name for name in ODD}
    assert files["out"] == b"/etc/passwd" and git.dirty() == []
    subprocess.run(["git", "fsck", "--strict"], cwd=tree.path, check=True, capture_output=True)


def test_a_folder_that_became_a_link_is_not_followed(tree: Tree, tmp_path: Path) -> None:
    """Files outside of the tree are committed, or removed, as if they were the project's."""
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "b.txt").write_text("theirs\n")
    (tree.path / "sub/b.txt").unlink()
    (tree.path / "sub").rmdir()
    os.symlink(outside, tree.path / "sub")
    git = Git(tree.path)
    assert git.dirty() == ["sub", "sub/b.txt"]
    name = git.quarantine("wip", "m", KEY)
    assert tree.files(name)["sub"] == os.fsencode(outside)
    assert (tree.path / "sub/b.txt").read_text() == "two\n" and (outside / "b.txt").read_text() == "theirs\n"


def test_contains_and_changed(tree: Tree) -> None:
    """A feature counts as checked on a commit that was thrown away, or its regression is not looked for."""
    git, first = Git(tree.path, apart=("view.md",)), tree.git("rev-parse", "HEAD")
    tree.write("a.txt", "2\n")
    second = tree.commit()
    tree.write("new.txt")
    tree.write("view.md")
    assert git.contains(first) and git.contains(second)
    assert git.changed(first) == ["a.txt", "new.txt"] and git.changed(second) == ["new.txt"]
    tree.git("reset", "-q", "--hard", first)
    assert not git.contains(second)
    for odd in ("", "0" * 40, "HEAD", "--all", first[:10]):
        assert not git.contains(odd)
        assert git.changed(odd) == [".gitignore", "a.txt", "new.txt", "run.sh", "sub/b.txt"]


def test_replaced_history_does_not_count(tree: Tree) -> None:
    """`git replace` makes a commit that was thrown away look like one that is contained."""
    first = tree.git("rev-parse", "HEAD")
    tree.write("a.txt", "2\n")
    other = tree.commit()
    tree.git("reset", "-q", "--hard", first)
    tree.commit("third")
    tree.git("replace", "--graft", "HEAD", other)
    assert tree.git("merge-base", "--is-ancestor", other, "HEAD") == ""
    assert not Git(tree.path).contains(other)


# --- what there has to be ----------------------------------------------------------------------------------------


def test_what_is_missing_is_said(tmp_path: Path, tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A user sees a stack of subprocess errors instead of what to do."""
    with pytest.raises(UsageError, match="no directory"):
        Git(tmp_path / "nowhere")
    with pytest.raises(UsageError, match=r"in no git repository.*git init"):
        Git(tmp_path)
    bare = Tree(tmp_path / "bare")
    bare.path.mkdir()
    bare.git("init", "-q", "--bare")
    with pytest.raises(UsageError, match="no working tree"):
        Git(bare.path)
    fresh = Tree(tmp_path / "fresh")
    fresh.path.mkdir()
    fresh.git("init", "-q")
    with pytest.raises(UsageError, match=r"no commit yet.*git commit"):
        Git(fresh.path)
    for empty in ("", ".", str(tree.path)):
        monkeypatch.setenv("PATH", empty)
        tree.write("git", "#!/bin/sh\necho evil > evil\n").chmod(0o755)
        with pytest.raises(UsageError, match="no git among the programs"):
            Git(tree.path)
    assert not (tree.path / "evil").exists()


def test_a_git_that_hangs_is_ended(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A session stands still for ever since a filter or a file system does."""
    git = Git(tree.path)
    (tmp_path / "gitconfig").write_text('[filter "slow"]\n clean = sleep 600\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    git = Git(tree.path)
    tree.write(".gitattributes", "*.txt filter=slow\n")
    tree.write("new.txt")
    monkeypatch.setattr(repository, "DEADLINE_S", 0.5)
    with pytest.raises(GitFailed, match="had not ended within"):
        git.tree()


def test_a_lock_that_a_kill_left_is_no_end(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """An agent's git that was killed leaves index.lock, and no session can ever end again."""
    monkeypatch.setattr(repository, "LOCK_LOOK_S", 0.001)
    git = Git(tree.path)
    tree.write("a.txt", "2\n")
    (tree.path / ".git/index.lock").write_bytes(b"half")
    (tree.path / ".git/HEAD.lock").write_bytes(b"")
    assert git.commit("m", KEY) == tree.git("rev-parse", "HEAD")
    assert tree.git("status", "--porcelain") == ""


# --- commits -----------------------------------------------------------------------------------------------------


def test_a_commit_has_everything_and_its_trailers(tree: Tree) -> None:
    """A commit cannot be traced to the run that made it, or misses files."""
    git = Git(tree.path, apart=("view.md",))
    tree.write("new.txt")
    tree.write("view.md")
    tree.write("build/x")
    tree.write("forced.log")
    tree.git("add", "-f", "forced.log")
    (tree.path / "sub/b.txt").unlink()
    made = git.commit("Adds two numbers\n\nLong text.", {**KEY, "Holdfast-Feature": "add"})
    assert made == tree.git("rev-parse", "HEAD") == git.head().commit
    assert tree.files(made).keys() == {".gitignore", "a.txt", "new.txt", "run.sh", "view.md", "forced.log"}
    assert tree.git("log", "-1", "--format=%(trailers:key=Holdfast-Key,valueonly)") == KEY["Holdfast-Key"]
    assert tree.git("log", "-1", "--format=%an <%ae>|%s") == "Ada <ada@example.org>|Adds two numbers"
    assert tree.git("status", "--porcelain") == "" and (tree.path / "build/x").exists()
    assert tree.git("symbolic-ref", "HEAD") == "refs/heads/main"


def test_a_commit_is_made_once(tree: Tree) -> None:
    """A session that was killed after its commit makes an empty one, or names another."""
    git, first = Git(tree.path), tree.git("rev-parse", "HEAD")
    assert git.commit("nothing", KEY) == first
    tree.write("a.txt", "2\n")
    made = git.commit("m", KEY)
    later = tree.commit("of a person")
    assert git.commit("m", KEY) == made and git.head().commit == later
    tree.write("a.txt", "3\n")
    again = git.commit("m", KEY)
    assert again == git.head().commit != made, "what came after the first one has to be kept, too"


def test_a_commit_without_a_name_for_its_author(tree: Tree, monkeypatch: pytest.MonkeyPatch) -> None:
    """A machine where nobody has set user.name can finish no session."""
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", os.devnull)
    tree.write("a.txt", "2\n")
    Git(tree.path).commit("m", KEY)
    assert tree.git("log", "-1", "--format=%an %ce") == "holdfast holdfast@localhost"


def test_a_commit_on_a_detached_head_and_in_a_linked_tree(tree: Tree, tmp_path: Path) -> None:
    """The commit goes to a branch that is not checked out."""
    tree.git("worktree", "add", "-q", "--detach", str(tmp_path / "linked"))
    linked = Tree(tmp_path / "linked")
    git, main = Git(linked.path), tree.git("rev-parse", "main")
    assert (git.directory, git.common) == (linked.path.resolve(), (tree.path / ".git").resolve())
    linked.write("a.txt", "2\n")
    assert git.commit("m", KEY) == linked.git("rev-parse", "HEAD") != main
    assert tree.git("rev-parse", "main") == main and linked.git("status", "--porcelain") == ""


def test_what_is_under_way_is_not_committed_as_if_it_were_whole(tree: Tree) -> None:
    """Conflict marks are committed as finished work; or a merge that was finished loses its second parent."""
    conflict(tree)
    git = Git(tree.path)
    with pytest.raises(UsageError, match="merge is under way"):
        git.commit("m", KEY)
    tree.write("a.txt", "both\n")
    tree.git("add", "a.txt")
    git.commit("m", KEY)
    assert len(tree.git("log", "-1", "--format=%P").split()) == 2 and git.under_way() == ""
    assert tree.git("status", "--porcelain") == ""


@pytest.mark.parametrize("odd", ["a\0b", "\ud800", "", "x" * 100_000, "-m"])
def test_odd_messages(tree: Tree, odd: str) -> None:
    """An agent's note with an odd character keeps a session from ending."""
    tree.write("a.txt", "2\n")
    made = Git(tree.path).commit(odd, {"Holdfast-Key": "a\nHoldfast-Feature: forged"})
    assert tree.git("log", "-1", "--format=%(trailers:only)", made) == "Holdfast-Key: a Holdfast-Feature: forged"


def conflict(tree: Tree, verb: str = "merge") -> None:
    """A merge, rebase, cherry-pick or revert that stopped at a conflict in a.txt; HEAD was main."""
    tree.git("checkout", "-q", "-b", "other")
    tree.write("a.txt", "other\n")
    tree.commit("on other")
    tree.git("checkout", "-q", "main")
    tree.write("a.txt", "before\n")
    tree.commit("on main, too")
    tree.write("a.txt", "main\n")
    tree.write("more.txt", "of main\n")
    tree.commit("on main")
    what = {"merge": "other", "rebase": "other", "cherry-pick": "other", "revert": "main~1"}[verb]
    tree.git(verb, what, ok=False)
    assert "<<<<<<<" in (tree.path / "a.txt").read_text()


# --- pins --------------------------------------------------------------------------------------------------------


def test_pins_stay_when_git_tidies_up(tree: Tree) -> None:
    """After a `git gc` the file that a check is made of cannot be put back."""
    git = Git(tree.path)
    for data in (b"", b"\xff\0\r\n", b"x" * 100_000):
        blob = git.put(data)
        assert blob == blob_of(data)
        tree.git("reflog", "expire", "--expire=now", "--all")
        tree.git("gc", "-q", "--prune=now")
        assert git.get(blob) == data
    assert git.get("0" * 40) is None and git.get("--help") is None


def test_an_object_that_was_edited_is_not_what_it_was(tree: Tree) -> None:
    """An agent writes another content under the id of a pinned file."""
    git = Git(tree.path)
    blob, evil = git.put(b"right"), git.put(b"evil")
    objects = tree.path / ".git/objects"
    path = objects / blob[:2] / blob[2:]
    path.chmod(stat.S_IRUSR | stat.S_IWUSR)
    path.write_bytes((objects / evil[:2] / evil[2:]).read_bytes())
    assert git.get(blob) is None


# --- nothing of the repository is run ----------------------------------------------------------------------------

HOOKS = (
    "pre-commit",
    "commit-msg",
    "prepare-commit-msg",
    "post-commit",
    "post-checkout",
    "post-merge",
    "post-rewrite",
    "pre-rebase",
    "reference-transaction",
    "post-index-change",
    "fsmonitor-watchman",
    "pre-auto-gc",
)
KEYS = {
    "core.fsmonitor": "{}",
    "core.hooksPath": "hooks",
    "core.editor": "{}",
    "sequence.editor": "{}",
    "core.pager": "{}",
    "pager.log": "{}",
    "core.sshCommand": "{}",
    "core.askPass": "{}",
    "credential.helper": "!{}",
    "diff.external": "{}",
    "diff.evil.command": "{}",
    "diff.evil.textconv": "{}",
    "filter.evil.clean": "{}",
    "filter.evil.smudge": "{}",
    "filter.evil.process": "{}",
    "filter.evil.required": "true",
    "filter.a=b.clean": "{}",
    "merge.evil.driver": "{}",
    "gpg.program": "{}",
    "commit.gpgSign": "true",
    "log.showSignature": "true",
    "tag.gpgSign": "true",
    "trailer.evil.command": "{}",
    "trailer.evil.cmd": "{}",
    "hook.evil.command": "{}",
    "hook.evil.event": "reference-transaction",
    "alias.log": "!{}",
    "alias.read-tree": "!{}",
    "uploadpack.packObjectsHook": "{}",
    "remote.origin.url": "ext::{}",
    "remote.origin.promisor": "true",
    "protocol.ext.allow": "always",
    "extensions.partialClone": "origin",
    "rebase.autoStash": "true",
    "submodule.recurse": "true",
}


def hostile(tree: Tree, tmp_path: Path) -> Path:
    """All that a repository can name a program in names one; gives the file that it would write."""
    mark, program = tmp_path / "ran", tmp_path / "evil.sh"
    program.write_text(f'#!/bin/sh\necho "$0 $*" >> {mark}\ncat\n')
    program.chmod(0o755)
    for name in HOOKS:
        for folder in (tree.path / "hooks", tree.path / ".git/hooks"):
            folder.mkdir(exist_ok=True)
            (folder / name).unlink(missing_ok=True)
            os.symlink(program, folder / name)
    tree.write(".gitattributes", "*.txt filter=evil diff=evil merge=evil\n*.md filter=a=b\n")
    for key, value in KEYS.items():
        tree.git("config", key, value.format(program))
    return mark


def test_what_a_repository_names_is_not_run(tree: Tree, tmp_path: Path) -> None:
    """An agent has the harness run a program of its own, outside of every sandbox that the agent is in."""
    mark = hostile(tree, tmp_path)
    git = Git(tree.path)
    tree.write("a.txt", "2\n")
    tree.write("new.txt", "3\n")
    for call in (git.head, git.dirty, git.tree, git.under_way):
        call()
    assert not git.contains("1" * 40) and git.changed("1" * 40) and git.get("1" * 40) is None
    git.put(b"x")
    assert tree.files(git.commit("m", KEY))["new.txt"] == b"3\n"
    tree.write("a.txt", "4\n")
    (tree.path / "new.txt").unlink()
    assert tree.files(git.quarantine("wip", "m", KEY))["a.txt"] == b"4\n"
    assert (tree.path / "new.txt").read_bytes() == b"3\n" and git.dirty() == []
    assert not mark.exists(), mark.read_text()


@pytest.mark.parametrize("verb", ["merge", "rebase", "cherry-pick", "revert"])
def test_what_a_repository_names_is_not_run_in_the_middle_of_something(tree: Tree, tmp_path: Path, verb: str) -> None:
    """The same where giving up a rebase would run hooks."""
    conflict(tree, verb)
    mark = hostile(tree, tmp_path)
    git = Git(tree.path)
    git.quarantine("wip", "m", KEY)
    assert git.dirty() == [] and not mark.exists(), mark.read_text()


def test_the_test_above_finds_what_it_looks_for(tree: Tree, tmp_path: Path) -> None:
    """Were nothing of it ever run by git, the tests above would show nothing."""
    mark = hostile(tree, tmp_path)
    tree.write("a.txt", "2\n")
    for words in (("add", "a.txt"), ("update-ref", "refs/heads/x", "HEAD"), ("diff", "--ext-diff")):
        tree.git(*words, ok=False)
        assert mark.exists(), words
        mark.unlink()


def test_filters_of_the_user_stay(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Git LFS, which the user has set up, is switched off, and large files end up in the repository."""
    (tmp_path / "gitconfig").write_text('[filter "up"]\n clean = tr a-z A-Z\n smudge = tr A-Z a-z\n')
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(tmp_path / "gitconfig"))
    tree.git("config", "filter.up.clean", "touch evil")
    tree.write(".gitattributes", "*.big filter=up\n")
    tree.write("x.big", "small\n")
    git = Git(tree.path)
    assert tree.files(git.commit("m", KEY))["x.big"] == b"SMALL\n"
    tree.write("x.big", "other\n")
    git.quarantine("wip", "m", KEY)
    assert (tree.path / "x.big").read_text() == "small\n" and not (tree.path / "evil").exists()


def test_another_working_tree_that_the_config_names_is_not_touched(tree: Tree, tmp_path: Path) -> None:
    """`core.worktree` of an agent has the harness clean the user's home."""
    home = tmp_path / "precious"
    home.mkdir()
    (home / "diary.txt").write_text("mine\n")
    tree.git("config", "core.worktree", str(home))
    tree.git("config", "core.bare", "false")
    git = Git(tree.path)
    tree.write("new.txt")
    assert git.directory == tree.path.resolve() and git.dirty() == ["new.txt"]
    git.quarantine("wip", "m", KEY)
    assert os.listdir(home) == ["diary.txt"] and not (tree.path / "new.txt").exists()


def test_variables_of_git_do_not_lead_elsewhere(tree: Tree, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Called within a hook of another repository, everything goes there."""
    other = Tree(tmp_path / "other")
    other.path.mkdir()
    other.git("init", "-q")
    tree.write("new.txt")
    with monkeypatch.context() as patch:
        patch.setenv("GIT_DIR", str(other.path / ".git"))
        patch.setenv("GIT_INDEX_FILE", str(other.path / "index"))
        patch.setenv("GIT_EXTERNAL_DIFF", "touch evil")
        made = Git(tree.path).commit("m", KEY)
    assert tree.git("rev-parse", "HEAD") == made and not (other.path / "index").exists()


# --- checking out ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("how", ["settings of the repository", "settings of the user", "attributes of the repository"])
def test_what_is_checked_out_is_what_is_stored(tree: Tree, how: str, tmp_path: Path) -> None:
    """A check sees line ends, links and texts that nobody else has who has the commit."""
    tree.write("lines.txt", b"one\ntwo\n")
    tree.write("id.txt", "$Id$\n")
    (tree.path / "link").symlink_to("lines.txt")
    commit, git = tree.commit(), Git(tree.path)
    where = "--global" if how == "settings of the user" else "--local"
    if how == "attributes of the repository":
        tree.write(".git/info/attributes", "* text eol=crlf ident\n")
    else:
        for name, value in (("core.autocrlf", "true"), ("core.symlinks", "false")):
            tree.git("config", where, name, value)
        tree.git("config", where, "core.attributesFile", str(tmp_path / "attributes"))
        (tmp_path / "attributes").write_text("* ident\n")
    out = tmp_path / "out"
    out.mkdir()
    assert git.check_out(commit, out) == ["link"]
    assert (out / "lines.txt").read_bytes() == b"one\ntwo\n" and (out / "id.txt").read_text() == "$Id$\n"
    assert (out / "link").is_symlink()


def test_what_a_commit_says_of_its_files_is_done(tree: Tree, tmp_path: Path) -> None:
    """A check sees other line ends than everybody else who has the commit."""
    tree.write("lines.txt", b"one\n")
    tree.write(".gitattributes", "*.txt text eol=crlf\n")
    (tmp_path / "out").mkdir()
    Git(tree.path).check_out(tree.commit(), tmp_path / "out")
    assert (tmp_path / "out/lines.txt").read_bytes() == b"one\r\n"


def test_of_a_commit_that_is_gone_nobody_knows_what_was_written_since(tree: Tree) -> None:
    """No session can begin in a tree whose branch was rebased, or another's changes are taken for a session's."""
    git = Git(tree.path)
    assert git.newest(tree.git("rev-parse", "HEAD")) == 0
    assert git.newest("1" * 40) == git.newest("no commit") == float("inf")
