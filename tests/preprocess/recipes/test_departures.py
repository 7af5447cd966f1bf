"""Where a recipe leaves its source, it says so: in its title, plan, bundle and report, and in docs/recipes.md."""

from pathlib import Path

import pytest

from preprocess.bundle.emit import bundle_files
from preprocess.plan.outputs import write_json
from preprocess.plan.plan import make_plan, replan
from preprocess.plan.reading import read_plan
from preprocess.recipes import load_recipe, published_splits, recipe_names
from preprocess.recipes.document import recipes_page
from preprocess.report import make_report

PAGE = Path(__file__).parents[3] / "docs" / "recipes.md"


def planned(name):
    recipe = load_recipe(name)
    header = {key: recipe.dataset[key] for key in ("name", "folder", "layout", "file_format", "channels")}
    header |= {"num_cases": 30, "skipped": []}
    return recipe, make_plan(None, dataset=header, networks=recipe.networks, recipe=recipe)


@pytest.mark.parametrize("name", recipe_names())
def test_a_recipe_is_adapted_or_as_published_and_says_which(name):
    recipe = load_recipe(name)
    assert ("adapted" in recipe.title, "as published" in recipe.title) == (
        bool(recipe.departures),
        not recipe.departures,
    )
    for departure in recipe.departures:
        assert all((departure.what, departure.theirs, departure.ours, departure.why))
        assert departure.theirs != departure.ours
        assert (
            f"| {departure.what} | {departure.theirs} | {departure.ours} | {departure.why} |"
            in PAGE.read_text()
        )


def test_the_page_is_what_the_recipes_say():
    assert PAGE.read_text(encoding="utf-8") == recipes_page(), (
        "python -m preprocess.recipes.document > docs/recipes.md"
    )


def test_an_inherited_departure_can_be_taken_back_or_changed():
    samed, hsam, la = (
        {departure.what: departure for departure in load_recipe(name).departures}
        for name in ("samed_synapse", "hsam_synapse", "hsam_la")
    )
    assert hsam["orientation"] == samed["orientation"] != la["orientation"]
    assert "last batch" in hsam and "last batch" not in la  # 224 slices are 14 batches of 16
    assert "3 slices" in samed["last batch"].theirs  # 2211 = 92 * 24 + 3


def test_they_stand_in_plan_bundle_and_report(tmp_path):
    recipe, plan = planned("samed_synapse")
    splits = published_splits(recipe)
    record = plan.to_json()
    assert [entry["what"] for entry in record["departures"]] == [entry.what for entry in recipe.departures]
    readme = bundle_files(record, splits.to_json(), "samed")["docs/README.md"]
    report = make_report(plan, splits, None)
    for departure in recipe.departures:
        assert f"| {departure.what} | {departure.theirs} | {departure.ours} |" in readme
        assert f"<td>{departure.what}</td>" in report
    write_json(tmp_path / "plan.json", record)
    again, _ = read_plan(tmp_path / "plan.json")
    assert again.to_json() == record
    assert replan(again, None, recipe=recipe).to_json() == record


def test_a_plan_without_a_recipe_has_none():
    from plan_evidence import evidence

    _, recipes = planned("samed_synapse")
    made = make_plan(evidence(), dataset=recipes.dataset, networks=("samed",))
    assert "departures" not in made.to_json()
