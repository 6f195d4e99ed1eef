"""The sampler's options: an image made before an option came keeps its name, and every option reaches the name."""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from pydantic import ValidationError

from schemas.sampler_params import SamplerParams

OPTIONS = st.fixed_dictionaries(
    {
        "solver": st.sampled_from(["dpmsolver++", "unipc"]), "spacing": st.sampled_from(["uniform", "karras", "log_snr"]),
        "steps": st.integers(1, 50), "stochastic": st.booleans(),
        "guidance_lesion": st.sampled_from([1.0, 2.0, 3.5]), "guidance_from": st.sampled_from([0.0, 0.25]),
        "guidance_until": st.sampled_from([0.5, 0.8, 1.0]), "guidance_every": st.integers(1, 4),
        "precision": st.sampled_from(["float32", "bfloat16"]), "autoguidance": st.sampled_from([1.0, 1.5, 2.0]),
        "sigma_max": st.sampled_from([25.0, 70.0]),
    }
)  # fmt: skip


def sampler(options: dict[str, Any]) -> SamplerParams:
    return SamplerParams(**{**options, "stochastic": options["stochastic"] and options["solver"] != "unipc"})


def test_an_option_that_came_later_is_no_part_of_the_identity_where_it_does_what_was_done_before() -> None:
    before = {
        "sampler": "dpmsolver++ 2m", "steps": 12, "stochastic": True, "guidance_tone": 1.0, "guidance_lesion": 2.0,
        "guidance_until": 0.8,
    }  # fmt: skip
    said = SamplerParams.of(before)
    assert said.identity(guiding=True) == before
    assert said.spacing == "uniform"


@given(OPTIONS, OPTIONS)
def test_other_options_are_another_identity_and_equal_ones_the_same(one: dict[str, Any], other: dict[str, Any]) -> None:
    a, b = sampler(one), sampler(other)
    alike = [s.model_copy(update={"sigma_max": 1.0} if s.spacing == "uniform" else {}) for s in (a, b)]
    assert (a.identity(guiding=True) == b.identity(guiding=True)) == (alike[0] == alike[1])


@given(OPTIONS)
def test_a_sampler_is_made_again_from_its_identity(options: dict[str, Any]) -> None:
    asked = sampler(options)
    again = SamplerParams.of({**asked.identity(guiding=True), "autoencoder": "sha256 of something"})
    assert again.identity(guiding=True) == asked.identity(guiding=True)
    assert again == asked or asked.spacing == "uniform", "whose span is not used"


def test_without_a_guiding_network_there_is_no_autoguidance_to_speak_of() -> None:
    many, none = SamplerParams(autoguidance=2.0), SamplerParams(autoguidance=1.0)
    assert many.identity(guiding=False) == none.identity(guiding=False) == none.identity(guiding=True)
    assert many.identity(guiding=True)["autoguidance"] == 2.0


def test_a_span_is_said_where_steps_are_spaced_in_it_and_has_to_be_one() -> None:
    assert SamplerParams(sigma_max=25).identity(guiding=True)["sigma_max"] == 25
    assert SamplerParams().identity(guiding=True)["sigma_min"] == 0.1
    assert "sigma_max" not in SamplerParams(sigma_max=70, sigma_min=0.05).identity(guiding=True)
    assert "sigma_max" not in SamplerParams(spacing="uniform").identity(guiding=True)
    with pytest.raises(ValidationError, match=r"sigma_min 3 is not below sigma_max 2; lower sigma_min"):
        SamplerParams(sigma_max=2, sigma_min=3)


def test_unipc_with_noise_is_refused_also_where_noise_is_only_the_default() -> None:
    for options in ({"solver": "unipc"}, {"solver": "unipc", "stochastic": True}):
        with pytest.raises(ValidationError, match="set stochastic: false or solver"):
            SamplerParams(**options)
    assert SamplerParams(solver="unipc", stochastic=False).solver == "unipc"
