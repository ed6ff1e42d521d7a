"""Train the small models that the demo uses offline, measure them, and write their model cards.

python scripts/train_demo_models.py [clip-drawings] [perceiver-drawings]
"""

import argparse
from pathlib import Path

import torch

from include.embedding_etl.places import PROJECT_ROOT
from scripts.demo_models import card, clips, evaluation, pictures


def train_pictures(directory: Path) -> None:
    """CLIP, for the multimodal lane."""
    recipe = pictures.Recipe()
    seconds = pictures.train(recipe, directory)
    figures = evaluation.measure_pictures(evaluation.load("clip", directory))
    card.write_card(card.PICTURES, directory, recipe, figures, seconds)
    _show(directory, figures, seconds)


def train_clips(directory: Path) -> None:
    """Perceiver, for the video lane."""
    recipe = clips.ClipRecipe()
    seconds = clips.train(recipe, directory)
    figures = evaluation.measure_clips(evaluation.load("perceiver", directory))
    card.write_card(card.CLIPS, directory, recipe, figures, seconds)
    _show(directory, figures, seconds)


MODELS = {card.PICTURES.name: train_pictures, card.CLIPS.name: train_clips}


def main() -> None:
    """Train what the command line names, or both."""
    parser = argparse.ArgumentParser(description="Train the small models that the demo uses offline.")
    parser.add_argument("names", nargs="*", help=f"{' and '.join(MODELS)}; both if none is named")
    parser.add_argument("--into", type=Path, default=PROJECT_ROOT / "include" / "demo_models")
    arguments = parser.parse_args()
    if unknown := set(arguments.names) - set(MODELS):
        parser.error(f"there is no model {', '.join(sorted(unknown))}; there are {' and '.join(MODELS)}")
    # On a busy machine a second thread mostly waited: a step took two to three times the processor time.
    torch.set_num_threads(1)
    for name in arguments.names or MODELS:
        MODELS[name](arguments.into / name)


def _show(directory: Path, figures: dict[str, float], seconds: float) -> None:
    print(f"{directory}: trained in {seconds:.0f} s")
    for name, value in figures.items():
        print(f"  {name:24}{value:.3f}")


if __name__ == "__main__":
    main()
