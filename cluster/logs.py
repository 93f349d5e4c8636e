"""Logging of the daemons: one line per record, as text or as JSON, to standard error and a file.

Text lines begin as those of Mesos do, so that tools which take its logs apart keep working:

    I1121 09:53:01.123456 12345 master.py:123] registered framework ...

JSON lines carry ``time`` (RFC 3339, UTC), ``level``, ``logger``, ``message``, ``pid``, the
``extra`` keys of the record and, after an exception, ``error``.

With ``--log_dir`` the file is ``<log_dir>/mesos-<name>.INFO`` (the name under which Mesos keeps the
newest log). Differs: it is rotated, so that a daemon cannot fill its disk with words.
"""

import json
import logging
import sys
import time
from datetime import UTC, datetime
from logging.handlers import RotatingFileHandler
from pathlib import Path

from cluster.daemon_flags import DaemonConfig

LOG_FILE_BYTES_MAX = 64 << 20
LOG_FILES_KEPT_MAX = 5
_LOGGERS = ("actorproc", "cluster")
# What every record has anyway; the rest of a record's attributes came with ``extra``.
_STANDARD_ATTRIBUTES = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime"}


class TextFormatter(logging.Formatter):
    """``I1121 09:53:01.123456 12345 master.py:123] text``; a traceback follows on its own lines."""

    _second = -1
    _when = ""

    def format(self, record: logging.LogRecord) -> str:
        second = int(record.created)
        if second != self._second:  # many records come in one second
            self._second = second
            self._when = time.strftime("%m%d %H:%M:%S", time.localtime(second))
        micros = int(record.created % 1 * 1_000_000)
        prefix = (
            f"{record.levelname[0]}{self._when}.{micros:06d} "
            f"{record.process} {record.filename}:{record.lineno}] "
        )
        lines = prefix + _on_one_line(record.getMessage())
        if record.exc_info:
            lines += "\n" + self.formatException(record.exc_info)
        return lines


class JsonFormatter(logging.Formatter):
    """One JSON object per record, always on one line."""

    def format(self, record: logging.LogRecord) -> str:
        extra = {
            name: value for name, value in vars(record).items() if name not in _STANDARD_ATTRIBUTES
        }
        entry: dict[str, object] = {
            "time": datetime.fromtimestamp(record.created, UTC).isoformat(timespec="microseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
            "pid": record.process,
            **extra,
        }
        if record.exc_info:
            entry["error"] = self.formatException(record.exc_info)
        return json.dumps(entry, default=str)


def log_file(config: DaemonConfig, name: str) -> Path | None:
    """Where the log of daemon ``name`` is written; None without ``--log_dir``."""
    return None if config.log_dir is None else Path(config.log_dir) / f"mesos-{name}.INFO"


def configure_logging(config: DaemonConfig, name: str) -> None:
    """Send what ``cluster`` and ``actorproc`` log where the flags say.

    Warnings of other libraries (asyncio, aiohttp) go the same way. A second call replaces the
    handlers of the first.

    Args:
        name: ``master`` or ``agent``; part of the file name.

    Raises:
        OSError: the directory of the log file cannot be made or written.
    """
    formatter = JsonFormatter() if config.log_format == "json" else TextFormatter()
    handlers: list[logging.Handler] = []
    if not config.quiet:
        handlers.append(logging.StreamHandler(sys.stderr))
    if (file := log_file(config, name)) is not None:
        file.parent.mkdir(parents=True, exist_ok=True)
        handlers.append(
            RotatingFileHandler(
                file,
                maxBytes=LOG_FILE_BYTES_MAX,
                backupCount=LOG_FILES_KEPT_MAX,
                encoding="utf-8",
            )
        )
    for handler in handlers:
        handler.setFormatter(formatter)
    logging.basicConfig(
        level=logging.WARNING, handlers=handlers or [logging.NullHandler()], force=True
    )
    for logger in _LOGGERS:
        logging.getLogger(logger).setLevel(config.logging_level)


def _on_one_line(text: str) -> str:
    """A record is one line: what a peer sent must not be able to forge another one."""
    return text.replace("\n", "\\n").replace("\r", "\\r")


__all__ = [
    "LOG_FILES_KEPT_MAX",
    "LOG_FILE_BYTES_MAX",
    "JsonFormatter",
    "TextFormatter",
    "configure_logging",
    "log_file",
]
