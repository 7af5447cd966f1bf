"""The report's page, charts and pictures."""

import base64
import html.parser
import io
import re

import numpy as np
import pytest
from PIL import Image
from plan_evidence import evidence
from planning_data import write_scans

from preprocess.fingerprint.facts import ChannelFacts
from preprocess.plan.plan import make_plan
from preprocess.planning import Request, carry_out
from preprocess.recipes import load_recipe, published_splits
from preprocess.report import make_report
from preprocess.report.charts import _chart
from preprocess.report.page import _shown_sizes
from preprocess.report.thumbnails import (
    _class_indices,
    _painted,
    _richest_slice,
    _scaled_intensities,
    _turned,
    colour_of,
    make_thumbnails,
)


@pytest.fixture(scope="module")
def planned(tmp_path_factory):
    folder = tmp_path_factory.mktemp("report")
    request = Request(
        dataset=write_scans(folder / "scans"),
        plans_dir=folder / "plans",
        bundles_dir=folder / "bundles",
        target="cpu",
        workers=1,
    )
    return carry_out(request)


class Tags(html.parser.HTMLParser):
    """Collects tags, and checks that they close in order."""

    def __init__(self):
        super().__init__()
        self.open, self.seen = [], []

    def handle_starttag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))
        if tag not in ("meta", "br", "img"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attrs):
        self.seen.append((tag, dict(attrs)))

    def handle_endtag(self, tag):
        assert self.open.pop() == tag


def test_the_page_stands_alone_and_is_well_formed(planned):
    page = planned.folder.report.read_text()
    tags = Tags()
    tags.feed(page)
    assert tags.open == []
    links = [
        attrs.get("src") or attrs.get("href")
        for _, attrs in tags.seen
        if attrs.get("src") or attrs.get("href")
    ]
    assert links and all(link.startswith("data:image/png;base64,") for link in links)
    assert "<script" not in page and "http" not in page


def test_the_page_tells_cases_decisions_and_splits(planned):
    page = planned.folder.report.read_text()
    for text in (
        "liver",
        "aorta",
        "image_size",
        "slice_axis",
        "Faults",
        "Splits",
        "At 96",
        "At 224",
        "24 × 20 × 10",
    ):
        assert text in page, text
    for decision in planned.plan.configurations["samed"].values():
        assert decision.reason.split("'")[0][:40].replace("&", "&amp;") in page


def test_structures_are_measured_at_the_sizes_there_was_a_choice_of():
    header = {"name": "x", "folder": "f", "layout": "l", "channels": ["CT"], "num_cases": 1, "skipped": []}
    for shape, sizes in ((512, (224, 512)), (50, (128, 224))):
        facts = evidence(shapes=((shape, shape, 20),))
        assert _shown_sizes(make_plan(facts, dataset=header, networks=("samed", "refsam3d"))) == sizes
    assert _shown_sizes(make_plan(facts, dataset=header, networks=("refsam3d",))) == (224, 512)


def test_names_are_escaped():
    plan = make_plan(
        evidence(label_names={0: "background", 1: "<script>alert(1)</script>", 2: "b"}),
        dataset={
            "name": "<b>x</b>",
            "folder": "f",
            "layout": "l",
            "channels": ["CT"],
            "num_cases": 1,
            "skipped": [],
        },
    )
    page = make_report(plan, published_splits(load_recipe("samed_synapse")), None)
    assert "<script>" not in page and "<b>x</b>" not in page
    assert "&lt;b&gt;x" in page


def test_thumbnails_show_the_labels_in_their_colours(planned):
    measured = planned.measured
    values = {name: decision.value for name, decision in planned.plan.decisions.items()}
    thumbnails = make_thumbnails(measured.dataset, measured.fingerprint.cases, values)
    assert len(thumbnails) == 6
    picture = np.asarray(Image.open(io.BytesIO(base64.b64decode(thumbnails[0].png))))
    assert picture.shape == (thumbnails[0].height, thumbnails[0].width, 3)
    for index in (1, 2):
        colour = [int(colour_of(index)[start : start + 2], 16) for start in (1, 3, 5)]
        assert (picture == colour).all(axis=-1).any()
    # 20 rows of 1.2 mm and 24 columns of 1 mm: square
    assert abs(thumbnails[0].width - thumbnails[0].height) <= 1


def test_volumes_are_turned_for_display():
    voxels = np.arange(8).reshape(1, 2, 2, 2)
    assert np.array_equal(_turned(voxels, "PLS", "PLS"), voxels)
    turned = _turned(voxels, "RAS", "PLS")  # rows from the second axis, both flipped
    assert turned[0, :, :, 0].tolist() == [
        [voxels[0, 1, 1, 0], voxels[0, 0, 1, 0]],
        [voxels[0, 1, 0, 0], voxels[0, 0, 0, 0]],
    ]
    assert np.array_equal(_turned(voxels, "", ""), voxels)


def test_the_slice_with_most_structures_is_shown():
    classes = np.zeros((4, 4, 3), dtype=np.uint8)
    classes[:, :, 0] = 1
    classes[0, 0, 2], classes[3, 3, 2] = 1, 5
    assert _richest_slice(classes, [0, 1, 5]) == 2
    assert _richest_slice(np.zeros((4, 4, 3)), [0, 1]) == 0


def test_intensities_are_scaled_as_planned():
    picture = np.array([[[-1000.0, -125.0, 75.0, 275.0, np.nan]]])
    scaled = _scaled_intensities(picture, {"scheme": "window", "low": -125, "high": 275})
    assert scaled.tolist() == [[0, 0, 128, 255, 80]]
    colour = np.full((3, 2, 2), 255.0)
    assert _scaled_intensities(colour, {"scheme": "unit8"}).shape == (2, 2, 3)


def test_classes_are_indices_and_only_they_are_painted():
    classes = _class_indices(np.array([[0, 5, 9]]), [0, 5])
    assert classes.tolist() == [[0, 1, 0]]
    painted = _painted(np.full((1, 3), 100, dtype=np.uint8), classes)
    assert painted[0, 0].tolist() == painted[0, 2].tolist() == [100, 100, 100]
    assert painted[0, 1].tolist() != [100, 100, 100]


def test_one_case_on_another_scale_does_not_squeeze_the_chart():
    usual = ChannelFacts(min=0.0, max=100.0, mean=50.0, histogram=(10,) * 64)
    hot = ChannelFacts(min=0.0, max=1e6, mean=50.0, histogram=(640,) + (0,) * 63)
    chart = _chart("MR", [usual] * 9 + [hot], {"scheme": "percentile"})
    assert chart.x_ticks[-1][1] == "100"
    assert "1 reach beyond this axis" in chart.note
    heights = {point.split(",")[1] for point in chart.curves[0].split()}
    assert len(heights) == 1  # a flat histogram is a flat curve


def test_a_recipe_without_data_has_a_page_too():
    recipe = load_recipe("samed_synapse")
    header = {"num_cases": 30, "skipped": [], **recipe.dataset}
    page = make_report(make_plan(None, dataset=header, recipe=recipe), published_splits(recipe), None)
    assert "No data was read" in page
    assert re.search(r"recipe</span>", page)
