"""A method by its name.

Every package of methods has one read-only dict, name -> ``"module:attribute"``, and a
recipe names its methods by it. Nothing is imported before it is asked for.
"""

import inspect
from collections.abc import Mapping
from importlib import import_module
from typing import Any

from bids_recon.errors import Status, UserError, did_you_mean


def load(registry: Mapping[str, str], kind: str, name: str) -> Any:
    """Import the method called ``name``.

    Parameters
    ----------
    registry : mapping of str to str
        Name to ``"module:attribute"``.
    kind : str
        What the registry holds, for the message.
    name : str
        The method asked for.

    Raises
    ------
    UserError
        If there is no method of that name.
    """
    if name not in registry:
        raise UserError(
            f"There is no {kind} called {name!r}. {did_you_mean(name, registry)}",
            Status.USAGE,
        )
    module, attribute = registry[name].split(":")
    return getattr(import_module(module), attribute)


def build(
    registry: Mapping[str, str],
    kind: str,
    name: str,
    options: Mapping[str, Any],
    machine: Any = None,
) -> Any:
    """Make the method called ``name`` with its options.

    A method that has a parameter ``machine`` gets the one given.

    Raises
    ------
    UserError
        If there is no such method, it has no such option, or the option's value is
        refused by the method.
    """
    method = load(registry, kind, name)
    known = inspect.signature(method).parameters
    for option in options:
        if option not in known or option == "machine":
            raise UserError(
                f"The {kind} {name!r} has no setting {option!r}. "
                f"{did_you_mean(option, known)}",
                Status.USAGE,
            )
    given = {"machine": machine} if machine and "machine" in known else {}
    try:
        return method(**options, **given)
    except (TypeError, ValueError) as error:
        raise UserError(
            f"The settings of the {kind} {name!r} do not fit: {error}. Found: "
            f"{dict(options)}.",
            Status.USAGE,
        ) from error
