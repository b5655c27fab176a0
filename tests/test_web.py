"""The dream as a web page: the same numbers as in Python, and a person can drive.

Needs Playwright and a Chromium or Chrome, as `test_browser.py` does: see `make extras`.
"""

import json

import numpy as np
import pytest
import torch

from wmlib.models.checkpoints import load_agent, load_controller, load_network
from wmlib.models.mdn_rnn import MDNRNN, Noise
from wmlib.models.world_model import State, WorldModel
from wmlib.paths import pretrained
from wmlib.tools.export_web import (
    AGENT,
    CONTROLLERS,
    FILES,
    ROADS,
    SOON,
    choose_step,
    controller_tensors,
    decoder_tensors,
    export_web,
    write_tensors,
)

browser = pytest.importorskip(
    "browser", reason="needs Playwright and a Chromium: see `make extras`", exc_type=ImportError
)

STEPS = 60  # agent steps that are compared
# 32-bit floats in another order of summation, and rounding errors that grow with the steps.
BOUND = {"z": 2e-3, "h": 2e-3, "reward": 1e-2, "end": 1e-4, "pixels": 2 / 255}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """The page with two moments."""
    return export_web(tmp_path_factory.mktemp("web"), moments=2, steps=50)


@pytest.fixture(scope="module")
def address(folder):
    """Where the page is served."""
    with browser.serve(folder) as address:
        yield address


@pytest.fixture(scope="module")
def chromium():
    """A headless browser that can collect garbage on request."""
    with browser.open_browser("--js-flags=--expose-gc") as opened:
        yield opened


@pytest.fixture
def page(chromium, address):
    """The page, loaded and running; afterwards: no errors, and no requests to another host."""
    context = chromium.new_context(viewport={"width": 1100, "height": 1400}, has_touch=True)
    page = context.new_page()
    problems, requests = [], []
    page.on("console", lambda message: problems.append(message.text))
    page.on("pageerror", lambda error: problems.append(str(error)))
    page.on("request", lambda request: requests.append(request.url))
    page.goto(address)
    page.wait_for_function("window.page && window.page.dream.steps > 0")
    yield page
    context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


def python_models():
    agent, controller = load_agent(pretrained(AGENT))
    ms = {
        use: load_network(MDNRNN, pretrained(AGENT) / f"{name}.safetensors")
        for use, name in FILES.items()
    }
    return {use: WorldModel(agent.vae, m) for use, m in ms.items()}, controller


@pytest.mark.parametrize(("use", "temperature"), [("dream", 1.0), ("dream", 0.0), ("naive", 1.3)])
def test_the_same_start_actions_and_noise_give_the_same_dream(page, use, temperature):
    models, _ = python_models()
    rng, m = np.random.default_rng(0), models[use].mdn_rnn
    actions = rng.uniform([-0.3, 0, 0], [0.3, 0.6, 0.1], (STEPS, 3)).astype(np.float32)
    pick = rng.random((STEPS, m.dimensions)).astype(np.float32)
    normal = rng.standard_normal((STEPS, m.dimensions)).astype(np.float32)
    page.evaluate("window.page.pause(true)")
    got = page.evaluate(
        """async ({use, temperature, actions, pick, normal}) => {
            const { Dream } = await import("./dream.js");
            const dream = new Dream(window.page.models, { use, moment: 1, temperature });
            const start = {};
            for (const name of ["agent", use]) {
                const { z, h, c, reward } = window.page.models.start(name, 1);
                start[name] = { z: [...z], h: [...h], c: [...c], reward: [reward] };
            }
            const steps = actions.map((action, t) => {
                const noise = { pick: pick[t], normal: normal[t], end: 1 };
                const reward = dream.step(action, noise);
                return { z: [...dream.state.z], h: [...dream.agent.h], reward,
                    end: dream.endProbability, pixels: [...dream.frame()] };
            });
            return { start, steps };
        }""",
        {
            "use": use,
            "temperature": temperature,
            "actions": actions.tolist(),
            "pick": pick.tolist(),
            "normal": normal.tolist(),
        },
    )

    def state(name):
        parts = got["start"][name]
        rows = {key: torch.tensor(parts[key]).float() for key in ("z", "h", "c", "reward")}
        return State(**{key: row if key == "reward" else row[None] for key, row in rows.items()})

    dream, agent = state(use), state("agent")
    for t, step in enumerate(got["steps"]):
        noise = Noise(
            torch.from_numpy(pick[t : t + 1]),
            torch.from_numpy(normal[t : t + 1]),
            torch.ones(1),
            torch.ones(1, m.hidden_size),
        )
        action = torch.from_numpy(actions[t : t + 1])
        h, c = models["agent"].remember(agent, action)
        dream, forecast = models[use].imagine(
            dream, action, temperature, noise=noise, few_rows=True
        )
        agent = dream._replace(h=h, c=c)
        expected = {
            "z": dream.z[0],
            "h": h[0],
            "reward": forecast.reward[0, 0],
            "end": forecast.done_logit[0, 0].sigmoid(),
            "pixels": models[use].decode(dream.z)[0].permute(1, 2, 0).flatten(),
        }
        for name, value in expected.items():
            difference = (torch.tensor(step[name]) - value).abs().max().item()
            assert difference < BOUND[name], (t, name, difference)


def test_the_controllers_act_as_in_python(page):
    models, _ = python_models()
    for use, name in CONTROLLERS.items():
        got = page.evaluate(
            """async (use) => {
                const { act } = await import("./networks.js");
                const { z, h } = window.page.models.start("agent", 0);
                return [act(window.page.models.controllers[use], z, h), [...z], [...h]];
            }""",
            use,
        )
        features = torch.tensor([got[1] + got[2]]).float()
        action = load_controller(pretrained(AGENT) / f"{name}.safetensors")(features)[0]
        assert np.allclose(got[0], action.numpy(), atol=1e-5)
    assert models["agent"].feature_size == features.shape[1]


def test_one_linear_layer_stands_for_the_decoders_first_two():
    vae = load_agent(pretrained(AGENT))[0].vae
    tensors, z = decoder_tensors(vae), torch.randn(3, 32, generator=torch.manual_seed(0))
    with torch.no_grad():
        expected = vae.decoder[:3](z).permute(0, 2, 3, 1).flatten(1)
        merged = z @ tensors["first.weight"].T + tensors["first.bias"]
    torch.testing.assert_close(merged, expected, atol=1e-4, rtol=1e-4)


def test_values_that_16_bits_hold_are_stored_with_16_bits(tmp_path):
    tensors = {"a": torch.tensor([0.5, -3.0, 2**-20]), "b": torch.tensor([[0.1]])}
    where = write_tensors({"net": tensors}, tmp_path / "weights.bin")["net"]
    data = (tmp_path / "weights.bin").read_bytes()
    assert [where["a"][0], where["b"][0]] == ["float16", "float32"]
    for name, (kind, offset, shape) in where.items():
        values = np.frombuffer(data, kind, int(np.prod(shape)), offset).reshape(shape)
        assert np.array_equal(values.astype(np.float32), tensors[name].numpy())


def test_moments_show_the_road_they_are_named_after():
    steering = np.zeros(300)
    steering[100:120], steering[150:170] = -0.5, 0.5
    steps = {road: choose_step(steering, road) for road in ROADS}
    assert 90 <= steps["left bend"] <= 110
    assert 140 <= steps["right bend"] <= 160
    assert not steering[steps["straight"] :][SOON].any()
    assert choose_step(np.zeros(20), "straight") == 0  # an episode that is short


def test_the_page_is_small_and_says_which_weights_it_has(folder):
    code = [path for path in folder.iterdir() if path.suffix in (".js", ".css", ".html", ".wasm")]
    weights = folder / "weights.bin"
    assert sum(path.stat().st_size for path in [*code, weights]) < 8e6
    described = json.loads((folder / "page.json").read_text(encoding="utf-8"))
    for name, digest in described["cards"]["sha256"].items():
        card = json.loads((pretrained(AGENT) / f"{name}.json").read_text(encoding="utf-8"))
        assert card["sha256"] == digest
    assert controller_tensors(load_agent(pretrained(AGENT))[1])["weight"].shape == (3, 288)


def picture(page, canvas="dream"):
    return page.evaluate(f"document.getElementById('{canvas}').toDataURL()")


def test_keys_steer_and_the_picture_follows(page):
    page.evaluate("window.page.pause(true)")
    before = picture(page)
    results = {}
    for key in ("ArrowLeft", "ArrowRight"):
        page.evaluate("window.page.pause(false); window.page.seed = 0; window.page.restart()")
        page.keyboard.down(key)
        page.keyboard.down("w")
        page.wait_for_function("window.page.driving && window.page.dream.steps >= 20")
        assert page.inner_text("#policy") == "you drive"
        results[key] = page.evaluate("window.page.hand[0]"), picture(page)
        page.keyboard.up(key)
        page.keyboard.up("w")
    (left, dream_left), (right, dream_right) = results.values()
    assert left < -0.9
    assert right > 0.9
    assert len({before, dream_left, dream_right}) == 3
    page.wait_for_function("Math.abs(window.page.hand[0]) < 0.1")  # let go
    page.click("#hand-back")
    assert "controller" in page.inner_text("#policy")
    assert page.is_disabled("#hand-back")


def test_touch_steers(page):
    page.add_style_tag(content=".pad { display: grid !important }")
    box = page.locator("[data-key=ArrowLeft]").bounding_box()
    page.mouse.move(box["x"] + 5, box["y"] + 5)
    page.mouse.down()
    page.wait_for_function("window.page.driving && window.page.hand[0] < -0.8")
    page.mouse.up()
    page.wait_for_function("window.page.hand[0] > -0.2")
    page.locator("[data-key=ArrowUp]").tap()


def test_temperature_changes_what_is_dreamt(page):
    frames = page.evaluate(
        """async () => {
            const { Dream } = await import("./dream.js");
            return [0, 1, 2].map((temperature) => {
                const dream = new Dream(window.page.models, { temperature, seed: 5 });
                for (let t = 0; t < 30; t++) dream.step([0, 0.3, 0]);
                return dream.frame().join();
            });
        }"""
    )
    assert len(set(frames)) == 3
    page.locator("#temperature").focus()
    page.keyboard.press("ArrowRight")  # moves the slider, and does not drive
    assert page.evaluate("window.page.dream.temperature") == pytest.approx(1.05)
    assert page.inner_text("#temperature-value") == "1.05"
    assert not page.evaluate("window.page.driving")


def test_the_exploit_gains_in_its_dream_and_not_on_the_road(page):
    page.click("#exploit")
    dream = page.evaluate(
        """async () => {
            const { page } = window;
            page.pause(true);
            const { Dream } = await import("./dream.js");
            const returns = Array.from({ length: 10 }, (_, seed) => {
                const dream = new Dream(page.models, { use: page.dream.use, seed });
                for (let t = 0; t < 150 && !dream.over; t++) {
                    dream.step(dream.action(page.controller));
                }
                return dream.points;
            });
            return returns.reduce((sum, points) => sum + points) / returns.length;
        }"""
    )
    assert dream > page.evaluate("window.page.rewards.reduce((sum, points) => sum + points)")
    assert page.evaluate("window.page.dream.use") == "naive"
    assert "exploit" in page.inner_text("#policy")
    page.keyboard.down("ArrowLeft")  # nobody takes over from it
    page.evaluate("window.page.pause(false)")
    page.wait_for_function("window.page.dream.steps > 3 || window.page.dream.over")
    assert not page.evaluate("window.page.driving")
    page.keyboard.up("ArrowLeft")
    page.click("#exploit")
    assert page.evaluate("window.page.dream.use") == "dream"


def test_a_chosen_moment_is_where_the_dream_begins(page):
    page.evaluate("window.page.pause(true)")
    page.locator("#moments button").nth(1).click()
    assert page.evaluate("window.page.moment") == 1
    same = page.evaluate(
        """() => window.page.models.start("dream", 1).z.every(
            (value, k) => value === window.page.dream.state.z[k])"""
    )
    assert same
    page.click("#take")
    assert picture(page, "decoded") == picture(page)
    page.locator("#sliders input").first.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert picture(page, "decoded") != picture(page)


def test_everything_can_be_reached_by_keyboard_alone(page):
    page.evaluate("window.page.pause(true)")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.ariaLabel"))
    assert {"pause", "restart", "temperature", "exploit", "take", "dream"} <= reached
    assert page.locator("#moments button").first.get_attribute("aria-label") in reached
    page.locator("#dream").focus()
    page.keyboard.press(" ")
    assert page.inner_text("#pause") == "Pause"
    page.keyboard.press("r")
    assert page.evaluate("window.page.dream.steps") < 10


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_background(page, scheme):
    page.emulate_media(color_scheme=scheme)
    ratios = page.evaluate(
        """() => {
            const channels = (color) => color.match(/[\\d.]+/g).slice(0, 3).map(Number);
            const luminance = (color) => channels(color).map((c) => c / 255).map(
                (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4,
            ).reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
            const paper = luminance(getComputedStyle(document.body).backgroundColor);
            return [...document.querySelectorAll("p, b, a, h1, h2, label, figcaption")]
                .filter((element) => element.id !== "over").map((element) => {
                    const ink = luminance(getComputedStyle(element).color);
                    const [high, low] = [Math.max(ink, paper), Math.min(ink, paper)];
                    return (high + 0.05) / (low + 0.05);
                });
        }"""
    )
    assert min(ratios) >= 4.5  # WCAG 2, level AA


def test_a_minute_of_dreaming_leaves_no_memory_behind(page):
    def used():
        return page.evaluate("() => { gc(); return performance.memory.usedJSHeapSize; }")

    minute = """() => {
        window.page.pause(true);
        for (let t = 0; t < 1500; t++) {
            if (window.page.dream.over) window.page.restart();
            window.page.step({ steer: 0, gas: 0, brake: 0 });
        }
    }"""
    page.evaluate(minute)
    before = used()
    page.evaluate(minute)
    assert used() - before < 1e6  # bytes


def test_it_goes_on_without_a_network(page):
    page.wait_for_load_state("networkidle")
    page.context.set_offline(True)
    steps = page.evaluate("window.page.dream.steps")
    page.wait_for_function(f"window.page.dream.steps > {steps} + 5 || window.page.dream.over")
    page.locator("#moments button").nth(1).click()
    page.click("#exploit")
    page.wait_for_function("window.page.dream.steps > 5")
    assert page.evaluate("window.page.strip.image.naturalWidth") > 0


def test_without_javascript_there_is_a_picture_and_a_sentence(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    picture = page.locator("noscript img")
    assert picture.evaluate("(image) => image.naturalWidth") == 6 * 64
    assert "JavaScript" in page.locator("noscript figcaption").inner_text()
    context.close()
