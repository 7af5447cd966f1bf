"""`pgsam describe` as it is typed."""

import sys

import pytest
from chat_server import GOOD, ChatServer, texts_of, write_text_bundle

import pgsam_monai.commands.main as cli


@pytest.fixture
def bundle(tmp_path):
    return write_text_bundle(tmp_path / "pgsam_some")


def typed(monkeypatch, *words):
    monkeypatch.setattr(sys, "argv", ["pgsam", "describe", *map(str, words)])
    cli.main()


def test_classes_and_numbers_are_taken_as_typed(bundle, monkeypatch, capsys):
    with ChatServer() as server:
        words = ["--endpoint", server.address, "--model", "7", "--classes", "spleen,left kidney"]
        typed(monkeypatch, bundle, *words, "--instructions", "plain, short")
    assert [request["model"] for request in server.requests] == ["7", "7"]
    assert all("Also heed: plain" in asked for asked in server.asked())
    assert GOOD in str(texts_of(bundle)["spleen"]) and GOOD not in str(texts_of(bundle)["unheard thing"])
    assert "2 of 2 classes described" in capsys.readouterr().out


def test_a_class_without_a_good_answer_ends_with_status_1(bundle, monkeypatch):
    with (
        ChatServer(*["It is grey."] * 3) as server,
        pytest.raises(SystemExit, match="'left kidney'") as ended,
    ):
        typed(monkeypatch, bundle, "--endpoint", server.address, "--model", "tiny")
    assert isinstance(ended.value.code, str)  # printed, and status 1
    assert GOOD in str(texts_of(bundle)["spleen"])


def test_faults_are_one_sentence(bundle, monkeypatch):
    with pytest.raises(SystemExit, match="^pgsam: describe asks no model of its own accord"):
        typed(monkeypatch, bundle)


def test_an_interruption_says_how_to_go_on(bundle, monkeypatch):
    from pgsam_monai.texts.endpoint import Endpoint

    def interrupt(self, messages):
        raise KeyboardInterrupt

    monkeypatch.setattr(Endpoint, "ask", interrupt)
    with pytest.raises(SystemExit, match="interrupted. Answers so far are kept; the same command goes on"):
        typed(monkeypatch, bundle, "--endpoint", "http://localhost:9/v1", "--model", "tiny")
