"""A method by its name.

Every package of methods has one read-only dict, name -> ``"module:attribute"``, and a
recipe names its methods by it. Nothing is imported before it is asked for.
"""

import inspect
from collections.abc import Mapping
from functools import cache
from importlib import import_module
from typing import Any, get_type_hints

from pydantic import create_model

from bids_recon.errors import Status, UserError, did_you_mean
from bids_recon.schema import Finding, Table, examined, refusal


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
    check_name(registry, kind, name)
    module, attribute = registry[name].split(":")
    return getattr(import_module(module), attribute)


def check_name(registry: Mapping[str, str], kind: str, name: str) -> None:
    """Check that there is a method called ``name``, without importing it.

    Raises
    ------
    UserError
        If there is none.
    """
    if name not in registry:
        raise UserError(
            f"There is no {kind} called {name!r}. {did_you_mean(name, registry)}",
            Status.USAGE,
        )


@cache
def options_of(method: Any) -> type[Table]:
    """Return the schema of a method's options: its parameters, as annotated.

    Those without a default must be given.
    """
    hints = get_type_hints(method)
    fields = {
        name: (hints[name], ... if own.default is own.empty else None)
        for name, own in inspect.signature(method).parameters.items()
        if name != "machine"
    }
    return create_model(method.__name__, __base__=Table, **fields)


def examine(
    registry: Mapping[str, str],
    kind: str,
    name: str,
    options: Mapping[str, Any],
    machine: Any = None,
) -> tuple[Any, tuple[Finding, ...]]:
    """Make a method with its options, or find what is wrong with them.

    A method that has a parameter ``machine`` gets the one given.

    Returns
    -------
    method : object or None
        ``None`` where something is wrong.
    findings : tuple of Finding
        What is.
    """
    try:
        method = load(registry, kind, name)
    except UserError as error:
        return None, (Finding((), error.message),)
    made, findings = examined(options_of(method), dict(options))
    if findings:
        return None, findings
    given = {option: getattr(made, option) for option in options}
    if machine and "machine" in inspect.signature(method).parameters:
        given["machine"] = machine
    try:
        return method(**given), ()
    except (ValueError, UserError) as error:
        return None, (Finding((), f"{error}"),)


def build(
    registry: Mapping[str, str],
    kind: str,
    name: str,
    options: Mapping[str, Any],
    machine: Any = None,
) -> Any:
    """Make the method called ``name`` with its options.

    Raises
    ------
    UserError
        If there is no such method, it has no such option, or the option's value is
        refused by the method.
    """
    method, findings = examine(registry, kind, name, options, machine)
    if findings:
        raise refusal(findings, f"the {kind} {name!r}")
    return method
