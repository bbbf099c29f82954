"""What a run's figures say is wrong: said where it is so, and nowhere else."""

import pytest

from charrnn.advice import advise


def history(losses, val_losses):
    return [
        {"step": 100 * at, "loss": loss, "val_loss": val}
        for at, (loss, val) in enumerate(zip(losses, val_losses, strict=True), 1)
    ]


FALLING = [3.0, 2.0, 1.5, 1.2, 1.0, 0.8]


@pytest.mark.parametrize(
    "val_losses",
    [
        [2.9, 2.1, 1.8, 1.7, 1.6, 1.5],  # still falling
        [2.9, 2.1, 1.6, 1.605, 1.601, 1.609],  # level: chance
        [2.9, 2.1, 1.6, 1.5, 1.6, 1.7],  # not for long
        [None] * 6,
    ],
)
def test_nothing_is_said_where_all_is_well(val_losses):
    assert advise(history(FALLING, val_losses), 0.3) == {}


def test_overfitting_is_said_with_the_step_it_began_at():
    told = advise(history(FALLING, [2.9, 2.1, 1.6, 1.65, 1.7, 1.8]), 0.0)
    assert list(told) == ["overfits"]
    assert "since step 300 " in told["overfits"]
    assert "--dropout" in told["overfits"]


def test_a_validation_loss_that_rises_with_the_training_loss_is_no_overfitting():
    assert advise(history([3.0, 2.0, 1.0, 1.1, 1.2, 1.3], [2.9, 2.1, 1.6, 1.65, 1.7, 1.8]), 0.0) == {}


def test_a_loss_that_hardly_falls_is_said():
    losses = [3.0, 2.99, 2.98, 2.97]
    assert list(advise(history(losses, losses), 0.0)) == ["does not learn"]
    assert list(advise(history(losses, [None] * 4), 0.0)) == ["does not learn"]
    assert advise(history(losses[:3], losses[:3]), 0.0) == {}


def test_clipping_all_the_time_is_said():
    told = advise(history(FALLING[:1], FALLING[:1]), 0.95)
    assert list(told) == ["clipped"]
    assert told["clipped"].startswith("95% of the steps")
    assert advise(history(FALLING[:1], FALLING[:1]), 0.85) == {}
