"""A process that loads libraries once, and from which others are forked.

Python's own fork server listens at a socket in a folder for temporary files. This one
takes its orders through a pipe, so that there is nothing to listen at, to be left
behind, or to have too long a name.
"""

import errno
import gc
import logging
import multiprocessing
import os
import signal
import sys
import traceback
from collections.abc import Callable, Sequence
from contextlib import suppress
from importlib import import_module
from multiprocessing.connection import Connection
from multiprocessing.process import BaseProcess
from multiprocessing.reduction import recv_handle, send_handle
from multiprocessing.resource_tracker import ensure_running
from typing import NoReturn

FORKS = sys.platform == "linux"
"""Whether processes are forked; the libraries of macOS do not survive it."""


class ForkServer:
    """A process from which others are forked, as long as this object is not ended.

    Parameters
    ----------
    modules : sequence of str
        What it loads at once, and so what those forked from it find loaded.
    forks : bool
        Without it the process does itself what another one should, and loads nothing
        before; for the next, a new one starts.
    """

    def __init__(self, modules: Sequence[str], *, forks: bool = FORKS) -> None:
        self.modules = tuple(modules) if forks else ()
        self.forks = forks
        # As long as these are known, what was forked from them knows its parent.
        self._started: list[BaseProcess] = []
        self._start()

    def _start(self) -> None:
        context = multiprocessing.get_context("spawn")
        connection, other = context.Pipe()
        process = context.Process(
            target=_serve, args=(other, self.modules, self.forks), daemon=True
        )
        # The tracker starts with the first process, and would unblock the signals.
        ensure_running()
        # Signals reach every process of a terminal or job; ours end with their parent.
        signals = {signal.SIGINT, signal.SIGTERM}
        before = signal.pthread_sigmask(signal.SIG_BLOCK, signals)
        try:
            with other:
                process.start()
        finally:
            signal.pthread_sigmask(signal.SIG_SETMASK, before)
        self._started.append(process)
        self._connection = connection

    @property
    def _process(self) -> BaseProcess:
        return self._started[-1]

    def fork(self, work: Callable[[Connection], None]) -> tuple[Connection, int]:
        """Have a process forked that does some work.

        Parameters
        ----------
        work : callable
            Takes one end of a pipe.

        Returns
        -------
        Connection, int
            The other end, and the number of the process.

        Raises
        ------
        OSError
            If the system gives none.
        """
        if self._process.is_alive():
            try:
                return self._fork(work)
            except (EOFError, ConnectionError):
                # It was killed in this moment, and another one does it.
                pass
            except OSError:
                # What was sent in part would be taken for the begin of the next order.
                self.end()
                raise
        self.end()
        self._start()
        return self._fork(work)

    def _fork(self, work: Callable[[Connection], None]) -> tuple[Connection, int]:
        ours, theirs = multiprocessing.Pipe()
        try:
            with theirs:
                self._connection.send(work)
                send_handle(self._connection, theirs.fileno(), self._process.pid)
            said = self._connection.recv()
            if isinstance(said, OSError):
                raise said
        except BaseException:
            ours.close()
            raise
        return ours, said

    def kill(self, number: int) -> None:
        """Kill a process that was forked, and wait for its end."""
        if not self.forks:
            self.end()
            return
        try:
            self._connection.send(number)
            self._connection.recv()
        except (OSError, EOFError):
            # The server itself was killed, and another one waits for the process.
            with suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)

    def kill_server(self) -> None:
        """Kill this process, and wait for nothing."""
        self._process.kill()

    def end(self) -> None:
        """End this process, and leave those that were forked."""
        self._process.kill()
        self._process.join()
        self._connection.close()


def _serve(connection: Connection, modules: Sequence[str], forks: bool) -> None:
    """Load modules; then fork and kill as is asked through a connection."""
    # What a library says as it is loaded is for nobody.
    logging.getLogger().addHandler(logging.NullHandler())
    for name in modules:
        # What is wrong with a module, the job that needs it tells.
        with suppress(Exception):
            import_module(name)
    # What is looked through for what can be freed is no longer shared.
    gc.freeze()
    with suppress(EOFError, OSError):
        while True:
            asked = connection.recv()
            if callable(asked):
                connection.send(_forked(connection, asked, forks))
            else:
                _kill(asked)
                connection.send(asked)


def _kill(number: int) -> None:
    """Kill a process that was forked from this one, and wait for its end."""
    # Another's ends as the pipe to it is closed; its number may be a stranger's by now.
    with suppress(ChildProcessError):
        if os.waitpid(number, os.WNOHANG) == (0, 0):
            os.kill(number, signal.SIGKILL)
            os.waitpid(number, 0)


def _forked(
    connection: Connection, work: Callable[[Connection], None], forks: bool
) -> int | OSError:
    """Fork a process; return its number, or why there is none."""
    try:
        handle = recv_handle(connection)
    except RuntimeError:
        # The system hands over no file where this process has too many.
        return OSError(errno.EMFILE, os.strerror(errno.EMFILE))
    if not forks:
        connection.send(os.getpid())
        _work_and_end(connection, handle, work)
    try:
        number = os.fork()
    except OSError as error:
        return error
    else:
        if number == 0:
            _work_and_end(connection, handle, work)
        return number
    finally:
        os.close(handle)


def _work_and_end(
    orders: Connection, handle: int, work: Callable[[Connection], None]
) -> NoReturn:
    """Work at one end of a pipe, as a process that takes no orders any more."""
    try:
        orders.close()
        with Connection(handle) as connection:
            try:
                work(connection)
            except BaseException:
                # Once the pipe is closed, this process is killed.
                traceback.print_exc()
    finally:
        os._exit(1)
