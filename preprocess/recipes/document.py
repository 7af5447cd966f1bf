"""docs/recipes.md, from the recipes: `python -m preprocess.recipes.document > docs/recipes.md`."""

from __future__ import annotations

from preprocess.recipes.recipe import Recipe, load_recipe, recipe_names

HEAD = """# Recipes

`pgsam-plan /data/FOLDER --recipe NAME` plans published settings. Each has its reason in plan.json: the paper, or
where it is silent the released code, or ours where both leave it open. Where a recipe does something else than its
source stands below, in plan.json (`departures`), in the bundle's README and in the report. A recipe without such lines
is titled "as published", one with them "adapted". This page is what `python -m preprocess.recipes.document` prints.
"""


def recipes_page() -> str:
    """The page, a section per recipe."""
    return "\n".join([HEAD, *(_section(load_recipe(name)) for name in recipe_names())])


def _section(recipe: Recipe) -> str:
    """Title and table; where it inherits most of it, only what differs."""
    rows = recipe.departures
    lines = [f"## {recipe.name}", f"{recipe.title}."]
    parent = load_recipe(recipe.inherits) if recipe.inherits else None
    if parent and len(set(parent.departures) & set(rows)) * 2 > len(parent.departures):
        names = {row.what for row in rows}
        without = [row.what for row in parent.departures if row.what not in names]
        rows = tuple(row for row in rows if row not in parent.departures)
        lines += ["", f"As `{parent.name}`" + (f", without {', '.join(without)}" if without else "")]
        lines[-1] += "; its own are:" if rows else "."
    if rows:
        lines += ["", "| what | paper or released code | this recipe | why |", "|---|---|---|---|"]
        lines += [f"| {row.what} | {row.theirs} | {row.ours} | {row.why} |" for row in rows]
    return "\n".join([*lines, ""])


if __name__ == "__main__":
    print(recipes_page(), end="")
