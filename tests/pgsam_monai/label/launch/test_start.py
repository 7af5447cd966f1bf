import json
import logging.config
import os
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from pgsam_monai.commands import main as cli
from pgsam_monai.label.launch import app_folder, start
from pgsam_monai.label.launch.app_folder import (
    MARK,
    default_app_dir,
    faults_of_app_dir,
    hold_app,
    log_file,
    write_app,
)
from pgsam_monai.label.launch.environment import LabelEnvironment
from pgsam_monai.label.launch.serving import Serving, check

ENVIRONMENT = LabelEnvironment(python=Path("/venv/bin/python"), version="0.8.5")


def write_bundle(folder: Path) -> Path:
    """What `Bundle.trained` looks for."""
    for name in ("configs/inference.json", "configs/metadata.json", "models/model.pt"):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(
            '{"pgsam_monai": {"network": "samed", "title": "SAMed", "trained_for": {}}}'
        )
    return folder


@pytest.fixture
def bundle(tmp_path):
    return write_bundle(tmp_path / "bundles/samed_spleen")


@pytest.fixture
def studies(tmp_path):
    (tmp_path / "studies").mkdir()
    (tmp_path / "studies/case_1.nii.gz").touch()
    return tmp_path / "studies"


@pytest.fixture
def port():
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


def checked(*bundles, studies, app_dir=None, port=0, **given) -> Serving:
    wishes = {
        "host": "127.0.0.1", "port": port, "auth": None, "score": [], "train": True, "allow_origin": [],
        "max_upload_mb": 2000, "app_dir": app_dir and str(app_dir), "also_read": [],
    }  # fmt: skip
    return check(list(map(str, bundles)), studies and str(studies), **(wishes | given))


def fault_of(*bundles, **given) -> str:
    with pytest.raises(ValueError) as fault:
        checked(*bundles, **given)
    return str(fault.value)


def test_what_is_good_passes(bundle, studies, port, tmp_path):
    serving = checked(
        bundle, studies=studies, port=port, app_dir=tmp_path / "app", score=["samed_spleen"],
        allow_origin=["https://viewer.example.org/"], auth="https://id.example.org/realms/lab",
    )  # fmt: skip
    assert serving.bundles == {"samed_spleen": bundle} and serving.studies == studies
    assert serving.app_dir == tmp_path / "app" and serving.allow_origin == ("https://viewer.example.org",)
    assert not (tmp_path / "app").exists()


def test_relative_folders_are_made_absolute_and_a_link_keeps_its_name(
    bundle, studies, port, tmp_path, monkeypatch
):
    (tmp_path / "renamed").symlink_to(bundle)
    monkeypatch.chdir(tmp_path)
    serving = checked("renamed/", "bundles/samed_spleen", studies="studies", port=port)
    assert serving.bundles == {"renamed": tmp_path / "renamed", "samed_spleen": bundle}
    assert serving.studies == studies


def test_all_faults_are_told_at_once(studies, tmp_path):
    said = fault_of(
        tmp_path / "nowhere", studies=tmp_path / "none", port=70000, score=["x"], train="maybe", max_upload_mb=0,
        auth="realm", allow_origin=["viewer"],
    )  # fmt: skip
    for part in (
        "nothing was started:", "nowhere' is no bundle", "none' is no folder", "--port takes a whole number from 1",
        "--score x is none of the bundles", "--train is True or False, got 'maybe'", "--max_upload_mb takes",
        "--auth takes an address such as https://login.example.org/realms/hospital, got 'realm'",
        "--allow_origin takes an address such as https://viewer.example.org, got 'viewer'",
    ):  # fmt: skip
        assert part in said, part


def test_an_ensemble_is_served_and_not_scored(bundle, studies, port):
    metadata = bundle / "configs/metadata.json"
    metadata.write_text(metadata.read_text().replace('"samed"', '"ensemble"'))
    assert checked(bundle, studies=studies, port=port).bundles == {"samed_spleen": bundle}
    said = fault_of(bundle, studies=studies, port=port, score=["samed_spleen"])
    assert "--score samed_spleen is an ensemble, which isn't trained" in said


def test_nothing_named(studies, port):
    said = fault_of(studies=studies, port=port)
    assert (
        "Nothing to serve was named" in said and "pgsam label bundles/" in said and "--labels liver" in said
    )
    assert "--studies FOLDER is missing" in fault_of(studies=None, port=port)


def test_a_dicomweb_server_in_place_of_a_folder(bundle, port, monkeypatch, tmp_path):
    monkeypatch.setenv("HOME", str(tmp_path))
    serving = checked(bundle, studies="http://127.0.0.1:8042/dicom-web", port=port)
    assert serving.studies == "http://127.0.0.1:8042/dicom-web"
    assert serving.app_dir.name.startswith("dicom-web-")
    assert "dcmqi from github.com" in start.warnings_of(serving, {})[0]
    assert "http://127.0.0.1:8042/dicom-web\n" in start.summary(serving, ENVIRONMENT)
    assert "--studies takes an address" in fault_of(bundle, studies="http://", port=port)


def test_further_folders(bundle, studies, port, tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "dicom").mkdir()
    serving = checked(bundle, studies=studies, port=port, also_read=["dicom"])
    assert serving.also_read == (tmp_path / "dicom",)
    words = start.server_command(serving, ENVIRONMENT)
    assert words[words.index("also_read") + 1] == str(tmp_path / "dicom")
    assert "--also_read 'none' is no folder" in fault_of(
        bundle, studies=studies, port=port, also_read=["none"]
    )


def test_an_untrained_bundle(bundle, studies, port):
    (bundle / "models/model.pt").unlink()
    assert "has no models/model.pt; train it first" in fault_of(bundle, studies=studies, port=port)


def test_two_bundles_of_one_name(bundle, studies, port, tmp_path):
    other = write_bundle(tmp_path / "others/samed_spleen")
    said = fault_of(bundle, other, studies=studies, port=port)
    assert "Two bundles are called 'samed_spleen'" in said and f"ln -s {other} OTHER_NAME" in said


@pytest.mark.parametrize(
    "name, said",
    [
        ("tumour_detection", "would take it for a detection model"),
        ("DeepEdit_mine", "would take it for a deepedit model"),
        ("x_deepgrow", "would take it for a deepgrow model"),
        ("a,b", "models are named with letters"),
        ("leber ähnlich", "models are named with letters"),
        ("_x", "models are named with letters"),
    ],
)
def test_names_that_monai_label_would_misread(studies, port, tmp_path, name, said):
    assert said in fault_of(write_bundle(tmp_path / "bundles" / name), studies=studies, port=port)


def test_what_has_no_place_in_the_studies_folder(studies, port, tmp_path):
    inside = write_bundle(studies / "samed_spleen")
    (tmp_path / "link").symlink_to(inside)
    said = fault_of(inside, tmp_path / "link", studies=studies, port=port, app_dir=studies / "app")
    assert said.count("lies inside --studies") == 3 and "The --app_dir" in said and "link'" in said


@pytest.mark.skipif(os.geteuid() == 0, reason="root may write anywhere")
def test_studies_that_cannot_be_written(bundle, studies, port):
    studies.chmod(0o555)
    assert "can't be written" in fault_of(bundle, studies=studies, port=port)


def test_studies_that_os_access_refuses(bundle, studies, port, monkeypatch):
    monkeypatch.setattr("pgsam_monai.label.launch.serving.os.access", lambda *_: False)
    assert "can't be written, and labels are kept there" in fault_of(bundle, studies=studies, port=port)


def test_a_port_in_use_and_addresses_of_others(bundle, studies, port):
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        said = fault_of(bundle, studies=studies, port=taken.getsockname()[1])
        assert "is in use; stop what listens there" in said
    assert "is no address of this machine" in fault_of(bundle, studies=studies, port=port, host="192.0.2.1")
    assert "is no known name" in fault_of(bundle, studies=studies, port=port, host="nowhere.invalid")


@pytest.mark.parametrize("port", [0, 65536, True, "8000", 8000.5])
def test_ports_that_are_none(bundle, studies, port):
    assert "--port takes a whole number from 1 to 65535" in fault_of(bundle, studies=studies, port=port)


def test_an_engine_is_passed_on(bundle, studies, port):
    assert "--engine is auto, torch, openvino or onnxruntime; got 'tpu'." in fault_of(
        bundle, studies=studies, port=port, engine="tpu"
    )
    assert checked(bundle, studies=studies, port=port, engine="openvino").engine == "openvino"


@pytest.fixture
def serving(bundle, studies, tmp_path):
    return Serving(bundles={"samed_spleen": bundle}, studies=studies, app_dir=tmp_path / "app")


def test_the_app_folder_is_made_and_renewed(serving, tmp_path):
    write_app(serving.app_dir, serving.bundles)
    link = serving.app_dir / "model/samed_spleen"
    assert link.is_symlink() and (link / "models/model.pt").is_file()
    main = (serving.app_dir / "main.py").read_text()
    assert main.startswith(MARK) and "import PgsamApp" in main
    log_file(serving.app_dir).write_text("kept")
    other = write_bundle(tmp_path / "bundles/other")
    (serving.app_dir / "sessions/half").mkdir(parents=True)
    (serving.app_dir / "sessions/whole").mkdir()
    (serving.app_dir / "sessions/whole/meta.info").write_text("{}")
    write_app(serving.app_dir, {"other": other})
    assert not link.is_symlink() and (serving.app_dir / "model/other").is_symlink()
    assert log_file(serving.app_dir).read_text() == "kept"
    assert [path.name for path in (serving.app_dir / "sessions").iterdir()] == ["whole"]
    assert (serving.bundles["samed_spleen"] / "models/model.pt").is_file()


def test_nothing_of_others_is_replaced(serving, bundle, studies, port):
    serving.app_dir.mkdir()
    (serving.app_dir / "main.py").write_text("print('mine')")
    (serving.app_dir / "model/samed_spleen").mkdir(parents=True)
    said = fault_of(bundle, studies=studies, port=port, app_dir=serving.app_dir)
    assert "holds a main.py that pgsam label didn't write" in said and "is no link; move it away" in said
    file = serving.app_dir / "file"
    file.touch()
    assert faults_of_app_dir(file, []) == [f"--app_dir '{file}' is a file; name a folder, which may be new."]


def test_a_disk_without_links_is_a_sentence(serving, monkeypatch):
    def refuse(*_, **__):
        raise OSError(1, "Operation not permitted")

    monkeypatch.setattr(app_folder.Path, "symlink_to", refuse)
    with pytest.raises(ValueError, match=r"no link can be made there \(Operation not permitted\)"):
        write_app(serving.app_dir, serving.bundles)


def test_one_server_per_app_folder(serving):
    held = hold_app(serving.app_dir)
    assert os.get_inheritable(held)
    code = (
        "import sys, pathlib, pgsam_monai.label.launch.app_folder as a; a.hold_app(pathlib.Path(sys.argv[1]))"
    )
    done = subprocess.run(
        [sys.executable, "-c", code, str(serving.app_dir)], capture_output=True, text=True, check=False
    )
    assert f"served already, by process {os.getpid()}; stop it first" in done.stderr
    os.close(held)
    os.close(hold_app(serving.app_dir))


def test_a_folder_that_cannot_be_made_is_a_sentence(serving):
    serving.app_dir.write_text("a file")
    with pytest.raises(ValueError, match="can't be written .*; name another --app_dir"):
        hold_app(serving.app_dir)


def test_one_app_folder_per_studies_folder(tmp_path, monkeypatch):
    monkeypatch.setenv("HOME", str(tmp_path))
    one, two = default_app_dir(tmp_path / "a/CT studies"), default_app_dir(tmp_path / "b/CT studies")
    assert one != two and one.parent == tmp_path / ".cache/pgsam_monai/label"
    assert one.name.startswith("CT_studies-") and one == default_app_dir(tmp_path / "a/../a/CT studies")


def test_the_log_has_one_writer(serving):
    write_app(serving.app_dir, serving.bundles)
    settings = json.loads((serving.app_dir / "logging.json").read_text())
    logging.config.dictConfigClass(settings)  # parses; not applied to this process
    files = [one for one in settings["handlers"].values() if one.get("filename")]
    assert [one["filename"] for one in files] == [str(log_file(serving.app_dir))]
    assert settings["root"]["handlers"] == ["console", "file"]


def test_the_command(serving):
    words = start.server_command(serving, ENVIRONMENT)
    assert words[:4] == ["/venv/bin/python", "-m", "pgsam_monai.label.http.main", "start_server"]
    flags = dict(zip(words[4:14:2], words[5:14:2], strict=True))
    assert flags["--host"] == "127.0.0.1" and flags["--uvicorn_app"] == "pgsam_monai.label.http.server:app"
    confs = [words[i + 1 : i + 3] for i, word in enumerate(words) if word == "--conf"]
    assert (
        ["models", "samed_spleen"] in confs
        and ["zoo_source", "local"] in confs
        and ["train", "true"] in confs
    )


def test_the_environment_variables(serving):
    given = {
        "PATH": "/bin",
        "HF_HUB_OFFLINE": "0",
        "NO_PROXY": "intra.example",
        "MONAI_LABEL_SESSIONS": "false",
    }
    found = start.server_variables(serving, ENVIRONMENT, given)
    assert found["PATH"] == "/venv/bin:/bin"
    assert found["HF_HUB_OFFLINE"] == "0" and found["MONAI_LABEL_SESSIONS"] == "false"  # the user's stay
    assert found["MONAI_LABEL_TRACKING_ENABLED"] == "false" and found["MONAI_ZOO_SOURCE"] == "local"
    assert found["no_proxy"] == "intra.example,127.0.0.1,localhost"
    assert found["MONAI_LABEL_AUTO_UPDATE_SCORING"] == "false"
    assert "MONAI_LABEL_AUTH_ENABLE" not in found and "MONAI_LABEL_CORS_ORIGINS" not in found


def test_flags_become_environment_variables(serving):
    asked = Serving(
        bundles=serving.bundles, studies=serving.studies, app_dir=serving.app_dir, score=("samed_spleen",),
        auth="https://id.example.org/realms/lab/", allow_origin=("https://viewer.example.org",),
    )  # fmt: skip
    found = start.server_variables(asked, ENVIRONMENT, {"MONAI_LABEL_AUTO_UPDATE_SCORING": "false"})
    assert found["MONAI_LABEL_AUTO_UPDATE_SCORING"] == "true"
    assert found["MONAI_LABEL_AUTH_ENABLE"] == "true"
    assert found["MONAI_LABEL_AUTH_REALM_URI"] == "https://id.example.org/realms/lab"
    words = start.server_command(asked, ENVIRONMENT)
    assert words[words.index("allow_origin") + 1] == "https://viewer.example.org"


def changed(serving, **values) -> Serving:
    return Serving(**{**{name: getattr(serving, name) for name in Serving.__dataclass_fields__}, **values})


def test_warnings(serving):
    assert start.warnings_of(serving, {}) == []
    beyond = changed(serving, host="0.0.0.0")
    said = " ".join(start.warnings_of(beyond, {}))
    assert "everybody who reaches port 8000 can read the studies" in said and "isn't encrypted" in said
    said = " ".join(start.warnings_of(beyond, {"MONAI_LABEL_AUTH_ENABLE": "true"}))
    assert "everybody" not in said and "isn't encrypted" in said
    (serving.studies / "case_1.nii.gz").unlink()
    (said,) = start.warnings_of(serving, {})
    assert "No image lies in" in said
    assert "say --allow_origin" in start.warnings_of(serving, {"MONAI_LABEL_CORS_ORIGINS": "[]"})[0]


def test_what_the_user_is_told(serving):
    said = start.summary(serving, ENVIRONMENT)
    for part in (
        "samed_spleen", str(serving.studies), "(1 image)", "http://127.0.0.1:8000/health", f"kill {os.getpid()}",
        str(log_file(serving.app_dir)), "3D Slicer",
    ):  # fmt: skip
        assert part in said, part
    assert start.address_of(changed(serving, host="::1")) == "http://[::1]:8000"
    assert start.address_of(changed(serving, host="0.0.0.0")) == f"http://{socket.gethostname()}:8000"


def test_a_dry_run_starts_and_writes_nothing(serving, capsys, monkeypatch):
    monkeypatch.setattr(os, "execve", lambda *_: pytest.fail("started"))
    start.start(serving, ENVIRONMENT, dry_run=True)
    out = capsys.readouterr().out
    assert "pgsam_monai.label.http.main start_server" in out and "MONAI_ZOO_SOURCE=local" in out
    assert not serving.app_dir.exists()


def test_the_server_takes_this_process(serving, monkeypatch, tmp_path):
    ran = []
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(os, "execve", lambda *words: ran.append((words, Path.cwd())))
    monkeypatch.setattr(subprocess, "run", lambda *_, **__: subprocess.CompletedProcess([], 0))
    with pytest.raises(SystemExit):
        start.start(serving, ENVIRONMENT)
    ((program, words, variables), folder) = ran[0]
    assert program == words[0] == "/venv/bin/python" and variables["HF_HUB_OFFLINE"] == "1"
    assert folder == serving.app_dir / "work" and not list(folder.iterdir())
    assert (serving.app_dir / "model/samed_spleen").is_symlink()


def test_the_command_line(bundle, studies, port, tmp_path, monkeypatch, capsys):
    monkeypatch.setattr("pgsam_monai.label.launch.environment.find_environment", lambda given: ENVIRONMENT)
    words = [
        "label",
        str(bundle),
        "--studies",
        str(studies),
        "--port",
        str(port),
        "--app_dir",
        str(tmp_path / "app"),
    ]
    words += ["--allow_origin", "http://a.example,http://b.example", "--train", "False", "--dry_run"]
    monkeypatch.setattr(sys, "argv", ["pgsam", *words, "--score", "samed_spleen"])
    cli.main()
    out = capsys.readouterr().out
    assert "--conf score samed_spleen" in out and "--conf train false" in out and "http://b.example" in out


@pytest.mark.parametrize(
    "words, said",
    [
        ([], "Nothing to serve was named"),
        (["nowhere", "--studies", "nothing"], "'nothing' is no folder"),
        (["nowhere", "--study", "nothing"], "Did you mean --studies?"),
    ],
)
def test_faults_are_sentences(words, said, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["pgsam", "label", *words])
    with pytest.raises(SystemExit, match=said) as end:
        cli.main()
    assert str(end.value).startswith("pgsam: ")
