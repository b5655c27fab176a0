"""The dream as a web page: the same numbers as in Python, and a person can drive.

Needs Playwright and a Chromium or Chrome, as `test_browser.py` does: see `make extras`.
"""

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
    SOURCE,
    export_web,
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
    with browser.open_browser("--js-flags=--expose-gc", "--enable-precise-memory-info") as opened:
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
    page.wait_for_function("window.page && page.dream.steps > 0")
    yield page
    context.close()
    assert problems == []
    assert [url for url in requests if not url.startswith((address, "data:", "blob:"))] == []


def test_the_wasm_file_is_what_its_source_assembles_to():
    """If this fails: write wasmtime.wat2wasm(text of transposed.wat) to transposed.wasm."""
    wasmtime = pytest.importorskip("wasmtime", reason="needs wasmtime: see `make extras`")
    source = SOURCE / "transposed.wat"
    assembled = bytes(wasmtime.wat2wasm(source.read_text(encoding="utf-8")))
    assert assembled == source.with_suffix(".wasm").read_bytes()


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
    page.evaluate("page.pause(true)")
    got = page.evaluate(
        """async ({use, temperature, actions, pick, normal}) => {
            const { Dream } = await import("./dream.js");
            const dream = new Dream(page.models, { use, moment: 1, temperature });
            const start = {};
            for (const name of ["agent", use]) {
                const { z, h, c, reward } = page.models.start(name, 1);
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
                const { z, h } = page.models.start("agent", 0);
                return [act(page.models.controllers[use], z, h), [...z], [...h]];
            }""",
            use,
        )
        features = torch.tensor([got[1] + got[2]]).float()
        action = load_controller(pretrained(AGENT) / f"{name}.safetensors")(features)[0]
        assert np.allclose(got[0], action.numpy(), atol=1e-5)
    assert models["agent"].feature_size == features.shape[1]


ALL_LOADED = "Promise.all(Object.values(page.strips).flat().map((strip) => strip.file))"


def picture(page, canvas="dream"):
    return page.evaluate(f"document.getElementById('{canvas}').toDataURL()")


def steps(page, count, **hands):
    """Make agent steps by hand while the page is paused."""
    hands = {"steer": 0, "gas": 0, "brake": 0} | hands
    page.evaluate("([count, hands]) => { while (count--) page.step(hands); }", [count, hands])


def restart(page):
    """A dream with the first seed again, paused, which does not end by itself."""
    page.evaluate(
        """() => {
            page.seed = 0;
            page.restart();
            page.pause(true);
            const next = page.dream.noise.next.bind(page.dream.noise);
            page.dream.noise.next = () => ({ ...next(), end: 1 });
        }"""
    )


def test_steering_changes_where_the_dream_goes(page):
    pictures = []
    for steer in (-1, -1, 1):
        restart(page)
        page.evaluate("page.drive(true)")
        steps(page, 25, steer=steer, gas=0.5)
        pictures.append(picture(page))
    assert pictures[0] == pictures[1]  # the same seed
    assert pictures[0] != pictures[2]


@pytest.mark.parametrize(
    ("keys", "hand"), [(["ArrowLeft"], -1), (["ArrowRight"], 1), (["w", "d"], 1)]
)
def test_keys_take_over_and_are_handed_back(page, keys, hand):
    restart(page)
    page.locator("#moments button").nth(1).click()  # afterwards, keys drive again
    restart(page)
    for key in keys:
        page.keyboard.down(key)
    page.wait_for_function(f"page.driving && page.hand[0] * {hand} > 0.9")
    assert page.inner_text("#policy") == "you drive"
    for key in keys:
        page.keyboard.up(key)
    page.wait_for_function("Math.abs(page.hand[0]) < 0.1")  # let go
    page.click("#hand-back")
    assert "controller" in page.inner_text("#policy")
    assert page.is_disabled("#hand-back")


def test_two_keys_for_one_direction_and_keys_that_are_lost(page):
    restart(page)
    held = "page.hands.read().steer"
    page.keyboard.down("ArrowLeft")
    page.keyboard.down("a")
    page.keyboard.up("a")
    page.evaluate(held)
    assert page.evaluate(held) == -1
    page.evaluate("dispatchEvent(new Event('blur'))")
    assert page.evaluate(held) == 0
    page.keyboard.up("ArrowLeft")


def test_space_and_r_work_whatever_was_clicked(page):
    page.click("#restart")
    page.keyboard.press(" ")
    assert page.inner_text("#pause") == "Play"
    seed = page.evaluate("page.seed")
    page.keyboard.press("r")
    assert page.evaluate("page.seed") == seed + 1
    page.keyboard.down(" ")
    page.keyboard.down(" ")  # a key that repeats counts once
    page.keyboard.up(" ")
    assert page.inner_text("#pause") == "Pause"
    page.keyboard.press("Alt+r")
    assert page.evaluate("page.seed") == seed + 1


def test_letter_keys_can_be_switched_off(page):
    """A person who dictates letters does not want to steer with them (WCAG 2.1.4)."""
    restart(page)
    page.click("text=Letter keys control the page")  # by its label; then arrows still steer
    seed = page.evaluate("page.seed")
    page.keyboard.press("r")
    page.keyboard.down("a")
    assert page.evaluate("page.seed") == seed
    assert page.evaluate("page.hands.read().steer") == 0
    page.keyboard.up("a")
    page.keyboard.down("ArrowLeft")
    page.wait_for_function("page.driving")
    page.keyboard.up("ArrowLeft")
    page.check("#letters")
    page.keyboard.press("r")
    assert page.evaluate("page.seed") == seed + 1


def test_touch_steers_with_two_fingers(chromium, address):
    context = chromium.new_context(
        viewport={"width": 390, "height": 844}, has_touch=True, is_mobile=True
    )
    page = context.new_page()
    page.goto(address)
    page.wait_for_function("window.page")
    assert page.locator("strong.touch").is_visible()
    assert not page.locator("#keys").is_visible()
    restart(page)
    points = []
    for key in ("left", "gas"):
        button = page.locator(f"[data-key={key}]")
        button.scroll_into_view_if_needed()
        box = button.bounding_box()
        points.append({"x": box["x"] + 20, "y": box["y"] + 20, "id": len(points)})
    touch = context.new_cdp_session(page)
    touch.send("Input.dispatchTouchEvent", {"type": "touchStart", "touchPoints": points})
    page.wait_for_function("page.driving && page.hand[0] < -0.9 && page.hand[1] > 0.9")
    touch.send("Input.dispatchTouchEvent", {"type": "touchEnd", "touchPoints": []})
    page.wait_for_function("page.hand[0] > -0.1")
    assert page.evaluate("document.documentElement.scrollWidth") <= 390
    context.close()


def test_a_button_of_the_pad_works_without_a_pointer(page):
    restart(page)
    page.add_style_tag(content=".pad { display: grid !important }")
    page.locator("[data-key=right]").focus()
    page.keyboard.press("Enter")
    page.wait_for_function("page.driving && page.hand[0] > 0.2")
    page.wait_for_function("page.hand[0] < 0.1")


def test_a_gamepad_steers_and_its_rest_position_does_not(page):
    restart(page)
    pad = """(axis, trigger) => {
        const buttons = Array.from({ length: 8 }, () => ({ value: 0 }));
        buttons[7].value = trigger;
        navigator.getGamepads = () => [null, { mapping: "standard", axes: [axis], buttons }];
        return page.hands.read();
    }"""
    assert not page.evaluate(f"({pad})(0.1, 0.05)")["active"]
    hands = page.evaluate(f"({pad})(-0.7, 0.9)")
    assert (hands["steer"], hands["gas"]) == (-0.7, 0.9)
    page.evaluate("navigator.getGamepads = () => []")


def test_temperature_changes_what_is_dreamt(page):
    frames = page.evaluate(
        """async () => {
            const { Dream } = await import("./dream.js");
            return [0, 1, 2].map((temperature) => {
                const dream = new Dream(page.models, { temperature, seed: 5 });
                for (let t = 0; t < 30; t++) dream.step([0, 0.3, 0]);
                return dream.frame().join();
            });
        }"""
    )
    assert len(set(frames)) == 3
    restart(page)
    page.locator("#temperature").focus()
    page.keyboard.press("ArrowRight")  # moves the slider, and does not steer
    assert page.evaluate("page.dream.temperature") == pytest.approx(1.05)
    assert page.inner_text("#temperature-value") == "1.05"
    assert not page.evaluate("page.driving")


def test_the_exploit_gains_in_its_dream_and_not_on_the_road(page):
    page.evaluate("page.pause(true)")
    page.click("#exploit")
    assert page.inner_text("#pause") == "Pause"  # what one asked to see runs
    naive, agent = page.evaluate(
        """async () => {
            const { Dream } = await import("./dream.js");
            return ["naive", "agent"].map((controller) => {
                const returns = Array.from({ length: 10 }, (_, seed) => {
                    const dream = new Dream(page.models, { use: "naive", seed });
                    for (let t = 0; t < page.rewards.length && !dream.over; t++) {
                        dream.step(dream.action(page.models.controllers[controller]));
                    }
                    return dream.points;
                });
                return returns.reduce((sum, points) => sum + points) / returns.length;
            });
        }"""
    )
    assert naive > agent  # in that dream it is the better one
    assert naive > page.evaluate("page.rewards.reduce((sum, points) => sum + points)")
    assert page.evaluate("page.dream.use") == "naive"
    assert "exploit" in page.inner_text("#policy")
    assert "scores" in page.inner_text("#comparison")
    page.keyboard.down("ArrowLeft")  # nobody takes over from it
    page.wait_for_function("page.wasActive")
    assert not page.evaluate("page.driving")
    page.keyboard.up("ArrowLeft")
    page.click("#exploit")
    assert page.evaluate("page.dream.use") == "dream"


def test_a_chosen_moment_is_where_the_dream_begins(page):
    page.locator("#moments button").nth(1).click()
    restart(page)
    assert page.evaluate("page.moment") == 1
    same = page.evaluate(
        """() => page.models.start("dream", 1).z.every(
            (value, k) => value === page.dream.state.z[k])"""
    )
    assert same
    page.click("#copy")
    assert picture(page, "decoded") == picture(page)
    page.locator("#sliders input").first.focus()
    for _ in range(20):
        page.keyboard.press("ArrowRight")
    assert picture(page, "decoded") != picture(page)


def test_a_recording_that_cannot_be_loaded_stops_nothing(chromium, address):
    page = chromium.new_page()
    page.route("**/agent*.webp", lambda route: route.abort())
    page.goto(address)
    page.wait_for_function("window.page")
    page.get_by_text("it could not be loaded").wait_for()
    restart(page)
    steps(page, 30)
    assert page.inner_text("#dream-score") == str(round(page.evaluate("page.dream.points")))
    page.close()


def test_a_recording_that_comes_late_is_not_shown_with_another_moment(chromium, address):
    page = chromium.new_page()
    late = []
    page.route("**/agent00.webp", lambda route: late.append(route))
    page.goto(address)
    page.wait_for_function("window.page")
    page.locator("#moments button").nth(1).click()
    page.wait_for_function("page.strip.image")
    restart(page)
    before = picture(page, "real")
    late[0].continue_()
    page.evaluate(
        "page.strips.agent[0].file.then(() => new Promise((done) => setTimeout(done, 50)))"
    )
    assert picture(page, "real") == before
    page.close()


def test_a_dream_that_has_ended_says_so(page):
    page.evaluate("page.dream.noise.next = () => ({ pick: [], normal: [], end: -1 })")
    page.evaluate("page.pause(false)")
    page.wait_for_function("page.dream.over")
    page.get_by_text("The network ended this dream").wait_for()
    page.keyboard.press("r")
    assert not page.evaluate("page.dream.over")


def test_everything_can_be_reached_by_keyboard_alone(page):
    page.evaluate("page.pause(true)")
    reached = set()
    for _ in range(60):
        page.keyboard.press("Tab")
        reached.add(page.evaluate("document.activeElement.id || document.activeElement.innerText"))
    assert {"pause", "restart", "temperature", "exploit", "copy", "dream"} <= reached
    assert page.locator("#moments button").first.inner_text() in reached


def test_what_changes_at_every_step_is_not_read_aloud(page):
    live = page.evaluate(
        """() => [...document.querySelectorAll("[aria-live], [role=status], output")].map(
            (element) => element.id)"""
    )
    assert set(live) == {"status", "policy"}


def test_with_reduced_motion_nothing_moves_by_itself(chromium, address):
    page = chromium.new_page(reduced_motion="reduce")
    page.goto(address)
    page.get_by_text("Paused").wait_for()
    assert page.evaluate("page.dream.steps") == 0
    page.keyboard.press("ArrowUp")
    page.wait_for_function("page.driving && page.dream.steps > 0")
    page.close()


@pytest.mark.parametrize("scheme", ["light", "dark"])
def test_text_contrasts_with_its_background(page, scheme):
    page.emulate_media(color_scheme=scheme)
    ratios = page.evaluate(
        """() => {
            const channels = (color) => color.match(/[\\d.]+/g).map(Number);
            const luminance = (color) => channels(color).slice(0, 3).map((c) => c / 255).map(
                (c) => c <= 0.03928 ? c / 12.92 : ((c + 0.055) / 1.055) ** 2.4,
            ).reduce((sum, c, k) => sum + c * [0.2126, 0.7152, 0.0722][k], 0);
            const behind = (element) => {
                const { backgroundColor } = getComputedStyle(element);
                return channels(backgroundColor)[3] === 0 ? behind(element.parentElement)
                    : backgroundColor;
            };
            return [...document.querySelectorAll("p, b, a, h1, h2, label, figcaption, button")]
                .filter((element) => !element.disabled).map((element) => {
                    const ink = luminance(getComputedStyle(element).color);
                    const paper = luminance(behind(element));
                    return (Math.max(ink, paper) + 0.05) / (Math.min(ink, paper) + 0.05);
                });
        }"""
    )
    assert min(ratios) >= 4.5  # WCAG 2, level AA


def test_a_minute_of_dreaming_leaves_no_memory_behind(page):
    def used():
        return page.evaluate(
            """async () => {
                for (let k = 0; k < 3; k++) {  // some garbage is found at the second time only
                    gc();
                    await new Promise((done) => setTimeout(done, 50));
                }
                return performance.memory.usedJSHeapSize;
            }"""
        )

    page.evaluate(ALL_LOADED)
    restart(page)
    steps(page, 1500)
    before = used()
    steps(page, 1500)
    assert used() - before < 1e6  # bytes; one frame kept per step would be 74 MB


def test_it_goes_on_without_a_network(page):
    page.evaluate(ALL_LOADED)
    page.context.set_offline(True)
    page.locator("#moments button").nth(1).click()
    page.click("#exploit")
    page.wait_for_function("page.strip.image")
    restart(page)
    steps(page, 10)
    assert page.evaluate("page.dream.steps") == 10


def test_without_a_server_it_says_what_to_do(chromium, folder):
    page = chromium.new_page()
    page.goto((folder / "index.html").as_uri())
    page.get_by_text("python3 -m http.server").wait_for()
    page.close()


def test_without_javascript_there_is_a_picture_and_a_sentence(chromium, address):
    context = chromium.new_context(java_script_enabled=False)
    page = context.new_page()
    page.goto(address)
    picture = page.locator("noscript img")
    assert picture.evaluate("(image) => image.naturalWidth") == 6 * 64
    assert "JavaScript" in page.locator("noscript figcaption").inner_text()
    context.close()
