"""Drawings follow from their attributes alone, show each of them, and keep some combinations for measuring."""

from dataclasses import replace
from itertools import combinations

import numpy as np
import pytest

from include.local_stack.drawings import (
    BACKGROUNDS,
    COLOURS,
    MOTIONS,
    PLACES,
    SHAPES,
    SIZES,
    Clip,
    Scene,
    clip_of,
    draw_clip,
    draw_scene,
    scene_of,
)

SCENE = Scene("star", "red", "large", "in the center", "white")
CLIP = Clip("star", "red", "moving right", "white")


def centre_of(frame):
    """Mean column and row of what differs from the corner, as fractions of the sides; None where nothing does."""
    rows, columns = np.nonzero(np.abs(frame.astype(int) - frame[0, 0]).sum(axis=2) > 60)
    return (columns.mean() / frame.shape[1], rows.mean() / frame.shape[0]) if len(rows) else None


def area_of(frame):
    return int(np.sum(np.abs(frame.astype(int) - frame[0, 0]).sum(axis=2) > 60))


def test_the_same_scene_and_the_same_clip_give_the_same_pixels():
    assert np.array_equal(draw_scene(SCENE)[0], draw_scene(replace(SCENE))[0])
    assert np.array_equal(draw_clip(CLIP, 64)[0], draw_clip(replace(CLIP), 64)[0])
    assert np.array_equal(draw_scene(7)[0], draw_scene(scene_of(7))[0])
    assert np.array_equal(draw_clip(7, 64)[0], draw_clip(clip_of(7), 64)[0])


def test_a_variant_changes_the_pixels_but_not_the_caption():
    (one, caption), (two, other_caption) = draw_scene(SCENE), draw_scene(replace(SCENE, variant=1))
    assert not np.array_equal(one, two)
    assert caption == other_caption == "a large red star in the center on a white background"


def test_sizes_and_types_are_as_asked_for():
    assert draw_scene(SCENE, 96)[0].shape == (96, 96, 3)
    frames = draw_clip(CLIP, 48, frames=5)[0]
    assert frames.shape == (5, 48, 48, 3)
    assert frames.dtype == np.uint8


@pytest.mark.parametrize(
    ("name", "choices"),
    [("shape", SHAPES), ("colour", COLOURS), ("size", SIZES), ("place", PLACES), ("background", BACKGROUNDS)],
)
def test_every_attribute_shows_and_is_said(name, choices):
    drawn = [draw_scene(replace(SCENE, **{name: choice}), 64) for choice in choices]
    for (one, caption), (two, other_caption) in combinations(drawn, 2):
        assert np.abs(one.astype(int) - two).max() > 50
        assert caption != other_caption


@pytest.mark.parametrize("place", PLACES)
def test_a_shape_is_where_its_caption_says(place):
    column, row = centre_of(draw_scene(replace(SCENE, shape="circle", place=place))[0])
    assert (column, row) == pytest.approx(PLACES[place], abs=0.03)


@pytest.mark.parametrize(("motion", "axis", "sign"), [("right", 0, 1), ("left", 0, -1), ("down", 1, 1), ("up", 1, -1)])
def test_a_shape_moves_where_its_caption_says(motion, axis, sign):
    frames = draw_clip(replace(CLIP, motion=f"moving {motion}"), 64)[0]
    assert (centre_of(frames[-1])[axis] - centre_of(frames[0])[axis]) * sign > 0.4


def test_a_shape_grows_and_shrinks_and_flashes():
    areas = {motion: [area_of(frame) for frame in draw_clip(replace(CLIP, motion=motion), 64)[0]] for motion in MOTIONS}
    assert areas["growing"][-1] > 3 * areas["growing"][0]
    assert areas["shrinking"][0] > 3 * areas["shrinking"][-1]
    assert 0 in areas["flashing"]
    assert max(areas["flashing"]) > 0
    assert 0 not in areas["going round"]


def test_about_one_combination_in_ten_is_held_out_whatever_its_variant():
    scenes = [scene_of(seed) for seed in range(3_000)]
    assert np.mean([scene.held_out for scene in scenes]) == pytest.approx(0.1, abs=0.03)
    assert all(scene.held_out == replace(scene, variant=-1).held_out for scene in scenes[:100])
    assert np.mean([clip_of(seed).held_out for seed in range(3_000)]) == pytest.approx(0.1, abs=0.03)


def test_seeds_reach_every_value_of_every_attribute():
    scenes, clips = [scene_of(seed) for seed in range(300)], [clip_of(seed) for seed in range(300)]
    assert {scene.shape for scene in scenes} == set(SHAPES)
    assert {scene.place for scene in scenes} == set(PLACES)
    assert {clip.motion for clip in clips} == set(MOTIONS)
