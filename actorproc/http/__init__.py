"""HTTP: answers, authentication, built-in endpoints, a client and a server of its own.

Routes are registered with ``Process.route``; what a whole runtime has in common is
``Runtime.http`` (realms, firewall, limits). This package brings in aiohttp, so ``import actorproc``
leaves it alone. Source: actor-runtime.md §8 and §9.
"""

from actorproc.http.auth import (
    Authentication,
    Authenticator,
    AuthorizationCallback,
    BasicAuthenticator,
    CombinedAuthenticator,
    Forbidden,
    JwtAuthenticator,
    Principal,
    Realms,
    Unauthorized,
    principal_of,
)
from actorproc.http.client import (
    Client,
    ClientLimits,
    Connection,
    Request,
    Response,
    connect,
    get,
    post,
    request,
    request_delete,
)
from actorproc.http.endpoints import (
    EndpointFactory,
    EndpointOptions,
    HelpText,
    install_endpoints,
)
from actorproc.http.errors import (
    BrokenConnection,
    BrokenPipe,
    ClosedConnection,
    ClosedPipe,
    InvalidHttpText,
    ResponseTimeout,
)
from actorproc.http.firewall import Firewall
from actorproc.http.headers import Challenge, accepts_encoding, accepts_media_type
from actorproc.http.jwt import decode_jwt, encode_jwt
from actorproc.http.limits import HARDENED, HttpLimits
from actorproc.http.pipe import Pipe, PipeReader, PipeWriter
from actorproc.http.responses import PipeResponse, json_response
from actorproc.http.server import Server, serve
from actorproc.http.url import (
    Url,
    decode,
    decode_query,
    encode,
    encode_query,
    match_path,
)

__all__ = [
    "HARDENED",
    "Authentication",
    "Authenticator",
    "AuthorizationCallback",
    "BasicAuthenticator",
    "BrokenConnection",
    "BrokenPipe",
    "Challenge",
    "Client",
    "ClientLimits",
    "ClosedConnection",
    "ClosedPipe",
    "CombinedAuthenticator",
    "Connection",
    "EndpointFactory",
    "EndpointOptions",
    "Firewall",
    "Forbidden",
    "HelpText",
    "HttpLimits",
    "InvalidHttpText",
    "JwtAuthenticator",
    "Pipe",
    "PipeReader",
    "PipeResponse",
    "PipeWriter",
    "Principal",
    "Realms",
    "Request",
    "Response",
    "ResponseTimeout",
    "Server",
    "Unauthorized",
    "Url",
    "accepts_encoding",
    "accepts_media_type",
    "connect",
    "decode",
    "decode_jwt",
    "decode_query",
    "encode",
    "encode_jwt",
    "encode_query",
    "get",
    "install_endpoints",
    "json_response",
    "match_path",
    "post",
    "principal_of",
    "request",
    "request_delete",
    "serve",
]
