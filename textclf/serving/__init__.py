"""HTTP server for exported versions, with TF Serving's REST API.

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
"""

from textclf.serving.limits import Limits
from textclf.serving.server import serve

__all__ = ["Limits", "serve"]
