"""Published settings, one JSON file per recipe (`recipe`), and the splits that go with them (`published`)."""

from preprocess.recipes.published import published_splits, splits_by_recipe
from preprocess.recipes.recipe import PREPARED_IN_ARCHIVES, Recipe, load_recipe, recipe_names

__all__ = [
    "PREPARED_IN_ARCHIVES",
    "Recipe",
    "load_recipe",
    "published_splits",
    "recipe_names",
    "splits_by_recipe",
]
