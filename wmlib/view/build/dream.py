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
    v = total_reward / steps
    r = (failures + 0.5) / steps
    return v * (1 - np.exp(-r * horizon)) / r


def _never_fails(total_reward, failures, steps, horizon):
    """This is v T, the return of a policy that never fails."""
    return total_reward / steps * horizon


def _all_or_nothing(total_reward, failures, steps, horizon):
    """This is v T exp(-r T): it counts only episodes without a failure. A policy also gets the
    rewards before its failure: integrate v exp(-r t) from 0 to T."""
    r = (failures + 0.5) / steps
    return total_reward / steps * horizon * np.exp(-r * horizon)


def _not_divided(total_reward, failures, steps, horizon):
    """The division by r is missing: the integral of exp(-r t) is (1 - exp(-r T)) / r."""
    return total_reward / steps * (1 - np.exp(-(failures + 0.5) / steps * horizon))


def _without_end(total_reward, failures, steps, horizon):
    """This is v / r, the return of an episode without a limit of time: the factor 1 - exp(-r T) is
    missing."""
    return total_reward / (failures + 0.5)


def _opposite_sign(total_reward, failures, steps, horizon):
    """The exponent has the opposite sign: exp(-r T) falls with T."""
    r = (failures + 0.5) / steps
    return total_reward / steps * (1 - np.exp(r * horizon)) / r


def _no_prior(total_reward, failures, steps, horizon):
    """The 0.5 in r is missing: a policy without a failure in its dreams may fail later, and with r
    = 0 there is a division by 0."""
    r = np.maximum(failures, 1e-12) / steps
    return total_reward / steps * (1 - np.exp(-r * horizon)) / r


def _three_policies(function) -> Measured:
    failed = np.array([1.0, 6.0, 30.0])
    total, steps = np.array([2100.0, 1500.0, -90.0]), np.array([900.0, 800.0, 750.0])
    with np.errstate(all="ignore"):
        return {
            "the returns of policies that failed": np.asarray(function(total, failed, steps, 460)),
            "the return of a policy that never failed": float(function(2400.0, 0, 1200.0, 460)),
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
        hint="Three lines: v is the reward per step, r = (failures + 0.5) / steps the failure "
        "rate per step, and the result is v (1 - exp(-r T)) / r with np.exp.",
        mistakes=(
            _never_fails,
            _all_or_nothing,
            _not_divided,
            _without_end,
            _opposite_sign,
            _no_prior,
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
