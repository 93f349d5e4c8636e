from cluster.complaints import SUBJECTS_MAX, Complaints


def test_one_line_per_subject_and_interval_then_a_count():
    complaints = Complaints(interval_s=30.0)
    assert complaints.admit("x", 0.0) == 0
    assert complaints.admit("x", 1.0) is None
    assert complaints.admit("x", 29.9) is None
    assert complaints.admit("y", 2.0) == 0
    assert complaints.admit("x", 30.0) == 2
    assert complaints.admit("x", 60.0) == 0


def test_subjects_are_bounded():
    complaints = Complaints(interval_s=1e9)
    for number in range(SUBJECTS_MAX + 1):
        complaints.admit(str(number), 0.0)
    assert complaints.admit("0", 1.0) == 0, "the oldest subject was forgotten"
    assert complaints.admit(str(SUBJECTS_MAX), 1.0) is None
