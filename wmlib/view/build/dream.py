"""Chapter 6's exercises: the dream as an environment, an extrapolated return, the regret.

Each exercise is a solution, how it is measured, and functions with typical mistakes, whose
docstrings are what is printed for the reader.
"""

import numpy as np

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


def regret(predicted, real):
    """The real return lost by choosing the policy with the highest prediction: a float, in points.

    predicted, real: the returns (n,) of the same n policies.
    """
    return real.max() - real[predicted.argmax()]


def _without_choice(predicted, real):
    """This is the difference of the two maxima. Regret compares real returns alone: the prediction
    only decides which policy is chosen."""
    return real.max() - predicted.max()


def _overestimate(predicted, real):
    """This is by how much the dream overestimates the policy that it prefers. Regret is what its
    choice loses in *real* return, compared with the best policy."""
    best = predicted.argmax()
    return predicted[best] - real[best]


def _underestimate(predicted, real):
    """This is the error of the prediction for the policy that is really the best. Regret is the
    real return of the best policy minus that of the chosen one."""
    best = real.argmax()
    return real[best] - predicted[best]


def _predicted_loss(predicted, real):
    """This is the loss that the dream predicts for choosing the really best policy: exchange the
    two."""
    return predicted.max() - predicted[real.argmax()]


def _chosen(predicted, real):
    """This is the real return of the chosen policy: subtract it from that of the best policy."""
    return real[predicted.argmax()]


def _opposite_regret(predicted, real):
    """The sign is opposite: a regret is 0 or positive."""
    return real[predicted.argmax()] - real.max()


def _worst(predicted, real):
    """This chooses the policy with the *lowest* prediction: use argmax."""
    return real.max() - real[predicted.argmin()]


def _two_choices(function) -> Measured:
    real = np.array([7.0, 900.0, 12.0, -90.0, 450.0, 33.0, 410.0])
    wrong = np.array([3.0, 80.0, 85.0, 110.0, 40.0, 20.0, -41.0])
    return {
        "the regret of a wrong choice": np.asarray(function(wrong, real), dtype=float),
        "the regret of the right choice": np.asarray(function(real / 2, real), dtype=float),
    }


EXERCISES = (
    DREAM_ENV,
    Exercise(
        extrapolated_return,
        _three_policies,
        hint="The reward rate does not depend on t. An antiderivative of exp(-phi t) is "
        "-exp(-phi t) / phi: take its value at T minus its value at 0.",
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
        regret,
        _two_choices,
        hint="predicted.argmax() is the index of the policy that the dream prefers. Its real "
        "return is real[...]; subtract it from the highest real return.",
        mistakes=(
            _without_choice,
            _overestimate,
            _underestimate,
            _predicted_loss,
            _chosen,
            _opposite_regret,
            _worst,
        ),
    ),
)
