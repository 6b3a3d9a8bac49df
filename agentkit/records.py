"""`dataclass`, at a tenth of its price.

The standard one brings inspect, ast and dis along, and compiles six methods for each class: an eighth of all the CPU
that one question took. This one compiles `__init__` alone. For type checkers it is the standard one, and the functions
of that module (replace, asdict, fields) take these classes too.
"""

from __future__ import annotations

TYPE_CHECKING = False
if TYPE_CHECKING:
    from dataclasses import dataclass as dataclass
    from dataclasses import field as field
    from dataclasses import replace as replace
else:
    MISSING = object()

    class _Field:
        """A field with more to say than a default; it has the standard one's names."""

        def __init__(self, *, default=MISSING, default_factory=MISSING, kw_only=False, repr=True):
            self.default, self.default_factory, self.kw_only, self.repr = default, default_factory, kw_only, repr

    field = _Field

    class _Standard:
        """What functions of the standard module look for, made when they do."""

        def __get__(self, record, cls):
            from dataclasses import MISSING as UNSET
            from dataclasses import field, make_dataclass

            made = [
                (name, "object", field(kw_only=True, default=UNSET if each.default is MISSING else each.default))
                for name, each in cls._fields.items()
            ]
            return make_dataclass(cls.__name__, made).__dataclass_fields__

    def dataclass(cls=None, *, frozen=False, eq=True):
        """As the standard one, as far as it goes."""

        def made(cls):
            fields = dict(getattr(cls, "_fields", {}))
            for name, hint in getattr(cls, "__annotations__", {}).items():
                given = vars(cls).get(name, MISSING)
                if hint.startswith("ClassVar") or (name in fields and given is MISSING):
                    continue
                fields[name] = given if isinstance(given, _Field) else _Field(default=given)
                if isinstance(given, _Field):
                    delattr(cls, name)
            cls._fields, cls.__init__ = fields, _init(fields)
            cls.__dataclass_fields__ = _Standard()
            if "__repr__" not in vars(cls):
                cls.__repr__ = _repr
            if eq:
                cls.__eq__, cls.__hash__ = _eq, _hash if frozen else None
            if frozen:
                cls.__setattr__ = cls.__delattr__ = _refuse
            return cls

        return made if cls is None else made(cls)

    def replace(record, **changes):
        """A copy with other values."""
        return type(record)(**{**{name: getattr(record, name) for name in record._fields}, **changes})

    def _init(fields):
        ordered = sorted(fields.items(), key=lambda each: each[1].kw_only)
        names = {"MISSING": MISSING}
        parameters, lines = ["self"], ["given = self.__dict__"]
        for name, each in ordered:
            if each.kw_only and "*" not in parameters:
                parameters.append("*")
            value = name
            if each.default_factory is not MISSING:
                names[f"_{name}"] = each.default_factory
                parameters.append(f"{name}=MISSING")
                value = f"_{name}() if {name} is MISSING else {name}"
            elif each.default is not MISSING:
                names[f"_{name}"] = each.default
                parameters.append(f"{name}=_{name}")
            else:
                parameters.append(name)
            lines.append(f"given[{name!r}] = {value}")
        exec(f"def __init__({', '.join(parameters)}):\n    " + "\n    ".join(lines), names)
        return names["__init__"]

    def _repr(self):
        shown = (f"{name}={getattr(self, name)!r}" for name, each in self._fields.items() if each.repr)
        return f"{type(self).__name__}({', '.join(shown)})"

    def _eq(self, other):
        return self.__dict__ == other.__dict__ if type(self) is type(other) else NotImplemented

    def _hash(self):
        return hash(tuple(self.__dict__.values()))

    def _refuse(self, name, *value):
        raise AttributeError(f"{type(self).__name__} is frozen: {name} cannot be changed")
