"""Every stored scenario does what it says. See the README beside this file."""

import difflib
from pathlib import Path

import pytest

from cluster.testing.scenarios import VERBS, ScenarioError, parse, play_text
from cluster.testing.scenarios.__main__ import main
from cluster.testing.scenarios.verbs import reference
from tests.sim.master_world import check_books

HERE = Path(__file__).parent
SCENARIOS = sorted(HERE.glob("*/*.txt"))
README = HERE / "README.md"


def scenario_id(path):
    return f"{path.parent.name}/{path.stem}"


@pytest.mark.parametrize("path", SCENARIOS, ids=scenario_id)
def test_scenario(path, request):
    stored = path.read_text(encoding="utf-8")
    real = play_text(stored, str(path.relative_to(HERE)), check_books)
    if request.config.getoption("--rewrite", default=False):
        path.write_text(real, encoding="utf-8")
    elif real != stored:
        lines = difflib.unified_diff(
            stored.splitlines(), real.splitlines(), "stored", "real", lineterm=""
        )
        pytest.fail("\n".join(["the master answers otherwise:", *lines]))


def test_there_are_many_scenarios_and_titles_differ():
    titles = [parse(path.read_text(encoding="utf-8")).title for path in SCENARIOS]
    assert len(titles) >= 60
    assert len(titles) == len(set(titles))


@pytest.mark.parametrize("path", SCENARIOS, ids=scenario_id)
def test_a_scenario_tells_why_in_words(path):
    script = parse(path.read_text(encoding="utf-8"))
    prose = [part for part in script.parts if isinstance(part, str) and len(part) > 2]
    assert len(prose) >= 2, "a title alone explains nothing"


def test_the_readme_lists_the_verbs(request):
    head, title, stored = README.read_text(encoding="utf-8").partition("## Verbs\n\n")
    assert title
    if request.config.getoption("--rewrite", default=False):
        README.write_text(head + title + reference(), encoding="utf-8")
    else:
        assert stored == reference()


def test_every_verb_is_in_some_scenario():
    used = {
        command.words[0]
        for path in SCENARIOS
        for block in parse(path.read_text(encoding="utf-8")).blocks
        for command in block.commands
    }
    assert [verb for verb in VERBS if verb not in used] == []


# The format ---------------------------------------------------------------------------------------

STORY = """\
# A story

agent a1 cpus:4
framework f1
run
----
a1, f1 <- registered
f1 <- offer O0: a1 cpus:4

decline O0
    refuse=10s
----
(nothing)
"""


def test_a_story_that_is_true_stays_as_it_is():
    assert play_text(STORY) == STORY


def test_output_is_made_where_there_is_none():
    without = "\n\n".join(part.partition("----")[0].rstrip() for part in STORY.split("\n\n"))
    assert play_text(without) == STORY


@pytest.mark.parametrize(
    ("line", "text", "want"),
    [
        (1, "no title", "title"),
        (3, "# T\n\nfly a1", "unknown verb 'fly'"),
        (3, "# T\n\nagent", "name: is missing"),
        (3, "# T\n\nagent a1 cpus", "resources"),
        (3, "# T\n\nagent a1 cpus:1 colour=red", "colour=red: is not understood here"),
        (3, "# T\n\nagent a1 cpus:1 without=FLYING", "FLYING: is no AgentCapability"),
        (4, "# T\n\nagent a1 cpus:1\nagent a1 cpus:1", "a1: is taken"),
        (3, "# T\n\nagent a1 cpus:1 host=x host=y", "host: is given twice"),
        (3, "# T\n\ntick soon", "time: must be a number with"),
        (3, "# T\n\nupdate t1 RUNNING", "no agent was asked to run this task"),
        (3, "# T\n\nupdate-framework f1", "f1: is no framework"),
        (3, "# T\n\ndecline O7", "no such offer was made"),
        (4, "# T\n\nframework f1\naccept O1 by=f1 fly", "fly: is no offer"),
        (3, "# T\n\nwrite", "nothing waits"),
        (4, "# T\n\nagent a1 cpus:1\nmaster interval=2s", "before anything else"),
        (3, "# T\n\n----\nwhat", "needs a command above it"),
        (3, "# T\n\n   continued", "needs a command above it"),
        (4, "# T\n\nrun\n# prose", "empty line between"),
    ],
)
def test_what_is_wrong_is_told_with_file_and_line(line, text, want):
    with pytest.raises(ScenarioError, match=want) as caught:
        play_text(text, "there/story.txt")
    assert str(caught.value).startswith(f"there/story.txt:{line}: ")


def test_a_broken_book_fails_at_the_command_that_broke_it():
    def check(core):
        if len(core.state.agents) > 1:
            raise AssertionError("too many")

    with pytest.raises(ScenarioError, match=r"story:4: agent: AssertionError: too many"):
        play_text("# T\n\nagent a1 cpus:1\nagent a2 cpus:1", "story", check)


def test_the_command_line_prints_and_rewrites(tmp_path, capsys):
    file = tmp_path / "story.txt"
    file.write_text("# T\n\nframework f1")
    assert main([str(file)]) == 0
    trace = "# T\n\nframework f1\n----\nf1 <- registered\n"
    assert capsys.readouterr().out == trace
    assert main(["--rewrite", str(file)]) == 0
    assert file.read_text() == trace
    file.write_text("# T\n\nfly")
    assert main([str(file)]) == 1
    assert "story.txt:3: unknown verb 'fly'" in capsys.readouterr().err
