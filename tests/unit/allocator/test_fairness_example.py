from examples import fairness


def test_the_example_shows_both_stories(capsys):
    assert fairness.main() == 0
    *_, verdict = capsys.readouterr().out.strip().splitlines()
    assert verdict == (
        "fairness: A runs 3 tasks, B runs 2, dominant shares equal (2/3); "
        "water level 2.5, then 2.66.., then 2.7: max-min fair 2, 2.6, 2.7, 2.7"
    )


def test_wrong_numbers_fail(capsys, monkeypatch):
    monkeypatch.setitem(fairness.TASKS, "B", {"cpus": 1000, "mem": 1000})
    assert fairness.main() == 1
    assert "fairness: WRONG: tasks" in capsys.readouterr().out


def test_wrong_levels_fail(capsys, monkeypatch):
    monkeypatch.setitem(fairness.DEMANDS, "X", 2700)
    assert fairness.main() == 1
    assert "fairness: WRONG: the water level" in capsys.readouterr().out
