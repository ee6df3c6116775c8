"""Stages whose options depend on their method: a class per method, and one that stands for all."""

from collections.abc import Mapping
from typing import Any, ClassVar, Self, cast

from pydantic.fields import FieldInfo

from i2r.stages.base import Stage, find_stage


class ByMethod(Stage):
    """A stage with the field ``method``. Each method's class has that method's options alone.

    The class of the verb stands for all of them: ``Screen(method="fast")`` makes a `FastScreen`.
    It lists them in `methods`.
    """

    # The class of each method, the default first; set where all of them are known.
    methods: ClassVar[Mapping[str, type[Stage]]] = {}
    # The class of methods that other packages offer; None for stages that take none.
    installed: ClassVar[type[Stage] | None] = None
    # Options that say which method is meant.
    deciding: ClassVar[tuple[str, ...]] = ("method",)

    def __new__(cls, *args: object, **options: object) -> Self:
        """Make a stage of the method's class."""
        return super().__new__(cast(type[Self], cls.choose(options)))

    @classmethod
    def choose(cls, values: Mapping[str, Any]) -> type[Stage]:
        """Give the class of the method that options name; of none that there is, this one.

        A method's class, and whatever is derived from it, stands for itself.
        """
        own = (*cls.methods.values(), *([cls.installed] if cls.installed else ()))
        if not cls.methods or issubclass(cls, own):
            return cls
        method = str(values.get("method", next(iter(cls.methods))))
        return cls.methods.get(method, cls.installed or cls)

    @classmethod
    def may_survey(cls) -> bool:
        """Tell whether a method can bring in wells; of a method's class, whether that one can."""
        kinds = () if issubclass(cls, tuple(cls.methods.values())) else cls.methods.values()
        return super().may_survey() or any(kind.may_survey() for kind in kinds)

    @classmethod
    def list_options(cls) -> dict[str, tuple[FieldInfo, tuple[str, ...]]]:
        """Give the options of all methods, and which methods have them; none for all."""
        found = {name: (field, tuple[str, ...]()) for name, field in cls.model_fields.items()}
        other = {"another package's": cls.installed} if cls.installed else {}
        for method, kind in {**cls.methods, **other}.items():
            for name, field in kind.model_fields.items():
                if name not in cls.model_fields:
                    first, methods = found.get(name, (field, ()))
                    found[name] = (first, (*methods, method))
        return found

    @classmethod
    def drop_foreign(cls, values: Mapping[str, Any]) -> dict[str, Any]:
        """Drop options of other methods than the one that options name."""
        own, known = cls.choose(values).model_fields, cls.list_options()
        return {name: v for name, v in values.items() if name in own or name not in known}


def list_options(kind: type[Stage]) -> dict[str, tuple[FieldInfo, tuple[str, ...]]]:
    """Give a stage's options, and which of its methods have each; none where all have it."""
    if issubclass(kind, ByMethod):
        return kind.list_options()
    return {name: (field, ()) for name, field in kind.model_fields.items()}


def keep_own(kind: type[Stage], values: Mapping[str, Any]) -> dict[str, Any]:
    """Drop options that the method has not: earlier versions recorded those of all methods."""
    return kind.drop_foreign(values) if issubclass(kind, ByMethod) else dict(values)


def keep_earlier(
    kind: type[Stage], earlier: Mapping[str, Any], given: Mapping[str, Any]
) -> dict[str, Any]:
    """Keep of earlier options those that the method has which options given now ask for."""
    if not issubclass(kind, ByMethod):
        return dict(earlier)
    deciding = {name: given[name] for name in kind.deciding if name in given}
    own = kind.choose(deciding or earlier).model_fields
    kept = {name: value for name, value in earlier.items() if name in own}
    return {name: v for name, v in kept.items() if name != "method" or not deciding}


def restore_stage(entry: Mapping[str, Any]) -> Stage:
    """Make a stage of what a run recorded."""
    kind = find_stage(str(entry["stage"]))
    return kind.choose(entry).model_validate(keep_own(kind, entry))
