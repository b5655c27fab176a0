"""Chapter 7's exercises: sample efficiency, the difference of two recipes, a linear probe.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are what is printed for the reader.
"""

import numpy as np
from scipy import stats

from wmlib.view.build.exercise import Exercise, Measured


def steps_to_reach(steps, returns, level):
    """Environment steps at which a learning curve first reaches `level`; infinite if it never does.

    steps, returns: (n,), of its checks. Between two checks the curve is a straight line; before the
    first one it is unknown.
    """
    above = returns >= level
    if not above.any():
        return np.inf
    k = above.argmax()
    if k == 0:
        return steps[0]
    share = (level - returns[k - 1]) / (returns[k] - returns[k - 1])
    return steps[k - 1] + share * (steps[k] - steps[k - 1])


def _between(steps, returns, level, k):
    # Where the line from check k - 1 to check k is at the level.
    share = (level - returns[k - 1]) / (returns[k] - returns[k - 1])
    return steps[k - 1] + share * (steps[k] - steps[k - 1])


def _check_above(steps, returns, level):
    """This is the first check at or above the level. The curve crosses the level earlier, between
    that check and the one before: interpolate."""
    above = returns >= level
    return steps[above.argmax()] if above.any() else np.inf


def _check_below(steps, returns, level):
    """This is the last check below the level. The curve crosses the level later, between that check
    and the next one: interpolate."""
    above = returns >= level
    return steps[max(above.argmax() - 1, 0)] if above.any() else np.inf


def _sorted_curve(steps, returns, level):
    """np.interp needs returns that never fall, and those of a learning curve do: where it ends
    below the level, you get the last check. Find the first check at or above the level."""
    return np.interp(level, returns, steps)


def _last_crossing(steps, returns, level):
    """This is the last crossing. A noisy curve can cross a level several times: take the first."""
    if not (returns >= level).any():
        return np.inf
    below = np.flatnonzero(returns < level)
    k = below[below < len(returns) - 1][-1] + 1 if len(below) else 0
    if k == 0:
        return steps[0]
    return _between(steps, returns, level, k)


def _no_first_check(steps, returns, level):
    """If the first check is at the level already, there is none before it, and returns[-1] is the
    *last* check. Return the steps of the first check."""
    above = returns >= level
    if not above.any():
        return np.inf
    k = above.argmax()
    return _between(steps, returns, level, k)


def _from_zero(steps, returns, level):
    """Before the first check the curve is unknown: do not begin it at 0 steps and 0 points. If the
    first check is at the level already, return its steps."""
    return steps_to_reach(np.append(0.0, steps), np.append(0.0, returns), level)


def _never_is_the_end(steps, returns, level):
    """A curve that never reaches the level has no number of steps: return np.inf, not the last
    check, or a poor recipe seems to get there."""
    found = steps_to_reach(steps, returns, level)
    return steps[-1] if np.isinf(found) else found


def _never_is_the_first(steps, returns, level):
    """If no check is at the level, argmax() of all False is 0, and this is the first check. Test
    (returns >= level).any() first, and return np.inf."""
    k = (returns >= level).argmax()
    if k == 0:
        return steps[0]
    return _between(steps, returns, level, k)


def _sorted_and_never(steps, returns, level):
    """np.interp needs returns that never fall, and those of a learning curve do. Find the first
    check at or above the level, and interpolate between it and the one before."""
    return np.interp(level, returns, steps) if (returns >= level).any() else np.inf


def _three_curves(function) -> Measured:
    steps = np.array([100.0, 200.0, 400.0, 500.0, 700.0])
    falls = np.array([10.0, 60.0, 50.0, 90.0, 85.0])
    again = np.array([10.0, 80.0, 40.0, 60.0, 95.0])
    ends_below = np.array([10.0, 80.0, 40.0, 60.0, 65.0])
    return {
        "the steps to 70 of a curve that rises and falls": float(function(steps, falls, 70)),
        "the steps to 70 of a curve that reaches it twice": float(function(steps, again, 70)),
        "the steps to 70 of a curve that ends below it": float(function(steps, ends_below, 70)),
        "the steps to a level that the first check has reached": float(function(steps, falls, 5)),
        # Infinite is right there: as text, because numbers have to be finite.
        "the steps to a level that is never reached": str(float(function(steps, falls, 95))),
    }


def difference_interval(a, b):
    """The mean of `a` minus that of `b`, and its 95% CI by Welch's t: (difference, low, high).

    a, b: (n,) and (m,), independent values, one per training seed; two or more of each.
    """
    x, y = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    freedom = (x + y) ** 2 / (x**2 / (len(a) - 1) + y**2 / (len(b) - 1))
    half = stats.t.ppf(0.975, freedom) * np.sqrt(x + y)
    difference = a.mean() - b.mean()
    return difference, difference - half, difference + half


def _around(a, b, half):
    difference = a.mean() - b.mean()
    return difference, difference - half, difference + half


def _quantile(a, b, x, y, share=0.975):
    # Of Student's t, with Welch's degrees of freedom for variances x and y.
    return stats.t.ppf(share, (x + y) ** 2 / (x**2 / (len(a) - 1) + y**2 / (len(b) - 1)))


def _as_if_normal(a, b):
    """The factor is that of a normal distribution, about 1.96. It needs many values, or a known
    spread: with few, take the quantile of Student's t."""
    x, y = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    half = stats.norm.ppf(0.975) * np.sqrt(x + y)
    return _around(a, b, half)


def _one_sided(a, b):
    """The quantile is 0.95: this interval leaves 5% on *each* side, so it is a 90% CI. Of a 95% CI,
    2.5% are on each side."""
    x, y = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    return _around(a, b, _quantile(a, b, x, y, 0.95) * np.sqrt(x + y))


def _biased_variance(a, b):
    """The variances are divided by n, and not by n - 1: pass ddof=1."""
    x, y = a.var() / len(a), b.var() / len(b)
    return _around(a, b, _quantile(a, b, x, y) * np.sqrt(x + y))


def _spread_of_values(a, b):
    """This uses the variances of single values. The variance of a *mean* of n values is that of a
    value divided by n."""
    x, y = a.var(ddof=1), b.var(ddof=1)
    return _around(a, b, _quantile(a, b, x, y) * np.sqrt(x + y))


def _without_root(a, b):
    """The sum of the two variances is a variance: take its root, the standard error."""
    x, y = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    return _around(a, b, _quantile(a, b, x, y) * (x + y))


def _deviations(a, b):
    """These are standard deviations divided by n: square them first. The variance of a mean is
    a.var(ddof=1) / len(a)."""
    x, y = a.std(ddof=1) / len(a), b.std(ddof=1) / len(b)
    return _around(a, b, _quantile(a, b, x, y) * np.sqrt(x + y))


def _equal_spreads(a, b):
    """This is Student's interval, which takes the two spreads as equal (scipy's ttest_ind does by
    default). Welch's adds the variances of the two means."""
    n, m = len(a), len(b)
    pooled = ((n - 1) * a.var(ddof=1) + (m - 1) * b.var(ddof=1)) / (n + m - 2)
    half = stats.t.ppf(0.975, n + m - 2) * np.sqrt(pooled * (1 / n + 1 / m))
    return _around(a, b, half)


def _pooled(a, b):
    """The degrees of freedom are n + m - 2, which holds for two equal spreads. Welch's formula for
    them allows two different ones."""
    x, y = a.var(ddof=1) / len(a), b.var(ddof=1) / len(b)
    half = stats.t.ppf(0.975, len(a) + len(b) - 2) * np.sqrt(x + y)
    return _around(a, b, half)


def _reversed(a, b):
    """The sign is opposite: the mean of a minus that of b."""
    return difference_interval(b, a)


def _two_recipes(function) -> Measured:
    a = np.array([880.0, 902.0, 861.0, 893.0, 874.0])
    b = np.array([845.0, 770.0, 801.0])
    difference, low, high = function(a, b)
    return {
        "the difference": float(difference),
        "the lower end": float(low),
        "the upper end": float(high),
    }


def probe_r2(inputs, truth, test_inputs, test_truth):
    """R² of a linear probe on test data: 1 minus its squared error over that of the test mean.

    The probe is a linear function of the inputs plus a constant, fitted by least squares to inputs
    (N, n) and truth (N,); test_inputs (M, n) and test_truth (M,) are used for the R² alone.
    """
    with_one = np.column_stack([inputs, np.ones(len(inputs))])
    weights = np.linalg.lstsq(with_one, truth, rcond=None)[0]
    predicted = test_inputs @ weights[:-1] + weights[-1]
    error = ((test_truth - predicted) ** 2).sum()
    return 1 - error / ((test_truth - test_truth.mean()) ** 2).sum()


def _predicted(inputs, truth, test_inputs):
    with_one = np.column_stack([inputs, np.ones(len(inputs))])
    weights = np.linalg.lstsq(with_one, truth, rcond=None)[0]
    return test_inputs @ weights[:-1] + weights[-1]


def _without_constant(inputs, truth, test_inputs, test_truth):
    """The constant is missing: add a column of ones to the inputs, or subtract the means."""
    weights = np.linalg.lstsq(inputs, truth, rcond=None)[0]
    error = ((test_truth - test_inputs @ weights) ** 2).sum()
    return 1 - error / ((test_truth - test_truth.mean()) ** 2).sum()


def _on_the_training_data(inputs, truth, test_inputs, test_truth):
    """This is the R² on the data that the probe was fitted to: it rises with every input, useful or
    not. Predict test_truth from test_inputs."""
    return probe_r2(inputs, truth, inputs, truth)


def _fitted_to_the_test(inputs, truth, test_inputs, test_truth):
    """The probe is fitted to the test data. Fit it to inputs and truth."""
    return probe_r2(test_inputs, test_truth, test_inputs, test_truth)


def _correlation(inputs, truth, test_inputs, test_truth):
    """This is the squared correlation, which ignores a wrong scale and a wrong mean. R² is 1 minus
    the squared error divided by that of the mean."""
    predicted = _predicted(inputs, truth, test_inputs)
    return np.corrcoef(predicted, test_truth)[0, 1] ** 2


def _training_mean(inputs, truth, test_inputs, test_truth):
    """The error is divided by that of the mean of the *training* data. Take the mean of the test
    data: the R² of a constant prediction is then 0 at most."""
    predicted = _predicted(inputs, truth, test_inputs)
    error = ((test_truth - predicted) ** 2).sum()
    return 1 - error / ((test_truth - truth.mean()) ** 2).sum()


def _variance_of_the_error(inputs, truth, test_inputs, test_truth):
    """The variance of the error ignores its mean: a prediction that is wrong by a constant would
    count as perfect. Sum the squared errors."""
    predicted = _predicted(inputs, truth, test_inputs)
    return 1 - (test_truth - predicted).var() / test_truth.var()


def _about_zero(inputs, truth, test_inputs, test_truth):
    """The error is divided by the sum of squares about 0. Subtract the mean of test_truth first: a
    constant prediction should have an R² of 0."""
    predicted = _predicted(inputs, truth, test_inputs)
    return 1 - ((test_truth - predicted) ** 2).sum() / (test_truth**2).sum()


def _two_probes(function) -> Measured:
    rng = np.random.default_rng(0)
    x, test_x = rng.normal(size=(60, 4)), 0.5 + 1.5 * rng.normal(size=(40, 4))
    weights = np.array([1.0, -2.0, 0.5, 0.0])
    noise, test_noise = rng.normal(size=60), 2 * rng.normal(size=40)
    return {
        "the R² of a linear quantity with noise": float(
            function(x, x @ weights + 3 + noise, test_x, test_x @ weights + 3 + test_noise)
        ),
        "the R² of a quantity that is not in the inputs": float(
            function(x, 5 + noise, test_x, 4 + test_noise)
        ),
    }


EXERCISES = (
    Exercise(
        steps_to_reach,
        _three_curves,
        hint="(returns >= level).argmax() is the index k of the first check at or above the level. "
        "Between k - 1 and k, the level is reached after the share (level - returns[k - 1]) / "
        "(returns[k] - returns[k - 1]) of the steps between them. Two cases have no k - 1 or no k.",
        mistakes=(
            _check_above,
            _check_below,
            _sorted_curve,
            _last_crossing,
            _no_first_check,
            _from_zero,
            _never_is_the_end,
            _never_is_the_first,
            _sorted_and_never,
        ),
    ),
    Exercise(
        difference_interval,
        _two_recipes,
        hint="a.var(ddof=1) / len(a) is the variance of the mean of a. stats.t.ppf(0.975, freedom) "
        "is the factor of the standard error.",
        mistakes=(
            _as_if_normal,
            _one_sided,
            _biased_variance,
            _spread_of_values,
            _without_root,
            _deviations,
            _equal_spreads,
            _pooled,
            _reversed,
        ),
    ),
    Exercise(
        probe_r2,
        _two_probes,
        hint="np.column_stack([inputs, np.ones(len(inputs))]) adds the constant; "
        "np.linalg.lstsq(..., truth, rcond=None)[0] are the weights, the last one of the constant.",
        mistakes=(
            _without_constant,
            _on_the_training_data,
            _fitted_to_the_test,
            _correlation,
            _training_mean,
            _variance_of_the_error,
            _about_zero,
        ),
    ),
)
