"""The project's former private names, the field's names in their place, and a search for them."""

import re

from wmlib.tools.cli import RENAMED_COMMANDS, RENAMED_OPTIONS

# Patterns of whole words (in identifiers, of the parts between underscores) -> names to use.
FORMER_NAMES = {
    r"[Ll]anes?": "environments, num_envs, MaskedVectorEnv",
    r"GiveUp": "NoProgressTruncation, early termination",
    r"Repeat(?=[(,\])])": "ActionRepeat",
    r"Dreamer": "PassThroughEncoder",
    r"Drive(?=[(,\])])": "Episode",
    r"drives|(a|the|one|every|each|whole|this|another)[ _]drive|rides?|rode": "episode",
    r"Job|jobs|JOBS": "EpisodeSpec, specs",
    r"drivers?": "policy",
    r"[Pp]resets?|numbers\.[a-z]+": "config",
    r"insists?": "require_equal",
    r"at_least_four": "pad_batch",
    r"whole_drive|foreseen|foretells?|foretold|promised": "predicted return, extrapolated return",
    r"hindsight|judged|proven": "re-evaluation",
    r"looks_back": "reselects",
    r"looks|(a|one|every|each|per)[ _]look": "agent step",
    r"pays?|paid|earn(s|ed)?": "reward, return",
    r"told": "reward as an input",
    r"lessons?": "training subset",
    r"bred|taught": "evolved, trained",
    r"yardsticks?|rivals?": "baseline",
    r"fooled|cheats?": "model exploitation",
    r"honest(ly)?": "calibrated",
    r"claimed": "nominal",
    r"through z": "reconstruction",
    r"read out": "linear probe, predicted from",
    r"doubts?|doubtful": "temperature, dropout, posterior scale",
    r"translate[sd]?": "policy distillation",
    r"eyes|minds?": "observation encoder",
    r"luck(y|ily|iest)?|unluck(y|ily)": "common random numbers, seed, noise",
    r"panels?|cast(?= =)": "policy set, score matrix",
    r"quiet (z|dimensions?)": "inactive dimension",
    r"stud(y|ies)": "ablation",
    r"ship(s|ped|ping)?": "export, pretrained",
    r"examine[sd]?": "preflight check",
    r"came along": "pretrained weights",
    r"company|hears?": "other episodes, reads",
}

# Each of these words, for a test of the patterns.
FORMER_TEXT = """
Lanes(4) GiveUp(env) Repeat(env, 4) Dreamer(m) Drive(spec) every drive, the jobs of a driver
preset numbers.scale insist at_least_four whole_drive hindsight looks_back a look paid told
lessons taught rivals fooled honest claimed through z read out doubt translated eyes luck
cast = panel quiet z study shipped examine came along company
"""

# Uses of these words that remain: verbs, a message of Dask's, and what the command line renames.
RENAMED = {*RENAMED_COMMANDS, *(old for options in RENAMED_OPTIONS.values() for old in options)}
ORDINARY_USES = re.compile(
    "|".join(
        [
            "looks like",
            "(agent|candidate|car|controller|it|policy|that) drives",
            "network drives",
            "some jobs were given",
            r"figures\.panels\(",
            *(f'"{re.escape(old)}"' for old in RENAMED),
        ]
    )
)

# Where a panel is a part of a figure.
FIGURES = ("wmlib/view/", "wmlib/tools/bench/", "tests/test_bench.py", "tests/test_figures")


def former_names(path: str, text: str) -> list[str]:
    """Every use of a former name in a file, as "path:line: word (now: names to use)"."""
    found = []
    for number, line in enumerate(text.splitlines(), 1):
        line = ORDINARY_USES.sub("", line)
        for pattern, names in FORMER_NAMES.items():
            for match in re.finditer(rf"(?<![A-Za-z0-9])({pattern})(?![A-Za-z0-9])", line):
                if not (path.startswith(FIGURES) and match.group().startswith("panel")):
                    found.append(f"{path}:{number}: {match.group()} (now: {names})")
    return found
