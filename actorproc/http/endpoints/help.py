"""``/help``: what every process of a runtime serves, from the help texts of its routes.

    /help                  the processes; ``?format=json`` gives everything as JSON
    /help/<id>             the routes of one process
    /help/<id>/<name...>   the text of one route

People get HTML; curl and HTTPie get the text as it is, which is Markdown. A process that ended is
unknown again. Source: actor-runtime.md §8.4, behaviour 95.
"""

from __future__ import annotations

import html
import re
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final

from aiohttp import web

from actorproc.http.responses import json_response
from actorproc.http.url import encode
from actorproc.process import Process

if TYPE_CHECKING:
    from actorproc.runtime import Runtime

_TEXT_AGENTS: Final = re.compile(r"(curl|HTTPie)/")
_HEADING: Final = re.compile(r"### (.*?)(?: ###)?")


@dataclass(frozen=True, slots=True, kw_only=True)
class HelpText:
    """The sections of a help text; its ``str`` is Markdown for ``Process.route(help=...)``.

    Attributes:
        tldr: one sentence.
        description: paragraphs, of lines.
        authentication: whether and how who asks must say who they are.
        authorization: who may ask.
        references: where to read more.
    """

    tldr: str
    description: str = ""
    authentication: str = ""
    authorization: str = ""
    references: str = ""

    def __str__(self) -> str:
        sections = {
            "TL;DR;": self.tldr,
            "DESCRIPTION": self.description,
            "AUTHENTICATION": self.authentication,
            "AUTHORIZATION": self.authorization,
            "REFERENCES": self.references,
        }
        filled = ((title, text.strip()) for title, text in sections.items() if text.strip())
        return "\n\n".join(f"### {title} ###\n{text}" for title, text in filled) + "\n"


class HelpProcess(Process):
    """Serves ``/help``."""

    def __init__(self, runtime: Runtime) -> None:
        super().__init__("help")
        self._site = runtime

    def initialize(self) -> None:
        text = HelpText(
            tldr="Documentation of every HTTP endpoint.",
            description="/help lists processes, /help/ID its endpoints, /help/ID/NAME one of them."
            "\n\nQuery parameters: format=json for /help.",
        )
        self.route("/", self._list_processes, help=str(text))
        self.route("/{id}", self._show_process)
        self.route("/{id}/{name:.+}", self._show_endpoint)

    async def _list_processes(self, request: web.Request) -> web.Response:
        format = request.query.get("format")
        if format == "json":
            return json_response(request, {"processes": self._as_json()})
        if format is not None:
            raise web.HTTPBadRequest(text=f"format: must be json, not {format[:80]!r}")
        links = [f"[/{id}](/help/{encode(id)})" for id in self._documented()]
        return _page(request, "Endpoints", "\n\n".join(["## HTTP endpoints", *links]))

    async def _show_process(self, request: web.Request) -> web.Response:
        id, endpoints = self._endpoints_of(request)
        links = [
            f"[{_endpoint(id, path)}](/help/{encode(id)}{encode(path, keep='/{}')}): {_first(text)}"
            for path, text in endpoints.items()
        ]
        return _page(request, id, "\n\n".join([f"## /{id}", *links]))

    async def _show_endpoint(self, request: web.Request) -> web.Response:
        id, endpoints = self._endpoints_of(request)
        path = "/" + request.match_info["name"]
        if path not in endpoints:
            raise web.HTTPBadRequest(text=f"process {id!r} has no endpoint {path[:200]!r}")
        text = endpoints[path].strip() or "No help available."
        return _page(request, f"/{id}{path}", f"## /{id}{path}\n\n{text}")

    def _endpoints_of(self, request: web.Request) -> tuple[str, Mapping[str, str]]:
        id = request.match_info["id"]
        endpoints = self._documented().get(id)
        if endpoints is None:
            raise web.HTTPBadRequest(text=f"no process {id[:200]!r} serves HTTP")
        return id, endpoints

    def _documented(self) -> dict[str, Mapping[str, str]]:
        """Id → path of each route → its help text, in the order of ids and paths."""
        processes = {process.pid.id: process for process in self._site.processes()}
        return {
            id: dict(sorted(routes.help.items()))
            for id, process in sorted(processes.items())
            if (routes := process._routes) is not None
        }

    def _as_json(self) -> Sequence[Mapping[str, object]]:
        return [
            {
                "id": id,
                "endpoints": [{"name": path, "text": text} for path, text in endpoints.items()],
            }
            for id, endpoints in self._documented().items()
        ]


def _endpoint(id: str, path: str) -> str:
    return f"/{id}{path if path != '/' else ''}"


def _first(text: str) -> str:
    """The sentence that says most: the first line that is no heading."""
    lines = (line.strip() for line in text.splitlines())
    return next((line for line in lines if line and not line.startswith("#")), "")


def _page(request: web.Request, title: str, markdown: str) -> web.Response:
    if _TEXT_AGENTS.match(request.headers.get("User-Agent", "")):
        return web.Response(text=markdown.rstrip() + "\n", content_type="text/x-markdown")
    body = "\n".join(_paragraph(each) for each in re.split(r"\n{2,}", markdown.strip()))
    page = (
        "<!DOCTYPE html>\n"
        f'<html lang="en"><head><meta charset="utf-8"><title>{html.escape(title)}</title></head>\n'
        f"<body>\n{body}\n</body></html>\n"
    )
    headers = {
        "Content-Security-Policy": "default-src 'none'",
        "X-Content-Type-Options": "nosniff",
    }
    return web.Response(text=page, content_type="text/html", headers=headers)


def _paragraph(text: str) -> str:
    """One paragraph of the little Markdown that help texts use, as HTML."""
    if text.startswith("## "):
        return f"<h1>{html.escape(text[3:])}</h1>"
    first, _, rest = text.partition("\n")
    if heading := _HEADING.fullmatch(first):
        following = f"\n<p>{html.escape(rest)}</p>" if rest else ""
        return f"<h2>{html.escape(heading[1])}</h2>{following}"
    if link := re.fullmatch(r"\[(.*)\]\((\S*?)\)(.*)", text, re.DOTALL):
        label, target, rest = (html.escape(part) for part in link.groups())
        return f'<p><a href="{target}">{label}</a>{rest}</p>'
    return f"<p>{html.escape(text)}</p>"


__all__ = ["HelpProcess", "HelpText"]
