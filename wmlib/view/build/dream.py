"""Chapter 6's exercises: the dream as an environment, an extrapolated return, a rank correlation.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are what is printed for the reader.
"""

import numpy as np
from scipy.stats import rankdata

from wmlib.view.build.dream_env import DREAM_ENV
from wmlib.view.build.exercise import Exercise, Measured


def extrapolated_return(total_reward, failures, steps, horizon):
    """The expected return of `horizon` agent steps, in points, from dreams of one policy.

    total_reward: the sum of all rewards of its dreams, in points. failures: how many dreams failed.
    steps: agent steps in all of them until failure (or the end). Floats or arrays of one shape.
    """
    reward_rate = total_reward / steps
    failure_rate = (failures + 0.5) / steps
    return reward_rate * (1 - np.exp(-failure_rate * horizon)) / failure_rate


def _never_fails(total_reward, failures, steps, horizon):
    """This is T times the reward rate, the return of a policy that never fails."""
    return total_reward / steps * horizon


def _all_or_nothing(total_reward, failures, steps, horizon):
    """This counts only episodes without a failure. A policy also gets the rewards before its
    failure: integrate the reward rate times exp(-phi t) from 0 to T."""
    phi = (failures + 0.5) / steps
    return total_reward / steps * horizon * np.exp(-phi * horizon)


def _not_divided(total_reward, failures, steps, horizon):
    """The division by phi is missing: the integral of exp(-phi t) is (1 - exp(-phi T)) / phi."""
    return total_reward / steps * (1 - np.exp(-(failures + 0.5) / steps * horizon))


def _without_end(total_reward, failures, steps, horizon):
    """This is the return of an episode without a limit of time: the factor 1 - exp(-phi T) is
    missing."""
    return total_reward / (failures + 0.5)


def _opposite_sign(total_reward, failures, steps, horizon):
    """The exponent has the opposite sign: exp(-phi T) falls with T."""
    phi = (failures + 0.5) / steps
    return total_reward / steps * (1 - np.exp(phi * horizon)) / phi


def _no_half(total_reward, failures, steps, horizon):
    """The 0.5 in phi is missing: a policy without a failure in its dreams may fail later, and with
    phi = 0 there is a division by 0."""
    phi = failures / steps
    return total_reward / steps * (1 - np.exp(-phi * horizon)) / phi


def _nearly_no_half(total_reward, failures, steps, horizon):
    """The 0.5 in phi is missing: a small number avoids the division by 0, and still says that a
    policy without a failure in its dreams never fails."""
    phi = np.maximum(failures, 1e-12) / steps
    return total_reward / steps * (1 - np.exp(-phi * horizon)) / phi


def _half_outside(total_reward, failures, steps, horizon):
    """The 0.5 is added to the rate: add it to the number of failures, and divide the sum by
    steps."""
    phi = failures / steps + 0.5
    return total_reward / steps * (1 - np.exp(-phi * horizon)) / phi


def _three_policies(function) -> Measured:
    failed = np.array([1.0, 6.0, 30.0])
    total, steps = np.array([2100.0, 1500.0, -90.0]), np.array([900.0, 800.0, 750.0])
    with np.errstate(all="ignore"):
        sure = np.asarray(function(np.array([2400.0]), np.zeros(1), np.array([1200.0]), 460))
        return {
            "the returns of policies that failed": np.asarray(function(total, failed, steps, 460)),
            # Numbers only: of a mistake that divides by 0 the rest is to be recognized.
            "the return of a policy that never failed": np.nan_to_num(sure, nan=0.0),
        }


def spearman(x, y):
    """Spearman's rank correlation of x (n,) and y (n,): a float, -1 to 1."""
    a, b = rankdata(x), rankdata(y)
    return np.corrcoef(a, b)[0, 1]


def _of_values(x, y):
    """This is Pearson's correlation of the values: replace them by their ranks first."""
    return np.corrcoef(x, y)[0, 1]


def _argsort(x, y):
    """argsort gives the order (which entry comes first), not the ranks (which place an entry has):
    rankdata gives ranks."""
    return np.corrcoef(np.argsort(x), np.argsort(y))[0, 1]


def _ties_by_position(x, y):
    """Equal values must share their mean rank. argsort of argsort ranks them by position: use
    rankdata."""
    return np.corrcoef(np.argsort(np.argsort(x)), np.argsort(np.argsort(y)))[0, 1]


def _matrix(x, y):
    """np.corrcoef returns a 2 x 2 matrix: the correlation is its entry [0, 1]."""
    return np.corrcoef(rankdata(x), rankdata(y))


def _covariance(x, y):
    """This is a covariance: divide by both standard deviations (np.corrcoef does)."""
    return np.cov(rankdata(x), rankdata(y))[0, 1]


def _two_orders(function) -> Measured:
    x = np.array([7.0, 900.0, 12.0, -90.0, 450.0, 33.0, 410.0])
    y = np.array([3.0, 80.0, 85.0, 1.0, 40.0, 20.0, 41.0])
    tied = np.array([30.0, 90.0, 90.0, -5.0, 90.0, 20.0, 20.0])
    return {
        "the correlation": np.asarray(function(x, y), dtype=float),
        "the correlation with equal values": np.asarray(function(x, tied), dtype=float),
    }


EXERCISES = (
    DREAM_ENV,
    Exercise(
        extrapolated_return,
        _three_policies,
        hint="Three lines: the reward rate is the reward per step, the failure rate "
        "phi = (failures + 0.5) / steps, and the result is the reward rate times "
        "(1 - exp(-phi T)) / phi, with np.exp.",
        mistakes=(
            _never_fails,
            _all_or_nothing,
            _not_divided,
            _without_end,
            _opposite_sign,
            _no_half,
            _nearly_no_half,
            _half_outside,
        ),
    ),
    Exercise(
        spearman,
        _two_orders,
        hint="rankdata(x) from scipy.stats gives the ranks; np.corrcoef(a, b) a matrix of "
        "correlations, whose entry [0, 1] is that of a and b.",
        mistakes=(_of_values, _argsort, _ties_by_position, _matrix, _covariance),
    ),
)
