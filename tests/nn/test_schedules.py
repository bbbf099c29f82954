"""Schedules: the rates of whole runs, as literals."""

import pytest

from charrnn.config import SCHEDULE_NAMES, TrainConfig, build
from charrnn.nn.schedules import SCHEDULES, Course, constant, cosine, exponential, schedule_of, step, warmup_in


def rates(schedule, steps):
    return [schedule(at) for at in steps]


def test_the_names_are_those_of_the_settings():
    assert tuple(SCHEDULES) == SCHEDULE_NAMES


def test_constant():
    assert rates(constant(0.5), [0, 1, 10**9]) == [0.5, 0.5, 0.5]


def test_exponential():
    schedule = exponential(8.0, decay_rate=0.25, decay_steps=2, steps=100)
    assert rates(schedule, range(5)) == [8.0, 4.0, 2.0, 1.0, 0.5]


def test_step():
    schedule = step(8.0, decay_rate=0.5, decay_steps=3, steps=100)
    assert rates(schedule, range(10)) == [8, 8, 8, 4, 4, 4, 2, 2, 2, 1]


def test_decay_takes_a_quarter_of_the_run_where_nothing_is_said():
    assert rates(step(8.0, 0.5, None, steps=10), range(10)) == [8, 8, 4, 4, 2, 2, 1, 1, 0.5, 0.5]
    assert rates(exponential(8.0, 0.5, None, steps=8), [0, 2, 4, 6]) == [8, 4, 2, 1]
    assert rates(step(8.0, 0.5, None, steps=3), range(3)) == [8, 4, 2]  # never less than one step


def test_cosine_rises_and_falls():
    # A warm-up of 3 steps: 1/4, 2/4, 3/4. Then (1 + cos(pi k / 40)) / 2 from 1 at step 3 to 0 at step 43.
    schedule = cosine(4.0, warmup_steps=3, warmup_share=0.1, final_rate=0.0, steps=43)
    assert rates(schedule, range(4)) == [1.0, 2.0, 3.0, 4.0]
    assert rates(schedule, [13, 23, 33]) == pytest.approx([3.414213562, 2.0, 0.585786438], rel=1e-9)
    assert rates(schedule, [43, 44, 1000]) == [0.0, 0.0, 0.0]


def test_cosine_ends_at_the_final_rate():
    # final 0.2: 0.2 + 0.8 (1 + cos) / 2, which is 0.6 half-way
    schedule = cosine(10.0, warmup_steps=0, warmup_share=0.1, final_rate=0.2, steps=4)
    assert rates(schedule, range(6)) == pytest.approx([10.0, 8.828427125, 6.0, 3.171572875, 2.0, 2.0], rel=1e-9)


def test_a_short_run_gives_a_tenth_of_itself_to_the_rise():
    schedule = cosine(3.0, warmup_steps=100, warmup_share=0.1, final_rate=0.0, steps=20)
    assert rates(schedule, range(3)) == [1.0, 2.0, 3.0]
    assert rates(cosine(3.0, 100, 0.1, 0.0, steps=9), [0]) == [3.0]
    assert rates(cosine(3.0, 100, 0.1, 0.0, steps=1), [0]) == [3.0]
    assert all(warmup_in(10**9, TrainConfig.warmup_share, steps) == steps // 10 for steps in range(10_000))


def test_the_share_limits_the_warm_up():
    assert [warmup_in(5, share, 8) for share in (0.0, 0.25, 0.5, 0.9, 1.0)] == [0, 2, 4, 5, 5]
    schedule = cosine(6.0, warmup_steps=100, warmup_share=0.5, final_rate=0.0, steps=10)
    assert rates(schedule, range(6)) == [1.0, 2.0, 3.0, 4.0, 5.0, 6.0]
    assert rates(schedule, [9, 10]) == pytest.approx([0.572949, 0.0])
    rising = cosine(6.0, warmup_steps=100, warmup_share=1.0, final_rate=0.0, steps=5)
    assert rates(rising, range(5)) == [1.0, 2.0, 3.0, 4.0, 5.0]


def test_a_run_whose_length_changes_keeps_the_share_of_its_first_length():
    found = rates_of(Course(10, ((3, 20),)), range(20), warmup_steps=100, warmup_share=0.5)
    assert found[:6] == pytest.approx([at / 6 for at in range(1, 7)])
    assert found[5:] == sorted(found[5:], reverse=True)


@pytest.mark.parametrize(
    ("name", "steps", "expected"),
    [
        ("constant", [0, 5, 10], [2, 2, 2]),
        ("exponential", [0, 5, 10], [2, 1, 0.5]),
        ("step", [0, 9, 10], [2, 2, 0.5]),
        # 1/2 of the rate; 0.5 + 0.5 (1 + cos(pi k / 20)) / 2 of it at k = 4 and 9
        ("cosine", [0, 5, 10], [1, 1.9045084972, 1.5782172325]),
    ],
)
def test_the_settings_build_every_schedule(name, steps, expected):
    config = TrainConfig(
        schedule=name, learning_rate=2.0, warmup_steps=1, final_rate=0.5, decay_rate=0.25, decay_steps=10
    )
    assert rates(build(SCHEDULES[name], config, steps=21), steps) == pytest.approx(expected, rel=1e-9)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_rate_is_a_plain_float_of_the_step_alone(name):
    schedule = build(SCHEDULES[name], TrainConfig(schedule=name, steps=50), steps=50)
    forwards, backwards = rates(schedule, range(50)), rates(schedule, reversed(range(50)))
    assert forwards == backwards[::-1]
    assert {type(rate) for rate in forwards} == {float}
    assert all(0 < rate <= 8e-3 for rate in forwards)


# A length that changes


def rates_of(course, steps, **settings):
    config = TrainConfig(learning_rate=1.0, **{"steps": course.steps, "warmup_steps": 0, "final_rate": 0.0} | settings)
    return rates(schedule_of(config, course), steps)


@pytest.mark.parametrize("name", SCHEDULES)
def test_a_length_that_does_not_change_gives_the_schedule_of_that_length(name):
    config = TrainConfig(schedule=name, steps=50)
    assert rates(schedule_of(config, Course(50)), range(50)) == rates(build(SCHEDULES[name], config), range(50))


def test_the_rest_of_the_schedule_is_stretched_over_the_rest_of_the_steps():
    whole = rates_of(Course(100), range(100))
    longer, shorter = Course(100, ((50, 150),)), Course(100, ((50, 75),))
    assert rates_of(longer, range(51)) == rates_of(shorter, range(51)) == whole[:51]
    assert rates_of(longer, range(50, 150, 2)) == pytest.approx(whole[50:])
    assert rates_of(shorter, range(50, 75)) == pytest.approx(whole[50::2])
    twice = Course(100, ((50, 150), (100, 125)))
    assert rates_of(twice, range(100, 125)) == pytest.approx(whole[75:])


def test_a_complete_run_that_is_extended_has_the_schedule_of_the_new_length():
    course = Course(100, ((50, 80), (80, 160), (120, 200)))
    whole = rates_of(Course(160), range(160))
    assert rates_of(course, range(80, 121)) == whole[80:121]
    assert rates_of(course, range(120, 200, 2)) == pytest.approx(whole[120:])


@pytest.mark.parametrize("changes", [((5, 300),), ((5, 50),), ((5, 300), (9, 400)), ((10, 300),)])
def test_a_warm_up_keeps_its_steps(changes):
    course = Course(100, changes)
    found = rates_of(course, range(course.total), warmup_steps=10)
    assert found[:10] == rates_of(Course(100), range(10), warmup_steps=10)
    assert found[10] == pytest.approx(1)
    assert found[10:] == sorted(found[10:], reverse=True)
    assert found[-1] < 0.01


@pytest.mark.parametrize("changes", [((2, 8),), ((2, 8), (4, 9)), ((2, 10), (3, 11)), ((2, 10), (9, 200))])
def test_a_run_may_end_in_its_warm_up(changes):
    course = Course(100, changes)
    found = rates_of(course, range(min(10, course.total)), warmup_steps=10)
    assert found == [(at + 1) / 11 for at in range(min(10, course.total))]


def test_decay_in_steps_stays_in_steps():
    course = Course(100, ((50, 200),))
    for name in ("exponential", "step"):
        explicit, quarter = ({"schedule": name, "decay_steps": steps} for steps in (25, None))
        assert rates_of(course, range(200), **explicit) == rates_of(Course(200), range(200), **explicit)
        assert rates_of(course, [50, 125], **quarter) == pytest.approx([0.25, 0.125])
        assert rates_of(Course(100), [50, 75], **quarter) == pytest.approx([0.25, 0.125])


def test_a_course_remembers_when_its_length_changed():
    course = Course(20).changed(5, 30)
    assert [course.total_at(step) for step in (0, 5, 6, 30)] == [20, 20, 30, 30]
    assert course.changed(5, 40) == Course(20, ((5, 40),))  # no step was done between the two
    assert course.changed(5, 20) == Course(20)
    assert course.changed(7, 30) == course
    longer = course.changed(30, 50)
    assert (longer.total, longer.length_changes) == (50, "5:30,30:50")
    assert Course.of(20, longer.length_changes) == longer
    assert (Course.of(20, None), Course(20).length_changes) == (Course(20), None)
