"""HTTP server for exported versions, with TF Serving's REST API.

listening   required packages, name of the model, listening socket
server      start, signals and shutdown; the HTTP protocol is uvicorn's
app         routes, endpoints and error responses (Starlette)
limits      limits on a request; reading its body within them
metrics     what /metrics exports (prometheus-client)
dialect     JSON requests to texts, outputs to JSON, in TF Serving's format
versions    loading versions, and replacing one while requests arrive
batching    joining concurrent requests into batches
page.html   page for trying the model in a browser

>>> serving.serve(folder, "reviews", listener, labels={}, limits=serving.Limits(),
...               log=print, on_ready=lambda: print("ready"))  # until SIGTERM or Ctrl-C

The names that need the packages of the server are imported on first use.
"""

import importlib
from typing import TYPE_CHECKING, Any

from textclf.serving.listening import check_installed, listen, model_name

if TYPE_CHECKING:
    from textclf.serving.limits import Limits
    from textclf.serving.server import serve

_MODULES = {"Limits": "limits", "serve": "server"}

__all__ = ["Limits", "check_installed", "listen", "model_name", "serve"]


def __getattr__(name: str) -> Any:
    if name not in _MODULES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(importlib.import_module(f"{__name__}.{_MODULES[name]}"), name)
