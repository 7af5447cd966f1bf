import logging

from pgsam_monai.label.tasks import click_order
from pgsam_monai.label.tasks.click_order import ClickOrder, sign

REQUESTS = [frozenset("b"), frozenset("ba"), frozenset("bacd")]
SESSION = ("medsa", None, "empty", "client", (("scan.nii.gz", 1, 2),))


def test_what_was_kept_is_known_after_another_start(tmp_path):
    assert ClickOrder(tmp_path / "clicks").known(SESSION) == []
    ClickOrder(tmp_path / "clicks").keep(SESSION, REQUESTS)
    assert ClickOrder(tmp_path / "clicks").known(SESSION) == REQUESTS
    assert ClickOrder(tmp_path / "clicks").known((*SESSION[:3], "other", SESSION[4])) == []
    ClickOrder(tmp_path / "clicks").keep(SESSION, REQUESTS[:1])
    assert ClickOrder(tmp_path / "clicks").known(SESSION) == REQUESTS[:1]


def test_files_hold_signs_alone(tmp_path):
    ClickOrder(tmp_path).keep(SESSION, [frozenset({sign(("liver", 3, (1.0, 2.0)))})])
    (file,) = tmp_path.iterdir()
    assert file.stem == sign(SESSION)
    assert not any(word in file.name + file.read_text() for word in ("scan", "client", "liver", "medsa"))


def test_the_longest_unused_are_forgotten(tmp_path, monkeypatch):
    monkeypatch.setattr(click_order, "MOST", 2)
    order = ClickOrder(tmp_path)
    for session in ("one", "two", "three"):
        order.keep(session, REQUESTS)
    assert order.known("one") == [] and order.known("two") == order.known("three") == REQUESTS


def test_a_damaged_file_is_told_and_no_fault_of_the_request(tmp_path, caplog):
    ClickOrder(tmp_path).keep("one", REQUESTS)
    for text in ("[", "[1]", "3"):
        (tmp_path / f"{sign('one')}.json").write_text(text)
        with caplog.at_level(logging.WARNING):
            assert ClickOrder(tmp_path).known("one") == []
        assert "the order of its clicks is lost" in caplog.text
        caplog.clear()


def test_clicks_are_answered_where_there_is_no_room_for_their_order(tmp_path, caplog):
    (tmp_path / "clicks").write_text("a file where the folder should be")
    order = ClickOrder(tmp_path / "clicks")
    with caplog.at_level(logging.WARNING):
        order.keep("one", REQUESTS)
        assert order.known("one") == []
    assert "won't outlast this server" in caplog.text
