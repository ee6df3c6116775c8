"""Stages with methods: each method has its own options, and no other method's."""

import re

import pytest
from click.testing import CliRunner

from i2r.cli.group import i2r
from i2r.errors import InputError
from i2r.pipeline.spec import parse_pipeline, parse_stage
from i2r.stages.base import find_stage, list_own_verbs
from i2r.stages.methods import ByMethod, list_options

FAMILIES = [v for v in list_own_verbs() if issubclass(find_stage(v), ByMethod)]
FOREIGN = [
    (verb, method, name)
    for verb in FAMILIES
    for method in find_stage(verb).methods  # type: ignore[attr-defined]
    for name, (_, methods) in list_options(find_stage(verb)).items()
    if methods and method not in methods
]


@pytest.mark.parametrize(("verb", "method", "name"), FOREIGN)
def test_an_option_of_another_method_is_refused_by_name(verb: str, method: str, name: str) -> None:
    options = list_options(find_stage(verb))
    default = options[name][0].get_default(call_default_factory=True)
    with pytest.raises(InputError, match=f"'{name}' is an option of the method .* '{method}'"):
        parse_stage({"stage": verb, "method": method, name: default}, where="test")


@pytest.mark.parametrize("verb", FAMILIES)
def test_a_call_of_the_family_makes_the_methods_class(verb: str) -> None:
    family = find_stage(verb)
    assert issubclass(family, ByMethod)
    for method, kind in family.methods.items():
        required = {
            n: "x" for n, f in kind.model_fields.items() if f.is_required() and n != "method"
        }
        made = family(method=method, **required)
        assert type(made) is kind
        assert isinstance(made, family)
        assert made.model_copy() == made
    assert type(family()) is next(iter(family.methods.values()))
    with pytest.raises(ValueError, match="method"):
        family(method="magic")


@pytest.mark.parametrize("verb", FAMILIES)
def test_a_class_derived_from_a_methods_class_stands_for_itself(verb: str) -> None:
    family = find_stage(verb)
    assert issubclass(family, ByMethod)
    for method, kind in family.methods.items():
        required = {
            n: "x" for n, f in kind.model_fields.items() if f.is_required() and n != "method"
        }
        derived = type("Derived", (kind,), {"__module__": __name__})
        made = derived(method=method, **required)
        assert type(made) is derived
        assert made.title == family(method=method, **required).title
        assert derived.may_survey() == kind.may_survey()


@pytest.mark.parametrize("verb", FAMILIES)
def test_help_of_a_method_shows_its_options_alone(verb: str) -> None:
    for method in find_stage(verb).methods:  # type: ignore[attr-defined]
        given = [verb, f"--method={method}", "--help"]
        text = CliRunner().invoke(i2r, given, terminal_width=200).output
        for name, (_, methods) in list_options(find_stage(verb)).items():
            if name != "stage":
                # In the list of options; a sentence may name those of other methods.
                flag = rf"^\W*--{name.replace('_', '-')}(?![-\w])"
                found = re.search(flag, text, re.MULTILINE)
                assert bool(found) == (not methods or method in methods), name


def test_a_run_of_an_earlier_version_recorded_the_options_of_all_methods() -> None:
    recorded = {"stage": "screen", "method": "fast", "needs": [], "max_epochs": 7, "level": 0.1}
    stages = [
        {"stage": "convert", "source": "images", "layout": "layout.csv"},
        {"stage": "crop", "needs": ["convert"]},
        recorded,
    ]
    made = parse_pipeline({"stages": stages}, where="test", recorded=True).stages[-1]
    assert made.model_dump()["level"] == 0.1
    assert not hasattr(made, "max_epochs")
    with pytest.raises(InputError, match="'max_epochs' is an option"):
        parse_pipeline({"stages": stages}, where="test")
