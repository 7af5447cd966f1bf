"""`pgsam demo` shows what was really written, whatever the network is called."""

import pytest
from planning_data import write_scans

from pgsam_monai.commands import demo as command
from pgsam_monai.commands.main import main


@pytest.mark.parametrize("network", ["samed", "dynunet_3d"])
def test_the_folders_that_it_prints_are_there(network, tmp_path, monkeypatch, capsys):
    steps = []
    monkeypatch.setattr(command, "_step", lambda title, words: steps.append(words))
    monkeypatch.setattr(command, "_predict_one", lambda *places, **options: [tmp_path / "case.nii.gz"])
    scans, place = write_scans(tmp_path / "Abdomen CT"), tmp_path / "demo"
    main(["demo", "--data", str(scans), "--folder", str(place), "--network", network])
    _, summary = capsys.readouterr().out.split("Done in ")
    shown = dict(line.split(maxsplit=1) for line in summary.splitlines()[1:])
    assert shown["report"] == str(place / "plans/abdomen_ct/report.html")
    assert shown["bundle"] == str(place / f"bundles/{network}_abdomen_ct")
    assert (place / "plans/abdomen_ct/report.html").is_file()
    assert (place / f"bundles/{network}_abdomen_ct/configs/train.json").is_file()
    assert [step[3] for step in steps] == ["training", "evaluating"]
    assert all(f"bundles/{network}_abdomen_ct/configs/train.json" in step[-1] for step in steps)
