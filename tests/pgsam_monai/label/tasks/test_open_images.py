"""Clicks and boxes from clients: where they land, that requests are independent, and what is kept between them."""

from __future__ import annotations

import gc
import threading
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
from answering_network import LABELS, AnsweringNetwork, draw_blocks, make_model
from dataset_builders import oblique_affine, write_series, write_volume

from pgsam_monai.base.errors import UserFault
from pgsam_monai.interactive import Segmenter
from pgsam_monai.label.faults import status_and_sentence
from pgsam_monai.label.tasks import open_images
from pgsam_monai.label.tasks.click_order import ClickOrder
from pgsam_monai.label.tasks.inference_request import read_deepedit, read_deepgrow
from pgsam_monai.label.tasks.open_images import KEPT, OpenImages

NAMES = ["background", *LABELS]
FLIPPED = oblique_affine((0.7, 1.3, 4.0)) @ np.diag([-1.0, 1.0, -1.0, 1.0])
LIVER, SPLEEN = [10, 8, 2], [30, 20, 3]


class Service:
    """Stands in for `Bundle`."""

    name = "medsa"

    def __init__(self, network=None, **options):
        self.model = make_model(network or AnsweringNetwork(pool=1), **options)
        self.names, self.values = NAMES, [0, *LABELS.values()]
        self.lock, self.stamp = threading.RLock(), (1, 1)
        self.capabilities = SimpleNamespace(prompts=True)
        self.configs = Path("none")

    def config_file(self, name):
        return self.configs / name

    def clean(self, label_map):
        return label_map


@pytest.fixture(autouse=True)
def models(monkeypatch):
    monkeypatch.setattr(open_images, "prompt_model", lambda served, engine: served.model)
    monkeypatch.setattr(
        Segmenter, "of", lambda served, engine, background: Segmenter(served.model, background=background)
    )


@pytest.fixture
def service():
    return Service()


@pytest.fixture
def images(service):
    return OpenImages(service)


@pytest.fixture
def scan(tmp_path):
    return str(write_volume(tmp_path / "scan.nii.gz", draw_blocks()[0], FLIPPED))


def edit(images, scan, **request):
    return images.answer(scan, read_deepedit(request, NAMES[1:]))


def grow(images, scan, **request):
    return images.answer(scan, read_deepgrow(request, NAMES[1:], [1, 2]))


@pytest.mark.parametrize("spacing", [(0.7, 1.3, 4.0), (3.0, 0.5, 0.9), (1.0, 2.5, 1.0)])
@pytest.mark.parametrize("signs", [(-1, 1, -1), (1, -1, 1), (-1, -1, -1), (1, 1, 1)])
def test_clicks_land_where_they_were_set_on_oblique_flipped_uneven_grids(images, tmp_path, spacing, signs):
    affine = oblique_affine(spacing) @ np.diag([*signs, 1.0])
    scan = write_volume(tmp_path / "scan.nii.gz", draw_blocks((40, 32, 12))[0], affine)
    clicks, negative = [[10, 8, 4], [10.3, 7.6, 4.2], [4, 4, 2], [19, 13, 9]], [[30, 20, 4]]
    _, used = edit(images, scan, liver=clicks, background=negative)
    assert nearest(used["liver"]["positive"], clicks) <= 0.5
    assert nearest(used["liver"]["negative"], negative) <= 0.5


def nearest(found, wanted):
    """The largest distance along an axis, voxels, in whatever order they come."""
    assert len(found) == len(wanted)
    apart = np.abs(np.array(found)[:, None] - np.array(wanted, float)[None]).max(axis=2)
    assert sorted(apart.argmin(axis=0)) == list(range(len(wanted)))
    return apart.min(axis=0).max()


def test_the_click_of_a_class_brings_the_structure_under_it(images, scan):
    result, used = edit(images, scan, liver=[LIVER], spleen=[SPLEEN], background_shows="empty")
    label = draw_blocks()[1]
    for (i, j, k), value in ((LIVER, 3), (SPLEEN, 7)):
        assert result.voxels[i, j, k] == value
        found, truth = result.voxels[..., k] == value, label[..., k] == value
        assert 2 * (found & truth).sum() / (found.sum() + truth.sum()) > 0.95
    assert used == {"liver": {"positive": [LIVER]}, "spleen": {"positive": [SPLEEN]}}
    assert result.label_names == LABELS and np.allclose(result.affine, FLIPPED, atol=1e-4)


def test_what_was_not_asked_about_shows_what_the_network_finds(images, service, scan):
    result, _ = edit(images, scan, liver=[LIVER])
    segmenter = Segmenter(service.model, background="everything")
    segmenter.set_image(scan)
    segmenter.add_click(LIVER, "liver")
    assert np.array_equal(result.voxels, segmenter.prediction) and set(np.unique(result.voxels)) == {0, 3, 7}


def test_a_further_click_corrects_the_mask(images, scan):
    first = grow(images, scan, label="liver", foreground=[[30, 20, 3]])[0].voxels
    second = grow(images, scan, label="liver", foreground=[[30, 20, 3]], background=[[30, 26, 3]])[0].voxels
    assert first[30, 26, 3] == 3 and second[30, 26, 3] == 0 and second[30, 16, 3] == 3


def test_deepgrow_gives_one_class_alone(images, scan):
    result, used = grow(images, scan, label="spleen", foreground=[SPLEEN], background_shows="everything")
    assert result.label_names == {"spleen": 7} and set(np.unique(result.voxels)) == {0, 7}
    assert list(used) == ["spleen"]


def test_a_box_and_propagation(images, scan):
    boxed, used = grow(images, scan, label="liver", roi=[21, 2, 2, 15, 2, 2])
    assert used == {} and set(np.flatnonzero((boxed.voxels == 3).any(axis=(0, 1)))) == {2}
    spread, _ = grow(images, scan, label="liver", roi=[21, 2, 2, 15, 2, 2], propagate=True)
    assert set(np.flatnonzero((spread.voxels == 3).any(axis=(0, 1)))) == {1, 2, 3, 4}
    near, _ = grow(images, scan, label="liver", roi=[21, 2, 2, 15, 2, 2], propagate=1)
    assert set(np.flatnonzero((near.voxels == 3).any(axis=(0, 1)))) == {1, 2, 3}
    again, _ = grow(images, scan, label="liver", roi=[21, 2, 2, 15, 2, 2])
    assert np.array_equal(again.voxels, boxed.voxels)


@pytest.mark.parametrize("ask", [edit, grow])
def test_a_box_in_three_dimensions_is_one_on_every_slice_that_it_covers(images, scan, ask):
    """As `Segmenter` answers it; its ends may come in either order, and reach beyond the image."""
    in_python = Segmenter(images._served.model)
    in_python.set_image(scan)
    in_python.add_box((2, 21, 2, 15, 2, 4), "liver")
    for roi in ([21, 2, 2, 15, 4, 2], [2, 21, 2, 15, 2, 4]):
        found, _ = ask(images, scan, label="liver", roi=roi, background_shows="empty")
        assert set(np.flatnonzero((found.voxels == 3).any(axis=(0, 1)))) == {2, 3, 4}
        assert np.array_equal(found.voxels == 3, in_python.mask("liver"))
    beyond, _ = ask(images, scan, label="liver", roi=[2, 21, 2, 15, 4, 99], background_shows="empty")
    assert set(np.flatnonzero((beyond.voxels == 3).any(axis=(0, 1)))) >= {4}


def test_places_in_mm_are_taken_too(images, scan):
    i, j, k = LIVER
    ras = (FLIPPED @ [i, j, k, 1.0])[:3].tolist()
    _, used = edit(images, scan, liver=[ras], space="RAS")
    assert np.abs(np.array(used["liver"]["positive"]) - LIVER).max() < 0.5


def test_requests_know_nothing_of_each_other(images, scan):
    alone = edit(images, scan, spleen=[SPLEEN])
    edit(images, scan, liver=[LIVER], background=[[30, 20, 2]], propagate=True)
    again = edit(images, scan, spleen=[SPLEEN])
    assert np.array_equal(alone[0].voxels, again[0].voxels) and alone[1] == again[1]


def test_background_clicks_leave_classes_on_other_slices_alone(images, scan):
    with_it, used = edit(images, scan, liver=[LIVER], spleen=[SPLEEN], background=[[30, 5, 2]])
    assert used["liver"]["negative"] == [[30, 5, 2]] and "negative" not in used["spleen"]
    without, _ = edit(images, scan, liver=[LIVER], spleen=[SPLEEN])
    assert np.array_equal(with_it.voxels[..., 3], without.voxels[..., 3])


def test_what_clicks_leave_alone_is_cleaned_as_without_them(service, scan, monkeypatch):
    """Of the spleen, postprocessing keeps the slices up to 3; a click on what it took away brings that back."""
    monkeypatch.setattr(
        service, "clean", lambda found: np.where((found == 7) & (np.arange(6) > 3), 0, found).astype(found.dtype)
    )  # fmt: skip
    images = OpenImages(service)
    result, _ = edit(images, scan, background=[LIVER])
    assert result.voxels[tuple(LIVER)] == 0 and result.voxels[30, 20, 3] == 7
    assert not (result.voxels[..., 4:] == 7).any() and (result.voxels[..., 3] == 7).any()
    back, _ = edit(images, scan, spleen=[[30, 20, 5]])
    assert back.voxels[30, 20, 5] == 7 and back.voxels[30, 20, 4] == 7


def test_a_background_click_where_nothing_is_shown_changes_nothing(images, scan):
    alone, _ = grow(images, scan, label="liver", foreground=[LIVER])
    both, used = grow(images, scan, label="liver", foreground=[LIVER], background=[[36, 30, 4]])
    assert np.array_equal(alone.voxels, both.voxels) and "negative" not in used["liver"]


def test_a_background_click_alone_corrects_the_class_that_is_shown_there(images, scan):
    result, used = edit(images, scan, background=[LIVER])
    assert used == {"liver": {"negative": [LIVER]}}
    before, _ = edit(images, scan, spleen=[SPLEEN])
    assert before.voxels[tuple(LIVER)] == 3 and result.voxels[tuple(LIVER)] == 0
    _, both = edit(images, scan, spleen=[[30, 20, 2]], background=[LIVER])
    assert both["liver"] == {"negative": [LIVER]} and both["spleen"]["negative"] == [LIVER]
    nothing, used = edit(images, scan, background=[[36, 30, 2]])  # no class is there: so it is already
    assert used == {} and np.array_equal(
        nothing.voxels, edit(images, scan, liver=[], background=[[36, 30, 3]])[0].voxels
    )
    _, used = grow(
        images, scan, label="spleen", foreground=[SPLEEN], background=[LIVER], background_shows="everything"
    )  # fmt: skip
    assert set(used) == {"spleen"}  # of deepgrow's one class


@pytest.mark.parametrize(
    ("request_", "says"),
    [
        ({"liver": [[10, 8, 6]]}, "voxel (10, 8, 6), lies outside the image"),
        ({"liver": [[-3, 8, 2]]}, "Class 'liver': to_frame: click 1, voxel (-3, 8, 2)"),
        ({"liver": [LIVER], "background": [[10, 8, 99]]}, "lies outside the image"),
        ({"roi": [100, 110, 100, 110, 1, 1], "label": "liver"}, "lies outside the image"),
    ],
)
def test_prompts_that_mean_nothing_here_are_refused_and_the_next_request_is_answered(
    images, scan, request_, says
):
    before = edit(images, scan, spleen=[SPLEEN])
    with pytest.raises(UserFault) as caught:
        edit(images, scan, **request_)
    status, sentence = status_and_sentence(caught.value)
    assert status == 422 and says in sentence
    assert np.array_equal(edit(images, scan, spleen=[SPLEEN])[0].voxels, before[0].voxels)


def test_a_second_click_finds_its_slice_encoded(images, service, scan):
    network = service.model.network
    grow(images, scan, label="liver", foreground=[LIVER])
    count = len(network.embedded)
    grow(images, scan, label="liver", foreground=[LIVER, [11, 9, 2]])
    grow(images, scan, label="spleen", foreground=[[25, 20, 2]])
    assert 0 < count == len(network.embedded) <= 6  # as many slices as the image has


def test_clicks_are_added_and_taken_back_one_by_one(images, scan, monkeypatch):
    """A request repeats what the client's last one said; only what is new is asked, and less is a step back."""
    said, add = [], Segmenter.add_placed
    monkeypatch.setattr(
        Segmenter, "add_placed", lambda self, placed: said.append(placed) or add(self, placed)
    )
    answers = [
        grow(images, scan, label="liver", foreground=[LIVER], background=negative)[0].voxels
        for negative in ([], [[6, 6, 2]], [[6, 6, 2], [16, 10, 2]], [[6, 6, 2]], [])
    ]
    assert [len(placed["liver"]) for placed in said] == [1, 1, 1]
    assert np.array_equal(answers[1], answers[3]) and np.array_equal(answers[0], answers[4])
    assert answers[1][6, 6, 2] == 0 != answers[0][6, 6, 2]


@pytest.fixture
def started(tmp_path):
    """A server, started anew with each call."""
    return lambda: OpenImages(Service(), order=ClickOrder(tmp_path / "clicks"))


def test_a_server_that_is_started_again_answers_as_before(started, images, scan):
    """The voxel is said to be in, then out, then in; a request alone doesn't say which came last."""
    steps = [
        {"foreground": [LIVER], "background": []},
        {"foreground": [LIVER], "background": [[6, 6, 2]]},
        {"foreground": [LIVER, [6, 6, 2]], "background": [[6, 6, 2]]},
        {"foreground": [LIVER, [6, 6, 2]], "background": [[6, 6, 2], [16, 10, 2]]},
    ]
    server = started()
    before = [grow(server, scan, label="liver", **step)[0].voxels for step in steps]
    assert before[2][6, 6, 2] == 3 and grow(images, scan, label="liver", **steps[2])[0].voxels[6, 6, 2] == 0
    for number in range(3):  # between any two clicks
        server = started()
        for at in (number, number + 1):
            assert np.array_equal(grow(server, scan, label="liver", **steps[at])[0].voxels, before[at])


def test_the_order_of_classes_is_kept_too(started, scan):
    steps = [{"spleen": [LIVER]}, {"spleen": [LIVER], "liver": [LIVER]}]
    server = started()
    first, both = (edit(server, scan, background_shows="empty", **step)[0].voxels for step in steps)
    assert first[tuple(LIVER)] == 7 and both[tuple(LIVER)] == 3
    turned = {"liver": [LIVER], "spleen": [LIVER]}
    again = edit(started(), scan, background_shows="empty", **turned)[0].voxels
    assert np.array_equal(again, both)


def test_another_class_in_between_changes_no_order(started, scan):
    clicks = {"foreground": [LIVER, [6, 6, 2]], "background": [[6, 6, 2]]}
    server = started()
    for step in ({"foreground": [LIVER]}, {"foreground": [LIVER], "background": [[6, 6, 2]]}, clicks):
        before = grow(server, scan, label="liver", **step)[0].voxels
    grow(server, scan, label="spleen", foreground=[SPLEEN])
    assert before[6, 6, 2] == 3
    assert np.array_equal(grow(server, scan, label="liver", **clicks)[0].voxels, before)


def test_two_clients_on_one_image_stay_apart(images, scan):
    def ask(client, *clicks):
        return grow(images, scan, label="liver", foreground=list(clicks), client_id=client)[0].voxels

    first = ask("one", LIVER)
    other = ask("two", SPLEEN)
    assert (
        first[tuple(LIVER)] == 3 != other[tuple(LIVER)] and other[tuple(SPLEEN)] == 3 != first[tuple(SPLEEN)]
    )
    assert np.array_equal(ask("one", LIVER), first) and len(images._open) == 2


def test_a_changed_file_and_new_weights_are_looked_at_anew(images, service, scan):
    network = service.model.network
    grow(images, scan, label="liver", foreground=[LIVER])
    write_volume(Path(scan), 0 * draw_blocks()[0] + 400, FLIPPED)
    result, _ = grow(images, scan, label="liver", foreground=[LIVER])
    assert (result.voxels[..., 2] == 3).all()
    count, service.stamp = len(network.embedded), (2, 1)
    grow(images, scan, label="liver", foreground=[LIVER])
    assert len(network.embedded) > count and len(images._open) == 1


def test_what_clicks_do_may_be_changed_while_an_image_is_open(images, service, scan, tmp_path):
    service.configs, network = tmp_path, service.model.network
    grow(images, scan, label="liver", foreground=[LIVER])
    count = len(network.embedded)
    grow(images, scan, label="liver", foreground=[LIVER])
    assert len(network.embedded) == count
    (tmp_path / "corrections.json").write_text('{"corrections": "ask"}')
    grow(images, scan, label="liver", foreground=[LIVER])
    assert len(network.embedded) > count and len(images._open) == 1
    (tmp_path / "corrections.json").write_text('{"corrections": "pull"}')
    with pytest.raises(UserFault, match="corrections.json' is damaged"):
        grow(images, scan, label="liver", foreground=[LIVER])


def test_series_are_read_as_the_project_reads_them(images, tmp_path):
    series = write_series(tmp_path / "series", draw_blocks()[0])
    result, used = edit(images, series, liver=[LIVER], background_shows="empty")
    assert result.voxels[tuple(LIVER)] == 3 and used["liver"]["positive"] == [LIVER]
    edit(images, series, liver=[LIVER])
    assert len(images._open) == 2


def test_few_images_stay_open_and_nothing_grows(images, tmp_path):
    scans = [str(write_volume(tmp_path / f"{n}.nii.gz", draw_blocks()[0], FLIPPED)) for n in range(KEPT + 2)]

    def ask(number):
        edit(images, scans[number % len(scans)], liver=[LIVER], background=[[10, 25, 2]], propagate=1)
        for _ in range(3):
            edit(images, scans[0], liver=[LIVER])
        images._served.model.network.prompts.clear()
        images._served.model.network.embedded.clear()

    for number in range(8):
        ask(number)
    gc.collect()
    before = len(gc.get_objects())
    for number in range(8, 24):
        ask(number)
    gc.collect()
    assert len(images._open) == KEPT and len(gc.get_objects()) - before < 100
